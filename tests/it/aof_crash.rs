//! kill -9 under pipelined load, with rewrites and snapshots running: what was promised is there afterwards.
//!
//! Each client counts upwards in keys of its own, so that what is there tells what is missing: a list has every number up to
//! its last one, and what one transaction wrote says the same everywhere.

#![allow(clippy::disallowed_methods, reason = "a promise of a second is measured in real time")]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Client, Kind, Server, wait_until};

const CLIENTS: usize = 4;
const PIPELINE: u64 = 16;

/// Pseudo-random numbers that a seed repeats.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn request(out: &mut Vec<u8>, words: &[&str]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    words.iter().for_each(|w| out.extend_from_slice(format!("${}\r\n{w}\r\n", w.len()).as_bytes()));
}

/// Counts upwards until the server is gone. Gives each number that was confirmed, and when.
fn count(port: u16, client: usize, from: u64, confirmed: &AtomicU64) -> Vec<(u64, Instant)> {
    let mut told = Vec::new();
    let mut go = || -> io::Result<()> {
        let mut c = Client::try_connect(("127.0.0.1", port))?;
        let mut n = from;
        loop {
            let mut bytes = Vec::new();
            let (set, list) = (format!("last:{client}"), format!("list:{client}"));
            for i in n + 1..=n + PIPELINE {
                let i = i.to_string();
                request(&mut bytes, &["MULTI"]);
                request(&mut bytes, &["SET", &set, &i]);
                request(&mut bytes, &["RPUSH", &list, &i]);
                request(&mut bytes, &["HSET", "hash", &set, &i]);
                request(&mut bytes, &["EXEC"]);
            }
            c.try_send_raw(&bytes)?;
            for i in n + 1..=n + PIPELINE {
                for _ in 0..5 {
                    let reply = c.try_read()?;
                    assert!(!reply.is_error(), "{reply}");
                }
                told.push((i, Instant::now()));
                confirmed.fetch_add(1, Relaxed);
            }
            n += PIPELINE;
        }
    };
    // It ends with the server.
    let _ = go();
    told
}

/// Loads, kills and looks, `rounds` times over. `may_miss`: of what age a confirmed number may be missing.
fn crash_again_and_again(seed: u64, rounds: u64, fsync: &str, may_miss: Duration) {
    let mut random = Random(seed);
    let mut server = Server::start(
        Kind::Pando,
        &[
            "appendonly yes",
            &format!("appendfsync {fsync}"),
            ["aof-use-rdb-preamble yes", "aof-use-rdb-preamble no"][random.below(2) as usize],
            ["aof-timestamp-enabled yes", "aof-timestamp-enabled no"][random.below(2) as usize],
            "auto-aof-rewrite-min-size 64kb",
            "auto-aof-rewrite-percentage 50",
        ],
    );
    let mut reached = [0; CLIENTS];
    for round in 0..rounds {
        let at = format!("seed {seed}, round {round}, {fsync}");
        let enough = 200 + random.below(2500);
        let confirmed = Arc::new(AtomicU64::new(0));
        let over = Arc::new(AtomicBool::new(false));
        let port = server.port();
        let counting: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (from, confirmed) = (reached[client], confirmed.clone());
                thread::spawn(move || count(port, client, from, &confirmed))
            })
            .collect();
        let disturbing = {
            let (over, mut random) = (over.clone(), Random(seed ^ round));
            thread::spawn(move || {
                let Ok(mut c) = Client::try_connect(("127.0.0.1", port)) else { return };
                while !over.load(Relaxed) {
                    // Refused while one runs; gone with the server.
                    let command = ["BGREWRITEAOF", "BGSAVE", "PING"][random.below(3) as usize];
                    if c.try_call(&[command]).is_err() {
                        return;
                    }
                }
            })
        };
        wait_until(&format!("{at}: {enough} are confirmed"), || confirmed.load(Relaxed) >= enough);
        let killed = Instant::now();
        server.crash();
        over.store(true, Relaxed);
        let told: Vec<_> = counting.into_iter().map(|t| t.join().expect(&at)).collect();
        disturbing.join().expect(&at);
        server.launch();
        let mut c = server.client();
        for (client, told) in told.iter().enumerate() {
            let words = |c: &mut Client, line: &str| c.run(line).text().parse::<u64>().unwrap_or(0);
            let last = words(&mut c, &format!("get last:{client}"));
            assert_eq!(words(&mut c, &format!("hget hash last:{client}")), last, "{at}: half a transaction");
            let list = c.run(&format!("lrange list:{client} 0 -1"));
            let list: Vec<u64> = list.items().iter().map(|n| n.text().parse().expect("a number")).collect();
            assert!(list.iter().copied().eq(1..=last), "{at}: client {client} has gaps below {last}: {list:?}");
            let lost = told.iter().filter(|(n, _)| *n > last);
            for (n, when) in lost {
                let age = killed.saturating_duration_since(*when);
                assert!(
                    age < may_miss,
                    "{at}: client {client} lost {n}, confirmed {age:?} before, for {last} is the last"
                );
            }
            reached[client] = last;
        }
    }
    let digest = server.digest();
    server.restart();
    assert_eq!(server.digest(), digest, "seed {seed}: a clean restart changes nothing");
}

#[test]
fn with_always_nothing_that_was_confirmed_is_missing() {
    for seed in [1, 2] {
        crash_again_and_again(seed, 4, "always", Duration::ZERO);
    }
}

#[test]
fn with_everysec_nothing_older_than_the_promise_is_missing() {
    for seed in [3, 4] {
        crash_again_and_again(seed, 4, "everysec", Duration::from_secs(2));
    }
}
