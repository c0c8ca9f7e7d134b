//! The smallest allocator there is: it never frees. Enough to link; a device brings its own.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of heap; what `size` shows as `bss`.
const HEAP: usize = 32 * 1024;

/// Hands out the arena from front to back.
pub struct Bump {
    arena: UnsafeCell<[u8; HEAP]>,
    used: AtomicUsize,
}

impl Bump {
    /// An empty heap.
    pub const fn new() -> Self {
        Self { arena: UnsafeCell::new([0; HEAP]), used: AtomicUsize::new(0) }
    }
}

// SAFETY: every byte of the arena is handed out once, by an atomic addition, so that no two users share one.
unsafe impl Sync for Bump {}

// SAFETY: as above; the block is aligned and lies within the arena, or the answer is null.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let room = layout.size() + layout.align();
        let start = self.used.fetch_add(room, Ordering::Relaxed);
        if start + room > HEAP {
            return null_mut();
        }
        let base = self.arena.get().cast::<u8>();
        let padding = (base as usize + start).wrapping_neg() % layout.align();
        // SAFETY: start + padding + size <= HEAP, as padding < align.
        unsafe { base.add(start + padding) }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}
