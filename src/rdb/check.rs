//! The verdict on an RDB, in the words of stock's redis-check-rdb. Must not know files: it is given bytes, the name to
//! print, and the time to compare expiries with.

use std::io::{self, Read, Write};

use super::error::RdbError;
use super::reader::{Checksum, Event, Payloads, ReadOptions, Reader};

/// What was found.
#[derive(Debug)]
pub struct Verdict {
    pub keys: u64,
    pub expires: u64,
    pub expired: u64,
    /// Where the RDB ends, if it is sound; something may follow.
    pub bytes: u64,
    /// What is wrong, if anything.
    pub error: Option<RdbError>,
}

impl Verdict {
    pub fn is_ok(&self) -> bool {
        self.error.is_none()
    }
}

/// Reads all of an RDB and tells about it line by line. An error is one of `out`; those of the RDB are in the verdict.
pub fn check(source: impl Read, name: &str, now_ms: i64, out: &mut impl Write) -> io::Result<Verdict> {
    let mut verdict = Verdict { keys: 0, expires: 0, expired: 0, bytes: 0, error: None };
    writeln!(out, "[offset 0] Checking RDB file {name}")?;
    let options = ReadOptions { verify: true, payloads: Payloads::Skip };
    let mut reader = match Reader::begin(source, options) {
        Ok(reader) => reader,
        Err(error) => {
            complain(out, 0, &error)?;
            writeln!(out, "[additional info] While doing: start")?;
            verdict.error = Some(error);
            return sum_up(out, verdict);
        }
    };
    loop {
        match follow(&mut reader, now_ms, &mut verdict, out) {
            Ok(true) => {}
            Ok(false) => {
                verdict.bytes = reader.bytes_read();
                writeln!(out, "[offset {}] \\o/ RDB looks OK! \\o/", reader.bytes_read())?;
                return sum_up(out, verdict);
            }
            Err(Failure::Out(error)) => return Err(error),
            Err(Failure::Rdb(error)) => {
                complain(out, reader.bytes_read(), &error)?;
                writeln!(out, "[additional info] While doing: {}", reader.doing().name())?;
                if let Some((key, kind)) = reader.failed_key() {
                    writeln!(out, "[additional info] Reading key '{}'", key.escape_ascii())?;
                    writeln!(out, "[additional info] Reading type {} ({})", kind.byte(), kind.name())?;
                }
                verdict.error = Some(error);
                return sum_up(out, verdict);
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Out(#[from] io::Error),
    #[error(transparent)]
    Rdb(#[from] RdbError),
}

/// One event; false at the end.
fn follow<R: Read>(
    reader: &mut Reader<R>,
    now_ms: i64,
    verdict: &mut Verdict,
    out: &mut impl Write,
) -> Result<bool, Failure> {
    let (line, go_on) = match reader.next_event()? {
        Event::Aux { key, value } => (format!("AUX FIELD {} = '{}'", key.escape_ascii(), value.escape_ascii()), true),
        Event::SelectDb(db) => (format!("Selecting DB ID {db}"), true),
        Event::ModuleAux { name } => (format!("MODULE AUX for: {name}"), true),
        Event::Key { expire_ms, .. } => {
            verdict.keys += 1;
            if let Some(at_ms) = expire_ms {
                verdict.expires += 1;
                verdict.expired += u64::from(at_ms < now_ms);
            }
            return Ok(true);
        }
        Event::ResizeDb { .. } | Event::SlotInfo { .. } | Event::SlotImport { .. } | Event::Function(_) => {
            return Ok(true);
        }
        Event::Eof(Checksum::Right) => ("Checksum OK".to_owned(), false),
        Event::Eof(Checksum::Disabled) => {
            ("RDB file was saved with checksum disabled: no check performed.".to_owned(), false)
        }
        Event::Eof(Checksum::Unchecked | Checksum::Absent | Checksum::Open) => return Ok(false),
    };
    writeln!(out, "[offset {}] {line}", reader.bytes_read())?;
    Ok(go_on)
}

fn complain(out: &mut impl Write, at: u64, error: &RdbError) -> io::Result<()> {
    // The first line is what scripts look for; the reason tells it all.
    let line = match error {
        RdbError::BadMagic => "Wrong signature trying to load DB from file".to_owned(),
        RdbError::Version { number, .. } => format!("Can't handle RDB format version {number}"),
        RdbError::UnknownType { byte, .. } => format!("Invalid object type: {byte}"),
        RdbError::Checksum { .. } => "RDB CRC error".to_owned(),
        RdbError::Truncated { .. } => "Unexpected EOF reading RDB file".to_owned(),
        RdbError::Io { source, .. } => format!("Reading failed: {source}"),
        RdbError::Corrupt { what, .. } => format!("Damaged: {what}"),
        RdbError::Footer => error.to_string(),
    };
    writeln!(out, "--- RDB ERROR DETECTED ---")?;
    writeln!(out, "[offset {at}] {line}")?;
    writeln!(out, "[additional info] Reason: {error}")
}

fn sum_up(out: &mut impl Write, verdict: Verdict) -> io::Result<Verdict> {
    writeln!(out, "[info] {} keys read", verdict.keys)?;
    writeln!(out, "[info] {} expires", verdict.expires)?;
    writeln!(out, "[info] {} already expired", verdict.expired)?;
    Ok(verdict)
}
