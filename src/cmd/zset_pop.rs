//! What takes members off the ends of sorted sets: ZPOPMIN, ZMPOP and their kin, and those that wait for members.

use super::first_of::{self, Asked, keys_and_timeout};
use super::zset::{changed, reply_member};
use super::{DataCommand, Effect, OnTimeout, command, timeout_ms};
use crate::base::{Error, number};
use crate::ds::zset::ZSet;
use crate::keyspace::{Data, Key, Type};
use crate::resp::Reply;
use crate::spec::prelude::*;

pub const BZMPOP: Row = Row {
    name: "bzmpop",
    arity: -5,
    syntax: "timeout:double numkeys:integer key:key... where:(min:MIN|max:MAX) [count:integer=COUNT]",
    flags: WRITE.or(BLOCKING),
    cats: SORTEDSET,
    keys: &[KeySpec::at(2, RW.or(ACCESS).or(DELETE)).counted()],
    since: "7.0.0",
    group: Group::SortedSet,
    complexity: "O(K + M log N), K being the number of keys, M that of members removed and N the size of the sorted set",
    summary: "Removes members with the lowest or highest scores from one of several keys, and waits for some if there are none.",
    ..Row::EMPTY
};

pub const BZPOPMAX: Row = Row {
    name: "bzpopmax",
    arity: -3,
    syntax: "key:key... timeout:double",
    flags: WRITE.or(BLOCKING).or(FAST),
    cats: SORTEDSET,
    keys: &[KeySpec::at(1, RW.or(ACCESS).or(DELETE)).through(-2)],
    since: "5.0.0",
    group: Group::SortedSet,
    complexity: "O(log N), N being the size of the sorted set",
    summary: "Removes the member with the highest score from one of several keys, and waits for one if there is none.",
    ..Row::EMPTY
};

pub const BZPOPMIN: Row = Row {
    name: "bzpopmin",
    arity: -3,
    syntax: "key:key... timeout:double",
    flags: WRITE.or(BLOCKING).or(FAST),
    cats: SORTEDSET,
    keys: &[KeySpec::at(1, RW.or(ACCESS).or(DELETE)).through(-2)],
    since: "5.0.0",
    group: Group::SortedSet,
    complexity: "O(log N), N being the size of the sorted set",
    summary: "Removes the member with the lowest score from one of several keys, and waits for one if there is none.",
    ..Row::EMPTY
};

pub const ZMPOP: Row = Row {
    name: "zmpop",
    arity: -4,
    syntax: "numkeys:integer key:key... where:(min:MIN|max:MAX) [count:integer=COUNT]",
    flags: WRITE,
    cats: SORTEDSET,
    keys: &[KeySpec::at(1, RW.or(ACCESS).or(DELETE)).counted()],
    since: "7.0.0",
    group: Group::SortedSet,
    complexity: "O(K + M log N), K being the number of keys, M that of members removed and N the size of the sorted set",
    summary: "Removes members with the lowest or highest scores from the first of several keys that has any.",
    ..Row::EMPTY
};

pub const ZPOPMAX: Row = Row {
    name: "zpopmax",
    arity: -2,
    syntax: "key:key [count:integer]",
    flags: WRITE.or(FAST),
    cats: SORTEDSET,
    keys: &[KEY1_RW_ACCESS_DELETE],
    since: "5.0.0",
    group: Group::SortedSet,
    complexity: "O(M log N), M being the number of members removed and N the size of the sorted set",
    summary: "Removes the members with the highest scores and tells them.",
    ..Row::EMPTY
};

pub const ZPOPMIN: Row = Row {
    name: "zpopmin",
    arity: -2,
    syntax: "key:key [count:integer]",
    flags: WRITE.or(FAST),
    cats: SORTEDSET,
    keys: &[KEY1_RW_ACCESS_DELETE],
    since: "5.0.0",
    group: Group::SortedSet,
    complexity: "O(M log N), M being the number of members removed and N the size of the sorted set",
    summary: "Removes the members with the lowest scores and tells them.",
    ..Row::EMPTY
};

pub const COMMANDS: &[DataCommand] = &[
    command(&BZMPOP, bzmpop),
    command(&BZPOPMAX, bzpopmax),
    command(&BZPOPMIN, bzpopmin),
    command(&ZMPOP, zmpop),
    command(&ZPOPMAX, zpopmax),
    command(&ZPOPMIN, zpopmin),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Min,
    Max,
}

impl End {
    fn event(self) -> &'static str {
        match self {
            End::Min => "zpopmin",
            End::Max => "zpopmax",
        }
    }

    fn command(self) -> &'static str {
        match self {
            End::Min => "ZPOPMIN",
            End::Max => "ZPOPMAX",
        }
    }
}

/// How members and scores stand in the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// One after the other.
    Flat,
    /// One after the other, behind the key.
    KeyAndFlat,
    /// In pairs.
    Pairs,
    /// The key, then an array of pairs.
    KeyAndPairs,
}

/// Takes up to `count` members, at least one, off an end, and replies with them. How many there were.
fn pop(
    db: &mut Data<'_>,
    key: Key<'_>,
    end: End,
    count: usize,
    shape: Shape,
    out: &mut Reply,
) -> Result<Option<usize>, Error> {
    let popped = db.edit(key, |set: &mut ZSet| {
        let (len, n) = (set.len(), count.min(set.len()));
        match shape {
            Shape::Flat => out.array(2 * n),
            Shape::Pairs => out.array(n),
            Shape::KeyAndFlat => {
                out.array(2 * n + 1);
                out.bulk(key.bytes);
            }
            Shape::KeyAndPairs => {
                out.array(2);
                out.bulk(key.bytes);
                out.array(n);
            }
        }
        let ranks = match end {
            End::Min => 0..n,
            End::Max => len - n..len,
        };
        let mut members = set.range(ranks.clone());
        while let Some((member, score)) = if end == End::Min { members.next() } else { members.next_back() } {
            if matches!(shape, Shape::Pairs | Shape::KeyAndPairs) {
                out.array(2);
            }
            reply_member(out, member);
            out.double(score);
        }
        set.remove_range(ranks);
        n
    })?;
    if let Some(n) = popped {
        changed(db, key, end.event(), n);
        db.remove_if_empty::<ZSet>(key);
    }
    Ok(popped)
}

fn pop_one_key(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply, end: End) -> Result<Effect, Error> {
    let key = a.key()?;
    if a.left() > 1 {
        return Err(Error::Syntax);
    }
    let count = match a.peek() {
        Some(word) => Some(number::parse_i64(word).and_then(|n| usize::try_from(n).ok()).ok_or(Error::NotPositive)?),
        None => None,
    };
    let shape = if count.is_some() && out.proto() >= 3 { Shape::Pairs } else { Shape::Flat };
    if count == Some(0) {
        db.view::<ZSet>(key)?;
        out.array(0);
        return Ok(Effect::None);
    }
    let popped = pop(db, key, end, count.unwrap_or(1), shape, out)?;
    if popped.is_none() {
        out.array(0);
    }
    Ok(Effect::verbatim_if(popped.is_some()))
}

fn zpopmin(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    pop_one_key(db, a, out, End::Min)
}

fn zpopmax(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    pop_one_key(db, a, out, End::Max)
}

// ---- several keys ----

fn end(a: &mut Args<'_>) -> Result<End, Error> {
    if a.flag("MIN") {
        Ok(End::Min)
    } else if a.flag("MAX") {
        Ok(End::Max)
    } else {
        Err(Error::Syntax)
    }
}

/// Pops from the first key that has members.
fn pop_first(
    db: &mut Data<'_>,
    keys: &[Key<'_>],
    end: End,
    count: usize,
    shape: Shape,
    out: &mut Reply,
) -> Result<Option<Effect>, Error> {
    for key in keys {
        let Some(n) = pop(db, *key, end, count, shape, out)? else { continue };
        let count = number::IntText::new().format(n).to_owned();
        let words: [&[u8]; 3] = [end.command().as_bytes(), key.bytes, count.as_bytes()];
        // A lone member is told without a count, as the commands without one have it.
        let told = if shape == Shape::KeyAndFlat { 2 } else { 3 };
        return Ok(Some(Effect::rewrite(&words[..told])));
    }
    Ok(None)
}

fn zmpop(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let asked = Asked::parse(a, end)?;
    match pop_first(db, &asked.keys, asked.end, asked.count, Shape::KeyAndPairs, out)? {
        Some(effect) => Ok(effect),
        None => {
            out.null_array();
            Ok(Effect::None)
        }
    }
}

// ---- waiting ----

fn wait(keys: &[Key<'_>], timeout_ms: i64) -> Effect {
    first_of::wait(Type::ZSet, keys, timeout_ms, OnTimeout::NullArray)
}

fn pop_or_wait(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply, end: End) -> Result<Effect, Error> {
    let (keys, timeout_ms) = keys_and_timeout(db, a)?;
    let effect = pop_first(db, &keys, end, 1, Shape::KeyAndFlat, out)?;
    Ok(effect.unwrap_or_else(|| wait(&keys, timeout_ms)))
}

fn bzpopmin(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    pop_or_wait(db, a, out, End::Min)
}

fn bzpopmax(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    pop_or_wait(db, a, out, End::Max)
}

fn bzmpop(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let timeout = a.next()?;
    let asked = Asked::parse(a, end)?;
    let timeout_ms = timeout_ms(db, timeout)?;
    let effect = pop_first(db, &asked.keys, asked.end, asked.count, Shape::KeyAndPairs, out)?;
    Ok(effect.unwrap_or_else(|| wait(&asked.keys, timeout_ms)))
}
