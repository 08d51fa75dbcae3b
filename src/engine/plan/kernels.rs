//! From a task to a kernel call.

use std::marker::PhantomData;

use super::bind::{Bound, Range};
use super::compile::Plan;
use super::program::{Algorithm, Operation};
use super::tasks::Task;
use super::weights;
use crate::engine::cpu::direct::Direct;
use crate::engine::cpu::direct_gradient;
use crate::engine::cpu::elementwise::{Combination, Combine};
use crate::engine::cpu::ends::{FromImage, FromPlanes, ToImage, ToPlanes};
use crate::engine::cpu::geometry::Geometry;
use crate::engine::cpu::grouped::Grouped;
use crate::engine::cpu::loss::L1;
use crate::engine::cpu::pointwise::{Pointwise, Rows};
use crate::engine::cpu::pointwise_gradient::{self, PointwiseGradient};
use crate::engine::cpu::pool::{MaxPool, MaxPoolGradient, Windows};
use crate::engine::cpu::resize::{Resize, ResizeGradient};
use crate::engine::cpu::shuffle::{PixelShuffle, Shuffle};
use crate::engine::cpu::simd::{Isa, Kernel, run};
use crate::engine::cpu::view::{Target, View};
use crate::engine::cpu::winograd::{self, F2x2, F4x4, F4x6, Tiles, Variant, Winograd};
use crate::engine::cpu::winograd_gradient::{self, WinogradGradient};
use crate::graph::Conv2d;

/// The LR batch.
#[derive(Clone, Copy)]
pub(super) enum HostInput {
    /// NCHW.
    Planes(*const f32),
    /// Interleaved 8-bit RGB of one image, and the value of white.
    Image(*const u8, f32),
}

/// What leaves a run.
#[derive(Clone, Copy)]
pub(super) enum HostOutput {
    /// The SR batch, NCHW.
    Planes(*mut f32),
    /// One SR image, interleaved 8-bit RGB, with the value of white; and where each row of LR pixels says whether all its values are numbers.
    Image(*mut u8, f32, *mut bool),
    /// The loss: HR batch, NCHW; and where the absolute differences of each row of LR pixels are summed.
    Loss(*const f32, *mut f64),
}

/// Weights that change from run to run, and their gradients.
pub(super) trait Parameters: Sync {
    /// A convolution's weight and bias (OIHW, and one value per output channel; empty if it has none).
    fn values(&self, name: &str) -> (&[f32], &[f32]);
    /// Where their gradients go; null where there is none.
    fn gradients(&self, name: &str) -> (*mut f32, *mut f32);
}

/// What a run computes with.
pub(super) struct Machine<'a> {
    pub(super) plan: &'a Plan,
    pub(super) bound: &'a [Bound],
    pub(super) isa: Isa,
    pub(super) input: HostInput,
    pub(super) output: HostOutput,
    /// `None` when inferring: weights are then packed before.
    pub(super) parameters: Option<&'a dyn Parameters>,
}

// SAFETY: the addresses are of memory that the caller of a run keeps for it alone, and tasks that run together write disjoint parts of it.
unsafe impl Sync for Machine<'_> {}

/// Floats of scratch memory that a thread needs for any task of a plan.
pub(super) fn scratch_floats(plan: &Plan) -> usize {
    let need = |task: &Task| match &plan.program.steps[task.step].operation {
        Operation::Conv { conv, direction, algorithm, .. } => {
            let (inputs, outputs) = weights::channels(conv, *direction);
            match algorithm {
                Algorithm::Winograd4x6 => {
                    winograd::scratch_len::<F4x6>(&tiles::<F4x6>(task), inputs, outputs)
                }
                Algorithm::Winograd4x4 => {
                    winograd::scratch_len::<F4x4>(&tiles::<F4x4>(task), inputs, outputs)
                }
                Algorithm::Winograd2x2 => {
                    winograd::scratch_len::<F2x2>(&tiles::<F2x2>(task), inputs, outputs)
                }
                Algorithm::Pointwise | Algorithm::Direct | Algorithm::Grouped => 0,
            }
        }
        Operation::WeightGradient { conv, algorithm: Algorithm::Winograd4x4 } => {
            winograd_gradient::scratch_len(conv.in_channels, conv.out_channels)
        }
        Operation::WeightGradient { conv, algorithm: Algorithm::Pointwise } => {
            pointwise_gradient::scratch_len(conv.in_channels, conv.out_channels)
        }
        _ => 0,
    };
    plan.tasks.list.iter().map(need).max().unwrap_or(0)
}

fn tiles<V: Variant>(task: &Task) -> Tiles {
    let range = |(from, to): (usize, usize), tile: usize| (from / tile, to.div_ceil(tile));
    Tiles { image: task.image, rows: range(task.rows, V::TILE.0), columns: range(task.columns, V::TILE.1) }
}

/// The targets of a task. Its rows are a band or part of one, and memory never begins anew inside a band.
///
/// # Safety
/// The task's first row is inside the views.
unsafe fn unrolled(targets: &[Target], task: &Task) -> Vec<Target> {
    // SAFETY: the caller's promise.
    targets.iter().map(|target| unsafe { target.unrolled(task.rows.0) }).collect()
}

impl Machine<'_> {
    /// # Safety
    /// What the kernel holds is valid.
    unsafe fn call(&self, mut kernel: impl Kernel) {
        // SAFETY: the instruction set was detected on this processor; the rest is the caller's promise.
        unsafe { run(self.isa, &mut kernel) };
    }

    /// Performs one task.
    ///
    /// # Safety
    /// The addresses are valid, the scratch memory is as long as [`scratch_floats`] says, and what the task reads is complete and written by nobody.
    pub(super) unsafe fn perform(&self, task: &Task, scratch: &mut [f32]) {
        let (step, bound) = (&self.plan.program.steps[task.step], &self.bound[task.step]);
        let piece = Rows { image: task.image, rows: task.rows };
        let width = bound.size.1;
        // SAFETY: the caller's promise.
        unsafe {
            match &step.operation {
                Operation::Load => match self.input {
                    HostInput::Planes(planes) => {
                        let channels = bound.channels;
                        self.call(FromPlanes {
                            size: bound.size,
                            channels,
                            planes,
                            output: bound.output(),
                            piece,
                        });
                    }
                    HostInput::Image(bytes, data_range) => {
                        self.call(FromImage { width, bytes, data_range, output: bound.output(), piece });
                    }
                },
                Operation::Store { factor } => self.store(bound, *factor, piece),
                Operation::Loss { factor } => self.loss(bound, *factor, piece),
                Operation::Conv { conv, direction, algorithm, .. } => {
                    let (sources, targets) = (&bound.inputs[0][..], &bound.targets[..]);
                    let (weights, bias) = (bound.weights, bound.bias);
                    match algorithm {
                        Algorithm::Winograd4x6 => self.winograd::<F4x6>(task, bound, scratch),
                        Algorithm::Winograd4x4 => self.winograd::<F4x4>(task, bound, scratch),
                        Algorithm::Winograd2x2 => self.winograd::<F2x2>(task, bound, scratch),
                        Algorithm::Pointwise => {
                            let sources: Vec<_> =
                                sources.iter().map(|source| source.unrolled(piece.rows.0)).collect();
                            let targets = &unrolled(targets, task);
                            let sources = &sources;
                            self.call(Pointwise { width, sources, targets, weights, bias, piece });
                        }
                        Algorithm::Direct => {
                            let (geometry, direction) = (bound.geometry(conv), *direction);
                            self.call(Direct { geometry, direction, sources, targets, weights, bias, piece });
                        }
                        Algorithm::Grouped => self.call(Grouped {
                            geometry: bound.geometry(conv),
                            direction: *direction,
                            groups: conv.groups,
                            source: sources[0],
                            target: targets[0],
                            weights,
                            bias,
                            piece,
                        }),
                    }
                }
                Operation::Pack { name, conv, direction, algorithm } => {
                    if let Some(parameters) = self.parameters {
                        let (weight, bias) = parameters.values(name);
                        let (layer, blocks) = ((conv, *direction, *algorithm), (task.index, task.index + 1));
                        weights::pack(self.isa, layer, weight, bias, blocks, bound.private);
                    }
                }
                Operation::WeightGradient { conv, algorithm } => {
                    self.weight_gradient(bound, (conv, *algorithm), task.index, scratch);
                }
                Operation::FinishGradient { name, conv, algorithm } => {
                    self.finish_gradient(task, bound, (name, conv, *algorithm));
                }
                Operation::Sum | Operation::Place { .. } => self.combine(bound, Combination::Sum, piece),
                Operation::Product => self.combine(bound, Combination::Product, piece),
                Operation::Sigmoid => self.combine(bound, Combination::Sigmoid, piece),
                Operation::SigmoidGradient => self.combine(bound, Combination::SigmoidGradient, piece),
                &Operation::MaxPool { kernel, stride } => self.call(MaxPool {
                    windows: Windows { kernel, stride, size: bound.input_size },
                    input: bound.input(0),
                    output: bound.output(),
                    channels: bound.channels,
                    piece,
                }),
                &Operation::MaxPoolGradient { kernel, stride } => self.call(MaxPoolGradient {
                    windows: Windows { kernel, stride, size: bound.size },
                    gradient: bound.input(0),
                    input: bound.input(1),
                    output: bound.output(),
                    channels: bound.channels,
                    piece,
                }),
                Operation::ResizeBilinear => self.call(Resize {
                    rows: &bound.axes[0],
                    columns: &bound.axes[1],
                    input: bound.input(0),
                    output: bound.output(),
                    channels: bound.channels,
                    piece,
                }),
                Operation::ResizeBilinearGradient => self.call(ResizeGradient {
                    rows: &bound.axes[0],
                    columns: &bound.axes[1],
                    gradient: bound.input(0),
                    output: bound.output(),
                    channels: bound.channels,
                    piece,
                }),
                &Operation::PixelShuffle { factor } => {
                    // The plan cuts the fine image; a piece begins and ends on rows of the coarse one.
                    let rows = (piece.rows.0.div_ceil(factor), piece.rows.1.div_ceil(factor));
                    self.call(PixelShuffle {
                        shuffle: Shuffle::ToFine,
                        factor,
                        width: width / factor,
                        coarse: bound.input(0),
                        fine: bound.output(),
                        fine_channels: bound.channels,
                        piece: Rows { rows, ..piece },
                    });
                }
                &Operation::PixelUnshuffle { factor } => self.call(PixelShuffle {
                    shuffle: Shuffle::ToCoarse,
                    factor,
                    width,
                    coarse: bound.output(),
                    fine: bound.input(0),
                    fine_channels: bound.channels / (factor * factor),
                    piece,
                }),
            }
        }
    }

    /// # Safety
    /// As for [`Machine::perform`].
    unsafe fn combine(&self, bound: &Bound, combination: Combination, piece: Rows) {
        let width = bound.size.1;
        for Range { inputs, target, room } in &bound.ranges {
            // SAFETY: the caller's promise.
            unsafe { self.call(Combine { width, combination, inputs, target: *target, room: *room, piece }) };
        }
    }

    /// # Safety
    /// As for [`Machine::perform`].
    unsafe fn winograd<V: Variant>(&self, task: &Task, bound: &Bound, scratch: &mut [f32]) {
        // SAFETY: the caller's promise.
        unsafe {
            self.call(Winograd::<V> {
                size: bound.size,
                sources: &bound.inputs[0],
                targets: &unrolled(&bound.targets, task),
                weights: bound.weights,
                bias: bound.bias,
                tiles: tiles::<V>(task),
                scratch,
                variant: PhantomData,
            });
        }
    }

    /// # Safety
    /// As for [`Machine::perform`].
    unsafe fn store(&self, bound: &Bound, factor: usize, piece: Rows) {
        let (size, input) = (bound.size, bound.input(0));
        let channels = bound.inputs[0][0].channels / (factor * factor);
        // SAFETY: the caller's promise.
        unsafe {
            match self.output {
                HostOutput::Planes(planes) => {
                    self.call(ToPlanes { size, factor, channels, input, planes, piece });
                }
                HostOutput::Image(bytes, data_range, numbers) => {
                    let mut kernel =
                        ToImage { size, factor, data_range, input, bytes, piece, not_a_number: None };
                    run(self.isa, &mut kernel);
                    for row in piece.rows.0..piece.rows.1 {
                        *numbers.add(row) = kernel.not_a_number.is_none();
                    }
                }
                HostOutput::Loss(..) => {}
            }
        }
    }

    /// # Safety
    /// As for [`Machine::perform`].
    unsafe fn loss(&self, bound: &Bound, factor: usize, piece: Rows) {
        let HostOutput::Loss(hr, sums) = self.output else { return };
        let (height, width) = bound.size;
        let values = self.plan.program.batch * height * width * bound.channels;
        // SAFETY: the caller's promise; there is one sum for each row of the batch.
        unsafe {
            let first = sums.add(piece.image * height + piece.rows.0);
            self.call(L1 {
                size: bound.size,
                factor,
                channels: bound.channels / (factor * factor),
                sr: bound.input(0),
                hr,
                unit: (1.0 / values as f64) as f32,
                gradient: bound.output(),
                sums: std::slice::from_raw_parts_mut(first, piece.rows.1 - piece.rows.0),
                piece,
            });
        }
    }

    /// # Safety
    /// As for [`Machine::perform`].
    unsafe fn weight_gradient(
        &self,
        bound: &Bound,
        (conv, algorithm): (&Conv2d, Algorithm),
        index: usize,
        scratch: &mut [f32],
    ) {
        let [x, dy] = bound.inputs.as_slice() else { return };
        let (rows, geometry) = (&bound.pieces[index], bound.geometry(conv));
        // SAFETY: the caller's promise; every piece has private sums.
        unsafe {
            let sums = bound.private.add(index * weights::sums_floats(conv, algorithm));
            match algorithm {
                Algorithm::Winograd4x6 | Algorithm::Winograd4x4 | Algorithm::Winograd2x2 => {
                    let across = bound.size.1.div_ceil(F4x4::TILE.1);
                    let rectangle = |rows: &Rows| Tiles {
                        image: rows.image,
                        rows: (rows.rows.0 / F4x4::TILE.0, rows.rows.1.div_ceil(F4x4::TILE.0)),
                        columns: (0, across),
                    };
                    let tiles: Vec<Tiles> = rows.iter().map(rectangle).collect();
                    self.call(WinogradGradient { size: bound.size, x, dy, tiles: &tiles, sums, scratch });
                }
                Algorithm::Pointwise => {
                    self.call(PointwiseGradient { width: bound.size.1, x, dy, rows, sums, scratch });
                }
                Algorithm::Direct => self.call(direct_gradient::WeightGradient {
                    geometry,
                    sources: x,
                    gradients: dy,
                    sums,
                    piece: rows[0],
                }),
                Algorithm::Grouped => self.call(direct_gradient::GroupedWeightGradient {
                    geometry,
                    groups: conv.groups,
                    source: x[0],
                    gradient: dy[0],
                    sums,
                    piece: rows[0],
                }),
            }
        }
    }

    /// # Safety
    /// As for [`Machine::perform`].
    unsafe fn finish_gradient(
        &self,
        task: &Task,
        bound: &Bound,
        (name, conv, algorithm): (&str, &Conv2d, Algorithm),
    ) {
        let Some(parameters) = self.parameters else { return };
        let (weights, bias) = parameters.gradients(name);
        let (sums, distance) = (bound.private.cast_const(), weights::sums_floats(conv, algorithm));
        let (in_channels, out_channels) = (conv.in_channels, conv.out_channels);
        let (blocks, pieces) = ((task.index, task.index + 1), bound.pieces.len());
        // SAFETY: the caller's promise; every piece has written its sums.
        unsafe {
            match algorithm {
                Algorithm::Winograd4x6 | Algorithm::Winograd4x4 | Algorithm::Winograd2x2 => {
                    self.call(winograd_gradient::Finish {
                        sums,
                        pieces,
                        in_channels,
                        out_channels,
                        blocks,
                        weights,
                        bias,
                    })
                }
                Algorithm::Pointwise => self.call(pointwise_gradient::Finish {
                    sums,
                    pieces,
                    in_channels,
                    out_channels,
                    blocks,
                    weights,
                    bias,
                }),
                Algorithm::Direct | Algorithm::Grouped => {
                    let first = task.index * crate::engine::cpu::BLOCK;
                    self.call(direct_gradient::Finish {
                        conv,
                        sums,
                        distance,
                        pieces,
                        outputs: (first, (first + crate::engine::cpu::BLOCK).min(out_channels)),
                        weight: weights,
                        bias,
                    });
                }
            }
        }
    }
}

impl Bound {
    fn output(&self) -> View {
        self.targets[0].view
    }

    fn input(&self, index: usize) -> View {
        self.inputs[index][0].view
    }

    fn geometry(&self, conv: &Conv2d) -> Geometry {
        Geometry::of(conv, self.forward_size)
    }
}
