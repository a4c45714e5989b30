//! Connections that move from worker to worker while they are served.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use crate::harness::{Kind, Server, wait_until};

/// Processor time of one of the server's threads, in ticks.
fn ticks_of(server: &Server, thread: &str) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).expect("the server's threads");
    let stat_of = |dir: fs::DirEntry| fs::read_to_string(dir.path().join("stat")).unwrap_or_default();
    let of = |stat: String| {
        let (head, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let time = |i: usize| fields.get(i).and_then(|f| f.parse::<u64>().ok());
        head.ends_with(&format!("({thread}")).then(|| Some(time(11)? + time(12)?)).flatten()
    };
    tasks.flatten().filter_map(|dir| of(stat_of(dir))).sum()
}

/// Pipelines of a client with a database and a name of its own, until `done`: each reply must be the next number.
fn count_up(server: &Server, db: usize, done: &AtomicBool, rounds: &AtomicUsize) -> i64 {
    let mut c = server.client();
    c.check(&format!("select {db}"), "+OK");
    c.check(&format!("client setname counter-{db}"), "+OK");
    let mut n = 0;
    while !done.load(Relaxed) {
        c.send_raw("*2\r\n$4\r\nincr\r\n$1\r\nn\r\n".repeat(100).as_bytes());
        for _ in 0..100 {
            n += 1;
            assert_eq!(c.read().int(), n);
        }
        // What a connection has begun goes along with it.
        c.check("multi", "+OK");
        c.check("incr n", "+QUEUED");
        n += 1;
        assert_eq!(c.run("exec").items()[0].int(), n);
        rounds.fetch_add(1, Relaxed);
    }
    assert_eq!(c.run("client getname").text(), format!("counter-{db}"));
    n
}

#[test]
fn connections_spread_out_when_a_command_holds_them_up() {
    let server = Server::start(Kind::Pando, &["io-threads 2", "io-threads-always-active no"]);
    let mut slow = server.client();
    for from in 0..200 {
        let numbers: Vec<String> = (0..500).map(|i| ((from * 500 + i) * 7919 % 100_003).to_string()).collect();
        slow.run(&format!("rpush l {}", numbers.join(" ")));
    }
    let mut listener = server.client();
    listener.run("subscribe news");
    let (done, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let counters: Vec<_> = (1..8)
            .map(|db| {
                (
                    db,
                    scope.spawn({
                        let (server, done, rounds) = (&server, &done, &rounds);
                        move || count_up(server, db, done, rounds)
                    }),
                )
            })
            .collect();
        wait_until("the clients count", || rounds.load(Relaxed) > 20);
        wait_until("the second worker serves", || {
            slow.run("sort l limit 0 1");
            server.info("server", "io_threads_active") == "1"
        });
        wait_until("it has something to do", || ticks_of(&server, "worker-1") > 5);
        let so_far = rounds.load(Relaxed);
        wait_until("they go on counting", || rounds.load(Relaxed) > so_far + 50);
        done.store(true, Relaxed);
        for (db, counter) in counters {
            let n = counter.join().expect("a client that counted");
            let mut c = server.client();
            c.check(&format!("select {db}"), "+OK");
            assert_eq!(c.run("get n").text(), n.to_string());
        }
    });
    server.run("publish news here");
    assert!(listener.read().text().contains("here"));
}
