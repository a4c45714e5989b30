//! Listening sockets: TCP and unix, and who may come in.
//!
//! Knows addresses and limits, not what a connection says.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use parking_lot::Mutex;
use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, TcpKeepalive, Type};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinHandle;

use super::conn::Conn;
use super::outlet::Halves;
use super::workers::{Place, Workers};
use crate::base::{clock, os_reason};
use crate::config::Settings;
use crate::exec::call::Socket;
use crate::exec::client::{ClientHandle, flag};
use crate::exec::engine::Engine;
use crate::exec::gate::step_aside;
use crate::exec::session::Session;

const MAX_CLIENTS: &[u8] = b"-ERR max number of clients reached\r\n";
const PROTECTED: &[u8] =
    b"-DENIED Redis is running in protected mode because protected mode is enabled and no password \
is set for the default user. In this mode connections are only accepted from the loopback interface. If you want to \
connect from external computers to Redis you may adopt one of the following solutions: 1) Just disable protected mode \
sending the command 'CONFIG SET protected-mode no' from the loopback interface by connecting to Redis from the same \
host the server is running, however MAKE SURE Redis is not publicly accessible from internet if you do so. Use CONFIG \
REWRITE to make this change permanent. 2) Alternatively you can just disable the protected mode by editing the Redis \
configuration file, and setting the protected mode option to 'no', and then restarting the server. 3) If you started \
the server manually just for testing, restart it with the '--protected-mode no' option. 4) Setup a an authentication \
password for the default user. NOTE: You only need to do one of the above things in order for the server to start \
accepting connections from the outside.\r\n";

/// The listening sockets of the server, replaced as a whole by CONFIG SET port or bind.
pub struct Listeners {
    engine: Arc<Engine>,
    workers: Arc<Workers>,
    main: tokio::runtime::Handle,
    tcp: Mutex<Tcp>,
    unix: Mutex<Option<Unix>>,
}

/// The listening TCP sockets, and what they were opened for.
#[derive(Default)]
struct Tcp {
    tasks: Vec<JoinHandle<()>>,
    port: u16,
    bind: Vec<String>,
}

/// The listening unix socket, if there is one.
struct Unix {
    task: JoinHandle<()>,
    path: PathBuf,
}

impl Listeners {
    pub fn new(engine: Arc<Engine>, workers: Arc<Workers>, main: tokio::runtime::Handle) -> Self {
        workers.runtimes().chain([main.clone()]).for_each(|r| engine.standstill.add(r));
        main.spawn(workers.clone().balance(engine.clone()));
        Self { engine, workers, main, tcp: Mutex::default(), unix: Mutex::default() }
    }

    /// Opens the sockets that the settings ask for, then closes the old TCP ones, and gives the number of the new. An
    /// error leaves the old ones.
    pub fn open_tcp(&self, settings: &Settings) -> Result<usize, String> {
        let sockets = bind_all(settings)?;
        let count = sockets.len();
        let mut tcp = self.tcp.lock();
        for task in tcp.tasks.drain(..) {
            task.abort();
        }
        (tcp.port, tcp.bind) = (settings.port, settings.bind.clone());
        let _guard = self.main.enter();
        for socket in sockets {
            let listener = TcpListener::from_std(socket.into()).map_err(|e| e.to_string())?;
            let (engine, workers) = (self.engine.clone(), self.workers.clone());
            tcp.tasks.push(self.main.spawn(accept_tcp(listener, engine, workers)));
        }
        Ok(count)
    }

    /// Closes the TCP sockets and returns when they are closed: new ones may overlap them (`*` and `127.0.0.1`).
    fn close_tcp(&self) {
        let tasks: Vec<_> = {
            let mut tcp = self.tcp.lock();
            tcp.bind.clear();
            tcp.tasks.drain(..).collect()
        };
        tasks.iter().for_each(JoinHandle::abort);
        step_aside(|| {
            self.main.block_on(async {
                for task in tasks {
                    // Aborted is how it should end.
                    let _ = task.await;
                }
            });
        });
    }

    /// What CONFIG SET port and bind mean, and taking back one that failed: then the old sockets may still be there.
    fn reopen(&self, new: &Settings) -> Result<(), String> {
        let (same_port, same_bind) = {
            let tcp = self.tcp.lock();
            (tcp.port == new.port, tcp.bind == new.bind)
        };
        if same_port && same_bind {
            return Ok(());
        }
        if same_port {
            self.close_tcp();
        }
        self.open_tcp(new).map(drop).map_err(|_| {
            let reason = match same_port {
                true => "Failed to bind to specified addresses.",
                false => "Unable to listen on this port. Check server logs.",
            };
            reason.to_owned()
        })
    }

    pub fn open_unix(&self, settings: &Settings) -> Result<(), String> {
        if settings.unixsocket.is_empty() {
            return Ok(());
        }
        // Absolute, because CONFIG SET dir may move us before the file is removed.
        let path = std::path::absolute(&settings.unixsocket).map_err(|e| os_reason(&e))?;
        // A stale socket of an earlier run is in the way; a live server's is taken over, as stock does.
        let _ = std::fs::remove_file(&path);
        let _guard = self.main.enter();
        let listener =
            UnixListener::bind(&path).map_err(|e| format!("Failed opening Unix socket: bind: {}", os_reason(&e)))?;
        if settings.unixsocketperm != 0 {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::Permissions::from_mode(settings.unixsocketperm as u32);
            std::fs::set_permissions(&path, mode).map_err(|e| os_reason(&e))?;
        }
        let (engine, workers) = (self.engine.clone(), self.workers.clone());
        let task = self.main.spawn(accept_unix(listener, settings.unixsocket.clone(), engine, workers));
        *self.unix.lock() = Some(Unix { task, path });
        Ok(())
    }

    /// Stops accepting, and removes the unix socket's file.
    pub fn close(&self) {
        self.tcp.lock().tasks.drain(..).for_each(|t| t.abort());
        if let Some(Unix { task, path }) = self.unix.lock().take() {
            task.abort();
            tracing::info!("Removing the unix socket file.");
            if let Err(e) = std::fs::remove_file(&path) {
                tracing::warn!("Error removing the unix socket file: {}", os_reason(&e));
            }
        }
    }
}

/// Makes CONFIG SET port and bind take effect. Once, at boot.
pub fn register_hooks(engine: &Arc<Engine>, listeners: &Arc<Listeners>) {
    let listeners = listeners.clone();
    engine.config.on_change(&["port", "bind"], move |_, new| listeners.reopen(new));
}

/// The sockets that `bind` and `port` ask for, listening.
fn bind_all(settings: &Settings) -> Result<Vec<RawSocket>, String> {
    let mut sockets = Vec::new();
    if settings.port == 0 {
        return Ok(sockets);
    }
    for bind in &settings.bind {
        let (optional, host) = match bind.strip_prefix('-') {
            // `-::*` is "all IPv6 addresses, if there are any".
            Some(rest) if !rest.is_empty() => (true, rest),
            _ => (false, bind.as_str()),
        };
        match open(host, settings) {
            Ok(list) => sockets.extend(list),
            Err(Refusal { step, error }) => {
                let reason = os_reason(&error);
                if !(optional && is_unavailable(&error)) {
                    let port = settings.port;
                    tracing::warn!(
                        "Warning: Could not create server TCP listening socket {host}:{port}: {step}{reason}"
                    );
                    if !lacks_protocol(&error) {
                        return Err(reason);
                    }
                }
            }
        }
    }
    Ok(sockets)
}

/// What could not be done for a listening socket.
struct Refusal {
    /// How stock servers call the step, before the reason.
    step: &'static str,
    error: std::io::Error,
}

/// The machine has no such address, or none of its family.
fn is_unavailable(e: &std::io::Error) -> bool {
    lacks_protocol(e) || e.raw_os_error() == Some(libc::EADDRNOTAVAIL)
}

fn lacks_protocol(e: &std::io::Error) -> bool {
    matches!(
        e.raw_os_error(),
        Some(
            libc::EAFNOSUPPORT | libc::EPFNOSUPPORT | libc::EPROTONOSUPPORT | libc::ESOCKTNOSUPPORT | libc::ENOPROTOOPT
        )
    )
}

fn open(host: &str, settings: &Settings) -> Result<Vec<RawSocket>, Refusal> {
    let step = |step| move |error| Refusal { step, error };
    let addrs: Vec<SocketAddr> = match host {
        "*" => vec![SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), settings.port)],
        "::*" => vec![SocketAddr::new(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED), settings.port)],
        name => (name, settings.port).to_socket_addrs().map_err(step(""))?.collect(),
    };
    let mut out = Vec::new();
    for addr in addrs {
        let socket = RawSocket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP));
        let socket = socket.map_err(step("creating socket: "))?;
        if addr.is_ipv6() {
            socket.set_only_v6(true).map_err(step("setsockopt: "))?;
        }
        socket.set_reuse_address(true).map_err(step("setsockopt SO_REUSEADDR: "))?;
        if settings.socket_mark_id != 0 {
            socket.set_mark(settings.socket_mark_id as u32).map_err(step("setsockopt SO_MARK: "))?;
        }
        socket.set_nonblocking(true).map_err(step(""))?;
        socket.bind(&addr.into()).map_err(step("bind: "))?;
        socket.listen(settings.tcp_backlog as i32).map_err(step("listen: "))?;
        out.push(socket);
    }
    Ok(out)
}

async fn accept_tcp(listener: TcpListener, engine: Arc<Engine>, workers: Arc<Workers>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => welcome_tcp(stream, peer, &engine, &workers),
            Err(e) => accept_failed(&e).await,
        }
    }
}

async fn accept_unix(listener: UnixListener, path: String, engine: Arc<Engine>, workers: Arc<Workers>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => welcome_unix(stream, &path, &engine, &workers),
            Err(e) => accept_failed(&e).await,
        }
    }
}

/// Out of descriptors, most likely: accepting again at once would only spin.
async fn accept_failed(e: &std::io::Error) {
    tracing::error!("Accepting client connection: {}", os_reason(e));
    tokio::time::sleep(Duration::from_millis(100)).await;
}

fn welcome_tcp(stream: TcpStream, peer: SocketAddr, engine: &Arc<Engine>, workers: &Arc<Workers>) {
    let settings = engine.settings();
    let _ = stream.set_nodelay(true);
    if settings.tcp_keepalive > 0 {
        let every = Duration::from_secs(settings.tcp_keepalive as u64);
        let keepalive = TcpKeepalive::new().with_time(every).with_interval((every / 3).max(Duration::from_secs(1)));
        let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive.with_retries(3));
    }
    if let Some(refusal) = refusal(engine, &settings, !peer.ip().to_canonical().is_loopback()) {
        return refuse(stream, refusal);
    }
    let local = stream.local_addr().map(|a| a.to_string()).unwrap_or_default();
    let fd = stream.as_raw_fd();
    let Ok(stream) = stream.into_std() else { return };
    admit(engine, workers, peer.to_string(), local, fd, 0, move || TcpStream::from_std(stream));
}

fn welcome_unix(stream: UnixStream, path: &str, engine: &Arc<Engine>, workers: &Arc<Workers>) {
    let settings = engine.settings();
    if let Some(refusal) = refusal(engine, &settings, false) {
        return refuse(stream, refusal);
    }
    let name = format!("{path}:0");
    let fd = stream.as_raw_fd();
    let Ok(stream) = stream.into_std() else { return };
    admit(engine, workers, name.clone(), name, fd, flag::UNIX, move || UnixStream::from_std(stream));
}

/// Why a new connection is not let in.
fn refusal(engine: &Engine, settings: &Settings, from_outside: bool) -> Option<&'static [u8]> {
    if engine.clients.len() as u64 >= settings.maxclients {
        engine.stats.counters.connections_rejected.fetch_add(1, Relaxed);
        return Some(MAX_CLIENTS);
    }
    if settings.protected_mode && !engine.acl.needs_password() && from_outside {
        engine.stats.counters.connections_rejected.fetch_add(1, Relaxed);
        return Some(PROTECTED);
    }
    None
}

fn refuse<S: Socket + 'static>(mut stream: S, refusal: &'static [u8]) {
    tokio::spawn(async move {
        let _ = stream.write_all(refusal).await;
        let _ = stream.shutdown().await;
    });
}

/// Registers the client and serves it on the least loaded worker.
fn admit<S: Halves>(
    engine: &Arc<Engine>,
    workers: &Arc<Workers>,
    addr: String,
    laddr: String,
    fd: i32,
    flags: u32,
    socket: impl FnOnce() -> std::io::Result<S> + Send + 'static,
) {
    engine.stats.counters.connections_received.fetch_add(1, Relaxed);
    let id = engine.clients.next_id();
    let handle = Arc::new(ClientHandle::new(id, addr, laddr, fd, clock::now_ms(), flags));
    engine.clients.add(handle.clone());
    let session = Session::new(handle, !engine.acl.needs_password());
    let (engine, on) = (engine.clone(), workers.place());
    let open = move |place| match socket() {
        Ok(socket) => Some(Conn::new(engine, place, socket, session)),
        Err(e) => {
            tracing::error!("Accepting client connection: {}", os_reason(&e));
            engine.clients.remove(id);
            None
        }
    };
    serve(workers.clone(), on, Box::new(open));
}

/// Makes a connection on the worker that is to serve it.
type Open<S> = Box<dyn FnOnce(Place) -> Option<Conn<S>> + Send>;

/// Serves the connection that `open` makes there, and wherever it moves.
fn serve<S: Halves>(workers: Arc<Workers>, (place, runtime): (Place, tokio::runtime::Handle), open: Open<S>) {
    runtime.spawn(async move {
        let Some(conn) = open(place) else { return };
        if let Some(moving) = conn.run().await {
            let on = workers.place_on(moving.to);
            // A socket that cannot come along is closed.
            serve(workers, on, Box::new(move |place| moving.arrive(place).ok()));
        }
    });
}
