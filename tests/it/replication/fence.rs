//! The lineage fence: a replica does not give its data up for a master that lost its own.

use std::fs;

use crate::harness::*;

/// A master of `keys` keys and a replica that has them.
fn pair(master: Kind, keys: usize, replica_lines: &[&str]) -> (Server, Server) {
    let m = Server::start(master, &["repl-diskless-sync-delay 0"]);
    let r = Server::start(Kind::Pando, replica_lines);
    m.check(&format!("debug populate {keys}"), "+OK");
    follow(&r, &m);
    converge(&[&m, &r]);
    (m, r)
}

/// The master dies, and comes back with an empty disk.
fn lose_everything(m: &mut Server) {
    m.crash();
    let _ = fs::remove_file(m.path("dump.rdb"));
    m.launch();
    m.check("dbsize", ":0");
}

fn stands(r: &Server) -> bool {
    r.info("replication", "lineage_fence") == "1"
}

fn keeps_its_data(master: Kind, lines: &[&str]) {
    if Kind::stock_stands_in() {
        return;
    }
    let (mut m, r) = pair(master, 3000, lines);
    assert!(!stands(&r));
    lose_everything(&mut m);
    wait_until("it refuses", || stands(&r));
    r.wait_log("LINEAGE FENCE: master 127.0.0.1:");
    wait_until("it serves", || r.run("dbsize").to_string() == ":3000");
    r.check("get key:17", "$value:17");
    assert_eq!(r.info("replication", "master_link_status"), "down");
    assert_eq!(r.info("replication", "lineage_fence_held_keys"), "3000");
    assert_eq!(r.info("replication", "lineage_fence_offered_keys"), "0");
    // To name the same master again is no new wish.
    r.check(&format!("replicaof 127.0.0.1 {}", m.port()), "+OK Already connected to specified master");
    assert!(stands(&r));
    r.check(&format!("replicaof 127.0.0.1 {} force", m.port()), "+OK");
    link_up(&r);
    r.check("dbsize", ":0");
    assert!(!stands(&r));
    // Once means once.
    m.check("debug populate 3000", "+OK");
    m.check("debug change-repl-id", "+OK");
    m.check("client kill type replica", ":1");
    wait_until("it has the new data", || r.run("dbsize").to_string() == ":3000");
    link_up(&r);
    lose_everything(&mut m);
    wait_until("it refuses again", || stands(&r));
    // One that loads beside its data says so to clients until what was offered is given up.
    wait_until("it serves", || r.run("dbsize").to_string() == ":3000");
}

#[test]
fn a_replica_keeps_its_data_when_a_pando_master_lost_its_own() {
    keeps_its_data(Kind::Pando, &[]);
}

#[test]
fn a_replica_keeps_its_data_when_a_stock_master_lost_its_own() {
    keeps_its_data(Kind::Stock70, &[]);
}

#[test]
fn a_replica_that_loads_beside_its_data_keeps_it_too() {
    keeps_its_data(Kind::Stock70, &["repl-diskless-load swapdb"]);
}

#[test]
fn a_replica_that_flushes_before_it_loads_keeps_its_data_too() {
    keeps_its_data(Kind::Pando, &["repl-diskless-load flush-before-load"]);
}

#[test]
fn once_the_master_has_its_data_back_the_replica_follows() {
    if Kind::stock_stands_in() {
        return;
    }
    let (mut m, r) = pair(Kind::Stock70, 2000, &[]);
    lose_everything(&mut m);
    wait_until("it refuses", || stands(&r));
    m.check("debug populate 1999", "+OK");
    m.check("set news 1", "+OK");
    wait_until("it follows", || !stands(&r));
    link_up(&r);
    converge(&[&m, &r]);
    r.check("get news", "$1");
    r.wait_log("The lineage fence is lifted");
}

/// Both die, and only the replica finds its data again.
#[test]
fn a_replica_that_restarts_keeps_what_it_found_on_disk() {
    if Kind::stock_stands_in() {
        return;
    }
    for master in [Kind::Pando, Kind::Stock70] {
        let port = Port::reserve();
        let mut m = Server::start_on(port, master, &["repl-diskless-sync-delay 0"]);
        m.check("debug populate 3000", "+OK");
        let mut r = Server::start(Kind::Pando, &[&format!("replicaof 127.0.0.1 {}", m.port())]);
        link_up(&r);
        converge(&[&m, &r]);
        r.check("save", "+OK");
        r.crash();
        lose_everything(&mut m);
        r.launch();
        wait_until("it refuses", || stands(&r));
        r.check("dbsize", ":3000");
        r.check(&format!("replicaof 127.0.0.1 {} force", m.port()), "+OK");
        link_up(&r);
        r.check("dbsize", ":0");
    }
}

/// A start of an append-only file whose history is known, and a sync that only goes on.
#[test]
fn a_replica_that_restarts_goes_on_with_a_master_that_has_its_data() {
    if Kind::stock_stands_in() {
        return;
    }
    let m = Server::start(Kind::Pando, &["repl-diskless-sync-delay 0"]);
    m.check("debug populate 3000", "+OK");
    let lines = [format!("replicaof 127.0.0.1 {}", m.port()), "appendonly yes".to_owned()];
    let mut r = Server::start(Kind::Pando, &lines.each_ref().map(String::as_str));
    link_up(&r);
    converge(&[&m, &r]);
    r.wait_log("Background AOF rewrite finished successfully");
    r.restart();
    link_up(&r);
    converge(&[&m, &r]);
    assert!(!r.log_has("LINEAGE FENCE"));
    // Flushed while it was away, in the same history: that is what the operator wanted.
    r.terminate();
    m.check("flushall", "+OK");
    m.check("set a 1", "+OK");
    r.launch();
    link_up(&r);
    converge(&[&m, &r]);
    r.check("dbsize", ":1");
    assert!(!r.log_has("LINEAGE FENCE"));
}

#[test]
fn a_small_data_set_and_a_fence_that_is_off_hold_nobody_up() {
    if Kind::stock_stands_in() {
        return;
    }
    for (keys, lines) in [(900, &[][..]), (3000, &["replica-lineage-fence no"][..])] {
        let (mut m, r) = pair(Kind::Pando, keys, lines);
        lose_everything(&mut m);
        wait_until("it follows", || r.run("dbsize").to_string() == ":0");
        link_up(&r);
        assert!(!r.log_has("LINEAGE FENCE"));
    }
}

#[test]
fn whoever_hangs_below_a_fence_keeps_its_data_and_its_link() {
    if Kind::stock_stands_in() {
        return;
    }
    let (mut m, middle) = pair(Kind::Pando, 2000, &[]);
    let leaf = Server::start(Kind::Stock70, &[]);
    follow(&leaf, &middle);
    lose_everything(&mut m);
    wait_until("it refuses", || stands(&middle));
    leaf.check("dbsize", ":2000");
    assert_eq!(leaf.info("replication", "master_link_status"), "up");
    // The operator's other way: the data's keeper takes the lead, and the former master follows it.
    middle.check("replicaof no one", "+OK");
    assert!(!stands(&middle));
    middle.check("set a 1", "+OK");
    m.check(&format!("replicaof 127.0.0.1 {}", middle.port()), "+OK");
    link_up(&m);
    converge(&[&middle, &leaf, &m]);
    m.check("dbsize", ":2001");
}

#[test]
fn replicaof_takes_no_other_third_word() {
    if Kind::stock_stands_in() {
        return;
    }
    let s = Server::start(Kind::Pando, &[]);
    let arity = "-ERR wrong number of arguments for 'replicaof' command";
    s.check("replicaof 127.0.0.1 1 now", arity);
    s.check("replicaof no one force", arity);
    s.check("replicaof 127.0.0.1 1 force force", arity);
    s.check("slaveof 127.0.0.1", "-ERR wrong number of arguments for 'slaveof' command");
    assert_eq!(s.info("replication", "role"), "master");
}
