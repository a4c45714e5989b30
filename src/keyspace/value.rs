//! What a key can hold. A new type is one arm here, one structure in `ds`, one family in `cmd` and one arm in `rdb`.
//!
//! Knows nothing of keys, commands or the clock.

use bytes::Bytes;

/// The types as TYPE and SCAN name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    String,
}

impl Type {
    pub const ALL: [Self; 1] = [Self::String];

    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
        }
    }
}

/// A value that lives in an allocation of its own behind its entry.
#[derive(Debug)]
pub enum Object {
    /// A string too long to lie in the entry.
    Large(Bytes),
}

/// A look at an entry's value.
#[derive(Clone, Copy, Debug)]
pub enum ValueRef<'a> {
    Int(i64),
    Str(&'a [u8]),
    Large(&'a Bytes),
}

/// Strings up to this length are `embstr` in stock servers' eyes.
const EMBSTR_MAX: usize = 44;

impl<'a> ValueRef<'a> {
    pub fn kind(&self) -> Type {
        match self {
            Self::Int(_) | Self::Str(_) | Self::Large(_) => Type::String,
        }
    }

    /// The stock name of how the value is kept (OBJECT ENCODING). `edited`: changed in place before.
    pub fn encoding(&self, edited: bool) -> &'static str {
        match self {
            Self::Int(_) => "int",
            Self::Str(v) if v.len() <= EMBSTR_MAX && !edited => "embstr",
            Self::Str(_) | Self::Large(_) => "raw",
        }
    }

    /// A string value's bytes; an integer is written into `text`.
    #[inline]
    pub fn as_str<'b>(&self, text: &'b mut itoa::Buffer) -> &'b [u8]
    where
        'a: 'b,
    {
        match *self {
            Self::Int(n) => text.format(n).as_bytes(),
            Self::Str(v) => v,
            Self::Large(b) => b,
        }
    }

    /// A string value's length in bytes.
    pub fn str_len(&self) -> usize {
        match *self {
            Self::Int(n) => itoa::Buffer::new().format(n).len(),
            Self::Str(v) => v.len(),
            Self::Large(b) => b.len(),
        }
    }
}
