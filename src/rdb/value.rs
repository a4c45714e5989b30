//! The values that pass through the codec, read and to be written. Must not know how the keyspace stores them.

use std::borrow::Cow;

use super::format::{Kind, OLDEST_LOADED_EVERYWHERE, Version};

/// A value that was read; small ones borrow the reader's buffer until the next event.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    Str(Cow<'a, [u8]>),
    /// A string that was written as an integer; its text is the decimal form.
    Int(i64),
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
            Value::Other { kind, raw } => Value::Other { kind, raw: Cow::Owned(raw.into_owned()) },
        }
    }
}

/// A value to be written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueRef<'a> {
    Str(&'a [u8]),
    Int(i64),
    Other { kind: Kind, raw: &'a [u8] },
}

impl<'a> From<&'a Value<'_>> for ValueRef<'a> {
    fn from(value: &'a Value<'_>) -> Self {
        match value {
            Value::Str(text) => ValueRef::Str(text),
            Value::Int(number) => ValueRef::Int(*number),
            Value::Other { kind, raw } => ValueRef::Other { kind: *kind, raw },
        }
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
