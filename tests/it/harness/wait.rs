//! Waiting for a condition, with a limit. The only place that sleeps.

use std::time::{Duration, Instant};

/// How long anything may take before a test calls it broken. Generous: a slow machine is no failure.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Returns when `done` says so; panics with `what` after [`LIMIT`].
#[track_caller]
pub fn wait_until(what: &str, done: impl FnMut() -> bool) {
    wait_for(LIMIT, what, done);
}

/// The same with a limit of its own, for what takes several timeouts of others one after another.
#[track_caller]
pub fn wait_for(limit: Duration, what: &str, mut done: impl FnMut() -> bool) {
    #[allow(clippy::disallowed_methods, reason = "a test waits in real time, whatever the server believes")]
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    while !done() {
        assert!(start.elapsed() < limit, "waited {limit:?} in vain: {what}");
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}
