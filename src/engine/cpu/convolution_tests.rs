//! Every general convolution kernel against the definition in f64.

use super::direct::{self, Direct};
use super::direct_gradient::{Finish, GroupedWeightGradient, WeightGradient, sums_len};
use super::fixtures::{Buffer, Naive, SIZES, assert_close, cuts, numbers};
use super::geometry::{Direction, Geometry};
use super::grouped::Grouped;
use super::pointwise::Rows;
use super::simd::{Isa, run};
use super::view::{Epilogue, Source};
use crate::graph::Conv2d;

const BATCH: usize = 2;
/// Relative to the largest value; measured: at most 1.4e-6, with multiplications and additions rounded apart; 1.3e-6 with fused ones.
const TOLERANCE: f64 = 4e-6;

fn conv(channels: (usize, usize), (kernel, stride, padding): (usize, usize, usize), groups: usize) -> Conv2d {
    Conv2d { in_channels: channels.0, out_channels: channels.1, kernel, stride, padding, groups, bias: true }
}

fn cases() -> Vec<(Conv2d, (usize, usize))> {
    let mut cases = Vec::new();
    for shape in [(3, 1, 1), (5, 1, 2), (3, 2, 0), (3, 2, 1), (1, 1, 0), (1, 2, 0), (4, 3, 2), (2, 1, 3)] {
        for size in SIZES {
            for channels in [(1, 3), (3, 16), (16, 5), (25, 50), (50, 25)] {
                cases.push((conv(channels, shape, 1), size));
            }
            for (channels, groups) in
                [((16, 16), 16), ((50, 50), 50), ((3, 3), 3), ((6, 4), 2), ((25, 50), 25), ((40, 20), 5)]
            {
                cases.push((conv(channels, shape, groups), size));
            }
        }
    }
    cases.push((conv((64, 64), (3, 1, 1), 1), (17, 9)));
    cases.push((conv((300, 5), (3, 1, 1), 1), (2, 7)));
    cases.retain(|(conv, size)| {
        let (height, width) = Geometry::of(conv, *size).output();
        height > 0 && width > 0
    });
    cases
}

struct Case {
    conv: Conv2d,
    geometry: Geometry,
    x: Vec<f32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
    dy: Vec<f32>,
    naive: Naive,
}

impl Case {
    fn new((conv, (height, width)): (Conv2d, (usize, usize))) -> Self {
        let geometry = Geometry::of(&conv, (height, width));
        let (oh, ow) = geometry.output();
        let x = numbers(BATCH * conv.in_channels * height * width, 1);
        let weights = numbers(conv.weight_shape().iter().product(), 2);
        let bias = numbers(conv.out_channels, 3);
        let dy = numbers(BATCH * conv.out_channels * oh * ow, 4);
        let naive = Naive::new(&conv, [BATCH, height, width], &x, &weights, &bias, &dy);
        Self { conv, geometry, x, weights, bias, dy, naive }
    }

    fn input_shape(&self) -> [usize; 4] {
        [BATCH, self.conv.in_channels, self.geometry.size.0, self.geometry.size.1]
    }

    fn output_shape(&self) -> [usize; 4] {
        let (height, width) = self.geometry.output();
        [BATCH, self.conv.out_channels, height, width]
    }

    /// The convolution or its input gradient, with a kernel run for each piece.
    fn run(&self, isa: Isa, direction: Direction, whole: bool, epilogue: Epilogue) -> Vec<f32> {
        let mut packed = vec![f32::NAN; direct::packed_len(&self.conv, direction)];
        // Block by block, as threads that share a layer do.
        let written = match direction {
            Direction::Forward => self.conv.out_channels,
            Direction::InputGradient => self.conv.in_channels,
        };
        let block_len = packed.len() / written.div_ceil(super::BLOCK);
        for (block, packed) in packed.chunks_exact_mut(block_len).enumerate() {
            direct::pack(&self.conv, direction, &self.weights, block, packed);
        }
        let mut bias = self.bias.clone();
        bias.resize(bias.len().next_multiple_of(super::BLOCK), f32::NAN);
        let (mut from, mut to, bias) = match direction {
            Direction::Forward => {
                (Buffer::of(self.input_shape(), &self.x), Buffer::new(self.output_shape()), bias.as_ptr())
            }
            Direction::InputGradient => {
                (Buffer::of(self.output_shape(), &self.dy), Buffer::new(self.input_shape()), std::ptr::null())
            }
        };
        let (source, target) = (from.source(), to.target(epilogue));
        // Two ranges of one buffer stand for a concatenation.
        let cut = source.channels / 2;
        let halves = [
            Source { view: from.view(), channels: cut },
            Source { view: from.range(cut), channels: source.channels - cut },
        ];
        let rows = match direction {
            Direction::Forward => self.geometry.output().0,
            Direction::InputGradient => self.geometry.size.0,
        };
        for image in 0..BATCH {
            for rows in if whole { vec![(0, rows)] } else { cuts(rows) } {
                let piece = Rows { image, rows };
                let weights = packed.as_ptr();
                let geometry = self.geometry;
                if self.conv.groups == 1 {
                    let (sources, targets) = (&halves, &[target]);
                    let mut kernel = Direct { geometry, direction, sources, targets, weights, bias, piece };
                    // SAFETY: the views are those of live buffers of the convolution's shapes.
                    unsafe { run(isa, &mut kernel) };
                } else {
                    let groups = self.conv.groups;
                    let mut kernel =
                        Grouped { geometry, direction, groups, source, target, weights, bias, piece };
                    // SAFETY: as above.
                    unsafe { run(isa, &mut kernel) };
                }
            }
        }
        to.nchw()
    }

    /// The weight gradient and the bias gradient.
    fn weight_gradient(&self, isa: Isa) -> (Vec<f32>, Vec<f32>) {
        let mut x = Buffer::of(self.input_shape(), &self.x);
        let mut dy = Buffer::of(self.output_shape(), &self.dy);
        let mut sums = Vec::new();
        let len = sums_len(&self.conv);
        let (geometry, source, gradient) = (self.geometry, x.source(), dy.source());
        for image in 0..BATCH {
            for rows in cuts(self.geometry.output().0) {
                let piece = Rows { image, rows };
                let mut part = vec![f32::NAN; len];
                let to = part.as_mut_ptr();
                if self.conv.groups == 1 {
                    let (sources, gradients) = (&[source], &[gradient]);
                    let mut kernel = WeightGradient { geometry, sources, gradients, sums: to, piece };
                    // SAFETY: the views are those of live buffers of the convolution's shapes.
                    unsafe { run(isa, &mut kernel) };
                } else {
                    let groups = self.conv.groups;
                    let mut kernel =
                        GroupedWeightGradient { geometry, groups, source, gradient, sums: to, piece };
                    // SAFETY: as above.
                    unsafe { run(isa, &mut kernel) };
                }
                sums.extend(part);
            }
        }
        let mut weight = vec![f32::NAN; self.weights.len()];
        let mut bias = vec![f32::NAN; self.bias.len()];
        for outputs in cuts(self.conv.out_channels) {
            let mut kernel = Finish {
                conv: &self.conv,
                sums: sums.as_ptr(),
                distance: len,
                pieces: sums.len() / len,
                outputs,
                weight: weight.as_mut_ptr(),
                bias: bias.as_mut_ptr(),
            };
            // SAFETY: the pieces are all there, and the gradients have room for every channel.
            unsafe { run(isa, &mut kernel) };
        }
        (weight, bias)
    }
}

#[test]
fn forward_and_gradients_are_the_definition() {
    for case in cases().into_iter().map(Case::new) {
        for isa in Isa::available() {
            let what = format!("{isa}, {:?}, {:?}", case.conv, case.geometry.size);
            let none = Epilogue::default();
            let output = case.run(isa, Direction::Forward, false, none);
            assert_close(&output, &case.naive.output, TOLERANCE, &what);
            let input = case.run(isa, Direction::InputGradient, false, none);
            assert_close(&input, &case.naive.input_gradient, TOLERANCE, &what);
            let (weight, bias) = case.weight_gradient(isa);
            assert_close(&weight, &case.naive.weight_gradient, TOLERANCE, &what);
            assert_close(&bias, &case.naive.bias_gradient, TOLERANCE, &what);
        }
    }
}

#[test]
fn the_cut_does_not_change_a_bit() {
    for case in cases().into_iter().map(Case::new) {
        for direction in [Direction::Forward, Direction::InputGradient] {
            let run = |whole| case.run(Isa::detect(), direction, whole, Epilogue::default());
            assert_eq!(run(true), run(false), "{:?}", case.conv);
        }
    }
}

/// Where pixels a stride apart are finished together, the epilogue's views must keep pace.
#[test]
fn the_epilogue_finds_its_pixels_in_both_directions() {
    for (channels, groups) in [((16, 25), 1), ((6, 6), 6)] {
        let case = Case::new((conv(channels, (3, 2, 1), groups), (17, 9)));
        for (direction, shape, plain) in [
            (Direction::Forward, case.output_shape(), &case.naive.output),
            (Direction::InputGradient, case.input_shape(), &case.naive.input_gradient),
        ] {
            let values: Vec<_> = (10..13).map(|seed| numbers(plain.len(), seed)).collect();
            let mut buffers: Vec<_> = values.iter().map(|values| Buffer::of(shape, values)).collect();
            let expected: Vec<f64> = (0..plain.len())
                .map(|i| {
                    let sum = plain[i] + f64::from(values[0][i]);
                    let active = if sum > 0.0 { sum } else { 0.25 * sum } + f64::from(values[1][i]);
                    if values[2][i] > 0.0 { active } else { 0.5 * active }
                })
                .collect();
            let epilogue = Epilogue {
                before: Some(buffers[0].view()),
                activation: Some(0.25),
                after: Some(buffers[1].view()),
                mask: Some((buffers[2].view(), 0.5)),
            };
            for isa in Isa::available() {
                let found = case.run(isa, direction, false, epilogue);
                assert_close(&found, &expected, TOLERANCE, &format!("{isa}, {direction:?}"));
            }
        }
    }
}
