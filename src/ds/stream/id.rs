//! The id of a stream's entry: milliseconds and a sequence number, in that order.

use std::fmt;
use std::ops::Deref;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    pub ms: u64,
    pub seq: u64,
}

impl StreamId {
    pub const MIN: Self = Self { ms: 0, seq: 0 };
    pub const MAX: Self = Self { ms: u64::MAX, seq: u64::MAX };

    pub const fn new(ms: u64, seq: u64) -> Self {
        Self { ms, seq }
    }

    /// 0-0, which no entry has.
    pub fn is_zero(self) -> bool {
        self == Self::MIN
    }

    /// The next larger one, if there is one.
    pub fn next(self) -> Option<Self> {
        match (self.ms.checked_add(1), self.seq.checked_add(1)) {
            (_, Some(seq)) => Some(Self { seq, ..self }),
            (Some(ms), None) => Some(Self { ms, seq: 0 }),
            (None, None) => None,
        }
    }

    /// The next smaller one, if there is one.
    pub fn prev(self) -> Option<Self> {
        match (self.ms.checked_sub(1), self.seq.checked_sub(1)) {
            (_, Some(seq)) => Some(Self { seq, ..self }),
            (Some(ms), None) => Some(Self { ms, seq: u64::MAX }),
            (None, None) => None,
        }
    }

    /// Both numbers, most significant byte first: the order of the bytes is the order of the ids.
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.ms) << 64 | u128::from(self.seq)).to_be_bytes()
    }

    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let both = u128::from_be_bytes(bytes);
        Self { ms: (both >> 64) as u64, seq: both as u64 }
    }

    /// How far it is behind `master`, as nodes keep it.
    pub(super) fn since(self, master: Self) -> (i64, i64) {
        (self.ms.wrapping_sub(master.ms) as i64, self.seq.wrapping_sub(master.seq) as i64)
    }

    pub(super) fn plus(self, ms: i64, seq: i64) -> Self {
        Self { ms: self.ms.wrapping_add(ms as u64), seq: self.seq.wrapping_add(seq as u64) }
    }

    /// `ms-seq` in decimal.
    pub fn text(self) -> IdText {
        self.joined_by(b'-')
    }

    /// As [`StreamId::text`], but with another sign between the numbers.
    pub fn joined_by(self, sign: u8) -> IdText {
        let (mut ms, mut seq) = (itoa::Buffer::new(), itoa::Buffer::new());
        let (ms, seq) = (ms.format(self.ms).as_bytes(), seq.format(self.seq).as_bytes());
        let mut text = IdText { bytes: [0; 41], len: (ms.len() + 1 + seq.len()) as u8 };
        text.bytes[..ms.len()].copy_from_slice(ms);
        text.bytes[ms.len()] = sign;
        text.bytes[ms.len() + 1..][..seq.len()].copy_from_slice(seq);
        text
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// An id's text, without an allocation.
#[derive(Clone, Copy, Debug)]
pub struct IdText {
    bytes: [u8; 41],
    len: u8,
}

impl Deref for IdText {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl AsRef<[u8]> for IdText {
    fn as_ref(&self) -> &[u8] {
        self
    }
}
