//! The append-only file: which files it is made of, writing them and reading them.

pub mod check;
pub mod files;
mod lanes;
pub mod load;
pub mod manifest;
pub mod position;
pub mod reader;
pub mod restore;
mod rewrite;
mod state;
#[cfg(test)]
mod tests;
pub mod values;
mod writer;

pub use load::LoadedAof;
pub use manifest::{AofFile, AofKind, Manifest, ManifestError};
pub use rewrite::Begun;
pub use state::{Aof, Mode, history_path, tail_on_disk};
