//! A snapshot, read into a keyspace: at boot, by DEBUG RELOAD, or as it comes from a master.
//!
//! Knows nothing of where the bytes come from.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tracing::info;

use crate::base::clock;
use crate::ds::Limits;
use crate::exec::engine::Engine;
use crate::keyspace::{Data, Key, Keyspace, Unit};
use crate::rdb::{Event, Payloads, RdbError, ReadOptions, Reader};
use crate::resp::encode_command;

/// What was loaded.
#[derive(Debug, Default)]
pub struct Loaded {
    pub keys: u64,
    /// Keys that were over before they were loaded, and left out.
    pub expired: u64,
    /// Keys without a single element, which should not have been there.
    pub empty: u64,
    /// What tells a replica of them, and the database it selects last, with [`Expired::Tell`].
    pub farewell: Vec<u8>,
    pub farewell_db: Option<usize>,
    /// Replication id and offset at the snapshot's cut, if it says so.
    pub repl_id: Option<String>,
    pub repl_offset: Option<i64>,
    pub repl_stream_db: Option<i64>,
    /// Bytes of the snapshot itself; something may follow.
    pub bytes: u64,
}

impl Loaded {
    /// As stock servers log it.
    pub fn summary(&self) -> String {
        format!(
            "Done loading RDB, keys loaded: {}, keys expired: {}, empty keys skipped: {}.",
            self.keys, self.expired, self.empty
        )
    }

    fn say_farewell(&mut self, db: usize, key: &[u8]) {
        if self.farewell_db.replace(db) != Some(db) {
            encode_command(&mut self.farewell, [&b"SELECT"[..], itoa::Buffer::new().format(db).as_bytes()]);
        }
        encode_command(&mut self.farewell, [&b"DEL"[..], key]);
    }
}

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Rdb(#[from] RdbError),
    #[error("the data set names database {0}, which this server does not have")]
    Database(u32),
    #[error("key '{key}' in database {db} is of type {kind}: this server does not know that type")]
    Type { key: String, db: usize, kind: String },
    #[error("key '{0}' is there twice")]
    Twice(String),
}

/// What to do with keys whose time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// They are gone; but where the file tells of a history, its replicas may hold them still: those go by the expiry
    /// cycle, which tells them.
    Drop,
    /// A master's own file at start: they are gone, and whoever goes on from the file's history is told first.
    Tell,
    /// A replica's: the master will say when.
    Keep,
}

/// Reads all of it for nothing.
pub fn verify(source: impl Read) -> Result<(), LoadError> {
    let mut reader = Reader::begin(
        source,
        ReadOptions { verify: !crate::rdb::SKIP_CHECKSUM.load(Relaxed), payloads: Payloads::Skip },
    )?;
    while !matches!(reader.next_event()?, Event::Eof(_)) {}
    Ok(())
}

/// Says how far a load is, and how long it should rest after each key (`key-load-delay`, a test's wish).
pub fn note_progress(engine: &Engine, bytes: u64) -> i64 {
    engine.state.loading_loaded_bytes.store(bytes, Relaxed);
    engine.config.now().key_load_delay
}

/// Loads into an empty keyspace. `progress` is told how many bytes were read, now and then, and says how many
/// microseconds to rest after each key, or, negative, after how many keys to rest one.
pub fn load_with(
    ks: &Keyspace,
    source: impl Read,
    expired: Expired,
    limits: Limits,
    mut progress: impl FnMut(u64) -> i64,
) -> Result<Loaded, LoadError> {
    let mut reader = Reader::begin(
        source,
        ReadOptions { verify: !crate::rdb::SKIP_CHECKSUM.load(Relaxed), payloads: Payloads::Decode(limits) },
    )?;
    let mut unit = Unit { now_ms: clock::now_ms(), limits, ..Unit::default() };
    let (mut db, mut loaded, mut events) = (0, Loaded::default(), 0u64);
    let mut rest_us = progress(0);
    loop {
        events += 1;
        if rest_us != 0 || events.is_multiple_of(1024) {
            if rest_us > 0 || rest_us < 0 && events.is_multiple_of(rest_us.unsigned_abs()) {
                std::thread::sleep(Duration::from_micros(rest_us.max(1) as u64));
            }
            rest_us = progress(reader.bytes_read());
        }
        match reader.next_event()? {
            Event::SelectDb(n) if (n as usize) < ks.databases() => db = n as usize,
            Event::SelectDb(n) => return Err(LoadError::Database(n)),
            Event::Key { key, value, expire_ms, .. } => {
                let drop = match expired {
                    Expired::Drop => loaded.repl_id.is_none(),
                    Expired::Tell => true,
                    Expired::Keep => false,
                };
                if drop && expire_ms.is_some_and(|at| at < unit.now_ms) {
                    loaded.expired += 1;
                    if expired == Expired::Tell && loaded.repl_id.is_some() {
                        loaded.say_farewell(db, &key);
                    }
                    continue;
                }
                if value.is_spent() {
                    info!("skipping empty key: {}", String::from_utf8_lossy(&key));
                    loaded.empty += 1;
                    continue;
                }
                let entry = value.into_entry(&key, expire_ms).map_err(|kind| {
                    let key = String::from_utf8_lossy(&key).into_owned();
                    LoadError::Type { key, db, kind: kind.name().to_owned() }
                })?;
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
                    b"repl-stream-db" => {
                        loaded.repl_stream_db = text.parse().ok().filter(|db| *db < ks.databases() as i64);
                    }
                    b"redis-ver" => info!("Loading RDB produced by version {text}"),
                    b"ctime" => {
                        let age = text.parse().map_or(0, |at: i64| (unit.now_ms / 1000 - at).max(0));
                        info!("RDB age {age} seconds");
                    }
                    b"used-mem" => {
                        let mb = text.parse().map_or(0.0, |n: f64| n / (1024.0 * 1024.0));
                        info!("RDB memory usage when created {mb:.2} Mb");
                    }
                    b"aof-base" if text == "1" => info!("RDB is base AOF"),
                    _ => {}
                }
            }
            Event::Eof(_) => {
                loaded.bytes = reader.bytes_read();
                return Ok(loaded);
            }
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
    let progress = |bytes| note_progress(engine, bytes);
    let result =
        load_with(&engine.ks, BufReader::with_capacity(1 << 20, file), expired, engine.settings().limits(), progress);
    match result {
        Ok(loaded) => {
            info!("{}", loaded.summary());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rdb::{Sink, Usage, ValueRef, WriteOptions, put_header, put_key, put_select_db};
    use std::io::Write;

    fn options() -> WriteOptions {
        WriteOptions::default()
    }

    fn key(bytes: &mut Vec<u8>, key: &str, expire_ms: Option<i64>) {
        put_key(bytes, key.as_bytes(), ValueRef::Str(b"v"), expire_ms, Usage::Unsaid, &options());
    }

    fn file(body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_header(&mut bytes, options().version);
        body(&mut bytes);
        let mut sink = Sink::new(Vec::new(), true);
        sink.write_all(&bytes).unwrap();
        sink.finish().unwrap()
    }

    fn try_load(file: &[u8], expired: Expired) -> (Keyspace, Result<Loaded, LoadError>) {
        let ks = Keyspace::new(4, 2);
        let loaded = load_with(&ks, file, expired, Limits::default(), |_| 0);
        (ks, loaded)
    }

    #[test]
    fn only_a_master_leaves_out_what_is_over() {
        let file = file(|bytes| {
            key(bytes, "over", Some(1));
            key(bytes, "later", Some(i64::MAX / 2));
            key(bytes, "always", None);
        });
        let (ks, loaded) = try_load(&file, Expired::Drop);
        let loaded = loaded.unwrap();
        assert_eq!((loaded.keys, loaded.expired, ks.count(0)), (2, 1, (2, 1)));
        let (ks, loaded) = try_load(&file, Expired::Keep);
        assert_eq!((loaded.unwrap().keys, ks.count(0)), (3, (3, 2)));
    }

    #[test]
    fn what_cannot_be_kept_is_refused_by_name() {
        let refused = |body: fn(&mut Vec<u8>)| try_load(&file(body), Expired::Drop).1.unwrap_err().to_string();
        let module = refused(|bytes| bytes.extend_from_slice(b"\x07\x03abc\x81ABCDEFGH\x01\x05\x00"));
        assert_eq!(module, "key 'abc' in database 0 is of type module-value: this server does not know that type");
        let twice = refused(|bytes| {
            key(bytes, "k", None);
            key(bytes, "k", None);
        });
        assert_eq!(twice, "key 'k' is there twice");
        let far = refused(|bytes| {
            put_select_db(bytes, 2);
            key(bytes, "k", None);
        });
        assert_eq!(far, "the data set names database 2, which this server does not have");
    }
}
