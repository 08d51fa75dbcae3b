//! Cases for the gradients of weights and biases: `tests/fixtures/cuda/cases/gradient.json`.

use serde::Deserialize;

use super::{Builder, Compared, Prepared, Step, Stored};
use crate::engine::cuda::params::{Finish, MAX_SOURCES, Source, WeightGradient};
use crate::engine::cuda::{Math, launch};

const LIST: &str = include_str!("../../../../tests/fixtures/cuda/cases/gradient.json");

/// In which mathematics every case runs.
const MATHS: [Math; 3] = [Math::F32, Math::Tf32, Math::Bf16];
/// Magnitude of dy; that of x is 1. They differ because they do in training, where a gradient in place of a value would not be noticed otherwise.
const GRADIENT_SCALE: f32 = 0.01;

/// What tensor cores may be off by more than a case says. Their additions cut off what does not fit, so each of up to 30 instructions in a row can lose a
/// unit in the last place,
/// 2⁻²³, of a sum that may have been larger than it ends up (Fasi, Higham, Mikaitis, Pranesh: Numerical behavior of NVIDIA tensor cores, 2021).
const TENSOR_CORE_LOSS: f64 = 1e-5;

/// A range of channels in a buffer of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// How many channels.
    pub channels: i32,
    /// Which of the buffer's is the first.
    #[serde(default)]
    pub first: i32,
    /// Channels of the buffer; all others hold garbage.
    pub pixel: i32,
}

/// A convolution whose gradients are taken.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Names it in reports.
    pub name: String,
    /// Names its random numbers.
    pub seed: u64,
    /// What it read.
    pub inputs: Vec<Range>,
    /// The gradient of what it wrote.
    pub gradients: Vec<Range>,
    /// Images of the batch.
    pub images: i32,
    /// Height of the input in pixels.
    pub height: i32,
    /// Width of the input in pixels.
    pub width: i32,
    /// Side of the kernel.
    pub kernel: i32,
    /// 1 if not given.
    pub stride: Option<i32>,
    /// Half of the kernel if not given.
    pub padding: Option<i32>,
    /// 1 if not given.
    pub groups: Option<i32>,
    /// Whether it has a bias.
    #[serde(default)]
    pub bias: bool,
    /// Whether the kernel for all convolutions is to do it, though a faster one can.
    #[serde(default)]
    pub direct: bool,
    /// Parts of the pixels.
    pub splits: i32,
    /// The largest difference that is accepted, as a share of the largest magnitude: about three times what f32 sums in another order were seen to differ by.
    pub tolerance_relative: f64,
}

/// All cases.
///
/// # Errors
/// The list cannot be read.
pub fn cases() -> Result<Vec<Case>, serde_json::Error> {
    serde_json::from_str(LIST)
}

/// All cases in every mathematics that has gradients, ready to run.
///
/// # Errors
/// The list cannot be read.
pub fn prepared() -> Result<Vec<Prepared>, serde_json::Error> {
    let cases = cases()?;
    Ok(cases.iter().flat_map(|case| MATHS.into_iter().filter_map(|math| case.prepare(math))).collect())
}

impl Case {
    /// Memory and launches. None where the mathematics has no gradients: f16.
    pub fn prepare(&self, math: Math) -> Option<Prepared> {
        let mut builder = Builder::new(&[self.seed]);
        let mut p = self.params();
        p.inputs = ranges(&mut builder, math, &self.inputs, [self.images, self.height, self.width], 1.0);
        p.gradients =
            ranges(&mut builder, math, &self.gradients, [self.images, p.height, p.width], GRADIENT_SCALE);
        let weights = i32::try_from(launch::gradient::sums(&p)).ok()?;
        let loss = if math == Math::F32 { 0.0 } else { TENSOR_CORE_LOSS };
        let mut results = Results {
            splits: self.splits,
            math,
            builder,
            compared: Vec::new(),
            tolerance: self.tolerance_relative + loss,
        };
        let weight = results.of(weights, ["sums of parts", "weight gradient"])?;
        p.sums = weight.0;
        let mut finish = vec![weight.1];
        if self.bias {
            let bias = results.of(self.out_channels(), ["sums of parts of the bias", "bias gradient"])?;
            p.bias_sums = bias.0;
            finish.push(bias.1);
        }
        let gradient = if self.direct {
            launch::gradient::weight_gradient_direct
        } else {
            launch::gradient::weight_gradient
        };
        let mut steps = vec![Step { launch: gradient(&p, math)?, params: p.into() }];
        steps.append(&mut finish);
        Some(Prepared {
            name: format!("gradient: {} ({math:?})", self.name),
            math,
            memory: results.builder.finish(),
            steps,
            compared: results.compared,
            pointers: Vec::new(),
        })
    }

    fn out_channels(&self) -> i32 {
        self.gradients.iter().map(|range| range.channels).sum()
    }

    /// Everything but addresses.
    fn params(&self) -> WeightGradient {
        let padding = self.padding.unwrap_or(self.kernel / 2);
        let stride = self.stride.unwrap_or(1).max(1);
        let extent = |length: i32| (length + 2 * padding - self.kernel) / stride + 1;
        WeightGradient {
            input_count: self.inputs.len() as i32,
            gradient_count: self.gradients.len() as i32,
            images: self.images,
            height: extent(self.height),
            width: extent(self.width),
            input_height: self.height,
            input_width: self.width,
            in_channels: self.inputs.iter().map(|range| range.channels).sum(),
            out_channels: self.out_channels(),
            kernel: self.kernel,
            stride,
            padding,
            groups: self.groups.unwrap_or(1),
            splits: self.splits,
            ..WeightGradient::default()
        }
    }
}

/// Buffers for sums, and what is compared in them.
struct Results {
    splits: i32,
    math: Math,
    builder: Builder,
    compared: Vec<Compared>,
    tolerance: f64,
}

impl Results {
    /// Two buffers, for the sums of all parts and for their sum: the address of the first, and the launch that fills the second.
    fn of(&mut self, count: i32, names: [&'static str; 2]) -> Option<(u64, Step)> {
        let row = usize::try_from(count).ok()?;
        let rows = [usize::try_from(self.splits).ok()?, 1];
        let mut addresses = [0; 2];
        for ((name, rows), to) in names.into_iter().zip(rows).zip(&mut addresses) {
            *to = self.builder.garbage(rows * row * size_of::<f32>());
            self.compared.push(Compared {
                name,
                address: *to,
                count: (rows * row) as u64,
                stored: Stored::F32,
                tolerance: self.tolerance,
                exact_zeros: false,
            });
        }
        let params = Finish { sums: addresses[0], target: addresses[1], count, splits: self.splits };
        let launch = launch::gradient::finish_gradient(&params, self.math)?;
        Some((addresses[0], Step { launch, params: params.into() }))
    }
}

/// Buffers of pixels: random values in the channels of the range, and values that are not numbers in all others.
pub(super) fn ranges(
    builder: &mut Builder,
    math: Math,
    ranges: &[Range],
    pixels: [i32; 3],
    scale: f32,
) -> [Source; MAX_SOURCES] {
    let mut sources = [Source::default(); MAX_SOURCES];
    let pixels: i32 = pixels.into_iter().product();
    for (range, source) in ranges.iter().zip(&mut sources) {
        let mut values = Vec::new();
        for _ in 0..pixels {
            for channel in 0..range.pixel {
                let inside = (range.first..range.first + range.channels).contains(&channel);
                values.push(if inside { builder.value(scale) } else { f32::NAN });
            }
        }
        let address = builder.values(math.format(), values);
        let first = u64::from(range.first.unsigned_abs()) * math.format().bytes() as u64;
        *source = Source { address: address + first, pixel: range.pixel, channels: range.channels };
    }
    sources
}

#[cfg(test)]
#[path = "gradient_tests.rs"]
mod tests;
