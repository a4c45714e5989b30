//! The numbers of the format: versions, opcodes, and the table of value types. Must not know how to read or write.
//!
//! A new value type is one row of [`ROWS`] (so that it can be passed over), one arm in `reader.rs` when its payload is
//! to be understood, and one variant of `Value`.

/// Who defined the types from 22 on: Redis and Valkey gave the same numbers to different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Redis,
    Valkey,
}

/// The version of a file or payload: `REDIS0010` is 10, `VALKEY080` is 80.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u16);

/// Every stock server from 7.0 on reads this version.
pub const OLDEST_LOADED_EVERYWHERE: Version = Version(10);

/// Expiries of hash fields need this version at least (or Valkey's 80): Redis 7.4 and later read it.
pub const OLDEST_WITH_FIELD_EXPIRY: Version = Version(12);

impl Version {
    /// The version, if it is one that can be read here.
    pub const fn new(number: u32) -> Option<Self> {
        match number {
            1..=12 | 80 => Some(Self(number as u16)),
            _ => None,
        }
    }

    pub const fn number(self) -> u16 {
        self.0
    }

    pub const fn dialect(self) -> Dialect {
        if self.0 >= 80 { Dialect::Valkey } else { Dialect::Redis }
    }

    /// Whether a file of this version ends with a checksum.
    pub(super) const fn has_checksum(self) -> bool {
        self.0 >= 5
    }
}

pub(super) const MAGIC_LEN: usize = 9;

pub(super) const LEN_14: u8 = 0x40;
pub(super) const LEN_32: u8 = 0x80;
pub(super) const LEN_64: u8 = 0x81;
/// The two bits that announce an encoded string, and the encodings.
pub(super) const ENCODED: u8 = 0xc0;
pub(super) const ENC_INT8: u8 = 0;
pub(super) const ENC_INT16: u8 = 1;
pub(super) const ENC_INT32: u8 = 2;
pub(super) const ENC_LZF: u8 = 3;

pub(super) mod op {
    pub(in crate::rdb) const SLOT_IMPORT: u8 = 243;
    pub(in crate::rdb) const SLOT_INFO: u8 = 244;
    pub(in crate::rdb) const FUNCTION: u8 = 245;
    pub(in crate::rdb) const FUNCTION_RC: u8 = 246;
    pub(in crate::rdb) const MODULE_AUX: u8 = 247;
    pub(in crate::rdb) const IDLE: u8 = 248;
    pub(in crate::rdb) const FREQ: u8 = 249;
    pub(in crate::rdb) const AUX: u8 = 250;
    pub(in crate::rdb) const RESIZE_DB: u8 = 251;
    pub(in crate::rdb) const EXPIRE_MS: u8 = 252;
    pub(in crate::rdb) const EXPIRE_S: u8 = 253;
    pub(in crate::rdb) const SELECT_DB: u8 = 254;
    pub(in crate::rdb) const EOF: u8 = 255;
}

/// What a module writes into its value, so that those without the module can pass over it.
pub(super) mod module_op {
    pub(in crate::rdb) const EOF: u64 = 0;
    pub(in crate::rdb) const SINT: u64 = 1;
    pub(in crate::rdb) const UINT: u64 = 2;
    pub(in crate::rdb) const FLOAT: u64 = 3;
    pub(in crate::rdb) const DOUBLE: u64 = 4;
    pub(in crate::rdb) const STRING: u64 = 5;
}

/// A value type with one way of writing it down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    String,
    List,
    Set,
    Zset,
    Hash,
    Zset2,
    ModulePreRelease,
    Module2,
    HashZipmap,
    ListZiplist,
    SetIntset,
    ZsetZiplist,
    HashZiplist,
    ListQuicklist,
    Stream,
    HashListpack,
    ZsetListpack,
    ListQuicklist2,
    Stream2,
    SetListpack,
    Stream3,
    /// Hashes whose fields expire, of Redis 7.4's release candidates and of 7.4 itself.
    HashExpiresRc,
    HashListpackExpiresRc,
    HashExpires,
    HashListpackExpires,
    /// The same in Valkey 9.
    HashExpiresValkey,
}

/// A piece of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    String,
    Len,
    /// A length that says how the next string is to be read: 1 plain, 2 packed.
    Container,
    Double,
    /// One length byte, then the number's text; 253 to 255 stand for NaN and the infinities.
    OldDouble,
    Millis,
}

/// How a payload is put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// These parts, once.
    Once(&'static [Part]),
    /// The first parts once, a count, and the second parts that many times.
    Repeated(&'static [Part], &'static [Part]),
    /// A stream, written by the version of the type that is given.
    Stream(u8),
    /// An identity, then tagged parts up to an end mark.
    Module,
    /// It cannot be passed over.
    Refused(&'static str),
}

pub(super) struct Row {
    kind: Kind,
    byte: u8,
    /// None: both know it.
    dialect: Option<Dialect>,
    name: &'static str,
    pub(super) shape: Shape,
}

const fn row(kind: Kind, byte: u8, name: &'static str, shape: Shape) -> Row {
    Row { kind, byte, dialect: None, name, shape }
}

const fn only(dialect: Dialect, row: Row) -> Row {
    Row { dialect: Some(dialect), ..row }
}

use Dialect::{Redis, Valkey};
use Part::{Container, Double, Len, Millis, OldDouble, String as Str};
use Shape::{Module, Once, Refused, Repeated, Stream};

/// One row a kind, in the order of [`Kind`]; the names are those that stock's redis-check-rdb prints.
static ROWS: [Row; 26] = [
    row(Kind::String, 0, "string", Once(&[Str])),
    row(Kind::List, 1, "list-linked", Repeated(&[], &[Str])),
    row(Kind::Set, 2, "set-hashtable", Repeated(&[], &[Str])),
    row(Kind::Zset, 3, "zset-v1", Repeated(&[], &[Str, OldDouble])),
    row(Kind::Hash, 4, "hash-hashtable", Repeated(&[], &[Str, Str])),
    row(Kind::Zset2, 5, "zset-v2", Repeated(&[], &[Str, Double])),
    row(Kind::ModulePreRelease, 6, "module-pre-release", Refused("a module value of a 4.0 release candidate")),
    row(Kind::Module2, 7, "module-value", Module),
    row(Kind::HashZipmap, 9, "hash-zipmap", Once(&[Str])),
    row(Kind::ListZiplist, 10, "list-ziplist", Once(&[Str])),
    row(Kind::SetIntset, 11, "set-intset", Once(&[Str])),
    row(Kind::ZsetZiplist, 12, "zset-ziplist", Once(&[Str])),
    row(Kind::HashZiplist, 13, "hash-ziplist", Once(&[Str])),
    row(Kind::ListQuicklist, 14, "quicklist", Repeated(&[], &[Str])),
    row(Kind::Stream, 15, "stream", Stream(1)),
    row(Kind::HashListpack, 16, "hash-listpack", Once(&[Str])),
    row(Kind::ZsetListpack, 17, "zset-listpack", Once(&[Str])),
    row(Kind::ListQuicklist2, 18, "quicklist-v2", Repeated(&[], &[Container, Str])),
    row(Kind::Stream2, 19, "stream-v2", Stream(2)),
    row(Kind::SetListpack, 20, "set-listpack", Once(&[Str])),
    row(Kind::Stream3, 21, "stream-v3", Stream(3)),
    only(Redis, row(Kind::HashExpiresRc, 22, "hash-hashtable-md-pre-release", Repeated(&[], &[Len, Str, Str]))),
    only(Redis, row(Kind::HashListpackExpiresRc, 23, "hash-listpack-md-pre-release", Once(&[Str]))),
    only(Redis, row(Kind::HashExpires, 24, "hash-hashtable-md", Repeated(&[Millis], &[Len, Str, Str]))),
    only(Redis, row(Kind::HashListpackExpires, 25, "hash-listpack-md", Once(&[Millis, Str]))),
    only(Valkey, row(Kind::HashExpiresValkey, 22, "hash-hashtable-2", Repeated(&[], &[Str, Str, Millis]))),
];

/// The row of a type byte.
pub(super) fn row_of(byte: u8, dialect: Dialect) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.byte == byte && row.dialect.is_none_or(|only| only == dialect))
}

impl Row {
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }
}

impl Kind {
    fn row(self) -> &'static Row {
        // The table has a row for each kind, in order (a test compares); the first stands in for none.
        ROWS.get(self as usize).unwrap_or(const { &row(Kind::String, 0, "string", Once(&[Str])) })
    }

    /// The byte that announces it.
    pub fn byte(self) -> u8 {
        self.row().byte
    }

    /// What redis-check-rdb calls it.
    pub fn name(self) -> &'static str {
        self.row().name
    }
}

/// The name of a module's type, which is packed into an identity: nine characters of six bits, then a version of ten.
pub(super) fn module_name(id: u64) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let letter = |at: u64| ALPHABET.get((id >> (10 + 6 * at) & 63) as usize).map(|&c| char::from(c));
    (0..9).rev().filter_map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_kinds() {
        for (at, row) in ROWS.iter().enumerate() {
            assert_eq!(row.kind as usize, at, "{}", row.name);
        }
    }

    #[test]
    fn a_byte_means_one_thing_in_each_dialect() {
        assert_eq!(row_of(22, Redis).map(Row::kind), Some(Kind::HashExpiresRc));
        assert_eq!(row_of(22, Valkey).map(Row::kind), Some(Kind::HashExpiresValkey));
        assert!(row_of(24, Valkey).is_none());
        assert!(row_of(8, Redis).is_none());
        for (at, row) in ROWS.iter().enumerate() {
            for other in &ROWS[at + 1..] {
                assert!(
                    row.byte != other.byte || row.dialect.is_some() && row.dialect != other.dialect,
                    "{}",
                    row.byte
                );
            }
        }
    }

    #[test]
    fn a_module_type_has_a_name_of_nine_letters() {
        // "ABCDEFGHI": the letters 0 to 8, each six bits, above ten bits of version.
        let id = (0..9u64).fold(0, |id, letter| id << 6 | letter) << 10 | 3;
        assert_eq!(module_name(id), "ABCDEFGHI");
    }
}
