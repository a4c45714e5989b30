//! Receiving the data set of a full resync: what frames it on the wire, told apart from the payload.
//!
//! ```text
//!   \n \n …                     keep-alives while the master prepares
//!   $<length>\r\n <payload>                          disk: the length is known
//!   $EOF:<40 bytes>\r\n <payload> <the 40 bytes>     diskless: the mark ends it
//! ```
//! After the end the connection carries the replication stream; its bytes are left to the caller. Knows nothing of RDB,
//! files or sockets. A peer's bytes never panic here.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use memchr::memmem;

use super::note::printable;
use crate::base::number::parse_u64;

/// Longest first line taken, as in stock servers.
const MAX_LINE: usize = 1024;
const MARK_LEN: usize = 40;

/// How the payload's end is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// The master sends a file of so many bytes.
    Sized(u64),
    /// The master sends as it walks its data, and ends with a mark.
    Marked,
}

impl Framing {
    /// The stock log line at the beginning of a transfer.
    pub fn describe(self, to_parser: bool) -> String {
        let sink = if to_parser { "to parser" } else { "to disk" };
        match self {
            Self::Sized(bytes) => format!("MASTER <-> REPLICA sync: receiving {bytes} bytes from master {sink}"),
            Self::Marked => format!("MASTER <-> REPLICA sync: receiving streamed RDB from master with EOF {sink}"),
        }
    }
}

/// What a stretch of input turned out to be, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// The master is still preparing and says so.
    KeepAlive,
    Begin(Framing),
    /// Never empty.
    Payload(&'a [u8]),
    End,
}

/// The master's fault; the texts are the stock log lines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    #[error("MASTER aborted replication with an error: {0}")]
    Aborted(String),
    #[error(
        "Bad protocol from MASTER, the first byte is not '$' (we received '{0}'), are you sure the host and port are \
         right?"
    )]
    NotBulk(String),
    #[error("Bad protocol from MASTER, the length of the payload is not a number (we received '{0}')")]
    BadLength(String),
    #[error("Bad protocol from MASTER, the line before the payload is too long")]
    LineTooLong,
}

/// Takes the connection's bytes from the reply to PSYNC on, up to the end of the payload.
#[derive(Debug)]
pub struct Receiver {
    state: State,
    /// Payload bytes given out.
    received_bytes: u64,
}

#[derive(Debug)]
enum State {
    /// The first line, as far as it has come.
    Line(Vec<u8>),
    Sized {
        left: u64,
    },
    /// `matched` bytes of the mark were seen at the end of what came; they are held back until it is known whether they
    /// are the mark or look like it.
    Marked {
        mark: [u8; MARK_LEN],
        matched: usize,
    },
    Done,
}

impl Default for Receiver {
    fn default() -> Self {
        Self::new()
    }
}

impl Receiver {
    pub fn new() -> Self {
        Self { state: State::Line(Vec::new()), received_bytes: 0 }
    }

    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Takes input apart and says how much of it was consumed: all, unless the payload ended within.
    pub fn receive(&mut self, input: &[u8], mut out: impl FnMut(Piece<'_>)) -> Result<usize, TransferError> {
        let mut rest = input;
        loop {
            match &mut self.state {
                State::Line(line) => {
                    let Some(end) = memchr::memchr(b'\n', rest) else {
                        line.extend_from_slice(rest);
                        if line.len() > MAX_LINE {
                            return Err(TransferError::LineTooLong);
                        }
                        return Ok(input.len());
                    };
                    let (head, tail) = rest.split_at(end);
                    line.extend_from_slice(head);
                    rest = tail.get(1..).unwrap_or_default();
                    if line.len() > MAX_LINE {
                        return Err(TransferError::LineTooLong);
                    }
                    let line = std::mem::take(line);
                    let line = line.strip_suffix(b"\r").unwrap_or(&line);
                    if line.is_empty() {
                        out(Piece::KeepAlive);
                        continue;
                    }
                    self.state = first_line(line)?;
                    out(Piece::Begin(match self.state {
                        State::Sized { left } => Framing::Sized(left),
                        State::Line(_) | State::Marked { .. } | State::Done => Framing::Marked,
                    }));
                }
                State::Sized { left } => {
                    let n = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    let (payload, tail) = rest.split_at(n);
                    if n > 0 {
                        out(Piece::Payload(payload));
                    }
                    self.received_bytes += n as u64;
                    *left -= n as u64;
                    rest = tail;
                    if *left > 0 {
                        return Ok(input.len());
                    }
                    self.state = State::Done;
                    out(Piece::End);
                }
                State::Marked { mark, matched } => {
                    let (tail, ended) = search(mark, matched, rest, |payload| {
                        self.received_bytes += payload.len() as u64;
                        out(Piece::Payload(payload));
                    });
                    rest = tail;
                    if !ended {
                        return Ok(input.len());
                    }
                    self.state = State::Done;
                    out(Piece::End);
                }
                State::Done => return Ok(input.len() - rest.len()),
            }
        }
    }
}

fn first_line(line: &[u8]) -> Result<State, TransferError> {
    match line.split_first() {
        Some((b'$', count)) => {
            if let Some(mark) = count.strip_prefix(b"EOF:")
                && let Some(mark) = mark.first_chunk::<MARK_LEN>()
            {
                return Ok(State::Marked { mark: *mark, matched: 0 });
            }
            let left = parse_u64(count).ok_or_else(|| TransferError::BadLength(printable(line)))?;
            Ok(State::Sized { left })
        }
        Some((b'-', error)) => Err(TransferError::Aborted(printable(error))),
        _ => Err(TransferError::NotBulk(printable(line))),
    }
}

/// Gives out the payload before the mark. Returns what follows the mark, and whether it was found.
fn search<'a>(
    mark: &[u8; MARK_LEN],
    matched: &mut usize,
    mut rest: &'a [u8],
    mut payload: impl FnMut(&[u8]),
) -> (&'a [u8], bool) {
    // A candidate from before: byte by byte until it is the mark or is none. Knuth, Morris and Pratt: on a mismatch the
    // longest shorter candidate remains, and what falls off in front was payload: the mark's own first bytes.
    while *matched > 0 && *matched < MARK_LEN {
        let Some((byte, tail)) = rest.split_first() else { return (rest, false) };
        if mark.get(*matched) == Some(byte) {
            *matched += 1;
            rest = tail;
            continue;
        }
        let candidate = mark.split_at(*matched).0;
        let shorter = border(mark, candidate.get(1..).unwrap_or_default());
        payload(candidate.split_at(*matched - shorter).0);
        *matched = shorter;
    }
    if *matched == MARK_LEN {
        return (rest, true);
    }
    if let Some(at) = memmem::find(rest, mark) {
        let (before, from_mark) = rest.split_at(at);
        if !before.is_empty() {
            payload(before);
        }
        return (from_mark.get(MARK_LEN..).unwrap_or_default(), true);
    }
    *matched = border(mark, rest);
    let before = rest.split_at(rest.len() - *matched).0;
    if !before.is_empty() {
        payload(before);
    }
    (&[], false)
}

/// The length of the longest end of `text` that is a beginning of the mark, short of the whole mark.
fn border(mark: &[u8; MARK_LEN], text: &[u8]) -> usize {
    (1..MARK_LEN.min(text.len() + 1)).rev().find(|n| text.ends_with(mark.split_at(*n).0)).unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds `wire` in pieces cut at `cuts`; gives payload, framing, keep-alives and what was left over.
    fn run(wire: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, Option<Framing>, usize, Vec<u8>), TransferError> {
        let mut receiver = Receiver::new();
        let (mut payload, mut framing, mut alive, mut ends) = (Vec::new(), None, 0, 0);
        let (mut left, mut from) = (Vec::new(), 0);
        let mut cuts: Vec<usize> = cuts.iter().map(|c| c % (wire.len() + 1)).collect();
        cuts.push(wire.len());
        cuts.sort_unstable();
        for to in cuts {
            let part = &wire[from..to];
            from = to;
            let n = receiver.receive(part, |piece| match piece {
                Piece::KeepAlive => alive += 1,
                Piece::Begin(f) => framing = Some(f),
                Piece::Payload(p) => {
                    assert!(!p.is_empty());
                    payload.extend_from_slice(p);
                }
                Piece::End => ends += 1,
            })?;
            left.extend_from_slice(&part[n..]);
        }
        assert_eq!(receiver.is_done(), ends == 1);
        assert_eq!(receiver.received_bytes(), payload.len() as u64);
        Ok((payload, framing, alive, left))
    }

    #[test]
    fn a_sized_payload_ends_by_its_length() {
        let (payload, framing, alive, left) = run(b"\n\r\n$5\r\nhello*1\r\n", &[]).unwrap();
        assert_eq!((payload.as_slice(), framing, alive), (&b"hello"[..], Some(Framing::Sized(5)), 2));
        assert_eq!(left, b"*1\r\n");
    }

    #[test]
    fn what_is_no_payload_is_named() {
        let error = |wire: &[u8]| run(wire, &[]).unwrap_err().to_string();
        assert_eq!(error(b"-ERR no\r\n"), "MASTER aborted replication with an error: ERR no");
        assert!(error(b"HTTP/1.1 200 OK\r\n").contains("(we received 'HTTP/1.1 200 OK')"));
        assert!(error(b"$12x\r\n").contains("not a number"));
        assert!(error(b"$-1\r\n").contains("not a number"));
        assert!(error(b"$EOF:short\r\n").contains("not a number"));
        assert_eq!(run(&[b'a'; 2000], &[]).unwrap_err(), TransferError::LineTooLong);
    }

    proptest! {
        /// An alphabet of two letters makes the mark overlap itself and the payload end in halves of it.
        #[test]
        fn the_mark_is_found_in_any_fragmentation(
            mark in prop::collection::vec(prop::sample::select(b"ab".to_vec()), 40),
            parts in prop::collection::vec((0usize..40, prop::collection::vec(prop::sample::select(b"ab".to_vec()), 0..9)), 0..30),
            cuts in prop::collection::vec(any::<usize>(), 0..40),
        ) {
            let mut payload = Vec::new();
            for (n, noise) in &parts {
                payload.extend_from_slice(&mark[..*n]);
                payload.extend_from_slice(noise);
            }
            // The end is the first occurrence of the mark, wherever that is.
            let mut body = payload.clone();
            body.extend_from_slice(&mark);
            let end = memmem::find(&body, &mark).unwrap();
            body.extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
            let mut wire = [b"$EOF:", mark.as_slice(), b"\r\n"].concat();
            wire.extend_from_slice(&body);
            let (got, framing, _, left) = run(&wire, &cuts).unwrap();
            prop_assert_eq!(framing, Some(Framing::Marked));
            prop_assert_eq!(&got, &body[..end]);
            prop_assert_eq!(&left, &body[end + 40..]);
        }

        #[test]
        fn any_bytes_are_survived(wire in prop::collection::vec(any::<u8>(), 0..200), cuts in prop::collection::vec(any::<usize>(), 0..9)) {
            let _ = run(&wire, &cuts);
            let _ = run(&[b"$EOF:".as_slice(), &wire].concat(), &cuts);
        }
    }
}
