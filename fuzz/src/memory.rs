//! How much memory a decoder takes: an allocator that counts, thread by thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, which every program that links these checks has.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn count(allocated: usize, freed: usize) {
    let held = HELD.get().wrapping_add_unsigned(allocated).wrapping_sub_unsigned(freed);
    HELD.set(held);
    MOST.set(MOST.get().max(held));
}

#[expect(unsafe_code, reason = "there is no other way to be an allocator")]
// SAFETY: everything is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: the caller's.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // Both are there while the one becomes the other.
        count(new_size, 0);
        count(0, layout.size());
        // SAFETY: the caller's.
        unsafe { System.realloc(memory, layout, new_size) }
    }
}

/// Does the work, which may hold so many bytes more than before at any time.
pub(crate) fn bounded<T>(most_bytes: usize, work: impl FnOnce() -> T) -> T {
    let before = HELD.get();
    MOST.set(before);
    let done = work();
    let took = MOST.get().wrapping_sub(before);
    assert!(took.cast_unsigned() <= most_bytes, "it took {took} bytes of memory; {most_bytes} would be enough");
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_at_once_counts() {
        let half = || drop(std::hint::black_box(vec![0_u8; 600]));
        bounded(1000, || [half(), half()]);
        let both = std::panic::catch_unwind(|| bounded(1000, || std::hint::black_box([vec![0_u8; 600], vec![0; 600]])));
        assert!(both.is_err());
    }
}
