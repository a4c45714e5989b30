//! A set: members without order, kept as integers in one run, as a listpack, or as a table, with the stock moments of
//! turning from one into the other.
//!
//! ```text
//!   all integers, few  ──▶ intset ──▶ a string comes ──▶ listpack ──▶ too many or too long ──▶ hashtable
//!                             └────────────── too many ───────────────────────────────────────────▲
//! ```
//! Nothing ever turns back. Knows neither keys nor commands.

mod algebra;
mod sample;

pub use algebra::Wanted;
use smallvec::SmallVec;

use super::Limits;
use super::dict::{self, Dict, Fetch, Slot};
use super::intset::{self, IntSet};
use super::listpack::{self, Item, Listpack};
use super::member::Member;
use crate::base::{hash, number};

/// No intset has more, whatever the directive says.
const MOST_INTS: usize = 1 << 30;
/// No listpack of a set is longer.
const MOST_PACKED_BYTES: usize = 1 << 30;

/// A member that was taken out.
pub type Taken = SmallVec<[u8; 32]>;

#[derive(Debug)]
pub struct Set(Form);

#[derive(Debug)]
enum Form {
    Ints(IntSet),
    Pack(Listpack),
    // Boxed, so that the many small sets do not pay for the few large ones.
    Table(Box<Dict<Member>>),
}

impl Default for Set {
    fn default() -> Self {
        Self(Form::Ints(IntSet::new()))
    }
}

impl Clone for Set {
    fn clone(&self) -> Self {
        Self(match &self.0 {
            Form::Ints(ints) => Form::Ints(ints.clone()),
            Form::Pack(pack) => Form::Pack(pack.clone()),
            Form::Table(table) => Form::Table(algebra::copy(table)),
        })
    }
}

fn new_table() -> Box<Dict<Member>> {
    Box::new(Dict::new(0, hash::hash))
}

/// Adds to a table; true if the member is new.
#[inline]
fn table_add(table: &mut Dict<Member>, member: &[u8]) -> bool {
    match table.find_slot(hash::hash(member), member) {
        Slot::Found(_) => false,
        Slot::Vacant(slot) => {
            slot.insert(Member::new(member));
            true
        }
    }
}

/// How long the text of an integer is.
fn digits(n: i64) -> usize {
    itoa::Buffer::new().format(n).len()
}

impl Set {
    /// An empty listpack, which strings go into as long as the limits allow.
    pub fn packed() -> Self {
        Self(Form::Pack(Listpack::new()))
    }

    /// Empty, for so many members of whatever kind: a table, if they are too many for an intset.
    pub fn of_size(count: usize, limits: &Limits) -> Self {
        if count > limits.set_intset.min(MOST_INTS) { Self(Form::Table(new_table())) } else { Self::default() }
    }

    pub fn from_ints(ints: IntSet, limits: &Limits) -> Self {
        let mut set = Self(Form::Ints(ints));
        set.keep_ints_few(limits);
        set
    }

    /// A listpack whose elements are all different; the caller has seen to that.
    pub fn from_pack(pack: Listpack, limits: &Limits) -> Self {
        let mut set = Self(Form::Pack(pack));
        if set.len() > limits.set_entries {
            set.make_table();
        }
        set
    }

    /// Prepares for `count` members to be added, `first` before the others: a new set gets the form that suits them, one
    /// that is there becomes a table if they alone would make it one. So does stock, which asks not how many are new.
    #[inline]
    pub fn expect(&mut self, first: &[u8], count: usize, limits: &Limits) {
        match &self.0 {
            Form::Ints(ints) if ints.is_empty() => {
                if number::parse_i64(first).is_some() && count <= limits.set_intset {
                    return;
                }
                self.0 =
                    if count <= limits.set_entries { Form::Pack(Listpack::new()) } else { Form::Table(new_table()) };
            }
            Form::Ints(_) if count > limits.set_intset => self.make_table(),
            Form::Pack(_) if count > limits.set_entries => self.make_table(),
            Form::Ints(_) | Form::Pack(_) | Form::Table(_) => {}
        }
    }

    #[inline]
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Ints(ints) => ints.len(),
            Form::Pack(pack) => pack.len(),
            Form::Table(table) => table.len(),
        }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Asks the processor for what a look for a member of this hash will touch.
    #[inline]
    pub fn fetch(&self, hash: u64, what: Fetch) {
        if let Form::Table(table) = &self.0 {
            table.fetch(hash, what);
        }
    }

    /// The stock name of how it is kept.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Form::Ints(_) => "intset",
            Form::Pack(_) => "listpack",
            Form::Table(_) => "hashtable",
        }
    }

    /// The integers, if that is how it is kept.
    pub fn as_ints(&self) -> Option<&IntSet> {
        if let Form::Ints(ints) = &self.0 { Some(ints) } else { None }
    }

    /// The listpack, if that is how it is kept.
    pub fn as_pack(&self) -> Option<&Listpack> {
        if let Form::Pack(pack) = &self.0 { Some(pack) } else { None }
    }

    /// Bytes allocated; of a table, reckoned from a few of its members.
    pub fn memory_bytes(&self) -> usize {
        match &self.0 {
            Form::Ints(ints) => ints.memory_bytes(),
            Form::Pack(pack) => pack.memory_bytes(),
            Form::Table(table) => {
                let (seen, bytes) = table
                    .iter()
                    .take(16)
                    .fold((0, 0), |(seen, bytes), m| (seen + 1, bytes + Member::size_of(m.bytes().len())));
                size_of::<Dict<Member>>() + table.memory_bytes() + bytes * table.len() / seen.max(1)
            }
        }
    }

    /// How many allocations there are to be freed.
    pub fn free_effort(&self) -> usize {
        match &self.0 {
            Form::Ints(_) | Form::Pack(_) => 1,
            Form::Table(table) => table.len(),
        }
    }

    #[inline]
    pub fn contains(&self, member: &[u8]) -> bool {
        match &self.0 {
            Form::Ints(ints) => number::parse_i64(member).is_some_and(|n| ints.contains(n)),
            Form::Pack(pack) => pack.first().is_some_and(|first| pack.find(first, member, 0).is_some()),
            Form::Table(table) => table.get(hash::hash(member), member).is_some(),
        }
    }

    /// As [`Set::contains`], for a member of another set.
    #[inline]
    pub fn contains_item(&self, member: Item<'_>) -> bool {
        match (&self.0, member) {
            (Form::Ints(ints), Item::Int(n)) => ints.contains(n),
            _ => self.contains(member.bytes(&mut itoa::Buffer::new())),
        }
    }

    /// True if it is new.
    #[inline]
    pub fn add(&mut self, member: &[u8], limits: &Limits) -> bool {
        match &mut self.0 {
            Form::Table(table) => table_add(table, member),
            Form::Ints(_) => match number::parse_i64(member) {
                Some(n) => self.add_int(n, limits),
                None => {
                    self.leave_ints(member, limits);
                    self.add(member, limits)
                }
            },
            Form::Pack(pack) => {
                if pack.first().is_some_and(|first| pack.find(first, member, 0).is_some()) {
                    return false;
                }
                if pack.len() < limits.set_entries
                    && member.len() <= limits.set_value
                    && pack.byte_len() + member.len() < MOST_PACKED_BYTES
                {
                    pack.push_back(member);
                    return true;
                }
                self.make_table();
                self.add(member, limits)
            }
        }
    }

    /// As [`Set::add`], for a member of another set.
    #[inline]
    pub fn add_item(&mut self, member: Item<'_>, limits: &Limits) -> bool {
        match (&self.0, member) {
            (Form::Ints(_), Item::Int(n)) => self.add_int(n, limits),
            _ => self.add(member.bytes(&mut itoa::Buffer::new()), limits),
        }
    }

    fn add_int(&mut self, n: i64, limits: &Limits) -> bool {
        let Form::Ints(ints) = &mut self.0 else { return false };
        let new = ints.insert(n);
        if new {
            self.keep_ints_few(limits);
        }
        new
    }

    fn keep_ints_few(&mut self, limits: &Limits) {
        if matches!(&self.0, Form::Ints(ints) if ints.len() > limits.set_intset.min(MOST_INTS)) {
            self.make_table();
        }
    }

    /// Makes room for a first member that is no integer.
    fn leave_ints(&mut self, member: &[u8], limits: &Limits) {
        let Form::Ints(ints) = &self.0 else { return };
        let longest = [ints.first(), ints.last()].into_iter().flatten().map(digits).max().unwrap_or(0);
        let packs = ints.len() < limits.set_entries
            && member.len() <= limits.set_value
            && longest <= limits.set_value
            && ints.len() * 11 + member.len() < MOST_PACKED_BYTES;
        if !packs {
            return self.make_table();
        }
        let mut pack = Listpack::with_capacity(ints.memory_bytes() + member.len() + 2);
        ints.iter().for_each(|n| pack.push_back_int(n));
        self.0 = Form::Pack(pack);
    }

    #[cold]
    fn make_table(&mut self) {
        let mut table = new_table();
        for item in self.iter() {
            let mut text = itoa::Buffer::new();
            let member = item.bytes(&mut text);
            // Found again rather than just inserted: a listpack from outside may be wrong about its elements.
            table_add(&mut table, member);
        }
        self.0 = Form::Table(table);
    }

    /// Turns a set of nothing but integers into an intset, if they are few enough.
    pub fn make_ints(&mut self, limits: &Limits) {
        if matches!(self.0, Form::Ints(_)) || self.len() > limits.set_intset.min(MOST_INTS) {
            return;
        }
        let mut numbers = Vec::with_capacity(self.len());
        for item in self.iter() {
            let n = match item {
                Item::Int(n) => Some(n),
                Item::Str(text) => number::parse_i64(text),
            };
            let Some(n) = n else { return };
            numbers.push(n);
        }
        numbers.sort_unstable();
        let mut ints = IntSet::new();
        numbers.into_iter().for_each(|n| {
            ints.insert(n);
        });
        self.0 = Form::Ints(ints);
    }

    /// Gives back room that was kept for growth.
    pub fn shrink_to_fit(&mut self) {
        match &mut self.0 {
            Form::Ints(ints) => ints.shrink_to_fit(),
            Form::Pack(pack) => pack.shrink_to_fit(),
            Form::Table(_) => {}
        }
    }

    /// True if it was there.
    #[inline]
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match &mut self.0 {
            Form::Ints(ints) => number::parse_i64(member).is_some_and(|n| ints.remove(n)),
            Form::Pack(pack) => match pack.first().and_then(|first| pack.find(first, member, 0)) {
                Some(pos) => {
                    pack.remove(pos);
                    true
                }
                None => false,
            },
            Form::Table(table) => table.remove(hash::hash(member), member).is_some(),
        }
    }

    /// As [`Set::remove`], for a member of another set.
    #[inline]
    pub fn remove_item(&mut self, member: Item<'_>) -> bool {
        match (&mut self.0, member) {
            (Form::Ints(ints), Item::Int(n)) => ints.remove(n),
            _ => self.remove(member.bytes(&mut itoa::Buffer::new())),
        }
    }

    /// Every member.
    pub fn iter(&self) -> Iter<'_> {
        match &self.0 {
            Form::Ints(ints) => Iter::Ints(ints.iter()),
            Form::Pack(pack) => Iter::Pack(pack.iter()),
            Form::Table(table) => Iter::Table(table.iter()),
        }
    }

    /// Visits members from a cursor on, at least `count` of them if there are so many, and gives the cursor to go on from,
    /// 0 at the end. Small sets are visited whole. See [`Dict::scan`].
    pub fn scan(&self, cursor: u64, count: usize, mut f: impl FnMut(Item<'_>)) -> u64 {
        match &self.0 {
            Form::Table(table) => table.scan(cursor, count, |m| f(Item::Str(m.bytes()))),
            Form::Ints(_) | Form::Pack(_) => {
                self.iter().for_each(f);
                0
            }
        }
    }
}

/// Every member; see [`Set::iter`].
pub enum Iter<'a> {
    Ints(intset::Iter<'a>),
    Pack(listpack::Iter<'a>),
    Table(dict::Iter<'a, Member>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        match self {
            Self::Ints(ints) => ints.next().map(Item::Int),
            Self::Pack(pack) => pack.next(),
            Self::Table(table) => table.next().map(|m| Item::Str(m.bytes())),
        }
    }
}

#[cfg(test)]
mod tests;
