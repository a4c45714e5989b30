//! What the tree keeps of a member: its address and the upper 48 bits of its score, twelve bytes in all.
//!
//! ```text
//!   score, made so that unsigned order is score order     | hi: 32 bits | tag: 16 bits | not kept: 16 bits |
//!   word                                                  | tag: 16 bits | address: 48 bits |
//! ```
//! So nearly every comparison is made without touching a member; where 48 bits agree the member itself is asked.

use std::cmp::Ordering;

use super::member::MemberRef;

const ADDRESS: usize = (1 << 48) - 1;

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) hi: u32,
    pub(super) word: *mut u8,
}

/// The upper 48 bits of a score, as a number of the same order. Zero has no sign here.
#[inline]
pub(super) fn order_of(score: f64) -> u64 {
    let bits = (score + 0.0).to_bits();
    let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
    ordered >> 16
}

impl Entry {
    #[inline]
    pub(super) fn of(member: MemberRef) -> Self {
        Self::with_score(member, member.score())
    }

    #[inline]
    pub(super) fn with_score(member: MemberRef, score: f64) -> Self {
        let order = order_of(score);
        let tag = (order as usize & 0xffff) << 48;
        Self { hi: (order >> 16) as u32, word: member.as_ptr().map_addr(|a| a | tag) }
    }

    #[inline]
    pub(super) fn member(self) -> MemberRef {
        MemberRef::from_ptr(self.word.map_addr(|a| a & ADDRESS))
    }

    #[inline]
    pub(super) fn order(self) -> u64 {
        u64::from(self.hi) << 16 | (self.word.addr() >> 48) as u64
    }
}

impl Entry {
    pub(super) fn cmp_in_order(self, other: Self) -> Ordering {
        self.order().cmp(&other.order()).then_with(|| {
            let (a, b) = (self.member(), other.member());
            // SAFETY: the members live, as those who made the entries keep them; the bytes are not kept.
            let by_bytes = || unsafe { a.bytes_unbound().cmp(b.bytes_unbound()) };
            a.score().partial_cmp(&b.score()).unwrap_or(Ordering::Equal).then_with(by_bytes)
        })
    }
}

/// A place between members: it tells which of them lie before it. Those before must all come first in the tree.
pub trait Bound {
    /// The upper 32 bits that members on both sides of the place may have; others need not be asked about.
    fn hi(&self) -> Option<u32>;
    #[doc(hidden)]
    fn has_before(&self, order: u64, member: MemberRef) -> bool;
}

/// Right before a score and bytes, or right behind them.
pub struct At<'a> {
    order: u64,
    score: f64,
    bytes: &'a [u8],
    behind: bool,
}

impl<'a> At<'a> {
    #[inline]
    pub fn new(score: f64, bytes: &'a [u8]) -> Self {
        Self { order: order_of(score), score, bytes, behind: false }
    }

    #[inline]
    pub(super) fn behind(&self) -> Self {
        Self { behind: true, ..*self }
    }
}

impl Bound for At<'_> {
    #[inline]
    fn hi(&self) -> Option<u32> {
        Some((self.order >> 16) as u32)
    }

    #[inline]
    fn has_before(&self, order: u64, member: MemberRef) -> bool {
        if order != self.order {
            return order < self.order;
        }
        let score = member.score();
        if score != self.score {
            return score < self.score;
        }
        // SAFETY: the member is in the tree, so it lives; the bytes are not kept.
        let bytes = unsafe { member.bytes_unbound() };
        if self.behind { bytes <= self.bytes } else { bytes < self.bytes }
    }
}

/// Before the first member of a score, or behind its last.
pub struct AtScore {
    order: u64,
    score: f64,
    behind: bool,
}

impl AtScore {
    pub fn before(score: f64) -> Self {
        Self { order: order_of(score), score, behind: false }
    }

    pub fn behind(score: f64) -> Self {
        Self { order: order_of(score), score, behind: true }
    }
}

impl Bound for AtScore {
    #[inline]
    fn hi(&self) -> Option<u32> {
        Some((self.order >> 16) as u32)
    }

    #[inline]
    fn has_before(&self, order: u64, member: MemberRef) -> bool {
        if order != self.order {
            return order < self.order;
        }
        let score = member.score();
        score < self.score || (self.behind && score == self.score)
    }
}

/// Before bytes, or behind them, where all scores are the same.
pub struct AtBytes<'a> {
    bytes: &'a [u8],
    behind: bool,
}

impl<'a> AtBytes<'a> {
    pub fn before(bytes: &'a [u8]) -> Self {
        Self { bytes, behind: false }
    }

    pub fn behind(bytes: &'a [u8]) -> Self {
        Self { bytes, behind: true }
    }
}

impl Bound for AtBytes<'_> {
    #[inline]
    fn hi(&self) -> Option<u32> {
        None
    }

    #[inline]
    fn has_before(&self, _: u64, member: MemberRef) -> bool {
        // SAFETY: the member is in the tree, so it lives; the bytes are not kept.
        let bytes = unsafe { member.bytes_unbound() };
        if self.behind { bytes <= self.bytes } else { bytes < self.bytes }
    }
}
