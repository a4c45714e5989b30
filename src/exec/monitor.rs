//! Commands as they pass by: MONITOR's lines, the slow log's entries, the counters.

use super::call::{Call, Flow, Handler, SessionCommand};
use super::client::{ClientHandle, flag};
use super::engine::Engine;
use super::gate::WorkerId;
use super::session::Session;
use crate::base::{Error, clock};
use crate::config::Settings;
use crate::resp::Argv;
use crate::spec::Entry;
use crate::spec::prelude::*;

pub const MONITOR: Row = Row {
    name: "monitor",
    arity: 1,
    flags: ADMIN.or(NOSCRIPT).or(LOADING).or(STALE).or(SESSION),
    summary: "Shows every command that the server is given from here on.",
    ..Row::EMPTY
};

pub const COMMANDS: &[SessionCommand] = &[SessionCommand { row: &MONITOR, run: monitor }];

fn monitor(call: &mut Call<'_>) -> Result<Flow, Error> {
    if call.in_exec {
        return Err(Error::text("ERR MONITOR isn't allowed for DENY BLOCKING client"));
    }
    let handle = &call.session.handle;
    if !handle.has(flag::MONITOR) {
        handle.set(flag::MONITOR, true);
        call.engine.monitors.add(handle.clone());
    }
    call.out.ok();
    Ok(Flow::Done)
}

/// Shows a command to those who watch, if anybody does.
#[inline]
pub(super) fn show_if_watched(engine: &Engine, session: &Session, row: &Row, argv: Argv<'_>) {
    if !engine.monitors.is_empty() && !row.flags.has(SKIP_MONITOR) {
        show(engine, session, argv);
    }
}

#[cold]
fn show(engine: &Engine, session: &Session, argv: Argv<'_>) {
    let now = clock::now_us();
    let handle = &session.handle;
    let who = if session.is_master_link {
        "master".to_owned()
    } else if handle.has(flag::UNIX) {
        format!("unix:{}", handle.addr.trim_end_matches(":0"))
    } else {
        handle.addr.clone()
    };
    let mut line = format!("+{}.{:06} [{} {}]", now / 1_000_000, now % 1_000_000, session.db, who).into_bytes();
    for word in argv.iter() {
        line.push(b' ');
        quote(&mut line, word);
    }
    line.extend_from_slice(b"\r\n");
    engine.monitors.show(&line, handle.id);
}

/// Writes a word in double quotes, so that it can be typed again.
fn quote(out: &mut Vec<u8>, word: &[u8]) {
    out.push(b'"');
    for &b in word {
        match b {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', b]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x07 => out.extend_from_slice(b"\\a"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x20..=0x7e => out.push(b),
            _ => out.extend_from_slice(format!("\\x{b:02x}").as_bytes()),
        }
    }
    out.push(b'"');
}

/// Counts a command that ran, and keeps it in mind if it was slow.
#[inline]
#[allow(clippy::too_many_arguments)]
pub(super) fn note(
    engine: &Engine,
    settings: &Settings,
    worker: WorkerId,
    client: &ClientHandle,
    command: &Entry<Handler>,
    argv: Argv<'_>,
    took_us: u64,
    failed: bool,
) {
    let row = command.row;
    engine.stats.called(worker.0, command.id.0, took_us, failed);
    if took_us >= slow_from_us(settings) && !row.flags.has(SKIP_SLOWLOG) {
        slow(engine, client, clock::now_ms(), took_us, argv);
    }
    let spike_ms = settings.latency_monitor_threshold as u64;
    if spike_ms != 0 && took_us >= spike_ms.saturating_mul(1000) {
        let event = if row.flags.has(FAST) { "fast-command" } else { "command" };
        engine.stats.spikes.add(event, clock::now_ms() / 1000, took_us / 1000);
    }
}

/// From how many microseconds on a command is slow; negative settings: never.
fn slow_from_us(s: &Settings) -> u64 {
    u64::try_from(s.slowlog_log_slower_than).unwrap_or(u64::MAX)
}

/// Records a slow command.
#[cold]
fn slow(engine: &Engine, client: &ClientHandle, now_ms: i64, took_us: u64, argv: Argv<'_>) {
    let keep = engine.settings().slowlog_max_len as usize;
    let words: Vec<&[u8]> = argv.iter().collect();
    let name = client.names.lock().name.clone().unwrap_or_default();
    engine.stats.slowlog.push(words.into_iter(), now_ms / 1000, took_us, &client.addr, &name, keep);
}
