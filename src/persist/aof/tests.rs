//! The append-only file on a disk that fails: every step of it, once or for good, with and without what was not flushed.
//!
//! The disk is a model. It keeps for each file what was written and what was flushed, and for names as well, so that a
//! loss of power can be had at any step: what is found afterwards is loaded by the loader.

use std::any::Any;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::base::clock;
use crate::config::{AppendFsync, Config, SetContext, Settings};
use crate::exec::Engine;
use crate::keyspace::{Data, KeepTtl, Key, Unit};
use crate::persist::disk::fault::{EIO, ENOSPC, Fault, Faults};
use crate::persist::disk::model::ModelDisk;
use crate::persist::disk::{Disk, FileSystem};
use crate::persist::{Saver, load as snapshot};
use crate::resp::encode_command;
use crate::server::commands::table;

/// An engine whose files lie in this directory.
fn engine(dir: &Path, disk: Arc<dyn Disk>, policy: AppendFsync) -> (Arc<Engine>, Arc<Aof>) {
    let settings = Settings {
        dir: dir.display().to_string(),
        appenddirname: dir.join("aof").display().to_string(),
        appendonly: true,
        appendfsync: policy,
        ..Settings::default()
    };
    let engine = Engine::new(Config::from_settings(settings), table(), 1);
    let aof = Arc::new(Aof::new(disk, |_| None));
    engine.extend([
        Arc::new(Saver::new(Arc::new(FileSystem), Box::new(|_| None))) as Arc<dyn Any + Send + Sync>,
        aof.clone(),
    ]);
    (engine, aof)
}

fn key(i: usize) -> Vec<u8> {
    format!("key:{i}").into_bytes()
}

/// SET, as a worker carries it out.
fn set(engine: &Arc<Engine>, i: usize) {
    let _gate = engine.gates.pass(engine.gates.outsider());
    let (name, value) = (key(i), i.to_string().into_bytes());
    let mut unit = Unit::default();
    let key = Key::new(&name);
    let mut data = Data::lock_one(&engine.ks, key.hash, 0, &mut unit);
    data.set_string(key, &value, None, KeepTtl::Replace(None));
    engine.log.with(|log| {
        let mut request = Vec::new();
        if log.selected_db() != 0 {
            encode_command(&mut request, ["SELECT", "0"]);
            log.set_selected_db(0);
        }
        encode_command(&mut request, [&b"SET"[..], &name, &value]);
        log.write(&request);
    });
    drop(data);
    engine.log.append_aside(b"*1\r\n$4\r\nPING\r\n");
    engine.log.notify_readers();
}

/// One life of a server: writes, rewrites, off and on. `sure` counts the keys that were said to be on disk.
struct Life {
    engine: Arc<Engine>,
    aof: Arc<Aof>,
    keys: usize,
    sure: usize,
    /// The disk works again after a fault: then everything must get there in the end.
    heals: bool,
}

impl Life {
    fn write(&mut self, n: usize) {
        for _ in 0..n {
            set(&self.engine, self.keys);
            self.keys += 1;
        }
        let end = self.engine.log.end_offset();
        while self.aof.mode() == Mode::On {
            let flushed = self.aof.flush();
            if self.engine.durable.on_disk(&self.engine.log) >= end {
                self.sure = self.keys;
                return;
            }
            if !self.heals {
                return;
            }
            if flushed {
                // A flush had failed: the file is being written anew.
                self.aof.cron(&self.engine, clock::now_ms());
                self.wait();
            }
        }
    }

    /// Until no rewrite runs.
    fn wait(&self) {
        while self.aof.rewrite_runs() {
            // It has the turn until it is over.
            drop(self.engine.turns.wait());
        }
    }

    fn rewrite(&mut self) {
        // Refused, it leaves everything as it is.
        self.aof.rewrite(&self.engine, false);
        self.wait();
    }

    fn live(&mut self) {
        if let Err(e) = self.aof.open(&self.engine) {
            assert!(!e.is_empty());
            return;
        }
        self.write(3);
        self.rewrite();
        self.write(3);
        self.rewrite();
        self.write(1);
        self.aof.stop();
        self.write(2);
        let _ = self.aof.start(&self.engine);
        self.wait();
        while self.heals && self.aof.mode() != Mode::On {
            self.aof.cron(&self.engine, clock::now_ms());
            self.wait();
        }
        self.write(2);
        self.rewrite();
        self.write(1);
    }
}

/// Runs a life with that fault; gives it, and the disk as it was left.
fn run(dir: &Path, fault: Option<(usize, Fault)>) -> (Life, ModelDisk) {
    let disk = ModelDisk::with(fault.map_or_else(Faults::default, |(at, fault)| Faults::at(at, fault, true)));
    let (engine, aof) = engine(dir, Arc::new(disk.clone()), AppendFsync::No);
    let heals = fault.is_none_or(|(_, fault)| fault != Fault::PowerLoss);
    let mut life = Life { engine, aof, keys: 0, sure: 0, heals };
    life.live();
    (life, disk)
}

/// A server that looks at one disk after the other.
struct Finder {
    dir: tempfile::TempDir,
    engine: Arc<Engine>,
    /// The files of the last look and what was found: most often power is lost where all was flushed.
    last: RefCell<(Vec<(PathBuf, Vec<u8>)>, usize)>,
}

impl Finder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (engine, _) = engine(dir.path(), Arc::new(ModelDisk::default()), AppendFsync::No);
        Self { dir, engine, last: RefCell::default() }
    }

    /// What it finds on this one: how many keys, which are the first that were written, with their values.
    #[track_caller]
    fn found(&self, disk: &ModelDisk, flushed_only: bool, what: &str) -> usize {
        let real = self.dir.path().join("aof");
        let mut files = Vec::new();
        for (path, bytes) in disk.lock().files(flushed_only) {
            if path.parent().is_some_and(|parent| parent.ends_with("aof")) {
                files.push((real.join(path.file_name().unwrap()), bytes.to_vec()));
            }
        }
        let mut last = self.last.borrow_mut();
        if files == last.0 {
            return last.1;
        }
        let _ = std::fs::remove_dir_all(&real);
        std::fs::create_dir(&real).unwrap();
        files.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
        let engine = &self.engine;
        snapshot::empty(engine);
        let mut list = files::read_manifest(&engine.settings()).unwrap_or_else(|e| panic!("{what}: {e}"));
        load::load(engine, &mut list).unwrap_or_else(|e| panic!("{what}: {e}\n{list}"));
        let keys = engine.ks.count(0).0;
        let mut unit = Unit::default();
        let mut data = Data::lock_alone(&engine.ks, 0, &mut unit);
        for i in 0..keys {
            let name = key(i);
            let entry = data.peek(Key::new(&name)).unwrap_or_else(|| panic!("{what}: key {i} of {keys} is missing"));
            assert_eq!(entry.value().as_str(&mut itoa::Buffer::new()), i.to_string().as_bytes(), "{what}: key {i}");
        }
        *last = (files, keys);
        keys
    }
}

#[test]
fn a_life_without_faults_is_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (life, disk) = run(dir.path(), None);
    assert_eq!((life.keys, life.sure), (12, 12));
    let finder = Finder::new();
    assert_eq!(finder.found(&disk, false, "written"), 12);
    assert_eq!(finder.found(&disk, true, "flushed"), 12);
    let model = disk.lock();
    let names: Vec<_> = model.names.keys().filter_map(|path| path.file_name()).collect();
    assert_eq!(names, ["appendonly.aof.5.base.rdb", "appendonly.aof.5.incr.aof", "appendonly.aof.manifest"]);
}

#[test]
fn a_loss_of_power_at_any_step_loses_nothing_that_was_sure() {
    let (dir, finder) = (tempfile::tempdir().unwrap(), Finder::new());
    let mut step = 0;
    loop {
        let (life, disk) = run(dir.path(), Some((step, Fault::PowerLoss)));
        for flushed_only in [false, true] {
            let what = format!("power lost at step {step}, flushed only: {flushed_only}");
            let keys = finder.found(&disk, flushed_only, &what);
            assert!(keys >= life.sure, "{what}: {keys} keys, {} were sure", life.sure);
            assert!(keys <= life.keys, "{what}");
        }
        if !disk.lock().faults.dead {
            break;
        }
        step += 1;
    }
    assert!(step > 40, "{step} steps");
}

#[test]
fn a_single_fault_at_any_step_heals() {
    let (dir, finder) = (tempfile::tempdir().unwrap(), Finder::new());
    let mut step = 0;
    loop {
        let errno = [ENOSPC, EIO][step % 2];
        let (life, disk) = run(dir.path(), Some((step, Fault::Once(errno))));
        let what = format!("error {errno} at step {step}");
        if life.aof.mode() == Mode::On {
            assert_eq!(life.sure, life.keys, "{what}");
            assert_eq!(finder.found(&disk, false, &what), life.keys, "{what}");
            assert_eq!(finder.found(&disk, true, &what), life.keys, "{what}, flushed");
            assert!(!life.engine.durable.is_failing(), "{what}");
        } else {
            assert_eq!(life.keys, 0, "{what}: only the start gives up");
        }
        if disk.lock().faults.steps <= step {
            break;
        }
        step += 1;
    }
}

/// A writer that nobody drives but the test.
fn by_hand(dir: &Path, disk: &ModelDisk, policy: AppendFsync) -> (Arc<Engine>, Arc<Aof>, writer::Writer) {
    let (engine, aof) = engine(dir, Arc::new(disk.clone()), policy);
    let file = disk.create(&dir.join("incr")).unwrap();
    let cursor = engine.log.attach_end_with_marks();
    aof.set_mode(Mode::On);
    aof.order(state::Order::Begin(Box::new(state::Begin {
        cursor,
        file,
        length: 0,
        db: None,
        names: None,
        locals: 0,
    })));
    let mut writer = writer::Writer::new(engine.clone(), aof.clone());
    assert!(writer.turn().is_ok());
    (engine, aof, writer)
}

fn fail_next(disk: &ModelDisk, ahead: usize) {
    disk.lock().faults.fail_next(ahead, Fault::Once(ENOSPC));
}

#[test]
fn writes_are_refused_while_the_disk_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let disk = ModelDisk::default();
    let (engine, _aof, mut writer) = by_hand(dir.path(), &disk, AppendFsync::Everysec);
    set(&engine, 0);
    assert!(matches!(writer.turn(), Ok(writer::Turn::Wrote)));
    let whole = disk.lock().inodes[0].written.clone();
    set(&engine, 1);
    fail_next(&disk, 0);
    assert!(matches!(writer.turn(), Ok(writer::Turn::Failed)));
    assert_eq!(disk.lock().inodes[0].written, whole, "the half is taken back");
    assert_eq!(engine.durable.refusal().to_string(), "MISCONF Errors writing to the AOF file: No space left on device");
    assert!(engine.durable.is_failing() && !engine.durable.holds(engine.log.end_offset()), "reads go on");
    assert!(matches!(writer.turn(), Ok(writer::Turn::Wrote)));
    assert!(!engine.durable.is_failing());
    let text = String::from_utf8(disk.lock().inodes[0].written.clone()).unwrap();
    assert!(text.ends_with("key:1\r\n$1\r\n1\r\n") && !text.contains("PING"), "{text}");
}

#[test]
fn a_half_that_cannot_be_taken_back_is_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let disk = ModelDisk::default();
    let (engine, _aof, mut writer) = by_hand(dir.path(), &disk, AppendFsync::Everysec);
    set(&engine, 0);
    fail_next(&disk, 0);
    assert!(matches!(writer.turn(), Ok(writer::Turn::Failed)));
    let before = disk.lock().inodes[0].written.len();
    assert_eq!(before, 0);
    set(&engine, 1);
    while !matches!(writer.turn(), Ok(writer::Turn::Idle)) {}
    let text = String::from_utf8(disk.lock().inodes[0].written.clone()).unwrap();
    assert_eq!(text.matches("SET").count(), 2, "{text}");
}

#[test]
fn with_always_an_error_is_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let disk = ModelDisk::default();
    let (engine, _aof, mut writer) = by_hand(dir.path(), &disk, AppendFsync::Always);
    set(&engine, 0);
    assert!(engine.durable.holds(engine.log.end_offset()), "replies wait");
    assert!(writer.turn().is_ok());
    assert!(!engine.durable.holds(engine.log.end_offset()));
    assert_eq!(engine.durable.on_disk(&engine.log), engine.log.end_offset());
    for ahead in [0, 1] {
        set(&engine, 1 + ahead);
        fail_next(&disk, ahead);
        let Err(writer::Fatal(line)) = writer.turn() else { panic!("it went on") };
        assert!(line.ends_with("Exiting..."), "{line}");
        assert!(engine.durable.holds(engine.log.end_offset()), "nobody is told");
        disk.lock().faults.heal();
    }
}

#[test]
fn a_failed_flush_is_made_up_for_by_a_new_base_file() {
    let dir = tempfile::tempdir().unwrap();
    let disk = ModelDisk::default();
    let (engine, aof, mut writer) = by_hand(dir.path(), &disk, AppendFsync::Everysec);
    set(&engine, 0);
    assert!(writer.turn().is_ok());
    let (done, _flushed) = std::sync::mpsc::channel();
    fail_next(&disk, 0);
    aof.order(state::Order::Flush(done));
    assert!(writer.turn().is_ok());
    assert!(engine.durable.is_failing() && aof.is_tainted());
    let (done, flushed) = std::sync::mpsc::channel();
    aof.order(state::Order::Flush(done));
    assert!(writer.turn().is_ok());
    assert_eq!(flushed.recv(), Ok(true));
    assert!(!engine.durable.is_failing(), "writes go on");
    assert!(engine.durable.on_disk(&engine.log) < engine.log.end_offset(), "but it is not said to be on disk");
    aof.cover_taints();
    aof.uncover_taints();
    assert!(writer.turn().is_ok());
    assert_eq!(engine.durable.on_disk(&engine.log), engine.log.end_offset());
}

#[test]
fn another_history_ends_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let disk = ModelDisk::default();
    let (engine, aof, mut writer) = by_hand(dir.path(), &disk, AppendFsync::Always);
    set(&engine, 0);
    engine.log.create_backlog();
    engine.log.reset(5000);
    assert!(writer.turn().is_ok());
    assert_eq!(aof.mode(), Mode::Off);
    assert_eq!(engine.durable.on_disk(&engine.log), -1);
    assert!(!engine.durable.holds(i64::MAX));
}

#[test]
fn times_are_noted_before_what_was_done_then() {
    let dir = tempfile::tempdir().unwrap();
    let disk = ModelDisk::default();
    let (engine, _aof, mut writer) = by_hand(dir.path(), &disk, AppendFsync::No);
    for (unix_s, i) in [(100, 0), (100, 1), (102, 2)] {
        engine.log.with(|log| log.moment(unix_s));
        set(&engine, i);
    }
    while !matches!(writer.turn(), Ok(writer::Turn::Idle)) {}
    let text = String::from_utf8(disk.lock().inodes[0].written.clone()).unwrap();
    let stamps: Vec<&str> = text.lines().filter(|line| line.starts_with('#') || line.starts_with("key")).collect();
    assert_eq!(stamps, ["#TS:100", "key:0", "key:1", "#TS:102", "key:2"], "{text}");
}

#[test]
fn nothing_is_flushed_while_a_rewrite_runs_if_that_is_wanted() {
    for wanted in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let disk = ModelDisk::default();
        let (engine, aof, mut writer) = by_hand(dir.path(), &disk, AppendFsync::Always);
        let word = if wanted { "yes" } else { "no" };
        engine.config.set(&["no-appendfsync-on-rewrite", word], SetContext { loading: false, local: true }).unwrap();
        let unflushed = || {
            let model = disk.lock();
            model.inodes[0].written.len() - model.inodes[0].flushed.len()
        };
        let waits = || engine.durable.holds(engine.log.end_offset());
        let is_sure = || engine.durable.on_disk(&engine.log) == engine.log.end_offset();
        *aof.rewriting.lock() = Some(1);
        set(&engine, 0);
        assert!(waits(), "it is not even written");
        assert!(writer.turn().is_ok());
        assert!(!waits());
        assert_eq!((unflushed() > 0, is_sure()), (wanted, !wanted), "put off: {wanted}");
        // Right behind the rewrite, before the writer has looked: what is new is not let through by what was.
        *aof.rewriting.lock() = None;
        set(&engine, 1);
        assert!(waits(), "put off: {wanted}");
        assert!(writer.turn().is_ok());
        assert_eq!((unflushed(), waits(), is_sure()), (0, false, true), "put off: {wanted}");
    }
}

#[test]
fn a_rewritten_file_goes_to_disk_in_portions_if_that_is_wanted() {
    const BYTES: usize = 20 << 20;
    for wanted in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let disk = ModelDisk::default();
        let (engine, aof) = engine(dir.path(), Arc::new(disk.clone()), AppendFsync::No);
        let word = if wanted { "yes" } else { "no" };
        engine
            .config
            .set(
                &["aof-rewrite-incremental-fsync", word, "rdbcompression", "no"],
                SetContext { loading: false, local: true },
            )
            .unwrap();
        for i in 0..BYTES >> 20 {
            let (name, value) = (key(i), vec![b'x'; 1 << 20]);
            let _gate = engine.gates.pass(engine.gates.outsider());
            let mut unit = Unit::default();
            let key = Key::new(&name);
            Data::lock_one(&engine.ks, key.hash, 0, &mut unit).set_string(key, &value, None, KeepTtl::Replace(None));
        }
        aof.rewrite(&engine, false);
        while aof.rewrite_runs() {
            std::thread::yield_now();
        }
        let model = disk.lock();
        let base = model.inodes.iter().max_by_key(|inode| inode.written.len()).unwrap();
        assert!(base.flushed.len() >= BYTES, "{} bytes", base.flushed.len());
        assert_eq!(base.most_unflushed < BYTES / 2, wanted, "{} bytes at once", base.most_unflushed);
    }
}
