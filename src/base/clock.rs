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

/// Microseconds of processor time that this thread has used. A system call, unlike the others.
pub fn thread_us() -> i64 {
    read_us(ClockId::ThreadCPUTime)
}

#[inline]
fn read_us(id: ClockId) -> i64 {
    let t = clock_gettime(id);
    t.tv_sec * 1_000_000 + t.tv_nsec as i64 / 1000
}

/// A cheap monotonic counter for measuring short spans; [`ticks_to_us`] says what a difference means.
#[inline]
pub fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: reads the time-stamp counter, which every x86_64 processor has; it touches no memory.
        unsafe { core::arch::x86_64::_rdtsc() }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        mono_ns()
    }
}

/// Microseconds in a difference of two [`ticks`].
#[inline]
pub fn ticks_to_us(ticks: u64) -> u64 {
    // 2^32 / (ticks a µs), so that the hot path multiplies instead of dividing.
    static SCALE: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    let scale = *SCALE.get_or_init(measure_ticks);
    ((u128::from(ticks) * u128::from(scale)) >> 32) as u64
}

/// Compares the counter with the clock over a millisecond.
fn measure_ticks() -> u64 {
    let (t0, c0) = (mono_ns(), ticks());
    while mono_ns() - t0 < 1_000_000 {
        std::hint::spin_loop();
    }
    let (ns, count) = ((mono_ns() - t0) as u128, u128::from(ticks() - c0));
    ((ns << 32) / (count.max(1) * 1000)) as u64
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
