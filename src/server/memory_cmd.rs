//! MEMORY but for USAGE: what the memory is used for, in figures and in words.

use std::fmt::Write;

use super::info::{human, overhead};
use crate::base::Error;
use crate::exec::call::{Call, Flow, SessionCommand};
use crate::exec::help::help;
use crate::resp::Reply;
use crate::spec::prelude::*;

pub const MEMORY: Row = Row {
    name: "memory",
    arity: -2,
    since: "4.0.0",
    complexity: "That of the subcommand",
    summary: "Tells what memory is used for.",
    ..Row::EMPTY
};

pub const MEMORY_DOCTOR: Row = Row {
    name: "memory|doctor",
    arity: 2,
    flags: SESSION,
    tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
    since: "4.0.0",
    complexity: "O(1)",
    summary: "Explains in words what the memory figures suggest.",
    ..Row::EMPTY
};

pub const MEMORY_HELP: Row = Row {
    name: "memory|help",
    arity: 2,
    flags: LOADING.or(STALE).or(SESSION),
    since: "4.0.0",
    complexity: "O(1)",
    summary: "Lists the subcommands of MEMORY.",
    ..Row::EMPTY
};

pub const MEMORY_MALLOC_STATS: Row = Row {
    name: "memory|malloc-stats",
    arity: 2,
    flags: LONG.or(SESSION),
    tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
    since: "4.0.0",
    complexity: "Grows with the memory the allocator holds",
    summary: "Tells the figures of the allocator.",
    ..Row::EMPTY
};

pub const MEMORY_PURGE: Row = Row {
    name: "memory|purge",
    arity: 2,
    flags: LONG.or(SESSION),
    tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
    since: "4.0.0",
    complexity: "Grows with the memory the allocator holds",
    summary: "Asks the allocator to give memory back to the system.",
    ..Row::EMPTY
};

pub const MEMORY_STATS: Row = Row {
    name: "memory|stats",
    arity: 2,
    flags: SESSION,
    tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
    since: "4.0.0",
    complexity: "O(1)",
    summary: "Tells what memory is used for, in figures.",
    ..Row::EMPTY
};

pub const COMMANDS: &[SessionCommand] = &[
    SessionCommand { row: &MEMORY_DOCTOR, run: doctor },
    SessionCommand { row: &MEMORY_HELP, run: help },
    SessionCommand { row: &MEMORY_MALLOC_STATS, run: malloc_stats },
    SessionCommand { row: &MEMORY_PURGE, run: purge },
    SessionCommand { row: &MEMORY_STATS, run: stats },
];

enum Figure {
    Int(i64),
    Ratio(f64),
    /// Bytes of a database's table.
    Table(usize),
}

fn stats(call: &mut Call<'_>) -> Result<Flow, Error> {
    let o = overhead(call.engine);
    let came = o.used.saturating_sub(o.startup);
    let mut figures: Vec<(String, Figure)> = Vec::new();
    let mut int = |name: &str, n: u64| figures.push((name.to_owned(), Figure::Int(n as i64)));
    int("peak.allocated", o.peak);
    int("total.allocated", o.used);
    int("startup.allocated", o.startup);
    int("replication.backlog", o.backlog);
    int("clients.slaves", o.replicas);
    int("clients.normal", o.clients);
    for of_none_yet in ["cluster.links", "aof.buffer", "lua.caches", "functions.caches"] {
        int(of_none_yet, 0);
    }
    figures.extend(o.dbs.iter().map(|db| (format!("db.{}", db.db), Figure::Table(db.table_bytes))));
    let mut int = |name: &str, n: u64| figures.push((name.to_owned(), Figure::Int(n as i64)));
    int("overhead.total", o.total);
    int("keys.count", o.keys() as u64);
    int("keys.bytes-per-key", came.checked_div(o.keys() as u64).unwrap_or(0));
    int("dataset.bytes", o.dataset());
    let behind = [
        ("dataset.percentage", Figure::Ratio(o.dataset_percent())),
        ("peak.percentage", Figure::Ratio(o.peak_percent())),
        ("allocator.allocated", Figure::Int(o.used as i64)),
        ("allocator.active", Figure::Int(o.resident as i64)),
        ("allocator.resident", Figure::Int(o.resident as i64)),
        ("allocator-fragmentation.ratio", Figure::Ratio(o.fragmentation())),
        ("allocator-fragmentation.bytes", Figure::Int(o.fragmentation_bytes())),
        ("allocator-rss.ratio", Figure::Ratio(1.0)),
        ("allocator-rss.bytes", Figure::Int(0)),
        ("rss-overhead.ratio", Figure::Ratio(1.0)),
        ("rss-overhead.bytes", Figure::Int(0)),
        ("fragmentation", Figure::Ratio(o.fragmentation())),
        ("fragmentation.bytes", Figure::Int(o.fragmentation_bytes())),
    ];
    figures.extend(behind.into_iter().map(|(name, figure)| (name.to_owned(), figure)));
    call.out.map(figures.len());
    figures.iter().for_each(|(name, figure)| write_figure(call.out, name, figure));
    Ok(Flow::Done)
}

fn write_figure(out: &mut Reply, name: &str, figure: &Figure) {
    out.bulk(name.as_bytes());
    match figure {
        Figure::Int(n) => out.int(*n),
        Figure::Ratio(r) => out.double(*r),
        Figure::Table(bytes) => {
            out.map(2);
            out.bulk(b"overhead.hashtable.main");
            out.int(*bytes as i64);
            // An expiry lies in its entry.
            out.bulk(b"overhead.hashtable.expires");
            out.int(0);
        }
    }
}

/// Below this there is nothing to say.
const LITTLE_BYTES: u64 = 5 << 20;

fn doctor(call: &mut Call<'_>) -> Result<Flow, Error> {
    let o = overhead(call.engine);
    let mut text = String::new();
    if o.used < LITTLE_BYTES {
        text.push_str("This server is empty or nearly so: there is nothing to tell about its memory.\n");
    } else {
        if o.peak > o.used + o.used / 2 {
            let _ = writeln!(
                text,
                "Peak: at its peak the server used {}, now it uses {}. The system may still count the difference as ours.",
                human(o.peak),
                human(o.used)
            );
        }
        if o.fragmentation() > 1.4 {
            let _ = writeln!(
                text,
                "Fragmentation: {} are resident for {} in use ({:.2} to 1).",
                human(o.resident),
                human(o.used),
                o.fragmentation()
            );
        }
        if o.replicas > 10 << 20 || o.replication_buffers > 2 * o.backlog.max(10 << 20) {
            text.push_str("Replicas: some read the stream so slowly that it piles up; look at INFO replication.\n");
        }
        if o.clients > 50 << 20 {
            text.push_str("Clients: their buffers take much memory; look at CLIENT LIST.\n");
        }
        if text.is_empty() {
            text.push_str("The memory is in good order.\n");
        }
    }
    call.out.verbatim("txt", text.as_bytes());
    Ok(Flow::Done)
}

fn malloc_stats(call: &mut Call<'_>) -> Result<Flow, Error> {
    let o = overhead(call.engine);
    let text = format!(
        "allocator: mimalloc\nin use: {} bytes\nresident: {} bytes\npeak: {} bytes\n",
        o.used, o.resident, o.peak
    );
    call.out.verbatim("txt", text.as_bytes());
    Ok(Flow::Done)
}

/// The allocator gives pages back by itself, shortly after they fall empty.
fn purge(call: &mut Call<'_>) -> Result<Flow, Error> {
    call.out.ok();
    Ok(Flow::Done)
}
