//! SLOWLOG: the log of slow commands, read and emptied.

use crate::base::{Error, number};
use crate::exec::call::{Call, Flow, SessionCommand};
use crate::exec::help::help;
use crate::spec::prelude::*;

pub const SLOWLOG: Row = Row {
    name: "slowlog",
    arity: -2,
    flags: SESSION,
    since: "2.2.12",
    complexity: "That of the subcommand",
    summary: "Looks at the log of slow commands.",
    ..Row::EMPTY
};

pub const SLOWLOG_GET: Row = Row {
    name: "slowlog|get",
    arity: -2,
    syntax: "[count:integer]",
    flags: ADMIN.or(LOADING).or(STALE).or(SESSION),
    tips: &["request_policy:all_nodes", "nondeterministic_output"],
    since: "2.2.12",
    complexity: "O(N), N being the number of entries told",
    summary: "Tells the last entries of the log of slow commands.",
    ..Row::EMPTY
};

pub const SLOWLOG_HELP: Row = Row {
    name: "slowlog|help",
    arity: 2,
    flags: LOADING.or(STALE).or(SESSION),
    since: "6.2.0",
    complexity: "O(1)",
    summary: "Lists the subcommands of SLOWLOG.",
    ..Row::EMPTY
};

pub const SLOWLOG_LEN: Row = Row {
    name: "slowlog|len",
    arity: 2,
    flags: ADMIN.or(LOADING).or(STALE).or(SESSION),
    tips: &["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"],
    since: "2.2.12",
    complexity: "O(1)",
    summary: "Counts the entries of the log of slow commands.",
    ..Row::EMPTY
};

pub const SLOWLOG_RESET: Row = Row {
    name: "slowlog|reset",
    arity: 2,
    flags: ADMIN.or(LOADING).or(STALE).or(SESSION),
    tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
    since: "2.2.12",
    complexity: "O(N), N being the number of entries",
    summary: "Empties the log of slow commands.",
    ..Row::EMPTY
};

pub const COMMANDS: &[SessionCommand] = &[
    SessionCommand { row: &SLOWLOG_GET, run: get },
    SessionCommand { row: &SLOWLOG_HELP, run: help },
    SessionCommand { row: &SLOWLOG_LEN, run: len },
    SessionCommand { row: &SLOWLOG_RESET, run: reset },
];

const LATEST: usize = 10;

fn get(call: &mut Call<'_>) -> Result<Flow, Error> {
    let mut a = call.args();
    let count = match a.peek() {
        None => LATEST,
        Some(word) => match number::parse_i64(word) {
            Some(-1) => usize::MAX,
            Some(n) if n >= 0 => n as usize,
            Some(_) | None => return Err(Error::text("ERR count should be greater than or equal to -1")),
        },
    };
    a.skip(1);
    a.expect_end()?;
    let entries = call.engine.stats.slowlog.latest(count);
    call.out.array(entries.len());
    for e in entries {
        call.out.array(6);
        call.out.int(e.id as i64);
        call.out.int(e.at_s);
        call.out.int(e.took_us as i64);
        call.out.array(e.argv.len());
        e.argv.iter().for_each(|word| call.out.bulk(word));
        call.out.bulk(e.client.as_bytes());
        call.out.bulk(&e.client_name);
    }
    Ok(Flow::Done)
}

fn len(call: &mut Call<'_>) -> Result<Flow, Error> {
    call.out.int(call.engine.stats.slowlog.len() as i64);
    Ok(Flow::Done)
}

fn reset(call: &mut Call<'_>) -> Result<Flow, Error> {
    call.engine.stats.slowlog.reset();
    call.out.ok();
    Ok(Flow::Done)
}
