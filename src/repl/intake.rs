//! A received data set, read into the keyspace.

use std::io::Read;

use crate::base::clock;
use crate::exec::engine::Engine;
use crate::keyspace::entry::Entry;
use crate::keyspace::{Data, Key, Keyspace, Unit};
use crate::rdb::{Event, RdbError, ReadOptions, Reader, Value};

/// What was loaded.
#[derive(Debug, Default)]
pub struct Loaded {
    pub keys: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Rdb(#[from] RdbError),
    #[error("the data set names database {0}, which this server does not have")]
    Database(u32),
    #[error("the data set has a value of a type that this server does not know")]
    Type,
}

/// Reads all of it for nothing.
pub fn verify(source: impl Read) -> Result<(), LoadError> {
    let mut reader = Reader::begin(source, ReadOptions { verify: true, keep_other: false })?;
    while !matches!(reader.next_event()?, Event::Eof(_)) {}
    Ok(())
}

pub fn load(ks: &Keyspace, source: impl Read) -> Result<Loaded, LoadError> {
    let mut reader = Reader::begin(source, ReadOptions { verify: true, keep_other: true })?;
    let mut unit = Unit { now_ms: clock::now_ms(), ..Unit::default() };
    let (mut db, mut loaded) = (0, Loaded::default());
    loop {
        match reader.next_event()? {
            Event::SelectDb(n) if (n as usize) < ks.databases() => db = n as usize,
            Event::SelectDb(n) => return Err(LoadError::Database(n)),
            Event::Key { key, value, expire_ms, .. } => {
                let entry = match value {
                    Value::Str(text) => Entry::string(&key, &text, expire_ms),
                    Value::Int(n) => Entry::int(&key, n, expire_ms),
                    Value::Other { .. } => return Err(LoadError::Type),
                };
                let key = Key::new(&key);
                Data::lock_one(ks, key.hash, db, &mut unit).put(key, entry);
                loaded.keys += 1;
            }
            Event::Eof(_) => return Ok(loaded),
            Event::Aux { .. }
            | Event::ResizeDb { .. }
            | Event::SlotInfo { .. }
            | Event::SlotImport { .. }
            | Event::Function(_)
            | Event::ModuleAux { .. } => {}
        }
    }
}

/// A keyspace that can take the place of the engine's.
pub fn second(engine: &Engine) -> Keyspace {
    Keyspace::new(engine.ks.shards() as usize, engine.ks.databases())
}
