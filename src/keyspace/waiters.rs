//! Who waits for which key, in the order they came.
//!
//! Every shard keeps the queues of its own keys, so that whoever holds a key's lock sees all who wait for it and nobody
//! joins or leaves meanwhile. A waiter may stand in several queues; it is served by whoever holds the locks of *all* the
//! keys its command touches. A unit therefore locks, beside its own keys, those that serving its waiters may lead to:
//!
//! ```text
//!   LPUSH a x        a: [BLPOP a b] ──▶ b
//!                    a: [BLMOVE a c] ─▶ c: [BLPOP c d] ──▶ d
//!   locks a, b, c, d
//! ```
//! Knows no command and no connection: what is served, and how, is in `exec::block`.

use std::any::Any;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use smallvec::SmallVec;

use super::data::Data;
use super::key::Key;
use super::shard::{Keyspace, ShardId};
use super::unit::Unit;
use super::value::Type;

/// One blocked command, in the queues of all the keys it waits for.
pub struct Waiter {
    /// Its place: lower came earlier.
    seq: u64,
    pub db: usize,
    /// What the key must hold for the command to be worth another try.
    pub kind: Type,
    /// Tried again also when the key goes away or holds something else.
    pub on_gone: bool,
    keys: Box<[(u64, Box<[u8]>)]>,
    /// Hashes of all keys that its command touches, in ascending order.
    touches: Arc<[u64]>,
    listed: AtomicBool,
    /// The command and its client, in the terms of whoever serves it.
    pub who: Box<dyn Any + Send + Sync>,
}

static NEXT_SEQ: AtomicU64 = AtomicU64::new(1);

impl Waiter {
    /// `keys`: those it waits for; `touches`: hashes of all that its command declares. Made while their locks are held,
    /// so that places are in the order in which the locks were had.
    pub fn new<'k>(
        db: usize,
        kind: Type,
        on_gone: bool,
        keys: impl Iterator<Item = &'k [u8]>,
        touches: &[u64],
        who: Box<dyn Any + Send + Sync>,
    ) -> Arc<Self> {
        let keys = keys.map(|key| (Key::new(key).hash, Box::from(key))).collect();
        // Relaxed: two that meet in a queue both hold its shard's lock.
        let seq = NEXT_SEQ.fetch_add(1, Relaxed);
        let mut touches: SmallVec<[u64; 16]> = touches.into();
        touches.sort_unstable();
        touches.dedup();
        Arc::new(Self {
            seq,
            db,
            kind,
            on_gone,
            keys,
            touches: (&*touches).into(),
            listed: AtomicBool::new(false),
            who,
        })
    }

    /// Whether it still stands in its queues. Whoever took it out has told its client afterwards.
    pub fn is_listed(&self) -> bool {
        self.listed.load(Relaxed)
    }
}

/// A key that came to be, grew or went while somebody waited for it.
#[derive(Debug)]
pub struct Ready {
    pub db: usize,
    pub hash: u64,
    pub key: Box<[u8]>,
}

impl Ready {
    fn is(&self, db: usize, key: Key<'_>) -> bool {
        self.hash == key.hash && self.db == db && *self.key == *key.bytes
    }
}

/// Those who wait for one key.
struct Queue {
    db: usize,
    key: Box<[u8]>,
    waiters: BTreeMap<u64, Arc<Waiter>>,
    /// How many of them look at the key's going, too.
    on_gone: usize,
    /// What their commands touch, if that is more than this key, with how many touch the same: workers of one kind
    /// wait for the same keys.
    sets: BTreeMap<Arc<[u64]>, usize>,
}

/// The queues of one shard.
#[derive(Default)]
pub(super) struct Waiters {
    queues: HashMap<u64, SmallVec<[Queue; 1]>, BuildHasherDefault<Hashed>>,
}

/// The hash of what is a key's hash already: every unit on a shard where somebody waits looks here.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        // The top bits are the same in the whole shard, and a table wants them to differ.
        self.0 = hash.rotate_left(32);
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.0 = self.0.rotate_left(8) ^ u64::from(*b));
    }
}

impl Waiters {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    fn queue(&self, db: usize, key: Key<'_>) -> Option<&Queue> {
        self.queues.get(&key.hash)?.iter().find(|q| q.db == db && *q.key == *key.bytes)
    }

    fn join(&mut self, hash: u64, key: &[u8], waiter: &Arc<Waiter>) {
        let queues = self.queues.entry(hash).or_default();
        let at = queues.iter().position(|q| q.db == waiter.db && *q.key == *key).unwrap_or_else(|| {
            let (waiters, sets) = (BTreeMap::new(), BTreeMap::new());
            queues.push(Queue { db: waiter.db, key: key.into(), waiters, on_gone: 0, sets });
            queues.len() - 1
        });
        let q = &mut queues[at];
        // A key named twice is waited for once.
        if q.waiters.insert(waiter.seq, waiter.clone()).is_some() {
            return;
        }
        q.on_gone += usize::from(waiter.on_gone);
        if waiter.touches.len() > 1 {
            *q.sets.entry(waiter.touches.clone()).or_default() += 1;
        }
    }

    fn leave(&mut self, hash: u64, key: &[u8], waiter: &Waiter) {
        let Some(queues) = self.queues.get_mut(&hash) else { return };
        let Some(at) = queues.iter().position(|q| q.db == waiter.db && *q.key == *key) else { return };
        let q = &mut queues[at];
        if q.waiters.remove(&waiter.seq).is_none() {
            return;
        }
        q.on_gone -= usize::from(waiter.on_gone);
        if let Some(n) = q.sets.get_mut(&waiter.touches) {
            *n -= 1;
            if *n == 0 {
                q.sets.remove(&waiter.touches);
            }
        }
        if q.waiters.is_empty() {
            queues.swap_remove(at);
            if queues.is_empty() {
                self.queues.remove(&hash);
            }
        }
    }

    /// Notes that there may be something for whoever waits for a key, if anybody does.
    #[cold]
    pub(super) fn note(&self, db: usize, key: Key<'_>, unit: &mut Unit) {
        if self.queue(db, key).is_some() && !unit.ready.iter().any(|r| r.is(db, key)) {
            unit.ready.push_back(Ready { db, hash: key.hash, key: key.bytes.into() });
        }
    }

    /// Notes every key of a database that somebody waits for and about which `worth` has something to say.
    pub(super) fn note_all(&self, db: usize, unit: &mut Unit, worth: impl Fn(Key<'_>) -> bool) {
        for queue in self.queues.values().flatten().filter(|q| q.db == db) {
            let key = Key::new(&queue.key);
            if queue.on_gone != 0 || worth(key) {
                self.note(db, key, unit);
            }
        }
    }

    /// Hashes of the keys that serving those who wait for a key with this hash may touch.
    fn leads_to(&self, hash: u64) -> impl Iterator<Item = u64> + '_ {
        self.queues.get(&hash).into_iter().flatten().flat_map(|q| q.sets.keys()).flat_map(|set| set.iter().copied())
    }
}

impl Data<'_> {
    /// Makes sure that whoever waits for one of these keys, the unit's own, can be served by this unit, and those who
    /// wait for what that brings about, and so on. To be called before the unit does anything: the locks may be let go
    /// and taken again.
    #[cold]
    pub fn hold_for_waiters(&mut self, own: &[u64]) {
        let leads_on =
            |hash: &u64| self.held(*hash).is_some_and(|shard| shard.waiters.leads_to(*hash).next().is_some());
        if !own.iter().any(leads_on) {
            return;
        }
        let mut wanted: Vec<u64> = Vec::new();
        let mut seen = HashSet::new();
        loop {
            // What was found under locks that were let go is kept: so the set only grows, and the loop ends.
            wanted.extend(own.iter().filter(|h| seen.insert(**h)));
            let mut at = 0;
            while let Some(hash) = wanted.get(at).copied() {
                at += 1;
                if let Some(shard) = self.held(hash) {
                    wanted.extend(shard.waiters.leads_to(hash).filter(|h| seen.insert(*h)));
                }
            }
            if wanted.iter().all(|h| self.held(*h).is_some()) {
                return;
            }
            self.lock_again(&wanted);
        }
    }

    /// Joins the queues of all the keys it waits for; the unit holds their locks.
    pub fn enlist(&mut self, waiter: &Arc<Waiter>) {
        waiter.listed.store(true, Relaxed);
        for (hash, key) in &waiter.keys {
            self.shard(*hash).waiters.join(*hash, key, waiter);
        }
    }

    /// Takes a waiter out of all its queues; the unit holds their locks.
    pub fn dismiss(&mut self, waiter: &Waiter) {
        for (hash, key) in &waiter.keys {
            self.shard(*hash).waiters.leave(*hash, key, waiter);
        }
        waiter.listed.store(false, Relaxed);
    }

    /// The last place in a key's queue.
    pub fn last_waiter(&mut self, ready: &Ready) -> u64 {
        let key = Key { hash: ready.hash, bytes: &ready.key };
        let queue = self.shard(ready.hash).waiters.queue(ready.db, key);
        queue.and_then(|q| q.waiters.last_key_value()).map_or(0, |(seq, _)| *seq)
    }

    /// The next behind the place `after` who is worth a try now, with its place.
    pub fn next_waiter(&mut self, ready: &Ready, after: u64) -> Option<(u64, Arc<Waiter>)> {
        let key = Key { hash: ready.hash, bytes: &ready.key };
        let db = std::mem::replace(&mut self.db, ready.db);
        let kind = self.kind(key);
        self.db = db;
        let queue = self.shard(ready.hash).waiters.queue(ready.db, key)?;
        if kind.is_none() && queue.on_gone == 0 {
            return None;
        }
        let fits = |w: &Waiter| w.on_gone || kind == Some(w.kind);
        queue.waiters.range(after + 1..).find(|(_, w)| fits(w)).map(|(seq, w)| (*seq, w.clone()))
    }

    /// Notes every key that somebody waits for: all data may have changed. Only for units that run alone.
    pub fn note_all_waited_for(&mut self) {
        for db in 0..self.databases() {
            self.note_waited_for(db);
        }
    }
}

impl Keyspace {
    /// Takes a waiter out that nobody is to serve any more. The caller holds no shard.
    pub fn dismiss(&self, waiter: &Waiter) {
        for (hash, key) in &waiter.keys {
            self.lock(self.shard_of(*hash)).waiters.leave(*hash, key, waiter);
        }
        waiter.listed.store(false, Relaxed);
    }

    /// How many keys are waited for, and how many of them also for their going.
    pub fn waited_for(&self) -> (usize, usize) {
        let (mut all, mut on_gone) = (0, 0);
        for i in 0..self.shards() {
            for queue in self.lock(ShardId(i)).waiters.queues.values().flatten() {
                all += 1;
                on_gone += usize::from(queue.on_gone != 0);
            }
        }
        (all, on_gone)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn waiter(db: usize, keys: &[&str], touches: &[&str], on_gone: bool) -> Arc<Waiter> {
        let touches: Vec<u64> = touches.iter().chain(keys).map(|k| Key::new(k.as_bytes()).hash).collect();
        Waiter::new(db, Type::String, on_gone, keys.iter().map(|k| k.as_bytes()), &touches, Box::new(()))
    }

    fn hash(key: &str) -> u64 {
        Key::new(key.as_bytes()).hash
    }

    fn ready(db: usize, key: &str) -> Ready {
        Ready { db, hash: hash(key), key: key.as_bytes().into() }
    }

    /// Places in the queue, as serving would meet them.
    fn order(data: &mut Data<'_>, db: usize, key: &str) -> Vec<u64> {
        let (mut after, mut seen) = (0, Vec::new());
        while let Some((seq, _)) = data.next_waiter(&ready(db, key), after) {
            seen.push(seq);
            after = seq;
        }
        seen
    }

    fn alone<R>(ks: &Keyspace, unit: &mut Unit, f: impl FnOnce(&mut Data<'_>) -> R) -> R {
        f(&mut Data::lock_alone(ks, 0, unit))
    }

    fn set(data: &mut Data<'_>, key: &str) {
        let key = Key::new(key.as_bytes());
        data.set_string(key, b"v", None, super::super::data::KeepTtl::Replace(None));
        // Nobody waits for strings but here.
        data.rouse(key);
        data.changed(key, super::super::event::EventClass::STRING, "set");
    }

    #[test]
    fn who_came_first_is_met_first_and_who_left_is_not_met() {
        let (ks, mut unit) = (Keyspace::new(8, 2), Unit::default());
        let all: Vec<_> = (0..5).map(|_| waiter(0, &["a", "b"], &[], false)).collect();
        alone(&ks, &mut unit, |data| {
            all.iter().for_each(|w| data.enlist(w));
            assert!(order(data, 0, "a").is_empty(), "nothing is there yet");
            set(data, "a");
            set(data, "b");
            let places: Vec<u64> = all.iter().map(|w| w.seq).collect();
            assert_eq!(order(data, 0, "a"), places);
            assert_eq!(order(data, 0, "b"), places);
            assert!(order(data, 1, "a").is_empty(), "another database");
            data.dismiss(&all[1]);
            assert!(!all[1].is_listed() && all[2].is_listed());
            assert_eq!(order(data, 0, "a"), [places[0], places[2], places[3], places[4]]);
        });
        assert_eq!(ks.waited_for(), (2, 0));
        all.iter().for_each(|w| ks.dismiss(w));
        assert_eq!(ks.waited_for(), (0, 0));
        for i in 0..ks.shards() {
            assert!(ks.lock(ShardId(i)).waiters.is_empty());
        }
    }

    #[test]
    fn a_key_is_noted_once_and_only_if_waited_for() {
        let (ks, mut unit) = (Keyspace::new(8, 2), Unit::default());
        alone(&ks, &mut unit, |data| {
            data.enlist(&waiter(0, &["a", "a"], &[], false));
            set(data, "a");
            set(data, "b");
            set(data, "a");
        });
        assert_eq!(unit.ready.iter().map(|r| &*r.key).collect::<Vec<_>>(), [b"a"]);
        assert_eq!(ks.waited_for(), (1, 0), "a key named twice is one");
    }

    #[test]
    fn who_waits_for_the_going_is_met_when_the_key_is_gone() {
        let (ks, mut unit) = (Keyspace::new(8, 2), Unit::default());
        let (plain, gone) = (waiter(0, &["a"], &[], false), waiter(0, &["a"], &[], true));
        alone(&ks, &mut unit, |data| {
            set(data, "a");
            data.enlist(&plain);
            data.enlist(&gone);
            data.flush();
            assert_eq!(order(data, 0, "a"), [gone.seq]);
        });
        assert_eq!(unit.ready.len(), 1);
        assert_eq!(ks.waited_for(), (1, 1));
        ks.dismiss(&gone);
        assert_eq!(ks.waited_for(), (1, 0));
    }

    #[test]
    fn exchanged_databases_wake_those_who_wait_for_what_came() {
        let (ks, mut unit) = (Keyspace::new(8, 2), Unit::default());
        alone(&ks, &mut unit, |data| {
            set(data, "a");
            data.enlist(&waiter(1, &["a", "b"], &[], false));
            data.swap(0, 1);
        });
        let noted: Vec<_> = unit.ready.iter().map(|r| (r.db, &*r.key)).collect();
        assert_eq!(noted, [(1, &b"a"[..])]);
    }

    #[test]
    fn a_unit_holds_whatever_serving_its_waiters_may_lead_to() {
        let (ks, mut unit) = (Keyspace::new(64, 1), Unit::default());
        alone(&ks, &mut unit, |data| {
            data.enlist(&waiter(0, &["a"], &["b"], false));
            data.enlist(&waiter(0, &["b"], &["c"], false));
            data.enlist(&waiter(0, &["c", "d"], &["a"], false));
            data.enlist(&waiter(0, &["x"], &["y"], false));
        });
        let mut data = Data::lock_one(&ks, hash("a"), 0, &mut unit);
        assert!(data.someone_waits());
        data.hold_for_waiters(&[hash("a")]);
        for key in ["a", "b", "c", "d"] {
            assert!(data.held(hash(key)).is_some(), "{key}");
        }
        drop(data);
        let mut data = Data::lock_one(&ks, hash("y"), 0, &mut unit);
        data.hold_for_waiters(&[hash("y")]);
        assert!(data.held(hash("x")).is_none() || ks.shard_of(hash("x")) == ks.shard_of(hash("y")));
    }

    #[test]
    fn queues_agree_with_a_plain_list_after_many_comings_and_goings() {
        let (ks, mut unit) = (Keyspace::new(4, 1), Unit::default());
        let mut model: Vec<Arc<Waiter>> = Vec::new();
        let mut dice = crate::base::rand::Rng::from_seed(7);
        let names = ["a", "b", "c", "d", "e"];
        alone(&ks, &mut unit, |data| {
            names.iter().for_each(|n| set(data, n));
            for _ in 0..2000 {
                if model.is_empty() || dice.below(5) < 3 {
                    let keys: Vec<&str> = (0..=dice.below(3)).map(|_| names[dice.below(5) as usize]).collect();
                    let touched = [names[dice.below(5) as usize]];
                    let w = waiter(0, &keys, &touched, dice.below(4) == 0);
                    data.enlist(&w);
                    model.push(w);
                } else {
                    let w = model.remove(dice.below(model.len() as u64) as usize);
                    data.dismiss(&w);
                }
            }
            for name in names {
                let waits = |w: &&Arc<Waiter>| w.keys.iter().any(|(_, k)| **k == *name.as_bytes());
                let expect: Vec<u64> = model.iter().filter(waits).map(|w| w.seq).collect();
                assert_eq!(order(data, 0, name), expect);
                let shard = data.shard(hash(name));
                let leads: BTreeSet<u64> = shard.waiters.leads_to(hash(name)).collect();
                let more = model.iter().filter(waits).filter(|w| w.touches.len() > 1);
                assert_eq!(leads, more.flat_map(|w| w.touches.iter().copied()).collect());
            }
            model.drain(..).for_each(|w| data.dismiss(&w));
        });
        assert_eq!(ks.waited_for(), (0, 0));
    }
}
