//! A hash against a map, step by step, and where it turns into a table.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)>;

#[derive(Clone, Debug)]
enum Step {
    Put(Vec<u8>, Vec<u8>, Ttl),
    Remove(Vec<u8>),
    Expire(Vec<u8>, Option<i64>),
    Later(i64),
    TakeDue(usize),
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (0..60u32).prop_map(|n| n.to_string().into_bytes()),
        4 => (0..400u32).prop_map(|n| format!("field:{n}").into_bytes()),
        1 => Just(Vec::new()),
        1 => proptest::collection::vec(any::<u8>(), 0..30),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let at = || prop_oneof![2 => Just(None), 3 => (1..2000i64).prop_map(Some)];
    let ttl = prop_oneof![6 => Just(Ttl::Set(None)), 2 => Just(Ttl::Keep), 2 => at().prop_map(Ttl::Set)];
    prop_oneof![
        12 => (name(), name(), ttl).prop_map(|(field, value, ttl)| Step::Put(field, value, ttl)),
        4 => name().prop_map(Step::Remove),
        4 => (name(), at()).prop_map(|(field, at)| Step::Expire(field, at)),
        1 => (0..40i64).prop_map(Step::Later),
        1 => (0..9usize).prop_map(Step::TakeDue),
    ]
}

fn limits(entries: usize) -> Limits {
    Limits { hash_entries: entries, hash_value: 24, ..Limits::default() }
}

fn content(hash: &Hash) -> Model {
    let text = |item: Item<'_>| item.to_vec();
    let all: Model = hash.iter().map(|p| (text(p.field), (text(p.value), p.expire_ms))).collect();
    assert_eq!(all.len(), hash.len(), "each field once");
    all
}

fn check(hash: &Hash, model: &Model, now: i64) {
    assert_eq!(&content(hash), model);
    let live = || model.iter().filter(|(_, (_, at))| !is_over(*at, now));
    assert_eq!(hash.live_len(now), live().count());
    for (field, (value, at)) in model {
        let found = hash.pair(field, now);
        assert_eq!(found.is_none(), is_over(*at, now));
        assert!(found.is_none_or(|p| p.value.eq_bytes(value) && p.expire_ms == *at));
        assert_eq!(hash.get(field, now).map(|v| v.to_vec()), found.map(|p| p.value.to_vec()));
    }
    let earliest = model.values().filter_map(|(_, at)| *at).min();
    assert!(hash.deadline().is_some() == earliest.is_some() && hash.deadline() <= earliest, "{earliest:?}");
    let mut seen = BTreeMap::new();
    let mut cursor = 0;
    loop {
        cursor = hash.scan(cursor, 3, now, |p| drop(seen.insert(p.field.to_vec(), p.value.to_vec())));
        if cursor == 0 {
            break;
        }
    }
    assert!(seen.iter().eq(live().map(|(field, (value, _))| (field, value))));
    let mut random = 7u64;
    let drawn = hash.random(now, || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        random
    });
    assert_eq!(drawn.is_none(), live().count() == 0);
    assert!(drawn.is_none_or(|p| !p.is_over(now) && model.contains_key(&p.field.to_vec())));
    if let Form::Triples(items) = hash.form() {
        assert!(triples(items).map(|p| p.expire_ms.unwrap_or(i64::MAX)).is_sorted());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_hash_is_a_map_of_fields_some_of_which_expire(
        steps in proptest::collection::vec(step(), 1..300), entries in prop_oneof![Just(4usize), Just(30), Just(512)],
    ) {
        let limits = limits(entries);
        let (mut hash, mut model, mut now) = (Hash::default(), Model::new(), 100i64);
        for (i, step) in steps.into_iter().enumerate() {
            match step {
                Step::Put(field, value, ttl) => {
                    let old = model.get(&field).filter(|(_, at)| !is_over(*at, now)).cloned();
                    let new = hash.put(&field, &value, ttl, now, &limits);
                    prop_assert_eq!(new, old.is_none());
                    let at = match ttl {
                        Ttl::Keep => old.and_then(|(_, at)| at),
                        Ttl::Set(at) => at,
                    };
                    model.insert(field, (value, at));
                }
                Step::Remove(field) => {
                    prop_assert_eq!(hash.remove(&field), model.remove(&field).is_some());
                }
                Step::Expire(field, at) => {
                    let there = model.get_mut(&field).map(|entry| entry.1 = at).is_some();
                    prop_assert_eq!(hash.set_expire_ms(&field, at), there);
                }
                Step::Later(by) => now += by,
                Step::TakeDue(limit) => {
                    let mut gone = Vec::new();
                    hash.take_due(now, limit, &mut gone);
                    let due = model.values().filter(|(_, at)| is_over(*at, now)).count();
                    prop_assert_eq!(gone.len(), due.min(limit));
                    for field in gone {
                        prop_assert!(model.remove(&*field).is_some_and(|(_, at)| is_over(at, now)));
                    }
                }
            }
            prop_assert!(hash.encoding() == "hashtable" || hash.len() <= entries);
            if i % 16 == 0 {
                check(&hash, &model, now);
            }
        }
        check(&hash, &model, now);
        check(&hash.clone(), &model, now);
        prop_assert_eq!(hash.is_due(now), hash.deadline().is_some_and(|at| at < now));
        hash.take_due(i64::MAX, usize::MAX, &mut Vec::new());
        model.retain(|_, (_, at)| at.is_none());
        check(&hash, &model, now);
    }

    #[test]
    fn what_was_read_is_the_same_hash(
        fields in proptest::collection::btree_map(name(), (name(), proptest::option::of(1..900i64)), 0..80), timed: bool,
    ) {
        let limits = limits(50);
        let mut model: Model = fields;
        if !timed {
            model.values_mut().for_each(|(_, at)| *at = None);
        }
        let mut items = Listpack::new();
        let mut one_by_one = Hash::default();
        for (field, (value, at)) in &model {
            items.push_back(field);
            items.push_back(value);
            if timed {
                items.push_back_int(at.unwrap_or(0));
            }
            prop_assert!(one_by_one.append(field, value, *at, &limits));
        }
        prop_assert!(one_by_one.is_sound());
        check(&one_by_one, &model, 300);
        let read = |items| if timed { Hash::from_triples(items, &limits) } else { Hash::from_pairs(items, &limits) };
        check(&read(items.clone()).unwrap(), &model, 300);
        if let Some(first) = model.keys().next() {
            let mut twice = items.clone();
            twice.push_back(first);
            prop_assert!(read(twice.clone()).is_none(), "a field without a value");
            twice.push_back(b"other");
            if timed {
                twice.push_back_int(0);
            }
            prop_assert!(read(twice).is_none(), "a field twice");
            one_by_one.append(first, b"", None, &limits);
            prop_assert!(one_by_one.encoding() == "hashtable" || !one_by_one.is_sound());
        }
    }
}

#[test]
fn it_turns_into_a_table_where_stock_does() {
    let limits = limits(3);
    let mut hash = Hash::default();
    for i in 0..3 {
        assert!(hash.set(&[i], b"1", NEVER, &limits));
    }
    assert_eq!(hash.encoding(), "listpack");
    assert!(hash.set(b"x", b"1", NEVER, &limits));
    assert_eq!(hash.encoding(), "hashtable");
    let mut hash = Hash::default();
    hash.set(b"a", &[7; 24], NEVER, &limits);
    assert_eq!(hash.encoding(), "listpack");
    hash.set_expire_ms(b"a", Some(5));
    assert_eq!(hash.encoding(), "listpackex");
    hash.set_expire_ms(b"a", None);
    assert_eq!((hash.encoding(), hash.deadline()), ("listpackex", None));
    hash.set(b"a", &[7; 25], NEVER, &limits);
    assert_eq!((hash.encoding(), hash.get(b"a", NEVER)), ("hashtable", Some(Item::Str(&[7; 25]))));
    let mut hash = Hash::default();
    hash.expect(4, &limits);
    assert_eq!(hash.encoding(), "hashtable");
}

#[test]
fn fields_of_a_large_hash_that_expire_are_found_without_looking_at_all_others() {
    let limits = limits(3);
    let mut hash = Hash::default();
    for i in 0..50_000 {
        hash.set(format!("field:{i}").as_bytes(), b"value", NEVER, &limits);
    }
    for i in (0..50_000).step_by(1000) {
        assert!(hash.set_expire_ms(format!("field:{i}").as_bytes(), Some(1000 + i)));
    }
    assert_eq!(hash.deadline(), Some(1000));
    let mut gone = Vec::new();
    hash.take_due(11_000, 4, &mut gone);
    assert_eq!((gone.len(), hash.is_due(11_000)), (4, true));
    hash.take_due(11_000, 400, &mut gone);
    assert_eq!((gone.len(), hash.deadline(), hash.len()), (10, Some(11_000), 49_990));
    assert!(hash.memory_bytes() < 50_000 * 52);
}
