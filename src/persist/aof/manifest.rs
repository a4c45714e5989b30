//! The list of the files that an append-only file is made of, and their names, as Redis 7 has them.
//!
//! ```text
//! file appendonly.aof.2.base.rdb seq 2 type b      the data set when it was written anew
//! file appendonly.aof.1.incr.aof seq 1 type h      history: superfluous, to be removed
//! file appendonly.aof.4.incr.aof seq 4 type i      what was written since, one file after the other
//! ```
//!
//! Knows no disk: texts come in and go out.

use std::fmt::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::config::words;

/// Longest line of a manifest, its end included.
const LINE_MAX: usize = 1024;

/// What a file of the list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AofKind {
    Base,
    Incr,
    History,
}

impl AofKind {
    fn letter(self) -> char {
        match self {
            Self::Base => 'b',
            Self::Incr => 'i',
            Self::History => 'h',
        }
    }
}

/// One file of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AofFile {
    /// A bare name: all of them lie in `appenddirname`.
    pub name: Vec<u8>,
    pub seq: i64,
    pub kind: AofKind,
    /// The replication offsets where an incremental file begins and ends. Redis 8 writes them, Redis 7 skips them.
    pub start_offset: Option<i64>,
    pub end_offset: Option<i64>,
}

impl AofFile {
    fn new(name: String, seq: i64, kind: AofKind) -> Self {
        Self { name: name.into_bytes(), seq, kind, start_offset: None, end_offset: None }
    }

    pub fn path(&self, dir: &Path) -> PathBuf {
        dir.join(std::ffi::OsStr::from_bytes(&self.name))
    }

    /// The name as the log shows it.
    pub fn label(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }
}

/// As it stands on disk, followed by a line's end.
impl fmt::Display for AofFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |c: &u8| c.is_ascii_graphic() && *c != b'\\' && *c != b'"';
        let name = if self.name.iter().all(plain) { self.label() } else { words::quote(&self.name) };
        write!(f, "file {name} seq {} type {}", self.seq, self.kind.letter())?;
        if let Some(offset) = self.start_offset {
            write!(f, " startoffset {offset}")?;
        }
        if let Some(offset) = self.end_offset {
            write!(f, " endoffset {offset}")?;
        }
        f.write_char('\n')
    }
}

/// The name of the list itself.
pub fn manifest_name(appendfilename: &str) -> String {
    format!("{appendfilename}.manifest")
}

/// Where a new list is written before it takes the old one's place.
pub fn temp_manifest_name(appendfilename: &str) -> String {
    format!("temp-{appendfilename}.manifest")
}

/// Where the writes are gathered while the first base file is being made and nothing is promised yet.
pub fn temp_incr_name(appendfilename: &str) -> String {
    format!("temp-{appendfilename}.incr")
}

/// The list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    pub base: Option<AofFile>,
    /// In the order in which they are to be loaded.
    pub incr: Vec<AofFile>,
    /// No longer needed, the youngest first.
    pub history: Vec<AofFile>,
    /// The highest numbers that were given.
    base_seq: i64,
    incr_seq: i64,
    /// What is on disk is older.
    pub dirty: bool,
}

impl Manifest {
    /// Reads a list.
    pub fn parse(text: &[u8]) -> Result<Self, ManifestError> {
        let mut me = Self::default();
        let mut highest = 0;
        let (mut rest, mut number) = (text, 0);
        while !rest.is_empty() {
            // What is longer is seen in pieces, each a line, as stock servers see it.
            let end = rest.iter().take(LINE_MAX).position(|&c| c == b'\n').map(|at| at + 1);
            let (line, behind) = rest.split_at(end.unwrap_or(rest.len().min(LINE_MAX)));
            rest = behind;
            number += 1;
            if line.starts_with(b"#") {
                continue;
            }
            if end.is_none() || line.contains(&0) {
                return Err(ManifestError::whole("The AOF manifest file contains too long line"));
            }
            let line = trimmed(line);
            let refuse = |what| ManifestError { what, line: Some((number, line.to_vec())) };
            let file = parse_line(line).map_err(refuse)?;
            match file.kind {
                AofKind::Base if me.base.is_some() => {
                    return Err(refuse("Found duplicate base file information"));
                }
                AofKind::Base => {
                    me.base_seq = file.seq;
                    me.base = Some(file);
                }
                AofKind::History => me.history.push(file),
                AofKind::Incr if file.seq <= highest => {
                    return Err(refuse("Found a non-monotonic sequence number"));
                }
                AofKind::Incr => {
                    highest = file.seq;
                    me.incr_seq = file.seq;
                    me.incr.push(file);
                }
            }
        }
        if number == 0 { Err(ManifestError::whole("Found an empty AOF manifest")) } else { Ok(me) }
    }

    /// No file at all is part of the data.
    pub fn is_empty(&self) -> bool {
        self.base.is_none() && self.incr.is_empty()
    }

    /// What is to be loaded, in this order.
    pub fn files(&self) -> impl Iterator<Item = &AofFile> {
        self.base.iter().chain(&self.incr)
    }

    /// Names a new base file; the one before becomes history. `snapshot`: its format is that of an RDB.
    pub fn new_base(&mut self, appendfilename: &str, snapshot: bool) -> &AofFile {
        if let Some(mut old) = self.base.take() {
            old.kind = AofKind::History;
            self.history.insert(0, old);
        }
        self.base_seq += 1;
        let format = if snapshot { "rdb" } else { "aof" };
        let name = format!("{appendfilename}.{}.base.{format}", self.base_seq);
        self.dirty = true;
        self.base.insert(AofFile::new(name, self.base_seq, AofKind::Base))
    }

    /// Names a new incremental file, behind all others.
    pub fn new_incr(&mut self, appendfilename: &str) -> &mut AofFile {
        self.incr_seq += 1;
        let name = format!("{appendfilename}.{}.incr.aof", self.incr_seq);
        self.dirty = true;
        self.incr.push(AofFile::new(name, self.incr_seq, AofKind::Incr));
        let last = self.incr.len() - 1;
        &mut self.incr[last]
    }

    /// A new base file holds what these held. `keep_last`: the last of them is being written, and stays.
    pub fn incr_to_history(&mut self, keep_last: bool) {
        let superfluous = self.incr.len().saturating_sub(usize::from(keep_last));
        if self.incr.is_empty() {
            return;
        }
        let old = self.incr.drain(..superfluous).map(|file| AofFile { kind: AofKind::History, ..file });
        self.history.splice(0..0, old);
        self.dirty = true;
    }

    /// The superfluous files, to be removed once the list without them is on disk.
    pub fn take_history(&mut self) -> Vec<AofFile> {
        self.dirty |= !self.history.is_empty();
        std::mem::take(&mut self.history)
    }

    /// The file of Redis 6, under its own name, becomes the base.
    pub fn adopt(&mut self, appendfilename: &str) {
        self.base = Some(AofFile::new(appendfilename.to_owned(), 1, AofKind::Base));
        self.base_seq = 1;
        self.dirty = true;
    }
}

/// As it stands on disk.
impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.base.iter().chain(&self.history).chain(&self.incr).try_for_each(|file| file.fmt(f))
    }
}

/// Why a list was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct ManifestError {
    pub what: &'static str,
    /// The line's number, from 1, and its text.
    pub line: Option<(usize, Vec<u8>)>,
}

impl ManifestError {
    fn whole(what: &'static str) -> Self {
        Self { what, line: None }
    }

    /// All there is to say, as stock servers log it.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec!["\n*** FATAL AOF MANIFEST FILE ERROR ***\n".to_owned()];
        if let Some((number, text)) = &self.line {
            lines.push(format!("Reading the manifest file, at line {number}\n"));
            lines.push(format!(">>> '{}'\n", String::from_utf8_lossy(text)));
        }
        lines.push(format!("{}\n", self.what));
        lines
    }
}

const INVALID: &str = "Invalid AOF manifest file format";

fn parse_line(line: &[u8]) -> Result<AofFile, &'static str> {
    let words = words::split_texts(line).ok_or(INVALID)?;
    // More pairs than needed are of a younger server.
    if words.len() < 6 || !words.len().is_multiple_of(2) {
        return Err(INVALID);
    }
    let (mut name, mut seq, mut kind) = (None, 0, None);
    let (mut start_offset, mut end_offset) = (None, None);
    for pair in words.chunks_exact(2) {
        let [key, value] = pair else { continue };
        match key.to_ascii_lowercase().as_slice() {
            b"file" => {
                if value.contains(&b'/') || value.contains(&b'\\') {
                    return Err("File can't be a path, just a filename");
                }
                name = Some(value.clone());
            }
            b"seq" => seq = leading_number(value),
            b"type" => kind = value.first().copied(),
            b"startoffset" => start_offset = Some(leading_number(value)),
            b"endoffset" => end_offset = Some(leading_number(value)),
            _ => {}
        }
    }
    let (Some(name), Some(letter)) = (name, kind) else { return Err(INVALID) };
    if seq == 0 {
        return Err(INVALID);
    }
    let kind = match letter {
        b'b' => AofKind::Base,
        b'h' => AofKind::History,
        b'i' => AofKind::Incr,
        _ => return Err("Unknown AOF file type"),
    };
    Ok(AofFile { name, seq, kind, start_offset, end_offset })
}

fn trimmed(mut line: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] | [rest @ .., b' ' | b'\t' | b'\r' | b'\n'] = line {
        line = rest;
    }
    line
}

/// C's `atoll`: the number a text begins with, 0 if with none.
pub(super) fn leading_number(text: &[u8]) -> i64 {
    let text = text.trim_ascii_start();
    let sign = usize::from(matches!(text.first(), Some(b'-' | b'+')));
    let digits = text.iter().skip(sign).take_while(|c| c.is_ascii_digit()).count();
    let (number, negative) = (&text[..sign + digits], text.first() == Some(&b'-'));
    if digits == 0 {
        return 0;
    }
    let number = std::str::from_utf8(number).unwrap_or_default();
    number.parse().unwrap_or(if negative { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str, what: &str, line: Option<usize>) {
        let error = Manifest::parse(text.as_bytes()).expect_err(text);
        assert_eq!((error.what, error.line.map(|(n, _)| n)), (what, line), "of {text:?}");
    }

    #[test]
    fn what_redis_7_wrote_is_read_and_written_the_same() {
        let text = "file appendonly.aof.2.base.rdb seq 2 type b\n\
                    file appendonly.aof.1.incr.aof seq 1 type h\n\
                    file appendonly.aof.4.incr.aof seq 4 type i\n\
                    file appendonly.aof.5.incr.aof seq 5 type i\n";
        let list = Manifest::parse(text.as_bytes()).unwrap();
        assert_eq!(list.to_string(), text);
        assert!(!list.dirty && !list.is_empty());
        let names: Vec<String> = list.files().map(AofFile::label).collect();
        assert_eq!(names, ["appendonly.aof.2.base.rdb", "appendonly.aof.4.incr.aof", "appendonly.aof.5.incr.aof"]);
    }

    #[test]
    fn a_whole_life_is_written_as_by_redis_7() {
        let mut list = Manifest::default();
        assert!(list.is_empty());
        list.new_base("a.aof", true);
        list.new_incr("a.aof");
        assert_eq!(list.to_string(), "file a.aof.1.base.rdb seq 1 type b\nfile a.aof.1.incr.aof seq 1 type i\n");
        // A rewrite begins; it ends.
        list.new_incr("a.aof");
        list.new_base("a.aof", false);
        list.incr_to_history(true);
        assert_eq!(
            list.to_string(),
            "file a.aof.2.base.aof seq 2 type b\n\
             file a.aof.1.incr.aof seq 1 type h\n\
             file a.aof.1.base.rdb seq 1 type h\n\
             file a.aof.2.incr.aof seq 2 type i\n"
        );
        list.dirty = false;
        let gone: Vec<String> = list.take_history().iter().map(AofFile::label).collect();
        assert_eq!(gone, ["a.aof.1.incr.aof", "a.aof.1.base.rdb"]);
        assert!(list.dirty);
        assert_eq!(list.to_string(), "file a.aof.2.base.aof seq 2 type b\nfile a.aof.2.incr.aof seq 2 type i\n");
        list.dirty = false;
        assert!(list.take_history().is_empty() && !list.dirty);
        // Two rewrites failed before this one, and nothing is being written now.
        list.new_incr("a.aof");
        list.new_incr("a.aof");
        list.incr_to_history(false);
        let order: Vec<i64> = list.history.iter().map(|file| file.seq).collect();
        assert_eq!((order, list.incr.len()), (vec![2, 3, 4], 0));
        assert_eq!(list.new_incr("a.aof").label(), "a.aof.5.incr.aof");
    }

    #[test]
    fn the_file_of_redis_6_becomes_the_base() {
        let mut list = Manifest::default();
        list.adopt("appendonly.aof");
        list.new_incr("appendonly.aof");
        assert_eq!(list.to_string(), "file appendonly.aof seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n");
        assert_eq!(list.new_base("appendonly.aof", true).label(), "appendonly.aof.2.base.rdb");
    }

    #[test]
    fn odd_names_are_quoted_and_younger_keys_are_skipped() {
        let mut list = Manifest::default();
        list.new_base("my file\n\u{e9}\"\\.aof", true);
        // What a name may not hold, the name of a directive's value cannot hold either.
        assert_eq!(list.to_string(), "file \"my file\\n\\xc3\\xa9\\\"\\\\.aof.1.base.rdb\" seq 1 type b\n");
        let text = "file \"a b.aof.1.incr.aof\" seq 1 type i startoffset 14 endoffset 99\n";
        let list = Manifest::parse(text.as_bytes()).unwrap();
        assert_eq!((list.incr[0].start_offset, list.incr[0].end_offset), (Some(14), Some(99)));
        assert_eq!(list.to_string(), text);
        let text = "# a comment\n  TYPE i   Seq 7x File x.aof colour 'dark blue'  \r\n#\n";
        let list = Manifest::parse(text.as_bytes()).unwrap();
        assert_eq!(list.to_string(), "file x.aof seq 7 type i\n");
        assert!(Manifest::parse(b"# nothing yet\n").unwrap().is_empty());
    }

    #[test]
    fn what_redis_7_refuses_is_refused_in_its_words() {
        refused("", "Found an empty AOF manifest", None);
        refused("\n", INVALID, Some(1));
        refused("# x\n\nfile a seq 1 type i\n", INVALID, Some(2));
        refused("file a seq 1 type i", "The AOF manifest file contains too long line", None);
        refused(
            &format!("file {} seq 1 type i\n", "x".repeat(1024)),
            "The AOF manifest file contains too long line",
            None,
        );
        refused("file a\0 seq 1 type i\n", "The AOF manifest file contains too long line", None);
        refused("file a seq 1 type\n", INVALID, Some(1));
        refused("file a seq 1 type i extra\n", INVALID, Some(1));
        refused("file a seq 0 type i\n", INVALID, Some(1));
        refused("file a seq x type i\n", INVALID, Some(1));
        refused("file a seq 1 type \"\"\n", INVALID, Some(1));
        refused("file \"a seq 1 type i\n", INVALID, Some(1));
        refused("file a file b seq 1\n", INVALID, Some(1));
        refused("file a/b seq 1 type i\n", "File can't be a path, just a filename", Some(1));
        refused("file a seq 1 type x\n", "Unknown AOF file type", Some(1));
        let base = "file a seq 1 type b\n";
        refused(&format!("{base}{base}"), "Found duplicate base file information", Some(2));
        refused("file a seq 2 type i\nfile b seq 2 type i\n", "Found a non-monotonic sequence number", Some(2));
        refused("file a seq -1 type i\n", "Found a non-monotonic sequence number", Some(1));
        let error = Manifest::parse(b"# x\n  file a seq 1 type x \n").unwrap_err();
        assert_eq!(
            error.lines(),
            [
                "\n*** FATAL AOF MANIFEST FILE ERROR ***\n",
                "Reading the manifest file, at line 2\n",
                ">>> 'file a seq 1 type x'\n",
                "Unknown AOF file type\n"
            ]
        );
    }

    #[test]
    fn names_are_those_of_redis_7() {
        assert_eq!(manifest_name("appendonly.aof"), "appendonly.aof.manifest");
        assert_eq!(temp_manifest_name("appendonly.aof"), "temp-appendonly.aof.manifest");
        assert_eq!(temp_incr_name("appendonly.aof"), "temp-appendonly.aof.incr");
        let file = AofFile::new("x.aof".to_owned(), 1, AofKind::Incr);
        assert_eq!(file.path(Path::new("d")), Path::new("d/x.aof"));
    }
}
