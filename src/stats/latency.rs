//! Latency histograms with logarithmic buckets: four to a doubling, in microseconds.
//!
//! Knows only numbers; written by one thread, read by any.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Four sub-buckets for each of 2^0 … 2^30 µs (18 minutes).
const BUCKETS: usize = 31 * 4;

pub struct Histogram {
    /// Allocated at the first record: most commands are never called.
    counts: std::sync::OnceLock<Box<[AtomicU32; BUCKETS]>>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: std::sync::OnceLock::new() }
    }
}

fn bucket_of(us: u64) -> usize {
    let us = us.max(1);
    let exp = us.ilog2() as usize;
    let sub = if exp >= 2 { (us >> (exp - 2)) as usize & 3 } else { ((us << (2 - exp)) & 3) as usize };
    (exp * 4 + sub).min(BUCKETS - 1)
}

/// The largest value that falls into a bucket.
fn upper_us(bucket: usize) -> u64 {
    let (exp, sub) = (bucket / 4, bucket as u64 % 4);
    (((4 + sub + 1) << exp) / 4).saturating_sub(1).max(1 << exp)
}

impl Histogram {
    #[inline]
    pub fn record(&self, us: u64) {
        let counts = self.counts.get_or_init(|| Box::new([const { AtomicU32::new(0) }; BUCKETS]));
        let n = &counts[bucket_of(us)];
        n.store(n.load(Relaxed).wrapping_add(1), Relaxed);
    }

    pub fn reset(&self) {
        if let Some(counts) = self.counts.get() {
            counts.iter().for_each(|n| n.store(0, Relaxed));
        }
    }
}

/// The sum of some histograms.
#[derive(Clone, Debug)]
pub struct Snapshot {
    counts: [u64; BUCKETS],
    pub total: u64,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], total: 0 }
    }
}

impl Snapshot {
    pub fn add(&mut self, h: &Histogram) {
        let Some(counts) = h.counts.get() else { return };
        for (sum, n) in self.counts.iter_mut().zip(counts.iter()) {
            let n = u64::from(n.load(Relaxed));
            *sum += n;
            self.total += n;
        }
    }

    /// The latency in µs that `percent` of the calls did not exceed.
    pub fn percentile_us(&self, percent: f64) -> f64 {
        let want = (self.total as f64 * percent / 100.0).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, n) in self.counts.iter().enumerate() {
            seen += n;
            if seen >= want {
                return upper_us(bucket) as f64;
            }
        }
        0.0
    }

    /// (upper bound in µs by doublings, calls up to it), for LATENCY HISTOGRAM: only the buckets that add something.
    pub fn doublings(&self) -> Vec<(u64, u64)> {
        let mut out: Vec<(u64, u64)> = Vec::new();
        let mut seen = 0;
        for (exp, four) in self.counts.chunks(4).enumerate() {
            let n: u64 = four.iter().sum();
            seen += n;
            if n != 0 {
                out.push(((1 << (exp + 1)) - 1, seen));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_quarter_of_the_truth() {
        let h = Histogram::default();
        (1..=10_000).for_each(|us| h.record(us));
        let mut s = Snapshot::default();
        s.add(&h);
        assert_eq!(s.total, 10_000);
        for (percent, us) in [(50.0, 5000.0), (99.0, 9900.0), (99.9, 9990.0)] {
            let got = s.percentile_us(percent);
            assert!((us..=us * 1.26).contains(&got), "p{percent}: {got} for {us}");
        }
    }
}
