//! FAILOVER and its other end, PSYNC … FAILOVER: how the steps of [`super::failover`] come to pass.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::failover::{Act, FailoverState, Request};
use super::follower::{Follower, Hold};
use super::psync::{FailoverRequest, failover_request};
use super::state::{self, Repl};
use crate::base::Error;
use crate::base::number::parse_i64;
use crate::exec::Engine;
use crate::exec::call::{Call, Flow, SessionCommand};
use crate::spec::prelude::*;

pub const FAILOVER: Row = Row {
    name: "failover",
    arity: -1,
    syntax: "[target:{host port:integer [force:FORCE]}=TO] [abort:ABORT] [milliseconds:integer=TIMEOUT]",
    flags: ADMIN.or(NOSCRIPT).or(STALE).or(SESSION),
    since: "6.2.0",
    complexity: "O(1)",
    summary: "Hands the role of master over to a replica, once that has everything.",
    ..Row::EMPTY
};

pub const COMMANDS: &[SessionCommand] = &[SessionCommand { row: &FAILOVER, run: failover }];

fn failover(call: &mut Call<'_>) -> Result<Flow, Error> {
    let (engine, repl) = (call.engine, Repl::of(call.engine));
    let mut acts = Vec::new();
    let result = if call.argv.len() == 2 && call.argv.word(1).eq_ignore_ascii_case(b"abort") {
        repl.failover().abort_request(&mut acts)
    } else {
        let request = request(call)?;
        let replicas = repl.replicas();
        repl.failover().request(call.now_ms, request, engine.state.is_replica(), &replicas, &mut acts)
    };
    result.map_err(Error::text)?;
    if call.in_exec && acts.contains(&Act::Unfollow) {
        // Inside EXEC the gates are held already.
        perform(&engine.part::<Follower>(), acts, true);
    } else {
        perform(&engine.part::<Follower>(), acts, false);
    }
    call.out.ok();
    Ok(Flow::Done)
}

fn request(call: &Call<'_>) -> Result<Request, Error> {
    let mut request = Request::default();
    let mut a = call.args();
    while !a.is_at_end() {
        let left = a.left();
        if left >= 2 && request.timeout_ms.is_none() && a.flag("TIMEOUT") {
            request.timeout_ms = Some(a.next_i64()?);
        } else if left >= 3 && request.target.is_none() && a.flag("TO") {
            let host = String::from_utf8_lossy(a.next()?).into_owned();
            let port = parse_i64(a.next()?).ok_or(Error::NotInteger)?;
            // What is no port is nobody's.
            request.target = Some((host, u16::try_from(port).unwrap_or(0)));
        } else if !request.force && a.flag("FORCE") {
            request.force = true;
        } else {
            return Err(Error::Syntax);
        }
    }
    Ok(request)
}

/// Often while a replica is awaited.
pub fn look(engine: &Arc<Engine>, repl: &Repl, now_ms: i64) {
    if repl.failover().state() != FailoverState::WaitForSync {
        return;
    }
    let mut acts = Vec::new();
    {
        let replicas = repl.replicas();
        repl.failover().look(now_ms, engine.log.end_offset(), &replicas, &mut acts);
    }
    perform(&engine.part::<Follower>(), acts, false);
}

/// The replica that was to take over answered.
pub fn answered(follower: &Arc<Follower>, accepted: bool) {
    let mut acts = Vec::new();
    follower.repl.failover().answered(accepted, &mut acts);
    perform(follower, acts, false);
}

fn perform(follower: &Arc<Follower>, acts: Vec<Act>, gates_held: bool) {
    let engine = &follower.engine;
    let pause = |on: bool| {
        engine.state.failover_in_progress.store(on, Relaxed);
        engine.pause.pause_for_failover(on.then_some(i64::MAX));
    };
    for act in acts {
        match act {
            Act::Log(note) => state::log(note),
            Act::PauseWrites => pause(true),
            Act::ResumeWrites => pause(false),
            Act::Follow { host, port } => follower.follow(Hold::Take(engine), host, port, true),
            Act::Unfollow => follower.lead(if gates_held { Hold::Held } else { Hold::Take(engine) }),
        }
    }
}

/// PSYNC … FAILOVER: the master hands its role over to us, its replica.
pub fn take_over(call: &mut Call<'_>, replid: &[u8]) -> Result<(), Error> {
    let (engine, repl) = (call.engine, Repl::of(call.engine));
    match failover_request(engine.state.is_replica(), &repl.identity(), replid) {
        FailoverRequest::Refuse(line) => Err(Error::text(line)),
        FailoverRequest::Promote => {
            let id = super::printable(replid);
            tracing::info!("Failover request received for replid {id}.");
            engine.part::<Follower>().lead(Hold::Take(engine));
            let client = crate::exec::describe::line(engine, &call.session.handle);
            tracing::info!("MASTER MODE enabled (failover request from '{client}')");
            Ok(())
        }
    }
}
