//! The bit sets of a command row: what a command may do (`Flags`), who may call it (`Categories`), and what it does to
//! a key (`KeyFlags`). All are combined in const context with `or`, so that a row reads `WRITE.or(DENYOOM).or(FAST)`.
//!
//! Names are the words stock servers answer in COMMAND INFO. Knows no command.

/// Declares one bit set: a newtype over an integer, const operations, and the constants with their wire words.
/// `hidden` constants steer us but are never shown to a client.
macro_rules! bit_set {
    ($(#[$doc:meta])* $set:ident($int:ty) {
        $($(#[$fdoc:meta])* $name:ident = $bit:literal, $word:literal;)*
    } $(hidden { $($(#[$hdoc:meta])* $hidden:ident = $hbit:literal;)* })?) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct $set($int);

        impl $set {
            /// Every bit that has a wire word, in the order stock servers list them.
            pub const NAMED: &'static [($set, &'static str)] = &[$(($set(1 << $bit), $word)),*];
            pub const NONE: $set = $set(0);

            #[must_use]
            pub const fn or(self, other: $set) -> $set {
                $set(self.0 | other.0)
            }

            #[must_use]
            pub const fn and(self, other: $set) -> $set {
                $set(self.0 & other.0)
            }

            pub const fn without(self, other: $set) -> $set {
                $set(self.0 & !other.0)
            }

            /// Whether any of `other`'s bits are set.
            #[inline]
            pub const fn has(self, other: $set) -> bool {
                self.0 & other.0 != 0
            }

            /// Whether all of `other`'s bits are set.
            #[inline]
            pub const fn has_all(self, other: $set) -> bool {
                self.0 & other.0 == other.0
            }

            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            pub const fn bits(self) -> $int {
                self.0
            }

            /// The wire words of the bits that are set.
            pub fn words(self) -> impl Iterator<Item = &'static str> + Clone {
                Self::NAMED.iter().filter(move |(bit, _)| self.has(*bit)).map(|(_, word)| *word)
            }

            /// The bit of a wire word, matched without regard to case.
            pub fn from_word(word: &[u8]) -> Option<$set> {
                Self::NAMED.iter().find(|(_, w)| w.as_bytes().eq_ignore_ascii_case(word)).map(|(bit, _)| *bit)
            }
        }

        $($(#[$fdoc])* pub const $name: $set = $set(1 << $bit);)*
        $($($(#[$hdoc])* pub const $hidden: $set = $set(1 << $hbit);)*)?
    };
}

/// What a command may do, and when it may be called: `use spec::flag::*`.
pub mod flag {
    bit_set! {
        /// What a command may do and when it may be called.
        Flags(u64) {
            /// May change the data set. Refused on a read-only replica, counted as dirty, propagated.
            WRITE = 0, "write";
            READONLY = 1, "readonly";
            /// May grow the data set: refused while over `maxmemory`.
            DENYOOM = 2, "denyoom";
            MODULE = 3, "module";
            ADMIN = 4, "admin";
            PUBSUB = 5, "pubsub";
            NOSCRIPT = 6, "noscript";
            /// May leave its client waiting.
            BLOCKING = 7, "blocking";
            /// Allowed while a data set is being loaded.
            LOADING = 8, "loading";
            /// Allowed on a replica whose link is down and whose configuration says not to serve stale data.
            STALE = 9, "stale";
            SKIP_MONITOR = 10, "skip_monitor";
            SKIP_SLOWLOG = 11, "skip_slowlog";
            /// Acts as if the client had sent ASKING first.
            ASKING = 12, "asking";
            FAST = 13, "fast";
            /// Allowed before authentication.
            NO_AUTH = 14, "no_auth";
            /// A call with no key at all is valid.
            NO_MANDATORY_KEYS = 15, "no_mandatory_keys";
            /// Refused while a replica loads into a second data set and serves the first.
            NO_ASYNC_LOADING = 16, "no_async_loading";
            NO_MULTI = 17, "no_multi";
            /// Derived (`Row::all_flags`), never written in a row: the legacy first/last/step triple misses some keys.
            MOVABLEKEYS = 18, "movablekeys";
            /// Allowed while a script holds the server.
            ALLOW_BUSY = 19, "allow_busy";
        } hidden {
            /// Not a write, but may reach replicas all the same (PUBLISH, EVAL).
            MAY_REPLICATE = 32;
            /// Needs `enable-debug-command`.
            PROTECTED = 33;
            /// Exists in Sentinel mode too.
            SENTINEL = 34;
            /// Exists in Sentinel mode only.
            ONLY_SENTINEL = 35;
            /// Changes keys it does not name; not to be judged by key patterns alone.
            ARBITRARY_KEYS = 36;
            /// Its keys are not declared: the unit takes every gate and runs alone.
            EXCLUSIVE = 37;
            /// May run long enough to hand the worker over while it does.
            LONG = 38;
            /// Acts on the session (its state, its subscriptions, its replies), not on data.
            SESSION = 39;
            /// Runs at once inside MULTI instead of being queued.
            NOT_QUEUED = 40;
            /// Allowed to a RESP2 client that is subscribed.
            WHILE_SUBSCRIBED = 41;
            /// Asked to see whether the server is well: refused, as writes are, while the data cannot be kept.
            TELLS_HEALTH = 42;
            /// Ends a transaction, and so is let in however short the memory is.
            ENDS_TRANSACTION = 43;
        }
    }
}

/// Access-control categories: `use spec::cat::*`. A row lists only those its flags do not imply.
pub mod cat {
    bit_set! {
        /// Access-control categories, without the `@`.
        Categories(u32) {
            KEYSPACE = 0, "keyspace";
            READ_CAT = 1, "read";
            WRITE_CAT = 2, "write";
            SET = 3, "set";
            SORTEDSET = 4, "sortedset";
            LIST = 5, "list";
            HASH = 6, "hash";
            STRING = 7, "string";
            BITMAP = 8, "bitmap";
            HYPERLOGLOG = 9, "hyperloglog";
            GEO = 10, "geo";
            STREAM = 11, "stream";
            PUBSUB_CAT = 12, "pubsub";
            ADMIN_CAT = 13, "admin";
            FAST_CAT = 14, "fast";
            SLOW = 15, "slow";
            BLOCKING_CAT = 16, "blocking";
            DANGEROUS = 17, "dangerous";
            CONNECTION = 18, "connection";
            TRANSACTION = 19, "transaction";
            SCRIPTING = 20, "scripting";
        }
    }

    impl Categories {
        /// The categories of a command: what its row lists and what its flags imply.
        pub const fn with_implied_by(self, flags: super::flag::Flags) -> Categories {
            use super::flag;
            let mut all = self;
            if flags.has(flag::WRITE) {
                all = all.or(WRITE_CAT);
            }
            // Scripts are read-only or not by what they call, so @read says nothing of them.
            if flags.has(flag::READONLY) && !self.has(SCRIPTING) {
                all = all.or(READ_CAT);
            }
            if flags.has(flag::ADMIN) {
                all = all.or(ADMIN_CAT).or(DANGEROUS);
            }
            if flags.has(flag::PUBSUB) {
                all = all.or(PUBSUB_CAT);
            }
            if flags.has(flag::BLOCKING) {
                all = all.or(BLOCKING_CAT);
            }
            if flags.has(flag::FAST) { all.or(FAST_CAT) } else { all.or(SLOW) }
        }
    }
}

/// What a command does to one key: `use spec::key_flag::*`.
pub mod key_flag {
    bit_set! {
        /// What a command does to a key: one of the first four, then what it does to the data of the user.
        KeyFlags(u16) {
            /// Read only.
            RO = 0, "RO";
            /// Reads and modifies.
            RW = 1, "RW";
            /// Overwrites, whatever was there.
            OW = 2, "OW";
            /// Removes.
            RM = 3, "RM";
            /// The user's data is returned, copied or used.
            ACCESS = 4, "access";
            /// The user's data is changed, the new depending on the old.
            UPDATE = 5, "update";
            /// Data is added, none changed or removed.
            INSERT = 6, "insert";
            /// Some or all data is removed.
            DELETE = 7, "delete";
            /// Only routed as a key (a shard channel); not a key of the data set.
            NOT_KEY = 8, "not_key";
            /// The spec may miss keys; the row has a finder of its own.
            INCOMPLETE = 9, "incomplete";
            /// The flags depend on the arguments; the row has a finder of its own.
            VARIABLE_FLAGS = 10, "variable_flags";
        }
    }
}

pub use cat::Categories;
pub use flag::Flags;
pub use key_flag::KeyFlags;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_in_the_stock_order() {
        let f = flag::FAST.or(flag::WRITE).or(flag::EXCLUSIVE).or(flag::DENYOOM);
        assert_eq!(f.words().collect::<Vec<_>>(), ["write", "denyoom", "fast"]);
    }

    #[test]
    fn categories_follow_from_flags() {
        let c = cat::STRING.with_implied_by(flag::READONLY.or(flag::FAST));
        assert_eq!(c.words().collect::<Vec<_>>(), ["read", "string", "fast"]);
        let admin = Categories::NONE.with_implied_by(flag::ADMIN);
        assert_eq!(admin.words().collect::<Vec<_>>(), ["admin", "slow", "dangerous"]);
        let script = cat::SCRIPTING.with_implied_by(flag::READONLY);
        assert_eq!(script.words().collect::<Vec<_>>(), ["slow", "scripting"]);
    }

    #[test]
    fn a_word_finds_its_bit_in_any_case() {
        assert_eq!(Categories::from_word(b"SortedSet"), Some(cat::SORTEDSET));
        assert_eq!(Categories::from_word(b"nothing"), None);
    }
}
