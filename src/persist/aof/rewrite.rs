//! Writing the append-only file anew, which is also how it is begun while the server runs.
//!
//! ```text
//! 1. a temporary base file and the next incremental one are made
//! 2. the cut: with every gate held, what follows is bound for the new incremental file
//! 3. the writer comes to the cut: it flushes the former file, so that it cannot be found torn, and only then puts the
//!    new one into the list; meanwhile the data set as of the cut is written to the base file
//! 4. the base file gets its name, and the list becomes: new base, new incremental file
//! 5. what is superfluous is removed
//! ```
//! At any instant the list on disk names files that together hold everything. Knows no command.

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;
use std::thread;

use super::manifest::{Manifest, manifest_name, temp_incr_name, temp_manifest_name};
use super::position;
use super::state::{Aof, Begin, Mode, Order, Switch, dir_of, history_path};
use super::writer;
use crate::base::{clock, log, os_reason};
use crate::config::Settings;
use crate::exec::Engine;
use crate::exec::gate::step_aside;
use crate::exec::turn::Turn;
use crate::persist::Saver;
use crate::persist::disk::{self, OutFile};
use crate::persist::history::{Held, Standing};
use crate::persist::temp::TempFile;
use crate::persist::walk::{Form, walk_as};

/// A base file is flushed whenever so much was written.
const FLUSH_BYTES: u64 = 4 << 20;
/// So many failures in a row, and the next attempt has to wait.
const FAILURES_MAX: u64 = 3;
const LONGEST_DELAY_MIN: i64 = 60;

/// How long a rewrite has to wait that failed several times.
#[derive(Default)]
pub(super) struct Limit {
    delay_min: i64,
    next_s: i64,
}

/// How a rewrite that was asked for begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    Yes,
    /// Another one runs.
    Runs,
    /// Something else is being saved: it begins when that is over.
    Later,
    Failed,
}

enum Failure {
    /// It did not come to the cut.
    Early(String),
    Late(String),
    Unwanted,
}

impl Aof {
    /// BGREWRITEAOF. `later`: in a transaction, which holds the gates that the cut needs.
    pub fn rewrite(self: &Arc<Self>, engine: &Arc<Engine>, later: bool) -> Begun {
        if self.rewrite_runs() {
            return Begun::Runs;
        }
        if later || engine.part::<Saver>().must_wait(engine) {
            // Who asks is not made to wait for former failures.
            self.failures.store(0, Relaxed);
            self.scheduled.store(true, Relaxed);
            return Begun::Later;
        }
        match self.begin(engine) {
            Some(begun) => step_aside(|| begun.recv()).unwrap_or(Begun::Failed),
            None => Begun::Runs,
        }
    }

    /// Begins a rewrite on a thread of its own. What is received tells that the cut was made, or why not. `None`: one runs.
    fn begin(self: &Arc<Self>, engine: &Arc<Engine>) -> Option<mpsc::Receiver<Begun>> {
        let started_s = clock::now_ms() / 1000;
        {
            let mut rewriting = self.rewriting.lock();
            if rewriting.is_some() {
                return None;
            }
            *rewriting = Some(started_s);
        }
        self.scheduled.store(false, Relaxed);
        let (tell, begun) = mpsc::channel();
        let (me, engine_) = (self.clone(), engine.clone());
        let spawned = thread::Builder::new().name("aof-rewrite".into()).spawn(move || {
            match engine_.turns.now() {
                Some(turn) => me.carry_out(&engine_, &turn, started_s, &tell),
                None => {
                    me.scheduled.store(true, Relaxed);
                    me.over();
                    // Whoever asked may not have waited.
                    let _ = tell.send(Begun::Later);
                }
            }
        });
        if let Err(e) = spawned {
            log::warning!("Can't rewrite append only file in background: {}", os_reason(&e));
            self.last_rewrite_ok.store(false, Relaxed);
            self.over();
        }
        Some(begun)
    }

    fn over(&self) {
        let mut rewriting = self.rewriting.lock();
        self.unwanted.store(false, Relaxed);
        *rewriting = None;
    }

    fn carry_out(self: &Arc<Self>, engine: &Arc<Engine>, turn: &Turn<'_>, started_s: i64, tell: &mpsc::Sender<Begun>) {
        let mode = self.mode();
        let result = self.write_anew(engine, turn, mode, || _ = tell.send(Begun::Yes));
        self.last_took_s.store(clock::now_ms() / 1000 - started_s, Relaxed);
        self.last_kept_bytes.store(engine.state.snapshot_kept_bytes.load(Relaxed), Relaxed);
        match &result {
            Ok(()) => {
                self.last_rewrite_ok.store(true, Relaxed);
                self.failures.store(0, Relaxed);
                log::notice!("Background AOF rewrite finished successfully");
            }
            Err(Failure::Early(what)) => {
                log::warning!("{what}");
                self.last_rewrite_ok.store(false, Relaxed);
            }
            Err(Failure::Late(what)) => {
                log::warning!("{what}");
                log::warning!("Background AOF rewrite terminated with error");
                self.last_rewrite_ok.store(false, Relaxed);
                self.failures.fetch_add(1, Relaxed);
            }
            Err(Failure::Unwanted) => log::warning!("Background AOF rewrite terminated: it is not wanted any more"),
        }
        match (&result, mode) {
            (Ok(()), _) | (Err(_), Mode::Off) => {}
            (Err(_), Mode::Waiting) => self.discard_first(engine),
            (Err(_), Mode::On) => self.stay(),
        }
        self.over();
        let _ = tell.send(Begun::Failed);
    }

    /// If the writer did not come to the cut yet, it goes on with the file it has: the next attempt gives it another.
    fn stay(&self) {
        let (done, stays) = mpsc::channel();
        self.order(Order::Stay(done));
        let _ = stays.recv();
    }

    /// What was gathered behind a first base file that failed is of no use: the next attempt begins with a cut of its own.
    fn discard_first(&self, engine: &Engine) {
        if self.mode() == Mode::Waiting {
            self.end();
            self.scheduled.store(true, Relaxed);
        }
        let settings = engine.settings();
        let name = temp_incr_name(&settings.appendfilename);
        log::notice!("Removing the temp incr aof file {name} in the background");
        // If it stays, the next attempt empties it.
        let _ = self.disk.remove(&dir_of(&settings).join(name));
    }

    fn write_anew(
        &self,
        engine: &Arc<Engine>,
        turn: &Turn<'_>,
        mode: Mode,
        begun: impl FnOnce(),
    ) -> Result<(), Failure> {
        let settings = engine.settings();
        let dir = dir_of(&settings);
        self.disk.create_dir(dir).map_err(|e| {
            Failure::Early(format!(
                "Can't open or create append-only dir {}: {}",
                settings.appenddirname,
                os_reason(&e)
            ))
        })?;
        let temp = TempFile::new(temp_base(&settings, "temp-rewriteaof-bg"));
        let base = self.disk.create(temp.path());
        let mut base = base
            .map_err(|e| Failure::Early(format!("Opening the temp file for AOF rewrite failed: {}", os_reason(&e))))?;
        let incr = self.next_incr(&settings, mode).map_err(Failure::Early)?;
        self.rewrites.fetch_add(1, Relaxed);
        // The next file does not tell of what was before.
        let backlog_path = history_path(&settings);
        let (held, mut backlog) = (Cell::new(None::<Held>), None);
        let at_cut = || {
            self.cover_taints();
            let standing = (self.standing_of)(engine);
            if let Some(file) = incr {
                self.hand_over(engine, mode, file, standing.as_ref());
                held.set(standing.and_then(|standing| Held::take(&engine.log, standing)));
            }
            log::notice!("Background append only file rewriting started by pid {}", std::process::id());
            begun();
            None
        };
        let (mut written, mut flushed, portions) = (0u64, 0u64, settings.aof_rewrite_incremental_fsync);
        let form = if settings.aof_use_rdb_preamble { Form::AofBase } else { Form::Requests };
        let wanted = || !self.unwanted.load(Relaxed);
        let walked = walk_as(form, engine, turn, true, None, wanted, at_cut, |piece| {
            // As soon as the cut is made: what comes meanwhile cannot leave the log.
            if let Some(held) = held.take() {
                match held.prepare(&self.disk, &backlog_path, b"") {
                    Ok(prepared) => backlog = Some(prepared),
                    Err(e) => log::warning!("The replication backlog is not saved: {e}"),
                }
            }
            disk::write(&mut *base, &piece)?;
            written += piece.len() as u64;
            if portions && written - flushed >= FLUSH_BYTES {
                flushed = written;
                base.sync()?;
            }
            Ok(())
        });
        if self.unwanted.load(Relaxed) {
            return Err(Failure::Unwanted);
        }
        let write_error =
            |e: io::Error| Failure::Late(format!("Write error writing append only file on disk: {}", os_reason(&e)));
        walked.and_then(|_| base.sync()).map_err(write_error)?;
        drop(base);
        log::notice!("Successfully created the temporary AOF base file {}", shown(temp.path()));
        log::notice!("Background AOF rewrite terminated with success");
        // What follows the base file has to be on disk before it is relied on; and the former file is done with.
        let flushed = mode == Mode::Off || self.flush();
        let in_place = if mode == Mode::On { self.switched.load(Relaxed) } else { flushed };
        if !in_place {
            return Err(Failure::Late("The AOF incr file could not be written to disk".into()));
        }
        if let Some(backlog) = backlog {
            // It serves the files that are there as well.
            backlog.put_in_place().unwrap_or_else(|e| log::warning!("The replication backlog is not saved: {e}"));
        }
        self.install(&settings, mode, temp.path(), written)
    }

    /// The file for what follows the cut, made before it, so that nobody waits for the disk then.
    fn next_incr(&self, settings: &Settings, mode: Mode) -> Result<Option<Box<dyn OutFile>>, String> {
        let dir = dir_of(settings);
        let open = |name: &str, file: io::Result<Box<dyn OutFile>>| {
            file.map_err(|e| format!("Can't open the append-only file {name}: {}", os_reason(&e)))
        };
        let (name, file) = match mode {
            Mode::Off => return Ok(None),
            Mode::Waiting => {
                let name = temp_incr_name(&settings.appendfilename);
                let file = open(&name, self.disk.create(&dir.join(&name)))?;
                (name, file)
            }
            Mode::On => {
                // Only the one rewrite that runs changes the list.
                let mut new = self.manifest.lock().clone();
                let incr = new.new_incr(&settings.appendfilename);
                let (name, path) = (incr.label(), incr.path(dir));
                let file = open(&name, self.disk.create(&path))?;
                (name, file)
            }
        };
        log::notice!("Creating AOF incr file {name} on background rewrite");
        Ok(Some(file))
    }

    /// The writer has come to the cut: the file for what follows goes into the list.
    pub(super) fn list_incr(&self, settings: &Settings) -> Result<(), NotStored> {
        let mut list = self.manifest.lock();
        let mut new = list.clone();
        new.new_incr(&settings.appendfilename);
        let stored = self.store(settings, &mut new);
        if stored.as_ref().map_or_else(|e| e.replaced, |()| true) {
            *list = new;
        }
        stored
    }

    /// With every gate held: all that comes behind this instant is for the new file.
    fn hand_over(&self, engine: &Engine, mode: Mode, file: Box<dyn OutFile>, standing: Option<&Standing>) {
        let (db, names) = (stream_db(engine), standing.map(position::names));
        if mode == Mode::On {
            self.switched.store(false, Relaxed);
            let (at, marks) = (engine.log.end_offset(), engine.log.marks_made());
            self.order(Order::Switch(Switch { at, marks, file, db, names }));
        } else {
            let cursor = engine.log.attach_end_with_marks();
            self.order(Order::Begin(Box::new(Begin {
                cursor,
                file,
                length: 0,
                db,
                names,
                locals: engine.durable.locals(),
            })));
        }
    }

    /// The new base file takes its place.
    fn install(&self, settings: &Settings, mode: Mode, temp: &Path, base_bytes: u64) -> Result<(), Failure> {
        let dir = dir_of(settings);
        // Held to the end, so that nobody turns the file on or off in between.
        let mut list = self.manifest.lock();
        if self.unwanted.load(Relaxed) {
            return Err(Failure::Unwanted);
        }
        let mut new = list.clone();
        let base = new.new_base(&settings.appendfilename, settings.aof_use_rdb_preamble);
        let (base_name, base_path) = (base.label(), base.path(dir));
        let rename = |what: &str, from: &Path, to: &Path| {
            self.disk.rename(from, to).map_err(|e| {
                let (from, to) = (from.display(), to.display());
                Failure::Late(format!(
                    "Error trying to rename the temporary AOF {what} file {from} into {to}: {}",
                    os_reason(&e)
                ))
            })
        };
        rename("base", temp, &base_path)?;
        log::notice!("Successfully renamed the temporary AOF base file {} into {base_name}", shown(temp));
        let mut made = vec![base_path];
        if mode == Mode::Waiting {
            // Whatever else there is belongs to another life of the data set.
            new.incr_to_history(false);
            let temp_name = temp_incr_name(&settings.appendfilename);
            let incr = new.new_incr(&settings.appendfilename);
            let (incr_name, incr_path) = (incr.label(), incr.path(dir));
            if let Err(e) = rename("incr", &dir.join(&temp_name), &incr_path) {
                made.iter().for_each(|path| _ = self.disk.remove(path));
                return Err(e);
            }
            log::notice!("Successfully renamed the temporary AOF incr file {temp_name} into {incr_name}");
            made.push(incr_path);
        } else {
            new.incr_to_history(mode == Mode::On);
        }
        let stored = self.store(settings, &mut new);
        if let Err(e) = &stored
            && !e.replaced
        {
            // The list in force does not know them.
            made.iter().for_each(|path| _ = self.disk.remove(path));
            return Err(Failure::Late(e.what.clone()));
        }
        *list = new;
        if mode != Mode::Off {
            let bytes = base_bytes + self.incr_bytes.load(Relaxed);
            self.current_bytes.store(bytes, Relaxed);
            self.base_bytes.store(bytes, Relaxed);
        }
        if let Err(e) = stored {
            // Either list may be found after a loss of power: what either names stays, and nothing is promised.
            self.taint();
            if mode == Mode::Waiting {
                self.arrive();
            }
            return Err(Failure::Late(e.what));
        }
        self.uncover_taints();
        if mode == Mode::Waiting {
            self.arrive();
        }
        self.order(Order::Publish);
        self.collect_garbage(settings, &mut list);
        Ok(())
    }

    /// Removes the files that no data is read from any more.
    fn collect_garbage(&self, settings: &Settings, list: &mut Manifest) {
        if settings.aof_disable_auto_gc || list.history.is_empty() {
            return;
        }
        for file in &list.history {
            log::notice!("Removing the history file {} in the background", file.label());
            // What stays is a nuisance, no more.
            let _ = self.disk.remove(&file.path(dir_of(settings)));
        }
        let mut new = list.clone();
        new.take_history();
        match self.store(settings, &mut new) {
            Ok(()) => *list = new,
            Err(e) => {
                log::warning!("{}", e.what);
                if e.replaced {
                    *list = new;
                }
            }
        }
    }

    /// Puts the list on disk: at any instant there is a whole one, which names only files that are there.
    fn store(&self, settings: &Settings, list: &mut Manifest) -> Result<(), NotStored> {
        let dir = dir_of(settings);
        let (name, temp) = (manifest_name(&settings.appendfilename), temp_manifest_name(&settings.appendfilename));
        let early = |what: String| NotStored { what, replaced: false };
        let sync_dir = |replaced: bool| {
            self.disk.sync_dir(dir).map_err(|e| NotStored {
                what: format!("Fail to fsync AOF directory {}: {}.", settings.appenddirname, os_reason(&e)),
                replaced,
            })
        };
        let mut file = self
            .disk
            .create(&dir.join(&temp))
            .map_err(|e| early(format!("Can't open the AOF manifest file {temp}: {}", os_reason(&e))))?;
        disk::write(&mut *file, list.to_string().as_bytes()).map_err(|e| {
            early(format!("Error trying to write the temporary AOF manifest file {temp}: {}", os_reason(&e)))
        })?;
        file.sync().map_err(|e| early(format!("Fail to fsync the temp AOF file {temp}: {}.", os_reason(&e))))?;
        drop(file);
        // The names of the files before the list that names them.
        sync_dir(false)?;
        self.disk.rename(&dir.join(&temp), &dir.join(&name)).map_err(|e| {
            early(format!(
                "Error trying to rename the temporary AOF manifest file {temp} into {name}: {}",
                os_reason(&e)
            ))
        })?;
        list.dirty = false;
        sync_dir(true)
    }

    // --- on and off

    /// CONFIG SET appendonly yes; also after a full resync. The file is in force once its first base file is whole.
    pub fn start(self: &Arc<Self>, engine: &Arc<Engine>) -> Result<(), String> {
        const FAILED: &str = "Unable to turn on AOF. Check server logs.";
        let settings = engine.settings();
        if let Err(e) = self.disk.create_dir(dir_of(&settings)) {
            log::warning!("Can't open or create append-only dir {}: {}", settings.appenddirname, os_reason(&e));
            return Err(FAILED.into());
        }
        writer::start(engine, self).map_err(|e| {
            log::warning!("Can't start the thread of the append only file: {}", os_reason(&e));
            FAILED.to_owned()
        })?;
        {
            let _list = self.manifest.lock();
            if self.mode() != Mode::Off {
                return Ok(());
            }
            self.set_mode(Mode::Waiting);
            self.scheduled.store(true, Relaxed);
            let rewriting = self.rewriting.lock();
            if rewriting.is_some() {
                log::notice!(
                    "AOF was enabled but there is already an AOF rewriting in background. Stopping background AOF and \
                     starting a rewrite now."
                );
                self.unwanted.store(true, Relaxed);
                return Ok(());
            }
        }
        if engine.part::<Saver>().must_wait(engine) {
            log::notice!(
                "AOF was enabled but there is already another background operation. An AOF background was scheduled to \
                 start when possible."
            );
            return Ok(());
        }
        // Not waited for: the caller may hold every gate, in a transaction.
        self.begin(engine);
        Ok(())
    }

    /// CONFIG SET appendonly no: what was written is on disk when this returns.
    pub fn stop(&self) {
        if self.turn_off() {
            self.end();
        }
    }

    /// The data set is about to be replaced by a master's, whose stream does not belong into this file. The caller holds
    /// every gate.
    pub fn suspend(&self) {
        if self.turn_off() {
            // Nothing is written any more, so there is nothing to wait for.
            self.order(Order::End(mpsc::channel().0));
        }
    }

    fn turn_off(&self) -> bool {
        step_aside(|| {
            let _list = self.manifest.lock();
            if self.mode() == Mode::Off {
                return false;
            }
            self.set_mode(Mode::Off);
            self.scheduled.store(false, Relaxed);
            let rewriting = self.rewriting.lock();
            if rewriting.is_some() {
                // In stock's words, for which tools look.
                log::notice!("Killing running AOF rewrite child: {}", std::process::id());
            }
            self.unwanted.store(rewriting.is_some(), Relaxed);
            true
        })
    }

    fn end(&self) {
        let (done, ended) = mpsc::channel();
        self.order(Order::End(done));
        step_aside(|| _ = ended.recv());
    }

    /// Everything that the log holds is written and flushed when this returns, or false.
    pub fn flush(&self) -> bool {
        let (done, flushed) = mpsc::channel();
        self.order(Order::Flush(done));
        step_aside(|| flushed.recv()).unwrap_or(false)
    }

    /// `appendfsync` or the like has changed: what it promises holds when this returns.
    pub fn reconfigured(&self) {
        if self.mode() != Mode::Off {
            self.flush();
        }
    }

    /// The process ends. False if it should not, as a first base file is still being written.
    pub fn flush_at_exit(&self, force: bool) -> bool {
        if self.rewrite_runs() {
            if self.mode() == Mode::Waiting {
                if !force {
                    log::warning!("Writing initial AOF, can't exit.");
                    return false;
                }
                log::warning!("Writing initial AOF. Exit anyway.");
            }
            log::warning!("There is a child rewriting the AOF. Killing it!");
            self.unwanted.store(true, Relaxed);
        }
        if self.mode() != Mode::Off {
            log::notice!("Calling fsync() on the AOF file.");
            if !self.flush() {
                log::warning!("The AOF file could not be written to disk.");
            }
        }
        true
    }

    /// The list that was found at boot.
    pub fn take_up(&self, list: Manifest) {
        *self.manifest.lock() = list;
    }

    /// At boot, when the data was loaded from the files of the list: goes on with the last of them, or begins with new
    /// ones. No client is served yet.
    pub fn open(self: &Arc<Self>, engine: &Arc<Engine>) -> Result<(), String> {
        let settings = engine.settings();
        let dir = dir_of(&settings);
        let cannot = |what: &str, e: &io::Error| format!("{what}: {}", os_reason(e));
        self.disk
            .create_dir(dir)
            .map_err(|e| cannot(&format!("Can't open or create append-only dir {}", settings.appenddirname), &e))?;
        let mut new = self.manifest.lock().clone();
        if new.is_empty() {
            self.first_base(engine, &settings, &mut new)?;
        }
        let goes_on = !new.incr.is_empty();
        let last = match new.incr.last() {
            Some(file) => file.clone(),
            None => new.new_incr(&settings.appendfilename).clone(),
        };
        let open_last = || {
            let (mut file, length) = self.disk.append(&last.path(dir))?;
            // What is there was loaded, and is relied on from here on.
            file.sync().map(|()| (file, length))
        };
        let (file, length) =
            open_last().map_err(|e| cannot(&format!("Can't open the append-only file {}", last.label()), &e))?;
        if new.dirty {
            self.store(&settings, &mut new).map_err(|e| e.what)?;
        }
        log::notice!("{} AOF incr file {} on server start", if goes_on { "Opening" } else { "Creating" }, last.label());
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |meta| meta.len());
        let base_bytes = new.base.as_ref().map_or(0, |file| size(&file.path(dir)));
        let all = new.files().map(|file| size(&file.path(dir))).sum();
        self.base_bytes.store(base_bytes, Relaxed);
        self.current_bytes.store(all, Relaxed);
        self.set_mode(Mode::On);
        writer::start(engine, self).map_err(|e| e.to_string())?;
        let cursor = engine.log.attach_end_with_marks();
        let (db, names) = (stream_db(engine), (self.standing_of)(engine).as_ref().map(position::names));
        self.order(Order::Begin(Box::new(Begin { cursor, file, length, db, names, locals: engine.durable.locals() })));
        // It is in force before the first client comes.
        self.flush();
        self.collect_garbage(&settings, &mut new);
        *self.manifest.lock() = new;
        Ok(())
    }

    fn first_base(&self, engine: &Arc<Engine>, settings: &Settings, list: &mut Manifest) -> Result<(), String> {
        let base = list.new_base(&settings.appendfilename, settings.aof_use_rdb_preamble);
        let (name, path) = (base.label(), base.path(dir_of(settings)));
        let temp = TempFile::new(temp_base(settings, "temp-rewriteaof"));
        let form = if settings.aof_use_rdb_preamble { Form::AofBase } else { Form::Requests };
        let write = || {
            let mut file = self.disk.create(temp.path())?;
            let turn = engine.turns.wait();
            walk_as(form, engine, &turn, true, None, || true, || None, |piece| disk::write(&mut *file, &piece))?;
            file.sync()?;
            self.disk.rename(temp.path(), &path)
        };
        write().map_err(|e| format!("Write error writing append only file on disk: {}", os_reason(&e)))?;
        log::notice!("Creating AOF base file {name} on server start");
        Ok(())
    }

    // --- what happens by itself

    /// Rewrites that are due; called by the cron.
    pub fn cron(self: &Arc<Self>, engine: &Arc<Engine>, now_ms: i64) {
        let state = &engine.state;
        if state.is_loading() || state.async_loading.load(Relaxed) || state.shutting_down.load(Relaxed) {
            return;
        }
        let settings = engine.settings();
        let in_step = !state.is_replica() || state.link_up.load(Relaxed);
        if settings.appendonly && self.mode() == Mode::Off && in_step {
            log::notice!("Restarting AOF, which a new data set had ended");
            // Logged where it fails, and tried again.
            let _ = self.start(engine);
            return;
        }
        if self.rewrite_runs() || engine.part::<Saver>().must_wait(engine) {
            return;
        }
        let now_s = now_ms / 1000;
        if self.scheduled.load(Relaxed) && !self.is_limited(now_s) {
            self.begin(engine);
            return;
        }
        let bytes = self.current_bytes.load(Relaxed);
        let percent = settings.auto_aof_rewrite_percentage;
        if self.mode() != Mode::On || percent == 0 || bytes <= settings.auto_aof_rewrite_min_size {
            return;
        }
        let base = self.base_bytes.load(Relaxed).max(1);
        let growth = (u128::from(bytes) * 100 / u128::from(base)) as i64 - 100;
        if growth >= percent && !self.is_limited(now_s) {
            log::notice!("Starting automatic rewriting of AOF on {growth}% growth");
            self.begin(engine);
        }
    }

    /// Whether the next attempt has to wait since several failed: else many small files would gather.
    fn is_limited(&self, now_s: i64) -> bool {
        let mut limit = self.limit.lock();
        if self.failures.load(Relaxed) < FAILURES_MAX {
            *limit = Limit::default();
            return false;
        }
        if limit.next_s != 0 {
            if now_s < limit.next_s {
                return true;
            }
            limit.next_s = 0;
            return false;
        }
        limit.delay_min = (limit.delay_min * 2).clamp(1, LONGEST_DELAY_MIN);
        limit.next_s = now_s + limit.delay_min * 60;
        log::warning!(
            "Background AOF rewrite has repeatedly failed and triggered the limit, will retry in {} minutes",
            limit.delay_min
        );
        true
    }
}

/// The list is not certain to be on disk.
pub(super) struct NotStored {
    pub what: String,
    /// It has taken the old one's place all the same.
    pub replaced: bool,
}

/// Where a base file is written before it gets its name. There is one snapshot at a time, so that one name does.
fn temp_base(settings: &Settings, what: &str) -> PathBuf {
    Path::new(&settings.dir).join(format!("{what}-{}.aof", std::process::id()))
}

/// A file's bare name, as the log tells it.
fn shown(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What a file that begins at this instant has to select. With every gate held.
fn stream_db(engine: &Engine) -> Option<i32> {
    if !engine.state.is_replica() {
        // The stream will say so itself.
        engine.log.forget_selected_db();
        return None;
    }
    // The stream is our master's: nothing can be put into it.
    engine.log.with(|log| log.selected_db()).filter(|db| *db >= 0)
}
