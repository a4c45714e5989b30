//! Which refusal comes first where several are due: both servers are brought into every combination of states, and asked
//! the same.

use std::fs;

use crate::harness::{Client, Kind, Port, Reply, Server, wait_until, words};

/// What can be the matter at the same time: its name, how it begins and how it ends.
const STATES: &[(&str, &str, &str)] = &[
    ("out of memory", "config set maxmemory 1", "config set maxmemory 0"),
    ("a save failed", "config set stop-writes-on-bgsave-error yes", "config set stop-writes-on-bgsave-error no"),
    ("too few replicas", "config set min-replicas-to-write 1", "config set min-replicas-to-write 0"),
    ("a replica without its master", "replicaof 127.0.0.1 1", "replicaof no one"),
    ("stale data is not served", "config set replica-serve-stale-data no", "config set replica-serve-stale-data yes"),
    ("replicas can be written to", "config set replica-read-only no", "config set replica-read-only yes"),
];

/// Commands of all kinds, in one line of talk: each is also asked in a transaction of its own.
const ASKED: &[&str] = &[
    "get k",
    "set k v",
    "ping",
    "del k",
    "lpush l a",
    "publish channel message",
    "flushall",
    "dbsize",
    "echo x",
    "select 0",
    "config get maxmemory",
    "client getname",
    "wait 0 0",
    "memory usage k",
    "unwatch",
    "watch k",
    "discard",
    "exec",
    "exec more",
    "get",
    "get k more",
    "nosuchcommand",
    "object nosuch k",
    "auth wrong",
    "hello 9",
    "debug set-active-expire 1",
    "acl whoami",
    "replconf capa nothing",
    "swapdb 0 0",
];

/// Those that change what the connection is, or would run long: asked in transactions only.
const QUEUED_ONLY: &[&str] =
    &["save", "monitor", "psync ? -1", "multi", "subscribe c", "ssubscribe c", "shutdown nosave"];

/// What transactions hold when the state changes under them.
const QUEUES: &[&str] =
    &["", "get k", "set k v", "ping", "del k", "publish channel message", "echo x", "unwatch", "config get save"];

/// A connection to each of both, which are told the same and must answer the same.
struct Talk([Client; 2]);

impl Talk {
    fn to(servers: &[Server; 2], authenticated: bool) -> Talk {
        let mut talk = Talk(servers.each_ref().map(|server| Client::connect(server.port())));
        if authenticated {
            talk.say("where all is well", &["auth secret"]);
        }
        talk
    }

    /// All in one go. Gives our replies.
    #[track_caller]
    fn say(&mut self, place: &str, lines: &[&str]) -> Vec<Reply> {
        for client in &mut self.0 {
            lines.iter().for_each(|line| client.send(&words(line)));
        }
        let mut replies = Vec::new();
        for (i, line) in lines.iter().enumerate() {
            let [mine, stock] = self.0.each_mut().map(Client::read);
            let before = &lines[i.saturating_sub(2)..i];
            assert_eq!(mine.to_string(), stock.to_string(), "{place}: `{line}` behind {before:?} (left: pando)");
            replies.push(mine);
        }
        replies
    }
}

/// In every way that a connection can be in: by itself, in a transaction, subscribed, and not authenticated.
#[track_caller]
fn ask_everything(servers: &[Server; 2], place: &str) {
    ask(servers, place, true);
    ask(servers, &format!("{place}, not authenticated"), false);
}

#[track_caller]
fn ask(servers: &[Server; 2], place: &str, authenticated: bool) {
    let mut lines = ASKED.to_vec();
    lines.extend(ASKED.iter().chain(QUEUED_ONLY).flat_map(|line| ["multi", line, "exec", "discard"]));
    lines.extend(["multi", "reset", "get k"]);
    Talk::to(servers, authenticated).say(place, &lines);
    let mut subscribed = vec!["subscribe channel"];
    // Messages and answers change places.
    subscribed.extend(ASKED.iter().filter(|line| !line.starts_with("publish")));
    subscribed.extend(["multi", "get k", "exec", "quit"]);
    Talk::to(servers, authenticated).say(&format!("{place}, subscribed"), &subscribed);
}

#[test]
fn of_several_refusals_the_one_that_stock_gives_comes_first() {
    let lines = ["requirepass secret", "save 3600 1", "enable-debug-command no", "maxmemory-policy noeviction"];
    let servers = [Kind::Pando, Kind::Stock70].map(|kind| Server::start(kind, &lines));
    for server in &servers {
        // Nothing can take this place.
        fs::create_dir(server.path("dump.rdb")).expect("a directory");
        server.check("set k v", "+OK");
        server.run("bgsave");
        wait_until("the save has failed", || server.info("persistence", "rdb_last_bgsave_status") == "err");
    }
    let mut admin = Talk::to(&servers, true);
    for mask in 0..1usize << STATES.len() {
        let (mut place, mut all_well) = (String::new(), Vec::new());
        let mut switches = Vec::new();
        for (i, (name, on, off)) in STATES.iter().enumerate() {
            let is_on = mask >> i & 1 == 1;
            switches.push(if is_on { *on } else { *off });
            all_well.push(*off);
            if is_on {
                place = format!("{place}{}{name}", if place.is_empty() { "" } else { ", " });
            }
        }
        admin.say(&place, &all_well);
        let mut queues: Vec<Talk> = QUEUES.iter().map(|_| Talk::to(&servers, true)).collect();
        for (talk, line) in queues.iter_mut().zip(QUEUES) {
            let queued = (!line.is_empty()).then_some(*line);
            talk.say("all is well", &["multi"].into_iter().chain(queued).collect::<Vec<_>>());
        }
        admin.say(&place, &switches);
        for (talk, line) in queues.iter_mut().zip(QUEUES) {
            talk.say(&format!("{place}, with `{line}` queued before"), &["exec", "exec"]);
        }
        ask_everything(&servers, &place);
    }
}

#[test]
fn while_a_server_loads_the_refusals_come_in_the_order_of_stock() {
    let source = Server::start(Kind::Stock70, &[]);
    source.check("debug populate 40000 key 1000", "+OK");
    source.check("save", "+OK");
    let lines = [
        "requirepass secret",
        "save 3600 1",
        "enable-debug-command no",
        "maxmemory-policy noeviction",
        // It goes on for more than a minute, and looks around all the time.
        "key-load-delay 2000",
        "loading-process-events-interval-bytes 1024",
    ];
    for role in ["a master", "a replica"] {
        let mut servers = [Kind::Pando, Kind::Stock70].map(|kind| {
            let mut all = lines.to_vec();
            all.extend((role == "a replica").then_some("replicaof 127.0.0.1 1"));
            Server::prepare(Port::reserve(), kind, &all)
        });
        for server in &mut servers {
            fs::copy(source.path("dump.rdb"), server.path("dump.rdb")).expect("a file");
            server.launch_loading();
        }
        let mut admin = Talk::to(&servers, true);
        // Each of those that can be had meanwhile, by itself, and all of them.
        let states = || STATES.iter().filter(|(name, on, _)| on.starts_with("config set") && *name != "a save failed");
        let one = |i: usize| states().enumerate().map(move |(n, (_, on, off))| if n == i { *on } else { *off });
        let mut combinations: Vec<Vec<&str>> = (0..=states().count()).map(|i| one(i).collect()).collect();
        combinations.push(states().map(|(_, on, _)| *on).collect());
        for switches in combinations {
            let place = format!("{role} that loads, {switches:?}");
            admin.say(&place, &switches);
            ask(&servers, &place, true);
        }
        ask(&servers, &format!("{role} that loads"), false);
        for server in &mut servers {
            assert_eq!(server.info("persistence", "loading"), "1", "it was loading to the end");
            server.crash();
        }
    }
}
