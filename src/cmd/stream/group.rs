//! Making, changing and removing groups and their consumers: XGROUP.

use super::super::{DataCommand, Effect, command};
use super::{ids, no_group_of_key, subcommand_error, told};
use crate::base::{Error, number};
use crate::ds::stream::{Group as StreamGroup, Stream, StreamId, UNKNOWN};
use crate::keyspace::{Data, EventClass, Key};
use crate::resp::Reply;
use crate::spec::prelude::*;

pub const XGROUP: Row = Row {
    name: "xgroup",
    arity: -2,
    since: "5.0.0",
    group: Group::Stream,
    complexity: "That of the subcommand",
    summary: "Looks after the groups that read streams.",
    ..Row::EMPTY
};

pub const XGROUP_CREATE: Row = Row {
    name: "xgroup|create",
    arity: -5,
    syntax: "key:key group id-selector:(id|new-id:'$') [mkstream:MKSTREAM] \
        [entriesread:integer=ENTRIESREAD<entries-read>]",
    flags: WRITE.or(DENYOOM),
    cats: STREAM,
    keys: &[KeySpec::at(2, RW.or(INSERT))],
    since: "5.0.0",
    group: Group::Stream,
    complexity: "O(1)",
    summary: "Makes a group that reads a stream from an id on.",
    ..Row::EMPTY
};

pub const XGROUP_CREATECONSUMER: Row = Row {
    name: "xgroup|createconsumer",
    arity: 5,
    syntax: "key:key group consumer",
    flags: WRITE.or(DENYOOM),
    cats: STREAM,
    keys: &[KeySpec::at(2, RW.or(INSERT))],
    since: "6.2.0",
    group: Group::Stream,
    complexity: "O(1)",
    summary: "Adds a consumer to a group.",
    ..Row::EMPTY
};

pub const XGROUP_DELCONSUMER: Row = Row {
    name: "xgroup|delconsumer",
    arity: 5,
    syntax: "key:key group consumer",
    flags: WRITE,
    cats: STREAM,
    keys: &[KeySpec::at(2, RW.or(DELETE))],
    since: "5.0.0",
    group: Group::Stream,
    complexity: "O(N), N being the number of entries pending for the consumer",
    summary: "Removes a consumer from a group, and what was pending for it.",
    ..Row::EMPTY
};

pub const XGROUP_DESTROY: Row = Row {
    name: "xgroup|destroy",
    arity: 4,
    syntax: "key:key group",
    flags: WRITE,
    cats: STREAM,
    keys: &[KeySpec::at(2, RW.or(DELETE))],
    since: "5.0.0",
    group: Group::Stream,
    complexity: "O(N), N being the number of entries pending in the group",
    summary: "Removes a group.",
    ..Row::EMPTY
};

pub const XGROUP_HELP: Row = Row {
    name: "xgroup|help",
    arity: 2,
    flags: LOADING.or(STALE),
    cats: STREAM,
    since: "5.0.0",
    group: Group::Stream,
    complexity: "O(1)",
    summary: "Lists the subcommands of XGROUP.",
    ..Row::EMPTY
};

pub const XGROUP_SETID: Row = Row {
    name: "xgroup|setid",
    arity: -5,
    syntax: "key:key group id-selector:(id|new-id:'$') [entriesread:integer=ENTRIESREAD<entries-read>]",
    flags: WRITE,
    cats: STREAM,
    keys: &[KeySpec::at(2, RW.or(UPDATE))],
    since: "5.0.0",
    group: Group::Stream,
    complexity: "O(1)",
    summary: "Sets the id from which a group reads on.",
    ..Row::EMPTY
};

pub const COMMANDS: &[DataCommand] = &[
    command(&XGROUP_CREATE, create),
    command(&XGROUP_CREATECONSUMER, createconsumer),
    command(&XGROUP_DELCONSUMER, delconsumer),
    command(&XGROUP_DESTROY, destroy),
    command(&XGROUP_SETID, setid),
];

const KEY_MUST_EXIST: Error = Error::text(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to \
     create an empty stream automatically.",
);

/// Options behind the id: whether to make the stream, and how many entries the group has read.
fn options(a: &mut Args<'_>, may_make: bool) -> Result<(bool, i64), Error> {
    let (mut make, mut entries_read) = (false, UNKNOWN);
    while !a.is_at_end() {
        if may_make && a.flag("MKSTREAM") {
            make = true;
        } else if a.option("ENTRIESREAD") {
            entries_read = number::parse_i64(a.next()?).ok_or(Error::NotInteger)?;
            if entries_read < 0 && entries_read != UNKNOWN {
                return Err(const { Error::text("ERR value for ENTRIESREAD must be positive or -1") });
            }
        } else {
            return Err(subcommand_error(a));
        }
    }
    Ok((make, entries_read))
}

/// The stream of a key that must be there, and must have the group if `group` says so.
fn require(db: &mut Data<'_>, key: Key<'_>, group: Option<&[u8]>) -> Result<(), Error> {
    let stream = db.view::<Stream>(key)?.ok_or(KEY_MUST_EXIST)?;
    match group {
        Some(group) if stream.group(group).is_none() => Err(no_group_of_key(key.bytes, group)),
        _ => Ok(()),
    }
}

fn create(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (key, group, id) = (a.key()?, a.next()?, a.next()?);
    let (make, entries_read) = options(a, true)?;
    let last_id = match db.view::<Stream>(key)? {
        None if !make => return Err(KEY_MUST_EXIST),
        stream => stream.map_or(StreamId::MIN, |s| s.last_id),
    };
    if a.len() > 8 {
        return Err(subcommand_error(a));
    }
    let id = if id == b"$" { last_id } else { ids::strict(id, 0)? };
    let created =
        db.edit_or_new(key, |stream: &mut Stream| stream.create_group(group, StreamGroup::new(id, entries_read)))?;
    if !created {
        return Err(const { Error::text("BUSYGROUP Consumer Group name already exists") });
    }
    out.ok();
    db.changed(key, EventClass::STREAM, "xgroup-create");
    Ok(Effect::Verbatim)
}

fn setid(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (key, group, id) = (a.key()?, a.next()?, a.next()?);
    let (_, entries_read) = options(a, false)?;
    require(db, key, Some(group))?;
    if a.len() != 5 && a.len() != 7 {
        return Err(subcommand_error(a));
    }
    let id = if id == b"$" { None } else { Some(ids::or_edge(id, 0)?) };
    db.edit(key, |stream: &mut Stream| {
        let last_id = stream.last_id;
        if let Some(group) = stream.group_mut(group) {
            group.last_id = id.unwrap_or(last_id);
            group.entries_read = entries_read;
        }
    })?;
    out.ok();
    told(db, key, "xgroup-setid");
    Ok(Effect::Verbatim)
}

fn destroy(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (key, group) = (a.key()?, a.next()?);
    require(db, key, None)?;
    let gone = db.edit(key, |stream: &mut Stream| stream.remove_group(group).is_some())?;
    let gone = gone.unwrap_or(false);
    out.int(gone.into());
    if gone {
        db.changed(key, EventClass::STREAM, "xgroup-destroy");
        // Its readers that wait are to learn of it.
        db.rouse(key);
    }
    Ok(Effect::verbatim_if(gone))
}

fn createconsumer(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (key, group, consumer) = (a.key()?, a.next()?, a.next()?);
    require(db, key, Some(group))?;
    let now_ms = db.unit.now_ms;
    let created = db.edit(key, |stream: &mut Stream| {
        stream.group_mut(group).is_some_and(|group| group.create(consumer, now_ms).is_some())
    })?;
    let created = created.unwrap_or(false);
    out.int(created.into());
    if created {
        told(db, key, "xgroup-createconsumer");
    }
    Ok(Effect::verbatim_if(created))
}

fn delconsumer(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (key, group, consumer) = (a.key()?, a.next()?, a.next()?);
    require(db, key, Some(group))?;
    let pending = db.edit(key, |stream: &mut Stream| stream.group_mut(group).and_then(|g| g.remove(consumer)))?;
    let pending = pending.flatten();
    out.int(pending.unwrap_or(0) as i64);
    if pending.is_some() {
        told(db, key, "xgroup-delconsumer");
    }
    Ok(Effect::verbatim_if(pending.is_some()))
}
