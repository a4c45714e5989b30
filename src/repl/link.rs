//! The connection to the master: made, read and written. What is said on it is decided elsewhere: by the handshake's
//! state machine, by the receiver of a full resync, by the applier of the stream.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::BufMut;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::sync::mpsc::UnboundedReceiver;

use super::apply;
use super::follower::{Attempt, Follower};
use super::handshake::{Action, Event};
use super::id::{ReplId, Resume};
use super::rdb_channel::RdbChannel;
use super::receive;
use crate::base::os_reason;
use crate::config::Settings;
use crate::exec::gate::step_aside;

/// The reading side of an attempt.
pub(super) struct Connection {
    pub follower: Arc<Follower>,
    pub attempt: Attempt,
    pub socket: OwnedReadHalf,
    pub peer: String,
    pub own: String,
    pub fd: i32,
    /// The data the stream will apply to belongs to the role of this epoch.
    pub role_epoch: u64,
    /// Received and not yet looked at.
    pub received: Vec<u8>,
    /// The stream, as it came while the snapshot came over another connection; to be looked at before what comes next.
    pub early: VecDeque<Vec<u8>>,
}

/// What follows the handshake.
enum Agreed {
    FullSync(Option<Resume>),
    TwoChannels,
    Continue(Option<ReplId>),
}

/// Room for one read.
pub(super) const READ_BYTES: usize = 64 * 1024;

/// An attempt, from connecting to its end. It may be aborted wherever it waits; what it holds cleans up when dropped.
pub(super) async fn run(
    follower: Arc<Follower>,
    attempt: Attempt,
    host: String,
    port: u16,
    mail: UnboundedReceiver<Vec<u8>>,
) {
    let socket = match connect(&follower.engine.settings(), &host, port).await {
        Ok(socket) => socket,
        Err(e) => {
            follower.step(Some(attempt), Event::ConnectFailed(os_reason(&e)));
            return;
        }
    };
    let show = |address: io::Result<SocketAddr>| address.map(|a| a.to_string()).unwrap_or_default();
    let (peer, own, fd) = (show(socket.peer_addr()), show(socket.local_addr()), socket.as_raw_fd());
    let role_epoch = follower.engine.state.role_epoch();
    let (socket, writer) = socket.into_split();
    tokio::spawn(write(follower.clone(), attempt, writer, mail));
    if follower.step(Some(attempt), Event::Connected).is_none() {
        return;
    }
    let (received, early) = (Vec::new(), VecDeque::new());
    let connection = Connection { follower, attempt, socket, peer, own, fd, role_epoch, received, early };
    connection.serve(&host, port).await;
}

impl Connection {
    async fn serve(mut self, host: &str, port: u16) {
        let Some(agreed) = self.greet().await else { return };
        match agreed {
            Agreed::TwoChannels => {
                if self.by_two_channels(host, port).await.is_none() {
                    return;
                }
            }
            Agreed::FullSync(from) => {
                if receive::receive(&mut self, from).await.is_none() {
                    return;
                }
            }
            Agreed::Continue(new_replid) => {
                if self.go_on(new_replid).is_none() {
                    return;
                }
            }
        }
        apply::stream(self).await;
    }

    /// Reads more; `None`, after having told so, if there will be no more.
    pub async fn read(&mut self) -> Option<usize> {
        self.received.reserve(READ_BYTES);
        let read = self.socket.read_buf(&mut self.received).await;
        let error = match read {
            Ok(0) => "Connection closed by the master".to_owned(),
            Ok(n) => {
                self.count(n);
                return Some(n);
            }
            Err(e) => os_reason(&e),
        };
        self.follower.step(Some(self.attempt), Event::Lost { error, held: None });
        None
    }

    pub fn count(&self, n: usize) {
        let stats = &self.follower.engine.stats;
        stats.network(self.follower.engine.gates.outsider().0, n, 0);
        stats.counters.repl_in.fetch_add(n as u64, Relaxed);
    }

    async fn greet(&mut self) -> Option<Agreed> {
        loop {
            self.read().await?;
            let (actions, used) = self.follower.receive(self.attempt, &self.received)?;
            self.received.drain(..used);
            let mut agreed = None;
            for action in actions {
                match action {
                    Action::BeginFullSync { from } => agreed = Some(Agreed::FullSync(from)),
                    Action::OpenRdbChannel => agreed = Some(Agreed::TwoChannels),
                    Action::Continue { new_replid } => agreed = Some(Agreed::Continue(new_replid)),
                    Action::Log(_)
                    | Action::FailoverAnswered { .. }
                    | Action::Connect { .. }
                    | Action::Send(_)
                    | Action::Close
                    | Action::SendAck
                    | Action::State(_) => {}
                }
            }
            if agreed.is_some() {
                return agreed;
            }
        }
    }

    /// The snapshot over a connection of its own, what follows it over this one. `None` if the attempt is over.
    async fn by_two_channels(&mut self, host: &str, port: u16) -> Option<()> {
        let follower = self.follower.clone();
        // The writing half is kept: dropping it would end the connection.
        let (mut channel, _writer) = match self.open_rdb_channel(host, port).await {
            Ok(opened) => opened,
            Err(error) => {
                follower.step(Some(self.attempt), Event::ChannelFailed(error));
                return None;
            }
        };
        let Agreed::FullSync(from) = self.greet().await? else { return None };
        let mut kept = std::pin::pin!(self.keep_stream());
        let mut loaded = std::pin::pin!(receive::receive(&mut channel, from));
        std::future::poll_fn(|cx| {
            // It only ends with the attempt.
            let _ = kept.as_mut().poll(cx);
            loaded.as_mut().poll(cx)
        })
        .await
    }

    async fn open_rdb_channel(&self, host: &str, port: u16) -> Result<(Connection, OwnedWriteHalf), String> {
        let follower = &self.follower;
        let socket = connect(&follower.engine.settings(), host, port).await.map_err(|e| os_reason(&e))?;
        let fd = socket.as_raw_fd();
        let (socket, mut writer) = socket.into_split();
        let (mut machine, said) = RdbChannel::new(&follower.link_config());
        writer.write_all(&said).await.map_err(|e| os_reason(&e))?;
        let mut channel = Connection {
            follower: follower.clone(),
            attempt: self.attempt,
            socket,
            peer: self.peer.clone(),
            own: self.own.clone(),
            fd,
            role_epoch: self.role_epoch,
            received: Vec::new(),
            early: VecDeque::new(),
        };
        loop {
            channel.received.reserve(READ_BYTES);
            let n = channel.socket.read_buf(&mut channel.received).await.map_err(|e| os_reason(&e))?;
            if n == 0 {
                return Err("Connection closed by the master".into());
            }
            channel.count(n);
            let over = || "the attempt was given up".to_owned();
            follower.step(Some(self.attempt), Event::Heard).ok_or_else(over)?;
            let mut out = Vec::new();
            let (used, point) = machine.receive(&channel.received, &mut out)?;
            channel.received.drain(..used);
            if let Some(point) = point {
                follower.step(Some(self.attempt), Event::SnapshotPoint(point)).ok_or_else(over)?;
                return Ok((channel, writer));
            }
            writer.write_all(&out).await.map_err(|e| os_reason(&e))?;
        }
    }

    /// Takes in the stream while the snapshot is received and loaded, as much as may be held; the rest waits at the master,
    /// who is told nothing. Never ends.
    async fn keep_stream(&mut self) {
        let status = &self.follower.repl.link;
        let mut held = self.received.len();
        if held > 0 {
            self.early.push_back(std::mem::take(&mut self.received));
        }
        loop {
            status.buffered_bytes.store(held as u64, Relaxed);
            if held as u64 >= stream_limit(&self.follower.engine.settings()) {
                tracing::info!("Replication buffer limit reached, stopping buffering.");
                return std::future::pending().await;
            }
            // Small reads share a piece.
            if self.early.back().is_none_or(|piece| piece.capacity() - piece.len() < READ_BYTES / 2) {
                self.early.push_back(Vec::with_capacity(16 * READ_BYTES));
            }
            let Some(piece) = self.early.back_mut() else { continue };
            let mut room = piece.limit(piece.capacity() - piece.len());
            let error = match self.socket.read_buf(&mut room).await {
                Ok(0) => "Connection closed by the master".to_owned(),
                Ok(n) => {
                    held += n;
                    self.count(n);
                    continue;
                }
                Err(e) => os_reason(&e),
            };
            // If the snapshot is whole, it is loaded all the same, and the stream asked for again.
            self.follower.step(Some(self.attempt), Event::Lost { error, held: None });
            return std::future::pending().await;
        }
    }

    /// The master accepted a partial resync.
    fn go_on(&self, new_replid: Option<ReplId>) -> Option<()> {
        let follower = &self.follower;
        let engine = &follower.engine;
        let gates = step_aside(|| engine.gates.take_all());
        if !follower.is_current(self.attempt) {
            return None;
        }
        follower.repl.continue_as(engine, new_replid);
        let offset = engine.log.end_offset();
        follower.repl.link.offset.store(offset, Relaxed);
        follower.repl.link.read_offset.store(offset, Relaxed);
        drop(gates);
        Some(())
    }
}

/// What may be held of the stream during a load.
fn stream_limit(settings: &Settings) -> u64 {
    match (settings.replica_full_sync_buffer_limit, settings.client_output_buffer_limit.replica.hard_bytes) {
        (0, 0) => u64::MAX,
        (0, limit) | (limit, _) => limit,
    }
}

/// Sends what is put in, until the attempt ends.
async fn write(
    follower: Arc<Follower>,
    attempt: Attempt,
    mut writer: OwnedWriteHalf,
    mut mail: UnboundedReceiver<Vec<u8>>,
) {
    while let Some(bytes) = mail.recv().await {
        if let Err(e) = writer.write_all(&bytes).await {
            follower.step(Some(attempt), Event::WriteFailed(os_reason(&e)));
            return;
        }
    }
}

/// Connects to the first address of the host that takes us.
async fn connect(settings: &Settings, host: &str, port: u16) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "Name or service not known");
    for address in lookup_host((host, port)).await? {
        match connect_to(settings, address).await {
            Ok(socket) => return Ok(socket),
            Err(e) => failure = e,
        }
    }
    Err(failure)
}

async fn connect_to(settings: &Settings, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if let Ok(source) = settings.bind_source_addr.parse::<IpAddr>()
        && source.is_ipv4() == address.is_ipv4()
    {
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    let keepalive_s = settings.tcp_keepalive.max(0) as u64;
    if keepalive_s > 0 {
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(keepalive_s))
            .with_interval(Duration::from_secs((keepalive_s / 3).max(1)))
            .with_retries(3);
        // A convenience; the link has time-outs of its own.
        let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
    }
    Ok(stream)
}
