//! Floor 1: the data structures. No I/O, no clock, no tokio.

pub mod bits;
mod btree;
pub mod dict;
pub mod geo;
pub mod hash;
pub mod hll;
pub mod intset;
mod limits;
pub mod list;
pub mod listpack;
pub mod member;
pub mod partial_sort;
pub mod set;
pub mod stream;
pub mod zset;

pub use limits::Limits;
