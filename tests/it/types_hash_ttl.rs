//! Hash fields that expire: the same calls to Pando and to Redis 8.0; what masters, replicas, files and events make of them.

use crate::harness::{Client, Ear, Kind, Reply, Server, converge, follow, wait_until, words};
use crate::pair::{Command, Pair};
use crate::random::Rng;

const KEYS: u64 = 6;
const SMALL: [&str; 2] = ["hash-max-listpack-entries 8", "hash-max-listpack-value 30"];

/// Fields with and without an expiry, which is never near: the two servers' clocks differ.
fn random_command(rng: &mut Rng) -> Command {
    let key = format!("k{}", rng.below(KEYS));
    let field = |rng: &mut Rng| match rng.below(12) {
        0 => "a-name-that-no-listpack-may-hold".to_owned(),
        1 => rng.below(5).to_string(),
        _ => format!("f{}", rng.below(9)),
    };
    let fields = |rng: &mut Rng| {
        let count = 1 + rng.below(3);
        let said = if rng.below(25) == 0 { rng.pick(&["0", "x", "9", "-1"]).to_string() } else { count.to_string() };
        let word = if rng.below(30) == 0 { "field" } else { rng.pick(&["fields", "FIELDS"]) };
        (0..count).fold(format!("{word} {said}"), |line, _| line + " " + &field(rng))
    };
    let pairs = |rng: &mut Rng| {
        let count = 1 + rng.below(3);
        let said = if rng.below(25) == 0 { rng.pick(&["0", "x", "9", "-1"]).to_string() } else { count.to_string() };
        (0..count).fold(format!("fields {said}"), |line, _| format!("{line} {} {}", field(rng), rng.below(500)))
    };
    let at_s = |rng: &mut Rng| (4_000_000_000 + rng.below(1000)).to_string();
    let at_ms = |rng: &mut Rng| (4_000_000_000_000 + rng.below(1_000_000)).to_string();
    let odd = |rng: &mut Rng| {
        rng.pick(&["0", "-1", "x", "70368744177663", "70368744177664", "9223372036854775807"]).to_string()
    };
    let condition = |rng: &mut Rng| rng.pick(&["", "", "", " nx", " XX", " gt", " LT", " zz"]);
    let one = field(rng);
    words(&match rng.below(34) {
        0..=2 => format!("hset {key} {} {} {} {}", field(rng), rng.below(99), field(rng), rng.below(99)),
        3 => format!("hdel {key} {one}"),
        4 => format!("hincrby {key} {one} 1"),
        5 => format!("hincrbyfloat {key} {one} 0.5"),
        6 => format!("hsetnx {key} {one} 7"),
        7..=9 => format!("hpexpireat {key} {}{} {}", at_ms(rng), condition(rng), fields(rng)),
        10 | 11 => format!("hexpireat {key} {}{} {}", at_s(rng), condition(rng), fields(rng)),
        12 => format!(
            "{} {key} {}{} {}",
            rng.pick(&["hexpireat", "hpexpireat", "hexpire", "hpexpire"]),
            odd(rng),
            condition(rng),
            fields(rng)
        ),
        13 | 14 => format!("{} {key} {}", rng.pick(&["hexpiretime", "hpexpiretime"]), fields(rng)),
        15 | 16 => format!("hpersist {key} {}", fields(rng)),
        17 | 18 => format!("hgetex {key} {}{}", rng.pick(&["", "persist ", "px ", "keepttl ", "exat x "]), fields(rng)),
        19 => format!("hgetex {key} {} {} {}", rng.pick(&["pxat", "PXAT"]), at_ms(rng), fields(rng)),
        20 => format!("hgetex {key} {} {} {}", rng.pick(&["exat", "pxat", "ex", "px"]), odd(rng), fields(rng)),
        21 | 22 => format!("hgetdel {key} {}", fields(rng)),
        23 | 24 => format!(
            "hsetex {key} {}{}",
            rng.pick(&["", "fnx ", "FXX ", "keepttl ", "fnx keepttl ", "fnx fxx ", "q "]),
            pairs(rng)
        ),
        25 | 26 => format!("hsetex {key} {}pxat {} {}", rng.pick(&["", "fnx ", "fxx "]), at_ms(rng), pairs(rng)),
        27 => format!(
            "hsetex {key} {} {} {}{}",
            rng.pick(&["exat", "pxat", "ex", "px"]),
            odd(rng),
            rng.pick(&["", "keepttl "]),
            pairs(rng)
        ),
        28 => format!("hmget {key} {one} {}", field(rng)),
        29 => format!("hlen {key}"),
        30 => rng
            .pick(&["copy K L", "rename K L", "del K", "object encoding K", "copy K L replace"])
            .replace('K', &key)
            .replace('L', &format!("k{}", rng.below(KEYS))),
        31 => rng
            .pick(&[
                "hexpire s 1 fields 1 f",
                "httl s fields 1 f",
                "hgetex s fields 1 f",
                "hgetdel s x",
                "hsetex s x",
                "hpersist s fields 0 f",
                "hexpire s x fields 1 f",
                "hgetdel s fields 1 f",
            ])
            .to_owned(),
        32 => format!(
            "{} {key} {}",
            rng.pick(&["httl", "hpttl"]),
            rng.pick(&["fields 1 nothing", "fields 0 x", "f 1 x", "fields 1 f1 f2"])
        ),
        _ => format!("hstrlen {key} {one}"),
    })
}

/// The keys, their forms, and all fields with their values and expiries.
fn content(client: &mut Client) -> Vec<String> {
    let mut all = Vec::new();
    for key in (0..KEYS).map(|n| format!("k{n}")) {
        let mut fields: Vec<String> = client.call(&["hkeys", &key]).items().iter().map(Reply::text).collect();
        fields.sort();
        for field in &fields {
            let value = client.call(&["hget", &key, field]);
            let at = client.call(&["hpexpiretime", &key, "fields", "1", field]);
            all.push(format!("{key} {field} {value} {at}"));
        }
    }
    all
}

#[test]
fn fields_expire_as_in_redis_8() {
    if !Kind::Redis80.available() {
        return;
    }
    let mut pair = Pair::new(Kind::Redis80, &SMALL);
    for seed in 1..=4 {
        pair.at(format!("seed {seed}"));
        let mut rng = Rng::new(seed);
        pair.run("set s text");
        for part in 0..6 {
            for _ in 0..400 {
                let command = random_command(&mut rng);
                pair.call(&command);
                if let Some(key) = command.get(1) {
                    pair.call(&[b"OBJECT", &b"ENCODING"[..], key]);
                }
            }
            assert_eq!(content(&mut pair.a), content(&mut pair.b), "seed {seed}, part {part}");
            pair.compare_data();
        }
        for key in (0..KEYS).map(|n| format!("k{n}")) {
            pair.exchange_exactly(&key);
        }
        pair.run("flushall");
    }
}

#[test]
fn expiries_go_to_replicas_and_come_from_masters() {
    let mut pairs = vec![[Kind::Pando, Kind::Pando]];
    if Kind::Redis80.available() {
        pairs.extend([[Kind::Pando, Kind::Redis80], [Kind::Redis80, Kind::Pando]]);
    }
    for kinds in pairs {
        let (master, replica) = (Server::start(kinds[0], &SMALL), Server::start(kinds[1], &SMALL));
        let mut rng = Rng::new(5);
        let mut random = |server: &Server, count: usize| {
            let mut client = server.client();
            (0..count).for_each(|_| drop(client.call(&random_command(&mut rng))));
        };
        random(&master, 500);
        follow(&replica, &master);
        random(&master, 1500);
        converge(&[&master, &replica]);
        assert_eq!(content(&mut master.client()), content(&mut replica.client()), "{kinds:?}");
        replica.check("replicaof no one", "+OK");
        random(&replica, 200);
        follow(&master, &replica);
        random(&replica, 200);
        converge(&[&replica, &master]);
        assert_eq!(content(&mut master.client()), content(&mut replica.client()), "{kinds:?}");
    }
}

#[test]
fn a_replica_hides_a_field_until_its_master_takes_it() {
    let (master, replica) = (Server::start(Kind::Pando, &[]), Server::start(Kind::Pando, &[]));
    follow(&replica, &master);
    master.script(
        r#"debug set-active-expire 0 => +OK
        hset h a 1 b 2 c 3 => :3
        hpexpire h 1 fields 2 a b => [:1 :1]
        hset one f v => :1
        hpexpire one 1 fields 1 f => [:1]"#,
    );
    wait_until("the replica hides them", || replica.run("hgetall h").to_string() == "[$c $3]");
    wait_until("and the other", || replica.run("hgetall one").to_string() == "[]");
    replica.script(
        r#"hmget h a b c => [$nil $nil $3]
        hlen h => :3
        httl h fields 2 a c => [:-2 :-1]
        exists one => :1
        hexists one f => :0
        hrandfield h 5 => [$c]
        hscan h 0 => [$0 [$c $3]]"#,
    );
    assert_eq!(master.info_int("stats", "expired_subkeys"), 0);
    master.script(
        r#"hgetall h => [$c $3]
        hlen h => :3
        hget h a => $nil
        hlen h => :2
        hgetall one => []
        exists one => :1
        hexists one f => :0
        exists one => :0
        hset h a 7 => :1
        hset h b 8 => :0"#,
    );
    assert_eq!(master.info_int("stats", "expired_subkeys"), 2);
    converge(&[&master, &replica]);
    replica.script("hmget h a b c => [$7 $8 $3]\nexists one => :0");
    assert_eq!(replica.info_int("stats", "expired_subkeys"), 0);
}

#[test]
fn the_cycle_takes_fields_nobody_asks_for_and_tells_of_it() {
    let server = Server::start(Kind::Pando, &["notify-keyspace-events Egh", "hash-max-listpack-entries 8"]);
    let mut client = server.client();
    let mut ear = Ear::of(&server);
    // Large and small, and more at once than go in one step.
    let pairs: Vec<String> = (0..2000).map(|i| format!("f{i} v")).collect();
    client.run(&format!("hset large {}", pairs.join(" ")));
    let due: Vec<String> = (1..2000).map(|i| format!("f{i}")).collect();
    client.check("debug set-active-expire 0", "+OK");
    client.run(&format!("hpexpire large 20 fields 1999 {}", due.join(" ")));
    client.run("hset small a 1 b 2");
    client.run("hpexpire small 20 fields 2 a b");
    client.run("hpexpireat large 4000000000000 fields 1 f0");
    assert!(server.info("keyspace", "db0").ends_with("subexpiry=2"));
    client.check("debug set-active-expire 1", "+OK");
    wait_until("all are gone", || server.info_int("stats", "expired_subkeys") == 2001);
    client.script("hlen large => :1\nexists small => :0\nhpexpiretime large fields 1 f0 => [:4000000000000]");
    assert!(server.info("keyspace", "db0").ends_with("subexpiry=1"));
    client.run("hpersist large fields 1 f0");
    assert!(!server.info("keyspace", "db0").contains("subexpiry"));
    let told = ear.heard(&mut client);
    let count = |what: &str| told.iter().filter(|event| event.contains(what)).count();
    assert!(count(":hexpired") >= 2 && count(":del $small") == 1, "{told:?}");
}

#[test]
fn valkey_takes_expiries_in_its_own_format_and_gives_them() {
    if !Kind::Valkey91.available() {
        return;
    }
    let fill = |server: &Server, prefix: &str| {
        let mut client = server.client();
        for n in 0..KEYS {
            client.run(&format!("hset k{n} {prefix}a 1 {prefix}b 2 {prefix}c 3"));
            client.run(&format!("hpexpireat k{n} {} fields 2 {prefix}a {prefix}c", 4_000_000_000_000 + n));
        }
        let many: Vec<String> = (0..40).map(|i| format!("{prefix}{i} v")).collect();
        client.run(&format!("hset k0 {}", many.join(" ")));
        client.run(&format!("hexpireat k0 4000000000 fields 1 {prefix}7"));
    };
    for kinds in [[Kind::Pando, Kind::Valkey91], [Kind::Valkey91, Kind::Pando]] {
        let (master, replica) = (Server::start(kinds[0], &[]), Server::start(kinds[1], &[]));
        fill(&master, "f");
        follow(&replica, &master);
        let same = || content(&mut master.client()) == content(&mut replica.client());
        wait_until("the snapshot is there", same);
        fill(&master, "g");
        master.run("hgetex k1 persist fields 1 ga");
        master.run("hsetex k2 fxx pxat 4000000000777 fields 1 gb 9");
        master.run("hpexpire k3 1 fields 1 ga");
        wait_until("the stream is there", || master.run("hexists k3 ga").int() == 0 && same());
        assert_eq!(content(&mut replica.client()).len() as u64, 6 * KEYS - 1 + 80);
    }
}

#[test]
fn a_replica_that_cannot_hold_expiries_is_told_so() {
    let server = Server::start(Kind::Pando, &[]);
    server.script("hset h a 1 b 2 => :2\nhexpire h 1000 fields 1 a => [:1]");
    let mut replica = server.client();
    replica.check("replconf version 8.1.4", "+OK");
    replica.check("psync ? -1", "-ERR there are hash fields that expire, which Valkey before 9.0 cannot hold");
    server.script("hpersist h fields 1 a => [:1]");
    let answer = replica.psync();
    assert!(answer.starts_with("+FULLRESYNC"), "{answer}");
}

#[test]
fn the_format_of_valkey_may_be_wished_for() {
    let mut server = Server::start(Kind::Pando, &["rdb-version 80", "hash-max-listpack-entries 8"]);
    server.run(&format!("hset large {}", (0..20).map(|i| format!("f{i} v ")).collect::<String>().trim()));
    server.script(
        r#"hset small a 1 b 2 => :2
        hpexpireat small 4000000000123 fields 1 b => [:1]
        hpexpireat large 4000000000456 fields 2 f3 f4 => [:1 :1]
        save => +OK"#,
    );
    assert!(std::fs::read(server.path("dump.rdb")).unwrap().starts_with(b"VALKEY080"));
    let before = server.digest();
    server.restart();
    assert_eq!(server.digest(), before);
    server.check("hpexpiretime small fields 2 a b", "[:-1 :4000000000123]");
}

#[test]
fn expiries_of_fields_tell_the_stock_events() {
    if !Kind::Redis80.available() {
        return;
    }
    let commands = [
        "hset h a 1 b 2 c 3 d 4 e 5",
        "hexpire h 100 fields 3 a b x",
        "hpexpire h 100000 nx fields 2 a c",
        "hexpire h 0 fields 2 a b",
        "hpersist h fields 2 c d",
        "hpersist h fields 1 d",
        "hgetex h ex 100 fields 2 c x",
        "hgetex h persist fields 2 c x",
        "hgetex h persist fields 2 c x",
        "hgetex h fields 1 c",
        "hgetex h pxat 1 fields 2 c x",
        "hgetex h ex 0 fields 3 d e x",
        "hsetex h ex 100 fields 2 a 1 b 2",
        "hsetex h keepttl fields 1 a 3",
        "hsetex h fxx px 100000 fields 1 a 3",
        "hsetex h pxat 1 fields 1 a 3",
        "hsetex h fnx fields 1 q 3",
        "hsetex h fnx fields 1 q 3",
        "hgetdel h fields 3 a q x",
        "hgetdel h fields 1 b",
        "hsetex n pxat 1 fields 2 a 1 b 2",
        "hset n c 1 a 1",
        "hsetex n pxat 1 fields 2 a 1 b 2",
        "hsetex n pxat 1 fields 1 c 1",
    ];
    let commands = commands.map(words);
    let mut pair = Pair::new(Kind::Redis80, &["notify-keyspace-events KEA"]);
    pair.listen();
    commands.iter().for_each(|command| drop(pair.call(command)));
    assert!(pair.compare_events(&commands) > 20);
}

#[test]
fn files_are_of_a_later_version_only_where_fields_expire() {
    let mut server = Server::start(Kind::Pando, &["hash-max-listpack-entries 8"]);
    let version = |server: &Server| {
        server.check("save", "+OK");
        String::from_utf8_lossy(&std::fs::read(server.path("dump.rdb")).unwrap()[..9]).into_owned()
    };
    server.run("hset plain a 1");
    assert_eq!(version(&server), "REDIS0010");
    server.run("hset small a 1 b 2");
    server.run(&format!("hset large {}", (0..20).map(|i| format!("f{i} v ")).collect::<String>().trim()));
    server.check("hpexpireat small 4000000000123 fields 1 b", "[:1]");
    server.check("hpexpireat large 4000000000456 fields 2 f3 f4", "[:1 :1]");
    assert_eq!(version(&server), "REDIS0012");
    assert!(server.log_has("hash fields that expire"));
    let before = server.digest();
    server.restart();
    assert_eq!(server.digest(), before);
    server.script(
        r#"object encoding small => $listpackex
        object encoding large => $hashtable
        hpexpiretime small fields 2 a b => [:-1 :4000000000123]
        hpexpiretime large fields 3 f2 f3 f4 => [:-1 :4000000000456 :4000000000456]
        debug reload => +OK
        hpexpiretime small fields 2 a b => [:-1 :4000000000123]
        hpersist small fields 1 b => [:1]
        del large => :1"#,
    );
    assert_eq!(version(&server), "REDIS0010");
    server.restart();
    server.script("object encoding small => $listpack\nhgetall small => [$a $1 $b $2]");
}

#[test]
fn conditions_on_the_key_are_those_of_valkey() {
    Server::start(Kind::Pando, &[]).script(
        r#"hsetex h xx fields 1 a 1 => :0
        exists h => :0
        hsetex h nx fields 1 a 1 => :1
        hsetex h nx fields 1 a 2 => :0
        hsetex h xx fnx ex 100 fields 1 b 2 => :1
        hsetex h nx xx fields 1 b 2 => -ERR syntax error
        hgetall h => [$b $2 $a $1]
        httl h fields 2 a b => [:-1 :100]"#,
    );
}
