//! LATENCY: events that took too long, and how the times of commands are spread.

use std::fmt::Write;

use crate::base::{Error, clock};
use crate::exec::call::{Call, Flow, Handler, SessionCommand};
use crate::exec::help::help;
use crate::resp::Reply;
use crate::spec::Entry;
use crate::spec::prelude::*;
use crate::stats::latency::Snapshot;

/// What the subcommands share: each node tells, or forgets, its own.
const OF_A_NODE: Row = Row {
    flags: ADMIN.or(NOSCRIPT).or(LOADING).or(STALE).or(SESSION),
    tips: &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"],
    since: "2.8.13",
    complexity: "O(1)",
    ..Row::EMPTY
};

pub const LATENCY: Row = Row {
    name: "latency",
    arity: -2,
    flags: SESSION,
    since: "2.8.13",
    complexity: "That of the subcommand",
    summary: "Tells about events that took the server too long.",
    ..Row::EMPTY
};

pub const LATENCY_DOCTOR: Row = Row {
    name: "latency|doctor",
    arity: 2,
    summary: "Explains in words what the latency events suggest.",
    ..OF_A_NODE
};

pub const LATENCY_GRAPH: Row = Row {
    name: "latency|graph",
    arity: 3,
    syntax: "event",
    summary: "Draws the latency of an event over time.",
    ..OF_A_NODE
};

pub const LATENCY_HELP: Row = Row {
    name: "latency|help",
    arity: 2,
    flags: LOADING.or(STALE).or(SESSION),
    since: "2.8.13",
    complexity: "O(1)",
    summary: "Lists the subcommands of LATENCY.",
    ..Row::EMPTY
};

pub const LATENCY_HISTOGRAM: Row = Row {
    name: "latency|histogram",
    arity: -2,
    syntax: "[command...]",
    since: "7.0.0",
    complexity: "O(N), N being the number of commands told",
    summary: "Tells how the times of commands are spread.",
    ..OF_A_NODE
};

pub const LATENCY_HISTORY: Row = Row {
    name: "latency|history",
    arity: 3,
    syntax: "event",
    summary: "Tells when an event took too long, and how long.",
    ..OF_A_NODE
};

pub const LATENCY_LATEST: Row = Row {
    name: "latency|latest",
    arity: 2,
    summary: "Tells the last and the longest time of every event.",
    ..OF_A_NODE
};

pub const LATENCY_RESET: Row = Row {
    name: "latency|reset",
    arity: -2,
    syntax: "[event...]",
    tips: &["request_policy:all_nodes", "response_policy:agg_sum"],
    summary: "Forgets the times of events.",
    ..OF_A_NODE
};

pub const COMMANDS: &[SessionCommand] = &[
    SessionCommand { row: &LATENCY_DOCTOR, run: doctor },
    SessionCommand { row: &LATENCY_GRAPH, run: graph },
    SessionCommand { row: &LATENCY_HELP, run: help },
    SessionCommand { row: &LATENCY_HISTOGRAM, run: histogram },
    SessionCommand { row: &LATENCY_HISTORY, run: history },
    SessionCommand { row: &LATENCY_LATEST, run: latest },
    SessionCommand { row: &LATENCY_RESET, run: reset },
];

fn name(word: &[u8]) -> String {
    String::from_utf8_lossy(word).into_owned()
}

fn latest(call: &mut Call<'_>) -> Result<Flow, Error> {
    let all = call.engine.stats.spikes.all();
    call.out.array(all.len());
    for (event, spikes) in all {
        let last = spikes.samples.last().copied().unwrap_or_default();
        call.out.array(4);
        call.out.bulk(event.as_bytes());
        call.out.int(last.at_s);
        call.out.int(last.took_ms as i64);
        call.out.int(spikes.max_ms as i64);
    }
    Ok(Flow::Done)
}

fn history(call: &mut Call<'_>) -> Result<Flow, Error> {
    let samples = call.engine.stats.spikes.of(&name(call.argv.word(2))).unwrap_or_default().samples;
    call.out.array(samples.len());
    for s in samples {
        call.out.array(2);
        call.out.int(s.at_s);
        call.out.int(s.took_ms as i64);
    }
    Ok(Flow::Done)
}

fn reset(call: &mut Call<'_>) -> Result<Flow, Error> {
    let names: Vec<String> = call.argv.skip(2).iter().map(name).collect();
    call.out.int(call.engine.stats.spikes.reset(&names) as i64);
    Ok(Flow::Done)
}

/// Bars of the samples, the longest the highest, newest on the right.
fn graph(call: &mut Call<'_>) -> Result<Flow, Error> {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let event = name(call.argv.word(2));
    let Some(spikes) = call.engine.stats.spikes.of(&event) else {
        return Err(Error::Text(format!("ERR No samples available for event '{event}'").into()));
    };
    let (low, high) = spikes.samples.iter().fold((u64::MAX, 0), |(l, h), s| (l.min(s.took_ms), h.max(s.took_ms)));
    let bar = |ms: u64| BARS[((ms - low) * 7 / (high - low).max(1)) as usize];
    let now_s = clock::now_ms() / 1000;
    let bars: String = spikes.samples.iter().map(|s| bar(s.took_ms)).collect();
    let oldest_s = spikes.samples.first().map_or(0, |s| now_s - s.at_s);
    let text = format!(
        "{event} - high {high} ms, low {low} ms (all time high {} ms)\n{}\n{bars}\nfrom {oldest_s} seconds ago\n",
        spikes.max_ms,
        "-".repeat(80)
    );
    call.out.verbatim("txt", text.as_bytes());
    Ok(Flow::Done)
}

fn doctor(call: &mut Call<'_>) -> Result<Flow, Error> {
    let threshold_ms = call.engine.settings().latency_monitor_threshold;
    let all = call.engine.stats.spikes.all();
    let mut text = String::new();
    if threshold_ms == 0 {
        text.push_str(
            "Latency monitoring is disabled. Use \"CONFIG SET latency-monitor-threshold <milliseconds>\" to enable it.\n",
        );
    } else if all.is_empty() {
        let _ = writeln!(text, "No event took {threshold_ms} ms or longer.");
    }
    for (event, spikes) in all {
        let count = spikes.samples.len() as u64;
        let mean_ms = spikes.samples.iter().map(|s| s.took_ms).sum::<u64>() / count.max(1);
        let _ = writeln!(
            text,
            "{event}: {count} latency spikes, {mean_ms} ms on average, the worst {} ms. {}",
            spikes.max_ms,
            advice(event)
        );
    }
    call.out.verbatim("txt", text.as_bytes());
    Ok(Flow::Done)
}

fn advice(event: &str) -> &'static str {
    match event {
        "command" => "SLOWLOG GET names the commands; split up those that touch many elements.",
        "fast-command" => "These commands do little: the machine is short of processors or swaps memory.",
        "expire-cycle" => "Many keys expire at once: spread their times, or raise hz.",
        _ => "",
    }
}

/// LATENCY HISTOGRAM \[command ...\]: commands that were called, with the calls up to each time.
fn histogram(call: &mut Call<'_>) -> Result<Flow, Error> {
    let (table, stats) = (&call.engine.table, &call.engine.stats);
    let names = call.argv.skip(2);
    let mut told: Vec<&Entry<Handler>> = Vec::new();
    if names.is_empty() {
        told.extend(table.entries());
    }
    for entry in names.iter().filter_map(|n| table.find_full(n)) {
        told.push(entry);
        told.extend(table.subcommands(entry));
    }
    let spread = told.into_iter().map(|e| (e.row.name, stats.latency(e.id.0)));
    let spread: Vec<_> = spread.filter(|(_, latency)| latency.total > 0).collect();
    call.out.map(spread.len());
    for (name, latency) in spread {
        call.out.bulk(name.as_bytes());
        write(call.out, &latency);
    }
    Ok(Flow::Done)
}

fn write(out: &mut Reply, latency: &Snapshot) {
    let steps = latency.doublings();
    out.map(2);
    out.bulk(b"calls");
    out.int(latency.total as i64);
    out.bulk(b"histogram_usec");
    out.map(steps.len());
    for (up_to_us, calls) in steps {
        out.int(up_to_us as i64);
        out.int(calls as i64);
    }
}
