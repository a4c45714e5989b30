//! Ranges of sorted sets by rank, score and bytes: told, stored, counted and removed.
//!
//! Whatever a range is asked by, it is a range of ranks first; limits and directions are arithmetic on it.

use std::ops::Range;

use super::zset::{changed, reply_members};
use super::{DataCommand, Effect, command};
use crate::base::{Error, number};
use crate::ds::listpack::Item;
use crate::ds::zset::{Builder, LexBound, LexRange, ScoreRange, ZSet};
use crate::keyspace::{Data, Entry, EventClass, Key, Object};
use crate::resp::Reply;
use crate::spec::prelude::*;

pub const ZCOUNT: Row = Row {
    name: "zcount",
    arity: 4,
    syntax: "key:key min:double max:double",
    flags: READONLY.or(FAST),
    cats: SORTEDSET,
    keys: &[KEY1_RO_ACCESS],
    since: "2.0.0",
    group: Group::SortedSet,
    complexity: "O(log N), N being the size of the sorted set",
    summary: "Tells how many members a range of scores has.",
    ..Row::EMPTY
};

pub const ZLEXCOUNT: Row = Row {
    name: "zlexcount",
    arity: 4,
    syntax: "key:key min max",
    flags: READONLY.or(FAST),
    cats: SORTEDSET,
    keys: &[KEY1_RO_ACCESS],
    since: "2.8.9",
    group: Group::SortedSet,
    complexity: "O(log N), N being the size of the sorted set",
    summary: "Tells how many members a range of bytes has, where all scores are the same.",
    ..Row::EMPTY
};

pub const ZRANGE: Row = Row {
    name: "zrange",
    arity: -4,
    syntax: "key:key start stop [sortby:(byscore:BYSCORE|bylex:BYLEX)@6.2.0] [rev:REV@6.2.0] \
        [limit:{offset:integer count:integer}=LIMIT@6.2.0] [withscores:WITHSCORES]",
    flags: READONLY,
    cats: SORTEDSET,
    keys: &[KEY1_RO_ACCESS],
    since: "1.2.0",
    group: Group::SortedSet,
    complexity: "O(log N + M), N being the size of the sorted set and M the number of members returned",
    summary: "Tells the members of a range of ranks, scores or bytes, in either direction.",
    ..Row::EMPTY
};

pub const ZRANGEBYLEX: Row = Row {
    name: "zrangebylex",
    arity: -4,
    syntax: "key:key min max [limit:{offset:integer count:integer}=LIMIT]",
    flags: READONLY,
    cats: SORTEDSET,
    keys: &[KEY1_RO_ACCESS],
    since: "2.8.9",
    group: Group::SortedSet,
    complexity: "O(log N + M), N being the size of the sorted set and M the number of members returned",
    summary: "Tells the members of a range of bytes, where all scores are the same.",
    doc: Doc::Deprecated { since: "6.2.0", replaced_by: "`ZRANGE` with the `BYLEX` argument" },
    ..Row::EMPTY
};

pub const ZRANGEBYSCORE: Row = Row {
    name: "zrangebyscore",
    arity: -4,
    syntax: "key:key min:double max:double [withscores:WITHSCORES@2.0.0] [limit:{offset:integer \
        count:integer}=LIMIT]",
    flags: READONLY,
    cats: SORTEDSET,
    keys: &[KEY1_RO_ACCESS],
    since: "1.0.5",
    group: Group::SortedSet,
    complexity: "O(log N + M), N being the size of the sorted set and M the number of members returned",
    summary: "Tells the members of a range of scores, the lowest first.",
    doc: Doc::Deprecated { since: "6.2.0", replaced_by: "`ZRANGE` with the `BYSCORE` argument" },
    ..Row::EMPTY
};

pub const ZRANGESTORE: Row = Row {
    name: "zrangestore",
    arity: -5,
    syntax: "dst:key src:key#1 min max [sortby:(byscore:BYSCORE|bylex:BYLEX)] [rev:REV] [limit:{offset:integer \
        count:integer}=LIMIT]",
    flags: WRITE.or(DENYOOM),
    cats: SORTEDSET,
    keys: &[KEY1_OW_UPDATE, KeySpec::at(2, RO.or(ACCESS))],
    since: "6.2.0",
    group: Group::SortedSet,
    complexity: "O(log N + M), N being the size of the sorted set and M the number of members stored",
    summary: "Stores a range of a sorted set at another key.",
    ..Row::EMPTY
};

pub const ZREMRANGEBYLEX: Row = Row {
    name: "zremrangebylex",
    arity: 4,
    syntax: "key:key min max",
    flags: WRITE,
    cats: SORTEDSET,
    keys: &[KEY1_RW_DELETE],
    since: "2.8.9",
    group: Group::SortedSet,
    complexity: "O(log N + M), N being the size of the sorted set and M the number of members removed",
    summary: "Removes the members of a range of bytes, and the key with the last of them.",
    ..Row::EMPTY
};

pub const ZREMRANGEBYRANK: Row = Row {
    name: "zremrangebyrank",
    arity: 4,
    syntax: "key:key start:integer stop:integer",
    flags: WRITE,
    cats: SORTEDSET,
    keys: &[KEY1_RW_DELETE],
    since: "2.0.0",
    group: Group::SortedSet,
    complexity: "O(log N + M), N being the size of the sorted set and M the number of members removed",
    summary: "Removes the members of a range of ranks, and the key with the last of them.",
    ..Row::EMPTY
};

pub const ZREMRANGEBYSCORE: Row = Row {
    name: "zremrangebyscore",
    arity: 4,
    syntax: "key:key min:double max:double",
    flags: WRITE,
    cats: SORTEDSET,
    keys: &[KEY1_RW_DELETE],
    since: "1.2.0",
    group: Group::SortedSet,
    complexity: "O(log N + M), N being the size of the sorted set and M the number of members removed",
    summary: "Removes the members of a range of scores, and the key with the last of them.",
    ..Row::EMPTY
};

pub const ZREVRANGE: Row = Row {
    name: "zrevrange",
    arity: -4,
    syntax: "key:key start:integer stop:integer [withscores:WITHSCORES]",
    flags: READONLY,
    cats: SORTEDSET,
    keys: &[KEY1_RO_ACCESS],
    since: "1.2.0",
    group: Group::SortedSet,
    complexity: "O(log N + M), N being the size of the sorted set and M the number of members returned",
    summary: "Tells the members of a range of ranks, counted from the highest score.",
    doc: Doc::Deprecated { since: "6.2.0", replaced_by: "`ZRANGE` with the `REV` argument" },
    ..Row::EMPTY
};

pub const ZREVRANGEBYLEX: Row = Row {
    name: "zrevrangebylex",
    arity: -4,
    syntax: "key:key max min [limit:{offset:integer count:integer}=LIMIT]",
    flags: READONLY,
    cats: SORTEDSET,
    keys: &[KEY1_RO_ACCESS],
    since: "2.8.9",
    group: Group::SortedSet,
    complexity: "O(log N + M), N being the size of the sorted set and M the number of members returned",
    summary: "Tells the members of a range of bytes backwards, where all scores are the same.",
    doc: Doc::Deprecated { since: "6.2.0", replaced_by: "`ZRANGE` with the `REV` and `BYLEX` arguments" },
    ..Row::EMPTY
};

pub const ZREVRANGEBYSCORE: Row = Row {
    name: "zrevrangebyscore",
    arity: -4,
    syntax: "key:key max:double min:double [withscores:WITHSCORES] [limit:{offset:integer count:integer}=LIMIT]",
    flags: READONLY,
    cats: SORTEDSET,
    keys: &[KEY1_RO_ACCESS],
    since: "2.2.0",
    group: Group::SortedSet,
    complexity: "O(log N + M), N being the size of the sorted set and M the number of members returned",
    summary: "Tells the members of a range of scores, the highest first.",
    doc: Doc::Deprecated { since: "6.2.0", replaced_by: "`ZRANGE` with the `REV` and `BYSCORE` arguments" },
    ..Row::EMPTY
};

pub const COMMANDS: &[DataCommand] = &[
    command(&ZCOUNT, zcount),
    command(&ZLEXCOUNT, zlexcount),
    command(&ZRANGE, zrange),
    command(&ZRANGEBYLEX, zrangebylex),
    command(&ZRANGEBYSCORE, zrangebyscore),
    command(&ZRANGESTORE, zrangestore),
    command(&ZREMRANGEBYLEX, zremrangebylex),
    command(&ZREMRANGEBYRANK, zremrangebyrank),
    command(&ZREMRANGEBYSCORE, zremrangebyscore),
    command(&ZREVRANGE, zrevrange),
    command(&ZREVRANGEBYLEX, zrevrangebylex),
    command(&ZREVRANGEBYSCORE, zrevrangebyscore),
];

// ---- what is asked for ----

/// What a range goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Lex,
}

/// A range and its ends.
#[derive(Clone, Copy, Debug)]
enum Span<'a> {
    /// Both included; negative ones count from the end.
    Rank(i64, i64),
    Score(ScoreRange),
    Lex(LexRange<'a>),
}

impl<'a> Span<'a> {
    fn parse(by: By, min: &'a [u8], max: &'a [u8]) -> Result<Self, Error> {
        Ok(match by {
            By::Rank => {
                let rank = |word| number::parse_i64(word).ok_or(Error::NotInteger);
                Self::Rank(rank(min)?, rank(max)?)
            }
            By::Score => {
                let ((min, min_open), (max, max_open)) = (score_bound(min)?, score_bound(max)?);
                Self::Score(ScoreRange { min, max, min_open, max_open })
            }
            By::Lex => Self::Lex(LexRange { min: lex_bound(min)?, max: lex_bound(max)? }),
        })
    }

    /// The ranks, counted from the lowest; of a reversed set, ranks that are asked for count from the highest.
    fn ranks(&self, set: &ZSet, reversed: bool) -> Range<usize> {
        let ranks = match self {
            Self::Rank(start, stop) => {
                let len = set.len() as i64;
                let from = if *start < 0 { (start + len).max(0) } else { *start };
                let to = if *stop < 0 { stop + len } else { (*stop).min(len - 1) };
                if from > to {
                    return 0..0;
                }
                let (from, to) = (from as usize, to as usize + 1);
                if reversed { set.len() - to..set.len() - from } else { from..to }
            }
            Self::Score(range) => set.ranks_by_score(range),
            Self::Lex(range) => set.ranks_by_lex(range),
        };
        ranks.start..ranks.end.max(ranks.start)
    }
}

/// One end of a range of scores, and whether it is open. As C's `strtod` has it: nothing at all is 0.
fn score_bound(word: &[u8]) -> Result<(f64, bool), Error> {
    let (text, open) = match word {
        [b'(', text @ ..] => (text, true),
        text => (text, false),
    };
    let bad = Error::text("ERR min or max is not a float");
    let text = text.trim_ascii_start();
    if text.is_empty() {
        return if word.is_empty() || word == b"(" { Ok((0.0, open)) } else { Err(bad) };
    }
    let lenient = || std::str::from_utf8(text).ok()?.parse::<f64>().ok().filter(|f| !f.is_nan());
    number::parse_f64(text).or_else(lenient).map(|score| (score, open)).ok_or(bad)
}

fn lex_bound(word: &[u8]) -> Result<LexBound<'_>, Error> {
    match word {
        b"-" => Ok(LexBound::Lowest),
        b"+" => Ok(LexBound::Highest),
        [b'[', bytes @ ..] => Ok(LexBound::Closed(bytes)),
        [b'(', bytes @ ..] => Ok(LexBound::Open(bytes)),
        _ => Err(Error::text("ERR min or max not valid string range item")),
    }
}

/// What commands of this family ask for, after their keys.
struct Query<'a> {
    span: Span<'a>,
    reversed: bool,
    /// How many to pass over, and how many to take at most; negative: all.
    limit: (i64, i64),
    with_scores: bool,
}

impl<'a> Query<'a> {
    /// Both ends, then options. `by` and `reversed` are options where they are `None`.
    fn parse(a: &mut Args<'a>, by: Option<By>, reversed: Option<bool>, stores: bool) -> Result<Self, Error> {
        let (first, second) = (a.next()?, a.next()?);
        let (mut asked_by, mut asked_reversed, mut limit, mut with_scores) = (by, reversed, (0, -1), false);
        while !a.is_at_end() {
            if !stores && a.flag("WITHSCORES") {
                with_scores = true;
            } else if a.left() > 2 && a.flag("LIMIT") {
                limit = (a.next_i64()?, a.next_i64()?);
            } else if reversed.is_none() && asked_reversed.is_none() && a.flag("REV") {
                asked_reversed = Some(true);
            } else if asked_by.is_none() && a.flag("BYLEX") {
                asked_by = Some(By::Lex);
            } else if asked_by.is_none() && a.flag("BYSCORE") {
                asked_by = Some(By::Score);
            } else {
                return Err(Error::Syntax);
            }
        }
        let (by, reversed) = (asked_by.unwrap_or(By::Rank), asked_reversed.unwrap_or(false));
        if limit.1 != -1 && by == By::Rank {
            return Err(Error::text(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if with_scores && by == By::Lex {
            return Err(Error::text("ERR syntax error, WITHSCORES not supported in combination with BYLEX"));
        }
        // Backwards, the greater end comes first.
        let swapped = reversed && by != By::Rank;
        let (min, max) = if swapped { (second, first) } else { (first, second) };
        Ok(Self { span: Span::parse(by, min, max)?, reversed, limit, with_scores })
    }

    /// The ranks that are left of the range by the limit.
    fn ranks(&self, set: &ZSet) -> Range<usize> {
        let all = self.span.ranks(set, self.reversed);
        if let Span::Rank(..) = self.span {
            return all;
        }
        let (offset, count) = self.limit;
        // A negative offset passes over everything.
        let skipped = usize::try_from(offset).map_or(all.len(), |offset| offset.min(all.len()));
        let taken = usize::try_from(count).map_or(all.len(), |count| count).min(all.len() - skipped);
        if self.reversed {
            all.end - skipped - taken..all.end - skipped
        } else {
            all.start + skipped..all.start + skipped + taken
        }
    }
}

// ---- telling ----

fn tell(
    db: &mut Data<'_>,
    a: &mut Args<'_>,
    out: &mut Reply,
    by: Option<By>,
    reversed: Option<bool>,
) -> Result<Effect, Error> {
    let key = a.key()?;
    let query = Query::parse(a, by, reversed, false)?;
    match db.read::<ZSet>(key)? {
        Some(set) => {
            let members = set.range(query.ranks(set));
            if query.reversed {
                reply_members(out, members.rev(), query.with_scores);
            } else {
                reply_members(out, members, query.with_scores);
            }
        }
        None => out.array(0),
    }
    Ok(Effect::None)
}

fn zrange(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    tell(db, a, out, None, None)
}

fn zrevrange(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    tell(db, a, out, Some(By::Rank), Some(true))
}

fn zrangebyscore(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    tell(db, a, out, Some(By::Score), Some(false))
}

fn zrevrangebyscore(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    tell(db, a, out, Some(By::Score), Some(true))
}

fn zrangebylex(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    tell(db, a, out, Some(By::Lex), Some(false))
}

fn zrevrangebylex(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    tell(db, a, out, Some(By::Lex), Some(true))
}

// ---- storing ----

/// Puts members at a key in place of what is there; none leave nothing there. Replies with their number.
pub(super) fn store(db: &mut Data<'_>, key: Key<'_>, members: Builder, event: &'static str, out: &mut Reply) -> Effect {
    out.int(members.len() as i64);
    if members.is_empty() {
        return Effect::verbatim_if(db.delete(key));
    }
    let set = ZSet::from_builder(members, &db.unit.limits);
    db.overwrite(key, Entry::object(key.bytes, Object::ZSet(set), None));
    db.changed(key, EventClass::ZSET, event);
    Effect::Verbatim
}

fn zrangestore(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (to, from) = (a.key()?, a.key()?);
    let query = Query::parse(a, None, None, true)?;
    let limits = db.unit.limits;
    let mut members = Builder::default();
    if let Some(set) = db.read::<ZSet>(from)? {
        let ranks = query.ranks(set);
        // Stock servers add one after the other, in the direction asked for, and what begins as a listpack loses the sign
        // of its zeros. Only of a range of ranks they know the length beforehand.
        let known_len = if let Span::Rank(..) = query.span { ranks.len() } else { 0 };
        let mut packed = known_len <= limits.zset_entries;
        let mut text = number::IntText::new();
        let mut add = |(member, score): (Item<'_>, f64)| {
            let member = member.bytes(&mut text);
            packed &= members.len() < limits.zset_entries && member.len() <= limits.zset_value;
            members.set(member, |_| if packed { score + 0.0 } else { score });
        };
        if query.reversed { set.range(ranks).rev().for_each(&mut add) } else { set.range(ranks).for_each(&mut add) }
    }
    Ok(store(db, to, members, "zrangestore", out))
}

// ---- counting ----

fn count(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply, by: By) -> Result<Effect, Error> {
    let key = a.key()?;
    let span = Span::parse(by, a.next()?, a.next()?)?;
    out.int(db.read::<ZSet>(key)?.map_or(0, |set| span.ranks(set, false).len()) as i64);
    Ok(Effect::None)
}

fn zcount(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    count(db, a, out, By::Score)
}

fn zlexcount(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    count(db, a, out, By::Lex)
}

// ---- removing ----

fn remove(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply, by: By, event: &'static str) -> Result<Effect, Error> {
    let key = a.key()?;
    let span = Span::parse(by, a.next()?, a.next()?)?;
    let removed = db.edit(key, |set: &mut ZSet| {
        let ranks = span.ranks(set, false);
        let before = set.len();
        set.remove_range(ranks);
        before - set.len()
    })?;
    let removed = removed.unwrap_or_default();
    if removed > 0 {
        changed(db, key, event, removed);
        db.remove_if_empty::<ZSet>(key);
    }
    out.int(removed as i64);
    Ok(Effect::verbatim_if(removed > 0))
}

fn zremrangebyrank(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    remove(db, a, out, By::Rank, "zremrangebyrank")
}

fn zremrangebyscore(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    remove(db, a, out, By::Score, "zremrangebyscore")
}

fn zremrangebylex(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    remove(db, a, out, By::Lex, "zremrangebylex")
}
