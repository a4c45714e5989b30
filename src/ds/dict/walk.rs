//! Walks over many items: all of them, one segment's, those after a cursor, or one at random.
//!
//! Positions in and out of here are cursors: the upper 48 bits of a position in hash order. Changes nothing but
//! segments' versions and deadlines.

use super::bucket::{Bucket, LISTED, SLOTS, SlotSet};
use super::directory::At;
use super::segment::{MAX_BUCKETS, Segment};
use super::table::{Dict, Spot};
use super::thin::ThinOwned;

/// Bits of a position below a cursor.
const BELOW: u32 = 16;

impl<T: ThinOwned> Dict<T> {
    /// Every item, in the order of segments.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter {
            dict: self,
            next: self.directory.is_allocated().then(|| self.directory.first()),
            entries: Buckets::over([&[], &[]]),
            list: self.listed().iter(),
        }
    }

    /// Visits items from a cursor on, at least `at_least` of them unless the end or a long stretch of nothing comes
    /// first; gives the cursor to go on from, 0 at the end. Begin with 0. An item that is there from the first call to
    /// the last is visited at least once, whatever happens to others in between; some are visited twice.
    pub fn scan(&self, cursor: u64, at_least: usize, mut f: impl FnMut(&T)) -> u64 {
        if self.is_empty() {
            return 0;
        }
        let mut position = cursor << BELOW;
        let (mut seen, mut looked) = (0, 0);
        loop {
            let at = self.directory.at(position);
            let segment = self.directory.segment(at);
            let shape = segment.shape();
            let start = self.directory.start(at);
            for home in shape.home(position)..shape.buckets {
                seen += self.visit_home(segment, home, &mut f);
                looked += 1;
                if seen >= at_least || looked > at_least.saturating_mul(8).saturating_add(64) {
                    return start.wrapping_add(shape.offset_of(home + 1)) >> BELOW;
                }
            }
            looked += 1;
            match self.directory.after(at) {
                Some(next) => position = self.directory.start(next),
                None => return 0,
            }
        }
    }

    /// Visits all items that belong to a bucket, wherever they lie.
    fn visit_home(&self, segment: Segment, home: usize, f: &mut impl FnMut(&T)) -> usize {
        let shape = segment.shape();
        // SAFETY: the segment is the directory's, bucket and neighbours are in it, and nobody changes it while `self` is
        // borrowed.
        let bucket = |i| unsafe { segment.bucket(i) };
        let flags = bucket(home).spilled();
        let mut seen = 0;
        for bucket in std::iter::once(home).chain(shape.neighbours(home, flags)).map(bucket) {
            for i in bucket.occupied() {
                if bucket.slot(i).is_some_and(|t| shape.home_of_tag(t.tag()) == home) {
                    f(item_in(bucket, i));
                    seen += 1;
                }
            }
        }
        if flags & LISTED != 0 {
            for item in self.listed() {
                let position = self.directory.position((self.hash_of)(item.key()));
                if self.directory.segment_of(position) == segment && shape.home(position) == home {
                    f(item);
                    seen += 1;
                }
            }
        }
        seen
    }

    /// An item chosen by the random number `r`, each with the same probability.
    pub fn random(&self, r: u64) -> Option<&T> {
        match self.draw(r)? {
            Drawn::Slot { at, bucket, slot } => {
                // SAFETY: the segment is the directory's and has that bucket; nobody changes it while `self` is borrowed.
                Some(item_in(unsafe { self.directory.segment(at).bucket(bucket) }, slot))
            }
            Drawn::Listed(i) => self.listed().get(i),
            Drawn::Nothing => self.iter().next(),
        }
    }

    /// Takes out what [`Dict::random`] would give.
    pub fn take_random(&mut self, r: u64) -> Option<T> {
        match self.draw(r)? {
            Drawn::Slot { at, bucket, slot } => {
                let segment = self.directory.segment(at);
                let shape = segment.shape();
                // SAFETY: as in `random`.
                let tag = unsafe { segment.bucket(bucket) }.slot(slot)?.tag();
                // Any position of the item's own bucket will do.
                let position = self.directory.start(at).wrapping_add(shape.offset_of(shape.home_of_tag(tag)));
                Some(self.take(position, Spot { bucket, slot }))
            }
            Drawn::Listed(_) | Drawn::Nothing => {
                let key = self.random(r)?.key().to_vec();
                self.remove((self.hash_of)(&key), &key)
            }
        }
    }

    fn draw(&self, r: u64) -> Option<Drawn> {
        if self.is_empty() {
            return None;
        }
        // The list is almost never there; its items get their share first.
        let listed = self.listed();
        let mut state = r;
        if !listed.is_empty() && next_random(&mut state) % (self.len as u64) < listed.len() as u64 {
            return Some(Drawn::Listed((next_random(&mut state) % listed.len() as u64) as usize));
        }
        // Every slot that could be there is drawn alike; those that are not there, or are free, are drawn again. A lone
        // segment says how many could be. The limit is for tables made sparse by hashes with a common prefix.
        let most = if self.directory.len() == 1 {
            self.directory.segment(self.directory.first()).shape().buckets.max(1)
        } else {
            MAX_BUCKETS
        };
        for _ in 0..(64 * 1024) {
            let bits = next_random(&mut state);
            let Some(at) = self.directory.pick(bits as u32) else { continue };
            let segment = self.directory.segment(at);
            let (bucket, slot) = ((bits >> 32) as usize % most, (bits >> 48) as usize % SLOTS);
            if bucket >= segment.shape().buckets {
                continue;
            }
            // SAFETY: the segment is the directory's and has that bucket; nobody changes it while `self` is borrowed.
            if unsafe { segment.bucket(bucket) }.fingerprint(slot) != 0 {
                return Some(Drawn::Slot { at, bucket, slot });
            }
        }
        Some(Drawn::Nothing)
    }

    pub(super) fn each_segment(&self) -> impl Iterator<Item = Segment> + '_ {
        let mut next = self.directory.is_allocated().then(|| self.directory.first());
        std::iter::from_fn(move || {
            let at = next?;
            next = self.directory.after(at);
            Some(self.directory.segment(at))
        })
    }

    // ---- segments, by cursor or by hash ----

    /// The cursor of a hash.
    #[inline]
    pub fn cursor_of(&self, hash: u64) -> u64 {
        self.directory.position(hash) >> BELOW
    }

    /// The segment at a cursor; `None` if the dictionary has no segments at all.
    pub fn segments_from(&self, cursor: u64) -> Option<SegmentRef<'_, T>> {
        if !self.directory.is_allocated() {
            return None;
        }
        Some(SegmentRef { dict: self, at: self.directory.at(cursor << BELOW) })
    }

    /// The version of the segment at a cursor and the next segment's cursor.
    pub fn segment_at(&self, cursor: u64) -> Option<(u32, Option<u64>)> {
        self.segments_from(cursor).map(|s| (s.version(), s.next()))
    }

    /// The items of the segment at a cursor.
    pub fn entries_at(&self, cursor: u64) -> SegmentEntries<'_, T> {
        match self.segments_from(cursor) {
            Some(segment) => segment.entries(),
            None => SegmentEntries { dict: self, at: None, entries: Buckets::over([&[], &[]]), list: [].iter() },
        }
    }

    /// Sets the version of the segment at a cursor, or of all vacant ones if it is vacant.
    pub fn set_version_at(&mut self, cursor: u64, version: u32) {
        let position = cursor << BELOW;
        if self.directory.segment_of(position).is_vacant() {
            self.vacant_version = version;
        } else {
            let at = self.directory.at(position);
            self.directory.note_mut(at).version = version;
        }
    }

    #[inline]
    pub fn segment_version(&self, hash: u64) -> u32 {
        let position = self.directory.position(hash);
        if self.directory.segment_of(position).is_vacant() {
            return self.vacant_version;
        }
        self.directory.note(self.directory.at(position)).version
    }

    /// See [`Dict::set_version_at`].
    pub fn set_segment_version(&mut self, hash: u64, version: u32) {
        self.set_version_at(self.cursor_of(hash), version);
    }

    /// The items of the segment a hash belongs to.
    pub fn segment_entries(&self, hash: u64) -> SegmentEntries<'_, T> {
        self.entries_at(self.cursor_of(hash))
    }

    pub fn for_each_in_segment(&self, hash: u64, f: impl FnMut(&T)) {
        self.segment_entries(hash).for_each(f);
    }

    // ---- deadlines ----

    /// Remembers that something in the segment of `hash` is due at `deadline`; the segment keeps the earliest.
    #[inline]
    pub fn note_deadline(&mut self, hash: u64, deadline: i64) {
        let position = self.directory.position(hash);
        if !self.directory.segment_of(position).is_vacant() {
            let at = self.directory.at(position);
            let note = self.directory.note_mut(at);
            note.deadline = note.deadline.min(deadline);
        }
    }

    /// The cursor of the first segment from `cursor` on whose earliest deadline is not after `now`. Reads no bucket.
    pub fn due_segment(&self, cursor: u64, now: i64) -> Option<u64> {
        let mut segment = self.segments_from(cursor)?;
        loop {
            if segment.deadline() <= now {
                return Some(segment.cursor());
            }
            segment.at = self.directory.after(segment.at)?;
        }
    }

    /// Says anew what the earliest deadline of the segment at a cursor is, `i64::MAX` for none.
    pub fn set_deadline_at(&mut self, cursor: u64, deadline: i64) {
        if self.directory.is_allocated() {
            let at = self.directory.at(cursor << BELOW);
            self.directory.note_mut(at).deadline = deadline;
        }
    }
}

/// Where chance fell.
enum Drawn {
    Slot {
        at: At,
        bucket: usize,
        slot: usize,
    },
    Listed(usize),
    /// On no item in all that time.
    Nothing,
}

/// Splitmix: one number makes many.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ *state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[inline]
fn item_in<T: ThinOwned>(bucket: &Bucket, slot: usize) -> &T {
    debug_assert!(bucket.slot(slot).is_some());
    // SAFETY: callers saw that the slot is occupied, and `T` is transparent over `Thin`.
    unsafe { &*bucket.slot_ptr(slot).cast::<T>() }
}

/// A segment in a walk in hash order.
pub struct SegmentRef<'a, T: ThinOwned> {
    dict: &'a Dict<T>,
    at: At,
}

impl<'a, T: ThinOwned> SegmentRef<'a, T> {
    pub fn version(&self) -> u32 {
        if self.dict.directory.segment(self.at).is_vacant() {
            return self.dict.vacant_version;
        }
        self.dict.directory.note(self.at).version
    }

    /// The earliest deadline noted; `i64::MAX` if there is none.
    pub fn deadline(&self) -> i64 {
        if self.dict.directory.segment(self.at).is_vacant() {
            return i64::MAX;
        }
        self.dict.directory.note(self.at).deadline
    }

    /// Where the segment begins.
    pub fn cursor(&self) -> u64 {
        self.dict.directory.start(self.at) >> BELOW
    }

    /// Where the next one begins; `None` after the last.
    pub fn next(&self) -> Option<u64> {
        let next = self.dict.directory.after(self.at)?;
        Some(self.dict.directory.start(next) >> BELOW)
    }

    pub fn entries(&self) -> SegmentEntries<'a, T> {
        // SAFETY: the segment is the directory's, and nobody changes it during `'a`.
        let buckets = unsafe { self.dict.directory.segment(self.at).buckets() };
        let list = self.dict.listed().iter();
        SegmentEntries { dict: self.dict, at: Some(self.at), entries: Buckets::over(buckets), list }
    }
}

/// How many buckets ahead of the one that is read the items are asked for.
const AHEAD: usize = 2;

/// The occupied slots of some buckets.
struct Buckets<'a> {
    /// Those not begun, in two parts; the first is empty only if both are.
    rest: [&'a [Bucket]; 2],
    current: Option<&'a Bucket>,
    slots: SlotSet,
}

impl<'a> Buckets<'a> {
    fn over(rest: [&'a [Bucket]; 2]) -> Self {
        rest[0].iter().take(AHEAD).for_each(Bucket::prefetch_items);
        Self { rest, current: None, slots: SlotSet::EMPTY }
    }

    /// The next bucket; asks for the items of one further on, so that they have come when it is their turn.
    #[inline]
    fn next_bucket(&mut self) -> Option<&'a Bucket> {
        let [low, high] = self.rest;
        let (bucket, left) = low.split_first()?;
        match left.get(AHEAD - 1) {
            Some(ahead) => ahead.prefetch_items(),
            None => _ = high.get(AHEAD - 1 - left.len()).map(Bucket::prefetch_items),
        }
        self.rest = if left.is_empty() { [high, &[]] } else { [left, high] };
        Some(bucket)
    }
}

impl<'a> Iterator for Buckets<'a> {
    type Item = (&'a Bucket, usize);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let (Some(bucket), Some(i)) = (self.current, self.slots.next()) {
                return Some((bucket, i));
            }
            let bucket = self.next_bucket()?;
            self.current = Some(bucket);
            self.slots = bucket.occupied();
        }
    }
}

/// The items of one segment; see [`Dict::segment_entries`].
pub struct SegmentEntries<'a, T: ThinOwned> {
    dict: &'a Dict<T>,
    at: Option<At>,
    entries: Buckets<'a>,
    list: std::slice::Iter<'a, T>,
}

impl<'a, T: ThinOwned> Iterator for SegmentEntries<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        if let Some((bucket, i)) = self.entries.next() {
            return Some(item_in(bucket, i));
        }
        let (directory, at) = (&self.dict.directory, self.at?);
        let hash_of = self.dict.hash_of;
        self.list.find(|item| directory.at(directory.position(hash_of(item.key()))) == at)
    }
}

/// Every item; see [`Dict::iter`].
pub struct Iter<'a, T: ThinOwned> {
    dict: &'a Dict<T>,
    next: Option<At>,
    entries: Buckets<'a>,
    list: std::slice::Iter<'a, T>,
}

impl<'a, T: ThinOwned> Iterator for Iter<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        loop {
            if let Some((bucket, i)) = self.entries.next() {
                return Some(item_in(bucket, i));
            }
            let Some(at) = self.next else { return self.list.next() };
            self.next = self.dict.directory.after(at);
            // SAFETY: the segment is the directory's, and nobody changes it while the dictionary is borrowed.
            self.entries = Buckets::over(unsafe { self.dict.directory.segment(at).buckets() });
        }
    }
}

impl<'a, T: ThinOwned> IntoIterator for &'a Dict<T> {
    type Item = &'a T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}
