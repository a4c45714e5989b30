//! How far a replica is behind, in milliseconds, as its master tells it: of stock replicas, too.

use rustix::process::Signal;

use crate::harness::*;

/// The number behind `lag_ms=` in the master's line of its only replica.
fn lag_ms(master: &Server) -> i64 {
    let line = master.info("replication", "slave0");
    let ms = line.split(',').find_map(|pair| pair.strip_prefix("lag_ms="));
    ms.unwrap_or_else(|| panic!("no lag_ms in '{line}'")).parse().unwrap()
}

fn a_replica_that_stands_still_falls_behind_and_catches_up(master: Server, replica: Server) {
    follow(&replica, &master);
    wait_until("it acknowledged", || lag_ms(&master) >= 0);
    master.check("set a 1", "+OK");
    replica.signal(Signal::STOP);
    master.check("set a 2", "+OK");
    wait_until("it has lacked something for three seconds", || lag_ms(&master) > 3000);
    let line = master.info("replication", "slave0");
    assert!(line.starts_with(&format!("ip=127.0.0.1,port={},state=online,offset=", replica.port())), "{line}");
    replica.signal(Signal::CONT);
    converge(&[&master, &replica]);
    // Its first acknowledgement may come late on a busy machine; what it then lacks is little.
    wait_until("it has caught up", || lag_ms(&master) < 1000);
}

#[test]
fn a_stock_replica_that_stands_still_falls_behind_and_catches_up() {
    if !Kind::stock_stands_in() {
        let (m, r) = (Server::start(Kind::Pando, &[]), Server::start(Kind::Stock70, &[]));
        a_replica_that_stands_still_falls_behind_and_catches_up(m, r);
    }
}

#[test]
fn a_pando_replica_that_stands_still_falls_behind_and_catches_up() {
    if !Kind::stock_stands_in() {
        let (m, r) = (Server::start(Kind::Pando, &[]), Server::start(Kind::Pando, &[]));
        a_replica_that_stands_still_falls_behind_and_catches_up(m, r);
    }
}

#[test]
fn each_hop_of_a_chain_tells_its_own_lag() {
    if Kind::stock_stands_in() {
        return;
    }
    let nodes = chain(&[Kind::Stock70, Kind::Pando, Kind::Pando, Kind::Stock70], &[]);
    nodes[0].check("set a 1", "+OK");
    converge(&nodes.iter().collect::<Vec<_>>());
    assert!(!nodes[0].info("replication", "slave0").contains("lag_ms"));
    for hop in [&nodes[1], &nodes[2]] {
        wait_until("the next one acknowledged", || lag_ms(hop) >= 0);
        assert_eq!(hop.info("replication", "slave_apply_lag_ms"), "0");
    }
    nodes[3].signal(Signal::STOP);
    nodes[0].check("set a 2", "+OK");
    wait_until("only the last one falls behind", || lag_ms(&nodes[2]) > 2000 && lag_ms(&nodes[1]) < 1000);
    nodes[3].signal(Signal::CONT);
}

#[test]
fn what_is_received_and_held_up_is_told_as_such() {
    if Kind::stock_stands_in() {
        return;
    }
    let (m, r) = (Server::start(Kind::Pando, &[]), Server::start(Kind::Pando, &[]));
    follow(&r, &m);
    r.check("client pause 100000 write", "+OK");
    m.check("set a 1", "+OK");
    wait_until("the write has waited a while", || r.info_int("replication", "slave_apply_lag_ms") > 100);
    r.check("client unpause", "+OK");
    converge(&[&m, &r]);
    wait_until("nothing waits", || r.info_int("replication", "slave_apply_lag_ms") == 0);
}
