//! How many workers serve the connections, and which of them: as few as the load needs.
//!
//! Two workers that are half idle cost more than one that is not: each goes to sleep and is woken for every few
//! requests, and the locks' cache lines travel between them. So connections begin together, and spread out as soon as a
//! worker has no rest any more or a command holds others up. A state machine: knows no thread and no clock.

/// From here on a worker is full: it has no rest any more.
const FULL: u32 = 950;
/// So many windows in a row must be full before connections spread out: a burst is over by then.
const PRESSING: u32 = 3;
/// A worker that is to take over the connections of another has no more to do than this, with both their loads. Together
/// they will cost less than apart.
const EASY: u32 = 850;
/// So many windows must be easy in a row before workers are given up.
const CALM: u32 = 20;
/// And so many after a command held others up.
const CALM_AFTER_HOLDUP: u32 = 100;

/// What one worker did in a window of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Thousandths of the window in which it was not asleep.
    pub busy: u32,
    /// Thousandths in which it ran. It may have been awake and without a processor, for which there are others at work.
    pub ran: u32,
    /// Connections that had requests.
    pub active: u32,
    /// A request kept the others waiting for long.
    pub holdup: bool,
}

/// Some of the connections of one worker are to go to another, as they come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    pub from: usize,
    pub to: usize,
    /// `u32::MAX`: all, now and later.
    pub count: u32,
}

#[derive(Debug)]
pub struct Balance {
    workers: usize,
    in_use: usize,
    /// Windows in a row that were full.
    pressed: u32,
    /// Windows to go until workers may be given up.
    patience: u32,
}

impl Balance {
    pub fn new(workers: usize) -> Self {
        Self { workers, in_use: 1, pressed: 0, patience: CALM }
    }

    /// The workers before this one take new connections.
    pub fn in_use(&self) -> usize {
        self.in_use
    }

    /// At the end of a window.
    pub fn step(&mut self, seen: &[Seen]) -> Vec<Move> {
        let used = seen.get(..self.in_use).unwrap_or(seen);
        let full = used.iter().any(|s| s.busy >= FULL && s.active > 1);
        self.pressed = if full { self.pressed + 1 } else { 0 };
        if used.iter().any(|s| s.holdup) {
            self.patience = CALM_AFTER_HOLDUP;
            if self.in_use < self.workers {
                return self.spread(seen);
            }
        } else if full {
            self.patience = self.patience.max(CALM);
            if self.pressed < PRESSING {
                return Vec::new();
            }
            self.pressed = 0;
            return if self.in_use < self.workers { self.spread(seen) } else { self.even_out(seen) };
        }
        let fewer = self.in_use.div_ceil(2);
        let together: u32 = used.iter().map(|s| s.ran).sum();
        if self.in_use == 1 || together > EASY * fewer as u32 {
            self.patience = self.patience.max(CALM);
            return Vec::new();
        }
        self.patience = self.patience.saturating_sub(1);
        if self.patience > 0 {
            return Vec::new();
        }
        self.patience = CALM;
        let leave = (fewer..self.in_use).map(|from| Move { from, to: from - fewer, count: u32::MAX }).collect();
        self.in_use = fewer;
        leave
    }

    /// Twice as many workers: each gets half of what another has.
    fn spread(&mut self, seen: &[Seen]) -> Vec<Move> {
        let before = self.in_use;
        self.in_use = (2 * before).min(self.workers);
        let half = |i: usize| seen.get(i).map_or(0, |s| s.active / 2);
        (before..self.in_use).map(|to| Move { from: to - before, to, count: half(to - before) }).collect()
    }

    /// One connection goes from the fullest worker to the one with the least to do, if that has room.
    fn even_out(&self, seen: &[Seen]) -> Vec<Move> {
        let Some((from, most)) = seen.iter().enumerate().filter(|(_, s)| s.active > 1).max_by_key(|(_, s)| s.busy)
        else {
            return Vec::new();
        };
        let Some((to, least)) = seen.iter().enumerate().min_by_key(|(_, s)| s.busy) else { return Vec::new() };
        if least.busy * 2 > most.busy { Vec::new() } else { vec![Move { from, to, count: 1 }] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(busy: u32, active: u32) -> Seen {
        Seen { busy, ran: busy, active, holdup: false }
    }

    /// Steps until the pressure tells; gives the last answer.
    fn press(b: &mut Balance, seen: &[Seen]) -> Vec<Move> {
        for _ in 1..PRESSING {
            assert_eq!(b.step(seen), [], "it may be a burst");
        }
        b.step(seen)
    }

    #[test]
    fn a_light_load_stays_where_it_is() {
        let mut b = Balance::new(4);
        let idle = [load(0, 0); 3];
        for busy in [0, 300, 700, FULL - 1] {
            let seen = [&[load(busy, 50)][..], &idle].concat();
            assert_eq!(press(&mut b, &seen), []);
        }
        assert_eq!(b.in_use(), 1);
        let seen = [&[load(1000, 1)][..], &idle].concat();
        assert_eq!(press(&mut b, &seen), [], "one connection cannot be divided");
    }

    #[test]
    fn a_full_worker_shares_with_another_and_takes_it_back_after_a_calm() {
        let mut b = Balance::new(3);
        let seen = [load(960, 50), load(0, 0), load(0, 0)];
        assert_eq!(press(&mut b, &seen), [Move { from: 0, to: 1, count: 25 }]);
        let seen = [load(990, 25), load(990, 25), load(0, 0)];
        assert_eq!(press(&mut b, &seen), [Move { from: 0, to: 2, count: 12 }]);
        assert_eq!(b.in_use(), 3);
        for _ in 1..CALM {
            assert_eq!(b.step(&[load(100, 5); 3]), []);
        }
        assert_eq!(b.step(&[load(900, 5), load(900, 5), load(100, 5)]), [], "too much for two: the calm is over");
        for _ in 1..CALM {
            assert_eq!(b.step(&[load(100, 5); 3]), []);
        }
        assert_eq!(b.step(&[load(100, 5); 3]), [Move { from: 2, to: 0, count: u32::MAX }]);
        assert_eq!(b.in_use(), 2);
    }

    #[test]
    fn what_holds_others_up_spreads_them_at_once_and_for_long() {
        let mut b = Balance::new(2);
        let slow = Seen { holdup: true, ..load(50, 10) };
        assert_eq!(b.step(&[slow, load(0, 0)]), [Move { from: 0, to: 1, count: 5 }]);
        for _ in 1..CALM_AFTER_HOLDUP {
            assert_eq!(b.step(&[load(10, 5), load(10, 5)]), []);
        }
        assert_eq!(b.step(&[load(10, 5), load(10, 5)]), [Move { from: 1, to: 0, count: u32::MAX }]);
    }

    #[test]
    fn an_uneven_load_is_evened_out_one_by_one() {
        let mut b = Balance::new(2);
        press(&mut b, &[load(1000, 10), load(0, 0)]);
        assert_eq!(press(&mut b, &[load(1000, 8), load(200, 2)]), [Move { from: 0, to: 1, count: 1 }]);
        assert_eq!(press(&mut b, &[load(960, 7), load(600, 3)]), []);
    }
}
