//! Moments of the clock that never jumps, as durations, for deadlines and for measuring.

use std::time::Duration;

use crate::base::clock;

/// The time since some moment long ago. Only differences mean anything.
pub fn now() -> Duration {
    Duration::from_micros(u64::try_from(clock::mono_us()).unwrap_or(0))
}
