//! A large hash: a dictionary of fields. Which of them expire soonest is found through the notes that the dictionary's
//! segments carry for that, so fields without an expiry cost nothing for it.

use super::field::Field;
use crate::base::hash::hash;
use crate::ds::dict::{Dict, Fetch, Slot};

#[derive(Debug)]
pub(super) struct Table {
    dict: Dict<Field>,
    /// Fields that have an expiry.
    timed: usize,
    /// None of them expires earlier.
    deadline: i64,
}

impl Default for Table {
    fn default() -> Self {
        Self { dict: Dict::new(0, hash), timed: 0, deadline: i64::MAX }
    }
}

/// Fields looked at for an estimate of their size.
const SAMPLE: usize = 32;

impl Table {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.dict.len()
    }

    #[inline]
    pub(super) fn fetch(&self, hash: u64, what: Fetch) {
        self.dict.fetch(hash, what);
    }

    #[inline]
    pub(super) fn get(&self, name: &[u8]) -> Option<&Field> {
        self.dict.get(hash(name), name)
    }

    /// Sets a value. `ttl` is given what expiry the field had, or nothing if it is new, and says which it has from now on.
    #[inline]
    pub(super) fn put(&mut self, name: &[u8], value: &[u8], ttl: impl FnOnce(Option<i64>) -> Option<i64>) {
        let hash = hash(name);
        let (old, new) = match self.dict.find_slot(hash, name) {
            Slot::Found(slot) => {
                let mut field = slot.edit();
                let old = field.expire_ms();
                let new = ttl(old);
                field.set(value, new);
                (old, new)
            }
            Slot::Vacant(slot) => {
                let new = ttl(None);
                slot.insert(Field::new(name, value, new));
                (None, new)
            }
        };
        self.note(hash, old, new);
    }

    /// Adds a field whose name is known to be new.
    pub(super) fn add(&mut self, name: &[u8], value: &[u8], expire_ms: Option<i64>) {
        let hash = hash(name);
        self.dict.insert(hash, Field::new(name, value, expire_ms));
        self.note(hash, None, expire_ms);
    }

    /// False if there is no such field.
    pub(super) fn set_expire_ms(&mut self, name: &[u8], expire_ms: Option<i64>) -> bool {
        let hash = hash(name);
        let Some(mut field) = self.dict.get_mut(hash, name) else { return false };
        let old = field.expire_ms();
        field.set_expire_ms(expire_ms);
        drop(field);
        self.note(hash, old, expire_ms);
        true
    }

    /// False if there is no such field.
    pub(super) fn remove(&mut self, name: &[u8]) -> bool {
        let hash = hash(name);
        let Some(field) = self.dict.remove(hash, name) else { return false };
        self.note(hash, field.expire_ms(), None);
        true
    }

    /// Keeps count of the fields that expire.
    #[inline]
    fn note(&mut self, hash: u64, old: Option<i64>, new: Option<i64>) {
        if old.is_none() && new.is_none() {
            return;
        }
        self.timed = self.timed + usize::from(new.is_some()) - usize::from(old.is_some());
        if let Some(at) = new {
            self.dict.note_deadline(hash, at);
            self.deadline = self.deadline.min(at);
        } else if self.timed == 0 {
            self.deadline = i64::MAX;
        }
    }

    #[inline]
    pub(super) fn deadline(&self) -> Option<i64> {
        (self.timed != 0).then_some(self.deadline)
    }

    /// Takes out up to `limit` fields whose time was over before `now_ms`, and gives their names to `gone`.
    pub(super) fn take_due(&mut self, now_ms: i64, limit: usize, gone: &mut Vec<Box<[u8]>>) {
        if self.timed == 0 {
            return;
        }
        let from = gone.len();
        let mut cursor = Some(0);
        while let Some(at) = cursor.and_then(|from| self.dict.due_segment(from, now_ms.saturating_sub(1))) {
            let mut later = i64::MAX;
            for (field, ms) in self.dict.entries_at(at).filter_map(|f| Some((f, f.expire_ms()?))) {
                // What does not fit any more keeps the segment due.
                if ms < now_ms && gone.len() - from < limit {
                    gone.push(field.name().into());
                } else {
                    later = later.min(ms);
                }
            }
            self.dict.set_deadline_at(at, later);
            if gone.len() - from >= limit {
                break;
            }
            cursor = self.dict.segment_at(at).and_then(|(_, next)| next);
        }
        for name in &gone[from..] {
            self.remove(name);
        }
        if self.timed != 0 {
            self.deadline = self.earliest();
        }
    }

    /// The earliest of the segments' deadlines.
    fn earliest(&self) -> i64 {
        let (mut earliest, mut next) = (i64::MAX, Some(0));
        while let Some(segment) = next.and_then(|at| self.dict.segments_from(at)) {
            earliest = earliest.min(segment.deadline());
            next = segment.next();
        }
        earliest
    }

    #[inline]
    pub(super) fn iter(&self) -> crate::ds::dict::Iter<'_, Field> {
        self.dict.iter()
    }

    pub(super) fn scan(&self, cursor: u64, at_least: usize, f: impl FnMut(&Field)) -> u64 {
        self.dict.scan(cursor, at_least, f)
    }

    /// A field chosen by the random number `r`.
    pub(super) fn random(&self, r: u64) -> Option<&Field> {
        self.dict.random(r)
    }

    /// Bytes allocated; an estimate if there are many fields.
    pub(super) fn memory_bytes(&self) -> usize {
        let size = |field: &Field| field.size().max(16).next_multiple_of(8);
        let fields: usize = self.dict.iter().take(SAMPLE).map(size).sum();
        let seen = self.len().clamp(1, SAMPLE);
        size_of::<Self>() + self.dict.memory_bytes() + fields * self.len() / seen
    }
}

impl Clone for Table {
    fn clone(&self) -> Self {
        let mut copy = Self::default();
        for field in &self.dict {
            let hash = hash(field.name());
            copy.dict.insert(hash, field.clone());
            copy.note(hash, None, field.expire_ms());
        }
        copy
    }
}
