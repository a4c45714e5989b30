//! What people do with redis-cli and redis-benchmark.

use std::fs::File;
use std::process::{Command, Stdio};

use crate::harness::{Kind, Server};

fn start() -> Server {
    Server::start(Kind::Pando, &[])
}

#[test]
fn redis_cli_prints_what_it_prints_of_stock() {
    let (ours, stock) = (start(), Server::start(Kind::Stock70, &[]));
    for words in [
        "set greeting hello",
        "get greeting",
        "get none",
        "-3 get none",
        "mset a 1 b 2",
        "mget a none b",
        "incr greeting",
        "-n 3 set there 1",
        "config get maxclients",
        "-3 config get maxclients",
        "info keyspace",
        "--scan --pattern greet*",
        "-r 3 incr counter",
        "object encoding a",
        "role",
    ] {
        let args: Vec<&str> = words.split(' ').collect();
        assert_eq!(ours.cli(&args), stock.cli(&args), "redis-cli {words}");
    }
}

#[test]
fn redis_cli_pumps_commands_in_and_takes_a_snapshot_out() {
    let ours = start();
    let file = ours.path("commands");
    let commands: String = (0..20_000).map(|i| format!("SET key:{i} value:{i}\r\n")).collect();
    std::fs::write(&file, commands).expect("a file");
    let port = ours.port().to_string();
    let out = Command::new("redis-cli")
        .args(["-p", &port, "--pipe"])
        .stdin(File::open(&file).expect("the file"))
        .output()
        .expect("redis-cli");
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(said.contains("errors: 0, replies: 20000"), "{said}");
    ours.check("dbsize", ":20000");

    let mut stock = Server::start(Kind::Stock70, &[]);
    stock.crash();
    let dump = stock.path("dump.rdb");
    ours.cli(&["--rdb", dump.to_str().expect("text")]);
    stock.launch();
    assert_eq!(stock.digest(), ours.digest());
}

#[test]
fn redis_benchmark_runs_to_its_end() {
    let ours = start();
    let port = ours.port().to_string();
    for pipeline in ["1", "16"] {
        let out = Command::new("redis-benchmark")
            .args(["-p", &port, "-q", "-n", "3000", "-P", pipeline, "-r", "100", "-t", "ping,set,get,incr,mset"])
            .stdin(Stdio::null())
            .output()
            .expect("redis-benchmark");
        let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{said}");
        assert_eq!(said.matches("requests per second").count(), 6, "{said}");
        assert!(!said.contains("Error") && !said.contains("ERR"), "{said}");
    }
}
