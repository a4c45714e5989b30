//! Strings as numbers: INCR and its kin.

use super::{DataCommand, Effect, command};
use crate::base::{Error, number};
use crate::keyspace::{Data, Entry, EventClass, Key, Type, ValueRef};
use crate::resp::Reply;
use crate::spec::prelude::*;

pub const DECR: Row = Row {
    name: "decr",
    arity: 2,
    syntax: "key:key",
    flags: WRITE.or(DENYOOM).or(FAST),
    cats: STRING,
    keys: &[KEY1_RW_ACCESS_UPDATE],
    group: Group::String,
    complexity: "O(1)",
    summary: "Takes one from the integer a string holds; no key counts as 0.",
    ..Row::EMPTY
};

pub const DECRBY: Row = Row {
    name: "decrby",
    arity: 3,
    syntax: "key:key decrement:integer",
    flags: WRITE.or(DENYOOM).or(FAST),
    cats: STRING,
    keys: &[KEY1_RW_ACCESS_UPDATE],
    group: Group::String,
    complexity: "O(1)",
    summary: "Takes a given number from the integer a string holds; no key counts as 0.",
    ..Row::EMPTY
};

pub const INCR: Row = Row {
    name: "incr",
    arity: 2,
    syntax: "key:key",
    flags: WRITE.or(DENYOOM).or(FAST),
    cats: STRING,
    keys: &[KEY1_RW_ACCESS_UPDATE],
    group: Group::String,
    complexity: "O(1)",
    summary: "Adds one to the integer a string holds; no key counts as 0.",
    ..Row::EMPTY
};

pub const INCRBY: Row = Row {
    name: "incrby",
    arity: 3,
    syntax: "key:key increment:integer",
    flags: WRITE.or(DENYOOM).or(FAST),
    cats: STRING,
    keys: &[KEY1_RW_ACCESS_UPDATE],
    group: Group::String,
    complexity: "O(1)",
    summary: "Adds a given number to the integer a string holds; no key counts as 0.",
    ..Row::EMPTY
};

pub const INCRBYFLOAT: Row = Row {
    name: "incrbyfloat",
    arity: 3,
    syntax: "key:key increment:double",
    flags: WRITE.or(DENYOOM).or(FAST),
    cats: STRING,
    keys: &[KEY1_RW_ACCESS_UPDATE],
    since: "2.6.0",
    group: Group::String,
    complexity: "O(1)",
    summary: "Adds a floating-point number to the number a string holds; no key counts as 0.",
    ..Row::EMPTY
};

pub const COMMANDS: &[DataCommand] = &[
    command(&DECR, decr),
    command(&DECRBY, decrby),
    command(&INCR, incr),
    command(&INCRBY, incrby),
    command(&INCRBYFLOAT, incrbyfloat),
];

fn incr_by(db: &mut Data<'_>, key: Key<'_>, by: i64, out: &mut Reply) -> Result<Effect, Error> {
    let old = match db.find(key).map(Entry::value) {
        None => None,
        Some(ValueRef::Int(n)) => Some(n),
        Some(ValueRef::Str(v)) => Some(number::parse_i64(v).ok_or(Error::NotInteger)?),
        Some(ValueRef::Large(_)) => return Err(Error::NotInteger),
        Some(_) => return Err(Error::WrongType),
    };
    let new = old.unwrap_or(0).checked_add(by).ok_or(Error::Overflow)?;
    if old.is_some() {
        db.update(key, |e| e.set_int(new));
    } else {
        db.put(key, Entry::int(key.bytes, new, None));
    }
    db.changed(key, EventClass::STRING, "incrby");
    out.int(new);
    Ok(Effect::Verbatim)
}

fn incr(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    incr_by(db, key, 1, out)
}

fn decr(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    incr_by(db, key, -1, out)
}

fn incrby(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (key, by) = (a.key()?, a.next_i64()?);
    incr_by(db, key, by, out)
}

fn decrby(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (key, by) = (a.key()?, a.next_i64()?);
    let by = by.checked_neg().ok_or(Error::text("ERR decrement would overflow"))?;
    incr_by(db, key, by, out)
}

fn incrbyfloat(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (key, by) = (a.key()?, a.next()?);
    let mut text = itoa::Buffer::new();
    let new = {
        let old = db.find(key).map(Entry::value);
        if old.is_some_and(|v| v.kind() != Type::String) {
            return Err(Error::WrongType);
        }
        let old = old.as_ref().map_or(&b"0"[..], |v| v.as_str(&mut text));
        number::incr_by_float(old, by).map_err(|e| match e {
            number::FloatError::NotFloat => Error::NotFloat,
            number::FloatError::NanOrInfinity => Error::NanOrInfinity,
        })?
    };
    // The sum stays text even where it is whole.
    if db.update(key, |e| e.set_text(&new)).is_none() {
        db.put(key, Entry::text(key.bytes, &new, None));
    }
    db.changed(key, EventClass::STRING, "incrbyfloat");
    out.bulk(&new);
    // The sum, not the addition: replicas must not add floats on their own.
    Ok(Effect::rewrite([b"SET", key.bytes, &new, b"KEEPTTL"]))
}
