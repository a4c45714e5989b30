//! What a session command gets and gives: commands that need the connection or the server, not only data.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::client::End;
use super::engine::Engine;
use super::gate::WorkerId;
use super::session::Session;
use crate::base::Error;
use crate::cmd::{DataFn, Effect};
use crate::resp::{Argv, Reply};
use crate::spec::{Args, Row};

pub type SessionFn = fn(&mut Call<'_>) -> Result<Flow, Error>;

/// A row and the handler that carries it out.
pub struct SessionCommand {
    pub row: &'static Row,
    pub run: SessionFn,
}

/// How a command of the table is carried out.
#[derive(Clone, Copy)]
pub enum Handler {
    Data(DataFn),
    Session(SessionFn),
    /// EXEC: the runner's own.
    Exec,
    /// A container of subcommands without an action of its own.
    Container,
}

/// What a blocked command writes when its wait is over.
pub type Completion = Box<dyn FnOnce(&mut Session, &mut Reply) + Send>;
/// The same, told how the wait ended.
pub type Ending = Box<dyn FnOnce(End, &mut Session, &mut Reply) + Send>;

/// What a blocked command waits for. Dropped when its client leaves.
pub struct Wait {
    /// Ready when that has come about; `None` if somebody else will say so at the client's handle.
    pub done: Option<Pin<Box<dyn Future<Output = Completion> + Send>>>,
    /// From now on; 0: without end.
    pub timeout_ms: i64,
    /// What others, and the time, end it with; `None`: they cannot.
    pub ending: Option<Ending>,
}

/// A connection's socket, whatever its kind.
pub trait Socket: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send {
    /// Whether small pieces are sent at once; means nothing to a socket that always does so.
    fn set_nodelay(&self, _yes: bool) {}
}

impl Socket for tokio::net::TcpStream {
    fn set_nodelay(&self, yes: bool) {
        // A matter of speed only.
        let _ = tokio::net::TcpStream::set_nodelay(self, yes);
    }
}

impl Socket for tokio::net::UnixStream {}
impl Socket for tokio::io::DuplexStream {}

/// Takes a connection over for good (a replica's feed): the socket, the session, and bytes received but not parsed.
pub type Takeover =
    Box<dyn FnOnce(Box<dyn Socket>, Session, Vec<u8>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// What the connection does after a command.
pub enum Flow {
    Done,
    /// Send what there is to send, then close.
    Close,
    /// The reply comes later. Only the connection waits; CLIENT UNBLOCK and a disconnect end it.
    Wait(Wait),
    /// Another protocol begins on this connection.
    Takeover(Takeover),
}

/// One session command being carried out.
pub struct Call<'a> {
    pub engine: &'a Arc<Engine>,
    pub session: &'a mut Session,
    pub argv: Argv<'a>,
    pub out: &'a mut Reply,
    pub row: &'static Row,
    pub worker: WorkerId,
    /// Unix time in ms, frozen for the unit.
    pub now_ms: i64,
    /// What replicas are told; `Effect::None` unless the handler says otherwise.
    pub effect: Effect,
    /// Inside EXEC nothing can be waited for.
    pub in_exec: bool,
}

impl<'a> Call<'a> {
    /// A cursor over the arguments, behind the name (and the subcommand's name).
    pub fn args(&self) -> Args<'a> {
        let names = 1 + usize::from(self.row.split_name().0.is_some());
        Args::new(self.row.name, self.argv, names)
    }
}
