//! Floor 6: snapshots to files and from files.

pub mod aof;
pub mod census;
pub mod commands;
pub mod disk;
pub mod history;
pub mod load;
mod loader;
pub mod save;
pub mod temp;
pub mod walk;

pub use aof::Aof;
pub use load::{LoadError, Loaded};
pub use save::Saver;
