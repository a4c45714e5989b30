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

const FLAG_LETTERS: [(u32, char); 10] = [
    (flag::MONITOR, 'O'),
    (flag::REPLICA, 'S'),
    (flag::MASTER, 'M'),
    (flag::PUBSUB, 'P'),
    (flag::MULTI, 'x'),
    (flag::BLOCKED, 'b'),
    (flag::DIRTY_CAS, 'd'),
    (flag::UNIX, 'U'),
    (flag::READONLY, 'r'),
    (flag::NO_EVICT, 'e'),
];

fn flags(client: &ClientHandle) -> String {
    let all = client.flags.load(Relaxed);
    let mut text: String = FLAG_LETTERS.iter().filter(|(bit, _)| all & bit != 0).map(|(_, c)| *c).collect();
    if all & flag::NO_TOUCH != 0 {
        text.push('T');
    }
    if client.is_killed() {
        text.push('A');
    }
    if text.is_empty() { "N".to_owned() } else { text }
}

/// What one connection is made of, in bytes, about.
pub fn memory_bytes(client: &ClientHandle) -> usize {
    const FIXED: usize = 1024;
    FIXED
        + client.query_capacity_bytes.load(Relaxed)
        + client.out_bytes.load(Relaxed)
        + client.outbox_bytes()
        + client.multi_bytes.load(Relaxed)
}

pub fn line(engine: &Engine, c: &ClientHandle) -> String {
    let now = clock::now_ms();
    let names = c.names.lock().clone();
    let text =
        |b: &Option<bytes::Bytes>| b.as_ref().map(|b| String::from_utf8_lossy(b).into_owned()).unwrap_or_default();
    let (out, query) = (c.out_bytes.load(Relaxed) + c.outbox_bytes(), c.query_bytes.load(Relaxed));
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
        0,
        c.multi_bytes.load(Relaxed),
        0,
        0,
        out,
        usize::from(c.outbox_bytes() > 0),
        c.outbox_bytes(),
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
