//! A consumer group: how far it has read, and who has been given what and has not acknowledged it yet (the pending entries list).
//!
//! What is pending is kept once for the group, with its consumer, and once more by id alone for each consumer. Knows no entries.

use std::collections::{BTreeMap, BTreeSet};

use super::id::StreamId;

/// In the place of a count that is not known.
pub const UNKNOWN: i64 = -1;

#[derive(Clone, Debug, Default)]
pub struct Group {
    /// The last entry that was given to anybody.
    pub last_id: StreamId,
    /// How many entries the group has read since the stream began; [`UNKNOWN`] if that cannot be said.
    pub entries_read: i64,
    pending: BTreeMap<StreamId, Pending>,
    names: BTreeMap<Box<[u8]>, ConsumerId>,
    /// By [`ConsumerId`].
    slots: Vec<Option<Consumer>>,
    free: Vec<ConsumerId>,
}

/// A consumer of one group, good as long as it is not removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerId(u32);

#[derive(Clone, Debug)]
pub struct Consumer {
    pub name: Box<[u8]>,
    /// Unix time in ms of the last attempt to read or claim.
    pub seen_ms: i64,
    /// Unix time in ms of the last one that was successful; -1: there was none.
    pub active_ms: i64,
    pending: BTreeSet<StreamId>,
}

impl Consumer {
    /// Ids of what it has not acknowledged.
    pub fn pending(&self) -> &BTreeSet<StreamId> {
        &self.pending
    }
}

/// An entry that was delivered and not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    pub consumer: ConsumerId,
    pub delivered_ms: i64,
    /// How often it was delivered.
    pub count: u64,
}

impl Group {
    pub fn new(last_id: StreamId, entries_read: i64) -> Self {
        Self { last_id, entries_read, ..Self::default() }
    }

    /// What is pending, by id.
    pub fn pending(&self) -> &BTreeMap<StreamId, Pending> {
        &self.pending
    }

    pub fn pending_mut(&mut self, id: StreamId) -> Option<&mut Pending> {
        self.pending.get_mut(&id)
    }

    // ---- consumers ----

    /// The consumers in the order of their names.
    pub fn consumers(&self) -> impl ExactSizeIterator<Item = &Consumer> {
        self.names.values().map(|id| self.consumer(*id))
    }

    pub fn find(&self, name: &[u8]) -> Option<ConsumerId> {
        self.names.get(name).copied()
    }

    /// # Panics
    /// If the consumer was removed.
    pub fn consumer(&self, id: ConsumerId) -> &Consumer {
        self.slots[id.0 as usize].as_ref().expect("a consumer that is there")
    }

    /// # Panics
    /// If the consumer was removed.
    pub fn consumer_mut(&mut self, id: ConsumerId) -> &mut Consumer {
        self.slots[id.0 as usize].as_mut().expect("a consumer that is there")
    }

    /// Adds a consumer; `None` if there is one of that name.
    pub fn create(&mut self, name: &[u8], seen_ms: i64) -> Option<ConsumerId> {
        if self.names.contains_key(name) {
            return None;
        }
        let consumer = Consumer { name: name.into(), seen_ms, active_ms: -1, pending: BTreeSet::new() };
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            ConsumerId(self.slots.len() as u32 - 1)
        });
        self.slots[id.0 as usize] = Some(consumer);
        self.names.insert(name.into(), id);
        Some(id)
    }

    /// Removes a consumer and all that is pending for it. Gives how much that was.
    pub fn remove(&mut self, name: &[u8]) -> Option<usize> {
        let id = self.names.remove(name)?;
        let consumer = self.slots[id.0 as usize].take()?;
        self.free.push(id);
        for entry in &consumer.pending {
            self.pending.remove(entry);
        }
        Some(consumer.pending.len())
    }

    // ---- the pending entries list ----

    /// Notes an entry as pending for a consumer, whomever it was pending for before.
    pub fn assign(&mut self, id: StreamId, consumer: ConsumerId, delivered_ms: i64, count: u64) {
        let before = self.pending.insert(id, Pending { consumer, delivered_ms, count });
        if let Some(before) = before.filter(|before| before.consumer != consumer) {
            self.consumer_mut(before.consumer).pending.remove(&id);
        } else if before.is_some() {
            return;
        }
        self.consumer_mut(consumer).pending.insert(id);
    }

    /// Takes an entry off the list. Gives what was noted of it.
    pub fn ack(&mut self, id: StreamId) -> Option<Pending> {
        let pending = self.pending.remove(&id)?;
        self.consumer_mut(pending.consumer).pending.remove(&id);
        Some(pending)
    }

    /// Heap bytes, by a rule of thumb for what is in the trees.
    pub(super) fn memory_bytes(&self) -> usize {
        let names: usize = self.consumers().map(|c| 2 * c.name.len()).sum();
        self.pending.len() * 80 + self.slots.capacity() * size_of::<Option<Consumer>>() + self.names.len() * 48 + names
    }

    pub(super) fn free_effort(&self) -> usize {
        1 + self.pending.len() / 4 + 3 * self.slots.len()
    }
}
