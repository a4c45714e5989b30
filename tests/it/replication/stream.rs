//! The replication stream itself, word for word as stock servers write it.

use crate::harness::{Client, Kind, Server};

/// Attaches as the oldest kind of replica does, and skips the snapshot.
fn attach(s: &Server) -> Client {
    let mut c = s.client();
    c.send_raw(b"SYNC\r\n");
    let size = loop {
        let line = c.read_line().expect("a line");
        if let Some(size) = line.strip_prefix('$') {
            break size.parse().expect("a size");
        }
        assert!(line.is_empty(), "a line feed keeps the link alive until the snapshot comes, not {line:?}");
    };
    c.read_exact(size).expect("the snapshot");
    c
}

/// What a server sends its replicas for these commands, each request as one line; absolute times become `<ms>`.
fn stream_of(kind: Kind, commands: &[&str]) -> Vec<String> {
    let s = Server::start(kind, &["repl-diskless-sync no", "repl-ping-replica-period 3600"]);
    let mut wire = attach(&s);
    let mut c = s.client();
    for command in commands {
        c.run(command);
    }
    c.check("set the-end 1", "+OK");
    let mut seen = Vec::new();
    loop {
        let mut words: Vec<String> = wire.read().items().iter().map(|word| word.text()).collect();
        words[0].make_ascii_uppercase();
        let line: Vec<String> = words
            .iter()
            .map(|w| if w.len() == 13 && w.bytes().all(|b| b.is_ascii_digit()) { "<ms>".into() } else { w.clone() })
            .collect();
        let line = line.join(" ");
        if line.contains("the-end") {
            return seen;
        }
        if line != "PING" {
            seen.push(line);
        }
    }
}

/// 7.0 names the database before a transaction, and every later version within it, as the first thing.
fn as_since_7_2(mut stream: Vec<String>) -> Vec<String> {
    for at in 1..stream.len() {
        if stream[at] == "MULTI" && stream[at - 1].starts_with("SELECT ") {
            stream.swap(at - 1, at);
        }
    }
    stream
}

/// Pando's stream equals stock's in every word; a command's name may be written large or small.
fn same(commands: &[&str]) {
    let pando = stream_of(Kind::Pando, commands);
    // With a stock server in Pando's place this is 7.0's order as well.
    let pando = if Kind::stock_stands_in() { as_since_7_2(pando) } else { pando };
    assert_eq!(pando, as_since_7_2(stream_of(Kind::Stock70, commands)));
}

#[test]
fn lifetimes_become_absolute() {
    same(&[
        "set a 1 ex 100",
        "SET a 1 PX 100000",
        "set a 1 exat 33177117420",
        "set a 2 keepttl",
        "setex b 100 x",
        "psetex b 100000 x",
        "expire a 100",
        "pexpire a 100000",
        "expireat a 33177117420",
        "pexpireat a 33177117420000",
        "expire a 50 gt",
        "getex a ex 100",
        "getex a persist",
        "getex a",
        "persist b",
        "expire b -1",
        "set c 1 px 100000 nx get",
        "set c 1 xx get",
    ]);
}

#[test]
fn what_expired_is_unlinked_where_the_directive_says_so() {
    for lazy in ["config set lazyfree-lazy-expire yes", "config set lazyfree-lazy-expire no"] {
        same(&[
            lazy,
            "debug set-active-expire 0",
            "set a 1 px 1",
            "debug sleep 0.02",
            "get a",
            "set a 2 px 1",
            "debug sleep 0.02",
            "set a 3",
        ]);
    }
}

#[test]
fn what_has_no_time_left_is_unlinked_where_a_directive_says_so() {
    for lazy in ["yes", "no"] {
        same(&[
            &format!("config set lazyfree-lazy-expire {lazy}"),
            "set a 1",
            "expire a -1",
            "sadd a x",
            "pexpireat a 1",
            "set a 1",
            "getex a exat 1",
        ]);
    }
}

/// Stock servers older than the condition follow as well.
#[test]
fn what_was_compared_is_sent_as_if_it_had_not_been() {
    let commands = [
        "set a 1",
        "set a 2 ifeq 1",
        "set a 2 ifeq 1",
        "set a 3 ifne 2 get",
        "set a 3 ifne 1 keepttl get",
        "set a 4 ifeq 3 px 100000",
        "delex a ifne 4",
        "delex a ifeq 4",
        "delex a",
    ];
    let told = ["SELECT 0", "SET a 1", "SET a 2", "SET a 3 KEEPTTL", "SET a 4 PXAT <ms>", "DEL a"];
    assert_eq!(stream_of(Kind::Pando, &commands), told);
}

/// As Redis 8.0 does it.
#[test]
fn fields_that_have_no_time_left_go_one_by_one() {
    let commands = [
        "hset h a 1 b 2 c 3 d 4 e 5",
        "hexpireat h 1 fields 2 a b",
        "hpexpireat h 1 fields 2 a c",
        "hgetex h pxat 1 fields 2 d x",
        "hsetex h pxat 1 fields 2 e 5 f 5",
    ];
    let mut told = vec!["SELECT 0", "HSET h a 1 b 2 c 3 d 4 e 5", "MULTI", "HDEL h a", "HDEL h b", "EXEC"];
    told.extend(["HDEL h c", "HDEL h d", "MULTI", "HDEL h e", "HDEL h f", "EXEC"]);
    for kind in [Kind::Pando, Kind::Redis80] {
        if kind.available() {
            let stream: Vec<String> =
                stream_of(kind, &commands).iter().map(|line| line.replace("hset", "HSET")).collect();
            assert_eq!(stream, told, "{kind:?}");
        }
    }
}

#[test]
fn what_changed_nothing_is_not_sent() {
    same(&[
        "get a",
        "del none",
        "setnx a 1",
        "setnx a 2",
        "set a 3 nx",
        "append a 1",
        "expire none 1",
        "persist a",
        "copy a b",
        "copy a b",
        "touch a",
        "getdel none",
        "set a 5 xx",
    ]);
}

#[test]
fn results_that_depend_on_rounding_are_sent_as_values() {
    same(&[
        "incrbyfloat f 1.1",
        "incrbyfloat f 2.2e5",
        "incr n",
        "decrby n 5",
        "setrange s 3 abc",
        "getset s new",
        "getdel s",
        "mset a 1 b 2",
        "msetnx c 1 d 2",
    ]);
}

#[test]
fn a_transaction_names_its_database_within() {
    let commands =
        ["select 3", "multi", "set a 1", "select 4", "set b 1", "exec", "select 3", "mset c 1 d 2", "set b 2"];
    let stream = ["MULTI", "SELECT 3", "SET a 1", "SELECT 4", "SET b 1", "EXEC", "SELECT 3", "MSET c 1 d 2", "SET b 2"];
    if !Kind::stock_stands_in() {
        assert_eq!(stream_of(Kind::Pando, &commands), stream);
    }
    for kind in [Kind::Redis80, Kind::Valkey91] {
        if kind.available() {
            assert_eq!(stream_of(kind, &commands), stream, "{kind:?}");
        }
    }
}

#[test]
fn transactions_are_sent_whole_and_databases_are_named() {
    same(&[
        "multi",
        "set a 1",
        "get a",
        "incr a",
        "exec",
        "multi",
        "get a",
        "exec",
        "multi",
        "set x 1",
        "exec",
        "select 3",
        "set b 1",
        "set c 2",
        "move b 4",
        "select 4",
        "rename b z",
        "swapdb 3 4",
        "flushdb",
        "copy c d db 1 replace",
        "unlink z",
        "multi",
        "select 7",
        "set q 1",
        "exec",
        "set r 1",
        "flushall async",
        "flushall",
        "publish ch hi",
        "spublish ch hi",
    ]);
}

#[test]
fn sets_leave_no_choice_to_replicas() {
    same(&[
        "sadd a 1 2 3",
        "sadd a 1",
        "srem a 9",
        "srem a 1 9",
        "sadd one x",
        "spop one",
        "sadd two x y",
        "spop two 2",
        "spop two",
        "sadd two x y",
        "spop two 0",
        "smove a two 2",
        "smove a two 9",
        "smove a a 3",
        "sunionstore u a two",
        "sinterstore i a two",
        "sinterstore u a two",
        "sdiffstore d a two",
        "sdiffstore d none",
        "sdiffstore d none",
        "srem a 3",
    ]);
}

/// Since 7.2.
#[test]
fn what_a_restore_without_time_left_took_away_is_unlinked_where_such_things_are_lazy() {
    for (lazy, told) in [("yes", "UNLINK a"), ("no", "DEL a")] {
        let lazy = format!("config set lazyfree-lazy-server-del {lazy}");
        let restore = r#"restore a 1 "\x00\xc0\x01\x0a\x00\x26\x78\xe7\xb6\xd1\x01\x11\xfc" replace absttl"#;
        assert_eq!(stream_of(Kind::Pando, &[&lazy, "set a 1", restore])[1..], ["SET a 1", told]);
    }
}

/// Since 7.2.
#[test]
fn a_set_that_is_popped_empty_is_unlinked_where_such_things_are_lazy() {
    let commands = ["config set lazyfree-lazy-server-del yes", "sadd a x y", "spop a 2", "sadd a x", "spop a"];
    assert_eq!(stream_of(Kind::Pando, &commands)[1..], ["SADD a x y", "UNLINK a", "SADD a x", "SREM a x"]);
}
