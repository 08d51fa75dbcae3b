//! The weights of convolutions in the order in which the fast kernels, or cuDNN, read them, and which convolutions have such weights.

use super::Math;
use super::choice::Choices;
use super::choice::question::readable;
use super::launch::convolution::Family;
use super::launch::{self, Work};
use super::layout::{Layout, Room};
use super::params::{Convolution, Pack};
use super::places::Places;
use super::ways::{self, Asked, At, Way};
use crate::engine::plan::program::{Operation, Program, Step};

/// Where the packed weights of a convolution lie, from the first byte of all, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Packing {
    pub(super) offset: u64,
    pub(super) bias_offset: u64,
    pub(super) by: By,
}

/// What reads packed weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum By {
    /// Our own kernels.
    Own(Family),
    /// cuDNN, asked like this.
    Cudnn(Asked),
}

/// The packed weights of a program's convolutions, by step; none for those that read weights as they are.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Packed {
    of_step: Vec<Option<Packing>>,
    /// Bytes in all.
    pub(super) bytes: u64,
}

impl Packed {
    /// Lays them out.
    pub(super) fn of(program: &Program, layout: &Layout, math: Math, choices: &Choices) -> Self {
        /// Where the arena might begin: of addresses, only what they are multiples of decides.
        const SOMEWHERE: u64 = 1 << 20;
        let mut room = Room::behind(0);
        let packing = |(index, step): (usize, &Step)| {
            let Operation::Conv { conv, direction, .. } = &step.operation else { return None };
            let places = Places { program, layout, arena: SOMEWHERE };
            let told = places.convolution(step, conv, *direction).ok()?;
            let pieces = step.inputs.first().map_or(&[][..], Vec::as_slice);
            let fits = || launch::convolution::fits(math, &told);
            let by = match choices.of_step(index) {
                Way::Cudnn(_) => By::Cudnn(ways::asked(math, &told, readable(program, pieces))?),
                Way::Hopper if launch::convolution::fits_hopper(math, &told) => By::Own(Family::Hopper),
                _ if fits() => By::Own(Family::Ampere),
                _ => return None,
            };
            let (bytes, bias_bytes) = match &by {
                By::Cudnn(asked) => ways::filter_bytes(math, &asked.filter),
                By::Own(_) => own_bytes(math, &told),
            };
            Some(Packing { offset: room.take(bytes), bias_offset: room.take(bias_bytes), by })
        };
        let of_step = program.steps.iter().enumerate().map(packing).collect();
        Self { of_step, bytes: room.bytes() }
    }

    /// Those of a step.
    pub(super) fn of_step(&self, step: usize) -> Option<Packing> {
        self.of_step.get(step).copied().flatten()
    }
}

/// Bytes of weights and bias as our fast kernels read them.
fn own_bytes(math: Math, told: &Convolution) -> (u64, u64) {
    let sources = told.sources.iter().take(told.source_count.unsigned_abs() as usize);
    let channels = sources.map(|source| source.channels);
    let weights = launch::convolution::packed_bytes(math, channels, told.out_channels, told.kernel);
    (weights, launch::convolution::packed_bias_bytes(told.out_channels))
}

/// Brings weights into the order of our fast kernels of a family.
pub(super) fn pack(family: Family, math: Math, told: &Convolution, at: &At) -> Work {
    let block = launch::convolution::block(told.out_channels);
    let mut pack = Pack {
        weight: at.weight,
        bias: at.bias,
        packed: at.packed,
        packed_bias: at.packed_bias,
        in_channels: told.in_channels,
        out_channels: told.out_channels,
        kernel: told.kernel,
        input_gradient: told.input_gradient,
        block,
        blocks: launch::convolution::blocks(told.out_channels, block),
        source_count: told.source_count,
        ..Pack::default()
    };
    for (channels, source) in pack.source_channels.iter_mut().zip(&told.sources) {
        *channels = source.channels;
    }
    (launch::convolution::pack(family, math, &pack), pack).into()
}
