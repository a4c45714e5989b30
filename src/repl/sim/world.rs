//! The world the nodes live in: the clock, the network, the mishaps, and what must hold.
//!
//! Checked all along: nobody ever holds different data under the same id and offset; a partial resync is granted exactly
//! when the replica's history is a beginning of the master's and the bytes are there (the nodes check that against the
//! truth, which only the world knows); after everything healed, all nodes hold the root's data at the root's offset.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

use super::super::handshake::LinkState;
use super::super::id::ReplId;
use super::node::{Io, Node, Out, Stats, Timer};
use crate::base::rand::Rng;

/// How hard the world is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weather {
    /// Links break, nodes stand still for a while, are stopped and started in good order; the tree stays as it is, backlogs
    /// are large.
    Fair,
    /// Anything goes.
    Storm,
}

enum Happening {
    Tick(usize),
    Write,
    Mishap,
    /// `truth`: the history its sender held when it sent this.
    Deliver {
        conn: u64,
        to_server: bool,
        bytes: Vec<u8>,
        truth: u64,
    },
    Closed {
        conn: u64,
        to_server: bool,
    },
    Connected {
        node: usize,
        attempt: u64,
        host: String,
        port: u16,
    },
    Timer {
        node: usize,
        life: u64,
        timer: Timer,
    },
    Boot {
        node: usize,
        as_master: bool,
    },
}

struct Conn {
    client: usize,
    server: usize,
    client_open: bool,
    server_open: bool,
    /// Nothing arrives any more.
    cut: bool,
    /// When the last piece of each direction arrives: later ones do not overtake it.
    last_ms: [i64; 2],
}

/// What the world knows of a node beside the node.
#[derive(Clone, Copy, Default)]
struct Place {
    up: Option<u64>,
    attempt: u64,
    life: u64,
    /// Until then its process stands still: what comes for it waits.
    frozen_ms: i64,
}

pub(super) struct World {
    weather: Weather,
    now_ms: i64,
    rng: Rng,
    queue: BinaryHeap<Reverse<(i64, u64)>>,
    happenings: HashMap<u64, Happening>,
    order: u64,
    nodes: Vec<Node>,
    places: Vec<Place>,
    conns: BTreeMap<u64, Conn>,
    /// The history that was claimed for each id and offset.
    claims: HashMap<(ReplId, i64), u64>,
    verbose: bool,
    healing: bool,
    writing: bool,
}

/// How a run went.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcome {
    pub nodes: usize,
    pub stats: Stats,
}

impl World {
    pub(super) fn new(seed: u64, weather: Weather, verbose: bool) -> Self {
        let mut rng = Rng::from_seed(seed);
        let count = 3 + rng.below(6) as usize;
        let mut world = Self {
            weather,
            now_ms: 1_000_000,
            rng,
            queue: BinaryHeap::new(),
            happenings: HashMap::new(),
            order: 0,
            nodes: Vec::new(),
            places: vec![Place::default(); count],
            conns: BTreeMap::new(),
            claims: HashMap::new(),
            verbose,
            healing: false,
            writing: true,
        };
        for index in 0..count {
            let mut io = world.io();
            let node = Node::new(index, &mut io);
            world.nodes.push(node);
            world.fit_out(index);
            let offset_ms = world.rng.below(1000) as i64;
            world.after(offset_ms, Happening::Tick(index));
        }
        world.after(1, Happening::Write);
        world
    }

    /// In fair weather nothing is scarce and nothing fails.
    fn fit_out(&mut self, index: usize) {
        if self.weather == Weather::Fair {
            let node = &mut self.nodes[index];
            node.config.backlog_ttl_ms = 0;
            node.backlog_bytes = 1 << 24;
            node.fragile = false;
        }
        let node = &self.nodes[index];
        node.log.set_backlog_limit_bytes(node.backlog_bytes);
    }

    /// From nothing to quiescence.
    pub(super) fn run(mut self) -> Outcome {
        self.plant();
        if self.weather == Weather::Fair {
            // Once everybody has the data, nothing in fair weather takes it from them.
            self.until_converged("the first sync");
            for node in 0..self.nodes.len() {
                self.nodes[node].save();
            }
        }
        self.after(500, Happening::Mishap);
        let end_ms = self.now_ms + 60_000;
        while self.now_ms < end_ms {
            self.next();
        }
        self.heal();
        self.until_converged("the healing");
        let mut outcome = Outcome { nodes: self.nodes.len(), stats: Stats::default() };
        for node in &self.nodes {
            outcome.stats.full += node.stats.full;
            outcome.stats.partial += node.stats.partial;
            outcome.stats.missed += node.stats.missed;
            outcome.stats.fenced += node.stats.fenced;
        }
        outcome
    }

    // ---- carrying on

    fn io(&mut self) -> Io<'_> {
        Io {
            now_ms: self.now_ms,
            rng: &mut self.rng,
            out: Vec::new(),
            claims: Vec::new(),
            notes: Vec::new(),
            truth: None,
        }
    }

    fn after(&mut self, delay_ms: i64, happening: Happening) {
        self.at(self.now_ms + delay_ms, happening);
    }

    fn at(&mut self, at_ms: i64, happening: Happening) {
        self.order += 1;
        self.queue.push(Reverse((at_ms, self.order)));
        self.happenings.insert(self.order, happening);
    }

    /// Lets a node act, and does what it wants done.
    fn on(&mut self, index: usize, truth: Option<u64>, act: impl FnOnce(&mut Node, &mut Io<'_>)) {
        let mut io = Io {
            now_ms: self.now_ms,
            rng: &mut self.rng,
            out: Vec::new(),
            claims: Vec::new(),
            notes: Vec::new(),
            truth,
        };
        act(&mut self.nodes[index], &mut io);
        let Io { out, claims, notes, .. } = io;
        if self.verbose {
            for note in notes {
                eprintln!("{:>8} n{index} {}", self.now_ms - 1_000_000, note.text);
            }
        }
        for (replid, offset, history) in claims {
            let known = *self.claims.entry((replid, offset)).or_insert(history);
            assert_eq!(known, history, "n{index} holds other data than was seen at {replid}:{offset}");
        }
        for out in out {
            self.carry_out(index, out);
        }
    }

    fn carry_out(&mut self, index: usize, out: Out) {
        match out {
            Out::Connect { host, port } => {
                self.places[index].attempt += 1;
                let attempt = self.places[index].attempt;
                let delay_ms = self.delay_ms();
                self.after(delay_ms, Happening::Connected { node: index, attempt, host, port });
            }
            Out::SendUp(bytes) => {
                if let Some(conn) = self.places[index].up {
                    self.send(conn, true, bytes);
                }
            }
            Out::CloseUp => {
                self.places[index].attempt += 1;
                if let Some(conn) = self.places[index].up.take() {
                    self.close_side(conn, false);
                }
            }
            Out::SendDown(conn, bytes) => self.send(conn, false, bytes),
            Out::CloseDown(conn) => self.close_side(conn, true),
            Out::After(delay_ms, timer) => {
                let life = self.places[index].life;
                self.after(delay_ms, Happening::Timer { node: index, life, timer });
            }
        }
    }

    fn delay_ms(&mut self) -> i64 {
        if self.rng.chance(0.05) { self.rng.below(800) as i64 } else { self.rng.below(20) as i64 }
    }

    /// In pieces, each a little later than the one before.
    fn send(&mut self, conn: u64, to_server: bool, mut bytes: Vec<u8>) {
        while !bytes.is_empty() {
            let cut = if self.rng.chance(0.2) { 1 + self.rng.below(bytes.len() as u64) as usize } else { bytes.len() };
            let rest = bytes.split_off(cut);
            let delay_ms = self.delay_ms();
            let now_ms = self.now_ms;
            let Some(c) = self.conns.get_mut(&conn) else { return };
            let last_ms = &mut c.last_ms[usize::from(to_server)];
            *last_ms = (*last_ms).max(now_ms + delay_ms);
            let at_ms = *last_ms;
            let truth = self.nodes[if to_server { c.client } else { c.server }].history;
            self.at(at_ms, Happening::Deliver { conn, to_server, bytes, truth });
            bytes = rest;
        }
    }

    /// One side closes; the other learns of it after what is on its way.
    fn close_side(&mut self, conn: u64, server: bool) {
        let Some(c) = self.conns.get_mut(&conn) else { return };
        if server {
            c.server_open = false;
        } else {
            c.client_open = false;
        }
        let at_ms = c.last_ms[usize::from(!server)].max(self.now_ms) + 1;
        self.at(at_ms, Happening::Closed { conn, to_server: !server });
    }

    /// The connection breaks; each side notices in its own time.
    fn cut(&mut self, conn: u64) {
        if let Some(c) = self.conns.get_mut(&conn) {
            c.cut = true;
            for to_server in [false, true] {
                let delay_ms = if self.rng.chance(0.3) { self.rng.below(30_000) } else { self.rng.below(50) } as i64;
                self.after(delay_ms, Happening::Closed { conn, to_server });
            }
        }
    }

    fn next(&mut self) {
        let Some(Reverse((at_ms, order))) = self.queue.pop() else { return };
        self.now_ms = at_ms;
        let happening = self.happenings.remove(&order).expect("each is queued once");
        if let Some(place) = self.whose(&happening).map(|node| self.places[node])
            && place.frozen_ms > at_ms
        {
            // With its number, so that nothing of the same connection overtakes it.
            self.queue.push(Reverse((place.frozen_ms, order)));
            self.happenings.insert(order, happening);
            return;
        }
        match happening {
            Happening::Tick(node) => {
                if self.nodes[node].alive {
                    self.on(node, None, |node, io| node.tick(io));
                }
                self.after(1000, Happening::Tick(node));
            }
            Happening::Write => {
                if self.writing {
                    let node = self.rng.below(self.nodes.len() as u64) as usize;
                    for _ in 0..1 + self.rng.below(4) {
                        if self.is_awake(node) {
                            self.on(node, None, |node, io| node.write(io));
                        }
                    }
                }
                let delay_ms = 5 + self.rng.below(100) as i64;
                self.after(delay_ms, Happening::Write);
            }
            Happening::Mishap => {
                if !self.healing {
                    self.mishap();
                    let delay_ms = self.rng.below(2500) as i64;
                    self.after(delay_ms, Happening::Mishap);
                }
            }
            Happening::Deliver { conn, to_server, bytes, truth } => self.deliver(conn, to_server, bytes, truth),
            Happening::Closed { conn, to_server } => self.closed(conn, to_server),
            Happening::Connected { node, attempt, host, port } => self.connected(node, attempt, &host, port),
            Happening::Timer { node, life, timer } => {
                if self.nodes[node].alive && self.places[node].life == life {
                    self.on(node, None, |node, io| node.timer(timer, io));
                }
            }
            Happening::Boot { node, as_master } => self.boot(node, as_master),
        }
    }

    /// Who takes notice of it.
    fn whose(&self, happening: &Happening) -> Option<usize> {
        match happening {
            Happening::Tick(node) | Happening::Timer { node, .. } | Happening::Connected { node, .. } => Some(*node),
            Happening::Deliver { conn, to_server, .. } | Happening::Closed { conn, to_server } => {
                self.conns.get(conn).map(|c| if *to_server { c.server } else { c.client })
            }
            Happening::Write | Happening::Mishap | Happening::Boot { .. } => None,
        }
    }

    /// Whether it takes commands.
    fn is_awake(&self, node: usize) -> bool {
        self.nodes[node].alive && self.places[node].frozen_ms <= self.now_ms
    }

    fn deliver(&mut self, conn: u64, to_server: bool, bytes: Vec<u8>, truth: u64) {
        let Some(c) = self.conns.get(&conn).filter(|c| !c.cut) else { return };
        if to_server && c.server_open {
            self.on(c.server, Some(truth), |node, io| node.heard_replica(conn, &bytes, io));
        } else if !to_server && c.client_open {
            self.on(c.client, None, |node, io| node.heard_master(&bytes, io));
        }
    }

    fn closed(&mut self, conn: u64, to_server: bool) {
        let Some(c) = self.conns.get_mut(&conn) else { return };
        let (open, node) = if to_server { (&mut c.server_open, c.server) } else { (&mut c.client_open, c.client) };
        if std::mem::replace(open, false) {
            if to_server {
                self.on(node, None, |node, io| node.lost_replica(conn, io));
            } else {
                self.places[node].up = None;
                self.on(node, None, |node, io| node.lost_master("Connection reset by peer", io));
            }
        }
        if self.conns.get(&conn).is_some_and(|c| !c.client_open && !c.server_open) {
            self.conns.remove(&conn);
        }
    }

    fn connected(&mut self, node: usize, attempt: u64, host: &str, port: u16) {
        if !self.nodes[node].alive || self.places[node].attempt != attempt {
            return;
        }
        let server = usize::from(port - 7000);
        assert_eq!(host, format!("n{server}"));
        if !self.nodes[server].alive {
            let error = super::super::handshake::Event::ConnectFailed("Connection refused".into());
            return self.on(node, None, |node, io| node.step(error, io));
        }
        self.order += 1;
        let conn = self.order;
        let now_ms = self.now_ms;
        let made =
            Conn { client: node, server, client_open: true, server_open: true, cut: false, last_ms: [now_ms; 2] };
        self.conns.insert(conn, made);
        self.places[node].up = Some(conn);
        self.nodes[server].accepted(conn, format!("n{node}"));
        self.on(node, None, |node, io| node.step(super::super::handshake::Event::Connected, io));
    }

    // ---- what befalls the nodes

    fn mishap(&mut self) {
        let node = self.rng.below(self.nodes.len() as u64) as usize;
        let fair = self.weather == Weather::Fair;
        match self.rng.below(if fair { 60 } else { 100 }) {
            0..30 => {
                let conns: Vec<u64> = self.conns.keys().copied().collect();
                if !conns.is_empty() {
                    let which = self.rng.below(conns.len() as u64) as usize;
                    self.cut(conns[which]);
                }
            }
            30..40 => {
                if self.is_awake(node) {
                    self.places[node].frozen_ms = self.now_ms + self.rng.below(8_000) as i64;
                }
            }
            40..50 => {
                if self.is_awake(node) {
                    self.nodes[node].save();
                    let as_master = !fair && self.rng.chance(0.2);
                    self.stop(node, as_master);
                }
            }
            50..60 => {
                if self.is_awake(node) && !fair {
                    self.nodes[node].save();
                }
            }
            60..68 => {
                // Whatever it last saved, if anything, and if the disk is still there.
                if self.nodes[node].alive {
                    if self.rng.chance(0.3) {
                        self.nodes[node].lose_disk();
                    }
                    self.nodes[node].crashed = true;
                    let as_master = self.rng.chance(0.2);
                    self.stop(node, as_master);
                }
            }
            68..83 => {
                // Often as after a failover: a former master comes back to the replica that took its place.
                let replid = self.nodes[node].identity.replid;
                let heirs: Vec<usize> =
                    (0..self.nodes.len()).filter(|n| self.nodes[*n].identity.replid2 == replid).collect();
                let master = if !heirs.is_empty() && self.rng.chance(0.7) {
                    heirs[self.rng.below(heirs.len() as u64) as usize]
                } else {
                    self.rng.below(self.nodes.len() as u64) as usize
                };
                self.hang(node, master);
            }
            83..92 => {
                if self.is_awake(node) && !self.nodes[node].failover.is_active() {
                    self.on(node, None, |node, io| node.promote(io));
                }
            }
            _ => {
                if self.is_awake(node) {
                    self.on(node, None, |node, io| node.start_failover(io));
                }
            }
        }
    }

    /// Makes `node` a replica of `master`, unless it is already.
    fn hang(&mut self, node: usize, master: usize) {
        let (host, port) = (format!("n{master}"), 7000 + master as u16);
        let n = &self.nodes[node];
        if self.is_awake(node) && !n.failover.is_active() && n.link.master() != Some((&host, port)) {
            self.on(node, None, |node, io| node.follow(host, port, false, io));
        }
    }

    fn stop(&mut self, node: usize, as_master: bool) {
        if self.verbose {
            eprintln!("{:>8} n{node} stops", self.now_ms - 1_000_000);
        }
        self.nodes[node].alive = false;
        self.places[node].frozen_ms = 0;
        self.places[node].up = None;
        self.places[node].life += 1;
        self.places[node].attempt += 1;
        let ends: Vec<(u64, bool)> = self
            .conns
            .iter()
            .flat_map(|(conn, c)| [(*conn, c.client, false), (*conn, c.server, true)])
            .filter_map(|(conn, end, server)| (end == node).then_some((conn, server)))
            .collect();
        for (conn, server) in ends {
            self.close_side(conn, server);
        }
        let delay_ms = self.rng.below(6000) as i64;
        self.after(delay_ms, Happening::Boot { node, as_master });
    }

    fn boot(&mut self, node: usize, as_master: bool) {
        if self.nodes[node].alive {
            return;
        }
        let backlog_bytes = self.nodes[node].backlog_bytes;
        self.on(node, None, |node, io| *node = node.restarted(as_master, io));
        self.nodes[node].backlog_bytes = backlog_bytes;
        self.fit_out(node);
    }

    // ---- trees

    /// A random tree of all nodes.
    fn plant(&mut self) {
        let mut order: Vec<usize> = (0..self.nodes.len()).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, self.rng.below(i as u64 + 1) as usize);
        }
        let root = order[0];
        self.on(root, None, |node, io| node.promote(io));
        for i in 1..order.len() {
            let master = order[self.rng.below(i as u64) as usize];
            self.hang(order[i], master);
        }
    }

    fn heal(&mut self) {
        self.healing = true;
        if self.verbose {
            eprintln!("{:>8} healing", self.now_ms - 1_000_000);
        }
        while self.places.iter().any(|place| place.frozen_ms > self.now_ms) {
            self.next();
        }
        for node in 0..self.nodes.len() {
            self.boot(node, false);
            self.nodes[node].gives_in = true;
            self.on(node, None, |node, io| node.abort_failover(io));
        }
        if self.weather == Weather::Storm {
            // A request to take over that is on its way when the failover is given up still makes a master of whom it
            // reaches, with stock servers too: let it arrive before the roles are dealt out.
            let calm_ms = self.now_ms + 3_000;
            while self.now_ms < calm_ms {
                self.next();
            }
            self.plant();
        }
    }

    fn until_converged(&mut self, what: &str) {
        let (calm_ms, end_ms) = (self.now_ms + 5_000, self.now_ms + 900_000);
        while !(self.now_ms > calm_ms && self.converged()) {
            // Writes stop for a while, so that there is something to converge to.
            self.writing = self.now_ms < calm_ms;
            self.next();
            assert!(self.now_ms < end_ms, "{what} did not end:{}", self.picture());
        }
        self.writing = true;
        let root = self.nodes.iter().find(|node| node.is_master()).expect("looked at above");
        for node in &self.nodes {
            assert_eq!(node.data, root.data, "n{} differs from the root{}", node.index, self.picture());
            assert_eq!(node.history, root.history);
        }
    }

    /// One root, everybody connected and as far as it.
    fn converged(&self) -> bool {
        let mut roots = self.nodes.iter().filter(|node| node.is_master());
        let (Some(root), None) = (roots.next(), roots.next()) else { return false };
        self.nodes.iter().all(|node| {
            let linked = node.is_master() || node.link.state() == LinkState::Connected;
            node.alive
                && linked
                && node.log.end_offset() == root.log.end_offset()
                && node.identity.replid == root.identity.replid
        })
    }

    fn picture(&self) -> String {
        let lines = self.nodes.iter().map(|node| {
            format!(
                "\n  n{} of {:?} {:?} {}:{} up {}",
                node.index,
                node.link.master(),
                node.link.state(),
                node.identity.replid,
                node.log.end_offset(),
                node.alive
            )
        });
        lines.collect()
    }
}
