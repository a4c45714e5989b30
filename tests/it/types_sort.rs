//! SORT: the same order, the same lists, the same mistakes as on a stock server.

use crate::harness::{Ear, Kind, Reply, Server, converge, follow, words};
use crate::pair::{Pair, in_any_order};
use crate::random::Rng;

/// What SORT finds in a set is in no order if it is not sorted.
fn promised(command: &[Vec<u8>], reply: &Reply) -> Reply {
    let unsorted = command.starts_with(&words("sort s by nosort")) && !command.contains(&b"store".to_vec());
    if unsorted { in_any_order(reply, 1) } else { reply.clone() }
}

fn pair() -> Pair {
    Pair::new(Kind::Stock70, &[]).promised(promised)
}

/// Numbers in `l`, `s` and `z`, texts in `lt` and `st`, and what the patterns find. Weights `u_*` differ from each other.
fn fill(pair: &mut Pair, rng: &mut Rng) {
    let mut order: Vec<u64> = (0..60).collect();
    for i in (1..order.len()).rev() {
        order.swap(i, rng.below(i as u64 + 1) as usize);
    }
    for (place, i) in order.iter().enumerate() {
        let number = match i % 4 {
            0 => format!("{}.5", *i as i64 - 30),
            1 => format!("-{i}"),
            2 => format!("{i}e1"),
            _ => i.to_string(),
        };
        pair.run(&format!("rpush l {number}"));
        pair.run(&format!("sadd s {number}"));
        pair.run(&format!("zadd z {place} {number}"));
        let text = format!("{}{i}", rng.pick(&["a", "B", "b", "\\xff", "_", ""]));
        pair.run(&format!("rpush lt \"{text}\""));
        pair.run(&format!("sadd st \"{text}\""));
        pair.run(&format!("set u_{number} \"u{}\"", (i * 37) % 61));
        pair.run(&format!("hset h_{number} u {} w {} t x{i}", (i * 41) % 67, rng.below(9)));
        if i % 3 != 0 {
            pair.run(&format!("set w_{number} {}", rng.below(12)));
        }
        if i % 5 == 0 {
            pair.run(&format!("rpush other_{number} x"));
        }
    }
}

fn limit(rng: &mut Rng) -> String {
    match rng.below(3) {
        0 => String::new(),
        _ => format!(" limit {} {}", rng.below(70) as i64 - 5, rng.pick(&[-5, -1, 0, 1, 10, 59, 1000])),
    }
}

fn gets(rng: &mut Rng) -> String {
    const GETS: &[&str] =
        &["#", "w_*", "h_*->t", "h_*->none", "h_*", "other_*", "constant", "h_*->", "none_*", "u_*", "w_*->f"];
    (0..rng.below(4)).map(|_| format!(" get {}", rng.pick(GETS))).collect()
}

#[test]
fn sorting_is_the_same_as_on_a_stock_server() {
    let mut pair = pair();
    let mut rng = Rng::new(1);
    fill(&mut pair, &mut rng);
    for round in 0..1500 {
        let desc = rng.pick(&["", " desc", " asc", " DESC ASC"]);
        let (limit, gets) = (limit(&mut rng), gets(&mut rng));
        let key = rng.pick(&["l", "s", "z"]);
        let store = if rng.below(3) == 0 { " store dest" } else { "" };
        let line = match rng.below(9) {
            0 => format!("sort {key}{desc}{limit}{gets}{store}"),
            1 => format!("sort {key}{desc}{limit}{gets} by w_*{store}"),
            2 => format!("sort {key}{desc}{limit}{gets} by h_*->w{store}"),
            3 => format!("sort {key} alpha{desc}{limit}{gets}{store}"),
            4 => format!("sort {key} alpha by u_*{desc}{limit}{gets}{store}"),
            // Where weights are missing, equal ones stay as they came.
            5 => format!("sort l alpha by w_*{desc}{gets}{store}"),
            6 => format!("sort {} by nosort{desc}{limit}{gets}{store}", rng.pick(&["l", "z"])),
            7 => format!("sort {} alpha{desc}{limit}{store}", rng.pick(&["lt", "st"])),
            _ => format!("sort s by nosort{desc}{limit}{gets} store dest"),
        };
        pair.run(&line);
        if line.ends_with("store dest") {
            pair.run("lrange dest 0 -1");
        } else if round % 4 == 0 {
            pair.run(&line.replacen("sort ", "sort_ro ", 1));
        }
        if round % 300 == 299 {
            pair.compare_data();
        }
    }
    pair.run("sort s by nosort");
    pair.run("sort s by nosort desc get w_*");
    pair.compare_data();
}

#[test]
fn mistakes_in_sorting_are_answered_as_stock_answers_them() {
    let mut pair = pair();
    pair.same(
        "set str x
         hset hash f v
         sort str
         sort hash
         sort hash limit x 1
         sort none
         sort none store dest
         sort none get w_*
         set dest x
         sort none store dest
         exists dest
         rpush l 3 1 x 2
         sort l
         sort l desc store dest
         sort l alpha
         sort l limit 1
         sort l limit 1 2 3
         sort l limit 1 x
         sort l limit x 1
         sort l limit 9223372036854775807 9223372036854775807
         sort l by
         sort l get
         sort l store
         sort_ro l store dest
         sort l nonsense
         sort l alpha limit 1 2 limit 0 1
         sort l by w_*
         set w_x 1 
         set w_1 abc
         sort l by w_*
         sort l by w_* alpha
         sort l by w_* by nosort
         sort l by nosort by w_* alpha
         sort l alpha store l
         lrange l 0 -1
         sort l alpha by nosort get # get w_* store str
         lrange str 0 -1
         sort
         sort_ro
         command getkeys sort k by w_* get # limit 0 1 store d
         command getkeys sort_ro k by w_*
         rpush blanks \" 1\" \"\" \"2\"
         sort blanks
         rpush blanks \"1 \"
         sort blanks
         rpush inf inf -inf 1e300 0x10 -0 0
         sort inf
         sort inf desc
         expire inf 10000
         sort blanks alpha store inf
         persist inf",
    );
    pair.resp3();
    pair.same("sort l get # get none_* by nosort\nsort none\nsort s alpha");
    pair.compare_data();
}

#[test]
fn events_and_replicas_of_sorting_are_those_of_stock() {
    let script = "sadd s 3 1 2\nset w_1 9\nsort s store d\nsort s by w_* store d\nsort s by nosort get # store d\nsort s\n\
                  sort none store d\nsort none store d\nset e x\nsort s desc store e\nmulti\nsort s store f\nsort s by w_*\nexec";
    let mut told = Vec::new();
    for kind in [Kind::Pando, Kind::Stock70] {
        let nodes = [Server::start(kind, &["notify-keyspace-events KEAn"]), Server::start(Kind::Pando, &[])];
        follow(&nodes[1], &nodes[0]);
        let mut ear = Ear::of(&nodes[0]);
        let mut c = nodes[0].client();
        script.lines().for_each(|line| assert!(!c.run(line).is_error(), "{line}"));
        converge(&[&nodes[0], &nodes[1]]);
        told.push(ear.heard(&mut c));
    }
    assert_eq!(told[0], told[1]);
}

/// Sorts that name all their keys and sorts that run alone, at once on several connections.
#[test]
fn sorts_at_once_do_not_mind_each_other() {
    let s = Server::start(Kind::Pando, &["io-threads 4"]);
    s.client().call(&words("sadd s 5 3 9 1 7"));
    std::thread::scope(|scope| {
        for n in 0..4 {
            let mut c = s.client();
            scope.spawn(move || {
                for i in 0..300 {
                    let line = match (n + i) % 4 {
                        0 => format!("sort s store d{n}"),
                        1 => "sort s by w_* get h_*->f".to_owned(),
                        2 => format!("sort s by w_* store d{}", (n + 1) % 4),
                        _ => format!("sort d{n} desc"),
                    };
                    let reply = c.run(&line);
                    assert!(!reply.is_error(), "{line}: {reply}");
                }
            });
        }
    });
}
