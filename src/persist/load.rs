//! A snapshot, read into a keyspace: at boot, by DEBUG RELOAD, or as it comes from a master.
//!
//! Knows nothing of where the bytes come from.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tracing::info;

use crate::base::clock;
use crate::exec::engine::Engine;
use crate::keyspace::entry::Entry;
use crate::keyspace::{Data, Key, Keyspace, Unit};
use crate::rdb::{Event, RdbError, ReadOptions, Reader, Value};

/// What was loaded.
#[derive(Debug, Default)]
pub struct Loaded {
    pub keys: u64,
    /// Keys that were over before they were loaded, and left out.
    pub expired: u64,
    /// Replication id and offset at the snapshot's cut, if it says so.
    pub repl_id: Option<String>,
    pub repl_offset: Option<i64>,
    pub repl_stream_db: Option<i64>,
}

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Rdb(#[from] RdbError),
    #[error("the data set names database {0}, which this server does not have")]
    Database(u32),
    #[error("key '{key}' in database {db} is a {kind}: this server does not know that type")]
    Type { key: String, db: usize, kind: String },
    #[error("key '{0}' is there twice")]
    Twice(String),
}

/// What to do with keys whose time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// A master's own file: they are gone.
    Drop,
    /// A replica's: the master will say when.
    Keep,
}

/// Reads all of it for nothing.
pub fn verify(source: impl Read) -> Result<(), LoadError> {
    let mut reader =
        Reader::begin(source, ReadOptions { verify: !crate::rdb::SKIP_CHECKSUM.load(Relaxed), keep_other: false })?;
    while !matches!(reader.next_event()?, Event::Eof(_)) {}
    Ok(())
}

/// Keeps everything, as a replica does with what its master sends.
pub fn load(ks: &Keyspace, source: impl Read) -> Result<Loaded, LoadError> {
    load_with(ks, source, Expired::Keep, |_| {})
}

/// Loads into an empty keyspace. `progress` is told how many bytes were read, now and then.
pub fn load_with(
    ks: &Keyspace,
    source: impl Read,
    expired: Expired,
    mut progress: impl FnMut(u64),
) -> Result<Loaded, LoadError> {
    let mut reader =
        Reader::begin(source, ReadOptions { verify: !crate::rdb::SKIP_CHECKSUM.load(Relaxed), keep_other: true })?;
    let mut unit = Unit { now_ms: clock::now_ms(), ..Unit::default() };
    let (mut db, mut loaded, mut events) = (0, Loaded::default(), 0u64);
    loop {
        events += 1;
        if events.is_multiple_of(1024) {
            progress(reader.bytes_read());
        }
        match reader.next_event()? {
            Event::SelectDb(n) if (n as usize) < ks.databases() => db = n as usize,
            Event::SelectDb(n) => return Err(LoadError::Database(n)),
            Event::Key { key, value, expire_ms, .. } => {
                // Where the file tells of a history, replicas may go on from it that still have such a key: it goes by
                // the expiry cycle, which tells them.
                let drop = expired == Expired::Drop && loaded.repl_id.is_none();
                if drop && expire_ms.is_some_and(|at| at < unit.now_ms) {
                    loaded.expired += 1;
                    continue;
                }
                let entry = match value {
                    Value::Str(text) => Entry::string(&key, &text, expire_ms),
                    Value::Int(n) => Entry::int(&key, n, expire_ms),
                    Value::Other { kind, .. } => {
                        let key = String::from_utf8_lossy(&key).into_owned();
                        return Err(LoadError::Type { key, db, kind: kind.name().to_owned() });
                    }
                };
                let key = Key::new(&key);
                let mut data = Data::lock_one(ks, key.hash, db, &mut unit);
                if !data.add(key, entry) {
                    return Err(LoadError::Twice(String::from_utf8_lossy(key.bytes).into_owned()));
                }
                loaded.keys += 1;
            }
            Event::Aux { key, value } => {
                let text = String::from_utf8_lossy(&value);
                match &key[..] {
                    b"repl-id" => loaded.repl_id = Some(text.into_owned()),
                    b"repl-offset" => loaded.repl_offset = text.parse().ok(),
                    b"repl-stream-db" => loaded.repl_stream_db = text.parse().ok(),
                    b"redis-ver" => info!("Loading RDB produced by version {text}"),
                    b"ctime" => {
                        let age = text.parse().map_or(0, |at: i64| (unit.now_ms / 1000 - at).max(0));
                        info!("RDB age {age} seconds");
                    }
                    b"used-mem" => {
                        let mb = text.parse().map_or(0.0, |n: f64| n / (1024.0 * 1024.0));
                        info!("RDB memory usage when created {mb:.2} Mb");
                    }
                    _ => {}
                }
            }
            Event::Eof(_) => return Ok(loaded),
            Event::ResizeDb { .. }
            | Event::SlotInfo { .. }
            | Event::SlotImport { .. }
            | Event::Function(_)
            | Event::ModuleAux { .. } => {}
        }
    }
}

/// Loads the file at boot. `None`: there is no such file. The caller has set `loading`, and lets clients in once the history
/// that the file belongs to is in place as well.
pub fn load_file(engine: &Arc<Engine>, path: &Path, expired: Expired) -> Result<Option<Loaded>, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(format!("Fatal error: can't open the RDB file {} for reading: {e}", path.display())),
    };
    let state = &engine.state;
    state.loading_total_bytes.store(file.metadata().map_or(0, |m| m.len()), Relaxed);
    state.loading_loaded_bytes.store(0, Relaxed);
    state.loading_start_s.store(clock::now_ms() / 1000, Relaxed);
    let started_us = clock::mono_us();
    let progress = |bytes| state.loading_loaded_bytes.store(bytes, Relaxed);
    let result = load_with(&engine.ks, BufReader::with_capacity(1 << 20, file), expired, progress);
    match result {
        Ok(loaded) => {
            info!("Done loading RDB, keys loaded: {}, keys expired: {}.", loaded.keys, loaded.expired);
            info!("DB loaded from disk: {:.3} seconds", (clock::mono_us() - started_us) as f64 / 1e6);
            Ok(Some(loaded))
        }
        Err(e) => Err(format!("Fatal error loading the DB, check server logs. Exiting. ({}: {e})", path.display())),
    }
}

/// A keyspace that can take the place of the engine's.
pub fn second(engine: &Engine) -> Keyspace {
    Keyspace::new(engine.ks.shards() as usize, engine.ks.databases())
}

/// Drops all data, off this thread. The caller sees to it that nobody is served meanwhile who should not see that.
pub fn empty(engine: &Engine) {
    let _gates = engine.gates.take_all();
    let mut unit = Unit::default();
    let mut data = Data::lock_alone(&engine.ks, 0, &mut unit);
    for db in 0..engine.ks.databases() {
        data.db = db;
        data.flush();
    }
    drop(data);
    engine.free_later(unit.garbage.drain(..));
}
