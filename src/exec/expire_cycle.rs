//! The active expiry cycle: deletes what expired, keys and fields of hashes, although nobody looks, with a bound on the
//! time it takes.
//!
//! Runs on the cron's thread behind the outsiders' gate; every key is deleted as a unit of its own, as a lookup would.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::block::Service;
use super::engine::Engine;
use super::gate::WorkerId;
use super::propagate::Effects;
use crate::base::clock;
use crate::keyspace::{Data, ExpirePolicy, Key, ShardId, Unit};

/// Keys collected under one shard lock.
const KEYS_AT_ONCE: usize = 64;
/// Fields of one hash that go under one hold of a shard's lock.
const FIELDS_AT_ONCE: usize = 256;

/// One round over all shards, for at most `budget_us`. Only masters expire; replicas wait for the master's DEL, but for what
/// their own clients wrote.
pub fn cycle(engine: &Arc<Engine>, budget_us: i64) {
    let (state, started) = (&engine.state, clock::mono_us());
    let idle = state.is_loading() || state.active_expire_off.load(Relaxed);
    if idle || engine.pause.current(clock::now_ms()).is_some() {
        return;
    }
    if state.is_replica() {
        expire_own(engine, budget_us);
        return;
    }
    if rests(engine) {
        return;
    }
    // Whoever was left out for lack of time comes first in the next round.
    let first = state.expire_shard.load(Relaxed);
    for i in 0..engine.ks.shards() {
        let shard = (first + i) % engine.ks.shards();
        for db in 0..engine.ks.databases() {
            while expire_some(engine, ShardId(shard), db) {
                if clock::mono_us() - started > budget_us {
                    state.expire_shard.store(shard, Relaxed);
                    engine.stats.counters.expired_time_cap_reached.fetch_add(1, Relaxed);
                    note_time(engine, started);
                    return;
                }
            }
        }
    }
    note_time(engine, started);
}

/// How long a master that restarted leaves what expired meanwhile, while nobody has heard of it yet.
const REST_MS: i64 = 30_000;

/// A master has come back. It may be told to follow another before it has done anything, and can go on where it was only if
/// it has deleted nothing of its own accord: what the other has done since may have kept a key alive.
pub fn rest(engine: &Engine) {
    engine.state.expiry_rests_at.store(engine.log.end_offset(), Relaxed);
    engine.state.expiry_rests_until_ms.store(clock::mono_ms() + REST_MS, Relaxed);
}

/// Somebody goes on from here.
pub fn no_rest(engine: &Engine) {
    engine.state.expiry_rests_until_ms.store(0, Relaxed);
}

fn rests(engine: &Engine) -> bool {
    let until_ms = engine.state.expiry_rests_until_ms.load(Relaxed);
    if until_ms == 0 {
        return false;
    }
    let rests = clock::mono_ms() < until_ms && engine.log.end_offset() == engine.state.expiry_rests_at.load(Relaxed);
    if !rests {
        no_rest(engine);
    }
    rests
}

fn note_time(engine: &Engine, started_us: i64) {
    let took = (clock::mono_us() - started_us).max(0) as u64;
    engine.stats.counters.expire_cycle_us.fetch_add(took, Relaxed);
    let spike_ms = engine.config.now().latency_monitor_threshold as u64;
    if spike_ms != 0 && took >= spike_ms.saturating_mul(1000) {
        engine.stats.spikes.add("expire-cycle", clock::now_ms() / 1000, took / 1000);
    }
}

/// Expires one portion; true if there may be more.
fn expire_some(engine: &Arc<Engine>, shard: ShardId, db: usize) -> bool {
    let now_ms = clock::now_ms();
    let due = engine.ks.due_keys(shard, db, now_ms, KEYS_AT_ONCE);
    if due.is_empty() {
        return false;
    }
    let keys = due.keys.iter().chain(&due.hashes).map(|key| &**key);
    let rest = expire_keys(engine, engine.gates.outsider(), db, now_ms, keys);
    rest.is_some_and(|rest| rest || due.len() >= KEYS_AT_ONCE)
}

/// Keys that clients of a writable replica gave an expiry: their master knows nothing of them.
fn expire_own(engine: &Arc<Engine>, budget_us: i64) {
    let started = clock::mono_us();
    let mut from = Bound::Unbounded;
    loop {
        let own = &engine.state.own_expiring;
        let Some((db, key)) = own.lock().range((from, Bound::Unbounded)).next().cloned() else { return };
        let gate = engine.gates.pass(engine.gates.outsider());
        if !engine.state.is_replica() {
            return;
        }
        let settings = engine.config.now();
        let mut unit = Unit {
            now_ms: clock::now_ms(),
            policy: ExpirePolicy::Delete,
            notify_mask: settings.notify_keyspace_events.0,
            limits: settings.limits(),
            ..Unit::default()
        };
        let mut data = Data::lock_one(&engine.ks, Key::new(&key).hash, db, &mut unit);
        data.expire(Key::new(&key));
        // Gone, or without an expiry: nothing of it is ours to look after any more.
        if data.peek(Key::new(&key)).is_none_or(|entry| entry.expire_ms().is_none()) {
            own.lock().remove(&(db, key.clone()));
        }
        let mut effects = Effects::default();
        effects.gone(&mut data.unit.gone);
        effects.append(engine);
        let worker = engine.gates.outsider();
        Service { engine, worker, settings: &settings, forbidden: 0 }.follow_up(&mut data);
        drop(data);
        engine.settle(worker, &mut unit);
        drop(gate);
        if clock::mono_us() - started > budget_us {
            return;
        }
        from = Bound::Excluded((db, key));
    }
}

/// Deletes those of these keys whose time is over, and of the others fields whose time is. `None`, and nothing is done, on
/// a replica; true if a hash has more such fields than went at once. `worker` is who asks; it holds no gate.
pub fn expire_keys<'k>(
    engine: &Arc<Engine>,
    worker: WorkerId,
    db: usize,
    now_ms: i64,
    keys: impl Iterator<Item = &'k [u8]>,
) -> Option<bool> {
    let settings = engine.config.now();
    let _gate = engine.gates.pass(worker);
    // The role may have changed before the gate was passed.
    if engine.state.is_replica() {
        return None;
    }
    let mut unit = Unit {
        now_ms,
        policy: ExpirePolicy::Delete,
        notify_mask: settings.notify_keyspace_events.0,
        limits: settings.limits(),
        ..Unit::default()
    };
    let mut rest = false;
    for key in keys {
        let key = Key::new(key);
        let mut data = Data::lock_one(&engine.ks, key.hash, db, &mut unit);
        if data.someone_waits() {
            data.hold_for_waiters(&[key.hash]);
        }
        rest |= !data.expire(key) && data.expire_due_fields(key, FIELDS_AT_ONCE);
        let mut effects = Effects::default();
        effects.gone(&mut data.unit.gone);
        effects.append(engine);
        Service { engine, worker, settings: &settings, forbidden: 0 }.follow_up(&mut data);
    }
    unit.dirty += unit.expired + unit.expired_fields;
    engine.settle(worker, &mut unit);
    engine.log.notify_readers();
    Some(rest)
}
