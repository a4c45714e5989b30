//! Whose turn it is to walk the whole data set. One walks at a time, for a key remembers one walk only.
//!
//! A snapshot keeps its turn until it is done. A census (see `persist::census`) gives way: whoever comes for a snapshot
//! finds the turn free, if not at once then after a step of the walk. Knows nothing of what is walked for.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Walk {
    Snapshot,
    Census,
}

#[derive(Debug, Default)]
pub struct Turns {
    walk: Mutex<Option<Walk>>,
    /// How many wait to make a snapshot. Changed with `walk` held.
    waiting: AtomicUsize,
    over: Condvar,
}

/// The turn of one walk, until dropped.
#[must_use]
#[derive(Debug)]
pub struct Turn<'a>(&'a Turns);

impl Turns {
    /// Waits for the turn of a snapshot.
    pub fn wait(&self) -> Turn<'_> {
        let mut walk = self.walk.lock();
        self.waiting.fetch_add(1, Relaxed);
        self.over.wait_while(&mut walk, |walk| walk.is_some());
        self.begin_snapshot(walk)
    }

    /// The same, for so long.
    pub fn wait_for(&self, patience: Duration) -> Option<Turn<'_>> {
        let mut walk = self.walk.lock();
        self.waiting.fetch_add(1, Relaxed);
        self.over.wait_while_for(&mut walk, |walk| walk.is_some(), patience);
        if walk.is_some() {
            self.give_up_waiting();
            return None;
        }
        Some(self.begin_snapshot(walk))
    }

    /// The turn of a snapshot, unless another one has it.
    pub fn now(&self) -> Option<Turn<'_>> {
        let mut walk = self.walk.lock();
        self.waiting.fetch_add(1, Relaxed);
        self.over.wait_while(&mut walk, |walk| *walk == Some(Walk::Census));
        if walk.is_some() {
            self.give_up_waiting();
            return None;
        }
        Some(self.begin_snapshot(walk))
    }

    /// Waits for the turn of a walk that gives way to snapshots.
    pub fn wait_last(&self, patience: Duration) -> Option<Turn<'_>> {
        let mut walk = self.walk.lock();
        let busy = |walk: &mut Option<Walk>| walk.is_some() || self.waiting.load(Relaxed) > 0;
        self.over.wait_while_for(&mut walk, busy, patience);
        if busy(&mut walk) {
            return None;
        }
        *walk = Some(Walk::Census);
        Some(Turn(self))
    }

    /// Whether a snapshot is being made.
    pub fn is_taken(&self) -> bool {
        *self.walk.lock() == Some(Walk::Snapshot)
    }

    fn begin_snapshot<'a>(&'a self, mut walk: MutexGuard<'a, Option<Walk>>) -> Turn<'a> {
        self.waiting.fetch_sub(1, Relaxed);
        *walk = Some(Walk::Snapshot);
        Turn(self)
    }

    /// With `walk` held.
    fn give_up_waiting(&self) {
        self.waiting.fetch_sub(1, Relaxed);
        self.over.notify_all();
    }
}

impl Turn<'_> {
    /// Somebody waits to make a snapshot: who gives way does so now.
    #[inline]
    pub fn is_wanted(&self) -> bool {
        self.0.waiting.load(Relaxed) > 0
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.walk.lock() = None;
        self.0.over.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    const AT_ONCE: Duration = Duration::ZERO;

    #[test]
    fn a_snapshot_waits_for_a_snapshot_and_a_census_for_both() {
        let turns = Turns::default();
        let turn = turns.now().unwrap();
        assert!(turns.is_taken() && !turn.is_wanted());
        assert!(turns.now().is_none() && turns.wait_for(AT_ONCE).is_none() && turns.wait_last(AT_ONCE).is_none());
        assert!(!turn.is_wanted(), "nobody waits any more");
        drop(turn);
        let census = turns.wait_last(AT_ONCE).unwrap();
        assert!(!turns.is_taken(), "a census is no snapshot");
        assert!(turns.wait_last(AT_ONCE).is_none());
        drop(census);
        drop(turns.wait());
    }

    #[test]
    fn a_census_learns_that_it_is_to_give_way() {
        let turns = Turns::default();
        for want in [|turns: &Turns| drop(turns.now().unwrap()), |turns: &Turns| drop(turns.wait())] {
            let census = turns.wait_last(AT_ONCE).unwrap();
            thread::scope(|scope| {
                scope.spawn(|| want(&turns));
                while !census.is_wanted() {
                    thread::yield_now();
                }
                assert!(turns.wait_last(AT_ONCE).is_none());
                drop(census);
            });
            assert!(!turns.is_taken());
        }
    }
}
