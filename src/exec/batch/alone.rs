//! Units that run alone, because they touch what they did not declare. Knows no socket.

use super::{Command, Next, Runner, Source};
use crate::cmd::{DataFn, Effect};
use crate::exec::block::Service;
use crate::exec::gate::{AllGates, step_aside};
use crate::exec::propagate::Effects;
use crate::exec::session::Session;
use crate::keyspace::Data;
use crate::resp::{Argv, Reply};
use crate::spec::flag as row_flag;

impl Runner<'_> {
    /// A command that touches what it did not declare.
    pub(super) fn run_alone(
        &mut self,
        session: &mut Session,
        command: &Command,
        f: DataFn,
        argv: Argv<'_>,
        raw: Option<&[u8]>,
        out: &mut Reply,
    ) -> Next {
        self.leave_gate();
        let engine = self.engine;
        let gates = engine.gates.take_all();
        if let Some(barred) = self.barred(session, command.row, command.row.flags, out) {
            return barred;
        }
        self.quiet(session);
        let mut effects = Effects::default();
        let effect = self.alone(&gates, session, command, f, argv, out);
        if self.source == Source::Client {
            effects.gone(&mut self.unit.gone);
            effects.push(session.db, argv, raw, effect);
            if let Some(end) = effects.append(engine) {
                session.last_write_offset = end;
            }
        } else {
            self.passed.applied(session);
            self.passed.append(self.engine);
        }
        self.follow_up_alone(&gates, session);
        drop(gates);
        self.settle();
        Next::More
    }

    pub(super) fn alone(
        &mut self,
        _proof: &AllGates<'_>,
        session: &Session,
        command: &Command,
        f: DataFn,
        argv: Argv<'_>,
        out: &mut Reply,
    ) -> Effect {
        let mut run = || {
            let mut data = Data::lock_alone(&self.engine.ks, session.db, &mut self.unit);
            f(&mut data, &mut command.args(argv), out)
        };
        let result = if command.flags.has(row_flag::LONG) { step_aside(run) } else { run() };
        match result {
            Ok(Effect::Block(wanted)) => {
                // Nobody may wait here.
                wanted.on_timeout.reply(out);
                Effect::Many(wanted.told)
            }
            Ok(effect) => effect,
            Err(e) => {
                self.fail(&e, out);
                Effect::None
            }
        }
    }

    /// As [`Service::follow_up`], for a unit that ran alone.
    pub(super) fn follow_up_alone(&mut self, _proof: &AllGates<'_>, session: &Session) {
        if self.unit.ready.is_empty() && self.unit.events.is_empty() {
            return;
        }
        let engine = self.engine;
        let mut data = Data::lock_alone(&engine.ks, session.db, &mut self.unit);
        Service { engine, worker: self.worker, settings: &self.settings, forbidden: self.forbidden }
            .follow_up(&mut data);
    }
}
