//! Many new entries at once, as a load brings them. Knows no file, and serves nobody who waits for a key.

use super::entry::Entry;
use super::shard::{Keyspace, ShardId};
use crate::ds::dict::Slot;

/// How many entries ahead the bucket is asked for.
const AHEAD: usize = 8;

impl Keyspace {
    /// Adds entries with their keys' hashes, all of one shard, whose keys should be new. The first whose key is there
    /// comes back; those behind it are dropped.
    pub fn add_all(&self, db: usize, id: ShardId, entries: &mut Vec<(u64, Entry)>) -> Result<(), Entry> {
        let mut shard = self.lock(id);
        for (hash, _) in entries.iter().take(AHEAD) {
            shard.dbs[db].dict.prefetch(*hash);
        }
        let mut left = entries.drain(..);
        while let Some((hash, entry)) = left.next() {
            if let Some((ahead, _)) = left.as_slice().get(AHEAD - 1) {
                shard.dbs[db].dict.prefetch(*ahead);
            }
            shard.before_write(db, hash);
            let d = &mut shard.dbs[db];
            let (at, parts) = (entry.expire_ms(), entry.value().deadline());
            match d.dict.find_slot(hash, entry.key()) {
                Slot::Found(_) => return Err(entry),
                Slot::Vacant(slot) => slot.insert(entry),
            }
            d.expiring += usize::from(at.is_some());
            d.deadline_moved(hash, None, parts);
            if let Some(at) = at {
                d.dict.note_deadline(hash, at);
            }
            shard.after_insert(db, hash);
        }
        Ok(())
    }
}
