//! The weight gradients beside plain loops in f64.

use super::BLOCK;
use super::pointwise::Rows;
use super::simd::{Isa, run};
use super::view::{Source, View};
use super::winograd::{F4x4, Tiles, Variant};
use super::{pointwise_gradient, winograd_gradient};

/// Heights, widths and batches.
const SIZES: [(usize, usize, usize); 6] =
    [(1, 1, 1), (3, 5, 2), (4, 4, 1), (17, 9, 2), (2, 150, 1), (64, 64, 2)];

/// Channel ranges of input and output.
const CHANNELS: [(&[usize], &[usize]); 8] = [
    (&[3], &[16]),
    (&[16], &[16]),
    (&[48], &[64]),
    (&[16, 34], &[25]),
    (&[32, 32], &[16, 32]),
    (&[5], &[3]),
    (&[3, 46, 5], &[25, 7, 16]),
    (&[46], &[1, 50]),
];

/// Images in memory of which every float that is no value is NaN.
struct Images {
    size: (usize, usize, usize),
    /// NHWC without padding.
    values: Vec<f32>,
    /// Keeps alive what the sources point at.
    _memory: Vec<Vec<f32>>,
    sources: Vec<Source>,
}

impl Images {
    /// Values between `low` and `low + 1`. Each range of channels lies in the middle of a buffer of its own.
    fn new(size: (usize, usize, usize), ranges: &[usize], low: f32, seed: u32) -> Self {
        let (height, width, batch) = size;
        let channels: usize = ranges.iter().sum();
        let mut state = seed;
        let values: Vec<f32> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 16_777_216.0 + low
        })
        .take(batch * height * width * channels)
        .collect();
        let (mut memory, mut sources, mut first) = (Vec::new(), Vec::new(), 0);
        for (index, range) in ranges.iter().copied().enumerate() {
            let before = 5 * index;
            let pixel = (before + range + 2).next_multiple_of(BLOCK);
            let mut buffer = vec![f32::NAN; batch * height * width * pixel + BLOCK];
            for (position, value) in values.chunks_exact(channels).enumerate() {
                let at = position * pixel + before;
                buffer[at..at + range].copy_from_slice(&value[first..first + range]);
            }
            let view = View {
                base: buffer.as_mut_ptr().wrapping_add(before),
                pixel,
                row: width * pixel,
                image: height * width * pixel,
                rows: height,
            };
            memory.push(buffer);
            sources.push(Source { view, channels: range });
            first += range;
        }
        Self { size, values, _memory: memory, sources }
    }

    fn channels(&self) -> usize {
        self.sources.iter().map(|source| source.channels).sum()
    }
}

/// Weight and bias gradients of a convolution with a kernel of `side`×`side`, by the definition.
fn plain(x: &Images, dy: &Images, side: usize) -> (Vec<f64>, Vec<f64>) {
    let (height, width, batch) = x.size;
    let (inputs, outputs, margin) = (x.channels(), dy.channels(), side / 2);
    // Taps outermost, so that the innermost loop is over adjacent values.
    let mut sums = vec![0.0; side * side * outputs * inputs];
    let mut bias = vec![0.0; outputs];
    for position in 0..batch * height * width {
        let (column, row, image) = (position % width, position / width % height, position / (width * height));
        let dy = &dy.values[position * outputs..][..outputs];
        for (sum, value) in bias.iter_mut().zip(dy) {
            *sum += f64::from(*value);
        }
        for tap in 0..side * side {
            let (y, x_at) = (row + tap / side, column + tap % side);
            if y < margin || x_at < margin || y >= height + margin || x_at >= width + margin {
                continue;
            }
            let from = (image * height + y - margin) * width + x_at - margin;
            let x = &x.values[from * inputs..][..inputs];
            for (dy, sums) in dy.iter().zip(sums[tap * outputs * inputs..].chunks_exact_mut(inputs)) {
                for (sum, x) in sums.iter_mut().zip(x) {
                    *sum += f64::from(*dy) * f64::from(*x);
                }
            }
        }
    }
    let weights = (0..sums.len())
        .map(|index| sums[index % (side * side) * outputs * inputs + index / (side * side)])
        .collect();
    (weights, bias)
}

/// Cuts every image into three rectangles of tiles and deals them to two pieces.
fn tiles(height: usize, width: usize, batch: usize) -> [Vec<Tiles>; 2] {
    let (height, width) = (height.div_ceil(F4x4::TILE.0), width.div_ceil(F4x4::TILE.1));
    let mut pieces = [Vec::new(), Vec::new()];
    for image in 0..batch {
        let (top, bottom, left, right) =
            ((0, height / 3), (height / 3, height), (0, width / 2), (width / 2, width));
        for (index, (rows, columns)) in
            [(top, (0, width)), (bottom, left), (bottom, right)].into_iter().enumerate()
        {
            pieces[(image + index) % 2].push(Tiles { image, rows, columns });
        }
    }
    pieces
}

/// Cuts every image into two bands of rows and deals them to two pieces.
fn rows(height: usize, batch: usize) -> [Vec<Rows>; 2] {
    let mut pieces = [Vec::new(), Vec::new()];
    for image in 0..batch {
        pieces[image % 2].push(Rows { image, rows: (0, height / 3) });
        pieces[(image + 1) % 2].push(Rows { image, rows: (height / 3, height) });
    }
    pieces
}

fn winograd(isa: Isa, x: &Images, dy: &Images) -> (Vec<f32>, Vec<f32>) {
    let (height, width, batch) = x.size;
    let (inputs, outputs) = (x.channels(), dy.channels());
    let len = winograd_gradient::sums_len(inputs, outputs);
    let mut sums = vec![f32::NAN; 2 * len];
    for (index, tiles) in tiles(height, width, batch).iter().enumerate() {
        let mut scratch = vec![f32::NAN; winograd_gradient::scratch_len(inputs, outputs)];
        let mut piece = winograd_gradient::WinogradGradient {
            size: (height, width),
            x: &x.sources,
            dy: &dy.sources,
            tiles,
            sums: sums[index * len..].as_mut_ptr(),
            scratch: &mut scratch,
        };
        // SAFETY: the instruction set is available, and all buffers are as long as they must be.
        unsafe { run(isa, &mut piece) };
    }
    let mut weights = vec![f32::NAN; outputs * inputs * 9];
    let mut bias = vec![f32::NAN; outputs];
    let blocks = outputs.div_ceil(BLOCK);
    for blocks in [(0, blocks / 2), (blocks / 2, blocks)] {
        let mut finish = winograd_gradient::Finish {
            sums: sums.as_ptr(),
            pieces: 2,
            in_channels: inputs,
            out_channels: outputs,
            blocks,
            weights: weights.as_mut_ptr(),
            bias: bias.as_mut_ptr(),
        };
        // SAFETY: as above.
        unsafe { run(isa, &mut finish) };
    }
    (weights, bias)
}

fn pointwise(isa: Isa, x: &Images, dy: &Images) -> (Vec<f32>, Vec<f32>) {
    let (height, width, batch) = x.size;
    let (inputs, outputs) = (x.channels(), dy.channels());
    let len = pointwise_gradient::sums_len(inputs, outputs);
    let mut sums = vec![f32::NAN; 2 * len];
    for (index, rows) in rows(height, batch).iter().enumerate() {
        let mut scratch = vec![f32::NAN; pointwise_gradient::scratch_len(inputs, outputs)];
        let mut piece = pointwise_gradient::PointwiseGradient {
            width,
            x: &x.sources,
            dy: &dy.sources,
            rows,
            sums: sums[index * len..].as_mut_ptr(),
            scratch: &mut scratch,
        };
        // SAFETY: the instruction set is available, and all buffers are as long as they must be.
        unsafe { run(isa, &mut piece) };
    }
    let mut weights = vec![f32::NAN; outputs * inputs];
    let mut bias = vec![f32::NAN; outputs];
    let blocks = outputs.div_ceil(BLOCK);
    for blocks in [(0, blocks / 2), (blocks / 2, blocks)] {
        let mut finish = pointwise_gradient::Finish {
            sums: sums.as_ptr(),
            pieces: 2,
            in_channels: inputs,
            out_channels: outputs,
            blocks,
            weights: weights.as_mut_ptr(),
            bias: bias.as_mut_ptr(),
        };
        // SAFETY: as above.
        unsafe { run(isa, &mut finish) };
    }
    (weights, bias)
}

/// The largest error, relative to the largest entry; not a number if any entry is not.
fn error(found: &[f32], expected: &[f64]) -> f64 {
    let largest = expected.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
    let differences =
        found.iter().zip(expected).map(|(found, expected)| (f64::from(*found) - expected).abs());
    differences.fold(0.0, |error, next| if next <= error { error } else { next }) / largest
}

type Gradient = fn(Isa, &Images, &Images) -> (Vec<f32>, Vec<f32>);

/// Compares with the plain loops, and instruction sets with each other. The tolerances below are twice the largest error measured, or less: values of mean
/// zero cancel, so that errors are larger beside their sums.
fn check(gradient: Gradient, side: usize, (size, inputs, outputs): Case, low: f32, tolerance: f64) {
    let (x, dy) = (Images::new(size, inputs, low, 1), Images::new(size, outputs, low, 2));
    let (weights, bias) = plain(&x, &dy, side);
    let mut fused: Option<(Vec<f32>, Vec<f32>)> = None;
    for isa in Isa::available() {
        let found = gradient(isa, &x, &dy);
        let errors = (error(&found.0, &weights), error(&found.1, &bias));
        assert!(
            errors.0 <= tolerance && errors.1 <= tolerance,
            "{isa} {size:?} {inputs:?} -> {outputs:?}: errors of weights and bias {errors:?}"
        );
        if isa != Isa::Portable {
            let first = fused.get_or_insert_with(|| found.clone());
            assert!(*first == found, "{isa} {size:?} {inputs:?} -> {outputs:?}: other bits");
        }
    }
}

type Case = ((usize, usize, usize), &'static [usize], &'static [usize]);

/// All channels with the small sizes, some with the large one.
fn cases() -> impl Iterator<Item = Case> {
    let all = SIZES.into_iter().flat_map(|size| CHANNELS.map(|(inputs, outputs)| (size, inputs, outputs)));
    all.filter(|(size, inputs, _)| size.0 < 64 || inputs.len() == 2 || inputs[0] < 6)
}

#[test]
fn winograd_weight_gradients_are_those_of_plain_loops() {
    for case in cases() {
        check(winograd, 3, case, -0.5, 2e-6);
        check(winograd, 3, case, 0.0, 1e-6);
    }
}

#[test]
fn pointwise_weight_gradients_are_those_of_plain_loops() {
    for case in cases() {
        check(pointwise, 1, case, -0.5, 2e-6);
        check(pointwise, 1, case, 0.0, 4e-7);
    }
}

#[test]
fn a_piece_without_tiles_or_rows_adds_nothing() {
    let (x, dy) = (Images::new((5, 5, 1), &[3], -0.5, 1), Images::new((5, 5, 1), &[20], -0.5, 2));
    for isa in Isa::available() {
        let mut sums = vec![f32::NAN; winograd_gradient::sums_len(3, 20)];
        let mut scratch = vec![0.0; winograd_gradient::scratch_len(3, 20)];
        let mut piece = winograd_gradient::WinogradGradient {
            size: (5, 5),
            x: &x.sources,
            dy: &dy.sources,
            tiles: &[],
            sums: sums.as_mut_ptr(),
            scratch: &mut scratch,
        };
        // SAFETY: the instruction set is available, and all buffers are as long as they must be.
        unsafe { run(isa, &mut piece) };
        let mut weights = vec![1.0; 3 * 20 * 9];
        let mut finish = winograd_gradient::Finish {
            sums: sums.as_ptr(),
            pieces: 1,
            in_channels: 3,
            out_channels: 20,
            blocks: (0, 2),
            weights: weights.as_mut_ptr(),
            bias: std::ptr::null_mut(),
        };
        // SAFETY: as above.
        unsafe { run(isa, &mut finish) };
        assert!(weights.iter().all(|value| *value == 0.0), "{isa}");
    }
}
