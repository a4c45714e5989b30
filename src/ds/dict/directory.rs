//! From a position to its segment: a table of 2^depth words, in which a segment with a shorter prefix stands several
//! times, and beside it what is known of each segment.
//!
//! One allocation: first all words, so that lookups touch few cache lines, then all notes. The note of a segment is
//! that of the first of its words. Knows nothing of items; owns the table, not the segments.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};

use super::segment::{MAX_DEPTH, Segment};

/// What is known of a segment besides its shape.
#[derive(Clone, Copy)]
pub(super) struct Note {
    /// No item is due earlier; `i64::MAX` if none ever is.
    pub(super) deadline: i64,
    pub(super) version: u32,
    /// Items in buckets; those in the dictionary's list are not counted.
    pub(super) items: u32,
}

impl Note {
    pub(super) fn new(version: u32) -> Self {
        Self { deadline: i64::MAX, version, items: 0 }
    }
}

/// Stands for the table of a directory that has none.
struct Nothing([Segment; 1]);

// SAFETY: it is never written, and its pointer leads nowhere.
unsafe impl Sync for Nothing {}

static NOTHING: Nothing = Nothing([Segment::vacant(0)]);

pub(super) struct Directory {
    words: *mut Segment,
    /// Segments whose prefix is as long as the directory's.
    deepest: u32,
    depth: u8,
    /// Bits of a hash above the position.
    pub(super) skip: u8,
}

/// One segment's place: the index of the first of its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At(usize);

impl Directory {
    pub(super) const fn new(skip: u8) -> Self {
        Self { words: (&raw const NOTHING.0).cast_mut().cast(), deepest: 0, depth: 0, skip }
    }

    fn layout(depth: u32) -> Layout {
        let words = Layout::array::<Segment>(1 << depth);
        let notes = Layout::array::<Note>(1 << depth);
        let both = words.and_then(|w| w.extend(notes?));
        both.expect("a table of 2^32 words at most").0
    }

    pub(super) fn is_allocated(&self) -> bool {
        !std::ptr::eq(self.words, (&raw const NOTHING.0).cast())
    }

    pub(super) fn memory_bytes(&self) -> usize {
        if self.is_allocated() { Self::layout(self.depth()).size() } else { 0 }
    }

    /// A table for one segment without buckets.
    pub(super) fn allocate(&mut self, note: Note) {
        debug_assert!(!self.is_allocated());
        let (words, notes) = Self::raw_table(0);
        // SAFETY: the new table has one word and one note.
        unsafe {
            words.write(Segment::vacant(0));
            notes.write(note);
        }
        self.words = words;
        self.depth = 0;
        self.deepest = 1;
    }

    /// A table of segments that all have prefixes of this length, each made by `segment`.
    pub(super) fn allocate_even(&mut self, depth: u32, note: Note, mut segment: impl FnMut() -> Segment) {
        debug_assert!(!self.is_allocated() && depth <= MAX_DEPTH);
        let (words, notes) = Self::raw_table(depth);
        for i in 0..1 << depth {
            // SAFETY: the new table has 2^depth words and notes.
            unsafe {
                words.add(i).write(segment());
                notes.add(i).write(note);
            }
        }
        self.words = words;
        self.depth = depth as u8;
        self.deepest = 1 << depth;
    }

    /// A table of the same prefixes, the segments made of the present ones by `copy`, which keeps their depths.
    pub(super) fn copied(&self, mut copy: impl FnMut(Segment) -> Segment) -> Self {
        debug_assert!(self.is_allocated());
        let (words, notes) = Self::raw_table(self.depth());
        let mut next = Some(self.first());
        while let Some(at) = next {
            let old = self.segment(at);
            let new = copy(old);
            debug_assert_eq!(old.shape().depth, new.shape().depth);
            for i in at.0..at.0 + self.span(old.shape().depth) {
                // SAFETY: the new table has as many words and notes as this one.
                unsafe {
                    words.add(i).write(new);
                    notes.add(i).write(*self.note(at));
                }
            }
            next = self.after(at);
        }
        Self { words, ..*self }
    }

    /// Gives the table back; the segments must be gone.
    pub(super) fn release(&mut self) {
        if self.is_allocated() {
            // SAFETY: this is the layout it was allocated with, and `self.words` is replaced at once.
            unsafe { dealloc(self.words.cast(), Self::layout(self.depth())) };
            *self = Self::new(self.skip);
        }
    }

    fn raw_table(depth: u32) -> (*mut Segment, *mut Note) {
        let layout = Self::layout(depth);
        // SAFETY: the layout's size is not zero.
        let words = unsafe { alloc(layout) }.cast::<Segment>();
        if words.is_null() {
            handle_alloc_error(layout);
        }
        // SAFETY: the notes follow the 2^depth words of the same allocation.
        (words, unsafe { words.add(1 << depth) }.cast())
    }

    #[inline(always)]
    pub(super) fn depth(&self) -> u32 {
        u32::from(self.depth)
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        1 << self.depth
    }

    #[inline(always)]
    pub(super) fn position(&self, hash: u64) -> u64 {
        hash << (self.skip & 63)
    }

    #[inline(always)]
    fn index(&self, position: u64) -> usize {
        // In two steps, as a shift by 64 is none.
        (position >> 1 >> (63 - u32::from(self.depth & 63))) as usize
    }

    #[inline(always)]
    pub(super) fn segment_of(&self, position: u64) -> Segment {
        // SAFETY: an index has `depth` bits and the table 2^depth words, one if there is no table.
        unsafe { *self.words.add(self.index(position)) }
    }

    /// Where the segment of a position stands. There must be a table.
    #[inline]
    pub(super) fn at(&self, position: u64) -> At {
        self.first_of(self.index(position), self.segment_of(position))
    }

    #[inline]
    fn first_of(&self, index: usize, segment: Segment) -> At {
        At(index & !(self.span(segment.shape().depth) - 1))
    }

    /// How many words a segment with a prefix of that length has.
    #[inline]
    fn span(&self, depth: u32) -> usize {
        1 << (self.depth() - depth)
    }

    #[inline]
    pub(super) fn segment(&self, at: At) -> Segment {
        assert!(at.0 < self.len());
        // SAFETY: checked.
        unsafe { *self.words.add(at.0) }
    }

    #[inline]
    pub(super) fn note(&self, at: At) -> &Note {
        assert!(at.0 < self.len() && self.is_allocated());
        // SAFETY: the table has as many notes as words, all initialised, and they follow these.
        unsafe { &*self.words.add(self.len()).cast::<Note>().add(at.0) }
    }

    #[inline]
    pub(super) fn note_mut(&mut self, at: At) -> &mut Note {
        assert!(at.0 < self.len() && self.is_allocated());
        // SAFETY: as above.
        unsafe { &mut *self.words.add(self.len()).cast::<Note>().add(at.0) }
    }

    /// Puts a segment where its prefix belongs. What stood there is the caller's to free.
    pub(super) fn set(&mut self, at: At, segment: Segment, note: Note) {
        let span = self.span(segment.shape().depth);
        assert!(at.0.is_multiple_of(span) && at.0 + span <= self.len());
        *self.note_mut(at) = note;
        for i in at.0..at.0 + span {
            // SAFETY: checked above.
            unsafe { self.words.add(i).write(segment) };
        }
    }

    /// The lowest position of a segment.
    pub(super) fn start(&self, at: At) -> u64 {
        ((at.0 as u128) << (64 - self.depth())) as u64
    }

    pub(super) fn first(&self) -> At {
        At(0)
    }

    /// The next segment in hash order.
    pub(super) fn after(&self, at: At) -> Option<At> {
        let next = at.0 + self.span(self.segment(at).shape().depth);
        (next < self.len()).then_some(At(next))
    }

    /// The other half of what was, or would be, one segment with a prefix shorter by one bit.
    pub(super) fn buddy(&self, at: At, depth: u32) -> At {
        At(at.0 ^ self.span(depth))
    }

    /// The place of a pair of buddies as one segment.
    pub(super) fn pair(&self, at: At, depth: u32) -> At {
        At(at.0 & !self.span(depth))
    }

    /// A uniformly chosen word, if it is the first of its segment.
    pub(super) fn pick(&self, bits: u32) -> Option<At> {
        let index = bits as usize & (self.len() - 1);
        // SAFETY: masked to the table's length.
        let segment = unsafe { *self.words.add(index) };
        (self.first_of(index, segment).0 == index).then_some(At(index))
    }

    /// Makes prefixes of one more bit possible; false if the table would have more than `allowed` words.
    pub(super) fn double(&mut self, allowed: usize) -> bool {
        if self.len() * 2 > allowed || self.depth() == MAX_DEPTH {
            return false;
        }
        let (words, notes) = Self::raw_table(self.depth() + 1);
        for i in 0..self.len() {
            let (segment, note) = (self.segment(At(i)), *self.note(At(i)));
            for to in [2 * i, 2 * i + 1] {
                // SAFETY: the new table has twice as many words and notes.
                unsafe {
                    words.add(to).write(segment);
                    notes.add(to).write(note);
                }
            }
        }
        self.replace_table(words, self.depth + 1);
        self.deepest = 0;
        true
    }

    /// To be called after one segment became two of this depth.
    pub(super) fn count_split(&mut self, depth: u32) {
        if depth == self.depth() {
            self.deepest += 2;
        }
    }

    /// To be called after two segments of this depth became one: the table shrinks when nothing needs its last bit.
    pub(super) fn count_merge(&mut self, depth: u32) {
        if depth < self.depth() {
            return;
        }
        self.deepest -= 2;
        while self.deepest == 0 && self.depth > 0 {
            self.halve();
        }
    }

    fn halve(&mut self) {
        let (words, notes) = Self::raw_table(self.depth() - 1);
        for i in 0..self.len() / 2 {
            let (segment, note) = (self.segment(At(2 * i)), *self.note(At(2 * i)));
            // SAFETY: the new table has half as many words and notes.
            unsafe {
                words.add(i).write(segment);
                notes.add(i).write(note);
            }
        }
        self.replace_table(words, self.depth - 1);
        self.deepest = 0;
        let mut at = Some(self.first());
        while let Some(here) = at {
            self.deepest += u32::from(self.segment(here).shape().depth == self.depth());
            at = self.after(here);
        }
    }

    fn replace_table(&mut self, words: *mut Segment, depth: u8) {
        // SAFETY: the old table is unused from here on and has the layout of the old depth.
        unsafe { dealloc(self.words.cast(), Self::layout(self.depth())) };
        self.words = words;
        self.depth = depth;
    }
}
