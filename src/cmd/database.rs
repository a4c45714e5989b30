//! Whole databases: FLUSHDB, FLUSHALL, SWAPDB.

use super::{DataCommand, Effect, command};
use crate::base::{Error, number};
use crate::keyspace::Data;
use crate::resp::Reply;
use crate::spec::prelude::*;

pub const FLUSHALL: Row = Row {
    name: "flushall",
    arity: -1,
    syntax: "[flush-type:(async:ASYNC@4.0.0|sync:SYNC@6.2.0)]",
    flags: WRITE.or(EXCLUSIVE).or(LONG),
    cats: KEYSPACE.or(DANGEROUS),
    tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
    complexity: "O(N), N being the number of keys in all databases",
    summary: "Removes all keys of all databases.",
    ..Row::EMPTY
};

pub const FLUSHDB: Row = Row {
    name: "flushdb",
    arity: -1,
    syntax: "[flush-type:(async:ASYNC@4.0.0|sync:SYNC@6.2.0)]",
    flags: WRITE.or(EXCLUSIVE).or(LONG),
    cats: KEYSPACE.or(DANGEROUS),
    tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
    complexity: "O(N), N being the number of keys in the database",
    summary: "Removes all keys of the database.",
    ..Row::EMPTY
};

pub const SWAPDB: Row = Row {
    name: "swapdb",
    arity: 3,
    syntax: "index1:integer index2:integer",
    flags: WRITE.or(FAST).or(EXCLUSIVE),
    cats: KEYSPACE.or(DANGEROUS),
    since: "4.0.0",
    complexity: "O(N), N being the number of clients that watch or wait for keys of the two",
    summary: "Makes two databases change places.",
    ..Row::EMPTY
};

pub const COMMANDS: &[DataCommand] =
    &[command(&FLUSHALL, flushall), command(&FLUSHDB, flushdb), command(&SWAPDB, swapdb)];

/// SYNC and ASYNC are the same here: what was flushed is always freed by another thread.
fn mode(a: &mut Args<'_>) -> Result<(), Error> {
    if !a.is_at_end() && !a.flag("SYNC") && !a.flag("ASYNC") {
        return Err(Error::Syntax);
    }
    a.expect_end()
}

fn flushdb(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    mode(a)?;
    db.flush();
    out.ok();
    Ok(Effect::Verbatim)
}

fn flushall(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    mode(a)?;
    let mine = db.db;
    for n in 0..db.databases() {
        db.db = n;
        db.flush();
    }
    db.db = mine;
    db.unit.flushed_all = true;
    out.ok();
    Ok(Effect::Verbatim)
}

fn swapdb(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let mut index = |text: &'static str| {
        let n = number::parse_i64(a.next()?).ok_or(Error::text(text))?;
        usize::try_from(n).map_err(|_| Error::DbIndex)
    };
    let (first, second) = (index("ERR invalid first DB index")?, index("ERR invalid second DB index")?);
    if first.max(second) >= db.databases() {
        return Err(Error::DbIndex);
    }
    db.swap(first, second);
    out.ok();
    Ok(Effect::Verbatim)
}
