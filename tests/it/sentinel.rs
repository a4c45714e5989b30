//! Stock Sentinels over a master and its two replicas: whoever they promote, nothing that was acknowledged and waited for is
//! lost, and the tree comes together again.
//!
//! `PANDO_ROUNDS=N` runs more failovers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{Client, Kind, Server, converge, follow, link_up, wait_for, wait_until};

/// An election that failed is tried again after twice the failover timeout, and a busy machine fails several.
const PATIENCE: Duration = Duration::from_secs(180);

/// What a node's file must not say for it to be a master, and must say once for a replica.
const FOLLOWS: [&str; 2] = ["replicaof ", "slaveof "];

struct Group {
    nodes: Vec<Server>,
    sentinels: Vec<Server>,
}

impl Group {
    /// The first of them is the master; three Sentinels have found both replicas and each other.
    fn start(kinds: &[Kind]) -> Group {
        let nodes: Vec<Server> = kinds.iter().map(|kind| Server::start(*kind, &[])).collect();
        for node in &nodes[1..] {
            follow(node, &nodes[0]);
        }
        let monitor = format!("sentinel monitor mymaster 127.0.0.1 {} 2", nodes[0].port());
        let lines = [
            monitor.as_str(),
            "sentinel down-after-milliseconds mymaster 2000",
            "sentinel parallel-syncs mymaster 1",
            "sentinel failover-timeout mymaster 4000",
        ];
        let sentinels: Vec<Server> = (0..3).map(|_| Server::start(Kind::Sentinel70, &lines)).collect();
        for sentinel in &sentinels {
            // Looks oftener, and takes no fright where the machine stands still for a while.
            let periods = "info-period 500 ping-period 250 ask-period 250 publish-period 300 tilt-trigger 60000";
            sentinel.check(&format!("sentinel debug {periods}"), "+OK");
        }
        let group = Group { nodes, sentinels };
        for sentinel in &group.sentinels {
            wait_for(PATIENCE, "a sentinel knows everybody", || {
                let master = fields(sentinel, "sentinel master mymaster");
                let has = |name: &str, n: &str| master.iter().any(|(k, v)| k == name && v == n);
                has("num-slaves", "2") && has("num-other-sentinels", "2") && has("flags", "master")
            });
        }
        group
    }

    /// The port that all Sentinels name, if they agree.
    fn named(&self) -> Option<u16> {
        let ports: BTreeSet<Option<u16>> = self.sentinels.iter().map(|s| master_of(s.port())).collect();
        if ports.len() == 1 { ports.into_iter().next().flatten() } else { None }
    }

    fn index(&self, port: u16) -> usize {
        self.nodes.iter().position(|node| node.port() == port).expect("one of ours")
    }

    fn master(&self) -> usize {
        self.index(self.named().expect("the sentinels agree"))
    }

    /// Waits until the Sentinels agree on another master than `old`.
    fn moved_from(&self, old: usize) -> usize {
        let old = self.nodes[old].port();
        let mut now = 0;
        wait_for(PATIENCE, "the sentinels agree on another master", || {
            let named = self.named().filter(|port| *port != old);
            now = named.unwrap_or(0);
            named.is_some()
        });
        self.index(now)
    }

    /// Waits until all follow `master`, each file says so, and the Sentinels see it.
    fn settled(&self, master: usize) {
        let port = self.nodes[master].port();
        for (i, node) in self.nodes.iter().enumerate() {
            let what = format!("node {i} has its place under node {master}");
            wait_for(PATIENCE, &what, || {
                let Some(info) = replication(node) else { return false };
                let has = |line: &str| info.lines().any(|l| l == line);
                let role = if i == master {
                    has("role:master") && has("connected_slaves:2")
                } else {
                    has("role:slave") && has(&format!("master_port:{port}")) && has("master_link_status:up")
                };
                role && follows(node) == if i == master { vec![] } else { vec![format!("127.0.0.1 {port}")] }
            });
        }
        for sentinel in &self.sentinels {
            wait_for(PATIENCE, "a sentinel sees the tree as it is", || {
                let is = |line: &str, name: &str, value: &str| {
                    fields(sentinel, line).iter().any(|(k, v)| k == name && v == value)
                };
                is("sentinel master mymaster", "flags", "master")
                    && sentinel.run("sentinel replicas mymaster").items().iter().all(|replica| {
                        let of = pairs(replica);
                        let has = |name: &str, value: &str| of.iter().any(|(k, v)| k == name && v == value);
                        has("flags", "slave")
                            && has("master-link-status", "ok")
                            && has("master-port", &port.to_string())
                    })
            });
        }
    }

    /// Asks one Sentinel for a failover until it agrees to begin one.
    fn ask_for_failover(&self) {
        wait_for(PATIENCE, "a failover begins", || {
            let reply = self.sentinels[0].run("sentinel failover mymaster").to_string();
            // One that has just ended is in progress a moment longer; after that replicas are looked at anew.
            assert!(reply == "+OK" || reply.starts_with("-INPROG") || reply.starts_with("-NOGOODSLAVE"), "{reply}");
            reply == "+OK"
        });
    }

    fn priorities(&self, wanted: &[(usize, u32)]) {
        for (node, priority) in wanted {
            self.nodes[*node].check(&format!("config set slave-priority {priority}"), "+OK");
        }
        for sentinel in &self.sentinels {
            wait_for(PATIENCE, "a sentinel has seen the priorities", || {
                let replicas = sentinel.run("sentinel replicas mymaster");
                wanted.iter().all(|(node, priority)| {
                    let port = self.nodes[*node].port().to_string();
                    replicas.items().iter().map(pairs).any(|of| {
                        let has = |name: &str, value: &str| of.iter().any(|(k, v)| k == name && v == value);
                        has("port", &port) && has("slave-priority", &priority.to_string())
                    })
                })
            });
        }
    }
}

/// What a node says of its place. A Sentinel that gives it another one hangs up on its clients, this one too.
fn replication(node: &Server) -> Option<String> {
    let mut client = Client::try_connect(("127.0.0.1", node.port())).ok()?;
    client.try_call(&["INFO", "replication"]).ok().map(|reply| reply.text())
}

/// Whom a node's configuration file makes it follow.
fn follows(node: &Server) -> Vec<String> {
    let file = std::fs::read_to_string(node.path("redis.conf")).expect("its configuration");
    let lines = file.lines().filter_map(|line| FOLLOWS.iter().find_map(|word| line.strip_prefix(word)));
    lines.map(str::to_owned).collect()
}

fn pairs(reply: &crate::harness::Reply) -> Vec<(String, String)> {
    reply.items().chunks_exact(2).map(|pair| (pair[0].text(), pair[1].text())).collect()
}

fn fields(sentinel: &Server, line: &str) -> Vec<(String, String)> {
    pairs(&sentinel.run(line))
}

fn master_of(sentinel: u16) -> Option<u16> {
    let reply = Client::try_connect(("127.0.0.1", sentinel))
        .ok()?
        .try_call(&["sentinel", "get-master-addr-by-name", "mymaster"])
        .ok()?;
    reply.items().get(1)?.text().parse().ok()
}

/// A client that goes where the Sentinels send it, and notes what both replicas have confirmed.
struct Writer {
    stop: Arc<AtomicBool>,
    confirmed: Arc<AtomicUsize>,
    thread: JoinHandle<(u64, Vec<u64>)>,
}

impl Writer {
    fn start(group: &Group, from: u64) -> Writer {
        let sentinel = group.sentinels[0].port();
        let (stop, confirmed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&confirmed));
        let thread = std::thread::spawn(move || {
            let (mut next, mut sure) = (from, Vec::new());
            while !stopped.load(Ordering::Relaxed) {
                let Some(Ok(mut client)) = master_of(sentinel).map(|port| Client::try_connect(("127.0.0.1", port)))
                else {
                    continue;
                };
                while !stopped.load(Ordering::Relaxed) {
                    next += 1;
                    let number = next.to_string();
                    let key = format!("w:{number}");
                    // A master that was stopped and wakes up as a former one hangs up or refuses: ask for the way again.
                    let mut write = || -> std::io::Result<bool> {
                        let first = client.try_call(&["SET", &key, &number])?;
                        let second = client.try_call(&["RPUSH", "written", &number])?;
                        let count = client.try_call(&["WAIT", "2", "500"])?;
                        Ok(!first.is_error() && !second.is_error() && count.to_string() == ":2")
                    };
                    match write() {
                        Ok(true) => {
                            sure.push(next);
                            counted.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(false) | Err(_) => break,
                    }
                }
            }
            (next, sure)
        });
        Writer { stop, confirmed, thread }
    }

    /// Waits until `n` more writes are confirmed.
    fn goes_on(&self, n: usize) {
        let until = self.confirmed.load(Ordering::Relaxed) + n;
        wait_for(PATIENCE, "writes are confirmed", || self.confirmed.load(Ordering::Relaxed) >= until);
    }

    fn end(self) -> (u64, Vec<u64>) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the writer ends")
    }
}

/// All that was confirmed is there, in its order.
fn holds_all(node: &Server, confirmed: &[u64]) {
    let mut client = node.client();
    let list = client.run("lrange written 0 -1");
    let written: Vec<u64> = list.items().iter().map(|n| n.text().parse().expect("a number")).collect();
    assert!(written.is_sorted(), "the order was kept");
    let written: BTreeSet<u64> = written.into_iter().collect();
    let lost: Vec<&u64> = confirmed.iter().filter(|n| !written.contains(n)).collect();
    assert!(lost.is_empty(), "{} of {} confirmed writes are lost: {lost:?}", lost.len(), confirmed.len());
    for n in confirmed {
        client.check(&format!("get w:{n}"), &format!("${n}"));
    }
}

#[derive(Clone, Copy, Debug)]
enum Mishap {
    Crash,
    Asked,
    Stopped,
}

fn failovers(kinds: &[Kind], mishaps: &[Mishap]) {
    let mut group = Group::start(kinds);
    let rounds = std::env::var("PANDO_ROUNDS").ok().and_then(|v| v.parse().ok()).unwrap_or(mishaps.len());
    let (mut next, mut confirmed) = (0, Vec::new());
    for round in 0..rounds {
        let writer = Writer::start(&group, next);
        writer.goes_on(20);
        let old = group.master();
        let new = match mishaps[round % mishaps.len()] {
            Mishap::Crash => {
                group.nodes[old].crash();
                let new = group.moved_from(old);
                // Its file still says it is a master, and it has no data: the Sentinels see to both.
                group.nodes[old].launch();
                new
            }
            Mishap::Asked => {
                group.ask_for_failover();
                group.moved_from(old)
            }
            Mishap::Stopped => {
                group.nodes[old].signal(Signal::STOP);
                let new = group.moved_from(old);
                group.nodes[old].signal(Signal::CONT);
                new
            }
        };
        group.settled(new);
        writer.goes_on(20);
        let (last, sure) = writer.end();
        next = last;
        confirmed.extend(sure);
        let order = [new, (new + 1) % 3, (new + 2) % 3].map(|i| &group.nodes[i]);
        converge(&order);
        holds_all(order[0], &confirmed);
    }
    comes_back_as_the_files_say(group, &confirmed);
}

/// Without a Sentinel, from what CONFIG REWRITE left.
fn comes_back_as_the_files_say(mut group: Group, confirmed: &[u64]) {
    let master = group.master();
    group.sentinels.clear();
    let port = group.nodes[master].port().to_string();
    let last_first = [(master + 2) % 3, (master + 1) % 3, master];
    for i in last_first {
        // Answered only where it is refused.
        let _ = group.nodes[i].client().try_call(&["SHUTDOWN", "SAVE"]);
        group.nodes[i].wait_end();
    }
    for i in last_first.into_iter().rev() {
        group.nodes[i].launch();
    }
    for i in last_first {
        if i != master {
            link_up(&group.nodes[i]);
            assert_eq!(group.nodes[i].info("replication", "master_port"), port);
        }
        holds_all(&group.nodes[i], confirmed);
    }
}

#[test]
fn sentinels_move_the_master_and_nothing_confirmed_is_lost() {
    failovers(&[Kind::Pando; 3], &[Mishap::Crash, Mishap::Asked, Mishap::Stopped]);
}

#[test]
fn sentinels_move_the_master_between_pando_and_stock() {
    failovers(&[Kind::Pando, Kind::Stock70, Kind::Pando], &[Mishap::Asked, Mishap::Asked, Mishap::Crash]);
}

#[test]
fn sentinels_promote_nobody_whose_priority_is_zero() {
    let group = Group::start(&[Kind::Pando; 3]);
    // As tutorials do it: all but the chosen one are out of the question.
    for (chosen, other) in [(2, 1), (1, 0), (0, 2)] {
        let old = group.master();
        group.priorities(&[(other, 0), (chosen, 100)]);
        group.ask_for_failover();
        assert_eq!(group.moved_from(old), chosen);
        group.settled(chosen);
        assert_eq!(group.nodes[other].info("replication", "slave_priority"), "0");
        group.priorities(&[(other, 100)]);
    }
    group.priorities(&[(1, 0), (2, 0)]);
    let none = || group.sentinels[0].run("sentinel failover mymaster").to_string();
    wait_until("nobody can be promoted", || none() == "-NOGOODSLAVE No suitable replica to promote");
    assert_eq!(group.master(), 0);
    // The lower number goes first.
    group.priorities(&[(1, 100), (2, 50)]);
    group.ask_for_failover();
    assert_eq!(group.moved_from(0), 2);
    group.settled(2);
}
