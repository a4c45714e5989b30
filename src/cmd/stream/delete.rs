//! Deleting entries by id: XDEL, XDELEX and XACKDEL.

use smallvec::SmallVec;

use super::super::{DataCommand, Effect, command};
use super::ids;
use super::trim_options::refs_of;
use crate::base::{Error, number};
use crate::ds::stream::{Deleted, Refs, Stream, StreamId};
use crate::keyspace::{Data, EventClass, Key};
use crate::resp::Reply;
use crate::spec::prelude::*;

pub const XACKDEL: Row = Row {
    name: "xackdel",
    arity: -6,
    syntax: "key:key group [condition:(keepref:KEEPREF|delref:DELREF|acked:ACKED)] ids:{numids:integer id...}=IDS",
    flags: WRITE.or(FAST),
    cats: STREAM,
    keys: &[KEY1_RW_DELETE],
    since: "8.2.0",
    group: Group::Stream,
    complexity: "O(1) for each id",
    summary: "Takes entries off a group's pending list, and deletes them.",
    ..Row::EMPTY
};

pub const XDEL: Row = Row {
    name: "xdel",
    arity: -3,
    syntax: "key:key id...",
    flags: WRITE.or(FAST),
    cats: STREAM,
    keys: &[KEY1_RW_DELETE],
    since: "5.0.0",
    group: Group::Stream,
    complexity: "O(1) for each id",
    summary: "Deletes entries of a stream and tells how many went.",
    ..Row::EMPTY
};

pub const XDELEX: Row = Row {
    name: "xdelex",
    arity: -5,
    syntax: "key:key [condition:(keepref:KEEPREF|delref:DELREF|acked:ACKED)] ids:{numids:integer id...}=IDS",
    flags: WRITE.or(FAST),
    cats: STREAM,
    keys: &[KEY1_RW_DELETE],
    since: "8.2.0",
    group: Group::Stream,
    complexity: "O(1) for each id",
    summary: "Deletes entries of a stream, with a choice of what becomes of what groups know of them.",
    ..Row::EMPTY
};

pub const COMMANDS: &[DataCommand] = &[command(&XACKDEL, xackdel), command(&XDEL, xdel), command(&XDELEX, xdelex)];

pub(super) type Ids = SmallVec<[StreamId; 8]>;

/// All the words that are left, as ids.
pub(super) fn all_ids(a: &mut Args<'_>) -> Result<Ids, Error> {
    a.rest().iter().map(|word| ids::strict(word, 0)).collect()
}

/// `[KEEPREF|DELREF|ACKED] IDS n id …`. The ids are words still: whether they are ids is asked after whether there is a
/// stream.
fn counted_ids<'a>(a: &mut Args<'a>) -> Result<(Refs, SmallVec<[&'a [u8]; 8]>), Error> {
    let (mut refs, mut found) = (None, None);
    while !a.is_at_end() {
        let word = a.next()?;
        if let Some(given) = refs_of(word) {
            if refs.replace(given).is_some() {
                return Err(Error::Syntax);
            }
        } else if word.eq_ignore_ascii_case(b"IDS") && !a.is_at_end() {
            let count = number::parse_i64(a.next()?).and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
            let count = count.ok_or(const { Error::text("ERR Number of IDs must be a positive integer") })?;
            if count > a.left() {
                return Err(const { Error::text("ERR The `numids` parameter must match the number of arguments") });
            }
            // Said twice, the last counts.
            found = Some((0..count).map(|_| a.next()).collect::<Result<_, Error>>()?);
        } else {
            return Err(Error::Syntax);
        }
    }
    Ok((refs.unwrap_or_default(), found.ok_or(Error::Syntax)?))
}

fn parsed(words: &[&[u8]]) -> Result<Ids, Error> {
    words.iter().map(|word| ids::strict(word, 0)).collect()
}

/// Of each id that there is no such entry.
fn reply_absent(out: &mut Reply, ids: usize) -> Effect {
    out.array(ids);
    (0..ids).for_each(|_| out.int(code(Deleted::Absent)));
    Effect::None
}

/// Tells of entries that went.
fn deleted(db: &mut Data<'_>, key: Key<'_>, count: usize) {
    if count > 0 {
        db.changed(key, EventClass::STREAM, "xdel");
        db.unit.dirty += count as u64 - 1;
    }
}

fn xdel(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    if db.view::<Stream>(key)?.is_none() {
        out.int(0);
        return Ok(Effect::None);
    }
    let ids = all_ids(a)?;
    let count = db.edit(key, |stream: &mut Stream| stream.delete(&ids, Refs::Keep, |_| {}))?.unwrap_or(0);
    deleted(db, key, count);
    out.int(count as i64);
    Ok(Effect::verbatim_if(count > 0))
}

/// An entry's fate as XDELEX and XACKDEL tell it.
fn code(fate: Deleted) -> i64 {
    match fate {
        Deleted::Absent => -1,
        Deleted::Yes => 1,
        Deleted::Referenced => 2,
    }
}

fn xdelex(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    let there = db.view::<Stream>(key)?.is_some();
    let (refs, words) = counted_ids(a)?;
    if !there {
        return Ok(reply_absent(out, words.len()));
    }
    let ids = parsed(&words)?;
    let mut codes: SmallVec<[i64; 8]> = SmallVec::new();
    let done = db.edit(key, |stream: &mut Stream| {
        let forgotten = if refs == Refs::Drop { stream.forget(&ids) } else { 0 };
        (stream.delete(&ids, refs, |fate| codes.push(code(fate))), forgotten)
    })?;
    codes.resize(ids.len(), -1);
    out.array(codes.len());
    codes.iter().for_each(|code| out.int(*code));
    let (count, forgotten) = done.unwrap_or_default();
    deleted(db, key, count);
    if count == 0 {
        db.unit.dirty += forgotten as u64;
    }
    Ok(Effect::verbatim_if(count + forgotten > 0))
}

fn xackdel(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    let name = a.next()?;
    let there = db.view::<Stream>(key)?.is_some_and(|stream| stream.group(name).is_some());
    let (refs, words) = counted_ids(a)?;
    if !there {
        return Ok(reply_absent(out, words.len()));
    }
    let ids = parsed(&words)?;
    let done = db.edit(key, |stream: &mut Stream| {
        let Some(group) = stream.group_mut(name) else { return (SmallVec::new(), 0, 0) };
        let acked: SmallVec<[bool; 8]> = ids.iter().map(|id| group.ack(*id).is_some()).collect();
        // Whoever still waits for an entry that is gone already waits no more.
        let forgotten = if refs == Refs::Drop { stream.forget(&ids) } else { 0 };
        let known: Ids = ids.iter().zip(&acked).filter(|(_, acked)| **acked).map(|(id, _)| *id).collect();
        let mut fates: SmallVec<[Deleted; 8]> = SmallVec::new();
        let count = stream.delete(&known, refs, |fate| fates.push(fate));
        let mut fates = fates.into_iter();
        let mut fate = || match fates.next() {
            Some(Deleted::Referenced) => 2,
            // Acknowledged is acknowledged, though the entry may have been deleted before.
            _ => 1,
        };
        let codes: SmallVec<[i64; 8]> = acked.iter().map(|acked| if *acked { fate() } else { -1 }).collect();
        (codes, known.len() + forgotten, count)
    })?;
    let (mut codes, acked, count) = done.unwrap_or_default();
    codes.resize(ids.len(), -1);
    out.array(codes.len());
    codes.iter().for_each(|code| out.int(*code));
    db.unit.dirty += acked as u64;
    deleted(db, key, count);
    Ok(Effect::verbatim_if(acked > 0))
}
