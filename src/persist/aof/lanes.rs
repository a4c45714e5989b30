//! Requests of an append-only file by two threads at once: where each of a run of requests touches one key and nothing else,
//! each thread takes those whose keys lie in its half of the shards. So the order stays what it was for every key.
//!
//! Knows nothing of files. Whatever is not such a request is carried out alone, between two runs.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;
use std::thread::Scope;

use smallvec::SmallVec;

use super::reader::Chunk;
use crate::base::{clock, log};
use crate::config::PropagationError;
use crate::exec::batch::{BATCH_MAX, Runner, Source, only_key};
use crate::exec::client::ClientHandle;
use crate::exec::engine::Engine;
use crate::exec::gate::WorkerId;
use crate::exec::session::Session;
use crate::persist::load::rest_behind;
use crate::resp::{Argv, Reply};

/// A run of fewer requests is not worth waking another thread.
pub(super) const WORTH_SHARING: usize = 256;

/// The lane of a request that must be alone.
const ALONE: u8 = 2;

pub(super) type Indices = SmallVec<[usize; BATCH_MAX]>;

/// A chunk, and the lane of each of its requests.
#[derive(Default)]
pub(super) struct Parsed {
    pub chunk: Chunk,
    pub lanes: Vec<u8>,
}

impl Parsed {
    /// `lanes`: memory to use.
    pub fn new(engine: &Engine, chunk: Chunk, mut lanes: Vec<u8>) -> Self {
        lanes.clear();
        // The top bits of a hash choose the shard: the first of them tells the halves apart.
        let lane = |i| only_key(engine, chunk.argv(i)).map_or(ALONE, |hash| (hash >> 63) as u8);
        lanes.extend((0..chunk.len()).map(lane));
        Self { chunk, lanes }
    }

    /// How many requests from `from` on may be shared.
    pub fn shared_from(&self, from: usize) -> usize {
        self.lanes.iter().skip(from).take_while(|lane| **lane != ALONE).count()
    }
}

/// Who carries requests out, with the database that was selected.
pub(super) struct Hand<'e> {
    pub engine: &'e Arc<Engine>,
    pub name: String,
    pub session: Session,
    /// Nobody reads it.
    out: Reply,
    /// Requests carried out.
    done: u64,
}

impl<'e> Hand<'e> {
    /// `name`: of the file, for the log.
    pub fn new(engine: &'e Arc<Engine>, name: String) -> Self {
        let handle = ClientHandle::new(u64::MAX, String::new(), String::new(), -1, clock::now_ms(), 0);
        Self { engine, name, session: Session::new(Arc::new(handle), true), out: Reply::new(2), done: 0 }
    }

    /// Those of a run that are of this lane.
    pub fn carry_out_lane(
        &mut self,
        runner: &mut Runner<'_>,
        parsed: &Parsed,
        range: Range<usize>,
        lane: u8,
    ) -> Result<(), String> {
        let mut mine = range.filter(|i| parsed.lanes.get(*i) == Some(&lane));
        loop {
            let batch: Indices = mine.by_ref().take(BATCH_MAX).collect();
            if batch.is_empty() {
                return Ok(());
            }
            self.carry_out(runner, &parsed.chunk, &batch, 0)?;
        }
    }

    /// These requests, in order, resting behind them as `delay` says. Gives where the last ends, with the notes behind it,
    /// that is not within a transaction: of that all or nothing counts.
    pub fn carry_out(
        &mut self,
        runner: &mut Runner<'_>,
        chunk: &Chunk,
        indices: &Indices,
        delay: i64,
    ) -> Result<Option<u64>, String> {
        let mut applied = None;
        let prepared = runner.prepare(self.session.db, indices.iter().map(|i| chunk.argv(*i)));
        for (&i, prepared) in indices.iter().zip(prepared) {
            let argv = chunk.argv(i);
            if !prepared.is_known() {
                return Err(self.unknown(argv, chunk.place(i).0));
            }
            let errors = self.out.errors();
            // A blocking command or a takeover has no meaning here.
            let _ = runner.run(&mut self.session, prepared, argv, None, &mut self.out);
            if self.out.errors() != errors {
                self.complain(argv, chunk.place(i).0);
            }
            if self.session.multi.is_none() {
                applied = Some(chunk.behind(i));
            }
            self.done += 1;
            if let Some(rest) = rest_behind(self.done, delay) {
                runner.leave_gate();
                std::thread::sleep(rest);
            }
        }
        self.out.clear();
        Ok(applied)
    }

    #[cold]
    fn unknown(&self, argv: Argv<'_>, at: u64) -> String {
        log::warning!("The AOF file {} has an unknown command at byte {at}", self.name);
        let command = String::from_utf8_lossy(argv.word(0));
        format!("Unknown command '{command}' reading the append only file {}", self.name)
    }

    /// A request failed that did not fail when it was written.
    #[cold]
    fn complain(&self, argv: Argv<'_>, at: u64) {
        self.engine.stats.counters.unexpected_error_replies.fetch_add(1, Relaxed);
        let error = String::from_utf8_lossy(self.out.last_error().unwrap_or_default());
        let command = String::from_utf8_lossy(argv.word(0)).to_ascii_lowercase();
        log::warning!(
            "== CRITICAL == This server is sending an error to its AOF-loading-client: '{error}' after processing the \
             command '{command}'"
        );
        log::warning!("That command is at byte {at} of the AOF file {}", self.name);
        match self.engine.settings().propagation_error_behavior {
            PropagationError::Ignore | PropagationError::PanicOnReplicas => {}
            PropagationError::Panic => {
                log::warning!(
                    "This server panicked sending an error to its AOF-loading-client after processing the command \
                     '{command}'"
                );
                std::process::abort();
            }
        }
    }
}

impl Drop for Hand<'_> {
    fn drop(&mut self) {
        self.session.close(self.engine);
    }
}

/// A run of requests, of which the helper carries out the second lane.
pub(super) struct Job {
    pub parsed: Arc<Parsed>,
    pub range: Range<usize>,
    pub db: usize,
}

/// The second thread. It ends with this handle.
pub(super) struct Helper {
    jobs: mpsc::Sender<Job>,
    done: mpsc::Receiver<Result<(), String>>,
}

impl Helper {
    pub fn start<'s>(scope: &'s Scope<'s, '_>, engine: &'s Arc<Engine>, name: String) -> std::io::Result<Self> {
        let (jobs, to_do) = mpsc::channel::<Job>();
        let (tell, done) = mpsc::channel();
        std::thread::Builder::new().name("aof-apply".into()).spawn_scoped(scope, move || {
            let mut hand = Hand::new(engine, name);
            // The first worker's gate: no worker has anything else to do yet than to say so.
            let mut runner = Runner::new(engine, WorkerId(0), Source::File);
            for Job { parsed, range, db } in to_do {
                hand.session.select(db);
                let outcome = hand.carry_out_lane(&mut runner, &parsed, range, 1);
                runner.leave_gate();
                // Before it is told, so that the chunk's memory can be used again.
                drop(parsed);
                if tell.send(outcome).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { jobs, done })
    }

    pub fn begin(&self, job: Job) -> Result<(), String> {
        self.jobs.send(job).map_err(|_| Self::gone())
    }

    /// Waits until the job is done.
    pub fn done(&self) -> Result<(), String> {
        self.done.recv().map_err(|_| Self::gone())?
    }

    fn gone() -> String {
        "A thread that loads the append only file is gone".into()
    }
}
