//! Floor 6: replication: identity, feeds, PSYNC, the replica's link to its master.

pub mod handshake;
pub mod id;
mod note;
pub mod psync;
pub mod transfer;

pub use id::{Identity, ReplId, ReplOffset, Resume};
pub use note::{Note, address, printable};
