//! Starting, configuring and stopping one server.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::harness::{Client, Kind, Port, Reply, Server, run_to_end, wait_until};

fn start(lines: &[&str]) -> Server {
    Server::start(Kind::Pando, lines)
}

#[test]
fn a_bad_line_is_refused_with_its_place_and_reason() {
    for (conf, words) in [
        ("port 7777\nprot 5\n", ["at line 2", ">>> 'prot 5'", "Bad directive or wrong number of arguments"]),
        ("port nope\n", ["at line 1", ">>> 'port nope'", "argument couldn't be parsed into an integer"]),
        ("\n\nport 70000\n", ["at line 3", ">>> 'port 70000'", "argument must be between 0 and 65535 inclusive"]),
        ("maxclients 0\n", ["at line 1", ">>> 'maxclients 0'", "argument must be between 1 and 4294967295 inclusive"]),
        ("port \"1\n", ["at line 1", ">>> 'port \"1'", "Unbalanced quotes in configuration line"]),
        ("appendonly maybe\n", ["at line 1", ">>> 'appendonly maybe'", "argument must be 'yes' or 'no'"]),
        ("port 1 2 3\n", ["at line 1", ">>> 'port 1 2 3'", "wrong number of arguments"]),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("bad.conf");
        std::fs::write(&file, conf).expect("a file");
        for (args, stdin) in [([file.to_str().expect("text")], ""), (["-"], conf)] {
            let (code, said) = run_to_end(Kind::Pando, &args, stdin);
            assert_eq!(code, Some(1), "{conf:?}: {said}");
            for word in words {
                assert!(said.contains(word), "{word:?} is missing: {said}");
            }
        }
    }
    let (code, said) = run_to_end(Kind::Pando, &["/nowhere/at.all"], "");
    assert_eq!(code, Some(1));
    assert!(said.contains("/nowhere/at.all") && said.contains("No such file or directory"), "{said}");
}

#[test]
fn help_and_version_are_told_without_starting() {
    for flag in ["--version", "-v"] {
        let (code, said) = run_to_end(Kind::Pando, &[flag], "");
        assert_eq!(code, Some(0));
        assert!(said.contains(" v="), "{said}");
    }
    let (_, said) = run_to_end(Kind::Pando, &["--help"], "");
    assert!(said.contains("redis.conf"), "{said}");
}

/// A server started with its own words on the command line; ends with the guard.
struct Started {
    child: std::process::Child,
    port: Port,
}

impl Started {
    fn with(args: &[&str], stdin: &str) -> Started {
        use std::io::Write as _;
        let port = Port::reserve();
        let number = port.number.to_string();
        let args = args.iter().map(|a| a.replace("{port}", &number));
        let mut command = Kind::Pando.command();
        command.args(args).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::null());
        let mut child = command.spawn().expect("the server");
        let conf = stdin.replace("{port}", &number);
        child.stdin.take().expect("piped").write_all(conf.as_bytes()).expect("it reads");
        let mut started = Started { child, port };
        wait_until("it answers", || {
            assert!(started.child.try_wait().expect("ours").is_none(), "it ended at once");
            Client::try_connect(("127.0.0.1", started.port.number)).is_ok()
        });
        started
    }

    fn client(&self) -> Client {
        Client::connect(self.port.number)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_configuration_file_of_debians_package_starts_the_server() {
    let Ok(text) = std::fs::read_to_string("/etc/redis/redis.conf") else {
        eprintln!("/etc/redis/redis.conf is missing, or readable to its owner only: nothing to start from");
        return;
    };
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("redis.conf");
    std::fs::write(&file, text).expect("a copy");
    let path = |name: &str| dir.path().join(name).to_str().expect("text").to_owned();
    let s = Started::with(
        &[
            &path("redis.conf"),
            "--port",
            "{port}",
            "--dir",
            &path(""),
            "--logfile",
            "",
            "--pidfile",
            &path("pid"),
            "--daemonize",
            "no",
        ],
        "",
    );
    s.client().script(
        r#"set a 1 => +OK
        config get databases => [$databases $16]
        config get tcp-backlog => [$tcp-backlog $511]
        config get client-output-buffer-limit => [$client-output-buffer-limit $normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60]"#,
    );
}

#[test]
fn configuration_comes_from_standard_input_arguments_and_included_files() {
    let s = Started::with(&["-"], "port {port}\nbind 127.0.0.1\nsave \"\"\nmaxclients 77\n");
    s.client().check("config get maxclients", "[$maxclients $77]");

    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("a file");
    write("main.conf", &format!("include {}/part-*.conf\nmaxclients 50\nhz 11\n", dir.path().display()));
    write("part-1.conf", "maxclients 60\nhz 12\ntimeout 70\n");
    write("part-2.conf", "timeout 80\n");
    let main = dir.path().join("main.conf");
    let s = Started::with(
        &[main.to_str().expect("text"), "--port", "{port}", "--save", "", "--bind", "127.0.0.1", "--hz", "13"],
        "",
    );
    s.client().script(
        r#"config get maxclients => [$maxclients $50]
        config get timeout => [$timeout $80]
        config get hz => [$hz $13]
        config get save => [$save $]"#,
    );
}

#[test]
fn words_in_quotes_and_escapes_are_read_as_written() {
    let s = start(&[
        "proc-title-template \"{title} it's {listen-addr}\"",
        "# a comment",
        "   ",
        "slowlog-max-len 5   ",
        "SLOWLOG-LOG-SLOWER-THAN 7",
        "requirepass 'it\\'s me'",
        "maxmemory 5mb",
        "repl-backlog-size 2gb",
    ]);
    let mut c = Client::connect(s.port());
    c.check("auth \"it's me\"", "+OK");
    c.script(
        r#"config get proc-title-template => [$proc-title-template ${title} it\'s {listen-addr}]
        config get slowlog-max-len => [$slowlog-max-len $5]
        config get slowlog-log-slower-than => [$slowlog-log-slower-than $7]
        config get maxmemory => [$maxmemory $5242880]
        config get repl-backlog-size => [$repl-backlog-size $2147483648]"#,
    );
}

fn pairs(reply: &Reply) -> BTreeMap<String, String> {
    reply.items().chunks(2).map(|kv| (kv[0].text(), kv[1].text())).collect()
}

#[test]
fn settings_are_found_by_patterns_and_changed_together_or_not_at_all() {
    let s = start(&[]);
    let found = pairs(&s.run("config get *-timeout *pidfile* maxclients"));
    assert_eq!(found["maxclients"], "10000");
    assert_eq!(found["repl-timeout"], "60");
    assert!(found.contains_key("pidfile"));
    s.check("config get nosuch*", "[]");
    s.script(
        r#"config set maxclients 100 hz 20 => +OK
        config get hz => [$hz $20]
        config set maxclients 5 nosuch 1 => -ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'
        config set maxclients 5 maxclients 6 => -ERR CONFIG SET failed (possibly related to argument 'maxclients') - duplicate parameter
        config set maxclients 200 hz x => -ERR CONFIG SET failed (possibly related to argument 'hz') - argument couldn't be parsed into an integer
        config get maxclients => [$maxclients $100]
        config set daemonize yes => -ERR CONFIG SET failed (possibly related to argument 'daemonize') - can't set immutable config
        config set appendfsync sometimes => -ERR CONFIG SET failed (possibly related to argument 'appendfsync') - argument(s) must be one of the following: everysec, always, no
        config set maxmemory 1gb => +OK
        config get maxmemory => [$maxmemory $1073741824]
        config set save "900 1 300 10" => +OK
        config get save => [$save $900 1 300 10]
        config set save "" => +OK
        config get save => [$save $]
        config set client-output-buffer-limit "pubsub 1mb 2mb 3" => +OK
        config set slave-read-only no => +OK
        config get replica-read-only => [$replica-read-only $no]
        config set notify-keyspace-events KEA => +OK
        config get notify-keyspace-events => [$notify-keyspace-events $AKE]
        config set maxclients => -ERR wrong number of arguments for 'config|set' command"#,
    );
}

#[test]
fn rewriting_the_file_keeps_its_comments_and_order() {
    let mut s = start(&["# the number of friends", "maxclients 100", "", "# their patience", "timeout 50", "hz 11"]);
    s.script("config set timeout 60 => +OK\n config set slowlog-max-len 9 => +OK\n config set hz 10 => +OK\n config rewrite => +OK");
    let text = std::fs::read_to_string(s.path("redis.conf")).expect("the file");
    let at = |word: &str| text.find(word).unwrap_or_else(|| panic!("{word:?} is missing in\n{text}"));
    assert!(at("# the number of friends\nmaxclients 100") < at("# their patience\ntimeout 60"), "{text}");
    assert!(at("timeout 60") < at("# Generated by CONFIG REWRITE"), "{text}");
    assert!(at("# Generated by CONFIG REWRITE") < at("slowlog-max-len 9"), "{text}");
    assert!(!text.contains("hz 11"), "{text}");
    let master = start(&[]);
    s.check(&format!("replicaof 127.0.0.1 {}", master.port()), "+OK");
    s.check("config rewrite", "+OK");
    s.restart();
    assert_eq!(s.info("replication", "role"), "slave");
    s.script("config get timeout => [$timeout $60]\n config get slowlog-max-len => [$slowlog-max-len $9]");
    s.check("replicaof no one", "+OK");
    s.check("config rewrite", "+OK");
    let text = std::fs::read_to_string(s.path("redis.conf")).expect("the file");
    assert!(!text.contains("replicaof"), "{text}");
}

#[test]
fn counters_are_set_back_on_demand() {
    let s = start(&[]);
    s.script("set a 1 => +OK\n get a => $1\n get none => $nil");
    assert_eq!(s.info("stats", "keyspace_hits"), "1");
    assert_eq!(s.info("stats", "keyspace_misses"), "1");
    s.check("config resetstat", "+OK");
    assert_eq!(s.info("stats", "keyspace_hits"), "0");
    assert_eq!(s.info("stats", "keyspace_misses"), "0");
}

/// Directives whose value is this machine's, this file's, or chosen otherwise on purpose.
const OWN_VALUES: &[&str] = &[
    "port",
    "dir",
    "pidfile",
    "logfile",
    "io-threads",
    "slaveof",
    "replicaof",
    "proc-title-template",
    "jemalloc-bg-thread",
    "activerehashing",
    "dynamic-hz",
    "oom-score-adj-values",
];

#[test]
fn every_stock_setting_is_known_with_its_default() {
    let (ours, stock) = (start(&[]), Server::start(Kind::Stock70, &[]));
    let (mine, theirs) = (pairs(&ours.run("config get *")), pairs(&stock.run("config get *")));
    let mut wrong = Vec::new();
    for (name, value) in &theirs {
        match mine.get(name) {
            None => wrong.push(format!("{name} is missing")),
            Some(own) if own != value && !OWN_VALUES.contains(&name.as_str()) => {
                wrong.push(format!("{name} is {own:?}, stock has {value:?}"));
            }
            Some(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// INFO fields of stock's that speak of its allocator, its forks or its build.
fn is_stocks_own(field: &str) -> bool {
    [
        "allocator_",
        "mem_fragmentation",
        "rss_overhead",
        "module_",
        "active_defrag",
        "gcc_version",
        "lua",
        "used_memory_vm",
        "used_memory_scripts",
        "cmdstat_",
        "errorstat_",
        "latency_percentiles",
        "redis_git",
        "redis_build",
    ]
    .iter()
    .any(|prefix| field.starts_with(prefix))
        || field.contains("defrag")
        || field.contains("_fork")
}

#[test]
fn info_has_every_stock_section_and_field() {
    let fields = |s: &Server| -> Vec<(String, String)> {
        let text = s.run("info").text();
        let mut section = String::new();
        let mut out = Vec::new();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("# ") {
                section = name.to_owned();
            } else if let Some((name, _)) = line.split_once(':') {
                out.push((section.clone(), name.to_owned()));
            }
        }
        out
    };
    let (ours, stock) = (start(&[]), Server::start(Kind::Stock70, &[]));
    let mine = fields(&ours);
    let missing: Vec<String> = fields(&stock)
        .into_iter()
        .filter(|f| !mine.contains(f) && !is_stocks_own(&f.1))
        .map(|(section, name)| format!("{section}: {name}"))
        .collect();
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    assert_eq!(ours.info("server", "tcp_port"), ours.port().to_string());
    assert_eq!(ours.info("server", "process_id"), ours.pid().to_string());
    assert_eq!(ours.info("server", "redis_mode"), "standalone");
    assert_eq!(ours.info("cluster", "cluster_enabled"), "0");
    assert!(!ours.run("info nosuch").text().contains(':'));
}

#[test]
fn a_password_is_asked_for() {
    let s = start(&["requirepass secret"]);
    let mut c = Client::connect(s.port());
    let hello = c.run("hello 3").to_string();
    assert!(hello.starts_with("-NOAUTH HELLO must be called with the client already authenticated"), "{hello}");
    c.script(
        r#"get a => -NOAUTH Authentication required.
        ping => -NOAUTH Authentication required.
        auth wrong => -WRONGPASS invalid username-password pair or user is disabled.
        auth nobody secret => -WRONGPASS invalid username-password pair or user is disabled.
        auth secret => +OK
        ping => +PONG
        reset => +RESET
        ping => -NOAUTH Authentication required.
        auth default secret => +OK
        config set requirepass "" => +OK"#,
    );
    Client::connect(s.port()).check("ping", "+PONG");
    Client::connect(s.port()).check(
        "auth x",
        "-ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?",
    );
    c.check("config set requirepass other", "+OK");
    let mut c = Client::connect(s.port());
    assert!(matches!(c.run("hello 3 auth default other setname me"), Reply::Map(_)));
    c.check("client getname", "$me");
}

#[test]
fn commands_are_renamed_and_taken_away() {
    let s = start(&["rename-command GET fetch", "rename-command FLUSHALL \"\""]);
    s.script(
        r#"set a 1 => +OK
        fetch a => $1
        get a => -ERR unknown command 'get', with args beginning with: 'a'
        flushall => -ERR unknown command 'flushall', with args beginning with:"#,
    );
}

#[test]
fn databases_are_as_many_as_configured() {
    let s = start(&["databases 4"]);
    s.script(
        "select 3 => +OK\n select 4 => -ERR DB index is out of range\n swapdb 0 4 => -ERR DB index is out of range",
    );
}

#[test]
fn a_unix_socket_serves_without_a_port() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("sock");
    let mut child = Kind::Pando
        .command()
        .args(["--port", "0", "--save", "", "--unixsocketperm", "700", "--unixsocket"])
        .arg(&path)
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("the server");
    wait_until("the socket is there", || std::os::unix::net::UnixStream::connect(&path).is_ok());
    let mut c = Client::connect_unix(&path);
    c.check("set a 1", "+OK");
    let info = c.run("client info").text();
    assert!(info.contains(&format!("addr={}:0", path.display())), "{info}");
    assert_eq!(std::fs::metadata(&path).expect("the socket").permissions().mode() & 0o777, 0o700);
    c.send(&["SHUTDOWN", "NOSAVE"]);
    wait_until("it ends", || child.try_wait().expect("ours").is_some());
    assert!(!path.exists(), "the socket is taken away");
}

#[test]
fn both_loopback_addresses_are_served_and_a_missing_one_may_be_left_out() {
    let s = start(&["bind 127.0.0.1 -::1 -203.0.113.7"]);
    s.check("ping", "+PONG");
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        let mut c = Client::try_connect((Ipv6Addr::LOCALHOST, s.port())).expect("the IPv6 address");
        c.check("ping", "+PONG");
        let info = c.run("client info").text();
        assert!(info.contains(" addr=[::1]:"), "{info}");
    } else {
        eprintln!("no IPv6 here");
    }
    let port = Port::reserve().number.to_string();
    let (code, said) = run_to_end(Kind::Pando, &["--port", &port, "--bind", "203.0.113.7"], "");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("Failed listening on"), "{said}");
}

#[test]
fn a_busy_port_is_named_and_ends_the_start() {
    let s = start(&[]);
    let (code, said) = run_to_end(Kind::Pando, &["--port", &s.port().to_string(), "--bind", "127.0.0.1"], "");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("Failed listening on port {}", s.port())), "{said}");
}

#[test]
fn strangers_are_kept_out_by_protected_mode() {
    // Connecting a datagram socket sends nothing; it tells which of our addresses faces the world.
    let probe = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
    let outside = match probe.connect(("203.0.113.7", 9)).and_then(|()| probe.local_addr()) {
        Ok(address) if !address.ip().is_loopback() => address.ip(),
        _ => return eprintln!("this machine has no address but the loopback's"),
    };
    let s = start(&["bind * -::*"]);
    let mut c = Client::try_connect((outside, s.port())).expect("the outer address");
    let said = c.read().to_string();
    assert!(said.starts_with("-DENIED Redis is running in protected mode"), "{said}");
    assert!(c.is_closed());
    s.check("config set protected-mode no", "+OK");
    Client::try_connect((outside, s.port())).expect("the outer address").check("ping", "+PONG");
}

#[test]
fn one_client_too_many_is_turned_away() {
    let s = start(&["maxclients 3"]);
    let mut held: Vec<Client> = Vec::new();
    // Whoever asked before may be hanging up still.
    wait_until("three clients are in", || {
        let mut c = Client::connect(s.port());
        if c.try_call(&["PING"]).is_ok_and(|r| r.text() == "PONG") {
            held.push(c);
        }
        held.len() == 3
    });
    let mut c = Client::connect(s.port());
    assert_eq!(c.read().to_string(), "-ERR max number of clients reached");
    assert!(c.is_closed());
    held.pop();
    wait_until("a place is free again", || {
        Client::try_connect(("127.0.0.1", s.port()))
            .and_then(|mut c| c.try_call(&["PING"]))
            .is_ok_and(|r| r.text() == "PONG")
    });
    // Asked by one who is in: the place that was tried may not be free yet again.
    let stats = held[0].try_call(&["INFO", "stats"]).expect("an answer").text().to_owned();
    assert!(stats.contains("rejected_connections:"), "{stats}");
    assert!(!stats.contains("rejected_connections:0\r"), "{stats}");
}

#[test]
fn an_idle_client_is_let_go() {
    let s = start(&["timeout 1"]);
    let mut c = s.client();
    c.check("ping", "+PONG");
    assert!(c.is_closed());
}

#[test]
fn the_log_has_the_stock_line_format() {
    let s = start(&["loglevel verbose"]);
    s.wait_log("Ready to accept connections");
    let log = s.log();
    let line = log.lines().find(|l| l.contains("Ready to accept")).expect("the line");
    // 4711:M 21 Nov 2026 10:12:43.466 * Ready to accept connections
    let (pid, rest) = line.split_once(":M ").unwrap_or_else(|| panic!("{line}"));
    assert_eq!(pid, s.pid().to_string());
    let words: Vec<&str> = rest.split(' ').collect();
    assert!(words[0].parse::<u8>().is_ok() && words[1].len() == 3 && words[2].len() == 4, "{line}");
    let clock: Vec<&str> = words[3].split([':', '.']).collect();
    assert!(clock.len() == 4 && clock[3].len() == 3, "{line}");
    assert_eq!(words[4], "*", "{line}");
}

#[test]
fn the_log_goes_to_the_file_it_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("server.log");
    let s = Started::with(&["--port", "{port}", "--save", "", "--logfile", file.to_str().expect("text")], "");
    s.client().check("ping", "+PONG");
    let read = || std::fs::read_to_string(&file).unwrap_or_default();
    wait_until("the log is written", || read().contains("Ready to accept connections"));
}

#[test]
fn being_asked_to_end_saves_first_and_ends_well() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut s = start(&["save 3600 1"]);
        s.check("set a 1", "+OK");
        s.signal(Signal::HUP);
        s.check("ping", "+PONG");
        s.signal(signal);
        assert_eq!(s.wait_end().code(), Some(0));
        assert!(s.path("dump.rdb").exists());
        assert!(s.log_has("ready to exit, bye bye"));
        s.launch();
        s.check("get a", "$1");
    }
}

#[test]
fn shutdown_saves_as_it_is_told() {
    let mut s = start(&[]);
    for (words, kept) in [("shutdown nosave", false), ("shutdown", false), ("shutdown save", true)] {
        s.check("set a 1", "+OK");
        let mut c = s.client();
        c.send_raw(format!("{words}\r\n").as_bytes());
        assert!(c.is_closed());
        assert_eq!(s.wait_end().code(), Some(0));
        assert_eq!(s.path("dump.rdb").exists(), kept, "{words}");
        s.launch();
        s.check("exists a", if kept { ":1" } else { ":0" });
    }
    s.check("shutdown abort", "-ERR No shutdown in progress.");
    s.check("shutdown save nosave", "-ERR syntax error");
}

#[test]
fn a_snapshot_is_written_on_demand_and_by_itself() {
    let s = start(&["enable-protected-configs yes"]);
    s.check("mset a 1 b 2", "+OK");
    s.check("bgsave", "+Background saving started");
    wait_until("the snapshot is written", || s.info("persistence", "rdb_bgsave_in_progress") == "0");
    assert_eq!(s.info("persistence", "rdb_last_bgsave_status"), "ok");
    assert_eq!(s.info("persistence", "rdb_changes_since_last_save"), "0");
    std::fs::remove_file(s.path("dump.rdb")).expect("the snapshot");
    s.check("config set save \"1 2\"", "+OK");
    s.check("mset a 1 b 3", "+OK");
    wait_until("a snapshot is written by itself", || s.path("dump.rdb").exists());
    s.check("config set save \"\"", "+OK");
    wait_until("it is done", || s.info("persistence", "rdb_bgsave_in_progress") == "0");
    s.check("config set dbfilename other.rdb", "+OK");
    s.check("save", "+OK");
    assert!(s.path("other.rdb").exists());
}

#[test]
fn a_damaged_snapshot_ends_the_start_with_its_name() {
    let mut s = start(&[]);
    s.check("set a 1", "+OK");
    s.check("save", "+OK");
    s.crash();
    let mut bytes = std::fs::read(s.path("dump.rdb")).expect("the snapshot");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(s.path("dump.rdb"), bytes).expect("the damage");
    let conf = s.path("redis.conf");
    let (code, said) = run_to_end(Kind::Pando, &[conf.to_str().expect("text")], "");
    assert_eq!(code, Some(1), "{said}");
    assert!(s.path("dump.rdb").exists(), "the damaged file is kept");
}

#[test]
fn a_daemon_leaves_its_pid_and_takes_the_file_away() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).to_str().expect("text").to_owned();
    let port = Port::reserve();
    let number = port.number.to_string();
    let args = [
        "--port",
        &number,
        "--dir",
        &path(""),
        "--save",
        "",
        "--daemonize",
        "yes",
        "--pidfile",
        &path("pid"),
        "--logfile",
        &path("log"),
    ];
    let (code, said) = run_to_end(Kind::Pando, &args, "");
    assert_eq!(code, Some(0), "{said}");
    let read_pid =
        || std::fs::read_to_string(path("pid")).ok().and_then(|t| t.trim().parse().ok()).and_then(Pid::from_raw);
    wait_until("the pid file is written", || read_pid().is_some());
    let pid = read_pid().expect("just read");
    let guard = Daemon(pid);
    wait_until("it answers", || Client::try_connect(("127.0.0.1", port.number)).is_ok());
    let mut c = Client::connect(port.number);
    assert!(c.run("info server").text().contains(&format!("process_id:{}\r\n", pid.as_raw_nonzero())));
    kill_process(pid, Signal::TERM).expect("it runs");
    wait_until("it is gone", || test_kill_process(pid).is_err() || is_zombie(pid));
    assert!(!Path::new(&path("pid")).exists());
    drop(guard);
}

/// Nobody may be there to collect a daemon's end.
fn is_zombie(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))
}

struct Daemon(Pid);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::KILL);
    }
}
