//! `up` and `tree` against stock servers: what a person sees, and what is left behind afterwards.
//!
//! Every server listens on loopback at a port of its own. Waiting is for a line or an answer, never for a time.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{Client, Kind, LIMIT, Port, Server, chain, wait_until};

/// The program under test, whatever stands in the servers' place.
const PANDO: &str = env!("CARGO_BIN_EXE_pando-server");

/// Ports of our own, in ascending order, as the drawing has them.
fn ports<const N: usize>() -> [Port; N] {
    let mut all: [Port; N] = std::array::from_fn(|_| Port::reserve());
    all.sort_by_key(|p| p.number);
    all
}

fn numbers<const N: usize>(ports: &[Port; N]) -> [u16; N] {
    std::array::from_fn(|i| ports[i].number)
}

/// Writes the file of one server and returns its path.
fn conf(dir: &Path, port: u16, master: Option<u16>, more: &str) -> PathBuf {
    let path = dir.join(format!("redis-{port}.conf"));
    let data = dir.join(format!("data-{port}"));
    let link = master.map(|m| format!("replicaof 127.0.0.1 {m}\n")).unwrap_or_default();
    let text = format!(
        "bind 127.0.0.1\nport {port}\ndaemonize yes\nsave \"\"\nrepl-diskless-sync-delay 0\ndir {}\n{link}{more}\n",
        data.display()
    );
    fs::write(&path, text).unwrap();
    path
}

/// A 1(2(4) 3) tree of files.
fn four_files(dir: &Path, [a, b, c, d]: [u16; 4]) -> Vec<PathBuf> {
    vec![conf(dir, a, None, ""), conf(dir, b, Some(a), ""), conf(dir, c, Some(a), ""), conf(dir, d, Some(b), "")]
}

/// A running `up`, whose lines are read one by one.
struct Up {
    process: Child,
    lines: Receiver<String>,
    heard: Vec<String>,
}

impl Up {
    fn start(files: &[PathBuf]) -> Self {
        let mut process = Command::new(PANDO)
            .arg("up")
            .args(files)
            .env("PANDO_UP_SERVER", Kind::Stock70.program())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let out = process.stdout.take().unwrap();
        let err = process.stderr.take().unwrap();
        for pipe in [Box::new(out) as Box<dyn Read + Send>, Box::new(err)] {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Self { process, lines, heard: Vec::new() }
    }

    /// The lines up to the one that has `text` in it, that one included.
    fn until(&mut self, text: &str) -> Vec<String> {
        let from = self.heard.len();
        loop {
            match self.lines.recv_timeout(LIMIT) {
                Ok(line) => self.heard.push(line),
                Err(e) => panic!("no line with {text:?} ({e}); heard:\n{}", self.heard.join("\n")),
            }
            if self.heard.last().unwrap().contains(text) {
                return self.heard[from..].to_vec();
            }
        }
    }

    /// Waits until each of these was heard since line `from`, in whatever order: all its words in one line.
    fn until_each(&mut self, from: usize, lines: &[&[&str]]) {
        let heard = |all: &[String], words: &[&str]| all.iter().any(|l| words.iter().all(|w| l.contains(w)));
        while let Some(missing) = lines.iter().find(|words| !heard(&self.heard[from..], words)) {
            match self.lines.recv_timeout(LIMIT) {
                Ok(line) => self.heard.push(line),
                Err(e) => panic!("no line with {missing:?} ({e}); heard:\n{}", self.heard.join("\n")),
            }
        }
    }

    /// The exit code, and every line from here to the end.
    fn end(mut self) -> (i32, Vec<String>) {
        let from = self.heard.len();
        while let Ok(line) = self.lines.recv_timeout(LIMIT) {
            self.heard.push(line);
        }
        (self.process.wait().unwrap().code().unwrap_or(-1), self.heard[from..].to_vec())
    }

    fn interrupt(&self) {
        signal(self.process.id(), Signal::INT);
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if let Ok(None) = self.process.try_wait() {
            signal(self.process.id(), Signal::TERM);
            let _ = self.process.wait();
        }
    }
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

fn pid_of(port: u16) -> u32 {
    let info = Client::connect(port).run("info server").text();
    info.lines().find_map(|l| l.strip_prefix("process_id:")).unwrap().trim().parse().unwrap()
}

fn tree(args: &[&str]) -> Output {
    Command::new(PANDO).arg("tree").args(args).env_remove("REDISCLI_AUTH").output().unwrap()
}

fn tree_text(args: &[&str]) -> String {
    String::from_utf8(tree(args).stdout).unwrap()
}

/// `1(2(4) 3)`, with the places of `ports` for the ports themselves.
fn shape(json: &str, ports: &[u16]) -> String {
    fn one(node: &Value, ports: &[u16]) -> String {
        let port = node["port"].as_u64().unwrap();
        let place = ports.iter().position(|p| u64::from(*p) == port).map_or("?".into(), |i| (i + 1).to_string());
        let below: Vec<String> = node["replicas"].as_array().unwrap().iter().map(|n| one(n, ports)).collect();
        if below.is_empty() { place } else { format!("{place}({})", below.join(" ")) }
    }
    let value: Value = serde_json::from_str(json).unwrap_or_else(|e| panic!("{e}: {json}"));
    value["trees"].as_array().unwrap().iter().map(|n| one(n, ports)).collect::<Vec<_>>().join(" + ")
}

/// The tree itself, with each server's role and link: offsets and memory differ from look to look.
fn places(drawing: &str) -> Vec<String> {
    let rows = drawing.lines().skip(1).filter(|l| l.contains("127.0.0.1"));
    rows.map(|line| {
        let at = line.find("127.0.0.1").unwrap();
        let words: Vec<&str> = line[at..].split_whitespace().take(3).collect();
        format!("{}{}", &line[..at], words.join(" "))
    })
    .collect()
}

#[test]
fn up_brings_a_tree_up_draws_it_and_stops_it_leaves_first() {
    let dir = tempfile::tempdir().unwrap();
    let held = ports::<4>();
    let ports = numbers(&held);
    let [a, b, c, d] = ports;
    let mut up = Up::start(&four_files(dir.path(), ports));
    let lines = up.until("all links up");
    let start = lines.iter().position(|l| l.starts_with("ADDRESS")).unwrap();
    let drawn = places(&lines[start..].join("\n"));
    let expect = [
        format!("127.0.0.1:{a} master -"),
        format!("├─ 127.0.0.1:{b} replica up"),
        format!("│  └─ 127.0.0.1:{d} replica up"),
        format!("└─ 127.0.0.1:{c} replica up"),
    ];
    assert_eq!(drawn, expect);
    assert!(lines.iter().any(|l| l.starts_with(&format!("{a} | "))), "log lines carry the port");
    assert!(dir.path().join(format!("data-{d}")).is_dir(), "the directory was made");

    // The same drawing from every node, under either name of this machine.
    let from_root = places(&tree_text(&[&format!("127.0.0.1:{a}")]));
    assert_eq!(from_root.len(), 4);
    for port in ports {
        assert_eq!(places(&tree_text(&[&format!("localhost:{port}")])), from_root);
        assert_eq!(shape(&tree_text(&["--json", &port.to_string()]), &ports), "1(2(4) 3)");
    }

    let mut root = Client::connect(a);
    root.check("set k v", "+OK");
    root.check("wait 2 0", ":2");
    // A stock master lets the stream flow only at its replica's next acknowledgement, up to a second later.
    let mut json = Value::Null;
    wait_until("the write reaches the leaf", || {
        json = serde_json::from_str(&tree_text(&["--json", &d.to_string()])).unwrap();
        json["trees"][0]["replicas"][0]["replicas"][0]["keys"] == 1
    });
    let root = &json["trees"][0];
    assert_eq!(root["role"], "master");
    assert_eq!(root["keys"], 1);
    assert_eq!(root["server"], "redis");
    assert_eq!(root["lag_bytes"], Value::Null);
    let leaf = &root["replicas"][0]["replicas"][0];
    assert_eq!((&leaf["link"], &leaf["reachable"]), (&Value::from("up"), &Value::from(true)));
    assert!(leaf["offset"].as_u64().unwrap() > 0 && leaf["lag_bytes"].is_u64() && leaf["lag_ms"].is_u64());
    assert!(["exact", "below", "about", "above"].contains(&leaf["lag_ms_is"].as_str().unwrap()));

    up.interrupt();
    let (code, lines) = up.end();
    let stopped: Vec<&String> = lines.iter().filter(|l| l.ends_with(" stopped")).collect();
    assert_eq!(code, 0, "{}", lines.join("\n"));
    assert_eq!(stopped.len(), 4);
    assert_eq!(*stopped[0], format!("{d} stopped"));
    assert_eq!(*stopped[3], format!("{a} stopped"));
    for port in ports {
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    }
}

#[test]
fn up_tells_of_a_server_that_dies_and_keeps_its_place_in_the_drawing() {
    let dir = tempfile::tempdir().unwrap();
    let held = ports::<4>();
    let ports = numbers(&held);
    let [a, b, _, d] = ports;
    let mut up = Up::start(&four_files(dir.path(), ports));
    up.until("all links up");
    let file = |port: u16| dir.path().join(format!("redis-{port}.conf")).display().to_string();
    let from = up.heard.len();
    signal(pid_of(b), Signal::KILL);
    up.until_each(
        from,
        &[
            &[&format!("{b} ({}) ended by itself: killed by signal 9", file(b))],
            &["its last words:"],
            // The dead one in its place, and its replica below it.
            &[&format!("├─ 127.0.0.1:{b}"), "unreachable"],
            &[&format!("│  └─ 127.0.0.1:{d}"), "down"],
            &["not in order"],
        ],
    );
    // From both sides of the gap `tree` finds the two parts.
    assert_eq!(shape(&tree_text(&["--json", &a.to_string(), &d.to_string()]), &ports), "1(3) + 2(4)");
    // One that a client shut down is told as that.
    let from = up.heard.len();
    Client::connect(d).send(&["shutdown", "nosave"]);
    up.until_each(from, &[&[&format!("{d} ({}) was shut down: exit status 0", file(d))]]);
    up.interrupt();
    let (code, lines) = up.end();
    assert_eq!(code, 1, "a server died, so not all was clean");
    assert_eq!(lines.iter().filter(|l| l.ends_with(" stopped")).count(), 2, "{}", lines.join("\n"));
}

#[test]
fn up_tells_why_a_server_does_not_start_and_stops_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let reserved = Port::reserve();
    let busy = reserved.number;
    let _taken = TcpListener::bind(("127.0.0.1", busy)).unwrap();
    let held = Port::reserve();
    let a = held.number;
    let log = dir.path().join("busy.log");
    let more = format!("logfile {}", log.display());
    let files = [conf(dir.path(), a, None, ""), conf(dir.path(), busy, Some(a), &more)];
    let (code, lines) = Up::start(&files).end();
    let text = lines.join("\n");
    assert_eq!(code, 1, "{text}");
    assert!(text.contains(&format!("{busy} (")) && text.contains("ended by itself: exit status 1"), "{text}");
    assert!(text.contains("bind: Address already in use"), "its own words, from its log file: {text}");
    assert!(text.contains(&format!("{a} stopped")), "{text}");
}

#[test]
fn up_refuses_files_it_cannot_start_anything_from() {
    let dir = tempfile::tempdir().unwrap();
    let held = Port::reserve();
    let a = held.number;
    let good = conf(dir.path(), a, None, "");
    let twin = dir.path().join("twin.conf");
    fs::copy(&good, &twin).unwrap();
    let bad = conf(dir.path(), 1, None, "no-such-directive at-all");
    for (files, words) in [
        (vec![dir.path().join("missing.conf")], "missing.conf"),
        (vec![good, twin], "both listen at 127.0.0.1"),
        (vec![bad], "no-such-directive"),
    ] {
        let (code, lines) = Up::start(&files).end();
        assert_eq!(code, 1);
        assert!(lines.join("\n").contains(words), "{}", lines.join("\n"));
    }
}

#[test]
fn tree_shows_a_silent_middle_with_its_subtree_and_who_wants_a_password() {
    let nodes = chain(&[Kind::Stock70; 3], &[]);
    let ports: Vec<u16> = nodes.iter().map(Server::port).collect();
    let [a, b, c] = [0, 1, 2].map(|i: usize| ports[i].to_string());

    let mut admin = nodes[1].client();
    admin.check("config set requirepass secret", "+OK");
    let out = tree_text(&[&a]);
    let line = out.lines().find(|l| l.contains(&format!("127.0.0.1:{b}"))).unwrap();
    assert!(line.contains("needs a password: --password"), "{out}");
    assert_eq!(shape(&tree_text(&["--json", "-a", "secret", &a]), &ports), "1(2(3))");
    let out = tree_text(&["--password", "wrong", &a]);
    assert!(out.contains("refuses this password"), "{out}");

    nodes[1].signal(Signal::STOP);
    let both = tree(&["--json", &a, &c]);
    nodes[1].signal(Signal::CONT);
    let text = String::from_utf8(both.stdout).unwrap();
    assert_eq!(shape(&text, &ports), "1(2(3))");
    let json: Value = serde_json::from_str(&text).unwrap();
    let middle = &json["trees"][0]["replicas"][0];
    assert_eq!((&middle["reachable"], &middle["link"]), (&Value::from(false), &Value::from("unreachable")));
}

#[test]
fn tree_survives_servers_that_are_not_there_and_servers_in_a_ring() {
    let nobody = Port::reserve();
    let missing = tree(&[&nobody.number.to_string()]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8(missing.stdout).unwrap().contains("connection refused"));

    let [one, two] = ports::<2>();
    let ports = [one.number, two.number];
    let of_two = format!("replicaof 127.0.0.1 {}", two.number);
    let of_one = format!("replicaof 127.0.0.1 {}", one.number);
    let _one = Server::start_on(one, Kind::Stock70, &[&of_two]);
    let _two = Server::start_on(two, Kind::Stock70, &[&of_one]);
    let out = tree_text(&[&ports[0].to_string()]);
    assert!(out.contains("a ring: its master is"), "{out}");
    assert_eq!(shape(&tree_text(&["--json", &ports[1].to_string()]), &ports), "1(2)");
}

#[test]
fn tree_knows_each_make_by_its_name() {
    for (kind, name) in [(Kind::Stock70, "redis 7.0."), (Kind::Redis80, "redis 8.0."), (Kind::Valkey91, "valkey 9.1.")]
    {
        if kind.available() {
            // A newer replica takes an older master's snapshot; not the other way round.
            let nodes = chain(&[Kind::Stock70, kind], &[]);
            let out = tree_text(&[&nodes[1].port().to_string()]);
            assert!(out.lines().nth(2).unwrap().contains(name), "{out}");
        }
    }
}

#[test]
fn names_of_the_program_choose_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("redis-server");
    std::os::unix::fs::symlink(PANDO, &link).unwrap();
    let version = |program: &Path, flag: &str| {
        String::from_utf8(Command::new(program).arg(flag).output().unwrap().stdout).unwrap()
    };
    assert!(version(&link, "--version").starts_with("Redis server v=7.2.4 sha="));
    assert_eq!(version(&link, "-v"), version(&link, "--version"));
    assert!(version(Path::new(PANDO), "--version").starts_with("Pando server v=0.1.0 (Redis 7.2.4 compatible) sha="));
    let help = version(Path::new(PANDO), "--help");
    for word in ["up FILE", "tree HOST:PORT", "check-rdb FILE", "--replicaof"] {
        assert!(help.contains(word), "{help}");
    }
}

#[test]
fn check_rdb_tells_a_sound_file_from_a_damaged_one() {
    let server = Server::start(Kind::Stock70, &[]);
    server.check("mset a 1 b 2", "+OK");
    server.check("save", "+OK");
    let file = server.path("dump.rdb");
    let check = |file: &Path| {
        let out = Command::new(PANDO).arg("check-rdb").arg(file).output().unwrap();
        (out.status.code(), String::from_utf8(out.stdout).unwrap())
    };
    let (code, text) = check(&file);
    assert!(code == Some(0) && text.contains("RDB looks OK") && text.contains("2 keys read"), "{text}");

    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() - 12;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    let (code, text) = check(&file);
    assert!(code == Some(1) && text.contains("RDB ERROR DETECTED"), "{text}");
    assert_eq!(check(Path::new("/nowhere.rdb")).0, Some(1));
}
