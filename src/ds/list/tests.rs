//! A list against a deque, with all limits and depths.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

fn all(list: &List) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    list.for_each(|item| out.push(item.to_vec()));
    out
}

/// What must hold between any two operations.
fn sound(list: &List) {
    let Repr::Quick(quick) = &list.0 else { return };
    assert_eq!(quick.nodes.iter().map(Node::count).sum::<usize>(), quick.len);
    let (depth, nodes) = (quick.depth(), quick.nodes.len());
    for (at, node) in quick.nodes.iter().enumerate() {
        assert!(!matches!(node, Node::Pack(pack) if pack.is_empty()), "an empty node");
        let outer = depth == 0 || at < depth || at + depth >= nodes;
        assert!(!(outer && matches!(node, Node::Folded(_))), "node {at} of {nodes} is folded");
    }
}

#[derive(Clone, Debug)]
enum Op {
    Push(bool, Vec<Vec<u8>>),
    Pop(bool),
    Get(i64),
    Set(i64, Vec<u8>),
    Insert(usize, Vec<u8>, bool),
    Remove(usize, usize, bool),
    Trim(usize, usize),
    Walk(usize, usize, bool),
}

/// Few different ones, so that values repeat; long ones fold well.
fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (0i32..30).prop_map(|n| n.to_string().into_bytes()),
        3 => (0u8..10, 0usize..80).prop_map(|(c, len)| vec![b'a' + c; len]),
        1 => any::<i64>().prop_map(|n| n.to_string().into_bytes()),
        1 => (0u8..3, 1000usize..5000).prop_map(|(c, len)| vec![b'a' + c; len]),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (any::<bool>(), prop::collection::vec(value(), 1..12)).prop_map(|(head, values)| Op::Push(head, values)),
        3 => any::<bool>().prop_map(Op::Pop),
        2 => (-80i64..80).prop_map(Op::Get),
        3 => (-80i64..80, value()).prop_map(|(i, v)| Op::Set(i, v)),
        4 => (0usize..200, value(), any::<bool>()).prop_map(|(i, v, b)| Op::Insert(i, v, b)),
        2 => (0usize..200, 0usize..9, any::<bool>()).prop_map(|(i, n, h)| Op::Remove(i, n, h)),
        1 => (0usize..200, 0usize..60).prop_map(|(i, n)| Op::Trim(i, n)),
        2 => (0usize..200, 0usize..60, any::<bool>()).prop_map(|(i, n, h)| Op::Walk(i, n, h)),
    ]
}

fn end(head: bool) -> End {
    if head { End::Head } else { End::Tail }
}

fn run(limits: &Limits, ops: Vec<Op>) {
    let mut list = List::default();
    let mut model: VecDeque<Vec<u8>> = VecDeque::new();
    for op in ops {
        match op {
            Op::Push(head, values) => {
                list.expect(values.iter().map(Vec::len).sum(), values.len(), limits);
                for value in values {
                    list.push(end(head), &value);
                    if head {
                        model.push_front(value);
                    } else {
                        model.push_back(value);
                    }
                }
            }
            Op::Pop(head) => {
                let popped = list.pop(end(head), |item| item.to_vec());
                assert_eq!(popped, if head { model.pop_front() } else { model.pop_back() });
                list.settle(limits);
            }
            Op::Get(index) => {
                let at = if index < 0 { index + model.len() as i64 } else { index };
                let wanted = usize::try_from(at).ok().and_then(|at| model.get(at).cloned());
                assert_eq!(list.get(index, |item| item.to_vec()), wanted);
            }
            Op::Set(index, value) => {
                list.expect(value.len(), 1, limits);
                let at = if index < 0 { index + model.len() as i64 } else { index };
                let there = usize::try_from(at).ok().and_then(|at| model.get_mut(at));
                assert_eq!(list.set(index, &value), there.is_some());
                if let Some(there) = there {
                    *there = value;
                }
                list.settle(limits);
            }
            Op::Insert(pivot, value, behind) => {
                let pivot = model.get(pivot % (model.len() + 1)).cloned().unwrap_or_default();
                list.expect(value.len(), 1, limits);
                let at = model.iter().position(|v| *v == pivot);
                assert_eq!(list.insert(&pivot, &value, behind), at.is_some());
                if let Some(at) = at {
                    model.insert(at + usize::from(behind), value);
                }
            }
            Op::Remove(value, count, head) => {
                let value = model.get(value % (model.len() + 1)).cloned().unwrap_or_default();
                let count = if count == 0 { usize::MAX } else { count };
                let mut places: Vec<usize> = (0..model.len()).filter(|i| model[*i] == value).collect();
                if !head {
                    places.reverse();
                }
                places.truncate(count);
                places.sort_unstable();
                assert_eq!(list.remove_value(&value, count, end(head)), places.len());
                places.iter().rev().for_each(|at| {
                    model.remove(*at);
                });
                list.settle(limits);
            }
            Op::Trim(from, count) => {
                list.remove_range(from, count);
                let end = (from + count).min(model.len());
                if from < end {
                    model.drain(from..end);
                }
                list.settle(limits);
            }
            Op::Walk(from, count, head) => {
                let mut seen = Vec::new();
                list.range(from, count, end(head), |item| seen.push(item.to_vec()));
                let wanted: Vec<_> = if from >= model.len() {
                    Vec::new()
                } else if head {
                    model.iter().take(from + 1).rev().take(count).cloned().collect()
                } else {
                    model.iter().skip(from).take(count).cloned().collect()
                };
                assert_eq!(seen, wanted);
            }
        }
        sound(&list);
        assert_eq!(list.len(), model.len());
        assert_eq!(all(&list), Vec::from(model.clone()));
    }
}

fn limits() -> impl Strategy<Value = Limits> {
    (prop_oneof![Just(-6i64), -5i64..=8, Just(128)], 0usize..4).prop_map(|(list_size, list_compress)| Limits {
        list_size,
        list_compress,
        ..Limits::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_list_is_a_deque(limits in limits(), ops in prop::collection::vec(op(), 0..60)) {
        run(&limits, ops);
    }
}

fn grown(limits: &Limits, values: impl Iterator<Item = Vec<u8>>) -> List {
    let mut list = List::default();
    for value in values {
        list.expect(value.len(), 1, limits);
        list.push(End::Tail, &value);
    }
    list
}

#[test]
fn a_list_grows_large_and_shrinks_at_half_the_room() {
    let limits = Limits { list_size: 8, ..Limits::default() };
    let mut list = grown(&limits, (0..8).map(|n| vec![n]));
    assert_eq!(list.encoding(), "listpack");
    list.expect(1, 1, &limits);
    list.push(End::Tail, b"x");
    assert_eq!((list.encoding(), list.shape().map(|s| (s.nodes, s.size))), ("quicklist", Some((2, 8))));
    let mut forms = Vec::new();
    while list.pop(End::Tail, |_| ()).is_some() {
        list.settle(&limits);
        forms.push((list.len(), list.encoding()));
    }
    let large = forms.iter().filter(|(_, form)| *form == "quicklist").map(|(len, _)| *len).collect::<Vec<_>>();
    assert_eq!(large, [8, 7, 6, 5]);
}

#[test]
fn size_classes_are_powers_of_two() {
    for (size, bytes) in [(-1, 4096), (-2, 8192), (-3, 16384), (-4, 32768), (-5, 65536), (-9, 65536)] {
        assert_eq!(Room::of(size), Room::Bytes(bytes));
    }
    assert_eq!((Room::of(0), Room::of(7)), (Room::Elements(1), Room::Elements(7)));
    for size in -5..0 {
        let list = List::large(&Limits { list_size: size, ..Limits::default() });
        assert_eq!(list.shape().map(|s| s.size), Some(size));
    }
}

#[test]
fn inner_nodes_are_folded_and_read_all_the_same() {
    let limits = Limits { list_size: -1, list_compress: 1, ..Limits::default() };
    let values = || (0..4000).map(|n: u32| format!("{n:0>20}").into_bytes());
    let list = grown(&limits, values());
    let shape = list.shape().unwrap();
    assert!(shape.nodes > 20 && shape.compressed);
    assert!(list.memory_bytes() < shape.bytes / 2, "{} of {}", list.memory_bytes(), shape.bytes);
    assert_eq!(all(&list), values().collect::<Vec<_>>());
    let folded = list.nodes().filter(|n| matches!(n, NodeRef::Folded { .. })).count();
    assert_eq!(folded, shape.nodes - 2);
}

#[test]
fn a_middle_full_of_holes_stays_quick() {
    // A million elements, each operation over all of them: quadratic ways would not end.
    let limits = Limits::default();
    let mut list = grown(&limits, (0..1_000_000).map(|n: u32| (n % 10).to_string().into_bytes()));
    assert_eq!(list.remove_value(b"3", usize::MAX, End::Tail), 100_000);
    assert_eq!(list.remove_value(b"4", 50_000, End::Tail), 50_000);
    assert_eq!(list.len(), 850_000);
    for n in 0..200 {
        assert!(list.insert(b"4", b"pivot", n % 2 == 0));
        assert!(list.set(-400_000, b"set"));
    }
    list.remove_range(1000, 800_000);
    assert_eq!(list.len(), 50_200);
    sound(&list);
}
