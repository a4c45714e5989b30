//! Floor 1: the wire protocol: requests in, replies out, and replies in. No I/O.
#![deny(clippy::unwrap_used)]

pub mod argv;
mod batch;
mod encode;
mod inline;
mod input;
mod protocol_error;
mod reader;
mod reply;

#[cfg(test)]
mod tests;

pub use argv::{Argv, OwnedArgv, Span};
pub use batch::Batch;
pub use encode::{encode_command, encoded_len};
pub use inline::split_words;
pub use input::{Input, Limits};
pub use protocol_error::ProtocolError;
pub use reader::{Frame, ReadError, ReaderLimits, ReplyReader};
pub use reply::{Deferred, Mark, Reply};
