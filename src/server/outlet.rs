//! A connection's way out: sends its replies, at once or at the end of the worker's round.
//!
//! Knows no request; what is to be sent was made by the connection, which leaves it here and takes the rest back.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream, tcp, unix};

use crate::exec::call::Socket;
use crate::exec::client::ClientHandle;
use crate::exec::engine::Engine;
use crate::exec::gate::WorkerId;
use crate::exec::round::{self, Outgoing};
use crate::resp::Reply;

/// Larger replies are sent at once: they need no company to be worth a system call.
const LATER_MAX: usize = 64 << 10;

/// A socket that is read at one place and written at another.
pub trait Halves: Socket + Sized + 'static {
    type Reader: AsyncRead + Unpin + Send;
    type Writer: AsyncWrite + Unpin + Send;
    /// The socket of no runtime.
    type Bare: Send + 'static;

    fn bare(self) -> io::Result<Self::Bare>;
    /// A socket of the runtime that this is called in.
    fn dress(bare: Self::Bare) -> io::Result<Self>;
    fn halves(self) -> (Self::Reader, Self::Writer);
    /// The socket that both came from.
    fn whole(reader: Self::Reader, writer: Self::Writer) -> Option<Self>;
    fn poll_readable(reader: &Self::Reader, cx: &mut Context<'_>) -> Poll<()>;
    /// Writes what the socket takes without waiting.
    fn try_write(writer: &Self::Writer, bytes: &[u8]) -> io::Result<usize>;
}

macro_rules! halves {
    ($socket:ty, $bare:ty, $reader:ty, $writer:ty) => {
        impl Halves for $socket {
            type Reader = $reader;
            type Writer = $writer;
            type Bare = $bare;

            fn bare(self) -> io::Result<Self::Bare> {
                self.into_std()
            }

            fn dress(bare: Self::Bare) -> io::Result<Self> {
                Self::from_std(bare)
            }

            fn halves(self) -> (Self::Reader, Self::Writer) {
                self.into_split()
            }

            fn whole(reader: Self::Reader, writer: Self::Writer) -> Option<Self> {
                reader.reunite(writer).ok()
            }

            fn poll_readable(reader: &Self::Reader, cx: &mut Context<'_>) -> Poll<()> {
                // What is wrong with it, reading tells.
                reader.as_ref().poll_read_ready(cx).map(drop)
            }

            fn try_write(writer: &Self::Writer, bytes: &[u8]) -> io::Result<usize> {
                writer.try_write(bytes)
            }
        }
    };
}

halves!(TcpStream, std::net::TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf);
halves!(UnixStream, std::os::unix::net::UnixStream, unix::OwnedReadHalf, unix::OwnedWriteHalf);

pub struct Outlet<S: Halves> {
    engine: Arc<Engine>,
    worker: WorkerId,
    handle: Arc<ClientHandle>,
    inner: Mutex<Inner<S::Writer>>,
}

struct Inner<W> {
    /// `None`: closed.
    writer: Option<W>,
    /// What the connection left here.
    out: Reply,
    /// The end of the round will come by.
    listed: bool,
}

impl<S: Halves> Outlet<S> {
    pub fn new(engine: Arc<Engine>, worker: WorkerId, handle: Arc<ClientHandle>, writer: S::Writer) -> Self {
        let inner = Inner { writer: Some(writer), out: Reply::default(), listed: false };
        Self { engine, worker, handle, inner: Mutex::new(inner) }
    }

    /// Leaves what is to be sent here until the end of the round; false if that is not the way for it.
    pub fn give(self: &Arc<Self>, out: &mut Reply) -> bool {
        if out.is_empty() || out.as_slice().is_none_or(|all| all.len() > LATER_MAX) {
            return false;
        }
        let mut inner = self.inner.lock();
        std::mem::swap(&mut inner.out, out);
        if std::mem::replace(&mut inner.listed, true) {
            return true;
        }
        drop(inner);
        if round::send_at_end(self) {
            return true;
        }
        self.inner.lock().listed = false;
        self.take_back(out);
        false
    }

    /// Takes back what was given, without what was sent of it.
    pub fn take_back(&self, out: &mut Reply) {
        std::mem::swap(&mut self.inner.lock().out, out);
    }

    /// Sends all of it.
    pub fn poll_send(&self, out: &mut Reply, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.inner.lock();
        let Some(writer) = &mut inner.writer else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        let mut sent = 0;
        let result = loop {
            if out.is_empty() {
                break Poll::Ready(Ok(()));
            }
            let polled = match out.as_slice() {
                Some(all) => Pin::new(&mut *writer).poll_write(cx, all),
                None => {
                    let mut slices = [io::IoSlice::new(&[]); 16];
                    let n = out.io_slices(&mut slices);
                    Pin::new(&mut *writer).poll_write_vectored(cx, &slices[..n])
                }
            };
            match polled {
                Poll::Ready(Ok(0)) => break Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => {
                    sent += n;
                    out.advance(n);
                }
                Poll::Ready(Err(e)) => break Poll::Ready(Err(e)),
                Poll::Pending => break Poll::Pending,
            }
        };
        self.count(sent, out);
        result
    }

    fn count(&self, sent: usize, rest: &Reply) {
        if sent != 0 {
            self.engine.stats.network(self.worker.0, 0, sent);
            self.handle.net_out_bytes.fetch_add(sent as u64, Relaxed);
            // What was sent is given back.
            self.handle.reply_capacity_bytes.store(rest.memory_bytes(), Relaxed);
        }
        self.handle.out_bytes.store(rest.len(), Relaxed);
    }

    /// Gives the socket's half back; nothing more is sent here.
    pub fn close(&self) -> Option<S::Writer> {
        self.inner.lock().writer.take()
    }

    /// Whether all is sent.
    fn send_some(&self, inner: &mut Inner<S::Writer>) -> bool {
        let (Some(writer), Some(all)) = (&inner.writer, inner.out.as_slice().filter(|all| !all.is_empty())) else {
            return true;
        };
        let sent = S::try_write(writer, all).unwrap_or(0);
        inner.out.advance(sent);
        self.count(sent, &inner.out);
        inner.out.is_empty()
    }
}

impl<S: Halves> Outgoing for Outlet<S> {
    fn send(&self) {
        let mut inner = self.inner.lock();
        inner.listed = false;
        if !self.send_some(&mut inner) {
            drop(inner);
            // It waits for the socket, or learns what is wrong with it.
            self.handle.announce();
        }
    }
}
