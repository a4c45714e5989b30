//! Sorted sets: the same replies, encodings, events and data as stock servers for the same commands.

use std::collections::BTreeSet;

use crate::harness::{Client, Kind, Reply, Server, carry_back, converge, follow, wait_until, words};
use crate::pair::{Command, Pair};
use crate::random::Rng;

/// A reply with long numbers by value: 7.0 prints more digits than 7.2.
pub fn by_value(reply: &Reply) -> Reply {
    let number = |text: &str| match text.parse::<f64>() {
        Ok(value) if text.len() > 12 && text.contains(['.', 'e']) => format!("{value:?}"),
        _ => text.to_owned(),
    };
    match reply {
        Reply::Array(items) => Reply::Array(items.iter().map(by_value).collect()),
        Reply::Bulk(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Reply::Bulk(number(text).into_bytes()),
            Err(_) => reply.clone(),
        },
        Reply::Double(text) => Reply::Double(number(text)),
        other => other.clone(),
    }
}

fn pair(stock: Kind, lines: &[&str]) -> Pair {
    Pair::new(stock, lines).promised(|_, reply| by_value(reply))
}

fn key(rng: &mut Rng) -> String {
    match rng.below(12) {
        0 => "plain".into(),
        1 => "none".into(),
        _ => format!("z{}", rng.below(5)),
    }
}

fn member(rng: &mut Rng) -> String {
    match rng.below(10) {
        0..=3 => (rng.below(40) as i64 - 5).to_string(),
        4 => rng.pick(&["", "01", "-0", "1.5", "9223372036854775807"]).into(),
        5 => "x".repeat(rng.pick(&[1, 20, 64, 65])),
        _ => format!("m{}", rng.below(60)),
    }
}

/// Of few digits, so that 7.0 and 7.2 print them alike.
fn score(rng: &mut Rng) -> String {
    match rng.below(20) {
        0 => rng.pick(&["inf", "-inf", "+inf", "-0", "1e9", ".5", "1e15"]).into(),
        1 if rng.below(4) == 0 => rng.pick(&["nan", "abc", " 1", "1 ", "1e999"]).into(),
        2..=8 => (rng.below(40) as i64 - 20).to_string(),
        _ => ((rng.below(160) as f64 - 80.0) / 4.0).to_string(),
    }
}

fn bound(rng: &mut Rng) -> String {
    let text = match rng.below(12) {
        0 => rng.pick(&["-inf", "+inf", "inf"]).into(),
        1 if rng.below(4) == 0 => rng.pick(&["x", "nan", "1 "]).into(),
        _ => ((rng.below(160) as f64 - 80.0) / 4.0).to_string(),
    };
    if rng.below(3) == 0 { format!("({text}") } else { text }
}

fn lex(rng: &mut Rng) -> &'static str {
    rng.pick(&["-", "+", "[", "(", "[m1", "(m1", "[m3", "(m", "[zz", "[a", "m", "-x", ""])
}

fn rank(rng: &mut Rng) -> String {
    if rng.below(40) == 0 { "x".into() } else { (rng.below(40) as i64 - 20).to_string() }
}

fn count(rng: &mut Rng) -> &'static str {
    rng.pick(&["1", "2", "3", "10", "0", "-1", "x"])
}

/// Each of the words, one time in three.
fn some(rng: &mut Rng, words: &[&str]) -> String {
    words.iter().filter(|_| rng.below(3) == 0).fold(String::new(), |all, word| format!("{all} {word}"))
}

fn limit(rng: &mut Rng) -> String {
    match rng.below(3) {
        0 => format!(" LIMIT {} {}", rng.below(20), rank(rng)),
        _ => String::new(),
    }
}

/// A command whose outcome does not hang on chance. `same` is a key whose scores are all the same.
fn some_command(rng: &mut Rng) -> Command {
    let (one, two, three) = (key(rng), key(rng), key(rng));
    let (from, to) = (rank(rng), rank(rng));
    let quoted = |word: String| format!("\"{word}\"");
    let (min, max) = (quoted(bound(rng)), quoted(bound(rng)));
    let (first, last) = (quoted(lex(rng).into()), quoted(lex(rng).into()));
    let member_of = |rng: &mut Rng| quoted(member(rng));
    let line = match rng.below(46) {
        0..=8 => {
            let options: String = ["NX", "XX", "GT", "LT", "CH", "INCR"]
                .iter()
                .filter(|_| rng.below(9) == 0)
                .map(|w| format!(" {w}"))
                .collect();
            let n = rng.pick(&[1, 1, 2, 3, 8]);
            let pairs = (0..n).fold(String::new(), |all, _| format!("{all} {} {}", quoted(score(rng)), member_of(rng)));
            format!("ZADD {one}{options}{pairs}")
        }
        9 => format!("ZINCRBY {one} {} {}", quoted(score(rng)), member_of(rng)),
        10 | 11 => format!("ZREM {one} {} {}", member_of(rng), member_of(rng)),
        12 => format!("ZMSCORE {one} {} {}", member_of(rng), member_of(rng)),
        13 => format!("{} {one} {}", rng.pick(&["ZSCORE", "ZRANK", "ZREVRANK"]), member_of(rng)),
        14 | 15 => format!("ZRANGE {one} {from} {to}{}", some(rng, &["REV", "WITHSCORES"])),
        16..=18 => format!("ZRANGE {one} {min} {max} BYSCORE{}{}", some(rng, &["REV", "WITHSCORES"]), limit(rng)),
        19 => format!("ZRANGE same {first} {last} BYLEX{}{}", some(rng, &["REV"]), limit(rng)),
        20 => format!("ZRANGEBYSCORE {one} {min} {max}{}{}", some(rng, &["WITHSCORES"]), limit(rng)),
        21 => format!("ZREVRANGEBYSCORE {one} {max} {min}{}{}", some(rng, &["withscores"]), limit(rng)),
        22 => format!("{} same {first} {last}{}", rng.pick(&["ZRANGEBYLEX", "ZREVRANGEBYLEX"]), limit(rng)),
        23 => format!("ZREVRANGE {one} {from} {to}{}", some(rng, &["WITHSCORES"])),
        24 => format!("ZCOUNT {one} {min} {max}"),
        25 => format!("ZLEXCOUNT same {first} {last}"),
        26 => format!("ZREMRANGEBYRANK {one} {from} {to}"),
        27 => format!("ZREMRANGEBYSCORE {one} {min} {max}"),
        28 => format!("ZREMRANGEBYLEX same {first} {last}"),
        29 => format!("{} {one} {}", rng.pick(&["ZPOPMIN", "ZPOPMAX"]), count(rng)),
        30 => format!("{} {one}", rng.pick(&["ZPOPMIN", "ZPOPMAX"])),
        31 => format!("ZMPOP 2 {one} {two} {} COUNT {}", rng.pick(&["MIN", "max", "x"]), count(rng)),
        32 => format!("{} {one} {two} 0.01", rng.pick(&["BZPOPMIN", "BZPOPMAX"])),
        33 => format!("BZMPOP 0.01 2 {one} {two} {} COUNT 2", rng.pick(&["MIN", "MAX"])),
        34 => format!("ZRANGESTORE to {one} {min} {max} BYSCORE{}{}", some(rng, &["REV"]), limit(rng)),
        35 => format!("ZRANGESTORE {two} {one} {from} {to}{}", some(rng, &["REV"])),
        36..=40 => {
            let operation = rng.pick(&["ZUNION", "ZINTER", "ZDIFF"]);
            let mut options = String::new();
            if operation != "ZDIFF" && rng.below(2) == 0 {
                options += &format!(" WEIGHTS {} {} {}", quoted(score(rng)), quoted(score(rng)), quoted(score(rng)));
            }
            if operation != "ZDIFF" && rng.below(2) == 0 {
                options += rng.pick(&[" AGGREGATE SUM", " AGGREGATE MIN", " aggregate max"]);
            }
            match rng.below(3) {
                0 => format!("{operation}STORE to 3 {one} {two} {three}{options}"),
                _ => format!("{operation} 3 {one} {two} {three}{options}{}", some(rng, &["WITHSCORES"])),
            }
        }
        41 => format!("ZINTERCARD 2 {one} {two} LIMIT {}", count(rng)),
        42 => {
            format!("ZSCAN {} 0 COUNT 1000 MATCH {}", rng.pick(&["small", "nothing"]), rng.pick(&["*", "m*", "[0-9]"]))
        }
        43 => format!("ZADD same {}", (0..3).map(|_| format!("0 m{}", rng.below(90))).collect::<Vec<_>>().join(" ")),
        44 => format!("{} {one}", rng.pick(&["DEL", "TYPE", "PERSIST", "EXISTS"])),
        _ => format!("COPY z{} {two} REPLACE", rng.below(5)),
    };
    words(&line)
}

fn compare(stock: Kind, lines: &[&str], seed: u64, resp3: bool) {
    let mut pair = pair(stock, lines);
    pair.at(format!("seed {seed}"));
    if resp3 {
        pair.resp3();
    }
    pair.same("sadd plain 1 2 3 m1 m2 m3 -1 x\nzadd small 1 a 2.5 m 3 m2 inf 7");
    let mut rng = Rng::new(seed);
    for i in 0..3000 {
        let command = some_command(&mut rng);
        pair.call(&command);
        let asked = format!("z{}", rng.below(5));
        pair.run(&format!("object encoding {asked}"));
        if i % 20 == 0 {
            if let Some([mine, theirs]) = pair.exchange(&asked) {
                assert_eq!(mine[0], theirs[0], "seed {seed}: the type byte of {asked}");
            }
            pair.same("object encoding exchanged\nzrange exchanged 0 -1 withscores\ndel exchanged");
        }
        // Newer stock servers put scores into their digests in another form.
        if i % 250 == 249 && stock == Kind::Stock70 {
            pair.compare_data();
        }
    }
}

#[test]
fn random_sorted_set_commands_are_answered_as_stock_answers_them() {
    compare(Kind::Stock70, &["zset-max-listpack-entries 12"], 1, false);
    compare(Kind::Stock70, &["zset-max-listpack-value 30"], 2, true);
}

#[test]
fn random_sorted_set_commands_are_answered_as_newer_stock_answers_them() {
    if Kind::Redis80.available() {
        compare(Kind::Redis80, &["zset-max-listpack-entries 12"], 3, false);
    }
}

#[test]
fn mistakes_with_sorted_sets_are_answered_as_stock_answers_them() {
    let mut pair = pair(Kind::Stock70, &[]);
    pair.same(
        "set str x
         zadd z 1 a 2 b 3 c
         zadd z
         zadd z 1
         zadd z 1 a 2
         zadd z nx xx 1 a
         zadd z gt lt 1 a
         zadd z nx gt 1 a
         zadd z incr 1 a 2 b
         zadd z nan a
         zadd hex 0x10 a 0x1p3 b
         zrange hex 0 -1 withscores
         zadd z x a
         zadd str 1 a
         zadd str x a
         zadd none xx 1 a
         zadd none xx incr 1 a
         zadd i inf a
         zincrby i -inf a
         zadd i incr -inf a
         zincrby z x a
         zincrby str 1 a
         zrem str a
         zscore str a
         zmscore str a
         zmscore none a b
         zrank str a
         zrange z 0
         zrange z a b
         zrange z 0 1 byscore bylex
         zrange z 0 1 rev rev
         zrange z 0 1 limit 0 1
         zrange z 0 1 limit 0 -1
         zrange z 0 1 byscore limit 0
         zrange z 0 1 byscore limit x 1
         zrange z - + bylex withscores
         zrange z x 1 byscore
         zrange z 0 9 byscore limit -1 5
         zrange z 9 0 byscore rev limit 0 -5
         zrangebylex z - + limit -1 5
         zrange z a b bylex
         zcount z \" 1\" \"\"
         zcount z \"( 1\" 1e999
         zcount z \"(\" (
         zrange str 0 1
         zrange none 0 1 x
         zrangestore d z 0 -1 withscores
         zrangestore d str 0 -1
         zrangestore d none 0 -1
         zrangebyscore z 1 2 rev
         zrevrangebyscore z 1 2 byscore
         zrevrange z 0 -1 rev
         zcount z x 1
         zcount str 1 2
         zlexcount z x y
         zremrangebyrank z x 1
         zremrangebyscore z 1 (x
         zremrangebylex z a b
         zremrangebyrank str 0 1
         zpopmin z 1 2
         zpopmin z -1
         zpopmin z x
         zpopmin str
         zpopmin str 0
         zpopmin none 0
         zmpop 0 z min
         zmpop x z min
         zmpop 1 z
         zmpop 2 z min
         zmpop 1 z up
         zmpop 1 z min count 0
         zmpop 1 z min count 1 count 1
         zmpop 1 str min
         zmpop 2 none str min
         zmpop 1 none min
         bzpopmin z x
         bzpopmin z -1
         bzpopmin str 0
         bzmpop 0 0 z min
         bzmpop x 1 z min
         zrandmember z x
         zrandmember z 1 x
         zrandmember z -9223372036854775808
         zrandmember z -9223372036854775807 withscores
         zrandmember none
         zrandmember none 3
         zrandmember none -3
         zrandmember str
         zunion 0 z
         zunion x z
         zunion 2 z
         zunion 1 z weights
         zunion 1 z weights x
         zunion 1 z weights 1 2
         zunion 1 z aggregate avg
         zunion 1 str
         zunion 1 str weights x
         zunionstore d 1 z withscores
         zunionstore d 0 z
         zdiff 1 z weights 1
         zdiffstore d 1 none
         zintercard 1 z limit -1
         zintercard 1 z limit x
         zintercard 1 z limit
         zscan z x
         zscan z 0 count 0
         zscan none 0 x
         zscan z 0 x
         zscan str 0",
    );
    pair.compare_data();
}

#[test]
fn chance_gives_as_many_members_as_asked_for() {
    let s = Server::start(Kind::Pando, &[]);
    let mut c = s.client();
    for n in [100, 1000] {
        let all: Vec<String> = (0..n).map(|i| format!("m{i}")).collect();
        let mut add = vec!["ZADD".to_owned(), format!("k{n}")];
        all.iter().enumerate().for_each(|(i, m)| add.extend([i.to_string(), m.clone()]));
        assert_eq!(c.call(&add).int(), n);
        let known: BTreeSet<String> = all.into_iter().collect();
        for count in [1, 2, n / 4, n / 2, n - 1, n, n + 5] {
            let texts = |reply: &Reply| reply.items().iter().map(Reply::text).collect::<Vec<_>>();
            let different = texts(&c.run(&format!("zrandmember k{n} {count}")));
            let unique: BTreeSet<String> = different.iter().cloned().collect();
            assert_eq!((different.len() as i64, unique.len() as i64), (count.min(n), count.min(n)));
            assert!(unique.is_subset(&known));
            let repeated = texts(&c.run(&format!("zrandmember k{n} -{count} withscores")));
            assert_eq!(repeated.len() as i64, 2 * count);
            assert!(repeated.chunks(2).all(|pair| pair[0] == format!("m{}", pair[1])));
        }
    }
}

/// What both are told of keys, in order.
#[test]
fn events_of_sorted_sets_are_those_of_stock() {
    let mut pair = pair(Kind::Stock70, &["notify-keyspace-events KEAnm", "zset-max-listpack-entries 12"]);
    pair.listen();
    let mut rng = Rng::new(7);
    for _ in 0..20 {
        let commands: Vec<Command> = (0..40).map(|_| some_command(&mut rng)).collect();
        commands.iter().for_each(|command| drop(pair.call(command)));
        pair.same(
            "zadd one 1 a\nzrem one a\nzadd two 1 a 2 b\nzpopmax two 5\nzadd three 1 a\nzremrangebyrank three 0 -1
             zadd four 1 a\nzrangestore to four 0 -1\nzrangestore to none 0 -1\ngeoadd five 1 2 a\ndel five four
             geoadd six 1 2 a\ngeosearchstore to six fromlonlat 1 2 byradius 5 km\ngeoradius six 1 2 5 km store to",
        );
        assert!(pair.compare_events(&commands) > 10);
    }
}

#[test]
fn sorted_sets_travel_to_stock_and_back() {
    for (master, replica) in [(Kind::Pando, Kind::Stock70), (Kind::Stock70, Kind::Pando), (Kind::Pando, Kind::Pando)] {
        let lines = ["zset-max-listpack-entries 20"];
        let nodes = [Server::start(master, &lines), Server::start(replica, &lines)];
        let mut c = nodes[0].client();
        let mut rng = Rng::new(11);
        let fill = |c: &mut Client, rng: &mut Rng, n: u64| {
            for _ in 0..n {
                c.call(&some_command(rng));
            }
        };
        // Longer than the reader's buffer.
        let large: Vec<Command> = (0..8000)
            .map(|i| words(&format!("zadd large {} member:number:{i}", (i * 7919 % 8000) as f64 / 8.0)))
            .collect();
        large.iter().for_each(|command| c.send(command));
        large.iter().for_each(|_| drop(c.read()));
        fill(&mut c, &mut rng, 300);
        follow(&nodes[1], &nodes[0]);
        fill(&mut c, &mut rng, 600);
        c.run("zremrangebyrank large 100 1500");
        c.run("zremrangebyscore large (300 400.5");
        c.run("geoadd places 13.361389 38.115556 palermo 15.087269 37.502669 catania");
        c.run("geosearchstore near places frommember palermo byradius 200 km storedist");
        converge(&[&nodes[0], &nodes[1]]);
        carry_back(&nodes[0], &nodes[1]);
    }
}

#[test]
fn who_waits_for_members_gets_them_and_replicas_see_pops() {
    let nodes = [Server::start(Kind::Pando, &[]), Server::start(Kind::Stock70, &[])];
    follow(&nodes[1], &nodes[0]);
    let waiting = |n: i64| wait_until("clients wait", || nodes[0].info_int("clients", "blocked_clients") == n);
    let mut clients = [nodes[0].client(), nodes[0].client(), nodes[0].client()];
    for (i, line) in ["bzpopmin a b 0", "bzpopmax b 0", "bzmpop 0 2 b c min count 2"].iter().enumerate() {
        clients[i].send(&words(line));
        waiting(i as i64 + 1);
    }
    nodes[0].check("zadd b 1 x 2 y 3 z 4 w", ":4");
    let got = clients.each_mut().map(|c| c.read().to_string());
    assert_eq!(got, ["[$b $x $1]", "[$b $w $4]", "[$b [[$y $2] [$z $3]]]"]);
    nodes[0].check("exists b", ":0");
    clients[0].script("multi => +OK\nbzpopmin a 0 => +QUEUED\nexec => [*nil]");
    converge(&[&nodes[0], &nodes[1]]);
}

#[test]
fn payloads_that_are_no_sorted_sets_are_refused() {
    let s = Server::start(Kind::Pando, &[]);
    let mut c = s.client();
    let mut restore = |payload: &[u8]| {
        let mut payload = payload.to_vec();
        payload.extend([10, 0]);
        payload.extend([0; 8]);
        c.call(&[&b"RESTORE"[..], b"k", b"0", &payload, b"REPLACE"]).to_string()
    };
    s.check("debug set-skip-checksum-validation 1", "+OK");
    let one = 1f64.to_le_bytes();
    let plain = |members: &[(&[u8], [u8; 8])]| {
        let mut out = vec![5, members.len() as u8];
        for (member, score) in members {
            out.push(member.len() as u8);
            out.extend_from_slice(member);
            out.extend_from_slice(score);
        }
        out
    };
    assert_eq!(restore(&plain(&[(b"a", one), (b"b", one)])), "+OK");
    let bad = "-ERR Bad data format";
    assert_eq!(restore(&plain(&[(b"a", one), (b"a", one)])), bad, "a member twice");
    assert_eq!(restore(&plain(&[(b"a", f64::NAN.to_le_bytes())])), bad, "no number");
    assert_eq!(restore(&[5, 0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), bad, "a count without members");
    let packed = |elements: &[&[u8]]| {
        let mut pack = vec![0, 0, 0, 0, elements.len() as u8, 0];
        for element in elements {
            pack.push(0x80 | element.len() as u8);
            pack.extend_from_slice(element);
            pack.push(element.len() as u8 + 1);
        }
        pack.push(0xff);
        pack[0] = pack.len() as u8;
        [&[17, pack.len() as u8][..], &pack].concat()
    };
    assert_eq!(restore(&packed(&[b"a", b"1.5", b"b", b"2.5"])), "+OK");
    assert_eq!(restore(&packed(&[b"b", b"2.5", b"a", b"1.5"])), "+OK", "out of order, but whole");
    s.check("zrange k 0 -1", "[$a $b]");
    assert_eq!(restore(&packed(&[b"a", b"1.5", b"b"])), bad, "an odd number of elements");
    assert_eq!(restore(&packed(&[b"a", b"1.5", b"a", b"2.5"])), bad, "a member twice");
    assert_eq!(restore(&packed(&[b"a", b"nan"])), bad, "no number");
    assert_eq!(restore(&packed(&[b"a", b"x"])), bad, "no number");
}
