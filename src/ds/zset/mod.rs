//! Members ordered by score, and by their bytes where scores agree.
//!
//! Small sets are one listpack, large ones a dictionary and a counting tree over it (`skiplist` to clients, as what stock
//! servers have there); the change comes where stock servers make it, and there is no way back. All places are ranks: a
//! range by score or by bytes is found as a range of ranks. Knows neither keys nor commands.

mod large;
mod pack;
mod range;
#[cfg(test)]
mod tests;

use std::ops::Range;

use super::Limits;
use super::btree;
use super::dict::Fetch;
use super::dict::Keyed;
use super::listpack::{Item, Listpack};
use crate::base::number::{self, IntText};

use large::Large;

pub use large::Builder;
pub use range::{LexBound, LexRange, ScoreRange};

/// Stock servers let no listpack grow beyond this.
const PACK_MAX_BYTES: usize = 1 << 30;

#[derive(Clone, Debug)]
pub struct ZSet(Repr);

#[derive(Clone, Debug)]
enum Repr {
    Pack(Listpack),
    Large(Box<Large>),
}

/// On which condition a member gets a score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct How {
    /// Only if it is not there.
    pub nx: bool,
    /// Only if it is there.
    pub xx: bool,
    /// If it is there, only to raise its score.
    pub gt: bool,
    /// If it is there, only to lower its score.
    pub lt: bool,
    /// The score is added to the one it has.
    pub incr: bool,
}

/// What became of a member, with the score it has now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Added {
    New(f64),
    Updated(f64),
    /// It had this score already.
    Same(f64),
    /// The condition was not met.
    Refused,
    /// The sum is not a number; nothing is changed.
    Nan,
}

/// What is to be done for a member with this score at present.
#[inline]
fn decide(current: Option<f64>, score: f64, how: How) -> Added {
    let Some(current) = current else {
        return if how.xx { Added::Refused } else { Added::New(score) };
    };
    if how.nx {
        return Added::Refused;
    }
    let score = if how.incr { current + score } else { score };
    if score.is_nan() {
        return Added::Nan;
    }
    if (how.lt && score >= current) || (how.gt && score <= current) {
        return Added::Refused;
    }
    if score == current { Added::Same(score) } else { Added::Updated(score) }
}

impl Default for ZSet {
    fn default() -> Self {
        Self(Repr::Pack(Listpack::new()))
    }
}

impl ZSet {
    /// An empty one, for so many members of which one has this length.
    pub fn sized(members: usize, length: usize, limits: &Limits) -> Self {
        if members <= limits.zset_entries && length <= limits.zset_value {
            Self::default()
        } else {
            Self(Repr::Large(Box::new(Large::new())))
        }
    }

    /// From a listpack that came from outside. Nothing if it is not one of members, all different, and their scores.
    pub fn from_listpack(lp: Listpack, limits: &Limits) -> Option<Self> {
        let (mut seen, mut text) = (Builder::default(), IntText::new());
        // Also lost are members that a search would not find: numbers written as text.
        let (mut in_order, mut last) = (true, None::<(f64, Vec<u8>)>);
        let mut items = lp.iter();
        while let Some(member) = items.next() {
            let score = pack::checked_score(items.next()?)?;
            let bytes = member.bytes(&mut text);
            if !seen.set(bytes, |_| score) {
                return None;
            }
            let hidden = matches!(member, Item::Str(text) if text.len() <= 20 && number::parse_i64(text).is_some());
            let rises = last.as_ref().is_none_or(|(s, m)| (*s, &m[..]) < (score, bytes));
            in_order &= rises && !hidden;
            last = Some((score, bytes.to_vec()));
        }
        if lp.len() / 2 > limits.zset_entries {
            return Some(Self(Repr::Large(Box::new(seen.into_large()))));
        }
        if in_order {
            return Some(Self(Repr::Pack(lp)));
        }
        let mut sorted = Listpack::new();
        seen.sorted(|member, score| pack::push(&mut sorted, member, score));
        Some(Self(Repr::Pack(sorted)))
    }

    pub fn from_builder(builder: Builder, limits: &Limits) -> Self {
        if builder.len() > limits.zset_entries || builder.longest() > limits.zset_value {
            return Self(Repr::Large(Box::new(builder.into_large())));
        }
        let mut lp = Listpack::new();
        builder.sorted(|member, score| pack::push(&mut lp, member, score));
        Self(Repr::Pack(lp))
    }

    /// The whole, if it is a listpack.
    pub fn as_listpack(&self) -> Option<&Listpack> {
        match &self.0 {
            Repr::Pack(lp) => Some(lp),
            Repr::Large(_) => None,
        }
    }

    #[inline]
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Pack(lp) => lp.len() / 2,
            Repr::Large(large) => large.len(),
        }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Asks the processor for what a look for a member of this hash will touch.
    #[inline]
    pub fn fetch(&self, hash: u64, what: Fetch) {
        if let Repr::Large(large) = &self.0 {
            large.fetch(hash, what);
        }
    }

    /// The stock name of how it is kept.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Repr::Pack(_) => "listpack",
            Repr::Large(_) => "skiplist",
        }
    }

    /// Bytes allocated.
    pub fn memory_bytes(&self) -> usize {
        match &self.0 {
            Repr::Pack(lp) => lp.memory_bytes(),
            Repr::Large(large) => large.memory_bytes(),
        }
    }

    /// How many allocations there are to be freed.
    pub fn free_effort(&self) -> usize {
        match &self.0 {
            Repr::Pack(_) => 1,
            Repr::Large(large) => large.len(),
        }
    }

    // ---- one member ----

    #[inline]
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match &self.0 {
            Repr::Pack(lp) => pack::find(lp, member).map(|(_, score)| score),
            Repr::Large(large) => large.score(member),
        }
    }

    /// Its rank from the lowest, and its score.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        match &self.0 {
            Repr::Pack(_) => {
                let found = self.iter().enumerate().find(|(_, (item, _))| item.eq_bytes(member));
                found.map(|(rank, (_, score))| (rank, score))
            }
            Repr::Large(large) => large.rank(member),
        }
    }

    /// Gives a member a score, which is not NaN.
    #[inline]
    pub fn add(&mut self, member: &[u8], score: f64, how: How, limits: &Limits) -> Added {
        debug_assert!(!score.is_nan());
        loop {
            match &mut self.0 {
                Repr::Large(large) => return large.add(member, score, how),
                Repr::Pack(lp) => {
                    let found = pack::find(lp, member);
                    let added = decide(found.map(|(_, score)| score), score, how);
                    match (added, found) {
                        (Added::Updated(new), Some((pos, _))) => {
                            pack::remove(lp, pos);
                            pack::insert(lp, member, new);
                        }
                        (Added::New(new), _) => {
                            let fits = lp.len() / 2 < limits.zset_entries
                                && member.len() <= limits.zset_value
                                && lp.byte_len() + member.len() <= PACK_MAX_BYTES;
                            if !fits {
                                self.enlarge();
                                continue;
                            }
                            pack::insert(lp, member, new);
                        }
                        _ => {}
                    }
                    return added;
                }
            }
        }
    }

    /// Makes ready for so many members that are about to come.
    pub fn expect(&mut self, members: usize, limits: &Limits) {
        if members > limits.zset_entries {
            self.enlarge();
        }
    }

    #[cold]
    fn enlarge(&mut self) {
        let Repr::Pack(lp) = &self.0 else { return };
        let (mut builder, mut text) = (Builder::default(), IntText::new());
        for (member, score) in pack::Iter::new(lp, 0..usize::MAX) {
            builder.set(member.bytes(&mut text), |_| score);
        }
        self.0 = Repr::Large(Box::new(builder.into_large()));
    }

    /// True if it was there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match &mut self.0 {
            Repr::Pack(lp) => {
                let found = pack::find(lp, member);
                if let Some((pos, _)) = found {
                    pack::remove(lp, pos);
                }
                found.is_some()
            }
            Repr::Large(large) => large.remove(member),
        }
    }

    // ---- ranges ----

    pub fn iter(&self) -> Iter<'_> {
        self.range(0..usize::MAX)
    }

    /// The members of a range of ranks, from either end.
    #[inline]
    pub fn range(&self, ranks: Range<usize>) -> Iter<'_> {
        match &self.0 {
            Repr::Pack(lp) => Iter(Walk::Pack(pack::Iter::new(lp, ranks))),
            Repr::Large(large) => Iter(Walk::Large(large.iter(ranks))),
        }
    }

    pub fn get(&self, rank: usize) -> Option<(Item<'_>, f64)> {
        self.range(rank..rank.saturating_add(1)).next()
    }

    /// The ranks of a range of scores; its end may lie before its start.
    pub fn ranks_by_score(&self, range: &ScoreRange) -> Range<usize> {
        match &self.0 {
            Repr::Pack(lp) => pack::ranks_by_score(lp, range),
            Repr::Large(large) => large.ranks_by_score(range),
        }
    }

    /// The ranks of a range of members; of use where all scores are the same. Its end may lie before its start.
    pub fn ranks_by_lex(&self, range: &LexRange<'_>) -> Range<usize> {
        match &self.0 {
            Repr::Pack(lp) => pack::ranks_by_lex(lp, range),
            Repr::Large(large) => large.ranks_by_lex(range),
        }
    }

    /// Takes a range of ranks out.
    pub fn remove_range(&mut self, ranks: Range<usize>) {
        let len = self.len();
        let (start, end) = (ranks.start, ranks.end.min(len));
        if start >= end {
            return;
        }
        match &mut self.0 {
            Repr::Pack(lp) => {
                lp.remove_range(2 * start as i64, 2 * (end - start));
            }
            Repr::Large(large) => large.remove_range(start..end),
        }
    }

    /// Visits members from a cursor on, as [`Dict::scan`](super::dict::Dict::scan) does; small sets whole.
    pub fn scan(&self, cursor: u64, at_least: usize, mut f: impl FnMut(&[u8], f64)) -> u64 {
        match &self.0 {
            Repr::Pack(_) => {
                let mut text = IntText::new();
                self.iter().for_each(|(member, score)| f(member.bytes(&mut text), score));
                0
            }
            Repr::Large(large) => large.scan(cursor, at_least, |m| f(m.key(), m.score())),
        }
    }
}

/// Members and scores of a range of ranks, from either end.
pub struct Iter<'a>(Walk<'a>);

enum Walk<'a> {
    Pack(pack::Iter<'a>),
    Large(btree::Iter<'a>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = (Item<'a>, f64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Walk::Pack(iter) => iter.next(),
            Walk::Large(iter) => iter.next().map(|m| (Item::Str(m.bytes()), m.score())),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = match &self.0 {
            Walk::Pack(iter) => iter.len(),
            Walk::Large(iter) => iter.len(),
        };
        (len, Some(len))
    }
}

impl DoubleEndedIterator for Iter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Walk::Pack(iter) => iter.next_back(),
            Walk::Large(iter) => iter.next_back().map(|m| (Item::Str(m.bytes()), m.score())),
        }
    }
}

impl ExactSizeIterator for Iter<'_> {}
