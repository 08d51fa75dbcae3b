//! Launches of what training does besides running a network.

use super::Launch;
use super::elementwise::THREADS;
use crate::engine::cuda::params;

/// The file of the kernels, which know f32 only.
pub(super) const MODULE: &str = "training";
/// Blocks of `all_finite`: enough for any device, and its threads go on where they end.
const MOST_BLOCKS: u32 = 1024;
/// Side of the square of pixels that a block of `crop` writes, and the rows that it writes at once: `TILE` and `TILE_ROWS` of `kernels/training.cu`.
const TILE: u32 = 32;
const TILE_ROWS: u32 = 8;

/// Kernel `all_finite`: clears a flag where a gradient or the loss is not finite.
pub fn all_finite(p: &params::Adam) -> Launch {
    let all = each("all_finite", p.count.unsigned_abs().into());
    Launch { grid: all.grid.map(|blocks| blocks.min(MOST_BLOCKS)), ..all }
}

/// Kernel `adam`: one update.
pub fn adam(p: &params::Adam) -> Launch {
    each("adam", p.count.unsigned_abs().into())
}

/// Kernel `crop`: the patches of a batch.
pub fn crop(p: &params::Crop) -> Launch {
    let tiles = |side: u32| side.div_ceil(TILE).pow(2);
    let (side, scale) = (p.side.unsigned_abs(), p.scale.unsigned_abs());
    Launch {
        module: MODULE,
        kernel: "crop",
        grid: [(tiles(side) + tiles(side * scale)).max(1), p.images.unsigned_abs().max(1), 1],
        block: [TILE, TILE_ROWS, 1],
        shared_bytes: 0,
    }
}

/// A thread for each value.
fn each(kernel: &'static str, values: u64) -> Launch {
    let blocks = values.div_ceil(THREADS.into()).max(1);
    let grid = [u32::try_from(blocks).unwrap_or(u32::MAX), 1, 1];
    Launch { module: MODULE, kernel, grid, block: [THREADS, 1, 1], shared_bytes: 0 }
}
