//! MIGRATE: keys on their way to another server. It is DUMP, RESTORE there, and DEL here once that has succeeded.
//!
//! As in stock servers nobody else is served meanwhile: so no change of a key is lost between its copy and its end here.
//! Knows of the other server only that it speaks the protocol.

#![deny(clippy::unwrap_used, clippy::indexing_slicing)]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::base::{Error, number};
use crate::cmd::{DataCommand, Effect, dump};
use crate::keyspace::{Data, Key};
use crate::resp::{Argv, Frame, ReaderLimits, Reply, ReplyReader, encode_command};
use crate::spec::finders;
use crate::spec::prelude::*;

pub const MIGRATE: Row = Row {
    name: "migrate",
    arity: -6,
    syntax: "host port:integer key-selector:(key:key|empty-string:'') destination-db:integer timeout:integer \
        [copy:COPY@3.0.0] [replace:REPLACE@3.0.0] \
        [authentication:(auth<password>=AUTH@4.0.7|auth2:{username password}=AUTH2@6.0.0)] \
        [keys:key#1<key>=KEYS@3.0.6...]",
    flags: WRITE.or(EXCLUSIVE).or(LONG),
    cats: KEYSPACE.or(DANGEROUS),
    keys: &[
        KeySpec::at(3, RW.or(ACCESS).or(DELETE)),
        KeySpec::after("KEYS", -2, RW.or(ACCESS).or(DELETE).or(INCOMPLETE)).through(-1),
    ],
    find_keys: Some(finders::migrate),
    tips: &["nondeterministic_output"],
    since: "2.6.0",
    group: Group::Generic,
    complexity: "O(N) here and there, N being the size of the values, and the time their bytes take on the way",
    summary: "Moves keys to another server.",
    ..Row::EMPTY
};

pub const COMMANDS: &[DataCommand] = &[DataCommand { row: &MIGRATE, run: migrate }];

/// Where there is no sensible one in the request.
const TIMEOUT_MS: i64 = 1000;
const LIMITS: ReaderLimits = ReaderLimits { depth: 2, bulk_bytes: 1 << 20, elements: 16 };

const UNREACHABLE: Error = Error::text("IOERR error or timeout connecting to the client");
const WRITING: Error = Error::text("IOERR error or timeout writing to target instance");
const READING: Error = Error::text("IOERR error or timeout reading to target instance");

/// What the words behind the timeout say.
#[derive(Default)]
struct Options<'a> {
    copy: bool,
    replace: bool,
    /// User, if any, and password.
    auth: Option<(Option<&'a [u8]>, &'a [u8])>,
    /// The key, or those behind KEYS.
    keys: Vec<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn parse(argv: &Argv<'a>) -> Result<Self, Error> {
        let mut o = Self { keys: vec![argv.word(3)], ..Self::default() };
        let mut words = argv.iter().skip(6);
        while let Some(word) = words.next() {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            if is(b"copy") {
                o.copy = true;
            } else if is(b"replace") {
                o.replace = true;
            } else if is(b"auth") {
                o.auth = Some((None, words.next().ok_or(Error::Syntax)?));
            } else if is(b"auth2") {
                let (user, password) = (words.next(), words.next());
                o.auth = Some((user, password.ok_or(Error::Syntax)?));
            } else if is(b"keys") {
                if !argv.word(3).is_empty() {
                    return Err(const {
                        Error::text(
                            "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string",
                        )
                    });
                }
                o.keys = words.by_ref().collect();
            } else {
                return Err(Error::Syntax);
            }
        }
        Ok(o)
    }
}

fn migrate(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let argv = a.argv();
    let o = Options::parse(&argv)?;
    let timeout_ms = number::parse_i64(argv.word(5)).ok_or(Error::NotInteger)?;
    let target_db = number::parse_i64(argv.word(4)).ok_or(Error::NotInteger)?;
    let timeout_ms = if timeout_ms <= 0 { TIMEOUT_MS } else { timeout_ms };
    let now_ms = db.unit.now_ms;
    let mut requests = Vec::new();
    if let Some((user, password)) = o.auth {
        encode_command(&mut requests, [&b"AUTH"[..]].into_iter().chain(user).chain([password]));
    }
    encode_command(&mut requests, [&b"SELECT"[..], itoa::Buffer::new().format(target_db).as_bytes()]);
    let mut moved: Vec<&[u8]> = Vec::new();
    for name in o.keys {
        let Some(expire_ms) = db.get(Key::new(name)).map(|entry| entry.expire_ms()) else { continue };
        let Some(payload) = dump::payload(db, Key::new(name)) else { continue };
        // What is about to end lives a moment there.
        let ttl = expire_ms.map_or(0, |at| at.saturating_sub(now_ms).max(1));
        let mut ttl_text = itoa::Buffer::new();
        let words = [&b"RESTORE"[..], name, ttl_text.format(ttl).as_bytes(), &payload];
        encode_command(&mut requests, words.into_iter().chain(o.replace.then_some(&b"REPLACE"[..])));
        moved.push(name);
    }
    if moved.is_empty() {
        out.simple("NOKEY");
        return Ok(Effect::None);
    }
    let timeout = Duration::from_millis(timeout_ms.unsigned_abs());
    let mut target = Target::connect(argv.word(1), argv.word(2), timeout)?;
    target.stream.write_all(&requests).map_err(|_| WRITING)?;
    // What it says before the first key concerns all of them.
    let mut refused = None;
    for _ in 0..usize::from(o.auth.is_some()) + 1 {
        let refusal = target.refusal().map_err(|_| READING)?;
        refused = refused.or(refusal);
    }
    let for_all = refused.is_some();
    let mut gone: Vec<&[u8]> = vec![b"DEL"];
    let mut failed = None;
    for name in moved {
        match target.refusal() {
            Err(_) => {
                failed = Some(READING);
                break;
            }
            Ok(None) if !for_all => {
                if !o.copy && db.delete(Key::new(name)) {
                    gone.push(name);
                }
            }
            Ok(refusal) => refused = refused.or(refusal),
        }
    }
    match (refused, failed) {
        (Some(line), _) => out.error_line(&format!("ERR Target instance replied with error: {line}")),
        (None, Some(error)) => out.error(&error),
        (None, None) => out.ok(),
    }
    // What was acknowledged is gone, whatever came of the others.
    Ok(if gone.len() > 1 { Effect::rewrite(gone) } else { Effect::None })
}

struct Target {
    stream: TcpStream,
    reader: ReplyReader,
}

impl Target {
    fn connect(host: &[u8], port: &[u8], timeout: Duration) -> Result<Self, Error> {
        let host = std::str::from_utf8(host).map_err(|_| UNREACHABLE)?;
        let port = number::parse_i64(port).and_then(|port| u16::try_from(port).ok()).ok_or(UNREACHABLE)?;
        let addresses = (host, port).to_socket_addrs().map_err(|_| UNREACHABLE)?;
        let mut error = UNREACHABLE;
        for address in addresses {
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(stream) => return Self::on(stream, timeout).map_err(|_| UNREACHABLE),
                Err(e) if e.kind() == ErrorKind::TimedOut => {}
                // Stock servers notice a refusal when they write.
                Err(_) => error = WRITING,
            }
        }
        Err(error)
    }

    fn on(stream: TcpStream, timeout: Duration) -> io::Result<Self> {
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        // A matter of speed only.
        let _ = stream.set_nodelay(true);
        Ok(Self { stream, reader: ReplyReader::new(LIMITS) })
    }

    /// The next answer: the error's line, if it is one.
    fn refusal(&mut self) -> io::Result<Option<String>> {
        let mut buffer = [0; 4096];
        loop {
            match self.reader.next_frame().map_err(|e| io::Error::new(ErrorKind::InvalidData, e.to_string()))? {
                Some(Frame::Error(line)) => return Ok(Some(String::from_utf8_lossy(&line).into_owned())),
                Some(_) => return Ok(None),
                None => {}
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.reader.feed(buffer.get(..n).unwrap_or_default()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}
