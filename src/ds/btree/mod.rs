//! The order of a large sorted set: a B+tree of its members by score and then by bytes, with counts, so that a rank, a
//! range and its length cost one descent.
//!
//! ```text
//!                     [ first, count | first, count | ... ]              inner: up to 42 children
//!                      /              |
//!       [ first, count | ... ]   [ first, count | ... ]
//!        /       |
//!   [ entries ] [ entries ] ...                                          leaf: up to 63 entries of 12 bytes
//! ```
//! - A full leaf first gives entries to a neighbour; where both neighbours are full as well, two leaves become three. At
//!   the ends of the tree a full leaf stays full: members that come in order fill their leaves.
//! - Neighbours are merged when together they fit one node well. There is no least size of a node but that.
//! - All places are ranks: a range is found by its two ends and walked by rank.
//!
//! The tree owns its nodes, not the members: whoever owns both keeps a member alive while it is in here. Knows nothing of
//! dictionaries, limits or listpacks.

mod entry;
mod member;
mod node;
#[cfg(test)]
mod tests;

use std::marker::PhantomData;
use std::ops::Range;

pub use entry::{At, AtBytes, AtScore, Bound};
pub use member::{Member, MemberRef};

use entry::Entry;
use node::{Child, ChildMut, INNER_MAX, Inner, LEAF_MAX, Leaf, Node};

/// A neighbour must have room for so many before it is given any.
const WORTH_MOVING: usize = 3;
/// Two nodes are merged if the result leaves some room.
const LEAF_MERGE: usize = LEAF_MAX * 7 / 8;
const INNER_MERGE: usize = INNER_MAX * 7 / 8;
/// How full nodes are that are built at once.
const LEAF_BUILT: usize = LEAF_MAX - 3;
const INNER_BUILT: usize = INNER_MAX - 2;

pub struct Tree {
    root: Node,
    len: usize,
}

// SAFETY: a tree owns its nodes; the members it points to are plain memory that its owner sends along.
unsafe impl Send for Tree {}
// SAFETY: as above; `&Tree` only reads.
unsafe impl Sync for Tree {}

impl Default for Tree {
    fn default() -> Self {
        Self { root: Node::Leaf(Leaf::new()), len: 0 }
    }
}

impl Tree {
    /// Members in any order, all different.
    pub fn from_members(members: &[MemberRef]) -> Self {
        let mut entries: Vec<Entry> = members.iter().map(|m| Entry::of(*m)).collect();
        // Runs are found: what comes in order, up or down, is not sorted again.
        entries.sort_unstable_by(|a, b| a.cmp_in_order(*b));
        Self::from_sorted(entries.into_iter())
    }

    fn from_sorted(entries: impl Iterator<Item = Entry>) -> Self {
        let (mut nodes, mut leaf, mut len) = (Vec::new(), Leaf::new(), 0);
        for entry in entries {
            if leaf.len() == LEAF_BUILT {
                nodes.push(Node::Leaf(std::mem::replace(&mut leaf, Leaf::new())));
            }
            leaf.push(entry);
            len += 1;
        }
        if leaf.len() > 0 || nodes.is_empty() {
            nodes.push(Node::Leaf(leaf));
        }
        while nodes.len() > 1 {
            let level = nodes[0].level() + 1;
            let mut above: Vec<Node> = Vec::with_capacity(nodes.len().div_ceil(INNER_BUILT));
            let mut inner = Inner::new(level);
            for node in nodes {
                if inner.len() == INNER_BUILT {
                    above.push(Node::Inner(std::mem::replace(&mut inner, Inner::new(level))));
                }
                inner.push(node);
            }
            above.push(Node::Inner(inner));
            nodes = above;
        }
        let root = nodes.pop().unwrap_or_else(|| Node::Leaf(Leaf::new()));
        Self { root, len }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes of all nodes.
    pub fn memory_bytes(&self) -> usize {
        fn below(child: Child<'_>) -> usize {
            match child {
                Child::Leaf(_) => size_of::<Leaf>(),
                // Leaves are counted without a visit: they are nearly all there is.
                Child::Inner(inner) if inner.level() == 1 => size_of::<Inner>() + inner.len() * size_of::<Leaf>(),
                Child::Inner(inner) => {
                    size_of::<Inner>() + (0..inner.len()).map(|i| below(inner.child(i))).sum::<usize>()
                }
            }
        }
        below(self.root.as_ref())
    }

    // ---- looking ----

    /// How many members lie before a bound.
    #[inline]
    pub fn rank_of<B: Bound>(&self, bound: &B) -> usize {
        let (mut node, mut rank) = (self.root.as_ref(), 0);
        loop {
            match node {
                Child::Leaf(leaf) => return rank + leaf.before(bound),
                Child::Inner(inner) => {
                    let i = inner.child_of(bound);
                    rank += inner.count_before(i);
                    node = inner.child(i);
                }
            }
        }
    }

    #[inline]
    fn leaf_at(&self, mut rank: usize) -> (&Leaf, usize) {
        let mut node = self.root.as_ref();
        loop {
            match node {
                Child::Leaf(leaf) => return (leaf, rank),
                Child::Inner(inner) => {
                    let (i, rest) = inner.child_at(rank);
                    (node, rank) = (inner.child(i), rest);
                }
            }
        }
    }

    /// The members of a range of ranks, from either end.
    pub fn iter(&self, range: Range<usize>) -> Iter<'_> {
        let (front, back) = (range.start.min(self.len), range.end.min(self.len));
        Iter { tree: self, front, back: back.max(front), front_leaf: None, back_leaf: None }
    }

    // ---- changing ----

    /// Adds a member that is not there yet.
    pub fn insert(&mut self, member: MemberRef, bytes: &[u8]) {
        let entry = Entry::of(member);
        let bound = At::new(member.score(), bytes);
        self.len += 1;
        let more = match self.root.as_mut() {
            ChildMut::Leaf(leaf) => {
                let at = leaf.before(&bound);
                if leaf.len() < LEAF_MAX {
                    return leaf.insert(at, entry);
                }
                Some(Node::Leaf(split_leaf(leaf, at, entry)))
            }
            ChildMut::Inner(inner) => insert_below(inner, &bound, entry),
        };
        if let Some(more) = more {
            let mut top = Inner::new(more.level() + 1);
            let old = std::mem::replace(&mut self.root, Node::Leaf(Leaf::new()));
            top.push(old);
            top.push(more);
            self.root = Node::Inner(top);
        }
    }

    /// Takes out a member that is here.
    pub fn remove(&mut self, score: f64, bytes: &[u8]) {
        let removed = self.remove_run(&mut ByBound::new(&At::new(score, bytes)), 1, &mut |m| {
            // SAFETY: the member is dropped by its owner only after this.
            debug_assert_eq!(unsafe { m.bytes_unbound() }, bytes);
        });
        debug_assert_eq!(removed, 1);
    }

    /// Moves a member to where a new score puts it. `set` gives the member that score, and is called once.
    pub fn move_to(&mut self, member: MemberRef, bytes: &[u8], new: f64, set: impl FnOnce()) {
        let old = At::new(member.score(), bytes);
        let wanted = At::new(new, bytes);
        if let Some((leaf, at)) = self.leaf_mut_of(&old) {
            // Between the same neighbours as before, as most increments leave it: only the score changes.
            let fits = at > 0
                && at + 1 < leaf.len()
                && is_before(&wanted, leaf.get(at - 1))
                && !is_before(&wanted, leaf.get(at + 1));
            if fits {
                leaf.set(at, Entry::with_score(member, new));
                return set();
            }
        }
        let removed = self.remove_run(&mut ByBound::new(&old), 1, &mut |_| {});
        debug_assert_eq!(removed, 1);
        set();
        self.insert(member, bytes);
    }

    /// The leaf and the index of the member right behind a bound.
    fn leaf_mut_of(&mut self, bound: &At<'_>) -> Option<(&mut Leaf, usize)> {
        let behind = bound.behind();
        let mut node = self.root.as_mut();
        loop {
            match node {
                ChildMut::Leaf(leaf) => {
                    let at = leaf.before(bound);
                    return (at < leaf.len()).then_some((leaf, at));
                }
                ChildMut::Inner(inner) => {
                    let i = inner.child_of(&behind);
                    node = inner.child_mut(i);
                }
            }
        }
    }

    /// Takes a range of ranks out; `gone` is told of each member, which then may be dropped.
    pub fn remove_range(&mut self, range: Range<usize>, mut gone: impl FnMut(MemberRef)) {
        let mut left = range.end.min(self.len).saturating_sub(range.start);
        while left > 0 {
            let n = self.remove_run(&mut ByRank(range.start), left, &mut gone);
            if n == 0 {
                return;
            }
            left -= n;
        }
    }

    /// Takes up to `max` members out of one leaf; how many.
    fn remove_run(&mut self, seek: &mut impl Seek, max: usize, gone: &mut dyn FnMut(MemberRef)) -> usize {
        let n = match self.root.as_mut() {
            ChildMut::Leaf(leaf) => take_from(leaf, seek, max, gone),
            ChildMut::Inner(inner) => remove_below(inner, seek, max, gone),
        };
        self.len -= n;
        while let Node::Inner(inner) = &mut self.root {
            match inner.len() {
                0 => self.root = Node::Leaf(Leaf::new()),
                1 => self.root = inner.remove(0),
                _ => break,
            }
        }
        n
    }
}

fn is_before<B: Bound>(bound: &B, entry: Entry) -> bool {
    bound.has_before(entry.order(), entry.member())
}

// ---- adding ----

/// A full leaf becomes two, with one entry more; the right one is given back.
fn split_leaf(leaf: &mut Leaf, at: usize, entry: Entry) -> Box<Leaf> {
    let mut right = Leaf::new();
    let keep = LEAF_MAX.div_ceil(2);
    leaf.give_to_right(&mut right, LEAF_MAX - keep);
    if at <= keep {
        leaf.insert(at, entry);
    } else {
        right.insert(at - keep, entry);
    }
    right
}

/// Adds an entry below a node; if that makes one node too many, it is given back, to stand right of this one.
fn insert_below(inner: &mut Inner, bound: &At<'_>, entry: Entry) -> Option<Node> {
    let i = inner.child_of(bound);
    match inner.child_mut(i) {
        ChildMut::Leaf(leaf) => {
            let at = leaf.before(bound);
            if leaf.len() < LEAF_MAX {
                leaf.insert(at, entry);
                inner.add_count(i, 1);
                if at == 0 {
                    inner.set_first(i, entry);
                }
                return None;
            }
            insert_crowded(inner, i, at, entry)
        }
        ChildMut::Inner(child) => {
            let more = insert_below(child, bound, entry);
            let first = child.first(0);
            match more {
                None => {
                    inner.add_count(i, 1);
                    inner.set_first(i, first);
                    None
                }
                Some(more) => {
                    inner.note_child(i);
                    insert_child(inner, i + 1, more)
                }
            }
        }
    }
}

/// Adds an entry to the full leaf `i`: neighbours first, then a split.
fn insert_crowded(inner: &mut Inner, i: usize, at: usize, entry: Entry) -> Option<Node> {
    let room = |i: usize| LEAF_MAX - inner.child_len(i);
    let last = inner.len() - 1;
    let left = if i > 0 { room(i - 1) } else { 0 };
    let right = if i < last { room(i + 1) } else { 0 };
    if left.max(right) >= WORTH_MOVING {
        let from = if left >= right { i - 1 } else { i };
        if let (ChildMut::Leaf(a), ChildMut::Leaf(b)) = inner.pair_mut(from) {
            let n = left.max(right).div_ceil(2);
            if left >= right {
                a.take_from_right(b, n);
                if at < n { a.insert(a.len() - n + at, entry) } else { b.insert(at - n, entry) }
            } else {
                a.give_to_right(b, n);
                if at <= a.len() { a.insert(at, entry) } else { b.insert(at - a.len(), entry) }
            }
        }
        inner.note_child(from);
        inner.note_child(from + 1);
        return None;
    }
    // What comes in order, up or down, leaves full leaves behind it.
    if (i == last && at == LEAF_MAX) || (i == 0 && at == 0) {
        let mut alone = Leaf::new();
        alone.push(entry);
        return insert_child(inner, if at == 0 { 0 } else { i + 1 }, Node::Leaf(alone));
    }
    // Two full leaves become three: that leaves them fuller than one that becomes two.
    if last > 0 {
        let from = if i < last { i } else { i - 1 };
        let mut middle = Leaf::new();
        if let (ChildMut::Leaf(a), ChildMut::Leaf(b)) = inner.pair_mut(from) {
            let (of_a, of_b) = (a.len() / 3, b.len() / 3);
            a.give_to_right(&mut middle, of_a);
            middle.take_from_right(b, of_b);
            match i == from {
                true if at <= a.len() => a.insert(at, entry),
                true => middle.insert(at - a.len(), entry),
                false if at < of_b => middle.insert(of_a + at, entry),
                false => b.insert(at - of_b, entry),
            }
        }
        inner.note_child(from);
        inner.note_child(from + 1);
        return insert_child(inner, from + 1, Node::Leaf(middle));
    }
    let ChildMut::Leaf(leaf) = inner.child_mut(i) else { return None };
    let more = split_leaf(leaf, at, entry);
    inner.note_child(i);
    insert_child(inner, i + 1, Node::Leaf(more))
}

/// Adds a child; a full node is split, and its right part given back.
fn insert_child(inner: &mut Inner, at: usize, node: Node) -> Option<Node> {
    if inner.len() < INNER_MAX {
        inner.insert(at, node);
        return None;
    }
    let keep = match at {
        INNER_MAX => INNER_MAX,
        0 => 1,
        _ => INNER_MAX / 2,
    };
    let mut right = if at == 0 { inner.split_off(0) } else { inner.split_off(keep) };
    if at <= keep && keep < INNER_MAX {
        inner.insert(at, node);
    } else {
        right.insert(at - keep, node);
    }
    Some(Node::Inner(right))
}

// ---- taking out ----

/// How to find what is to be taken out.
trait Seek {
    fn child(&mut self, inner: &Inner) -> usize;
    /// The first index in the leaf.
    fn index(&mut self, leaf: &Leaf) -> usize;
}

struct ByRank(usize);

impl Seek for ByRank {
    fn child(&mut self, inner: &Inner) -> usize {
        let (i, rest) = inner.child_at(self.0);
        self.0 = rest;
        i
    }

    fn index(&mut self, _: &Leaf) -> usize {
        self.0
    }
}

/// The member right behind a bound, which begins its child perhaps.
struct ByBound<'a> {
    at: &'a At<'a>,
    behind: At<'a>,
}

impl<'a> ByBound<'a> {
    fn new(at: &'a At<'a>) -> Self {
        Self { at, behind: at.behind() }
    }
}

impl Seek for ByBound<'_> {
    fn child(&mut self, inner: &Inner) -> usize {
        inner.child_of(&self.behind)
    }

    fn index(&mut self, leaf: &Leaf) -> usize {
        leaf.before(self.at)
    }
}

fn take_from(leaf: &mut Leaf, seek: &mut impl Seek, max: usize, gone: &mut dyn FnMut(MemberRef)) -> usize {
    let at = seek.index(leaf);
    let n = leaf.len().saturating_sub(at).min(max);
    for i in at..at + n {
        gone(leaf.get(i).member());
    }
    leaf.remove(at, n);
    n
}

fn remove_below(inner: &mut Inner, seek: &mut impl Seek, max: usize, gone: &mut dyn FnMut(MemberRef)) -> usize {
    let i = seek.child(inner);
    let n = match inner.child_mut(i) {
        ChildMut::Leaf(leaf) => take_from(leaf, seek, max, gone),
        ChildMut::Inner(child) => remove_below(child, seek, max, gone),
    };
    if n == 0 {
        return 0;
    }
    if inner.count_of(i) == n {
        drop(inner.remove(i));
        return n;
    }
    inner.add_count(i, -(n as isize));
    let first = match inner.child(i) {
        Child::Leaf(leaf) => leaf.get(0),
        Child::Inner(child) => child.first(0),
    };
    inner.set_first(i, first);
    merge(inner, i);
    n
}

/// Makes one child of one that has become smaller and a neighbour, if they fit.
fn merge(inner: &mut Inner, i: usize) {
    let most = if inner.level() == 1 { LEAF_MERGE } else { INNER_MERGE };
    let fits = |a: usize| a + 1 < inner.len() && inner.child_len(a) + inner.child_len(a + 1) <= most;
    let from = if i > 0 && fits(i - 1) {
        i - 1
    } else if fits(i) {
        i
    } else {
        return;
    };
    match inner.pair_mut(from) {
        (ChildMut::Leaf(a), ChildMut::Leaf(b)) => a.take_from_right(b, b.len()),
        (ChildMut::Inner(a), ChildMut::Inner(b)) => a.take_from_right(b, b.len()),
        (ChildMut::Leaf(_), ChildMut::Inner(_)) | (ChildMut::Inner(_), ChildMut::Leaf(_)) => return,
    }
    inner.add_count(from, inner.count_of(from + 1) as isize);
    drop(inner.remove(from + 1));
}

// ---- walking ----

/// The members of a range of ranks; see [`Tree::iter`]. Goes down from the root once a leaf.
pub struct Iter<'a> {
    tree: &'a Tree,
    front: usize,
    back: usize,
    /// A leaf and the index of the next one in it.
    front_leaf: Option<(&'a Leaf, usize)>,
    /// A leaf and the index behind the next one from behind.
    back_leaf: Option<(&'a Leaf, usize)>,
}

/// A member and its score, as long as the set is not changed.
pub struct Item<'a> {
    member: MemberRef,
    set: PhantomData<&'a Tree>,
}

impl<'a> Item<'a> {
    #[inline]
    pub fn score(&self) -> f64 {
        self.member.score()
    }

    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        // SAFETY: the tree is borrowed for `'a`, so its owner cannot drop a member.
        unsafe { self.member.bytes_unbound() }
    }
}

impl<'a> Iter<'a> {
    fn item(&self, leaf: &'a Leaf, at: usize) -> Item<'a> {
        Item { member: leaf.get(at).member(), set: PhantomData }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        if self.front == self.back {
            return None;
        }
        let (leaf, at) = match self.front_leaf {
            Some((leaf, at)) if at < leaf.len() => (leaf, at),
            _ => self.tree.leaf_at(self.front),
        };
        self.front_leaf = Some((leaf, at + 1));
        self.front += 1;
        Some(self.item(leaf, at))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.back - self.front, Some(self.back - self.front))
    }
}

impl<'a> DoubleEndedIterator for Iter<'a> {
    #[inline]
    fn next_back(&mut self) -> Option<Item<'a>> {
        if self.front == self.back {
            return None;
        }
        let (leaf, end) = match self.back_leaf {
            Some((leaf, end)) if end > 0 => (leaf, end),
            _ => {
                let (leaf, at) = self.tree.leaf_at(self.back - 1);
                (leaf, at + 1)
            }
        };
        self.back_leaf = Some((leaf, end - 1));
        self.back -= 1;
        Some(self.item(leaf, end - 1))
    }
}

impl ExactSizeIterator for Iter<'_> {}
