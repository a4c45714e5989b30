//! Servers linked into a tree: making the links, and waiting until all hold the same.

use super::kind::Kind;
use super::server::Server;
use super::wait::wait_until;

/// Makes `replica` follow `master`, and waits until the link is up.
#[track_caller]
pub fn follow(replica: &Server, master: &Server) {
    replica.check(&format!("replicaof 127.0.0.1 {}", master.port()), "+OK");
    link_up(replica);
}

#[track_caller]
pub fn link_up(replica: &Server) {
    let what = format!("the link of {:?} on port {} is up", replica.kind, replica.port());
    wait_until(&what, || replica.info("replication", "master_link_status") == "up");
}

#[track_caller]
pub fn link_down(replica: &Server) {
    let what = format!("the link of {:?} on port {} is down", replica.kind, replica.port());
    wait_until(&what, || replica.info("replication", "master_link_status") == "down");
}

#[track_caller]
pub fn offset(server: &Server) -> i64 {
    server.info_int("replication", "master_repl_offset")
}

/// A master and its line of replicas, each following the one before, all links up.
#[track_caller]
pub fn chain(kinds: &[Kind], lines: &[&str]) -> Vec<Server> {
    let nodes: Vec<Server> = kinds.iter().map(|kind| Server::start(*kind, lines)).collect();
    for pair in nodes.windows(2) {
        follow(&pair[1], &pair[0]);
    }
    nodes
}

/// Waits until every node has the first one's offset, replication id and data.
#[track_caller]
pub fn converge(nodes: &[&Server]) {
    let (master, rest) = nodes.split_first().expect("a master");
    for node in rest {
        let what = format!("{:?} on port {} has what its master has", node.kind, node.port());
        wait_until(&what, || offset(node) == offset(master));
    }
    let id = master.info("replication", "master_replid");
    let digest = master.digest();
    for node in rest {
        assert_eq!(node.info("replication", "master_replid"), id, "the replication id of {:?}", node.kind);
        assert_eq!(node.digest(), digest, "the data of {:?} on port {}", node.kind, node.port());
    }
}
