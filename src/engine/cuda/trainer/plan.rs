//! A step for one size of batch: everything from the weights' folding to their update, recorded.

use super::Trainer;
use super::batch::{Batch, Form};
use crate::engine::EngineError;
use crate::engine::cuda::Used;
use crate::engine::cuda::compile::{End, Sites};
use crate::engine::cuda::draft::Draft;
use crate::engine::cuda::kernels::Ready;
use crate::engine::cuda::launch::Command;
use crate::engine::cuda::layout::Room;
use crate::engine::plan::lower::{Mode, lower};
use crate::gpu::device::{DeviceMemory, Graph as Recorded};
use crate::graph::shapes;

/// A plan for one size of batch.
pub(super) struct Planned {
    /// Patches, and height and width of the LR ones.
    pub(super) shape: [usize; 3],
    /// Everything up to the gradients of the expanded model.
    pub(super) gradients: Recorded,
    /// And then Adam.
    pub(super) step: Recorded,
    /// The same with patches cut on the device before.
    pub(super) step_on_images: Option<Recorded>,
    pub(super) memory: DeviceMemory,
    pub(super) batch: Batch,
    pub(super) used: Used,
    /// Kept, because recorded launches read them, as they do the commands.
    packed: DeviceMemory,
    _commands: Vec<Ready>,
}

impl Planned {
    /// Bytes of device memory.
    pub(super) fn bytes(&self) -> u64 {
        self.memory.bytes() + self.packed.bytes()
    }
}

impl Trainer {
    /// The plan for batches of a shape: patches, and height and width of the LR ones.
    ///
    /// # Errors
    /// [`EngineError::Shape`] when the model does not take them, [`EngineError::Unsupported`] when they are too large to be counted, [`EngineError::Gpu`] when the
    /// device refuses.
    pub(super) fn plan_for(&mut self, shape: [usize; 3]) -> Result<&mut Planned, EngineError> {
        let planned = match self.planned.take() {
            Some(planned) if planned.shape == shape => planned,
            // Freed first: both together need not fit.
            planned => {
                drop(planned);
                self.plan(shape)?
            }
        };
        Ok(self.planned.insert(planned))
    }

    fn plan(&self, shape: [usize; 3]) -> Result<Planned, EngineError> {
        let [patches, height, width] = shape;
        let gpu = self.kernels.gpu();
        let roots = self.backward.step_roots();
        let program = lower(&self.backward.graph, Mode::Train, &roots, shape, width)?;
        let draft = Draft::new(program, self.math, &self.kernels, self.chooser.as_deref())?;
        let hr = shapes(&self.backward.graph, width, height)?[self.backward.sr.index()];
        let mut room = Room::behind(draft.layout.bytes);
        let batch = Batch::new(gpu, &mut room, Form { patches, lr: [self.channels, height, width], hr })?;
        let workspace = room.take(draft.choices.workspace_bytes);
        let memory = gpu.allocate(room.bytes())?;
        let packed = gpu.allocate(draft.packed.bytes)?;
        let base = memory.address();
        let (weight, gradient) = (|key: &str| self.weight(key), |key: &str| self.gradient(key));
        let compiler = draft.compiler(Sites {
            arena: base,
            packed: packed.address(),
            workspace: base + workspace,
            weight: &weight,
            gradient: &gradient,
            lr: batch.lr(base),
            end: End::Loss { hr: batch.hr(base), total: self.state.loss_address() },
        });
        let mut commands: Vec<Command> = Vec::new();
        commands.extend(self.images.as_ref().map(|images| batch.crop(base, images, self.scale)));
        let after_crop = commands.len();
        commands.extend(self.folding.as_ref().map(|folding| folding.fold()));
        commands.extend(compiler.prepare()?);
        commands.extend(compiler.run()?);
        commands.extend(self.folding.as_ref().map(|folding| folding.unfold()));
        let until_gradients = commands.len();
        commands.extend(self.state.adam());
        let commands = self.kernels.ready(commands)?;
        // SAFETY: nothing runs while it is recorded; all memory is kept as long as the recordings.
        let record = |commands: &[Ready]| gpu.capture(|| unsafe { self.kernels.start(commands) });
        Ok(Planned {
            shape,
            gradients: record(&commands[after_crop..until_gradients])?,
            step: record(&commands[after_crop..])?,
            step_on_images: if self.images.is_some() { Some(record(&commands)?) } else { None },
            memory,
            batch,
            used: draft.used(),
            packed,
            _commands: commands,
        })
    }

    /// Where the collapsed model's weight is: folded, or the expanded one's.
    fn weight(&self, key: &str) -> Option<u64> {
        let folded = self.folding.as_ref().and_then(|folding| folding.weight(key));
        folded.or_else(|| self.state.weights.of(key))
    }

    fn gradient(&self, key: &str) -> Option<u64> {
        let folded = self.folding.as_ref().and_then(|folding| folding.gradient(key));
        folded.or_else(|| self.state.gradients.of(key))
    }
}
