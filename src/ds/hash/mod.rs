//! Fields and their values. A field may have an expiry, in Unix time; what is over is hidden from whoever tells the time,
//! and stays until it is taken out. Knows neither keys nor commands, nor what time it is.
//!
//! ```text
//! listpack     field value field value …
//! listpackex   field value expiry field value expiry …     by expiry, those without (0) at the end
//! hashtable    a dictionary of fields
//! ```
//! The first two are stock's formats, byte for byte. Nothing turns back into a smaller form.

mod field;
mod table;
#[cfg(test)]
mod tests;

use field::Field;
use table::Table;

use super::dict::Fetch;
use super::listpack::{self, Item, Listpack, Pos};
use super::{Limits, dict};
use crate::base::hash::hash;

/// No field is over at this time.
pub const NEVER: i64 = i64::MIN;

/// A listpack is not made longer than this, as in stock servers.
const PACK_BYTES_MAX: usize = 1 << 30;

/// Draws among all fields before those that are not over are counted out.
const DRAWS: u64 = 64;

#[derive(Clone, Debug)]
enum Body {
    /// Pairs.
    Pack(Listpack),
    /// Triples.
    Timed(Listpack),
    Table(Box<Table>),
}

#[derive(Clone, Debug)]
pub struct Hash {
    body: Body,
}

impl Default for Hash {
    fn default() -> Self {
        Self { body: Body::Pack(Listpack::new()) }
    }
}

/// A field as a look sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair<'a> {
    pub field: Item<'a>,
    pub value: Item<'a>,
    pub expire_ms: Option<i64>,
}

impl Pair<'_> {
    /// Whether its time was over before `now_ms`.
    #[inline]
    pub fn is_over(&self, now_ms: i64) -> bool {
        is_over(self.expire_ms, now_ms)
    }
}

#[inline]
fn is_over(expire_ms: Option<i64>, now_ms: i64) -> bool {
    expire_ms.is_some_and(|at| at < now_ms)
}

/// What a new value does to the field's expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    Keep,
    Set(Option<i64>),
}

/// How a hash is kept, for whoever writes it down as it is.
#[derive(Clone, Copy, Debug)]
pub enum Form<'a> {
    Pairs(&'a Listpack),
    Triples(&'a Listpack),
    Table,
}

impl Hash {
    /// Fields, those included whose time is over.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.body {
            Body::Pack(items) => items.len() / 2,
            Body::Timed(items) => items.len() / 3,
            Body::Table(table) => table.len(),
        }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fields whose time is not over.
    pub fn live_len(&self, now_ms: i64) -> usize {
        if !self.is_due(now_ms) {
            return self.len();
        }
        self.live(now_ms).count()
    }

    /// Asks the processor for what a look for a field of this hash will touch.
    #[inline]
    pub fn fetch(&self, hash: u64, what: Fetch) {
        if let Body::Table(large) = &self.body {
            large.fetch(hash, what);
        }
    }

    /// The stock name of how it is kept.
    pub fn encoding(&self) -> &'static str {
        match &self.body {
            Body::Pack(_) => "listpack",
            Body::Timed(_) => "listpackex",
            Body::Table(_) => "hashtable",
        }
    }

    pub fn form(&self) -> Form<'_> {
        match &self.body {
            Body::Pack(items) => Form::Pairs(items),
            Body::Timed(items) => Form::Triples(items),
            Body::Table(_) => Form::Table,
        }
    }

    /// Bytes allocated; an estimate if there are many fields.
    pub fn memory_bytes(&self) -> usize {
        match &self.body {
            Body::Pack(items) | Body::Timed(items) => items.memory_bytes(),
            Body::Table(table) => table.memory_bytes(),
        }
    }

    /// How many allocations there are to be freed.
    pub fn free_effort(&self) -> usize {
        match &self.body {
            Body::Pack(_) | Body::Timed(_) => 1,
            Body::Table(table) => table.len(),
        }
    }

    // ---- looking ----

    /// A field's value, unless its time was over before `now_ms`.
    #[inline]
    pub fn get(&self, field: &[u8], now_ms: i64) -> Option<Item<'_>> {
        match &self.body {
            Body::Pack(items) => Some(items.get(behind(items, find(items, field, 2)?))),
            Body::Timed(_) => self.pair(field, now_ms).map(|pair| pair.value),
            Body::Table(table) => {
                let found = table.get(field)?;
                (!is_over(found.expire_ms(), now_ms)).then(|| Item::Str(found.value()))
            }
        }
    }

    #[inline]
    pub fn contains(&self, field: &[u8], now_ms: i64) -> bool {
        self.get(field, now_ms).is_some()
    }

    /// A field with its value and its expiry.
    pub fn pair(&self, field: &[u8], now_ms: i64) -> Option<Pair<'_>> {
        let pair = match &self.body {
            Body::Pack(items) => {
                let at = find(items, field, 2)?;
                Pair { field: items.get(at), value: items.get(behind(items, at)), expire_ms: None }
            }
            Body::Timed(items) => {
                let at = find(items, field, 3)?;
                let value = behind(items, at);
                let expire_ms = expiry(items.get(behind(items, value)));
                Pair { field: items.get(at), value: items.get(value), expire_ms }
            }
            Body::Table(table) => pair_of(table.get(field)?),
        };
        (!pair.is_over(now_ms)).then_some(pair)
    }

    /// Every field, those included whose time is over.
    pub fn iter(&self) -> Iter<'_> {
        match &self.body {
            Body::Pack(items) => Iter(Source::Pairs(items.iter())),
            Body::Timed(items) => triples(items),
            Body::Table(table) => Iter(Source::Table(table.iter())),
        }
    }

    /// Every field whose time is not over.
    pub fn live(&self, now_ms: i64) -> impl Iterator<Item = Pair<'_>> {
        self.iter().filter(move |pair| !pair.is_over(now_ms))
    }

    /// Visits fields from a cursor on, about `at_least` of them, and all of a small hash; gives the cursor to go on
    /// from, 0 at the end.
    pub fn scan(&self, cursor: u64, at_least: usize, now_ms: i64, mut f: impl FnMut(Pair<'_>)) -> u64 {
        match &self.body {
            Body::Pack(_) | Body::Timed(_) => {
                self.live(now_ms).for_each(f);
                0
            }
            Body::Table(table) => table.scan(cursor, at_least, |field| {
                if !is_over(field.expire_ms(), now_ms) {
                    f(pair_of(field));
                }
            }),
        }
    }

    /// A field chosen at random among those whose time is not over; `random` gives the numbers.
    pub fn random(&self, now_ms: i64, mut random: impl FnMut() -> u64) -> Option<Pair<'_>> {
        if let Body::Table(table) = &self.body {
            for _ in 0..DRAWS {
                let pair = pair_of(table.random(random())?);
                if !pair.is_over(now_ms) {
                    return Some(pair);
                }
            }
        }
        let live = self.live_len(now_ms) as u64;
        if live == 0 {
            return None;
        }
        self.live(now_ms).nth((random() % live) as usize)
    }

    // ---- changing ----

    /// Makes ready for `fields` more fields: so many that they would not stay a listpack make it a table at once.
    pub fn expect(&mut self, fields: usize, limits: &Limits) {
        if fields > limits.hash_entries {
            self.make_table();
        }
    }

    /// Sets a value; the field is without an expiry then. True if it is new, or its time was over before `now_ms`.
    #[inline]
    pub fn set(&mut self, field: &[u8], value: &[u8], now_ms: i64, limits: &Limits) -> bool {
        self.put(field, value, Ttl::Set(None), now_ms, limits)
    }

    /// As [`Hash::set`], saying what becomes of the expiry. What was over keeps none.
    #[inline]
    pub fn put(&mut self, field: &[u8], value: &[u8], ttl: Ttl, now_ms: i64, limits: &Limits) -> bool {
        if let Body::Table(table) = &mut self.body {
            return put_in_table(table, field, value, ttl, now_ms);
        }
        self.put_small(field, value, ttl, now_ms, limits)
    }

    fn put_small(&mut self, field: &[u8], value: &[u8], ttl: Ttl, now_ms: i64, limits: &Limits) -> bool {
        let timed = matches!(ttl, Ttl::Set(Some(_)));
        let new = match &mut self.body {
            Body::Pack(items) | Body::Timed(items) if !fits(items, field, value, limits) => {
                self.make_table();
                return self.put(field, value, ttl, now_ms, limits);
            }
            Body::Pack(_) if timed => {
                self.make_timed();
                return self.put_small(field, value, ttl, now_ms, limits);
            }
            Body::Pack(items) => match find(items, field, 2) {
                Some(at) => {
                    let at = behind(items, at);
                    items.replace(at, value);
                    false
                }
                None => {
                    items.push_back(field);
                    items.push_back(value);
                    true
                }
            },
            Body::Timed(items) => match find(items, field, 3) {
                Some(at) => {
                    let value_at = behind(items, at);
                    let old = expiry(items.get(behind(items, value_at)));
                    let over = is_over(old, now_ms);
                    let expire_ms = match ttl {
                        Ttl::Keep => old.filter(|_| !over),
                        Ttl::Set(expire_ms) => expire_ms,
                    };
                    if old == expire_ms {
                        items.replace(value_at, value);
                    } else {
                        items.remove_from(at, 3);
                        insert_triple(items, field, value, expire_ms);
                    }
                    over
                }
                None => {
                    let expire_ms = if let Ttl::Set(expire_ms) = ttl { expire_ms } else { None };
                    insert_triple(items, field, value, expire_ms);
                    true
                }
            },
            Body::Table(_) => unreachable!("the caller has seen that it is none"),
        };
        if self.len() > limits.hash_entries {
            self.make_table();
        }
        new
    }

    /// Sets or removes the expiry of a field; false if there is no such field.
    pub fn set_expire_ms(&mut self, field: &[u8], expire_ms: Option<i64>) -> bool {
        match &mut self.body {
            Body::Pack(items) => {
                if find(items, field, 2).is_none() {
                    return false;
                }
                if expire_ms.is_some() {
                    self.make_timed();
                    return self.set_expire_ms(field, expire_ms);
                }
            }
            Body::Timed(items) => {
                let Some(at) = find(items, field, 3) else { return false };
                let value = items.get(behind(items, at)).to_vec();
                items.remove_from(at, 3);
                insert_triple(items, field, &value, expire_ms);
            }
            Body::Table(table) => return table.set_expire_ms(field, expire_ms),
        }
        true
    }

    /// Takes a field out, over or not. False if it was not there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        match &mut self.body {
            Body::Pack(items) => find(items, field, 2).is_some_and(|at| items.remove_from(at, 2) > 0),
            Body::Timed(items) => find(items, field, 3).is_some_and(|at| items.remove_from(at, 3) > 0),
            Body::Table(table) => table.remove(field),
        }
    }

    // ---- expiry ----

    /// No field expires earlier; nothing if none ever does.
    #[inline]
    pub fn deadline(&self) -> Option<i64> {
        match &self.body {
            Body::Pack(_) => None,
            Body::Timed(items) => items.first().and_then(|at| expiry(items.get(behind(items, behind(items, at))))),
            Body::Table(table) => table.deadline(),
        }
    }

    /// Whether the time of a field may have been over before `now_ms`.
    #[inline]
    pub fn is_due(&self, now_ms: i64) -> bool {
        is_over(self.deadline(), now_ms)
    }

    /// Takes out up to `limit` fields whose time was over before `now_ms`, and gives their names to `gone`.
    pub fn take_due(&mut self, now_ms: i64, limit: usize, gone: &mut Vec<Box<[u8]>>) {
        match &mut self.body {
            Body::Pack(_) => {}
            Body::Timed(items) => {
                let due = triples(items).take(limit).take_while(|pair| pair.is_over(now_ms));
                let from = gone.len();
                gone.extend(due.map(|pair| pair.field.to_vec().into_boxed_slice()));
                items.remove_range(0, 3 * (gone.len() - from));
            }
            Body::Table(table) => table.take_due(now_ms, limit, gone),
        }
    }

    /// Takes out a field if its time was over before `now_ms`, and gives its name to `gone`.
    pub fn take_if_due(&mut self, field: &[u8], now_ms: i64, gone: &mut Vec<Box<[u8]>>) {
        if self.is_due(now_ms) && self.pair(field, NEVER).is_some_and(|pair| pair.is_over(now_ms)) {
            self.remove(field);
            gone.push(field.into());
        }
    }

    // ---- from outside ----

    /// Takes stock's pairs. `None` if a field has no value or is there twice.
    pub fn from_pairs(items: Listpack, limits: &Limits) -> Option<Self> {
        let sound = items.len().is_multiple_of(2) && are_distinct(items.iter().step_by(2));
        sound.then(|| Self { body: Body::Pack(items) }.fitted(limits))
    }

    /// Takes stock's triples. `None` if they are no triples, a field is there twice, or an expiry is none.
    pub fn from_triples(items: Listpack, limits: &Limits) -> Option<Self> {
        let expiries = || items.iter().skip(2).step_by(3);
        if !items.len().is_multiple_of(3) || !are_distinct(items.iter().step_by(3)) {
            return None;
        }
        if !expiries().all(|at| at.as_int().is_some_and(|ms| ms >= 0)) {
            return None;
        }
        if expiries().map(|at| expiry(at).unwrap_or(i64::MAX)).is_sorted() {
            return Some(Self { body: Body::Timed(items) }.fitted(limits));
        }
        let mut sorted = Listpack::with_capacity(items.byte_len());
        let mut pairs: Vec<Pair<'_>> = triples(&items).collect();
        pairs.sort_by_key(|pair| pair.expire_ms.unwrap_or(i64::MAX));
        for pair in pairs {
            push_item(&mut sorted, pair.field);
            push_item(&mut sorted, pair.value);
            sorted.push_back_int(pair.expire_ms.unwrap_or(0));
        }
        Some(Self { body: Body::Timed(sorted) }.fitted(limits))
    }

    /// Adds a field that was read somewhere; false if a table has it already. While it is none, the caller asks
    /// [`Hash::is_sound`] at the end.
    pub fn append(&mut self, field: &[u8], value: &[u8], expire_ms: Option<i64>, limits: &Limits) -> bool {
        let entries = self.len();
        match &mut self.body {
            Body::Pack(items) | Body::Timed(items)
                if !fits(items, field, value, limits) || entries >= limits.hash_entries =>
            {
                if !self.is_sound() {
                    return false;
                }
                self.make_table();
                self.append(field, value, expire_ms, limits)
            }
            Body::Pack(items) if expire_ms.is_none() => {
                items.push_back(field);
                items.push_back(value);
                true
            }
            Body::Pack(_) => {
                self.make_timed();
                self.append(field, value, expire_ms, limits)
            }
            Body::Timed(items) => {
                insert_triple(items, field, value, expire_ms);
                true
            }
            Body::Table(table) => {
                if table.get(field).is_some() {
                    return false;
                }
                table.add(field, value, expire_ms);
                true
            }
        }
    }

    /// Whether each field is there once.
    pub fn is_sound(&self) -> bool {
        match &self.body {
            Body::Pack(items) => are_distinct(items.iter().step_by(2)),
            Body::Timed(items) => are_distinct(items.iter().step_by(3)),
            Body::Table(_) => true,
        }
    }

    /// As a table, if it is more than a listpack may hold.
    fn fitted(mut self, limits: &Limits) -> Self {
        let too_long = |item: Item<'_>| matches!(item, Item::Str(text) if text.len() > limits.hash_value);
        let large =
            self.len() > limits.hash_entries || self.iter().any(|pair| too_long(pair.field) || too_long(pair.value));
        if large {
            self.make_table();
        }
        self
    }

    #[cold]
    fn make_table(&mut self) {
        if matches!(self.body, Body::Table(_)) {
            return;
        }
        let mut table = Table::default();
        let (mut field_text, mut value_text) = (itoa::Buffer::new(), itoa::Buffer::new());
        for pair in self.iter() {
            table.add(pair.field.bytes(&mut field_text), pair.value.bytes(&mut value_text), pair.expire_ms);
        }
        self.body = Body::Table(Box::new(table));
    }

    /// Makes ready for expiries: as stock servers do before they look whether the fields are there.
    #[cold]
    pub fn make_timed(&mut self) {
        if let Body::Pack(items) = &self.body {
            let mut timed = Listpack::with_capacity(items.byte_len() + items.len() * 2);
            for pair in self.iter() {
                push_item(&mut timed, pair.field);
                push_item(&mut timed, pair.value);
                timed.push_back_int(0);
            }
            self.body = Body::Timed(timed);
        }
    }
}

fn put_in_table(table: &mut Table, field: &[u8], value: &[u8], ttl: Ttl, now_ms: i64) -> bool {
    let before = table.len();
    let mut was_over = false;
    table.put(field, value, |old| {
        was_over = is_over(old, now_ms);
        match ttl {
            Ttl::Keep => old.filter(|_| !was_over),
            Ttl::Set(expire_ms) => expire_ms,
        }
    });
    was_over || table.len() != before
}

/// Whether a listpack may take the field and the value.
#[inline]
fn fits(items: &Listpack, field: &[u8], value: &[u8], limits: &Limits) -> bool {
    let longest = field.len().max(value.len());
    longest <= limits.hash_value && items.byte_len() + field.len() + value.len() < PACK_BYTES_MAX
}

/// The place of a field among tuples of so many elements.
#[inline]
fn find(items: &Listpack, field: &[u8], tuple: usize) -> Option<Pos> {
    items.find(items.first()?, field, tuple - 1)
}

/// The next element of the same tuple.
#[inline]
fn behind(items: &Listpack, at: Pos) -> Pos {
    items.next(at).expect("a field is followed by its value")
}

/// What the third of a triple says.
#[inline]
fn expiry(item: Item<'_>) -> Option<i64> {
    item.as_int().filter(|ms| *ms != 0)
}

fn push_item(items: &mut Listpack, item: Item<'_>) {
    match item {
        Item::Int(number) => items.push_back_int(number),
        Item::Str(text) => items.push_back(text),
    }
}

/// Puts a triple where its expiry says: behind those that expire no later.
fn insert_triple(items: &mut Listpack, field: &[u8], value: &[u8], expire_ms: Option<i64>) {
    let later = expire_ms.and_then(|ms| {
        let mut next = items.first();
        while let Some(at) = next {
            let third = behind(items, behind(items, at));
            if expiry(items.get(third)).is_none_or(|other| other > ms) {
                return Some(at);
            }
            next = items.next(third);
        }
        None
    });
    match later {
        Some(at) => {
            let at = items.insert_before(at, field);
            let at = items.insert_after(at, value);
            items.insert_after(at, itoa::Buffer::new().format(expire_ms.unwrap_or(0)).as_bytes());
        }
        None => {
            items.push_back(field);
            items.push_back(value);
            items.push_back_int(expire_ms.unwrap_or(0));
        }
    }
}

/// Whether no text is there twice. Two that hash alike count as the same: with 64 bits and a secret seed, they are.
fn are_distinct<'a>(items: impl Iterator<Item = Item<'a>>) -> bool {
    let mut text = itoa::Buffer::new();
    let mut hashes: Vec<u64> = items.map(|item| hash(item.bytes(&mut text))).collect();
    hashes.sort_unstable();
    hashes.windows(2).all(|pair| pair[0] != pair[1])
}

#[inline]
fn pair_of(field: &Field) -> Pair<'_> {
    Pair { field: Item::Str(field.name()), value: Item::Str(field.value()), expire_ms: field.expire_ms() }
}

/// Every field; see [`Hash::iter`].
pub struct Iter<'a>(Source<'a>);

enum Source<'a> {
    Pairs(listpack::Iter<'a>),
    Triples(listpack::Iter<'a>),
    Table(dict::Iter<'a, Field>),
}

fn triples(items: &Listpack) -> Iter<'_> {
    Iter(Source::Triples(items.iter()))
}

impl<'a> Iterator for Iter<'a> {
    type Item = Pair<'a>;

    #[inline]
    fn next(&mut self) -> Option<Pair<'a>> {
        match &mut self.0 {
            Source::Pairs(items) => Some(Pair { field: items.next()?, value: items.next()?, expire_ms: None }),
            Source::Triples(items) => {
                Some(Pair { field: items.next()?, value: items.next()?, expire_ms: expiry(items.next()?) })
            }
            Source::Table(fields) => fields.next().map(pair_of),
        }
    }
}
