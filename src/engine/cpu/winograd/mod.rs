//! 3×3 convolution, stride 1, padding 1, by Winograd's minimal filtering (Lavin and Gray 2016): [`F4x4`] or [`F2x2`].
//!
//! Channels are the vector's lanes throughout, so that any channel range is read and written in place and nothing is shuffled. A piece of work is a
//! rectangle of tiles: its inputs are transformed to one matrix a point (36 or 16), each is multiplied with its matrix of transformed weights, and the
//! products are transformed back. A tile's arithmetic does not depend on the rectangle it is in: results are the same bits however the image is cut.

use std::marker::PhantomData;

use super::BLOCK;
use super::epilogue::{RUN, Run};
use super::gemm::{for_row_tiles, multiply, store_block};
use super::simd::{Kernel, Simd};
use super::view::{Source, Target};

mod pack;
#[cfg(test)]
mod tests;
mod variant;

use pack::point_len;
pub use pack::{Pack, packed_len};
pub use variant::{F2x2, F4x4, Variant};

/// Channels rounded up to whole blocks.
pub(super) const fn padded(channels: usize) -> usize {
    channels.div_ceil(BLOCK) * BLOCK
}

/// Floats between the planes of two points: padded, because planes at a multiple of 4 KiB would compete for the same lines of the cache.
pub(super) const fn plane(tiles: usize, channels: usize) -> usize {
    tiles * padded(channels) + BLOCK
}

/// Floats of scratch memory for one piece of work.
pub fn scratch_len<V: Variant>(tiles: usize, in_channels: usize, out_channels: usize) -> usize {
    V::POINTS * (plane(tiles, in_channels) + plane(tiles, out_channels) + padded(in_channels))
}

/// A rectangle of tiles of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiles {
    /// Which image of the batch.
    pub image: usize,
    /// First and one past the last row of tiles.
    pub rows: (usize, usize),
    /// First and one past the last column of tiles.
    pub columns: (usize, usize),
}

impl Tiles {
    /// Number of tiles.
    pub fn count(&self) -> usize {
        (self.rows.1 - self.rows.0) * (self.columns.1 - self.columns.0)
    }

    /// Row and column of the tile at `index`.
    #[inline(always)]
    fn position(&self, index: usize) -> (usize, usize) {
        let width = self.columns.1 - self.columns.0;
        (self.rows.0 + index / width, self.columns.0 + index % width)
    }
}

/// One piece of a convolution.
pub struct Winograd<'a, V> {
    /// Height and width of input and output in pixels.
    pub size: (usize, usize),
    /// What is read; the channels add up to the input channels.
    pub sources: &'a [Source],
    /// Where results go; the channels add up to the output channels.
    pub targets: &'a [Target],
    /// Transformed weights, from [`Pack`].
    pub weights: *const f32,
    /// One value per output channel, padded to whole blocks, or null.
    pub bias: *const f32,
    /// Which tiles.
    pub tiles: Tiles,
    /// At least [`scratch_len`] floats.
    pub scratch: &'a mut [f32],
    /// The algorithm.
    pub variant: PhantomData<V>,
}

impl<V: Variant> Winograd<'_, V> {
    fn in_channels(&self) -> usize {
        self.sources.iter().map(|source| source.channels).sum()
    }

    fn out_channels(&self) -> usize {
        self.targets.iter().map(|target| target.channels).sum()
    }
}

impl<V: Variant> Kernel for Winograd<'_, V> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        let (inputs, outputs, tiles) = (self.in_channels(), self.out_channels(), self.tiles.count());
        let v_len = V::POINTS * plane(tiles, inputs);
        let m_len = V::POINTS * plane(tiles, outputs);
        debug_assert!(self.scratch.len() >= scratch_len::<V>(tiles, inputs, outputs));
        let v = self.scratch.as_mut_ptr();
        // SAFETY: the scratch memory is as long as `scratch_len` says; the views are valid by contract.
        unsafe {
            let m = v.add(v_len);
            let patch = m.add(m_len);
            transform_input::<V, S>(self.size, self.sources, &self.tiles, v, plane(tiles, inputs), patch);
            multiply_points::<V, S>(self.weights, v, m, tiles, inputs, outputs);
            transform_output::<V, S>(self, m, outputs);
        }
    }
}

/// Writes `[point][tile][channel]`. `patch` has room for one tile of the widest source.
///
/// # Safety
/// The instruction set is enabled; the sources hold every pixel of the image, and `v` has as many planes of [`plane`] floats as the variant has points.
#[inline(always)]
pub(super) unsafe fn transform_input<V: Variant, S: Simd>(
    (height, width): (usize, usize),
    sources: &[Source],
    tiles: &Tiles,
    v: *mut f32,
    plane: usize,
    patch: *mut f32,
) {
    let channels = padded(sources.iter().map(|source| source.channels).sum());
    for tile in 0..tiles.count() {
        let (ty, tx) = tiles.position(tile);
        let (top, left) = (ty * V::TILE, tx * V::TILE);
        let inside = ty > 0 && tx > 0 && top + V::TILE < height && left + V::TILE < width;
        let mut first = 0;
        for source in sources {
            // SAFETY: pixels outside the image are never read; the patch and the planes are large enough by contract.
            unsafe {
                let mut rows = V::patch(patch.cast_const());
                let mut pixel = source.view.pixel;
                if inside {
                    for r in 0..V::PATCH {
                        rows[r] = source.view.at(tiles.image, top + r - 1, left - 1);
                    }
                } else {
                    pixel = padded(source.channels);
                    for r in 0..V::PATCH {
                        let to = patch.add(r * V::PATCH * pixel);
                        rows[r] = to;
                        let y = top + r;
                        for c in 0..V::PATCH {
                            let x = left + c;
                            let to = to.add(c * pixel);
                            if y == 0 || y > height || x == 0 || x > width {
                                to.write_bytes(0, pixel);
                            } else {
                                let from = source.view.at(tiles.image, y - 1, x - 1);
                                to.copy_from_nonoverlapping(from, source.channels);
                            }
                        }
                    }
                }
                let to = v.add(tile * channels + first);
                let mut channel = 0;
                while channel < source.channels {
                    input_tile::<V, S>(&rows, pixel, channel, to.add(channel), plane);
                    channel += S::LANES;
                }
            }
            first += source.channels;
        }
    }
}

/// One vector of channels of a patch, transformed and written to its planes.
///
/// # Safety
/// As for [`transform_input`]; each row has a patch of pixels with a vector of channels from `channel` on.
#[inline(always)]
unsafe fn input_tile<V: Variant, S: Simd>(
    rows: &V::Patch<*const f32>,
    pixel: usize,
    channel: usize,
    to: *mut f32,
    plane: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let zero = V::patch(S::splat(0.0));
        let mut half = V::patch(zero);
        for r in 0..V::PATCH {
            let row = rows[r].add(channel);
            let mut values = zero;
            for x in 0..V::PATCH {
                values[x] = S::load(row.add(x * pixel));
            }
            half[r] = V::input_1d::<S>(values);
        }
        for x in 0..V::PATCH {
            let mut column = zero;
            for r in 0..V::PATCH {
                column[r] = half[r][x];
            }
            let column = V::input_1d::<S>(column);
            for r in 0..V::PATCH {
                S::store(to.add((r * V::PATCH + x) * plane), column[r]);
            }
        }
    }
}

/// `m[point][tile][output] = Σ v[point][tile][input] · weights[point][input][output]`
#[inline(always)]
unsafe fn multiply_points<V: Variant, S: Simd>(
    weights: *const f32,
    v: *const f32,
    m: *mut f32,
    tiles: usize,
    inputs: usize,
    outputs: usize,
) {
    let (v_plane, m_plane) = (plane(tiles, inputs), plane(tiles, outputs));
    let (v_row, m_row) = (padded(inputs), padded(outputs));
    let blocks = m_row / BLOCK;
    for point in 0..V::POINTS {
        for block in 0..blocks {
            // SAFETY: the planes are as long as `scratch_len` says, the weights as long as `packed_len` says.
            unsafe {
                let b = weights.add(point * point_len(inputs, outputs) + block * inputs * BLOCK);
                for_row_tiles!(S, tiles, |first, ROWS| {
                    let a = v.add(point * v_plane + first * v_row);
                    let mut sums = [S::block(S::splat(0.0)); ROWS];
                    multiply::<S, ROWS>(&mut sums, a, v_row, inputs, b);
                    let to = m.add(point * m_plane + first * m_row + block * BLOCK);
                    for (r, sum) in sums.into_iter().enumerate() {
                        store_block::<S>(to.add(r * m_row), sum);
                    }
                });
            }
        }
    }
}

#[inline(always)]
unsafe fn transform_output<V: Variant, S: Simd>(work: &Winograd<'_, V>, m: *const f32, outputs: usize) {
    let (height, width) = work.size;
    let tiles = &work.tiles;
    let (plane, row) = (plane(tiles.count(), outputs), padded(outputs));
    for tile in 0..tiles.count() {
        let (ty, tx) = tiles.position(tile);
        let (top, left) = (ty * V::TILE, tx * V::TILE);
        let (rows, columns) = (V::TILE.min(height - top), V::TILE.min(width - left));
        let mut first = 0;
        for target in work.targets {
            // SAFETY: the planes are as long as `scratch_len` says; only pixels inside the image are written.
            unsafe {
                let mut runs = V::tile(Run::at(target, tiles.image, top, left));
                for r in 1..V::TILE {
                    runs[r] = Run::at(target, tiles.image, (top + r).min(height - 1), left);
                }
                let mut channel = 0;
                while channel < target.channels {
                    let from = m.add(tile * row + first + channel);
                    let bias = match work.bias.is_null() {
                        true => S::splat(0.0),
                        false => S::load(work.bias.add(first + channel)),
                    };
                    output_tile::<V, S>(from, plane, bias, &runs, channel, (rows, columns));
                    channel += S::LANES;
                }
            }
            first += target.channels;
        }
    }
}

/// One vector of channels of a tile's products, transformed and finished.
///
/// # Safety
/// As for [`transform_output`]; the first `rows` runs have `columns` pixels with a vector of channels from `channel` on.
#[inline(always)]
unsafe fn output_tile<V: Variant, S: Simd>(
    from: *const f32,
    plane: usize,
    bias: S::V,
    runs: &V::Tile<Run>,
    channel: usize,
    (rows, columns): (usize, usize),
) {
    // SAFETY: the caller's promise.
    unsafe {
        let zero = S::splat(0.0);
        let mut half = V::tile(V::patch(zero));
        for x in 0..V::PATCH {
            let mut column = V::patch(zero);
            for r in 0..V::PATCH {
                column[r] = S::load(from.add((r * V::PATCH + x) * plane));
            }
            let column = V::output_1d::<S>(column);
            for r in 0..V::TILE {
                half[r][x] = column[r];
            }
        }
        for r in 0..V::TILE {
            if r < rows {
                let row = V::output_1d::<S>(half[r]);
                let mut values = [zero; RUN];
                for x in 0..V::TILE {
                    values[x] = S::add(row[x], bias);
                }
                // A constant number of pixels compiles to straight code.
                if columns == V::TILE {
                    runs[r].finish::<S>(channel, values, V::TILE);
                } else {
                    runs[r].finish::<S>(channel, values, columns);
                }
            }
        }
    }
}
