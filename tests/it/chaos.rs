//! A tree of six under writes of every kind while nodes are killed, stopped, cut off, moved and restarted: in the end all hold
//! the same at the same offset, and few had to be synced anew.
//!
//! A failure prints its seed; `PANDO_SEED=N` runs that one again, `PANDO_ROUNDS=N` runs more mishaps. What the clients' threads
//! write comes from the seed as well, but in which order they meet does not.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::Signal;

use crate::by_table::Writes;
use crate::harness::{Client, Kind, Proxy, Server, wait_for};
use crate::random::Rng;

const NODES: usize = 6;
const WRITERS: usize = 3;
/// Requests that a client sends before it reads what they came to.
const PIPELINE: usize = 20;
/// Pipelines that a client sends for each mishap.
const GRANT: usize = 25;
const PATIENCE: Duration = Duration::from_secs(120);

/// How much may still be written, so that a mishap takes a number of writes and not a time.
#[derive(Default)]
struct Work {
    left: Mutex<Grants>,
    changed: Condvar,
}

#[derive(Default)]
struct Grants {
    open: usize,
    ended: bool,
}

impl Work {
    fn grant(&self, n: usize) {
        self.left.lock().expect("no panic holds it").open += n;
        self.changed.notify_all();
    }

    /// False when there will be no more.
    fn take(&self) -> bool {
        let mut left = self.left.lock().expect("no panic holds it");
        while left.open == 0 && !left.ended {
            left = self.changed.wait(left).expect("no panic holds it");
        }
        let there = left.open > 0;
        left.open -= usize::from(there);
        there
    }

    fn is_done(&self) -> bool {
        self.left.lock().expect("no panic holds it").open == 0
    }

    fn end(&self) {
        self.left.lock().expect("no panic holds it").ended = true;
        self.changed.notify_all();
    }
}

fn words(line: &str) -> Vec<Vec<u8>> {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

/// What the table's calls leave out: moments near enough to come, ids from the clock, transactions, other databases, bulk.
fn special(rng: &mut Rng) -> Vec<Vec<Vec<u8>>> {
    let (n, key) = (rng.below(2000), rng.below(6));
    match rng.below(16) {
        0 => vec![words(&format!("SET brief:{n} x PX {}", 1 + rng.below(1500)))],
        1 => vec![words(&format!("PEXPIRE set:{key} {}", 1 + rng.below(3000)))],
        2 => vec![words(&format!("XADD stream:{key} MAXLEN ~ 500 * f {n}"))],
        3 => vec![words(&format!("HPEXPIRE hash:{key} {} FIELDS 2 a b", 1 + rng.below(1500)))],
        4 => vec![words(&format!("HSET hash:{key} a {n} b {n} c {n}"))],
        5 => vec![
            words("MULTI"),
            words(&format!("INCR sum:{key}")),
            words(&format!("LPUSH list:{key} {n}")),
            words("EXEC"),
        ],
        6 => {
            let db = rng.below(3).to_string();
            vec![words(&format!("SELECT {db}")), words(&format!("SET there:{n} {db}")), words("SELECT 0")]
        }
        7 => vec![words(&format!("BLPOP list:{key} 0.01"))],
        8 if rng.below(40) == 0 => vec![words("SWAPDB 1 2")],
        8 if rng.below(40) == 0 => vec![words("SELECT 1"), words("FLUSHDB"), words("SELECT 0")],
        _ => vec![vec![b"SET".to_vec(), format!("bulk:{n}").into_bytes(), vec![b'v'; rng.below(1000) as usize]]],
    }
}

/// Writes to whoever is the root. A pipeline that got lost is not sent again.
fn writer(seed: u64, root: Arc<AtomicU16>, work: Arc<Work>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let (mut rng, mut writes) = (Rng::new(seed), Writes::new(seed));
        let mut link: Option<(u16, Client)> = None;
        while work.take() {
            let port = root.load(Ordering::Acquire);
            if link.as_ref().is_none_or(|(to, _)| *to != port) {
                link = Client::try_connect(("127.0.0.1", port)).ok().map(|client| (port, client));
            }
            let mut pipeline = Vec::new();
            while pipeline.len() < PIPELINE {
                if rng.below(2) == 0 { pipeline.push(writes.next()) } else { pipeline.extend(special(&mut rng)) }
            }
            let sent = |client: &mut Client| -> io::Result<()> {
                let mut bytes = Vec::new();
                for words in &pipeline {
                    bytes.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
                    for word in words {
                        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                        bytes.extend_from_slice(word);
                        bytes.extend_from_slice(b"\r\n");
                    }
                }
                client.try_send_raw(&bytes)?;
                for _ in &pipeline {
                    client.try_read()?;
                }
                Ok(())
            };
            if let Some((_, client)) = &mut link
                && sent(client).is_err()
            {
                link = None;
            }
        }
    })
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Up,
    Stopped,
    Down,
}

#[derive(Clone, Copy, Debug)]
enum Repair {
    Welcome { child: usize, parent: usize },
    LetGo { child: usize, parent: usize },
    Continue(usize),
    Launch(usize),
}

struct Tree {
    seed: u64,
    rng: Rng,
    nodes: Vec<Server>,
    state: [State; NODES],
    parent: [Option<usize>; NODES],
    /// Every link goes over a wire of its own, kept to the end so that no other test gets its port.
    wires: BTreeMap<(usize, usize), Proxy>,
    repairs: Vec<(usize, Repair)>,
    root_port: Arc<AtomicU16>,
    work: Arc<Work>,
    /// Which nodes write an append-only file, and so come back with something from a crash.
    durable: Vec<bool>,
    /// Full syncs that nothing could have spared.
    due: usize,
    step: usize,
}

impl Tree {
    fn plant(seed: u64) -> Tree {
        let mut rng = Rng::new(seed);
        let durable: Vec<bool> = (0..NODES).map(|_| rng.below(2) == 0).collect();
        let nodes: Vec<Server> = durable
            .iter()
            .map(|durable| {
                let diskless = rng.pick(&["yes", "no"]);
                let load = rng.pick(&["disabled", "swapdb", "on-empty-db"]);
                let lines = [
                    "repl-backlog-size 64mb".to_owned(),
                    format!("repl-diskless-sync {diskless}"),
                    format!("repl-diskless-load {load}"),
                    format!("appendonly {}", if *durable { "yes" } else { "no" }),
                    format!("appendfsync {}", rng.pick(&["always", "everysec"])),
                ];
                Server::start(Kind::Pando, &lines.each_ref().map(String::as_str))
            })
            .collect();
        let root_port = Arc::new(AtomicU16::new(nodes[0].port()));
        let mut tree = Tree {
            seed,
            rng,
            nodes,
            state: [State::Up; NODES],
            parent: [None; NODES],
            wires: BTreeMap::new(),
            repairs: Vec::new(),
            root_port,
            work: Arc::default(),
            durable,
            due: NODES - 1,
            step: 0,
        };
        for node in 1..NODES {
            let parent = tree.below(node);
            tree.hang(node, parent);
        }
        tree
    }

    fn below(&mut self, n: usize) -> usize {
        self.rng.below(n as u64) as usize
    }

    fn root(&self) -> usize {
        self.parent.iter().position(Option::is_none).expect("a root")
    }

    /// `node` and all that follow it, however far below.
    fn subtree(&self, node: usize) -> Vec<usize> {
        let under = |mut n: usize| loop {
            if n == node {
                return true;
            }
            match self.parent[n] {
                Some(parent) => n = parent,
                None => return false,
            }
        };
        (0..NODES).filter(|n| under(*n)).collect()
    }

    fn wire(&mut self, child: usize, parent: usize) -> &Proxy {
        let port = self.nodes[parent].port();
        self.wires.entry((child, parent)).or_insert_with(|| Proxy::to(port))
    }

    /// Makes a node follow another, now and after a restart.
    fn hang(&mut self, child: usize, parent: usize) {
        let port = self.wire(child, parent).port();
        self.parent[child] = Some(parent);
        self.place(child, &format!("replicaof 127.0.0.1 {port}"));
    }

    /// REPLICAOF, for good.
    fn place(&self, node: usize, replicaof: &str) {
        // Who is loading takes no such orders.
        wait_for(PATIENCE, &format!("{node} takes orders"), || {
            let reply = self.nodes[node].run(replicaof).to_string();
            assert!(reply.starts_with("+OK") || reply.starts_with("-LOADING"), "{replicaof}: {reply}");
            reply.starts_with("+OK")
        });
        self.nodes[node].check("config rewrite", "+OK");
    }

    fn offset(&self, node: usize, field: &str) -> i64 {
        self.nodes[node].info_int("replication", field)
    }

    /// A node that is up and has a parent.
    fn some_child(&mut self) -> Option<(usize, usize)> {
        let node = self.below(NODES);
        let parent = self.parent[node]?;
        (self.state[node] == State::Up).then_some((node, parent))
    }

    fn later(&mut self, repair: Repair) {
        let at = self.step + 1 + self.below(3);
        self.repairs.push((at, repair));
    }

    fn mend(&mut self, upto: usize) {
        let (now, later): (Vec<_>, Vec<_>) = self.repairs.drain(..).partition(|(at, _)| *at <= upto);
        self.repairs = later;
        for (_, repair) in now {
            match repair {
                Repair::Welcome { child, parent } => self.wire(child, parent).refuse(false),
                Repair::LetGo { child, parent } => self.wire(child, parent).hold(false),
                Repair::Continue(node) => {
                    self.nodes[node].signal(Signal::CONT);
                    self.state[node] = State::Up;
                }
                Repair::Launch(node) => {
                    self.nodes[node].launch();
                    self.state[node] = State::Up;
                }
            }
        }
    }

    fn mishap(&mut self) -> Option<String> {
        let kind = self.below(100);
        Some(match kind {
            0..15 => {
                let (child, parent) = self.some_child()?;
                self.wire(child, parent).cut();
                format!("the link of {child} to {parent} is cut")
            }
            15..25 => {
                let (child, parent) = self.some_child()?;
                self.wire(child, parent).refuse(true);
                self.wire(child, parent).cut();
                self.later(Repair::Welcome { child, parent });
                format!("the link of {child} to {parent} is cut for a while")
            }
            25..32 => {
                let (child, parent) = self.some_child()?;
                self.wire(child, parent).hold(true);
                self.later(Repair::LetGo { child, parent });
                format!("the link of {child} to {parent} carries nothing for a while")
            }
            32..37 => {
                let (child, parent) = self.some_child()?;
                let bytes = self.below(20_000);
                self.wire(child, parent).cut_after(bytes);
                format!("the link of {child} to {parent} breaks after {bytes} bytes")
            }
            37..49 => {
                // The root among them: then its clients wait.
                let node = self.below(NODES);
                if self.state[node] != State::Up {
                    return None;
                }
                self.nodes[node].signal(Signal::STOP);
                self.state[node] = State::Stopped;
                self.later(Repair::Continue(node));
                format!("{node} is stopped")
            }
            49..61 => {
                let (node, _) = self.some_child()?;
                self.nodes[node].crash();
                self.state[node] = State::Down;
                // It comes back with nothing, and has nothing for its own replicas but what it gets.
                self.due += self.subtree(node).len();
                self.later(Repair::Launch(node));
                format!("{node} is killed")
            }
            61..68 => {
                let (node, _) = self.some_child()?;
                self.shut_down(node);
                self.later(Repair::Launch(node));
                format!("{node} is shut down")
            }
            68..80 => self.move_subtree()?,
            80..84 => {
                let (node, _) = self.some_child()?;
                let what = self.rng.pick(&["bgsave", "bgrewriteaof"]);
                // Refused while another is running.
                let reply = self.nodes[node].run(what);
                format!("{node} {what}: {reply}")
            }
            84..88 => {
                self.mend(usize::MAX);
                let root = self.root();
                self.shut_down(root);
                self.nodes[root].launch();
                self.state[root] = State::Up;
                format!("the root {root} is restarted")
            }
            88..91 => {
                let root = self.root();
                if !self.durable[root] {
                    return None;
                }
                self.mend(usize::MAX);
                let due = self.due_after_a_crash_of(root);
                self.nodes[root].crash();
                self.nodes[root].launch();
                self.due += due;
                format!("the root {root} is killed and comes back, for {due} at most to sync anew")
            }
            91..96 => self.hand_over()?,
            _ => self.lose_root()?,
        })
    }

    /// How many may have to sync anew if the root crashes and comes back.
    fn due_after_a_crash_of(&self, root: usize) -> usize {
        let info = |node: usize, section, field| self.nodes[node].info(section, field);
        let always = self.nodes[root].run("config get appendfsync").to_string().contains("always");
        let in_force = ["aof_rewrite_in_progress", "aof_rewrite_scheduled"]
            .iter()
            .all(|field| info(root, "persistence", field) == "0");
        if !always || !in_force {
            // What it had not yet written, others may have.
            return NODES - 1;
        }
        // Only those, and whoever is below them, who are not in step, and may be in the middle of a full sync.
        let is_out = |node: &usize| {
            *node != root && self.state[*node] == State::Up && info(*node, "replication", "master_link_status") != "up"
        };
        (0..NODES).filter(is_out).map(|node| self.subtree(node).len()).sum()
    }

    /// Ends a node in good order, which costs no full sync: it finds its place and its backlog again.
    fn shut_down(&mut self, node: usize) {
        wait_for(PATIENCE, &format!("{node} may end"), || {
            // There is an answer only where it is refused: a first append-only file must be whole.
            match self.nodes[node].client().try_call(&["SHUTDOWN", "SAVE"]) {
                Ok(reply) if reply.to_string().contains("Errors trying to SHUTDOWN") => false,
                Ok(reply) => panic!("SHUTDOWN SAVE of {node}: {reply}"),
                Err(_) => true,
            }
        });
        let status = self.nodes[node].wait_end();
        assert!(status.success(), "{node} ended with {status}");
        self.state[node] = State::Down;
    }

    fn move_subtree(&mut self) -> Option<String> {
        let (node, old) = self.some_child()?;
        let new = self.below(NODES);
        let subtree = self.subtree(node);
        if new == old || subtree.contains(&new) || self.state[new] != State::Up {
            return None;
        }
        // Who is ahead of its new master, or so far behind that its new master was not yet there, cannot go on.
        self.wire(node, old).refuse(true);
        self.wire(node, old).cut();
        let (has, first) = (self.offset(new, "master_repl_offset"), self.offset(new, "repl_backlog_first_byte_offset"));
        let (mine, same) = (self.offset(node, "master_repl_offset"), self.replid(node) == self.replid(new));
        if !same || mine > has || mine + 1 < first {
            self.due += subtree.len();
        }
        self.hang(node, new);
        self.wire(node, old).refuse(false);
        Some(format!("{node} at {mine} moves from {old} to {new}, which has {first} to {has}"))
    }

    fn replid(&self, node: usize) -> String {
        self.nodes[node].info("replication", "master_replid")
    }

    /// FAILOVER to a replica that is there.
    fn hand_over(&mut self) -> Option<String> {
        self.mend(usize::MAX);
        let root = self.root();
        let heirs: Vec<usize> = (0..NODES).filter(|n| self.parent[*n] == Some(root)).collect();
        let at = self.below(heirs.len());
        let heir = *heirs.get(at)?;
        let port = self.nodes[heir].port();
        wait_for(PATIENCE, "the heir is online", || {
            self.nodes[root].info("replication", "connected_slaves") != "0"
                && self.nodes[root].run(&format!("failover to 127.0.0.1 {port} timeout 20000")).to_string() == "+OK"
        });
        wait_for(PATIENCE, "the failover ends", || {
            self.nodes[root].info("replication", "master_failover_state") == "no-failover"
        });
        if self.nodes[root].info("replication", "role") == "master" {
            return Some(format!("{root} could not hand over to {heir}"));
        }
        self.parent[heir] = None;
        self.root_port.store(port, Ordering::Release);
        self.nodes[heir].check("config rewrite", "+OK");
        self.hang(root, heir);
        Some(format!("{root} hands over to {heir}"))
    }

    /// The root crashes; who has got farthest takes its place, as an operator would have it.
    fn lose_root(&mut self) -> Option<String> {
        self.mend(usize::MAX);
        let root = self.root();
        self.nodes[root].crash();
        self.state[root] = State::Down;
        let rest: Vec<usize> = (0..NODES).filter(|n| *n != root).collect();
        let heir = rest.into_iter().max_by_key(|n| self.offset(*n, "master_repl_offset")).expect("five");
        self.place(heir, "replicaof no one");
        self.parent[heir] = None;
        for node in 0..NODES {
            if node != heir && node != root && self.parent[node] == Some(root) {
                self.hang(node, heir);
            }
        }
        self.root_port.store(self.nodes[heir].port(), Ordering::Release);
        self.nodes[root].launch();
        self.state[root] = State::Up;
        self.parent[root] = Some(heir);
        self.hang(root, heir);
        // It lost what it had; the others were no farther than their new root, but may have begun behind its backlog.
        self.due += NODES - 1;
        Some(format!("the root {root} is killed, {heir} takes its place"))
    }

    /// Everything works again and writes stand still: waits until all hold the same.
    fn calm(&mut self) {
        self.mend(usize::MAX);
        wait_for(PATIENCE, "all has been written", || self.work.is_done());
        let root = self.root();
        let place = |node: usize| {
            let text = self.nodes[node].run("info replication").text();
            let field = |name: &str| {
                let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
                line.unwrap_or_default().to_owned()
            };
            (field("master_replid"), field("master_repl_offset"), field("master_link_status"))
        };
        let mut seen = Vec::new();
        wait_for(PATIENCE, &format!("all are where the root {root} is"), || {
            let places: Vec<_> = (0..NODES).map(place).collect();
            let one = |p: &(String, String, String)| (p.0.clone(), p.1.clone());
            let linked = (0..NODES).all(|n| n == root || places[n].2 == "up");
            if !linked || places.iter().any(|p| one(p) != one(&places[root])) {
                return false;
            }
            // Something may expire while they are asked: only what was seen at one offset can be compared.
            seen = self.nodes.iter().map(Server::digest).collect();
            (0..NODES).all(|node| place(node) == places[node])
        });
        let same = seen.iter().all(|digest| *digest == seen[root]);
        assert!(same, "PANDO_SEED={} step {}: different data at one offset: {seen:?}", self.seed, self.step);
    }

    fn full_syncs(&self) -> usize {
        self.nodes.iter().map(|node| node.log().matches("MASTER <-> REPLICA sync: Finished with success").count()).sum()
    }
}

/// Says on the way out of a panic how to get there again.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay with PANDO_SEED={}", self.0);
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|v| v.parse().ok())
}

fn storm(seed: u64) {
    let seed = number("PANDO_SEED").unwrap_or(seed);
    let _named = Named(seed);
    let rounds = number("PANDO_ROUNDS").unwrap_or(30) as usize;
    let mut tree = Tree::plant(seed);
    let writers: Vec<JoinHandle<()>> = (0..WRITERS as u64)
        .map(|n| writer(seed * 100 + n, Arc::clone(&tree.root_port), Arc::clone(&tree.work)))
        .collect();
    tree.work.grant(WRITERS * GRANT * 4);
    tree.calm();
    for step in 1..=rounds {
        tree.step = step;
        tree.mend(step);
        tree.work.grant(WRITERS * GRANT);
        if let Some(what) = tree.mishap() {
            println!("{step:>4} {what}");
        }
        let root = tree.root();
        if tree.state[root] == State::Up {
            wait_for(PATIENCE, "the clients have written", || tree.work.is_done());
        }
        if step % 10 == 0 {
            tree.calm();
        }
    }
    tree.calm();
    tree.work.end();
    for writer in writers {
        writer.join().expect("a writer ends");
    }
    let full = tree.full_syncs();
    println!(
        "seed {seed}: {full} full syncs, {} to be expected, offset {}",
        tree.due,
        tree.offset(0, "master_repl_offset")
    );
    assert!(full <= tree.due, "{full} full syncs where {} were due", tree.due);
    for node in &tree.nodes {
        assert!(!node.log_has("BUG REPORT") && !node.log_has("panicked"), "the log of {}", node.port());
    }
}

#[test]
fn a_tree_comes_through_any_mishaps_with_one_set_of_data() {
    storm(1);
}
