//! Values as the commands that make them: a base file without `aof-use-rdb-preamble`.
//!
//! The commands are those of stock servers, of at most 64 elements each, so that any of them loads the file. Knows no file.

use crate::base::number;
use crate::ds::hash::Hash;
use crate::ds::listpack::Item;
use crate::ds::stream::{Group, Stream, StreamId};
use crate::keyspace::ValueRef;
use crate::keyspace::entry::Entry;
use crate::resp::encode_command;

/// Elements told in one command.
const AT_ONCE: usize = 64;

pub fn put_select_db(out: &mut Vec<u8>, db: u32) {
    encode_command(out, [&b"SELECT"[..], itoa::Buffer::new().format(db).as_bytes()]);
}

/// The commands that make this key.
pub fn put_entry(out: &mut Vec<u8>, entry: &Entry) {
    let key = entry.key();
    let mut text = itoa::Buffer::new();
    match entry.value() {
        value @ (ValueRef::Int(_) | ValueRef::Str(_) | ValueRef::Large(_)) => {
            encode_command(out, [b"SET", key, value.as_str(&mut text)]);
        }
        ValueRef::List(list) => {
            let mut put = Elements::new(out, b"RPUSH", key, 1);
            list.for_each(|item| put.item(item));
            put.finish();
        }
        ValueRef::Set(set) => {
            let mut put = Elements::new(out, b"SADD", key, 1);
            set.iter().for_each(|member| put.item(member));
            put.finish();
        }
        ValueRef::ZSet(set) => {
            let mut put = Elements::new(out, b"ZADD", key, 2);
            let mut score_text = Vec::new();
            for (member, score) in set.iter() {
                score_text.clear();
                number::push_f64_17(&mut score_text, score);
                put.word(&score_text);
                put.item(member);
            }
            put.finish();
        }
        ValueRef::Hash(hash) => put_hash(out, key, hash),
        ValueRef::Stream(stream) => put_stream(out, key, stream),
    }
    if let Some(at_ms) = entry.expire_ms() {
        encode_command(out, [b"PEXPIREAT", key, text.format(at_ms).as_bytes()]);
    }
}

/// Collects elements of `width` words each, and writes a command whenever there are enough.
struct Elements<'a> {
    out: &'a mut Vec<u8>,
    name: &'static [u8],
    key: &'a [u8],
    words: Vec<u8>,
    ends: Vec<usize>,
    full: usize,
}

impl<'a> Elements<'a> {
    fn new(out: &'a mut Vec<u8>, name: &'static [u8], key: &'a [u8], width: usize) -> Self {
        Self { out, name, key, words: Vec::new(), ends: Vec::new(), full: AT_ONCE * width }
    }

    fn word(&mut self, word: &[u8]) {
        if self.ends.len() == self.full {
            self.write();
        }
        self.words.extend_from_slice(word);
        self.ends.push(self.words.len());
    }

    fn item(&mut self, item: Item<'_>) {
        self.word(item.bytes(&mut itoa::Buffer::new()));
    }

    fn write(&mut self) {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let words = starts.zip(&self.ends).map(|(from, to)| &self.words[from..*to]);
        encode_command(self.out, [self.name, self.key].into_iter().chain(words));
        self.words.clear();
        self.ends.clear();
    }

    fn finish(mut self) {
        if !self.ends.is_empty() {
            self.write();
        }
    }
}

fn put_hash(out: &mut Vec<u8>, key: &[u8], hash: &Hash) {
    let mut put = Elements::new(out, b"HMSET", key, 2);
    for pair in hash.iter() {
        put.item(pair.field);
        put.item(pair.value);
    }
    put.finish();
    for pair in hash.iter() {
        if let Some(at_ms) = pair.expire_ms {
            let (mut at, mut field) = (itoa::Buffer::new(), itoa::Buffer::new());
            let (at, field) = (at.format(at_ms).as_bytes(), pair.field.bytes(&mut field));
            encode_command(out, [b"HPEXPIREAT", key, at, b"FIELDS", b"1", field]);
        }
    }
}

fn put_stream(out: &mut Vec<u8>, key: &[u8], stream: &Stream) {
    let id = |id: StreamId| id.joined_by(b'-');
    if stream.is_empty() {
        // It must have had an entry to be there at all, and none remains.
        let at = stream.last_id.max(StreamId { ms: 0, seq: 1 });
        encode_command(out, [b"XADD", key, b"MAXLEN", b"0", &*id(at), b"x", b"y"]);
    }
    for entry in stream.range(StreamId::MIN, StreamId::MAX) {
        let mut words: Vec<Vec<u8>> = vec![b"XADD".to_vec(), key.to_vec(), id(entry.id).to_vec()];
        let mut text = itoa::Buffer::new();
        for (field, value) in entry.pairs() {
            words.push(field.bytes(&mut text).to_vec());
            words.push(value.bytes(&mut text).to_vec());
        }
        encode_command(out, words.iter());
    }
    let added = stream.entries_added.to_string();
    encode_command(
        out,
        [
            b"XSETID",
            key,
            &*id(stream.last_id),
            b"ENTRIESADDED",
            added.as_bytes(),
            b"MAXDELETEDID",
            &*id(stream.max_deleted_id),
        ],
    );
    for (name, group) in stream.groups() {
        let read = group.entries_read.to_string();
        let last_id = id(group.last_id);
        encode_command(out, [&b"XGROUP"[..], b"CREATE", key, name, &*last_id, b"ENTRIESREAD", read.as_bytes()]);
        put_consumers(out, key, name, group);
    }
}

fn put_consumers(out: &mut Vec<u8>, key: &[u8], name: &[u8], group: &Group) {
    for consumer in group.consumers() {
        encode_command(out, [&b"XGROUP"[..], b"CREATECONSUMER", key, name, &consumer.name]);
        for id in consumer.pending() {
            let Some(pending) = group.pending().get(id) else { continue };
            let (delivered, count) = (pending.delivered_ms.to_string(), pending.count.to_string());
            let id = id.joined_by(b'-');
            let words: [&[u8]; 12] = [
                b"XCLAIM",
                key,
                name,
                &consumer.name,
                b"0",
                &id,
                b"TIME",
                delivered.as_bytes(),
                b"RETRYCOUNT",
                count.as_bytes(),
                b"JUSTID",
                b"FORCE",
            ];
            encode_command(out, words);
        }
    }
}
