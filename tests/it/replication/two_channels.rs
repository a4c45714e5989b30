//! The snapshot over a connection of its own (`dual-channel-replication-enabled`), between Pando and Valkey in every
//! combination that is on this machine.

use crate::harness::{FakeMaster, Kind, Peer, Proxy, Server, converge, follow, link_up, wait_until};

const TWO: [&str; 3] = ["dual-channel-replication-enabled yes", "repl-diskless-sync yes", "repl-diskless-sync-delay 0"];

fn with(kind: Kind, lines: &[&str]) -> Server {
    let lines: Vec<&str> = TWO.iter().chain(&["save ''"]).chain(lines).copied().collect();
    Server::start(kind, &lines)
}

/// Every pair of master and replica that knows two channels.
fn pairs() -> Vec<(Kind, Kind)> {
    let mut pairs = vec![(Kind::Pando, Kind::Pando)];
    if Kind::Valkey91.available() {
        pairs.extend([(Kind::Valkey91, Kind::Pando), (Kind::Pando, Kind::Valkey91)]);
    }
    pairs
}

fn fill(m: &Server) {
    m.check("debug populate 3000 key 100", "+OK");
}

/// Begins a sync whose snapshot takes until it is let go, and waits until both connections stand.
fn begin(m: &Server, r: &Server) {
    // A forked child does not hear that it is let go.
    let delay_us = if m.kind == Kind::Pando { 30_000 } else { 3_000 };
    m.check(&format!("config set rdb-key-save-delay {delay_us}"), "+OK");
    r.check("set stranger 1", "+OK");
    r.check(&format!("replicaof 127.0.0.1 {}", m.port()), "+OK");
    wait_until("both connections stand", || {
        let info = m.run("info replication").to_string();
        info.contains("type=rdb-channel") && info.contains("state=bg_transfer")
    });
}

fn let_go(m: &Server) {
    m.check("config set rdb-key-save-delay 0", "+OK");
}

fn write(m: &Server, megabytes: usize) {
    let mut c = m.client();
    let blob = vec![b'x'; 32 << 10];
    c.check("select 5", "+OK");
    for n in 0..megabytes * 32 {
        assert_eq!(c.call(&[b"SET", format!("key:{}", n % 300).as_bytes(), &blob]).to_string(), "+OK");
        c.check("incr counter", &format!(":{}", n + 1));
    }
}

#[test]
fn the_stream_comes_while_the_snapshot_travels() {
    for (master, replica) in pairs() {
        for load in ["disabled", "swapdb"] {
            let (m, r) = (with(master, &[]), with(replica, &[&format!("repl-diskless-load {load}")]));
            fill(&m);
            begin(&m, &r);
            write(&m, 2);
            wait_until("the replica holds the stream", || {
                r.info_int("replication", "replicas_repl_buffer_size") > 1 << 20
            });
            let_go(&m);
            link_up(&r);
            converge(&[&m, &r]);
            r.check("exists stranger", ":0");
            assert_eq!(m.info_int("stats", "sync_full"), 1, "{master:?} {replica:?}");
            wait_until("one connection is left", || m.info("replication", "connected_slaves") == "1");
            wait_until("it is online", || m.info("replication", "slave0").contains("state=online"));
            m.check("set after 1", "+OK");
            converge(&[&m, &r]);
        }
    }
}

#[test]
fn what_the_replica_cannot_hold_waits_at_the_master() {
    for (master, replica) in pairs() {
        if master != Kind::Pando {
            continue;
        }
        let limits = ["client-output-buffer-limit replica 6mb 6mb 1", "repl-backlog-size 16kb"];
        let m = with(master, &[&limits[..], &["repl-full-sync-buffer-limit 512kb"]].concat());
        // Valkey has one limit for both.
        let r = with(replica, &["client-output-buffer-limit replica 1mb 1mb 0"]);
        fill(&m);
        begin(&m, &r);
        write(&m, 24);
        wait_until("it is on the master's disk", || {
            let info = m.run("info replication").to_string();
            info.split("sync_disk=").skip(1).any(|rest| {
                let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
                digits.parse::<u64>().is_ok_and(|bytes| bytes > 8 << 20)
            })
        });
        let_go(&m);
        link_up(&r);
        converge(&[&m, &r]);
        assert_eq!(m.info_int("stats", "sync_full"), 1);
    }
}

#[test]
fn a_password_is_told_on_both_connections() {
    for (master, replica) in pairs() {
        let m = with(master, &["requirepass secret"]);
        let r = with(replica, &["masterauth secret"]);
        m.check("set a 1", "+OK");
        follow(&r, &m);
        converge(&[&m, &r]);
        m.wait_log("dedicated RDB channel");
    }
}

#[test]
fn one_that_does_not_want_it_syncs_over_one_connection() {
    for (mine, theirs) in [("yes", "no"), ("no", "yes")] {
        for (master, replica) in pairs() {
            let m = with(master, &[&format!("dual-channel-replication-enabled {mine}")]);
            let r = with(replica, &[&format!("dual-channel-replication-enabled {theirs}")]);
            m.check("set a 1", "+OK");
            follow(&r, &m);
            converge(&[&m, &r]);
            assert_eq!(m.info_int("stats", "sync_partial_ok"), 0);
        }
    }
}

#[test]
fn a_small_snapshot_may_end_before_the_stream_begins() {
    for (master, replica) in pairs() {
        let (m, r) = (with(master, &[]), with(replica, &[]));
        for round in 0..5 {
            m.check(&format!("set a {round}"), "+OK");
            follow(&r, &m);
            converge(&[&m, &r]);
            r.check("replicaof no one", "+OK");
            r.check("set own 1", "+OK");
        }
    }
}

#[test]
fn the_middle_of_a_chain_takes_and_gives_two_channels() {
    let (top, middle) = (with(Kind::Pando, &[]), with(Kind::Pando, &[]));
    fill(&top);
    follow(&middle, &top);
    let end = with(Kind::Pando, &[]);
    begin(&middle, &end);
    write(&top, 2);
    let_go(&middle);
    link_up(&end);
    converge(&[&top, &middle, &end]);
}

#[test]
fn a_broken_snapshot_is_asked_for_again_and_costs_no_data() {
    let m = with(Kind::Pando, &[]);
    m.check("debug populate 20000 key 100", "+OK");
    let wire = Proxy::to(m.port());
    let r = with(Kind::Pando, &[]);
    r.check("set old 1", "+OK");
    wire.cut_after(500_000);
    r.check(&format!("replicaof 127.0.0.1 {}", wire.port()), "+OK");
    wait_until("a second try", || wire.accepted() >= 3);
    link_up(&r);
    converge(&[&m, &r]);
}

#[test]
fn a_master_that_refuses_the_second_connection_is_asked_over_one() {
    let master = FakeMaster::start(|peer: &mut Peer, _| {
        let mut two = false;
        loop {
            let request = peer.request()?.to_ascii_lowercase();
            if request.contains("rdb-channel") {
                peer.say(b"-ERR Unrecognized REPLCONF option: rdb-channel\r\n")?;
            } else if request.starts_with("psync") && two {
                peer.say(b"+DUALCHANNELSYNC\r\n")?;
            } else if request.starts_with("psync") {
                peer.say(b"-LOADING one connection\r\n")?;
            } else {
                two |= request.contains("dual-channel");
                peer.say(if request == "ping" { b"+PONG\r\n" } else { b"+OK\r\n" })?;
            }
        }
    });
    let r = with(Kind::Pando, &[&format!("replicaof 127.0.0.1 {}", master.port())]);
    r.wait_log("the master knows no second connection");
    r.wait_log("-LOADING one connection");
}
