//! Adding entries and trimming old ones away: XADD, XTRIM, and XSETID, which only says that there were entries.

use super::super::{DataCommand, Effect, command};
use super::trim_options::{Options, Reading};
use super::{ids, reply_id, told};
use crate::base::{Error, number};
use crate::ds::stream::{AddError, NewId, Stream, StreamId, Trimmed};
use crate::keyspace::{Data, EventClass, ExpirePolicy};
use crate::resp::{OwnedArgv, Reply};
use crate::spec::prelude::*;

pub const XADD: Row = Row {
    name: "xadd",
    arity: -5,
    syntax: "key:key [nomkstream:NOMKSTREAM@6.2.0] [condition:(keepref:KEEPREF|delref:DELREF|acked:ACKED)@8.2.0] \
        [trim:{strategy:(maxlen:MAXLEN|minid:MINID@6.2.0) [operator:(equal:'='|approximately:'~')] threshold \
        [count:integer=LIMIT@6.2.0]}] id-selector:(auto-id:'*'|id) data:{field value}...",
    flags: WRITE.or(DENYOOM).or(FAST),
    cats: STREAM,
    keys: &[KEY1_RW_UPDATE.noted("An update, not an insertion, since it may trim as well")],
    tips: &["nondeterministic_output"],
    since: "5.0.0",
    group: Group::Stream,
    complexity: "O(1) to add an entry, and O(N) to trim N entries away",
    summary: "Adds an entry to a stream, creating it where there is none.",
    ..Row::EMPTY
};

pub const XSETID: Row = Row {
    name: "xsetid",
    arity: -3,
    syntax: "key:key last-id [entries-added:integer=ENTRIESADDED@7.0.0] [max-deleted-id=MAXDELETEDID@7.0.0]",
    flags: WRITE.or(DENYOOM).or(FAST),
    cats: STREAM,
    keys: &[KEY1_RW_UPDATE],
    since: "5.0.0",
    group: Group::Stream,
    complexity: "O(1)",
    summary: "Sets the last id of a stream and what it counts: for servers that copy one.",
    ..Row::EMPTY
};

pub const XTRIM: Row = Row {
    name: "xtrim",
    arity: -4,
    syntax: "key:key trim:{strategy:(maxlen:MAXLEN|minid:MINID@6.2.0) [operator:(equal:'='|approximately:'~')] \
        threshold [count:integer=LIMIT@6.2.0] [condition:(keepref:KEEPREF|delref:DELREF|acked:ACKED)@8.2.0]}",
    flags: WRITE,
    cats: STREAM,
    keys: &[KEY1_RW_DELETE],
    tips: &["nondeterministic_output"],
    since: "5.0.0",
    group: Group::Stream,
    complexity: "O(N), N being the number of entries that go; whole nodes of them go at once",
    summary: "Trims the oldest entries of a stream away.",
    ..Row::EMPTY
};

pub const COMMANDS: &[DataCommand] = &[command(&XADD, xadd), command(&XSETID, xsetid), command(&XTRIM, xtrim)];

/// What was done to the stream.
struct Added {
    id: StreamId,
    trimmed: u64,
    tell: Option<OwnedArgv>,
}

fn xadd(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    const NOT_LARGER: Error =
        Error::text("ERR The ID specified in XADD is equal or smaller than the target stream top item");
    const EXHAUSTED: Error = Error::text("ERR The stream has exhausted the last possible ID, unable to add more items");
    const TOO_LARGE: Error = Error::text("ERR Elements are too large to be stored");
    let argv = a.argv();
    let obey = db.unit.policy == ExpirePolicy::Ignore;
    let o = Options::parse(&argv, Reading { add: true, obey, limits: &db.unit.limits })?;
    let first = o.id_at + 1;
    let words = argv.len().saturating_sub(first);
    if words < 2 || !words.is_multiple_of(2) {
        return Err(Error::Arity(a.name().to_owned()));
    }
    if o.id == NewId::Exact(StreamId::MIN) {
        return Err(const { Error::text("ERR The ID specified in XADD must be greater than 0-0") });
    }
    let key = a.key()?;
    if !o.create && db.view::<Stream>(key)?.is_none() {
        out.null();
        return Ok(Effect::None);
    }
    let pairs = (first..argv.len()).step_by(2).map(move |i| (argv.word(i), argv.word(i + 1)));
    let (limits, now_ms) = (db.unit.limits, db.unit.now_ms.max(0) as u64);
    let add = |stream: &mut Stream| {
        if stream.last_id == StreamId::MAX {
            return Err(EXHAUSTED);
        }
        let id = stream.add(o.id, now_ms, words / 2, pairs, &limits).map_err(|e| match e {
            AddError::Id => NOT_LARGER,
            AddError::TooLarge => TOO_LARGE,
        })?;
        let none = Trimmed { entries: 0, up_to: StreamId::MIN };
        let trimmed = o.trim.map_or(none, |trim| stream.trim(&trim));
        let chosen = (!matches!(o.id, NewId::Exact(_))).then_some(id);
        let tell = o.exact(&argv, stream, trimmed, chosen);
        Ok(Added { id, trimmed: trimmed.entries, tell })
    };
    let added = db.edit_or_new(key, add)??;
    reply_id(out, added.id);
    db.changed(key, EventClass::STREAM, "xadd");
    db.rouse(key);
    if added.trimmed > 0 {
        let at = db.db;
        db.unit.event(EventClass::STREAM, "xtrim", at, key.bytes);
    }
    Ok(added.tell.map_or(Effect::Verbatim, Effect::Rewrite))
}

fn xtrim(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let argv = a.argv();
    let obey = db.unit.policy == ExpirePolicy::Ignore;
    let o = Options::parse(&argv, Reading { add: false, obey, limits: &db.unit.limits })?;
    let key = a.key()?;
    let Some(trim) = o.trim else { return Err(Error::Syntax) };
    let done = db.edit(key, |stream: &mut Stream| {
        let trimmed = stream.trim(&trim);
        (trimmed.entries, o.exact(&argv, stream, trimmed, None))
    })?;
    let (deleted, tell) = done.unwrap_or((0, None));
    out.int(deleted as i64);
    if deleted == 0 {
        return Ok(Effect::None);
    }
    db.changed(key, EventClass::STREAM, "xtrim");
    db.unit.dirty += deleted - 1;
    Ok(tell.map_or(Effect::Verbatim, Effect::Rewrite))
}

fn xsetid(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    let id = ids::strict(a.next()?, 0)?;
    let (mut added, mut max_deleted) = (None, StreamId::MIN);
    while !a.is_at_end() {
        if a.option("ENTRIESADDED") {
            let n = number::parse_i64(a.next()?).ok_or(Error::NotInteger)?;
            let n = u64::try_from(n);
            added = Some(n.map_err(|_| const { Error::text("ERR entries_added must be positive") })?);
        } else if a.option("MAXDELETEDID") {
            max_deleted = ids::strict(a.next()?, 0)?;
            if id < max_deleted {
                return Err(const {
                    Error::text("ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id")
                });
            }
        } else {
            return Err(Error::Syntax);
        }
    }
    let set = |stream: &mut Stream| {
        if id < stream.max_deleted_id {
            return Err(
                const { Error::text("ERR The ID specified in XSETID is smaller than current max_deleted_entry_id") },
            );
        }
        if stream.last_entry_id().is_some_and(|last| id < last) {
            return Err(
                const { Error::text("ERR The ID specified in XSETID is smaller than the target stream top item") },
            );
        }
        if !stream.is_empty() && added.is_some_and(|added| stream.len() as u64 > added) {
            return Err(const {
                Error::text("ERR The entries_added specified in XSETID is smaller than the target stream length")
            });
        }
        stream.last_id = id;
        stream.entries_added = added.unwrap_or(stream.entries_added);
        if !max_deleted.is_zero() {
            stream.max_deleted_id = max_deleted;
        }
        Ok(())
    };
    db.edit(key, set)?.ok_or(Error::NoSuchKey)??;
    out.ok();
    told(db, key, "xsetid");
    Ok(Effect::Verbatim)
}
