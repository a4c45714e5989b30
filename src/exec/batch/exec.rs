//! EXEC: what was queued, as one unit. Knows no socket.

use std::sync::atomic::Ordering::Relaxed;

use super::{Next, Runner, Source};
use crate::base::{Error, clock};
use crate::cmd::Effect;
use crate::exec::block::Service;
use crate::exec::call::{Flow, Handler};
use crate::exec::gate::AllGates;
use crate::exec::monitor::{note, show_if_watched as show};
use crate::exec::multi::{Footprint, Multi};
use crate::exec::propagate::Effects;
use crate::exec::session::Session;
use crate::keyspace::{Data, ExpirePolicy, Key};
use crate::resp::Reply;
use crate::spec::{Flags, Row, flag as row_flag};

impl Runner<'_> {
    /// EXEC: the queue as one unit. False if it was refused; an error if it has to wait for a pause to end.
    pub(super) fn exec(&mut self, session: &mut Session, row: &Row, out: &mut Reply) -> Result<bool, Next> {
        let engine = self.engine;
        let Some(multi) = session.multi.take() else {
            self.fail(&Error::text("ERR EXEC without MULTI"), out);
            return Ok(false);
        };
        if multi.aborted {
            session.discard(engine);
            self.fail(&Error::ExecAbort, out);
            return Ok(false);
        }
        self.quiet(session);
        let mut effects = Effects::default();
        let local = self.local && multi.flags_of_exec(Flags::NONE).has(row_flag::WRITE);
        let footprint = if local { Footprint::Alone } else { multi.footprint(engine) };
        match footprint {
            Footprint::Keys(mut hashes) => {
                // A watched key's shard is locked too, so that the look at the flag is part of the unit.
                if let Some(w) = &session.watches {
                    hashes.extend(w.keys.iter().map(|(_, key)| Key::new(key).hash));
                }
                let gate = engine.gates.pass(self.worker);
                if let Some(barred) = self.barred(session, row, multi.flags_of_exec(row.flags), out) {
                    return self.exec_barred(session, multi, barred);
                }
                let mut data = Data::lock_many(&engine.ks, hashes.iter().copied(), session.db, &mut self.unit);
                if data.someone_waits() {
                    data.hold_for_waiters(&hashes);
                }
                if broken(session, &mut data) {
                    out.null_array();
                } else {
                    out.array(multi.queue.len());
                    for q in &multi.queue {
                        let command = engine.table.get(q.id);
                        let Handler::Data(f) = command.handler else { continue };
                        let argv = q.argv.as_argv();
                        if self.source != Source::File {
                            show(engine, session, command.row, argv);
                        }
                        let started = clock::ticks();
                        let errors = out.errors();
                        let result = f(&mut data, &mut command.args(argv), out);
                        effects.gone(&mut data.unit.gone);
                        match result {
                            // Nobody may wait here.
                            Ok(Effect::Block(wanted)) => {
                                wanted.on_timeout.reply(out);
                                effects.push(data.db, argv, None, Effect::Many(wanted.told));
                            }
                            Ok(effect) => effects.push(data.db, argv, None, effect),
                            Err(e) => {
                                engine.stats.error(&e);
                                out.error(&e);
                            }
                        }
                        if self.source != Source::File {
                            let us = clock::ticks_to_us(clock::ticks().saturating_sub(started));
                            let failed = out.errors() != errors;
                            note(engine, &self.settings, self.worker, &session.handle, command, argv, us, failed);
                        }
                    }
                }
                if self.source == Source::Client
                    && let Some(end) = effects.append(engine)
                {
                    session.last_write_offset = end;
                }
                if self.source == Source::Master {
                    self.passed.applied(session);
                    self.passed.append(engine);
                }
                Service { engine, worker: self.worker, settings: &self.settings, forbidden: self.forbidden }
                    .follow_up(&mut data);
                drop(data);
                drop(gate);
            }
            Footprint::Alone => {
                let gates = engine.gates.take_all();
                if let Some(barred) = self.barred(session, row, multi.flags_of_exec(row.flags), out) {
                    return self.exec_barred(session, multi, barred);
                }
                if local && self.unit.policy == ExpirePolicy::Hide {
                    // Until the state is looked at again, which is behind this.
                    self.unit.policy = ExpirePolicy::Local;
                }
                let is_broken = {
                    let mut data = Data::lock_alone(&engine.ks, session.db, &mut self.unit);
                    broken(session, &mut data)
                };
                if is_broken {
                    out.null_array();
                } else {
                    self.exec_alone(&gates, session, &multi, &mut effects, out);
                }
                if self.source == Source::Client
                    && let Some(end) = effects.append(engine)
                {
                    session.last_write_offset = end;
                }
                if self.source == Source::Master {
                    self.passed.applied(session);
                    self.passed.append(engine);
                }
                self.follow_up_alone(&gates, session);
                drop(gates);
            }
        }
        session.discard(engine);
        self.settle();
        Ok(true)
    }

    fn exec_barred(&self, session: &mut Session, multi: Box<Multi>, barred: Next) -> Result<bool, Next> {
        if let Next::Paused { .. } = barred {
            session.multi = Some(multi);
            return Err(barred);
        }
        session.discard(self.engine);
        Ok(false)
    }

    fn exec_alone<'m>(
        &mut self,
        gates: &AllGates<'_>,
        session: &mut Session,
        multi: &'m Multi,
        effects: &mut Effects<'m>,
        out: &mut Reply,
    ) {
        out.array(multi.queue.len());
        for q in &multi.queue {
            let argv = q.argv.as_argv();
            let command = self.engine.table.get(q.id);
            if self.source != Source::File {
                show(self.engine, session, command.row, argv);
            }
            let started = clock::ticks();
            let errors = out.errors();
            let effect = match command.handler {
                Handler::Data(f) => self.alone(gates, session, command, f, argv, out),
                Handler::Session(f) => {
                    let (effect, flow) = self.session_command(session, command.row, f, argv, out, true);
                    if matches!(flow, Flow::Close) {
                        session.close_after_reply = true;
                    }
                    effect
                }
                Handler::Exec | Handler::Container => {
                    self.fail(&Error::Arity(command.row.name.to_owned()), out);
                    Effect::None
                }
            };
            effects.gone(&mut self.unit.gone);
            if command.row.flags.has(row_flag::PUBSUB) {
                effects.push_aside(session.db, argv, None, effect);
            } else {
                effects.push(session.db, argv, None, effect);
            }
            let us = clock::ticks_to_us(clock::ticks().saturating_sub(started));
            let failed = out.errors() != errors;
            note(self.engine, &self.settings, self.worker, &session.handle, command, argv, us, failed);
        }
    }
}

/// Whether a watched key changed or expired since it was watched.
fn broken(session: &Session, data: &mut Data<'_>) -> bool {
    let Some(w) = &session.watches else { return false };
    if w.flag.load(Relaxed) {
        return true;
    }
    let db = data.db;
    let expired = w.keys.iter().any(|(key_db, key)| {
        data.db = *key_db;
        data.went_stale(Key::new(key), &w.flag)
    });
    data.db = db;
    expired
}
