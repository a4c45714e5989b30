//! One command as data: everything it declares of itself but its handler.
//!
//! A row stands as a `const` above its handler; tables, COMMAND replies, routing, access control and propagation read
//! it. It knows no handler and no server. See `syntax` for the grammar of [`Row::syntax`].
//!
//! ```
//! use pando::spec::prelude::*;
//! const STRLEN: Row = Row {
//!     name: "strlen",
//!     arity: 2,
//!     syntax: "key:key",
//!     flags: READONLY.or(FAST),
//!     cats: STRING,
//!     keys: &[KEY1_RO],
//!     since: "2.2.0",
//!     group: Group::String,
//!     complexity: "O(1)",
//!     summary: "Tells the length of a string.",
//!     ..Row::EMPTY
//! };
//! assert!(STRLEN.first_key_fast());
//! ```

use super::flags::{Categories, Flags, KeyFlags, flag, key_flag};
use super::keys::KeyFinder;
use crate::resp::Argv;

/// What a command declares of itself.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Lower case; a subcommand's has its container's before it: `config|get`.
    pub name: &'static str,
    /// Words of a call, the name (or both names) included; negative: at least so many.
    pub arity: i16,
    /// Words that we take behind those of `arity`, beyond stock; COMMAND does not tell of them.
    pub own_words: u8,
    /// The arguments in the small language of `syntax`.
    pub syntax: &'static str,
    pub flags: Flags,
    /// Categories that the flags do not imply; all of them: [`Row::all_categories`].
    pub cats: Categories,
    pub keys: &'static [KeySpec],
    /// Finds the keys where the specs cannot (incomplete, or flags that depend on the arguments).
    pub find_keys: Option<KeyFinder>,
    /// Of an exclusive row: whether a call names all the keys it touches, and so need not run alone.
    pub names_keys: Option<fn(&Argv<'_>) -> bool>,
    /// The word that names the first element the command looks for in its key's value; 0: none. A hint, for memory to be
    /// fetched ahead.
    pub element: u8,
    pub channels: Channels,
    pub tips: &'static [&'static str],
    pub since: &'static str,
    pub group: Group,
    pub complexity: &'static str,
    pub summary: &'static str,
    pub doc: Doc,
}

impl Row {
    /// What a row says when it says nothing; for `..Row::EMPTY`.
    pub const EMPTY: Row = Row {
        name: "",
        arity: 1,
        own_words: 0,
        syntax: "",
        flags: Flags::NONE,
        cats: Categories::NONE,
        keys: &[],
        find_keys: None,
        names_keys: None,
        element: 0,
        channels: Channels::NONE,
        tips: &[],
        since: "1.0.0",
        group: Group::Server,
        complexity: "",
        summary: "",
        doc: Doc::Current,
    };

    /// Whether a call of `words` words (names included) has the right number of them.
    #[inline]
    pub const fn arity_ok(&self, words: usize) -> bool {
        let words = words as i64;
        let arity = self.arity as i64;
        words == arity || (arity < 0 && words >= -arity) || (arity < words && words <= arity + self.own_words as i64)
    }

    /// Container and own name of a subcommand; the container is `None` for a command.
    pub fn split_name(&self) -> (Option<&'static str>, &'static str) {
        match self.name.split_once('|') {
            Some((container, own)) => (Some(container), own),
            None => (None, self.name),
        }
    }

    /// The arguments as people write them.
    pub fn usage(&self) -> String {
        super::syntax::usage(self.syntax)
    }

    pub const fn all_categories(&self) -> Categories {
        self.cats.with_implied_by(self.flags)
    }

    /// The row's flags and those that follow from its key specs.
    pub const fn all_flags(&self) -> Flags {
        if self.legacy_range().1 { self.flags.or(flag::MOVABLEKEYS) } else { self.flags }
    }

    /// Whether word 1 is the command's only key and always there: what the hot path asks first.
    #[inline]
    pub const fn first_key_fast(&self) -> bool {
        match self.keys {
            [only] => {
                matches!(only.begin, BeginSearch::Index(1))
                    && matches!(only.find, FindKeys::Range { last: 0, .. })
                    && !only.flags.has(key_flag::NOT_KEY.or(key_flag::INCOMPLETE))
            }
            _ => false,
        }
    }

    /// Whether a call must run alone, as it may touch keys that it does not name.
    #[inline]
    pub fn runs_alone(&self, argv: &Argv<'_>) -> bool {
        self.flags.has(flag::EXCLUSIVE) && !self.names_keys.is_some_and(|names| names(argv))
    }

    /// Whether a call may name keys (of the data set; shard channels are routed, but are no keys).
    pub const fn has_keys(&self) -> bool {
        if self.find_keys.is_some() {
            return true;
        }
        let mut i = 0;
        while i < self.keys.len() {
            if !self.keys[i].flags.has(key_flag::NOT_KEY) {
                return true;
            }
            i += 1;
        }
        false
    }

    /// First key, last key and step as clients knew them before key specs, and whether keys escape that triple
    /// (`movablekeys`). Plain ranges that follow each other are joined; anything else is left out and makes keys movable.
    pub const fn legacy_range(&self) -> (LegacyRange, bool) {
        let specs = self.keys;
        if let [only] = specs
            && let (BeginSearch::Index(first), FindKeys::Range { last, step, .. }) = (only.begin, only.find)
        {
            let range = LegacyRange { first: first as i32, last: absolute_last(first, last), step: step as i32 };
            return (range, only.flags.has(key_flag::INCOMPLETE));
        }
        let mut range = LegacyRange { first: 0, last: 0, step: 0 };
        let mut movable = false;
        let mut i = 0;
        while i < specs.len() {
            match (specs[i].begin, specs[i].find) {
                (BeginSearch::Index(first), FindKeys::Range { last, step: 1, .. })
                    if range.last == 0 || range.last == first as i32 - 1 =>
                {
                    movable |= specs[i].flags.has(key_flag::INCOMPLETE);
                    if range.first == 0 || (first as i32) < range.first {
                        range.first = first as i32;
                    }
                    // Unsigned, so that "to the end" (negative) is the largest.
                    let end = absolute_last(first, last);
                    if end as u32 > range.last as u32 {
                        range.last = end;
                    }
                    range.step = 1;
                }
                _ => movable = true,
            }
            i += 1;
        }
        (range, movable)
    }
}

const fn absolute_last(first: i16, last: i16) -> i32 {
    if last >= 0 { first as i32 + last as i32 } else { last as i32 }
}

/// First key, last key (negative: from the end) and step; all zero without keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegacyRange {
    pub first: i32,
    pub last: i32,
    pub step: i32,
}

/// What the documentation says of a command's age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doc {
    Current,
    /// Sent by servers to servers, not by users.
    System,
    Deprecated {
        since: &'static str,
        replaced_by: &'static str,
    },
}

/// Where keys stand among the words of a call, and what is done to them.
#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    pub flags: KeyFlags,
    pub begin: BeginSearch,
    pub find: FindKeys,
    /// A remark for the reader of COMMAND INFO; empty: none.
    pub notes: &'static str,
}

/// Where the search for keys begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeginSearch {
    /// At this word.
    Index(i16),
    /// After this word, looked for from word `start_from` on (negative: from the end backwards).
    Keyword {
        word: &'static str,
        start_from: i16,
    },
    Unknown,
}

/// Which words from there on are keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindKeys {
    /// Every `step`th word up to `last`: counted from the first key, or if negative from the end, where a `limit` of
    /// n > 1 says that only the first nth of the rest is keys.
    Range {
        last: i16,
        step: i16,
        limit: i16,
    },
    /// The word `num_index` after the beginning tells how many keys follow `first_key` after it.
    KeyNum {
        num_index: i16,
        first_key: i16,
        step: i16,
    },
    Unknown,
}

impl KeySpec {
    /// The word at `index`, alone; widen with [`KeySpec::through`], [`KeySpec::every`], [`KeySpec::counted`].
    pub const fn at(index: i16, flags: KeyFlags) -> Self {
        Self {
            flags,
            begin: BeginSearch::Index(index),
            find: FindKeys::Range { last: 0, step: 1, limit: 0 },
            notes: "",
        }
    }

    /// The word after `word`, which is looked for from word `start_from` on.
    pub const fn after(word: &'static str, start_from: i16, flags: KeyFlags) -> Self {
        Self { begin: BeginSearch::Keyword { word, start_from }, ..Self::at(0, flags) }
    }

    /// Keys are there, but the specs cannot say where.
    pub const fn unknown(flags: KeyFlags) -> Self {
        Self { flags, begin: BeginSearch::Unknown, find: FindKeys::Unknown, notes: "" }
    }

    /// All words through `last`: relative to the first key, or negative from the end.
    #[must_use]
    pub const fn through(self, last: i16) -> Self {
        let find = match self.find {
            FindKeys::Range { step, limit, .. } => FindKeys::Range { last, step, limit },
            other => other,
        };
        Self { find, ..self }
    }

    /// Only every `step`th of the words.
    #[must_use]
    pub const fn every(self, step: i16) -> Self {
        let find = match self.find {
            FindKeys::Range { last, limit, .. } => FindKeys::Range { last, step, limit },
            FindKeys::KeyNum { num_index, first_key, .. } => FindKeys::KeyNum { num_index, first_key, step },
            FindKeys::Unknown => FindKeys::Unknown,
        };
        Self { find, ..self }
    }

    /// Only the first half of the rest (`limit` 2), a third, …
    #[must_use]
    pub const fn first_part(self, limit: i16) -> Self {
        let find = match self.find {
            FindKeys::Range { last, step, .. } => FindKeys::Range { last, step, limit },
            other => other,
        };
        Self { find, ..self }
    }

    /// The word at the beginning is the number of keys that follow it.
    #[must_use]
    pub const fn counted(self) -> Self {
        Self { find: FindKeys::KeyNum { num_index: 0, first_key: 1, step: 1 }, ..self }
    }

    #[must_use]
    pub const fn noted(self, notes: &'static str) -> Self {
        Self { notes, ..self }
    }
}

/// The frequent key specs, by the word they stand at and what is done there.
pub mod key_spec {
    use super::KeySpec;
    use super::key_flag::*;

    pub const KEY1_RO: KeySpec = KeySpec::at(1, RO);
    pub const KEY1_RO_ACCESS: KeySpec = KeySpec::at(1, RO.or(ACCESS));
    pub const KEY1_RW_UPDATE: KeySpec = KeySpec::at(1, RW.or(UPDATE));
    pub const KEY1_RW_INSERT: KeySpec = KeySpec::at(1, RW.or(INSERT));
    pub const KEY1_RW_DELETE: KeySpec = KeySpec::at(1, RW.or(DELETE));
    pub const KEY1_RW_ACCESS_UPDATE: KeySpec = KeySpec::at(1, RW.or(ACCESS).or(UPDATE));
    pub const KEY1_RW_ACCESS_DELETE: KeySpec = KeySpec::at(1, RW.or(ACCESS).or(DELETE));
    pub const KEY1_OW_UPDATE: KeySpec = KeySpec::at(1, OW.or(UPDATE));
    /// `key [key ...]` to the end.
    pub const KEYS_RO: KeySpec = KeySpec::at(1, RO).through(-1);
    pub const KEYS_RO_ACCESS: KeySpec = KeySpec::at(1, RO.or(ACCESS)).through(-1);
    pub const KEYS_RM_DELETE: KeySpec = KeySpec::at(1, RM.or(DELETE)).through(-1);
    /// The key of a subcommand: word 2.
    pub const KEY2_RO: KeySpec = KeySpec::at(2, RO);
}

/// Channels among the words of a call, for access control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    /// The first channel's word; 0: no channels.
    pub first: u8,
    /// Whether all words from there on are channels, or only that one.
    pub all: bool,
    pub access: ChannelUse,
    /// The words are patterns, not names.
    pub patterns: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelUse {
    Subscribe,
    Unsubscribe,
    Publish,
}

impl Channels {
    pub const NONE: Channels = Channels { first: 0, all: false, access: ChannelUse::Publish, patterns: false };
    pub const PUBLISH: Channels = Channels { first: 1, ..Channels::NONE };
    pub const SUBSCRIBE: Channels = Channels { first: 1, all: true, access: ChannelUse::Subscribe, patterns: false };
    pub const UNSUBSCRIBE: Channels = Channels { access: ChannelUse::Unsubscribe, ..Channels::SUBSCRIBE };
    pub const PSUBSCRIBE: Channels = Channels { patterns: true, ..Channels::SUBSCRIBE };
    pub const PUNSUBSCRIBE: Channels = Channels { patterns: true, ..Channels::UNSUBSCRIBE };
}

/// The chapter of the documentation a command stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Generic,
    String,
    List,
    Set,
    SortedSet,
    Hash,
    PubSub,
    Transactions,
    Connection,
    Server,
    Scripting,
    HyperLogLog,
    Cluster,
    Sentinel,
    Geo,
    Stream,
    Bitmap,
}

impl Group {
    pub const fn as_str(self) -> &'static str {
        match self {
            Group::Generic => "generic",
            Group::String => "string",
            Group::List => "list",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::Hash => "hash",
            Group::PubSub => "pubsub",
            Group::Transactions => "transactions",
            Group::Connection => "connection",
            Group::Server => "server",
            Group::Scripting => "scripting",
            Group::HyperLogLog => "hyperloglog",
            Group::Cluster => "cluster",
            Group::Sentinel => "sentinel",
            Group::Geo => "geo",
            Group::Stream => "stream",
            Group::Bitmap => "bitmap",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::key_flag::*;
    use super::*;

    fn legacy(keys: &'static [KeySpec]) -> (i32, i32, i32, bool) {
        let (r, movable) = Row { keys, ..Row::EMPTY }.legacy_range();
        (r.first, r.last, r.step, movable)
    }

    #[test]
    fn arity_counts_words_exactly_or_at_least() {
        let exact = Row { arity: 2, ..Row::EMPTY };
        assert!(exact.arity_ok(2) && !exact.arity_ok(1) && !exact.arity_ok(3));
        let least = Row { arity: -3, ..Row::EMPTY };
        assert!(least.arity_ok(3) && least.arity_ok(30) && !least.arity_ok(2));
    }

    #[test]
    fn the_legacy_triple_joins_neighbouring_ranges_and_marks_the_rest_movable() {
        assert_eq!(legacy(&[]), (0, 0, 0, false));
        assert_eq!(legacy(const { &[key_spec::KEY1_RO] }), (1, 1, 1, false));
        assert_eq!(legacy(const { &[KeySpec::at(1, OW).through(-1).every(2)] }), (1, -1, 2, false));
        // RENAME: two neighbours.
        assert_eq!(legacy(const { &[KeySpec::at(1, RW), KeySpec::at(2, OW)] }), (1, 2, 1, false));
        // SORT: a key, and one that only a finder sees.
        assert_eq!(legacy(const { &[key_spec::KEY1_RO, KeySpec::unknown(OW)] }), (1, 1, 1, true));
        // EVAL: only a counted list.
        assert_eq!(legacy(const { &[KeySpec::at(2, RW).counted()] }), (0, 0, 0, true));
        // SDIFFSTORE: a destination, then sources to the end.
        assert_eq!(legacy(const { &[KeySpec::at(1, OW), KeySpec::at(2, RO).through(-1)] }), (1, -1, 1, false));
    }

    #[test]
    fn only_a_lone_first_key_is_fast() {
        assert!(Row { keys: &[key_spec::KEY1_RO], ..Row::EMPTY }.first_key_fast());
        assert!(!Row { keys: &[key_spec::KEYS_RO], ..Row::EMPTY }.first_key_fast());
        assert!(!Row { keys: &[key_spec::KEY2_RO], ..Row::EMPTY }.first_key_fast());
        assert!(!Row { keys: const { &[KeySpec::at(1, NOT_KEY)] }, ..Row::EMPTY }.first_key_fast());
    }
}
