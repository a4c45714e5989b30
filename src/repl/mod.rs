//! Floor 6: replication: identity, feeds, PSYNC, the replica's link to its master.
