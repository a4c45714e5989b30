//! A connection to a replica beside its link: asks, and waits for the answer with patience.
//!
//! A replica's bytes never panic here.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::Target;
use super::report::{Told, Value};
use crate::base::clock;
use crate::config::Settings;
use crate::persist::census::{Census, Listed, PARTS};
use crate::repl::note::printable;
use crate::resp::{Frame, ReaderLimits, ReplyReader, encode_command};

/// How long a connection may take, and an answer that costs nothing.
const SHORT: Duration = Duration::from_secs(10);
/// Between two looks whether anybody still waits for us.
const TURN: Duration = Duration::from_millis(250);
/// A census takes a list of keys at most.
const LIMITS: ReaderLimits = ReaderLimits { depth: 4, bulk_bytes: 512 << 20, elements: 4 << 20 };

const NONSENSE: &str = "its answer makes no sense";

pub(super) struct Peer {
    stream: TcpStream,
    reader: ReplyReader,
}

impl Peer {
    /// Connects, and logs in with what we would log in to it with if it were our master.
    pub fn connect(target: &Target, settings: &Settings, wanted: &dyn Fn() -> bool) -> Result<Self, String> {
        if target.port == 0 || target.host.is_empty() {
            return Err("it told no address that it could be reached at".to_owned());
        }
        let unreachable = |e: std::io::Error| format!("it cannot be reached at its address: {e}");
        let address = (target.host.as_str(), target.port).to_socket_addrs().map_err(unreachable)?.next();
        let Some(address) = address else { return Err("its name has no address".to_owned()) };
        let stream = TcpStream::connect_timeout(&address, SHORT).map_err(unreachable)?;
        // Matters of speed and patience only.
        let _ = stream.set_nodelay(true);
        let _ = stream.set_read_timeout(Some(TURN));
        let _ = stream.set_write_timeout(Some(SHORT));
        let mut peer = Self { stream, reader: ReplyReader::new(LIMITS) };
        if !settings.masterauth.is_empty() {
            let (user, password) = (settings.masteruser.as_bytes(), settings.masterauth.as_bytes());
            let words: &[&[u8]] = if user.is_empty() { &[b"AUTH", password] } else { &[b"AUTH", user, password] };
            peer.ask(words, SHORT, wanted).map_err(|e| format!("it does not take masteruser and masterauth: {e}"))?;
        }
        Ok(peer)
    }

    /// Asks it to get ready for a cut of this history, of this part only if one is named.
    pub fn prepare(&mut self, replid: &str, part: Option<usize>, wanted: &dyn Fn() -> bool) -> Result<(), String> {
        let part = part.map_or("-1".to_owned(), |part| part.to_string());
        let words: [&[u8]; 5] = [b"REPLICA", b"CUT", b"PREPARE", replid.as_bytes(), part.as_bytes()];
        self.ask(&words, SHORT, wanted).map(|_| ())
    }

    pub fn hold(&mut self, wanted: &dyn Fn() -> bool) -> Result<(), String> {
        self.ask(&[b"REPLICA", b"CUT", b"HOLD"], SHORT, wanted).map(|_| ())
    }

    pub fn at(&mut self, offset: i64, patience: Duration, wanted: &dyn Fn() -> bool) -> Result<Census, String> {
        let offset = offset.to_string();
        let frame = self.ask(&[b"REPLICA", b"CUT", b"AT", offset.as_bytes()], patience, wanted)?;
        census(&frame).ok_or_else(|| NONSENSE.to_owned())
    }

    /// Has it verify its own replicas.
    pub fn verify_below(&mut self, patience: Duration, wanted: &dyn Fn() -> bool) -> Result<Vec<Told>, String> {
        let frame = self.ask(&[b"REPLICA", b"VERIFY"], patience, wanted)?;
        let rows = frame.as_list().and_then(|rows| rows.iter().map(told).collect::<Option<Vec<Told>>>());
        rows.ok_or_else(|| NONSENSE.to_owned())
    }

    fn ask(&mut self, words: &[&[u8]], patience: Duration, wanted: &dyn Fn() -> bool) -> Result<Frame, String> {
        let broke = |e: std::io::Error| format!("the connection to it broke: {e}");
        let mut request = Vec::new();
        encode_command(&mut request, words);
        self.stream.write_all(&request).map_err(broke)?;
        let until_ms = clock::mono_ms().saturating_add(i64::try_from(patience.as_millis()).unwrap_or(i64::MAX));
        let mut buffer = vec![0; 64 << 10];
        loop {
            match self.reader.next_frame().map_err(|e| format!("it answers no protocol of ours: {e}"))? {
                Some(Frame::Error(text)) => return Err(refused(&text)),
                Some(frame) => return Ok(frame),
                None => {}
            }
            if !wanted() {
                return Err("nobody waits for it any more".to_owned());
            }
            if clock::mono_ms() > until_ms {
                return Err("it did not answer in time".to_owned());
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err("it closed the connection".to_owned()),
                Ok(n) => self.reader.feed(buffer.get(..n).unwrap_or_default()),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
                Err(e) => return Err(broke(e)),
            }
        }
    }
}

/// What an error means.
fn refused(text: &[u8]) -> String {
    if text.starts_with(b"ERR unknown command") {
        return "it is no Pando server, and can tell neither what it holds at an exact offset nor whether its own replicas \
                hold the same; hold up writes (CLIENT PAUSE), wait until its offset is this server's, and compare \
                DEBUG DIGEST"
            .to_owned();
    }
    printable(text)
}

/// As `report::write_census` writes it.
fn census(frame: &Frame) -> Option<Census> {
    let [offset, keys, sums, list] = frame.as_list()? else { return None };
    let sums = sums.as_bytes()?;
    let parts: Vec<u128> = sums.chunks_exact(16).map(number).collect::<Option<_>>()?;
    if parts.len() != PARTS || sums.len() != PARTS * 16 {
        return None;
    }
    let list = match list {
        Frame::Null => None,
        list => Some(list.as_list()?.iter().map(listed).collect::<Option<_>>()?),
    };
    Some(Census { offset: offset.as_int()?, keys: u64::try_from(keys.as_int()?).ok()?, parts, list })
}

/// A row as `report::write` writes it.
fn told(frame: &Frame) -> Option<Told> {
    let (pairs, odd) = frame.as_list()?.as_chunks::<2>();
    let field = |[name, value]: &[Frame; 2]| {
        let value = match value {
            Frame::Int(n) => Value::Number(*n),
            text => Value::Text(text.as_bytes()?.to_vec()),
        };
        Some((String::from_utf8(name.as_bytes()?.to_vec()).ok()?, value))
    };
    odd.is_empty().then(|| pairs.iter().map(field).collect())?
}

fn number(bytes: &[u8]) -> Option<u128> {
    Some(u128::from_be_bytes(bytes.try_into().ok()?))
}

fn listed(frame: &Frame) -> Option<Listed> {
    let (db, rest) = frame.as_bytes()?.split_first_chunk::<4>()?;
    let (sum, key) = rest.split_first_chunk::<16>()?;
    Some(Listed { db: u32::from_be_bytes(*db), key: key.to_vec(), sum: u128::from_be_bytes(*sum) })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_census_comes_back_as_it_was_written() {
        let list =
            vec![Listed { db: 3, key: b"k\r\n".to_vec(), sum: 7 }, Listed { db: 3, key: vec![], sum: u128::MAX }];
        for list in [None, Some(vec![]), Some(list)] {
            let mut census = Census { offset: 5, keys: 2, parts: vec![0; PARTS], list };
            census.parts[9] = u128::MAX - 1;
            let mut out = crate::resp::Reply::new(2);
            super::super::report::write_census(&census, &mut out);
            let mut reader = ReplyReader::new(LIMITS);
            reader.feed(&out.take());
            assert_eq!(super::census(&reader.next_frame().unwrap().unwrap()), Some(census));
        }
        for nonsense in [Frame::Int(3), Frame::Array(vec![]), Frame::Array(vec![Frame::Null; 4])] {
            assert_eq!(super::census(&nonsense), None);
        }
        assert!(refused(b"ERR unknown command 'REPLICA', with args beginning with: ").contains("no Pando server"));
    }
}
