//! Snapshots to a file: SAVE, BGSAVE, save points, and what INFO tells of them.
//!
//! Knows how a file is replaced safely; what is in it is `walk`'s business.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tracing::{error, info, warn};

use super::disk::{self, Disk, DiskError};
use super::history::{self, Held, Standing};
use super::load::Loaded;
use super::walk::{Cut, walk_in_turn};
use crate::base::{clock, os_reason};
use crate::config::Settings;
use crate::exec::engine::Engine;
use crate::exec::gate::{AllGates, step_aside};
use crate::exec::turn::Turn;
use crate::rdb::Dialect;

/// A failed save is not tried again for so long.
const RETRY_S: i64 = 5;

/// How long FLUSHALL waits for a snapshot under way before it leaves its own to the cron.
const FLUSHED_PATIENCE: Duration = Duration::from_millis(200);

/// Tells where in the replication stream a cut is made; called with every gate held.
pub type CutAt = Box<dyn Fn(&Engine) -> Option<Cut> + Send + Sync>;

/// The state of saving. A part of the engine.
pub struct Saver {
    disk: Arc<dyn Disk>,
    cut_at: CutAt,
    /// Since when a BGSAVE runs, unix s.
    running: Mutex<Option<i64>>,
    /// A BGSAVE came inside a transaction.
    scheduled: std::sync::atomic::AtomicBool,
    pub last_took_s: AtomicI64,
    last_try_s: AtomicI64,
    pub saves: AtomicU64,
    /// Bytes that writers made the last BGSAVE keep.
    pub last_kept_bytes: AtomicU64,
    pub last_loaded: AtomicU64,
    pub last_expired: AtomicU64,
}

/// Why a BGSAVE does not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InProgress;

impl Saver {
    pub fn new(disk: Arc<dyn Disk>, cut_at: CutAt) -> Self {
        Self {
            disk,
            cut_at,
            running: Mutex::new(None),
            scheduled: Default::default(),
            last_took_s: AtomicI64::new(-1),
            last_try_s: AtomicI64::new(0),
            saves: AtomicU64::new(0),
            last_kept_bytes: AtomicU64::new(0),
            last_loaded: AtomicU64::new(0),
            last_expired: AtomicU64::new(0),
        }
    }

    pub fn note_loaded(&self, loaded: &Loaded) {
        self.last_loaded.store(loaded.keys, Relaxed);
        self.last_expired.store(loaded.expired, Relaxed);
    }

    pub fn in_progress(&self) -> bool {
        self.running.lock().is_some()
    }

    /// Whether a snapshot of any kind is being taken: to the file, or to replicas.
    pub fn must_wait(&self, engine: &Engine) -> bool {
        self.in_progress() || engine.turns.is_taken()
    }

    /// Seconds the running BGSAVE has taken, -1 if none runs.
    pub fn current_took_s(&self) -> i64 {
        self.running.lock().map_or(-1, |since| clock::now_ms() / 1000 - since)
    }

    /// Saves now, on this thread.
    pub fn save(&self, engine: &Arc<Engine>) -> Result<(), DiskError> {
        self.save_in_turn(engine, &engine.turns.wait(), None, || {})
    }

    /// Saves with every gate held, so that nothing changes until the caller lets go of them.
    pub fn save_alone(&self, engine: &Arc<Engine>, turn: &Turn<'_>, gates: &AllGates<'_>) -> Result<(), DiskError> {
        self.save_in_turn(engine, turn, Some(gates), || {})
    }

    /// FLUSHALL: a file with what is gone is of no use any more. Where save points are set, the file tells so at once,
    /// as in stock servers.
    pub fn flushed(&self, engine: &Arc<Engine>) {
        let saves = !engine.settings().save.is_empty();
        {
            let running = self.running.lock();
            if running.is_some() {
                engine.state.save_unwanted.store(true, Relaxed);
            }
        }
        if saves && !engine.state.shutting_down.load(Relaxed) {
            step_aside(|| match engine.turns.wait_for(FLUSHED_PATIENCE) {
                // Logged where it fails; the keys are gone all the same.
                Some(turn) => _ = self.save_in_turn(engine, &turn, None, || {}),
                // Replicas are being synced, who may be slow.
                None => self.schedule(),
            });
        }
    }

    /// `at_cut` is called at the instant whose data is saved, with every gate held.
    fn save_in_turn(
        &self,
        engine: &Arc<Engine>,
        turn: &Turn<'_>,
        gates: Option<&AllGates<'_>>,
        at_cut: impl FnOnce(),
    ) -> Result<(), DiskError> {
        let dirty = AtomicU64::new(0);
        let cut = || {
            dirty.store(engine.state.dirty.load(Relaxed), Relaxed);
            at_cut();
            (self.cut_at)(engine)
        };
        let path = rdb_path(&engine.settings());
        let result = write_file(&self.disk, engine, turn, gates, &path, cut);
        let state = &engine.state;
        match &result {
            Ok(()) => {
                info!("DB saved on disk");
                state.dirty.fetch_sub(dirty.load(Relaxed), Relaxed);
                state.last_save_s.store(clock::now_ms() / 1000, Relaxed);
                state.save_failed.store(false, Relaxed);
                self.saves.fetch_add(1, Relaxed);
            }
            Err(_) if state.save_unwanted.load(Relaxed) => {}
            Err(e) => warn!("{}", describe(e)),
        }
        result
    }

    /// Begins a save on a thread of its own. When this returns, what is saved is settled: later changes are not in it.
    pub fn save_in_background(self: &Arc<Self>, engine: &Arc<Engine>) -> Result<(), InProgress> {
        let started_s = clock::now_ms() / 1000;
        {
            let mut running = self.running.lock();
            if running.is_some() {
                return Err(InProgress);
            }
            *running = Some(started_s);
        }
        let (me, engine) = (self.clone(), engine.clone());
        let (cut, settled) = mpsc::channel();
        let spawned = std::thread::Builder::new().name("bgsave".into()).spawn(move || {
            // A sync may take as long as a replica's network: whoever asked for a save is not to wait for that.
            let Some(turn) = engine.turns.now() else {
                *me.running.lock() = None;
                let _ = cut.send(Err(InProgress));
                return;
            };
            me.last_try_s.store(started_s, Relaxed);
            info!("Background saving started by pid {}", std::process::id());
            // A save that fails before the cut drops the sender, which tells as well.
            let ok = me.save_in_turn(&engine, &turn, None, move || _ = cut.send(Ok(()))).is_ok();
            let state = &engine.state;
            me.last_kept_bytes.store(state.snapshot_kept_bytes.load(Relaxed), Relaxed);
            if ok {
                info!("Background saving terminated with success");
            } else if state.save_unwanted.load(Relaxed) {
                warn!("Background saving given up: the data was flushed");
            } else {
                error!("Background saving error");
                // Only where nobody waits for the answer do clients have to be stopped.
                engine.state.save_failed.store(true, Relaxed);
            }
            me.last_took_s.store(clock::now_ms() / 1000 - started_s, Relaxed);
            // In this order: who sees that no save runs may begin one, and what was meant for this one is not for the next.
            let mut running = me.running.lock();
            state.save_unwanted.store(false, Relaxed);
            drop(turn);
            *running = None;
        });
        if let Err(e) = spawned {
            error!("Can't save in background: {e}");
            *self.running.lock() = None;
        }
        step_aside(|| settled.recv()).unwrap_or(Ok(()))
    }

    /// A save as soon as the cron comes by.
    pub fn schedule(&self) {
        self.scheduled.store(true, Relaxed);
    }

    /// Save points and scheduled saves; called by the cron.
    pub fn cron(self: &Arc<Self>, engine: &Arc<Engine>, now_ms: i64) {
        if self.must_wait(engine) || engine.state.is_loading() {
            return;
        }
        if self.scheduled.swap(false, Relaxed) {
            if self.save_in_background(engine).is_err() {
                self.schedule();
            }
            return;
        }
        let now_s = now_ms / 1000;
        let (dirty, last) = (engine.state.dirty.load(Relaxed), engine.state.last_save_s.load(Relaxed));
        let failed = engine.state.save_failed.load(Relaxed);
        if failed && now_s - self.last_try_s.load(Relaxed) <= RETRY_S {
            return;
        }
        for point in &engine.settings().save {
            if dirty >= point.changes && now_s - last > point.seconds as i64 {
                info!("{} changes in {} seconds. Saving...", point.changes, point.seconds);
                let _ = self.save_in_background(engine);
                return;
            }
        }
    }
}

/// Where the data set is kept.
pub fn rdb_path(settings: &Settings) -> PathBuf {
    Path::new(&settings.dir).join(&settings.dbfilename)
}

/// Writes a snapshot beside the file, flushes it to disk, and puts it in the file's place: at any instant there is one
/// whole file. What the log holds is kept beside it, for replicas that are behind.
fn write_file(
    disk: &Arc<dyn Disk>,
    engine: &Arc<Engine>,
    turn: &Turn<'_>,
    gates: Option<&AllGates<'_>>,
    path: &Path,
    at_cut: impl FnOnce() -> Option<Cut>,
) -> Result<(), DiskError> {
    let backlog_path = history::beside(path);
    let (held, backlog) = (Cell::new(None), Cell::new(None));
    let cut = || {
        let cut = at_cut()?;
        let (replid, former) = (cut.replid.clone(), cut.former.clone());
        let standing = Standing { replid, offset: cut.offset, stream_db: cut.stream_db.into(), former };
        held.set(Held::take(&engine.log, standing));
        Some(cut)
    };
    // There is one snapshot at a time, so that one name does.
    let temp = format!("temp-{}.rdb", std::process::id());
    let prepared = disk::prepare(disk, path, &temp, |file| {
        let put = |piece: Bytes| {
            // As soon as the cut is made: what comes meanwhile cannot leave the log.
            if let Some(held) = held.take() {
                match held.prepare(disk, &backlog_path, b"") {
                    Ok(prepared) => backlog.set(Some(prepared)),
                    Err(e) => warn!("The replication backlog is not saved: {e}"),
                }
            }
            file.write_all(&piece)
        };
        let wanted = || !engine.state.save_unwanted.load(Relaxed);
        walk_in_turn(engine, turn, true, Dialect::Redis, gates, wanted, cut, put).map(drop)
    })?;
    match backlog.take() {
        // Before the data set: it serves the one that is there as well.
        Some(backlog) => backlog.put_in_place().unwrap_or_else(|e| warn!("The replication backlog is not saved: {e}")),
        None => history::remove(&backlog_path),
    }
    prepared.put_in_place()
}

/// What failed, as stock servers log it.
fn describe(error: &DiskError) -> String {
    let dir = std::env::current_dir().unwrap_or_default();
    let dir = dir.display();
    match error {
        DiskError::Create { path, source } => format!(
            "Failed opening the temp RDB file {} (in server root dir {dir}) for saving: {}",
            path.display(),
            os_reason(source)
        ),
        DiskError::Write { step, source } => {
            format!("Write error while saving DB to the disk({step}): {}", os_reason(source))
        }
        DiskError::Rename { from, to, source } => format!(
            "Error moving temp DB file {} on the final destination {} (in server root dir {dir}): {}",
            from.display(),
            to.display(),
            os_reason(source)
        ),
        DiskError::SyncDir(source) => format!("Failed to fsync directory while saving DB: {}", os_reason(source)),
    }
}

#[cfg(test)]
mod tests {
    use std::any::Any;
    use std::fs;

    use super::*;
    use crate::config::Config;
    use crate::keyspace::{Data, KeepTtl, Key, Keyspace, Unit};
    use crate::persist::disk::fault::FaultyDisk;
    use crate::persist::disk::model::ModelDisk;
    use crate::persist::load::{Expired, Loading, load_with};

    fn engine(dir: &Path, disk: Arc<dyn Disk>) -> (Arc<Engine>, Arc<Saver>) {
        let settings = Settings { dir: dir.display().to_string(), ..Settings::default() };
        let engine = Engine::new(Config::from_settings(settings), crate::server::commands::table(), 1);
        let saver = Arc::new(Saver::new(disk, Box::new(here)));
        engine.extend([saver.clone() as Arc<dyn Any + Send + Sync>]);
        engine.log.create_backlog();
        (engine, saver)
    }

    fn here(engine: &Engine) -> Option<Cut> {
        let replid = "a".repeat(40);
        Some(Cut { replid, offset: engine.log.end_offset(), stream_db: 0, former: Vec::new() })
    }

    fn set(engine: &Engine, name: &[u8]) {
        let mut unit = Unit::default();
        let key = Key::new(name);
        Data::lock_one(&engine.ks, key.hash, 0, &mut unit).set_string(key, b"v", None, KeepTtl::Replace(None));
        engine.log.append(b"written");
    }

    /// How many keys are in a file.
    fn keys(engine: &Engine, file: &[u8]) -> u64 {
        let ks = Keyspace::new(4, 16);
        load_with(&ks, file, &Loading::of(engine, Expired::Keep), |_| 0).unwrap().keys
    }

    #[test]
    fn whichever_step_of_a_save_fails_the_file_that_was_there_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dump.rdb");
        let steps = FaultyDisk::steps_of(|disk| {
            let (engine, saver) = engine(dir.path(), disk.clone());
            set(&engine, b"a");
            saver.save(&engine).unwrap();
        });
        let good = fs::read(&path).unwrap();
        let (engine, _) = engine(dir.path(), Arc::new(disk::FileSystem));
        set(&engine, b"a");
        set(&engine, b"b");
        for (fault, disk) in FaultyDisk::all(steps) {
            let saver = Saver::new(disk, Box::new(here));
            let failed = saver.save(&engine).is_err();
            let there = fs::read(&path).unwrap();
            if there == good {
                assert!(failed, "{fault:?}");
            } else {
                // Renamed it is the new one, though the disk may forget it; and the backlog is worth no failure.
                assert_eq!(keys(&engine, &there), 2, "{fault:?}");
                fs::write(&path, &good).unwrap();
            }
            let temps = fs::read_dir(dir.path())
                .unwrap()
                .filter(|e| e.as_ref().is_ok_and(|e| e.file_name().to_string_lossy().starts_with("temp")));
            assert_eq!(temps.count(), 0, "{fault:?}");
        }
    }

    #[test]
    fn a_loss_of_power_in_a_save_leaves_a_whole_file_and_a_whole_backlog() {
        let dir = tempfile::tempdir().unwrap();
        let (path, backlog) = (dir.path().join("dump.rdb"), dir.path().join("dump.rdb.backlog"));
        let model = ModelDisk::default();
        let (engine, saver) = engine(dir.path(), Arc::new(model.clone()));
        set(&engine, b"0");
        saver.save(&engine).unwrap();
        let (mut saved, mut at, mut ok) = (1, 0, false);
        while !ok {
            set(&engine, (at + 1).to_string().as_bytes());
            model.lose_power_at(at);
            ok = saver.save(&engine).is_ok();
            for flushed_only in [false, true] {
                let there = keys(&engine, &model.content(&path, flushed_only).expect("a file"));
                assert!(there == saved || there == at as u64 + 2, "step {at}, flushed only: {flushed_only}: {there}");
                // Whatever data set it is found with: the history of both is in it.
                let kept = model.content(&backlog, flushed_only).expect("a backlog");
                assert!(kept.starts_with(b"PANDOBL1") && kept.len() as u64 > 7 * there, "step {at}");
            }
            // The next one finds what is on disk after the power came back.
            model.power_back();
            saved = keys(&engine, &model.content(&path, true).expect("a file"));
            at += 1;
        }
        assert!(at > 11, "{at} steps");
    }
}
