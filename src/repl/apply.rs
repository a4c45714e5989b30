//! The master's stream: read, carried out, passed on to our own log byte for byte, and acknowledged.
//!
//! Requests go the way of all requests, so this file knows no command but REPLCONF GETACK, the one that is answered.
//! A transaction is passed on when its EXEC was carried out: what was received of one when the link breaks is asked for
//! again.

use std::borrow::Cow;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::MissedTickBehavior;

use super::handshake::Event;
use super::link::Connection;
use super::note::printable;
use super::state::Repl;
use crate::base::{clock, log, os_reason};
use crate::config::PropagationError;
use crate::exec::batch::{BATCH_MAX, Next, Passed, Runner};
use crate::exec::client::{ClientHandle, flag};
use crate::exec::engine::Engine;
use crate::exec::session::Session;
use crate::resp::{Argv, Batch, Input, Limits, Reply, encode_command};

/// What ended the stream.
enum Broken {
    /// The bytes are no requests: going on from here is out of the question.
    Protocol(String),
    /// The role changed: whoever changed it has ended the link.
    Stale,
}

struct Applier {
    engine: Arc<Engine>,
    repl: Arc<Repl>,
    role_epoch: u64,
    session: Session,
    input: Input,
    batch: Batch,
    /// The batch's first request that was not carried out.
    at: usize,
    /// CLIENT PAUSE holds that request; whether because it writes.
    paused: Option<bool>,
    /// The brake holds it.
    braked: bool,
    /// What was received of a transaction.
    unfinished: Passed,
    /// Nobody reads it.
    out: Reply,
    ack_wanted: bool,
}

enum Woken {
    Read(std::io::Result<usize>),
    Killed,
    Second,
    /// What was held up may go on.
    Over,
}

/// Applies the stream of an agreed link until its end.
pub(super) async fn stream(mut connection: Connection) {
    let follower = connection.follower.clone();
    let mut applier = Applier::new(&connection);
    applier.input.feed(&std::mem::take(&mut connection.received));
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        follower.repl.link.unapplied_since_ms.compare_exchange(0, clock::mono_ms(), Relaxed, Relaxed).ok();
        let applied = applier.apply();
        if !applier.is_held() {
            follower.repl.link.unapplied_since_ms.store(0, Relaxed);
        }
        match applied {
            Ok(()) => {}
            Err(Broken::Stale) => return,
            Err(Broken::Protocol(text)) => {
                log::warning!("{text}");
                follower.step(Some(connection.attempt), Event::Lost { error: text, held: None });
                return;
            }
        }
        if applier.engine.state.is_behind(true) {
            applier.engine.state.give_way().await;
        }
        if std::mem::take(&mut applier.ack_wanted) {
            follower.acknowledge(connection.attempt);
        }
        let error = loop {
            let handle = applier.session.handle.clone();
            let paused = applier.paused;
            // While the stream is held up it is kept, but not without end.
            let (held, braked) = (applier.is_held(), applier.braked);
            let may_read = !held || applier.input.buffered_bytes() < applier.held_max();
            if may_read && let Some(piece) = connection.early.pop_front() {
                connection.follower.repl.link.buffered_bytes.fetch_sub(piece.len() as u64, Relaxed);
                follower.repl.link.read_offset.fetch_add(piece.len() as i64, Relaxed);
                applier.input.feed(&piece);
                if !held {
                    break None;
                }
                continue;
            }
            let engine = applier.engine.clone();
            let woken = {
                let mut over = pin!(engine.pause.over(paused.unwrap_or(true)));
                let mut released = pin!(follower.repl.verification.brake.over(engine.log.end_offset()));
                let mut read = pin!(connection.socket.read_buf(applier.input.spare()));
                let mut tick = pin!(second.tick());
                std::future::poll_fn(|cx| {
                    handle.register(cx.waker());
                    if handle.is_killed() {
                        return Poll::Ready(Woken::Killed);
                    }
                    if paused.is_some() && over.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(Woken::Over);
                    }
                    if braked && released.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(Woken::Over);
                    }
                    if may_read && let Poll::Ready(result) = read.as_mut().poll(cx) {
                        return Poll::Ready(Woken::Read(result));
                    }
                    tick.as_mut().poll(cx).map(|_| Woken::Second)
                })
                .await
            };
            match woken {
                Woken::Read(Ok(n)) if n > 0 => {
                    connection.count(n);
                    handle.net_in_bytes.fetch_add(n as u64, Relaxed);
                    follower.repl.link.read_offset.fetch_add(n as i64, Relaxed);
                    if follower.step(Some(connection.attempt), Event::Heard).is_none() {
                        return;
                    }
                    if !held {
                        break None;
                    }
                }
                Woken::Over => break None,
                Woken::Read(Ok(_)) => break Some("Connection closed by the master".to_owned()),
                Woken::Read(Err(e)) => break Some(os_reason(&e)),
                Woken::Killed => break Some("Connection closed by CLIENT KILL".to_owned()),
                Woken::Second => {
                    // Ends the attempt, and this task with it, if the master is silent.
                    if follower.time_out(connection.attempt).is_none() {
                        return;
                    }
                }
            }
        };
        if let Some(error) = error {
            let held = Some(follower.standing());
            follower.step(Some(connection.attempt), Event::Lost { error, held });
            return;
        }
    }
}

impl Applier {
    fn new(connection: &Connection) -> Self {
        let engine = connection.follower.engine.clone();
        let now_ms = clock::now_ms();
        let id = engine.clients.next_id();
        let (peer, own) = (connection.peer.clone(), connection.own.clone());
        let handle = Arc::new(ClientHandle::new(id, peer, own, connection.fd, now_ms, flag::MASTER));
        engine.clients.add(handle.clone());
        let mut session = Session::new(handle, true);
        session.is_master_link = true;
        // A stream that goes on does not say again which database it selected.
        let db = engine.log.with(|log| log.selected_db()).unwrap_or(-1).max(0);
        session.select(db as usize);
        Self {
            role_epoch: connection.role_epoch,
            session,
            input: Input::new(Limits::master()),
            batch: Batch::default(),
            at: 0,
            paused: None,
            braked: false,
            unfinished: Passed::default(),
            out: Reply::new(2),
            ack_wanted: false,
            repl: connection.follower.repl.clone(),
            engine,
        }
    }

    /// Whether something keeps the next request from being applied.
    fn is_held(&self) -> bool {
        self.paused.is_some() || self.braked
    }

    fn held_max(&self) -> usize {
        self.engine.settings().client_query_buffer_limit as usize
    }

    /// Carries out what was received, as far as it goes.
    fn apply(&mut self) -> Result<(), Broken> {
        let engine = self.engine.clone();
        let mut runner = Runner::of_master(&engine, engine.gates.outsider(), self.role_epoch);
        runner.resume_stream(std::mem::take(&mut self.unfinished));
        self.session.handle.last_active_ms.store(runner.now_ms(), Relaxed);
        (self.paused, self.braked) = (None, false);
        let result = loop {
            if self.at < self.batch.len() {
                if let Err(broken) = self.apply_batch(&mut runner) {
                    break Err(broken);
                }
                if self.is_held() {
                    break Ok(());
                }
            }
            self.input.consume(&mut self.batch, self.at);
            self.at = 0;
            self.out.clear();
            if let Err(e) = self.input.next_batch(&mut self.batch, BATCH_MAX) {
                break Err(Broken::Protocol(format!("Protocol error ({e}) from the master; closing the link.")));
            }
            if self.batch.is_empty() {
                break Ok(());
            }
        };
        self.unfinished = runner.end_of_stream();
        self.repl.link.offset.store(engine.log.end_offset(), Relaxed);
        engine.log.notify_readers();
        if self.braked {
            self.repl.verification.brake.tell_stopped();
        }
        result
    }

    fn apply_batch(&mut self, runner: &mut Runner<'_>) -> Result<(), Broken> {
        let Self { session, input, batch, out, .. } = self;
        let from = self.at;
        let prepared = runner.prepare(session.db, (from..batch.len()).map(|i| batch.argv(input, i)));
        for (i, prepared) in (from..).zip(prepared) {
            self.at = i;
            if self.repl.verification.brake.is_pulled() && self.repl.verification.brake.stops(runner.stream_offset()) {
                self.braked = true;
                return Ok(());
            }
            let argv = batch.argv(input, i);
            if batch.is_inline(i) {
                return Err(Broken::Protocol(
                    "WARNING: Receiving inline protocol from master, master stream corruption? Closing the master \
                     connection and discarding the cached master."
                        .into(),
                ));
            }
            let wire = match batch.wire(input, i) {
                Some(wire) => Cow::Borrowed(wire),
                None => Cow::Owned(written_again(argv, batch.wire_bytes(i))?),
            };
            if is_getack(argv) {
                self.ack_wanted = true;
                runner.pass_on(session, &wire);
                continue;
            }
            let errors = out.errors();
            // A blocking command or a takeover has no meaning here: its effect, if any, comes as requests of its own.
            match runner.run_from_master(session, prepared, argv, &wire, out) {
                Next::Close => return Err(Broken::Stale),
                Next::Paused { writes } => {
                    self.paused = Some(writes);
                    return Ok(());
                }
                Next::More | Next::Wait(_) | Next::Takeover(_) => {}
            }
            if out.errors() != errors {
                complain(&self.engine, argv, out.last_error().unwrap_or_default());
            }
        }
        self.at = batch.len();
        Ok(())
    }
}

impl Drop for Applier {
    fn drop(&mut self) {
        self.session.close(&self.engine);
    }
}

/// The bytes of a request too long to be kept as it came. What it had more than we would write were ignored line ends.
fn written_again(argv: Argv<'_>, wire_bytes: usize) -> Result<Vec<u8>, Broken> {
    let mut request = Vec::new();
    encode_command(&mut request, argv.iter());
    let Some(ignored) = wire_bytes.checked_sub(request.len()) else {
        return Err(Broken::Protocol("The master's stream is not what a master writes; closing the link.".into()));
    };
    let mut wire = vec![b'\n'; ignored];
    wire.append(&mut request);
    Ok(wire)
}

fn is_getack(argv: Argv<'_>) -> bool {
    argv.len() == 3 && argv.word(0).eq_ignore_ascii_case(b"replconf") && argv.word(1).eq_ignore_ascii_case(b"getack")
}

/// A request of the master failed here: the two may hold different data.
#[cold]
fn complain(engine: &Engine, argv: Argv<'_>, error: &[u8]) {
    engine.stats.counters.unexpected_error_replies.fetch_add(1, Relaxed);
    let (error, command) = (printable(error), printable(argv.word(0)).to_ascii_lowercase());
    log::warning!(
        "== CRITICAL == This replica is sending an error to its master: '{error}' after processing the command \
         '{command}'"
    );
    match engine.settings().propagation_error_behavior {
        PropagationError::Ignore => {}
        PropagationError::Panic | PropagationError::PanicOnReplicas => {
            log::warning!("This replica panicked sending an error to its master, as propagation-error-behavior asks.");
            std::process::abort();
        }
    }
}
