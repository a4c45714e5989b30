//! A connection's received bytes, and the parser of requests in them.
//!
//! ```text
//!           unconsumed()
//!           |<- requests in the batch ->|<- a request half received ->|
//! ..........|*2 $3 GET $1 a *2 $3 GET...|*3 $3 SET $1 k $9 abc        |<- next read
//!           head                        pos stands behind what is parsed of it
//! ```
//! Parsing makes one pass, stops anywhere and goes on there. Arguments are positions in the buffer. One of 32 KiB or
//! more that has not arrived yet gets a buffer of its own, into which the socket is read, and which a value may keep.
//! The grammar and its faults are those of stock servers: a line ends at `\r` whatever follows, a NUL hides the rest of
//! a line, and nobody looks at the two bytes behind an argument.
//!
//! Knows nothing of commands, nor of sockets: the caller reads into [`Input::spare`].
#![deny(clippy::indexing_slicing)]

use bytes::Bytes;

use super::batch::{Batch, Form, Request};
use super::inline::{Word, each_word};
use super::{ProtocolError, Span};
use crate::base::number::parse_i64;

/// A line longer than this is refused, if its end has not come.
const MAX_LINE_BYTES: usize = 64 * 1024;
/// Until a client has authenticated.
const UNAUTHENTICATED_WORDS: i64 = 10;
const UNAUTHENTICATED_BULK_BYTES: i64 = 16 * 1024;

const MIN_READ_BYTES: usize = 16 * 1024;
const MAX_READ_BYTES: usize = 64 * 1024;
/// A buffer larger than this is given back as soon as it is empty.
const KEEP_BYTES: usize = 256 * 1024;
/// No more is buffered, whatever the limits: so that positions fit a [`Span`].
const MAX_BUFFERED_BYTES: usize = 1 << 30;
const SPILL_BYTES: usize = 512 << 20;

/// What a connection may send.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `proto-max-bulk-len`.
    pub max_bulk_bytes: usize,
    /// `client-query-buffer-limit`: of bytes received but not parsed.
    pub max_query_buffer_bytes: usize,
    /// An argument of so many bytes that has yet to arrive gets a buffer of its own.
    pub own_argument_bytes: usize,
    /// An unfinished request of which so much is in the shared buffer is moved out of it. At most 512 MiB.
    pub spill_bytes: usize,
    /// Until then only small requests are taken.
    pub authenticated: bool,
    /// Ignored lines stay in the buffer until a request follows, so that [`Batch::wire`] has every byte.
    pub keep_stream: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bulk_bytes: 512 << 20,
            max_query_buffer_bytes: 1 << 30,
            own_argument_bytes: 32 * 1024,
            spill_bytes: SPILL_BYTES,
            authenticated: true,
            keep_stream: false,
        }
    }
}

impl Limits {
    /// For the link to a master: it is trusted, and its bytes are kept together so that they can be passed on.
    pub fn master() -> Self {
        Self {
            max_bulk_bytes: usize::MAX,
            max_query_buffer_bytes: usize::MAX,
            own_argument_bytes: SPILL_BYTES / 2,
            spill_bytes: SPILL_BYTES,
            authenticated: true,
            keep_stream: true,
        }
    }
}

/// The read buffer of one connection and the state of its parser.
#[derive(Debug)]
pub struct Input {
    buf: Vec<u8>,
    /// The first byte of `buf` that is not consumed. All other positions count from here.
    head: usize,
    /// The first byte that is not parsed.
    pos: usize,
    /// Where the bytes begin that belong to no parsed request.
    start: usize,
    partial: Partial,
    /// The argument being received, if it has a buffer of its own. Then nothing stands in `buf` behind `pos`.
    own: Option<OwnArgument>,
    read_bytes: usize,
    limits: Limits,
}

/// A request of which something is parsed, but not all.
#[derive(Debug, Default)]
struct Partial {
    frame: Frame,
    spans: Vec<Span>,
    own: Vec<Bytes>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Frame {
    /// Where it begins.
    at: usize,
    /// Arguments to come; 0: there is no such request.
    words_left: usize,
    /// The length of the next argument, once known.
    bulk_len: Option<usize>,
    sloppy: bool,
    detached_bytes: usize,
}

#[derive(Debug)]
struct OwnArgument {
    /// Grows to `len` bytes and the two that end it.
    data: Vec<u8>,
    len: usize,
}

impl Input {
    pub fn new(limits: Limits) -> Self {
        Self {
            buf: Vec::new(),
            head: 0,
            pos: 0,
            start: 0,
            partial: Partial::default(),
            own: None,
            read_bytes: MIN_READ_BYTES,
            limits,
        }
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Holds for what is parsed from now on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    pub fn set_authenticated(&mut self, authenticated: bool) {
        self.limits.authenticated = authenticated;
    }

    /// Where the next bytes from the socket go: append to it, up to its capacity (as `read_buf` does). There is room.
    pub fn spare(&mut self) -> &mut Vec<u8> {
        if let Some(own) = &mut self.own {
            own.data.reserve_exact((own.len + 2).saturating_sub(own.data.len()).max(1));
            return &mut own.data;
        }
        if self.buf.len() == self.buf.capacity() && !self.buf.is_empty() {
            // The last read filled all there was: let the next one be larger.
            self.read_bytes = (self.read_bytes * 2).min(MAX_READ_BYTES);
        }
        if self.head > 0 {
            self.buf.copy_within(self.head.., 0);
            self.buf.truncate(self.buf.len() - self.head);
            self.head = 0;
        }
        let awaited = self.partial.frame.bulk_len.map_or(0, |len| (self.pos + len + 2).saturating_sub(self.buf.len()));
        if self.buf.is_empty() && self.buf.capacity() < self.read_bytes {
            self.buf.reserve_exact(self.read_bytes);
        } else if self.buf.capacity() - self.buf.len() <= awaited.max(self.read_bytes / 2) {
            self.buf.reserve(awaited.max(self.read_bytes));
        }
        &mut self.buf
    }

    /// Adds bytes that came by another way than [`spare`](Self::spare).
    pub fn feed(&mut self, bytes: &[u8]) {
        match &mut self.own {
            Some(own) => own.data.extend_from_slice(bytes),
            None => self.buf.extend_from_slice(bytes),
        }
    }

    /// Parses complete requests and adds them to `batch` until it has `max`. If there are none to add the batch may
    /// stay empty: then more must be read.
    ///
    /// An error is given only when the batch is empty, so that what came before it is executed first. The parser
    /// stays where it is then; the connection is to be closed.
    pub fn next_batch(&mut self, batch: &mut Batch, max: usize) -> Result<(), ProtocolError> {
        if self.unparsed_bytes() > self.limits.max_query_buffer_bytes.min(MAX_BUFFERED_BYTES) {
            return if batch.is_empty() { Err(ProtocolError::QueryBufferLimit) } else { Ok(()) };
        }
        if self.pos > MAX_BUFFERED_BYTES && !batch.is_empty() {
            return Ok(());
        }
        while batch.len() < max {
            if self.whole_request(batch) {
                continue;
            }
            match self.next_request(batch) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) if batch.is_empty() => return Err(error),
                // Comes again when these are done. A client may even have authenticated by then.
                Err(_) => break,
            }
        }
        Ok(())
    }

    /// Forgets the first `n` requests of `batch`, which are executed. Any others stay in the batch, for later.
    pub fn consume(&mut self, batch: &mut Batch, n: usize) {
        let bytes = batch.remove_first(n);
        self.head += bytes;
        self.pos -= bytes;
        self.start -= bytes;
        if self.partial.frame.words_left > 0 && bytes > 0 {
            self.partial.frame.at -= bytes;
            for span in &mut self.partial.spans {
                *span = span.shifted_down(bytes);
            }
        }
        if self.head == self.buf.len() {
            self.buf.clear();
            self.head = 0;
            if self.buf.capacity() > KEEP_BYTES {
                self.buf = Vec::new();
            }
        }
    }

    /// Gives memory back, for a connection that has been idle. Nothing received is lost.
    pub fn shrink(&mut self) {
        self.read_bytes = MIN_READ_BYTES;
        if self.buf.is_empty() {
            self.buf = Vec::new();
        } else if self.buf.capacity() > 2 * self.buf.len() {
            self.buf.shrink_to_fit();
        }
        if self.partial.frame.words_left == 0 {
            self.partial = Partial::default();
        }
        if let Some(own) = &mut self.own {
            own.data.shrink_to_fit();
        }
    }

    /// Whether there is no buffer at all: then it is worth while to wait for bytes before there is one.
    pub fn is_released(&self) -> bool {
        match &self.own {
            Some(own) => own.data.len() == own.data.capacity(),
            None => self.buf.capacity() == 0,
        }
    }

    /// Bytes received and not consumed (`qbuf` of CLIENT LIST). As in stock servers, a large argument stands alone there:
    /// what came before it counts as consumed.
    pub fn buffered_bytes(&self) -> usize {
        self.own.as_ref().map_or(self.buf.len() - self.head, |own| own.data.len())
    }

    /// Bytes received and not parsed.
    pub fn unparsed_bytes(&self) -> usize {
        self.buf.len() - self.head - self.pos + self.own.as_ref().map_or(0, |own| own.data.len())
    }

    /// Bytes of memory the buffers take (`qbuf` and `qbuf-free` together).
    pub fn memory_bytes(&self) -> usize {
        let partial =
            self.partial.spans.capacity() * size_of::<Span>() + self.partial.own.iter().map(Bytes::len).sum::<usize>();
        self.buf.capacity() + partial + self.own.as_ref().map_or(0, |own| own.data.capacity())
    }

    /// Whether part of a request is there.
    pub fn is_mid_request(&self) -> bool {
        self.partial.frame.words_left > 0 || self.unparsed_bytes() > 0
    }

    /// The bytes not parsed, when the connection stops being one of requests. The batch must be empty.
    pub fn into_rest(mut self) -> Vec<u8> {
        self.buf.drain(..(self.head + self.start).min(self.buf.len()));
        self.buf
    }

    /// What positions in a batch count from.
    #[inline]
    pub(super) fn unconsumed(&self) -> &[u8] {
        self.buf.get(self.head..).unwrap_or_default()
    }

    /// Parses one request of the commonest kind: a few short words, all of them there, in canonical form. False: it is not
    /// such a one, and nothing was done.
    #[inline]
    fn whole_request(&mut self, batch: &mut Batch) -> bool {
        if self.partial.frame.words_left > 0 {
            return false;
        }
        let rest = self.buf.get(self.head + self.pos..).unwrap_or_default();
        let Some((count, mut at)) = short_count(rest, b'*') else { return false };
        if count == 0 || count as i64 > UNAUTHENTICATED_WORDS {
            return false;
        }
        let first_span = batch.spans.len();
        batch.spans.reserve(count);
        for _ in 0..count {
            let word = rest.get(at..).and_then(|rest| short_count(rest, b'$'));
            let Some((from, to)) = word.map(|(len, line)| (at + line, at + line + len)) else {
                batch.spans.truncate(first_span);
                return false;
            };
            if rest.get(to..to + 2) != Some(b"\r\n") {
                batch.spans.truncate(first_span);
                return false;
            }
            batch.spans.push(Span::shared(self.pos + from, to - from));
            at = to + 2;
        }
        let frame = Frame { at: self.pos, ..Frame::default() };
        self.pos += at;
        self.push_request(&frame, batch, first_span, batch.own.len());
        true
    }

    /// Parses one request into the batch. False: it is not all there.
    fn next_request(&mut self, batch: &mut Batch) -> Result<bool, ProtocolError> {
        if self.partial.frame.words_left > 0 {
            return self.resume(batch);
        }
        loop {
            let rest = self.buf.get(self.head + self.pos..).unwrap_or_default();
            match rest.first() {
                None => return Ok(false),
                Some(b'*') => {}
                Some(_) => {
                    let before = self.pos;
                    if self.inline_request(batch)? {
                        return Ok(true);
                    }
                    if self.pos == before {
                        return Ok(false);
                    }
                    self.forget_ignored(batch);
                    continue;
                }
            }
            let (count, line_bytes, sloppy) = match short_count(rest, b'*') {
                Some((count, line_bytes)) => (count as i64, line_bytes, false),
                None => match self.limits.multibulk_header(rest)? {
                    Some(header) => header,
                    None => return Ok(false),
                },
            };
            if count > UNAUTHENTICATED_WORDS && !self.limits.authenticated {
                return Err(ProtocolError::UnauthenticatedMultibulk);
            }
            let at = self.pos;
            self.pos += line_bytes;
            if count > 0 {
                let frame = Frame { at, words_left: count as usize, sloppy, ..Frame::default() };
                return self.fresh(frame, batch);
            }
            self.forget_ignored(batch);
        }
    }

    /// Lines that ask for nothing are dropped at once if nothing before them is in use, unless they must be kept
    /// with the rest of a master's stream.
    fn forget_ignored(&mut self, batch: &Batch) {
        if batch.is_empty() && !self.limits.keep_stream {
            self.head += self.pos;
            (self.pos, self.start) = (0, 0);
        }
    }

    /// A request whose first line was just read. Its positions go straight into the batch; if it is not all there
    /// they are put aside.
    fn fresh(&mut self, mut frame: Frame, batch: &mut Batch) -> Result<bool, ProtocolError> {
        let (first_span, first_own) = (batch.spans.len(), batch.own.len());
        batch.spans.reserve(frame.words_left.min(1024));
        let outcome = self.words(&mut frame, &mut batch.spans, &mut batch.own, first_own);
        if let Ok(true) = outcome {
            self.push_request(&frame, batch, first_span, first_own);
        } else {
            self.partial.frame = frame;
            self.partial.spans.extend(batch.spans.drain(first_span..));
            self.partial.own.extend(batch.own.drain(first_own..));
            self.spill_if_long();
        }
        outcome
    }

    fn resume(&mut self, batch: &mut Batch) -> Result<bool, ProtocolError> {
        let mut partial = std::mem::take(&mut self.partial);
        let outcome = self.words(&mut partial.frame, &mut partial.spans, &mut partial.own, 0);
        if let Ok(true) = outcome {
            let (first_span, first_own) = (batch.spans.len(), batch.own.len());
            batch.spans.append(&mut partial.spans);
            batch.own.append(&mut partial.own);
            self.push_request(&partial.frame, batch, first_span, first_own);
            // Its memory serves the next one, if it is not much.
            if partial.spans.capacity() <= 64 {
                self.partial = Partial { frame: Frame::default(), ..partial };
            }
        } else {
            self.partial = partial;
            self.spill_if_long();
        }
        outcome
    }

    fn push_request(&mut self, frame: &Frame, batch: &mut Batch, first_span: usize, first_own: usize) {
        batch.requests.push(Request {
            first_span: first_span as u32,
            span_count: (batch.spans.len() - first_span) as u32,
            first_own: first_own as u32,
            form: if frame.sloppy { Form::Sloppy } else { Form::Canonical },
            start: self.start,
            frame: frame.at,
            end: self.pos,
            detached_bytes: frame.detached_bytes,
        });
        self.start = self.pos;
    }

    /// Reads arguments until the request has all of them. False: more bytes are needed.
    #[inline]
    fn words(
        &mut self,
        frame: &mut Frame,
        spans: &mut Vec<Span>,
        own: &mut Vec<Bytes>,
        first_own: usize,
    ) -> Result<bool, ProtocolError> {
        if self.own.is_some() && !self.finish_own(frame, spans, own, first_own) {
            return Ok(false);
        }
        let data = self.buf.get(self.head..).unwrap_or_default();
        while frame.words_left > 0 {
            let rest = data.get(self.pos..).unwrap_or_default();
            let (len, payload) = match frame.bulk_len {
                Some(len) => (len, rest),
                None => {
                    let (len, line_bytes) = match short_count(rest, b'$') {
                        Some(short) => short,
                        None => match self.limits.bulk_header(rest)? {
                            Some((len, line_bytes, sloppy)) => {
                                frame.sloppy |= sloppy;
                                (len, line_bytes)
                            }
                            None => return Ok(false),
                        },
                    };
                    self.pos += line_bytes;
                    (len, rest.get(line_bytes..).unwrap_or_default())
                }
            };
            if payload.len() < len + 2 {
                frame.bulk_len = Some(len);
                if len >= self.limits.own_argument_bytes {
                    self.begin_own(len);
                }
                return Ok(false);
            }
            frame.sloppy |= payload.get(len..len + 2) != Some(b"\r\n");
            spans.push(Span::shared(self.pos, len));
            self.pos += len + 2;
            frame.bulk_len = None;
            frame.words_left -= 1;
        }
        Ok(true)
    }

    /// Moves what has come of the argument at `pos` to a buffer that will hold just that argument.
    #[cold]
    fn begin_own(&mut self, len: usize) {
        let mut data = Vec::with_capacity(len + 2);
        data.extend_from_slice(self.buf.get(self.head + self.pos..).unwrap_or_default());
        self.buf.truncate(self.head + self.pos);
        self.own = Some(OwnArgument { data, len });
    }

    /// True when the argument is complete and stands among the words.
    #[cold]
    fn finish_own(&mut self, frame: &mut Frame, spans: &mut Vec<Span>, own: &mut Vec<Bytes>, first_own: usize) -> bool {
        let Some(mut argument) = self.own.take() else { return true };
        if argument.data.len() < argument.len + 2 {
            self.own = Some(argument);
            return false;
        }
        // More may have come than fits.
        let beyond = argument.data.get(argument.len + 2..).unwrap_or_default();
        self.buf.splice(self.head + self.pos..self.head + self.pos, beyond.iter().copied());
        argument.data.truncate(argument.len);
        spans.push(Span::own(own.len() - first_own, argument.len));
        own.push(Bytes::from(argument.data));
        frame.detached_bytes += argument.len + 2;
        frame.bulk_len = None;
        frame.words_left -= 1;
        true
    }

    /// Moves the words of an endless request out of the shared buffer, whose positions are limited.
    fn spill_if_long(&mut self) {
        if self.pos - self.start > self.limits.spill_bytes.min(SPILL_BYTES) {
            self.spill();
        }
    }

    #[cold]
    fn spill(&mut self) {
        let from = self.head + self.start;
        let until = self.head + self.pos;
        // Earlier requests, if any are left, stay where they are.
        let rest = self.buf.split_off(until.min(self.buf.len()));
        let words = Bytes::from(self.buf.split_off(from));
        self.buf.extend_from_slice(&rest);
        let Partial { frame, spans, own } = &mut self.partial;
        for span in spans {
            if let Some(range) = span.shared_range() {
                let index = own.len();
                own.push(words.slice(range.start - self.start..range.end - self.start));
                *span = Span::own(index, range.len());
            }
        }
        frame.detached_bytes += words.len();
        frame.at = self.start;
        self.pos = self.start;
    }

    /// A line of words. False: no line is there, or an empty one was passed over.
    fn inline_request(&mut self, batch: &mut Batch) -> Result<bool, ProtocolError> {
        let at = self.pos;
        let rest = self.buf.get(self.head + at..).unwrap_or_default();
        let Some(end) = line_end(rest, b'\n') else {
            return if rest.len() > MAX_LINE_BYTES { Err(ProtocolError::InlineTooBig) } else { Ok(false) };
        };
        let line = rest.get(..end).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (first_span, first_own) = (batch.spans.len(), batch.own.len());
        let (spans, own) = (&mut batch.spans, &mut batch.own);
        let balanced = each_word(line, |word| match word {
            Word::Plain(range) => spans.push(Span::shared(at + range.start, range.len())),
            Word::Quoted(bytes) => {
                spans.push(Span::own(own.len() - first_own, bytes.len()));
                own.push(Bytes::from(bytes));
            }
        });
        if balanced.is_none() {
            batch.spans.truncate(first_span);
            batch.own.truncate(first_own);
            return Err(ProtocolError::UnbalancedQuotes);
        }
        self.pos += end + 1;
        if batch.spans.len() == first_span {
            return Ok(false);
        }
        self.push_request(&Frame { at, ..Frame::default() }, batch, first_span, first_own);
        if let Some(request) = batch.requests.last_mut() {
            request.form = Form::Inline;
        }
        Ok(true)
    }
}

impl Limits {
    /// The first line of a request: the count, the line's bytes with its end, and whether the end is a sloppy one.
    /// `None`: the line is not all there.
    #[cold]
    fn multibulk_header(&self, rest: &[u8]) -> Result<Option<(i64, usize, bool)>, ProtocolError> {
        let Some((digits, line_bytes, sloppy)) = header_line(rest, ProtocolError::MultibulkCountTooBig)? else {
            return Ok(None);
        };
        match parse_i64(digits.get(1..).unwrap_or_default()) {
            Some(count) if count <= i64::from(i32::MAX) => Ok(Some((count, line_bytes, sloppy))),
            Some(_) | None => Err(ProtocolError::MultibulkLength),
        }
    }

    /// The line before an argument, likewise.
    fn bulk_header(&self, rest: &[u8]) -> Result<Option<(usize, usize, bool)>, ProtocolError> {
        let Some((line, line_bytes, sloppy)) = header_line(rest, ProtocolError::BulkCountTooBig)? else {
            return Ok(None);
        };
        let digits = match rest.first() {
            Some(b'$') => line.get(1..).unwrap_or_default(),
            Some(&other) => return Err(ProtocolError::ExpectedDollar(other)),
            None => return Ok(None),
        };
        // A span counts in 32 bits.
        let most = self.max_bulk_bytes.min(u32::MAX as usize / 2) as i64;
        match parse_i64(digits) {
            Some(len) if len > UNAUTHENTICATED_BULK_BYTES && len <= most && !self.authenticated => {
                Err(ProtocolError::UnauthenticatedBulk)
            }
            Some(len) if (0..=most).contains(&len) => Ok(Some((len as usize, line_bytes, sloppy))),
            Some(_) | None => Err(ProtocolError::BulkLength),
        }
    }
}

/// The count in a line of the usual form with up to three digits.
#[inline(always)]
fn short_count(rest: &[u8], kind: u8) -> Option<(usize, usize)> {
    let digit = |c: u8| {
        let d = c.wrapping_sub(b'0');
        if d < 10 { Some(usize::from(d)) } else { None }
    };
    match *rest {
        [k, a, b'\r', b'\n', ..] if k == kind => Some((digit(a)?, 4)),
        [k, a, b, b'\r', b'\n', ..] if k == kind && a != b'0' => Some((digit(a)? * 10 + digit(b)?, 5)),
        [k, a, b, c, b'\r', b'\n', ..] if k == kind && a != b'0' => {
            Some((digit(a)? * 100 + digit(b)? * 10 + digit(c)?, 6))
        }
        _ => None,
    }
}

/// A line up to `\r`, its bytes with the two that end it, and whether the second of those is not `\n`.
/// `None`: not all there; the error, if there is too much for a number.
fn header_line(rest: &[u8], too_big: ProtocolError) -> Result<Option<(&[u8], usize, bool)>, ProtocolError> {
    match line_end(rest, b'\r') {
        Some(end) => match rest.get(end + 1) {
            Some(&second) => Ok(rest.get(..end).map(|line| (line, end + 2, second != b'\n'))),
            None => Ok(None),
        },
        None if rest.len() > MAX_LINE_BYTES => Err(too_big),
        None => Ok(None),
    }
}

/// Where `mark` stands, if no NUL stands before it.
fn line_end(rest: &[u8], mark: u8) -> Option<usize> {
    memchr::memchr2(mark, 0, rest).filter(|&at| rest.get(at) == Some(&mark))
}
