//! Convolution by its definition, for every kernel size, stride and padding: matrix products over rows of pixels, a tap at a time.
//!
//! It is the general case, and the exact one: nothing but the sums' order separates it from the definition. The same kernel computes the input
//! gradient in gather form: each pixel of the input sums over the taps that reach it, so that pieces never write to one pixel together. With stride 1
//! that is the convolution with turned kernels and exchanged channels; with a greater stride, pixels that are a stride apart share their taps.
//!
//! Taps outside the image read zeros. A pixel's sum runs over rows, columns, then channels, in one accumulator: neither the tile a pixel is in nor the
//! piece changes a bit.

use super::BLOCK;
use super::epilogue::finish_tile;
use super::gemm::{for_row_tiles, load_block, multiply, multiply_rows};
use super::geometry::{Direction, Geometry};
use super::pointwise::Rows;
use super::simd::{Kernel, Simd};
use super::view::{Epilogue, Source, Target, View};
use crate::graph::Conv2d;

/// What is read where a tap is outside the image; wider values are read in several goes.
static ZEROS: [f32; 256] = [0.0; 256];

/// Channels that one group reads, and channels that all groups write.
fn reads_and_writes(conv: &Conv2d, direction: Direction) -> (usize, usize) {
    let groups = conv.groups.max(1);
    match direction {
        Direction::Forward => (conv.in_channels / groups, conv.out_channels),
        Direction::InputGradient => (conv.out_channels / groups, conv.in_channels),
    }
}

/// Floats of packed weights: `[block of written channels][ky][kx][read channel of the group][BLOCK]`.
pub fn packed_len(conv: &Conv2d, direction: Direction) -> usize {
    let (reads, writes) = reads_and_writes(conv, direction);
    writes.div_ceil(BLOCK) * BLOCK * conv.kernel * conv.kernel * reads
}

/// Packs OIHW weights for [`Direct`] and [`super::grouped::Grouped`]: as many blocks of written channels as `packed` has room for, from `first_block` on.
pub fn pack(conv: &Conv2d, direction: Direction, weights: &[f32], first_block: usize, packed: &mut [f32]) {
    let taps = conv.kernel * conv.kernel;
    let (reads, writes) = reads_and_writes(conv, direction);
    let group_inputs = conv.in_channels / conv.groups.max(1);
    if reads == 0 || taps == 0 || group_inputs == 0 {
        return;
    }
    for (index, lanes) in packed.chunks_exact_mut(BLOCK).enumerate() {
        let (read, tap) = (index % reads, index / reads % taps);
        let block = first_block + index / (reads * taps);
        let first = block * BLOCK;
        // Input channels count up inside their group, then go on with the next.
        let (mut group, mut input) = (first / group_inputs, first % group_inputs);
        for (lane, value) in lanes.iter_mut().enumerate() {
            let kernel = match direction {
                Direction::Forward => (first + lane) * reads + read,
                Direction::InputGradient => (group * reads + read) * group_inputs + input,
            };
            *value = match first + lane < writes {
                true => weights.get(kernel * taps + tap).copied().unwrap_or(0.0),
                false => 0.0,
            };
            input += 1;
            if input == group_inputs {
                (group, input) = (group + 1, 0);
            }
        }
    }
}

/// One piece of a convolution without groups, or of its input gradient.
pub struct Direct<'a> {
    /// The convolution's extents: those of the forward direction also for the gradient.
    pub geometry: Geometry,
    /// Which of the two.
    pub direction: Direction,
    /// What is read.
    pub sources: &'a [Source],
    /// Where results go.
    pub targets: &'a [Target],
    /// Packed weights, from [`pack`] for the same direction.
    pub weights: *const f32,
    /// One value per written channel, padded to whole blocks, or null.
    pub bias: *const f32,
    /// Which rows of what is written.
    pub piece: Rows,
}

impl Kernel for Direct<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        let (_, width) = self.geometry.written(self.direction);
        let inputs: usize = self.sources.iter().map(|source| source.channels).sum();
        let (phases, _) = self.geometry.steps(self.direction);
        for y in self.piece.rows.0..self.piece.rows.1 {
            for phase in 0..phases.min(width) {
                let mut first = 0;
                for target in self.targets {
                    let thinned = thin_target(target, phase, phases);
                    let mut channel = 0;
                    while channel < target.channels {
                        // SAFETY: the pixels exist in every view; weights and bias are as long as `packed_len` says and padded.
                        unsafe {
                            let weights = self.weights.add((first + channel) * self.geometry.taps() * inputs);
                            let bias = match self.bias.is_null() {
                                true => S::block(S::splat(0.0)),
                                false => load_block::<S>(self.bias.add(first + channel)),
                            };
                            for_row_tiles!(S, (width - phase).div_ceil(phases), |start, ROWS| {
                                let x = phase + start * phases;
                                let mut sums = [bias; ROWS];
                                self.add_taps::<S, ROWS>(&mut sums, (y, x), inputs, weights);
                                finish_tile::<S, ROWS>(
                                    &thinned,
                                    (self.piece.image, y, start),
                                    channel,
                                    &sums,
                                );
                            });
                        }
                        channel += BLOCK;
                    }
                    first += target.channels;
                }
            }
        }
    }
}

impl Direct<'_> {
    /// Adds all taps to the sums of `R` pixels, the first at row `y` and column `x`.
    ///
    /// # Safety
    /// The instruction set is enabled; the views hold the whole image; `weights` is one block of [`pack`]'s result.
    #[inline(always)]
    unsafe fn add_taps<S: Simd, const R: usize>(
        &self,
        sums: &mut [S::Block; R],
        (y, x): (usize, usize),
        inputs: usize,
        weights: *const f32,
    ) {
        let Geometry { kernel, .. } = self.geometry;
        let (height, width) = self.geometry.read(self.direction);
        let (_, step) = self.geometry.steps(self.direction);
        let image = self.piece.image;
        for ky in 0..kernel {
            let Some(row) = self.geometry.reach_inside(self.direction, y, ky, height) else { continue };
            for kx in 0..kernel {
                let Some(left) = self.geometry.reach(self.direction, x, kx) else { continue };
                let inside = left >= 0 && left as usize + (R - 1) * step < width;
                // SAFETY: a pixel is read only if it is inside the image, and the weights are as long as `packed_len` says.
                unsafe {
                    let mut b = weights.add((ky * kernel + kx) * inputs * BLOCK);
                    for source in self.sources {
                        if inside {
                            let a = source.view.at(image, row, left as usize);
                            multiply::<S, R>(sums, a, step * source.view.pixel, source.channels, b);
                        } else {
                            let line = source.view.at(image, row, 0);
                            let mut done = 0;
                            while done < source.channels {
                                let count = ZEROS.len().min(source.channels - done);
                                let mut rows = [ZEROS.as_ptr(); R];
                                for (r, pixel) in rows.iter_mut().enumerate() {
                                    let column = left + (r * step) as isize;
                                    if column >= 0 && (column as usize) < width {
                                        *pixel = line.add(column as usize * source.view.pixel + done);
                                    }
                                }
                                multiply_rows::<S, R>(sums, &rows, count, b.add(done * BLOCK));
                                done += count;
                            }
                        }
                        b = b.add(source.channels * BLOCK);
                    }
                }
            }
        }
    }
}

/// Every `step`-th pixel of a view's rows, from column `first` on.
fn thin(view: View, first: usize, step: usize) -> View {
    View { base: view.base.wrapping_add(first * view.pixel), pixel: view.pixel * step, ..view }
}

/// [`thin`] for all views of a target.
pub(super) fn thin_target(target: &Target, first: usize, step: usize) -> Target {
    let Epilogue { before, activation, after, mask } = target.epilogue;
    Target {
        view: thin(target.view, first, step),
        channels: target.channels,
        epilogue: Epilogue {
            before: before.map(|view| thin(view, first, step)),
            activation,
            after: after.map(|view| thin(view, first, step)),
            mask: mask.map(|(view, slope)| (thin(view, first, step), slope)),
        },
    }
}
