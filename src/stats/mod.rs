//! Floor 3: counters, and the numbers INFO and LATENCY tell.
//!
//! A worker writes only its own counters (uncontended, relaxed); readers add them up. Knows commands by their number in
//! the table alone.

pub mod latency;
pub mod memory;
pub mod slowlog;
pub mod spikes;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;

use crate::base::Error;
use latency::Histogram;

use slowlog::SlowLog;

/// What one worker counted of one command.
#[derive(Default)]
pub struct CommandStat {
    pub calls: AtomicU64,
    pub usec: AtomicU64,
    pub rejected: AtomicU64,
    pub failed: AtomicU64,
    pub latency: Histogram,
}

struct WorkerStats {
    commands: Box<[CommandStat]>,
    hits: AtomicU64,
    misses: AtomicU64,
    net_in: AtomicU64,
    net_out: AtomicU64,
    reads: AtomicU64,
    writes: AtomicU64,
    /// Looks at what a connection sent, how long they took together, the longest, and the most commands in one.
    cycles: AtomicU64,
    cycles_us: AtomicU64,
    cycle_max_us: AtomicU64,
    cycle_max_commands: AtomicU64,
}

/// The sum over all workers of one command's counters.
#[derive(Clone, Debug, Default)]
pub struct CommandTotal {
    pub calls: u64,
    pub usec: u64,
    pub rejected: u64,
    pub failed: u64,
}

/// Named counters of the whole server, each where INFO shows it. Zeroed by CONFIG RESETSTAT.
#[derive(Default)]
pub struct Counters {
    pub connections_received: AtomicU64,
    pub connections_rejected: AtomicU64,
    pub sync_full: AtomicU64,
    pub sync_partial_ok: AtomicU64,
    pub sync_partial_err: AtomicU64,
    pub expired_keys: AtomicU64,
    /// Fields of hashes.
    pub expired_subkeys: AtomicU64,
    pub expired_time_cap_reached: AtomicU64,
    pub expire_cycle_us: AtomicU64,
    pub evicted_keys: AtomicU64,
    pub evicted_clients: AtomicU64,
    pub eviction_exceeded_us: AtomicU64,
    pub repl_in: AtomicU64,
    pub repl_out: AtomicU64,
    pub errors: AtomicU64,
    pub unexpected_error_replies: AtomicU64,
    pub dump_payload_sanitizations: AtomicU64,
    pub output_limit_disconnections: AtomicU64,
    pub query_limit_disconnections: AtomicU64,
    pub acl_denied_auth: AtomicU64,
}

/// Rates that INFO calls `instantaneous_*`: the mean of the last samples.
#[derive(Default)]
struct Rate {
    last: u64,
    samples: [u64; Rate::SAMPLES],
    at: usize,
}

impl Rate {
    const SAMPLES: usize = 16;

    fn sample(&mut self, total: u64, elapsed_ms: i64) {
        let per_s = total.saturating_sub(self.last) * 1000 / elapsed_ms.max(1) as u64;
        self.last = total;
        self.samples[self.at] = per_s;
        self.at = (self.at + 1) % Self::SAMPLES;
    }

    fn mean(&self) -> u64 {
        self.samples.iter().sum::<u64>() / Self::SAMPLES as u64
    }
}

#[derive(Default)]
struct Rates {
    at_ms: i64,
    commands: Rate,
    net_in: Rate,
    net_out: Rate,
    repl_in: Rate,
    repl_out: Rate,
    cycles: Rate,
    cycles_us: Rate,
}

/// `instantaneous_*` of INFO, per second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Instant {
    pub ops: u64,
    pub net_in_bytes: u64,
    pub net_out_bytes: u64,
    pub repl_in_bytes: u64,
    pub repl_out_bytes: u64,
    pub cycles: u64,
    /// The mean length of a cycle.
    pub cycle_us: u64,
}

pub struct Stats {
    workers: Box<[CachePadded<WorkerStats>]>,
    pub counters: Counters,
    errors: Mutex<BTreeMap<String, u64>>,
    rates: Mutex<Rates>,
    pub slowlog: SlowLog,
    /// Events that took longer than `latency-monitor-threshold`.
    pub spikes: spikes::Spikes,
    /// Highest `used_memory` seen.
    pub peak_memory: AtomicU64,
    /// Whether latency histograms are kept (`latency-tracking`).
    pub track_latency: std::sync::atomic::AtomicBool,
    /// Unix seconds of the last CONFIG RESETSTAT.
    pub reset_at_s: AtomicI64,
}

/// More kinds of error than this are a client's play: they are counted, but not by name (as stock).
const ERROR_KINDS_MAX: usize = 128;

impl Stats {
    pub fn new(workers: usize, commands: usize) -> Self {
        let worker = || {
            CachePadded::new(WorkerStats {
                commands: (0..commands).map(|_| CommandStat::default()).collect(),
                hits: AtomicU64::new(0),
                misses: AtomicU64::new(0),
                net_in: AtomicU64::new(0),
                net_out: AtomicU64::new(0),
                reads: AtomicU64::new(0),
                writes: AtomicU64::new(0),
                cycles: AtomicU64::new(0),
                cycles_us: AtomicU64::new(0),
                cycle_max_us: AtomicU64::new(0),
                cycle_max_commands: AtomicU64::new(0),
            })
        };
        Self {
            workers: (0..workers).map(|_| worker()).collect(),
            counters: Counters::default(),
            errors: Mutex::default(),
            rates: Mutex::default(),
            slowlog: SlowLog::default(),
            spikes: spikes::Spikes::default(),
            peak_memory: AtomicU64::new(0),
            track_latency: std::sync::atomic::AtomicBool::new(true),
            reset_at_s: AtomicI64::new(0),
        }
    }

    #[inline]
    pub fn called(&self, worker: usize, command: u16, took_us: u64, failed: bool) {
        let stat = &self.workers[worker].commands[usize::from(command)];
        bump(&stat.calls, 1);
        bump(&stat.usec, took_us);
        if failed {
            bump(&stat.failed, 1);
        }
        if self.track_latency.load(Relaxed) {
            stat.latency.record(took_us);
        }
    }

    pub fn rejected(&self, worker: usize, command: u16) {
        bump(&self.workers[worker].commands[usize::from(command)].rejected, 1);
    }

    #[inline]
    pub fn lookups(&self, worker: usize, hits: u64, misses: u64, expired: u64) {
        let w = &self.workers[worker];
        bump(&w.hits, hits);
        bump(&w.misses, misses);
        if expired != 0 {
            self.counters.expired_keys.fetch_add(expired, Relaxed);
        }
    }

    #[inline]
    pub fn network(&self, worker: usize, read_bytes: usize, written_bytes: usize) {
        let w = &self.workers[worker];
        bump(&w.net_in, read_bytes as u64);
        bump(&w.net_out, written_bytes as u64);
        bump(&w.reads, u64::from(read_bytes != 0));
        bump(&w.writes, u64::from(written_bytes != 0));
    }

    /// One look at what a connection sent, or one of the cron's, is over.
    pub fn cycle(&self, worker: usize, us: u64, commands: u64) {
        let w = &self.workers[worker];
        bump(&w.cycles, 1);
        bump(&w.cycles_us, us);
        if us > w.cycle_max_us.load(Relaxed) {
            w.cycle_max_us.store(us, Relaxed);
        }
        if commands > w.cycle_max_commands.load(Relaxed) {
            w.cycle_max_commands.store(commands, Relaxed);
        }
    }

    /// How many cycles there were, and how long they took.
    pub fn cycles(&self) -> (u64, u64) {
        self.workers.iter().fold((0, 0), |(n, us), w| (n + w.cycles.load(Relaxed), us + w.cycles_us.load(Relaxed)))
    }

    /// The part of the cron, which counts as the last worker.
    pub fn cron_us(&self) -> u64 {
        self.workers.last().map_or(0, |w| w.cycles_us.load(Relaxed))
    }

    pub fn longest_cycle_us(&self) -> u64 {
        self.workers.iter().map(|w| w.cycle_max_us.load(Relaxed)).max().unwrap_or(0)
    }

    pub fn most_commands_a_cycle(&self) -> u64 {
        self.workers.iter().map(|w| w.cycle_max_commands.load(Relaxed)).max().unwrap_or(0)
    }

    pub fn commands_us(&self) -> u64 {
        self.workers.iter().flat_map(|w| w.commands.iter()).map(|c| c.usec.load(Relaxed)).sum()
    }

    pub fn error(&self, e: &Error) {
        self.error_line(&e.to_string());
    }

    /// Counts an error reply by its code.
    #[cold]
    pub fn error_line(&self, line: &str) {
        self.counters.errors.fetch_add(1, Relaxed);
        let mut errors = self.errors.lock();
        let code = Error::code(line);
        if let Some(n) = errors.get_mut(code) {
            *n += 1;
        } else if errors.len() < ERROR_KINDS_MAX {
            errors.insert(code.to_owned(), 1);
        }
    }

    pub fn errors(&self) -> Vec<(String, u64)> {
        self.errors.lock().iter().map(|(k, n)| (k.clone(), *n)).collect()
    }

    pub fn command(&self, command: u16) -> CommandTotal {
        let mut sum = CommandTotal::default();
        for w in &self.workers {
            let s = &w.commands[usize::from(command)];
            sum.calls += s.calls.load(Relaxed);
            sum.usec += s.usec.load(Relaxed);
            sum.rejected += s.rejected.load(Relaxed);
            sum.failed += s.failed.load(Relaxed);
        }
        sum
    }

    /// Latencies of one command over all workers.
    pub fn latency(&self, command: u16) -> latency::Snapshot {
        let mut sum = latency::Snapshot::default();
        self.workers.iter().for_each(|w| sum.add(&w.commands[usize::from(command)].latency));
        sum
    }

    pub fn commands_processed(&self) -> u64 {
        self.workers.iter().flat_map(|w| w.commands.iter()).map(|c| c.calls.load(Relaxed)).sum()
    }

    pub fn hits(&self) -> u64 {
        self.workers.iter().map(|w| w.hits.load(Relaxed)).sum()
    }

    pub fn misses(&self) -> u64 {
        self.workers.iter().map(|w| w.misses.load(Relaxed)).sum()
    }

    pub fn net_in(&self) -> u64 {
        self.workers.iter().map(|w| w.net_in.load(Relaxed)).sum()
    }

    /// How often sockets were read, and written.
    pub fn reads(&self) -> u64 {
        self.workers.iter().map(|w| w.reads.load(Relaxed)).sum()
    }

    pub fn writes(&self) -> u64 {
        self.workers.iter().map(|w| w.writes.load(Relaxed)).sum()
    }

    pub fn net_out(&self) -> u64 {
        self.workers.iter().map(|w| w.net_out.load(Relaxed)).sum()
    }

    /// Takes a sample for the `instantaneous_*` fields; about ten times a second.
    pub fn sample(&self, now_ms: i64) {
        let mut r = self.rates.lock();
        let elapsed = now_ms - r.at_ms;
        r.at_ms = now_ms;
        r.commands.sample(self.commands_processed(), elapsed);
        r.net_in.sample(self.net_in(), elapsed);
        r.net_out.sample(self.net_out(), elapsed);
        r.repl_in.sample(self.counters.repl_in.load(Relaxed), elapsed);
        r.repl_out.sample(self.counters.repl_out.load(Relaxed), elapsed);
        let (cycles, cycles_us) = self.cycles();
        r.cycles.sample(cycles, elapsed);
        r.cycles_us.sample(cycles_us, elapsed);
        self.peak_memory.fetch_max(memory::used() as u64, Relaxed);
    }

    pub fn instant(&self) -> Instant {
        let r = self.rates.lock();
        Instant {
            ops: r.commands.mean(),
            net_in_bytes: r.net_in.mean(),
            net_out_bytes: r.net_out.mean(),
            repl_in_bytes: r.repl_in.mean(),
            repl_out_bytes: r.repl_out.mean(),
            cycles: r.cycles.mean(),
            cycle_us: r.cycles_us.mean() / r.cycles.mean().max(1),
        }
    }

    /// CONFIG RESETSTAT.
    pub fn reset(&self) {
        for w in &self.workers {
            for c in &w.commands {
                for n in [&c.calls, &c.usec, &c.rejected, &c.failed] {
                    n.store(0, Relaxed);
                }
                c.latency.reset();
            }
            for n in [&w.hits, &w.misses, &w.net_in, &w.net_out, &w.reads, &w.writes] {
                n.store(0, Relaxed);
            }
        }
        let c = &self.counters;
        for n in [
            &c.connections_received,
            &c.connections_rejected,
            &c.sync_full,
            &c.sync_partial_ok,
            &c.sync_partial_err,
            &c.expired_keys,
            &c.expired_subkeys,
            &c.expired_time_cap_reached,
            &c.expire_cycle_us,
            &c.evicted_keys,
            &c.evicted_clients,
            &c.eviction_exceeded_us,
            &c.repl_in,
            &c.repl_out,
            &c.errors,
            &c.unexpected_error_replies,
            &c.dump_payload_sanitizations,
            &c.output_limit_disconnections,
            &c.query_limit_disconnections,
            &c.acl_denied_auth,
        ] {
            n.store(0, Relaxed);
        }
        self.errors.lock().clear();
        *self.rates.lock() = Rates::default();
        self.peak_memory.store(memory::used() as u64, Relaxed);
    }
}

/// Adds to a counter that one thread writes: cheaper than an atomic addition.
#[inline]
fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
}
