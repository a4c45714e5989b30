//! The words of a line, as stock servers split and quote them.
//! Knows nothing of directives or files.
//!
//! ```text
//! line   := blank* (word blank+)*
//! word   := bare characters, or "…" with \n \r \t \b \a \xHH \c, or '…' with \'
//! ```
//! A closing quote must be followed by a blank or the end; otherwise the line is unbalanced.

/// One word, and whether it was written without quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    pub text: Vec<u8>,
    pub bare: bool,
}

/// Splits a line into words. `None`: unbalanced quotes.
pub fn split(line: &[u8]) -> Option<Vec<Word>> {
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        while line.get(at).is_some_and(|&c| blank(c)) {
            at += 1;
        }
        if at >= line.len() || line[at] == 0 {
            return Some(words);
        }
        let mut text = Vec::new();
        let mut bare = true;
        // A quote may open in the middle of a word (`a"b"`), and always ends it.
        while let Some(&c) = line.get(at) {
            match c {
                b' ' | b'\n' | b'\r' | b'\t' | 0 => break,
                b'"' => {
                    bare = false;
                    at = double_quoted(line, at + 1, &mut text)?;
                    break;
                }
                b'\'' => {
                    bare = false;
                    at = single_quoted(line, at + 1, &mut text)?;
                    break;
                }
                _ => {
                    text.push(c);
                    at += 1;
                }
            }
        }
        words.push(Word { text, bare });
    }
}

/// The texts alone.
pub fn split_texts(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    Some(split(line)?.into_iter().map(|word| word.text).collect())
}

/// Writes bytes so that [`split`] reads them back as one word.
pub fn quote(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for &c in text {
        match c {
            b'\\' => out.push_str("\\\\"),
            b'"' => out.push_str("\\\""),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            0x07 => out.push_str("\\a"),
            0x08 => out.push_str("\\b"),
            0x20..=0x7e => out.push(char::from(c)),
            _ => out.push_str(&format!("\\x{c:02x}")),
        }
    }
    out.push('"');
    out
}

fn blank(c: u8) -> bool {
    matches!(c, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

fn closes(line: &[u8], quote_at: usize) -> Option<usize> {
    match line.get(quote_at + 1) {
        Some(&c) if c != 0 && !blank(c) => None,
        _ => Some(quote_at + 1),
    }
}

fn double_quoted(line: &[u8], mut at: usize, text: &mut Vec<u8>) -> Option<usize> {
    loop {
        match line[at..] {
            [b'\\', b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                text.push(hex(high) * 16 + hex(low));
                at += 4;
            }
            [b'\\', c, ..] if c != 0 => {
                text.push(match c {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    _ => c,
                });
                at += 2;
            }
            [b'"', ..] => return closes(line, at),
            [] | [0, ..] => return None,
            [c, ..] => {
                text.push(c);
                at += 1;
            }
        }
    }
}

fn single_quoted(line: &[u8], mut at: usize, text: &mut Vec<u8>) -> Option<usize> {
    loop {
        match line[at..] {
            [b'\\', b'\'', ..] => {
                text.push(b'\'');
                at += 2;
            }
            [b'\'', ..] => return closes(line, at),
            [] | [0, ..] => return None,
            [c, ..] => {
                text.push(c);
                at += 1;
            }
        }
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expect: &[&str]) {
        let words = split_texts(line.as_bytes()).expect("balanced");
        let words: Vec<String> = words.iter().map(|w| String::from_utf8_lossy(w).into_owned()).collect();
        assert_eq!(words, expect, "line {line:?}");
    }

    #[test]
    fn words_are_split_at_blanks_and_quotes_group_them() {
        check("", &[]);
        check("  \t ", &[]);
        check("port 6379", &["port", "6379"]);
        check("  save\t900   1 ", &["save", "900", "1"]);
        check(r#"requirepass "a b""#, &["requirepass", "a b"]);
        check(r#"x "" ''"#, &["x", "", ""]);
        check(r#"x "\x41\n\t\"\\" 'it\'s \n'"#, &["x", "A\n\t\"\\", "it's \\n"]);
        check(r#"x pre"fix" next"#, &["x", "prefix", "next"]);
        check(r#"x "\xZZ""#, &["x", "xZZ"]);
    }

    #[test]
    fn unbalanced_quotes_are_refused() {
        for line in [r#"x "abc"#, "x 'abc", r#"x "a"b"#, "x 'a'b", r#"x "a\"#, r#"x "a\""#] {
            assert_eq!(split(line.as_bytes()), None, "line {line:?}");
        }
    }

    #[test]
    fn every_byte_string_survives_quoting() {
        let all: Vec<u8> = (0..=255).collect();
        let words = split(quote(&all).as_bytes()).expect("balanced");
        assert_eq!(words, [Word { text: all, bare: false }]);
    }

    #[test]
    fn a_bare_word_is_told_from_a_quoted_one() {
        let bare: Vec<bool> = split(br##"a "#b" #c d"e""##).expect("balanced").iter().map(|w| w.bare).collect();
        assert_eq!(bare, [true, false, true, false]);
    }
}
