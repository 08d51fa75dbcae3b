//! The weights of convolutions in the order in which the fast kernels read them, and which convolutions have such weights.

use super::launch;
use super::layout::{Layout, Room};
use super::places::Places;
use super::{Math, number};
use crate::engine::plan::program::{Operation, Program};

/// Where the packed weights of a convolution lie, from the first byte of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packing {
    pub(super) offset: u64,
    pub(super) bias_offset: u64,
}

/// The packed weights of a program's convolutions, by step; none for those that read weights as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Packed {
    of_step: Vec<Option<Packing>>,
    /// Bytes in all.
    pub(super) bytes: u64,
}

impl Packed {
    /// Lays them out.
    pub(super) fn of(program: &Program, layout: &Layout, math: Math) -> Self {
        /// Where the arena might begin: of addresses, only what they are multiples of decides.
        const SOMEWHERE: u64 = 1 << 20;
        let mut room = Room::behind(0);
        let of_step = program.steps.iter().map(|step| {
            let Operation::Conv { conv, direction, .. } = &step.operation else { return None };
            let places = Places { program, layout, arena: SOMEWHERE };
            let told = places.convolution(step, conv, *direction).ok()?;
            if !launch::convolution::fits(math, &told) {
                return None;
            }
            let sources = step.inputs.first()?.iter().map(|piece| number(piece.channels));
            let size = launch::convolution::packed_bytes(math, sources, told.out_channels, told.kernel);
            let offset = room.take(size);
            let bias_offset = room.take(launch::convolution::packed_bias_bytes(told.out_channels));
            Some(Packing { offset, bias_offset })
        });
        let of_step = of_step.collect();
        Self { of_step, bytes: room.bytes() }
    }

    /// Those of a step.
    pub(super) fn of_step(&self, step: usize) -> Option<Packing> {
        self.of_step.get(step).copied().flatten()
    }
}
