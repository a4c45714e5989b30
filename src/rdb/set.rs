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
                Err(_) => input.corrupt("Intset integrity check failed"),
            }
        }
        Kind::SetListpack => {
            let piece = input.string()?;
            match Listpack::from_bytes(input.resolve(piece).into_owned()) {
                Ok(pack) if is_a_set(&pack) => Ok(Set::from_pack(pack, limits)),
                _ => input.corrupt("Set listpack integrity check failed"),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rdb::format::Version;
    use proptest::prelude::*;

    fn of(words: &[&str], limits: &Limits) -> Set {
        let mut set = Set::default();
        words.iter().for_each(|w| {
            set.add(w.as_bytes(), limits);
        });
        set
    }

    fn members(set: &Set) -> Vec<Vec<u8>> {
        let mut all: Vec<Vec<u8>> = set.iter().map(|m| m.to_vec()).collect();
        all.sort();
        all
    }

    fn load(kind: Kind, bytes: &[u8], limits: &Limits) -> Result<Set> {
        let mut input = Input::with(bytes.to_vec(), std::io::empty());
        let set = read(kind, &mut input, limits)?;
        if input.position() == bytes.len() as u64 { Ok(set) } else { input.corrupt("bytes are left") }
    }

    #[test]
    fn every_form_comes_back_from_every_version() {
        let limits = Limits { set_intset: 4, set_entries: 4, set_value: 6, ..Limits::default() };
        for (words, plain, packed) in [
            (&["1", "-70000", "5000000000"][..], Kind::SetIntset, Kind::SetIntset),
            (&["a", "1", "bcdef"], Kind::Set, Kind::SetListpack),
            (&["a", "b", "c", "d", "e"], Kind::Set, Kind::Set),
            (&["much longer", "1"], Kind::Set, Kind::Set),
        ] {
            let set = of(words, &limits);
            for (version, expect) in [(10, plain), (11, packed), (80, packed)] {
                let options = WriteOptions { version: Version::new(version).unwrap(), compress: true };
                assert_eq!(kind(&set, &options), expect);
                let mut bytes = Vec::new();
                write(&mut bytes, &set, &options);
                let back = load(expect, &bytes, &limits).unwrap();
                assert_eq!((members(&back), back.encoding()), (members(&set), set.encoding()), "{words:?}");
                // Where the limits are narrower, it becomes what they want.
                let narrow = Limits { set_intset: 1, set_entries: 1, ..limits };
                assert_eq!(load(expect, &bytes, &narrow).unwrap().encoding(), "hashtable");
                for cut in 0..bytes.len() {
                    assert!(load(expect, &bytes[..cut], &limits).is_err());
                }
            }
        }
    }

    #[test]
    fn what_is_no_set_is_refused() {
        let limits = Limits::default();
        let refused = |kind, bytes: &[u8]| assert!(load(kind, bytes, &limits).is_err(), "{kind:?} {bytes:?}");
        // A member twice; more members announced than any memory holds.
        refused(Kind::Set, &[2, 1, b'a', 1, b'a']);
        refused(Kind::Set, &[2, 0xc0, 1, 1, b'1']);
        refused(Kind::Set, &[0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, b'a']);
        refused(Kind::SetIntset, &[0]);
        refused(Kind::SetIntset, &[8, 2, 0, 0, 0, 0, 0, 0, 0]);
        refused(Kind::SetIntset, &[12, 2, 0, 0, 0, 2, 0, 0, 0, 5, 0, 5, 0]);
        let packed = |elements: &[&[u8]]| {
            let body: Vec<u8> = elements.iter().flat_map(|e| [e, &[e.len() as u8][..]].concat()).collect();
            let total = (body.len() + 7) as u8;
            let count = elements.len() as u8;
            [&[total, total, 0, 0, 0, count, 0][..], &body, &[0xff]].concat()
        };
        let good = load(Kind::SetListpack, &packed(&[b"\x81a", b"\x81b", b"\x07"]), &limits).unwrap();
        assert_eq!((good.len(), good.encoding()), (3, "listpack"));
        refused(Kind::SetListpack, &packed(&[b"\x81a", b"\x81b", b"\x81a"]));
        refused(Kind::SetListpack, &packed(&[b"\x07", b"\xc0\x07"]));
        refused(Kind::SetListpack, &packed(&[b"\x07", b"\x817"]));
        refused(Kind::SetListpack, &packed(&[b"\x817"]));
        // Empty ones are read; nobody keeps them.
        assert!(load(Kind::Set, &[0], &limits).unwrap().is_empty());
        assert!(load(Kind::SetListpack, &packed(&[]), &limits).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(
            kind in prop_oneof![Just(Kind::Set), Just(Kind::SetIntset), Just(Kind::SetListpack)],
            bytes in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let limits = Limits::default();
            if let Ok(set) = load(kind, &bytes, &limits) {
                prop_assert_eq!(members(&set).len(), set.len());
                let mut again = Vec::new();
                let options = WriteOptions::default();
                write(&mut again, &set, &options);
                if !set.is_empty() {
                    let back = load(super::kind(&set, &options), &again, &limits);
                    prop_assert_eq!(members(&back.unwrap()), members(&set));
                }
            }
        }
    }
}
