//! Strings: GET, SET and their kin.
//!
//! Knows nothing of how a string is kept but what `keyspace::ValueRef` shows.

use bytes::Bytes;
use smallvec::SmallVec;

use super::compare::Comparison;
use super::{DataCommand, Effect, command, next_value};
use crate::base::{Error, number};
use crate::keyspace::{Data, Entry, EventClass, KeepTtl, Key, ValueRef};
use crate::resp::{OwnedArgv, Reply};
use crate::spec::prelude::*;

pub const APPEND: Row = Row {
    name: "append",
    arity: 3,
    syntax: "key:key value",
    flags: WRITE.or(DENYOOM).or(FAST),
    cats: STRING,
    keys: &[KEY1_RW_INSERT],
    since: "2.0.0",
    group: Group::String,
    complexity: "O(N), N being the length of what is added",
    summary: "Adds to the end of a string, creating it where there is none.",
    ..Row::EMPTY
};

pub const GET: Row = Row {
    name: "get",
    arity: 2,
    syntax: "key:key",
    flags: READONLY.or(FAST),
    cats: STRING,
    keys: &[KEY1_RO_ACCESS],
    group: Group::String,
    complexity: "O(1)",
    summary: "Tells the string stored at a key.",
    ..Row::EMPTY
};

pub const GETDEL: Row = Row {
    name: "getdel",
    arity: 2,
    syntax: "key:key",
    flags: WRITE.or(FAST),
    cats: STRING,
    keys: &[KEY1_RW_ACCESS_DELETE],
    since: "6.2.0",
    group: Group::String,
    complexity: "O(1)",
    summary: "Tells the string stored at a key and removes the key.",
    ..Row::EMPTY
};

pub const GETEX: Row = Row {
    name: "getex",
    arity: -2,
    syntax: "key:key [expiration:(seconds:integer=EX|milliseconds:integer=PX|unix-time-seconds:unix-time=EXAT|\
        unix-time-milliseconds:unix-time=PXAT|persist:PERSIST)]",
    flags: WRITE.or(FAST),
    cats: STRING,
    keys: &[KeySpec::at(1, RW.or(ACCESS).or(UPDATE))
        .noted("A write even though the value stays, since the time to live may change")],
    since: "6.2.0",
    group: Group::String,
    complexity: "O(1)",
    summary: "Tells the string stored at a key and may change when the key expires.",
    ..Row::EMPTY
};

pub const GETRANGE: Row = Row {
    name: "getrange",
    arity: 4,
    syntax: "key:key start:integer end:integer",
    flags: READONLY,
    cats: STRING,
    keys: &[KEY1_RO_ACCESS],
    since: "2.4.0",
    group: Group::String,
    complexity: "O(N), N being the length of the part that is returned",
    summary: "Tells a part of a string, from one offset to another.",
    ..Row::EMPTY
};

pub const GETSET: Row = Row {
    name: "getset",
    arity: 3,
    syntax: "key:key value",
    flags: WRITE.or(DENYOOM).or(FAST),
    cats: STRING,
    keys: &[KEY1_RW_ACCESS_UPDATE],
    group: Group::String,
    complexity: "O(1)",
    summary: "Stores a string and tells the one it replaces.",
    doc: Doc::Deprecated { since: "6.2.0", replaced_by: "`SET` with the `!GET` argument" },
    ..Row::EMPTY
};

pub const MGET: Row = Row {
    name: "mget",
    arity: -2,
    syntax: "key:key...",
    flags: READONLY.or(FAST),
    cats: STRING,
    keys: &[KEYS_RO_ACCESS],
    tips: &["request_policy:multi_shard"],
    group: Group::String,
    complexity: "O(N), N being the number of keys",
    summary: "Tells the strings stored at several keys at one instant.",
    ..Row::EMPTY
};

pub const MSET: Row = Row {
    name: "mset",
    arity: -3,
    syntax: "data:{key:key value}...",
    flags: WRITE.or(DENYOOM),
    cats: STRING,
    keys: &[KeySpec::at(1, OW.or(UPDATE)).through(-1).every(2)],
    tips: &["request_policy:multi_shard", "response_policy:all_succeeded"],
    since: "1.0.1",
    group: Group::String,
    complexity: "O(N), N being the number of keys",
    summary: "Stores strings at several keys at one instant.",
    ..Row::EMPTY
};

pub const MSETEX: Row = Row {
    name: "msetex",
    arity: -4,
    syntax: "numkeys:integer data:{key:key value}... [condition:(nx:NX|xx:XX)] [expiration:(seconds:integer=EX|\
        milliseconds:integer=PX|unix-time-seconds:unix-time=EXAT|unix-time-milliseconds:unix-time=PXAT|\
        keepttl:KEEPTTL)]",
    flags: WRITE.or(DENYOOM),
    cats: STRING,
    keys: &[KeySpec::at(1, OW.or(UPDATE)).counted().every(2)],
    tips: &["request_policy:multi_shard", "response_policy:all_succeeded"],
    since: "9.1.0",
    group: Group::String,
    complexity: "O(N), N being the number of keys",
    summary: "Stores strings at several keys at one instant, with one expiry for all, and if asked only when all or none exist.",
    ..Row::EMPTY
};

pub const MSETNX: Row = Row {
    name: "msetnx",
    arity: -3,
    syntax: "data:{key:key value}...",
    flags: WRITE.or(DENYOOM),
    cats: STRING,
    keys: &[KeySpec::at(1, OW.or(INSERT)).through(-1).every(2)],
    since: "1.0.1",
    group: Group::String,
    complexity: "O(N), N being the number of keys",
    summary: "Stores strings at several keys at one instant, provided that none of the keys exists.",
    ..Row::EMPTY
};

pub const PSETEX: Row = Row {
    name: "psetex",
    arity: 4,
    syntax: "key:key milliseconds:integer value",
    flags: WRITE.or(DENYOOM),
    cats: STRING,
    keys: &[KEY1_OW_UPDATE],
    since: "2.6.0",
    group: Group::String,
    complexity: "O(1)",
    summary: "Stores a string that expires after so many milliseconds.",
    doc: Doc::Deprecated { since: "2.6.12", replaced_by: "`SET` with the `PX` argument" },
    ..Row::EMPTY
};

pub const SET: Row = Row {
    name: "set",
    arity: -3,
    syntax: "key:key value [condition:(nx:NX@2.6.12|xx:XX@2.6.12|comparison-value=IFEQ@8.1.0)] \
        [get:GET@6.2.0] [expiration:(seconds:integer=EX@2.6.12|milliseconds:integer=PX@2.6.12|\
        unix-time-seconds:unix-time=EXAT@6.2.0|unix-time-milliseconds:unix-time=PXAT@6.2.0|\
        keepttl:KEEPTTL@6.0.0)]",
    flags: WRITE.or(DENYOOM),
    cats: STRING,
    keys: &[KeySpec::at(1, RW.or(ACCESS).or(UPDATE).or(VARIABLE_FLAGS))
        .noted("Reads the old value too when GET is given; a call without GET only overwrites")],
    find_keys: Some(finders::set),
    group: Group::String,
    complexity: "O(1)",
    summary: "Stores a string at a key, whatever was there, with conditions and an expiry if asked.",
    ..Row::EMPTY
};

pub const SETEX: Row = Row {
    name: "setex",
    arity: 4,
    syntax: "key:key seconds:integer value",
    flags: WRITE.or(DENYOOM),
    cats: STRING,
    keys: &[KEY1_OW_UPDATE],
    since: "2.0.0",
    group: Group::String,
    complexity: "O(1)",
    summary: "Stores a string that expires after so many seconds.",
    doc: Doc::Deprecated { since: "2.6.12", replaced_by: "`SET` with the `EX` argument" },
    ..Row::EMPTY
};

pub const SETNX: Row = Row {
    name: "setnx",
    arity: 3,
    syntax: "key:key value",
    flags: WRITE.or(DENYOOM).or(FAST),
    cats: STRING,
    keys: &[KeySpec::at(1, OW.or(INSERT))],
    group: Group::String,
    complexity: "O(1)",
    summary: "Stores a string at a key that does not exist yet.",
    doc: Doc::Deprecated { since: "2.6.12", replaced_by: "`SET` with the `NX` argument" },
    ..Row::EMPTY
};

pub const SETRANGE: Row = Row {
    name: "setrange",
    arity: 4,
    syntax: "key:key offset:integer value",
    flags: WRITE.or(DENYOOM),
    cats: STRING,
    keys: &[KEY1_RW_UPDATE],
    since: "2.2.0",
    group: Group::String,
    complexity: "O(N), N being the length of what is written, and of the padding",
    summary: "Writes over a part of a string from an offset on, padding with zero bytes up to it.",
    ..Row::EMPTY
};

pub const STRLEN: Row = Row {
    name: "strlen",
    arity: 2,
    syntax: "key:key",
    flags: READONLY.or(FAST),
    cats: STRING,
    keys: &[KEY1_RO],
    since: "2.2.0",
    group: Group::String,
    complexity: "O(1)",
    summary: "Tells how many bytes a string has.",
    ..Row::EMPTY
};

pub const SUBSTR: Row = Row {
    name: "substr",
    arity: 4,
    syntax: "key:key start:integer end:integer",
    flags: READONLY,
    cats: STRING,
    keys: &[KEY1_RO_ACCESS],
    group: Group::String,
    complexity: "O(N), N being the length of the part that is returned",
    summary: "Tells a part of a string, from one offset to another.",
    doc: Doc::Deprecated { since: "2.0.0", replaced_by: "`GETRANGE`" },
    ..Row::EMPTY
};

pub const COMMANDS: &[DataCommand] = &[
    command(&APPEND, append),
    command(&GET, get),
    command(&GETDEL, getdel),
    command(&GETEX, getex),
    command(&GETRANGE, getrange),
    command(&GETSET, getset),
    command(&MGET, mget),
    command(&MSET, mset),
    command(&MSETEX, msetex),
    command(&MSETNX, msetnx),
    command(&PSETEX, psetex),
    command(&SET, set),
    command(&SETEX, setex),
    command(&SETNX, setnx),
    command(&SETRANGE, setrange),
    command(&STRLEN, strlen),
    command(&SUBSTR, getrange),
];

// ---- reading ----

/// A string value as a bulk reply; a long one is sent from its own memory.
fn reply_value(out: &mut Reply, value: ValueRef<'_>) {
    match value {
        ValueRef::Int(n) => out.bulk_int(n),
        ValueRef::Str(v) => out.bulk(v),
        ValueRef::Large(b) => out.bulk_shared(b.clone()),
        // Whoever looked it up has refused other types.
        _ => out.null(),
    }
}

fn reply_optional(out: &mut Reply, value: Option<ValueRef<'_>>) {
    match value {
        Some(v) => reply_value(out, v),
        None => out.null(),
    }
}

fn get(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    reply_optional(out, db.get_str(key)?);
    Ok(Effect::None)
}

fn mget(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    out.array(a.left());
    while !a.is_at_end() {
        let key = a.key()?;
        // A key of another type is null here, not an error.
        reply_optional(out, db.get_str(key).unwrap_or(None));
    }
    Ok(Effect::None)
}

fn strlen(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    out.int(db.get_str(key)?.map_or(0, |v| v.str_len() as i64));
    Ok(Effect::None)
}

/// The part of `len` bytes that start and end (from the end if negative, end included) name.
fn slice_range(len: usize, start: i64, end: i64) -> Option<std::ops::Range<usize>> {
    let n = len as i64;
    if start < 0 && end < 0 && start > end {
        return None;
    }
    let start = if start < 0 { (start + n).max(0) } else { start };
    let end = if end < 0 { (end + n).max(0) } else { end }.min(n - 1);
    (n > 0 && start <= end).then(|| start as usize..end as usize + 1)
}

fn getrange(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    let (start, end) = (a.next_i64()?, a.next_i64()?);
    let mut text = itoa::Buffer::new();
    let value = db.get_str(key)?;
    let bytes = value.as_ref().map_or(&b""[..], |v| v.as_str(&mut text));
    out.bulk(slice_range(bytes.len(), start, end).map_or(&b""[..], |r| &bytes[r]));
    Ok(Effect::None)
}

// ---- expiry options ----

/// The expiry options of SET, GETEX and MSETEX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expiry {
    None,
    Keep,
    Persist,
    At(i64),
}

impl Expiry {
    fn ttl(self) -> KeepTtl {
        match self {
            Self::Keep => KeepTtl::Keep,
            Self::At(at) => KeepTtl::Replace(Some(at)),
            Self::None | Self::Persist => KeepTtl::Replace(None),
        }
    }
}

/// What the number of an expiry option counts, and since when.
#[derive(Clone, Copy)]
struct TimeUnit {
    word: &'static str,
    ms: i64,
    absolute: bool,
}

const TIME_UNITS: [TimeUnit; 4] = [
    TimeUnit { word: "EX", ms: 1000, absolute: false },
    TimeUnit { word: "PX", ms: 1, absolute: false },
    TimeUnit { word: "EXAT", ms: 1000, absolute: true },
    TimeUnit { word: "PXAT", ms: 1, absolute: true },
];

impl TimeUnit {
    /// Whether it is the form in which replicas are told.
    fn is_exact(self) -> bool {
        self.absolute && self.ms == 1
    }

    /// The instant in unix ms.
    fn at_ms(self, text: &[u8], now_ms: i64, command: &'static str) -> Result<i64, Error> {
        let n = number::parse_i64(text).ok_or(Error::NotInteger)?;
        let ms = if n > 0 { n.checked_mul(self.ms) } else { None };
        let at = ms.and_then(|ms| if self.absolute { Some(ms) } else { ms.checked_add(now_ms) });
        at.ok_or(Error::InvalidExpire(command))
    }
}

/// Reads one expiry option with its number, if one comes next; the number is judged later, after the syntax.
fn time_option<'a>(a: &mut Args<'a>) -> Option<(TimeUnit, &'a [u8])> {
    let unit = TIME_UNITS.into_iter().find(|u| a.option(u.word))?;
    Some((unit, a.next().ok()?))
}

// ---- SET ----

/// When SET writes at all.
enum Condition<'a> {
    Always,
    Absent,
    Present,
    If(Comparison<'a>),
}

fn set(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    let (value, own) = next_value(a)?;
    if !a.is_at_end() {
        return set_with_options(db, a, out, key, value, own);
    }
    db.set_string(key, value, own, KeepTtl::Replace(None));
    db.changed(key, EventClass::STRING, "set");
    out.ok();
    Ok(Effect::Verbatim)
}

fn set_with_options(
    db: &mut Data<'_>,
    a: &mut Args<'_>,
    out: &mut Reply,
    key: Key<'_>,
    value: &[u8],
    own: Option<&Bytes>,
) -> Result<Effect, Error> {
    let (mut condition, mut keep, mut time, mut get) = (Condition::Always, false, None, false);
    let mut get_words: SmallVec<[usize; 2]> = SmallVec::new();
    while !a.is_at_end() {
        let unconditional = matches!(condition, Condition::Always);
        let no_expiry = !keep && time.is_none();
        if unconditional && a.flag("NX") {
            condition = Condition::Absent;
        } else if unconditional && a.flag("XX") {
            condition = Condition::Present;
        } else if unconditional && let Some(comparison) = Comparison::option(a)? {
            condition = Condition::If(comparison);
        } else if a.flag("GET") {
            get = true;
            get_words.push(a.position() - 1);
        } else if no_expiry && a.flag("KEEPTTL") {
            keep = true;
        } else if no_expiry && let Some(option) = time_option(a) {
            time = Some(option);
        } else {
            return Err(Error::Syntax);
        }
    }
    let expiry = match time {
        Some((unit, n)) => Expiry::At(unit.at_ms(n, db.unit.now_ms, "set")?),
        None if keep => Expiry::Keep,
        None => Expiry::None,
    };
    let compares = matches!(condition, Condition::If(_));
    let allowed = if get || compares {
        let old = db.get_str(key)?;
        let allowed = match condition {
            Condition::Always => true,
            Condition::Absent => old.is_none(),
            Condition::Present => old.is_some(),
            Condition::If(comparison) => comparison.is_met(old)?,
        };
        if get {
            reply_optional(out, old);
        }
        allowed
    } else {
        match condition {
            Condition::Absent => db.find(key).is_none(),
            Condition::Present => db.find(key).is_some(),
            Condition::Always | Condition::If(_) => true,
        }
    };
    if !allowed {
        if !get {
            out.null();
        }
        return Ok(Effect::None);
    }
    db.set_string(key, value, own, expiry.ttl());
    db.changed(key, EventClass::STRING, "set");
    if !get {
        out.ok();
    }
    if !compares && time.is_some_and(|(unit, _)| unit.is_exact()) {
        // It says already what replicas need to hear.
        let number = db.db;
        db.unit.event(EventClass::GENERIC, "expire", number, key.bytes);
        return Ok(Effect::Verbatim);
    }
    let Expiry::At(at) = expiry else {
        if compares {
            // Older replicas know no such condition, and it was met.
            let mut argv = set_plainly(key.bytes, value, own);
            if keep {
                argv.push(b"KEEPTTL");
            }
            return Ok(Effect::Rewrite(argv));
        }
        if get_words.is_empty() {
            return Ok(Effect::Verbatim);
        }
        // Replicas are not asked for the old value.
        let words = a.argv().iter().enumerate().filter(|(i, _)| !get_words.contains(i));
        return Ok(Effect::rewrite(words.map(|(_, word)| word)));
    };
    let number = db.db;
    db.unit.event(EventClass::GENERIC, "expire", number, key.bytes);
    Ok(set_at(key.bytes, value, own, at))
}

/// SET with an absolute expiry: what a relative one is for replicas.
fn set_at(key: &[u8], value: &[u8], own: Option<&Bytes>, at_ms: i64) -> Effect {
    let mut argv = set_plainly(key, value, own);
    argv.push(b"PXAT");
    argv.push(itoa::Buffer::new().format(at_ms).as_bytes());
    Effect::Rewrite(argv)
}

fn set_plainly(key: &[u8], value: &[u8], own: Option<&Bytes>) -> OwnedArgv {
    let mut argv = OwnedArgv::from_words([b"SET", key]);
    match own {
        Some(own) => argv.push_bytes(own.clone()),
        None => argv.push(value),
    }
    argv
}

fn set_for(
    db: &mut Data<'_>,
    a: &mut Args<'_>,
    out: &mut Reply,
    unit: TimeUnit,
    command: &'static str,
) -> Result<Effect, Error> {
    let (key, time) = (a.key()?, a.next()?);
    let (value, own) = next_value(a)?;
    let at = unit.at_ms(time, db.unit.now_ms, command)?;
    db.set_string(key, value, own, KeepTtl::Replace(Some(at)));
    db.changed(key, EventClass::STRING, "set");
    let number = db.db;
    db.unit.event(EventClass::GENERIC, "expire", number, key.bytes);
    out.ok();
    Ok(set_at(key.bytes, value, own, at))
}

fn setex(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    set_for(db, a, out, TIME_UNITS[0], "setex")
}

fn psetex(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    set_for(db, a, out, TIME_UNITS[1], "psetex")
}

fn setnx(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    let (value, own) = next_value(a)?;
    if db.find(key).is_some() {
        out.int(0);
        return Ok(Effect::None);
    }
    db.set_string(key, value, own, KeepTtl::Replace(None));
    db.changed(key, EventClass::STRING, "set");
    out.int(1);
    Ok(Effect::Verbatim)
}

fn getset(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    let (value, own) = next_value(a)?;
    reply_optional(out, db.get_str(key)?);
    db.set_string(key, value, own, KeepTtl::Replace(None));
    db.changed(key, EventClass::STRING, "set");
    Ok(Effect::rewrite([b"SET", key.bytes, value]))
}

fn getdel(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    let old = db.get_str(key)?;
    let found = old.is_some();
    reply_optional(out, old);
    if !found {
        return Ok(Effect::None);
    }
    db.delete(key);
    Ok(Effect::rewrite([b"DEL", key.bytes]))
}

fn getex(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    let persist = a.flag("PERSIST");
    let time = if persist { None } else { time_option(a) };
    a.expect_end()?;
    // Whether the number is one matters only where there is a key.
    if db.get_str(key)?.is_none() {
        out.null();
        return Ok(Effect::None);
    }
    let expiry = match time {
        _ if persist => Some(Expiry::Persist),
        Some((unit, n)) => Some(Expiry::At(unit.at_ms(n, db.unit.now_ms, "getex")?)),
        None => None,
    };
    reply_optional(out, db.peek(key).map(Entry::value));
    match expiry {
        Some(Expiry::At(at)) => {
            if at <= db.unit.now_ms && db.unit.policy == crate::keyspace::ExpirePolicy::Delete {
                db.delete(key);
                return Ok(Effect::gone(key, db.unit.lazy_expire));
            }
            db.set_expire(key, Some(at));
            db.changed(key, EventClass::GENERIC, "expire");
            Ok(Effect::rewrite([b"PEXPIREAT", key.bytes, itoa::Buffer::new().format(at).as_bytes()]))
        }
        Some(Expiry::Persist) if db.peek(key).and_then(Entry::expire_ms).is_some() => {
            db.set_expire(key, None);
            db.changed(key, EventClass::GENERIC, "persist");
            Ok(Effect::rewrite([b"PERSIST", key.bytes]))
        }
        _ => Ok(Effect::None),
    }
}

// ---- many keys ----

/// Reads `key value` pairs up to the end and sets them all.
fn set_pairs(db: &mut Data<'_>, a: &mut Args<'_>, pairs: usize, ttl: KeepTtl) -> Result<(), Error> {
    for _ in 0..pairs {
        let key = a.key()?;
        let (value, own) = next_value(a)?;
        db.set_string(key, value, own, ttl);
        db.changed(key, EventClass::STRING, "set");
    }
    Ok(())
}

/// How many keys of the next `pairs` pairs are there.
fn count_existing(db: &mut Data<'_>, a: &Args<'_>, pairs: usize) -> Result<usize, Error> {
    let mut ahead = a.clone();
    let mut found = 0;
    for _ in 0..pairs {
        found += usize::from(db.exists(ahead.key()?));
        ahead.next()?;
    }
    Ok(found)
}

fn pairs_of(a: &Args<'_>, command: &'static str) -> Result<usize, Error> {
    if a.left().is_multiple_of(2) { Ok(a.left() / 2) } else { Err(Error::Arity(command.to_owned())) }
}

fn mset(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let pairs = pairs_of(a, "mset")?;
    set_pairs(db, a, pairs, KeepTtl::Replace(None))?;
    out.ok();
    Ok(Effect::Verbatim)
}

fn msetnx(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let pairs = pairs_of(a, "msetnx")?;
    let mut ahead = a.clone();
    for _ in 0..pairs {
        // The first one that is there decides: no other is looked at.
        if db.exists(ahead.key()?) {
            out.int(0);
            return Ok(Effect::None);
        }
        ahead.next()?;
    }
    set_pairs(db, a, pairs, KeepTtl::Replace(None))?;
    out.int(1);
    Ok(Effect::Verbatim)
}

fn msetex(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let pairs = match a.next_i64() {
        Ok(n) if n > 0 && n <= i64::from(i32::MAX) => n as usize,
        _ => return Err(Error::text("ERR invalid numkeys value")),
    };
    if pairs.checked_mul(2).is_none_or(|words| words > a.left()) {
        return Err(Error::text("ERR wrong number of key-value pairs"));
    }
    let mut options = a.clone();
    options.skip(pairs * 2);
    let (mut must_exist, mut keep, mut time) = (None, false, None);
    while !options.is_at_end() {
        let no_expiry = !keep && time.is_none();
        if must_exist.is_none() && options.flag("NX") {
            must_exist = Some(false);
        } else if must_exist.is_none() && options.flag("XX") {
            must_exist = Some(true);
        } else if no_expiry && options.flag("KEEPTTL") {
            keep = true;
        } else if no_expiry && let Some(option) = time_option(&mut options) {
            time = Some(option);
        } else {
            return Err(Error::Syntax);
        }
    }
    let expiry = match time {
        Some((unit, n)) => Expiry::At(unit.at_ms(n, db.unit.now_ms, "msetex")?),
        None if keep => Expiry::Keep,
        None => Expiry::None,
    };
    if let Some(want) = must_exist
        && count_existing(db, a, pairs)? != if want { pairs } else { 0 }
    {
        out.int(0);
        return Ok(Effect::None);
    }
    let first = a.clone();
    set_pairs(db, a, pairs, expiry.ttl())?;
    out.int(1);
    // Replicas of any version understand plain SETs.
    let mut words = first;
    let mut effects = Vec::with_capacity(pairs);
    for _ in 0..pairs {
        let (key, value) = (words.next()?, words.next()?);
        effects.push(match expiry {
            Expiry::At(at) => {
                OwnedArgv::from_words([b"SET", key, value, b"PXAT", itoa::Buffer::new().format(at).as_bytes()])
            }
            Expiry::Keep => OwnedArgv::from_words([b"SET", key, value, b"KEEPTTL"]),
            Expiry::None | Expiry::Persist => OwnedArgv::from_words([b"SET", key, value]),
        });
    }
    Ok(Effect::Many(effects))
}

// ---- editing ----

fn append(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    let (value, own) = next_value(a)?;
    let string_max = db.unit.string_max;
    let old = db.find(key).map(Entry::value);
    let total = match old {
        None => {
            db.set_string(key, value, own, KeepTtl::Replace(None));
            value.len()
        }
        Some(v) if v.kind() != crate::keyspace::Type::String => return Err(Error::WrongType),
        Some(v) => {
            let total = v.str_len() + value.len();
            if total > string_max {
                return Err(Error::StringTooLong);
            }
            db.update(key, |e| e.edit_string(|b| b.extend_from_slice(value)));
            total
        }
    };
    db.changed(key, EventClass::STRING, "append");
    out.int(total as i64);
    Ok(Effect::Verbatim)
}

fn setrange(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (key, offset, value) = (a.key()?, a.next_i64()?, a.next()?);
    let offset = usize::try_from(offset).map_err(|_| Error::OffsetRange)?;
    let old_len = match db.find(key).map(Entry::value) {
        None => None,
        Some(v) if v.kind() != crate::keyspace::Type::String => return Err(Error::WrongType),
        Some(v) => Some(v.str_len()),
    };
    if value.is_empty() {
        out.int(old_len.unwrap_or(0) as i64);
        return Ok(Effect::None);
    }
    let end = offset.checked_add(value.len()).filter(|end| *end <= db.unit.string_max).ok_or(Error::StringTooLong)?;
    if old_len.is_none() {
        db.put(key, Entry::string(key.bytes, b"", None));
    }
    db.update(key, |e| {
        e.edit_string(|b| {
            if b.len() < end {
                b.resize(end, 0);
            }
            b[offset..end].copy_from_slice(value);
        });
    });
    db.changed(key, EventClass::STRING, "setrange");
    out.int(old_len.unwrap_or(0).max(end) as i64);
    Ok(Effect::Verbatim)
}
