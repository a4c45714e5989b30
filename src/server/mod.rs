//! Floor 8: boot, listeners, connections, the cron, admin commands, shutdown.

pub mod boot;
pub mod commands;
pub mod config_cmd;
pub mod conn;
pub mod cron;
pub mod keyspace_cmd;
pub mod listen;
pub mod workers;

pub use boot::run;
