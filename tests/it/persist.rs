//! Snapshots: files that stock servers and we read from each other, exact cuts under load, files that are not what they
//! should be, and values carried by DUMP and RESTORE.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use crate::harness::{Client, Kind, Port, Reply, Server, follow, run_to_end, wait_until};

const SERVER: Kind = Kind::Pando;

/// Sends commands in one go; none may fail.
#[track_caller]
fn pipeline(c: &mut Client, commands: &[Vec<String>]) {
    for chunk in commands.chunks(500) {
        chunk.iter().for_each(|command| c.send(command));
        for command in chunk {
            let reply = c.read();
            assert!(!reply.is_error(), "{command:?}: {reply}");
        }
    }
}

fn command(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}

/// Strings of every encoding and length class, with and without expiry, in three databases.
fn mixed_data() -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for db in ["0", "3", "15"] {
        all.push(command(&["SELECT", db]));
        for i in 0..700 {
            let text = match i % 7 {
                0 => i.to_string(),
                1 => format!("-{}", i * 1_000_003),
                2 => "ab".repeat(i),
                3 => (0..i).map(|n| char::from(b'a' + (n * n % 23) as u8)).collect(),
                4 => String::new(),
                5 => "9223372036854775807".into(),
                _ => "z".repeat(i * 200),
            };
            all.push(command(&["SET", &format!("key:{i}"), &text]));
            if i % 5 == 0 {
                all.push(command(&["PEXPIREAT", &format!("key:{i}"), &(4_000_000_000_000u64 + i as u64).to_string()]));
            }
        }
    }
    all
}

/// Another server of that kind on a copy of this one's file.
#[track_caller]
fn on_the_file_of(server: &Server, kind: Kind) -> Server {
    let mut other = Server::prepare(Port::reserve(), kind, &[]);
    fs::copy(server.path("dump.rdb"), other.path("dump.rdb")).expect("a file");
    other.launch();
    other
}

#[track_caller]
fn wait_saved(server: &Server) {
    wait_until("the save ends", || server.log_has("Background saving terminated with success"));
}

#[test]
fn a_file_goes_to_a_stock_server_and_back_unchanged() {
    for compression in ["yes", "no"] {
        let lines = [&*format!("rdbcompression {compression}")];
        let (ours, stock) = (Server::start(SERVER, &lines), Server::start(Kind::Stock70, &lines));
        for server in [&ours, &stock] {
            pipeline(&mut server.client(), &mixed_data());
            server.check("save", "+OK");
        }
        let there = on_the_file_of(&ours, Kind::Stock70);
        assert_eq!(there.digest(), stock.digest(), "what we wrote");
        // What stock wrote, read by us and written again.
        let here = on_the_file_of(&stock, SERVER);
        here.check("dbsize", ":700");
        here.check("bgsave", "+Background saving started");
        wait_saved(&here);
        let back = on_the_file_of(&here, Kind::Stock70);
        assert_eq!(back.digest(), stock.digest(), "what we read");
    }
}

/// The values that an INCR of a pair left, from a server on the saved file.
fn pair(c: &mut Client, i: usize) -> [String; 2] {
    let reply = c.run(&format!("mget a:{i} b:{i}"));
    let Reply::Array(items) = reply else { panic!("{reply}") };
    [items[0].to_string(), items[1].to_string()]
}

#[test]
fn a_snapshot_under_writes_is_one_instant() {
    const PAIRS: usize = 3000;
    let server = Server::start(SERVER, &["rdb-key-save-delay 1000"]);
    let start: Vec<_> = (0..PAIRS)
        .flat_map(|i| [command(&["SET", &format!("a:{i}"), "0"]), command(&["SET", &format!("b:{i}"), "0"])])
        .collect();
    pipeline(&mut server.client(), &start);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for writer in 0..3 {
            let (stop, mut c) = (&stop, server.client());
            scope.spawn(move || {
                let mut i = writer * 1000;
                while !stop.load(Relaxed) {
                    let round: Vec<_> = (0..100)
                        .flat_map(|_| {
                            i = (i + 7) % PAIRS;
                            [
                                command(&["MULTI"]),
                                command(&["INCR", &format!("a:{i}")]),
                                command(&["INCR", &format!("b:{i}")]),
                                command(&["EXEC"]),
                            ]
                        })
                        .collect();
                    pipeline(&mut c, &round);
                }
            });
        }
        let mut c = server.client();
        wait_until("writes are under way", || c.run("get a:7").to_string() != "$0");
        c.check("bgsave", "+Background saving started");
        // All of this comes after the cut: new keys, overwritten ones, ones that go, whole databases that go.
        c.check("bgsave", "-ERR Background save already in progress");
        c.check("save", "-ERR Background save already in progress");
        for i in 0..200 {
            c.run(&format!("set late:{i} 1"));
            c.run(&format!("del a:{i}"));
            c.run(&format!("set b:{i} 1000000"));
        }
        c.check("swapdb 0 9", "+OK");
        c.check("select 9", "+OK");
        c.check("flushdb", "+OK");
        c.check("set late:0 1", "+OK");
        assert!(!server.log_has("Background saving terminated"), "all that came while the save went on");
        stop.store(true, Relaxed);
    });
    server.check("config set rdb-key-save-delay 0", "+OK");
    wait_saved(&server);
    let saved = on_the_file_of(&server, Kind::Stock70);
    let mut c = saved.client();
    c.check("dbsize", &format!(":{}", 2 * PAIRS));
    assert_eq!(saved.info("keyspace", "db9"), "", "what was moved later");
    let mut total = 0;
    for i in 0..PAIRS {
        let [a, b] = pair(&mut c, i);
        assert_eq!(a, b, "pair {i}");
        total += a[1..].parse::<u64>().unwrap_or_else(|_| panic!("pair {i} is {a}"));
    }
    assert!(total > 0, "the writers had begun");
}

#[test]
fn a_save_that_was_asked_for_inside_a_transaction_comes_after_it() {
    let server = Server::start(SERVER, &[]);
    server.script(
        "multi => +OK
         set a 1 => +QUEUED
         bgsave => +QUEUED
         set b 2 => +QUEUED
         exec => [+OK +Background saving scheduled +OK]",
    );
    wait_saved(&server);
    on_the_file_of(&server, Kind::Stock70).check("mget a b", "[$1 $2]");
    server.script(
        "bgsave now => -ERR syntax error
         bgsave schedule => +Background saving started",
    );
    assert!(server.run("lastsave").int() > 1_700_000_000);
}

#[test]
fn enough_changes_in_a_while_are_saved() {
    let server = Server::start(SERVER, &["save 1 3"]);
    server.script("set a 1 => +OK\nset b 1 => +OK\nset c 1 => +OK");
    wait_saved(&server);
    assert!(server.log_has("3 changes in 1 seconds. Saving..."), "{}", server.log());
    let mut left: Vec<_> =
        fs::read_dir(server.dir()).expect("our directory").flatten().map(|f| f.file_name()).collect();
    left.retain(|name| name.to_string_lossy().ends_with(".rdb"));
    assert_eq!(left, ["dump.rdb"], "no temporary file stays");
}

#[test]
fn a_save_that_fails_leaves_the_file_and_stops_writes() {
    let server = Server::start(SERVER, &["save 3600 1000", "enable-protected-configs yes"]);
    server.check("set a 1", "+OK");
    server.check("save", "+OK");
    let good = fs::read(server.path("dump.rdb")).expect("a file");
    // A directory of that name cannot be replaced by a file, whoever runs this.
    fs::create_dir(server.path("sub")).expect("a directory");
    server.check("config set dbfilename sub", "+OK");
    server.check("set a 2", "+OK");
    server.check("bgsave", "+Background saving started");
    server.wait_log("Background saving error");
    let refused = server.run("set a 3").to_string();
    assert!(refused.starts_with("-MISCONF"), "{refused}");
    server.script("get a => $2\nconfig set stop-writes-on-bgsave-error no => +OK\nset a 3 => +OK");
    assert_eq!(fs::read(server.path("dump.rdb")).expect("still there"), good);
    server.script(
        "config set dbfilename dump.rdb stop-writes-on-bgsave-error yes => +OK\nbgsave => +Background saving started",
    );
    wait_saved(&server);
    server.check("set a 4", "+OK");
}

#[test]
fn a_file_that_is_cut_short_or_damaged_anywhere_ends_the_start() {
    let server = Server::start(SERVER, &["rdbcompression no"]);
    server.script("set a 1 => +OK\nset b two => +OK\nset c 3 ex 1000 => +OK\nsave => +OK");
    let good = fs::read(server.path("dump.rdb")).expect("a file");
    drop(server);
    let mut bad: Vec<Vec<u8>> =
        [good.len() - 1, good.len() - 9, good.len() / 2, 9, 5].map(|n| good[..n].to_vec()).into();
    for at in [0, good.len() / 2, good.len() - 1] {
        let mut flipped = good.clone();
        flipped[at] ^= 0x40;
        bad.push(flipped);
    }
    for bytes in bad {
        let other = Server::prepare(Port::reserve(), SERVER, &[]);
        fs::write(other.path("dump.rdb"), &bytes).expect("a file");
        let conf = other.path("redis.conf");
        let (code, said) = run_to_end(SERVER, &[conf.to_str().expect("text")], "");
        assert_eq!(code, Some(1), "{} bytes: {said}", bytes.len());
        assert_eq!(fs::read(other.path("dump.rdb")).expect("still there"), bytes, "left as it was");
    }
}

/// Carries every value of one server over to another by DUMP and RESTORE.
fn carry(from: &mut Client, to: &mut Client, keys: &[&str]) {
    for key in keys {
        let Reply::Bulk(payload) = from.call(&["DUMP", key]) else { panic!("{key} is there") };
        assert_eq!(to.call(&[b"RESTORE", key.as_bytes(), b"0", &payload]).to_string(), "+OK", "{key}");
        assert_eq!(from.run(&format!("get {key}")), to.run(&format!("get {key}")), "{key}");
        assert_eq!(from.run(&format!("object encoding {key}")), to.run(&format!("object encoding {key}")), "{key}");
    }
}

#[test]
fn values_are_carried_between_stock_servers_and_us() {
    let (ours, stock) = (Server::start(SERVER, &[]), Server::start(Kind::Stock70, &[]));
    let (mut o, mut s) = (ours.client(), stock.client());
    let long = "abc".repeat(500);
    let values = [("i", "123456"), ("n", "-9"), ("t", "some text"), ("l", long.as_str()), ("e", "")];
    let keys = values.map(|(key, _)| key);
    for (key, value) in values {
        o.call(&["SET", key, value]);
    }
    carry(&mut o, &mut s, &keys);
    o.check("flushall", "+OK");
    carry(&mut s, &mut o, &keys);
    assert_eq!(o.run("dump missing").to_string(), "$nil");
}

#[test]
fn restore_refuses_what_stock_refuses_in_the_same_words() {
    for kind in [SERVER, Kind::Stock70] {
        let server = Server::start(kind, &[]);
        let mut c = server.client();
        c.check("set k value", "+OK");
        let Reply::Bulk(payload) = c.run("dump k") else { panic!("k is there") };
        let mut check = |words: &[&[u8]], expect: &str| {
            let shown: Vec<_> = words.iter().map(|w| String::from_utf8_lossy(w)).collect();
            assert_eq!(c.call(words).to_string(), expect, "{kind:?}: {shown:?}");
        };
        let p = payload.as_slice();
        let mut bad = payload.clone();
        bad[1] ^= 1;
        check(&[b"restore", b"k", b"0", p], "-BUSYKEY Target key name already exists.");
        check(&[b"restore", b"k", b"0", p, b"replace"], "+OK");
        check(&[b"restore", b"n", b"-1", p], "-ERR Invalid TTL value, must be >= 0");
        check(&[b"restore", b"n", b"x", p], "-ERR value is not an integer or out of range");
        check(&[b"restore", b"n", b"0", &bad], "-ERR DUMP payload version or checksum are wrong");
        check(&[b"restore", b"n", b"0", b"x"], "-ERR DUMP payload version or checksum are wrong");
        check(&[b"restore", b"n", b"0", p, b"idletime", b"-1"], "-ERR Invalid IDLETIME value, must be >= 0");
        check(&[b"restore", b"n", b"0", p, b"freq", b"256"], "-ERR Invalid FREQ value, must be >= 0 and <= 255");
        check(&[b"restore", b"n", b"0", p, b"what"], "-ERR syntax error");
        check(&[b"restore", b"n", b"0", p, b"freq", b"1", b"idletime", b"1"], "-ERR syntax error");
        check(&[b"exists", b"n"], ":0");
        check(&[b"restore", b"n", b"0", p, b"idletime", b"1000"], "+OK");
        check(&[b"object", b"encoding", b"n"], "$embstr");
        check(&[b"restore", b"n", b"1", p, b"replace", b"absttl"], "+OK");
        check(&[b"exists", b"n"], ":0");
        check(&[b"restore", b"n", b"50000", p], "+OK");
        check(&[b"expire", b"n", b"100", b"lt"], ":0");
        check(&[b"get", b"n"], "$value");
    }
}

#[test]
fn a_reload_loses_no_write_that_was_answered() {
    let server = Server::start(SERVER, &[]);
    pipeline(&mut server.client(), &(0..2000).map(|i| command(&["SET", &format!("k:{i}"), "v"])).collect::<Vec<_>>());
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let (mut c, mut done) = (server.client(), 0i64);
            while !stop.load(Relaxed) {
                let reply = c.run("incr counter");
                // Whoever comes while the file is read is told so.
                match reply {
                    Reply::Int(n) => {
                        assert_eq!(n, done + 1, "an increment was lost");
                        done = n;
                    }
                    other => assert!(other.to_string().starts_with("-LOADING"), "{other}"),
                }
            }
            done
        });
        for _ in 0..20 {
            server.check("debug reload", "+OK");
        }
        stop.store(true, Relaxed);
        let done = writer.join().expect("the writer");
        server.check("get counter", &format!("${done}"));
    });
}

#[test]
fn flushall_ends_a_save_of_what_is_gone_and_saves_at_once_where_save_points_are_set() {
    for kind in [SERVER, Kind::Stock70] {
        let server = Server::start(kind, &["rdb-key-save-delay 10000000"]);
        let mut c = server.client();
        c.script("set a 1 => +OK\n set b 2 => +OK\n config set save \"3600 1\" => +OK");
        assert!(c.run("bgsave").to_string().starts_with("+Background saving started"));
        assert_eq!(server.info("persistence", "rdb_bgsave_in_progress"), "1");
        c.check("flushall", "+OK");
        wait_until("the save is given up", || server.info("persistence", "rdb_bgsave_in_progress") == "0");
        assert_eq!(server.info("persistence", "rdb_changes_since_last_save"), "0");
        assert_eq!(server.info("persistence", "rdb_last_bgsave_status"), "ok");
        let other = on_the_file_of(&server, kind);
        other.check("dbsize", ":0");
        // Without save points the file stays, and no save of former data comes later.
        c.script("config set save \"\" => +OK\n set a 1 => +OK\n flushall => +OK");
        assert_eq!(server.info("persistence", "rdb_changes_since_last_save"), "2");
    }
}

#[test]
fn what_writers_make_a_save_keep_is_counted_while_it_runs() {
    // Stock's child tells of pages, and once a second.
    if Kind::stock_stands_in() {
        return;
    }
    let server = Server::start(SERVER, &["rdb-key-save-delay 100000"]);
    let mut c = server.client();
    pipeline(&mut c, &(0..100).map(|i| command(&["SET", &format!("k:{i}"), &"x".repeat(500)])).collect::<Vec<_>>());
    assert_eq!(server.info("persistence", "current_save_keys_total"), "0");
    c.check("bgsave", "+Background saving started");
    assert_eq!(server.info("persistence", "current_save_keys_total"), "100");
    pipeline(&mut c, &(0..100).map(|i| command(&["APPEND", &format!("k:{i}"), "y"])).collect::<Vec<_>>());
    let kept: usize = server.info("persistence", "current_cow_size").parse().expect("a number");
    assert!((500..100 * 600).contains(&kept), "{kept}");
    c.check("config set rdb-key-save-delay 0", "+OK");
    wait_saved(&server);
    wait_until("it is over", || server.info("persistence", "rdb_bgsave_in_progress") == "0");
    let last: usize = server.info("persistence", "rdb_last_cow_size").parse().expect("a number");
    assert!(last >= kept, "{last} < {kept}");
    assert_eq!(server.info("persistence", "current_cow_size"), "0");
}

/// Names in a server's directory that look like unfinished snapshots.
fn unfinished(server: &Server) -> Vec<String> {
    let names = fs::read_dir(server.dir()).expect("a directory").map(|e| e.expect("an entry").file_name());
    names.map(|n| n.to_string_lossy().into_owned()).filter(|n| n.starts_with("temp-")).collect()
}

#[test]
fn a_shutdown_leaves_no_unfinished_file() {
    for lines in [&["rdb-key-save-delay 10000000"][..], &["rdb-key-save-delay 10000000", "repl-diskless-sync no"]] {
        let mut server = Server::start(SERVER, lines);
        server.check("set a 1", "+OK");
        let asks = lines.len() > 1;
        let mut c = server.client();
        if asks {
            c.send_raw(b"SYNC\r\n");
        } else {
            c.check("bgsave", "+Background saving started");
        }
        wait_until("a file is begun", || !unfinished(&server).is_empty());
        server.client().send(&["shutdown", "nosave"]);
        server.wait_end();
        assert_eq!(unfinished(&server), [""; 0], "{lines:?}");
    }
}

#[test]
fn a_slow_replica_does_not_hold_the_end_up() {
    let mut server = Server::start(SERVER, &["repl-diskless-sync yes", "save \"3600 1000\"", "rdbcompression no"]);
    let mut c = server.client();
    pipeline(&mut c, &(0..64).map(|i| command(&["SET", &format!("k:{i}"), &"x".repeat(1 << 18)])).collect::<Vec<_>>());
    let mut replica = server.client();
    replica.check("replconf capa eof", "+OK");
    replica.send(&["psync", "?", "-1"]);
    // It takes nothing, and the walker waits for it with the turn that the last save needs.
    wait_until("the transfer begins", || server.info("persistence", "rdb_bgsave_in_progress") == "1");
    c.send(&["shutdown", "now"]);
    server.wait_end();
    server.launch();
    server.check("dbsize", ":64");
}

#[test]
fn a_full_disk_stops_writes_until_it_has_room_again() {
    // How a stock server's child names its file is not known beforehand.
    if Kind::stock_stands_in() {
        return;
    }
    let server = Server::start(SERVER, &["save 3600 100000"]);
    server.script("set a 1 => +OK\nsave => +OK");
    let good = fs::read(server.path("dump.rdb")).expect("a file");
    // Whatever is written there finds the disk full.
    let temp = server.path(&format!("temp-{}.rdb", server.pid()));
    let mut c = server.client();
    for how in ["save", "bgsave"] {
        std::os::unix::fs::symlink("/dev/full", &temp).expect("a link");
        c.check("set a 2", "+OK");
        match how {
            "save" => c.check("save", "-ERR"),
            _ => c.check("bgsave", "+Background saving started"),
        }
        wait_until("the save has failed", || server.info("persistence", "rdb_bgsave_in_progress") == "0");
        assert!(server.log_has("Write error while saving DB to the disk(write): No space left on device"), "{how}");
        assert_eq!(fs::read(server.path("dump.rdb")).expect("still there"), good, "{how}");
        assert_eq!(unfinished(&server), [""; 0], "{how}");
    }
    assert_eq!(server.info("persistence", "rdb_last_bgsave_status"), "err");
    assert_eq!(
        c.run("set a 3").to_string(),
        "-MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands that \
         may modify the data set are disabled, because this instance is configured to report errors during writes if RDB \
         snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the RDB \
         error."
    );
    c.check("get a", "$2");
    c.check("bgsave", "+Background saving started");
    wait_saved(&server);
    wait_until("it is over", || server.info("persistence", "rdb_bgsave_in_progress") == "0");
    assert_eq!(server.info("persistence", "rdb_last_bgsave_status"), "ok");
    c.check("set a 3", "+OK");
    on_the_file_of(&server, Kind::Stock70).check("get a", "$2");
}

#[test]
fn what_eviction_knows_survives_a_restart() {
    for (policy, question) in [("allkeys-lru", "object idletime k"), ("allkeys-lfu", "object freq k")] {
        let line = format!("maxmemory-policy {policy}");
        for kind in [SERVER, Kind::Stock70] {
            let mut server = Server::start(kind, &[&line, "lfu-decay-time 0"]);
            let mut c = server.client();
            let Reply::Bulk(payload) = ({
                c.check("set from value", "+OK");
                c.run("dump from")
            }) else {
                panic!("it is there")
            };
            let word = if policy.ends_with("lru") { "IDLETIME" } else { "FREQ" };
            c.call(&[&b"RESTORE"[..], b"k", b"0", &payload, word.as_bytes(), b"200"]);
            c.send(&["SHUTDOWN", "SAVE"]);
            server.wait_end();
            server.launch();
            let known = server.run(question).int();
            assert!((200..260).contains(&known), "{kind:?} {policy}: {known}");
            // The file means the same to the other.
            let other = Server::prepare(Port::reserve(), if kind == SERVER { Kind::Stock70 } else { SERVER }, &[&line]);
            let known = on(other, &server).run(question).int();
            assert!((200..260).contains(&known), "{policy} of {kind:?}: {known}");
        }
    }
}

/// Starts a server that was prepared on a copy of another's file.
fn on(mut other: Server, server: &Server) -> Server {
    fs::copy(server.path("dump.rdb"), other.path("dump.rdb")).expect("a file");
    other.launch();
    other
}

#[test]
fn a_file_tells_where_it_stands_in_the_stream_as_stock_reads_it() {
    let (m, r) = (Server::start(SERVER, &[]), Server::start(Kind::Stock70, &[]));
    follow(&r, &m);
    m.script("select 3 => +OK\nset a 1 => +OK\nsave => +OK");
    let offset = m.info("replication", "master_repl_offset");
    let id = m.info("replication", "master_replid");
    let said = std::process::Command::new("redis-check-rdb").arg(m.path("dump.rdb")).output().expect("redis-check-rdb");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    for field in [("repl-stream-db", "3"), ("repl-id", &id), ("aof-base", "0")] {
        assert!(said.contains(&format!("AUX FIELD {} = '{}'", field.0, field.1)), "{field:?} in {said}");
    }
    // A PING may have come meanwhile, but none before.
    let saved = said.split("AUX FIELD repl-offset = '").nth(1).and_then(|s| s.split('\'').next()).expect("an offset");
    assert!(saved.parse::<i64>().expect("a number") <= offset.parse().expect("a number"), "{saved} {offset}");
    assert!(said.contains("Checksum OK"), "{said}");
    let unsummed = Server::start(SERVER, &["rdbchecksum no"]);
    unsummed.script("set a 1 => +OK\nsave => +OK");
    let path = unsummed.path("dump.rdb");
    let bytes = fs::read(&path).expect("a file");
    assert_eq!(bytes[bytes.len() - 8..], [0; 8]);
    let ours = run_to_end(SERVER, &["check-rdb", path.to_str().expect("text")], "");
    assert!(ours.0 == Some(0) && ours.1.contains("checksum disabled"), "{ours:?}");
}
