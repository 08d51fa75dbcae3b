//! 1×1 convolution: a matrix product over pixels.

use super::BLOCK;
use super::epilogue::{RUN, finish_tile};
use super::gemm::{load_block, multiply};
use super::simd::{Kernel, Simd};
use super::view::{Source, Target, View};

/// Rows of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Which image of the batch.
    pub image: usize,
    /// First and one past the last row.
    pub rows: (usize, usize),
}

/// Floats of packed weights: `[block of output channels][input channel][BLOCK]`.
pub fn packed_len(in_channels: usize, out_channels: usize) -> usize {
    out_channels.div_ceil(BLOCK) * BLOCK * in_channels
}

/// Packs OI weights: as many blocks of output channels as `packed` has room for, from `first_block` on. With `transposed` they become those of the input
/// gradient; the channels are then those after swapping.
pub fn pack(
    weights: &[f32],
    (in_channels, out_channels): (usize, usize),
    transposed: bool,
    first_block: usize,
    packed: &mut [f32],
) {
    for (index, value) in packed.iter_mut().enumerate() {
        let (lane, input) = (index % BLOCK, index / BLOCK % in_channels);
        let block = first_block + index / (BLOCK * in_channels);
        let output = block * BLOCK + lane;
        let from = if transposed { input * out_channels + output } else { output * in_channels + input };
        *value = if output < out_channels { weights.get(from).copied().unwrap_or(0.0) } else { 0.0 };
    }
}

/// One piece of a 1×1 convolution.
pub struct Pointwise<'a> {
    /// Width in pixels.
    pub width: usize,
    /// What is read.
    pub sources: &'a [Source],
    /// Where results go.
    pub targets: &'a [Target],
    /// Packed weights, from [`pack`].
    pub weights: *const f32,
    /// One value per output channel, padded to whole blocks, or null.
    pub bias: *const f32,
    /// Which rows.
    pub piece: Rows,
}

impl Kernel for Pointwise<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        // Pixels in a register tile: one run, or as many as the registers hold.
        for y in self.piece.rows.0..self.piece.rows.1 {
            let mut x = 0;
            // SAFETY: the row and its pixels exist in every view, by contract.
            unsafe {
                while x + 3 * RUN <= self.width && S::TILE_ROWS >= 3 * RUN {
                    self.pixels::<S, { 3 * RUN }>(y, x);
                    x += 3 * RUN;
                }
                while x < self.width {
                    match self.width - x {
                        1 => self.pixels::<S, 1>(y, x),
                        2 => self.pixels::<S, 2>(y, x),
                        3 => self.pixels::<S, 3>(y, x),
                        _ => self.pixels::<S, RUN>(y, x),
                    }
                    x += RUN.min(self.width - x);
                }
            }
        }
    }
}

impl Pointwise<'_> {
    /// Asks for what the tile after the next one reads and writes: values of several layers, a few channels of each, are no stream that processors would
    /// recognise.
    #[inline(always)]
    fn prefetch<S: Simd, const N: usize>(&self, y: usize, x: usize) {
        const AHEAD: usize = 2;
        let fetch = |view: &View, channels: usize| {
            // SAFETY: the pixel at `x` exists; what follows is no more than an address.
            let first = unsafe { view.at(self.piece.image, y, x) }.wrapping_add(AHEAD * N * view.pixel);
            for pixel in 0..N {
                for channel in (0..channels).step_by(BLOCK) {
                    S::prefetch(first.wrapping_add(pixel * view.pixel + channel));
                }
            }
        };
        for source in self.sources {
            fetch(&source.view, source.channels);
        }
        for Target { view, channels, epilogue } in self.targets {
            for view in [Some(view), epilogue.before.as_ref(), epilogue.after.as_ref()].into_iter().flatten()
            {
                fetch(view, *channels);
            }
        }
    }

    /// `N` adjacent pixels, all output channels.
    #[inline(always)]
    unsafe fn pixels<S: Simd, const N: usize>(&self, y: usize, x: usize) {
        let inputs: usize = self.sources.iter().map(|source| source.channels).sum();
        let image = self.piece.image;
        self.prefetch::<S, N>(y, x);
        let mut first = 0;
        for target in self.targets {
            let mut channel = 0;
            while channel < target.channels {
                // SAFETY: the pixels exist in every view; the weights are as long as `packed_len` says.
                unsafe {
                    let bias = match self.bias.is_null() {
                        true => S::block(S::splat(0.0)),
                        false => load_block::<S>(self.bias.add(first + channel)),
                    };
                    let mut sums = [bias; N];
                    let mut weights = self.weights.add((first + channel) * inputs);
                    for source in self.sources {
                        let from = source.view.at(image, y, x);
                        multiply::<S, N>(&mut sums, from, source.view.pixel, source.channels, weights);
                        weights = weights.add(source.channels * BLOCK);
                    }
                    finish_tile::<S, N>(target, (image, y, x), channel, &sums);
                }
                channel += BLOCK;
            }
            first += target.channels;
        }
    }
}
