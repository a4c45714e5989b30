//! Streams and their groups: the same replies, events, effects and data as stock servers for the same commands.

use crate::harness::{Client, Kind, Reply, Server, carry, converge, follow, wait_until, words};
use crate::pair::{Command, Pair};
use crate::random::Rng;

const SMALL_NODES: &[&str] = &["stream-node-max-entries 5", "stream-node-max-bytes 400"];

/// A reply without what depends on the time.
fn promised(command: &[Vec<u8>], reply: &Reply) -> Reply {
    fn timeless(reply: &Reply) -> Reply {
        let all = |items: &[Reply]| items.iter().map(timeless).collect();
        match reply {
            Reply::Int(n) if *n > 1_500_000_000_000 => Reply::Simple("time".to_owned()),
            Reply::Array(items) => Reply::Array(all(items)),
            Reply::Map(pairs) => Reply::Map(pairs.iter().map(|(k, v)| (timeless(k), timeless(v))).collect()),
            other => other.clone(),
        }
    }
    let mut reply = timeless(reply);
    if command[0].eq_ignore_ascii_case(b"XPENDING")
        && let Reply::Array(entries) = &mut reply
    {
        for entry in entries {
            if let Reply::Array(parts) = entry
                && parts.len() == 4
            {
                parts[2] = Reply::Simple("idle".to_owned());
            }
        }
    }
    reply
}

/// Random commands over two streams, their groups and consumers.
struct Commands {
    rng: Rng,
    /// Added ids come after this.
    ms: u64,
    /// What changed since 7.0 is in it too.
    recent: bool,
}

impl Commands {
    fn new(seed: u64, recent: bool) -> Self {
        Self { rng: Rng::new(seed), ms: 0, recent }
    }

    fn one(&mut self, from: &[&str]) -> String {
        from[self.rng.below(from.len() as u64) as usize].to_owned()
    }

    fn some_id(&mut self) -> String {
        match self.rng.below(10) {
            0..=6 => format!("{}-{}", self.ms.saturating_sub(self.rng.below(30)), self.rng.below(4)),
            7 => self.ms.saturating_sub(self.rng.below(30)).to_string(),
            _ => self.one(&[
                "0",
                "0-0",
                "18446744073709551615-18446744073709551615",
                "x",
                "5-",
                "5-*",
                "-",
                "+",
                "",
                "1-1-1",
            ]),
        }
    }

    fn edge(&mut self) -> String {
        match self.rng.below(5) {
            0 | 1 => self.one(&["-", "+"]),
            2 => format!("({}", self.some_id()),
            _ => self.some_id(),
        }
    }

    fn new_id(&mut self) -> String {
        self.ms += self.rng.pick(&[0, 0, 1, 1, 5]);
        match self.rng.below(10) {
            0..=6 => format!("{}-{}", self.ms, self.rng.below(7)),
            7 | 8 => format!("{}-*", self.ms),
            _ => self.some_id(),
        }
    }

    fn text(&mut self) -> String {
        match self.rng.below(8) {
            0..=4 => self.one(&["f", "g", "1", "-77", "70000", "", "3.5"]),
            5 => (self.rng.next() as i64).to_string(),
            _ => "x".repeat(self.rng.pick(&[3, 70, 300])),
        }
    }

    fn trim(&mut self) -> Vec<String> {
        let by_len = self.rng.below(2) == 0;
        let mut out = vec![self.one(if by_len { &["MAXLEN", "maxlen"] } else { &["MINID"] })];
        out.extend(Some(self.one(&["~", "=", ""])).filter(|sign| !sign.is_empty()));
        out.push(if by_len { self.one(&["0", "1", "2", "5", "10", "20", "-1"]) } else { self.some_id() });
        if self.rng.below(4) == 0 {
            out.extend(["LIMIT".to_owned(), self.one(&["0", "1", "5", "10", "-1"])]);
        }
        out
    }

    fn count(&mut self) -> Vec<String> {
        if self.rng.below(5) < 2 { vec!["COUNT".to_owned(), self.one(&["0", "1", "2", "5", "-1"])] } else { Vec::new() }
    }

    fn ids(&mut self) -> Vec<String> {
        (0..=self.rng.below(3)).map(|_| self.some_id()).collect()
    }

    fn next(&mut self) -> Command {
        let (key, group, who) =
            (self.one(&["s1", "s2"]), self.one(&["g1", "g2", "7"]), self.one(&["alice", "bob", "12"]));
        let word = |w: &str| w.to_owned();
        let start = |w: &[&str]| w.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let mut out = match self.rng.below(60) {
            0..=15 => {
                let mut out = start(&["XADD", &key]);
                if self.rng.below(10) == 0 {
                    out.push(word("NOMKSTREAM"));
                }
                if self.rng.below(7) == 0 {
                    out.extend(self.trim());
                }
                out.push(self.new_id());
                for _ in 0..self.rng.pick(&[1, 1, 1, 2, 3]) {
                    out.push(if self.rng.below(5) > 0 { self.one(&["f", "g", "h"]) } else { self.text() });
                    out.push(self.text());
                }
                out
            }
            16..=18 => vec![self.one(&["XRANGE", "XREVRANGE"]), key, self.edge(), self.edge()],
            19..=21 => [start(&["XDEL", &key]), self.ids()].concat(),
            22 | 23 => [start(&["XTRIM", &key]), self.trim()].concat(),
            24 | 25 => {
                [start(&["XREAD"]), self.count(), start(&["STREAMS", &key]), vec![self.one(&["$", "0", "1"])]].concat()
            }
            26..=28 => {
                let id = if self.rng.below(2) == 0 { self.some_id() } else { self.one(&["$", "0"]) };
                let mut out = start(&["XGROUP", "CREATE", &key, &group, &id]);
                if self.rng.below(3) == 0 {
                    out.push(word("MKSTREAM"));
                }
                out
            }
            29 => start(&["XGROUP", "SETID", &key, &group, &self.some_id()]),
            30 => start(&["XGROUP", &self.one(&["DESTROY", "DESTROY", "FOO"]), &key, &group]),
            31 => start(&["XGROUP", "DELCONSUMER", &key, &group, &who]),
            32..=38 => {
                let from = if self.rng.below(3) > 0 { word(">") } else { self.some_id() };
                // Only since 7.4 a word of its own.
                let from = if from == "+" && !self.recent { word("x") } else { from };
                let noack = if self.rng.below(5) == 0 { vec![word("NOACK")] } else { Vec::new() };
                [start(&["XREADGROUP", "GROUP", &group, &who]), self.count(), noack, start(&["STREAMS", &key, &from])]
                    .concat()
            }
            39 => start(&["XREADGROUP", "GROUP", &group, &who, "STREAMS", "s1", "s2", ">", ">"]),
            40..=42 => [start(&["XACK", &key, &group]), self.ids()].concat(),
            43 | 44 => start(&["XPENDING", &key, &group]),
            45 => {
                let mut out =
                    start(&["XPENDING", &key, &group, &self.edge(), &self.edge(), &self.one(&["0", "1", "10", "-1"])]);
                out.extend(Some(who).filter(|_| self.rng.below(2) == 0));
                out
            }
            46..=49 => {
                let mut out = start(&["XCLAIM", &key, &group, &who, &self.one(&["0", "0", "0", "1000000", "x"])]);
                out.extend(self.ids());
                match self.rng.below(7) {
                    0 => out.push(word("JUSTID")),
                    1 => out.push(word("FORCE")),
                    2 => out.extend(start(&["RETRYCOUNT", "5", "TIME", "1000"])),
                    3 => out.extend(start(&["FORCE", "JUSTID", "LASTID", &self.some_id()])),
                    4 => out.push(word("BAD")),
                    _ => {}
                }
                out
            }
            50 | 51 => {
                let idle = self.one(&["0", "0", "1000000"]);
                [start(&["XAUTOCLAIM", &key, &group, &who, &idle, &self.edge()]), self.count()].concat()
            }
            52 if self.recent => start(&["XSETID", &key, &format!("{}-9", self.ms + self.rng.below(3))]),
            53 => start(&["XLEN", &key]),
            54 => start(&["DEL", &key]),
            55 if self.recent => {
                let more = self.count();
                [start(&["XINFO", "STREAM", &key, "FULL"]), more].concat()
            }
            56 if self.recent => start(&["XGROUP", "CREATECONSUMER", &key, &group, &who]),
            57 if self.recent => start(&["XINFO", "GROUPS", &key]),
            58 if self.recent => start(&["XREAD", "STREAMS", &key, "+"]),
            _ => start(&["XINFO", "STREAM", &key]),
        };
        if out[0].ends_with("RANGE") {
            out.extend(self.count());
        }
        out.into_iter().map(String::into_bytes).collect()
    }
}

fn compare(stock: Kind, seed: u64, resp3: bool) {
    if !stock.available() {
        return;
    }
    let mut pair = Pair::new(stock, SMALL_NODES).promised(promised);
    pair.at(format!("seed {seed}"));
    if resp3 {
        pair.resp3();
    }
    let mut commands = Commands::new(seed, stock == Kind::Redis80);
    for i in 0..2500 {
        pair.call(&commands.next());
        if i % 500 == 499 {
            pair.compare_data();
        }
    }
}

#[test]
fn random_commands_do_to_streams_what_they_do_in_stock_servers() {
    compare(Kind::Stock70, 1, false);
    compare(Kind::Stock70, 2, true);
    compare(Kind::Redis80, 3, false);
    compare(Kind::Redis80, 4, true);
}

/// All that is told of a stream, but for what a dump of version 10 does not hold.
fn full(client: &mut Client, key: &str) -> String {
    fn without_activity(reply: &mut Reply) {
        if let Reply::Array(items) = reply {
            for i in 0..items.len() {
                if items[i].to_string() == "$active-time" {
                    items[i + 1] = Reply::Null;
                } else {
                    without_activity(&mut items[i]);
                }
            }
        }
    }
    let mut reply = client.run(&format!("xinfo stream {key} full count 0"));
    without_activity(&mut reply);
    reply.to_string()
}

#[test]
fn a_dumped_stream_is_the_same_in_stock_and_back() {
    let (ours, theirs) = (Server::start(Kind::Pando, SMALL_NODES), Server::start(Kind::Stock70, SMALL_NODES));
    let (mut a, mut b) = (ours.client(), theirs.client());
    for seed in 10..18 {
        a.run("flushall");
        b.run("flushall");
        let mut commands = Commands::new(seed, true);
        for _ in 0..400 {
            a.call(&commands.next());
        }
        for key in ["s1", "s2"] {
            if carry(&mut a, &mut b, key, key).is_none() {
                continue;
            }
            for ask in ["debug digest-value", "xinfo stream", "xlen"] {
                let ask = format!("{ask} {key}");
                assert_eq!(a.run(&ask).to_string(), b.run(&ask).to_string(), "seed {seed}: {ask}");
            }
            assert!(carry(&mut b, &mut a, key, "back").is_some(), "seed {seed}: it is gone");
            assert_eq!(full(&mut a, "back"), full(&mut a, key), "seed {seed}");
        }
    }
}

/// What a replica must know as well as its master.
fn known(client: &mut Client) -> String {
    let mut all = String::new();
    for key in ["s1", "s2"] {
        for ask in ["xinfo stream", "xpending", "xrange"] {
            let line = match ask {
                "xpending" => {
                    let of = |g: &str| format!("xpending {key} {g} - + 1000");
                    for group in ["g1", "g2", "7"] {
                        let reply = client.run(&of(group));
                        // Neither the idle time nor how often an entry was read again is told to replicas.
                        if let Reply::Array(entries) = reply {
                            all += &entries
                                .iter()
                                .map(|e| format!("{} {}\n", e.items()[0], e.items()[1]))
                                .collect::<String>();
                        }
                    }
                    continue;
                }
                "xrange" => format!("xrange {key} - +"),
                _ => format!("{ask} {key}"),
            };
            all += &client.run(&line).to_string();
            all.push('\n');
        }
    }
    all
}

fn replicate(master: Kind, replica: Kind, seed: u64) {
    // Another idea of a node's size: what was trimmed approximately must not hang on it.
    let lines = &["stream-node-max-entries 3"];
    let (top, below) = (Server::start(master, SMALL_NODES), Server::start(replica, lines));
    follow(&below, &top);
    let mut client = top.client();
    let mut commands = Commands::new(seed, false);
    for _ in 0..1500 {
        client.call(&commands.next());
    }
    converge(&[&top, &below]);
    assert_eq!(top.digest(), below.digest(), "seed {seed}");
    let strip = |text: String| -> String {
        let mut out = text;
        // The nodes may lie differently.
        for name in ["$radix-tree-keys :", "$radix-tree-nodes :"] {
            let mut at = 0;
            while let Some(found) = out[at..].find(name) {
                let from = at + found + name.len();
                let digits = out[from..].chars().take_while(char::is_ascii_digit).count();
                out.replace_range(from..from + digits, "");
                at = from;
            }
        }
        out
    };
    assert_eq!(strip(known(&mut client)), strip(known(&mut below.client())), "seed {seed}");
}

#[test]
fn a_stock_replica_follows_streams_and_groups() {
    replicate(Kind::Pando, Kind::Stock70, 21);
}

#[test]
fn a_stock_master_is_followed_through_streams_and_groups() {
    replicate(Kind::Stock70, Kind::Pando, 22);
}

#[test]
fn replicas_hear_of_a_consumer_that_waits_without_acknowledging() {
    let (top, below) = (Server::start(Kind::Pando, &[]), Server::start(Kind::Stock70, &[]));
    follow(&below, &top);
    top.run("xgroup create s g $ mkstream");
    let mut waiter = top.client();
    waiter.send(&words("xreadgroup group g waits noack block 0 streams s >"));
    wait_until("the replica has the consumer", || below.run("xinfo groups s").to_string().contains("$consumers :1"));
    top.script(
        "multi => +OK
         xreadgroup group g hurries noack block 0 streams s > => +QUEUED
         exec => [*nil]",
    );
    converge(&[&top, &below]);
    assert_eq!(below.run("xinfo consumers s g").items().len(), 2);
}

#[test]
fn stream_events_have_stock_names_and_order() {
    let commands = [
        "xadd s 1-1 a b",
        "xadd s maxlen 1 2-1 a b",
        "xadd s maxlen 5 3-1 a b",
        "xgroup create s g 0",
        "xgroup create t g $ mkstream",
        "xgroup createconsumer s g c",
        "xgroup createconsumer s g c",
        "xreadgroup group g d streams s >",
        "xclaim s g e 0 2-1",
        "xack s g 2-1",
        "xgroup setid s g 0",
        "xgroup delconsumer s g c",
        "xgroup delconsumer s g c",
        "xgroup destroy s g",
        "xdel s 2-1 9-9",
        "xdel s 9-9",
        "xtrim s maxlen 5",
        "xtrim s maxlen 0",
        "xsetid s 9-9",
        "del s",
    ];
    let commands = commands.map(words);
    let mut pair = Pair::new(Kind::Stock70, &["notify-keyspace-events KEA"]).promised(promised);
    pair.listen();
    commands.iter().for_each(|command| drop(pair.call(command)));
    assert!(pair.compare_events(&commands) > 20);
}

/// A client that waits, and what it is told once `act` has run.
fn wakes(server: &Server, wait: &str, act: &[&str]) -> String {
    let (mut waiter, mut client) = (server.client(), server.client());
    waiter.send(&words(wait));
    wait_until("the client waits", || server.info_int("clients", "blocked_clients") == 1);
    for line in act {
        client.run(line);
    }
    waiter.read().to_string()
}

#[test]
fn readers_wait_for_what_they_asked_for() {
    let server = Server::start(Kind::Pando, &[]);
    server.run("xadd s 1-1 a b");
    server.run("xgroup create s g $");
    let new = "[[$s [[$2-1 [$c $d]]]]]";
    assert_eq!(wakes(&server, "xread block 0 streams s t $ $", &["xadd s 2-1 c d"]), new);
    assert_eq!(wakes(&server, "xread block 0 streams none +", &["xadd none 2-1 c d"]), new.replace("$s", "$none"));
    server.run("xgroup setid s g $");
    // Neither a smaller id nor another type is what it waits for; the entry that comes in the end is.
    let acts = &["xdel s 2-1", "set t x", "del t", "xadd s 3-1 e f"];
    assert_eq!(wakes(&server, "xread block 0 streams s t 2-1 0", acts), "[[$s [[$3-1 [$e $f]]]]]");
    server.run("xgroup setid s g $");
    let read = "xreadgroup group g c block 0 streams s >";
    assert_eq!(wakes(&server, read, &["xadd s 4-1 g h"]), "[[$s [[$4-1 [$g $h]]]]]");
    server.check("xpending s g", "[:1 $4-1 $4-1 [[$c $1]]]");
    let no_group = "-NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option";
    assert_eq!(wakes(&server, read, &["xgroup destroy s g"]), no_group);
    server.run("xgroup create s g $");
    assert_eq!(wakes(&server, read, &["del s"]), no_group);
    server.run("xgroup create s g $ mkstream");
    let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value";
    assert_eq!(wakes(&server, read, &["set s x"]), wrong);
    server.run("del s");
    server.run("xgroup create s g $ mkstream");
    server.run("xgroup create r g 0 mkstream");
    server.run("xadd r 9-9 a b");
    assert_eq!(wakes(&server, read, &["rename r s"]), "[[$s [[$9-9 [$a $b]]]]]");
    server.check("xread block 10 streams s $", "*nil");
}

/// Redis 8.2's choice of what becomes of what groups know.
#[test]
fn deletions_may_mind_what_groups_know() {
    let server = Server::start(Kind::Pando, SMALL_NODES);
    let mut client = server.client();
    let fresh = |client: &mut Client| {
        client.run("del s");
        for i in 1..=12 {
            client.run(&format!("xadd s {i}-1 a b"));
        }
        client.run("xgroup create s g 0");
        client.run("xreadgroup group g c count 6 streams s >");
        client.run("xack s g 1-1 2-1");
    };
    fresh(&mut client);
    client.script(
        "xdelex s acked ids 4 1-1 3-1 8-1 99-1 => [:1 :2 :2 :-1]
         xdelex s ids 1 3-1 => [:1]
         xpending s g => [:4 $3-1 $6-1 [[$c $4]]]
         xdelex s delref ids 2 4-1 4-1 => [:1 :-1]
         xpending s g => [:3 $3-1 $6-1 [[$c $3]]]
         xackdel s g ids 3 3-1 5-1 9-1 => [:1 :1 :-1]
         xpending s g => [:1 $6-1 $6-1 [[$c $1]]]
         xgroup create s late 0 => +OK
         xackdel s g acked ids 1 6-1 => [:2]
         xlen s => :8
         xackdel s none ids 2 1-1 2-1 => [:-1 :-1]
         xdelex none ids 1 1-1 => [:-1]
         xreadgroup group late d count 1 streams s > => [[$s [[$2-1 [$a $b]]]]]
         xdel s 2-1 => :1
         xpending s late => [:1 $2-1 $2-1 [[$d $1]]]
         xdelex s delref ids 2 2-1 99-1 => [:-1 :-1]
         xpending s late => [:0 $nil $nil *nil]
         xdelex s ids 0 1-1 => -ERR Number of IDs must be a positive integer
         xdelex s ids 2 1-1 => -ERR The `numids` parameter must match the number of arguments
         xdelex s ids 1 1-1 2-2 => -ERR syntax error
         xdelex s ids 1 what more => -ERR syntax error
         xdelex s ids 1 what => -ERR Invalid stream ID specified as stream command argument
         xackdel s g ids 1 what => -ERR Invalid stream ID specified as stream command argument
         xdelex none ids 1 what => [:-1]
         xackdel s none ids 2 what ever => [:-1 :-1]
         xackdel s g keepref delref ids 1 1-1 => -ERR syntax error
         xackdel s g ids 0 1-1 => -ERR Number of IDs must be a positive integer
         xackdel s g ids 2 1-1 => -ERR The `numids` parameter must match the number of arguments",
    );
    fresh(&mut client);
    // Read and acknowledged: the first two. The others stay, whatever the bound.
    client.script(
        "xtrim s maxlen 3 acked => :2
         xlen s => :10
         xtrim s minid 5-1 delref => :2
         xpending s g => [:2 $5-1 $6-1 [[$c $2]]]
         xadd s delref maxlen 7 13-1 a b => $13-1
         xpending s g => [:0 $nil $nil *nil]",
    );
}

#[test]
fn a_damaged_stream_is_refused() {
    let server = Server::start(Kind::Pando, SMALL_NODES);
    let mut client = server.client();
    client.run("debug set-skip-checksum-validation 1");
    let mut commands = Commands::new(31, true);
    for _ in 0..300 {
        client.call(&commands.next());
    }
    let mut rng = Rng::new(5);
    for key in ["s1", "s2"] {
        let Reply::Bulk(payload) = client.run(&format!("dump {key}")) else { continue };
        for _ in 0..400 {
            let mut damaged = payload.clone();
            let at = rng.below(damaged.len() as u64 - 10) as usize;
            damaged[at] = rng.next() as u8;
            let reply = client.call(&[&b"restore"[..], b"x", b"0", &damaged[..], b"REPLACE"]).to_string();
            if reply == "+OK" {
                for look in
                    ["xrange x - +", "xrevrange x + -", "xinfo stream x full", "xtrim x maxlen 1", "xadd x * a b"]
                {
                    client.run(look);
                }
            }
        }
    }
    client.check("ping", "+PONG");
}
