//! The engine: everything the workers share. Made once at boot, alive until the end.
//!
//! Knows no socket. Higher floors hang their own shared state into `extensions`, so that their commands find it.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use super::call::Handler;
use super::client::Clients;
use super::durable::Durable;
use super::evict::Evictor;
use super::gate::{Gates, WorkerId};
use super::pause::Pause;
use super::pubsub::{Monitors, PubSub};
use super::standstill::Standstill;
use super::state::State;
use super::turn::Turns;
use crate::acl::Acl;
use crate::config::{Config, Settings};
use crate::keyspace::shard::Garbage;
use crate::keyspace::{Keyspace, Unit, ValueRef};
use crate::oplog::Log;
use crate::spec::Table;
use crate::stats::Stats;

pub struct Engine {
    pub ks: Keyspace,
    pub log: Arc<Log>,
    pub config: Config,
    pub table: Table<Handler>,
    pub gates: Gates,
    pub clients: Clients,
    pub pubsub: PubSub,
    pub monitors: Monitors,
    pub pause: Pause,
    pub state: State,
    pub standstill: Standstill,
    pub durable: Durable,
    pub stats: Stats,
    pub acl: Acl,
    pub evictor: Evictor,
    pub turns: Turns,
    hooks: OnceLock<Hooks>,
    extensions: OnceLock<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
    garbage: std::sync::mpsc::Sender<(Garbage, usize)>,
    freeing: Arc<Freeing>,
}

/// What higher floors have to do when something happens here.
pub struct Hooks {
    /// The log has grown to `State::log_watched_at`. Called behind a gate, perhaps with shards locked.
    pub log_grew: fn(&Engine),
    /// FLUSHALL was carried out. Called without any gate.
    pub flushed_all: fn(&Arc<Engine>),
    /// More of the log is on disk. Called without any gate.
    pub more_on_disk: fn(&Engine),
}

/// How nice the lazy-free thread is. Not the nicest: what waits for it is memory.
#[cfg(target_os = "linux")]
const LAZY_FREE_NICE: i32 = 5;

/// How many keys the lazy-free thread has still to give back, and has given back.
#[derive(Default)]
pub struct Freeing {
    pub pending: AtomicUsize,
    pub freed: AtomicUsize,
    /// What is still to be given back of single values, so that nobody makes room for them.
    pub pending_bytes: AtomicUsize,
}

/// What single values take; whole databases are not measured.
fn bytes_in(garbage: &Garbage) -> usize {
    match garbage {
        Garbage::Entry(entry) => entry.memory_bytes(),
        Garbage::Object(object) => ValueRef::from(&**object).memory_bytes(),
        Garbage::Dict(_) => 0,
    }
}

fn keys_in(garbage: &Garbage) -> usize {
    match garbage {
        Garbage::Entry(_) | Garbage::Object(_) => 1,
        Garbage::Dict(dict) => dict.len(),
    }
}

impl Engine {
    pub fn new(config: Config, table: Table<Handler>, workers: usize) -> Arc<Self> {
        let settings = config.snapshot();
        // Enough shards that two workers seldom want the same one.
        let shards = (workers * 16).clamp(32, 1024);
        let (garbage, rubbish) = std::sync::mpsc::channel::<(Garbage, usize)>();
        let lazy_free = std::thread::Builder::new().name("lazy-free".into());
        // Dropping is the whole work; the thread ends with the last sender.
        let freeing = Arc::new(Freeing::default());
        let counts = freeing.clone();
        let spawned = lazy_free.spawn(move || {
            // Clients come first; a lower priority that is not given is no harm. On Linux it is this thread's alone.
            #[cfg(target_os = "linux")]
            let _ = rustix::process::setpriority_process(None, LAZY_FREE_NICE);
            for (g, bytes) in rubbish {
                let keys = keys_in(&g);
                drop(g);
                counts.pending_bytes.fetch_sub(bytes, Relaxed);
                counts.pending.fetch_sub(keys, Relaxed);
                counts.freed.fetch_add(keys, Relaxed);
            }
        });
        if let Err(e) = spawned {
            tracing::error!("Can't start the lazy-free thread: {e}");
        }
        Arc::new(Self {
            ks: Keyspace::new(shards, settings.databases as usize),
            log: {
                let log = Log::new(0);
                log.set_backlog_limit_bytes(settings.repl_backlog_size as usize);
                log
            },
            stats: Stats::new(workers + 1, table.entries().len()),
            acl: Acl::new(settings.requirepass.as_bytes()),
            gates: Gates::new(workers),
            evictor: Evictor::default(),
            turns: Turns::default(),
            clients: Clients::default(),
            pubsub: PubSub::default(),
            monitors: Monitors::default(),
            pause: Pause::default(),
            state: State::default(),
            standstill: Standstill::default(),
            durable: Durable::new(workers + 1),
            hooks: OnceLock::new(),
            extensions: OnceLock::new(),
            config,
            table,
            garbage,
            freeing,
        })
    }

    /// The directives' values at this moment.
    pub fn settings(&self) -> Arc<Settings> {
        self.config.snapshot()
    }

    /// Hangs in what higher floors share. Once, at boot.
    pub fn extend(&self, parts: impl IntoIterator<Item = Arc<dyn Any + Send + Sync>>) {
        let map = parts.into_iter().map(|p| ((*p).type_id(), p)).collect();
        assert!(self.extensions.set(map).is_ok(), "the engine is extended once");
    }

    /// Once, at boot.
    pub fn set_hooks(&self, hooks: Hooks) {
        assert!(self.hooks.set(hooks).is_ok(), "the hooks are set once");
    }

    /// To be called after the log has grown.
    #[inline]
    pub fn watch_log(&self, end_offset: i64) {
        if end_offset >= self.state.log_watched_at.load(Relaxed) {
            self.hooks.get().inspect(|hooks| (hooks.log_grew)(self));
        }
    }

    /// To be called after FLUSHALL, with no gate held.
    #[cold]
    pub fn flushed_all(self: &Arc<Self>) {
        self.hooks.get().inspect(|hooks| (hooks.flushed_all)(self));
    }

    /// To be called when [`Durable::on_disk`] has grown.
    pub fn more_on_disk(&self) {
        self.hooks.get().inspect(|hooks| (hooks.more_on_disk)(self));
    }

    /// A higher floor's shared state.
    pub fn part<T: Any + Send + Sync>(&self) -> Arc<T> {
        let part = self.extensions.get().and_then(|m| m.get(&TypeId::of::<T>())).cloned();
        match part.and_then(|p| p.downcast::<T>().ok()) {
            Some(part) => part,
            None => unreachable!("{} was not hung in at boot", std::any::type_name::<T>()),
        }
    }

    /// Gives memory back off the worker.
    pub fn free_later(&self, garbage: impl Iterator<Item = Garbage>) {
        for g in garbage {
            let (keys, bytes) = (keys_in(&g), bytes_in(&g));
            self.freeing.pending.fetch_add(keys, Relaxed);
            self.freeing.pending_bytes.fetch_add(bytes, Relaxed);
            // Without the thread the value is dropped here: slower, not wrong.
            if self.garbage.send((g, bytes)).is_err() {
                self.freeing.pending.fetch_sub(keys, Relaxed);
                self.freeing.pending_bytes.fetch_sub(bytes, Relaxed);
            }
        }
    }

    /// After a unit: what it left behind goes where it belongs.
    pub(super) fn settle(&self, worker: WorkerId, unit: &mut Unit) {
        if unit.dirty != 0 {
            self.state.dirty.fetch_add(unit.dirty, Relaxed);
            unit.dirty = 0;
        }
        if unit.hits | unit.misses | unit.expired != 0 {
            self.stats.lookups(worker.0, unit.hits, unit.misses, unit.expired);
            (unit.hits, unit.misses, unit.expired) = (0, 0, 0);
        }
        if unit.expired_fields != 0 {
            self.stats.counters.expired_subkeys.fetch_add(std::mem::take(&mut unit.expired_fields), Relaxed);
        }
        unit.gone.clear();
        if !unit.own_expiring.is_empty() {
            self.remember_own_expiring(unit);
        }
        if !unit.garbage.is_empty() {
            self.free_later(unit.garbage.drain(..));
        }
    }

    #[cold]
    fn remember_own_expiring(&self, unit: &mut Unit) {
        let keys = unit.own_expiring.drain(..);
        // On a master the expiry cycle looks at all keys: then this was but a pause.
        if self.state.is_replica() {
            self.state.own_expiring.lock().extend(keys);
        }
    }

    pub fn freeing(&self) -> &Freeing {
        &self.freeing
    }
}
