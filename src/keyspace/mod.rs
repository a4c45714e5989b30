//! Floor 2: entries, shards, databases, expiry, watches and key events. Knows no command and no connection.

pub mod key;

pub use key::Key;
