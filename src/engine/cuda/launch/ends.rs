//! Launches of the kernels at both ends of a network, and of the loss.

use super::Launch;
use super::elementwise::{THREADS, module};
use super::spatial::rows;
use crate::engine::cuda::{Math, params};

/// Threads of a block of `loss` and `loss_total`: they decide the order of the sums. `LOSS_THREADS` of `kernels/loss.cuh`.
pub const LOSS_THREADS: u32 = 256;
/// Threads that run together: blocks hold a multiple of them.
const WARP: u32 = 32;
/// Bytes of an image that a thread of `store_image` writes.
const IMAGE_BYTES: u32 = 4;

/// Kernel `load`: planes to NHWC.
pub fn load(math: Math, p: &params::Ends) -> Launch {
    along("load", math, p, p.width.unsigned_abs())
}

/// Kernel `store`: NHWC in f32 to planes, through a pixel shuffle.
pub fn store(math: Math, p: &params::Ends) -> Launch {
    along("store", math, p, p.width.unsigned_abs() * p.factor.unsigned_abs())
}

/// Kernel `store_image`: NHWC in f32 to 8-bit RGB, through a pixel shuffle.
pub fn store_image(math: Math, p: &params::Ends) -> Launch {
    let line_bytes = p.width.unsigned_abs() * p.factor.unsigned_abs() * 3;
    along("store_image", math, p, line_bytes.div_ceil(IMAGE_BYTES))
}

/// Kernel `loss`: the absolute differences of each row of LR pixels, and the gradient.
pub fn loss(math: Math, p: &params::Loss) -> Launch {
    let grid = [rows(p.images, p.height), 1, 1];
    Launch { module: module(math), kernel: "loss", grid, block: [LOSS_THREADS, 1, 1], shared_bytes: 0 }
}

/// Kernel `loss_total`: the mean of all of them.
pub fn loss_total(math: Math, _: &params::Loss) -> Launch {
    let block = [LOSS_THREADS, 1, 1];
    Launch { module: module(math), kernel: "loss_total", grid: [1; 3], block, shared_bytes: 0 }
}

/// A launch with a block, or several, for each row of LR pixels.
fn along(kernel: &'static str, math: Math, p: &params::Ends, threads: u32) -> Launch {
    let threads = threads.max(1);
    let block = THREADS.min(threads.next_multiple_of(WARP));
    Launch {
        module: module(math),
        kernel,
        grid: [rows(p.images, p.height), threads.div_ceil(block), 1],
        block: [block, 1, 1],
        shared_bytes: 0,
    }
}
