//! Entries ordered by their ids, as they stand in an RDB. Must not know whose they are.

use std::io::Read;

use super::error::Result;
use super::format::Kind;
use super::input::Input;
use super::value::WriteOptions;
use crate::ds::{Limits, stream::Stream};

/// How it is written.
pub(super) fn kind(_value: &Stream, _options: &WriteOptions) -> Kind {
    Kind::Stream2
}

pub(super) fn write(_out: &mut Vec<u8>, _value: &Stream, _options: &WriteOptions) {}

pub(super) fn read<R: Read>(_kind: Kind, input: &mut Input<R>, _limits: &Limits) -> Result<Stream> {
    input.corrupt("a type that is not understood")
}
