//! The end of a worker's round: what its connections have to send goes out together, when no other request waits.
//!
//! A client that is answered at once sends its next request while the worker serves the others, so that requests come
//! one by one and each of them wakes somebody. Answered together, as stock servers do it, they come together as well.
//! Knows no connection; whoever has something to send says so.

use std::cell::RefCell;
use std::sync::Arc;

use crate::base::clock;

/// What waits longer does not wait for the end.
const LONGEST_US: u64 = 250;

/// Something to be sent without waiting.
pub trait Outgoing: Send + Sync {
    fn send(&self);
}

#[derive(Default)]
struct Round {
    /// This thread drives a worker, and so will come to the round's end.
    has_end: bool,
    waiting: Vec<Arc<dyn Outgoing>>,
    /// Since when the first of them waits, in `clock::ticks`.
    since: u64,
}

thread_local! {
    static ROUND: RefCell<Round> = RefCell::default();
}

/// Has something sent at the end of this thread's round. False if it has no rounds, and nothing will be sent.
pub fn send_at_end(what: &Arc<impl Outgoing + 'static>) -> bool {
    let (taken, late) = ROUND.with_borrow_mut(|round| {
        if !round.has_end {
            return (false, false);
        }
        let now = clock::ticks();
        if round.waiting.is_empty() {
            round.since = now;
        }
        round.waiting.push(what.clone());
        (true, clock::ticks_to_us(now.saturating_sub(round.since)) > LONGEST_US)
    });
    if late {
        send_all();
    }
    taken
}

/// Sends what waits already.
pub fn send_all() {
    let mut waiting = ROUND.with_borrow_mut(|round| std::mem::take(&mut round.waiting));
    waiting.drain(..).for_each(|what| what.send());
    // The room is used again.
    ROUND.with_borrow_mut(|round| {
        if round.waiting.is_empty() {
            round.waiting = waiting;
        }
    });
}

/// To be called whenever a worker has nothing more to do.
pub fn end() {
    send_all();
    ROUND.with_borrow_mut(|round| round.has_end = true);
}

/// To be called before this thread leaves its worker to another one.
pub fn leave() {
    send_all();
    ROUND.with_borrow_mut(|round| round.has_end = false);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Outgoing for Count {
        fn send(&self) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn what_waits_is_sent_at_the_end_and_only_where_there_is_one() {
        let count = Arc::new(Count::default());
        assert!(!send_at_end(&count), "no worker runs on this thread");
        end();
        assert!(send_at_end(&count));
        end();
        assert_eq!(count.0.load(Relaxed), 1);
        assert!(send_at_end(&count));
        leave();
        assert_eq!(count.0.load(Relaxed), 2, "who leaves leaves nothing behind");
        assert!(!send_at_end(&count));
        end();
        assert_eq!(count.0.load(Relaxed), 2);
    }

    #[test]
    fn nothing_waits_for_long() {
        let count = Arc::new(Count::default());
        end();
        while count.0.load(Relaxed) == 0 {
            assert!(send_at_end(&count));
        }
    }
}
