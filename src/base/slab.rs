//! Slots of exactly the size asked for, rounded to 8 bytes: where a general allocator would round 88 bytes to 96.
//!
//! ```text
//!   thread        [ class 16 | class 24 | ... | class 512 ]   a list of free slots each, no lock and no atomic
//!                       |  batches, when a list is empty or too long
//!   class         lock [ pages by fill: fullest first ]       64 KiB pages, aligned, so a slot's page is a mask away
//!                       |  whole pages
//!   process       lock [ warm pages | cold pages ]            cut from 4 MiB mappings, never unmapped; a cold page
//!                                                             keeps its address and gives its memory back
//!   page          [ header, 64 bytes | slot | slot | ... | not yet used ]
//! ```
//! - A free slot's first word is the next free slot, in a thread's list as in a page's.
//! - A slot may be freed on another thread than the one that asked for it.
//! - Refills come from the fullest page there is, so that the emptier ones can empty out.
//! - A page belongs to one class until its last slot is back; its header is read and written under that class's lock.
//!
//! Knows nothing of what lies in the slots, nor of the global allocator's count: [`used_bytes`] is to be added to it.

use std::alloc::{Layout, handle_alloc_error};
use std::cell::{Cell, UnsafeCell};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering::Relaxed};

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;

const STEP: usize = 8;
const SMALLEST: usize = 16;
/// Longer requests go to the global allocator.
pub const LARGEST: usize = 512;
const CLASSES: usize = (LARGEST - SMALLEST) / STEP + 1;

const PAGE: usize = 64 << 10;
const REGION: usize = 4 << 20;
const HEADER: usize = 64;
/// Free pages that keep their memory, so that a load that breathes does not fault them in each time.
const WARM: usize = 16;
/// Bins of pages by how full they are; full pages are in none.
const BINS: usize = 8;
const NO_BIN: u8 = u8::MAX;

/// Bytes of the slots that were handed to threads.
static USED: AtomicUsize = AtomicUsize::new(0);
/// Bytes of the pages that belong to a class.
static HELD: AtomicUsize = AtomicUsize::new(0);

#[inline]
fn class_of(size: usize) -> usize {
    size.max(SMALLEST).div_ceil(STEP) - SMALLEST / STEP
}

#[inline]
const fn size_of_class(class: usize) -> usize {
    SMALLEST + class * STEP
}

/// The most free slots a thread keeps of a class; half of it moves at a time.
#[inline]
const fn keep(class: usize) -> u32 {
    let fit = 8192 / size_of_class(class);
    if fit > 64 { 64 } else { fit as u32 }
}

/// A free slot, seen as the link it holds.
struct Free {
    next: *mut Free,
}

/// A chain of free slots.
#[derive(Clone, Copy)]
struct Chain {
    head: *mut Free,
    len: u32,
}

impl Chain {
    const EMPTY: Self = Self { head: null_mut(), len: 0 };

    /// # Safety
    /// `slot` is a free slot that nobody else holds.
    #[inline]
    unsafe fn push(&mut self, slot: *mut Free) {
        // SAFETY: a slot is at least 16 bytes and 8-aligned, and it is ours.
        unsafe { (*slot).next = self.head };
        self.head = slot;
        self.len += 1;
    }

    #[inline]
    fn pop(&mut self) -> Option<NonNull<Free>> {
        let slot = NonNull::new(self.head)?;
        // SAFETY: what is in a chain is a free slot whose link was written by `push`.
        self.head = unsafe { slot.as_ref().next };
        self.len -= 1;
        Some(slot)
    }
}

/// The head of a page, under the lock of its class.
struct Page {
    next: *mut Page,
    prev: *mut Page,
    free: *mut Free,
    /// Slots out, to threads or their lists.
    used: u32,
    /// Slots cut so far; those behind were never touched.
    cut: u32,
    bin: u8,
}

const _: () = assert!(size_of::<Page>() <= HEADER);

/// The pages of one class that have room, fullest last.
struct Pool {
    bins: [*mut Page; BINS],
}

// SAFETY: the pointers lead to pages that only the holder of this pool's lock touches.
unsafe impl Send for Pool {}

static POOLS: [Mutex<Pool>; CLASSES] = [const { Mutex::new(Pool::new()) }; CLASSES];

impl Pool {
    const fn new() -> Self {
        Self { bins: [null_mut(); BINS] }
    }

    /// # Safety
    /// `page` belongs to this pool's class and is in no bin.
    unsafe fn link(&mut self, page: *mut Page, bin: u8) {
        let head = &mut self.bins[usize::from(bin)];
        // SAFETY: the caller's promise; the bins hold live pages of this class, all under this lock.
        unsafe {
            (*page).bin = bin;
            (*page).prev = null_mut();
            (*page).next = *head;
            if !head.is_null() {
                (**head).prev = page;
            }
        }
        *head = page;
    }

    /// # Safety
    /// `page` belongs to this pool's class.
    unsafe fn unlink(&mut self, page: *mut Page) {
        // SAFETY: a page's neighbours are pages of the same class, under the same lock.
        unsafe {
            let Page { next, prev, bin, .. } = *page;
            if bin == NO_BIN {
                return;
            }
            if prev.is_null() {
                self.bins[usize::from(bin)] = next;
            } else {
                (*prev).next = next;
            }
            if !next.is_null() {
                (*next).prev = prev;
            }
            (*page).bin = NO_BIN;
        }
    }

    /// Puts `page` where its fill says.
    ///
    /// # Safety
    /// `page` belongs to this pool's class and has at least one slot out.
    unsafe fn place(&mut self, page: *mut Page, slots: u32) {
        // SAFETY: the caller's promise.
        unsafe {
            let used = (*page).used;
            let bin = if used == slots { NO_BIN } else { (used * BINS as u32 / slots) as u8 };
            if bin != (*page).bin {
                self.unlink(page);
                if bin != NO_BIN {
                    self.link(page, bin);
                }
            }
        }
    }

    /// Hands out up to `want` slots, at least one: no more than there are, if there are any, before a page is added.
    fn take(&mut self, class: usize, want: u32) -> Chain {
        let size = size_of_class(class);
        let slots = slots_of(size);
        let mut out = Chain::EMPTY;
        while out.len < want {
            let page = match self.bins.iter().rev().find(|p| !p.is_null()) {
                Some(&page) => page,
                None if out.len > 0 => break,
                None => {
                    let page = take_page().cast::<Page>().as_ptr();
                    let fresh =
                        Page { next: null_mut(), prev: null_mut(), free: null_mut(), used: 0, cut: 0, bin: NO_BIN };
                    // SAFETY: a page from `take_page` is ours alone, and begins with room for its header.
                    unsafe {
                        page.write(fresh);
                        self.link(page, 0);
                    }
                    page
                }
            };
            // SAFETY: the page is this class's, under this lock; `cut < slots` keeps new slots inside it, and the
            // slots of its list are free.
            unsafe {
                let p = &mut *page;
                let wanted = want - out.len;
                let from = p.used;
                while p.used - from < wanted && !p.free.is_null() {
                    let slot = p.free;
                    p.free = (*slot).next;
                    p.used += 1;
                    out.push(slot);
                }
                let fresh = (wanted - (p.used - from)).min(slots - p.cut);
                p.used += fresh;
                p.cut += fresh;
                // From the far end, so that the chain gives them in rising order.
                for i in 1..=fresh {
                    let at = HEADER + (p.cut - i) as usize * size;
                    out.push(page.cast::<u8>().add(at).cast());
                }
                self.place(page, slots);
            }
        }
        USED.fetch_add(out.len as usize * size, Relaxed);
        out
    }

    /// Takes the slots of `chain` back.
    ///
    /// # Safety
    /// They are free slots of this pool's class.
    unsafe fn give(&mut self, class: usize, mut chain: Chain) {
        let size = size_of_class(class);
        let slots = slots_of(size);
        USED.fetch_sub(chain.len as usize * size, Relaxed);
        while let Some(slot) = chain.pop() {
            let slot = slot.as_ptr();
            let page = slot.map_addr(|a| a & !(PAGE - 1)).cast::<Page>();
            // SAFETY: a slot lies in a page of its class, whose header this lock guards.
            unsafe {
                (*slot).next = (*page).free;
                (*page).free = slot;
                (*page).used -= 1;
                if (*page).used == 0 {
                    self.unlink(page);
                    give_page(NonNull::new_unchecked(page.cast()));
                } else {
                    self.place(page, slots);
                }
            }
        }
    }
}

#[inline]
const fn slots_of(size: usize) -> u32 {
    ((PAGE - HEADER) / size) as u32
}

/// Pages of no class.
struct Pages {
    warm: Vec<NonNull<u8>>,
    cold: Vec<NonNull<u8>>,
}

// SAFETY: the pages belong to whoever holds the lock.
unsafe impl Send for Pages {}

/// Taken inside a class's lock, never the other way round.
static PAGES: Mutex<Pages> = Mutex::new(Pages { warm: Vec::new(), cold: Vec::new() });

fn take_page() -> NonNull<u8> {
    let mut pages = PAGES.lock();
    if pages.warm.is_empty() && pages.cold.is_empty() {
        let region = map_region();
        // Lowest address last, so that it is used first.
        for at in (0..REGION / PAGE).rev() {
            // SAFETY: inside the region.
            pages.cold.push(unsafe { region.add(at * PAGE) });
        }
    }
    HELD.fetch_add(PAGE, Relaxed);
    let page = pages.warm.pop().or_else(|| pages.cold.pop());
    page.expect("a new region has pages")
}

fn give_page(page: NonNull<u8>) {
    HELD.fetch_sub(PAGE, Relaxed);
    let mut pages = PAGES.lock();
    if pages.warm.len() < WARM {
        pages.warm.push(page);
        return;
    }
    // SAFETY: the page is mapped, and no slot of it is in use. A refusal costs memory, not correctness.
    unsafe { libc::madvise(page.as_ptr().cast(), PAGE, libc::MADV_DONTNEED) };
    pages.cold.push(page);
}

/// Maps a region aligned to its own size: twice as much, less the ends.
fn map_region() -> NonNull<u8> {
    // SAFETY: an anonymous mapping at an address of the system's choice; what is unmapped are ends nobody has seen.
    unsafe {
        let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let base = libc::mmap(null_mut(), 2 * REGION, prot, flags, -1, 0);
        if base == libc::MAP_FAILED {
            handle_alloc_error(Layout::from_size_align_unchecked(REGION, PAGE));
        }
        let base = base.cast::<u8>();
        let head = base.align_offset(REGION);
        if head > 0 {
            libc::munmap(base.cast(), head);
        }
        let region = base.add(head);
        libc::munmap(region.add(REGION).cast(), REGION - head);
        // Entries are read at random: huge pages spare most of the misses in the page table's cache. No fork, no copies.
        // Without them, as the system may have it, all is as before.
        libc::madvise(region.cast(), REGION, libc::MADV_HUGEPAGE);
        NonNull::new_unchecked(region)
    }
}

/// A thread's free slots.
struct Cache {
    lists: UnsafeCell<[Chain; CLASSES]>,
    /// Its place in [`KEPT`].
    cell: Cell<usize>,
}

thread_local! {
    static CACHE: Cache =
        const { Cache { lists: UnsafeCell::new([Chain::EMPTY; CLASSES]), cell: Cell::new(usize::MAX) } };
}

/// Bytes in threads' lists. The first threads have a cell each, which no other writes; the rest share the last.
static KEPT: [CachePadded<AtomicIsize>; CELLS] = [const { CachePadded::new(AtomicIsize::new(0)) }; CELLS];
static NEXT_CELL: AtomicUsize = AtomicUsize::new(0);
const CELLS: usize = 64;

impl Cache {
    /// The lists have so many slots of a class more, or fewer.
    #[inline]
    fn note(&self, slots: isize, class: usize) {
        let (cell, by) = (self.cell.get(), slots * size_of_class(class) as isize);
        if cell < CELLS - 1 {
            let kept = &KEPT[cell];
            kept.store(kept.load(Relaxed) + by, Relaxed);
        } else {
            self.note_shared(by);
        }
    }

    #[cold]
    fn note_shared(&self, by: isize) {
        if self.cell.get() == usize::MAX {
            self.cell.set(NEXT_CELL.fetch_add(1, Relaxed).min(CELLS - 1));
        }
        KEPT[self.cell.get()].fetch_add(by, Relaxed);
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        let lists = std::mem::replace(self.lists.get_mut(), [Chain::EMPTY; CLASSES]);
        for (class, chain) in lists.into_iter().enumerate() {
            if chain.len > 0 {
                // SAFETY: the lists hold free slots of their class.
                unsafe { POOLS[class].lock().give(class, chain) };
                self.note(-(chain.len as isize), class);
            }
        }
    }
}

/// Memory for `size` bytes, aligned to 8; the content is arbitrary.
#[inline]
pub fn alloc(size: usize) -> NonNull<u8> {
    if size > LARGEST {
        return alloc_large(size);
    }
    let class = class_of(size);
    let slot = CACHE.try_with(|cache| {
        // SAFETY: the thread's own, and nothing called while the borrow lives comes back here: a refill maps memory
        // and grows a Vec, and the global allocator does not use this one.
        let list = unsafe { &mut (*cache.lists.get())[class] };
        if let Some(slot) = list.pop() {
            cache.note(-1, class);
            return slot;
        }
        let slot = refill(list, class);
        cache.note(list.len as isize, class);
        slot
    });
    match slot {
        Ok(slot) => slot.cast(),
        // The thread is ending and its lists are gone.
        Err(_) => take_one(class).cast(),
    }
}

#[cold]
#[inline(never)]
fn alloc_large(size: usize) -> NonNull<u8> {
    let Ok(layout) = Layout::from_size_align(size, STEP) else {
        handle_alloc_error(Layout::new::<u8>());
    };
    // SAFETY: the size is more than LARGEST, so not zero.
    NonNull::new(unsafe { std::alloc::alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
}

#[cold]
#[inline(never)]
fn take_one(class: usize) -> NonNull<Free> {
    POOLS[class].lock().take(class, 1).pop().expect("a pool brings a slot")
}

/// Fills an empty list and takes one slot off it.
#[cold]
#[inline(never)]
fn refill(list: &mut Chain, class: usize) -> NonNull<Free> {
    *list = POOLS[class].lock().take(class, keep(class) / 2);
    list.pop().expect("a refill brings a slot")
}

/// Gives memory of [`alloc`] back.
///
/// # Safety
/// `ptr` came from [`alloc`] with the same `size`, and is not used any more.
#[inline]
pub unsafe fn free(ptr: NonNull<u8>, size: usize) {
    if size > LARGEST {
        // SAFETY: the same layout as in `alloc_large`.
        return unsafe { std::alloc::dealloc(ptr.as_ptr(), Layout::from_size_align_unchecked(size, STEP)) };
    }
    let class = class_of(size);
    let slot = ptr.as_ptr().cast::<Free>();
    let kept = CACHE.try_with(|cache| {
        // SAFETY: the thread's own, as in `alloc`; the slot is the caller's to give.
        unsafe {
            let list = &mut (*cache.lists.get())[class];
            list.push(slot);
            cache.note(1, class);
            if list.len > keep(class) {
                let before = list.len;
                flush(list, class);
                cache.note(list.len as isize - before as isize, class);
            }
        }
    });
    if kept.is_err() {
        let mut chain = Chain::EMPTY;
        // SAFETY: a free slot of this class, by the caller's promise.
        unsafe {
            chain.push(slot);
            POOLS[class].lock().give(class, chain);
        }
    }
}

/// Gives the half of a long list back that was freed last, and keeps the rest.
#[cold]
#[inline(never)]
fn flush(list: &mut Chain, class: usize) {
    let mut out = Chain::EMPTY;
    for _ in 0..keep(class) / 2 {
        if let Some(slot) = list.pop() {
            // SAFETY: a free slot that was in the list until now.
            unsafe { out.push(slot.as_ptr()) };
        }
    }
    // SAFETY: free slots of this class.
    unsafe { POOLS[class].lock().give(class, out) };
}

/// Bytes of the slots in use. While threads allocate and free, the sum may be off by what they do meanwhile.
pub fn used_bytes() -> usize {
    let cells = NEXT_CELL.load(Relaxed).min(CELLS);
    let kept: isize = KEPT[..cells].iter().map(|c| c.load(Relaxed)).sum();
    USED.load(Relaxed).saturating_add_signed(-kept)
}

/// Bytes of pages that hold no data: the free slots of pages in use.
pub fn free_bytes() -> usize {
    HELD.load(Relaxed).saturating_sub(used_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::sync::mpsc;

    /// A block filled with a byte of its own, checked when it is freed.
    struct Block {
        at: NonNull<u8>,
        size: usize,
        fill: u8,
    }

    // SAFETY: the block is owned, and its memory may be freed anywhere.
    unsafe impl Send for Block {}

    impl Block {
        fn new(size: usize, fill: u8) -> Self {
            let at = alloc(size);
            assert_eq!(at.as_ptr() as usize % 8, 0);
            // SAFETY: `size` bytes of our own.
            unsafe { at.as_ptr().write_bytes(fill, size) };
            Self { at, size, fill }
        }

        fn range(&self) -> (usize, usize) {
            (self.at.as_ptr() as usize, self.at.as_ptr() as usize + self.size)
        }
    }

    impl Drop for Block {
        fn drop(&mut self) {
            // SAFETY: written in `new`, ours since.
            let bytes = unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.size) };
            assert!(bytes.iter().all(|&b| b == self.fill), "somebody wrote into a block of {}", self.size);
            // SAFETY: from `alloc` with this size, and not used again.
            unsafe { free(self.at, self.size) };
        }
    }

    fn assert_disjoint(blocks: impl Iterator<Item = (usize, usize)>) {
        let mut ranges: Vec<_> = blocks.collect();
        ranges.sort_unstable();
        for pair in ranges.windows(2) {
            assert!(pair[0].1 <= pair[1].0, "two blocks share memory: {pair:x?}");
        }
    }

    #[test]
    fn every_size_gets_its_own_class_of_eight_bytes() {
        for size in 0..=LARGEST {
            let got = size_of_class(class_of(size));
            assert!(got >= size.max(SMALLEST) && got < size.max(SMALLEST) + STEP, "{size} got {got}");
        }
        assert_eq!(class_of(LARGEST), CLASSES - 1);
    }

    #[test]
    fn a_class_holds_little_more_than_its_slots() {
        for class in 0..CLASSES {
            let size = size_of_class(class);
            assert!(slots_of(size) as usize * size > PAGE * 99 / 100 - 64, "{size}");
        }
    }

    fn page_of(slot: *mut Free) -> usize {
        slot as usize & !(PAGE - 1)
    }

    fn give(pool: &mut Pool, class: usize, slots: impl IntoIterator<Item = *mut Free>) {
        let mut chain = Chain::EMPTY;
        // SAFETY: the tests give what they took, once.
        unsafe {
            slots.into_iter().for_each(|s| chain.push(s));
            pool.give(class, chain);
        }
    }

    fn take(pool: &mut Pool, class: usize, want: u32) -> Vec<*mut Free> {
        let mut out = Vec::new();
        while out.len() < want as usize {
            let mut chain = pool.take(class, want - out.len() as u32);
            out.extend(std::iter::from_fn(|| chain.pop()).map(NonNull::as_ptr));
        }
        out
    }

    #[test]
    fn pages_come_back_when_their_last_slot_does() {
        for class in [0, 9, CLASSES - 1] {
            let mut pool = Pool::new();
            let mut slots = take(&mut pool, class, 10_000);
            assert_eq!(slots.len(), 10_000);
            let half = slots.split_off(5000);
            give(&mut pool, class, slots);
            slots = take(&mut pool, class, 7000);
            let ranges = slots.iter().chain(&half).map(|&s| (s as usize, s as usize + size_of_class(class)));
            assert_disjoint(ranges);
            give(&mut pool, class, half.into_iter().rev());
            give(&mut pool, class, slots);
            assert!(pool.bins.iter().all(|b| b.is_null()), "a page without slots in use stayed");
        }
    }

    #[test]
    fn refills_come_from_the_fullest_page() {
        let class = class_of(88);
        let mut pool = Pool::new();
        let per_page = slots_of(88);
        let slots = take(&mut pool, class, per_page * 3);
        let full = page_of(slots[0]);
        // One page keeps nine slots in ten, the others one in ten.
        let (kept, gone): (Vec<_>, Vec<_>) =
            slots.iter().enumerate().partition(|&(i, &s)| (page_of(s) == full) != (i % 10 == 0));
        give(&mut pool, class, gone.into_iter().map(|(_, &s)| s));
        let new = take(&mut pool, class, per_page / 20);
        assert!(new.iter().all(|&s| page_of(s) == full));
        give(&mut pool, class, new.into_iter().chain(kept.into_iter().map(|(_, &s)| s)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn threads_that_free_each_others_blocks_never_share_memory(
            seed in any::<u32>(), threads in 2..5usize, sizes in proptest::collection::vec(1..480usize, 1..6),
        ) {
            let (to, from): (Vec<_>, Vec<_>) = (0..threads).map(|_| mpsc::channel::<Block>()).unzip();
            let workers: Vec<_> = from.into_iter().enumerate().map(|(me, from)| {
                let (to, sizes) = (to.clone(), sizes.clone());
                std::thread::spawn(move || {
                    let mut state = seed ^ (me as u32 + 1).wrapping_mul(0x9e37_79b9) | 1;
                    let mut random = move || {
                        state ^= state << 13;
                        state ^= state >> 17;
                        state ^= state << 5;
                        state as usize
                    };
                    let mut mine: HashMap<usize, Block> = HashMap::new();
                    for step in 0..3000 {
                        match random() % 8 {
                            0..=4 => {
                                let size = sizes[random() % sizes.len()] + if random() % 64 == 0 { 500 } else { 0 };
                                mine.insert(step, Block::new(size, random() as u8));
                            }
                            5 | 6 => {
                                let gone = mine.keys().next().copied();
                                drop(gone.and_then(|k| mine.remove(&k)));
                            }
                            _ => {
                                let moved = mine.keys().next().copied().and_then(|k| mine.remove(&k));
                                if let Some(block) = moved {
                                    let _ = to[random() % to.len()].send(block);
                                }
                            }
                        }
                        if step % 100 == 0 {
                            from.try_iter().for_each(drop);
                        }
                    }
                    drop(to);
                    mine.into_values().chain(from.try_iter()).collect::<Vec<_>>()
                })
            }).collect();
            drop(to);
            let kept: Vec<Block> = workers.into_iter().flat_map(|w| w.join().unwrap()).collect();
            assert_disjoint(kept.iter().map(Block::range));
        }
    }
}
