//! Steps cut into tasks, in the order in which threads take them, each with what it waits for.
//!
//! The cut depends on shapes alone, never on the number of threads, and every task writes what no other task writes: results are the same bits for any
//! number of threads. A task waits only for tasks before it in the list, so that whoever holds the first unfinished one can always go on.

use std::collections::{BTreeMap, BTreeSet};

use super::memory::Memory;
use super::program::{Algorithm, BufferId, Operation, Part, Program, Step};
use super::stages::Stage;
use super::weights::blocks;
use crate::engine::EngineError;
use crate::engine::cpu::BLOCK;
use crate::engine::cpu::pointwise::Rows;
use crate::engine::cpu::winograd::{F4x4, Variant};

/// Tiles of 4×4 pixels of a Winograd convolution that one task works on: with 64 channels their transforms fill most of a 512 KiB cache. Half as many, or twice,
/// take as long.
const TILES: usize = 24;
/// Pixels that one task of another kind works on.
const PIXELS: usize = 1024;

/// Pieces of a weight gradient, each with sums of its own.
const PIECES: usize = 8;

/// One piece of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Task {
    pub(super) step: usize,
    /// Which image of the batch.
    pub(super) image: usize,
    /// Rows of output: first and one past the last.
    pub(super) rows: (usize, usize),
    /// Columns of output: first and one past the last.
    pub(super) columns: (usize, usize),
    /// Number of the piece within its step.
    pub(super) index: usize,
    /// What it waits for: a range of [`Tasks::waits`].
    waits: (usize, usize),
    /// All tasks before this one must be done: where its stage begins.
    pub(super) after: usize,
    /// The counter that it advances when done.
    pub(super) counter: usize,
}

/// A counter and the value it must have reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) counter: usize,
    pub(super) count: u32,
}

/// All tasks of a plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tasks {
    pub(super) list: Vec<Task>,
    waits: Vec<Wait>,
    pub(super) counters: usize,
}

impl Tasks {
    /// What a task waits for inside its stage.
    pub(super) fn waits(&self, task: &Task) -> &[Wait] {
        self.waits.get(task.waits.0..task.waits.1).unwrap_or_default()
    }

    /// Cuts all stages.
    pub(super) fn of(
        program: &Program,
        stages: &[Stage],
        memory: &Memory,
        band: usize,
    ) -> Result<Self, EngineError> {
        let mut tasks = Self::default();
        for stage in stages {
            let after = tasks.list.len();
            match &stage.lags {
                Some(lags) => tasks.wave(program, stage, lags, memory, band, after)?,
                None => tasks.independent(program, stage, after),
            }
        }
        Ok(tasks)
    }

    fn independent(&mut self, program: &Program, stage: &Stage, after: usize) {
        for &index in &stage.steps {
            let step = &program.steps[index];
            let counter = self.counters;
            self.counters += 1;
            let whole = Task {
                step: index,
                image: 0,
                rows: (0, 0),
                columns: (0, 0),
                index: 0,
                waits: (0, 0),
                after,
                counter,
            };
            let Some((height, width)) = image_size(program, step) else {
                self.list.extend((0..pieces(program, step)).map(|index| Task { index, ..whole }));
                continue;
            };
            for image in 0..program.batch {
                for rows in ranges(height, rows_of_task(step, width)) {
                    for columns in columns_of_task(step, rows, width) {
                        self.list.push(Task { image, rows, columns, ..whole });
                    }
                }
            }
        }
    }

    fn wave(
        &mut self,
        program: &Program,
        stage: &Stage,
        lags: &[usize],
        memory: &Memory,
        band: usize,
        after: usize,
    ) -> Result<(), EngineError> {
        let first = program.steps.get(stage.steps[0]).and_then(|step| image_size(program, step));
        let Some((height, _)) = first else { return Ok(()) };
        let bands = height.div_ceil(band);
        let base = self.counters;
        self.counters += stage.steps.len() * bands;
        let written = stage.steps.iter().filter_map(|&index| program.steps[index].output).collect();
        let mut tracker = Tracker::new(memory, band, bands, written);
        let mut done = vec![0u32; stage.steps.len() * bands];
        for wave in 0..bands + lags.last().copied().unwrap_or(0) {
            for (position, (&index, &lag)) in stage.steps.iter().zip(lags).enumerate() {
                let Some(this) = wave.checked_sub(lag).filter(|&this| this < bands) else { continue };
                let step = &program.steps[index];
                let Some((height, width)) = image_size(program, step) else { continue };
                let own = position * bands + this;
                let mut needed = tracker.needed(step, this, own)?;
                needed.sort_unstable();
                needed.dedup();
                let start = self.waits.len();
                self.waits.extend(
                    needed.iter().map(|&counter| Wait { counter: base + counter, count: done[counter] }),
                );
                let waits = (start, self.waits.len());
                let rows = (this * band, ((this + 1) * band).min(height));
                for columns in columns_of_task(step, rows, width) {
                    done[own] += 1;
                    self.list.push(Task {
                        step: index,
                        image: 0,
                        rows,
                        columns,
                        index: 0,
                        waits,
                        after,
                        counter: base + own,
                    });
                }
            }
        }
        Ok(())
    }
}

/// Height of the bands of a wave over an image of this width, in rows: as many tiles as a task wants, and whole tiles.
pub(super) fn band_rows(width: usize) -> usize {
    let across = width.div_ceil(F4x4::TILE.1).max(1);
    (TILES / across).max(1) * F4x4::TILE.0
}

/// The size of the image that a step is cut along, or `None` for one that is not cut like that.
fn image_size(program: &Program, step: &Step) -> Option<(usize, usize)> {
    let buffer = match step.operation {
        Operation::Pack { .. } | Operation::WeightGradient { .. } | Operation::FinishGradient { .. } => {
            return None;
        }
        _ => step.output.or_else(|| step.reads().next().map(|piece| piece.buffer))?,
    };
    program.buffers.get(buffer).map(|buffer| (buffer.height, buffer.width))
}

/// Pieces of a step that is not cut along an image.
fn pieces(program: &Program, step: &Step) -> usize {
    match &step.operation {
        Operation::WeightGradient { algorithm, .. } => {
            gradient_pieces(*algorithm, program.batch, gradient_size(program, step)).len()
        }
        Operation::FinishGradient { conv, .. } => conv.out_channels.div_ceil(BLOCK),
        Operation::Pack { conv, direction, .. } => blocks(conv, *direction),
        _ => 1,
    }
}

/// Height and width of the gradient that a weight gradient reads; zeros for other steps.
pub(super) fn gradient_size(program: &Program, step: &Step) -> (usize, usize) {
    let dy = step.inputs.get(1).and_then(|pieces| pieces.first());
    dy.map_or((0, 0), |piece| {
        let buffer = &program.buffers[piece.buffer];
        (buffer.height, buffer.width)
    })
}

/// The rows of output that each piece of a weight gradient sums over. They depend on the shape alone: the sums are added in the order of the pieces,
/// so other pieces would give other bits.
pub(super) fn gradient_pieces(
    algorithm: Algorithm,
    batch: usize,
    (height, _): (usize, usize),
) -> Vec<Vec<Rows>> {
    let unit = algorithm.tile().map_or(1, |(rows, _)| rows);
    let per_image = height.div_ceil(unit);
    let all = batch * per_image;
    let several = matches!(algorithm, Algorithm::Winograd4x4 | Algorithm::Pointwise);
    // Kernels that take one range of rows get a whole image, or parts of a single one.
    let parts = if several || batch == 1 { PIECES.min(all) } else { batch };
    let piece = |part: usize| {
        let (from, to) = (all * part / parts, all * (part + 1) / parts);
        let rows = |image: usize| {
            let first = from.max(image * per_image) - image * per_image;
            let last = to.min((image + 1) * per_image) - image * per_image;
            Rows { image, rows: (first * unit, (last * unit).min(height)) }
        };
        (from / per_image..to.div_ceil(per_image)).map(rows).collect()
    };
    (0..parts).map(piece).collect()
}

/// Rows and columns of the tiles that a step computes, if it is a Winograd convolution.
fn tile(step: &Step) -> Option<(usize, usize)> {
    match step.operation {
        Operation::Conv { algorithm, .. } => algorithm.tile(),
        _ => None,
    }
}

/// Rows of output that one task works on where rows need no order.
fn rows_of_task(step: &Step, width: usize) -> usize {
    /// Columns of tiles of a narrow image: one register tile of them fills the vectors' registers.
    const NARROW: usize = 6;
    let Some(tile) = tile(step) else { return (PIXELS / width.max(1)).max(1) };
    match width.div_ceil(tile.1) {
        across if (NARROW..TILES).contains(&across) => TILES / NARROW * tile.0,
        _ => band_rows(width),
    }
}

/// The columns of a band of Winograd tiles are cut so that a task's transforms take as much memory as those of [`TILES`] do; other rows are not cut.
fn columns_of_task(step: &Step, rows: (usize, usize), width: usize) -> Vec<(usize, usize)> {
    let Some(tile) = tile(step) else { return vec![(0, width)] };
    let (down, across) = ((rows.1 - rows.0).div_ceil(tile.0), width.div_ceil(tile.1));
    // Full register tiles first: what is left over goes into the last task.
    let points = (tile.0 + 2) * (tile.1 + 2);
    let most = (TILES * F4x4::POINTS / points / down).max(1);
    let parts = across.div_ceil(most);
    let cut = |part: usize| if part == parts { width } else { part * most * tile.1 };
    (0..parts).map(|part| (cut(part), cut(part + 1))).collect()
}

/// `0..length` in ranges of `step`.
fn ranges(length: usize, step: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..length.div_ceil(step.max(1))).map(move |index| (index * step, ((index + 1) * step).min(length)))
}

/// Who wrote and who has read each band of memory of a wave.
struct Tracker<'a> {
    memory: &'a Memory,
    band: usize,
    bands: usize,
    /// Buffers that the wave writes.
    written: BTreeSet<BufferId>,
    slots: BTreeMap<(usize, usize), Slot>,
}

#[derive(Default)]
struct Slot {
    /// The band of which buffer it holds, and the counter of its writer; a band from before the wave has none.
    holds: Option<(usize, usize, usize)>,
    readers: Vec<usize>,
}

impl<'a> Tracker<'a> {
    fn new(memory: &'a Memory, band: usize, bands: usize, written: BTreeSet<BufferId>) -> Self {
        Self { memory, band, bands, written, slots: BTreeMap::new() }
    }

    fn slot(&mut self, buffer: usize, band: usize) -> &mut Slot {
        let storage = self.memory.of_buffer[buffer];
        let held = self.memory.storages[storage].rows.div_ceil(self.band).max(1);
        self.slots.entry((storage, band % held)).or_default()
    }

    /// The counters that must be complete before `step` works on `band`, which is then recorded as done by `own`.
    fn needed(&mut self, step: &Step, band: usize, own: usize) -> Result<Vec<usize>, EngineError> {
        let mut needed = Vec::new();
        let around = step.reach().unwrap_or(0).div_ceil(self.band);
        let inputs = step.inputs.iter().flatten().map(|piece| (piece.buffer, around));
        let operands = step.parts.iter().flat_map(Part::operands).map(|piece| (piece.buffer, 0));
        for (buffer, around) in inputs.chain(operands) {
            let inside = self.written.contains(&buffer);
            for wanted in band.saturating_sub(around)..=(band + around).min(self.bands - 1) {
                let slot = self.slot(buffer, wanted);
                match slot.holds {
                    Some((held, at, writer)) if (held, at) == (buffer, wanted) => needed.push(writer),
                    None if !inside => {}
                    _ => {
                        let op = format!("a wave in which `{}` reads what is not there", step.label);
                        return Err(EngineError::Unsupported { engine: "plan", op });
                    }
                }
                slot.readers.push(own);
            }
        }
        if let Some(output) = step.output {
            let slot = self.slot(output, band);
            needed.extend(slot.readers.drain(..).filter(|&reader| reader != own));
            needed.extend(slot.holds.map(|(_, _, writer)| writer));
            slot.holds = Some((output, band, own));
        }
        Ok(needed)
    }
}
