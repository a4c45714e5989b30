//! A small sorted set: members and scores in turn in a listpack, in order.
//!
//! Scores are text there, as stock servers write them: whole numbers as integers, which also makes `0` of `-0`. Knows
//! nothing of when a set outgrows this form.

use std::ops::Range;

use super::range::{LexRange, ScoreRange};
use crate::base::number::{self, IntText};
use crate::ds::listpack::{self, Item, Listpack, Pos};

/// A score as it stands in a listpack.
#[inline]
pub(super) fn score_of(item: Item<'_>) -> f64 {
    match item {
        Item::Int(n) => n as f64,
        // Other text does not come in: what is read from outside is looked at first.
        Item::Str(text) => number::parse_f64(text).unwrap_or_default(),
    }
}

/// The same of an item from outside.
pub(super) fn checked_score(item: Item<'_>) -> Option<f64> {
    match item {
        Item::Int(n) => Some(n as f64),
        Item::Str(text) => number::parse_f64(text),
    }
}

/// Beyond half the range of i64 stock servers do not trust the conversion.
const WHOLE: f64 = (i64::MAX / 2) as f64;

fn with_text<R>(score: f64, f: impl FnOnce(&[u8]) -> R) -> R {
    if score.abs() <= WHOLE && score.trunc() == score {
        return f(IntText::new().format(score as i64).as_bytes());
    }
    let mut text = Vec::with_capacity(24);
    number::push_f64(&mut text, score);
    f(&text)
}

pub(super) fn push(lp: &mut Listpack, member: &[u8], score: f64) {
    lp.push_back(member);
    with_text(score, |text| lp.push_back(text));
}

/// Where a member stands, and its score.
pub(super) fn find(lp: &Listpack, member: &[u8]) -> Option<(Pos, f64)> {
    let pos = lp.find(lp.first()?, member, 1)?;
    let score = lp.next(pos)?;
    Some((pos, score_of(lp.get(score))))
}

/// Adds a member that is not there.
pub(super) fn insert(lp: &mut Listpack, member: &[u8], score: f64) {
    let mut next = lp.first();
    while let Some(pos) = next {
        let Some(score_pos) = lp.next(pos) else { break };
        let theirs = score_of(lp.get(score_pos));
        if theirs > score || (theirs == score && lp.get(pos).bytes(&mut IntText::new()) > member) {
            let pos = lp.insert_before(pos, member);
            with_text(score, |text| lp.insert_after(pos, text));
            return;
        }
        next = lp.next(score_pos);
    }
    push(lp, member, score);
}

pub(super) fn remove(lp: &mut Listpack, pos: Pos) {
    lp.remove_from(pos, 2);
}

/// How many of the first members satisfy `keep`.
fn leading(lp: &Listpack, from: usize, keep: impl Fn(Item<'_>, f64) -> bool) -> usize {
    from + Iter::new(lp, from..usize::MAX).take_while(|(member, score)| keep(*member, *score)).count()
}

pub(super) fn ranks_by_score(lp: &Listpack, range: &ScoreRange) -> Range<usize> {
    let start = leading(lp, 0, |_, score| !range.reached_by(score));
    start..leading(lp, start, |_, score| range.not_passed_by(score))
}

pub(super) fn ranks_by_lex(lp: &Listpack, range: &LexRange<'_>) -> Range<usize> {
    let start = leading(lp, 0, |member, _| !range.reached_by(member.bytes(&mut IntText::new())));
    start..leading(lp, start, |member, _| range.not_passed_by(member.bytes(&mut IntText::new())))
}

/// A range of ranks, from either end.
#[derive(Clone)]
pub(super) struct Iter<'a> {
    items: listpack::Iter<'a>,
    left: usize,
    /// Members behind the range, to be passed over when first asked from behind.
    behind: usize,
}

impl<'a> Iter<'a> {
    pub(super) fn new(lp: &'a Listpack, range: Range<usize>) -> Self {
        let len = lp.len() / 2;
        let (start, end) = (range.start.min(len), range.end.min(len));
        let left = end.saturating_sub(start);
        let items = lp.seek(2 * start as i64).map_or_else(|| lp.iter(), |pos| lp.iter_from(pos));
        Self { items, left, behind: len - start - left }
    }

    pub(super) fn len(&self) -> usize {
        self.left
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = (Item<'a>, f64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        Some((self.items.next()?, score_of(self.items.next()?)))
    }
}

impl DoubleEndedIterator for Iter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        for _ in 0..2 * std::mem::take(&mut self.behind) {
            self.items.next_back();
        }
        let score = self.items.next_back()?;
        Some((self.items.next_back()?, score_of(score)))
    }
}
