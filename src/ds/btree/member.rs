//! A member of a large sorted set: score and bytes in one allocation, which the dictionary owns and the tree points to.
//!
//! ```text
//!  0           8       9 (13)
//! +-----------+-------+-------------+
//! | score f64 | len   | bytes ...   |     len: one byte, or 255 and then four
//! +-----------+-------+-------------+
//! ```
//! Knows nothing of dictionaries, trees or other encodings.

use std::ptr::NonNull;

use crate::base::slab;
use crate::ds::dict::{Keyed, Thin, ThinOwned};

const SCORE: usize = 8;
const LONG: u8 = u8::MAX;

/// The owner of a member.
#[repr(transparent)]
pub struct Member(Thin);

// SAFETY: transparent over `Thin`, reaches its memory through `Thin::as_ptr` alone, and never changes its bytes.
unsafe impl ThinOwned for Member {}
// SAFETY: a member owns its allocation, plain bytes.
unsafe impl Send for Member {}
// SAFETY: as above; shared access only reads.
unsafe impl Sync for Member {}

/// How far behind the allocation's begin the bytes are.
#[inline]
fn head_of(len: usize) -> usize {
    if len < usize::from(LONG) { SCORE + 1 } else { SCORE + 5 }
}

impl Member {
    pub fn new(bytes: &[u8], score: f64) -> Self {
        let (len, head) = (bytes.len(), head_of(bytes.len()));
        let p = slab::alloc(head + len);
        // SAFETY: all writes stay inside the `head + len` bytes just allocated.
        unsafe {
            let b = p.as_ptr();
            b.cast::<f64>().write(score);
            if head == SCORE + 1 {
                b.add(SCORE).write(len as u8);
            } else {
                b.add(SCORE).write(LONG);
                b.add(SCORE + 1).cast::<u32>().write_unaligned(len as u32);
            }
            b.add(head).copy_from_nonoverlapping(bytes.as_ptr(), len);
        }
        Self(Thin::new(p))
    }

    /// A pointer for the tree, good for as long as this member lives.
    #[inline]
    pub(in crate::ds) fn pointer(&self) -> MemberRef {
        // SAFETY: the address came from a `NonNull`.
        MemberRef(unsafe { NonNull::new_unchecked(self.0.as_ptr()) })
    }

    #[inline]
    pub fn score(&self) -> f64 {
        self.pointer().score()
    }

    #[inline]
    pub fn set_score(&mut self, score: f64) {
        // SAFETY: the score is the member's own, and nobody holds a reference to it: it is read by value.
        unsafe { self.0.as_ptr().cast::<f64>().write(score) }
    }

    /// Bytes a member of this length takes.
    pub fn size_of(len: usize) -> usize {
        (head_of(len) + len).next_multiple_of(8)
    }
}

impl Keyed for Member {
    #[inline]
    fn key(&self) -> &[u8] {
        // SAFETY: the member lives as long as `&self`.
        unsafe { self.pointer().bytes_unbound() }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let len = self.key().len();
        // SAFETY: allocated in `new` with this size, and this was its one owner.
        unsafe { slab::free(self.pointer().0, head_of(len) + len) }
    }
}

/// A member as the tree knows it. Whoever makes one keeps the [`Member`] alive for as long as the pointer is used; the
/// sorted set does, which takes a member out of the tree before it drops it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemberRef(NonNull<u8>);

impl MemberRef {
    /// From an address that [`MemberRef::as_ptr`] gave.
    #[inline]
    pub(super) fn from_ptr(p: *mut u8) -> Self {
        debug_assert!(!p.is_null());
        // SAFETY: entries are made from members' pointers only, which are not null.
        Self(unsafe { NonNull::new_unchecked(p) })
    }

    #[inline]
    pub(super) fn as_ptr(self) -> *mut u8 {
        self.0.as_ptr()
    }

    #[inline]
    pub fn score(self) -> f64 {
        // SAFETY: the member lives (see the type), and begins with its score.
        unsafe { self.0.as_ptr().cast::<f64>().read() }
    }

    /// Shows the member's bytes.
    #[inline]
    pub(in crate::ds) fn with_bytes<R>(self, f: impl FnOnce(&[u8]) -> R) -> R {
        // SAFETY: the member lives (see the type); what `f` gives back cannot hold on to the bytes.
        f(unsafe { self.bytes_unbound() })
    }

    /// The member's bytes.
    ///
    /// # Safety
    /// The member outlives `'a`.
    #[inline]
    pub(super) unsafe fn bytes_unbound<'a>(self) -> &'a [u8] {
        // SAFETY: the member lives (see the type); length and bytes were written in `Member::new`.
        unsafe {
            let b = self.0.as_ptr();
            match b.add(SCORE).read() {
                LONG => {
                    let len = b.add(SCORE + 1).cast::<u32>().read_unaligned() as usize;
                    std::slice::from_raw_parts(b.add(SCORE + 5), len)
                }
                len => std::slice::from_raw_parts(b.add(SCORE + 1), usize::from(len)),
            }
        }
    }
}
