//! The ways in which a convolution can be computed, and what each of them starts.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::launch::convolution::Family;
use super::launch::{self, Call, Work};
use super::params::{Convolution, Elementwise, Filter, MAX_INPUTS, Operand, Part, WeightGradient};
use super::{Format, Math};
use crate::gpu::cudnn::{Addresses, Arithmetic, Pass, Shape, Tensor};

/// Channels of a vector.
const VECTOR: i32 = 8;
/// What cuDNN's fast algorithms want addresses to be multiples of.
const ALIGNMENT_BYTES: u64 = 16;

/// What computes a convolution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Our kernels for every GPU since Ampere.
    #[default]
    Own,
    /// Our kernels for Hopper.
    Hopper,
    /// cuDNN, by the algorithm of that number.
    Cudnn(u32),
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => write!(f, "own"),
            Self::Hopper => write!(f, "own for Hopper"),
            Self::Cudnn(algorithm) => write!(f, "cuDNN's algorithm {algorithm}"),
        }
    }
}

/// Where a convolution's weights and other memory lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct At {
    /// OIHW in f32.
    pub(super) weight: u64,
    /// f32, or 0.
    pub(super) bias: u64,
    /// The same as a way wants them, where it does.
    pub(super) packed: u64,
    pub(super) packed_bias: u64,
    /// Memory that cuDNN may overwrite.
    pub(super) workspace: u64,
    pub(super) workspace_bytes: u64,
}

/// A convolution as cuDNN is asked for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Asked {
    pub(super) shape: Shape,
    /// Its weights, but for their addresses.
    pub(super) filter: Filter,
}

fn arithmetic(math: Math) -> Arithmetic {
    match math {
        Math::F32 => Arithmetic::F32,
        Math::Tf32 => Arithmetic::Tf32,
        Math::F16 => Arithmetic::F16,
        Math::Bf16 => Arithmetic::Bf16,
    }
}

fn padded(channels: i32) -> i32 {
    channels.unsigned_abs().next_multiple_of(VECTOR.unsigned_abs()).cast_signed()
}

fn values(tensor: &Tensor) -> u64 {
    [tensor.images, tensor.height, tensor.width, tensor.pixel]
        .into_iter()
        .map(|extent| u64::from(extent.unsigned_abs()))
        .product()
}

/// How cuDNN is asked for a convolution or its input gradient, of whose one source `readable` channels may be read: all that follow its own hold zeros. `None` for what it cannot
/// write where it has to go: it reads one range, writes the format that it reads, and would overwrite what the last stage still has to add.
pub(super) fn asked(math: Math, told: &Convolution, readable: i32) -> Option<Asked> {
    let source = told.sources.first().filter(|_| told.source_count == 1)?;
    let format = math.format();
    if told.target_f32 == 1 && format != Format::F32 {
        return None;
    }
    // Channels that only fill up have zeros for weights, so that they come out as zeros; groups have no room for them.
    let (read, written) = match told.groups {
        1 => (readable, padded(told.out_channels)),
        _ => (told.in_channels, told.out_channels),
    };
    if written > told.target_pixel || written % VECTOR != 0 {
        return None;
    }
    let images = told.images;
    let from = Tensor {
        images,
        height: told.input_height,
        width: told.input_width,
        channels: read,
        pixel: source.pixel,
    };
    let to = Tensor {
        images,
        height: told.height,
        width: told.width,
        channels: written,
        pixel: told.target_pixel,
    };
    let target = told.target..told.target + values(&to) * format.bytes() as u64;
    let parts = told.parts.iter().take(told.part_count.unsigned_abs() as usize);
    let mut operands = parts.flat_map(|part| [part.before, part.after, part.mask]);
    let aligned = |address: u64| address.is_multiple_of(ALIGNMENT_BYTES);
    if operands.any(|operand| target.contains(&operand.address))
        || !(aligned(source.address) && aligned(told.target))
    {
        return None;
    }
    let forward = told.input_gradient == 0;
    let (x, y) = if forward { (from, to) } else { (to, from) };
    let (inputs, outputs) = match forward {
        true => (told.in_channels, told.out_channels),
        false => (told.out_channels, told.in_channels),
    };
    let groups = told.groups.max(1);
    Some(Asked {
        shape: Shape {
            pass: if forward { Pass::Forward } else { Pass::InputGradient },
            arithmetic: arithmetic(math),
            x,
            y,
            kernel: told.kernel,
            stride: told.stride,
            padding: told.padding,
            groups,
        },
        filter: Filter {
            outputs,
            inputs: inputs / groups,
            kernel: told.kernel,
            padded_outputs: y.channels,
            padded_inputs: x.channels / groups,
            ..Filter::default()
        },
    })
}

/// How cuDNN is asked for a weight gradient, of whose x and dy so many channels may be read. `None` for what it does not promise: pixels with other channels between them.
pub(super) fn asked_for_weights(math: Math, told: &WeightGradient, readable: [i32; 2]) -> Option<Asked> {
    let x = told.inputs.first().filter(|_| told.input_count == 1)?;
    let dy = told.gradients.first().filter(|_| told.gradient_count == 1)?;
    let [inputs, outputs] = match told.groups {
        1 => readable,
        _ => [told.in_channels, told.out_channels],
    };
    let groups = told.groups.max(1);
    if math == Math::F16 || x.pixel != inputs || dy.pixel != outputs {
        return None;
    }
    let images = told.images;
    let tensor = |height, width, channels| Tensor { images, height, width, channels, pixel: channels };
    Some(Asked {
        shape: Shape {
            pass: Pass::WeightGradient,
            arithmetic: arithmetic(math),
            x: tensor(told.input_height, told.input_width, inputs),
            y: tensor(told.height, told.width, outputs),
            kernel: told.kernel,
            stride: told.stride,
            padding: told.padding,
            groups,
        },
        filter: Filter {
            outputs: told.out_channels,
            inputs: told.in_channels / groups,
            kernel: told.kernel,
            padded_outputs: outputs,
            padded_inputs: inputs / groups,
            ..Filter::default()
        },
    })
}

/// Bytes of a filter and of its bias.
pub(super) fn filter_bytes(math: Math, filter: &Filter) -> (u64, u64) {
    let of = |count: i32| u64::from(count.unsigned_abs());
    let outputs = of(filter.padded_outputs);
    let values = outputs * of(filter.padded_inputs) * of(filter.kernel) * of(filter.kernel);
    (values * math.format().bytes() as u64, outputs * size_of::<f32>() as u64)
}

/// A convolution by our own kernels: with weights that are packed for a family, or else as they are.
pub(super) fn own(math: Math, told: &Convolution, at: &At, packed: Option<Family>) -> Work {
    match packed {
        Some(family) => {
            let told = Convolution { weights: at.packed, bias: at.packed_bias, ..*told };
            (launch::convolution::packed(family, math, &told), told).into()
        }
        None => {
            let told = Convolution { weights: at.weight, bias: at.bias, ..*told };
            (launch::convolution::direct(math, &told), told).into()
        }
    }
}

/// The sums of a weight gradient by our own kernels; `None` for more ranges than they read.
pub(super) fn own_weights(math: Math, told: &WeightGradient) -> Option<Work> {
    let launch = match launch::gradient::fits(told, math) {
        true => launch::gradient::weight_gradient(told, math),
        false => launch::gradient::weight_gradient_direct(told, math),
    };
    Some((launch?, *told).into())
}

/// A convolution by cuDNN and the last stage after it, which finds its sums rounded to the format of the values.
pub(super) fn by_cudnn(math: Math, told: &Convolution, asked: &Asked, algorithm: u32, at: &At) -> Vec<Work> {
    let source = told.sources.first().map_or(0, |source| source.address);
    let (x, y) = match asked.shape.pass {
        Pass::Forward => (source, told.target),
        _ => (told.target, source),
    };
    let addresses =
        Addresses { x, filter: at.packed, y, workspace: at.workspace, workspace_bytes: at.workspace_bytes };
    let call = Work::Cudnn(Call { shape: asked.shape, algorithm, at: addresses });
    let parts = told.parts.iter().take(told.part_count.unsigned_abs() as usize);
    let last = parts.filter_map(|part| last_stage(math, told, part, at));
    std::iter::once(call).chain(last).collect()
}

/// What is done to a range of channels after a convolution, in its place; `None` where nothing is.
fn last_stage(math: Math, told: &Convolution, part: &Part, at: &At) -> Option<Work> {
    let operands = [part.before, part.after, part.mask];
    if at.bias == 0 && part.activation == 0 && operands.iter().all(|operand| operand.address == 0) {
        return None;
    }
    let start = u64::from(part.start.unsigned_abs());
    let target = told.target + start * math.format().bytes() as u64;
    let mut inputs = [Operand::default(); MAX_INPUTS];
    inputs[0] = Operand { address: target, pixel: told.target_pixel, unused: 0 };
    let pixels = [told.images, told.height, told.width];
    let finish = Elementwise {
        inputs,
        part: Part { start: 0, ..*part },
        bias: if at.bias == 0 { 0 } else { at.packed_bias + start * size_of::<f32>() as u64 },
        target,
        target_pixel: told.target_pixel,
        input_count: 1,
        pixels: pixels.into_iter().map(|extent| u64::from(extent.unsigned_abs())).product(),
    };
    Some((launch::elementwise::sum(math, &finish), finish).into())
}

/// A weight gradient by cuDNN, which leaves it where our own kernels leave their sums; and that of the bias by ours.
pub(super) fn weights_by_cudnn(
    math: Math,
    told: &WeightGradient,
    asked: &Asked,
    algorithm: u32,
    at: &At,
) -> Vec<Work> {
    let first = |sources: &[super::params::Source]| sources.first().map_or(0, |source| source.address);
    let addresses = Addresses {
        x: first(&told.inputs),
        filter: told.sums,
        y: first(&told.gradients),
        workspace: at.workspace,
        workspace_bytes: at.workspace_bytes,
    };
    let mut works = vec![Work::Cudnn(Call { shape: asked.shape, algorithm, at: addresses })];
    if told.bias_sums != 0 {
        works.push((launch::library::bias_gradient(math, told), *told).into());
    }
    works
}

/// Brings cuDNN's weight gradient into our order.
pub(super) fn unpack(math: Math, asked: &Asked, sums: u64, gradient: u64) -> Work {
    let told = Filter { weight: gradient, filter: sums, ..asked.filter };
    (launch::library::unpack_filter(math, &told), told).into()
}

/// Brings weights into cuDNN's order.
pub(super) fn pack(math: Math, asked: &Asked, at: &At) -> Work {
    let told = Filter {
        weight: at.weight,
        bias: at.bias,
        filter: at.packed,
        padded_bias: at.packed_bias,
        ..asked.filter
    };
    (launch::library::pack_filter(math, &told), told).into()
}
