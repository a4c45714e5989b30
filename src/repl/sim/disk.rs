//! What a simulated node leaves for the process that comes after it.
//!
//! Knows what a data set and a stream are, and nothing of the node.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::super::id::{Former, Identity, Resume};
use crate::base::rand::Rng;
use crate::oplog::{Cursor, Log};

/// A file that every change is written to, and that tells where it stands: what a crash leaves of it is known up to some
/// entry.
#[derive(Default)]
pub(super) struct Journal {
    /// The data before the entries.
    data: BTreeMap<u64, u64>,
    entries: VecDeque<Entry>,
    /// The data set is being replaced: nothing is written until the new one is there.
    suspended: bool,
    /// Keeps the log going.
    cursor: Option<Cursor>,
}

#[derive(Clone)]
pub(super) struct Entry {
    pub change: Option<(u64, u64)>,
    pub offset: i64,
    pub history: u64,
    /// What the history is called there, if anybody can refer to it.
    pub identity: Option<Identity>,
}

/// Entries of which each may be the last that a crash leaves.
const JOURNAL: usize = 40;

impl Journal {
    pub fn begin(&mut self, data: &BTreeMap<u64, u64>, log: &Arc<Log>) {
        *self = Self { data: data.clone(), cursor: Some(log.attach_end()), ..Self::default() };
    }

    pub fn suspend(&mut self) {
        self.suspended = true;
    }

    /// The disk is gone.
    pub fn lose(&mut self) {
        self.entries.clear();
    }

    pub fn add(&mut self, entry: Entry) {
        if let Some(cursor) = self.cursor.as_mut().filter(|cursor| !cursor.is_stale()) {
            cursor.advance(cursor.lag_bytes());
        }
        if self.suspended {
            return;
        }
        self.entries.push_back(entry);
        if self.entries.len() > JOURNAL {
            let first = self.entries.pop_front().expect("looked at above");
            self.data.extend(first.change);
        }
    }

    /// What a start finds: all of it, or after a crash what happens to be there, and told.
    pub fn found(&self, kept: Option<Kept>, crashed: bool, rng: &mut Rng) -> Option<Saved> {
        let mut count = self.entries.len();
        if count > 0 && crashed && rng.chance(0.6) {
            count = rng.below(count as u64) as usize + 1;
        }
        let last = self.entries.get(count.checked_sub(1)?)?;
        let mut data = self.data.clone();
        data.extend(self.entries.iter().take(count).filter_map(|entry| entry.change));
        // The note may be torn off what it is about.
        let told = if crashed && rng.chance(0.2) { rng.below(count as u64) as usize + 1 } else { count };
        let told = self.entries.iter().take(told).rfind(|entry| entry.identity.is_some());
        let named = told.and_then(|told| Some((told.identity?, told.offset)));
        // What was said of another log is nothing to go on from.
        let named = named.filter(|(_, offset)| *offset <= last.offset);
        let mut kept = named.and(kept).and_then(|kept| kept.up_to(last.offset));
        if let (true, Some(kept), Some((_, offset))) = (crashed && rng.chance(0.5), &mut kept, named) {
            // The file may not reach back as far as the backlog did.
            kept.begin_behind(self.entries[rng.below(count as u64) as usize].offset.min(offset));
        }
        let goes_on = named.is_none_or(|(_, offset)| offset == last.offset || kept.is_some());
        let (identity, offset) = named.filter(|_| goes_on).unzip();
        let resume = identity.zip(offset).map(|(id, offset)| Resume { replid: id.replid, offset });
        let former = identity.map(|id| id.former().collect()).unwrap_or_default();
        Some(Saved { data, history: last.history, resume, former, backlog: kept })
    }
}

/// What a restart finds.
#[derive(Clone)]
pub(super) struct Saved {
    pub data: BTreeMap<u64, u64>,
    pub history: u64,
    pub resume: Option<Resume>,
    pub former: Vec<Former>,
    pub backlog: Option<Kept>,
}

/// The stream up to a saved data set, as it is kept beside it.
#[derive(Clone)]
pub(super) struct Kept {
    pub first_byte_offset: i64,
    pub bytes: Vec<u8>,
    pub history_at: BTreeMap<i64, u64>,
}

impl Kept {
    /// `None`: it begins behind that.
    fn up_to(mut self, offset: i64) -> Option<Self> {
        let len = offset + 1 - self.first_byte_offset;
        self.bytes.truncate(usize::try_from(len).ok()?);
        self.history_at.retain(|at, _| *at <= offset);
        Some(self)
    }

    fn begin_behind(&mut self, offset: i64) {
        if let Ok(gone @ 1..) = usize::try_from(offset + 1 - self.first_byte_offset) {
            self.bytes.drain(..gone.min(self.bytes.len()));
            self.first_byte_offset += gone as i64;
            self.history_at.retain(|at, _| *at >= offset);
        }
    }

    pub fn end(&self) -> i64 {
        self.first_byte_offset + self.bytes.len() as i64 - 1
    }
}
