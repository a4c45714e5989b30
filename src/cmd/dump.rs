//! DUMP and RESTORE: a value as it would stand in a snapshot.

use std::sync::atomic::Ordering::Relaxed;

use super::{DataCommand, Effect, command};
use crate::base::{Error, log, number};
use crate::keyspace::{Data, EventClass, ExpirePolicy, Key};
use crate::rdb::{self, Payloads, RdbError, WriteOptions};
use crate::resp::{OwnedArgv, Reply};
use crate::spec::prelude::*;

pub const DUMP: Row = Row {
    name: "dump",
    arity: 2,
    syntax: "key:key",
    flags: READONLY,
    cats: KEYSPACE,
    keys: &[KEY1_RO_ACCESS],
    tips: &["nondeterministic_output"],
    since: "2.6.0",
    group: Group::Generic,
    complexity: "O(N), N being the size of the value",
    summary: "Tells the value of a key in the serialised form that RESTORE takes.",
    ..Row::EMPTY
};

pub const RESTORE: Row = Row {
    name: "restore",
    arity: -4,
    syntax: "key:key ttl:integer serialized-value [replace:REPLACE@3.0.0] [absttl:ABSTTL@5.0.0] \
        [seconds:integer=IDLETIME@5.0.0] [frequency:integer=FREQ@5.0.0]",
    flags: WRITE.or(DENYOOM),
    cats: KEYSPACE.or(DANGEROUS),
    keys: &[KEY1_OW_UPDATE],
    since: "2.6.0",
    group: Group::Generic,
    complexity: "O(N), N being the size of the value",
    summary: "Creates a key from what DUMP told.",
    ..Row::EMPTY
};

pub const COMMANDS: &[DataCommand] = &[command(&DUMP, dump), command(&RESTORE, restore)];

fn dump(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    match payload(db, a.key()?) {
        Some(payload) => out.bulk(&payload),
        None => out.null(),
    }
    Ok(Effect::None)
}

/// What DUMP answers for a key that is there.
pub fn payload(db: &mut Data<'_>, key: Key<'_>) -> Option<Vec<u8>> {
    let options = WriteOptions { compress: db.unit.compress, ..WriteOptions::default() };
    let entry = db.get(key)?;
    let mut payload = Vec::new();
    rdb::dump(&mut payload, entry.value().into(), &options);
    Some(payload)
}

/// The options behind RESTORE's payload.
#[derive(Default)]
struct Options {
    replace: bool,
    absolute: bool,
    idle_s: Option<i64>,
    freq: Option<i64>,
}

fn options(a: &mut Args<'_>) -> Result<Options, Error> {
    let mut o = Options::default();
    while !a.is_at_end() {
        if a.flag("REPLACE") {
            o.replace = true;
        } else if a.flag("ABSTTL") {
            o.absolute = true;
        } else if o.freq.is_none() && a.option("IDLETIME") {
            let n = a.next_i64()?;
            if n < 0 {
                return Err(Error::text("ERR Invalid IDLETIME value, must be >= 0"));
            }
            o.idle_s = Some(n);
        } else if o.idle_s.is_none() && a.option("FREQ") {
            let n = a.next_i64()?;
            if !(0..=255).contains(&n) {
                return Err(Error::text("ERR Invalid FREQ value, must be >= 0 and <= 255"));
            }
            o.freq = Some(n);
        } else {
            return Err(Error::Syntax);
        }
    }
    Ok(o)
}

fn restore(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (key, ttl, payload) = (a.key()?, a.next()?, a.next()?);
    let o = options(a)?;
    if !o.replace && db.find(key).is_some() {
        return Err(Error::BusyKey);
    }
    let ttl = number::parse_i64(ttl).ok_or(Error::NotInteger)?;
    if ttl < 0 {
        return Err(Error::text("ERR Invalid TTL value, must be >= 0"));
    }
    let payloads = Payloads::Decode(db.unit.limits);
    let value = rdb::restore(payload, !rdb::SKIP_CHECKSUM.load(Relaxed), payloads).map_err(|e| match e {
        RdbError::Footer => Error::DumpChecksum,
        damaged => {
            log::warning!("A RESTORE payload is damaged: {damaged}");
            Error::BadDataFormat
        }
    })?;
    if value.is_spent() {
        return Err(Error::BadDataFormat);
    }
    let now = db.unit.now_ms;
    let at = match ttl {
        0 => None,
        at if o.absolute => Some(at),
        ms => Some(ms.saturating_add(now)),
    };
    let existed = o.replace && db.delete(key);
    if at.is_some_and(|at| at <= now) && db.unit.policy == ExpirePolicy::Delete {
        out.ok();
        // Over before it began: what is left of it is that the old one is gone.
        return Ok(if existed { Effect::gone(key, db.unit.lazy_server_del) } else { Effect::None });
    }
    let entry = value.into_entry(key.bytes, at).map_err(|_| Error::BadDataFormat)?;
    let lfu = matches!(db.unit.policy_touch, crate::keyspace::unit::Touch::Lfu { .. });
    let access = match (o.freq, o.idle_s) {
        (Some(freq), _) if lfu => db.unit.fresh_access() & !0xff | freq as u32,
        (_, Some(idle)) if !lfu => db.unit.lru_clock().wrapping_sub(idle as u32) & 0x00ff_ffff,
        _ => db.unit.fresh_access(),
    };
    entry.set_access(access);
    db.put(key, entry);
    db.changed(key, EventClass::GENERIC, "restore");
    out.ok();
    let Some(at) = at.filter(|_| !o.absolute) else { return Ok(Effect::Verbatim) };
    // Replicas get the instant, not the span.
    let mut argv = OwnedArgv::default();
    for (i, word) in a.argv().iter().enumerate() {
        if i == 2 {
            argv.push(itoa::Buffer::new().format(at).as_bytes());
        } else {
            argv.push(word);
        }
    }
    argv.push(b"ABSTTL");
    Ok(Effect::Rewrite(argv))
}
