//! Random clients that wait, push, move and delete, at Pando and at a stock server: the same ones are served, with the same.
//!
//! The peer is Redis 8, which, as 7.2, runs the whole command again for whoever is served. A failure prints its seed;
//! `PANDO_SEED=N` runs that one again.

use crate::harness::{Client, Kind, Reply, Server, wait_until};
use crate::random::Rng;

const CLIENTS: usize = 5;
const STEPS: usize = 70;

struct Side {
    server: Server,
    control: Client,
    clients: Vec<Client>,
    ids: Vec<i64>,
    /// Commands that each has sent and not seen answered.
    open: Vec<usize>,
    seen: Vec<String>,
}

impl Side {
    fn new(kind: Kind) -> Side {
        let server = Server::start(kind, &["io-threads 2"]);
        let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.client()).collect();
        let ids = clients.iter_mut().map(|c| c.run("client id").int()).collect();
        Side { control: server.client(), server, clients, ids, open: vec![0; CLIENTS], seen: Vec::new() }
    }

    fn is_blocked(&mut self, who: usize) -> bool {
        let line = self.control.run(&format!("client list id {}", self.ids[who])).text();
        line.contains(" flags=b ") || line.contains(" flags=xb ")
    }

    fn read(&mut self, who: usize) {
        let reply = self.clients[who].read();
        self.open[who] -= 1;
        self.seen.push(format!("{who} reads {reply}"));
    }

    fn send(&mut self, who: usize, lines: &[String]) {
        if self.open[who] > 0 {
            let reply = self.control.run(&format!("client unblock {}", self.ids[who]));
            self.seen.push(format!("{who} is unblocked: {reply}"));
            self.read(who);
        }
        for line in lines {
            self.seen.push(format!("{who} sends {line}"));
            self.clients[who].send(&line.split(' ').collect::<Vec<_>>());
            self.open[who] += 1;
            let mut answered = false;
            wait_until(line, || {
                answered = self.clients[who].has_reply();
                answered || self.is_blocked(who)
            });
            if answered {
                self.read(who);
            }
        }
        // Whoever waits no longer was served by this.
        for who in 0..CLIENTS {
            if self.open[who] > 0 && !self.is_blocked(who) {
                self.read(who);
            }
        }
    }

    fn end(&mut self) {
        for who in 0..CLIENTS {
            if self.open[who] > 0 {
                let reply = self.control.run(&format!("client unblock {} error", self.ids[who]));
                self.seen.push(format!("{who} is unblocked: {reply}"));
                self.read(who);
            }
        }
        let waited_for = || self.server.info("clients", "total_blocking_keys");
        wait_until("nobody waits", || waited_for() == "0");
        let stats = self.server.run("info commandstats").text();
        let mut stats: Vec<&str> = stats.lines().filter(|l| l.starts_with("cmdstat_b")).collect();
        stats.sort_unstable();
        for line in stats {
            let field = |name: &str| line.split(',').find(|f| f.contains(name)).unwrap_or_default();
            self.seen.push(format!("{} {}", field("calls="), field("failed_calls=")));
        }
        for key in ["a", "b", "c", "s", "t"] {
            let kind = self.control.run(&format!("type {key}")).text();
            let value = match kind.as_str() {
                "list" => self.control.run(&format!("lrange {key} 0 -1")),
                "zset" => self.control.run(&format!("zrange {key} 0 -1 withscores")),
                "stream" => self.control.run(&format!("xrange {key} - +")),
                _ => Reply::Simple(kind),
            };
            self.seen.push(format!("{key}: {value}"));
        }
    }
}

struct Script {
    rng: Rng,
    next_id: u64,
}

impl Script {
    fn command(&mut self) -> String {
        let rng = &mut self.rng;
        let n = rng.below(100);
        let (k, l) = (rng.pick(&["a", "b", "c"]), rng.pick(&["a", "b", "c"]));
        let (st, su) = if rng.below(2) == 0 { ("s", "t") } else { ("t", "s") };
        let (end, to) = (rng.pick(&["left", "right"]), rng.pick(&["left", "right"]));
        self.next_id += 1;
        let id = self.next_id;
        match rng.below(32) {
            0..=3 => format!("rpush {k} {n}"),
            4 | 5 => format!("lpush {k} {n} x{n}"),
            6 | 7 => format!("blpop {k} {l} 0"),
            8 => format!("brpop {k} {l} {k} 0"),
            9 | 10 => format!("blmove {k} {l} {end} {to} 0"),
            11 => format!("brpoplpush {k} {l} 0"),
            12 => format!("blmpop 0 2 {k} {l} {end} count 2"),
            13 => format!("bzpopmin {k} {l} 0"),
            14 => format!("bzpopmax {k} 0"),
            15 => format!("bzmpop 0 2 {l} {k} min count 2"),
            16 | 17 => format!("zadd {k} {n} m{n}"),
            18 => format!("set {k} v"),
            19 | 20 => format!("del {k} {l}"),
            21 => format!("rename {k} {l}"),
            22 => format!("lpop {k}"),
            23 => format!("xadd {st} {id}-1 f {n}"),
            24 => format!("xadd {st} {id}-2 f {n}"),
            25 => format!("xread block 0 streams {st} $"),
            26 => format!("xread block 0 streams {st} {su} $ {}-0", id + n % 3),
            27 => format!("xreadgroup group g c{} block 0 streams {st} >", n % 2),
            28 => format!("xgroup create {st} g $ mkstream"),
            29 => format!("xgroup destroy {st} g"),
            30 => format!("xtrim {st} maxlen 1"),
            _ => format!("{} {st}", if n < 50 { "del" } else { "persist" }),
        }
    }

    fn step(&mut self) -> (usize, Vec<String>) {
        let who = self.rng.below(CLIENTS as u64) as usize;
        if self.rng.below(8) > 0 {
            return (who, vec![self.command()]);
        }
        let queued = (0..=self.rng.below(3)).map(|_| self.command());
        (who, std::iter::once("multi".to_owned()).chain(queued).chain(["exec".to_owned()]).collect())
    }
}

fn run(seed: u64, ours: &mut Side, theirs: &mut Side) {
    let mut script = Script { rng: Rng::new(seed), next_id: 0 };
    let steps: Vec<_> = (0..STEPS).map(|_| script.step()).collect();
    for side in [&mut *ours, &mut *theirs] {
        side.seen.clear();
        side.control.run("del a b c s t");
        side.control.run("config resetstat");
        steps.iter().for_each(|(who, lines)| side.send(*who, lines));
        side.end();
    }
    if ours.seen != theirs.seen {
        let at = ours.seen.iter().zip(&theirs.seen).take_while(|(a, b)| a == b).count();
        let before = ours.seen[at.saturating_sub(12)..at].join("\n    ");
        let (a, b) = (ours.seen.get(at), theirs.seen.get(at));
        panic!("PANDO_SEED={seed}\n    {before}\n  pando: {a:?}\n  stock: {b:?}");
    }
}

#[test]
fn random_clients_are_served_as_stock_serves_them() {
    if !Kind::Redis80.available() {
        return;
    }
    let (mut ours, mut theirs) = (Side::new(Kind::Pando), Side::new(Kind::Redis80));
    match std::env::var("PANDO_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => run(seed, &mut ours, &mut theirs),
        None => (1..=6).for_each(|seed| run(seed, &mut ours, &mut theirs)),
    }
}
