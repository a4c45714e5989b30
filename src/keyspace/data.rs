//! What a data command sees: the databases, through the locks its unit holds.
//!
//! Every change of a key passes here, so that expiry, watches, events, the running snapshot and the counters are each
//! looked after in one place. Knows no command, no connection and no log.

use bytes::Bytes;
use parking_lot::MutexGuard;
use smallvec::SmallVec;

use super::entry::Entry;
use super::event::EventClass;
use super::evict::{Candidate, Policy};
use super::key::Key;
use super::shard::{Garbage, Keyspace, Shard, ShardId, WatchFlag};
use super::unit::{ExpirePolicy, Gone, Touch, Unit};
use super::value::{Aggregate, Type, ValueRef};
use crate::base::Error;
use crate::ds::dict::Slot;

/// What an overwrite does with the expiry that was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepTtl {
    Keep,
    Replace(Option<i64>),
}

/// What takes more allocations than this is freed off the worker.
const LAZY_FREE_EFFORT: usize = 64;

/// The shard locks of one unit.
enum Locks<'a> {
    One(ShardId, MutexGuard<'a, Shard>),
    /// The caller keeps the lock, for the unit that follows.
    Lent(ShardId, &'a mut Shard),
    /// In ascending order. Not inline: every unit would be larger for it, and is moved.
    Some(Vec<(ShardId, MutexGuard<'a, Shard>)>),
    /// The unit runs alone: locks are taken when first needed, in any order, as nobody else holds two.
    Alone(Vec<Option<MutexGuard<'a, Shard>>>),
}

/// A shard that stays locked from one unit to the next.
pub struct HeldShard<'a> {
    id: ShardId,
    guard: MutexGuard<'a, Shard>,
}

impl<'a> HeldShard<'a> {
    pub fn lock(ks: &'a Keyspace, id: ShardId) -> Self {
        Self { id, guard: ks.lock(id) }
    }

    #[inline]
    pub fn is(&self, id: ShardId) -> bool {
        self.id == id
    }

    /// Whether clients wait for keys of it: serving them may take more locks.
    #[inline]
    pub fn someone_waits(&self) -> bool {
        !self.guard.waiters.is_empty()
    }
}

pub struct Data<'a> {
    ks: &'a Keyspace,
    locks: Locks<'a>,
    pub unit: &'a mut Unit,
    /// The selected database.
    pub db: usize,
}

impl<'a> Data<'a> {
    /// For a unit whose only key has this hash.
    #[inline]
    pub fn lock_one(ks: &'a Keyspace, hash: u64, db: usize, unit: &'a mut Unit) -> Self {
        let id = ks.shard_of(hash);
        Self { ks, locks: Locks::One(id, ks.lock(id)), unit, db }
    }

    /// For a unit whose only key is of a shard that the caller has locked.
    #[inline]
    pub fn within(ks: &'a Keyspace, held: &'a mut HeldShard<'_>, db: usize, unit: &'a mut Unit) -> Self {
        Self { ks, locks: Locks::Lent(held.id, &mut held.guard), unit, db }
    }

    /// For a unit with these keys' hashes.
    pub fn lock_many(ks: &'a Keyspace, hashes: impl Iterator<Item = u64>, db: usize, unit: &'a mut Unit) -> Self {
        let mut ids: SmallVec<[ShardId; 16]> = hashes.map(|h| ks.shard_of(h)).collect();
        ids.sort_unstable();
        ids.dedup();
        Self { ks, locks: Locks::Some(ids.into_iter().map(|id| (id, ks.lock(id))).collect()), unit, db }
    }

    /// For a unit that runs alone: the caller holds every gate.
    pub fn lock_alone(ks: &'a Keyspace, db: usize, unit: &'a mut Unit) -> Self {
        Self { ks, locks: Locks::Alone((0..ks.shards()).map(|_| None).collect()), unit, db }
    }

    pub fn databases(&self) -> usize {
        self.ks.databases()
    }

    #[inline]
    pub(super) fn shard(&mut self, hash: u64) -> &mut Shard {
        locked(&mut self.locks, self.ks, hash)
    }

    /// Whether anybody waits for a key of the shards that this unit declared. A unit that runs alone may ask for any.
    #[inline]
    pub fn someone_waits(&self) -> bool {
        match &self.locks {
            Locks::One(_, guard) => !guard.waiters.is_empty(),
            Locks::Lent(_, shard) => !shard.waiters.is_empty(),
            Locks::Some(guards) => guards.iter().any(|(_, guard)| !guard.waiters.is_empty()),
            Locks::Alone(_) => false,
        }
    }

    /// The shard of a hash, if this unit holds it.
    pub(super) fn held(&self, hash: u64) -> Option<&Shard> {
        let id = self.ks.shard_of(hash);
        match &self.locks {
            Locks::One(held, guard) => (*held == id).then_some(&**guard),
            Locks::Lent(held, shard) => (*held == id).then_some(&**shard),
            Locks::Some(guards) => {
                let at = guards.binary_search_by_key(&id, |(held, _)| *held).ok()?;
                Some(&*guards[at].1)
            }
            Locks::Alone(guards) => guards[id.0 as usize].as_deref(),
        }
    }

    /// Lets the locks go and takes those of these hashes.
    pub(super) fn lock_again(&mut self, hashes: &[u64]) {
        let mut ids: SmallVec<[ShardId; 16]> = hashes.iter().map(|h| self.ks.shard_of(*h)).collect();
        ids.sort_unstable();
        ids.dedup();
        // Dropped before the first is taken: two are taken in ascending order only.
        self.locks = Locks::Some(Vec::new());
        self.locks = Locks::Some(ids.into_iter().map(|id| (id, self.ks.lock(id))).collect());
    }

    fn each_shard(&mut self, mut f: impl FnMut(&mut Shard, &mut Unit)) {
        for i in 0..self.ks.shards() {
            match &mut self.locks {
                Locks::Alone(guards) => {
                    f(guards[i as usize].get_or_insert_with(|| self.ks.lock(ShardId(i))), self.unit);
                }
                Locks::One(..) | Locks::Lent(..) | Locks::Some(_) => {
                    debug_assert!(false, "the unit does not run alone")
                }
            }
        }
    }

    // ---- looking ----

    /// Whether the key is there but its time is over, and what the policy makes of it.
    #[inline]
    fn is_over(&self, expire_ms: Option<i64>) -> bool {
        match expire_ms {
            Some(at) => at < self.unit.now_ms && self.unit.policy != ExpirePolicy::Ignore,
            None => false,
        }
    }

    /// Deletes the key if its time is over (on a master). True if it counts as absent.
    #[inline]
    fn expired(&mut self, key: Key<'_>) -> bool {
        let db = self.db;
        let at = self.shard(key.hash).dbs[db].dict.get(key.hash, key.bytes).and_then(Entry::expire_ms);
        if !self.is_over(at) {
            return false;
        }
        self.expire_now(key);
        true
    }

    #[cold]
    fn expire_now(&mut self, key: Key<'_>) {
        if !self.unit.policy.deletes() {
            return;
        }
        if let Some(entry) = self.take(key) {
            self.discard(entry);
            let db = self.db;
            self.unit.expired += 1;
            self.unit.gone.push(Gone { db, key: key.bytes.into(), fields: Vec::new() });
            self.unit.event(EventClass::EXPIRED, "expired", db, key.bytes);
        }
    }

    /// Deletes the key if its time is over: for the active cycle.
    pub fn expire(&mut self, key: Key<'_>) -> bool {
        self.expired(key)
    }

    /// The entry of a key, as a read sees it: counts as an access, a hit or a miss.
    #[inline]
    pub fn get(&mut self, key: Key<'_>) -> Option<&Entry> {
        if self.may_expire(key.hash) && self.expired(key) {
            return self.missed(key);
        }
        let (db, ks) = (self.db, self.ks);
        let unit = &mut *self.unit;
        match locked(&mut self.locks, ks, key.hash).dbs[db].dict.get(key.hash, key.bytes) {
            Some(entry) => {
                unit.hits += 1;
                touch(unit, entry);
                Some(entry)
            }
            None => {
                unit.misses += 1;
                unit.event(EventClass::KEY_MISS, "keymiss", db, key.bytes);
                None
            }
        }
    }

    #[cold]
    fn missed(&mut self, key: Key<'_>) -> Option<&Entry> {
        self.unit.misses += 1;
        self.unit.event(EventClass::KEY_MISS, "keymiss", self.db, key.bytes);
        None
    }

    /// As [`Data::get`] for a write's first look: counts as an access, but neither as hit nor as miss.
    #[inline]
    pub fn find(&mut self, key: Key<'_>) -> Option<&Entry> {
        if self.may_expire(key.hash) && self.expired(key) {
            return None;
        }
        let (db, ks) = (self.db, self.ks);
        let unit = &*self.unit;
        let entry = locked(&mut self.locks, ks, key.hash).dbs[db].dict.get(key.hash, key.bytes)?;
        touch(unit, entry);
        Some(entry)
    }

    /// Whether the key's shard has entries that expire at all: most often there is nothing to look up twice for.
    #[inline]
    fn may_expire(&mut self, hash: u64) -> bool {
        let db = self.db;
        self.shard(hash).dbs[db].expiring != 0
    }

    /// The entry of a key without counting as an access (OBJECT, DEBUG, TTL).
    pub fn peek(&mut self, key: Key<'_>) -> Option<&Entry> {
        if !self.look(key) {
            return None;
        }
        let db = self.db;
        self.shard(key.hash).dbs[db].dict.get(key.hash, key.bytes)
    }

    /// As [`Data::get`], but leaves no trace in the entry: EXISTS, TTL and TYPE are no use of the value.
    pub fn get_quietly(&mut self, key: Key<'_>) -> Option<&Entry> {
        let touch = std::mem::replace(&mut self.unit.touch, Touch::No);
        let found = self.get(key).is_some();
        self.unit.touch = touch;
        let db = self.db;
        if found { self.shard(key.hash).dbs[db].dict.get(key.hash, key.bytes) } else { None }
    }

    /// Whether the key is there with its time over (WATCH asks).
    pub fn is_expired(&mut self, key: Key<'_>) -> bool {
        let db = self.db;
        let at = self.shard(key.hash).dbs[db].dict.get(key.hash, key.bytes).and_then(Entry::expire_ms);
        at.is_some_and(|at| at < self.unit.now_ms)
    }

    /// What the key holds, without a trace of the look, not even of an expiry.
    pub fn kind(&mut self, key: Key<'_>) -> Option<Type> {
        let db = self.db;
        let (at, kind) = {
            let entry = self.shard(key.hash).dbs[db].dict.get(key.hash, key.bytes)?;
            (entry.expire_ms(), entry.value().kind())
        };
        (!self.is_over(at)).then_some(kind)
    }

    pub fn exists(&mut self, key: Key<'_>) -> bool {
        self.look(key)
    }

    #[inline]
    fn look(&mut self, key: Key<'_>) -> bool {
        let db = self.db;
        match self.shard(key.hash).dbs[db].dict.get(key.hash, key.bytes) {
            None => false,
            Some(e) => match e.expire_ms() {
                None => true,
                Some(_) => !self.expired(key),
            },
        }
    }

    /// The value of a string key, as a read sees it.
    #[inline]
    pub fn get_str(&mut self, key: Key<'_>) -> Result<Option<ValueRef<'_>>, Error> {
        match self.get(key).map(Entry::value) {
            Some(v) if v.kind() != Type::String => Err(Error::WrongType),
            v => Ok(v),
        }
    }

    /// The value of a key, as a read sees it.
    #[inline]
    pub fn read<T: Aggregate>(&mut self, key: Key<'_>) -> Result<Option<&T>, Error> {
        self.get(key).map(|entry| T::of(entry.value()).ok_or(Error::WrongType)).transpose()
    }

    /// The value of a key, as a write's first look sees it.
    #[inline]
    pub fn view<T: Aggregate>(&mut self, key: Key<'_>) -> Result<Option<&T>, Error> {
        self.find(key).map(|entry| T::of(entry.value()).ok_or(Error::WrongType)).transpose()
    }

    /// The value of a key that this unit has looked up already, once more: it can be held beside others. What the first
    /// look has found absent must not be asked for.
    #[inline]
    pub fn again<T: Aggregate>(&self, key: Key<'_>) -> Option<&T> {
        T::of(self.held(key.hash)?.dbs[self.db].dict.get(key.hash, key.bytes)?.value())
    }

    // ---- changing one key ----

    /// Changes the value of a key; `None` if there is none. It is not deleted here if it becomes empty: see
    /// [`Data::remove_if_empty`].
    #[inline]
    pub fn edit<T: Aggregate, R>(&mut self, key: Key<'_>, f: impl FnOnce(&mut T) -> R) -> Result<Option<R>, Error> {
        if self.may_expire(key.hash) && self.expired(key) {
            return Ok(None);
        }
        let (db, ks, unit) = (self.db, self.ks, &*self.unit);
        let shard = locked(&mut self.locks, ks, key.hash);
        shard.before_write(db, key.hash);
        let d = &mut shard.dbs[db];
        match d.dict.find_slot(key.hash, key.bytes) {
            Slot::Found(slot) => {
                let mut entry = slot.edit();
                touch(unit, &entry);
                let Some(value) = entry.object_mut().and_then(T::of_mut) else { return Err(Error::WrongType) };
                let before = value.deadline();
                let result = f(value);
                let after = value.deadline();
                drop(entry);
                d.deadline_moved(key.hash, before, after);
                Ok(Some(result))
            }
            Slot::Vacant(_) => Ok(None),
        }
    }

    /// As [`Data::edit`], but begins with an empty value if the key is not there; it comes to be unless it is left empty.
    #[inline]
    pub fn edit_or_new<T: Aggregate, R>(&mut self, key: Key<'_>, f: impl FnOnce(&mut T) -> R) -> Result<R, Error> {
        if self.may_expire(key.hash) {
            self.expired(key);
        }
        let (db, ks, unit) = (self.db, self.ks, &mut *self.unit);
        let shard = locked(&mut self.locks, ks, key.hash);
        shard.before_write(db, key.hash);
        let d = &mut shard.dbs[db];
        match d.dict.find_slot(key.hash, key.bytes) {
            Slot::Found(slot) => {
                let mut entry = slot.edit();
                touch(unit, &entry);
                let Some(value) = entry.object_mut().and_then(T::of_mut) else { return Err(Error::WrongType) };
                let before = value.deadline();
                let result = f(value);
                let after = value.deadline();
                drop(entry);
                d.deadline_moved(key.hash, before, after);
                Ok(result)
            }
            Slot::Vacant(slot) => {
                let mut value = T::default();
                let result = f(&mut value);
                if !value.is_spent() {
                    let deadline = value.deadline();
                    let entry = Entry::object(key.bytes, value.into_object(), None);
                    entry.set_access(unit.fresh_access());
                    slot.insert(entry);
                    d.deadline_moved(key.hash, None, deadline);
                    shard.after_insert(db, key.hash);
                    shard.rouse(db, key, unit);
                    unit.event(EventClass::NEW, "new", db, key.bytes);
                }
                Ok(result)
            }
        }
    }

    /// Deletes a key whose value has become empty, and tells of it. True if it did.
    pub fn remove_if_empty<T: Aggregate>(&mut self, key: Key<'_>) -> bool {
        let db = self.db;
        let dict = &self.shard(key.hash).dbs[db].dict;
        let value = dict.get(key.hash, key.bytes).and_then(|entry| T::of(entry.value()));
        if !value.is_some_and(T::is_spent) {
            return false;
        }
        drop(self.take(key));
        self.unit.event(EventClass::GENERIC, "del", db, key.bytes);
        true
    }

    /// Records that a key changed: watchers, listeners and the change counter learn of it. Called by whoever changed
    /// it, once per change and with the event's stock name.
    #[inline]
    pub fn changed(&mut self, key: Key<'_>, class: EventClass, event: &'static str) {
        let db = self.db;
        self.shard(key.hash).signal(db, key.bytes);
        self.unit.dirty += 1;
        self.unit.event(class, event, db, key.bytes);
    }

    /// There is more in a value than there was, or nothing more to wait for: whoever waits for the key is tried again. A
    /// key that comes to be, or goes, needs no telling.
    #[inline]
    pub fn rouse(&mut self, key: Key<'_>) {
        let db = self.db;
        locked(&mut self.locks, self.ks, key.hash).rouse(db, key, self.unit);
    }

    /// Writes a string over whatever was there. True if the key was there.
    #[inline]
    pub fn set_string(&mut self, key: Key<'_>, value: &[u8], own: Option<&Bytes>, ttl: KeepTtl) -> bool {
        if self.may_expire(key.hash) {
            // On a replica a stale entry stays, and is overwritten below.
            self.expired(key);
        }
        let db = self.db;
        let fresh = self.unit.fresh_access();
        let (ks, garbage) = (self.ks, &mut self.unit.garbage);
        let shard = locked(&mut self.locks, ks, key.hash);
        shard.before_write(db, key.hash);
        let d = &mut shard.dbs[db];
        match d.dict.find_slot(key.hash, key.bytes) {
            Slot::Found(slot) => {
                let mut entry = slot.edit();
                let old = entry.expire_ms();
                let parts = entry.value().deadline();
                if entry.value().free_effort() > LAZY_FREE_EFFORT {
                    garbage.extend(entry.take_object().map(Garbage::Object));
                }
                let new = match ttl {
                    KeepTtl::Keep => old,
                    KeepTtl::Replace(at) => at,
                };
                match own {
                    Some(own) => entry.set_string_bytes(own, new),
                    None => entry.set_string(value, new),
                }
                touch(self.unit, &entry);
                drop(entry);
                d.expiring = d.expiring + usize::from(new.is_some()) - usize::from(old.is_some());
                d.deadline_moved(key.hash, parts, None);
                if let Some(at) = new {
                    d.dict.note_deadline(key.hash, at);
                    self.unit.got_expiry(db, key.bytes);
                }
                // Who waits there for a value of another kind is to learn of it.
                shard.rouse(db, key, self.unit);
                true
            }
            Slot::Vacant(slot) => {
                let at = match ttl {
                    KeepTtl::Keep => None,
                    KeepTtl::Replace(at) => at,
                };
                let entry = match own {
                    Some(own) => Entry::string_bytes(key.bytes, own, at),
                    None => Entry::string(key.bytes, value, at),
                };
                entry.set_access(fresh);
                slot.insert(entry);
                d.expiring += usize::from(at.is_some());
                if let Some(at) = at {
                    d.dict.note_deadline(key.hash, at);
                    self.unit.got_expiry(db, key.bytes);
                }
                shard.after_insert(db, key.hash);
                self.unit.event(EventClass::NEW, "new", db, key.bytes);
                false
            }
        }
    }

    /// Changes the entry of a key that is there. The expiry must stay as it is: see [`Data::set_expire`].
    pub fn update<R>(&mut self, key: Key<'_>, f: impl FnOnce(&mut Entry) -> R) -> Option<R> {
        let db = self.db;
        let shard = self.shard(key.hash);
        shard.before_write(db, key.hash);
        match shard.dbs[db].dict.find_slot(key.hash, key.bytes) {
            Slot::Found(slot) => Some(f(&mut slot.edit())),
            Slot::Vacant(_) => None,
        }
    }

    /// Puts an entry under its own key. Whatever was there is gone first, and the key a new one.
    pub fn put(&mut self, key: Key<'_>, entry: Entry) {
        self.place(key, entry);
        let db = self.db;
        self.unit.event(EventClass::NEW, "new", db, key.bytes);
    }

    /// Puts an entry under its own key, as another value of the same key if there is one.
    pub fn overwrite(&mut self, key: Key<'_>, entry: Entry) {
        let (db, there) = (self.db, self.look(key));
        self.place(key, entry);
        if !there {
            self.unit.event(EventClass::NEW, "new", db, key.bytes);
        }
    }

    fn place(&mut self, key: Key<'_>, entry: Entry) {
        debug_assert_eq!(entry.key(), key.bytes);
        if let Some(old) = self.take(key) {
            self.discard(old);
        }
        // Zero is no history: a new entry counts as used now.
        if entry.access() == 0 {
            entry.set_access(self.unit.fresh_access());
        }
        let db = self.db;
        let (at, parts) = (entry.expire_ms(), entry.value().deadline());
        if at.is_some() {
            self.unit.got_expiry(db, key.bytes);
        }
        let shard = locked(&mut self.locks, self.ks, key.hash);
        shard.before_write(db, key.hash);
        let d = &mut shard.dbs[db];
        d.dict.insert(key.hash, entry);
        d.expiring += usize::from(at.is_some());
        d.deadline_moved(key.hash, None, parts);
        if let Some(at) = at {
            d.dict.note_deadline(key.hash, at);
        }
        shard.after_insert(db, key.hash);
        shard.rouse(db, key, self.unit);
    }

    /// Adds an entry whose key should be new; false, and nothing is changed, if it is there.
    pub fn add(&mut self, key: Key<'_>, entry: Entry) -> bool {
        let db = self.db;
        if self.shard(key.hash).dbs[db].dict.get(key.hash, key.bytes).is_some() {
            return false;
        }
        self.put(key, entry);
        true
    }

    /// Takes an entry out, expired or not. The caller tells of the change.
    pub fn take(&mut self, key: Key<'_>) -> Option<Entry> {
        let db = self.db;
        let shard = locked(&mut self.locks, self.ks, key.hash);
        shard.before_write(db, key.hash);
        let d = &mut shard.dbs[db];
        let entry = d.dict.remove(key.hash, key.bytes)?;
        d.expiring -= usize::from(entry.expire_ms().is_some());
        d.deadline_moved(key.hash, entry.value().deadline(), None);
        shard.signal(db, key.bytes);
        shard.rouse(db, key, self.unit);
        Some(entry)
    }

    /// Deletes a key and tells of it. True if it was there.
    pub fn delete(&mut self, key: Key<'_>) -> bool {
        if self.expired(key) {
            return false;
        }
        let Some(entry) = self.take(key) else { return false };
        self.discard(entry);
        self.changed(key, EventClass::GENERIC, "del");
        true
    }

    /// Takes a key out to make room, unless it was used or went since it was chosen. The caller tells replicas, and
    /// frees the entry when it no longer holds the lock.
    pub fn evict(&mut self, victim: &Candidate, policy: Policy) -> Option<Entry> {
        let key = Key { bytes: &victim.key, hash: victim.hash };
        let (db, now_ms) = (self.db, self.unit.now_ms);
        let entry = self.shard(key.hash).dbs[db].dict.get(key.hash, key.bytes)?;
        if policy.rank(entry, now_ms).is_none_or(|rank| rank > victim.rank) {
            return None;
        }
        let entry = self.take(key);
        self.unit.event(EventClass::EVICTED, "evicted", db, key.bytes);
        entry
    }

    /// Gives an entry's memory back: a small one at once, a large one off the worker.
    fn discard(&mut self, entry: Entry) {
        match entry.value() {
            ValueRef::Large(_) => self.unit.garbage.push(Garbage::Entry(entry)),
            value if value.free_effort() > LAZY_FREE_EFFORT => self.unit.garbage.push(Garbage::Entry(entry)),
            _ => drop(entry),
        }
    }

    /// Sets or removes the expiry of a key that is there.
    pub fn set_expire(&mut self, key: Key<'_>, at: Option<i64>) {
        let db = self.db;
        let shard = self.shard(key.hash);
        shard.before_write(db, key.hash);
        let d = &mut shard.dbs[db];
        if let Slot::Found(slot) = d.dict.find_slot(key.hash, key.bytes) {
            let mut entry = slot.edit();
            let old = entry.expire_ms();
            entry.set_expire_ms(at);
            drop(entry);
            d.expiring = d.expiring + usize::from(at.is_some()) - usize::from(old.is_some());
            if let Some(at) = at {
                d.dict.note_deadline(key.hash, at);
                self.unit.got_expiry(db, key.bytes);
            }
        }
    }

    // ---- watching ----

    pub fn watch(&mut self, key: Key<'_>, flag: &WatchFlag) {
        let (db, stale) = (self.db, self.is_expired(key));
        self.shard(key.hash).watch(db, key.bytes, flag, stale);
    }

    /// Whether a watched key's time ran out since it was watched.
    pub fn went_stale(&mut self, key: Key<'_>, flag: &WatchFlag) -> bool {
        let (db, now_ms) = (self.db, self.unit.now_ms);
        self.shard(key.hash).went_stale(db, key.bytes, flag, now_ms)
    }

    // ---- whole databases: only for units that run alone ----

    /// Keys in the selected database.
    pub fn len(&mut self) -> usize {
        let (db, mut n) = (self.db, 0);
        self.each_shard(|shard, _| n += shard.dbs[db].dict.len());
        n
    }

    pub fn is_empty(&mut self) -> bool {
        self.len() == 0
    }

    /// Visits every live key of the selected database.
    pub fn for_each(&mut self, mut f: impl FnMut(&Entry)) {
        let db = self.db;
        self.each_shard(|shard, unit| {
            let over = |at: i64| at < unit.now_ms && unit.policy != ExpirePolicy::Ignore;
            shard.dbs[db].dict.iter().filter(|e| !e.expire_ms().is_some_and(over)).for_each(&mut f);
        });
    }

    /// Empties the selected database. Returns how many keys went.
    pub fn flush(&mut self) -> usize {
        let (db, bits, mut n) = (self.db, self.ks.shard_bits(), 0);
        self.each_shard(|shard, unit| {
            n += shard.dbs[db].dict.len();
            shard.signal_replaced(db, None, unit.now_ms);
            unit.garbage.extend(shard.take_db(db, bits).map(Garbage::Dict));
            shard.waiters.note_all(db, unit, |_| false);
        });
        self.unit.dirty += n as u64;
        n
    }

    /// Notes all keys of a database that somebody waits for and that are there: the whole of it may have changed.
    pub(super) fn note_waited_for(&mut self, db: usize) {
        self.each_shard(|shard, unit| {
            let dict = &shard.dbs[db].dict;
            shard.waiters.note_all(db, unit, |key| dict.get(key.hash, key.bytes).is_some());
        });
    }

    /// Exchanges two databases.
    pub fn swap(&mut self, a: usize, b: usize) {
        if a == b {
            return;
        }
        self.each_shard(|shard, unit| {
            shard.signal_replaced(a, Some(b), unit.now_ms);
            shard.signal_replaced(b, Some(a), unit.now_ms);
            shard.dbs.swap(a, b);
        });
        self.note_waited_for(a);
        self.note_waited_for(b);
        self.unit.dirty += 1;
    }
}

/// The shard of a hash, among those the unit holds.
#[inline(always)]
fn locked<'l, 'a>(locks: &'l mut Locks<'a>, ks: &'a Keyspace, hash: u64) -> &'l mut Shard {
    let id = ks.shard_of(hash);
    match locks {
        Locks::One(held, guard) => {
            debug_assert_eq!(*held, id, "a unit touched a key it did not declare");
            guard
        }
        Locks::Lent(held, shard) => {
            debug_assert_eq!(*held, id, "a unit touched a key it did not declare");
            shard
        }
        Locks::Some(guards) => {
            let at = guards.binary_search_by_key(&id, |(held, _)| *held);
            &mut guards[at.expect("a unit touched a key it did not declare")].1
        }
        Locks::Alone(guards) => guards[id.0 as usize].get_or_insert_with(|| ks.lock(id)),
    }
}

/// Records an access in the entry; it is written only if that changes anything.
#[inline]
fn touch(unit: &Unit, entry: &Entry) {
    let old = entry.access();
    let new = unit.touched(old);
    if new != old {
        entry.set_access(new);
    }
}

/// A step through one database in hash order, for SCAN: locks one shard at a time, so it needs no unit.
pub struct ScanStep {
    /// Where to go on; 0: all was seen.
    pub cursor: u64,
}

impl Keyspace {
    /// Bits of a SCAN cursor that say the position inside a shard.
    const SCAN_BITS: u32 = 48;

    /// Visits at least `count` entries from `cursor` on, if there are that many. Cursors are hash prefixes: growth does
    /// not disturb them. `f` may not touch the keyspace.
    pub fn scan(&self, db: usize, cursor: u64, count: usize, mut f: impl FnMut(&Entry)) -> ScanStep {
        // The shard's number is above the position, so a cursor stays below 2^62 and is 0 only at the beginning.
        let mut id = (cursor >> Self::SCAN_BITS) as u32;
        let mut at = cursor & ((1 << Self::SCAN_BITS) - 1);
        let mut left = count.max(1);
        while id < self.shards() {
            let shard = self.lock(ShardId(id));
            let dict = &shard.dbs[db].dict;
            loop {
                if dict.is_empty() {
                    break;
                }
                let mut seen = 0;
                at = dict.scan(at, left, |e| {
                    seen += 1;
                    f(e);
                });
                left = left.saturating_sub(seen);
                if at == 0 || left == 0 {
                    break;
                }
            }
            if at == 0 {
                id += 1;
            }
            if left == 0 {
                break;
            }
        }
        let cursor = if id >= self.shards() { 0 } else { u64::from(id) << Self::SCAN_BITS | at };
        ScanStep { cursor }
    }

    /// A key chosen at random from one database, near to uniformly; `None` if it is empty.
    pub fn random_key(&self, db: usize) -> Option<(Vec<u8>, Option<i64>)> {
        let sizes: Vec<usize> = (0..self.shards()).map(|i| self.lock(ShardId(i)).dbs[db].dict.len()).collect();
        let total: usize = sizes.iter().sum();
        if total == 0 {
            return None;
        }
        let mut at = crate::base::rand::below(total as u64) as usize;
        for (i, n) in sizes.into_iter().enumerate() {
            if at < n {
                let shard = self.lock(ShardId(i as u32));
                let entry = shard.dbs[db].dict.random(crate::base::rand::u64());
                return entry.map(|e| (e.key().to_vec(), e.expire_ms()));
            }
            at -= n;
        }
        None
    }
}
