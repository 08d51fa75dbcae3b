//! From a task to a kernel call.

use super::plan::Plan;
use super::program::{Algorithm, Operation, Piece, Step};
use super::tasks::Task;
use super::weights::{self, packed_floats};
use crate::engine::cpu::pointwise::{Pointwise, Rows};
use crate::engine::cpu::simd::{Isa, run};
use crate::engine::cpu::view::{Epilogue, Source, Target, View};
use crate::engine::cpu::winograd::{self, TILE, Tiles, Winograd};

/// A step with addresses.
pub(super) struct Bound {
    inputs: Vec<Vec<Source>>,
    targets: Vec<Target>,
    weights: *const f32,
    bias: *const f32,
    size: (usize, usize),
}

// SAFETY: addresses into an arena and into packed weights, which outlive every run; the plan's order keeps tasks from racing.
unsafe impl Send for Bound {}
// SAFETY: as above.
unsafe impl Sync for Bound {}

/// The LR batch.
#[derive(Clone, Copy)]
pub(super) enum HostInput<'a> {
    /// NCHW.
    Planes(&'a [f32]),
    /// Interleaved 8-bit RGB of one image, with the value of white.
    Pixels(&'a [u8], f32),
}

/// The SR batch.
#[derive(Clone, Copy)]
pub(super) enum HostOutput {
    /// NCHW.
    Planes(*mut f32),
    /// Interleaved 8-bit RGB of one image, with the value of white.
    Pixels(*mut u8, f32),
}

// SAFETY: an address of memory that the caller of a run keeps exclusively for it; tasks write disjoint rows.
unsafe impl Send for HostOutput {}
// SAFETY: as above.
unsafe impl Sync for HostOutput {}

/// Gives every step of a plan its addresses.
///
/// # Safety
/// The arena has room for the plan, and the packed weights live as long as the result.
pub(super) unsafe fn bind(plan: &Plan, arena: *mut f32, packed: impl Fn(&Step) -> *const f32) -> Vec<Bound> {
    let program = &plan.program;
    // SAFETY: the caller promises the arena.
    let view = |piece: &Piece| unsafe { plan.memory.view(program, piece.buffer, piece.start, arena) };
    let bound = |step: &Step| {
        let target = |part: &super::program::Part| Target {
            view: view(&Piece {
                buffer: step.output.unwrap_or(0),
                start: part.start,
                channels: part.channels,
            }),
            channels: part.channels,
            epilogue: Epilogue {
                before: part.before.as_ref().map(&view),
                activation: part.activation,
                after: part.after.as_ref().map(&view),
                mask: part.mask.as_ref().map(|(piece, slope)| (view(piece), *slope)),
            },
        };
        let source = |piece: &Piece| Source { view: view(piece), channels: piece.channels };
        let inputs: Vec<Vec<Source>> =
            step.inputs.iter().map(|pieces| pieces.iter().map(source).collect()).collect();
        let buffer = step.output.or_else(|| step.reads().next().map(|piece| piece.buffer));
        let size =
            buffer.map_or((0, 0), |buffer| (program.buffers[buffer].height, program.buffers[buffer].width));
        let (mut weights, mut bias) = (std::ptr::null(), std::ptr::null());
        if let Operation::Conv { conv, direction, algorithm, .. } = &step.operation {
            weights = packed(step);
            if weights::bias_floats(conv, *direction) > 0 {
                // SAFETY: the bias lies behind the packed weights.
                bias = unsafe { weights.add(packed_floats(conv, *direction, *algorithm)) };
            }
        }
        Bound { inputs, targets: step.parts.iter().map(target).collect(), weights, bias, size }
    };
    program.steps.iter().map(bound).collect()
}

/// Floats of scratch memory that the tasks of a plan need, a thread.
pub(super) fn scratch_floats(plan: &Plan) -> usize {
    let need = |task: &Task| {
        let step = &plan.program.steps[task.step];
        match &step.operation {
            Operation::Conv { conv, direction, algorithm: Algorithm::Winograd, .. } => {
                let (inputs, outputs) = weights::channels(conv, *direction);
                winograd::scratch_len(tiles(task).count(), inputs, outputs)
            }
            _ => 0,
        }
    };
    plan.tasks.list.iter().map(need).max().unwrap_or(0)
}

fn tiles(task: &Task) -> Tiles {
    Tiles {
        image: task.image,
        rows: (task.rows.0 / TILE, task.rows.1.div_ceil(TILE)),
        columns: (task.columns.0 / TILE, task.columns.1.div_ceil(TILE)),
    }
}

/// What a run computes with.
pub(super) struct Machine<'a> {
    pub(super) plan: &'a Plan,
    pub(super) bound: &'a [Bound],
    pub(super) isa: Isa,
    pub(super) input: HostInput<'a>,
    pub(super) output: HostOutput,
}

impl Machine<'_> {
    /// Performs one task.
    ///
    /// # Safety
    /// The addresses are valid, the scratch memory is as long as [`scratch_floats`] says, and no other thread writes what the task reads or writes.
    pub(super) unsafe fn perform(&self, task: &Task, scratch: &mut [f32]) {
        let (step, bound) = (&self.plan.program.steps[task.step], &self.bound[task.step]);
        let rows = Rows { image: task.image, rows: task.rows };
        // SAFETY: the caller's promise; the instruction set was detected.
        unsafe {
            match &step.operation {
                Operation::Conv { algorithm: Algorithm::Winograd, .. } => run(
                    self.isa,
                    &mut Winograd {
                        size: bound.size,
                        sources: &bound.inputs[0],
                        targets: &bound.targets,
                        weights: bound.weights,
                        bias: bound.bias,
                        tiles: tiles(task),
                        scratch,
                    },
                ),
                Operation::Conv { algorithm: Algorithm::Pointwise, .. } => run(
                    self.isa,
                    &mut Pointwise {
                        width: bound.size.1,
                        sources: &bound.inputs[0],
                        targets: &bound.targets,
                        weights: bound.weights,
                        bias: bound.bias,
                        piece: rows,
                    },
                ),
                Operation::Load => {
                    self.load(&bound.targets[0].view, bound.targets[0].channels, bound.size, rows)
                }
                Operation::Store { factor } => self.store(&bound.inputs[0][0], *factor, bound.size, rows),
                other => todo!("{other:?}"),
            }
        }
    }

    unsafe fn load(&self, view: &View, channels: usize, (height, width): (usize, usize), rows: Rows) {
        for y in rows.rows.0..rows.rows.1 {
            for x in 0..width {
                for c in 0..channels {
                    let value = match self.input {
                        HostInput::Planes(p) => p[((rows.image * channels + c) * height + y) * width + x],
                        HostInput::Pixels(p, range) => {
                            f32::from(p[(y * width + x) * 3 + c]) / (255.0 / range)
                        }
                    };
                    unsafe { *view.at(rows.image, y, x).add(c) = value };
                }
            }
        }
    }

    unsafe fn store(&self, source: &Source, f: usize, (height, width): (usize, usize), rows: Rows) {
        let c_out = source.channels / (f * f);
        for y in rows.rows.0..rows.rows.1 {
            for c in 0..c_out {
                for i in 0..f {
                    for x in 0..width {
                        for j in 0..f {
                            unsafe {
                                let v = *source.view.at(rows.image, y, x).add(c * f * f + i * f + j);
                                match self.output {
                                    HostOutput::Planes(p) => {
                                        *p.add(
                                            (((rows.image * c_out + c) * height + y) * f + i) * width * f
                                                + x * f
                                                + j,
                                        ) = v;
                                    }
                                    HostOutput::Pixels(p, range) => {
                                        *p.add((((y * f + i) * width * f) + x * f + j) * c_out + c) =
                                            (v.clamp(0.0, range) * (255.0 / range)).round_ties_even() as u8;
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
