//! Launches of the kernels between images of different heights and widths: blocks go along rows of what is written.

use super::Launch;
use super::elementwise::{across, aligned, module};
use crate::engine::cuda::{Math, params};

/// Kernel `pixel_shuffle`.
pub fn pixel_shuffle(math: Math, p: &params::Spatial) -> Launch {
    launch("pixel_shuffle", math, p)
}

/// Kernel `pixel_unshuffle`.
pub fn pixel_unshuffle(math: Math, p: &params::Spatial) -> Launch {
    launch("pixel_unshuffle", math, p)
}

/// Kernel `max_pool`.
pub fn max_pool(math: Math, p: &params::Spatial) -> Launch {
    launch("max_pool", math, p)
}

/// Kernel `max_pool_gradient`: of dy and the pool's input.
pub fn max_pool_gradient(math: Math, p: &params::Spatial) -> Launch {
    launch("max_pool_gradient", math, p)
}

/// Kernel `resize_bilinear`.
pub fn resize_bilinear(math: Math, p: &params::Spatial) -> Launch {
    launch("resize_bilinear", math, p)
}

/// Kernel `resize_bilinear_gradient`.
pub fn resize_bilinear_gradient(math: Math, p: &params::Spatial) -> Launch {
    launch("resize_bilinear_gradient", math, p)
}

fn launch(kernel: &'static str, math: Math, p: &params::Spatial) -> Launch {
    let vectors = aligned(math, [p.input.address, p.other.address, p.target]);
    let (across, pixels) = across((p.channels + 7) / 8 * 8, vectors);
    let width = p.width.unsigned_abs().max(1);
    // Rows may be short: a block that is wider than a row only waits.
    let pixels = pixels.min(width.next_power_of_two());
    Launch {
        module: module(math),
        kernel,
        grid: [rows(p.images, p.height), width.div_ceil(pixels), 1],
        block: [across, pixels, 1],
        shared_bytes: 0,
    }
}

/// Rows of a batch of images, at least one.
pub(super) fn rows(images: i32, height: i32) -> u32 {
    images.unsigned_abs().saturating_mul(height.unsigned_abs()).max(1)
}
