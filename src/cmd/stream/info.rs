//! Looking inside: XINFO.

use super::super::{DataCommand, Effect, command};
use super::range::reply_entries;
use super::{no_group_of_key, reply_entry, reply_id, subcommand_error};
use crate::base::Error;
use crate::ds::stream::{Entry, Group as StreamGroup, Stream, StreamId, UNKNOWN};
use crate::keyspace::Data;
use crate::resp::Reply;
use crate::spec::prelude::*;

pub const XINFO: Row = Row {
    name: "xinfo",
    arity: -2,
    since: "5.0.0",
    group: Group::Stream,
    complexity: "That of the subcommand",
    summary: "Looks inside streams.",
    ..Row::EMPTY
};

pub const XINFO_CONSUMERS: Row = Row {
    name: "xinfo|consumers",
    arity: 4,
    syntax: "key:key group",
    flags: READONLY,
    cats: STREAM,
    keys: &[KeySpec::at(2, RO.or(ACCESS))],
    tips: &["nondeterministic_output"],
    since: "5.0.0",
    group: Group::Stream,
    complexity: "O(N), N being the number of consumers",
    summary: "Tells of the consumers of a group.",
    ..Row::EMPTY
};

pub const XINFO_GROUPS: Row = Row {
    name: "xinfo|groups",
    arity: 3,
    syntax: "key:key",
    flags: READONLY,
    cats: STREAM,
    keys: &[KeySpec::at(2, RO.or(ACCESS))],
    since: "5.0.0",
    group: Group::Stream,
    complexity: "O(N), N being the number of groups",
    summary: "Tells of the groups of a stream.",
    ..Row::EMPTY
};

pub const XINFO_HELP: Row = Row {
    name: "xinfo|help",
    arity: 2,
    flags: LOADING.or(STALE),
    cats: STREAM,
    since: "5.0.0",
    group: Group::Stream,
    complexity: "O(1)",
    summary: "Lists the subcommands of XINFO.",
    ..Row::EMPTY
};

pub const XINFO_STREAM: Row = Row {
    name: "xinfo|stream",
    arity: -3,
    syntax: "key:key [full-block:{full:FULL [count:integer=COUNT]}]",
    flags: READONLY,
    cats: STREAM,
    keys: &[KeySpec::at(2, RO.or(ACCESS))],
    since: "5.0.0",
    group: Group::Stream,
    complexity: "O(N), N being the number of nodes, and what is told of entries and groups with FULL",
    summary: "Tells of a stream, and with FULL of all there is to it.",
    ..Row::EMPTY
};

pub const COMMANDS: &[DataCommand] =
    &[command(&XINFO_CONSUMERS, consumers), command(&XINFO_GROUPS, groups), command(&XINFO_STREAM, stream)];

/// FULL without a count tells of so many entries and pending entries.
const FULL_COUNT: usize = 10;

fn field_int(out: &mut Reply, name: &str, value: i64) {
    out.bulk(name.as_bytes());
    out.int(value);
}

fn field_id(out: &mut Reply, name: &str, id: StreamId) {
    out.bulk(name.as_bytes());
    reply_id(out, id);
}

fn field_optional(out: &mut Reply, name: &str, value: Option<i64>) {
    out.bulk(name.as_bytes());
    match value {
        Some(n) => out.int(n),
        None => out.null(),
    }
}

fn consumers(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (key, name) = (a.key()?, a.next()?);
    let now_ms = db.unit.now_ms;
    let stream = db.read::<Stream>(key)?.ok_or(Error::NoSuchKey)?;
    let group = stream.group(name).ok_or_else(|| no_group_of_key(key.bytes, name))?;
    out.array(group.consumers().len());
    for consumer in group.consumers() {
        out.map(4);
        out.bulk(b"name");
        out.bulk(&consumer.name);
        field_int(out, "pending", consumer.pending().len() as i64);
        field_int(out, "idle", now_ms.wrapping_sub(consumer.seen_ms).max(0));
        let inactive = if consumer.active_ms == -1 { -1 } else { now_ms.wrapping_sub(consumer.active_ms) };
        field_int(out, "inactive", inactive);
    }
    Ok(Effect::None)
}

fn known(entries_read: i64) -> Option<i64> {
    (entries_read != UNKNOWN).then_some(entries_read)
}

fn groups(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let stream = db.read::<Stream>(a.key()?)?.ok_or(Error::NoSuchKey)?;
    out.array(stream.groups().len());
    for (name, group) in stream.groups() {
        out.map(6);
        out.bulk(b"name");
        out.bulk(name);
        field_int(out, "consumers", group.consumers().len() as i64);
        field_int(out, "pending", group.pending().len() as i64);
        field_id(out, "last-delivered-id", group.last_id);
        field_optional(out, "entries-read", known(group.entries_read));
        field_optional(out, "lag", stream.lag(group));
    }
    Ok(Effect::None)
}

fn stream(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    let stream = db.read::<Stream>(key)?.ok_or(Error::NoSuchKey)?;
    let full = match a.left() {
        0 => None,
        1 if a.flag("FULL") => Some(FULL_COUNT),
        3 if a.flag("FULL") && a.flag("COUNT") => Some(match a.next_i64()? {
            0 => usize::MAX,
            count => usize::try_from(count).unwrap_or(FULL_COUNT),
        }),
        _ => return Err(subcommand_error(a)),
    };
    out.map(if full.is_some() { 9 } else { 10 });
    field_int(out, "length", stream.len() as i64);
    field_int(out, "radix-tree-keys", stream.nodes().len() as i64);
    field_int(out, "radix-tree-nodes", stream.tree_nodes() as i64);
    field_id(out, "last-generated-id", stream.last_id);
    field_id(out, "max-deleted-entry-id", stream.max_deleted_id);
    field_int(out, "entries-added", stream.entries_added as i64);
    field_id(out, "recorded-first-entry-id", stream.first_id);
    match full {
        None => {
            let entry = |out: &mut Reply, name: &str, entry: Option<Entry<'_>>| {
                out.bulk(name.as_bytes());
                match entry {
                    Some(entry) => reply_entry(out, &entry),
                    None => out.null(),
                }
            };
            field_int(out, "groups", stream.groups().len() as i64);
            entry(out, "first-entry", stream.range(StreamId::MIN, StreamId::MAX).next());
            entry(out, "last-entry", stream.range_back(StreamId::MIN, StreamId::MAX).next());
        }
        Some(count) => {
            out.bulk(b"entries");
            reply_entries(out, stream.range(StreamId::MIN, StreamId::MAX).take(count));
            out.bulk(b"groups");
            out.array(stream.groups().len());
            for (name, group) in stream.groups() {
                full_group(out, stream, name, group, count);
            }
        }
    }
    Ok(Effect::None)
}

fn full_group(out: &mut Reply, stream: &Stream, name: &[u8], group: &StreamGroup, count: usize) {
    out.map(7);
    out.bulk(b"name");
    out.bulk(name);
    field_id(out, "last-delivered-id", group.last_id);
    field_optional(out, "entries-read", known(group.entries_read));
    field_optional(out, "lag", stream.lag(group));
    field_int(out, "pel-count", group.pending().len() as i64);
    out.bulk(b"pending");
    out.array(group.pending().len().min(count));
    for (id, pending) in group.pending().iter().take(count) {
        out.array(4);
        reply_id(out, *id);
        out.bulk(&group.consumer(pending.consumer).name);
        out.int(pending.delivered_ms);
        out.int(pending.count as i64);
    }
    out.bulk(b"consumers");
    out.array(group.consumers().len());
    for consumer in group.consumers() {
        out.map(5);
        out.bulk(b"name");
        out.bulk(&consumer.name);
        field_int(out, "seen-time", consumer.seen_ms);
        field_int(out, "active-time", consumer.active_ms);
        field_int(out, "pel-count", consumer.pending().len() as i64);
        out.bulk(b"pending");
        out.array(consumer.pending().len().min(count));
        for id in consumer.pending().iter().take(count) {
            out.array(3);
            reply_id(out, *id);
            let pending = group.pending().get(id);
            out.int(pending.map_or(0, |p| p.delivered_ms));
            out.int(pending.map_or(0, |p| p.count as i64));
        }
    }
}
