//! MULTI, DISCARD, WATCH, UNWATCH. EXEC itself is the runner's.

use std::sync::atomic::Ordering::Relaxed;

use super::call::{Call, Flow, SessionCommand};
use super::client::flag;
use super::multi::Multi;
use crate::base::Error;
use crate::keyspace::{Data, Key, Unit};
use crate::spec::prelude::*;

pub const DISCARD: Row = Row {
    name: "discard",
    arity: 1,
    flags: NOSCRIPT.or(LOADING).or(STALE).or(FAST).or(ALLOW_BUSY).or(SESSION).or(NOT_QUEUED).or(ENDS_TRANSACTION),
    cats: TRANSACTION,
    since: "2.0.0",
    group: Group::Transactions,
    complexity: "O(N), N being the number of queued commands",
    summary: "Forgets the queued commands and ends the transaction.",
    ..Row::EMPTY
};

pub const EXEC: Row = Row {
    name: "exec",
    arity: 1,
    flags: NOSCRIPT.or(LOADING).or(STALE).or(SKIP_SLOWLOG).or(SESSION).or(NOT_QUEUED).or(ENDS_TRANSACTION),
    cats: TRANSACTION,
    since: "1.2.0",
    group: Group::Transactions,
    complexity: "That of the queued commands",
    summary: "Runs the queued commands as one, unless a watched key has changed.",
    ..Row::EMPTY
};

pub const MULTI: Row = Row {
    name: "multi",
    arity: 1,
    flags: NOSCRIPT.or(LOADING).or(STALE).or(FAST).or(ALLOW_BUSY).or(SESSION).or(NOT_QUEUED),
    cats: TRANSACTION,
    since: "1.2.0",
    group: Group::Transactions,
    complexity: "O(1)",
    summary: "Begins a transaction: commands are queued from here on.",
    ..Row::EMPTY
};

pub const UNWATCH: Row = Row {
    name: "unwatch",
    arity: 1,
    flags: NOSCRIPT.or(LOADING).or(STALE).or(FAST).or(ALLOW_BUSY).or(SESSION),
    cats: TRANSACTION,
    since: "2.2.0",
    group: Group::Transactions,
    complexity: "O(1)",
    summary: "Forgets all watched keys.",
    ..Row::EMPTY
};

pub const WATCH: Row = Row {
    name: "watch",
    arity: -2,
    syntax: "key:key...",
    flags: NOSCRIPT.or(LOADING).or(STALE).or(FAST).or(ALLOW_BUSY).or(SESSION).or(NOT_QUEUED),
    cats: TRANSACTION,
    keys: &[KEYS_RO],
    since: "2.2.0",
    group: Group::Transactions,
    complexity: "O(1) a key",
    summary: "Makes the next transaction depend on these keys not changing.",
    ..Row::EMPTY
};

pub const COMMANDS: &[SessionCommand] = &[
    SessionCommand { row: &DISCARD, run: discard },
    SessionCommand { row: &MULTI, run: multi },
    SessionCommand { row: &UNWATCH, run: unwatch },
    SessionCommand { row: &WATCH, run: watch },
];

fn multi(call: &mut Call<'_>) -> Result<Flow, Error> {
    if call.session.multi.is_some() {
        return Err(Error::text("ERR MULTI calls can not be nested"));
    }
    call.session.multi = Some(Box::<Multi>::default());
    call.session.handle.set(flag::MULTI, true);
    call.session.handle.multi_len.store(0, Relaxed);
    call.out.ok();
    Ok(Flow::Done)
}

fn discard(call: &mut Call<'_>) -> Result<Flow, Error> {
    if call.session.multi.is_none() {
        return Err(Error::text("ERR DISCARD without MULTI"));
    }
    call.session.discard(call.engine);
    call.out.ok();
    Ok(Flow::Done)
}

fn watch(call: &mut Call<'_>) -> Result<Flow, Error> {
    if call.session.multi.is_some() {
        return Err(Error::text("ERR WATCH inside MULTI is not allowed"));
    }
    let mut unit = Unit { now_ms: call.now_ms, policy: crate::keyspace::ExpirePolicy::Hide, ..Unit::default() };
    let db = call.session.db;
    for word in call.argv.skip(1).iter() {
        let key = Key::new(word);
        let flag = call.session.watch_flag();
        let known = call.session.watches.as_ref();
        if known.is_some_and(|w| w.keys.iter().any(|(d, k)| *d == db && k[..] == *word)) {
            continue;
        }
        let mut data = Data::lock_one(&call.engine.ks, key.hash, db, &mut unit);
        data.watch(key, &flag);
        drop(data);
        if let Some(w) = &mut call.session.watches {
            w.keys.push((db, word.into()));
            call.session.handle.watching.store(w.keys.len(), Relaxed);
        }
    }
    call.out.ok();
    Ok(Flow::Done)
}

fn unwatch(call: &mut Call<'_>) -> Result<Flow, Error> {
    call.session.unwatch(call.engine);
    call.out.ok();
    Ok(Flow::Done)
}
