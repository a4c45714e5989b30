//! REPLICAOF and its old name SLAVEOF: whom this node follows.

use crate::base::{Error, log};
use crate::exec::call::{Call, Flow, SessionCommand};
use crate::exec::client::flag;
use crate::exec::describe;
use crate::spec::prelude::*;

use super::follower::{Follower, Hold};

pub const REPLICAOF: Row = Row {
    name: "replicaof",
    arity: 3,
    own_words: 1,
    syntax: "args:(host-port:{host port:integer}|no-one:{no:NO one:ONE})",
    flags: ADMIN.or(NOSCRIPT).or(STALE).or(NO_ASYNC_LOADING).or(SESSION),
    since: "5.0.0",
    complexity: "O(1)",
    summary: "Makes the server a replica of another, or a master.",
    ..Row::EMPTY
};

pub const SLAVEOF: Row = Row {
    name: "slaveof",
    arity: 3,
    own_words: 1,
    syntax: "args:(host-port:{host port:integer}|no-one:{no:NO one:ONE})",
    flags: ADMIN.or(NOSCRIPT).or(STALE).or(NO_ASYNC_LOADING).or(SESSION),
    complexity: "O(1)",
    summary: "Makes the server a replica of another, or a master.",
    doc: Doc::Deprecated { since: "5.0.0", replaced_by: "`REPLICAOF`" },
    ..Row::EMPTY
};

pub const COMMANDS: &[SessionCommand] =
    &[SessionCommand { row: &REPLICAOF, run: replicaof }, SessionCommand { row: &SLAVEOF, run: replicaof }];

fn replicaof(call: &mut Call<'_>) -> Result<Flow, Error> {
    let engine = call.engine;
    if engine.settings().cluster_enabled {
        return Err(Error::text("ERR REPLICAOF not allowed in cluster mode."));
    }
    if engine.state.failover_in_progress.load(std::sync::atomic::Ordering::Relaxed) {
        return Err(Error::text("ERR REPLICAOF not allowed while failing over."));
    }
    let follower = engine.part::<Follower>();
    let hold = if call.in_exec { Hold::Held } else { Hold::Take(engine) };
    let mut a = call.args();
    let (host, port) = (a.next()?, a.next()?);
    let force = match a.next() {
        Ok(word) if word.eq_ignore_ascii_case(b"force") && !host.eq_ignore_ascii_case(b"no") => true,
        Ok(_) => return Err(Error::Arity(call.row.name.to_owned())),
        Err(_) => false,
    };
    let client = describe::line(engine, &call.session.handle);
    if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
        if engine.state.is_replica() {
            follower.lead(hold);
            log::notice!("MASTER MODE enabled (user request from '{client}')");
        }
        call.out.ok();
        return Ok(Flow::Done);
    }
    if call.session.handle.has(flag::REPLICA) {
        return Err(Error::text("ERR Command is not valid when client is a replica."));
    }
    let port = crate::base::number::parse_i64(port)
        .and_then(|port| u16::try_from(port).ok())
        .ok_or(Error::text("ERR Invalid master port"))?;
    let Ok(host) = std::str::from_utf8(host) else { return Err(Error::text("ERR Invalid master host")) };
    let known = super::Repl::of(engine).master_addr().is_some_and(|(h, p)| h.eq_ignore_ascii_case(host) && p == port);
    if known && force && !super::Repl::of(engine).link.is_connected() {
        follower.force();
        log::notice!("REPLICAOF {host}:{port} forced (user request from '{client}')");
        call.out.ok();
        return Ok(Flow::Done);
    }
    if known {
        log::notice!(
            "REPLICAOF would result into synchronization with the master we are already connected with. No operation \
             performed."
        );
        call.out.simple("OK Already connected to specified master");
        return Ok(Flow::Done);
    }
    follower.follow(hold, host.to_owned(), port, false);
    log::notice!("REPLICAOF {host}:{port} enabled (user request from '{client}')");
    call.out.ok();
    Ok(Flow::Done)
}
