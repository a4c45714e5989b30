//! The requests of an append-only file, in chunks that can travel from one thread to another.
//!
//! ```text
//! #TS:1700000000\r\n            a note, which may stand between any two requests (`position` has others)
//! *3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n
//! ```
//! The grammar is that of a stock server that loads: a line ends at `\n` or after 1023 bytes, a number may be followed by
//! anything, and nobody looks at the two bytes behind an argument. Positions count from the file's first byte.
//!
//! Knows nothing of commands. A file's bytes never panic, and take memory only as they come.
#![deny(clippy::indexing_slicing, clippy::unwrap_used)]

use std::io::{self, Read};

use bytes::Bytes;

use super::position::{self, Line};
use crate::resp::{Argv, Span};

/// How much is read and parsed before it is handed on.
const CHUNK_BYTES: usize = 256 << 10;
/// An argument of so many bytes that is not all there gets a buffer of its own, which the value may keep.
const OWN_BYTES: usize = 64 << 10;
/// Words of one request beyond this are moved out of the shared buffer, whose positions are limited.
const SPILL_BYTES: usize = 1 << 30;
/// Longest argument: what a position counts.
const ARGUMENT_MAX: i64 = (u32::MAX / 2) as i64;
/// Longest line.
const LINE_MAX: usize = 1023;

/// Whole requests.
#[derive(Debug, Default)]
pub struct Chunk {
    buf: Vec<u8>,
    spans: Vec<Span>,
    own: Vec<Bytes>,
    requests: Vec<Request>,
    /// Where in the file the reader stands behind it: the notes behind the last request, if they were there, included.
    behind: u64,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    first_span: u32,
    span_count: u32,
    first_own: u32,
    /// Where in the file it begins and ends.
    start: u64,
    end: u64,
}

impl Chunk {
    /// Number of requests.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// The words of request `i`: never none of them, unless there is no such request.
    #[inline]
    pub fn argv(&self, i: usize) -> Argv<'_> {
        let Some(r) = self.requests.get(i) else { return Argv::new(&[], &[], &[]) };
        let spans = self.spans.get(r.first_span as usize..(r.first_span + r.span_count) as usize).unwrap_or_default();
        Argv::new(&self.buf, spans, self.own.get(r.first_own as usize..).unwrap_or_default())
    }

    /// Where in the file request `i` begins, and where the one behind it.
    pub fn place(&self, i: usize) -> (u64, u64) {
        self.requests.get(i).map_or((0, 0), |r| (r.start, r.end))
    }

    /// Where in the file begins what comes behind request `i` and the notes that follow it.
    pub fn behind(&self, i: usize) -> u64 {
        self.requests.get(i + 1).map_or(self.behind, |next| next.start)
    }

    /// Where in the file the last request ends.
    pub fn end(&self) -> u64 {
        self.requests.last().map_or(0, |r| r.end)
    }

    fn clear(&mut self) {
        self.buf.clear();
        self.spans.clear();
        self.own.clear();
        self.requests.clear();
    }
}

/// Why there are no more requests.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// In the middle of the request that begins at `from`.
    #[error("the file ends in the middle of the request that begins at byte {from}")]
    Short { from: u64 },
    /// In the middle of a note, which holds no data.
    #[error("the file ends in the middle of the note that begins at byte {from}")]
    TornNote { from: u64 },
    #[error("byte {at}: {what}")]
    Bad { at: u64, what: Flaw },
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What is wrong with a file's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error("expected '{}', got '{}'", char::from(*.expected), .got.escape_ascii())]
    Prefix { expected: u8, got: u8 },
    #[error("a request of {0} words")]
    Count(i64),
    #[error("an argument of {0} bytes")]
    Length(i64),
}

/// Reads a file from where it stands.
pub struct Reader<R> {
    source: R,
    /// What was read but belongs to no request yet.
    rest: Vec<u8>,
    /// Where in the file `rest` begins.
    position: u64,
    ended: bool,
    /// Bytes of notes that were passed over.
    pub notes_bytes: u64,
    /// Bytes of the requests so far.
    pub request_bytes: u64,
    /// Those of the notes that tell of a position, for whoever takes them.
    pub lines: Vec<Line>,
}

/// What a line or an argument is missing.
enum Lack {
    /// More of the file.
    Bytes,
    Flaw {
        at: usize,
        what: Flaw,
    },
    Io(io::Error),
}

impl From<io::Error> for Lack {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

impl<R: Read> Reader<R> {
    /// `position`: where in the file `source` stands.
    pub fn new(source: R, position: u64) -> Self {
        Self { source, rest: Vec::new(), position, ended: false, notes_bytes: 0, request_bytes: 0, lines: Vec::new() }
    }

    /// The next requests, in `chunk`'s memory. An empty chunk: the file ended behind a whole request.
    pub fn next(&mut self, mut chunk: Chunk) -> Result<Chunk, Stop> {
        chunk.clear();
        chunk.buf.append(&mut self.rest);
        self.fill(&mut chunk.buf, CHUNK_BYTES)?;
        // Where parsing stands, and by how much positions in the file exceed those in the buffer.
        let (mut at, mut offset) = (0, self.position);
        loop {
            let was = chunk.buf.len();
            match self.request(&mut chunk, &mut at, &mut offset) {
                Ok(true) => {}
                Ok(false) => break,
                Err(_) if !chunk.is_empty() => {
                    // Comes again when these are done.
                    debug_assert_eq!(was, chunk.buf.len());
                    break;
                }
                Err(Lack::Bytes) => {
                    let from = offset + at as u64;
                    let note = chunk.buf.get(at) == Some(&b'#');
                    return Err(if note { Stop::TornNote { from } } else { Stop::Short { from } });
                }
                Err(Lack::Flaw { at, what }) => return Err(Stop::Bad { at: offset + at as u64, what }),
                Err(Lack::Io(e)) => return Err(Stop::Io(e)),
            }
        }
        self.rest.extend_from_slice(chunk.buf.get(at..).unwrap_or_default());
        self.position = offset + at as u64;
        chunk.behind = self.position;
        Ok(chunk)
    }

    /// Parses the request at `at` and moves `at` behind it. False: nothing is there, and nothing more comes.
    ///
    /// The first request of a chunk is waited for, however long it is; then `offset` grows by what was taken out of the
    /// buffer. Any other is left for the next chunk, untouched, unless all of it is there.
    fn request(&mut self, chunk: &mut Chunk, at: &mut usize, offset: &mut u64) -> Result<bool, Lack> {
        let first = chunk.is_empty();
        loop {
            match chunk.buf.get(*at).copied() {
                Some(b'#') => {
                    let line = self.line(chunk, *at, first)?;
                    let text = chunk.buf.get(*at..*at + line).unwrap_or_default();
                    if text.starts_with(position::PREFIX) {
                        let (at, text) = (*offset + *at as u64, text.to_vec());
                        let behind = at + line as u64;
                        self.lines.push(Line { at, behind, requests: self.request_bytes, text });
                    }
                    self.notes_bytes += line as u64;
                    *at += line;
                }
                Some(b'*') => break,
                Some(got) => return Err(Lack::Flaw { at: *at, what: Flaw::Prefix { expected: b'*', got } }),
                None if !first || self.fill(&mut chunk.buf, CHUNK_BYTES)? == 0 => return Ok(false),
                None => {}
            }
        }
        let (first_span, first_own) = (chunk.spans.len(), chunk.own.len());
        let start = *offset + *at as u64;
        let mut detached = 0;
        let end = match self.words(chunk, *at, first, first_span, &mut detached) {
            Ok(end) => end,
            Err(lack) => {
                chunk.spans.truncate(first_span);
                chunk.own.truncate(first_own);
                return Err(match lack {
                    Lack::Flaw { at, what } => Lack::Flaw { at: at + detached as usize, what },
                    lack @ (Lack::Bytes | Lack::Io(_)) => lack,
                });
            }
        };
        *offset += detached;
        *at = end;
        chunk.requests.push(Request {
            first_span: first_span as u32,
            span_count: (chunk.spans.len() - first_span) as u32,
            first_own: first_own as u32,
            start,
            end: *offset + end as u64,
        });
        self.request_bytes += *offset + end as u64 - start;
        Ok(true)
    }

    /// Parses the words of a request. Gives where in the buffer it ends.
    fn words(
        &mut self,
        chunk: &mut Chunk,
        begin: usize,
        first: bool,
        first_span: usize,
        detached: &mut u64,
    ) -> Result<usize, Lack> {
        let mut at = begin;
        let (count, line) = self.number(chunk, at, first)?;
        if count < 1 {
            return Err(Lack::Flaw { at, what: Flaw::Count(count) });
        }
        at += line;
        for _ in 0..count {
            if chunk.buf.len() <= at {
                self.more(chunk, at, 1, first)?;
            }
            match chunk.buf.get(at) {
                Some(b'$') => {}
                Some(&got) => return Err(Lack::Flaw { at, what: Flaw::Prefix { expected: b'$', got } }),
                None => return Err(Lack::Bytes),
            }
            let (len, line) = self.number(chunk, at, first)?;
            if !(0..=ARGUMENT_MAX).contains(&len) {
                return Err(Lack::Flaw { at, what: Flaw::Length(len) });
            }
            let len = len as usize;
            at += line;
            if chunk.buf.len() < at + len + 2 {
                if first && len >= OWN_BYTES {
                    let word = self.own_word(chunk, at, len)?;
                    *detached += len as u64 + 2;
                    chunk.spans.push(Span::own(chunk.own.len(), len));
                    chunk.own.push(word);
                    continue;
                }
                self.more(chunk, at, len + 2, first)?;
            }
            chunk.spans.push(Span::shared(at, len));
            at += len + 2;
            if at > SPILL_BYTES {
                at = spill(chunk, at, first_span, detached);
            }
        }
        Ok(at)
    }

    /// The number in the line at `at`, behind its first byte, and the line's length.
    #[inline]
    fn number(&mut self, chunk: &mut Chunk, at: usize, first: bool) -> Result<(i64, usize), Lack> {
        let digit = |c: u8| i64::from(c.wrapping_sub(b'0'));
        match chunk.buf.get(at + 1..) {
            Some(&[a @ b'0'..=b'9', b'\r', b'\n', ..]) => return Ok((digit(a), 4)),
            Some(&[a @ b'0'..=b'9', b @ b'0'..=b'9', b'\r', b'\n', ..]) => return Ok((digit(a) * 10 + digit(b), 5)),
            _ => {}
        }
        let line = self.line(chunk, at, first)?;
        let text = chunk.buf.get(at + 1..at + line).unwrap_or_default();
        Ok((super::manifest::leading_number(text), line))
    }

    /// The length of the line at `at`, with its end.
    fn line(&mut self, chunk: &mut Chunk, at: usize, first: bool) -> Result<usize, Lack> {
        let mut searched = 0;
        loop {
            let line = chunk.buf.get(at..).unwrap_or_default();
            let line = line.get(..LINE_MAX).unwrap_or(line);
            if let Some(end) = memchr::memchr(b'\n', line.get(searched..).unwrap_or_default()) {
                return Ok(searched + end + 1);
            }
            if line.len() == LINE_MAX {
                return Ok(LINE_MAX);
            }
            searched = line.len();
            self.more(chunk, at, searched + 1, first)?;
        }
    }

    /// Reads until `len` bytes stand behind `at`.
    fn more(&mut self, chunk: &mut Chunk, at: usize, len: usize, first: bool) -> Result<(), Lack> {
        while chunk.buf.len() < at + len {
            if !first || self.fill(&mut chunk.buf, CHUNK_BYTES)? == 0 {
                return Err(Lack::Bytes);
            }
        }
        Ok(())
    }

    /// An argument of which the buffer holds but the beginning: moves it out, and reads the rest of it where it belongs.
    #[cold]
    fn own_word(&mut self, chunk: &mut Chunk, at: usize, len: usize) -> Result<Bytes, Lack> {
        let mut word = chunk.buf.get(at..).unwrap_or_default().to_vec();
        chunk.buf.truncate(at);
        // What is not there yet grows with what comes: a length alone is only a claim.
        let missing = (len + 2).saturating_sub(word.len());
        if !self.ended {
            (&mut self.source).take(missing as u64).read_to_end(&mut word)?;
        }
        if word.len() < len + 2 {
            self.ended = true;
            return Err(Lack::Bytes);
        }
        word.truncate(len);
        Ok(Bytes::from(word))
    }

    /// Reads on, up to `max` bytes. Gives how many there were.
    fn fill(&mut self, buf: &mut Vec<u8>, max: usize) -> io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        let start = buf.len();
        buf.resize(start + max, 0);
        let mut n = 0;
        let outcome = loop {
            match self.source.read(buf.get_mut(start + n..).unwrap_or_default()) {
                Ok(0) => break Ok(()),
                Ok(more) => n += more,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => break Err(e),
            }
        };
        buf.truncate(start + n);
        self.ended = n < max;
        outcome.map(|()| n)
    }
}

/// Moves the words of an endless request, of which `at` bytes of the buffer are parsed, to a buffer of their own.
#[cold]
fn spill(chunk: &mut Chunk, at: usize, first_span: usize, detached: &mut u64) -> usize {
    let rest = chunk.buf.split_off(at);
    let words = Bytes::from(std::mem::replace(&mut chunk.buf, rest));
    // Only the first request of a chunk can be so long.
    debug_assert_eq!(first_span, 0);
    for span in chunk.spans.iter_mut().skip(first_span) {
        if let Some(range) = span.shared_range() {
            *span = Span::own(chunk.own.len(), range.len());
            chunk.own.push(words.slice(range));
        }
    }
    *detached += words.len() as u64;
    0
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::resp::encode_command;

    /// Hands out a few bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let n = self.1.min(into.len()).min(self.0.len());
            let (now, later) = self.0.split_at(n);
            into.get_mut(..n).unwrap().copy_from_slice(now);
            self.0 = later;
            Ok(n)
        }
    }

    type Requests = Vec<(u64, u64, Vec<Vec<u8>>)>;

    fn read(file: &[u8], step: usize) -> (Requests, Option<Stop>, u64) {
        let mut reader = Reader::new(Slow(file, step), 0);
        let (mut requests, mut chunk) = (Vec::new(), Chunk::default());
        loop {
            chunk = match reader.next(chunk) {
                Ok(chunk) if chunk.is_empty() => return (requests, None, reader.notes_bytes),
                Ok(chunk) => chunk,
                Err(stop) => return (requests, Some(stop), reader.notes_bytes),
            };
            for i in 0..chunk.len() {
                let (start, end) = chunk.place(i);
                requests.push((start, end, chunk.argv(i).iter().map(<[u8]>::to_vec).collect()));
            }
        }
    }

    fn stops(file: &[u8], wanted: &str) {
        let stop = read(file, 7).1.expect("it does not end well").to_string();
        assert_eq!(stop, wanted, "of {:?}", file.escape_ascii().to_string());
    }

    #[test]
    fn requests_of_every_length_come_out_as_they_went_in() {
        let mut file = Vec::new();
        let mut wanted = Vec::new();
        let lengths = [0, 1, 9, 10, 99, 100, 1000, OWN_BYTES - 1, OWN_BYTES, CHUNK_BYTES - 7, CHUNK_BYTES * 3 + 1, 5];
        for (i, len) in lengths.into_iter().cycle().take(60).enumerate() {
            if i % 7 == 3 {
                file.extend_from_slice(format!("#TS:{}\r\n", 1_700_000_000 + i).as_bytes());
            }
            let start = file.len() as u64;
            let words =
                vec![b"SET".to_vec(), format!("key-{i}").into_bytes(), vec![b'a' + (i % 26) as u8; len], vec![]];
            encode_command(&mut file, &words);
            wanted.push((start, file.len() as u64, words));
        }
        for step in [1 << 20, CHUNK_BYTES, 4097] {
            let (got, stop, notes) = read(&file, step);
            assert!(stop.is_none(), "{stop:?}");
            assert!(got == wanted, "with steps of {step}");
            assert_eq!(notes, 9 * 16);
        }
    }

    #[test]
    fn a_cut_file_tells_where_its_last_whole_request_ends() {
        let mut file = Vec::new();
        let mut ends = vec![0];
        for i in 0..12 {
            let big = vec![b'x'; if i == 7 { OWN_BYTES + 5 } else { i * 3 }];
            encode_command(&mut file, [&b"SET"[..], b"key", &big]);
            ends.push(file.len() as u64);
        }
        let cuts = (0..file.len()).filter(|cut| *cut < 250 || file.len() - cut < 250 || cut % 9973 == 0);
        for cut in cuts {
            let (got, stop, _) = read(&file[..cut], 1 << 20);
            let whole = ends.iter().rev().find(|end| **end <= cut as u64).unwrap();
            assert_eq!(got.last().map_or(0, |r| r.1), *whole);
            match stop {
                None => assert_eq!(*whole, cut as u64),
                Some(Stop::Short { from }) => assert_eq!(from, *whole),
                Some(other) => panic!("{other} at {cut}"),
            }
        }
    }

    #[test]
    fn what_stock_lets_pass_passes() {
        let file = b"#TS:1\r\n*2\n$3junk\r\nGET\0\0$ +1\nkxx#a note\r\n*1\r\n$4\r\nPING\r\n";
        let (got, stop, notes) = read(file, 5);
        assert!(stop.is_none(), "{stop:?}");
        assert_eq!(notes, 7 + 9);
        let words: Vec<&Vec<Vec<u8>>> = got.iter().map(|r| &r.2).collect();
        assert_eq!(words, [&vec![b"GET".to_vec(), b"k".to_vec()], &vec![b"PING".to_vec()]]);
    }

    #[test]
    fn what_is_no_append_only_file_is_told_with_its_place() {
        stops(b"!hello", "byte 0: expected '*', got '!'");
        stops(b"*1\r\n$4\r\nPING\r\nPING\r\n", "byte 14: expected '*', got 'P'");
        stops(b"*0\r\n", "byte 0: a request of 0 words");
        stops(b"*-1\r\n", "byte 0: a request of -1 words");
        stops(b"*x\r\n", "byte 0: a request of 0 words");
        stops(b"*1\r\n:4\r\n", "byte 4: expected '$', got ':'");
        stops(b"*1\r\n\x00", "byte 4: expected '$', got '\\x00'");
        stops(b"*1\r\n$-1\r\n", "byte 4: an argument of -1 bytes");
        stops(b"*1\r\n$99999999999\r\n", "byte 4: an argument of 99999999999 bytes");
        // These claim much and hold little.
        stops(b"*2147483647\r\n$1\r\na\r\n", "the file ends in the middle of the request that begins at byte 0");
        stops(b"*1\r\n$2147483647\r\na\r\n", "the file ends in the middle of the request that begins at byte 0");
        stops(b"#TS:12", "the file ends in the middle of the note that begins at byte 0");
    }

    #[test]
    fn words_of_an_endless_request_may_leave_the_buffer() {
        let mut chunk = Chunk { buf: b"..abc....de..rest".to_vec(), ..Chunk::default() };
        chunk.spans = vec![Span::shared(2, 3), Span::shared(9, 2)];
        let mut detached = 0;
        assert_eq!(spill(&mut chunk, 13, 0, &mut detached), 0);
        assert_eq!((detached, &chunk.buf[..]), (13, &b"rest"[..]));
        let words: Vec<&[u8]> = Argv::new(&chunk.buf, &chunk.spans, &chunk.own).iter().collect();
        assert_eq!(words, [b"abc", &b"de"[..]]);
    }
}
