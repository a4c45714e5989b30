//! Commands of the connection itself: AUTH, HELLO, PING, SELECT and the like.

use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;

use super::call::{Call, Flow, SessionCommand};
use super::client::flag;
use super::session::ReplyMode;
use crate::base::Error;
use crate::spec::prelude::*;

pub const AUTH: Row = Row {
    name: "auth",
    arity: -2,
    syntax: "[username@6.0.0] password",
    flags: NOSCRIPT.or(LOADING).or(STALE).or(FAST).or(NO_AUTH).or(ALLOW_BUSY).or(SENTINEL).or(SESSION),
    cats: CONNECTION,
    group: Group::Connection,
    complexity: "O(N), N being the number of the user's passwords",
    summary: "Proves who the connection speaks for, with a password or with a user name and a password.",
    ..Row::EMPTY
};

pub const ECHO: Row = Row {
    name: "echo",
    arity: 2,
    syntax: "message",
    flags: LOADING.or(STALE).or(FAST).or(SESSION),
    cats: CONNECTION,
    group: Group::Connection,
    complexity: "O(1)",
    summary: "Tells back what was said.",
    ..Row::EMPTY
};

pub const HELLO: Row = Row {
    name: "hello",
    arity: -1,
    syntax: "[arguments:{protover:integer [auth:{username password}=AUTH] [clientname=SETNAME]}]",
    flags: NOSCRIPT.or(LOADING).or(STALE).or(FAST).or(NO_AUTH).or(ALLOW_BUSY).or(SENTINEL).or(SESSION),
    cats: CONNECTION,
    since: "6.0.0",
    group: Group::Connection,
    complexity: "O(1)",
    summary: "Chooses the version of the protocol and greets, with authentication and a name on the way.",
    ..Row::EMPTY
};

pub const PING: Row = Row {
    name: "ping",
    arity: -1,
    syntax: "[message]",
    flags: FAST.or(SENTINEL).or(SESSION).or(WHILE_SUBSCRIBED).or(TELLS_HEALTH),
    cats: CONNECTION,
    tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
    group: Group::Connection,
    complexity: "O(1)",
    summary: "Answers, or tells back what was said, to show that the server is there.",
    ..Row::EMPTY
};

pub const QUIT: Row = Row {
    name: "quit",
    arity: -1,
    flags: NOSCRIPT
        .or(LOADING)
        .or(STALE)
        .or(FAST)
        .or(NO_AUTH)
        .or(ALLOW_BUSY)
        .or(SESSION)
        .or(NOT_QUEUED)
        .or(ENDS_TRANSACTION)
        .or(WHILE_SUBSCRIBED),
    cats: CONNECTION,
    group: Group::Connection,
    complexity: "O(1)",
    summary: "Has the server close the connection after its answer.",
    doc: Doc::Deprecated { since: "7.2.0", replaced_by: "closing the connection" },
    ..Row::EMPTY
};

pub const RESET: Row = Row {
    name: "reset",
    arity: 1,
    flags: NOSCRIPT
        .or(LOADING)
        .or(STALE)
        .or(FAST)
        .or(NO_AUTH)
        .or(ALLOW_BUSY)
        .or(SESSION)
        .or(NOT_QUEUED)
        .or(ENDS_TRANSACTION)
        .or(WHILE_SUBSCRIBED),
    cats: CONNECTION,
    since: "6.2.0",
    group: Group::Connection,
    complexity: "O(1)",
    summary: "Puts the connection back to how it was when it began.",
    ..Row::EMPTY
};

pub const SELECT: Row = Row {
    name: "select",
    arity: 2,
    syntax: "index:integer",
    flags: LOADING.or(STALE).or(FAST).or(SESSION),
    cats: CONNECTION,
    group: Group::Connection,
    complexity: "O(1)",
    summary: "Chooses the database of the connection.",
    ..Row::EMPTY
};

pub const COMMANDS: &[SessionCommand] = &[
    SessionCommand { row: &AUTH, run: auth },
    SessionCommand { row: &ECHO, run: echo },
    SessionCommand { row: &HELLO, run: hello },
    SessionCommand { row: &PING, run: ping },
    SessionCommand { row: &QUIT, run: quit },
    SessionCommand { row: &RESET, run: reset },
    SessionCommand { row: &SELECT, run: select },
];

fn ping(call: &mut Call<'_>) -> Result<Flow, Error> {
    if call.argv.len() > 2 {
        return Err(Error::Arity("ping".to_owned()));
    }
    let word = call.argv.get(1);
    if call.session.proto == 2 && call.session.is_subscribed() {
        call.out.array(2);
        call.out.bulk(b"pong");
        call.out.bulk(word.unwrap_or_default());
    } else {
        match word {
            Some(word) => call.out.bulk(word),
            None => call.out.pong(),
        }
    }
    Ok(Flow::Done)
}

fn echo(call: &mut Call<'_>) -> Result<Flow, Error> {
    call.out.bulk(call.argv.word(1));
    Ok(Flow::Done)
}

fn quit(call: &mut Call<'_>) -> Result<Flow, Error> {
    call.out.ok();
    Ok(Flow::Close)
}

fn select(call: &mut Call<'_>) -> Result<Flow, Error> {
    let n = crate::base::number::parse_i64(call.argv.word(1)).ok_or(Error::NotInteger)?;
    let db = usize::try_from(n).ok().filter(|n| *n < call.engine.ks.databases()).ok_or(Error::DbIndex)?;
    call.session.select(db);
    call.out.ok();
    Ok(Flow::Done)
}

/// Logs a user in, or tells why not.
fn log_in(call: &mut Call<'_>, user: &[u8], password: &[u8]) -> Result<(), Error> {
    if !call.engine.acl.check(user, password) {
        call.engine.stats.counters.acl_denied_auth.fetch_add(1, Relaxed);
        return Err(Error::WrongPass);
    }
    call.session.set_authenticated(true);
    call.session.handle.names.lock().user = Bytes::copy_from_slice(user);
    Ok(())
}

fn auth(call: &mut Call<'_>) -> Result<Flow, Error> {
    let argv = call.argv;
    match argv.len() {
        2 => {
            if !call.engine.acl.needs_password() {
                return Err(Error::text(
                    "ERR AUTH <password> called without any password configured for the default user. Are you sure \
                     your configuration is correct?",
                ));
            }
            log_in(call, b"default", argv.word(1))?;
        }
        3 => log_in(call, argv.word(1), argv.word(2))?,
        _ => return Err(Error::Syntax),
    }
    call.out.ok();
    Ok(Flow::Done)
}

/// Names that break the line format of CLIENT LIST are refused.
pub fn valid_name(name: &[u8]) -> bool {
    name.iter().all(|b| (b'!'..=b'~').contains(b))
}

fn hello(call: &mut Call<'_>) -> Result<Flow, Error> {
    let mut a = call.args();
    let proto = if a.is_at_end() {
        None
    } else {
        match a.next_i64() {
            Ok(n @ (2 | 3)) => Some(n as u8),
            Ok(_) => return Err(Error::text("NOPROTO unsupported protocol version")),
            Err(_) => return Err(Error::text("ERR Protocol version is not an integer or out of range")),
        }
    };
    let (mut credentials, mut name) = (None, None);
    while !a.is_at_end() {
        let left = a.left();
        if left >= 3 && a.flag("AUTH") {
            credentials = Some((a.next()?, a.next()?));
        } else if left >= 2 && a.flag("SETNAME") {
            let given = a.next()?;
            if !valid_name(given) {
                return Err(Error::ClientName);
            }
            name = Some(given);
        } else {
            let option = String::from_utf8_lossy(a.next()?).into_owned();
            return Err(Error::Text(format!("ERR Syntax error in HELLO option '{option}'").into()));
        }
    }
    if let Some((user, password)) = credentials {
        log_in(call, user, password)?;
    }
    if !call.session.authenticated {
        return Err(Error::text(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> \
             <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
        ));
    }
    if let Some(name) = name {
        set_name(call, name);
    }
    if let Some(proto) = proto {
        set_proto(call, proto);
    }
    let (engine, out) = (call.engine, &mut *call.out);
    out.map(7);
    out.bulk(b"server");
    out.bulk(b"redis");
    out.bulk(b"version");
    out.bulk(crate::base::version::REDIS.as_bytes());
    out.bulk(b"proto");
    out.int(i64::from(call.session.proto));
    out.bulk(b"id");
    out.int(call.session.handle.id as i64);
    out.bulk(b"mode");
    out.bulk(b"standalone");
    out.bulk(b"role");
    out.bulk(if engine.state.is_replica() { b"replica" } else { b"master" });
    out.bulk(b"modules");
    out.array(0);
    Ok(Flow::Done)
}

fn set_proto(call: &mut Call<'_>, proto: u8) {
    call.session.proto = proto;
    call.out.set_proto(proto);
    call.session.handle.resp.store(proto, Relaxed);
}

/// CLIENT SETNAME and HELLO SETNAME; an empty name is none.
pub fn set_name(call: &Call<'_>, name: &[u8]) {
    call.session.handle.names.lock().name = (!name.is_empty()).then(|| Bytes::copy_from_slice(name));
}

fn reset(call: &mut Call<'_>) -> Result<Flow, Error> {
    let (engine, session) = (call.engine, &mut *call.session);
    session.discard(engine);
    engine.pubsub.unsubscribe_all(session);
    engine.monitors.remove(session.handle.id);
    session.handle.set(flag::MONITOR | flag::NO_TOUCH | flag::NO_EVICT | flag::READONLY, false);
    session.reply_mode = ReplyMode::On;
    session.select(0);
    session.set_authenticated(!engine.acl.needs_password());
    {
        let mut names = session.handle.names.lock();
        names.name = None;
        names.user = Bytes::from_static(b"default");
    }
    set_proto(call, 2);
    call.out.simple("RESET");
    Ok(Flow::Done)
}
