//! The data set from an append-only file: its base, then what was written since, request by request.
//!
//! Knows how a file may end and what to say of it. The requests go the same way as those of a master's stream.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;

use super::files;
use super::lanes::{Hand, Helper, Job, Parsed, WORTH_SHARING};
use super::manifest::{AofFile, AofKind, Manifest};
use super::position::{Position, Tracker};
use super::reader::{Reader, Stop};
use crate::base::{clock, log, os_reason};
use crate::exec::batch::{BATCH_MAX, Runner, Source};
use crate::exec::engine::Engine;
use crate::persist::load::{Expired, Loaded, Loading, load_with, note_progress};

/// Chunks that may be parsed and wait to be carried out.
const CHUNKS_AHEAD: usize = 4;

/// What was loaded.
#[derive(Debug, Default)]
pub struct LoadedAof {
    /// Of the base file, if it is a snapshot.
    pub base: Option<Loaded>,
    /// Bytes of the base file, and of all files.
    pub base_bytes: u64,
    pub total_bytes: u64,
    /// The database that the last request was for.
    pub db: usize,
    /// The last file's end was cut off.
    pub truncated: bool,
    /// Where in the replication stream the data stands, if the files tell.
    pub position: Option<Position>,
    /// The files, in this order.
    pub paths: Vec<PathBuf>,
}

/// Loads what the list names into the engine's keyspace, which is empty. `None`: it names nothing. The caller has set
/// `loading`. An error has been logged but for its last line; the data is then useless.
pub fn load(engine: &Arc<Engine>, list: &mut Manifest) -> Result<Option<LoadedAof>, String> {
    let settings = engine.settings();
    files::upgrade(&settings, list)?;
    if list.is_empty() {
        return Ok(None);
    }
    let started_us = clock::mono_us();
    let (base_bytes, total_bytes) = files::sizes(&settings, list)?;
    let mut loaded = LoadedAof { base_bytes, total_bytes, ..LoadedAof::default() };
    if total_bytes > 0 {
        let state = &engine.state;
        state.loading_total_bytes.store(total_bytes, Relaxed);
        state.loading_loaded_bytes.store(0, Relaxed);
        state.loading_start_s.store(clock::now_ms() / 1000, Relaxed);
        let mut before = 0;
        let path_of = |file: &AofFile| file.path(Path::new(&settings.appenddirname));
        // A rewrite lists the file that is to follow before the one being written is at its end: what lies behind a file
        // counts only if there is something in it.
        let holds_data = |file: &AofFile| path_of(file).metadata().is_ok_and(|meta| meta.len() > 0);
        let last = list.files().collect::<Vec<_>>().iter().rposition(|file| holds_data(file)).unwrap_or(0);
        let mut tracker = Tracker::new(engine.log.backlog_limit_bytes());
        for (i, file) in list.files().enumerate() {
            let path = path_of(file);
            loaded.paths.push(path.clone());
            let old_style = file.name == settings.appendfilename.as_bytes();
            let one = OneFile { engine, file, path, old_style, before };
            before += one.load(&mut loaded, &mut tracker, i >= last)?;
        }
        loaded.position = tracker.found();
        // What it changed is on disk.
        state.dirty.store(0, Relaxed);
    }
    log::notice!("DB loaded from append only file: {:.3} seconds", seconds_since(started_us));
    Ok(Some(loaded))
}

fn seconds_since(started_us: i64) -> f64 {
    (clock::mono_us() - started_us) as f64 / 1e6
}

/// One of the files.
struct OneFile<'e> {
    engine: &'e Arc<Engine>,
    file: &'e AofFile,
    path: PathBuf,
    /// Of Redis 6: a snapshot, if any, and the requests behind it.
    old_style: bool,
    /// Bytes of the files before.
    before: u64,
}

/// How a file ended.
enum Ending {
    Whole,
    /// In the middle of a request or of a transaction. Whole ones end at `cut`.
    Short {
        cut: u64,
    },
    /// In the middle of a note that begins at `cut`.
    TornNote {
        cut: u64,
    },
}

impl OneFile<'_> {
    /// Gives how many bytes it has.
    fn load(&self, loaded: &mut LoadedAof, tracker: &mut Tracker, is_last: bool) -> Result<u64, String> {
        let started_us = clock::mono_us();
        let name = self.file.label();
        let mut source = File::open(&self.path).map_err(|e| {
            format!("Fatal error: can't open the append log file {name} for reading: {}", os_reason(&e))
        })?;
        let bytes = source.metadata().map_or(0, |meta| meta.len());
        if bytes == 0 {
            tracker.end_of_file(0, 0);
            return Ok(0);
        }
        let requests_from = self.load_snapshot(&mut source, loaded)?;
        let mut replay = Replay::new(self, requests_from);
        let (ending, request_bytes) = replay.run(source, requests_from, tracker)?;
        loaded.db = replay.hand.session.db;
        drop(replay);
        let whole = match ending {
            Ending::Whole => bytes,
            Ending::Short { cut } | Ending::TornNote { cut } => cut,
        };
        tracker.end_of_file(whole, request_bytes);
        match ending {
            Ending::Whole => {}
            // Stock servers leave it, and make what they append part of the note.
            Ending::TornNote { cut } if is_last => {
                log::notice!("The AOF file {name} ends in the middle of a note of time: cutting it at offset {cut}");
                files::truncate(&self.path, cut)
                    .map_err(|e| format!("Error truncating the AOF file {name}: {}", os_reason(&e)))?;
            }
            Ending::TornNote { .. } => {}
            Ending::Short { cut } if !is_last => {
                // What follows was written behind a whole file: there is more to repair than a torn end.
                log::warning!("!!! Warning: short read while loading the AOF file {name}!!!");
                log::warning!("The AOF file {name} is whole up to byte {cut}.");
                return Err("Fatal error: the truncated file is not the last file".into());
            }
            Ending::Short { cut } => {
                self.cut_off(cut)?;
                loaded.truncated = true;
            }
        }
        let kind = match self.file.kind {
            AofKind::Base => "base",
            AofKind::Incr | AofKind::History => "incr",
        };
        log::notice!("DB loaded from {kind} file {name}: {:.3} seconds", seconds_since(started_us));
        Ok(bytes)
    }

    /// Loads the snapshot that the file begins with, if it does. Gives where the requests begin.
    fn load_snapshot(&self, source: &mut File, loaded: &mut LoadedAof) -> Result<u64, String> {
        let name = self.file.label();
        let unreadable = |e: io::Error| unreadable(&name, &e);
        if !files::is_snapshot(source).map_err(unreadable)? {
            return Ok(0);
        }
        if self.old_style {
            log::notice!("Reading RDB preamble from AOF file...");
        } else {
            log::notice!("Reading RDB base file on AOF loading...");
        }
        let engine = self.engine;
        let progress = |bytes| note_progress(engine, self.before + bytes);
        // What is over goes by the expiry cycle, as it would have.
        let loading = Loading::of(engine, Expired::Keep);
        let base = load_with(&engine.ks, &mut *source, &loading, progress).map_err(|e| {
            log::warning!("{}: {e}", self.path.display());
            if self.old_style {
                format!("Error reading the RDB preamble of the AOF file {name}, AOF loading aborted")
            } else {
                format!("Error reading the RDB base file {name}, AOF loading aborted")
            }
        })?;
        log::notice!("{}", base.summary());
        let bytes = base.bytes;
        source.seek(SeekFrom::Start(bytes)).map_err(unreadable)?;
        if self.old_style {
            log::notice!("Reading the remaining AOF tail...");
        }
        loaded.base = Some(base);
        Ok(bytes)
    }

    /// The file does not end with a whole request: cuts it there, if that is allowed.
    fn cut_off(&self, cut: u64) -> Result<(), String> {
        let name = self.file.label();
        if self.engine.settings().aof_load_truncated {
            log::warning!("!!! Warning: short read while loading the AOF file {name}!!!");
            log::warning!("!!! Truncating the AOF {name} at offset {cut} !!!");
            match files::truncate(&self.path, cut) {
                Ok(()) => {
                    log::warning!("AOF {name} loaded anyway because aof-load-truncated is enabled");
                    return Ok(());
                }
                Err(e) => log::warning!("Error truncating the AOF file {name}: {}", os_reason(&e)),
            }
        } else {
            log::warning!("The AOF file {name} is whole up to byte {cut}.");
        }
        Err(format!(
            "Unexpected end of file reading the append only file {name}. You can: 1) Make a backup of your AOF file, \
             then use ./redis-check-aof --fix <filename.manifest>. 2) Alternatively you can set the \
             'aof-load-truncated' configuration option to yes and restart the server."
        ))
    }
}

fn gone(name: &str) -> String {
    format!("The thread that parses the append only file {name} is gone")
}

fn unreadable(name: &str, e: &io::Error) -> String {
    format!("Unrecoverable error reading the append only file {name}: {}", os_reason(e))
}

/// Carries out the requests of one file.
struct Replay<'e> {
    hand: Hand<'e>,
    before: u64,
    /// What was carried out ends there.
    applied: u64,
}

impl<'e> Replay<'e> {
    fn new(of: &OneFile<'e>, from: u64) -> Self {
        Self { hand: Hand::new(of.engine, of.file.label()), before: of.before, applied: from }
    }

    /// One thread reads and parses, this one carries out, and a third helps it where the order of requests allows it. Gives
    /// how the file ended, and how many bytes of requests there are.
    fn run(&mut self, source: File, from: u64, tracker: &mut Tracker) -> Result<(Ending, u64), String> {
        let (engine, name) = (self.hand.engine, self.hand.name.clone());
        let (full, chunks) = mpsc::sync_channel::<Result<Parsed, Stop>>(CHUNKS_AHEAD);
        let (empty, used) = mpsc::channel::<Parsed>();
        std::thread::scope(|scope| {
            let no_thread = |e| format!("Can't start a thread to load the append only file: {e}");
            let parser = std::thread::Builder::new().name("aof-parse".into());
            let parsing = parser.spawn_scoped(scope, move || {
                let mut reader = Reader::new(source, from);
                loop {
                    let Parsed { chunk, lanes } = used.try_recv().unwrap_or_default();
                    let next = reader.next(chunk).map(|chunk| Parsed::new(engine, chunk, lanes));
                    reader.lines.drain(..).for_each(|line| tracker.note(&line));
                    let ends = next.as_ref().map_or(true, |parsed| parsed.chunk.is_empty());
                    // Nobody takes it if the load has failed.
                    if full.send(next).is_err() || ends {
                        return reader.request_bytes;
                    }
                }
            });
            let parsing = parsing.map_err(no_thread)?;
            let helper = Helper::start(scope, engine, name).map_err(no_thread)?;
            let ending = self.carry_out(&helper, chunks, &empty)?;
            let parsed = parsing.join().map_err(|_| gone(&self.hand.name))?;
            Ok((ending, parsed))
        })
    }

    fn carry_out(
        &mut self,
        helper: &Helper,
        // Dropped with this function's end, so that the other thread ends too.
        chunks: mpsc::Receiver<Result<Parsed, Stop>>,
        empty: &mpsc::Sender<Parsed>,
    ) -> Result<Ending, String> {
        let engine = self.hand.engine;
        let mut runner = Runner::new(engine, engine.gates.outsider(), Source::File);
        for parsed in &chunks {
            match parsed {
                Ok(parsed) if parsed.chunk.is_empty() => return Ok(self.ending(Ending::Whole)),
                Ok(parsed) => {
                    let parsed = Arc::new(parsed);
                    self.apply(&mut runner, helper, &parsed)?;
                    if let Some(parsed) = Arc::into_inner(parsed) {
                        let _ = empty.send(parsed);
                    }
                }
                // Behind a transaction that lacks its end, too, that one goes.
                Err(Stop::Short { from }) => {
                    let cut = if self.hand.session.multi.is_none() { from } else { self.applied };
                    return Ok(Ending::Short { cut });
                }
                Err(Stop::TornNote { from }) => return Ok(self.ending(Ending::TornNote { cut: from })),
                Err(Stop::Io(e)) => return Err(unreadable(&self.hand.name, &e)),
                Err(bad @ Stop::Bad { .. }) => {
                    let name = &self.hand.name;
                    log::warning!("The AOF file {name} is damaged at {bad}");
                    return Err(format!(
                        "Bad file format reading the append only file {name}: make a backup of your AOF file, \
                             then use ./redis-check-aof --fix <filename.manifest>"
                    ));
                }
            }
        }
        Err(gone(&self.hand.name))
    }

    /// At the end of the file, behind a whole request: `otherwise`, unless a transaction lacks its end.
    fn ending(&self, otherwise: Ending) -> Ending {
        if self.hand.session.multi.is_none() {
            return otherwise;
        }
        log::warning!("Revert incomplete MULTI/EXEC transaction in AOF file {}", self.hand.name);
        Ending::Short { cut: self.applied }
    }

    fn apply(&mut self, runner: &mut Runner<'_>, helper: &Helper, parsed: &Arc<Parsed>) -> Result<(), String> {
        let chunk = &parsed.chunk;
        let mut from = 0;
        while from < chunk.len() {
            let delay = note_progress(self.hand.engine, self.before + chunk.place(from).0);
            let shared = if delay == 0 && self.hand.session.multi.is_none() { parsed.shared_from(from) } else { 0 };
            let until = if shared >= WORTH_SHARING { from + shared } else { (from + BATCH_MAX).min(chunk.len()) };
            if shared >= WORTH_SHARING {
                helper.begin(Job { parsed: parsed.clone(), range: from..until, db: self.hand.session.db })?;
                let mine = self.hand.carry_out_lane(runner, parsed, from..until, 0);
                // Others may want to run alone meanwhile.
                runner.leave_gate();
                helper.done()?;
                mine?;
                self.applied = chunk.behind(until - 1);
            } else {
                let indices = (from..until).collect();
                self.applied = self.hand.carry_out(runner, chunk, &indices, delay)?.unwrap_or(self.applied);
            }
            from = until;
        }
        runner.leave_gate();
        note_progress(self.hand.engine, self.before + chunk.end());
        Ok(())
    }
}
