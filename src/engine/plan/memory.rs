//! Where everything lies: one arena, in which memory is used again as soon as nothing needs what it holds.

use super::places::{Item, places};
use super::program::{BufferId, Program, Step};
use super::stages::{Stage, bands_held, dependency};
use crate::engine::cpu::{BLOCK, view::View};

/// Floats of a pixel.
pub(super) fn pixel_floats(channels: usize) -> usize {
    channels.div_ceil(BLOCK) * BLOCK
}

/// Floats from one row to the next. Rows at a multiple of 4 KiB compete for the same lines of the caches, and a tile reads six of them at once: rows
/// that are long are lengthened such that each begins 1664 bytes further into such a stretch than the one above, a tile's width of 64 channels.
fn row_floats(width: usize, channels: usize) -> usize {
    const STRETCH: usize = 4096 / size_of::<f32>();
    const SHIFT: usize = 1664 / size_of::<f32>();
    let floats = width * pixel_floats(channels);
    match floats >= 2 * STRETCH {
        true => floats + (SHIFT + STRETCH - floats % STRETCH) % STRETCH,
        false => floats,
    }
}

/// Memory of one or several buffers that succeed each other in it, or of a step's private results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Storage {
    /// Floats from the beginning of the arena.
    pub(super) offset: usize,
    pub(super) floats: usize,
    /// Rows held of each image.
    pub(super) rows: usize,
    /// First and last stage that need it.
    live: (usize, usize),
}

/// The layout of the arena.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Memory {
    pub(super) storages: Vec<Storage>,
    /// The storage of each buffer.
    pub(super) of_buffer: Vec<usize>,
    /// The storage of each step's private results.
    pub(super) of_step: Vec<Option<usize>>,
    /// Floats in all.
    pub(super) floats: usize,
}

impl Memory {
    /// Lays out the arena. `private` gives the floats of a step's private results; `band` is the height of a wave's bands in rows.
    pub(super) fn of(
        program: &Program,
        stages: &[Stage],
        band: usize,
        in_place: bool,
        private: impl Fn(usize) -> usize,
    ) -> Self {
        let mut memory = Self { storages: Vec::new(), of_buffer: Vec::new(), of_step: Vec::new(), floats: 0 };
        let stage_of = |step: usize| stages.iter().position(|stage| stage.steps.contains(&step)).unwrap_or(0);
        let stage_of: Vec<usize> = (0..program.steps.len()).map(stage_of).collect();
        memory.of_buffer = vec![usize::MAX; program.buffers.len()];
        let mut order: Vec<usize> = (0..program.steps.len()).collect();
        order.sort_by_key(|&step| (stage_of[step], step));
        for step in order {
            let Some(buffer) = program.steps[step].output else { continue };
            let stage = stage_of[step];
            let last = last_read(program, buffer, &stage_of).unwrap_or(stage);
            let host = if in_place { memory.dying_operand(program, stages, step, &stage_of) } else { None };
            memory.of_buffer[buffer] = match host {
                Some(storage) => {
                    memory.storages[storage].live.1 = memory.storages[storage].live.1.max(last);
                    storage
                }
                None => {
                    let shape = &program.buffers[buffer];
                    let held = bands_held(program, &stages[stage], step).map(|bands| bands * band);
                    let rows = held.map_or(shape.height, |rows| rows.min(shape.height));
                    let floats = program.batch * rows * row_floats(shape.width, shape.channels);
                    memory.storages.push(Storage { offset: 0, floats, rows, live: (stage, last) });
                    memory.storages.len() - 1
                }
            };
        }
        for step in 0..program.steps.len() {
            let floats = private(step);
            let user = dependency(&program.steps, step + 1).map_or(step, |_| step + 1);
            memory.of_step.push((floats > 0).then(|| {
                let live = (stage_of[step], stage_of[user].max(stage_of[step]));
                memory.storages.push(Storage { offset: 0, floats, rows: 0, live });
                memory.storages.len() - 1
            }));
        }
        memory.place();
        memory
    }

    /// The storage of an operand that the step adds, if the step may write its result over it: nothing else needs it any more, and it lies pixel
    /// for pixel where the result goes.
    fn dying_operand(
        &self,
        program: &Program,
        stages: &[Stage],
        step: usize,
        stage_of: &[usize],
    ) -> Option<usize> {
        let this = &program.steps[step];
        let output = this.output?;
        let [part] = this.parts.as_slice() else { return None };
        let shape = &program.buffers[output];
        // A convolution reads its inputs' neighbouring pixels and all channels for each block of results.
        let reads_input = |buffer: BufferId| this.inputs.iter().flatten().any(|piece| piece.buffer == buffer);
        [part.before, part.after].into_iter().flatten().find_map(|piece| {
            let storage = *self.of_buffer.get(piece.buffer)?;
            let whole = piece.start == 0 && program.buffers[piece.buffer] == *shape;
            let full = self.storages.get(storage)?.rows == shape.height;
            // Inside a wave, a band is only overwritten when its readers are done with it.
            let wave = stages[stage_of[step]].lags.is_some();
            let earlier = |(index, other): (usize, &Step)| {
                index == step
                    || !other.reads().any(|read| self.of_buffer.get(read.buffer) == Some(&storage))
                    || stage_of[index] < stage_of[step]
                    || (wave && stage_of[index] == stage_of[step] && index < step)
            };
            let dies = program.steps.iter().enumerate().all(earlier);
            (whole && full && dies && !reads_input(piece.buffer)).then_some(storage)
        })
    }

    /// Gives every storage its place.
    fn place(&mut self) {
        /// Between storages, so that whole vectors may be read past the end of one.
        const SLACK: usize = BLOCK;
        let item = |storage: &Storage| Item { live: storage.live, size: storage.floats + SLACK };
        let items: Vec<Item> = self.storages.iter().map(item).collect();
        let (offsets, floats) = places(&items, BLOCK);
        self.storages.iter_mut().zip(offsets).for_each(|(storage, offset)| storage.offset = offset);
        self.floats = floats;
    }

    /// A range of a buffer's channels as an address in an arena.
    ///
    /// # Safety
    /// The arena must have room for [`Memory::floats`].
    pub(super) unsafe fn view(
        &self,
        program: &Program,
        buffer: BufferId,
        channel: usize,
        arena: *mut f32,
    ) -> View {
        let storage = &self.storages[self.of_buffer[buffer]];
        let shape = &program.buffers[buffer];
        let pixel = pixel_floats(shape.channels);
        let row = row_floats(shape.width, shape.channels);
        View {
            // SAFETY: every storage lies inside the arena.
            base: unsafe { arena.add(storage.offset + channel) },
            pixel,
            row,
            image: storage.rows * row,
            rows: storage.rows,
        }
    }
}

fn last_read(program: &Program, buffer: BufferId, stage_of: &[usize]) -> Option<usize> {
    let readers = program.steps.iter().zip(stage_of);
    readers
        .filter(|(step, _)| step.reads().any(|piece| piece.buffer == buffer))
        .map(|(_, &stage)| stage)
        .max()
}
