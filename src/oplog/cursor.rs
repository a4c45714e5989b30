//! A reader's position in the log. It reads without the log's lock, and keeps what it has not read alive.
//!
//! Must not know who reads: a replica's link, the append-only file, a test.

use std::sync::Arc;

use smallvec::SmallVec;

use super::Log;
use super::block::{Block, Chunk};

/// A position from which bytes are read in order. Dropping it lets go of the blocks it held.
pub struct Cursor {
    log: Arc<Log>,
    /// `None` only while dropping.
    block: Option<Arc<Block>>,
    /// Bytes of `block` already consumed.
    position: usize,
    epoch: u64,
}

impl Cursor {
    pub(super) fn new(log: Arc<Log>, block: Arc<Block>, position: usize, epoch: u64) -> Self {
        Self { log, block: Some(block), position, epoch }
    }

    fn block(&self) -> &Arc<Block> {
        self.block.as_ref().expect("a cursor has a block until it is dropped")
    }

    /// Offset of the first byte not yet consumed.
    pub fn next_offset(&self) -> i64 {
        self.block().start() + self.position as i64
    }

    /// The log began another history ([`Log::reset`]) since this cursor was attached: it will see no more bytes.
    pub fn is_stale(&self) -> bool {
        self.epoch != self.log.epoch()
    }

    /// Bytes appended and not yet consumed; 0 for a stale cursor.
    pub fn lag_bytes(&self) -> usize {
        if self.is_stale() { 0 } else { (self.log.end_offset() + 1 - self.next_offset()).max(0) as usize }
    }

    /// Memory that this position keeps from being freed: from its block to the end of the chain. It is what
    /// `client-output-buffer-limit replica` is measured by.
    pub fn pinned_bytes(&self) -> usize {
        if self.is_stale() { 0 } else { (self.log.capacity_end() - self.block().start()).max(0) as usize }
    }

    /// Up to `max_bytes` from the position on, without moving it. Empty when the reader has caught up.
    pub fn read(&mut self, max_bytes: usize) -> SmallVec<[Chunk; 8]> {
        self.step_over_consumed();
        read_from(self.block(), self.position, max_bytes)
    }

    /// The same from a byte further on, `offset` being that of the first wanted; empty if it has not been appended yet.
    ///
    /// # Panics
    /// If the offset lies before this position.
    pub fn peek(&self, offset: i64, max_bytes: usize) -> SmallVec<[Chunk; 8]> {
        match self.find(offset) {
            Some((block, position)) => read_from(block, position, max_bytes),
            None => SmallVec::new(),
        }
    }

    /// A cursor of its own further on; `None` if that byte is neither there nor the next to come, or if this one is stale.
    ///
    /// # Panics
    /// If the offset lies before this position.
    pub fn split(&self, offset: i64) -> Option<Self> {
        let (block, position) = self.find(offset)?;
        self.log.attach_beside(block.clone(), position, self.epoch)
    }

    /// The block with this byte, or with the place where it will be.
    fn find(&self, offset: i64) -> Option<(&Arc<Block>, usize)> {
        assert!(offset >= self.next_offset(), "what lies behind a cursor may be gone");
        let mut block = self.block();
        loop {
            let next = block.next();
            let position = (offset - block.start()) as usize;
            match next {
                Some(next) if position >= block.capacity() => block = next,
                _ => return (position <= block.len()).then_some((block, position)),
            }
        }
    }

    /// Moves on by `n` bytes that were read and dealt with.
    ///
    /// # Panics
    /// If fewer bytes than that have been appended: the caller did not read them.
    pub fn advance(&mut self, n: usize) {
        let mut left = n;
        loop {
            let block = self.block();
            let next = block.next().cloned();
            let take = (block.len() - self.position).min(left);
            self.position += take;
            left -= take;
            if left == 0 {
                break;
            }
            self.block = Some(next.expect("advancing past what the log published"));
            self.position = 0;
        }
        self.step_over_consumed();
    }

    /// Leaves a block that is full and consumed, so that it can be freed.
    fn step_over_consumed(&mut self) {
        while self.position == self.block().capacity()
            && let Some(next) = self.block().next().cloned()
        {
            self.block = Some(next);
            self.position = 0;
        }
    }
}

/// Up to `max_bytes` from this byte of this block on.
fn read_from(mut block: &Arc<Block>, mut position: usize, max_bytes: usize) -> SmallVec<[Chunk; 8]> {
    let mut chunks = SmallVec::new();
    let mut left = max_bytes;
    while left > 0 {
        // The link before the length: once there is a link, the length read after it is final.
        let next = block.next();
        let len = block.len();
        let take = (len - position).min(left);
        if take > 0 {
            chunks.push(Chunk::new(block.clone(), position..position + take));
            left -= take;
        }
        match next {
            Some(next) => {
                block = next;
                position = 0;
            }
            None => break,
        }
    }
    chunks
}

impl Drop for Cursor {
    fn drop(&mut self) {
        // First our hold on the chain, then the count: what we alone kept can then be trimmed.
        self.block = None;
        self.log.detached(self.epoch);
    }
}

impl std::fmt::Debug for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cursor(next {})", self.next_offset())
    }
}
