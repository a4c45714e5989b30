//! The reader: bytes to events, one at a time, exactly to the last byte of the RDB. Must not know where the bytes come
//! from, what time it is or what becomes of the events.

use std::borrow::Cow;
use std::io::{Empty, Read};

use super::error::{RdbError, Result};
use super::format::{Dialect, Kind, MAGIC_LEN, Row, Version, module_name, module_op, op, row_of};
use super::input::{Input, Piece, Text};
use super::value::{Usage, Value, read_object};
use crate::base::crc;
use crate::ds::Limits;

/// The most slot ranges that can be: each one slot.
const MAX_SLOT_RANGES: u64 = 16384;

/// What a reader came across. It borrows the reader's buffer until the next call.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(PartialEq))]
pub enum Event<'a> {
    /// A remark on the whole, such as `redis-ver` or `repl-id`.
    Aux { key: Cow<'a, [u8]>, value: Cow<'a, [u8]> },
    /// The database of the keys that follow.
    SelectDb(u32),
    /// How many keys the database has, and how many of them expire: a hint, not to be trusted.
    ResizeDb { keys: u64, expires: u64 },
    /// The same for a slot (Redis 8).
    SlotInfo { slot: u64, keys: u64, expires: u64 },
    /// Slots that were being imported (Valkey 9), as ranges with both ends included.
    SlotImport { job: Cow<'a, [u8]>, ranges: Vec<(u64, u64)> },
    Key {
        key: Cow<'a, [u8]>,
        value: Value<'a>,
        /// Milliseconds since 1970.
        expire_ms: Option<i64>,
        usage: Usage,
    },
    /// The code of a function library.
    Function(Cow<'a, [u8]>),
    /// A module's data beside the keys; it was passed over.
    ModuleAux { name: String },
    /// The end, to which nothing more follows.
    Eof(Checksum),
}

/// What came of the checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    Right,
    /// The writer did not compute it.
    Disabled,
    /// The caller did not want to know.
    Unchecked,
    /// The version has none.
    Absent,
    /// Runs were handed out unread: [`Reader::join_checksum`] says.
    Open,
}

/// What the reader was at, for the report on a damaged file; the names are those of stock's redis-check-rdb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    Type,
    Expire,
    Key,
    Value,
    Checksum,
    Len,
    Aux,
    ModuleAux,
    Functions,
}

impl Doing {
    pub fn name(self) -> &'static str {
        match self {
            Doing::Type => "read-type",
            Doing::Expire => "read-expire",
            Doing::Key => "read-key",
            Doing::Value => "read-object-value",
            Doing::Checksum => "check-sum",
            Doing::Len => "read-len",
            Doing::Aux => "read-aux",
            Doing::ModuleAux => "read-module-aux",
            Doing::Functions => "read-functions",
        }
    }
}

/// What becomes of payloads that are more than a string.
#[derive(Clone, Copy, Debug)]
pub enum Payloads {
    /// They are passed over, in constant memory.
    Skip,
    /// They are handed out as they are ([`Value::Other`]).
    Raw,
    /// They become values, within these limits; what is not understood is handed out as it is.
    Decode(Limits),
}

#[derive(Clone, Copy, Debug)]
pub struct ReadOptions {
    /// Compute and compare the checksum (`rdbchecksum`).
    pub verify: bool,
    pub payloads: Payloads,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { verify: true, payloads: Payloads::Raw }
    }
}

/// Reads one RDB.
pub struct Reader<R> {
    input: Input<R>,
    version: Version,
    options: ReadOptions,
    doing: Doing,
    kind: Option<Kind>,
    /// The key whose value is being read.
    key: Option<Piece>,
    end: Option<Checksum>,
    /// What the checksum is made of, once runs were handed out: the sum and the length of each part.
    parts: Vec<(u64, u64)>,
    /// The checksum that the file gives, and where.
    found: Option<(u64, u64)>,
}

impl<R: Read> Reader<R> {
    /// Reads the magic and the version.
    pub fn begin(source: R, options: ReadOptions) -> Result<Self> {
        let mut input = Input::new(source, options.verify);
        let version = parse_magic(&input.array()?)?;
        Ok(Self::on(input, version, options))
    }

    fn on(input: Input<R>, version: Version, options: ReadOptions) -> Self {
        let parts = Vec::new();
        Self { input, version, options, doing: Doing::Type, kind: None, key: None, end: None, parts, found: None }
    }

    /// Many keys at once, unread but for their length, so that somebody else can read them. `None`: what comes next is no
    /// key, or one that does not fit into a run; [`Reader::next_event`] has it.
    pub fn next_run(&mut self) -> Result<Option<Run>> {
        if self.end.is_some() {
            return Ok(None);
        }
        self.input.begin();
        self.input.fill_up(RUN_BYTES)?;
        let (from, mut keys) = (self.input.mark(), 0);
        let dialect = self.version.dialect();
        while self.input.within_buffer(|input| pass_key(input, dialect, &mut self.doing))? {
            keys += 1;
        }
        if keys < RUN_MIN_KEYS {
            self.input.rewind(from);
            return Ok(None);
        }
        let end = self.input.mark();
        self.input.rewind(from);
        let (crc, len) = self.input.take_crc();
        self.input.forward(end);
        let number = self.parts.len() + 1;
        self.parts.extend([(crc, len), (0, (end - from) as u64)]);
        let (bytes, from, base) = self.input.take_out(from);
        Ok(Some(Run { bytes, from, base, keys, number, version: self.version, options: self.options }))
    }

    /// The sum of a run that was handed out: [`Run::checksum`].
    pub fn note_checksum(&mut self, (number, crc): (usize, u64)) {
        if let Some(part) = self.parts.get_mut(number) {
            part.0 = crc;
        }
    }

    /// After [`Checksum::Open`], and with the sums of all runs: whether the bytes are those that were written.
    pub fn join_checksum(&self) -> Result<Checksum> {
        let computed = self.parts.iter().fold(0, |sum, &(crc, len)| crc::crc64_join(sum, crc, len));
        match self.found {
            None => Ok(Checksum::Absent),
            _ if !self.options.verify => Ok(Checksum::Unchecked),
            Some((_, 0)) => Ok(Checksum::Disabled),
            Some((_, found)) if found == computed => Ok(Checksum::Right),
            Some((at, found)) => Err(RdbError::Checksum { at, found, computed }),
        }
    }

    pub fn version(&self) -> Version {
        self.version
    }

    /// How many bytes of the input belong to what was handed out so far; after [`Event::Eof`], the length of the RDB.
    pub fn bytes_read(&self) -> u64 {
        self.input.position()
    }

    /// The source, and what was read from it but not used: what follows the RDB, if all of it was read.
    pub fn into_parts(self) -> (R, Vec<u8>) {
        self.input.into_parts()
    }

    /// What the reader was at when it failed.
    pub fn doing(&self) -> Doing {
        self.doing
    }

    /// The key whose value could not be read, and its kind.
    pub fn failed_key(&self) -> Option<(&[u8], Kind)> {
        Some((self.input.peek(self.key.as_ref()?), self.kind?))
    }

    /// The next event. After an error there is nothing more to be had; after the end, the end again.
    pub fn next_event(&mut self) -> Result<Event<'_>> {
        if let Some(checksum) = self.end {
            return Ok(Event::Eof(checksum));
        }
        self.input.begin();
        self.key = None;
        let mut expire_ms = None;
        let mut usage = Usage::Unsaid;
        loop {
            self.doing = Doing::Type;
            let byte = self.input.byte()?;
            match byte {
                op::EXPIRE_MS => {
                    self.doing = Doing::Expire;
                    expire_ms = expiry(i64::from_le_bytes(self.input.array()?));
                }
                op::EXPIRE_S => {
                    self.doing = Doing::Expire;
                    expire_ms = expiry(i64::from(i32::from_le_bytes(self.input.array()?)) * 1000);
                }
                op::FREQ => usage = Usage::Freq(self.input.byte()?),
                op::IDLE => usage = Usage::IdleS(self.input.len()?),
                op::EOF => return self.finish().map(Event::Eof),
                op::SELECT_DB => {
                    self.doing = Doing::Len;
                    return match u32::try_from(self.input.len()?) {
                        Ok(db) => Ok(Event::SelectDb(db)),
                        Err(_) => self.input.corrupt("the number of a database is out of range"),
                    };
                }
                op::RESIZE_DB => {
                    self.doing = Doing::Len;
                    return Ok(Event::ResizeDb { keys: self.input.len()?, expires: self.input.len()? });
                }
                op::SLOT_INFO => {
                    self.doing = Doing::Len;
                    let (slot, keys) = (self.input.len()?, self.input.len()?);
                    return Ok(Event::SlotInfo { slot, keys, expires: self.input.len()? });
                }
                op::AUX => {
                    self.doing = Doing::Aux;
                    let (key, value) = (self.input.string()?, self.input.string()?);
                    return Ok(Event::Aux { key: self.input.resolve(key), value: self.input.resolve(value) });
                }
                op::FUNCTION => {
                    self.doing = Doing::Functions;
                    let code = self.input.string()?;
                    return Ok(Event::Function(self.input.resolve(code)));
                }
                op::FUNCTION_RC => return self.input.corrupt("a function library of a 7.0 release candidate"),
                op::MODULE_AUX => return self.module_aux(),
                op::SLOT_IMPORT => return self.slot_import(),
                _ => match row_of(byte, self.version.dialect()) {
                    Some(row) => return self.key_and_value(row, expire_ms, usage),
                    None => return Err(RdbError::UnknownType { at: self.input.position() - 1, byte }),
                },
            }
        }
    }

    fn key_and_value(&mut self, row: &Row, expire_ms: Option<i64>, usage: Usage) -> Result<Event<'_>> {
        self.doing = Doing::Key;
        self.kind = Some(row.kind());
        let key = self.input.string()?;
        self.doing = Doing::Value;
        if row.kind() == Kind::String {
            self.key = Some(key);
            let text = self.input.text()?;
            let key = self.take_key();
            let value = match text {
                Text::Bytes(piece) => Value::Str(self.input.resolve(piece)),
                Text::Int(number) => Value::Int(number),
            };
            return Ok(Event::Key { key: self.input.resolve(key), value, expire_ms, usage });
        }
        if let Payloads::Decode(limits) = &self.options.payloads {
            // A long value's bytes are not kept once its elements are taken over, so the key must not lie among them.
            self.key = Some(Piece::Owned(self.input.resolve(key).into_owned()));
            if let Some(object) = read_object(row.kind(), &mut self.input, limits)? {
                let key = self.take_key();
                return Ok(Event::Key { key: self.input.resolve(key), value: Value::Object(object), expire_ms, usage });
            }
            return self.raw_value(row, expire_ms, usage);
        }
        if matches!(self.options.payloads, Payloads::Raw) {
            self.key = Some(key);
            return self.raw_value(row, expire_ms, usage);
        }
        let key = {
            // Constant memory: the buffer is free to move on, so the key must not lie in it.
            let owned = Piece::Owned(self.input.resolve(key).into_owned());
            self.input.forget();
            owned
        };
        self.key = Some(key);
        self.input.skip_payload(row.shape)?;
        let key = self.take_key();
        let value = Value::Other { kind: row.kind(), raw: Cow::Borrowed(&[]) };
        Ok(Event::Key { key: self.input.resolve(key), value, expire_ms, usage })
    }

    fn raw_value(&mut self, row: &Row, expire_ms: Option<i64>, usage: Usage) -> Result<Event<'_>> {
        let mark = self.input.mark();
        self.input.skip_payload(row.shape)?;
        let key = self.take_key();
        let value = Value::Other { kind: row.kind(), raw: Cow::Borrowed(self.input.since(mark)) };
        Ok(Event::Key { key: self.input.resolve(key), value, expire_ms, usage })
    }

    fn take_key(&mut self) -> Piece {
        self.key.take().unwrap_or(Piece::Owned(Vec::new()))
    }

    fn module_aux(&mut self) -> Result<Event<'_>> {
        self.doing = Doing::ModuleAux;
        let id = self.input.len()?;
        if self.input.len()? != module_op::UINT {
            return self.input.corrupt("a module's data does not say when it is to be read");
        }
        self.input.len()?;
        self.input.forget();
        self.input.skip_module_parts()?;
        Ok(Event::ModuleAux { name: module_name(id) })
    }

    fn slot_import(&mut self) -> Result<Event<'_>> {
        self.doing = Doing::Len;
        let job = self.input.string()?;
        let count = self.input.len()?;
        if count > MAX_SLOT_RANGES {
            return self.input.corrupt("more slot ranges than slots");
        }
        let mut ranges = Vec::new();
        for _ in 0..count {
            ranges.push((self.input.len()?, self.input.len()?));
        }
        Ok(Event::SlotImport { job: self.input.resolve(job), ranges })
    }

    fn finish(&mut self) -> Result<Checksum> {
        let checksum = if self.version.has_checksum() {
            self.doing = Doing::Checksum;
            if !self.parts.is_empty() {
                let last = self.input.take_crc();
                self.parts.push(last);
                let at = self.input.position();
                self.found = Some((at, u64::from_le_bytes(self.input.array()?)));
                self.end = Some(Checksum::Open);
                return Ok(Checksum::Open);
            }
            let computed = self.input.crc();
            let at = self.input.position();
            match u64::from_le_bytes(self.input.array()?) {
                _ if !self.options.verify => Checksum::Unchecked,
                0 => Checksum::Disabled,
                found if found == computed => Checksum::Right,
                found => return Err(RdbError::Checksum { at, found, computed }),
            }
        } else {
            Checksum::Absent
        };
        self.end = Some(checksum);
        Ok(checksum)
    }
}

/// Bytes that a run is made of, at most.
const RUN_BYTES: usize = 256 << 10;
/// Fewer keys are not worth the trouble.
const RUN_MIN_KEYS: usize = 2;

/// Keys of one database, one after the other, as they stand in the file.
#[derive(Debug)]
pub struct Run {
    bytes: Vec<u8>,
    from: usize,
    base: u64,
    keys: usize,
    number: usize,
    version: Version,
    options: ReadOptions,
}

impl Run {
    /// How many keys it holds.
    pub fn keys(&self) -> usize {
        self.keys
    }

    /// What [`Reader::note_checksum`] wants to know; costs a pass over the bytes if there is to be a checksum.
    pub fn checksum(&self) -> (usize, u64) {
        let bytes = self.bytes.get(self.from..).unwrap_or_default();
        (self.number, if self.options.verify { crc::crc64(0, bytes) } else { 0 })
    }

    /// Reads the keys: a reader that has nothing but them, [`Reader::is_drained`] behind the last one.
    pub fn into_reader(self) -> Reader<Empty> {
        let options = ReadOptions { verify: false, ..self.options };
        Reader::on(Input::within(self.bytes, self.from, self.base, std::io::empty()), self.version, options)
    }
}

impl Reader<Empty> {
    pub fn is_drained(&self) -> bool {
        self.input.is_drained()
    }

    /// Where the last key of this name begins, in a run that begins at byte `first` and was read already.
    pub fn place_of(&mut self, name: &[u8], first: u64) -> u64 {
        self.input.go_back_to(first);
        let mut place = first;
        while !self.is_drained() {
            let at = self.bytes_read();
            match self.next_event() {
                Ok(Event::Key { key, .. }) if *key == *name => place = at,
                Ok(_) => {}
                Err(_) => break,
            }
        }
        place
    }
}

/// Goes to the end of a key's value. False if it is no key that comes.
fn pass_key<R: Read>(input: &mut Input<R>, dialect: Dialect, doing: &mut Doing) -> Result<bool> {
    loop {
        *doing = Doing::Type;
        match input.byte()? {
            op::EXPIRE_MS => input.skip(8)?,
            op::EXPIRE_S => input.skip(4)?,
            op::FREQ => input.skip(1)?,
            op::IDLE => drop(input.len()?),
            byte => {
                let Some(row) = row_of(byte, dialect) else { return Ok(false) };
                *doing = Doing::Value;
                input.skip_string()?;
                input.skip_payload(row.shape)?;
                return Ok(true);
            }
        }
    }
}

/// Stock writers use -1 for "never".
fn expiry(ms: i64) -> Option<i64> {
    (ms != -1).then_some(ms)
}

fn parse_magic(magic: &[u8; MAGIC_LEN]) -> Result<Version> {
    let (digits, at) = if let Some(digits) = magic.strip_prefix(b"REDIS") {
        (digits, 5)
    } else if let Some(digits) = magic.strip_prefix(b"VALKEY") {
        (digits, 6)
    } else {
        return Err(RdbError::BadMagic);
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(RdbError::BadMagic);
    }
    let number = digits.iter().fold(0, |number, &digit| number * 10 + u32::from(digit - b'0'));
    Version::new(number).filter(|_| (at == 6) == (number >= 80)).ok_or(RdbError::Version { at, number })
}
