//! Floor 8: boot, listeners, connections, the cron, admin commands, shutdown.

pub mod acl_cmd;
mod balance;
pub mod banner;
pub mod boot;
pub mod commands;
pub mod config_cmd;
pub mod conn;
pub mod cron;
pub mod daemon;
pub mod debug;
pub mod info;
pub mod keyspace_cmd;
pub mod latency_cmd;
pub mod limits;
pub mod listen;
pub mod load;
pub mod memory_cmd;
pub mod migrate;
mod outlet;
pub mod proc_title;
pub mod shutdown;
pub mod signals;
pub mod slowlog_cmd;
pub mod time;
pub mod workers;

pub use boot::run;
