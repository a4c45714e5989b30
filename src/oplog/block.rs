//! One block of the log: a fixed region of bytes with one writer and any number of readers.
//!
//! The writer fills the region from the front and publishes a length; readers see exactly the published prefix and take
//! no lock. This is the only file of the log with `unsafe` in it, and it must not know why bytes are written, nor what
//! the log's lock is: that there is one writer is a matter of types ([`BlockWriter`] is not `Clone`).

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use smallvec::SmallVec;

/// What a block costs beside its bytes, for the memory count.
const OVERHEAD_BYTES: usize = size_of::<Block>() + 2 * size_of::<usize>();

/// A region of the log. Bytes below the published length never change again.
pub(super) struct Block {
    /// Offset of the first byte of the region.
    start: i64,
    /// Published length. `Release` in [`BlockWriter::publish`] pairs with `Acquire` in [`Block::len`].
    len: AtomicUsize,
    region: Region,
    /// The block that follows, once this one is full.
    next: OnceLock<Arc<Block>>,
}

/// The memory of a block, counted for as long as it lives. A block that is let go leaves it to one that begins: memory that
/// was in use a moment ago need not come from the system.
#[derive(Default)]
pub(super) struct Region {
    bytes: Box<[UnsafeCell<MaybeUninit<u8>>]>,
    memory: Arc<AtomicUsize>,
}

impl Region {
    pub(super) fn new(capacity_bytes: usize, memory: &Arc<AtomicUsize>) -> Self {
        let mut bytes = Vec::with_capacity(capacity_bytes);
        // SAFETY: the elements are MaybeUninit, for which any memory is a valid value, and the capacity is there.
        unsafe { bytes.set_len(capacity_bytes) };
        memory.fetch_add(capacity_bytes + OVERHEAD_BYTES, Ordering::Relaxed);
        Self { bytes: bytes.into_boxed_slice(), memory: memory.clone() }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            self.memory.fetch_sub(self.bytes.len() + OVERHEAD_BYTES, Ordering::Relaxed);
        }
    }
}

// SAFETY: the only field that is not Sync by itself is `region`, for its bytes. A cell is written at most once, by the one BlockWriter
// of this block and only at or above the published length; it is read only below the published length. The
// Release/Acquire pair on `len` orders the write before every read.
unsafe impl Sync for Block {}

impl Block {
    /// An empty block whose first byte will have offset `start`, and the right to fill it.
    pub(super) fn begin(start: i64, region: Region) -> BlockWriter {
        let block = Block { start, len: AtomicUsize::new(0), region, next: OnceLock::new() };
        BlockWriter { block: Arc::new(block), used: 0 }
    }

    /// Takes the memory out of a block that nobody else holds.
    pub(super) fn take_region(&mut self) -> Region {
        self.len = AtomicUsize::new(0);
        std::mem::take(&mut self.region)
    }

    pub(super) fn start(&self) -> i64 {
        self.start
    }

    pub(super) fn capacity(&self) -> usize {
        self.region.len()
    }

    /// Offset just behind the last byte the block can hold.
    pub(super) fn capacity_end(&self) -> i64 {
        self.start + self.region.len() as i64
    }

    /// The published length.
    pub(super) fn len(&self) -> usize {
        // Acquire: pairs with Release in `publish`; the bytes below are visible.
        self.len.load(Ordering::Acquire)
    }

    /// The block behind this one. Once it is there, this block's length is final.
    pub(super) fn next(&self) -> Option<&Arc<Block>> {
        self.next.get()
    }

    /// Cuts the link to the following block, so that dropping this one leaves the chain alone.
    pub(super) fn unlink(&mut self) {
        self.next.take();
    }

    /// A published range. The caller's mistake of asking for more is a panic, not a read of nothing.
    fn slice(&self, range: Range<usize>) -> &[u8] {
        assert!(range.start <= range.end && range.end <= self.len(), "reading past what the log published");
        let cells = &self.region.bytes[range];
        // SAFETY: every cell of the range lies below the published length: it is initialised and never written again.
        // UnsafeCell<MaybeUninit<u8>> has the layout of u8.
        unsafe { std::slice::from_raw_parts(cells.as_ptr().cast::<u8>(), cells.len()) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // A reader far behind may own a chain of thousands: let go one after the other, not by recursion.
        let mut next = self.next.take();
        while let Some(mut block) = next.and_then(Arc::into_inner) {
            next = block.next.take();
        }
    }
}

/// The right to append to one block.
pub(super) struct BlockWriter {
    block: Arc<Block>,
    /// Bytes written, published or not.
    used: usize,
}

impl BlockWriter {
    pub(super) fn block(&self) -> &Arc<Block> {
        &self.block
    }

    /// Offset of the last byte written, published or not.
    pub(super) fn end_offset(&self) -> i64 {
        self.block.start - 1 + self.used as i64
    }

    /// Copies as much of `data` as there is room for and says how much that was. Readers do not see it yet.
    #[inline]
    pub(super) fn write(&mut self, data: &[u8]) -> usize {
        let room = &self.block.region.bytes[self.used..];
        let n = data.len().min(room.len());
        // SAFETY: `room` has n cells, all at or above `used`, which is never below the published length: no reader looks
        // at them, and `&mut self` of the block's only writer excludes another writer. `data` cannot overlap them: no
        // shared reference to unpublished cells is ever handed out.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), UnsafeCell::raw_get(room.as_ptr()).cast::<u8>(), n) };
        self.used += n;
        n
    }

    /// Shows readers everything written so far.
    pub(super) fn publish(&mut self) {
        // Release: pairs with Acquire in `Block::len`.
        self.block.len.store(self.used, Ordering::Release);
    }

    /// Forgets what was written and not published.
    pub(super) fn retract(&mut self) {
        // Only this writer stores to `len`.
        self.used = self.block.len.load(Ordering::Relaxed);
    }

    /// Ends this block: it is full and published, and `next` follows it.
    pub(super) fn seal(mut self, next: &BlockWriter) {
        debug_assert_eq!(self.used, self.block.capacity());
        self.publish();
        let linked = self.block.next.set(next.block.clone());
        assert!(linked.is_ok(), "a block has one successor");
    }
}

/// Bytes of the log, shared with it: cheap to clone, readable for as long as it is held.
#[derive(Clone)]
pub struct Chunk {
    block: Arc<Block>,
    range: Range<usize>,
}

impl Chunk {
    pub(super) fn new(block: Arc<Block>, range: Range<usize>) -> Self {
        Self { block, range }
    }

    pub fn len(&self) -> usize {
        self.range.len()
    }

    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// The stock offset of the chunk's first byte.
    pub fn offset(&self) -> i64 {
        self.block.start + self.range.start as i64
    }

    /// Leaves out what is more than so many bytes.
    pub fn shorten(chunks: &mut SmallVec<[Self; 8]>, mut max_bytes: usize) {
        chunks.retain(|chunk| {
            let take = chunk.len().min(max_bytes);
            chunk.range.end = chunk.range.start + take;
            max_bytes -= take;
            take > 0
        });
    }

    /// Leaves out the first `n` bytes, for a write that took only a part.
    ///
    /// # Panics
    /// If the chunk is shorter than `n`.
    pub fn skip(&mut self, n: usize) {
        assert!(n <= self.range.len());
        self.range.start += n;
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        self.block.slice(self.range.clone())
    }
}

impl std::fmt::Debug for Chunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Chunk({} bytes at {})", self.len(), self.offset())
    }
}
