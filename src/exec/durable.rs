//! How far the append-only file has come, and who waits for it: replies that must not be sent before what they tell of is
//! written or on disk.
//!
//! Knows neither files nor policies: the file's writer says up to which offset of the log replies may go.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU64, Ordering, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::base::{Error, os_reason};
use crate::oplog::Log;

/// Without a file.
const NOWHERE: i64 = -1;

pub struct Durable {
    /// Replies that tell of nothing behind this offset may be sent. `Release` in [`Durable::release`] pairs with the
    /// `Acquire` of whoever sends: the write or flush happened before.
    released: AtomicI64,
    /// Requests that were carried out and are not in the log (those of clients of a replica), and how many of them may be
    /// told of. The orderings are as above.
    locals: AtomicU64,
    locals_released: AtomicU64,
    waiting: Mutex<Vec<(i64, Waker)>>,
    /// Everything up to here is on disk, in the log's history of that number.
    on_disk: AtomicI64,
    history: AtomicU64,
    /// Why the file cannot be written at the moment, as the system numbers errors; 0: it can.
    errno: AtomicI32,
    /// The file notes the time.
    moments: AtomicBool,
}

impl Default for Durable {
    fn default() -> Self {
        Self {
            released: AtomicI64::new(i64::MAX),
            locals: AtomicU64::new(0),
            locals_released: AtomicU64::new(u64::MAX),
            waiting: Mutex::default(),
            on_disk: AtomicI64::new(NOWHERE),
            history: AtomicU64::new(0),
            errno: AtomicI32::new(0),
            moments: AtomicBool::new(false),
        }
    }
}

impl Durable {
    /// Whether a reply has to wait that may tell of all the log holds up to `offset`.
    #[inline]
    pub fn holds(&self, offset: i64) -> bool {
        offset > self.released.load(Ordering::Acquire)
            || self.locals.load(Relaxed) > self.locals_released.load(Ordering::Acquire)
    }

    /// What was written up to here may be told of: the offset to which whoever passes the log on may go.
    #[inline]
    pub fn released(&self) -> i64 {
        self.released.load(Ordering::Acquire)
    }

    /// A request was carried out that is not in the log. To be called with the log's lock held, where the file's writer is
    /// told of it.
    pub fn note_local(&self) {
        self.locals.fetch_add(1, Relaxed);
    }

    /// How many there were. To be asked behind all gates.
    pub fn locals(&self) -> u64 {
        self.locals.load(Relaxed)
    }

    /// Ready once replies up to `offset` may be sent.
    pub fn poll_released(&self, offset: i64, cx: &mut Context<'_>) -> Poll<()> {
        if !self.holds(offset) {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.lock();
        // Once more under the lock, which the writer takes after it has changed the value.
        if !self.holds(offset) {
            return Poll::Ready(());
        }
        waiting.push((offset, cx.waker().clone()));
        Poll::Pending
    }

    /// Lets replies go up to this offset, no further, and to so many requests that are not in the log; the highest number:
    /// all of them.
    pub fn release(&self, upto: i64, locals: u64) {
        self.locals_released.store(locals, Ordering::Release);
        self.released.store(upto, Ordering::Release);
        let free: Vec<_> = {
            let mut waiting = self.waiting.lock();
            waiting.extract_if(.., |(offset, _)| !self.holds(*offset)).collect()
        };
        free.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// Offset of the last byte known to be on disk; -1 without a file, 0 while the file does not hold all data yet.
    pub fn on_disk(&self, log: &Log) -> i64 {
        let offset = self.on_disk.load(Ordering::Acquire);
        // What was on disk of another history says nothing of this one.
        if offset > 0 && self.history.load(Relaxed) != log.epoch() { 0 } else { offset }
    }

    /// `None`: there is no file.
    pub fn set_on_disk(&self, offset: Option<i64>, history: u64) {
        self.history.store(history, Relaxed);
        // Release: who sees the offset sees its history.
        self.on_disk.store(offset.unwrap_or(NOWHERE), Ordering::Release);
    }

    /// Why writes are refused, if they are.
    #[inline]
    pub fn is_failing(&self) -> bool {
        self.errno.load(Relaxed) != 0
    }

    pub fn set_failing(&self, errno: Option<i32>) {
        self.errno.store(errno.unwrap_or(0), Relaxed);
    }

    /// What a client is told whose write is refused.
    #[cold]
    pub fn refusal(&self) -> Error {
        Error::MisconfAof(os_reason(&std::io::Error::from_raw_os_error(self.errno.load(Relaxed))))
    }

    #[inline]
    pub fn wants_moments(&self) -> bool {
        self.moments.load(Relaxed)
    }

    pub fn set_moments(&self, yes: bool) {
        self.moments.store(yes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn replies_wait_for_their_offset() {
        let durable = Durable::default();
        assert!(!durable.holds(i64::MAX));
        durable.release(10, u64::MAX);
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let mut cx = Context::from_waker(&waker);
        assert_eq!(durable.poll_released(10, &mut cx), Poll::Ready(()));
        assert_eq!(durable.poll_released(11, &mut cx), Poll::Pending);
        assert_eq!(durable.poll_released(20, &mut cx), Poll::Pending);
        durable.release(15, u64::MAX);
        assert_eq!(count.0.load(Relaxed), 1);
        assert_eq!(durable.poll_released(11, &mut cx), Poll::Ready(()));
        durable.release(i64::MAX, u64::MAX);
        assert_eq!(count.0.load(Relaxed), 2);
    }

    #[test]
    fn what_is_on_disk_belongs_to_one_history() {
        let (durable, log) = (Durable::default(), Log::new(0));
        assert_eq!(durable.on_disk(&log), -1);
        durable.set_on_disk(Some(0), log.epoch());
        assert_eq!(durable.on_disk(&log), 0);
        durable.set_on_disk(Some(70), log.epoch());
        assert_eq!(durable.on_disk(&log), 70);
        log.reset(1000);
        assert_eq!(durable.on_disk(&log), 0);
        durable.set_on_disk(None, log.epoch());
        assert_eq!(durable.on_disk(&log), -1);
    }

    #[test]
    fn a_refusal_gives_the_systems_reason() {
        let durable = Durable::default();
        durable.set_failing(Some(28));
        assert!(durable.is_failing());
        let text = durable.refusal().to_string();
        assert_eq!(text, "MISCONF Errors writing to the AOF file: No space left on device");
    }
}
