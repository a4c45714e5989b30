//! A key as handlers see it: its bytes, and the hash that was computed once.

use crate::base::hash::hash;

#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    pub bytes: &'a [u8],
    pub hash: u64,
}

impl<'a> Key<'a> {
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, hash: hash(bytes) }
    }
}
