//! The expiry of fields: as Redis 8.0 answers it, and HSETEX with the conditions on the key that Valkey has.
//!
//! What has no time left is removed at once and told to replicas as an HDEL for each field; every other expiry is told as an
//! instant.

use super::hash::{bulk, open, sight};
use super::{DataCommand, Effect, command};
use crate::base::{Error, number};
use crate::ds::hash::{Hash, NEVER, Ttl};
use crate::keyspace::{Data, EventClass, ExpirePolicy, Key};
use crate::resp::{Argv, OwnedArgv, Reply};
use crate::spec::prelude::*;

pub const HEXPIRE: Row = Row {
    name: "hexpire",
    arity: -6,
    syntax: "key:key seconds:integer [condition:(nx:NX|xx:XX|gt:GT|lt:LT)] fields:{numfields:integer field...}=FIELDS",
    flags: WRITE.or(FAST),
    cats: HASH,
    keys: &[KEY1_RW_UPDATE],
    since: "7.4.0",
    group: Group::Hash,
    complexity: "O(1) a field",
    summary: "Gives fields a time to live, in seconds.",
    ..Row::EMPTY
};

pub const HEXPIREAT: Row = Row {
    name: "hexpireat",
    arity: -6,
    syntax: "key:key unix-time-seconds:unix-time [condition:(nx:NX|xx:XX|gt:GT|lt:LT)] \
        fields:{numfields:integer field...}=FIELDS",
    flags: WRITE.or(FAST),
    cats: HASH,
    keys: &[KEY1_RW_UPDATE],
    since: "7.4.0",
    group: Group::Hash,
    complexity: "O(1) a field",
    summary: "Lets fields expire at a Unix time in seconds.",
    ..Row::EMPTY
};

pub const HEXPIRETIME: Row = Row {
    name: "hexpiretime",
    arity: -5,
    syntax: "key:key fields:{numfields:integer field...}=FIELDS",
    flags: READONLY.or(FAST),
    cats: HASH,
    keys: &[KEY1_RO_ACCESS],
    since: "7.4.0",
    group: Group::Hash,
    complexity: "O(1) a field",
    summary: "Tells the Unix times in seconds at which fields expire.",
    ..Row::EMPTY
};

pub const HGETDEL: Row = Row {
    name: "hgetdel",
    arity: -5,
    syntax: "key:key fields:{numfields:integer field...}=FIELDS",
    flags: WRITE.or(FAST),
    cats: HASH,
    keys: &[KEY1_RW_ACCESS_DELETE],
    since: "8.0.0",
    group: Group::Hash,
    complexity: "O(1) a field",
    summary: "Tells the values of fields and removes them.",
    ..Row::EMPTY
};

pub const HGETEX: Row = Row {
    name: "hgetex",
    arity: -5,
    syntax: "key:key [expiration:(seconds:integer=EX|milliseconds:integer=PX|unix-time-seconds:unix-time=EXAT|\
        unix-time-milliseconds:unix-time=PXAT|persist:PERSIST)] fields:{numfields:integer field...}=FIELDS",
    flags: WRITE.or(FAST),
    cats: HASH,
    keys: &[KEY1_RW_ACCESS_UPDATE.noted("RW and UPDATE because it changes the TTL")],
    since: "8.0.0",
    group: Group::Hash,
    complexity: "O(1) a field",
    summary: "Tells the values of fields and sets or removes their expiry.",
    ..Row::EMPTY
};

pub const HPERSIST: Row = Row {
    name: "hpersist",
    arity: -5,
    syntax: "key:key fields:{numfields:integer field...}=FIELDS",
    flags: WRITE.or(FAST),
    cats: HASH,
    keys: &[KEY1_RW_UPDATE],
    since: "7.4.0",
    group: Group::Hash,
    complexity: "O(1) a field",
    summary: "Removes the expiry of fields.",
    ..Row::EMPTY
};

pub const HPEXPIRE: Row = Row {
    name: "hpexpire",
    arity: -6,
    syntax: "key:key milliseconds:integer [condition:(nx:NX|xx:XX|gt:GT|lt:LT)] \
        fields:{numfields:integer field...}=FIELDS",
    flags: WRITE.or(FAST),
    cats: HASH,
    keys: &[KEY1_RW_UPDATE],
    since: "7.4.0",
    group: Group::Hash,
    complexity: "O(1) a field",
    summary: "Gives fields a time to live, in milliseconds.",
    ..Row::EMPTY
};

pub const HPEXPIREAT: Row = Row {
    name: "hpexpireat",
    arity: -6,
    syntax: "key:key unix-time-milliseconds:unix-time [condition:(nx:NX|xx:XX|gt:GT|lt:LT)] \
        fields:{numfields:integer field...}=FIELDS",
    flags: WRITE.or(FAST),
    cats: HASH,
    keys: &[KEY1_RW_UPDATE],
    since: "7.4.0",
    group: Group::Hash,
    complexity: "O(1) a field",
    summary: "Lets fields expire at a Unix time in milliseconds.",
    ..Row::EMPTY
};

pub const HPEXPIRETIME: Row = Row {
    name: "hpexpiretime",
    arity: -5,
    syntax: "key:key fields:{numfields:integer field...}=FIELDS",
    flags: READONLY.or(FAST),
    cats: HASH,
    keys: &[KEY1_RO_ACCESS],
    since: "7.4.0",
    group: Group::Hash,
    complexity: "O(1) a field",
    summary: "Tells the Unix times in milliseconds at which fields expire.",
    ..Row::EMPTY
};

pub const HPTTL: Row = Row {
    name: "hpttl",
    arity: -5,
    syntax: "key:key fields:{numfields:integer field...}=FIELDS",
    flags: READONLY.or(FAST),
    cats: HASH,
    keys: &[KEY1_RO_ACCESS],
    tips: &["nondeterministic_output"],
    since: "7.4.0",
    group: Group::Hash,
    complexity: "O(1) a field",
    summary: "Tells how long fields have to live, in milliseconds.",
    ..Row::EMPTY
};

pub const HSETEX: Row = Row {
    name: "hsetex",
    arity: -6,
    syntax: "key:key [condition:(fnx:FNX|fxx:FXX)] [expiration:(seconds:integer=EX|milliseconds:integer=PX|\
        unix-time-seconds:unix-time=EXAT|unix-time-milliseconds:unix-time=PXAT|keepttl:KEEPTTL)] \
        fields:{numfields:integer data:{field value}...}=FIELDS",
    flags: WRITE.or(DENYOOM).or(FAST),
    cats: HASH,
    keys: &[KEY1_RW_UPDATE],
    since: "8.0.0",
    group: Group::Hash,
    complexity: "O(1) a field",
    summary: "Sets fields together with their expiry, if it is wanted only if they are there or are not.",
    ..Row::EMPTY
};

pub const HTTL: Row = Row {
    name: "httl",
    arity: -5,
    syntax: "key:key fields:{numfields:integer field...}=FIELDS",
    flags: READONLY.or(FAST),
    cats: HASH,
    keys: &[KEY1_RO_ACCESS],
    tips: &["nondeterministic_output"],
    since: "7.4.0",
    group: Group::Hash,
    complexity: "O(1) a field",
    summary: "Tells how long fields have to live, in seconds.",
    ..Row::EMPTY
};

pub const COMMANDS: &[DataCommand] = &[
    command(&HEXPIRE, |db, a, out| expire(db, a, out, Unit::Seconds, Base::Now)),
    command(&HEXPIREAT, |db, a, out| expire(db, a, out, Unit::Seconds, Base::Epoch)),
    command(&HEXPIRETIME, |db, a, out| ttl(db, a, out, Unit::Seconds, Base::Epoch)),
    command(&HGETDEL, hgetdel),
    command(&HGETEX, hgetex),
    command(&HPERSIST, hpersist),
    command(&HPEXPIRE, |db, a, out| expire(db, a, out, Unit::Millis, Base::Now)),
    command(&HPEXPIREAT, |db, a, out| expire(db, a, out, Unit::Millis, Base::Epoch)),
    command(&HPEXPIRETIME, |db, a, out| ttl(db, a, out, Unit::Millis, Base::Epoch)),
    command(&HPTTL, |db, a, out| ttl(db, a, out, Unit::Millis, Base::Now)),
    command(&HSETEX, hsetex),
    command(&HTTL, |db, a, out| ttl(db, a, out, Unit::Seconds, Base::Now)),
];

/// The latest expiry that stock servers take: 46 bits.
const LATEST_MS: i64 = ((1 << 48) - 2) >> 2;

/// What the commands answer for each field.
const NO_FIELD: i64 = -2;
const NO_TTL: i64 = -1;
const NOT_MET: i64 = 0;
const DONE: i64 = 1;
const REMOVED: i64 = 2;

const FIELDS_MISPLACED: Error = Error::text("ERR Mandatory argument FIELDS is missing or not at the right position");
const FIELDS_MISCOUNTED: Error = Error::text("ERR The `numfields` parameter must match the number of arguments");

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Seconds,
    Millis,
}

/// What a time counts from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Base {
    Now,
    Epoch,
}

/// The instant that a number of the request means. `name` is the command's, for the error.
fn instant(number: i64, unit: Unit, base: Base, now_ms: i64, name: &'static str) -> Result<i64, Error> {
    if number < 0 {
        return Err(Error::text("ERR invalid expire time, must be >= 0"));
    }
    let span_ms = if unit == Unit::Seconds { number.checked_mul(1000) } else { Some(number) };
    let base_ms = if base == Base::Now { now_ms } else { 0 };
    let at = span_ms.and_then(|ms| ms.checked_add(base_ms)).filter(|at| *at <= LATEST_MS);
    at.ok_or(Error::InvalidExpire(name))
}

/// `FIELDS numfields field…`, to the end. `few` is the error for a count that is none.
fn fields<'a>(a: &mut Args<'a>, few: Error) -> Result<Argv<'a>, Error> {
    if !a.flag("FIELDS") {
        return Err(FIELDS_MISPLACED);
    }
    let count = a.next().ok().and_then(number::parse_i64).filter(|n| *n > 0).ok_or(few)?;
    if usize::try_from(count) != Ok(a.left()) {
        return Err(FIELDS_MISCOUNTED);
    }
    Ok(a.rest())
}

const FEW: Error = Error::text("ERR Number of fields must be a positive integer");
const FEW_TO_EXPIRE: Error = Error::text("ERR Parameter `numFields` should be greater than 0");

/// A request with fields at its end.
fn request(head: &[&[u8]], fields: Argv<'_>) -> OwnedArgv {
    let mut argv = OwnedArgv::from_words(head);
    fields.iter().for_each(|field| argv.push(field));
    argv
}

/// What Redis 8.0 tells of fields that had no time left: each by itself.
fn each_gone<'f>(key: Key<'_>, fields: impl Iterator<Item = &'f [u8]>) -> Effect {
    let mut told: Vec<OwnedArgv> = fields.map(|field| OwnedArgv::from_words([b"HDEL", key.bytes, field])).collect();
    if told.len() > 1 { Effect::Many(told) } else { told.pop().map_or(Effect::None, Effect::Rewrite) }
}

/// Tells that fields were removed, and lets the key go with the last of them.
fn removed(db: &mut Data<'_>, key: Key<'_>, fields: usize) {
    db.changed(key, EventClass::HASH, "hdel");
    db.unit.dirty += fields as u64 - 1;
    db.remove_if_empty::<Hash>(key);
}

fn changed(db: &mut Data<'_>, key: Key<'_>, event: &'static str, fields: usize) {
    db.changed(key, EventClass::HASH, event);
    db.unit.dirty += fields as u64 - 1;
}

/// Whether what has no time left is to go at once. On a replica it stays until the master says so.
fn is_past(db: &Data<'_>, at: i64) -> bool {
    at <= db.unit.now_ms && db.unit.policy == ExpirePolicy::Delete
}

// ---- asking ----

fn ttl(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply, unit: Unit, base: Base) -> Result<Effect, Error> {
    let key = a.key()?;
    let now = sight(db);
    let base_ms = if base == Base::Now { db.unit.now_ms } else { 0 };
    let hash = db.read::<Hash>(key)?;
    let fields = fields(a, FEW)?;
    out.array(fields.len());
    for field in fields.iter() {
        let pair = hash.and_then(|hash| hash.pair(field, now));
        out.int(match pair.map(|pair| pair.expire_ms) {
            None => NO_FIELD,
            Some(None) => NO_TTL,
            Some(Some(at)) if unit == Unit::Seconds => (at - base_ms + 999) / 1000,
            Some(Some(at)) => at - base_ms,
        });
    }
    Ok(Effect::None)
}

// ---- setting and removing an expiry ----

#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Always,
    /// The field has no expiry yet.
    None,
    /// It has one.
    Some,
    Later,
    /// No expiry counts as the latest.
    Earlier,
}

impl Condition {
    fn is_met(self, old: Option<i64>, new: i64) -> bool {
        match self {
            Self::Always => true,
            Self::None => old.is_none(),
            Self::Some => old.is_some(),
            Self::Later => old.is_some_and(|old| new > old),
            Self::Earlier => old.is_none_or(|old| new < old),
        }
    }
}

fn expire(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply, unit: Unit, base: Base) -> Result<Effect, Error> {
    let key = a.key()?;
    db.view::<Hash>(key)?;
    let at = instant(a.next_i64()?, unit, base, db.unit.now_ms, a.name())?;
    let (condition, word): (Condition, &[u8]) = match a.peek().unwrap_or_default() {
        w if w.eq_ignore_ascii_case(b"NX") => (Condition::None, w),
        w if w.eq_ignore_ascii_case(b"XX") => (Condition::Some, w),
        w if w.eq_ignore_ascii_case(b"GT") => (Condition::Later, w),
        w if w.eq_ignore_ascii_case(b"LT") => (Condition::Earlier, w),
        _ => (Condition::Always, b""),
    };
    a.skip(usize::from(condition != Condition::Always));
    let fields = fields(a, FEW_TO_EXPIRE)?;
    let now = sight(db);
    let past = is_past(db, at);
    let results: Option<Vec<i64>> = db.edit(key, |hash: &mut Hash| {
        hash.make_timed();
        let one = |field| match hash.pair(field, now).map(|pair| pair.expire_ms) {
            None => NO_FIELD,
            Some(old) if !condition.is_met(old, at) => NOT_MET,
            Some(_) if past => {
                hash.remove(field);
                REMOVED
            }
            Some(_) => {
                hash.set_expire_ms(field, Some(at));
                DONE
            }
        };
        fields.iter().map(one).collect()
    })?;
    let results = results.unwrap_or_else(|| vec![NO_FIELD; fields.len()]);
    out.array(results.len());
    results.iter().for_each(|result| out.int(*result));
    let with = |wanted: i64| fields.iter().zip(&results).filter(move |(_, result)| **result == wanted).map(|(f, _)| f);
    let (set, gone) = (with(DONE).count(), with(REMOVED).count());
    if gone > 0 {
        removed(db, key, gone);
        return Ok(each_gone(key, with(REMOVED)));
    }
    if set == 0 {
        return Ok(Effect::None);
    }
    changed(db, key, "hexpire", set);
    let mut argv = OwnedArgv::from_words([b"HPEXPIREAT", key.bytes, itoa::Buffer::new().format(at).as_bytes()]);
    if condition != Condition::Always {
        argv.push(word);
    }
    argv.push(b"FIELDS");
    argv.push(itoa::Buffer::new().format(set).as_bytes());
    with(DONE).for_each(|field| argv.push(field));
    Ok(Effect::Rewrite(argv))
}

fn hpersist(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    db.view::<Hash>(key)?;
    let fields = fields(a, FEW)?;
    let now = sight(db);
    let results: Option<Vec<i64>> = db.edit(key, |hash: &mut Hash| {
        let one = |field| match hash.pair(field, now).map(|pair| pair.expire_ms) {
            None => NO_FIELD,
            Some(None) => NO_TTL,
            Some(Some(_)) => {
                hash.set_expire_ms(field, None);
                DONE
            }
        };
        fields.iter().map(one).collect()
    })?;
    let results = results.unwrap_or_else(|| vec![NO_FIELD; fields.len()]);
    out.array(results.len());
    results.iter().for_each(|result| out.int(*result));
    let done = results.contains(&DONE);
    if !done {
        return Ok(Effect::None);
    }
    db.changed(key, EventClass::HASH, "hpersist");
    // A field whose time is over is there for a replica: it must not be kept there.
    let over = results.contains(&NO_FIELD).then(|| fields.iter().zip(&results).filter(|(_, r)| **r != NO_FIELD));
    let Some(kept) = over else { return Ok(Effect::Verbatim) };
    let kept: Vec<&[u8]> = kept.map(|(field, _)| field).collect();
    let mut argv = OwnedArgv::from_words([b"HPERSIST", key.bytes, b"FIELDS"]);
    argv.push(itoa::Buffer::new().format(kept.len()).as_bytes());
    kept.into_iter().for_each(|field| argv.push(field));
    Ok(Effect::Rewrite(argv))
}

// ---- together with values ----

/// The word before an expiry, as [`Unit`] and [`Base`].
fn expiry_word(a: &mut Args<'_>) -> Option<(Unit, Base)> {
    let kinds = [
        ("EX", Unit::Seconds, Base::Now),
        ("PX", Unit::Millis, Base::Now),
        ("EXAT", Unit::Seconds, Base::Epoch),
        ("PXAT", Unit::Millis, Base::Epoch),
    ];
    kinds.into_iter().find(|(word, ..)| a.flag(word)).map(|(_, unit, base)| (unit, base))
}

fn hgetex(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    db.view::<Hash>(key)?;
    let mut persist = false;
    let at = match expiry_word(a) {
        Some((unit, base)) => Some(instant(a.next_i64()?, unit, base, db.unit.now_ms, a.name())?),
        None => {
            persist = a.flag("PERSIST");
            None
        }
    };
    let fields = fields(a, FEW)?;
    let now = open(db, key, fields.iter());
    let there = db.read::<Hash>(key)?;
    out.array(fields.len());
    if there.is_none() || (at.is_none() && !persist) {
        fields.iter().for_each(|field| bulk(out, there.and_then(|hash| hash.get(field, now))));
        return Ok(Effect::None);
    }
    let past = at.is_some_and(|at| is_past(db, at));
    let touched = db.edit(key, |hash: &mut Hash| {
        hash.make_timed();
        // One by one: what is removed is not there any more if it is named again.
        let one = |field: &&[u8]| {
            let pair = hash.pair(field, now);
            bulk(out, pair.map(|pair| pair.value));
            let wanted = pair.is_some_and(|pair| !persist || pair.expire_ms.is_some());
            wanted && if past { hash.remove(field) } else { hash.set_expire_ms(field, at) }
        };
        fields.iter().filter(one).collect::<Vec<&[u8]>>()
    })?;
    let touched = touched.unwrap_or_default();
    if touched.is_empty() {
        return Ok(Effect::None);
    }
    let count = touched.len();
    if past {
        removed(db, key, count);
        return Ok(each_gone(key, touched.into_iter()));
    }
    let mut numbers = (itoa::Buffer::new(), itoa::Buffer::new());
    let all = numbers.0.format(fields.len()).as_bytes();
    Ok(Effect::Rewrite(match at {
        Some(at) => {
            changed(db, key, "hexpire", count);
            request(&[b"HPEXPIREAT", key.bytes, numbers.1.format(at).as_bytes(), b"FIELDS", all], fields)
        }
        None => {
            changed(db, key, "hpersist", count);
            request(&[b"HPERSIST", key.bytes, b"FIELDS", all], fields)
        }
    }))
}

fn hgetdel(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    db.view::<Hash>(key)?;
    let fields = fields(a, FEW)?;
    let now = open(db, key, fields.iter());
    db.read::<Hash>(key)?;
    let mut count = 0;
    out.array(fields.len());
    // One by one: a field that is named twice is there only once.
    let there = db.edit(key, |hash: &mut Hash| {
        for field in fields.iter() {
            bulk(out, hash.get(field, now));
            count += usize::from(hash.contains(field, now) && hash.remove(field));
        }
    })?;
    if there.is_none() {
        fields.iter().for_each(|_| out.null());
    }
    if count == 0 {
        return Ok(Effect::None);
    }
    removed(db, key, count);
    Ok(Effect::Rewrite(request(&[b"HDEL", key.bytes], fields)))
}

/// What HSETEX wants before it sets anything.
#[derive(Clone, Copy, Default)]
struct Wanted<'a> {
    /// The key is there, or is not (Valkey's NX and XX).
    key: Option<bool>,
    /// All the fields are there, or none is; with the word for it.
    fields: Option<(bool, &'a [u8])>,
}

fn hsetex(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    let (mut wanted, mut ttl) = (Wanted::default(), None);
    let pairs = loop {
        let Some(word) = a.peek() else { return Err(Error::Arity(a.name().to_owned())) };
        if a.flag("FIELDS") {
            let count = a.next().ok().and_then(number::parse_i64).filter(|n| (1..=i64::from(i32::MAX)).contains(n));
            let count = count.ok_or(Error::text("ERR invalid number of fields"))?;
            if count as usize * 2 != a.left() {
                return Err(Error::Arity(a.name().to_owned()));
            }
            break a.rest();
        } else if a.flag("FNX") || a.flag("FXX") {
            if wanted.fields.is_some() {
                return Err(Error::text("ERR Only one of FXX or FNX arguments can be specified"));
            }
            wanted.fields = Some((word.eq_ignore_ascii_case(b"FXX"), word));
        } else if a.flag("NX") || a.flag("XX") {
            if wanted.key.is_some() {
                return Err(Error::Syntax);
            }
            wanted.key = Some(word.eq_ignore_ascii_case(b"XX"));
        } else {
            let keep = a.flag("KEEPTTL");
            let kind = if keep { None } else { expiry_word(a) };
            if !keep && kind.is_none() {
                return Err(Error::Text(format!("ERR unknown argument: {}", String::from_utf8_lossy(word)).into()));
            }
            if ttl.is_some() {
                return Err(Error::text("ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified"));
            }
            ttl = Some(match kind {
                None => Ttl::Keep,
                Some((unit, base)) => {
                    let number = a.next().ok().and_then(number::parse_i64).ok_or(Error::NotInteger)?;
                    Ttl::Set(Some(instant(number, unit, base, db.unit.now_ms, a.name())?))
                }
            });
        }
    };
    let ttl = ttl.unwrap_or(Ttl::Set(None));
    let names = || pairs.iter().step_by(2);
    let now = open(db, key, names());
    let hash = db.view::<Hash>(key)?;
    let key_fits = wanted.key.is_none_or(|there| hash.is_some() == there);
    let has = |field| hash.is_some_and(|hash| hash.contains(field, now));
    if !key_fits || wanted.fields.is_some_and(|(there, _)| !names().all(|field| has(field) == there)) {
        out.int(0);
        return Ok(Effect::None);
    }
    out.int(1);
    let count = pairs.len() / 2;
    if let Ttl::Set(Some(at)) = ttl
        && is_past(db, at)
    {
        return set_and_gone(db, key, pairs, at);
    }
    let limits = db.unit.limits;
    db.edit_or_new(key, |hash: &mut Hash| {
        hash.expect(count, &limits);
        for i in (0..pairs.len()).step_by(2) {
            hash.put(pairs.word(i), pairs.word(i + 1), ttl, now, &limits);
        }
    })?;
    changed(db, key, "hset", count);
    let mut argv = OwnedArgv::from_words([b"HSETEX", key.bytes]);
    if let Some((_, word)) = wanted.fields {
        argv.push(word);
    }
    match ttl {
        Ttl::Keep => argv.push(b"KEEPTTL"),
        Ttl::Set(None) => {}
        Ttl::Set(Some(at)) => {
            db.unit.event(EventClass::HASH, "hexpire", db.db, key.bytes);
            argv.push(b"PXAT");
            argv.push(itoa::Buffer::new().format(at).as_bytes());
        }
    }
    argv.push(b"FIELDS");
    argv.push(itoa::Buffer::new().format(count).as_bytes());
    pairs.iter().for_each(|word| argv.push(word));
    Ok(Effect::Rewrite(argv))
}

/// Fields that are set with no time left: they are gone, and so is the key if it has no others.
fn set_and_gone(db: &mut Data<'_>, key: Key<'_>, pairs: Argv<'_>, at: i64) -> Result<Effect, Error> {
    let names = || pairs.iter().step_by(2);
    let limits = db.unit.limits;
    let there = db.edit(key, |hash: &mut Hash| {
        // So that it turns into what it would turn into if they stayed, as in stock servers.
        for i in (0..pairs.len()).step_by(2) {
            hash.put(pairs.word(i), pairs.word(i + 1), Ttl::Set(Some(at)), NEVER, &limits);
        }
        names().filter(|field| hash.remove(field)).count()
    })?;
    changed(db, key, "hset", pairs.len() / 2);
    db.unit.event(EventClass::HASH, "hdel", db.db, key.bytes);
    if there.is_none() {
        // It came and went.
        db.unit.event(EventClass::GENERIC, "del", db.db, key.bytes);
    }
    db.remove_if_empty::<Hash>(key);
    Ok(each_gone(key, names()))
}
