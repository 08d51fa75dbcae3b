//! 3×3 convolution, stride 1, padding 1, by Winograd's minimal filtering (Lavin and Gray 2016): [`F4x6`], [`F4x4`] or [`F2x2`].
//!
//! Channels are the vector's lanes throughout, so that any channel range is read and written in place and nothing is shuffled. A piece of work is a
//! rectangle of tiles. Its columns are transformed; then, for each row of points and for as many tiles as fit the first cache, rows are transformed, multiplied
//! with the transformed weights of their points, and transformed back; at last columns are transformed back. A tile's arithmetic does not depend on the
//! rectangle it is in: results are the same bits however the image is cut.

use std::marker::PhantomData;

use super::BLOCK;
use super::gemm::{for_row_tiles, multiply, store_block};
use super::simd::{Kernel, Simd};
use super::view::{Source, Target};

mod filter;
mod input;
mod output;
mod pack;
#[cfg(test)]
mod tests;
mod variant;

pub(super) use filter::F4;
pub use filter::Filter;
pub(super) use input::{Columns, transform_columns, transform_rows};
use output::rows_plane;
use pack::point_len;
pub use pack::{Pack, packed_len};
pub use variant::{F2x2, F4x4, F4x6, Variant};

/// Tiles whose rows are transformed and multiplied together: those of 64 channels fit a first cache of 32 KiB beside their products' weights, and they
/// make whole register tiles.
const CHUNK: usize = 12;

/// Channels rounded up to whole blocks.
pub(super) const fn padded(channels: usize) -> usize {
    channels.div_ceil(BLOCK) * BLOCK
}

/// Floats between the planes of two points: padded, because planes at a multiple of 4 KiB would compete for the same lines of the cache.
pub(super) const fn plane(tiles: usize, channels: usize) -> usize {
    tiles * padded(channels) + BLOCK
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

    /// Rows and columns of tiles.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.rows.1 - self.rows.0, self.columns.1 - self.columns.0)
    }

    /// Row and column of the tile at `index`.
    #[inline(always)]
    fn position(&self, index: usize) -> (usize, usize) {
        let width = self.columns.1 - self.columns.0;
        (self.rows.0 + index / width, self.columns.0 + index % width)
    }
}

/// How scratch memory is divided, in floats: transformed columns, then these.
struct Scratch {
    columns: Columns,
    /// Transformed tiles of one row of points.
    v: usize,
    v_plane: usize,
    /// Their products.
    m: usize,
    m_plane: usize,
    /// Products with rows transformed back.
    rows: usize,
    rows_plane: usize,
    floats: usize,
}

impl Scratch {
    fn of<V: Variant>(tiles: &Tiles, in_channels: usize, out_channels: usize) -> Self {
        let (columns, chunk) = (Columns::of::<V>(tiles.size(), in_channels), CHUNK.min(tiles.count()));
        let (v_plane, m_plane) = (plane(chunk, in_channels), plane(chunk, out_channels));
        let rows_plane = rows_plane::<V>(tiles.count(), out_channels);
        let v = columns.floats;
        let m = v + V::Across::PATCH * v_plane;
        let rows = m + V::Across::PATCH * m_plane;
        let floats = rows + V::Down::PATCH * rows_plane;
        Self { columns, v, v_plane, m, m_plane, rows, rows_plane, floats }
    }
}

/// Floats of scratch memory for one piece of work.
pub fn scratch_len<V: Variant>(tiles: &Tiles, in_channels: usize, out_channels: usize) -> usize {
    Scratch::of::<V>(tiles, in_channels, out_channels).floats
}

/// One piece of a convolution.
pub struct Winograd<'a, V> {
    /// Height and width of input and output in pixels.
    pub size: (usize, usize),
    /// What is read; the channels add up to the input channels.
    pub sources: &'a [Source],
    /// Where results go; the channels add up to the output channels. Rows of a tile lie below one another: none begins anew at the top of a view's memory.
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

impl<V: Variant> Kernel for Winograd<'_, V> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        let inputs = self.sources.iter().map(|source| source.channels).sum();
        let outputs = self.targets.iter().map(|target| target.channels).sum();
        let tiles = self.tiles;
        let Scratch { columns, v, v_plane, m, m_plane, rows, rows_plane, floats } =
            Scratch::of::<V>(&tiles, inputs, outputs);
        debug_assert!(self.scratch.len() >= floats);
        let memory = self.scratch.as_mut_ptr();
        // SAFETY: the scratch memory is as long as `scratch_len` says; the views are valid by contract.
        unsafe {
            let (v, m, rows) = (memory.add(v), memory.add(m), memory.add(rows));
            transform_columns::<V, S>(self.size, self.sources, &tiles, memory, &columns);
            for point_row in 0..V::Down::PATCH {
                let weights = self.weights.add(point_row * V::Across::PATCH * point_len(inputs, outputs));
                let rows = rows.add(point_row * rows_plane);
                for first in (0..tiles.count()).step_by(CHUNK) {
                    let count = CHUNK.min(tiles.count() - first);
                    let columns = (memory.cast_const(), &columns, point_row);
                    transform_rows::<V, S>((&tiles, first, count), inputs, columns, v, v_plane);
                    multiply_row::<V, S>(weights, (v, v_plane), (m, m_plane), count, (inputs, outputs));
                    let rows = rows.add(first * V::Across::TILE * padded(outputs));
                    output::transform_rows::<V, S>((m, m_plane), count, outputs, rows);
                }
            }
            output::transform_columns::<V, S>(self.size, self.targets, self.bias, &tiles, rows);
        }
    }
}

/// `m[point][tile][output] = Σ v[point][tile][input] · weights[point][input][output]` for one row of points.
///
/// # Safety
/// The instruction set is enabled; both have as many planes as a row has points, and `weights` begins with the first of them.
#[inline(always)]
unsafe fn multiply_row<V: Variant, S: Simd>(
    weights: *const f32,
    (v, v_plane): (*const f32, usize),
    (m, m_plane): (*mut f32, usize),
    tiles: usize,
    (inputs, outputs): (usize, usize),
) {
    let (v_row, m_row) = (padded(inputs), padded(outputs));
    for point in 0..V::Across::PATCH {
        for block in 0..m_row / BLOCK {
            // SAFETY: the caller's promise; the weights are as long as `packed_len` says.
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
