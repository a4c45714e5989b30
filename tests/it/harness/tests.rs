//! The harness itself, tried with stock programs on both ends.

use super::{Kind, Port, Proxy, Server, chain, converge, follow, link_down, link_up, words};

#[test]
fn a_line_is_split_into_words_as_written() {
    let split = |line: &str| -> Vec<String> {
        words(line).into_iter().map(|w| String::from_utf8_lossy(&w).into_owned()).collect()
    };
    assert_eq!(split("set  a 1"), ["set", "a", "1"]);
    assert_eq!(split(r#"set a "b c" """#), ["set", "a", "b c", ""]);
    assert_eq!(words(r#""\x00\xff\n\"""#), [b"\x00\xff\n\"".to_vec()]);
}

#[test]
fn reserved_ports_differ_and_stay_reserved() {
    let ports: Vec<Port> = (0..20).map(|_| Port::reserve()).collect();
    let mut numbers: Vec<u16> = ports.iter().map(|p| p.number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 20);
}

#[test]
fn a_chain_of_stock_servers_converges_and_survives_a_cut_wire() {
    let nodes = chain(&[Kind::Stock70, Kind::Stock70], &[]);
    let last = Server::start(Kind::Stock70, &[]);
    let wire = Proxy::to(nodes[1].port());
    last.check(&format!("replicaof 127.0.0.1 {}", wire.port()), "+OK");
    link_up(&last);
    nodes[0].check("set a 1", "+OK");
    converge(&[&nodes[0], &nodes[1], &last]);

    let full = nodes[1].info_int("stats", "sync_full");
    wire.refuse(true);
    wire.cut();
    link_down(&last);
    nodes[0].check("set a 2", "+OK");
    wire.refuse(false);
    link_up(&last);
    converge(&[&nodes[0], &nodes[1], &last]);
    assert_eq!(nodes[1].info_int("stats", "sync_full"), full);
    last.check("get a", "$2");
}

#[test]
fn every_kind_of_stock_server_on_this_machine_follows_the_oldest() {
    let master = Server::start(Kind::Stock70, &[]);
    master.check("set a 1", "+OK");
    for kind in [Kind::Stock70, Kind::Redis80, Kind::Valkey91] {
        if kind.available() {
            let replica = Server::start(kind, &[]);
            follow(&replica, &master);
            replica.check("get a", "$1");
        }
    }
}
