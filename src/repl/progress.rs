//! How far a full sync has come, and when it will be done: for INFO and the log, at both ends.
//!
//! Only counts: who sends what and where it stands is told by the caller.

use super::spill::Held;

/// One line in the log for so long a time.
pub const TELL_EVERY_MS: i64 = 10_000;

/// Where the sync of one replica stands. What is done is counted in keys while the snapshot is made, in bytes where its size
/// is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub began_ms: i64,
    pub done: u64,
    /// 0 while unknown.
    pub total: u64,
    /// On the wire so far.
    pub bytes: u64,
    /// What was written since the cut and waits for the replica.
    pub waiting: Held,
}

impl Progress {
    pub fn percent(&self) -> f64 {
        if self.total == 0 { 0.0 } else { (self.done as f64 / self.total as f64 * 100.0).min(100.0) }
    }

    /// Seconds to go at the pace so far; -1 while that cannot be told.
    pub fn left_s(&self, now_ms: i64) -> i64 {
        let took_ms = now_ms - self.began_ms;
        if self.total == 0 || self.done == 0 || took_ms <= 0 {
            return -1;
        }
        let left = self.total.saturating_sub(self.done) as f64;
        (left / self.done as f64 * took_ms as f64 / 1000.0).ceil() as i64
    }

    /// Behind the stock fields of `slave<n>:` in INFO.
    pub fn info(&self, now_ms: i64) -> String {
        let Held { memory_bytes, disk_bytes } = self.waiting;
        format!(
            "sync_perc={:.2},sync_eta={},sync_bytes={},sync_memory={memory_bytes},sync_disk={disk_bytes}",
            self.percent(),
            self.left_s(now_ms),
            self.bytes
        )
    }

    /// For the log.
    pub fn describe(&self, now_ms: i64) -> String {
        let took_s = (now_ms - self.began_ms).max(0) / 1000;
        let mut text = match self.left_s(now_ms) {
            -1 => format!("{} bytes in {took_s} s", self.bytes),
            left_s => {
                format!("{:.1}%, {} bytes in {took_s} s, about {left_s} s to go", self.percent(), self.bytes)
            }
        };
        let Held { memory_bytes, disk_bytes } = self.waiting;
        if memory_bytes + disk_bytes > 0 {
            text +=
                &format!("; {} bytes written meanwhile wait, {disk_bytes} of them on disk", memory_bytes + disk_bytes);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_so_far_tells_the_time_to_go() {
        let progress = Progress { began_ms: 1000, done: 25, total: 100, bytes: 700, waiting: Held::default() };
        assert_eq!((progress.percent(), progress.left_s(11_000)), (25.0, 30));
        assert_eq!(progress.describe(11_000), "25.0%, 700 bytes in 10 s, about 30 s to go");
        assert_eq!(progress.info(11_000), "sync_perc=25.00,sync_eta=30,sync_bytes=700,sync_memory=0,sync_disk=0");
    }

    #[test]
    fn without_a_total_only_the_bytes_are_told() {
        let waiting = Held { memory_bytes: 5, disk_bytes: 10 };
        let progress = Progress { began_ms: 0, done: 0, total: 0, bytes: 9, waiting };
        assert_eq!((progress.percent(), progress.left_s(5000)), (0.0, -1));
        assert_eq!(progress.describe(5000), "9 bytes in 5 s; 15 bytes written meanwhile wait, 10 of them on disk");
    }
}
