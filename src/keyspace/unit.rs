//! What one unit of work (a command, an EXEC) carries along: its frozen clock, and what it leaves behind for others to
//! act on. Knows no data.

use std::collections::VecDeque;

use super::event::{Event, EventClass};
use super::shard::Garbage;
use super::waiters::Ready;
use crate::ds::Limits;

/// What a lookup does with a key whose time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpirePolicy {
    /// A master: delete it, and tell the replicas.
    Delete,
    /// A replica, or a paused master: it is as if it were not there, but it stays until the master says DEL.
    Hide,
    /// A client that writes on a replica: delete it, and tell our own file.
    Local,
    /// The master's own stream: what it writes to exists.
    Ignore,
}

/// How lookups record an access in the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    Lru,
    Lfu { log_factor: u32, decay_minutes: u32 },
    No,
}

/// The default of `proto-max-bulk-len`.
const STRING_MAX: usize = 512 << 20;

/// What went away beside the command itself, to be told to replicas before the command's own effect.
#[derive(Debug, PartialEq, Eq)]
pub struct Gone {
    pub db: usize,
    pub key: Box<[u8]>,
    /// These fields of a hash; none: the whole key.
    pub fields: Vec<Box<[u8]>>,
}

/// Accumulated over one unit; emptied by the executor after each.
#[derive(Debug)]
pub struct Unit {
    /// Unix time in ms, frozen for the unit.
    pub now_ms: i64,
    pub policy: ExpirePolicy,
    pub touch: Touch,
    /// What the eviction policy tracks, whether or not this unit leaves a trace.
    pub policy_touch: Touch,
    /// Small integers count as shared between keys (OBJECT REFCOUNT).
    pub shares_integers: bool,
    /// Bytes of the longest string a command may make (`proto-max-bulk-len`).
    pub string_max: usize,
    /// Bits of [`EventClass`] somebody listens to.
    pub notify_mask: u32,
    /// Thresholds of the encodings.
    pub limits: Limits,
    /// Payloads are compressed (`rdbcompression`).
    pub compress: bool,
    /// What a command deletes beside its own purpose, replicas are to UNLINK (`lazyfree-lazy-server-del`).
    pub lazy_server_del: bool,
    /// The same for a key whose lifetime is over the moment it is set (`lazyfree-lazy-expire`).
    pub lazy_expire: bool,
    /// Keys that went away by themselves.
    pub gone: Vec<Gone>,
    /// Keys that a client of a replica gave an expiry: nobody else will say when they go.
    pub own_expiring: Vec<(usize, Box<[u8]>)>,
    pub events: Vec<Event>,
    /// All databases were emptied on purpose.
    pub flushed_all: bool,
    pub garbage: Vec<Garbage>,
    /// Keys that changed while somebody waited for them: to be served before the unit lets go of its locks.
    pub ready: VecDeque<Ready>,
    /// Changes to the data set, as `rdb_changes_since_last_save` counts them.
    pub dirty: u64,
    pub hits: u64,
    pub misses: u64,
    pub expired: u64,
    /// Fields of hashes whose time was over.
    pub expired_fields: u64,
}

impl Default for Unit {
    fn default() -> Self {
        Self {
            now_ms: 0,
            policy: ExpirePolicy::Delete,
            touch: Touch::Lru,
            policy_touch: Touch::Lru,
            shares_integers: true,
            string_max: STRING_MAX,
            notify_mask: 0,
            limits: Limits::default(),
            compress: true,
            lazy_server_del: false,
            lazy_expire: false,
            gone: Vec::new(),
            own_expiring: Vec::new(),
            events: Vec::new(),
            flushed_all: false,
            garbage: Vec::new(),
            ready: VecDeque::new(),
            dirty: 0,
            hits: 0,
            misses: 0,
            expired: 0,
            expired_fields: 0,
        }
    }
}

impl ExpirePolicy {
    /// Whether a lookup deletes what is over.
    #[inline]
    pub fn deletes(self) -> bool {
        matches!(self, Self::Delete | Self::Local)
    }
}

impl Unit {
    /// Whether there is more than counts to be looked after.
    #[inline]
    pub fn left_something(&self) -> bool {
        !(self.gone.is_empty() && self.own_expiring.is_empty() && self.garbage.is_empty()) || self.flushed_all
    }

    /// Records an event if anybody listens to its class.
    #[inline]
    pub fn event(&mut self, class: EventClass, name: &'static str, db: usize, key: &[u8]) {
        if self.notify_mask & class.0 != 0 {
            self.events.push(Event { class, name, db, key: key.into() });
        }
    }

    /// To be called when a key got an expiry.
    #[inline]
    pub fn got_expiry(&mut self, db: usize, key: &[u8]) {
        if matches!(self.policy, ExpirePolicy::Hide | ExpirePolicy::Local) {
            self.own_expiring.push((db, key.into()));
        }
    }

    /// The 24-bit LRU clock: seconds.
    pub fn lru_clock(&self) -> u32 {
        (self.now_ms / 1000) as u32 & 0x00ff_ffff
    }

    /// The access bits of an entry that is read or written now and had `old`.
    #[inline]
    pub fn touched(&self, old: u32) -> u32 {
        match self.touch {
            Touch::No => old,
            Touch::Lru => self.lru_clock(),
            Touch::Lfu { log_factor, decay_minutes } => {
                let counter = lfu_decayed(old, self.now_ms, decay_minutes);
                self.lfu_minutes() << 8 | lfu_bumped(counter, log_factor)
            }
        }
    }

    /// The access bits of a new entry.
    #[inline]
    pub fn fresh_access(&self) -> u32 {
        match self.touch {
            Touch::Lru | Touch::No => self.lru_clock(),
            Touch::Lfu { .. } => self.lfu_minutes() << 8 | LFU_INIT,
        }
    }

    fn lfu_minutes(&self) -> u32 {
        (self.now_ms / 60_000) as u32 & 0xffff
    }
}

/// A new key's counter, so that it is not evicted before it had a chance.
const LFU_INIT: u32 = 5;

/// The 8-bit counter after the decay of the minutes since the entry's last access.
pub fn lfu_decayed(bits: u32, now_ms: i64, decay_minutes: u32) -> u32 {
    let counter = bits & 0xff;
    if decay_minutes == 0 {
        return counter;
    }
    let elapsed = ((now_ms / 60_000) as u32).wrapping_sub(bits >> 8) & 0xffff;
    counter.saturating_sub(elapsed / decay_minutes)
}

/// The logarithmic counter after one more access: the higher it is, the rarer it grows.
fn lfu_bumped(counter: u32, log_factor: u32) -> u32 {
    if counter >= 255 {
        return 255;
    }
    let base = f64::from(counter.saturating_sub(LFU_INIT));
    let p = 1.0 / (base * f64::from(log_factor) + 1.0);
    counter + u32::from(crate::base::rand::f64() < p)
}
