//! Cases of the kernels that go value by value.

use serde::Deserialize;

use super::{Builder, Compared, Prepared, Step, for_each_math};
use crate::engine::cuda::launch::elementwise as launch;
use crate::engine::cuda::params::{Elementwise, MAX_INPUTS, Operand, Part};
use crate::engine::cuda::{Format, Math};

/// Compilations of the kernels that differ.
pub const MATHS: [Math; 3] = [Math::F32, Math::F16, Math::Bf16];

/// Elements from one pixel of a buffer to the next, and the first channel of a range in it.
pub(super) type Range = [i32; 2];

/// A kernel.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kernel {
    Sum,
    Product,
    Sigmoid,
    SigmoidGradient,
}

/// A case of a list.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    kernel: Kernel,
    pixels: usize,
    channels: i32,
    /// Channels to be written, with zeros: as many as `channels` if not given.
    written: Option<i32>,
    /// Where the result goes; the first input's place if not given.
    target: Option<Range>,
    inputs: Vec<Range>,
    before: Option<Range>,
    after: Option<Range>,
    mask: Option<Range>,
    #[serde(default)]
    mask_slope: f32,
    /// LeakyReLU's.
    slope: Option<f32>,
    /// The first channel of the bias.
    bias: Option<usize>,
    /// About the magnitude of the inputs.
    #[serde(default = "one")]
    scale: f32,
    /// Other channels follow in all buffers that are read.
    #[serde(default)]
    goes_on: bool,
    /// Some values are infinite or not numbers.
    #[serde(default)]
    not_finite: bool,
    /// Shares of the largest magnitude, for each of [`MATHS`].
    tolerances: [f64; MATHS.len()],
}

fn one() -> f32 {
    1.0
}

/// All cases.
///
/// Tolerances are 0 where only one operation rounds, because twice the precision then gives the same bits. Elsewhere f32 has 3e-7, about three times the largest
/// difference seen (9.6e-8), and the others have one unit in the last place of the largest value: a sum that is off by less may round to the other side.
///
/// # Errors
/// None in practice: the list is part of the program.
pub fn cases() -> Result<Vec<Case>, serde_json::Error> {
    serde_json::from_str(include_str!("../../../../tests/fixtures/cuda/cases/elementwise.json"))
}

/// All cases for each compilation of the kernels, ready to run.
///
/// # Errors
/// As for [`cases`].
pub fn prepared() -> Result<Vec<Prepared>, serde_json::Error> {
    Ok(for_each_math(&cases()?, MATHS, Case::prepare))
}

/// A range of a buffer with values; behind it there are zeros, or other values where the range `goes_on`.
pub(super) fn operand(
    builder: &mut Builder,
    format: Format,
    pixels: usize,
    ([pixel, first], channels, goes_on): (Range, i32, bool),
    mut value: impl FnMut(&mut Builder) -> f32,
) -> Operand {
    let mut values = Vec::new();
    for _ in 0..pixels {
        let end = if goes_on { pixel } else { first + channels };
        values.extend((0..pixel).map(|channel| if channel < end { value(builder) } else { 0.0 }));
    }
    let base = builder.values(format, values);
    Operand { address: base + first as u64 * format.bytes() as u64, pixel, unused: 0 }
}

/// A random value, which is now and then not finite.
pub(super) fn any_value(builder: &mut Builder, scale: f32) -> f32 {
    match builder.random().below(16) {
        0 => f32::NAN,
        1 => f32::INFINITY,
        2 => f32::NEG_INFINITY,
        _ => builder.value(scale),
    }
}

impl Case {
    /// The case for one compilation of the kernels. `number` is its number in the list.
    pub fn prepare(&self, math: Math, number: usize) -> Prepared {
        let (format, channels, pixels) = (math.format(), self.channels, self.pixels);
        let mut builder = Builder::new(&[0x656c_656d, number as u64]);
        let mut random = |range: Range, scale: f32| {
            operand(&mut builder, format, pixels, (range, channels, self.goes_on), |builder| {
                match self.not_finite {
                    true => any_value(builder, scale),
                    false => builder.value(scale),
                }
            })
        };
        let mut inputs = [Operand::default(); MAX_INPUTS];
        for (input, range) in inputs.iter_mut().zip(&self.inputs) {
            *input = random(*range, self.scale);
        }
        let [before, after, mask] =
            [self.before, self.after, self.mask].map(|range| range.map(|range| random(range, 1.0)));
        let (target, target_pixel) = match self.target {
            Some([pixel, first]) => {
                let base = builder.garbage(pixels * pixel as usize * format.bytes());
                (base + first as u64 * format.bytes() as u64, pixel)
            }
            None => (inputs[0].address, inputs[0].pixel),
        };
        let bias = self.bias.map_or(0, |first| {
            let values = first + (channels.unsigned_abs() as usize).next_multiple_of(8);
            builder.random_values(Format::F32, values, 1.0) + (first * size_of::<f32>()) as u64
        });
        let part = Part {
            start: 0,
            channels,
            written: self.written.unwrap_or(channels),
            activation: self.slope.is_some().into(),
            slope: self.slope.unwrap_or_default(),
            mask_slope: self.mask_slope,
            before: before.unwrap_or_default(),
            after: after.unwrap_or_default(),
            mask: mask.unwrap_or_default(),
        };
        let input_count = self.inputs.len() as i32;
        let p = Elementwise { inputs, part, bias, target, target_pixel, input_count, pixels: pixels as u64 };
        let launch = match self.kernel {
            Kernel::Sum => launch::sum(math, &p),
            Kernel::Product => launch::product(math, &p),
            Kernel::Sigmoid => launch::sigmoid(math, &p),
            Kernel::SigmoidGradient => launch::sigmoid_gradient(math, &p),
        };
        let tolerances = MATHS.iter().zip(self.tolerances);
        let tolerance = tolerances.filter(|(at, _)| **at == math).map(|(_, tolerance)| tolerance).next();
        let first = self.target.or(self.inputs.first().copied()).map_or(0, |[_, first]| first);
        let compared = Compared {
            name: "target",
            address: target - first as u64 * format.bytes() as u64,
            count: (pixels * target_pixel as usize) as u64,
            stored: format.into(),
            tolerance: tolerance.unwrap_or_default(),
            exact_zeros: true,
        };
        Prepared {
            name: format!("{} {number} {math:?}: {pixels} pixels of {channels} channels", launch.kernel),
            math,
            memory: builder.finish(),
            steps: vec![Step { launch, params: p.into() }],
            compared: vec![compared],
            pointers: Vec::new(),
        }
    }
}
