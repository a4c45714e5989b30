//! Strings that are written or removed only if they are what a client believes them to be: the conditions of SET, DELEX and
//! DELIFEQ, and the digest by which a long string is compared without being sent.
//!
//! Knows nothing of how SET goes on.

use twox_hash::XxHash3_64;

use super::{DataCommand, Effect, command};
use crate::base::Error;
use crate::keyspace::{Data, Entry, Key, Type, ValueRef};
use crate::resp::Reply;
use crate::spec::prelude::*;

pub const DELEX: Row = Row {
    name: "delex",
    arity: -2,
    syntax: "key:key [condition:(ifeq-value=IFEQ|ifne-value=IFNE|ifdeq-digest=IFDEQ|ifdne-digest=IFDNE)]",
    flags: WRITE.or(FAST),
    cats: STRING,
    keys: &[KeySpec::at(1, RW.or(DELETE).or(VARIABLE_FLAGS))],
    since: "8.4.0",
    group: Group::String,
    complexity: "O(1), and with IFDEQ and IFDNE O(N), N being the string's length",
    summary: "Removes a key, on request only if its string or the digest of it is the given one, or is not.",
    ..Row::EMPTY
};

pub const DELIFEQ: Row = Row {
    name: "delifeq",
    arity: 3,
    syntax: "key:key value",
    flags: WRITE.or(FAST),
    cats: STRING,
    keys: &[KeySpec::at(1, RM.or(DELETE))],
    since: "9.0.0",
    group: Group::String,
    complexity: "O(1)",
    summary: "Removes a key if its string equals the given one.",
    ..Row::EMPTY
};

pub const DIGEST: Row = Row {
    name: "digest",
    arity: 2,
    syntax: "key:key",
    flags: READONLY.or(FAST),
    cats: STRING,
    keys: &[KeySpec::at(1, RO.or(ACCESS))],
    since: "8.4.0",
    group: Group::String,
    complexity: "O(N), N being the string's length",
    summary: "Tells the digest of a string, by which conditions of SET and DELEX know it.",
    ..Row::EMPTY
};

pub const COMMANDS: &[DataCommand] = &[command(&DELEX, delex), command(&DELIFEQ, delifeq), command(&DIGEST, digest)];

const BAD_CONDITION: Error = Error::text("ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE");
const BAD_DIGEST: Error = Error::text("ERR must be exactly 16 hexadecimal characters");
const NO_STRING: Error = Error::text("ERR Key should be of string type if conditions are specified");

/// What a string must be.
#[derive(Clone, Copy)]
pub(super) enum Comparison<'a> {
    Equal(&'a [u8]),
    NotEqual(&'a [u8]),
    /// The same of its digest, in sixteen digits of either case.
    Digest(&'a [u8]),
    NotDigest(&'a [u8]),
}

impl<'a> Comparison<'a> {
    /// Reads a condition and its value, if one comes next.
    pub(super) fn option(a: &mut Args<'a>) -> Result<Option<Comparison<'a>>, Error> {
        Ok(Some(match () {
            () if a.option("IFEQ") => Comparison::Equal(a.next()?),
            () if a.option("IFNE") => Comparison::NotEqual(a.next()?),
            () if a.option("IFDEQ") => Comparison::Digest(a.next()?),
            () if a.option("IFDNE") => Comparison::NotDigest(a.next()?),
            () => return Ok(None),
        }))
    }

    /// What is not there equals nothing. As in stock servers a digest is looked at only where there is something to compare
    /// it with, and then only its length can be wrong.
    pub(super) fn is_met(self, value: Option<ValueRef<'_>>) -> Result<bool, Error> {
        let mut text = itoa::Buffer::new();
        let string = value.map(|value| value.as_str(&mut text));
        let digest_is = |want: &[u8]| match string {
            Some(_) if want.len() != DIGEST_LEN => Err(BAD_DIGEST),
            Some(string) => Ok(digest_of(string).as_bytes().eq_ignore_ascii_case(want)),
            None => Ok(false),
        };
        match self {
            Comparison::Equal(want) => Ok(string == Some(want)),
            Comparison::NotEqual(want) => Ok(string != Some(want)),
            Comparison::Digest(want) => digest_is(want),
            Comparison::NotDigest(want) => digest_is(want).map(|equal| !equal),
        }
    }
}

const DIGEST_LEN: usize = 16;

fn digest_of(string: &[u8]) -> String {
    format!("{:016x}", XxHash3_64::oneshot(string))
}

fn digest(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    match db.get_str(key)? {
        Some(value) => {
            out.bulk(digest_of(value.as_str(&mut itoa::Buffer::new())).as_bytes());
        }
        None => out.null(),
    }
    Ok(Effect::None)
}

fn delex(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    if !matches!(a.left(), 0 | 2) {
        return Err(Error::Arity(DELEX.name.to_owned()));
    }
    let gone = if a.is_at_end() {
        db.find(key).is_some()
    } else if let Some(value) = db.find(key).map(Entry::value) {
        if value.kind() != Type::String {
            return Err(NO_STRING);
        }
        Comparison::option(a)?.ok_or(BAD_CONDITION)?.is_met(Some(value))?
    } else {
        false
    };
    remove_if(db, key, gone, out)
}

fn delifeq(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (key, want) = (a.key()?, a.next()?);
    let value = db.find(key).map(Entry::value);
    if value.is_some_and(|value| value.kind() != Type::String) {
        return Err(Error::WrongType);
    }
    let equal = Comparison::Equal(want).is_met(value)?;
    remove_if(db, key, equal, out)
}

fn remove_if(db: &mut Data<'_>, key: Key<'_>, gone: bool, out: &mut Reply) -> Result<Effect, Error> {
    out.int(i64::from(gone));
    if !gone {
        return Ok(Effect::None);
    }
    db.delete(key);
    Ok(Effect::gone(key, false))
}
