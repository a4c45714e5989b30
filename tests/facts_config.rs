//! The directives against what stock servers say of theirs: names, defaults, ranges, error texts.
//!
//! `tests/data/config-*.json` hold the answers of stock servers to `CONFIG GET *`. Where a stock redis-server is
//! installed it is started on a Unix socket and asked the same questions. Knows nothing of how settings are kept.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pando::config::{Config, DIRECTIVES, LoadOptions, SetContext, reference_conf};

const STOCK: &str = "/usr/bin/redis-server";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn facts(name: &str) -> BTreeMap<String, String> {
    let path = root().join("tests/data").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).expect("a JSON object of texts")
}

fn shown(config: &Config, name: &str) -> Option<String> {
    config.get(&[name]).pop().map(|(_, value)| String::from_utf8_lossy(&value).into_owned())
}

fn load(args: &[&str]) -> Result<Config, String> {
    let args: Vec<OsString> = args.iter().map(OsString::from).collect();
    Config::load(&args, &mut std::io::empty(), LoadOptions::default()).map_err(|e| e.to_string())
}

#[test]
fn defaults_are_those_of_redis_7_0() {
    let config = Config::default();
    // The facts were taken from a server started without save points; threads are one for each core here.
    let differ = ["save", "io-threads"];
    for (name, value) in facts("config-redis-7.0.15.json") {
        if !differ.contains(&name.as_str()) {
            assert_eq!(shown(&config, &name).as_deref(), Some(value.as_str()), "{name}");
        }
    }
    assert_eq!(shown(&config, "save").as_deref(), Some("3600 1 300 100 60 10000"));
}

#[test]
fn directives_of_later_servers_are_accepted_as_they_show_them() {
    for file in ["config-redis-8.0.6.json", "config-valkey-9.1.2.json"] {
        for (name, value) in facts(file) {
            // No master is the absence of the line.
            if name == "replicaof" || name == "slaveof" {
                continue;
            }
            let config = load(&[&format!("--{name}"), &value]).unwrap_or_else(|e| panic!("{file} {name}: {e}"));
            assert_eq!(shown(&config, &name).as_deref(), Some(value.as_str()), "{file} {name}");
        }
    }
}

#[test]
fn every_directive_can_be_set_to_what_it_shows() {
    let config = Config::default();
    for directive in DIRECTIVES {
        let value = String::from_utf8(directive.get(&config.now())).expect("text");
        let set = config.set(&[directive.name, &value], SetContext { local: true, ..SetContext::default() });
        match set {
            Ok(()) => {}
            Err(e) => assert!(
                e.to_string().ends_with("set immutable config") || e.to_string().ends_with("set protected config"),
                "{e}"
            ),
        }
    }
}

#[test]
fn the_reference_file_is_made_from_the_table() {
    let path = root().join("conf/redis.conf");
    if std::env::var_os("UPDATE_CONF").is_some() {
        std::fs::write(&path, reference_conf()).expect("conf/redis.conf");
    }
    let text = std::fs::read_to_string(&path).expect("conf/redis.conf");
    assert!(
        text == reference_conf(),
        "conf/redis.conf is out of date: run UPDATE_CONF=1 cargo test --test facts_config"
    );
    for directive in DIRECTIVES {
        let mentioned = |line: &str| line.trim_start_matches("# ").split(' ').next() == Some(directive.name);
        assert!(text.lines().any(mentioned), "{} is missing", directive.name);
    }
    let config = load(&[path.to_str().expect("a path")]).expect("the reference file loads");
    let default = Config::default();
    for directive in DIRECTIVES.iter().filter(|d| d.name != "dir") {
        assert!(directive.get(&config.now()) == directive.get(&default.now()), "{}", directive.name);
    }
}

#[test]
fn the_file_of_the_debian_package_loads() {
    let path = Path::new("/etc/redis/redis.conf");
    if path.exists() {
        let config = Config::peek(path).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(config.now().logfile, "/var/log/redis/redis-server.log");
        assert_eq!(config.now().bind, ["127.0.0.1", "-::1"]);
        assert_eq!(config.notes(), [""; 0]);
    }
}

/// Address of each file's server and of its master, by file name.
fn links(set: &str) -> Vec<(String, String, String)> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(root().join("conf").join(set)).expect(set).map(|e| e.expect(set).path()).collect();
    files.sort();
    let describe = |path: &PathBuf| {
        let config = Config::peek(path).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(config.notes(), [""; 0], "{}", path.display());
        let settings = config.snapshot();
        let master = settings.replicaof.as_ref().map_or(String::new(), |(host, port)| format!("{host}:{port}"));
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        assert!(!settings.daemonize, "{name} must stay in the foreground for `up`");
        (name, format!("{}:{}", settings.bind[0], settings.port), master)
    };
    files.iter().map(describe).collect()
}

#[test]
fn the_sets_of_files_form_the_trees_they_promise() {
    let check = |set: &str, expect: &[(&str, &str, &str)]| {
        let found = links(set);
        let found: Vec<(&str, &str, &str)> =
            found.iter().map(|(a, b, c)| (a.as_str(), b.as_str(), c.as_str())).collect();
        assert_eq!(found, expect, "conf/{set}");
    };
    check(
        "tree",
        &[
            ("redis-6401.conf", "127.0.0.1:6401", ""),
            ("redis-6402.conf", "127.0.0.1:6402", "127.0.0.1:6401"),
            ("redis-6403.conf", "127.0.0.1:6403", "127.0.0.1:6401"),
            ("redis-6404.conf", "127.0.0.1:6404", "127.0.0.1:6402"),
        ],
    );
    check(
        "two-rooms",
        &[
            ("room1-6401.conf", "127.0.0.1:6401", ""),
            ("room1-6402.conf", "127.0.0.1:6402", ""),
            ("room1-6403.conf", "127.0.0.1:6403", "127.0.0.1:6401"),
            ("room1-6404.conf", "127.0.0.1:6404", "127.0.0.1:6402"),
            ("room2-6401.conf", "127.0.0.2:6401", "127.0.0.1:6403"),
            ("room2-6402.conf", "127.0.0.2:6402", "127.0.0.1:6404"),
            ("room2-6403.conf", "127.0.0.2:6403", "127.0.0.2:6401"),
            ("room2-6404.conf", "127.0.0.2:6404", "127.0.0.2:6402"),
        ],
    );
    check(
        "chain",
        &[
            ("master_6379.conf", "127.0.0.1:6379", ""),
            ("slave_6380.conf", "127.0.0.1:6380", "127.0.0.1:6379"),
            ("slave_6381.conf", "127.0.0.1:6381", "127.0.0.1:6379"),
            ("slave_6383.conf", "127.0.0.1:6383", "127.0.0.1:6380"),
        ],
    );
    check(
        "auth",
        &[
            ("master-6501.conf", "127.0.0.1:6501", ""),
            ("slave-6502.conf", "127.0.0.1:6502", "127.0.0.1:6501"),
            ("slave-6503.conf", "127.0.0.1:6503", "127.0.0.1:6501"),
        ],
    );
}

/// A stock server on a Unix socket in a directory of its own.
struct Stock {
    child: Child,
    dir: tempfile::TempDir,
}

impl Stock {
    /// `None` where none is installed.
    fn start(args: &[&str]) -> Option<Stock> {
        if !Path::new(STOCK).exists() {
            return None;
        }
        let dir = tempfile::tempdir().expect("directory");
        let mut command = Command::new(STOCK);
        command.args(args).args(["--port", "0", "--unixsocket"]).arg(dir.path().join("socket"));
        command.arg("--dir").arg(dir.path()).stdout(Stdio::null());
        let mut stock = Stock { child: command.spawn().expect("a stock server"), dir };
        for _ in 0..1000 {
            if let Some(status) = stock.child.try_wait().expect("a child") {
                panic!("the stock server ended: {status}");
            }
            if UnixStream::connect(stock.dir.path().join("socket")).is_ok() {
                return Some(stock);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the stock server does not listen");
    }

    fn connect(&self) -> Client {
        Client(BufReader::new(UnixStream::connect(self.dir.path().join("socket")).expect("the stock server")))
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Client(BufReader<UnixStream>);

impl Client {
    fn ask(&mut self, words: &[&str]) -> Vec<String> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.0.get_mut().write_all(request.as_bytes()).expect("a request");
        self.reply()
    }

    /// A status or error as one text, an array as its texts.
    fn reply(&mut self) -> Vec<String> {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a reply");
        let (kind, rest) = line.trim_end().split_at(1);
        let count = || rest.parse::<usize>().expect("a length");
        match kind {
            "$" => {
                let mut text = vec![0; count() + 2];
                self.0.read_exact(&mut text).expect("a string");
                text.truncate(count());
                vec![String::from_utf8_lossy(&text).into_owned()]
            }
            "*" => (0..count()).flat_map(|_| self.reply()).collect(),
            _ => vec![rest.to_owned()],
        }
    }
}

#[test]
fn stock_starts_with_the_reference_file() {
    let path = root().join("conf/redis.conf");
    let Some(stock) = Stock::start(&[path.to_str().expect("a path")]) else {
        return;
    };
    let answer = stock.connect().ask(&["CONFIG", "GET", "*"]);
    let own = load(&[path.to_str().expect("a path")]).expect("the reference file");
    for pair in answer.chunks_exact(2) {
        let differ = ["port", "dir", "unixsocket", "io-threads"];
        if !differ.contains(&pair[0].as_str()) {
            assert_eq!(shown(&own, &pair[0]).as_deref(), Some(pair[1].as_str()), "{}", pair[0]);
        }
    }
}

/// Names and values for CONFIG SET, good and bad.
const ASSIGNMENTS: &[&[&str]] = &[
    &["nonsense", "1"],
    &["port"],
    &["timeout", "1", "hz"],
    &["timeout", "x"],
    &["timeout", ""],
    &["timeout", "01"],
    &["timeout", "+1"],
    &["timeout", " 1"],
    &["timeout", "-1"],
    &["timeout", "2147483647"],
    &["timeout", "2147483648"],
    &["timeout", "99999999999999999999"],
    &["TimeOut", "0"],
    &["maxclients", "0"],
    &["hz", "0"],
    &["hz", "100000"],
    &["hz", "10"],
    &["tcp-keepalive", "-5"],
    &["maxmemory", "100mb"],
    &["maxmemory", "1GB"],
    &["maxmemory", "1gib"],
    &["maxmemory", "-1"],
    &["maxmemory", "b"],
    &["maxmemory", "10%"],
    &["maxmemory", "99999999999999999999999"],
    &["maxmemory", "0"],
    &["maxmemory-clients", "5%"],
    &["maxmemory-clients", "101%"],
    &["maxmemory-clients", "-5%"],
    &["maxmemory-clients", "5k"],
    &["maxmemory-clients", "x"],
    &["maxmemory-clients", "0"],
    &["client-query-buffer-limit", "1024"],
    &["client-query-buffer-limit", "2mb"],
    &["repl-backlog-size", "0"],
    &["repl-backlog-size", "18446744073709551615"],
    &["repl-backlog-size", "16kb"],
    &["hash-max-listpack-value", "-1"],
    &["hash-max-listpack-entries", "-1"],
    &["hash-max-ziplist-entries", "x"],
    &["hash-max-ziplist-entries", "7"],
    &["hash-max-listpack-entries", "8", "hash-max-ziplist-entries", "9"],
    &["list-max-listpack-size", "-3000000000"],
    &["list-max-ziplist-size", "-3"],
    &["slowlog-max-len", "-1"],
    &["slowlog-log-slower-than", "-2"],
    &["maxmemory-samples", "0"],
    &["maxmemory-eviction-tenacity", "101"],
    &["rdbcompression", "maybe"],
    &["rdbcompression", "NO"],
    &["rdbcompression", "yes"],
    &["rdbcompression", ""],
    &["maxmemory-policy", "allkeys"],
    &["maxmemory-policy", "ALLKEYS-LRU"],
    &["maxmemory-policy", "noeviction"],
    &["maxmemory-policy", ""],
    &["appendfsync", "sometimes"],
    // What is wrong there is answered with one choice more than Redis has: Valkey's flush-before-load.
    &["repl-diskless-load", "swapdb"],
    &["sanitize-dump-payload", "x"],
    &["acl-pubsub-default", "x"],
    &["cluster-preferred-endpoint-type", "x"],
    &["propagation-error-behavior", "x"],
    &["oom-score-adj", "x"],
    &["shutdown-on-sigint", "now save"],
    &["shutdown-on-sigint", "save nosave"],
    &["shutdown-on-sigint", "save  now"],
    &["shutdown-on-sigint", ""],
    &["shutdown-on-sigint", "force default"],
    &["shutdown-on-sigint", "default"],
    &["save", "10 20"],
    &["save", "10 20 30 40"],
    &["save", "10"],
    &["save", "0 1"],
    &["save", "1 -1"],
    &["save", "a b"],
    &["save", "1  2"],
    &["save", ""],
    &["client-output-buffer-limit", "normal 1 2"],
    &["client-output-buffer-limit", "master 1 2 3"],
    &["client-output-buffer-limit", "nobody 1 2 3"],
    &["client-output-buffer-limit", "normal x 2 3"],
    &["client-output-buffer-limit", "normal 1 2 -3"],
    &["client-output-buffer-limit", "normal 1 2 3x"],
    &["client-output-buffer-limit", "replica 2mb 1mb 3 pubsub 5 4 3"],
    &["client-output-buffer-limit", "slave 1gb 0 0"],
    &["client-output-buffer-limit", ""],
    &["notify-keyspace-events", "KEA"],
    &["notify-keyspace-events", "KEAmn"],
    &["notify-keyspace-events", "gK$"],
    &["notify-keyspace-events", "q"],
    &["notify-keyspace-events", ""],
    &["latency-tracking-info-percentiles", "50 99.5 0.000001"],
    &["latency-tracking-info-percentiles", "101"],
    &["latency-tracking-info-percentiles", "-1"],
    &["latency-tracking-info-percentiles", "x"],
    &["latency-tracking-info-percentiles", ""],
    &["oom-score-adj-values", "1 2"],
    &["oom-score-adj-values", "1 2 3000"],
    &["oom-score-adj-values", "1 2 x"],
    &["proc-title-template", "{title} {nothing}"],
    &["proc-title-template", "{title"],
    &["proc-title-template", "{title} x"],
    &["dbfilename", "a/b"],
    &["dir", "/nonexistent/place"],
    &["cluster-announce-hostname", "a_b"],
    &["cluster-announce-hostname", "a-b.c"],
    &["daemonize", "yes"],
    &["databases", "2"],
    &["replicaof", "localhost 1"],
    &["slaveof", "localhost 1"],
    &["unixsocketperm", "700"],
    &["appendfilename", "x"],
    &["enable-debug-command", "yes"],
    &["timeout", "1", "timeout", "2"],
    &["timeout", "3", "maxmemory", "x"],
    &["timeout", "3", "daemonize", "yes"],
    &["timeout", "4", "nonsense", "yes"],
    &["slave-priority", "x"],
    &["slave-priority", "7"],
    &["lua-time-limit", "-1"],
    &["requirepass", "se cret\r\n\"'"],
    &["requirepass", ""],
    &["masterauth", "x"],
    &["bind-source-addr", "127.0.0.1"],
    &["replica-announce-port", "65536"],
    &["key-load-delay", "5"],
    &["loading-process-events-interval-bytes", "1"],
];

#[test]
fn config_set_answers_as_stock_does() {
    let Some(stock) = Stock::start(&["--io-threads", "1"]) else {
        return;
    };
    let mut client = stock.connect();
    let dir = stock.dir.path().to_str().expect("a path");
    let own = load(&["--io-threads", "1", "--dir", dir]).expect("defaults");
    let mut wrong = Vec::new();
    for pairs in ASSIGNMENTS {
        let theirs = client.ask(&[&["CONFIG", "SET"], *pairs].concat()).join(" ");
        let context = SetContext { loading: false, local: true };
        let ours = match own.set(pairs, context) {
            // The command's arity is looked at before its handler runs.
            _ if pairs.len() == 1 => continue,
            Ok(()) => "OK".to_owned(),
            Err(error) => error.to_string(),
        };
        if ours != theirs {
            wrong.push(format!("CONFIG SET {pairs:?}\n  ours   {ours}\n  theirs {theirs}"));
        }
        // A password that was set keeps strangers out.
        if pairs[0] == "requirepass" {
            continue;
        }
        for name in pairs.iter().step_by(2) {
            let theirs = client.ask(&["CONFIG", "GET", name]);
            let (ours, theirs) = (shown(&own, name), theirs.get(1));
            if ours.as_ref() != theirs {
                wrong.push(format!("CONFIG GET {name} after {pairs:?}\n  ours   {ours:?}\n  theirs {theirs:?}"));
            }
        }
    }
    for pattern in ["*", "*max*", "SLAVE*", "slave-priority", "Slave-Priority", "[hl]ash*", "nonsense", "*delay"] {
        let mut theirs: Vec<String> =
            client.ask(&["CONFIG", "GET", pattern]).chunks_exact(2).map(|pair| pair[0].clone()).collect();
        let config = own.get(&[pattern]);
        let mut ours: Vec<String> = config.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect();
        // What later servers added is not for comparison.
        let known = facts("config-redis-7.0.15.json");
        let old = |name: &String| known.contains_key(name) || known.contains_key(&name.to_lowercase());
        theirs.retain(old);
        ours.retain(old);
        theirs.sort();
        ours.sort();
        assert_eq!(ours, theirs, "CONFIG GET {pattern}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Lines that no server takes.
const BAD_LINES: &[&str] = &[
    "nonsense 1",
    "port",
    "port 1 2",
    "port x",
    "port 70000",
    "port \"unbalanced",
    "port 'a'b",
    "daemonize maybe",
    "save 1",
    "save 1 x",
    "save \"1 2 3\"",
    "replicaof localhost",
    "replicaof localhost x",
    "slaveof localhost 70000",
    "slaveof localhost -1",
    "client-output-buffer-limit normal 1",
    "client-output-buffer-limit x 1 2 3",
    "databases 0",
    "unixsocketperm 999",
    "unixsocketperm 1000",
    "appendfilename a/b",
    "appendfilename \"\"",
    "appenddirname a/b",
    "dbfilename a/b",
    "dir /nonexistent/place",
    "include",
    "rename-command a",
    "user",
    "sentinel monitor a 127.0.0.1 1 1",
    "proto-max-bulk-len 1",
    "io-threads 0",
    "logfile /nonexistent/place/log",
    "bind 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17",
    "notify-keyspace-events x y",
    "oom-score-adj-values 1 2",
    "shutdown-on-sigterm save nosave",
    "shutdown-on-sigterm",
];

#[test]
fn bad_files_are_refused_as_stock_refuses_them() {
    if !Path::new(STOCK).exists() {
        return;
    }
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("bad.conf");
    let mut wrong = Vec::new();
    for line in BAD_LINES {
        std::fs::write(&path, format!("# one\ntimeout 5\n\n  {line}\t\r\n")).expect("file");
        let output = Command::new(STOCK).arg(&path).stdin(Stdio::null()).output().expect("a stock server");
        let theirs = String::from_utf8_lossy(&output.stderr).into_owned();
        let ours = load(&[path.to_str().expect("a path")]).err().unwrap_or_else(|| panic!("{line} was taken"));
        let last = |text: &str| text.trim_end().lines().last().unwrap_or("").to_owned();
        if last(&ours) != last(&theirs) {
            wrong.push(format!("{line}\n  ours   {}\n  theirs {}", last(&ours), last(&theirs)));
        }
        if theirs.contains(">>> ") {
            assert!(ours.contains(&format!("\n>>> '{}'\n", line.trim())), "{ours}");
            assert!(ours.contains("Reading the configuration file, at line 4 of "), "{ours}");
            assert!(ours.contains(path.to_str().expect("a path")), "{ours}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
