//! Shards: where the entries lie, who watches them or waits for them, and what a running snapshot needs of them.
//!
//! A shard is one mutex around its part of every database. Whoever holds two takes them in ascending order. Knows no
//! command; the snapshot's format is its sink's business.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_utils::CachePadded;
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;

use super::entry::Entry;
use super::key::Key;
use super::unit::Unit;
use super::value::Object;
use super::waiters::Waiters;
use crate::base::hash;
use crate::ds::dict::{Dict, Fetch};

/// Index of a shard: the top bits of a key's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShardId(pub u32);

/// Something large whose memory is given back later, off the worker.
#[derive(Debug)]
pub enum Garbage {
    Entry(Entry),
    Object(Box<Object>),
    Dict(Dict<Entry>),
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Entry({:?})", String::from_utf8_lossy(self.key()))
    }
}

/// Who brings a segment to a running snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bringer {
    Walker,
    /// A write that is about to change it.
    Writer,
}

/// Receives what a running snapshot must keep of a segment before a write changes it.
pub trait PreImage: Send + Sync {
    /// `db` is the database's number at the instant of the cut.
    fn save(&self, db: u32, entries: &mut dyn Iterator<Item = &Entry>, bringer: Bringer);
}

/// A snapshot in progress, as one shard sees it.
struct ShardSnapshot {
    epoch: u32,
    sink: Arc<dyn PreImage>,
    /// Dictionaries that FLUSHDB took away before they were saved.
    detached: Vec<(u32, Dict<Entry>)>,
}

/// One shard's part of one database.
pub struct Db {
    pub(super) dict: Dict<Entry>,
    /// Entries that have an expiry.
    pub(super) expiring: usize,
    /// Hashes with fields that have one.
    pub(super) volatile: usize,
    /// This database's number when the running snapshot was cut (SWAPDB moves it).
    snapshot_db: u32,
    /// The walker has saved every segment before this position; `None`: all of them.
    snapshot_cursor: Option<u64>,
    /// The running snapshot, if any, has to do with this dictionary; not if it came later, full of other data.
    in_snapshot: bool,
}

/// Set to true when a watched key changes; the session looks at EXEC.
pub type WatchFlag = Arc<AtomicBool>;

struct Watcher {
    flag: WatchFlag,
    /// The key's time was over when it was watched: that it goes is no change then.
    stale: bool,
}

#[derive(Default)]
pub(super) struct Watched {
    keys: HashMap<(u32, Box<[u8]>), SmallVec<[Watcher; 2]>>,
}

pub struct Shard {
    pub(super) dbs: Box<[Db]>,
    pub(super) watched: Watched,
    pub(super) waiters: Waiters,
    snapshot: Option<ShardSnapshot>,
}

pub struct Keyspace {
    shards: Box<[CachePadded<Mutex<Shard>>]>,
    bits: u32,
    databases: usize,
}

impl Keyspace {
    /// `shards` is rounded up to a power of two.
    pub fn new(shards: usize, databases: usize) -> Self {
        let shards = shards.next_power_of_two().max(2);
        let bits = shards.trailing_zeros();
        let make = || CachePadded::new(Mutex::new(Shard::new(databases, bits)));
        Self { shards: (0..shards).map(|_| make()).collect(), bits, databases }
    }

    pub fn databases(&self) -> usize {
        self.databases
    }

    pub fn shards(&self) -> u32 {
        self.shards.len() as u32
    }

    #[inline]
    pub fn shard_of(&self, hash: u64) -> ShardId {
        ShardId((hash >> (64 - self.bits)) as u32)
    }

    /// Bits of a hash that chose the shard.
    pub fn shard_bits(&self) -> u32 {
        self.bits
    }

    pub fn lock(&self, id: ShardId) -> MutexGuard<'_, Shard> {
        self.shards[id.0 as usize].lock()
    }

    /// The lock if nobody holds it.
    pub fn try_lock(&self, id: ShardId) -> Option<MutexGuard<'_, Shard>> {
        self.shards[id.0 as usize].try_lock()
    }

    /// Asks the processor for the bucket of a key.
    #[inline]
    pub fn prefetch_bucket(&self, db: usize, hash: u64) {
        self.lock(self.shard_of(hash)).dbs[db].dict.prefetch(hash);
    }

    /// Asks the processor for the entries a key's bucket points to; the bucket itself should have come by now.
    #[inline]
    pub fn prefetch_entry(&self, db: usize, hash: u64) {
        self.lock(self.shard_of(hash)).dbs[db].dict.prefetch_entry(hash);
    }

    /// Asks the processor for what looks for elements of one key's value will touch, for all of them together.
    pub fn prefetch_elements(&self, db: usize, hash: u64, elements: impl Iterator<Item = u64> + Clone) {
        let shard = self.lock(self.shard_of(hash));
        let Some(entry) = shard.dbs[db].dict.likely(hash) else { return };
        for what in [Fetch::Bucket, Fetch::Entry] {
            elements.clone().for_each(|element| entry.value().fetch(element, what));
        }
    }

    /// Keys in one database, and how many of them expire. Shards are counted one after the other.
    pub fn count(&self, db: usize) -> (usize, usize) {
        (0..self.shards()).fold((0, 0), |(keys, expiring), i| {
            let shard = self.lock(ShardId(i));
            (keys + shard.dbs[db].dict.len(), expiring + shard.dbs[db].expiring)
        })
    }

    /// Keys of all databases.
    pub fn keys(&self) -> u64 {
        (0..self.databases()).map(|db| self.count(db).0 as u64).sum()
    }

    /// Hashes with fields that expire, in one database.
    pub fn count_volatile(&self, db: usize) -> usize {
        (0..self.shards()).map(|i| self.lock(ShardId(i)).dbs[db].volatile).sum()
    }

    /// Whether there are any such hashes at all.
    pub fn has_volatile(&self) -> bool {
        (0..self.shards()).any(|i| self.lock(ShardId(i)).dbs.iter().any(|db| db.volatile != 0))
    }

    /// Bytes that the table of one database takes, its entries not counted.
    pub fn table_bytes(&self, db: usize) -> usize {
        (0..self.shards()).map(|i| self.lock(ShardId(i)).dbs[db].dict.memory_bytes()).sum()
    }

    /// Opens a snapshot at this instant. The caller holds every gate, so that no unit is half done.
    pub fn begin_snapshot(&self, epoch: u32, sink: &Arc<dyn PreImage>) {
        for i in 0..self.shards() {
            let mut shard = self.lock(ShardId(i));
            for (n, db) in shard.dbs.iter_mut().enumerate() {
                db.snapshot_db = n as u32;
                db.snapshot_cursor = Some(0);
                db.in_snapshot = true;
            }
            shard.snapshot = Some(ShardSnapshot { epoch, sink: sink.clone(), detached: Vec::new() });
        }
    }

    /// Saves about `entries` more entries of one shard; false once the shard is wholly saved. The shard is locked
    /// only meanwhile.
    pub fn snapshot_step(&self, id: ShardId, entries: usize) -> bool {
        self.lock(id).snapshot_step(entries)
    }

    /// Puts another keyspace of the same shape in the place of all databases; gives what was there. The caller holds
    /// every gate. A running snapshot goes on with the old data.
    pub fn replace(&self, second: Keyspace, now_ms: i64) -> Vec<Garbage> {
        assert_eq!((self.bits, self.databases), (second.bits, second.databases), "keyspaces of one shape");
        let mut garbage = Vec::new();
        for (shard, new) in self.shards.iter().zip(second.shards) {
            let (mut shard, new) = (shard.lock(), new.into_inner().into_inner());
            for (n, new) in new.dbs.into_iter().enumerate() {
                let shard = &mut *shard;
                shard.watched.replaced(n, &shard.dbs[n].dict, Some(&new.dict), now_ms);
                garbage.extend(shard.take_db(n, self.bits).map(Garbage::Dict));
                let db = &mut shard.dbs[n];
                (db.dict, db.expiring, db.volatile, db.in_snapshot) = (new.dict, new.expiring, new.volatile, false);
                // An empty database leaves its cursor behind, which must not lead the walker through the new data.
                db.snapshot_cursor = None;
            }
        }
        garbage
    }

    /// Ends a snapshot that will not be finished.
    pub fn abort_snapshot(&self) {
        for i in 0..self.shards() {
            self.lock(ShardId(i)).snapshot = None;
        }
    }
}

impl Db {
    /// To be called after a value's parts that expire have changed: `before` and `after` are its deadlines.
    #[inline]
    pub(super) fn deadline_moved(&mut self, hash: u64, before: Option<i64>, after: Option<i64>) {
        if before == after {
            return;
        }
        self.volatile = self.volatile + usize::from(after.is_some()) - usize::from(before.is_some());
        if let Some(at) = after {
            self.dict.note_deadline(hash, at);
        }
    }
}

impl Shard {
    fn new(databases: usize, bits: u32) -> Self {
        let db = || Db {
            dict: new_dict(bits),
            expiring: 0,
            volatile: 0,
            snapshot_db: 0,
            snapshot_cursor: None,
            in_snapshot: false,
        };
        Self {
            dbs: (0..databases).map(|_| db()).collect(),
            watched: Watched::default(),
            waiters: Waiters::default(),
            snapshot: None,
        }
    }

    /// To be called before the segment of `hash` changes: a running snapshot keeps what it held.
    #[inline]
    pub(super) fn before_write(&mut self, db: usize, hash: u64) {
        if self.snapshot.is_some() {
            self.keep_pre_image(db, hash);
        }
    }

    #[cold]
    fn keep_pre_image(&mut self, db: usize, hash: u64) {
        let Some(snapshot) = &self.snapshot else { return };
        let db = &mut self.dbs[db];
        if !db.in_snapshot || db.dict.is_empty() || db.dict.segment_version(hash) == snapshot.epoch {
            return;
        }
        snapshot.sink.save(db.snapshot_db, &mut db.dict.segment_entries(hash), Bringer::Writer);
        db.dict.set_segment_version(hash, snapshot.epoch);
    }

    /// To be called after an insertion: what a running snapshot must not see is marked as seen.
    #[inline]
    pub(super) fn after_insert(&mut self, db: usize, hash: u64) {
        if let Some(snapshot) = &self.snapshot {
            self.dbs[db].dict.set_segment_version(hash, snapshot.epoch);
        }
    }

    fn snapshot_step(&mut self, entries: usize) -> bool {
        let Some(snapshot) = &mut self.snapshot else { return false };
        let mut left = entries;
        for db in &mut self.dbs {
            while let Some(at) = db.snapshot_cursor {
                if left == 0 {
                    return true;
                }
                let (next, seen) =
                    save_segment(&mut db.dict, at, snapshot.epoch, db.snapshot_db, snapshot.sink.as_ref());
                left = left.saturating_sub(seen);
                db.snapshot_cursor = next;
            }
        }
        for (db, mut dict) in std::mem::take(&mut snapshot.detached) {
            // Nobody else can reach these: saved in one go, they are freed at once.
            let mut at = Some(0);
            while let Some(cursor) = at {
                at = save_segment(&mut dict, cursor, snapshot.epoch, db, snapshot.sink.as_ref()).0;
            }
        }
        self.snapshot = None;
        false
    }

    /// Takes a whole database away; what a running snapshot has not saved of it stays with the snapshot.
    pub(super) fn take_db(&mut self, db: usize, bits: u32) -> Option<Dict<Entry>> {
        let d = &mut self.dbs[db];
        if d.dict.is_empty() {
            return None;
        }
        let old = std::mem::replace(&mut d.dict, new_dict(bits));
        (d.expiring, d.volatile) = (0, 0);
        match &mut self.snapshot {
            Some(snapshot) if d.snapshot_cursor.take().is_some() => {
                snapshot.detached.push((d.snapshot_db, old));
                None
            }
            _ => Some(old),
        }
    }

    /// Watches a key until the flag is dropped by [`Shard::unwatch`]. `stale`: its time is over already.
    pub fn watch(&mut self, db: usize, key: &[u8], flag: &WatchFlag, stale: bool) {
        let watchers = self.watched.keys.entry((db as u32, key.into())).or_default();
        if !watchers.iter().any(|w| Arc::ptr_eq(&w.flag, flag)) {
            watchers.push(Watcher { flag: flag.clone(), stale });
        }
    }

    pub fn unwatch(&mut self, db: usize, key: &[u8], flag: &WatchFlag) {
        let id = (db as u32, Box::from(key));
        if let Some(watchers) = self.watched.keys.get_mut(&id) {
            watchers.retain(|w| !Arc::ptr_eq(&w.flag, flag));
            if watchers.is_empty() {
                self.watched.keys.remove(&id);
            }
        }
    }

    /// Whether the key's time is over, which it was not when this flag began to watch it.
    pub(super) fn went_stale(&self, db: usize, key: &[u8], flag: &WatchFlag, now_ms: i64) -> bool {
        let expire_ms = self.dbs[db].dict.get(hash::hash(key), key).and_then(Entry::expire_ms);
        let watchers = self.watched.keys.get(&(db as u32, Box::from(key)));
        let known = watchers.is_some_and(|list| list.iter().any(|w| w.stale && Arc::ptr_eq(&w.flag, flag)));
        expire_ms.is_some_and(|at| at < now_ms) && !known
    }

    /// A key changed: whoever watches it learns so.
    #[inline]
    pub(super) fn signal(&mut self, db: usize, key: &[u8]) {
        if !self.watched.keys.is_empty() {
            let there = self.dbs[db].dict.get(hash::hash(key), key).is_some();
            self.watched.signal(db, key, there);
        }
    }

    /// A key came to be, grew or went: whoever waits for it is to be tried again before the unit lets go.
    #[inline]
    pub(super) fn rouse(&self, db: usize, key: Key<'_>, unit: &mut Unit) {
        if !self.waiters.is_empty() {
            self.waiters.note(db, key, unit);
        }
    }

    /// A whole database goes (FLUSHDB) or is replaced by another (SWAPDB): watchers of the keys that change learn so.
    pub(super) fn signal_replaced(&mut self, db: usize, by: Option<usize>, now_ms: i64) {
        let after = by.map(|by| &self.dbs[by].dict);
        self.watched.replaced(db, &self.dbs[db].dict, after, now_ms);
    }
}

impl Watched {
    fn replaced(&mut self, db: usize, before: &Dict<Entry>, after: Option<&Dict<Entry>>, now_ms: i64) {
        for ((d, key), watchers) in &mut self.keys {
            if *d != db as u32 {
                continue;
            }
            let hash = hash::hash(key);
            let before = before.get(hash, key).is_some();
            let after = after.and_then(|dict| dict.get(hash, key));
            let after_stale = after.map(|e| e.expire_ms().is_some_and(|at| at < now_ms));
            if !before && after.is_none() {
                continue;
            }
            for w in watchers {
                match (w.stale, after_stale) {
                    // What was over is gone now, or still over: nothing a client could tell.
                    (true, None) => w.stale = false,
                    (true, Some(true)) => {}
                    (false, Some(true)) if !before => w.stale = true,
                    (true | false, None | Some(_)) => w.flag.store(true, Ordering::Relaxed),
                }
            }
        }
    }

    #[cold]
    fn signal(&mut self, db: usize, key: &[u8], there: bool) {
        for w in self.keys.get_mut(&(db as u32, Box::from(key))).into_iter().flatten() {
            if w.stale && !there {
                // What was over is gone now: nothing a client could tell.
                w.stale = false;
            } else {
                // Relaxed: the shard's mutex orders the flag with the watcher's EXEC, which locks the same shard.
                w.flag.store(true, Ordering::Relaxed);
            }
        }
    }
}

/// Saves the segment at `at` unless it was saved; gives the next position and about how much work it was.
fn save_segment(dict: &mut Dict<Entry>, at: u64, epoch: u32, db: u32, sink: &dyn PreImage) -> (Option<u64>, usize) {
    let Some((version, next)) = dict.segment_at(at) else { return (None, 1) };
    if version == epoch {
        return (next, 1);
    }
    let mut seen = 0;
    sink.save(db, &mut dict.entries_at(at).inspect(|_| seen += 1), Bringer::Walker);
    dict.set_version_at(at, epoch);
    (next, seen + 1)
}

pub(super) fn new_dict(bits: u32) -> Dict<Entry> {
    Dict::new(bits as u8, hash::hash)
}
