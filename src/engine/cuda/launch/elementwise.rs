//! Launches of the kernels that go value by value.

use super::Launch;
use crate::engine::cuda::{Math, params};

/// Threads of a block, where a block is not a row of pixels.
pub(super) const THREADS: u32 = 256;
/// The most threads that share the channels of a pixel.
const ACROSS: u32 = 64;
/// Channels of a vector.
const VECTOR: u32 = 8;

/// The module whose values are stored as a kind of mathematics stores them.
pub(super) fn module(math: Math) -> &'static str {
    match math {
        Math::F32 | Math::Tf32 => "elementwise.f32",
        Math::F16 => "elementwise.f16",
        Math::Bf16 => "elementwise.bf16",
    }
}

/// Whether all addresses, of which 0 stands for none, are ones where vectors may lie.
pub(super) fn aligned(math: Math, addresses: impl IntoIterator<Item = u64>) -> bool {
    let vector_bytes = u64::from(VECTOR) * math.format().bytes() as u64;
    addresses.into_iter().all(|address| address % vector_bytes == 0)
}

/// Threads that share the channels of a pixel, and threads that take pixels. The kernels take any such numbers; these leave no thread without channels.
pub(super) fn across(channels: i32, vectors: bool) -> (u32, u32) {
    let runs = if vectors { channels.unsigned_abs().div_ceil(VECTOR) } else { channels.unsigned_abs() };
    let across = runs.clamp(1, ACROSS);
    (across, THREADS / across)
}

/// Kernel `sum`: the sum of up to four inputs, zero of none.
pub fn sum(math: Math, p: &params::Elementwise) -> Launch {
    launch("sum", math, p)
}

/// Kernel `product`.
pub fn product(math: Math, p: &params::Elementwise) -> Launch {
    launch("product", math, p)
}

/// Kernel `sigmoid`.
pub fn sigmoid(math: Math, p: &params::Elementwise) -> Launch {
    launch("sigmoid", math, p)
}

/// Kernel `sigmoid_gradient`: of the inputs dy and y.
pub fn sigmoid_gradient(math: Math, p: &params::Elementwise) -> Launch {
    launch("sigmoid_gradient", math, p)
}

fn launch(kernel: &'static str, math: Math, p: &params::Elementwise) -> Launch {
    let inputs = p.inputs.iter().take(p.input_count.unsigned_abs() as usize);
    let operands = [p.target, p.part.before.address, p.part.after.address, p.part.mask.address];
    let vectors = p.part.written % VECTOR as i32 == 0
        && aligned(Math::F32, [p.bias])
        && aligned(math, operands.into_iter().chain(inputs.map(|input| input.address)));
    let (across, pixels) = across(p.part.written, vectors);
    let blocks = p.pixels.div_ceil(u64::from(pixels)).max(1);
    Launch {
        module: module(math),
        kernel,
        grid: [u32::try_from(blocks).unwrap_or(u32::MAX), 1, 1],
        block: [across, pixels, 1],
        shared_bytes: 0,
    }
}
