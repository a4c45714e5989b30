//! What a connection sees of itself and of the others: CLIENT LIST, silenced replies, messages to oneself.

use crate::harness::{Client, Kind, Server, wait_until};

fn field(line: &str, name: &str) -> String {
    let words = line.split(' ').filter_map(|word| word.split_once('='));
    words.filter(|(known, _)| *known == name).map(|(_, value)| value.trim().to_owned()).next().expect(name)
}

/// The fields of CLIENT LIST that depend on nothing but what the clients did.
fn told(kind: Kind) -> Vec<String> {
    let s = Server::start(kind, &[]);
    let (mut looks, mut other) = (s.client(), s.client());
    other.run("client setname other");
    looks.run("client setname self");
    // Whoever asked whether the server is up has hung up, and the server has seen it.
    wait_until("two are connected", || looks.run("client list").text().lines().count() == 2);
    let mut seen = Vec::new();
    let mut look = |looks: &mut Client, what: &str, asked: &[u8]| {
        looks.send_raw(asked);
        for line in looks.read().text().lines() {
            let who = field(line, "name");
            // Whoever asked whether the server stands may still be there.
            if who.is_empty() {
                continue;
            }
            let fields =
                ["flags", "db", "sub", "multi", "qbuf", "argv-mem", "multi-mem", "obl", "oll", "omem", "events"];
            let fields = fields.map(|name| format!("{name}={}", field(line, name)));
            seen.push(format!("{what}: {who}: {}", fields.join(" ")));
        }
    };
    let list = b"*2\r\n$6\r\nCLIENT\r\n$4\r\nLIST\r\n";
    look(&mut looks, "idle", list);
    look(&mut looks, "inline", b"client list\r\n");
    look(&mut looks, "id", b"client info\r\n");
    other.run("watch k");
    look(&mut looks, "watching", list);
    looks.run("set k 1");
    look(&mut looks, "changed", list);
    other.run("multi");
    other.run("get some-key");
    look(&mut looks, "queued", list);
    other.run("exec");
    other.run("multi");
    other.run("set some-key some-value");
    look(&mut looks, "queued to be run", list);
    other.run("exec");
    other.run("select 3");
    look(&mut looks, "over", list);
    other.run("client no-evict on");
    look(&mut looks, "not evicted", list);
    other.run("subscribe a");
    look(&mut looks, "subscribed", list);
    seen
}

#[test]
fn client_list_tells_what_stock_tells() {
    assert_eq!(told(Kind::Pando), told(Kind::Stock70));
}

/// Silences a connection, and gives it back when that has taken effect.
fn silenced(s: &Server, proto: &str) -> Client {
    let mut c = s.client();
    c.run(&format!("hello {proto}"));
    c.send(&["client", "reply", "off"]);
    c
}

#[test]
fn who_wants_no_replies_is_told_of_subscriptions_and_messages_all_the_same() {
    for proto in ["2", "3"] {
        let s = Server::start(Kind::Pando, &[]);
        let mut c = silenced(&s, proto);
        let head = if proto == "2" { "[" } else { ">[" };
        c.send(&["set", "k", "v"]);
        c.send(&["subscribe"]);
        for (words, expect) in [
            (&["subscribe", "a"][..], "$subscribe $a :1"),
            (&["psubscribe", "b*"], "$psubscribe $b* :2"),
            (&["unsubscribe", "a"], "$unsubscribe $a :1"),
        ] {
            c.send(words);
            assert_eq!(c.read().to_string(), format!("{head}{expect}]"));
        }
        s.check("publish bee hello", ":1");
        assert_eq!(c.read().to_string(), format!("{head}$pmessage $b* $bee $hello]"));
    }
}

#[test]
fn a_message_to_oneself_follows_the_reply() {
    // 7.0 sends it first.
    if Kind::stock_stands_in() {
        return;
    }
    let s = Server::start(Kind::Pando, &[]);
    let mut c = s.client();
    c.run("hello 3");
    c.run("subscribe foo");
    c.check("publish foo bar", ":1");
    assert_eq!(c.read().to_string(), ">[$message $foo $bar]");
    for line in ["multi", "ping abc", "publish foo bar", "publish foo vaz", "ping def"] {
        c.run(line);
    }
    c.check("exec", "[$abc :1 :1 $def]");
    assert_eq!(c.read().to_string(), ">[$message $foo $bar]");
    assert_eq!(c.read().to_string(), ">[$message $foo $vaz]");
    // A silenced reply takes no message with it.
    c.send(&["client", "reply", "skip"]);
    c.send(&["publish", "foo", "last"]);
    assert_eq!(c.read().to_string(), ">[$message $foo $last]");
    c.check("ping", "+PONG");
}

#[test]
fn who_reads_nothing_is_closed_at_the_hard_limit_and_after_the_soft_ones_time() {
    for (limit, when) in [("pubsub 1mb 0 0", "at once"), ("pubsub 0 64kb 1", "in time")] {
        let s = Server::start(Kind::Pando, &[]);
        let mut c = s.client();
        c.run("client setname deaf");
        c.run("subscribe noise");
        s.check(&format!("config set client-output-buffer-limit \"{limit}\""), "+OK");
        let (mut speaker, message) = (s.client(), "x".repeat(100_000));
        // More than the sockets' buffers take; with the soft limit nothing comes after it.
        let mut hears = true;
        for _ in 0..200 {
            hears = speaker.call(&["publish", "noise", &message]).int() == 1;
            if !hears {
                break;
            }
        }
        // On a busy machine the soft limit's time may be over by now.
        assert!(when == "in time" || !hears, "{limit}");
        wait_until("it is closed", || !s.run("client list").text().contains("name=deaf"));
        assert!(s.log_has("name=deaf"), "the log tells whom");
        assert!(s.log_has("for overcoming of output buffer limits"));
    }
}

#[test]
fn a_reply_without_end_ends_where_its_client_is_closed() {
    let s = Server::start(Kind::Pando, &["client-output-buffer-limit normal 200kb 0 0"]);
    s.script("sadd s a b c => :3\n hset h a 1 b 2 => :2\n zadd z 1 a 2 b => :2");
    for line in ["srandmember s -999999999", "hrandfield h -999999999", "zrandmember z -999999999 withscores"] {
        let mut c = s.client();
        let words: Vec<&str> = line.split(' ').collect();
        c.send(&words);
        wait_until("it is closed", || c.is_closed());
        s.check("ping", "+PONG");
    }
}

#[test]
fn a_client_that_sends_much_at_once_leaves_the_others_their_turn() {
    const SENT: i64 = 400;
    let s = Server::start(Kind::Pando, &["io-threads 1"]);
    let (mut much, mut little) = (s.client(), s.client());
    s.run("setbit big 33554431 1");
    // So little that one read brings all of it, and far more work than one turn.
    much.send_raw("bitcount big\r\nincr done\r\n".repeat(SENT as usize).as_bytes());
    much.read();
    let done: i64 = little.run("get done").text().parse().expect("a number");
    assert!(done < SENT, "nobody was served before all {SENT} were done");
    // And its replies come in order.
    for n in 1..=done {
        assert_eq!(much.read().int(), n);
        assert_eq!(much.read().int(), 1, "the bit is counted once more");
    }
}
