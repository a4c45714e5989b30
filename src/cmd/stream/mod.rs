//! Streams: the X commands, a file for each thing one does with them.
//!
//! What they have in common: how ids are written and how entries are told.

pub mod add;
pub mod claim;
pub mod delete;
pub mod group;
pub mod ids;
pub mod info;
pub mod pending;
pub mod range;
pub mod read;
mod trim_options;

use crate::base::Error;
use crate::ds::listpack::Item;
use crate::ds::stream::{Entry, Pending, Stream, StreamId};
use crate::keyspace::{Data, EventClass, Key};
use crate::resp::{OwnedArgv, Reply};
use crate::spec::Args;

use super::Effect;

fn reply_item(out: &mut Reply, item: Item<'_>) {
    match item {
        Item::Int(n) => out.bulk_int(n),
        Item::Str(text) => out.bulk(text),
    }
}

fn reply_id(out: &mut Reply, id: StreamId) {
    out.bulk(&id.text());
}

/// An entry: its id, and its fields and values in one array.
fn reply_entry(out: &mut Reply, entry: &Entry<'_>) {
    out.array(2);
    reply_id(out, entry.id);
    out.array(2 * entry.len());
    for (field, value) in entry.pairs() {
        reply_item(out, field);
        reply_item(out, value);
    }
}

/// Records a change that no WATCH minds: what groups know is not what the key holds, in stock servers' eyes.
fn told(db: &mut Data<'_>, key: Key<'_>, event: &'static str) {
    db.unit.dirty += 1;
    let at = db.db;
    db.unit.event(EventClass::STREAM, event, at, key.bytes);
}

/// The subcommand was not given the words it takes.
fn subcommand_error(a: &Args<'_>) -> Error {
    let shown = String::from_utf8_lossy(a.word(1)).chars().take(128).collect::<String>();
    let parent = String::from_utf8_lossy(a.word(0)).to_uppercase();
    Error::Text(format!("ERR unknown subcommand or wrong number of arguments for '{shown}'. Try {parent} HELP.").into())
}

fn no_group(key: &[u8], group: &[u8], tail: &str) -> Error {
    let (key, group) = (String::from_utf8_lossy(key), String::from_utf8_lossy(group));
    Error::Text(format!("NOGROUP No such key '{key}' or consumer group '{group}'{tail}").into())
}

fn no_group_of_key(key: &[u8], group: &[u8]) -> Error {
    let (key, group) = (String::from_utf8_lossy(key), String::from_utf8_lossy(group));
    Error::Text(format!("NOGROUP No such consumer group '{group}' for key name '{key}'").into())
}

/// Whether the key has the group. A read.
fn has_group(db: &mut Data<'_>, key: Key<'_>, group: &[u8]) -> Result<bool, Error> {
    Ok(db.read::<Stream>(key)?.is_some_and(|stream| stream.group(group).is_some()))
}

// ---- what replicas are told of groups ----

/// That an entry is pending for a consumer, or is so no more if it was deleted.
fn tell_claim(key: &[u8], group: &[u8], consumer: &[u8], id: &[u8], pending: Pending, last_id: StreamId) -> OwnedArgv {
    let (mut time, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
    OwnedArgv::from_words([
        &b"XCLAIM"[..],
        key,
        group,
        consumer,
        b"0",
        id,
        b"TIME",
        time.format(pending.delivered_ms).as_bytes(),
        b"RETRYCOUNT",
        count.format(pending.count as i64).as_bytes(),
        b"FORCE",
        b"JUSTID",
        b"LASTID",
        &last_id.text(),
    ])
}

/// How far a group has read.
fn tell_group(key: &[u8], name: &[u8], last_id: StreamId, entries_read: i64) -> OwnedArgv {
    let mut read = itoa::Buffer::new();
    OwnedArgv::from_words([
        &b"XGROUP"[..],
        b"SETID",
        key,
        name,
        &last_id.text(),
        b"ENTRIESREAD",
        read.format(entries_read).as_bytes(),
    ])
}

fn tell_consumer(key: &[u8], group: &[u8], consumer: &[u8]) -> OwnedArgv {
    OwnedArgv::from_words([&b"XGROUP"[..], b"CREATECONSUMER", key, group, consumer])
}

fn many(effects: Vec<OwnedArgv>) -> Effect {
    if effects.is_empty() { Effect::None } else { Effect::Many(effects) }
}
