//! How far the append-only file has come: what of the log is on disk, which replies may be sent, and whether writing fails.
//!
//! Knows neither files nor policies: the file's writer says up to which offset of the log replies may go.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU64, Ordering, Ordering::Relaxed};

use super::hold::Held;
use crate::base::{Error, os_reason};
use crate::oplog::Log;

/// Without a file.
const NOWHERE: i64 = -1;

pub struct Durable {
    /// Replies that must not be sent before what they tell of is written or on disk.
    pub replies: Held,
    /// Everything up to here is on disk, in the log's history of that number.
    on_disk: AtomicI64,
    history: AtomicU64,
    /// Why the file cannot be written at the moment, as the system numbers errors; 0: it can.
    errno: AtomicI32,
    /// The file notes the time.
    moments: AtomicBool,
}

impl Durable {
    /// For so many gates.
    pub fn new(gates: usize) -> Self {
        Self {
            replies: Held::new(gates),
            on_disk: AtomicI64::new(NOWHERE),
            history: AtomicU64::new(0),
            errno: AtomicI32::new(0),
            moments: AtomicBool::new(false),
        }
    }

    /// Whether a reply has to wait that may tell of all the log holds up to `offset`.
    #[inline]
    pub fn holds(&self, offset: i64) -> bool {
        self.replies.holds(offset)
    }

    /// A request was carried out that is not in the log. To be called with the log's lock held, where the file's writer is
    /// told of it.
    pub fn note_local(&self) {
        self.replies.note_local();
    }

    /// How many there were. To be asked behind all gates.
    pub fn locals(&self) -> u64 {
        self.replies.locals()
    }

    /// Lets replies go up to this offset, no further, and to so many requests that are not in the log; the highest number:
    /// all of them.
    pub fn release(&self, upto: i64, locals: u64) {
        self.replies.release(upto, locals);
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
    #[test]
    fn what_is_on_disk_belongs_to_one_history() {
        let (durable, log) = (Durable::new(1), Log::new(0));
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
        let durable = Durable::new(1);
        durable.set_failing(Some(28));
        assert!(durable.is_failing());
        let text = durable.refusal().to_string();
        assert_eq!(text, "MISCONF Errors writing to the AOF file: No space left on device");
    }
}
