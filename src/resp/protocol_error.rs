//! What a client can do wrong before there is a command, with the stock wording. The connection ends after it.

use std::borrow::Cow;

use crate::base::Error;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    #[error("Protocol error: invalid multibulk length")]
    MultibulkLength,
    #[error("Protocol error: too big mbulk count string")]
    MultibulkCountTooBig,
    #[error("Protocol error: unauthenticated multibulk length")]
    UnauthenticatedMultibulk,
    #[error("Protocol error: expected '$', got '{}'", printable(*.0))]
    ExpectedDollar(u8),
    #[error("Protocol error: invalid bulk length")]
    BulkLength,
    #[error("Protocol error: too big bulk count string")]
    BulkCountTooBig,
    #[error("Protocol error: unauthenticated bulk length")]
    UnauthenticatedBulk,
    #[error("Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
    #[error("Protocol error: too big inline request")]
    InlineTooBig,
    /// More is buffered than `client-query-buffer-limit` allows. Stock servers log it and hang up without a word.
    #[error("client reached max query buffer length")]
    QueryBufferLimit,
}

/// An error line holds no line end, and is text here.
fn printable(byte: u8) -> char {
    if matches!(byte, b'\r' | b'\n') { ' ' } else { char::from(byte) }
}

impl ProtocolError {
    /// What the client is told before the connection is closed, if anything.
    pub fn reply(self) -> Option<Error> {
        match self {
            Self::QueryBufferLimit => None,
            Self::MultibulkLength
            | Self::MultibulkCountTooBig
            | Self::UnauthenticatedMultibulk
            | Self::ExpectedDollar(_)
            | Self::BulkLength
            | Self::BulkCountTooBig
            | Self::UnauthenticatedBulk
            | Self::UnbalancedQuotes
            | Self::InlineTooBig => Some(Error::Text(Cow::Owned(format!("ERR {self}")))),
        }
    }
}
