//! HyperLogLogs: PFADD, PFCOUNT, PFMERGE, and the two that look inside.
//!
//! They are strings to everybody else; what is in them is `ds::hll`'s business.

use smallvec::SmallVec;

use super::{DataCommand, Effect, command};
use crate::base::{Error, rand};
use crate::ds::hll::{self, Corrupt, Form, Registers};
use crate::keyspace::{Data, Entry, EventClass, Key, ValueRef};
use crate::resp::Reply;
use crate::spec::prelude::*;

pub const PFADD: Row = Row {
    name: "pfadd",
    arity: -2,
    syntax: "key:key [element...]",
    flags: WRITE.or(DENYOOM).or(FAST),
    cats: HYPERLOGLOG,
    keys: &[KEY1_RW_INSERT],
    since: "2.8.9",
    group: Group::HyperLogLog,
    complexity: "O(1) for each element",
    summary: "Adds elements to a HyperLogLog, creating it where there is none.",
    ..Row::EMPTY
};

pub const PFCOUNT: Row = Row {
    name: "pfcount",
    arity: -2,
    syntax: "key:key...",
    flags: READONLY.or(MAY_REPLICATE),
    cats: HYPERLOGLOG,
    keys: &[KeySpec::at(1, RW.or(ACCESS)).through(-1).noted("Writes the count it found into the key, if it is alone")],
    since: "2.8.9",
    group: Group::HyperLogLog,
    complexity: "O(1) for one key whose count is known, otherwise O(N), N being the number of keys",
    summary: "Estimates how many different elements one or several HyperLogLogs have seen.",
    ..Row::EMPTY
};

pub const PFDEBUG: Row = Row {
    name: "pfdebug",
    arity: 3,
    syntax: "subcommand key:key",
    flags: WRITE.or(DENYOOM).or(ADMIN),
    cats: HYPERLOGLOG,
    keys: &[KeySpec::at(2, RW.or(ACCESS))],
    since: "2.8.9",
    group: Group::HyperLogLog,
    complexity: "Grows with the number of registers",
    summary: "Shows the registers of a HyperLogLog, or makes it dense.",
    doc: Doc::System,
    ..Row::EMPTY
};

pub const PFMERGE: Row = Row {
    name: "pfmerge",
    arity: -2,
    syntax: "destkey:key [sourcekey:key#1...]",
    flags: WRITE.or(DENYOOM),
    cats: HYPERLOGLOG,
    keys: &[KeySpec::at(1, RW.or(ACCESS).or(INSERT)), KeySpec::at(2, RO.or(ACCESS)).through(-1)],
    since: "2.8.9",
    group: Group::HyperLogLog,
    complexity: "O(N), N being the number of keys",
    summary: "Unites HyperLogLogs into one of them.",
    ..Row::EMPTY
};

pub const PFSELFTEST: Row = Row {
    name: "pfselftest",
    arity: 1,
    flags: ADMIN,
    cats: HYPERLOGLOG,
    since: "2.8.9",
    group: Group::HyperLogLog,
    complexity: "A second or so",
    summary: "Tries whether HyperLogLogs hold and estimate what they should.",
    doc: Doc::System,
    ..Row::EMPTY
};

pub const COMMANDS: &[DataCommand] = &[
    command(&PFADD, pfadd),
    command(&PFCOUNT, pfcount),
    command(&PFDEBUG, pfdebug),
    command(&PFMERGE, pfmerge),
    command(&PFSELFTEST, pfselftest),
];

const CORRUPT: Error = Error::text("INVALIDOBJ Corrupted HLL object detected");

impl From<Corrupt> for Error {
    fn from(Corrupt: Corrupt) -> Self {
        CORRUPT
    }
}

/// The bytes of a value that is a HyperLogLog, as far as its beginning tells.
fn hll_of(value: ValueRef<'_>) -> Result<(&[u8], Form), Error> {
    let bytes = match value {
        ValueRef::Str(bytes) => bytes,
        ValueRef::Large(bytes) => &bytes[..],
        ValueRef::Int(_) => &[],
        _ => return Err(Error::WrongType),
    };
    let form = hll::form(bytes);
    form.map(|form| (bytes, form)).ok_or(Error::text("WRONGTYPE Key is not a valid HyperLogLog string value."))
}

/// Changes a HyperLogLog that is there: a dense one where it lies, a sparse one in a copy, since it may grow.
fn edit<R>(
    db: &mut Data<'_>,
    key: Key<'_>,
    sparse: impl FnOnce(&mut Vec<u8>) -> Result<R, Corrupt>,
    dense: impl FnOnce(&mut [u8]) -> R,
) -> Result<R, Error> {
    let edited = db.update(key, |e| {
        let (bytes, form) = hll_of(e.value())?;
        if form == Form::Dense {
            return Ok(e.edit_bytes(dense));
        }
        let mut value = Vec::with_capacity(bytes.len() + 8);
        value.extend_from_slice(bytes);
        let result = sparse(&mut value)?;
        e.set_raw(value);
        Ok(result)
    });
    edited.unwrap_or(Err(Error::NoSuchKey))
}

type Places = SmallVec<[hll::Place; 16]>;

/// How many of the places raised a register.
fn add_all(value: &mut Vec<u8>, places: &[hll::Place], limit: usize) -> Result<u64, Corrupt> {
    let mut raised = 0;
    for place in places {
        raised += u64::from(hll::add(value, *place, limit)?);
    }
    hll::invalidate(value);
    Ok(raised)
}

fn pfadd(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    let limit = db.unit.limits.hll_sparse_bytes;
    let places: Places = a.rest().iter().map(hll::place).collect();
    let changes = match db.find(key).map(Entry::value) {
        None => {
            let mut value = hll::empty();
            let raised = add_all(&mut value, &places, limit)?;
            db.put(key, Entry::raw(key.bytes, value));
            raised + 1
        }
        Some(value) => {
            let (bytes, _) = hll_of(value)?;
            // Most elements were seen before: nothing is copied for them.
            let mut rising = Places::new();
            for place in places {
                if hll::improves(bytes, place)? {
                    rising.push(place);
                }
            }
            if rising.is_empty() {
                out.int(0);
                return Ok(Effect::None);
            }
            let dense = |bytes: &mut [u8]| {
                hll::invalidate(bytes);
                rising.iter().map(|place| u64::from(hll::add_dense(bytes, *place))).sum()
            };
            edit(db, key, |value| add_all(value, &rising, limit), dense)?
        }
    };
    db.changed(key, EventClass::STRING, "pfadd");
    db.unit.dirty += changes - 1;
    out.int(1);
    Ok(Effect::Verbatim)
}

fn pfcount(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    if a.left() > 1 {
        let mut registers = Registers::default();
        while !a.is_at_end() {
            let key = a.key()?;
            if let Some(value) = db.get(key).map(Entry::value) {
                registers.raise_to(hll_of(value)?.0)?;
            }
        }
        out.int(registers.count() as i64);
        return Ok(Effect::None);
    }
    let key = a.key()?;
    let Some(value) = db.get(key).map(Entry::value) else {
        out.int(0);
        return Ok(Effect::None);
    };
    let (bytes, _) = hll_of(value)?;
    if let Some(count) = hll::cached(bytes) {
        out.int(count as i64);
        return Ok(Effect::None);
    }
    let count = hll::count(bytes)?;
    db.update(key, |e| e.edit_bytes(|bytes| hll::set_cached(bytes, count)));
    db.changed(key, EventClass::NONE, "");
    out.int(count as i64);
    // The count is part of the value: replicas must hold the same bytes.
    Ok(Effect::Verbatim)
}

fn pfmerge(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let target = a.key()?;
    let limit = db.unit.limits.hll_sparse_bytes;
    let (mut registers, mut dense, mut exists) = (Registers::default(), false, false);
    let mut key = target;
    loop {
        if let Some(value) = db.get(key).map(Entry::value) {
            let (bytes, form) = hll_of(value)?;
            registers.raise_to(bytes)?;
            dense |= form == Form::Dense;
            exists |= key.bytes == target.bytes;
        }
        if a.is_at_end() {
            break;
        }
        key = a.key()?;
    }
    let store = |value: &mut Vec<u8>| {
        if dense {
            hll::to_dense(value)?;
        }
        registers.store(value, limit)
    };
    if exists {
        edit(db, target, store, |bytes| registers.store_dense(bytes))?;
    } else {
        let mut value = hll::empty();
        store(&mut value)?;
        db.put(target, Entry::raw(target.bytes, value));
    }
    db.changed(target, EventClass::STRING, "pfadd");
    out.ok();
    Ok(Effect::Verbatim)
}

fn pfdebug(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (what, key) = (a.next()?, a.key()?);
    let Some(value) = db.find(key).map(Entry::value) else {
        return Err(Error::text("ERR The specified key does not exist"));
    };
    let (bytes, form) = hll_of(value)?;
    match () {
        () if what.eq_ignore_ascii_case(b"getreg") => {
            let mut registers = Registers::default();
            registers.raise_to(bytes)?;
            let effect = make_dense(db, key)?;
            out.array(registers.ranks().len());
            registers.ranks().iter().for_each(|rank| out.int(i64::from(*rank)));
            Ok(effect)
        }
        () if what.eq_ignore_ascii_case(b"decode") => {
            if form != Form::Sparse {
                return Err(Error::text("ERR HLL encoding is not sparse"));
            }
            out.bulk(hll::decode(bytes)?.as_bytes());
            Ok(Effect::None)
        }
        () if what.eq_ignore_ascii_case(b"encoding") => {
            out.simple(if form == Form::Dense { "dense" } else { "sparse" });
            Ok(Effect::None)
        }
        () if what.eq_ignore_ascii_case(b"todense") => {
            let effect = make_dense(db, key)?;
            out.int(i64::from(form == Form::Sparse));
            Ok(effect)
        }
        () => {
            let what = String::from_utf8_lossy(what);
            Err(Error::Text(format!("ERR Unknown PFDEBUG subcommand '{what}'").into()))
        }
    }
}

/// Makes a sparse one dense. Nobody is told but the replicas.
fn make_dense(db: &mut Data<'_>, key: Key<'_>) -> Result<Effect, Error> {
    let sparse = |value: &mut Vec<u8>| hll::to_dense(value).map(|()| true);
    let converted = edit(db, key, sparse, |_| false)?;
    db.unit.dirty += u64::from(converted);
    Ok(Effect::verbatim_if(converted))
}

/// Stock tries ten times as many, during which it answers nobody.
const SELFTEST_ELEMENTS: u64 = 1_000_000;

fn pfselftest(db: &mut Data<'_>, _: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let limit = db.unit.limits.hll_sparse_bytes;
    match hll::selftest(rand::u64, limit, SELFTEST_ELEMENTS) {
        Ok(()) => out.ok(),
        Err(failure) => return Err(Error::Text(format!("ERR TESTFAILED {failure}").into())),
    }
    Ok(Effect::None)
}
