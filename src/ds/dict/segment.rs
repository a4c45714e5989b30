//! A run of buckets that grows as one, and the arithmetic that finds an item's place in it.
//!
//! Positions are hashes without the shard bits, left-aligned: `position = hash << skip_bits`. Knows nothing of the
//! directory, nor of what items are.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};

use super::bucket::{Bucket, LEFT, LISTED, RIGHT, SLOTS};
use super::thin::Thin;

/// The bucket counts a segment can have: steps small enough to keep buckets well filled, and sizes that allocators
/// have classes for.
const SIZES: [u8; 11] = [1, 2, 4, 6, 8, 12, 16, 20, 24, 28, 32];
pub(super) const MAX_BUCKETS: usize = 32;
/// Buckets are chosen by this many bits below the segment's prefix. A tag always holds them.
const QUANTUM_BITS: u32 = 9;
/// A segment's prefix is never longer, so that a cursor of 48 bits can name any bucket's beginning.
pub(super) const MAX_DEPTH: u32 = 32;

const ADDRESS: usize = (1 << 48) - 64;

/// Where the items of a segment lie: the length of its prefix and the number of its buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) depth: u32,
    pub(super) buckets: usize,
}

impl Shape {
    #[inline(always)]
    fn home_of_quantum(self, quantum: usize) -> usize {
        (quantum * self.buckets) >> QUANTUM_BITS
    }

    /// The bucket a position belongs to.
    #[inline(always)]
    pub(super) fn home(self, position: u64) -> usize {
        self.home_of_quantum((position << self.depth >> (64 - QUANTUM_BITS)) as usize)
    }

    /// The tag of a position: 16 bits of it, from the last multiple of 8 not beyond the prefix on. So the bits a split
    /// needs are in the tag, and only one split in eight must look at the keys again.
    #[inline(always)]
    pub(super) fn tag(self, position: u64) -> u16 {
        (position << (self.depth & !7) >> 48) as u16
    }

    #[inline]
    pub(super) fn home_of_tag(self, tag: u16) -> usize {
        self.home_of_quantum(usize::from(tag << (self.depth & 7)) >> (16 - QUANTUM_BITS))
    }

    /// The half an item falls into when the segment splits.
    #[inline]
    pub(super) fn half(self, tag: u16) -> usize {
        usize::from(tag >> (15 - (self.depth & 7)) & 1)
    }

    /// The distance from the segment's first position to the first of bucket `i`; 0 stands for 2^64.
    pub(super) fn offset_of(self, i: usize) -> u64 {
        let quantum = (i << QUANTUM_BITS).div_ceil(self.buckets) as u128;
        (quantum << (64 - QUANTUM_BITS - self.depth)) as u64
    }

    fn next(self, i: usize) -> usize {
        if i + 1 == self.buckets { 0 } else { i + 1 }
    }

    fn prev(self, i: usize) -> usize {
        if i == 0 { self.buckets - 1 } else { i - 1 }
    }

    /// The buckets an item may lie in when its own is full, as its own bucket's flags say.
    #[inline]
    pub(super) fn neighbours(self, home: usize, flags: u8) -> impl Iterator<Item = usize> + use<> {
        let right = (flags & RIGHT != 0).then(|| self.next(home));
        let left = (flags & LEFT != 0).then(|| self.prev(home));
        right.into_iter().chain(left)
    }

    /// More items than this do not go into that many buckets: lookups would visit neighbours too often.
    pub(super) fn limit(self) -> usize {
        self.buckets * SLOTS * 7 / 8
    }

    /// Below this a segment is worth shrinking.
    #[inline]
    pub(super) fn low_mark(self) -> usize {
        self.buckets * SLOTS * 2 / 5
    }
}

/// The fewest buckets in which `items` leave room for some more; 0 for none.
pub(super) fn buckets_for(items: usize) -> usize {
    if items == 0 {
        return 0;
    }
    SIZES.iter().map(|n| usize::from(*n)).find(|n| n * SLOTS * 5 / 7 >= items).unwrap_or(MAX_BUCKETS)
}

/// The next larger bucket count.
pub(super) fn grown(buckets: usize) -> usize {
    SIZES.iter().map(|n| usize::from(*n)).find(|n| *n > buckets).unwrap_or(MAX_BUCKETS)
}

/// A segment's allocation and its shape in one word, so that a lookup need not read a header:
/// bits 48..54 the depth, bits 6..48 the address, bits 0..6 the number of buckets (0: there is no allocation).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment(*mut Bucket);

impl Segment {
    /// A segment without buckets.
    pub(super) const fn vacant(depth: u32) -> Self {
        Self(std::ptr::without_provenance_mut((depth as usize) << 48))
    }

    fn layout(buckets: usize) -> Layout {
        Layout::array::<Bucket>(buckets).expect("at most 32 buckets")
    }

    /// Empty buckets, owned by whoever has the segment last; see [`Segment::free`].
    pub(super) fn allocate(shape: Shape) -> Self {
        debug_assert!((1..=MAX_BUCKETS).contains(&shape.buckets) && shape.depth <= MAX_DEPTH);
        let layout = Self::layout(shape.buckets);
        // SAFETY: the layout's size is not zero.
        let p = unsafe { alloc_zeroed(layout) }.cast::<Bucket>();
        if p.is_null() {
            handle_alloc_error(layout);
        }
        assert!(p.addr() & !ADDRESS == 0, "an address above 2^48");
        Self(p.map_addr(|a| a | (shape.depth as usize) << 48 | shape.buckets))
    }

    /// # Safety
    /// The segment was not freed, and nobody uses a copy or a borrow of it later. Items in it are not dropped.
    pub(super) unsafe fn free(self) {
        let shape = self.shape();
        if shape.buckets > 0 {
            // SAFETY: this is what `allocate` got for this shape.
            unsafe { dealloc(self.base().cast(), Self::layout(shape.buckets)) };
        }
    }

    #[inline(always)]
    pub(super) fn shape(self) -> Shape {
        let a = self.0.addr();
        Shape { depth: (a >> 48) as u32, buckets: a & 63 }
    }

    #[inline(always)]
    pub(super) fn is_vacant(self) -> bool {
        self.0.addr() & 63 == 0
    }

    #[inline(always)]
    fn base(self) -> *mut Bucket {
        self.0.map_addr(|a| a & ADDRESS)
    }

    /// The address of a bucket, for a prefetch.
    #[inline(always)]
    pub(super) fn bucket_ptr(self, i: usize) -> *const Bucket {
        self.base().wrapping_add(i)
    }

    /// # Safety
    /// The segment is allocated, `i` is below its bucket count, and nobody has a mutable borrow during `'a`.
    #[inline(always)]
    pub(super) unsafe fn bucket<'a>(self, i: usize) -> &'a Bucket {
        debug_assert!(i < self.shape().buckets);
        // SAFETY: the caller's promise.
        unsafe { &*self.base().add(i) }
    }

    /// # Safety
    /// As for [`Segment::bucket`], and nobody else has any borrow during `'a`.
    #[inline(always)]
    pub(super) unsafe fn bucket_mut<'a>(self, i: usize) -> &'a mut Bucket {
        debug_assert!(i < self.shape().buckets);
        // SAFETY: the caller's promise.
        unsafe { &mut *self.base().add(i) }
    }

    /// # Safety
    /// The segment was not freed, and nobody has a mutable borrow during `'a`.
    pub(super) unsafe fn buckets<'a>(self) -> &'a [Bucket] {
        if self.is_vacant() {
            return &[];
        }
        // SAFETY: the allocation holds that many buckets, and all zero is a valid one.
        unsafe { std::slice::from_raw_parts(self.base(), self.shape().buckets) }
    }

    /// # Safety
    /// The segment was not freed, and nobody else has any borrow during `'a`.
    pub(super) unsafe fn buckets_mut<'a>(self) -> &'a mut [Bucket] {
        if self.is_vacant() {
            return &mut [];
        }
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.base(), self.shape().buckets) }
    }
}

/// Finds room for an item in its own bucket, in a neighbour, or by moving a neighbour's item on. The item carries its tag.
pub(super) fn place(buckets: &mut [Bucket], shape: Shape, home: usize, item: Thin, fp: u8) -> bool {
    if buckets[home].put(item, fp) {
        return true;
    }
    if buckets.len() == 1 {
        return false;
    }
    let sides = [(shape.next(home), RIGHT), (shape.prev(home), LEFT)];
    for (at, flag) in sides {
        if buckets[at].put(item, fp) {
            buckets[home].add_spilled(flag);
            return true;
        }
    }
    for (at, flag) in sides {
        if make_room(buckets, shape, at) {
            buckets[home].add_spilled(flag);
            return buckets[at].put(item, fp);
        }
    }
    false
}

/// Moves one item of a full bucket to another bucket where it may lie.
fn make_room(buckets: &mut [Bucket], shape: Shape, full: usize) -> bool {
    for i in 0..SLOTS {
        let Some(item) = buckets[full].slot(i) else { continue };
        let home = shape.home_of_tag(item.tag());
        for (to, flag) in [(home, 0), (shape.next(home), RIGHT), (shape.prev(home), LEFT)] {
            if to == full || buckets[to].is_full() {
                continue;
            }
            let fp = buckets[full].fingerprint(i);
            buckets[full].take(i);
            buckets[to].put(item, fp);
            refresh_spilled(buckets, shape, home);
            buckets[home].add_spilled(flag);
            return true;
        }
    }
    false
}

/// Sets a bucket's flags anew after an item of its own left a neighbour.
pub(super) fn refresh_spilled(buckets: &mut [Bucket], shape: Shape, home: usize) {
    let belongs = |item: Option<Thin>| item.is_some_and(|t| shape.home_of_tag(t.tag()) == home);
    let mut flags = buckets[home].spilled() & LISTED;
    for (at, flag) in [(shape.next(home), RIGHT), (shape.prev(home), LEFT)] {
        if at != home && buckets[at].occupied().any(|i| belongs(buckets[at].slot(i))) {
            flags |= flag;
        }
    }
    buckets[home].set_spilled(flags);
}
