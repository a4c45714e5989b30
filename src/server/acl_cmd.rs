//! ACL, as far as one user goes: `default`, who may do everything and whose password is `requirepass`.

use crate::base::{Error, number, rand};
use crate::exec::call::{Call, Flow, SessionCommand};
use crate::exec::help::help;
use crate::spec::Categories;
use crate::spec::prelude::*;

pub const ACL: Row = Row {
    name: "acl",
    arity: -2,
    flags: SENTINEL.or(SESSION),
    since: "6.0.0",
    complexity: "That of the subcommand",
    summary: "Looks at users and changes what they may do.",
    ..Row::EMPTY
};

pub const ACL_CAT: Row = Row {
    name: "acl|cat",
    arity: -2,
    syntax: "[category]",
    flags: NOSCRIPT.or(LOADING).or(STALE).or(SENTINEL).or(SESSION),
    since: "6.0.0",
    complexity: "O(1)",
    summary: "Lists the command categories, or the commands of one.",
    ..Row::EMPTY
};

pub const ACL_DELUSER: Row = Row {
    name: "acl|deluser",
    arity: -3,
    syntax: "username...",
    flags: ADMIN.or(NOSCRIPT).or(LOADING).or(STALE).or(SENTINEL).or(SESSION),
    tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
    since: "6.0.0",
    complexity: "O(1) a user",
    summary: "Removes users and closes their connections.",
    ..Row::EMPTY
};

pub const ACL_DRYRUN: Row = Row {
    name: "acl|dryrun",
    arity: -4,
    syntax: "username command [arg...]",
    flags: ADMIN.or(NOSCRIPT).or(LOADING).or(STALE).or(SENTINEL).or(SESSION),
    since: "7.0.0",
    complexity: "O(1)",
    summary: "Tells whether a user might run a command, without running it.",
    ..Row::EMPTY
};

pub const ACL_GENPASS: Row = Row {
    name: "acl|genpass",
    arity: -2,
    syntax: "[bits:integer]",
    flags: NOSCRIPT.or(LOADING).or(STALE).or(SENTINEL).or(SESSION),
    since: "6.0.0",
    complexity: "O(1)",
    summary: "Makes up a password that nobody can guess.",
    ..Row::EMPTY
};

pub const ACL_GETUSER: Row = Row {
    name: "acl|getuser",
    arity: 3,
    syntax: "username",
    flags: ADMIN.or(NOSCRIPT).or(LOADING).or(STALE).or(SENTINEL).or(SESSION),
    since: "6.0.0",
    complexity: "O(N), N being the number of the user's rules",
    summary: "Tells all the rules of a user.",
    ..Row::EMPTY
};

pub const ACL_HELP: Row = Row {
    name: "acl|help",
    arity: 2,
    flags: LOADING.or(STALE).or(SENTINEL).or(SESSION),
    since: "6.0.0",
    complexity: "O(1)",
    summary: "Lists the subcommands of ACL.",
    ..Row::EMPTY
};

pub const ACL_LIST: Row = Row {
    name: "acl|list",
    arity: 2,
    flags: ADMIN.or(NOSCRIPT).or(LOADING).or(STALE).or(SENTINEL).or(SESSION),
    since: "6.0.0",
    complexity: "O(N), N being the number of users",
    summary: "Tells the rules of all users, as an ACL file has them.",
    ..Row::EMPTY
};

pub const ACL_LOAD: Row = Row {
    name: "acl|load",
    arity: 2,
    flags: ADMIN.or(NOSCRIPT).or(LOADING).or(STALE).or(SENTINEL).or(SESSION),
    since: "6.0.0",
    complexity: "O(N), N being the number of users",
    summary: "Reads the users from the ACL file anew.",
    ..Row::EMPTY
};

pub const ACL_LOG: Row = Row {
    name: "acl|log",
    arity: -2,
    syntax: "[operation:(count:integer|reset:RESET)]",
    flags: ADMIN.or(NOSCRIPT).or(LOADING).or(STALE).or(SENTINEL).or(SESSION),
    since: "6.0.0",
    complexity: "O(N), N being the number of entries told",
    summary: "Tells which commands and log-ins were refused lately, or forgets them.",
    ..Row::EMPTY
};

pub const ACL_SAVE: Row = Row {
    name: "acl|save",
    arity: 2,
    flags: ADMIN.or(NOSCRIPT).or(LOADING).or(STALE).or(SENTINEL).or(SESSION),
    tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
    since: "6.0.0",
    complexity: "O(N), N being the number of users",
    summary: "Writes the users to the ACL file.",
    ..Row::EMPTY
};

pub const ACL_SETUSER: Row = Row {
    name: "acl|setuser",
    arity: -3,
    syntax: "username [rule...]",
    flags: ADMIN.or(NOSCRIPT).or(LOADING).or(STALE).or(SENTINEL).or(SESSION),
    tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
    since: "6.0.0",
    complexity: "O(N), N being the number of rules given",
    summary: "Creates a user or changes the rules of one.",
    ..Row::EMPTY
};

pub const ACL_USERS: Row = Row {
    name: "acl|users",
    arity: 2,
    flags: ADMIN.or(NOSCRIPT).or(LOADING).or(STALE).or(SENTINEL).or(SESSION),
    since: "6.0.0",
    complexity: "O(N), N being the number of users",
    summary: "Lists the names of the users.",
    ..Row::EMPTY
};

pub const ACL_WHOAMI: Row = Row {
    name: "acl|whoami",
    arity: 2,
    flags: NOSCRIPT.or(LOADING).or(STALE).or(SENTINEL).or(SESSION),
    since: "6.0.0",
    complexity: "O(1)",
    summary: "Tells as which user the connection acts.",
    ..Row::EMPTY
};

pub const COMMANDS: &[SessionCommand] = &[
    SessionCommand { row: &ACL_CAT, run: categories },
    SessionCommand { row: &ACL_DELUSER, run: delete_users },
    SessionCommand { row: &ACL_DRYRUN, run: dry_run },
    SessionCommand { row: &ACL_GENPASS, run: make_password },
    SessionCommand { row: &ACL_GETUSER, run: get_user },
    SessionCommand { row: &ACL_HELP, run: help },
    SessionCommand { row: &ACL_LIST, run: list },
    SessionCommand { row: &ACL_LOAD, run: no_file },
    SessionCommand { row: &ACL_LOG, run: not_yet },
    SessionCommand { row: &ACL_SAVE, run: no_file },
    SessionCommand { row: &ACL_SETUSER, run: not_yet },
    SessionCommand { row: &ACL_USERS, run: users },
    SessionCommand { row: &ACL_WHOAMI, run: who_am_i },
];

const DEFAULT: &[u8] = b"default";

fn not_yet(_: &mut Call<'_>) -> Result<Flow, Error> {
    Err(Error::text(
        "ERR There is only the user 'default' so far, who may do everything; CONFIG SET requirepass sets the password",
    ))
}

fn no_file(_: &mut Call<'_>) -> Result<Flow, Error> {
    Err(Error::text(
        "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER \
         command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store \
         users in the Redis configuration.",
    ))
}

fn who_am_i(call: &mut Call<'_>) -> Result<Flow, Error> {
    let user = call.session.handle.names.lock().user.clone();
    call.out.bulk(&user);
    Ok(Flow::Done)
}

fn users(call: &mut Call<'_>) -> Result<Flow, Error> {
    call.out.array(1);
    call.out.bulk(DEFAULT);
    Ok(Flow::Done)
}

fn list(call: &mut Call<'_>) -> Result<Flow, Error> {
    let password = call.engine.acl.password_hash().map_or("nopass".to_owned(), |hash| format!("#{hash}"));
    call.out.array(1);
    call.out.bulk(format!("user default on {password} ~* &* +@all").as_bytes());
    Ok(Flow::Done)
}

fn get_user(call: &mut Call<'_>) -> Result<Flow, Error> {
    if call.argv.word(2) != DEFAULT {
        call.out.null();
        return Ok(Flow::Done);
    }
    let hash = call.engine.acl.password_hash();
    let out = &mut *call.out;
    let flags: &[&[u8]] = if hash.is_some() { &[b"on"] } else { &[b"on", b"nopass"] };
    out.map(6);
    out.bulk(b"flags");
    out.set(flags.len());
    flags.iter().for_each(|f| out.bulk(f));
    out.bulk(b"passwords");
    out.array(usize::from(hash.is_some()));
    hash.iter().for_each(|h| out.bulk(h.as_bytes()));
    for (name, rules) in [("commands", "+@all"), ("keys", "~*"), ("channels", "&*")] {
        out.bulk(name.as_bytes());
        out.bulk(rules.as_bytes());
    }
    out.bulk(b"selectors");
    out.array(0);
    Ok(Flow::Done)
}

fn delete_users(call: &mut Call<'_>) -> Result<Flow, Error> {
    if call.argv.skip(2).iter().any(|user| user == DEFAULT) {
        return Err(Error::text("ERR The 'default' user cannot be removed"));
    }
    call.out.int(0);
    Ok(Flow::Done)
}

fn dry_run(call: &mut Call<'_>) -> Result<Flow, Error> {
    let shown = |word: &[u8]| String::from_utf8_lossy(word).into_owned();
    let (user, request) = (call.argv.word(2), call.argv.skip(3));
    if user != DEFAULT {
        return Err(Error::Text(format!("ERR User '{}' not found", shown(user)).into()));
    }
    let found = call.engine.table.resolve(&request);
    let found = found.map_err(|_| Error::Text(format!("ERR Command '{}' not found", shown(request.word(0))).into()))?;
    found.check_arity(&request)?;
    call.out.ok();
    Ok(Flow::Done)
}

fn categories(call: &mut Call<'_>) -> Result<Flow, Error> {
    let out = &mut *call.out;
    if call.argv.len() == 2 {
        out.array(Categories::NAMED.len());
        Categories::NAMED.iter().for_each(|(_, word)| out.bulk(word.as_bytes()));
        return Ok(Flow::Done);
    }
    let word = call.argv.word(2);
    let wanted = Categories::from_word(word)
        .ok_or_else(|| Error::Text(format!("ERR Unknown category '{}'", String::from_utf8_lossy(word)).into()))?;
    let members = || call.engine.table.rows().filter(|row| row.all_categories().has(wanted));
    out.array(members().count());
    members().for_each(|row| out.bulk(row.name.as_bytes()));
    Ok(Flow::Done)
}

fn make_password(call: &mut Call<'_>) -> Result<Flow, Error> {
    let bits = match call.argv.get(2) {
        None => 256,
        Some(word) => number::parse_i64(word).filter(|bits| (1..=4096).contains(bits)).ok_or(Error::text(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096",
        ))?,
    };
    let digits = (bits as usize).div_ceil(4);
    let mut bytes = vec![0; digits.div_ceil(2)];
    rand::system_bytes(&mut bytes);
    let text: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    call.out.bulk(&text.as_bytes()[..digits]);
    Ok(Flow::Done)
}
