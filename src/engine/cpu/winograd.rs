//! 3×3 convolution, stride 1, padding 1, by Winograd's minimal filtering F(4×4, 3×3).
//!
//! 4×4 outputs cost 36 multiplications a pair of channels instead of 144 (Lavin and Gray 2016). The interpolation points are 0, ±√½, ±√2 and ∞
//! rather than the customary 0, ±1, ±2, ∞: the transforms' entries are smaller, and so is the rounding error.
//!
//! Channels are the vector's lanes throughout, so that any channel range is read and written in place and nothing is shuffled. A piece of work is a
//! rectangle of tiles: its inputs are transformed to 36 matrices, each is multiplied with its matrix of transformed weights, and the products
//! are transformed back. A tile's arithmetic does not depend on the rectangle it is in: results are the same bits however the image is cut.

use super::BLOCK;
use super::epilogue::Run;
use super::gemm::{for_row_tiles, multiply, store_block};
use super::simd::{Kernel, Simd};
use super::view::{Source, Target};

/// Output pixels along a tile's side.
pub const TILE: usize = 4;
/// Input pixels along a tile's side.
pub(super) const PATCH: usize = TILE + 2;
/// Products a tile and channel pair.
pub const POINTS: usize = PATCH * PATCH;

/// The interpolation point √½ and its cube; √2 and its cube.
pub(super) const A: f32 = std::f32::consts::FRAC_1_SQRT_2;
const A3: f32 = 0.353_553_38;
pub(super) const B: f32 = std::f32::consts::SQRT_2;
const B3: f32 = 2.828_427;

/// Channels rounded up to whole blocks.
pub(super) const fn padded(channels: usize) -> usize {
    channels.div_ceil(BLOCK) * BLOCK
}

/// Floats between the planes of two points: padded, because planes at a multiple of 4 KiB would compete for the same lines of the cache.
pub(super) const fn plane(tiles: usize, channels: usize) -> usize {
    tiles * padded(channels) + BLOCK
}

/// Floats of scratch memory for one piece of work.
pub fn scratch_len(tiles: usize, in_channels: usize, out_channels: usize) -> usize {
    POINTS * (plane(tiles, in_channels) + plane(tiles, out_channels)) + POINTS * padded(in_channels)
}

/// Floats of transformed weights: `[point][block of output channels][input channel][BLOCK]`.
pub fn packed_len(in_channels: usize, out_channels: usize) -> usize {
    POINTS * padded(out_channels) * in_channels
}

/// One row or column of Bᵀ d.
#[inline(always)]
unsafe fn input_1d<S: Simd>(d: [S::V; 6]) -> [S::V; 6] {
    // SAFETY: the instruction set is enabled, by the callers' promise.
    unsafe {
        let (two, half, five_halves) = (S::splat(2.0), S::splat(0.5), S::splat(2.5));
        let (a, b) = (S::splat(A), S::splat(B));
        let even_a = S::fnma(two, d[2], d[4]);
        let odd_a = S::fnma(two, d[1], d[3]);
        let even_b = S::fnma(half, d[2], d[4]);
        let odd_b = S::fnma(half, d[1], d[3]);
        [
            S::fnma(five_halves, d[2], S::add(d[0], d[4])),
            S::fma(a, odd_a, even_a),
            S::fnma(a, odd_a, even_a),
            S::fma(b, odd_b, even_b),
            S::fnma(b, odd_b, even_b),
            S::fnma(five_halves, d[3], S::add(d[1], d[5])),
        ]
    }
}

/// One row or column of Aᵀ m.
#[inline(always)]
unsafe fn output_1d<S: Simd>(m: [S::V; 6]) -> [S::V; 4] {
    // SAFETY: the instruction set is enabled, by the callers' promise.
    unsafe {
        let (sum_a, difference_a) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
        let (sum_b, difference_b) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
        [
            S::add(m[0], S::add(sum_a, sum_b)),
            S::fma(S::splat(B), difference_b, S::mul(S::splat(A), difference_a)),
            S::fma(S::splat(2.0), sum_b, S::mul(S::splat(0.5), sum_a)),
            S::fma(S::splat(B3), difference_b, S::fma(S::splat(A3), difference_a, m[5])),
        ]
    }
}

/// One row or column of G g.
fn weight_1d(g: [f32; 3]) -> [f32; 6] {
    let third = 1.0 / 3.0;
    let sixth = 1.0 / 6.0;
    let (even_a, odd_a) = (-(2.0 * third) * g[0] - third * g[2], -(2.0 * third * A) * g[1]);
    let (even_b, odd_b) = (sixth * g[0] + third * g[2], (sixth * B) * g[1]);
    [g[0], even_a + odd_a, even_a - odd_a, even_b + odd_b, even_b - odd_b, g[2]]
}

/// Transforms OIHW weights. With `flipped` they become those of the input gradient: input and output channels swapped, taps rotated by 180°.
/// `out_channels` and `in_channels` are those of the convolution that will run (after swapping).
pub fn pack(weights: &[f32], in_channels: usize, out_channels: usize, flipped: bool, packed: &mut [f32]) {
    let blocks = padded(out_channels) / BLOCK;
    let point_len = blocks * in_channels * BLOCK;
    for block in 0..blocks {
        for input in 0..in_channels {
            let at = (block * in_channels + input) * BLOCK;
            let mut taps = [[0.0f32; BLOCK]; 9];
            for lane in 0..BLOCK.min(out_channels - block * BLOCK) {
                let output = block * BLOCK + lane;
                for (tap, lanes) in taps.iter_mut().enumerate() {
                    let from = match flipped {
                        true => (input * out_channels + output) * 9 + 8 - tap,
                        false => (output * in_channels + input) * 9 + tap,
                    };
                    lanes[lane] = weights.get(from).copied().unwrap_or(0.0);
                }
            }
            let mut points = [[0.0f32; BLOCK]; POINTS];
            for lane in 0..BLOCK {
                let mut columns = [[0.0f32; 3]; PATCH];
                for x in 0..3 {
                    let column = weight_1d([taps[x][lane], taps[3 + x][lane], taps[6 + x][lane]]);
                    for (row, value) in columns.iter_mut().zip(column) {
                        row[x] = value;
                    }
                }
                for (y, row) in columns.iter().enumerate() {
                    for (x, value) in weight_1d(*row).into_iter().enumerate() {
                        points[y * PATCH + x][lane] = value;
                    }
                }
            }
            for (point, values) in points.iter().enumerate() {
                let start = point * point_len + at;
                if let Some(to) = packed.get_mut(start..start + BLOCK) {
                    to.copy_from_slice(values);
                }
            }
        }
    }
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
pub struct Winograd<'a> {
    /// Height and width of input and output in pixels.
    pub size: (usize, usize),
    /// What is read; the channels add up to the input channels.
    pub sources: &'a [Source],
    /// Where results go; the channels add up to the output channels.
    pub targets: &'a [Target],
    /// Transformed weights, from [`pack`].
    pub weights: *const f32,
    /// One value per output channel, padded to whole blocks, or null.
    pub bias: *const f32,
    /// Which tiles.
    pub tiles: Tiles,
    /// At least [`scratch_len`] floats.
    pub scratch: &'a mut [f32],
}

impl Winograd<'_> {
    fn in_channels(&self) -> usize {
        self.sources.iter().map(|source| source.channels).sum()
    }

    fn out_channels(&self) -> usize {
        self.targets.iter().map(|target| target.channels).sum()
    }
}

impl Kernel for Winograd<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        let (inputs, outputs, tiles) = (self.in_channels(), self.out_channels(), self.tiles.count());
        let v_len = POINTS * plane(tiles, inputs);
        let m_len = POINTS * plane(tiles, outputs);
        debug_assert!(self.scratch.len() >= scratch_len(tiles, inputs, outputs));
        let v = self.scratch.as_mut_ptr();
        // SAFETY: the scratch memory is as long as `scratch_len` says; the views are valid by contract.
        unsafe {
            let m = v.add(v_len);
            transform_input::<S>(self.size, self.sources, &self.tiles, v, plane(tiles, inputs), m.add(m_len));
            multiply_points::<S>(self.weights, v, m, tiles, inputs, outputs);
            transform_output::<S>(self, m, outputs);
        }
    }
}

/// Writes `[point][tile][channel]`. `patch` has room for one tile of the widest source.
///
/// # Safety
/// The instruction set is enabled; the sources hold every pixel of the image, and `v` has 36 planes of [`plane`] floats.
#[inline(always)]
pub(super) unsafe fn transform_input<S: Simd>(
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
        let (top, left) = (ty * TILE, tx * TILE);
        let inside = ty > 0 && tx > 0 && top + TILE < height && left + TILE < width;
        let mut first = 0;
        for source in sources {
            // SAFETY: pixels outside the image are never read; the patch and the planes are large enough by contract.
            unsafe {
                let mut rows = [patch.cast_const(); PATCH];
                let mut pixel = source.view.pixel;
                if inside {
                    for (r, row) in rows.iter_mut().enumerate() {
                        *row = source.view.at(tiles.image, top + r - 1, left - 1);
                    }
                } else {
                    pixel = padded(source.channels);
                    for (r, row) in rows.iter_mut().enumerate() {
                        let to = patch.add(r * PATCH * pixel);
                        *row = to;
                        let y = top + r;
                        for c in 0..PATCH {
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
                    let half = [
                        input_row::<S>(rows[0].add(channel), pixel),
                        input_row::<S>(rows[1].add(channel), pixel),
                        input_row::<S>(rows[2].add(channel), pixel),
                        input_row::<S>(rows[3].add(channel), pixel),
                        input_row::<S>(rows[4].add(channel), pixel),
                        input_row::<S>(rows[5].add(channel), pixel),
                    ];
                    input_column::<S>(&half, 0, to.add(channel), plane);
                    input_column::<S>(&half, 1, to.add(channel), plane);
                    input_column::<S>(&half, 2, to.add(channel), plane);
                    input_column::<S>(&half, 3, to.add(channel), plane);
                    input_column::<S>(&half, 4, to.add(channel), plane);
                    input_column::<S>(&half, 5, to.add(channel), plane);
                    channel += S::LANES;
                }
            }
            first += source.channels;
        }
    }
}

/// `m[point][tile][output] = Σ v[point][tile][input] · weights[point][input][output]`
#[inline(always)]
unsafe fn multiply_points<S: Simd>(
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
    for point in 0..POINTS {
        for block in 0..blocks {
            // SAFETY: the planes are as long as `scratch_len` says, the weights as long as `packed_len` says.
            unsafe {
                let b = weights.add((point * blocks + block) * inputs * BLOCK);
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

/// Six pixels of a row, transformed along it.
#[inline(always)]
unsafe fn input_row<S: Simd>(from: *const f32, pixel: usize) -> [S::V; PATCH] {
    // SAFETY: the callers promise six pixels.
    unsafe {
        input_1d::<S>([
            S::load(from),
            S::load(from.add(pixel)),
            S::load(from.add(2 * pixel)),
            S::load(from.add(3 * pixel)),
            S::load(from.add(4 * pixel)),
            S::load(from.add(5 * pixel)),
        ])
    }
}

/// One column of row-wise transformed pixels, transformed along it and written to its six planes.
#[inline(always)]
unsafe fn input_column<S: Simd>(half: &[[S::V; PATCH]; PATCH], column: usize, to: *mut f32, plane: usize) {
    // SAFETY: the callers promise 36 planes.
    unsafe {
        let values = input_1d::<S>([
            half[0][column],
            half[1][column],
            half[2][column],
            half[3][column],
            half[4][column],
            half[5][column],
        ]);
        for (r, value) in values.into_iter().enumerate() {
            S::store(to.add((r * PATCH + column) * plane), value);
        }
    }
}

/// One column of products, transformed along it.
#[inline(always)]
unsafe fn output_column<S: Simd>(from: *const f32, column: usize, plane: usize) -> [S::V; TILE] {
    // SAFETY: the callers promise 36 planes.
    unsafe {
        let at = |r: usize| from.add((r * PATCH + column) * plane);
        output_1d::<S>([
            S::load(at(0)),
            S::load(at(1)),
            S::load(at(2)),
            S::load(at(3)),
            S::load(at(4)),
            S::load(at(5)),
        ])
    }
}

#[inline(always)]
unsafe fn transform_output<S: Simd>(work: &Winograd<'_>, m: *const f32, outputs: usize) {
    let (height, width) = work.size;
    let tiles = &work.tiles;
    let (plane, row) = (plane(tiles.count(), outputs), padded(outputs));
    for tile in 0..tiles.count() {
        let (ty, tx) = tiles.position(tile);
        let (top, left) = (ty * TILE, tx * TILE);
        let (rows, columns) = (TILE.min(height - top), TILE.min(width - left));
        let mut first = 0;
        for target in work.targets {
            // SAFETY: the planes are as long as `scratch_len` says; only pixels inside the image are written.
            unsafe {
                let runs: [Run; TILE] = [
                    Run::at(target, tiles.image, top, left),
                    Run::at(target, tiles.image, (top + 1).min(height - 1), left),
                    Run::at(target, tiles.image, (top + 2).min(height - 1), left),
                    Run::at(target, tiles.image, (top + 3).min(height - 1), left),
                ];
                let mut channel = 0;
                while channel < target.channels {
                    let from = m.add(tile * row + first + channel);
                    let half = [
                        output_column::<S>(from, 0, plane),
                        output_column::<S>(from, 1, plane),
                        output_column::<S>(from, 2, plane),
                        output_column::<S>(from, 3, plane),
                        output_column::<S>(from, 4, plane),
                        output_column::<S>(from, 5, plane),
                    ];
                    let bias = match work.bias.is_null() {
                        true => S::splat(0.0),
                        false => S::load(work.bias.add(first + channel)),
                    };
                    for (r, run) in runs.iter().enumerate().take(rows) {
                        let values = output_1d::<S>([
                            half[0][r], half[1][r], half[2][r], half[3][r], half[4][r], half[5][r],
                        ]);
                        let values = [
                            S::add(values[0], bias),
                            S::add(values[1], bias),
                            S::add(values[2], bias),
                            S::add(values[3], bias),
                        ];
                        run.finish::<S>(channel, values, columns);
                    }
                    channel += S::LANES;
                }
            }
            first += target.channels;
        }
    }
}
