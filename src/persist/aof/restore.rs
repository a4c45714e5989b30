//! Back to a moment: cuts off what was written to an append-only file after it, by the notes of time in the file.
//!
//! Knows nothing of loading; everything is looked at before anything is cut.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use super::check::{self, Names, Scan};
use super::files;
use super::manifest::{AofFile, AofKind, Manifest};
use crate::base::{log, os_reason};
use crate::config::Settings;
use crate::rdb;

/// A moment as it is written on a command line: Unix seconds, or `2026-11-21T15:40:00Z`.
pub fn parse_moment(text: &str) -> Option<i64> {
    if let Ok(unix_s) = text.parse::<i64>() {
        return (unix_s > 0).then_some(unix_s);
    }
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let fields = |text: &str, mark| -> Option<[i64; 3]> {
        let numbers: Option<Vec<i64>> = text
            .split(mark)
            .map(|field| field.parse().ok().filter(|_| field.bytes().all(|c| c.is_ascii_digit())))
            .collect();
        numbers?.try_into().ok()
    };
    let ([year, month, day], [hours, minutes, seconds]) = (fields(date, '-')?, fields(time, ':')?);
    let sound = (1970..10_000).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hours < 24
        && minutes < 60
        && seconds < 60;
    // Days from the civil calendar, with years that begin in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1 - 719_468;
    sound.then_some(days * 86_400 + hours * 3600 + minutes * 60 + seconds)
}

/// Where to cut.
struct Cut {
    path: PathBuf,
    label: String,
    at: u64,
    bytes: u64,
}

/// Cuts off what was written after `until_s`, in every file of the list. An error tells why nothing was touched.
pub fn restore_to(settings: &Settings, list: &Manifest, until_s: i64) -> Result<(), String> {
    let refused = |why: String| format!("Can't go back to timestamp {until_s}: {why}");
    if list.is_empty() {
        return Err(refused("there is no append only file".into()));
    }
    let mut cuts = Vec::<Cut>::new();
    let (mut notes, mut base_is_older) = (0, false);
    for file in list.files() {
        let path = file.path(Path::new(&settings.appenddirname));
        let bytes = path.metadata().map_err(|e| refused(format!("{}: {}", path.display(), os_reason(&e))))?.len();
        let cut = |at| Cut { path: path.clone(), label: file.label(), at, bytes };
        if !cuts.is_empty() {
            // All of it came later.
            cuts.push(cut(0));
            continue;
        }
        let Looked { made_s, scan } = look(file, &path, until_s).map_err(refused)?;
        if let Some(made_s) = made_s {
            if made_s > until_s {
                return Err(refused(format!("the base file {} is of timestamp {made_s}", file.label())));
            }
            base_is_older = true;
        }
        notes += scan.notes + u64::from(scan.beyond.is_some());
        match scan.beyond {
            Some(beyond) if beyond.at > 0 || file.kind == AofKind::Incr && (base_is_older || notes > 1) => {
                cuts.push(cut(beyond.at));
            }
            Some(_) => return Err(refused(format!("AOF {} has nothing before that", file.label()))),
            None if scan.ok_up_to < bytes => {
                let name = file.label();
                return Err(refused(format!("AOF {name} is damaged behind byte {}: check it first", scan.ok_up_to)));
            }
            None => {}
        }
    }
    if notes == 0 {
        return Err(refused("the append only file has no timestamps (see aof-timestamp-enabled)".into()));
    }
    // From behind, so that whatever breaks this off leaves the beginning of what was written, without a gap.
    for Cut { path, label, at, bytes } in cuts.iter().rev() {
        files::truncate(path, *at).map_err(|e| format!("Failed to truncate AOF {label}: {}", os_reason(&e)))?;
        log::notice!("Successfully truncated AOF {label} to timestamp {until_s}: {} of {bytes} bytes went", bytes - at);
    }
    if cuts.is_empty() {
        log::notice!("Nothing to truncate: the append only file has nothing behind timestamp {until_s}");
    }
    Ok(())
}

/// What a file is, up to a moment.
struct Looked {
    /// When its snapshot was made, if it is or begins with one.
    made_s: Option<i64>,
    scan: Scan,
}

fn look(file: &AofFile, path: &Path, until_s: i64) -> Result<Looked, String> {
    let name = file.label();
    let unreadable = |e: std::io::Error| format!("{name}: {}", os_reason(&e));
    let mut source = File::open(path).map_err(unreadable)?;
    let (mut from, mut made_s) = (0, None);
    if files::is_snapshot(&mut source).map_err(unreadable)? {
        let options = rdb::ReadOptions { verify: true, payloads: rdb::Payloads::Skip };
        let damaged = |e: rdb::RdbError| format!("the snapshot in {name} is damaged: {e}");
        let reading = BufReader::with_capacity(64 << 10, (&mut source).take(u64::MAX));
        let mut reader = rdb::Reader::begin(reading, options).map_err(damaged)?;
        loop {
            match reader.next_event().map_err(damaged)? {
                rdb::Event::Aux { key, value } if key[..] == *b"ctime" => {
                    made_s = String::from_utf8_lossy(&value).parse().ok();
                }
                rdb::Event::Eof(_) => break,
                _ => {}
            }
        }
        from = reader.bytes_read();
        drop(reader);
        source.seek(std::io::SeekFrom::Start(from)).map_err(unreadable)?;
    }
    let shown = path.display().to_string();
    let names = Names { name: &name, path: &shown };
    let scan = check::scan(BufReader::with_capacity(64 << 10, source), from, Some(until_s), names)
        .map_err(|e| format!("{name}: {e}"))?;
    Ok(Looked { made_s, scan })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn moments_are_seconds_or_dates_of_utc() {
        assert_eq!(parse_moment("1700000000"), Some(1_700_000_000));
        assert_eq!(parse_moment("2023-11-14T22:13:20Z"), Some(1_700_000_000));
        assert_eq!(parse_moment("1970-01-01T00:00:01Z"), Some(1));
        assert_eq!(parse_moment("2000-02-29T00:00:00Z"), Some(951_782_400));
        for none in
            ["", "0", "-5", "now", "2023-11-14", "2023-13-14T00:00:00Z", "2023-11-14T24:00:00Z", "1-+1-1T0:0:0Z"]
        {
            assert_eq!(parse_moment(none), None, "{none}");
        }
    }

    /// A directory with a base of requests and two incremental files.
    fn restored(base: &str, first: &str, second: &str, until_s: i64) -> Result<[usize; 3], String> {
        let dir = tempfile::tempdir().unwrap();
        let appenddirname = dir.path().to_str().unwrap().to_owned();
        let settings = Settings { appenddirname, ..Settings::default() };
        let list = Manifest::parse(b"file b seq 1 type b\nfile i1 seq 1 type i\nfile i2 seq 2 type i\n").unwrap();
        let paths = ["b", "i1", "i2"].map(|name| dir.path().join(name));
        for (path, text) in paths.iter().zip([base, first, second]) {
            fs::write(path, text).unwrap();
        }
        let done = restore_to(&settings, &list, until_s);
        let left = paths.map(|path| fs::read(path).unwrap().len());
        match done {
            Ok(()) => Ok(left),
            Err(e) => {
                assert_eq!(left, [base.len(), first.len(), second.len()], "nothing is touched");
                Err(e)
            }
        }
    }

    const PING: &str = "*1\r\n$4\r\nPING\r\n";

    #[test]
    fn all_that_came_later_goes() {
        let at = |s: i64| format!("#TS:{s}\r\n{PING}");
        let (base, first, second) = (at(100), at(200) + &at(300), at(400));
        let restored = |until_s| restored(&base, &first, &second, until_s);
        assert_eq!(restored(400), Ok([23, 46, 23]));
        assert_eq!(restored(399), Ok([23, 46, 0]));
        assert_eq!(restored(299), Ok([23, 23, 0]));
        assert_eq!(restored(150), Ok([23, 0, 0]));
        assert_eq!(restored(99), Err("Can't go back to timestamp 99: AOF b has nothing before that".into()));
    }

    #[test]
    fn what_cannot_be_known_is_refused() {
        let refused = |base, first, second| restored(base, first, second, 150).unwrap_err();
        assert!(refused(PING, PING, "").ends_with("has no timestamps (see aof-timestamp-enabled)"));
        let later = format!("#TS:200\r\n{PING}");
        assert!(refused("", &later, "").ends_with("AOF i1 has nothing before that"));
        assert!(
            refused("", "#TS:100\r\n*1\r\n$4\r\nPI", "").ends_with("AOF i1 is damaged behind byte 9: check it first")
        );
        assert!(refused("", "#TS:soon\r\n", "").ends_with("i1: Invalid timestamp annotation at byte 0"));
    }
}
