//! A compiled graph.

use super::lower::{Mode, lower};
use super::memory::Memory;
use super::program::Program;
use super::stages::{self, Stage};
use super::tasks::{Tasks, band_rows, gradient_size};
use super::weights;
use crate::engine::EngineError;
use crate::graph::{Backward, Graph, shapes};

/// What the inner values of a wave may take: they should stay in a cache that others use too.
const WAVE_BYTES: usize = 12 << 20;

/// What inference is planned for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Least traffic between cache and memory.
    Fast,
    /// Least memory: all layers go through one image together, band by band. The image may be a strip of one `part_of` pixels wide.
    Streaming {
        /// Width of the whole image in pixels.
        part_of: usize,
    },
}

/// Steps with their order, places and pieces.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub(super) program: Program,
    pub(super) stages: Vec<Stage>,
    pub(super) memory: Memory,
    pub(super) tasks: Tasks,
    /// Channels, height and width of the SR images.
    pub(super) output: [usize; 3],
}

impl Plan {
    /// Compiles inference for a batch of LR images `[images, height, width]`.
    ///
    /// # Errors
    /// [`EngineError`] when the images do not go through the model, or a plan cannot run it.
    pub fn inference(graph: &Graph, shape: [usize; 3], layout: Layout) -> Result<Self, EngineError> {
        let [images, height, width] = shape;
        let part_of = match layout {
            Layout::Fast => width,
            Layout::Streaming { part_of } => part_of,
        };
        let program = lower(graph, Mode::Infer, &[graph.output()], shape, part_of)?;
        let band = band_rows(width);
        let stages = match (images, layout) {
            (1, Layout::Fast) => stages::by_waves(&program, band, 1, WAVE_BYTES),
            (1, Layout::Streaming { .. }) => stages::by_waves(&program, band, 0, usize::MAX),
            _ => stages::by_level(&program),
        };
        let output = shapes(graph, width, height)?[graph.output().index()];
        Self::of(program, stages, band, output, layout == Layout::Fast)
    }

    /// Compiles a training step for a batch of LR images `[images, height, width]`: forward, loss, backward.
    ///
    /// # Errors
    /// As for [`Plan::inference`].
    pub fn training(backward: &Backward, shape: [usize; 3]) -> Result<Self, EngineError> {
        let [_, height, width] = shape;
        let program = lower(&backward.graph, Mode::Train, &backward.step_roots(), shape, width)?;
        let stages = stages::by_level(&program);
        let output = shapes(&backward.graph, width, height)?[backward.sr.index()];
        Self::of(program, stages, band_rows(width), output, true)
    }

    fn of(
        program: Program,
        stages: Vec<Stage>,
        band: usize,
        output: [usize; 3],
        in_place: bool,
    ) -> Result<Self, EngineError> {
        let private = |step: usize| {
            let step = &program.steps[step];
            weights::private_floats(step, program.batch, gradient_size(&program, step))
        };
        let memory = Memory::of(&program, &stages, band, in_place, private);
        let tasks = Tasks::of(&program, &stages, &memory, band)?;
        Ok(Self { program, stages, memory, tasks, output })
    }

    /// Bytes of the arena.
    pub fn arena_bytes(&self) -> usize {
        self.memory.floats * size_of::<f32>()
    }
}
