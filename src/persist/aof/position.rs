//! Where in the replication stream an append-only file stands, told by the file itself.
//!
//! ```text
//! #REPL:5040@0 =4f1d…            what comes before this byte of the file (its 0th) is the data of history 4f1d… at offset
//! *2\r\n$6\r\nSELECT\r\n…        5040; what follows is its stream, byte for byte,
//! #REPL:5123@181                 up to 5123
//! #REPL:5137@197 +*1\r\n…        and 14 bytes of the stream that are no data: they stand in the note
//! #REPL:9000@235                 or do not, if there were too many of them
//! *3\r\n$3\r\nSET\r\n…           what a client wrote on this replica,
//! #REPL:9000@290-35              35 bytes which are not of the stream
//! #REPL:9000@309 =77aa… 4f1d…:9001      and from here on the history has another name; the old one is good up to 9000
//! ```
//! Such a note ends whatever is written at once. So a file that was cut off anywhere, or that somebody else has gone on with,
//! tells up to where it is the history that it names; what lies behind its last note is data, but nobody else's. A note
//! counts only where it was written: one at another place shows that the file was edited before it. All loaders pass over
//! lines that begin with `#`.
//!
//! Knows no disk but to read. A file's bytes never panic.
#![deny(clippy::indexing_slicing, clippy::unwrap_used)]

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::files;
use super::reader::{Chunk, Reader, Stop};
use crate::persist::history::{Kept, Standing};

/// What a note begins with.
pub(super) const PREFIX: &[u8] = b"#REPL:";
/// What is no data stands in the note if it is no longer than this: signs of life are, most messages are not.
pub(super) const ASIDE_MAX: usize = 96;
const ID_LEN: usize = 40;
/// Notes of which each is remembered, for the case that the end of the file has to go.
const RECENT: usize = 1024;
/// Of older ones, one for so many bytes of the stream.
const SPACING: i64 = 64 << 10;

/// The names of a history as a note tells them.
pub fn names(standing: &Standing) -> Arc<[u8]> {
    let mut text = standing.replid.clone();
    for (id, until) in &standing.former {
        // It cannot fail.
        let _ = write!(text, " {id}:{until}");
    }
    text.into_bytes().into()
}

/// One note.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Note<'a> {
    pub offset: i64,
    /// Where in the file it stands.
    pub at: u64,
    /// So many bytes of requests right before it are not of the stream.
    pub own: u64,
    /// Bytes of the stream that are not in the file.
    pub aside: Vec<u8>,
    pub names: Option<&'a [u8]>,
}

impl Note<'_> {
    pub fn line(&self) -> Vec<u8> {
        let mut line = PREFIX.to_vec();
        line.extend_from_slice(format!("{}@{}", self.offset, self.at).as_bytes());
        if self.own > 0 {
            line.extend_from_slice(format!("-{}", self.own).as_bytes());
        }
        if !self.aside.is_empty() {
            line.extend_from_slice(b" +");
            for &byte in &self.aside {
                match byte {
                    b'\r' => line.extend_from_slice(b"\\r"),
                    b'\n' => line.extend_from_slice(b"\\n"),
                    0 => line.extend_from_slice(b"\\0"),
                    b'\\' => line.extend_from_slice(b"\\\\"),
                    _ => line.push(byte),
                }
            }
        }
        if let Some(names) = self.names {
            line.extend_from_slice(b" =");
            line.extend_from_slice(names);
        }
        line.extend_from_slice(b"\r\n");
        line
    }

    /// Of a whole line.
    fn parse(line: &[u8]) -> Option<Note<'_>> {
        let text = line.strip_prefix(PREFIX)?.strip_suffix(b"\r\n")?;
        let (place, rest) = match text.iter().position(|c| *c == b' ') {
            Some(at) => (text.get(..at)?, text.get(at + 1..)?),
            None => (text, &b""[..]),
        };
        let (offset, place) = std::str::from_utf8(place).ok()?.split_once('@')?;
        let (at, own) = place.split_once('-').unwrap_or((place, "0"));
        let mut note = Note { offset: number(offset)? as i64, at: number(at)?, own: number(own)?, ..Note::default() };
        match rest.split_first() {
            None => {}
            Some((b'+', aside)) => note.aside = unescaped(aside)?,
            Some((b'=', names)) => note.names = Some(names),
            Some(_) => return None,
        }
        Some(note)
    }
}

/// Digits, and not too many of them.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.len() <= 18 && text.bytes().all(|c| c.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

fn unescaped(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next()? {
                b'r' => b'\r',
                b'n' => b'\n',
                b'0' => 0,
                b'\\' => b'\\',
                _ => return None,
            },
            byte => byte,
        });
    }
    Some(bytes)
}

/// Reads [`names`] again. The selected database is not among them.
fn standing(names: &[u8], offset: i64) -> Option<Standing> {
    let mut words = std::str::from_utf8(names).ok()?.split(' ');
    let replid = words.next().filter(|id| id.len() == ID_LEN)?.to_owned();
    let former = words.map(|word| {
        let (id, until) = word.split_once(':').filter(|(id, _)| id.len() == ID_LEN)?;
        Some((id.to_owned(), number(until)? as i64))
    });
    Some(Standing { replid, offset, stream_db: 0, former: former.collect::<Option<_>>()? })
}

/// A line that may be a note, as it was found.
#[derive(Debug)]
pub struct Line {
    /// Where in the file it begins and ends.
    pub at: u64,
    pub behind: u64,
    /// Bytes of requests before it, from where the reader began.
    pub requests: u64,
    pub text: Vec<u8>,
}

/// A note that counts.
#[derive(Clone, Debug)]
struct Known {
    file: usize,
    /// Where in the file it ends.
    behind: u64,
    /// Bytes of requests before it, in all files.
    requests: u64,
    offset: i64,
    names: Arc<[u8]>,
}

/// Follows the stream through the files as they are loaded.
pub(super) struct Tracker {
    /// `repl-backlog-size`: so far back it may be of use.
    limit: i64,
    file: usize,
    /// Bytes of requests in the files before.
    requests: u64,
    /// Notes between which nothing of the stream is missing, the last of all at the end.
    older: VecDeque<Known>,
    recent: VecDeque<Known>,
}

impl Tracker {
    pub fn new(limit: usize) -> Self {
        Self { limit: limit as i64, file: 0, requests: 0, older: VecDeque::new(), recent: VecDeque::new() }
    }

    /// The next note, or what looks like one.
    pub fn note(&mut self, line: &Line) {
        let Some(note) = Note::parse(&line.text).filter(|note| note.at == line.at) else {
            return self.forget();
        };
        let before = self.recent.back();
        let names: Arc<[u8]> = match (note.names, before) {
            (Some(names), _) => names.into(),
            (None, Some(before)) => before.names.clone(),
            (None, None) => return,
        };
        let requests = self.requests + line.requests;
        let goes_on = before.is_some_and(|before| {
            let since = (requests - before.requests).checked_sub(note.own).map(|n| n as i64 + note.aside.len() as i64);
            since.is_some_and(|since| before.offset + since == note.offset) && is_heir(&before.names, &names)
        });
        if !goes_on {
            self.forget();
        }
        let known = Known { file: self.file, behind: line.behind, requests, offset: note.offset, names };
        self.recent.push_back(known);
        if self.recent.len() > RECENT {
            self.thin_out();
        }
    }

    fn forget(&mut self) {
        self.older.clear();
        self.recent.clear();
    }

    fn thin_out(&mut self) {
        let (Some(old), Some(last)) = (self.recent.pop_front(), self.recent.back()) else { return };
        if self.older.back().is_none_or(|known| old.offset - known.offset >= SPACING) {
            self.older.push_back(old);
        }
        while self.older.get(1).is_some_and(|known| last.offset - known.offset >= self.limit) {
            self.older.pop_front();
        }
    }

    /// A file is at its end, of which everything from `cut` on goes. `requests`: bytes of all in it.
    pub fn end_of_file(&mut self, cut: u64, requests: u64) {
        while self.recent.back().is_some_and(|known| known.file == self.file && known.behind > cut) {
            self.recent.pop_back();
        }
        if self.recent.is_empty() {
            self.older.clear();
        }
        self.file += 1;
        self.requests += requests;
    }

    /// Where the stream stood when the last note was written that counts, and from where on it can be had.
    pub fn found(self) -> Option<Position> {
        let last = self.recent.back()?;
        let standing = standing(&last.names, last.offset)?;
        let far_enough = |known: &&Known| last.offset - known.offset >= self.limit;
        let all = || self.older.iter().chain(&self.recent);
        let from = all().rev().find(far_enough).or_else(|| all().next())?.clone();
        Some(Position { standing, from })
    }
}

/// Whether these names are those of the same history, or of one that goes on from it.
fn is_heir(names: &[u8], heir: &[u8]) -> bool {
    let Some(id) = names.get(..ID_LEN) else { return false };
    heir.windows(ID_LEN).any(|word| word == id)
}

/// Where the files stand.
#[derive(Debug)]
pub struct Position {
    standing: Standing,
    from: Known,
}

impl Position {
    /// What the history was called where what can be had of the stream begins.
    pub fn first_replid(&self) -> &str {
        self.from.names.get(..ID_LEN).and_then(|id| std::str::from_utf8(id).ok()).unwrap_or_default()
    }

    /// The end of the stream, at most `limit` bytes of it, as these files hold it, which were loaded and are as they were
    /// found. It may go beyond where the history stands: what lies behind the last note.
    pub fn rebuild(&self, paths: &[PathBuf], limit: usize, stream_db: i64) -> io::Result<Option<Kept>> {
        let mut tail = Tail { bytes: Vec::new(), first: self.from.offset + 1, limit };
        for (i, path) in paths.iter().enumerate().skip(self.from.file) {
            let mut file = File::open(path)?;
            let from = if i == self.from.file { self.from.behind } else { 0 };
            if from == 0 && files::is_snapshot(&mut file)? {
                return Ok(None);
            }
            file.seek(SeekFrom::Start(from))?;
            if !tail.add(file, from)? {
                return Ok(None);
            }
        }
        let (first, bytes) = tail.end();
        Ok(Some(Kept { standing: Standing { stream_db, ..self.standing.clone() }, first, bytes }))
    }
}

/// The last bytes of the stream.
struct Tail {
    bytes: Vec<u8>,
    first: i64,
    limit: usize,
}

impl Tail {
    /// What the file holds from where it stands. False if it is not what was found when it was loaded.
    fn add(&mut self, file: File, from: u64) -> io::Result<bool> {
        let bytes = file.try_clone()?;
        let mut reader = Reader::new(file, from);
        let mut chunk = Chunk::default();
        loop {
            chunk = match reader.next(chunk) {
                Ok(chunk) => chunk,
                Err(Stop::Io(e)) => return Err(e),
                Err(Stop::Short { .. } | Stop::TornNote { .. } | Stop::Bad { .. }) => return Ok(false),
            };
            let lines = std::mem::take(&mut reader.lines);
            let mut lines = lines.iter().peekable();
            let (mut i, count) = (0, chunk.len());
            while i < count {
                let (start, mut end) = chunk.place(i);
                while let Some(line) = lines.next_if(|line| line.at < start) {
                    if !self.heed(line) {
                        return Ok(false);
                    }
                }
                i += 1;
                while i < count && chunk.place(i).0 == end && end - start < SPACING as u64 {
                    end = chunk.place(i).1;
                    i += 1;
                }
                let at = self.bytes.len();
                self.bytes.resize(at + (end - start) as usize, 0);
                bytes.read_exact_at(self.bytes.get_mut(at..).unwrap_or_default(), start)?;
                self.shorten();
            }
            if !lines.all(|line| self.heed(line)) {
                return Ok(false);
            }
            if count == 0 {
                return Ok(true);
            }
        }
    }

    fn heed(&mut self, line: &Line) -> bool {
        let Some(note) = Note::parse(&line.text) else { return false };
        let Some(left) = self.bytes.len().checked_sub(note.own as usize) else { return false };
        self.bytes.truncate(left);
        self.bytes.extend_from_slice(&note.aside);
        self.first + self.bytes.len() as i64 - 1 == note.offset
    }

    fn shorten(&mut self) {
        let keep = self.limit.saturating_mul(2).max(SPACING as usize);
        if self.bytes.len() > keep.saturating_mul(2) {
            let gone = self.bytes.len() - keep;
            self.bytes.drain(..gone);
            self.first += gone as i64;
        }
    }

    /// The offset of the first byte, and the bytes.
    fn end(mut self) -> (i64, Vec<u8>) {
        let gone = self.bytes.len().saturating_sub(self.limit);
        self.bytes.drain(..gone);
        (self.first + gone as i64, self.bytes)
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::unwrap_used)]
mod tests {
    use super::*;

    const A: [u8; ID_LEN] = [b'a'; ID_LEN];
    const B: [u8; ID_LEN] = [b'b'; ID_LEN];

    fn id(id: [u8; ID_LEN]) -> String {
        String::from_utf8(id.to_vec()).unwrap()
    }

    /// A file as it is written, and the stream that it holds.
    #[derive(Default)]
    struct Written {
        file: Vec<u8>,
        stream: Vec<u8>,
        own: u64,
    }

    impl Written {
        fn set(&mut self, value: &str) {
            let request = request(value);
            self.file.extend_from_slice(&request);
            self.stream.extend_from_slice(&request);
        }

        fn own(&mut self, value: &str) {
            let request = request(value);
            self.own += request.len() as u64;
            self.file.extend_from_slice(&request);
        }

        fn note(&mut self, aside: &[u8], tell: bool, names: Option<&[u8]>) {
            self.stream.extend_from_slice(aside);
            let aside = if tell { aside.to_vec() } else { Vec::new() };
            let (offset, own) = (self.stream.len() as i64, std::mem::take(&mut self.own));
            let line = Note { offset, at: self.file.len() as u64, own, aside, names }.line();
            self.file.extend_from_slice(&line);
        }
    }

    fn request(value: &str) -> Vec<u8> {
        let mut request = Vec::new();
        crate::resp::encode_command(&mut request, ["SET", "key", value]);
        request
    }

    /// What is found in these files, of which the last is cut off at its end if that is torn.
    fn found(files: &[&[u8]], limit: usize) -> Option<(Position, Kept)> {
        let dir = tempfile::tempdir().unwrap();
        let mut tracker = Tracker::new(limit);
        let mut paths = Vec::new();
        for (i, bytes) in files.iter().enumerate() {
            let mut reader = Reader::new(*bytes, 0);
            let mut chunk = Chunk::default();
            let cut = loop {
                let next = reader.next(chunk);
                reader.lines.drain(..).for_each(|line| tracker.note(&line));
                match next {
                    Ok(next) if next.is_empty() => break bytes.len() as u64,
                    Ok(next) => chunk = next,
                    Err(Stop::Short { from } | Stop::TornNote { from }) => break from,
                    Err(e) => panic!("{e}"),
                }
            };
            tracker.end_of_file(cut, reader.request_bytes);
            paths.push(dir.path().join(i.to_string()));
            std::fs::write(&paths[i], &bytes[..cut as usize]).unwrap();
        }
        let position = tracker.found()?;
        let kept = position.rebuild(&paths, limit, 3).unwrap()?;
        Some((position, kept))
    }

    #[test]
    fn notes_are_read_as_they_were_written() {
        let all = Note { offset: 5, at: 7, own: 9, aside: b"a\r\n\0\\b".to_vec(), names: None };
        assert_eq!(all.line(), b"#REPL:5@7-9 +a\\r\\n\\0\\\\b\r\n");
        assert_eq!(Note::parse(&all.line()), Some(all));
        let standing =
            Standing { replid: id(A), offset: 5, stream_db: 0, former: vec![(id(B), 4), (id(A), i64::MAX / 100)] };
        let names = names(&standing);
        let note = Note { offset: 5, at: 0, names: Some(&names), ..Note::default() };
        assert_eq!(Note::parse(&note.line()), Some(note));
        assert_eq!(super::standing(&names, 5), Some(standing));
        for bad in ["", "#REPL:", "#REPL:5\r\n", "#REPL:5@x\r\n", "#REPL:-5@1\r\n", "#REPL:5@1", "#REPL:5@1 x\r\n"] {
            assert_eq!(Note::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(Note::parse(b"#REPL:5@1 +a\\x\r\n"), None);
        assert_eq!(Note::parse(b"#REPL:9999999999999999999@1\r\n"), None);
        assert_eq!(super::standing(b"short", 5), None);
    }

    #[test]
    fn a_file_that_is_cut_anywhere_tells_how_far_it_is() {
        let mut w = Written::default();
        w.own("select");
        w.note(b"", false, Some(&A));
        let (mut ends, mut gap) = (vec![(w.file.len(), 0)], 0);
        for i in 0..12 {
            w.set(&"x".repeat(i));
            match i {
                3 => w.own("local"),
                5 => w.file.extend_from_slice(b"#TS:17\r\n"),
                _ => {}
            }
            let aside: &[u8] = if i % 4 == 2 { b"ping\r\n" } else { b"" };
            let names = format!("{} {}:{}", id(B), id(A), w.stream.len() + 1);
            w.note(aside, i != 6, (i == 7).then_some(names.as_bytes()));
            if i == 6 {
                gap = w.stream.len();
            }
            ends.push((w.file.len(), w.stream.len()));
        }
        for cut in 0..=w.file.len() {
            let Some((_, offset)) = ends.iter().rev().find(|(end, _)| *end <= cut) else {
                assert!(found(&[&w.file[..cut]], 1000).is_none());
                continue;
            };
            let (_, kept) = found(&[&w.file[..cut]], 1000).unwrap();
            assert_eq!(kept.standing.offset, *offset as i64, "cut at {cut}");
            let from = if *offset >= gap { gap } else { 0 };
            assert_eq!(kept.first, from as i64 + 1, "cut at {cut}");
            let sure = offset - from;
            assert_eq!(&kept.bytes[..sure], &w.stream[from..*offset], "cut at {cut}");
            assert_eq!(kept.standing.replid, if *offset >= ends[8].1 { id(B) } else { id(A) });
            // The rest is what lies behind the last note: whole requests.
            assert!(kept.bytes[sure..].is_empty() || kept.bytes[sure..].starts_with(b"*3"), "cut at {cut}");
        }
        let (_, kept) = found(&[&w.file], 40).unwrap();
        assert_eq!(kept.bytes, &w.stream[w.stream.len() - 40..]);
        assert_eq!((kept.standing.former, kept.standing.stream_db), (vec![(id(A), ends[8].1 as i64 + 1)], 3));
    }

    #[test]
    fn the_stream_goes_on_from_file_to_file() {
        let mut w = Written::default();
        w.note(b"", false, Some(&A));
        w.set("first");
        w.note(b"", false, None);
        w.set("unsaid");
        let first = std::mem::take(&mut w.file);
        w.own("select");
        w.note(b"", false, Some(&A));
        w.set("second");
        w.note(b"", false, None);
        let (_, kept) = found(&[&request("base"), &first, b"", &w.file], 1000).unwrap();
        assert_eq!((kept.first, &kept.bytes[..]), (1, &w.stream[..]));
        // Written by somebody else.
        let (_, kept) = found(&[&first, &request("other")], 1000).unwrap();
        assert_eq!(kept.standing.offset as usize, request("first").len());
        let tail = [request("unsaid"), request("other")].concat();
        assert!(kept.bytes.ends_with(&tail));
    }

    #[test]
    fn an_edited_file_tells_nothing() {
        let mut w = Written::default();
        w.note(b"", false, Some(&A));
        w.set("kept");
        w.note(b"", false, None);
        let at = w.file.len();
        w.set("flushall");
        w.note(b"", false, None);
        let until = at + request("flushall").len();
        let edited = [&w.file[..at], &w.file[until..]].concat();
        assert!(found(&[&edited], 1000).is_none());
        // Cut off it is as it was.
        assert_eq!(found(&[&w.file[..at]], 1000).unwrap().1.standing.offset as usize, request("kept").len());
    }

    #[test]
    fn of_a_long_file_the_end_is_remembered() {
        let mut w = Written::default();
        w.note(b"", false, Some(&A));
        for i in 0..3 * RECENT {
            w.set(&i.to_string().repeat(60));
            w.note(b"", false, None);
        }
        for limit in [0, 1000, 1 << 20] {
            let (position, kept) = found(&[&w.file], limit).unwrap();
            let len = limit.min(w.stream.len());
            assert_eq!(kept.bytes, &w.stream[w.stream.len() - len..]);
            assert!(position.from.offset as usize + limit + SPACING as usize >= w.stream.len().min(limit));
        }
    }
}
