//! How much memory is in use: the global allocator, counted per thread and summed on read.
//!
//! Knows nothing of what the memory is for.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering::Relaxed};

use crossbeam_utils::CachePadded;
use mimalloc::MiMalloc;

use crate::base::slab;

/// Counter cells; a thread keeps to one, so that counting touches no line another thread writes.
const CELLS: usize = 64;

static USED: [CachePadded<AtomicIsize>; CELLS] = [const { CachePadded::new(AtomicIsize::new(0)) }; CELLS];
static NEXT: AtomicIsize = AtomicIsize::new(0);

thread_local! {
    static CELL: Cell<usize> = const { Cell::new(usize::MAX) };
}

#[inline]
fn count(by: isize) {
    let cell = CELL.try_with(|c| {
        if c.get() == usize::MAX {
            c.set(NEXT.fetch_add(1, Relaxed) as usize % CELLS);
        }
        c.get()
    });
    let cell = &USED[cell.unwrap_or(0)];
    cell.fetch_add(by, Relaxed);
}

/// The allocator of the process: mimalloc, whose size classes suit small entries, with a count beside it.
pub struct Counting;

// SAFETY: every call goes to mimalloc unchanged; counting allocates nothing and cannot unwind.
unsafe impl GlobalAlloc for Counting {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { MiMalloc.alloc(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise is passed on.
        unsafe { MiMalloc.dealloc(ptr, layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size as isize - layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { MiMalloc.realloc(ptr, layout, new_size) }
    }
}

/// What this thread's cell counts: its growth tells how much was taken since an earlier look, about.
#[inline]
pub fn of_thread() -> isize {
    let cell = CELL.try_with(Cell::get).unwrap_or(0);
    USED.get(cell).map_or(0, |c| c.load(Relaxed))
}

static STARTUP: AtomicUsize = AtomicUsize::new(0);

/// Takes what is in use now for what the server needs before it holds any data.
pub fn note_startup() {
    STARTUP.store(used(), Relaxed);
}

/// Bytes that were in use before there was any data.
pub fn startup() -> usize {
    STARTUP.load(Relaxed)
}

/// Bytes in use now, as INFO's `used_memory`. The slab's pages do not come from the global allocator.
pub fn used() -> usize {
    let cells = (NEXT.load(Relaxed).max(1) as usize).min(CELLS);
    USED[..cells].iter().map(|c| c.load(Relaxed)).sum::<isize>().max(0) as usize + slab::used_bytes()
}

/// Resident bytes of the process; 0 if the system does not tell.
pub fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: usize = statm.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size()
}
