//! The dictionary against `std`'s map, under good hashes and bad ones.

use std::alloc::{Layout, alloc, dealloc};
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ptr::NonNull;

use proptest::prelude::*;

use super::*;

thread_local! {
    /// Items that were made and not yet dropped.
    static ALIVE: Cell<isize> = const { Cell::new(0) };
}

/// A number and a key in one allocation.
#[repr(transparent)]
struct Item(Thin);

// SAFETY: transparent over `Thin`, and reaches its memory through `as_ptr` only.
unsafe impl ThinOwned for Item {}

impl Item {
    fn new(key: &[u8], value: u64) -> Self {
        // SAFETY: 16 bytes of header and the key fit the layout.
        unsafe {
            let p = alloc(Self::layout(key.len()));
            p.cast::<u64>().write(value);
            p.add(8).cast::<u64>().write(key.len() as u64);
            p.add(16).copy_from_nonoverlapping(key.as_ptr(), key.len());
            ALIVE.set(ALIVE.get() + 1);
            Self(Thin::new(NonNull::new(p).expect("memory")))
        }
    }

    fn layout(key_len: usize) -> Layout {
        Layout::from_size_align(16 + key_len, 8).expect("small")
    }

    fn value(&self) -> u64 {
        // SAFETY: the header is initialised.
        unsafe { self.0.as_ptr().cast::<u64>().read() }
    }

    /// Changes the number and moves to another allocation.
    fn set(&mut self, value: u64) {
        *self = Item::new(self.key(), value);
    }
}

impl Keyed for Item {
    fn key(&self) -> &[u8] {
        // SAFETY: the header says how long the key is.
        unsafe {
            let p = self.0.as_ptr();
            std::slice::from_raw_parts(p.add(16), p.add(8).cast::<u64>().read() as usize)
        }
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        ALIVE.set(ALIVE.get() - 1);
        // SAFETY: this is the layout it was allocated with, and this its owner.
        unsafe { dealloc(self.0.as_ptr(), Self::layout(self.key().len())) };
    }
}

fn good(key: &[u8]) -> u64 {
    let mut h = 0x1234_5678_9abc_def1u64;
    for b in key {
        h = (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3);
    }
    h = (h ^ h >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    h = (h ^ h >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    h ^ h >> 31
}

/// All alike.
fn equal(_: &[u8]) -> u64 {
    0xdead_beef_0bad_cafe
}

/// Eight values only.
fn few(key: &[u8]) -> u64 {
    good(key) & 7 << 40
}

/// Alike in the upper bits, as the keys of one hash tag are.
fn prefixed(key: &[u8]) -> u64 {
    0x2bc << 54 | good(key) >> 10
}

/// A quarter of the keys alike, the others well spread.
fn mixed(key: &[u8]) -> u64 {
    let h = good(key);
    if h.is_multiple_of(4) { 0x5555_5555_5555_5555 } else { h }
}

const HASHES: [fn(&[u8]) -> u64; 5] = [good, equal, few, prefixed, mixed];

fn key(n: u32) -> Vec<u8> {
    format!("key:{n}").into_bytes()
}

/// Looks at every word and slot, and compares what the dictionary says of itself with it.
fn verify(dict: &Dict<Item>) {
    let mut found = 0;
    let mut cursor = Some(0);
    let mut starts = Vec::new();
    while let Some(segment) = cursor.and_then(|c| dict.segments_from(c)) {
        starts.push(segment.cursor());
        for item in segment.entries() {
            let hash = (dict.hash_of)(item.key());
            assert_eq!(dict.segments_from(dict.cursor_of(hash)).map(|s| s.cursor()), Some(segment.cursor()));
            assert!(std::ptr::eq(dict.get(hash, item.key()).expect("found again"), item));
            found += 1;
        }
        cursor = segment.next();
    }
    assert_eq!(found, dict.len());
    assert_eq!(dict.iter().count(), dict.len());
    assert_eq!(starts.len(), dict.segments as usize);
    assert!(starts.is_sorted());
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u32, u64),
    Put(u32, u64),
    Update(u32, u64),
    Remove(u32),
    RemoveSlot(u32),
    Fill(u32, u32),
    Drain(u32, u32),
    Random(u64),
    Clone,
    /// Built anew, with room for so many items.
    Build(usize),
    Clear,
}

fn op(keys: u32) -> impl Strategy<Value = Op> {
    let k = 0..keys;
    prop_oneof![
        20 => (k.clone(), any::<u64>()).prop_map(|(k, v)| Op::Insert(k, v)),
        10 => (k.clone(), any::<u64>()).prop_map(|(k, v)| Op::Put(k, v)),
        10 => (k.clone(), any::<u64>()).prop_map(|(k, v)| Op::Update(k, v)),
        10 => k.clone().prop_map(Op::Remove),
        5 => k.clone().prop_map(Op::RemoveSlot),
        4 => (k.clone(), 0..400u32).prop_map(|(k, n)| Op::Fill(k, n)),
        3 => (k.clone(), 0..600u32).prop_map(|(k, n)| Op::Drain(k, n)),
        5 => any::<u64>().prop_map(Op::Random),
        2 => Just(Op::Clone),
        1 => (0..3000usize).prop_map(Op::Build),
        1 => Just(Op::Clear),
    ]
}

/// The dictionary and the model side by side.
struct Pair {
    dict: Dict<Item>,
    model: BTreeMap<Vec<u8>, u64>,
    hash: fn(&[u8]) -> u64,
}

impl Pair {
    fn new(skip: u8, hash: fn(&[u8]) -> u64) -> Self {
        Self { dict: Dict::new(skip, hash), model: BTreeMap::new(), hash }
    }

    fn insert(&mut self, k: &[u8], v: u64) {
        let old = self.model.insert(k.to_vec(), v);
        match self.dict.find_slot((self.hash)(k), k) {
            Slot::Found(slot) => {
                assert_eq!(Some(slot.value()), old);
                slot.edit().set(v);
            }
            Slot::Vacant(slot) => {
                assert_eq!(old, None);
                slot.insert(Item::new(k, v));
            }
        }
    }

    fn remove(&mut self, k: &[u8]) {
        let item = self.dict.remove((self.hash)(k), k);
        assert_eq!(item.map(|i| i.value()), self.model.remove(k));
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Insert(k, v) => self.insert(&key(k), v),
            Op::Put(k, v) => {
                let k = key(k);
                let old = self.dict.replace((self.hash)(&k), Item::new(&k, v));
                assert_eq!(old.map(|i| i.value()), self.model.insert(k, v));
            }
            Op::Update(k, v) => {
                let k = key(k);
                let old = self.dict.update((self.hash)(&k), &k, |item| {
                    let old = item.value();
                    item.set(v);
                    old
                });
                assert_eq!(old, self.model.get(&k).copied());
                self.model.entry(k).and_modify(|m| *m = v);
            }
            Op::Remove(k) => self.remove(&key(k)),
            Op::RemoveSlot(k) => {
                let k = key(k);
                let old = match self.dict.find_slot((self.hash)(&k), &k) {
                    Slot::Found(slot) => Some(slot.remove()),
                    Slot::Vacant(_) => None,
                };
                assert_eq!(old.map(|i| i.value()), self.model.remove(&k));
            }
            Op::Fill(from, n) => (from..from + n).for_each(|k| self.insert(&key(k), u64::from(k))),
            Op::Drain(from, n) => (from..from + n).for_each(|k| self.remove(&key(k))),
            Op::Random(r) => match self.dict.random(r) {
                Some(item) => assert_eq!(self.model.get(item.key()), Some(&item.value())),
                None => assert!(self.model.is_empty()),
            },
            Op::Clone => self.dict = self.dict.clone_with(|item| Item::new(item.key(), item.value())),
            Op::Build(room) => {
                let mut new = Dict::with_room(self.dict.directory.skip, self.hash, room);
                self.model.iter().for_each(|(k, v)| new.insert((self.hash)(k), Item::new(k, *v)));
                self.dict = new;
            }
            Op::Clear => {
                self.dict.clear();
                self.model.clear();
            }
        }
        assert_eq!(self.dict.len(), self.model.len());
    }

    fn compare(&self) {
        verify(&self.dict);
        for (k, v) in &self.model {
            let hash = (self.hash)(k);
            self.dict.prefetch(hash);
            self.dict.prefetch_entry(hash);
            assert_eq!(self.dict.get(hash, k).map(Item::value), Some(*v));
        }
        let all: BTreeMap<Vec<u8>, u64> = self.dict.iter().map(|i| (i.key().to_vec(), i.value())).collect();
        assert_eq!(all, self.model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn it_does_what_a_map_does(
        ops in proptest::collection::vec(op(900), 0..200), hash in 0..HASHES.len(), skip in 0u8..=16,
    ) {
        let before = ALIVE.get();
        let mut pair = Pair::new(skip, HASHES[hash]);
        for op in &ops {
            pair.apply(op);
        }
        pair.compare();
        drop(pair);
        prop_assert_eq!(ALIVE.get(), before);
    }

    #[test]
    fn a_scan_misses_nothing_that_stays(
        ops in proptest::collection::vec(op(2000), 1..120), start in 0..1500u32, hash in 0..HASHES.len(), count in 1..60usize,
    ) {
        let mut pair = Pair::new(4, HASHES[hash]);
        (0..start).for_each(|k| pair.insert(&key(k), 0));
        // Present during the whole scan.
        let mut stays: HashSet<Vec<u8>> = pair.model.keys().cloned().collect();
        let mut seen = HashSet::new();
        let (mut cursor, mut ops) = (0, ops.iter().cycle());
        for _ in 0..100_000 {
            cursor = pair.dict.scan(cursor, count, |item| { seen.insert(item.key().to_vec()); });
            prop_assert!(cursor < 1 << 48);
            if cursor == 0 {
                break;
            }
            pair.apply(ops.next().expect("cycles"));
            stays.retain(|k| pair.model.contains_key(k));
        }
        prop_assert_eq!(cursor, 0);
        for k in &stays {
            prop_assert!(seen.contains(k), "{} was missed", String::from_utf8_lossy(k));
        }
    }

    #[test]
    fn a_snapshot_holds_each_item_once_and_as_it_was(
        ops in proptest::collection::vec(op(2000), 1..60), start in 0..1500u32, hash in 0..HASHES.len(),
    ) {
        let mut pair = Pair::new(0, HASHES[hash]);
        (0..start).for_each(|k| pair.insert(&key(k), 0));
        let mut ops = ops.iter().filter(|op| !matches!(op, Op::Clear | Op::Build(_))).cycle();
        // Twice, as the second must not be misled by what the first left behind.
        for epoch in 1..=2 {
            let expected = pair.model.clone();
            let mut saved = HashMap::new();
            let mut cursor = Some(0);
            while let Some(at) = cursor {
                let Some((version, next)) = pair.dict.segment_at(at) else { break };
                if version != epoch {
                    save(&mut saved, pair.dict.entries_at(at));
                    pair.dict.set_version_at(at, epoch);
                }
                cursor = next;
                if let Some(op) = ops.next() {
                    watched(&mut pair, op, epoch, &mut saved);
                }
            }
            prop_assert_eq!(saved.len(), expected.len());
            for (k, v) in &expected {
                prop_assert_eq!(saved.get(k), Some(v));
            }
        }
        pair.compare();
    }
}

fn save<'a>(saved: &mut HashMap<Vec<u8>, u64>, items: impl Iterator<Item = &'a Item>) {
    for item in items {
        let twice = saved.insert(item.key().to_vec(), item.value());
        assert!(twice.is_none(), "{} was saved twice", String::from_utf8_lossy(item.key()));
    }
}

/// Applies an operation key by key, each after the look a writer owes a snapshot.
fn watched(pair: &mut Pair, op: &Op, epoch: u32, saved: &mut HashMap<Vec<u8>, u64>) {
    let single: Vec<Op> = match *op {
        Op::Fill(from, n) => (from..from + n).map(|k| Op::Insert(k, 7)).collect(),
        Op::Drain(from, n) => (from..from + n).map(Op::Remove).collect(),
        ref op => vec![op.clone()],
    };
    for op in single {
        if let Op::Insert(k, _) | Op::Put(k, _) | Op::Update(k, _) | Op::Remove(k) | Op::RemoveSlot(k) = op {
            let hash = (pair.hash)(&key(k));
            if pair.dict.segment_version(hash) != epoch {
                save(saved, pair.dict.segment_entries(hash));
                pair.dict.set_segment_version(hash, epoch);
            }
        }
        pair.apply(&op);
    }
}

#[test]
fn a_snapshot_of_a_large_dictionary_is_exact_while_it_grows_and_shrinks() {
    for grow in [true, false] {
        let mut pair = Pair::new(3, good);
        (0..20_000).for_each(|k| pair.insert(&key(k), 1));
        let expected = pair.model.clone();
        let mut saved = HashMap::new();
        let mut cursor = Some(0);
        let mut n = 0;
        while let Some((version, next)) = cursor.and_then(|at| pair.dict.segment_at(at)) {
            if version != 9 {
                save(&mut saved, pair.dict.entries_at(cursor.expect("just used")));
                pair.dict.set_version_at(cursor.expect("just used"), 9);
            }
            cursor = next;
            let op = if grow { Op::Fill(30_000 + n, 300) } else { Op::Drain(n, 150) };
            watched(&mut pair, &op, 9, &mut saved);
            n += if grow { 300 } else { 150 };
        }
        assert_eq!(saved, expected.into_iter().collect());
        pair.compare();
    }
}

#[test]
fn an_empty_dictionary_allocates_nothing_and_answers() {
    let mut dict: Dict<Item> = Dict::new(10, good);
    assert_eq!(dict.memory_bytes(), 0);
    assert!(dict.get(1, b"a").is_none() && dict.remove(1, b"a").is_none() && dict.random(3).is_none());
    assert_eq!(dict.scan(0, 10, |_| unreachable!()), 0);
    assert_eq!(dict.scan(77, 10, |_| unreachable!()), 0);
    assert_eq!(dict.iter().count() + dict.segment_entries(5).count(), 0);
    assert!(dict.segment_at(0).is_none() && dict.due_segment(0, i64::MAX - 1).is_none());
    dict.set_segment_version(1, 7);
    assert_eq!(dict.segment_version(99), 7);
    dict.insert(good(b"a"), Item::new(b"a", 1));
    assert_eq!(dict.segment_version(good(b"a")), 7);
    dict.prefetch(1);
    dict.clear();
    assert_eq!(dict.memory_bytes(), 0);
    assert!(size_of::<Dict<Item>>() <= 48);
}

#[test]
fn buckets_are_well_filled_at_every_size() {
    let mut dict: Dict<Item> = Dict::new(0, good);
    let (mut total, mut worst, mut samples) = (0.0, 1.0f64, 0);
    for n in 0..150_000u32 {
        let k = key(n);
        dict.insert(good(&k), Item::new(&k, 0));
        if n > 2_000 && n % 997 == 0 {
            let fill = f64::from(n + 1) * 64.0 / 7.0 / dict.memory_bytes() as f64;
            total += fill;
            worst = worst.min(fill);
            samples += 1;
            assert!(dict.list.is_none());
        }
    }
    let mean = total / f64::from(samples);
    assert!(mean > 0.72 && worst > 0.62, "mean fill {mean:.3}, worst {worst:.3}");
    assert!(dict.list.is_none());
    verify(&dict);
}

#[test]
fn memory_comes_back_as_keys_go() {
    for hash in HASHES {
        let n = if std::ptr::fn_addr_eq(hash, good as fn(&[u8]) -> u64) { 50_000 } else { 3_000 };
        let mut pair = Pair::new(0, hash);
        (0..n).for_each(|k| pair.insert(&key(k), 0));
        let full = pair.dict.memory_bytes();
        (0..n / 10 * 9).for_each(|k| pair.remove(&key(k)));
        pair.compare();
        if std::ptr::fn_addr_eq(hash, good as fn(&[u8]) -> u64) {
            let (now, depth) = (pair.dict.memory_bytes(), pair.dict.directory.depth());
            assert!(now < full / 5, "{now} of {full} bytes left");
            assert!(depth <= 8, "depth {depth}");
        }
        (n / 10 * 9..n).for_each(|k| pair.remove(&key(k)));
        assert!(pair.dict.memory_bytes() <= 512, "{} bytes left", pair.dict.memory_bytes());
        (0..n).for_each(|k| pair.insert(&key(k), 0));
        pair.compare();
    }
}

#[test]
fn equal_hashes_cost_time_and_no_memory() {
    let mut pair = Pair::new(0, equal);
    (0..3_000).for_each(|k| pair.insert(&key(k), 0));
    assert!(pair.dict.memory_bytes() < 3_000 * 40, "{}", pair.dict.memory_bytes());
    assert!(pair.dict.directory.depth() <= 2);
    pair.compare();
}

#[test]
fn a_common_prefix_is_split_away() {
    let mut pair = Pair::new(0, prefixed);
    (0..30_000).for_each(|k| pair.insert(&key(k), 0));
    assert!(pair.dict.list.is_none());
    pair.compare();
}

#[test]
fn random_items_come_uniformly() {
    let mut dict: Dict<Item> = Dict::new(0, good);
    let n = 1_000;
    for k in 0..n {
        dict.insert(good(&key(k)), Item::new(&key(k), u64::from(k)));
    }
    let mut counts = vec![0u32; n as usize];
    for r in 0..200 * u64::from(n) {
        counts[dict.random(good(&r.to_le_bytes())).expect("not empty").value() as usize] += 1;
    }
    let chi: f64 = counts.iter().map(|&c| (f64::from(c) - 200.0).powi(2) / 200.0).sum();
    // 999 degrees of freedom: mean 999, standard deviation 45.
    assert!(chi < 1250.0, "chi-square {chi}");
}

#[test]
fn taking_at_random_takes_each_item_once() {
    for hash_of in HASHES {
        let n = if hash_of(&key(0)) == good(&key(0)) { 3000 } else { 200 };
        let mut dict: Dict<Item> = Dict::new(0, hash_of);
        let mut left = HashSet::new();
        for k in 0..n {
            dict.insert(hash_of(&key(k)), Item::new(&key(k), u64::from(k)));
            left.insert(u64::from(k));
        }
        for r in 0..u64::from(n) {
            let item = dict.take_random(good(&r.to_le_bytes())).expect("not empty");
            assert!(left.remove(&item.value()));
            assert!(dict.get(hash_of(item.key()), item.key()).is_none());
            if r % 37 == 0 {
                verify(&dict);
            }
        }
        assert!(dict.is_empty() && dict.take_random(1).is_none());
    }
}

#[test]
fn deadlines_follow_their_segments() {
    let mut dict: Dict<Item> = Dict::new(0, good);
    for k in 0..5_000u32 {
        dict.insert(good(&key(k)), Item::new(&key(k), 0));
    }
    (0..5_000u32).step_by(100).for_each(|k| dict.note_deadline(good(&key(k)), i64::from(k) + 1));
    // Splits and merges keep what was noted.
    (5_000..6_000).for_each(|k| dict.insert(good(&key(k)), Item::new(&key(k), 0)));
    (4_000..6_000).for_each(|k| drop(dict.remove(good(&key(k)), &key(k))));
    let mut due = HashSet::new();
    let mut at = dict.due_segment(0, 1_000);
    while let Some(here) = at {
        due.extend(dict.entries_at(here).map(|i| i.key().to_vec()));
        dict.set_deadline_at(here, i64::MAX);
        at = dict.due_segment(here, 1_000);
    }
    for k in (0..1_000).step_by(100) {
        assert!(due.contains(&key(k)), "{k} is due and its segment was not shown");
    }
    assert!(due.len() < 3_000, "nearly every segment was shown");
}

#[test]
fn a_leaked_guard_harms_nothing() {
    let mut dict: Dict<Item> = Dict::new(0, good);
    (0..100).for_each(|k| dict.insert(good(&key(k)), Item::new(&key(k), 0)));
    let mut slot = dict.get_mut(good(&key(5)), &key(5)).expect("there");
    slot.set(1);
    std::mem::forget(slot);
    (100..5_000).for_each(|k| dict.insert(good(&key(k)), Item::new(&key(k), 0)));
    assert_eq!(dict.iter().count(), dict.len());
}

#[test]
fn one_scan_of_all_sees_each_item_once() {
    for base in 0..200u32 {
        let mut dict: Dict<Item> = Dict::new(0, good);
        for k in 0..base % 40 {
            let key = key(base * 100 + k);
            dict.insert(good(&key), Item::new(&key, 0));
        }
        let mut seen = 0;
        assert_eq!(dict.scan(0, usize::MAX, |_| seen += 1), 0);
        assert_eq!(seen, dict.len());
    }
}
