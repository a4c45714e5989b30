//! Streams against a sorted map.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

type Words = Vec<(Vec<u8>, Vec<u8>)>;

fn limits(bytes: usize, entries: usize) -> Limits {
    Limits { stream_node_bytes: bytes, stream_node_entries: entries, ..Limits::default() }
}

#[derive(Clone, Debug)]
enum Op {
    Add { ms: u64, seq: u64, fields: Words },
    Delete { at: Vec<usize>, refs: Refs },
    Trim(TrimOp),
    Group { name: u8, at: usize },
    Deliver { name: u8, consumer: u8, count: usize },
    Ack { name: u8, at: usize },
    Rewrite,
}

#[derive(Clone, Debug)]
struct TrimOp {
    by_len: bool,
    at: usize,
    approx: bool,
    limit: u64,
    refs: Refs,
}

fn refs() -> impl Strategy<Value = Refs> {
    prop_oneof![4 => Just(Refs::Keep), 1 => Just(Refs::Drop), 1 => Just(Refs::Acked)]
}

fn word() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[a-c]{1,3}".prop_map(String::into_bytes),
        2 => (-200i64..70_000).prop_map(|n| n.to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..90),
    ]
}

fn fields() -> impl Strategy<Value = Words> {
    prop_oneof![
        2 => word().prop_map(|v| vec![(b"f".to_vec(), v)]),
        1 => prop::collection::vec((word(), word()), 1..4),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let trim = (any::<bool>(), 0usize..60, any::<bool>(), prop_oneof![Just(0u64), 1..20u64], refs());
    let trim = trim.prop_map(|(by_len, at, approx, limit, refs)| {
        Op::Trim(TrimOp { by_len, at, approx, limit: if approx { limit } else { 0 }, refs })
    });
    prop_oneof![
        12 => (0u64..4, 0u64..300, fields()).prop_map(|(ms, seq, fields)| Op::Add { ms, seq, fields }),
        3 => (prop::collection::vec(0usize..60, 1..5), refs()).prop_map(|(at, refs)| Op::Delete { at, refs }),
        2 => trim,
        1 => (0u8..3, 0usize..60).prop_map(|(name, at)| Op::Group { name, at }),
        3 => (0u8..3, 0u8..3, 1usize..9).prop_map(|(name, consumer, count)| Op::Deliver { name, consumer, count }),
        2 => (0u8..3, 0usize..20).prop_map(|(name, at)| Op::Ack { name, at }),
        1 => Just(Op::Rewrite),
    ]
}

#[derive(Default)]
struct Model {
    entries: BTreeMap<StreamId, Words>,
    /// Last id and, by id, the consumer.
    groups: BTreeMap<u8, (StreamId, BTreeMap<StreamId, u8>)>,
}

impl Model {
    fn nth(&self, at: usize) -> StreamId {
        self.entries.keys().nth(at).copied().unwrap_or(StreamId::new(at as u64, 1))
    }

    fn busy(&self, id: StreamId) -> bool {
        self.groups.values().any(|(last, pending)| *last < id || pending.contains_key(&id))
    }

    /// Whether it went.
    fn delete(&mut self, id: StreamId, refs: Refs) -> bool {
        if !self.entries.contains_key(&id) || (refs == Refs::Acked && self.busy(id)) {
            return false;
        }
        self.entries.remove(&id);
        if refs == Refs::Drop {
            self.groups.values_mut().for_each(|(_, pending)| _ = pending.remove(&id));
        }
        true
    }
}

fn words(entry: &Entry<'_>) -> Words {
    entry.pairs().map(|(f, v)| (f.to_vec(), v.to_vec())).collect()
}

fn pairs(words: &Words) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
    words.iter().map(|(f, v)| (&f[..], &v[..]))
}

fn same(stream: &Stream, model: &Model) {
    let got: Vec<_> = stream.range(StreamId::MIN, StreamId::MAX).map(|e| (e.id, words(&e))).collect();
    let expect: Vec<_> = model.entries.iter().map(|(id, w)| (*id, w.clone())).collect();
    assert_eq!(got, expect);
    let back: Vec<_> = stream.range_back(StreamId::MIN, StreamId::MAX).map(|e| (e.id, words(&e))).collect();
    assert_eq!(back, expect.iter().rev().cloned().collect::<Vec<_>>());
    assert_eq!(stream.len(), model.entries.len());
    assert_eq!(stream.tree_nodes(), radix::tree_nodes(stream.nodes.keys().copied()));
    assert_eq!(stream.first_id, model.entries.keys().next().copied().unwrap_or_default());
    assert_eq!(stream.last_entry_id(), model.entries.keys().next_back().copied());
    assert_eq!(stream.nodes.values().map(Node::live).sum::<i64>(), model.entries.len() as i64);
    for (name, (last, pending)) in &model.groups {
        let group = stream.group(&[*name]).unwrap();
        assert_eq!(group.last_id, *last);
        let got: Vec<_> = group.pending().iter().map(|(id, p)| (*id, group.consumer(p.consumer).name[0])).collect();
        assert_eq!(got, pending.iter().map(|(id, c)| (*id, *c)).collect::<Vec<_>>());
        for consumer in group.consumers() {
            let mine = pending.iter().filter(|(_, c)| **c == consumer.name[0]).map(|(id, _)| *id);
            assert!(consumer.pending().iter().copied().eq(mine));
        }
    }
}

fn run(ops: Vec<Op>) {
    let (mut stream, mut model) = (Stream::default(), Model::default());
    for op in ops {
        match op {
            Op::Add { ms, seq, fields } => {
                let last = stream.last_id;
                let id = match seq {
                    0 => NewId::Auto,
                    1 => NewId::Ms(last.ms + ms),
                    _ => NewId::Exact(StreamId::new(last.ms + ms, seq)),
                };
                match stream.add(id, ms * 10, fields.len(), pairs(&fields), &limits(160, 7)) {
                    Ok(id) => {
                        assert!(id > last && stream.last_id == id);
                        model.entries.insert(id, fields);
                    }
                    Err(e) => assert!(e == AddError::Id && matches!(id, NewId::Exact(id) if id <= last), "{id:?}"),
                }
            }
            Op::Delete { at, refs } => {
                let ids: Vec<_> = at.iter().map(|at| model.nth(*at)).collect();
                let mut told = Vec::new();
                let count = stream.delete(&ids, refs, |outcome| told.push(outcome == Deleted::Yes));
                let expect: Vec<_> = ids.iter().map(|id| model.delete(*id, refs)).collect();
                assert_eq!(told, expect);
                assert_eq!(count, expect.iter().filter(|went| **went).count());
            }
            Op::Trim(op) => {
                let bound = if op.by_len { Bound::MaxLen(op.at as u64) } else { Bound::MinId(model.nth(op.at)) };
                let trim = Trim { bound, approx: op.approx, limit: op.limit, refs: op.refs };
                let before = stream.len();
                let done = stream.trim(&trim);
                assert_eq!(before - stream.len(), done.entries as usize);
                let ids: Vec<_> = model.entries.keys().copied().collect();
                for id in ids {
                    let on = match bound {
                        // An approximate trim went as far as it says, and not further than an exact one.
                        Bound::MaxLen(max) => model.entries.len() > max as usize,
                        Bound::MinId(min) => id < min,
                    };
                    if on && (!op.approx || id < done.up_to) {
                        model.delete(id, op.refs);
                    }
                }
                assert!(op.limit == 0 || done.entries <= op.limit);
            }
            Op::Group { name, at } => {
                let last = model.nth(at);
                if stream.create_group(&[name], Group::new(last, UNKNOWN)) {
                    model.groups.insert(name, (last, BTreeMap::new()));
                }
            }
            Op::Deliver { name, consumer, count } => {
                let Some((last, pending)) = model.groups.get_mut(&name) else { continue };
                let from = last.next().unwrap();
                let ids: Vec<_> = stream.range(from, StreamId::MAX).take(count).map(|e| e.id).collect();
                assert!(ids.iter().eq(model.entries.range(from..).take(count).map(|(id, _)| id)));
                let group = stream.group_mut(&[name]).unwrap();
                let who = group.find(&[consumer]).or_else(|| group.create(&[consumer], 5)).unwrap();
                for id in ids {
                    group.assign(id, who, 7, 1);
                    group.last_id = id;
                    *last = id;
                    pending.insert(id, consumer);
                }
            }
            Op::Ack { name, at } => {
                let Some((_, pending)) = model.groups.get_mut(&name) else { continue };
                let group = stream.group_mut(&[name]).unwrap();
                let first = group.consumers().next().map(|c| c.name.clone());
                if let Some(id) = pending.keys().nth(at).copied() {
                    pending.remove(&id);
                    assert!(group.ack(id).is_some());
                } else if let Some(consumer) = first {
                    let mine = pending.values().filter(|c| **c == consumer[0]).count();
                    assert_eq!(group.remove(&consumer), Some(mine));
                    pending.retain(|_, c| *c != consumer[0]);
                }
                assert_eq!(group.ack(StreamId::MAX), None);
            }
            Op::Rewrite => {
                let nodes = stream.nodes().map(|(id, n)| (id, Node::from_bytes(n.as_bytes().to_vec()).unwrap()));
                stream.nodes = nodes.collect();
            }
        }
    }
    same(&stream, &model);
    let keys: Vec<_> = model.entries.keys().copied().collect();
    for (i, from) in keys.iter().enumerate().step_by(3) {
        for to in keys.iter().skip(i).step_by(5) {
            assert!(stream.range(*from, *to).map(|e| e.id).eq(keys.iter().copied().filter(|k| k >= from && k <= to)));
            assert!(
                stream.range_back(*from, *to).map(|e| e.id).eq(keys
                    .iter()
                    .rev()
                    .copied()
                    .filter(|k| k >= from && k <= to))
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_stream_is_a_sorted_map(ops in prop::collection::vec(op(), 1..120)) {
        run(ops);
    }

    /// Bytes of a node with one changed either are refused or can be read.
    #[test]
    fn a_damaged_node_is_refused_or_readable(
        entries in prop::collection::vec(fields(), 1..6),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut stream = Stream::default();
        for entry in &entries {
            stream.add(NewId::Auto, 5, entry.len(), pairs(entry), &limits(0, 0)).unwrap();
        }
        let (id, node) = stream.nodes().next().unwrap();
        let mut bytes = node.as_bytes().to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(node) = Node::from_bytes(bytes) {
            let mut stream = Stream::from_nodes([(id, node)].into(), u64::MAX);
            let one = vec![(b"f".to_vec(), b"v".to_vec())];
            let _ = stream.add(NewId::Auto, 9, 1, pairs(&one), &limits(0, 0));
            let all: Vec<_> = stream.range(StreamId::MIN, StreamId::MAX).map(|e| (e.id, words(&e))).collect();
            stream.range_back(StreamId::MIN, StreamId::MAX).for_each(|e| drop(words(&e)));
            for (id, _) in all {
                stream.delete(&[id], Refs::Acked, |_| {});
            }
            stream.trim(&Trim { bound: Bound::MinId(StreamId::MAX), approx: false, limit: 0, refs: Refs::Keep });
            stream.trim(&Trim { bound: Bound::MaxLen(0), approx: false, limit: 0, refs: Refs::Drop });
        }
    }
}

#[test]
fn ids_have_neighbours_and_a_text() {
    assert_eq!(StreamId::new(1, u64::MAX).next(), Some(StreamId::new(2, 0)));
    assert_eq!(StreamId::new(2, 0).prev(), Some(StreamId::new(1, u64::MAX)));
    assert_eq!((StreamId::MAX.next(), StreamId::MIN.prev()), (None, None));
    assert_eq!(&*StreamId::MAX.text(), b"18446744073709551615-18446744073709551615");
    assert_eq!(StreamId::new(10, 2).to_string(), "10-2");
    let id = StreamId::new(1 << 63 | 5, 7);
    assert_eq!(StreamId::from_bytes(id.to_bytes()), id);
}

#[test]
fn a_new_id_follows_the_last_and_the_time() {
    let mut s = Stream::default();
    let mut add = |id, now| s.add(id, now, 0, std::iter::empty(), &Limits::default());
    assert_eq!(add(NewId::Ms(0), 9), Ok(StreamId::new(0, 1)));
    assert_eq!(add(NewId::Auto, 9), Ok(StreamId::new(9, 0)));
    assert_eq!(add(NewId::Auto, 3), Ok(StreamId::new(9, 1)), "the clock went back");
    assert_eq!(add(NewId::Ms(8), 9), Err(AddError::Id));
    assert_eq!(add(NewId::Exact(StreamId::new(9, u64::MAX)), 9), Ok(StreamId::new(9, u64::MAX)));
    assert_eq!(add(NewId::Ms(9), 9), Err(AddError::Id));
    assert_eq!(add(NewId::Auto, 9), Ok(StreamId::new(10, 0)));
    assert_eq!(add(NewId::Exact(StreamId::MAX), 9), Ok(StreamId::MAX));
    assert_eq!(add(NewId::Auto, 9), Err(AddError::Id));
}

#[test]
fn a_large_stream_is_searched_not_walked() {
    let mut s = Stream::default();
    let limits = Limits::default();
    for i in 1..=50_000 {
        s.add(NewId::Exact(StreamId::new(i, 0)), 0, 1, [(&b"f"[..], &b"v"[..])].into_iter(), &limits).unwrap();
    }
    // Each of these would take 50,000 steps if it were a walk.
    for i in (1..=50_000).step_by(2) {
        assert_eq!(s.delete(&[StreamId::new(i, 0)], Refs::Keep, |_| {}), 1);
    }
    for i in (2..=50_000).step_by(2) {
        assert_eq!(s.range(StreamId::new(i - 1, 0), StreamId::new(i, 0)).count(), 1);
    }
    assert_eq!((s.len(), s.first_id, s.nodes().len()), (25_000, StreamId::new(2, 0), 500));
    assert!(s.memory_bytes() / 25_000 < 40);
}
