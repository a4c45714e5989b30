//! Bitmaps: the same calls to Pando and to a stock server, and what only newer servers have.

use crate::harness::{Kind, Server, wait_until, words};
use crate::pair::{Command, Pair};
use crate::random::Rng;

/// Bits, numbers and strings of all sorts at few keys.
fn random_command(rng: &mut Rng) -> Command {
    let key = format!("k{}", rng.below(12));
    let other = format!("k{}", rng.below(12));
    let third = format!("k{}", rng.below(12));
    let offset = match rng.below(12) {
        0 => "4294967295".to_owned(),
        1 => "4294967296".to_owned(),
        2 => "-1".to_owned(),
        3 => "no".to_owned(),
        4 => (rng.below(1 << 18)).to_string(),
        _ => rng.below(300).to_string(),
    };
    // The largest offset makes a string of half a gigabyte.
    let write_offset = if offset == "4294967295" { "70000".to_owned() } else { offset.clone() };
    let index = |rng: &mut Rng| match rng.below(10) {
        0 => i64::MIN,
        1 => i64::MAX,
        _ => rng.below(400) as i64 - 200,
    };
    let unit = rng.pick(&["", " byte", " BIT", " bit", " bits"]);
    let bit = rng.pick(&["0", "1", "0", "1", "2", "x"]);
    let (start, end) = (index(rng), index(rng));
    let field = |rng: &mut Rng| {
        let sign = rng.pick(&["i", "u", "u", "i", "x"]);
        let bits = rng.pick(&[0, 1, 2, 5, 8, 16, 31, 32, 33, 60, 62, 63, 64, 65]);
        let at = rng.pick(&["0", "#1", "7", "100", "#3", "-1", "#x", "63", "9"]);
        format!("{sign}{bits} {at}")
    };
    let value = rng.pick(&[0, 1, -1, 100, 255, 256, -129, i64::MAX, i64::MIN, 1 << 40]);
    words(&match rng.below(13) {
        0 | 1 => format!("setbit {key} {write_offset} {bit}"),
        2 => format!("getbit {key} {offset}"),
        3 => format!("bitcount {key} {start} {end}{unit}"),
        4 => rng.pick(&["bitcount K", "bitcount K 1", "bitcount K x 1", "bitcount K 1 2 bit 3"]).replace('K', &key),
        5 => format!("bitpos {key} {bit} {start} {end}{unit}"),
        6 => rng
            .pick(&["bitpos K B", "bitpos K B S", "bitpos K B S x", "bitpos K B 0 -1 bit 3"])
            .replace('K', &key)
            .replace('B', bit)
            .replace('S', &start.to_string()),
        7 => format!("bitop {} {key} {other} {third}", rng.pick(&["and", "OR", "xor", "not", "nor"])),
        8 => format!("bitop {} {key} {other}", rng.pick(&["not", "NOT", "and", "or"])),
        9 => {
            let mut line = format!("bitfield {key}");
            for _ in 0..rng.below(4) {
                line += &match rng.below(8) {
                    0 => " overflow sat".to_owned(),
                    1 => " overflow fail".to_owned(),
                    2 => format!(" overflow {}", rng.pick(&["wrap", "WRAP", "none"])),
                    3 => format!(" get {}", field(rng)),
                    4 => " set u8".to_owned(),
                    5 => format!(" set {} {value}", field(rng)),
                    _ => format!(" incrby {} {value}", field(rng)),
                };
            }
            line
        }
        10 => format!("bitfield_ro {key} get {} {} {}", field(rng), rng.pick(&["get", "set"]), field(rng)),
        11 => format!("set {key} {}", rng.pick(&["12345", "-7", "abcdefgh", "x"])),
        _ => rng
            .pick(&["append K \u{fffd}\u{fffd}\u{fffd}", "del K", "setrange K 8190 tail", "object encoding K"])
            .replace('K', &key),
    })
}

#[test]
fn random_bits_are_answered_and_kept_as_stock_does() {
    let mut pair = Pair::new(Kind::Stock70, &[]);
    for seed in 1..=3 {
        pair.at(format!("seed {seed}"));
        let mut rng = Rng::new(seed);
        for _ in 0..2500 {
            pair.call(&random_command(&mut rng));
        }
        pair.compare_data();
        for key in 0..12 {
            pair.same(&format!("object encoding k{key}\nstrlen k{key}"));
        }
        pair.run("flushall");
    }
}

#[test]
fn the_operations_of_newer_servers_take_the_first_source_apart() {
    Server::start(Kind::Pando, &[]).script(
        r#"bitfield x set u16 0 61680 => [:0]
        bitfield y set u8 0 204 => [:0]
        bitfield z set u16 0 43521 => [:0]
        bitop diff d x y z => :2
        bitfield d get u16 0 => [:4336]
        bitop DIFF1 d x y z => :2
        bitfield d get u16 0 => [:3585]
        bitop andor d x y z => :2
        bitfield d get u16 0 => [:57344]
        bitop one d x y z => :2
        bitfield d get u16 0 => [:5873]
        bitop one d y => :1
        bitfield d get u8 0 => [:204]
        bitop diff d x => -ERR BITOP DIFF must be called with at least two source keys.
        bitop diff1 d x => -ERR BITOP DIFF1 must be called with at least two source keys.
        bitop andor d x => -ERR BITOP ANDOR must be called with at least two source keys.
        bitop diff d none other => :0
        exists d => :0"#,
    );
}

#[test]
fn key_events_are_those_of_stock() {
    let script = [
        "setbit a 7 1",
        "bitop not b a",
        "bitop or b none",
        "bitop or b none",
        "bitfield c set u8 0 1 set u8 8 1",
        "bitfield c get u8 0",
        "bitfield c overflow fail set u8 0 300",
        "bitfield a incrby i5 100 0",
        "setrange a 0 x",
    ];
    let script = script.map(words);
    let mut pair = Pair::new(Kind::Stock70, &["notify-keyspace-events KEA"]);
    pair.listen();
    script.iter().for_each(|command| drop(pair.call(command)));
    assert!(pair.compare_events(&script) > 10);
}

#[test]
fn what_changes_nothing_is_not_told_to_replicas() {
    let master = Server::start(Kind::Pando, &[]);
    let replica = Server::start(Kind::Stock70, &[&format!("replicaof 127.0.0.1 {}", master.port())]);
    wait_until("the replica follows", || replica.info("replication", "master_link_status") == "up");
    let mut c = master.client();
    c.run("setbit a 100 1");
    let offset = |s: &Server| s.info_int("replication", "master_repl_offset");
    wait_until("all is quiet", || offset(&master) == offset(&replica));
    c.check("setbit a 100 1", ":1");
    c.check("bitfield a get u8 0 set u8 0 0", "[:0 :0]");
    c.check("bitop and none none", ":0");
    let changes = master.info_int("persistence", "rdb_changes_since_last_save");
    assert_eq!(changes, 1);
    // A string that grew is told of, even if nothing was written into it.
    c.check("bitfield grown overflow fail set u8 80 256", "[$nil]");
    for line in ["setbit a 5 1", "bitop not b a", "bitfield c incrby i8 0 -3", "bitop xor d a b c"] {
        c.run(line);
    }
    wait_until("the replica has it all", || master.digest() == replica.digest());
}

#[test]
fn a_longer_limit_of_strings_is_a_longer_limit_of_bits() {
    Server::start(Kind::Pando, &["proto-max-bulk-len 1mb"]).script(
        r#"setbit a 8388607 1 => :0
        setbit a 8388608 1 => -ERR bit offset is not an integer or out of range
        getbit a 8388608 => -ERR bit offset is not an integer or out of range
        bitfield a get u8 8388608 => -ERR bit offset is not an integer or out of range
        bitfield a get u8 #1048576 => -ERR bit offset is not an integer or out of range
        setrange a 1048575 xx => -ERR string exceeds maximum allowed size (proto-max-bulk-len)
        append a x => -ERR string exceeds maximum allowed size (proto-max-bulk-len)
        config set proto-max-bulk-len 2mb => +OK
        setbit a 8388608 1 => :0
        strlen a => :1048577
        bitcount a => :2
        bitpos a 1 => :8388607
        bitpos a 0 1048576 => :8388609"#,
    );
}
