//! Blocking commands: who is served, when, in which order, and what others see of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::harness::{Client, Kind, Reply, Server, converge, follow, link_up, wait_until};

fn server() -> Server {
    Server::start(Kind::Pando, &["io-threads 3"])
}

/// Waits until so many clients are blocked.
#[track_caller]
fn blocked(server: &Server, n: i64) {
    wait_until(&format!("{n} clients are blocked"), || server.info_int("clients", "blocked_clients") == n);
}

/// Waits until no key is waited for any more.
#[track_caller]
fn all_left(server: &Server) {
    wait_until("no key is waited for", || server.info_int("clients", "total_blocking_keys") == 0);
}

/// A client for each line, each blocked in it before the next comes.
#[track_caller]
fn waiting(server: &Server, lines: &[&str]) -> Vec<Client> {
    let before = server.info_int("clients", "blocked_clients");
    let mut clients = Vec::new();
    for line in lines {
        let mut c = server.client();
        c.send(&line.split_ascii_whitespace().collect::<Vec<_>>());
        clients.push(c);
        blocked(server, before + clients.len() as i64);
    }
    clients
}

#[track_caller]
fn gets(client: &mut Client, expect: &str) {
    assert_eq!(client.read().to_string(), expect);
}

#[test]
fn who_came_first_is_served_first_whatever_worker_serves_it() {
    let s = server();
    let mut waiters = waiting(&s, &["blpop q 0"; 6]);
    s.check("rpush q 1 2 3 4", ":4");
    for (i, c) in waiters.iter_mut().take(4).enumerate() {
        gets(c, &format!("[$q ${}]", i + 1));
    }
    blocked(&s, 2);
    s.check("exists q", ":0");
    s.check("rpush q 5", ":1");
    gets(&mut waiters[4], "[$q $5]");
    s.check("rpush q 6 7", ":2");
    gets(&mut waiters[5], "[$q $6]");
    s.check("lrange q 0 -1", "[$7]");
    all_left(&s);
}

#[test]
fn a_client_at_several_keys_is_served_once_and_by_its_own_order() {
    let s = server();
    let mut one = waiting(&s, &["brpop a b c 0"]);
    assert_eq!(s.info_int("clients", "total_blocking_keys"), 3);
    assert_eq!(s.info_int("clients", "clients_in_timeout_table"), 0);
    s.script("multi => +OK\n rpush c 1 => +QUEUED\n rpush b 2 => +QUEUED\n exec => [:1 :1]");
    gets(&mut one[0], "[$b $2]");
    s.script("rpush a 3 => :1\n lrange a 0 -1 => [$3]\n lrange c 0 -1 => [$1]\n exists b => :0");
    blocked(&s, 0);
    all_left(&s);
}

#[test]
fn a_key_named_twice_is_waited_for_once() {
    let s = server();
    let mut one = waiting(&s, &["blpop a a a 0"]);
    assert_eq!(s.info_int("clients", "total_blocking_keys"), 1);
    s.check("rpush a 1 2", ":2");
    gets(&mut one[0], "[$a $1]");
    s.check("lrange a 0 -1", "[$2]");
}

#[test]
fn what_serving_one_brings_about_serves_the_next_in_the_same_go() {
    let s = server();
    let mut all = waiting(&s, &["blpop d 0", "blmove c d left right 0", "blmove b c right left 0", "brpoplpush a b 0"]);
    s.check("rpush a x", ":1");
    gets(&mut all[3], "$x");
    gets(&mut all[2], "$x");
    gets(&mut all[1], "$x");
    gets(&mut all[0], "[$d $x]");
    s.check("exists a b c d", ":0");
}

#[test]
fn a_circle_of_moves_comes_to_an_end() {
    let s = server();
    let mut all = waiting(&s, &["brpoplpush a b 0", "brpoplpush b a 0", "blmove a a left right 0"]);
    s.check("rpush a x", ":1");
    for c in &mut all {
        gets(c, "$x");
    }
    s.script("lrange a 0 -1 => [$x]\n exists b => :0");
}

#[test]
fn a_transaction_is_seen_when_it_is_over() {
    let s = server();
    let mut all = waiting(&s, &["blpop q 0", "blpop q 0"]);
    s.script("multi => +OK\n lpush q a => +QUEUED\n del q => +QUEUED\n exec => [:1 :1]");
    s.script("multi => +OK\n lpush q a => +QUEUED\n lpush q b => +QUEUED\n exec => [:1 :2]");
    gets(&mut all[0], "[$q $b]");
    gets(&mut all[1], "[$q $a]");
}

#[test]
fn inside_a_transaction_nobody_waits() {
    let s = server();
    let mut c = s.client();
    c.script(
        "multi => +OK
         blpop none 0 => +QUEUED
         brpoplpush none other 0 => +QUEUED
         blmove none other left right 0 => +QUEUED
         blmpop 0 1 none left => +QUEUED
         bzpopmin none 0 => +QUEUED
         bzmpop 0 1 none max => +QUEUED
         xread block 0 streams none $ => +QUEUED
         exec => [*nil $nil $nil *nil *nil *nil *nil]",
    );
    s.check("dbsize", ":0");
}

#[test]
fn the_time_is_kept() {
    let s = server();
    let mut c = s.client();
    for (line, ms) in [
        ("blpop none 0.1", 100),
        ("blpop none more 0.05", 50),
        ("blmove none other left right 0.05", 50),
        ("brpoplpush none other 0.05", 50),
        ("blmpop 0.05 1 none left", 50),
        ("bzpopmax none 0.05", 50),
        ("bzmpop 0.05 1 none min", 50),
        ("xread block 50 streams none $", 50),
    ] {
        #[allow(clippy::disallowed_methods, reason = "a test measures real time")]
        let start = Instant::now();
        c.check(line, "*nil");
        assert!(start.elapsed() >= Duration::from_millis(ms), "{line} took {:?}", start.elapsed());
    }
    c.run("hello 3");
    c.check("blpop none 0.01", "_");
    c.check("blmove none other left right 0.01", "_");
    blocked(&s, 0);
    all_left(&s);
    c.check("blpop none -1", "-ERR timeout is negative");
    c.check("blpop none x", "-ERR timeout is not a float or out of range");
    c.check("blpop none 99999999999999999999", "-ERR timeout is out of range");
    c.check("xread block -1 streams none $", "-ERR timeout is negative");
}

#[test]
fn what_is_pipelined_behind_a_blocked_command_waits_for_it() {
    let s = server();
    let mut c = s.client();
    c.send_raw(b"set k 1\r\nblpop q 0\r\nincr k\r\nblpop q 0\r\nincr k\r\n");
    gets(&mut c, "+OK");
    blocked(&s, 1);
    s.check("get k", "$1");
    s.check("rpush q a", ":1");
    gets(&mut c, "[$q $a]");
    gets(&mut c, ":2");
    s.check("rpush q b", ":1");
    gets(&mut c, "[$q $b]");
    gets(&mut c, ":3");
}

#[test]
fn unblock_ends_a_wait_and_tells_whether_it_did() {
    let s = server();
    let mut c = s.client();
    let id = c.run("client id").int();
    let (timeout, error) = (format!("client unblock {id}"), format!("client unblock {id} error"));
    s.check(&timeout, ":0");
    for (command, reply) in [("blpop q 0", "*nil"), ("xread block 0 streams q $", "*nil"), ("wait 1 0", ":0")] {
        let words: Vec<&str> = command.split(' ').collect();
        c.send(&words);
        blocked(&s, 1);
        assert!(s.run("client list").text().contains(" flags=b "));
        s.check(&timeout, ":1");
        s.check(&timeout, ":0");
        gets(&mut c, reply);
        c.send(&words);
        blocked(&s, 1);
        s.check(&error, ":1");
        gets(&mut c, "-UNBLOCKED client unblocked via CLIENT UNBLOCK");
    }
    blocked(&s, 0);
    // A reply that came by another way leaves nothing behind that could end the next wait.
    c.send(&["blpop", "q", "0"]);
    blocked(&s, 1);
    s.check("rpush q a", ":1");
    gets(&mut c, "[$q $a]");
    c.check("blpop q 0.05", "*nil");
}

#[test]
fn nothing_is_popped_for_a_client_that_was_killed_or_has_left() {
    let s = server();
    let mut c = s.client();
    let id = c.run("client id").int();
    c.send(&["blpop", "q", "0"]);
    blocked(&s, 1);
    s.script(&format!("client kill id {id} => :1\n rpush q a => :1\n lrange q 0 -1 => [$a]\n del q => :1"));
    let left = waiting(&s, &["blpop q 0"]);
    drop(left);
    blocked(&s, 0);
    s.script("rpush q a => :1\n lrange q 0 -1 => [$a]");
    all_left(&s);
}

#[test]
fn only_the_right_type_is_of_use() {
    let s = server();
    let mut all = waiting(&s, &["blpop k 0", "bzpopmin k 0", "blmove k other left right 0"]);
    s.script("set k v => +OK\n del k => :1\n sadd k v => :1\n del k => :1\n zadd k 1 z => :1");
    gets(&mut all[1], "[$k $z $1]");
    s.script("set other v => +OK\n rpush k a b c => :3");
    gets(&mut all[0], "[$k $a]");
    gets(&mut all[2], "-WRONGTYPE Operation against a key holding the wrong kind of value");
    s.check("lrange k 0 -1", "[$b $c]");
    s.client().check("blpop other 0", "-WRONGTYPE Operation against a key holding the wrong kind of value");
}

#[test]
fn a_key_may_come_to_be_in_any_way() {
    let s = server();
    let mut c = s.client();
    c.script("rpush src a => :1\n rpush keep b => :1\n sadd set 3 1 2 => :3\n zadd z 1 m => :1");
    let dump = c.run("dump src");
    let Reply::Bulk(dump) = dump else { panic!("{dump}") };

    let mut w = waiting(&s, &["blpop dst 0"]);
    c.check("rename src dst", "+OK");
    gets(&mut w[0], "[$dst $a]");

    let mut w = waiting(&s, &["blpop dst 0"]);
    c.check("copy keep dst", ":1");
    gets(&mut w[0], "[$dst $b]");

    let mut w = waiting(&s, &["blpop dst 0"]);
    assert_eq!(c.call(&[&b"restore"[..], b"dst", b"0", &dump]).to_string(), "+OK");
    gets(&mut w[0], "[$dst $a]");

    let mut w = waiting(&s, &["blpop dst 0"]);
    c.check("sort set store dst", ":3");
    gets(&mut w[0], "[$dst $1]");
    c.check("del dst", ":1");

    let mut w = waiting(&s, &["bzpopmax dst 0"]);
    c.check("zunionstore dst 1 z", ":1");
    gets(&mut w[0], "[$dst $m $1]");

    let mut other = s.client();
    other.check("select 1", "+OK");
    other.send(&["blpop", "keep", "0"]);
    blocked(&s, 1);
    c.check("rpush keep x", ":2");
    c.check("move keep 1", ":1");
    gets(&mut other, "[$keep $b]");
    other.check("lrange keep 0 -1", "[$x]");

    let mut w = waiting(&s, &["blpop keep 0"]);
    c.check("swapdb 0 1", "+OK");
    gets(&mut w[0], "[$keep $x]");
}

#[test]
fn a_reader_of_a_group_learns_that_its_stream_is_gone() {
    let s = server();
    let mut c = s.client();
    let gone = "-NOGROUP";
    let read = "xreadgroup group g me block 0 streams st >";
    for (how, words) in [
        ("del st", gone),
        ("flushall", gone),
        ("flushdb", gone),
        ("rename st elsewhere", gone),
        ("set st v", "-WRONGTYPE"),
        ("swapdb 0 5", gone),
        ("xgroup destroy st g", gone),
        ("pexpire st 1", gone),
    ] {
        c.run("flushall");
        c.run("xgroup create st g $ mkstream");
        let mut plain = waiting(&s, &["xread block 0 streams st $"]);
        let mut w = waiting(&s, &[read]);
        assert_eq!(s.info_int("clients", "total_blocking_keys_on_nokey"), 1);
        c.run(how);
        let reply = w[0].read().to_string();
        assert!(reply.starts_with(words), "{how}: {reply}");
        blocked(&s, 1);
        c.run("del st");
        c.run("xadd st 1-1 f v");
        gets(&mut plain[0], "[[$st [[$1-1 [$f $v]]]]]");
    }
}

#[test]
fn every_reader_of_a_stream_is_served_but_one_of_a_group_gets_the_entry() {
    let s = server();
    let mut c = s.client();
    c.run("xgroup create st g $ mkstream");
    let mut all = waiting(
        &s,
        &[
            "xreadgroup group g one block 0 streams st >",
            "xread block 0 streams st $",
            "xreadgroup group g two block 0 streams st >",
            "xread block 0 streams other st $ 5-0",
            "xread count 1 block 0 streams st $",
        ],
    );
    c.check("xadd st 1-0 f v", "$1-0");
    gets(&mut all[0], "[[$st [[$1-0 [$f $v]]]]]");
    gets(&mut all[1], "[[$st [[$1-0 [$f $v]]]]]");
    gets(&mut all[4], "[[$st [[$1-0 [$f $v]]]]]");
    blocked(&s, 2);
    c.check("xadd st 6-0 f w", "$6-0");
    gets(&mut all[2], "[[$st [[$6-0 [$f $w]]]]]");
    gets(&mut all[3], "[[$st [[$6-0 [$f $w]]]]]");
    blocked(&s, 0);
}

#[test]
fn the_database_is_the_one_selected_when_the_wait_began() {
    let s = server();
    let mut c = s.client();
    c.check("select 3", "+OK");
    c.send(&["blpop", "q", "0"]);
    blocked(&s, 1);
    let mut p = s.client();
    p.script("rpush q a => :1\n llen q => :1\n select 3 => +OK\n rpush q b => :1\n llen q => :0");
    gets(&mut c, "[$q $b]");
}

#[test]
fn a_wait_is_counted_when_it_is_over_and_shown_when_it_begins() {
    let s = server();
    let mut monitor = s.client();
    monitor.check("monitor", "+OK");
    let mut w = waiting(&s, &["blpop q 0", "blpop q 0"]);
    assert!(s.run("info commandstats").text().lines().all(|l| !l.starts_with("cmdstat_blpop")));
    s.check("rpush q a", ":1");
    gets(&mut w[0], "[$q $a]");
    let stat = |field: &str| {
        let text = s.run("info commandstats").text();
        let line = text.lines().find(|l| l.starts_with("cmdstat_blpop:")).unwrap_or_default().to_owned();
        line.contains(field)
    };
    assert!(stat("calls=1,") && stat("failed_calls=0"));
    let id = w[1].is_blocked_as(&s);
    s.check(&format!("client unblock {id} error"), ":1");
    gets(&mut w[1], "-UNBLOCKED client unblocked via CLIENT UNBLOCK");
    wait_until("the second is counted", || stat("calls=2,") && stat("failed_calls=1"));
    assert_eq!(s.info("errorstats", "errorstat_UNBLOCKED"), "count=1");
    s.check("ping end", "$end");
    let mut seen = 0;
    loop {
        let line = monitor.read().text();
        seen += usize::from(line.contains("\"blpop\""));
        if line.contains("\"ping\" \"end\"") {
            break;
        }
    }
    assert_eq!(seen, 2);
}

trait BlockedAs {
    fn is_blocked_as(&self, server: &Server) -> i64;
}

impl BlockedAs for Client {
    /// The number of the only client that is blocked.
    fn is_blocked_as(&self, server: &Server) -> i64 {
        let list = server.run("client list").text();
        let line = list.lines().find(|l| l.contains(" flags=b ")).expect("a blocked client");
        line.split([' ', '=']).nth(1).and_then(|id| id.parse().ok()).expect("its number")
    }
}

#[test]
fn a_muted_client_is_served_without_a_word() {
    let s = server();
    let mut c = s.client();
    c.send_raw(b"client reply skip\r\nblpop q 0\r\nping\r\n");
    blocked(&s, 1);
    s.check("rpush q a", ":1");
    gets(&mut c, "+PONG");
    c.send_raw(b"client reply off\r\nblpop q 0\r\n");
    blocked(&s, 1);
    s.check("rpush q b", ":1");
    blocked(&s, 0);
    c.send_raw(b"client reply on\r\n");
    gets(&mut c, "+OK");
    s.check("exists q", ":0");
}

#[test]
fn while_writes_are_paused_nobody_pushes_and_the_time_runs_on() {
    let s = server();
    let mut w = waiting(&s, &["blpop q 0", "blpop q 0.15"]);
    s.check("client pause 10000 write", "+OK");
    let mut p = s.client();
    p.send(&["rpush", "q", "a"]);
    gets(&mut w[1], "*nil");
    s.check("client unpause", "+OK");
    gets(&mut p, ":1");
    gets(&mut w[0], "[$q $a]");
}

#[test]
fn a_master_that_turns_replica_sends_everybody_away() {
    let (s, master) = (server(), server());
    let mut w = waiting(&s, &["blpop q 0", "xread block 0 streams st $", "wait 1 0"]);
    follow(&s, &master);
    for c in &mut w {
        gets(c, "-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)");
        assert!(c.is_closed());
    }
    link_up(&s);
    blocked(&s, 0);
}

#[test]
fn who_waits_at_a_master_that_hands_over_is_sent_away() {
    let (old, new) = (server(), server());
    follow(&new, &old);
    let mut w = waiting(&old, &["blpop q 0"]);
    wait_until("the replica is known", || old.info("replication", "connected_slaves") == "1");
    old.check("failover", "+OK");
    let reply = w[0].read().to_string();
    assert!(reply.starts_with("-UNBLOCKED "), "{reply}");
    wait_until("the replica leads", || new.run("role").items()[0].text() == "master");
    let mut w = waiting(&new, &["blpop q 0"]);
    new.check("rpush q a", ":1");
    gets(&mut w[0], "[$q $a]");
    link_up(&old);
    converge(&[&new, &old]);
}

#[test]
fn a_replica_serves_its_readers_from_the_masters_stream() {
    let (master, replica) = (server(), server());
    master.check("xadd st 1-0 f v", "$1-0");
    follow(&replica, &master);
    link_up(&replica);
    let mut w = waiting(&replica, &["xread block 0 streams st $"]);
    replica.client().check("blpop q 0", "-READONLY You can't write against a read only replica.");
    master.check("xadd st 2-0 f w", "$2-0");
    gets(&mut w[0], "[[$st [[$2-0 [$f $w]]]]]");
    let mut w = waiting(&replica, &["xread block 0 streams st $"]);
    master.script("multi => +OK\n xadd st 3-0 f x => +QUEUED\n exec => [$3-0]");
    gets(&mut w[0], "[[$st [[$3-0 [$f $x]]]]]");
}

#[test]
fn replicas_are_told_what_was_popped_behind_what_was_pushed() {
    for kind in [Kind::Stock70, Kind::Pando] {
        let (master, replica) = (server(), Server::start(kind, &[]));
        follow(&replica, &master);
        link_up(&replica);
        let mut lists = waiting(
            &master,
            &[
                "blpop a 0",
                "brpop a 0",
                "blmove a b left right 0",
                "brpoplpush b c 0",
                "blmpop 0 2 none a left count 2",
                "bzpopmin z 0",
                "bzpopmax z 0",
                "bzmpop 0 1 z min count 2",
            ],
        );
        master.check("rpush a 1 2 3 4 5 6", ":6");
        master.check("zadd z 1 a 2 b 3 c 4 d 5 e", ":5");
        let expect =
            ["[$a $1]", "[$a $6]", "$2", "$2", "[$a [$3 $4]]", "[$z $a $1]", "[$z $e $5]", "[$z [[$b $2] [$c $3]]]"];
        for (c, reply) in lists.iter_mut().zip(expect) {
            gets(c, reply);
        }
        master.run("xgroup create st g $ mkstream");
        let mut w = waiting(&master, &["xreadgroup group g me block 0 streams st >"]);
        master.check("xadd st 1-0 f v", "$1-0");
        gets(&mut w[0], "[[$st [[$1-0 [$f $v]]]]]");
        converge(&[&master, &replica]);
        replica.script("lrange a 0 -1 => [$5]\n lrange c 0 -1 => [$2]\n exists b => :0\n zcard z => :1");
        let stats = replica.run("info commandstats").text();
        for told in ["lpop", "rpop", "lmove", "zpopmin", "zpopmax", "xclaim"] {
            assert!(stats.contains(&format!("cmdstat_{told}:")), "{kind:?} was told {told}");
        }
        for untold in ["blpop", "blmove", "blmpop", "bzpopmin", "xreadgroup"] {
            assert!(!stats.contains(&format!("cmdstat_{untold}:")), "{kind:?} was told {untold}");
        }
    }
}

#[test]
fn events_tell_the_push_before_the_pop() {
    let s = Server::start(Kind::Pando, &["notify-keyspace-events KEA"]);
    let mut listener = s.client();
    listener.check("psubscribe __keyevent@0__:*", "[$psubscribe $__keyevent@0__:* :1]");
    let mut w = waiting(&s, &["blpop q 0", "blmove q r left right 0", "blpop r 0"]);
    s.check("rpush q a b", ":2");
    w.iter_mut().for_each(|c| drop(c.read()));
    let mut seen = Vec::new();
    for _ in 0..7 {
        let message = listener.read();
        let words: Vec<String> = message.items().iter().map(Reply::text).collect();
        seen.push(format!("{} {}", words[2].rsplit(':').next().unwrap_or_default(), words[3]));
    }
    assert_eq!(seen, ["rpush q", "lpop q", "rpush r", "lpop q", "del q", "lpop r", "del r"]);
}

#[test]
fn every_class_of_event_is_told_if_asked_for() {
    let s = Server::start(Kind::Pando, &[]);
    let mut c = s.client();
    let mut listener = s.client();
    listener.run("psubscribe __key*");
    for (flags, told) in [
        ("Eg", "expire s|rename_from s|rename_to x|del x|expire p|expire p"),
        ("E$", "set s|set p|set p"),
        ("El", "lpush l|lpop l"),
        ("Es", "sadd e|srem e"),
        ("Eh", "hset h|hdel h"),
        ("Ez", "zadd z|zrem z"),
        ("Et", "xadd t"),
        ("Ex", "expired p"),
        ("Ee", "evicted p"),
        ("Em", "keymiss none|keymiss p|keymiss p"),
        ("En", "new s|new l|new e|new h|new z|new t|new x|new p|new p"),
        ("KE", ""),
        ("A", ""),
    ] {
        c.run("flushall");
        c.call(&["config", "set", "notify-keyspace-events", flags]);
        for line in [
            "set s v",
            "expire s 100",
            "lpush l a",
            "lpop l",
            "sadd e a",
            "srem e a",
            "hset h f v",
            "hdel h f",
            "zadd z 1 a",
            "zrem z a",
            "xadd t 1-1 f v",
            "get none",
            "rename s x",
            "del x",
        ] {
            assert!(!c.run(line).is_error(), "{line}");
        }
        c.run("set p v px 1");
        wait_until("it expires", || c.run("exists p").int() == 0);
        c.run("config set maxmemory-policy volatile-random");
        c.run("set p v ex 100");
        c.run("config set maxmemory 1");
        wait_until("it is evicted", || c.run("exists p").int() == 0);
        c.run("config set maxmemory 0");
        c.call(&["config", "set", "notify-keyspace-events", "Kg"]);
        c.run("set end v");
        c.run("persist end");
        c.run("del end");
        let mut seen = Vec::new();
        loop {
            let words: Vec<String> = listener.read().items().iter().map(Reply::text).collect();
            if words[2].ends_with(":end") {
                break;
            }
            seen.push(format!("{} {}", words[2].rsplit(':').next().unwrap_or_default(), words[3]));
        }
        // What empties a collection deletes its key.
        if flags == "Eg" {
            seen.retain(|event| !["del l", "del e", "del h", "del z"].contains(&event.as_str()));
        }
        assert_eq!(seen.join("|"), told, "{flags}");
    }
}

#[test]
fn what_a_command_tells_its_own_client_comes_behind_its_reply() {
    let s = Server::start(Kind::Pando, &["notify-keyspace-events Kg$l"]);
    let mut c = s.client();
    c.run("hello 3");
    c.check("psubscribe __key*", ">[$psubscribe $__key* :1]");
    c.send_raw(b"multi\r\nset k v\r\nping\r\nexec\r\nping after\r\n");
    for expect in ["+OK", "+QUEUED", "+QUEUED", "[+OK +PONG]"] {
        gets(&mut c, expect);
    }
    gets(&mut c, ">[$pmessage $__key* $__keyspace@0__:k $set]");
    gets(&mut c, "$after");
}

/// What is pushed while somebody waits is never seen by those who come later, on whatever worker they are.
#[test]
fn nobody_overtakes_who_waits_already() {
    let s = server();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let thieves: Vec<_> = ["lpop b", "rpop x", "lmove b c left right", "del x", "rename b elsewhere"]
            .into_iter()
            .map(|line| {
                let (s, done) = (&s, &done);
                scope.spawn(move || {
                    let mut c = s.client();
                    while !done.load(Relaxed) {
                        let reply = c.run(line).to_string();
                        assert!(["$nil", ":0", "-ERR no such key"].contains(&&*reply), "{line} got {reply}");
                    }
                })
            })
            .collect();
        let (mut waiter, mut other, mut pusher) = (s.client(), s.client(), s.client());
        for i in 0..150 {
            waiter.send(&["blmove", "b", "x", "left", "right", "0"]);
            other.send(&["brpop", "x", "y", "z", "0"]);
            waits_in(&s, "blmove");
            waits_in(&s, "brpop");
            pusher.check(&format!("rpush b {i}"), ":1");
            gets(&mut waiter, &format!("${i}"));
            gets(&mut other, &format!("[$x ${i}]"));
        }
        done.store(true, Relaxed);
        thieves.into_iter().for_each(|t| t.join().expect("a thief"));
    });
}

/// Waits until a client is blocked in such a command.
#[track_caller]
fn waits_in(server: &Server, command: &str) {
    let cmd = format!(" cmd={command} ");
    wait_until(&format!("a client waits in {command}"), || {
        let list = server.run("client list").text();
        list.lines().any(|l| l.contains(&cmd) && l.contains(" flags=b "))
    });
}

/// Producers and consumers at full speed, with waits that end just when something comes: every element is had once.
#[test]
fn nothing_is_lost_and_nothing_is_had_twice() {
    const PRODUCERS: usize = 4;
    const CONSUMERS: usize = 12;
    const EACH: usize = 1500;
    let master = server();
    let replica = Server::start(Kind::Stock70, &[]);
    follow(&replica, &master);
    link_up(&replica);
    let (done, had) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut all: BTreeMap<String, usize> = BTreeMap::new();
    std::thread::scope(|scope| {
        let consumers: Vec<_> = (0..CONSUMERS)
            .map(|n| {
                let (master, done, had) = (&master, &done, &had);
                scope.spawn(move || {
                    let mut c = master.client();
                    let mut mine = Vec::new();
                    let lines: &[&str] = match n % 4 {
                        0 => &["blpop q1 q2 q3 0.001", "brpop q2 0.002"],
                        1 => &["blmpop 0.003 3 q3 q2 q1 left count 3"],
                        2 => &["blmove q1 own left right 0.001", "blpop q3 q1 0.001"],
                        _ => &["brpop q3 q2 0.05"],
                    };
                    while !done.load(Relaxed) {
                        for line in lines {
                            let reply = c.run(line);
                            let values: Vec<String> = match &reply {
                                Reply::NilArray => Vec::new(),
                                Reply::Bulk(_) => vec![reply.text()],
                                Reply::Array(items) => match &items[1] {
                                    Reply::Array(many) => many.iter().map(Reply::text).collect(),
                                    one => vec![one.text()],
                                },
                                other => panic!("{line}: {other}"),
                            };
                            had.fetch_add(values.len(), Relaxed);
                            mine.extend(values);
                        }
                    }
                    mine
                })
            })
            .collect();
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|n| {
                let master = &master;
                scope.spawn(move || {
                    let mut c = master.client();
                    for i in 0..EACH {
                        let (key, value) = (format!("q{}", (i + n) % 3 + 1), format!("{n}-{i}"));
                        match i % 5 {
                            0 => c.script(&format!("multi => +OK\n lpush {key} {value} => +QUEUED")),
                            _ => drop(c.call(&["rpush", &key, &value])),
                        }
                        if i % 5 == 0 {
                            c.run("exec");
                        }
                    }
                })
            })
            .collect();
        producers.into_iter().for_each(|p| p.join().expect("a producer"));
        wait_until("everything is had", || had.load(Relaxed) >= PRODUCERS * EACH);
        done.store(true, Relaxed);
        for consumer in consumers {
            for value in consumer.join().expect("a consumer") {
                *all.entry(value).or_default() += 1;
            }
        }
    });
    assert_eq!(all.len(), PRODUCERS * EACH);
    assert!(all.values().all(|n| *n == 1), "had twice: {:?}", all.iter().find(|(_, n)| **n != 1));
    master.script("exists q1 q2 q3 => :0");
    all_left(&master);
    converge(&[&master, &replica]);
}
