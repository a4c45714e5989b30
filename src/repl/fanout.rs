//! One snapshot to many sockets: the walker puts pieces in, each feed takes them out at its own pace.
//!
//! The pieces are shared, so that memory does not grow with the number of replicas; the slowest one holds the walker back,
//! unless it takes nothing for so long that the caller gives it up. Knows no socket and no log.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use atomic_waker::AtomicWaker;
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use crate::base::clock;

/// What may lie between the walker and one socket.
const QUEUE_BYTES: usize = 1 << 20;

/// How often a walker that is held back looks whether anybody is left.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

#[derive(Debug)]
struct Lane {
    /// The replica's client id.
    id: u64,
    queue: VecDeque<Bytes>,
    bytes: usize,
    /// Unix ms when it took something, or had nothing to take.
    moved_ms: i64,
    /// Its connection is gone.
    gone: bool,
    waker: Arc<AtomicWaker>,
}

#[derive(Debug, Default)]
struct State {
    lanes: Vec<Lane>,
    ended: bool,
    /// The snapshot broke: whoever takes part has to be disconnected.
    broken: bool,
}

/// What a feed gets.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    Piece(Bytes),
    /// Everything was taken.
    End,
    Broken,
}

#[derive(Debug, Default)]
pub struct Fanout {
    state: Mutex<State>,
    /// A lane took something, or left.
    moved: Condvar,
}

impl Fanout {
    /// Lets a replica take part. Before the first piece.
    pub fn join(&self, id: u64, waker: Arc<AtomicWaker>) {
        let lane = Lane { id, queue: VecDeque::new(), bytes: 0, moved_ms: clock::now_ms(), gone: false, waker };
        self.state.lock().lanes.push(lane);
    }

    /// Gives a piece to everybody, as soon as all have room. False if nobody is left, or it is `over` for us.
    pub fn put(&self, piece: &Bytes, over: &AtomicBool) -> bool {
        let mut state = self.state.lock();
        loop {
            if state.lanes.iter().all(|lane| lane.gone) || over.load(Relaxed) {
                return false;
            }
            if state.lanes.iter().all(|lane| lane.gone || lane.bytes < QUEUE_BYTES) {
                break;
            }
            self.moved.wait_for(&mut state, LOOK_AGAIN);
        }
        for lane in state.lanes.iter_mut().filter(|lane| !lane.gone) {
            if lane.queue.is_empty() {
                lane.moved_ms = clock::now_ms();
            }
            lane.bytes += piece.len();
            lane.queue.push_back(piece.clone());
            lane.waker.wake();
        }
        true
    }

    /// There are no more pieces. Returns when everybody has taken all, or is gone, or it is `over` for us.
    pub fn end(&self, ok: bool, over: &AtomicBool) {
        let mut state = self.state.lock();
        state.ended = true;
        state.broken = !ok;
        state.lanes.iter().for_each(|lane| lane.waker.wake());
        while !state.broken && !over.load(Relaxed) && !state.lanes.iter().all(|lane| lane.gone || lane.queue.is_empty())
        {
            self.moved.wait_for(&mut state, LOOK_AGAIN);
        }
    }

    /// The next piece for a replica; it stays the next until it is [`Fanout::taken`].
    pub fn poll_next(&self, id: u64, cx: &Context<'_>) -> Poll<Next> {
        let mut state = self.state.lock();
        let (ended, broken) = (state.ended, state.broken);
        let Some(lane) = state.lanes.iter_mut().find(|lane| lane.id == id) else { return Poll::Ready(Next::Broken) };
        lane.waker.register(cx.waker());
        if broken {
            return Poll::Ready(Next::Broken);
        }
        match lane.queue.front() {
            Some(piece) => Poll::Ready(Next::Piece(piece.clone())),
            None if ended => Poll::Ready(Next::End),
            None => Poll::Pending,
        }
    }

    /// The socket took a part of the piece.
    pub fn progress(&self, id: u64) {
        if let Some(lane) = self.state.lock().lanes.iter_mut().find(|lane| lane.id == id) {
            lane.moved_ms = clock::now_ms();
        }
    }

    /// The first piece is wholly on its way.
    pub fn taken(&self, id: u64) {
        let mut state = self.state.lock();
        if let Some(lane) = state.lanes.iter_mut().find(|lane| lane.id == id)
            && let Some(piece) = lane.queue.pop_front()
        {
            lane.bytes -= piece.len();
            lane.moved_ms = clock::now_ms();
        }
        self.moved.notify_all();
    }

    /// How many are left.
    pub fn taking_part(&self) -> usize {
        self.state.lock().lanes.iter().filter(|lane| !lane.gone).count()
    }

    /// Its connection is gone.
    pub fn leave(&self, id: u64) {
        let mut state = self.state.lock();
        if let Some(lane) = state.lanes.iter_mut().find(|lane| lane.id == id) {
            lane.gone = true;
            lane.queue.clear();
            lane.bytes = 0;
        }
        self.moved.notify_all();
    }

    /// Since when a replica takes nothing although there is something to take.
    pub fn stalled_since_ms(&self, id: u64) -> Option<i64> {
        let state = self.state.lock();
        let lane = state.lanes.iter().find(|lane| lane.id == id)?;
        (!lane.gone && !lane.queue.is_empty()).then_some(lane.moved_ms)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    static GOES_ON: AtomicBool = AtomicBool::new(false);

    fn next(fanout: &Fanout, id: u64) -> Poll<Next> {
        fanout.poll_next(id, &Context::from_waker(Waker::noop()))
    }

    #[test]
    fn everybody_gets_all_pieces_at_their_own_pace() {
        let fanout = Fanout::default();
        fanout.join(1, Arc::default());
        fanout.join(2, Arc::default());
        let (a, b) = (Bytes::from_static(b"a"), Bytes::from_static(b"b"));
        assert!(fanout.put(&a, &GOES_ON));
        assert!(fanout.put(&b, &GOES_ON));
        assert_eq!(next(&fanout, 1), Poll::Ready(Next::Piece(a.clone())));
        fanout.taken(1);
        assert_eq!(next(&fanout, 1), Poll::Ready(Next::Piece(b)));
        assert_eq!(next(&fanout, 2), Poll::Ready(Next::Piece(a)));
        fanout.taken(1);
        assert_eq!(next(&fanout, 1), Poll::Pending);
    }

    #[test]
    fn the_end_comes_when_the_last_has_taken_all_or_left() {
        let fanout = Fanout::default();
        fanout.join(1, Arc::default());
        fanout.join(2, Arc::default());
        assert!(fanout.put(&Bytes::from_static(b"a"), &GOES_ON));
        assert!(fanout.stalled_since_ms(2).is_some());
        fanout.taken(1);
        fanout.leave(2);
        fanout.end(true, &GOES_ON);
        assert_eq!(next(&fanout, 1), Poll::Ready(Next::End));
        fanout.leave(1);
        assert!(!fanout.put(&Bytes::from_static(b"b"), &GOES_ON), "nobody is left");
    }

    #[test]
    fn the_servers_end_is_not_held_up_by_a_full_lane() {
        let fanout = Fanout::default();
        fanout.join(1, Arc::default());
        let big = Bytes::from(vec![0; QUEUE_BYTES]);
        assert!(fanout.put(&big, &GOES_ON));
        let over = AtomicBool::new(true);
        assert!(!fanout.put(&big, &over));
        fanout.end(true, &over);
    }

    #[test]
    fn a_full_lane_holds_the_walker_back() {
        let fanout = Arc::new(Fanout::default());
        fanout.join(1, Arc::default());
        let big = Bytes::from(vec![0; QUEUE_BYTES]);
        assert!(fanout.put(&big, &GOES_ON));
        let walker = std::thread::spawn({
            let (fanout, big) = (fanout.clone(), big.clone());
            move || fanout.put(&big, &GOES_ON)
        });
        fanout.taken(1);
        assert!(walker.join().unwrap());
    }
}
