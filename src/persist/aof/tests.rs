//! The append-only file on a disk that fails: every step of it, once or for good, with and without what was not flushed.
//!
//! The disk is a model. It keeps for each file what was written and what was flushed, and for names as well, so that a
//! loss of power can be had at any step: what is found afterwards is loaded by the loader.

use std::any::Any;
use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::*;
use crate::base::clock;
use crate::config::{AppendFsync, Config, Settings};
use crate::exec::Engine;
use crate::keyspace::{Data, KeepTtl, Key, Unit};
use crate::persist::Saver;
use crate::resp::encode_command;
use crate::server::commands::table;

/// How a step fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// With this error of the system; a write takes half of what it was given first.
    Once(i32),
    /// The power goes: this step is done by half or not at all, and there is none after it.
    PowerLoss,
}

const ENOSPC: i32 = 28;
const EIO: i32 = 5;

#[derive(Clone, Default)]
struct Inode {
    written: Vec<u8>,
    flushed: Vec<u8>,
    lost: Vec<Range<usize>>,
}

#[derive(Default)]
struct Model {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    names_flushed: BTreeMap<PathBuf, usize>,
    steps: usize,
    fault: Option<(usize, Fault)>,
    half_done: bool,
    dead: bool,
}

impl Model {
    /// Counts a step, and lets it fail if it is its turn.
    fn step(&mut self) -> io::Result<()> {
        let number = self.steps;
        self.steps += 1;
        match self.fault {
            _ if self.dead => Err(io::Error::from_raw_os_error(EIO)),
            Some((at, Fault::Once(errno))) if at == number => Err(io::Error::from_raw_os_error(errno)),
            Some((at, Fault::PowerLoss)) if at == number => {
                self.dead = true;
                Err(io::Error::from_raw_os_error(EIO))
            }
            _ => Ok(()),
        }
    }
}

#[derive(Clone, Default)]
struct ModelDisk(Arc<Mutex<Model>>);

struct ModelFile {
    disk: ModelDisk,
    inode: usize,
}

impl Disk for ModelDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn OutFile>> {
        let (mut file, _) = self.append(path)?;
        file.truncate(0)?;
        Ok(file)
    }

    fn append(&self, path: &Path) -> io::Result<(Box<dyn OutFile>, u64)> {
        let mut model = self.0.lock();
        model.step()?;
        let inode = match model.names.get(path) {
            Some(inode) => *inode,
            None => {
                model.inodes.push(Inode::default());
                let inode = model.inodes.len() - 1;
                model.names.insert(path.to_owned(), inode);
                inode
            }
        };
        let length = model.inodes[inode].written.len() as u64;
        Ok((Box::new(ModelFile { disk: self.clone(), inode }), length))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut model = self.0.lock();
        model.step()?;
        let inode = model.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        model.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut model = self.0.lock();
        model.step()?;
        model.names.remove(path).map(|_| ()).ok_or(io::ErrorKind::NotFound.into())
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        self.0.lock().step()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut model = self.0.lock();
        model.step()?;
        let inside = |path: &PathBuf| path.parent() == Some(dir);
        let names: Vec<_> = model.names.iter().filter(|(p, _)| inside(p)).map(|(p, i)| (p.clone(), *i)).collect();
        model.names_flushed.retain(|path, _| !inside(path));
        model.names_flushed.extend(names);
        Ok(())
    }
}

impl OutFile for ModelFile {
    fn write_some(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut model = self.disk.0.lock();
        let all: Vec<u8> = pieces.iter().flat_map(|piece| piece.to_vec()).collect();
        if let Err(e) = model.step() {
            // The first half gets through; the attempt at the rest fails.
            if !std::mem::replace(&mut model.half_done, true) && all.len() > 1 {
                let half = all.len() / 2;
                model.inodes[self.inode].written.extend_from_slice(&all[..half]);
                if let Some((at, _)) = &mut model.fault {
                    *at += 1;
                }
                return Ok(half);
            }
            return Err(e);
        }
        model.inodes[self.inode].written.extend_from_slice(&all);
        Ok(all.len())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let mut model = self.disk.0.lock();
        model.step()?;
        model.inodes[self.inode].written.truncate(length as usize);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut model = self.disk.0.lock();
        let stepped = model.step();
        let inode = &mut model.inodes[self.inode];
        if let Err(e) = stepped {
            // As Linux does: what could not be flushed counts as clean from now on, and never gets there.
            inode.lost.push(inode.flushed.len()..inode.written.len());
            return Err(e);
        }
        inode.flushed = inode.written.clone();
        for range in &inode.lost {
            let end = range.end.min(inode.flushed.len());
            inode.flushed[range.start.min(end)..end].fill(0);
        }
        Ok(())
    }
}

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
    let aof = Arc::new(Aof::new(disk));
    engine.extend([Arc::new(Saver::new(Box::new(|_| None))) as Arc<dyn Any + Send + Sync>, aof.clone()]);
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
            std::thread::yield_now();
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
    let disk = ModelDisk::default();
    disk.0.lock().fault = fault;
    let (engine, aof) = engine(dir, Arc::new(disk.clone()), AppendFsync::No);
    let heals = fault.is_none_or(|(_, fault)| fault != Fault::PowerLoss);
    let mut life = Life { engine, aof, keys: 0, sure: 0, heals };
    life.live();
    (life, disk)
}

/// What a server finds on this disk: how many keys, which are the first that were written, with their values.
#[track_caller]
fn found(disk: &ModelDisk, flushed_only: bool, what: &str) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().join("aof");
    std::fs::create_dir(&real).unwrap();
    {
        let model = disk.0.lock();
        let names = if flushed_only { &model.names_flushed } else { &model.names };
        for (path, inode) in names {
            if path.parent().is_some_and(|parent| parent.ends_with("aof")) {
                let inode = &model.inodes[*inode];
                let bytes = if flushed_only { &inode.flushed } else { &inode.written };
                std::fs::write(real.join(path.file_name().unwrap()), bytes).unwrap();
            }
        }
    }
    let (engine, _) = engine(dir.path(), Arc::new(ModelDisk::default()), AppendFsync::No);
    let mut list = files::read_manifest(&engine.settings()).unwrap_or_else(|e| panic!("{what}: {e}"));
    load::load(&engine, &mut list).unwrap_or_else(|e| panic!("{what}: {e}\n{list}"));
    let keys = engine.ks.count(0).0;
    let mut unit = Unit::default();
    let mut data = Data::lock_alone(&engine.ks, 0, &mut unit);
    for i in 0..keys {
        let name = key(i);
        let entry = data.peek(Key::new(&name)).unwrap_or_else(|| panic!("{what}: key {i} of {keys} is missing"));
        assert_eq!(entry.value().as_str(&mut itoa::Buffer::new()), i.to_string().as_bytes(), "{what}: key {i}");
    }
    keys
}

#[test]
fn a_life_without_faults_is_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (life, disk) = run(dir.path(), None);
    assert_eq!((life.keys, life.sure), (12, 12));
    assert_eq!(found(&disk, false, "written"), 12);
    assert_eq!(found(&disk, true, "flushed"), 12);
    let model = disk.0.lock();
    let names: Vec<_> = model.names.keys().filter_map(|path| path.file_name()).collect();
    assert_eq!(names, ["appendonly.aof.5.base.rdb", "appendonly.aof.5.incr.aof", "appendonly.aof.manifest"]);
}

#[test]
fn a_loss_of_power_at_any_step_loses_nothing_that_was_sure() {
    let dir = tempfile::tempdir().unwrap();
    let mut step = 0;
    loop {
        let (life, disk) = run(dir.path(), Some((step, Fault::PowerLoss)));
        for flushed_only in [false, true] {
            let what = format!("power lost at step {step}, flushed only: {flushed_only}");
            let keys = found(&disk, flushed_only, &what);
            assert!(keys >= life.sure, "{what}: {keys} keys, {} were sure", life.sure);
            assert!(keys <= life.keys, "{what}");
        }
        if !disk.0.lock().dead {
            break;
        }
        step += 1;
    }
    assert!(step > 40, "{step} steps");
}

#[test]
fn a_single_fault_at_any_step_heals() {
    let dir = tempfile::tempdir().unwrap();
    let mut step = 0;
    loop {
        let errno = [ENOSPC, EIO][step % 2];
        let (life, disk) = run(dir.path(), Some((step, Fault::Once(errno))));
        let what = format!("error {errno} at step {step}");
        if life.aof.mode() == Mode::On {
            assert_eq!(life.sure, life.keys, "{what}");
            assert_eq!(found(&disk, false, &what), life.keys, "{what}");
            assert_eq!(found(&disk, true, &what), life.keys, "{what}, flushed");
            assert!(!life.engine.durable.is_failing(), "{what}");
        } else {
            assert_eq!(life.keys, 0, "{what}: only the start gives up");
        }
        if disk.0.lock().steps <= step {
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
    aof.order(state::Order::Begin(Box::new(state::Begin { cursor, file, length: 0, db: None })));
    let mut writer = writer::Writer::new(engine.clone(), aof.clone());
    assert!(writer.turn().is_ok());
    (engine, aof, writer)
}

fn fail_next(disk: &ModelDisk, ahead: usize) {
    let mut model = disk.0.lock();
    model.fault = Some((model.steps + ahead, Fault::Once(ENOSPC)));
    model.half_done = false;
}

#[test]
fn writes_are_refused_while_the_disk_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let disk = ModelDisk::default();
    let (engine, _aof, mut writer) = by_hand(dir.path(), &disk, AppendFsync::Everysec);
    set(&engine, 0);
    assert!(matches!(writer.turn(), Ok(writer::Turn::Wrote)));
    let whole = disk.0.lock().inodes[0].written.clone();
    set(&engine, 1);
    fail_next(&disk, 0);
    assert!(matches!(writer.turn(), Ok(writer::Turn::Failed)));
    assert_eq!(disk.0.lock().inodes[0].written, whole, "the half is taken back");
    assert_eq!(engine.durable.refusal().to_string(), "MISCONF Errors writing to the AOF file: No space left on device");
    assert!(engine.durable.is_failing() && !engine.durable.holds(engine.log.end_offset()), "reads go on");
    assert!(matches!(writer.turn(), Ok(writer::Turn::Wrote)));
    assert!(!engine.durable.is_failing());
    let text = String::from_utf8(disk.0.lock().inodes[0].written.clone()).unwrap();
    assert!(text.ends_with("key:1\r\n$1\r\n1\r\n") && !text.contains("PING"), "{text}");
}

#[test]
fn a_half_that_cannot_be_taken_back_is_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let disk = ModelDisk::default();
    let (engine, _aof, mut writer) = by_hand(dir.path(), &disk, AppendFsync::Everysec);
    set(&engine, 0);
    fail_next(&disk, 0);
    {
        // The write's second half fails at the next step; let the truncation behind it fail as well.
        let mut model = disk.0.lock();
        model.dead = false;
    }
    assert!(matches!(writer.turn(), Ok(writer::Turn::Failed)));
    let before = disk.0.lock().inodes[0].written.len();
    assert_eq!(before, 0);
    set(&engine, 1);
    while !matches!(writer.turn(), Ok(writer::Turn::Idle)) {}
    let text = String::from_utf8(disk.0.lock().inodes[0].written.clone()).unwrap();
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
        disk.0.lock().fault = None;
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
    let text = String::from_utf8(disk.0.lock().inodes[0].written.clone()).unwrap();
    let stamps: Vec<&str> = text.lines().filter(|line| line.starts_with('#') || line.starts_with("key")).collect();
    assert_eq!(stamps, ["#TS:100", "key:0", "key:1", "#TS:102", "key:2"], "{text}");
}
