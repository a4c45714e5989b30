//! The whole data set as a stream of RDB bytes, cut at one instant while writes go on.
//!
//! A writer that comes to a segment before the walker puts its old content into the same stream. Knows neither files nor
//! sockets, and not why the data is wanted.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use parking_lot::Mutex;

use super::id::{ReplId, ReplOffset};
use crate::base::{clock, version};
use crate::exec::Engine;
use crate::keyspace::ValueRef as Stored;
use crate::keyspace::entry::Entry;
use crate::keyspace::shard::{PreImage, ShardId};
use crate::rdb::{Info, Repl, Sink, Usage, ValueRef, Version, WriteOptions};
use crate::rdb::{put_header, put_info, put_key, put_select_db};

/// Entries saved under one hold of a shard's lock.
const STEP_ENTRIES: usize = 64;
/// Collected before it is passed on.
const PIECE_BYTES: usize = 64 << 10;

/// What writers and the walker have saved and nobody has taken yet.
struct Saved {
    options: WriteOptions,
    buffer: Mutex<Buffer>,
}

#[derive(Default)]
struct Buffer {
    db: Option<u32>,
    bytes: Vec<u8>,
}

impl PreImage for Saved {
    fn save(&self, db: u32, entries: &mut dyn Iterator<Item = &Entry>) {
        let mut buffer = self.buffer.lock();
        for entry in entries {
            if buffer.db != Some(db) {
                put_select_db(&mut buffer.bytes, db);
                buffer.db = Some(db);
            }
            let value = match entry.value() {
                Stored::Int(n) => ValueRef::Int(n),
                Stored::Str(text) => ValueRef::Str(text),
                Stored::Large(text) => ValueRef::Str(text),
            };
            put_key(&mut buffer.bytes, entry.key(), value, entry.expire_ms(), Usage::Unsaid, &self.options);
        }
    }
}

/// Where in the stream of effects a cut was made.
pub struct Cut {
    pub replid: ReplId,
    pub offset: ReplOffset,
    /// The database that the stream has selected there.
    pub stream_db: u32,
}

/// Hands every piece to `put`, without any key if `with_data` is false; ends early with its error. `at_cut` runs with every gate held. Gives the bytes written.
pub fn walk(
    engine: &Engine,
    with_data: bool,
    at_cut: impl FnOnce() -> Cut,
    put: impl FnMut(Bytes) -> io::Result<()>,
) -> io::Result<u64> {
    let settings = engine.settings();
    let version = u32::try_from(settings.rdb_version).ok().and_then(Version::new);
    let version = version.unwrap_or(WriteOptions::default().version);
    let options = WriteOptions { version, compress: settings.rdbcompression };
    let saved = Arc::new(Saved { options, buffer: Mutex::default() });
    let cut = {
        let _gates = engine.gates.take_all();
        if with_data {
            let epoch = engine.state.snapshot_epoch.fetch_add(1, Relaxed) + 1;
            let sink: Arc<dyn PreImage> = saved.clone();
            engine.ks.begin_snapshot(epoch, &sink);
        }
        at_cut()
    };
    let result = pour(engine, &saved, &cut, settings.rdbchecksum, put);
    if result.is_err() {
        engine.ks.abort_snapshot();
    }
    result
}

fn pour(
    engine: &Engine,
    saved: &Saved,
    cut: &Cut,
    checksum: bool,
    put: impl FnMut(Bytes) -> io::Result<()>,
) -> io::Result<u64> {
    let mut sink = Sink::new(Pieces { put, piece: Vec::new() }, checksum);
    let mut head = Vec::new();
    put_header(&mut head, saved.options.version);
    let repl = Repl { stream_db: cut.stream_db, id: cut.replid.as_str(), offset: cut.offset };
    put_info(
        &mut head,
        &Info {
            server_version: version::REDIS,
            created_s: clock::now_ms() / 1000,
            used_memory: crate::stats::memory::used() as u64,
            repl: Some(repl),
            aof_base: false,
        },
    );
    sink.write_all(&head)?;
    for shard in 0..engine.ks.shards() {
        loop {
            let more = engine.ks.snapshot_step(ShardId(shard), STEP_ENTRIES);
            let bytes = std::mem::take(&mut saved.buffer.lock().bytes);
            sink.write_all(&bytes)?;
            if !more {
                break;
            }
        }
    }
    let bytes = std::mem::take(&mut saved.buffer.lock().bytes);
    sink.write_all(&bytes)?;
    let total = sink.bytes_written();
    sink.finish()?;
    Ok(total + 9)
}

/// Collects small writes.
struct Pieces<F> {
    put: F,
    piece: Vec<u8>,
}

impl<F: FnMut(Bytes) -> io::Result<()>> Write for Pieces<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() { Ok(()) } else { (self.put)(std::mem::take(&mut self.piece).into()) }
    }
}
