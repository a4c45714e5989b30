//! Fields and their values, as they stand in an RDB. Must not know whose they are.
//!
//! ```text
//! hash-hashtable                  count, then field and value so many times
//! hash-zipmap, -ziplist           one string in a format of old
//! hash-listpack                   one string: a listpack of pairs as it is in memory
//! hash-hashtable-md               earliest expiry, count, then expiry, field and value; an expiry is 0 for none, else
//!                                 one more than what it is later than the earliest
//! hash-listpack-md                earliest expiry, then one string: a listpack of triples
//! both ...-md-pre-release         the same without the earliest expiry, and with expiries as they are
//! hash-hashtable-2 (Valkey)       count, then field, value and expiry, -1 for none
//! ```

use std::borrow::Cow;
use std::io::Read;

use super::encode::{put_len, put_string};
use super::error::Result;
use super::format::{Dialect, Kind};
use super::input::Input;
use super::value::WriteOptions;
use super::ziplist;
use crate::ds::Limits;
use crate::ds::hash::{Form, Hash, Pair};
use crate::ds::listpack::{Item, Listpack};

/// The first version whose readers know listpacks as hashes.
const PACKED_SINCE: u16 = 10;
/// Later expiries are none: stock servers keep 48 bits.
const LATEST_MS: u64 = (1 << 48) - 2;

/// How it is written.
pub(super) fn kind(value: &Hash, options: &WriteOptions) -> Kind {
    let timed = value.deadline().is_some();
    match (value.form(), options.version.dialect()) {
        (Form::Table, _) if !timed => Kind::Hash,
        (Form::Pairs(_) | Form::Triples(_), _) if !timed && options.version.number() < PACKED_SINCE => Kind::Hash,
        (Form::Pairs(_) | Form::Triples(_), _) if !timed => Kind::HashListpack,
        (_, Dialect::Valkey) => Kind::HashExpiresValkey,
        (Form::Table, Dialect::Redis) => Kind::HashExpires,
        (Form::Pairs(_) | Form::Triples(_), Dialect::Redis) => Kind::HashListpackExpires,
    }
}

pub(super) fn write(out: &mut Vec<u8>, value: &Hash, options: &WriteOptions) {
    let earliest = value.deadline();
    let put_earliest = |out: &mut Vec<u8>| out.extend_from_slice(&earliest.unwrap_or_default().to_le_bytes());
    match (kind(value, options), value.form()) {
        (Kind::HashListpack, Form::Pairs(items)) => put_string(out, items.as_bytes(), options.compress),
        (Kind::HashListpack, _) => {
            let mut items = Listpack::new();
            for pair in value.iter() {
                push(&mut items, pair.field);
                push(&mut items, pair.value);
            }
            put_string(out, items.as_bytes(), options.compress);
        }
        (Kind::HashListpackExpires, Form::Triples(items)) => {
            put_earliest(out);
            put_string(out, items.as_bytes(), options.compress);
        }
        (kind, _) => {
            if kind == Kind::HashExpires {
                put_earliest(out);
            }
            put_len(out, value.len() as u64);
            for Pair { field, value, expire_ms } in value.iter() {
                if kind == Kind::HashExpires {
                    let later = expire_ms.map(|ms| ms.abs_diff(earliest.unwrap_or_default()) + 1);
                    put_len(out, later.unwrap_or(0));
                }
                put_item(out, field, options);
                put_item(out, value, options);
                if kind == Kind::HashExpiresValkey {
                    out.extend_from_slice(&expire_ms.unwrap_or(-1).to_le_bytes());
                }
            }
        }
    }
}

fn put_item(out: &mut Vec<u8>, item: Item<'_>, options: &WriteOptions) {
    put_string(out, item.bytes(&mut itoa::Buffer::new()), options.compress);
}

fn push(items: &mut Listpack, item: Item<'_>) {
    match item {
        Item::Int(number) => items.push_back_int(number),
        Item::Str(text) => items.push_back(text),
    }
}

/// What was read may be empty: whoever asked decides what an empty hash is to him.
pub(super) fn read<R: Read>(kind: Kind, input: &mut Input<R>, limits: &Limits) -> Result<Hash> {
    match kind {
        Kind::HashListpack => read_packed(input, limits, Hash::from_pairs),
        Kind::HashListpackExpiresRc => read_packed(input, limits, triples),
        Kind::HashListpackExpires => {
            input.array::<8>()?;
            read_packed(input, limits, triples)
        }
        Kind::HashZiplist => {
            let piece = input.string()?;
            match read_ziplist(input.peek(&piece), limits) {
                Some(hash) => Ok(hash),
                None => input.corrupt("Hash ziplist integrity check failed"),
            }
        }
        Kind::HashZipmap => {
            let piece = input.string()?;
            match read_zipmap(input.peek(&piece), limits) {
                Some(hash) => Ok(hash),
                None => input.corrupt("Zipmap integrity check failed"),
            }
        }
        _ => read_table(kind, input, limits),
    }
}

fn read_packed<R: Read>(
    input: &mut Input<R>,
    limits: &Limits,
    make: fn(Listpack, &Limits) -> Option<Hash>,
) -> Result<Hash> {
    let piece = input.string()?;
    let items = Listpack::from_bytes(input.resolve(piece).into_owned()).ok();
    match items.and_then(|items| make(items, limits)) {
        Some(hash) => Ok(hash),
        None => input.corrupt("Hash listpack integrity check failed"),
    }
}

fn triples(items: Listpack, limits: &Limits) -> Option<Hash> {
    let possible = |at: Item<'_>| at.as_int().and_then(|ms| u64::try_from(ms).ok()).is_some_and(|ms| ms <= LATEST_MS);
    let sound = items.iter().skip(2).step_by(3).all(possible);
    sound.then(|| Hash::from_triples(items, limits)).flatten()
}

fn read_table<R: Read>(kind: Kind, input: &mut Input<R>, limits: &Limits) -> Result<Hash> {
    let earliest = match kind {
        Kind::HashExpires => u64::from_le_bytes(input.array()?),
        _ => 0,
    };
    let count = input.len()?;
    let mut hash = Hash::default();
    hash.expect(usize::try_from(count).unwrap_or(usize::MAX), limits);
    // The bytes of what was taken over need not stay.
    input.forget();
    let mut field = Vec::new();
    for _ in 0..count {
        let before = match kind {
            Kind::HashExpiresRc => Some(input.len()?),
            Kind::HashExpires => match input.len()? {
                0 => Some(0),
                later => Some(earliest.saturating_add(later - 1)),
            },
            _ => None,
        };
        let piece = input.string()?;
        field.clear();
        field.extend_from_slice(input.peek(&piece));
        let piece = input.string()?;
        let (value, expire_ms) = if kind == Kind::HashExpiresValkey {
            // What follows must not throw the value away.
            let value = Cow::Owned(input.resolve(piece).into_owned());
            match i64::from_le_bytes(input.array()?) {
                -1 => (value, None),
                ms => (value, Some(u64::try_from(ms).unwrap_or(u64::MAX))),
            }
        } else {
            (input.resolve(piece), before.filter(|ms| *ms != 0))
        };
        if expire_ms.is_some_and(|ms| ms > LATEST_MS) {
            return input.corrupt("a field expires at no possible time");
        }
        let expire_ms = expire_ms.map(|ms| ms as i64);
        if !hash.append(&field, &value, expire_ms, limits) {
            return input.corrupt("a field stands twice in a hash");
        }
    }
    if !hash.is_sound() {
        return input.corrupt("a field stands twice in a hash");
    }
    Ok(hash)
}

fn read_ziplist(bytes: &[u8], limits: &Limits) -> Option<Hash> {
    let mut items = ziplist::items(bytes).ok()?;
    let mut pairs = Listpack::with_capacity(bytes.len());
    while let Some(field) = items.next() {
        push(&mut pairs, field);
        push(&mut pairs, items.next()?);
    }
    Hash::from_pairs(pairs, limits)
}

/// Hashes of Redis 2.4 and before:
///
/// ```text
/// count | (length, field, length, spare, value, spare bytes)... | 255
/// ```
/// A length below 254 is one byte; 254 is followed by four. A count of 254 stands for "so many or more".
fn read_zipmap(bytes: &[u8], limits: &Limits) -> Option<Hash> {
    const LONG: u8 = 254;
    const END: u8 = 255;
    fn len(rest: &mut &[u8]) -> Option<usize> {
        let (&first, after) = rest.split_first()?;
        *rest = after;
        match first {
            END => None,
            LONG => {
                let (len, after) = rest.split_first_chunk::<4>()?;
                *rest = after;
                usize::try_from(u32::from_le_bytes(*len)).ok()
            }
            short => Some(short.into()),
        }
    }
    fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
        let (taken, after) = rest.split_at_checked(len)?;
        *rest = after;
        Some(taken)
    }
    let (&count, mut rest) = bytes.split_first()?;
    let mut hash = Hash::default();
    let mut seen = 0usize;
    while *rest.first()? != END {
        let size = len(&mut rest)?;
        let field = take(&mut rest, size)?;
        let size = len(&mut rest)?;
        let spare = *take(&mut rest, 1)?.first()?;
        let value = take(&mut rest, size)?;
        take(&mut rest, spare.into())?;
        if !hash.append(field, value, None, limits) {
            return None;
        }
        seen += 1;
    }
    let counted = count >= LONG || usize::from(count) == seen;
    // Stock servers never wrote an empty one, and take it for damage.
    (counted && seen > 0 && rest.len() == 1 && hash.is_sound()).then_some(hash)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::format::Version;
    use super::*;

    type Content = BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)>;

    fn content(hash: &Hash) -> Content {
        hash.iter().map(|p| (p.field.to_vec(), (p.value.to_vec(), p.expire_ms))).collect()
    }

    fn read_bytes(kind: Kind, bytes: &[u8]) -> Option<Hash> {
        let mut input = Input::with(bytes.to_vec(), std::io::empty());
        let hash = read(kind, &mut input, &Limits { hash_entries: 20, hash_value: 20, ..Limits::default() }).ok()?;
        (input.position() == bytes.len() as u64).then_some(hash)
    }

    fn plain(pairs: &[(&str, &str)]) -> Option<Content> {
        let value = |v: &str| (v.as_bytes().to_vec(), None);
        Some(pairs.iter().map(|(field, v)| (field.as_bytes().to_vec(), value(v))).collect())
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same(
            fields in proptest::collection::btree_map(
                proptest::collection::vec(any::<u8>(), 0..22),
                (proptest::collection::vec(0u8..3, 0..30), proptest::option::of(1..1i64 << 47)), 0..30),
            timed: bool, version in prop_oneof![Just(9u32), Just(10), Just(12), Just(80)],
        ) {
            let limits = Limits { hash_entries: 20, hash_value: 20, ..Limits::default() };
            let mut hash = Hash::default();
            for (field, (value, at)) in &fields {
                prop_assert!(hash.append(field, value, at.filter(|_| timed), &limits));
            }
            let options = WriteOptions { version: Version::new(version).unwrap(), compress: true };
            let mut bytes = Vec::new();
            write(&mut bytes, &hash, &options);
            let again = read_bytes(kind(&hash, &options), &bytes).unwrap();
            prop_assert_eq!(content(&again), content(&hash));
        }

        #[test]
        fn no_bytes_bring_it_down(
            bytes in proptest::collection::vec(prop_oneof![0u8..8, any::<u8>()], 0..60),
        ) {
            for kind in [
                Kind::Hash, Kind::HashZipmap, Kind::HashZiplist, Kind::HashListpack, Kind::HashExpiresRc,
                Kind::HashListpackExpiresRc, Kind::HashExpires, Kind::HashListpackExpires, Kind::HashExpiresValkey,
            ] {
                read_bytes(kind, &bytes);
                // The containers of old begin with the length of the string they are.
                let whole = [&[bytes.len() as u8][..], &bytes].concat();
                read_bytes(kind, &whole);
            }
        }
    }

    #[test]
    fn zipmaps_are_read_as_they_were_written() {
        let check = |bytes: &[u8], expect: Option<Content>| {
            let whole = [&[bytes.len() as u8][..], bytes].concat();
            assert_eq!(read_bytes(Kind::HashZipmap, &whole).map(|hash| content(&hash)), expect, "{bytes:?}");
        };
        check(b"\x02\x01a\x01\x001\x02bc\x02\x01xy-\xff", plain(&[("a", "1"), ("bc", "xy")]));
        check(b"\x01\xfe\x01\x00\x00\x00a\xfe\x01\x00\x00\x00\x00v\xff", plain(&[("a", "v")]));
        check(b"\x00\xff", None);
        check(b"\xfe\x01a\x01\x001\xff", plain(&[("a", "1")]));
        check(b"\x02\x01a\x01\x001\xff", None);
        check(b"\x02\x01a\x01\x001\x01a\x01\x002\xff", None);
        check(b"\x01\x01a\x09\x001\xff", None);
        check(b"\x01\x01a\x01\x091\xff", None);
        check(b"\x01\x01a\x01\x001", None);
        check(b"\x01\x01a\x01\x001\xff\xff", None);
        check(b"", None);
    }

    #[test]
    fn a_field_twice_or_an_impossible_expiry_is_refused() {
        let check = |kind, bytes: &[u8], sound| assert_eq!(read_bytes(kind, bytes).is_some(), sound, "{bytes:?}");
        check(Kind::Hash, b"\x02\x01a\x01v\x01b\x01v", true);
        check(Kind::Hash, b"\x02\x01a\x01v\x01a\x01w", false);
        check(Kind::Hash, b"\x02\x01a\x01v", false);
        check(Kind::HashExpires, b"\x05\0\0\0\0\0\0\0\x02\x00\x01a\x01v\x02\x01b\x01v", true);
        check(Kind::HashExpires, b"\x05\0\0\0\0\0\xff\xff\x02\x00\x01a\x01v\x02\x01b\x01v", false);
        check(Kind::HashExpiresValkey, b"\x01\x01a\x01v\xff\xff\xff\xff\xff\xff\xff\xff", true);
        check(Kind::HashExpiresValkey, b"\x01\x01a\x01v\xfe\xff\xff\xff\xff\xff\xff\xff", false);
        // A count beyond all memory takes none.
        check(Kind::Hash, b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\x01a\x01v", false);
        let mut triples = Listpack::new();
        for item in [&b"a"[..], b"v", b"0", b"b", b"v", b"-4"] {
            triples.push_back(item);
        }
        let whole = [&[triples.byte_len() as u8][..], triples.as_bytes()].concat();
        check(Kind::HashListpackExpiresRc, &whole, false);
        check(Kind::HashListpack, &whole, true);
    }
}
