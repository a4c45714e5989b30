//! The RDB codec against stock servers: files and payloads of theirs are read to the byte, ours are loaded by them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use pando::ds::Limits;
use pando::exec::digest;
use pando::keyspace::unit::Touch;
use pando::keyspace::{Data, Keyspace, Unit};
use pando::persist::load::{Expired, Loading, load_with};
use pando::rdb::{
    Checksum, Event, Info, Payloads, ReadOptions, Reader, Sink, Usage, Value, ValueRef, Version, WriteOptions, check,
    dump, put_header, put_info, put_key, put_resize_db, put_select_db, restore,
};

#[allow(dead_code)]
#[path = "it/harness"]
mod harness {
    pub mod client;
    pub mod kind;
    pub mod port;
    pub mod server;
    pub mod wait;
}
use harness::client::{Client, Reply};
use harness::kind::Kind;
use harness::server::Server;

const PEERS: [Kind; 3] = [Kind::Stock70, Kind::Redis80, Kind::Valkey91];

/// What a server's file holds: the value, the expiry and the usage of each key of each database.
type Content = BTreeMap<(u32, Vec<u8>), (Value<'static>, Option<i64>, Usage)>;

struct Read {
    version: Version,
    content: Content,
    functions: Vec<Vec<u8>>,
    aux: BTreeMap<String, String>,
    hints: Vec<(u64, u64)>,
}

#[track_caller]
fn read(bytes: &[u8]) -> Read {
    let mut reader = Reader::begin(bytes, ReadOptions::default()).expect("a header");
    let mut read = Read {
        version: reader.version(),
        content: Content::new(),
        functions: Vec::new(),
        aux: BTreeMap::new(),
        hints: Vec::new(),
    };
    let mut db = 0;
    loop {
        match reader.next_event().expect("a file that a stock server wrote") {
            Event::Aux { key, value } => {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                read.aux.insert(text(&key), text(&value));
            }
            Event::SelectDb(number) => db = number,
            Event::ResizeDb { keys, expires } => read.hints.push((keys, expires)),
            Event::Key { key, value, expire_ms, usage } => {
                let old = read.content.insert((db, key.into_owned()), (value.into_owned(), expire_ms, usage));
                assert!(old.is_none(), "a key twice");
            }
            Event::Function(code) => read.functions.push(code.into_owned()),
            other @ (Event::SlotInfo { .. } | Event::SlotImport { .. } | Event::ModuleAux { .. }) => {
                panic!("{other:?} in a plain file")
            }
            Event::Eof(checksum) => {
                assert_eq!(checksum, Checksum::Right);
                break;
            }
        }
    }
    assert_eq!(reader.bytes_read(), bytes.len() as u64, "all of it and nothing more");
    read
}

/// Where the server keeps its file, as seen from here.
fn rdb_path(server: &Server) -> PathBuf {
    let dir = server.run("config get dir").items()[1].text();
    if server.kind.is_jailed() {
        let root = server.kind.program().with_file_name("sid");
        root.join(dir.trim_start_matches('/')).join("dump.rdb")
    } else {
        PathBuf::from(dir).join("dump.rdb")
    }
}

fn save(server: &Server) -> Vec<u8> {
    server.check("save", "+OK");
    std::fs::read(rdb_path(server)).expect("the file it saved")
}

/// Makes the server drop what it has and load these bytes.
fn load(server: &Server, bytes: &[u8]) -> Reply {
    std::fs::write(rdb_path(server), bytes).expect("a file to load");
    server.run("debug reload nosave")
}

/// A jailed server's working directory is not the harness's to remove.
fn clean_up(server: Server) {
    if server.kind.is_jailed() {
        let path = rdb_path(&server);
        drop(server);
        let _ = std::fs::remove_dir_all(path.parent().expect("a directory"));
    }
}

/// Small and large values of every type, in each encoding that a running server can be brought to.
fn fill(c: &mut Client, kind: Kind) {
    let mut run = |line: String| {
        let reply = c.run(&line);
        assert!(!reply.is_error(), "{line}: {reply}");
    };
    let numbers = |from: usize, to: usize| (from..to).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
    let members = |count: usize| (0..count).map(|n| format!("member:{n}")).collect::<Vec<_>>().join(" ");
    let pairs = |count: usize| (0..count).map(|n| format!("{n} pair:{n}")).collect::<Vec<_>>().join(" ");

    for (key, value) in [("plain", "hello"), ("empty", "\"\""), ("bytes", "\"\\x00\\xff\\n\""), ("float", "1.50")] {
        run(format!("set {key} {value}"));
    }
    for number in [0i64, -1, 127, -128, 128, 32_767, -32_769, 2_147_483_647, -2_147_483_649, i64::MAX, i64::MIN] {
        run(format!("set int:{number} {number}"));
    }
    run("set 12345 named-by-a-number".to_owned());
    run(format!("set {} long-name", "n".repeat(100)));
    run(format!("set folded {}", "abc".repeat(2000)));
    run(format!("set plain:40 {}", "0123456789abcdefghijklmnopqrstuvwxyzABCD"));
    run("set large \"\"".to_owned());
    run("setrange large 100000 end".to_owned());
    run("setbit sparse 300000 1".to_owned());
    run("set expiring value px 100000000".to_owned());
    run("pfadd hll a b c".to_owned());

    run(format!("rpush list:small {}", numbers(0, 10)));
    run(format!("rpush list:large {}", members(5000)));
    run("config set list-compress-depth 1".to_owned());
    run(format!("rpush list:folded {}", members(5000)));
    run("config set list-compress-depth 0".to_owned());
    run("debug quicklist-packed-threshold 200b".to_owned());
    run(format!("rpush list:plain a {} b {}", "x".repeat(1000), "y".repeat(1000)));
    run("debug quicklist-packed-threshold 0".to_owned());

    run(format!("sadd set:intset {}", numbers(0, 50)));
    run("sadd set:intset:64 1 9223372036854775807".to_owned());
    run(format!("sadd set:listpack {}", members(20)));
    run(format!("sadd set:hashtable {}", members(1000)));

    run(format!("zadd zset:listpack {}", pairs(20)));
    run(format!("zadd zset:skiplist {} inf a -inf b 1.5 c -0.1 d", pairs(1000)));

    run(format!("hset hash:listpack {}", pairs(20)));
    run(format!("hset hash:hashtable {}", pairs(1000)));

    run("xadd stream:bare 1-1 field value".to_owned());
    for n in 1..=300 {
        run(format!("xadd stream {n}-{n} field {n} other value"));
    }
    run("xdel stream 5-5".to_owned());
    run("xgroup create stream empty 0".to_owned());
    run("xgroup create stream busy 0".to_owned());
    run("xreadgroup group busy alice count 10 streams stream >".to_owned());
    run("xreadgroup group busy bob count 70 streams stream >".to_owned());
    run("xgroup createconsumer stream busy idle".to_owned());
    run("xack stream busy 1-1 12-12".to_owned());
    run("xgroup create stream:empty group $ mkstream".to_owned());

    if kind != Kind::Stock70 {
        run(format!("hset hash:expiring:small {}", pairs(10)));
        run("hexpire hash:expiring:small 1000000 fields 2 3 7".to_owned());
        run(format!("hset hash:expiring:large {}", pairs(1000)));
        run("hexpire hash:expiring:large 1000000 fields 3 3 7 9".to_owned());
        run("hexpire hash:expiring:large 2000000 fields 1 11".to_owned());
    }

    run("select 3".to_owned());
    run("set in:db:3 12".to_owned());
    run("set volatile x ex 100000".to_owned());
    run("select 0".to_owned());
    if kind != Kind::Pando {
        let library = "function load \"#!lua name=lib\nredis.register_function('f', function() return 1 end)\"";
        run(library.to_owned());
    }
}

#[test]
fn files_of_stock_servers_are_read_to_the_byte() {
    for kind in PEERS.into_iter().filter(|kind| kind.available()) {
        let server = Server::start(kind, &[]);
        let mut c = server.client();
        fill(&mut c, kind);
        let read = read(&save(&server));

        let versions = BTreeMap::from([("Stock70", 10), ("Redis80", 12), ("Valkey91", 80)]);
        assert_eq!(read.version.number(), versions[&*format!("{kind:?}")]);
        assert_eq!(read.aux["redis-bits"], "64");
        assert_eq!(read.aux["aof-base"], "0");
        assert_eq!(read.functions.len(), 1);
        assert!(read.functions[0].starts_with(b"#!lua name=lib\n"));

        let sizes: Vec<i64> = [0, 3]
            .map(|db| {
                c.check(&format!("select {db}"), "+OK");
                c.run("dbsize").int()
            })
            .to_vec();
        assert_eq!(read.hints.iter().map(|&(keys, _)| keys as i64).collect::<Vec<_>>(), sizes);
        assert_eq!(read.content.len() as i64, sizes.iter().sum::<i64>());

        let mut others = std::collections::BTreeSet::new();
        for ((db, key), (value, expire_ms, usage)) in &read.content {
            let name = key.escape_ascii().to_string();
            c.check(&format!("select {db}"), "+OK");
            let expiry = c.call(&[b"pexpiretime", &key[..]]).int();
            assert_eq!(expire_ms.unwrap_or(-1), expiry, "{name}");
            assert_eq!(*usage, Usage::Unsaid);
            match value {
                Value::Str(text) => assert_eq!(c.call(&[b"get", &key[..]]), Reply::Bulk(text.to_vec()), "{name}"),
                Value::Int(number) => {
                    assert_eq!(c.call(&[b"get", &key[..]]), Reply::Bulk(number.to_string().into_bytes()), "{name}");
                }
                Value::Object(object) => panic!("{object:?} although payloads were to stay raw"),
                Value::Other { kind, .. } => {
                    others.insert(kind.name());
                    take_back(&mut c, read.version, key, value);
                }
            }
        }
        assert_eq!(others.iter().copied().collect::<Vec<_>>(), kinds_expected(kind), "{kind:?}");
        clean_up(server);
    }
}

/// The server takes the payload, footed by us, for the value it has; and its own DUMP is understood.
#[track_caller]
fn take_back(c: &mut Client, version: Version, key: &[u8], value: &Value<'_>) {
    let name = key.escape_ascii().to_string();
    let mut payload = Vec::new();
    dump(&mut payload, ValueRef::from(value), &WriteOptions { version, compress: true });
    let digest = c.call(&[b"debug", &b"digest-value"[..], key]);
    assert_eq!(c.call(&[b"restore", &b"copy"[..], b"0", &payload]).to_string(), "+OK", "{name}");
    assert_eq!(c.run("debug digest-value copy"), digest, "{name}");
    c.check("del copy", ":1");

    let Reply::Bulk(theirs) = c.call(&[b"dump", key]) else { panic!("{name} cannot be dumped") };
    let restored = restore(&theirs, true, Payloads::Raw).unwrap_or_else(|e| panic!("{name}: {e}"));
    let (Value::Other { kind: ours, .. }, Value::Other { kind: theirs, .. }) = (value, &restored) else {
        panic!("{name} became something else");
    };
    assert_eq!(ours, theirs, "{name}");
}

fn kinds_expected(kind: Kind) -> Vec<&'static str> {
    let mut names = vec!["hash-hashtable", "hash-listpack", "quicklist-v2", "set-hashtable", "set-intset"];
    names.extend(["zset-listpack", "zset-v2"]);
    match kind {
        Kind::Stock70 => names.push("stream-v2"),
        Kind::Redis80 => names.extend(["hash-hashtable-md", "hash-listpack-md", "set-listpack", "stream-v3"]),
        Kind::Valkey91 => names.extend(["hash-hashtable-2", "set-listpack", "stream-v3"]),
        Kind::Pando | Kind::Sentinel70 => {}
    }
    names.sort_unstable();
    names
}

#[test]
fn strings_dumped_by_either_side_are_the_same_to_both() {
    for kind in PEERS.into_iter().filter(|kind| kind.available()) {
        let server = Server::start(kind, &[]);
        let mut c = server.client();
        let folded = "abcdefgh".repeat(100).into_bytes();
        for text in [b"", &b"hello"[..], b"12", b"-70000", b"9223372036854775807", b"007", &folded] {
            c.call(&[b"set", &b"k"[..], text]);
            let Reply::Bulk(theirs) = c.run("dump k") else { panic!("no payload") };
            let restored = match restore(&theirs, true, Payloads::Raw).expect("a payload of a stock server") {
                Value::Str(text) => text.into_owned(),
                Value::Int(number) => number.to_string().into_bytes(),
                Value::Object(object) => panic!("{object:?}"),
                Value::Other { kind, .. } => panic!("{}", kind.name()),
            };
            assert_eq!(restored, text);

            let mut ours = Vec::new();
            dump(&mut ours, ValueRef::Str(text), &WriteOptions::default());
            c.call(&[b"restore", &b"copy"[..], b"0", &ours, b"replace"]);
            assert_eq!(c.run("get copy"), Reply::Bulk(text.to_vec()), "{kind:?}");
        }
        clean_up(server);
    }
}

#[test]
fn usage_is_read_under_the_policies_that_keep_it() {
    for (policy, expect) in [("allkeys-lru", "idle"), ("allkeys-lfu", "freq")] {
        let server = Server::start(Kind::Stock70, &[&format!("maxmemory-policy {policy}")]);
        server.check("set a b", "+OK");
        server.check("rpush l b", ":1");
        for (_, (_, _, usage)) in read(&save(&server)).content {
            match usage {
                Usage::IdleS(seconds) => assert!(expect == "idle" && seconds < 60),
                Usage::Freq(_) => assert_eq!(expect, "freq"),
                Usage::Unsaid => panic!("nothing is said under {policy}"),
            }
        }
    }
}

/// A file of ours, with what stock servers must make of it: (database, key, value, expiry).
fn our_file(version: u32, compress: bool) -> (Vec<u8>, Vec<(u32, &'static str, Vec<u8>, Option<i64>)>) {
    const FUTURE: i64 = 4_000_000_000_000;
    let options = WriteOptions { version: Version::new(version).expect("a version"), compress };
    let mut keys = vec![
        (0, "plain", b"hello".to_vec(), None),
        (0, "empty", Vec::new(), None),
        (0, "expiring", b"soon".to_vec(), Some(FUTURE)),
        (0, "12345", b"named by a number".to_vec(), None),
        (0, "folded", b"abc".repeat(5000), None),
        (0, "noise", (0..5000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect(), None),
        (0, "large", vec![b'x'; 1_000_000], Some(FUTURE + 1)),
        (5, "elsewhere", b"12".to_vec(), None),
    ];
    let number_names: [&str; 8] = ["n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8"];
    let numbers = [0, -1, 300, -70_000, i64::from(i32::MAX), i64::from(i32::MIN) - 1, i64::MAX, i64::MIN];
    for (name, number) in number_names.into_iter().zip(numbers) {
        keys.push((15, name, number.to_string().into_bytes(), None));
    }

    let mut out = Vec::new();
    put_header(&mut out, options.version);
    let info =
        Info { server_version: "7.2.4", created_s: 1_700_000_000, used_memory: 1 << 20, repl: None, aof_base: false };
    put_info(&mut out, &info);
    let mut selected = None;
    for (db, key, value, expire_ms) in &keys {
        if selected.replace(*db) != Some(*db) {
            put_select_db(&mut out, *db);
            put_resize_db(&mut out, 8, 2);
        }
        let text = std::str::from_utf8(value).ok();
        let value = match text.and_then(|text| text.parse().ok()) {
            Some(number) => ValueRef::Int(number),
            None => ValueRef::Str(value),
        };
        put_key(&mut out, key.as_bytes(), value, *expire_ms, Usage::Unsaid, &options);
    }
    put_key(&mut out, b"gone", ValueRef::Str(b"x"), Some(1000), Usage::IdleS(20_000), &options);
    put_key(&mut out, b"used", ValueRef::Str(b"x"), None, Usage::Freq(200), &options);
    keys.push((15, "used", b"x".to_vec(), None));
    let mut sink = Sink::new(Vec::new(), true);
    sink.write_all(&out).expect("a Vec takes all");
    (sink.finish().expect("a Vec takes all"), keys)
}

#[test]
fn stock_servers_load_our_files() {
    for kind in PEERS.into_iter().filter(|kind| kind.available()) {
        let server = Server::start(kind, &[]);
        let mut c = server.client();
        let newest = match kind {
            Kind::Stock70 => 10,
            Kind::Redis80 => 12,
            Kind::Valkey91 => 80,
            Kind::Pando | Kind::Sentinel70 => continue,
        };
        for (version, compress) in [(10, true), (10, false), (newest, true)] {
            let (bytes, keys) = our_file(version, compress);
            assert_eq!(load(&server, &bytes).to_string(), "+OK", "{kind:?}, version {version}");
            for (db, key, value, expire_ms) in &keys {
                c.check(&format!("select {db}"), "+OK");
                assert_eq!(c.run(&format!("get {key}")), Reply::Bulk(value.clone()), "{kind:?}: {key}");
                c.check(&format!("pexpiretime {key}"), &format!(":{}", expire_ms.unwrap_or(-1)));
            }
            c.check("select 15", "+OK");
            c.check("exists gone", ":0");
            assert_eq!(c.run("dbsize").int(), keys.iter().filter(|key| key.0 == 15).count() as i64);

            // What it makes of the file is what we make of its file.
            let theirs = read(&save(&server)).content;
            assert_eq!(theirs.len(), keys.len());
            for (db, key, value, expire_ms) in keys {
                let (read, expiry, _) = &theirs[&(db, key.as_bytes().to_vec())];
                let text = match read {
                    Value::Str(text) => text.to_vec(),
                    Value::Int(number) => number.to_string().into_bytes(),
                    Value::Object(object) => panic!("{key} became {object:?}"),
                    Value::Other { kind, .. } => panic!("{key} became a {}", kind.name()),
                };
                assert_eq!((text, *expiry), (value, expire_ms), "{kind:?}: {key}");
            }
        }
        clean_up(server);
    }
}

fn stock_check(bytes: &[u8]) -> (String, Option<i32>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(dir.path().join("x.rdb"), bytes).expect("a file");
    let out = Command::new("redis-check-rdb").arg("x.rdb").current_dir(dir.path()).output().expect("redis-check-rdb");
    (String::from_utf8_lossy(&out.stdout).into_owned(), out.status.code())
}

fn our_check(bytes: &[u8]) -> (String, bool) {
    let mut out = Vec::new();
    let verdict = check(bytes, "x.rdb", pando::base::clock::now_ms(), &mut out).expect("a Vec takes all");
    (String::from_utf8(out).expect("ASCII"), verdict.is_ok())
}

#[test]
fn check_says_what_the_stock_program_says() {
    let server = Server::start(Kind::Stock70, &[]);
    fill(&mut server.client(), Kind::Stock70);
    for bytes in [save(&server), our_file(10, true).0] {
        let (theirs, status) = stock_check(&bytes);
        let (ours, ok) = our_check(&bytes);
        assert_eq!(ours, theirs);
        assert!(ok && status == Some(0));
    }
}

#[test]
fn check_finds_the_damage_that_the_stock_program_finds() {
    let (bytes, _) = our_file(10, false);
    let mut swapped = bytes.clone();
    // Inside a value's text: only the checksum can tell.
    let inside = bytes.len() - 500_000;
    swapped[inside] ^= 1;
    let cut = bytes[..bytes.len() / 3].to_vec();
    let version = [b"REDIS0099", &bytes[9..]].concat();
    let alien = [b"RIFF", &bytes[..]].concat();
    let opcode = [&bytes[..9], b"\x63", &bytes[9..]].concat();
    for (wrong, line) in [
        (swapped, "RDB CRC error"),
        (cut, "Unexpected EOF reading RDB file"),
        (version, "Can't handle RDB format version 99"),
        (alien, "Wrong signature trying to load DB from file"),
        (opcode, "Invalid object type: 99"),
    ] {
        let (theirs, status) = stock_check(&wrong);
        let (ours, ok) = our_check(&wrong);
        assert!(theirs.contains(line) && ours.contains(line), "{line}:\n{theirs}\n{ours}");
        assert!(!ok && status == Some(1), "{line}");
    }
}

/// Loads as a server would, and looks at all that was loaded. False if it was refused.
fn loads(bytes: &[u8]) -> bool {
    let ks = Keyspace::new(8, 16);
    let loading = Loading { expired: Expired::Keep, limits: Limits::default(), touch: Touch::Lru };
    match load_with(&ks, bytes, &loading, |_| 0) {
        Ok(loaded) => {
            let keys: usize = (0..16).map(|db| ks.count(db).0).sum();
            assert_eq!(loaded.keys, keys as u64);
            digest::of_all(&mut Data::lock_alone(&ks, 0, &mut Unit::default()));
            true
        }
        Err(e) => {
            assert!(!e.to_string().is_empty());
            false
        }
    }
}

#[test]
fn whatever_happens_to_a_file_it_is_loaded_or_refused() {
    let mut rng = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = |below: usize| {
        rng ^= rng << 13;
        rng ^= rng >> 7;
        rng ^= rng << 17;
        (rng % below as u64) as usize
    };
    for kind in PEERS.into_iter().chain([Kind::Pando]).filter(|kind| kind.available()) {
        let server = Server::start(kind, &[]);
        fill(&mut server.client(), kind);
        let good = save(&server);
        clean_up(server);
        assert!(loads(&good), "{kind:?}");
        // Without a checksum, damage gets as far as the values.
        let mut unsummed = good.clone();
        let end = unsummed.len() - 8;
        unsummed[end..].fill(0);
        assert!(loads(&unsummed), "{kind:?}");
        let mut survived = 0;
        for round in 0..150 {
            let at = 9 + random(end - 9);
            let mut bad = if round % 4 == 0 { good.clone() } else { unsummed.clone() };
            match round % 3 {
                0 => bad[at] ^= 1 << random(8),
                1 => bad[at] = [0, 1, 0x7f, 0x80, 0x81, 0xc3, 0xfe, 0xff][random(8)],
                _ => {
                    bad.truncate(at);
                    assert!(!loads(&bad), "{kind:?}: cut at {at}");
                    continue;
                }
            }
            let same = bad == good || bad == unsummed;
            let loaded = loads(&bad);
            assert!(same || !loaded || round % 4 != 0, "{kind:?}: byte {at} is damaged and was not noticed");
            survived += usize::from(loaded);
            let (said, fine) = our_check(&bad);
            assert!(fine || said.contains("[offset "), "{said}");
        }
        // Else what was to be tried was not.
        assert!(survived > 10, "{kind:?}: {survived}");
    }
}
