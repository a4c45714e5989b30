//! A strict look at one append-only file: where its whole requests end, what is wrong behind that, and where it passes a
//! moment. The words are those of stock's redis-check-aof, the place of a fault included.
//!
//! Knows no disk and changes nothing. A file's bytes never panic and are not kept.
#![deny(clippy::indexing_slicing, clippy::unwrap_used)]

use std::io::{self, BufRead};

/// Longest line of a count or a length, and of a note.
const NUMBER_LINE: usize = 127;
const NOTE_LINE: usize = 1023;

/// What was found.
#[derive(Debug, Default)]
pub struct Scan {
    /// Whole requests, and whole transactions, end there.
    pub ok_up_to: u64,
    /// What is wrong behind that, line by line, as it is printed.
    pub complaints: Vec<Vec<u8>>,
    /// Counts and arguments, each of which ends a line.
    pub lines: u64,
    /// How many notes of time were passed, and the last of them.
    pub notes: u64,
    pub last_note_s: Option<i64>,
    /// The first note of a later time than wanted; nothing behind it was looked at.
    pub beyond: Option<Beyond>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beyond {
    pub at: u64,
    pub unix_s: i64,
}

#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A note of time that is none, where times matter.
    #[error("Invalid timestamp annotation at byte {at}")]
    Note { at: u64 },
}

/// Names as they are printed.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    pub name: &'a str,
    pub path: &'a str,
}

/// Reads a file from where it stands, `from` bytes behind its beginning, to its end or to the first note of a time after
/// `until_s`.
pub fn scan(source: impl BufRead, from: u64, until_s: Option<i64>, names: Names<'_>) -> Result<Scan, ScanError> {
    let mut me = Scanner { source, at: from, looked_at: 0, in_transaction: false, lines: 0, names };
    let mut found = Scan { ok_up_to: from, ..Scan::default() };
    loop {
        if !me.in_transaction {
            found.ok_up_to = me.at;
        }
        let fault = match me.peek()? {
            Some(b'#') => {
                let at = me.at;
                me.looked_at = at;
                let line = me.line(NOTE_LINE)?;
                let Some(note) = line.strip_prefix(b"#TS:") else { continue };
                match (moment(note), until_s) {
                    (Some(unix_s), Some(until_s)) if unix_s > until_s => {
                        found.beyond = Some(Beyond { at, unix_s });
                        break;
                    }
                    (Some(unix_s), _) => {
                        found.notes += 1;
                        found.last_note_s = Some(unix_s);
                    }
                    (None, Some(_)) => return Err(ScanError::Note { at }),
                    (None, None) => {}
                }
                continue;
            }
            Some(b'*') => match me.request()? {
                Ok(()) => continue,
                Err(fault) => fault,
            },
            Some(_) => {
                // The second line is stock's, which has no place.
                found.complaints.push(format!("{}No request begins here", place(me.at)).into_bytes());
                found.complaints.push(format!("AOF {} format error", names.name).into_bytes());
                Fault::End
            }
            None => Fault::End,
        };
        match fault {
            Fault::Told { at, text } => found.complaints.push([place(at).as_bytes(), &text].concat()),
            Fault::End if me.in_transaction && me.peek()?.is_none() => {
                let text = format!("{}Reached EOF before reading EXEC for MULTI", place(me.looked_at));
                found.complaints.push(text.into_bytes());
            }
            Fault::End => {}
        }
        break;
    }
    found.lines = me.lines;
    Ok(found)
}

/// How a line begins that tells of this place.
pub fn place(at: u64) -> String {
    format!("0x{at:16x}: ")
}

/// The time in a note, in Unix seconds.
fn moment(note: &[u8]) -> Option<i64> {
    let digits = note.iter().take_while(|c| c.is_ascii_digit()).count();
    let (number, rest) = note.split_at_checked(digits)?;
    let number = std::str::from_utf8(number).ok()?.parse().ok()?;
    rest.starts_with(b"\r").then_some(number)
}

/// Why a request is none.
enum Fault {
    Told {
        at: u64,
        text: Vec<u8>,
    },
    /// The file ends where a line should begin, or begins with no request.
    End,
}

impl Fault {
    fn told<T>(at: u64, text: impl Into<Vec<u8>>) -> io::Result<Result<T, Self>> {
        Ok(Err(Self::Told { at, text: text.into() }))
    }
}

struct Scanner<'a, R> {
    source: R,
    at: u64,
    /// Where the last line or argument began.
    looked_at: u64,
    in_transaction: bool,
    lines: u64,
    names: Names<'a>,
}

/// Outside: the disk's faults; inside: the file's.
macro_rules! sound {
    ($outcome:expr) => {
        match $outcome? {
            Ok(value) => value,
            Err(fault) => return Ok(Err(fault)),
        }
    };
}

impl<R: BufRead> Scanner<'_, R> {
    fn request(&mut self) -> io::Result<Result<(), Fault>> {
        let (words, _) = sound!(self.number(b'*'));
        for i in 0..words {
            let (len, at) = sound!(self.number(b'$'));
            if !(0..=i64::MAX - 2).contains(&len) {
                let text = format!("Expected to read string of {len} bytes, which is not in the suitable range");
                return Fault::told(at, text);
            }
            let (word, at) = sound!(self.word(len as u64 + 2));
            if i > 0 {
                continue;
            }
            if word.eq_ignore_ascii_case(b"multi") {
                if std::mem::replace(&mut self.in_transaction, true) {
                    return Fault::told(at, format!("Unexpected MULTI in AOF {}", self.names.path));
                }
            } else if word.eq_ignore_ascii_case(b"exec") && !std::mem::replace(&mut self.in_transaction, false) {
                return Fault::told(at, format!("Unexpected EXEC in AOF {}", self.names.path));
            }
        }
        Ok(Ok(()))
    }

    /// A line with a number behind `prefix`, and where it begins.
    fn number(&mut self, prefix: u8) -> io::Result<Result<(i64, u64), Fault>> {
        let at = self.at;
        self.looked_at = at;
        let line = self.line(NUMBER_LINE)?;
        match line.first() {
            None => return Ok(Err(Fault::End)),
            Some(c) if *c == prefix => {}
            Some(c) => {
                let text =
                    [format!("Expected prefix '{}', got: '", char::from(prefix)).as_bytes(), &[*c], b"'"].concat();
                return Fault::told(at, text);
            }
        }
        let digits = line.get(1..).unwrap_or_default().trim_ascii_start();
        let sign = usize::from(matches!(digits.first(), Some(b'-' | b'+')));
        let len = digits.iter().skip(sign).take_while(|c| c.is_ascii_digit()).count();
        // Without a digit nothing is a number, not even the blanks before.
        let rest = if len == 0 { line.get(1..) } else { digits.get(sign + len..) };
        let number = super::manifest::leading_number(digits);
        sound!(self.line_end(at, rest.unwrap_or_default()));
        Ok(Ok((number, at)))
    }

    /// An argument of `len` bytes, its line's end included: the beginning of it, and where it begins.
    fn word(&mut self, len: u64) -> io::Result<Result<(Vec<u8>, u64), Fault>> {
        let at = self.at;
        self.looked_at = at;
        let (mut head, mut tail) = (Vec::new(), [0, 0]);
        while self.at - at < len {
            let left = len - (self.at - at);
            let some = match self.source.fill_buf() {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                some => some?,
            };
            let some = some.get(..left.min(some.len() as u64) as usize).unwrap_or_default();
            if some.is_empty() {
                return Fault::told(at, format!("Expected to read {len} bytes, got {} bytes", self.at - at));
            }
            head.extend(some.iter().take(8 - head.len().min(8)));
            match *some {
                [.., a, b] => tail = [a, b],
                [b] => tail = [tail[1], b],
                [] => {}
            }
            let n = some.len();
            self.source.consume(n);
            self.at += n as u64;
        }
        sound!(self.line_end(at, &tail));
        head.truncate(usize::try_from(len - 2).unwrap_or(usize::MAX));
        Ok(Ok((head, at)))
    }

    fn line_end(&mut self, at: u64, rest: &[u8]) -> io::Result<Result<(), Fault>> {
        if rest.starts_with(b"\r\n") {
            self.lines += 1;
            return Ok(Ok(()));
        }
        // Printed as C prints a signed byte.
        let byte = |i| i32::from(rest.get(i).copied().unwrap_or(0) as i8);
        Fault::told(at, format!("Expected \\r\\n, got: {:02x}{:02x}", byte(0), byte(1)))
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        loop {
            match self.source.fill_buf() {
                Ok(some) => return Ok(some.first().copied()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Up to the line's end, or `max` bytes. Empty: the file is at its end.
    fn line(&mut self, max: usize) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        io::Read::take(&mut self.source, max as u64).read_until(b'\n', &mut line)?;
        self.at += line.len() as u64;
        Ok(line)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn of(file: &[u8], until_s: Option<i64>) -> Scan {
        let names = Names { name: "a.aof", path: "d/a.aof" };
        scan(io::BufReader::with_capacity(3, file), 0, until_s, names).unwrap()
    }

    fn check(file: &[u8], ok_up_to: u64, complaints: &[&str]) {
        let found = of(file, None);
        let said: Vec<String> =
            found.complaints.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect();
        assert_eq!((found.ok_up_to, said), (ok_up_to, complaints.iter().map(|s| (*s).to_owned()).collect()));
    }

    #[test]
    fn whole_files_are_whole() {
        check(b"", 0, &[]);
        check(b"*1\r\n$4\r\nPING\r\n", 14, &[]);
        let whole = b"#TS:5\r\n*1\r\n$5\r\nMULTI\r\n*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n*1\r\n$4\r\nEXEC\r\n";
        check(whole, whole.len() as u64, &[]);
        assert_eq!((of(whole, None).lines, of(whole, None).notes), (11, 1));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        check(b"*1\r\n$4\r\nPING\r\n!", 14, &["0x               e: No request begins here", "AOF a.aof format error"]);
        check(b"*1\r\n:4\r\nPING\r\n", 0, &["0x               4: Expected prefix '$', got: ':'"]);
        check(b"*1\r\n$4\r\nPI", 0, &["0x               8: Expected to read 6 bytes, got 2 bytes"]);
        check(b"*1\r\n$4\r\nPINGxx", 0, &["0x               8: Expected \\r\\n, got: 7878"]);
        check(b"*1\r\n$4\xff\nPING\r\n", 0, &["0x               4: Expected \\r\\n, got: ffffffff0a"]);
        let far = "0x               4: Expected to read string of -3 bytes, which is not in the suitable range";
        check(b"*1\r\n$-3\r\n", 0, &[far]);
        check(b"*1\r\n", 0, &[]);
        let multi = b"*1\r\n$4\r\nPING\r\n*1\r\n$5\r\nMULTI\r\n";
        check(multi, 14, &["0x              16: Reached EOF before reading EXEC for MULTI"]);
        check(b"*1\r\n$4\r\nexec\r\n", 0, &["0x               8: Unexpected EXEC in AOF d/a.aof"]);
        let twice = b"*1\r\n$5\r\nMULTI\r\n*1\r\n$5\r\nmulti\r\n";
        check(twice, 0, &["0x              17: Unexpected MULTI in AOF d/a.aof"]);
    }

    #[test]
    fn a_moment_is_found_before_what_was_written_after_it() {
        let file = b"#TS:100\r\n*1\r\n$1\r\na\r\n#TS:200\r\n*1\r\n$1\r\nb\r\n#TS:300\r\n*1\r\n$1\r\nc\r\n";
        let at = |until_s| of(file, Some(until_s)).beyond.map(|b| (b.at, b.unix_s));
        assert_eq!(at(99), Some((0, 100)));
        assert_eq!(at(100), Some((20, 200)));
        assert_eq!(at(299), Some((40, 300)));
        assert_eq!(at(300), None);
        assert_eq!(of(file, Some(300)).last_note_s, Some(300));
        let names = Names { name: "", path: "" };
        let odd = scan(&b"*1\r\n$1\r\na\r\n#TS:x\r\n"[..], 0, Some(1), names);
        assert!(matches!(odd, Err(ScanError::Note { at: 11 })));
    }
}
