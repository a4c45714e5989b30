//! How far a replica is behind the root of its tree, in bytes and in time.
//!
//! The root is asked first and last, the replicas in between and all at once. What is printed is what these samples can
//! bear: "0" only if nothing moved and nothing is missing, a bound where only a bound is known. Knows connections that
//! answer INFO replication, not trees.
//!
//! ```text
//!   root      R0 ────────────────────────────────── R1
//!   replica        n1 ····· n2 ····· n3 ≥ R0: the delay lies between n2 and n3
//! ```

use std::fmt;
use std::thread;
use std::time::Duration;

use crate::tools::moment::now;
use crate::tools::probe::{Client, Info};

/// How long a replica is watched for reaching the root's offset.
pub const BOUND: Duration = Duration::from_millis(200);
/// Between two questions to one replica.
const PAUSE: Duration = Duration::from_millis(1);

/// The time a replica is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delay {
    /// Nothing is missing and nothing moved while we looked.
    Zero,
    /// It had everything at the first look, this long after the root was asked.
    Below(Duration),
    /// Seen to arrive this long after the root had it.
    About(Duration),
    /// Still behind when we stopped looking.
    Above(Duration),
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero => f.write_str("0 ms"),
            Self::Below(d) => write!(f, "<{} ms", ceil_ms(*d)),
            Self::About(d) => write!(f, "{} ms", ceil_ms(*d)),
            Self::Above(d) => write!(f, ">{} ms", d.as_millis()),
        }
    }
}

impl Delay {
    /// Milliseconds, and how to read them.
    pub fn parts(self) -> (u64, &'static str) {
        match self {
            Self::Zero => (0, "exact"),
            Self::Below(d) => (ceil_ms(d), "below"),
            Self::About(d) => (ceil_ms(d), "about"),
            Self::Above(d) => (u64::try_from(d.as_millis()).unwrap_or(u64::MAX), "above"),
        }
    }
}

fn ceil_ms(d: Duration) -> u64 {
    u64::try_from(d.as_micros().div_ceil(1000)).unwrap_or(u64::MAX).max(1)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    pub bytes: u64,
    pub delay: Delay,
}

/// One replica while it is watched.
struct Track {
    first: Info,
    first_at: Duration,
    /// When it had what the root had at first; `Err` with the last look if it never came to that.
    reached_at: Result<Duration, Duration>,
    looks: u32,
}

/// Measures each replica's lag behind `root`. `None` for one that does not answer, or that follows another history
/// (its offsets then count something else).
pub fn measure(root: &mut Client, replicas: &mut [&mut Client], bound: Duration) -> Vec<Option<Lag>> {
    let asked_at = now();
    let Ok(before) = root.replication() else { return vec![None; replicas.len()] };
    let tracks: Vec<Option<Track>> = thread::scope(|scope| {
        let threads: Vec<_> =
            replicas.iter_mut().map(|client| scope.spawn(|| track(client, before.offset, asked_at + bound))).collect();
        threads.into_iter().map(|t| t.join().ok().flatten()).collect()
    });
    let Ok(after) = root.replication() else { return vec![None; replicas.len()] };
    let ended_at = now();
    tracks
        .into_iter()
        .map(|t| t.filter(|t| same_history(&before, &t.first)).map(|t| judge(&t, &before, &after, asked_at, ended_at)))
        .collect()
}

fn track(client: &mut Client, target: u64, until: Duration) -> Option<Track> {
    let first = client.replication().ok()?;
    let first_at = now();
    let mut offset = first.offset;
    let mut at = first_at;
    let mut looks = 1;
    while offset < target && at < until {
        thread::sleep(PAUSE);
        offset = client.replication().ok()?.offset;
        at = now();
        looks += 1;
    }
    Some(Track { first, first_at, reached_at: if offset >= target { Ok(at) } else { Err(at) }, looks })
}

fn judge(t: &Track, before: &Info, after: &Info, asked_at: Duration, ended_at: Duration) -> Lag {
    // Under load the root moved on between the samples: where it stood at the replica's moment is interpolated.
    let moved = after.offset.saturating_sub(before.offset);
    let whole = ended_at.saturating_sub(asked_at).as_nanos().max(1);
    let part = t.first_at.saturating_sub(asked_at).as_nanos().min(whole);
    let moved_then = u64::try_from(u128::from(moved) * part / whole).unwrap_or(moved);
    let bytes = (before.offset + moved_then).saturating_sub(t.first.offset);
    let delay = match t.reached_at {
        Ok(_) if moved == 0 && bytes == 0 => Delay::Zero,
        Ok(at) if t.looks == 1 => Delay::Below(at.saturating_sub(asked_at)),
        Ok(at) => Delay::About(at.saturating_sub(asked_at)),
        Err(at) => Delay::Above(at.saturating_sub(asked_at)),
    };
    Lag { bytes, delay }
}

/// Whether two servers' offsets count the same stream. Servers before PSYNC2 tell no id: then hope.
fn same_history(root: &Info, node: &Info) -> bool {
    node.replid.is_empty() || node.replid == root.replid || node.replid == root.replid2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(offset: u64) -> Info {
        let text = format!("role:slave\nmaster_replid:a\nslave_repl_offset:{offset}\nmaster_repl_offset:{offset}\n");
        Info::parse(&text).unwrap()
    }

    /// Samples at 0 (root), `first_ms` (replica's first look), 100 ms (root again).
    fn check(root: (u64, u64), replica: u64, first_ms: u64, reached: Result<u64, u64>, looks: u32) -> (u64, String) {
        let start = now();
        let ms = |n: u64| start + Duration::from_millis(n);
        let reached_at = reached.map(ms).map_err(ms);
        let track = Track { first: info(replica), first_at: ms(first_ms), reached_at, looks };
        let lag = judge(&track, &info(root.0), &info(root.1), start, ms(100));
        (lag.bytes, lag.delay.to_string())
    }

    #[test]
    fn an_idle_tree_that_has_everything_is_zero() {
        assert_eq!(check((500, 500), 500, 1, Ok(1), 1), (0, "0 ms".into()));
    }

    #[test]
    fn a_busy_root_is_interpolated_and_the_first_look_gives_a_bound() {
        assert_eq!(check((1000, 2000), 1400, 50, Ok(50), 1), (100, "<50 ms".into()));
        assert_eq!(check((1000, 2000), 1700, 50, Ok(50), 1), (0, "<50 ms".into()));
    }

    #[test]
    fn an_arrival_is_told_and_a_missing_one_too() {
        assert_eq!(check((1000, 1000), 400, 1, Ok(12), 9), (600, "12 ms".into()));
        assert_eq!(check((1000, 1000), 400, 1, Err(90), 50), (600, ">90 ms".into()));
    }

    #[test]
    fn offsets_of_another_history_are_not_compared() {
        let other = Info::parse("role:slave\nmaster_replid:b\n").unwrap();
        assert!(!same_history(&info(1), &other));
        assert!(same_history(&info(1), &info(9)));
    }
}
