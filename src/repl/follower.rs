//! Following a master: the role of this node, and whoever drives the link to the master.
//!
//! The link's state machine stands behind one lock; REPLICAOF, the ticker and the connection's task step it, and what it
//! asks for is done there and then. A connection belongs to an attempt, numbered: closing it or beginning another makes
//! the number void, and what the old one's task or loader still brings is not looked at.
//!
//! Locks: gates before the link's lock, never the other way round; the role changes with both held. So behind any gate
//! the role stands still, and a task that finds its attempt current there may act on it. Must not know what the
//! connection carries: that is `link`, `receive` and `apply`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;

use super::fence;
use super::handover;
use super::handshake::{Action, Event, LinkConfig, LinkState, MasterLink, ack};
use super::id::Resume;
use super::link;
use super::state::{self, Repl};
use crate::base::{clock, log};
use crate::exec::block;
use crate::exec::engine::Engine;
use crate::exec::gate::{AllGates, step_aside};

/// The replica's half of replication; a part of the engine.
pub struct Follower {
    pub(super) engine: Arc<Engine>,
    pub(super) repl: Arc<Repl>,
    runtime: Handle,
    link: Mutex<Link>,
    /// The attempt that counts.
    attempt: AtomicU64,
    /// Held by the thread that loads: a new transfer waits until an abandoned one has cleaned up.
    pub(super) loading: Mutex<()>,
}

struct Link {
    machine: MasterLink,
    task: Option<AbortHandle>,
    /// Towards the master's socket.
    out: Option<UnboundedSender<Vec<u8>>>,
}

/// What is behind an attempt's number.
pub(super) type Attempt = u64;

/// How a role changes: with every gate held by the caller, or with the gates to be taken.
pub enum Hold<'a> {
    /// Inside EXEC, which holds all gates. What it has changed so far is not in the log yet.
    Held,
    Take(&'a Engine),
}

impl<'a> Hold<'a> {
    fn take(&self) -> Option<AllGates<'a>> {
        match self {
            Self::Held => None,
            Self::Take(engine) => Some(step_aside(|| engine.gates.take_all())),
        }
    }
}

impl Follower {
    /// `runtime` carries the connection and applies the stream.
    pub fn new(engine: Arc<Engine>, repl: Arc<Repl>, runtime: Handle) -> Arc<Self> {
        let link = Link { machine: MasterLink::new(LinkConfig::default()), task: None, out: None };
        Arc::new(Self {
            engine,
            repl,
            runtime,
            link: Mutex::new(link),
            attempt: AtomicU64::new(0),
            loading: Mutex::new(()),
        })
    }

    /// Begins to tick, and to follow the master that the configuration names. `held`: the history of the file that was
    /// loaded, if it told; the log stands at its offset already and knows the database selected there.
    pub fn start(self: &Arc<Self>, held: Option<Resume>) {
        let me = self.clone();
        self.runtime.spawn(async move {
            let mut second = tokio::time::interval(Duration::from_secs(1));
            loop {
                second.tick().await;
                me.step(None, Event::Tick);
            }
        });
        // Clients are served already: what one of them has asked for since stands.
        let _gates = self.engine.gates.take_all();
        let follows = self.link.lock().machine.master().is_some();
        if let Some((host, port)) = self.engine.settings().replicaof.clone().filter(|_| !follows) {
            self.engine.state.set_role(true);
            log::set_role('S');
            self.step(None, Event::Restart { host, port, held });
        }
    }

    /// REPLICAOF host port.
    pub fn follow(self: &Arc<Self>, hold: Hold<'_>, host: String, port: u16, failover: bool) {
        let gates = hold.take();
        let engine = &self.engine;
        let standing = if engine.state.is_replica() { self.standing() } else { self.repl.name_to_go_on_by(engine) };
        if !engine.state.is_replica() {
            // As a replica we will need to know where we stand, whether or not anybody follows us.
            engine.log.create_backlog();
            self.repl.drop_syncing_replicas(engine);
        }
        block::end_all(engine);
        engine.state.set_role(true);
        log::set_role('S');
        // Inside EXEC our data is ahead of the log by what the transaction did.
        let held = matches!(hold, Hold::Take(_)).then_some(standing);
        engine.config.update(|s| s.replicaof = Some((host.clone(), port)));
        self.step(None, Event::SetMaster { host, port, held, failover });
        drop(gates);
    }

    /// REPLICAOF NO ONE. Nothing happens on a master.
    pub fn lead(self: &Arc<Self>, hold: Hold<'_>) {
        let gates = hold.take();
        let engine = &self.engine;
        if !engine.state.is_replica() {
            return;
        }
        engine.state.set_role(false);
        engine.state.link_up.store(false, Relaxed);
        log::set_role('M');
        engine.config.update(|s| s.replicaof = None);
        self.step(None, Event::Unset);
        self.repl.promote(engine);
        drop(gates);
    }

    /// Where the data of this node stands.
    pub(super) fn standing(&self) -> Resume {
        Resume { replid: self.repl.replid(), offset: self.engine.log.end_offset() }
    }

    /// Whether this attempt still counts. Only behind a gate, or with the answer put to no use but to give up, is
    /// there something to be had from it.
    pub(super) fn is_current(&self, attempt: Attempt) -> bool {
        self.attempt.load(Relaxed) == attempt
    }

    /// Tells the state machine what happened; does what it asks for. Gives back what only the connection's task can do,
    /// or `None` if the event came from an attempt that no longer counts.
    pub(super) fn step(self: &Arc<Self>, from: Option<Attempt>, event: Event) -> Option<Vec<Action>> {
        self.drive(from, |machine, now_ms, actions| machine.step(now_ms, event, actions)).map(|(left, ())| left)
    }

    /// Hands the handshake's bytes over. Gives also how many of them were used.
    pub(super) fn receive(self: &Arc<Self>, from: Attempt, bytes: &[u8]) -> Option<(Vec<Action>, usize)> {
        self.drive(Some(from), |machine, now_ms, actions| machine.receive(now_ms, bytes, actions))
    }

    /// REPLICAOF … FORCE, with the master that is followed already.
    pub fn force(self: &Arc<Self>) {
        self.step(None, Event::Force);
    }

    /// Whether the transfer under way may have to be refused.
    pub(super) fn is_doubtful(&self, from: Attempt) -> bool {
        let link = self.link.lock();
        self.is_current(from) && link.machine.is_doubtful()
    }

    /// A transfer brings so many keys. `None` if it is not to take the place of what is held.
    pub(super) fn offered(self: &Arc<Self>, from: Attempt, keys: u64) -> Option<()> {
        let held = self.engine.ks.keys();
        let (_, taken) =
            self.drive(Some(from), |machine, now_ms, actions| machine.offered(now_ms, held, keys, actions))?;
        taken.then_some(())
    }

    /// Ends a link on which the master was not heard for too long.
    pub(super) fn time_out(self: &Arc<Self>, from: Attempt) -> Option<()> {
        let held = Some(self.standing());
        let lost = |machine: &mut MasterLink, now_ms: i64, actions: &mut Vec<Action>| {
            if machine.timed_out(now_ms, actions) {
                machine.step(now_ms, Event::Lost { error: "timeout".into(), held }, actions);
            }
        };
        self.drive(Some(from), lost).map(|_| ())
    }

    fn drive<R>(
        self: &Arc<Self>,
        from: Option<Attempt>,
        f: impl FnOnce(&mut MasterLink, i64, &mut Vec<Action>) -> R,
    ) -> Option<(Vec<Action>, R)> {
        let mut link = self.link.lock();
        if from.is_some_and(|attempt| !self.is_current(attempt)) {
            return None;
        }
        link.machine.config = self.link_config();
        let mut actions = Vec::new();
        let result = f(&mut link.machine, clock::now_ms(), &mut actions);
        self.tell_status(&link.machine);
        Some((self.perform(&mut link, actions), result))
    }

    /// For INFO and ROLE.
    fn tell_status(&self, machine: &MasterLink) {
        let status = &self.repl.link;
        let state = machine.state();
        status.last_io_ms.store(machine.heard_ms(), Relaxed);
        if state != status.state() {
            status.set_state(state);
            status.sync_in_progress.store(state == LinkState::Sync, Relaxed);
        }
        *status.fenced.lock() = machine.fenced();
        let down = if state == LinkState::Connected { -1 } else { machine.down_since_ms().unwrap_or(0) };
        status.down_since_ms.store(down, Relaxed);
        let master = machine.master().map(|(host, port)| (host.to_owned(), port));
        if master != status.master() {
            status.set_master(master);
        }
    }

    fn perform(self: &Arc<Self>, link: &mut Link, actions: Vec<Action>) -> Vec<Action> {
        let mut left = Vec::new();
        for action in actions {
            match action {
                Action::Log(note) => state::log(note),
                Action::Connect { host, port } => {
                    let attempt = self.next_attempt();
                    let (out, mail) = unbounded_channel();
                    let task = self.runtime.spawn(link::run(self.clone(), attempt, host, port, mail));
                    link.task = Some(task.abort_handle());
                    link.out = Some(out);
                }
                Action::Send(bytes) => send(link, bytes),
                Action::Close => {
                    self.next_attempt();
                    link.out = None;
                    if let Some(task) = link.task.take() {
                        task.abort();
                    }
                }
                Action::SendAck => send(link, self.ack()),
                Action::State(state) => {
                    self.engine.state.link_up.store(state == LinkState::Connected, Relaxed);
                }
                Action::FailoverAnswered { accepted } => {
                    // It may change the role, for which the gates come before the lock that is held here.
                    let me = self.clone();
                    self.runtime.spawn_blocking(move || handover::answered(&me, accepted));
                }
                other @ (Action::BeginFullSync { .. } | Action::OpenRdbChannel | Action::Continue { .. }) => {
                    left.push(other)
                }
            }
        }
        left
    }

    fn next_attempt(&self) -> Attempt {
        self.attempt.fetch_add(1, Relaxed) + 1
    }

    /// How far the stream was applied, and with an append-only file how far that is on disk.
    fn ack(&self) -> Vec<u8> {
        let log = &self.engine.log;
        let on_disk = self.engine.durable.on_disk(log);
        ack(log.end_offset(), (on_disk >= 0).then_some(on_disk))
    }

    /// Says at once how far the stream was applied.
    pub(super) fn acknowledge(&self, attempt: Attempt) {
        let link = self.link.lock();
        if self.is_current(attempt) {
            send(&link, self.ack());
        }
    }

    pub(super) fn link_config(&self) -> LinkConfig {
        let s = self.engine.config.now();
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        LinkConfig {
            user: some(&s.masteruser).map(String::into_bytes),
            password: (!s.masterauth.is_empty()).then(|| s.masterauth.as_bytes().to_vec()),
            listening_port: if s.replica_announce_port != 0 { s.replica_announce_port } else { s.port },
            announce_ip: some(&s.replica_announce_ip),
            timeout_ms: s.repl_timeout.saturating_mul(1000),
            fence_keys: s.replica_lineage_fence.then_some(fence::MIN_KEYS),
            dual_channel: s.dual_channel_replication_enabled,
        }
    }
}

fn send(link: &Link, bytes: Vec<u8>) {
    if let Some(out) = &link.out {
        // A connection that is gone already tells so by another way.
        let _ = out.send(bytes);
    }
}
