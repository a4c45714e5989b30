//! Entries ordered by their ids, and the groups that read them, as they stand in an RDB (see `payload` for the layout). Must
//! not know whose they are.
//!
//! Nodes are written and read as they are, but every one that comes from outside is looked through first.

use std::collections::BTreeMap;
use std::io::Read;

use super::encode::{put_len, put_string};
use super::error::Result;
use super::format::{Kind, Version};
use super::input::Input;
use super::value::WriteOptions;
use crate::ds::Limits;
use crate::ds::stream::{Group, Node, Stream, StreamId, UNKNOWN};

/// The first version whose readers know of a consumer's activity.
const WITH_ACTIVITY: u16 = 11;

/// How it is written.
pub(super) fn kind(_value: &Stream, options: &WriteOptions) -> Kind {
    if knows_activity(options.version) { Kind::Stream3 } else { Kind::Stream2 }
}

fn knows_activity(version: Version) -> bool {
    version.number() >= WITH_ACTIVITY
}

pub(super) fn write(out: &mut Vec<u8>, value: &Stream, options: &WriteOptions) {
    put_len(out, value.nodes().len() as u64);
    for (id, node) in value.nodes() {
        put_string(out, &id.to_bytes(), options.compress);
        put_string(out, node.as_bytes(), options.compress);
    }
    put_len(out, value.len() as u64);
    put_id(out, value.last_id);
    put_id(out, value.first_id);
    put_id(out, value.max_deleted_id);
    put_len(out, value.entries_added);
    put_len(out, value.groups().len() as u64);
    for (name, group) in value.groups() {
        put_string(out, name, options.compress);
        put_id(out, group.last_id);
        put_len(out, group.entries_read as u64);
        put_group(out, group, options);
    }
}

fn put_id(out: &mut Vec<u8>, id: StreamId) {
    put_len(out, id.ms);
    put_len(out, id.seq);
}

fn put_group(out: &mut Vec<u8>, group: &Group, options: &WriteOptions) {
    put_len(out, group.pending().len() as u64);
    for (id, pending) in group.pending() {
        out.extend_from_slice(&id.to_bytes());
        out.extend_from_slice(&pending.delivered_ms.to_le_bytes());
        put_len(out, pending.count);
    }
    put_len(out, group.consumers().len() as u64);
    for consumer in group.consumers() {
        put_string(out, &consumer.name, options.compress);
        out.extend_from_slice(&consumer.seen_ms.to_le_bytes());
        if knows_activity(options.version) {
            out.extend_from_slice(&consumer.active_ms.to_le_bytes());
        }
        put_len(out, consumer.pending().len() as u64);
        consumer.pending().iter().for_each(|id| out.extend_from_slice(&id.to_bytes()));
    }
}

pub(super) fn read<R: Read>(kind: Kind, input: &mut Input<R>, _limits: &Limits) -> Result<Stream> {
    let counted = kind != Kind::Stream;
    let mut nodes = BTreeMap::new();
    for _ in 0..input.len()? {
        let key = string(input)?;
        let Ok(key) = <[u8; 16]>::try_from(&*key) else {
            return input.corrupt("a stream's node has a key that is no id");
        };
        let Ok(node) = Node::from_bytes(string(input)?) else {
            return input.corrupt("a stream's node is not what it should be");
        };
        if nodes.insert(StreamId::from_bytes(key), node).is_some() {
            return input.corrupt("a stream has two nodes of one id");
        }
    }
    let without_nodes = nodes.is_empty();
    let mut stream = Stream::from_nodes(nodes, input.len()?);
    if !stream.is_empty() && without_nodes {
        return input.corrupt("a stream counts entries but has none");
    }
    stream.last_id = id(input)?;
    if counted {
        stream.first_id = id(input)?;
        stream.max_deleted_id = id(input)?;
        stream.entries_added = input.len()?;
    } else {
        stream.entries_added = stream.len() as u64;
        stream.first_id = stream.first_entry_id().unwrap_or(StreamId::MAX);
    }
    for _ in 0..input.len()? {
        let name = string(input)?;
        let last_id = id(input)?;
        let entries_read = if counted { input.len()? as i64 } else { stream.position_of(last_id).unwrap_or(UNKNOWN) };
        let group = read_group(kind, input, Group::new(last_id, entries_read))?;
        if !stream.create_group(&name, group) {
            return input.corrupt("a stream has two groups of one name");
        }
    }
    Ok(stream)
}

fn read_group<R: Read>(kind: Kind, input: &mut Input<R>, mut group: Group) -> Result<Group> {
    let mut unclaimed = BTreeMap::new();
    for _ in 0..input.len()? {
        let id = StreamId::from_bytes(input.array()?);
        let delivered_ms = i64::from_le_bytes(input.array()?);
        if unclaimed.insert(id, (delivered_ms, input.len()?)).is_some() {
            return input.corrupt("an entry is pending twice in a group");
        }
    }
    for _ in 0..input.len()? {
        let name = string(input)?;
        let seen_ms = i64::from_le_bytes(input.array()?);
        let active_ms = if kind == Kind::Stream3 { i64::from_le_bytes(input.array()?) } else { seen_ms };
        let Some(consumer) = group.create(&name, seen_ms) else {
            return input.corrupt("a group has two consumers of one name");
        };
        group.consumer_mut(consumer).active_ms = active_ms;
        for _ in 0..input.len()? {
            let id = StreamId::from_bytes(input.array()?);
            let Some((delivered_ms, count)) = unclaimed.remove(&id) else {
                return input.corrupt("an entry is pending for a consumer but not in its group, or for two consumers");
            };
            group.assign(id, consumer, delivered_ms, count);
        }
    }
    if unclaimed.is_empty() { Ok(group) } else { input.corrupt("an entry is pending for no consumer") }
}

fn id<R: Read>(input: &mut Input<R>) -> Result<StreamId> {
    Ok(StreamId::new(input.len()?, input.len()?))
}

fn string<R: Read>(input: &mut Input<R>) -> Result<Vec<u8>> {
    let piece = input.string()?;
    Ok(input.resolve(piece).into_owned())
}
