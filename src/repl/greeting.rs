//! REPLCONF: what a connection tells of itself before it becomes a replica, and what a replica says afterwards.
//!
//! Parses and remembers; changes no replica's state, knows no connection.

use crate::base::number::parse_i64;
use crate::rdb::Dialect;

use super::id::ReplOffset;
use super::note::printable;

/// Longest `ip-address`, as in stock servers.
const MAX_HOST: usize = 255;

/// What a client that may become a replica has announced. Part of its session; the default until it says something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Greeting {
    pub listening_port: u16,
    pub announced_ip: Option<String>,
    pub capa: Capa,
    /// Wants the snapshot and no stream (`redis-cli --rdb`).
    pub rdb_only: bool,
    pub filter: Filter,
    /// What the replica says it runs (Valkey's replicas do); 0 while it said nothing. Major, minor, patch: a byte each.
    pub version: u32,
    /// This connection is for the snapshot alone; the stream goes over another one of the same replica.
    pub rdb_channel: bool,
    /// This connection is for the stream behind the snapshot that goes over the one with this client id.
    pub rdb_client_id: Option<u64>,
}

/// The first Valkey whose fields of hashes can expire.
const VALKEY_WITH_FIELD_EXPIRY: u32 = 0x0009_0000;

impl Greeting {
    /// What it reads of types that Redis and Valkey write differently.
    pub fn dialect(&self) -> Dialect {
        if self.version >= VALKEY_WITH_FIELD_EXPIRY { Dialect::Valkey } else { Dialect::Redis }
    }

    /// Whether it is known not to be able to hold fields that expire.
    pub fn lacks_field_expiry(&self) -> bool {
        (1..VALKEY_WITH_FIELD_EXPIRY).contains(&self.version)
    }
}

/// What a replica can take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capa {
    /// A payload ended by a mark: diskless transfers.
    pub eof: bool,
    /// `+CONTINUE` with a new id.
    pub psync2: bool,
    /// A second connection for the snapshot (Valkey's `dual-channel-replication-enabled`).
    pub dual_channel: bool,
}

impl Capa {
    /// What both can take.
    pub fn common(self, other: Self) -> Self {
        Self {
            eof: self.eof && other.eof,
            psync2: self.psync2 && other.psync2,
            dual_channel: self.dual_channel && other.dual_channel,
        }
    }

    /// Whether this is able to do everything `other` is.
    pub fn covers(self, other: Self) -> bool {
        self.common(other) == other
    }
}

/// What the snapshot should leave out (`rdb-filter-only`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub without_data: bool,
    pub without_functions: bool,
}

impl Filter {
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// What is to be answered, and done, after a REPLCONF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Ok,
    /// A replica's acknowledgement; no answer.
    Ack {
        offset: ReplOffset,
        on_disk: Option<ReplOffset>,
    },
    /// A master wants ours at once; no answer of another kind.
    SendAck,
    /// Nothing is said.
    Silence,
}

impl Greeting {
    /// `words` are those after REPLCONF. The error is a whole line without its dash.
    pub fn replconf<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Result<Answer, String> {
        let words: Vec<&[u8]> = words.iter().map(AsRef::as_ref).collect();
        if words.is_empty() || words.len() % 2 == 1 {
            return Err("ERR syntax error".into());
        }
        for (i, pair) in words.chunks_exact(2).enumerate() {
            let &[option, value] = pair else { continue };
            match option.to_ascii_lowercase().as_slice() {
                b"listening-port" => {
                    let port = parse_i64(value).ok_or("ERR value is not an integer or out of range")?;
                    // Stock takes any number here and shows it; a port is all it can be of use as.
                    self.listening_port = u16::try_from(port).unwrap_or(0);
                }
                b"ip-address" => {
                    if value.len() > MAX_HOST {
                        let len = value.len();
                        return Err(format!(
                            "ERR REPLCONF ip-address provided by replica instance is too long: {len} bytes"
                        ));
                    }
                    self.announced_ip = Some(printable(value));
                }
                b"capa" => match value.to_ascii_lowercase().as_slice() {
                    b"eof" => self.capa.eof = true,
                    b"psync2" => self.capa.psync2 = true,
                    b"dual-channel" => self.capa.dual_channel = true,
                    // Later versions can do more; what we do not know we do not use.
                    _ => {}
                },
                b"version" => {
                    let version = parse_version(value)
                        .ok_or_else(|| format!("ERR Unrecognized version format: {}", printable(value)))?;
                    self.version = version;
                }
                b"ack" => {
                    let Some(offset) = parse_i64(value) else { return Ok(Answer::Silence) };
                    let fack = match words.get(2 * i + 2..2 * i + 4) {
                        Some(&[word, disk]) if word.eq_ignore_ascii_case(b"fack") => parse_i64(disk),
                        _ => None,
                    };
                    return Ok(Answer::Ack { offset, on_disk: fack });
                }
                b"getack" => return Ok(Answer::SendAck),
                b"rdb-only" => self.rdb_only = zero_or_one(value)?,
                b"rdb-channel" => self.rdb_channel = zero_or_one(value)?,
                b"set-rdb-client-id" => {
                    let id = parse_i64(value).ok_or("ERR value is not an integer or out of range")?;
                    // No client has a negative one.
                    self.rdb_client_id = Some(u64::try_from(id).unwrap_or(0));
                }
                b"rdb-filter-only" => self.filter = filter(value)?,
                _ => return Err(format!("ERR Unrecognized REPLCONF option: {}", printable(option))),
            }
        }
        Ok(Answer::Ok)
    }
}

fn zero_or_one(value: &[u8]) -> Result<bool, String> {
    match parse_i64(value) {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        Some(_) => Err("ERR value is out of range".into()),
        None => Err("ERR value is not an integer or out of range".into()),
    }
}

/// `major.minor.patch`, each of them at most 255.
fn parse_version(value: &[u8]) -> Option<u32> {
    let mut parts = value.split(|c| *c == b'.').map(|part| parse_i64(part).and_then(|n| u8::try_from(n).ok()));
    let (major, minor, patch) = (parts.next()??, parts.next()??, parts.next()??);
    parts.next().is_none().then(|| u32::from_be_bytes([0, major, minor, patch]))
}

fn filter(value: &[u8]) -> Result<Filter, String> {
    let mut filter = Filter { without_data: true, without_functions: true };
    for word in value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
        if !word.eq_ignore_ascii_case(b"functions") {
            return Err(format!("ERR Unsupported rdb-filter-only option: {}", printable(word)));
        }
        filter.without_functions = false;
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expect: Result<Answer, &str>) -> Greeting {
        let mut greeting = Greeting::default();
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(greeting.replconf(&words), expect.map_err(str::to_owned), "{line}");
        greeting
    }

    #[test]
    fn a_replica_announces_itself() {
        let got = check("listening-port 6380 IP-ADDRESS 10.0.0.9 capa eof capa psync2 capa later", Ok(Answer::Ok));
        assert_eq!((got.listening_port, got.announced_ip.as_deref()), (6380, Some("10.0.0.9")));
        assert_eq!(got.capa, Capa { eof: true, psync2: true, dual_channel: false });
        check("listening-port x", Err("ERR value is not an integer or out of range"));
        check("listening-port", Err("ERR syntax error"));
        check("colour red", Err("ERR Unrecognized REPLCONF option: colour"));
        let long = format!("ip-address {}", "a".repeat(300));
        check(&long, Err("ERR REPLCONF ip-address provided by replica instance is too long: 300 bytes"));
    }

    #[test]
    fn a_version_is_remembered_and_must_be_one() {
        assert_eq!(check("VERSION 9.1.2", Ok(Answer::Ok)).version, 0x0009_0102);
        let reads = |version| {
            let got = check(version, Ok(Answer::Ok));
            (got.dialect(), got.lacks_field_expiry())
        };
        assert_eq!(reads("version 9.0.0"), (Dialect::Valkey, false));
        assert_eq!(reads("version 8.1.4"), (Dialect::Redis, true));
        assert_eq!(reads("capa eof"), (Dialect::Redis, false));
        for wrong in ["abc", "9.1", "9.1.2.3", "256.1.1", "9.x.2", "-1.2.3"] {
            check(&format!("version {wrong}"), Err(&format!("ERR Unrecognized version format: {wrong}")));
        }
    }

    #[test]
    fn the_two_connections_of_a_replica_say_which_they_are() {
        let got = check("capa eof rdb-only 1 rdb-channel 1 listening-port 7000", Ok(Answer::Ok));
        assert!(got.rdb_only && got.rdb_channel);
        assert!(check("capa dual-channel", Ok(Answer::Ok)).capa.dual_channel);
        assert_eq!(check("set-rdb-client-id 17", Ok(Answer::Ok)).rdb_client_id, Some(17));
        check("rdb-channel 2", Err("ERR value is out of range"));
        check("set-rdb-client-id x", Err("ERR value is not an integer or out of range"));
    }

    #[test]
    fn acknowledgements_are_not_answered() {
        check("ACK 17", Ok(Answer::Ack { offset: 17, on_disk: None }));
        check("ack 17 fack 12", Ok(Answer::Ack { offset: 17, on_disk: Some(12) }));
        check("ack much", Ok(Answer::Silence));
        check("getack *", Ok(Answer::SendAck));
    }

    #[test]
    fn a_snapshot_alone_can_be_asked_for_and_filtered() {
        assert!(check("rdb-only 1", Ok(Answer::Ok)).rdb_only);
        check("rdb-only 2", Err("ERR value is out of range"));
        let got = check("rdb-filter-only functions", Ok(Answer::Ok));
        assert_eq!(got.filter, Filter { without_data: true, without_functions: false });
        check("rdb-filter-only keys", Err("ERR Unsupported rdb-filter-only option: keys"));
    }
}
