//! A run of buckets that grows as one, and the arithmetic that finds an item's place in it.
//!
//! Positions are hashes without the shard bits, left-aligned: `position = hash << skip_bits`. Knows nothing of the
//! directory, nor of what items are.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Index, IndexMut};

use super::bucket::{Bucket, LEFT, LISTED, RIGHT, SLOTS};
use super::thin::Thin;

/// The bucket counts a segment can have, in steps small enough to keep buckets well filled. Each is a power of two or
/// the sum of two, and is allocated as such: odd sizes would be rounded up by allocators, and leave holes when outgrown.
const SIZES: [u8; 10] = [1, 2, 4, 6, 8, 12, 16, 20, 24, 32];
/// The larger block of a segment is no larger.
const MAX_BLOCK: usize = 16;
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
        // Of two buckets, the next is the previous as well.
        let left = (flags & LEFT != 0).then(|| self.prev(home)).filter(|at| Some(*at) != right);
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
    SIZES.iter().map(|n| usize::from(*n)).find(|n| n * SLOTS * 4 / 5 >= items).unwrap_or(MAX_BUCKETS)
}

/// The next larger bucket count.
pub(super) fn grown(buckets: usize) -> usize {
    SIZES.iter().map(|n| usize::from(*n)).find(|n| *n > buckets).unwrap_or(MAX_BUCKETS)
}

/// A segment's one or two blocks of buckets and its shape in two words, so that a lookup need not read a header.
///
/// ```text
///   low    bits 48..54: depth                       | 6..48: address of the block | 0..6: buckets in all, 0 for none
///   high   bits 48..54: buckets in the other block  | 6..48: address of the block, if there is one
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    low: *mut Bucket,
    high: *mut Bucket,
}

impl Segment {
    /// A segment without buckets.
    pub(super) const fn vacant(depth: u32) -> Self {
        Self { low: std::ptr::without_provenance_mut((depth as usize) << 48), high: std::ptr::null_mut() }
    }

    fn layout(buckets: usize) -> Layout {
        Layout::array::<Bucket>(buckets).expect("at most 16 buckets")
    }

    fn block(buckets: usize) -> *mut Bucket {
        let layout = Self::layout(buckets);
        debug_assert!(layout.size() > 0);
        // SAFETY: the layout's size is not zero, as callers ask for one bucket at least.
        let p = unsafe { alloc_zeroed(layout) }.cast::<Bucket>();
        if p.is_null() {
            handle_alloc_error(layout);
        }
        assert!(p.addr() & !ADDRESS == 0, "an address above 2^48");
        p
    }

    /// Empty buckets, owned by whoever has the segment last; see [`Segment::free`].
    pub(super) fn allocate(shape: Shape) -> Self {
        let buckets = shape.buckets;
        assert!((1..=MAX_BUCKETS).contains(&buckets) && shape.depth <= MAX_DEPTH);
        let split = (1 << buckets.ilog2()).min(MAX_BLOCK);
        let high = if split < buckets { Self::block(buckets - split) } else { std::ptr::null_mut() };
        Self {
            low: Self::block(split).map_addr(|a| a | (shape.depth as usize) << 48 | buckets),
            high: high.map_addr(|a| a | split << 48),
        }
    }

    /// # Safety
    /// The segment was not freed, and nobody uses a copy or a borrow of it later. Items in it are not dropped.
    pub(super) unsafe fn free(self) {
        let (split, buckets) = (self.split(), self.shape().buckets);
        // SAFETY: these are the blocks `allocate` got for this many buckets, each with its layout.
        unsafe {
            if buckets > 0 {
                dealloc(self.low.map_addr(|a| a & ADDRESS).cast(), Self::layout(split));
            }
            if buckets > split {
                dealloc(self.high.map_addr(|a| a & ADDRESS).cast(), Self::layout(buckets - split));
            }
        }
    }

    #[inline(always)]
    pub(super) fn shape(self) -> Shape {
        let a = self.low.addr();
        Shape { depth: (a >> 48) as u32, buckets: a & 63 }
    }

    #[inline(always)]
    pub(super) fn is_vacant(self) -> bool {
        self.low.addr() & 63 == 0
    }

    /// Buckets in the low block.
    #[inline(always)]
    fn split(self) -> usize {
        self.high.addr() >> 48
    }

    /// The address of a bucket, for a prefetch too.
    #[inline(always)]
    pub(super) fn bucket_ptr(self, i: usize) -> *mut Bucket {
        let split = self.split();
        let (block, i) = if i < split { (self.low, i) } else { (self.high, i - split) };
        block.map_addr(|a| a & ADDRESS).wrapping_add(i)
    }

    /// # Safety
    /// The segment is allocated, `i` is below its bucket count, and nobody has a mutable borrow during `'a`.
    #[inline(always)]
    pub(super) unsafe fn bucket<'a>(self, i: usize) -> &'a Bucket {
        debug_assert!(i < self.shape().buckets);
        // SAFETY: the caller's promise.
        unsafe { &*self.bucket_ptr(i) }
    }

    /// # Safety
    /// As for [`Segment::bucket`], and nobody else has any borrow during `'a`.
    #[inline(always)]
    pub(super) unsafe fn bucket_mut<'a>(self, i: usize) -> &'a mut Bucket {
        debug_assert!(i < self.shape().buckets);
        // SAFETY: the caller's promise.
        unsafe { &mut *self.bucket_ptr(i) }
    }

    /// All buckets in order, in two parts.
    ///
    /// # Safety
    /// The segment was not freed, and nobody has a mutable borrow during `'a`.
    pub(super) unsafe fn buckets<'a>(self) -> [&'a [Bucket]; 2] {
        let (split, buckets) = (self.split(), self.shape().buckets);
        // SAFETY: the blocks hold that many buckets, all zero is a valid one, and an empty part's pointer dangles.
        unsafe {
            [(0, split), (split, buckets - split)].map(|(from, n)| match n {
                0 => &[][..],
                n => std::slice::from_raw_parts(self.bucket_ptr(from), n),
            })
        }
    }

    /// # Safety
    /// The segment was not freed, and nobody else has any borrow during `'a`.
    pub(super) unsafe fn buckets_mut<'a>(self) -> Buckets<'a> {
        let (split, buckets) = (self.split(), self.shape().buckets);
        // SAFETY: as above.
        unsafe {
            let [low, high] = [(0, split), (split, buckets - split)].map(|(from, n)| match n {
                0 => &mut [][..],
                n => std::slice::from_raw_parts_mut(self.bucket_ptr(from), n),
            });
            Buckets { low, high }
        }
    }
}

/// The buckets of a segment, open for changes.
pub(super) struct Buckets<'a> {
    low: &'a mut [Bucket],
    high: &'a mut [Bucket],
}

impl Buckets<'_> {
    pub(super) fn len(&self) -> usize {
        self.low.len() + self.high.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Bucket> {
        self.low.iter().chain(self.high.iter())
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Bucket> {
        self.low.iter_mut().chain(self.high.iter_mut())
    }
}

impl Index<usize> for Buckets<'_> {
    type Output = Bucket;

    #[inline]
    fn index(&self, i: usize) -> &Bucket {
        let split = self.low.len();
        if i < split { &self.low[i] } else { &self.high[i - split] }
    }
}

impl IndexMut<usize> for Buckets<'_> {
    #[inline]
    fn index_mut(&mut self, i: usize) -> &mut Bucket {
        let split = self.low.len();
        if i < split { &mut self.low[i] } else { &mut self.high[i - split] }
    }
}

/// Finds room for an item in its own bucket, in a neighbour, or by moving a neighbour's item on. The item carries its tag.
pub(super) fn place(buckets: &mut Buckets<'_>, shape: Shape, home: usize, item: Thin, fp: u8) -> bool {
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
fn make_room(buckets: &mut Buckets<'_>, shape: Shape, full: usize) -> bool {
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
pub(super) fn refresh_spilled(buckets: &mut Buckets<'_>, shape: Shape, home: usize) {
    let belongs = |item: Option<Thin>| item.is_some_and(|t| shape.home_of_tag(t.tag()) == home);
    let mut flags = buckets[home].spilled() & LISTED;
    for (at, flag) in [(shape.next(home), RIGHT), (shape.prev(home), LEFT)] {
        if at != home && buckets[at].occupied().any(|i| belongs(buckets[at].slot(i))) {
            flags |= flag;
        }
    }
    buckets[home].set_spilled(flags);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_tag_and_offset_name_the_same_bucket() {
        for depth in 0..=MAX_DEPTH {
            for buckets in SIZES.map(usize::from) {
                let shape = Shape { depth, buckets };
                let prefix = if depth == 0 { 0 } else { 0x9e37_79b9_7f4a_7c15 >> (64 - depth) << (64 - depth) };
                let mut last = 0;
                for i in 0..2000u64 {
                    let position = prefix | (i << 53) >> depth;
                    let home = shape.home(position);
                    assert_eq!(home, shape.home_of_tag(shape.tag(position)));
                    assert_eq!(shape.half(shape.tag(position)), usize::from(position << depth >> 63 == 1));
                    assert!(home < buckets && home >= last);
                    last = home;
                }
                assert_eq!(last, buckets - 1);
                for home in 0..buckets {
                    let from = prefix.wrapping_add(shape.offset_of(home));
                    let to = prefix.wrapping_add(shape.offset_of(home + 1));
                    assert_eq!((shape.home(from), shape.home(to.wrapping_sub(1))), (home, home));
                    assert!(from.trailing_zeros() >= 16, "a cursor cannot name the bucket");
                }
            }
        }
    }

    #[test]
    fn sizes_hold_what_they_are_chosen_for() {
        for items in 1..=MAX_BUCKETS * SLOTS {
            let shape = Shape { depth: 0, buckets: buckets_for(items) };
            assert!(shape.buckets == MAX_BUCKETS || items < shape.buckets * SLOTS, "{items}");
        }
        assert_eq!((buckets_for(0), grown(1), grown(24), grown(MAX_BUCKETS)), (0, 2, 32, MAX_BUCKETS));
    }
}
