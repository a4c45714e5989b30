//! Sets: members without order, and what two or more of them have in common.
//!
//! How a set is kept is `ds::set`'s; what replicas hear never leaves a choice to them.

use std::cmp::Reverse;

use smallvec::SmallVec;

use super::scan::{self, Options, Page, Walk};
use super::{DataCommand, Effect, command};
use crate::base::{Error, number};
use crate::ds::Limits;
use crate::ds::listpack::Item;
use crate::ds::set::{Set, Taken, Wanted};
use crate::keyspace::{Aggregate, Data, Entry, EventClass, Key};
use crate::resp::{OwnedArgv, Reply};
use crate::spec::prelude::*;

/// The sets that a command with a destination reads.
const SOURCES: KeySpec = KeySpec::at(2, RO.or(ACCESS)).through(-1);

/// SPOP tells replicas of so many members at a time.
const TOLD_AT_ONCE: usize = 1024;

/// Members drawn between two looks at whether anybody will get them.
const DRAWN_AT_ONCE: u64 = 1024;

pub const SADD: Row = Row {
    name: "sadd",
    arity: -3,
    syntax: "key:key member...",
    flags: WRITE.or(DENYOOM).or(FAST),
    cats: cat::SET,
    keys: &[KEY1_RW_INSERT],
    element: 2,
    group: Group::Set,
    complexity: "O(1) a member",
    summary: "Adds members to a set, which comes to be if it is not there.",
    ..Row::EMPTY
};

pub const SCARD: Row = Row {
    name: "scard",
    arity: 2,
    syntax: "key:key",
    flags: READONLY.or(FAST),
    cats: cat::SET,
    keys: &[KEY1_RO],
    group: Group::Set,
    complexity: "O(1)",
    summary: "Counts the members of a set.",
    ..Row::EMPTY
};

pub const SDIFF: Row = Row {
    name: "sdiff",
    arity: -2,
    syntax: "key:key...",
    flags: READONLY,
    cats: cat::SET,
    keys: &[KEYS_RO_ACCESS],
    tips: &["nondeterministic_output_order"],
    group: Group::Set,
    complexity: "O(N), N being the number of members of all sets",
    summary: "Gives the members of the first set that are in none of the others.",
    ..Row::EMPTY
};

pub const SDIFFSTORE: Row = Row {
    name: "sdiffstore",
    arity: -3,
    syntax: "destination:key key:key#1...",
    flags: WRITE.or(DENYOOM),
    cats: cat::SET,
    keys: &[KEY1_OW_UPDATE, SOURCES],
    group: Group::Set,
    complexity: "O(N), N being the number of members of all sets",
    summary: "Stores the members of the first set that are in none of the others.",
    ..Row::EMPTY
};

pub const SINTER: Row = Row {
    name: "sinter",
    arity: -2,
    syntax: "key:key...",
    flags: READONLY,
    cats: cat::SET,
    keys: &[KEYS_RO_ACCESS],
    tips: &["nondeterministic_output_order"],
    group: Group::Set,
    complexity: "O(N*M), N being the size of the smallest set and M the number of sets",
    summary: "Gives the members that all of the sets have.",
    ..Row::EMPTY
};

pub const SINTERCARD: Row = Row {
    name: "sintercard",
    arity: -3,
    syntax: "numkeys:integer key:key... [limit:integer=LIMIT]",
    flags: READONLY,
    cats: cat::SET,
    keys: &[KeySpec::at(1, RO.or(ACCESS)).counted()],
    since: "7.0.0",
    group: Group::Set,
    complexity: "O(N*M), N being the size of the smallest set and M the number of sets",
    summary: "Counts the members that all of the sets have.",
    ..Row::EMPTY
};

pub const SINTERSTORE: Row = Row {
    name: "sinterstore",
    arity: -3,
    syntax: "destination:key key:key#1...",
    flags: WRITE.or(DENYOOM),
    cats: cat::SET,
    keys: &[KEY1_OW_UPDATE, SOURCES],
    group: Group::Set,
    complexity: "O(N*M), N being the size of the smallest set and M the number of sets",
    summary: "Stores the members that all of the sets have.",
    ..Row::EMPTY
};

pub const SISMEMBER: Row = Row {
    name: "sismember",
    arity: 3,
    syntax: "key:key member",
    flags: READONLY.or(FAST),
    cats: cat::SET,
    keys: &[KEY1_RO],
    element: 2,
    group: Group::Set,
    complexity: "O(1)",
    summary: "Tells whether something is a member of a set.",
    ..Row::EMPTY
};

pub const SMEMBERS: Row = Row {
    name: "smembers",
    arity: 2,
    syntax: "key:key",
    flags: READONLY,
    cats: cat::SET,
    keys: &[KEY1_RO_ACCESS],
    tips: &["nondeterministic_output_order"],
    group: Group::Set,
    complexity: "O(N), N being the number of members",
    summary: "Gives all members of a set.",
    ..Row::EMPTY
};

pub const SMISMEMBER: Row = Row {
    name: "smismember",
    arity: -3,
    syntax: "key:key member...",
    flags: READONLY.or(FAST),
    cats: cat::SET,
    keys: &[KEY1_RO_ACCESS],
    element: 2,
    since: "6.2.0",
    group: Group::Set,
    complexity: "O(N), N being the number of members asked about",
    summary: "Tells of several things whether they are members of a set.",
    ..Row::EMPTY
};

pub const SMOVE: Row = Row {
    name: "smove",
    arity: 4,
    syntax: "source:key destination:key#1 member",
    flags: WRITE.or(FAST),
    cats: cat::SET,
    keys: &[KEY1_RW_ACCESS_DELETE, KeySpec::at(2, RW.or(INSERT))],
    group: Group::Set,
    complexity: "O(1)",
    summary: "Moves a member from one set to another.",
    ..Row::EMPTY
};

pub const SPOP: Row = Row {
    name: "spop",
    arity: -2,
    syntax: "key:key [count:integer@3.2.0]",
    flags: WRITE.or(FAST),
    cats: cat::SET,
    keys: &[KEY1_RW_ACCESS_DELETE],
    tips: &["nondeterministic_output"],
    group: Group::Set,
    complexity: "O(N), N being the number of members taken",
    summary: "Takes members out of a set by chance and gives them.",
    ..Row::EMPTY
};

pub const SRANDMEMBER: Row = Row {
    name: "srandmember",
    arity: -2,
    syntax: "key:key [count:integer@2.6.0]",
    flags: READONLY,
    cats: cat::SET,
    keys: &[KEY1_RO_ACCESS],
    tips: &["nondeterministic_output"],
    group: Group::Set,
    complexity: "O(N), N being the number of members asked for",
    summary: "Gives members of a set by chance, which stay in it.",
    ..Row::EMPTY
};

pub const SREM: Row = Row {
    name: "srem",
    arity: -3,
    syntax: "key:key member...",
    flags: WRITE.or(FAST),
    cats: cat::SET,
    keys: &[KEY1_RW_DELETE],
    element: 2,
    group: Group::Set,
    complexity: "O(1) a member",
    summary: "Removes members from a set, which goes with the last one.",
    ..Row::EMPTY
};

pub const SSCAN: Row = Row {
    name: "sscan",
    arity: -3,
    syntax: "key:key cursor:integer [pattern:pattern=MATCH] [count:integer=COUNT]",
    flags: READONLY,
    cats: cat::SET,
    keys: &[KEY1_RO_ACCESS],
    tips: &["nondeterministic_output"],
    since: "2.8.0",
    group: Group::Set,
    complexity: "O(1) a call, O(N) for a whole walk, N being the number of members",
    summary: "Walks through the members of a set a few at a time.",
    ..Row::EMPTY
};

pub const SUNION: Row = Row {
    name: "sunion",
    arity: -2,
    syntax: "key:key...",
    flags: READONLY,
    cats: cat::SET,
    keys: &[KEYS_RO_ACCESS],
    tips: &["nondeterministic_output_order"],
    group: Group::Set,
    complexity: "O(N), N being the number of members of all sets",
    summary: "Gives the members that any of the sets has.",
    ..Row::EMPTY
};

pub const SUNIONSTORE: Row = Row {
    name: "sunionstore",
    arity: -3,
    syntax: "destination:key key:key#1...",
    flags: WRITE.or(DENYOOM),
    cats: cat::SET,
    keys: &[KEY1_OW_UPDATE, SOURCES],
    group: Group::Set,
    complexity: "O(N), N being the number of members of all sets",
    summary: "Stores the members that any of the sets has.",
    ..Row::EMPTY
};

pub const COMMANDS: &[DataCommand] = &[
    command(&SADD, sadd),
    command(&SCARD, scard),
    command(&SDIFF, sdiff),
    command(&SDIFFSTORE, sdiffstore),
    command(&SINTER, sinter),
    command(&SINTERCARD, sintercard),
    command(&SINTERSTORE, sinterstore),
    command(&SISMEMBER, sismember),
    command(&SMEMBERS, smembers),
    command(&SMISMEMBER, smismember),
    command(&SMOVE, smove),
    command(&SPOP, spop),
    command(&SRANDMEMBER, srandmember),
    command(&SREM, srem),
    command(&SSCAN, sscan),
    command(&SUNION, sunion),
    command(&SUNIONSTORE, sunionstore),
];
// ---- one set ----

fn reply_item(out: &mut Reply, item: Item<'_>) {
    match item {
        Item::Int(n) => out.bulk_int(n),
        Item::Str(text) => out.bulk(text),
    }
}

/// The set of a key and its members, as the only reply.
fn reply_all(out: &mut Reply, set: &Set) {
    out.set(set.len());
    set.iter().for_each(|m| reply_item(out, m));
}

fn sadd(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    let limits = db.unit.limits;
    let members = a.rest();
    let added = db.edit_or_new(key, |set: &mut Set| {
        set.expect(members.word(0), members.len(), &limits);
        members.iter().filter(|m| set.add(m, &limits)).count()
    })?;
    if added > 0 {
        db.changed(key, EventClass::SET, "sadd");
        db.unit.dirty += added as u64 - 1;
    }
    out.int(added as i64);
    Ok(Effect::verbatim_if(added > 0))
}

fn srem(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    let members = a.rest();
    let removed = db.edit(key, |set: &mut Set| members.iter().filter(|m| set.remove(m)).count())?.unwrap_or(0);
    if removed > 0 {
        db.changed(key, EventClass::SET, "srem");
        db.unit.dirty += removed as u64 - 1;
        db.remove_if_empty::<Set>(key);
    }
    out.int(removed as i64);
    Ok(Effect::verbatim_if(removed > 0))
}

fn smove(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (from, to, member) = (a.key()?, a.key()?, a.next()?);
    let Some(set) = db.view::<Set>(from)? else {
        out.int(0);
        return Ok(Effect::None);
    };
    let there = set.contains(member);
    db.view::<Set>(to)?;
    out.int(i64::from(there));
    if !there || from.bytes == to.bytes {
        return Ok(Effect::None);
    }
    db.edit(from, |set: &mut Set| set.remove(member))?;
    db.changed(from, EventClass::SET, "srem");
    db.remove_if_empty::<Set>(from);
    let limits = db.unit.limits;
    let new = db.edit_or_new(to, |set: &mut Set| {
        if set.is_empty() {
            set.expect(member, 1, &limits);
        }
        set.add(member, &limits)
    })?;
    if new {
        db.changed(to, EventClass::SET, "sadd");
    }
    Ok(Effect::Verbatim)
}

fn sismember(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (key, member) = (a.key()?, a.next()?);
    let there = db.read::<Set>(key)?.is_some_and(|set| set.contains(member));
    out.int(i64::from(there));
    Ok(Effect::None)
}

fn smismember(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let set = db.read::<Set>(a.key()?)?;
    out.array(a.left());
    for member in a.rest().iter() {
        out.int(i64::from(set.is_some_and(|set| set.contains(member))));
    }
    Ok(Effect::None)
}

fn scard(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let len = db.read::<Set>(a.key()?)?.map_or(0, Set::len);
    out.int(len as i64);
    Ok(Effect::None)
}

fn smembers(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    match db.read::<Set>(a.key()?)? {
        Some(set) => reply_all(out, set),
        None => out.set(0),
    }
    Ok(Effect::None)
}

fn sscan(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    let cursor = scan::cursor(a)?;
    let mut page = Page::new(out);
    // Without a set the options are not even looked at.
    let Some(set) = db.read::<Set>(key)? else {
        page.send(0, out);
        return Ok(Effect::None);
    };
    let o = Options::parse(Walk::Members, a)?;
    let next = set.scan(cursor, o.count, |member| {
        let mut text = itoa::Buffer::new();
        let member = member.bytes(&mut text);
        if o.matches(member) {
            page.bulk(member);
        }
    });
    page.send(next, out);
    Ok(Effect::None)
}

// ---- by chance ----

fn spop(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    match a.left() {
        0 => {}
        1 => return spop_many(db, key, a.next()?, out),
        _ => return Err(Error::Syntax),
    }
    let Some(member) = db.edit(key, Set::pop)?.flatten() else {
        out.null();
        return Ok(Effect::None);
    };
    db.changed(key, EventClass::SET, "spop");
    db.remove_if_empty::<Set>(key);
    out.bulk(&member);
    Ok(Effect::rewrite([b"SREM", key.bytes, &member]))
}

fn spop_many(db: &mut Data<'_>, key: Key<'_>, count: &[u8], out: &mut Reply) -> Result<Effect, Error> {
    let count = number::parse_i64(count).and_then(|n| usize::try_from(n).ok()).ok_or(Error::NotPositive)?;
    let len = db.view::<Set>(key)?.map_or(0, Set::len);
    let taken = count.min(len);
    if taken == 0 {
        out.set(0);
        return Ok(Effect::None);
    }
    let dirty = db.unit.dirty;
    if taken == len {
        if let Some(set) = db.again::<Set>(key) {
            reply_all(out, set);
        }
        db.changed(key, EventClass::SET, "spop");
        db.delete(key);
        db.unit.dirty = dirty + taken as u64;
        return Ok(Effect::gone(key, db.unit.lazy_server_del));
    }
    let limits = db.unit.limits;
    let members = db.edit(key, |set: &mut Set| set.pop_many(taken, &limits))?.unwrap_or_default();
    db.changed(key, EventClass::SET, "spop");
    db.unit.dirty = dirty + taken as u64;
    out.set(members.len());
    members.iter().for_each(|m| out.bulk(m));
    let mut told: Vec<OwnedArgv> = members.chunks(TOLD_AT_ONCE).map(|part| removal(key, part)).collect();
    Ok(if told.len() > 1 { Effect::Many(told) } else { told.pop().map_or(Effect::None, Effect::Rewrite) })
}

/// SREM of these members.
fn removal(key: Key<'_>, members: &[Taken]) -> OwnedArgv {
    let mut argv = OwnedArgv::from_words([b"SREM", key.bytes]);
    members.iter().for_each(|m| argv.push(m));
    argv
}

fn srandmember(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    let count = match a.left() {
        0 => None,
        1 => Some(a.next_i64()?),
        _ => return Err(Error::Syntax),
    };
    if count == Some(i64::MIN) {
        return Err(Error::text(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        ));
    }
    let set = db.read::<Set>(key)?;
    match (set, count) {
        (None, None) => out.null(),
        (None, Some(_)) | (Some(_), Some(0)) => out.array(0),
        (Some(set), None) => set.draw(1, |m| reply_item(out, m)),
        (Some(set), Some(count)) if count < 0 || count == 1 => {
            out.array(count.unsigned_abs() as usize);
            let mut left = count.unsigned_abs();
            while left > 0 && !out.is_full() {
                let portion = left.min(DRAWN_AT_ONCE);
                set.draw(portion, |m| reply_item(out, m));
                left -= portion;
            }
        }
        (Some(set), Some(count)) => {
            let members = set.sample(count as usize);
            out.array(members.len());
            members.into_iter().for_each(|m| reply_item(out, m));
        }
    }
    Ok(Effect::None)
}

// ---- several sets ----

type Sets<'a> = SmallVec<[Option<&'a Set>; 8]>;

/// The sets of these keys, looked up as reads; `None` for those that are not there.
fn look_up<'d, 'k>(db: &'d mut Data<'_>, keys: impl Iterator<Item = &'k [u8]>) -> Result<Sets<'d>, Error> {
    let mut there: SmallVec<[Option<Key<'k>>; 8]> = SmallVec::new();
    for bytes in keys {
        let key = Key::new(bytes);
        there.push(db.read::<Set>(key)?.map(|_| key));
    }
    let db = &*db;
    Ok(there.into_iter().map(|key| db.again(key?)).collect())
}

/// Puts a result in its place and replies how many members it has; without any, the key goes.
fn store(
    db: &mut Data<'_>,
    to: Key<'_>,
    mut result: Set,
    event: &'static str,
    out: &mut Reply,
) -> Result<Effect, Error> {
    let len = result.len();
    out.int(len as i64);
    if len == 0 {
        return Ok(Effect::verbatim_if(db.delete(to)));
    }
    result.shrink_to_fit();
    db.overwrite(to, Entry::object(to.bytes, result.into_object(), None));
    db.changed(to, EventClass::SET, event);
    Ok(Effect::Verbatim)
}

/// The smallest of these sets and those it is not itself; `None` if there is an empty one.
fn smallest<'s>(sets: &[Option<&'s Set>]) -> Option<(&'s Set, SmallVec<[&'s Set; 8]>)> {
    let mut there: SmallVec<[&Set; 8]> = sets.iter().copied().collect::<Option<_>>()?;
    // The smaller the set, the sooner it says that a member is missing.
    there.sort_by_key(|set| set.len());
    let first = *there.first()?;
    there.retain(|set| !std::ptr::eq(*set, first));
    Some((first, there))
}

/// Calls `f` with the members that all sets have, until it wants no more. A set that is not there has none.
fn intersect<'s>(sets: &[Option<&'s Set>], f: impl FnMut(Item<'s>) -> bool) {
    if let Some((first, others)) = smallest(sets) {
        first.sift(&others, Wanted::InAllOthers, f);
    }
}

fn sinter(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let sets = look_up(db, a.rest().iter())?;
    let header = out.deferred_set();
    let mut n = 0;
    intersect(&sets, |member| {
        reply_item(out, member);
        n += 1;
        true
    });
    out.set_len(header, n);
    Ok(Effect::None)
}

fn sintercard(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let keys = number::parse_i64(a.next()?).and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
    let keys = keys.ok_or(Error::text("ERR numkeys should be greater than 0"))?;
    if keys > a.left() {
        return Err(Error::text("ERR Number of keys can't be greater than number of args"));
    }
    let names = a.clone().rest();
    a.skip(keys);
    let mut limit = 0;
    while !a.is_at_end() {
        if !a.option("LIMIT") {
            return Err(Error::Syntax);
        }
        let given = number::parse_i64(a.next()?).and_then(|n| usize::try_from(n).ok());
        limit = given.ok_or(Error::text("ERR LIMIT can't be negative"))?;
    }
    let sets = look_up(db, names.iter().take(keys))?;
    let mut n = 0;
    intersect(&sets, |_| {
        n += 1;
        n != limit
    });
    out.int(n as i64);
    Ok(Effect::None)
}

fn sinterstore(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let to = a.key()?;
    let limits = db.unit.limits;
    let sets = look_up(db, a.rest().iter())?;
    // The first of the smallest decides.
    let smallest = sets.iter().flatten().min_by_key(|set| set.len());
    let mut result = if smallest.is_some_and(|set| set.as_ints().is_some()) { Set::default() } else { Set::packed() };
    if let Some((first, others)) = self::smallest(&sets) {
        result.add_sifted(first, &others, Wanted::InAllOthers, &limits);
    }
    drop(sets);
    result.make_ints(&limits);
    store(db, to, result, "sinterstore", out)
}

/// Up to so many sets are not put together to be told, but looked through for each other's members.
const TOLD_APART: usize = 4;

fn sunion(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let limits = db.unit.limits;
    let mut sets: SmallVec<[&Set; 8]> = look_up(db, a.rest().iter())?.into_iter().flatten().collect();
    sets.sort_by_key(|set| Reverse(set.len()));
    let Some((largest, others)) = sets.split_first() else {
        out.set(0);
        return Ok(Effect::None);
    };
    if others.is_empty() {
        reply_all(out, largest);
        return Ok(Effect::None);
    }
    // Small sets are told in order, if they have one.
    if largest.as_table().is_none() || sets.len() > TOLD_APART {
        reply_all(out, &Set::union(&sets, &limits));
        return Ok(Effect::None);
    }
    let header = out.deferred_set();
    let mut n = largest.len();
    largest.iter().for_each(|m| reply_item(out, m));
    for (i, set) in sets.iter().enumerate().skip(1) {
        let before = &sets[..i];
        if before.iter().any(|other| std::ptr::eq(*other, *set)) {
            continue;
        }
        set.sift(before, Wanted::InNoOther, |member| {
            reply_item(out, member);
            n += 1;
            true
        });
    }
    out.set_len(header, n);
    Ok(Effect::None)
}

fn sunionstore(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let to = a.key()?;
    let limits = db.unit.limits;
    let result = {
        let sets: SmallVec<[&Set; 8]> = look_up(db, a.rest().iter())?.into_iter().flatten().collect();
        Set::union(&sets, &limits)
    };
    store(db, to, result, "sunionstore", out)
}

/// How a difference is found.
enum Difference<'s> {
    Nothing,
    /// Each member of the first set is looked for in the others.
    Looking(&'s Set, SmallVec<[&'s Set; 8]>),
    /// All of the others' members are taken out of a copy of the first.
    Taking(&'s Set, SmallVec<[&'s Set; 8]>),
}

impl<'s> Difference<'s> {
    fn of(sets: &[Option<&'s Set>]) -> Self {
        let Some((Some(first), others)) = sets.split_first() else { return Self::Nothing };
        let mut others: SmallVec<[&Set; 8]> = others.iter().flatten().copied().collect();
        if others.iter().any(|set| std::ptr::eq(*set, *first)) {
            return Self::Nothing;
        }
        // Looking has the smaller constant; whichever is less work.
        let looking = first.len() * (others.len() + 1) / 2;
        let taking = first.len() + others.iter().map(|set| set.len()).sum::<usize>();
        if looking > taking {
            return Self::Taking(first, others);
        }
        others.sort_by_key(|set| Reverse(set.len()));
        Self::Looking(first, others)
    }

    fn into_set(self, limits: &Limits) -> Set {
        match self {
            Self::Nothing => Set::default(),
            Self::Looking(first, others) => {
                let mut result = Set::default();
                result.add_sifted(first, &others, Wanted::InNoOther, limits);
                result
            }
            Self::Taking(first, others) => {
                let mut result = Set::union(&[first], limits);
                for set in others {
                    result.remove_all(set);
                    if result.is_empty() {
                        break;
                    }
                }
                result
            }
        }
    }
}

fn sdiff(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let limits = db.unit.limits;
    let sets = look_up(db, a.rest().iter())?;
    match Difference::of(&sets) {
        // A large set has no order in which its members are to be told.
        Difference::Looking(first, others) if first.as_table().is_some() => {
            let header = out.deferred_set();
            let mut n = 0;
            first.sift(&others, Wanted::InNoOther, |member| {
                reply_item(out, member);
                n += 1;
                true
            });
            out.set_len(header, n);
        }
        difference => reply_all(out, &difference.into_set(&limits)),
    }
    Ok(Effect::None)
}

fn sdiffstore(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let to = a.key()?;
    let limits = db.unit.limits;
    let result = Difference::of(&look_up(db, a.rest().iter())?).into_set(&limits);
    store(db, to, result, "sdiffstore", out)
}
