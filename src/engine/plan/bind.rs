//! Steps with addresses: what a plan becomes when it gets an arena.

use super::compile::Plan;
use super::cuts::{Cut, cuts, ends};
use super::memory::pixel_floats;
use super::program::{Operation, Part, Piece, Step};
use super::stages::dependency;
use super::tasks::{gradient_pieces, gradient_size};
use super::weights::{bias_floats, packed_floats};
use crate::engine::cpu::geometry::Direction;
use crate::engine::cpu::pointwise::Rows;
use crate::engine::cpu::resize::Axis;
use crate::engine::cpu::view::{Epilogue, Source, Target, View};

/// A step with addresses.
pub(super) struct Bound {
    pub(super) inputs: Vec<Vec<Source>>,
    pub(super) targets: Vec<Target>,
    /// For elementwise steps: the output channels, cut where any operand is cut.
    pub(super) ranges: Vec<Range>,
    /// Packed weights and padded bias, or null.
    pub(super) weights: *const f32,
    pub(super) bias: *const f32,
    /// What only this step and the one after it use, or null.
    pub(super) private: *mut f32,
    /// For weight gradients: the rows that each piece sums over.
    pub(super) pieces: Vec<Vec<Rows>>,
    /// Channels of the output.
    pub(super) channels: usize,
    /// Height and width of what is cut into tasks: the output, or the input of a step without output.
    pub(super) size: (usize, usize),
    /// Height and width of the first input.
    pub(super) input_size: (usize, usize),
    /// Height and width of the input of a convolution, as it is forwards.
    pub(super) forward_size: (usize, usize),
    /// How a resize maps rows and columns.
    pub(super) axes: Vec<Axis>,
}

/// A range of channels of an elementwise step.
pub(super) struct Range {
    pub(super) inputs: Vec<View>,
    pub(super) target: Target,
    /// Floats that may be read and written from the first channel on.
    pub(super) room: usize,
}

// SAFETY: addresses in an arena and in packed weights that live as long as whoever holds this; the plan's order keeps tasks from racing.
unsafe impl Send for Bound {}
// SAFETY: as above.
unsafe impl Sync for Bound {}

/// Gives every step of a plan its addresses. `packed` gives the packed weights of a convolution that the plan itself does not pack.
///
/// # Safety
/// The arena has room for the plan; it and the packed weights live as long as the result.
pub(super) unsafe fn bind(plan: &Plan, arena: *mut f32, packed: impl Fn(&Step) -> *const f32) -> Vec<Bound> {
    let binding = Binding { plan, arena };
    (0..plan.program.steps.len()).map(|index| binding.step(index, &packed)).collect()
}

struct Binding<'a> {
    plan: &'a Plan,
    arena: *mut f32,
}

impl Binding<'_> {
    fn view(&self, piece: Piece) -> View {
        // SAFETY: `bind`'s caller promises the arena.
        unsafe { self.plan.memory.view(&self.plan.program, piece.buffer, piece.start, self.arena) }
    }

    fn private(&self, step: usize) -> *mut f32 {
        match self.plan.memory.of_step[step] {
            // SAFETY: every storage lies inside the arena.
            Some(storage) => unsafe { self.arena.add(self.plan.memory.storages[storage].offset) },
            None => std::ptr::null_mut(),
        }
    }

    fn size(&self, piece: Option<Piece>) -> (usize, usize) {
        piece.map_or((0, 0), |piece| {
            let buffer = &self.plan.program.buffers[piece.buffer];
            (buffer.height, buffer.width)
        })
    }

    fn target(&self, buffer: usize, part: &Part) -> Target {
        Target {
            view: self.view(Piece { buffer, start: part.start, channels: part.channels }),
            channels: part.channels,
            epilogue: Epilogue {
                before: part.before.map(|piece| self.view(piece)),
                activation: part.activation,
                after: part.after.map(|piece| self.view(piece)),
                mask: part.mask.map(|(piece, slope)| (self.view(piece), slope)),
            },
        }
    }

    fn step(&self, index: usize, packed: impl Fn(&Step) -> *const f32) -> Bound {
        let program = &self.plan.program;
        let step = &program.steps[index];
        let output =
            step.output.map(|buffer| Piece { buffer, start: 0, channels: program.buffers[buffer].channels });
        let source = |piece: &Piece| Source { view: self.view(*piece), channels: piece.channels };
        let first = |input: usize| step.inputs.get(input).and_then(|pieces| pieces.first()).copied();
        let inner = dependency(&program.steps, index);
        let mut bound = Bound {
            inputs: step.inputs.iter().map(|pieces| pieces.iter().map(source).collect()).collect(),
            targets: match step.output {
                Some(buffer) => step.parts.iter().map(|part| self.target(buffer, part)).collect(),
                None => Vec::new(),
            },
            ranges: Vec::new(),
            weights: std::ptr::null(),
            bias: std::ptr::null(),
            private: self.private(inner.unwrap_or(index)),
            pieces: Vec::new(),
            channels: output.map_or(0, |piece| piece.channels),
            size: self.size(output.or(first(0))),
            input_size: self.size(first(0)),
            forward_size: self.size(first(0)),
            axes: Vec::new(),
        };
        match &step.operation {
            Operation::Conv { conv, direction, algorithm, .. } => {
                bound.weights = if inner.is_some() { bound.private.cast_const() } else { packed(step) };
                if bias_floats(conv, *direction) > 0 && !bound.weights.is_null() {
                    // SAFETY: the bias lies behind the packed weights.
                    bound.bias = unsafe { bound.weights.add(packed_floats(conv, *direction, *algorithm)) };
                }
                if *direction == Direction::InputGradient {
                    bound.forward_size = bound.size;
                }
            }
            Operation::WeightGradient { algorithm, .. } | Operation::FinishGradient { algorithm, .. } => {
                let sums = &program.steps[inner.unwrap_or(index)];
                bound.pieces = gradient_pieces(*algorithm, program.batch, gradient_size(program, sums));
            }
            Operation::ResizeBilinear => {
                let ((from_y, from_x), (to_y, to_x)) = (bound.input_size, bound.size);
                bound.axes = vec![Axis::new(from_y, to_y), Axis::new(from_x, to_x)];
            }
            Operation::ResizeBilinearGradient => {
                let ((to_y, to_x), (from_y, from_x)) = (bound.input_size, bound.size);
                bound.axes = vec![Axis::new(from_y, to_y), Axis::new(from_x, to_x)];
            }
            _ => bound.ranges = cuts(program, step).iter().filter_map(|cut| self.range(step, cut)).collect(),
        }
        bound
    }

    fn range(&self, step: &Step, Cut { inputs, part }: &Cut) -> Option<Range> {
        let output = step.output?;
        let pixel =
            |piece: Piece| pixel_floats(self.plan.program.buffers[piece.buffer].channels) - piece.start;
        let whole = Piece { buffer: output, start: part.start, channels: part.channels };
        let own = if ends(&self.plan.program, output, part) { pixel(whole) } else { part.channels };
        let read = inputs.iter().copied().chain(part.operands()).map(pixel).min().unwrap_or(own);
        Some(Range {
            inputs: inputs.iter().map(|piece| self.view(*piece)).collect(),
            target: self.target(output, part),
            room: own.min(read),
        })
    }
}
