//! Floor 3: counters, and the numbers INFO and LATENCY tell.
