//! A master of ours above replicas of every kind: full syncs and partial ones, WAIT, ROLE, limits, handing over.

use std::process::{Child, Command, Stdio};

use crate::harness::{Client, Kind, Proxy, Reply, Server, wait_until};

/// The kinds of replicas that this machine has.
fn kinds() -> Vec<Kind> {
    [Kind::Pando, Kind::Stock70, Kind::Valkey91].into_iter().filter(|k| k.available()).collect()
}

fn replica_of(kind: Kind, port: u16, lines: &[&str]) -> Server {
    let follow = format!("replicaof 127.0.0.1 {port}");
    let mut all = vec![follow.as_str()];
    all.extend(lines);
    Server::start(kind, &all)
}

/// Writes `keys` keys of up to 200 bytes in one database.
fn fill(server: &Server, db: usize, keys: usize) {
    let mut c = server.client();
    c.check(&format!("select {db}"), "+OK");
    for from in (0..keys).step_by(1000) {
        let upto = (from + 1000).min(keys);
        for i in from..upto {
            c.send(&["SET", &format!("key:{i}"), &format!("value {i} {}", "x".repeat(i % 200))]);
        }
        for _ in from..upto {
            assert_eq!(c.read().to_string(), "+OK");
        }
    }
}

/// Writes without end until it is killed.
struct Load(Child);

impl Load {
    fn on(server: &Server, db: &str) -> Self {
        let port = server.port().to_string();
        let mut command = Command::new("redis-benchmark");
        command.args(["-p", &port, "-q", "-l", "-c", "4", "-P", "8", "-r", "3000", "-d", "50", "-t", "set,incr"]);
        let child = command.args(["--dbnum", db]).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self(child.expect("redis-benchmark"))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Every key with its value, in order.
fn contents(server: &Server, db: usize) -> Vec<(String, String)> {
    let mut c = server.client();
    c.check(&format!("select {db}"), "+OK");
    let mut keys: Vec<String> = c.run("keys *").items().iter().map(Reply::text).collect();
    keys.sort();
    keys.iter().for_each(|key| c.send(&["GET", key]));
    keys.into_iter().map(|key| (key, c.read().to_string())).collect()
}

/// Waits until so many replicas have applied everything.
#[track_caller]
fn wait_for(master: &Server, replicas: i64) {
    let mut c = master.client();
    wait_until("all replicas acknowledge", || {
        if (c.run("role").items()[2].items().len() as i64) < replicas {
            return false;
        }
        // A write of this connection gives WAIT something to wait for.
        c.check("set waited for", "+OK");
        c.run(&format!("wait {replicas} 500")).int() >= replicas
    });
}

#[track_caller]
fn same_data(master: &Server, replica: &Server) {
    for db in [0, 3] {
        let (a, b) = (contents(master, db), contents(replica, db));
        assert_eq!(a.len(), b.len(), "database {db} of {:?}", replica.kind);
        let differs = a.iter().zip(&b).find(|(a, b)| a != b);
        assert!(differs.is_none(), "database {db} of {:?}: {differs:?}", replica.kind);
    }
}

/// How often the log says something.
fn count(server: &Server, text: &str) -> usize {
    server.log().matches(text).count()
}

#[test]
fn replicas_of_every_kind_get_all_of_it_while_writes_go_on() {
    for diskless in ["yes", "no"] {
        let master = Server::start(Kind::Pando, &[&format!("repl-diskless-sync {diskless}")]);
        fill(&master, 0, 20_000);
        fill(&master, 3, 5_000);
        let loads = [Load::on(&master, "0"), Load::on(&master, "3")];
        let replicas: Vec<Server> = kinds().iter().map(|k| replica_of(*k, master.port(), &[])).collect();
        for replica in &replicas {
            let what = format!("{:?} is connected", replica.kind);
            wait_until(&what, || replica.run("role").items().get(3).is_some_and(|s| s.text() == "connected"));
        }
        drop(loads);
        wait_for(&master, replicas.len() as i64);
        for replica in &replicas {
            same_data(&master, replica);
            replica.check("set a b", "-READONLY You can't write against a read only replica.");
        }
        let target = if diskless == "yes" { "replicas sockets" } else { "disk" };
        assert!(master.log_has(&format!("Starting BGSAVE for SYNC with target: {target}")));
    }
}

#[test]
fn one_snapshot_feeds_all_that_wait() {
    let master = Server::start(Kind::Pando, &["repl-diskless-sync-delay 30", "repl-diskless-sync-max-replicas 3"]);
    fill(&master, 0, 1000);
    let replicas: Vec<Server> = (0..3).map(|_| replica_of(Kind::Stock70, master.port(), &[])).collect();
    wait_for(&master, 3);
    assert_eq!(count(&master, "Starting BGSAVE for SYNC"), 1);
    assert_eq!(count(&master, "Delay next BGSAVE for diskless SYNC"), 3);
    for replica in &replicas {
        same_data(&master, replica);
    }
}

#[test]
fn a_cut_link_is_resumed_where_it_broke() {
    for kind in kinds() {
        let master = Server::start(Kind::Pando, &[]);
        fill(&master, 3, 100);
        let proxy = Proxy::to(master.port());
        let replica = replica_of(kind, proxy.port(), &[]);
        wait_for(&master, 1);
        for round in 1..=3 {
            proxy.cut();
            master.check(&format!("set round {round}"), "+OK");
            fill(&master, 3, 50 * round);
            wait_for(&master, 1);
            same_data(&master, &replica);
        }
        assert_eq!(count(&master, "Full resync requested by replica"), 1, "{kind:?}");
        assert!(count(&master, "accepted. Sending") >= 3, "{kind:?}");
    }
}

#[test]
fn a_replica_that_missed_more_than_the_backlog_gets_everything_anew() {
    let master = Server::start(Kind::Pando, &["repl-backlog-size 16384"]);
    let proxy = Proxy::to(master.port());
    let replica = replica_of(Kind::Stock70, proxy.port(), &[]);
    wait_for(&master, 1);
    proxy.refuse(true);
    proxy.cut();
    master.wait_log("lost.");
    fill(&master, 0, 5000);
    proxy.refuse(false);
    wait_for(&master, 1);
    same_data(&master, &replica);
    assert!(master.log_has("for lack of backlog"));
}

#[test]
fn replicas_of_replicas_share_the_stream() {
    let root = Server::start(Kind::Pando, &[]);
    fill(&root, 3, 500);
    let stock = replica_of(Kind::Stock70, root.port(), &[]);
    let ours = replica_of(Kind::Pando, stock.port(), &[]);
    let leaves: Vec<Server> = kinds().iter().map(|k| replica_of(*k, ours.port(), &[])).collect();
    let connected = |s: &Server| s.run("role").items().get(3).is_some_and(|s| s.text() == "connected");
    wait_until("every link is up", || leaves.iter().all(connected));
    fill(&root, 3, 1000);
    root.check("set last 1", "+OK");
    for leaf in &leaves {
        wait_until("the last write arrives", || leaf.run("get last").to_string() == "$1");
        same_data(&root, leaf);
    }
    // Nobody but the root may have added to the stream.
    let offset = |s: &Server| s.run("role").items().last().map(|o| o.to_string());
    wait_until("all stand at one offset", || leaves.iter().all(|leaf| offset(leaf) == offset(&stock)));
}

#[test]
fn a_promoted_replica_takes_its_former_fellows_without_a_full_sync() {
    for kind in kinds() {
        let old = Server::start(Kind::Pando, &[]);
        fill(&old, 0, 500);
        let heir = replica_of(Kind::Pando, old.port(), &[]);
        let fellow = replica_of(kind, old.port(), &[]);
        wait_for(&old, 2);
        heir.check("replicaof no one", "+OK");
        heir.check("set mine 1", "+OK");
        let synced = count(&heir, "Starting BGSAVE for SYNC");
        for server in [&fellow, &old] {
            server.check(&format!("replicaof 127.0.0.1 {}", heir.port()), "+OK");
        }
        wait_for(&heir, 2);
        same_data(&heir, &fellow);
        same_data(&heir, &old);
        assert_eq!(count(&heir, "Starting BGSAVE for SYNC"), synced, "{kind:?}");
        assert!(count(&heir, "accepted. Sending") >= 2, "{kind:?}");
    }
}

#[test]
fn wait_counts_who_has_it() {
    let master = Server::start(Kind::Pando, &[]);
    master.check("wait 0 0", ":0");
    master.check("wait 1 50", ":0");
    master.check("wait x 0", "-ERR value is not an integer or out of range");
    master.check("wait 1 -1", "-ERR timeout is negative");
    let proxy = Proxy::to(master.port());
    let replica = replica_of(Kind::Pando, proxy.port(), &[]);
    wait_for(&master, 1);
    let mut c = master.client();
    c.check("set a 1", "+OK");
    c.check("wait 1 0", ":1");
    proxy.hold(true);
    c.check("set a 2", "+OK");
    c.check("wait 1 100", ":0");
    c.check("multi", "+OK");
    c.check("wait 1 0", "+QUEUED");
    c.check("exec", "[:0]");
    c.send(&["WAIT", "1", "0"]);
    proxy.hold(false);
    assert_eq!(c.read().to_string(), ":1");
    let refused = replica.run("wait 1 0").to_string();
    assert!(refused.starts_with("-ERR WAIT cannot be used with replica instances."), "{refused}");
}

#[test]
fn role_tells_of_replicas_online() {
    let master = Server::start(Kind::Pando, &[]);
    let role = master.run("role");
    assert_eq!(role.to_string(), "[$master :0 []]");
    let replica = replica_of(Kind::Stock70, master.port(), &["replica-announce-port 4711", "replica-announce-ip name"]);
    wait_for(&master, 1);
    let role = master.run("role");
    let of_replica = role.items()[2].items()[0].items();
    assert_eq!([of_replica[0].text(), of_replica[1].text()], ["name", "4711"]);
    let role = replica.run("role").to_string();
    assert!(role.starts_with(&format!("[$slave $127.0.0.1 :{} $connected", master.port())), "{role}");
}

#[test]
fn too_few_replicas_refuse_writes() {
    let master = Server::start(Kind::Pando, &["min-replicas-to-write 1"]);
    let refused = "-NOREPLICAS Not enough good replicas to write.";
    master.check("set a 1", refused);
    let replica = replica_of(Kind::Stock70, master.port(), &[]);
    wait_until("writes are taken", || master.run("set a 1").to_string() == "+OK");
    drop(replica);
    wait_until("writes are refused", || master.run("set a 1").to_string() == refused);
}

#[test]
fn a_killed_replica_comes_back() {
    let master = Server::start(Kind::Pando, &[]);
    let replica = replica_of(Kind::Stock70, master.port(), &[]);
    wait_for(&master, 1);
    let list = master.run("client list type replica").text();
    assert!(list.contains(" flags=S ") && list.contains(" cmd=replconf "), "{list}");
    master.check("client kill type replica", ":1");
    wait_for(&master, 1);
    assert!(master.log_has("accepted. Sending"));
    same_data(&master, &replica);
}

/// Asks for a full sync as a replica without capabilities would, and takes the file.
fn full_sync(master: &Server) -> Client {
    let mut c = master.client();
    let line = c.psync();
    assert!(line.starts_with("+FULLRESYNC "), "{line}");
    // Newlines, which are no lines, keep us patient.
    let mut first = c.read_exact(1).unwrap();
    while first == b"\n" {
        first = c.read_exact(1).unwrap();
    }
    assert_eq!(first, b"$");
    let line = c.read_line().unwrap();
    let bytes: usize = line.parse().unwrap_or_else(|_| panic!("{line}"));
    assert!(c.read_exact(bytes).unwrap().starts_with(b"REDIS"));
    c
}

/// A replica that has loaded what it got, as far as its master knows, and reads no more from here on.
fn deaf(master: &Server) -> Client {
    let mut c = full_sync(master);
    c.send(&["REPLCONF", "ACK", "0"]);
    wait_until("it has acknowledged", || {
        let replica = master.info("replication", "slave0");
        replica.contains(",lag_ms=") && !replica.contains(",lag_ms=-1")
    });
    c
}

#[test]
fn a_replica_that_says_nothing_is_given_up() {
    let master = Server::start(Kind::Pando, &["repl-timeout 2"]);
    let mut silent = full_sync(&master);
    master.wait_log("Disconnecting timedout replica (streaming sync)");
    wait_until("the connection is closed", || silent.read_exact(1).is_err());
}

#[test]
fn a_replica_that_asks_for_more_than_the_stream_is_disconnected() {
    let master = Server::start(Kind::Pando, &[]);
    let mut c = full_sync(&master);
    c.send(&["REPLCONF", "ACK", "0"]);
    c.send(&["SET", "a", "1"]);
    wait_until("the connection is closed", || c.is_closed());
    master.check("get a", "$nil");
}

#[test]
fn a_replica_too_far_behind_is_cut_off() {
    let limit = "client-output-buffer-limit replica 1mb 0 0";
    let master = Server::start(Kind::Pando, &[limit, "repl-backlog-size 16384"]);
    let slow = deaf(&master);
    let mut c = master.client();
    let value = "v".repeat(1 << 20);
    wait_until("it is cut off", || {
        assert_eq!(c.call(&["SET", "k", &value]).to_string(), "+OK");
        master.log_has("for overcoming of output buffer limits")
    });
    drop(slow);
}

#[test]
fn the_backlog_outlives_the_last_replica_for_a_while() {
    let master = Server::start(Kind::Pando, &["repl-backlog-ttl 1"]);
    let replica = replica_of(Kind::Stock70, master.port(), &[]);
    wait_for(&master, 1);
    drop(replica);
    master.wait_log("Replication backlog freed after 1 seconds without connected replicas.");
    let again = replica_of(Kind::Stock70, master.port(), &[]);
    wait_for(&master, 1);
    same_data(&master, &again);
}

#[test]
fn redis_cli_takes_a_snapshot() {
    let master = Server::start(Kind::Pando, &[]);
    fill(&master, 0, 100);
    let file = master.path("taken.rdb");
    master.cli(&["--rdb", &file.display().to_string()]);
    let bytes = std::fs::read(&file).unwrap();
    assert!(bytes.starts_with(b"REDIS00") && bytes.windows(6).any(|w| w == b"key:99"), "{} bytes", bytes.len());
    wait_until("it is not taken for a replica", || master.run("role").items()[2].items().is_empty());
}

#[test]
fn failover_hands_the_role_over() {
    for kind in kinds() {
        let master = Server::start(Kind::Pando, &[]);
        fill(&master, 0, 500);
        master.check("failover", "-ERR FAILOVER requires connected replicas.");
        master.check("failover abort", "-ERR No failover in progress.");
        let replica = replica_of(kind, master.port(), &[]);
        wait_for(&master, 1);
        let load = Load::on(&master, "0");
        master.check(&format!("failover to 127.0.0.1 {} timeout 20000", replica.port()), "+OK");
        wait_until("the replica leads", || replica.run("role").items()[0].text() == "master");
        drop(load);
        wait_until("the master follows", || {
            master.run("role").items().get(3).is_some_and(|state| state.text() == "connected")
        });
        wait_for(&replica, 1);
        same_data(&replica, &master);
        assert!(!master.log_has("Full resync from master"), "{kind:?}");
    }
}

#[test]
fn failover_turns_back_when_nobody_catches_up() {
    let master = Server::start(Kind::Pando, &[]);
    let proxy = Proxy::to(master.port());
    let replica = replica_of(Kind::Pando, proxy.port(), &[]);
    wait_for(&master, 1);
    proxy.hold(true);
    master.check("set a 1", "+OK");
    master.check("failover timeout 300", "+OK");
    master.check("failover", "-ERR FAILOVER already in progress.");
    // A write waits for the outcome, and is taken then.
    master.check("set a 2", "+OK");
    assert!(master.log_has("Replica never caught up before timeout"));
    assert_eq!(master.run("role").items()[0].text(), "master");
    proxy.hold(false);
    wait_for(&master, 1);
    replica.check("get a", "$2");
}

#[test]
fn a_replica_too_far_behind_is_cut_off_as_the_log_grows() {
    let server = Server::start(
        Kind::Pando,
        &["client-output-buffer-limit replica 1mb 0 0", "repl-backlog-size 64kb", "repl-ping-replica-period 3600"],
    );
    let _deaf = deaf(&server);
    // The cron, which looks as well, rests.
    server.check("debug pause-cron 1", "+OK");
    let (mut c, value) = (server.client(), "x".repeat(100_000));
    // The sockets' buffers take some of it.
    wait_until("it is cut off", || {
        c.call(&["set", "k", &value]);
        server.log_has("closed ASAP for overcoming of output buffer limits")
    });
    wait_until("it is gone", || server.info("replication", "connected_slaves") == "0");
}

#[test]
fn good_replicas_are_counted_when_one_comes_or_goes_and_when_asked_for_others() {
    let master = Server::start(Kind::Pando, &[]);
    let replica = replica_of(Kind::Stock70, master.port(), &[]);
    same_data(&master, &replica);
    let mut c = master.client();
    c.check("config set min-replicas-to-write 1", "+OK");
    wait_until("one is good", || !c.run("set a 1").is_error());
    c.script(
        "config set min-replicas-to-write 2 => +OK
         set a 1 => -NOREPLICAS Not enough good replicas to write.
         config set min-replicas-to-write 1 => +OK
         set a 1 => +OK",
    );
    drop(replica);
    wait_until("it is missed", || c.run("set a 1").is_error());
}

#[test]
fn what_was_over_before_a_restart_is_told_to_whoever_goes_on_from_the_file() {
    for kind in [Kind::Pando, Kind::Stock70] {
        // A replica of the same kind, so that both understand the file's history alike.
        let mut master = Server::start(kind, &["save \"3600 100000\"", "repl-diskless-sync no"]);
        let replica = replica_of(kind, master.port(), &[]);
        master.script("set stays 1 => +OK\n debug set-active-expire 0 => +OK");
        let mut c = master.client();
        for i in 0..50 {
            c.run(&format!("select {}", i % 3));
            c.check(&format!("set gone:{i} 1 px 1"), "+OK");
        }
        let offsets = || [&master, &replica].map(|s| s.info("replication", "master_repl_offset"));
        wait_until("the replica has all", || offsets()[0] == offsets()[1]);
        wait_until("they are over", || c.run("get gone:49").to_string() == "$nil" && c.run("ttl gone:49").int() == -2);
        let offset: i64 = master.info("replication", "master_repl_offset").parse().expect("an offset");
        master.restart();
        wait_until("the replica goes on", || replica.info("replication", "master_link_status") == "up");
        // The look at one of them made it go before.
        assert_eq!(master.info("persistence", "rdb_last_load_keys_expired"), "49", "{kind:?}");
        assert!(master.info_int("replication", "master_repl_offset") > offset);
        assert_eq!(master.info("stats", "sync_partial_ok"), "1", "{kind:?}");
        assert_eq!(master.info("stats", "sync_full"), "0", "{kind:?}");
        wait_until("they are gone there too", || replica.info("keyspace", "db1").is_empty());
        same_data(&master, &replica);
    }
}

#[test]
fn a_snapshot_that_no_replica_waits_for_any_more_is_given_up() {
    // Stock's child notices when it has something to send.
    if Kind::stock_stands_in() {
        return;
    }
    for diskless in ["no", "yes"] {
        let diskless = format!("repl-diskless-sync {diskless}");
        let server = Server::start(Kind::Pando, &[&diskless, "rdb-key-save-delay 10000000"]);
        server.check("mset a 1 b 2 c 3", "+OK");
        let mut c = server.client();
        c.check("replconf capa eof", "+OK");
        c.send(&["psync", "?", "-1"]);
        let running = || server.info("persistence", "rdb_bgsave_in_progress") == "1";
        wait_until("it begins", running);
        drop(c);
        wait_until("it is given up", || !running());
    }
}

#[test]
fn a_replica_that_asks_is_named_in_the_log_as_stock_names_it() {
    let server = Server::start(Kind::Pando, &[]);
    let mut c = full_sync(&server);
    c.send(&["slowlog", "get"]);
    wait_until("the connection is closed", || c.is_closed());
    server.wait_log("Replica generated a reply to command 'slowlog|get', disconnecting it: id=");
    let mut c = full_sync(&server);
    c.send(&["get", "foo"]);
    wait_until("the connection is closed", || c.is_closed());
    server.wait_log("Replica can't interact with the keyspace");
    server.wait_log("Replica generated a reply to command 'get', disconnecting it: id=");
    server.check("psync replid much", "-ERR value is not an integer or out of range");
    server.wait_log("asks for synchronization but with a wrong offset");
}
