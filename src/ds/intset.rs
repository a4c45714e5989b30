//! A sorted run of integers, all as wide as the widest needs, in the format of stock servers, so that a snapshot copies
//! it as it is.
//!
//! ```text
//! +-------------------+-----------+---------+---------+-----
//! | width u32: 2 4 8  | count u32 | integer | integer | ...     all little-endian, ascending, none twice
//! +-------------------+-----------+---------+---------+-----
//! ```
//! The width only ever grows. Knows nothing of what the integers mean.

const HEAD: usize = 8;

/// The bytes are not such a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

#[derive(Clone, Default, PartialEq, Eq)]
pub struct IntSet {
    /// The whole, header included; nothing at all before the first integer came.
    buf: Vec<u8>,
    count: u32,
    /// Bytes of one integer; 0 before the first came.
    width: u8,
}

impl std::fmt::Debug for IntSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// How many bytes an integer needs.
#[inline]
fn width_of(value: i64) -> u8 {
    match value {
        -0x8000..=0x7fff => 2,
        -0x8000_0000..=0x7fff_ffff => 4,
        _ => 8,
    }
}

impl IntSet {
    pub const fn new() -> Self {
        Self { buf: Vec::new(), count: 0, width: 0 }
    }

    /// Takes bytes from outside; everything about them is checked. None at all is no set.
    pub fn from_bytes(buf: Vec<u8>) -> Result<Self, Corrupt> {
        let (Some(width), Some(count)) = (buf.first_chunk::<4>(), buf.get(4..HEAD)) else {
            return Err(Corrupt);
        };
        let width = match u32::from_le_bytes(*width) {
            width @ (2 | 4 | 8) => width as u8,
            _ => return Err(Corrupt),
        };
        let count = u32::from_le_bytes([count[0], count[1], count[2], count[3]]);
        if count == 0 || (count as usize).checked_mul(width.into()).is_none_or(|n| n != buf.len() - HEAD) {
            return Err(Corrupt);
        }
        let this = Self { buf, count, width };
        let ascending = this.iter().zip(this.iter().skip(1)).all(|(a, b)| a < b);
        if ascending { Ok(this) } else { Err(Corrupt) }
    }

    /// The whole in stock's format. Not for an empty one, which has none.
    pub fn as_bytes(&self) -> &[u8] {
        debug_assert!(self.count > 0);
        &self.buf
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes allocated.
    pub fn memory_bytes(&self) -> usize {
        self.buf.capacity()
    }

    /// The integer at an index below [`IntSet::len`].
    #[inline]
    pub fn get(&self, index: usize) -> i64 {
        let at = HEAD + index * usize::from(self.width);
        let read = |n: usize| &self.buf[at..at + n];
        match self.width {
            2 => i16::from_le_bytes(read(2).try_into().unwrap_or_default()).into(),
            4 => i32::from_le_bytes(read(4).try_into().unwrap_or_default()).into(),
            _ => i64::from_le_bytes(read(8).try_into().unwrap_or_default()),
        }
    }

    pub fn first(&self) -> Option<i64> {
        (self.count > 0).then(|| self.get(0))
    }

    pub fn last(&self) -> Option<i64> {
        (self.count > 0).then(|| self.get(self.len() - 1))
    }

    /// In ascending order.
    pub fn iter(&self) -> Iter<'_> {
        Iter { set: self, at: 0 }
    }

    /// Where the integer is, or where it belongs.
    #[inline]
    fn search(&self, value: i64) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        // The next larger one is what sets are most often filled with.
        if high > 0 && value > self.get(high - 1) {
            return Err(high);
        }
        while low < high {
            let middle = (low + high) / 2;
            match self.get(middle).cmp(&value) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    #[inline]
    pub fn contains(&self, value: i64) -> bool {
        width_of(value) <= self.width && self.search(value).is_ok()
    }

    /// True if it is new.
    pub fn insert(&mut self, value: i64) -> bool {
        if width_of(value) > self.width {
            self.widen(width_of(value));
        }
        let Err(index) = self.search(value) else { return false };
        let width = usize::from(self.width);
        let (at, end) = (HEAD + index * width, self.buf.len());
        if self.buf.capacity() - end < width {
            // An eighth ahead: doubling would waste what the format saves.
            self.buf.reserve_exact(width + end / 8);
        }
        self.buf.resize(end + width, 0);
        self.buf.copy_within(at..end, at + width);
        self.buf[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
        self.count += 1;
        self.write_count();
        true
    }

    /// True if it was there.
    pub fn remove(&mut self, value: i64) -> bool {
        if width_of(value) > self.width {
            return false;
        }
        match self.search(value) {
            Ok(index) => {
                self.remove_at(index);
                true
            }
            Err(_) => false,
        }
    }

    /// Takes out the integer at an index below [`IntSet::len`].
    pub fn remove_at(&mut self, index: usize) -> i64 {
        let value = self.get(index);
        let width = usize::from(self.width);
        let at = HEAD + index * width;
        self.buf.copy_within(at + width.., at);
        self.buf.truncate(self.buf.len() - width);
        self.count -= 1;
        self.write_count();
        if self.buf.capacity() > 256 && self.buf.len() * 2 < self.buf.capacity() {
            self.buf.shrink_to(self.buf.len() + self.buf.len() / 8);
        }
        value
    }

    pub fn shrink_to_fit(&mut self) {
        self.buf.shrink_to_fit();
    }

    #[cold]
    fn widen(&mut self, width: u8) {
        let mut buf = Vec::with_capacity(HEAD + (self.len() + 1) * usize::from(width));
        buf.extend_from_slice(&u32::from(width).to_le_bytes());
        buf.extend_from_slice(&self.count.to_le_bytes());
        for value in self.iter() {
            buf.extend_from_slice(&value.to_le_bytes()[..width.into()]);
        }
        (self.buf, self.width) = (buf, width);
    }

    #[inline]
    fn write_count(&mut self) {
        self.buf[4..HEAD].copy_from_slice(&self.count.to_le_bytes());
    }
}

/// The integers in ascending order.
#[derive(Clone)]
pub struct Iter<'a> {
    set: &'a IntSet,
    at: usize,
}

impl Iterator for Iter<'_> {
    type Item = i64;

    #[inline]
    fn next(&mut self) -> Option<i64> {
        (self.at < self.set.len()).then(|| {
            self.at += 1;
            self.set.get(self.at - 1)
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.set.len() - self.at;
        (left, Some(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn some_int() -> impl Strategy<Value = i64> {
        prop_oneof![
            -40..40i64,
            (0..40i64).prop_map(|n| n + 32_750),
            (0..40i64).prop_map(|n| -32_750 - n),
            (0..40i64).prop_map(|n| n + 0x7fff_ffe0),
            (0..40i64).prop_map(|n| -0x7fff_ffe0 - n),
            prop_oneof![Just(i64::MIN), Just(i64::MAX)],
        ]
    }

    proptest! {
        #[test]
        fn an_intset_is_a_sorted_set(steps in proptest::collection::vec((any::<bool>(), some_int()), 0..200)) {
            let (mut set, mut model) = (IntSet::new(), BTreeSet::new());
            let mut widest = 0;
            for (add, n) in steps {
                if add {
                    prop_assert_eq!(set.insert(n), model.insert(n));
                    widest = widest.max(width_of(n));
                } else {
                    prop_assert_eq!(set.remove(n), model.remove(&n));
                }
                prop_assert_eq!(set.contains(n), model.contains(&n));
                prop_assert!(set.iter().eq(model.iter().copied()));
                prop_assert_eq!((set.first(), set.last()), (model.first().copied(), model.last().copied()));
                if !model.is_empty() {
                    prop_assert_eq!(set.as_bytes()[0], widest);
                    prop_assert_eq!(&IntSet::from_bytes(set.as_bytes().to_vec()), &Ok(set.clone()));
                }
            }
        }

        #[test]
        fn no_bytes_break_it(bytes in proptest::collection::vec(0..9u8, 0..40)) {
            if let Ok(mut set) = IntSet::from_bytes(bytes.clone()) {
                prop_assert_eq!(set.as_bytes(), &bytes[..]);
                let n = set.len();
                prop_assert!(!set.insert(set.get(n / 2)) && set.insert(i64::MIN));
            }
        }
    }

    #[test]
    fn the_bytes_are_those_of_stock() {
        let mut set = IntSet::new();
        set.insert(5);
        set.insert(-1);
        assert_eq!(set.as_bytes(), [2, 0, 0, 0, 2, 0, 0, 0, 0xff, 0xff, 5, 0]);
        set.insert(40_000);
        assert_eq!(set.as_bytes()[..12], [4, 0, 0, 0, 3, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        set.remove(40_000);
        assert_eq!(set.as_bytes()[0], 4, "the width stays");
    }

    #[test]
    fn what_is_no_set_is_refused() {
        let check = |bytes: &[u8]| assert_eq!(IntSet::from_bytes(bytes.to_vec()), Err(Corrupt), "{bytes:?}");
        check(&[]);
        check(&[2, 0, 0, 0, 0, 0, 0, 0]);
        check(&[3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0]);
        check(&[2, 0, 0, 0, 2, 0, 0, 0, 1, 0]);
        check(&[2, 0, 0, 0, 2, 0, 0, 0, 1, 0, 1, 0]);
        check(&[2, 0, 0, 0, 2, 0, 0, 0, 2, 0, 1, 0]);
        check(&[8, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    }
}
