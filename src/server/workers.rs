//! The worker threads: one single-threaded runtime each, of the kind that can hand a long command over.
//!
//! Knows no connection; whoever has work asks for a place.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::runtime::{Builder, Handle, Runtime};

use crate::exec::gate::WorkerId;

struct Worker {
    runtime: Runtime,
    connections: Arc<AtomicUsize>,
}

pub struct Workers {
    workers: Vec<Worker>,
}

/// A connection's place on a worker; given back when dropped.
pub struct Place {
    pub worker: WorkerId,
    connections: Arc<AtomicUsize>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.fetch_sub(1, Relaxed);
    }
}

impl Workers {
    pub fn start(count: usize) -> std::io::Result<Self> {
        let workers = (0..count)
            .map(|i| {
                let runtime = Builder::new_multi_thread()
                    .worker_threads(1)
                    // Threads that take over from long commands, and blocking work.
                    .max_blocking_threads(64)
                    .thread_name(format!("worker-{i}"))
                    .enable_all()
                    .build()?;
                Ok(Worker { runtime, connections: Arc::default() })
            })
            .collect::<std::io::Result<_>>()?;
        Ok(Self { workers })
    }

    pub fn len(&self) -> usize {
        self.workers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    /// All their runtimes.
    pub fn runtimes(&self) -> impl Iterator<Item = Handle> {
        self.workers.iter().map(|w| w.runtime.handle().clone())
    }

    /// A place on the worker with the fewest connections.
    pub fn place(&self) -> (Place, Handle) {
        let least = (0..self.workers.len()).min_by_key(|i| self.workers[*i].connections.load(Relaxed)).unwrap_or(0);
        let worker = &self.workers[least];
        worker.connections.fetch_add(1, Relaxed);
        let place = Place { worker: WorkerId(least), connections: worker.connections.clone() };
        (place, worker.runtime.handle().clone())
    }
}
