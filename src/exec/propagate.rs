//! The only writer of the effect log: turns what handlers return into the stock replication stream.
//!
//! Called while the unit's shard locks are held, so that log order is a serial order of execution. Knows no handler.

use smallvec::SmallVec;

use super::engine::Engine;
use crate::base::clock;
use crate::cmd::Effect;
use crate::keyspace::unit::Gone;
use crate::resp::{Argv, OwnedArgv, encode_command};

/// One request for the log, with the database it belongs to.
enum Op<'a> {
    Words(usize, Argv<'a>),
    /// A request in the bytes it came in, already in canonical form.
    Raw(usize, &'a [u8]),
    Owned(usize, OwnedArgv),
    Gone(Gone),
}

impl Op<'_> {
    fn db(&self) -> usize {
        match self {
            Self::Words(db, _) | Self::Raw(db, _) | Self::Owned(db, _) => *db,
            Self::Gone(gone) => gone.db,
        }
    }

    fn encode(&self, out: &mut Vec<u8>, engine: &Engine) {
        match self {
            Self::Raw(_, raw) => out.extend_from_slice(raw),
            Self::Words(_, argv) => encode_command(out, argv.iter()),
            Self::Owned(_, argv) => encode_command(out, argv.as_argv().iter()),
            Self::Gone(gone) if gone.fields.is_empty() => {
                let lazy = engine.config.now().lazyfree_lazy_expire;
                let word: &[u8] = if lazy { b"UNLINK" } else { b"DEL" };
                encode_command(out, [word, &gone.key]);
            }
            Self::Gone(Gone { key, fields, .. }) => {
                for field in fields {
                    encode_command(out, [b"HDEL", &**key, field]);
                }
            }
        }
    }
}

/// Appends what most units are: one request, in the bytes it came in. Gives the log's end then, if it was written.
#[inline]
pub fn append_raw(engine: &Engine, db: usize, argv: Argv<'_>, raw: &[u8]) -> Option<i64> {
    if engine.state.is_replica() || engine.durable.wants_moments() {
        let mut effects = Effects::default();
        effects.push(db, argv, Some(raw), Effect::Verbatim);
        return effects.append(engine);
    }
    let end = engine.log.with(|log| {
        if log.selected_db() != db as i32 {
            let mut select = Vec::new();
            encode_select(&mut select, db as i32);
            log.write(&select);
            log.set_selected_db(db as i32);
        }
        log.write(raw);
        log.offset()
    })?;
    engine.watch_log(end);
    Some(end)
}

/// The effects of one unit, in order.
#[derive(Default)]
pub struct Effects<'a> {
    ops: SmallVec<[Op<'a>; 2]>,
    /// Which of them are no data: those go to replicas alone.
    asides: SmallVec<[usize; 1]>,
}

impl<'a> Effects<'a> {
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// What went away by itself before the command's own effect.
    pub fn gone(&mut self, gone: &mut Vec<Gone>) {
        if !gone.is_empty() {
            self.ops.extend(gone.drain(..).map(Op::Gone));
        }
    }

    /// What the server did of itself.
    pub fn own(&mut self, db: usize, argv: OwnedArgv) {
        self.ops.push(Op::Owned(db, argv));
    }

    /// A command's effect. `raw`: the request's own bytes, if they are canonical.
    pub fn push(&mut self, db: usize, argv: Argv<'a>, raw: Option<&'a [u8]>, effect: Effect) {
        match effect {
            Effect::None | Effect::Block(_) => {}
            Effect::Verbatim => self.ops.push(raw.map_or(Op::Words(db, argv), |raw| Op::Raw(db, raw))),
            Effect::Rewrite(argv) => self.ops.push(Op::Owned(db, argv)),
            Effect::Many(list) => self.ops.extend(list.into_iter().map(|argv| Op::Owned(db, argv))),
        }
    }

    /// What a command tells replicas that is no change of the data.
    pub fn push_aside(&mut self, db: usize, argv: Argv<'a>, raw: Option<&'a [u8]>, effect: Effect) {
        let first = self.ops.len();
        self.push(db, argv, raw, effect);
        self.asides.extend(first..self.ops.len());
    }

    /// Appends all of it as one contiguous block. Gives the log's end then, if anything was written.
    pub fn append(self, engine: &Engine) -> Option<i64> {
        if self.ops.is_empty() || !engine.log.is_active() {
            return None;
        }
        if engine.state.is_replica() {
            self.append_local(engine);
            return None;
        }
        let moment_s = moment_s(engine);
        let end = engine.log.with(|log| {
            if let Some(unix_s) = moment_s {
                log.moment(unix_s);
            }
            let mut scratch = Vec::new();
            if self.is_wrapped() {
                // Of no database: as since 7.2, what selects one stands within the transaction.
                encode_command(&mut scratch, [b"MULTI"]);
            }
            for (i, op) in self.ops.iter().enumerate() {
                let db = op.db() as i32;
                if log.selected_db() != db {
                    encode_select(&mut scratch, db);
                    log.set_selected_db(db);
                }
                let aside = self.asides.contains(&i);
                if aside {
                    // What selects the database is not part of it.
                    log.write(&scratch);
                    scratch.clear();
                }
                let first = log.offset() + 1;
                if let (Op::Raw(_, raw), true) = (op, scratch.is_empty()) {
                    log.write(raw);
                } else {
                    op.encode(&mut scratch, engine);
                    log.write(&scratch);
                    scratch.clear();
                }
                if aside {
                    log.aside(first, log.offset());
                }
            }
            if self.is_wrapped() {
                encode_command(&mut scratch, [b"EXEC"]);
                log.write(&scratch);
            }
            log.offset()
        })?;
        engine.watch_log(end);
        Some(end)
    }

    /// As stock: one request stands alone, several are wrapped so that whoever reads them applies all or none.
    fn is_wrapped(&self) -> bool {
        self.ops.len() > 1
    }

    /// A replica's log holds its master's stream and nothing else: what clients write on a writable one is for its own file
    /// alone. They wrote behind all gates, so that everything of the stream that was applied before is in the log. (What expires
    /// or is evicted here goes by itself: it may come a little before what our master did to that key.)
    fn append_local(self, engine: &Engine) {
        if self.asides.len() == self.ops.len() {
            return;
        }
        let moment_s = moment_s(engine);
        engine.log.with(|log| {
            if !log.wants_marks() {
                return;
            }
            if let Some(unix_s) = moment_s {
                log.moment(unix_s);
            }
            let (mut requests, mut selected) = (Vec::new(), log.selected_db());
            if self.is_wrapped() {
                encode_command(&mut requests, [b"MULTI"]);
            }
            for (i, op) in self.ops.iter().enumerate() {
                if self.asides.contains(&i) {
                    continue;
                }
                let db = op.db() as i32;
                if selected != db {
                    encode_select(&mut requests, db);
                    selected = db;
                }
                op.encode(&mut requests, engine);
            }
            if self.is_wrapped() {
                encode_command(&mut requests, [b"EXEC"]);
            }
            // The stream goes on where it was.
            let stream_db = log.selected_db();
            if stream_db >= 0 && stream_db != selected {
                encode_select(&mut requests, stream_db);
            }
            log.local(&requests);
            engine.durable.note_local();
        });
        engine.log.notify_readers();
    }
}

fn moment_s(engine: &Engine) -> Option<i64> {
    engine.durable.wants_moments().then(|| clock::now_ms() / 1000)
}

fn encode_select(out: &mut Vec<u8>, db: i32) {
    let mut text = itoa::Buffer::new();
    encode_command(out, [&b"SELECT"[..], text.format(db).as_bytes()]);
}
