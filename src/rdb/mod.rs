//! Floor 3: the RDB codec. Knows bytes and values, not files' names, forks or replicas.
//!
//! ```text
//! REDIS0010 | aux… | functions… | (select-db, resize-db, (expire? idle|freq? type key payload)…)… | 255 | crc64
//! ```
//! Reading: [`Reader`] turns bytes into [`Event`]s. Writing: the `put_*` functions append to a buffer that the
//! caller sends through a [`Sink`]. One value alone: [`dump`] and [`restore`]. A verdict on a file: [`check()`].
//!
//! What is read may come from anyone: no input makes this module panic, or reserve more memory than a small multiple
//! of the bytes that arrived.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

mod check;
mod dump;
mod encode;
mod error;
mod format;
mod hash;
mod input;
mod list;
mod payload;
mod reader;
mod set;
mod stream;
#[cfg(test)]
mod tests;
mod value;
mod ziplist;
mod zset;

pub use check::{Verdict, check};
pub use dump::{dump, restore};
pub use encode::{Info, Repl, Sink, put_aux, put_eof, put_function, put_header, put_key, put_resize_db, put_select_db};
pub use encode::{Unpacked, pack_into, put_info, put_key_unpacked, put_len, put_string, put_trailer};
pub use error::RdbError;
pub use format::{Dialect, Kind, OLDEST_LOADED_EVERYWHERE, OLDEST_WITH_FIELD_EXPIRY, Version};
pub use reader::{Checksum, Doing, Event, Payloads, ReadOptions, Reader, Run};
pub use value::{Usage, Value, ValueRef, WriteOptions};

/// DEBUG SET-SKIP-CHECKSUM-VALIDATION: whoever reads a payload or a file asks this whether to verify it.
pub static SKIP_CHECKSUM: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
