//! Floor 6: replication: identity, feeds, PSYNC, the replica's link to its master.

pub mod failover;
pub mod greeting;
pub mod handshake;
pub mod id;
pub mod master;
mod note;
pub mod psync;
#[cfg(test)]
mod sim;
pub mod state;
pub mod transfer;
pub mod wait;

pub use id::{Identity, ReplId, ReplOffset, Resume};
pub use note::{Note, address, printable};
pub use state::Repl;
