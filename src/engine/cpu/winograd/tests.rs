//! All variants against the definition in f64.

use std::marker::PhantomData;

use super::{F2x2, F4x4, F4x6, Pack, Tiles, Variant, Winograd, packed_len, scratch_len};
use crate::engine::cpu::BLOCK;
use crate::engine::cpu::fixtures::{Buffer, Naive, SIZES, assert_close, cuts, numbers};
use crate::engine::cpu::simd::{Isa, run};
use crate::engine::cpu::view::{Epilogue, Source, Target};
use crate::graph::Conv2d;

const BATCH: usize = 2;

fn conv((in_channels, out_channels): (usize, usize)) -> Conv2d {
    Conv2d { in_channels, out_channels, kernel: 3, stride: 1, padding: 1, groups: 1, bias: true }
}

fn packed<V: Variant>(isa: Isa, conv: &Conv2d, flipped: bool, weights: &[f32], apart: bool) -> Vec<f32> {
    let (in_channels, out_channels) = match flipped {
        true => (conv.out_channels, conv.in_channels),
        false => (conv.in_channels, conv.out_channels),
    };
    // Memory between the planes of two points is never written.
    let mut packed = vec![0.0; packed_len::<V>(in_channels, out_channels)];
    let all = out_channels.div_ceil(BLOCK);
    let cuts = if apart { (0..all).map(|block| (block, block + 1)).collect() } else { vec![(0, all)] };
    for blocks in cuts {
        let (weights, packed, variant) = (weights.as_ptr(), packed.as_mut_ptr(), PhantomData);
        let mut kernel = Pack::<V> { weights, in_channels, out_channels, flipped, blocks, packed, variant };
        // SAFETY: the instruction set is available, and all memory is as long as it must be.
        unsafe { run(isa, &mut kernel) };
    }
    packed
}

struct Case {
    conv: Conv2d,
    size: (usize, usize),
    x: Vec<f32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
    dy: Vec<f32>,
    naive: Naive,
}

impl Case {
    fn new(channels: (usize, usize), (height, width): (usize, usize)) -> Self {
        let conv = conv(channels);
        let pixels = BATCH * height * width;
        let x = numbers(pixels * conv.in_channels, 1);
        let weights = numbers(conv.weight_shape().iter().product(), 2);
        let bias = numbers(conv.out_channels, 3);
        let dy = numbers(pixels * conv.out_channels, 4);
        let naive = Naive::new(&conv, [BATCH, height, width], &x, &weights, &bias, &dy);
        Self { conv, size: (height, width), x, weights, bias, dy, naive }
    }

    fn all() -> Vec<Self> {
        let channels = [(1, 3), (3, 16), (16, 5), (25, 50), (64, 64)];
        let sizes = SIZES.into_iter().chain([(5, 5)]);
        sizes.flat_map(|size| channels.map(|channels| Self::new(channels, size))).collect()
    }

    /// The convolution, or its input gradient.
    fn run<V: Variant>(&self, isa: Isa, flipped: bool, whole: bool) -> Vec<f32> {
        let (height, width) = self.size;
        let (inputs, outputs, from) = match flipped {
            true => (self.conv.out_channels, self.conv.in_channels, &self.dy),
            false => (self.conv.in_channels, self.conv.out_channels, &self.x),
        };
        let weights = packed::<V>(isa, &self.conv, flipped, &self.weights, false);
        let mut bias = self.bias.clone();
        bias.resize(bias.len().next_multiple_of(BLOCK), f32::NAN);
        let mut from = Buffer::of([BATCH, inputs, height, width], from);
        let mut to = Buffer::new([BATCH, outputs, height, width]);
        // A concatenation of two ranges is read, and two ranges are written.
        let (cut, first) = (inputs / 3, outputs / 2 / BLOCK * BLOCK);
        let sources = [
            Source { view: from.view(), channels: cut },
            Source { view: from.range(cut), channels: inputs - cut },
        ];
        let epilogue = Epilogue::default();
        let targets = [
            Target { view: to.view(), channels: first, epilogue },
            Target { view: to.range(first), channels: outputs - first, epilogue },
        ];
        let (down, across) = (height.div_ceil(V::TILE.0), width.div_ceil(V::TILE.1));
        for image in 0..BATCH {
            for rows in if whole { vec![(0, down)] } else { cuts(down) } {
                for columns in if whole { vec![(0, across)] } else { cuts(across) } {
                    let tiles = Tiles { image, rows, columns };
                    let mut kernel = Winograd::<V> {
                        size: self.size,
                        sources: &sources,
                        targets: &targets,
                        weights: weights.as_ptr(),
                        bias: if flipped { std::ptr::null() } else { bias.as_ptr() },
                        tiles,
                        scratch: &mut vec![f32::NAN; scratch_len::<V>(&tiles, inputs, outputs)],
                        variant: PhantomData,
                    };
                    // SAFETY: the views are those of live buffers of the convolution's shapes.
                    unsafe { run(isa, &mut kernel) };
                }
            }
        }
        to.nchw()
    }

    /// `tolerance` is relative to the largest value.
    fn check<V: Variant>(&self, name: &str, tolerance: f64) {
        for isa in Isa::available() {
            let what = format!("{name}, {isa}, {:?}, {:?}", self.conv, self.size);
            assert_close(&self.run::<V>(isa, false, true), &self.naive.output, tolerance, &what);
            assert_close(&self.run::<V>(isa, true, true), &self.naive.input_gradient, tolerance, &what);
            for flipped in [false, true] {
                assert_eq!(self.run::<V>(isa, flipped, true), self.run::<V>(isa, flipped, false), "{what}");
            }
        }
    }
}

#[test]
fn all_variants_are_the_definition_however_they_are_cut() {
    for case in Case::all() {
        // Measured: 4.5e-6, 1.6e-6 and 5.6e-7 at most.
        case.check::<F4x6>("F(4x6)", 6e-6);
        case.check::<F4x4>("F(4x4)", 3e-6);
        case.check::<F2x2>("F(2x2)", 1e-6);
    }
}

/// G g Gᵀ by matrix products in f64, with one matrix for columns and one for rows.
fn transformed(down: &[[f64; 3]], across: &[[f64; 3]], taps: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    let pairs = down.iter().flat_map(|row| across.iter().map(move |column| (row, column)));
    pairs
        .map(|(row, column)| {
            (0..9).map(|tap| row[tap / 3] * column[tap % 3] * taps(tap / 3, tap % 3)).sum::<f64>()
        })
        .collect()
}

fn check_pack<V: Variant>(down: &[[f64; 3]], across: &[[f64; 3]]) {
    for channels in [(5, 33), (64, 64), (3, 1)] {
        let conv = conv(channels);
        let weights = numbers(conv.weight_shape().iter().product(), 7);
        for flipped in [false, true] {
            let first = packed::<V>(Isa::Portable, &conv, flipped, &weights, false);
            for isa in Isa::available() {
                assert!(packed::<V>(isa, &conv, flipped, &weights, true) == first, "{isa}, {channels:?}");
            }
            let (inputs, outputs) = if flipped { (channels.1, channels.0) } else { channels };
            let padded = outputs.next_multiple_of(BLOCK);
            let point_len = first.len() / V::POINTS;
            for (output, input) in (0..padded).flat_map(|o| (0..inputs).map(move |i| (o, i))) {
                let expected = transformed(down, across, |y, x| {
                    let from = match flipped {
                        true => (input * outputs + output) * 9 + 8 - (3 * y + x),
                        false => (output * inputs + input) * 9 + 3 * y + x,
                    };
                    if output < outputs { f64::from(weights[from]) } else { 0.0 }
                });
                let at = (output / BLOCK * inputs + input) * BLOCK + output % BLOCK;
                for (point, expected) in expected.into_iter().enumerate() {
                    let found = f64::from(first[point * point_len + at]);
                    // Measured: 2.2e-7, with taps up to 1.
                    assert!((found - expected).abs() <= 4e-7, "{found} instead of {expected}");
                }
            }
        }
    }
}

#[test]
fn packed_weights_are_the_definition_and_the_same_bits_everywhere() {
    let root = std::f64::consts::SQRT_2;
    let at = |a: f64, scale: f64| [scale, scale * a, scale * a * a];
    let (near, far) = (-2.0 / 3.0, 1.0 / 6.0);
    let points = [at(1.0 / root, near), at(-1.0 / root, near), at(root, far), at(-root, far)];
    let [a, b, c, d] = points;
    let four = [[1.0, 0.0, 0.0], a, b, c, d, [0.0, 0.0, 1.0]];
    let two = [[1.0, 0.0, 0.0], at(1.0, 0.5), at(-1.0, 0.5), [0.0, 0.0, 1.0]];
    let pairs = [(1.0, -2.0 / 9.0), (0.5, 32.0 / 45.0), (2.0, 1.0 / 90.0)];
    let pairs = pairs.into_iter().flat_map(|(point, scale)| [at(point, scale), at(-point, scale)]);
    let six: Vec<[f64; 3]> = [[1.0, 0.0, 0.0]].into_iter().chain(pairs).chain([[0.0, 0.0, 1.0]]).collect();
    check_pack::<F4x6>(&four, &six);
    check_pack::<F4x4>(&four, &four);
    check_pack::<F2x2>(&two, &two);
}

/// The root of the mean squared error beside the root of the mean square.
fn error(found: &[f32], expected: &[f64]) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
    let errors = &mut found.iter().zip(expected).map(|(&found, expected)| f64::from(found) - expected);
    (square(errors) / square(&mut expected.iter().copied())).sqrt()
}

/// What the variants' documentation says.
#[test]
fn errors_are_as_documented() {
    let case = Case::new((64, 64), (20, 20));
    let isa = Isa::detect();
    let six = error(&case.run::<F4x6>(isa, false, true), &case.naive.output);
    let four = error(&case.run::<F4x4>(isa, false, true), &case.naive.output);
    let two = error(&case.run::<F2x2>(isa, false, true), &case.naive.output);
    assert!((1.4e-6..1.8e-6).contains(&six), "{six:e}");
    assert!((7e-7..9e-7).contains(&four), "{four:e}");
    assert!((2e-7..4e-7).contains(&two), "{two:e}");
}
