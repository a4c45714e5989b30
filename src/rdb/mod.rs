//! Floor 3: the RDB codec. Knows bytes and values, not files' names, forks or replicas.
