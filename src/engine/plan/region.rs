//! Memory for values: zeroed, on whole cache lines, and on large pages where the system has them to give.
//!
//! A Winograd transform walks through some forty places at once that lie pages apart. With pages of 4 KiB their addresses do not fit the processor's first table
//! of translations; with pages of 2 MiB they do.

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
    source: Source,
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
        let (source, start) = Source::zeros(bytes);
        Self { start, floats, source }
    }
}

/// Where memory came from and goes back to.
enum Source {
    /// The system itself. What is large goes back to it at once: a heap would keep it, and memory for the next part of an image would come on top.
    #[cfg(target_os = "linux")]
    System { address: *mut libc::c_void, bytes: usize },
    /// The heap.
    Heap(std::alloc::Layout),
}

impl Source {
    #[expect(clippy::expect_used, reason = "as for the region")]
    fn zeros(bytes: usize) -> (Self, NonNull<f32>) {
        #[cfg(target_os = "linux")]
        if bytes >= LARGE_PAGE_BYTES
            && let Some(mapped) = Self::mapped(bytes)
        {
            return mapped;
        }
        let layout =
            std::alloc::Layout::from_size_align(bytes, LINE_BYTES).expect("the size is a number of bytes");
        // SAFETY: the layout is not empty.
        let memory = unsafe { std::alloc::alloc_zeroed(layout) };
        let Some(start) = NonNull::new(memory.cast::<f32>()) else { std::alloc::handle_alloc_error(layout) };
        (Self::Heap(layout), start)
    }

    /// Memory that begins on a large page: a mapping may begin anywhere, so one more is asked for.
    #[cfg(target_os = "linux")]
    fn mapped(bytes: usize) -> Option<(Self, NonNull<f32>)> {
        let all = bytes.checked_add(LARGE_PAGE_BYTES)?;
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping takes no memory from anybody.
        let address = unsafe { libc::mmap(std::ptr::null_mut(), all, protection, flags, -1, 0) };
        if address == libc::MAP_FAILED {
            return None;
        }
        let start = address.map_addr(|address| address.next_multiple_of(LARGE_PAGE_BYTES));
        // SAFETY: advice about a part of the mapping. Where it is not taken nothing changes.
        unsafe { libc::madvise(start, bytes, libc::MADV_HUGEPAGE) };
        Some((Self::System { address, bytes: all }, NonNull::new(start.cast())?))
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
        // SAFETY: the memory came from there, with this address and size, and nobody uses it any more.
        match self.source {
            #[cfg(target_os = "linux")]
            Source::System { address, bytes } => {
                unsafe { libc::munmap(address, bytes) };
            }
            Source::Heap(layout) => unsafe { std::alloc::dealloc(self.start.as_ptr().cast(), layout) },
        }
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
