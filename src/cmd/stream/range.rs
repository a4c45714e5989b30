//! Reading by id: XLEN, XRANGE and XREVRANGE.

use super::super::{DataCommand, Effect, command};
use super::{ids, reply_entry};
use crate::base::Error;
use crate::ds::stream::{Entry, Stream};
use crate::keyspace::Data;
use crate::resp::Reply;
use crate::spec::prelude::*;

pub const XLEN: Row = Row {
    name: "xlen",
    arity: 2,
    syntax: "key:key",
    flags: READONLY.or(FAST),
    cats: STREAM,
    keys: &[KEY1_RO],
    since: "5.0.0",
    group: Group::Stream,
    complexity: "O(1)",
    summary: "Tells how many entries a stream has.",
    ..Row::EMPTY
};

pub const XRANGE: Row = Row {
    name: "xrange",
    arity: -4,
    syntax: "key:key start end [count:integer=COUNT]",
    flags: READONLY,
    cats: STREAM,
    keys: &[KEY1_RO_ACCESS],
    since: "5.0.0",
    group: Group::Stream,
    complexity: "O(log(N)+M), M being the number of entries that are told",
    summary: "Tells the entries of a stream from one id to another.",
    ..Row::EMPTY
};

pub const XREVRANGE: Row = Row {
    name: "xrevrange",
    arity: -4,
    syntax: "key:key end start [count:integer=COUNT]",
    flags: READONLY,
    cats: STREAM,
    keys: &[KEY1_RO_ACCESS],
    since: "5.0.0",
    group: Group::Stream,
    complexity: "O(log(N)+M), M being the number of entries that are told",
    summary: "Tells the entries of a stream from one id to another, the latest first.",
    ..Row::EMPTY
};

pub const COMMANDS: &[DataCommand] = &[command(&XLEN, xlen), command(&XRANGE, xrange), command(&XREVRANGE, xrevrange)];

fn xlen(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let len = db.read::<Stream>(a.key()?)?.map_or(0, Stream::len);
    out.int(len as i64);
    Ok(Effect::None)
}

fn xrange(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    range(db, a, out, false)
}

fn xrevrange(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    range(db, a, out, true)
}

fn range(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply, back: bool) -> Result<Effect, Error> {
    let key = a.key()?;
    let (one, other) = (a.next()?, a.next()?);
    let (from, to) = if back { (other, one) } else { (one, other) };
    let (from, to) = (ids::start(from)?, ids::end(to)?);
    let mut count = None;
    while !a.is_at_end() {
        if !a.option("COUNT") {
            return Err(Error::Syntax);
        }
        count = Some(a.next_i64()?.max(0) as usize);
    }
    let Some(stream) = db.read::<Stream>(key)? else {
        out.array(0);
        return Ok(Effect::None);
    };
    if count == Some(0) {
        out.null_array();
        return Ok(Effect::None);
    }
    let count = count.unwrap_or(usize::MAX);
    if back {
        reply_entries(out, stream.range_back(from, to).take(count));
    } else {
        reply_entries(out, stream.range(from, to).take(count));
    }
    Ok(Effect::None)
}

/// Entries as an array. Gives how many there were.
pub(super) fn reply_entries<'a>(out: &mut Reply, entries: impl Iterator<Item = Entry<'a>>) -> usize {
    let head = out.deferred_array();
    let mut n = 0;
    for entry in entries {
        reply_entry(out, &entry);
        n += 1;
    }
    out.set_len(head, n);
    n
}
