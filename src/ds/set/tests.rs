//! A set against a standard one, in all its forms.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn limits(ints: usize, entries: usize, value: usize) -> Limits {
    Limits { set_intset: ints, set_entries: entries, set_value: value, ..Limits::default() }
}

fn members(set: &Set) -> BTreeSet<Vec<u8>> {
    let all: Vec<Vec<u8>> = set.iter().map(|m| m.to_vec()).collect();
    assert_eq!(all.len(), set.len());
    let different: BTreeSet<Vec<u8>> = all.into_iter().collect();
    assert_eq!(different.len(), set.len());
    different
}

fn of(words: impl IntoIterator<Item = impl AsRef<[u8]>>, limits: &Limits) -> Set {
    let mut set = Set::default();
    words.into_iter().for_each(|w| {
        set.add(w.as_ref(), limits);
    });
    set
}

#[derive(Clone, Debug)]
enum Step {
    Add(Vec<u8>),
    Remove(Vec<u8>),
    Expect(Vec<u8>, usize),
    Pop,
    PopMany(usize),
    Clone,
}

fn member() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (-5..60i64).prop_map(|n| n.to_string().into_bytes()),
        1 => any::<i64>().prop_map(|n| n.to_string().into_bytes()),
        1 => prop_oneof![Just("01"), Just("-0"), Just("+1"), Just(""), Just(" 1")].prop_map(|s| s.as_bytes().to_vec()),
        3 => (0..60u8).prop_map(|n| vec![b'a', n]),
        1 => (0..20u8, 1..40usize).prop_map(|(n, len)| vec![n; len]),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => member().prop_map(Step::Add),
        6 => member().prop_map(Step::Remove),
        1 => (member(), 0..40usize).prop_map(|(m, n)| Step::Expect(m, n)),
        2 => Just(Step::Pop),
        1 => (0..60usize).prop_map(Step::PopMany),
        1 => Just(Step::Clone),
    ]
}

proptest! {
    #[test]
    fn a_set_is_a_set_in_every_form(
        steps in proptest::collection::vec(step(), 0..250),
        ints in 0..40usize, entries in 0..40usize, value in 0..30usize,
    ) {
        let limits = limits(ints, entries, value);
        let (mut set, mut model) = (Set::default(), BTreeSet::<Vec<u8>>::new());
        for step in steps {
            match step {
                Step::Add(m) => prop_assert_eq!(set.add(&m, &limits), model.insert(m)),
                Step::Remove(m) => prop_assert_eq!(set.remove(&m), model.remove(&m)),
                Step::Expect(m, n) => set.expect(&m, n, &limits),
                Step::Pop => match set.pop() {
                    Some(m) => prop_assert!(model.remove(&m[..])),
                    None => prop_assert!(model.is_empty()),
                },
                Step::PopMany(n) if n < set.len() => {
                    let gone = set.pop_many(n, &limits);
                    prop_assert_eq!(gone.len(), n);
                    for m in gone {
                        prop_assert!(model.remove(&m[..]));
                    }
                }
                Step::PopMany(_) => {}
                Step::Clone => set = set.clone(),
            }
            prop_assert_eq!(members(&set), model.clone());
            match set.encoding() {
                "intset" => prop_assert!(set.len() <= ints),
                "listpack" => prop_assert!(set.len() <= entries && model.iter().all(|m| m.len() <= value.max(2))),
                _ => {}
            }
            prop_assert!(model.iter().all(|m| set.contains(m)));
            prop_assert!(set.random().is_none_or(|m| model.contains(&m.to_vec())));
        }
        for count in [0, 1, model.len() / 4, model.len() / 2, model.len(), model.len() + 3] {
            let sample: BTreeSet<Vec<u8>> = set.sample(count).into_iter().map(|m| m.to_vec()).collect();
            prop_assert_eq!(sample.len(), count.min(model.len()));
            prop_assert!(sample.is_subset(&model));
        }
        let mut seen = BTreeSet::new();
        let mut cursor = 0;
        loop {
            cursor = set.scan(cursor, 3, |m| {
                seen.insert(m.to_vec());
            });
            if cursor == 0 {
                break;
            }
        }
        prop_assert_eq!(seen, model);
    }
}

#[test]
fn the_form_changes_when_stock_changes_it() {
    let l = limits(4, 3, 5);
    let check = |words: &[&str], expect| assert_eq!(of(words, &l).encoding(), expect, "{words:?}");
    check(&["1", "2", "3", "4"], "intset");
    check(&["1", "2", "3", "4", "4"], "intset");
    check(&["1", "2", "3", "4", "5"], "hashtable");
    check(&["1", "2", "x"], "listpack");
    check(&["1", "2", "3", "x"], "hashtable");
    check(&["1", "longer"], "hashtable");
    check(&["123456", "x"], "hashtable");
    check(&["x", "123456"], "hashtable");
    check(&["x", "y", "z"], "listpack");
    check(&["x", "y", "z", "z"], "listpack");
    check(&["x", "y", "z", "0"], "hashtable");
    let expect = |first: &str, count| {
        let mut set = Set::default();
        set.expect(first.as_bytes(), count, &l);
        set.encoding()
    };
    assert_eq!(
        [expect("1", 4), expect("1", 5), expect("x", 3), expect("x", 4)],
        ["intset", "hashtable", "listpack", "hashtable"]
    );
    let mut set = of(["a"], &l);
    set.expect(b"a", 4, &l);
    assert_eq!(set.encoding(), "hashtable");
}

#[test]
fn integers_come_back_together_where_stock_gathers_them() {
    let l = limits(600, 3, 5);
    let mut set = of((0..50).map(|n| format!("{}", n * 7)).chain(["x".to_owned()]), &l);
    set.remove(b"x");
    assert_eq!(set.encoding(), "hashtable");
    let before = members(&set);
    set.make_ints(&l);
    assert_eq!((set.encoding(), members(&set)), ("intset", before));
    set.add(b"y", &l);
    set.make_ints(&l);
    assert_eq!(set.encoding(), "hashtable");
}

/// Each count should be near to `expect`; six standard deviations are let pass.
fn assert_even(counts: &BTreeMap<Vec<u8>, u32>, of: usize, expect: f64) {
    assert_eq!(counts.len(), of);
    for (member, n) in counts {
        assert!((f64::from(*n) - expect).abs() < 6.0 * expect.sqrt(), "{member:?} came {n} times, not {expect}");
    }
}

#[test]
fn chance_is_fair_in_every_form() {
    let l = Limits::default();
    let strings = |n: usize| (0..n).map(|i| format!("member:{i}")).collect::<Vec<_>>();
    let mut sparse = of(strings(1000), &l);
    for i in 50..1000 {
        sparse.remove(format!("member:{i}").as_bytes());
    }
    let sets = [of((0..90).map(|i| i.to_string()), &l), of(strings(90), &l), of(strings(140), &l), sparse];
    for (set, encoding) in sets.iter().zip(["intset", "listpack", "hashtable", "hashtable"]) {
        assert_eq!(set.encoding(), encoding);
        let n = set.len();
        let rounds = 60_000 / n;
        let mut counts = [(); 4].map(|()| BTreeMap::<Vec<u8>, u32>::new());
        let mut count = |i: usize, m: &[u8]| *counts[i].entry(m.to_vec()).or_default() += 1;
        for _ in 0..rounds {
            set.draw(10, |m| count(0, &m.to_vec()));
            set.sample(10).into_iter().for_each(|m| count(1, &m.to_vec()));
            set.sample(n / 2).into_iter().for_each(|m| count(2, &m.to_vec()));
        }
        for _ in 0..rounds / 10 {
            set.clone().pop_many(n - 5, &l).iter().for_each(|m| count(3, m));
        }
        let share = rounds as f64 / n as f64;
        assert_even(&counts[0], n, 10.0 * share);
        assert_even(&counts[1], n, 10.0 * share);
        assert_even(&counts[2], n, (n / 2) as f64 * share);
        assert_even(&counts[3], n, (n - 5) as f64 * share / 10.0);
    }
}

#[test]
fn a_member_of_ten_bytes_costs_at_most_forty() {
    let l = Limits::default();
    for n in [200, 500, 3000, 50_000] {
        let set = of((0..n).map(|i| format!("m{i:09}")), &l);
        assert_eq!(set.encoding(), "hashtable");
        let each = set.memory_bytes() as f64 / f64::from(n);
        assert!(each <= 40.0, "{n} members take {each} bytes each");
    }
}

fn names(set: &Set) -> BTreeSet<Vec<u8>> {
    set.iter().map(|m| m.to_vec()).collect()
}

/// What is done with several sets, in every mixture of forms, against standard ones.
fn check_algebra(words: &[BTreeSet<Vec<u8>>], l: &Limits) {
    let sets: Vec<Set> = words.iter().map(|w| of(w, l)).collect();
    let all: Vec<&Set> = sets.iter().collect();
    let (first, others) = (all[0], &all[1..]);
    let union: BTreeSet<_> = words.iter().flatten().cloned().collect();
    assert_eq!(names(&Set::union(&all, l)), union);
    let member_of = |w: &Vec<u8>| words[1..].iter().filter(|other| other.contains(w)).count();
    let common: BTreeSet<_> = words[0].iter().filter(|w| member_of(w) == others.len()).cloned().collect();
    let alone: BTreeSet<_> = words[0].iter().filter(|w| member_of(w) == 0).cloned().collect();
    for (wanted, expect) in [(Wanted::InAllOthers, &common), (Wanted::InNoOther, &alone)] {
        let mut told = Vec::new();
        first.sift(others, wanted, |m| {
            told.push(m.to_vec());
            true
        });
        assert_eq!(told.len(), expect.len());
        assert_eq!(&told.into_iter().collect::<BTreeSet<_>>(), expect);
        let mut result = Set::default();
        result.add_sifted(first, others, wanted, l);
        assert_eq!((&names(&result), result.len()), (expect, expect.len()));
        if expect.len() > l.set_intset.max(l.set_entries) {
            assert_eq!(result.encoding(), "hashtable");
        }
        let mut seen = 0;
        first.sift(others, wanted, |_| {
            seen += 1;
            seen < 3
        });
        assert_eq!(seen, expect.len().min(3));
    }
    let mut rest = first.clone();
    others.iter().for_each(|other| rest.remove_all(other));
    assert_eq!((names(&rest), rest.len()), (alone, rest.iter().count()));
    assert_eq!(names(first), words[0]);
}

proptest! {
    #[test]
    fn sets_are_combined_as_sets(
        words in proptest::collection::vec(proptest::collection::btree_set(member(), 0..120), 1..4),
        ints in 0..60usize, entries in 0..40usize,
    ) {
        check_algebra(&words, &limits(ints, entries, 64));
    }
}

#[test]
fn large_sets_are_combined_as_sets() {
    let l = Limits::default();
    let range =
        |numbers: std::ops::Range<usize>| numbers.map(|n| format!("m{n}").into_bytes()).collect::<BTreeSet<_>>();
    check_algebra(&[range(0..20_000), range(9_000..30_000)], &l);
    check_algebra(&[range(0..700), range(300..9_000), range(0..500)], &l);
    check_algebra(&[range(0..9_000), range(0..3), range(8_999..9_001), range(20_000..20_200)], &l);
    let union = Set::union(&[&of(range(0..30_000), &l), &of(range(0..31_000), &l)], &l);
    let (plain, each) = (of(range(0..31_000), &l).memory_bytes() as f64, union.memory_bytes() as f64);
    assert!(each < plain * 1.2, "{each} bytes instead of {plain}");
}
