//! The same random commands to Pando and to a stock server: the same replies, the same data.
//!
//! A failure prints its seed; `PANDO_SEED=N` runs that one again, `PANDO_ROUNDS=N` runs more commands.

use crate::harness::{Kind, Reply, Server, carry};
use crate::pair::{Command, Pair, in_any_order};
use crate::random::Commands;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|v| v.parse().ok())
}

fn pair(seed: u64) -> Pair {
    // KEYS promises no order.
    let promised = |command: &[Vec<u8>], reply: &Reply| match command[0].eq_ignore_ascii_case(b"KEYS") {
        true => in_any_order(reply, 1),
        false => reply.clone(),
    };
    let mut pair = Pair::new(Kind::Stock70, &[]).promised(promised);
    pair.at(format!("PANDO_SEED={seed}"));
    pair
}

fn run(seed: u64, resp3: bool) {
    let mut pair = pair(seed);
    if resp3 {
        pair.resp3();
    }
    let mut commands = Commands::new(seed);
    let rounds = number("PANDO_ROUNDS").unwrap_or(200);
    for round in 0..rounds {
        let mut batch: Vec<Command> = Vec::new();
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
    let mut pair = pair(5);
    let mut commands = Commands::new(5);
    let batch: Vec<_> =
        (0..2000).map(|_| commands.write()).filter(|c| c[0] != b"SELECT" && c[0] != b"SWAPDB").collect();
    pair.batch(&batch);
    let keys: Vec<String> = pair.a.run("keys *").items().iter().map(Reply::text).collect();
    assert!(keys.len() > 10);
    for key in &keys {
        assert!(carry(&mut pair.a, &mut pair.b, key, key).is_some(), "DUMP {key}");
        assert!(carry(&mut pair.b, &mut pair.a, key, key).is_some(), "DUMP {key}");
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
