//! Keeping memory within `maxmemory`: keys go before a command that could need more, and in the background when one turn
//! was not enough.
//!
//! Every key is deleted as a unit of its own under the lock of its shard, so that nobody waits for more than that. Which
//! key is `keyspace::evict`'s choice.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed};
use std::thread::Thread;
use std::time::Duration;

use super::block::Service;
use super::engine::Engine;
use super::gate::WorkerId;
use super::propagate::Effects;
use crate::base::clock;
use crate::config::{MaxmemoryPolicy, Settings};
use crate::keyspace::evict::{Candidate, Chooser, Measure, Policy};
use crate::keyspace::shard::Garbage;
use crate::keyspace::{Data, ExpirePolicy, Unit};
use crate::resp::OwnedArgv;
use crate::stats::memory;

#[derive(Default)]
pub struct Evictor {
    chooser: Chooser,
    /// Bytes that threads are about to free: one is enough for each.
    in_hand: AtomicUsize,
    /// Since when memory is over the limit, in monotonic us; 0 while it is not.
    exceeded_since_us: AtomicI64,
    background: OnceLock<Thread>,
}

/// How it stands with memory after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Within,
    /// Not within the limit yet; it goes on in the background.
    Running,
    /// There is nothing that may go.
    Full,
}

/// How often a turn looks at the time, and lets replicas read.
const KEYS_A_LOOK: usize = 16;

/// What frees more allocations than this is freed by another thread.
const FREE_EFFORT_MAX: usize = 64;

impl Evictor {
    /// Has the background go on, or begin.
    pub fn wake(&self) {
        if let Some(thread) = self.background.get() {
            thread.unpark();
        }
    }

    /// For how long the limit has been exceeded, in us.
    pub fn exceeded_us(&self) -> u64 {
        match self.exceeded_since_us.load(Relaxed) {
            0 => 0,
            since => (clock::mono_us() - since).max(0) as u64,
        }
    }

    fn note(&self, engine: &Engine, outcome: Outcome) {
        let since = self.exceeded_since_us.load(Relaxed);
        match (outcome, since) {
            (Outcome::Within, 0) => {}
            (Outcome::Within, _) => {
                // Whoever takes it to zero adds it to the sum.
                let since = self.exceeded_since_us.swap(0, Relaxed);
                let us = if since == 0 { 0 } else { (clock::mono_us() - since).max(0) as u64 };
                engine.stats.counters.eviction_exceeded_us.fetch_add(us, Relaxed);
            }
            (Outcome::Running | Outcome::Full, 0) => {
                self.exceeded_since_us.store(clock::mono_us().max(1), Relaxed);
            }
            (Outcome::Running | Outcome::Full, _) => {}
        }
    }
}

/// Starts the background; it sleeps until it is woken.
pub fn start(engine: std::sync::Arc<Engine>) -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name("evict".into()).spawn({
        let engine = engine.clone();
        move || loop {
            std::thread::park();
            loop {
                let outsider = engine.gates.outsider();
                let _gate = engine.gates.pass(outsider);
                if perform(&engine, &engine.config.now(), outsider) != Outcome::Running {
                    break;
                }
            }
        }
    })?;
    // The engine is started once.
    let _ = engine.evictor.background.set(thread.thread().clone());
    Ok(())
}

/// How many of these bytes of replication buffers would not be there without replicas: evicting for them would send
/// replicas still more.
pub fn not_counted(buffers: usize, s: &Settings) -> usize {
    buffers.saturating_sub(s.repl_backlog_size as usize)
}

/// By how many bytes the limit is exceeded.
fn excess(engine: &Engine, s: &Settings) -> usize {
    let (used, limit) = (memory::used(), s.maxmemory as usize);
    if limit == 0 || used <= limit {
        return 0;
    }
    let on_its_way = engine.freeing().pending_bytes.load(Relaxed) + engine.clients.leaving_bytes();
    let spared = not_counted(engine.log.memory_bytes(), s) + on_its_way;
    used.saturating_sub(spared).saturating_sub(limit)
}

/// For how long a turn may hold up a command.
fn turn_us(tenacity: i64) -> i64 {
    match tenacity {
        ..=10 => 50 * tenacity,
        11..=99 => (500.0 * 1.15f64.powi(tenacity as i32 - 10)) as i64,
        _ => i64::MAX,
    }
}

fn policy_of(s: &Settings) -> Option<Policy> {
    let frequency = Measure::Frequency { decay_minutes: s.lfu_decay_time as u32 };
    let (measure, volatile) = match s.maxmemory_policy {
        MaxmemoryPolicy::AllkeysLru => (Measure::Idle, false),
        MaxmemoryPolicy::VolatileLru => (Measure::Idle, true),
        MaxmemoryPolicy::AllkeysLfu => (frequency, false),
        MaxmemoryPolicy::VolatileLfu => (frequency, true),
        MaxmemoryPolicy::AllkeysRandom => (Measure::Random, false),
        MaxmemoryPolicy::VolatileRandom => (Measure::Random, true),
        MaxmemoryPolicy::VolatileTtl => (Measure::Deadline, true),
        MaxmemoryPolicy::NoEviction => return None,
    };
    Some(Policy { measure, volatile })
}

/// Whether keys may go at all: not while loading, nor where a master decides, nor while a pause freezes the data.
fn may_evict(engine: &Engine, s: &Settings) -> bool {
    let state = &engine.state;
    let left_to_master = state.is_replica() && s.replica_ignore_maxmemory;
    !state.is_loading() && !left_to_master && engine.pause.current(clock::now_ms()).is_none()
}

/// One turn: evicts until memory is within the limit, nothing may go, or the turn is over. The caller is behind the gate
/// of `worker` and holds no shard.
pub fn perform(engine: &Engine, s: &Settings, worker: WorkerId) -> Outcome {
    if !may_evict(engine, s) {
        return Outcome::Within;
    }
    let over = excess(engine, s);
    let outcome = if over == 0 { Outcome::Within } else { make_room(engine, s, worker, over) };
    engine.evictor.note(engine, outcome);
    outcome
}

/// Bytes that this thread is about to free.
struct InHand<'a> {
    sum: &'a AtomicUsize,
    left: usize,
}

impl<'a> InHand<'a> {
    fn take(sum: &'a AtomicUsize, over: usize) -> Self {
        let left = over.saturating_sub(sum.load(Relaxed));
        sum.fetch_add(left, Relaxed);
        Self { sum, left }
    }

    fn freed(&mut self, bytes: usize) {
        let bytes = bytes.min(self.left);
        self.left -= bytes;
        self.sum.fetch_sub(bytes, Relaxed);
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.sum.fetch_sub(self.left, Relaxed);
    }
}

#[cold]
fn make_room(engine: &Engine, s: &Settings, worker: WorkerId, over: usize) -> Outcome {
    let Some(policy) = policy_of(s) else { return Outcome::Full };
    let (started, turn) = (clock::mono_us(), turn_us(s.maxmemory_eviction_tenacity));
    let mut unit = Unit {
        now_ms: clock::now_ms(),
        policy: ExpirePolicy::Delete,
        notify_mask: s.notify_keyspace_events.0,
        limits: s.limits(),
        ..Unit::default()
    };
    let mut in_hand = InHand::take(&engine.evictor.in_hand, over);
    let mut evicted = 0;
    let outcome = loop {
        if in_hand.left == 0 {
            break Outcome::Within;
        }
        let samples = s.maxmemory_samples as usize;
        let Some(victim) = engine.evictor.chooser.choose(&engine.ks, policy, samples, unit.now_ms) else {
            break Outcome::Full;
        };
        let Some(bytes) = evict(engine, s, worker, &mut unit, policy, victim) else { continue };
        in_hand.freed(bytes);
        evicted += 1;
        if evicted % KEYS_A_LOOK == 0 {
            engine.log.notify_readers();
            if excess(engine, s) == 0 {
                break Outcome::Within;
            }
            if clock::mono_us() - started > turn {
                engine.evictor.wake();
                break Outcome::Running;
            }
        }
    };
    drop(in_hand);
    engine.log.notify_readers();
    let outcome = if outcome == Outcome::Full { wait_for_freeing(engine, s, started, turn) } else { outcome };
    spike(engine, s, "eviction-cycle", started);
    outcome
}

/// Nothing may go, but what went may still be on its way out.
fn wait_for_freeing(engine: &Engine, s: &Settings, started_us: i64, turn_us: i64) -> Outcome {
    let began = clock::mono_us();
    while engine.freeing().pending.load(Relaxed) > 0 && clock::mono_us() - started_us < turn_us {
        if excess(engine, s) == 0 {
            return Outcome::Within;
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    spike(engine, s, "eviction-lazyfree", began);
    if excess(engine, s) == 0 { Outcome::Within } else { Outcome::Full }
}

/// Deletes one key and tells of it; gives the bytes that makes free, `None` if the key may stay after all.
fn evict(
    engine: &Engine,
    s: &Settings,
    worker: WorkerId,
    unit: &mut Unit,
    policy: Policy,
    victim: Candidate,
) -> Option<usize> {
    let began = clock::mono_us();
    let mut data = Data::lock_one(&engine.ks, victim.hash, victim.db, unit);
    if data.someone_waits() {
        data.hold_for_waiters(&[victim.hash]);
    }
    let entry = data.evict(&victim, policy)?;
    let word: &[u8] = if s.lazyfree_lazy_eviction { b"UNLINK" } else { b"DEL" };
    let mut effects = Effects::default();
    effects.own(victim.db, OwnedArgv::from_words([word, &victim.key]));
    effects.append(engine);
    Service { engine, worker, settings: s, forbidden: 0 }.follow_up(&mut data);
    drop(data);
    engine.settle(worker, unit);
    engine.stats.counters.evicted_keys.fetch_add(1, Relaxed);
    let bytes = entry.memory_bytes();
    if entry.value().free_effort() > FREE_EFFORT_MAX {
        engine.free_later(std::iter::once(Garbage::Entry(entry)));
    } else {
        drop(entry);
    }
    spike(engine, s, "eviction-del", began);
    Some(bytes)
}

fn spike(engine: &Engine, s: &Settings, event: &'static str, since_us: i64) {
    let threshold_ms = s.latency_monitor_threshold as u64;
    if threshold_ms != 0 {
        let took_ms = (clock::mono_us() - since_us).max(0) as u64 / 1000;
        if took_ms >= threshold_ms {
            engine.stats.spikes.add(event, clock::now_ms() / 1000, took_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenacity_lengthens_a_turn() {
        let turns = [0, 1, 10, 11, 50, 99, 100].map(turn_us);
        assert_eq!((turns[0], turns[1], turns[2], turns[6]), (0, 50, 500, i64::MAX));
        assert!(turns.is_sorted() && turns[5] > 100_000_000, "{turns:?}");
    }

    #[test]
    fn what_one_thread_has_in_hand_another_leaves_alone() {
        let sum = AtomicUsize::new(0);
        let mut first = InHand::take(&sum, 100);
        let second = InHand::take(&sum, 130);
        assert_eq!((first.left, second.left), (100, 30));
        first.freed(250);
        assert_eq!((first.left, sum.load(Relaxed)), (0, 30));
        drop((first, second));
        assert_eq!(sum.load(Relaxed), 0);
    }
}
