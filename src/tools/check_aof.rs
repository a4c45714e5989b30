//! `pando-server check-aof`, also under the name redis-check-aof: checks an append-only file, alone or by its manifest, and
//! cuts it where it is asked to. The judging is that of `persist::aof` and `rdb`.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::base::{clock, os_reason};
use crate::persist::aof::check::{Names, ScanError, place, scan};
use crate::persist::aof::files::{is_snapshot, truncate};
use crate::persist::aof::{AofFile, Manifest};
use crate::rdb;

/// What is to be done to the last file beyond checking it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repair {
    No,
    /// Cut what is not whole.
    Fix,
    /// Cut what came later.
    ToTimestamp(i64),
}

/// Why it ends with exit code 1: the last line, if there is one to say.
struct Failed(Option<String>);

impl From<String> for Failed {
    fn from(line: String) -> Self {
        Self(Some(line))
    }
}

impl From<io::Error> for Failed {
    fn from(e: io::Error) -> Self {
        Self(Some(os_reason(&e)))
    }
}

/// Runs the subcommand. Fails if a file is damaged and is not repaired, or cannot be read.
pub fn run(args: &[OsString]) -> ExitCode {
    let mut out = io::stdout().lock();
    let outcome = match parse(args) {
        Ok((repair, path)) => Checker { out: &mut out, repair, lines: 1 }.check(&path),
        Err(failed) => Err(failed),
    };
    let code = match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed(line)) => {
            // Nobody is left to tell if this fails.
            let _ = line.map(|line| writeln!(out, "{line}"));
            ExitCode::FAILURE
        }
    };
    let _ = out.flush();
    code
}

fn parse(args: &[OsString]) -> Result<(Repair, PathBuf), Failed> {
    let words: Vec<&OsStr> = args.iter().skip(1).map(OsString::as_os_str).collect();
    let is = |word: &OsStr, flag: &str| word == flag;
    match *words {
        [flag] if is(flag, "--help") || is(flag, "-h") => {}
        [path] => return Ok((Repair::No, path.into())),
        [flag, path] if is(flag, "--fix") => return Ok((Repair::Fix, path.into())),
        [flag, time, path] if is(flag, "--truncate-to-timestamp") => {
            let unix_s = time.to_str().and_then(|time| time.parse().ok()).filter(|unix_s| *unix_s > 0);
            let unix_s = unix_s.ok_or_else(|| Failed(Some("Invalid timestamp, aborting...".into())))?;
            return Ok((Repair::ToTimestamp(unix_s), path.into()));
        }
        _ => {}
    }
    let name = args.first().map_or_else(Default::default, |name| name.to_string_lossy());
    Err(Failed(Some(format!("Usage: {name} [--fix|--truncate-to-timestamp $timestamp] <file.manifest|file.aof>"))))
}

/// What was found of one file, if it is not the end of everything.
enum Verdict {
    Valid,
    Empty,
    Truncated,
    TimestampTruncated,
}

struct Checker<W> {
    out: W,
    repair: Repair,
    /// Counts and arguments seen, over all files.
    lines: u64,
}

impl<W: Write> Checker<W> {
    fn check(&mut self, path: &Path) -> Result<(), Failed> {
        let cannot = |e: io::Error| format!("Cannot open file {}: {}", path.display(), os_reason(&e));
        let mut file = File::open(path).map_err(cannot)?;
        let mut head = Vec::new();
        (&mut file).take(1 << 20).read_to_end(&mut head).map_err(cannot)?;
        if is_manifest(&head) {
            return self.check_manifest(path);
        }
        writeln!(self.out, "Start checking Old-Style AOF")?;
        let name = path.display().to_string();
        let is_rdb = head.len() >= 8 && head.starts_with(b"REDIS");
        let verdict = self.check_file(&name, path, true, is_rdb)?;
        self.tell(&verdict, "AOF", &name)?;
        Ok(())
    }

    fn check_manifest(&mut self, path: &Path) -> Result<(), Failed> {
        writeln!(self.out, "Start checking Multi Part AOF")?;
        let text =
            std::fs::read(path).map_err(|e| format!("Cannot open file {}: {}", path.display(), os_reason(&e)))?;
        let list = Manifest::parse(&text).map_err(|e| Failed(Some(e.lines().join("\n").trim_end().to_owned())))?;
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let last = list.files().count();
        if let Some(base) = &list.base {
            let path = base.path(dir);
            let is_rdb = open(&path).and_then(|mut file| Ok(is_snapshot(&mut file)?))?;
            let format = if is_rdb { "RDB" } else { "RESP" };
            writeln!(self.out, "Start to check BASE AOF ({format} format).")?;
            self.check_part(base, &path, last == 1, is_rdb, "BASE AOF")?;
        }
        if !list.incr.is_empty() {
            writeln!(self.out, "Start to check INCR files.")?;
            for (i, incr) in list.incr.iter().enumerate() {
                self.check_part(incr, &incr.path(dir), i + 1 == list.incr.len(), false, "INCR AOF")?;
            }
        }
        writeln!(self.out, "All AOF files and manifest are valid")?;
        Ok(())
    }

    fn check_part(
        &mut self,
        file: &AofFile,
        path: &Path,
        is_last: bool,
        is_rdb: bool,
        kind: &str,
    ) -> Result<(), Failed> {
        let name = file.label();
        let verdict = self.check_file(&name, path, is_last, is_rdb)?;
        Ok(self.tell(&verdict, kind, &name)?)
    }

    fn tell(&mut self, verdict: &Verdict, kind: &str, name: &str) -> io::Result<()> {
        match (verdict, self.repair) {
            (Verdict::Valid, _) => writeln!(self.out, "{kind} {name} is valid"),
            (Verdict::Empty, _) => writeln!(self.out, "{kind} {name} is empty"),
            (Verdict::TimestampTruncated, Repair::ToTimestamp(unix_s)) => {
                writeln!(self.out, "Successfully truncated AOF {name} to timestamp {unix_s}")
            }
            (Verdict::TimestampTruncated | Verdict::Truncated, _) => {
                writeln!(self.out, "Successfully truncated AOF {name}")
            }
        }
    }

    fn check_file(&mut self, name: &str, path: &Path, is_last: bool, is_rdb: bool) -> Result<Verdict, Failed> {
        let mut file = open(path)?;
        let bytes = file.metadata().map_err(|_| format!("Cannot stat file: {name}, aborting..."))?.len();
        if bytes == 0 {
            return Ok(Verdict::Empty);
        }
        let shown = path.display().to_string();
        let from = if is_rdb { self.check_snapshot(&mut file, &shown)? } else { 0 };
        let until_s = match self.repair {
            Repair::ToTimestamp(unix_s) => Some(unix_s),
            Repair::No | Repair::Fix => None,
        };
        let source = BufReader::with_capacity(256 << 10, file);
        let found = match scan(source, from, until_s, Names { name, path: &shown }) {
            Ok(found) => found,
            Err(ScanError::Io(e)) => return Err(e.into()),
            Err(ScanError::Note { at }) => {
                writeln!(self.out, "{}No time is here", place(at))?;
                return Err("Invalid timestamp annotation".to_owned().into());
            }
        };
        self.lines += found.lines;
        if let (Some(beyond), Some(until_s)) = (found.beyond, until_s) {
            return self.cut_to_timestamp(&shown, path, beyond.at, until_s, is_last);
        }
        for line in &found.complaints {
            self.out.write_all(line)?;
            writeln!(self.out)?;
        }
        let wrong = bytes.saturating_sub(found.ok_up_to);
        if let (0, Some(until_s)) = (wrong, until_s) {
            writeln!(self.out, "Truncate nothing in AOF {name} to timestamp {until_s}")?;
            return Ok(Verdict::Valid);
        }
        let (ok_up_to, lines) = (found.ok_up_to, self.lines);
        writeln!(
            self.out,
            "AOF analyzed: filename={name}, size={bytes}, ok_up_to={ok_up_to}, ok_up_to_line={lines}, diff={wrong}"
        )?;
        if wrong == 0 {
            return Ok(Verdict::Valid);
        }
        if self.repair != Repair::Fix {
            return Err(format!("AOF {name} is not valid. Use the --fix option to try fixing it.").into());
        }
        if !is_last {
            return Err(format!("Failed to truncate AOF {name} because it is not the last file").into());
        }
        writeln!(
            self.out,
            "This will shrink the AOF {name} from {bytes} bytes, with {wrong} bytes, to {ok_up_to} bytes"
        )?;
        self.ask()?;
        truncate(path, ok_up_to).map_err(|_| format!("Failed to truncate AOF {name}"))?;
        Ok(Verdict::Truncated)
    }

    /// Gives where the snapshot ends.
    fn check_snapshot(&mut self, file: &mut File, shown: &str) -> Result<u64, Failed> {
        let source = BufReader::with_capacity(64 << 10, &mut *file);
        let verdict = rdb::check(source, shown, clock::now_ms(), &mut self.out)?;
        if !verdict.is_ok() {
            return Err("RDB preamble of AOF file is not sane, aborting.".to_owned().into());
        }
        writeln!(self.out, "RDB preamble is OK, proceeding with AOF tail...")?;
        file.seek(SeekFrom::Start(verdict.bytes))?;
        Ok(verdict.bytes)
    }

    fn cut_to_timestamp(
        &mut self,
        shown: &str,
        path: &Path,
        at: u64,
        until_s: i64,
        is_last: bool,
    ) -> Result<Verdict, Failed> {
        if at == 0 {
            return Err(format!("AOF {shown} has nothing before timestamp {until_s}, aborting...").into());
        }
        if !is_last {
            return Err(format!(
                "Failed to truncate AOF {shown} to timestamp {until_s} to offset {at} because it is not the last file.\n\
                 If you insist, please delete all files after this file according to the manifest file and delete the \
                 corresponding records in manifest file manually. Then re-run redis-check-aof."
            )
            .into());
        }
        truncate(path, at).map_err(|_| format!("Failed to truncate AOF {shown} to timestamp {until_s}"))?;
        Ok(Verdict::TimestampTruncated)
    }

    fn ask(&mut self) -> Result<(), Failed> {
        write!(self.out, "Continue? [y/N]: ")?;
        self.out.flush()?;
        let mut answer = String::new();
        // Whoever cannot be asked has not agreed.
        let _ = io::stdin().read_line(&mut answer);
        match answer.chars().next() {
            Some('y' | 'Y') => Ok(()),
            _ => Err("Aborting...".to_owned().into()),
        }
    }
}

fn open(path: &Path) -> Result<File, Failed> {
    File::open(path).map_err(|e| format!("Cannot open file {}: {}, aborting...", path.display(), os_reason(&e)).into())
}

/// A list begins with the word `file`, behind comments.
fn is_manifest(head: &[u8]) -> bool {
    head.split_inclusive(|c| *c == b'\n')
        .find(|line| !line.starts_with(b"#"))
        .is_some_and(|line| line.starts_with(b"file"))
}
