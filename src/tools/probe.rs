//! Asking a server who it is: an address, a login, a small blocking client and the answer of INFO in our types.
//!
//! Works against anything that speaks RESP and answers INFO as Redis does. Must not know the shape of a tree, nor how
//! anything is drawn; and must not trust the peer: every length is bounded, nothing it says can panic.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;

use super::moment::now;
use crate::resp::{Frame, ReaderLimits, ReplyReader, encode_command};

/// The longest reply that is taken: INFO of a server with thousands of replicas is far below it.
const LIMITS: ReaderLimits = ReaderLimits { depth: 4, bulk_bytes: 16 << 20, elements: 1024 };

/// Where a server listens, as somebody named it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

impl Address {
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// Every socket address the name stands for; nothing when it cannot be resolved.
    pub fn resolve(&self) -> Vec<SocketAddr> {
        (self.host.as_str(), self.port).to_socket_addrs().map(Iterator::collect).unwrap_or_default()
    }

    /// Numbers before names, lower before higher: one order whichever node a drawing started from.
    fn sort_key(&self) -> (bool, Option<IpAddr>, &str, u16) {
        let ip = self.host.parse::<IpAddr>().ok();
        (ip.is_none(), ip, &self.host, self.port)
    }
}

impl Ord for Address {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.sort_key().cmp(&other.sort_key())
    }
}

impl PartialOrd for Address {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.host.contains(':'), self.port) {
            (true, port) => write!(f, "[{}]:{port}", self.host),
            // A reader of the stream that told no port, `redis-cli --replica` for one.
            (false, 0) => write!(f, "{}:?", self.host),
            (false, port) => write!(f, "{}:{port}", self.host),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    /// `HOST:PORT`, `[V6]:PORT`, `HOST` (port 6379), `PORT` or `:PORT` (on 127.0.0.1).
    fn from_str(text: &str) -> Result<Self, String> {
        let port_of =
            |p: &str| p.parse::<u16>().ok().filter(|p| *p != 0).ok_or(format!("'{p}' is not a port (1 to 65535)"));
        if let Some(rest) = text.strip_prefix('[') {
            let (host, tail) = rest.split_once(']').ok_or(format!("'{text}' lacks the closing bracket"))?;
            let port = if tail.is_empty() { 6379 } else { port_of(tail.strip_prefix(':').unwrap_or(tail))? };
            return Ok(Self::new(host, port));
        }
        if text.is_empty() {
            return Err("an address is HOST:PORT".into());
        }
        if text.bytes().all(|b| b.is_ascii_digit()) {
            return Ok(Self::new("127.0.0.1", port_of(text)?));
        }
        match text.rsplit_once(':') {
            Some((host, _)) if host.contains(':') => Ok(Self::new(text, 6379)),
            Some(("", port)) => Ok(Self::new("127.0.0.1", port_of(port)?)),
            Some((host, port)) => Ok(Self::new(host, port_of(port)?)),
            None => Ok(Self::new(text, 6379)),
        }
    }
}

/// What to say to AUTH, if anything.
#[derive(Clone, Debug, Default)]
pub struct Login {
    pub user: Option<String>,
    pub password: Option<String>,
}

/// Which login goes to which server.
#[derive(Clone, Debug, Default)]
pub struct Logins {
    pub everywhere: Login,
    pub at: HashMap<Address, Login>,
}

impl Logins {
    fn of(&self, address: &Address) -> &Login {
        self.at.get(address).unwrap_or(&self.everywhere)
    }
}

/// Why a server could not be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No connection: the reason in a few words.
    Unreachable(String),
    /// Connected, and then not a word within our patience: stopped, or busy with one long command.
    Silent,
    NeedsPassword,
    WrongPassword,
    /// It answered, but not with INFO: its own words.
    Refused(String),
    /// The address its master tells belongs to another server, or to nobody.
    Elsewhere(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) | Self::Elsewhere(why) => f.write_str(why),
            Self::Silent => f.write_str("no answer in time"),
            Self::NeedsPassword => f.write_str("needs a password: --password"),
            Self::WrongPassword => f.write_str("refuses this password"),
            Self::Refused(why) => write!(f, "answers: {why}"),
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(e: io::Error) -> Self {
        Self::Unreachable(match e.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => return Self::Silent,
            io::ErrorKind::ConnectionRefused => "connection refused".into(),
            io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => {
                "connection closed".into()
            }
            _ => e.to_string(),
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Master,
    Replica,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Replica => "replica",
        }
    }
}

/// How a replica stands with its master, by its own account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    Up,
    /// Receiving the data set: percent received, where the size is known.
    Sync(Option<u8>),
    /// Seconds since it broke; `None` when it was never up.
    Down(Option<u64>),
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up => f.write_str("up"),
            Self::Sync(Some(percent)) => write!(f, "sync {percent}%"),
            Self::Sync(None) => f.write_str("sync"),
            Self::Down(Some(s)) if *s > 0 => write!(f, "down {s}s"),
            Self::Down(_) => f.write_str("down"),
        }
    }
}

impl Link {
    /// Without the numbers that change by themselves.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Sync(_) => "sync",
            Self::Down(_) => "down",
        }
    }
}

/// A `slaveN:` line: a replica as its master sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub address: Address,
    pub state: String,
    /// What the replica acknowledged last.
    pub offset: u64,
    /// Measured by the master, where it tells it.
    pub lag_ms: Option<u64>,
}

/// What a server said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    pub run_id: String,
    pub product: String,
    pub version: String,
    pub role: Role,
    pub loading: bool,
    pub replid: String,
    pub replid2: String,
    pub offset: u64,
    pub keys: u64,
    pub memory_bytes: Option<u64>,
    /// Where it replicates from, and how that goes.
    pub master: Option<(Address, Link)>,
    pub replicas: Vec<Listed>,
}

impl Info {
    /// Reads the text of INFO. `None` when it does not tell a role: then it is no server of our kind.
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields: HashMap<&str, &str> = HashMap::new();
        let mut replicas = Vec::new();
        let mut keys = 0;
        for line in text.lines() {
            let Some((name, value)) = line.split_once(':') else { continue };
            if numbered(name, "slave") {
                replicas.extend(listed(value));
            } else if numbered(name, "db") {
                keys += pairs(value).find(|(k, _)| *k == "keys").and_then(|(_, v)| v.parse().ok()).unwrap_or(0u64);
            } else {
                fields.insert(name, value.trim());
            }
        }
        let field = |name: &str| fields.get(name).copied().unwrap_or_default();
        let number = |name: &str| fields.get(name).and_then(|v| v.parse::<u64>().ok());
        let role = match field("role") {
            "master" => Role::Master,
            "slave" | "replica" => Role::Replica,
            _ => return None,
        };
        // Servers that gate on `redis_version` tell their own name beside it.
        let (product, version) = match field("server_name") {
            "" => ["dragonfly", "keydb"]
                .iter()
                .find_map(|name| fields.get(format!("{name}_version").as_str()).map(|v| (*name, *v)))
                .unwrap_or(("redis", field("redis_version"))),
            name => (name, fields.get(format!("{name}_version").as_str()).copied().unwrap_or(field("redis_version"))),
        };
        let link = match (field("master_link_status"), field("master_sync_in_progress")) {
            ("up", _) => Link::Up,
            (_, "1") => Link::Sync(match (number("master_sync_read_bytes"), number("master_sync_total_bytes")) {
                (Some(read), Some(total)) if total > 0 => {
                    Some((read.saturating_mul(100) / total).min(100).try_into().unwrap_or(100))
                }
                _ => None,
            }),
            _ => Link::Down(number("master_link_down_since_seconds")),
        };
        let master = (role == Role::Replica).then(|| {
            let port = number("master_port").and_then(|p| u16::try_from(p).ok()).unwrap_or(0);
            (Address::new(field("master_host"), port), link)
        });
        // A replica's own count is what it applied; the backlog's may be ahead of that.
        let own_offset = if role == Role::Replica { number("slave_repl_offset") } else { None };
        Some(Self {
            run_id: field("run_id").to_owned(),
            product: product.to_owned(),
            version: version.to_owned(),
            role,
            loading: field("loading") == "1",
            replid: field("master_replid").to_owned(),
            replid2: field("master_replid2").to_owned(),
            offset: own_offset.or(number("master_repl_offset")).unwrap_or(0),
            keys,
            memory_bytes: number("used_memory"),
            master,
            replicas,
        })
    }
}

/// `slave0`, `db12`: the prefix and then digits only.
fn numbered(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

fn pairs(value: &str) -> impl Iterator<Item = (&str, &str)> {
    value.trim().split(',').filter_map(|pair| pair.split_once('='))
}

fn listed(value: &str) -> Option<Listed> {
    // Before 2.8 the line was `ip,port,state` without names; such a master is too old to be of use here.
    let fields: HashMap<&str, &str> = pairs(value).collect();
    Some(Listed {
        address: Address::new(*fields.get("ip")?, fields.get("port")?.parse().ok()?),
        state: fields.get("state").copied().unwrap_or_default().to_owned(),
        offset: fields.get("offset").and_then(|v| v.parse().ok()).unwrap_or(0),
        lag_ms: fields.get("lag_ms").and_then(|v| v.parse().ok()),
    })
}

/// How long to wait for a connection, and for each answer.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub connect: Duration,
    pub answer: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { connect: Duration::from_secs(1), answer: Duration::from_secs(1) }
    }
}

/// A connection that asks one thing at a time and waits for the answer, within its patience.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    patience: Patience,
    reader: ReplyReader,
    /// What the server said to AUTH when it did not like it. Only matters if INFO is then refused too: a server
    /// without a password complains about AUTH and serves all the same.
    auth_refused: bool,
}

impl Client {
    pub fn connect(address: &Address, logins: &Logins, patience: Patience) -> Result<Self, Trouble> {
        let candidates = address.resolve();
        let mut last = Trouble::Unreachable(format!("'{}' has no address", address.host));
        for candidate in candidates {
            match TcpStream::connect_timeout(&candidate, patience.connect) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    let mut client = Self { stream, patience, reader: ReplyReader::new(LIMITS), auth_refused: false };
                    client.login(logins.of(address))?;
                    return Ok(client);
                }
                Err(e) => last = e.into(),
            }
        }
        Err(last)
    }

    fn login(&mut self, login: &Login) -> Result<(), Trouble> {
        let Some(password) = &login.password else { return Ok(()) };
        let answer = match &login.user {
            Some(user) => self.call(&["AUTH", user, password]),
            None => self.call(&["AUTH", password]),
        };
        match answer {
            Err(Trouble::Refused(_) | Trouble::NeedsPassword | Trouble::WrongPassword) => self.auth_refused = true,
            other => drop(other?),
        }
        Ok(())
    }

    /// The whole INFO.
    pub fn info(&mut self) -> Result<Info, Trouble> {
        self.info_of(&["INFO"])
    }

    /// INFO replication alone: cheap enough to poll. Fields of other sections stay empty.
    pub fn replication(&mut self) -> Result<Info, Trouble> {
        self.info_of(&["INFO", "replication"])
    }

    fn info_of(&mut self, request: &[&str]) -> Result<Info, Trouble> {
        let auth_refused = self.auth_refused;
        let bytes = self.call(request).map_err(|t| match t {
            Trouble::NeedsPassword if auth_refused => Trouble::WrongPassword,
            other => other,
        })?;
        Info::parse(&String::from_utf8_lossy(&bytes)).ok_or(Trouble::Refused("no role in its INFO".into()))
    }

    /// Sends a request and returns the string it is answered with.
    pub fn call(&mut self, request: &[&str]) -> Result<Vec<u8>, Trouble> {
        let mut wire = Vec::new();
        encode_command(&mut wire, request);
        let deadline = now() + self.patience.answer;
        self.stream.set_write_timeout(Some(self.patience.answer))?;
        self.stream.write_all(&wire)?;
        loop {
            match self.reader.next_frame().map_err(|_| not_resp())? {
                Some(Frame::Simple(text) | Frame::Bulk(text) | Frame::Verbatim(_, text)) => return Ok(text),
                Some(Frame::Error(text)) if text.starts_with(b"NOAUTH") => return Err(Trouble::NeedsPassword),
                Some(Frame::Error(text)) => {
                    return Err(Trouble::Refused(String::from_utf8_lossy(&text).into_owned()));
                }
                Some(_) => return Err(not_resp()),
                None => self.fill(deadline)?,
            }
        }
    }

    fn fill(&mut self, deadline: Duration) -> Result<(), Trouble> {
        let left = deadline.saturating_sub(now());
        if left.is_zero() {
            return Err(Trouble::Silent);
        }
        self.stream.set_read_timeout(Some(left))?;
        let mut chunk = [0; 16 << 10];
        let n = self.stream.read(&mut chunk)?;
        if n == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        self.reader.feed(chunk.get(..n).unwrap_or_default());
        Ok(())
    }
}

fn not_resp() -> Trouble {
    Trouble::Refused("something that is not RESP".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_every_usual_spelling() {
        let check = |text: &str, host: &str, port: u16| {
            assert_eq!(text.parse::<Address>(), Ok(Address::new(host, port)), "{text}");
        };
        check("10.0.0.1:6401", "10.0.0.1", 6401);
        check("6401", "127.0.0.1", 6401);
        check(":6401", "127.0.0.1", 6401);
        check("db.example", "db.example", 6379);
        check("[::1]:7000", "::1", 7000);
        check("::1", "::1", 6379);
        assert!("host:0".parse::<Address>().is_err());
        assert!("host:70000".parse::<Address>().is_err());
        assert!("".parse::<Address>().is_err());
        assert_eq!(Address::new("::1", 7000).to_string(), "[::1]:7000");
    }

    #[test]
    fn addresses_sort_by_number_not_by_text() {
        let mut all: Vec<Address> =
            ["web:1", "10.0.0.10:1", "10.0.0.9:10", "10.0.0.9:9"].iter().map(|a| a.parse().unwrap()).collect();
        all.sort();
        let text: Vec<String> = all.iter().map(Address::to_string).collect();
        assert_eq!(text, ["10.0.0.9:9", "10.0.0.9:10", "10.0.0.10:1", "web:1"]);
    }

    #[test]
    fn info_of_a_master_tells_its_replicas_and_keys() {
        let info = Info::parse(
            "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\n# Memory\r\nused_memory:1024\r\n# Replication\r\n\
             role:master\r\nconnected_slaves:2\r\nslave0:ip=127.0.0.1,port=6402,state=online,offset=28,lag=0\r\n\
             slave1:ip=::1,port=6403,state=online,offset=14,lag=1,lag_ms=7\r\nslave_expires_tracked_keys:0\r\n\
             master_replid:aa\r\nmaster_repl_offset:42\r\n# Keyspace\r\ndb0:keys=3,expires=0,avg_ttl=0\r\n\
             db5:keys=4,expires=0,avg_ttl=0\r\n",
        )
        .unwrap();
        assert_eq!((info.role, info.offset, info.keys), (Role::Master, 42, 7));
        assert_eq!((info.product.as_str(), info.version.as_str()), ("redis", "7.0.15"));
        assert_eq!(info.replicas.len(), 2);
        assert_eq!(info.replicas[1].address, Address::new("::1", 6403));
        assert_eq!(info.replicas[1].lag_ms, Some(7));
        assert_eq!(info.memory_bytes, Some(1024));
    }

    #[test]
    fn info_of_a_replica_tells_its_master_and_the_state_of_the_link() {
        let with = |extra: &str| {
            let text = format!(
                "server_name:valkey\nredis_version:7.2.4\nvalkey_version:9.1.2\nrole:slave\nmaster_host:m\n\
                 master_port:6401\nslave_repl_offset:10\nmaster_repl_offset:12\n{extra}"
            );
            Info::parse(&text).unwrap()
        };
        let up = with("master_link_status:up\n");
        assert_eq!((up.product.as_str(), up.version.as_str(), up.offset), ("valkey", "9.1.2", 10));
        assert_eq!(up.master, Some((Address::new("m", 6401), Link::Up)));
        let sync = with(
            "master_link_status:down\nmaster_sync_in_progress:1\nmaster_sync_total_bytes:200\n\
             master_sync_read_bytes:90\n",
        );
        assert_eq!(sync.master.unwrap().1.to_string(), "sync 45%");
        let down = with("master_link_status:down\nmaster_link_down_since_seconds:9\n");
        assert_eq!(down.master.unwrap().1.to_string(), "down 9s");
    }

    #[test]
    fn info_of_something_else_is_refused_and_never_panics() {
        for text in ["", ":", "role", "role:x", "slave0:ip=,port=\n", "db0:keys=x\nrole:\n", "slave:1\n"] {
            assert_eq!(Info::parse(text), None, "{text:?}");
        }
    }
}
