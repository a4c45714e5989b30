//! Who listens to which channel, and MONITOR. Messages go to the listeners' outboxes.
//!
//! Knows no socket and no command text but the pushes it writes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use parking_lot::RwLock;

use super::client::ClientHandle;
use super::client_memory;
use super::engine::Engine;
use super::session::{Session, Subscriptions};
use crate::base::glob;
use crate::keyspace::Event;
use crate::keyspace::EventClass;
use crate::resp::Reply;

/// What one subscribes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Channel,
    Pattern,
    Shard,
}

impl Kind {
    fn verb(self) -> (&'static str, &'static str) {
        match self {
            Self::Channel => ("subscribe", "unsubscribe"),
            Self::Pattern => ("psubscribe", "punsubscribe"),
            Self::Shard => ("ssubscribe", "sunsubscribe"),
        }
    }

    fn set(self, subs: &mut Subscriptions) -> &mut std::collections::BTreeSet<Bytes> {
        match self {
            Self::Channel => &mut subs.channels,
            Self::Pattern => &mut subs.patterns,
            Self::Shard => &mut subs.shard_channels,
        }
    }

    fn count(self, subs: &Subscriptions) -> usize {
        match self {
            Self::Channel | Self::Pattern => subs.count(),
            Self::Shard => subs.shard_channels.len(),
        }
    }
}

type Listeners = HashMap<Bytes, Vec<Arc<ClientHandle>>>;

#[derive(Default)]
struct Lists {
    channels: Listeners,
    patterns: Listeners,
    shard_channels: Listeners,
}

impl Lists {
    fn of(&self, kind: Kind) -> &Listeners {
        match kind {
            Kind::Channel => &self.channels,
            Kind::Pattern => &self.patterns,
            Kind::Shard => &self.shard_channels,
        }
    }

    fn of_mut(&mut self, kind: Kind) -> &mut Listeners {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
            Kind::Shard => &mut self.shard_channels,
        }
    }
}

#[derive(Default)]
pub struct PubSub {
    lists: RwLock<Lists>,
}

impl PubSub {
    /// SUBSCRIBE and its kin, one name: joins the list and writes the confirmation.
    pub fn subscribe(&self, session: &mut Session, kind: Kind, name: &[u8], out: &mut Reply) {
        let name = Bytes::copy_from_slice(name);
        let subs = session.subs.get_or_insert_default();
        if kind.set(subs).insert(name.clone()) {
            let handle = session.handle.clone();
            self.lists.write().of_mut(kind).entry(name.clone()).or_default().push(handle);
        }
        let count = kind.count(subs);
        note_counts(session);
        confirm(out, kind.verb().0, Some(&name), count);
    }

    /// UNSUBSCRIBE and its kin: the named ones, or all of the kind.
    pub fn unsubscribe<'a>(
        &self,
        session: &mut Session,
        kind: Kind,
        names: impl Iterator<Item = &'a [u8]>,
        out: &mut Reply,
    ) {
        let mut names: Vec<Bytes> = names.map(Bytes::copy_from_slice).collect();
        let subs = session.subs.get_or_insert_default();
        if names.is_empty() {
            names = kind.set(subs).iter().cloned().collect();
        }
        if names.is_empty() {
            confirm(out, kind.verb().1, None, kind.count(subs));
            return;
        }
        for name in names {
            let subs = session.subs.get_or_insert_default();
            if kind.set(subs).remove(&name) {
                self.leave(kind, &name, session.handle.id);
            }
            let count = kind.count(subs);
            confirm(out, kind.verb().1, Some(&name), count);
        }
        note_counts(session);
    }

    /// Leaves every list without a word.
    pub fn unsubscribe_all(&self, session: &mut Session) {
        let Some(subs) = session.subs.take() else { return };
        let lists =
            [(Kind::Channel, subs.channels), (Kind::Pattern, subs.patterns), (Kind::Shard, subs.shard_channels)];
        for (kind, names) in lists {
            names.iter().for_each(|name| self.leave(kind, name, session.handle.id));
        }
        note_counts(session);
    }

    fn leave(&self, kind: Kind, name: &Bytes, id: u64) {
        let mut lists = self.lists.write();
        let list = lists.of_mut(kind);
        if let Some(clients) = list.get_mut(name) {
            clients.retain(|c| c.id != id);
            if clients.is_empty() {
                list.remove(name);
            }
        }
    }

    /// Sends a message; gives the number of receivers. The publisher's own copy goes into `own` directly, as it comes
    /// before the reply of PUBLISH.
    pub fn publish(
        &self,
        engine: &Engine,
        kind: Kind,
        channel: &[u8],
        message: &[u8],
        mut own: Option<(u64, &mut Reply)>,
    ) -> usize {
        let lists = self.lists.read();
        let (mut receivers, mut too_much) = (0, false);
        let mut deliver = |client: &ClientHandle, words: &[&[u8]]| {
            receivers += 1;
            match &mut own {
                Some((id, out)) if *id == client.id => push(out, words),
                _ => {
                    let mut bytes = Reply::new(client.resp.load(Relaxed));
                    push(&mut bytes, words);
                    client.post(&bytes.take());
                    // At once: whoever is to send it may not come to it for long.
                    too_much |= client_memory::exceeds(engine, client);
                }
            }
        };
        let verb: &[u8] = if kind == Kind::Shard { b"smessage" } else { b"message" };
        if let Some(clients) = lists.of(kind).get(channel) {
            clients.iter().for_each(|c| deliver(c, &[verb, channel, message]));
        }
        if kind == Kind::Channel {
            for (pattern, clients) in &lists.patterns {
                if glob::matches(pattern, channel, false) {
                    clients.iter().for_each(|c| deliver(c, &[b"pmessage", pattern, channel, message]));
                }
            }
        }
        drop(lists);
        if too_much {
            client_memory::check(engine);
        }
        receivers
    }

    /// Tells key events, as `notify-keyspace-events` asks.
    pub fn publish_events(&self, engine: &Engine, mask: u32, events: impl Iterator<Item = Event>) {
        for e in events {
            if mask & EventClass::KEYSPACE.0 != 0 {
                let channel = [format!("__keyspace@{}__:", e.db).as_bytes(), &e.key].concat();
                self.publish(engine, Kind::Channel, &channel, e.name.as_bytes(), None);
            }
            if mask & EventClass::KEYEVENT.0 != 0 {
                let channel = format!("__keyevent@{}__:{}", e.db, e.name);
                self.publish(engine, Kind::Channel, channel.as_bytes(), &e.key, None);
            }
        }
    }

    /// PUBSUB CHANNELS: active channels, or those that match.
    pub fn channels(&self, kind: Kind, pattern: Option<&[u8]>) -> Vec<Bytes> {
        let lists = self.lists.read();
        let fits = |name: &&Bytes| pattern.is_none_or(|p| glob::matches(p, name, false));
        lists.of(kind).keys().filter(fits).cloned().collect()
    }

    /// PUBSUB NUMSUB of one channel.
    pub fn subscribers(&self, kind: Kind, channel: &[u8]) -> usize {
        self.lists.read().of(kind).get(channel).map_or(0, Vec::len)
    }

    /// How many names of a kind have listeners.
    pub fn names(&self, kind: Kind) -> usize {
        self.lists.read().of(kind).len()
    }
}

fn note_counts(session: &Session) {
    let (c, p, s) = match &session.subs {
        Some(s) => (s.channels.len(), s.patterns.len(), s.shard_channels.len()),
        None => (0, 0, 0),
    };
    session.handle.subs.store(c, Relaxed);
    session.handle.psubs.store(p, Relaxed);
    session.handle.ssubs.store(s, Relaxed);
    session.handle.set(super::client::flag::PUBSUB, c + p + s > 0);
}

fn confirm(out: &mut Reply, verb: &str, name: Option<&[u8]>, count: usize) {
    out.push(3);
    out.bulk(verb.as_bytes());
    match name {
        Some(name) => out.bulk(name),
        None => out.null(),
    }
    out.int(count as i64);
}

fn push(out: &mut Reply, words: &[&[u8]]) {
    out.push(words.len());
    words.iter().for_each(|w| out.bulk(w));
}

/// Clients in MONITOR mode.
#[derive(Default)]
pub struct Monitors {
    count: AtomicUsize,
    clients: RwLock<Vec<Arc<ClientHandle>>>,
}

impl Monitors {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count.load(Relaxed) == 0
    }

    pub fn add(&self, client: Arc<ClientHandle>) {
        let mut clients = self.clients.write();
        clients.push(client);
        self.count.store(clients.len(), Relaxed);
    }

    pub fn remove(&self, id: u64) {
        if self.is_empty() {
            return;
        }
        let mut clients = self.clients.write();
        clients.retain(|c| c.id != id);
        self.count.store(clients.len(), Relaxed);
    }

    /// Shows one line to every monitor, but not to `except`.
    pub fn show(&self, line: &[u8], except: u64) {
        self.clients.read().iter().filter(|c| c.id != except).for_each(|c| {
            c.post(line);
        });
    }
}
