//! A whole tree of replicas on one thread, in virtual time, from a seed.
//!
//! The nodes are the shipped machines around the shipped log; only the keyspace, the network and the clock are toys. The
//! world delays and cuts connections, restarts and promotes nodes and hangs them elsewhere, then lets everything heal.
//! What must hold is checked on the way (see `world`). A failing seed prints itself; `SIM_SEED=<n>` replays it, with the
//! nodes' own log on standard error.

mod disk;
mod node;
mod world;

#[cfg(test)]
mod tests;
