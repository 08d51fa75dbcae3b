//! Cases of what a library's convolutions need besides themselves.

use serde::Deserialize;

use super::gradient::{Range, ranges};
use super::{Builder, Compared, Prepared, Step, Stored, for_each_math};
use crate::engine::cuda::launch::library as launch;
use crate::engine::cuda::params::{Filter, WeightGradient};
use crate::engine::cuda::{Format, Math};

/// Compilations of the kernels that differ.
const MATHS: [Math; 3] = [Math::F32, Math::F16, Math::Bf16];

/// A case of a list.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kernel", rename_all = "snake_case", deny_unknown_fields)]
pub enum Case {
    /// `pack_filter`: every value is rounded once, as the twin does it.
    PackFilter(Shape),
    /// `unpack_filter`: every value is only moved.
    UnpackFilter(Shape),
    /// `bias_gradient`.
    BiasGradient {
        /// What is summed.
        gradients: Vec<Range>,
        /// Images, height and width.
        size: [i32; 3],
        /// Parts of the pixels.
        splits: i32,
        /// The largest difference that is accepted, as a share of the largest magnitude: about three times what was seen.
        tolerance_relative: f64,
    },
}

/// A convolution's weights.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Outputs, and inputs of a group.
    channels: [i32; 2],
    /// The same with those that only fill up.
    padded: [i32; 2],
    /// Side of the kernel.
    side: i32,
    /// Whether there is a bias.
    #[serde(default)]
    bias: bool,
}

/// All cases.
///
/// # Errors
/// None in practice: the list is part of the program.
pub fn cases() -> Result<Vec<Case>, serde_json::Error> {
    serde_json::from_str(include_str!("../../../../tests/fixtures/cuda/cases/library.json"))
}

/// All cases for each compilation of the kernels, ready to run.
///
/// # Errors
/// As for [`cases`].
pub fn prepared() -> Result<Vec<Prepared>, serde_json::Error> {
    Ok(for_each_math(&cases()?, MATHS, Case::prepare))
}

impl Case {
    /// The case for one compilation of the kernels. `number` is its number in the list.
    pub fn prepare(&self, math: Math, number: usize) -> Prepared {
        let mut builder = Builder::new(&[0x6c69_6272, number as u64]);
        let (step, compared) = match self {
            Self::PackFilter(shape) => {
                let told = shape.told(&mut builder, math, true);
                (Step { launch: launch::pack_filter(math, &told), params: told.into() }, Vec::new())
            }
            Self::UnpackFilter(shape) => {
                let told = shape.told(&mut builder, math, false);
                (Step { launch: launch::unpack_filter(math, &told), params: told.into() }, Vec::new())
            }
            &Self::BiasGradient { ref gradients, size, splits, tolerance_relative } => {
                let sources = ranges(&mut builder, math, gradients, size, 1.0);
                let out_channels: i32 = gradients.iter().map(|range| range.channels).sum();
                let count = out_channels.unsigned_abs() * splits.unsigned_abs();
                let [images, height, width] = size;
                let told = WeightGradient {
                    gradients: sources,
                    gradient_count: gradients.len() as i32,
                    bias_sums: builder.garbage(count as usize * size_of::<f32>()),
                    images,
                    height,
                    width,
                    out_channels,
                    splits,
                    ..WeightGradient::default()
                };
                let compared = Compared {
                    name: "sums of parts of the bias",
                    address: told.bias_sums,
                    count: count.into(),
                    stored: Stored::F32,
                    tolerance: tolerance_relative,
                    exact_zeros: false,
                };
                (Step { launch: launch::bias_gradient(math, &told), params: told.into() }, vec![compared])
            }
        };
        Prepared {
            name: format!("{} {number} ({math:?})", step.launch.kernel),
            math,
            memory: builder.finish(),
            steps: vec![step],
            compared,
            pointers: Vec::new(),
        }
    }
}

impl Shape {
    /// What a kernel is told: with random weights to be packed, or a random filter to be unpacked.
    fn told(&self, builder: &mut Builder, math: Math, pack: bool) -> Filter {
        let (format, taps) = (math.format(), (self.side * self.side) as usize);
        let count = |[outputs, inputs]: [i32; 2]| outputs as usize * inputs as usize * taps;
        let [outputs, inputs] = self.channels;
        let [padded_outputs, padded_inputs] = self.padded;
        let (weights, filter) = (count(self.channels), count(self.padded));
        let mut told =
            Filter { outputs, inputs, kernel: self.side, padded_outputs, padded_inputs, ..Filter::default() };
        if pack {
            told.weight = builder.random_values(Format::F32, weights, 1.0);
            told.filter = builder.garbage(filter * format.bytes());
            told.padded_bias = builder.garbage(padded_outputs as usize * size_of::<f32>());
            if self.bias {
                told.bias = builder.random_values(Format::F32, outputs as usize, 1.0);
            }
        } else {
            told.weight = builder.garbage(weights * size_of::<f32>());
            told.filter = builder.random_values(format, filter, 1.0);
        }
        told
    }
}
