//! What is asked: how to compute one convolution, in the places that a program has for it.

use std::fmt::Write;

use super::super::ways::{self, Asked};
use crate::engine::cpu::geometry::Direction;
use crate::engine::cuda::launch::convolution::Family;
use crate::engine::cuda::layout::{Layout, Sums, pixel};
use crate::engine::cuda::params::{Convolution, Operand, Part, Source, WeightGradient};
use crate::engine::cuda::places::{Places, weight_gradient};
use crate::engine::cuda::{Math, launch};
use crate::engine::plan::program::{Operation, Piece, Program, Step};
use crate::gpu::cudnn::{self, Cudnn, Pass};
use crate::graph::Conv2d;

/// What a kernel is told, with addresses from the beginning of an arena at [`Question::BASE`].
#[derive(Clone, Copy, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub(super) enum Told {
    Convolution(Convolution),
    WeightGradient(WeightGradient, Sums),
}

/// One convolution of a program.
pub(super) struct Question<'a> {
    pub(super) math: Math,
    pub(super) conv: &'a Conv2d,
    pub(super) told: Told,
    /// How cuDNN is asked, if it can be.
    pub(super) asked: Option<Asked>,
}

/// Channels of a range that may be read: where it ends its buffer, zeros fill the last vector.
pub(in crate::engine::cuda) fn readable(program: &Program, pieces: &[Piece]) -> i32 {
    let [piece] = pieces else { return 0 };
    let channels = match piece.end() == program.buffers[piece.buffer].channels {
        true => pixel(program, piece.buffer) - piece.start,
        false => piece.channels,
    };
    super::super::number(channels)
}

impl<'a> Question<'a> {
    /// Where the arena is taken to begin: of addresses only what they are multiples of decides.
    pub(super) const BASE: u64 = 1 << 20;

    /// What a step asks; nothing where it is no convolution, or one that kernels refuse, which the compiler tells.
    pub(super) fn of(program: &'a Program, layout: &Layout, math: Math, step: usize) -> Option<Self> {
        let this: &Step = program.steps.get(step)?;
        let places = Places { program, layout, arena: Self::BASE };
        let input = |number: usize| this.inputs.get(number).map_or(&[][..], Vec::as_slice);
        match &this.operation {
            Operation::Conv { conv, direction, .. } => {
                let told = places.convolution(this, conv, *direction).ok()?;
                // A bias is all that decides on the last stage and lies elsewhere: any address stands for it.
                let bias = u64::from(conv.bias && *direction == Direction::Forward);
                let told = Convolution { bias, ..told };
                let asked = ways::asked(math, &told, readable(program, input(0)));
                Some(Self { math, conv, told: Told::Convolution(told), asked })
            }
            Operation::WeightGradient { conv, .. } => {
                let sums = layout.sums(step)?;
                let told = weight_gradient(program, this, conv, |piece| places.address(piece))?;
                let bias_sums = if conv.bias { Self::BASE + sums.bias_offset } else { 0 };
                let splits = super::super::number(sums.splits);
                let told = WeightGradient { sums: Self::BASE + sums.offset, bias_sums, splits, ..told };
                let readable = [0, 1].map(|number| readable(program, input(number)));
                let asked = ways::asked_for_weights(math, &told, readable);
                Some(Self { math, conv, told: Told::WeightGradient(told, sums), asked })
            }
            _ => None,
        }
    }

    /// Names everything that could decide on the answer, and nothing else, so that convolutions of the same kind share one.
    pub(super) fn key(&self) -> String {
        let Conv2d { kernel, stride, padding, groups, .. } = *self.conv;
        let math = self.math.name();
        let geometry = format!("{kernel}x{kernel} stride {stride} padding {padding} groups {groups}");
        let mut key = match &self.told {
            Told::Convolution(told) => {
                let what = if told.input_gradient == 0 { "convolution" } else { "input gradient" };
                let size = size([told.images, told.input_height, told.input_width]);
                let mut key = format!("{math} {what} {geometry}, {size} from");
                ranges(&mut key, &told.sources, told.source_count);
                let to = if told.target_f32 == 1 { "f32" } else { "values" };
                let _ = write!(
                    key,
                    " to {}x{} {}/{} {to}",
                    told.width, told.height, told.out_channels, told.target_pixel
                );
                for part in told.parts.iter().take(told.part_count.unsigned_abs() as usize) {
                    key.push_str(&part_text(part, told.target));
                }
                key
            }
            Told::WeightGradient(told, _) => {
                let size = size([told.images, told.input_height, told.input_width]);
                let mut key = format!("{math} weight gradient {geometry}, {size} from");
                ranges(&mut key, &told.inputs, told.input_count);
                key.push_str(" and");
                ranges(&mut key, &told.gradients, told.gradient_count);
                key
            }
        };
        if self.conv.bias {
            key.push_str(", bias");
        }
        key
    }

    /// Bytes that an algorithm of cuDNN wants besides; `None` where it does not compute this.
    pub(super) fn workspace_bytes(&self, cudnn: &std::sync::Arc<Cudnn>, algorithm: u32) -> Option<u64> {
        let asked = self.asked.as_ref()?;
        let convolution = cudnn::Convolution::new(cudnn, &asked.shape).ok()?;
        convolution.workspace_bytes(algorithm)
    }

    /// Which of the three it is.
    pub(super) fn pass(&self) -> Pass {
        match &self.told {
            Told::Convolution(told) if told.input_gradient == 0 => Pass::Forward,
            Told::Convolution(_) => Pass::InputGradient,
            Told::WeightGradient(..) => Pass::WeightGradient,
        }
    }

    /// Whether our own fast kernels of a family compute it, where they run.
    pub(super) fn fits(&self, family: Family) -> bool {
        match (&self.told, family) {
            (Told::Convolution(told), Family::Ampere) => launch::convolution::fits(self.math, told),
            (Told::Convolution(told), Family::Hopper) => launch::convolution::fits_hopper(self.math, told),
            (Told::WeightGradient(..), _) => false,
        }
    }
}

fn size([images, height, width]: [i32; 3]) -> String {
    format!("{images} of {width}x{height}")
}

/// Channels, pixels, and how far ranges are from where vectors begin.
fn ranges(key: &mut String, sources: &[Source], count: i32) {
    for source in sources.iter().take(count.unsigned_abs() as usize) {
        let _ = write!(key, " {}/{}", source.channels, source.pixel);
        if !source.address.is_multiple_of(16) {
            let _ = write!(key, "+{}", source.address % 16);
        }
    }
}

fn part_text(part: &Part, target: u64) -> String {
    let mut text = format!(" [{}+{}", part.start, part.channels);
    if part.activation == 1 {
        text.push_str(" activation");
    }
    let mut operand = |name: &str, operand: &Operand| {
        if operand.address != 0 {
            let place = if operand.address == target { " in place" } else { "" };
            let _ = write!(text, " {name} {}{place}", operand.pixel);
        }
    };
    operand("before", &part.before);
    operand("after", &part.after);
    operand("mask", &part.mask);
    text.push(']');
    text
}
