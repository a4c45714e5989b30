//! Lines and trees in which Pando and stock servers alternate.

use crate::harness::{Kind, Server, chain, converge, follow, link_down, link_up, wait_until};
use crate::random::Commands;

/// Runs `count` random writes at a server.
fn churn(s: &Server, seed: u64, count: usize) {
    let mut commands = Commands::new(seed);
    let mut c = s.client();
    for _ in 0..count / 100 {
        let batch: Vec<_> = (0..100).map(|_| commands.write()).collect();
        batch.iter().for_each(|command| c.send(command));
        batch.iter().for_each(|_| drop(c.read()));
    }
}

fn refs(nodes: &[Server]) -> Vec<&Server> {
    nodes.iter().collect()
}

for_each_order! {
    fn a_replica_of_a_replica_begins_in_the_database_that_the_stream_is_in(kinds) {
        let nodes = chain(&kinds[..2], &[]);
        let mut client = nodes[0].client();
        client.script("select 5 => +OK\n set a 1 => +OK");
        converge(&refs(&nodes));
        let third = Server::start(kinds[2], &["repl-diskless-load disabled"]);
        follow(&third, &nodes[1]);
        client.check("set a 2", "+OK");
        let fourth = Server::start(kinds[3], &["repl-diskless-load swapdb"]);
        follow(&fourth, &third);
        client.check("set b 2", "+OK");
        converge(&[&nodes[0], &nodes[1], &third, &fourth]);
        fourth.script("select 5 => +OK\n mget a b => [$2 $2]");
    }

    fn a_line_of_four_carries_everything_to_its_end(kinds) {
        let nodes = chain(&kinds, &[]);
        churn(&nodes[0], 1, 5000);
        converge(&refs(&nodes));
        nodes[0].script(
            r#"select 2 => +OK
            set a 1 => +OK
            multi => +OK
            incr a => +QUEUED
            incr b => +QUEUED
            exec => [:2 :1]
            swapdb 2 3 => +OK
            select 9 => +OK
            set z 1 ex 1000 => +OK
            flushdb => +OK
            set z 2 => +OK"#,
        );
        converge(&refs(&nodes));
        nodes[3].script("select 3 => +OK\n get a => $2\n select 9 => +OK\n get z => $2");
        nodes[0].check("flushall", "+OK");
        converge(&refs(&nodes));
        nodes[3].check("dbsize", ":0");
    }

    fn messages_travel_the_whole_line(kinds) {
        let nodes = chain(&kinds, &[]);
        let mut listeners: Vec<_> = nodes.iter().map(Server::client).collect();
        for c in &mut listeners {
            c.check("subscribe news", "[$subscribe $news :1]");
        }
        nodes[0].check("publish news hello", ":1");
        for c in &mut listeners {
            assert_eq!(c.read().to_string(), "[$message $news $hello]");
        }
    }

    fn a_cut_in_the_middle_is_mended_by_partial_syncs_only(kinds) {
        let nodes = chain(&kinds, &[]);
        churn(&nodes[0], 2, 1000);
        converge(&refs(&nodes));
        for cut in [1, 2, 3] {
            nodes[cut].check("client kill type master", ":1");
            churn(&nodes[0], cut as u64, 1000);
            nodes.iter().skip(1).for_each(link_up);
            converge(&refs(&nodes));
        }
        for node in &nodes[..3] {
            assert_eq!(node.info_int("stats", "sync_full"), 1, "full syncs of {:?}", node.kind);
        }
    }

    fn a_node_moves_along_the_line_without_a_full_sync(kinds) {
        let nodes = chain(&kinds, &[]);
        churn(&nodes[0], 3, 500);
        converge(&refs(&nodes));
        // Up to the root, and back below its former sibling's child.
        follow(&nodes[3], &nodes[0]);
        churn(&nodes[0], 4, 500);
        converge(&refs(&nodes));
        follow(&nodes[3], &nodes[1]);
        churn(&nodes[0], 5, 500);
        converge(&refs(&nodes));
        assert_eq!(nodes[0].info_int("stats", "sync_full"), 1);
        assert_eq!(nodes[0].info_int("stats", "sync_partial_ok"), 1);
        assert_eq!(nodes[1].info_int("stats", "sync_full"), 1);
        assert_eq!(nodes[1].info_int("stats", "sync_partial_ok"), 1);
    }

    fn a_line_built_from_its_end_fills_from_its_head(kinds) {
        let nodes: Vec<Server> = kinds.iter().map(|kind| Server::start(*kind, &[])).collect();
        nodes[0].check("debug populate 1000", "+OK");
        for i in (1..4).rev() {
            nodes[i].check(&format!("replicaof 127.0.0.1 {}", nodes[i - 1].port()), "+OK");
        }
        nodes.iter().skip(1).for_each(link_up);
        wait_until("the last one has the data", || nodes[3].run("dbsize").to_string() == ":1000");
        wait_until("every link stays up", || nodes.iter().skip(1).all(|n| n.info("replication", "master_link_status") == "up"));
        converge(&refs(&nodes));
    }

    fn a_crashed_middle_is_walked_around(kinds) {
        let mut nodes = chain(&kinds, &[]);
        churn(&nodes[0], 6, 500);
        converge(&refs(&nodes));
        nodes[1].crash();
        link_down(&nodes[2]);
        follow(&nodes[2], &nodes[0]);
        churn(&nodes[0], 7, 500);
        converge(&[&nodes[0], &nodes[2], &nodes[3]]);
        assert_eq!(nodes[0].info_int("stats", "sync_full"), 1);
        assert_eq!(nodes[2].info_int("stats", "sync_full"), 1);
    }
}

#[test]
fn a_wide_tree_of_both_kinds_converges() {
    let root = Server::start(Kind::Pando, &[]);
    let children: Vec<Server> = [Kind::Pando, Kind::Stock70, Kind::Pando].map(|k| Server::start(k, &[])).into();
    children.iter().for_each(|c| follow(c, &root));
    let leaves: Vec<Server> = [Kind::Stock70, Kind::Pando].map(|k| Server::start(k, &[])).into();
    leaves.iter().for_each(|l| follow(l, &children[0]));
    churn(&root, 8, 3000);
    let mut all = vec![&root];
    all.extend(&children);
    all.extend(&leaves);
    converge(&all);
    assert_eq!(root.info_int("replication", "connected_slaves"), 3);
    assert_eq!(children[0].info_int("replication", "connected_slaves"), 2);
}
