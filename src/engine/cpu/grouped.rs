//! Grouped and depthwise convolution, and their input gradients.
//!
//! Lanes are the written channels. In a depthwise convolution each lane reads its own channel, so that a vector is read as it lies; with other groups
//! the lanes' inputs are gathered one by one, which is several times slower than [`super::direct`] but needs no products with zero.

use super::BLOCK;
use super::epilogue::{RUN, Run};
use super::geometry::{Direction, Geometry};
use super::pointwise::Rows;
use super::simd::{Kernel, Simd};
use super::view::{Source, Target};

/// One piece of a grouped convolution, or of its input gradient.
pub struct Grouped {
    /// The convolution's extents: those of the forward direction also for the gradient.
    pub geometry: Geometry,
    /// Which of the two.
    pub direction: Direction,
    /// Channel groups that do not mix; divides the channels of source and target.
    pub groups: usize,
    /// What is read: all its channels in one view.
    pub source: Source,
    /// Where the result goes.
    pub target: Target,
    /// Packed weights, from [`super::direct::pack`] for the same direction.
    pub weights: *const f32,
    /// One value per written channel, padded to whole blocks, or null.
    pub bias: *const f32,
    /// Which rows of what is written.
    pub piece: Rows,
}

/// Which channel each lane of a vector reads first; its group's others follow.
#[derive(Clone, Copy)]
pub(super) struct Lanes {
    first: [usize; BLOCK],
    adjacent: bool,
}

impl Lanes {
    /// For the vector of written channels that begins at `channel`. Lanes past the last channel read channel 0; their results are padding.
    #[inline(always)]
    pub(super) fn new(channel: usize, (reads, writes): (usize, usize), groups: usize) -> Self {
        let (reads, writes) = (reads / groups, writes / groups);
        let mut first = [0; BLOCK];
        for (lane, first) in first.iter_mut().enumerate() {
            let group = (channel + lane) / writes;
            *first = if group < groups { group * reads } else { 0 };
        }
        Self { first, adjacent: reads == 1 && writes == 1 }
    }

    /// What the lanes read of a pixel.
    ///
    /// # Safety
    /// The instruction set is enabled; `pixel` has all read channels, padded; `channel` is the one given to [`Lanes::new`].
    #[inline(always)]
    pub(super) unsafe fn load<S: Simd>(&self, pixel: *const f32, channel: usize, read: usize) -> S::V {
        // SAFETY: every lane reads a channel of the pixel.
        unsafe {
            if self.adjacent {
                return S::load(pixel.add(channel));
            }
            let mut values = [0.0f32; BLOCK];
            for (value, first) in values.iter_mut().zip(&self.first).take(S::LANES) {
                *value = *pixel.add(first + read);
            }
            S::load(values.as_ptr())
        }
    }
}

impl Kernel for Grouped {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        let (height, width) = self.geometry.read(self.direction);
        let (_, columns) = self.geometry.written(self.direction);
        let (kernel, taps) = (self.geometry.kernel, self.geometry.taps());
        let channels = (self.source.channels, self.target.channels);
        let reads = self.source.channels / self.groups;
        for y in self.piece.rows.0..self.piece.rows.1 {
            for channel in (0..self.target.channels).step_by(S::LANES) {
                let lanes = Lanes::new(channel, channels, self.groups);
                // SAFETY: the pixels exist in every view; weights and bias are as long as `packed_len` says and padded.
                unsafe {
                    let bias = match self.bias.is_null() {
                        true => S::splat(0.0),
                        false => S::load(self.bias.add(channel)),
                    };
                    let block = self.weights.add(channel / BLOCK * BLOCK * taps * reads + channel % BLOCK);
                    for x in 0..columns {
                        let mut sum = bias;
                        for ky in 0..kernel {
                            let Some(row) = self.geometry.reach_inside(self.direction, y, ky, height) else {
                                continue;
                            };
                            for kx in 0..kernel {
                                let Some(column) = self.geometry.reach_inside(self.direction, x, kx, width)
                                else {
                                    continue;
                                };
                                let pixel = self.source.view.at(self.piece.image, row, column);
                                let weights = block.add((ky * kernel + kx) * reads * BLOCK);
                                for read in 0..reads {
                                    let value = lanes.load::<S>(pixel, channel, read);
                                    sum = S::fma(value, S::load(weights.add(read * BLOCK)), sum);
                                }
                            }
                        }
                        let mut values = [S::splat(0.0); RUN];
                        values[0] = sum;
                        Run::at(&self.target, self.piece.image, y, x).finish::<S>(channel, values, 1);
                    }
                }
            }
        }
    }
}
