//! Behaviour, seen from outside: real servers, real sockets, stock programs at the other end.
//!
//! `PANDO_BIN` puts another program in Pando's place; with the stock server there, every test must pass too.

mod aof_crash;
mod aof_load;
mod append_only;
mod basics;
mod blocking;
mod blocking_random;
mod boot;
mod by_table;
mod chaos;
mod clients;
mod conf_dir;
mod config;
mod differential;
mod harness;
mod master;
mod maxmemory;
mod migrate;
mod pair;
mod persist;
mod random;
mod refusals;
mod replica;
mod replication;
mod sentinel;
mod stock_tools;
mod tools;
mod tutorials;
mod types_bits;
mod types_geo;
mod types_hash;
mod types_hash_ttl;
mod types_hll;
mod types_list;
mod types_set;
mod types_sort;
mod types_stream;
mod types_string;
mod types_zset;
mod workers;
