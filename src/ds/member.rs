//! A string as the items of large sets keep it: its length and its bytes in one slot of exactly that size.
//!
//! ```text
//!   shorter than 255    | length u8 | bytes |
//!   longer              | 255 | length u64 | bytes |        unaligned, native order
//! ```
//! Knows nothing of who holds it.

use std::fmt;
use std::ptr::NonNull;

use super::dict::{Keyed, Thin, ThinOwned};
use crate::base::slab;

/// In the place of a length that does not fit.
const LONG: u8 = u8::MAX;
const LONG_HEAD: usize = 9;

/// Owner of one string.
#[repr(transparent)]
pub struct Member(Thin);

// SAFETY: transparent over `Thin`, reaches its memory through `Thin::as_ptr` alone, and its bytes never change.
unsafe impl ThinOwned for Member {}
// SAFETY: a member owns its allocation alone.
unsafe impl Send for Member {}
// SAFETY: as above; nothing changes it while it is shared.
unsafe impl Sync for Member {}

#[inline]
fn head_of(len: usize) -> usize {
    if len < usize::from(LONG) { 1 } else { LONG_HEAD }
}

impl Member {
    #[inline]
    pub fn new(bytes: &[u8]) -> Self {
        let head = head_of(bytes.len());
        let p: NonNull<u8> = slab::alloc(head + bytes.len());
        // SAFETY: every write stays inside the `head + len` bytes asked for.
        unsafe {
            let at = p.as_ptr();
            if head == 1 {
                at.write(bytes.len() as u8);
            } else {
                at.write(LONG);
                at.add(1).cast::<u64>().write_unaligned(bytes.len() as u64);
            }
            at.add(head).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        Self(Thin::new(p))
    }

    #[inline]
    fn len(&self) -> usize {
        let at = self.0.as_ptr();
        // SAFETY: the first byte is always written; LONG says that eight more of the length follow.
        unsafe {
            match at.read() {
                LONG => at.add(1).cast::<u64>().read_unaligned() as usize,
                short => usize::from(short),
            }
        }
    }

    #[inline]
    pub fn bytes(&self) -> &[u8] {
        let len = self.len();
        // SAFETY: the bytes follow the head, are initialised, and live as long as the member.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().add(head_of(len)), len) }
    }

    /// Bytes asked of the allocator for a string of so many.
    pub fn size_of(len: usize) -> usize {
        (head_of(len) + len).max(16).next_multiple_of(8)
    }
}

impl Keyed for Member {
    #[inline]
    fn key(&self) -> &[u8] {
        self.bytes()
    }
}

impl Drop for Member {
    #[inline]
    fn drop(&mut self) {
        let len = self.len();
        // SAFETY: `Thin::new` was given what `alloc` returned for this size, and nothing uses it any more.
        unsafe {
            slab::free(NonNull::new_unchecked(self.0.as_ptr()), head_of(len) + len);
        }
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes().escape_ascii().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_keeps_its_bytes_whatever_their_length() {
        for len in [0, 1, 7, 15, 253, 254, 255, 256, 511, 512, 513, 70_000] {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let member = Member::new(&bytes);
            assert_eq!(member.bytes(), bytes);
            assert!(Member::size_of(len) > len);
        }
        assert_eq!((Member::size_of(10), Member::size_of(15), Member::size_of(16)), (16, 16, 24));
    }
}
