//! A replica that knows nothing gets everything.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::{Kind, Proxy, Server, converge, follow, link_down, link_up, wait_until};

/// Data of several shapes in several databases, with and without lifetimes.
fn fill(s: &Server) {
    s.script(
        r#"debug populate 5000 key 50 => +OK
        set text "with\r\nbreaks and \x00 zero" => +OK
        set number 12345 => +OK
        set negative -9223372036854775808 => +OK
        set empty "" => +OK
        set mortal 1 pxat 33177117420123 => +OK
        select 5 => +OK
        mset a 1 b 2 => +OK
        expire b 10000 => :1
        select 15 => +OK
        setrange long 100000 x => :100001"#,
    );
}

for_each_pair! {
    fn every_way_of_sending_meets_every_way_of_loading(master, replica) {
        for diskless in ["yes", "no"] {
            let m = Server::start(master, &[&format!("repl-diskless-sync {diskless}")]);
            fill(&m);
            for load in ["disabled", "on-empty-db", "swapdb"] {
                let r = Server::start(replica, &[&format!("repl-diskless-load {load}")]);
                r.check("set stranger 1", "+OK");
                follow(&r, &m);
                converge(&[&m, &r]);
                r.script(
                    r#"exists stranger => :0
                    pexpiretime mortal => :33177117420123
                    get text => $with\r\nbreaks and \x00 zero
                    select 15 => +OK
                    strlen long => :100001"#,
                );
            }
            assert_eq!(m.info_int("stats", "sync_full"), 3);
        }
    }

    fn a_master_named_in_the_file_or_by_host_name_is_found(master, replica) {
        let m = Server::start(master, &[]);
        m.check("set a 1", "+OK");
        let by_file = Server::start(replica, &[&format!("replicaof 127.0.0.1 {}", m.port())]);
        let by_old_word = Server::start(replica, &[&format!("slaveof localhost {}", m.port())]);
        let by_name = Server::start(replica, &[]);
        by_name.check(&format!("slaveof localhost {}", m.port()), "+OK");
        for r in [&by_file, &by_old_word, &by_name] {
            link_up(r);
            r.check("get a", "$1");
        }
        assert_eq!(by_name.info("replication", "master_host"), "localhost");
        assert_eq!(by_old_word.info("replication", "master_host"), "localhost");
        wait_until("all three are online", || m.info("replication", "slave2").contains("state=online"));
        converge(&[&m, &by_file, &by_old_word, &by_name]);
    }

    fn what_is_written_during_a_sync_arrives(master, replica) {
        for diskless in ["yes", "no"] {
            let m = Server::start(master, &[&format!("repl-diskless-sync {diskless}")]);
            m.check("debug populate 100000 key 100", "+OK");
            let r = Server::start(replica, &[]);
            let done = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let mut c = m.client();
                    let mut n = 0;
                    while !done.load(Ordering::Relaxed) {
                        n += 1;
                        c.run(&format!("set key:{} during", n * 37 % 100_000));
                        c.run(&format!("set new:{n} during"));
                        c.run(&format!("del key:{}", n * 61 % 100_000));
                        c.run("incr counter");
                    }
                });
                // The flag is set even if the link does not come up: the writer must end with the test.
                let up = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| follow(&r, &m)));
                done.store(true, Ordering::Relaxed);
                up.expect("the link comes up");
            });
            converge(&[&m, &r]);
        }
    }

    fn replicas_that_wait_together_share_one_snapshot(master, replica) {
        let m = Server::start(master, &["repl-diskless-sync yes", "repl-diskless-sync-delay 1"]);
        fill(&m);
        let replicas: Vec<Server> = (0..3)
            .map(|_| Server::start(replica, &[&format!("replicaof 127.0.0.1 {}", m.port())]))
            .collect();
        replicas.iter().for_each(link_up);
        assert_eq!(m.info_int("stats", "sync_full"), 3);
        let r: Vec<&Server> = replicas.iter().collect();
        converge(&[&m, r[0], r[1], r[2]]);
    }

    fn a_transfer_cut_short_is_tried_again_and_costs_no_old_data(master, replica) {
        let m = Server::start(master, &[]);
        m.check("debug populate 20000 key 100", "+OK");
        for load in ["disabled", "swapdb"] {
            let wire = Proxy::to(m.port());
            let r = Server::start(replica, &[&format!("repl-diskless-load {load}"), "appendonly no"]);
            r.check("set old 1", "+OK");
            wire.cut_after(500_000);
            r.check(&format!("replicaof 127.0.0.1 {}", wire.port()), "+OK");
            wait_until("a second try", || {
                // Each further try is cut off as well, so that the old data can be looked at in peace.
                wire.refuse(wire.accepted() > 0);
                // Before the first one has begun nothing is in progress either.
                r.log_has("Full resync from") && r.info("replication", "master_sync_in_progress") == "0"
            });
            link_down(&r);
            r.check("get old", "$1");
            r.check("dbsize", ":1");
            wire.refuse(false);
            link_up(&r);
            r.check("exists old", ":0");
            converge(&[&m, &r]);
        }
    }
}

#[test]
fn newer_stock_servers_replicate_both_ways() {
    for peer in [Kind::Redis80, Kind::Valkey91] {
        if !peer.available() {
            continue;
        }
        let pando = Server::start(Kind::Pando, &[]);
        fill(&pando);
        let theirs = Server::start(peer, &[]);
        follow(&theirs, &pando);
        converge(&[&pando, &theirs]);
        pando.check("set more 1", "+OK");
        converge(&[&pando, &theirs]);
    }
}

/// The snapshots that lie in a server's directory, by their names without what is made up.
fn snapshots(s: &Server) -> Vec<String> {
    let names = std::fs::read_dir(s.dir()).expect("a directory").map(|e| e.expect("an entry").file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.retain(|name| name.contains(".rdb"));
    names.sort();
    names
}

/// `rdb-del-sync-files`: the snapshot that came by disk goes after the load where nothing else would be kept.
#[test]
fn a_snapshot_that_came_by_disk_stays_or_goes_as_on_stock_replicas() {
    let keeps = ["save 3600 1", "appendonly yes", "save \"\""];
    for master in [Kind::Pando, Kind::Stock70] {
        let m = Server::start(master, &["repl-diskless-sync no", "rdb-del-sync-files yes"]);
        m.check("set a 1", "+OK");
        for keep in keeps {
            for delete in ["rdb-del-sync-files yes", "rdb-del-sync-files no"] {
                let options = [keep, delete, "repl-diskless-load disabled"];
                let [ours, stock] = [Kind::Pando, Kind::Stock70].map(|kind| Server::start(kind, &options));
                for r in [&ours, &stock] {
                    follow(r, &m);
                    converge(&[&m, r]);
                }
                let expect = if keep == keeps[2] && delete.ends_with("yes") { vec![] } else { vec!["dump.rdb"] };
                for r in [&ours, &stock] {
                    // Stock servers turn the append-only file off for the load, and then take themselves for servers that
                    // keep nothing, against what their manual says.
                    if keep == keeps[1] && r.kind == Kind::Stock70 {
                        continue;
                    }
                    wait_until(&format!("{expect:?} is there with {options:?}"), || snapshots(r) == expect);
                }
            }
        }
        // What was made for the replicas is of no use to the master.
        wait_until("the master has no snapshot", || snapshots(&m).is_empty());
    }
}

/// Ours has no name from the time it is whole, so that nothing is left to be deleted, whatever the directive says.
#[test]
fn a_master_leaves_no_snapshot_that_was_made_for_a_replica() {
    if Kind::stock_stands_in() {
        return;
    }
    for delete in ["yes", "no"] {
        let m = Server::start(Kind::Pando, &["repl-diskless-sync no", &format!("rdb-del-sync-files {delete}")]);
        m.check("set a 1", "+OK");
        let r = Server::start(Kind::Pando, &[]);
        follow(&r, &m);
        converge(&[&m, &r]);
        assert_eq!(m.info_int("stats", "sync_full"), 1);
        assert_eq!(snapshots(&m), Vec::<String>::new());
    }
}
