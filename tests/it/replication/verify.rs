//! REPLICA VERIFY: whether replicas hold the same, at one offset, while everybody goes on.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use crate::harness::*;
use crate::random::Rng;

/// A row of the reply, as `name=value` pairs.
fn rows(server: &Server) -> Vec<Vec<(String, String)>> {
    let reply = server.run("replica verify");
    assert!(!reply.is_error(), "{reply}");
    let pairs = |row: &Reply| row.items().chunks(2).map(|p| (p[0].text(), plain(&p[1]))).collect();
    reply.items().iter().map(pairs).collect()
}

fn plain(reply: &Reply) -> String {
    match reply {
        Reply::Int(n) => n.to_string(),
        other => other.text(),
    }
}

fn field<'a>(row: &'a [(String, String)], name: &str) -> &'a str {
    row.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v)
}

/// The only row.
fn row(server: &Server) -> Vec<(String, String)> {
    let mut rows = rows(server);
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows.remove(0)
}

const EVERY_TYPE: &str = "set s value\nset n 12345\nset gone x px 100000000\nrpush l a b c 1 2 3\nsadd si 1 2 3\n\
    sadd sa a b c 1\nhset h f v g 2\nhset ht f v g w\nzadd z 1 a 2.5 b inf c\nxadd x 1-1 f v\nxadd x 2-1 f w\nxdel x 2-1\n\
    pfadd p a b c\nsetrange big 70000 x\n\
    xgroup create x g 0\nxgroup create x idle $\nxreadgroup group g one count 1 streams x >\nxadd x 3-1 f w\n\
    xreadgroup group g two count 1 streams x >\nselect 3\nset s other";

fn fill(server: &Server) {
    let mut c = server.client();
    for line in EVERY_TYPE.lines() {
        let reply = c.run(line);
        assert!(!reply.is_error(), "{line}: {reply}");
    }
    if server.run("command info hexpire").to_string() != "[*-1]" {
        server.run("hpexpire ht 100000000 fields 1 f");
    }
}

fn settled(master: &Server) {
    wait_until("the replica is online", || master.info("replication", "slave0").contains("state=online"));
}

#[test]
fn replicas_that_hold_the_same_are_identical_however_they_store_it() {
    if Kind::stock_stands_in() {
        return;
    }
    let m = Server::start(Kind::Pando, &["repl-diskless-sync-delay 0"]);
    fill(&m);
    m.check("debug populate 5000", "+OK");
    // Other encodings, the same data.
    let r = Server::start(
        Kind::Pando,
        &[
            "hash-max-listpack-entries 1",
            "zset-max-listpack-entries 1",
            "set-max-intset-entries 1",
            "set-max-listpack-entries 1",
            "list-max-listpack-size 1",
            "stream-node-max-entries 1",
        ],
    );
    follow(&r, &m);
    settled(&m);
    for key in ["h", "z", "si", "l"] {
        m.run(&format!("object encoding {key}"));
    }
    let row = row(&m);
    assert_eq!(field(&row, "result"), "identical", "{row:?}");
    assert_eq!(field(&row, "replica"), format!("127.0.0.1:{}", r.port()));
    let keys: i64 = m.run("dbsize").int() + 1;
    assert_eq!(field(&row, "keys"), keys.to_string());
    m.wait_log(&format!("holds the same {keys} keys at offset"));
}

#[test]
fn the_first_key_that_differs_is_named_in_every_kind_of_difference() {
    if Kind::stock_stands_in() {
        return;
    }
    let m = Server::start(Kind::Pando, &["repl-diskless-sync-delay 0"]);
    fill(&m);
    let r = Server::start(Kind::Pando, &["replica-read-only no"]);
    follow(&r, &m);
    settled(&m);
    assert_eq!(field(&row(&m), "result"), "identical");
    for (change, db, key, what, undo) in [
        ("set s other", "0", "s", "the values differ", "set s value"),
        ("set mine 1", "0", "mine", "only the replica has such a key", "del mine"),
        ("pexpire n 100000000", "0", "n", "the values differ", "persist n"),
        ("hset h f w", "0", "h", "the values differ", "hset h f v"),
        ("zadd z 2.50001 b", "0", "z", "the values differ", "zadd z 2.5 b"),
        ("rpush l 4", "0", "l", "the values differ", "rpop l"),
        ("hpersist ht fields 1 f", "0", "ht", "the values differ", ""),
        ("xgroup setid x idle 1-1", "0", "x", "the values differ", "xgroup setid x idle $"),
        ("xgroup setid x idle $ entriesread 1", "0", "x", "the values differ", "xgroup setid x idle $"),
        ("xgroup create x other $", "0", "x", "the values differ", "xgroup destroy x other"),
        ("xclaim x g two 0 1-1", "0", "x", "the values differ", "xclaim x g one 0 1-1"),
        ("xack x g 1-1", "0", "x", "the values differ", ""),
        ("del sa", "0", "sa", "the replica has no such key", ""),
    ] {
        let reply = r.run(change);
        assert!(!reply.is_error(), "{change}: {reply}");
        let row = row(&m);
        assert_eq!(field(&row, "result"), "differs", "{change}: {row:?}");
        let found = (field(&row, "db"), field(&row, "key"), field(&row, "difference"));
        if undo.is_empty() {
            m.run(&format!("del {key}"));
        } else {
            assert_eq!(found, (db, key, what), "{change}");
            r.run(undo);
        }
    }
    let mut c = r.client();
    c.check("select 3", "+OK");
    c.check("set s changed", "+OK");
    let row = row(&m);
    assert_eq!((field(&row, "db"), field(&row, "key"), field(&row, "differing-parts")), ("3", "s", "1"), "{row:?}");
    m.wait_log("differs at offset");
}

/// Whatever consumers do, replicas hear of all that counts.
#[test]
fn what_groups_know_is_the_same_after_anything_that_consumers_do() {
    if Kind::stock_stands_in() {
        return;
    }
    let m = Server::start(Kind::Pando, &["repl-diskless-sync-delay 0"]);
    let r = Server::start(Kind::Pando, &[]);
    follow(&r, &m);
    settled(&m);
    let seed = std::env::var("PANDO_SEED").map_or(20_260, |seed| seed.parse().expect("PANDO_SEED is a number"));
    let mut rng = Rng::new(seed);
    let mut c = m.client();
    for round in 0..6 {
        for _ in 0..300 {
            let (key, group) = (format!("x{}", rng.below(2)), format!("g{}", rng.below(2)));
            let (consumer, id) = (format!("c{}", rng.below(3)), format!("{}-1", 1 + rng.below(200)));
            let count = 1 + rng.below(3);
            let ack = ["", "noack "][usize::from(rng.below(4) == 0)];
            let line = match rng.below(24) {
                0..6 => format!("xadd {key} * f v"),
                6 => format!("xadd {key} 1-* f v"),
                7 => format!("xgroup create {key} {group} 0 mkstream"),
                8..12 => format!("xreadgroup group {group} {consumer} count {count} {ack}streams {key} >"),
                12 => format!("xreadgroup group {group} {consumer} count {count} streams {key} 0"),
                13 => format!("xack {key} {group} {id}"),
                14 => format!("xautoclaim {key} {group} {consumer} 0 {id} count {count}"),
                15 => format!("xautoclaim {key} {group} {consumer} 0 0 justid"),
                16 => format!("xclaim {key} {group} {consumer} 0 {id} force"),
                17 => format!("xclaim {key} {group} {consumer} 0 {id} lastid {id} retrycount 7 idle 5"),
                18 => format!("xdel {key} {id}"),
                19 => format!("xgroup delconsumer {key} {group} {consumer}"),
                20 => format!("xgroup createconsumer {key} {group} {consumer}"),
                21 => format!("xtrim {key} maxlen ~ {}", rng.below(150)),
                22 if rng.below(9) == 0 => format!("xgroup destroy {key} {group}"),
                22 => format!("xsetid {key} 99999999999999-1 entriesadded {}", 400 + rng.below(9)),
                _ if rng.below(5) == 0 => format!("del {key}"),
                _ => format!("xgroup setid {key} {group} {id}"),
            };
            // Groups and entries that are not there are refused at both.
            c.run(&line);
        }
        let row = row(&m);
        assert_eq!(field(&row, "result"), "identical", "round {round}, PANDO_SEED={seed}: {row:?}");
    }
}

/// While writes go on at the master, reads at the replicas, and through a chain, hop by hop.
#[test]
fn a_chain_under_load_is_verified_hop_by_hop_without_holding_anybody_up() {
    if Kind::stock_stands_in() {
        return;
    }
    let nodes = chain(&[Kind::Pando, Kind::Pando, Kind::Pando], &["repl-diskless-sync-delay 0"]);
    settled(&nodes[0]);
    settled(&nodes[1]);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|w| {
                let (stop, master) = (&stop, &nodes[0]);
                scope.spawn(move || {
                    let mut c = master.client();
                    let mut n = 0u64;
                    while !stop.load(Relaxed) {
                        for i in 0..50 {
                            n += 1;
                            let key = format!("k{}:{}", w, n.wrapping_mul(7919) % 3000);
                            match i % 5 {
                                0 => c.send(&["RPUSH", &format!("l{key}"), "x"]),
                                1 => c.send(&["SET", &key, &n.to_string()]),
                                2 => c.send(&["INCR", &format!("n{key}")]),
                                3 => c.send(&["DEL", &key, &format!("l{key}")]),
                                _ => c.send(&["MULTI"]),
                            }
                            if i % 5 == 4 {
                                c.send(&["SADD", &format!("s{key}"), &n.to_string()]);
                                c.send(&["SPOP", &format!("s{key}")]);
                                c.send(&["EXEC"]);
                            }
                        }
                        for _ in 0..80 {
                            c.read();
                        }
                    }
                    n
                })
            })
            .collect();
        let mut offsets = Vec::new();
        for _ in 0..5 {
            let rows = rows(&nodes[0]);
            assert_eq!(rows.len(), 2, "{rows:?}");
            for row in rows {
                assert_eq!(field(&row, "result"), "identical", "{row:?}");
                offsets.push(field(&row, "offset").parse::<i64>().unwrap());
            }
        }
        assert!(offsets.windows(2).all(|w| w[0] <= w[1]) && offsets[0] < offsets[9], "{offsets:?}");
        stop.store(true, Relaxed);
        assert!(writers.into_iter().all(|w| w.join().unwrap() > 0));
    });
    converge(&nodes.iter().collect::<Vec<_>>());
}

/// The whole tree is verified from its root, and one of its branches alone.
#[test]
fn what_is_below_a_replica_is_verified_by_it_and_told_with_the_rest() {
    if Kind::stock_stands_in() {
        return;
    }
    let options = &["repl-diskless-sync-delay 0", "replica-read-only no"];
    let [root, left, right, leaf, low, lowest] = std::array::from_fn(|_| Server::start(Kind::Pando, options));
    let stock = Server::start(Kind::Stock70, &[]);
    // What a stock replica can hold.
    for line in ["set s value", "xadd x 1-1 f v", "xgroup create x g 0", "sadd sa a b c"] {
        assert!(!root.run(line).is_error());
    }
    for (replica, master) in
        [(&left, &root), (&right, &root), (&leaf, &left), (&stock, &left), (&low, &right), (&lowest, &low)]
    {
        let has =
            |n| wait_until("it is online", || master.info("replication", &format!("slave{n}")).contains("online"));
        let before: usize = master.info("replication", "connected_slaves").parse().unwrap();
        follow(replica, master);
        has(before);
    }
    let name = |s: &Server| format!("127.0.0.1:{}", s.port());
    // Replica, its master if that is not who was asked, and the result.
    let told = |rows: &[Vec<(String, String)>]| {
        let mut told: Vec<_> =
            rows.iter().map(|r| ["replica", "master", "result"].map(|f| field(r, f).to_owned())).collect();
        told.sort();
        told
    };
    let expect = |rows: &[(&Server, Option<&Server>, &str)]| {
        let row = |(r, m, result): &(&Server, Option<&Server>, &str)| {
            [name(r), m.map_or(String::new(), name), (*result).to_owned()]
        };
        let mut rows: Vec<_> = rows.iter().map(row).collect();
        rows.sort();
        rows
    };
    let all = [
        (&left, None, "identical"),
        (&leaf, Some(&left), "identical"),
        (&stock, Some(&left), "unverified"),
        (&right, None, "identical"),
        (&low, Some(&right), "identical"),
        (&lowest, Some(&low), "identical"),
    ];
    assert_eq!(told(&rows(&root)), expect(&all));
    lowest.run("set s changed");
    let rows = rows(&root);
    let lowest_row = rows.iter().find(|row| field(row, "replica") == name(&lowest)).unwrap();
    assert_eq!((field(lowest_row, "result"), field(lowest_row, "key")), ("differs", "s"), "{rows:?}");
    let branch = root.run(&format!("replica verify {}", name(&left)));
    assert_eq!(branch.items().len(), 3, "{branch}");
    // One of them that cannot do it says so.
    low.run("config set requirepass secret");
    right.run("config set masterauth secret");
    let silent = self::rows(&root);
    assert_eq!(silent.len(), 6, "{silent:?}");
    right.run("config set masterauth wrong");
    let silent = self::rows(&root);
    let low_row = silent.iter().find(|row| field(row, "replica") == name(&low)).unwrap();
    assert!(field(low_row, "reason").contains("WRONGPASS"), "{silent:?}");
    assert_eq!(silent.len(), 5, "{silent:?}");
}

/// Whoever makes a snapshot does not wait for a verification.
#[test]
fn a_save_ends_a_cut_that_is_under_way() {
    if Kind::stock_stands_in() {
        return;
    }
    let (m, r) = (Server::start(Kind::Pando, &["repl-diskless-sync-delay 0"]), Server::start(Kind::Pando, &[]));
    follow(&r, &m);
    settled(&m);
    let replid = m.info("replication", "master_replid");
    let mut cut = r.client();
    cut.check(&format!("replica cut prepare {replid} -1"), "+OK");
    r.check("bgsave", "+Background saving started");
    cut.check("replica cut hold", "-ERR a snapshot was begun there meanwhile");
    wait_until("it is saved", || r.info("persistence", "rdb_bgsave_in_progress") == "0");
    // The same while the stream is held.
    cut.check(&format!("replica cut prepare {replid} -1"), "+OK");
    let held = cut.run("replica cut hold");
    r.check("save", "+OK");
    let reply = cut.run(&format!("replica cut at {}", held.int()));
    // On a machine so busy that the hold was over before, it is too late for that.
    let expected = ["a snapshot was begun there meanwhile", "there is no cut", "given up"];
    assert!(expected.iter().any(|e| reply.to_string().contains(e)), "{reply}");
    m.check("set a 1", "+OK");
    converge(&[&m, &r]);
    assert_eq!(field(&row(&m), "result"), "identical");
}

#[test]
fn who_cannot_be_verified_is_told_why() {
    if Kind::stock_stands_in() {
        return;
    }
    let m = Server::start(Kind::Pando, &["repl-diskless-sync-delay 0"]);
    assert!(rows(&m).is_empty());
    let stock = Server::start(Kind::Stock70, &[]);
    follow(&stock, &m);
    settled(&m);
    let row = row(&m);
    assert_eq!(field(&row, "result"), "unverified");
    assert!(field(&row, "reason").starts_with("it is no Pando server"), "{row:?}");
    // One with a password that we were not told, beside one that is well.
    let locked = Server::start(Kind::Pando, &["requirepass secret"]);
    let well = Server::start(Kind::Pando, &[]);
    follow(&locked, &m);
    follow(&well, &m);
    let name = |s: &Server| format!("127.0.0.1:{}", s.port());
    let result = |server: &Server| {
        let rows = rows(&m);
        let row = rows.iter().find(|row| field(row, "replica") == name(server)).cloned();
        row.map_or(String::new(), |row| format!("{} {}", field(&row, "result"), field(&row, "reason")))
    };
    wait_until("the third is online", || m.info("replication", "slave2").contains("state=online"));
    assert!(result(&locked).starts_with("unverified NOAUTH"), "{}", result(&locked));
    assert_eq!(result(&well), "identical ");
    m.check("config set masterauth secret", "+OK");
    assert_eq!(result(&locked), "identical ");
    // Only one of them.
    let one = m.run(&format!("replica verify {}", name(&locked)));
    assert_eq!(one.items().len(), 1, "{one}");
    m.check("replica verify 127.0.0.1:1", "-ERR no replica of this server is '127.0.0.1:1'");
    m.check("replica verify a b", "-ERR wrong number of arguments for 'replica|verify' command");
    m.check("replica nonsense", "-ERR unknown subcommand 'nonsense'. Try REPLICA HELP.");
    m.check("replica cut hold", "-ERR there is no cut to go on with");
    m.check(&format!("replica cut prepare {} -1", "a".repeat(40)), "-ERR this server is not in step with a master");
    m.check("replica cut at x", "-ERR value is not an integer or out of range");
    m.check("replica cut now", "-ERR syntax error");
    assert!(m.run("replica help").items().len() > 4);
}

/// A master that prepares a cut and is never heard of again.
#[test]
fn a_cut_that_is_never_finished_holds_the_stream_for_a_moment_only() {
    if Kind::stock_stands_in() {
        return;
    }
    let (m, r) = (Server::start(Kind::Pando, &["repl-diskless-sync-delay 0"]), Server::start(Kind::Pando, &[]));
    follow(&r, &m);
    settled(&m);
    let replid = m.info("replication", "master_replid");
    let mut gone = r.client();
    gone.check(&format!("replica cut prepare {replid} -1"), "+OK");
    r.check(&format!("replica cut prepare {replid} -1"), "-ERR another cut is under way");
    assert!(!gone.run("replica cut hold").is_error());
    m.check("set a 1", "+OK");
    drop(gone);
    wait_until("the stream goes on", || r.run("get a").to_string() == "$1");
    wait_until("another can be made", || {
        let rows = rows(&m);
        field(&rows[0], "result") == "identical"
    });
    // An offset that was passed already cannot be cut at, and holds nobody.
    let mut late = r.client();
    late.check(&format!("replica cut prepare {replid} -1"), "+OK");
    late.run("replica cut hold");
    let reply = late.run("replica cut at 0");
    // On a machine so busy that the hold was over before, it is too late for that.
    let expected = ["this replica stands at offset", "there is no cut", "given up"];
    assert!(expected.iter().any(|e| reply.to_string().contains(e)), "{reply}");
    m.check("set a 2", "+OK");
    converge(&[&m, &r]);
}
