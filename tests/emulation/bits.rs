//! Kernels with vectors of 4, 8 and 16 lanes must give the same bits: each test prints fingerprints of its results, and `neon.sh` compares those of two machines.

use std::marker::PhantomData;

use crate::engine::cpu::BLOCK;
use crate::engine::cpu::denormals::Flushed;
use crate::engine::cpu::direct::{self, Direct};
use crate::engine::cpu::direct_gradient::{self, GroupedWeightGradient, WeightGradient};
use crate::engine::cpu::elementwise::{Combination, Combine};
use crate::engine::cpu::geometry::{Direction, Geometry};
use crate::engine::cpu::grouped::Grouped;
use crate::engine::cpu::pointwise::{self, Pointwise, Rows};
use crate::engine::cpu::pointwise_gradient::{self, PointwiseGradient};
use crate::engine::cpu::simd::{self, Isa, Kernel};
use crate::engine::cpu::view::{Epilogue, Source, Target, View};
use crate::engine::cpu::winograd::{self, F2x2, F4x4, F4x6, Tiles, Variant, Winograd};
use crate::engine::cpu::winograd_gradient::{self, WinogradGradient};
use crate::graph::Conv2d;
use crate::random::Random;

/// Images, rows and columns: no tile divides both.
const SIZE: [usize; 3] = [2, 18, 13];
/// Input and output channels: blocks do not divide them, and both are cut into two ranges.
const CHANNELS: (usize, usize) = (40, 25);
const SLOPE: f32 = 0.05;

/// Values in -1..1.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(&[seed]);
    (0..count).map(|_| (random.uniform() * 2.0 - 1.0) as f32).collect()
}

/// A batch as kernels see it; whatever holds no value is NaN.
struct Images {
    size: [usize; 3],
    channels: usize,
    pixel: usize,
    data: Vec<f32>,
}

impl Images {
    fn new(size: [usize; 3], channels: usize) -> Self {
        let pixel = channels.next_multiple_of(BLOCK);
        Self { size, channels, pixel, data: vec![f32::NAN; size.iter().product::<usize>() * pixel] }
    }

    /// `values` are NHWC without padding.
    fn of(size: [usize; 3], channels: usize, values: &[f32]) -> Self {
        let mut images = Self::new(size, channels);
        for (pixel, values) in images.data.chunks_exact_mut(images.pixel).zip(values.chunks_exact(channels)) {
            pixel[..channels].copy_from_slice(values);
        }
        images
    }

    fn random(size: [usize; 3], channels: usize, seed: u64) -> Self {
        Self::of(size, channels, &numbers(size.iter().product::<usize>() * channels, seed))
    }

    /// The channels from `first` on.
    fn view(&mut self, first: usize) -> View {
        let [_, height, width] = self.size;
        let row = width * self.pixel;
        let base = self.data.as_mut_ptr().wrapping_add(first);
        View { base, pixel: self.pixel, row, image: height * row, rows: height }
    }

    /// All channels, in two ranges.
    fn sources(&mut self) -> [Source; 2] {
        [(0, BLOCK), (BLOCK, self.channels - BLOCK)]
            .map(|(first, channels)| Source { view: self.view(first), channels })
    }

    /// The values, NHWC without padding.
    fn values(&self) -> Vec<f32> {
        let pixels = self.data.chunks_exact(self.pixel);
        pixels.flat_map(|pixel| &pixel[..self.channels]).copied().collect()
    }
}

/// Runs a kernel whose views are those of live buffers of the shapes that it is told.
fn go(isa: Isa, mut kernel: impl Kernel) {
    // SAFETY: every test asks for available instruction sets only, and builds its kernels over buffers that outlive the call.
    unsafe { simd::run(isa, &mut kernel) };
}

/// Prints the FNV-1a hash of the values' bits. Instruction sets with a fused multiply-add share a name, because they must share the bits.
fn fingerprint(isa: Isa, kernel: &str, values: &[f32]) {
    assert!(values.iter().all(|value| value.is_finite()), "{isa} {kernel}: a value is missing");
    let bytes = values.iter().flat_map(|value| value.to_bits().to_le_bytes());
    let hash = bytes
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let arithmetic = if isa == Isa::Portable { "portable" } else { "fused" };
    println!("\nbits: {arithmetic}, {kernel}: {hash:016x}");
}

/// What the epilogue combines a result with, channel by channel.
struct Others([Images; 3]);

impl Others {
    fn new(size: [usize; 3], channels: usize) -> Self {
        Self([20, 21, 22].map(|seed| Images::random(size, channels, seed)))
    }

    /// The whole epilogue for the channels from `first` on.
    fn epilogue(&mut self, first: usize) -> Epilogue {
        let [before, after, mask] = self.0.each_mut().map(|images| images.view(first));
        Epilogue {
            before: Some(before),
            activation: Some(SLOPE),
            after: Some(after),
            mask: Some((mask, SLOPE)),
        }
    }

    /// What becomes of sums.
    fn finish(&self, sums: Vec<f64>) -> Vec<f64> {
        let [before, after, mask] = self.0.each_ref().map(Images::values);
        let leak = |value: f64, like: f64| if like > 0.0 { value } else { value * f64::from(SLOPE) };
        let finish = |(i, sum): (usize, f64)| {
            let sum = sum + f64::from(before[i]);
            leak(leak(sum, sum) + f64::from(after[i]), f64::from(mask[i]))
        };
        sums.into_iter().enumerate().map(finish).collect()
    }
}

/// A convolution of stride 1 that keeps the size, or its input gradient, by the definition. Weights are OIHW.
fn definition(from: &Images, side: usize, weights: &[f32], bias: Option<&[f32]>) -> Vec<f64> {
    let ([batch, height, width], (inputs, outputs)) = (from.size, CHANNELS);
    let (x, margin) = (from.values(), side / 2);
    let written = if bias.is_some() { outputs } else { inputs };
    let mut sums = vec![0.0; batch * height * width * written];
    for position in 0..batch * height * width {
        let (column, row, image) = (position % width, position / width % height, position / (width * height));
        for (output, bias) in bias.into_iter().flatten().enumerate() {
            sums[position * outputs + output] += f64::from(*bias);
        }
        for (index, weight) in weights.iter().enumerate() {
            let (tap, input, output) =
                (index % (side * side), index / (side * side) % inputs, index / (side * side * inputs));
            let (y, x_at) = (row + tap / side, column + tap % side);
            if y < margin || x_at < margin || y >= height + margin || x_at >= width + margin {
                continue;
            }
            let neighbour = (image * height + y - margin) * width + x_at - margin;
            // Forward, the output pixel reads its neighbour; backward, its gradient goes there.
            let (to, from) = match bias {
                Some(_) => (position * outputs + output, neighbour * inputs + input),
                None => (neighbour * inputs + input, position * outputs + output),
            };
            sums[to] += f64::from(x[from]) * f64::from(*weight);
        }
    }
    sums
}

/// That values agree within `tolerance` of the largest.
fn assert_close(found: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    let largest = expected.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    let errors = found.iter().zip(expected).map(|(found, expected)| (f64::from(*found) - expected).abs());
    let error = errors.fold(0.0f64, f64::max) / largest;
    assert!(found.len() == expected.len() && error <= tolerance, "{what}: error {error:e}");
}

/// The kernel under test: writes the targets from the sources with packed weights and a padded bias.
type Forward = fn(Isa, [Source; 2], [Target; 2], &[f32], *const f32);

/// Packs OIHW weights of so many read and written channels, for the input gradient if told so.
type Pack = fn(Isa, &[f32], (usize, usize), bool) -> Vec<f32>;

/// Both directions of a kernel with every epilogue, within `tolerance` of the definition.
fn check(name: &str, side: usize, tolerance: f64, kernel: Forward, pack: Pack) {
    let weights = numbers(CHANNELS.0 * CHANNELS.1 * side * side, 1);
    let bias = numbers(CHANNELS.1, 2);
    for gradient in [false, true] {
        let (reads, writes) = if gradient { (CHANNELS.1, CHANNELS.0) } else { CHANNELS };
        let mut from = Images::random(SIZE, reads, 3);
        let mut others = Others::new(SIZE, writes);
        let sums = definition(&from, side, &weights, (!gradient).then_some(&bias));
        let expected = others.finish(sums);
        let mut padded = bias.clone();
        padded.resize(BLOCK * 2, f32::NAN);
        let bias = if gradient { std::ptr::null() } else { padded.as_ptr() };
        for isa in Isa::available() {
            let mut to = Images::new(SIZE, writes);
            let targets = [(0, BLOCK), (BLOCK, writes - BLOCK)].map(|(first, channels)| Target {
                view: to.view(first),
                channels,
                epilogue: others.epilogue(first),
            });
            let packed = pack(isa, &weights, (reads, writes), gradient);
            kernel(isa, from.sources(), targets, &packed, bias);
            let what = format!("{name}{}", if gradient { ", input gradient" } else { "" });
            assert_close(&to.values(), &expected, tolerance, &format!("{isa} {what}"));
            fingerprint(isa, &what, &to.values());
        }
    }
}

fn tiles<V: Variant>(image: usize) -> [Tiles; 2] {
    let [_, height, width] = SIZE;
    let (height, width) = (height.div_ceil(V::TILE.0), width.div_ceil(V::TILE.1));
    [(0, 2), (2, height)].map(|rows| Tiles { image, rows, columns: (0, width) })
}

fn rows(image: usize) -> [Rows; 2] {
    [(0, 5), (5, SIZE[1])].map(|rows| Rows { image, rows })
}

fn check_winograd<V: Variant>(name: &str, tolerance: f64) {
    let kernel: Forward = |isa, sources, targets, weights, bias| {
        for tiles in (0..SIZE[0]).flat_map(tiles::<V>) {
            let channels = |count: [usize; 2]| count[0] + count[1];
            let (reads, writes) = (
                channels(sources.map(|source| source.channels)),
                channels(targets.map(|target| target.channels)),
            );
            let mut scratch = vec![f32::NAN; winograd::scratch_len::<V>(&tiles, reads, writes)];
            go(
                isa,
                Winograd::<V> {
                    size: (SIZE[1], SIZE[2]),
                    sources: &sources,
                    targets: &targets,
                    weights: weights.as_ptr(),
                    bias,
                    tiles,
                    scratch: &mut scratch,
                    variant: PhantomData,
                },
            );
        }
    };
    let pack: Pack = |isa, weights, (in_channels, out_channels), flipped| {
        let mut packed = vec![f32::NAN; winograd::packed_len::<V>(in_channels, out_channels)];
        let blocks = (0, out_channels.div_ceil(BLOCK));
        let (weights, to, variant) = (weights.as_ptr(), packed.as_mut_ptr(), PhantomData);
        go(
            isa,
            winograd::Pack::<V> { weights, in_channels, out_channels, flipped, blocks, packed: to, variant },
        );
        packed
    };
    check(name, 3, tolerance, kernel, pack);
}

#[test]
fn winograd_convolutions() {
    // Measured: 4.7e-6, 9.5e-7 and 3.1e-7 at most.
    check_winograd::<F4x6>("winograd 4x6", 6e-6);
    check_winograd::<F4x4>("winograd 4x4", 2e-6);
    check_winograd::<F2x2>("winograd 2x2", 1e-6);
}

#[test]
fn pointwise_convolutions() {
    let kernel: Forward = |isa, sources, targets, weights, bias| {
        for piece in (0..SIZE[0]).flat_map(rows) {
            let (width, weights) = (SIZE[2], weights.as_ptr());
            go(isa, Pointwise { width, sources: &sources, targets: &targets, weights, bias, piece });
        }
    };
    let pack: Pack = |_, weights, channels, transposed| {
        let mut packed = vec![f32::NAN; pointwise::packed_len(channels.0, channels.1)];
        pointwise::pack(weights, channels, transposed, 0, &mut packed);
        packed
    };
    check("pointwise", 1, 2e-6, kernel, pack);
}

/// The unit tests compare these with the definition.
#[test]
fn weight_gradients() {
    let (inputs, outputs) = CHANNELS;
    let (mut x, mut dy) = (Images::random(SIZE, inputs, 3), Images::random(SIZE, outputs, 4));
    let (x, dy) = (x.sources(), dy.sources());
    let (pieces, blocks) = (1, (0, outputs.div_ceil(BLOCK)));
    for isa in Isa::available() {
        let mut sums = vec![f32::NAN; winograd_gradient::sums_len(inputs, outputs)];
        let mut scratch = vec![f32::NAN; winograd_gradient::scratch_len(inputs, outputs)];
        let tiles: Vec<_> = (0..SIZE[0]).flat_map(tiles::<F4x4>).collect();
        let (to, size) = (sums.as_mut_ptr(), (SIZE[1], SIZE[2]));
        go(isa, WinogradGradient { size, x: &x, dy: &dy, tiles: &tiles, sums: to, scratch: &mut scratch });
        let (mut weights, mut bias) = (vec![f32::NAN; inputs * outputs * 9], vec![f32::NAN; outputs]);
        go(
            isa,
            winograd_gradient::Finish {
                sums: sums.as_ptr(),
                pieces,
                in_channels: inputs,
                out_channels: outputs,
                blocks,
                weights: weights.as_mut_ptr(),
                bias: bias.as_mut_ptr(),
            },
        );
        fingerprint(isa, "winograd, weight gradient", &[weights, bias].concat());

        let mut sums = vec![f32::NAN; pointwise_gradient::sums_len(inputs, outputs)];
        let mut scratch = vec![f32::NAN; pointwise_gradient::scratch_len(inputs, outputs)];
        let rows: Vec<_> = (0..SIZE[0]).flat_map(rows).collect();
        let to = sums.as_mut_ptr();
        go(
            isa,
            PointwiseGradient {
                width: SIZE[2],
                x: &x,
                dy: &dy,
                rows: &rows,
                sums: to,
                scratch: &mut scratch,
            },
        );
        let (mut weights, mut bias) = (vec![f32::NAN; inputs * outputs], vec![f32::NAN; outputs]);
        go(
            isa,
            pointwise_gradient::Finish {
                sums: sums.as_ptr(),
                pieces,
                in_channels: inputs,
                out_channels: outputs,
                blocks,
                weights: weights.as_mut_ptr(),
                bias: bias.as_mut_ptr(),
            },
        );
        fingerprint(isa, "pointwise, weight gradient", &[weights, bias].concat());
    }
}

/// The unit tests compare these with the definition.
#[test]
fn general_convolutions() {
    for (name, in_channels, out_channels, groups) in [("direct", 40, 25, 1), ("grouped", 40, 20, 5)] {
        let conv = Conv2d { in_channels, out_channels, kernel: 3, stride: 2, padding: 1, groups, bias: true };
        let geometry = Geometry::of(&conv, (SIZE[1], SIZE[2]));
        let (height, width) = geometry.output();
        let mut x = Images::random(SIZE, in_channels, 3);
        let mut dy = Images::random([SIZE[0], height, width], out_channels, 4);
        let weights = numbers(conv.weight_shape().iter().product(), 1);
        let mut padded = numbers(out_channels, 2);
        padded.resize(out_channels.next_multiple_of(BLOCK), f32::NAN);
        for isa in Isa::available() {
            for direction in [Direction::Forward, Direction::InputGradient] {
                let mut packed = vec![f32::NAN; direct::packed_len(&conv, direction)];
                direct::pack(&conv, direction, &weights, 0, &mut packed);
                let (from, to, bias, what) = match direction {
                    Direction::Forward => (&mut x, &dy, padded.as_ptr(), ""),
                    Direction::InputGradient => (&mut dy, &x, std::ptr::null(), ", input gradient"),
                };
                let mut to = Images::new(to.size, to.channels);
                let source = Source { view: from.view(0), channels: from.channels };
                let target =
                    Target { view: to.view(0), channels: to.channels, epilogue: Epilogue::default() };
                for image in 0..SIZE[0] {
                    let (weights, piece) = (packed.as_ptr(), Rows { image, rows: (0, to.size[1]) });
                    if groups == 1 {
                        let (sources, targets) = (&from.sources(), &[target]);
                        go(isa, Direct { geometry, direction, sources, targets, weights, bias, piece });
                    } else {
                        go(
                            isa,
                            Grouped { geometry, direction, groups, source, target, weights, bias, piece },
                        );
                    }
                }
                fingerprint(isa, &format!("{name}{what}"), &to.values());
            }
            let len = direct_gradient::sums_len(&conv);
            let mut sums = vec![f32::NAN; len * SIZE[0]];
            for (image, sums) in sums.chunks_exact_mut(len).enumerate() {
                let (sums, piece) = (sums.as_mut_ptr(), Rows { image, rows: (0, height) });
                if groups == 1 {
                    let (sources, gradients) = (&x.sources(), &dy.sources());
                    go(isa, WeightGradient { geometry, sources, gradients, sums, piece });
                } else {
                    let source = Source { view: x.view(0), channels: in_channels };
                    let gradient = Source { view: dy.view(0), channels: out_channels };
                    go(isa, GroupedWeightGradient { geometry, groups, source, gradient, sums, piece });
                }
            }
            let (mut weight, mut bias) = (vec![f32::NAN; weights.len()], vec![f32::NAN; out_channels]);
            go(
                isa,
                direct_gradient::Finish {
                    conv: &conv,
                    sums: sums.as_ptr(),
                    distance: len,
                    pieces: SIZE[0],
                    outputs: (0, out_channels),
                    weight: weight.as_mut_ptr(),
                    bias: bias.as_mut_ptr(),
                },
            );
            fingerprint(isa, &format!("{name}, weight gradient"), &[weight, bias].concat());
        }
    }
}

/// The exponential in it is left to the compiler to make vectors of.
#[test]
fn sigmoids() {
    let mut x = Images::random(SIZE, CHANNELS.0, 3);
    x.data.iter_mut().for_each(|value| *value *= 20.0);
    for isa in Isa::available() {
        let mut to = Images::new(SIZE, CHANNELS.0);
        let target = Target { view: to.view(0), channels: CHANNELS.0, epilogue: Epilogue::default() };
        for piece in (0..SIZE[0]).flat_map(rows) {
            let (combination, inputs) = (Combination::Sigmoid, &[x.view(0)]);
            go(isa, Combine { width: SIZE[2], combination, inputs, target, room: x.pixel, piece });
        }
        fingerprint(isa, "sigmoid", &to.values());
    }
}

/// Products of 1e-19 and -1e-19..1e-19 are all denormal: gradual underflow keeps them, flushing does not, whatever the instruction set.
#[test]
fn denormals_in_vectors() {
    let values: Vec<f32> =
        numbers(SIZE.iter().product::<usize>() * BLOCK, 3).iter().map(|v| v * 1e-19).collect();
    let mut x = Images::of(SIZE, BLOCK, &values);
    let (epilogue, slope) = (Epilogue { activation: Some(1e-19), ..Epilogue::default() }, 1e-19f32);
    for isa in Isa::available() {
        for flush in [false, true] {
            let mut to = Images::new(SIZE, BLOCK);
            let target = Target { view: to.view(0), channels: BLOCK, epilogue };
            {
                let _flushed = flush.then(Flushed::now);
                for piece in (0..SIZE[0]).flat_map(rows) {
                    let (combination, inputs) = (Combination::Sum, &[x.view(0)]);
                    go(isa, Combine { width: SIZE[2], combination, inputs, target, room: BLOCK, piece });
                }
            }
            for (&x, &found) in values.iter().zip(&to.values()) {
                let expected = match x > 0.0 {
                    true => x,
                    false if flush => 0.0,
                    false => x * slope,
                };
                assert!(found == expected, "{isa}, flushing {flush}: {found:e} instead of {expected:e}");
            }
            fingerprint(isa, if flush { "denormals flushed" } else { "denormals" }, &to.values());
        }
    }
}
