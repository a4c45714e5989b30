//! A snapshot, read into a keyspace: at boot, by DEBUG RELOAD, or as it comes from a master.
//!
//! Knows nothing of where the bytes come from.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::Scope;
use std::time::Duration;

use tracing::info;

use super::loader::{Crew, Desk, Dismiss, Item, Place};
use crate::base::clock;
use crate::ds::Limits;
use crate::exec::batch::touch_of;
use crate::exec::engine::Engine;
use crate::keyspace::unit::Touch;
use crate::keyspace::{Data, Keyspace, Unit};
use crate::rdb::{Checksum, Event, Payloads, RdbError, ReadOptions, Reader};

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

    /// A remark of the file on itself.
    fn heed(&mut self, key: &[u8], value: &[u8], databases: usize, now_ms: i64) {
        let text = String::from_utf8_lossy(value);
        match key {
            b"repl-id" => self.repl_id = Some(text.into_owned()),
            b"repl-offset" => self.repl_offset = text.parse().ok(),
            b"repl-stream-db" => self.repl_stream_db = text.parse().ok().filter(|db| *db < databases as i64),
            b"redis-ver" => info!("Loading RDB produced by version {text}"),
            b"ctime" => {
                let age = text.parse().map_or(0, |at: i64| (now_ms / 1000 - at).max(0));
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
}

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Rdb(#[from] RdbError),
    #[error("byte {at}: the data set names database {db}, which this server does not have")]
    Database { at: u64, db: u32 },
    #[error("byte {at}: key '{key}' in database {db} is of type {kind}: this server does not know that type")]
    Type { at: u64, key: String, db: usize, kind: String },
    #[error("byte {at}: key '{key}' is there twice")]
    Twice { at: u64, key: String },
    #[error("the load was interrupted")]
    Interrupted,
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

/// Reads all of it for nothing but to count its keys.
pub fn verify(source: impl Read) -> Result<u64, LoadError> {
    let mut reader = Reader::begin(
        source,
        ReadOptions { verify: !crate::rdb::SKIP_CHECKSUM.load(Relaxed), payloads: Payloads::Skip },
    )?;
    let mut keys = 0;
    loop {
        match reader.next_event()? {
            Event::Eof(_) => return Ok(keys),
            Event::Key { .. } => keys += 1,
            Event::SelectDb(_)
            | Event::Aux { .. }
            | Event::ResizeDb { .. }
            | Event::SlotInfo { .. }
            | Event::SlotImport { .. }
            | Event::Function(_)
            | Event::ModuleAux { .. } => {}
        }
    }
}

/// Says how far a load is, and how long it should rest after each key (`key-load-delay`, a test's wish).
pub fn note_progress(engine: &Engine, bytes: u64) -> i64 {
    engine.state.loading_loaded_bytes.store(bytes, Relaxed);
    engine.config.now().key_load_delay
}

/// Whether and how long a load rests behind its `done`-th key: each time for so many microseconds, or, where that is
/// negative, for one behind so many keys.
pub(super) fn rest_behind(done: u64, delay_us: i64) -> Option<Duration> {
    match delay_us {
        0 => None,
        1.. => Some(Duration::from_micros(delay_us.unsigned_abs())),
        _ => done.is_multiple_of(delay_us.unsigned_abs()).then_some(Duration::from_micros(1)),
    }
}

/// How to load.
#[derive(Clone, Copy, Debug)]
pub struct Loading {
    pub expired: Expired,
    pub limits: Limits,
    /// What eviction is to know of the keys.
    pub touch: Touch,
}

impl Loading {
    pub fn of(engine: &Engine, expired: Expired) -> Self {
        let settings = engine.settings();
        Self { expired, limits: settings.limits(), touch: touch_of(&settings) }
    }
}

/// Loads into an empty keyspace, which is to be thrown away if that fails. `progress` is told how many bytes were read, now
/// and then, and says how many microseconds to rest after each key, or, negative, after how many keys to rest one.
pub fn load_with(
    ks: &Keyspace,
    source: impl Read,
    loading: &Loading,
    mut progress: impl FnMut(u64) -> i64,
) -> Result<Loaded, LoadError> {
    let mut reader = Reader::begin(
        source,
        ReadOptions { verify: !crate::rdb::SKIP_CHECKSUM.load(Relaxed), payloads: Payloads::Decode(loading.limits) },
    )?;
    let crew = Crew::new(ks, loading, clock::now_ms());
    let read = std::thread::scope(|scope| {
        let _end = Dismiss(&crew);
        let mut desk = crew.desk();
        let read = read_all(&mut reader, &crew, &mut desk, scope, &mut progress);
        desk.hand_in();
        read
    });
    match read {
        // What stopped us is what a helper came across.
        Ok(None) => Err(crew.into_results().err().unwrap_or(LoadError::Interrupted)),
        Ok(Some((mut loaded, checksum))) => {
            let (tally, sums) = crew.into_results()?;
            if checksum == Checksum::Open {
                sums.into_iter().for_each(|sum| reader.note_checksum(sum));
                reader.join_checksum()?;
            }
            (loaded.keys, loaded.expired, loaded.empty) = (tally.keys, tally.expired, tally.empty);
            (loaded.farewell, loaded.farewell_db) = (tally.farewell, tally.farewell_db);
            Ok(loaded)
        }
        Err(e) => Err(e),
    }
}

/// Goes through the file. `None` if a helper has failed.
fn read_all<'s>(
    reader: &mut Reader<impl Read>,
    crew: &'s Crew<'_>,
    desk: &mut Desk<'_, '_>,
    scope: &'s Scope<'s, '_>,
    progress: &mut impl FnMut(u64) -> i64,
) -> Result<Option<(Loaded, Checksum)>, LoadError> {
    let now_ms = clock::now_ms();
    let mut place = Place { db: 0, history: false };
    let (mut loaded, mut events, mut runs) = (Loaded::default(), 0u64, 0u64);
    let mut rest_us = progress(0);
    loop {
        // Whoever wants rests between keys wants them to come one by one.
        while rest_us == 0
            && !crew.has_failed()
            && let Some(run) = reader.next_run()?
        {
            runs += 1;
            if runs == 2 {
                crew.start_helpers(scope);
            }
            if let Some((run, place)) = crew.offer(run, place) {
                desk.settle(run, place);
            }
            rest_us = progress(reader.bytes_read());
        }
        if crew.has_failed() {
            return Ok(None);
        }
        events += 1;
        if rest_us != 0 || events.is_multiple_of(1024) {
            if let Some(rest) = rest_behind(events, rest_us) {
                std::thread::sleep(rest);
            }
            rest_us = progress(reader.bytes_read());
        }
        let at = reader.bytes_read();
        match reader.next_event()? {
            Event::SelectDb(n) if (n as usize) < crew.databases() => place.db = n as usize,
            Event::SelectDb(n) => return Err(LoadError::Database { at, db: n }),
            Event::Key { key, value, expire_ms, usage } => {
                desk.insert(Item { at, key: &key, value, expire_ms, usage }, place)?;
            }
            Event::Aux { key, value } => {
                loaded.heed(&key, &value, crew.databases(), now_ms);
                place.history = loaded.repl_id.is_some();
            }
            Event::Eof(checksum) => {
                while let Some((run, place)) = crew.left_over() {
                    desk.settle(run, place);
                }
                loaded.bytes = reader.bytes_read();
                return Ok(Some((loaded, checksum)));
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
    let result = load_with(&engine.ks, file, &Loading::of(engine, expired), progress);
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
        let loading = Loading { expired, limits: Limits::default(), touch: Touch::Lru };
        let loaded = load_with(&ks, file, &loading, |_| 0);
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
        assert_eq!(
            module,
            "byte 9: key 'abc' in database 0 is of type module-value: this server does not know that type"
        );
        let twice = refused(|bytes| {
            key(bytes, "k", None);
            key(bytes, "k", None);
        });
        assert_eq!(twice, "byte 14: key 'k' is there twice");
        let far = refused(|bytes| {
            put_select_db(bytes, 2);
            key(bytes, "k", None);
        });
        assert_eq!(far, "byte 9: the data set names database 2, which this server does not have");
    }

    /// What is there, as one number.
    fn digest(ks: &Keyspace) -> String {
        let mut unit = Unit::default();
        crate::exec::digest::of_all(&mut Data::lock_alone(ks, 0, &mut unit)).hex()
    }

    /// Keys of several sizes and kinds in two databases, enough for many runs; some too large for one.
    fn many(keys: usize) -> Vec<u8> {
        let options = options();
        file(|bytes| {
            for db in 0..2 {
                put_select_db(bytes, db);
                for n in 0..keys {
                    let (name, expire) = (format!("key:{n}"), (n % 3 == 0).then_some(i64::MAX / 2 + n as i64));
                    let long = vec![b'a' + (n % 26) as u8; if n % 977 == 5 { 300_000 } else { n % 90 }];
                    let mut set = crate::ds::set::Set::default();
                    for member in [n, 5, 1 << 40] {
                        set.add(member.to_string().as_bytes(), &Limits::default());
                    }
                    let value = match n % 4 {
                        0 => ValueRef::Int(n as i64),
                        1 => ValueRef::Set(&set),
                        _ => ValueRef::Str(&long),
                    };
                    put_key(bytes, name.as_bytes(), value, expire, Usage::Unsaid, &options);
                }
            }
        })
    }

    #[test]
    fn many_threads_load_what_one_loads() {
        let file = many(20_000);
        let loading = Loading { expired: Expired::Drop, limits: Limits::default(), touch: Touch::Lru };
        let load = |rest: i64| {
            let ks = Keyspace::new(32, 2);
            let loaded = load_with(&ks, &file[..], &loading, |_| rest).unwrap();
            assert_eq!((loaded.keys, loaded.bytes), (40_000, file.len() as u64));
            (digest(&ks), ks.count(0), ks.count(1))
        };
        // Negative: key by key, with a rest so rare that there is none.
        assert_eq!(load(0), load(i64::MIN + 1));
    }

    #[test]
    fn a_byte_that_is_wrong_far_behind_is_noticed() {
        let good = many(4000);
        for at in (20..good.len()).step_by(good.len() / 23) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(try_load(&bad, Expired::Drop).1.is_err(), "byte {at}");
            assert!(try_load(&good[..at], Expired::Drop).1.is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_key_that_comes_again_in_another_run_is_refused() {
        let twice = file(|bytes| {
            for n in 0..30_000 {
                key(bytes, &format!("key:{}", n % 29_999), None);
            }
        });
        let refused = try_load(&twice, Expired::Drop).1.unwrap_err().to_string();
        // Whichever of the two is inserted last: the first is behind the header, the last before end and checksum.
        let places = [9, twice.len() - 9 - "_\u{5}key:0\u{1}v".len()];
        assert!(places.map(|at| format!("byte {at}: key 'key:0' is there twice")).contains(&refused), "{refused}");
    }

    #[test]
    fn what_is_over_is_told_of_by_all_threads() {
        let file = file(|bytes| {
            crate::rdb::put_aux(bytes, b"repl-id", &[b'a'; 40]);
            for n in 0..30_000 {
                key(bytes, &format!("key:{n}"), (n % 2 == 0).then_some(1));
            }
        });
        let (ks, loaded) = try_load(&file, Expired::Tell);
        let loaded = loaded.unwrap();
        assert_eq!((loaded.keys, loaded.expired, ks.count(0)), (15_000, 15_000, (15_000, 0)));
        assert_eq!(loaded.farewell_db, Some(0));
        let told = String::from_utf8(loaded.farewell).unwrap();
        assert_eq!(told.matches("DEL").count(), 15_000);
        assert!(told.starts_with("*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n"));
    }
}
