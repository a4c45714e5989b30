//! REPLICA VERIFY: whether our replicas hold what we hold, at one exact offset, while everybody goes on.
//!
//! ```text
//!   we                                         a replica, on a connection beside its link
//!   PREPARE id ------------------------------> waits for its turn to walk its data
//!   HOLD ------------------------------------> applies no more of the stream, for a moment
//!   all gates: our cut, at offset N
//!   AT N ------------------------------------> applies up to N: its cut; the stream goes on
//!   walk, add up                               walk, add up
//!             <------------------------------- what its parts add up to
//! ```
//! A stock replica knows none of this, and nothing of it is ever put into the stream. Where two differ, the part that does
//! is looked at once more, key by key. Then each replica is asked to verify its own replicas, and what it answers is passed
//! on: so a whole tree is verified hop by hop, each hop at an offset of its own. Nobody waits for a verification who wants
//! to make a snapshot: it gives way, at either end, and says so.
//!
//! Here are the commands; the replica's half is in [`cut`], the connection in [`peer`], what is made of the answers in
//! [`compare`].

mod compare;
mod cut;
mod peer;
mod report;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::brake::Brake;
use super::master::Phase;
use super::note::address;
use super::state::Repl;
use crate::base::Error;
use crate::exec::Session;
use crate::exec::call::{Call, Completion, Flow, SessionCommand, Wait};
use crate::exec::help::help;
use crate::resp::Reply;
use crate::spec::prelude::*;

pub const REPLICA: Row = Row {
    name: "replica",
    arity: -2,
    flags: SESSION,
    since: "7.2.4",
    complexity: "That of the subcommand",
    summary: "Looks after the replicas of this server.",
    ..Row::EMPTY
};

pub const REPLICA_CUT: Row = Row {
    name: "replica|cut",
    arity: -3,
    syntax: "step:(prepare:{replid=PREPARE part:integer}|hold:HOLD|offset:integer=AT)",
    flags: ADMIN.or(NOSCRIPT).or(NO_MULTI).or(SESSION),
    since: "7.2.4",
    complexity: "O(N), N being the size of the data set",
    summary: "Serves the REPLICA VERIFY of this server's master.",
    doc: Doc::System,
    ..Row::EMPTY
};

pub const REPLICA_HELP: Row = Row {
    name: "replica|help",
    arity: 2,
    flags: LOADING.or(STALE).or(SESSION),
    since: "7.2.4",
    complexity: "O(1)",
    summary: "Lists the subcommands of REPLICA.",
    ..Row::EMPTY
};

pub const REPLICA_VERIFY: Row = Row {
    name: "replica|verify",
    arity: -2,
    syntax: "[replica]",
    flags: ADMIN.or(NOSCRIPT).or(NO_MULTI).or(SESSION),
    tips: &["nondeterministic_output"],
    since: "7.2.4",
    complexity: "O(N), N being the size of the data set",
    summary: "Compares every replica, or the one at ip:port, and those below, with their masters, each at one exact offset.",
    ..Row::EMPTY
};

pub const COMMANDS: &[SessionCommand] = &[
    SessionCommand { row: &REPLICA_CUT, run: cut::cut },
    SessionCommand { row: &REPLICA_HELP, run: help },
    SessionCommand { row: &REPLICA_VERIFY, run: verify },
];

/// How long to wait until a snapshot that is under way is done.
const TURN_PATIENCE: Duration = Duration::from_secs(5);

/// Why a cut was given up: a save and a full sync matter more.
const FOR_SNAPSHOT: &str = "a snapshot was begun there meanwhile";

/// What a node has to do with verifications, as master and as replica.
#[derive(Default)]
pub struct Verification {
    pub(super) brake: Brake,
    /// One is under way here, as a master.
    running: AtomicBool,
    /// One is under way here, as a replica.
    cutting: Mutex<Option<cut::Job>>,
}

/// A replica to be asked.
#[derive(Clone, Debug)]
struct Target {
    name: String,
    host: String,
    port: u16,
    /// It gets the stream.
    online: bool,
}

fn targets(repl: &Repl) -> Vec<Target> {
    let replicas = repl.replicas();
    let target = |r: &super::master::Replica| Target {
        name: r.name(),
        host: r.host().to_owned(),
        port: r.greeting.listening_port,
        online: r.phase == Phase::Online,
    };
    replicas.iter().map(target).collect()
}

fn verify(call: &mut Call<'_>) -> Result<Flow, Error> {
    if call.argv.len() > 3 {
        return Err(Error::Arity(call.row.name.to_owned()));
    }
    let (engine, repl) = (call.engine.clone(), Repl::of(call.engine));
    let mut targets = targets(&repl);
    if let Some(wanted) = call.argv.get(2) {
        let wanted = String::from_utf8_lossy(wanted);
        targets.retain(|t| t.name == *wanted || address(&t.host, t.port) == *wanted);
        if targets.is_empty() {
            return Err(Error::Text(format!("ERR no replica of this server is '{wanted}'").into()));
        }
    }
    if repl.waits_for_own_master(&engine) {
        return Err(Error::text("ERR this server is not in step with its own master"));
    }
    if repl.verification.running.swap(true, Relaxed) {
        return Err(Error::text("ERR another REPLICA VERIFY is under way"));
    }
    let (tell, told) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let running = Running(repl.clone());
        let rows = compare::run(&engine, &repl, &targets, &|| !tell.is_closed());
        // Whoever hears the answer may ask again.
        drop(running);
        // Whoever asked may have left.
        let _ = tell.send(rows);
    });
    Ok(later(async move {
        match told.await {
            Ok(rows) => report::write(rows),
            Err(_) => failed("ERR the verification was given up".to_owned()),
        }
    }))
}

/// Under way, until dropped.
struct Running(Arc<Repl>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.verification.running.store(false, Relaxed);
    }
}

/// The reply comes when this is done; only its own connection waits.
fn later(done: impl Future<Output = Completion> + Send + 'static) -> Flow {
    Flow::Wait(Wait { done: Some(Box::pin(done)), timeout_ms: 0, ending: None })
}

fn failed(line: String) -> Completion {
    Box::new(move |_: &mut Session, out: &mut Reply| out.error_line(&line))
}
