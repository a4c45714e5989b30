//! What the tests stand on: servers, a client, a proxy, a fake master, and waiting.
//!
//! Knows nothing of Pando's insides: everything goes through processes and sockets.

mod client;
mod dump;
mod ear;
mod fake;
mod group;
mod kind;
mod port;
mod proxy;
mod server;
mod tests;
mod wait;

pub use client::{Client, Reply, line_of, words};
pub use dump::{carry, carry_back};
pub use ear::Ear;
pub use fake::{FakeMaster, Peer};
pub use group::{chain, converge, follow, link_down, link_up, offset};
pub use kind::Kind;
pub use port::Port;
pub use proxy::Proxy;
pub use server::{Server, run_to_end};
pub use wait::{LIMIT, wait_for, wait_until};
