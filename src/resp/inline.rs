//! Splits a line into words with quoting, as inline requests, configuration files and `redis-cli` have it.
//!
//! ```text
//! word  'single \' quoted'  "double \" quoted \n \x41"  half"and half"
//! ```
#![deny(clippy::indexing_slicing)]

use std::ops::Range;

/// One word of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// It stands in the line as it is.
    Plain(Range<usize>),
    /// It had quotes.
    Quoted(Vec<u8>),
}

/// The words of `line`; `None` if a quote is not closed, or is closed in the middle of a word.
pub fn split_words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    each_word(line, |word| {
        words.push(match word {
            Word::Plain(range) => line.get(range).unwrap_or_default().to_vec(),
            Word::Quoted(bytes) => bytes,
        });
    })?;
    Some(words)
}

/// Calls `found` for each word; `None` if quotes are unbalanced, after the words before that.
pub(super) fn each_word(line: &[u8], mut found: impl FnMut(Word)) -> Option<()> {
    let mut at = 0;
    loop {
        at += line.iter().skip(at).take_while(|&&c| is_space(c)).count();
        if at >= line.len() {
            return Some(());
        }
        let plain = line.iter().skip(at).take_while(|&&c| !ends_word(c) && !matches!(c, b'"' | b'\'')).count();
        let end = at + plain;
        match line.get(end) {
            Some(b'"' | b'\'') => {
                let (word, after) = quoted_word(line, at)?;
                found(Word::Quoted(word));
                at = after;
            }
            Some(_) | None => {
                found(Word::Plain(at..end));
                // The byte that ended it may be one that does not count as space between words (NUL).
                at = end + 1;
            }
        }
    }
}

/// A word with quotes in it, from `at`; also where to go on.
fn quoted_word(line: &[u8], mut at: usize) -> Option<(Vec<u8>, usize)> {
    let mut word = Vec::new();
    loop {
        match line.get(at) {
            None => return Some((word, at)),
            Some(&c) if ends_word(c) => return Some((word, at + 1)),
            Some(b'"') => {
                at = double_quoted(line, at + 1, &mut word)?;
                return ends_here(line, at).then_some((word, at));
            }
            Some(b'\'') => {
                at = single_quoted(line, at + 1, &mut word)?;
                return ends_here(line, at).then_some((word, at));
            }
            Some(&c) => {
                word.push(c);
                at += 1;
            }
        }
    }
}

/// Reads to the closing quote and gives where it goes on behind that.
fn double_quoted(line: &[u8], mut at: usize, word: &mut Vec<u8>) -> Option<usize> {
    loop {
        match line.get(at..)? {
            [b'\\', b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                word.push(hex(*high) << 4 | hex(*low));
                at += 4;
            }
            [b'\\', c, ..] => {
                word.push(match c {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                at += 2;
            }
            [b'"', ..] => return Some(at + 1),
            [c, ..] => {
                word.push(*c);
                at += 1;
            }
            [] => return None,
        }
    }
}

fn single_quoted(line: &[u8], mut at: usize, word: &mut Vec<u8>) -> Option<usize> {
    loop {
        match line.get(at..)? {
            [b'\\', b'\'', ..] => {
                word.push(b'\'');
                at += 2;
            }
            [b'\'', ..] => return Some(at + 1),
            [c, ..] => {
                word.push(*c);
                at += 1;
            }
            [] => return None,
        }
    }
}

/// A closing quote ends the word: a space must follow, or nothing.
fn ends_here(line: &[u8], at: usize) -> bool {
    line.get(at).is_none_or(|&c| is_space(c))
}

fn is_space(c: u8) -> bool {
    matches!(c, b' ' | b'\t'..=b'\r')
}

/// Not all that counts as space between words ends one: vertical tabs and form feeds do not.
fn ends_word(c: u8) -> bool {
    matches!(c, b' ' | b'\n' | b'\r' | b'\t' | 0)
}

fn hex(c: u8) -> u8 {
    (c as char).to_digit(16).unwrap_or(0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expect: Option<&[&str]>) {
        let got = split_words(line.as_bytes());
        let expect = expect.map(|words| words.iter().map(|w| w.as_bytes().to_vec()).collect::<Vec<_>>());
        assert_eq!(got, expect, "{line:?}");
    }

    #[test]
    fn words_and_quotes() {
        check("", Some(&[]));
        check("  \t ", Some(&[]));
        check("set key  value ", Some(&["set", "key", "value"]));
        check(r#"set "a b" 'c d'"#, Some(&["set", "a b", "c d"]));
        check(r#""\x41\n\t\q\"""#, Some(&["A\n\tq\""]));
        check(r"'it\'s' '\n'", Some(&["it's", "\\n"]));
        check(r#"half"and half""#, Some(&["halfand half"]));
        check(r#""" ''"#, Some(&["", ""]));
        check(r#""\xZZ""#, Some(&["xZZ"]));
        check("a\x0bb", Some(&["a\x0bb"]));
    }

    #[test]
    fn unbalanced_quotes_are_refused() {
        check("\"abc", None);
        check("'abc", None);
        check("set \"a\"b", None);
        check("set 'a'b", None);
        check("\"abc\\", None);
        check("\"abc\\\"", None);
    }
}
