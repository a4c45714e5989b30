//! What a master and a replica promise their clients.

use crate::harness::{Kind, Proxy, Reply, Server, converge, follow, link_down, link_up, offset, wait_until};

for_each_pair! {
    fn wait_counts_the_replicas_that_have_it(master, replica) {
        let (m, a, b) = (Server::start(master, &[]), Server::start(replica, &[]), Server::start(replica, &[]));
        let wire = Proxy::to(m.port());
        follow(&a, &m);
        b.check(&format!("replicaof 127.0.0.1 {}", wire.port()), "+OK");
        link_up(&b);
        let mut c = m.client();
        c.check("wait 0 0", ":2");
        c.check("set a 1", "+OK");
        c.check("wait 2 20000", ":2");
        wire.hold(true);
        c.check("set a 2", "+OK");
        c.check("wait 1 20000", ":1");
        c.check("wait 2 300", ":1");
        wire.hold(false);
        c.check("wait 2 20000", ":2");
        a.check("wait 1 10", "-ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is configured to be writable (which is not the default) writes to replicas are just local and are not propagated.");
    }

    fn a_master_short_of_good_replicas_takes_no_writes(master, replica) {
        let m = Server::start(master, &["min-replicas-to-write 1", "min-replicas-max-lag 2", "repl-ping-replica-period 1"]);
        m.check("set a 1", "-NOREPLICAS Not enough good replicas to write.");
        m.check("get a", "$nil");
        let r = Server::start(replica, &[]);
        let wire = Proxy::to(m.port());
        r.check(&format!("replicaof 127.0.0.1 {}", wire.port()), "+OK");
        link_up(&r);
        wait_until("the master counts its replica", || m.run("set a 1").to_string() == "+OK");
        wire.hold(true);
        wait_until("the replica lags too much", || m.run("set a 2").is_error());
        assert_eq!(m.info("replication", "min_slaves_good_slaves"), "0");
        wire.hold(false);
        wait_until("it is good again", || m.run("set a 3").to_string() == "+OK");
    }

    fn a_replica_is_read_only_unless_told_otherwise(master, replica) {
        let (m, r) = (Server::start(master, &[]), Server::start(replica, &[]));
        m.check("set a 1", "+OK");
        follow(&r, &m);
        r.script(
            r#"get a => $1
            set a 2 => -READONLY You can't write against a read only replica.
            flushall => -READONLY You can't write against a read only replica.
            multi => +OK
            set a 2 => -READONLY You can't write against a read only replica.
            exec => -EXECABORT Transaction discarded because of previous errors.
            publish ch x => :0
            config set replica-read-only no => +OK
            set own 1 => +OK
            set brief 1 px 1 => +OK"#,
        );
        wait_until("a writable replica's own keys expire", || r.run("exists brief").to_string() == ":0");
        let before = offset(&m);
        assert_eq!(offset(&r), before);
        m.check("exists own", ":0");
        assert_eq!(r.info("replication", "slave_read_only"), "0");
    }

    fn a_replica_told_to_serve_nothing_stale_says_so(master, replica) {
        let mut m = Server::start(master, &[]);
        m.check("set a 1", "+OK");
        let r = Server::start(replica, &["replica-serve-stale-data no", &format!("replicaof 127.0.0.1 {}", m.port())]);
        link_up(&r);
        r.check("get a", "$1");
        m.terminate();
        link_down(&r);
        let down = "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.";
        r.check("get a", down);
        r.check("set a 1", "-READONLY You can't write against a read only replica.");
        assert_eq!(r.info("replication", "role"), "slave");
        r.check("config get replica-serve-stale-data", "[$replica-serve-stale-data $no]");
        m.launch();
        link_up(&r);
        r.check("get a", "$nil");
        r.check("replicaof no one", "+OK");
        r.check("get a", "$nil");
    }

    fn keys_expire_on_a_replica_when_its_master_says_so(master, replica) {
        let (m, r) = (Server::start(master, &[]), Server::start(replica, &[]));
        follow(&r, &m);
        m.check("debug set-active-expire 0", "+OK");
        m.script("set brief 1 px 100 => +OK\n set long 1 ex 1000 => +OK\n setex other 1000 x => +OK");
        converge(&[&m, &r]);
        for key in ["long", "other"] {
            let at = m.run(&format!("pexpiretime {key}"));
            assert_eq!(r.run(&format!("pexpiretime {key}")), at, "the moment {key} ends");
        }
        // Its readers see the key gone, while it stays counted until the master's DEL arrives.
        wait_until("readers see it gone", || r.run("get brief") == Reply::NilBulk);
        r.check("exists brief", ":0");
        r.check("dbsize", ":3");
        m.check("get brief", "$nil");
        wait_until("the master's DEL has come", || r.run("dbsize").to_string() == ":2");
        converge(&[&m, &r]);
    }

    fn both_ends_describe_the_link_as_stock_does(master, replica) {
        let m = Server::start(master, &["repl-ping-replica-period 3600"]);
        let r = Server::start(replica, &["replica-priority 42"]);
        follow(&r, &m);
        m.check("set a 1", "+OK");
        converge(&[&m, &r]);
        let mut at = 0;
        wait_until("the acknowledgement has come", || {
            // Asked each time anew: a PING of the master's counts, too.
            at = offset(&m);
            let start = format!("ip=127.0.0.1,port={},state=online,offset={at},lag=", r.port());
            m.info("replication", "slave0").starts_with(&start)
        });
        assert_eq!(m.info("replication", "connected_slaves"), "1");
        assert_eq!(m.info("replication", "repl_backlog_active"), "1");
        assert_eq!(m.info("replication", "repl_backlog_size"), "1048576");
        let role = m.run("role").to_string();
        assert_eq!(role, format!("[$master :{at} [[$127.0.0.1 ${} ${at}]]]", r.port()));
        r.check("role", &format!("[$slave $127.0.0.1 :{} $connected :{at}]", m.port()));
        for (field, value) in [
            ("role", "slave"),
            ("master_host", "127.0.0.1"),
            ("master_port", &m.port().to_string()),
            ("master_sync_in_progress", "0"),
            ("slave_repl_offset", &at.to_string()),
            ("slave_priority", "42"),
            ("slave_read_only", "1"),
            ("connected_slaves", "0"),
            ("replica_announced", "1"),
        ] {
            assert_eq!(r.info("replication", field), value, "{field}");
        }
        assert!(r.info_int("replication", "master_last_io_seconds_ago") >= 0);
    }

    fn a_replica_announces_what_it_is_told_to(master, replica) {
        let m = Server::start(master, &[]);
        let r = Server::start(replica, &["replica-announce-ip 10.1.2.3", "replica-announce-port 7777"]);
        follow(&r, &m);
        wait_until("the announced address is shown", || {
            m.info("replication", "slave0").starts_with("ip=10.1.2.3,port=7777,state=online,")
        });
    }

    fn the_master_tells_its_clients_apart(master, replica) {
        let (m, r) = (Server::start(master, &[]), Server::start(replica, &[]));
        follow(&r, &m);
        wait_until("it is online", || m.info("replication", "slave0").contains("state=online"));
        let at_master = m.run("client list type replica").text();
        assert_eq!(at_master.lines().count(), 1, "{at_master}");
        assert!(at_master.contains(" flags=S "), "{at_master}");
        let at_replica = r.run("client list type master").text();
        assert_eq!(at_replica.lines().count(), 1, "{at_replica}");
        assert!(at_replica.contains(" flags=M "), "{at_replica}");
    }
}
