//! Commands that look at the keyspace as a whole without holding it still: DBSIZE, RANDOMKEY, SCAN.

use crate::base::Error;
use crate::cmd::scan::{self, Options, Page, Walk};
use crate::exec::call::{Call, Flow, SessionCommand};
use crate::exec::expire_cycle::expire_keys;
use crate::keyspace::Type;
use crate::spec::prelude::*;

pub const DBSIZE: Row = Row {
    name: "dbsize",
    arity: 1,
    flags: READONLY.or(FAST),
    cats: KEYSPACE,
    tips: &["request_policy:all_shards", "response_policy:agg_sum"],
    complexity: "O(1)",
    summary: "Counts the keys of the database.",
    ..Row::EMPTY
};

pub const RANDOMKEY: Row = Row {
    name: "randomkey",
    arity: 1,
    flags: READONLY.or(ARBITRARY_KEYS).or(EXCLUSIVE),
    cats: KEYSPACE,
    tips: &["request_policy:all_shards", "response_policy:special", "nondeterministic_output"],
    group: Group::Generic,
    complexity: "O(1)",
    summary: "Picks a key of the database at random.",
    ..Row::EMPTY
};

pub const SCAN: Row = Row {
    name: "scan",
    arity: -2,
    syntax: "cursor:integer [pattern:pattern=MATCH] [count:integer=COUNT] [type=TYPE@6.0.0]",
    flags: READONLY.or(ARBITRARY_KEYS),
    cats: KEYSPACE,
    tips: &["nondeterministic_output", "request_policy:special", "response_policy:special"],
    since: "2.8.0",
    group: Group::Generic,
    complexity: "O(1) a call, O(N) for a whole walk, N being the number of keys",
    summary: "Walks through the keys of the database a few at a time.",
    ..Row::EMPTY
};

pub const COMMANDS: &[SessionCommand] = &[
    SessionCommand { row: &DBSIZE, run: dbsize },
    SessionCommand { row: &RANDOMKEY, run: randomkey },
    SessionCommand { row: &SCAN, run: scan_keys },
];

fn dbsize(call: &mut Call<'_>) -> Result<Flow, Error> {
    call.out.int(call.engine.ks.count(call.session.db).0 as i64);
    Ok(Flow::Done)
}

/// On a replica, or where nearly all keys are expired, an expired key may be all there is: stock gives up as well.
const TRIES: usize = 100;

fn randomkey(call: &mut Call<'_>) -> Result<Flow, Error> {
    let mut last = None;
    let mut tries = 0;
    while tries < TRIES
        && let Some((key, expire_ms)) = call.engine.ks.random_key(call.session.db)
    {
        if expire_ms.is_none_or(|at| at >= call.now_ms) {
            last = Some(key);
            break;
        }
        let db = call.session.db;
        if may_expire(call) && expire_keys(call.engine, call.worker, db, call.now_ms, [&*key].into_iter()).is_some() {
            last = None;
        } else {
            tries += 1;
            last = Some(key);
        }
    }
    match last {
        Some(key) => call.out.bulk(&key),
        None => call.out.null(),
    }
    Ok(Flow::Done)
}

/// Whether what is over may go now. EXEC holds all gates; there it waits for the next look.
fn may_expire(call: &Call<'_>) -> bool {
    !call.in_exec && call.engine.pause.current(call.now_ms).is_none()
}

fn scan_keys(call: &mut Call<'_>) -> Result<Flow, Error> {
    let mut a = call.args();
    let cursor = scan::cursor(&mut a)?;
    let o = Options::parse(Walk::Keys, &mut a)?;
    // An unknown type is no error: nothing is of it.
    let wanted = o.kind.map(|k| Type::ALL.into_iter().find(|t| k.eq_ignore_ascii_case(t.name().as_bytes())));
    let mut page = Page::new(call.out);
    let mut over: Vec<Box<[u8]>> = Vec::new();
    let step = call.engine.ks.scan(call.session.db, cursor, o.count, |e| {
        if !o.matches(e.key()) {
            return;
        }
        if e.expire_ms().is_some_and(|at| at < call.now_ms) {
            over.push(e.key().into());
        } else if wanted.is_none_or(|t| t == Some(e.value().kind())) {
            page.bulk(e.key());
        }
    });
    page.send(step.cursor, call.out);
    // A walk meets what is over, and removes it as any look would.
    if !over.is_empty() && may_expire(call) {
        expire_keys(call.engine, call.worker, call.session.db, call.now_ms, over.iter().map(|key| &**key));
    }
    Ok(Flow::Done)
}
