//! How what a library's convolutions need is started.

use super::Launch;
use super::elementwise::THREADS;
use crate::engine::cuda::Math;
use crate::engine::cuda::params::{Filter, WeightGradient};

/// Channels of a block of `bias_gradient`.
const BIAS_CHANNELS: u32 = 32;

/// The module whose values are stored as a kind of mathematics stores them.
fn module(math: Math) -> &'static str {
    match math {
        Math::F32 | Math::Tf32 => "library.f32",
        Math::F16 => "library.f16",
        Math::Bf16 => "library.bf16",
    }
}

/// Kernel `pack_filter`: weights and bias as a library wants them.
pub fn pack_filter(math: Math, p: &Filter) -> Launch {
    filter("pack_filter", math, p)
}

/// Kernel `unpack_filter`: a library's gradient of the weights in our order.
pub fn unpack_filter(math: Math, p: &Filter) -> Launch {
    filter("unpack_filter", math, p)
}

fn filter(kernel: &'static str, math: Math, p: &Filter) -> Launch {
    let [outputs, inputs, side] = [p.padded_outputs, p.padded_inputs, p.kernel].map(i32::unsigned_abs);
    let values = outputs.saturating_mul(inputs).saturating_mul(side).saturating_mul(side);
    let blocks = values.max(outputs).div_ceil(THREADS).max(1);
    Launch { module: module(math), kernel, grid: [blocks, 1, 1], block: [THREADS, 1, 1], shared_bytes: 0 }
}

/// Kernel `bias_gradient`: the sums of dy, part by part.
pub fn bias_gradient(math: Math, p: &WeightGradient) -> Launch {
    let columns = p.out_channels.unsigned_abs().div_ceil(BIAS_CHANNELS);
    Launch {
        module: module(math),
        kernel: "bias_gradient",
        grid: [p.splits.unsigned_abs(), columns, 1],
        block: [THREADS, 1, 1],
        shared_bytes: 0,
    }
}
