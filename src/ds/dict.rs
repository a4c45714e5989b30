//! The dictionary behind the keyspace, in its plainest form: an ordered map by hash.

use std::collections::{BTreeMap, HashMap};

/// Something that carries its key.
pub trait Keyed {
    fn key(&self) -> &[u8];
}

pub struct Dict<T> {
    map: BTreeMap<u64, Vec<T>>,
    len: usize,
    skip: u8,
    versions: HashMap<u64, u32>,
}

impl<T> std::fmt::Debug for Dict<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Dict({})", self.len)
    }
}

pub enum Slot<'a, T> {
    Found(SlotMut<'a, T>),
    Vacant(VacantSlot<'a, T>),
}

pub struct SlotMut<'a, T>(&'a mut T);

impl<T> std::ops::Deref for SlotMut<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.0
    }
}
impl<T> std::ops::DerefMut for SlotMut<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0
    }
}

pub struct VacantSlot<'a, T> {
    dict: &'a mut Dict<T>,
    hash: u64,
}

impl<T: Keyed> VacantSlot<'_, T> {
    pub fn insert(self, item: T) {
        self.dict.insert(self.hash, item);
    }
}

const SEG: u32 = 10;

impl<T: Keyed> Dict<T> {
    pub fn new(skip: u8, _hash: fn(&[u8]) -> u64) -> Self {
        Self { map: BTreeMap::new(), len: 0, skip, versions: HashMap::new() }
    }
    fn pos(&self, hash: u64) -> u64 {
        (hash << self.skip) >> 16
    }
    fn seg(&self, hash: u64) -> u64 {
        self.pos(hash) >> (48 - SEG)
    }
    pub fn len(&self) -> usize {
        self.len
    }
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    pub fn prefetch(&self, _hash: u64) {}
    pub fn prefetch_entry(&self, _hash: u64) {}
    pub fn note_deadline(&mut self, _hash: u64, _at_ms: i64) {}
    pub fn get(&self, hash: u64, key: &[u8]) -> Option<&T> {
        self.map.get(&self.pos(hash))?.iter().find(|t| t.key() == key)
    }
    pub fn find_slot(&mut self, hash: u64, key: &[u8]) -> Slot<'_, T> {
        let pos = self.pos(hash);
        let at = self.map.get(&pos).and_then(|v| v.iter().position(|t| t.key() == key));
        match at {
            Some(i) => match self.map.get_mut(&pos).and_then(|v| v.get_mut(i)) {
                Some(t) => Slot::Found(SlotMut(t)),
                None => unreachable!(),
            },
            None => Slot::Vacant(VacantSlot { dict: self, hash }),
        }
    }
    pub fn insert(&mut self, hash: u64, item: T) {
        let pos = self.pos(hash);
        self.map.entry(pos).or_default().push(item);
        self.len += 1;
    }
    pub fn remove(&mut self, hash: u64, key: &[u8]) -> Option<T> {
        let pos = self.pos(hash);
        let v = self.map.get_mut(&pos)?;
        let i = v.iter().position(|t| t.key() == key)?;
        let t = v.swap_remove(i);
        if v.is_empty() {
            self.map.remove(&pos);
        }
        self.len -= 1;
        Some(t)
    }
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.map.values().flatten()
    }
    pub fn scan(&self, cursor: u64, at_least: usize, mut f: impl FnMut(&T)) -> u64 {
        let mut n = 0;
        for (pos, items) in self.map.range(cursor..) {
            if n >= at_least {
                return *pos;
            }
            for t in items {
                n += 1;
                f(t);
            }
        }
        0
    }
    pub fn random(&self, r: u64) -> Option<&T> {
        let pos = r >> 16;
        let v = self.map.range(pos..).next().or_else(|| self.map.iter().next())?.1;
        v.get(r as usize % v.len())
    }
    pub fn segment_version(&self, hash: u64) -> u32 {
        self.versions.get(&self.seg(hash)).copied().unwrap_or(0)
    }
    pub fn set_segment_version(&mut self, hash: u64, version: u32) {
        let seg = self.seg(hash);
        self.versions.insert(seg, version);
    }
    fn range(&self, seg: u64) -> impl Iterator<Item = &T> {
        self.map.range(seg << (48 - SEG)..(seg + 1) << (48 - SEG)).flat_map(|(_, v)| v)
    }
    pub fn segment_entries(&self, hash: u64) -> impl Iterator<Item = &T> {
        self.range(self.seg(hash))
    }
    /// (version, next position) of the segment at a position of the walk.
    pub fn segment_at(&self, at: u64) -> Option<(u32, Option<u64>)> {
        let seg = at >> (48 - SEG);
        let next = (seg + 1) << (48 - SEG);
        Some((self.versions.get(&seg).copied().unwrap_or(0), (next < 1 << 48).then_some(next)))
    }
    pub fn entries_at(&self, at: u64) -> impl Iterator<Item = &T> {
        self.range(at >> (48 - SEG))
    }
    pub fn set_version_at(&mut self, at: u64, version: u32) {
        self.versions.insert(at >> (48 - SEG), version);
    }
}
