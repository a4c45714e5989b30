//! Pando: a Redis-compatible server whose heart is replication.
//!
//! The modules stand on floors (see ARCHITECTURE.md); one imports only from the floors below it.
//! `tests/tidy.rs` checks that.

// Floor 0
pub mod base;
// Floor 1
pub mod ds;
pub mod resp;
// Floor 2
pub mod keyspace;
// Floor 3
pub mod acl;
pub mod config;
pub mod oplog;
pub mod rdb;
pub mod spec;
pub mod stats;
// Floor 4
pub mod cmd;
// Floor 5
pub mod exec;
// Floor 6
pub mod persist;
pub mod repl;
// Floor 8
pub mod server;
pub mod tools;
