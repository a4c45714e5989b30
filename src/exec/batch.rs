//! The way of a request: look up, admit, lock, run, tell the log, unlock. For clients and for a master's stream alike.
//!
//! Knows no socket: requests come parsed, replies go into a buffer.

mod ahead;
mod alone;
mod exec;
mod passed;
mod policy;
mod room;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use arc_swap::Guard;

pub use self::ahead::{Prepared, PreparedList, only_key};
pub use self::passed::Passed;
use self::policy::shares_integers;
pub use self::policy::touch_of;
use self::room::Room;
use super::block::{self, Service};
use super::call::{Call, Flow, Handler, Takeover, Wait};
use super::client::flag;
use super::engine::Engine;
use super::gate::{AllGates, Gate, WorkerId, step_aside};
use super::monitor::{note, show_if_watched as show};
use super::multi::Queued;
use super::propagate::{Effects, append_raw};
use super::session::Session;
use crate::base::{Error, clock, log};
use crate::cmd::{DataFn, Effect};
use crate::config::Settings;
use crate::keyspace::unit::Touch;
use crate::keyspace::{Data, ExpirePolicy, HeldShard, Unit};
use crate::resp::{Argv, Reply};
use crate::spec::{Entry, Flags, Row, flag as row_flag};

/// Requests prepared at once: enough to hide the memory's latency, few enough to stay in the nearest cache.
pub const BATCH_MAX: usize = 64;

/// Longest string that a master's command may make.
const MASTER_STRING_MAX: usize = u32::MAX as usize;

/// What the connection does next.
pub enum Next {
    More,
    Close,
    Wait(Wait),
    Takeover(Takeover),
    /// CLIENT PAUSE holds the command that was not executed.
    Paused {
        writes: bool,
    },
}

type Command = Entry<Handler>;

/// Whose requests these are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Client,
    /// The stream of our master: everything is admitted, nothing is told again.
    Master,
    /// An append-only file that is being loaded: likewise. Nobody counts its commands, nor holds them up.
    File,
}

// What the state of the server forbids at the moment; zero in the commonest case.
const LOADING: u32 = 1;
const STALE: u32 = 1 << 1;
const READ_ONLY: u32 = 1 << 2;
const NO_REPLICAS: u32 = 1 << 3;
const MISCONF: u32 = 1 << 4;
const OUT_OF_MEMORY: u32 = 1 << 5;
const ASYNC_LOADING: u32 = 1 << 6;
const AOF_FAILING: u32 = 1 << 7;

pub struct Runner<'e> {
    engine: &'e Arc<Engine>,
    worker: WorkerId,
    settings: Guard<Arc<Settings>>,
    source: Source,
    gate: Option<Gate<'e>>,
    /// Consecutive requests for one shard share a hold of its lock: many clients at one large value would else spend
    /// their time on handing the lock over.
    held: Option<HeldShard<'e>>,
    unit: Unit,
    forbidden: u32,
    /// The role (see `State::role_epoch`) for which `forbidden` holds; for a master's stream, the one it belongs to.
    role_epoch: u64,
    passed: Passed,
    /// The stream is no longer our master's: nothing more of it is carried out.
    stale: bool,
    room: Room,
    /// What clients write here is for our own file, and not in our master's stream.
    local: bool,
    /// Nothing out of the ordinary speaks for or against this client's next commands; see [`Runner::is_plain`].
    plain: bool,
    /// Clock of the last command's end, in `clock::ticks`.
    ticks: u64,
}

impl<'e> Runner<'e> {
    pub fn new(engine: &'e Arc<Engine>, worker: WorkerId, source: Source) -> Self {
        let mut me = Self {
            engine,
            worker,
            settings: engine.config.now(),
            source,
            gate: None,
            held: None,
            unit: Unit::default(),
            forbidden: 0,
            role_epoch: engine.state.role_epoch(),
            passed: Passed::default(),
            stale: false,
            room: Room::Unlimited,
            local: false,
            plain: false,
            ticks: clock::ticks(),
        };
        me.refresh();
        me
    }

    /// For the stream of the master that this node follows since `role_epoch`. Once the role changes nothing of it is
    /// carried out any more.
    pub fn of_master(engine: &'e Arc<Engine>, worker: WorkerId, role_epoch: u64) -> Self {
        let mut me = Self::new(engine, worker, Source::Master);
        me.role_epoch = role_epoch;
        me
    }

    /// Reads the clock and the server's state; again after every command that may have changed them.
    fn refresh(&mut self) {
        let (state, s) = (&self.engine.state, &**self.settings);
        self.unit.now_ms = clock::now_ms();
        self.unit.notify_mask = s.notify_keyspace_events.0;
        self.unit.touch = touch_of(s);
        self.unit.policy_touch = self.unit.touch;
        (self.unit.limits, self.unit.compress) = (s.limits(), s.rdbcompression);
        (self.unit.lazy_server_del, self.unit.lazy_expire) = (s.lazyfree_lazy_server_del, s.lazyfree_lazy_expire);
        self.unit.string_max = match self.source {
            Source::Client => s.proto_max_bulk_len as usize,
            // A master may allow more than we do. What no length field holds is nobody's will.
            Source::Master | Source::File => (s.proto_max_bulk_len as usize).max(MASTER_STRING_MAX),
        };
        if self.source == Source::Client {
            self.role_epoch = state.role_epoch();
        }
        let replica = state.is_replica();
        self.local = replica && !s.replica_read_only && s.appendonly && self.source == Source::Client;
        self.unit.policy = match self.source {
            Source::Master | Source::File => ExpirePolicy::Ignore,
            Source::Client if replica || self.engine.pause.current(self.unit.now_ms).is_some() => ExpirePolicy::Hide,
            Source::Client => ExpirePolicy::Delete,
        };
        self.unit.shares_integers = shares_integers(s);
        // What a file holds is not to be evicted before all of it is there.
        let unlimited = s.maxmemory == 0 || self.source == Source::File;
        self.room = if unlimited { Room::Unlimited } else { Room::Unknown };
        // Whether memory is short is found out before the next command.
        self.forbidden = if s.maxmemory == 0 { 0 } else { self.forbidden & OUT_OF_MEMORY };
        if self.source != Source::Client {
            return;
        }
        let mut forbid = |bit, when: bool| self.forbidden |= if when { bit } else { 0 };
        forbid(LOADING, state.is_loading());
        forbid(ASYNC_LOADING, state.async_loading.load(Relaxed));
        forbid(STALE, replica && !s.replica_serve_stale_data && !state.link_up.load(Relaxed));
        forbid(READ_ONLY, replica && s.replica_read_only);
        let short = s.min_replicas_to_write > 0 && s.min_replicas_max_lag > 0;
        forbid(
            NO_REPLICAS,
            short && !replica && i64::from(state.good_replicas.load(Relaxed)) < s.min_replicas_to_write,
        );
        let saves = !s.save.is_empty() && s.stop_writes_on_bgsave_error;
        forbid(MISCONF, saves && state.save_failed.load(Relaxed));
        forbid(AOF_FAILING, self.engine.durable.is_failing());
    }

    /// Bytes of replies for which this client would be closed at once.
    pub fn output_max(&self, session: &Session) -> usize {
        let classes = &self.settings.client_output_buffer_limit;
        let class = if session.subs.is_some() { &classes.pubsub } else { &classes.normal };
        if class.hard_bytes == 0 { usize::MAX } else { class.hard_bytes as usize }
    }

    /// The clock of the unit, unix ms.
    pub fn now_ms(&self) -> i64 {
        self.unit.now_ms
    }

    /// Carries out one request. `raw`: its own bytes, if they are canonical.
    #[inline]
    pub fn run(
        &mut self,
        session: &mut Session,
        prepared: Prepared<'e>,
        argv: Argv<'_>,
        raw: Option<&[u8]>,
        out: &mut Reply,
    ) -> Next {
        // The commonest case: one key, and all that `admit` and the end of `run_any` look at was looked at before.
        if self.plain
            && let (Some(command), Some(hash)) = (prepared.found, prepared.hash)
            && let Handler::Data(f) = command.handler
            && command.row.arity_ok(argv.len())
            && !command.row.flags.has(row_flag::EXCLUSIVE)
        {
            session.handle.last_command.store(u32::from(command.id.0), Relaxed);
            let failed_before = out.errors();
            let next = self.run_data(session, command, f, Some(hash), prepared.same_shard_next, argv, raw, out);
            if !matches!(next, Next::Paused { .. } | Next::Wait(_)) {
                self.count(session, command, argv, out.errors() != failed_before);
            }
            return next;
        }
        let next = self.run_any(session, prepared, argv, raw, out);
        self.plain = self.is_plain(session);
        next
    }

    /// Whether commands of this client need no look at anything but the data, until one of another kind was run. Others
    /// can change that meanwhile, and are heeded from the next batch on, or behind the gate.
    fn is_plain(&self, session: &Session) -> bool {
        self.source == Source::Client
            && self.forbidden == 0
            && matches!(self.room, Room::Unlimited)
            && session.is_plain()
            && self.engine.monitors.is_empty()
            && !self.engine.pause.is_possible()
    }

    fn run_any(
        &mut self,
        session: &mut Session,
        prepared: Prepared<'e>,
        argv: Argv<'_>,
        raw: Option<&[u8]>,
        out: &mut Reply,
    ) -> Next {
        let mark = out.mark();
        let mut pushes = false;
        let next = match self.admit(session, prepared, argv) {
            Ok(Admitted::Run(command)) => {
                pushes = command.row.flags.has_all(row_flag::PUBSUB.or(row_flag::WHILE_SUBSCRIBED));
                self.carry_out(session, command, prepared, argv, raw, out)
            }
            Ok(Admitted::Queued) => {
                out.queued();
                Next::More
            }
            Ok(Admitted::Paused { writes }) => return Next::Paused { writes },
            Err(e) => {
                if let Some(command) = prepared.found {
                    self.engine.stats.rejected(self.worker.0, command.id.0);
                }
                let refused_exec = prepared.found.is_some_and(|c| matches!(c.handler, Handler::Exec));
                if refused_exec {
                    // The transaction is over, if there was one, and the reply says why.
                    if session.multi.is_some() {
                        session.discard(self.engine);
                    }
                    self.fail(&Error::exec_refused(&e), out);
                } else {
                    if let Some(multi) = &mut session.multi {
                        multi.aborted = true;
                    }
                    self.fail(&e, out);
                }
                Next::More
            }
        };
        // The reply of a command that waits comes later; so does the question whether it is wanted.
        if !matches!(next, Next::Wait(_)) {
            session.mute(out, mark, pushes);
        }
        if !session.own_pushes.is_empty() {
            out.raw(&std::mem::take(&mut session.own_pushes));
        }
        if session.subs.is_some()
            && let Some(messages) = session.handle.mail()
        {
            // Events of its own commands, too, come to a client before the next reply.
            out.raw(&messages);
        }
        if session.close_after_reply { Next::Close } else { next }
    }

    fn fail(&self, e: &Error, out: &mut Reply) {
        self.engine.stats.error(e);
        out.error(e);
    }

    /// Carries out one request of the master's stream; `wire`: all its bytes, to be passed on to our own log.
    /// [`Next::Close`] once the stream is no longer our master's; with [`Next::Paused`] nothing was done.
    pub fn run_from_master(
        &mut self,
        session: &mut Session,
        prepared: Prepared<'e>,
        argv: Argv<'_>,
        wire: &[u8],
        out: &mut Reply,
    ) -> Next {
        if self.engine.durable.is_failing() {
            self.go_on_without_disk(prepared);
        }
        self.passed.take_in(wire, prepared.found.map_or(Flags::NONE, |command| command.row.flags));
        let next = self.run(session, prepared, argv, None, out);
        if self.stale {
            return Next::Close;
        }
        if let Next::Paused { .. } = next {
            self.passed.take_back(wire);
            return next;
        }
        self.passed.applied(session);
        next
    }

    /// Bytes of the stream that ask nothing of the data: they are passed on, and that is all.
    pub fn pass_on(&mut self, session: &Session, wire: &[u8]) {
        self.passed.take_aside(wire);
        self.passed.applied(session);
    }

    /// A replica that cannot write to disk what its master tells it stops, unless it is to go on.
    #[cold]
    fn go_on_without_disk(&self, prepared: Prepared<'_>) {
        let writes = prepared.found.is_some_and(|command| command.row.flags.has(row_flag::WRITE));
        if writes && !self.settings.replica_ignore_disk_write_errors {
            log::warning!("Replica was unable to write command to disk.");
            std::process::abort();
        }
    }

    /// Where the master's stream stands: behind what was carried out, whether it is in the log already or about to be.
    pub fn stream_offset(&self) -> i64 {
        self.engine.log.end_offset() + self.passed.due_bytes() as i64
    }

    /// Leaves the gate. Gives the part of a transaction that was received, for the next runner of this stream.
    pub fn end_of_stream(mut self) -> Passed {
        self.leave_gate();
        std::mem::take(&mut self.passed)
    }

    /// Goes on with a transaction whose beginning an earlier runner received.
    pub fn resume_stream(&mut self, unfinished: Passed) {
        self.passed = unfinished;
    }

    /// Behind a gate: what speaks against the command although it was admitted, since the role may have changed and a
    /// pause may have begun. Whoever pauses takes every gate once, and then knows that nothing slips in any more.
    #[inline]
    fn barred(&mut self, session: &Session, row: &Row, flags: Flags, out: &mut Reply) -> Option<Next> {
        if self.engine.pause.is_possible()
            && let Some(writes) = self.paused(session, flags)
        {
            return Some(Next::Paused { writes });
        }
        if self.role_epoch == self.engine.state.role_epoch() {
            None
        } else {
            self.refused_now(session, row, flags, out)
        }
    }

    #[cold]
    fn refused_now(&mut self, session: &Session, row: &Row, flags: Flags, out: &mut Reply) -> Option<Next> {
        match self.source {
            Source::Client => {}
            Source::Master => {
                self.stale = true;
                return Some(Next::More);
            }
            // It belongs to nobody else.
            Source::File => return None,
        }
        self.refresh();
        let e = self.check(session, row, flags).err()?;
        self.fail(&e, out);
        Some(Next::More)
    }

    /// Whether a command with these flags is held up at the moment, and if so, whether because it writes.
    #[cold]
    fn paused(&self, session: &Session, flags: Flags) -> Option<bool> {
        if self.source == Source::File {
            return None;
        }
        let writes = flags.has(row_flag::WRITE.or(row_flag::MAY_REPLICATE));
        let held = self.engine.pause.holds(self.unit.now_ms, writes) && !session.handle.has(flag::REPLICA);
        held.then_some(writes)
    }

    /// Whether the command may run now: the checks of a stock server, in its order.
    fn admit(&mut self, session: &mut Session, prepared: Prepared<'e>, argv: Argv<'_>) -> Result<Admitted<'e>, Error> {
        let command = match prepared.found {
            Some(command) => command,
            None => self.engine.table.resolve(&argv)?,
        };
        command.check_arity(&argv)?;
        let row = command.row;
        if row.flags.has(row_flag::PROTECTED) && !self.settings.enable_debug_command.allows(session.handle.is_local()) {
            return Err(const {
                Error::text(
                    "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run \
                     it from a local connection, otherwise you need to set this option in the configuration file, and \
                     then restart the server.",
                )
            });
        }
        if self.source == Source::Client && !session.authenticated && !row.flags.has(row_flag::NO_AUTH) {
            return Err(Error::NoAuth);
        }
        if session.multi.is_some() && row.flags.has(row_flag::NO_MULTI) {
            return Err(Error::text("ERR Command not allowed inside a transaction"));
        }
        self.look_at_memory();
        if self.source == Source::Client && (self.forbidden != 0 || session.subs.is_some()) {
            self.check(session, row, flags_of(session, command))?;
        }
        if session.multi.is_some() && !row.flags.has(row_flag::NOT_QUEUED) {
            self.queue(session, command, argv);
            return Ok(Admitted::Queued);
        }
        // A replica under a pause goes on receiving its master's stream, and holds it up as it holds up clients.
        if self.engine.pause.is_possible()
            && let Some(writes) = self.paused(session, flags_of(session, command))
        {
            return Ok(Admitted::Paused { writes });
        }
        Ok(Admitted::Run(command))
    }

    #[cold]
    fn check(&self, session: &Session, row: &Row, flags: Flags) -> Result<(), Error> {
        let has = |bit| self.forbidden & bit != 0;
        // What is queued takes memory too, without an end.
        if has(OUT_OF_MEMORY) && session.multi.is_some() && !flags.has(row_flag::ENDS_TRANSACTION) {
            return Err(Error::OutOfMemory);
        }
        refuse_write(self.engine, self.forbidden, flags)?;
        if session.proto == 2 && session.is_subscribed() && !flags.has(row_flag::WHILE_SUBSCRIBED) {
            return Err(Error::PubSubContext(row.name.to_owned()));
        }
        if has(STALE) && !flags.has(row_flag::STALE) {
            return Err(Error::MasterDown);
        }
        if has(LOADING) && !has(ASYNC_LOADING) && !flags.has(row_flag::LOADING) {
            return Err(Error::Loading);
        }
        if has(ASYNC_LOADING) && flags.has(row_flag::NO_ASYNC_LOADING) {
            return Err(Error::Loading);
        }
        Ok(())
    }

    fn queue(&self, session: &mut Session, command: &Command, argv: Argv<'_>) {
        let Some(multi) = &mut session.multi else { return };
        // EXEC will carry out nothing, so nothing needs keeping.
        if multi.aborted || session.watches.as_ref().is_some_and(|w| w.flag.load(Relaxed)) {
            return;
        }
        multi.push(Queued { id: command.id, argv: argv.to_owned() }, command.row.flags);
        session.handle.multi_len.store(multi.queue.len() as i64, Relaxed);
        session.handle.multi_bytes.store(multi.bytes, Relaxed);
    }

    fn carry_out(
        &mut self,
        session: &mut Session,
        command: &'e Command,
        prepared: Prepared<'e>,
        argv: Argv<'_>,
        raw: Option<&[u8]>,
        out: &mut Reply,
    ) -> Next {
        let (id, row) = (command.id, command.row);
        session.handle.last_command.store(u32::from(id.0), Relaxed);
        let is_exec = matches!(command.handler, Handler::Exec);
        if !is_exec && self.source != Source::File {
            show(self.engine, session, row, argv);
        }
        let failed_before = out.errors();
        let mut ran = false;
        let next = match command.handler {
            Handler::Data(f) => {
                let next = if row.runs_alone(&argv) {
                    self.run_alone(session, command, f, argv, raw, out)
                } else {
                    // Making room for writes takes locks of its own.
                    let keep = prepared.same_shard_next && self.forbidden == 0 && self.settings.maxmemory == 0;
                    self.run_data(session, command, f, prepared.hash, keep, argv, raw, out)
                };
                match next {
                    paused @ Next::Paused { .. } => return paused,
                    next => next,
                }
            }
            Handler::Session(f) => {
                self.leave_gate();
                let next = self.run_session(session, row, f, argv, raw, out);
                self.settings = self.engine.config.now();
                self.refresh();
                next
            }
            Handler::Exec => {
                self.leave_gate();
                match self.exec(session, row, out) {
                    Ok(done) => ran = done,
                    Err(paused) => return paused,
                }
                // Behind the commands it ran, as they were shown.
                if self.source != Source::File {
                    show(self.engine, session, row, argv);
                }
                self.refresh();
                Next::More
            }
            // Its arity let a call without subcommand pass.
            Handler::Container => {
                self.fail(&Error::Arity(row.name.to_owned()), out);
                Next::More
            }
        };
        if self.source == Source::File {
            return next;
        }
        // Who waits at keys is counted when the wait is over.
        if matches!(next, Next::Wait(_)) && matches!(command.handler, Handler::Data(_)) {
            self.ticks = clock::ticks();
        } else {
            // The errors of what EXEC ran are counted where they belong.
            self.count(session, command, argv, out.errors() != failed_before && !ran);
        }
        next
    }

    /// Counts a command that has just come to its end.
    #[inline]
    fn count(&mut self, session: &Session, command: &Command, argv: Argv<'_>, failed: bool) {
        let now = clock::ticks();
        let took_us = clock::ticks_to_us(now.saturating_sub(self.ticks));
        self.ticks = now;
        note(self.engine, &self.settings, self.worker, &session.handle, command, argv, took_us, failed);
    }

    /// A command that declares its keys.
    fn run_data(
        &mut self,
        session: &mut Session,
        command: &Command,
        f: DataFn,
        hash: Option<u64>,
        keep: bool,
        argv: Argv<'_>,
        raw: Option<&[u8]>,
        out: &mut Reply,
    ) -> Next {
        let engine = self.engine;
        let local = self.local && command.row.flags.has(row_flag::WRITE);
        let mut alone = None;
        if local {
            alone = Some(self.for_itself());
        }
        if local || self.gate.is_none() {
            if !local {
                self.gate = Some(engine.gates.pass(self.worker));
            }
            if let Some(barred) = self.barred(session, command.row, command.row.flags, out) {
                return barred;
            }
        }
        let (keep, policy) = (keep && !local, self.unit.policy);
        if local && policy == ExpirePolicy::Hide {
            self.unit.policy = ExpirePolicy::Local;
        }
        self.quiet(session);
        let mut args = command.args(argv);
        let shard = hash.map(|hash| engine.ks.shard_of(hash));
        if self.held.as_ref().is_some_and(|held| shard.is_none_or(|id| !held.is(id) || held.someone_waits())) {
            self.held = None;
        }
        if let Some(id) = shard.filter(|_| keep && self.held.is_none()) {
            self.held = Some(HeldShard::lock(&engine.ks, id)).filter(|held| !held.someone_waits());
        }
        let mut data = match (hash, &mut self.held) {
            (Some(hash), Some(held)) => {
                args = args.with_key_hash(1, hash);
                Data::within(&engine.ks, held, session.db, &mut self.unit)
            }
            (Some(hash), None) => {
                args = args.with_key_hash(1, hash);
                let mut data = Data::lock_one(&engine.ks, hash, session.db, &mut self.unit);
                if data.someone_waits() {
                    data.hold_for_waiters(&[hash]);
                }
                data
            }
            (None, _) => {
                let hashes = block::declared(command.row, argv);
                let mut data = Data::lock_many(&engine.ks, hashes.iter().copied(), session.db, &mut self.unit);
                if data.someone_waits() {
                    data.hold_for_waiters(&hashes);
                }
                data
            }
        };
        let mut next = Next::More;
        match f(&mut data, &mut args, out) {
            // The commonest case: a read that found nothing expired.
            Ok(Effect::None) if data.unit.gone.is_empty() => {}
            Ok(Effect::Block(mut wanted)) => {
                if self.source == Source::Client {
                    let mut effects = Effects::default();
                    effects.gone(&mut data.unit.gone);
                    effects.push(session.db, argv, raw, Effect::Many(std::mem::take(&mut wanted.told)));
                    if let Some(end) = effects.append(engine) {
                        session.last_write_offset = end;
                    }
                    let tried_us = clock::ticks_to_us(clock::ticks().saturating_sub(self.ticks));
                    let wait = block::begin(engine, self.worker, session, &mut data, command, argv, *wanted, tried_us);
                    next = Next::Wait(wait);
                }
            }
            Ok(effect) => {
                if self.source == Source::Client && engine.log.is_active() {
                    let end = match (&effect, raw) {
                        (Effect::Verbatim, Some(raw)) if data.unit.gone.is_empty() => {
                            append_raw(engine, session.db, argv, raw)
                        }
                        _ => {
                            let mut effects = Effects::default();
                            effects.gone(&mut data.unit.gone);
                            effects.push(session.db, argv, raw, effect);
                            effects.append(engine)
                        }
                    };
                    if let Some(end) = end {
                        session.last_write_offset = end;
                    }
                }
            }
            Err(e) => {
                let mut effects = Effects::default();
                if self.source == Source::Client {
                    effects.gone(&mut data.unit.gone);
                    effects.append(engine);
                }
                engine.stats.error(&e);
                out.error(&e);
            }
        }
        if self.source == Source::Master && !data.unit.ready.is_empty() {
            // Who is served now goes on behind it.
            self.passed.applied(session);
            self.passed.append(engine);
        }
        Service { engine, worker: self.worker, settings: &self.settings, forbidden: self.forbidden }
            .follow_up(&mut data);
        drop(data);
        if !keep {
            self.held = None;
        }
        if local {
            self.unit.policy = policy;
        }
        self.settle();
        drop(alone);
        next
    }

    /// A client's write on a replica is carried out alone: what was applied of the master's stream is in the log then, so
    /// that our own file has both in their order.
    #[cold]
    fn for_itself(&mut self) -> AllGates<'e> {
        self.leave_gate();
        step_aside(|| self.engine.gates.take_all())
    }

    fn run_session(
        &mut self,
        session: &mut Session,
        row: &'static Row,
        f: super::call::SessionFn,
        argv: Argv<'_>,
        raw: Option<&[u8]>,
        out: &mut Reply,
    ) -> Next {
        let engine = self.engine;
        let (effect, flow) = self.session_command(session, row, f, argv, out, false);
        if self.source == Source::Client && !matches!(effect, Effect::None) {
            // A cut must find the log's end where it was.
            let _gate = engine.gates.pass(self.worker);
            let mut effects = Effects::default();
            // A message to subscribers is for replicas alone.
            if row.flags.has(row_flag::PUBSUB) {
                effects.push_aside(session.db, argv, raw, effect);
            } else {
                effects.push(session.db, argv, raw, effect);
            }
            if let Some(end) = effects.append(engine) {
                session.last_write_offset = end;
            }
        }
        match flow {
            Flow::Done => Next::More,
            Flow::Close => Next::Close,
            Flow::Wait(wait) => {
                if wait.ending.is_some() {
                    session.handle.begin_wait(wait.timeout_ms != 0);
                }
                Next::Wait(wait)
            }
            Flow::Takeover(t) => Next::Takeover(t),
        }
    }

    fn session_command(
        &mut self,
        session: &mut Session,
        row: &'static Row,
        f: super::call::SessionFn,
        argv: Argv<'_>,
        out: &mut Reply,
        in_exec: bool,
    ) -> (Effect, Flow) {
        let mut call = Call {
            engine: self.engine,
            session,
            argv,
            out,
            row,
            worker: self.worker,
            now_ms: self.unit.now_ms,
            effect: Effect::None,
            in_exec,
        };
        match f(&mut call) {
            Ok(flow) => (call.effect, flow),
            Err(e) => {
                self.fail(&e, call.out);
                (Effect::None, Flow::Done)
            }
        }
    }

    /// CLIENT NO-TOUCH looks without leaving a trace.
    fn quiet(&mut self, session: &Session) {
        if session.handle.has(flag::NO_TOUCH) {
            self.unit.touch = Touch::No;
        }
    }

    /// After a unit: what it left behind goes where it belongs. What is only counted waits until the gate is left.
    #[inline]
    fn settle(&mut self) {
        if self.unit.left_something() {
            self.settle_all();
        }
    }

    fn settle_all(&mut self) {
        self.engine.settle(self.worker, &mut self.unit);
        if std::mem::take(&mut self.unit.flushed_all) {
            self.engine.flushed_all();
        }
    }

    /// Runs `f` behind this worker's gate: what it does is on one side of every cut.
    pub fn behind_gate<R>(&mut self, f: impl FnOnce(&Engine) -> R) -> R {
        self.held = None;
        if self.gate.is_none() {
            self.gate = Some(self.engine.gates.pass(self.worker));
        }
        f(self.engine)
    }

    /// Lets units that must run alone go first.
    #[inline]
    pub fn leave_gate(&mut self) {
        self.held = None;
        self.settle_all();
        if self.passed.is_due() {
            self.hand_over_passed();
        }
        self.gate = None;
    }

    #[cold]
    fn hand_over_passed(&mut self) {
        if self.gate.is_none() {
            // Only requests that need no gate came last.
            self.gate = Some(self.engine.gates.pass(self.worker));
            if self.role_epoch != self.engine.state.role_epoch() {
                self.stale = true;
                return;
            }
        }
        self.passed.append(self.engine);
    }
}

impl Drop for Runner<'_> {
    fn drop(&mut self) {
        self.leave_gate();
    }
}

/// Whether the state of the server is against a command with these flags because it may write.
pub(super) fn refuse_write(engine: &Engine, forbidden: u32, flags: Flags) -> Result<(), Error> {
    let writes = flags.has(row_flag::WRITE);
    let has = |bit| forbidden & bit != 0;
    if has(OUT_OF_MEMORY) && flags.has(row_flag::DENYOOM) {
        return Err(Error::OutOfMemory);
    }
    if has(MISCONF | AOF_FAILING) && (writes || flags.has(row_flag::TELLS_HEALTH)) {
        return Err(if has(MISCONF) { Error::MisconfSave } else { engine.durable.refusal() });
    }
    if has(NO_REPLICAS) && writes {
        return Err(Error::NoReplicas);
    }
    if has(READ_ONLY) && writes {
        return Err(Error::ReadOnly);
    }
    Ok(())
}

/// What a command's flags ask for; EXEC's are those of its queue as well.
fn flags_of(session: &Session, command: &Command) -> Flags {
    match (command.handler, &session.multi) {
        (Handler::Exec, Some(multi)) => multi.flags_of_exec(command.row.flags),
        (Handler::Data(_) | Handler::Session(_) | Handler::Container | Handler::Exec, _) => command.row.flags,
    }
}

enum Admitted<'e> {
    Run(&'e Command),
    Queued,
    Paused { writes: bool },
}
