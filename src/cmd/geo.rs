//! Places: sorted sets whose scores are cells of the earth's surface.
//!
//! Knows nothing of how a place becomes a score: `ds::geo` does.

use super::zset::{add_scored, parse_score, reply_member};
use super::zset_range::store;
use super::{DataCommand, Effect, command};
use crate::base::Error;
use crate::base::number::{self, IntText};
use crate::ds::geo::{Place, Search, Shape};
use crate::ds::listpack::Item;
use crate::ds::partial_sort::sort_first;
use crate::ds::zset::{Builder, How, ScoreRange, ZSet};
use crate::keyspace::{Data, Key};
use crate::resp::{OwnedArgv, Reply};
use crate::spec::prelude::*;

pub const GEOADD: Row = Row {
    name: "geoadd",
    arity: -5,
    syntax: "key:key [condition:(nx:NX|xx:XX)@6.2.0] [change:CH@6.2.0] data:{longitude:double latitude:double \
        member}...",
    flags: WRITE.or(DENYOOM),
    cats: GEO,
    keys: &[KEY1_RW_UPDATE],
    since: "3.2.0",
    group: Group::Geo,
    complexity: "O(log N) for each member, N being the size of the sorted set",
    summary: "Gives members places on the earth, adding those that are not there, with conditions if asked.",
    ..Row::EMPTY
};

pub const GEODIST: Row = Row {
    name: "geodist",
    arity: -4,
    syntax: "key:key member1 member2 [unit:(m:M|km:KM|ft:FT|mi:MI)]",
    flags: READONLY,
    cats: GEO,
    keys: &[KEY1_RO_ACCESS],
    since: "3.2.0",
    group: Group::Geo,
    complexity: "O(1)",
    summary: "Tells the distance of two members.",
    ..Row::EMPTY
};

pub const GEOHASH: Row = Row {
    name: "geohash",
    arity: -2,
    syntax: "key:key [member...]",
    flags: READONLY,
    cats: GEO,
    keys: &[KEY1_RO_ACCESS],
    since: "3.2.0",
    group: Group::Geo,
    complexity: "O(1) for each member",
    summary: "Tells the places of members as geohash texts.",
    ..Row::EMPTY
};

pub const GEOPOS: Row = Row {
    name: "geopos",
    arity: -2,
    syntax: "key:key [member...]",
    flags: READONLY,
    cats: GEO,
    keys: &[KEY1_RO_ACCESS],
    since: "3.2.0",
    group: Group::Geo,
    complexity: "O(1) for each member",
    summary: "Tells longitude and latitude of members.",
    ..Row::EMPTY
};

pub const GEORADIUS: Row = Row {
    name: "georadius",
    arity: -6,
    syntax: "key:key longitude:double latitude:double radius:double unit:(m:M|km:KM|ft:FT|mi:MI) \
        [withcoord:WITHCOORD] [withdist:WITHDIST] [withhash:WITHHASH] [count-block:{count:integer=COUNT \
        [any:ANY@6.2.0]}] [order:(asc:ASC|desc:DESC)] \
        [store:(storekey:key=STORE#1<key>|storedistkey:key=STOREDIST#2<key>)]",
    flags: WRITE.or(DENYOOM),
    cats: GEO,
    keys: &[KEY1_RO_ACCESS, KeySpec::after("STORE", 6, OW.or(UPDATE)), KeySpec::after("STOREDIST", 6, OW.or(UPDATE))],
    find_keys: Some(finders::georadius),
    since: "3.2.0",
    group: Group::Geo,
    complexity: "O(N + log M), N being the number of members in the cells around the circle and M the size of the sorted set",
    summary: "Tells or stores the members inside a circle around a place.",
    doc: Doc::Deprecated {
        since: "6.2.0",
        replaced_by: "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument",
    },
    ..Row::EMPTY
};

pub const GEORADIUS_RO: Row = Row {
    name: "georadius_ro",
    arity: -6,
    syntax: "key:key longitude:double latitude:double radius:double unit:(m:M|km:KM|ft:FT|mi:MI) \
        [withcoord:WITHCOORD] [withdist:WITHDIST] [withhash:WITHHASH] [count-block:{count:integer=COUNT \
        [any:ANY@6.2.0]}] [order:(asc:ASC|desc:DESC)]",
    flags: READONLY,
    cats: GEO,
    keys: &[KEY1_RO_ACCESS],
    since: "3.2.10",
    group: Group::Geo,
    complexity: "O(N + log M), N being the number of members in the cells around the circle and M the size of the sorted set",
    summary: "Tells the members inside a circle around a place.",
    doc: Doc::Deprecated { since: "6.2.0", replaced_by: "`GEOSEARCH` with the `BYRADIUS` argument" },
    ..Row::EMPTY
};

pub const GEORADIUSBYMEMBER: Row = Row {
    name: "georadiusbymember",
    arity: -5,
    syntax: "key:key member radius:double unit:(m:M|km:KM|ft:FT|mi:MI) [withcoord:WITHCOORD] [withdist:WITHDIST] \
        [withhash:WITHHASH] [count-block:{count:integer=COUNT [any:ANY]}] [order:(asc:ASC|desc:DESC)] \
        [store:(storekey:key=STORE#1<key>|storedistkey:key=STOREDIST#2<key>)]",
    flags: WRITE.or(DENYOOM),
    cats: GEO,
    keys: &[KEY1_RO_ACCESS, KeySpec::after("STORE", 5, OW.or(UPDATE)), KeySpec::after("STOREDIST", 5, OW.or(UPDATE))],
    find_keys: Some(finders::georadius),
    since: "3.2.0",
    group: Group::Geo,
    complexity: "O(N + log M), N being the number of members in the cells around the circle and M the size of the sorted set",
    summary: "Tells or stores the members inside a circle around a member.",
    doc: Doc::Deprecated {
        since: "6.2.0",
        replaced_by: "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` arguments",
    },
    ..Row::EMPTY
};

pub const GEORADIUSBYMEMBER_RO: Row = Row {
    name: "georadiusbymember_ro",
    arity: -5,
    syntax: "key:key member radius:double unit:(m:M|km:KM|ft:FT|mi:MI) [withcoord:WITHCOORD] [withdist:WITHDIST] \
        [withhash:WITHHASH] [count-block:{count:integer=COUNT [any:ANY]}] [order:(asc:ASC|desc:DESC)]",
    flags: READONLY,
    cats: GEO,
    keys: &[KEY1_RO_ACCESS],
    since: "3.2.10",
    group: Group::Geo,
    complexity: "O(N + log M), N being the number of members in the cells around the circle and M the size of the sorted set",
    summary: "Tells the members inside a circle around a member.",
    doc: Doc::Deprecated { since: "6.2.0", replaced_by: "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments" },
    ..Row::EMPTY
};

pub const GEOSEARCH: Row = Row {
    name: "geosearch",
    arity: -7,
    syntax: "key:key from:(member=FROMMEMBER|fromlonlat:{longitude:double latitude:double}=FROMLONLAT) \
        by:(circle:{radius:double=BYRADIUS unit:(m:M|km:KM|ft:FT|mi:MI)}|box:{width:double=BYBOX \
        height:double unit:(m:M|km:KM|ft:FT|mi:MI)}) [order:(asc:ASC|desc:DESC)] \
        [count-block:{count:integer=COUNT [any:ANY]}] [withcoord:WITHCOORD] [withdist:WITHDIST] \
        [withhash:WITHHASH]",
    flags: READONLY,
    cats: GEO,
    keys: &[KEY1_RO_ACCESS],
    since: "6.2.0",
    group: Group::Geo,
    complexity: "O(N + log M), N being the number of members in the cells around the area and M the size of the sorted set",
    summary: "Tells the members inside a circle or a box.",
    ..Row::EMPTY
};

pub const GEOSEARCHSTORE: Row = Row {
    name: "geosearchstore",
    arity: -8,
    syntax: "destination:key source:key#1 from:(member=FROMMEMBER|fromlonlat:{longitude:double \
        latitude:double}=FROMLONLAT) by:(circle:{radius:double=BYRADIUS \
        unit:(m:M|km:KM|ft:FT|mi:MI)}|box:{width:double=BYBOX height:double unit:(m:M|km:KM|ft:FT|mi:MI)}) \
        [order:(asc:ASC|desc:DESC)] [count-block:{count:integer=COUNT [any:ANY]}] [storedist:STOREDIST]",
    flags: WRITE.or(DENYOOM),
    cats: GEO,
    keys: &[KEY1_OW_UPDATE, KeySpec::at(2, RO.or(ACCESS))],
    since: "6.2.0",
    group: Group::Geo,
    complexity: "O(N + log M), N being the number of members in the cells around the area and M the size of the sorted set",
    summary: "Stores the members inside a circle or a box, with their places or their distances.",
    ..Row::EMPTY
};

pub const COMMANDS: &[DataCommand] = &[
    command(&GEOADD, geoadd),
    command(&GEODIST, geodist),
    command(&GEOHASH, geohash),
    command(&GEOPOS, geopos),
    command(&GEORADIUS, georadius),
    command(&GEORADIUS_RO, georadius_ro),
    command(&GEORADIUSBYMEMBER, georadiusbymember),
    command(&GEORADIUSBYMEMBER_RO, georadiusbymember_ro),
    command(&GEOSEARCH, geosearch),
    command(&GEOSEARCHSTORE, geosearchstore),
];

// ---- words and replies ----

fn next_place(a: &mut Args<'_>) -> Result<Place, Error> {
    let (longitude, latitude) = (parse_score(a.next()?)?, parse_score(a.next()?)?);
    Place::new(longitude, latitude)
        .ok_or_else(|| Error::Text(format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}").into()))
}

/// Metres in a unit.
fn next_unit(a: &mut Args<'_>) -> Result<f64, Error> {
    match () {
        () if a.flag("M") => Ok(1.0),
        () if a.flag("KM") => Ok(1000.0),
        () if a.flag("FT") => Ok(0.3048),
        () if a.flag("MI") => Ok(1609.34),
        () => Err(Error::text("ERR unsupported unit provided. please use M, KM, FT, MI")),
    }
}

fn next_number(a: &mut Args<'_>, error: &'static str) -> Result<f64, Error> {
    number::parse_f64(a.next()?).ok_or(Error::text(error))
}

/// A radius and its unit.
fn next_circle(a: &mut Args<'_>) -> Result<(Shape, f64), Error> {
    let radius = next_number(a, "ERR need numeric radius")?;
    if radius < 0.0 {
        return Err(Error::text("ERR radius cannot be negative"));
    }
    let unit_m = next_unit(a)?;
    Ok((Shape::Circle { radius_m: radius * unit_m }, unit_m))
}

/// A width, a height and their unit.
fn next_box(a: &mut Args<'_>) -> Result<(Shape, f64), Error> {
    let (width, height) = (next_number(a, "ERR need numeric width")?, next_number(a, "ERR need numeric height")?);
    if height < 0.0 || width < 0.0 {
        return Err(Error::text("ERR height or width cannot be negative"));
    }
    let unit_m = next_unit(a)?;
    Ok((Shape::Box { width_m: width * unit_m, height_m: height * unit_m }, unit_m))
}

/// Four decimals. What has no number that fits is what C makes of it.
fn reply_distance(out: &mut Reply, distance: f64) {
    let scaled = (distance * 10_000.0).round_ties_even();
    let scaled = if scaled.abs() < i64::MAX as f64 { scaled as i64 } else { i64::MIN };
    let (sign, digits) = (if scaled < 0 { "-" } else { "" }, scaled.unsigned_abs());
    out.bulk(format!("{sign}{}.{:04}", digits / 10_000, digits % 10_000).as_bytes());
}

fn reply_place(out: &mut Reply, place: Place) {
    out.array(2);
    out.double_text(number::format_human(place.longitude).as_bytes());
    out.double_text(number::format_human(place.latitude).as_bytes());
}

// ---- one place ----

fn geoadd(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    let (mut how, mut count_changed) = (How::default(), false);
    let options_at = a.position();
    loop {
        match () {
            () if a.flag("NX") => how.nx = true,
            () if a.flag("XX") => how.xx = true,
            () if a.flag("CH") => count_changed = true,
            () => break,
        }
    }
    let options = options_at..a.position();
    if !a.left().is_multiple_of(3) || a.is_at_end() || (how.nx && how.xx) {
        return Err(Error::Syntax);
    }
    let mut members: Vec<(&[u8], f64)> = Vec::with_capacity(a.left() / 3);
    while !a.is_at_end() {
        let score = next_place(a)?.score();
        members.push((a.next()?, score as f64));
    }
    let effect = add_scored(db, key, members.iter().copied(), how, count_changed, out)?;
    let Effect::Verbatim = effect else { return Ok(effect) };
    // Places are told as scores, so that nobody has to round again.
    let mut told = OwnedArgv::from_words([b"zadd", key.bytes]);
    options.for_each(|i| told.push(a.word(i)));
    for (member, score) in &members {
        told.push(IntText::new().format(*score as u64).as_bytes());
        told.push(member);
    }
    Ok(Effect::Rewrite(told))
}

fn geodist(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (key, from, to) = (a.key()?, a.next()?, a.next()?);
    let unit_m = match a.left() {
        0 => 1.0,
        1 => next_unit(a)?,
        _ => return Err(Error::Syntax),
    };
    let set = db.read::<ZSet>(key)?;
    let place = |member| set.and_then(|set| set.score(member)).map(Place::of_score);
    match (place(from), place(to)) {
        (Some(from), Some(to)) => reply_distance(out, from.distance_m(to) / unit_m),
        _ => out.null(),
    }
    Ok(Effect::None)
}

/// Replies with something of each member's place.
fn each_place(
    db: &mut Data<'_>,
    a: &mut Args<'_>,
    out: &mut Reply,
    reply: impl Fn(&mut Reply, Option<Place>),
) -> Result<Effect, Error> {
    let key = a.key()?;
    let members = a.rest();
    let set = db.read::<ZSet>(key)?;
    out.array(members.len());
    for member in members.iter() {
        reply(out, set.and_then(|set| set.score(member)).map(Place::of_score));
    }
    Ok(Effect::None)
}

fn geohash(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    each_place(db, a, out, |out, place| match place {
        Some(place) => out.bulk(&place.geohash()),
        None => out.null(),
    })
}

fn geopos(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    each_place(db, a, out, |out, place| match place {
        Some(place) => reply_place(out, place),
        None => out.null_array(),
    })
}

// ---- searching ----

/// Which command asks: they differ in their words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// GEORADIUS, and whether it may store.
    Radius {
        stores: bool,
    },
    /// GEORADIUSBYMEMBER.
    RadiusByMember {
        stores: bool,
    },
    Search,
    SearchStore,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Unsorted,
    Nearest,
    Farthest,
}

struct Query<'a> {
    /// `None`: it was to be a member's place, and there is no set.
    centre: Option<Place>,
    /// With the metres of its unit.
    shape: Option<(Shape, f64)>,
    with_distance: bool,
    with_score: bool,
    with_place: bool,
    order: Order,
    /// 0: all.
    count: usize,
    /// The first ones found will do.
    any: bool,
    store: Option<Key<'a>>,
    store_distance: bool,
}

impl<'a> Query<'a> {
    /// The words behind the key, in which places may be those of members of `set`.
    fn parse(a: &mut Args<'a>, form: Form, set: Option<&ZSet>, to: Option<Key<'a>>) -> Result<Self, Error> {
        let mut q = Self {
            centre: None,
            shape: None,
            with_distance: false,
            with_score: false,
            with_place: false,
            order: Order::Unsorted,
            count: 0,
            any: false,
            store: to,
            store_distance: false,
        };
        let place_of = |member: &[u8]| match set {
            Some(set) => match set.score(member) {
                Some(score) => Ok(Some(Place::of_score(score))),
                None => Err(Error::text("ERR could not decode requested zset member")),
            },
            None => Ok(None),
        };
        let (mut from_member, mut from_place) = (false, false);
        match form {
            Form::Radius { .. } => {
                q.centre = Some(next_place(a)?);
                q.shape = Some(next_circle(a)?);
            }
            Form::RadiusByMember { .. } => {
                q.centre = place_of(a.next()?)?;
                if set.is_some() {
                    q.shape = Some(next_circle(a)?);
                } else {
                    a.skip(2);
                }
            }
            Form::Search | Form::SearchStore => {}
        }
        let searches = matches!(form, Form::Search | Form::SearchStore);
        let stores = matches!(form, Form::Radius { stores: true } | Form::RadiusByMember { stores: true });
        let is_box = |shape: Option<(Shape, f64)>| matches!(shape, Some((Shape::Box { .. }, _)));
        while !a.is_at_end() {
            if a.flag("WITHDIST") {
                q.with_distance = true;
            } else if a.flag("WITHHASH") {
                q.with_score = true;
            } else if a.flag("WITHCOORD") {
                q.with_place = true;
            } else if a.flag("ANY") {
                q.any = true;
            } else if a.flag("ASC") {
                q.order = Order::Nearest;
            } else if a.flag("DESC") {
                q.order = Order::Farthest;
            } else if a.option("COUNT") {
                let count = a.next_i64()?;
                let positive = usize::try_from(count).ok().filter(|count| *count > 0);
                q.count = positive.ok_or(Error::text("ERR COUNT must be > 0"))?;
            } else if stores && a.option("STORE") {
                (q.store, q.store_distance) = (Some(a.key()?), false);
            } else if stores && a.option("STOREDIST") {
                (q.store, q.store_distance) = (Some(a.key()?), true);
            } else if form == Form::SearchStore && a.flag("STOREDIST") {
                q.store_distance = true;
            } else if searches && !from_place && a.option("FROMMEMBER") {
                q.centre = place_of(a.next()?)?;
                from_member = true;
            } else if searches && !from_member && a.left() > 2 && a.flag("FROMLONLAT") {
                q.centre = Some(next_place(a)?);
                from_place = true;
            } else if searches && !is_box(q.shape) && a.left() > 2 && a.flag("BYRADIUS") {
                q.shape = Some(next_circle(a)?);
            } else if searches && (q.shape.is_none() || is_box(q.shape)) && a.left() > 3 && a.flag("BYBOX") {
                q.shape = Some(next_box(a)?);
            } else {
                return Err(Error::Syntax);
            }
        }
        let refuse = |text: String| Err(Error::Text(text.into()));
        if q.store.is_some() && (q.with_distance || q.with_score || q.with_place) {
            let what = if searches { "GEOSEARCHSTORE" } else { "STORE option in GEORADIUS" };
            return refuse(format!("ERR {what} is not compatible with WITHDIST, WITHHASH and WITHCOORD options"));
        }
        let name = || String::from_utf8_lossy(a.word(0)).into_owned();
        if searches && !from_member && !from_place {
            return refuse(format!("ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for {}", name()));
        }
        if searches && q.shape.is_none() {
            return refuse(format!("ERR exactly one of BYRADIUS and BYBOX can be specified for {}", name()));
        }
        if q.any && q.count == 0 {
            return Err(Error::text("ERR the ANY argument requires COUNT argument"));
        }
        if q.count > 0 && q.order == Order::Unsorted && !q.any {
            q.order = Order::Nearest;
        }
        Ok(q)
    }

    /// What is inside, in order, and as many as are asked for.
    fn run<'s>(&self, set: &'s ZSet) -> Vec<Found<'s>> {
        let (Some(centre), Some((shape, _))) = (self.centre, self.shape) else { return Vec::new() };
        let search = Search { centre, shape };
        let mut found = Vec::new();
        let enough = if self.any { self.count } else { usize::MAX };
        'search: for (min, max) in search.scores() {
            let ranks = set.ranks_by_score(&ScoreRange { min, max, min_open: false, max_open: true });
            for (member, score) in set.range(ranks) {
                if found.len() >= enough {
                    break 'search;
                }
                let place = Place::of_score(score);
                if let Some(distance_m) = search.distance_inside_m(place) {
                    found.push(Found { member, score, place, distance_m });
                }
            }
        }
        let by_distance = |a: &Found<'_>, b: &Found<'_>| match self.order {
            Order::Farthest => b.distance_m.total_cmp(&a.distance_m),
            Order::Nearest | Order::Unsorted => a.distance_m.total_cmp(&b.distance_m),
        };
        let wanted = if self.count == 0 { found.len() } else { self.count.min(found.len()) };
        if self.order != Order::Unsorted {
            // Which of several members at one distance are told or stored must not differ between nodes.
            if wanted < found.len() {
                sort_first(&mut found, wanted, by_distance);
            } else {
                found.sort_by(by_distance);
            }
        }
        found.truncate(wanted);
        found
    }

    fn in_unit(&self, distance_m: f64) -> f64 {
        self.shape.map_or(distance_m, |(_, unit_m)| distance_m / unit_m)
    }

    fn reply(&self, found: &[Found<'_>], out: &mut Reply) {
        let more = [self.with_distance, self.with_score, self.with_place].iter().filter(|with| **with).count();
        out.array(found.len());
        for one in found {
            if more > 0 {
                out.array(1 + more);
            }
            reply_member(out, one.member);
            if self.with_distance {
                reply_distance(out, self.in_unit(one.distance_m));
            }
            if self.with_score {
                out.int(one.score as i64);
            }
            if self.with_place {
                reply_place(out, one.place);
            }
        }
    }
}

/// A member inside the area.
struct Found<'s> {
    member: Item<'s>,
    score: f64,
    place: Place,
    /// From the centre.
    distance_m: f64,
}

fn search(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply, form: Form) -> Result<Effect, Error> {
    let to = if form == Form::SearchStore { Some(a.key()?) } else { None };
    let key = a.key()?;
    let there = db.read::<ZSet>(key)?.is_some();
    let set = if there { db.again::<ZSet>(key) } else { None };
    let query = Query::parse(a, form, set, to)?;
    let found = set.map(|set| query.run(set)).unwrap_or_default();
    let Some(to) = query.store else {
        query.reply(&found, out);
        return Ok(Effect::None);
    };
    let (mut members, mut text) = (Builder::default(), IntText::new());
    for one in &found {
        let score = if query.store_distance { query.in_unit(one.distance_m) } else { one.score };
        // A distance that is no number has no place in an order.
        let score = if score.is_nan() { 0.0 } else { score };
        members.set(one.member.bytes(&mut text), |_| score);
    }
    let count = members.len();
    let event = if form == Form::SearchStore { "geosearchstore" } else { "georadiusstore" };
    let effect = store(db, to, members, event, out);
    db.unit.dirty += count.saturating_sub(1) as u64;
    Ok(effect)
}

fn georadius(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    search(db, a, out, Form::Radius { stores: true })
}

fn georadius_ro(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    search(db, a, out, Form::Radius { stores: false })
}

fn georadiusbymember(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    search(db, a, out, Form::RadiusByMember { stores: true })
}

fn georadiusbymember_ro(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    search(db, a, out, Form::RadiusByMember { stores: false })
}

fn geosearch(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    search(db, a, out, Form::Search)
}

fn geosearchstore(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    search(db, a, out, Form::SearchStore)
}
