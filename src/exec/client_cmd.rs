//! CLIENT: looking at connections and ending them.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;

use super::call::{Call, Flow, SessionCommand, SessionFn};
use super::client::{ClientHandle, End, flag};
use super::connection::{set_name, valid_name};
use super::describe::{ClientType, line};
use super::help::help;
use super::pause::PauseKind;
use super::session::ReplyMode;
use crate::base::{Error, number};
use crate::spec::prelude::*;

pub const CLIENT: Row = Row {
    name: "client",
    arity: -2,
    flags: SENTINEL.or(SESSION),
    since: "2.4.0",
    group: Group::Connection,
    complexity: "That of the subcommand",
    summary: "Looks at connections and changes how the server treats them.",
    ..Row::EMPTY
};

pub const CLIENT_CACHING: Row = Row {
    name: "client|caching",
    arity: 3,
    syntax: "mode:(yes:YES|no:NO)",
    flags: NOSCRIPT.or(LOADING).or(STALE).or(SENTINEL).or(SESSION),
    cats: CONNECTION,
    since: "6.0.0",
    group: Group::Connection,
    complexity: "O(1)",
    summary: "Says whether the keys of the next command are tracked.",
    ..Row::EMPTY
};

pub const CLIENT_GETNAME: Row = Row {
    name: "client|getname",
    arity: 2,
    flags: NOSCRIPT.or(LOADING).or(STALE).or(SENTINEL).or(SESSION),
    cats: CONNECTION,
    since: "2.6.9",
    group: Group::Connection,
    complexity: "O(1)",
    summary: "Tells the name of the connection.",
    ..Row::EMPTY
};

pub const CLIENT_GETREDIR: Row = Row {
    name: "client|getredir",
    arity: 2,
    flags: NOSCRIPT.or(LOADING).or(STALE).or(SENTINEL).or(SESSION),
    cats: CONNECTION,
    since: "6.0.0",
    group: Group::Connection,
    complexity: "O(1)",
    summary: "Tells which connection gets the invalidations of this one.",
    ..Row::EMPTY
};

pub const CLIENT_HELP: Row = Row {
    name: "client|help",
    arity: 2,
    flags: LOADING.or(STALE).or(SENTINEL).or(SESSION),
    cats: CONNECTION,
    since: "5.0.0",
    group: Group::Connection,
    complexity: "O(1)",
    summary: "Lists the subcommands of CLIENT.",
    ..Row::EMPTY
};

pub const CLIENT_ID: Row = Row {
    name: "client|id",
    arity: 2,
    flags: NOSCRIPT.or(LOADING).or(STALE).or(SENTINEL).or(SESSION),
    cats: CONNECTION,
    since: "5.0.0",
    group: Group::Connection,
    complexity: "O(1)",
    summary: "Tells the number of the connection.",
    ..Row::EMPTY
};

pub const CLIENT_INFO: Row = Row {
    name: "client|info",
    arity: 2,
    flags: NOSCRIPT.or(LOADING).or(STALE).or(SENTINEL).or(SESSION),
    cats: CONNECTION,
    tips: &["nondeterministic_output"],
    since: "6.2.0",
    group: Group::Connection,
    complexity: "O(1)",
    summary: "Tells all that the server knows of this connection.",
    ..Row::EMPTY
};

pub const CLIENT_KILL: Row = Row {
    name: "client|kill",
    arity: -3,
    syntax: "filter:(old-format<ip:port>~2.8.12|new-format:([client-id:integer=ID@2.8.12]|\
        [client-type:(normal:NORMAL|master:MASTER@3.2.0|slave:SLAVE|replica:REPLICA@5.0.0|\
        pubsub:PUBSUB)=TYPE@2.8.12]|[username=USER]|[addr=ADDR<ip:port>]|[laddr=LADDR<ip:port>@6.2.0]|\
        [skipme:(yes:YES|no:NO)=SKIPME])...)",
    flags: ADMIN.or(NOSCRIPT).or(LOADING).or(STALE).or(SENTINEL).or(SESSION),
    cats: CONNECTION,
    since: "2.4.0",
    group: Group::Connection,
    complexity: "O(N), N being the number of connections",
    summary: "Closes the connections that fit a description.",
    ..Row::EMPTY
};

pub const CLIENT_LIST: Row = Row {
    name: "client|list",
    arity: -2,
    syntax: "[client-type:(normal:NORMAL|master:MASTER|replica:REPLICA|pubsub:PUBSUB)=TYPE@5.0.0] \
        [client-id:integer=ID@6.2.0...]",
    flags: ADMIN.or(NOSCRIPT).or(LOADING).or(STALE).or(SENTINEL).or(SESSION),
    cats: CONNECTION,
    tips: &["nondeterministic_output"],
    since: "2.4.0",
    group: Group::Connection,
    complexity: "O(N), N being the number of connections",
    summary: "Tells all that the server knows of its connections.",
    ..Row::EMPTY
};

pub const CLIENT_NO_EVICT: Row = Row {
    name: "client|no-evict",
    arity: 3,
    syntax: "enabled:(on:ON|off:OFF)",
    flags: ADMIN.or(NOSCRIPT).or(LOADING).or(STALE).or(SENTINEL).or(SESSION),
    cats: CONNECTION,
    since: "7.0.0",
    group: Group::Connection,
    complexity: "O(1)",
    summary: "Keeps the connection from being closed when clients take too much memory.",
    ..Row::EMPTY
};

pub const CLIENT_NO_TOUCH: Row = Row {
    name: "client|no-touch",
    arity: 3,
    syntax: "enabled:(on:ON|off:OFF)",
    flags: NOSCRIPT.or(LOADING).or(STALE).or(SESSION),
    cats: CONNECTION,
    since: "7.2.0",
    group: Group::Connection,
    complexity: "O(1)",
    summary: "Says whether commands of this connection count as use of the keys.",
    ..Row::EMPTY
};

pub const CLIENT_PAUSE: Row = Row {
    name: "client|pause",
    arity: -3,
    syntax: "timeout:integer [mode:(write:WRITE|all:ALL)@6.2.0]",
    flags: ADMIN.or(NOSCRIPT).or(LOADING).or(STALE).or(SENTINEL).or(SESSION),
    cats: CONNECTION,
    since: "3.0.0",
    group: Group::Connection,
    complexity: "O(1)",
    summary: "Holds the commands of all clients back for so many milliseconds, or only the writes.",
    ..Row::EMPTY
};

pub const CLIENT_REPLY: Row = Row {
    name: "client|reply",
    arity: 3,
    syntax: "action:(on:ON|off:OFF|skip:SKIP)",
    flags: NOSCRIPT.or(LOADING).or(STALE).or(SENTINEL).or(SESSION),
    cats: CONNECTION,
    since: "3.2.0",
    group: Group::Connection,
    complexity: "O(1)",
    summary: "Says whether the connection gets replies, none, or none to the next command.",
    ..Row::EMPTY
};

pub const CLIENT_SETINFO: Row = Row {
    name: "client|setinfo",
    arity: 4,
    syntax: "attr:(libname=LIB-NAME|libver=LIB-VER)",
    flags: NOSCRIPT.or(LOADING).or(STALE).or(SENTINEL).or(SESSION),
    cats: CONNECTION,
    tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
    since: "7.2.0",
    group: Group::Connection,
    complexity: "O(1)",
    summary: "Notes the name or the version of the client library.",
    ..Row::EMPTY
};

pub const CLIENT_SETNAME: Row = Row {
    name: "client|setname",
    arity: 3,
    syntax: "connection-name",
    flags: NOSCRIPT.or(LOADING).or(STALE).or(SENTINEL).or(SESSION),
    cats: CONNECTION,
    tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
    since: "2.6.9",
    group: Group::Connection,
    complexity: "O(1)",
    summary: "Names the connection.",
    ..Row::EMPTY
};

pub const CLIENT_TRACKING: Row = Row {
    name: "client|tracking",
    arity: -3,
    syntax: "status:(on:ON|off:OFF) [client-id:integer=REDIRECT] [prefix=PREFIX=...] [bcast:BCAST] \
        [optin:OPTIN] [optout:OPTOUT] [noloop:NOLOOP]",
    flags: NOSCRIPT.or(LOADING).or(STALE).or(SENTINEL).or(SESSION),
    cats: CONNECTION,
    since: "6.0.0",
    group: Group::Connection,
    complexity: "O(1), with a part that grows with the number of prefixes",
    summary: "Says whether the server reports changes of keys that this connection has read.",
    ..Row::EMPTY
};

pub const CLIENT_TRACKINGINFO: Row = Row {
    name: "client|trackinginfo",
    arity: 2,
    flags: NOSCRIPT.or(LOADING).or(STALE).or(SENTINEL).or(SESSION),
    cats: CONNECTION,
    since: "6.2.0",
    group: Group::Connection,
    complexity: "O(1)",
    summary: "Tells how the tracking of this connection is set.",
    ..Row::EMPTY
};

pub const CLIENT_UNBLOCK: Row = Row {
    name: "client|unblock",
    arity: -3,
    syntax: "client-id:integer [unblock-type:(timeout:TIMEOUT|error:ERROR)]",
    flags: ADMIN.or(NOSCRIPT).or(LOADING).or(STALE).or(SENTINEL).or(SESSION),
    cats: CONNECTION,
    since: "5.0.0",
    group: Group::Connection,
    complexity: "O(log N), N being the number of connections",
    summary: "Wakes a connection that waits in a blocking command.",
    ..Row::EMPTY
};

pub const CLIENT_UNPAUSE: Row = Row {
    name: "client|unpause",
    arity: 2,
    flags: ADMIN.or(NOSCRIPT).or(LOADING).or(STALE).or(SENTINEL).or(SESSION),
    cats: CONNECTION,
    since: "6.2.0",
    group: Group::Connection,
    complexity: "O(N), N being the number of held connections",
    summary: "Lets held clients go on.",
    ..Row::EMPTY
};

const fn command(row: &'static Row, run: SessionFn) -> SessionCommand {
    SessionCommand { row, run }
}

pub const COMMANDS: &[SessionCommand] = &[
    command(&CLIENT_GETNAME, getname),
    command(&CLIENT_GETREDIR, getredir),
    command(&CLIENT_HELP, help),
    command(&CLIENT_ID, id),
    command(&CLIENT_INFO, info),
    command(&CLIENT_KILL, kill),
    command(&CLIENT_LIST, list),
    command(&CLIENT_NO_EVICT, no_evict),
    command(&CLIENT_NO_TOUCH, no_touch),
    command(&CLIENT_PAUSE, pause),
    command(&CLIENT_REPLY, reply),
    command(&CLIENT_SETINFO, setinfo),
    command(&CLIENT_SETNAME, setname),
    command(&CLIENT_TRACKINGINFO, trackinginfo),
    command(&CLIENT_UNBLOCK, unblock),
    command(&CLIENT_UNPAUSE, unpause),
];

fn id(call: &mut Call<'_>) -> Result<Flow, Error> {
    call.out.int(call.session.handle.id as i64);
    Ok(Flow::Done)
}

fn getname(call: &mut Call<'_>) -> Result<Flow, Error> {
    match &call.session.handle.names.lock().name {
        Some(name) => call.out.bulk(name),
        None => call.out.null(),
    }
    Ok(Flow::Done)
}

fn setname(call: &mut Call<'_>) -> Result<Flow, Error> {
    let name = call.argv.word(2);
    if !valid_name(name) {
        return Err(Error::ClientName);
    }
    set_name(call, name);
    call.out.ok();
    Ok(Flow::Done)
}

fn setinfo(call: &mut Call<'_>) -> Result<Flow, Error> {
    let (option, value) = (call.argv.word(2), call.argv.word(3));
    let shown = String::from_utf8_lossy(option).into_owned();
    let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
    if !is("lib-name") && !is("lib-ver") {
        return Err(Error::Text(format!("ERR Unrecognized option '{shown}'").into()));
    }
    if !valid_name(value) {
        return Err(Error::Text(format!("ERR {shown} cannot contain spaces, newlines or special characters.").into()));
    }
    let value = (!value.is_empty()).then(|| Bytes::copy_from_slice(value));
    {
        let mut names = call.session.handle.names.lock();
        if is("lib-name") {
            names.lib_name = value;
        } else {
            names.lib_ver = value;
        }
    }
    call.out.ok();
    Ok(Flow::Done)
}

/// No client is tracked, so none redirects.
fn getredir(call: &mut Call<'_>) -> Result<Flow, Error> {
    call.out.int(-1);
    Ok(Flow::Done)
}

fn trackinginfo(call: &mut Call<'_>) -> Result<Flow, Error> {
    call.out.map(3);
    call.out.bulk(b"flags");
    call.out.set(1);
    call.out.bulk(b"off");
    call.out.bulk(b"redirect");
    call.out.int(-1);
    call.out.bulk(b"prefixes");
    call.out.array(0);
    Ok(Flow::Done)
}

/// What runs while a client looks at itself is the look: its words are shown as stock shows them.
fn looking<R>(call: &Call<'_>, f: impl FnOnce() -> R) -> R {
    let argv_bytes = &call.session.handle.argv_bytes;
    argv_bytes.store(call.argv.iter().map(<[u8]>::len).sum(), Relaxed);
    let result = f();
    argv_bytes.store(0, Relaxed);
    result
}

fn info(call: &mut Call<'_>) -> Result<Flow, Error> {
    let text = looking(call, || line(call.engine, &call.session.handle)) + "\n";
    call.out.verbatim("txt", text.as_bytes());
    Ok(Flow::Done)
}

fn list(call: &mut Call<'_>) -> Result<Flow, Error> {
    let mut a = call.args();
    let (mut kind, mut ids) = (None, None);
    if a.left() == 2 && a.flag("TYPE") {
        let name = a.next()?;
        kind = Some(ClientType::parse(name).ok_or_else(|| unknown_type(name))?);
    } else if a.option("ID") {
        let mut wanted = Vec::new();
        while !a.is_at_end() {
            let id = number::parse_i64(a.next()?).filter(|n| *n > 0);
            wanted.push(id.ok_or(Error::text("ERR Invalid client ID"))? as u64);
        }
        ids = Some(wanted);
    } else if !a.is_at_end() {
        return Err(Error::Syntax);
    }
    let clients: Vec<Arc<ClientHandle>> = match ids {
        Some(ids) => ids.into_iter().filter_map(|id| call.engine.clients.get(id)).collect(),
        None => call.engine.clients.list(),
    };
    let mut text = String::new();
    looking(call, || {
        for c in clients.iter().filter(|c| kind.is_none_or(|k| ClientType::of(c) == k)) {
            text += &line(call.engine, c);
            text.push('\n');
        }
    });
    call.out.verbatim("txt", text.as_bytes());
    Ok(Flow::Done)
}

fn unknown_type(name: &[u8]) -> Error {
    Error::Text(format!("ERR Unknown client type '{}'", String::from_utf8_lossy(name)).into())
}

/// What CLIENT KILL looks for; everything given must fit.
#[derive(Default)]
struct Filter {
    id: Option<u64>,
    addr: Option<Vec<u8>>,
    laddr: Option<Vec<u8>>,
    kind: Option<ClientType>,
    user: Option<Vec<u8>>,
    max_age_s: Option<i64>,
}

impl Filter {
    fn fits(&self, c: &ClientHandle, now_ms: i64) -> bool {
        self.id.is_none_or(|id| id == c.id)
            && self.addr.as_ref().is_none_or(|a| a == c.addr.as_bytes())
            && self.laddr.as_ref().is_none_or(|a| a == c.laddr.as_bytes())
            && self.kind.is_none_or(|k| k == ClientType::of(c))
            && self.user.as_ref().is_none_or(|u| u[..] == c.names.lock().user[..])
            && self.max_age_s.is_none_or(|s| (now_ms - c.created_ms) / 1000 >= s)
    }
}

fn kill(call: &mut Call<'_>) -> Result<Flow, Error> {
    let mut a = call.args();
    let (mut filter, mut skip_me) = (Filter::default(), true);
    let old_style = a.left() == 1;
    if old_style {
        filter.addr = Some(a.next()?.to_vec());
        skip_me = false;
    } else {
        while !a.is_at_end() {
            if a.left() < 2 {
                return Err(Error::Syntax);
            }
            if a.flag("ID") {
                let id = number::parse_i64(a.next()?).filter(|n| *n > 0);
                filter.id = Some(id.ok_or(Error::text("ERR client-id should be greater than 0"))? as u64);
            } else if a.flag("TYPE") {
                let name = a.next()?;
                filter.kind = Some(ClientType::parse(name).ok_or_else(|| unknown_type(name))?);
            } else if a.flag("ADDR") {
                filter.addr = Some(a.next()?.to_vec());
            } else if a.flag("LADDR") {
                filter.laddr = Some(a.next()?.to_vec());
            } else if a.flag("MAXAGE") {
                let age =
                    number::parse_i64(a.next()?).ok_or(Error::text("ERR maxage is not an integer or out of range"))?;
                if age <= 0 {
                    return Err(Error::text("ERR maxage should be greater than 0"));
                }
                filter.max_age_s = Some(age);
            } else if a.flag("USER") {
                let user = a.next()?;
                if user != b"default" {
                    let shown = String::from_utf8_lossy(user).into_owned();
                    return Err(Error::Text(format!("ERR No such user '{shown}'").into()));
                }
                filter.user = Some(user.to_vec());
            } else if a.flag("SKIPME") {
                skip_me = if a.flag("yes") {
                    true
                } else if a.flag("no") {
                    false
                } else {
                    return Err(Error::Syntax);
                };
            } else {
                return Err(Error::Syntax);
            }
        }
    }
    let me = call.session.handle.id;
    let mut killed = 0;
    for c in call.engine.clients.list() {
        if !filter.fits(&c, call.now_ms) || (c.id == me && skip_me) {
            continue;
        }
        killed += 1;
        if c.id == me {
            call.session.close_after_reply = true;
        } else {
            c.kill();
        }
    }
    if !old_style {
        call.out.int(killed);
    } else if killed > 0 {
        call.out.ok();
    } else {
        return Err(Error::text("ERR No such client"));
    }
    Ok(Flow::Done)
}

/// Reads an `ON|OFF` argument.
fn on_off(call: &Call<'_>) -> Result<bool, Error> {
    let word = call.argv.word(2);
    if word.eq_ignore_ascii_case(b"on") {
        Ok(true)
    } else if word.eq_ignore_ascii_case(b"off") {
        Ok(false)
    } else {
        Err(Error::Syntax)
    }
}

fn no_evict(call: &mut Call<'_>) -> Result<Flow, Error> {
    call.session.handle.set(flag::NO_EVICT, on_off(call)?);
    call.out.ok();
    Ok(Flow::Done)
}

fn no_touch(call: &mut Call<'_>) -> Result<Flow, Error> {
    call.session.handle.set(flag::NO_TOUCH, on_off(call)?);
    call.out.ok();
    Ok(Flow::Done)
}

fn pause(call: &mut Call<'_>) -> Result<Flow, Error> {
    let mut a = call.args();
    let timeout = a.next()?;
    let kind = if a.is_at_end() || a.flag("ALL") {
        PauseKind::All
    } else if a.flag("WRITE") {
        PauseKind::Write
    } else {
        return Err(Error::text("ERR CLIENT PAUSE mode must be WRITE or ALL"));
    };
    a.expect_end()?;
    let ms = number::parse_i64(timeout).ok_or(Error::Timeout)?;
    if ms < 0 {
        return Err(Error::TimeoutNegative);
    }
    let until = ms.checked_add(call.now_ms).ok_or(Error::Timeout)?;
    call.engine.pause.pause_clients(kind, until);
    call.out.ok();
    Ok(Flow::Done)
}

fn unpause(call: &mut Call<'_>) -> Result<Flow, Error> {
    call.engine.pause.unpause_clients();
    call.out.ok();
    Ok(Flow::Done)
}

fn reply(call: &mut Call<'_>) -> Result<Flow, Error> {
    let word = call.argv.word(2).to_ascii_lowercase();
    match word.as_slice() {
        b"on" => {
            call.session.reply_mode = ReplyMode::On;
            call.out.ok();
        }
        b"off" => call.session.reply_mode = ReplyMode::Off,
        b"skip" if call.session.reply_mode == ReplyMode::On => call.session.reply_mode = ReplyMode::SkipNext,
        b"skip" => {}
        _ => return Err(Error::Syntax),
    }
    Ok(Flow::Done)
}

fn unblock(call: &mut Call<'_>) -> Result<Flow, Error> {
    let mut a = call.args();
    let id = a.next_i64()?;
    let how = if a.is_at_end() || a.flag("TIMEOUT") {
        End::Timeout
    } else if a.flag("ERROR") {
        End::Unblocked
    } else {
        return Err(Error::text("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"));
    };
    a.expect_end()?;
    let target = u64::try_from(id).ok().and_then(|id| call.engine.clients.get(id));
    call.out.int(i64::from(target.is_some_and(|c| c.end_wait(how))));
    Ok(Flow::Done)
}

/// Clients that wait in a blocking command.
pub fn blocked(clients: &[Arc<ClientHandle>]) -> usize {
    clients.iter().filter(|c| c.flags.load(Relaxed) & flag::BLOCKED != 0).count()
}
