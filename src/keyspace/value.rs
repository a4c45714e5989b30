//! What a key can hold. A new type is one arm here, one structure in `ds`, one family in `cmd` and one arm in `rdb`.
//!
//! Knows nothing of keys, commands or the clock.

use bytes::Bytes;

use crate::ds::dict::Fetch;
use crate::ds::{hash::Hash, list::List, set::Set, stream::Stream, zset::ZSet};

/// The types as TYPE and SCAN name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    String,
    List,
    Set,
    ZSet,
    Hash,
    Stream,
}

impl Type {
    pub const ALL: [Self; 6] = [Self::String, Self::List, Self::Set, Self::ZSet, Self::Hash, Self::Stream];

    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::List => "list",
            Self::Set => "set",
            Self::ZSet => "zset",
            Self::Hash => "hash",
            Self::Stream => "stream",
        }
    }
}

/// A value that lives in an allocation of its own behind its entry.
#[derive(Clone, Debug)]
pub enum Object {
    /// A string too long to lie in the entry.
    Large(Bytes),
    List(List),
    Set(Set),
    ZSet(ZSet),
    Hash(Hash),
    Stream(Stream),
}

impl Object {
    /// Whether no key can hold it, as it is empty.
    pub fn is_spent(&self) -> bool {
        match self {
            Self::Large(_) | Self::Stream(_) => false,
            Self::List(v) => v.is_spent(),
            Self::Set(v) => v.is_spent(),
            Self::ZSet(v) => v.is_spent(),
            Self::Hash(v) => v.is_spent(),
        }
    }
}

/// A value of many elements. The one surface through which the keyspace looks after all such types.
pub trait Aggregate: Default {
    const TYPE: Type;

    fn of(value: ValueRef<'_>) -> Option<&Self>;
    fn of_mut(object: &mut Object) -> Option<&mut Self>;
    fn into_object(self) -> Object;
    /// Whether a key that holds it should go: it has become empty.
    fn is_spent(&self) -> bool;

    /// When the first of its parts expires by itself, at the earliest.
    #[inline]
    fn deadline(&self) -> Option<i64> {
        None
    }
}

macro_rules! aggregate {
    ($name:ident, spent: $spent:expr $(, deadline: $deadline:expr)?) => {
        impl Aggregate for $name {
            const TYPE: Type = Type::$name;

            #[inline]
            fn of(value: ValueRef<'_>) -> Option<&Self> {
                if let ValueRef::$name(me) = value { Some(me) } else { None }
            }

            #[inline]
            fn of_mut(object: &mut Object) -> Option<&mut Self> {
                if let Object::$name(me) = object { Some(me) } else { None }
            }

            fn into_object(self) -> Object {
                Object::$name(self)
            }

            fn is_spent(&self) -> bool {
                let spent: fn(&Self) -> bool = $spent;
                spent(self)
            }

            $(
                #[inline]
                fn deadline(&self) -> Option<i64> {
                    $deadline(self)
                }
            )?
        }
    };
}

aggregate!(List, spent: List::is_empty);
aggregate!(Set, spent: Set::is_empty);
aggregate!(ZSet, spent: ZSet::is_empty);
aggregate!(Hash, spent: Hash::is_empty, deadline: Hash::deadline);
// An empty stream still has its groups and its last id.
aggregate!(Stream, spent: |_| false);

/// A look at an entry's value.
#[derive(Clone, Copy, Debug)]
pub enum ValueRef<'a> {
    Int(i64),
    Str(&'a [u8]),
    Large(&'a Bytes),
    List(&'a List),
    Set(&'a Set),
    ZSet(&'a ZSet),
    Hash(&'a Hash),
    Stream(&'a Stream),
}

impl<'a> From<&'a Object> for ValueRef<'a> {
    #[inline]
    fn from(object: &'a Object) -> Self {
        match object {
            Object::Large(b) => Self::Large(b),
            Object::List(v) => Self::List(v),
            Object::Set(v) => Self::Set(v),
            Object::ZSet(v) => Self::ZSet(v),
            Object::Hash(v) => Self::Hash(v),
            Object::Stream(v) => Self::Stream(v),
        }
    }
}

/// Strings up to this length are `embstr` in stock servers' eyes.
const EMBSTR_MAX: usize = 44;

impl<'a> ValueRef<'a> {
    pub fn kind(&self) -> Type {
        match self {
            Self::Int(_) | Self::Str(_) | Self::Large(_) => Type::String,
            Self::List(_) => Type::List,
            Self::Set(_) => Type::Set,
            Self::ZSet(_) => Type::ZSet,
            Self::Hash(_) => Type::Hash,
            Self::Stream(_) => Type::Stream,
        }
    }

    /// When the first of its parts expires by itself, at the earliest.
    #[inline]
    pub fn deadline(&self) -> Option<i64> {
        if let Self::Hash(hash) = self { hash.deadline() } else { None }
    }

    #[inline]
    pub fn is_str(&self) -> bool {
        matches!(self, Self::Int(_) | Self::Str(_) | Self::Large(_))
    }

    /// Bytes the value takes outside of its entry.
    pub fn memory_bytes(&self) -> usize {
        let heap = match self {
            Self::Int(_) | Self::Str(_) => return 0,
            Self::Large(b) => b.len(),
            Self::List(v) => v.memory_bytes(),
            Self::Set(v) => v.memory_bytes(),
            Self::ZSet(v) => v.memory_bytes(),
            Self::Hash(v) => v.memory_bytes(),
            Self::Stream(v) => v.memory_bytes(),
        };
        size_of::<Object>() + heap
    }

    /// Asks the processor for what a look for an element of this hash will touch.
    #[inline]
    pub fn fetch(&self, hash: u64, what: Fetch) {
        match self {
            Self::Set(v) => v.fetch(hash, what),
            Self::ZSet(v) => v.fetch(hash, what),
            Self::Hash(v) => v.fetch(hash, what),
            Self::Int(_) | Self::Str(_) | Self::Large(_) | Self::List(_) | Self::Stream(_) => {}
        }
    }

    /// How many allocations go with it: what frees many is freed off the worker.
    pub fn free_effort(&self) -> usize {
        match self {
            Self::Int(_) | Self::Str(_) | Self::Large(_) => 1,
            Self::List(v) => v.free_effort(),
            Self::Set(v) => v.free_effort(),
            Self::ZSet(v) => v.free_effort(),
            Self::Hash(v) => v.free_effort(),
            Self::Stream(v) => v.free_effort(),
        }
    }

    /// The stock name of how the value is kept (OBJECT ENCODING). `edited`: changed in place before.
    pub fn encoding(&self, edited: bool) -> &'static str {
        match self {
            Self::Int(_) => "int",
            Self::Str(v) if v.len() <= EMBSTR_MAX && !edited => "embstr",
            Self::Str(_) | Self::Large(_) => "raw",
            Self::List(v) => v.encoding(),
            Self::Set(v) => v.encoding(),
            Self::ZSet(v) => v.encoding(),
            Self::Hash(v) => v.encoding(),
            Self::Stream(v) => v.encoding(),
        }
    }

    /// A string value's bytes; an integer is written into `text`. Nothing for other types.
    #[inline]
    pub fn as_str<'b>(&self, text: &'b mut itoa::Buffer) -> &'b [u8]
    where
        'a: 'b,
    {
        match *self {
            Self::Int(n) => text.format(n).as_bytes(),
            Self::Str(v) => v,
            Self::Large(b) => b,
            Self::List(_) | Self::Set(_) | Self::ZSet(_) | Self::Hash(_) | Self::Stream(_) => b"",
        }
    }

    /// A string value's length in bytes.
    pub fn str_len(&self) -> usize {
        match *self {
            Self::Int(n) => itoa::Buffer::new().format(n).len(),
            Self::Str(v) => v.len(),
            Self::Large(b) => b.len(),
            Self::List(_) | Self::Set(_) | Self::ZSet(_) | Self::Hash(_) | Self::Stream(_) => 0,
        }
    }
}
