//! Floor 2: entries, shards, databases, expiry, watches, waiters and key events. Knows no command and no connection.

mod bulk;
pub mod data;
pub mod entry;
pub mod event;
pub mod evict;
pub mod expire;
mod fields;
pub mod key;
pub mod shard;
pub mod unit;
pub mod value;
pub mod waiters;

pub use data::{Data, HeldShard, KeepTtl};
pub use entry::Entry;
pub use event::{Event, EventClass};
pub use key::Key;
pub use shard::{Keyspace, PreImage, ShardId};
pub use unit::{ExpirePolicy, Unit};
pub use value::{Aggregate, Object, Type, ValueRef};
pub use waiters::{Ready, Waiter};
