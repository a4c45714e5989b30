//! The writer: functions that append to a buffer, and the sink that counts and sums what was written. Must not know where
//! the bytes go, nor who walks the keys.
//!
//! Strings are written as stock writers do: canonical integers of up to 32 bits as such, then LZF if it is wanted and
//! gains four bytes, then plain.

use std::io::{self, Write};

use super::format::{ENC_INT8, ENC_INT16, ENC_INT32, ENC_LZF, ENCODED, Kind, LEN_14, LEN_32, LEN_64, Version, op};
use super::value::{Usage, ValueRef, WriteOptions};
use super::{hash, list, set, stream, zset};
use crate::base::{crc, lzf, number};

/// The longest text of a 32-bit integer.
const MAX_INT_TEXT: usize = 11;
/// Shorter strings cannot gain from LZF.
const MIN_LZF: usize = 21;

/// What a file says of itself, in the order in which stock servers say it.
#[derive(Clone, Copy, Debug)]
pub struct Info<'a> {
    /// `redis-ver`
    pub server_version: &'a str,
    /// `ctime`, seconds since 1970
    pub created_s: i64,
    /// `used-mem`, bytes
    pub used_memory: u64,
    /// Where in the stream of effects the snapshot stands, if somebody may go on from there.
    pub repl: Option<Repl<'a>>,
    /// It is the base file of an AOF.
    pub aof_base: bool,
}

/// A position in a replication stream.
#[derive(Clone, Copy, Debug)]
pub struct Repl<'a> {
    /// The database that the stream has selected.
    pub stream_db: u32,
    pub id: &'a str,
    pub offset: i64,
}

pub fn put_header(out: &mut Vec<u8>, version: Version) {
    let text = if version.number() >= 80 {
        format!("VALKEY{:03}", version.number())
    } else {
        format!("REDIS{:04}", version.number())
    };
    out.extend_from_slice(text.as_bytes());
}

pub fn put_aux(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    out.push(op::AUX);
    put_string(out, key, false);
    put_string(out, value, false);
}

/// The remarks that stock servers write at the beginning.
pub fn put_info(out: &mut Vec<u8>, info: &Info<'_>) {
    let mut text = Vec::with_capacity(20);
    let mut number = |out: &mut Vec<u8>, key: &str, value: i64| {
        text.clear();
        number::push_i64(&mut text, value);
        put_aux(out, key.as_bytes(), &text);
    };
    put_aux(out, b"redis-ver", info.server_version.as_bytes());
    number(out, "redis-bits", i64::from(usize::BITS));
    number(out, "ctime", info.created_s);
    number(out, "used-mem", i64::try_from(info.used_memory).unwrap_or(i64::MAX));
    if let Some(repl) = &info.repl {
        number(out, "repl-stream-db", repl.stream_db.into());
        put_aux(out, b"repl-id", repl.id.as_bytes());
        number(out, "repl-offset", repl.offset);
    }
    number(out, "aof-base", info.aof_base.into());
}

pub fn put_select_db(out: &mut Vec<u8>, db: u32) {
    out.push(op::SELECT_DB);
    put_len(out, db.into());
}

pub fn put_resize_db(out: &mut Vec<u8>, keys: u64, expires: u64) {
    out.push(op::RESIZE_DB);
    put_len(out, keys);
    put_len(out, expires);
}

/// A function library.
pub fn put_function(out: &mut Vec<u8>, code: &[u8], options: &WriteOptions) {
    out.push(op::FUNCTION);
    put_string(out, code, options.compress);
}

#[inline]
pub fn put_key(
    out: &mut Vec<u8>,
    key: &[u8],
    value: ValueRef<'_>,
    expire_ms: Option<i64>,
    usage: Usage,
    options: &WriteOptions,
) {
    put_key_head(out, key, value, expire_ms, usage, options);
    put_payload(out, value, options);
}

/// A string value that was written plain, to be compressed by whoever has the time: see [`pack_into`].
#[derive(Clone, Copy, Debug)]
pub struct Unpacked {
    /// Where the text's length begins in what it was written to.
    from: usize,
    /// Where the text itself ends.
    end: usize,
}

impl Unpacked {
    /// Where it lies when what it was written to comes behind so many bytes.
    pub fn behind(self, bytes: usize) -> Self {
        Self { from: self.from + bytes, end: self.end + bytes }
    }
}

/// As [`put_key`], only that a string value is not compressed now, if it ever is. Nothing else takes so long.
#[inline]
pub fn put_key_unpacked(
    out: &mut Vec<u8>,
    key: &[u8],
    value: ValueRef<'_>,
    expire_ms: Option<i64>,
    usage: Usage,
    options: &WriteOptions,
) -> Option<Unpacked> {
    put_key_head(out, key, value, expire_ms, usage, options);
    match value {
        ValueRef::Str(text) if options.compress && text.len() >= MIN_LZF => {
            let from = out.len();
            put_plain(out, text);
            Some(Unpacked { from, end: out.len() })
        }
        _ => {
            put_payload(out, value, options);
            None
        }
    }
}

/// Appends what `plain` holds from `from` on to `out`, up to the end of the last of these parts, each compressed if that
/// gains something; gives where it ended.
pub fn pack_into(out: &mut Vec<u8>, plain: &[u8], from: usize, parts: &[Unpacked]) -> usize {
    let mut done = from;
    for part in parts {
        let (Some(before), Some(text)) = (plain.get(done..part.from), plain.get(part.from..part.end).and_then(text_of))
        else {
            unreachable!("parts stand in order, and within");
        };
        out.extend_from_slice(before);
        put_string(out, text, true);
        done = part.end;
    }
    done
}

/// What stands behind the length that [`put_len`] wrote.
fn text_of(plain: &[u8]) -> Option<&[u8]> {
    let head = match *plain.first()? {
        0..0x40 => 1,
        LEN_32 => 5,
        LEN_64 => 9,
        _ => 2,
    };
    plain.get(head..)
}

#[inline]
fn put_key_head(
    out: &mut Vec<u8>,
    key: &[u8],
    value: ValueRef<'_>,
    expire_ms: Option<i64>,
    usage: Usage,
    options: &WriteOptions,
) {
    if let Some(ms) = expire_ms {
        out.push(op::EXPIRE_MS);
        out.extend_from_slice(&ms.to_le_bytes());
    }
    match usage {
        Usage::Unsaid => {}
        Usage::IdleS(seconds) => {
            out.push(op::IDLE);
            put_len(out, seconds);
        }
        Usage::Freq(counter) => out.extend_from_slice(&[op::FREQ, counter]),
    }
    out.push(kind_of(value, options).byte());
    put_string(out, key, options.compress);
}

/// The end, without the checksum.
pub fn put_eof(out: &mut Vec<u8>) {
    out.push(op::EOF);
}

/// The end with its checksum, behind bytes whose CRC-64 is `crc`; without one if `checksum` is not wanted.
pub fn put_trailer(out: &mut Vec<u8>, crc: u64, checksum: bool) {
    put_eof(out);
    let crc = if checksum { crc::crc64(crc, &[op::EOF]) } else { 0 };
    out.extend_from_slice(&crc.to_le_bytes());
}

pub(super) fn kind_of(value: ValueRef<'_>, options: &WriteOptions) -> Kind {
    match value {
        ValueRef::Str(_) | ValueRef::Int(_) => Kind::String,
        ValueRef::List(value) => list::kind(value, options),
        ValueRef::Set(value) => set::kind(value, options),
        ValueRef::Hash(value) => hash::kind(value, options),
        ValueRef::ZSet(value) => zset::kind(value, options),
        ValueRef::Stream(value) => stream::kind(value, options),
        ValueRef::Other { kind, .. } => kind,
    }
}

pub(super) fn put_payload(out: &mut Vec<u8>, value: ValueRef<'_>, options: &WriteOptions) {
    match value {
        ValueRef::Str(text) => put_string(out, text, options.compress),
        ValueRef::Int(number) => {
            if !put_small_int(out, number) {
                let mut text = Vec::with_capacity(20);
                number::push_i64(&mut text, number);
                put_plain(out, &text);
            }
        }
        ValueRef::List(value) => list::write(out, value, options),
        ValueRef::Set(value) => set::write(out, value, options),
        ValueRef::Hash(value) => hash::write(out, value, options),
        ValueRef::ZSet(value) => zset::write(out, value, options),
        ValueRef::Stream(value) => stream::write(out, value, options),
        ValueRef::Other { raw, .. } => out.extend_from_slice(raw),
    }
}

#[inline]
pub fn put_len(out: &mut Vec<u8>, len: u64) {
    match len {
        0..0x40 => out.push(len as u8),
        0x40..0x4000 => out.extend_from_slice(&[LEN_14 | (len >> 8) as u8, len as u8]),
        0x4000..=0xffff_ffff => {
            out.push(LEN_32);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
        _ => {
            out.push(LEN_64);
            out.extend_from_slice(&len.to_be_bytes());
        }
    }
}

#[inline]
pub fn put_string(out: &mut Vec<u8>, text: &[u8], compress: bool) {
    if text.len() <= MAX_INT_TEXT {
        if let Some(number) = number::parse_i64(text)
            && put_small_int(out, number)
        {
            return;
        }
    } else if compress
        && text.len() >= MIN_LZF
        && let Some(small) = lzf::compress(text)
    {
        return put_compressed(out, &small, text.len());
    }
    put_plain(out, text);
}

/// A string of `len` bytes, of which the LZF form is known.
pub(super) fn put_compressed(out: &mut Vec<u8>, small: &[u8], len: usize) {
    out.push(ENCODED | ENC_LZF);
    put_len(out, small.len() as u64);
    put_len(out, len as u64);
    out.extend_from_slice(small);
}

#[inline]
fn put_plain(out: &mut Vec<u8>, text: &[u8]) {
    put_len(out, text.len() as u64);
    out.extend_from_slice(text);
}

/// Whether the number was small enough to be written as one.
fn put_small_int(out: &mut Vec<u8>, number: i64) -> bool {
    if let Ok(number) = i8::try_from(number) {
        out.extend_from_slice(&[ENCODED | ENC_INT8, number as u8]);
    } else if let Ok(number) = i16::try_from(number) {
        out.push(ENCODED | ENC_INT16);
        out.extend_from_slice(&number.to_le_bytes());
    } else if let Ok(number) = i32::try_from(number) {
        out.push(ENCODED | ENC_INT32);
        out.extend_from_slice(&number.to_le_bytes());
    } else {
        return false;
    }
    true
}

/// Passes bytes on, counts them and sums them up for the trailer.
#[derive(Debug)]
pub struct Sink<W> {
    inner: W,
    crc: u64,
    bytes: u64,
    checksum: bool,
}

impl<W: Write> Sink<W> {
    /// `checksum`: whether to compute one; otherwise the trailer says that there is none.
    pub fn new(inner: W, checksum: bool) -> Self {
        Self { inner, crc: 0, bytes: 0, checksum }
    }

    pub fn bytes_written(&self) -> u64 {
        self.bytes
    }

    pub fn get_ref(&self) -> &W {
        &self.inner
    }

    /// Writes the end and its checksum.
    pub fn finish(mut self) -> io::Result<W> {
        let mut trailer = Vec::with_capacity(9);
        put_trailer(&mut trailer, self.crc, self.checksum);
        self.inner.write_all(&trailer)?;
        self.inner.flush()?;
        Ok(self.inner)
    }
}

impl<W: Write> Write for Sink<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        if self.checksum {
            self.crc = crc::crc64(self.crc, bytes.get(..written).unwrap_or(bytes));
        }
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
