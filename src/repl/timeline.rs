//! At which time the log had which offset: what turns a replica's offset into milliseconds.
//!
//! Stock replicas acknowledge offsets and know no times, so the master remembers when it had the bytes they lack. Knows no
//! log, no replica and no clock.
//!
//! ```text
//!   samples:   (offset 100, at 5.000)  (180, 5.003)  (260, 5.250)      acknowledged: 150
//!                                        ^ the first beyond 150: byte 151 was there at 5.003 at the latest
//! ```

use std::collections::VecDeque;

use super::id::ReplOffset;

/// Samples kept: enough for years, see [`Timeline::thin`].
const SAMPLES: usize = 4096;
/// How exactly an age is known: to this part of it.
const PRECISION: i64 = 100;

#[derive(Debug)]
pub struct Timeline {
    /// Ends of the log and when each was seen first; both only grow.
    samples: VecDeque<(ReplOffset, i64)>,
}

impl Default for Timeline {
    fn default() -> Self {
        // All its room at once: were it to grow while replicas stand still, keys would be evicted for it.
        Self { samples: VecDeque::with_capacity(SAMPLES) }
    }
}

impl Timeline {
    /// The log ends at `offset` now. Cheap enough to be told at every turn.
    pub fn note(&mut self, offset: ReplOffset, now_ms: i64) {
        match self.samples.back_mut() {
            Some((last, _)) if *last == offset => return,
            // Another history took the place of ours.
            Some((last, _)) if *last > offset => self.samples.clear(),
            Some((last, at)) if *at == now_ms => {
                *last = offset;
                return;
            }
            Some(_) | None => {}
        }
        if self.samples.len() == SAMPLES {
            self.thin(now_ms);
        }
        self.samples.push_back((offset, now_ms));
    }

    /// Leaves out what no longer matters: what lies long ago need not be known to the millisecond. So the number left grows
    /// with the logarithm of the time covered.
    fn thin(&mut self, now_ms: i64) {
        let mut kept_ms = i64::MIN;
        self.samples.retain(|(_, at)| {
            let keep = at.saturating_sub(kept_ms) > (now_ms - at) / PRECISION;
            if keep {
                kept_ms = *at;
            }
            keep
        });
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
    }

    /// Offsets begin to count something else.
    pub fn clear(&mut self) {
        self.samples.clear();
    }

    /// For how long somebody who has everything up to `offset` has lacked what follows it. What came since the last note
    /// does not count yet.
    pub fn behind_ms(&self, offset: ReplOffset, now_ms: i64) -> i64 {
        let lacking = self.samples.partition_point(|(end, _)| *end <= offset);
        self.samples.get(lacking).map_or(0, |(_, at)| (now_ms - at).max(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_missing_byte_tells_the_lag() {
        let mut timeline = Timeline::default();
        assert_eq!(timeline.behind_ms(0, 9), 0, "nothing was ever written");
        timeline.note(100, 5000);
        timeline.note(180, 5003);
        timeline.note(190, 5003);
        timeline.note(260, 5250);
        timeline.note(260, 6000);
        assert_eq!(timeline.behind_ms(150, 6000), 997);
        assert_eq!(timeline.behind_ms(190, 6000), 750);
        assert_eq!(timeline.behind_ms(0, 6000), 1000);
        assert_eq!(timeline.behind_ms(260, 6000), 0);
        assert_eq!(timeline.behind_ms(999, 6000), 0);
    }

    #[test]
    fn a_history_that_begins_anew_forgets_the_old_one() {
        let mut timeline = Timeline::default();
        timeline.note(1000, 10);
        timeline.note(40, 20);
        assert_eq!(timeline.behind_ms(0, 25), 5);
        assert_eq!(timeline.behind_ms(40, 25), 0);
    }

    #[test]
    fn a_long_past_is_kept_in_bounded_room_and_proportion() {
        let mut timeline = Timeline::default();
        let end_ms = 400_000;
        for ms in 1..=end_ms {
            timeline.note(ms * 10, ms);
        }
        assert!(timeline.samples.len() <= SAMPLES);
        for lag_ms in [1, 10, 500, 5_000, 50_000, 390_000] {
            let told = timeline.behind_ms((end_ms - lag_ms) * 10, end_ms);
            // The byte that is lacking came a millisecond after the last one that is there.
            assert!(told < lag_ms && told + 1 + lag_ms / 40 >= lag_ms, "{told} for {lag_ms}");
        }
    }
}
