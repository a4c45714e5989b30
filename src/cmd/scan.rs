//! What SCAN, SSCAN, HSCAN and ZSCAN have in common: the cursor, the options and the reply.

use crate::base::{Error, glob, number};
use crate::resp::Reply;
use crate::spec::Args;

/// What is walked through: not every walk takes every option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    Keys,
    /// Members of a set or sorted set.
    Members,
    /// Fields of a hash and their values.
    Fields,
}

/// MATCH, COUNT and what else a walk takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options<'a> {
    /// At least one.
    pub count: usize,
    /// `None`: everything matches.
    pub pattern: Option<&'a [u8]>,
    /// The name of the only type wanted; of keys only.
    pub kind: Option<&'a [u8]>,
    /// The values are not asked for; of fields only.
    pub no_values: bool,
}

impl<'a> Options<'a> {
    pub fn parse(walk: Walk, a: &mut Args<'a>) -> Result<Self, Error> {
        let mut o = Self { count: 10, pattern: None, kind: None, no_values: false };
        while !a.is_at_end() {
            if a.option("COUNT") {
                o.count = usize::try_from(a.next_i64()?).ok().filter(|n| *n > 0).ok_or(Error::Syntax)?;
            } else if a.option("MATCH") {
                o.pattern = Some(a.next()?).filter(|p| *p != b"*");
            } else if walk == Walk::Keys && a.option("TYPE") {
                o.kind = Some(a.next()?);
            } else if walk == Walk::Fields && a.flag("NOVALUES") {
                o.no_values = true;
            } else {
                return Err(Error::Syntax);
            }
        }
        Ok(o)
    }

    #[inline]
    pub fn matches(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|p| glob::matches(p, name, false))
    }
}

/// The next word as a cursor. Stock reads it with C's `strtoul`: a sign is taken, and nothing at all is 0.
pub fn cursor(a: &mut Args<'_>) -> Result<u64, Error> {
    let word = a.next()?;
    let (negative, digits) = match word {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if word.is_empty() {
        return Ok(0);
    }
    let zeros = digits.iter().take_while(|d| **d == b'0').count().min(digits.len().saturating_sub(1));
    let value = number::parse_u64(&digits[zeros..]).ok_or(Error::InvalidCursor)?;
    Ok(if negative { value.wrapping_neg() } else { value })
}

/// The elements of one step, kept until it is known where the next begins.
pub struct Page {
    found: Reply,
    len: usize,
}

impl Page {
    /// For a reply in the protocol of `out`.
    pub fn new(out: &Reply) -> Self {
        Self { found: Reply::new(out.proto()), len: 0 }
    }

    pub fn bulk(&mut self, bytes: &[u8]) {
        self.found.bulk(bytes);
        self.len += 1;
    }

    pub fn send(&self, cursor: u64, out: &mut Reply) {
        out.array(2);
        out.bulk(itoa::Buffer::new().format(cursor).as_bytes());
        out.array(self.len);
        out.raw(self.found.written());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgv;

    fn args(line: &str) -> OwnedArgv {
        OwnedArgv::from_words(line.split(' '))
    }

    #[test]
    fn cursors_are_read_as_c_reads_them() {
        let check = |word: &str, expect: Option<u64>| {
            let owned = args(word);
            let got = cursor(&mut Args::new("scan", owned.as_argv(), 0));
            assert_eq!(got, expect.ok_or(Error::InvalidCursor), "{word:?}");
        };
        check("0", Some(0));
        check("", Some(0));
        check("007", Some(7));
        check("+7", Some(7));
        check("-1", Some(u64::MAX));
        check("18446744073709551615", Some(u64::MAX));
        check("18446744073709551616", None);
        for word in ["x", "7x", " 7", "\t", "1.0"] {
            let owned = OwnedArgv::from_words([word]);
            assert_eq!(cursor(&mut Args::new("scan", owned.as_argv(), 0)), Err(Error::InvalidCursor), "{word:?}");
        }
    }

    #[test]
    fn each_walk_takes_its_own_options() {
        let parse = |walk, line: &str| {
            let owned = args(line);
            Options::parse(walk, &mut Args::new("scan", owned.as_argv(), 0)).map(|o| (o.count, o.pattern.is_some()))
        };
        assert_eq!(parse(Walk::Members, "count 5 MATCH a*"), Ok((5, true)));
        assert_eq!(parse(Walk::Members, "match * match a match *"), Ok((10, false)));
        assert_eq!(parse(Walk::Members, "count 0"), Err(Error::Syntax));
        assert_eq!(parse(Walk::Members, "count x"), Err(Error::NotInteger));
        assert_eq!(parse(Walk::Members, "type set"), Err(Error::Syntax));
        assert_eq!(parse(Walk::Members, "novalues"), Err(Error::Syntax));
        assert_eq!(parse(Walk::Keys, "type set count 2"), Ok((2, false)));
        assert_eq!(parse(Walk::Fields, "novalues"), Ok((10, false)));
        assert_eq!(parse(Walk::Fields, "count"), Err(Error::Syntax));
    }
}
