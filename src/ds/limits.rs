//! Up to where a value keeps its small form: the thresholds of the directives of these names.

/// Copied into every unit of work; the defaults are those of the directives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Fields of a hash that is a listpack, and the longest field or value in it.
    pub hash_entries: usize,
    pub hash_value: usize,
    /// Elements in a node of a list; -1 to -5 mean 4 to 64 KiB.
    pub list_size: i64,
    /// Nodes at either end of a list that stay uncompressed; 0: all.
    pub list_compress: usize,
    /// Members of a set of integers.
    pub set_intset: usize,
    pub set_entries: usize,
    pub set_value: usize,
    pub zset_entries: usize,
    pub zset_value: usize,
    /// The size of a stream's node, in bytes and in entries; 0: no limit.
    pub stream_node_bytes: usize,
    pub stream_node_entries: usize,
    /// The longest sparse HyperLogLog.
    pub hll_sparse_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            hash_entries: 512,
            hash_value: 64,
            list_size: -2,
            list_compress: 0,
            set_intset: 512,
            set_entries: 128,
            set_value: 64,
            zset_entries: 128,
            zset_value: 64,
            stream_node_bytes: 4096,
            stream_node_entries: 100,
            hll_sparse_bytes: 3000,
        }
    }
}
