//! How readers that have caught up learn of new bytes: they arm a callback, the appender calls it once.
//!
//! Must not know a runtime: the callback is any `Fn()`, which in the server wakes a task.
//!
//! The trap is the lost wake-up: a reader sees no bytes, an appender sees no waiting reader, and both are right. So each
//! side first writes its own word, then a sequentially consistent fence, then reads the other's:
//!
//! ```text
//!   appender: publish bytes;  fence;  look at `armed`
//!   reader:   set `armed`;    fence;  look for bytes again
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use parking_lot::Mutex;

use super::Log;

#[derive(Default)]
pub(super) struct WakeList {
    /// Some waiter is armed. What makes notifying cheap when nobody waits.
    armed: AtomicBool,
    /// Times the waiters were called, for whoever polls.
    generation: AtomicU64,
    slots: Mutex<Vec<Arc<Slot>>>,
}

struct Slot {
    armed: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl WakeList {
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    pub(super) fn notify(&self) {
        // Pairs with the fence in `Waiter::arm` (see the header).
        fence(Ordering::SeqCst);
        if !self.armed.load(Ordering::Relaxed) {
            return;
        }
        // AcqRel on the swaps: pairs with Release in `arm`, whose slot flag must be seen once its list flag is.
        if !self.armed.swap(false, Ordering::AcqRel) {
            return;
        }
        self.generation.fetch_add(1, Ordering::Relaxed);
        let slots = self.slots.lock();
        for slot in slots.iter().filter(|slot| slot.armed.swap(false, Ordering::AcqRel)) {
            (slot.wake)();
        }
    }
}

/// A registered callback; dropping it unregisters.
pub struct Waiter {
    log: Arc<Log>,
    slot: Arc<Slot>,
}

impl Waiter {
    pub(super) fn register(log: Arc<Log>, wake: Box<dyn Fn() + Send + Sync>) -> Self {
        let slot = Arc::new(Slot { armed: AtomicBool::new(false), wake });
        log.wakes.slots.lock().push(slot.clone());
        Self { log, slot }
    }

    /// Asks for one call at the next notification. After arming, look for bytes once more before going to sleep.
    pub fn arm(&self) {
        self.slot.armed.store(true, Ordering::Release);
        self.log.wakes.armed.store(true, Ordering::Release);
        // Pairs with the fence in `WakeList::notify`.
        fence(Ordering::SeqCst);
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.log.wakes.slots.lock().retain(|slot| !Arc::ptr_eq(slot, &self.slot));
    }
}
