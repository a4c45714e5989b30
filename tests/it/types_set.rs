//! Sets: the same replies, encodings, events and data as stock servers for the same commands.

use std::collections::BTreeSet;

use crate::harness::{Client, Kind, Reply, Server, carry_back, converge, follow, line_of, wait_until};
use crate::pair::{Command, Pair, found_in_any_order, in_any_order};
use crate::random::Rng;

/// A reply in order where stock promises one.
fn promised(command: &[Vec<u8>], reply: &Reply) -> Reply {
    const UNORDERED: &[&str] = &["smembers", "sinter", "sunion", "sdiff", "spop", "srandmember", "keys"];
    let is = |name: &str| command[0].eq_ignore_ascii_case(name.as_bytes());
    match reply {
        _ if is("sscan") => found_in_any_order(reply, 1),
        Reply::Array(_) if !UNORDERED.iter().any(|n| is(n)) => reply.clone(),
        _ => in_any_order(reply, 1),
    }
}

fn pair(stock: Kind, lines: &[&str]) -> Pair {
    Pair::new(stock, lines).promised(promised)
}

fn bytes<W: AsRef<[u8]>>(words: &[W]) -> Command {
    words.iter().map(|w| w.as_ref().to_vec()).collect()
}

fn key(rng: &mut Rng) -> String {
    format!("s{}", rng.below(7))
}

fn member(rng: &mut Rng) -> Vec<u8> {
    match rng.below(10) {
        0..=4 => (rng.below(40) as i64 - 8).to_string().into_bytes(),
        5 => rng.pick(&["70000", "-70000", "5000000000", "9223372036854775807", "-9223372036854775808"]).into(),
        6 => rng.pick(&["", "01", "-0", "9223372036854775808", "1.5", " 1"]).into(),
        7 => vec![b'x'; rng.below(20) as usize],
        8 => (0..rng.below(6)).map(|_| rng.next() as u8).collect(),
        _ => format!("m{}", rng.below(20)).into_bytes(),
    }
}

/// A command whose outcome does not hang on chance.
fn some_command(rng: &mut Rng) -> Command {
    let (one, two, three) = (key(rng), key(rng), key(rng));
    let many = |rng: &mut Rng, name: &str, most: u64| {
        let mut words = bytes(&[name, one.as_str()]);
        words.extend((0..=rng.below(most)).map(|_| member(rng)));
        words
    };
    match rng.below(34) {
        0..=6 => many(rng, "SADD", 4),
        7 => many(rng, "SADD", 24),
        8..=10 => many(rng, "SREM", 4),
        11 => vec![b"SISMEMBER".to_vec(), one.into_bytes(), member(rng)],
        12 => many(rng, "SMISMEMBER", 3),
        13 => bytes(&["SCARD", &one]),
        14 => bytes(&["SMEMBERS", &one]),
        15 | 16 => vec![b"SMOVE".to_vec(), one.into_bytes(), two.into_bytes(), member(rng)],
        17 => bytes(&["SPOP", &one, rng.pick(&["1000", "0", "-1", "x", "99999999999999999999"])]),
        18 => bytes(&["SRANDMEMBER", &one, rng.pick(&["1000", "0", "x", "-9223372036854775808"])]),
        19 => bytes(&["SINTER", &one, &two]),
        20 => bytes(&["SINTERSTORE", &one, &two, &three]),
        21 => bytes(&["SINTERCARD", "2", &one, &two, "LIMIT", rng.pick(&["0", "1", "3", "-1", "x"])]),
        22 => bytes(&["SUNION", &one, &two, &three]),
        23 => bytes(&["SUNIONSTORE", &one, &two, &three]),
        24 => bytes(&["SDIFF", &one, &two, &three]),
        25 => bytes(&["SDIFFSTORE", &one, &two, &three]),
        26 => bytes(&["SSCAN", &one, "0", "COUNT", "1000"]),
        27 => bytes(&["SSCAN", &one, "0", "MATCH", rng.pick(&["*", "m*", "[0-9]"]), "COUNT", "1000"]),
        28 => bytes(&["SUNIONSTORE", &one, &two]),
        29 => bytes(&["DEL", &one]),
        30 => bytes(&["COPY", &one, &two, "REPLACE"]),
        31 => bytes(&[rng.pick(&["TYPE", "PERSIST", "EXISTS"]), &one]),
        32 => bytes(&["EXPIRE", &one, "100000"]),
        _ if rng.below(6) == 0 => bytes(&["SET", &one, "a string"]),
        _ => bytes(&["RENAME", &one, &two]),
    }
}

/// Random commands; after each, what is said of the encoding by both (`encodings`: of all forms, or of the intset only).
fn compare(stock: Kind, lines: &[&str], seed: u64, resp3: bool, all_forms: bool) {
    let mut pair = pair(stock, lines);
    pair.at(format!("seed {seed}"));
    if resp3 {
        pair.resp3();
    }
    let mut rng = Rng::new(seed);
    for i in 0..2500 {
        let command = some_command(&mut rng);
        pair.call(&command);
        let at = if command.len() > 1 { command[1].clone() } else { b"s0".to_vec() };
        let ask = bytes(&[&b"OBJECT"[..], b"ENCODING", &at]);
        let (mine, theirs) = (pair.a.call(&ask).to_string(), pair.b.call(&ask).to_string());
        let same = if all_forms { mine == theirs } else { (mine == "$intset") == (theirs == "$intset") };
        let line = || line_of(&command);
        assert!(same, "seed {seed}, after {}: {mine}, not {theirs}", line());
        if mine == "$intset" && stock == Kind::Stock70 {
            let dump = bytes(&[&b"DUMP"[..], &at]);
            let [mine, theirs] = [&mut pair.a, &mut pair.b].map(|c| c.call(&dump));
            // Compression finds its own ways.
            let packed = |r: &Reply| matches!(r, Reply::Bulk(b) if b.get(1) == Some(&0xc3));
            assert!(mine == theirs || packed(&mine) || packed(&theirs), "{}: {mine}, not {theirs}", line());
        }
        if i % 250 == 249 {
            pair.compare_data();
        }
    }
}

#[test]
fn random_set_commands_are_answered_as_stock_answers_them() {
    compare(Kind::Stock70, &["set-max-intset-entries 12"], 1, false, false);
    compare(Kind::Stock70, &["set-max-intset-entries 12"], 2, true, false);
}

#[test]
fn sets_change_their_form_when_newer_stock_changes_it() {
    for (kind, seed) in [(Kind::Redis80, 3), (Kind::Valkey91, 4)].into_iter().filter(|(kind, _)| kind.available()) {
        let lines = ["set-max-intset-entries 12", "set-max-listpack-entries 8", "set-max-listpack-value 6"];
        compare(kind, &lines, seed, false, true);
    }
}

#[test]
fn mistakes_with_sets_are_answered_as_stock_answers_them() {
    let mut pair = pair(Kind::Stock70, &[]);
    pair.same(
        "set str x
         sadd a 1 2 3
         sadd b x
         sadd str 1
         srem str 1
         smove str a 1
         smove a str 1
         smove none str 1
         smove a a 1
         smove a a 9
         smove a b 9
         sismember str 1
         smismember str 1
         smismember none 1 2
         scard str
         smembers str
         smembers none
         spop str
         spop str 1
         spop none
         spop none 3
         spop a 1 2
         spop a -1
         spop a x
         spop none x
         srandmember str
         srandmember str 1
         srandmember none
         srandmember none 3
         srandmember a 1 2
         srandmember a x
         srandmember none x
         srandmember none -9223372036854775808
         sinter a str
         sinter none str
         sinter str none
         sinterstore a none str
         sinterstore a str none
         sinterstore dst none a
         sintercard 0 a
         sintercard x a
         sintercard -1 a
         sintercard 2 a
         sintercard 1 a limit
         sintercard 1 a limit -1
         sintercard 1 a limit x
         sintercard 1 a limit 2
         sintercard 1 a b
         sintercard 1 a limit 1 limit 0
         sintercard 2 a str
         sunion a str
         sunionstore dst a str
         sdiff none str
         sdiff str none
         sdiffstore dst none a
         sdiffstore a b b
         sscan a x
         sscan a 0 count
         sscan a 0 count 0
         sscan a 0 count x
         sscan a 0 type set
         sscan a 0 match
         sscan none 0 nonsense
         sscan none x
         sscan str 0
         sscan str x
         sscan b -0
         sscan b +0
         sscan b \"\"
         sscan b \" 0\"
         sscan b 0x
         sadd a
         srem a
         smove a b
         sinter
         scan 0 count 1000 type string
         scan 0 count 1000 type nothing
         scan 0 type
         scan 0 count 0
         scan x",
    );
    pair.compare_data();
}

#[test]
fn chance_gives_as_many_as_asked_for() {
    for resp3 in [false, true] {
        let s = Server::start(Kind::Pando, &[]);
        let mut c = s.client();
        if resp3 {
            c.run("hello 3");
        }
        for (key, n, prefix) in [("ints", 100, ""), ("pack", 100, "m"), ("table", 1000, "m")] {
            let all: Vec<String> = (0..n).map(|i| format!("{prefix}{i}")).collect();
            let mut add = vec!["SADD".to_owned(), key.to_owned()];
            add.extend(all.iter().cloned());
            assert_eq!(c.call(&add).int(), n);
            let known: BTreeSet<String> = all.into_iter().collect();
            let texts = |reply: &Reply| reply.items().iter().map(Reply::text).collect::<Vec<_>>();
            for count in [1, 2, n / 4, n / 2, n - 1, n, n + 5] {
                let reply = c.run(&format!("srandmember {key} {count}"));
                assert!(matches!(reply, Reply::Array(_)));
                let different: BTreeSet<String> = texts(&reply).into_iter().collect();
                assert_eq!((different.len() as i64, texts(&reply).len() as i64), (count.min(n), count.min(n)));
                assert!(different.is_subset(&known));
                let repeated = texts(&c.run(&format!("srandmember {key} -{count}")));
                assert_eq!(repeated.len() as i64, count);
                assert!(repeated.iter().all(|m| known.contains(m)));
            }
            assert!(known.contains(&c.run(&format!("srandmember {key}")).text()));
            let mut left = known.clone();
            assert!(left.remove(&c.run(&format!("spop {key}")).text()));
            for count in [1, 5, n / 2, n / 4] {
                let reply = c.run(&format!("spop {key} {count}"));
                assert_eq!(matches!(reply, Reply::Set(_)), resp3);
                assert_eq!(reply.items().len() as i64, count);
                assert!(texts(&reply).iter().all(|m| left.remove(m)), "{key}: a member twice");
                assert_eq!(c.run(&format!("scard {key}")).int(), left.len() as i64);
            }
            assert_eq!(c.run(&format!("spop {key} {n}")).items().len(), left.len());
            assert_eq!(c.run(&format!("exists {key}")).int(), 0);
        }
    }
}

/// What both are told of keys, in order.
#[test]
fn events_of_sets_are_those_of_stock() {
    let mut pair = pair(Kind::Stock70, &["notify-keyspace-events KEAnm", "set-max-intset-entries 12"]);
    pair.listen();
    let mut rng = Rng::new(7);
    for round in 0..20 {
        let commands: Vec<Command> = (0..40).map(|_| some_command(&mut rng)).collect();
        commands.iter().for_each(|command| drop(pair.call(command)));
        if round % 2 == 0 {
            pair.same("sadd one x\nspop one\nsadd two 1 2\nspop two 2\nsadd three a\nsmove three four a\ndel four");
        }
        assert!(pair.compare_events(&commands) > 10);
    }
}

#[test]
fn sets_travel_to_stock_and_back() {
    for (master, replica) in [(Kind::Pando, Kind::Stock70), (Kind::Stock70, Kind::Pando), (Kind::Pando, Kind::Pando)] {
        let lines = ["set-max-intset-entries 50"];
        let nodes = [Server::start(master, &lines), Server::start(replica, &lines)];
        let mut c = nodes[0].client();
        let mut rng = Rng::new(11);
        let mut fill = |c: &mut Client, n: u64| {
            for _ in 0..n {
                c.call(&some_command(&mut rng));
                let (at, count) = (key(&mut rng), rng.below(8).to_string());
                c.call(&bytes(&["SPOP", &at, &count]));
                let mut add = bytes(&[b"SADD".to_vec(), key(&mut rng).into_bytes()]);
                let base = rng.below(1000);
                add.extend((0..rng.below(60)).map(|i| match base % 3 {
                    0 => (base + i).to_string().into_bytes(),
                    _ => format!("member:{}", base + i).into_bytes(),
                }));
                c.call(&add);
            }
        };
        fill(&mut c, 100);
        follow(&nodes[1], &nodes[0]);
        fill(&mut c, 300);
        for i in 0..3000 {
            c.send(&["SADD", "large", &format!("member:{i}")]);
        }
        (0..3000).for_each(|_| {
            c.read();
        });
        c.run("spop large 1500");
        c.run("spop large 1400");
        converge(&[&nodes[0], &nodes[1]]);
        carry_back(&nodes[0], &nodes[1]);
    }
}

#[test]
fn listpack_sets_of_newer_servers_are_taken() {
    for kind in [Kind::Redis80, Kind::Valkey91].into_iter().filter(|k| k.available()) {
        let (ours, theirs) = (Server::start(Kind::Pando, &[]), Server::start(kind, &[]));
        let mut c = theirs.client();
        c.check("sadd small a 1 bcd 70000", ":4");
        c.check("object encoding small", "$listpack");
        c.run("sadd ints 1 2 3");
        follow(&ours, &theirs);
        c.run("sadd small later");
        let same = || ours.digest() == theirs.digest();
        wait_until("the replica has the same", same);
        ours.check("object encoding small", "$listpack");
        ours.check("object encoding ints", "$intset");
    }
}

#[test]
fn a_walk_over_keys_removes_those_that_are_over() {
    let s = Server::start(Kind::Pando, &[]);
    let mut c = s.client();
    c.check("debug set-active-expire 0", "+OK");
    for i in 0..40 {
        c.check(&format!("sadd k{i} x"), ":1");
        if i % 2 == 0 {
            c.check(&format!("pexpire k{i} 1"), ":1");
        }
    }
    c.check("debug sleep 0.01", "+OK");
    // Within EXEC they are left out, and stay for the next look.
    c.run("multi");
    c.run("scan 0 count 1000");
    let reply = c.run("exec");
    assert_eq!(reply.items()[0].items()[1].items().len(), 20);
    c.check("dbsize", ":40");
    assert_eq!(c.run("scan 0 count 1000 match k1?").items()[1].items().len(), 5);
    c.check("dbsize", ":35");
    assert_eq!(c.run("scan 0 count 1000 type hash").items()[1].items().len(), 0);
    c.check("dbsize", ":20");
    assert_eq!(s.info("stats", "expired_keys"), "20");
}

#[test]
fn a_walk_sees_all_that_stays_whatever_comes_and_goes() {
    let s = Server::start(Kind::Pando, &[]);
    let mut c = s.client();
    let mut add = vec!["SADD".to_owned(), "k".to_owned()];
    add.extend((0..2000).map(|i| format!("stays:{i}")));
    c.call(&add);
    let (mut cursor, mut seen, mut step) = ("0".to_owned(), BTreeSet::new(), 0);
    loop {
        let reply = c.run(&format!("sscan k {cursor} count 20"));
        let [next, Reply::Array(found)] = reply.items() else { panic!("{reply}") };
        assert!(found.len() >= 20 || next.text() == "0");
        seen.extend(found.iter().map(Reply::text).filter(|m| m.starts_with("stays")));
        cursor = next.text();
        if cursor == "0" {
            break;
        }
        let extra: Vec<String> = (0..50).map(|i| format!("goes:{step}:{i}")).collect();
        let mut words = vec!["SADD".to_owned(), "k".to_owned()];
        if step >= 40 {
            words = vec!["SREM".to_owned(), "k".to_owned()];
            words.extend(extra.iter().map(|m| m.replace(&format!(":{step}:"), &format!(":{}:", step - 40))));
        } else {
            words.extend(extra);
        }
        c.call(&words);
        step += 1;
    }
    assert_eq!(seen.len(), 2000);
    assert!(step < 400);
}
