//! CLIENT PAUSE: until when which commands wait.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tokio::sync::Notify;

/// What is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PauseKind {
    /// Commands that may change data.
    Write,
    All,
}

#[derive(Clone, Copy, Debug, Default)]
struct Until {
    client: Option<(PauseKind, i64)>,
    failover: Option<i64>,
    shutdown: bool,
}

#[derive(Default)]
pub struct Pause {
    active: AtomicBool,
    until: Mutex<Until>,
    changed: Notify,
}

impl Pause {
    /// Whether a look at what is paused is worth while.
    #[inline]
    pub fn is_possible(&self) -> bool {
        // Relaxed: whoever must see it passes a gate that the pauser has taken.
        self.active.load(Relaxed)
    }

    /// What is paused at this moment.
    #[inline]
    pub fn current(&self, now_ms: i64) -> Option<PauseKind> {
        if !self.active.load(Relaxed) { None } else { self.look(now_ms) }
    }

    #[cold]
    fn look(&self, now_ms: i64) -> Option<PauseKind> {
        let mut until = self.until.lock();
        if until.client.is_some_and(|(_, at)| at <= now_ms) {
            until.client = None;
        }
        if until.failover.is_some_and(|at| at <= now_ms) {
            until.failover = None;
        }
        let write = (until.failover.is_some() || until.shutdown).then_some(PauseKind::Write);
        let kind = until.client.map(|(k, _)| k).max(write);
        self.active.store(kind.is_some(), Relaxed);
        kind
    }

    /// CLIENT PAUSE: a later end and the stronger kind win, as stock servers have it.
    pub fn pause_clients(&self, kind: PauseKind, until_ms: i64) {
        self.set(|u| {
            u.client = Some(u.client.map_or((kind, until_ms), |(k, at)| (k.max(kind), at.max(until_ms))));
        });
    }

    pub fn unpause_clients(&self) {
        self.set(|u| u.client = None);
    }

    pub fn pause_for_failover(&self, until_ms: Option<i64>) {
        self.set(|u| u.failover = until_ms);
    }

    pub fn pause_for_shutdown(&self, on: bool) {
        self.set(|u| u.shutdown = on);
    }

    fn set(&self, f: impl FnOnce(&mut Until)) {
        f(&mut self.until.lock());
        self.active.store(true, Relaxed);
        self.changed.notify_waiters();
    }

    /// Whether a command must wait now; `writes`: it may change data.
    #[inline]
    pub fn holds(&self, now_ms: i64, writes: bool) -> bool {
        match self.current(now_ms) {
            None => false,
            Some(PauseKind::Write) => writes,
            Some(PauseKind::All) => true,
        }
    }

    /// Returns when such a command may run again.
    pub async fn over(&self, writes: bool) {
        loop {
            let changed = self.changed.notified();
            let now = crate::base::clock::now_ms();
            if !self.holds(now, writes) {
                return;
            }
            let until = *self.until.lock();
            let ends = [until.client.map(|(_, at)| at), until.failover].into_iter().flatten().max();
            let wait_ms = ends.map_or(1000, |at| at - now).clamp(1, 1000);
            let _ = tokio::time::timeout(std::time::Duration::from_millis(wait_ms as u64), changed).await;
        }
    }
}
