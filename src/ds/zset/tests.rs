//! A sorted set against a std map.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// The same in a std map; order by a sort.
#[derive(Default)]
struct Model(BTreeMap<Vec<u8>, f64>);

impl Model {
    fn sorted(&self) -> Vec<(Vec<u8>, f64)> {
        let mut all: Vec<_> = self.0.iter().map(|(m, s)| (m.clone(), *s)).collect();
        all.sort_by(|a, b| (a.1, &a.0).partial_cmp(&(b.1, &b.0)).unwrap());
        all
    }
}

#[derive(Clone, Debug)]
enum Step {
    Add(Vec<(Vec<u8>, f64)>, How),
    Remove(Vec<u8>),
    RemoveScores(ScoreRange),
    RemoveRanks(usize, usize),
}

fn member() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => (0u32..300).prop_map(|n| n.to_string().into_bytes()),
        3 => "[a-c]{0,3}".prop_map(String::into_bytes),
        1 => "x{60,70}".prop_map(String::into_bytes),
    ]
}

fn score() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (-20i32..20).prop_map(f64::from),
        2 => (-40i32..40).prop_map(|n| f64::from(n) / 8.0),
        1 => any::<f64>().prop_filter("a number", |f| !f.is_nan()),
        1 => Just(f64::INFINITY),
        1 => Just(f64::NEG_INFINITY),
    ]
}

fn range() -> impl Strategy<Value = ScoreRange> {
    (score(), score(), any::<bool>(), any::<bool>()).prop_map(|(min, max, min_open, max_open)| ScoreRange {
        min,
        max,
        min_open,
        max_open,
    })
}

fn lex() -> impl Strategy<Value = LexBound<'static>> {
    prop_oneof![
        Just(LexBound::Lowest),
        Just(LexBound::Highest),
        Just(LexBound::Closed(b"aa")),
        Just(LexBound::Open(b"b")),
        Just(LexBound::Closed(b"17")),
        Just(LexBound::Open(b"")),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let how = (any::<[bool; 3]>(), 0..4).prop_map(|([nx, xx, incr], order)| How {
        nx: nx && order == 0 && !xx,
        xx,
        gt: order == 1,
        lt: order == 2,
        incr,
    });
    prop_oneof![
        6 => (proptest::collection::vec((member(), score()), 1..20), how).prop_map(|(all, how)| Step::Add(all, how)),
        2 => member().prop_map(Step::Remove),
        1 => range().prop_map(Step::RemoveScores),
        1 => (0usize..200, 0usize..60).prop_map(|(from, n)| Step::RemoveRanks(from, n)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn a_sorted_set_does_as_a_sorted_map(
        steps in proptest::collection::vec(step(), 1..40),
        entries in 1usize..60,
        asked in proptest::collection::vec(range(), 4),
        lexes in proptest::collection::vec((lex(), lex()), 4),
    ) {
        let limits = Limits { zset_entries: entries, ..Limits::default() };
        let (mut set, mut model) = (ZSet::default(), Model::default());
        for step in steps {
            match step {
                Step::Add(all, how) => for (member, score) in all {
                    let before = model.0.get(&member).copied();
                    let added = set.add(&member, score, how, &limits);
                    prop_assert_eq!(added, decide(before, score, how));
                    if let Added::New(now) | Added::Updated(now) = added {
                        model.0.insert(member, now);
                    }
                },
                Step::Remove(member) => prop_assert_eq!(set.remove(&member), model.0.remove(&member).is_some()),
                Step::RemoveScores(range) => {
                    let ranks = set.ranks_by_score(&range);
                    let count = ranks.len();
                    set.remove_range(ranks);
                    let old = model.0.len();
                    model.0.retain(|_, s| !(range.reached_by(*s) && range.not_passed_by(*s)));
                    prop_assert_eq!(count, old - model.0.len());
                }
                Step::RemoveRanks(from, n) => {
                    let gone: Vec<_> = model.sorted().into_iter().skip(from).take(n).collect();
                    set.remove_range(from..from + n);
                    model.0.retain(|m, _| !gone.iter().any(|(g, _)| g == m));
                }
            }
            let sorted = model.sorted();
            let items: Vec<_> = set.iter().map(|(m, s)| (m.to_vec(), s)).collect();
            prop_assert_eq!(&items, &sorted);
            prop_assert_eq!(set.len(), sorted.len());
            prop_assert!(set.len() <= entries || set.encoding() == "skiplist");
        }
        let sorted = model.sorted();
        for (rank, (member, score)) in sorted.iter().enumerate() {
            prop_assert_eq!(set.rank(member), Some((rank, *score)));
            prop_assert_eq!(set.score(member), Some(*score));
        }
        for range in asked {
            let inside = |s: f64| range.reached_by(s) && range.not_passed_by(s);
            let expect = sorted.iter().filter(|(_, s)| inside(*s)).count();
            prop_assert_eq!(set.ranks_by_score(&range).len(), expect);
        }
        for part in [0..sorted.len() / 2, sorted.len() / 3..sorted.len(), 2..2, 5..usize::MAX] {
            let expect: Vec<_> = sorted.iter().take(part.end).skip(part.start).rev().cloned().collect();
            let got: Vec<_> = set.range(part).rev().map(|(m, s)| (m.to_vec(), s)).collect();
            prop_assert_eq!(got, expect);
        }
        // By bytes, where all scores agree; in both forms.
        for limits in [Limits::default(), Limits { zset_entries: 0, ..Limits::default() }] {
            let (mut builder, mut members) = (Builder::default(), Vec::new());
            for (member, _) in sorted.iter().take(100) {
                builder.set(member, |_| 0.5);
                members.push(member.clone());
            }
            members.sort();
            let set = ZSet::from_builder(builder, &limits);
            for (min, max) in &lexes {
                let range = LexRange { min: *min, max: *max };
                let expect: Vec<_> =
                    members.iter().filter(|m| range.reached_by(m) && range.not_passed_by(m)).cloned().collect();
                let got: Vec<_> = set.range(set.ranks_by_lex(&range)).map(|(m, _)| m.to_vec()).collect();
                prop_assert_eq!(got, expect);
            }
            let copy = set.clone();
            drop(set);
            prop_assert_eq!(copy.len(), members.len());
            let mut seen = 0;
            let mut cursor = 0;
            loop {
                cursor = copy.scan(cursor, 10, |_, score| { assert_eq!(score, 0.5); seen += 1; });
                if cursor == 0 { break; }
            }
            prop_assert_eq!(seen, members.len());
        }
    }
}

#[test]
fn a_small_set_knows_no_negative_zero() {
    let limits = Limits::default();
    let mut set = ZSet::default();
    set.add(b"m", -0.0, How::default(), &limits);
    assert!(set.score(b"m").unwrap().is_sign_positive());
    set.enlarge();
    set.add(b"n", -0.0, How::default(), &limits);
    assert!(set.score(b"n").unwrap().is_sign_negative());
}

#[test]
fn a_member_of_sixteen_bytes_takes_no_more_than_sixty() {
    let limits = Limits::default();
    let mut set = ZSet::default();
    let n = 100_000u32;
    for i in 0..n {
        let mixed = i.wrapping_mul(0x9e37_79b9);
        set.add(format!("member:{mixed:09x}").as_bytes(), f64::from(mixed), How::default(), &limits);
    }
    let each = set.memory_bytes() as f64 / f64::from(n);
    assert!(each < 60.0, "{each}");
}
