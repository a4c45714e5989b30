//! The end of the replication stream, kept beside a data set, so that replicas that were not up to date when the server
//! ended can go on when it comes back.
//!
//! ```text
//! "PANDOBL1" | tag: u16 n, n bytes | former: u8 n, n × (id: 40 bytes, i64 first byte that it is no longer good for)
//!            | id: 40 bytes | i64 selected database | i64 first byte | i64 last byte | the bytes | crc64 of all before
//! ```
//! Numbers are little-endian. The file is bound to its data set by history and offset: it serves any data set whose offset
//! lies within it, and what goes beyond is left out. `tag` says what else it belongs to, where that does not suffice. It is
//! of no use to stock servers, and its loss costs a full resync, never data: so whatever is wrong with it is told in the
//! log and otherwise as if it were not there.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{self, Disk, DiskError, Prepared};
use crate::base::{crc, log};
use crate::oplog::{Cursor, Log};

const MAGIC: &[u8; 8] = b"PANDOBL1";
const ID_LEN: usize = 40;
/// Bytes handed on at once.
const STEP: usize = 256 << 10;

/// What history the data belongs to, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// 40 characters.
    pub replid: String,
    pub offset: i64,
    /// The database that the stream has selected there.
    pub stream_db: i64,
    /// Ids that this history went by before, each with the first byte for which it is no longer good.
    pub former: Vec<(String, i64)>,
}

/// The window of a log, held so that nothing of it goes before it is written. To be taken where `standing` is true (behind
/// all gates), and written soon: what comes meanwhile stays in memory as well.
pub struct Held {
    standing: Standing,
    cursor: Cursor,
}

impl Held {
    /// `None` if the log keeps no backlog.
    pub fn take(log: &Arc<Log>, standing: Standing) -> Option<Self> {
        let cursor = log.attach(log.backlog()?.first_byte_offset)?;
        Some(Self { standing, cursor })
    }

    /// Writes the file, not yet in its place.
    pub fn prepare(mut self, disk: &Arc<dyn Disk>, place: &Path, tag: &[u8]) -> Result<Prepared, DiskError> {
        let temp = format!("temp-{}.backlog", std::process::id());
        disk::prepare(disk, place, &temp, |out| self.write(tag, out))
    }

    fn write(&mut self, tag: &[u8], out: &mut dyn Write) -> io::Result<()> {
        let first = self.cursor.next_offset();
        let last = self.standing.offset;
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&(tag.len() as u16).to_le_bytes());
        head.extend_from_slice(tag);
        let former = &self.standing.former[..self.standing.former.len().min(usize::from(u8::MAX))];
        head.push(former.len() as u8);
        for (id, until) in former {
            head.extend_from_slice(&id_bytes(id));
            head.extend_from_slice(&until.to_le_bytes());
        }
        head.extend_from_slice(&id_bytes(&self.standing.replid));
        head.extend_from_slice(&self.standing.stream_db.to_le_bytes());
        head.extend_from_slice(&first.to_le_bytes());
        head.extend_from_slice(&last.to_le_bytes());
        let mut sum = crc::crc64(0, &head);
        out.write_all(&head)?;
        let mut left = usize::try_from(last + 1 - first).unwrap_or(0);
        while left > 0 {
            let mut taken = 0;
            for chunk in self.cursor.read(left.min(STEP)) {
                out.write_all(chunk.as_ref())?;
                sum = crc::crc64(sum, chunk.as_ref());
                taken += chunk.len();
            }
            if taken == 0 {
                return Err(io::Error::other("the log has taken up another history"));
            }
            self.cursor.advance(taken);
            left -= taken;
        }
        out.write_all(&sum.to_le_bytes())
    }
}

fn id_bytes(id: &str) -> [u8; ID_LEN] {
    let mut bytes = [b'0'; ID_LEN];
    bytes.iter_mut().zip(id.bytes()).for_each(|(to, from)| *to = from);
    bytes
}

/// What a file keeps for a data set.
#[derive(Debug, PartialEq, Eq)]
pub struct Kept {
    /// Where it ends; the data set may stand before that.
    pub standing: Standing,
    /// Offset of the first byte of `bytes`.
    pub first: i64,
    /// The stream up to and including the data set's offset.
    pub bytes: Vec<u8>,
}

/// What a file must be for, to be of use.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'a> {
    /// A data set that says itself where it stands.
    At { replid: &'a str, offset: i64 },
    /// One that does not, but that nothing else has the tag of.
    Tagged(&'a [u8]),
    /// One that tells where it stands, and holds the stream itself from behind this offset on, which it knows by this name.
    Before { replid: &'a str, offset: i64 },
}

/// The file beside a data set at `path`.
pub fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".backlog");
    name.into()
}

/// Reads what the file at `path` keeps for a data set, of which at most `limit` bytes are wanted. `None` if there is no such
/// file, or nothing in it for this data set.
pub fn load(path: &Path, wanted: Wanted<'_>, limit: usize) -> Option<Kept> {
    match read(path, wanted, limit) {
        Ok(kept) if kept.bytes.is_empty() && matches!(wanted, Wanted::Before { .. }) => None,
        Ok(kept) => {
            let first = kept.first;
            log::notice!("Backlog of {} bytes from offset {first} loaded from {}", kept.bytes.len(), path.display());
            Some(kept)
        }
        Err(Unfit::Missing) => None,
        // There is nothing to be had from it, which is no reason to say so.
        Err(Unfit::Other(_)) if matches!(wanted, Wanted::Before { .. }) => None,
        Err(e) => {
            log::notice!("The saved backlog {} is not used: {e}", path.display());
            None
        }
    }
}

/// The data set that is there now has no history: what is kept for a former one is of no use.
pub fn remove(path: &Path) {
    // Most often there is none. One that stays does no harm.
    let _ = fs::remove_file(path);
}

#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("there is none")]
    Missing,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("byte {at}: {what}")]
    Damaged { at: u64, what: &'static str },
    #[error("it belongs to another data set ({0})")]
    Other(&'static str),
}

fn read(path: &Path, wanted: Wanted<'_>, limit: usize) -> Result<Kept, Unfit> {
    let file = File::open(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => Unfit::Missing,
        _ => e.into(),
    })?;
    let len = file.metadata()?.len();
    // Summed first, in constant memory: nothing in it counts before that.
    let body = len.checked_sub(8).ok_or(Unfit::Damaged { at: len, what: "it ends too early" })?;
    let (mut sum, mut left, mut piece) = (0, body, vec![0; STEP]);
    let mut file = io::BufReader::new(file);
    while left > 0 {
        let n = usize::try_from(left).unwrap_or(STEP).min(STEP);
        let Some(room) = piece.get_mut(..n) else { break };
        file.read_exact(room)?;
        sum = crc::crc64(sum, room);
        left -= n as u64;
    }
    if u64::from_le_bytes(array(&mut file)?) != sum {
        return Err(Unfit::Damaged { at: body, what: "the checksum is wrong" });
    }
    file.seek(SeekFrom::Start(0))?;
    if &array(&mut file)? != MAGIC {
        return Err(Unfit::Damaged { at: 0, what: "it is no saved backlog" });
    }
    let mut found_tag = vec![0; usize::from(u16::from_le_bytes(array(&mut file)?))];
    file.read_exact(&mut found_tag)?;
    let fits = match wanted {
        Wanted::At { .. } => found_tag.is_empty(),
        Wanted::Tagged(tag) => found_tag == tag,
        Wanted::Before { .. } => true,
    };
    if !fits {
        return Err(Unfit::Other("of another file, or it has grown since"));
    }
    let mut former = Vec::new();
    for _ in 0..u8::from_le_bytes(array(&mut file)?) {
        former.push((read_id(&mut file)?, i64::from_le_bytes(array(&mut file)?)));
    }
    let replid = read_id(&mut file)?;
    let stream_db = i64::from_le_bytes(array(&mut file)?);
    let (first, last) = (i64::from_le_bytes(array(&mut file)?), i64::from_le_bytes(array(&mut file)?));
    let here = file.stream_position()?;
    if first < 0 || i128::from(last) + 1 - i128::from(first) != i128::from(body) - i128::from(here) {
        return Err(Unfit::Damaged { at: here, what: "it is not as long as it says" });
    }
    let offset = match wanted {
        Wanted::At { replid: wanted, .. } if wanted != replid => return Err(Unfit::Other("of another history")),
        Wanted::At { offset, .. } => offset,
        Wanted::Before { replid: wanted, offset } => {
            // It may have gone by that name when that was written.
            if wanted != replid && !former.iter().any(|(id, until)| id == wanted && offset < *until) {
                return Err(Unfit::Other("of another history"));
            }
            offset
        }
        Wanted::Tagged(_) => last,
    };
    if offset < first - 1 || offset > last {
        return Err(Unfit::Other("of another offset"));
    }
    let want = usize::try_from(offset + 1 - first).unwrap_or(0).min(limit);
    let from = offset + 1 - want as i64;
    file.seek(SeekFrom::Start(here + (from - first) as u64))?;
    let mut bytes = vec![0; want];
    file.read_exact(&mut bytes)?;
    Ok(Kept { standing: Standing { replid, offset: last, stream_db, former }, first: from, bytes })
}

fn array<const N: usize>(file: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn read_id(file: &mut impl Read) -> Result<String, Unfit> {
    let id: [u8; ID_LEN] = array(file)?;
    String::from_utf8(id.to_vec()).map_err(|_| Unfit::Damaged { at: 0, what: "an id that is no text" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::disk::FileSystem;
    use crate::persist::disk::fault::FaultyDisk;

    fn id(c: char) -> String {
        String::from(c).repeat(ID_LEN)
    }

    /// A log of the bytes 101 to 300, and its file.
    fn saved(dir: &Path, tag: &[u8]) -> PathBuf {
        let log = Log::new(100);
        log.create_backlog();
        log.append(&(0..200).collect::<Vec<u8>>());
        let held = Held::take(&log, standing()).unwrap();
        // What comes after the cut is not in it.
        log.append(b"later");
        let path = beside(&dir.join("dump.rdb"));
        let disk: Arc<dyn Disk> = Arc::new(FileSystem);
        held.prepare(&disk, &path, tag).unwrap().put_in_place().unwrap();
        path
    }

    fn standing() -> Standing {
        Standing { replid: id('a'), offset: 300, stream_db: 3, former: vec![(id('b'), 50)] }
    }

    #[test]
    fn what_was_kept_serves_data_sets_within_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = saved(dir.path(), b"");
        let read = |replid: &str, offset, limit| load(&path, Wanted::At { replid, offset }, limit);
        let whole = read(&id('a'), 300, 1000).unwrap();
        assert_eq!((whole.first, whole.bytes.len(), whole.standing), (101, 200, standing()));
        let part = read(&id('a'), 250, 50).unwrap();
        assert_eq!((part.first, part.bytes), (201, (100..150).collect()));
        assert!(read(&id('a'), 100, 50).unwrap().bytes.is_empty());
        assert_eq!(read(&id('a'), 99, 50), None);
        assert_eq!(read(&id('a'), 301, 50), None);
        assert_eq!(read(&id('b'), 300, 50), None);
        assert_eq!(load(&path, Wanted::Tagged(b"tag"), 50), None);
    }

    #[test]
    fn a_tag_stands_for_data_that_does_not_say_where_it_stands() {
        let dir = tempfile::tempdir().unwrap();
        let path = saved(dir.path(), b"tag");
        let kept = load(&path, Wanted::Tagged(b"tag"), 50).unwrap();
        assert_eq!((kept.first, kept.bytes.len(), kept.standing), (251, 50, standing()));
        assert_eq!(load(&path, Wanted::Tagged(b"other"), 50), None);
        let before = |replid: &str, offset| load(&path, Wanted::Before { replid, offset }, 10).map(|kept| kept.first);
        assert_eq!(
            (before(&id('a'), 300), before(&id('a'), 120), before(&id('a'), 101)),
            (Some(291), Some(111), Some(101))
        );
        assert_eq!((before(&id('a'), 301), before(&id('a'), 99), before(&id('b'), 120)), (None, None, None));
        assert_eq!(load(&path, Wanted::At { replid: &id('a'), offset: 300 }, 50), None);
    }

    #[test]
    fn a_damaged_file_is_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = saved(dir.path(), b"tag");
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 4;
            for bytes in [&bad[..], &good[..at]] {
                fs::write(&path, bytes).unwrap();
                assert_eq!(load(&path, Wanted::Tagged(b"tag"), 1000), None, "byte {at}");
            }
        }
    }

    #[test]
    fn no_failed_step_leaves_anything_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = saved(dir.path(), b"");
        let good = fs::read(&path).unwrap();
        for (fault, disk) in FaultyDisk::all(6) {
            let log = Log::new(0);
            log.create_backlog();
            log.append(b"another");
            let standing = Standing { replid: id('c'), offset: 7, stream_db: 0, former: Vec::new() };
            let held = Held::take(&log, standing).unwrap();
            let done = held.prepare(&disk, &path, b"").and_then(Prepared::put_in_place);
            assert!(done.is_err(), "{fault:?}");
            assert_eq!(fs::read(&path).unwrap(), good, "{fault:?}");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "{fault:?}");
        }
    }
}
