//! The second connection of a full sync, up to its payload: greeting, asking, and the line that tells where the stream
//! behind the snapshot begins.
//!
//! ```text
//!   AUTH, REPLCONF .. rdb-channel 1, REPLCONF version --->      <--- +OK (each)
//!   SYNC --->                                                   <--- \n \n .. $ENDOFF:<offset> <replid> <db> <client id>
//!                                                               <--- $EOF:<mark> .., as on one connection
//! ```
//! A value without socket or clock; what goes over the first connection meanwhile is [`super::handshake`]'s. A peer's bytes
//! never panic here.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use super::handshake::{LinkConfig, READS_AS_VALKEY};
use super::id::{ReplId, ReplOffset, Resume};
use super::note::printable;
use crate::base::number::{parse_i64, parse_u64};
use crate::resp::encode_command;

/// Longest line taken.
const MAX_LINE: usize = 1024;

/// Where the stream behind the snapshot begins, and what the master knows this connection by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    pub from: Resume,
    pub client_id: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    Auth,
    Greeting,
    Version,
    Point,
}

#[derive(Debug)]
pub struct RdbChannel {
    awaits: Reply,
    line: Vec<u8>,
}

impl RdbChannel {
    /// What is said first.
    pub fn new(config: &LinkConfig) -> (Self, Vec<u8>) {
        let mut out = Vec::new();
        config.put_auth(&mut out);
        let port = config.listening_port.to_string();
        let mut words = vec!["REPLCONF", "capa", "eof", "rdb-only", "1", "rdb-channel", "1", "listening-port", &port];
        if let Some(ip) = &config.announce_ip {
            words.extend(["ip-address", ip]);
        }
        encode_command(&mut out, words);
        encode_command(&mut out, ["REPLCONF", "version", READS_AS_VALKEY]);
        let awaits = if config.password.is_some() { Reply::Auth } else { Reply::Greeting };
        (Self { awaits, line: Vec::new() }, out)
    }

    /// Takes bytes, says how many it consumed, what to send, and once it has come, the point. The payload follows that.
    pub fn receive(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(usize, Option<Point>), String> {
        let mut rest = bytes;
        loop {
            let end = memchr::memchr(b'\n', rest);
            let (head, tail) = rest.split_at(end.unwrap_or(rest.len()));
            if self.line.len() + head.len() > MAX_LINE {
                return Err("the master sent a line too long for a reply".into());
            }
            self.line.extend_from_slice(head);
            rest = tail.get(1..).unwrap_or_default();
            if end.is_none() {
                return Ok((bytes.len(), None));
            }
            let line = std::mem::take(&mut self.line);
            if let Some(point) = self.replied(line.strip_suffix(b"\r").unwrap_or(&line), out)? {
                return Ok((bytes.len() - rest.len(), Some(point)));
            }
        }
    }

    fn replied(&mut self, line: &[u8], out: &mut Vec<u8>) -> Result<Option<Point>, String> {
        let refused = line.first() == Some(&b'-');
        match self.awaits {
            Reply::Auth if refused => return Err(format!("Unable to AUTH to MASTER: {}", printable(line))),
            Reply::Greeting if refused => {
                return Err(format!("the master knows no second connection: {}", printable(line)));
            }
            Reply::Auth => self.awaits = Reply::Greeting,
            Reply::Greeting => self.awaits = Reply::Version,
            Reply::Version => {
                // Who does not know it needs not.
                out.extend_from_slice(b"SYNC\r\n");
                self.awaits = Reply::Point;
            }
            // The snapshot is about to begin.
            Reply::Point if line.is_empty() => {}
            Reply::Point => {
                let point = parse_point(line).ok_or_else(|| format!("unexpected reply: {}", printable(line)))?;
                return Ok(Some(point));
            }
        }
        Ok(None)
    }
}

fn parse_point(line: &[u8]) -> Option<Point> {
    let mut words = line.strip_prefix(b"$ENDOFF:")?.split(|b| *b == b' ');
    let offset: ReplOffset = parse_i64(words.next()?)?;
    let replid = ReplId::parse(words.next()?)?;
    // The snapshot tells the database as well.
    let _db = parse_i64(words.next()?)?;
    let client_id = parse_u64(words.next()?)?;
    (offset >= 0 && words.next().is_none()).then_some(Point { from: Resume { replid, offset }, client_id })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    const POINT: &[u8] = b"$ENDOFF:1234 0123456789abcdef0123456789abcdef01234567 0 77\r\n";

    fn config(password: bool) -> LinkConfig {
        LinkConfig { password: password.then(|| b"secret".to_vec()), ..LinkConfig::default() }
    }

    #[test]
    fn it_greets_asks_and_learns_where_the_stream_begins() {
        for password in [false, true] {
            let (mut channel, said) = RdbChannel::new(&config(password));
            assert_eq!(said.starts_with(b"*2\r\n$4\r\nAUTH"), password);
            let oks = if password { "+OK\r\n+OK\r\n+OK\r\n" } else { "+OK\r\n-ERR unknown\r\n" };
            let mut out = Vec::new();
            for byte in oks.as_bytes() {
                assert_eq!(channel.receive(&[*byte], &mut out), Ok((1, None)));
            }
            assert_eq!(out, b"SYNC\r\n");
            assert_eq!(channel.receive(b"\n\n", &mut out), Ok((2, None)));
            let (used, point) = channel.receive(&[POINT, b"$EOF:"].concat(), &mut out).unwrap();
            let point = point.expect("the line was whole");
            assert_eq!((used, point.from.offset, point.client_id), (POINT.len(), 1234, 77));
        }
    }

    #[test]
    fn a_refusal_and_nonsense_are_told() {
        let after = |replies: &[u8]| RdbChannel::new(&config(false)).0.receive(replies, &mut Vec::new()).unwrap_err();
        assert!(after(b"-ERR Unrecognized REPLCONF option: rdb-channel\r\n").contains("no second connection"));
        for line in ["$ENDOFF:x", "$EOF:0", "+FULLRESYNC", "$ENDOFF:1 abc 0 1", "$ENDOFF:-1"] {
            assert!(after(format!("+OK\r\n+OK\r\n{line}\r\n").as_bytes()).contains("unexpected reply"), "{line}");
        }
        assert!(after(&[b'x'; 3000]).contains("too long"));
    }
}
