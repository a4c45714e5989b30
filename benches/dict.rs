//! The dictionary against `std`'s map of boxed keys: a million keys, visited in an order no cache foresees.
//!
//! `cargo bench --bench dict`; for numbers while working, `cargo bench --profile bench-fast --bench dict`.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use pando::base::hash::hash;
use pando::ds::dict::{Dict, Slot};
use pando::keyspace::{Entry, ValueRef};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const KEYS: u64 = 1_000_000;
const BATCH: usize = 64;

fn entry(key: &[u8], value: u64) -> Entry {
    Entry::int(key, value as i64, None)
}

fn value(entry: &Entry) -> u64 {
    let ValueRef::Int(n) = entry.value() else { unreachable!("every value is an integer") };
    n as u64
}

fn key(n: u64) -> [u8; 16] {
    let mut k = *b"key:000000000000";
    let mut n = n;
    for c in k[4..].iter_mut().rev() {
        *c += (n % 10) as u8;
        n /= 10;
    }
    k
}

/// Numbers below KEYS in an order without pattern.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % KEYS
}

fn filled() -> Dict<Entry> {
    let mut dict = Dict::new(0, hash);
    for n in 0..KEYS {
        let k = key(n);
        dict.insert(hash(&k), entry(&k, n));
    }
    dict
}

fn one_million(c: &mut Criterion) {
    let mut g = c.benchmark_group("1M keys");
    g.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));

    let dict = filled();
    println!("{:.2} bytes of buckets and directory a key", dict.memory_bytes() as f64 / KEYS as f64);
    let map: HashMap<Box<[u8]>, u64> = (0..KEYS).map(|n| (Box::from(&key(n)[..]), n)).collect();

    let mut state = 1;
    let mut keys =
        || -> Vec<(u64, [u8; 16])> { (0..BATCH).map(|_| key(next(&mut state))).map(|k| (hash(&k), k)).collect() };
    g.throughput(Throughput::Elements(BATCH as u64));
    g.bench_function("get, 64 prefetched", |b| {
        b.iter_batched_ref(
            &mut keys,
            |keys| {
                keys.iter().for_each(|(h, _)| dict.prefetch(*h));
                keys.iter().for_each(|(h, _)| dict.prefetch_entry(*h));
                keys.iter().map(|(h, k)| dict.get(*h, k).map_or(0, value)).fold(0, u64::wrapping_add)
            },
            BatchSize::SmallInput,
        );
    });
    g.bench_function("get, 64 not prefetched", |b| {
        b.iter_batched_ref(
            &mut keys,
            |keys| keys.iter().map(|(h, k)| dict.get(*h, k).map_or(0, value)).fold(0, u64::wrapping_add),
            BatchSize::SmallInput,
        );
    });
    // The same 64 keys again and again: what the instructions cost without the misses.
    let hot = keys();
    g.bench_function("get, 64 in cache", |b| {
        b.iter(|| hot.iter().map(|(h, k)| dict.get(*h, k).map_or(0, value)).fold(0, u64::wrapping_add));
    });
    g.bench_function("get, 64 in cache, hashing included", |b| {
        b.iter(|| hot.iter().map(|(_, k)| dict.get(hash(k), k).map_or(0, value)).fold(0, u64::wrapping_add));
    });
    g.bench_function("std: get, 64 not prefetched", |b| {
        b.iter_batched_ref(
            &mut keys,
            |keys| keys.iter().map(|(_, k)| map.get(&k[..]).copied().unwrap_or(0)).fold(0, u64::wrapping_add),
            BatchSize::SmallInput,
        );
    });
    g.bench_function("std: get, 64 in cache", |b| {
        b.iter(|| hot.iter().map(|(_, k)| map.get(&k[..]).copied().unwrap_or(0)).fold(0, u64::wrapping_add));
    });
    g.finish();
}

fn building(c: &mut Criterion) {
    let mut g = c.benchmark_group("building");
    g.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(5));
    g.throughput(Throughput::Elements(KEYS));
    // The items are made beforehand, so that the dictionary alone is measured.
    g.bench_function("insert 1M, items ready", |b| {
        b.iter_batched(
            || (0..KEYS).map(|n| (hash(&key(n)), entry(&key(n), n))).collect::<Vec<_>>(),
            |items| {
                let mut dict = Dict::new(0, hash);
                items.into_iter().for_each(|(h, item)| dict.insert(h, item));
                dict
            },
            BatchSize::PerIteration,
        );
    });
    g.bench_function("find or insert 1M, items made", |b| {
        b.iter_with_large_drop(|| {
            let mut dict = Dict::new(0, hash);
            for n in 0..KEYS {
                let k = key(n);
                match dict.find_slot(hash(&k), &k) {
                    Slot::Vacant(slot) => slot.insert(entry(&k, n)),
                    Slot::Found(_) => unreachable!("keys differ"),
                }
            }
            dict
        });
    });
    g.bench_function("std: find or insert 1M, boxes made", |b| {
        b.iter_with_large_drop(|| {
            let mut map: HashMap<Box<[u8]>, u64> = HashMap::new();
            for n in 0..KEYS {
                let k = key(n);
                *map.entry(Box::from(&k[..])).or_default() = n;
            }
            map
        });
    });
    g.finish();

    let mut g = c.benchmark_group("churn");
    g.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
    let mut dict = filled();
    let mut state = 7;
    g.bench_function("remove and insert", |b| {
        b.iter(|| {
            let k = key(next(&mut state));
            let h = hash(&k);
            let item = dict.remove(h, &k).expect("every key is there");
            dict.insert(h, item);
        });
    });
    g.bench_function("random", |b| b.iter(|| black_box(dict.random(next(&mut state)).map(value))));
    g.bench_function("scan 10", |b| {
        b.iter(|| dict.scan(next(&mut state) << 28, 10, |item| _ = black_box(value(item))))
    });
    g.finish();
}

criterion_group!(benches, one_million, building);
criterion_main!(benches);
