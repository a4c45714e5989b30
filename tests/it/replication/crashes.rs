//! kill -9 where an append-only file is all there is: it tells where it stands in the stream, and so who was up to date, or
//! behind, gets only what it missed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

use crate::harness::{
    Client, Kind, Port, Proxy, Server, converge, follow, link_down, link_up, offset, run_to_end, wait_until,
};

const DIR: &str = "appendonlydir";

fn syncs(master: &Server) -> (i64, i64) {
    (master.info_int("stats", "sync_full"), master.info_int("stats", "sync_partial_ok"))
}

fn write(master: &Server, prefix: &str) {
    let mut c = master.client();
    (0..300).for_each(|i| c.send(&["SET", &format!("{prefix}:{i}"), "value"]));
    (0..300).for_each(|_| assert_eq!(c.read().to_string(), "+OK"));
}

/// The bytes of the last incremental file.
fn last_file(server: &Server) -> Vec<u8> {
    fs::read(last_path(server)).expect("its bytes")
}

fn last_path(server: &Server) -> PathBuf {
    let mut names: Vec<PathBuf> =
        fs::read_dir(server.path(DIR)).expect("a directory").map(|e| e.expect("an entry").path()).collect();
    names.retain(|name| name.to_string_lossy().ends_with(".incr.aof"));
    names.sort();
    names.pop().expect("a file")
}

/// Until the file says that it holds everything, and a start would read it: a rewrite may just be putting it in place.
#[track_caller]
fn all_is_noted(server: &Server) {
    wait_until("the list names the last file", || {
        let list = fs::read_to_string(server.path(DIR).join("appendonly.aof.manifest")).unwrap_or_default();
        let last = last_path(server);
        let name = last.file_name().expect("a name").to_string_lossy().into_owned();
        list.lines().any(|line| line.split(' ').nth(1) == Some(&*name))
            && server.info("persistence", "aof_rewrite_in_progress") == "0"
    });
    wait_until("the file tells where it stands", || {
        let text = String::from_utf8_lossy(&last_file(server)).into_owned();
        let note = text.lines().rfind(|line| line.starts_with("#REPL:")).unwrap_or_default().to_owned();
        note.starts_with(&format!("#REPL:{}@", offset(server)))
    });
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}

/// What stock programs make of the files.
#[track_caller]
fn stock_takes(server: &Server) {
    let list = server.path(DIR).join("appendonly.aof.manifest");
    let out = Command::new("redis-check-aof").arg(&list).output().expect("redis-check-aof");
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && text.contains("All AOF files and manifest are valid"), "{text}");
    let mut stock = Server::prepare(Port::reserve(), Kind::Stock70, &["appendonly yes"]);
    copy_dir(&server.path(DIR), &stock.path(DIR));
    stock.launch();
    assert_eq!(stock.digest(), server.digest());
}

fn request(out: &mut Vec<u8>, words: &[&str]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    words.iter().for_each(|w| out.extend_from_slice(format!("${}\r\n{w}\r\n", w.len()).as_bytes()));
}

/// Writes of several kinds, until the server is gone.
fn load(port: u16, seed: u64, done: &AtomicU64) {
    let go = || -> io::Result<()> {
        let mut c = Client::try_connect(("127.0.0.1", port))?;
        for n in seed.. {
            let (key, n, db) = (format!("of:{seed}"), n.to_string(), (n % 3).to_string());
            let mut bytes = Vec::new();
            request(&mut bytes, &["SELECT", &db]);
            request(&mut bytes, &["HINCRBY", "counts", &key, "1"]);
            request(&mut bytes, &["RPUSH", &key, &n]);
            request(&mut bytes, &["LTRIM", &key, "-50", "-1"]);
            request(&mut bytes, &["MULTI"]);
            request(&mut bytes, &["SADD", "set", &n, &key]);
            request(&mut bytes, &["PUBLISH", "channel", &n]);
            request(&mut bytes, &["SPOP", "set"]);
            request(&mut bytes, &["EXEC"]);
            c.try_send_raw(&bytes)?;
            for _ in 0..9 {
                c.try_read()?;
            }
            done.fetch_add(1, Relaxed);
        }
        Ok(())
    };
    // It ends with the server.
    let _ = go();
}

fn begin_load(port: u16, seeds: std::ops::Range<u64>) -> (Arc<AtomicU64>, Vec<thread::JoinHandle<()>>) {
    let done = Arc::new(AtomicU64::new(0));
    let begin = |seed| {
        let done = done.clone();
        thread::spawn(move || load(port, seed * 1_000_000, &done))
    };
    let loads = seeds.map(begin).collect();
    (done, loads)
}

/// Kills a master under load, and starts it again.
#[track_caller]
fn kill_under_load(master: &mut Server, enough: u64) {
    let (done, loads) = begin_load(master.port(), 1..4);
    wait_until("there is load", || done.load(Relaxed) >= enough);
    master.crash();
    loads.into_iter().for_each(|load| load.join().expect("a load"));
    master.launch();
}

#[test]
fn with_always_a_killed_master_gives_everybody_only_what_they_missed() {
    if Kind::stock_stands_in() {
        return;
    }
    let lines = [
        "appendonly yes",
        "appendfsync always",
        "aof-timestamp-enabled yes",
        "auto-aof-rewrite-min-size 32kb",
        "auto-aof-rewrite-percentage 20",
        "repl-backlog-size 16mb",
    ];
    let mut m = Server::start(Kind::Pando, &lines);
    let (stock, pando) = (Server::start(Kind::Stock70, &[]), Server::start(Kind::Pando, &[]));
    follow(&stock, &m);
    follow(&pando, &m);
    for round in 0..4 {
        kill_under_load(&mut m, 60 + round * 50);
        link_up(&stock);
        link_up(&pando);
        converge(&[&m, &stock, &pando]);
        assert_eq!(syncs(&m), (0, 2), "round {round}: {}", m.log());
    }
    stock_takes(&m);
}

#[test]
fn with_everysec_a_killed_master_and_its_replicas_end_up_the_same() {
    if Kind::stock_stands_in() {
        return;
    }
    let lines = ["appendonly yes", "auto-aof-rewrite-min-size 32kb", "auto-aof-rewrite-percentage 20"];
    let mut m = Server::start(Kind::Pando, &lines);
    let (stock, pando) = (Server::start(Kind::Stock70, &[]), Server::start(Kind::Pando, &[]));
    follow(&stock, &m);
    follow(&pando, &m);
    for round in 0..3 {
        kill_under_load(&mut m, 300 + round * 200);
        link_up(&stock);
        link_up(&pando);
        converge(&[&m, &stock, &pando]);
        let (full, partial) = syncs(&m);
        assert!(full <= 2 && full + partial >= 2, "round {round}: {full}, {partial}");
    }
    stock_takes(&m);
}

#[test]
fn a_killed_replica_goes_on_from_its_own_file() {
    if Kind::stock_stands_in() {
        return;
    }
    for master in [Kind::Stock70, Kind::Pando] {
        let m = Server::start(master, &["repl-backlog-size 64mb"]);
        for fsync in ["always", "everysec"] {
            let fsync_line = format!("appendfsync {fsync}");
            let follows = format!("replicaof 127.0.0.1 {}", m.port());
            let size = "repl-backlog-size 64mb";
            let lines = ["appendonly yes", &fsync_line, &follows, size, "auto-aof-rewrite-percentage 0"];
            let mut r = Server::start(Kind::Pando, &lines);
            link_up(&r);
            let leaf = Server::start(Kind::Stock70, &[]);
            follow(&leaf, &r);
            write(&m, "begin");
            converge(&[&m, &r, &leaf]);
            all_is_noted(&r);
            let before = syncs(&m);
            let (done, loads) = begin_load(m.port(), 5..7);
            for round in 1..=2 {
                wait_until("there is load", || done.load(Relaxed) >= round * 200);
                r.crash();
                r.launch();
                link_up(&r);
            }
            // Ends the load.
            m.run("client kill type normal");
            loads.into_iter().for_each(|load| load.join().expect("a load"));
            link_up(&leaf);
            converge(&[&m, &r, &leaf]);
            let after = syncs(&m);
            assert_eq!((after.0 - before.0, after.1 - before.1), (0, 2), "{master:?}, {fsync}: {}", r.log());
            if fsync == "always" {
                // It told its own replica nothing that it did not have itself.
                assert_eq!(syncs(&r), (0, 1), "{master:?}");
            }
            stock_takes(&r);
        }
    }
}

#[test]
fn signs_of_life_and_messages_are_no_reason_for_a_full_sync() {
    if Kind::stock_stands_in() {
        return;
    }
    let mut m = Server::start(Kind::Pando, &["appendonly yes", "repl-ping-replica-period 1"]);
    let r = Server::start(Kind::Stock70, &[]);
    let (near, wire) = (Server::start(Kind::Pando, &[]), Proxy::to(m.port()));
    near.check(&format!("replicaof 127.0.0.1 {}", wire.port()), "+OK");
    link_up(&near);
    follow(&r, &m);
    write(&m, "begin");
    converge(&[&m, &near, &r]);
    wire.refuse(true);
    wire.cut();
    link_down(&near);
    let before = offset(&m);
    wait_until("a ping goes out", || offset(&m) > before);
    write(&m, "missed");
    m.check("publish channel message", ":0");
    let before = offset(&m);
    wait_until("another ping goes out", || offset(&m) > before);
    wait_until("it arrives", || offset(&r) == offset(&m));
    all_is_noted(&m);
    m.crash();
    m.launch();
    link_up(&r);
    assert_eq!(syncs(&m), (0, 1), "{}", m.log());
    // Who was behind gets pings and messages as well, from the file.
    wire.refuse(false);
    link_up(&near);
    converge(&[&m, &near, &r]);
    assert_eq!(syncs(&m), (0, 2), "{}", m.log());
    // And who comes back once more, under the name that it has learned.
    m.check("set later 1", "+OK");
    converge(&[&m, &near, &r]);
    all_is_noted(&m);
    m.crash();
    m.launch();
    link_up(&near);
    link_up(&r);
    converge(&[&m, &near, &r]);
    assert_eq!(syncs(&m), (0, 2), "{}", m.log());
}

#[test]
fn a_promoted_replica_that_is_killed_is_still_the_one_its_fellows_know() {
    if Kind::stock_stands_in() {
        return;
    }
    // One that says nothing more when its heir is there.
    let m = Server::start(Kind::Pando, &["repl-ping-replica-period 3600"]);
    let mut heir = Server::start(Kind::Pando, &["appendonly yes", "appendfsync always"]);
    let (stock, pando) = (Server::start(Kind::Stock70, &[]), Server::start(Kind::Pando, &[]));
    [&heir, &stock, &pando].iter().for_each(|r| follow(r, &m));
    write(&m, "begin");
    converge(&[&m, &heir, &stock, &pando]);
    all_is_noted(&heir);
    heir.check("replicaof no one", "+OK");
    write(&heir, "promoted");
    all_is_noted(&heir);
    heir.crash();
    heir.launch();
    for r in [&stock, &pando] {
        follow(r, &heir);
    }
    converge(&[&heir, &stock, &pando]);
    assert_eq!(syncs(&heir), (0, 2), "{}", heir.log());
}

#[test]
fn what_the_file_has_lost_is_not_taken_from_who_has_it_by_halves() {
    if Kind::stock_stands_in() {
        return;
    }
    let mut m = Server::start(Kind::Pando, &["appendonly yes", "appendfsync always", "auto-aof-rewrite-percentage 0"]);
    let ahead = Server::start(Kind::Stock70, &[]);
    let (behind, wire) = (Server::start(Kind::Stock70, &[]), Proxy::to(m.port()));
    behind.check(&format!("replicaof 127.0.0.1 {}", wire.port()), "+OK");
    link_up(&behind);
    follow(&ahead, &m);
    write(&m, "begin");
    converge(&[&m, &ahead, &behind]);
    wire.refuse(true);
    wire.cut();
    link_down(&behind);
    write(&m, "middle");
    write(&m, "end");
    converge(&[&m, &ahead]);
    m.crash();
    // As after a loss of power: the file ends earlier, within a request.
    let path = m.path(DIR).join("appendonly.aof.1.incr.aof");
    let bytes = fs::read(&path).expect("the file");
    let lost = bytes.windows(6).position(|w| w == b"end:0\r").expect("what was written last");
    fs::write(&path, &bytes[..lost]).expect("written");
    m.launch();
    wire.refuse(false);
    link_up(&ahead);
    link_up(&behind);
    converge(&[&m, &ahead, &behind]);
    assert_eq!(syncs(&m), (1, 1), "{}", m.log());
    m.check("exists begin:7 middle:7 end:7", ":2");
    // An editor was at it: who knows what is missing.
    all_is_noted(&m);
    m.crash();
    let bytes = fs::read(&path).expect("the file");
    let request = b"*3\r\n$3\r\nSET\r\n$8\r\nmiddle:7\r\n$5\r\nvalue\r\n";
    let at = bytes.windows(request.len()).position(|w| w == request).expect("it is there");
    fs::write(&path, [&bytes[..at], &bytes[at + request.len()..]].concat()).expect("written");
    m.launch();
    link_up(&ahead);
    link_up(&behind);
    converge(&[&m, &ahead, &behind]);
    assert_eq!(syncs(&m), (2, 0), "{}", m.log());
    behind.check("exists begin:7 middle:7", ":1");
}

#[test]
fn a_file_that_a_stock_server_went_on_with_is_told_from_our_own() {
    if Kind::stock_stands_in() {
        return;
    }
    let mut m = Server::start(Kind::Pando, &["appendonly yes", "appendfsync always", "auto-aof-rewrite-percentage 0"]);
    let (r, ahead) = (Server::start(Kind::Stock70, &[]), Server::start(Kind::Pando, &[]));
    follow(&r, &m);
    follow(&ahead, &m);
    write(&m, "begin");
    converge(&[&m, &r, &ahead]);
    let wire = Proxy::to(m.port());
    r.check(&format!("replicaof 127.0.0.1 {}", wire.port()), "+OK");
    link_up(&r);
    wire.refuse(true);
    wire.cut();
    link_down(&r);
    write(&m, "more");
    converge(&[&m, &ahead]);
    m.crash();
    // It loses the end, and writes something else.
    let path = m.path(DIR).join("appendonly.aof.1.incr.aof");
    let bytes = fs::read(&path).expect("the file");
    let lost = bytes.windows(9).position(|w| w == b"more:100\r").expect("what was written last");
    fs::write(&path, &bytes[..lost]).expect("written");
    let mut stock = Server::prepare(Port::reserve(), Kind::Stock70, &["appendonly yes", "appendfsync always"]);
    copy_dir(&m.path(DIR), &stock.path(DIR));
    stock.launch();
    write(&stock, "theirs");
    stock.terminate();
    copy_dir(&stock.path(DIR), &m.path(DIR));
    m.launch();
    wire.refuse(false);
    link_up(&r);
    link_up(&ahead);
    converge(&[&m, &r, &ahead]);
    assert_eq!(syncs(&m), (1, 1), "{}", m.log());
    r.check("exists begin:7 theirs:7 more:200", ":2");
}

#[test]
fn a_moment_that_was_restored_has_the_offset_of_that_moment() {
    if Kind::stock_stands_in() {
        return;
    }
    let mut m = Server::start(Kind::Pando, &["appendonly yes", "appendfsync always", "aof-timestamp-enabled yes"]);
    let ahead = Server::start(Kind::Pando, &[]);
    let (behind, wire) = (Server::start(Kind::Stock70, &[]), Proxy::to(m.port()));
    behind.check(&format!("replicaof 127.0.0.1 {}", wire.port()), "+OK");
    link_up(&behind);
    follow(&ahead, &m);
    write(&m, "begin");
    converge(&[&m, &ahead, &behind]);
    wire.refuse(true);
    wire.cut();
    link_down(&behind);
    write(&m, "kept");
    let now_s = || m.run("time").items()[0].text().parse::<i64>().expect("seconds");
    let moment = now_s();
    wait_until("the second is over", || now_s() > moment);
    write(&m, "gone");
    converge(&[&m, &ahead]);
    m.crash();
    let list = m.path(DIR).join("appendonly.aof.manifest");
    let args = ["check-aof", "--truncate-to-timestamp", &moment.to_string(), list.to_str().expect("text")];
    let (code, said) = run_to_end(Kind::Pando, &args, "");
    assert_eq!(code, Some(0), "{said}");
    m.launch();
    wire.refuse(false);
    link_up(&ahead);
    link_up(&behind);
    converge(&[&m, &ahead, &behind]);
    assert_eq!(syncs(&m), (1, 1), "{}", m.log());
    m.check("exists kept:7 gone:7", ":1");
}

#[test]
fn a_rewrite_loses_nothing_of_what_those_need_who_are_behind() {
    if Kind::stock_stands_in() {
        return;
    }
    for preamble in ["yes", "no"] {
        let preamble = format!("aof-use-rdb-preamble {preamble}");
        let lines = ["appendonly yes", "appendfsync always", &preamble];
        let mut m = Server::prepare(Port::reserve(), Kind::Pando, &lines);
        // As Redis 6 left it.
        fs::write(m.path("appendonly.aof"), "*3\r\n$3\r\nSET\r\n$3\r\nold\r\n$1\r\n1\r\n").expect("a file");
        m.launch();
        let (r, wire) = (Server::start(Kind::Stock70, &[]), Proxy::to(m.port()));
        r.check(&format!("replicaof 127.0.0.1 {}", wire.port()), "+OK");
        link_up(&r);
        for round in ["unrewritten", "rewritten", "again"] {
            write(&m, "begin");
            converge(&[&m, &r]);
            wire.refuse(true);
            wire.cut();
            link_down(&r);
            write(&m, round);
            if round != "unrewritten" {
                rewrite(&m);
                write(&m, "behind");
            }
            if round == "again" {
                m.restart();
                write(&m, "restarted");
                rewrite(&m);
                m.check("set last 1", "+OK");
            }
            m.crash();
            m.launch();
            m.check("get old", "$1");
            wire.refuse(false);
            link_up(&r);
            converge(&[&m, &r]);
            assert_eq!(syncs(&m), (0, 1), "{preamble}, {round}: {}", m.log());
        }
    }
}

/// What a client writes on a writable replica, in the order of what its master does.
const LOCAL: &[(bool, &str)] = &[
    (true, "set shared 10"),
    (false, "incrby shared 5"),
    (true, "append shared 0"),
    (false, "rpush local a b c"),
    (true, "select 4"),
    (true, "set far 1"),
    (false, "select 7"),
    (false, "set own 1"),
    (false, "incrbyfloat own 0.5"),
    (true, "incr far"),
    (false, "select 0"),
    (false, "multi"),
    (false, "set x 1"),
    (false, "lpop local"),
    (false, "publish channel message"),
    (false, "exec"),
    (true, "select 0"),
    (true, "del shared"),
    (true, "rpush shared of-the-master"),
    (false, "rpush shared of-the-replica"),
    (false, "sadd members a b c"),
    (false, "spop members 3"),
    (false, "set brief 1 px 1"),
    (true, "set last 1"),
];

#[test]
fn what_clients_write_on_a_replica_is_in_its_file_as_with_stock() {
    for (fsync, crash) in [("always", true), ("everysec", false)] {
        let m = Server::start(Kind::Stock70, &[]);
        let follows = format!("replicaof 127.0.0.1 {}", m.port());
        let fsync_line = format!("appendfsync {fsync}");
        let lines = ["appendonly yes", &fsync_line, "replica-read-only no", "auto-aof-rewrite-percentage 0", &follows];
        let mut replicas = [Kind::Pando, Kind::Stock70].map(|kind| Server::start(kind, &lines));
        replicas.iter().for_each(link_up);
        for r in &replicas {
            wait_until("its file is in force", || {
                r.info("persistence", "aof_rewrite_in_progress") == "0"
                    && r.info("persistence", "aof_rewrite_scheduled") == "0"
                    && r.path(DIR).join("appendonly.aof.manifest").exists()
            });
        }
        let (mut of_master, mut of_replica) = (m.client(), replicas.each_ref().map(Server::client));
        for (master, line) in LOCAL {
            if *master {
                of_master.run(line);
                for r in &replicas {
                    wait_until("it is there", || offset(r) == offset(&m));
                }
            } else {
                let [ours, theirs] = of_replica.each_mut().map(|c| c.run(line).to_string());
                // Any order will do.
                assert!(ours == theirs || line.starts_with("spop"), "{line}: {ours}, {theirs}");
            }
        }
        for r in &replicas {
            wait_until("its own keys expire", || r.run("exists brief").to_string() == ":0");
            // Only what is deleted does not come back.
            wait_until("and are deleted", || r.run("dbsize").to_string() == ":4");
        }
        let digest = replicas[0].digest();
        assert_eq!(replicas[1].digest(), digest);
        if Kind::stock_stands_in() {
            return;
        }
        all_is_noted(&replicas[0]);
        assert!(!String::from_utf8_lossy(&last_file(&replicas[0])).contains("PUBLISH"));
        let before = syncs(&m);
        let [ours, _] = &mut replicas;
        if crash {
            ours.crash();
            ours.launch();
        } else {
            // An orderly end, but without what that keeps beside the file.
            ours.terminate();
            fs::remove_file(ours.path(DIR).join("appendonly.aof.backlog")).expect("a kept backlog");
            ours.launch();
        }
        assert_eq!(ours.digest(), digest, "{fsync}");
        link_up(ours);
        wait_until("it is where its master is", || offset(ours) == offset(&m));
        assert_eq!(syncs(&m), (before.0, before.1 + 1), "{}", ours.log());
        assert_eq!(ours.digest(), digest, "{fsync}");
        stock_takes(ours);
        // Its own file is one again.
        rewrite(ours);
        ours.script("set local-again 1 => +OK\nincr local-again => :2");
        wait_until("it is written", || String::from_utf8_lossy(&last_file(ours)).contains("incr"));
        ours.crash();
        ours.launch();
        ours.check("get local-again", "$2");
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
}

/// Counts up on a writable replica, beside what its master counts.
#[test]
fn local_writes_and_the_stream_are_in_the_file_in_their_order() {
    if Kind::stock_stands_in() {
        return;
    }
    let m = Server::start(Kind::Pando, &[]);
    let follows = format!("replicaof 127.0.0.1 {}", m.port());
    let lines = ["appendonly yes", "appendfsync always", "replica-read-only no", &follows];
    let mut r = Server::start(Kind::Pando, &lines);
    link_up(&r);
    all_is_noted(&r);
    let (done, loads) = begin_load(m.port(), 1..3);
    let (local, locals) = begin_load(r.port(), 1..3);
    for _ in 0..2 {
        let goal = (done.load(Relaxed) + 40, local.load(Relaxed) + 40);
        wait_until("both write", || done.load(Relaxed) >= goal.0 && local.load(Relaxed) >= goal.1);
        rewrite(&r);
    }
    m.run("client kill type normal");
    r.run("client kill type normal");
    loads.into_iter().chain(locals).for_each(|load| load.join().expect("a load"));
    wait_until("it is where its master is", || offset(&r) == offset(&m));
    let digest = r.digest();
    all_is_noted(&r);
    r.crash();
    r.launch();
    assert_eq!(r.digest(), digest);
    link_up(&r);
    assert_eq!(syncs(&m), (1, 1), "{}", r.log());
    stock_takes(&r);
}

#[test]
fn keys_that_expired_while_a_master_was_down_are_deleted_by_it_afterwards() {
    if Kind::stock_stands_in() {
        return;
    }
    for lines in [&["repl-ping-replica-period 3600"][..], &["repl-ping-replica-period 3600", "appendonly yes"]] {
        let mut m = Server::start(Kind::Pando, lines);
        let r = Server::start(Kind::Stock70, &[]);
        follow(&r, &m);
        m.script("debug set-active-expire 0 => +OK\nset brief 1 px 30 => +OK");
        converge(&[&m, &r]);
        m.client().send(&["SHUTDOWN", "SAVE"]);
        m.wait_end();
        wait_until("it is over", || r.run("exists brief").to_string() == ":0");
        r.check("dbsize", ":1");
        m.launch();
        link_up(&r);
        wait_until("it is deleted", || r.run("dbsize").to_string() == ":0");
        converge(&[&m, &r]);
        assert_eq!(syncs(&m), (0, 1), "{}", m.log());
    }
}

#[test]
fn a_master_that_is_made_a_replica_at_once_goes_on_although_keys_expired() {
    if Kind::stock_stands_in() {
        return;
    }
    let mut m = Server::start(Kind::Pando, &["repl-ping-replica-period 3600", "appendonly yes", "appendfsync always"]);
    let (r, wire) = (Server::start(Kind::Stock70, &[]), Proxy::to(m.port()));
    r.check(&format!("replicaof 127.0.0.1 {}", wire.port()), "+OK");
    link_up(&r);
    write(&m, "begin");
    m.script("debug set-active-expire 0 => +OK\nset brief 1 px 30 => +OK");
    converge(&[&m, &r]);
    wire.refuse(true);
    wire.cut();
    link_down(&r);
    all_is_noted(&m);
    m.crash();
    wait_until("it is over", || r.run("exists brief").to_string() == ":0");
    // It comes back, does nothing of its own accord, and is told to follow its former replica, as Sentinel does.
    r.check("replicaof no one", "+OK");
    r.check("set promoted 1", "+OK");
    m.launch();
    m.check("exists begin:7", ":1");
    follow(&m, &r);
    converge(&[&r, &m]);
    assert_eq!(syncs(&r), (0, 1), "{}", m.log());
}
