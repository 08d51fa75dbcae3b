//! How the kernels that serve measuring are started.

use super::Launch;

/// Threads of a block that stamps the time: so many that a multiprocessor has room for no more than two such blocks, which spreads the first ones over all
/// multiprocessors.
const STAMP_THREADS: u32 = 1024;
/// Blocks for each multiprocessor, twice as many as it has room for, because nothing promises an even spread.
const STAMP_BLOCKS: u32 = 4;

/// Values of a multiprocessor in the buffer that `clock_stamp` fills: cycles and nanoseconds, both u64. A multiprocessor that got no block leaves its
/// values as they were: fill the buffer
/// with zeros first.
pub const STAMP_VALUES: usize = 2;

/// A stamp of every multiprocessor's clock. Parameters of the kernel: the buffer's address (u64), and the number of multiprocessors (i32).
pub fn clock_stamp(multiprocessors: u32) -> Launch {
    Launch {
        module: "measure",
        kernel: "clock_stamp",
        grid: [multiprocessors.saturating_mul(STAMP_BLOCKS).max(1), 1, 1],
        block: [STAMP_THREADS, 1, 1],
        shared_bytes: 0,
    }
}
