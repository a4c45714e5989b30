//! Blocking commands: a client waits at its keys until one of them has something for it.
//!
//! A handler that finds nothing says so with [`Effect::Block`], and its client joins the queues of its keys under the
//! locks of that attempt, so that nothing can come in between. The unit that changes one of the keys serves the queue
//! before it lets go of its own locks, and right after its own effect in the log, by running the waiter's handler again.
//! What that brings about (BLMOVE fills a key that others wait for) is served in the same go.
//!
//! How a wait ends is decided once, by whoever is first to say so at the client's handle: see [`End`]. Knows no command
//! and no socket.

use std::sync::Arc;

use smallvec::SmallVec;

use super::batch::refuse_write;
use super::call::{Completion, Ending, Handler, Wait};
use super::client::{ClientHandle, End, flag};
use super::engine::Engine;
use super::gate::{AllGates, WorkerId};
use super::monitor::note;
use super::propagate::Effects;
use super::session::Session;
use crate::base::clock;
use crate::cmd::{Block, Effect};
use crate::config::Settings;
use crate::keyspace::unit::Touch;
use crate::keyspace::{Data, ExpirePolicy, Key, Unit, Waiter};
use crate::resp::{Argv, OwnedArgv, Reply};
use crate::spec::{CommandId, Entry, KeyList, Row, keys};

/// CLIENT UNBLOCK … ERROR.
const UNBLOCKED: &str = "UNBLOCKED client unblocked via CLIENT UNBLOCK";
/// What was waited for may never come, or must not be taken, under another role.
const ROLE_CHANGED: &str =
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)";

/// A waiting client, and the request that it waits in.
struct Blocked {
    handle: Arc<ClientHandle>,
    command: CommandId,
    argv: OwnedArgv,
    proto: u8,
    /// How long the first attempt took: the command's time is that of its attempts, not of the wait.
    tried_us: u64,
}

/// Hashes of all keys that a request declares.
pub(super) fn declared(row: &Row, argv: Argv<'_>) -> SmallVec<[u64; 16]> {
    let mut found = KeyList::new();
    // Wrong keys: the handler finds the same and answers so, without touching any.
    let _ = keys::keys(row, &argv, &mut found);
    found.iter().map(|k| Key::new(argv.word(k.index as usize)).hash).collect()
}

/// The client begins to wait. The unit still holds the locks of the attempt that found nothing.
pub(super) fn begin(
    engine: &Arc<Engine>,
    worker: WorkerId,
    session: &Session,
    data: &mut Data<'_>,
    command: &Entry<Handler>,
    argv: Argv<'_>,
    block: Block,
    tried_us: u64,
) -> Wait {
    let handle = session.handle.clone();
    handle.begin_wait(block.timeout_ms != 0);
    let touches = declared(command.row, argv);
    let argv = block.argv.unwrap_or_else(|| argv.to_owned());
    let blocked = Blocked { handle, command: command.id, argv, proto: session.proto, tried_us };
    let waiter = Waiter::new(
        session.db,
        block.kind,
        block.on_gone,
        block.keys.iter().map(|key| &**key),
        &touches,
        Box::new(blocked),
    );
    data.enlist(&waiter);
    let place = Place { engine: engine.clone(), worker, waiter };
    Wait {
        done: None,
        timeout_ms: block.timeout_ms,
        ending: Some(Box::new(move |end, session, out| place.end(end, session, out))),
    }
}

/// A waiter's place in the queues, as its connection holds it: let go of, it is given up.
struct Place {
    engine: Arc<Engine>,
    worker: WorkerId,
    waiter: Arc<Waiter>,
}

impl Place {
    fn end(&self, end: End, session: &mut Session, out: &mut Reply) {
        match end {
            // Counted by whoever served.
            End::Served { mut reply, offset } => {
                out.append(&mut reply);
                session.last_write_offset = offset.unwrap_or(session.last_write_offset);
            }
            End::Timeout => {
                // Whatever the command: as stock.
                out.null_array();
                self.count(false);
            }
            End::Unblocked => {
                fail(&self.engine, UNBLOCKED, out);
                self.count(true);
            }
            End::RoleChanged => {
                fail(&self.engine, ROLE_CHANGED, out);
                session.close_after_reply = true;
                self.count(true);
            }
        }
    }

    /// The command is over without having been served.
    fn count(&self, failed: bool) {
        let Some(b) = self.waiter.who.downcast_ref::<Blocked>() else { return };
        let (engine, settings) = (&*self.engine, self.engine.config.now());
        let command = engine.table.get(b.command);
        note(engine, &settings, self.worker, &b.handle, command, b.argv.as_argv(), b.tried_us, failed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.waiter.is_listed() {
            return;
        }
        if let Some(b) = self.waiter.who.downcast_ref::<Blocked>() {
            // From here on nobody serves it: a key's element must not be popped for a client that left.
            b.handle.finish_wait();
        }
        // Behind the gate, as a unit that runs alone may keep shards locked for long.
        let _gate = self.engine.gates.pass(self.worker);
        self.engine.ks.dismiss(&self.waiter);
    }
}

fn fail(engine: &Engine, line: &'static str, out: &mut Reply) {
    engine.stats.error_line(line);
    out.error_line(line);
}

/// How a wait for something that is no key ends: with `on_timeout` when its time is up.
pub fn plain_ending(engine: Arc<Engine>, on_timeout: Completion) -> Ending {
    Box::new(move |end, session, out| match end {
        End::Timeout | End::Served { .. } => on_timeout(session, out),
        End::Unblocked => fail(&engine, UNBLOCKED, out),
        End::RoleChanged => {
            fail(&engine, ROLE_CHANGED, out);
            session.close_after_reply = true;
        }
    })
}

/// The role changes: nobody goes on waiting. The caller holds every gate.
pub fn end_all(engine: &Engine) {
    for client in engine.clients.list() {
        client.end_wait(End::RoleChanged);
    }
}

/// Who serves those that a unit made ready.
pub(super) struct Service<'a> {
    pub engine: &'a Engine,
    pub worker: WorkerId,
    pub settings: &'a Settings,
    /// What the state of the server forbids at this moment: see [`refuse_write`].
    pub forbidden: u32,
}

impl Service<'_> {
    /// After a unit that was locked with [`Data::hold_for_waiters`] and has told the log, while it still holds its
    /// locks: serves whoever waited for what it brought about, and publishes its events in the order they happened.
    #[inline]
    pub fn follow_up(&self, data: &mut Data<'_>) {
        if !data.unit.ready.is_empty() {
            self.run(data);
        }
        if !data.unit.events.is_empty() {
            let (mask, events) = (data.unit.notify_mask, data.unit.events.drain(..));
            self.engine.pubsub.publish_events(self.engine, mask, events);
        }
    }

    #[cold]
    fn run(&self, data: &mut Data<'_>) {
        let (db, policy, touch) = (data.db, data.unit.policy, data.unit.touch);
        if policy == ExpirePolicy::Ignore {
            // The unit is our master's; those who wait here are clients.
            data.unit.policy = ExpirePolicy::Hide;
        }
        // Each that is served is a unit in its own right: what expired during a long transaction is over.
        data.unit.now_ms = clock::now_ms();
        while let Some(ready) = data.unit.ready.pop_front() {
            // Who finds nothing keeps its place, so every waiter of the queue is met once.
            let mut place = 0;
            while let Some((next, waiter)) = data.next_waiter(&ready, place) {
                place = next;
                self.serve(data, &waiter);
            }
        }
        (data.db, data.unit.policy, data.unit.touch) = (db, policy, touch);
    }

    /// Runs a waiter's command again; if it is answered now, its wait is over.
    fn serve(&self, data: &mut Data<'_>, waiter: &Waiter) {
        let Some(blocked) = waiter.who.downcast_ref::<Blocked>() else { return };
        blocked.handle.serve(|| {
            let end = self.attempt(data, waiter.db, blocked)?;
            data.dismiss(waiter);
            Some(end)
        });
    }

    fn attempt(&self, data: &mut Data<'_>, db: usize, blocked: &Blocked) -> Option<End> {
        let engine = self.engine;
        let command = engine.table.get(blocked.command);
        let Handler::Data(f) = command.handler else { return None };
        let started = clock::ticks();
        let (argv, mut reply) = (blocked.argv.as_argv(), Reply::new(blocked.proto));
        data.db = db;
        data.unit.touch = if blocked.handle.has(flag::NO_TOUCH) { Touch::No } else { data.unit.policy_touch };
        let result = refuse_write(engine, self.forbidden, command.row.flags)
            .and_then(|()| f(data, &mut command.args(argv), &mut reply));
        let mut effects = Effects::default();
        effects.gone(&mut data.unit.gone);
        match result {
            Ok(Effect::Block(wanted)) => {
                effects.push(db, argv, None, Effect::Many(wanted.told));
                effects.append(engine);
                return None;
            }
            Ok(effect) => effects.push(db, argv, None, effect),
            Err(e) => {
                engine.stats.error(&e);
                reply.error(&e);
            }
        }
        let offset = effects.append(engine);
        let took_us = blocked.tried_us + clock::ticks_to_us(clock::ticks().saturating_sub(started));
        let failed = reply.errors() != 0;
        note(engine, self.settings, self.worker, &blocked.handle, command, argv, took_us, failed);
        Some(End::Served { reply, offset })
    }
}

/// All data may have changed: whoever waits for something that is there now is served. For a load, behind all gates.
pub fn serve_all(engine: &Engine, _proof: &AllGates<'_>) {
    let settings = engine.config.now();
    let mut unit = Unit {
        now_ms: clock::now_ms(),
        policy: if engine.state.is_replica() { ExpirePolicy::Hide } else { ExpirePolicy::Delete },
        notify_mask: settings.notify_keyspace_events.0,
        limits: settings.limits(),
        ..Unit::default()
    };
    let mut data = Data::lock_alone(&engine.ks, 0, &mut unit);
    data.note_all_waited_for();
    if data.unit.ready.is_empty() {
        return;
    }
    let worker = engine.gates.outsider();
    Service { engine, worker, settings: &settings, forbidden: 0 }.follow_up(&mut data);
    engine.settle(worker, data.unit);
}
