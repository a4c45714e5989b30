//! What a drawing looks like, on forests made by hand.

use super::*;
use crate::tools::probe::{Address, Info, Link, Listed, Role};
use crate::tools::tree::forest::{Answer, arrange};
use crate::tools::tree::lag::{Delay, Lag};
use std::collections::HashMap;
use std::time::Duration;

fn info(role: Role, master: Option<u16>, replicas: &[(u16, &str)]) -> Info {
    Info {
        run_id: "r".into(),
        product: "redis".into(),
        version: "7.0.15".into(),
        role,
        loading: false,
        replid: "x".into(),
        replid2: String::new(),
        offset: 1234,
        keys: 7,
        memory_bytes: Some(939_120),
        master: master.map(|p| (Address::new("127.0.0.1", p), Link::Up)),
        replicas: replicas
            .iter()
            .map(|(p, state)| Listed {
                address: Address::new("127.0.0.1", *p),
                state: (*state).into(),
                offset: 1200,
                lag_ms: None,
            })
            .collect(),
    }
}

fn forest() -> Forest {
    let answer = |port, state| Answer { names: [Address::new("127.0.0.1", port)].into(), state };
    let mut forest = arrange(
        vec![
            answer(6401, Ok(info(Role::Master, None, &[(6402, "online"), (6403, "online")]))),
            answer(6402, Err(Trouble::Silent)),
            answer(6403, Ok(info(Role::Replica, Some(6401), &[]))),
            answer(6404, Ok(info(Role::Replica, Some(6402), &[]))),
        ],
        &HashMap::new(),
    );
    let at = forest.nodes.iter().position(|n| n.address.port == 6403).unwrap();
    forest.nodes[at].lag = Some(Lag { bytes: 34, delay: Delay::Below(Duration::from_micros(300)) });
    forest
}

#[test]
fn a_tree_is_drawn_in_aligned_columns() {
    let expect = "\
ADDRESS               ROLE     LINK         OFFSET   LAG  LAG TIME  KEYS  MEMORY  SERVER
127.0.0.1:6401        master   -              1234     -         -     7    917K  redis 7.0.15
├─ 127.0.0.1:6402     replica  unreachable    1200     -         -     -       -  -             no answer in time; \
its master says: online
│  └─ 127.0.0.1:6404  replica  up             1234     -         -     7    917K  redis 7.0.15
└─ 127.0.0.1:6403     replica  up             1234  34 B     <1 ms     7    917K  redis 7.0.15";
    assert_eq!(draw(&forest()).join("\n"), expect);
}

#[test]
fn the_shape_is_who_is_where_and_how_linked() {
    assert_eq!(
        shape(&forest()),
        "0 127.0.0.1:6401 master -\n1 127.0.0.1:6402 replica unreachable\n2 127.0.0.1:6404 replica up\n\
         1 127.0.0.1:6403 replica up\n"
    );
}

#[test]
fn a_peers_control_characters_do_not_reach_the_terminal() {
    let mut evil = info(Role::Master, None, &[]);
    evil.version = "\x1b[2Jgone\r\n".into();
    let forest = arrange(vec![Answer { names: [Address::new("h", 1)].into(), state: Ok(evil) }], &HashMap::new());
    assert!(draw(&forest).iter().all(|l| l.chars().all(|c| !c.is_control())));
}

#[test]
fn clipping_counts_characters_and_keeps_colours() {
    assert_eq!(clipped("├─ abc", 4), "├─ a");
    assert_eq!(clipped("\x1b[31mabc\x1b[0m", 2), "\x1b[31mab\x1b[0m");
}

#[test]
fn sizes_are_short() {
    let check = |n: u64, text: &str| assert_eq!(human_bytes(n), text);
    check(0, "0B");
    check(999, "999B");
    check(1500, "1.5K");
    check(939_120, "917K");
    check(64 << 20, "64M");
    check(3 << 40, "3.0T");
}
