//! `client-output-buffer-limit`: who keeps more waiting for it than its class may.
//!
//! Looked at whenever something is added for a client, and by the cron, for time alone can carry a client over its soft
//! limit. Knows no socket.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use super::client::{ClientHandle, flag};
use super::describe;
use super::engine::Engine;
use crate::config::OutputLimit;

/// Since when one client is over its soft limit.
#[derive(Debug, Default)]
pub struct SoftLimit {
    /// Unix ms; 0 while it is not.
    since_ms: AtomicI64,
}

impl SoftLimit {
    /// Whether `bytes` are too much for the class, or have been for too long. A limit below `floor_bytes` counts as that.
    pub fn is_exceeded(&self, class: &OutputLimit, floor_bytes: u64, bytes: u64, now_ms: i64) -> bool {
        let over = |limit: u64| limit != 0 && bytes >= limit.max(floor_bytes);
        if !over(class.soft_bytes) {
            self.since_ms.store(0, Relaxed);
            return over(class.hard_bytes);
        }
        let since_ms = match self.since_ms.load(Relaxed) {
            0 => {
                self.since_ms.store(now_ms, Relaxed);
                now_ms
            }
            since_ms => since_ms,
        };
        over(class.hard_bytes) || now_ms - since_ms > class.soft_seconds as i64 * 1000
    }

    pub fn is_running(&self) -> bool {
        self.since_ms.load(Relaxed) != 0
    }
}

/// Whether a client that is no replica has to go, for what it left unread. Says so in the log, and counts it.
pub fn ends(engine: &Engine, client: &ClientHandle, now_ms: i64) -> bool {
    let bytes = (client.out_bytes.load(Relaxed) + client.outbox_bytes()) as u64;
    if bytes == 0 && !client.soft_limit.is_running() {
        return false;
    }
    let settings = engine.config.now();
    let classes = &settings.client_output_buffer_limit;
    let class = if client.has(flag::PUBSUB) { &classes.pubsub } else { &classes.normal };
    if !client.soft_limit.is_exceeded(class, 0, bytes, now_ms) {
        return false;
    }
    note(engine, client);
    true
}

/// One connection is closed for its output.
pub fn note(engine: &Engine, client: &ClientHandle) {
    engine.stats.counters.output_limit_disconnections.fetch_add(1, Relaxed);
    tracing::warn!(
        "Client {} scheduled to be closed ASAP for overcoming of output buffer limits.",
        describe::line(engine, client)
    );
}

/// The cron's look at all clients that are no replicas: those of whom nobody hears any more as well.
pub fn enforce(engine: &Engine, now_ms: i64) {
    engine.clients.for_each(|client| {
        if !client.has(flag::REPLICA | flag::MASTER) && !client.is_killed() && ends(engine, client, now_ms) {
            client.kill();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hard_limit_holds_at_once_and_the_soft_one_after_its_time() {
        let class = OutputLimit { hard_bytes: 100, soft_bytes: 50, soft_seconds: 2 };
        let soft = SoftLimit::default();
        let is_over = |bytes, now_ms| soft.is_exceeded(&class, 0, bytes, now_ms);
        assert!(!is_over(49, 1000));
        assert!(is_over(100, 1000));
        assert!(!is_over(99, 1500));
        assert!(!is_over(50, 3000));
        assert!(is_over(50, 3001));
        // Below it once, and the time begins anew.
        assert!(!is_over(10, 3100));
        assert!(!is_over(60, 9000));
        assert!(!soft.is_exceeded(&class, 1000, 999, 20_000), "nobody is cut off for less than the floor");
    }

    #[test]
    fn no_limit_is_never_exceeded() {
        let class = OutputLimit { hard_bytes: 0, soft_bytes: 0, soft_seconds: 0 };
        assert!(!SoftLimit::default().is_exceeded(&class, 0, u64::MAX, 1));
    }
}
