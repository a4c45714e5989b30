//! Ids as requests write them.

use crate::base::Error;
use crate::ds::stream::StreamId;

const INVALID: Error = Error::text("ERR Invalid stream ID specified as stream command argument");
/// Longer texts are no ids, whatever they begin with.
const MAX_CHARS: usize = 127;

/// The sequence number that XADD was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seq {
    Given,
    /// `*`
    Next,
}

/// An id; where the sequence number is left out it is `missing_seq`.
pub fn strict(text: &[u8], missing_seq: u64) -> Result<StreamId, Error> {
    match parse(text, missing_seq)? {
        (id, Seq::Given) => Ok(id),
        (_, Seq::Next) => Err(INVALID),
    }
}

/// The same, where `-` and `+` stand for the smallest and the largest id.
pub fn or_edge(text: &[u8], missing_seq: u64) -> Result<StreamId, Error> {
    match text {
        b"-" => Ok(StreamId::MIN),
        b"+" => Ok(StreamId::MAX),
        _ => strict(text, missing_seq),
    }
}

/// An id whose sequence number may be `*`.
pub fn with_next(text: &[u8]) -> Result<(StreamId, Seq), Error> {
    parse(text, 0)
}

/// Where an interval begins; `(` before the id leaves that one out.
pub fn start(text: &[u8]) -> Result<StreamId, Error> {
    match text {
        [b'(', id @ ..] if !id.is_empty() => {
            strict(id, 0)?.next().ok_or(const { Error::text("ERR invalid start ID for the interval") })
        }
        _ => or_edge(text, 0),
    }
}

/// Where an interval ends.
pub fn end(text: &[u8]) -> Result<StreamId, Error> {
    match text {
        [b'(', id @ ..] if !id.is_empty() => {
            strict(id, u64::MAX)?.prev().ok_or(const { Error::text("ERR invalid end ID for the interval") })
        }
        _ => or_edge(text, u64::MAX),
    }
}

fn parse(text: &[u8], missing_seq: u64) -> Result<(StreamId, Seq), Error> {
    if text.len() > MAX_CHARS {
        return Err(INVALID);
    }
    // Stock reads it as text that a zero byte ends.
    let text = text.split(|c| *c == 0).next().unwrap_or_default();
    let mut halves = text.splitn(2, |c| *c == b'-');
    let ms = halves.next().and_then(number).ok_or(INVALID)?;
    match halves.next() {
        None => Ok((StreamId::new(ms, missing_seq), Seq::Given)),
        Some(b"*") => Ok((StreamId::new(ms, 0), Seq::Next)),
        Some(seq) => Ok((StreamId::new(ms, number(seq).ok_or(INVALID)?), Seq::Given)),
    }
}

/// A number with all that C's `strtoull` lets pass: spaces, a sign and zeros before it. A canonical one may not be negative.
fn number(text: &[u8]) -> Option<u64> {
    let digits = text.trim_ascii_start();
    let (negative, digits) = match digits {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, digits),
    };
    if digits.is_empty() || (negative && crate::base::number::parse_i64(text).is_some()) {
        return None;
    }
    let value = digits.iter().try_fold(0u64, |n, c| {
        let digit = c.is_ascii_digit().then(|| u64::from(c - b'0'))?;
        n.checked_mul(10)?.checked_add(digit)
    })?;
    Some(if negative { value.wrapping_neg() } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Option<(u64, u64)>) {
        assert_eq!(strict(text.as_bytes(), 7).ok(), expect.map(|(ms, seq)| StreamId::new(ms, seq)), "{text:?}");
    }

    #[test]
    fn ids_are_read_as_stock_reads_them() {
        check("1-2", Some((1, 2)));
        check("1", Some((1, 7)));
        check("18446744073709551615-18446744073709551615", Some((u64::MAX, u64::MAX)));
        check("18446744073709551616-0", None);
        check("01- 2", Some((1, 2)));
        check("+1-+2", Some((1, 2)));
        check("1\0-9", Some((1, 7)));
        for bad in ["", "-", "+", "$", "1-", "-1", "1-2-3", "1--5", "a-1", "1-*", "*", "1 -2", "1-2 ", "(1-1"] {
            check(bad, None);
        }
        check(&"0".repeat(128), None);
        check(&"0".repeat(127), Some((0, 7)));
    }

    #[test]
    fn intervals_have_edges_and_leave_ids_out() {
        assert_eq!((start(b"-"), end(b"+")), (Ok(StreamId::MIN), Ok(StreamId::MAX)));
        assert_eq!((start(b"(5"), end(b"(5")), (Ok(StreamId::new(5, 1)), Ok(StreamId::new(5, u64::MAX - 1))));
        assert_eq!(end(b"(5-0"), Ok(StreamId::new(4, u64::MAX)));
        assert!(start(b"(-").is_err() && end(b"(+").is_err() && start(b"(").is_err());
        assert!(start(b"(18446744073709551615-18446744073709551615").is_err() && end(b"(0-0").is_err());
        assert_eq!(with_next(b"5-*"), Ok((StreamId::new(5, 0), Seq::Next)));
    }
}
