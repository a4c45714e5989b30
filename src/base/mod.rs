//! Floor 0: clock, hash, number text, glob, checksums, LZF, randomness, error texts and the log.
//! Knows nothing of Redis' data or of any socket.

pub mod error;

pub use error::Error;
