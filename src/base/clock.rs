//! The only place that asks the time. A unit of work asks once and hands the answer down; state machines are told.

use rustix::time::{ClockId, clock_gettime};

/// Unix time in milliseconds.
#[inline]
pub fn now_ms() -> i64 {
    now_us() / 1000
}

/// Unix time in microseconds.
#[inline]
pub fn now_us() -> i64 {
    read_us(ClockId::Realtime)
}

/// Milliseconds of a clock that never jumps; its zero has no meaning.
#[inline]
pub fn mono_ms() -> i64 {
    mono_us() / 1000
}

/// Microseconds of a clock that never jumps; its zero has no meaning.
#[inline]
pub fn mono_us() -> i64 {
    read_us(ClockId::Monotonic)
}

/// Nanoseconds of the same clock, for measuring short things.
#[inline]
pub fn mono_ns() -> i64 {
    let t = clock_gettime(ClockId::Monotonic);
    t.tv_sec * 1_000_000_000 + t.tv_nsec as i64
}

#[inline]
fn read_us(id: ClockId) -> i64 {
    let t = clock_gettime(id);
    t.tv_sec * 1_000_000 + t.tv_nsec as i64 / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_run_and_agree_on_units() {
        assert!(now_ms() > 1_600_000_000_000);
        assert!((now_us() / 1000 - now_ms()).abs() < 1000);
        let (a, b) = (mono_us(), mono_us());
        assert!(b >= a);
        assert!((mono_ns() / 1_000_000 - mono_ms()).abs() < 1000);
    }
}
