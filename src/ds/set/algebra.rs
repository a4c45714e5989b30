//! What two or more sets have in common, or one has alone.
//!
//! The members of a large set lie anywhere in memory, and so do those of the others that they are looked for in. So they
//! are taken some at a time: each is hashed once for all tables, and what the looks will touch is fetched ahead.

use smallvec::SmallVec;

use super::{Form, Set};
use crate::base::hash;
use crate::ds::Limits;
use crate::ds::dict::{Dict, Fetch, Slot};
use crate::ds::listpack::Item;
use crate::ds::member::Member;

/// Members looked at together: enough to hide a fetch behind the others, few enough to stay in the nearest cache.
const AT_ONCE: usize = 32;

/// Some members of a table with their hashes.
type Batch<'a> = SmallVec<[(u64, &'a Member); AT_ONCE]>;

/// Which members of a set are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    InAllOthers,
    InNoOther,
}

/// Calls `f` with all members of a table, some at a time.
fn batches<'a>(table: &'a Dict<Member>, mut f: impl FnMut(&mut Batch<'a>) -> bool) {
    let mut members = table.iter();
    let mut batch = Batch::new();
    loop {
        batch.clear();
        // First all are found, which asks for them, and only then the first is read.
        batch.extend(members.by_ref().take(AT_ONCE).map(|m| (0, m)));
        if batch.is_empty() {
            return;
        }
        batch.iter_mut().for_each(|(hash, m)| *hash = hash::hash(m.bytes()));
        if !f(&mut batch) {
            return;
        }
    }
}

fn fetch(table: &Dict<Member>, batch: &Batch<'_>) {
    for what in [Fetch::Bucket, Fetch::Entry] {
        batch.iter().for_each(|(hash, _)| table.fetch(*hash, what));
    }
}

/// Leaves those of a batch that a set has, or has not.
fn retain(set: &Set, batch: &mut Batch<'_>, there: bool) {
    match &set.0 {
        Form::Table(table) => {
            fetch(table, batch);
            batch.retain(|(hash, m)| table.get(*hash, m.bytes()).is_some() == there);
        }
        Form::Ints(_) | Form::Pack(_) => batch.retain(|(_, m)| set.contains(m.bytes()) == there),
    }
}

impl Set {
    /// Calls `f` with the members that are wanted, until it wants no more. None of the others is this set.
    pub fn sift<'s>(&'s self, others: &[&Set], wanted: Wanted, mut f: impl FnMut(Item<'s>) -> bool) {
        let there = wanted == Wanted::InAllOthers;
        match &self.0 {
            Form::Table(table) => batches(table, |batch| {
                others.iter().for_each(|set| retain(set, batch, there));
                batch.iter().all(|(_, m)| f(Item::Str(m.bytes())))
            }),
            Form::Ints(_) | Form::Pack(_) => {
                for member in self.iter() {
                    if others.iter().all(|set| set.contains_item(member) == there) && !f(member) {
                        return;
                    }
                }
            }
        }
    }

    /// Adds the members of `set` that are wanted to this one, which is new.
    pub fn add_sifted(&mut self, set: &Set, others: &[&Set], wanted: Wanted, limits: &Limits) {
        let Form::Table(table) = &set.0 else {
            return set.sift(others, wanted, |member| {
                self.add_item(member, limits);
                true
            });
        };
        let mut found: Vec<(u64, &Member)> = Vec::new();
        batches(table, |batch| {
            others.iter().for_each(|set| retain(set, batch, wanted == Wanted::InAllOthers));
            found.extend_from_slice(batch);
            true
        });
        if found.len() <= most_small(limits) {
            found.iter().for_each(|(_, m)| _ = self.add(m.bytes(), limits));
            return;
        }
        let mut result = Dict::with_room(0, hash::hash, found.len());
        found.into_iter().for_each(|(hash, m)| result.insert(hash, Member::new(m.bytes())));
        self.0 = Form::Table(Box::new(result));
    }

    /// The members of all the sets.
    pub fn union(sets: &[&Set], limits: &Limits) -> Set {
        let largest = sets.iter().enumerate().max_by_key(|(_, set)| set.len());
        let (result, largest) = match largest {
            // Whatever else comes, it will be a table, and this the greatest part of it.
            Some((i, set)) if set.len() > most_small(limits) => (set.as_table().map(copy), i),
            _ => (None, usize::MAX),
        };
        let Some(mut result) = result else {
            let mut result = Set::default();
            sets.iter().flat_map(|set| set.iter()).for_each(|m| _ = result.add_item(m, limits));
            return result;
        };
        for (_, set) in sets.iter().enumerate().filter(|(i, _)| *i != largest) {
            add_all(&mut result, set);
        }
        Set(Form::Table(result))
    }

    /// Takes the members of another set out.
    pub fn remove_all(&mut self, set: &Set) {
        match (&mut self.0, &set.0) {
            (Form::Table(table), Form::Table(other)) => batches(other, |batch| {
                fetch(table, batch);
                batch.iter().for_each(|(hash, m)| _ = table.remove(*hash, m.bytes()));
                true
            }),
            _ => set.iter().for_each(|m| _ = self.remove_item(m)),
        }
    }

    /// The table, if that is how it is kept.
    pub fn as_table(&self) -> Option<&Dict<Member>> {
        if let Form::Table(table) = &self.0 { Some(table) } else { None }
    }
}

/// A set with more members is a table, whatever they are.
fn most_small(limits: &Limits) -> usize {
    limits.set_intset.max(limits.set_entries)
}

pub(super) fn copy(table: &Dict<Member>) -> Box<Dict<Member>> {
    Box::new(table.clone_with(|m| Member::new(m.bytes())))
}

fn add_all(table: &mut Dict<Member>, set: &Set) {
    let Form::Table(other) = &set.0 else {
        let mut text = itoa::Buffer::new();
        return set.iter().for_each(|m| _ = super::table_add(table, m.bytes(&mut text)));
    };
    batches(other, |batch| {
        fetch(table, batch);
        for (hash, m) in batch.iter() {
            if let Slot::Vacant(slot) = table.find_slot(*hash, m.bytes()) {
                slot.insert(Member::new(m.bytes()));
            }
        }
        true
    });
}
