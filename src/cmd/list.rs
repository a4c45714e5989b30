//! Lists: elements in order, reached from either end.
//!
//! How a list is kept is `ds::list`'s. Commands with two lists or several, and those that wait, are in `list_move`.

use super::{DataCommand, Effect, command};
use crate::base::{Error, number};
use crate::ds::list::{End, List};
use crate::ds::listpack::Item;
use crate::keyspace::{Data, EventClass, Key};
use crate::resp::Reply;
use crate::spec::prelude::*;

pub const LINDEX: Row = Row {
    name: "lindex",
    arity: 3,
    syntax: "key:key index:integer",
    flags: READONLY,
    cats: cat::LIST,
    keys: &[KEY1_RO_ACCESS],
    group: Group::List,
    complexity: "O(N), N being the number of elements to the nearer end; O(1) at either end",
    summary: "Gives the element at an index of a list.",
    ..Row::EMPTY
};

pub const LINSERT: Row = Row {
    name: "linsert",
    arity: 5,
    syntax: "key:key where:(before:BEFORE|after:AFTER) pivot element",
    flags: WRITE.or(DENYOOM),
    cats: cat::LIST,
    keys: &[KEY1_RW_INSERT],
    since: "2.2.0",
    group: Group::List,
    complexity: "O(N), N being the number of elements before the pivot",
    summary: "Puts an element before or after another one of a list.",
    ..Row::EMPTY
};

pub const LLEN: Row = Row {
    name: "llen",
    arity: 2,
    syntax: "key:key",
    flags: READONLY.or(FAST),
    cats: cat::LIST,
    keys: &[KEY1_RO],
    group: Group::List,
    complexity: "O(1)",
    summary: "Counts the elements of a list.",
    ..Row::EMPTY
};

pub const LPOP: Row = Row {
    name: "lpop",
    arity: -2,
    syntax: "key:key [count:integer@6.2.0]",
    flags: WRITE.or(FAST),
    cats: cat::LIST,
    keys: &[KEY1_RW_ACCESS_DELETE],
    group: Group::List,
    complexity: "O(N), N being the number of elements taken",
    summary: "Takes elements from the head of a list, which goes with the last one.",
    ..Row::EMPTY
};

pub const LPOS: Row = Row {
    name: "lpos",
    arity: -3,
    syntax: "key:key element [rank:integer=RANK] [num-matches:integer=COUNT] [len:integer=MAXLEN]",
    flags: READONLY,
    cats: cat::LIST,
    keys: &[KEY1_RO_ACCESS],
    since: "6.0.6",
    group: Group::List,
    complexity: "O(N), N being the number of elements looked at",
    summary: "Tells at which indexes of a list an element stands.",
    ..Row::EMPTY
};

pub const LPUSH: Row = Row {
    name: "lpush",
    arity: -3,
    syntax: "key:key element...",
    flags: WRITE.or(DENYOOM).or(FAST),
    cats: cat::LIST,
    keys: &[KEY1_RW_INSERT],
    group: Group::List,
    complexity: "O(1) an element",
    summary: "Puts elements at the head of a list, which comes to be if it is not there.",
    ..Row::EMPTY
};

pub const LPUSHX: Row = Row {
    name: "lpushx",
    arity: -3,
    syntax: "key:key element...",
    flags: WRITE.or(DENYOOM).or(FAST),
    cats: cat::LIST,
    keys: &[KEY1_RW_INSERT],
    since: "2.2.0",
    group: Group::List,
    complexity: "O(1) an element",
    summary: "Puts elements at the head of a list, if it is there.",
    ..Row::EMPTY
};

pub const LRANGE: Row = Row {
    name: "lrange",
    arity: 4,
    syntax: "key:key start:integer stop:integer",
    flags: READONLY,
    cats: cat::LIST,
    keys: &[KEY1_RO_ACCESS],
    group: Group::List,
    complexity: "O(S+N), S being the distance of the first element from the nearer end and N the number of elements",
    summary: "Gives the elements from one index of a list to another.",
    ..Row::EMPTY
};

pub const LREM: Row = Row {
    name: "lrem",
    arity: 4,
    syntax: "key:key count:integer element",
    flags: WRITE,
    cats: cat::LIST,
    keys: &[KEY1_RW_DELETE],
    group: Group::List,
    complexity: "O(N), N being the length of the list",
    summary: "Removes elements that equal a value from a list, which goes with the last one.",
    ..Row::EMPTY
};

pub const LSET: Row = Row {
    name: "lset",
    arity: 4,
    syntax: "key:key index:integer element",
    flags: WRITE.or(DENYOOM),
    cats: cat::LIST,
    keys: &[KEY1_RW_UPDATE],
    group: Group::List,
    complexity: "O(N), N being the number of elements to the nearer end; O(1) at either end",
    summary: "Puts another element in the place of the one at an index of a list.",
    ..Row::EMPTY
};

pub const LTRIM: Row = Row {
    name: "ltrim",
    arity: 4,
    syntax: "key:key start:integer stop:integer",
    flags: WRITE,
    cats: cat::LIST,
    keys: &[KEY1_RW_DELETE],
    group: Group::List,
    complexity: "O(N), N being the number of elements removed",
    summary: "Removes the elements at both ends of a list that are not between two indexes.",
    ..Row::EMPTY
};

pub const RPOP: Row = Row {
    name: "rpop",
    arity: -2,
    syntax: "key:key [count:integer@6.2.0]",
    flags: WRITE.or(FAST),
    cats: cat::LIST,
    keys: &[KEY1_RW_ACCESS_DELETE],
    group: Group::List,
    complexity: "O(N), N being the number of elements taken",
    summary: "Takes elements from the tail of a list, which goes with the last one.",
    ..Row::EMPTY
};

pub const RPUSH: Row = Row {
    name: "rpush",
    arity: -3,
    syntax: "key:key element...",
    flags: WRITE.or(DENYOOM).or(FAST),
    cats: cat::LIST,
    keys: &[KEY1_RW_INSERT],
    group: Group::List,
    complexity: "O(1) an element",
    summary: "Puts elements at the tail of a list, which comes to be if it is not there.",
    ..Row::EMPTY
};

pub const RPUSHX: Row = Row {
    name: "rpushx",
    arity: -3,
    syntax: "key:key element...",
    flags: WRITE.or(DENYOOM).or(FAST),
    cats: cat::LIST,
    keys: &[KEY1_RW_INSERT],
    since: "2.2.0",
    group: Group::List,
    complexity: "O(1) an element",
    summary: "Puts elements at the tail of a list, if it is there.",
    ..Row::EMPTY
};

pub const COMMANDS: &[DataCommand] = &[
    command(&LINDEX, lindex),
    command(&LINSERT, linsert),
    command(&LLEN, llen),
    command(&LPOP, lpop),
    command(&LPOS, lpos),
    command(&LPUSH, lpush),
    command(&LPUSHX, lpushx),
    command(&LRANGE, lrange),
    command(&LREM, lrem),
    command(&LSET, lset),
    command(&LTRIM, ltrim),
    command(&RPOP, rpop),
    command(&RPUSH, rpush),
    command(&RPUSHX, rpushx),
];

#[inline]
pub(super) fn reply_item(out: &mut Reply, item: Item<'_>) {
    match item {
        Item::Int(n) => out.bulk_int(n),
        Item::Str(text) => out.bulk(text),
    }
}

pub(super) fn push_event(end: End) -> &'static str {
    match end {
        End::Head => "lpush",
        End::Tail => "rpush",
    }
}

pub(super) fn pop_event(end: End) -> &'static str {
    match end {
        End::Head => "lpop",
        End::Tail => "rpop",
    }
}

/// Records a change that counts as `elements` changes.
pub(super) fn changed(db: &mut Data<'_>, key: Key<'_>, event: &'static str, elements: usize) {
    let dirty = db.unit.dirty;
    db.changed(key, EventClass::LIST, event);
    db.unit.dirty = dirty + elements as u64;
}

// ---- pushing ----

fn push(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply, end: End, create: bool) -> Result<Effect, Error> {
    let key = a.key()?;
    let limits = db.unit.limits;
    let values = a.rest();
    let add = |list: &mut List| {
        list.expect(values.iter().map(<[u8]>::len).sum(), values.len(), &limits);
        values.iter().for_each(|value| list.push(end, value));
        list.len()
    };
    let len = if create { Some(db.edit_or_new(key, add)?) } else { db.edit(key, add)? };
    let Some(len) = len else {
        out.int(0);
        return Ok(Effect::None);
    };
    changed(db, key, push_event(end), values.len());
    out.int(len as i64);
    Ok(Effect::Verbatim)
}

fn lpush(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    push(db, a, out, End::Head, true)
}

fn rpush(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    push(db, a, out, End::Tail, true)
}

fn lpushx(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    push(db, a, out, End::Head, false)
}

fn rpushx(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    push(db, a, out, End::Tail, false)
}

// ---- popping ----

/// Takes up to `count` elements from an end and replies with them, behind what `head` replies for so many. Gives how many
/// there were; nothing is done, nor replied, if there is no list.
#[inline]
pub(super) fn pop(
    db: &mut Data<'_>,
    key: Key<'_>,
    end: End,
    count: usize,
    out: &mut Reply,
    head: impl FnOnce(&mut Reply, usize),
) -> Result<Option<usize>, Error> {
    let limits = db.unit.limits;
    let popped = db.edit(key, |list: &mut List| {
        let len = list.len();
        let n = count.min(len);
        head(out, n);
        if n == 1 {
            list.pop(end, |item| reply_item(out, item));
        } else {
            match end {
                End::Head => {
                    list.range(0, n, End::Tail, |item| reply_item(out, item));
                    list.remove_range(0, n);
                }
                End::Tail => {
                    list.range(len - 1, n, End::Head, |item| reply_item(out, item));
                    list.remove_range(len - n, n);
                }
            }
        }
        list.settle(&limits);
        (n, n == len)
    })?;
    let Some((n, emptied)) = popped else { return Ok(None) };
    changed(db, key, pop_event(end), n);
    if emptied {
        db.remove_if_empty::<List>(key);
    }
    Ok(Some(n))
}

fn pop_some(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply, end: End) -> Result<Effect, Error> {
    let key = a.key()?;
    let count = match a.left() {
        0 => None,
        1 => {
            let count = number::parse_i64(a.next()?).and_then(|n| usize::try_from(n).ok());
            Some(count.ok_or(Error::NotPositive)?)
        }
        _ => return Err(Error::Arity(a.name().to_owned())),
    };
    if count == Some(0) {
        match db.view::<List>(key)? {
            Some(_) => out.array(0),
            None => out.null_array(),
        }
        return Ok(Effect::None);
    }
    let popped = pop(db, key, end, count.unwrap_or(1), out, |out, n| {
        if count.is_some() {
            out.array(n);
        }
    })?;
    match (popped, count) {
        (Some(_), _) => return Ok(Effect::Verbatim),
        (None, Some(_)) => out.null_array(),
        (None, None) => out.null(),
    }
    Ok(Effect::None)
}

fn lpop(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    pop_some(db, a, out, End::Head)
}

fn rpop(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    pop_some(db, a, out, End::Tail)
}

// ---- looking ----

fn llen(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let len = db.read::<List>(a.key()?)?.map_or(0, List::len);
    out.int(len as i64);
    Ok(Effect::None)
}

fn lindex(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let list = db.read::<List>(a.key()?)?;
    // Without a list the index is not even looked at.
    let found = match list {
        Some(list) => list.get(a.next_i64()?, |item| reply_item(out, item)),
        None => None,
    };
    if found.is_none() {
        out.null();
    }
    Ok(Effect::None)
}

/// The first index and the number of elements from `start` to `stop`, negative ones counted from the end.
fn clamp(start: i64, stop: i64, len: usize) -> (usize, usize) {
    let len = len as i64;
    let from_end = |index: i64| if index < 0 { index.saturating_add(len) } else { index };
    let (start, stop) = (from_end(start).max(0), from_end(stop).min(len - 1));
    if start > stop { (0, 0) } else { (start as usize, (stop - start + 1) as usize) }
}

fn lrange(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    let (start, stop) = (a.next_i64()?, a.next_i64()?);
    let Some(list) = db.read::<List>(key)? else {
        out.array(0);
        return Ok(Effect::None);
    };
    let (from, count) = clamp(start, stop, list.len());
    out.array(count);
    list.range(from, count, End::Tail, |item| reply_item(out, item));
    Ok(Effect::None)
}

/// A number whose sign tells a direction: it must have an opposite.
fn next_with_opposite(a: &mut Args<'_>) -> Result<i64, Error> {
    match a.next_i64()? {
        i64::MIN => Err(Error::text(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        )),
        n => Ok(n),
    }
}

/// The options of LPOS.
struct Search {
    /// The first match to tell of, 1 being the first there is.
    rank: u64,
    /// Towards which end to look.
    towards: End,
    /// How many matches to tell of, in an array; 0: all of them. `None`: one, without an array.
    count: Option<usize>,
    /// How many elements to look at; 0: all of them.
    max_len: usize,
}

impl Search {
    fn parse(a: &mut Args<'_>) -> Result<Self, Error> {
        let mut search = Self { rank: 1, towards: End::Tail, count: None, max_len: 0 };
        let size = |word: &[u8], error| {
            number::parse_i64(word).and_then(|n| usize::try_from(n).ok()).ok_or(Error::text(error))
        };
        while !a.is_at_end() {
            if a.option("RANK") {
                let rank = next_with_opposite(a)?;
                if rank == 0 {
                    return Err(Error::text(
                        "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... \
                         or use negative to start from the end of the list",
                    ));
                }
                search.rank = rank.unsigned_abs();
                search.towards = if rank < 0 { End::Head } else { End::Tail };
            } else if a.option("COUNT") {
                search.count = Some(size(a.next()?, "ERR COUNT can't be negative")?);
            } else if a.option("MAXLEN") {
                search.max_len = size(a.next()?, "ERR MAXLEN can't be negative")?;
            } else {
                return Err(Error::Syntax);
            }
        }
        Ok(search)
    }

    /// Calls `found` with the indexes asked for.
    fn run(&self, list: &List, element: &[u8], mut found: impl FnMut(usize)) {
        let as_int = number::parse_i64(element);
        let most = match self.count {
            None => 1,
            Some(0) => usize::MAX,
            Some(count) => count,
        };
        let (mut index, last) = match self.towards {
            End::Tail => (0, list.len().wrapping_sub(1)),
            End::Head => (list.len().wrapping_sub(1), 0),
        };
        let mut looked = 0;
        let (mut matches, mut told) = (0, 0);
        list.walk(index, self.towards, |item| {
            let same = match item {
                Item::Int(n) => as_int == Some(n),
                Item::Str(text) => text == element,
            };
            if same {
                matches += 1;
                if matches >= self.rank {
                    found(index);
                    told += 1;
                }
            }
            looked += 1;
            let go_on = told < most && looked != self.max_len && index != last;
            match self.towards {
                End::Tail => index = index.wrapping_add(1),
                End::Head => index = index.wrapping_sub(1),
            }
            go_on
        });
    }
}

fn lpos(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (key, element) = (a.key()?, a.next()?);
    let search = Search::parse(a)?;
    let list = db.read::<List>(key)?;
    match (list, search.count) {
        (None, Some(_)) => out.array(0),
        (None, None) => out.null(),
        (Some(list), Some(_)) => {
            let header = out.deferred_array();
            let mut n = 0;
            search.run(list, element, |index| {
                out.int(index as i64);
                n += 1;
            });
            out.set_len(header, n);
        }
        (Some(list), None) => {
            let mut first = None;
            search.run(list, element, |index| first = Some(index));
            match first {
                Some(index) => out.int(index as i64),
                None => out.null(),
            }
        }
    }
    Ok(Effect::None)
}

// ---- in the middle ----

fn linsert(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    let behind = if a.flag("AFTER") {
        true
    } else if a.flag("BEFORE") {
        false
    } else {
        return Err(Error::Syntax);
    };
    let (pivot, value) = (a.next()?, a.next()?);
    let limits = db.unit.limits;
    let inserted = db.edit(key, |list: &mut List| {
        // Before the pivot is looked for, as stock: a list may become large for nothing.
        list.expect(value.len(), 1, &limits);
        list.insert(pivot, value, behind).then(|| list.len())
    })?;
    match inserted {
        None => out.int(0),
        Some(None) => out.int(-1),
        Some(Some(len)) => {
            db.changed(key, EventClass::LIST, "linsert");
            out.int(len as i64);
            return Ok(Effect::Verbatim);
        }
    }
    Ok(Effect::None)
}

fn lset(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    if db.view::<List>(key)?.is_none() {
        return Err(Error::NoSuchKey);
    }
    let (index, value) = (a.next_i64()?, a.next()?);
    let limits = db.unit.limits;
    let set = db.edit(key, |list: &mut List| {
        list.expect(value.len(), 1, &limits);
        let set = list.set(index, value);
        if set {
            list.settle(&limits);
        }
        set
    })?;
    if set != Some(true) {
        return Err(Error::IndexRange);
    }
    out.ok();
    db.changed(key, EventClass::LIST, "lset");
    Ok(Effect::Verbatim)
}

fn lrem(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    let (count, value) = (next_with_opposite(a)?, a.next()?);
    let from = if count < 0 { End::Tail } else { End::Head };
    let most = if count == 0 { usize::MAX } else { usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX) };
    let limits = db.unit.limits;
    let removed = db.edit(key, |list: &mut List| {
        let removed = list.remove_value(value, most, from);
        if removed > 0 {
            list.settle(&limits);
        }
        removed
    })?;
    let removed = removed.unwrap_or(0);
    if removed > 0 {
        changed(db, key, "lrem", removed);
        db.remove_if_empty::<List>(key);
    }
    out.int(removed as i64);
    Ok(Effect::verbatim_if(removed > 0))
}

fn ltrim(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    let (start, stop) = (a.next_i64()?, a.next_i64()?);
    let limits = db.unit.limits;
    let removed = db.edit(key, |list: &mut List| {
        let len = list.len();
        let (from, kept) = clamp(start, stop, len);
        list.remove_range(from + kept, len);
        list.remove_range(0, from);
        list.settle(&limits);
        len - kept
    })?;
    out.ok();
    let Some(removed) = removed else { return Ok(Effect::None) };
    changed(db, key, "ltrim", removed);
    db.remove_if_empty::<List>(key);
    Ok(Effect::verbatim_if(removed > 0))
}
