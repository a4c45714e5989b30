//! Floor 6: replication: identity, feeds, PSYNC, the replica's link to its master.

mod apply;
mod brake;
pub mod commands;
pub mod failover;
pub mod fanout;
pub mod feed;
mod fence;
pub mod follower;
pub mod fullsync;
pub mod greeting;
pub mod handover;
pub mod handshake;
pub mod id;
mod link;
mod link_config;
pub mod master;
mod note;
mod progress;
pub mod psync;
mod rdb_channel;
mod receive;
pub mod replicaof;
pub mod report;
pub mod restart;
#[cfg(test)]
mod sim;
pub mod spill;
pub mod state;
mod timeline;
pub mod transfer;
pub mod upkeep;
pub mod verify;
pub mod wait;

pub use follower::{Follower, Hold};
pub use id::{Identity, ReplId, ReplOffset, Resume};
pub use note::{Note, address, printable};
pub use state::Repl;
