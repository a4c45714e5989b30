//! A full sync that takes long while much is written: it succeeds at the first try, and tells how far it is.

use crate::harness::{Kind, Server, converge, follow, link_up, wait_until};

/// A master whose snapshots take for ever, until they are let go, and whose replicas may lag by no more than six megabytes.
fn slow_master(lines: &[&str]) -> Server {
    let limits = ["client-output-buffer-limit replica 6mb 6mb 1", "repl-backlog-size 16kb", "save ''"];
    let lines: Vec<&str> = limits.iter().chain(lines).copied().collect();
    let m = Server::start(Kind::Pando, &lines);
    m.check("debug populate 20000 key 100", "+OK");
    m.check("config set rdb-key-save-delay 10000", "+OK");
    m
}

fn let_go(m: &Server) {
    m.check("config set rdb-key-save-delay 0", "+OK");
}

/// The field of `slave0`, 0 while it is not there.
fn of_slave0(m: &Server, name: &str) -> i64 {
    let line = m.info("replication", "slave0");
    let value = line.split(',').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

fn begin(r: &Server, m: &Server) {
    r.check(&format!("replicaof 127.0.0.1 {}", m.port()), "+OK");
    wait_until("the snapshot is under way", || m.info("persistence", "current_save_keys_processed") != "0");
}

/// Overwrites what is there and adds to it.
fn write(m: &Server, megabytes: usize) {
    let mut c = m.client();
    let blob = vec![b'x'; 64 << 10];
    for n in 0..megabytes * 16 {
        assert_eq!(c.call(&[b"SET", format!("key:{n}").as_bytes(), &blob]).to_string(), "+OK");
        c.check("incr counter", &format!(":{}", n + 1));
    }
}

fn check(replica: Kind, diskless: &str) {
    let m = slow_master(&[&format!("repl-diskless-sync {diskless}"), "repl-full-sync-buffer-limit 512kb"]);
    let r = Server::start(replica, &[]);
    begin(&r, &m);
    write(&m, 24);
    wait_until("what is too much is on disk", || of_slave0(&m, "sync_disk") > 20 << 20);
    wait_until("little is in memory", || of_slave0(&m, "sync_memory") <= 512 << 10);
    assert!(m.info("replication", "slave0").contains("sync_perc="));
    let leftover = std::fs::read_dir(m.path("."))
        .unwrap()
        .flatten()
        .find(|f| f.file_name().to_string_lossy().ends_with(".stream"));
    assert!(leftover.is_none(), "the file has no name: {leftover:?}");
    let_go(&m);
    link_up(&r);
    converge(&[&m, &r]);
    assert_eq!(m.info_int("stats", "sync_full"), 1);
    wait_until("it has caught up", || !m.info("replication", "slave0").contains("sync_"));
    m.check("set after 1", "+OK");
    converge(&[&m, &r]);
}

#[test]
fn a_stock_replica_gets_what_was_written_during_a_sync_to_its_socket() {
    check(Kind::Stock70, "yes");
}

#[test]
fn a_stock_replica_gets_what_was_written_during_a_sync_by_file() {
    check(Kind::Stock70, "no");
}

#[test]
fn a_pando_replica_gets_what_was_written_during_a_sync_to_its_socket() {
    check(Kind::Pando, "yes");
}

#[test]
fn a_pando_replica_gets_what_was_written_during_a_sync_by_file() {
    check(Kind::Pando, "no");
}

#[test]
fn who_joins_a_running_snapshot_gets_what_was_written_since_its_cut() {
    let m = slow_master(&["repl-diskless-sync no", "repl-full-sync-buffer-limit 512kb"]);
    let (first, second) = (Server::start(Kind::Pando, &[]), Server::start(Kind::Stock70, &[]));
    begin(&first, &m);
    write(&m, 6);
    second.check(&format!("replicaof 127.0.0.1 {}", m.port()), "+OK");
    m.wait_log("Waiting for end of BGSAVE for SYNC");
    m.check("set more 1", "+OK");
    let_go(&m);
    link_up(&first);
    link_up(&second);
    converge(&[&m, &first, &second]);
    assert_eq!(m.info_int("stats", "sync_full"), 2);
}

#[test]
fn the_middle_of_a_chain_spares_its_replicas_as_well() {
    let top = Server::start(Kind::Stock70, &["save ''"]);
    top.check("debug populate 20000 key 100", "+OK");
    let m = slow_master(&["repl-full-sync-buffer-limit 512kb"]);
    follow(&m, &top);
    let r = Server::start(Kind::Pando, &[]);
    begin(&r, &m);
    write(&top, 12);
    wait_until("what is too much is on disk", || of_slave0(&m, "sync_disk") > 8 << 20);
    let_go(&m);
    link_up(&r);
    converge(&[&top, &m, &r]);
    assert_eq!(m.info_int("stats", "sync_full"), 1);
}

#[test]
fn a_sync_that_fails_for_the_limit_says_what_would_have_helped() {
    let m = slow_master(&["repl-full-sync-buffer-limit 0"]);
    let r = Server::start(Kind::Pando, &[]);
    begin(&r, &m);
    write(&m, 10);
    m.wait_log("with repl-full-sync-buffer-limit above 0 it goes to disk and does not count");
    m.check("config set repl-full-sync-buffer-limit 1mb", "+OK");
    let_go(&m);
    link_up(&r);
    converge(&[&m, &r]);
}
