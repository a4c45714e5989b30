//! The append-only file: what stock programs make of ours, crashes under load, full disks, and what is acknowledged when.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::harness::{Client, Kind, Port, Reply, Server, converge, follow, link_down, link_up, run_to_end, wait_until};

const SERVER: Kind = Kind::Pando;
const DIR: &str = "appendonlydir";
const LIST: &str = "appendonly.aof.manifest";

#[track_caller]
fn run_all(c: &mut Client, lines: &str) {
    for line in lines.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let reply = c.run(line);
        assert!(!reply.is_error(), "{line}: {reply}");
    }
}

/// Values of every type that a server of 7.0 knows, some of them large.
#[track_caller]
fn fill(c: &mut Client) {
    run_all(
        c,
        r#"
        set a 1
        set long "with blanks and \x00 and \r\n"
        set soon x px 100000000
        incrbyfloat f 3.25
        rpush small a b c
        sadd ints 1 2 3
        zadd scores 1.5 a -inf b inf c 3.14159265358979 d
        hset h f v g w
        xadd x 1-1 a 1
        xadd x 1-2 b 2
        xadd x 5-0 c 3
        xgroup create x g 0
        xreadgroup group g alice count 2 streams x >
        xgroup createconsumer x g idle
        xdel x 5-0
        xgroup create empty g2 $ mkstream
        select 7
        set b 2
        pexpire b 100000000
        select 0
        "#,
    );
    for i in 0..300 {
        let (item, score) = (format!("item:{i}"), i.to_string());
        c.call(&["RPUSH", "list", &item]);
        c.call(&["SADD", "set", &item]);
        c.call(&["ZADD", "zset", &score, &item]);
        c.call(&["HSET", "hash", &item, &score]);
    }
}

#[track_caller]
fn rewrite(server: &Server) {
    let before = server.info_int("persistence", "aof_rewrites");
    server.check("bgrewriteaof", "+Background append only file rewriting started");
    wait_until("the rewrite ends", || {
        server.info("persistence", "aof_rewrite_in_progress") == "0"
            && server.info_int("persistence", "aof_rewrites") > before
    });
    assert_eq!(server.info("persistence", "aof_last_bgrewrite_status"), "ok");
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}

/// Another server on a copy of this one's files.
#[track_caller]
fn on_the_files_of(server: &Server, kind: Kind) -> Server {
    let mut other = Server::prepare(Port::reserve(), kind, &["appendonly yes"]);
    copy_dir(&server.path(DIR), &other.path(DIR));
    other.launch();
    other
}

/// The bytes of all incremental files together.
fn increments(server: &Server) -> String {
    let mut names: Vec<PathBuf> =
        fs::read_dir(server.path(DIR)).expect("a directory").map(|e| e.expect("an entry").path()).collect();
    names.retain(|name| name.to_string_lossy().ends_with(".incr.aof"));
    names.sort();
    names.iter().map(|name| String::from_utf8_lossy(&fs::read(name).expect("a file")).into_owned()).collect()
}

#[track_caller]
fn is_whole(server: &Server) {
    let list = server.path(DIR).join(LIST);
    let out = Command::new("redis-check-aof").arg(&list).output().expect("redis-check-aof");
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && text.contains("All AOF files and manifest are valid"), "{text}");
}

#[test]
fn stock_programs_take_our_files_in_every_form() {
    for lines in [
        &["aof-use-rdb-preamble yes"][..],
        &["aof-use-rdb-preamble no", "aof-timestamp-enabled yes"],
        &["appendfsync always", "aof-disable-auto-gc yes"],
    ] {
        let mut all = vec!["appendonly yes"];
        all.extend_from_slice(lines);
        let server = Server::start(SERVER, &all);
        let mut c = server.client();
        fill(&mut c);
        c.check("waitaof 1 0 0", "[:1 :0]");
        let digest = server.digest();
        assert_eq!(on_the_files_of(&server, Kind::Stock70).digest(), digest, "{lines:?}");
        is_whole(&server);
        rewrite(&server);
        run_all(&mut c, "set after 1\nselect 3\nset after 2\nlpop list\nspop set 3");
        c.check("waitaof 1 0 0", "[:1 :0]");
        let digest = server.digest();
        let stock = on_the_files_of(&server, Kind::Stock70);
        assert_eq!(stock.digest(), digest, "{lines:?}, rewritten");
        is_whole(&server);
        for what in ["xinfo groups x", "xpending x g", "xinfo groups empty"] {
            assert_eq!(server.run(what).to_string(), stock.run(what).to_string(), "{what}");
        }
        // And back: a directory that stock went on with.
        stock.check("set theirs 1", "+OK");
        stock.check("bgrewriteaof", "+Background append only file rewriting started");
        wait_until("stock has rewritten", || stock.info("persistence", "aof_rewrite_in_progress") == "0");
        stock.check("append theirs 2", ":2");
        assert_eq!(on_the_files_of(&stock, SERVER).digest(), stock.digest());
    }
}

#[test]
fn a_rewrite_leaves_the_same_files_as_stock() {
    let list = |kind| {
        let mut server = Server::start(kind, &["appendonly yes", "auto-aof-rewrite-percentage 0"]);
        let mut c = server.client();
        let mut lists = Vec::new();
        let text = |server: &Server| fs::read_to_string(server.path(DIR).join(LIST)).expect("a manifest");
        run_all(&mut c, "select 9\nset a 1");
        lists.push(text(&server));
        rewrite(&server);
        lists.push(text(&server));
        run_all(&mut c, "set b 1\nset c 2");
        wait_until("it is written", || increments(&server).contains("\r\nc\r\n"));
        lists.push(increments(&server));
        run_all(&mut c, "config set appendonly no\nset off 1\nconfig set appendonly yes");
        wait_until("it is on again", || server.info("persistence", "aof_rewrite_in_progress") == "0");
        run_all(&mut c, "set d 3");
        wait_until("it is written", || increments(&server).contains("\r\nd\r\n"));
        lists.push(text(&server));
        lists.push(increments(&server));
        server.restart();
        server.client().check("dbsize", ":0");
        lists.push(text(&server));
        let mut c = server.client();
        run_all(&mut c, "config set aof-disable-auto-gc yes\nset e 4");
        rewrite(&server);
        lists.push(text(&server));
        run_all(&mut c, "config set aof-use-rdb-preamble no\nconfig set aof-disable-auto-gc no");
        rewrite(&server);
        lists.push(text(&server));
        lists
    };
    assert_eq!(list(SERVER), list(Kind::Stock70));
}

#[test]
fn what_is_no_data_stays_out() {
    let master = Server::start(SERVER, &["appendonly yes", "repl-ping-replica-period 1"]);
    let replica = Server::start(SERVER, &["appendonly yes"]);
    let mut c = master.client();
    assert_eq!(master.info("replication", "repl_backlog_active"), "0");
    follow(&replica, &master);
    let offset = || replica.info_int("replication", "slave_repl_offset");
    wait_until("the replica's file is in force", || replica.info("persistence", "aof_rewrite_in_progress") == "0");
    run_all(&mut c, "set a 1\npublish channel message\nmulti\nset b 2\npublish channel message\nexec\nwait 1 0");
    let before = offset();
    wait_until("a ping comes", || offset() > before);
    run_all(&mut c, "select 4\nset last 1\nwaitaof 1 1 0");
    for server in [&master, &replica] {
        // But in notes, which are no requests.
        let text = increments(server).lines().filter(|line| !line.starts_with("#REPL:")).collect::<Vec<_>>().join("\n");
        assert!(text.contains("last"), "{text}");
        for word in ["PING", "ping", "PUBLISH", "publish", "REPLCONF"] {
            assert!(!text.contains(word), "{word} in {text}");
        }
        is_whole(server);
        assert_eq!(on_the_files_of(server, Kind::Stock70).digest(), master.digest());
    }
}

#[test]
fn with_always_what_was_acknowledged_survives_a_crash() {
    const WRITERS: usize = 4;
    let mut server = Server::start(SERVER, &["appendonly yes", "appendfsync always"]);
    let acked: Vec<AtomicUsize> = (0..WRITERS).map(|_| AtomicUsize::new(0)).collect();
    for _ in 0..3 {
        let (port, over) = (server.port(), AtomicBool::new(false));
        let sum = || acked.iter().map(|n| n.load(Relaxed)).sum::<usize>();
        let start = sum();
        thread::scope(|scope| {
            for (w, acked) in acked.iter().enumerate() {
                let over = &over;
                scope.spawn(move || {
                    let Ok(mut c) = Client::try_connect(("127.0.0.1", port)) else { return };
                    let mut next = acked.load(Relaxed);
                    while !over.load(Relaxed) {
                        // A few at once, acknowledged one after the other.
                        for i in 1..=8 {
                            let n = (next + i).to_string();
                            if c.try_send_raw(format!("SET w:{w} {n}\r\n").as_bytes()).is_err() {
                                return;
                            }
                        }
                        for _ in 0..8 {
                            match c.try_read() {
                                Ok(Reply::Simple(_)) => next += 1,
                                _ => return,
                            }
                            acked.store(next, Relaxed);
                        }
                    }
                });
            }
            let rewriter = server.client();
            scope.spawn(|| {
                let mut c = rewriter;
                while c.try_call(&["BGREWRITEAOF"]).is_ok() {
                    if over.load(Relaxed) {
                        break;
                    }
                }
            });
            wait_until("some writes are acknowledged", || sum() > start + 400);
            server.crash();
            over.store(true, Relaxed);
        });
        server.launch();
        let mut c = server.client();
        for (w, acked) in acked.iter().enumerate() {
            let there: usize = c.run(&format!("get w:{w}")).text().parse().expect("a number");
            assert!(there >= acked.load(Relaxed), "writer {w}: {there} there, {} acknowledged", acked.load(Relaxed));
            acked.store(there, Relaxed);
        }
    }
}

#[test]
fn what_waitaof_confirmed_survives_a_crash() {
    let mut server = Server::start(SERVER, &["appendonly yes"]);
    let mut c = server.client();
    for i in 0..50 {
        c.send(&["RPUSH", "l", &i.to_string()]);
    }
    for _ in 0..50 {
        c.read();
    }
    c.check("waitaof 1 0 0", "[:1 :0]");
    server.crash();
    server.launch();
    server.check("llen l", ":50");
    server.check("config set appendonly no", "+OK");
    server.check("waitaof 1 0 0", "-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.");
    let mut c = server.client();
    c.check("set a 1", "+OK");
    c.check("waitaof 0 0 0", "[:0 :0]");
}

#[test]
fn who_waits_for_a_file_that_is_turned_off_is_told() {
    let server = Server::start(SERVER, &["appendonly yes", "appendfsync no", "auto-aof-rewrite-percentage 0"]);
    let mut c = server.client();
    c.check("incr n", ":1");
    c.send(&["WAITAOF", "1", "0", "0"]);
    wait_until("it waits", || server.info("clients", "blocked_clients") == "1");
    server.check("config set appendonly no", "+OK");
    let told = c.read().to_string();
    // Turning it off flushes it: that may be what it hears of first.
    let vain = "-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.";
    assert!(told == vain || told == "[:1 :0]", "{told}");
}

#[test]
fn what_was_answered_is_in_the_file_that_debug_loads() {
    let server = Server::start(SERVER, &["appendonly yes"]);
    let mut c = server.client();
    c.check("debug aof-flush-sleep 50000", "+OK");
    for i in 0..5 {
        c.check(&format!("set n {i}"), "+OK");
        c.check("debug loadaof", "+OK");
        c.check("get n", &format!("${i}"));
    }
}

/// How long files of that server may be.
fn limit_files(server: &Server, bytes: Option<u64>) {
    let pid = Pid::from_raw(server.pid() as i32).expect("a process id");
    prlimit(Some(pid), Resource::Fsize, Rlimit { current: bytes, maximum: None }).expect("our own child");
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_room() {
    let mut server = Server::start(SERVER, &["appendonly yes", "auto-aof-rewrite-percentage 0"]);
    limit_files(&server, Some(100_000));
    let mut c = server.client();
    let value = "v".repeat(1000);
    let mut acked = 0;
    let refused = loop {
        let reply = c.call(&["SET", &format!("k:{acked}"), &value]);
        if reply.is_error() {
            break reply.to_string();
        }
        acked += 1;
    };
    assert_eq!(refused, "-MISCONF Errors writing to the AOF file: File too large");
    c.check("ping", &refused);
    c.check("strlen k:0", ":1000");
    assert_eq!(server.info("persistence", "aof_last_write_status"), "err");
    limit_files(&server, None);
    wait_until("it heals", || !server.run("ping").is_error());
    assert_eq!(server.info("persistence", "aof_last_write_status"), "ok");
    assert!(server.log_has("AOF write error looks solved, Redis can write again."));
    c.check("set last 1", "+OK");
    c.check("waitaof 1 0 0", "[:1 :0]");
    server.crash();
    is_whole(&server);
    server.launch();
    server.check("dbsize", &format!(":{}", acked + 1));
}

#[test]
fn with_always_a_full_disk_ends_the_server() {
    let mut server = Server::start(SERVER, &["appendonly yes", "appendfsync always"]);
    limit_files(&server, Some(100_000));
    let mut c = server.client();
    let value = "v".repeat(1000);
    let mut acked = 0;
    while let Ok(Reply::Simple(_)) = c.try_call(&["SET", &format!("k:{acked}"), &value]) {
        acked += 1;
    }
    assert_eq!(server.wait_end().code(), Some(1));
    assert!(server.log_has("Can't recover from AOF write error when the AOF fsync policy is 'always'. Exiting..."));
    server.launch();
    server.check("dbsize", &format!(":{acked}"));
}

#[test]
fn with_always_replicas_are_told_only_what_is_in_the_file() {
    let always = ["appendonly yes", "appendfsync always"];
    let (top, middle, leaf) =
        (Server::start(SERVER, &always), Server::start(SERVER, &always), Server::start(SERVER, &[]));
    follow(&middle, &top);
    follow(&leaf, &middle);
    for (slow, key) in [(&top, "one"), (&middle, "two")] {
        slow.check("debug aof-flush-sleep 200000", "+OK");
        let mut c = top.client();
        c.send(&["SET", key, "1"]);
        let mut below = leaf.client();
        wait_until("the leaf has it", || below.run(&format!("get {key}")).to_string() == "$1");
        for above in [&top, &middle] {
            assert!(increments(above).contains(key), "{key} is not in the file of port {}", above.port());
        }
        assert_eq!(c.read().to_string(), "+OK");
        slow.check("debug aof-flush-sleep 0", "+OK");
    }
}

#[test]
fn with_always_what_the_disk_refused_is_at_no_replica() {
    let mut master = Server::start(SERVER, &["appendonly yes", "appendfsync always"]);
    let replica = Server::start(SERVER, &[]);
    follow(&replica, &master);
    let mut c = master.client();
    c.check("set kept 1", "+OK");
    c.check("wait 1 0", ":1");
    limit_files(&master, Some(increments(&master).len() as u64 + 10));
    c.send(&["SET", "lost", "a value of more than ten bytes"]);
    assert_eq!(master.wait_end().code(), Some(1));
    link_down(&replica);
    replica.script("get kept => $1\n get lost => $nil");
    master.launch();
    link_up(&replica);
    converge(&[&master, &replica]);
}

#[test]
fn with_always_and_a_slow_disk_the_tree_works_as_ever() {
    let start = || Server::start(SERVER, &["appendonly yes", "appendfsync always"]);
    let (mut first, second, third) = (start(), start(), start());
    for server in [&first, &second, &third] {
        server.check("debug aof-flush-sleep 20000", "+OK");
    }
    follow(&second, &first);
    let mut c = first.client();
    c.check("set a 1", "+OK");
    c.check("wait 1 0", ":1");
    c.check("incr a", ":2");
    c.check("waitaof 1 1 0", "[:1 :1]");
    // A write that is on its way to the disk at the cut of a full sync.
    c.send(&["INCR", "a"]);
    follow(&third, &first);
    assert_eq!(c.read().to_string(), ":3");
    converge(&[&first, &second, &third]);
    first.check(&format!("failover to 127.0.0.1 {}", second.port()), "+OK");
    wait_until("the second leads", || second.info("replication", "role") == "master");
    link_up(&first);
    second.check("incr a", ":4");
    // The third still follows the first, which follows the second now.
    converge(&[&second, &first, &third]);
    first.terminate();
    assert!(first.log_has("1 of 1 replicas are in sync when shutting down."), "{}", first.log());
}

#[test]
fn a_replica_begins_a_file_of_its_own_and_says_how_far_it_is() {
    for (above, below) in [
        (SERVER, SERVER),
        (SERVER, Kind::Redis80),
        (Kind::Redis80, SERVER),
        (SERVER, Kind::Valkey91),
        (Kind::Valkey91, SERVER),
    ] {
        if !above.available() || !below.available() {
            continue;
        }
        let (master, replica) = (Server::start(above, &[]), Server::start(below, &["appendonly yes"]));
        master.check("set before 1", "+OK");
        replica.check("set own 1", "+OK");
        follow(&replica, &master);
        let mut c = master.client();
        c.check("set a 1", "+OK");
        assert_eq!(c.run("waitaof 0 1 0").items()[1].int(), 1, "{below:?} below {above:?}");
        if below == SERVER {
            let digest = master.digest();
            assert_eq!(on_the_files_of(&replica, SERVER).digest(), digest, "{below:?} below {above:?}");
        }
    }
}

#[test]
fn a_save_and_a_rewrite_wait_for_each_other() {
    let server = Server::start(SERVER, &["appendonly yes", "rdb-key-save-delay 10000000"]);
    server.check("set a 1", "+OK");
    server.check("bgsave", "+Background saving started");
    server.check("bgrewriteaof", "+Background append only file rewriting scheduled");
    assert_eq!(server.info("persistence", "aof_rewrite_scheduled"), "1");
    server.check("config set rdb-key-save-delay 0", "+OK");
    wait_until("the scheduled rewrite is over", || {
        server.info("persistence", "aof_rewrites") == "1"
            && server.info("persistence", "aof_rewrite_in_progress") == "0"
    });
    server.check("config set rdb-key-save-delay 10000000", "+OK");
    server.check("bgrewriteaof", "+Background append only file rewriting started");
    server.check("bgrewriteaof", "-ERR Background append only file rewriting already in progress");
    server.check(
        "bgsave",
        "-ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to schedule a \
         BGSAVE whenever possible.",
    );
    server.check("bgsave schedule", "+Background saving scheduled");
    // Turned off, the rewrite is of no use.
    server.check("config set appendonly no", "+OK");
    wait_until("both are over", || {
        server.info("persistence", "aof_rewrite_in_progress") == "0" && server.info("persistence", "rdb_saves") != "1"
    });
    assert_eq!(server.info("persistence", "aof_enabled"), "0");
}

#[test]
fn it_is_rewritten_by_itself_when_it_has_grown() {
    let server = Server::start(SERVER, &["appendonly yes", "auto-aof-rewrite-min-size 20kb"]);
    let mut c = server.client();
    for i in 0..2000 {
        c.send(&["SET", "k", &i.to_string()]);
        c.read();
    }
    wait_until("it is rewritten", || server.info_int("persistence", "aof_rewrites") > 0);
    wait_until("it has become small", || server.info_int("persistence", "aof_current_size") < 80_000);
    assert!(server.log_has("Starting automatic rewriting of AOF on"));
    // All of it is in the files, and nothing changes them while they are copied.
    c.check("waitaof 1 0 0", "[:1 :0]");
    wait_until("no other rewrite runs", || server.info("persistence", "aof_rewrite_in_progress") == "0");
    assert_eq!(on_the_files_of(&server, Kind::Stock70).run("get k").text(), "1999");
}

#[test]
fn shutdown_leaves_everything_on_disk_and_a_bad_directory_is_told() {
    let mut server = Server::start(SERVER, &["appendonly yes", "appendfsync no"]);
    let mut c = server.client();
    run_all(&mut c, "multi\nset a 1\nset b 2\nexec");
    assert!(server.terminate().success());
    assert!(server.log_has("Calling fsync() on the AOF file."));
    is_whole(&server);
    server.launch();
    server.check("dbsize", ":2");
    let dir = server.path("file");
    fs::write(&dir, "no directory").expect("a file");
    let conf = fs::read_to_string(server.path("redis.conf")).expect("a configuration");
    let port = Port::reserve();
    let other = format!("{conf}\nport {}\nappenddirname file\n", port.number);
    fs::write(server.path("other.conf"), other).expect("a configuration");
    let (code, said) = run_to_end(SERVER, &[server.path("other.conf").to_str().expect("text")], "");
    assert_eq!(code, Some(1));
    assert!(said.contains("Can't open or create append-only dir file"), "{said}");
}
