//! Growing and shrinking: a segment is rebuilt in another size, split in two, or merged with its buddy.
//!
//! Each step moves the items of one or two segments, a few hundred at most. Must not change an item's version or lose
//! its deadline.

use super::bucket::{Bucket, LISTED, SLOTS};
use super::directory::{At, Note};
use super::segment::{Buckets, MAX_BUCKETS, MAX_DEPTH, Segment, Shape, buckets_for, grown, place};
use super::table::{Dict, fingerprint};
use super::thin::{Thin, ThinOwned};

/// An item on its way to a new segment, with the tag it will have there.
struct Moving {
    item: Thin,
    fp: u8,
}

/// So many items of one bucket with one tag are no chance: splitting would not part them.
const ALIKE: usize = 2 * SLOTS - 2;

/// Segments made beforehand are to hold at most so many items, so that most never grow.
const EXPECTED_MOST: usize = MAX_BUCKETS * SLOTS * 5 / 8;

impl<T: ThinOwned> Dict<T> {
    /// An empty dictionary with room for so many items, so that it does not have to grow step by step.
    pub fn with_room(skip_bits: u8, hash_of: fn(&[u8]) -> u64, items: usize) -> Self {
        let mut new = Self::new(skip_bits, hash_of);
        let depth = items.div_ceil(EXPECTED_MOST).next_power_of_two().ilog2();
        if depth > 0 {
            let shape = Shape { depth, buckets: buckets_for(items >> depth) };
            new.directory.allocate_even(depth, Note::new(0), || Segment::allocate(shape));
            new.segments = 1 << depth;
        }
        new
    }

    /// A dictionary of the same shape, each item copied by `copy`, which keeps its key. Hashes nothing.
    pub fn clone_with(&self, mut copy: impl FnMut(&T) -> T) -> Self {
        let mut new = Self::new(self.directory.skip, self.hash_of);
        if !self.directory.is_allocated() {
            return new;
        }
        new.directory = self.directory.copied(|segment| copy_segment(segment, &mut copy));
        new.list = self.list.as_ref().map(|list| Box::new(list.iter().map(&mut copy).collect()));
        (new.len, new.segments, new.vacant_version) = (self.len, self.segments, self.vacant_version);
        new
    }

    /// Adds an item whose bucket is full, or whose segment has none.
    #[cold]
    #[inline(never)]
    pub(super) fn insert_crowded(&mut self, hash: u64, item: T) {
        let position = self.directory.position(hash);
        debug_assert_eq!(position, self.directory.position((self.hash_of)(item.key())), "another hash than hash_of's");
        let item = Thin::of(item);
        let fp = fingerprint(hash);
        if !self.directory.is_allocated() {
            self.directory.allocate(Note::new(self.vacant_version));
            self.segments = 1;
        }
        loop {
            let at = self.directory.at(position);
            let segment = self.directory.segment(at);
            let shape = segment.shape();
            if segment.is_vacant() {
                let new = Segment::allocate(Shape { depth: shape.depth, buckets: 1 });
                self.directory.set(at, new, Note::new(self.vacant_version));
                continue;
            }
            let items = self.directory.note(at).items as usize;
            let (home, tag) = (shape.home(position), shape.tag(position));
            // SAFETY: the segment is the directory's, and `self` is borrowed mutably.
            let mut buckets = unsafe { segment.buckets_mut() };
            let may_take_more = items < shape.limit() || shape.buckets == 1;
            if may_take_more && place(&mut buckets, shape, home, item.tagged(tag), fp) {
                self.directory.note_mut(at).items += 1;
                self.len += 1;
                return;
            }
            let same_tag = |b: &Bucket| b.occupied().filter(|i| b.slot(*i).is_some_and(|t| t.tag() == tag)).count();
            let hopeless = may_take_more && buckets.iter().map(same_tag).sum::<usize>() >= ALIKE;
            if hopeless || !self.enlarge(at) {
                buckets_of(segment)[home].add_spilled(LISTED);
                // SAFETY: the item came in by value and is nowhere else.
                self.list.get_or_insert_default().push(unsafe { item.into_item() });
                self.len += 1;
                return;
            }
        }
    }

    /// Gives a segment more room; false if there is none to be had.
    fn enlarge(&mut self, at: At) -> bool {
        let shape = self.directory.segment(at).shape();
        let items = self.directory.note(at).items as usize;
        // A crowd in a segment that is half empty: its items share more bits than usual, so more buckets do not help.
        if shape.buckets < MAX_BUCKETS && items * 2 >= shape.buckets * SLOTS {
            // If there is a crowd even in the largest size, then only a split gets its items out of the list.
            if !self.resize(at, grown(shape.buckets)) {
                self.split(at);
            }
            return true;
        }
        self.split(at)
    }

    /// Rebuilds a segment with another number of buckets; false if some items did not find room in them.
    fn resize(&mut self, at: At, buckets: usize) -> bool {
        let old = self.directory.segment(at);
        let mut note = *self.directory.note(at);
        let items = self.gather(at);
        let all = items.len();
        let (new, placed) = self.build(old.shape().depth, buckets, items);
        note.items = placed;
        self.directory.set(at, new, note);
        // SAFETY: the directory no longer has it and its items have moved.
        unsafe { old.free() };
        placed as usize == all
    }

    fn split(&mut self, at: At) -> bool {
        let start = self.directory.start(at);
        let old = self.directory.segment(at);
        let depth = old.shape().depth;
        if depth == MAX_DEPTH || depth == self.directory.depth() && !self.directory.double(self.words_allowed()) {
            return false;
        }
        let at = self.directory.at(start);
        let note = *self.directory.note(at);
        let mut halves = [(); 2].map(|()| Vec::with_capacity(note.items as usize));
        for m in self.gather(at) {
            halves[old.shape().half(m.item.tag())].push(m);
        }
        // The deeper segments' tags begin eight bits further down: these bits only the keys tell.
        if (depth + 1).is_multiple_of(8) {
            for m in halves.iter_mut().flatten() {
                let position = self.directory.position(self.hash_of_thin(m.item));
                m.item = m.item.tagged(Shape { depth: depth + 1, buckets: 1 }.tag(position));
            }
        }
        let [low, high] = halves;
        self.segments += 1;
        self.directory.count_split(depth + 1);
        for (half, items) in [(at, low), (self.directory.buddy(at, depth + 1), high)] {
            let buckets = buckets_for(items.len());
            let (new, placed) = self.build(depth + 1, buckets, items);
            self.directory.set(half, new, Note { items: placed, ..note });
        }
        // SAFETY: the directory no longer has it and its items have moved.
        unsafe { old.free() };
        true
    }

    /// How large the directory may become. Prefixes that many keys share (the slot of a hash tag) make it sparse; that
    /// has a limit, so that bad hashes cannot blow it up.
    fn words_allowed(&self) -> usize {
        (self.segments as usize * 256).max(self.len * 16).max(4096)
    }

    /// Makes what removals left smaller.
    #[cold]
    #[inline(never)]
    pub(super) fn after_removal(&mut self, position: u64) {
        if self.len == 0 && (self.directory.depth() > 0 || self.list.is_some()) {
            self.clear();
            return;
        }
        while self.merge(position) {}
        let at = self.directory.at(position);
        let shape = self.directory.segment(at).shape();
        let items = self.directory.note(at).items as usize;
        // With some slack, so that the next few insertions do not make it grow again.
        let buckets = buckets_for(items + items / 8);
        if items < shape.low_mark() && buckets < shape.buckets && (buckets > 0 || shape.depth > 0) {
            self.resize(at, buckets);
        }
    }

    /// Makes one segment of that of a position and its buddy, if they are small and their versions allow it.
    fn merge(&mut self, position: u64) -> bool {
        let here = self.directory.at(position);
        let depth = self.directory.segment(here).shape().depth;
        // Whoever has items in the list has hashes too much alike to be squeezed together.
        if depth == 0 || self.list.is_some() {
            return false;
        }
        let buddy = self.directory.buddy(here, depth);
        let pair = self.directory.pair(here, depth);
        let olds = [here, buddy].map(|at| self.directory.segment(at));
        if olds[1].shape().depth != depth {
            return false;
        }
        let notes = [here, buddy].map(|at| *self.directory.note(at));
        if (notes[0].items + notes[1].items) as usize > MAX_BUCKETS * SLOTS / 2 {
            return false;
        }
        let version = match olds.map(Segment::is_vacant) {
            [_, true] => notes[0].version,
            [true, false] => notes[1].version,
            [false, false] if notes[0].version == notes[1].version => notes[0].version,
            [false, false] => return false,
        };
        let mut items = Vec::new();
        for at in [here, buddy] {
            let start = self.directory.start(at);
            let gathered = self.gather(at);
            // The shallower segment's tags begin eight bits further up: these bits are the segment's own.
            let crosses = depth.is_multiple_of(8);
            items.extend(gathered.into_iter().map(|m| {
                let tag = m.item.tag();
                let wider = Shape { depth: depth - 1, buckets: 1 }.tag(start) | tag >> 8;
                Moving { item: if crosses { m.item.tagged(wider) } else { m.item }, fp: m.fp }
            }));
        }
        let shape = Shape { depth: depth - 1, buckets: buckets_for(items.len()) };
        if crowds(&items, shape) {
            return false;
        }
        let (new, placed) = self.build(shape.depth, shape.buckets, items);
        let deadline = notes[0].deadline.min(notes[1].deadline);
        self.directory.set(pair, new, Note { deadline, version, items: placed });
        self.segments -= 1;
        self.directory.count_merge(depth);
        for old in olds {
            // SAFETY: the directory no longer has it and its items have moved.
            unsafe { old.free() };
        }
        true
    }

    /// Takes the items out of a segment, listed ones included, with the tags they have or would have in it.
    fn gather(&mut self, at: At) -> Vec<Moving> {
        let segment = self.directory.segment(at);
        let mut items = Vec::with_capacity(self.directory.note(at).items as usize);
        for bucket in buckets_of(segment).iter() {
            for i in bucket.occupied() {
                if let Some(item) = bucket.slot(i) {
                    items.push(Moving { item, fp: bucket.fingerprint(i) });
                }
            }
        }
        if let Some(list) = self.list.take() {
            let (here, elsewhere): (Vec<T>, Vec<T>) = list
                .into_iter()
                .partition(|item| self.directory.at(self.directory.position((self.hash_of)(item.key()))) == at);
            items.extend(here.into_iter().map(|item| {
                let hash = (self.hash_of)(item.key());
                let tag = segment.shape().tag(self.directory.position(hash));
                Moving { item: Thin::of(item).tagged(tag), fp: fingerprint(hash) }
            }));
            self.list = (!elsewhere.is_empty()).then(|| Box::new(elsewhere));
        }
        items
    }

    /// A segment of at least `buckets` buckets with these items, and how many of them are in buckets: what finds no
    /// place in the largest size goes to the list. No items make a vacant segment.
    fn build(&mut self, depth: u32, mut buckets: usize, items: Vec<Moving>) -> (Segment, u32) {
        if items.is_empty() {
            return (Segment::vacant(depth), 0);
        }
        buckets = buckets.max(1);
        loop {
            let shape = Shape { depth, buckets };
            let new = Segment::allocate(shape);
            // First all that find room at home, which is nearly all, and then the others.
            let mut left: Vec<&Moving> = Vec::new();
            for m in &items {
                // SAFETY: `home_of_tag` is below the bucket count, and nobody else knows the segment yet.
                let home = unsafe { new.bucket_mut(shape.home_of_tag(m.item.tag())) };
                if !home.put(m.item, m.fp) {
                    left.push(m);
                }
            }
            let mut room = buckets_of(new);
            left.retain(|m| !place(&mut room, shape, shape.home_of_tag(m.item.tag()), m.item, m.fp));
            if !left.is_empty() && buckets < MAX_BUCKETS && items.len() * 2 >= buckets * SLOTS {
                // SAFETY: nobody else knows it; the items are still in `items`.
                unsafe { new.free() };
                buckets = grown(buckets);
                continue;
            }
            for m in &left {
                room[shape.home_of_tag(m.item.tag())].add_spilled(LISTED);
                // SAFETY: the item is in no bucket.
                self.list.get_or_insert_default().push(unsafe { m.item.into_item() });
            }
            return (new, (items.len() - left.len()) as u32);
        }
    }

    fn hash_of_thin(&self, item: Thin) -> u64 {
        // SAFETY: the item is alive while it moves, and `T` is transparent over `Thin`.
        let item = unsafe { &*(&raw const item).cast::<T>() };
        (self.hash_of)(item.key())
    }
}

/// Items of so many buckets further on are asked for.
const AHEAD: usize = 2;

fn copy_segment<T: ThinOwned>(old: Segment, copy: &mut impl FnMut(&T) -> T) -> Segment {
    let shape = old.shape();
    if old.is_vacant() {
        return old;
    }
    let new = Segment::allocate(shape);
    let (from, mut to) = (buckets_of(old), buckets_of(new));
    for (i, bucket) in to.iter_mut().enumerate() {
        if i + AHEAD < shape.buckets {
            from[i + AHEAD].prefetch_items();
        }
        for slot in from[i].occupied() {
            // SAFETY: the slot is occupied, and `T` is transparent over `Thin`.
            let item = copy(unsafe { &*from[i].slot_ptr(slot).cast::<T>() });
            let tag = from[i].slot(slot).map_or(0, Thin::tag);
            bucket.set(slot, Thin::of(item).tagged(tag), from[i].fingerprint(slot));
        }
        bucket.set_spilled(from[i].spilled());
    }
    new
}

/// Whether a bucket would get more items than it and its neighbours are likely to hold. So segments that split because
/// their items share a long prefix are not merged again.
fn crowds(items: &[Moving], shape: Shape) -> bool {
    let mut counts = [0u8; MAX_BUCKETS];
    items.iter().any(|m| {
        let count = &mut counts[shape.home_of_tag(m.item.tag())];
        *count += 1;
        usize::from(*count) > SLOTS * 2
    })
}

/// The buckets of a segment that only the caller reaches.
fn buckets_of<'a>(segment: Segment) -> Buckets<'a> {
    // SAFETY: called with a segment of a dictionary borrowed mutably or a new one, and one borrow at a time.
    unsafe { segment.buckets_mut() }
}
