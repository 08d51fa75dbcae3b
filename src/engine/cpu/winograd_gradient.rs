//! Weight and bias gradient of a 3×3 convolution (stride 1, padding 1) in the Winograd domain.
//!
//! The derivative of `Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ x B)] A` with respect to `g` is `Gᵀ [Σ_tiles (Bᵀ x B) ⊙ (A dY Aᵀ)] G`: with tiles of 4×4 outputs, 36
//! multiplications a tile and pair of channels instead of 144. The transforms are those of [`super::winograd`], and their transposes.
//!
//! One piece ([`WinogradGradient`]) walks its tiles in chunks of [`CHUNK`]: both operands of a chunk are transformed to 36 matrices, whose products
//! over the chunk's tiles are added to sums that belong to the piece alone. [`Finish`] adds the sums of all pieces in order and transforms them back.
//! The bits depend on how tiles are put into pieces, but neither on the instruction set (with fused multiply-add) nor on who runs which piece when:
//! a plan must cut pieces by shape, not by the number of threads, if its gradients shall not depend on that number.
//!
//! The error grows as the root of a chunk's tiles plus a piece's chunks. Beside f64, and relative to the largest entry, it was 1.0e-6 (weights) and 2e-7
//! (bias) for 64 to 64 channels at 4×64×64 in one piece with values of mean zero, where sums cancel most; with positive values 2.8e-7 and 1.8e-7. One
//! piece of 16×64×64 had 1.5e-6, so pieces of more than about 1024 tiles are better cut.

use super::BLOCK;
use super::gemm::{for_row_tiles, load_block, store_block, vectors};
use super::gradient::{add_pieces, finish_bias, multiply_transposed};
use super::simd::{Kernel, Simd};
use super::view::Source;
use super::winograd::{
    Columns, F4, F4x4, Filter, Tiles, Variant, padded, plane, transform_columns, transform_rows,
};

/// The algorithm is F(4×4, 3×3) only: no image is so small that its gradient would be faster with smaller tiles.
const TILE: usize = F4::TILE;
const PATCH: usize = F4::PATCH;
const POINTS: usize = F4x4::POINTS;
const A: f32 = F4::A;
const B: f32 = F4::B;

/// Tiles that are transformed and multiplied together. The sums, 590 KB with 64 channels on either side, pass through the cache once a chunk, and so
/// do both operands. Of 16 to 128 tiles 64 took the least time; taking the points in two or three groups, to fit a cache of 512 KiB, took more,
/// because pixels were then read that often.
pub const CHUNK: usize = 64;

/// Tiles of a row whose columns are transformed together: few enough that they stay in the cache.
const SEGMENT: usize = 16;

/// Floats between the sums of two points: padded for the same reason as [`plane`].
const fn point_len(in_channels: usize, out_channels: usize) -> usize {
    padded(out_channels) * in_channels + BLOCK
}

/// Floats of one piece's sums: `[point][block of output channels][input channel][BLOCK]`, then the bias gradient of all blocks.
pub const fn sums_len(in_channels: usize, out_channels: usize) -> usize {
    POINTS * point_len(in_channels, out_channels) + padded(out_channels)
}

/// Floats of scratch memory for one piece.
pub const fn scratch_len(in_channels: usize, out_channels: usize) -> usize {
    let columns = Columns::of::<F4x4>((1, SEGMENT), in_channels).floats;
    let outputs = TILE * TILE * padded(out_channels);
    let patch = if columns > outputs { columns } else { outputs };
    POINTS * (plane(CHUNK, in_channels) + plane(CHUNK, out_channels))
        + 2 * padded(out_channels)
        + BLOCK
        + patch
}

/// One piece of the gradient: some tiles, all weights.
///
/// Whole vectors are read from sources, so up to `BLOCK - 1` floats after a source's last channel must be memory, of any content.
pub struct WinogradGradient<'a> {
    /// Height and width of input and output in pixels.
    pub size: (usize, usize),
    /// The convolution's input; the channels add up to the input channels.
    pub x: &'a [Source],
    /// The gradient of the convolution's output; the channels add up to the output channels.
    pub dy: &'a [Source],
    /// Which tiles, of any images.
    pub tiles: &'a [Tiles],
    /// Where [`sums_len`] floats are written; what was there before does not matter.
    pub sums: *mut f32,
    /// At least [`scratch_len`] floats.
    pub scratch: &'a mut [f32],
}

impl Kernel for WinogradGradient<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        let inputs = self.x.iter().map(|source| source.channels).sum();
        let outputs = self.dy.iter().map(|source| source.channels).sum();
        debug_assert!(self.scratch.len() >= scratch_len(inputs, outputs));
        let (v_plane, d_plane) = (plane(CHUNK, inputs), plane(CHUNK, outputs));
        let mut segments = Segments { tiles: self.tiles, next: 0 };
        let mut fresh = true;
        // SAFETY: scratch memory and sums are as long as `scratch_len` and `sums_len` say; the views are valid by contract.
        unsafe {
            let v = self.scratch.as_mut_ptr();
            let d = v.add(POINTS * v_plane);
            let bias = d.add(POINTS * d_plane);
            let pixel = bias.add(padded(outputs));
            let patch = pixel.add(padded(outputs) + BLOCK);
            let bias_sums = self.sums.add(POINTS * point_len(inputs, outputs));
            loop {
                let mut count = 0;
                bias.write_bytes(0, padded(outputs));
                while let Some(segment) = segments.next(SEGMENT.min(CHUNK - count)) {
                    let columns = Columns::of::<F4x4>(segment.size(), inputs);
                    transform_columns::<F4x4, S>(self.size, self.x, &segment, patch, &columns);
                    for row in 0..PATCH {
                        let to = v.add(row * PATCH * v_plane + count * padded(inputs));
                        let columns = (patch.cast_const(), &columns, row);
                        transform_rows::<F4x4, S>(
                            (&segment, 0, segment.count()),
                            inputs,
                            columns,
                            to,
                            v_plane,
                        );
                    }
                    let to = d.add(count * padded(outputs));
                    transform_gradient::<S>(self.size, self.dy, &segment, to, bias, pixel, patch);
                    count += segment.count();
                }
                if count == 0 && !fresh {
                    break;
                }
                multiply_points::<S>(self.sums, (v, inputs), (d, outputs), count, fresh);
                for block in (0..outputs).step_by(BLOCK) {
                    add_block::<S>(bias_sums.add(block), load_block::<S>(bias.add(block)), fresh);
                }
                fresh = false;
            }
        }
    }
}

/// Walks rectangles of tiles in parts of single rows.
struct Segments<'a> {
    tiles: &'a [Tiles],
    /// Tiles of the first rectangle that are done.
    next: usize,
}

impl Segments<'_> {
    /// The next tiles, at most `most`; none if that is 0 or all are done.
    #[inline(always)]
    fn next(&mut self, most: usize) -> Option<Tiles> {
        while let Some((first, rest)) = self.tiles.split_first() {
            if self.next < first.count() {
                let width = first.columns.1 - first.columns.0;
                let (row, column) = (first.rows.0 + self.next / width, first.columns.0 + self.next % width);
                let count = most.min(first.columns.1 - column);
                self.next += count;
                let segment =
                    Tiles { image: first.image, rows: (row, row + 1), columns: (column, column + count) };
                return (count > 0).then_some(segment);
            }
            (self.tiles, self.next) = (rest, 0);
        }
        None
    }
}

/// Writes `[point][tile][channel]` for tiles of one row, and adds the sum of each tile's pixels to `bias`. `pixel` has room for one pixel and a block,
/// `patch` for the pixels of one tile.
///
/// # Safety
/// The instruction set is enabled; the sources hold every pixel of the image, and `d` has 36 planes of [`plane`] floats for [`CHUNK`] tiles.
#[inline(always)]
unsafe fn transform_gradient<S: Simd>(
    (height, width): (usize, usize),
    sources: &[Source],
    tiles: &Tiles,
    d: *mut f32,
    bias: *mut f32,
    pixel: *mut f32,
    patch: *mut f32,
) {
    let outputs = sources.iter().map(|source| source.channels).sum();
    let (row, plane) = (padded(outputs), plane(CHUNK, outputs));
    let top = tiles.rows.0 * TILE;
    for tile in 0..tiles.count() {
        let left = (tiles.columns.0 + tile) * TILE;
        let inside = top + TILE <= height && left + TILE <= width;
        let mut first = 0;
        for source in sources {
            // SAFETY: pixels outside the image are never read; patch, pixel and planes are large enough by contract. A source's last vector may
            // write past its channels: the next source or tile, which comes later, overwrites that.
            unsafe {
                let mut rows = [patch.cast_const(); TILE];
                let mut step = padded(source.channels);
                if inside {
                    step = source.view.pixel;
                    for (r, row) in rows.iter_mut().enumerate() {
                        *row = source.view.at(tiles.image, top + r, left);
                    }
                } else {
                    for (r, row) in rows.iter_mut().enumerate() {
                        *row = patch.add(r * TILE * step);
                    }
                    for index in 0..TILE * TILE {
                        let (y, x, to) = (top + index / TILE, left + index % TILE, patch.add(index * step));
                        if y < height && x < width {
                            let from = source.view.at(tiles.image, y, x);
                            to.copy_from_nonoverlapping(from, source.channels);
                        } else {
                            to.write_bytes(0, source.channels);
                        }
                    }
                }
                let to = d.add(tile * row + first);
                for channel in (0..source.channels).step_by(S::LANES) {
                    let rows = rows.map(|row| row.wrapping_add(channel));
                    let sum = gradient_tile::<S>(rows, step, to.add(channel), plane);
                    S::store(pixel.add(first + channel), sum);
                }
            }
            first += source.channels;
        }
        for channel in (0..outputs).step_by(S::LANES) {
            // SAFETY: whole vectors fit, because lanes divide blocks.
            unsafe {
                let bias = bias.add(channel);
                S::store(bias, S::add(S::load(bias), S::load(pixel.add(channel))));
            }
        }
    }
}

/// One row or column of A y.
#[inline(always)]
unsafe fn gradient_1d<S: Simd>(y: [S::V; TILE]) -> [S::V; PATCH] {
    // SAFETY: the instruction set is enabled, by the callers' promise.
    unsafe {
        let (half, two, a, b) = (S::splat(0.5), S::splat(2.0), S::splat(A), S::splat(B));
        let even_a = S::fma(half, y[2], y[0]);
        let odd_a = S::fma(half, y[3], y[1]);
        let even_b = S::fma(two, y[2], y[0]);
        let odd_b = S::fma(two, y[3], y[1]);
        [
            y[0],
            S::fma(a, odd_a, even_a),
            S::fnma(a, odd_a, even_a),
            S::fma(b, odd_b, even_b),
            S::fnma(b, odd_b, even_b),
            y[3],
        ]
    }
}

/// Transforms one vector of channels of a tile and returns the sum of its pixels.
#[inline(always)]
unsafe fn gradient_tile<S: Simd>(rows: [*const f32; TILE], pixel: usize, to: *mut f32, plane: usize) -> S::V {
    // SAFETY: the callers promise 4×4 pixels and 36 planes.
    unsafe {
        let zero = S::splat(0.0);
        let (mut half, mut sums) = ([[zero; TILE]; PATCH], [zero; TILE]);
        for (r, row) in rows.into_iter().enumerate() {
            let y = [
                S::load(row),
                S::load(row.add(pixel)),
                S::load(row.add(2 * pixel)),
                S::load(row.add(3 * pixel)),
            ];
            sums[r] = S::add(S::add(y[0], y[1]), S::add(y[2], y[3]));
            for (column, value) in half.iter_mut().zip(gradient_1d::<S>(y)) {
                column[r] = value;
            }
        }
        for (c, column) in half.into_iter().enumerate() {
            for (r, value) in gradient_1d::<S>(column).into_iter().enumerate() {
                S::store(to.add((r * PATCH + c) * plane), value);
            }
        }
        S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3]))
    }
}

/// `sums[point][block][input] += Σ v[point][tile][input] · d[point][tile][block]`, or `=` if the sums are fresh.
///
/// # Safety
/// The instruction set is enabled, and all three are as long as [`scratch_len`] and [`sums_len`] say.
#[inline(always)]
unsafe fn multiply_points<S: Simd>(
    sums: *mut f32,
    (v, inputs): (*const f32, usize),
    (d, outputs): (*const f32, usize),
    tiles: usize,
    fresh: bool,
) {
    let (v_plane, v_row) = (plane(CHUNK, inputs), padded(inputs));
    let (d_plane, d_row) = (plane(CHUNK, outputs), padded(outputs));
    for point in 0..POINTS {
        for block in 0..d_row / BLOCK {
            // SAFETY: all offsets stay within what the caller promises.
            unsafe {
                let b = d.add(point * d_plane + block * BLOCK);
                let to = sums.add(point * point_len(inputs, outputs) + block * inputs * BLOCK);
                for_row_tiles!(S, inputs, |first, ROWS| {
                    let a = v.add(point * v_plane + first);
                    let mut tile = [S::block(S::splat(0.0)); ROWS];
                    multiply_transposed::<S, ROWS>(&mut tile, tiles, (a, v_row), (b, d_row));
                    for (r, sum) in tile.into_iter().enumerate() {
                        add_block::<S>(to.add((first + r) * BLOCK), sum, fresh);
                    }
                });
            }
        }
    }
}

/// Adds to a block of sums, or begins it.
///
/// # Safety
/// The instruction set is enabled, and the block has [`BLOCK`] values unless it is fresh, and room for them if it is.
#[inline(always)]
unsafe fn add_block<S: Simd>(to: *mut f32, mut values: S::Block, fresh: bool) {
    // SAFETY: the caller's promise.
    unsafe {
        if !fresh {
            let before = load_block::<S>(to);
            for v in 0..vectors::<S>() {
                values[v] = S::add(before[v], values[v]);
            }
        }
        store_block::<S>(to, values);
    }
}

/// Adds all pieces and writes the gradient of some blocks of output channels.
pub struct Finish {
    /// The sums of the first piece; those of each other piece follow [`sums_len`] floats later.
    pub sums: *const f32,
    /// How many pieces, at least one.
    pub pieces: usize,
    /// Input channels.
    pub in_channels: usize,
    /// Output channels.
    pub out_channels: usize,
    /// First and one past the last block of [`BLOCK`] output channels to write.
    pub blocks: (usize, usize),
    /// Where the whole gradient of the weights lies, OIHW without padding.
    pub weights: *mut f32,
    /// Where the whole gradient of the bias lies, without padding, or null.
    pub bias: *mut f32,
}

impl Kernel for Finish {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        let (inputs, outputs) = (self.in_channels, self.out_channels);
        let (point_len, len) = (point_len(inputs, outputs), sums_len(inputs, outputs));
        for block in self.blocks.0..self.blocks.1 {
            let count = BLOCK.min(outputs - block * BLOCK);
            for input in 0..inputs {
                // SAFETY: every piece has `sums_len` floats, and the gradient has room for all weights.
                unsafe {
                    let from = self.sums.add((block * inputs + input) * BLOCK);
                    let mut points = [S::block(S::splat(0.0)); POINTS];
                    for (point, sum) in points.iter_mut().enumerate() {
                        *sum = add_pieces::<S>(from.add(point * point_len), len, self.pieces);
                    }
                    let mut taps = [[0.0f32; BLOCK]; 9];
                    for v in 0..vectors::<S>() {
                        weight_taps::<S>(&points, v, &mut taps);
                    }
                    for lane in 0..count {
                        let to = self.weights.add(((block * BLOCK + lane) * inputs + input) * 9);
                        for (tap, values) in taps.iter().enumerate() {
                            to.add(tap).write(values[lane]);
                        }
                    }
                }
            }
        }
        if !self.bias.is_null() {
            // SAFETY: the bias sums are at the end of each piece.
            unsafe {
                let sums = self.sums.add(POINTS * point_len);
                finish_bias::<S>((sums, len, self.pieces), self.blocks, outputs, self.bias);
            }
        }
    }
}

/// One row or column of Gᵀ m.
#[inline(always)]
unsafe fn weight_1d<S: Simd>(m: [S::V; PATCH]) -> [S::V; 3] {
    // SAFETY: the instruction set is enabled, by the callers' promise.
    unsafe {
        let (sum_a, difference_a) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
        let (sum_b, difference_b) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
        let (third, sixth) = (S::splat(1.0 / 3.0), S::splat(1.0 / 6.0));
        [
            S::fnma(S::splat(2.0 / 3.0), sum_a, S::fma(sixth, sum_b, m[0])),
            S::fnma(S::splat(A * 2.0 / 3.0), difference_a, S::mul(S::splat(B / 6.0), difference_b)),
            S::fma(third, S::sub(sum_b, sum_a), m[5]),
        ]
    }
}

/// One vector of Gᵀ m G.
#[inline(always)]
unsafe fn weight_taps<S: Simd>(points: &[S::Block; POINTS], v: usize, taps: &mut [[f32; BLOCK]; 9]) {
    // SAFETY: a vector fits between its first lane and the end of the block; the instruction set is enabled, by the callers' promise.
    unsafe {
        let mut half = [[S::splat(0.0); 3]; PATCH];
        for (column, to) in half.iter_mut().enumerate() {
            *to = weight_1d::<S>([
                points[column][v],
                points[PATCH + column][v],
                points[2 * PATCH + column][v],
                points[3 * PATCH + column][v],
                points[4 * PATCH + column][v],
                points[5 * PATCH + column][v],
            ]);
        }
        for y in 0..3 {
            let row =
                weight_1d::<S>([half[0][y], half[1][y], half[2][y], half[3][y], half[4][y], half[5][y]]);
            for (x, value) in row.into_iter().enumerate() {
                S::store(taps[y * 3 + x].as_mut_ptr().add(v * S::LANES), value);
            }
        }
    }
}
