//! A replica of ours under masters of every kind: good, stock, broken and hostile.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::harness::{Client, FakeMaster, Kind, Peer, Proxy, Server, chain, converge, wait_until};

/// A replica that follows `port` from its configuration file on.
fn replica_of(port: u16, lines: &[&str]) -> Server {
    let follow = format!("replicaof 127.0.0.1 {port}");
    let mut all = vec![follow.as_str()];
    all.extend(lines);
    Server::start(Kind::Pando, &all)
}

#[track_caller]
fn wait_value(server: &Server, key: &str, value: &str) {
    let expect = format!("${value}");
    wait_until(&format!("{key} is {value}"), || server.run(&format!("get {key}")).to_string() == expect);
}

/// Commands on one connection, none of which may fail.
#[track_caller]
fn all(server: &Server, lines: &str) {
    let mut c = server.client();
    for line in lines.lines() {
        let reply = c.run(line);
        assert!(!reply.is_error(), "{line}: {reply}");
    }
}

/// Everything a master wrote has been applied by the replica.
#[track_caller]
fn in_step(master: &Server, replica: &Server) {
    static ROUND: AtomicU64 = AtomicU64::new(0);
    let round = ROUND.fetch_add(1, Relaxed).to_string();
    master.check(&format!("set in-step {round}"), "+OK");
    wait_value(replica, "in-step", &round);
    // Nothing of the master's was lost on the way and nothing was added, or this would not come.
    wait_until("the replica acknowledges", || master.client().run("wait 1 1000").int() == 1);
}

/// Many keys, so that a transfer has a length worth the name.
fn fill(server: &Server, keys: usize) {
    let mut c = server.client();
    for from in (0..keys).step_by(1000) {
        for i in from..(from + 1000).min(keys) {
            c.send(&["SET", &format!("key:{i}"), &format!("value {i} {}", "x".repeat(i % 200))]);
        }
        for _ in from..(from + 1000).min(keys) {
            assert_eq!(c.read().to_string(), "+OK");
        }
    }
}

#[test]
fn every_way_of_loading_takes_every_kind_of_transfer() {
    for kind in [Kind::Stock70, Kind::Valkey91, Kind::Redis80].into_iter().filter(|k| k.available()) {
        for diskless in ["yes", "no"] {
            let master = Server::start(kind, &[&format!("repl-diskless-sync {diskless}")]);
            fill(&master, 5000);
            all(&master, "set here 1\nset later 1 ex 1000\nselect 3\nset there 2");
            for load in ["disabled", "on-empty-db", "swapdb", "flush-before-load"] {
                let replica = Server::start(Kind::Pando, &[&format!("repl-diskless-load {load}")]);
                if load != "on-empty-db" {
                    replica.check("set mine 1", "+OK");
                }
                replica.check(&format!("replicaof 127.0.0.1 {}", master.port()), "+OK");
                in_step(&master, &replica);
                assert_eq!(replica.run("dbsize").int(), master.run("dbsize").int(), "{kind:?} {diskless} {load}");
                replica.check("get mine", "$nil");
                replica.check("get key:4321", &master.run("get key:4321").to_string());
                assert!((900..=1000).contains(&replica.run("ttl later").int()));
                let mut c = replica.client();
                c.check("select 3", "+OK");
                c.check("get there", "$2");
                c.check("set there 3", "-READONLY You can't write against a read only replica.");
                replica.check("replicaof no one", "+OK");
            }
        }
    }
}

#[test]
fn a_stream_is_applied_in_the_databases_and_the_transactions_it_names() {
    let master = Server::start(Kind::Stock70, &[]);
    let replica = replica_of(master.port(), &[]);
    in_step(&master, &replica);
    let mut listener = replica.client();
    listener.run("subscribe news");
    all(&master, "multi\nset a 1\nincr a\nselect 3\nset b 2\nexec\nselect 0\nincr a\nappend a 0\npublish news hello");
    assert_eq!(listener.read().to_string(), "[$message $news $hello]");
    wait_value(&replica, "a", "30");
    let mut c = replica.client();
    c.check("select 3", "+OK");
    c.check("get b", "$2");
    // What expires goes when the master says so, and is hidden before.
    master.check("set gone 1 px 30", "+OK");
    in_step(&master, &replica);
    wait_until("it expires", || replica.run("get gone").to_string() == "$nil");
    assert_eq!(replica.run("exists gone").int(), 0);
}

#[test]
fn a_cut_link_goes_on_where_it_was() {
    let master = Server::start(Kind::Stock70, &[]);
    let proxy = Proxy::to(master.port());
    let replica = replica_of(proxy.port(), &[]);
    in_step(&master, &replica);
    let mut c = master.client();
    for round in 0..20 {
        for i in 0..200 {
            c.send(&["INCR", &format!("n:{}", i % 7)]);
            if i % 50 == 49 {
                c.send(&["MULTI"]);
                c.send(&["INCR", "in"]);
                c.send(&["INCR", "out"]);
                c.send(&["EXEC"]);
            }
        }
        for _ in 0..216 {
            assert!(!c.read().is_error());
        }
        if round % 3 == 0 {
            proxy.cut_after(700 + round * 31);
        } else {
            proxy.cut();
        }
    }
    wait_until("all of it has arrived", || replica.run("get in").to_string() == "$80");
    in_step(&master, &replica);
    for key in ["n:0", "n:1", "n:6", "in", "out"] {
        replica.check(&format!("get {key}"), &master.run(&format!("get {key}")).to_string());
    }
    assert_eq!(master.info("stats", "sync_full"), "1", "every cut was mended by a partial resync");
}

#[test]
fn half_a_transaction_is_none() {
    let master = FakeMaster::start(|peer, number| {
        let asked = peer.handshake()?;
        if number == 0 {
            full_sync(peer, &rdb(&[("old", "1")]), 100)?;
            peer.say(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n")?;
            // 27 bytes that count, then a transaction that breaks off.
            peer.say(b"*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n2\r\n")?;
            return Ok(());
        }
        assert_eq!(asked, format!("PSYNC {} 128", "a".repeat(40)));
        peer.say(b"+CONTINUE\r\n*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n3\r\n*1\r\n$4\r\nEXEC\r\n")?;
        peer.drain()
    });
    let replica = replica_of(master.port(), &[]);
    wait_value(&replica, "a", "3");
    replica.check("get old", "$1");
    assert_eq!(master.connections(), 2);
}

#[test]
fn a_damaged_or_broken_transfer_leaves_the_old_data() {
    let good = rdb(&[("new", "1")]);
    let mut strange = good.clone();
    strange[10] = 0xc8;
    for load in ["disabled", "swapdb", "on-empty-db"] {
        let (good, strange) = (good.clone(), strange.clone());
        let master = FakeMaster::start(move |peer, number| {
            peer.handshake()?;
            match number {
                0 => full_sync(peer, &strange, 0)?,
                1 => {
                    peer.say(format!("+FULLRESYNC {} 0\r\n$1000\r\n", "a".repeat(40)).as_bytes())?;
                    return peer.say(&good[..good.len() / 2]);
                }
                2 => return peer.say(b"+FULLRESYNC what 0\r\n"),
                3 => {
                    peer.say(format!("+FULLRESYNC {} 0\r\n", "a".repeat(40)).as_bytes())?;
                    return peer.say(b"-ERR no memory for a snapshot\r\n");
                }
                _ => full_sync(peer, &good, 0)?,
            }
            peer.drain()
        });
        let replica = Server::start(Kind::Pando, &[&format!("repl-diskless-load {load}")]);
        replica.check("set old 1", "+OK");
        replica.check(&format!("replicaof 127.0.0.1 {}", master.port()), "+OK");
        wait_until("the fourth attempt fails", || {
            // A load that may fail hides the old data; its failure brings it back.
            let old = replica.run("get old").to_string();
            assert!(old == "$1" || old.starts_with("-LOADING") || replica.log_has("Finished"), "{load}: {old}");
            master.connections() >= 4
        });
        replica.wait_log("Failed trying to load the MASTER synchronization DB");
        replica.wait_log("wrong +FULLRESYNC syntax");
        replica.wait_log("MASTER aborted replication with an error: ERR no memory for a snapshot");
        wait_value(&replica, "new", "1");
        replica.check("get old", "$nil");
        assert!(replica.log_has("MASTER <-> REPLICA sync: Finished with success"));
        let leftovers = fs::read_dir(replica.dir()).expect("its directory").flatten();
        let temp = leftovers.map(|f| f.file_name().to_string_lossy().into_owned()).find(|f| f.starts_with("temp-"));
        assert_eq!(temp, None, "a temporary file stayed behind");
    }
}

#[test]
fn a_disk_that_refuses_costs_a_retry_and_nothing_else() {
    let master = Server::start(Kind::Stock70, &[]);
    master.check("set new 1", "+OK");
    let replica = Server::start(Kind::Pando, &[]);
    replica.check("set old 1", "+OK");
    let (dir, aside) = (replica.dir().to_owned(), replica.dir().with_extension("aside"));
    fs::rename(&dir, &aside).expect("renamed");
    replica.check(&format!("replicaof 127.0.0.1 {}", master.port()), "+OK");
    wait_until("it complains", || {
        let log = fs::read_to_string(aside.join("log")).unwrap_or_default();
        log.contains("Opening the temp file needed for MASTER <-> REPLICA synchronization")
    });
    replica.check("get old", "$1");
    fs::rename(&aside, &dir).expect("renamed back");
    wait_value(&replica, "new", "1");
}

#[test]
fn what_is_no_master_is_named_and_asked_again() {
    let master = FakeMaster::start(|peer, _| {
        peer.request()?;
        peer.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")?;
        peer.drain()
    });
    let replica = Server::start(Kind::Pando, &[]);
    replica.check("set old 1", "+OK");
    replica.check(&format!("replicaof 127.0.0.1 {}", master.port()), "+OK");
    replica.wait_log("Error reply to PING from master: 'HTTP/1.1 400 Bad Request'");
    wait_until("it is asked again", || master.connections() >= 2);
    replica.check("get old", "$1");
    // Nobody at all.
    let silent = { FakeMaster::start(|_, _| Ok(())).port() };
    replica.check(&format!("replicaof 127.0.0.1 {silent}"), "+OK");
    replica.wait_log("Error condition on socket for SYNC: Connection refused");
    replica.check("replicaof no.such.host.invalid 6379", "+OK");
    replica.wait_log("Connecting to MASTER no.such.host.invalid:6379");
    replica.check("replicaof localhost 99999", "-ERR Invalid master port");
    replica.check("replicaof no one", "+OK");
    replica.check("set old 2", "+OK");
}

#[test]
fn a_password_is_asked_for_and_given() {
    let master = Server::start(Kind::Stock70, &["requirepass secret"]);
    master.check("set new 1", "+OK");
    let replica = replica_of(master.port(), &["masterauth wrong"]);
    replica.wait_log("Unable to AUTH to MASTER");
    replica.check("config set masterauth secret", "+OK");
    wait_value(&replica, "new", "1");
}

#[test]
fn a_promoted_replica_writes_and_a_master_is_followed_again() {
    let master = Server::start(Kind::Stock70, &[]);
    let replica = replica_of(master.port(), &[]);
    master.check("set a 1", "+OK");
    in_step(&master, &replica);
    let port = master.port();
    replica.check(&format!("replicaof 127.0.0.1 {port}"), "+OK Already connected to specified master");
    let mut c = replica.client();
    c.check("set a 2", "-READONLY You can't write against a read only replica.");
    c.check("replicaof no one", "+OK");
    c.check("set a 2", "+OK");
    assert!(replica.log_has("MASTER MODE enabled (user request from 'id="));
    master.check("set a 3", "+OK");
    replica.check("get a", "$2");
    c.check(&format!("slaveof 127.0.0.1 {port}"), "+OK");
    // From this reply on nothing is written any more, whoever asks.
    c.check("set a 4", "-READONLY You can't write against a read only replica.");
    assert!(replica.log_has(&format!("REPLICAOF 127.0.0.1:{port} enabled (user request from 'id=")));
    wait_value(&replica, "a", "3");
    assert_eq!(replica.run("config get replicaof").items()[1].text(), format!("127.0.0.1 {port}"));
}

#[test]
fn what_is_written_on_a_replica_stays_there_and_moves_no_offset() {
    let master = Server::start(Kind::Stock70, &[]);
    let proxy = Proxy::to(master.port());
    let replica = replica_of(proxy.port(), &["replica-read-only no"]);
    in_step(&master, &replica);
    all(&replica, "set mine 1\nincr mine\nset in-step -1");
    in_step(&master, &replica);
    proxy.cut();
    in_step(&master, &replica);
    replica.check("get mine", "$2");
    assert_eq!(master.info("stats", "sync_full"), "1");
    master.check("exists mine", ":0");
}

#[test]
fn old_data_is_served_or_not_as_configured() {
    let mut master = Server::start(Kind::Stock70, &[]);
    let replica = replica_of(master.port(), &[]);
    master.check("set a 1", "+OK");
    in_step(&master, &replica);
    master.crash();
    replica.wait_log("Connection with master lost.");
    replica.check("get a", "$1");
    replica.check("config set replica-serve-stale-data no", "+OK");
    replica.check("get a", "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.");
    replica.check("ping", "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.");
}

#[test]
fn a_stream_that_is_none_ends_the_link() {
    let master = FakeMaster::start(|peer, number| {
        let asked = peer.handshake()?;
        // Where the bytes were no requests, there is no point to go on from.
        assert!(number == 0 || asked == "PSYNC ? -1", "{asked}");
        full_sync(peer, &rdb(&[("n", &number.to_string())]), 7)?;
        if number == 0 {
            peer.say(b"nonsense from the wire\r\n")?;
        }
        peer.drain()
    });
    let replica = replica_of(master.port(), &[]);
    wait_value(&replica, "n", "1");
    replica.wait_log("Receiving inline protocol from master");
}

#[test]
fn an_acknowledgement_is_sent_when_asked_for() {
    let master = FakeMaster::start(|peer, _| {
        peer.handshake()?;
        full_sync(peer, &rdb(&[]), 50)?;
        assert_eq!(peer.request()?, "REPLCONF ACK 50");
        peer.say(b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n")?;
        while peer.request()? != "REPLCONF ACK 87" {}
        peer.say(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n")?;
        peer.drain()
    });
    let replica = replica_of(master.port(), &[]);
    wait_value(&replica, "a", "1");
}

#[test]
fn clients_see_the_master_and_may_hang_up_on_it() {
    let master = Server::start(Kind::Stock70, &[]);
    let replica = replica_of(master.port(), &[]);
    in_step(&master, &replica);
    let line = replica.run("client list type master").text();
    assert!(line.contains(&format!("addr=127.0.0.1:{} ", master.port())) && line.contains(" flags=M "), "{line}");
    replica.check("client kill type master", ":1");
    replica.wait_log("Successful partial resynchronization with master.");
    in_step(&master, &replica);
}

/// Says `+FULLRESYNC` and sends a payload whose length is told.
fn full_sync(peer: &mut Peer, payload: &[u8], offset: i64) -> io::Result<()> {
    peer.say(format!("+FULLRESYNC {} {offset}\r\n${}\r\n", "a".repeat(40), payload.len()).as_bytes())?;
    peer.say(payload)
}

/// A small data set of short strings, without a checksum.
fn rdb(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut out = b"REDIS0009\xfe\x00".to_vec();
    for (key, value) in pairs {
        for text in [key, value] {
            if text == key {
                out.push(0);
            }
            out.push(text.len() as u8);
            out.extend_from_slice(text.as_bytes());
        }
    }
    out.push(0xff);
    out.extend_from_slice(&[0; 8]);
    out
}

#[test]
fn writes_of_clients_never_slip_in_when_the_role_changes() {
    let master = Server::start(Kind::Stock70, &[]);
    let replica = Server::start(Kind::Pando, &["io-threads 4"]);
    let port = replica.port();
    let writers: Vec<_> = (0..3)
        .map(|w| {
            std::thread::spawn(move || {
                let mut c = Client::connect(port);
                for i in 0..3000 {
                    c.send(&["SET", &format!("w:{w}:{i}"), "1"]);
                    if i % 20 == 19 {
                        for _ in 0..20 {
                            c.read();
                        }
                    }
                }
            })
        })
        .collect();
    for _ in 0..5 {
        replica.check(&format!("replicaof 127.0.0.1 {}", master.port()), "+OK");
        in_step(&master, &replica);
        assert_eq!(replica.run("dbsize").int(), master.run("dbsize").int());
        replica.check("replicaof no one", "+OK");
    }
    replica.check(&format!("replicaof 127.0.0.1 {}", master.port()), "+OK");
    for writer in writers {
        writer.join().expect("a writer");
    }
    in_step(&master, &replica);
    assert_eq!(replica.run("dbsize").int(), master.run("dbsize").int());
}

#[test]
fn a_chain_of_every_kind_holds_the_same_and_survives_a_promotion() {
    use Kind::{Pando, Stock70};
    for kinds in [[Stock70, Pando, Stock70, Pando], [Pando, Stock70, Pando, Pando]] {
        let nodes = chain(&kinds, &[]);
        let [first, second, third, fourth] = &nodes[..] else { panic!("four nodes") };
        fill(first, 2000);
        all(first, "multi\nset a 1\nincr a\nselect 5\nset b 1\nexec\nselect 0\nset c 1 ex 1000");
        converge(&[first, second, third, fourth]);
        // The second leads; the first comes back as the last of the chain, and nobody needs everything again.
        second.check("replicaof no one", "+OK");
        second.check("incr promoted", ":1");
        first.check(&format!("replicaof 127.0.0.1 {}", fourth.port()), "+OK");
        for node in [third, fourth, first] {
            wait_value(node, "promoted", "1");
        }
        converge(&[second, third, fourth, first]);
        let full: i64 = nodes.iter().map(|n| n.info_int("stats", "sync_full")).sum();
        assert_eq!(full, 3, "{kinds:?}: one full resync for each of the three replicas, when they began");
    }
}

#[test]
fn nobody_spins_in_a_ring() {
    let (a, b) = (Server::start(Kind::Pando, &[]), Server::start(Kind::Pando, &[]));
    a.check("set old 1", "+OK");
    a.check(&format!("replicaof 127.0.0.1 {}", b.port()), "+OK");
    wait_until("the link is up", || a.info("replication", "master_link_status") == "up");
    b.check(&format!("replicaof 127.0.0.1 {}", a.port()), "+OK");
    a.check("client kill type master", ":1");
    let mut self_made = a.client();
    self_made.check(&format!("replicaof 127.0.0.1 {}", a.port()), "+OK");
    a.wait_log("NOMASTERLINK Can't SYNC while not connected with my master");
    assert!(a.log().matches("NOMASTERLINK").count() < 10, "it asks once a second, not more");
    self_made.check("replicaof no one", "+OK");
    self_made.check("set new 1", "+OK");
    wait_value(&b, "new", "1");
}

#[test]
fn a_restarted_replica_goes_on_from_its_file() {
    let master = Server::start(Kind::Stock70, &[]);
    let mut replica = replica_of(master.port(), &["save 3600 1"]);
    in_step(&master, &replica);
    all(&master, "select 2\nset there 1");
    in_step(&master, &replica);
    all(&master, "select 2\nset there 2");
    wait_until("it has arrived", || {
        let mut c = replica.client();
        c.check("select 2", "+OK");
        c.run("get there").to_string() == "$2"
    });
    replica.terminate();
    all(&master, "select 2\nset there 3\nset more 1");
    replica.launch();
    in_step(&master, &replica);
    let mut c = replica.client();
    c.check("select 2", "+OK");
    c.check("get there", "$3");
    c.check("get more", "$1");
    assert_eq!(master.info("stats", "sync_full"), "1");
}

#[test]
fn a_paused_replica_keeps_its_masters_writes_and_carries_them_out_later() {
    let master = Server::start(Kind::Stock70, &["repl-ping-replica-period 3600"]);
    let replica = replica_of(master.port(), &[]);
    in_step(&master, &replica);
    replica.check("client pause 100000 write", "+OK");
    for line in ["set a 1", "multi\nset b 1\nincr b\nexec", "set c 1"] {
        all(&master, line);
    }
    let offset = master.info("replication", "master_repl_offset");
    wait_until("all has arrived", || replica.info("replication", "slave_read_repl_offset") == offset);
    assert_ne!(replica.info("replication", "slave_repl_offset"), offset);
    replica.check("mget a b c", "[$nil $nil $nil]");
    replica.check("client unpause", "+OK");
    in_step(&master, &replica);
    replica.check("mget a b c", "[$1 $2 $1]");
}

#[test]
fn what_clients_wrote_on_a_writable_replica_expires_there() {
    let master = Server::start(Kind::Stock70, &[]);
    let replica = replica_of(master.port(), &["replica-read-only no"]);
    in_step(&master, &replica);
    replica.script("set a 1 px 50 => +OK\n set b 1 => +OK\n pexpire b 50 => :1\n set c 1 ex 1000 => +OK\n sadd s 1 => :1\n pexpire s 50 => :1");
    assert_eq!(replica.info("stats", "slave_expires_tracked_keys"), "4");
    wait_until("they go by themselves", || replica.info("stats", "expired_keys") == "3");
    replica.check("exists a b c s", ":1");
    wait_until("only one is left to look after", || replica.info("stats", "slave_expires_tracked_keys") == "1");
    // What came from the master is the master's to end.
    master.check("set d 1 ex 1000", "+OK");
    in_step(&master, &replica);
    assert_eq!(replica.info("stats", "slave_expires_tracked_keys"), "1");
}
