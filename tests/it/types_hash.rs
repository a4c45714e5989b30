//! Hashes: the same calls to Pando and to a stock server; what goes between them by DUMP, by files and by replication.

use std::collections::{BTreeMap, BTreeSet};

use crate::harness::{Kind, Reply, Server, carry, converge, follow, words};
use crate::pair::{Command, Pair, found_in_any_order, in_any_order};
use crate::random::Rng;

const KEYS: usize = 8;

/// Fields, numbers and long values at few keys, some of which outgrow a listpack of 24 fields or 30 bytes.
fn random_command(rng: &mut Rng) -> Command {
    let key = format!("k{}", rng.below(KEYS as u64));
    let field = |rng: &mut Rng| match rng.below(10) {
        0 => "f-long-name-that-no-listpack-may-hold".to_owned(),
        1 | 2 => rng.below(9).to_string(),
        3 => "-12345".to_owned(),
        n if n < 7 => format!("f{}", rng.below(12)),
        _ => format!("f{}", rng.below(60)),
    };
    let value = |rng: &mut Rng| match rng.below(16) {
        0 => "x".repeat(31),
        1 => "y".repeat(30),
        2 => "9223372036854775807".to_owned(),
        3 => "-9223372036854775808".to_owned(),
        4 => "3.25".to_owned(),
        5 => "1e3".to_owned(),
        6 => "007".to_owned(),
        _ => (rng.below(40_000) as i64 - 20_000).to_string(),
    };
    let one = field(rng);
    words(&match rng.below(30) {
        0..=6 => {
            let mut line = format!("{} {key}", rng.pick(&["hset", "HSET", "hmset"]));
            for _ in 0..1 + rng.below(5) {
                line += &format!(" {} {}", field(rng), value(rng));
            }
            line
        }
        7 => format!("hsetnx {key} {one} {}", value(rng)),
        8 | 9 => format!("hincrby {key} {one} {}", rng.pick(&["1", "-1", "9223372036854775807", "x", "1.5", "0"])),
        10 | 11 => format!("hincrbyfloat {key} {one} {}", rng.pick(&["0.1", "-3", "1e2", "nan", "inf", "x", "5.0e3"])),
        12 | 13 => format!("hdel {key} {one} {} {}", field(rng), field(rng)),
        14 | 15 => format!("hget {key} {one}"),
        16 => format!("hmget {key} {one} {} {}", field(rng), field(rng)),
        17 => format!("hexists {key} {one}"),
        18 => format!("hstrlen {key} {one}"),
        19 => format!("hlen {key}"),
        20 => format!("{} {key}", rng.pick(&["hgetall", "hkeys", "hvals"])),
        21 => format!(
            "hrandfield {key} {}",
            rng.pick(&["1000", "0", "1000 withvalues", "x", "-9223372036854775808", "1 w"])
        ),
        22 => format!(
            "hrandfield {key} {}",
            rng.pick(&["9223372036854775807 withvalues", "1 withvalues x", "0 WITHVALUES"])
        ),
        23 => format!("hscan {key} 0 {}", rng.pick(&["count 1000", "match f* count 1000", "count 0", "match", "x"])),
        24 => format!("copy {key} k{} replace", rng.below(KEYS as u64)),
        25 => rng
            .pick(&["del K", "type K", "object encoding K", "exists K", "get K", "hset K", "hset K a", "hset K a 1 b"])
            .replace('K', &key),
        26 => format!("set {key} text"),
        27 => format!("rename {key} k{}", rng.below(KEYS as u64)),
        28 => rng
            .pick(&[
                "hget s f",
                "hset s f v",
                "hdel s f",
                "hgetall s",
                "hincrby s f 1",
                "hscan s 0",
                "hrandfield s 1",
                "hsetnx s f v",
            ])
            .to_owned(),
        _ => format!("hdel {key} f0 f1 f2 f3 f4 f5 f6 f7 f8 f9 f10 f11 0 1 2 3 4 5 6 7 8 9"),
    })
}

/// A reply without the order that a table's fields have by chance.
fn promised(command: &[Vec<u8>], reply: &Reply) -> Reply {
    match (command[0].as_slice(), command.len()) {
        (b"hkeys" | b"hvals", _) => in_any_order(reply, 1),
        (b"hrandfield", 4) | (b"hgetall", _) => in_any_order(reply, 2),
        (b"hrandfield", _) => in_any_order(reply, 1),
        (b"hscan", _) => found_in_any_order(reply, 2),
        _ => reply.clone(),
    }
}

const SMALL: [&str; 2] = ["hash-max-listpack-entries 24", "hash-max-listpack-value 30"];

#[test]
fn random_hashes_are_answered_and_kept_as_stock_does() {
    let mut pair = Pair::new(Kind::Stock70, &SMALL).promised(promised);
    for seed in 1..=3 {
        pair.at(format!("seed {seed}"));
        let mut rng = Rng::new(seed);
        pair.run("set s text");
        for _ in 0..5 {
            for _ in 0..600 {
                pair.call(&random_command(&mut rng));
            }
            pair.compare_data();
            for key in 0..KEYS {
                pair.same(&format!("object encoding k{key}\nhlen k{key}"));
            }
        }
        for key in (0..KEYS).map(|n| format!("k{n}")) {
            pair.exchange_exactly(&key);
            listpacks_dump_the_same(&mut pair, &key);
        }
        pair.run("flushall");
    }
}

/// What is restored from a listpack is dumped in the same bytes again.
fn listpacks_dump_the_same(pair: &mut Pair, key: &str) {
    if pair.a.run(&format!("object encoding {key}")).to_string() != "$listpack" {
        return;
    }
    let (a, b) = (&mut pair.a, &mut pair.b);
    for back in [false, true] {
        let (from, to) = if back { (&mut *b, &mut *a) } else { (&mut *a, &mut *b) };
        let payload = carry(from, to, key, "other").expect("it is there");
        to.check("object encoding other", "$listpack");
        assert!(to.run("dump other") == Reply::Bulk(payload), "{key}: the dump of a listpack differs");
        to.run("del other");
    }
}

#[test]
fn hashes_go_to_replicas_and_come_from_masters_of_either_kind() {
    for kinds in [[Kind::Pando, Kind::Stock70], [Kind::Stock70, Kind::Pando], [Kind::Pando, Kind::Pando]] {
        let (master, replica) = (Server::start(kinds[0], &SMALL), Server::start(kinds[1], &SMALL));
        let mut rng = Rng::new(11);
        let mut random = |server: &Server, count: usize| {
            let mut client = server.client();
            (0..count).for_each(|_| drop(client.call(&random_command(&mut rng))));
        };
        // Some of it by snapshot, more by the stream, and some the other way round.
        random(&master, 500);
        follow(&replica, &master);
        random(&master, 1500);
        converge(&[&master, &replica]);
        replica.check("replicaof no one", "+OK");
        random(&replica, 300);
        follow(&master, &replica);
        random(&replica, 500);
        converge(&[&replica, &master]);
    }
}

#[test]
fn hashes_tell_the_stock_events() {
    let commands = [
        "hset h a 1 b 2",
        "hset h a 1",
        "hmset h c 3",
        "hsetnx h a 1",
        "hsetnx h d 1",
        "hincrby h a 5",
        "hincrbyfloat h a 0.5",
        "hdel h x",
        "hdel h a b",
        "hdel h c d e",
        "hincrby i f 1",
        "hincrby i f x",
        "hincrbyfloat j f 1",
    ];
    let commands = commands.map(words);
    let mut pair = Pair::new(Kind::Stock70, &["notify-keyspace-events KEA"]);
    pair.listen();
    commands.iter().for_each(|command| drop(pair.call(command)));
    assert!(pair.compare_events(&commands) > 10);
}

#[test]
fn random_fields_are_fields_and_each_comes_up() {
    for lines in [&[][..], &["hash-max-listpack-entries 4"]] {
        let server = Server::start(Kind::Pando, lines);
        let mut client = server.client();
        let pairs: Vec<String> = (0..100).map(|i| format!("f{i} v{i}")).collect();
        client.run(&format!("hset h {}", pairs.join(" ")));
        let mut seen = BTreeSet::new();
        for _ in 0..40 {
            let drawn = client.run("hrandfield h -60");
            assert_eq!(drawn.items().len(), 60);
            seen.extend(drawn.items().iter().map(Reply::text));
        }
        assert_eq!(seen.len(), 100, "of 2400 draws");
        for count in [1, 20, 60, 99, 100, 500] {
            let drawn = client.run(&format!("hrandfield h {count} withvalues"));
            let pairs: BTreeMap<String, String> = drawn.items().chunks(2).map(|p| (p[0].text(), p[1].text())).collect();
            assert_eq!((pairs.len(), drawn.items().len()), (count.min(100), 2 * count.min(100)));
            assert!(pairs.iter().all(|(f, v)| f[1..] == v[1..]));
        }
        assert!(client.run("hrandfield h").text().starts_with('f'));
        client.run("hello 3");
        assert_eq!(client.run("hrandfield h 2 withvalues").items()[1].items().len(), 2);
    }
}

#[test]
fn a_walk_through_a_large_hash_sees_all_that_stays() {
    let server = Server::start(Kind::Pando, &[]);
    let mut client = server.client();
    for i in 0..3000 {
        client.run(&format!("hset h f{i} v{i}"));
    }
    let (mut seen, mut cursor, mut step) = (BTreeSet::new(), "0".to_owned(), 0);
    loop {
        let page = client.run(&format!("hscan h {cursor} count 50 novalues"));
        seen.extend(page.items()[1].items().iter().map(Reply::text));
        cursor = page.items()[0].text();
        if cursor == "0" {
            break;
        }
        // It shrinks and grows meanwhile.
        client.run(&format!(
            "hdel h {}",
            (0..40).map(|i| format!("f{} ", 2000 + step * 10 + i)).collect::<String>().trim()
        ));
        client.run(&format!("hset h {}", (0..60).map(|i| format!("g{step}-{i} v ")).collect::<String>().trim()));
        step += 1;
        assert!(step < 300);
    }
    assert!((0..2000).all(|i| seen.contains(&format!("f{i}"))));
}
