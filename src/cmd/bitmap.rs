//! Strings as bitmaps: SETBIT, BITCOUNT, BITOP, BITFIELD and their kin.
//!
//! Knows which bits a call means; what is done with them is `ds::bits`' business.

use bytes::Bytes;
use smallvec::SmallVec;

use super::{DataCommand, Effect, command};
use crate::base::{Error, number};
use crate::ds::bits::{self, Field, Op, Overflow};
use crate::keyspace::{Data, Entry, EventClass, Key, Type, ValueRef};
use crate::resp::Reply;
use crate::spec::prelude::*;

pub const BITCOUNT: Row = Row {
    name: "bitcount",
    arity: -2,
    syntax: "key:key [range:{start:integer end:integer [unit:(byte:BYTE|bit:BIT)@7.0.0]}]",
    flags: READONLY,
    cats: BITMAP,
    keys: &[KEY1_RO_ACCESS],
    since: "2.6.0",
    group: Group::Bitmap,
    complexity: "O(N), N being the length of the range",
    summary: "Counts the bits that are set in a string or in a part of it.",
    ..Row::EMPTY
};

pub const BITFIELD: Row = Row {
    name: "bitfield",
    arity: -2,
    syntax: "key:key [operation:(get-block:{encoding offset:integer}=GET|\
        write:{[overflow-block:(wrap:WRAP|sat:SAT|fail:FAIL)=OVERFLOW] \
        write-operation:(set-block:{encoding offset:integer value:integer}=SET|\
        incrby-block:{encoding offset:integer increment:integer}=INCRBY)})...]",
    flags: WRITE.or(DENYOOM),
    cats: BITMAP,
    keys: &[KeySpec::at(1, RW.or(ACCESS).or(UPDATE).or(VARIABLE_FLAGS))
        .noted("Only reads when nothing but GET is asked for")],
    find_keys: Some(finders::bitfield),
    since: "3.2.0",
    group: Group::Bitmap,
    complexity: "O(1) for each operation",
    summary: "Reads, writes and increments integers of any width at any bit of a string.",
    ..Row::EMPTY
};

pub const BITFIELD_RO: Row = Row {
    name: "bitfield_ro",
    arity: -2,
    syntax: "key:key [get-block:{encoding offset:integer}=GET=...]",
    flags: READONLY.or(FAST),
    cats: BITMAP,
    keys: &[KEY1_RO_ACCESS],
    since: "6.0.0",
    group: Group::Bitmap,
    complexity: "O(1) for each operation",
    summary: "Reads integers of any width at any bit of a string.",
    ..Row::EMPTY
};

pub const BITOP: Row = Row {
    name: "bitop",
    arity: -4,
    syntax: "operation:(and:AND|or:OR|xor:XOR|not:NOT|diff:DIFF@8.2.0|diff1:DIFF1@8.2.0|andor:ANDOR@8.2.0|one:ONE@8.2.0) \
        destkey:key key:key#1...",
    flags: WRITE.or(DENYOOM),
    cats: BITMAP,
    keys: &[KeySpec::at(2, OW.or(UPDATE)), KeySpec::at(3, RO.or(ACCESS)).through(-1)],
    since: "2.6.0",
    group: Group::Bitmap,
    complexity: "O(N), N being the length of all the strings",
    summary: "Combines strings bit by bit and stores the result.",
    ..Row::EMPTY
};

pub const BITPOS: Row = Row {
    name: "bitpos",
    arity: -3,
    syntax: "key:key bit:integer [range:{start:integer [end-unit-block:{end:integer \
        [unit:(byte:BYTE|bit:BIT)@7.0.0]}]}]",
    flags: READONLY,
    cats: BITMAP,
    keys: &[KEY1_RO_ACCESS],
    since: "2.8.7",
    group: Group::Bitmap,
    complexity: "O(N), N being the length of the range",
    summary: "Finds the first bit that is set, or clear, in a string or in a part of it.",
    ..Row::EMPTY
};

pub const GETBIT: Row = Row {
    name: "getbit",
    arity: 3,
    syntax: "key:key offset:integer",
    flags: READONLY.or(FAST),
    cats: BITMAP,
    keys: &[KEY1_RO_ACCESS],
    since: "2.2.0",
    group: Group::Bitmap,
    complexity: "O(1)",
    summary: "Tells one bit of a string.",
    ..Row::EMPTY
};

pub const SETBIT: Row = Row {
    name: "setbit",
    arity: 4,
    syntax: "key:key offset:integer value:integer",
    flags: WRITE.or(DENYOOM),
    cats: BITMAP,
    keys: &[KEY1_RW_ACCESS_UPDATE],
    since: "2.2.0",
    group: Group::Bitmap,
    complexity: "O(1)",
    summary: "Sets or clears one bit of a string, which grows to hold it, and tells what it was.",
    ..Row::EMPTY
};

pub const COMMANDS: &[DataCommand] = &[
    command(&BITCOUNT, bitcount),
    command(&BITFIELD, bitfield),
    command(&BITFIELD_RO, bitfield_ro),
    command(&BITOP, bitop),
    command(&BITPOS, bitpos),
    command(&GETBIT, getbit),
    command(&SETBIT, setbit),
];

// ---- one bit ----

const BAD_OFFSET: Error = Error::text("ERR bit offset is not an integer or out of range");

/// The offset that a word names, in bits. `width`: `#n` is allowed and counts integers of so many bits.
fn bit_offset(db: &Data<'_>, word: &[u8], width: Option<u32>) -> Result<u64, Error> {
    let (text, unit) = match (width, word) {
        (Some(width), [b'#', text @ ..]) => (text, i64::from(width)),
        _ => (word, 1),
    };
    let offset = number::parse_i64(text).and_then(|n| n.checked_mul(unit)).and_then(|n| u64::try_from(n).ok());
    offset.filter(|n| n >> 3 < db.unit.string_max as u64).ok_or(BAD_OFFSET)
}

fn getbit(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    let offset = bit_offset(db, a.next()?, None)?;
    let mut text = itoa::Buffer::new();
    let bit = db.get_str(key)?.is_some_and(|v| bits::get(v.as_str(&mut text), offset));
    out.int(i64::from(bit));
    Ok(Effect::None)
}

fn setbit(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    let offset = bit_offset(db, a.next()?, None)?;
    let on = match number::parse_i64(a.next()?) {
        Some(0) => false,
        Some(1) => true,
        _ => return Err(Error::text("ERR bit is not an integer or out of range")),
    };
    let (was, grown) = edit_to(db, key, offset, |bytes| bits::set(bytes, offset, on))?;
    out.int(i64::from(was));
    if !grown && was == on {
        return Ok(Effect::None);
    }
    db.changed(key, EventClass::STRING, "setbit");
    Ok(Effect::Verbatim)
}

/// Edits a string that is first made to reach the bit `last`; gives what `edit` gave and whether the string grew.
fn edit_to<R>(
    db: &mut Data<'_>,
    key: Key<'_>,
    last: u64,
    edit: impl FnOnce(&mut [u8]) -> R,
) -> Result<(R, bool), Error> {
    let len = (last >> 3) as usize + 1;
    let old_len = match db.find(key).map(Entry::value) {
        Some(v) if v.kind() != Type::String => return Err(Error::WrongType),
        Some(v) => Some(v.str_len()),
        None => None,
    };
    let Some(old_len) = old_len else {
        let mut bytes = vec![0; len];
        let result = edit(&mut bytes);
        db.put(key, Entry::raw(key.bytes, bytes));
        return Ok((result, true));
    };
    let result = db.update(key, |e| if old_len < len { e.edit_grown(len, edit) } else { e.edit_bytes(edit) });
    match result {
        Some(result) => Ok((result, old_len < len)),
        None => unreachable!("the key was found"),
    }
}

// ---- ranges ----

/// What the bounds of a range count.
fn range_unit(word: &[u8]) -> Result<bool, Error> {
    match () {
        () if word.eq_ignore_ascii_case(b"bit") => Ok(true),
        () if word.eq_ignore_ascii_case(b"byte") => Ok(false),
        () => Err(Error::Syntax),
    }
}

/// The first and last bit of a range in a string of `len` bytes, cut to it; `None` if it is empty.
fn bit_range(len: usize, start: i64, end: i64, in_bits: bool) -> Option<(u64, u64)> {
    let total = if in_bits { len as i64 * 8 } else { len as i64 };
    let from_end = |n: i64| if n < 0 { n.saturating_add(total).max(0) } else { n };
    let (start, end) = (from_end(start), from_end(end).min(total - 1));
    if start > end {
        return None;
    }
    let (start, end) = (start as u64, end as u64);
    Some(if in_bits { (start, end) } else { (start * 8, end * 8 + 7) })
}

fn bitcount(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    let mut text = itoa::Buffer::new();
    // As stock: where there is no key, nothing is asked of the rest.
    let Some(value) = db.get_str(key)? else {
        out.int(0);
        return Ok(Effect::None);
    };
    let bytes = value.as_str(&mut text);
    let count = match a.left() {
        0 => bits::count(bytes),
        2 | 3 => {
            let (start, end) = (a.next_i64()?, a.next_i64()?);
            // So stock has it: before the unit is looked at.
            if start < 0 && end < 0 && start > end {
                out.int(0);
                return Ok(Effect::None);
            }
            let in_bits = if a.is_at_end() { false } else { range_unit(a.next()?)? };
            let range = bit_range(bytes.len(), start, end, in_bits);
            range.map_or(0, |(first, last)| bits::count_between(bytes, first, last))
        }
        _ => return Err(Error::Syntax),
    };
    out.int(count as i64);
    Ok(Effect::None)
}

fn bitpos(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    let bit = match a.next_i64()? {
        0 => false,
        1 => true,
        _ => return Err(Error::text("ERR The bit argument must be 1 or 0.")),
    };
    let mut text = itoa::Buffer::new();
    let Some(value) = db.get_str(key)? else {
        out.int(if bit { -1 } else { 0 });
        return Ok(Effect::None);
    };
    let bytes = value.as_str(&mut text);
    let words = a.left();
    if words > 3 {
        return Err(Error::Syntax);
    }
    let start = if words > 0 { a.next_i64()? } else { 0 };
    let in_bits = words == 3 && range_unit(a.word(5))?;
    let end = if words > 1 { a.next_i64()? } else { -1 };
    let position = match bit_range(bytes.len(), start, end, in_bits) {
        None => -1,
        Some((first, last)) => match bits::find_between(bytes, bit, first, last) {
            Some(at) => at as i64,
            // Without an end the string goes on with zeros.
            None if !bit && words < 2 => last as i64 + 1,
            None => -1,
        },
    };
    out.int(position);
    Ok(Effect::None)
}

// ---- BITOP ----

fn operation(word: &[u8]) -> Option<(Op, &'static str)> {
    const OPS: [(&str, Op); 8] = [
        ("AND", Op::And),
        ("OR", Op::Or),
        ("XOR", Op::Xor),
        ("NOT", Op::Not),
        ("DIFF", Op::Diff),
        ("DIFF1", Op::Diff1),
        ("ANDOR", Op::AndOr),
        ("ONE", Op::One),
    ];
    OPS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes())).map(|(name, op)| (*op, *name))
}

fn bitop(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (op, name) = operation(a.next()?).ok_or(Error::Syntax)?;
    let target = a.key()?;
    match op {
        Op::Not if a.left() != 1 => {
            return Err(Error::text("ERR BITOP NOT must be called with a single source key."));
        }
        Op::Diff | Op::Diff1 | Op::AndOr if a.left() < 2 => {
            let text = format!("ERR BITOP {name} must be called with at least two source keys.");
            return Err(Error::Text(text.into()));
        }
        Op::And | Op::Or | Op::Xor | Op::Not | Op::Diff | Op::Diff1 | Op::AndOr | Op::One => {}
    }
    let mut sources: SmallVec<[Bytes; 4]> = SmallVec::new();
    while !a.is_at_end() {
        let key = a.key()?;
        sources.push(match db.get_str(key)? {
            None => Bytes::new(),
            Some(ValueRef::Large(bytes)) => bytes.clone(),
            Some(value) => Bytes::copy_from_slice(value.as_str(&mut itoa::Buffer::new())),
        });
    }
    let slices: SmallVec<[&[u8]; 4]> = sources.iter().map(|s| &s[..]).collect();
    let result = bits::combine(op, &slices);
    drop(slices);
    drop(sources);
    let len = result.len();
    out.int(len as i64);
    if len == 0 {
        return Ok(Effect::verbatim_if(db.delete(target)));
    }
    db.overwrite(target, Entry::raw(target.bytes, result));
    db.changed(target, EventClass::STRING, "set");
    Ok(Effect::Verbatim)
}

// ---- BITFIELD ----

enum FieldOp {
    Get,
    Set(i64),
    Increment(i64),
}

struct FieldCall {
    op: FieldOp,
    field: Field,
    offset: u64,
    overflow: Overflow,
}

fn field_type(word: &[u8]) -> Result<Field, Error> {
    let field = match word {
        [b'i', bits @ ..] => number::parse_i64(bits).filter(|n| (1..=64).contains(n)).map(|n| (true, n)),
        [b'u', bits @ ..] => number::parse_i64(bits).filter(|n| (1..=63).contains(n)).map(|n| (false, n)),
        _ => None,
    };
    field.map(|(signed, bits)| Field { signed, bits: bits as u32 }).ok_or(Error::text(
        "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
    ))
}

/// All the operations of a call: nothing is done if one of them is wrong.
fn field_calls(db: &Data<'_>, a: &mut Args<'_>) -> Result<SmallVec<[FieldCall; 4]>, Error> {
    let mut calls = SmallVec::new();
    let mut overflow = Overflow::Wrap;
    while !a.is_at_end() {
        let left = a.left();
        let kind = match () {
            () if left > 2 && a.flag("GET") => 0,
            () if left > 3 && a.flag("SET") => 1,
            () if left > 3 && a.flag("INCRBY") => 2,
            () if a.option("OVERFLOW") => {
                overflow = match () {
                    () if a.flag("WRAP") => Overflow::Wrap,
                    () if a.flag("SAT") => Overflow::Saturate,
                    () if a.flag("FAIL") => Overflow::Fail,
                    () => return Err(Error::text("ERR Invalid OVERFLOW type specified")),
                };
                continue;
            }
            () => return Err(Error::Syntax),
        };
        let field = field_type(a.next()?)?;
        let offset = bit_offset(db, a.next()?, Some(field.bits))?;
        let op = match kind {
            0 => FieldOp::Get,
            1 => FieldOp::Set(a.next_i64()?),
            _ => FieldOp::Increment(a.next_i64()?),
        };
        calls.push(FieldCall { op, field, offset, overflow });
    }
    Ok(calls)
}

impl FieldCall {
    fn writes(&self) -> bool {
        !matches!(self.op, FieldOp::Get)
    }

    fn last_bit(&self) -> u64 {
        self.offset + u64::from(self.field.bits) - 1
    }

    /// Does it and replies.
    fn run(&self, bytes: &mut [u8], out: &mut Reply) -> Outcome {
        let held = self.field.read(bytes, self.offset);
        let (new, told) = match self.op {
            FieldOp::Get => (None, Some(held)),
            FieldOp::Set(value) => {
                let new = self.field.fit_value(value, self.overflow);
                (new, new.map(|_| held))
            }
            FieldOp::Increment(by) => {
                let new = self.field.fit_sum(held, by, self.overflow);
                (new, new)
            }
        };
        match told {
            Some(n) => out.int(n),
            None => out.null(),
        }
        match new {
            None => Outcome::Nothing,
            Some(new) => {
                self.field.write(bytes, self.offset, new);
                if new == held { Outcome::Same } else { Outcome::Changed }
            }
        }
    }
}

/// What a field operation wrote.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Nothing,
    /// What was there.
    Same,
    Changed,
}

fn bitfield(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    let calls = field_calls(db, a)?;
    let Some(last) = calls.iter().filter(|c| c.writes()).map(FieldCall::last_bit).max() else {
        return read_fields(db, key, &calls, out);
    };
    let ((same, changed), grown) = edit_to(db, key, last, |bytes| {
        out.array(calls.len());
        calls.iter().fold((0, 0), |(same, changed), call| match call.run(bytes, out) {
            Outcome::Nothing => (same, changed),
            Outcome::Same => (same + 1, changed),
            Outcome::Changed => (same, changed + 1),
        })
    })?;
    // In a string that grew, each write counts, whether or not it wrote what was there.
    let dirty: u64 = if grown { same + changed } else { changed };
    if dirty > 0 {
        db.changed(key, EventClass::STRING, "setbit");
        db.unit.dirty += dirty - 1;
    } else if grown {
        // Every write failed, but the string is longer, which replicas must learn all the same.
        db.changed(key, EventClass::NONE, "");
    }
    Ok(Effect::verbatim_if(dirty > 0 || grown))
}

fn bitfield_ro(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    let calls = field_calls(db, a)?;
    if calls.iter().any(FieldCall::writes) {
        return Err(Error::text("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    read_fields(db, key, &calls, out)
}

fn read_fields(db: &mut Data<'_>, key: Key<'_>, calls: &[FieldCall], out: &mut Reply) -> Result<Effect, Error> {
    let mut text = itoa::Buffer::new();
    let value = db.get_str(key)?;
    let bytes = value.as_ref().map_or(&b""[..], |v| v.as_str(&mut text));
    out.array(calls.len());
    for call in calls {
        out.int(call.field.read(bytes, call.offset));
    }
    Ok(Effect::None)
}
