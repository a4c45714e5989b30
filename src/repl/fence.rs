//! The lineage fence: whether a full sync may replace what this node holds.
//!
//! A master that lost its data and starts again empty would have every replica of its give up the last copies at once. So
//! a replica refuses, if all of this is so:
//!
//! 1. it has been in step with this master since an operator (or Sentinel) named it; or it was started with the master in
//!    its configuration file, and what it loaded from disk told which history it belongs to;
//! 2. the master comes back with a replication id that is not that of the replica's data;
//! 3. the replica holds [`MIN_KEYS`] keys or more, and the master offers fewer than one for every [`SHRINKS_TO`] of them.
//!
//! It then keeps and serves what it has, and asks again now and then: the master's data may come back, or the operator may
//! say that this is how it should be. Knows no link and no data: only what was held and what is offered.

/// Fewer keys than these are not worth a fence: they are a trial's, or a cache's that was just begun.
pub const MIN_KEYS: u64 = 1000;
/// A data set that shrinks to less than one part in so many was lost, not worked on.
const SHRINKS_TO: u64 = 10;

/// How long to wait before the master is asked again: each time it has to make a snapshot of what it has.
pub const RETRY_MS: i64 = 10_000;

/// A refusal that stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fenced {
    /// Keys we hold, and keys the master offered last.
    pub held_keys: u64,
    pub offered_keys: u64,
    pub since_ms: i64,
    /// How often the master was refused.
    pub refusals: u64,
}

/// Whether the sizes alone speak against it.
pub fn shrinks(held_keys: u64, offered_keys: u64, min_keys: u64) -> bool {
    held_keys >= min_keys && offered_keys.saturating_mul(SHRINKS_TO) < held_keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_large_data_set_that_nearly_vanishes_is_fenced() {
        assert!(shrinks(1000, 0, MIN_KEYS));
        assert!(shrinks(1000, 99, MIN_KEYS));
        assert!(!shrinks(1000, 100, MIN_KEYS));
        assert!(!shrinks(999, 0, MIN_KEYS), "too few to matter");
        assert!(!shrinks(1000, 5000, MIN_KEYS));
        assert!(shrinks(u64::MAX, 1, MIN_KEYS) && !shrinks(u64::MAX, u64::MAX, MIN_KEYS));
    }
}
