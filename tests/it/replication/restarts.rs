//! Who restarts, and who was away meanwhile, gets only what it missed.

use std::fs;

use crate::harness::{Kind, Proxy, Server, chain, converge, follow, link_down, link_up, wait_until};

fn syncs(master: &Server) -> (i64, i64) {
    (master.info_int("stats", "sync_full"), master.info_int("stats", "sync_partial_ok"))
}

/// Sets some hundred keys whose names begin with this.
fn write(master: &Server, prefix: &str) {
    let mut c = master.client();
    (0..300).for_each(|i| c.send(&["SET", &format!("{prefix}:{i}"), "value"]));
    (0..300).for_each(|_| assert_eq!(c.read().to_string(), "+OK"));
}

fn shut_down(server: &mut Server) {
    server.client().send(&["SHUTDOWN", "SAVE"]);
    server.wait_end();
}

/// A replica of `near` behind a wire that can be cut, with everything that `root` has.
fn behind_a_wire(root: &Server, near: &Server, replica: Kind) -> (Server, Proxy) {
    let (r, wire) = (Server::start(replica, &[]), Proxy::to(near.port()));
    r.check(&format!("replicaof 127.0.0.1 {}", wire.port()), "+OK");
    link_up(&r);
    write(root, "begin");
    converge(&[root, near, &r]);
    (r, wire)
}

fn take_away(r: &Server, wire: &Proxy) {
    wire.refuse(true);
    wire.cut();
    link_down(r);
}

const REPLICAS: [Kind; 2] = [Kind::Stock70, Kind::Pando];

#[test]
fn a_replica_that_was_behind_goes_on_with_a_master_that_restarted() {
    if Kind::stock_stands_in() {
        return;
    }
    for replica in REPLICAS {
        let mut m = Server::start(Kind::Pando, &[]);
        let (r, wire) = behind_a_wire(&m, &m, replica);
        take_away(&r, &wire);
        write(&m, "missed");
        // More than once: the name of the history that the replica knows is an old one then.
        for round in 0..3 {
            shut_down(&mut m);
            m.launch();
            write(&m, &format!("round:{round}"));
        }
        assert!(m.log_has("loaded from"), "{}", m.log());
        wire.refuse(false);
        link_up(&r);
        converge(&[&m, &r]);
        assert_eq!(syncs(&m), (0, 1), "{replica:?}");
        assert_eq!(r.info("replication", "master_replid"), m.info("replication", "master_replid"));
    }
}

#[test]
fn what_was_saved_before_a_crash_serves_who_was_behind_it() {
    if Kind::stock_stands_in() {
        return;
    }
    for replica in REPLICAS {
        let mut m = Server::start(Kind::Pando, &[]);
        let (r, wire) = behind_a_wire(&m, &m, replica);
        let ahead = Server::start(replica, &[]);
        follow(&ahead, &m);
        take_away(&r, &wire);
        write(&m, "missed");
        m.check("save", "+OK");
        write(&m, "lost");
        converge(&[&m, &ahead]);
        m.crash();
        m.launch();
        wire.refuse(false);
        link_up(&r);
        link_up(&ahead);
        converge(&[&m, &r, &ahead]);
        // Who holds what the master has lost cannot go on.
        assert_eq!(syncs(&m), (1, 1), "{replica:?}");
        m.check("exists missed:7 lost:7", ":1");
    }
}

#[test]
fn a_replica_that_restarts_keeps_who_was_behind_it() {
    if Kind::stock_stands_in() {
        return;
    }
    for leaf in REPLICAS {
        let m = Server::start(Kind::Stock70, &[]);
        let mut middle = Server::start(Kind::Pando, &[&format!("replicaof 127.0.0.1 {}", m.port())]);
        link_up(&middle);
        let (r, wire) = behind_a_wire(&m, &middle, leaf);
        take_away(&r, &wire);
        write(&m, "missed");
        converge(&[&m, &middle]);
        shut_down(&mut middle);
        write(&m, "meanwhile");
        middle.launch();
        wire.refuse(false);
        link_up(&r);
        converge(&[&m, &middle, &r]);
        assert_eq!((syncs(&m), syncs(&middle)), ((1, 1), (0, 1)), "{leaf:?}");
    }
}

#[test]
fn a_save_point_and_a_crash_are_enough_for_a_replica() {
    if Kind::stock_stands_in() {
        return;
    }
    for master in [Kind::Stock70, Kind::Pando] {
        let m = Server::start(master, &[]);
        let mut r = Server::start(Kind::Pando, &["save 1 1", &format!("replicaof 127.0.0.1 {}", m.port())]);
        link_up(&r);
        write(&m, "begin");
        converge(&[&m, &r]);
        wait_until("the save point", || r.info_int("persistence", "rdb_changes_since_last_save") == 0);
        write(&m, "later");
        converge(&[&m, &r]);
        r.crash();
        r.launch();
        link_up(&r);
        converge(&[&m, &r]);
        assert_eq!(syncs(&m), (1, 1), "{master:?}");
    }
}

#[test]
fn a_damaged_backlog_file_costs_a_full_sync_and_no_more() {
    if Kind::stock_stands_in() {
        return;
    }
    let mut m = Server::start(Kind::Pando, &[]);
    let (r, wire) = behind_a_wire(&m, &m, Kind::Stock70);
    take_away(&r, &wire);
    write(&m, "missed");
    shut_down(&mut m);
    let path = m.path("dump.rdb.backlog");
    let mut bytes = fs::read(&path).expect("a saved backlog");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).expect("written");
    m.launch();
    assert!(m.log_has("the checksum is wrong"), "{}", m.log());
    wire.refuse(false);
    link_up(&r);
    converge(&[&m, &r]);
    assert_eq!(syncs(&m), (1, 0));
    // Without a history there is nothing to keep.
    let alone = Server::start(Kind::Pando, &[]);
    alone.script("set a 1 => +OK\nsave => +OK");
    assert!(!alone.path("dump.rdb.backlog").exists());
}

#[test]
fn after_a_promotion_and_a_restart_everybody_comes_back_by_a_partial_sync() {
    if Kind::stock_stands_in() {
        return;
    }
    // a <- b <- c <- d: a goes, b becomes the root and restarts, a comes back under it, d moves up.
    let mut nodes = chain(&[Kind::Pando; 4], &[]);
    write(&nodes[0], "begin");
    converge(&nodes.iter().collect::<Vec<_>>());
    shut_down(&mut nodes[0]);
    link_down(&nodes[1]);
    nodes[1].check("replicaof no one", "+OK");
    write(&nodes[1], "promoted");
    link_up(&nodes[2]);
    converge(&[&nodes[1], &nodes[2], &nodes[3]]);
    shut_down(&mut nodes[1]);
    nodes[1].launch();
    write(&nodes[1], "restarted");
    nodes[3].check(&format!("replicaof 127.0.0.1 {}", nodes[1].port()), "+OK");
    // As Sentinel finds it: a master, since its file says nothing else.
    nodes[0].launch();
    nodes[0].check(&format!("replicaof 127.0.0.1 {}", nodes[1].port()), "+OK");
    for node in [&nodes[0], &nodes[2], &nodes[3]] {
        link_up(node);
    }
    converge(&[&nodes[1], &nodes[0], &nodes[2], &nodes[3]]);
    assert_eq!(syncs(&nodes[1]), (0, 3), "{}", nodes[1].log());
}

#[test]
fn with_an_append_only_file_an_orderly_end_is_enough() {
    if Kind::stock_stands_in() {
        return;
    }
    for preamble in ["yes", "no"] {
        let lines = ["appendonly yes", &format!("aof-use-rdb-preamble {preamble}")];
        let mut m = Server::start(Kind::Pando, &lines);
        let (r, wire) = behind_a_wire(&m, &m, Kind::Stock70);
        take_away(&r, &wire);
        write(&m, "missed");
        for round in 0..2 {
            m.check("select 3", "+OK");
            m.restart();
            write(&m, &format!("round:{round}"));
        }
        wire.refuse(false);
        link_up(&r);
        converge(&[&m, &r]);
        assert_eq!(syncs(&m), (0, 1), "{preamble}");
        // And a replica's.
        let mut other = Server::start(Kind::Pando, &[lines[0], lines[1], &format!("replicaof 127.0.0.1 {}", m.port())]);
        link_up(&other);
        m.script("select 5 => +OK\nset a 1 => +OK");
        converge(&[&m, &other]);
        other.wait_log("Background AOF rewrite finished successfully");
        other.restart();
        m.script("select 5 => +OK\nset a 2 => +OK");
        link_up(&other);
        converge(&[&m, &other]);
        assert_eq!(syncs(&m), (1, 2), "{preamble}: {}", other.log());
        // What was written after the orderly end makes what it left void.
        m.restart();
        m.script("set later 1 => +OK\nwaitaof 1 0 0 => [:1 :0]");
        m.crash();
        m.launch();
        assert!(m.log_has("it has grown since"), "{}", m.log());
    }
}
