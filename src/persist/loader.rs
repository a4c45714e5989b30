//! The keys of a snapshot on their way into a keyspace, by as many threads as there are cores.
//!
//! ```text
//!  source ──▶ the loading thread: passes over keys, cuts runs of some 256 KiB ──▶ queue ──▶ helpers: sum, read, insert
//!                    │ whatever is no key, and keys too large for a run            │
//!                    └─ while the queue is full: a run itself ◀────────────────────┘
//! ```
//! What is in memory beside the keyspace is bounded by the queue. The order of the keys is lost, which is why each key must
//! be new. Must not know what becomes of the keyspace if the load fails.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{Builder, Scope};

use parking_lot::{Condvar, Mutex};
use tracing::{info, warn};

use super::load::{Expired, LoadError, Loading};
use crate::base::hash;
use crate::keyspace::unit::Touch;
use crate::keyspace::{Entry, Keyspace, Unit};
use crate::rdb::{Event, Run, Usage, Value};
use crate::resp::encode_command;

/// Runs that wait for a thread, for each of them.
const QUEUE: usize = 2;
/// More threads than this would wait for the one that cuts the runs.
const MAX_THREADS: usize = 8;

/// What was loaded, by one thread or by all.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub keys: u64,
    pub expired: u64,
    pub empty: u64,
    /// DEL for keys that were over, behind the SELECT that they need.
    pub farewell: Vec<u8>,
    pub farewell_db: Option<usize>,
}

impl Tally {
    fn say_farewell(&mut self, db: usize, key: &[u8]) {
        if self.farewell_db.replace(db) != Some(db) {
            encode_command(&mut self.farewell, [&b"SELECT"[..], itoa::Buffer::new().format(db).as_bytes()]);
        }
        encode_command(&mut self.farewell, [&b"DEL"[..], key]);
    }

    fn add(&mut self, other: Self) {
        self.keys += other.keys;
        self.expired += other.expired;
        self.empty += other.empty;
        // Each begins with a SELECT of its own.
        self.farewell.extend_from_slice(&other.farewell);
        self.farewell_db = other.farewell_db.or(self.farewell_db);
    }
}

/// Keys of one database; `history`: the file has told what history it belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub db: usize,
    pub history: bool,
}

/// One key.
pub(super) struct Item<'k> {
    /// Where in the file it begins.
    pub at: u64,
    pub key: &'k [u8],
    pub value: Value<'k>,
    pub expire_ms: Option<i64>,
    pub usage: Usage,
}

#[derive(Default)]
struct Queue {
    runs: VecDeque<(Run, Place)>,
    over: bool,
}

/// What the threads of one load share.
pub(super) struct Crew<'a> {
    ks: &'a Keyspace,
    loading: &'a Loading,
    now_ms: i64,
    threads: usize,
    queue: Mutex<Queue>,
    more: Condvar,
    failed: AtomicBool,
    failure: Mutex<Option<LoadError>>,
    results: Mutex<(Tally, Vec<(usize, u64)>)>,
}

/// Ends the helpers, however the load ends.
pub(super) struct Dismiss<'c, 'a>(pub &'c Crew<'a>);

impl Drop for Dismiss<'_, '_> {
    fn drop(&mut self) {
        self.0.queue.lock().over = true;
        self.0.more.notify_all();
    }
}

impl<'a> Crew<'a> {
    pub fn new(ks: &'a Keyspace, loading: &'a Loading, now_ms: i64) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        Self {
            ks,
            loading,
            now_ms,
            threads: cores.clamp(2, MAX_THREADS),
            queue: Mutex::default(),
            more: Condvar::new(),
            failed: AtomicBool::new(false),
            failure: Mutex::new(None),
            results: Mutex::default(),
        }
    }

    pub fn databases(&self) -> usize {
        self.ks.databases()
    }

    /// A place to work at, for one thread.
    pub fn desk(&self) -> Desk<'_, 'a> {
        let unit = Unit { now_ms: self.now_ms, touch: self.loading.touch, ..Unit::default() };
        let shards = (0..self.ks.shards()).map(|_| Vec::new()).collect();
        Desk { crew: self, unit, shards, tally: Tally::default(), sums: Vec::new() }
    }

    pub fn start_helpers<'s>(&'s self, scope: &'s Scope<'s, '_>) {
        for _ in 1..self.threads {
            let helper = move || {
                let mut desk = self.desk();
                while let Some((run, place)) = self.wait_for_run() {
                    desk.settle(run, place);
                }
                desk.hand_in();
            };
            if let Err(e) = Builder::new().name("load".into()).spawn_scoped(scope, helper) {
                // The loading thread does it all, then.
                warn!("Can't start a thread that helps to load: {e}");
            }
        }
    }

    fn wait_for_run(&self) -> Option<(Run, Place)> {
        let mut queue = self.queue.lock();
        loop {
            if let Some(next) = queue.runs.pop_front() {
                return Some(next);
            }
            if queue.over {
                return None;
            }
            self.more.wait(&mut queue);
        }
    }

    /// Puts a run into the queue; gives one to be done here if there is no room.
    pub fn offer(&self, run: Run, place: Place) -> Option<(Run, Place)> {
        let mut queue = self.queue.lock();
        queue.runs.push_back((run, place));
        if queue.runs.len() > self.threads * QUEUE {
            return queue.runs.pop_front();
        }
        drop(queue);
        self.more.notify_one();
        None
    }

    /// A run that nobody has begun.
    pub fn left_over(&self) -> Option<(Run, Place)> {
        self.queue.lock().runs.pop_front()
    }

    fn fail(&self, error: LoadError) {
        self.failure.lock().get_or_insert(error);
        self.failed.store(true, Relaxed);
        self.queue.lock().runs.clear();
    }

    pub fn has_failed(&self) -> bool {
        self.failed.load(Relaxed)
    }

    /// What all have done, and the sums of the runs, once all have handed in; or why there is nothing.
    pub fn into_results(self) -> Result<(Tally, Vec<(usize, u64)>), LoadError> {
        match self.failure.into_inner() {
            Some(error) => Err(error),
            None => Ok(self.results.into_inner()),
        }
    }
}

/// One thread's part of the work.
pub(super) struct Desk<'c, 'a> {
    crew: &'c Crew<'a>,
    unit: Unit,
    /// Entries on their way, a list for each shard, so that a shard is locked once for all of a run.
    shards: Vec<Vec<(u64, Entry)>>,
    tally: Tally,
    sums: Vec<(usize, u64)>,
}

impl Desk<'_, '_> {
    /// Reads a run and inserts what is in it. A failure is everybody's.
    pub fn settle(&mut self, run: Run, place: Place) {
        if self.crew.has_failed() {
            return;
        }
        if let Err(e) = self.read(run, place) {
            self.crew.fail(e);
        }
    }

    fn read(&mut self, run: Run, place: Place) -> Result<(), LoadError> {
        self.sums.push(run.checksum());
        let mut reader = run.into_reader();
        let first = reader.bytes_read();
        while !reader.is_drained() {
            let at = reader.bytes_read();
            // A run has nothing but keys.
            if let Event::Key { key, value, expire_ms, usage } = reader.next_event()? {
                self.sort_in(Item { at, key: &key, value, expire_ms, usage }, place)?;
            }
        }
        for (id, entries) in (0..).zip(&mut self.shards) {
            if !entries.is_empty() {
                // Where each key stood is not kept: it is looked for when it is asked for.
                insert(self.crew.ks, place.db, id, entries, |key| reader.place_of(key, first))?;
            }
        }
        Ok(())
    }

    /// One key that came by itself.
    pub fn insert(&mut self, item: Item<'_>, place: Place) -> Result<(), LoadError> {
        let at = item.at;
        match self.sort_in(item, place)? {
            Some(id) => insert(self.crew.ks, place.db, id, &mut self.shards[id as usize], |_| at),
            None => Ok(()),
        }
    }

    /// Makes the entry and puts it on its shard's list; gives the shard.
    fn sort_in(&mut self, item: Item<'_>, place: Place) -> Result<Option<u32>, LoadError> {
        let Item { at, key, value, expire_ms, usage } = item;
        let expired = self.crew.loading.expired;
        let drop = match expired {
            Expired::Drop => !place.history,
            Expired::Tell => true,
            Expired::Keep => false,
        };
        if drop && expire_ms.is_some_and(|at| at < self.unit.now_ms) {
            self.tally.expired += 1;
            if expired == Expired::Tell && place.history {
                self.tally.say_farewell(place.db, key);
            }
            return Ok(None);
        }
        if value.is_spent() {
            info!("skipping empty key: {}", String::from_utf8_lossy(key));
            self.tally.empty += 1;
            return Ok(None);
        }
        let entry = value.into_entry(key, expire_ms).map_err(|kind| {
            let key = String::from_utf8_lossy(key).into_owned();
            LoadError::Type { at, key, db: place.db, kind: kind.name().to_owned() }
        })?;
        entry.set_access(self.access(usage));
        let hash = hash::hash(key);
        let id = self.crew.ks.shard_of(hash);
        self.shards[id.0 as usize].push((hash, entry));
        self.tally.keys += 1;
        Ok(Some(id.0))
    }

    /// What eviction is to know of a key that says this of itself.
    fn access(&self, usage: Usage) -> u32 {
        let lfu = matches!(self.unit.touch, Touch::Lfu { .. });
        match usage {
            Usage::Freq(counter) if lfu => self.unit.fresh_access() & !0xff | u32::from(counter),
            Usage::IdleS(idle) if !lfu => self.unit.lru_clock().wrapping_sub(idle as u32) & 0x00ff_ffff,
            Usage::Freq(_) | Usage::IdleS(_) | Usage::Unsaid => self.unit.fresh_access(),
        }
    }

    /// To be called when there is nothing more to do.
    pub fn hand_in(self) {
        let mut results = self.crew.results.lock();
        results.0.add(self.tally);
        results.1.extend(self.sums);
    }
}

/// `place_of` is asked only for a key that is there already.
fn insert(
    ks: &Keyspace,
    db: usize,
    id: u32,
    entries: &mut Vec<(u64, Entry)>,
    place_of: impl FnOnce(&[u8]) -> u64,
) -> Result<(), LoadError> {
    let twice = |entry: Entry| {
        let (at, key) = (place_of(entry.key()), String::from_utf8_lossy(entry.key()).into_owned());
        LoadError::Twice { at, key }
    };
    ks.add_all(db, crate::keyspace::shard::ShardId(id), entries).map_err(twice)
}
