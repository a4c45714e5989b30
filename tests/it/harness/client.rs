//! A client that shows replies as they came: every RESP2 and RESP3 type stays visible.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::wait::LIMIT;

/// One reply, its wire type kept. `Display` writes it on one line: `+OK`, `-ERR no`, `:1`, `$text`, `[…]`.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Simple(String),
    Error(String),
    Int(i64),
    Bulk(Vec<u8>),
    NilBulk,
    Array(Vec<Reply>),
    NilArray,
    Null,
    Double(String),
    Bool(bool),
    BigNumber(String),
    BulkError(String),
    Verbatim(String),
    Map(Vec<(Reply, Reply)>),
    Set(Vec<Reply>),
    Push(Vec<Reply>),
    Attribute(Vec<(Reply, Reply)>),
}

impl Reply {
    /// The text of a simple string, a bulk or a verbatim string; the whole reply otherwise.
    pub fn text(&self) -> String {
        match self {
            Reply::Simple(s) | Reply::Verbatim(s) => s.clone(),
            Reply::Bulk(b) => String::from_utf8_lossy(b).into_owned(),
            other => other.to_string(),
        }
    }

    #[track_caller]
    pub fn int(&self) -> i64 {
        match self {
            Reply::Int(n) => *n,
            other => panic!("an integer was expected, not {other}"),
        }
    }

    #[track_caller]
    pub fn items(&self) -> &[Reply] {
        match self {
            Reply::Array(items) | Reply::Set(items) | Reply::Push(items) => items,
            other => panic!("a list was expected, not {other}"),
        }
    }

    pub fn is_error(&self) -> bool {
        matches!(self, Reply::Error(_) | Reply::BulkError(_))
    }
}

fn list(f: &mut fmt::Formatter<'_>, open: &str, items: &[Reply], close: char) -> fmt::Result {
    f.write_str(open)?;
    for (i, item) in items.iter().enumerate() {
        write!(f, "{}{item}", if i > 0 { " " } else { "" })?;
    }
    write!(f, "{close}")
}

fn pairs(f: &mut fmt::Formatter<'_>, open: &str, items: &[(Reply, Reply)]) -> fmt::Result {
    f.write_str(open)?;
    for (i, (k, v)) in items.iter().enumerate() {
        write!(f, "{}{k}={v}", if i > 0 { " " } else { "" })?;
    }
    f.write_str("}")
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Simple(s) => write!(f, "+{s}"),
            Reply::Error(s) => write!(f, "-{s}"),
            Reply::Int(n) => write!(f, ":{n}"),
            Reply::Bulk(b) => write!(f, "${}", b.escape_ascii()),
            Reply::NilBulk => write!(f, "$nil"),
            Reply::Array(items) => list(f, "[", items, ']'),
            Reply::NilArray => write!(f, "*nil"),
            Reply::Null => write!(f, "_"),
            Reply::Double(s) => write!(f, ",{s}"),
            Reply::Bool(b) => write!(f, "#{}", if *b { 't' } else { 'f' }),
            Reply::BigNumber(s) => write!(f, "({s}"),
            Reply::BulkError(s) => write!(f, "!{s}"),
            Reply::Verbatim(s) => write!(f, "={s}"),
            Reply::Map(items) => pairs(f, "%{", items),
            Reply::Set(items) => list(f, "~[", items, ']'),
            Reply::Push(items) => list(f, ">[", items, ']'),
            Reply::Attribute(items) => pairs(f, "|{", items),
        }
    }
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(s) => s.read(buf),
            Stream::Unix(s) => s.read(buf),
        }
    }
}

impl Stream {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Stream::Tcp(s) => s.write_all(bytes),
            Stream::Unix(s) => s.write_all(bytes),
        }
    }
}

pub struct Client {
    stream: BufReader<Stream>,
}

impl Client {
    #[track_caller]
    pub fn connect(port: u16) -> Client {
        Self::try_connect(("127.0.0.1", port)).unwrap_or_else(|e| panic!("port {port}: {e}"))
    }

    pub fn try_connect(address: impl std::net::ToSocketAddrs) -> io::Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(Client { stream: BufReader::new(Stream::Tcp(stream)) })
    }

    pub fn connect_unix(path: &Path) -> Client {
        let stream = UnixStream::connect(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
        Client { stream: BufReader::new(Stream::Unix(stream)) }
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.try_send_raw(bytes).expect("the server takes bytes");
    }

    /// The same, for whom the server may hang up on meanwhile.
    pub fn try_send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Sends one command without waiting for its reply.
    #[track_caller]
    pub fn send<A: AsRef<[u8]>>(&mut self, args: &[A]) {
        self.send_raw(&encode(args));
    }

    #[track_caller]
    pub fn call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Reply {
        self.send(args);
        self.read()
    }

    /// Runs a command written as a line: words between blanks, `"…"` with escapes where needed.
    #[track_caller]
    pub fn run(&mut self, line: &str) -> Reply {
        self.call(&words(line))
    }

    /// Runs one command and compares the reply's one-line form.
    #[track_caller]
    pub fn check(&mut self, line: &str, expect: &str) {
        let got = self.run(line).to_string();
        assert_eq!(got, expect, "reply to `{line}`");
    }

    /// Runs lines of the form `command => reply`; blanks at a reply's end do not count.
    #[track_caller]
    pub fn script(&mut self, text: &str) {
        for line in text.lines().map(str::trim).filter(|l| !l.is_empty()) {
            let (command, expect) = line.split_once(" => ").unwrap_or_else(|| panic!("no ` => ` in `{line}`"));
            let got = self.run(command.trim()).to_string();
            assert_eq!(got.trim_end(), expect.trim(), "reply to `{}`", command.trim());
        }
    }

    #[track_caller]
    pub fn read(&mut self) -> Reply {
        self.try_read().expect("a reply")
    }

    pub fn try_call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<Reply> {
        self.stream.get_mut().write_all(&encode(args))?;
        self.try_read()
    }

    /// Asks for a full sync as a replica does, and gives the answer: line feeds keep the link alive until it comes.
    #[track_caller]
    pub fn psync(&mut self) -> String {
        self.send(&["PSYNC", "?", "-1"]);
        loop {
            let line = self.read_line().expect("an answer");
            if !line.is_empty() {
                return line;
            }
        }
    }

    /// Whether the server has hung up: the next read finds the end, or a reset.
    #[track_caller]
    pub fn is_closed(&mut self) -> bool {
        loop {
            match self.stream.fill_buf() {
                Ok([]) => return true,
                Ok(bytes) => {
                    let n = bytes.len();
                    self.stream.consume(n);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return false,
                Err(_) => return true,
            }
        }
    }

    /// Whether something has come that was not read yet.
    pub fn has_reply(&mut self) -> bool {
        if !self.stream.buffer().is_empty() {
            return true;
        }
        let Stream::Tcp(stream) = self.stream.get_ref() else { return false };
        stream.set_nonblocking(true).expect("a socket");
        let there = stream.peek(&mut [0]).is_ok();
        stream.set_nonblocking(false).expect("a socket");
        there
    }

    /// The next `n` bytes, whatever they are.
    pub fn read_exact(&mut self, n: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; n];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    pub fn read_line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the line is cut short"));
        }
        // A lone line feed is what keeps a replica's link alive while it waits.
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    pub fn try_read(&mut self) -> io::Result<Reply> {
        let line = self.read_line()?;
        let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{what}: {line:?}"));
        let (kind, rest) = line.split_at_checked(1).ok_or_else(|| bad("empty reply line"))?;
        let number = || rest.parse::<i64>().map_err(|_| bad("no number"));
        Ok(match kind {
            "+" => Reply::Simple(rest.to_owned()),
            "-" => Reply::Error(rest.to_owned()),
            ":" => Reply::Int(number()?),
            "$" => match number()? {
                -1 => Reply::NilBulk,
                n => Reply::Bulk(self.blob(n)?),
            },
            "!" => Reply::BulkError(String::from_utf8_lossy(&self.blob(number()?)?).into_owned()),
            "=" => {
                let text = String::from_utf8_lossy(&self.blob(number()?)?).into_owned();
                Reply::Verbatim(text.get(4..).unwrap_or_default().to_owned())
            }
            "*" => match number()? {
                -1 => Reply::NilArray,
                n => Reply::Array(self.items(n)?),
            },
            "~" => Reply::Set(self.items(number()?)?),
            ">" => Reply::Push(self.items(number()?)?),
            "%" => Reply::Map(self.pairs(number()?)?),
            "|" => Reply::Attribute(self.pairs(number()?)?),
            "_" => Reply::Null,
            "," => Reply::Double(rest.to_owned()),
            "#" => Reply::Bool(rest == "t"),
            "(" => Reply::BigNumber(rest.to_owned()),
            _ => return Err(bad("unknown reply type")),
        })
    }

    fn blob(&mut self, n: i64) -> io::Result<Vec<u8>> {
        let mut bytes = self.read_exact(n as usize + 2)?;
        bytes.truncate(n as usize);
        Ok(bytes)
    }

    fn items(&mut self, n: i64) -> io::Result<Vec<Reply>> {
        (0..n).map(|_| self.try_read()).collect()
    }

    fn pairs(&mut self, n: i64) -> io::Result<Vec<(Reply, Reply)>> {
        (0..n).map(|_| Ok((self.try_read()?, self.try_read()?))).collect()
    }
}

fn encode<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for a in args {
        let a = a.as_ref();
        out.extend_from_slice(format!("${}\r\n", a.len()).as_bytes());
        out.extend_from_slice(a);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Splits a line into words; `"…"` holds blanks and `\n`, `\r`, `\"`, `\\`, `\xHH`.
pub fn words(line: &str) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    let mut chars = line.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.peek().is_none() {
            return out;
        }
        let mut word = Vec::new();
        let mut push = |c: char| word.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        if chars.next_if_eq(&'"').is_some() {
            let mut raw = Vec::new();
            while let Some(c) = chars.next().filter(|c| *c != '"') {
                let mut put = |c: char| raw.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                match (c, c == '\\') {
                    (_, false) => put(c),
                    (_, true) => match chars.next() {
                        Some('n') => put('\n'),
                        Some('r') => put('\r'),
                        Some('x') => {
                            let hex: String = chars.by_ref().take(2).collect();
                            raw.push(u8::from_str_radix(&hex, 16).expect("two hexadecimal digits"));
                        }
                        Some(other) => put(other),
                        None => panic!("a backslash ends `{line}`"),
                    },
                }
            }
            word = raw;
        } else {
            while let Some(c) = chars.next_if(|c| !c.is_whitespace()) {
                push(c);
            }
        }
        out.push(word);
    }
}

/// A command as one line, for the eye.
pub fn line_of<W: AsRef<[u8]>>(command: &[W]) -> String {
    command.iter().map(|w| w.as_ref().escape_ascii().to_string()).collect::<Vec<_>>().join(" ")
}
