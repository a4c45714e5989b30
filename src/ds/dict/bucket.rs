//! One cache line: seven items, seven fingerprints, and where else items that belong here lie.
//!
//! Knows nothing of hashes beyond the bytes it is given, nor of its neighbours.

use super::thin::{Thin, prefetch_line};

pub(super) const SLOTS: usize = 7;

/// An item that belongs to this bucket lies in the next one.
pub(super) const RIGHT: u8 = 1;
/// An item that belongs to this bucket lies in the previous one.
pub(super) const LEFT: u8 = 2;
/// An item that belongs to this bucket lies in the dictionary's list.
pub(super) const LISTED: u8 = 4;

const ONES: u64 = 0x0001_0101_0101_0101;
const LOWS: u64 = 0x007f_7f7f_7f7f_7f7f;
const HIGHS: u64 = 0x0080_8080_8080_8080;

/// All zero is an empty bucket.
#[repr(C, align(64))]
pub(super) struct Bucket {
    slots: [Option<Thin>; SLOTS],
    /// Byte `i < 7` is the fingerprint of slot `i`, 0 if the slot is free; byte 7 holds RIGHT, LEFT and LISTED.
    marks: u64,
}

const _: () = assert!(size_of::<Bucket>() == 64);

/// Slots as a set: bit `8 * i + 7` stands for slot `i`.
#[derive(Clone, Copy)]
pub(super) struct SlotSet(u64);

impl SlotSet {
    pub(super) const EMPTY: Self = Self(0);
}

impl Iterator for SlotSet {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let i = self.0.trailing_zeros() as usize / 8;
        self.0 &= self.0 - 1;
        Some(i)
    }
}

/// The set of zero bytes among the lower seven; exact, unlike the shorter formula with a borrow.
#[inline(always)]
fn zero_bytes(x: u64) -> SlotSet {
    SlotSet(!(((x & LOWS) + LOWS) | x) & HIGHS)
}

impl Bucket {
    /// Slots whose fingerprint is `fp`.
    #[inline(always)]
    pub(super) fn matches(&self, fp: u8) -> SlotSet {
        zero_bytes(self.marks ^ (u64::from(fp) * ONES))
    }

    #[inline(always)]
    pub(super) fn first_free(&self) -> Option<usize> {
        zero_bytes(self.marks).next()
    }

    #[inline]
    pub(super) fn is_full(&self) -> bool {
        zero_bytes(self.marks).0 == 0
    }

    #[inline]
    pub(super) fn occupied(&self) -> SlotSet {
        SlotSet(zero_bytes(self.marks).0 ^ HIGHS)
    }

    #[inline(always)]
    pub(super) fn slot(&self, i: usize) -> Option<Thin> {
        self.slots[i]
    }

    #[inline]
    pub(super) fn slot_ptr(&self, i: usize) -> *const Thin {
        (&raw const self.slots[i]).cast()
    }

    #[inline]
    pub(super) fn slot_mut_ptr(&mut self, i: usize) -> *mut Thin {
        (&raw mut self.slots[i]).cast()
    }

    #[inline(always)]
    pub(super) fn set(&mut self, i: usize, item: Thin, fp: u8) {
        debug_assert!(fp != 0 && self.fingerprint(i) == 0);
        self.slots[i] = Some(item);
        self.marks |= u64::from(fp) << (8 * i);
    }

    /// Writes into a free slot; false if there is none.
    #[inline]
    pub(super) fn put(&mut self, item: Thin, fp: u8) -> bool {
        match self.first_free() {
            Some(i) => {
                self.set(i, item, fp);
                true
            }
            None => false,
        }
    }

    #[inline]
    pub(super) fn take(&mut self, i: usize) -> Option<Thin> {
        self.marks &= !(0xff << (8 * i));
        self.slots[i].take()
    }

    #[inline]
    pub(super) fn fingerprint(&self, i: usize) -> u8 {
        (self.marks >> (8 * i)) as u8
    }

    /// Asks the processor for the items, for whoever is going to read them all.
    #[inline]
    pub(super) fn prefetch_items(&self) {
        for item in self.slots.iter().flatten() {
            prefetch_line(item.as_ptr());
        }
    }

    /// Some of RIGHT, LEFT and LISTED.
    #[inline(always)]
    pub(super) fn spilled(&self) -> u8 {
        (self.marks >> 56) as u8
    }

    pub(super) fn set_spilled(&mut self, flags: u8) {
        self.marks = self.marks & (u64::MAX >> 8) | u64::from(flags) << 56;
    }

    pub(super) fn add_spilled(&mut self, flags: u8) {
        self.marks |= u64::from(flags) << 56;
    }
}
