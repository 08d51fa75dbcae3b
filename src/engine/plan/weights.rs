//! Weights as kernels want them (packed for an algorithm and a direction, followed by the padded bias), and sums of gradients as kernels leave them.

use std::marker::PhantomData;

use super::memory::pixel_floats;
use super::program::{Algorithm, Operation, Step};
use super::tasks::gradient_pieces;
use crate::engine::cpu::BLOCK;
use crate::engine::cpu::geometry::Direction;
use crate::engine::cpu::simd::{Isa, run};
use crate::engine::cpu::winograd::{F2x2, F4x4, F4x6, Pack, Variant};
use crate::engine::cpu::{
    direct, direct_gradient, pointwise, pointwise_gradient, winograd, winograd_gradient,
};
use crate::graph::Conv2d;

/// Channels that a convolution reads and writes in a direction.
pub(super) fn channels(conv: &Conv2d, direction: Direction) -> (usize, usize) {
    match direction {
        Direction::Forward => (conv.in_channels, conv.out_channels),
        Direction::InputGradient => (conv.out_channels, conv.in_channels),
    }
}

/// Floats of the packed weights without the bias.
pub(super) fn packed_floats(conv: &Conv2d, direction: Direction, algorithm: Algorithm) -> usize {
    let (inputs, outputs) = channels(conv, direction);
    match algorithm {
        Algorithm::Winograd4x6 => winograd::packed_len::<F4x6>(inputs, outputs),
        Algorithm::Winograd4x4 => winograd::packed_len::<F4x4>(inputs, outputs),
        Algorithm::Winograd2x2 => winograd::packed_len::<F2x2>(inputs, outputs),
        Algorithm::Pointwise => pointwise::packed_len(inputs, outputs),
        Algorithm::Direct | Algorithm::Grouped => direct::packed_len(conv, direction),
    }
}

/// Floats of the padded bias; the input gradient has none.
pub(super) fn bias_floats(conv: &Conv2d, direction: Direction) -> usize {
    match direction {
        Direction::Forward if conv.bias => pixel_floats(conv.out_channels),
        _ => 0,
    }
}

/// Blocks of channels that a convolution writes in a direction: its weights can be packed block by block.
pub(super) fn blocks(conv: &Conv2d, direction: Direction) -> usize {
    channels(conv, direction).1.div_ceil(BLOCK)
}

/// Packs the weights (OIHW) of some blocks of written channels, and with the first block the whole bias.
///
/// # Safety
/// `isa` is available; `packed` has room for [`packed_floats`] and [`bias_floats`], and nobody else uses what belongs to these blocks; the weight has
/// the convolution's shape.
pub(super) unsafe fn pack(
    isa: Isa,
    (conv, direction, algorithm): (&Conv2d, Direction, Algorithm),
    weight: &[f32],
    bias: &[f32],
    blocks: (usize, usize),
    packed: *mut f32,
) {
    debug_assert_eq!(weight.len(), conv.weight_shape().iter().product::<usize>());
    let (inputs, outputs) = channels(conv, direction);
    let turned = direction == Direction::InputGradient;
    let all = packed_floats(conv, direction, algorithm);
    // SAFETY: the caller's promise. Where blocks lie one after another, each has as many floats as any other.
    unsafe {
        let part = || {
            let block = all / self::blocks(conv, direction).max(1);
            std::slice::from_raw_parts_mut(packed.add(blocks.0 * block), (blocks.1 - blocks.0) * block)
        };
        match algorithm {
            Algorithm::Winograd4x6 => {
                pack_winograd::<F4x6>(isa, weight, (inputs, outputs), turned, blocks, packed)
            }
            Algorithm::Winograd4x4 => {
                pack_winograd::<F4x4>(isa, weight, (inputs, outputs), turned, blocks, packed)
            }
            Algorithm::Winograd2x2 => {
                pack_winograd::<F2x2>(isa, weight, (inputs, outputs), turned, blocks, packed)
            }
            Algorithm::Pointwise => pointwise::pack(weight, (inputs, outputs), turned, blocks.0, part()),
            Algorithm::Direct | Algorithm::Grouped => direct::pack(conv, direction, weight, blocks.0, part()),
        }
        if blocks.0 == 0 {
            let padded = std::slice::from_raw_parts_mut(packed.add(all), bias_floats(conv, direction));
            for (index, value) in padded.iter_mut().enumerate() {
                *value = bias.get(index).copied().unwrap_or(0.0);
            }
        }
    }
}

/// # Safety
/// As for [`pack`].
unsafe fn pack_winograd<V: Variant>(
    isa: Isa,
    weight: &[f32],
    (in_channels, out_channels): (usize, usize),
    flipped: bool,
    blocks: (usize, usize),
    packed: *mut f32,
) {
    let (weights, variant) = (weight.as_ptr(), PhantomData);
    let mut kernel = Pack::<V> { weights, in_channels, out_channels, flipped, blocks, packed, variant };
    // SAFETY: the caller's promise.
    unsafe { run(isa, &mut kernel) };
}

/// Floats of one piece's private sums of a weight gradient.
pub(super) fn sums_floats(conv: &Conv2d, algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::Winograd4x6 | Algorithm::Winograd4x4 | Algorithm::Winograd2x2 => {
            winograd_gradient::sums_len(conv.in_channels, conv.out_channels)
        }
        Algorithm::Pointwise => pointwise_gradient::sums_len(conv.in_channels, conv.out_channels),
        Algorithm::Direct | Algorithm::Grouped => direct_gradient::sums_len(conv),
    }
}

/// Floats that only a step and the one after it use; `size` is the height and width of the gradient of a convolution's output.
pub(super) fn private_floats(step: &Step, batch: usize, size: (usize, usize)) -> usize {
    match &step.operation {
        Operation::Pack { conv, direction, algorithm, .. } => {
            packed_floats(conv, *direction, *algorithm) + bias_floats(conv, *direction)
        }
        Operation::WeightGradient { conv, algorithm, .. } => {
            gradient_pieces(*algorithm, batch, size).len() * sums_floats(conv, *algorithm)
        }
        _ => 0,
    }
}
