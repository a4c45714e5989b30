//! A connection in words: the line of CLIENT LIST and CLIENT INFO, also used in the log.

use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

use super::client::{ClientHandle, flag};
use super::engine::Engine;
use crate::base::clock;

/// The kinds that CLIENT LIST TYPE and CLIENT KILL TYPE know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientType {
    Normal,
    Master,
    Replica,
    PubSub,
}

impl ClientType {
    pub fn parse(name: &[u8]) -> Option<Self> {
        match name.to_ascii_lowercase().as_slice() {
            b"normal" => Some(Self::Normal),
            b"master" => Some(Self::Master),
            b"slave" | b"replica" => Some(Self::Replica),
            b"pubsub" => Some(Self::PubSub),
            _ => None,
        }
    }

    pub fn of(client: &ClientHandle) -> Self {
        if client.has(flag::MASTER) {
            Self::Master
        } else if client.has(flag::REPLICA) && !client.has(flag::MONITOR) {
            Self::Replica
        } else if client.has(flag::PUBSUB) {
            Self::PubSub
        } else {
            Self::Normal
        }
    }
}

/// In stock's order, before and behind those that are no bits.
const FLAGS_FIRST: [(u32, char); 6] = [
    (flag::MONITOR, 'O'),
    (flag::REPLICA, 'S'),
    (flag::MASTER, 'M'),
    (flag::PUBSUB, 'P'),
    (flag::MULTI, 'x'),
    (flag::BLOCKED, 'b'),
];
const FLAGS_LAST: [(u32, char); 4] =
    [(flag::UNIX, 'U'), (flag::READONLY, 'r'), (flag::NO_EVICT, 'e'), (flag::NO_TOUCH, 'T')];

fn flags(client: &ClientHandle) -> String {
    let all = client.flags.load(Relaxed);
    let letters = |table: &[(u32, char)], text: &mut String| {
        text.extend(table.iter().filter(|(bit, _)| all & bit != 0).map(|(_, letter)| *letter));
    };
    let mut text = String::new();
    letters(&FLAGS_FIRST, &mut text);
    if client.dirty_cas.lock().as_ref().is_some_and(|changed| changed.load(Relaxed)) {
        text.push('d');
    }
    if client.is_killed() {
        text.push('A');
    }
    letters(&FLAGS_LAST, &mut text);
    if text.is_empty() { "N".to_owned() } else { text }
}

/// Size of a stock server's reply buffers.
const STOCK_BUFFER_BYTES: usize = 16 << 10;

/// What one connection is made of, in bytes, about.
pub fn memory_bytes(client: &ClientHandle) -> usize {
    const FIXED: usize = 1024;
    // A queued command, its words not counted.
    const QUEUED: usize = 64;
    // A watched key or a subscription, its place in the tables of both sides included.
    const LISTED: usize = 96;
    let subscriptions = client.subs.load(Relaxed) + client.psubs.load(Relaxed) + client.ssubs.load(Relaxed);
    FIXED
        + client.query_capacity_bytes.load(Relaxed)
        + client.argv_bytes.load(Relaxed)
        // What waits lies in that buffer, or is a value's own memory that the reply shares.
        + client.reply_capacity_bytes.load(Relaxed).max(client.out_bytes.load(Relaxed))
        + client.outbox_capacity_bytes()
        + client.multi_bytes.load(Relaxed)
        + client.multi_len.load(Relaxed).max(0) as usize * QUEUED
        + LISTED * (client.watching.load(Relaxed) + subscriptions)
}

pub fn line(engine: &Engine, c: &ClientHandle) -> String {
    let now = clock::now_ms();
    let names = c.names.lock().clone();
    let text =
        |b: &Option<bytes::Bytes>| b.as_ref().map(|b| String::from_utf8_lossy(b).into_owned()).unwrap_or_default();
    let (out, query) = (c.out_bytes.load(Relaxed) + c.outbox_bytes(), c.query_bytes.load(Relaxed));
    // Stock keeps the beginning of its replies in a buffer and the rest in a list; of replicas, all in the backlog's.
    let buffered = if c.has(flag::REPLICA) { 0 } else { out.min(STOCK_BUFFER_BYTES) };
    let listed = out - buffered;
    let capacity = c.query_capacity_bytes.load(Relaxed);
    let command = c.last_command.load(Relaxed);
    let command = engine.table.entries().get(command as usize).map_or("NULL", |c| c.row.name);
    let mut s = String::with_capacity(400);
    let _ = write!(
        s,
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub={} psub={} ssub={} multi={} qbuf={} \
         qbuf-free={} argv-mem={} multi-mem={} rbs={} rbp={} obl={} oll={} omem={} tot-mem={} events={} cmd={} user={} \
         redir=-1 resp={} lib-name={} lib-ver={}",
        c.id,
        c.addr,
        c.laddr,
        c.fd,
        text(&names.name),
        (now - c.created_ms) / 1000,
        (now - c.last_active_ms.load(Relaxed)).max(0) / 1000,
        flags(c),
        c.db.load(Relaxed),
        c.subs.load(Relaxed),
        c.psubs.load(Relaxed),
        c.ssubs.load(Relaxed),
        c.multi_len.load(Relaxed),
        query,
        capacity.saturating_sub(query),
        c.argv_bytes.load(Relaxed),
        c.multi_bytes.load(Relaxed),
        c.reply_capacity_bytes.load(Relaxed),
        c.reply_peak_bytes.load(Relaxed),
        buffered,
        listed.div_ceil(STOCK_BUFFER_BYTES),
        listed,
        memory_bytes(c),
        if out > 0 { "rw" } else { "r" },
        command,
        String::from_utf8_lossy(&names.user),
        c.resp.load(Relaxed),
        text(&names.lib_name),
        text(&names.lib_ver),
    );
    s
}
