//! The whole data set as a stream of RDB bytes, cut at one instant while writes go on.
//!
//! A writer that comes to a segment before the walker puts its old content into the same stream. Knows neither files nor
//! sockets, and not why the data is wanted.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::aof::values;
use crate::base::{clock, log, version};
use crate::config::{MaxmemoryPolicy, RdbVersion, Settings};
use crate::exec::Engine;
use crate::exec::gate::AllGates;
use crate::exec::turn::Turn;
use crate::keyspace::entry::Entry;
use crate::keyspace::shard::{Bringer, PreImage, ShardId};
use crate::keyspace::unit::lfu_decayed;
use crate::rdb::{Dialect, Info, OLDEST_WITH_FIELD_EXPIRY, Repl, Sink, Usage, Version, WriteOptions};
use crate::rdb::{Unpacked, pack_into, put_header, put_info, put_key_unpacked, put_select_db};

/// Entries saved under one hold of a shard's lock.
const STEP_ENTRIES: usize = 64;
/// Strings compressed before they are passed on.
const PACKED_AT_ONCE: usize = 64;
/// Collected before it is passed on.
const PIECE_BYTES: usize = 64 << 10;

/// What the data set is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A snapshot for readers of this dialect.
    Rdb(Dialect),
    /// A snapshot that is the base of an append-only file.
    AofBase,
    /// Requests that make the data, for the same.
    Requests,
}

/// What writers and the walker have saved and nobody has taken yet.
struct Saved {
    options: WriteOptions,
    form: Form,
    traces: Traces,
    buffer: Mutex<Buffer>,
    /// `snapshot_behind` of the engine's state: shared, as the keyspace knows no engine.
    engine: Arc<Engine>,
    keys: AtomicU64,
    budget_bytes: usize,
}

/// What eviction knows of the keys at an instant, under the policies that need to know it again after a load.
#[derive(Clone, Copy)]
enum Traces {
    None,
    Idle { now_s: u32 },
    Freq { now_ms: i64, decay_minutes: u32 },
}

impl Traces {
    fn now(settings: &Settings) -> Self {
        let now_ms = clock::now_ms();
        match settings.maxmemory_policy {
            MaxmemoryPolicy::AllkeysLru | MaxmemoryPolicy::VolatileLru => Self::Idle { now_s: (now_ms / 1000) as u32 },
            MaxmemoryPolicy::AllkeysLfu | MaxmemoryPolicy::VolatileLfu => {
                Self::Freq { now_ms, decay_minutes: settings.lfu_decay_time as u32 }
            }
            MaxmemoryPolicy::AllkeysRandom
            | MaxmemoryPolicy::VolatileRandom
            | MaxmemoryPolicy::VolatileTtl
            | MaxmemoryPolicy::NoEviction => Self::None,
        }
    }

    #[inline]
    fn of(self, entry: &Entry) -> Usage {
        match self {
            Self::None => Usage::Unsaid,
            // A key may have been used since, by somebody whose segment comes later.
            Self::Idle { now_s } => match now_s.wrapping_sub(entry.access()) & 0x00ff_ffff {
                idle if idle < 0x0080_0000 => Usage::IdleS(idle.into()),
                _ => Usage::IdleS(0),
            },
            Self::Freq { now_ms, decay_minutes } => {
                Usage::Freq(lfu_decayed(entry.access(), now_ms, decay_minutes).min(255) as u8)
            }
        }
    }
}

#[derive(Default)]
struct Buffer {
    db: Option<u32>,
    taken: Unsent,
}

/// Bytes of the stream, and where in them strings are that are still to be compressed: not behind a lock, nor by a writer.
#[derive(Default)]
struct Unsent {
    bytes: Vec<u8>,
    unpacked: Vec<Unpacked>,
}

impl Unsent {
    fn append(&mut self, other: &Self) {
        let base = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes);
        self.unpacked.extend(other.unpacked.iter().map(|part| part.behind(base)));
    }

    /// Passes it on, compressed in `packed` where there is something to compress.
    fn write_to(&self, sink: &mut impl Write, packed: &mut Vec<u8>) -> io::Result<()> {
        let mut done = 0;
        // Some at a time, so that `packed` stays small whatever came together.
        for parts in self.unpacked.chunks(PACKED_AT_ONCE) {
            packed.clear();
            done = pack_into(packed, &self.bytes, done, parts);
            sink.write_all(packed)?;
        }
        packed.shrink_to(SCRATCH_KEPT_BYTES);
        sink.write_all(&self.bytes[done..])
    }

    /// Empties it. Room is given back only where it is far more than that: a block that comes and goes costs more memory
    /// than one that stays.
    fn clear(&mut self, keep_bytes: usize) {
        self.bytes.clear();
        self.unpacked.clear();
        if self.bytes.capacity() > 4 * keep_bytes {
            self.bytes.shrink_to(keep_bytes);
            self.unpacked.shrink_to(0);
        }
    }
}

thread_local! {
    /// What is being saved on this thread; its room is used again.
    static SCRATCH: RefCell<Unsent> = RefCell::default();
}

/// A thread keeps no more room for what it saves next.
const SCRATCH_KEPT_BYTES: usize = 256 << 10;

impl Saved {
    fn put_entries(&self, out: &mut Unsent, entries: &mut dyn Iterator<Item = &Entry>) -> u64 {
        let mut keys = 0;
        for entry in entries {
            keys += 1;
            if self.form == Form::Requests {
                values::put_entry(&mut out.bytes, entry);
                continue;
            }
            let (key, value, traces) = (entry.key(), entry.value().into(), self.traces.of(entry));
            out.unpacked.extend(put_key_unpacked(&mut out.bytes, key, value, entry.expire_ms(), traces, &self.options));
        }
        keys
    }
}

impl PreImage for Saved {
    /// Only the outcome is put into the buffer behind its lock: who saves another shard meanwhile need not wait.
    fn save(&self, db: u32, entries: &mut dyn Iterator<Item = &Entry>, bringer: Bringer) {
        let mut own = SCRATCH.take();
        let keys = self.put_entries(&mut own, entries);
        let waiting = {
            let mut buffer = self.buffer.lock();
            if buffer.db.replace(db) != Some(db) {
                match self.form {
                    Form::Requests => values::put_select_db(&mut buffer.taken.bytes, db),
                    Form::Rdb(_) | Form::AofBase => put_select_db(&mut buffer.taken.bytes, db),
                }
            }
            buffer.taken.append(&own);
            buffer.taken.bytes.len()
        };
        self.keys.fetch_add(keys, Relaxed);
        let state = &self.engine.state;
        if bringer == Bringer::Writer {
            state.snapshot_kept_bytes.fetch_add(own.bytes.len() as u64, Relaxed);
        }
        if waiting > self.budget_bytes {
            state.snapshot_behind.store(true, Relaxed);
            if waiting > 2 * self.budget_bytes {
                state.snapshot_far_behind.store(true, Relaxed);
            }
        }
        own.clear(SCRATCH_KEPT_BYTES);
        SCRATCH.set(own);
    }
}

/// Where in the stream of effects a cut was made.
#[derive(Clone, Debug)]
pub struct Cut {
    pub replid: String,
    pub offset: i64,
    /// The database that the stream has selected there.
    pub stream_db: u32,
    /// What its history was called before, with the first byte that each name is no longer good for.
    pub former: Vec<(String, i64)>,
}

/// What writers may put into the stream before it is taken, as a share of the memory in use and within these bounds; then
/// they are asked to slow down.
const BUDGET_SHARE: usize = 1 << 6;
const BUDGET_MIN_BYTES: usize = 1 << 20;
const BUDGET_MAX_BYTES: usize = 16 << 20;

fn budget_bytes() -> usize {
    (crate::stats::memory::used() / BUDGET_SHARE).clamp(BUDGET_MIN_BYTES, BUDGET_MAX_BYTES)
}

/// Hands every piece to `put`, as long as it is `wanted`, without any key if `with_data` is false; ends early with its
/// error. `readers` are of this dialect, where it matters. `at_cut` runs with every gate held; without a cut the file says
/// nothing of replication. Waits for its turn: there is one snapshot at a time. Gives the bytes written.
pub fn walk(
    engine: &Arc<Engine>,
    with_data: bool,
    readers: Dialect,
    wanted: impl Fn() -> bool,
    at_cut: impl FnOnce() -> Option<Cut>,
    put: impl FnMut(Bytes) -> io::Result<()>,
) -> io::Result<u64> {
    walk_in_turn(engine, &engine.turns.wait(), with_data, readers, None, wanted, at_cut, put)
}

/// [`walk`] for those who have waited for their turn, or would not wait. `gates`: those of a caller who holds them all,
/// and so sees no write until it lets go of them.
pub fn walk_in_turn(
    engine: &Arc<Engine>,
    turn: &Turn<'_>,
    with_data: bool,
    readers: Dialect,
    gates: Option<&AllGates<'_>>,
    wanted: impl Fn() -> bool,
    at_cut: impl FnOnce() -> Option<Cut>,
    put: impl FnMut(Bytes) -> io::Result<()>,
) -> io::Result<u64> {
    walk_as(Form::Rdb(readers), engine, turn, with_data, gates, wanted, at_cut, put)
}

/// [`walk_in_turn`] in any form.
pub fn walk_as(
    form: Form,
    engine: &Arc<Engine>,
    _turn: &Turn<'_>,
    with_data: bool,
    gates: Option<&AllGates<'_>>,
    wanted: impl Fn() -> bool,
    at_cut: impl FnOnce() -> Option<Cut>,
    put: impl FnMut(Bytes) -> io::Result<()>,
) -> io::Result<u64> {
    let settings = engine.settings();
    engine.state.snapshot_keys_saved.store(0, Relaxed);
    engine.state.snapshot_kept_bytes.store(0, Relaxed);
    let (saved, cut) = {
        let _gates = gates.is_none().then(|| engine.gates.take_all());
        let readers = if let Form::Rdb(dialect) = form { dialect } else { Dialect::Redis };
        // The version comes first in the stream, and must hold whatever there is at this instant.
        let version = version_to_write(&settings, readers, with_data && engine.ks.has_volatile());
        let options = WriteOptions { version, compress: settings.rdbcompression };
        let (buffer, keys) = (Mutex::default(), AtomicU64::new(0));
        let (traces, engine_) = (Traces::now(&settings), engine.clone());
        let saved =
            Arc::new(Saved { options, form, traces, buffer, engine: engine_, keys, budget_bytes: budget_bytes() });
        if with_data {
            let epoch = engine.state.snapshot_epoch.fetch_add(1, Relaxed) + 1;
            let sink: Arc<dyn PreImage> = saved.clone();
            engine.ks.begin_snapshot(epoch, &sink);
        }
        // Before anybody learns that the snapshot has begun.
        let total = (0..engine.ks.databases()).map(|db| engine.ks.count(db).0 as u64).sum();
        engine.state.snapshot_keys_total.store(total, Relaxed);
        (saved, at_cut())
    };
    let result = pour(engine, &saved, cut.as_ref(), settings.rdbchecksum, &wanted, put);
    if result.is_err() {
        engine.ks.abort_snapshot();
    }
    engine.state.caught_up(&engine.state.snapshot_behind);
    result
}

/// The version to write: that of the directive, or one that can hold fields that expire.
fn version_to_write(settings: &Settings, readers: Dialect, fields_expire: bool) -> Version {
    static TOLD: AtomicBool = AtomicBool::new(false);
    let version = Version::new(settings.rdb_version.number()).unwrap_or(WriteOptions::default().version);
    if !fields_expire || version >= OLDEST_WITH_FIELD_EXPIRY {
        return version;
    }
    if let (Dialect::Valkey, Some(version)) = (readers, Version::new(RdbVersion::Valkey80.number())) {
        return version;
    }
    if !TOLD.swap(true, Relaxed) {
        log::notice!(
            "There are hash fields that expire: snapshots are written in RDB version {} instead of {}, which servers \
             before Redis 7.4 cannot load",
            OLDEST_WITH_FIELD_EXPIRY.number(),
            version.number()
        );
    }
    OLDEST_WITH_FIELD_EXPIRY
}

fn pour(
    engine: &Engine,
    saved: &Saved,
    cut: Option<&Cut>,
    checksum: bool,
    wanted: &impl Fn() -> bool,
    put: impl FnMut(Bytes) -> io::Result<()>,
) -> io::Result<u64> {
    let mut sink =
        Sink::new(Pieces { put, piece: Vec::new(), pool: Arc::default() }, checksum && saved.form != Form::Requests);
    let mut head = Vec::new();
    let repl = cut.map(|cut| Repl { stream_db: cut.stream_db, id: &cut.replid, offset: cut.offset });
    let created_s = clock::now_ms() / 1000;
    let info = Info {
        server_version: version::REDIS,
        created_s,
        used_memory: crate::stats::memory::used() as u64,
        repl,
        aof_base: saved.form == Form::AofBase,
    };
    if saved.form != Form::Requests {
        put_header(&mut head, saved.options.version);
        put_info(&mut head, &info);
    } else if engine.config.now().aof_timestamp_enabled {
        head.extend_from_slice(format!("#TS:{created_s}\r\n").as_bytes());
    }
    sink.write_all(&head)?;
    // The last save, made by the shutdown itself, comes through; whatever else is under way makes room for it.
    let last = engine.state.shutting_down.load(Relaxed);
    let unwanted = || !last && engine.state.shutting_down.load(Relaxed) || !wanted();
    // Two buffers take turns, so that neither is made anew for each step.
    let (mut taken, mut packed) = (Unsent::default(), Vec::new());
    // Room that is not used takes no memory.
    for buffer in [&mut taken, &mut saved.buffer.lock().taken] {
        buffer.bytes.reserve(2 * saved.budget_bytes);
    }
    for shard in 0..engine.ks.shards() {
        loop {
            if unwanted() {
                return Err(io::Error::other("nobody wants it any more"));
            }
            let more = engine.ks.snapshot_step(ShardId(shard), STEP_ENTRIES);
            std::mem::swap(&mut taken, &mut saved.buffer.lock().taken);
            engine.state.caught_up(&engine.state.snapshot_behind);
            taken.write_to(&mut sink, &mut packed)?;
            // The room of a huge value is given back.
            taken.clear(saved.budget_bytes);
            delay(engine, saved, unwanted);
            if !more {
                break;
            }
        }
    }
    let last = std::mem::take(&mut saved.buffer.lock().taken);
    last.write_to(&mut sink, &mut packed)?;
    let total = sink.bytes_written();
    if saved.form == Form::Requests {
        sink.flush()?;
        return Ok(total);
    }
    sink.finish()?;
    Ok(total + 9)
}

/// Counts what was saved; `rdb-key-save-delay` (a test's wish) stretches it.
fn delay(engine: &Engine, saved: &Saved, unwanted: impl Fn() -> bool) {
    let keys = saved.keys.swap(0, Relaxed);
    engine.state.snapshot_keys_saved.fetch_add(keys, Relaxed);
    let micros = engine.config.now().rdb_key_save_delay;
    if micros > 0 {
        let until_us = clock::mono_us() + micros.saturating_mul(keys as i64);
        while clock::mono_us() < until_us && engine.config.now().rdb_key_save_delay > 0 && !unwanted() {
            std::thread::sleep(Duration::from_millis(1).min(Duration::from_micros(micros as u64)));
        }
    }
}

/// Cuts what is written into pieces. Their memory comes back from whoever took them, on whatever thread, and is used again:
/// what an allocator frees late would else be many times what is on its way.
struct Pieces<F> {
    put: F,
    piece: Vec<u8>,
    pool: Arc<Pool>,
}

#[derive(Default)]
struct Pool(Mutex<Vec<Vec<u8>>>);

/// A piece that somebody has.
struct Lent {
    bytes: Vec<u8>,
    pool: Arc<Pool>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        self.pool.0.lock().push(bytes);
    }
}

impl<F: FnMut(Bytes) -> io::Result<()>> Write for Pieces<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.capacity() == 0 {
            self.piece = self.pool.0.lock().pop().unwrap_or_else(|| Vec::with_capacity(PIECE_BYTES));
        }
        let n = bytes.len().min(PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..n]);
        if self.piece.len() == PIECE_BYTES {
            self.flush()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let lent = Lent { bytes: std::mem::take(&mut self.piece), pool: self.pool.clone() };
        (self.put)(Bytes::from_owner(lent))
    }
}
