//! A listpack against a plain list, and against bytes that stock servers wrote.

use proptest::prelude::*;

use super::*;

fn contents(lp: &Listpack) -> Vec<Vec<u8>> {
    lp.iter().map(|item| item.to_vec()).collect()
}

/// What a listpack claims of itself from every side.
fn check(lp: &Listpack, model: &[Vec<u8>]) {
    assert_eq!(contents(lp), model);
    let mut backwards: Vec<_> = lp.iter().rev().map(|item| item.to_vec()).collect();
    backwards.reverse();
    assert_eq!(backwards, model);
    assert_eq!(lp.len(), model.len());
    assert_eq!(Listpack::from_bytes(lp.as_bytes().to_vec()).as_ref(), Ok(lp));
    assert!(lp.memory_bytes() <= 256.max(lp.byte_len() * 2), "{} for {}", lp.memory_bytes(), lp.byte_len());
}

fn element() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<i64>().prop_map(|n| n.to_string().into_bytes()),
        (-5000i64..5000).prop_map(|n| n.to_string().into_bytes()),
        any::<i32>().prop_map(|n| (n / 256).to_string().into_bytes()),
        proptest::collection::vec(any::<u8>(), 0..80),
        (0usize..20_000, any::<u8>()).prop_map(|(n, b)| vec![b; n]),
    ]
}

#[derive(Clone, Debug)]
enum Op {
    Back(Vec<u8>),
    Front(Vec<u8>),
    Before(usize, Vec<u8>),
    After(usize, Vec<u8>),
    Replace(usize, Vec<u8>),
    Remove(usize),
    RemoveRange(usize, usize),
    Split(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => element().prop_map(Op::Back),
        2 => element().prop_map(Op::Front),
        2 => (any::<usize>(), element()).prop_map(|(i, e)| Op::Before(i, e)),
        2 => (any::<usize>(), element()).prop_map(|(i, e)| Op::After(i, e)),
        2 => (any::<usize>(), element()).prop_map(|(i, e)| Op::Replace(i, e)),
        2 => any::<usize>().prop_map(Op::Remove),
        1 => (any::<usize>(), 0usize..4).prop_map(|(i, n)| Op::RemoveRange(i, n)),
        1 => any::<usize>().prop_map(Op::Split),
    ]
}

proptest! {
    #[test]
    fn a_listpack_is_a_vector_of_strings(ops in proptest::collection::vec(op(), 1..40)) {
        let (mut lp, mut model) = (Listpack::new(), Vec::<Vec<u8>>::new());
        for op in ops {
            let n = model.len();
            match op {
                Op::Back(e) => { lp.push_back(&e); model.push(e) }
                Op::Front(e) => { lp.push_front(&e); model.insert(0, e) }
                _ if n == 0 => {}
                Op::Before(i, e) => {
                    let at = lp.insert_before(lp.seek((i % n) as i64).unwrap(), &e);
                    prop_assert!(lp.get(at).eq_bytes(&e));
                    model.insert(i % n, e);
                }
                Op::After(i, e) => {
                    let at = lp.insert_after(lp.seek((i % n) as i64).unwrap(), &e);
                    prop_assert!(lp.get(at).eq_bytes(&e));
                    model.insert(i % n + 1, e);
                }
                Op::Replace(i, e) => { lp.replace(lp.seek(-1 - (i % n) as i64).unwrap(), &e); model[n - 1 - i % n] = e }
                Op::Remove(i) => {
                    let next = lp.remove(lp.seek((i % n) as i64).unwrap());
                    model.remove(i % n);
                    prop_assert_eq!(next.map(|p| lp.get(p).to_vec()), model.get(i % n).cloned());
                }
                Op::RemoveRange(i, count) => {
                    let to = (i % n + count).min(n);
                    prop_assert_eq!(lp.remove_range((i % n) as i64, count), to - i % n);
                    model.drain(i % n..to);
                }
                Op::Split(i) => {
                    let tail = lp.split_off(lp.seek((i % n) as i64).unwrap());
                    check(&tail, &model[i % n..]);
                    check(&lp, &model[..i % n]);
                    lp.append(&tail);
                }
            }
            check(&lp, &model);
        }
        if let (Some(first), Some(wanted)) = (lp.first(), model.last()) {
            let at = model.iter().position(|e| e == wanted).unwrap();
            prop_assert_eq!(lp.find(first, wanted, 0), lp.seek(at as i64));
            let odd = model.iter().enumerate().position(|(i, e)| i % 2 == 0 && e == wanted);
            prop_assert_eq!(lp.find(first, wanted, 1), odd.and_then(|i| lp.seek(i as i64)));
        }
    }

    #[test]
    fn bytes_from_outside_are_refused_or_walked_safely(
        elements in proptest::collection::vec(element(), 0..6),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in 0usize..4,
    ) {
        let mut lp = Listpack::new();
        elements.iter().for_each(|e| lp.push_back(e));
        let mut bytes = lp.as_bytes().to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(bytes.len() - cut.min(bytes.len()));
        if let Ok(lp) = Listpack::from_bytes(bytes) {
            let forth: Vec<_> = contents(&lp);
            prop_assert_eq!(lp.iter().rev().count(), forth.len());
        }
    }
}

#[test]
fn the_bytes_are_stock_s() {
    let mut lp = Listpack::new();
    for e in ["hello", "127", "-1", "4095", "32767", "-8388608", "2147483647", "9223372036854775807", "01"] {
        lp.push_back(e.as_bytes());
    }
    let mut expected = vec![0, 0, 0, 0, 9, 0];
    expected.extend_from_slice(b"\x85hello\x06\x7f\x01\xdf\xff\x02\xcf\xff\x02\xf1\xff\x7f\x03\xf2\x00\x00\x80\x04");
    expected.extend_from_slice(b"\xf3\xff\xff\xff\x7f\x05\xf4\xff\xff\xff\xff\xff\xff\xff\x7f\x09\x8201\x03\xff");
    expected[0] = expected.len() as u8;
    assert_eq!(lp.as_bytes(), expected);
}

#[test]
fn more_elements_than_the_header_counts() {
    let mut lp = Listpack::new();
    (0..70_000).for_each(|n| lp.push_back_int(n));
    assert_eq!(&lp.as_bytes()[4..6], &[0xff, 0xff]);
    assert_eq!(Listpack::from_bytes(lp.as_bytes().to_vec()).map(|lp| lp.len()), Ok(70_000));
    assert_eq!(lp.seek(-1).map(|p| lp.get(p)), Some(Item::Int(69_999)));
}

#[test]
fn either_end_grows_and_shrinks_without_moving_the_rest() {
    // Each of these is of a few seconds if every step moves everything.
    let mut lp = Listpack::new();
    (0..100_000).for_each(|n| lp.push_front(n.to_string().as_bytes()));
    fn element(lp: &Listpack, index: i64) -> Option<Item<'_>> {
        lp.seek(index).map(|pos| lp.get(pos))
    }
    assert_eq!((element(&lp, 0), element(&lp, -1)), (Some(Item::Int(99_999)), Some(Item::Int(0))));
    for n in 0..100_000 {
        lp.push_back_int(n);
        lp.push_front(b"front");
        for _ in 0..2 {
            let first = lp.first().unwrap();
            lp.remove(first);
        }
    }
    assert_eq!((lp.len(), element(&lp, 0), element(&lp, -1)), (100_000, Some(Item::Int(0)), Some(Item::Int(99_999))));
    check(&lp, &(0..100_000).map(|n: u32| n.to_string().into_bytes()).collect::<Vec<_>>());
    while let Some(first) = lp.first() {
        lp.remove(first);
    }
    assert!(lp.memory_bytes() <= 256);
}
