//! Commands as a client sees them, reply types included, in RESP2 and RESP3.

use std::fmt::Write as _;

use crate::harness::{Kind, Reply, Server, wait_until};

fn start() -> Server {
    Server::start(Kind::Pando, &[])
}

#[test]
fn strings_are_written_read_and_counted() {
    start().script(
        r#"set a 1 => +OK
        get a => $1
        get none => $nil
        set a 2 nx => $nil
        set b 2 xx => $nil
        set a 3 get => $1
        set b 5 nx get => $nil
        set a 4 keepttl => +OK
        setnx a 9 => :0
        getset a 5 => $4
        getdel a => $5
        getdel a => $nil
        append a ab => :2
        append a cd => :4
        strlen a => :4
        getrange a 1 2 => $bc
        getrange a -2 -1 => $cd
        substr a 0 0 => $a
        setrange a 6 z => :7
        get a => $abcd\x00\x00z
        mset x 1 y 2 => +OK
        mget x y none => [$1 $2 $nil]
        msetnx x 1 q 2 => :0
        msetnx p 1 q 2 => :1
        incr n => :1
        incrby n 41 => :42
        decr n => :41
        decrby n 50 => :-9
        incrbyfloat f 1.5 => $1.5
        incrbyfloat f -0.25 => $1.25
        lcs one two => $
        mset one ohmytext two mynewtext => +OK
        lcs one two => $mytext
        lcs one two len => :6"#,
    );
}

#[test]
fn wrong_words_are_refused_in_stock_words() {
    start().script(
        r#"nosuch a b => -ERR unknown command 'nosuch', with args beginning with: 'a' 'b'
        get => -ERR wrong number of arguments for 'get' command
        set a => -ERR wrong number of arguments for 'set' command
        set a 1 ex => -ERR syntax error
        set a 1 ex 0 => -ERR invalid expire time in 'set' command
        set a 1 ex no => -ERR value is not an integer or out of range
        set a 1 nx xx => -ERR syntax error
        set a text => +OK
        incr a => -ERR value is not an integer or out of range
        incrbyfloat a 1 => -ERR value is not a valid float
        set n 9223372036854775807 => +OK
        incr n => -ERR increment or decrement would overflow
        decrby n -9223372036854775808 => -ERR decrement would overflow
        setrange a -1 x => -ERR offset is out of range
        setrange a 600000000 x => -ERR string exceeds maximum allowed size (proto-max-bulk-len)
        expire a => -ERR wrong number of arguments for 'expire' command
        rename none b => -ERR no such key
        object help extra => -ERR wrong number of arguments for 'object|help' command
        object nosuch => -ERR unknown subcommand 'nosuch'. Try OBJECT HELP.
        select 99 => -ERR DB index is out of range
        select a => -ERR value is not an integer or out of range"#,
    );
}

#[test]
fn keys_are_renamed_copied_moved_and_dropped() {
    start().script(
        r#"mset a 1 b 2 c 3 => +OK
        exists a b none a => :3
        type a => +string
        type none => +none
        rename a z => +OK
        renamenx z b => :0
        renamenx z y => :1
        copy y w => :1
        copy y w => :0
        copy y w replace => :1
        copy y v db 3 => :1
        move w 3 => :1
        move w 3 => :0
        select 3 => +OK
        mget v w => [$1 $1]
        dbsize => :2
        swapdb 0 3 => +OK
        dbsize => :3
        select 0 => +OK
        exists v w => :2
        touch v none => :1
        unlink v none => :1
        del w => :1
        dbsize => :0
        randomkey => $nil
        select 3 => +OK
        flushdb => +OK
        flushall async => +OK"#,
    );
}

#[test]
fn keys_answers_to_globs() {
    let s = start();
    s.check("mset one 1 two 2 three 3 four 4 t[x 5", "+OK");
    let sorted = |pattern: &str| -> String {
        let mut found: Vec<String> = s.run(&format!("keys {pattern}")).items().iter().map(Reply::text).collect();
        found.sort();
        found.join(" ")
    };
    assert_eq!(sorted("*"), "four one t[x three two");
    assert_eq!(sorted("t*"), "t[x three two");
    assert_eq!(sorted("?[nw]?"), "one two");
    assert_eq!(sorted("t[^h]*"), "t[x two");
    assert_eq!(sorted("t\\[x"), "t[x");
    assert_eq!(sorted("[a-g]*"), "four");
}

#[test]
fn scan_visits_every_key_exactly_as_often_as_promised() {
    let s = start();
    let mut c = s.client();
    let keys = 3000;
    for i in 0..keys {
        c.send(&["SET", &format!("key:{i}"), "x"]);
    }
    for _ in 0..keys {
        c.read();
    }
    let walk = |options: &str| -> Vec<String> {
        let mut c = s.client();
        let (mut cursor, mut seen) = ("0".to_owned(), Vec::new());
        loop {
            let reply = c.run(&format!("scan {cursor} {options}"));
            let [next, found] = reply.items() else { panic!("SCAN said {reply}") };
            seen.extend(found.items().iter().map(Reply::text));
            cursor = next.text();
            if cursor == "0" {
                seen.sort();
                seen.dedup();
                return seen;
            }
        }
    };
    assert_eq!(walk("").len(), keys);
    assert_eq!(walk("count 500").len(), keys);
    assert_eq!(walk("match key:1?? count 100").len(), 100);
    assert_eq!(walk("type string count 1000").len(), keys);
    assert_eq!(walk("type list count 1000").len(), 0);
    s.check("scan 0 count 0", "-ERR syntax error");
    s.check("scan x", "-ERR invalid cursor");
}

#[test]
fn lifetimes_are_set_told_and_taken_away() {
    let s = start();
    s.script(
        r#"set a 1 ex 100 => +OK
        ttl a => :100
        persist a => :1
        persist a => :0
        ttl a => :-1
        ttl none => :-2
        pttl none => :-2
        expire none 10 => :0
        expire a 100 => :1
        expire a 50 gt => :0
        expire a 500 lt => :0
        expire a 200 gt => :1
        expire a 100 nx => :0
        expire a 100 xx => :1
        expire a 100 xx nx => -ERR NX and XX, GT or LT options at the same time are not compatible
        expireat a 33177117420 => :1
        expiretime a => :33177117420
        pexpiretime a => :33177117420000
        pexpireat a 33177117421001 => :1
        pexpiretime a => :33177117421001
        expiretime none => :-2
        set a 2 keepttl => +OK
        expiretime a => :33177117421
        set a 2 => +OK
        expiretime a => :-1
        getex a exat 33177117420 => $2
        expiretime a => :33177117420
        getex a persist => $2
        ttl a => :-1
        set b 1 pxat 33177117420000 => +OK
        append b 1 => :2
        expiretime b => :33177117420
        rename b c => +OK
        expiretime c => :33177117420
        expire c -1 => :1
        exists c => :0
        setex a 0 x => -ERR invalid expire time in 'setex' command
        psetex a 100000 x => +OK
        expire a 9223372036854775807 => -ERR invalid expire time in 'expire' command"#,
    );
    s.check("set short 1 px 20", "+OK");
    wait_until("the key is gone for readers", || s.run("get short") == Reply::NilBulk);
    s.check("set short 1 px 20", "+OK");
    s.check("persist none", ":0");
    wait_until("the active cycle takes a key nobody asks for", || s.info_int("stats", "expired_keys") == 2);
}

#[test]
fn encodings_have_their_stock_names() {
    start().script(
        r#"set a 12345 => +OK
        object encoding a => $int
        set a short => +OK
        object encoding a => $embstr
        append a er => :7
        object encoding a => $raw
        set a 00000000000000000000000000000000000000000000 => +OK
        object encoding a => $embstr
        set a 000000000000000000000000000000000000000000000 => +OK
        object encoding a => $raw
        set a 9223372036854775808 => +OK
        object encoding a => $embstr
        object encoding none => $nil
        object refcount a => :1
        object idletime a => :0"#,
    );
}

#[test]
fn dump_and_restore_carry_a_value_and_its_lifetime() {
    let s = start();
    let mut c = s.client();
    c.check("set a hello", "+OK");
    let Reply::Bulk(blob) = c.run("dump a") else { panic!("DUMP gives a bulk") };
    assert_eq!(c.call(&[b"RESTORE", &b"b"[..], b"0", &blob]).to_string(), "+OK");
    assert_eq!(c.call(&[b"RESTORE", &b"b"[..], b"0", &blob]).to_string(), "-BUSYKEY Target key name already exists.");
    assert_eq!(c.call(&[b"RESTORE", &b"b"[..], b"5000000", &blob, b"REPLACE"]).to_string(), "+OK");
    c.check("get b", "$hello");
    assert!(c.run("pttl b").int() > 4_000_000);
    assert_eq!(c.call(&[b"RESTORE", &b"c"[..], b"33177117420000", &blob, b"ABSTTL"]).to_string(), "+OK");
    c.check("expiretime c", ":33177117420");
    let mut broken = blob.clone();
    broken[1] ^= 1;
    let refused = c.call(&[b"RESTORE", &b"d"[..], b"0", &broken]).to_string();
    assert_eq!(refused, "-ERR DUMP payload version or checksum are wrong");
    c.check("dump none", "$nil");
}

#[test]
fn a_transaction_runs_whole_or_not_at_all() {
    let s = start();
    s.script(
        r#"multi => +OK
        set a 1 => +QUEUED
        incr a => +QUEUED
        get a => +QUEUED
        exec => [+OK :2 $2]
        exec => -ERR EXEC without MULTI
        discard => -ERR DISCARD without MULTI
        multi => +OK
        multi => -ERR MULTI calls can not be nested
        discard => +OK
        multi => +OK
        set a => -ERR wrong number of arguments for 'set' command
        exec => -EXECABORT Transaction discarded because of previous errors.
        set a text => +OK
        multi => +OK
        incr a => +QUEUED
        set b 1 => +QUEUED
        exec => [-ERR value is not an integer or out of range +OK]
        get b => $1
        multi => +OK
        exec => []
        multi => +OK
        watch a => -ERR WATCH inside MULTI is not allowed
        discard => +OK"#,
    );
}

#[test]
fn a_watched_key_that_changes_stops_the_transaction() {
    let s = start();
    let (mut c, mut other) = (s.client(), s.client());
    let mut attempt = |change: &str, expect: &str| {
        c.check("set a 1", "+OK");
        c.check("watch a", "+OK");
        other.run(change);
        c.check("multi", "+OK");
        c.check("get a", "+QUEUED");
        c.check("exec", expect);
    };
    attempt("set a 2", "*nil");
    attempt("set b 2", "[$1]");
    attempt("del a", "*nil");
    attempt("expire a 100", "*nil");
    attempt("flushall", "*nil");
    attempt("swapdb 0 1", "*nil");
    attempt("swapdb 2 3", "[$1]");
    c.check("watch a", "+OK");
    other.run("set a 5");
    c.check("unwatch", "+OK");
    c.check("multi", "+OK");
    c.check("ping", "+QUEUED");
    c.check("exec", "[+PONG]");
}

#[test]
fn messages_reach_channel_and_pattern_subscribers() {
    let s = start();
    let (mut a, mut p, mut publisher) = (s.client(), s.client(), s.client());
    a.check("subscribe one two", "[$subscribe $one :1]");
    assert_eq!(a.read().to_string(), "[$subscribe $two :2]");
    p.check("psubscribe o*", "[$psubscribe $o* :1]");
    publisher.check("publish one hello", ":2");
    assert_eq!(a.read().to_string(), "[$message $one $hello]");
    assert_eq!(p.read().to_string(), "[$pmessage $o* $one $hello]");
    publisher.check("publish none hello", ":0");
    let mut names: Vec<String> = publisher.run("pubsub channels").items().iter().map(Reply::text).collect();
    names.sort();
    assert_eq!(names, ["one", "two"]);
    publisher.check("pubsub numsub one none", "[$one :1 $none :0]");
    publisher.check("pubsub numpat", ":1");
    a.check("ping", "[$pong $]");
    a.check("ping x", "[$pong $x]");
    a.check(
        "get a",
        "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
    );
    a.check("unsubscribe one", "[$unsubscribe $one :1]");
    a.check("unsubscribe", "[$unsubscribe $two :0]");
    a.check("unsubscribe", "[$unsubscribe $nil :0]");
    a.check("get a", "$nil");
    p.check("reset", "+RESET");
    p.check("get a", "$nil");
}

#[test]
fn sharded_channels_are_a_world_of_their_own() {
    let s = start();
    let (mut a, mut publisher) = (s.client(), s.client());
    a.check("ssubscribe one", "[$ssubscribe $one :1]");
    publisher.check("publish one hello", ":0");
    publisher.check("spublish one hello", ":1");
    assert_eq!(a.read().to_string(), "[$smessage $one $hello]");
    publisher.check("pubsub shardchannels", "[$one]");
    publisher.check("pubsub shardnumsub one", "[$one :1]");
    a.check("sunsubscribe one", "[$sunsubscribe $one :0]");
}

#[test]
fn resp3_shows_maps_nulls_and_pushes() {
    let s = start();
    let mut c = s.client();
    let Reply::Map(hello) = c.run("hello 3") else { panic!("HELLO 3 answers with a map") };
    let field = |name: &str| hello.iter().find(|(k, _)| k.text() == name).map(|(_, v)| v.to_string());
    assert_eq!(field("server").as_deref(), Some("$redis"));
    assert_eq!(field("proto").as_deref(), Some(":3"));
    assert_eq!(field("role").as_deref(), Some("$master"));
    assert_eq!(field("modules").as_deref(), Some("[]"));
    c.script(
        r#"get none => _
        mget none => [_]
        set a 1 => +OK
        config get maxclients => %{$maxclients=$10000}
        multi => +OK
        get a => +QUEUED
        exec => [$1]
        watch a => +OK
        subscribe ch => >[$subscribe $ch :1]
        get a => $1"#,
    );
    s.check("publish ch hi", ":1");
    assert_eq!(c.read().to_string(), ">[$message $ch $hi]");
    c.script(
        r#"debug protocol double => ,3.141
        debug protocol true => #t
        debug protocol set => ~[:0 :1 :2]
        debug protocol bignum => (1234567999999999999999999999999999999
        hello 4 => -NOPROTO unsupported protocol version
        ping => +PONG"#,
    );
    let Reply::Array(hello) = c.run("hello 2") else { panic!("HELLO 2 answers with an array") };
    assert_eq!(hello.len(), 14);
}

#[test]
fn a_connection_tells_about_itself_and_others() {
    let s = start();
    let mut c = s.client();
    c.script(
        r#"ping => +PONG
        ping hello => $hello
        echo hello => $hello
        client setname me => +OK
        client getname => $me
        client setname "a b" => -ERR Client names cannot contain spaces, newlines or special characters.
        client no-evict on => +OK
        client reply wrong => -ERR syntax error
        client kill id 999999 => :0
        client kill 1.2.3.4:5 => -ERR No such client
        client unblock 999999 => :0
        client getredir => :-1
        client trackinginfo => [$flags [$off] $redirect :-1 $prefixes []]"#,
    );
    let id = c.run("client id").int();
    let info = c.run("client info").text();
    assert!(info.starts_with(&format!("id={id} addr=127.0.0.1:")), "{info}");
    assert!(info.contains(" name=me ") && info.contains(" db=0 ") && info.contains(" cmd=client|info"), "{info}");
    let mut other = s.client();
    let theirs = other.run("client id").int();
    assert!(theirs > id);
    // Whoever asked whether the server is up may be hanging up still.
    wait_until("only the two are in", || c.run("client list type normal").text().lines().count() == 2);
    assert_eq!(c.run(&format!("client list id {id} {theirs}")).text().lines().count(), 2);
    assert_eq!(c.run(&format!("client kill id {theirs}")).to_string(), ":1");
    assert!(other.is_closed());
}

#[test]
fn replies_can_be_switched_off() {
    let s = start();
    let mut c = s.client();
    c.send(&["CLIENT", "REPLY", "OFF"]);
    c.send(&["SET", "a", "1"]);
    c.send(&["CLIENT", "REPLY", "ON"]);
    assert_eq!(c.read().to_string(), "+OK");
    c.send(&["CLIENT", "REPLY", "SKIP"]);
    c.send(&["GET", "a"]);
    c.check("incr a", ":2");
}

#[test]
fn writers_wait_while_clients_are_paused() {
    let s = start();
    let (mut c, mut writer) = (s.client(), s.client());
    c.check("client pause 100000 write", "+OK");
    writer.check("get a", "$nil");
    writer.send(&["SET", "a", "1"]);
    wait_until("the writer is blocked", || s.info("clients", "blocked_clients") == "1");
    c.check("get a", "$nil");
    c.check("client unpause", "+OK");
    assert_eq!(writer.read().to_string(), "+OK");
}

#[test]
fn quit_says_ok_and_hangs_up() {
    let s = start();
    let mut c = s.client();
    c.check("quit", "+OK");
    assert!(c.is_closed());
}

#[test]
fn inline_commands_are_understood() {
    let s = start();
    let mut c = s.client();
    c.send_raw(b"PING\r\n");
    assert_eq!(c.read().to_string(), "+PONG");
    c.send_raw(b"set a \"x y\"\nget a\n\r\n");
    assert_eq!(c.read().to_string(), "+OK");
    assert_eq!(c.read().to_string(), "$x y");
    c.send_raw(b"set a 'it\\'s' \r\nget a\r\n");
    assert_eq!(c.read().to_string(), "+OK");
    assert_eq!(c.read().to_string(), "$it\\'s");
    c.send_raw(b"get \"a\r\n");
    assert_eq!(c.read().to_string(), "-ERR Protocol error: unbalanced quotes in request");
    assert!(c.is_closed());
}

#[test]
fn broken_framing_is_named_and_ends_the_connection() {
    let s = start();
    let cases: &[(&[u8], &str)] = &[
        (b"*x\r\n", "-ERR Protocol error: invalid multibulk length"),
        (b"*20000000000\r\n", "-ERR Protocol error: invalid multibulk length"),
        (b"*2\r\n:1\r\n", "-ERR Protocol error: expected '$', got ':'"),
        (b"*1\r\n$x\r\n", "-ERR Protocol error: invalid bulk length"),
        (b"*1\r\n$-5\r\n", "-ERR Protocol error: invalid bulk length"),
        (b"*1\r\n$2000000000000\r\n", "-ERR Protocol error: invalid bulk length"),
    ];
    for (bytes, expect) in cases {
        let mut c = s.client();
        c.send_raw(bytes);
        assert_eq!(c.read().to_string(), *expect, "after {}", bytes.escape_ascii());
        assert!(c.is_closed(), "after {}", bytes.escape_ascii());
    }
    let mut c = s.client();
    c.send_raw(b"*0\r\n*-1\r\n*1\r\n$4\r\nPING\r\n");
    assert_eq!(c.read().to_string(), "+PONG");
}

#[test]
fn requests_may_arrive_in_any_pieces() {
    let s = start();
    let mut c = s.client();
    let request = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$5\r\nhello\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\nPING\r\n";
    for byte in request {
        c.send_raw(&[*byte]);
    }
    assert_eq!(c.read().to_string(), "+OK");
    assert_eq!(c.read().to_string(), "$hello");
    assert_eq!(c.read().to_string(), "+PONG");
}

#[test]
fn a_long_pipeline_and_a_large_value_come_back_in_order() {
    let s = start();
    let mut c = s.client();
    let mut batch = String::new();
    for i in 0..20_000 {
        let _ = write!(batch, "*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n*2\r\n$4\r\nECHO\r\n$5\r\n{i:05}\r\n");
    }
    c.send_raw(batch.as_bytes());
    for i in 0..20_000 {
        assert_eq!(c.read().int(), i + 1);
        assert_eq!(c.read().text(), format!("{i:05}"));
    }
    let big = vec![b'x'; 20 << 20];
    let mut c = s.client();
    assert_eq!(c.call(&[b"SET", &b"big"[..], &big]).to_string(), "+OK");
    assert_eq!(c.run("strlen big").int(), big.len() as i64);
    assert!(matches!(c.run("get big"), Reply::Bulk(b) if b == big));
    c.check("getrange big 0 2", "$xxx");
}

#[test]
fn monitor_shows_what_others_do() {
    let s = start();
    let (mut m, mut c) = (s.client(), s.client());
    m.check("monitor", "+OK");
    c.check("set a \"x\\\"y\"", "+OK");
    let line = m.read().text();
    assert!(line.contains(" [0 127.0.0.1:"), "{line}");
    assert!(line.ends_with(r#"] "set" "a" "x\"y""#), "{line}");
}

#[test]
fn the_server_describes_its_commands() {
    let s = start();
    s.script(
        r#"command getkeys set a 1 => [$a]
        command getkeys mset a 1 b 2 => [$a $b]
        command getkeys echo hi => -ERR The command has no key arguments
        command getkeysandflags set a 1 => [[$a [+OW +update]]]"#,
    );
    assert!(s.run("command count").int() > 90);
    let info = s.run("command info get").to_string();
    assert!(info.starts_with("[[$get :2 [+readonly +fast] :1 :1 :1 [+@read +@string +@fast]"), "{info}");
    let docs = s.run("command docs get").to_string();
    assert!(docs.starts_with("[$get [$summary $"), "{docs}");
}

#[test]
fn memory_latency_and_time_answer() {
    let s = start();
    s.check("set a 1", "+OK");
    assert!(s.run("memory usage a").int() > 0);
    s.check("memory usage none", "$nil");
    assert_eq!(s.run("time").items().len(), 2);
    assert!(s.run("lastsave").int() > 1_600_000_000);
    assert!(s.info_int("memory", "used_memory") > 0);
    assert!(s.info_int("stats", "total_commands_processed") > 0);
    assert_eq!(s.info("keyspace", "db0"), "keys=1,expires=0,avg_ttl=0");
}

#[test]
fn a_dump_is_compressed_only_if_files_are() {
    for kind in [Kind::Pando, Kind::Stock70] {
        let server = Server::start(kind, &[]);
        server.check(&format!("set long {}", "ab".repeat(500)), "+OK");
        let size = || server.run("dump long").to_string().len();
        assert!(size() < 200, "{kind:?}");
        server.check("config set rdbcompression no", "+OK");
        assert!(size() > 1000, "{kind:?}");
    }
}
