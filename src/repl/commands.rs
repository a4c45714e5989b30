//! SYNC, PSYNC, REPLCONF, WAIT, WAITAOF, ROLE: what a replica, a client and a watcher ask of this end of a link.
//!
//! The decisions stand in [`super::psync`], [`super::master`] and [`super::wait`]; here they meet the connection.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::feed::{Feed, FeedHandle, Order, Stream};
use super::greeting::{Answer, Greeting};
use super::id::ReplOffset;
use super::master::{Phase, Plan, Replica};
use super::note::Note;
use super::psync::{self, Decision, Request, Standing};
use super::state::{Repl, log};
use super::wait::{Need, Tally, tally};
use super::{fullsync, handover, upkeep};
use crate::base::Error;
use crate::base::number::parse_i64;
use crate::exec::block::plain_ending;
use crate::exec::call::{Call, Completion, Flow, SessionCommand, Socket, Wait};
use crate::exec::client::{ClientHandle, flag};
use crate::exec::{Engine, Session};
use crate::resp::Reply;
use crate::spec::prelude::*;

pub const PSYNC: Row = Row {
    name: "psync",
    arity: -3,
    syntax: "replicationid offset:integer",
    flags: ADMIN.or(NOSCRIPT).or(NO_ASYNC_LOADING).or(NO_MULTI).or(SESSION),
    since: "2.8.0",
    summary: "Begins or resumes a replica's stream.",
    ..Row::EMPTY
};

pub const REPLCONF: Row = Row {
    name: "replconf",
    arity: -1,
    flags: ADMIN.or(NOSCRIPT).or(LOADING).or(STALE).or(ALLOW_BUSY).or(SESSION),
    since: "3.0.0",
    complexity: "O(1)",
    summary: "Tells the other end of a replication link something about this one.",
    doc: Doc::System,
    ..Row::EMPTY
};

pub const ROLE: Row = Row {
    name: "role",
    arity: 1,
    flags: NOSCRIPT.or(LOADING).or(STALE).or(FAST).or(SENTINEL).or(SESSION),
    cats: ADMIN_CAT.or(DANGEROUS),
    since: "2.8.12",
    complexity: "O(1)",
    summary: "Tells whether the server is master or replica, and who hangs above or below it.",
    ..Row::EMPTY
};

pub const SYNC: Row = Row {
    name: "sync",
    arity: 1,
    flags: ADMIN.or(NOSCRIPT).or(NO_ASYNC_LOADING).or(NO_MULTI).or(SESSION),
    summary: "Begins a replica's stream the old way, without offsets.",
    ..Row::EMPTY
};

pub const WAIT: Row = Row {
    name: "wait",
    arity: 3,
    syntax: "numreplicas:integer timeout:integer",
    flags: SESSION,
    cats: CONNECTION,
    tips: &["request_policy:all_shards", "response_policy:agg_min"],
    since: "3.0.0",
    group: Group::Generic,
    complexity: "O(1)",
    summary: "Waits until so many replicas have received the writes of this connection.",
    ..Row::EMPTY
};

pub const WAITAOF: Row = Row {
    name: "waitaof",
    arity: 4,
    syntax: "numlocal:integer numreplicas:integer timeout:integer",
    flags: NOSCRIPT.or(SESSION),
    cats: CONNECTION,
    tips: &["request_policy:all_shards", "response_policy:agg_min"],
    since: "7.2.0",
    group: Group::Generic,
    complexity: "O(1)",
    summary: "Waits until the writes of this connection are on disk here and at so many replicas.",
    ..Row::EMPTY
};

pub const COMMANDS: &[SessionCommand] = &[
    SessionCommand { row: &PSYNC, run: psync },
    SessionCommand { row: &REPLCONF, run: replconf },
    SessionCommand { row: &ROLE, run: role },
    SessionCommand { row: &SYNC, run: sync },
    SessionCommand { row: &WAIT, run: wait },
    SessionCommand { row: &WAITAOF, run: waitaof },
];

/// What the connection has told of itself by REPLCONF.
fn greeting(session: &mut Session) -> &mut Greeting {
    if !session.peer.as_deref().is_some_and(|peer| peer.is::<Greeting>()) {
        session.peer = Some(Box::<Greeting>::default());
    }
    match session.peer.as_deref_mut().and_then(<dyn Any + Send>::downcast_mut::<Greeting>) {
        Some(greeting) => greeting,
        None => unreachable!("it was just put there"),
    }
}

fn replconf(call: &mut Call<'_>) -> Result<Flow, Error> {
    let words: Vec<&[u8]> = call.argv.iter().skip(1).collect();
    let answer = greeting(call.session).replconf(&words).map_err(|line| Error::Text(line.into()))?;
    match answer {
        Answer::Ok => {
            let repl = Repl::of(call.engine);
            match greeting(call.session).rdb_client_id {
                Some(id) if repl.feed(id).and_then(|feed| feed.behind()).is_none() => {
                    greeting(call.session).rdb_client_id = None;
                    return Err(Error::Text(format!("ERR Unrecognized RDB client id {id}").into()));
                }
                Some(_) | None => call.out.ok(),
            }
        }
        // Only a replica's own connection acknowledges, and only a master's asks for it.
        Answer::Ack { .. } | Answer::SendAck | Answer::Silence => {}
    }
    Ok(Flow::Done)
}

/// The host part of a connection's address; empty for a Unix socket.
fn peer_ip(client: &ClientHandle) -> String {
    if client.has(flag::UNIX) {
        return String::new();
    }
    let host = client.addr.rsplit_once(':').map_or("", |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']').to_owned()
}

fn sync(call: &mut Call<'_>) -> Result<Flow, Error> {
    begin(call, None)
}

fn psync(call: &mut Call<'_>) -> Result<Flow, Error> {
    let replid = call.argv.word(1).to_vec();
    if call.argv.get(3).is_some_and(|word| word.eq_ignore_ascii_case(b"failover")) {
        handover::take_over(call, &replid)?;
    }
    let Some(offset) = parse_i64(call.argv.word(2)) else {
        let name =
            Replica::new(0, peer_ip(&call.session.handle), greeting(call.session).clone(), false, call.now_ms).name();
        log(Note::warning(format!("Replica {name} asks for synchronization but with a wrong offset")));
        return Err(Error::NotInteger);
    };
    begin(call, Some((replid, offset)))
}

/// SYNC, or PSYNC with the history and the first byte that are asked for.
fn begin(call: &mut Call<'_>, asked: Option<(Vec<u8>, ReplOffset)>) -> Result<Flow, Error> {
    let (engine, repl) = (call.engine.clone(), Repl::of(call.engine));
    if call.session.handle.has(flag::REPLICA) {
        return Ok(Flow::Done);
    }
    if let Some(line) = psync::refusal(repl.failover().is_active(), repl.waits_for_own_master(&engine)) {
        return Err(Error::text(line));
    }
    if !call.out.is_empty() {
        return Err(Error::text("ERR SYNC and PSYNC are invalid with pending output"));
    }
    let greeting = std::mem::take(greeting(call.session));
    if greeting.lacks_field_expiry() && engine.ks.has_volatile() {
        return Err(Error::text("ERR there are hash fields that expire, which Valkey before 9.0 cannot hold"));
    }
    let client = call.session.handle.clone();
    let replica = Replica::new(client.id, peer_ip(&client), greeting, asked.is_none(), call.now_ms);
    log(Note::notice(format!("Replica {} asks for synchronization", replica.name())));
    client.set(flag::REPLICA, true);
    let feed = FeedHandle::new(client);
    {
        // A role changes with every gate held, so that our replicas are either dropped with the others or come after.
        let _gate = engine.gates.pass(call.worker);
        let partial = asked.is_some_and(|(replid, first_byte)| {
            let who = Newcomer { engine: &engine, repl: &repl, replica: &replica, feed: &feed, now_ms: call.now_ms };
            go_beside(&who, &replid, first_byte) || go_on(&who, &replid, first_byte)
        });
        if !partial && wants_second_channel(&engine, &replica) {
            log(Note::notice(format!(
                "Replica {} is capable of dual channel synchronization, and partial sync isn't possible. Full sync \
                 will continue with dedicated RDB channel.",
                replica.name()
            )));
            feed.client.set(flag::REPLICA, false);
            *self::greeting(call.session) = replica.greeting;
            call.out.simple(psync::SECOND_CHANNEL);
            return Ok(Flow::Done);
        }
        if !partial {
            start_over(&engine, &repl, replica, &feed, call.now_ms);
        }
        repl.add_feed(&engine, feed.clone());
        // It may fall behind from here on.
        engine.state.log_watched_at.store(0, Relaxed);
        repl.count_good_replicas(&engine);
    }
    fullsync::look(&engine, &repl, call.now_ms);
    Ok(Flow::Takeover(Box::new(move |socket: Box<dyn Socket>, session, received| {
        Box::pin(async move { Feed::new(engine, repl, feed, socket, session, &received).run().await })
    })))
}

/// Whether a replica that needs everything is to ask for the snapshot on a connection of its own.
fn wants_second_channel(engine: &Engine, replica: &Replica) -> bool {
    let s = engine.config.now();
    let (enabled, told) = (s.dual_channel_replication_enabled && s.repl_diskless_sync, &replica.greeting);
    enabled && !replica.pre_psync && told.capa.dual_channel && told.capa.eof && !told.rdb_channel
}

/// A replica that asks to go on from somewhere.
struct Newcomer<'a> {
    engine: &'a Engine,
    repl: &'a Repl,
    replica: &'a Replica,
    feed: &'a FeedHandle,
    now_ms: i64,
}

/// The stream behind a snapshot that goes over another connection of this replica.
fn go_beside(who: &Newcomer<'_>, replid: &[u8], first_byte: ReplOffset) -> bool {
    let Newcomer { engine, repl, replica, feed, now_ms } = *who;
    let identity = repl.identity();
    let Some(other) = replica.greeting.rdb_client_id.and_then(|id| repl.feed(id)) else { return false };
    let behind = other.behind().filter(|b| b.first_offset() == first_byte && identity.replid.matches(replid));
    let Some(tail) = behind.and_then(|behind| behind.join(replica.id)) else { return false };
    log(Note::notice(format!(
        "Partial resynchronization request from {} accepted. It gets what follows its snapshot, from offset {first_byte}.",
        replica.name()
    )));
    let line = psync::continue_line(&identity, replica.greeting.capa.psync2);
    repl.replicas().add_beside(replica.clone(), now_ms);
    feed.order(Order::Begin { line: Some(line), stream: Stream::Behind(Box::new(tail)) });
    other.order(Order::LetStreamGo);
    engine.stats.counters.sync_partial_ok.fetch_add(1, Relaxed);
    true
}

/// A partial resync, if it is possible.
fn go_on(who: &Newcomer<'_>, replid: &[u8], first_byte: ReplOffset) -> bool {
    let Newcomer { engine, repl, replica, feed, now_ms } = *who;
    let name = replica.name();
    let identity = repl.identity();
    let standing = Standing { identity, backlog: engine.log.backlog(), end_offset: engine.log.end_offset() };
    let mut notes = Vec::new();
    let decision = psync::decide(&standing, &Request { replid, first_byte, name: &name }, &mut notes);
    let cursor = match decision {
        Decision::Continue { first_byte, .. } => engine.log.attach(first_byte),
        Decision::FullAsked | Decision::FullNeeded => None,
    };
    notes.into_iter().for_each(log);
    let Some(cursor) = cursor else {
        if decision != Decision::FullAsked {
            engine.stats.counters.sync_partial_err.fetch_add(1, Relaxed);
        }
        return false;
    };
    let line = psync::continue_line(&identity, replica.greeting.capa.psync2);
    repl.replicas().add_partial(replica.clone(), now_ms);
    feed.order(Order::Begin { line: Some(line), stream: Stream::Log(cursor) });
    engine.stats.counters.sync_partial_ok.fetch_add(1, Relaxed);
    true
}

/// A full resync: the snapshot it gets may be one that is being made already.
fn start_over(engine: &Engine, repl: &Repl, replica: Replica, feed: &FeedHandle, now_ms: i64) {
    engine.stats.counters.sync_full.fetch_add(1, Relaxed);
    let (id, cfg) = (replica.id, upkeep::master_config(engine));
    let tells_offset = !replica.pre_psync;
    let mut notes = Vec::new();
    let mut replicas = repl.replicas();
    if replicas.is_empty() && engine.log.backlog().is_none() {
        // Without a log our offset stood still while the data changed: that history is nobody's to go on from.
        repl.start_new_history();
        engine.log.create_backlog();
        repl.tell_names(engine);
        let identity = repl.identity();
        notes.push(Note::notice(format!(
            "Replication backlog created, my new replication IDs are '{}' and '{}'",
            identity.replid, identity.replid2
        )));
    }
    if let Plan::Attach { offset } = replicas.add_full(replica, repl.running(), &cfg, &mut notes) {
        let behind = repl.behind().filter(|behind| behind.first_offset() == offset + 1);
        match behind.and_then(|behind| behind.join(id)) {
            Some(tail) => {
                let line = tells_offset.then(|| psync::full_resync_line(&repl.identity(), offset));
                feed.order(Order::Begin { line, stream: Stream::Behind(Box::new(tail)) });
            }
            // The stream behind that snapshot is gone already: it waits for the next one.
            None => {
                if let Some(replica) = replicas.get_mut(id) {
                    replica.phase = Phase::WaitStart;
                    replica.asked_ms = now_ms;
                }
            }
        }
    }
    drop(replicas);
    notes.into_iter().for_each(log);
}

// --- WAIT

fn wait(call: &mut Call<'_>) -> Result<Flow, Error> {
    if call.engine.state.is_replica() {
        return Err(Error::text(
            "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is \
             configured to be writable (which is not the default) writes to replicas are just local and are not \
             propagated.",
        ));
    }
    let replicas = parse_i64(call.argv.word(1)).ok_or(Error::NotInteger)?;
    let timeout_ms = timeout(call.argv.word(2), call.now_ms)?;
    let replicas = usize::try_from(replicas).unwrap_or(0);
    Ok(wait_for(call, Need::Applied { replicas }, timeout_ms))
}

fn waitaof(call: &mut Call<'_>) -> Result<Flow, Error> {
    let local = parse_i64(call.argv.word(1)).ok_or(Error::NotInteger)?;
    if !(0..=1).contains(&local) {
        return Err(Error::text("ERR value is out of range, value must between 0 and 1"));
    }
    let replicas = parse_i64(call.argv.word(2)).ok_or(Error::NotInteger)?;
    let replicas = usize::try_from(replicas).map_err(|_| Error::NotPositive)?;
    let timeout_ms = timeout(call.argv.word(3), call.now_ms)?;
    if call.engine.state.is_replica() {
        return Err(Error::text(
            "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just local \
             and are not propagated.",
        ));
    }
    let need = Need::OnDisk { local: local == 1, replicas };
    if lacks_file(call.engine, need) {
        return Err(NO_FILE);
    }
    Ok(wait_for(call, need, timeout_ms))
}

const NO_FILE: Error = Error::text("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.");

/// What is waited for cannot be: the file may have been turned off meanwhile.
fn lacks_file(engine: &Engine, need: Need) -> bool {
    matches!(need, Need::OnDisk { local: true, .. }) && !engine.settings().appendonly
}

fn timeout(word: &[u8], now_ms: i64) -> Result<i64, Error> {
    let ms = parse_i64(word).ok_or(Error::Timeout)?;
    if ms < 0 {
        return Err(Error::TimeoutNegative);
    }
    // The moment it ends at must be one that a clock can show.
    now_ms.checked_add(ms).map(|_| ms).ok_or(Error::text("ERR timeout is out of range"))
}

fn answer(out: &mut Reply, tally: Tally) {
    match tally {
        Tally::Applied { replicas } => out.int(replicas as i64),
        Tally::OnDisk { local, replicas } => {
            out.array(2);
            out.int(i64::from(local));
            out.int(replicas as i64);
        }
    }
}

fn wait_for(call: &mut Call<'_>, need: Need, timeout_ms: i64) -> Flow {
    let (engine, repl) = (call.engine.clone(), Repl::of(call.engine));
    let offset = call.session.last_write_offset;
    let (now, enough) = tally(need, offset, &repl.replicas(), engine.durable.on_disk(&engine.log));
    if enough || call.in_exec {
        answer(call.out, now);
        return Flow::Done;
    }
    // A failover waits for the offset to stand still.
    if !repl.failover().is_active() {
        // Behind a gate, so that a snapshot's offset is on one side of it.
        let _gate = engine.gates.pass(call.worker);
        upkeep::ask_for_acks(&engine);
    }
    let (own, counted) = ((engine.clone(), repl.clone()), (engine.clone(), repl));
    let done = async move {
        acknowledged(&own.0, &own.1, need, offset).await;
        told(&own.0, &own.1, need, offset)
    };
    let on_timeout: Completion = Box::new(move |session, out| told(&counted.0, &counted.1, need, offset)(session, out));
    Flow::Wait(Wait { done: Some(Box::pin(done)), timeout_ms, ending: Some(plain_ending(engine, on_timeout)) })
}

/// The reply as it is now.
fn told(engine: &Engine, repl: &Repl, need: Need, offset: ReplOffset) -> Completion {
    let (tally, enough) = tally(need, offset, &repl.replicas(), engine.durable.on_disk(&engine.log));
    let vain = !enough && lacks_file(engine, need);
    Box::new(move |_: &mut Session, out: &mut Reply| if vain { out.error(&NO_FILE) } else { answer(out, tally) })
}

async fn acknowledged(engine: &Engine, repl: &Arc<Repl>, need: Need, offset: ReplOffset) {
    loop {
        // Registered before looking, so that no acknowledgement in between is missed.
        let mut more = std::pin::pin!(repl.acks.notified());
        more.as_mut().enable();
        if tally(need, offset, &repl.replicas(), engine.durable.on_disk(&engine.log)).1 || lacks_file(engine, need) {
            return;
        }
        more.await;
    }
}

// --- ROLE

fn role(call: &mut Call<'_>) -> Result<Flow, Error> {
    let (engine, repl) = (call.engine, Repl::of(call.engine));
    let out = &mut *call.out;
    if let Some((host, port)) = repl.master_addr().filter(|_| engine.state.is_replica()) {
        let offset = if repl.link.is_connected() { engine.log.end_offset() } else { -1 };
        out.array(5);
        out.bulk(b"slave");
        out.bulk(host.as_bytes());
        out.int(i64::from(port));
        out.bulk(repl.link.state().word().as_bytes());
        out.int(offset);
        return Ok(Flow::Done);
    }
    let replicas = repl.replicas();
    let online: Vec<_> = replicas.iter().filter(|r| r.phase == Phase::Online).collect();
    out.array(3);
    out.bulk(b"master");
    out.int(engine.log.end_offset());
    out.array(online.len());
    for replica in online {
        out.array(3);
        out.bulk(replica.host().as_bytes());
        out.bulk_int(i64::from(replica.greeting.listening_port));
        out.bulk_int(replica.ack_offset);
    }
    Ok(Flow::Done)
}
