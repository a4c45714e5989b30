//! The worker threads: one single-threaded runtime each, of the kind that can hand a long command over.
//!
//! Knows no connection; whoever has work asks for a place, and is told when another worker wants it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

use super::balance::{Balance, Move, Seen};
use crate::base::clock;
use crate::exec::engine::Engine;
use crate::exec::gate::WorkerId;
use crate::exec::round;

/// How often it is decided which workers serve.
const WINDOW: Duration = Duration::from_millis(100);
/// Requests that take longer keep others waiting; what seems shorter may be a thread that had to wait for a processor.
const HOLDUP_US: u64 = 20_000;

struct Worker {
    runtime: Runtime,
    load: Arc<Load>,
}

pub struct Workers {
    workers: Vec<Worker>,
    /// The workers before this one take new connections.
    in_use: AtomicUsize,
}

/// What a worker has to do, and who is to leave it.
#[derive(Default)]
struct Load {
    connections: AtomicUsize,
    /// Since when it sleeps, in µs of [`clock::mono_us`]; 0: it does not.
    asleep_since: AtomicU64,
    asleep_us: AtomicU64,
    /// Processor time of its thread when it fell asleep first in a window, and in the one before.
    ran_us: AtomicU64,
    ran_before_us: AtomicU64,
    ran_in: AtomicU32,
    /// The number of the window, from 1 on, and how many connections had requests in it.
    window: AtomicU32,
    active: AtomicU32,
    longest_us: AtomicU64,
    /// So many connections are to go, and where to; `u32::MAX`: all.
    leaving: AtomicU32,
    whither: AtomicUsize,
}

impl Load {
    fn fall_asleep(&self) {
        let window = self.window.load(Relaxed);
        if self.ran_in.load(Relaxed) != window {
            self.ran_in.store(window, Relaxed);
            self.ran_us.store(clock::thread_us() as u64, Relaxed);
        }
        self.asleep_since.store(clock::mono_us() as u64, Relaxed);
    }

    fn wake_up(&self) {
        let since = self.asleep_since.swap(0, Relaxed);
        if since != 0 {
            self.asleep_us.fetch_add((clock::mono_us() as u64).saturating_sub(since), Relaxed);
        }
    }

    /// Ends a window that began at `from_us`.
    fn end_window(&self, from_us: u64, now_us: u64) -> Seen {
        let since = match self.asleep_since.load(Relaxed) {
            0 => 0,
            since => now_us.saturating_sub(since.max(from_us)),
        };
        let asleep = self.asleep_us.swap(0, Relaxed) + since;
        let window = now_us.saturating_sub(from_us).max(1);
        self.window.fetch_add(1, Relaxed);
        let busy = (window.saturating_sub(asleep) * 1000 / window) as u32;
        let ran_us = self.ran_us.load(Relaxed);
        let ran = match ran_us.saturating_sub(self.ran_before_us.swap(ran_us, Relaxed)) {
            // It never slept, or it slept all the time.
            0 => busy,
            us => (us * 1000 / window).min(1000) as u32,
        };
        Seen { busy, ran, active: self.active.swap(0, Relaxed), holdup: self.longest_us.swap(0, Relaxed) > HOLDUP_US }
    }

    /// Where one of its connections is to go, if one is.
    #[cold]
    fn release(&self) -> Option<usize> {
        let one = |n| if n == u32::MAX { Some(n) } else { u32::checked_sub(n, 1) };
        let released = self.leaving.fetch_update(Relaxed, Relaxed, one);
        released.is_ok_and(|n| n > 0).then(|| self.whither.load(Relaxed))
    }
}

/// A connection's place on a worker; given back when dropped.
pub struct Place {
    pub worker: WorkerId,
    load: Arc<Load>,
    /// The last window in which it had requests.
    window: u32,
}

impl Place {
    /// To be called when requests were carried out, which took so long.
    #[inline]
    pub fn served(&mut self, took_us: u64) {
        let window = self.load.window.load(Relaxed);
        if self.window != window {
            self.window = window;
            self.load.active.fetch_add(1, Relaxed);
        }
        if took_us > HOLDUP_US {
            self.load.longest_us.fetch_max(took_us, Relaxed);
        }
    }

    /// The worker that the connection is to go to, if there is one. Whoever is told goes.
    #[inline]
    pub fn wanted_by(&self) -> Option<usize> {
        if self.load.leaving.load(Relaxed) == 0 { None } else { self.load.release() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.load.connections.fetch_sub(1, Relaxed);
    }
}

impl Workers {
    /// `all`: they serve even while fewer could.
    pub fn start(count: usize, all: bool) -> std::io::Result<Self> {
        let workers = (0..count)
            .map(|i| {
                let load = Arc::<Load>::default();
                let (asleep, awake) = (load.clone(), load.clone());
                let runtime = Builder::new_multi_thread()
                    .worker_threads(1)
                    // Threads that take over from long commands, and blocking work.
                    .max_blocking_threads(64)
                    .thread_name(format!("worker-{i}"))
                    .on_thread_park(move || {
                        round::end();
                        asleep.fall_asleep();
                    })
                    .on_thread_unpark(move || awake.wake_up())
                    .enable_all()
                    .build()?;
                Ok(Worker { runtime, load })
            })
            .collect::<std::io::Result<_>>()?;
        Ok(Self { workers, in_use: AtomicUsize::new(if all { count } else { 1 }) })
    }

    pub fn len(&self) -> usize {
        self.workers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    fn in_use(&self) -> usize {
        self.in_use.load(Relaxed)
    }

    /// All their runtimes.
    pub fn runtimes(&self) -> impl Iterator<Item = Handle> {
        self.workers.iter().map(|w| w.runtime.handle().clone())
    }

    /// A place on the worker with the fewest connections of those in use.
    pub fn place(&self) -> (Place, Handle) {
        let in_use = self.in_use();
        let connections = |i: &usize| self.workers[*i].load.connections.load(Relaxed);
        self.place_on((0..in_use).min_by_key(connections).unwrap_or(0))
    }

    /// A place on this worker.
    pub fn place_on(&self, index: usize) -> (Place, Handle) {
        let worker = &self.workers[index];
        worker.load.connections.fetch_add(1, Relaxed);
        let place = Place { worker: WorkerId(index), load: worker.load.clone(), window: 0 };
        (place, worker.runtime.handle().clone())
    }

    /// Sees to it that as few workers serve as the load needs. Never ends, unless all of them are to serve.
    pub async fn balance(self: Arc<Self>, engine: Arc<Engine>) {
        engine.state.workers_in_use.store(self.in_use(), Relaxed);
        if self.in_use() == self.len() {
            return;
        }
        let mut balance = Balance::new(self.len());
        let mut every = tokio::time::interval(WINDOW);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut from_us = clock::mono_us() as u64;
        loop {
            every.tick().await;
            let now_us = clock::mono_us() as u64;
            let seen: Vec<Seen> = self.workers.iter().map(|w| w.load.end_window(from_us, now_us)).collect();
            from_us = now_us;
            let moves = balance.step(&seen);
            self.in_use.store(balance.in_use(), Relaxed);
            engine.state.workers_in_use.store(balance.in_use(), Relaxed);
            self.announce(&moves);
        }
    }

    /// What was not carried out of the last window's moves is void, but for workers that all are to leave.
    fn announce(&self, moves: &[Move]) {
        let in_use = self.in_use();
        for (i, worker) in self.workers.iter().enumerate() {
            match moves.iter().find(|m| m.from == i) {
                Some(m) => {
                    worker.load.whither.store(m.to, Relaxed);
                    worker.load.leaving.store(m.count, Relaxed);
                }
                None if i < in_use => worker.load.leaving.store(0, Relaxed),
                None => {}
            }
        }
    }
}
