//! What the eviction policy means for the commands that are carried out. Knows nothing of how keys are evicted.

use crate::config::{MaxmemoryPolicy, Settings};
use crate::keyspace::unit::Touch;

/// Whether small integers count as shared between keys, as they are in stock servers unless each needs a history.
pub(super) fn shares_integers(s: &Settings) -> bool {
    match s.maxmemory_policy {
        MaxmemoryPolicy::AllkeysLru
        | MaxmemoryPolicy::AllkeysLfu
        | MaxmemoryPolicy::VolatileLru
        | MaxmemoryPolicy::VolatileLfu => s.maxmemory == 0,
        MaxmemoryPolicy::AllkeysRandom
        | MaxmemoryPolicy::VolatileRandom
        | MaxmemoryPolicy::VolatileTtl
        | MaxmemoryPolicy::NoEviction => true,
    }
}

/// How lookups record accesses under the eviction policy.
pub fn touch_of(s: &Settings) -> Touch {
    if matches!(s.maxmemory_policy, MaxmemoryPolicy::AllkeysLfu | MaxmemoryPolicy::VolatileLfu) {
        Touch::Lfu { log_factor: s.lfu_log_factor as u32, decay_minutes: s.lfu_decay_time as u32 }
    } else {
        Touch::Lru
    }
}
