//! The items a dictionary holds: owners of one allocation, one pointer wide, that tolerate a tag in their own pointer.
//!
//! A dictionary keeps 16 bits of the hash in the upper bits of each item, so that growing need not touch the item's
//! memory. Because [`Thin`] ignores these bits, `&T` can point straight into a bucket. Knows nothing of what the
//! allocation holds.

use std::fmt;
use std::ptr::NonNull;

/// The address bits of a pointer; those above are the dictionary's.
const ADDRESS: usize = (1 << 48) - 1;

/// What has a key.
pub trait Keyed {
    fn key(&self) -> &[u8];
}

/// An item of a [`Dict`](super::Dict).
///
/// # Safety
/// The type is `#[repr(transparent)]` over [`Thin`] and reaches its memory only through [`Thin::as_ptr`]. Its key does
/// not change while a dictionary holds it.
pub unsafe trait ThinOwned: Keyed {}

/// A pointer whose upper 16 bits may hold anything: the dictionary writes part of the hash there.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Thin(NonNull<u8>);

impl Thin {
    /// # Panics
    /// If the address needs more than 48 bits, which no system gives a process that does not ask for it.
    #[inline]
    pub fn new(p: NonNull<u8>) -> Self {
        assert!(p.addr().get() <= ADDRESS, "an address above 2^48");
        Self(p)
    }

    /// The pointer proper.
    #[inline]
    pub fn as_ptr(self) -> *mut u8 {
        self.0.as_ptr().map_addr(|a| a & ADDRESS)
    }

    #[inline]
    pub(super) fn tag(self) -> u16 {
        (self.0.addr().get() >> 48) as u16
    }

    #[inline]
    pub(super) fn tagged(self, tag: u16) -> Self {
        let p = self.as_ptr().map_addr(|a| a | usize::from(tag) << 48);
        // SAFETY: the address bits are not all zero, as they come from a `NonNull` given to `new`.
        Self(unsafe { NonNull::new_unchecked(p) })
    }

    #[inline]
    pub(super) fn of<T: ThinOwned>(item: T) -> Self {
        const { assert!(size_of::<T>() == size_of::<Self>() && align_of::<T>() == align_of::<Self>()) };
        let item = std::mem::ManuallyDrop::new(item);
        // SAFETY: `T` is transparent over `Thin` by the contract of `ThinOwned`; the item itself is not dropped.
        unsafe { std::mem::transmute_copy(&item) }
    }

    /// # Safety
    /// The pointer comes from [`Thin::of`] with the same `T`, and nothing owns it any longer.
    #[inline]
    pub(super) unsafe fn into_item<T: ThinOwned>(self) -> T {
        let plain = self.tagged(0);
        // SAFETY: as `T` is transparent over `Thin`; ownership is the caller's promise.
        unsafe { std::mem::transmute_copy(&plain) }
    }
}

impl PartialEq for Thin {
    fn eq(&self, other: &Self) -> bool {
        self.as_ptr() == other.as_ptr()
    }
}

impl Eq for Thin {}

impl fmt::Debug for Thin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ptr().fmt(f)
    }
}

/// Asks the processor for the cache line at an address, whatever that is.
#[inline(always)]
pub(super) fn prefetch_line<P>(p: *const P) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch of any address is harmless, and SSE is part of x86_64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(p.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}
