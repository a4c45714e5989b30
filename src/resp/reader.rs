//! Reads the replies of other servers, piece by piece, in both protocol versions.
//!
//! Work is proportional to the bytes that come: an aggregate is built as its elements arrive, never read again from
//! its beginning. Attributes are dropped. Knows nothing of what was asked.
#![deny(clippy::indexing_slicing)]

use crate::base::number::{parse_f64, parse_i64};

/// One reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    Simple(Vec<u8>),
    /// Without the dash: code, space, text.
    Error(Vec<u8>),
    Int(i64),
    Bulk(Vec<u8>),
    Null,
    Array(Vec<Frame>),
    Map(Vec<(Frame, Frame)>),
    Set(Vec<Frame>),
    Push(Vec<Frame>),
    Double(f64),
    Bool(bool),
    /// Format (`txt`, `mkd`) and text.
    Verbatim([u8; 3], Vec<u8>),
    BigNumber(Vec<u8>),
}

impl Frame {
    /// The bytes of anything that is text.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Simple(b) | Self::Error(b) | Self::Bulk(b) | Self::Verbatim(_, b) | Self::BigNumber(b) => Some(b),
            Self::Int(_)
            | Self::Null
            | Self::Array(_)
            | Self::Map(_)
            | Self::Set(_)
            | Self::Push(_)
            | Self::Double(_)
            | Self::Bool(_) => None,
        }
    }

    /// An integer, or text that is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(n) => Some(*n),
            other => parse_i64(other.as_bytes()?),
        }
    }

    /// The elements of an array, a set or a push.
    pub fn as_list(&self) -> Option<&[Frame]> {
        match self {
            Self::Array(items) | Self::Set(items) | Self::Push(items) => Some(items),
            Self::Simple(_)
            | Self::Error(_)
            | Self::Int(_)
            | Self::Bulk(_)
            | Self::Null
            | Self::Map(_)
            | Self::Double(_)
            | Self::Bool(_)
            | Self::Verbatim(..)
            | Self::BigNumber(_) => None,
        }
    }

    pub fn is_error(&self) -> bool {
        matches!(self, Self::Error(_))
    }
}

/// What a peer may make us hold.
#[derive(Clone, Copy, Debug)]
pub struct ReaderLimits {
    pub depth: usize,
    pub bulk_bytes: usize,
    /// Elements of one reply, at all depths together.
    pub elements: usize,
}

impl Default for ReaderLimits {
    fn default() -> Self {
        Self { depth: 32, bulk_bytes: 512 << 20, elements: 16 << 20 }
    }
}

/// The peer does not speak the protocol, or says too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("reply of unknown type {:?}", char::from(*.0))]
    UnknownType(u8),
    #[error("malformed reply")]
    Malformed,
    #[error("reply exceeds a limit")]
    TooLarge,
}

/// A line longer than this is no reply.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// Takes bytes, gives replies.
#[derive(Debug)]
pub struct ReplyReader {
    limits: ReaderLimits,
    buf: Vec<u8>,
    /// First byte of `buf` not parsed.
    pos: usize,
    /// The aggregates that are open, outermost first.
    open: Vec<Open>,
    elements: usize,
    keepalives: u64,
}

#[derive(Debug)]
struct Open {
    kind: OpenKind,
    left: usize,
    items: Vec<Frame>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OpenKind {
    Array,
    Map,
    Set,
    Push,
    Attribute,
}

/// What one step found.
enum Item {
    Value(Frame),
    Head(OpenKind, usize),
}

impl Default for ReplyReader {
    fn default() -> Self {
        Self::new(ReaderLimits::default())
    }
}

impl ReplyReader {
    pub fn new(limits: ReaderLimits) -> Self {
        Self { limits, buf: Vec::new(), pos: 0, open: Vec::new(), elements: 0, keepalives: 0 }
    }

    /// Adds what was read.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.spare().extend_from_slice(bytes);
    }

    /// Where the next bytes from the socket go: append to it. There is room.
    pub fn spare(&mut self) -> &mut Vec<u8> {
        self.buf.drain(..self.pos);
        self.pos = 0;
        self.buf.reserve(16 * 1024);
        &mut self.buf
    }

    /// The next complete reply. `None`: more bytes are needed. After an error the stream cannot be understood.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, ReadError> {
        if self.open.is_empty() {
            self.skip_keepalives();
        }
        while let Some((item, used)) = self.item()? {
            self.pos += used;
            self.elements += 1;
            if self.elements > self.limits.elements {
                return Err(ReadError::TooLarge);
            }
            let mut value = match item {
                Item::Value(value) => value,
                Item::Head(kind, count) => {
                    if self.open.len() >= self.limits.depth {
                        return Err(ReadError::TooLarge);
                    }
                    let left = if matches!(kind, OpenKind::Map | OpenKind::Attribute) { count * 2 } else { count };
                    if left > self.limits.elements {
                        return Err(ReadError::TooLarge);
                    }
                    if left > 0 {
                        // What is announced need not come.
                        self.open.push(Open { kind, left, items: Vec::with_capacity(left.min(1024)) });
                        continue;
                    }
                    match close(kind, Vec::new()) {
                        Some(value) => value,
                        None => continue,
                    }
                }
            };
            // A value may complete what holds it, and that what holds it in turn.
            loop {
                let Some(mut top) = self.open.pop() else {
                    self.elements = 0;
                    return Ok(Some(value));
                };
                top.items.push(value);
                top.left -= 1;
                if top.left > 0 {
                    self.open.push(top);
                    break;
                }
                match close(top.kind, top.items) {
                    Some(closed) => value = closed,
                    None => break,
                }
            }
        }
        Ok(None)
    }

    /// Bytes not parsed, when what follows are no replies (the snapshot after `+FULLRESYNC`).
    pub fn take_rest(&mut self) -> Vec<u8> {
        self.buf.drain(..self.pos);
        self.pos = 0;
        std::mem::take(&mut self.buf)
    }

    /// Newlines between replies so far: a master sends them while it is busy, to show that it lives.
    pub fn keepalives(&self) -> u64 {
        self.keepalives
    }

    fn skip_keepalives(&mut self) {
        while let Some(b'\n') = self.buf.get(self.pos) {
            self.pos += 1;
            self.keepalives += 1;
        }
    }

    /// What begins at `pos`, and its bytes.
    fn item(&self) -> Result<Option<(Item, usize)>, ReadError> {
        let rest = self.buf.get(self.pos..).unwrap_or_default();
        let Some((&kind, after)) = rest.split_first() else { return Ok(None) };
        if !b"+-:$*_#,(=!%~>|".contains(&kind) {
            return Err(ReadError::UnknownType(kind));
        }
        let Some(end) = memchr::memchr(b'\n', after) else {
            return if after.len() > MAX_LINE_BYTES { Err(ReadError::TooLarge) } else { Ok(None) };
        };
        let line = after.get(..end).and_then(|line| line.strip_suffix(b"\r")).ok_or(ReadError::Malformed)?;
        let line_bytes = end + 2;
        let item = match kind {
            b'+' => Item::Value(Frame::Simple(line.to_vec())),
            b'-' => Item::Value(Frame::Error(line.to_vec())),
            b':' => Item::Value(Frame::Int(parse_i64(line).ok_or(ReadError::Malformed)?)),
            b'_' => Item::Value(Frame::Null),
            b'#' => Item::Value(Frame::Bool(match line {
                b"t" => true,
                b"f" => false,
                _ => return Err(ReadError::Malformed),
            })),
            b',' => Item::Value(Frame::Double(read_double(line)?)),
            b'(' => Item::Value(Frame::BigNumber(line.to_vec())),
            b'$' | b'=' | b'!' => {
                let Some(len) = self.length(line, self.limits.bulk_bytes)? else {
                    return Ok(Some((Item::Value(Frame::Null), line_bytes)));
                };
                let Some(payload) = rest.get(line_bytes..line_bytes + len + 2) else { return Ok(None) };
                let payload = payload.strip_suffix(b"\r\n").ok_or(ReadError::Malformed)?;
                let value = match (kind, payload) {
                    (b'$', _) => Frame::Bulk(payload.to_vec()),
                    (b'!', _) => Frame::Error(payload.to_vec()),
                    (_, [a, b, c, b':', text @ ..]) => Frame::Verbatim([*a, *b, *c], text.to_vec()),
                    _ => return Err(ReadError::Malformed),
                };
                return Ok(Some((Item::Value(value), line_bytes + len + 2)));
            }
            _ => match self.length(line, self.limits.elements)? {
                None => Item::Value(Frame::Null),
                Some(count) => {
                    let kind = match kind {
                        b'*' => OpenKind::Array,
                        b'%' => OpenKind::Map,
                        b'~' => OpenKind::Set,
                        b'>' => OpenKind::Push,
                        _ => OpenKind::Attribute,
                    };
                    Item::Head(kind, count)
                }
            },
        };
        Ok(Some((item, line_bytes)))
    }

    /// A length; `None` for -1, which stands for a null.
    fn length(&self, line: &[u8], most: usize) -> Result<Option<usize>, ReadError> {
        match parse_i64(line) {
            Some(-1) => Ok(None),
            Some(n) => match usize::try_from(n) {
                Ok(n) if n <= most => Ok(Some(n)),
                Ok(_) => Err(ReadError::TooLarge),
                Err(_) => Err(ReadError::Malformed),
            },
            None => Err(ReadError::Malformed),
        }
    }
}

fn read_double(line: &[u8]) -> Result<f64, ReadError> {
    if line.eq_ignore_ascii_case(b"nan") || line.eq_ignore_ascii_case(b"-nan") {
        return Ok(f64::NAN);
    }
    parse_f64(line).ok_or(ReadError::Malformed)
}

/// The value that an aggregate with all its elements is; `None` for an attribute, which is none.
fn close(kind: OpenKind, items: Vec<Frame>) -> Option<Frame> {
    Some(match kind {
        OpenKind::Array => Frame::Array(items),
        OpenKind::Set => Frame::Set(items),
        OpenKind::Push => Frame::Push(items),
        OpenKind::Map => {
            let mut pairs = Vec::with_capacity(items.len() / 2);
            let mut items = items.into_iter();
            while let (Some(key), Some(value)) = (items.next(), items.next()) {
                pairs.push((key, value));
            }
            Frame::Map(pairs)
        }
        OpenKind::Attribute => return None,
    })
}
