//! MIGRATE, from either server to either.

use crate::harness::{Kind, Port, Server, converge, link_up};
use crate::pair::Pair;

const FILL: &str = "mset a 1 b 2 c 3
    set mortal x px 100000000
    rpush l 1 2 3
    sadd s a b
    hset h f v
    zadd z 1 a 2.5 b
    xadd x 1-1 f v
    select 3
    set three 3
    select 0";

#[test]
fn keys_move_as_stock_moves_them() {
    for kind in [Kind::Pando, Kind::Stock70] {
        // A target each, so that what has come to it can be compared.
        let mut pair = Pair::new(Kind::Stock70, &[]);
        let targets = [Server::start(kind, &[]), Server::start(kind, &[])];
        pair.same(FILL);
        pair.listen();
        // The port is the only word that differs.
        let both = |pair: &mut Pair, line: &str| {
            let mine = pair.a.run(&line.replace("PORT", &targets[0].port().to_string()));
            let stock = pair.b.run(&line.replace("PORT", &targets[1].port().to_string()));
            assert_eq!(mine.to_string(), stock.to_string(), "`{line}`, to {kind:?}");
        };
        for line in [
            "migrate 127.0.0.1 PORT none 0 5000",
            "migrate 127.0.0.1 PORT a 0 5000",
            "migrate 127.0.0.1 PORT a 0 5000",
            "migrate 127.0.0.1 PORT b 0 5000 copy",
            "migrate 127.0.0.1 PORT b 0 5000",
            "migrate 127.0.0.1 PORT b 0 5000 REPLACE COPY",
            "migrate 127.0.0.1 PORT b 0 5000 replace",
            "migrate 127.0.0.1 PORT mortal 2 5000",
            "migrate 127.0.0.1 PORT \"\" 1 0 keys l s h z x none",
            "migrate 127.0.0.1 PORT \"\" 1 5000 keys none gone",
            "migrate 127.0.0.1 PORT \"\" 1 5000 keys",
            "migrate 127.0.0.1 PORT c 0 5000 auth nothing",
            "migrate 127.0.0.1 PORT c 0 5000 auth2 nobody nothing",
            "migrate 127.0.0.1 PORT c 0 5000 auth",
            "migrate 127.0.0.1 PORT c 0 5000 auth2 nobody",
            "migrate 127.0.0.1 PORT c 0 5000 what",
            "migrate 127.0.0.1 PORT c 0 5000 keys c",
            "migrate 127.0.0.1 PORT c x 5000",
            "migrate 127.0.0.1 PORT c 0 x",
            "migrate 127.0.0.1 PORT c 0",
            "migrate 127.0.0.1 1 c 0 500",
            "get c",
            "dbsize",
            "multi",
            "set again 1",
            "migrate 127.0.0.1 PORT again 0 5000",
            "exists again",
            "exec",
            "dbsize",
        ] {
            both(&mut pair, line);
        }
        pair.compare_events(&[]);
        pair.compare_data();
        assert_eq!(targets[0].digest(), targets[1].digest(), "what has come to {kind:?}");
        // Where a key comes to whose database is refused, is a matter of stock's connection, which it keeps.
        both(&mut pair, "migrate 127.0.0.1 PORT c 99 5000 replace");
        let mut two = targets[0].client();
        two.check("select 2", "+OK");
        assert!((1..=100_000_000).contains(&two.run("pttl mortal").int()));
    }
}

/// Keys that were taken over are gone, and those that were refused are not; replicas are told of the first.
#[test]
fn what_the_target_refuses_stays() {
    let mut pair = Pair::new(Kind::Stock70, &[]);
    let target = Server::start(Kind::Stock70, &["requirepass secret"]);
    let (port, mut t) = (target.port(), target.client());
    for (server, client) in [(&pair.ours, &mut pair.a), (&pair.theirs, &mut pair.b)] {
        let replica = Server::start(Kind::Stock70, &[&format!("replicaof 127.0.0.1 {}", server.port())]);
        link_up(&replica);
        t.check("flushall", "+OK");
        t.check("set b busy", "+OK");
        client.check("mset a 1 b 2 c 3", "+OK");
        client.check(
            &format!("migrate 127.0.0.1 {port} \"\" 0 5000 keys a b c"),
            "-ERR Target instance replied with error: NOAUTH Authentication required.",
        );
        client.check("exists a b c", ":3");
        client.check(
            &format!("migrate 127.0.0.1 {port} \"\" 0 5000 auth secret keys a b c"),
            "-ERR Target instance replied with error: BUSYKEY Target key name already exists.",
        );
        client.check("exists a b c", ":1");
        t.check("mget a b c", "[$1 $busy $3]");
        client.check(&format!("migrate 127.0.0.1 {port} b 0 5000 replace auth2 default secret"), "+OK");
        t.check("get b", "$2");
        converge(&[server, &replica]);
        replica.check("dbsize", ":0");
    }
    // Nobody is there, and nobody who answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent_port = silent.local_addr().expect("its number").port();
    let dead = Port::reserve();
    for (port, text) in [
        (dead.number, "-IOERR error or timeout writing to target instance"),
        (silent_port, "-IOERR error or timeout reading to target instance"),
    ] {
        pair.same("set d 1");
        let reply = pair.run(&format!("migrate 127.0.0.1 {port} d 0 300"));
        assert_eq!(reply.to_string(), text);
        pair.same("get d");
    }
}
