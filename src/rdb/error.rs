//! What can be wrong with RDB bytes, always with the position. Must not know who asked for them.

use std::io;

/// Why a file, a stream or a DUMP payload cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RdbError {
    #[error("reading failed at byte {at}: {source}")]
    Io { at: u64, source: io::Error },
    #[error("byte 0: not an RDB: it begins with neither REDIS nor VALKEY and a version")]
    BadMagic,
    #[error("byte {at}: RDB version {number} is not known here (1 to 12 and Valkey's 80 are)")]
    Version { at: u64, number: u32 },
    #[error("it ends too early, at byte {at}")]
    Truncated { at: u64 },
    #[error("byte {at}: {what}")]
    Corrupt { at: u64, what: &'static str },
    #[error("byte {at}: {byte} is neither a type nor an opcode of this RDB version")]
    UnknownType { at: u64, byte: u8 },
    #[error("RDB CRC error: the checksum at byte {at} is {found:016x}, but the content gives {computed:016x}")]
    Checksum { at: u64, found: u64, computed: u64 },
    #[error("DUMP payload version or checksum are wrong")]
    Footer,
}

impl RdbError {
    /// The position the error speaks of, if it speaks of one.
    pub fn at(&self) -> Option<u64> {
        match self {
            Self::Io { at, .. }
            | Self::Version { at, .. }
            | Self::Truncated { at }
            | Self::Corrupt { at, .. }
            | Self::UnknownType { at, .. }
            | Self::Checksum { at, .. } => Some(*at),
            Self::BadMagic => Some(0),
            Self::Footer => None,
        }
    }
}

pub(super) type Result<T> = std::result::Result<T, RdbError>;
