//! The brake on the master's stream: up to which offset it is applied for now.
//!
//! With it a replica comes to stand at one exact offset, while its clients go on and the stream waits for a moment. Knows
//! neither who wants that nor what the stream is.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use super::id::ReplOffset;

#[derive(Debug)]
pub struct Brake {
    /// No request is applied once this offset is reached.
    stop_at: AtomicI64,
    released: Notify,
    looked: Mutex<()>,
    stopped: Condvar,
}

impl Default for Brake {
    fn default() -> Self {
        Self {
            stop_at: AtomicI64::new(ReplOffset::MAX),
            released: Notify::new(),
            looked: Mutex::default(),
            stopped: Condvar::new(),
        }
    }
}

impl Brake {
    /// Stops the stream at once, until [`Braked`] says otherwise or is dropped. There is one at a time.
    pub fn pull(&self) -> Braked<'_> {
        self.stop_at.store(0, Relaxed);
        Braked { brake: self }
    }

    /// Whether a look at the offset is worth while.
    #[inline]
    pub fn is_pulled(&self) -> bool {
        // Relaxed: whoever must know that it is seen passes every gate.
        self.stop_at.load(Relaxed) != ReplOffset::MAX
    }

    /// Whether the stream, which stands at `offset`, has to wait.
    #[inline]
    pub fn stops(&self, offset: ReplOffset) -> bool {
        offset >= self.stop_at.load(Relaxed)
    }

    /// The stream has come to stand.
    pub fn tell_stopped(&self) {
        drop(self.looked.lock());
        self.stopped.notify_all();
    }

    /// Returns when a stream that stands at `offset` may go on.
    pub async fn over(&self, offset: ReplOffset) {
        loop {
            // Registered before looking, so that no release in between is missed.
            let mut released = std::pin::pin!(self.released.notified());
            released.as_mut().enable();
            if !self.stops(offset) {
                return;
            }
            released.await;
        }
    }

    fn set(&self, stop_at: ReplOffset) {
        self.stop_at.store(stop_at, Relaxed);
        self.released.notify_waiters();
    }
}

/// The brake, pulled.
pub struct Braked<'a> {
    brake: &'a Brake,
}

impl Braked<'_> {
    /// Lets the stream come up to `offset`.
    pub fn until(&self, offset: ReplOffset) {
        self.brake.set(offset);
    }

    /// Lets it go on.
    pub fn release(&self) {
        self.brake.set(ReplOffset::MAX);
    }

    /// Waits until `done`, which is looked at whenever the stream comes to stand, and now and then. False: it did not come
    /// to that in time.
    pub fn wait(&self, patience: Duration, done: impl Fn() -> bool) -> bool {
        let mut looked = self.brake.looked.lock();
        let mut left = patience;
        let turn = Duration::from_millis(20);
        while !done() {
            if left.is_zero() {
                return false;
            }
            self.brake.stopped.wait_for(&mut looked, turn);
            left = left.saturating_sub(turn);
        }
        true
    }
}

impl Drop for Braked<'_> {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_comes_up_to_where_it_is_let_and_goes_on_when_it_is_forgotten() {
        let brake = Brake::default();
        assert!(!brake.is_pulled() && !brake.stops(i64::MAX - 1));
        let braked = brake.pull();
        assert!(brake.is_pulled() && brake.stops(0) && brake.stops(77));
        braked.until(77);
        assert!(!brake.stops(76) && brake.stops(77));
        assert!(!braked.wait(Duration::ZERO, || false));
        assert!(braked.wait(Duration::ZERO, || true));
        drop(braked);
        assert!(!brake.is_pulled());
    }
}
