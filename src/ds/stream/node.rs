//! A node: a run of entries in one listpack, in the format of stock servers.
//!
//! ```text
//! master entry:  | entries | deleted | n | field 1 | ... | field n | 0 |
//! entry:         | flags | ms | seq | value 1 | ... | value n | items |                              same fields as the master
//!                | flags | ms | seq | n | field 1 | value 1 | ... | field n | value n | items |      fields of its own
//! ```
//! `ms` and `seq` count from the node's id, which is the id its first entry had. `items` says how many elements the entry has
//! before it, so that it can be read from behind; the master entry's is 0. A deleted entry stays, with a flag, until its node
//! goes as a whole. Knows nothing of the other nodes.

use super::id::StreamId;
use crate::base::number;
use crate::ds::listpack::{self, Item, Listpack, Pos};

const DELETED: i64 = 1;
const SAME_FIELDS: i64 = 2;

/// The bytes are no node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CorruptNode;

#[derive(Clone, Debug)]
pub struct Node(Listpack);

/// An entry as it stands in its node.
#[derive(Clone)]
pub struct Entry<'a> {
    pub id: StreamId,
    pub(super) deleted: bool,
    /// The master's fields, if the entry has the same.
    fields: Option<listpack::Iter<'a>>,
    /// Values, or fields and values.
    items: listpack::Iter<'a>,
    pairs: usize,
}

impl<'a> Entry<'a> {
    /// How many fields it has.
    pub fn len(&self) -> usize {
        self.pairs
    }

    pub fn is_empty(&self) -> bool {
        self.pairs == 0
    }

    /// Its fields and their values.
    pub fn pairs(&self) -> impl Iterator<Item = (Item<'a>, Item<'a>)> + use<'a> {
        let (mut fields, mut items) = (self.fields.clone(), self.items.clone());
        (0..self.pairs).map_while(move |_| {
            let field = match &mut fields {
                Some(fields) => fields.next(),
                None => items.next(),
            };
            Some((field?, items.next()?))
        })
    }
}

/// A number. Stock takes a string of digits for one too.
fn int(item: Item<'_>) -> i64 {
    checked_int(item).unwrap_or(0)
}

fn checked_int(item: Item<'_>) -> Option<i64> {
    match item {
        Item::Int(n) => Some(n),
        Item::Str(text) => number::parse_i64(text),
    }
}

impl Node {
    /// A node without an entry yet; the first one's fields are the master's.
    pub(super) fn new<'p>(fields: usize, pairs: impl Iterator<Item = (&'p [u8], &'p [u8])>, room: usize) -> Self {
        let mut lp = Listpack::with_capacity(room);
        let head = [0, 0, fields as i64].into_iter().map(Item::Int);
        lp.extend(head.chain(pairs.map(|(field, _)| Item::Str(field))).chain([Item::Int(0)]));
        Self(lp)
    }

    /// Takes bytes from outside; every entry is looked at.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, CorruptNode> {
        let lp = Listpack::from_bytes(bytes).map_err(|_| CorruptNode)?;
        let mut at = lp.iter();
        Self::check(&mut at).filter(|()| at.next().is_none()).ok_or(CorruptNode)?;
        Ok(Self(lp))
    }

    /// Reads the master entry and as many entries as it says.
    fn check(at: &mut listpack::Iter<'_>) -> Option<()> {
        let number = |at: &mut listpack::Iter<'_>| at.next().and_then(checked_int);
        let count = |n: i64| u64::try_from(n).ok();
        // Never more than there are elements: each step takes one.
        let pass = |at: &mut listpack::Iter<'_>, n: u64| (0..n).try_for_each(|_| at.next().map(|_| ()));
        let (live, deleted) = (count(number(at)?)?, count(number(at)?)?);
        let master_fields = count(number(at)?)?;
        pass(at, master_fields)?;
        if number(at)? != 0 {
            return None;
        }
        for _ in 0..live.checked_add(deleted)? {
            let flags = number(at)?;
            number(at)?;
            number(at)?;
            let items = if flags & SAME_FIELDS != 0 {
                pass(at, master_fields)?;
                master_fields.checked_add(3)?
            } else {
                let own = count(number(at)?)?;
                let both = own.checked_mul(2)?;
                pass(at, both)?;
                both.checked_add(4)?
            };
            if count(number(at)?)? != items {
                return None;
            }
        }
        Some(())
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    pub(super) fn byte_len(&self) -> usize {
        self.0.byte_len()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.0.memory_bytes()
    }

    /// No entry will be added any more.
    pub(super) fn close(&mut self) {
        self.0.shrink_to_fit();
    }

    fn number_at(&self, pos: Option<Pos>) -> i64 {
        pos.map_or(0, |pos| int(self.0.get(pos)))
    }

    /// Entries that are not deleted, as the master entry says.
    pub(super) fn live(&self) -> i64 {
        self.number_at(self.0.first())
    }

    /// Entries, deleted ones included.
    pub(super) fn all(&self) -> i64 {
        let first = self.0.first();
        self.number_at(first).saturating_add(self.number_at(first.and_then(|p| self.0.next(p))))
    }

    /// Moves `by` entries from the live to the deleted.
    fn count_deleted(&mut self, by: i64) {
        let Some(first) = self.0.first() else { return };
        let live = self.0.replace_int(first, int(self.0.get(first)).saturating_sub(by));
        if let Some(deleted) = self.0.next(live) {
            self.0.replace_int(deleted, int(self.0.get(deleted)).saturating_add(by));
        }
    }

    /// Adds an entry; `id` counts from `master`, the node's own.
    pub(super) fn push<'p, P>(&mut self, master: StreamId, id: StreamId, fields: usize, pairs: P)
    where
        P: Iterator<Item = (&'p [u8], &'p [u8])> + Clone,
    {
        let lp = &mut self.0;
        if let Some(first) = lp.first() {
            lp.replace_int(first, int(lp.get(first)).saturating_add(1));
        }
        let mut masters = lp.iter().skip(2);
        let as_many = masters.next().is_some_and(|n| int(n) == fields as i64);
        let same = as_many && pairs.clone().zip(masters).all(|((field, _), master)| master.eq_bytes(field));
        let (ms, seq) = id.since(master);
        let head = [if same { SAME_FIELDS } else { 0 }, ms, seq].into_iter().map(Item::Int);
        if same {
            let values = pairs.map(|(_, value)| Item::Str(value));
            lp.extend(head.chain(values).chain([Item::Int(fields as i64 + 3)]));
        } else {
            let own = pairs.flat_map(|(field, value)| [Item::Str(field), Item::Str(value)]);
            let head = head.chain([Item::Int(fields as i64)]);
            lp.extend(head.chain(own).chain([Item::Int(2 * fields as i64 + 4)]));
        }
    }

    /// Where the first entry begins, and how many fields the master has.
    fn entries_begin(&self) -> Option<(Pos, i64)> {
        let lp = &self.0;
        let mut pos = lp.next(lp.next(lp.first()?)?)?;
        let fields = int(lp.get(pos));
        for _ in 0..=fields {
            pos = lp.next(pos)?;
        }
        Some((lp.next(pos)?, fields))
    }

    /// Flags, id and the place after the entry that begins at `pos`.
    fn look(&self, master: StreamId, master_fields: i64, pos: Pos) -> Option<(i64, StreamId, Option<Pos>)> {
        let lp = &self.0;
        let flags = int(lp.get(pos));
        let ms = lp.next(pos)?;
        let seq = lp.next(ms)?;
        let id = master.plus(int(lp.get(ms)), int(lp.get(seq)));
        let mut at = lp.next(seq)?;
        let mut left = master_fields;
        if flags & SAME_FIELDS == 0 {
            left = int(lp.get(at)).saturating_mul(2);
            at = lp.next(at)?;
        }
        for _ in 0..left {
            at = lp.next(at)?;
        }
        Some((flags, id, lp.next(at)))
    }

    /// Asks of each entry from the first on, telling whether it is live, what to do with it. Gives how many were deleted.
    pub(super) fn delete_where(&mut self, master: StreamId, mut choose: impl FnMut(StreamId, bool) -> Choice) -> u64 {
        let Some((first, fields)) = self.entries_begin() else { return 0 };
        let (mut pos, mut deleted) = (Some(first), 0);
        while let Some(at) = pos {
            let Some((flags, id, next)) = self.look(master, fields, at) else { break };
            pos = next;
            match choose(id, flags & DELETED == 0) {
                Choice::Stop => break,
                Choice::Leave => {}
                Choice::Delete => {
                    self.0.replace_int(at, flags | DELETED);
                    // The flags may have been written wider than they need be.
                    pos = self.look(master, fields, at).and_then(|(_, _, next)| next);
                    deleted += 1;
                }
            }
        }
        self.count_deleted(deleted);
        deleted as u64
    }

    /// Marks one entry as deleted. False if it is not there, or is deleted already.
    pub(super) fn delete(&mut self, master: StreamId, wanted: StreamId) -> bool {
        let Some((first, fields)) = self.entries_begin() else { return false };
        let mut pos = Some(first);
        while let Some(at) = pos {
            let Some((flags, id, next)) = self.look(master, fields, at) else { return false };
            if id == wanted && flags & DELETED == 0 {
                self.0.replace_int(at, flags | DELETED);
                self.count_deleted(1);
                return true;
            }
            pos = next.filter(|_| id <= wanted);
        }
        false
    }

    /// The entries from the first on.
    pub(super) fn forward(&self, master: StreamId) -> Forward<'_> {
        let mut at = self.0.iter();
        let (_, _, fields) = (at.next(), at.next(), at.next().map_or(0, int));
        let master_fields = at.clone();
        Forward { master, master_fields, fields: fields.max(0) as usize, at, pass: fields.max(0) as usize + 1 }
    }

    /// The entries from the last on.
    pub(super) fn backward(&self, master: StreamId) -> Backward<'_> {
        let forward = self.forward(master);
        Backward { forward, lp: &self.0, end: self.0.last() }
    }

    /// The id of the last entry, whether deleted or not.
    pub(super) fn last_id(&self, master: StreamId) -> Option<StreamId> {
        self.backward(master).next().map(|entry| entry.id)
    }
}

/// What [`Node::delete_where`] does with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Delete,
    Leave,
    Stop,
}

#[derive(Clone)]
pub(super) struct Forward<'a> {
    master: StreamId,
    master_fields: listpack::Iter<'a>,
    fields: usize,
    at: listpack::Iter<'a>,
    /// Elements before the next entry.
    pass: usize,
}

impl<'a> Forward<'a> {
    /// Passes over the entries before an id.
    pub(super) fn seek(&mut self, from: StreamId) {
        loop {
            let mut at = self.at.clone();
            if at.pass(self.pass).is_none() {
                return;
            }
            let here = at.clone();
            let mut number = || at.next().map_or(0, int);
            let (flags, id) = (number(), self.master.plus(number(), number()));
            if id >= from {
                return;
            }
            let items = if flags & SAME_FIELDS != 0 { self.fields } else { 1 + 2 * number().max(0) as usize };
            (self.at, self.pass) = (here, 3 + items + 1);
        }
    }

    /// Reads the head of the entry at `at`, which is then at the first of its items.
    fn read(&self, at: &mut listpack::Iter<'a>) -> Option<Entry<'a>> {
        let flags = int(at.next()?);
        let (ms, seq) = (int(at.next()?), int(at.next()?));
        let same = flags & SAME_FIELDS != 0;
        let pairs = if same { self.fields } else { int(at.next()?).max(0) as usize };
        Some(Entry {
            id: self.master.plus(ms, seq),
            deleted: flags & DELETED != 0,
            fields: same.then(|| self.master_fields.clone()),
            items: at.clone(),
            pairs,
        })
    }
}

impl<'a> Iterator for Forward<'a> {
    type Item = Entry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        self.at.pass(self.pass)?;
        let mut at = self.at.clone();
        let entry = self.read(&mut at)?;
        self.at = at;
        // Its items, and their number.
        self.pass = if entry.fields.is_some() { entry.pairs + 1 } else { 2 * entry.pairs + 1 };
        Some(entry)
    }
}

pub(super) struct Backward<'a> {
    forward: Forward<'a>,
    lp: &'a Listpack,
    /// Where the number of the next entry's items stands.
    end: Option<Pos>,
}

impl<'a> Iterator for Backward<'a> {
    type Item = Entry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        let mut pos = self.end?;
        let items = int(self.lp.get(pos));
        if items == 0 {
            // The master entry.
            self.end = None;
            return None;
        }
        for _ in 0..items {
            pos = self.lp.prev(pos)?;
        }
        self.end = self.lp.prev(pos);
        self.forward.read(&mut self.lp.iter_from(pos))
    }
}
