//! Which key goes next when memory is short: samples of one shard after the other, the best of them kept in a pool.
//!
//! A candidate is remembered by a rank that stays right while nobody uses its key: the moment of the last use, not the
//! time since. So a pool that is filled over many rounds still has the oldest of all its samples at its end; and since
//! the rank is looked at again before the key goes, one that was used meanwhile is spared. Knows not when memory is
//! short, nor what is told of it.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::entry::Entry;
use super::shard::{Db, Keyspace, Shard, ShardId};
use super::unit::lfu_decayed;
use crate::base::hash;
use crate::base::rand::Rng;

/// By what keys are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Longest unused first.
    Idle,
    /// Least often used first.
    Frequency {
        decay_minutes: u32,
    },
    /// Soonest to expire first.
    Deadline,
    Random,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    pub measure: Measure,
    /// Only keys that expire may go.
    pub volatile: bool,
}

impl Policy {
    /// The lower, the sooner an entry goes; `None`: it may not go at all.
    pub fn rank(self, entry: &Entry, now_ms: i64) -> Option<i64> {
        let expire_ms = entry.expire_ms();
        if self.volatile && expire_ms.is_none() {
            return None;
        }
        let access = i64::from(entry.access());
        Some(match self.measure {
            Measure::Idle => {
                let now_s = now_ms / 1000;
                now_s - ((now_s - access) & 0x00ff_ffff)
            }
            Measure::Frequency { decay_minutes } => {
                // Of those used equally often, the one whose last use is longer ago.
                let age = (now_ms / 60_000 - (access >> 8)) & 0xffff;
                i64::from(lfu_decayed(entry.access(), now_ms, decay_minutes)) << 16 | (0xffff - age)
            }
            Measure::Deadline => expire_ms.unwrap_or(i64::MAX),
            Measure::Random => 0,
        })
    }
}

/// A key that may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub db: usize,
    pub hash: u64,
    pub key: SmallVec<[u8; 32]>,
    pub rank: i64,
}

/// Candidates kept from one choice to the next: enough that what is evicted comes from many samples, few enough that
/// keys are not forgotten in it.
const POOL: usize = 64;

/// The best candidates, the very best at the end.
struct Pool {
    policy: Policy,
    list: Vec<Candidate>,
}

impl Pool {
    fn add(&mut self, candidate: Candidate) {
        let at = self.list.partition_point(|c| c.rank > candidate.rank);
        if self.list.len() == POOL {
            if at == 0 {
                return;
            }
            self.list.remove(0);
            self.list.insert(at - 1, candidate);
        } else {
            self.list.insert(at, candidate);
        }
    }
}

/// Chooses victims. One for the whole keyspace; nothing is held from one call to the next but the pool's contents.
pub struct Chooser {
    pool: Mutex<Pool>,
    /// The shard that is sampled next.
    next: AtomicU32,
}

impl Default for Chooser {
    fn default() -> Self {
        let policy = Policy { measure: Measure::Random, volatile: false };
        Self { pool: Mutex::new(Pool { policy, list: Vec::new() }), next: AtomicU32::new(0) }
    }
}

impl Chooser {
    /// Samples about `samples` keys and gives the best candidate of these and of those seen before; `None` if no key
    /// may go. It may be gone or used by the time its shard is locked: see [`Policy::rank`].
    pub fn choose(&self, ks: &Keyspace, policy: Policy, samples: usize, now_ms: i64) -> Option<Candidate> {
        let mut random = Rng::from_seed(crate::base::rand::u64());
        // Each shard once, busy ones passed over; then, if there was nothing elsewhere, the busy ones too.
        for wait in [false, true] {
            for _ in 0..ks.shards() {
                let id = ShardId(self.next.fetch_add(1, Relaxed) % ks.shards());
                let mut found = Samples::new();
                match ks.try_lock(id) {
                    Some(shard) => sample(&shard, policy, samples, now_ms, &mut random, &mut found),
                    None if wait => sample(&ks.lock(id), policy, samples, now_ms, &mut random, &mut found),
                    None => {}
                }
                if let Some(best) = self.best(policy, found, &mut random) {
                    return Some(best);
                }
            }
        }
        None
    }

    fn best(&self, policy: Policy, mut found: Samples, random: &mut Rng) -> Option<Candidate> {
        if policy.measure == Measure::Random {
            // Any of them, which may be of several databases.
            let at = random.below(found.len().max(1) as u64) as usize;
            return found.into_iter().nth(at);
        }
        let mut pool = self.pool.lock();
        if pool.policy != policy {
            pool.policy = policy;
            pool.list.clear();
        }
        // The first slots of a bucket hold the newest keys: where ranks are equal, that must not decide.
        for i in (1..found.len()).rev() {
            found.swap(i, random.below(i as u64 + 1) as usize);
        }
        for candidate in found {
            if !pool.list.iter().any(|c| c.hash == candidate.hash && c.key == candidate.key && c.db == candidate.db) {
                pool.add(candidate);
            }
        }
        pool.list.pop()
    }
}

type Samples = SmallVec<[Candidate; 8]>;

/// Samples of every database in one shard.
fn sample(shard: &Shard, policy: Policy, samples: usize, now_ms: i64, random: &mut Rng, found: &mut Samples) {
    for (n, db) in shard.dbs.iter().enumerate() {
        let eligible = if policy.volatile { db.expiring } else { db.dict.len() };
        if eligible == 0 {
            continue;
        }
        let mut add = |entry: &Entry| {
            if let Some(rank) = policy.rank(entry, now_ms) {
                let key = entry.key();
                found.push(Candidate { db: n, hash: hash::hash(key), key: key.into(), rank });
            }
        };
        match policy {
            Policy { measure: Measure::Random, volatile: false } => {
                db.dict.random(random.u64()).map(&mut add);
            }
            Policy { volatile: false, .. } => some(db, samples, random, add),
            Policy { volatile: true, .. } => some_volatile(db, samples, random, add),
        }
    }
}

/// Neighbours in hash order: as good as strangers, and they share buckets.
fn some(db: &Db, n: usize, random: &mut Rng, mut f: impl FnMut(&Entry)) {
    let n = n.min(db.dict.len());
    let mut seen = 0;
    let end = db.dict.scan(random.u64() >> 16, n, |e| {
        seen += 1;
        f(e);
    });
    if end == 0 && seen < n {
        db.dict.scan(0, n - seen, f);
    }
}

/// The same among entries that expire.
fn some_volatile(db: &Db, n: usize, random: &mut Rng, mut f: impl FnMut(&Entry)) {
    // Where one of eight expires, looking at more entries finds enough.
    let share = db.dict.len() / db.expiring;
    if share <= 8 {
        let mut seen = 0;
        some(db, n * share, random, |e| {
            if e.expire_ms().is_some() {
                seen += 1;
                f(e);
            }
        });
        if seen > 0 {
            return;
        }
    }
    // Otherwise the deadlines that segments note lead to them.
    let (start, mut seen) = (random.u64() >> 16, 0);
    for from in [start, 0] {
        let mut cursor = from;
        while seen < n
            && let Some(at) = db.dict.due_segment(cursor, i64::MAX - 1)
        {
            // Any of the segment's, each with the same chance.
            let mut some: SmallVec<[&Entry; 16]> = SmallVec::new();
            for (i, entry) in db.dict.entries_at(at).filter(|e| e.expire_ms().is_some()).enumerate() {
                if i < n {
                    some.push(entry);
                } else if let Some(kept) = some.get_mut(random.below(i as u64 + 1) as usize) {
                    *kept = entry;
                }
            }
            seen += some.len();
            some.into_iter().for_each(&mut f);
            match db.dict.segment_at(at).and_then(|(_, next)| next) {
                Some(next) => cursor = next,
                None => break,
            }
        }
        if seen > 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::{Data, Key, Unit};

    const NOW_MS: i64 = 1_700_000_000_000;

    /// Keys `0` to `n - 1`; key `i` was used `n - i` seconds ago and expires in `1000 + i` seconds if `expires` says so.
    fn keyspace(n: usize, expires: impl Fn(usize) -> bool) -> Keyspace {
        let ks = Keyspace::new(8, 2);
        let mut unit = Unit { now_ms: NOW_MS, ..Unit::default() };
        for i in 0..n {
            let name = i.to_string();
            let key = Key::new(name.as_bytes());
            let at = expires(i).then_some(NOW_MS + (1000 + i as i64) * 1000);
            let entry = Entry::string(key.bytes, b"value", at);
            entry.set_access((NOW_MS / 1000 - (n - i) as i64) as u32 & 0x00ff_ffff);
            Data::lock_one(&ks, key.hash, i % 2, &mut unit).put(key, entry);
        }
        ks
    }

    /// Evicts `n` keys; their numbers.
    fn evict(ks: &Keyspace, policy: Policy, n: usize) -> Vec<usize> {
        let chooser = Chooser::default();
        let mut unit = Unit { now_ms: NOW_MS, ..Unit::default() };
        let mut gone = Vec::new();
        while gone.len() < n
            && let Some(victim) = chooser.choose(ks, policy, 5, NOW_MS)
        {
            let mut data = Data::lock_one(ks, victim.hash, victim.db, &mut unit);
            if let Some(entry) = data.evict(&victim, policy) {
                gone.push(std::str::from_utf8(entry.key()).unwrap().parse().unwrap());
            }
        }
        gone
    }

    fn policies(volatile: bool) -> impl Iterator<Item = Policy> {
        [Measure::Idle, Measure::Frequency { decay_minutes: 1 }, Measure::Deadline, Measure::Random]
            .into_iter()
            .map(move |measure| Policy { measure, volatile })
    }

    #[test]
    fn every_key_that_may_go_goes_in_the_end_and_no_other() {
        for rare in [2, 100] {
            for policy in policies(true).chain(policies(false)) {
                let ks = keyspace(1000, |i| i % rare == 0);
                let mut gone = evict(&ks, policy, usize::MAX);
                gone.sort_unstable();
                let expect: Vec<usize> = (0..1000).filter(|i| !policy.volatile || i % rare == 0).collect();
                assert_eq!(gone, expect, "{policy:?}");
            }
        }
    }

    #[test]
    fn the_worst_go_first_by_and_large() {
        for measure in [Measure::Idle, Measure::Deadline] {
            let ks = keyspace(4000, |_| true);
            let gone = evict(&ks, Policy { measure, volatile: true }, 1000);
            let right = gone.iter().filter(|i| **i < 1000).count();
            assert!(right > 850, "{measure:?}: {right} of 1000");
            assert!(gone.iter().all(|i| *i < 2500), "{measure:?}: {:?}", gone.iter().max());
        }
    }

    #[test]
    fn what_was_used_since_it_was_chosen_stays() {
        let ks = keyspace(10, |_| false);
        let (chooser, policy) = (Chooser::default(), Policy { measure: Measure::Idle, volatile: false });
        let victim = chooser.choose(&ks, policy, 100, NOW_MS).unwrap();
        let mut unit = Unit { now_ms: NOW_MS, ..Unit::default() };
        let mut data = Data::lock_one(&ks, victim.hash, victim.db, &mut unit);
        data.get(Key { bytes: &victim.key, hash: victim.hash });
        assert!(data.evict(&victim, policy).is_none());
        drop(data);
        assert_ne!(chooser.choose(&ks, policy, 100, NOW_MS).unwrap().key, victim.key);
    }

    #[test]
    fn the_lru_clock_may_wrap() {
        let entry = Entry::string(b"k", b"v", None);
        let policy = Policy { measure: Measure::Idle, volatile: false };
        let now_s = (5i64 << 24) + 10;
        entry.set_access(0x00ff_fff0);
        assert_eq!(policy.rank(&entry, now_s * 1000), Some(now_s - 26));
    }
}
