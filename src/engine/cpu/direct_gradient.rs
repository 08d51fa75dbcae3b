//! The gradient of any convolution with respect to its weights and bias.
//!
//! Input gradients are [`super::direct`]'s and [`super::grouped`]'s other direction. Here each piece sums over its own rows into memory of its own, and
//! [`Finish`] adds the pieces up in their order: which thread ran a piece does not matter, how the image was cut into pieces does (in the last bits),
//! so a plan must not cut by the number of threads.
//!
//! f32 sums over thousands of pixels would lose digits. Therefore a row is summed in registers, rows are added to the piece's sums, and pieces are
//! added in f64.

use super::BLOCK;
use super::direct;
use super::gemm::{for_row_tiles, load_block, store_block, vectors};
use super::geometry::{Direction, Geometry};
use super::grouped::Lanes;
use super::pointwise::Rows;
use super::simd::{Kernel, Simd};
use super::view::Source;
use crate::graph::Conv2d;

/// Floats of one piece's sums: laid out as [`direct::pack`]'s forward weights, then the bias, padded to whole blocks.
pub fn sums_len(conv: &Conv2d) -> usize {
    direct::packed_len(conv, Direction::Forward) + conv.out_channels.div_ceil(BLOCK) * BLOCK
}

/// One piece of the weight and bias gradient of a convolution without groups.
pub struct WeightGradient<'a> {
    /// The convolution's extents.
    pub geometry: Geometry,
    /// The convolution's input; the channels add up to the input channels.
    pub sources: &'a [Source],
    /// The gradient with respect to its output; the channels add up to the output channels, and are a multiple of [`BLOCK`] in all but the last.
    pub gradients: &'a [Source],
    /// Where the piece's sums go: [`sums_len`] floats, whatever they hold before.
    pub sums: *mut f32,
    /// Which rows of the output.
    pub piece: Rows,
}

impl Kernel for WeightGradient<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        let inputs: usize = self.sources.iter().map(|source| source.channels).sum();
        let outputs: usize = self.gradients.iter().map(|source| source.channels).sum();
        let blocks = outputs.div_ceil(BLOCK);
        let Geometry { kernel, .. } = self.geometry;
        let taps = self.geometry.taps();
        let bias = blocks * taps * inputs * BLOCK;
        // SAFETY: the sums are as long as `sums_len` says, and the pixels exist in every view.
        unsafe {
            self.sums.write_bytes(0, bias + blocks * BLOCK);
            for y in self.piece.rows.0..self.piece.rows.1 {
                let mut first = 0;
                for gradient in self.gradients {
                    for channel in (0..gradient.channels).step_by(BLOCK) {
                        let line = gradient.view.at(self.piece.image, y, 0).add(channel).cast_const();
                        let block = (first + channel) / BLOCK;
                        add_row::<S>(
                            line,
                            gradient.view.pixel,
                            self.geometry.output().1,
                            self.sums.add(bias + block * BLOCK),
                        );
                        for tap in 0..taps {
                            let to = self.sums.add((block * taps + tap) * inputs * BLOCK);
                            self.add_tap::<S>(y, (tap / kernel, tap % kernel), line, gradient.view.pixel, to);
                        }
                    }
                    first += gradient.channels;
                }
            }
        }
    }
}

impl WeightGradient<'_> {
    /// Adds one row's products for one tap and one block of output channels, whose gradients of that row begin at `line`, to `[input][BLOCK]` sums.
    ///
    /// # Safety
    /// The instruction set is enabled; the row exists in every view, and `sums` has room for all input channels.
    #[inline(always)]
    unsafe fn add_tap<S: Simd>(
        &self,
        y: usize,
        (ky, kx): (usize, usize),
        line: *const f32,
        pixel: usize,
        mut sums: *mut f32,
    ) {
        let Geometry { stride, padding, size: (height, width), .. } = self.geometry;
        let Some(row) = self.geometry.reach_inside(Direction::Forward, y, ky, height) else { return };
        let (start, end) = self.geometry.outputs_inside(kx, width, self.geometry.output().1);
        if start == end {
            return;
        }
        for source in self.sources {
            // SAFETY: `outputs_inside` keeps every column inside the image.
            unsafe {
                let from = source.view.at(self.piece.image, row, start * stride + kx - padding);
                let step = stride * source.view.pixel;
                for_row_tiles!(S, source.channels, |channel, ROWS| {
                    let mut tile = [S::block(S::splat(0.0)); ROWS];
                    for x in 0..end - start {
                        let columns = load_block::<S>(line.add((start + x) * pixel));
                        let values = from.add(x * step + channel);
                        for (r, sum) in tile.iter_mut().enumerate() {
                            let value = S::splat(*values.add(r));
                            for v in 0..vectors::<S>() {
                                sum[v] = S::fma(value, columns[v], sum[v]);
                            }
                        }
                    }
                    for (r, sum) in tile.into_iter().enumerate() {
                        add_block::<S>(sums.add((channel + r) * BLOCK), sum);
                    }
                });
                sums = sums.add(source.channels * BLOCK);
            }
        }
    }
}

/// One piece of the weight and bias gradient of a grouped convolution.
pub struct GroupedWeightGradient {
    /// The convolution's extents.
    pub geometry: Geometry,
    /// Channel groups that do not mix; divides the channels of source and gradient.
    pub groups: usize,
    /// The convolution's input.
    pub source: Source,
    /// The gradient with respect to its output.
    pub gradient: Source,
    /// Where the piece's sums go: [`sums_len`] floats, whatever they hold before.
    pub sums: *mut f32,
    /// Which rows of the output.
    pub piece: Rows,
}

impl Kernel for GroupedWeightGradient {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        let Geometry { kernel, stride, padding, size: (height, width) } = self.geometry;
        let columns = self.geometry.output().1;
        let taps = self.geometry.taps();
        let channels = (self.source.channels, self.gradient.channels);
        let inputs = self.source.channels / self.groups;
        let blocks = self.gradient.channels.div_ceil(BLOCK);
        let (image, bias) = (self.piece.image, blocks * taps * inputs * BLOCK);
        // SAFETY: the sums are as long as `sums_len` says, and the pixels exist in every view.
        unsafe {
            self.sums.write_bytes(0, bias + blocks * BLOCK);
            for y in self.piece.rows.0..self.piece.rows.1 {
                let line = self.gradient.view.at(image, y, 0).cast_const();
                let pixel = self.gradient.view.pixel;
                for block in 0..blocks {
                    let to = self.sums.add(bias + block * BLOCK);
                    add_row::<S>(line.add(block * BLOCK), pixel, columns, to);
                }
                for channel in (0..self.gradient.channels).step_by(S::LANES) {
                    let lanes = Lanes::new(channel, channels, self.groups);
                    for tap in 0..taps {
                        let (ky, kx) = (tap / kernel, tap % kernel);
                        let reach = self.geometry.reach_inside(Direction::Forward, y, ky, height);
                        let Some(row) = reach else { continue };
                        let (start, end) = self.geometry.outputs_inside(kx, width, columns);
                        for input in 0..inputs {
                            let mut sum = S::splat(0.0);
                            for x in start..end {
                                let from = self.source.view.at(image, row, x * stride + kx - padding);
                                let value = lanes.load::<S>(from, channel, input);
                                sum = S::fma(value, S::load(line.add(x * pixel + channel)), sum);
                            }
                            let at = (channel / BLOCK * taps + tap) * inputs + input;
                            let to = self.sums.add(at * BLOCK + channel % BLOCK);
                            S::store(to, S::add(S::load(to), sum));
                        }
                    }
                }
            }
        }
    }
}

/// Adds the sum of a row of pixels to one block.
///
/// # Safety
/// The instruction set is enabled; the pixels have a whole block, and so has `to`.
#[inline(always)]
unsafe fn add_row<S: Simd>(line: *const f32, pixel: usize, columns: usize, to: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sum = S::block(S::splat(0.0));
        for x in 0..columns {
            let values = load_block::<S>(line.add(x * pixel));
            for v in 0..vectors::<S>() {
                sum[v] = S::add(sum[v], values[v]);
            }
        }
        add_block::<S>(to, sum);
    }
}

/// Adds one block of values to memory.
///
/// # Safety
/// The instruction set is enabled, and [`BLOCK`] values are at `to`.
#[inline(always)]
unsafe fn add_block<S: Simd>(to: *mut f32, block: S::Block) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sum = load_block::<S>(to);
        for v in 0..vectors::<S>() {
            sum[v] = S::add(sum[v], block[v]);
        }
        store_block::<S>(to, sum);
    }
}

/// Adds up the pieces of a weight and bias gradient, for a range of output channels.
pub struct Finish<'a> {
    /// The convolution.
    pub conv: &'a Conv2d,
    /// The first piece's sums.
    pub sums: *const f32,
    /// Floats from one piece's sums to the next.
    pub distance: usize,
    /// Number of pieces.
    pub pieces: usize,
    /// First and one past the last output channel.
    pub outputs: (usize, usize),
    /// Where the weight gradient goes: OIHW, the whole of it.
    pub weight: *mut f32,
    /// Where the bias gradient goes, or null.
    pub bias: *mut f32,
}

impl Finish<'_> {
    /// The sums over all pieces of one block of values.
    ///
    /// # Safety
    /// All pieces have the block.
    #[inline(always)]
    unsafe fn totals(&self, at: usize) -> [f32; BLOCK] {
        let mut totals = [0.0f64; BLOCK];
        for piece in 0..self.pieces {
            // SAFETY: the caller's promise.
            let values = unsafe { *self.sums.add(piece * self.distance + at).cast::<[f32; BLOCK]>() };
            for (total, value) in totals.iter_mut().zip(values) {
                *total += f64::from(value);
            }
        }
        totals.map(|total| total as f32)
    }
}

impl Kernel for Finish<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        let inputs = self.conv.in_channels / self.conv.groups;
        let taps = self.conv.kernel * self.conv.kernel;
        let bias = direct::packed_len(self.conv, Direction::Forward);
        let (mut output, end) = self.outputs;
        while output < end {
            let (block, lane) = (output / BLOCK, output % BLOCK);
            let count = (BLOCK - lane).min(end - output);
            // SAFETY: positions are those of `sums_len` and of the weight's shape.
            unsafe {
                for input in 0..inputs {
                    for tap in 0..taps {
                        let totals = self.totals(((block * taps + tap) * inputs + input) * BLOCK);
                        let to = self.weight.add((output * inputs + input) * taps + tap);
                        for (i, total) in totals.into_iter().skip(lane).take(count).enumerate() {
                            *to.add(i * inputs * taps) = total;
                        }
                    }
                }
                if !self.bias.is_null() {
                    let totals = self.totals(bias + block * BLOCK);
                    let to = self.bias.add(output);
                    for (i, total) in totals.into_iter().skip(lane).take(count).enumerate() {
                        *to.add(i) = total;
                    }
                }
            }
            output += count;
        }
    }
}
