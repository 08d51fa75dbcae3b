//! Which algorithm computes a convolution: a cost model in multiply-adds.

use super::program::Algorithm;
use crate::engine::cpu::BLOCK;
use crate::engine::cpu::geometry::Direction;
use crate::engine::cpu::winograd::{F4x4, Variant};
use crate::graph::Conv2d;

/// Multiply-adds that a tile's transforms take as long as, a pair of channels (one in, one out counted together).
const TRANSFORM: usize = 400;

/// The algorithm for a convolution with output `[height, width]`.
pub(super) fn choose(conv: &Conv2d, direction: Direction, [height, width]: [usize; 2]) -> Algorithm {
    if conv.groups > 1 {
        return Algorithm::Grouped;
    }
    if !conv.is_plain_same() {
        return Algorithm::Direct;
    }
    if conv.kernel == 1 {
        return Algorithm::Pointwise;
    }
    if conv.kernel != 3 {
        return Algorithm::Direct;
    }
    let (inputs, outputs) = match direction {
        Direction::Forward => (conv.in_channels, conv.out_channels),
        Direction::InputGradient => (conv.out_channels, conv.in_channels),
    };
    let outputs = outputs.next_multiple_of(BLOCK);
    let tiles = height.div_ceil(F4x4::TILE) * width.div_ceil(F4x4::TILE);
    let winograd =
        tiles * (F4x4::POINTS * inputs * outputs + TRANSFORM * (inputs.next_multiple_of(BLOCK) + outputs));
    let direct = height * width * 9 * inputs * outputs;
    if winograd < direct { Algorithm::Winograd4 } else { Algorithm::Direct }
}
/// The algorithm for the weight gradient.
pub(super) fn choose_gradient(conv: &Conv2d, size: [usize; 2]) -> Algorithm {
    choose(conv, Direction::Forward, size)
}
