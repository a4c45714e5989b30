//! Places: the same replies and data as stock servers for the same commands.

use crate::harness::{Kind, Server, converge, follow, words};
use crate::pair::{Command, Pair};
use crate::random::Rng;
use crate::types_zset::by_value;

/// Between two numbers, to so many digits.
fn number(rng: &mut Rng, from: f64, to: f64) -> f64 {
    let share = rng.below(1 << 40) as f64 / (1u64 << 40) as f64;
    from + (to - from) * share
}

fn longitude(rng: &mut Rng) -> String {
    match rng.below(30) {
        0 => rng.pick(&["180", "-180", "0", "180.1", "x"]).into(),
        1..=12 => number(rng, -180.0, 180.0).to_string(),
        _ => number(rng, 10.0, 20.0).to_string(),
    }
}

fn latitude(rng: &mut Rng) -> String {
    match rng.below(30) {
        0 => rng.pick(&["85.05112878", "-85.05112878", "0", "86", "nan"]).into(),
        1..=12 => number(rng, -85.0, 85.0).to_string(),
        _ => number(rng, 30.0, 40.0).to_string(),
    }
}

fn reach(rng: &mut Rng) -> String {
    match rng.below(20) {
        0 => rng.pick(&["0", "-1", "x", "1e9", "inf", "1e-300"]).into(),
        _ => 10f64.powf(number(rng, 0.0, 7.5)).to_string(),
    }
}

fn unit(rng: &mut Rng) -> &'static str {
    if rng.below(100) == 0 { "x" } else { rng.pick(&["m", "km", "ft", "mi", "KM"]) }
}

fn key(rng: &mut Rng) -> &'static str {
    rng.pick(&["g0", "g0", "g0", "g1", "g1", "none"])
}

fn member(rng: &mut Rng) -> String {
    format!("m{}", rng.below(300))
}

fn options(rng: &mut Rng, with: bool) -> String {
    let mut all = String::new();
    for word in ["WITHDIST", "WITHHASH", "WITHCOORD"].iter().filter(|_| with) {
        if rng.below(3) == 0 {
            all += &format!(" {word}");
        }
    }
    all += rng.pick(&["", "", " ASC", " desc"]);
    all += rng.pick(&["", "", " COUNT 1", " COUNT 7", " COUNT 40", " COUNT 5 ANY", " COUNT 30 any"]);
    if rng.below(60) == 0 {
        all += rng.pick(&[" ANY", " COUNT 0", " COUNT x", " COUNT", " FROM"]);
    }
    all
}

fn area(rng: &mut Rng) -> String {
    let centre = match rng.below(2) {
        0 => format!("FROMMEMBER {}", member(rng)),
        _ => format!("FROMLONLAT {} {}", longitude(rng), latitude(rng)),
    };
    let shape = match rng.below(2) {
        0 => format!("BYRADIUS {} {}", reach(rng), unit(rng)),
        _ => format!("BYBOX {} {} {}", reach(rng), reach(rng), unit(rng)),
    };
    match rng.below(40) {
        0 => centre,
        1 => shape,
        _ => format!("{centre} {shape}"),
    }
}

fn some_command(rng: &mut Rng) -> Command {
    let store = |rng: &mut Rng| rng.pick(&["", "", "", " STORE to", " STOREDIST to", " STORE none STOREDIST to"]);
    let line = match rng.below(14) {
        0..=2 => {
            let option = rng.pick(&["", "", "", " NX", " XX", " CH", " nx xx"]);
            let n = rng.pick(&[1, 3, 10]);
            let all = (0..n)
                .fold(String::new(), |all, _| format!("{all} {} {} {}", longitude(rng), latitude(rng), member(rng)));
            format!("GEOADD {}{option}{all}", rng.pick(&["g0", "g0", "g1"]))
        }
        3 => format!("GEODIST {} {} {} {}", key(rng), member(rng), member(rng), unit(rng)),
        4 => format!("GEODIST {} {} {}", key(rng), member(rng), member(rng)),
        5 => format!("{} {} {} {}", rng.pick(&["GEOHASH", "GEOPOS"]), key(rng), member(rng), member(rng)),
        6..=8 => format!("GEOSEARCH {} {}{}", key(rng), area(rng), options(rng, true)),
        9 => {
            let distance = rng.pick(&["", " STOREDIST"]);
            format!("GEOSEARCHSTORE to {} {}{}{distance}", key(rng), area(rng), options(rng, false))
        }
        10 => {
            let (center, reach) = (format!("{} {}", longitude(rng), latitude(rng)), reach(rng));
            format!("GEORADIUS {} {center} {reach} {}{}{}", key(rng), unit(rng), options(rng, false), store(rng))
        }
        11 => {
            let (member, reach) = (member(rng), reach(rng));
            format!(
                "GEORADIUSBYMEMBER {} {member} {reach} {}{}{}",
                key(rng),
                unit(rng),
                options(rng, false),
                store(rng)
            )
        }
        12 => format!(
            "GEORADIUSBYMEMBER_RO {} {} {} {}{}",
            key(rng),
            member(rng),
            reach(rng),
            unit(rng),
            options(rng, true)
        ),
        _ => format!("GEORADIUS_RO {} 15 37 {} {}{}", key(rng), reach(rng), unit(rng), options(rng, true)),
    };
    words(&line)
}

fn pair(stock: Kind) -> Pair {
    Pair::new(stock, &[]).promised(|_, reply| by_value(reply))
}

fn compare(stock: Kind, seed: u64, resp3: bool) {
    let mut pair = pair(stock);
    pair.at(format!("seed {seed}"));
    if resp3 {
        pair.resp3();
    }
    let mut rng = Rng::new(seed);
    for i in 0..3000 {
        pair.call(&some_command(&mut rng));
        if i % 10 == 0 {
            pair.same("zrange to 0 -1 withscores\nobject encoding to");
        }
        if i % 500 == 499 {
            pair.compare_data();
        }
    }
}

#[test]
fn random_places_are_found_as_stock_finds_them() {
    compare(Kind::Stock70, 1, false);
    compare(Kind::Stock70, 2, true);
}

#[test]
fn scores_that_are_no_places_are_taken_for_some() {
    let mut pair = pair(Kind::Stock70);
    for (i, score) in
        ["-1", "-0.5", "0.5", "1e15", "4503599627370496", "9e18", "1e19", "1e30", "inf", "-inf"].iter().enumerate()
    {
        pair.run(&format!("zadd odd {score} m{i}"));
        pair.same(&format!("geopos odd m{i}\ngeohash odd m{i}\ngeodist odd m0 m{i} km"));
    }
    pair.run("geosearch odd frommember m3 byradius 20000 km withhash desc");
}

#[test]
fn mistakes_with_places_are_answered_as_stock_answers_them() {
    let mut pair = pair(Kind::Stock70);
    pair.same(
        "set str x
         geoadd g 13.361389 38.115556 palermo 15.087269 37.502669 catania
         geoadd g 13 38
         geoadd g 13 38 a 14
         geoadd g nx xx 13 38 a
         geoadd g nx
         geoadd g x 38 a
         geoadd g 200 100 a
         geoadd g -inf 0 a
         geoadd str 13 38 a
         geodist g palermo
         geodist g palermo catania x
         geodist g palermo catania km mi
         geodist g palermo none
         geodist none palermo catania x
         geodist str a b
         geohash str a
         geopos g
         geopos none a b
         geosearch g
         geosearch g frommember palermo
         geosearch g byradius 1 km
         geosearch g frommember none byradius 1 km
         geosearch g frommember palermo fromlonlat 1 2 byradius 1 km
         geosearch g frommember palermo byradius 1 km bybox 1 1 km
         geosearch g frommember palermo bybox 1 1 km byradius 1 km
         geosearch g frommember palermo byradius 1
         geosearch g frommember palermo byradius x km
         geosearch g frommember palermo byradius -1 km
         geosearch g frommember palermo bybox 1 -1 km
         geosearch g frommember palermo bybox x 1 km
         geosearch g frommember palermo bybox 1 x km
         geosearch g frommember palermo byradius 1 parsec
         geosearch g frommember palermo byradius 1 km store d
         geosearch g frommember palermo byradius 1 km storedist
         geosearch g frommember palermo byradius 1 km any
         geosearch g frommember palermo byradius 1 km count 0
         geosearch none frommember palermo byradius 1 km
         geosearch none frommember palermo byradius x km
         geosearch str frommember palermo byradius 1 km
         GeoSearch g byradius 1 km
         geosearchstore d g frommember palermo byradius 1 km withdist
         geosearchstore d none frommember palermo byradius 1 km
         georadius g 13 38 200 km store
         georadius g 13 38 200 km withdist store d
         georadius g 13 38 200 km frommember palermo
         georadius g 13 38 x km
         georadius g 13 100 1 km
         georadius none 13 100 1 km
         georadius_ro g 13 38 200 km store d
         georadiusbymember g none 1 km
         georadiusbymember none none x km
         georadiusbymember none none x y store d
         georadiusbymember_ro g palermo 200 km store d
         command getkeys georadius g 13 38 200 km store a storedist b
         georadius g 13 38 200 km store a store b
         exists a b
         command getkeys georadius g 13 38 200 km
         command getkeys geosearchstore d g frommember palermo byradius 1 km",
    );
    pair.compare_data();
}

/// Members at one place have one distance: those found first come first, on every node.
#[test]
fn replicas_are_told_scores_not_places() {
    let s = Server::start(Kind::Pando, &[]);
    let replica = Server::start(Kind::Stock70, &[]);
    follow(&replica, &s);
    s.check("geoadd g ch 13.361389 38.115556 palermo", ":1");
    s.check("geoadd g nx 13.361389 38.115556 palermo", ":0");
    s.check("zscore g palermo", "$3479099956230698");
    converge(&[&s, &replica]);
}
