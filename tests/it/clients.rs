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
    // Whoever asked whether the server is up has hung up, and the server has seen it.
    wait_until("two are connected", || looks.run("client list").text().lines().count() == 2);
    let mut seen = Vec::new();
    let mut look = |looks: &mut Client, what: &str, asked: &[u8]| {
        looks.send_raw(asked);
        for line in looks.read().text().lines() {
            let who = if line.contains("name=other") { "other" } else { "self" };
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
    let s = Server::start(Kind::Pando, &[]);
    for proto in ["2", "3"] {
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
