//! Which words of a request are keys: the row's key specs applied to the words.
//!
//! Used for locking shards, for COMMAND GETKEYS, for access control and routing. Knows positions, not what keys hold.

use smallvec::SmallVec;

use super::flags::{KeyFlags, key_flag};
use super::row::{BeginSearch, FindKeys, KeySpec, Row};
use crate::base::number;
use crate::resp::Argv;

/// One key of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPos {
    /// Which word it is.
    pub index: u32,
    pub flags: KeyFlags,
}

pub type KeyList = SmallVec<[KeyPos; 8]>;

/// Finds the keys of one command whose specs cannot.
pub type KeyFinder = fn(&Argv<'_>, &mut KeyList) -> Result<(), BadKeys>;

/// The words do not fit the key specs: the command will answer with an error of its own, or has no key after all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadKeys;

/// Appends the keys of `argv`, a call of `row` with a right number of words, to `out`. On an error `out` is empty.
pub fn keys(row: &Row, argv: &Argv<'_>, out: &mut KeyList) -> Result<(), BadKeys> {
    out.clear();
    if row.first_key_fast() && row.find_keys.is_none() {
        out.push(KeyPos { index: 1, flags: row.keys[0].flags });
        return Ok(());
    }
    // A row with a finder has specs that are incomplete or whose flags are only an upper bound: the finder knows better.
    let found = match row.find_keys {
        Some(find) => find(argv, out),
        None => by_specs(row.keys, argv, out),
    };
    if found.is_err() {
        out.clear();
    }
    found
}

/// Shard channels and the like: words that are routed as keys but are none.
pub fn routed_words(row: &Row, argv: &Argv<'_>, out: &mut KeyList) -> Result<(), BadKeys> {
    out.clear();
    row.keys.iter().filter(|s| s.flags.has(key_flag::NOT_KEY)).try_for_each(|spec| by_spec(spec, argv, out))
}

fn by_specs(specs: &[KeySpec], argv: &Argv<'_>, out: &mut KeyList) -> Result<(), BadKeys> {
    specs.iter().filter(|s| !s.flags.has(key_flag::NOT_KEY)).try_for_each(|spec| by_spec(spec, argv, out))
}

fn by_spec(spec: &KeySpec, argv: &Argv<'_>, out: &mut KeyList) -> Result<(), BadKeys> {
    let words = argv.len() as i64;
    let mut first = match spec.begin {
        BeginSearch::Index(index) => i64::from(index),
        BeginSearch::Keyword { word, start_from } => match find_keyword(argv, word, start_from) {
            Some(at) => at as i64 + 1,
            // An option that is not given names no key.
            None => return Ok(()),
        },
        BeginSearch::Unknown => return Err(BadKeys),
    };
    let (last, step) = match spec.find {
        FindKeys::Range { last, step, .. } if last >= 0 => (first + i64::from(last), step),
        FindKeys::Range { last, step, limit } if limit > 1 => {
            (first + (words - first) / i64::from(limit) + i64::from(last), step)
        }
        FindKeys::Range { last, step, .. } => (words + i64::from(last), step),
        FindKeys::KeyNum { num_index, first_key, step } => {
            let count = argv.get((first + i64::from(num_index)) as usize).and_then(number::parse_i64).ok_or(BadKeys)?;
            if !(0..=words).contains(&count) {
                return Err(BadKeys);
            }
            first += i64::from(first_key);
            (first + (count - 1) * i64::from(step), step)
        }
        FindKeys::Unknown => return Err(BadKeys),
    };
    if first == words && last == words - 1 && !out.is_empty() {
        // More keys may follow the first ones, and need not: PFMERGE without sources.
        return Ok(());
    }
    if last >= words || last < first || first >= words {
        return Err(BadKeys);
    }
    let flags = spec.flags;
    out.extend((first..=last).step_by(step.max(1) as usize).map(|i| KeyPos { index: i as u32, flags }));
    Ok(())
}

/// From `start_from` on to the end; a negative one counts from the end and looks backwards.
fn find_keyword(argv: &Argv<'_>, word: &str, start_from: i16) -> Option<usize> {
    let is_it = |i: &usize| argv.word(*i).eq_ignore_ascii_case(word.as_bytes());
    if start_from >= 0 {
        (start_from as usize..argv.len()).find(is_it)
    } else {
        let start = argv.len().checked_sub(start_from.unsigned_abs() as usize)?;
        (1..=start).rev().find(is_it)
    }
}

#[cfg(test)]
mod tests {
    use super::super::flags::key_flag::*;
    use super::super::row::key_spec::*;
    use super::*;
    use crate::resp::OwnedArgv;

    fn check(keys_of: &'static [KeySpec], line: &str, expect: Result<&[u32], BadKeys>) {
        let row = Row { keys: keys_of, ..Row::EMPTY };
        let argv = OwnedArgv::from_words(line.split(' '));
        let mut out = KeyList::new();
        let got = keys(&row, &argv.as_argv(), &mut out).map(|()| out.iter().map(|k| k.index).collect::<Vec<_>>());
        assert_eq!(got.as_deref(), expect.as_ref().map(|e| *e).map_err(|_| &BadKeys), "{line}");
    }

    #[test]
    fn ranges_count_from_the_first_key_or_from_the_end() {
        check(&[KEY1_RO], "get a", Ok(&[1]));
        check(&[KEYS_RO], "mget a b c", Ok(&[1, 2, 3]));
        check(const { &[KeySpec::at(1, RO).through(-2)] }, "blpop a b 0", Ok(&[1, 2]));
        check(const { &[KeySpec::at(1, OW).through(-1).every(2)] }, "mset a 1 b 2", Ok(&[1, 3]));
        check(const { &[KeySpec::at(2, RO).through(1)] }, "x y a b", Ok(&[2, 3]));
        check(&[KEYS_RO], "mget", Err(BadKeys));
        const PFMERGE: &[KeySpec] = &[KEY1_RW_UPDATE, KeySpec::at(2, RO).through(-1)];
        check(PFMERGE, "pfmerge a b c", Ok(&[1, 2, 3]));
        check(PFMERGE, "pfmerge a", Ok(&[1]));
    }

    #[test]
    fn counted_keys_follow_their_number() {
        const EVAL: &[KeySpec] = &[KeySpec::at(2, RW).counted()];
        check(EVAL, "eval s 2 a b arg", Ok(&[3, 4]));
        check(EVAL, "eval s 0 arg", Err(BadKeys));
        check(EVAL, "eval s 3 a b", Err(BadKeys));
        check(EVAL, "eval s 9223372036854775807 a", Err(BadKeys));
        check(EVAL, "eval s -1 a", Err(BadKeys));
        check(EVAL, "eval s x a", Err(BadKeys));
        check(EVAL, "eval s", Err(BadKeys));
        check(const { &[KeySpec::at(1, OW).counted().every(2)] }, "msetex 2 a 1 b 2 ex 5", Ok(&[2, 4]));
    }

    #[test]
    fn keywords_are_looked_for_from_either_end() {
        const XREAD: &[KeySpec] = &[KeySpec::after("STREAMS", 1, RO).through(-1).first_part(2)];
        check(XREAD, "xread count 1 streams a b 0 0", Ok(&[4, 5]));
        check(XREAD, "xread count 1", Ok(&[]));
        const MIGRATE: &[KeySpec] = &[KeySpec::after("KEYS", -2, RW).through(-1)];
        check(MIGRATE, "migrate h p k 0 5 keys a b", Ok(&[7, 8]));
        check(MIGRATE, "migrate h", Ok(&[]));
    }

    #[test]
    fn channels_are_routed_but_are_no_keys() {
        const SPUBLISH: &[KeySpec] = &[KeySpec::at(1, NOT_KEY)];
        check(SPUBLISH, "spublish ch m", Ok(&[]));
        let row = Row { keys: SPUBLISH, ..Row::EMPTY };
        let argv = OwnedArgv::from_words(["spublish", "ch", "m"]);
        let mut out = KeyList::new();
        routed_words(&row, &argv.as_argv(), &mut out).unwrap();
        assert_eq!(out[0].index, 1);
    }
}
