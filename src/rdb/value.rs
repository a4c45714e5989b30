//! The values that pass through the codec, read and to be written: the one place where they and the keyspace's values
//! become each other.

use std::borrow::Cow;
use std::io::Read;

use super::error::Result;
use super::format::{Kind, OLDEST_LOADED_EVERYWHERE, Version};
use super::input::Input;
use super::{hash, list, set, stream, zset};
use crate::ds::{Limits, hash::Hash, list::List, set::Set, stream::Stream, zset::ZSet};
use crate::keyspace::{self, Entry, Object};

/// A value that was read; small ones borrow the reader's buffer until the next event.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    Str(Cow<'a, [u8]>),
    /// A string that was written as an integer; its text is the decimal form.
    Int(i64),
    /// A value of more than a string.
    Object(Object),
    /// A type that is not understood here: its payload, whole, as it would follow the type byte and the key.
    /// Empty if the reader was told not to keep such payloads.
    Other {
        kind: Kind,
        raw: Cow<'a, [u8]>,
    },
}

impl Value<'_> {
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Value::Str(text) => Value::Str(Cow::Owned(text.into_owned())),
            Value::Int(number) => Value::Int(number),
            Value::Object(object) => Value::Object(object),
            Value::Other { kind, raw } => Value::Other { kind, raw: Cow::Owned(raw.into_owned()) },
        }
    }
}

impl Value<'_> {
    /// Whether it is an empty value of many elements, which no key holds. Old servers are known to have written some.
    pub fn is_spent(&self) -> bool {
        matches!(self, Value::Object(object) if object.is_spent())
    }

    /// The entry that holds it; what is not understood comes back as its kind.
    pub fn into_entry(self, key: &[u8], expire_ms: Option<i64>) -> std::result::Result<Entry, Kind> {
        match self {
            Value::Str(Cow::Owned(text)) => Ok(Entry::string_bytes(key, &text.into(), expire_ms)),
            Value::Str(text) => Ok(Entry::string(key, &text, expire_ms)),
            Value::Int(number) => Ok(Entry::int(key, number, expire_ms)),
            Value::Object(object) => Ok(Entry::object(key, object, expire_ms)),
            Value::Other { kind, .. } => Err(kind),
        }
    }
}

/// Reads a value of more than a string; `None`, and nothing is read, if its kind is not understood.
pub(super) fn read_object<R: Read>(kind: Kind, input: &mut Input<R>, limits: &Limits) -> Result<Option<Object>> {
    Ok(Some(match kind {
        Kind::List | Kind::ListZiplist | Kind::ListQuicklist | Kind::ListQuicklist2 => {
            Object::List(list::read(kind, input, limits)?)
        }
        Kind::Set | Kind::SetIntset | Kind::SetListpack => Object::Set(set::read(kind, input, limits)?),
        Kind::Zset | Kind::Zset2 | Kind::ZsetZiplist | Kind::ZsetListpack => {
            Object::ZSet(zset::read(kind, input, limits)?)
        }
        Kind::Hash
        | Kind::HashZipmap
        | Kind::HashZiplist
        | Kind::HashListpack
        | Kind::HashExpiresRc
        | Kind::HashListpackExpiresRc
        | Kind::HashExpires
        | Kind::HashListpackExpires
        | Kind::HashExpiresValkey => Object::Hash(hash::read(kind, input, limits)?),
        Kind::Stream | Kind::Stream2 | Kind::Stream3 => Object::Stream(stream::read(kind, input, limits)?),
        Kind::String | Kind::ModulePreRelease | Kind::Module2 => return Ok(None),
    }))
}

/// A value to be written.
#[derive(Clone, Copy, Debug)]
pub enum ValueRef<'a> {
    Str(&'a [u8]),
    Int(i64),
    List(&'a List),
    Set(&'a Set),
    Hash(&'a Hash),
    ZSet(&'a ZSet),
    Stream(&'a Stream),
    Other { kind: Kind, raw: &'a [u8] },
}

impl<'a> From<&'a Value<'_>> for ValueRef<'a> {
    fn from(value: &'a Value<'_>) -> Self {
        match value {
            Value::Str(text) => ValueRef::Str(text),
            Value::Int(number) => ValueRef::Int(*number),
            Value::Object(object) => keyspace::ValueRef::from(object).into(),
            Value::Other { kind, raw } => ValueRef::Other { kind: *kind, raw },
        }
    }
}

impl<'a> From<keyspace::ValueRef<'a>> for ValueRef<'a> {
    #[inline]
    fn from(value: keyspace::ValueRef<'a>) -> Self {
        match value {
            keyspace::ValueRef::Int(number) => ValueRef::Int(number),
            keyspace::ValueRef::Str(text) => ValueRef::Str(text),
            keyspace::ValueRef::Large(text) => ValueRef::Str(text),
            keyspace::ValueRef::List(list) => ValueRef::List(list),
            keyspace::ValueRef::Set(set) => ValueRef::Set(set),
            keyspace::ValueRef::Hash(hash) => ValueRef::Hash(hash),
            keyspace::ValueRef::ZSet(zset) => ValueRef::ZSet(zset),
            keyspace::ValueRef::Stream(stream) => ValueRef::Stream(stream),
        }
    }
}

/// Values are equal if they are written the same: a comparison for tests.
#[cfg(test)]
impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        let bytes = |value: &Value<'_>| {
            let mut out = Vec::new();
            super::dump(&mut out, value.into(), &WriteOptions::default());
            out
        };
        bytes(self) == bytes(other)
    }
}

/// What eviction knows of a key; written only under the policies that use it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Usage {
    #[default]
    Unsaid,
    /// Seconds since the last use (LRU).
    IdleS(u64),
    /// The logarithmic access counter (LFU).
    Freq(u8),
}

/// How to write.
#[derive(Clone, Copy, Debug)]
pub struct WriteOptions {
    pub version: Version,
    /// LZF for strings longer than 20 bytes (`rdbcompression`).
    pub compress: bool,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self { version: OLDEST_LOADED_EVERYWHERE, compress: true }
    }
}
