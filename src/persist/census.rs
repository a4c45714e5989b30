//! What the data set adds up to at one instant, part by part, while writes go on.
//!
//! The walk of a snapshot without its bytes: every key is reduced to a number ([`digest::of_key`]), and the numbers of one
//! part of the keys are added. The order of keys, and how a value is stored, do not matter; so two nodes that hold the same
//! data get the same numbers. Knows no peer, and not what the numbers are compared with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::base::crc::crc64;
use crate::exec::turn::Turn;
use crate::exec::{Engine, digest};
use crate::keyspace::entry::Entry;
use crate::keyspace::shard::{Bringer, PreImage, ShardId};

/// Into so many parts keys fall, by a hash that is the same in every process.
pub const PARTS: usize = 4096;
/// Entries looked at under one hold of a shard's lock.
const STEP_ENTRIES: usize = 64;
/// What a list of keys may take.
const LIST_BYTES: u64 = 64 << 20;

/// One key of the part that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    pub db: u32,
    pub key: Vec<u8>,
    pub sum: u128,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Census {
    /// Where the log ended at that instant.
    pub offset: i64,
    pub keys: u64,
    pub parts: Vec<u128>,
    /// The keys of the part asked for, in order; `None` if there were too many.
    pub list: Option<Vec<Listed>>,
}

/// Takes a census. `at_cut` runs with every gate held and gives the log's offset, or `None` to have none taken. Ends early,
/// with `None` as well, when it is not `wanted` any more, or the `turn` is.
pub fn take(
    engine: &Engine,
    turn: &Turn<'_>,
    part: Option<usize>,
    wanted: impl Fn() -> bool,
    at_cut: impl FnOnce() -> Option<i64>,
) -> Option<Census> {
    let tally = Arc::new(Tally {
        part,
        keys: AtomicU64::new(0),
        parts: Mutex::new(vec![0; PARTS]),
        list: Mutex::default(),
        list_bytes: AtomicU64::new(0),
        too_many: AtomicBool::new(false),
    });
    let offset = {
        let _gates = engine.gates.take_all();
        let offset = at_cut()?;
        let epoch = engine.state.snapshot_epoch.fetch_add(1, Relaxed) + 1;
        let sink: Arc<dyn PreImage> = tally.clone();
        engine.ks.begin_snapshot(epoch, &sink);
        offset
    };
    for shard in 0..engine.ks.shards() {
        while engine.ks.snapshot_step(ShardId(shard), STEP_ENTRIES) {
            if engine.state.shutting_down.load(Relaxed) || turn.is_wanted() || !wanted() {
                engine.ks.abort_snapshot();
                return None;
            }
        }
    }
    let mut list = std::mem::take(&mut *tally.list.lock());
    list.sort_unstable();
    let list = (!tally.too_many.load(Relaxed)).then_some(list);
    let parts = std::mem::take(&mut *tally.parts.lock());
    Some(Census { offset, keys: tally.keys.load(Relaxed), parts, list })
}

struct Tally {
    /// Only this part is looked at, and its keys are listed.
    part: Option<usize>,
    keys: AtomicU64,
    parts: Mutex<Vec<u128>>,
    list: Mutex<Vec<Listed>>,
    list_bytes: AtomicU64,
    too_many: AtomicBool,
}

impl PreImage for Tally {
    fn save(&self, db: u32, entries: &mut dyn Iterator<Item = &Entry>, _bringer: Bringer) {
        let mut keys = 0;
        for entry in entries {
            keys += 1;
            let at = part_of(db, entry.key());
            if self.part.is_some_and(|part| part != at) {
                continue;
            }
            let sum = digest::of_key(db, entry);
            // Together, whoever adds first: the sum does not tell.
            let mut parts = self.parts.lock();
            parts[at] = parts[at].wrapping_add(sum);
            drop(parts);
            if self.part.is_some() {
                self.list(Listed { db, key: entry.key().to_vec(), sum });
            }
        }
        self.keys.fetch_add(keys, Relaxed);
    }
}

impl Tally {
    fn list(&self, listed: Listed) {
        let bytes = listed.key.len() as u64 + size_of::<Listed>() as u64;
        if self.list_bytes.fetch_add(bytes, Relaxed) + bytes > LIST_BYTES {
            self.too_many.store(true, Relaxed);
            self.list.lock().clear();
        } else {
            self.list.lock().push(listed);
        }
    }
}

fn part_of(db: u32, key: &[u8]) -> usize {
    crc64(crc64(0, &db.to_be_bytes()), key) as usize % PARTS
}
