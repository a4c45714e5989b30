//! The same random commands to Pando and to a stock server: the same replies, the same data.
//!
//! A failure prints its seed; `PANDO_SEED=N` runs that one again, `PANDO_ROUNDS=N` runs more commands.

use std::collections::BTreeSet;

use crate::harness::{Client, Kind, Reply, Server};
use crate::random::Commands;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|v| v.parse().ok())
}

struct Pair {
    ours: Server,
    theirs: Server,
    a: Client,
    b: Client,
    seed: u64,
    done: usize,
}

impl Pair {
    fn new(seed: u64) -> Pair {
        let (ours, theirs) = (Server::start(Kind::Pando, &[]), Server::start(Kind::Stock70, &[]));
        let (a, b) = (ours.client(), theirs.client());
        Pair { ours, theirs, a, b, seed, done: 0 }
    }

    fn batch(&mut self, commands: &[Vec<Vec<u8>>]) {
        for command in commands {
            self.a.send(command);
            self.b.send(command);
        }
        for command in commands {
            let (mine, stock) = (self.a.read(), self.b.read());
            self.done += 1;
            if mine != stock && !both_unordered(command, &mine, &stock) {
                let words: Vec<String> = command.iter().map(|w| w.escape_ascii().to_string()).collect();
                let (mine, stock) = (short(&mine), short(&stock));
                panic!(
                    "PANDO_SEED={} command {}: {}\n  pando: {mine}\n  stock: {stock}",
                    self.seed,
                    self.done,
                    words.join(" ")
                );
            }
        }
    }

    fn compare_data(&self) {
        assert_eq!(
            self.ours.digest(),
            self.theirs.digest(),
            "PANDO_SEED={}: the data differ after {}",
            self.seed,
            self.done
        );
    }
}

fn short(reply: &Reply) -> String {
    let mut text = reply.to_string();
    if text.len() > 300 {
        text.truncate(300);
        text.push('…');
    }
    text
}

/// KEYS promises no order.
fn both_unordered(command: &[Vec<u8>], a: &Reply, b: &Reply) -> bool {
    command[0].eq_ignore_ascii_case(b"KEYS") && set_of(a) == set_of(b)
}

fn set_of(reply: &Reply) -> BTreeSet<String> {
    reply.items().iter().map(Reply::text).collect()
}

fn run(seed: u64, resp3: bool) {
    let mut pair = Pair::new(seed);
    if resp3 {
        for c in [&mut pair.a, &mut pair.b] {
            assert!(matches!(c.run("hello 3"), Reply::Map(_)));
        }
    }
    let mut commands = Commands::new(seed);
    let rounds = number("PANDO_ROUNDS").unwrap_or(200);
    for round in 0..rounds {
        let mut batch: Vec<Vec<Vec<u8>>> = Vec::new();
        let transaction = commands.chance(6);
        if transaction {
            batch.push(vec![b"MULTI".to_vec()]);
        }
        for _ in 0..40 {
            batch.push(match () {
                () if commands.chance(15) => commands.mistake(),
                () if commands.chance(2) => commands.read(),
                () => commands.write(),
            });
        }
        if transaction {
            let end: &[u8] = if commands.chance(10) { b"DISCARD" } else { b"EXEC" };
            batch.push(vec![end.to_vec()]);
        }
        batch.push(vec![b"KEYS".to_vec(), b"*".to_vec()]);
        pair.batch(&batch);
        if round % 10 == 9 {
            pair.compare_data();
        }
    }
    pair.compare_data();
}

fn seeds(default: [u64; 2]) -> Vec<u64> {
    number("PANDO_SEED").map_or_else(|| default.to_vec(), |seed| vec![seed])
}

#[test]
fn random_commands_are_answered_as_stock_answers_them() {
    seeds([1, 2]).into_iter().for_each(|seed| run(seed, false));
}

#[test]
fn random_commands_in_resp3_are_answered_as_stock_answers_them() {
    seeds([3, 4]).into_iter().for_each(|seed| run(seed, true));
}

#[test]
fn random_data_moves_through_dump_and_restore_both_ways() {
    let mut pair = Pair::new(5);
    let mut commands = Commands::new(5);
    let batch: Vec<_> =
        (0..2000).map(|_| commands.write()).filter(|c| c[0] != b"SELECT" && c[0] != b"SWAPDB").collect();
    pair.batch(&batch);
    let keys = set_of(&pair.a.run("keys *"));
    assert!(keys.len() > 10);
    for key in &keys {
        for (from, to) in [(0, 1), (1, 0)] {
            let ends = [&pair.ours, &pair.theirs];
            let Reply::Bulk(blob) = ends[from].run(&format!("dump {key}")) else { panic!("DUMP {key}") };
            let at = ends[from].run(&format!("pexpiretime {key}")).int().max(0).to_string();
            let mut c = ends[to].client();
            let reply = c.call(&[&b"RESTORE"[..], key.as_bytes(), at.as_bytes(), &blob, b"REPLACE", b"ABSTTL"]);
            assert_eq!(reply.to_string(), "+OK", "RESTORE {key}");
        }
    }
    pair.compare_data();
}

#[test]
fn a_snapshot_of_random_data_loads_on_the_other_side() {
    let mut commands = Commands::new(6);
    let batch: Vec<_> = (0..3000).map(|_| commands.write()).collect();
    for (writer, reader) in [(Kind::Pando, Kind::Stock70), (Kind::Stock70, Kind::Pando), (Kind::Pando, Kind::Pando)] {
        let w = Server::start(writer, &[]);
        let mut c = w.client();
        for command in &batch {
            c.call(command);
        }
        w.check("save", "+OK");
        let mut r = Server::start(reader, &[]);
        let digest = w.digest();
        r.crash();
        std::fs::copy(w.path("dump.rdb"), r.path("dump.rdb")).expect("the snapshot");
        r.launch();
        assert_eq!(r.digest(), digest, "{writer:?} to {reader:?}");
        // A second generation: what was loaded is saved and loaded again.
        r.check("debug reload", "+OK");
        assert_eq!(r.digest(), digest);
    }
}
