//! Behaviour, seen from outside: real servers, real sockets, stock programs at the other end.
//!
//! `PANDO_BIN` puts another program in Pando's place; with the stock server there, every test must pass too.

mod boot;
#[allow(dead_code, unused_imports)]
mod harness;
mod master;
mod replica;
mod tools;
mod random;
mod replication;
mod stock_tools;
mod tools;
mod tutorials;
