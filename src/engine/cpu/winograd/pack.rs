//! Weights in the Winograd domain: G g Gᵀ for every pair of channels.

use std::marker::PhantomData;

use super::filter::Filter;
use super::{Variant, padded};
use crate::engine::cpu::BLOCK;
use crate::engine::cpu::gemm::vectors;
use crate::engine::cpu::simd::{Kernel, Simd};

/// Input channels whose taps are gathered together: taps are then read a cache line at a time, and long enough before they are used.
const GATHERED: usize = 4;

/// Floats between the weights of two points: padded for the same reason as [`super::plane`].
pub(super) const fn point_len(in_channels: usize, out_channels: usize) -> usize {
    padded(out_channels) * in_channels + BLOCK
}

/// Floats of transformed weights: `[point][block of output channels][input channel][BLOCK]`.
pub const fn packed_len<V: Variant>(in_channels: usize, out_channels: usize) -> usize {
    V::POINTS * point_len(in_channels, out_channels)
}

/// Transforms weights for some blocks of output channels.
pub struct Pack<V> {
    /// OIHW weights of the convolution, and with `flipped` those of the convolution whose input gradient will run.
    pub weights: *const f32,
    /// Input channels of what will run.
    pub in_channels: usize,
    /// Output channels of what will run.
    pub out_channels: usize,
    /// Whether that is an input gradient: input and output channels are swapped then, and taps rotated by 180°.
    pub flipped: bool,
    /// First and one past the last block of [`BLOCK`] output channels.
    pub blocks: (usize, usize),
    /// Where all blocks go: [`packed_len`] floats.
    pub packed: *mut f32,
    /// The algorithm that will run.
    pub variant: PhantomData<V>,
}

impl<V: Variant> Kernel for Pack<V> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        let point = point_len(self.in_channels, self.out_channels);
        for block in self.blocks.0..self.blocks.1 {
            let lanes = BLOCK.min(self.out_channels - block * BLOCK);
            let mut input = 0;
            while input < self.in_channels {
                let count = GATHERED.min(self.in_channels - input);
                let mut taps = [[[0.0f32; BLOCK]; 9]; GATHERED];
                // SAFETY: weights and packed weights are as long as the channels say, by contract.
                unsafe {
                    for lane in 0..lanes {
                        self.gather(block * BLOCK + lane, input, lane, &mut taps[..count]);
                    }
                    for (i, taps) in taps.iter().enumerate().take(count) {
                        let to = self.packed.add((block * self.in_channels + input + i) * BLOCK);
                        for v in 0..vectors::<S>() {
                            transform::<V, S>(taps, v * S::LANES, to.add(v * S::LANES), point);
                        }
                    }
                }
                input += count;
            }
        }
    }
}

impl<V: Variant> Pack<V> {
    /// The taps between an output channel and adjacent input channels.
    ///
    /// # Safety
    /// The weights have these channels.
    #[inline(always)]
    unsafe fn gather(&self, output: usize, input: usize, lane: usize, taps: &mut [[[f32; BLOCK]; 9]]) {
        for (i, taps) in taps.iter_mut().enumerate() {
            // SAFETY: nine values belong to each pair of channels.
            unsafe {
                if self.flipped {
                    let from = self.weights.add(((input + i) * self.out_channels + output) * 9);
                    for (tap, lanes) in taps.iter_mut().enumerate() {
                        lanes[lane] = *from.add(8 - tap);
                    }
                } else {
                    let from = self.weights.add((output * self.in_channels + input + i) * 9);
                    for (tap, lanes) in taps.iter_mut().enumerate() {
                        lanes[lane] = *from.add(tap);
                    }
                }
            }
        }
    }
}

/// One vector of G g Gᵀ, written to all points.
///
/// # Safety
/// The instruction set is enabled; a vector fits between `lane` and the end of the block; there are as many points, `point` floats apart, as the
/// variant has.
#[inline(always)]
unsafe fn transform<V: Variant, S: Simd>(taps: &[[f32; BLOCK]; 9], lane: usize, to: *mut f32, point: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let at = |tap: usize| taps[tap].as_ptr().wrapping_add(lane);
        let [left, middle, right] = [
            V::Down::weight::<S>([S::load(at(0)), S::load(at(3)), S::load(at(6))]),
            V::Down::weight::<S>([S::load(at(1)), S::load(at(4)), S::load(at(7))]),
            V::Down::weight::<S>([S::load(at(2)), S::load(at(5)), S::load(at(8))]),
        ];
        for y in 0..V::Down::PATCH {
            let row = V::Across::weight::<S>([left[y], middle[y], right[y]]);
            for x in 0..V::Across::PATCH {
                S::store(to.add((y * V::Across::PATCH + x) * point), row[x]);
            }
        }
    }
}
