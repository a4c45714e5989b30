//! Moving elements between lists, popping from the first of several, and waiting until there is something to pop.

use smallvec::SmallVec;

use super::first_of::{self, Asked, keys_and_timeout};
use super::list::{pop, pop_event, push_event};
use super::{DataCommand, Effect, OnTimeout, command, timeout_ms};
use crate::base::{Error, number};
use crate::ds::Limits;
use crate::ds::list::{End, List};
use crate::ds::listpack::Item;
use crate::keyspace::{Data, EventClass, Key, Type};
use crate::resp::Reply;
use crate::spec::prelude::*;

/// Where an element is moved to.
const DESTINATION: KeySpec = KeySpec::at(2, RW.or(INSERT));

pub const BLMOVE: Row = Row {
    name: "blmove",
    arity: 6,
    syntax: "source:key destination:key#1 wherefrom:(left:LEFT|right:RIGHT) whereto:(left:LEFT|right:RIGHT) timeout:double",
    flags: WRITE.or(DENYOOM).or(BLOCKING),
    cats: cat::LIST,
    keys: &[KEY1_RW_ACCESS_DELETE, DESTINATION],
    since: "6.2.0",
    group: Group::List,
    complexity: "O(1)",
    summary: "Moves an element from one list to another, and waits for one if there is none.",
    ..Row::EMPTY
};

pub const BLMPOP: Row = Row {
    name: "blmpop",
    arity: -5,
    syntax: "timeout:double numkeys:integer key:key... where:(left:LEFT|right:RIGHT) [count:integer=COUNT]",
    flags: WRITE.or(BLOCKING),
    cats: cat::LIST,
    keys: &[KeySpec::at(2, RW.or(ACCESS).or(DELETE)).counted()],
    since: "7.0.0",
    group: Group::List,
    complexity: "O(N+M), N being the number of keys and M that of elements taken",
    summary: "Takes elements from the first of several lists that has any, and waits for some if none has.",
    ..Row::EMPTY
};

pub const BLPOP: Row = Row {
    name: "blpop",
    arity: -3,
    syntax: "key:key... timeout:double",
    flags: WRITE.or(BLOCKING),
    cats: cat::LIST,
    keys: &[KeySpec::at(1, RW.or(ACCESS).or(DELETE)).through(-2)],
    since: "2.0.0",
    group: Group::List,
    complexity: "O(N), N being the number of keys",
    summary: "Takes the head of the first of several lists that has one, and waits for one if none has.",
    ..Row::EMPTY
};

pub const BRPOP: Row = Row {
    name: "brpop",
    arity: -3,
    syntax: "key:key... timeout:double",
    flags: WRITE.or(BLOCKING),
    cats: cat::LIST,
    keys: &[KeySpec::at(1, RW.or(ACCESS).or(DELETE)).through(-2)],
    since: "2.0.0",
    group: Group::List,
    complexity: "O(N), N being the number of keys",
    summary: "Takes the tail of the first of several lists that has one, and waits for one if none has.",
    ..Row::EMPTY
};

pub const BRPOPLPUSH: Row = Row {
    name: "brpoplpush",
    arity: 4,
    syntax: "source:key destination:key#1 timeout:double",
    flags: WRITE.or(DENYOOM).or(BLOCKING),
    cats: cat::LIST,
    keys: &[KEY1_RW_ACCESS_DELETE, DESTINATION],
    since: "2.2.0",
    group: Group::List,
    complexity: "O(1)",
    summary: "Moves the tail of one list to the head of another, and waits for one if there is none.",
    doc: Doc::Deprecated { since: "6.2.0", replaced_by: "`BLMOVE` with the `RIGHT` and `LEFT` arguments" },
    ..Row::EMPTY
};

pub const LMOVE: Row = Row {
    name: "lmove",
    arity: 5,
    syntax: "source:key destination:key#1 wherefrom:(left:LEFT|right:RIGHT) whereto:(left:LEFT|right:RIGHT)",
    flags: WRITE.or(DENYOOM),
    cats: cat::LIST,
    keys: &[KEY1_RW_ACCESS_DELETE, DESTINATION],
    since: "6.2.0",
    group: Group::List,
    complexity: "O(1)",
    summary: "Moves an element from one list to another.",
    ..Row::EMPTY
};

pub const LMPOP: Row = Row {
    name: "lmpop",
    arity: -4,
    syntax: "numkeys:integer key:key... where:(left:LEFT|right:RIGHT) [count:integer=COUNT]",
    flags: WRITE,
    cats: cat::LIST,
    keys: &[KeySpec::at(1, RW.or(ACCESS).or(DELETE)).counted()],
    since: "7.0.0",
    group: Group::List,
    complexity: "O(N+M), N being the number of keys and M that of elements taken",
    summary: "Takes elements from the first of several lists that has any.",
    ..Row::EMPTY
};

pub const RPOPLPUSH: Row = Row {
    name: "rpoplpush",
    arity: 3,
    syntax: "source:key destination:key#1",
    flags: WRITE.or(DENYOOM),
    cats: cat::LIST,
    keys: &[KEY1_RW_ACCESS_DELETE, DESTINATION],
    since: "1.2.0",
    group: Group::List,
    complexity: "O(1)",
    summary: "Moves the tail of one list to the head of another.",
    doc: Doc::Deprecated { since: "6.2.0", replaced_by: "`LMOVE` with the `RIGHT` and `LEFT` arguments" },
    ..Row::EMPTY
};

pub const COMMANDS: &[DataCommand] = &[
    command(&BLMOVE, blmove),
    command(&BLMPOP, blmpop),
    command(&BLPOP, blpop),
    command(&BRPOP, brpop),
    command(&BRPOPLPUSH, brpoplpush),
    command(&LMOVE, lmove),
    command(&LMPOP, lmpop),
    command(&RPOPLPUSH, rpoplpush),
];

/// LEFT or RIGHT.
fn end(a: &mut Args<'_>) -> Result<End, Error> {
    if a.flag("LEFT") {
        Ok(End::Head)
    } else if a.flag("RIGHT") {
        Ok(End::Tail)
    } else {
        Err(Error::Syntax)
    }
}

// ---- moving ----

/// An element on its way, and the bytes that stock reckons it to add.
struct Moved {
    value: SmallVec<[u8; 64]>,
    reckoned: usize,
}

impl Moved {
    fn pop(list: &mut List, from: End) -> Option<Self> {
        // An integer out of a large list is on its way as a number, whose digits stock does not count.
        let large = list.as_pack().is_none();
        list.pop(from, |item| {
            let value = SmallVec::from_slice(item.bytes(&mut itoa::Buffer::new()));
            let reckoned = if large && matches!(item, Item::Int(_)) { 0 } else { value.len() };
            Self { value, reckoned }
        })
    }

    fn push(&self, list: &mut List, to: End, limits: &Limits) {
        list.expect(self.reckoned, 1, limits);
        list.push(to, &self.value);
    }
}

/// Moves an element; false, and without a reply, if there is no list to move one from.
fn move_one(
    db: &mut Data<'_>,
    (source, from): (Key<'_>, End),
    (destination, to): (Key<'_>, End),
    out: &mut Reply,
) -> Result<bool, Error> {
    if db.view::<List>(source)?.is_none() {
        return Ok(false);
    }
    let limits = db.unit.limits;
    let dirty = db.unit.dirty;
    if source.bytes == destination.bytes {
        let moved = db.edit(source, |list: &mut List| {
            let moved = Moved::pop(list, from)?;
            moved.push(list, to, &limits);
            list.settle(&limits);
            Some(moved)
        })?;
        let Some(moved) = moved.flatten() else { return Ok(false) };
        db.changed(source, EventClass::LIST, push_event(to));
        db.changed(source, EventClass::LIST, pop_event(from));
        out.bulk(&moved.value);
    } else {
        db.view::<List>(destination)?;
        let Some(moved) = db.edit(source, |list: &mut List| Moved::pop(list, from))?.flatten() else {
            return Ok(false);
        };
        db.edit_or_new(destination, |list: &mut List| moved.push(list, to, &limits))?;
        db.changed(destination, EventClass::LIST, push_event(to));
        out.bulk(&moved.value);
        db.edit(source, |list: &mut List| list.settle(&limits))?;
        db.changed(source, EventClass::LIST, pop_event(from));
        db.remove_if_empty::<List>(source);
    }
    db.unit.dirty = dirty + 1;
    Ok(true)
}

fn lmove(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (source, destination) = (a.key()?, a.key()?);
    let (from, to) = (end(a)?, end(a)?);
    move_or_null(db, (source, from), (destination, to), out)
}

fn rpoplpush(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (source, destination) = (a.key()?, a.key()?);
    move_or_null(db, (source, End::Tail), (destination, End::Head), out)
}

fn move_or_null(db: &mut Data<'_>, from: (Key<'_>, End), to: (Key<'_>, End), out: &mut Reply) -> Result<Effect, Error> {
    let moved = move_one(db, from, to, out)?;
    if !moved {
        out.null();
    }
    Ok(Effect::verbatim_if(moved))
}

fn blmove(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (source, destination) = (a.key()?, a.key()?);
    let ends = [a.peek().unwrap_or_default(), a.word(a.position() + 1)];
    let (from, to) = (end(a)?, end(a)?);
    let timeout_ms = timeout_ms(db, a.next()?)?;
    if move_one(db, (source, from), (destination, to), out)? {
        return Ok(Effect::rewrite([b"LMOVE", source.bytes, destination.bytes, ends[0], ends[1]]));
    }
    Ok(wait(&[source], timeout_ms, OnTimeout::Null))
}

fn brpoplpush(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (source, destination) = (a.key()?, a.key()?);
    let timeout_ms = timeout_ms(db, a.next()?)?;
    if move_one(db, (source, End::Tail), (destination, End::Head), out)? {
        return Ok(Effect::rewrite([b"RPOPLPUSH", source.bytes, destination.bytes]));
    }
    Ok(wait(&[source], timeout_ms, OnTimeout::Null))
}

// ---- the first of several ----

impl Asked<'_, End> {
    /// Pops from the first key that has elements.
    fn pop(&self, db: &mut Data<'_>, out: &mut Reply) -> Result<Option<Effect>, Error> {
        for key in &self.keys {
            let popped = pop(db, *key, self.end, self.count, out, |out, n| {
                out.array(2);
                out.bulk(key.bytes);
                out.array(n);
            })?;
            if let Some(n) = popped {
                let count = number::IntText::new().format(n as i64).to_owned();
                return Ok(Some(Effect::rewrite([pop_command(self.end), key.bytes, count.as_bytes()])));
            }
        }
        Ok(None)
    }
}

fn pop_command(end: End) -> &'static [u8] {
    match end {
        End::Head => b"LPOP",
        End::Tail => b"RPOP",
    }
}

fn lmpop(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    match Asked::parse(a, end)?.pop(db, out)? {
        Some(effect) => Ok(effect),
        None => {
            out.null_array();
            Ok(Effect::None)
        }
    }
}

fn blmpop(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let timeout = a.next()?;
    let asked = Asked::parse(a, end)?;
    let timeout_ms = timeout_ms(db, timeout)?;
    let effect = asked.pop(db, out)?;
    Ok(effect.unwrap_or_else(|| wait(&asked.keys, timeout_ms, OnTimeout::NullArray)))
}

// ---- waiting ----

fn wait(keys: &[Key<'_>], timeout_ms: i64, on_timeout: OnTimeout) -> Effect {
    first_of::wait(Type::List, keys, timeout_ms, on_timeout)
}

fn pop_or_wait(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply, end: End) -> Result<Effect, Error> {
    let (keys, timeout_ms) = keys_and_timeout(db, a)?;
    for key in &keys {
        let popped = pop(db, *key, end, 1, out, |out, _| {
            out.array(2);
            out.bulk(key.bytes);
        })?;
        if popped.is_some() {
            return Ok(Effect::rewrite([pop_command(end), key.bytes]));
        }
    }
    Ok(wait(&keys, timeout_ms, OnTimeout::NullArray))
}

fn blpop(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    pop_or_wait(db, a, out, End::Head)
}

fn brpop(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    pop_or_wait(db, a, out, End::Tail)
}
