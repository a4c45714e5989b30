//! Replies on their way to a client: the output buffer of a connection or a worker.
//!
//! Small things are copied into one buffer; a large value is kept by reference and written from where it lies:
//!
//! ```text
//! buf:    +OK\r\n $20000\r\n | \r\n :1\r\n
//! shared:                    ^ 20000 bytes
//! ```
//! Each method writes one reply, or the head of an aggregate whose elements follow, in the protocol version the client
//! chose. Knows nothing of commands or sockets.

use std::io::IoSlice;

use bytes::Bytes;

use super::encode::push_header;
use crate::base::Error;
use crate::base::number::{IntText, push_f64};

/// From this size on a shared value is not copied.
const SHARE_BYTES: usize = 16 * 1024;
/// A larger buffer is given back when it has been written.
const KEEP_BYTES: usize = 256 * 1024;

#[derive(Debug)]
pub struct Reply {
    proto: u8,
    buf: Vec<u8>,
    shared: Vec<Shared>,
    shared_bytes: usize,
    sent: Sent,
    errors: u64,
    /// Where in `buf` the last error line begins.
    last_error_at: usize,
    /// With so many bytes waiting its client will be closed.
    full_at: usize,
}

#[derive(Debug)]
struct Shared {
    /// It comes after so many bytes of `buf`.
    at: usize,
    bytes: Bytes,
}

/// How far the socket has taken what is here.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    buf: usize,
    /// Shared values sent whole, and the bytes of the next.
    shared: usize,
    of_next: usize,
}

/// A place to go back to with [`Reply::truncate`].
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Mark {
    buf: usize,
    shared: usize,
    shared_bytes: usize,
    errors: u64,
    last_error_at: usize,
}

/// An aggregate whose length is told later, with [`Reply::set_len`]. Inner ones first.
#[derive(Debug)]
#[must_use]
pub struct Deferred {
    at: usize,
    shared: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Array,
    Map,
    Set,
    Push,
}

impl Default for Reply {
    fn default() -> Self {
        Self::new(2)
    }
}

impl Reply {
    pub fn new(proto: u8) -> Self {
        Self {
            proto,
            buf: Vec::new(),
            shared: Vec::new(),
            shared_bytes: 0,
            sent: Sent::default(),
            errors: 0,
            last_error_at: 0,
            full_at: usize::MAX,
        }
    }

    /// How much may wait at most.
    pub fn set_full_at(&mut self, bytes: usize) {
        self.full_at = bytes;
    }

    /// Whether there is no sense in writing more, for the client will be closed for what waits already. What can be asked
    /// to write without end looks at this.
    pub fn is_full(&self) -> bool {
        self.len() >= self.full_at
    }

    /// 2 or 3.
    pub fn proto(&self) -> u8 {
        self.proto
    }

    /// From here on; what is written stays.
    pub fn set_proto(&mut self, proto: u8) {
        self.proto = proto;
    }

    #[inline]
    fn resp3(&self) -> bool {
        self.proto >= 3
    }

    // Single values

    #[inline]
    pub fn ok(&mut self) {
        self.buf.extend_from_slice(b"+OK\r\n");
    }

    #[inline]
    pub fn pong(&mut self) {
        self.buf.extend_from_slice(b"+PONG\r\n");
    }

    #[inline]
    pub fn queued(&mut self) {
        self.buf.extend_from_slice(b"+QUEUED\r\n");
    }

    /// A status line. `text` holds no line end.
    pub fn simple(&mut self, text: &str) {
        debug_assert!(!text.contains(['\r', '\n']));
        self.line(b'+', text.as_bytes());
    }

    #[cold]
    pub fn error(&mut self, error: &Error) {
        match error {
            Error::Text(line) => self.error_line(line),
            other => self.error_line(&other.to_string()),
        }
    }

    /// An error whose first word is its code. Line ends around it are cut, those inside become spaces.
    #[cold]
    pub fn error_line(&mut self, line: &str) {
        self.errors += 1;
        self.last_error_at = self.buf.len();
        let line = line.trim_matches(['\r', '\n']);
        self.buf.push(b'-');
        self.buf.extend(line.bytes().map(|c| if matches!(c, b'\r' | b'\n') { b' ' } else { c }));
        self.end_line();
    }

    #[inline]
    pub fn int(&mut self, value: i64) {
        if (0..100).contains(&value) {
            push_header(&mut self.buf, b':', value as usize);
        } else {
            self.buf.push(b':');
            self.buf.extend_from_slice(IntText::new().format(value).as_bytes());
            self.end_line();
        }
    }

    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.buf.reserve(bytes.len() + 26);
        push_header(&mut self.buf, b'$', bytes.len());
        self.buf.extend_from_slice(bytes);
        self.end_line();
    }

    /// An integer as a bulk string.
    #[inline]
    pub fn bulk_int(&mut self, value: i64) {
        self.bulk(IntText::new().format(value).as_bytes());
    }

    /// A bulk string that is kept by reference until it is sent, if it is large.
    pub fn bulk_shared(&mut self, bytes: Bytes) {
        if bytes.len() < SHARE_BYTES {
            return self.bulk(&bytes);
        }
        push_header(&mut self.buf, b'$', bytes.len());
        self.shared_bytes += bytes.len();
        self.shared.push(Shared { at: self.buf.len(), bytes });
        self.end_line();
    }

    /// A value that is not there.
    #[inline]
    pub fn null(&mut self) {
        self.buf.extend_from_slice(if self.resp3() { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// An aggregate that is not there.
    #[inline]
    pub fn null_array(&mut self) {
        self.buf.extend_from_slice(if self.resp3() { b"_\r\n" } else { b"*-1\r\n" });
    }

    pub fn double(&mut self, value: f64) {
        let at = self.buf.len();
        if self.resp3() {
            self.buf.push(b',');
            push_f64(&mut self.buf, value);
        } else {
            push_f64(&mut self.buf, value);
            let text = self.buf.len();
            push_header(&mut self.buf, b'$', text - at);
            self.buf[at..].rotate_left(text - at);
        }
        self.end_line();
    }

    /// A double whose text was made elsewhere.
    pub fn double_text(&mut self, text: &[u8]) {
        if self.resp3() { self.line(b',', text) } else { self.bulk(text) }
    }

    pub fn bool(&mut self, value: bool) {
        let text: &[u8] = match (self.resp3(), value) {
            (true, true) => b"#t\r\n",
            (true, false) => b"#f\r\n",
            (false, true) => b":1\r\n",
            (false, false) => b":0\r\n",
        };
        self.buf.extend_from_slice(text);
    }

    /// Text for people; `format` is `txt` or `mkd`.
    pub fn verbatim(&mut self, format: &str, text: &[u8]) {
        debug_assert_eq!(format.len(), 3);
        if !self.resp3() {
            return self.bulk(text);
        }
        push_header(&mut self.buf, b'=', text.len() + 4);
        self.buf.extend_from_slice(format.as_bytes());
        self.buf.push(b':');
        self.buf.extend_from_slice(text);
        self.end_line();
    }

    pub fn big_number(&mut self, digits: &[u8]) {
        if self.resp3() { self.line(b'(', digits) } else { self.bulk(digits) }
    }

    /// Bytes that are replies already.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    // Heads of aggregates

    /// `n` elements follow.
    #[inline]
    pub fn array(&mut self, n: usize) {
        push_header(&mut self.buf, b'*', n);
    }

    /// `n` pairs follow.
    pub fn map(&mut self, n: usize) {
        self.head(Kind::Map, n);
    }

    pub fn set(&mut self, n: usize) {
        self.head(Kind::Set, n);
    }

    /// Out of band: not the answer to a request.
    pub fn push(&mut self, n: usize) {
        self.head(Kind::Push, n);
    }

    /// `n` pairs about the reply that comes after them. False, and nothing is written, where the protocol has no such
    /// thing.
    pub fn attribute(&mut self, n: usize) -> bool {
        if self.resp3() {
            push_header(&mut self.buf, b'|', n);
        }
        self.resp3()
    }

    pub fn deferred_array(&mut self) -> Deferred {
        self.defer(Kind::Array)
    }

    pub fn deferred_map(&mut self) -> Deferred {
        self.defer(Kind::Map)
    }

    pub fn deferred_set(&mut self) -> Deferred {
        self.defer(Kind::Set)
    }

    pub fn deferred_push(&mut self) -> Deferred {
        self.defer(Kind::Push)
    }

    /// Tells how many elements (of a map: pairs) were written since.
    pub fn set_len(&mut self, deferred: Deferred, n: usize) {
        let (kind, n) = self.wire_head(deferred.kind, n);
        let at = deferred.at;
        // Room for one digit was left; any more push the rest along.
        if let (0..10, Some([k, digit, ..])) = (n, self.buf.get_mut(at..at + 4)) {
            (*k, *digit) = (kind, b'0' + n as u8);
            return;
        }
        let mut head = Vec::with_capacity(24);
        push_header(&mut head, kind, n);
        let more = head.len() - 4;
        self.buf.splice(at..at + 4, head);
        for shared in self.shared.iter_mut().skip(deferred.shared) {
            shared.at += more;
        }
        if self.last_error_at > at {
            self.last_error_at += more;
        }
    }

    fn defer(&mut self, kind: Kind) -> Deferred {
        let at = self.buf.len();
        self.buf.extend_from_slice(b"*0\r\n");
        Deferred { at, shared: self.shared.len(), kind }
    }

    fn head(&mut self, kind: Kind, n: usize) {
        let (kind, n) = self.wire_head(kind, n);
        push_header(&mut self.buf, kind, n);
    }

    fn wire_head(&self, kind: Kind, n: usize) -> (u8, usize) {
        match (kind, self.resp3()) {
            (Kind::Array, _) | (Kind::Set | Kind::Push, false) => (b'*', n),
            (Kind::Map, false) => (b'*', n * 2),
            (Kind::Map, true) => (b'%', n),
            (Kind::Set, true) => (b'~', n),
            (Kind::Push, true) => (b'>', n),
        }
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.buf.push(kind);
        self.buf.extend_from_slice(text);
        self.end_line();
    }

    #[inline]
    fn end_line(&mut self) {
        self.buf.extend_from_slice(b"\r\n");
    }

    // What was written

    /// Bytes not sent yet.
    #[inline]
    pub fn len(&self) -> usize {
        if self.shared.is_empty() {
            return self.buf.len() - self.sent.buf;
        }
        let gone: usize = self.shared.iter().take(self.sent.shared).map(|s| s.bytes.len()).sum();
        self.buf.len() - self.sent.buf + self.shared_bytes - gone - self.sent.of_next
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.sent.buf == self.buf.len() && self.sent.shared == self.shared.len()
    }

    /// Bytes of memory this keeps.
    pub fn memory_bytes(&self) -> usize {
        self.buf.capacity() + self.shared.capacity() * size_of::<Shared>() + self.shared_bytes
    }

    /// Error replies written since the buffer was made.
    #[inline]
    pub fn errors(&self) -> u64 {
        self.errors
    }

    /// The last error line, without dash and line end; for statistics, right after it was written.
    pub fn last_error(&self) -> Option<&[u8]> {
        let line = self.buf.get(self.last_error_at..)?.strip_prefix(b"-")?;
        line.get(..memchr::memchr(b'\r', line)?)
    }

    pub fn mark(&self) -> Mark {
        Mark {
            buf: self.buf.len(),
            shared: self.shared.len(),
            shared_bytes: self.shared_bytes,
            errors: self.errors,
            last_error_at: self.last_error_at,
        }
    }

    /// Unwrites all since `mark`, of which nothing was sent.
    pub fn truncate(&mut self, mark: Mark) {
        debug_assert!(self.sent.buf <= mark.buf && self.sent.shared <= mark.shared);
        self.buf.truncate(mark.buf);
        self.shared.truncate(mark.shared);
        self.shared_bytes = mark.shared_bytes;
        self.errors = mark.errors;
        self.last_error_at = mark.last_error_at;
    }

    /// All that is here and not sent, but for what is kept by reference.
    pub fn written(&self) -> &[u8] {
        debug_assert!(self.shared.is_empty());
        &self.buf[self.sent.buf..]
    }

    /// What was written since `mark`, if none of it is kept by reference.
    pub fn since(&self, mark: Mark) -> Option<&[u8]> {
        if self.shared.len() == mark.shared { self.buf.get(mark.buf..) } else { None }
    }

    // Sending

    /// Fills `out` with the next pieces to send and gives how many there are.
    pub fn io_slices<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        let mut put = |bytes: &'a [u8]| {
            if bytes.is_empty() {
                return true;
            }
            let Some(slot) = out.get_mut(count) else { return false };
            *slot = IoSlice::new(bytes);
            count += 1;
            true
        };
        let mut at = self.sent.buf;
        let mut skip = self.sent.of_next;
        for shared in self.shared.iter().skip(self.sent.shared) {
            if !put(&self.buf[at..shared.at]) || !put(&shared.bytes[skip..]) {
                return count;
            }
            (at, skip) = (shared.at, 0);
        }
        put(&self.buf[at..]);
        count
    }

    /// All that is left to send, if it lies together: the usual case.
    #[inline]
    pub fn as_slice(&self) -> Option<&[u8]> {
        if self.shared.is_empty() { Some(&self.buf[self.sent.buf..]) } else { None }
    }

    /// Notes that `n` bytes were sent. When that is all, the buffer is empty and ready again.
    pub fn advance(&mut self, mut n: usize) {
        while let Some(shared) = self.shared.get(self.sent.shared) {
            let before = shared.at - self.sent.buf;
            if n < before {
                break;
            }
            self.sent.buf = shared.at;
            n -= before;
            let left = shared.bytes.len() - self.sent.of_next;
            if n < left {
                self.sent.of_next += n;
                return;
            }
            n -= left;
            self.sent.of_next = 0;
            self.sent.shared += 1;
        }
        self.sent.buf += n;
        debug_assert!(self.sent.buf <= self.buf.len());
        if self.is_empty() {
            self.clear();
        }
    }

    /// Empties it, and gives back what memory is more than usual.
    pub fn clear(&mut self) {
        self.buf.clear();
        if self.buf.capacity() > KEEP_BYTES {
            self.buf = Vec::new();
        }
        self.shared.clear();
        self.shared_bytes = 0;
        self.sent = Sent::default();
        self.last_error_at = 0;
    }

    /// Gives back the memory of an idle connection.
    pub fn shrink(&mut self) {
        if self.is_empty() {
            self.clear();
            self.buf = Vec::new();
            self.shared = Vec::new();
        }
    }

    /// Moves all of `other`, of which nothing was sent, to the end of this.
    pub fn append(&mut self, other: &mut Reply) {
        debug_assert!(other.sent.buf == 0 && other.sent.shared == 0);
        let base = self.buf.len();
        self.buf.extend_from_slice(&other.buf);
        self.shared.extend(other.shared.drain(..).map(|s| Shared { at: s.at + base, bytes: s.bytes }));
        self.shared_bytes += other.shared_bytes;
        self.errors += std::mem::take(&mut other.errors);
        other.clear();
    }

    /// All that is left to send, in one piece; the buffer is empty then.
    pub fn take(&mut self) -> Vec<u8> {
        if self.shared.is_empty() && self.sent.buf == 0 {
            let out = std::mem::take(&mut self.buf);
            self.clear();
            return out;
        }
        let mut out = Vec::with_capacity(self.len());
        let mut at = self.sent.buf;
        let mut skip = self.sent.of_next;
        for shared in self.shared.iter().skip(self.sent.shared) {
            out.extend_from_slice(&self.buf[at..shared.at]);
            out.extend_from_slice(&shared.bytes[skip..]);
            (at, skip) = (shared.at, 0);
        }
        out.extend_from_slice(&self.buf[at..]);
        self.clear();
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(proto: u8, write: impl FnOnce(&mut Reply), expect: &str) {
        let mut out = Reply::new(proto);
        write(&mut out);
        assert_eq!(out.len(), expect.len());
        assert_eq!(String::from_utf8_lossy(&out.take()), expect);
        assert!(out.is_empty());
    }

    fn check_both(write: impl Fn(&mut Reply), resp2: &str, resp3: &str) {
        check(2, &write, resp2);
        check(3, &write, resp3);
    }

    #[test]
    fn values() {
        check(2, Reply::ok, "+OK\r\n");
        check(2, |r| r.simple("hello"), "+hello\r\n");
        for n in [0, 7, 42, 99, 100, -1, i64::MIN, i64::MAX] {
            check(2, |r| r.int(n), &format!(":{n}\r\n"));
            check(2, |r| r.bulk_int(n), &format!("${}\r\n{n}\r\n", n.to_string().len()));
        }
        for len in [0, 1, 9, 10, 99, 100, 12345] {
            let text = "x".repeat(len);
            check(2, |r| r.bulk(text.as_bytes()), &format!("${len}\r\n{text}\r\n"));
        }
        check_both(Reply::null, "$-1\r\n", "_\r\n");
        check_both(Reply::null_array, "*-1\r\n", "_\r\n");
        check_both(|r| r.double(1.5), "$3\r\n1.5\r\n", ",1.5\r\n");
        check_both(|r| r.double(f64::INFINITY), "$3\r\ninf\r\n", ",inf\r\n");
        check_both(|r| r.bool(true), ":1\r\n", "#t\r\n");
        check_both(|r| r.bool(false), ":0\r\n", "#f\r\n");
        check_both(|r| r.verbatim("txt", b"hi"), "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n");
        check_both(|r| r.big_number(b"123"), "$3\r\n123\r\n", "(123\r\n");
    }

    #[test]
    fn aggregates() {
        check_both(|r| r.array(3), "*3\r\n", "*3\r\n");
        check_both(|r| r.map(3), "*6\r\n", "%3\r\n");
        check_both(|r| r.set(12), "*12\r\n", "~12\r\n");
        check_both(|r| r.push(2), "*2\r\n", ">2\r\n");
        check_both(
            |r| {
                r.attribute(1);
            },
            "",
            "|1\r\n",
        );
    }

    #[test]
    fn errors_are_one_line_and_counted() {
        let mut out = Reply::new(2);
        out.error_line("\r\nERR a\r\nb\n");
        out.error(&Error::Syntax);
        assert_eq!(out.errors(), 2);
        assert_eq!(out.last_error(), Some(&b"ERR syntax error"[..]));
        assert_eq!(out.take(), b"-ERR a  b\r\n-ERR syntax error\r\n");
        assert_eq!((out.errors(), out.last_error()), (2, None));
    }

    #[test]
    fn a_deferred_length_grows_into_its_place() {
        for n in [0usize, 9, 10, 123] {
            let mut out = Reply::new(3);
            out.ok();
            let outer = out.deferred_array();
            let inner = out.deferred_map();
            for i in 0..n as i64 {
                out.int(i);
                out.bulk_shared(Bytes::from(vec![b'x'; SHARE_BYTES]));
            }
            out.set_len(inner, n);
            out.set_len(outer, 1);
            let mut expect = format!("+OK\r\n*1\r\n%{n}\r\n");
            for i in 0..n {
                expect += &format!(":{i}\r\n${SHARE_BYTES}\r\n{}\r\n", "x".repeat(SHARE_BYTES));
            }
            assert_eq!(out.take(), expect.as_bytes());
        }
    }

    #[test]
    fn what_is_unwritten_leaves_no_trace() {
        let mut out = Reply::new(2);
        out.ok();
        let mark = out.mark();
        out.error(&Error::Syntax);
        out.bulk_shared(Bytes::from(vec![b'x'; SHARE_BYTES]));
        assert_eq!(out.since(mark), None);
        out.truncate(mark);
        assert_eq!((out.errors(), out.len()), (0, 5));
        out.pong();
        assert_eq!(out.since(mark), Some(&b"+PONG\r\n"[..]));
    }

    #[test]
    fn any_partial_sends_add_up() {
        for step in [1usize, 7, 16_000, 40_000] {
            let mut out = Reply::new(2);
            let mut other = Reply::new(2);
            out.ok();
            for _ in 0..2 {
                out.bulk_shared(Bytes::from(vec![b'y'; SHARE_BYTES + 1]));
                other.bulk_shared(Bytes::from(vec![b'z'; SHARE_BYTES]));
                other.int(5);
            }
            out.append(&mut other);
            assert!(other.is_empty());
            let (y, z) = ("y".repeat(SHARE_BYTES + 1), "z".repeat(SHARE_BYTES));
            let ys = format!("${}\r\n{y}\r\n", y.len()).repeat(2);
            let zs = format!("${}\r\n{z}\r\n:5\r\n", z.len()).repeat(2);
            let expect = format!("+OK\r\n{ys}{zs}");
            let mut got = Vec::new();
            while !out.is_empty() {
                let before = out.len();
                let mut slices = [IoSlice::new(&[]); 3];
                let n = out.io_slices(&mut slices);
                let piece: Vec<u8> = slices[..n].iter().flat_map(|s| s.iter().copied()).take(step).collect();
                out.advance(piece.len());
                assert_eq!(out.len(), before - piece.len());
                got.extend(piece);
            }
            assert!(got == expect.as_bytes(), "step {step}");
        }
    }
}
