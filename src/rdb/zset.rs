//! Members ordered by score, as they stand in an RDB. Must not know whose they are.
//!
//! ```text
//! zset-v1         count, then as many strings, each with its score as text
//! zset-v2         count, then as many strings, each with its score as eight bytes; highest first, as stock writes them
//! zset-listpack   one string: a listpack of members and scores as it is in memory
//! zset-ziplist    the same in a format of old
//! ```

use std::io::Read;

use super::encode::{put_len, put_string};
use super::error::Result;
use super::format::Kind;
use super::input::Input;
use super::value::WriteOptions;
use super::ziplist;
use crate::base::number;
use crate::ds::Limits;
use crate::ds::listpack::Listpack;
use crate::ds::zset::{Builder, ZSet};

/// The first version whose readers know listpacks as sorted sets.
const PACKED_SINCE: u16 = 10;
const TEXT_NAN: u8 = 253;
const TEXT_INF: u8 = 254;
const TEXT_NEGATIVE_INF: u8 = 255;

fn packed<'a>(value: &'a ZSet, options: &WriteOptions) -> Option<&'a Listpack> {
    value.as_listpack().filter(|_| options.version.number() >= PACKED_SINCE)
}

/// How it is written.
pub(super) fn kind(value: &ZSet, options: &WriteOptions) -> Kind {
    if packed(value, options).is_some() { Kind::ZsetListpack } else { Kind::Zset2 }
}

pub(super) fn write(out: &mut Vec<u8>, value: &ZSet, options: &WriteOptions) {
    if let Some(pack) = packed(value, options) {
        return put_string(out, pack.as_bytes(), options.compress);
    }
    put_len(out, value.len() as u64);
    let mut text = itoa::Buffer::new();
    for (member, score) in value.iter().rev() {
        put_string(out, member.bytes(&mut text), options.compress);
        out.extend_from_slice(&score.to_le_bytes());
    }
}

/// What was read may be empty: whoever asked decides what an empty sorted set is to him.
pub(super) fn read<R: Read>(kind: Kind, input: &mut Input<R>, limits: &Limits) -> Result<ZSet> {
    match kind {
        Kind::ZsetListpack => {
            let piece = input.string()?;
            let pack = Listpack::from_bytes(input.resolve(piece).into_owned()).ok();
            match pack.and_then(|pack| ZSet::from_listpack(pack, limits)) {
                Some(set) => Ok(set),
                None => input.corrupt("Zset listpack integrity check failed"),
            }
        }
        Kind::ZsetZiplist => {
            let piece = input.string()?;
            match repacked(input.peek(&piece)).and_then(|pack| ZSet::from_listpack(pack, limits)) {
                Some(set) => Ok(set),
                None => input.corrupt("Zset ziplist integrity check failed"),
            }
        }
        Kind::Zset2 => read_plain(input, limits, |input| Ok(f64::from_le_bytes(input.array()?))),
        Kind::Zset => read_plain(input, limits, text_score),
        _ => input.corrupt("a type that is not understood"),
    }
}

/// The elements of a ziplist.
fn repacked(bytes: &[u8]) -> Option<Listpack> {
    let (mut pack, mut text) = (Listpack::new(), itoa::Buffer::new());
    for item in ziplist::items(bytes).ok()? {
        pack.push_back(item.bytes(&mut text));
    }
    Some(pack)
}

fn read_plain<R: Read>(
    input: &mut Input<R>,
    limits: &Limits,
    read_score: impl Fn(&mut Input<R>) -> Result<f64>,
) -> Result<ZSet> {
    let (mut builder, mut member) = (Builder::default(), Vec::new());
    let count = input.len()?;
    // The bytes of members that were taken over need not stay.
    input.forget();
    for _ in 0..count {
        let piece = input.string()?;
        // Reading the score may move the buffer.
        member.clear();
        member.extend_from_slice(input.peek(&piece));
        let score = read_score(input)?;
        if score.is_nan() {
            return input.corrupt("a score is not a number");
        }
        if !builder.set(&member, |_| score) {
            return input.corrupt("a member stands twice in a sorted set");
        }
    }
    Ok(ZSet::from_builder(builder, limits))
}

/// A score as text behind its length; some lengths stand for what has no text.
fn text_score<R: Read>(input: &mut Input<R>) -> Result<f64> {
    match input.byte()? {
        TEXT_NAN => Ok(f64::NAN),
        TEXT_INF => Ok(f64::INFINITY),
        TEXT_NEGATIVE_INF => Ok(f64::NEG_INFINITY),
        len => {
            let mut text = Vec::with_capacity(len.into());
            for _ in 0..len {
                text.push(input.byte()?);
            }
            match number::parse_f64(&text) {
                Some(score) => Ok(score),
                None => input.corrupt("a score is not a number"),
            }
        }
    }
}
