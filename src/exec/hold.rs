//! Replies that wait until the append-only file has come far enough, and how those who wait are woken.
//!
//! Waking a task of another thread's runtime costs a system call or at least a lock; so the file's writer wakes one task a
//! worker, its herald, and that one wakes the connections of its own thread. In the other direction the writer, while
//! flushing would be worth more if more came first, sleeps until enough of them wait: [`Crowd`].
//!
//! Knows neither files nor policies.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::thread::Thread;

use atomic_waker::AtomicWaker;
use crossbeam_utils::CachePadded;
use parking_lot::Mutex;

use super::gate::WorkerId;

/// Who waits, a queue for each worker and one for everybody else.
pub struct Held {
    /// Replies that tell of nothing behind this offset may be sent. `Release` in [`Held::release`] pairs with the
    /// `Acquire` of whoever sends: the write or flush happened before.
    released: AtomicI64,
    /// Requests that were carried out and are not in the log (those of clients of a replica), and how many of them may be
    /// told of. The orderings are as above.
    locals: AtomicU64,
    locals_released: AtomicU64,
    /// How often everything was let go, whatever its offset: that may be of another history of the log.
    lifted: AtomicU64,
    queues: Box<[CachePadded<Queue>]>,
    pub crowd: Crowd,
}

#[derive(Default)]
struct Queue {
    lists: Mutex<Lists>,
    herald: AtomicWaker,
    has_herald: AtomicBool,
}

#[derive(Default)]
struct Lists {
    waiting: Vec<(Point, Waker)>,
    /// For the herald to wake.
    free: Vec<Waker>,
}

/// What a reply may tell of: all the log holds up to an offset, and so many requests that are not in it.
#[derive(Clone, Copy, Debug)]
struct Point {
    offset: i64,
    locals: u64,
}

/// One connection's replies that have to wait.
#[derive(Default)]
pub struct Hold {
    upto: Option<Point>,
    lifted: u64,
    /// Its task is in the queue, and stays there until this is over.
    queued: bool,
    /// When it was counted last; see [`Crowd`].
    counted_in: u64,
}

impl Held {
    /// With a queue for each gate, the last being that of those who are no worker.
    pub fn new(gates: usize) -> Self {
        Self {
            released: AtomicI64::new(i64::MAX),
            locals: AtomicU64::new(0),
            locals_released: AtomicU64::new(u64::MAX),
            lifted: AtomicU64::new(0),
            queues: (0..gates.max(1)).map(|_| CachePadded::default()).collect(),
            crowd: Crowd::default(),
        }
    }

    /// Whether a reply has to wait that may tell of all the log holds up to `offset`, and of every request by now that is not
    /// in it.
    #[inline]
    pub fn holds(&self, offset: i64) -> bool {
        self.holds_at(self.point(offset))
    }

    #[inline]
    fn point(&self, offset: i64) -> Point {
        Point { offset, locals: self.locals.load(Relaxed) }
    }

    #[inline]
    fn holds_at(&self, point: Point) -> bool {
        point.offset > self.released.load(Ordering::Acquire)
            || point.locals > self.locals_released.load(Ordering::Acquire)
    }

    pub fn note_local(&self) {
        self.locals.fetch_add(1, Relaxed);
    }

    pub fn locals(&self) -> u64 {
        self.locals.load(Relaxed)
    }

    /// Lets replies go up to this offset, no further, and to so many requests that are not in the log; the highest number:
    /// all of them.
    pub fn release(&self, upto: i64, locals: u64) {
        if upto == i64::MAX {
            // Before the offset, which whoever waits looks at first.
            self.lifted.fetch_add(1, Ordering::Release);
        }
        self.locals_released.store(locals, Ordering::Release);
        self.released.store(upto, Ordering::Release);
        for (i, queue) in self.queues.iter().enumerate() {
            let mut lists = queue.lists.lock();
            let Lists { waiting, free } = &mut *lists;
            let before = free.len();
            free.extend(waiting.extract_if(.., |(point, _)| !self.holds_at(*point)).map(|(_, waker)| waker));
            let freed = free.len() - before;
            if freed == 0 {
                continue;
            }
            if self.is_counted(i) {
                self.crowd.waiting.fetch_sub(freed, Ordering::SeqCst);
            }
            if queue.has_herald.load(Relaxed) {
                drop(lists);
                queue.herald.wake();
            } else {
                let free = std::mem::take(free);
                drop(lists);
                free.into_iter().for_each(Waker::wake);
            }
        }
    }

    /// Up to which offset that is: what replicas may be told as well.
    pub fn released(&self) -> i64 {
        self.released.load(Ordering::Acquire)
    }

    /// The last queue is of those whose waiting says nothing of when it is worth flushing.
    fn is_counted(&self, queue: usize) -> bool {
        queue + 1 != self.queues.len()
    }

    /// To be run as a task on this worker, for good.
    pub async fn herald(&self, worker: WorkerId) {
        let queue = &self.queues[worker.0];
        queue.has_herald.store(true, Relaxed);
        // Two lists that take turns, so that none is allocated anew.
        let mut free = Vec::new();
        std::future::poll_fn(|cx| {
            queue.herald.register(cx.waker());
            std::mem::swap(&mut queue.lists.lock().free, &mut free);
            free.drain(..).for_each(Waker::wake);
            Poll::<()>::Pending
        })
        .await;
    }
}

impl Hold {
    /// Whether there is something to wait for.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.upto.is_some()
    }

    /// What is to be sent tells of all the log holds up to this offset.
    pub fn begin(&mut self, held: &Held, upto: i64) {
        self.lifted = held.lifted.load(Ordering::Acquire);
        self.upto = Some(held.point(upto));
        self.queued = false;
    }

    /// Ready once it may be sent.
    pub fn poll(&mut self, held: &Held, worker: WorkerId, cx: &mut Context<'_>) -> Poll<()> {
        let Some(upto) = self.upto else { return Poll::Ready(()) };
        let is_over = || !held.holds_at(upto) || self.lifted != held.lifted.load(Ordering::Acquire);
        if !is_over() {
            if self.queued {
                return Poll::Pending;
            }
            let mut lists = held.queues[worker.0].lists.lock();
            // Once more under the lock, which the writer takes after it has changed the value.
            if !is_over() {
                lists.waiting.push((upto, cx.waker().clone()));
                self.queued = true;
                if held.is_counted(worker.0) {
                    let waiting = held.crowd.waiting.fetch_add(1, Ordering::SeqCst) + 1;
                    drop(lists);
                    held.crowd.joined(waiting, &mut self.counted_in);
                }
                return Poll::Pending;
            }
        }
        self.upto = None;
        Poll::Ready(())
    }
}

/// How many wait, and how many do so again and again.
///
/// A flush costs the same for one reply and for fifty. A connection whose reply waits sends nothing more; so once those wait
/// who usually do, there is nothing to be gained by waiting for more of them. The writer therefore asks to be woken when
/// half of them wait: the others are served while it flushes.
#[derive(Default)]
pub struct Crowd {
    waiting: AtomicUsize,
    /// The writer is to be woken when so many wait; 0: it does not sleep for that.
    call_at: AtomicUsize,
    writer: Mutex<Option<Thread>>,
    /// Number of the period, and who waited in it at least once.
    period: AtomicU64,
    seen: AtomicUsize,
    seen_before: AtomicUsize,
}

impl Crowd {
    /// One more waits, which makes so many.
    fn joined(&self, waiting: usize, counted_in: &mut u64) {
        // From 1, as nobody was counted in period 0.
        let period = self.period.load(Relaxed) + 1;
        if *counted_in != period {
            *counted_in = period;
            self.seen.fetch_add(1, Relaxed);
        }
        // SeqCst, like the addition before it: either the writer sees who waits, or they see that it asked.
        let call_at = self.call_at.load(Ordering::SeqCst);
        if call_at != 0 && waiting >= call_at && self.call_at.swap(0, Ordering::SeqCst) != 0 {
            self.writer.lock().as_ref().inspect(|thread| thread.unpark());
        }
    }

    /// So many have waited in this period or the last: those who write all the time.
    pub fn regulars(&self) -> usize {
        self.seen.load(Relaxed).max(self.seen_before.load(Relaxed))
    }

    pub fn next_period(&self) {
        self.seen_before.store(self.seen.swap(0, Relaxed), Relaxed);
        self.period.fetch_add(1, Relaxed);
    }

    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Has this thread woken when so many wait. False if they do already.
    pub fn ask(&self, count: usize) -> bool {
        self.call_at.store(count, Ordering::SeqCst);
        self.waiting() < count || self.call_at.swap(0, Ordering::SeqCst) == 0
    }

    /// Whether it still holds what was asked for; forgets it.
    pub fn is_asked(&self) -> bool {
        self.call_at.load(Ordering::SeqCst) != 0
    }

    pub fn forget(&self) {
        self.call_at.store(0, Ordering::SeqCst);
    }

    /// Whom to wake.
    pub fn set_writer(&self, thread: Thread) {
        *self.writer.lock() = Some(thread);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::sync::Arc;
    use std::task::Wake;

    const WORKER: WorkerId = WorkerId(0);
    const OUTSIDER: WorkerId = WorkerId(1);

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    fn counting() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count::default());
        (count.clone(), Waker::from(count))
    }

    fn hold(held: &Held, upto: i64) -> Hold {
        let mut hold = Hold::default();
        hold.begin(held, upto);
        hold
    }

    #[test]
    fn replies_wait_for_their_offset() {
        let held = Held::new(2);
        assert!(!held.holds(i64::MAX));
        held.release(10, u64::MAX);
        let (count, waker) = counting();
        let mut cx = Context::from_waker(&waker);
        assert_eq!(hold(&held, 10).poll(&held, WORKER, &mut cx), Poll::Ready(()));
        let (mut first, mut second) = (hold(&held, 11), hold(&held, 20));
        assert_eq!(first.poll(&held, WORKER, &mut cx), Poll::Pending);
        assert_eq!(first.poll(&held, WORKER, &mut cx), Poll::Pending);
        assert_eq!(second.poll(&held, OUTSIDER, &mut cx), Poll::Pending);
        assert_eq!(held.crowd.waiting(), 1, "each once, and no outsider");
        held.release(15, u64::MAX);
        assert_eq!((count.0.load(Relaxed), held.crowd.waiting()), (1, 0));
        assert_eq!(first.poll(&held, WORKER, &mut cx), Poll::Ready(()));
        assert!(!first.is_on() && second.is_on());
        held.release(i64::MAX, u64::MAX);
        assert_eq!(count.0.load(Relaxed), 2);
    }

    #[test]
    fn what_was_let_go_does_not_wait_for_another_history() {
        let held = Held::new(2);
        held.release(1000, u64::MAX);
        let (_, waker) = counting();
        let mut cx = Context::from_waker(&waker);
        let mut old = hold(&held, 2000);
        assert_eq!(old.poll(&held, WORKER, &mut cx), Poll::Pending);
        held.release(i64::MAX, u64::MAX);
        held.release(5, u64::MAX);
        assert_eq!(old.poll(&held, WORKER, &mut cx), Poll::Ready(()));
    }

    #[test]
    fn what_is_not_in_the_log_is_waited_for_as_well() {
        let held = Held::new(2);
        held.release(10, 0);
        assert!(!held.holds(10));
        held.note_local();
        assert!(held.holds(10));
        let (count, waker) = counting();
        let mut cx = Context::from_waker(&waker);
        let mut first = hold(&held, 10);
        assert_eq!(first.poll(&held, WORKER, &mut cx), Poll::Pending);
        // What comes later is for others to wait for.
        held.note_local();
        held.release(10, 1);
        assert_eq!(count.0.load(Relaxed), 1);
        assert_eq!(first.poll(&held, WORKER, &mut cx), Poll::Ready(()));
        assert!(held.holds(10));
    }

    #[test]
    fn a_herald_wakes_those_of_its_worker() {
        let held = Held::new(2);
        held.release(0, u64::MAX);
        let ((told, herald_waker), (woken, waker)) = (counting(), counting());
        let mut herald_cx = Context::from_waker(&herald_waker);
        let mut herald = std::pin::pin!(held.herald(WORKER));
        assert!(herald.as_mut().poll(&mut herald_cx).is_pending());
        let mut cx = Context::from_waker(&waker);
        let mut holds: Vec<_> = (1..=3).map(|upto| hold(&held, upto)).collect();
        holds.iter_mut().for_each(|hold| assert!(hold.poll(&held, WORKER, &mut cx).is_pending()));
        held.release(2, u64::MAX);
        assert_eq!((told.0.load(Relaxed), woken.0.load(Relaxed)), (1, 0));
        assert!(herald.as_mut().poll(&mut herald_cx).is_pending());
        assert_eq!(woken.0.load(Relaxed), 2);
        held.release(2, u64::MAX);
        assert_eq!(told.0.load(Relaxed), 1, "there is nobody to be told of");
    }

    #[test]
    fn the_writer_is_called_when_enough_wait() {
        let held = Held::new(2);
        held.release(0, u64::MAX);
        let (_, waker) = counting();
        let mut cx = Context::from_waker(&waker);
        assert!(held.crowd.ask(2) && held.crowd.is_asked());
        let mut holds: Vec<_> = (1..=2).map(|upto| hold(&held, upto)).collect();
        assert!(holds[0].poll(&held, WORKER, &mut cx).is_pending());
        assert!(held.crowd.is_asked());
        assert!(holds[1].poll(&held, WORKER, &mut cx).is_pending());
        assert!(!held.crowd.is_asked() && !held.crowd.ask(2), "they wait already");
        assert_eq!(held.crowd.regulars(), 2);
        held.release(2, u64::MAX);
        held.crowd.next_period();
        assert_eq!(held.crowd.regulars(), 2, "of the last period");
        let again = &mut holds[0];
        again.begin(&held, 3);
        assert!(again.poll(&held, WORKER, &mut cx).is_pending());
        held.crowd.next_period();
        assert_eq!(held.crowd.regulars(), 1);
    }
}
