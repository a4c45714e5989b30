//! Lists: the same replies, forms, nodes, events and data as stock servers for the same commands.

use crate::harness::{Client, Kind, Server, carry_back, converge, follow, line_of, wait_until, words};
use crate::pair::{Command, Pair};
use crate::random::Rng;

fn bytes<W: AsRef<[u8]>>(words: &[W]) -> Command {
    words.iter().map(|w| w.as_ref().to_vec()).collect()
}

fn key(rng: &mut Rng) -> &'static str {
    rng.pick(&["l0", "l1", "l2", "l3", "l4"])
}

fn element(rng: &mut Rng) -> Vec<u8> {
    match rng.below(12) {
        0..=4 => (rng.below(16) as i64 - 3).to_string().into_bytes(),
        5 => rng.pick(&["127", "128", "-4097", "32768", "8388608", "-2147483649", "9223372036854775807"]).into(),
        6 => rng.pick(&["", "01", "-0", "+1", "9223372036854775808", "1.5", " 1"]).into(),
        7 | 8 => rng.pick(&["a", "b", "c", "d"]).into(),
        9 => vec![b'x'; rng.below(90) as usize],
        10 => (0..rng.below(6)).map(|_| rng.next() as u8).collect(),
        _ if rng.below(8) == 0 => vec![b'y'; 500 + rng.below(1500) as usize],
        _ => format!("element:{}", rng.below(30)).into_bytes(),
    }
}

fn number(rng: &mut Rng) -> String {
    match rng.below(12) {
        0 => rng.pick(&["x", "1.5", "", "9223372036854775808", "100000"]).to_owned(),
        1 => rng.pick(&["0", "-1", "1"]).to_owned(),
        _ => (rng.below(60) as i64 - 30).to_string(),
    }
}

/// A command that waits a moment at most.
fn some_command(rng: &mut Rng) -> Command {
    let (one, two) = (key(rng), key(rng));
    let side = |rng: &mut Rng| rng.pick(&["LEFT", "RIGHT", "left", "Right", "LEFT", "RIGHT", "MIDDLE"]);
    let timeout = |rng: &mut Rng| rng.pick(&["0.001", "0.001", "0.001", "-1", "x"]);
    let (from, to) = (side(rng), side(rng));
    match rng.below(46) {
        n @ 0..=11 => {
            let mut words = bytes(&[rng.pick(&["LPUSH", "RPUSH", "RPUSH", "LPUSHX", "RPUSHX"]), one]);
            let most = if n == 0 { 30 } else { 3 };
            words.extend((0..=rng.below(most)).map(|_| element(rng)));
            words
        }
        12..=14 => bytes(&[rng.pick(&["LPOP", "RPOP"]), one]),
        15 | 16 => bytes(&[rng.pick(&["LPOP", "RPOP"]), one, &number(rng)]),
        17 | 18 => bytes(&["LRANGE", one, &number(rng), &number(rng)]),
        19 => bytes(&["LRANGE", one, "0", "-1"]),
        20 => bytes(&["LINDEX", one, &number(rng)]),
        21 => bytes(&["LLEN", one]),
        22..=24 => vec![b"LSET".to_vec(), one.into(), number(rng).into(), element(rng)],
        25..=30 => {
            let place = rng.pick(&["BEFORE", "AFTER", "before", "After", "BEFORE", "beside"]);
            vec![b"LINSERT".to_vec(), one.into(), place.into(), element(rng), element(rng)]
        }
        31 | 32 => vec![b"LREM".to_vec(), one.into(), number(rng).into(), element(rng)],
        33 => {
            let stop = number(rng);
            bytes(&["LTRIM", one, rng.pick(&["0", "1", "2", "-40"]), rng.pick(&["-1", "-2", "-3", &stop])])
        }
        34 | 35 => {
            let mut words = vec![b"LPOS".to_vec(), one.into(), element(rng)];
            for _ in 0..rng.below(3) {
                words.extend(bytes(&[rng.pick(&["RANK", "COUNT", "maxlen"]), &number(rng)]));
            }
            words
        }
        36 | 37 => bytes(&["LMOVE", one, two, from, to]),
        38 => bytes(&["RPOPLPUSH", one, two]),
        39 => bytes(&["LMPOP", rng.pick(&["2", "2", "2", "0", "x", "3"]), one, two, from]),
        40 => bytes(&["LMPOP", "1", one, from, "COUNT", &number(rng)]),
        41 => bytes(&[rng.pick(&["BLPOP", "BRPOP"]), one, two, timeout(rng)]),
        42 => match rng.below(3) {
            0 => bytes(&["BLMPOP", timeout(rng), "2", one, two, from, "COUNT", &number(rng)]),
            1 => bytes(&["BLMOVE", one, two, from, to, timeout(rng)]),
            _ => bytes(&["BRPOPLPUSH", one, two, timeout(rng)]),
        },
        43 => bytes(&["COPY", one, two, "REPLACE"]),
        44 => bytes(&["RENAME", one, two]),
        _ if rng.below(4) == 0 => bytes(&["SET", one, "a string"]),
        _ => bytes(&["DEL", one]),
    }
}

/// How a large list is kept, as DEBUG OBJECT tells it.
fn nodes(c: &mut Client, key: &[u8]) -> Option<String> {
    let text = c.call(&[&b"DEBUG"[..], b"OBJECT", key]).text();
    let at = text.find("ql_nodes")?;
    text.contains("encoding:quicklist").then(|| text[at..].to_owned())
}

/// Random commands; after each, whether the list is kept in the same way: in the same form, if stock has the small one, and
/// in the same nodes.
fn compare(stock: Kind, lines: &[&str], seed: u64, resp3: bool, giant_from: Option<&str>) {
    let mut pair = Pair::new(stock, lines);
    pair.at(format!("seed {seed}"));
    if let Some(size) = giant_from {
        pair.run(&format!("debug quicklist-packed-threshold {size}"));
    }
    if resp3 {
        pair.resp3();
    }
    let mut rng = Rng::new(seed);
    for i in 0..1200 {
        let command = some_command(&mut rng);
        pair.call(&command);
        let at = if command[1].first() == Some(&b'l') { &command[1] } else { &b"l0".to_vec() };
        if stock != Kind::Stock70 {
            pair.call(&bytes(&[&b"OBJECT"[..], b"ENCODING", at]));
        }
        if let Some(mine) = nodes(&mut pair.a, at) {
            let theirs = nodes(&mut pair.b, at);
            assert!(theirs.as_ref() == Some(&mine), "seed {seed}, {i}: {}\n{mine}\n{theirs:?}", line_of(&command));
        }
        if i % 200 == 199 {
            pair.compare_data();
        }
    }
}

#[test]
fn random_list_commands_are_answered_as_stock_answers_them() {
    for (seed, size, depth) in [(1, "5", "0"), (2, "16", "1"), (3, "1", "2")] {
        let lines = [format!("list-max-listpack-size {size}"), format!("list-compress-depth {depth}")];
        compare(Kind::Stock70, &lines.each_ref().map(String::as_str), seed, seed == 2, None);
    }
}

#[test]
fn lists_change_their_form_when_newer_stock_changes_it() {
    for kind in [Kind::Redis80, Kind::Valkey91].into_iter().filter(|kind| kind.available()) {
        for (seed, size) in [(4, "-1"), (5, "8"), (6, "-2")] {
            compare(kind, &[&format!("list-max-listpack-size {size}"), "list-compress-depth 1"], seed, false, None);
        }
    }
}

#[test]
fn giant_elements_have_nodes_to_themselves_as_in_newer_stock() {
    for kind in [Kind::Redis80, Kind::Valkey91].into_iter().filter(|kind| kind.available()) {
        for (seed, size, giant_from) in [(8, "-1", "40b"), (9, "4", "10b")] {
            let lines = [&*format!("list-max-listpack-size {size}"), "list-compress-depth 1"];
            compare(kind, &lines, seed, false, Some(giant_from));
        }
    }
}

#[test]
fn mistakes_with_lists_are_answered_as_stock_answers_them() {
    let mut pair = Pair::new(Kind::Stock70, &[]);
    pair.same(
        "set str x
         rpush a 1 2 3 1 2 3
         rpush str 1
         lpushx str 1
         lpushx none 1
         lpop str
         lpop str 0
         lpop none
         lpop none 0
         lpop none 2
         lpop none x
         lpop a 0
         lpop a -1
         lpop a x
         lpop a 1 2
         rpop a 1 2 3
         llen str
         llen none
         lindex none x
         lindex a x
         lindex a 99
         lindex str 0
         lset none x y
         lset a x y
         lset a 99 y
         lset str 0 y
         lrange none x 1
         lrange none 0 -1
         lrange str 0 -1
         lrange a 1 x
         lrange a 4 2
         lrange a -100 100
         lrange a 100 200
         lrange a 0 9223372036854775807
         lrange a -9223372036854775808 -1
         ltrim none 0 1
         ltrim str 0 1
         ltrim a x 1
         lrem none 0 1
         lrem none x 1
         lrem str 0 1
         linsert none between 1 2
         linsert none before 1 2
         linsert str before 1 2
         linsert a after 9 2
         lpos none 1
         lpos none 1 count 0
         lpos none 1 rank 0
         lpos str 1
         lpos a 1 rank 0
         lpos a 1 rank x
         lpos a 1 rank
         lpos a 1 count -1
         lpos a 1 count x
         lpos a 1 maxlen -1
         lpos a 1 maxlen
         lpos a 1 rank 3
         lpos a 1 rank 3 count 1
         lpos a 1 rank -1 count 0
         lpos a 1 count 1 count 0
         lpos a 01
         lmove none a left right
         lmove none str left right
         lmove a str left right
         lmove str a left right
         lmove a a left middle
         lmove a a up right
         lmove a a left right
         rpoplpush a a
         rpoplpush none str
         rpoplpush a str
         lmpop 0 a left
         lmpop x a left
         lmpop 2 a left
         lmpop 1 a middle
         lmpop 1 a left count
         lmpop 1 a left count 0
         lmpop 1 a left count x
         lmpop 1 a left count 1 count 1
         lmpop 1 a left limit 1
         lmpop 2 none str left
         lmpop 2 none a right count 2
         lmpop 1 none left
         blpop none str 0
         blpop a x
         blpop a -1
         blpop none 0.001
         blpop str a 0
         blpop none a 0
         brpop a 0
         blmove str a left right 0
         blmove none str left right 0.001
         blmove a str left right 0
         blmove a a left up 0
         blmove a a left right x
         blmove a a left right 0
         brpoplpush a str 0
         brpoplpush a a x
         brpoplpush a a 0
         blmpop x 1 a left
         blmpop 0 0 a left
         blmpop -1 1 a left
         blmpop 0.001 1 none left
         blmpop 0 2 none a left count 10
         multi
         blpop none 0
         blmove none a left left 0
         brpoplpush none a 0
         blmpop 0 1 none left
         exec
         lpush a
         lpop
         linsert a before 1
         lmove a b left
         blpop a",
    );
    pair.compare_data();
}

/// What both are told of keys, in order.
#[test]
fn events_of_lists_are_those_of_stock() {
    let mut pair = Pair::new(Kind::Stock70, &["notify-keyspace-events KEAnm", "list-max-listpack-size 8"]);
    pair.listen();
    let mut rng = Rng::new(7);
    for _ in 0..10 {
        let commands: Vec<Command> = (0..40).map(|_| some_command(&mut rng)).collect();
        commands.iter().for_each(|command| drop(pair.call(command)));
        pair.same("del l0 l1\nrpush l0 x\nlmove l0 l1 left left\nrpush l0 1 2\nltrim l0 5 9\nrpush l0 y\nlrem l0 0 y");
        pair.same(
            "rpush l0 z\nlmove l0 l0 left right\nblpop l0 0\nrpush l0 1 2 3\nltrim l0 0 -1\nlmpop 1 l0 left count 9",
        );
        assert!(pair.compare_events(&commands) > 10);
    }
}

#[test]
fn lists_travel_to_stock_and_back() {
    for (master, replica) in [(Kind::Pando, Kind::Stock70), (Kind::Stock70, Kind::Pando), (Kind::Pando, Kind::Pando)] {
        let lines = ["list-max-listpack-size -1", "list-compress-depth 1"];
        let pair = [Server::start(master, &lines), Server::start(replica, &lines)];
        let mut c = pair[0].client();
        let mut rng = Rng::new(11);
        let mut fill = |c: &mut Client, n: u64| {
            for _ in 0..n {
                c.call(&some_command(&mut rng));
                let mut push = bytes(&["RPUSH", rng.pick(&["large", "l0", "l1"])]);
                push.extend((0..rng.below(40)).map(|i| format!("element:{i:0>12}").into_bytes()));
                c.call(&push);
            }
        };
        fill(&mut c, 100);
        follow(&pair[1], &pair[0]);
        fill(&mut c, 300);
        converge(&[&pair[0], &pair[1]]);
        carry_back(&pair[0], &pair[1]);
    }
}

/// A replica hears of the pop that took place, not of the wait.
#[test]
fn waiting_pops_are_told_as_pops() {
    let ours = Server::start(Kind::Pando, &[]);
    let replica = Server::start(Kind::Stock70, &[]);
    follow(&replica, &ours);
    let (mut told, mut c) = (replica.client(), ours.client());
    told.check("monitor", "+OK");
    let waits = [
        ("blpop none k 0", r#""LPOP" "k""#),
        ("brpop k 0", r#""RPOP" "k""#),
        ("blmove k other left right 0", r#""LMOVE" "k" "other" "left" "right""#),
        ("brpoplpush k other 0", r#""RPOPLPUSH" "k" "other""#),
        ("blmpop 0 2 none k right count 5", r#""RPOP" "k" "2""#),
    ];
    for (wait, effect) in waits {
        let mut waiter = ours.client();
        waiter.send(&words(wait));
        wait_until("the client waits", || ours.info_int("clients", "blocked_clients") == 1);
        c.check("rpush k 1 2", ":2");
        assert!(!waiter.read().is_error());
        c.run("del k");
        let mut lines = Vec::new();
        loop {
            let line = told.read().text();
            let words = line.split("] ").nth(1).unwrap_or_default().to_owned();
            if words == r#""del" "k""# {
                break;
            }
            if !words.is_empty() && !words.starts_with(r#""SELECT""#) && !words.eq_ignore_ascii_case(r#""ping""#) {
                lines.push(words);
            }
            // Without the second element there was nothing left to delete.
            if wait.starts_with("blmpop") && lines.len() == 2 {
                break;
            }
        }
        assert_eq!(lines, [r#""rpush" "k" "1" "2""#, effect], "{wait}");
    }
    converge(&[&ours, &replica]);
}

/// The forms that older servers wrote: a list of strings, one ziplist, a row of ziplists.
#[test]
fn what_old_servers_dumped_is_restored_as_by_stock() {
    const ZIPLIST: &[u8] = b"\x17\0\0\0\x12\0\0\0\x04\0\0\x01a\x03\xfe\x85\x03\xf8\x02\x02bc\xff";
    let mut pair = Pair::new(Kind::Stock70, &[]);
    pair.same("debug set-skip-checksum-validation 1");
    let string = |bytes: &[u8]| [&[bytes.len() as u8], bytes].concat();
    let payloads = [
        [&b"\x01\x03"[..], &string(b"a"), b"\xc0\x85", &string(b"bc")].concat(),
        [&b"\x0a"[..], &string(ZIPLIST)].concat(),
        [&b"\x0e\x02"[..], &string(ZIPLIST), &string(ZIPLIST)].concat(),
        [&b"\x12\x02\x01"[..], &string(b"plain"), b"\x02", &string(b"\x09\0\0\0\x01\0\x05\x01\xff")].concat(),
        // And what is none: cut, or with a node that says too much.
        b"\x01\x03\x01a".to_vec(),
        [&b"\x0a"[..], &string(&ZIPLIST[..20])].concat(),
        [&b"\x12\x01\x03"[..], &string(b"plain")].concat(),
        b"\x12\0".to_vec(),
    ];
    for (i, payload) in payloads.iter().enumerate() {
        let whole = [&payload[..], b"\x0a\0", &[0; 8]].concat();
        let reply = pair.call(&bytes(&[&b"RESTORE"[..], format!("k{i}").as_bytes(), b"0", &whole]));
        assert_eq!(reply.is_error(), i >= 4, "payload {i}");
        pair.run(&format!("lrange k{i} 0 -1"));
    }
    pair.compare_data();
}
