//! The dictionary itself: finding, adding and removing items.
//!
//! Growing and shrinking stand in `grow`, walks over many items in `walk`. Must not know what an item is beyond its key.

use std::fmt;
use std::marker::PhantomData;

use super::bucket::{Bucket, LISTED};
use super::directory::Directory;
use super::segment::{Segment, refresh_spilled};
use super::slot::{FoundSlot, Slot, SlotMut, VacantSlot};
use super::thin::{Thin, ThinOwned, prefetch_line};

/// A map from keys to items that hold their keys, in order of hash. An empty one allocates nothing.
pub struct Dict<T: ThinOwned> {
    pub(super) directory: Directory,
    pub(super) len: usize,
    pub(super) hash_of: fn(&[u8]) -> u64,
    /// Items that no bucket can take because their hashes are too much alike; almost always `None`. Their tags are 0.
    #[allow(clippy::box_collection)] // one word here instead of three
    pub(super) list: Option<Box<Vec<T>>>,
    /// The version of segments without items.
    pub(super) vacant_version: u32,
    /// How many segments the directory has, vacant ones included.
    pub(super) segments: u32,
    pub(super) owns: PhantomData<T>,
}

// SAFETY: a dictionary owns its items and all its memory; the raw pointers in it are shared with nobody.
unsafe impl<T: ThinOwned + Send> Send for Dict<T> {}
// SAFETY: as above; `&Dict` gives out `&T` only.
unsafe impl<T: ThinOwned + Sync> Sync for Dict<T> {}

/// One step of fetching ahead what a lookup will touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetch {
    Bucket,
    /// The bucket should have come.
    Entry,
}

/// Where an item lies: a slot of a bucket of its segment, or in the list.
#[derive(Clone, Copy)]
pub(super) struct Spot {
    pub(super) bucket: usize,
    pub(super) slot: usize,
}

/// Stands for the list in place of a bucket.
const LIST: usize = usize::MAX;

/// The fingerprint of a hash; 0 marks free slots.
#[inline(always)]
pub(super) fn fingerprint(hash: u64) -> u8 {
    (hash as u8).max(1)
}

impl<T: ThinOwned> Dict<T> {
    /// A dictionary of items whose hashes agree in the top `skip_bits`; `hash_of` gives the hash of a key.
    pub const fn new(skip_bits: u8, hash_of: fn(&[u8]) -> u64) -> Self {
        const { assert!(size_of::<T>() == 8 && size_of::<Self>() <= 48) };
        assert!(skip_bits <= 16, "too few bits of the hash remain");
        Self {
            directory: Directory::new(skip_bits),
            len: 0,
            hash_of,
            list: None,
            vacant_version: 0,
            segments: 0,
            owns: PhantomData,
        }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes the dictionary takes, without its items.
    pub fn memory_bytes(&self) -> usize {
        let buckets: usize = self.each_segment().map(|s| s.shape().buckets).sum();
        let list = self.list.as_ref().map_or(0, |l| size_of::<Vec<T>>() + l.capacity() * size_of::<T>());
        buckets * size_of::<Bucket>() + self.directory.memory_bytes() + list
    }

    /// Asks the processor for what a lookup will touch.
    #[inline]
    pub fn fetch(&self, hash: u64, what: Fetch) {
        match what {
            Fetch::Bucket => self.prefetch(hash),
            Fetch::Entry => self.prefetch_entry(hash),
        }
    }

    /// Asks the processor for the bucket of a hash.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        let position = self.directory.position(hash);
        let segment = self.directory.segment_of(position);
        let bucket = segment.bucket_ptr(segment.shape().home(position));
        prefetch_line(bucket);
        // What does not fit there lies in the next one, most often; an address past the end is harmless.
        prefetch_line(bucket.wrapping_add(1));
    }

    /// The item that a hash most likely belongs to, its key not compared: good for guesses only.
    #[inline]
    pub fn likely(&self, hash: u64) -> Option<&T> {
        let position = self.directory.position(hash);
        let segment = self.directory.segment_of(position);
        if segment.is_vacant() {
            return None;
        }
        let shape = segment.shape();
        let home = shape.home(position);
        // SAFETY: the segment is the directory's, so allocated, and `home` is below its bucket count.
        let bucket = unsafe { segment.bucket(home) };
        let tag = shape.tag(position);
        let slot = bucket.matches(fingerprint(hash)).find(|&i| bucket.slot(i).is_some_and(|t| t.tag() == tag))?;
        // SAFETY: the pointer leads to a live item, which stays as long as `self` is not changed.
        Some(unsafe { &*self.item_ptr(segment, Spot { bucket: home, slot }) })
    }

    /// Asks the processor for the item of a hash; the bucket should have come.
    #[inline]
    pub fn prefetch_entry(&self, hash: u64) {
        let position = self.directory.position(hash);
        let segment = self.directory.segment_of(position);
        if segment.is_vacant() {
            return;
        }
        let shape = segment.shape();
        // SAFETY: the segment is the directory's, so allocated; `home` is below its bucket count.
        let bucket = unsafe { segment.bucket(shape.home(position)) };
        let (tag, fp) = (shape.tag(position), fingerprint(hash));
        let spilled = bucket.spilled();
        if prefetch_in(bucket, fp, tag) || spilled == 0 {
            return;
        }
        for at in shape.neighbours(shape.home(position), spilled) {
            // SAFETY: as above; neighbours are in the segment too.
            if prefetch_in(unsafe { segment.bucket(at) }, fp, tag) {
                return;
            }
        }
    }

    #[inline]
    pub fn get(&self, hash: u64, key: &[u8]) -> Option<&T> {
        let position = self.directory.position(hash);
        let segment = self.directory.segment_of(position);
        let spot = self.find(segment, position, fingerprint(hash), key)?;
        // SAFETY: the pointer leads to a live item, which stays as long as `self` is not changed.
        Some(unsafe { &*self.item_ptr(segment, spot) })
    }

    /// The item of a key, for changing: its pointer may change too, its key not.
    #[inline]
    pub fn get_mut(&mut self, hash: u64, key: &[u8]) -> Option<SlotMut<'_, T>> {
        match self.find_slot(hash, key) {
            Slot::Found(slot) => Some(slot.edit()),
            Slot::Vacant(_) => None,
        }
    }

    /// As [`Dict::get_mut`], for use in passing.
    #[inline]
    pub fn update<R>(&mut self, hash: u64, key: &[u8], f: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.get_mut(hash, key).map(|mut slot| f(&mut slot))
    }

    /// One search for whatever is to be done with a key.
    #[inline]
    pub fn find_slot(&mut self, hash: u64, key: &[u8]) -> Slot<'_, T> {
        let position = self.directory.position(hash);
        let segment = self.directory.segment_of(position);
        match self.find(segment, position, fingerprint(hash), key) {
            Some(spot) => {
                let (item, tag) = self.item_mut_ptr(segment, spot);
                Slot::Found(FoundSlot { dict: self, position, spot, item, tag })
            }
            None => Slot::Vacant(VacantSlot { dict: self, hash }),
        }
    }

    /// Adds an item whose key is known to be absent.
    #[inline]
    pub fn insert(&mut self, hash: u64, item: T) {
        let position = self.directory.position(hash);
        let segment = self.directory.segment_of(position);
        if !segment.is_vacant() {
            let shape = segment.shape();
            // SAFETY: the segment is the directory's, `home` is in it, and `self` is borrowed mutably.
            let bucket = unsafe { segment.bucket_mut(shape.home(position)) };
            if let Some(free) = bucket.first_free() {
                bucket.set(free, Thin::of(item).tagged(shape.tag(position)), fingerprint(hash));
                let at = self.directory.at(position);
                self.directory.note_mut(at).items += 1;
                self.len += 1;
                return;
            }
        }
        self.insert_crowded(hash, item);
    }

    /// Puts an item in the place of the one with the same key, which it gives back.
    pub fn replace(&mut self, hash: u64, item: T) -> Option<T> {
        match self.find_slot(hash, item.key()) {
            Slot::Found(slot) => Some(slot.replace(item)),
            Slot::Vacant(slot) => {
                slot.insert(item);
                None
            }
        }
    }

    pub fn remove(&mut self, hash: u64, key: &[u8]) -> Option<T> {
        let position = self.directory.position(hash);
        let segment = self.directory.segment_of(position);
        let spot = self.find(segment, position, fingerprint(hash), key)?;
        Some(self.take(position, spot))
    }

    /// Drops all items and gives the memory back.
    pub fn clear(&mut self) {
        let segments: Vec<Segment> = self.each_segment().collect();
        self.list = None;
        self.len = 0;
        self.segments = 0;
        self.directory.release();
        for segment in segments {
            // SAFETY: the directory forgot the segment, so this is its last use; its items were owned by `self`.
            unsafe {
                for bucket in segment.buckets_mut().iter_mut() {
                    for i in bucket.occupied() {
                        if let Some(item) = bucket.take(i) {
                            drop(item.into_item::<T>());
                        }
                    }
                }
                segment.free();
            }
        }
    }

    #[inline]
    fn find(&self, segment: Segment, position: u64, fp: u8, key: &[u8]) -> Option<Spot> {
        if segment.is_vacant() {
            return None;
        }
        let shape = segment.shape();
        let (home, tag) = (shape.home(position), shape.tag(position));
        // SAFETY: the segment is the directory's, `home` is in it, and nobody changes it while `self` is borrowed.
        let bucket = unsafe { segment.bucket(home) };
        if let Some(slot) = find_in::<T>(bucket, fp, tag, key) {
            return Some(Spot { bucket: home, slot });
        }
        if bucket.spilled() == 0 { None } else { self.find_spilled(segment, position, fp, key) }
    }

    #[cold]
    #[inline(never)]
    fn find_spilled(&self, segment: Segment, position: u64, fp: u8, key: &[u8]) -> Option<Spot> {
        let shape = segment.shape();
        let (home, tag) = (shape.home(position), shape.tag(position));
        // SAFETY: as in `find`, here and below.
        let flags = unsafe { segment.bucket(home) }.spilled();
        for at in shape.neighbours(home, flags) {
            // SAFETY: neighbours are in the segment too.
            if let Some(slot) = find_in::<T>(unsafe { segment.bucket(at) }, fp, tag, key) {
                return Some(Spot { bucket: at, slot });
            }
        }
        if flags & LISTED == 0 {
            return None;
        }
        let slot = self.list.as_ref()?.iter().position(|item| item.key() == key)?;
        Some(Spot { bucket: LIST, slot })
    }

    #[inline]
    fn item_ptr(&self, segment: Segment, spot: Spot) -> *const T {
        if spot.bucket == LIST {
            return &raw const self.listed()[spot.slot];
        }
        // SAFETY: `find` saw the item in this segment, so the bucket is there; only shared borrows are given out.
        unsafe { segment.bucket(spot.bucket) }.slot_ptr(spot.slot).cast()
    }

    /// The item and the tag it must have.
    #[inline]
    fn item_mut_ptr(&mut self, segment: Segment, spot: Spot) -> (*mut T, u16) {
        if spot.bucket == LIST {
            return match &mut self.list {
                Some(list) => (&raw mut list[spot.slot], 0),
                None => unreachable!("a spot in a list that is not there"),
            };
        }
        // SAFETY: as above, and `self` is borrowed mutably.
        let bucket = unsafe { segment.bucket_mut(spot.bucket) };
        let tag = bucket.slot(spot.slot).map_or(0, Thin::tag);
        (bucket.slot_mut_ptr(spot.slot).cast(), tag)
    }

    pub(super) fn listed(&self) -> &[T] {
        self.list.as_ref().map_or(&[], |l| l)
    }

    /// Takes out what `find` found, and shrinks what became too large.
    pub(super) fn take(&mut self, position: u64, spot: Spot) -> T {
        self.len -= 1;
        if spot.bucket == LIST {
            let list = self.list.as_mut().expect("a spot in the list");
            let item = list.swap_remove(spot.slot);
            if list.is_empty() {
                self.list = None;
            }
            self.after_removal(position);
            return item;
        }
        let segment = self.directory.segment_of(position);
        let shape = segment.shape();
        // SAFETY: the segment is the directory's, and `self` is borrowed mutably.
        let mut buckets = unsafe { segment.buckets_mut() };
        let item = buckets[spot.bucket].take(spot.slot).expect("the found slot is taken");
        let home = shape.home(position);
        if spot.bucket != home {
            refresh_spilled(&mut buckets, shape, home);
        }
        let at = self.directory.at(position);
        let note = self.directory.note_mut(at);
        note.items -= 1;
        if (note.items as usize) < shape.low_mark() {
            self.after_removal(position);
        }
        // SAFETY: the slot no longer has it, so this is the owner.
        unsafe { item.into_item() }
    }
}

#[inline(always)]
fn find_in<T: ThinOwned>(bucket: &Bucket, fp: u8, tag: u16, key: &[u8]) -> Option<usize> {
    bucket.matches(fp).find(|&i| {
        // SAFETY: a slot with a fingerprint holds an item, and `T` is transparent over `Thin`.
        bucket.slot(i).is_some_and(|t| t.tag() == tag) && unsafe { &*bucket.slot_ptr(i).cast::<T>() }.key() == key
    })
}

/// Asks for the item that looks like the wanted one, if the bucket has such.
#[inline(always)]
fn prefetch_in(bucket: &Bucket, fp: u8, tag: u16) -> bool {
    for i in bucket.matches(fp) {
        if let Some(item) = bucket.slot(i).filter(|t| t.tag() == tag) {
            let start = item.as_ptr();
            prefetch_line(start);
            // Key and value of a small entry take up to two lines, or three if it begins late in the first.
            prefetch_line(start.wrapping_add(64));
            if start.addr() & 63 > LATE {
                prefetch_line(start.wrapping_add(128));
            }
            return true;
        }
    }
    false
}

/// Items of a hundred bytes, which are common, reach into a third line from here on.
const LATE: usize = 32;

impl<T: ThinOwned> Drop for Dict<T> {
    fn drop(&mut self) {
        self.clear();
    }
}

impl<T: ThinOwned> fmt::Debug for Dict<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dict").field("len", &self.len).field("segments", &self.segments).finish_non_exhaustive()
    }
}
