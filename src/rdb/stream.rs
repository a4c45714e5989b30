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
            return input.corrupt("Stream listpack integrity check failed");
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
            return input.corrupt("Duplicate stream consumer detected");
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

#[cfg(test)]
mod tests {
    use super::super::{Payloads, Value, ValueRef, dump, restore};
    use super::*;
    use crate::ds::stream::NewId;
    use crate::keyspace::Object;

    fn sample() -> Stream {
        let mut stream = Stream::default();
        for i in 1..=250 {
            let pairs = [(&b"field"[..], &b"value"[..]), (b"n", b"12")];
            stream.add(NewId::Ms(i), 0, 2, pairs.into_iter(), &Limits::default()).unwrap();
        }
        stream.create_group(b"g", Group::new(StreamId::new(1, 0), 1));
        let group = stream.group_mut(b"g").unwrap();
        let consumer = group.create(b"c", 1000).unwrap();
        group.create(b"idle", 2000).unwrap();
        group.assign(StreamId::new(1, 0), consumer, 3000, 4);
        group.consumer_mut(consumer).active_ms = 900;
        stream
    }

    fn read_back(payload: &[u8]) -> Option<Stream> {
        match restore(payload, false, Payloads::Decode(Limits::default())) {
            Ok(Value::Object(Object::Stream(stream))) => Some(stream),
            _ => None,
        }
    }

    fn bytes(stream: &Stream, version: u32) -> Vec<u8> {
        let options = WriteOptions { version: Version::new(version).unwrap(), compress: false };
        let mut out = Vec::new();
        dump(&mut out, ValueRef::Stream(stream), &options);
        out
    }

    #[test]
    fn a_stream_comes_back_as_it_was_written() {
        let stream = sample();
        let v11 = bytes(&stream, 11);
        assert_eq!(v11[0], 21);
        assert_eq!(bytes(&read_back(&v11).unwrap(), 11), v11);
        let v10 = bytes(&stream, 10);
        assert_eq!(v10[0], 19);
        let back = read_back(&v10).unwrap();
        assert_eq!(bytes(&back, 10), v10);
        // What version 10 does not say is taken from the last attempt.
        let active: Vec<i64> = back.group(b"g").unwrap().consumers().map(|c| c.active_ms).collect();
        assert_eq!(active, [1000, 2000]);
    }

    #[test]
    fn the_first_format_gets_its_counters_from_the_entries() {
        let stream = sample();
        let mut old = vec![15];
        put_len(&mut old, stream.nodes().len() as u64);
        for (id, node) in stream.nodes() {
            put_string(&mut old, &id.to_bytes(), false);
            put_string(&mut old, node.as_bytes(), true);
        }
        put_len(&mut old, 250);
        put_id(&mut old, stream.last_id);
        put_len(&mut old, 2);
        for (name, last) in [(b"a", stream.last_id), (b"b", StreamId::new(100, 0))] {
            put_string(&mut old, name, false);
            put_id(&mut old, last);
            old.extend([0, 0]);
        }
        old.extend([6, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let back = read_back(&old).unwrap();
        assert_eq!((back.len(), back.entries_added, back.first_id), (250, 250, StreamId::new(1, 0)));
        let read: Vec<i64> = back.groups().map(|(_, g)| g.entries_read).collect();
        assert_eq!(read, [250, UNKNOWN]);
    }

    #[test]
    fn what_does_not_add_up_is_refused() {
        let whole = bytes(&sample(), 11);
        let footer = whole.len() - 10;
        for end in (0..footer).step_by(97) {
            assert!(read_back(&[&whole[..end], &whole[footer..]].concat()).is_none(), "cut at {end}");
        }
        // A huge count is followed by nothing: no memory is taken for it.
        for body in
            [&[21, 0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..], &[21, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]]
        {
            assert!(read_back(&[body, &whole[footer..]].concat()).is_none());
        }
    }
}
