//! The append-only file: which files it is made of, and reading it.

pub mod files;
pub mod load;
pub mod manifest;
pub mod reader;

pub use load::LoadedAof;
pub use manifest::{AofFile, AofKind, Manifest, ManifestError};
