//! Sorted sets, one member at a time: ZADD, ZSCORE, ZRANK and their kin.
//!
//! Ranges stand in `zset_range`, what takes members off the ends in `zset_pop`, unions and the like in `zset_algebra`.
//! Knows not how a sorted set is kept.

use std::collections::HashSet;

use smallvec::SmallVec;

use super::scan::{self, Page, Walk};
use super::{DataCommand, Effect, command};
use crate::base::{Error, number, rand};
use crate::ds::listpack::Item;
use crate::ds::zset::{Added, How, ZSet};
use crate::keyspace::{Data, EventClass, Key};
use crate::resp::Reply;
use crate::spec::prelude::*;

pub const ZADD: Row = Row {
    name: "zadd",
    arity: -4,
    syntax: "key:key [condition:(nx:NX|xx:XX)@3.0.2] [comparison:(gt:GT|lt:LT)@6.2.0] [change:CH@3.0.2] \
        [increment:INCR@3.0.2] data:{score:double member}...",
    flags: WRITE.or(DENYOOM).or(FAST),
    cats: SORTEDSET,
    keys: &[KEY1_RW_UPDATE],
    element: 3,
    since: "1.2.0",
    group: Group::SortedSet,
    complexity: "O(log N) for each member, N being the size of the sorted set",
    summary: "Gives members scores, adding those that are not there, with conditions if asked.",
    ..Row::EMPTY
};

pub const ZCARD: Row = Row {
    name: "zcard",
    arity: 2,
    syntax: "key:key",
    flags: READONLY.or(FAST),
    cats: SORTEDSET,
    keys: &[KEY1_RO],
    since: "1.2.0",
    group: Group::SortedSet,
    complexity: "O(1)",
    summary: "Tells how many members a sorted set has.",
    ..Row::EMPTY
};

pub const ZINCRBY: Row = Row {
    name: "zincrby",
    arity: 4,
    syntax: "key:key increment:integer member",
    flags: WRITE.or(DENYOOM).or(FAST),
    cats: SORTEDSET,
    keys: &[KeySpec::at(1, RW.or(ACCESS).or(UPDATE))],
    element: 3,
    since: "1.2.0",
    group: Group::SortedSet,
    complexity: "O(log N), N being the size of the sorted set",
    summary: "Adds to the score of a member, which counts as 0 where it is not there.",
    ..Row::EMPTY
};

pub const ZMSCORE: Row = Row {
    name: "zmscore",
    arity: -3,
    syntax: "key:key member...",
    flags: READONLY.or(FAST),
    cats: SORTEDSET,
    keys: &[KEY1_RO_ACCESS],
    element: 2,
    since: "6.2.0",
    group: Group::SortedSet,
    complexity: "O(N), N being the number of members asked for",
    summary: "Tells the scores of several members.",
    ..Row::EMPTY
};

pub const ZRANDMEMBER: Row = Row {
    name: "zrandmember",
    arity: -2,
    syntax: "key:key [options:{count:integer [withscores:WITHSCORES]}]",
    flags: READONLY,
    cats: SORTEDSET,
    keys: &[KEY1_RO_ACCESS],
    tips: &["nondeterministic_output"],
    since: "6.2.0",
    group: Group::SortedSet,
    complexity: "O(M log N), M being the number of members returned and N the size of the sorted set",
    summary: "Tells members chosen by chance, with their scores if asked.",
    ..Row::EMPTY
};

pub const ZRANK: Row = Row {
    name: "zrank",
    arity: -3,
    syntax: "key:key member [withscore:WITHSCORE]",
    flags: READONLY.or(FAST),
    cats: SORTEDSET,
    keys: &[KEY1_RO_ACCESS],
    element: 2,
    since: "2.0.0",
    group: Group::SortedSet,
    complexity: "O(log N), N being the size of the sorted set",
    summary: "Tells how many members lie below one, and its score if asked.",
    ..Row::EMPTY
};

pub const ZREM: Row = Row {
    name: "zrem",
    arity: -3,
    syntax: "key:key member...",
    flags: WRITE.or(FAST),
    cats: SORTEDSET,
    keys: &[KEY1_RW_DELETE],
    element: 2,
    since: "1.2.0",
    group: Group::SortedSet,
    complexity: "O(M log N), M being the number of members removed and N the size of the sorted set",
    summary: "Removes members, and the key with the last of them.",
    ..Row::EMPTY
};

pub const ZREVRANK: Row = Row {
    name: "zrevrank",
    arity: -3,
    syntax: "key:key member [withscore:WITHSCORE]",
    flags: READONLY.or(FAST),
    cats: SORTEDSET,
    keys: &[KEY1_RO_ACCESS],
    element: 2,
    since: "2.0.0",
    group: Group::SortedSet,
    complexity: "O(log N), N being the size of the sorted set",
    summary: "Tells how many members lie above one, and its score if asked.",
    ..Row::EMPTY
};

pub const ZSCAN: Row = Row {
    name: "zscan",
    arity: -3,
    syntax: "key:key cursor:integer [pattern:pattern=MATCH] [count:integer=COUNT]",
    flags: READONLY,
    cats: SORTEDSET,
    keys: &[KEY1_RO_ACCESS],
    tips: &["nondeterministic_output"],
    since: "2.8.0",
    group: Group::SortedSet,
    complexity: "O(1) for each call, O(N) for all members",
    summary: "Walks over members and scores, a few at a time.",
    ..Row::EMPTY
};

pub const ZSCORE: Row = Row {
    name: "zscore",
    arity: 3,
    syntax: "key:key member",
    flags: READONLY.or(FAST),
    cats: SORTEDSET,
    keys: &[KEY1_RO_ACCESS],
    element: 2,
    since: "1.2.0",
    group: Group::SortedSet,
    complexity: "O(1)",
    summary: "Tells the score of a member.",
    ..Row::EMPTY
};

pub const COMMANDS: &[DataCommand] = &[
    command(&ZADD, zadd),
    command(&ZCARD, zcard),
    command(&ZINCRBY, zincrby),
    command(&ZMSCORE, zmscore),
    command(&ZRANDMEMBER, zrandmember),
    command(&ZRANK, zrank),
    command(&ZREM, zrem),
    command(&ZREVRANK, zrevrank),
    command(&ZSCAN, zscan),
    command(&ZSCORE, zscore),
];

/// Tells of a change of `n` members at once.
pub(super) fn changed(db: &mut Data<'_>, key: Key<'_>, event: &'static str, n: usize) {
    db.changed(key, EventClass::ZSET, event);
    db.unit.dirty += n.saturating_sub(1) as u64;
}

// ---- replies ----

#[inline]
pub(super) fn reply_member(out: &mut Reply, member: Item<'_>) {
    match member {
        Item::Int(n) => out.bulk_int(n),
        Item::Str(bytes) => out.bulk(bytes),
    }
}

/// Members, with their scores if they are asked for: pairs in RESP3, one after the other in RESP2.
pub(super) fn reply_members<'a>(
    out: &mut Reply,
    members: impl ExactSizeIterator<Item = (Item<'a>, f64)>,
    with_scores: bool,
) {
    let n = members.len();
    if !with_scores {
        out.array(n);
        for (member, _) in members {
            if out.is_full() {
                return;
            }
            reply_member(out, member);
        }
        return;
    }
    let pairs = out.proto() >= 3;
    out.array(if pairs { n } else { 2 * n });
    for (member, score) in members {
        if out.is_full() {
            return;
        }
        if pairs {
            out.array(2);
        }
        reply_member(out, member);
        out.double(score);
    }
}

fn reply_score(out: &mut Reply, score: Option<f64>) {
    match score {
        Some(score) => out.double(score),
        None => out.null(),
    }
}

// ---- adding and removing ----

/// A score as a client writes it.
#[inline]
pub(super) fn parse_score(word: &[u8]) -> Result<f64, Error> {
    // Whole numbers of up to 15 digits are doubles as they are.
    match number::parse_i64(word) {
        Some(n) if word.len() <= 15 => Ok(n as f64),
        _ => number::parse_f64(word).ok_or(Error::NotFloat),
    }
}

fn zadd(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    let (mut how, mut count_changed) = (How::default(), false);
    loop {
        match () {
            () if a.flag("NX") => how.nx = true,
            () if a.flag("XX") => how.xx = true,
            () if a.flag("CH") => count_changed = true,
            () if a.flag("INCR") => how.incr = true,
            () if a.flag("GT") => how.gt = true,
            () if a.flag("LT") => how.lt = true,
            () => break,
        }
    }
    add(db, key, a, how, count_changed, out)
}

fn zincrby(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    add(db, key, a, How { incr: true, ..How::default() }, false, out)
}

/// Scores and members are what is left of the words.
fn add(
    db: &mut Data<'_>,
    key: Key<'_>,
    a: &mut Args<'_>,
    how: How,
    count_changed: bool,
    out: &mut Reply,
) -> Result<Effect, Error> {
    let words = a.rest();
    let count = words.len() / 2;
    if count == 0 || words.len() % 2 == 1 {
        return Err(Error::Syntax);
    }
    if how.nx && how.xx {
        return Err(Error::text("ERR XX and NX options at the same time are not compatible"));
    }
    if ((how.gt || how.lt) && how.nx) || (how.gt && how.lt) {
        return Err(Error::text("ERR GT, LT, and/or NX options at the same time are not compatible"));
    }
    if how.incr && count > 1 {
        return Err(Error::text("ERR INCR option supports a single increment-element pair"));
    }
    let mut scores: SmallVec<[f64; 8]> = SmallVec::with_capacity(count);
    for i in 0..count {
        scores.push(parse_score(words.word(2 * i))?);
    }
    let members = scores.iter().enumerate().map(|(i, score)| (words.word(2 * i + 1), *score));
    add_scored(db, key, members, how, count_changed, out)
}

/// Adds members, of which there is at least one. GEOADD is ZADD with scores made of places.
pub(super) fn add_scored<'m>(
    db: &mut Data<'_>,
    key: Key<'_>,
    members: impl ExactSizeIterator<Item = (&'m [u8], f64)>,
    how: How,
    count_changed: bool,
    out: &mut Reply,
) -> Result<Effect, Error> {
    let limits = db.unit.limits;
    let (mut added, mut updated, mut last) = (0, 0, Added::Refused);
    let count = members.len();
    let mut members = members.peekable();
    let longest = members.peek().map_or(0, |(member, _)| member.len());
    let all = |set: &mut ZSet| {
        if set.is_empty() {
            *set = ZSet::sized(count, longest, &limits);
        } else {
            set.expect(count, &limits);
        }
        for (member, score) in members {
            last = set.add(member, score, how, &limits);
            match last {
                Added::New(_) => added += 1,
                Added::Updated(_) => updated += 1,
                Added::Same(_) | Added::Refused | Added::Nan => {}
            }
        }
    };
    if how.xx {
        db.edit(key, all)?;
    } else {
        db.edit_or_new(key, all)?;
    }
    if last == Added::Nan {
        return Err(Error::text("ERR resulting score is not a number (NaN)"));
    }
    if how.incr {
        match last {
            Added::New(score) | Added::Updated(score) | Added::Same(score) => out.double(score),
            Added::Refused | Added::Nan => out.null(),
        }
    } else {
        out.int(if count_changed { added + updated } else { added });
    }
    if added + updated > 0 {
        changed(db, key, if how.incr { "zincr" } else { "zadd" }, (added + updated) as usize);
    }
    Ok(Effect::verbatim_if(added + updated > 0))
}

fn zrem(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    let members = a.rest();
    let removed = db.edit(key, |set: &mut ZSet| members.iter().filter(|member| set.remove(member)).count())?;
    let removed = removed.unwrap_or_default();
    if removed > 0 {
        changed(db, key, "zrem", removed);
        db.remove_if_empty::<ZSet>(key);
    }
    out.int(removed as i64);
    Ok(Effect::verbatim_if(removed > 0))
}

// ---- looking ----

fn zcard(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    out.int(db.read::<ZSet>(key)?.map_or(0, ZSet::len) as i64);
    Ok(Effect::None)
}

fn zscore(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (key, member) = (a.key()?, a.next()?);
    reply_score(out, db.read::<ZSet>(key)?.and_then(|set| set.score(member)));
    Ok(Effect::None)
}

fn zmscore(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    let members = a.rest();
    let set = db.read::<ZSet>(key)?;
    out.array(members.len());
    members.iter().for_each(|member| reply_score(out, set.and_then(|set| set.score(member))));
    Ok(Effect::None)
}

fn zrank(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    rank(db, a, out, |rank, _| rank)
}

fn zrevrank(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    rank(db, a, out, |rank, len| len - 1 - rank)
}

fn rank(
    db: &mut Data<'_>,
    a: &mut Args<'_>,
    out: &mut Reply,
    counted: impl Fn(usize, usize) -> usize,
) -> Result<Effect, Error> {
    let (key, member) = (a.key()?, a.next()?);
    if a.left() > 1 {
        return Err(Error::Arity(a.name().to_owned()));
    }
    let with_score = a.flag("WITHSCORE");
    a.expect_end()?;
    let found = db.read::<ZSet>(key)?.and_then(|set| Some((set.rank(member)?, set.len())));
    match found {
        Some(((rank, score), len)) => {
            if with_score {
                out.array(2);
            }
            out.int(counted(rank, len) as i64);
            if with_score {
                out.double(score);
            }
        }
        None if with_score => out.null_array(),
        None => out.null(),
    }
    Ok(Effect::None)
}

fn zrandmember(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    if a.is_at_end() {
        let set = db.read::<ZSet>(key)?;
        match set.and_then(|set| set.get(rand::below(set.len() as u64) as usize)) {
            Some((member, _)) => reply_member(out, member),
            None => out.null(),
        }
        return Ok(Effect::None);
    }
    let count = a.next_i64()?;
    if count == i64::MIN {
        return Err(Error::text(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        ));
    }
    let with_scores = a.flag("WITHSCORES");
    a.expect_end()?;
    if with_scores && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(Error::OutOfRange);
    }
    match db.read::<ZSet>(key)? {
        None => out.array(0),
        Some(set) if count >= 0 => sample(set, count as usize, with_scores, out),
        Some(set) => {
            let picks =
                (0..count.unsigned_abs() as usize).map(|_| member_at(set, rand::below(set.len() as u64) as usize));
            reply_members(out, picks, with_scores);
        }
    }
    Ok(Effect::None)
}

/// The member of a rank that is below the size of the set.
fn member_at(set: &ZSet, rank: usize) -> (Item<'_>, f64) {
    set.get(rank).unwrap_or((Item::Str(b""), 0.0))
}

/// Different members, `count` of them or all there are.
fn sample(set: &ZSet, count: usize, with_scores: bool, out: &mut Reply) {
    let len = set.len();
    if count >= len {
        return reply_members(out, set.iter().rev(), with_scores);
    }
    let mut ranks: Vec<usize> = Vec::with_capacity(count);
    if count * 3 > len {
        // Each is taken with the chance that is left to it.
        for rank in 0..len {
            if rand::below((len - rank) as u64) < (count - ranks.len()) as u64 {
                ranks.push(rank);
            }
        }
    } else {
        // Floyd's way: as many draws as members.
        let mut seen = HashSet::with_capacity(count);
        for most in len - count..len {
            let rank = rand::below(most as u64 + 1) as usize;
            let rank = if seen.insert(rank) { rank } else { most };
            seen.insert(rank);
            ranks.push(rank);
        }
    }
    reply_members(out, ranks.into_iter().map(|rank| member_at(set, rank)), with_scores);
}

fn zscan(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    let cursor = scan::cursor(a)?;
    let Some(set) = db.read::<ZSet>(key)? else {
        Page::new(out).send(0, out);
        return Ok(Effect::None);
    };
    let options = scan::Options::parse(Walk::Members, a)?;
    let mut page = Page::new(out);
    let mut text = Vec::with_capacity(24);
    let next = set.scan(cursor, options.count, |member, score| {
        if options.matches(member) {
            page.bulk(member);
            text.clear();
            number::push_f64(&mut text, score);
            page.bulk(&text);
        }
    });
    page.send(next, out);
    Ok(Effect::None)
}
