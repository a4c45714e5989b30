//! The append-only file: which files it is made of, and reading it.

pub mod manifest;

pub use manifest::{AofFile, AofKind, Manifest, ManifestError};
