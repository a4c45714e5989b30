//! From registers to a count: the estimator of Otmar Ertl, "New cardinality estimation algorithms for HyperLogLog
//! sketches" (arXiv:1702.01284), as stock servers compute it.

use super::{RANK_MAX, REGISTERS};

/// 0.5 / ln 2
const ALPHA: f64 = 0.721_347_520_444_481_7;

/// `histogram`: how many registers have each rank.
pub fn count(histogram: &[u32; 64]) -> u64 {
    let m = REGISTERS as f64;
    let ranks = RANK_MAX as usize;
    let mut z = m * tau((m - f64::from(histogram[ranks])) / m);
    for n in histogram[1..ranks].iter().rev() {
        z = 0.5 * (z + f64::from(*n));
    }
    z += m * sigma(f64::from(histogram[0]) / m);
    (ALPHA * m * m / z).round() as u64
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if before == z {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if before == z {
            return z / 3.0;
        }
    }
}
