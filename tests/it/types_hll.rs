//! HyperLogLogs: the same bytes as a stock server makes of the same elements, and no harm from any others.

use crate::harness::{Kind, Server};
use crate::pair::Pair;
use crate::random::Rng;

fn elements(rng: &mut Rng, of: u64) -> String {
    (0..rng.below(30)).map(|_| format!(" {}", rng.below(of))).collect()
}

#[test]
fn random_elements_make_the_same_bytes_as_on_a_stock_server() {
    let mut pair = Pair::new(Kind::Stock70, &["hll-sparse-max-bytes 400"]);
    let mut rng = Rng::new(1);
    for round in 0..1200 {
        let mut key = || format!("k{}", rng.below(8));
        let (key, other, third) = (key(), key(), key());
        // Many elements end in dense ones, few stay sparse.
        let of = if key.as_str() < "k4" { 150 } else { 20_000 };
        let line = match rng.below(12) {
            0 => format!("pfcount {key}"),
            1 => format!("pfcount {key} {other} {third}"),
            2 => format!("pfmerge {key} {other}"),
            3 if round % 5 == 0 => format!("pfmerge {key} {other} {third}"),
            4 => format!("del {key}"),
            5 => format!("pfdebug encoding {key}"),
            6 => format!("pfdebug decode {key}"),
            7 if round % 9 == 0 => format!("pfdebug todense {key}"),
            8 => format!("get {key}"),
            _ => format!("pfadd {key}{}", elements(&mut rng, of)),
        };
        pair.run(&line);
        if round % 50 == 0 {
            (0..8).for_each(|n| drop(pair.run(&format!("get k{n}"))));
            pair.compare_data();
        }
    }
    for n in 0..8 {
        pair.run(&format!("object encoding k{n}"));
        pair.run(&format!("pfdebug getreg k{n}"));
    }
    pair.compare_data();
}

#[test]
fn the_limit_of_sparse_ones_can_be_moved() {
    let mut pair = Pair::new(Kind::Stock70, &[]);
    for limit in [3000, 0, 30, 16_000, 100_000] {
        pair.run(&format!("config set hll-sparse-max-bytes {limit}"));
        for from in 0..30 {
            let words: String = (from * 150..(from + 1) * 150).map(|n| format!(" e{n}")).collect();
            pair.run(&format!("pfadd grows{limit}{words}"));
            pair.run(&format!("pfdebug encoding grows{limit}"));
        }
        pair.run(&format!("pfmerge united{limit} grows{limit} grows3000"));
        pair.run(&format!("pfcount united{limit}"));
        pair.run(&format!("get united{limit}"));
    }
    pair.compare_data();
}

#[test]
fn what_is_no_hyperloglog_is_refused_in_stock_words() {
    let mut pair = Pair::new(Kind::Stock70, &[]);
    let values: &[&[u8]] = &[
        b"",
        b"12",
        b"HYLL",
        b"HYLL\x02\0\0\0\0\0\0\0\0\0\0\0\x7f\xff",
        b"HYLL\0\0\0\0\0\0\0\0\0\0\0\0\x7f\xff",
        b"hyll\x01\0\0\0\0\0\0\0\0\0\0\0\x7f\xff",
        // Too few registers, too many, none, runs of values beyond the last.
        b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80\x7f\xfe",
        b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80\x7f\xff\x7f\xff\x7f\xff",
        b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80",
        b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80\x7f\xfe\x83\x83",
        b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80\x7f\xff\0",
    ];
    for value in values {
        for rest in ["pfcount V", "pfcount V W", "pfmerge V", "pfmerge W V", "pfdebug getreg V", "pfdebug todense V"] {
            pair.call(&[&b"SET"[..], b"V", value]);
            pair.run(rest);
        }
        pair.run("get W");
    }
    pair.call(&[&b"SET"[..], b"V", values[1]]);
    pair.run("pfadd V a");
    pair.run("pfadd V");
    for line in [
        "pfdebug nosuch N",
        "pfdebug getreg",
        "pfadd N",
        "pfdebug nosuch N",
        "pfadd N",
        "pfdebug decode N",
        "pfdebug todense N",
        "pfdebug decode N",
        "pfcount N",
        "pfcount",
        "pfmerge M",
        "get M",
        "pfmerge M N none",
        "get M",
    ] {
        pair.run(line);
    }
}

#[test]
fn random_bytes_behind_a_good_beginning_do_no_harm() {
    let server = Server::start(Kind::Pando, &[]);
    let mut c = server.client();
    let mut rng = Rng::new(7);
    for _ in 0..300 {
        let mut value = b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80".to_vec();
        value.extend((0..rng.below(60)).map(|_| rng.next() as u8));
        c.call(&[&b"SET"[..], b"v", &value]);
        for line in
            ["pfadd v a b c", "pfcount v", "pfcount v none", "pfdebug decode v", "pfmerge w v", "pfdebug getreg v"]
        {
            let reply = c.run(line);
            assert!(
                !reply.is_error() || reply.to_string().starts_with("-INVALIDOBJ") || line.contains("decode"),
                "{line}: {reply}"
            );
        }
    }
    c.check("ping", "+PONG");
    c.check("pfselftest", "+OK");
}

#[test]
fn replicas_hold_the_counts_that_were_cached() {
    let master = Server::start(Kind::Pando, &[]);
    let replica = Server::start(Kind::Stock70, &[&format!("replicaof 127.0.0.1 {}", master.port())]);
    let mut c = master.client();
    for line in
        ["pfadd a 1 2 3", "pfcount a", "pfadd a 1", "pfmerge b a none", "pfcount b", "pfcount b a", "pfdebug todense a"]
    {
        c.run(line);
    }
    crate::harness::wait_until("the replica has it all", || {
        replica.info("replication", "master_link_status") == "up" && master.digest() == replica.digest()
    });
}
