//! Grouped and depthwise convolution, and their input gradients.
//!
//! Lanes are the written channels. In a depthwise convolution each lane reads its own channel, so that a vector is read as it lies; with other groups
//! the lanes' inputs are gathered one by one, which is several times slower than [`super::direct`] but needs no products with zero.

use super::BLOCK;
use super::direct::thin_target;
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
        let (_, width) = self.geometry.written(self.direction);
        let (phases, _) = self.geometry.steps(self.direction);
        let channels = (self.source.channels, self.target.channels);
        let reads = self.source.channels / self.groups;
        for y in self.piece.rows.0..self.piece.rows.1 {
            for channel in (0..self.target.channels).step_by(S::LANES) {
                let lanes = Lanes::new(channel, channels, self.groups);
                let block = channel / BLOCK * BLOCK * self.geometry.taps() * reads + channel % BLOCK;
                for phase in 0..phases.min(width) {
                    let target = thin_target(&self.target, phase, phases);
                    let columns = (width - phase).div_ceil(phases);
                    for start in (0..columns).step_by(RUN) {
                        let (x, count) = (phase + start * phases, RUN.min(columns - start));
                        // SAFETY: the pixels exist in every view; weights and bias are as long as `packed_len` says and padded.
                        unsafe {
                            let mut sums = match self.bias.is_null() {
                                true => [S::splat(0.0); RUN],
                                false => [S::load(self.bias.add(channel)); RUN],
                            };
                            let weights = self.weights.add(block);
                            self.add_taps::<S>(&mut sums, (y, x, count), (channel, &lanes), weights);
                            let run = Run::at(&target, self.piece.image, y, start);
                            run.finish::<S>(channel, sums, count);
                        }
                    }
                }
            }
        }
    }
}

impl Grouped {
    /// Adds all taps to the sums of `count` pixels, the first at row `y` and column `x`.
    ///
    /// # Safety
    /// The instruction set is enabled; the view holds the whole image; `weights` begins at the vector's lanes in its block.
    #[inline(always)]
    unsafe fn add_taps<S: Simd>(
        &self,
        sums: &mut [S::V; RUN],
        (y, x, count): (usize, usize, usize),
        (channel, lanes): (usize, &Lanes),
        weights: *const f32,
    ) {
        let (height, width) = self.geometry.read(self.direction);
        let (_, step) = self.geometry.steps(self.direction);
        let (kernel, reads) = (self.geometry.kernel, self.source.channels / self.groups);
        let pixel = self.source.view.pixel;
        for ky in 0..kernel {
            let Some(row) = self.geometry.reach_inside(self.direction, y, ky, height) else { continue };
            for kx in 0..kernel {
                let Some(left) = self.geometry.reach(self.direction, x, kx) else { continue };
                let inside = count == RUN && left >= 0 && left as usize + (RUN - 1) * step < width;
                // SAFETY: a pixel is read only if it is inside the image.
                unsafe {
                    let line = self.source.view.at(self.piece.image, row, 0).cast_const();
                    for read in 0..reads {
                        let weight = S::load(weights.add(((ky * kernel + kx) * reads + read) * BLOCK));
                        if inside {
                            let from = line.add(left as usize * pixel);
                            for (r, sum) in sums.iter_mut().enumerate() {
                                let value = lanes.load::<S>(from.add(r * step * pixel), channel, read);
                                *sum = S::fma(value, weight, *sum);
                            }
                            continue;
                        }
                        for (r, sum) in sums.iter_mut().enumerate().take(count) {
                            let column = left + (r * step) as isize;
                            if column >= 0 && (column as usize) < width {
                                let from = line.add(column as usize * pixel);
                                *sum = S::fma(lanes.load::<S>(from, channel, read), weight, *sum);
                            }
                        }
                    }
                }
            }
        }
    }
}
