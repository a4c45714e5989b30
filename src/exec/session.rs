//! A connection's own state: what it selected, subscribed to, watches and queued.
//!
//! Belongs to the connection's task alone; what others see of it is in its [`ClientHandle`].

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bytes::Bytes;

use super::client::{ClientHandle, flag};
use super::engine::Engine;
use super::multi::Multi;
use crate::keyspace::Key;
use crate::keyspace::shard::WatchFlag;
use crate::resp::{Mark, Reply};

/// CLIENT REPLY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyMode {
    On,
    Off,
    /// Swallow the next command's reply.
    SkipNext,
    /// Swallow this command's reply.
    Skip,
}

#[derive(Default)]
pub struct Subscriptions {
    pub channels: BTreeSet<Bytes>,
    pub patterns: BTreeSet<Bytes>,
    pub shard_channels: BTreeSet<Bytes>,
}

impl Subscriptions {
    /// Channels and patterns: the count that SUBSCRIBE replies tell.
    pub fn count(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }

    pub fn is_empty(&self) -> bool {
        self.count() == 0 && self.shard_channels.is_empty()
    }
}

/// Keys being watched, and whether one of them changed.
pub struct Watches {
    pub flag: WatchFlag,
    /// Database and key.
    pub keys: Vec<(usize, Box<[u8]>)>,
}

pub struct Session {
    pub handle: Arc<ClientHandle>,
    pub db: usize,
    pub authenticated: bool,
    pub reply_mode: ReplyMode,
    /// 2 or 3.
    pub proto: u8,
    pub multi: Option<Box<Multi>>,
    pub watches: Option<Box<Watches>>,
    pub subs: Option<Box<Subscriptions>>,
    /// Messages that the command being carried out sent to its own client: they follow its reply.
    pub own_pushes: Vec<u8>,
    /// The log's offset behind this session's last write, for WAIT.
    pub last_write_offset: i64,
    /// What a higher floor remembers of the peer: what REPLCONF told of the replica at the other end.
    pub peer: Option<Box<dyn Any + Send>>,
    /// This session applies a master's stream: it may write to a replica, and gets no replies.
    pub is_master_link: bool,
    pub close_after_reply: bool,
}

impl Session {
    pub fn new(handle: Arc<ClientHandle>, authenticated: bool) -> Self {
        handle.authenticated.store(authenticated, Relaxed);
        Self {
            handle,
            db: 0,
            authenticated,
            reply_mode: ReplyMode::On,
            proto: 2,
            multi: None,
            watches: None,
            subs: None,
            own_pushes: Vec::new(),
            last_write_offset: 0,
            peer: None,
            is_master_link: false,
            close_after_reply: false,
        }
    }

    /// Behind a reply, which began at `mark`: takes it back if the client wants none. What tells of a subscription (`pushes`)
    /// is no reply, and comes to those as well.
    pub fn mute(&mut self, out: &mut Reply, mark: Mark, pushes: bool) {
        match self.reply_mode {
            ReplyMode::On => return,
            ReplyMode::Off => {}
            ReplyMode::SkipNext => {
                self.reply_mode = ReplyMode::Skip;
                return;
            }
            ReplyMode::Skip => self.reply_mode = ReplyMode::On,
        }
        if !pushes {
            out.truncate(mark);
        }
    }

    /// Whether its data commands need no look at the session: it may run them, at once, and wants their replies.
    pub fn is_plain(&self) -> bool {
        self.authenticated
            && self.multi.is_none()
            && self.subs.is_none()
            && self.reply_mode == ReplyMode::On
            && self.own_pushes.is_empty()
            && !self.close_after_reply
            && !self.handle.has(flag::NO_TOUCH)
    }

    pub fn set_authenticated(&mut self, yes: bool) {
        self.authenticated = yes;
        self.handle.authenticated.store(yes, Relaxed);
    }

    pub fn select(&mut self, db: usize) {
        self.db = db;
        self.handle.db.store(db as u32, Relaxed);
    }

    pub fn is_subscribed(&self) -> bool {
        self.subs.as_ref().is_some_and(|s| !s.is_empty())
    }

    /// Begins to watch; the caller has locked the key's shard through `watch` itself.
    pub fn watch_flag(&mut self) -> WatchFlag {
        let handle = &self.handle;
        let make = || {
            let flag = Arc::new(AtomicBool::new(false));
            *handle.dirty_cas.lock() = Some(flag.clone());
            Box::new(Watches { flag, keys: Vec::new() })
        };
        self.watches.get_or_insert_with(make).flag.clone()
    }

    /// UNWATCH, EXEC, DISCARD, a disconnect.
    pub fn unwatch(&mut self, engine: &Engine) {
        let Some(watches) = self.watches.take() else { return };
        for (db, key) in &watches.keys {
            let hash = Key::new(key).hash;
            engine.ks.lock(engine.ks.shard_of(hash)).unwatch(*db, key, &watches.flag);
        }
        self.handle.watching.store(0, Relaxed);
        *self.handle.dirty_cas.lock() = None;
    }

    /// Ends MULTI without executing.
    pub fn discard(&mut self, engine: &Engine) {
        self.multi = None;
        self.handle.set(flag::MULTI, false);
        self.handle.multi_len.store(-1, Relaxed);
        self.handle.multi_bytes.store(0, Relaxed);
        self.unwatch(engine);
    }

    /// The connection is gone: nothing of it may stay behind in shared places.
    pub fn close(&mut self, engine: &Engine) {
        self.discard(engine);
        engine.pubsub.unsubscribe_all(self);
        engine.monitors.remove(self.handle.id);
        engine.clients.remove(self.handle.id);
        // Who was sent away left the list before.
        engine.clients.count(&self.handle, 0);
        engine.clients.has_left(&self.handle);
    }
}
