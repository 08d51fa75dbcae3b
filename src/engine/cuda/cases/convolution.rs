//! Cases for convolutions, their input gradients and the packing of weights.

use serde::Deserialize;

use super::{Builder, Compared, Prepared, Step};
use crate::engine::cuda::launch::convolution::{self as launch, Family};
use crate::engine::cuda::params::{Convolution, MAX_SOURCES, Operand, Pack, Part, Source};
use crate::engine::cuda::{Format, Math};

/// Every kind of mathematics that the kernels are compiled for.
pub const MATHS: [Math; 4] = [Math::F32, Math::Tf32, Math::F16, Math::Bf16];

/// The list of cases.
const LIST: &str = include_str!("../../../../tests/fixtures/cuda/cases/convolution.json");

/// What is in the file.
#[derive(Deserialize)]
struct List {
    tolerance_relative: Tolerances,
    cases: Vec<Case>,
}

/// What is accepted, as a share of the largest magnitude that is expected in the target. The largest that was seen for targets in f32 on the software GPU, which adds in f32 as the
/// PTX says, is 0.9 millionths.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct Tolerances {
    /// Targets in f32 after plain instructions: three times what was seen, which depends on the order in which products are added.
    f32: f64,
    /// Targets in f32 after matrix instructions. A GPU's matrix units cut off what does not fit where f32's own instructions round, so that each of about a hundred additions may
    /// err by a unit in the last place or two, always in the same direction.
    matrix: f64,
    /// Targets in f16: one unit in the last place of the largest, which is what remains where sums differ just where they are rounded.
    f16: f64,
    /// Targets in bf16, likewise.
    bf16: f64,
}

/// One convolution.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Names it.
    pub name: String,
    /// Names its random numbers.
    pub seed: u64,
    /// 1 or more images.
    pub images: i32,
    /// Of the convolution's input, in pixels: what is read forwards and what is written for the gradient.
    pub height: i32,
    /// Likewise.
    pub width: i32,
    /// Width of the square kernel.
    pub kernel: i32,
    /// Half the kernel's width where it is not given.
    padding: Option<i32>,
    #[serde(default = "one")]
    stride: i32,
    #[serde(default = "one")]
    groups: i32,
    /// Whether this is the gradient with respect to the input: what is read is then the gradient of the output.
    #[serde(default)]
    input_gradient: bool,
    sources: Vec<SourceCase>,
    parts: Vec<PartCase>,
    /// Channels before the target in its buffer.
    #[serde(default)]
    target_start: i32,
    /// Channels after it, at least.
    #[serde(default)]
    target_behind: i32,
    #[serde(default)]
    target_f32: bool,
    #[serde(default)]
    bias: bool,
    /// Whether the plain kernel is to compute it although the fast ones could.
    #[serde(default)]
    direct: bool,
    #[serde(skip)]
    tolerances: Tolerances,
}

/// A range of channels in a buffer of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceCase {
    channels: i32,
    /// Channels before it.
    #[serde(default)]
    start: i32,
    /// Channels after it, at least.
    #[serde(default)]
    behind: i32,
}

/// What is done to a range of output channels.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PartCase {
    channels: i32,
    /// Channels with the zeros behind them: `channels` where it is not given.
    written: Option<i32>,
    /// The slope of LeakyReLU.
    slope: Option<f32>,
    #[serde(default)]
    before: bool,
    #[serde(default)]
    after: bool,
    /// The slope where the mask is not positive.
    mask: Option<f32>,
    /// Channels before its operands in their buffers.
    #[serde(default)]
    shift: i32,
}

/// The value of a field that is not given.
fn one() -> i32 {
    1
}

/// All cases.
///
/// # Errors
/// Those of the file, which is compiled into the program.
pub fn cases() -> Result<Vec<Case>, serde_json::Error> {
    let list: List = serde_json::from_str(LIST)?;
    let with_tolerances = |case| Case { tolerances: list.tolerance_relative, ..case };
    Ok(list.cases.into_iter().map(with_tolerances).collect())
}

/// All cases in every mathematics, ready to run; in both families of kernels where both compute a case.
///
/// # Errors
/// Those of [`cases`].
pub fn prepared() -> Result<Vec<Prepared>, serde_json::Error> {
    let cases = cases()?;
    let of_family = |family: Family| {
        let prepared = cases.iter().flat_map(move |case| MATHS.map(|math| case.prepare(family, math)));
        prepared.filter(move |prepared| prepared.family() == family)
    };
    Ok(Family::ALL.into_iter().flat_map(of_family).collect())
}

/// The next multiple of 8, which is what pixels have.
fn padded(channels: i32) -> i32 {
    channels.unsigned_abs().next_multiple_of(8).cast_signed()
}

impl Case {
    /// Memory, launches and what is accepted. Where a family has no kernels for the case it is that of [`Family::Ampere`].
    pub fn prepare(&self, family: Family, math: Math) -> Prepared {
        let mut build = Builder::new(&[self.seed]);
        let mut p = self.extents();
        let pixels = |images: i32, height: i32, width: i32| (images * height * width) as usize;
        let read = pixels(p.images, p.input_height, p.input_width);
        let written = pixels(p.images, p.height, p.width);
        for (source, case) in p.sources.iter_mut().zip(&self.sources) {
            *source = range(&mut build, math.format(), read, case.start, case.channels, case.behind);
        }
        let mut start = 0;
        for (part, case) in p.parts.iter_mut().zip(&self.parts) {
            *part = case.part(&mut build, math.format(), written, start);
            start += case.channels;
        }
        let target = if self.target_f32 { Format::F32 } else { math.format() };
        let last = self.parts.last().map_or(0, |part| part.written.unwrap_or(part.channels) - part.channels);
        p.target_pixel = padded(self.target_start + start + last + self.target_behind);
        let values = written * p.target_pixel as usize;
        let buffer = build.garbage(values * target.bytes());
        p.target = buffer + self.target_start as u64 * target.bytes() as u64;

        let weights = (p.in_channels * p.out_channels / p.groups * p.kernel * p.kernel) as usize;
        let terms = (p.in_channels / p.groups * p.kernel * p.kernel) as f32;
        p.weights = build.random_values(Format::F32, weights, terms.sqrt().recip());
        p.bias = if self.bias { build.random_values(Format::F32, p.out_channels as usize, 0.5) } else { 0 };
        let mut steps = Vec::new();
        let fast = !self.direct && launch::fits(math, &p);
        if fast {
            let pack = pack(&mut build, math, &p);
            steps.push(Step { launch: launch::pack(family, math, &pack), params: pack.into() });
            (p.weights, p.bias) = (pack.packed, pack.packed_bias);
            // The fast kernels do not know which way weights are packed.
            p.input_gradient = 0;
        }
        let launch = if fast { launch::packed(family, math, &p) } else { launch::direct(math, &p) };
        let kernels = if launch.family() == Family::Hopper { ", Hopper" } else { "" };
        steps.push(Step { launch, params: p.into() });
        let compared = Compared {
            name: "target",
            address: buffer,
            count: values as u64,
            stored: target.into(),
            tolerance: self.tolerance(math, target, fast),
            exact_zeros: true,
        };
        Prepared {
            name: format!("{} ({math:?}{kernels})", self.name),
            math,
            memory: build.finish(),
            steps,
            compared: vec![compared],
            pointers: Vec::new(),
        }
    }

    /// Everything but addresses.
    fn extents(&self) -> Convolution {
        let padding = self.padding.unwrap_or(self.kernel / 2);
        let output = |input: i32| (input + 2 * padding - self.kernel) / self.stride + 1;
        let (large, small) = ((self.height, self.width), (output(self.height), output(self.width)));
        let (read, written) = if self.input_gradient { (small, large) } else { (large, small) };
        Convolution {
            target_f32: self.target_f32.into(),
            source_count: self.sources.len() as i32,
            part_count: self.parts.len() as i32,
            images: self.images,
            height: written.0,
            width: written.1,
            input_height: read.0,
            input_width: read.1,
            in_channels: self.sources.iter().map(|source| source.channels).sum(),
            out_channels: self.parts.iter().map(|part| part.channels).sum(),
            kernel: self.kernel,
            stride: self.stride,
            padding,
            groups: self.groups,
            input_gradient: self.input_gradient.into(),
            ..Convolution::default()
        }
    }

    /// What is accepted of a target.
    fn tolerance(&self, math: Math, target: Format, fast: bool) -> f64 {
        match target {
            Format::F32 if fast && math != Math::F32 => self.tolerances.matrix,
            Format::F32 => self.tolerances.f32,
            Format::F16 => self.tolerances.f16,
            Format::Bf16 => self.tolerances.bf16,
        }
    }
}

impl PartCase {
    /// The part that begins at output channel `start`, with buffers for its operands.
    fn part(&self, build: &mut Builder, format: Format, pixels: usize, start: i32) -> Part {
        let mut operand = |given: bool| {
            let found = given.then(|| range(build, format, pixels, self.shift, self.channels, 0));
            found.map_or(Operand::default(), |found| Operand {
                address: found.address,
                pixel: found.pixel,
                unused: 0,
            })
        };
        Part {
            start,
            channels: self.channels,
            written: self.written.unwrap_or(self.channels),
            activation: self.slope.is_some().into(),
            slope: self.slope.unwrap_or_default(),
            mask_slope: self.mask.unwrap_or_default(),
            before: operand(self.before),
            after: operand(self.after),
            mask: operand(self.mask.is_some()),
        }
    }
}

/// A range of channels with random values in a buffer of its own. All other channels of the buffer are not numbers, so that whoever reads them shows it.
fn range(
    build: &mut Builder,
    format: Format,
    pixels: usize,
    start: i32,
    channels: i32,
    behind: i32,
) -> Source {
    let pixel = padded(start + channels + behind);
    let mut values = Vec::with_capacity(pixels * pixel as usize);
    for _ in 0..pixels {
        let in_range = |channel: &i32| (start..start + channels).contains(channel);
        values.extend((0..pixel).map(|channel| if in_range(&channel) { build.value(1.0) } else { f32::NAN }));
    }
    let address = build.values(format, values) + start as u64 * format.bytes() as u64;
    Source { address, pixel, channels }
}

/// The packing of a convolution's weights.
fn pack(build: &mut Builder, math: Math, p: &Convolution) -> Pack {
    let block = launch::block(p.out_channels);
    let mut source_channels = [0; MAX_SOURCES];
    for (channels, source) in source_channels.iter_mut().zip(&p.sources) {
        *channels = source.channels;
    }
    let bytes = launch::packed_bytes(math, source_channels, p.out_channels, p.kernel);
    Pack {
        weight: p.weights,
        bias: p.bias,
        packed: build.garbage(bytes as usize),
        packed_bias: build.garbage(launch::packed_bias_bytes(p.out_channels) as usize),
        in_channels: p.in_channels,
        out_channels: p.out_channels,
        kernel: p.kernel,
        input_gradient: p.input_gradient,
        block,
        blocks: launch::blocks(p.out_channels, block),
        source_count: p.source_count,
        source_channels,
        unused: 0,
    }
}

#[cfg(test)]
#[path = "convolution_tests.rs"]
mod tests;
