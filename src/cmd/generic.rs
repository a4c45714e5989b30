//! Keys of any type: DEL, EXPIRE, RENAME and their kin.
//!
//! Knows nothing of what a value is.

use super::{DataCommand, Effect, command};
use crate::base::{Error, glob, number};
use crate::keyspace::unit::{Touch, lfu_decayed};
use crate::keyspace::{Data, Entry, EventClass, ExpirePolicy, Key, ValueRef};
use crate::resp::Reply;
use crate::spec::prelude::*;

pub const COPY: Row = Row {
    name: "copy",
    arity: -3,
    syntax: "source:key destination:key#1 [destination-db:integer=DB] [replace:REPLACE]",
    flags: WRITE.or(DENYOOM),
    cats: KEYSPACE,
    keys: &[KEY1_RO_ACCESS, KeySpec::at(2, OW.or(UPDATE))],
    since: "6.2.0",
    group: Group::Generic,
    complexity: "O(N), N being the number of elements; O(1) for a string",
    summary: "Copies a value with its expiry to another key, in the same database or another.",
    ..Row::EMPTY
};

pub const DEL: Row = Row {
    name: "del",
    arity: -2,
    syntax: "key:key...",
    flags: WRITE,
    cats: KEYSPACE,
    keys: &[KEYS_RM_DELETE],
    tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
    group: Group::Generic,
    complexity: "O(N), N being the number of keys and of the elements of those that are no strings",
    summary: "Removes keys and frees what they hold.",
    ..Row::EMPTY
};

pub const EXISTS: Row = Row {
    name: "exists",
    arity: -2,
    syntax: "key:key...",
    flags: READONLY.or(FAST),
    cats: KEYSPACE,
    keys: &[KEYS_RO],
    tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
    group: Group::Generic,
    complexity: "O(N), N being the number of keys",
    summary: "Counts how many of the given keys exist, one given twice counting twice.",
    ..Row::EMPTY
};

pub const EXPIRE: Row = Row {
    name: "expire",
    arity: -3,
    syntax: "key:key seconds:integer [condition:(nx:NX|xx:XX|gt:GT|lt:LT)@7.0.0]",
    flags: WRITE.or(FAST),
    cats: KEYSPACE,
    keys: &[KEY1_RW_UPDATE],
    group: Group::Generic,
    complexity: "O(1)",
    summary: "Sets after how many seconds a key expires.",
    ..Row::EMPTY
};

pub const EXPIREAT: Row = Row {
    name: "expireat",
    arity: -3,
    syntax: "key:key unix-time-seconds:unix-time [condition:(nx:NX|xx:XX|gt:GT|lt:LT)@7.0.0]",
    flags: WRITE.or(FAST),
    cats: KEYSPACE,
    keys: &[KEY1_RW_UPDATE],
    since: "1.2.0",
    group: Group::Generic,
    complexity: "O(1)",
    summary: "Sets the Unix time in seconds at which a key expires.",
    ..Row::EMPTY
};

pub const EXPIRETIME: Row = Row {
    name: "expiretime",
    arity: 2,
    syntax: "key:key",
    flags: READONLY.or(FAST),
    cats: KEYSPACE,
    keys: &[KEY1_RO_ACCESS],
    since: "7.0.0",
    group: Group::Generic,
    complexity: "O(1)",
    summary: "Tells the Unix time in seconds at which a key expires.",
    ..Row::EMPTY
};

pub const KEYS: Row = Row {
    name: "keys",
    arity: 2,
    syntax: "pattern:pattern",
    flags: READONLY.or(EXCLUSIVE).or(LONG),
    cats: KEYSPACE.or(DANGEROUS),
    tips: &["request_policy:all_shards", "nondeterministic_output_order"],
    group: Group::Generic,
    complexity: "O(N), N being the number of keys in the database",
    summary: "Lists the keys whose names match a pattern.",
    ..Row::EMPTY
};

pub const MOVE: Row = Row {
    name: "move",
    arity: 3,
    syntax: "key:key db:integer",
    flags: WRITE.or(FAST),
    cats: KEYSPACE,
    keys: &[KEY1_RW_ACCESS_UPDATE],
    group: Group::Generic,
    complexity: "O(1)",
    summary: "Moves a key to another database where its name is free.",
    ..Row::EMPTY
};

pub const OBJECT: Row = Row {
    name: "object",
    arity: -2,
    since: "2.2.3",
    group: Group::Generic,
    complexity: "That of the subcommand",
    summary: "Looks inside the values of keys.",
    ..Row::EMPTY
};

pub const OBJECT_HELP: Row = Row {
    name: "object|help",
    arity: 2,
    flags: LOADING.or(STALE),
    cats: KEYSPACE,
    since: "6.2.0",
    group: Group::Generic,
    complexity: "O(1)",
    summary: "Lists the subcommands of OBJECT.",
    ..Row::EMPTY
};

pub const OBJECT_ENCODING: Row = Row {
    name: "object|encoding",
    arity: 3,
    syntax: "key:key",
    flags: READONLY,
    cats: KEYSPACE,
    keys: &[KEY2_RO],
    tips: &["nondeterministic_output"],
    since: "2.2.3",
    group: Group::Generic,
    complexity: "O(1)",
    summary: "Tells how the value of a key is kept in memory.",
    ..Row::EMPTY
};

pub const OBJECT_FREQ: Row = Row {
    name: "object|freq",
    arity: 3,
    syntax: "key:key",
    flags: READONLY,
    cats: KEYSPACE,
    keys: &[KEY2_RO],
    tips: &["nondeterministic_output"],
    since: "4.0.0",
    group: Group::Generic,
    complexity: "O(1)",
    summary: "Tells how often a key was used, on the logarithmic scale of the LFU policies.",
    ..Row::EMPTY
};

pub const OBJECT_IDLETIME: Row = Row {
    name: "object|idletime",
    arity: 3,
    syntax: "key:key",
    flags: READONLY,
    cats: KEYSPACE,
    keys: &[KEY2_RO],
    tips: &["nondeterministic_output"],
    since: "2.2.3",
    group: Group::Generic,
    complexity: "O(1)",
    summary: "Tells for how many seconds a key was not used.",
    ..Row::EMPTY
};

pub const OBJECT_REFCOUNT: Row = Row {
    name: "object|refcount",
    arity: 3,
    syntax: "key:key",
    flags: READONLY,
    cats: KEYSPACE,
    keys: &[KEY2_RO],
    tips: &["nondeterministic_output"],
    since: "2.2.3",
    group: Group::Generic,
    complexity: "O(1)",
    summary: "Tells how many references the value of a key has.",
    ..Row::EMPTY
};

pub const PERSIST: Row = Row {
    name: "persist",
    arity: 2,
    syntax: "key:key",
    flags: WRITE.or(FAST),
    cats: KEYSPACE,
    keys: &[KEY1_RW_UPDATE],
    since: "2.2.0",
    group: Group::Generic,
    complexity: "O(1)",
    summary: "Makes a key stay that was to expire.",
    ..Row::EMPTY
};

pub const PEXPIRE: Row = Row {
    name: "pexpire",
    arity: -3,
    syntax: "key:key milliseconds:integer [condition:(nx:NX|xx:XX|gt:GT|lt:LT)@7.0.0]",
    flags: WRITE.or(FAST),
    cats: KEYSPACE,
    keys: &[KEY1_RW_UPDATE],
    since: "2.6.0",
    group: Group::Generic,
    complexity: "O(1)",
    summary: "Sets after how many milliseconds a key expires.",
    ..Row::EMPTY
};

pub const PEXPIREAT: Row = Row {
    name: "pexpireat",
    arity: -3,
    syntax: "key:key unix-time-milliseconds:unix-time [condition:(nx:NX|xx:XX|gt:GT|lt:LT)@7.0.0]",
    flags: WRITE.or(FAST),
    cats: KEYSPACE,
    keys: &[KEY1_RW_UPDATE],
    since: "2.6.0",
    group: Group::Generic,
    complexity: "O(1)",
    summary: "Sets the Unix time in milliseconds at which a key expires.",
    ..Row::EMPTY
};

pub const PEXPIRETIME: Row = Row {
    name: "pexpiretime",
    arity: 2,
    syntax: "key:key",
    flags: READONLY.or(FAST),
    cats: KEYSPACE,
    keys: &[KEY1_RO_ACCESS],
    since: "7.0.0",
    group: Group::Generic,
    complexity: "O(1)",
    summary: "Tells the Unix time in milliseconds at which a key expires.",
    ..Row::EMPTY
};

pub const PTTL: Row = Row {
    name: "pttl",
    arity: 2,
    syntax: "key:key",
    flags: READONLY.or(FAST),
    cats: KEYSPACE,
    keys: &[KEY1_RO_ACCESS],
    tips: &["nondeterministic_output"],
    since: "2.6.0",
    group: Group::Generic,
    complexity: "O(1)",
    summary: "Tells in how many milliseconds a key expires.",
    ..Row::EMPTY
};

pub const RENAME: Row = Row {
    name: "rename",
    arity: 3,
    syntax: "key:key newkey:key#1",
    flags: WRITE,
    cats: KEYSPACE,
    keys: &[KEY1_RW_ACCESS_DELETE, KeySpec::at(2, OW.or(UPDATE))],
    group: Group::Generic,
    complexity: "O(1), and the freeing of the value that was there",
    summary: "Gives a value another key, over whatever was there.",
    ..Row::EMPTY
};

pub const RENAMENX: Row = Row {
    name: "renamenx",
    arity: 3,
    syntax: "key:key newkey:key#1",
    flags: WRITE.or(FAST),
    cats: KEYSPACE,
    keys: &[KEY1_RW_ACCESS_DELETE, KeySpec::at(2, OW.or(INSERT))],
    group: Group::Generic,
    complexity: "O(1)",
    summary: "Gives a value another key, provided that it is free.",
    ..Row::EMPTY
};

pub const TOUCH: Row = Row {
    name: "touch",
    arity: -2,
    syntax: "key:key...",
    flags: READONLY.or(FAST),
    cats: KEYSPACE,
    keys: &[KEYS_RO],
    tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
    since: "3.2.1",
    group: Group::Generic,
    complexity: "O(N), N being the number of keys",
    summary: "Marks keys as just used and counts those that exist.",
    ..Row::EMPTY
};

pub const TTL: Row = Row {
    name: "ttl",
    arity: 2,
    syntax: "key:key",
    flags: READONLY.or(FAST),
    cats: KEYSPACE,
    keys: &[KEY1_RO_ACCESS],
    tips: &["nondeterministic_output"],
    group: Group::Generic,
    complexity: "O(1)",
    summary: "Tells in how many seconds a key expires.",
    ..Row::EMPTY
};

pub const TYPE: Row = Row {
    name: "type",
    arity: 2,
    syntax: "key:key",
    flags: READONLY.or(FAST),
    cats: KEYSPACE,
    keys: &[KEY1_RO],
    group: Group::Generic,
    complexity: "O(1)",
    summary: "Tells what type of value a key holds.",
    ..Row::EMPTY
};

pub const UNLINK: Row = Row {
    name: "unlink",
    arity: -2,
    syntax: "key:key...",
    flags: WRITE.or(FAST),
    cats: KEYSPACE,
    keys: &[KEYS_RM_DELETE],
    tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
    since: "4.0.0",
    group: Group::Generic,
    complexity: "O(1) a key; the freeing is done by another thread",
    summary: "Removes keys at once and frees what they hold in the background.",
    ..Row::EMPTY
};

pub const COMMANDS: &[DataCommand] = &[
    command(&COPY, copy),
    command(&DEL, del),
    command(&EXISTS, exists),
    command(&EXPIRE, expire),
    command(&EXPIREAT, expireat),
    command(&EXPIRETIME, expiretime),
    command(&KEYS, keys),
    command(&MOVE, move_key),
    command(&OBJECT_ENCODING, object_encoding),
    command(&OBJECT_FREQ, object_freq),
    command(&OBJECT_IDLETIME, object_idletime),
    command(&OBJECT_REFCOUNT, object_refcount),
    command(&PERSIST, persist),
    command(&PEXPIRE, pexpire),
    command(&PEXPIREAT, pexpireat),
    command(&PEXPIRETIME, pexpiretime),
    command(&PTTL, pttl),
    command(&RENAME, rename),
    command(&RENAMENX, renamenx),
    command(&TOUCH, touch),
    command(&TTL, ttl),
    command(&TYPE, type_of),
    command(&UNLINK, del),
];

// ---- there or not ----

fn del(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let mut n = 0;
    while !a.is_at_end() {
        n += i64::from(db.delete(a.key()?));
    }
    out.int(n);
    Ok(Effect::verbatim_if(n != 0))
}

fn exists(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let mut n = 0;
    while !a.is_at_end() {
        n += i64::from(db.get_quietly(a.key()?).is_some());
    }
    out.int(n);
    Ok(Effect::None)
}

fn touch(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let mut n = 0;
    while !a.is_at_end() {
        n += i64::from(db.get(a.key()?).is_some());
    }
    out.int(n);
    Ok(Effect::None)
}

fn type_of(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    out.simple(db.get_quietly(key).map_or("none", |e| e.value().kind().name()));
    Ok(Effect::None)
}

fn keys(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let pattern = a.next()?;
    let header = out.deferred_array();
    let mut n = 0;
    db.for_each(|e| {
        if glob::matches(pattern, e.key(), false) {
            out.bulk(e.key());
            n += 1;
        }
    });
    out.set_len(header, n);
    Ok(Effect::None)
}

// ---- expiry ----

/// What an EXPIRE command's number counts, and since when.
struct Scale {
    ms: i64,
    absolute: bool,
    command: &'static str,
}

fn expire(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    expire_generic(db, a, out, &Scale { ms: 1000, absolute: false, command: "expire" })
}

fn pexpire(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    expire_generic(db, a, out, &Scale { ms: 1, absolute: false, command: "pexpire" })
}

fn expireat(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    expire_generic(db, a, out, &Scale { ms: 1000, absolute: true, command: "expireat" })
}

fn pexpireat(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    expire_generic(db, a, out, &Scale { ms: 1, absolute: true, command: "pexpireat" })
}

#[derive(Default)]
struct When {
    absent: bool,
    present: bool,
    greater: bool,
    less: bool,
}

impl When {
    fn parse(a: &mut Args<'_>) -> Result<Self, Error> {
        let mut when = Self::default();
        while !a.is_at_end() {
            if a.flag("NX") {
                when.absent = true;
            } else if a.flag("XX") {
                when.present = true;
            } else if a.flag("GT") {
                when.greater = true;
            } else if a.flag("LT") {
                when.less = true;
            } else {
                let word = String::from_utf8_lossy(a.next()?).into_owned();
                return Err(Error::Text(format!("ERR Unsupported option {word}").into()));
            }
        }
        if when.absent && (when.present || when.greater || when.less) {
            return Err(Error::text("ERR NX and XX, GT or LT options at the same time are not compatible"));
        }
        if when.greater && when.less {
            return Err(Error::text("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(when)
    }

    /// No expiry counts as an infinite one.
    fn allows(&self, old: Option<i64>, new: i64) -> bool {
        !(self.absent && old.is_some()
            || self.present && old.is_none()
            || self.greater && old.is_none_or(|old| new <= old)
            || self.less && old.is_some_and(|old| new >= old))
    }
}

fn expire_generic(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply, scale: &Scale) -> Result<Effect, Error> {
    let key = a.key()?;
    let number = a.next()?;
    let when = When::parse(a)?;
    let n = number::parse_i64(number).ok_or(Error::NotInteger)?;
    let ms = n.checked_mul(scale.ms);
    let at = if scale.absolute { ms } else { ms.and_then(|ms| ms.checked_add(db.unit.now_ms)) };
    let at = at.ok_or(Error::InvalidExpire(scale.command))?;
    let Some(old) = db.find(key).map(Entry::expire_ms) else {
        out.int(0);
        return Ok(Effect::None);
    };
    if !when.allows(old, at) {
        out.int(0);
        return Ok(Effect::None);
    }
    out.int(1);
    if at <= db.unit.now_ms && db.unit.policy == ExpirePolicy::Delete {
        db.delete(key);
        return Ok(Effect::gone(key, db.unit.lazy_expire));
    }
    db.set_expire(key, Some(at));
    db.changed(key, EventClass::GENERIC, "expire");
    Ok(Effect::rewrite([b"PEXPIREAT", key.bytes, itoa::Buffer::new().format(at).as_bytes()]))
}

fn persist(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    let had = db.find(key).and_then(Entry::expire_ms).is_some();
    if had {
        db.set_expire(key, None);
        db.changed(key, EventClass::GENERIC, "persist");
    }
    out.int(i64::from(had));
    Ok(Effect::verbatim_if(had))
}

/// -2: no key; -1: no expiry; else what `show` makes of the instant.
fn time_of(
    db: &mut Data<'_>,
    a: &mut Args<'_>,
    out: &mut Reply,
    show: fn(at_ms: i64, now_ms: i64) -> i64,
) -> Result<Effect, Error> {
    let key = a.key()?;
    let now = db.unit.now_ms;
    out.int(match db.get_quietly(key).map(Entry::expire_ms) {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => show(at, now),
    });
    Ok(Effect::None)
}

fn ttl(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    time_of(db, a, out, |at, now| ((at - now).max(0) + 500) / 1000)
}

fn pttl(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    time_of(db, a, out, |at, now| (at - now).max(0))
}

fn expiretime(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    time_of(db, a, out, |at, _| (at + 500) / 1000)
}

fn pexpiretime(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    time_of(db, a, out, |at, _| at)
}

// ---- other names, other databases ----

fn rename_generic(db: &mut Data<'_>, a: &mut Args<'_>, only_if_free: bool) -> Result<bool, Error> {
    let (from, to) = (a.key()?, a.key()?);
    if db.find(from).is_none() {
        return Err(Error::NoSuchKey);
    }
    if from.bytes == to.bytes {
        return Ok(!only_if_free);
    }
    if only_if_free && db.find(to).is_some() {
        return Ok(false);
    }
    let Some(entry) = db.take(from) else { return Err(Error::NoSuchKey) };
    db.put(to, entry.renamed(to.bytes));
    db.changed(from, EventClass::GENERIC, "rename_from");
    db.changed(to, EventClass::GENERIC, "rename_to");
    Ok(true)
}

fn rename(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let same = a.word(1) == a.word(2);
    rename_generic(db, a, false)?;
    out.ok();
    Ok(Effect::verbatim_if(!same))
}

fn renamenx(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let done = rename_generic(db, a, true)?;
    out.int(i64::from(done));
    Ok(Effect::verbatim_if(done))
}

/// Runs `f` with another database selected.
fn in_db<R>(db: &mut Data<'_>, other: usize, f: impl FnOnce(&mut Data<'_>) -> R) -> R {
    let mine = std::mem::replace(&mut db.db, other);
    let result = f(db);
    db.db = mine;
    result
}

fn db_index(db: &Data<'_>, n: i64) -> Option<usize> {
    usize::try_from(n).ok().filter(|n| *n < db.databases())
}

fn move_key(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    let target = number::parse_i64(a.next()?).ok_or(Error::NotInteger)?;
    let target = db_index(db, target).ok_or(Error::DbIndex)?;
    if target == db.db {
        return Err(Error::SameObject);
    }
    if db.find(key).is_none() || in_db(db, target, |db| db.find(key).is_some()) {
        out.int(0);
        return Ok(Effect::None);
    }
    if let Some(entry) = db.take(key) {
        in_db(db, target, |db| db.put(key, entry));
        db.changed(key, EventClass::GENERIC, "move_from");
        in_db(db, target, |db| db.changed(key, EventClass::GENERIC, "move_to"));
    }
    out.int(1);
    Ok(Effect::Verbatim)
}

fn copy(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (from, to) = (a.key()?, a.key()?);
    let (mut target, mut replace) = (db.db, false);
    while !a.is_at_end() {
        if a.flag("REPLACE") {
            replace = true;
        } else if a.option("DB") {
            let n = number::parse_i64(a.next()?).ok_or(Error::NotInteger)?;
            target = db_index(db, n).ok_or(Error::DbIndex)?;
        } else {
            return Err(Error::Syntax);
        }
    }
    if target == db.db && from.bytes == to.bytes {
        return Err(Error::SameObject);
    }
    let Some(entry) = db.get(from).map(|e| e.copied(to.bytes)) else {
        out.int(0);
        return Ok(Effect::None);
    };
    let done = in_db(db, target, |db| {
        if !replace && db.find(to).is_some() {
            return false;
        }
        db.put(to, entry);
        db.changed(to, EventClass::GENERIC, "copy_to");
        true
    });
    out.int(i64::from(done));
    Ok(Effect::verbatim_if(done))
}

// ---- OBJECT ----

/// The entry an OBJECT subcommand asks about, or the null it answers with.
fn describe(db: &mut Data<'_>, key: Key<'_>, out: &mut Reply, show: impl FnOnce(&Entry, &mut Reply)) -> Effect {
    match db.peek(key) {
        Some(e) => show(e, out),
        None => out.null(),
    }
    Effect::None
}

fn object_encoding(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    Ok(describe(db, a.key()?, out, |e, out| out.bulk(e.value().encoding(e.is_edited()).as_bytes())))
}

fn object_refcount(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let shares = db.unit.shares_integers;
    Ok(describe(db, a.key()?, out, |e, out| match e.value() {
        // Stock's objects for these are shared by all keys and never freed.
        ValueRef::Int(0..10_000) if shares => out.int(i64::from(i32::MAX)),
        _ => out.int(1),
    }))
}

fn object_idletime(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    if matches!(db.unit.policy_touch, Touch::Lfu { .. }) {
        return Err(Error::text(
            "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between \
             policies at runtime LRU and LFU data will take some time to adjust.",
        ));
    }
    let clock = db.unit.lru_clock();
    Ok(describe(db, a.key()?, out, |e, out| {
        out.int(i64::from(clock.wrapping_sub(e.access()) & 0x00ff_ffff));
    }))
}

fn object_freq(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let Touch::Lfu { decay_minutes, .. } = db.unit.policy_touch else {
        return Err(Error::text(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching \
             between policies at runtime LRU and LFU data will take some time to adjust.",
        ));
    };
    let now = db.unit.now_ms;
    Ok(describe(db, a.key()?, out, |e, out| out.int(i64::from(lfu_decayed(e.access(), now, decay_minutes)))))
}
