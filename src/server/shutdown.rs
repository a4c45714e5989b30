//! The orderly end: SHUTDOWN and the signals that mean the same.
//!
//! ```text
//! idle --begin--> waiting for replicas --in sync, or out of time--> finishing --> exit
//!   ^------------- SHUTDOWN ABORT ----------'                           |
//!   ^------------- the data could not be saved --------------------------'
//! ```
//! Writes are paused from the beginning: what is acknowledged is in the final snapshot and with the replicas.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::daemon::{self, PidFile};
use super::listen::Listeners;
use crate::base::{Error, clock};
use crate::config::ShutdownOn;
use crate::exec::call::{Call, Completion, Flow, SessionCommand, Wait};
use crate::exec::engine::Engine;
use crate::persist::aof::history_path;
use crate::persist::disk::Prepared;
use crate::persist::history::Held;
use crate::persist::{Aof, Saver, temp};
use crate::repl::{Repl, restart, upkeep};
use crate::spec::prelude::*;

pub const SHUTDOWN: Row = Row {
    name: "shutdown",
    arity: -1,
    syntax: "[save-selector:(nosave:NOSAVE|save:SAVE)] [now:NOW@7.0.0] [force:FORCE@7.0.0] \
        [abort:ABORT@7.0.0]",
    flags: ADMIN.or(NOSCRIPT).or(LOADING).or(STALE).or(NO_MULTI).or(ALLOW_BUSY).or(SENTINEL).or(LONG).or(SESSION),
    complexity: "O(N), N being the number of keys in all databases, when it saves; else O(1)",
    summary: "Ends the server, saving first where that is configured or asked for.",
    ..Row::EMPTY
};

pub const COMMANDS: &[SessionCommand] = &[SessionCommand { row: &SHUTDOWN, run: shutdown }];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Idle,
    /// The attempt of that number waits for replicas, and can be aborted.
    Waiting(u64),
    Finishing,
}

/// The server's end, as long as it is a possibility. A part of the engine.
pub struct Shutdown {
    stage: Mutex<Stage>,
    aborted: Condvar,
    /// Counts the attempts that did not end the server; clients that sent SHUTDOWN wait for it.
    failures: watch::Sender<u64>,
    pid_file: Option<PidFile>,
}

impl Shutdown {
    pub fn new(pid_file: Option<PidFile>) -> Arc<Self> {
        let failures = watch::Sender::new(0);
        Arc::new(Self { stage: Mutex::new(Stage::Idle), aborted: Condvar::new(), failures, pid_file })
    }

    pub fn is_under_way(&self) -> bool {
        *self.stage.lock() != Stage::Idle
    }

    /// Begins to end the server, on a thread of its own, unless that has begun already. `by_signal`: the cron carries out
    /// what a signal asks for, so not while it rests.
    pub fn begin(self: &Arc<Self>, engine: &Arc<Engine>, how: ShutdownOn, by_signal: bool) {
        let mut stage = self.stage.lock();
        if *stage != Stage::Idle {
            return;
        }
        let attempt = *self.failures.borrow() + 1;
        *stage = Stage::Waiting(attempt);
        let (me, engine_) = (self.clone(), engine.clone());
        let thread = std::thread::Builder::new().name("shutdown".into());
        if let Err(e) = thread.spawn(move || me.carry_out(&engine_, how, by_signal, attempt)) {
            error!("Can't start the shutdown thread: {e}");
            self.cancel(engine, &mut stage);
        }
    }

    /// SHUTDOWN ABORT. False if there is nothing to abort (any more).
    fn abort(&self, engine: &Engine) -> bool {
        let mut stage = self.stage.lock();
        if !matches!(*stage, Stage::Waiting(_)) {
            return false;
        }
        self.cancel(engine, &mut stage);
        self.aborted.notify_all();
        info!("Shutdown manually aborted.");
        true
    }

    fn cancel(&self, engine: &Engine, stage: &mut Stage) {
        *stage = Stage::Idle;
        engine.state.shutdown_deadline_ms.store(0, Relaxed);
        engine.state.shutting_down.store(false, Relaxed);
        engine.pause.pause_for_shutdown(false);
        self.failures.send_modify(|n| *n += 1);
    }

    fn carry_out(&self, engine: &Arc<Engine>, mut how: ShutdownOn, by_signal: bool, attempt: u64) {
        if by_signal && !self.wait_for_cron(engine, attempt) {
            return;
        }
        let settings = engine.settings();
        if engine.state.is_loading() {
            // Half a data set must not replace the whole one on disk.
            (how.save, how.nosave) = (false, true);
        }
        info!("User requested shutdown...");
        daemon::notify("STOPPING=1\n");
        engine.pause.pause_for_shutdown(true);
        if !engine.state.is_loading() {
            // Whatever was admitted before the pause is over once every gate could be had.
            drop(engine.gates.take_all());
        }
        if !how.now && settings.shutdown_timeout > 0 && !replicas_in_sync(engine) {
            if !engine.state.is_replica() {
                let _gate = engine.gates.pass(engine.gates.outsider());
                upkeep::ask_for_acks(engine);
            }
            info!("Waiting for replicas before shutting down.");
            self.wait_for_replicas(engine, settings.shutdown_timeout, attempt);
        }
        {
            let mut stage = self.stage.lock();
            if *stage != Stage::Waiting(attempt) {
                return;
            }
            *stage = Stage::Finishing;
            engine.state.shutting_down.store(true, Relaxed);
        }
        if self.finish(engine, how) {
            std::process::exit(0);
        }
        warn!("Errors trying to shut down the server. Check the logs for more information.");
        self.cancel(engine, &mut self.stage.lock());
    }

    /// False if the attempt was aborted while the cron rested.
    fn wait_for_cron(&self, engine: &Engine, attempt: u64) -> bool {
        let mut stage = self.stage.lock();
        while *stage == Stage::Waiting(attempt) && engine.state.cron_paused.load(Relaxed) {
            self.aborted.wait_for(&mut stage, Duration::from_millis(10));
        }
        *stage == Stage::Waiting(attempt)
    }

    /// Until the replicas are in sync, the time is up, or the attempt was aborted.
    fn wait_for_replicas(&self, engine: &Engine, timeout_s: i64, attempt: u64) {
        let timeout_ms = timeout_s.saturating_mul(1000);
        let deadline_ms = clock::mono_ms().saturating_add(timeout_ms);
        let mut stage = self.stage.lock();
        if *stage == Stage::Waiting(attempt) {
            engine.state.shutdown_deadline_ms.store(clock::now_ms().saturating_add(timeout_ms), Relaxed);
        }
        while *stage == Stage::Waiting(attempt) && clock::mono_ms() < deadline_ms && !replicas_in_sync(engine) {
            self.aborted.wait_for(&mut stage, Duration::from_millis(10));
        }
    }

    /// The last things. False if the server must go on because its data would be lost.
    fn finish(&self, engine: &Arc<Engine>, how: ShutdownOn) -> bool {
        tell_of_replicas(engine);
        if engine.part::<Saver>().in_progress() {
            warn!("There is a child saving an .rdb. Killing it!");
        }
        if !engine.part::<Aof>().flush_at_exit(how.force) {
            daemon::notify("STATUS=Writing initial AOF, can't exit.\n");
            return false;
        }
        let by_itself = !engine.settings().save.is_empty() && !how.nosave;
        if (how.save || by_itself) && !save(engine) {
            if !how.force {
                warn!("Error trying to save the DB, can't exit.");
                daemon::notify("STATUS=Error trying to save the DB, can't exit.\n");
                return false;
            }
            warn!("Error trying to save the DB. Exit anyway.");
        }
        keep_history(engine);
        // Whatever is being saved or received ends with the process.
        temp::remove_all();
        if let Some(file) = &self.pid_file {
            file.remove();
        }
        engine.part::<Listeners>().close();
        warn!("Redis is now ready to exit, bye bye...");
        true
    }
}

/// The final snapshot. Writes are paused, so that it holds everything.
fn save(engine: &Arc<Engine>) -> bool {
    info!("Saving the final RDB snapshot before exiting.");
    daemon::notify("STATUS=Saving the final RDB snapshot\n");
    engine.part::<Saver>().save(engine).is_ok()
}

/// The append-only file tells where it stands in the stream of effects, but holds the backlog only as far as that is data:
/// all of it is kept beside it, for when it is found as it is now.
fn keep_history(engine: &Engine) {
    let aof = engine.part::<Aof>();
    if engine.state.is_loading() {
        return;
    }
    let Some(last) = aof.last_part() else { return };
    // What came in between would make it void.
    let _gates = engine.gates.take_all();
    if !aof.flush() {
        return;
    }
    let Some(held) = Held::take(&engine.log, restart::standing(engine)) else { return };
    let tail = aof.tail(&last);
    let kept = held.prepare(aof.disk(), &history_path(&engine.settings()), &tail).and_then(Prepared::put_in_place);
    kept.unwrap_or_else(|e| warn!("The replication backlog is not saved: {e}"));
}

/// Whether every replica has acknowledged the whole log.
fn replicas_in_sync(engine: &Engine) -> bool {
    let repl = Repl::of(engine);
    let replicas = repl.replicas();
    let end = engine.log.end_offset();
    replicas.iter().all(|r| r.ack_offset == end)
}

/// Says which replicas are left behind.
fn tell_of_replicas(engine: &Engine) {
    let repl = Repl::of(engine);
    let (replicas, end, now_ms) = (repl.replicas(), engine.log.end_offset(), clock::now_ms());
    let mut lagging = 0;
    for r in replicas.iter().filter(|r| r.ack_offset != end) {
        lagging += 1;
        info!(
            "Lagging replica {} reported offset {} behind master, lag={}, state={}.",
            r.name(),
            end - r.ack_offset,
            r.lag_s(now_ms),
            r.phase.word().unwrap_or("none")
        );
    }
    if !replicas.is_empty() {
        info!("{} of {} replicas are in sync when shutting down.", replicas.len() - lagging, replicas.len());
    }
}

fn shutdown(call: &mut Call<'_>) -> Result<Flow, Error> {
    let (mut how, mut abort) = (ShutdownOn::default(), false);
    for word in call.argv.skip(1).iter() {
        match word.to_ascii_lowercase().as_slice() {
            b"save" => how.save = true,
            b"nosave" => how.nosave = true,
            b"now" => how.now = true,
            b"force" => how.force = true,
            b"abort" => abort = true,
            _ => return Err(Error::Syntax),
        }
    }
    if (abort && how != ShutdownOn::default()) || (how.save && how.nosave) {
        return Err(Error::Syntax);
    }
    let shutdown = call.engine.part::<Shutdown>();
    if abort {
        if !shutdown.abort(call.engine) {
            return Err(Error::text("ERR No shutdown in progress."));
        }
        call.out.ok();
        return Ok(Flow::Done);
    }
    // Subscribed before it begins, so that no failure is missed.
    let mut failures = shutdown.failures.subscribe();
    shutdown.begin(call.engine, how, false);
    let failed = async move {
        let _ = failures.changed().await;
        let failed: Completion = Box::new(|_, out| out.error_line("ERR Errors trying to SHUTDOWN. Check logs."));
        failed
    };
    Ok(Flow::Wait(Wait { done: Some(Box::pin(failed)), timeout_ms: 0, ending: None }))
}
