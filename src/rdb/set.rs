//! Members without order, as they stand in an RDB. Must not know whose they are.

use std::io::Read;

use super::error::Result;
use super::format::Kind;
use super::input::Input;
use super::value::WriteOptions;
use crate::ds::{Limits, set::Set};

/// How it is written.
pub(super) fn kind(_value: &Set, _options: &WriteOptions) -> Kind {
    Kind::Set
}

pub(super) fn write(_out: &mut Vec<u8>, _value: &Set, _options: &WriteOptions) {}

pub(super) fn read<R: Read>(_kind: Kind, input: &mut Input<R>, _limits: &Limits) -> Result<Set> {
    input.corrupt("a type that is not understood")
}
