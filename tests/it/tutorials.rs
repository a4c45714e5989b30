//! Three tutorials for stock servers, step by step, with a configuration file a port and stock redis-cli.
//!
//! The program is started through a link named `redis-server`, as a tutorial's reader would have it on the path.
//! Ports and addresses are this machine's; the words typed are the tutorials'.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::harness::{Kind, Port, wait_until};

/// A machine of a tutorial: a directory of configuration files, the servers started from them, and redis-cli.
struct Machine {
    dir: TempDir,
    ports: BTreeMap<u16, Port>,
    running: Vec<(u16, Child)>,
    password: Option<&'static str>,
}

impl Machine {
    fn new(ports: &[u16]) -> Machine {
        let dir = tempfile::Builder::new().prefix("pando-tutorial-").tempdir().expect("a directory");
        let program = Kind::Pando.program();
        let program = fs::canonicalize(&program).unwrap_or(program);
        std::os::unix::fs::symlink(program, dir.path().join("redis-server")).expect("a link");
        let ports = ports.iter().map(|p| (*p, Port::reserve())).collect();
        Machine { dir, ports, running: Vec::new(), password: None }
    }

    /// The port that stands for the tutorial's.
    fn port(&self, named: u16) -> u16 {
        self.ports[&named].number
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Replaces `{6379}` by the port that stands for it, and `{dir}` by the machine's directory.
    fn patch(&self, text: &str) -> String {
        let text = text.replace("{dir}", self.dir.path().to_str().expect("text"));
        self.ports.iter().fold(text, |t, (named, port)| t.replace(&format!("{{{named}}}"), &port.number.to_string()))
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), self.patch(text)).expect("a configuration file");
    }

    fn command(&self, conf: &str) -> Command {
        let mut command = Command::new(self.path("redis-server"));
        command.arg(self.path(conf)).current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    /// `nohup src/redis-server redis-6401.conf &`
    fn start(&mut self, named: u16, conf: &str) {
        let log = fs::File::create(self.path(&format!("{named}.out"))).expect("a log");
        let mut command = self.command(conf);
        command.stdout(log.try_clone().expect("a handle")).stderr(log);
        self.running.push((named, command.spawn().expect("the server")));
        self.answers(named);
    }

    /// `redis-server redis.conf` with `daemonize yes`: the command comes back, the server stays.
    fn start_daemon(&self, named: u16, conf: &str) {
        let status = self.command(conf).stdout(Stdio::null()).status().expect("the server");
        assert!(status.success());
        self.answers(named);
    }

    fn answers(&self, named: u16) {
        wait_until(&format!("{named} answers"), || {
            matches!(self.cli(named, "ping").as_str(), "PONG" | "NOAUTH Authentication required.")
        });
    }

    /// What `redis-cli -p PORT WORDS` prints.
    fn cli(&self, named: u16, words: &str) -> String {
        let mut command = Command::new("redis-cli");
        command.arg("-p").arg(self.port(named).to_string());
        command.args(self.patch(words).split_whitespace()).stdin(Stdio::null());
        if let Some(password) = self.password {
            command.env("REDISCLI_AUTH", password);
        }
        let out = command.output().expect("redis-cli");
        String::from_utf8_lossy(&out.stdout).trim_end().to_owned()
    }

    #[track_caller]
    fn types(&self, named: u16, words: &str, prints: &str) {
        assert_eq!(self.cli(named, words), self.patch(prints), "redis-cli -p {named} {words}");
    }

    /// Waits until INFO replication shows all these lines; `…` at a line's end stands for anything.
    #[track_caller]
    fn shows(&self, named: u16, lines: &[&str]) {
        let mut text = String::new();
        let lines: Vec<String> = lines.iter().map(|l| self.patch(l)).collect();
        wait_until(&format!("{named} shows {lines:?}"), || {
            text = self.cli(named, "info replication");
            lines.iter().all(|want| {
                text.lines().any(|line| match want.strip_suffix('…') {
                    Some(start) => line.trim().starts_with(start),
                    None => line.trim() == want,
                })
            })
        });
        assert!(text.starts_with("# Replication"), "{text}");
    }

    #[track_caller]
    fn reads(&self, named: u16, key: &str, value: &str) {
        wait_until(&format!("{named} has {key}"), || self.cli(named, &format!("get {key}")) == value);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for (_, child) in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
        // What went into the background left its number.
        for entry in fs::read_dir(self.dir.path()).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|e| e == "pid")
                && let Ok(text) = fs::read_to_string(entry.path())
                && let Some(pid) = text.trim().parse().ok().and_then(Pid::from_raw)
            {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        if std::thread::panicking() {
            for entry in fs::read_dir(self.dir.path()).into_iter().flatten().flatten() {
                if entry.path().extension().is_some_and(|e| e == "out" || e == "log") {
                    let text = fs::read_to_string(entry.path()).unwrap_or_default();
                    let tail: Vec<&str> = text.lines().rev().take(15).collect();
                    eprintln!("--- {}", entry.path().display());
                    tail.iter().rev().for_each(|line| eprintln!("{line}"));
                }
            }
        }
    }
}

/// Two machine rooms, each with two trees of one master and its slaves; the second room hangs below the first.
#[test]
fn two_machine_rooms_form_two_trees_and_the_second_outlives_the_first() {
    let names = [6401, 6402, 6403, 6404];
    // 6401 to 6404 in room 1, 6501 to 6504 stand for the same numbers in room 2.
    let all: Vec<u16> = names.iter().copied().chain(names.iter().map(|p| p + 100)).collect();
    let mut m = Machine::new(&all);
    for port in &all {
        m.write(
            &format!("redis-{port}.conf"),
            &format!("port {{{port}}}\ndir {{dir}}\ndbfilename {port}.rdb\nsave \"\"\nrepl-diskless-sync-delay 0\n"),
        );
        m.start(*port, &format!("redis-{port}.conf"));
    }
    let link = |m: &Machine, slave: u16, master: u16| {
        m.types(slave, &format!("slaveof 127.0.0.1 {{{master}}}"), "OK");
        let lines = [
            "role:slave".to_owned(),
            "master_host:127.0.0.1".to_owned(),
            format!("master_port:{{{master}}}"),
            "master_link_status:up".to_owned(),
            "master_sync_in_progress:0".to_owned(),
            "slave_priority:100".to_owned(),
            "slave_read_only:1".to_owned(),
            "connected_slaves:0".to_owned(),
            "repl_backlog_size:1048576".to_owned(),
        ];
        m.shows(slave, &lines.iter().map(String::as_str).collect::<Vec<_>>());
    };
    for (slave, master) in [(6403, 6401), (6501, 6403), (6503, 6501), (6404, 6402), (6502, 6404), (6504, 6502)] {
        link(&m, slave, master);
    }
    m.shows(
        6501,
        &[
            "role:slave",
            "master_port:{6403}",
            "connected_slaves:1",
            "slave0:ip=127.0.0.1,port={6503},state=online,offset=…",
        ],
    );
    for value in ["v1", "v2"] {
        m.types(6401, &format!("set k1 {value}"), "OK");
        m.reads(6501, "k1", value);
        m.reads(6503, "k1", value);
    }
    m.types(6402, "set other 1", "OK");
    m.reads(6504, "other", "1");
    m.types(6504, "exists k1", "0");
    m.types(6503, "set k1 v3", "READONLY You can't write against a read only replica.");

    // The first room burns down; its four servers are gone, and the second room takes over.
    for (named, child) in &mut m.running {
        if *named < 6500 {
            child.kill().expect("ours");
            child.wait().expect("ours");
        }
    }
    m.shows(6501, &["master_link_status:down"]);
    m.types(6501, "slaveof no one", "OK");
    m.shows(6501, &["role:master", "connected_slaves:1"]);
    m.types(6501, "set k1 v4", "OK");
    m.reads(6503, "k1", "v4");
}

/// The tutorial's remarks behind values are left out: a comment has a line of its own in this grammar.
const CHAIN_CONF: &str = "daemonize yes\npidfile {dir}/redis_PORT.pid\nport {PORT}\nlogfile \"{dir}/PORT.log\"\n\
    slave-read-only yes\ndir {dir}\ndbfilename PORT.rdb\nrepl-diskless-sync-delay 0\nsave \"\"\n";

/// One master, two slaves, a slave's slave; nodes are shut down and the rest is linked anew.
#[test]
fn a_chain_is_reparented_and_its_last_slave_becomes_a_master() {
    let m = Machine::new(&[6379, 6380, 6381, 6383]);
    let write = |port: u16, master: Option<u16>| {
        let mut text = CHAIN_CONF.replace("PORT", &port.to_string());
        if let Some(master) = master {
            text.push_str(&format!("slaveof 127.0.0.1 {{{master}}}\n"));
        }
        m.write(&format!("{port}.conf"), &text);
        m.start_daemon(port, &format!("{port}.conf"));
    };
    write(6379, None);
    write(6380, Some(6379));
    write(6381, Some(6379));
    write(6383, Some(6380));
    for port in [6380, 6381, 6383] {
        m.shows(port, &["role:slave", "master_link_status:up"]);
    }
    m.shows(
        6379,
        &[
            "role:master",
            "connected_slaves:2",
            "slave0:ip=127.0.0.1,port=…",
            "slave1:ip=127.0.0.1,port=…",
            "repl_backlog_active:1",
            "repl_backlog_size:1048576",
            "repl_backlog_first_byte_offset:1",
        ],
    );
    m.types(6379, "set hi hello", "OK");
    m.types(6379, "get hi", "hello");
    m.shows(
        6380,
        &[
            "role:slave",
            "master_host:127.0.0.1",
            "master_port:{6379}",
            "connected_slaves:1",
            "slave0:ip=127.0.0.1,port={6383},state=online,offset=…",
        ],
    );
    m.shows(6381, &["role:slave", "master_port:{6379}", "connected_slaves:0"]);
    m.shows(6383, &["role:slave", "master_port:{6380}", "connected_slaves:0"]);
    for port in [6380, 6381, 6383] {
        m.reads(port, "hi", "hello");
    }

    m.types(6380, "shutdown", "");
    m.shows(6383, &["role:slave", "master_port:{6380}", "master_link_status:down"]);
    m.types(6383, "slaveof 127.0.0.1 {6381}", "OK");
    m.shows(6383, &["role:slave", "master_port:{6381}", "master_link_status:up"]);
    m.types(6379, "set hi again", "OK");
    m.reads(6383, "hi", "again");

    m.types(6381, "shutdown", "");
    m.shows(6383, &["master_port:{6381}", "master_link_status:down", "master_last_io_seconds_ago:-1"]);
    m.types(6383, "slaveof no one", "OK");
    m.shows(6383, &["role:master", "connected_slaves:0"]);
    m.types(6383, "set hi mine", "OK");
    m.types(6379, "get hi", "again");
    m.types(6383, "shutdown nosave", "");
    m.types(6379, "shutdown nosave", "");
    for port in [6379, 6380, 6381, 6383] {
        wait_until("the pid file is taken away", || !m.path(&format!("redis_{port}.pid")).exists());
    }
}

/// A master with a password and two slaves that know it.
#[test]
fn a_master_with_a_password_is_followed_by_slaves_that_know_it() {
    let mut m = Machine::new(&[6501, 6502, 6503]);
    let common = "protected-mode no\nbind 0.0.0.0\nsave \"\"\nrepl-diskless-sync-delay 0\ndir {dir}\n";
    m.write("6501.conf", &format!("{common}port {{6501}}\nrequirepass 123456\n"));
    for port in [6502, 6503] {
        m.write(
            &format!("{port}.conf"),
            &format!(
                "{common}port {{{port}}}\nslaveof localhost {{6501}}\nmasterauth 123456\nslave-serve-stale-data no\n"
            ),
        );
    }
    for port in [6501, 6502, 6503] {
        m.start(port, &format!("{port}.conf"));
    }
    m.types(6501, "info replication", "NOAUTH Authentication required.");
    m.types(6501, "auth 123456", "OK");
    m.types(6501, "auth 654321", "WRONGPASS invalid username-password pair or user is disabled.");
    for port in [6502, 6503] {
        m.shows(
            port,
            &[
                "role:slave",
                "master_host:localhost",
                "master_port:{6501}",
                "master_link_status:up",
                "slave_read_only:1",
                "connected_slaves:0",
                "master_replid2:0000000000000000000000000000000000000000",
                "second_repl_offset:-1",
                "repl_backlog_active:1",
            ],
        );
    }
    m.password = Some("123456");
    m.shows(
        6501,
        &[
            "role:master",
            "connected_slaves:2",
            "slave0:ip=127.0.0.1,port=…",
            "slave1:ip=127.0.0.1,port=…",
            "second_repl_offset:-1",
            "master_replid2:0000000000000000000000000000000000000000",
            "repl_backlog_first_byte_offset:1",
        ],
    );
    m.types(6501, "SET k1 v1", "OK");
    m.types(6501, "GET k1", "v1");
    m.password = None;
    for port in [6502, 6503] {
        m.reads(port, "k1", "v1");
        m.types(port, "SET k1 v2", "READONLY You can't write against a read only replica.");
    }
    // Without its master a slave of this kind answers nothing but what is about itself.
    m.password = Some("123456");
    m.types(6501, "shutdown nosave", "");
    m.password = None;
    m.shows(6502, &["master_link_status:down"]);
    m.types(6502, "get k1", "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.");
}
