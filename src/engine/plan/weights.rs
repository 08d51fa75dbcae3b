//! Weights as kernels want them (packed for an algorithm and a direction, followed by the padded bias), and sums of gradients as kernels leave them.

use super::memory::pixel_floats;
use super::program::{Algorithm, Operation, Step};
use super::tasks::gradient_pieces;
use crate::engine::cpu::geometry::Direction;
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
        Algorithm::Winograd => winograd::packed_len(inputs, outputs),
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

/// Packs weights (OIHW) and bias.
pub(super) fn pack(
    (conv, direction, algorithm): (&Conv2d, Direction, Algorithm),
    weight: &[f32],
    bias: &[f32],
    packed: &mut [f32],
) {
    let (inputs, outputs) = channels(conv, direction);
    let turned = direction == Direction::InputGradient;
    let (weights, padded) = packed.split_at_mut(packed_floats(conv, direction, algorithm));
    match algorithm {
        Algorithm::Winograd => winograd::pack(weight, inputs, outputs, turned, weights),
        Algorithm::Pointwise => pointwise::pack(weight, inputs, outputs, turned, weights),
        Algorithm::Direct | Algorithm::Grouped => direct::pack(conv, direction, weight, weights),
    }
    for (index, value) in padded.iter_mut().enumerate() {
        *value = bias.get(index).copied().unwrap_or(0.0);
    }
}

/// Floats of one piece's private sums of a weight gradient.
pub(super) fn sums_floats(conv: &Conv2d, algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::Winograd => winograd_gradient::sums_len(conv.in_channels, conv.out_channels),
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
