//! Finding keys whose time is over before anybody asks for them.
//!
//! Each segment of a dictionary notes the earliest expiry it may hold, so that a pass touches only segments where
//! something is due. Deleting is the caller's: it must be told to replicas.

use super::shard::{Keyspace, ShardId};

/// What expired of one database in one shard.
#[derive(Debug, Default)]
pub struct Due {
    pub keys: Vec<Box<[u8]>>,
    /// Hashes with fields that did.
    pub hashes: Vec<Box<[u8]>>,
}

impl Due {
    pub fn len(&self) -> usize {
        self.keys.len() + self.hashes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Keyspace {
    /// Collects up to about `limit` keys of a shard's part of a database that expired before `now_ms`, or of hashes with
    /// fields that did. Segments whose
    /// keys were all collected are marked with the next deadline among those that stay.
    pub fn due_keys(&self, id: ShardId, db: usize, now_ms: i64, limit: usize) -> Due {
        let mut due = Due::default();
        let mut shard = self.lock(id);
        let d = &mut shard.dbs[db];
        if d.expiring == 0 && d.volatile == 0 {
            return due;
        }
        let mut cursor = 0;
        while due.len() < limit
            && let Some(at) = d.dict.due_segment(cursor, now_ms)
        {
            let mut next_deadline = i64::MAX;
            for entry in d.dict.entries_at(at) {
                let (expire_ms, parts) = (entry.expire_ms(), entry.value().deadline());
                if expire_ms.is_some_and(|at| at < now_ms) {
                    due.keys.push(entry.key().into());
                    continue;
                }
                // A hash stays due until a later pass finds its fields gone: they may be too many for one.
                let later = expire_ms.unwrap_or(i64::MAX).min(parts.unwrap_or(i64::MAX));
                next_deadline = next_deadline.min(later);
                if parts.is_some_and(|at| at < now_ms) {
                    due.hashes.push(entry.key().into());
                }
            }
            // What was collected is about to go; should it stay (a replica's role came between), lookups still see it
            // as expired.
            d.dict.set_deadline_at(at, next_deadline);
            match d.dict.segment_at(at).and_then(|(_, next)| next) {
                Some(next) => cursor = next,
                None => break,
            }
        }
        due
    }
}
