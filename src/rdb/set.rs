//! Members without order, as they stand in an RDB. Must not know whose they are.
//!
//! ```text
//! set             count, then as many strings
//! set-intset      one string: an intset as it is in memory
//! set-listpack    one string: a listpack as it is in memory; from version 11 on
//! ```

use std::collections::HashSet;
use std::io::Read;

use super::encode::{put_len, put_string};
use super::error::Result;
use super::format::Kind;
use super::input::Input;
use super::value::WriteOptions;
use crate::base::number;
use crate::ds::intset::IntSet;
use crate::ds::listpack::{Item, Listpack};
use crate::ds::{Limits, set::Set};

/// The first version whose readers know listpacks as sets.
const PACKED_SINCE: u16 = 11;

/// How it is written.
pub(super) fn kind(value: &Set, options: &WriteOptions) -> Kind {
    if value.as_ints().is_some() {
        Kind::SetIntset
    } else if value.as_pack().is_some() && options.version.number() >= PACKED_SINCE {
        Kind::SetListpack
    } else {
        Kind::Set
    }
}

pub(super) fn write(out: &mut Vec<u8>, value: &Set, options: &WriteOptions) {
    match (kind(value, options), value.as_ints(), value.as_pack()) {
        (Kind::SetIntset, Some(ints), _) => put_string(out, ints.as_bytes(), options.compress),
        (Kind::SetListpack, _, Some(pack)) => put_string(out, pack.as_bytes(), options.compress),
        _ => {
            put_len(out, value.len() as u64);
            let mut text = itoa::Buffer::new();
            for member in value.iter() {
                put_string(out, member.bytes(&mut text), options.compress);
            }
        }
    }
}

/// What was read may be empty: whoever asked decides what an empty set is to him.
pub(super) fn read<R: Read>(kind: Kind, input: &mut Input<R>, limits: &Limits) -> Result<Set> {
    match kind {
        Kind::SetIntset => {
            let piece = input.string()?;
            match IntSet::from_bytes(input.resolve(piece).into_owned()) {
                Ok(ints) => Ok(Set::from_ints(ints, limits)),
                Err(_) => input.corrupt("an intset that is none"),
            }
        }
        Kind::SetListpack => {
            let piece = input.string()?;
            match Listpack::from_bytes(input.resolve(piece).into_owned()) {
                Ok(pack) if is_a_set(&pack) => Ok(Set::from_pack(pack, limits)),
                _ => input.corrupt("a listpack that is no set"),
            }
        }
        _ => read_plain(input, limits),
    }
}

/// Whether all elements are different, and integers written as such: a string of the same digits would be a second one.
fn is_a_set(pack: &Listpack) -> bool {
    let mut seen = HashSet::with_capacity(pack.len());
    pack.iter().all(|item| {
        let hidden = matches!(item, Item::Str(text) if text.len() <= 20 && number::parse_i64(text).is_some());
        !hidden && seen.insert(item.to_vec())
    })
}

fn read_plain<R: Read>(input: &mut Input<R>, limits: &Limits) -> Result<Set> {
    let count = input.len()?;
    let mut set = Set::of_size(usize::try_from(count).unwrap_or(usize::MAX), limits);
    // The bytes of members that were taken over need not stay.
    input.forget();
    for _ in 0..count {
        let piece = input.string()?;
        if !set.add(input.peek(&piece), limits) {
            return input.corrupt("a member stands twice in a set");
        }
    }
    Ok(set)
}
