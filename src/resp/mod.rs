//! Floor 1: the wire protocol: requests in, replies out, and replies in. No I/O.
#![deny(clippy::unwrap_used)]

pub mod argv;

pub use argv::{Argv, OwnedArgv, Span};
