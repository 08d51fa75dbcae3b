//! What kernels are told of where values lie: buffers and ranges of channels as addresses in an arena.

use super::layout::{Layout, pixel};
use super::params::{self, Convolution, MAX_PARTS, MAX_SOURCES, Operand, Source, WeightGradient};
use super::{Format, number, unsupported};
use crate::engine::EngineError;
use crate::engine::cpu::geometry::Direction;
use crate::engine::plan::cuts::ends;
use crate::engine::plan::program::{BufferId, Part, Piece, Program, Step};
use crate::graph::Conv2d;

/// Channels that a convolution reads and writes in a direction.
pub(super) fn channels(conv: &Conv2d, direction: Direction) -> (usize, usize) {
    match direction {
        Direction::Forward => (conv.in_channels, conv.out_channels),
        Direction::InputGradient => (conv.out_channels, conv.in_channels),
    }
}

/// A program in an arena.
pub(super) struct Places<'a> {
    pub(super) program: &'a Program,
    pub(super) layout: &'a Layout,
    /// The first byte of the arena.
    pub(super) arena: u64,
}

impl Places<'_> {
    /// What a convolution is told, but for its weights.
    pub(super) fn convolution(
        &self,
        step: &Step,
        conv: &Conv2d,
        direction: Direction,
    ) -> Result<Convolution, EngineError> {
        let Some(buffer) = step.output else { return Err(unsupported(step.label.clone())) };
        let pieces = step.inputs.first().map_or(&[][..], Vec::as_slice);
        let (height, width) = self.size(Some(self.whole(buffer)));
        let (input_height, input_width) = self.size(pieces.first().copied());
        let (inputs, outputs) = channels(conv, direction);
        let too_many =
            |count: usize, what: &str| unsupported(format!("{}: it {what} {count} ranges", step.label));
        let sources = sources(self.program, pieces, |piece| self.address(piece));
        let mut told = Convolution {
            sources: sources.ok_or_else(|| too_many(pieces.len(), "reads"))?,
            source_count: number(pieces.len()),
            part_count: number(step.parts.len()),
            target: self.address(self.whole(buffer)),
            target_pixel: self.pixel(buffer),
            target_f32: i32::from(self.layout.format(buffer) == Format::F32),
            images: number(self.program.batch),
            height,
            width,
            input_height,
            input_width,
            in_channels: number(inputs),
            out_channels: number(outputs),
            kernel: number(conv.kernel),
            stride: number(conv.stride),
            padding: number(conv.padding),
            groups: number(conv.groups),
            input_gradient: i32::from(direction == Direction::InputGradient),
            ..Convolution::default()
        };
        if step.parts.len() > MAX_PARTS {
            return Err(too_many(step.parts.len(), "writes"));
        }
        for (place, part) in told.parts.iter_mut().zip(&step.parts) {
            *place = self.part(buffer, part);
        }
        Ok(told)
    }

    /// What is done to a range of a buffer's channels.
    pub(super) fn part(&self, buffer: BufferId, part: &Part) -> params::Part {
        let operand = |piece: Option<Piece>| piece.map_or_else(Operand::default, |piece| self.operand(piece));
        let written = match ends(self.program, buffer, part) {
            true => pixel(self.program, buffer) - part.start,
            false => part.channels,
        };
        params::Part {
            start: number(part.start),
            channels: number(part.channels),
            written: number(written),
            activation: i32::from(part.activation.is_some()),
            slope: part.activation.unwrap_or(0.0),
            mask_slope: part.mask.map_or(0.0, |(_, slope)| slope),
            before: operand(part.before),
            after: operand(part.after),
            mask: operand(part.mask.map(|(piece, _)| piece)),
        }
    }

    /// What a range of channels is combined with.
    pub(super) fn operand(&self, piece: Piece) -> Operand {
        Operand { address: self.address(piece), pixel: self.pixel(piece.buffer), unused: 0 }
    }

    /// All channels of a buffer.
    pub(super) fn whole(&self, buffer: BufferId) -> Piece {
        Piece { buffer, start: 0, channels: self.program.buffers[buffer].channels }
    }

    /// Where the first channel of a range lies.
    pub(super) fn address(&self, piece: Piece) -> u64 {
        self.arena + self.layout.offset(piece)
    }

    /// Elements from one pixel of a buffer to the next.
    pub(super) fn pixel(&self, buffer: BufferId) -> i32 {
        number(pixel(self.program, buffer))
    }

    /// Height and width.
    pub(super) fn size(&self, piece: Option<Piece>) -> (i32, i32) {
        piece.map_or((0, 0), |piece| {
            let buffer = &self.program.buffers[piece.buffer];
            (number(buffer.height), number(buffer.width))
        })
    }
}

/// What the weight gradient of a convolution is told, but for its sums: `None` where it would read too many ranges.
pub(super) fn weight_gradient(
    program: &Program,
    step: &Step,
    conv: &Conv2d,
    address: impl Fn(Piece) -> u64,
) -> Option<WeightGradient> {
    let [x, dy] = step.inputs.as_slice() else { return None };
    let size = |pieces: &[Piece]| {
        let buffer = &program.buffers[pieces.first()?.buffer];
        Some((number(buffer.height), number(buffer.width)))
    };
    let ((height, width), (input_height, input_width)) = (size(dy)?, size(x)?);
    Some(WeightGradient {
        inputs: sources(program, x, &address)?,
        gradients: sources(program, dy, &address)?,
        input_count: number(x.len()),
        gradient_count: number(dy.len()),
        images: number(program.batch),
        height,
        width,
        input_height,
        input_width,
        in_channels: number(conv.in_channels),
        out_channels: number(conv.out_channels),
        kernel: number(conv.kernel),
        stride: number(conv.stride),
        padding: number(conv.padding),
        groups: number(conv.groups),
        ..WeightGradient::default()
    })
}

/// What is read: `None` for too many ranges.
fn sources(
    program: &Program,
    pieces: &[Piece],
    address: impl Fn(Piece) -> u64,
) -> Option<[Source; MAX_SOURCES]> {
    if pieces.len() > MAX_SOURCES {
        return None;
    }
    let mut sources = [Source::default(); MAX_SOURCES];
    for (place, piece) in sources.iter_mut().zip(pieces) {
        let pixel = number(pixel(program, piece.buffer));
        *place = Source { address: address(*piece), pixel, channels: number(piece.channels) };
    }
    Some(sources)
}
