//! Bytes from a reader, with a position, a running checksum and a window on the current event. Must not know what an
//! event is made of beyond lengths and strings.
//!
//! ```text
//! buf:  | thrown away next | current event, read part | not read yet | room |
//!       0                  start                      at             filled  len
//! ```
//! A refill moves `start` to the front and reads behind `filled`: whatever an event is made of stays in one place until
//! the event is handed out, and nothing small is copied out of the buffer. `source` is never asked for more when what is
//! needed is there, so that a socket that stays open after the end does not hold up the reader.

use std::borrow::Cow;
use std::io::{ErrorKind, Read};

use super::error::{RdbError, Result};
use super::format::{ENC_INT8, ENC_INT16, ENC_INT32, ENC_LZF, LEN_32, LEN_64};
use crate::base::{crc, lzf, number};

/// Room of the buffer, unless one event needs more.
const SPACE: usize = 128 * 1024;
/// Longer strings are read into a buffer of their own, which the value then owns.
const DIRECT: usize = 32 * 1024;
/// What is reserved for a string before the first byte of it has been seen.
const FIRST_RESERVE: usize = 1 << 20;

pub(super) struct Input<R> {
    source: R,
    buf: Vec<u8>,
    start: usize,
    at: usize,
    filled: usize,
    /// What stands before it is in `crc`.
    hashed: usize,
    /// Position of `buf`'s first byte in the input.
    base: u64,
    crc: u64,
    /// Position from which on `crc` counts.
    crc_from: u64,
    hashing: bool,
    keeping: bool,
    /// What is in the buffer must do: whoever needs more is told that the input ends there.
    fenced: bool,
}

/// A string of the current event.
#[derive(Debug)]
pub(super) enum Piece {
    /// In the buffer, counted from the start of the event.
    Buffer {
        from: usize,
        len: usize,
    },
    Owned(Vec<u8>),
}

#[derive(Debug)]
pub(super) enum Text {
    Bytes(Piece),
    Int(i64),
}

enum Prefix {
    Len(u64),
    Encoding(u8),
}

impl<R: Read> Input<R> {
    pub(super) fn new(source: R, hashing: bool) -> Self {
        Self { hashing, ..Self::over(source, vec![0; SPACE], 0) }
    }

    /// Begins with the bytes `known`, before those of `source`.
    pub(super) fn with(known: Vec<u8>, source: R) -> Self {
        let filled = known.len();
        Self::over(source, known, filled)
    }

    fn over(source: R, buf: Vec<u8>, filled: usize) -> Self {
        Self {
            source,
            buf,
            start: 0,
            at: 0,
            filled,
            hashed: 0,
            base: 0,
            crc: 0,
            crc_from: 0,
            hashing: false,
            keeping: true,
            fenced: false,
        }
    }

    /// Begins at byte `from` of `known`, whose first byte has the position `base`; nothing more is to come.
    pub(super) fn within(known: Vec<u8>, from: usize, base: u64, source: R) -> Self {
        let filled = known.len();
        Self { at: from, start: from, hashed: from, base, ..Self::over(source, known, filled) }
    }

    /// The source, and what was read from it but not used.
    pub(super) fn into_parts(self) -> (R, Vec<u8>) {
        let rest = self.buf.get(self.at..self.filled).unwrap_or_default().to_vec();
        (self.source, rest)
    }

    /// How many bytes were used.
    pub(super) fn position(&self) -> u64 {
        self.base + self.at as u64
    }

    /// Forgets the last event and begins the next one.
    #[inline]
    pub(super) fn begin(&mut self) {
        self.start = self.at;
        self.keeping = true;
    }

    /// From here on, the current event's bytes need not stay; pieces in the buffer are void.
    pub(super) fn forget(&mut self) {
        self.keeping = false;
    }

    /// Where in the event we are, for [`Self::since`].
    pub(super) fn mark(&self) -> usize {
        self.at - self.start
    }

    /// Goes back to `mark`, within what is in the buffer and not summed yet.
    pub(super) fn rewind(&mut self, mark: usize) {
        self.at = self.start + mark;
    }

    /// Goes on to `mark`, where we have been before.
    pub(super) fn forward(&mut self, mark: usize) {
        self.at = (self.start + mark).min(self.filled);
    }

    /// What was read since `mark`.
    pub(super) fn since(&self, mark: usize) -> &[u8] {
        self.buf.get(self.start + mark..self.at).unwrap_or_default()
    }

    pub(super) fn resolve(&self, piece: Piece) -> Cow<'_, [u8]> {
        match piece {
            Piece::Buffer { from, len } => Cow::Borrowed(self.window(from, len)),
            Piece::Owned(bytes) => Cow::Owned(bytes),
        }
    }

    pub(super) fn peek<'a>(&'a self, piece: &'a Piece) -> &'a [u8] {
        match piece {
            Piece::Buffer { from, len } => self.window(*from, *len),
            Piece::Owned(bytes) => bytes,
        }
    }

    fn window(&self, from: usize, len: usize) -> &[u8] {
        let from = self.start + from;
        self.buf.get(from..from + len).unwrap_or_default()
    }

    /// The checksum of everything read so far.
    pub(super) fn crc(&mut self) -> u64 {
        self.hash();
        self.crc
    }

    /// The checksum of what was read since this was last asked, and how many bytes that is.
    pub(super) fn take_crc(&mut self) -> (u64, u64) {
        self.hash();
        let (crc, from) = (std::mem::take(&mut self.crc), self.crc_from);
        self.crc_from = self.position();
        (crc, self.position() - from)
    }

    /// Whether everything was used that is in the buffer.
    pub(super) fn is_drained(&self) -> bool {
        self.at >= self.filled
    }

    /// Goes back to a position within what is in the buffer, all of which is there.
    pub(super) fn go_back_to(&mut self, position: u64) {
        self.at = usize::try_from(position.saturating_sub(self.base)).unwrap_or(self.filled).min(self.filled);
        (self.start, self.hashed) = (self.at, self.at);
    }

    /// Fills the buffer, which is to hold `room` bytes, from the current position on, unless most of it is there.
    pub(super) fn fill_up(&mut self, room: usize) -> Result<()> {
        if self.filled - self.at >= room / 2 {
            return Ok(());
        }
        if self.buf.len() < room {
            self.buf.resize(room, 0);
        }
        match self.fill(room / 2) {
            // That there is no more is for whoever needs more.
            Err(RdbError::Truncated { .. }) => Ok(()),
            done => done,
        }
    }

    /// Tries to pass over whatever `f` passes over without reading more. False if that is not all in the buffer; then,
    /// and where `f` says so, nothing was passed over.
    pub(super) fn within_buffer(&mut self, f: impl FnOnce(&mut Self) -> Result<bool>) -> Result<bool> {
        let before = self.at;
        self.fenced = true;
        let passed = f(self);
        self.fenced = false;
        match passed {
            Ok(true) => Ok(true),
            Ok(false) | Err(RdbError::Truncated { .. }) => {
                self.at = before;
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }

    /// Takes the bytes from `from` (see [`Self::mark`]) up to here out of the buffer, and with them the buffer. Gives it,
    /// where in it they begin, and the position of its first byte. Their checksum is the taker's business.
    pub(super) fn take_out(&mut self, from: usize) -> (Vec<u8>, usize, u64) {
        let from = self.start + from;
        let rest = self.buf.get(self.at..self.filled).unwrap_or_default();
        let mut next = Vec::with_capacity(self.buf.len());
        next.extend_from_slice(rest);
        next.resize(self.buf.len(), 0);
        let mut taken = std::mem::replace(&mut self.buf, next);
        taken.truncate(self.at);
        let base = self.base;
        self.base += self.at as u64;
        self.filled -= self.at;
        (self.at, self.start, self.hashed) = (0, 0, 0);
        self.crc_from = self.base;
        (taken, from, base)
    }

    fn hash(&mut self) {
        if self.hashing {
            self.crc = crc::crc64(self.crc, self.buf.get(self.hashed..self.at).unwrap_or_default());
        }
        self.hashed = self.at;
    }

    pub(super) fn corrupt<T>(&self, what: &'static str) -> Result<T> {
        Err(RdbError::Corrupt { at: self.position(), what })
    }

    #[inline]
    fn need(&mut self, count: usize) -> Result<()> {
        if self.filled - self.at >= count { Ok(()) } else { self.fill(count) }
    }

    #[cold]
    fn fill(&mut self, count: usize) -> Result<()> {
        if self.fenced {
            return Err(RdbError::Truncated { at: self.base + self.filled as u64 });
        }
        self.hash();
        if !self.keeping {
            self.start = self.at;
        }
        self.buf.copy_within(self.start..self.filled, 0);
        self.base += self.start as u64;
        self.at -= self.start;
        self.hashed -= self.start;
        self.filled -= self.start;
        self.start = 0;
        if self.buf.len() > 2 * SPACE && self.filled < SPACE / 2 {
            self.buf.truncate(SPACE);
            self.buf.shrink_to_fit();
        }
        while self.filled - self.at < count {
            if self.filled == self.buf.len() {
                // At most doubled, and only when full: memory follows what has come, not what was announced.
                self.buf.resize((2 * self.buf.len()).max(DIRECT), 0);
            }
            let room = self.buf.get_mut(self.filled..).unwrap_or_default();
            match self.source.read(room) {
                Ok(0) => return Err(RdbError::Truncated { at: self.base + self.filled as u64 }),
                Ok(read) => self.filled += read.min(room.len()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(RdbError::Io { at: self.base + self.filled as u64, source }),
            }
        }
        Ok(())
    }

    pub(super) fn skip(&mut self, mut count: u64) -> Result<()> {
        loop {
            let here = (self.filled - self.at).min(usize::try_from(count).unwrap_or(usize::MAX));
            self.at += here;
            count -= here as u64;
            if count == 0 {
                return Ok(());
            }
            self.fill(1)?;
        }
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8> {
        self.need(1)?;
        let byte = self.buf.get(self.at).copied().unwrap_or_default();
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.need(N)?;
        let bytes = self.buf.get(self.at..).and_then(|rest| rest.first_chunk::<N>()).copied().unwrap_or([0; N]);
        self.at += N;
        Ok(bytes)
    }

    fn take(&mut self, count: u64) -> Result<Piece> {
        match usize::try_from(count) {
            Ok(len) if len <= DIRECT => {
                self.need(len)?;
                let from = self.at - self.start;
                self.at += len;
                Ok(Piece::Buffer { from, len })
            }
            Ok(len) => Ok(Piece::Owned(self.take_direct(len)?)),
            Err(_) => self.corrupt("a string longer than any memory"),
        }
    }

    /// A long string, past the buffer.
    fn take_direct(&mut self, len: usize) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(len.min(FIRST_RESERVE));
        let here = (self.filled - self.at).min(len);
        out.extend_from_slice(self.buf.get(self.at..self.at + here).unwrap_or_default());
        self.at += here;
        // The checksum goes on with bytes that are never in the buffer.
        self.hash();
        while out.len() < len {
            let step = (len - out.len()).min(FIRST_RESERVE);
            if out.capacity() - out.len() < step {
                out.reserve_exact((len - out.len()).min(out.len().max(FIRST_RESERVE)));
            }
            let before = out.len();
            let read = (&mut self.source).take(step as u64).read_to_end(&mut out);
            let new = out.get(before..).unwrap_or_default();
            self.base += new.len() as u64;
            if self.hashing {
                self.crc = crc::crc64(self.crc, new);
            }
            match read {
                Ok(read) if read < step => return Err(RdbError::Truncated { at: self.position() }),
                Ok(_) => {}
                Err(source) => return Err(RdbError::Io { at: self.position(), source }),
            }
        }
        Ok(out)
    }

    #[inline]
    fn prefix(&mut self) -> Result<Prefix> {
        let first = self.byte()?;
        let low = first & 0x3f;
        Ok(match first >> 6 {
            0 => Prefix::Len(low.into()),
            1 => Prefix::Len(u64::from(low) << 8 | u64::from(self.byte()?)),
            2 => match first {
                LEN_32 => Prefix::Len(u32::from_be_bytes(self.array()?).into()),
                LEN_64 => Prefix::Len(u64::from_be_bytes(self.array()?)),
                _ => return self.corrupt("a length that begins with an unknown byte"),
            },
            _ => Prefix::Encoding(low),
        })
    }

    /// A length, a count or another number that is not negative.
    #[inline]
    pub(super) fn len(&mut self) -> Result<u64> {
        match self.prefix()? {
            Prefix::Len(len) => Ok(len),
            Prefix::Encoding(_) => self.corrupt("an encoded string stands where a length belongs"),
        }
    }

    /// A string, however it is encoded.
    #[inline]
    pub(super) fn text(&mut self) -> Result<Text> {
        match self.prefix()? {
            Prefix::Len(len) => Ok(Text::Bytes(self.take(len)?)),
            Prefix::Encoding(encoding) => self.encoded(encoding),
        }
    }

    fn encoded(&mut self, encoding: u8) -> Result<Text> {
        Ok(match encoding {
            ENC_INT8 => Text::Int(i8::from_le_bytes(self.array()?).into()),
            ENC_INT16 => Text::Int(i16::from_le_bytes(self.array()?).into()),
            ENC_INT32 => Text::Int(i32::from_le_bytes(self.array()?).into()),
            ENC_LZF => {
                let small_len = self.len()?;
                let len = self.len()?;
                let small = self.take(small_len)?;
                let whole = usize::try_from(len).ok().and_then(|len| lzf::decompress(self.peek(&small), len));
                match whole {
                    Some(whole) => Text::Bytes(Piece::Owned(whole)),
                    None => return self.corrupt("a compressed string does not unfold to its length"),
                }
            }
            _ => return self.corrupt("a string of an unknown encoding"),
        })
    }

    /// A string; an integer becomes its text.
    pub(super) fn string(&mut self) -> Result<Piece> {
        Ok(match self.text()? {
            Text::Bytes(piece) => piece,
            Text::Int(number) => {
                let mut text = Vec::with_capacity(11);
                number::push_i64(&mut text, number);
                Piece::Owned(text)
            }
        })
    }

    pub(super) fn skip_string(&mut self) -> Result<()> {
        match self.prefix()? {
            Prefix::Len(len) => self.skip(len),
            Prefix::Encoding(ENC_INT8) => self.skip(1),
            Prefix::Encoding(ENC_INT16) => self.skip(2),
            Prefix::Encoding(ENC_INT32) => self.skip(4),
            Prefix::Encoding(ENC_LZF) => {
                let small_len = self.len()?;
                self.len()?;
                self.skip(small_len)
            }
            Prefix::Encoding(_) => self.corrupt("a string of an unknown encoding"),
        }
    }
}
