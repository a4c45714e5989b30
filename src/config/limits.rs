//! The thresholds of the encodings, as the data structures take them.

use super::Settings;
use crate::ds::Limits;

impl Settings {
    pub fn limits(&self) -> Limits {
        let size = |n: i64| usize::try_from(n).unwrap_or(0);
        Limits {
            hash_entries: self.hash_max_listpack_entries as usize,
            hash_value: self.hash_max_listpack_value as usize,
            list_size: self.list_max_listpack_size,
            list_compress: size(self.list_compress_depth),
            set_intset: self.set_max_intset_entries as usize,
            set_entries: self.set_max_listpack_entries as usize,
            set_value: self.set_max_listpack_value as usize,
            zset_entries: self.zset_max_listpack_entries as usize,
            zset_value: self.zset_max_listpack_value as usize,
            stream_node_bytes: self.stream_node_max_bytes as usize,
            stream_node_entries: size(self.stream_node_max_entries),
            hll_sparse_bytes: self.hll_sparse_max_bytes as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_directives() {
        assert_eq!(Settings::default().limits(), Limits::default());
    }
}
