//! Gates: a distributed reader-writer lock. A worker passes its own gate to run units with declared keys; a unit that
//! must run alone takes them all.
//!
//! Knows nothing of what runs behind a gate.

use crossbeam_utils::CachePadded;
use parking_lot::{Mutex, MutexGuard};

use super::round;

/// One gate a worker, and one more for threads that are not workers.
pub struct Gates {
    gates: Box<[CachePadded<Mutex<()>>]>,
}

/// Index of a worker, which is also its gate's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerId(pub usize);

pub type Gate<'a> = MutexGuard<'a, ()>;

/// All gates: nothing else runs while this lives.
pub struct AllGates<'a> {
    _gates: Vec<MutexGuard<'a, ()>>,
}

impl Gates {
    pub fn new(workers: usize) -> Self {
        Self { gates: (0..=workers).map(|_| CachePadded::new(Mutex::new(()))).collect() }
    }

    pub fn count(&self) -> usize {
        self.gates.len()
    }

    /// The gate of threads that are not workers (cron, loader).
    pub fn outsider(&self) -> WorkerId {
        WorkerId(self.gates.len() - 1)
    }

    /// Passes one gate. Uncontended but while somebody runs alone; then the thread's other connections are handed to
    /// another thread of the runtime, so that they can still answer what needs no data.
    #[inline]
    pub fn pass(&self, id: WorkerId) -> Gate<'_> {
        let gate = &self.gates[id.0];
        match gate.try_lock() {
            Some(guard) => guard,
            None => Self::wait(gate),
        }
    }

    #[cold]
    fn wait(gate: &Mutex<()>) -> Gate<'_> {
        if let Some(guard) = gate.try_lock_for(std::time::Duration::from_millis(2)) {
            return guard;
        }
        step_aside(|| gate.lock())
    }

    /// Takes every gate, in ascending order. The caller holds none.
    pub fn take_all(&self) -> AllGates<'_> {
        AllGates { _gates: self.gates.iter().map(|g| g.lock()).collect() }
    }
}

/// Runs something long on this thread while the runtime, if this is one of its workers, goes on without it.
pub fn step_aside<R>(f: impl FnOnce() -> R) -> R {
    match tokio::runtime::Handle::try_current() {
        Ok(h) if h.runtime_flavor() == tokio::runtime::RuntimeFlavor::MultiThread => {
            round::leave();
            tokio::task::block_in_place(f)
        }
        _ => f(),
    }
}
