//! Hashes: fields and their values. The expiry of fields is `hash_ttl`'s.
//!
//! How a hash is kept is `ds::hash`'s. A field whose time is over goes when a command of a master names it, as in Redis 8;
//! to all other looks it is hidden, but HLEN counts it.

use std::collections::HashSet;

use super::scan::{self, Options, Page, Walk};
use super::{DataCommand, Effect, command};
use crate::base::{Error, number, rand};
use crate::ds::hash::{Hash, NEVER, Pair, Ttl};
use crate::ds::listpack::Item;
use crate::keyspace::{Data, EventClass, ExpirePolicy, Key};
use crate::resp::Reply;
use crate::spec::prelude::*;

pub const HDEL: Row = Row {
    name: "hdel",
    arity: -3,
    syntax: "key:key field...",
    flags: WRITE.or(FAST),
    cats: HASH,
    keys: &[KEY1_RW_DELETE],
    element: 2,
    since: "2.0.0",
    group: Group::Hash,
    complexity: "O(1) a field",
    summary: "Removes fields from a hash; the key goes with the last of them.",
    ..Row::EMPTY
};

pub const HEXISTS: Row = Row {
    name: "hexists",
    arity: 3,
    syntax: "key:key field",
    flags: READONLY.or(FAST),
    cats: HASH,
    keys: &[KEY1_RO],
    element: 2,
    since: "2.0.0",
    group: Group::Hash,
    complexity: "O(1)",
    summary: "Tells whether a hash has a field.",
    ..Row::EMPTY
};

pub const HGET: Row = Row {
    name: "hget",
    arity: 3,
    syntax: "key:key field",
    flags: READONLY.or(FAST),
    cats: HASH,
    keys: &[KEY1_RO_ACCESS],
    element: 2,
    since: "2.0.0",
    group: Group::Hash,
    complexity: "O(1)",
    summary: "Tells the value of a field.",
    ..Row::EMPTY
};

pub const HGETALL: Row = Row {
    name: "hgetall",
    arity: 2,
    syntax: "key:key",
    flags: READONLY,
    cats: HASH,
    keys: &[KEY1_RO_ACCESS],
    tips: &["nondeterministic_output_order"],
    since: "2.0.0",
    group: Group::Hash,
    complexity: "O(N), N being the number of fields",
    summary: "Tells all fields of a hash and their values.",
    ..Row::EMPTY
};

pub const HINCRBY: Row = Row {
    name: "hincrby",
    arity: 4,
    syntax: "key:key field increment:integer",
    flags: WRITE.or(DENYOOM).or(FAST),
    cats: HASH,
    keys: &[KEY1_RW_ACCESS_UPDATE],
    element: 2,
    since: "2.0.0",
    group: Group::Hash,
    complexity: "O(1)",
    summary: "Adds a given number to the integer a field holds; no field counts as 0.",
    ..Row::EMPTY
};

pub const HINCRBYFLOAT: Row = Row {
    name: "hincrbyfloat",
    arity: 4,
    syntax: "key:key field increment:double",
    flags: WRITE.or(DENYOOM).or(FAST),
    cats: HASH,
    keys: &[KEY1_RW_ACCESS_UPDATE],
    element: 2,
    since: "2.6.0",
    group: Group::Hash,
    complexity: "O(1)",
    summary: "Adds a floating-point number to the number a field holds; no field counts as 0.",
    ..Row::EMPTY
};

pub const HKEYS: Row = Row {
    name: "hkeys",
    arity: 2,
    syntax: "key:key",
    flags: READONLY,
    cats: HASH,
    keys: &[KEY1_RO_ACCESS],
    tips: &["nondeterministic_output_order"],
    since: "2.0.0",
    group: Group::Hash,
    complexity: "O(N), N being the number of fields",
    summary: "Tells all fields of a hash.",
    ..Row::EMPTY
};

pub const HLEN: Row = Row {
    name: "hlen",
    arity: 2,
    syntax: "key:key",
    flags: READONLY.or(FAST),
    cats: HASH,
    keys: &[KEY1_RO],
    since: "2.0.0",
    group: Group::Hash,
    complexity: "O(1)",
    summary: "Tells how many fields a hash has.",
    ..Row::EMPTY
};

pub const HMGET: Row = Row {
    name: "hmget",
    arity: -3,
    syntax: "key:key field...",
    flags: READONLY.or(FAST),
    cats: HASH,
    keys: &[KEY1_RO_ACCESS],
    element: 2,
    since: "2.0.0",
    group: Group::Hash,
    complexity: "O(1) a field",
    summary: "Tells the values of several fields.",
    ..Row::EMPTY
};

pub const HMSET: Row = Row {
    name: "hmset",
    arity: -4,
    syntax: "key:key data:{field value}...",
    flags: WRITE.or(DENYOOM).or(FAST),
    cats: HASH,
    keys: &[KEY1_RW_UPDATE],
    element: 2,
    since: "2.0.0",
    group: Group::Hash,
    complexity: "O(1) a field",
    summary: "Sets fields of a hash.",
    doc: Doc::Deprecated { since: "4.0.0", replaced_by: "`HSET` with multiple field-value pairs" },
    ..Row::EMPTY
};

pub const HRANDFIELD: Row = Row {
    name: "hrandfield",
    arity: -2,
    syntax: "key:key [options:{count:integer [withvalues:WITHVALUES]}]",
    flags: READONLY,
    cats: HASH,
    keys: &[KEY1_RO_ACCESS],
    tips: &["nondeterministic_output"],
    since: "6.2.0",
    group: Group::Hash,
    complexity: "O(1) a field",
    summary: "Picks fields of a hash at random.",
    ..Row::EMPTY
};

pub const HSCAN: Row = Row {
    name: "hscan",
    arity: -3,
    syntax: "key:key cursor:integer [pattern:pattern=MATCH] [count:integer=COUNT] [novalues:NOVALUES]",
    flags: READONLY,
    cats: HASH,
    keys: &[KEY1_RO_ACCESS],
    tips: &["nondeterministic_output"],
    since: "2.8.0",
    group: Group::Hash,
    complexity: "O(1) a call, O(N) for a whole walk, N being the number of fields",
    summary: "Walks through the fields of a hash a few at a time.",
    ..Row::EMPTY
};

pub const HSET: Row = Row {
    name: "hset",
    arity: -4,
    syntax: "key:key data:{field value}...",
    flags: WRITE.or(DENYOOM).or(FAST),
    cats: HASH,
    keys: &[KEY1_RW_UPDATE],
    element: 2,
    since: "2.0.0",
    group: Group::Hash,
    complexity: "O(1) a field",
    summary: "Sets fields of a hash, which comes to be if it is not there.",
    ..Row::EMPTY
};

pub const HSETNX: Row = Row {
    name: "hsetnx",
    arity: 4,
    syntax: "key:key field value",
    flags: WRITE.or(DENYOOM).or(FAST),
    cats: HASH,
    keys: &[KEY1_RW_INSERT],
    element: 2,
    since: "2.0.0",
    group: Group::Hash,
    complexity: "O(1)",
    summary: "Sets a field unless it is there.",
    ..Row::EMPTY
};

pub const HSTRLEN: Row = Row {
    name: "hstrlen",
    arity: 3,
    syntax: "key:key field",
    flags: READONLY.or(FAST),
    cats: HASH,
    keys: &[KEY1_RO],
    element: 2,
    since: "3.2.0",
    group: Group::Hash,
    complexity: "O(1)",
    summary: "Tells the length of a field's value.",
    ..Row::EMPTY
};

pub const HVALS: Row = Row {
    name: "hvals",
    arity: 2,
    syntax: "key:key",
    flags: READONLY,
    cats: HASH,
    keys: &[KEY1_RO_ACCESS],
    tips: &["nondeterministic_output_order"],
    since: "2.0.0",
    group: Group::Hash,
    complexity: "O(N), N being the number of fields",
    summary: "Tells the values of all fields.",
    ..Row::EMPTY
};

pub const COMMANDS: &[DataCommand] = &[
    command(&HDEL, hdel),
    command(&HEXISTS, hexists),
    command(&HGET, hget),
    command(&HGETALL, hgetall),
    command(&HINCRBY, hincrby),
    command(&HINCRBYFLOAT, hincrbyfloat),
    command(&HKEYS, hkeys),
    command(&HLEN, hlen),
    command(&HMGET, hmget),
    command(&HMSET, hmset),
    command(&HRANDFIELD, hrandfield),
    command(&HSCAN, hscan),
    command(&HSET, hset),
    command(&HSETNX, hsetnx),
    command(&HSTRLEN, hstrlen),
    command(&HVALS, hvals),
];

/// The time at which fields are over for this unit. To the master's stream none ever is.
#[inline]
pub(super) fn sight(db: &Data<'_>) -> i64 {
    if db.unit.policy == ExpirePolicy::Ignore { NEVER } else { db.unit.now_ms }
}

/// To be called before these fields are looked at: on a master, they go if their time is over. As [`sight`].
#[inline]
pub(super) fn open<'f>(db: &mut Data<'_>, key: Key<'_>, fields: impl Iterator<Item = &'f [u8]>) -> i64 {
    db.expire_fields(key, fields);
    sight(db)
}

#[inline]
pub(super) fn bulk(out: &mut Reply, item: Option<Item<'_>>) {
    match item {
        Some(Item::Str(text)) => out.bulk(text),
        Some(Item::Int(number)) => out.bulk_int(number),
        None => out.null(),
    }
}

// ---- setting ----

/// Sets all pairs that follow the key. Gives how many fields are new.
fn set_pairs(db: &mut Data<'_>, a: &mut Args<'_>) -> Result<i64, Error> {
    let (key, pairs) = (a.key()?, a.rest());
    if !pairs.len().is_multiple_of(2) {
        return Err(Error::Arity(a.name().to_owned()));
    }
    let limits = db.unit.limits;
    let created = db.edit_or_new(key, |hash: &mut Hash| {
        hash.expect(pairs.len() / 2, &limits);
        // What is over but still there is no new field.
        let set = |i| i64::from(hash.set(pairs.word(i), pairs.word(i + 1), NEVER, &limits));
        (0..pairs.len()).step_by(2).map(set).sum()
    })?;
    db.changed(key, EventClass::HASH, "hset");
    db.unit.dirty += pairs.len() as u64 / 2 - 1;
    Ok(created)
}

fn hset(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    out.int(set_pairs(db, a)?);
    Ok(Effect::Verbatim)
}

fn hmset(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    set_pairs(db, a)?;
    out.ok();
    Ok(Effect::Verbatim)
}

fn hsetnx(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (key, field, value) = (a.key()?, a.next()?, a.next()?);
    let now = open(db, key, std::iter::once(field));
    let limits = db.unit.limits;
    let set =
        db.edit_or_new(key, |hash: &mut Hash| !hash.contains(field, now) && hash.set(field, value, now, &limits))?;
    if set {
        db.changed(key, EventClass::HASH, "hset");
    }
    out.int(set.into());
    Ok(Effect::verbatim_if(set))
}

fn hincrby(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (key, field, by) = (a.key()?, a.next()?, a.next_i64()?);
    let now = open(db, key, std::iter::once(field));
    let limits = db.unit.limits;
    let new = db.edit_or_new(key, |hash: &mut Hash| {
        let old = match hash.get(field, now) {
            None => 0,
            Some(Item::Int(number)) => number,
            Some(Item::Str(text)) => number::parse_i64(text).ok_or(Error::text("ERR hash value is not an integer"))?,
        };
        let new = old.checked_add(by).ok_or(Error::Overflow)?;
        hash.put(field, itoa::Buffer::new().format(new).as_bytes(), Ttl::Keep, now, &limits);
        Ok::<_, Error>(new)
    })??;
    db.changed(key, EventClass::HASH, "hincrby");
    out.int(new);
    Ok(Effect::Verbatim)
}

fn hincrbyfloat(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (key, field, by) = (a.key()?, a.next()?, a.next()?);
    number::incr_by_float(b"0", by).map_err(|e| match e {
        number::FloatError::NotFloat => Error::NotFloat,
        number::FloatError::NanOrInfinity => Error::text("ERR value is NaN or Infinity"),
    })?;
    let now = open(db, key, std::iter::once(field));
    let limits = db.unit.limits;
    let (new, timed) = db.edit_or_new(key, |hash: &mut Hash| {
        let (new, timed) = {
            let (old, mut text) = (hash.pair(field, now), itoa::Buffer::new());
            let value = old.as_ref().map_or(&b"0"[..], |pair| pair.value.bytes(&mut text));
            let new = number::incr_by_float(value, by).map_err(|e| match e {
                number::FloatError::NotFloat => Error::text("ERR hash value is not a float"),
                number::FloatError::NanOrInfinity => Error::NanOrInfinity,
            })?;
            (new, old.is_some_and(|pair| pair.expire_ms.is_some()))
        };
        hash.put(field, &new, Ttl::Keep, now, &limits);
        Ok::<_, Error>((new, timed))
    })??;
    db.changed(key, EventClass::HASH, "hincrbyfloat");
    out.bulk(&new);
    // The sum, not the addition: replicas must not add floats on their own.
    if timed {
        // HSET takes the expiry away.
        let words: [&[u8]; 7] = [b"HSETEX", key.bytes, b"KEEPTTL", b"FIELDS", b"1", field, &new];
        return Ok(Effect::rewrite(words));
    }
    Ok(Effect::rewrite([b"HSET", key.bytes, field, &new]))
}

fn hdel(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (key, fields) = (a.key()?, a.rest());
    let removed = db.edit(key, |hash: &mut Hash| fields.iter().filter(|field| hash.remove(field)).count())?;
    let removed = removed.unwrap_or(0);
    if removed > 0 {
        db.changed(key, EventClass::HASH, "hdel");
        db.unit.dirty += removed as u64 - 1;
        db.remove_if_empty::<Hash>(key);
    }
    out.int(removed as i64);
    Ok(Effect::verbatim_if(removed > 0))
}

// ---- asking ----

fn hget(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (key, field) = (a.key()?, a.next()?);
    let now = open(db, key, std::iter::once(field));
    bulk(out, db.read::<Hash>(key)?.and_then(|hash| hash.get(field, now)));
    Ok(Effect::None)
}

fn hmget(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (key, fields) = (a.key()?, a.rest());
    let now = open(db, key, fields.iter());
    let hash = db.read::<Hash>(key)?;
    out.array(fields.len());
    for field in fields.iter() {
        bulk(out, hash.and_then(|hash| hash.get(field, now)));
    }
    Ok(Effect::None)
}

fn hexists(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (key, field) = (a.key()?, a.next()?);
    let now = open(db, key, std::iter::once(field));
    out.int(db.read::<Hash>(key)?.is_some_and(|hash| hash.contains(field, now)).into());
    Ok(Effect::None)
}

fn hstrlen(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (key, field) = (a.key()?, a.next()?);
    let now = open(db, key, std::iter::once(field));
    let value = db.read::<Hash>(key)?.and_then(|hash| hash.get(field, now));
    out.int(value.map_or(0, |value| value.len()) as i64);
    Ok(Effect::None)
}

fn hlen(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    out.int(db.read::<Hash>(key)?.map_or(0, Hash::len) as i64);
    Ok(Effect::None)
}

fn hgetall(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    let now = sight(db);
    let hash = db.read::<Hash>(key)?;
    out.map(hash.map_or(0, |hash| hash.live_len(now)));
    for pair in hash.into_iter().flat_map(|hash| hash.live(now)) {
        bulk(out, Some(pair.field));
        bulk(out, Some(pair.value));
    }
    Ok(Effect::None)
}

/// One half of every pair.
fn halves(
    db: &mut Data<'_>,
    a: &mut Args<'_>,
    out: &mut Reply,
    half: for<'h> fn(Pair<'h>) -> Item<'h>,
) -> Result<Effect, Error> {
    let key = a.key()?;
    let now = sight(db);
    let hash = db.read::<Hash>(key)?;
    out.array(hash.map_or(0, |hash| hash.live_len(now)));
    for pair in hash.into_iter().flat_map(|hash| hash.live(now)) {
        bulk(out, Some(half(pair)));
    }
    Ok(Effect::None)
}

fn hkeys(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    halves(db, a, out, |pair| pair.field)
}

fn hvals(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    halves(db, a, out, |pair| pair.value)
}

fn hscan(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (key, cursor) = (a.key()?, scan::cursor(a)?);
    let now = sight(db);
    let mut page = Page::new(out);
    let Some(hash) = db.read::<Hash>(key)? else {
        // Nothing to walk through: nobody looks at the options.
        page.send(0, out);
        return Ok(Effect::None);
    };
    let options = Options::parse(Walk::Fields, a)?;
    let mut text = itoa::Buffer::new();
    let next = hash.scan(cursor, options.count, now, |pair| {
        let field = pair.field.bytes(&mut text);
        if options.matches(field) {
            page.bulk(field);
            if !options.no_values {
                page.bulk(pair.value.bytes(&mut itoa::Buffer::new()));
            }
        }
    });
    page.send(next, out);
    Ok(Effect::None)
}

// ---- at random ----

/// Fewer draws than one in so many fields are made one by one; more, by shuffling all.
const SPARSE: usize = 3;

/// HRANDFIELD takes away so many fields whose time is over, and passes over the rest.
const EXPIRED_AT_ONCE: usize = 1024;

fn hrandfield(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    if a.is_at_end() {
        db.expire_all_fields(key, EXPIRED_AT_ONCE);
        let now = sight(db);
        bulk(out, db.read::<Hash>(key)?.and_then(|hash| hash.random(now, rand::u64)).map(|pair| pair.field));
        return Ok(Effect::None);
    }
    let count = a.next_i64()?;
    if count == i64::MIN {
        return Err(Error::text(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        ));
    }
    let with_values = a.flag("WITHVALUES");
    a.expect_end()?;
    if with_values && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(Error::OutOfRange);
    }
    db.expire_all_fields(key, EXPIRED_AT_ONCE);
    let now = sight(db);
    let hash = db.read::<Hash>(key)?;
    let live = hash.map_or(0, |hash| hash.live_len(now));
    let Some(hash) = hash.filter(|_| live > 0 && count != 0) else {
        out.array(0);
        return Ok(Effect::None);
    };
    let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if count < 0 {
        begin(out, wanted, with_values);
        // A small hash is walked through once, not once a draw.
        let all: Option<Vec<Pair<'_>>> = (hash.encoding() != "hashtable").then(|| hash.live(now).collect());
        for _ in 0..wanted {
            if out.is_full() {
                break;
            }
            let drawn = match &all {
                Some(all) => all.get(rand::below(all.len() as u64) as usize).copied(),
                None => hash.random(now, rand::u64),
            };
            if let Some(pair) = drawn {
                put(out, pair, with_values);
            }
        }
        return Ok(Effect::None);
    }
    let wanted = wanted.min(live);
    begin(out, wanted, with_values);
    if wanted == live {
        hash.live(now).for_each(|pair| put(out, pair, with_values));
    } else if wanted.saturating_mul(SPARSE) < live && hash.encoding() == "hashtable" {
        let mut seen: HashSet<Vec<u8>> = HashSet::with_capacity(wanted);
        while seen.len() < wanted {
            let Some(pair) = hash.random(now, rand::u64) else { break };
            if seen.insert(pair.field.to_vec()) {
                put(out, pair, with_values);
            }
        }
    } else {
        let mut all: Vec<Pair<'_>> = hash.live(now).collect();
        for i in 0..wanted {
            let other = i + rand::below((all.len() - i) as u64) as usize;
            all.swap(i, other);
            put(out, all[i], with_values);
        }
    }
    Ok(Effect::None)
}

/// The head of the reply for so many fields: a client of RESP3 gets pairs, one of RESP2 a flat list.
fn begin(out: &mut Reply, fields: usize, with_values: bool) {
    let flat = with_values && out.proto() < 3;
    out.array(if flat { fields.saturating_mul(2) } else { fields });
}

fn put(out: &mut Reply, pair: Pair<'_>, with_values: bool) {
    if with_values && out.proto() >= 3 {
        out.array(2);
    }
    bulk(out, Some(pair.field));
    if with_values {
        bulk(out, Some(pair.value));
    }
}
