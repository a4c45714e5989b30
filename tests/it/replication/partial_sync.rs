//! A replica that lost its link gets only what it missed, as long as the backlog holds it.

use crate::harness::{Kind, Proxy, Server, converge, follow, link_down, link_up, wait_until};

fn syncs(master: &Server) -> (i64, i64) {
    (master.info_int("stats", "sync_full"), master.info_int("stats", "sync_partial_ok"))
}

for_each_pair! {
    fn a_killed_link_is_taken_up_where_it_ended(master, replica) {
        let (m, r) = (Server::start(master, &[]), Server::start(replica, &[]));
        follow(&r, &m);
        m.check("set a 1", "+OK");
        converge(&[&m, &r]);
        for round in 1..=3 {
            r.check("client kill type master", ":1");
            m.check(&format!("set a {round}"), "+OK");
            wait_until("one more partial resync", || syncs(&m) == (1, round));
            link_up(&r);
            converge(&[&m, &r]);
        }
        m.check("client kill type replica", ":1");
        wait_until("the master's own cut is mended, too", || syncs(&m) == (1, 4));
    }

    fn what_was_missed_behind_a_cut_wire_comes_after(master, replica) {
        let (m, r) = (Server::start(master, &[]), Server::start(replica, &[]));
        let wire = Proxy::to(m.port());
        r.check(&format!("replicaof 127.0.0.1 {}", wire.port()), "+OK");
        link_up(&r);
        m.check("set a 1", "+OK");
        converge(&[&m, &r]);
        wire.refuse(true);
        wire.cut();
        link_down(&r);
        let mut c = m.client();
        for i in 0..5000 {
            c.send(&["SET", &format!("key:{i}"), "value"]);
        }
        for _ in 0..5000 {
            c.read();
        }
        c.check("select 3", "+OK");
        c.check("set a 3", "+OK");
        r.check("get key:1", "$nil");
        wire.refuse(false);
        link_up(&r);
        converge(&[&m, &r]);
        assert_eq!(syncs(&m), (1, 1));
        m.check("set b 1", "+OK");
        converge(&[&m, &r]);
    }

    fn a_gap_wider_than_the_backlog_means_a_full_sync(master, replica) {
        let m = Server::start(master, &["repl-backlog-size 16kb"]);
        let r = Server::start(replica, &[]);
        let wire = Proxy::to(m.port());
        r.check(&format!("replicaof 127.0.0.1 {}", wire.port()), "+OK");
        link_up(&r);
        wire.refuse(true);
        wire.cut();
        link_down(&r);
        for i in 0..8 {
            m.check(&format!("setrange big:{i} 100000 x"), ":100001");
        }
        // Stock keeps whole blocks of backlog, so a gap must be wider than one of those, too.
        m.check("setrange far 20000000 x", ":20000001");
        let mut c = m.client();
        let blob = vec![b'x'; 1 << 20];
        for _ in 0..4 {
            assert_eq!(c.call(&[b"SET", &b"blob"[..], &blob]).to_string(), "+OK");
        }
        wire.refuse(false);
        link_up(&r);
        converge(&[&m, &r]);
        assert_eq!(syncs(&m), (2, 0));
        assert!(m.info_int("stats", "sync_partial_err") >= 1);
    }

    fn a_backlog_without_replicas_is_let_go_after_its_time(master, replica) {
        let m = Server::start(master, &["repl-backlog-ttl 1"]);
        let r = Server::start(replica, &[]);
        let wire = Proxy::to(m.port());
        r.check(&format!("replicaof 127.0.0.1 {}", wire.port()), "+OK");
        link_up(&r);
        assert_eq!(m.info("replication", "repl_backlog_active"), "1");
        let id = m.info("replication", "master_replid");
        wire.refuse(true);
        wire.cut();
        wait_until("the backlog is gone", || m.info("replication", "repl_backlog_active") == "0");
        wire.refuse(false);
        link_up(&r);
        assert_eq!(syncs(&m), (2, 0));
        assert_ne!(m.info("replication", "master_replid"), id);
    }

    fn a_replica_that_saved_goes_on_after_a_restart(master, replica) {
        let m = Server::start(master, &[]);
        let mut r = Server::start(replica, &[&format!("replicaof 127.0.0.1 {}", m.port())]);
        link_up(&r);
        m.check("set a 1", "+OK");
        converge(&[&m, &r]);
        r.client().send(&["SHUTDOWN", "SAVE"]);
        r.wait_end();
        m.check("set a 2", "+OK");
        r.launch();
        link_up(&r);
        converge(&[&m, &r]);
        assert_eq!(syncs(&m), (1, 1));
    }

    fn a_master_that_saved_is_known_again_after_a_restart(master, replica) {
        let mut m = Server::start(master, &[]);
        let r = Server::start(replica, &[]);
        follow(&r, &m);
        m.check("set a 1", "+OK");
        converge(&[&m, &r]);
        m.client().send(&["SHUTDOWN", "SAVE"]);
        m.wait_end();
        link_down(&r);
        m.launch();
        link_up(&r);
        m.check("set a 2", "+OK");
        converge(&[&m, &r]);
        assert_eq!(syncs(&m), (0, 1));
    }

    fn a_replica_told_to_follow_the_same_master_changes_nothing(master, replica) {
        let (m, r) = (Server::start(master, &[]), Server::start(replica, &[]));
        follow(&r, &m);
        r.check(&format!("replicaof 127.0.0.1 {}", m.port()), "+OK Already connected to specified master");
        assert_eq!(syncs(&m), (1, 0));
    }
}
