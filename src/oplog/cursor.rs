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
        let mut chunks = SmallVec::new();
        let mut left = max_bytes;
        let mut block = self.block();
        let mut position = self.position;
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
