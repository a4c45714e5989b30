//! Floor 3: the one ordered effect log: a chain of shared blocks with stock replication offsets.
