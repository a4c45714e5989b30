//! Unions, intersections and differences of sorted sets, where plain sets may stand in: each member with the score 1.
//!
//! Scores are combined in the order of the inputs' sizes, the smallest first, as stock servers do: sums of doubles depend
//! on their order.

use smallvec::SmallVec;

use super::zset::reply_members;
use super::zset_range::store;
use super::{DataCommand, Effect, command};
use crate::base::number::IntText;
use crate::base::{Error, number};
use crate::ds::Limits;
use crate::ds::listpack::Item;
use crate::ds::set::Set;
use crate::ds::zset::{Builder, ZSet};
use crate::keyspace::{Data, Entry, Key, Type};
use crate::resp::Reply;
use crate::spec::prelude::*;

pub const ZDIFF: Row = Row {
    name: "zdiff",
    arity: -3,
    syntax: "numkeys:integer key:key... [withscores:WITHSCORES]",
    flags: READONLY,
    cats: SORTEDSET,
    keys: &[KeySpec::at(1, RO.or(ACCESS)).counted()],
    since: "6.2.0",
    group: Group::SortedSet,
    complexity: "O(L + M log M), L being the size of all inputs and M that of the result",
    summary: "Tells the members of a sorted set that no other input has.",
    ..Row::EMPTY
};

pub const ZDIFFSTORE: Row = Row {
    name: "zdiffstore",
    arity: -4,
    syntax: "destination:key numkeys:integer key:key#1...",
    flags: WRITE.or(DENYOOM),
    cats: SORTEDSET,
    keys: &[KEY1_OW_UPDATE, KeySpec::at(2, RO.or(ACCESS)).counted()],
    since: "6.2.0",
    group: Group::SortedSet,
    complexity: "O(L + M log M), L being the size of all inputs and M that of the result",
    summary: "Stores the members of a sorted set that no other input has.",
    ..Row::EMPTY
};

pub const ZINTER: Row = Row {
    name: "zinter",
    arity: -3,
    syntax: "numkeys:integer key:key... [weight:integer=WEIGHTS...] \
        [aggregate:(sum:SUM|min:MIN|max:MAX)=AGGREGATE] [withscores:WITHSCORES]",
    flags: READONLY,
    cats: SORTEDSET,
    keys: &[KeySpec::at(1, RO.or(ACCESS)).counted()],
    since: "6.2.0",
    group: Group::SortedSet,
    complexity: "O(N K + M log M), N being the size of the smallest input, K the number of inputs and M the size of the result",
    summary: "Tells the intersection of sorted sets and sets, with combined scores.",
    ..Row::EMPTY
};

pub const ZINTERCARD: Row = Row {
    name: "zintercard",
    arity: -3,
    syntax: "numkeys:integer key:key... [limit:integer=LIMIT]",
    flags: READONLY,
    cats: SORTEDSET,
    keys: &[KeySpec::at(1, RO.or(ACCESS)).counted()],
    since: "7.0.0",
    group: Group::SortedSet,
    complexity: "O(N K), N being the size of the smallest input and K the number of inputs",
    summary: "Tells how many members all inputs share, counting up to a limit if asked.",
    ..Row::EMPTY
};

pub const ZINTERSTORE: Row = Row {
    name: "zinterstore",
    arity: -4,
    syntax: "destination:key numkeys:integer key:key#1... [weight:integer=WEIGHTS...] \
        [aggregate:(sum:SUM|min:MIN|max:MAX)=AGGREGATE]",
    flags: WRITE.or(DENYOOM),
    cats: SORTEDSET,
    keys: &[KEY1_OW_UPDATE, KeySpec::at(2, RO.or(ACCESS)).counted()],
    since: "2.0.0",
    group: Group::SortedSet,
    complexity: "O(N K + M log M), N being the size of the smallest input, K the number of inputs and M the size of the result",
    summary: "Stores the intersection of sorted sets and sets, with combined scores.",
    ..Row::EMPTY
};

pub const ZUNION: Row = Row {
    name: "zunion",
    arity: -3,
    syntax: "numkeys:integer key:key... [weight:integer=WEIGHTS...] \
        [aggregate:(sum:SUM|min:MIN|max:MAX)=AGGREGATE] [withscores:WITHSCORES]",
    flags: READONLY,
    cats: SORTEDSET,
    keys: &[KeySpec::at(1, RO.or(ACCESS)).counted()],
    since: "6.2.0",
    group: Group::SortedSet,
    complexity: "O(N + M log M), N being the size of all inputs and M that of the result",
    summary: "Tells the union of sorted sets and sets, with combined scores.",
    ..Row::EMPTY
};

pub const ZUNIONSTORE: Row = Row {
    name: "zunionstore",
    arity: -4,
    syntax: "destination:key numkeys:integer key:key#1... [weight:integer=WEIGHTS...] \
        [aggregate:(sum:SUM|min:MIN|max:MAX)=AGGREGATE]",
    flags: WRITE.or(DENYOOM),
    cats: SORTEDSET,
    keys: &[KEY1_OW_UPDATE, KeySpec::at(2, RO.or(ACCESS)).counted()],
    since: "2.0.0",
    group: Group::SortedSet,
    complexity: "O(N + M log M), N being the size of all inputs and M that of the result",
    summary: "Stores the union of sorted sets and sets, with combined scores.",
    ..Row::EMPTY
};

pub const COMMANDS: &[DataCommand] = &[
    command(&ZDIFF, zdiff),
    command(&ZDIFFSTORE, zdiffstore),
    command(&ZINTER, zinter),
    command(&ZINTERCARD, zintercard),
    command(&ZINTERSTORE, zinterstore),
    command(&ZUNION, zunion),
    command(&ZUNIONSTORE, zunionstore),
];

// ---- inputs ----

#[derive(Clone, Copy)]
enum Members<'a> {
    None,
    Sorted(&'a ZSet),
    Plain(&'a Set),
}

impl<'a> Members<'a> {
    fn len(self) -> usize {
        match self {
            Members::None => 0,
            Members::Sorted(set) => set.len(),
            Members::Plain(set) => set.len(),
        }
    }

    fn score(self, member: Item<'_>) -> Option<f64> {
        match self {
            Members::None => None,
            Members::Sorted(set) => set.score(member.bytes(&mut IntText::new())),
            Members::Plain(set) => set.contains_item(member).then_some(1.0),
        }
    }

    /// Visits members until `f` wants no more.
    fn visit(self, mut f: impl FnMut(Item<'a>, f64) -> bool) {
        match self {
            Members::None => {}
            Members::Sorted(set) => _ = set.iter().all(|(member, score)| f(member, score)),
            Members::Plain(set) => _ = set.iter().all(|member| f(member, 1.0)),
        }
    }

    fn is(self, other: Self) -> bool {
        match (self, other) {
            (Members::Sorted(a), Members::Sorted(b)) => std::ptr::eq(a, b),
            (Members::Plain(a), Members::Plain(b)) => std::ptr::eq(a, b),
            _ => false,
        }
    }
}

/// An input and the factor of its scores.
#[derive(Clone, Copy)]
struct Input<'a> {
    members: Members<'a>,
    weight: f64,
}

impl Input<'_> {
    fn weighted(&self, score: f64) -> f64 {
        let score = self.weight * score;
        if score.is_nan() { 0.0 } else { score }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn of(self, old: f64, new: f64) -> f64 {
        match self {
            // Opposite infinities make zero.
            Aggregate::Sum => Some(old + new).filter(|sum| !sum.is_nan()).unwrap_or_default(),
            Aggregate::Min => {
                if new < old {
                    new
                } else {
                    old
                }
            }
            Aggregate::Max => {
                if new > old {
                    new
                } else {
                    old
                }
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Union,
    Intersection,
    Difference,
}

/// What becomes of the result: options differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Told,
    Stored,
    Counted,
}

/// The words of a command of this family behind the destination.
struct Asked<'a> {
    keys: SmallVec<[(Key<'a>, Type, bool); 8]>,
    weights: SmallVec<[f64; 8]>,
    aggregate: Aggregate,
    with_scores: bool,
    /// Counting ends here.
    limit: usize,
}

impl<'a> Asked<'a> {
    /// Looks the keys up as well: what is wrong with them counts before the options do.
    fn parse(db: &mut Data<'_>, a: &mut Args<'a>, operation: Operation, of: Use) -> Result<Self, Error> {
        let count = a.next_i64()?;
        if count < 1 {
            let text = format!("ERR at least 1 input key is needed for '{}' command", a.name());
            return Err(Error::Text(text.into()));
        }
        let count = usize::try_from(count).ok().filter(|n| *n <= a.left()).ok_or(Error::Syntax)?;
        let mut keys = SmallVec::with_capacity(count);
        for _ in 0..count {
            let key = a.key()?;
            let kind = db.get(key).map(|entry: &Entry| entry.value().kind());
            if kind.is_some_and(|kind| !matches!(kind, Type::ZSet | Type::Set)) {
                return Err(Error::WrongType);
            }
            keys.push((key, kind.unwrap_or(Type::ZSet), kind.is_some()));
        }
        let mut asked = Self {
            keys,
            weights: SmallVec::from_elem(1.0, count),
            aggregate: Aggregate::Sum,
            with_scores: false,
            limit: usize::MAX,
        };
        let combines = operation != Operation::Difference && of != Use::Counted;
        while !a.is_at_end() {
            if combines && a.left() > count && a.flag("WEIGHTS") {
                for weight in &mut asked.weights {
                    let bad = Error::text("ERR weight value is not a float");
                    *weight = number::parse_f64(a.next()?).ok_or(bad)?;
                }
            } else if combines && a.option("AGGREGATE") {
                asked.aggregate = match () {
                    () if a.flag("SUM") => Aggregate::Sum,
                    () if a.flag("MIN") => Aggregate::Min,
                    () if a.flag("MAX") => Aggregate::Max,
                    () => return Err(Error::Syntax),
                };
            } else if of == Use::Told && a.flag("WITHSCORES") {
                asked.with_scores = true;
            } else if of == Use::Counted && a.option("LIMIT") {
                let limit = number::parse_i64(a.next()?).and_then(|n| usize::try_from(n).ok());
                asked.limit = match limit.ok_or(Error::text("ERR LIMIT can't be negative"))? {
                    0 => usize::MAX,
                    limit => limit,
                };
            } else {
                return Err(Error::Syntax);
            }
        }
        Ok(asked)
    }

    fn inputs<'d>(&self, db: &'d Data<'_>) -> SmallVec<[Input<'d>; 8]> {
        let members = |(key, kind, there): &(Key<'a>, Type, bool)| match kind {
            _ if !there => Members::None,
            Type::Set => db.again(*key).map_or(Members::None, Members::Plain),
            _ => db.again(*key).map_or(Members::None, Members::Sorted),
        };
        let weights = self.weights.iter();
        self.keys.iter().zip(weights).map(|(key, weight)| Input { members: members(key), weight: *weight }).collect()
    }
}

// ---- the operations ----

fn result(db: &Data<'_>, asked: &Asked<'_>, operation: Operation) -> Builder {
    let (mut inputs, mut result, mut text) = (asked.inputs(db), Builder::default(), IntText::new());
    match operation {
        Operation::Union => {
            inputs.sort_by_key(|input| input.members.len());
            for input in &inputs {
                input.members.visit(|member, score| {
                    let score = input.weighted(score);
                    let combined = |old: Option<f64>| old.map_or(score, |old| asked.aggregate.of(old, score));
                    result.set(member.bytes(&mut text), combined);
                    true
                });
            }
        }
        Operation::Intersection => intersect(&mut inputs, asked.aggregate, |member, score| {
            result.set(member.bytes(&mut text), |_| score);
            true
        }),
        Operation::Difference => subtract(&inputs, |member, score| {
            result.set(member.bytes(&mut text), |_| score);
        }),
    }
    result
}

/// Calls `f` with the members that all inputs have, until it wants no more.
fn intersect(inputs: &mut [Input<'_>], aggregate: Aggregate, mut f: impl FnMut(Item<'_>, f64) -> bool) {
    inputs.sort_by_key(|input| input.members.len());
    let Some((smallest, others)) = inputs.split_first() else { return };
    smallest.members.visit(|member, own| {
        let mut score = smallest.weighted(own);
        for other in others {
            let theirs = if other.members.is(smallest.members) { Some(own) } else { other.members.score(member) };
            let Some(theirs) = theirs else { return true };
            score = aggregate.of(score, theirs * other.weight);
        }
        f(member, score)
    });
}

/// Calls `f` with the members of the first input that no other has.
fn subtract(inputs: &[Input<'_>], mut f: impl FnMut(Item<'_>, f64)) {
    let Some((first, others)) = inputs.split_first() else { return };
    if others.iter().any(|other| other.members.is(first.members)) {
        return;
    }
    let mut others: SmallVec<[Members<'_>; 8]> = others.iter().map(|input| input.members).collect();
    let total: usize = others.iter().map(|members| members.len()).sum();
    // Either each member is looked for in all the others, or the others are put together first.
    if first.members.len().saturating_mul(others.len()) / 2 <= first.members.len() + total {
        others.sort_by_key(|members| std::cmp::Reverse(members.len()));
        first.members.visit(|member, score| {
            if !others.iter().any(|members| members.score(member).is_some()) {
                f(member, score);
            }
            true
        });
        return;
    }
    let (mut together, mut text) = (Builder::default(), IntText::new());
    for members in others {
        members.visit(|member, _| {
            together.set(member.bytes(&mut text), |_| 0.0);
            true
        });
    }
    first.members.visit(|member, score| {
        if !together.contains(member.bytes(&mut text)) {
            f(member, score);
        }
        true
    });
}

// ---- the commands ----

fn tell(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply, operation: Operation) -> Result<Effect, Error> {
    let asked = Asked::parse(db, a, operation, Use::Told)?;
    // A small set's form would lose the sign of zeros, which stock servers tell here.
    let limits = Limits { zset_entries: 0, ..db.unit.limits };
    let set = ZSet::from_builder(result(db, &asked, operation), &limits);
    reply_members(out, set.iter(), asked.with_scores);
    Ok(Effect::None)
}

fn zunion(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    tell(db, a, out, Operation::Union)
}

fn zinter(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    tell(db, a, out, Operation::Intersection)
}

fn zdiff(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    tell(db, a, out, Operation::Difference)
}

fn zintercard(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let asked = Asked::parse(db, a, Operation::Intersection, Use::Counted)?;
    let mut count = 0;
    intersect(&mut asked.inputs(db), Aggregate::Sum, |_, _| {
        count += 1;
        count < asked.limit
    });
    out.int(count as i64);
    Ok(Effect::None)
}

fn put(
    db: &mut Data<'_>,
    a: &mut Args<'_>,
    out: &mut Reply,
    operation: Operation,
    event: &'static str,
) -> Result<Effect, Error> {
    let to = a.key()?;
    let asked = Asked::parse(db, a, operation, Use::Stored)?;
    let members = result(db, &asked, operation);
    Ok(store(db, to, members, event, out))
}

fn zunionstore(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    put(db, a, out, Operation::Union, "zunionstore")
}

fn zinterstore(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    put(db, a, out, Operation::Intersection, "zinterstore")
}

fn zdiffstore(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    put(db, a, out, Operation::Difference, "zdiffstore")
}
