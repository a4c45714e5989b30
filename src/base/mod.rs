//! Floor 0: clock, hash, number text, glob, checksums, LZF, randomness, small memory, error texts and the log.
//! Knows nothing of Redis' data or of any socket.

pub mod clock;
pub mod crc;
pub mod error;
pub mod glob;
pub mod hash;
pub mod log;
mod long_double;
pub mod lzf;
pub mod number;
pub mod rand;
mod shortest;
pub mod slab;
pub mod version;

pub use error::{Error, os_reason};
