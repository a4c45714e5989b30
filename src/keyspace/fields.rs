//! Fields of hashes that go when their time is over: on access, as far as they are asked for, or by the active cycle.
//!
//! Knows no command. What is told to replicas is the executor's business; here it is put down as gone.

use super::data::Data;
use super::event::EventClass;
use super::key::Key;
use super::unit::Gone;
use super::value::Aggregate;
use crate::ds::hash::Hash;

impl Data<'_> {
    /// To be called before fields of a hash are looked at: takes out those of them whose time is over, if this unit may,
    /// and tells of them one by one. Others of the same hash stay until they are asked for, or the cycle comes.
    #[inline]
    pub fn expire_fields<'f>(&mut self, key: Key<'_>, fields: impl Iterator<Item = &'f [u8]>) {
        let db = self.db;
        if self.shard(key.hash).dbs[db].volatile != 0 {
            let (gone, _) = self.take_fields(key, |hash, now_ms, gone| {
                fields.for_each(|field| hash.take_if_due(field, now_ms, gone));
            });
            self.tell_gone(key, gone.into_iter().map(|field| vec![field]));
        }
    }

    /// Takes out fields whose time is over, about `limit` of them, and tells of them one by one.
    pub fn expire_all_fields(&mut self, key: Key<'_>, limit: usize) {
        let db = self.db;
        if self.shard(key.hash).dbs[db].volatile != 0 {
            let (gone, _) = self.take_fields(key, |hash, now_ms, gone| hash.take_due(now_ms, limit, gone));
            self.tell_gone(key, gone.into_iter().map(|field| vec![field]));
        }
    }

    /// As [`Data::expire_all_fields`], but tells of them together. True if some are still to go.
    pub fn expire_due_fields(&mut self, key: Key<'_>, limit: usize) -> bool {
        let (gone, rest) = self.take_fields(key, |hash, now_ms, gone| hash.take_due(now_ms, limit, gone));
        self.tell_gone(key, std::iter::once(gone).filter(|gone| !gone.is_empty()));
        rest
    }

    /// What `take` takes out of a hash that is due, and whether it is due still.
    #[cold]
    fn take_fields(
        &mut self,
        key: Key<'_>,
        take: impl FnOnce(&mut Hash, i64, &mut Vec<Box<[u8]>>),
    ) -> (Vec<Box<[u8]>>, bool) {
        let (db, now_ms) = (self.db, self.unit.now_ms);
        let over = |at: Option<i64>| at.is_some_and(|at| at < now_ms);
        let mut gone = Vec::new();
        let entry = self.shard(key.hash).dbs[db].dict.get(key.hash, key.bytes);
        let due = entry.is_some_and(|e| !over(e.expire_ms()) && over(e.value().deadline()));
        if !due || !self.unit.policy.deletes() {
            return (gone, false);
        }
        let moved = self.update(key, |entry| {
            let hash = entry.object_mut().and_then(Hash::of_mut)?;
            let before = hash.deadline();
            take(hash, now_ms, &mut gone);
            Some((before, hash.deadline()))
        });
        let Some((before, after)) = moved.flatten() else { return (gone, false) };
        self.shard(key.hash).dbs[db].deadline_moved(key.hash, before, after);
        (gone, over(after))
    }

    /// Tells of fields that went by themselves, in as many requests as there are lists of them.
    fn tell_gone(&mut self, key: Key<'_>, gone: impl Iterator<Item = Vec<Box<[u8]>>>) {
        let (db, before) = (self.db, self.unit.gone.len());
        for fields in gone {
            self.unit.expired_fields += fields.len() as u64;
            self.unit.gone.push(Gone { db, key: key.bytes.into(), fields });
        }
        if self.unit.gone.len() > before {
            self.shard(key.hash).signal(db, key.bytes);
            self.unit.event(EventClass::HASH, "hexpired", db, key.bytes);
            self.remove_if_empty::<Hash>(key);
        }
    }
}
