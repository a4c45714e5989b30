//! A cursor over the words of one call, as handlers read them.
//!
//! The arity is checked before a handler runs, so the words a row demands are there; what the cursor answers past the
//! end is the error a client gets for a missing option value. Knows words and numbers, not commands.

use bytes::Bytes;

use super::row::Row;
use crate::base::{Error, number};
use crate::keyspace::Key;
use crate::resp::Argv;

/// The words after the command's name (or both its names), in order.
#[derive(Clone, Debug)]
pub struct Args<'a> {
    argv: Argv<'a>,
    /// The next word.
    at: usize,
    name: &'static str,
    /// Word index and hash of the key that the batch has hashed already.
    first_key_hash: Option<(usize, u64)>,
}

impl<'a> Args<'a> {
    /// The words of `argv` from `first` on, a call of the command whose row is named `name`.
    #[inline]
    pub fn new(name: &'static str, argv: Argv<'a>, first: usize) -> Self {
        Self { argv, at: first, name, first_key_hash: None }
    }

    /// The words of `argv`, a call of `row`'s command.
    pub fn of(row: &Row, argv: Argv<'a>) -> Self {
        Self::new(row.name, argv, if row.name.contains('|') { 2 } else { 1 })
    }

    /// The same words, with the hash of the key at word `index` known.
    #[inline]
    #[must_use]
    pub fn with_key_hash(self, index: usize, hash: u64) -> Self {
        Self { first_key_hash: Some((index, hash)), ..self }
    }

    /// The row's name, for error texts.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// All words of the call, names included.
    pub fn argv(&self) -> Argv<'a> {
        self.argv
    }

    /// How many words the call has, names included.
    pub fn len(&self) -> usize {
        self.argv.len()
    }

    pub fn is_empty(&self) -> bool {
        self.argv.is_empty()
    }

    /// How many words are still to be read.
    pub fn left(&self) -> usize {
        self.argv.len().saturating_sub(self.at)
    }

    pub fn is_at_end(&self) -> bool {
        self.left() == 0
    }

    /// Which word comes next, counted from the command's name.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Word `i` of the whole call; empty past the end.
    #[inline]
    pub fn word(&self, i: usize) -> &'a [u8] {
        self.argv.word(i)
    }

    /// The next word, which stays the next.
    pub fn peek(&self) -> Option<&'a [u8]> {
        self.argv.get(self.at)
    }

    /// The next word; a syntax error past the end.
    #[inline]
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<&'a [u8], Error> {
        let word = self.argv.get(self.at).ok_or(Error::Syntax)?;
        self.at += 1;
        Ok(word)
    }

    /// The next word as a key.
    #[inline]
    pub fn key(&mut self) -> Result<Key<'a>, Error> {
        let index = self.at;
        let bytes = self.next()?;
        Ok(match self.first_key_hash {
            Some((known, hash)) if known == index => Key { bytes, hash },
            _ => Key::new(bytes),
        })
    }

    pub fn next_i64(&mut self) -> Result<i64, Error> {
        number::parse_i64(self.next()?).ok_or(Error::NotInteger)
    }

    pub fn next_f64(&mut self) -> Result<f64, Error> {
        number::parse_f64(self.next()?).ok_or(Error::NotFloat)
    }

    /// The buffer that the word read last has to itself, if it was large: a value may keep it without a copy.
    pub fn last_own(&self) -> Option<&'a Bytes> {
        self.argv.own_bytes(self.at.checked_sub(1)?)
    }

    /// Reads the next word if it is `word`, in any case.
    #[inline]
    pub fn flag(&mut self, word: &str) -> bool {
        let found = self.peek().is_some_and(|w| w.eq_ignore_ascii_case(word.as_bytes()));
        self.at += usize::from(found);
        found
    }

    /// Reads the next word if it is `word`, in any case, and another follows it: an option that takes a value.
    pub fn option(&mut self, word: &str) -> bool {
        self.left() > 1 && self.flag(word)
    }

    /// Passes over `n` words.
    pub fn skip(&mut self, n: usize) {
        self.at = (self.at + n).min(self.argv.len());
    }

    /// All the words still to be read.
    pub fn rest(&mut self) -> Argv<'a> {
        let rest = self.argv.skip(self.at);
        self.at = self.argv.len();
        rest
    }

    /// A syntax error if words are left.
    pub fn expect_end(&self) -> Result<(), Error> {
        if self.is_at_end() { Ok(()) } else { Err(Error::Syntax) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgv;

    #[test]
    fn words_are_read_in_order_and_options_in_any_case() {
        let owned = OwnedArgv::from_words(["SET", "k", "v", "nX", "px", "12", "?"]);
        let mut a = Args::new("set", owned.as_argv(), 1).with_key_hash(1, 99);
        let key = a.key().unwrap();
        assert_eq!((key.bytes, key.hash), (&b"k"[..], 99));
        assert_eq!(a.next(), Ok(&b"v"[..]));
        assert!(!a.flag("XX") && a.flag("NX") && a.option("PX"));
        assert_eq!(a.next_i64(), Ok(12));
        assert_eq!(a.expect_end(), Err(Error::Syntax));
        assert!(!a.option("?"), "nothing follows it");
        assert_eq!(a.next_i64(), Err(Error::NotInteger));
        assert!(a.is_at_end());
        assert_eq!(a.next(), Err(Error::Syntax));
        assert_eq!((a.name(), a.len(), a.word(2), a.word(20)), ("set", 7, &b"v"[..], &b""[..]));
    }

    #[test]
    fn only_the_known_key_has_its_hash_known() {
        let owned = OwnedArgv::from_words(["MGET", "a", "b"]);
        let mut a = Args::new("mget", owned.as_argv(), 1).with_key_hash(1, 7);
        assert_eq!(a.key().unwrap().hash, 7);
        assert_eq!(a.key().unwrap().hash, Key::new(b"b").hash);
        assert_eq!(a.rest().len(), 0);
    }

    #[test]
    fn rest_takes_what_is_left() {
        let owned = OwnedArgv::from_words(["CONFIG", "GET", "a*", "b*"]);
        let mut a = Args::new("config|get", owned.as_argv(), 2);
        assert_eq!(a.rest().iter().collect::<Vec<_>>(), [b"a*", b"b*"]);
        assert!(a.is_at_end());
    }
}
