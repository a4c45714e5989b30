//! A master made of a closure: says what no real one would.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use std::io::{BufRead, BufReader, Read, Write};

/// Listens on a port and gives every connection to a closure, in a thread of its own.
pub struct FakeMaster {
    port: u16,
    connections: Arc<AtomicU64>,
    closed: Arc<AtomicBool>,
}

/// One connection, seen from the master's side.
pub struct Peer {
    stream: BufReader<TcpStream>,
}

impl FakeMaster {
    /// `serve` gets the connection and its number, counted from 0; an error ends that connection only.
    pub fn start(serve: impl Fn(&mut Peer, u64) -> io::Result<()> + Send + Sync + 'static) -> FakeMaster {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let (connections, closed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stop, serve) = (Arc::clone(&connections), Arc::clone(&closed), Arc::new(serve));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let number = count.fetch_add(1, Ordering::Relaxed);
                let serve = Arc::clone(&serve);
                thread::spawn(move || serve(&mut Peer { stream: BufReader::new(stream) }, number));
            }
        });
        FakeMaster { port, connections, closed }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for FakeMaster {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl Peer {
    /// The next request, its words joined by blanks.
    pub fn request(&mut self) -> io::Result<String> {
        let count = self.number(b'*')?;
        let mut out = Vec::new();
        for _ in 0..count {
            let len = self.number(b'$')?;
            let mut word = vec![0; len + 2];
            self.stream.read_exact(&mut word)?;
            word.truncate(len);
            out.push(String::from_utf8_lossy(&word).into_owned());
        }
        Ok(out.join(" "))
    }

    fn number(&mut self, kind: u8) -> io::Result<usize> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        let bad = || io::Error::new(io::ErrorKind::InvalidData, "no request");
        if line.first() != Some(&kind) {
            return Err(bad());
        }
        String::from_utf8_lossy(&line[1..]).trim().parse().map_err(|_| bad())
    }

    pub fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Answers the handshake as a stock master does, up to the PSYNC request, which it returns.
    pub fn handshake(&mut self) -> io::Result<String> {
        loop {
            let request = self.request()?;
            let word = request.split(' ').next().unwrap_or_default().to_ascii_uppercase();
            match word.as_str() {
                "PSYNC" | "SYNC" => return Ok(request),
                "PING" => self.say(b"+PONG\r\n")?,
                _ => self.say(b"+OK\r\n")?,
            }
        }
    }

    /// Reads until the replica hangs up.
    pub fn drain(&mut self) -> io::Result<()> {
        io::copy(&mut self.stream, &mut io::sink()).map(|_| ())
    }
}
