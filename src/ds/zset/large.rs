//! A large sorted set: a dictionary that owns the members, and a tree that keeps their order.
//!
//! A member is in both or in neither; it leaves the tree before the dictionary drops it.

use std::ops::Range;

use super::range::{LexBound, LexRange, ScoreRange};
use super::{Added, How, decide};
use crate::base::hash::hash;
use crate::ds::btree::{self, At, AtBytes, AtScore, Member, MemberRef, Tree};
use crate::ds::dict::{Dict, Fetch, Keyed, Slot};

pub(super) struct Large {
    members: Dict<Member>,
    tree: Tree,
    /// Bytes of the members themselves.
    member_bytes: usize,
}

impl std::fmt::Debug for Large {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map()
            .entries(self.iter(0..self.len()).map(|m| (m.bytes().escape_ascii().to_string(), m.score())))
            .finish()
    }
}

impl Clone for Large {
    fn clone(&self) -> Self {
        let mut new = Builder::default();
        for m in self.iter(0..self.len()) {
            new.set(m.bytes(), |_| m.score());
        }
        new.into_large()
    }
}

impl Large {
    pub(super) fn new() -> Self {
        Self { members: Dict::new(0, hash), tree: Tree::default(), member_bytes: 0 }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.tree.len()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.members.memory_bytes() + self.tree.memory_bytes() + self.member_bytes
    }

    #[inline]
    pub(super) fn fetch(&self, hash: u64, what: Fetch) {
        self.members.fetch(hash, what);
    }

    #[inline]
    pub(super) fn score(&self, member: &[u8]) -> Option<f64> {
        self.members.get(hash(member), member).map(Member::score)
    }

    /// One search of the dictionary, and one or two descents of the tree.
    #[inline]
    pub(super) fn add(&mut self, member: &[u8], score: f64, how: How) -> Added {
        match self.members.find_slot(hash(member), member) {
            Slot::Found(slot) => {
                let added = decide(Some(slot.score()), score, how);
                if let Added::Updated(new) = added {
                    let mut slot = slot.edit();
                    self.tree.move_to(slot.pointer(), member, new, || slot.set_score(new));
                }
                added
            }
            Slot::Vacant(slot) => {
                let added = decide(None, score, how);
                if let Added::New(score) = added {
                    let new = Member::new(member, score);
                    let pointer = new.pointer();
                    slot.insert(new);
                    self.tree.insert(pointer, member);
                    self.member_bytes += Member::size_of(member.len());
                }
                added
            }
        }
    }

    pub(super) fn remove(&mut self, member: &[u8]) -> bool {
        let Some(gone) = self.members.remove(hash(member), member) else { return false };
        self.tree.remove(gone.score(), gone.key());
        self.member_bytes -= Member::size_of(member.len());
        true
    }

    pub(super) fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        let score = self.score(member)?;
        Some((self.tree.rank_of(&At::new(score, member)), score))
    }

    pub(super) fn ranks_by_score(&self, range: &ScoreRange) -> Range<usize> {
        let start = if range.min_open { AtScore::behind(range.min) } else { AtScore::before(range.min) };
        let end = if range.max_open { AtScore::before(range.max) } else { AtScore::behind(range.max) };
        self.tree.rank_of(&start)..self.tree.rank_of(&end)
    }

    pub(super) fn ranks_by_lex(&self, range: &LexRange<'_>) -> Range<usize> {
        let rank = |bound, is_max| match bound {
            LexBound::Lowest => 0,
            LexBound::Highest => self.len(),
            LexBound::Closed(bytes) if is_max => self.tree.rank_of(&AtBytes::behind(bytes)),
            LexBound::Open(bytes) if !is_max => self.tree.rank_of(&AtBytes::behind(bytes)),
            LexBound::Closed(bytes) | LexBound::Open(bytes) => self.tree.rank_of(&AtBytes::before(bytes)),
        };
        rank(range.min, false)..rank(range.max, true)
    }

    pub(super) fn iter(&self, range: Range<usize>) -> btree::Iter<'_> {
        self.tree.iter(range)
    }

    pub(super) fn remove_range(&mut self, range: Range<usize>) {
        let Self { members, tree, member_bytes } = self;
        tree.remove_range(range, |gone| {
            // The tree does not look at a member again once it has told of it.
            let removed = gone.with_bytes(|bytes| members.remove(hash(bytes), bytes));
            *member_bytes -= removed.map_or(0, |m| Member::size_of(m.key().len()));
        });
    }

    pub(super) fn scan(&self, cursor: u64, at_least: usize, f: impl FnMut(&Member)) -> u64 {
        self.members.scan(cursor, at_least, f)
    }
}

/// A set that is made at once: members come in any order and are sorted at the end.
pub struct Builder {
    members: Dict<Member>,
    order: Vec<MemberRef>,
    longest: usize,
    member_bytes: usize,
}

impl Default for Builder {
    fn default() -> Self {
        Self { members: Dict::new(0, hash), order: Vec::new(), longest: 0, member_bytes: 0 }
    }
}

impl Builder {
    pub fn len(&self) -> usize {
        self.order.len()
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The longest member.
    pub fn longest(&self) -> usize {
        self.longest
    }

    pub fn contains(&self, member: &[u8]) -> bool {
        self.members.get(hash(member), member).is_some()
    }

    /// Gives a member a score, which may depend on the one it has. True if it is new.
    pub fn set(&mut self, member: &[u8], score: impl FnOnce(Option<f64>) -> f64) -> bool {
        match self.members.find_slot(hash(member), member) {
            Slot::Found(slot) => {
                let score = score(Some(slot.score()));
                slot.edit().set_score(score);
                false
            }
            Slot::Vacant(slot) => {
                let new = Member::new(member, score(None));
                self.order.push(new.pointer());
                slot.insert(new);
                self.longest = self.longest.max(member.len());
                self.member_bytes += Member::size_of(member.len());
                true
            }
        }
    }

    pub(super) fn into_large(self) -> Large {
        Large { tree: Tree::from_members(&self.order), members: self.members, member_bytes: self.member_bytes }
    }

    /// In order.
    pub(super) fn sorted(&self, mut f: impl FnMut(&[u8], f64)) {
        let tree = Tree::from_members(&self.order);
        tree.iter(0..tree.len()).for_each(|m| f(m.bytes(), m.score()));
    }
}
