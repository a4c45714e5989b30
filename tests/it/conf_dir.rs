//! The trees of `conf/` start as they are written; only ports and directories are this test's.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};

use crate::harness::{Client, Kind, Port, wait_until};

struct Node {
    name: String,
    host: String,
    port: u16,
    password: Option<String>,
    follows: Option<(String, u16)>,
    child: Child,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Node {
    fn client(&self) -> Option<Client> {
        let mut c = Client::try_connect((self.host.as_str(), self.port)).ok()?;
        if let Some(password) = &self.password {
            c.try_call(&["AUTH", password]).ok()?;
        }
        Some(c)
    }

    fn field(&self, name: &str) -> String {
        let Some(text) = self.client().map(|mut c| c.run("info replication").text()) else { return String::new() };
        let prefix = format!("{name}:");
        text.lines().find_map(|l| l.strip_prefix(&prefix)).unwrap_or_default().to_owned()
    }
}

/// Starts every file of a folder and waits until each slave's link is up.
fn start_all(folder: &str) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(folder);
    let dir = tempfile::Builder::new().prefix("pando-conf-").tempdir().expect("a directory");
    let mut files: Vec<_> = fs::read_dir(&source).expect("the folder").map(|e| e.expect("an entry").path()).collect();
    files.sort();
    let mut ports: BTreeMap<String, Port> = BTreeMap::new();
    let mut nodes = Vec::new();
    for file in &files {
        let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
        let home = dir.path().join(&name);
        fs::create_dir(&home).expect("a directory");
        let (mut host, mut port, mut password, mut follows) = ("127.0.0.1".to_owned(), 0, None, None);
        let mut text = String::from("repl-diskless-sync-delay 0\n");
        if Kind::stock_stands_in() {
            // 7.0 takes 127.0.0.2 for a stranger; from 7.2 on the whole loopback is home.
            text.push_str("protected-mode no\n");
        }
        let mut number = |word: &str| ports.entry(word.to_owned()).or_insert_with(Port::reserve).number;
        for line in fs::read_to_string(file).expect("a file").lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let patched = match words.as_slice() {
                ["port", p] => {
                    port = number(p);
                    format!("port {port}")
                }
                [word @ ("slaveof" | "replicaof"), h, p] => {
                    let to = number(p);
                    follows = Some((h.to_string(), to));
                    format!("{word} {h} {to}")
                }
                ["dir", _] => format!("dir {}", home.display()),
                ["bind", h, ..] => {
                    host = h.to_string();
                    line.to_owned()
                }
                ["requirepass", word] => {
                    password = Some(word.to_string());
                    line.to_owned()
                }
                _ => line.to_owned(),
            };
            text.push_str(&patched);
            text.push('\n');
        }
        let conf = home.join("redis.conf");
        fs::write(&conf, text).expect("a file");
        let log = fs::File::create(home.join("log")).expect("a log");
        let child = Kind::Pando.command().arg(&conf).stdin(Stdio::null()).stdout(log).spawn().expect("the server");
        nodes.push(Node { name, host, port, password, follows, child });
    }
    for node in &nodes {
        if let Some((host, port)) = &node.follows {
            wait_until(&format!("{folder}: {} is linked", node.name), || node.field("master_link_status") == "up");
            let master = nodes.iter().find(|n| (&n.host, n.port) == (host, *port));
            assert!(master.is_some(), "{folder}: {} follows nobody of the folder", node.name);
        }
    }
    for (node, value) in nodes.iter().filter(|n| n.follows.is_none()).zip(1..) {
        let mut c = node.client().expect("a master");
        c.check(&format!("set whose {value}"), "+OK");
        for below in below(&nodes, node) {
            wait_until(&format!("{folder}: {} has its master's data", below.name), || {
                below.client().is_some_and(|mut c| c.run("get whose").text() == value.to_string())
            });
        }
    }
}

/// Everybody in the tree under a node.
fn below<'a>(nodes: &'a [Node], top: &Node) -> Vec<&'a Node> {
    let children = nodes.iter().filter(|n| n.follows.as_ref() == Some(&(top.host.clone(), top.port)));
    children.flat_map(|child| [vec![child], below(nodes, child)].concat()).collect()
}

#[test]
fn the_tree_of_four_starts_as_written() {
    start_all("tree");
}

#[test]
fn the_two_rooms_start_as_written() {
    start_all("two-rooms");
}

#[test]
fn the_chain_starts_as_written() {
    start_all("chain");
}

#[test]
fn the_tree_with_passwords_starts_as_written() {
    start_all("auth");
}
