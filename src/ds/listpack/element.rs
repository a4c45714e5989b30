//! One element of a listpack: how it is read, checked and written.
//!
//! ```text
//! 0xxxxxxx                    0 to 127            1110xxxx +1   a string of up to 4095 bytes
//! 10xxxxxx                    a string of up to 63   11110000 +4   a longer string
//! 110xxxxx +1                 13 bits, signed     11110001 +2, 0010 +3, 0011 +4, 0100 +8   an integer, little-endian
//! ```

use crate::base::number::canonical_int;

const STR_32: u8 = 0xf0;
const INT_16: u8 = 0xf1;
const INT_24: u8 = 0xf2;
const INT_32: u8 = 0xf3;
const INT_64: u8 = 0xf4;

/// A look at an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    Int(i64),
    Str(&'a [u8]),
}

impl<'a> Item<'a> {
    /// The text; an integer's is written into `text`.
    #[inline]
    pub fn bytes<'b>(&self, text: &'b mut itoa::Buffer) -> &'b [u8]
    where
        'a: 'b,
    {
        match *self {
            Item::Int(n) => text.format(n).as_bytes(),
            Item::Str(s) => s,
        }
    }

    pub fn to_vec(&self) -> Vec<u8> {
        self.bytes(&mut itoa::Buffer::new()).to_vec()
    }

    /// The text's length in bytes.
    pub fn len(&self) -> usize {
        self.bytes(&mut itoa::Buffer::new()).len()
    }

    pub fn is_empty(&self) -> bool {
        matches!(self, Item::Str([]))
    }

    #[inline]
    pub fn eq_bytes(&self, other: &[u8]) -> bool {
        match *self {
            Item::Int(n) => canonical_int(other) == Some(n),
            Item::Str(s) => s == other,
        }
    }

    /// The integer, if it was kept as one.
    pub fn as_int(&self) -> Option<i64> {
        match *self {
            Item::Int(n) => Some(n),
            Item::Str(_) => None,
        }
    }
}

/// An element to be written.
pub(super) struct Element<'a> {
    value: Item<'a>,
    /// Encoding and data.
    body: usize,
}

impl<'a> Element<'a> {
    #[inline]
    pub(super) fn new(value: &'a [u8]) -> Self {
        match canonical_int(value) {
            Some(n) => Self::int(n),
            None => {
                let head = match value.len() {
                    0..64 => 1,
                    64..4096 => 2,
                    _ => 5,
                };
                Element { value: Item::Str(value), body: head + value.len() }
            }
        }
    }

    #[inline]
    pub(super) fn int(n: i64) -> Self {
        let body = match n {
            0..=127 => 1,
            -4096..=4095 => 2,
            -0x8000..=0x7fff => 3,
            -0x80_0000..=0x7f_ffff => 4,
            -0x8000_0000..=0x7fff_ffff => 5,
            _ => 9,
        };
        Element { value: Item::Int(n), body }
    }

    /// The whole, with the length behind it.
    #[inline]
    pub(super) fn size(&self) -> usize {
        self.body + back_size(self.body)
    }

    /// Writes exactly `size` bytes.
    #[inline]
    pub(super) fn write(&self, out: &mut [u8]) {
        let body = self.body;
        match self.value {
            Item::Str(s) => {
                let head = body - s.len();
                match head {
                    1 => out[0] = 0x80 | s.len() as u8,
                    2 => out[..2].copy_from_slice(&[0xe0 | (s.len() >> 8) as u8, s.len() as u8]),
                    _ => {
                        out[0] = STR_32;
                        out[1..5].copy_from_slice(&(s.len() as u32).to_le_bytes());
                    }
                }
                out[head..body].copy_from_slice(s);
            }
            Item::Int(n) => match body {
                1 => out[0] = n as u8,
                2 => out[..2].copy_from_slice(&[0xc0 | (n >> 8) as u8 & 0x1f, n as u8]),
                _ => {
                    out[0] = match body {
                        3 => INT_16,
                        4 => INT_24,
                        5 => INT_32,
                        _ => INT_64,
                    };
                    out[1..body].copy_from_slice(&n.to_le_bytes()[..body - 1]);
                }
            },
        }
        write_back(&mut out[body..], body);
    }

    /// The size of the element at the front of bytes that nobody has checked; `None` if it is none.
    pub(super) fn checked_size(bytes: &[u8]) -> Option<usize> {
        let body = match *bytes.first()? {
            0..=0x7f => 1,
            b @ 0x80..=0xbf => 1 + usize::from(b & 0x3f),
            0xc0..=0xdf => 2,
            b @ 0xe0..=0xef => 2 + (usize::from(b & 0x0f) << 8 | usize::from(*bytes.get(1)?)),
            STR_32 => {
                let len = bytes.get(1..5)?;
                5 + u32::from_le_bytes([len[0], len[1], len[2], len[3]]) as usize
            }
            INT_16 => 3,
            INT_24 => 4,
            INT_32 => 5,
            INT_64 => 9,
            _ => return None,
        };
        let back = back_size(body);
        let mut expected = [0; 5];
        write_back(&mut expected[..back], body);
        (bytes.get(body..body + back)? == &expected[..back]).then_some(body + back)
    }
}

/// How many bytes the length behind an element takes.
#[inline]
fn back_size(body: usize) -> usize {
    match body {
        0..=127 => 1,
        128..16383 => 2,
        16383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    }
}

/// Writes the length behind an element: seven bits a byte, the lowest last; all but the first have the high bit set.
#[inline]
fn write_back(out: &mut [u8], body: usize) {
    let n = out.len();
    let mut rest = body;
    for (i, byte) in out.iter_mut().enumerate().rev() {
        *byte = rest as u8 & 127 | if i > 0 { 128 } else { 0 };
        rest >>= 7;
    }
    debug_assert!(rest == 0 && n <= 5);
}

/// The length of encoding and data of the element at the front of `bytes`.
#[inline]
fn body(bytes: &[u8]) -> usize {
    match bytes[0] {
        0..=0x7f => 1,
        b @ 0x80..=0xbf => 1 + usize::from(b & 0x3f),
        0xc0..=0xdf => 2,
        b @ 0xe0..=0xef => 2 + (usize::from(b & 0x0f) << 8 | usize::from(bytes[1])),
        STR_32 => 5 + u32::from_le_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]) as usize,
        INT_16 => 3,
        INT_24 => 4,
        INT_32 => 5,
        _ => 9,
    }
}

/// The size of the element at the front of `bytes`.
#[inline]
pub(super) fn size(bytes: &[u8]) -> usize {
    match bytes[0] {
        // The commonest are short, and the length behind them is one byte.
        0..=0x7f => 2,
        b @ 0x80..=0xbf => 2 + usize::from(b & 0x3f),
        _ => {
            let body = body(bytes);
            body + back_size(body)
        }
    }
}

/// The size of the element that `bytes` end with.
#[inline]
pub(super) fn size_behind(bytes: &[u8]) -> usize {
    let (mut body, mut shift, mut back) = (0, 0, 0);
    for &byte in bytes.iter().rev() {
        body |= usize::from(byte & 127) << shift;
        shift += 7;
        back += 1;
        if byte & 128 == 0 {
            break;
        }
    }
    body + back
}

/// The element at the front of `bytes`.
#[inline]
pub(super) fn item(bytes: &[u8]) -> Item<'_> {
    item_and_size(bytes).0
}

#[inline]
pub(super) fn item_and_size(bytes: &[u8]) -> (Item<'_>, usize) {
    match bytes[0] {
        b @ 0..=0x7f => return (Item::Int(i64::from(b)), 2),
        b @ 0x80..=0xbf => {
            let len = usize::from(b & 0x3f);
            return (Item::Str(&bytes[1..1 + len]), 2 + len);
        }
        _ => {}
    }
    let body = body(bytes);
    let size = body + back_size(body);
    let item = match bytes[0] {
        b @ 0..=0x7f => Item::Int(i64::from(b)),
        0x80..=0xbf => Item::Str(&bytes[1..body]),
        b @ 0xc0..=0xdf => {
            let raw = u16::from(b & 0x1f) << 8 | u16::from(bytes[1]);
            // 13 bits: shift the sign to the top and back.
            Item::Int(i64::from((raw << 3) as i16 >> 3))
        }
        0xe0..=0xef => Item::Str(&bytes[2..body]),
        STR_32 => Item::Str(&bytes[5..body]),
        _ => {
            let data = &bytes[1..body];
            let mut wide = [0; 8];
            wide[..data.len()].copy_from_slice(data);
            let unused = 64 - 8 * data.len() as u32;
            Item::Int(i64::from_le_bytes(wide) << unused >> unused)
        }
    };
    (item, size)
}
