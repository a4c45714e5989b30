//! The stream behind a snapshot, for the replicas that cannot take it yet: in the log as far as
//! `repl-full-sync-buffer-limit` goes, in a file without a name beyond it.
//!
//! ```text
//!        cut                        next                                end of the log
//!         v                          v                                   v
//!   ------|== passed == | on disk ===|======== blocks of the log ========|
//!                 ^ a replica's Tail          ^ another's        the file's thread comes after it
//! ```
//!
//! All replicas of one cut share it. Each reads at its own pace, first from the file, then from the blocks, and leaves for a
//! cursor of its own once it has caught up. What all have read is given back to the file system. If the disk refuses, what
//! is not in the file stays in the log, and `client-output-buffer-limit replica` counts it, as in stock servers.
//!
//! Knows no socket, no replica but by its number, and not what the bytes mean.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::task::JoinHandle;

use super::id::ReplOffset;
use super::note::Note;
use super::state::log;
use crate::base::rand;
use crate::oplog::{Chunk, Cursor};
use crate::persist::temp::TempFile;

/// Written or read at once.
const PIECE_BYTES: usize = 1 << 20;
const READ_BYTES: usize = 256 << 10;
/// Given back to the file system at once.
const HOLE_BYTES: i64 = 8 << 20;
/// A replica that lacks no more than this has caught up: it could as well have been online all the time.
const CAUGHT_UP_BYTES: i64 = 256 << 10;
/// Of the file system, this share is left to others: a full one would stop saves and the append-only file.
const KEPT_FREE: u64 = 1 << 6;

/// What became of it, for INFO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub memory_bytes: u64,
    pub disk_bytes: u64,
}

/// What a look at the growth of the log tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// The end of the log at which to look again.
    pub again_at: ReplOffset,
    /// The disk takes less than is written: writers are to be slowed down until it has caught up.
    pub is_behind: bool,
}

impl Look {
    /// There is nothing to look after.
    pub const NEVER: Self = Self { again_at: ReplOffset::MAX, is_behind: false };
}

pub struct Spill {
    /// Offset of the first byte behind the cut.
    first: ReplOffset,
    /// Of the first byte that is not in the file.
    next: AtomicI64,
    /// Of the first byte that is still in the file.
    kept_from: AtomicI64,
    /// The disk refused: there will be no more in the file.
    refused: AtomicBool,
    /// A thread writes, or is about to.
    writing: AtomicBool,
    state: Mutex<State>,
    /// Called when it has written: the log's growth is to be looked at anew.
    written: Box<dyn Fn() + Send + Sync>,
}

struct State {
    /// At `next`.
    cursor: Cursor,
    file: Option<Arc<File>>,
    /// The replicas, and which byte each reads next.
    tails: Vec<(u64, ReplOffset)>,
}

/// What a replica is to be sent next.
pub enum Next {
    /// [`Tail::ahead`].
    Disk,
    Log(SmallVec<[Chunk; 8]>),
    /// Nothing has come in since: go on from here alone.
    CaughtUp(Cursor),
    /// The log holds another history now.
    Stale,
}

impl Spill {
    /// `cursor` stands at the cut.
    pub fn new(cursor: Cursor, written: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        let first = cursor.next_offset();
        let state = State { cursor, file: None, tails: Vec::new() };
        Arc::new(Self {
            first,
            next: AtomicI64::new(first),
            kept_from: AtomicI64::new(first),
            refused: AtomicBool::new(false),
            writing: AtomicBool::new(false),
            state: Mutex::new(state),
            written: Box::new(written),
        })
    }

    /// Where the stream of a replica begins that gets this snapshot.
    pub fn first_offset(&self) -> ReplOffset {
        self.first
    }

    /// A replica's place in it. `None` if others have gone on, and their bytes with them.
    pub fn join(self: &Arc<Self>, id: u64) -> Option<Tail> {
        let mut state = self.state.lock();
        if self.kept_from.load(Relaxed) != self.first {
            return None;
        }
        state.tails.push((id, self.first));
        Some(Tail { spill: self.clone(), id, next: self.first, ahead: Vec::new(), sent: 0, reading: None })
    }

    /// From which byte on `client-output-buffer-limit` counts what a replica at `next` lacks. Within the budget it is
    /// allowed for, and what is in the file takes no memory.
    pub fn counted_from(&self, next: ReplOffset, budget_bytes: u64) -> ReplOffset {
        let in_memory = next.max(self.next.load(Relaxed));
        if self.refused.load(Relaxed) { in_memory } else { in_memory.saturating_add_unsigned(budget_bytes) }
    }

    /// What a replica at `next` keeps waiting.
    pub fn held(&self, next: ReplOffset, end: ReplOffset) -> Held {
        let spilled_to = self.next.load(Relaxed);
        Held {
            memory_bytes: (end + 1 - next.max(spilled_to)).max(0) as u64,
            disk_bytes: (spilled_to - next).max(0) as u64,
        }
    }

    /// The log ends at `end`. Has a thread write to disk what is more than the budget; 0 keeps all in memory. Takes no
    /// time: the caller may hold locks.
    pub fn look(self: &Arc<Self>, end: ReplOffset, budget_bytes: u64, dir: &str) -> Look {
        let wait = |again_at| Look { again_at, is_behind: false };
        if budget_bytes == 0 || self.refused.load(Relaxed) {
            return Look::NEVER;
        }
        let at = |bytes: u64| (self.next.load(Relaxed) - 1).saturating_add_unsigned(bytes);
        if end < at(budget_bytes) {
            return wait(at(budget_bytes));
        }
        if self.writing.swap(true, Relaxed) {
            let too_much = at(budget_bytes.saturating_mul(2));
            // Whoever writes tells when it is done.
            return if end < too_much { wait(too_much) } else { Look { again_at: ReplOffset::MAX, is_behind: true } };
        }
        let (me, dir) = (self.clone(), PathBuf::from(dir));
        let job = move || {
            if let Err(e) = me.write(budget_bytes, &dir) {
                me.refuse(&e);
            }
            me.writing.store(false, Relaxed);
            (me.written)();
        };
        // A thread for each burst, which is half a budget at least.
        if let Err(e) = std::thread::Builder::new().name("sync-spill".into()).spawn(job) {
            self.refuse(&e);
        }
        wait(at(budget_bytes.saturating_mul(2)))
    }

    fn refuse(&self, e: &io::Error) {
        self.refused.store(true, Relaxed);
        log(Note::warning(format!(
            "What is written while a full sync is under way can't be put on disk: {e}. It stays in memory, where \
             client-output-buffer-limit replica bounds it: room in `dir` or a higher limit lets the sync succeed"
        )));
    }

    /// Writes until little is left in memory.
    fn write(&self, budget_bytes: u64, dir: &Path) -> io::Result<()> {
        loop {
            let (file, chunks) = {
                let mut state = self.state.lock();
                // Half of it, so that the next write is worth while.
                if state.cursor.lag_bytes() as u64 <= budget_bytes / 2 || state.tails.is_empty() {
                    return Ok(());
                }
                let chunks = state.cursor.read(PIECE_BYTES);
                let file = match &state.file {
                    Some(file) => file.clone(),
                    None => {
                        let file = Arc::new(unnamed(dir)?);
                        state.file = Some(file.clone());
                        log(Note::notice(format!(
                            "More than {budget_bytes} bytes were written while a full sync is under way: the rest goes \
                             to a temporary file in {} until the replicas have got it",
                            dir.display()
                        )));
                        file
                    }
                };
                (file, chunks)
            };
            // Nobody else moves the cursor.
            let mut at = self.next.load(Relaxed);
            if room(&file)? < PIECE_BYTES as u64 {
                return Err(io::Error::new(io::ErrorKind::StorageFull, "no room is left on the device but for others"));
            }
            let mut written = 0;
            for chunk in &chunks {
                file.write_all_at(chunk.as_ref(), (at - self.first) as u64)?;
                at += chunk.len() as i64;
                written += chunk.len();
            }
            drop(chunks);
            let mut state = self.state.lock();
            state.cursor.advance(written);
            self.next.store(at, Relaxed);
            let behind = state.cursor.lag_bytes() as u64 >= budget_bytes.saturating_mul(2);
            drop(state);
            if !behind {
                // Whoever waits may go on at the disk's pace, not in bursts.
                (self.written)();
            }
        }
    }

    /// Reads on for a replica that is at `next`, and gives back what it was the last to need.
    fn read(&self, id: u64, next: ReplOffset) -> JoinHandle<io::Result<Vec<u8>>> {
        let (file, hole) = self.passed(id, next);
        let n = (self.next.load(Relaxed) - next).min(READ_BYTES as i64).max(0) as usize;
        let at = (next - self.first) as u64;
        tokio::task::spawn_blocking(move || {
            let file = file.ok_or(io::ErrorKind::NotFound)?;
            if let Some(Hole { at, bytes }) = hole {
                use rustix::fs::FallocateFlags as Flags;
                // Where the file system cannot do that, the room comes back with the end of the sync.
                let _ = rustix::fs::fallocate(&file, Flags::PUNCH_HOLE | Flags::KEEP_SIZE, at, bytes);
            }
            let mut bytes = vec![0; n];
            file.read_exact_at(&mut bytes, at)?;
            Ok(bytes)
        })
    }

    /// A replica has gone on to `next`: perhaps there is a stretch of the file that nobody needs any more.
    fn passed(&self, id: u64, next: ReplOffset) -> (Option<Arc<File>>, Option<Hole>) {
        let mut state = self.state.lock();
        if let Some(tail) = state.tails.iter_mut().find(|tail| tail.0 == id) {
            tail.1 = next;
        }
        let slowest = state.tails.iter().map(|tail| tail.1).min().unwrap_or(self.first);
        let kept_from = self.kept_from.load(Relaxed);
        let whole = (slowest - self.first) / HOLE_BYTES * HOLE_BYTES + self.first;
        let hole = (whole > kept_from)
            .then(|| Hole { at: (kept_from - self.first) as u64, bytes: (whole - kept_from) as u64 });
        self.kept_from.fetch_max(whole, Relaxed);
        (state.file.clone(), hole)
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        let spilled = self.next.load(Relaxed) - self.first;
        if spilled > 0 {
            log(Note::notice(format!(
                "The replicas no longer need the {spilled} bytes that were written to disk for them"
            )));
        }
    }
}

/// A replica's place in it.
pub struct Tail {
    spill: Arc<Spill>,
    id: u64,
    next: ReplOffset,
    /// Read from the file, and how much of it was sent.
    ahead: Vec<u8>,
    sent: usize,
    /// The disk is read off the worker.
    reading: Option<JoinHandle<io::Result<Vec<u8>>>>,
}

impl Tail {
    pub fn next_offset(&self) -> ReplOffset {
        self.next
    }

    pub fn spill(&self) -> &Arc<Spill> {
        &self.spill
    }

    /// What was read from the file and not sent yet.
    pub fn ahead(&self) -> &[u8] {
        &self.ahead[self.sent..]
    }

    /// What to send next: of the log perhaps nothing. Pending only while the disk is read. `may_leave`: once it has caught
    /// up; until then it goes on here, where the disk takes what it does not.
    pub fn poll_next(&mut self, cx: &mut Context<'_>, may_leave: bool) -> Poll<io::Result<Next>> {
        if self.sent < self.ahead.len() {
            return Poll::Ready(Ok(Next::Disk));
        }
        if self.reading.is_none()
            && let Some(next) = self.in_log(may_leave)
        {
            return Poll::Ready(Ok(next));
        }
        let reading = match &mut self.reading {
            Some(reading) => reading,
            None => self.reading.insert(self.spill.read(self.id, self.next)),
        };
        let read = ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        Poll::Ready(read.unwrap_or_else(|e| Err(io::Error::other(e))).map(|bytes| {
            (self.ahead, self.sent) = (bytes, 0);
            Next::Disk
        }))
    }

    /// What it lacks, if none of that is in the file.
    fn in_log(&self, may_leave: bool) -> Option<Next> {
        let state = self.spill.state.lock();
        if state.cursor.is_stale() {
            return Some(Next::Stale);
        }
        // What is in the file only grows under this lock.
        if self.next < self.spill.next.load(Relaxed) {
            return None;
        }
        let at = state.cursor.next_offset().max(self.next);
        let behind = state.cursor.lag_bytes() as i64 - (at - state.cursor.next_offset());
        if behind > CAUGHT_UP_BYTES || !may_leave {
            return Some(Next::Log(state.cursor.peek(at, READ_BYTES)));
        }
        let alone = state.cursor.split(at);
        Some(alone.map_or(Next::Stale, Next::CaughtUp))
    }

    /// So much of it was sent.
    pub fn advance(&mut self, n: usize) {
        self.next += n as i64;
        if !self.ahead.is_empty() {
            self.sent += n;
            if self.sent == self.ahead.len() {
                (self.ahead, self.sent) = (Vec::new(), 0);
            }
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.spill.state.lock().tails.retain(|tail| tail.0 != self.id);
    }
}

/// A stretch of the file.
struct Hole {
    at: u64,
    bytes: u64,
}

/// A file that goes when it is closed.
fn unnamed(dir: &Path) -> io::Result<File> {
    let name = format!("temp-sync-{}-{}.stream", std::process::id(), rand::below(u64::MAX));
    let temp = TempFile::new(dir.join(name));
    File::options().read(true).write(true).create_new(true).open(temp.path())
}

/// What may be written to this file system.
fn room(file: &File) -> io::Result<u64> {
    let stat = rustix::fs::fstatvfs(file)?;
    Ok((stat.f_bavail * stat.f_frsize).saturating_sub(stat.f_blocks * stat.f_frsize / KEPT_FREE))
}

#[cfg(test)]
mod tests;
