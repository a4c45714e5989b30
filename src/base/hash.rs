//! The one hash of a key: 64 bits, seeded once per process.
//!
//! The top bits choose shard and segment, the low ones the fingerprint, so every bit must be mixed: hence the
//! variant of foldhash with a final mix. The seed is secret, so that a client cannot choose colliding keys.
//! Knows nothing of shards or slots.

use std::hash::Hasher;
use std::sync::OnceLock;

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;

struct Seed {
    own: u64,
    shared: SharedSeed,
}

static SEED: OnceLock<Seed> = OnceLock::new();

/// The hash of `bytes`. After the first call: a load, a predicted branch and the hash itself.
#[inline]
pub fn hash(bytes: &[u8]) -> u64 {
    let seed = match SEED.get() {
        Some(seed) => seed,
        None => random_seed(),
    };
    let mut hasher = FoldHasher::with_seed(seed.own, &seed.shared);
    hasher.write(bytes);
    hasher.finish()
}

/// Fixes the seed of this process, for runs that must be repeatable. False if a key was hashed before.
pub fn init(seed: u64) -> bool {
    let mut fresh = false;
    SEED.get_or_init(|| {
        fresh = true;
        Seed { own: seed, shared: SharedSeed::from_u64(seed.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15) }
    });
    fresh
}

#[cold]
#[inline(never)]
fn random_seed() -> &'static Seed {
    SEED.get_or_init(|| Seed { own: super::rand::u64(), shared: SharedSeed::from_u64(super::rand::u64()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bytes_hash_alike_and_every_bit_varies() {
        assert_eq!(hash(b"key"), hash(b"key"));
        assert_ne!(hash(b""), hash(b"\0"));
        let n = 20_000u32;
        let mut ones = [0u32; 64];
        for i in 0..n {
            let h = hash(format!("key:{i:012}").as_bytes());
            for (bit, count) in ones.iter_mut().enumerate() {
                *count += (h >> bit) as u32 & 1;
            }
        }
        for (bit, &count) in ones.iter().enumerate() {
            assert!(count.abs_diff(n / 2) < n / 20, "bit {bit} is set in {count} of {n}");
        }
    }

    #[test]
    fn a_late_seed_is_refused() {
        hash(b"x");
        assert!(!init(1));
    }
}
