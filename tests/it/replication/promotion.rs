//! Any node of the tree can become its root.

use crate::harness::{Kind, Server, converge, follow, link_down, link_up, offset, wait_until};

/// A master with two replicas, all holding the same.
fn family(master: Kind, replica: Kind) -> (Server, Server, Server) {
    let (m, a, b) = (Server::start(master, &[]), Server::start(replica, &[]), Server::start(master, &[]));
    follow(&a, &m);
    follow(&b, &m);
    for i in 0..100 {
        m.check(&format!("set key:{i} value"), "+OK");
    }
    m.check("mset a 1 b 2", "+OK");
    converge(&[&m, &a, &b]);
    (m, a, b)
}

for_each_pair! {
    fn siblings_follow_the_promoted_one_by_partial_sync(master, replica) {
        let (mut m, a, b) = family(master, replica);
        let old_id = m.info("replication", "master_replid");
        m.terminate();
        link_down(&a);
        // A master that shuts down asks its replicas for a last acknowledgement, which counts, too.
        let at = offset(&a);
        a.check("replicaof no one", "+OK");
        assert_eq!(a.info("replication", "role"), "master");
        assert_eq!(a.info("replication", "master_replid2"), old_id);
        assert_eq!(a.info_int("replication", "second_repl_offset"), at + 1);
        assert_ne!(a.info("replication", "master_replid"), old_id);
        follow(&b, &a);
        a.check("set a 2", "+OK");
        converge(&[&a, &b]);
        assert_eq!(a.info_int("stats", "sync_full"), 0);
        assert_eq!(a.info_int("stats", "sync_partial_ok"), 1);
        assert_eq!(b.info("replication", "master_replid2"), old_id);
    }

    fn a_former_master_with_nothing_of_its_own_rejoins_by_partial_sync(master, replica) {
        let (m, a, b) = family(master, replica);
        a.check("replicaof no one", "+OK");
        follow(&b, &a);
        follow(&m, &a);
        a.check("set a 2", "+OK");
        converge(&[&a, &b, &m]);
        assert_eq!(a.info_int("stats", "sync_full"), 0);
        assert_eq!(a.info_int("stats", "sync_partial_ok"), 2);
    }

    fn a_former_master_that_wrote_on_gets_the_new_truth(master, replica) {
        let (m, a, b) = family(master, replica);
        a.check("replicaof no one", "+OK");
        for i in 0..50 {
            m.check(&format!("set lost:{i} 1"), "+OK");
        }
        follow(&b, &a);
        follow(&m, &a);
        converge(&[&a, &m]);
        m.check("exists lost:1", ":0");
        assert!(a.info_int("stats", "sync_full") >= 1);
    }

    fn the_promoted_ones_own_replicas_stay_without_a_full_sync(master, replica) {
        let (m, a, b) = family(master, replica);
        follow(&b, &a);
        a.check("replicaof no one", "+OK");
        link_up(&b);
        a.check("set a 2", "+OK");
        wait_until("the new id has come down", || {
            b.info("replication", "master_replid") == a.info("replication", "master_replid")
        });
        converge(&[&a, &b]);
        assert_eq!(a.info_int("stats", "sync_full"), 0);
        drop(m);
    }

    fn failover_hands_the_role_over_without_losing_a_write(master, replica) {
        let (m, a, b) = family(master, replica);
        m.check(&format!("failover to 127.0.0.1 {}", a.port()), "+OK");
        wait_until("the roles have changed", || {
            a.info("replication", "role") == "master" && m.info("replication", "role") == "slave"
        });
        wait_until("the failover is over", || m.info("replication", "master_failover_state") == "no-failover");
        link_up(&m);
        follow(&b, &a);
        a.check("set a 2", "+OK");
        converge(&[&a, &m, &b]);
        assert_eq!(a.info_int("stats", "sync_full"), 0);
    }
}

#[test]
fn failover_is_refused_where_it_makes_no_sense() {
    let m = Server::start(Kind::Pando, &[]);
    m.script(
        r#"failover => -ERR FAILOVER requires connected replicas.
        failover abort => -ERR No failover in progress.
        failover timeout 0 => -ERR FAILOVER timeout must be greater than 0"#,
    );
    let r = Server::start(Kind::Stock70, &[]);
    follow(&r, &m);
    wait_until("the replica is online", || m.info("replication", "slave0").contains("state=online"));
    m.check("failover force", "-ERR FAILOVER with force option requires both a timeout and target HOST and IP.");
    m.check("failover to 127.0.0.1 1", "-ERR FAILOVER target HOST and PORT is not a replica.");
    r.check("failover", "-ERR FAILOVER is not valid when server is a replica.");
}

#[test]
fn a_promoted_master_takes_writes_and_keeps_its_data() {
    let m = Server::start(Kind::Stock70, &[]);
    let r = Server::start(Kind::Pando, &[]);
    follow(&r, &m);
    m.check("set a 1 ex 1000", "+OK");
    converge(&[&m, &r]);
    r.check("set b 1", "-READONLY You can't write against a read only replica.");
    r.check("replicaof no one", "+OK");
    r.script("set b 1 => +OK\n get a => $1\n replicaof no one => +OK");
    r.check("role", &format!("[$master :{} []]", offset(&r)));
}
