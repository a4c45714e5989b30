//! A stream: entries in the order of their ids, kept in nodes of stock's format, and the groups of consumers that read them.
//!
//! ```text
//! nodes:   5-0 ──▶ | 5-0 5-3 (6-0) 7-1 |      9-2 ──▶ | 9-2 9-4 |        (6-0) is deleted
//! groups:  name ──▶ last id, entries read, pending entries, consumers
//! ```
//! The nodes lie in an ordered map by the id that the first entry had: finding an id is a search in the map and a walk through
//! one node. No clock: who needs the time is given it.

mod group;
mod id;
mod lag;
mod node;
mod radix;
mod range;
mod trim;

use std::collections::BTreeMap;

pub use group::{Consumer, ConsumerId, Group, Pending, UNKNOWN};
pub use id::{IdText, StreamId};
pub use node::{CorruptNode, Entry, Node};
pub use range::{Range, RangeBack};
pub use trim::{Bound, Trim, Trimmed};

use crate::ds::Limits;
use lag::Counters;
use range::Nodes;

/// Stock's limit for the fields and values of one entry, and for a node.
const MAX_BYTES: usize = 1 << 30;
/// What a fresh node reserves at most.
const FIRST_ROOM: usize = 512;

/// What an entry to be added is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewId {
    /// The time, or the one after the last id if that is ahead.
    Auto,
    /// This millisecond, with the next free number.
    Ms(u64),
    Exact(StreamId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddError {
    /// Not larger than the last id.
    Id,
    TooLarge,
}

/// What a deletion does about groups that hold the entry as pending, or have not read it yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Refs {
    /// Nothing: they keep the id.
    #[default]
    Keep,
    /// They forget it.
    Drop,
    /// Entries of which a group is not done are not deleted.
    Acked,
}

/// What became of an entry that was to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    Yes,
    Absent,
    /// A group is not done with it ([`Refs::Acked`]).
    Referenced,
}

#[derive(Clone, Debug, Default)]
pub struct Stream {
    nodes: Nodes,
    /// Nodes that stock's radix tree would have below its root for these ids.
    tree: usize,
    length: u64,
    /// The largest id there ever was, or what XSETID said.
    pub last_id: StreamId,
    /// The smallest id there is; 0-0 without entries.
    pub first_id: StreamId,
    /// The largest id that was deleted by itself, not trimmed away.
    pub max_deleted_id: StreamId,
    /// How many entries were ever added.
    pub entries_added: u64,
    groups: BTreeMap<Box<[u8]>, Group>,
}

impl Stream {
    /// As it was written down: nodes by their ids, and how many entries there are said to be.
    pub fn from_nodes(nodes: BTreeMap<StreamId, Node>, length: u64) -> Self {
        let tree = radix::tree_nodes(nodes.keys().copied()) - 1;
        Self { nodes, tree, length, ..Self::default() }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.length as usize
    }

    /// Whether there is no entry; the stream may have groups all the same.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub fn encoding(&self) -> &'static str {
        "stream"
    }

    pub fn nodes(&self) -> impl ExactSizeIterator<Item = (StreamId, &Node)> {
        self.nodes.iter().map(|(id, node)| (*id, node))
    }

    /// How many nodes stock's radix tree would have.
    pub fn tree_nodes(&self) -> usize {
        1 + self.tree
    }

    fn insert_node(&mut self, master: StreamId, node: Node) {
        self.tree += radix::gained(&self.nodes, master);
        self.nodes.insert(master, node);
    }

    fn remove_node(&mut self, master: StreamId) {
        self.nodes.remove(&master);
        self.tree -= radix::gained(&self.nodes, master);
    }

    /// Heap bytes; of many nodes, five are looked at.
    pub fn memory_bytes(&self) -> usize {
        const SAMPLES: usize = 5;
        let bytes: usize = self.nodes.values().take(SAMPLES).map(Node::memory_bytes).sum();
        let per_node = bytes / self.nodes.len().clamp(1, SAMPLES) + size_of::<(StreamId, Node)>() + 8;
        let groups: usize =
            self.groups.iter().map(|(name, g)| name.len() + size_of::<Group>() + g.memory_bytes()).sum();
        self.nodes.len() * per_node + groups
    }

    /// How many allocations there are to free.
    pub fn free_effort(&self) -> usize {
        self.nodes.len() + self.groups.values().map(Group::free_effort).sum::<usize>()
    }

    // ---- entries ----

    /// Entries from one id to another, both included.
    pub fn range(&self, from: StreamId, to: StreamId) -> Range<'_> {
        Range::new(&self.nodes, from, to)
    }

    /// The same from the largest id on.
    pub fn range_back(&self, from: StreamId, to: StreamId) -> RangeBack<'_> {
        RangeBack::new(&self.nodes, from, to)
    }

    pub fn get(&self, id: StreamId) -> Option<Entry<'_>> {
        self.range(id, id).next()
    }

    /// The smallest id of an entry that is there.
    pub fn first_entry_id(&self) -> Option<StreamId> {
        self.range(StreamId::MIN, StreamId::MAX).next().map(|entry| entry.id)
    }

    /// The smallest id that a node knows, whether its entry was deleted or not.
    pub fn oldest_id(&self) -> Option<StreamId> {
        self.nodes.iter().next().and_then(|(id, node)| node.forward(*id).next()).map(|entry| entry.id)
    }

    /// The largest id of an entry that is there, which may be smaller than [`Stream::last_id`].
    pub fn last_entry_id(&self) -> Option<StreamId> {
        self.range_back(StreamId::MIN, StreamId::MAX).next().map(|entry| entry.id)
    }

    /// The id an entry would get.
    fn resolve(&self, id: NewId, now_ms: u64) -> Option<StreamId> {
        let last = self.last_id;
        let id = match id {
            NewId::Exact(id) => id,
            NewId::Auto if now_ms > last.ms => StreamId::new(now_ms, 0),
            NewId::Auto => last.next()?,
            NewId::Ms(ms) if ms == last.ms => StreamId::new(ms, last.seq.checked_add(1)?),
            NewId::Ms(ms) => StreamId::new(ms, 0),
        };
        (id > last).then_some(id)
    }

    /// Adds an entry of `fields` pairs at the end.
    pub fn add<'p, P>(
        &mut self,
        id: NewId,
        now_ms: u64,
        fields: usize,
        pairs: P,
        limits: &Limits,
    ) -> Result<StreamId, AddError>
    where
        P: Iterator<Item = (&'p [u8], &'p [u8])> + Clone,
    {
        let id = self.resolve(id, now_ms).ok_or(AddError::Id)?;
        let bytes: usize = pairs.clone().map(|(field, value)| field.len() + value.len()).sum();
        if bytes > MAX_BYTES {
            return Err(AddError::TooLarge);
        }
        let max_bytes = match limits.stream_node_bytes {
            0 => MAX_BYTES,
            bytes => bytes.min(MAX_BYTES),
        };
        let max_entries = limits.stream_node_entries;
        let full = |node: &Node| {
            node.byte_len() + bytes >= max_bytes || (max_entries != 0 && node.all() >= max_entries as i64)
        };
        match self.nodes.last_entry() {
            Some(mut last) if !full(last.get()) => {
                let master = *last.key();
                last.get_mut().push(master, id, fields, pairs);
            }
            last => {
                if let Some(mut last) = last {
                    last.get_mut().close();
                }
                let mut node = Node::new(fields, pairs.clone(), FIRST_ROOM.min(max_bytes).max(bytes));
                node.push(id, id, fields, pairs);
                self.insert_node(id, node);
            }
        }
        // One that came from outside may count what it likes.
        self.length = self.length.wrapping_add(1);
        self.entries_added = self.entries_added.wrapping_add(1);
        self.last_id = id;
        if self.length == 1 {
            self.first_id = id;
        }
        Ok(id)
    }

    /// Deletes entries by id; `told` hears of each what became of it. Gives how many went.
    pub fn delete(&mut self, ids: &[StreamId], refs: Refs, mut told: impl FnMut(Deleted)) -> usize {
        let (mut count, mut first_went) = (0, false);
        for &id in ids {
            let outcome = self.delete_one(id, refs);
            if outcome == Deleted::Yes {
                first_went |= id == self.first_id;
                self.max_deleted_id = self.max_deleted_id.max(id);
                count += 1;
            }
            told(outcome);
        }
        if count > 0 && (first_went || self.length == 0) {
            self.find_first();
        }
        count
    }

    /// Takes ids out of what any group waits for, whether the entries are there or not. Gives how many groups' lists that
    /// shortened.
    pub fn forget(&mut self, ids: &[StreamId]) -> usize {
        ids.iter().map(|id| forget(&mut self.groups, *id)).sum()
    }

    fn delete_one(&mut self, id: StreamId, refs: Refs) -> Deleted {
        if refs == Refs::Acked && !self.groups.is_empty() {
            if self.get(id).is_none() {
                return Deleted::Absent;
            }
            if is_referenced(&self.groups, id) {
                return Deleted::Referenced;
            }
        }
        let Some((master, node)) = self.nodes.range_mut(..=id).next_back() else { return Deleted::Absent };
        let master = *master;
        let last_of_node = node.live() == 1;
        if !node.delete(master, id) {
            return Deleted::Absent;
        }
        if last_of_node {
            self.remove_node(master);
        }
        self.length = self.length.saturating_sub(1);
        if refs == Refs::Drop {
            forget(&mut self.groups, id);
        }
        Deleted::Yes
    }

    /// Sets the first id to what it is after entries went.
    fn find_first(&mut self) {
        self.first_id = match self.length {
            0 => StreamId::MIN,
            // A stream from outside may count entries it does not have.
            _ => self.first_entry_id().unwrap_or(StreamId::MAX),
        };
    }

    // ---- groups ----

    fn counters(&self) -> Counters {
        Counters {
            length: self.length,
            first_id: self.first_id,
            last_id: self.last_id,
            max_deleted_id: self.max_deleted_id,
            entries_added: self.entries_added,
        }
    }

    /// Entries that a group has still to read; `None` if that is not known.
    pub fn lag(&self, group: &Group) -> Option<i64> {
        self.counters().lag(group)
    }

    /// How many entries were added up to this id, that one included, if it can be said.
    pub fn position_of(&self, id: StreamId) -> Option<i64> {
        self.counters().position_of(id)
    }

    /// Gives a group up to `count` entries that it has not read yet. Without a consumer they count as acknowledged. `each` sees
    /// the entry and the group, which knows of it already. Gives how many there were.
    pub fn deliver(
        &mut self,
        group: &[u8],
        consumer: Option<ConsumerId>,
        count: usize,
        now_ms: i64,
        mut each: impl FnMut(&Entry<'_>, &Group),
    ) -> usize {
        let counters = self.counters();
        let Some(group) = self.groups.get_mut(group) else { return 0 };
        let Some(from) = group.last_id.next() else { return 0 };
        let mut given = 0;
        for entry in Range::new(&self.nodes, from, StreamId::MAX).take(count) {
            group.entries_read = counters.entries_read_after(group, entry.id);
            group.last_id = entry.id;
            if let Some(consumer) = consumer {
                group.assign(entry.id, consumer, now_ms, 1);
                group.consumer_mut(consumer).active_ms = now_ms;
            }
            each(&entry, group);
            given += 1;
        }
        given
    }

    /// Gives a consumer again up to `count` of the entries it has not acknowledged, from an id on. `each` sees the id, and the
    /// entry unless it was deleted meanwhile.
    pub fn deliver_again(
        &mut self,
        group: &[u8],
        consumer: ConsumerId,
        from: StreamId,
        count: usize,
        now_ms: i64,
        mut each: impl FnMut(StreamId, Option<&Entry<'_>>),
    ) -> usize {
        let Some(group) = self.groups.get_mut(group) else { return 0 };
        let ids: Vec<StreamId> = group.consumer(consumer).pending().range(from..).take(count).copied().collect();
        for &id in &ids {
            let entry = Range::new(&self.nodes, id, id).next();
            each(id, entry.as_ref());
            if let (Some(_), Some(pending)) = (entry, group.pending_mut(id)) {
                pending.delivered_ms = now_ms;
                pending.count = pending.count.wrapping_add(1);
            }
        }
        ids.len()
    }

    /// The groups in the order of their names.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = (&[u8], &Group)> {
        self.groups.iter().map(|(name, group)| (&**name, group))
    }

    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.groups.get(name)
    }

    pub fn group_mut(&mut self, name: &[u8]) -> Option<&mut Group> {
        self.groups.get_mut(name)
    }

    /// Adds a group; false if there is one of that name.
    pub fn create_group(&mut self, name: &[u8], group: Group) -> bool {
        let new = !self.groups.contains_key(name);
        if new {
            self.groups.insert(name.into(), group);
        }
        new
    }

    pub fn remove_group(&mut self, name: &[u8]) -> Option<Group> {
        self.groups.remove(name)
    }
}

/// Whether a group has an entry as pending, or has not come to it yet.
fn is_referenced(groups: &BTreeMap<Box<[u8]>, Group>, id: StreamId) -> bool {
    groups.values().any(|group| group.last_id < id || group.pending().contains_key(&id))
}

/// Takes an entry off the pending lists of all groups. Gives on how many of them it was.
fn forget(groups: &mut BTreeMap<Box<[u8]>, Group>, id: StreamId) -> usize {
    groups.values_mut().filter_map(|group| group.ack(id)).count()
}

#[cfg(test)]
mod tests;
