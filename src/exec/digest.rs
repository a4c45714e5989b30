//! Fingerprints of data sets, bit for bit those of stock servers: what DEBUG DIGEST and DIGEST-VALUE answer.
//!
//! ```text
//! xor(d, x) = d ^ SHA1(x)              the order of such steps does not matter
//! mix(d, x) = SHA1(d ^ SHA1(x))        here it does
//!
//! data set  = for each database that has keys: mix its number, then xor in the digest of each key
//! key       = mix(key), then its value:  mix(type), mix(string), and xor("!!expire!!") if it expires
//! ```
//! Numbers are four bytes, most significant first. Knows no command.

use sha1::{Digest as _, Sha1};

use crate::base::number;
use crate::ds::hash::Pair;
use crate::ds::stream::{Group, Stream, StreamId};
use crate::ds::zset::ZSet;
use crate::keyspace::{Data, Entry, ExpirePolicy, Type, ValueRef};

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Digest([u8; 20]);

impl Digest {
    fn xor(&mut self, bytes: &[u8]) {
        self.0.iter_mut().zip(Sha1::digest(bytes)).for_each(|(mine, theirs)| *mine ^= theirs);
    }

    fn mix(&mut self, bytes: &[u8]) {
        self.xor(bytes);
        self.0 = Sha1::digest(self.0).into();
    }

    fn mix_value(&mut self, entry: &Entry) {
        let value = entry.value();
        match value.kind() {
            Type::String => {
                self.mix(&0u32.to_be_bytes());
                self.mix(value.as_str(&mut itoa::Buffer::new()));
            }
            Type::Set => {
                self.mix(&2u32.to_be_bytes());
                if let ValueRef::Set(set) = value {
                    set.iter().for_each(|m| self.xor(m.bytes(&mut itoa::Buffer::new())));
                }
            }
            Type::ZSet => {
                self.mix(&3u32.to_be_bytes());
                if let ValueRef::ZSet(set) = value {
                    self.xor_members(set);
                }
            }
            Type::Stream => {
                if let ValueRef::Stream(stream) = value {
                    self.mix_stream(stream);
                }
            }
            Type::Hash => {
                self.mix(&4u32.to_be_bytes());
                if let ValueRef::Hash(hash) = value {
                    hash.iter().for_each(|pair| self.xor(&of_field(pair).0));
                }
            }
            Type::List => {
                self.mix(&1u32.to_be_bytes());
                if let ValueRef::List(list) = value {
                    list.for_each(|item| self.mix(item.bytes(&mut itoa::Buffer::new())));
                }
            }
        }
        if entry.expire_ms().is_some() {
            self.xor(b"!!expire!!");
        }
    }

    /// Each member is mixed with its score; their order does not matter.
    fn xor_members(&mut self, set: &ZSet) {
        let (mut member_text, mut score_text) = (itoa::Buffer::new(), Vec::new());
        for (member, score) in set.iter() {
            let mut one = Self::default();
            one.mix(member.bytes(&mut member_text));
            score_text.clear();
            number::push_f64_17(&mut score_text, score);
            one.mix(&score_text);
            self.xor(&one.0);
        }
    }

    /// Entries only: what groups know of them is no part of the data.
    fn mix_stream(&mut self, stream: &Stream) {
        self.mix(&6u32.to_be_bytes());
        for entry in stream.range(StreamId::MIN, StreamId::MAX) {
            self.mix(&entry.id.joined_by(b'.'));
            for (field, value) in entry.pairs() {
                self.mix(field.bytes(&mut itoa::Buffer::new()));
                self.mix(value.bytes(&mut itoa::Buffer::new()));
            }
        }
    }

    pub fn hex(&self) -> String {
        self.0.iter().map(|b| format!("{b:02x}")).collect()
    }
}

/// Of one field of a hash: its name, its value and whether it expires.
fn of_field(pair: Pair<'_>) -> Digest {
    let (mut digest, mut text) = (Digest::default(), itoa::Buffer::new());
    digest.mix(pair.field.bytes(&mut text));
    digest.mix(pair.value.bytes(&mut text));
    if pair.expire_ms.is_some() {
        digest.xor(b"!!hexpire!!");
    }
    digest
}

/// The fingerprint of one value and of whether it expires; the key is no part of it.
pub fn of_value(entry: &Entry) -> Digest {
    let mut digest = Digest::default();
    digest.mix_value(entry);
    digest
}

/// A number for a key with all of it that replicas have the same: database, name, value and the moments at which it or its
/// fields expire, and of a stream where its numbering stands and what its groups know ([`of_group`]).
pub fn of_key(db: u32, entry: &Entry) -> u128 {
    let mut digest = Digest::default();
    digest.mix(&db.to_be_bytes());
    digest.mix(entry.key());
    digest.mix_value(entry);
    if let Some(at) = entry.expire_ms() {
        digest.mix(&at.to_be_bytes());
    }
    match entry.value() {
        ValueRef::Hash(hash) if hash.deadline().is_some() => {
            for pair in hash.iter() {
                if let Some(at) = pair.expire_ms {
                    let mut field = Digest::default();
                    field.mix(pair.field.bytes(&mut itoa::Buffer::new()));
                    field.mix(&at.to_be_bytes());
                    digest.xor(&field.0);
                }
            }
        }
        ValueRef::Stream(stream) => {
            for id in [stream.last_id, stream.max_deleted_id] {
                digest.mix(&id.to_bytes());
            }
            digest.mix(&stream.entries_added.to_be_bytes());
            stream.groups().for_each(|(name, group)| digest.xor(&of_group(name, group)));
        }
        _ => {}
    }
    let [first @ .., _, _, _, _] = digest.0;
    u128::from_be_bytes(first)
}

/// How far a group has read, and what is pending for whom.
///
/// No part of it is what masters, stock ones as well, do not tell replicas: when a consumer was last seen or active, a
/// consumer that nothing is pending for, and when and how often an entry was delivered, which a consumer that reads what is
/// pending for it changes in silence.
fn of_group(name: &[u8], group: &Group) -> [u8; 20] {
    let mut sha = Sha1::new();
    let mut word = |bytes: &[u8]| {
        sha.update((bytes.len() as u64).to_be_bytes());
        sha.update(bytes);
    };
    word(name);
    word(&group.last_id.to_bytes());
    word(&group.entries_read.to_be_bytes());
    for (id, pending) in group.pending() {
        word(&id.to_bytes());
        word(&group.consumer(pending.consumer).name);
    }
    sha.finalize().into()
}

/// The fingerprint of everything there is, keys whose time is over included. For units that run alone.
pub fn of_all(data: &mut Data<'_>) -> Digest {
    let (db, policy) = (data.db, data.unit.policy);
    data.unit.policy = ExpirePolicy::Ignore;
    let mut all = Digest::default();
    for n in 0..data.databases() {
        data.db = n;
        if data.is_empty() {
            continue;
        }
        all.mix(&(n as u32).to_be_bytes());
        data.for_each(|entry| {
            let mut digest = Digest::default();
            digest.mix(entry.key());
            digest.mix_value(entry);
            all.xor(&digest.0);
        });
    }
    (data.db, data.unit.policy) = (db, policy);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::{KeepTtl, Key, Keyspace, Unit};

    /// What Redis 7.0.15 answers for the same.
    #[test]
    fn a_data_set_has_the_stock_fingerprint() {
        let ks = Keyspace::new(4, 16);
        let mut unit = Unit::default();
        let mut data = Data::lock_alone(&ks, 0, &mut unit);
        assert_eq!(of_all(&mut data).hex(), "0".repeat(40));
        data.set_string(Key::new(b"a"), b"1", None, KeepTtl::Replace(None));
        data.set_string(Key::new(b"b"), b"hello", None, KeepTtl::Replace(Some(i64::MAX)));
        data.db = 3;
        data.set_string(Key::new(b"c"), b"", None, KeepTtl::Replace(None));
        assert_eq!(of_all(&mut data).hex(), "02edc4d943d58c97441444b0c65037f3241811f7");
        assert_eq!(of_value(data.peek(Key::new(b"c")).unwrap()).hex(), "8b3447c33a834b810e3e181b6fd6a2ee1020921c");
        data.db = 0;
        assert_eq!(of_value(data.peek(Key::new(b"b")).unwrap()).hex(), "d037c4eb8a8b36b602fbced4000daeab0714c1e3");
    }
}
