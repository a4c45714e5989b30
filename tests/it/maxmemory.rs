//! `maxmemory`: what goes when memory is short, what may not, and who is told.

use std::collections::BTreeSet;

use crate::harness::{Client, Kind, Reply, Server, wait_until};

/// Sets the limit so far above what is used now.
fn limit_at(server: &Server, more_bytes: i64) -> i64 {
    let limit = server.info_int("memory", "used_memory") + more_bytes;
    server.check(&format!("config set maxmemory {limit}"), "+OK");
    limit
}

fn keys(c: &mut Client) -> BTreeSet<String> {
    c.run("keys *").items().iter().map(Reply::text).collect()
}

/// Sends many commands without waiting for each; the errors among the replies.
fn send_all(c: &mut Client, commands: impl Iterator<Item = String>) -> Vec<String> {
    let mut errors = Vec::new();
    let lines: Vec<String> = commands.collect();
    for some in lines.chunks(500) {
        some.iter().for_each(|line| c.send(&line.split(' ').collect::<Vec<_>>()));
        errors.extend(some.iter().map(|_| c.read()).filter(Reply::is_error).map(|e| e.to_string()));
    }
    errors
}

const ALL: [&str; 7] =
    ["allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"];

#[test]
fn every_policy_keeps_memory_within_the_limit_and_spares_what_it_must() {
    for policy in ALL {
        let server = Server::start(Kind::Pando, &[&format!("maxmemory-policy {policy}")]);
        let mut c = server.client();
        let lasting = (0..500).map(|n| format!("set lasting:{n} {:0>100}", n));
        assert_eq!(send_all(&mut c, lasting), Vec::<String>::new());
        let limit = limit_at(&server, 200 << 10);
        let volatile = (0..6000).map(|n| format!("set volatile:{n} {:0>100} ex 10000", n));
        assert_eq!(send_all(&mut c, volatile), Vec::<String>::new(), "{policy}");
        wait_until("memory is within the limit", || server.info_int("memory", "used_memory") < limit + 4096);
        // Even the reply to KEYS takes memory.
        server.check("config set maxmemory 0", "+OK");
        let left = keys(&mut c);
        let evicted = server.info_int("stats", "evicted_keys");
        assert_eq!(left.len() as i64 + evicted, 6500, "{policy}");
        let lasting = left.iter().filter(|key| key.starts_with("lasting")).count();
        assert!(left.len() - lasting > 500, "{policy}: only {} are left", left.len() - lasting);
        if policy.starts_with("volatile") {
            assert_eq!(lasting, 500, "{policy}");
            // Nothing more may go when all that expires is gone.
            server.check(&format!("config set maxmemory {limit}"), "+OK");
            let errors = send_all(&mut c, (0..4000).map(|n| format!("set more:{n} {:0>100}", n)));
            assert!(!errors.is_empty(), "{policy}");
            assert!(errors.iter().all(|e| e == "-OOM command not allowed when used memory > 'maxmemory'."));
        }
    }
}

/// Stores a key with a history, through the payload of another.
fn restore(c: &mut Client, key: &str, payload: &[u8], history: &str) {
    let mut words = vec![b"RESTORE".to_vec(), key.as_bytes().to_vec(), b"0".to_vec(), payload.to_vec()];
    words.extend(history.split(' ').map(|w| w.as_bytes().to_vec()));
    assert_eq!(c.call(&words).to_string(), "+OK");
}

/// Of 3000 keys, where each has more claim to stay than the one before, about half went: the right half, nearly.
#[track_caller]
fn check_better_half(policy: &str, left: &BTreeSet<String>) {
    assert!((900..2000).contains(&left.len()), "{policy}: {} are left", left.len());
    let best = left.iter().filter(|key| key.parse::<usize>().unwrap() >= 3000 - left.len()).count();
    assert!(best * 100 > left.len() * 85, "{policy}: {best} of the {} that are left should be", left.len());
}

/// Keys with this history each, half of which must go.
fn check_history(policy: &str, history: impl Fn(usize) -> String) {
    let server = Server::start(Kind::Pando, &[&format!("maxmemory-policy {policy}")]);
    let mut c = server.client();
    c.call(&["SET", "model", &"x".repeat(200)]);
    let Reply::Bulk(payload) = c.run("dump model") else { panic!("DUMP") };
    c.run("del model");
    let before = server.info_int("memory", "used_memory");
    for n in 0..3000 {
        restore(&mut c, &format!("{n:04}"), &payload, &history(n));
    }
    let all = server.info_int("memory", "used_memory") - before;
    limit_at(&server, -all / 2);
    wait_until("about half is left", || server.run("dbsize").int() < 1600);
    server.check("config set maxmemory 0", "+OK");
    check_better_half(policy, &keys(&mut c));
}

#[test]
fn what_was_used_long_ago_or_seldom_goes_first() {
    check_history("allkeys-lru", |n| format!("IDLETIME {}", 100 + (3000 - n) * 10));
    check_history("allkeys-lfu", |n| format!("FREQ {}", n * 250 / 3000));
}

#[test]
fn what_expires_soonest_goes_first() {
    let server = Server::start(Kind::Pando, &["maxmemory-policy volatile-ttl"]);
    let mut c = server.client();
    let before = server.info_int("memory", "used_memory");
    let commands = (0..3000).map(|n| format!("set {n:04} {n:0>200} ex {}", 10_000 + n * 10));
    assert_eq!(send_all(&mut c, commands), Vec::<String>::new());
    let all = server.info_int("memory", "used_memory") - before;
    limit_at(&server, -all / 2);
    wait_until("about half is left", || server.run("dbsize").int() < 1600);
    server.check("config set maxmemory 0", "+OK");
    check_better_half("volatile-ttl", &keys(&mut c));
}

#[test]
fn without_eviction_what_needs_memory_is_refused_and_all_else_is_not() {
    let server = Server::start(Kind::Pando, &["maxmemory-policy noeviction"]);
    let mut c = server.client();
    c.run("set a 1");
    c.run("multi");
    c.run("incr a");
    let mut other = server.client();
    other.run("multi");
    other.run("get a");
    server.check("config set maxmemory 1", "+OK");
    // What is queued already is judged by what it asks for.
    c.check(
        "exec",
        "-EXECABORT Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'.",
    );
    other.check("get a", "-OOM command not allowed when used memory > 'maxmemory'.");
    other.check("exec", "-EXECABORT Transaction discarded because of previous errors.");
    c.script(
        r#"set b 2 => -OOM command not allowed when used memory > 'maxmemory'.
        setbit b 1 1 => -OOM command not allowed when used memory > 'maxmemory'.
        pfadd h a => -OOM command not allowed when used memory > 'maxmemory'.
        get a => $1
        expire a 100 => :1
        del a => :1
        multi => +OK
        discard => +OK
        config set maxmemory 0 => +OK
        set b 2 => +OK"#,
    );
    assert_eq!(server.info_int("stats", "evicted_keys"), 0);
}

#[test]
fn replicas_are_told_what_went_and_listeners_too() {
    for (lazy, word) in [("no", "DEL"), ("yes", "UNLINK")] {
        let master = Server::start(
            Kind::Pando,
            &[
                "maxmemory-policy allkeys-lru",
                "notify-keyspace-events Ee",
                "repl-backlog-size 16kb",
                &format!("lazyfree-lazy-eviction {lazy}"),
            ],
        );
        let replica = Server::start(Kind::Stock70, &[&format!("replicaof 127.0.0.1 {}", master.port())]);
        wait_until("the replica follows", || replica.info("replication", "master_link_status") == "up");
        let (mut c, mut ear) = (master.client(), master.client());
        ear.check("subscribe __keyevent@0__:evicted", "[$subscribe $__keyevent@0__:evicted :1]");
        limit_at(&master, 300 << 10);
        let (mut told, mut heard) = (BTreeSet::new(), 0);
        let mut listen = || {
            // What a listener has not read yet takes memory of its own.
            let evicted = master.info_int("stats", "evicted_keys");
            told.extend((heard..evicted).map(|_| ear.read().items()[2].text()));
            heard = evicted;
            heard
        };
        for some in 0..16 {
            let commands = (some * 250..(some + 1) * 250).map(|n| format!("set k:{n} {n:0>100}"));
            assert_eq!(send_all(&mut c, commands), Vec::<String>::new());
            listen();
        }
        // Nothing goes any more, so that what is told and what is there can be compared; a turn may be under way yet.
        master.check("config set maxmemory 0", "+OK");
        let stat = format!("cmdstat_{}", word.to_lowercase());
        wait_until(&format!("the replica has seen a {word} for each"), || {
            replica.info("commandstats", &stat).starts_with(&format!("calls={},", listen()))
        });
        wait_until("the replica has it all", || master.digest() == replica.digest());
        let evicted = listen();
        assert!(evicted > 500, "{evicted}");
        assert_eq!(told.len() as i64, evicted, "each key went once");
    }
}

#[test]
fn a_replica_leaves_eviction_to_its_master_unless_told_otherwise() {
    let master = Server::start(Kind::Stock70, &[]);
    let replica = Server::start(
        Kind::Pando,
        &[&format!("replicaof 127.0.0.1 {}", master.port()), "maxmemory-policy allkeys-lru"],
    );
    wait_until("the replica follows", || replica.info("replication", "master_link_status") == "up");
    limit_at(&replica, 50 << 10);
    let mut c = master.client();
    send_all(&mut c, (0..2000).map(|n| format!("set k:{n} {n:0>100}")));
    wait_until("the replica has it all", || master.digest() == replica.digest());
    replica.check("dbsize", ":2000");
    replica.check("config set replica-ignore-maxmemory no", "+OK");
    wait_until("the replica evicts of itself", || replica.run("dbsize").int() < 1900);
    master.check("dbsize", ":2000");
}

#[test]
fn small_integers_are_shared_unless_each_needs_a_history() {
    Server::start(Kind::Pando, &[]).script(
        r#"set a 1 => +OK
        set b 10000 => +OK
        object refcount a => :2147483647
        object refcount b => :1
        config set maxmemory-policy allkeys-lru => +OK
        object refcount a => :2147483647
        config set maxmemory 1gb => +OK
        object refcount a => :1
        object freq a => -ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.
        config set maxmemory-policy volatile-lfu => +OK
        object idletime a => -ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.
        set c x => +OK
        object freq c => :5
        config set maxmemory-policy volatile-ttl => +OK
        object refcount a => :2147483647
        set d x => +OK
        object idletime d => :0
        setbit bits 7 1 => :0
        object idletime bits => :0
        object encoding bits => $raw"#,
    );
}

/// Begins a request with a large argument and does not end it.
fn begin_large(c: &mut Client, bytes: usize) {
    let mut half = format!("*2\r\n${bytes}\r\n").into_bytes();
    half.resize(half.len() + bytes, b'x');
    // Who is too large is hung up on before all is sent.
    let _ = c.try_send_raw(&half);
}

fn named(server: &Server, name: &str) -> bool {
    server.run("client list").text().contains(&format!(" name={name} "))
}

#[test]
fn clients_leave_largest_first_until_their_buffers_are_within_the_limit() {
    let server = Server::start(Kind::Pando, &[]);
    let mut clients: Vec<Client> = (0..6).map(|_| server.client()).collect();
    for (n, c) in clients.iter_mut().enumerate() {
        c.check(&format!("client setname c{n}"), "+OK");
        if n == 5 {
            c.check("client no-evict on", "+OK");
        }
        begin_large(c, (n + 1) * 400_000);
    }
    let memory = || server.info_int("memory", "mem_clients_normal");
    wait_until("all of it was read", || memory() > 21 * 400_000);
    assert_eq!(server.info_int("stats", "evicted_clients"), 0);
    // Room for the one that may not be evicted and for the three smallest.
    server.check("config set maxmemory-clients 5500000", "+OK");
    let left: Vec<bool> = (0..6).map(|n| named(&server, &format!("c{n}"))).collect();
    assert_eq!(left, [true, true, true, false, false, true]);
    assert_eq!(server.info_int("stats", "evicted_clients"), 2);
    wait_until("what they had is free", || memory() < 5_500_000);
    // Whoever now takes too much leaves itself.
    let mut c = server.client();
    c.check("client setname late", "+OK");
    begin_large(&mut c, 3_000_000);
    wait_until("it is gone", || !named(&server, "late"));
    server.check("config set maxmemory-clients 0", "+OK");
    server.check("ping", "+PONG");
}

#[test]
fn a_share_of_maxmemory_limits_clients_too() {
    let server = Server::start(Kind::Pando, &["maxmemory 20mb", "maxmemory-clients 10%"]);
    let mut c = server.client();
    c.check("client setname large", "+OK");
    begin_large(&mut c, 2 << 20);
    wait_until("it is gone", || !named(&server, "large"));
    server.check("config get maxmemory-clients", "[$maxmemory-clients $10%]");
}

#[test]
fn idle_clients_give_their_query_buffers_back() {
    let server = Server::start(Kind::Pando, &["hz 100"]);
    let mut c = server.client();
    c.check("client setname idle", "+OK");
    begin_large(&mut c, 100);
    let field = |name: &str| -> usize {
        let list = server.run("client list").text();
        let line = list.lines().find(|line| line.contains(" name=idle ")).expect("it is connected");
        let value = line.split(' ').find_map(|word| word.strip_prefix(name)).expect("a field of CLIENT LIST");
        value.parse().expect("a number")
    };
    wait_until("half a request came", || field("qbuf=") >= 100);
    assert!(field("qbuf-free=") > 10_000);
    wait_until("the room for more is given back", || field("qbuf-free=") < 1024);
    // Nothing of it is lost.
    c.send_raw(b"\r\n$1\r\nx\r\n");
    assert!(c.read().to_string().starts_with("-ERR unknown command 'xxx"));
}

#[test]
fn no_key_goes_for_what_clients_leave_unread() {
    // Room for three times what clients may take.
    let server = Server::start(Kind::Pando, &["maxmemory-policy allkeys-lru", "maxmemory-clients 3mb"]);
    let mut c = server.client();
    c.check("client no-evict on", "+OK");
    (0..50).for_each(|n| _ = c.run(&format!("setrange {n} 100000 x")));
    limit_at(&server, 9 << 20);
    let mut deaf: Vec<Client> = (0..20).map(|_| server.client()).collect();
    deaf.iter_mut().for_each(|d| _ = d.run("subscribe news"));
    let news = format!("publish news {}", "x".repeat(100_000));
    // Nobody waits for their tasks: what is published counts at once.
    while server.info_int("stats", "evicted_clients") < 20 {
        c.run(&news);
    }
    assert_eq!((server.info_int("stats", "evicted_keys"), c.run("dbsize").int()), (0, 50));
}
