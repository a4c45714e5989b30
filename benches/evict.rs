//! How well victims are chosen: a cache under a Zipf load, with Pando's choice, with a model of the stock one, and with a
//! true LRU. Prints hit rates; the seed is fixed.
//!
//! `cargo bench --bench evict`; `-- REQUESTS` for more or fewer than a million.

use std::collections::{BTreeMap, HashMap};

use pando::base::rand::Rng;
use pando::keyspace::evict::{Chooser, Measure, Policy};
use pando::keyspace::unit::Touch;
use pando::keyspace::{Data, Entry, Key, Keyspace, Unit};

const KEYS: usize = 100_000;
const CAPACITY: usize = 10_000;
const SAMPLES: usize = 5;
/// The clock of accesses counts seconds.
const REQUESTS_A_SECOND: u64 = 500;
const START_MS: i64 = 1_700_000_000_000;

/// Key numbers, the lower the more often: the share of key `i` is about `1 / (i + 1)^exponent`.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(exponent: f64) -> Self {
        let mut sum = 0.0;
        Self((1..=KEYS).map(|i| (sum += (i as f64).powf(-exponent), sum).1).collect())
    }

    fn next(&self, rng: &mut Rng) -> usize {
        let at = rng.f64() * self.0[KEYS - 1];
        self.0.partition_point(|sum| *sum < at).min(KEYS - 1)
    }
}

trait Cache {
    /// Uses a key at an instant, taking it in if it is not there; whether it was.
    fn access(&mut self, key: usize, now_ms: i64) -> bool;
}

struct Pando {
    ks: Keyspace,
    chooser: Chooser,
    policy: Policy,
    unit: Unit,
    len: usize,
}

impl Pando {
    fn new(measure: Measure) -> Self {
        let touch = match measure {
            Measure::Frequency { decay_minutes } => Touch::Lfu { log_factor: 10, decay_minutes },
            Measure::Idle | Measure::Deadline | Measure::Random => Touch::Lru,
        };
        Self {
            ks: Keyspace::new(32, 1),
            chooser: Chooser::default(),
            policy: Policy { measure, volatile: false },
            unit: Unit { touch, ..Unit::default() },
            len: 0,
        }
    }
}

impl Cache for Pando {
    fn access(&mut self, key: usize, now_ms: i64) -> bool {
        self.unit.now_ms = now_ms;
        let name = key.to_string();
        let key = Key::new(name.as_bytes());
        let mut data = Data::lock_one(&self.ks, key.hash, 0, &mut self.unit);
        if data.get(key).is_some() {
            return true;
        }
        data.put(key, Entry::int(key.bytes, 1, None));
        drop(data);
        self.len += 1;
        while self.len > CAPACITY {
            let victim = self.chooser.choose(&self.ks, self.policy, SAMPLES, now_ms).expect("a key that may go");
            let mut data = Data::lock_one(&self.ks, victim.hash, victim.db, &mut self.unit);
            self.len -= usize::from(data.evict(&victim, self.policy).is_some());
        }
        false
    }
}

/// A pool of sixteen, filled with samples whose idle times are those of the moment they were taken.
struct Stock {
    places: HashMap<usize, usize>,
    /// Key and second of its last use.
    entries: Vec<(usize, i64)>,
    pool: Vec<(i64, usize)>,
    rng: Rng,
}

impl Stock {
    fn evict(&mut self, now_s: i64) {
        loop {
            for _ in 0..SAMPLES {
                let (key, used_s) = self.entries[self.rng.below(self.entries.len() as u64) as usize];
                let idle = now_s - used_s;
                let at = self.pool.partition_point(|(other, _)| *other < idle);
                if self.pool.len() < 16 {
                    self.pool.insert(at, (idle, key));
                } else if at > 0 {
                    self.pool.remove(0);
                    self.pool.insert(at - 1, (idle, key));
                }
            }
            while let Some((_, key)) = self.pool.pop() {
                if let Some(place) = self.places.remove(&key) {
                    self.entries.swap_remove(place);
                    if let Some((moved, _)) = self.entries.get(place) {
                        self.places.insert(*moved, place);
                    }
                    return;
                }
            }
        }
    }
}

impl Cache for Stock {
    fn access(&mut self, key: usize, now_ms: i64) -> bool {
        let now_s = now_ms / 1000;
        if let Some(place) = self.places.get(&key) {
            self.entries[*place].1 = now_s;
            return true;
        }
        self.places.insert(key, self.entries.len());
        self.entries.push((key, now_s));
        if self.entries.len() > CAPACITY {
            self.evict(now_s);
        }
        false
    }
}

#[derive(Default)]
struct TrueLru {
    used: HashMap<usize, u64>,
    order: BTreeMap<u64, usize>,
    clock: u64,
}

impl Cache for TrueLru {
    fn access(&mut self, key: usize, _: i64) -> bool {
        self.clock += 1;
        let before = self.used.insert(key, self.clock);
        self.order.insert(self.clock, key);
        if let Some(before) = before {
            self.order.remove(&before);
            return true;
        }
        if self.used.len() > CAPACITY
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.used.remove(&oldest);
        }
        false
    }
}

fn hit_rate(cache: &mut dyn Cache, exponent: f64, shift: bool, requests: u64) -> f64 {
    let (zipf, mut rng, mut hits) = (Zipf::new(exponent), Rng::from_seed(1), 0);
    for n in 0..requests {
        // What is popular moves on, if it does: a cache must forget what once was.
        let moved = if shift { (n / 50_000) as usize * 997 } else { 0 };
        let key = (zipf.next(&mut rng) + moved) % KEYS;
        let now_ms = START_MS + (n * 1000 / REQUESTS_A_SECOND) as i64;
        hits += u64::from(cache.access(key, now_ms));
    }
    100.0 * hits as f64 / requests as f64
}

fn main() {
    let requests = std::env::args().filter_map(|a| a.parse().ok()).next().unwrap_or(1_000_000);
    println!("hits in percent: {KEYS} keys, room for {CAPACITY}, {requests} requests, {SAMPLES} samples");
    println!("{:<24} {:>9} {:>11} {:>11} {:>9}", "load", "true LRU", "stock LRU", "Pando LRU", "Pando LFU");
    for exponent in [0.8, 1.0, 1.2] {
        for shift in [false, true] {
            let stock =
                || Stock { places: HashMap::new(), entries: Vec::new(), pool: Vec::new(), rng: Rng::from_seed(2) };
            let caches: [Box<dyn Cache>; 4] = [
                Box::new(TrueLru::default()),
                Box::new(stock()),
                Box::new(Pando::new(Measure::Idle)),
                Box::new(Pando::new(Measure::Frequency { decay_minutes: 1 })),
            ];
            let rates = caches.map(|mut cache| hit_rate(cache.as_mut(), exponent, shift, requests));
            let load = format!("zipf {exponent}{}", if shift { ", moving" } else { "" });
            println!("{load:<24} {:>9.2} {:>11.2} {:>11.2} {:>9.2}", rates[0], rates[1], rates[2], rates[3]);
        }
    }
}
