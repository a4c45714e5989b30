//! Ziplists, in which old servers kept small lists, sets, hashes and sorted sets: only ever read. Must not know what the
//! elements mean.
//!
//! ```text
//! +-----------------+-------------------+-----------+---------+-----+---------+------+
//! | total bytes u32 | last element u32  | count u16 | element | ... | element | 0xff |
//! +-----------------+-------------------+-----------+---------+-----+---------+------+
//! element: size of the one before it (1 byte, or 0xfe and 4 bytes), encoding, data
//!
//! 00xxxxxx  01xxxxxx +1  10000000 +4      a string of so many bytes, the length most significant byte first
//! 11000000 +2  11010000 +4  11100000 +8   an integer, little-endian
//! 11110000 +3  11111110 +1  1111xxxx      24 and 8 bits; or xxxx - 1, from 0 to 12
//! ```
//! A count of 65535 stands for "so many or more".

use crate::ds::listpack::{Corrupt, Item};

const HEAD: usize = 10;
const END: u8 = 0xff;
const LONG_PREVIOUS: u8 = 0xfe;
const UNCOUNTED: u16 = u16::MAX;

/// The elements of a ziplist that is sound as a whole, in order.
pub(super) fn items(bytes: &[u8]) -> Result<Items<'_>, Corrupt> {
    let (total, rest) = u32_le(bytes).ok_or(Corrupt)?;
    let (last, rest) = u32_le(rest).ok_or(Corrupt)?;
    let (count, rest) = rest.split_first_chunk::<2>().ok_or(Corrupt)?;
    let (&END, body) = rest.split_last().ok_or(Corrupt)? else { return Err(Corrupt) };
    if total as usize != bytes.len() {
        return Err(Corrupt);
    }
    let (mut left, mut found, mut at, mut previous) = (body, 0usize, HEAD, 0);
    // Of an empty one, the last element is the end.
    let mut last_at = HEAD;
    while !left.is_empty() {
        let (said, _, rest) = element(left).ok_or(Corrupt)?;
        if said as usize != previous {
            return Err(Corrupt);
        }
        last_at = at;
        previous = left.len() - rest.len();
        at += previous;
        left = rest;
        found += 1;
    }
    let count = u16::from_le_bytes(*count);
    if last as usize != last_at || (count != UNCOUNTED && usize::from(count) != found) {
        return Err(Corrupt);
    }
    Ok(Items { left: body, count: found })
}

/// What [`items`] gives; knows how many there are.
#[derive(Clone, Debug)]
pub(super) struct Items<'a> {
    /// Sound: [`items`] has looked at all of it.
    left: &'a [u8],
    count: usize,
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        let (_, item, rest) = element(self.left)?;
        self.left = rest;
        self.count -= 1;
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count, Some(self.count))
    }
}

impl ExactSizeIterator for Items<'_> {}

/// The element at the front: what it says of the size of the one before it, its value, and what follows it.
fn element(bytes: &[u8]) -> Option<(u32, Item<'_>, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (previous, rest) = match first {
        END => return None,
        LONG_PREVIOUS => u32_le(rest)?,
        short => (short.into(), rest),
    };
    let (&encoding, rest) = rest.split_first()?;
    let (item, rest) = match encoding {
        0x00..=0x3f => string(rest, encoding.into())?,
        0x40..=0x7f => {
            let (low, rest) = rest.split_first()?;
            string(rest, u32::from(encoding & 0x3f) << 8 | u32::from(*low))?
        }
        0x80 => {
            let (len, rest) = rest.split_first_chunk::<4>()?;
            string(rest, u32::from_be_bytes(*len))?
        }
        0xc0 => int(rest, |b| i16::from_le_bytes(b).into())?,
        0xd0 => int(rest, |b| i32::from_le_bytes(b).into())?,
        0xe0 => int(rest, i64::from_le_bytes)?,
        0xf0 => int(rest, |[a, b, c]| i64::from(i32::from_le_bytes([0, a, b, c]) >> 8))?,
        0xfe => int(rest, |b| i8::from_le_bytes(b).into())?,
        0xf1..=0xfd => (Item::Int(i64::from(encoding & 0x0f) - 1), rest),
        _ => return None,
    };
    Some((previous, item, rest))
}

fn string(bytes: &[u8], len: u32) -> Option<(Item<'_>, &[u8])> {
    let (text, rest) = bytes.split_at_checked(usize::try_from(len).ok()?)?;
    Some((Item::Str(text), rest))
}

fn int<const N: usize>(bytes: &[u8], value: fn([u8; N]) -> i64) -> Option<(Item<'_>, &[u8])> {
    let (chunk, rest) = bytes.split_first_chunk::<N>()?;
    Some((Item::Int(value(*chunk)), rest))
}

fn u32_le(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (chunk, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*chunk), rest))
}

/// Writes one, for tests of whatever reads them; integers in their smallest encoding, as stock servers did.
#[cfg(test)]
pub(super) fn build(elements: &[Item<'_>]) -> Vec<u8> {
    let (mut body, mut previous, mut last) = (Vec::new(), 0usize, HEAD);
    for item in elements {
        last = HEAD + body.len();
        let from = body.len();
        if previous < 254 {
            body.push(previous as u8);
        } else {
            body.push(LONG_PREVIOUS);
            body.extend((previous as u32).to_le_bytes());
        }
        match *item {
            Item::Int(n @ 0..=12) => body.push(0xf1 + n as u8),
            Item::Int(n) => {
                let (code, bytes) = match n {
                    -128..=127 => (0xfe, 1),
                    -32768..=32767 => (0xc0, 2),
                    -0x80_0000..=0x7f_ffff => (0xf0, 3),
                    _ if i32::try_from(n).is_ok() => (0xd0, 4),
                    _ => (0xe0, 8),
                };
                body.push(code);
                body.extend(&n.to_le_bytes()[..bytes]);
            }
            Item::Str(text) => {
                match text.len() {
                    n @ 0..=63 => body.push(n as u8),
                    n @ 64..=16383 => body.extend([0x40 | (n >> 8) as u8, n as u8]),
                    n => {
                        body.push(0x80);
                        body.extend((n as u32).to_be_bytes());
                    }
                }
                body.extend(text);
            }
        }
        previous = body.len() - from;
    }
    let mut out = Vec::new();
    out.extend((HEAD as u32 + body.len() as u32 + 1).to_le_bytes());
    out.extend((last as u32).to_le_bytes());
    out.extend(u16::try_from(elements.len()).unwrap_or(UNCOUNTED).to_le_bytes());
    out.extend(body);
    out.push(END);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Owned {
        Int(i64),
        Str(Vec<u8>),
    }

    impl Owned {
        fn item(&self) -> Item<'_> {
            match self {
                Self::Int(n) => Item::Int(*n),
                Self::Str(text) => Item::Str(text),
            }
        }
    }

    fn owned() -> impl Strategy<Value = Owned> {
        prop_oneof![
            (any::<i64>(), 0u32..64).prop_map(|(n, shift)| Owned::Int(n >> shift)),
            prop::collection::vec(any::<u8>(), 0..300).prop_map(Owned::Str),
            (16_000usize..17_000).prop_map(|len| Owned::Str(vec![b'x'; len])),
        ]
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(elements in prop::collection::vec(owned(), 0..40)) {
            let elements: Vec<Item<'_>> = elements.iter().map(Owned::item).collect();
            let bytes = build(&elements);
            let read = items(&bytes).unwrap();
            prop_assert_eq!(read.len(), elements.len());
            prop_assert_eq!(read.collect::<Vec<_>>(), elements);
        }

        #[test]
        fn any_bytes_are_survived(
            elements in prop::collection::vec(owned(), 0..6),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut in 0usize..3,
        ) {
            let elements: Vec<Item<'_>> = elements.iter().map(Owned::item).collect();
            let mut bytes = build(&elements);
            bytes.truncate(bytes.len() - cut);
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(read) = items(&bytes) {
                let count = read.len();
                prop_assert_eq!(read.count(), count);
            }
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        let good = build(&[Item::Str(b"ab"), Item::Int(5)]);
        assert!(items(&good).is_ok());
        for (at, byte) in [(0, 9), (4, 9), (8, 3), (10, 1), (14, 3), (good.len() - 1, 0)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert_eq!(items(&bad).err(), Some(Corrupt), "byte {at}");
        }
        assert_eq!(items(b"").err(), Some(Corrupt));
    }
}
