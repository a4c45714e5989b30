//! Reading append-only files: the verdict on whole, torn and damaged ones is stock's, and so are the words of check-aof.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Kind, Port, Server, run_to_end, wait_until};

const DIR: &str = "appendonlydir";
const LIST: &str = "appendonly.aof.manifest";
const PANDO: &str = env!("CARGO_BIN_EXE_pando-server");

/// Pseudo-random numbers that a seed repeats.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

#[track_caller]
fn run_all(server: &Server, lines: &str) {
    let mut c = server.client();
    for line in lines.lines() {
        let reply = c.run(line);
        assert!(!reply.is_error(), "{line}: {reply}");
    }
}

/// A stock server's directory with a base, an incremental file, several types and databases.
fn written_by_stock(lines: &[&str]) -> (Server, String) {
    let mut all = vec!["appendonly yes", "auto-aof-rewrite-percentage 0"];
    all.extend(lines);
    let mut stock = Server::start(Kind::Stock70, &all);
    run_all(&stock, "mset a 1 b 2\nrpush list x y z\nhset hash f 1 g 2\nzadd zset 1.5 m\nxadd stream 1-1 f v\n");
    run_all(&stock, "select 3\nset there 1\nsadd set 1 2 x\n");
    stock.check("bgrewriteaof", "+Background append only file rewriting started");
    wait_until("the rewrite ends", || {
        stock.info("persistence", "aof_rewrite_in_progress") == "0" && stock.log_has("rewrite finished successfully")
    });
    run_all(&stock, "incr a\nspop set\nset later 1 px 100000000\n");
    run_all(&stock, "multi\nincr n\nselect 5\nincr m\nlpush list w\nexec\n");
    run_all(&stock, "setrange big 70000 x\nincrbyfloat f 1.25\nlpop list\nmulti\ndel b\nexec\n");
    let digest = stock.digest();
    stock.crash();
    (stock, digest)
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}

/// A server that is not started yet, on a copy of that directory.
fn on_a_copy(of: &Server, kind: Kind, lines: &[&str]) -> Server {
    let mut all = vec!["appendonly yes", "auto-aof-rewrite-percentage 0"];
    all.extend(lines);
    let server = Server::prepare(Port::reserve(), kind, &all);
    copy_dir(&of.path(DIR), &server.path(DIR));
    server
}

fn incr_name(of: &Server) -> String {
    let list = fs::read_to_string(of.path(DIR).join(LIST)).expect("a manifest");
    let line = list.lines().find(|line| line.ends_with("type i")).expect("an incremental file");
    line.split(' ').nth(1).expect("its name").to_owned()
}

/// Starts it. `None`: it ended with exit code 1; else the fingerprint of what it loaded.
#[track_caller]
fn verdict(server: &mut Server) -> Option<String> {
    let (code, digest) = try_start(server);
    match digest {
        Some(digest) => Some(digest),
        None => {
            assert_eq!(code, Some(1), "{}", server.log());
            None
        }
    }
}

fn try_start(server: &mut Server) -> (Option<i32>, Option<String>) {
    let conf = server.path("redis.conf");
    let conf = conf.to_str().expect("text").to_owned();
    // What does not start ends by itself; what does, is asked and ended.
    let port = server.port();
    let log = fs::File::options().create(true).append(true).open(server.path("log")).expect("a log");
    let mut child = server.kind.command().arg(conf).stdout(log).spawn().expect("a server");
    let mut digest = None;
    let mut code = None;
    wait_until("it starts or ends", || {
        if let Some(status) = child.try_wait().expect("our child") {
            code = Some(status.code());
            return true;
        }
        let Ok(mut c) = crate::harness::Client::try_connect(("127.0.0.1", port)) else { return false };
        // DEBUG answers while the server still loads.
        if c.try_call(&["DBSIZE"]).map_or(true, |reply| reply.is_error()) {
            return false;
        }
        digest = c.try_call(&["DEBUG", "DIGEST"]).ok().filter(|r| !r.is_error()).map(|r| r.text());
        digest.is_some()
    });
    let _ = child.kill();
    let _ = child.wait();
    (code.flatten(), digest)
}

#[test]
fn what_stock_wrote_is_loaded_whole() {
    for lines in [&["aof-use-rdb-preamble yes"][..], &["aof-use-rdb-preamble no", "aof-timestamp-enabled yes"]] {
        let (stock, _) = written_by_stock(lines);
        let mut ours = on_a_copy(&stock, Kind::Pando, &[]);
        let mut theirs = on_a_copy(&stock, Kind::Stock70, &[]);
        ours.launch();
        theirs.launch();
        assert_eq!(ours.digest(), theirs.digest(), "{lines:?}");
        for line in ["DB loaded from base file", "DB loaded from incr file", "DB loaded from append only file"] {
            assert!(ours.log_has(line), "{line}");
        }
        assert_eq!(ours.info_int("persistence", "loading"), 0);
        // Nobody counts what a file asked for.
        assert_eq!(ours.info("commandstats", "cmdstat_rpush"), "");
        let digest = ours.digest();
        ours.check("set volatile 1", "+OK");
        ours.check("debug loadaof", "+OK");
        if ours.run("exists volatile").to_string() == ":0" {
            assert_eq!(ours.digest(), digest);
        }
    }
}

#[test]
fn what_two_threads_carry_out_is_what_one_would() {
    let mut stock = Server::start(Kind::Stock70, &["appendonly yes", "auto-aof-rewrite-percentage 0"]);
    let mut c = stock.client();
    let mut random = Random(5);
    for _ in 0..12 {
        let commands: Vec<String> = (0..1500)
            .map(|i| {
                let (key, other) = (random.below(300), random.below(300));
                match random.below(400) {
                    0 => format!("select {}", random.below(3)),
                    1 => format!("rename s{key} s{other}"),
                    2 => format!("sunionstore t{key} t{other} t{}", random.below(300)),
                    3 => format!("del l{key} s{other}"),
                    n => match n % 8 {
                        0 => format!("append s{key} {i}"),
                        1 => format!("rpush l{key} {i}"),
                        2 => format!("lpop l{key}"),
                        3 => format!("sadd t{key} {i}"),
                        4 => format!("hincrby h{key} f{} 1", i % 5),
                        5 => format!("zadd z{key} {i} m{}", i % 9),
                        6 => format!("spop t{key}"),
                        _ => format!("incr n{key}"),
                    },
                }
            })
            .collect();
        commands.iter().for_each(|line| c.send(&line.split(' ').collect::<Vec<_>>()));
        // RENAME of what is not there is an error, and nothing else.
        commands.iter().for_each(|_| _ = c.read());
    }
    stock.check("pexpire s1 100000000", if stock.run("exists s1").int() == 1 { ":1" } else { ":0" });
    let digest = stock.digest();
    stock.crash();
    let mut ours = on_a_copy(&stock, Kind::Pando, &[]);
    ours.launch();
    assert_eq!(ours.digest(), digest);
    ours.restart();
    assert_eq!(ours.digest(), digest);
}

/// One change to a file.
fn mangled(whole: &[u8], random: &mut Random) -> (String, Vec<u8>) {
    let mut bytes = whole.to_vec();
    let at = random.below(bytes.len());
    let what = match random.below(5) {
        0 | 1 => {
            bytes.truncate(at);
            "cut"
        }
        2 => {
            bytes[at] = [bytes[at] ^ 1, b'*', b'1', random.below(256) as u8][random.below(4)];
            "changed"
        }
        3 => {
            bytes.insert(at, random.below(256) as u8);
            "inserted"
        }
        _ => {
            bytes.drain(at..(at + 1 + random.below(3)).min(bytes.len()));
            "removed"
        }
    };
    (format!("{what} at {at}"), bytes)
}

#[test]
fn a_damaged_file_gets_the_verdict_of_stock() {
    let (stock, _) = written_by_stock(&["aof-timestamp-enabled yes"]);
    let name = incr_name(&stock);
    let whole = fs::read(stock.path(DIR).join(&name)).expect("the file");
    let mut random = Random(20_261_121);
    for _ in 0..10 {
        let (what, bytes) = mangled(&whole, &mut random);
        let truncated = ["aof-load-truncated yes", "aof-load-truncated no"][random.below(2)];
        let verdicts = [Kind::Stock70, Kind::Pando].map(|kind| {
            let mut server = on_a_copy(&stock, kind, &[truncated]);
            let file = server.path(DIR).join(&name);
            fs::write(&file, &bytes).expect("a file");
            let verdict = verdict(&mut server);
            let left = fs::read(&file).expect("the file");
            assert!(bytes.starts_with(&left), "{what}, {truncated}: only the end may go");
            if verdict.is_none() {
                assert_eq!(left.len(), bytes.len(), "{what}, {truncated}: {kind:?} refused it and touched it");
            }
            verdict
        });
        assert_eq!(verdicts[0], verdicts[1], "{what}, {truncated}");
    }
}

#[test]
fn a_transaction_that_was_torn_is_cut_as_a_whole() {
    let head = "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n";
    for torn in ["*1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nINCR\r\n$1\r\na\r\n", "*1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nIN"] {
        let mut server = Server::prepare(Port::reserve(), Kind::Pando, &["appendonly yes"]);
        fs::create_dir(server.path(DIR)).expect("a directory");
        fs::write(server.path(DIR).join(LIST), "file x.aof seq 1 type i\n").expect("a list");
        fs::write(server.path(DIR).join("x.aof"), format!("{head}{torn}")).expect("a file");
        server.launch();
        server.check("get a", "$1");
        assert!(server.log_has("!!! Truncating the AOF x.aof at offset 27 !!!"));
        assert_eq!(fs::read(server.path(DIR).join("x.aof")).expect("the file").len(), head.len());
    }
}

#[test]
fn a_torn_note_is_no_loss() {
    let mut server = Server::prepare(Port::reserve(), Kind::Pando, &["appendonly yes", "aof-load-truncated no"]);
    fs::create_dir(server.path(DIR)).expect("a directory");
    fs::write(server.path(DIR).join(LIST), "file x.aof seq 1 type i\n").expect("a list");
    fs::write(server.path(DIR).join("x.aof"), "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n#TS:1700").expect("a file");
    server.launch();
    server.check("get a", "$1");
    assert_eq!(fs::read(server.path(DIR).join("x.aof")).expect("the file").len(), 27);
}

#[test]
fn a_torn_file_with_nothing_behind_it_is_the_last() {
    let mut server = Server::prepare(Port::reserve(), Kind::Pando, &["appendonly yes"]);
    fs::create_dir(server.path(DIR)).expect("a directory");
    fs::write(server.path(DIR).join(LIST), "file x seq 1 type i\nfile y seq 2 type i\n").expect("a list");
    fs::write(server.path(DIR).join("x"), "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n*3\r\n$3").expect("a file");
    fs::write(server.path(DIR).join("y"), "").expect("a file");
    server.launch();
    server.check("set b 2", "+OK");
    server.restart();
    server.check("mget a b", "[$1 $2]");
}

#[test]
fn only_the_last_file_may_be_torn() {
    let mut server = Server::prepare(Port::reserve(), Kind::Pando, &["appendonly yes"]);
    fs::create_dir(server.path(DIR)).expect("a directory");
    fs::write(server.path(DIR).join(LIST), "file x seq 1 type i\nfile y seq 2 type i\n").expect("a list");
    let set = "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n";
    fs::write(server.path(DIR).join("x"), format!("{set}*3\r\n$3")).expect("a file");
    fs::write(server.path(DIR).join("y"), set).expect("a file");
    assert_eq!(verdict(&mut server), None);
    assert!(server.log_has("The AOF file x is whole up to byte 27.") && server.log_has("is not the last file"));
    assert_eq!(fs::read(server.path(DIR).join("x")).expect("the file").len(), 33, "and is left as it was");
    // Unknown commands are nobody's data.
    fs::write(server.path(DIR).join("x"), "*1\r\n$4\r\nNOPE\r\n").expect("a file");
    assert_eq!(verdict(&mut server), None);
    assert!(server.log_has("Unknown command 'NOPE' reading the append only file x"));
    fs::remove_file(server.path(DIR).join("x")).expect("it was there");
    assert_eq!(verdict(&mut server), None);
    assert!(server.log_has("Unable to obtain the AOF file x length. stat: No such file or directory"));
}

#[test]
fn a_bad_list_is_refused_as_by_stock() {
    for list in [
        "",
        "\n",
        "file a seq 1 type i\n\n",
        "file a seq 1 type x\n",
        "file a seq 1\n",
        "file a/b seq 1 type i\n",
        "file a seq 2 type i\nfile b seq 1 type i\n",
        "file a seq 1 type b\nfile b seq 2 type b\n",
        "file a seq 1 type i",
    ] {
        let said = [Kind::Stock70, Kind::Pando].map(|kind| {
            let mut server = Server::prepare(Port::reserve(), kind, &["appendonly yes"]);
            fs::create_dir(server.path(DIR)).expect("a directory");
            fs::write(server.path(DIR).join(LIST), list).expect("a list");
            assert_eq!(verdict(&mut server), None, "{list:?}");
            let log = server.log();
            let (_, said) = log.split_once("*** FATAL AOF MANIFEST FILE ERROR ***").expect("the complaint");
            // Without process, time and level.
            let words =
                said.lines().map(|line| line.rsplit_once(" # ").map_or(line, |(_, text)| text).trim().to_owned());
            words.filter(|line| !line.is_empty()).collect::<Vec<_>>()
        });
        assert_eq!(said[0], said[1], "{list:?}");
    }
}

#[test]
fn the_single_file_of_redis_6_moves_into_the_directory() {
    let text = "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n*2\r\n$4\r\nINCR\r\n$1\r\na\r\n";
    let mut server = Server::prepare(Port::reserve(), Kind::Pando, &["appendonly yes"]);
    fs::write(server.path("appendonly.aof"), text).expect("a file");
    server.launch();
    server.check("get a", "$2");
    assert!(!server.path("appendonly.aof").exists());
    assert_eq!(fs::read(server.path(DIR).join("appendonly.aof")).expect("the file"), text.as_bytes());
    let list = fs::read_to_string(server.path(DIR).join(LIST)).expect("a list");
    assert!(list.starts_with("file appendonly.aof seq 1 type b\n"), "{list}");
    server.wait_log(
        "Successfully migrated an old-style AOF file (appendonly.aof) into the AOF directory (appendonlydir).",
    );
    // With a snapshot before the requests, as Redis 4 to 6 write it.
    let (stock, _) = written_by_stock(&[]);
    let base = fs::read_to_string(stock.path(DIR).join(LIST)).expect("a list");
    let base = base.split(' ').nth(1).expect("the base's name");
    let mut bytes = fs::read(stock.path(DIR).join(base)).expect("the base");
    bytes.extend(fs::read(stock.path(DIR).join(incr_name(&stock))).expect("the rest"));
    let mut server = Server::prepare(Port::reserve(), Kind::Pando, &["appendonly yes"]);
    fs::write(server.path("appendonly.aof"), &bytes).expect("a file");
    server.launch();
    let mut whole = on_a_copy(&stock, Kind::Pando, &[]);
    whole.launch();
    assert_eq!(server.digest(), whole.digest());
    for line in ["Reading RDB preamble from AOF file...", "Reading the remaining AOF tail..."] {
        assert!(server.log_has(line), "{line}");
    }
}

#[test]
fn who_asks_during_the_load_is_told_so() {
    let (stock, _) = written_by_stock(&[]);
    let mut ours = on_a_copy(&stock, Kind::Pando, &["key-load-delay 50000"]);
    let conf = ours.path("redis.conf");
    let log = fs::File::create(ours.path("log")).expect("a log");
    let mut child = ours.kind.command().arg(conf).stdout(log).spawn().expect("a server");
    let mut seen = false;
    wait_until("it loads", || {
        let Ok(mut c) = crate::harness::Client::try_connect(("127.0.0.1", ours.port())) else { return false };
        let Ok(info) = c.try_call(&["INFO", "persistence"]) else { return false };
        let info = info.text();
        if info.contains("loading:1") {
            assert!(info.contains("loading_total_bytes:") && info.contains("loading_loaded_perc:"), "{info}");
            let refused = c.try_call(&["GET", "a"]).expect("an answer").to_string();
            // Between the two it may have ended.
            seen |= refused.starts_with("-LOADING");
        }
        seen || info.contains("loading:0")
    });
    child.kill().expect("our child");
    child.wait().expect("our child");
    assert!(seen, "it said loading:1");
    ours = on_a_copy(&stock, Kind::Pando, &[]);
    ours.launch();
}

/// Both programs of that name on a copy of the directory: exit code and words, and what they left of the file.
fn checked(stock: &Server, program: &Path, args: &[&str], name: &str, bytes: &[u8]) -> (Option<i32>, String, Vec<u8>) {
    let dir = tempfile::tempdir().expect("a directory");
    copy_dir(&stock.path(DIR), dir.path());
    fs::write(dir.path().join(name), bytes).expect("a file");
    let mut child = Command::new(program);
    child.args(args).current_dir(dir.path());
    let answer = dir.path().join("answer");
    fs::write(&answer, "y\n").expect("a file");
    let out = child.stdin(fs::File::open(&answer).expect("a file")).output().expect("a program");
    // Redis 7.2 names the path here, 7.0 the file.
    let mut said = String::from_utf8_lossy(&out.stdout).replace("Checking RDB file ./", "Checking RDB file ");
    // Places that stock does not tell.
    said =
        said.split_inclusive('\n').filter(|l| !l.contains(": No request begins") && !l.contains(": No time")).collect();
    if let Some(at) = said.find("Expected \\r\\n, got: 00") {
        // Where the file ends in a line, stock shows what the stack held.
        let end = said[at..].find('\n').expect("a line's end") + at;
        said.replace_range(at + 22..end, "00");
    }
    (out.status.code(), said, fs::read(dir.path().join(name)).expect("the file"))
}

fn as_check_aof(dir: &Path) -> PathBuf {
    let link = dir.join("redis-check-aof");
    symlink(PANDO, &link).expect("a link");
    link
}

#[test]
fn check_aof_says_what_stock_says() {
    let (stock, _) = written_by_stock(&["aof-timestamp-enabled yes"]);
    let name = incr_name(&stock);
    let written = fs::read(stock.path(DIR).join(&name)).expect("the file");
    let later = b"#TS:1800000000\r\n*1\r\n$4\r\nPING\r\n#TS:1800000001\r\n*1\r\n$4\r\nPING\r\n";
    let whole = [b"#TS:1600000000\r\n", &written[..], later].concat();
    let links = tempfile::tempdir().expect("a directory");
    let ours = as_check_aof(links.path());
    let mut random = Random(7);
    for i in 0..60 {
        let (what, bytes) = if i == 0 { ("whole".into(), whole.clone()) } else { mangled(&whole, &mut random) };
        let target = [LIST, &name][random.below(2)];
        let mut args = match random.below(5) {
            0 => vec![],
            1 => vec!["--fix"],
            2 => vec!["--truncate-to-timestamp", "1800000000"],
            3 => vec!["--truncate-to-timestamp", "1599999999"],
            _ => vec!["--truncate-to-timestamp", "1900000000"],
        };
        args.push(target);
        let theirs = checked(&stock, Path::new("redis-check-aof"), &args, &name, &bytes);
        let ours = checked(&stock, &ours, &args, &name, &bytes);
        assert_eq!(ours.1, theirs.1, "{what}: {args:?}");
        assert_eq!(ours.0, theirs.0, "{what}: {args:?}");
        assert!(ours.2 == theirs.2, "{what}: {args:?}: the file");
    }
    let help = Command::new(PANDO).args(["check-aof", "--help"]).output().expect("our program");
    assert!(String::from_utf8_lossy(&help.stdout).contains("--truncate-to-timestamp"));
}

#[test]
fn a_moment_can_be_restored_at_the_start() {
    let set = |key: &str| format!("*3\r\n$3\r\nSET\r\n$1\r\n{key}\r\n$1\r\n1\r\n");
    let text = format!("#TS:1700000000\r\n{}#TS:1700000100\r\n{}", set("a"), set("b"));
    let prepare = |text: &str| {
        let server = Server::prepare(Port::reserve(), Kind::Pando, &["appendonly yes"]);
        fs::create_dir(server.path(DIR)).expect("a directory");
        fs::write(server.path(DIR).join(LIST), "file x.aof seq 1 type i\n").expect("a list");
        fs::write(server.path(DIR).join("x.aof"), text).expect("a file");
        server
    };
    let refused = |server: &Server, time: &str, why: &str| {
        let conf = server.path("redis.conf");
        let (code, said) = run_to_end(server.kind, &[conf.to_str().expect("text"), "--aof-restore-to", time], "");
        assert!(code == Some(1) && said.contains(why), "{time}: {said}");
        let _ = fs::remove_file(server.path("appendonlydir/temp"));
    };
    let server = prepare(&text);
    refused(&server, "1699999999", "has nothing before that");
    refused(&server, "yesterday", "Invalid time 'yesterday'");
    refused(&prepare(&set("a")), "1700000000", "has no timestamps");
    assert_eq!(fs::read(server.path(DIR).join("x.aof")).expect("the file"), text.as_bytes(), "nothing was touched");

    let conf = server.path("redis.conf");
    let log = fs::File::create(server.path("log")).expect("a log");
    let mut command = server.kind.command();
    command.arg(conf).args(["--aof-restore-to", "2023-11-14T22:13:20Z"]).stdout(log);
    let mut child = command.spawn().expect("a server");
    server.wait_log("Ready to accept connections");
    server.check("mget a b", "[$1 $nil]");
    assert!(server.log_has("Successfully truncated AOF x.aof to timestamp 1700000000: 43 of 86 bytes went"));
    child.kill().expect("our child");
    child.wait().expect("our child");
}
