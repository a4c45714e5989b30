//! The nodes of the tree: leaves of entries, and inner nodes of children with their first entries and counts.
//!
//! ```text
//!   leaf, 760 bytes     [ len | hi: 63 x u32 | words: 63 x 8 ]
//!   inner, 1016 bytes   [ len, level | hi: 42 x u32 | counts: 42 x u32 | words: 42 x 8 | children: 42 x 8 ]
//! ```
//! The sizes are those that allocators hand out without rounding. The first entry of every child is kept exact, so that a
//! descent reads one node a level. Knows how to search, add to and take from one node; the tree knows the rest.

use std::ptr::null_mut;

use super::entry::{Bound, Entry};

pub(super) const LEAF_MAX: usize = 63;
pub(super) const INNER_MAX: usize = 42;

#[repr(C)]
pub(super) struct Leaf {
    len: u32,
    hi: [u32; LEAF_MAX],
    words: [*mut u8; LEAF_MAX],
}

#[repr(C)]
pub(super) struct Inner {
    len: u16,
    /// 1 where the children are leaves.
    level: u16,
    hi: [u32; INNER_MAX],
    counts: [u32; INNER_MAX],
    words: [*mut u8; INNER_MAX],
    /// Boxed leaves at level 1, boxed inner nodes above; owned.
    children: [*mut u8; INNER_MAX],
}

const _: () = assert!(size_of::<Leaf>() == 760 && size_of::<Inner>() == 1016);

/// A node and all below it.
pub(super) enum Node {
    Leaf(Box<Leaf>),
    Inner(Box<Inner>),
}

pub(super) enum Child<'a> {
    Leaf(&'a Leaf),
    Inner(&'a Inner),
}

pub(super) enum ChildMut<'a> {
    Leaf(&'a mut Leaf),
    Inner(&'a mut Inner),
}

/// How many of the entries lie before a bound.
#[inline]
fn entries_before<B: Bound>(hi: &[u32], words: &[*mut u8], bound: &B) -> usize {
    let (mut low, mut high) = (0, hi.len());
    if let Some(wanted) = bound.hi() {
        low = hi.partition_point(|h| *h < wanted);
        high = low + hi[low..].partition_point(|h| *h == wanted);
    }
    while low < high {
        let mid = low.midpoint(high);
        let entry = Entry { hi: hi[mid], word: words[mid] };
        if bound.has_before(entry.order(), entry.member()) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    low
}

impl Leaf {
    pub(super) fn new() -> Box<Self> {
        Box::new(Self { len: 0, hi: [0; LEAF_MAX], words: [null_mut(); LEAF_MAX] })
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    #[inline]
    pub(super) fn get(&self, at: usize) -> Entry {
        debug_assert!(at < self.len());
        Entry { hi: self.hi[at], word: self.words[at] }
    }

    #[inline]
    pub(super) fn set(&mut self, at: usize, entry: Entry) {
        self.hi[at] = entry.hi;
        self.words[at] = entry.word;
    }

    #[inline]
    pub(super) fn before<B: Bound>(&self, bound: &B) -> usize {
        let len = self.len();
        entries_before(&self.hi[..len], &self.words[..len], bound)
    }

    /// There is room.
    #[inline]
    pub(super) fn insert(&mut self, at: usize, entry: Entry) {
        let len = self.len();
        self.hi.copy_within(at..len, at + 1);
        self.words.copy_within(at..len, at + 1);
        self.set(at, entry);
        self.len += 1;
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.insert(self.len(), entry);
    }

    /// Takes `n` entries out.
    #[inline]
    pub(super) fn remove(&mut self, at: usize, n: usize) {
        let len = self.len();
        self.hi.copy_within(at + n..len, at);
        self.words.copy_within(at + n..len, at);
        self.len -= n as u32;
    }

    /// Moves the first `n` entries of `right` to the end of this.
    pub(super) fn take_from_right(&mut self, right: &mut Leaf, n: usize) {
        let len = self.len();
        self.hi[len..len + n].copy_from_slice(&right.hi[..n]);
        self.words[len..len + n].copy_from_slice(&right.words[..n]);
        self.len += n as u32;
        right.remove(0, n);
    }

    /// Moves the last `n` entries to the front of `right`.
    pub(super) fn give_to_right(&mut self, right: &mut Leaf, n: usize) {
        let (len, theirs) = (self.len(), right.len());
        right.hi.copy_within(0..theirs, n);
        right.words.copy_within(0..theirs, n);
        right.hi[..n].copy_from_slice(&self.hi[len - n..len]);
        right.words[..n].copy_from_slice(&self.words[len - n..len]);
        right.len += n as u32;
        self.len -= n as u32;
    }
}

impl Node {
    pub(super) fn level(&self) -> u16 {
        match self {
            Node::Leaf(_) => 0,
            Node::Inner(inner) => inner.level,
        }
    }

    pub(super) fn count(&self) -> usize {
        match self {
            Node::Leaf(leaf) => leaf.len(),
            Node::Inner(inner) => inner.count(),
        }
    }

    pub(super) fn first(&self) -> Entry {
        match self {
            Node::Leaf(leaf) => leaf.get(0),
            Node::Inner(inner) => inner.first(0),
        }
    }

    pub(super) fn as_ref(&self) -> Child<'_> {
        match self {
            Node::Leaf(leaf) => Child::Leaf(leaf),
            Node::Inner(inner) => Child::Inner(inner),
        }
    }

    pub(super) fn as_mut(&mut self) -> ChildMut<'_> {
        match self {
            Node::Leaf(leaf) => ChildMut::Leaf(leaf),
            Node::Inner(inner) => ChildMut::Inner(inner),
        }
    }

    fn into_raw(self) -> *mut u8 {
        match self {
            Node::Leaf(leaf) => Box::into_raw(leaf).cast(),
            Node::Inner(inner) => Box::into_raw(inner).cast(),
        }
    }

    /// # Safety
    /// The pointer came from [`Node::into_raw`] of a node of this level, and nobody else owns it.
    unsafe fn from_raw(p: *mut u8, level: u16) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            match level {
                0 => Node::Leaf(Box::from_raw(p.cast())),
                _ => Node::Inner(Box::from_raw(p.cast())),
            }
        }
    }
}

impl Inner {
    /// A node without children, for those of level `level - 1`.
    pub(super) fn new(level: u16) -> Box<Self> {
        Box::new(Self {
            len: 0,
            level,
            hi: [0; INNER_MAX],
            counts: [0; INNER_MAX],
            words: [null_mut(); INNER_MAX],
            children: [null_mut(); INNER_MAX],
        })
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }

    pub(super) fn level(&self) -> u16 {
        self.level
    }

    /// Entries below this node.
    pub(super) fn count(&self) -> usize {
        self.count_before(self.len())
    }

    /// Entries below the first `n` children.
    #[inline]
    pub(super) fn count_before(&self, n: usize) -> usize {
        self.counts[..n].iter().map(|c| *c as usize).sum()
    }

    #[inline]
    pub(super) fn count_of(&self, i: usize) -> usize {
        self.counts[i] as usize
    }

    /// The first entry below a child.
    #[inline]
    pub(super) fn first(&self, i: usize) -> Entry {
        debug_assert!(i < self.len());
        Entry { hi: self.hi[i], word: self.words[i] }
    }

    #[inline]
    pub(super) fn set_first(&mut self, i: usize, entry: Entry) {
        self.hi[i] = entry.hi;
        self.words[i] = entry.word;
    }

    #[inline]
    pub(super) fn add_count(&mut self, i: usize, n: isize) {
        self.counts[i] = (self.counts[i] as isize + n) as u32;
    }

    /// The child in which a bound lies: the last one that begins before it.
    #[inline]
    pub(super) fn child_of<B: Bound>(&self, bound: &B) -> usize {
        let len = self.len();
        entries_before(&self.hi[..len], &self.words[..len], bound).saturating_sub(1)
    }

    /// The child that holds the entry of this rank, and its rank there.
    #[inline]
    pub(super) fn child_at(&self, mut rank: usize) -> (usize, usize) {
        let mut i = 0;
        while i + 1 < self.len() && rank >= self.counts[i] as usize {
            rank -= self.counts[i] as usize;
            i += 1;
        }
        (i, rank)
    }

    #[inline]
    fn pointer(&self, i: usize) -> *mut u8 {
        assert!(i < self.len());
        self.children[i]
    }

    #[inline]
    pub(super) fn child(&self, i: usize) -> Child<'_> {
        let p = self.pointer(i);
        // SAFETY: children below `len` are owned boxes, of leaves at level 1 and of inner nodes above; `&self` lends them.
        unsafe {
            match self.level {
                1 => Child::Leaf(&*p.cast()),
                _ => Child::Inner(&*p.cast()),
            }
        }
    }

    #[inline]
    pub(super) fn child_mut(&mut self, i: usize) -> ChildMut<'_> {
        let p = self.pointer(i);
        // SAFETY: as in `child`; `&mut self` makes the access unique.
        unsafe {
            match self.level {
                1 => ChildMut::Leaf(&mut *p.cast()),
                _ => ChildMut::Inner(&mut *p.cast()),
            }
        }
    }

    /// A child and the one after it.
    pub(super) fn pair_mut(&mut self, i: usize) -> (ChildMut<'_>, ChildMut<'_>) {
        let (p, q) = (self.pointer(i), self.pointer(i + 1));
        // SAFETY: as in `child_mut`; two children are two boxes.
        unsafe {
            match self.level {
                1 => (ChildMut::Leaf(&mut *p.cast()), ChildMut::Leaf(&mut *q.cast())),
                _ => (ChildMut::Inner(&mut *p.cast()), ChildMut::Inner(&mut *q.cast())),
            }
        }
    }

    /// How many entries or children a child has.
    #[inline]
    pub(super) fn child_len(&self, i: usize) -> usize {
        if self.level == 1 {
            // A leaf's count is its length: it need not be touched.
            return self.count_of(i);
        }
        match self.child(i) {
            Child::Leaf(leaf) => leaf.len(),
            Child::Inner(inner) => inner.len(),
        }
    }

    /// Reads a child's first entry and count again.
    pub(super) fn note_child(&mut self, i: usize) {
        let (first, count) = match self.child(i) {
            Child::Leaf(leaf) => (leaf.get(0), leaf.len()),
            Child::Inner(inner) => (inner.first(0), inner.count()),
        };
        self.set_first(i, first);
        self.counts[i] = count as u32;
    }

    /// There is room, and the node is one level down and not empty.
    pub(super) fn insert(&mut self, at: usize, node: Node) {
        assert!(node.level() + 1 == self.level && self.len() < INNER_MAX);
        let len = self.len();
        let (first, count) = (node.first(), node.count());
        self.hi.copy_within(at..len, at + 1);
        self.counts.copy_within(at..len, at + 1);
        self.words.copy_within(at..len, at + 1);
        self.children.copy_within(at..len, at + 1);
        self.set_first(at, first);
        self.counts[at] = count as u32;
        self.children[at] = node.into_raw();
        self.len += 1;
    }

    pub(super) fn push(&mut self, node: Node) {
        self.insert(self.len(), node);
    }

    pub(super) fn remove(&mut self, i: usize) -> Node {
        let (p, len) = (self.pointer(i), self.len());
        self.hi.copy_within(i + 1..len, i);
        self.counts.copy_within(i + 1..len, i);
        self.words.copy_within(i + 1..len, i);
        self.children.copy_within(i + 1..len, i);
        self.len -= 1;
        // SAFETY: the child was owned by this node, which has just forgotten it.
        unsafe { Node::from_raw(p, self.level - 1) }
    }

    /// Moves the first `n` children of `right` to the end of this.
    pub(super) fn take_from_right(&mut self, right: &mut Inner, n: usize) {
        assert!(self.level == right.level && n <= right.len() && self.len() + n <= INNER_MAX);
        let (len, left) = (self.len(), right.len());
        self.hi[len..len + n].copy_from_slice(&right.hi[..n]);
        self.counts[len..len + n].copy_from_slice(&right.counts[..n]);
        self.words[len..len + n].copy_from_slice(&right.words[..n]);
        self.children[len..len + n].copy_from_slice(&right.children[..n]);
        right.hi.copy_within(n..left, 0);
        right.counts.copy_within(n..left, 0);
        right.words.copy_within(n..left, 0);
        right.children.copy_within(n..left, 0);
        self.len += n as u16;
        right.len -= n as u16;
    }

    /// Takes the children from `at` on into a node of their own.
    pub(super) fn split_off(&mut self, at: usize) -> Box<Inner> {
        let mut right = Inner::new(self.level);
        let (len, n) = (self.len(), self.len() - at);
        right.hi[..n].copy_from_slice(&self.hi[at..len]);
        right.counts[..n].copy_from_slice(&self.counts[at..len]);
        right.words[..n].copy_from_slice(&self.words[at..len]);
        right.children[..n].copy_from_slice(&self.children[at..len]);
        right.len = n as u16;
        self.len = at as u16;
        right
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for i in 0..self.len() {
            // SAFETY: children below `len` are owned, and the node is not used again.
            drop(unsafe { Node::from_raw(self.children[i], self.level - 1) });
        }
    }
}
