//! Floor 3: the one ordered effect log: a chain of shared blocks with stock replication offsets.
//!
//! Everything that follows the data set reads here: the backlog, every attached replica and the append-only file hold
//! positions in the same blocks, so a byte is copied once, by whoever appends it. The log carries bytes: it knows
//! neither RESP nor commands, neither sockets nor time.
//!
//! ```text
//!            first_byte_offset                         end_offset (= master_repl_offset)
//!                   v                                       v
//!   [ block ] -> [ block ] -> [ block ] -> [ block ] -> [ block ....free ]
//!       ^ pinned by a slow cursor   ^ a cursor              ^ tail: the one block being appended to
//! ```
//!
//! Offsets are those of the replication protocol: the offset of a byte counts from 1, `end_offset` is the offset of
//! the last byte appended, and a reader asks for the first byte it does not have, `end_offset + 1` if it has them all.

mod block;
mod cursor;
mod log;
mod marks;
mod wake;

#[cfg(test)]
mod tests;

pub use block::Chunk;
pub use cursor::Cursor;
pub use log::{Appender, Backlog, Log, MIN_BACKLOG_BYTES};
pub use marks::Mark;
pub use wake::Waiter;
