//! Floor 1: the data structures. No I/O, no clock, no tokio.

pub mod dict;
pub mod listpack;
