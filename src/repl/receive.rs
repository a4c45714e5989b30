//! A full resync, received: to a file or straight into memory, and put in the place of what this node held.
//!
//! The connection's task takes the transfer apart and hands the payload, through a short queue, to a thread that writes
//! or loads: no worker waits for a disk or for a load, and a slow thread slows the master down.
//!
//! | `repl-diskless-load` | payload goes to | old data goes away |
//! |---|---|---|
//! | `disabled` | a file | when the file is whole, on disk and was read without a fault |
//! | `on-empty-db`, nothing held | memory | there is none |
//! | `swapdb` | a second keyspace | in the instant the second takes its place |
//! | `flush-before-load` | memory | before the first byte is loaded |
//!
//! So a transfer that breaks, a full disk or a damaged payload leaves the node with what it had, unless that was to make
//! room first.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::mpsc::{self, Sender};
use tokio::task::JoinHandle;

use super::follower::{Attempt, Follower};
use super::handshake::Event;
use super::id::{ReplId, Resume};
use super::link::Connection;
use super::progress::TELL_EVERY_MS;
use super::transfer::{Framing, Piece, Receiver};
use crate::base::{clock, log, os_reason, rand};
use crate::config::DisklessLoad;
use crate::exec::block;
use crate::exec::engine::Engine;
use crate::exec::gate::AllGates;
use crate::keyspace::{Data, Keyspace, Unit};
use crate::persist::Aof;
use crate::persist::disk::{Disk, FileSystem, parent};
use crate::persist::load;
use crate::persist::temp::TempFile;

/// What the queue may hold: reads of some 64 KiB.
const QUEUE: usize = 16;

/// After a failure that is not the line's, so that a master is not asked for everything again and again at once.
const PAUSE: Duration = Duration::from_secs(1);

enum Chunk {
    Payload(Vec<u8>),
    End,
}

/// Why there is no new data set. The text is a line for the log.
enum Failure {
    /// The line broke, or the attempt was given up: whoever did that knows.
    Broken(String),
    /// The payload or the disk is at fault.
    Fault(String),
}

/// Receives the payload of an agreed full resync and puts it in place. `None` if the attempt is over.
pub(super) async fn receive(connection: &mut Connection, from: Option<Resume>) -> Option<()> {
    let (follower, attempt) = (connection.follower.clone(), connection.attempt);
    let mut receiver = Receiver::new();
    let mut job: Option<(Sender<Chunk>, JoinHandle<Result<(), Failure>>)> = None;
    let mut whole = false;
    let mut told_ms = clock::now_ms();
    while !whole {
        let (mut begun, mut payload) = (None, Vec::new());
        let used = receiver.receive(&connection.received, |piece| match piece {
            Piece::KeepAlive => {}
            Piece::Begin(framing) => begun = Some(framing),
            Piece::Payload(bytes) => payload.extend_from_slice(bytes),
            Piece::End => whole = true,
        });
        match used {
            Ok(used) => connection.received.drain(..used),
            Err(e) => return give_up(&follower, attempt, Failure::Fault(e.to_string())).await,
        };
        follower.step(Some(attempt), Event::Heard)?;
        follower.repl.link.sync_read_bytes.store(receiver.received_bytes() as i64, Relaxed);
        let now_ms = clock::now_ms();
        if job.is_some() && now_ms - told_ms >= TELL_EVERY_MS {
            told_ms = now_ms;
            log::notice!("MASTER <-> REPLICA sync: {}", follower.repl.link.progress().describe(now_ms));
        }
        if let Some(framing) = begun {
            job = Some(begin(&follower, attempt, from, framing));
        }
        // If the thread has ended before its time, its outcome says why.
        if let Some((queue, _)) = &job {
            let sent = payload.is_empty() || queue.send(Chunk::Payload(payload)).await.is_ok();
            if !sent || (whole && queue.send(Chunk::End).await.is_err()) {
                break;
            }
        }
        if !whole && !read_on(connection).await {
            break;
        }
    }
    let (queue, job) = job?;
    drop(queue);
    match job.await {
        Ok(Ok(())) => follower.step(Some(attempt), Event::Loaded).map(|_| ()),
        Ok(Err(failure)) => give_up(&follower, attempt, failure).await,
        Err(e) => give_up(&follower, attempt, Failure::Fault(format!("Loading the master's data failed: {e}"))).await,
    }
}

/// Reads more of the transfer. While the link's state machine believes us loading, it leaves the master's silence to us.
async fn read_on(connection: &mut Connection) -> bool {
    let patience_s = connection.follower.engine.settings().repl_timeout.max(1) as u64;
    match tokio::time::timeout(Duration::from_secs(patience_s + 1), connection.read()).await {
        Ok(read) => read.is_some(),
        Err(_) => false,
    }
}

async fn give_up(follower: &Arc<Follower>, attempt: Attempt, failure: Failure) -> Option<()> {
    let text = match failure {
        Failure::Broken(text) => text,
        Failure::Fault(text) => {
            tokio::time::sleep(PAUSE).await;
            text
        }
    };
    follower.step(Some(attempt), Event::TransferFailed(text));
    None
}

/// How the payload gets into memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Disk,
    Direct,
    Swap { serving: bool },
}

fn begin(
    follower: &Arc<Follower>,
    attempt: Attempt,
    from: Option<Resume>,
    framing: Framing,
) -> (Sender<Chunk>, JoinHandle<Result<(), Failure>>) {
    let engine = &follower.engine;
    let way = match engine.settings().repl_diskless_load {
        DisklessLoad::Disabled => Way::Disk,
        DisklessLoad::OnEmptyDb if is_empty(engine) => Way::Direct,
        // What may have to be refused takes the way on which its size is known before anything goes.
        DisklessLoad::FlushBeforeLoad if follower.is_doubtful(attempt) && !is_empty(engine) => Way::Disk,
        // Without the old data there is memory for the new one, and nothing to go back to.
        DisklessLoad::FlushBeforeLoad => Way::Direct,
        DisklessLoad::OnEmptyDb => Way::Disk,
        // Old data of the same history may be served meanwhile, that of another may not.
        DisklessLoad::SwapDb => {
            let same = from.is_some_and(|from| from.replid == follower.repl.replid());
            Way::Swap { serving: same }
        }
    };
    log::notice!("{}", framing.describe(way != Way::Disk));
    let total_bytes = match framing {
        Framing::Sized(bytes) => bytes as i64,
        Framing::Marked => -1,
    };
    follower.repl.link.sync_total_bytes.store(total_bytes, Relaxed);
    follower.repl.link.sync_began_ms.store(clock::now_ms(), Relaxed);
    let (queue, chunks) = mpsc::channel(QUEUE);
    let payload = Payload { chunks, current: Vec::new(), at: 0, ended: false };
    let job = Job { follower: follower.clone(), attempt, from, payload };
    (queue, tokio::task::spawn_blocking(move || job.run(way)))
}

fn is_empty(engine: &Engine) -> bool {
    (0..engine.ks.databases()).all(|db| engine.ks.count(db).0 == 0)
}

/// The payload as the thread reads it.
struct Payload {
    chunks: mpsc::Receiver<Chunk>,
    current: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Payload {
    /// The next piece; `None` at the end.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.ended {
            return Ok(None);
        }
        match self.chunks.blocking_recv() {
            Some(Chunk::Payload(bytes)) => Ok(Some(bytes)),
            Some(Chunk::End) => {
                self.ended = true;
                Ok(None)
            }
            None => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the transfer broke off")),
        }
    }
}

impl Read for Payload {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.at == self.current.len() {
            match self.next()? {
                Some(bytes) => (self.current, self.at) = (bytes, 0),
                None => return Ok(0),
            }
        }
        let n = buf.len().min(self.current.len() - self.at);
        buf[..n].copy_from_slice(&self.current[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

/// The thread's work.
struct Job {
    follower: Arc<Follower>,
    attempt: Attempt,
    from: Option<Resume>,
    payload: Payload,
}

impl Job {
    fn run(mut self, way: Way) -> Result<(), Failure> {
        let follower = self.follower.clone();
        let _alone = follower.loading.lock();
        match way {
            Way::Disk => self.by_disk(),
            Way::Direct => self.directly(),
            Way::Swap { serving } => self.by_swap(serving),
        }
    }

    fn engine(&self) -> &Engine {
        &self.follower.engine
    }

    fn tell(&self, event: Event) -> Result<(), Failure> {
        self.follower.step(Some(self.attempt), event).map(|_| ()).ok_or_else(given_up)
    }

    /// The lineage fence: behind it, the new data set may take the place of the old one.
    fn offer(&self, keys: u64) -> Result<(), Failure> {
        self.follower.offered(self.attempt, keys).ok_or_else(given_up)
    }

    fn by_disk(&mut self) -> Result<(), Failure> {
        let settings = self.engine().settings();
        let dir = PathBuf::from(&settings.dir);
        let temp = TempFile::new(dir.join(format!("temp-{}.{}.rdb", clock::now_ms() / 1000, std::process::id())));
        self.write_file(temp.path())?;
        // From here on it may take time, and the master must hear from us.
        self.tell(Event::LoadStarted)?;
        if !is_empty(self.engine()) {
            // A load that fails half way would leave us with nothing: so the file is read once for nothing.
            let keys = verify(temp.path()).map_err(|e| {
                log::warning!("The data set received from the master is damaged: {e}. The old one is kept.");
                load_failed("disk")
            })?;
            self.offer(keys)?;
        }
        let kept = dir.join(&settings.dbfilename);
        fs::rename(temp.path(), &kept).map_err(|e| {
            Failure::Fault(format!(
                "Failed trying to rename the temp DB into {} in MASTER <-> REPLICA synchronization: {}",
                settings.dbfilename,
                os_reason(&e)
            ))
        })?;
        FileSystem.sync_dir(parent(&kept)).map_err(|e| {
            Failure::Fault(format!(
                "Failed trying to sync DB directory {} in MASTER <-> REPLICA synchronization: {}",
                dir.display(),
                os_reason(&e)
            ))
        })?;
        self.drop_old_data()?;
        log::notice!("MASTER <-> REPLICA sync: Loading DB in memory");
        let loaded = File::open(&kept).map_err(|e| os_reason(&e)).and_then(|file| {
            let total_bytes = file.metadata().map_or(0, |m| m.len());
            load_into(self.engine(), &self.engine().ks, file, total_bytes)
        });
        if settings.rdb_del_sync_files && settings.save.is_empty() && !settings.appendonly {
            log::notice!("Removing the RDB file obtained from the master. This replica has persistence disabled");
            // It was of no use but for the load.
            let _ = fs::remove_file(&kept);
        }
        match loaded {
            Ok(db) => self.finish(db),
            Err(e) => Err(self.nothing_left("disk", &e)),
        }
    }

    fn write_file(&mut self, path: &Path) -> Result<(), Failure> {
        let fault = |what: &str, e: &io::Error| Failure::Fault(format!("{what}: {}", os_reason(e)));
        let mut file = File::create(path)
            .map_err(|e| fault("Opening the temp file needed for MASTER <-> REPLICA synchronization", &e))?;
        while let Some(bytes) = self.payload.next().map_err(|_| given_up())? {
            file.write_all(&bytes).map_err(|e| {
                log::notice!("With repl-diskless-load swapdb or on-empty-db a full sync needs no room on this disk");
                fault(
                    "Write error or short write writing to the DB dump file needed for MASTER <-> REPLICA \
                     synchronization",
                    &e,
                )
            })?;
        }
        file.sync_all()
            .map_err(|e| fault("Failed trying to sync the temp DB to disk in MASTER <-> REPLICA synchronization", &e))
    }

    fn directly(&mut self) -> Result<(), Failure> {
        self.tell(Event::LoadStarted)?;
        self.drop_old_data()?;
        log::notice!("MASTER <-> REPLICA sync: Loading DB in memory");
        let follower = self.follower.clone();
        let loaded = load_into(&follower.engine, &follower.engine.ks, &mut self.payload, 0);
        match loaded.and_then(|db| self.whole().map(|()| db)) {
            Ok(db) => self.finish(db),
            Err(e) => Err(self.nothing_left("socket", &e)),
        }
    }

    fn by_swap(&mut self, serving: bool) -> Result<(), Failure> {
        self.tell(Event::LoadStarted)?;
        let follower = self.follower.clone();
        let engine = &follower.engine;
        let flag = if serving { &engine.state.async_loading } else { &engine.state.loading };
        flag.store(true, Relaxed);
        log::notice!("MASTER <-> REPLICA sync: Loading DB in memory");
        let second = load::second(engine);
        let loaded = load_into(engine, &second, &mut self.payload, 0);
        let result = match loaded.and_then(|db| self.whole().map(|()| db)) {
            Ok(_) if self.offer(second.keys()).is_err() => Err(given_up()),
            Ok(db) => {
                log::notice!("MASTER <-> REPLICA sync: Swapping active DB with loaded DB");
                let gates = engine.gates.take_all();
                if follower.is_current(self.attempt) {
                    engine.free_later(engine.ks.replace(second, crate::base::clock::now_ms()).into_iter());
                    self.adopt(&gates, db);
                    Ok(())
                } else {
                    Err(given_up())
                }
            }
            Err(e) => {
                log::warning!("{e}");
                log::notice!("MASTER <-> REPLICA sync: Discarding temporary DB in background");
                Err(load_failed("socket"))
            }
        };
        flag.store(false, Relaxed);
        result
    }

    /// After the data set nothing but the end may follow.
    fn whole(&mut self) -> Result<(), String> {
        let mut byte = [0];
        match self.payload.read(&mut byte) {
            Ok(0) => Ok(()),
            Ok(_) => Err("the master's payload goes on behind the end of the data set".into()),
            Err(e) => Err(e.to_string()),
        }
    }

    /// Empties this node, which from here on belongs to no history, and begins to refuse clients.
    fn drop_old_data(&self) -> Result<(), Failure> {
        let engine = self.engine();
        log::notice!("MASTER <-> REPLICA sync: Flushing old data");
        let gates = engine.gates.take_all();
        if !self.follower.is_current(self.attempt) {
            return Err(given_up());
        }
        engine.state.loading.store(true, Relaxed);
        engine.part::<Aof>().suspend();
        self.follower.repl.drop_replicas(engine);
        engine.log.free_backlog();
        self.follower.repl.start_new_history();
        empty(engine, &gates);
        drop(gates);
        self.tell(Event::OldDataDropped)
    }

    fn finish(&self, db: i32) -> Result<(), Failure> {
        let engine = self.engine();
        let gates = engine.gates.take_all();
        self.adopt(&gates, db);
        engine.state.loading.store(false, Relaxed);
        drop(gates);
        Ok(())
    }

    /// The data is the master's: from here on, so are history and offset. A master that is a replica itself does not select
    /// again what its own master's stream had selected at the cut: that was `db`.
    fn adopt(&self, gates: &AllGates<'_>, db: i32) {
        let (engine, repl) = (self.engine(), &self.follower.repl);
        repl.drop_replicas(engine);
        // A master that knows only SYNC has no history that anybody could name.
        let unnamed = || Resume { replid: ReplId::new(rand::hex_id()), offset: 0 };
        let from = self.from.unwrap_or_else(unnamed);
        repl.adopt(engine, from.replid, from.offset);
        engine.log.with(|log| log.set_selected_db(db));
        repl.link.offset.store(from.offset, Relaxed);
        repl.link.read_offset.store(from.offset, Relaxed);
        block::serve_all(engine, gates);
    }

    /// A load failed that nothing spoke against beforehand.
    fn nothing_left(&self, medium: &str, error: &str) -> Failure {
        let engine = self.engine();
        log::warning!("{error}");
        let gates = engine.gates.take_all();
        empty(engine, &gates);
        engine.state.loading.store(false, Relaxed);
        drop(gates);
        load_failed(medium)
    }
}

/// Reads a data set, and lets INFO follow. `total_bytes`: 0 while unknown. Gives the database that the stream behind it begins
/// in.
fn load_into(engine: &Engine, ks: &Keyspace, source: impl Read, total_bytes: u64) -> Result<i32, String> {
    let state = &engine.state;
    state.loading_total_bytes.store(total_bytes, Relaxed);
    state.loading_loaded_bytes.store(0, Relaxed);
    state.loading_start_s.store(clock::now_ms() / 1000, Relaxed);
    let progress = |bytes| load::note_progress(engine, bytes);
    let loaded = load::load_with(ks, source, &load::Loading::of(engine, load::Expired::Keep), progress)
        .map_err(|e| e.to_string())?;
    log::notice!("{}", loaded.summary());
    Ok(loaded.repl_stream_db.and_then(|db| i32::try_from(db).ok()).unwrap_or(0))
}

/// Takes everything out of the keyspace.
fn empty(engine: &Engine, _proof: &AllGates<'_>) {
    let mut unit = Unit { now_ms: clock::now_ms(), ..Unit::default() };
    let mut data = Data::lock_alone(&engine.ks, 0, &mut unit);
    for db in 0..engine.ks.databases() {
        data.db = db;
        data.flush();
    }
    drop(data);
    engine.free_later(unit.garbage.drain(..));
}

/// Reads a file from its beginning to its end, as a load would; gives the number of its keys.
fn verify(path: &Path) -> Result<u64, String> {
    let file = File::open(path).map_err(|e| os_reason(&e))?;
    load::verify(file).map_err(|e| e.to_string())
}

fn given_up() -> Failure {
    Failure::Broken("The transfer from the master was given up.".into())
}

fn load_failed(medium: &str) -> Failure {
    Failure::Fault(format!("Failed trying to load the MASTER synchronization DB from {medium}, check server logs."))
}
