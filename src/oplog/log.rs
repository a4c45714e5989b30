//! The log itself: appending, the backlog's window, attaching readers, letting go of blocks.
//!
//! Must not know what the bytes mean. `exec::propagate` frames commands through [`Appender`]; a replica's link appends
//! its master's bytes as they came.
//!
//! Stock rules that hold here: the backlog is never trimmed below its size and is trimmed by whole blocks; a block that
//! a reader still needs is not trimmed, and while it stays, everything from it on can be asked for; the window of a
//! backlog that was just created begins at the next byte to come.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::block::{Block, BlockWriter, Region};
use super::marks::{Mark, Marks};
use super::wake::WakeList;
use super::{Cursor, Waiter};

/// The smallest `repl-backlog-size` that takes effect, as in stock servers.
pub const MIN_BACKLOG_BYTES: usize = 16 * 1024;
const DEFAULT_BACKLOG_BYTES: usize = 1024 * 1024;

/// A block is a sixteenth of the backlog between these bounds, so that a small backlog is trimmed finely.
const MIN_BLOCK_BYTES: usize = 16 * 1024;
const USUAL_BLOCK_BYTES: usize = 64 * 1024;

/// Of blocks let go, so many leave their memory to those that follow, and no more than this share of the backlog's size.
const SPARES: usize = 4;
const SPARE_SHARE: usize = 4;

/// Blocks let go under one hold of the lock. A reader that was far behind leaves thousands.
const TRIM_AT_ONCE: usize = 64;

/// The backlog's window, for INFO and for the decision between a partial and a full resync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// Offset of the first byte that can still be asked for.
    pub first_byte_offset: i64,
    /// Bytes that can be asked for; more than the configured size while a reader holds on to older ones.
    pub histlen: i64,
}

/// The ordered log of effects. Share it as `Arc<Log>`.
pub struct Log {
    /// Somebody follows: a backlog exists or a reader is attached. While nobody does, appending is one relaxed load and
    /// offsets stand still, as in stock servers.
    active: AtomicBool,
    /// Written under the lock, readable without.
    end: AtomicI64,
    capacity_end: AtomicI64,
    /// Raised when the log takes up another history, so that old cursors know.
    epoch: AtomicU64,
    memory: Arc<AtomicUsize>,
    pub(super) wakes: WakeList,
    state: Mutex<State>,
}

struct State {
    /// The chain while the log is active; `blocks` and `tail` are there together or not at all.
    chain: Option<Chain>,
    /// First byte of the backlog's window, if there is a backlog.
    window: Option<i64>,
    backlog_limit_bytes: usize,
    /// Cursors attached in this epoch.
    readers: usize,
    /// The database the readers believe selected; -1 when they must be told.
    selected_db: i32,
    /// Remarks, while a reader wants them.
    marks: Option<Marks>,
}

struct Chain {
    /// Every block of the chain, the tail included.
    blocks: VecDeque<Arc<Block>>,
    tail: BlockWriter,
    /// Of blocks that were let go, for those to come.
    spare: Vec<Region>,
}

impl Log {
    /// A log at offset `end_offset` that nobody follows yet.
    pub fn new(end_offset: i64) -> Arc<Self> {
        Arc::new(Self {
            active: AtomicBool::new(false),
            end: AtomicI64::new(end_offset),
            capacity_end: AtomicI64::new(end_offset + 1),
            epoch: AtomicU64::new(0),
            memory: Arc::new(AtomicUsize::new(0)),
            wakes: WakeList::default(),
            state: Mutex::new(State {
                chain: None,
                window: None,
                backlog_limit_bytes: DEFAULT_BACKLOG_BYTES,
                readers: 0,
                selected_db: -1,
                marks: None,
            }),
        })
    }

    /// Whether appended bytes go anywhere. It changes by [`Log::create_backlog`], [`Log::attach_end`] and their
    /// opposites; whoever needs the change to be exact with regard to writes makes it at a cut, with all shards locked.
    #[inline]
    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed)
    }

    /// Offset of the last byte appended: `master_repl_offset`.
    #[inline]
    pub fn end_offset(&self) -> i64 {
        // Acquire: pairs with Release in `Appender::commit`; who sees the offset finds the bytes.
        self.end.load(Ordering::Acquire)
    }

    /// Appends bytes as they are and gives the offset of the last; when inactive, the offset as it stands.
    #[inline]
    pub fn append(&self, bytes: &[u8]) -> i64 {
        let written = self.with(|w| {
            w.write(bytes);
            w.offset()
        });
        written.unwrap_or_else(|| self.end_offset())
    }

    /// Appends bytes that are no data.
    pub fn append_aside(&self, bytes: &[u8]) {
        self.with(|w| {
            let first = w.offset() + 1;
            w.write(bytes);
            w.aside(first, w.offset());
        });
    }

    /// Appends several pieces as one.
    pub fn append_batch(&self, pieces: &[&[u8]]) -> i64 {
        let written = self.with(|w| {
            pieces.iter().for_each(|piece| w.write(piece));
            w.offset()
        });
        written.unwrap_or_else(|| self.end_offset())
    }

    /// Writes contiguously under one hold of the lock; readers see none of it before `f` is done. `None`, without
    /// calling `f`, when nobody follows. If `f` panics, what it wrote is taken back.
    #[inline]
    pub fn with<R>(&self, f: impl FnOnce(&mut Appender<'_>) -> R) -> Option<R> {
        if !self.is_active() {
            return None;
        }
        let mut state = self.state.lock();
        let State { chain, window, backlog_limit_bytes, selected_db, marks, .. } = &mut *state;
        let chain = chain.as_mut()?;
        let db_before = *selected_db;
        let marks_before = marks.as_ref().map_or(0, Marks::len);
        let mut appender = Appender {
            log: self,
            chain,
            backlog_limit_bytes: *backlog_limit_bytes,
            selected_db,
            db_before,
            marks,
            marks_before,
            pending: SmallVec::new(),
            done: false,
        };
        let result = f(&mut appender);
        let grew = appender.commit();
        drop(appender);
        // Stock trims when a block is added, which bounds the work done for a small append.
        let dropped = if grew {
            let mut dropped = trim(chain, window, *backlog_limit_bytes, self.end_offset());
            keep_spare(chain, *backlog_limit_bytes, &mut dropped);
            dropped
        } else {
            Dropped::new()
        };
        drop(state);
        drop(dropped);
        Some(result)
    }

    /// The next effect must say its database: after a full resync began or a promotion.
    pub fn forget_selected_db(&self) {
        self.state.lock().selected_db = -1;
    }

    /// The window of the backlog, if there is one.
    pub fn backlog(&self) -> Option<Backlog> {
        let state = self.state.lock();
        state.window.map(|first| Backlog { first_byte_offset: first, histlen: self.end_offset() + 1 - first })
    }

    /// `repl-backlog-size` as it takes effect.
    pub fn backlog_limit_bytes(&self) -> usize {
        self.state.lock().backlog_limit_bytes
    }

    /// Changes `repl-backlog-size`; what is then too much is let go at once.
    pub fn set_backlog_limit_bytes(&self, bytes: usize) {
        self.state.lock().backlog_limit_bytes = bytes.max(MIN_BACKLOG_BYTES);
        self.trim_all();
    }

    /// Begins to keep a backlog; its window begins at the next byte. Does nothing if there is one.
    pub fn create_backlog(&self) {
        let mut state = self.state.lock();
        if state.window.is_none() {
            self.open(&mut state);
            state.window = Some(self.end_offset() + 1);
        }
    }

    /// Gives the backlog up. Attached cursors (the append-only file's) go on; without any the log becomes inactive.
    pub fn free_backlog(&self) {
        let closed = {
            let mut state = self.state.lock();
            state.window = None;
            self.close_if_idle(&mut state)
        };
        drop(closed);
        self.trim_all();
    }

    /// Takes up another history at `end_offset`: a full resync, or the offset found in a file at start. Nothing before
    /// it can be asked for; attached cursors become stale and see no more bytes. A backlog, if any, is then empty.
    pub fn reset(&self, end_offset: i64) {
        let old = {
            let mut state = self.state.lock();
            let old = state.chain.take();
            state.readers = 0;
            state.selected_db = -1;
            state.marks = None;
            self.active.store(false, Ordering::Relaxed);
            self.epoch.fetch_add(1, Ordering::Relaxed);
            // Release: as in `Appender::commit`.
            self.end.store(end_offset, Ordering::Release);
            self.capacity_end.store(end_offset + 1, Ordering::Relaxed);
            if state.window.is_some() {
                state.window = Some(end_offset + 1);
                self.open(&mut state);
            }
            old
        };
        drop(old);
        // Whoever waits for bytes of the former history learns that there will be none.
        self.notify_readers();
    }

    /// A cursor whose first byte is the one with this offset: what PSYNC asks for. `None` if it lies outside the
    /// window (`first_byte_offset..=end_offset + 1`) or if there is no backlog.
    pub fn attach(self: &Arc<Self>, offset: i64) -> Option<Cursor> {
        let mut state = self.state.lock();
        let first = state.window?;
        if offset < first || offset > self.end_offset() + 1 {
            return None;
        }
        Some(self.attach_at(&mut state, offset))
    }

    /// A cursor at the next byte to come. It alone keeps the log active, backlog or not, for as long as it lives.
    pub fn attach_end(self: &Arc<Self>) -> Cursor {
        let mut state = self.state.lock();
        self.open(&mut state);
        self.attach_at(&mut state, self.end_offset() + 1)
    }

    /// [`Log::attach_end`] for the one reader that wants remarks as well.
    pub fn attach_end_with_marks(self: &Arc<Self>) -> Cursor {
        let mut state = self.state.lock();
        self.open(&mut state);
        state.marks = Some(Marks::default());
        self.attach_at(&mut state, self.end_offset() + 1)
    }

    /// Remarks on what begins at this offset or before. To be asked after the bytes were read.
    pub fn take_marks(&self, upto: i64, into: &mut VecDeque<Mark>) {
        if let Some(marks) = &mut self.state.lock().marks {
            marks.take(upto, into);
        }
    }

    /// How many remarks were made since the reader that wants them came.
    pub fn marks_made(&self) -> u64 {
        self.state.lock().marks.as_ref().map_or(0, Marks::made)
    }

    /// Whether there are remarks that were not taken.
    pub fn has_marks(&self) -> bool {
        self.state.lock().marks.as_ref().is_some_and(|marks| marks.len() > 0)
    }

    /// The reader that wanted remarks goes.
    pub fn forget_marks(&self) {
        self.state.lock().marks = None;
    }

    fn attach_at(self: &Arc<Self>, state: &mut State, offset: i64) -> Cursor {
        let chain = state.chain.as_ref().expect("an active log has a chain");
        // The last block that begins at or before the offset. `end + 1` behind a full tail is the tail's end.
        let index = chain.blocks.partition_point(|block| block.start() <= offset).saturating_sub(1);
        let block = chain.blocks[index].clone();
        let position = (offset - block.start()) as usize;
        state.readers += 1;
        Cursor::new(self.clone(), block, position, self.epoch())
    }

    /// A cursor in a block that another one of this epoch holds.
    pub(super) fn attach_beside(self: &Arc<Self>, block: Arc<Block>, position: usize, epoch: u64) -> Option<Cursor> {
        let mut state = self.state.lock();
        if epoch != self.epoch() {
            return None;
        }
        state.readers += 1;
        Some(Cursor::new(self.clone(), block, position, epoch))
    }

    /// Cursors attached and not stale.
    pub fn readers(&self) -> usize {
        self.state.lock().readers
    }

    /// Memory of all blocks, those that only a stale cursor or a [`super::Chunk`] holds included.
    pub fn memory_bytes(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }

    /// Registers a callback that tells one waiting reader of new bytes; see [`Waiter::arm`]. It is called under the
    /// list's lock: it must do no more than wake somebody.
    pub fn waiter(self: &Arc<Self>, wake: impl Fn() + Send + Sync + 'static) -> Waiter {
        Waiter::register(self.clone(), Box::new(wake))
    }

    /// Calls the armed waiters. The appender does this once per batch; it is a fence and a load when nobody waits.
    #[inline]
    pub fn notify_readers(&self) {
        self.wakes.notify();
    }

    /// How often waiters were called.
    pub fn wake_generation(&self) -> u64 {
        self.wakes.generation()
    }

    /// Raised whenever the log takes up another history.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    pub(super) fn capacity_end(&self) -> i64 {
        self.capacity_end.load(Ordering::Relaxed)
    }

    pub(super) fn detached(&self, epoch: u64) {
        let closed = {
            let mut state = self.state.lock();
            if epoch != self.epoch() {
                return;
            }
            state.readers -= 1;
            self.close_if_idle(&mut state)
        };
        drop(closed);
        self.trim_all();
    }

    /// Makes sure there is a chain to append to.
    fn open(&self, state: &mut State) {
        if state.chain.is_none() {
            let size = block_bytes(state.backlog_limit_bytes, 0);
            let tail = Block::begin(self.end_offset() + 1, Region::new(size, &self.memory));
            self.capacity_end.store(tail.block().capacity_end(), Ordering::Relaxed);
            state.chain = Some(Chain { blocks: VecDeque::from([tail.block().clone()]), tail, spare: Vec::new() });
            state.selected_db = -1;
        }
        self.active.store(true, Ordering::Relaxed);
    }

    #[must_use = "dropped by the caller once the lock is released"]
    fn close_if_idle(&self, state: &mut State) -> Option<Chain> {
        if state.window.is_some() || state.readers > 0 {
            return None;
        }
        self.active.store(false, Ordering::Relaxed);
        state.chain.take()
    }

    /// Lets go of all that nobody needs, in portions, each freed outside the lock.
    fn trim_all(&self) {
        loop {
            let mut state = self.state.lock();
            let State { chain, window, backlog_limit_bytes, .. } = &mut *state;
            let Some(chain) = chain else { return };
            let dropped = trim(chain, window, *backlog_limit_bytes, self.end_offset());
            drop(state);
            if dropped.is_empty() {
                return;
            }
        }
    }
}

type Dropped = SmallVec<[Arc<Block>; 2]>;

/// Takes blocks off the front that neither the backlog nor a reader needs, `TRIM_AT_ONCE` at most, and moves the
/// window's beginning. The caller drops them without the lock.
fn trim(chain: &mut Chain, window: &mut Option<i64>, limit_bytes: usize, end: i64) -> Dropped {
    let mut dropped = Dropped::new();
    while dropped.len() < TRIM_AT_ONCE && chain.blocks.len() > 1 {
        let front = &mut chain.blocks[0];
        // What would be left if the block went: a backlog never falls below its size. (It may also lie before the
        // window, which then does not hold it.)
        let kept = end + 1 - front.capacity_end();
        if window.is_some_and(|first| front.capacity_end() > first) && kept < limit_bytes as i64 {
            break;
        }
        // Ours is the only hold: no cursor stands in this block, and none can come while the lock is held. One that
        // stands further on holds its own block and so stops the trimming there.
        let Some(block) = Arc::get_mut(front) else { break };
        block.unlink();
        let front = chain.blocks.pop_front().expect("looked at above");
        if let Some(first) = window {
            *first = (*first).max(front.capacity_end());
        }
        dropped.push(front);
    }
    dropped
}

/// Keeps the memory of some blocks that are let go for those to come, which are mostly of the usual size.
fn keep_spare(chain: &mut Chain, limit_bytes: usize, dropped: &mut Dropped) {
    let usual = block_bytes(limit_bytes, 0);
    let max = SPARES.min(limit_bytes / SPARE_SHARE / usual);
    // What was kept is of another size if the backlog's has changed.
    chain.spare.retain(|region| region.len() == usual);
    for block in dropped {
        if chain.spare.len() < max
            && block.capacity() == usual
            && let Some(block) = Arc::get_mut(block)
        {
            chain.spare.push(block.take_region());
        }
    }
}

/// The size of the next block when `wanted` bytes are still to be placed. A record larger than the usual block gets a
/// larger one, but no more than a sixteenth of the backlog: a huge block could not be trimmed in parts.
fn block_bytes(backlog_limit_bytes: usize, wanted: usize) -> usize {
    let share = backlog_limit_bytes / 16;
    let usual = share.clamp(MIN_BLOCK_BYTES, USUAL_BLOCK_BYTES);
    wanted.min(share).max(usual)
}

/// Writes to the log under its lock. What it writes becomes visible to readers all at once.
pub struct Appender<'a> {
    log: &'a Log,
    chain: &'a mut Chain,
    backlog_limit_bytes: usize,
    selected_db: &'a mut i32,
    db_before: i32,
    marks: &'a mut Option<Marks>,
    marks_before: usize,
    /// Blocks begun by this append, not yet part of the chain.
    pending: SmallVec<[BlockWriter; 1]>,
    done: bool,
}

impl Appender<'_> {
    /// The database that readers believe selected, -1 if they must be told.
    #[inline]
    pub fn selected_db(&self) -> i32 {
        *self.selected_db
    }

    /// To be called after having written what selects `db`.
    #[inline]
    pub fn set_selected_db(&mut self, db: i32) {
        *self.selected_db = db;
    }

    /// Remarks that what was written from `first` to `last` is no data.
    pub fn aside(&mut self, first: i64, last: i64) {
        if let Some(marks) = self.marks {
            marks.aside(first, last);
        }
    }

    /// Remarks that what is written next is done in this second; once for each.
    pub fn moment(&mut self, unix_s: i64) {
        let first = self.offset() + 1;
        if let Some(marks) = self.marks {
            marks.moment(first, unix_s);
        }
    }

    /// Whether there is a reader for what is not in the log.
    pub fn wants_marks(&self) -> bool {
        self.marks.is_some()
    }

    /// Remarks that these requests were carried out before what is written next, and are not part of the log.
    pub fn local(&mut self, requests: &[u8]) {
        let first = self.offset() + 1;
        if let Some(marks) = self.marks {
            marks.local(first, requests);
        }
    }

    /// Remarks that the history goes by these names from here on.
    pub fn names(&mut self, names: Option<Arc<[u8]>>) {
        let first = self.offset() + 1;
        if let Some(marks) = self.marks {
            marks.names(first, names);
        }
    }

    /// Offset of the last byte written, counting those not yet visible.
    pub fn offset(&self) -> i64 {
        self.pending.last().unwrap_or(&self.chain.tail).end_offset()
    }

    #[inline]
    pub fn write(&mut self, bytes: &[u8]) {
        let n = self.current().write(bytes);
        if n < bytes.len() {
            self.write_more(&bytes[n..]);
        }
    }

    #[inline]
    fn current(&mut self) -> &mut BlockWriter {
        self.pending.last_mut().unwrap_or(&mut self.chain.tail)
    }

    #[cold]
    fn write_more(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let start = self.current().block().capacity_end();
            let size = block_bytes(self.backlog_limit_bytes, bytes.len());
            let region = match self.chain.spare.pop_if(|region| region.len() == size) {
                Some(region) => region,
                None => Region::new(size, &self.log.memory),
            };
            let mut next = Block::begin(start, region);
            bytes = &bytes[next.write(bytes)..];
            self.pending.push(next);
        }
    }

    #[cold]
    fn link_pending(&mut self) {
        for mut next in self.pending.drain(..) {
            next.publish();
            self.chain.blocks.push_back(next.block().clone());
            std::mem::replace(&mut self.chain.tail, next).seal(&self.chain.tail);
        }
    }

    /// Publishes. True if the chain grew by a block.
    #[inline]
    fn commit(&mut self) -> bool {
        self.done = true;
        let grew = !self.pending.is_empty();
        if grew {
            self.link_pending();
        }
        self.chain.tail.publish();
        if grew {
            self.log.capacity_end.store(self.chain.tail.block().capacity_end(), Ordering::Relaxed);
        }
        // Release: pairs with Acquire in `Log::end_offset`.
        self.log.end.store(self.chain.tail.end_offset(), Ordering::Release);
        grew
    }
}

impl Drop for Appender<'_> {
    fn drop(&mut self) {
        // Only after a panic of the closure: half an effect must not reach a replica.
        if !self.done {
            self.pending.clear();
            self.chain.tail.retract();
            *self.selected_db = self.db_before;
            if let Some(marks) = self.marks {
                marks.truncate(self.marks_before);
            }
        }
    }
}
