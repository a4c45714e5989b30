//! Randomness: a fast generator per thread, identifiers from the system's own source, and a seedable one.
//!
//! The fast generator is not for secrets; [`hex_id`] is drawn from the system, because identifiers must be unique
//! among all the nodes of a tree and all their restarts.

use std::cell::RefCell;

use rand::rngs::{SmallRng, SysRng};
use rand::{Rng as _, RngExt, SeedableRng, TryRng};

/// A fast generator. The same seed gives the same sequence, within one build of this program.
#[derive(Clone, Debug)]
pub struct Rng(SmallRng);

impl Rng {
    pub fn from_seed(seed: u64) -> Self {
        Self(SmallRng::seed_from_u64(seed))
    }

    fn from_system() -> Self {
        let mut seed = [0; 8];
        system_bytes(&mut seed);
        Self::from_seed(u64::from_le_bytes(seed))
    }

    #[inline]
    pub fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in `0..n`; 0 when `n` is 0.
    #[inline]
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.0.random_range(0..n) }
    }

    /// Uniform in `0.0..1.0`.
    #[inline]
    pub fn f64(&mut self) -> f64 {
        self.0.random()
    }

    /// True with probability `p`, which is clamped to `0.0..=1.0`.
    #[inline]
    pub fn chance(&mut self, p: f64) -> bool {
        self.f64() < p
    }

    /// 40 characters of lower-case hexadecimal.
    pub fn hex_id(&mut self) -> [u8; 40] {
        let mut raw = [0; 20];
        self.0.fill_bytes(&mut raw);
        to_hex(&raw)
    }
}

thread_local! {
    static LOCAL: RefCell<Rng> = RefCell::new(Rng::from_system());
}

#[inline]
pub fn u64() -> u64 {
    LOCAL.with_borrow_mut(Rng::u64)
}

/// Uniform in `0..n`; 0 when `n` is 0.
#[inline]
pub fn below(n: u64) -> u64 {
    LOCAL.with_borrow_mut(|r| r.below(n))
}

/// Uniform in `0.0..1.0`.
#[inline]
pub fn f64() -> f64 {
    LOCAL.with_borrow_mut(Rng::f64)
}

/// A new identity (run id, replication id): 40 characters of lower-case hexadecimal.
pub fn hex_id() -> [u8; 40] {
    let mut raw = [0; 20];
    system_bytes(&mut raw);
    to_hex(&raw)
}

/// Fills `out` from the system's source; for secrets.
pub fn system_bytes(out: &mut [u8]) {
    SysRng.try_fill_bytes(out).expect("the system has no source of randomness");
}

fn to_hex(raw: &[u8; 20]) -> [u8; 40] {
    let mut out = [0; 40];
    for (pair, byte) in out.chunks_exact_mut(2).zip(raw) {
        pair[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
        pair[1] = b"0123456789abcdef"[usize::from(byte & 15)];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_sequence_and_the_thread_does_not() {
        let (mut a, mut b) = (Rng::from_seed(7), Rng::from_seed(7));
        assert_eq!([a.u64(), a.below(100)], [b.u64(), b.below(100)]);
        assert_eq!(a.hex_id(), b.hex_id());
        assert_ne!(u64(), u64());
        assert_ne!(hex_id(), hex_id());
    }

    #[test]
    fn ranges_hold() {
        assert_eq!(below(0), 0);
        for _ in 0..1000 {
            assert!(below(3) < 3);
            assert!((0.0..1.0).contains(&f64()));
        }
        assert!(hex_id().iter().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(c)));
    }
}
