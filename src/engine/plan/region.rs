//! Memory for values: zeroed, on whole cache lines, and on large pages where the system has them to give.
//!
//! A Winograd transform walks through some forty places at once that lie pages apart. With pages of 4 KiB their addresses do not fit the processor's first table
//! of translations; with pages of 2 MiB they do.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// A cache line.
const LINE_BYTES: usize = 64;
/// A large page of x86-64 and of most 64-bit ARM systems.
const LARGE_PAGE_BYTES: usize = 2 << 20;

/// Some floats.
pub(super) struct Region {
    start: NonNull<f32>,
    floats: usize,
    layout: Layout,
}

// SAFETY: the region owns its memory, as a vector does.
unsafe impl Send for Region {}
// SAFETY: shared references only read.
unsafe impl Sync for Region {}

impl Region {
    /// `floats` zeros.
    #[expect(
        clippy::expect_used,
        reason = "a size beyond the address space is a mistake of the caller; vectors panic on it too"
    )]
    pub(super) fn zeros(floats: usize) -> Self {
        let bytes =
            floats.checked_mul(size_of::<f32>()).expect("the size is a number of bytes").max(LINE_BYTES);
        let alignment = if bytes >= LARGE_PAGE_BYTES { LARGE_PAGE_BYTES } else { LINE_BYTES };
        let layout = Layout::from_size_align(bytes, alignment).expect("the size is a number of bytes");
        // SAFETY: the layout is not empty.
        let memory = unsafe { alloc(layout) };
        let Some(start) = NonNull::new(memory.cast::<f32>()) else { handle_alloc_error(layout) };
        #[cfg(target_os = "linux")]
        if bytes >= LARGE_PAGE_BYTES {
            // SAFETY: advice about memory that was just allocated and begins on a page. Where it is not taken nothing changes.
            unsafe { libc::madvise(memory.cast(), bytes, libc::MADV_HUGEPAGE) };
        }
        // SAFETY: the memory is as long as the layout says.
        unsafe { memory.write_bytes(0, bytes) };
        Self { start, floats, layout }
    }
}

impl Default for Region {
    fn default() -> Self {
        Self::zeros(0)
    }
}

impl Deref for Region {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: the memory holds that many floats, all initialised.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.floats) }
    }
}

impl DerefMut for Region {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above, and the region is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.floats) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the memory was allocated with this layout.
        unsafe { dealloc(self.start.as_ptr().cast(), self.layout) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_zero_and_aligned() {
        for floats in [0, 1, 1000, LARGE_PAGE_BYTES / 4, LARGE_PAGE_BYTES] {
            let mut region = Region::zeros(floats);
            assert_eq!(region.len(), floats);
            assert!(region.iter().all(|&value| value == 0.0));
            assert!(region.as_ptr().addr().is_multiple_of(LINE_BYTES));
            region.fill(1.0);
        }
    }
}
