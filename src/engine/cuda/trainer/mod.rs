//! Training steps on a device: weights, gradients and the optimiser's moments stay there; a step is one recorded graph.
//!
//! Folding, packing, forward, loss, backward, unfolding and Adam are launches of the same stream. What the host brings for a step is its batch and the six numbers of Adam; what it
//! gets back is the loss and whether there was an update.
//!
//! What is trained is `state`; `folding` makes the collapsed model's weights of it; `batch` is what one step is about; `plan` puts all of it together for one size of batch.

mod batch;
mod folding;
mod plan;
mod state;

use std::sync::Arc;

use folding::Folding;
use plan::Planned;
use state::State;

use super::images::Images;
use super::kernels::Kernels;
use super::{Chooser, Computing, Math, Used, unsupported};
use crate::array::Array;
use crate::dataset::{Crop, Pairs};
use crate::engine::EngineError;
use crate::engine::cpu::adam::Step;
use crate::graph::{Backward, Graph, backward, collapse};
use crate::imaging::ValueTable;

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stepped {
    /// The mean absolute difference before the update.
    pub loss: f64,
    /// Whether there was an update: not if the loss or a gradient is infinite or not a number.
    pub updated: bool,
}

/// Trains one model on a device.
pub struct Trainer {
    kernels: Kernels,
    chooser: Option<Arc<Chooser>>,
    math: Math,
    scale: usize,
    channels: usize,
    backward: Backward,
    /// The expanded model.
    state: State,
    /// What is folded of it.
    folding: Option<Folding>,
    /// Training images, where they fit.
    images: Option<Images>,
    planned: Option<Planned>,
}

impl Trainer {
    /// Prepares to train `graph`, the expanded model, as it is or `folded` into the collapsed one at every step.
    ///
    /// # Errors
    /// [`EngineError::Backward`] when an operation has no gradient, [`EngineError::Unsupported`] for branches that are not folded on a device and for `f16`, whose range
    /// is too small for gradients; [`EngineError::Gpu`] when the device refuses.
    pub fn new(
        graph: &Graph,
        folded: bool,
        Computing { gpu, math, chooser }: Computing,
    ) -> Result<Self, EngineError> {
        if math == Math::F16 {
            return Err(unsupported("training in f16: gradients are too small for it; use bf16".into()));
        }
        let collapsed = folded.then(|| collapse(graph));
        let trained = collapsed.as_ref().map_or(graph, |collapsed| &collapsed.graph);
        let folds = collapsed.as_ref().map_or(&[][..], |collapsed| &collapsed.folds);
        let cudnn = chooser.as_ref().and_then(|chooser| chooser.cudnn().cloned());
        let state = State::new(&gpu, &graph.parameters())?;
        let folding = Folding::new(&gpu, folds, &state)?;
        Ok(Self {
            chooser,
            math,
            scale: graph.scale(),
            channels: graph.input_channels(),
            backward: backward(trained)?,
            state,
            folding,
            images: None,
            planned: None,
            kernels: Kernels::new(gpu, cudnn),
        })
    }

    /// Replaces weights and moments: all values of the expanded model's tensors, in the order of their keys.
    ///
    /// # Errors
    /// [`EngineError::Gpu`], also for slices of another length.
    pub fn place(&mut self, weights: &[f32], first: &[f32], second: &[f32]) -> Result<(), EngineError> {
        self.state.place(weights, first, second)
    }

    /// Reads weights and moments, in the order of [`Trainer::place`].
    ///
    /// # Errors
    /// [`EngineError::Gpu`]
    pub fn fetch(
        &self,
        weights: &mut [f32],
        first: &mut [f32],
        second: &mut [f32],
    ) -> Result<(), EngineError> {
        self.state.fetch(weights, first, second)
    }

    /// The loss of a batch and the gradients of the expanded model's tensors, in the order of their keys; nothing is updated.
    ///
    /// # Errors
    /// As for [`Trainer::step`].
    pub fn gradients(
        &mut self,
        lr: &Array<f32>,
        hr: &Array<f32>,
        gradients: &mut [f32],
    ) -> Result<f64, EngineError> {
        self.bring(lr, hr)?;
        self.kernels.gpu().start(&self.planned()?.gradients)?;
        self.state.gradients.download(gradients)?;
        self.state.loss()
    }

    /// One step: loss, gradients, and the update with these numbers.
    ///
    /// # Errors
    /// [`EngineError::Input`] or [`EngineError::Shape`] when the batch does not fit, [`EngineError::Gpu`] when the device refuses.
    pub fn step(&mut self, lr: &Array<f32>, hr: &Array<f32>, adam: Step) -> Result<Stepped, EngineError> {
        self.bring(lr, hr)?;
        self.state.tell(adam)?;
        self.kernels.gpu().start(&self.planned()?.step)?;
        self.state.stepped()
    }

    /// The kernels, and the device.
    pub fn kernels(&self) -> &Kernels {
        &self.kernels
    }

    /// Brings a batch of random values, so many patches of such a side, and the numbers of an update, for [`Trainer::repeat`].
    ///
    /// # Errors
    /// As for [`Trainer::step`].
    pub fn bring_random(&mut self, sizes: [usize; 2], seed: u64, adam: Step) -> Result<(), EngineError> {
        let [lr, hr] = batch::random(sizes, self.channels, self.scale, seed);
        self.bring(&lr, &hr)?;
        self.state.tell(adam)
    }

    /// Starts a step on the batch that is there; returns before it is done.
    ///
    /// # Errors
    /// [`EngineError::Gpu`]; [`EngineError::Input`] when nothing was brought.
    pub fn repeat(&self) -> Result<(), EngineError> {
        Ok(self.kernels.gpu().start(&self.planned()?.step)?)
    }

    /// Brings training images to the device, if they fit; whether they do.
    ///
    /// # Errors
    /// [`EngineError::Gpu`] when the device refuses.
    pub fn keep(&mut self, images: &dyn Pairs, values: &ValueTable) -> Result<bool, EngineError> {
        // Freed first, also because recorded launches name their addresses.
        (self.planned, self.images) = (None, None);
        self.images = Images::of(self.kernels.gpu(), images, values)?;
        Ok(self.images.is_some())
    }

    /// One step on patches of the images that [`Trainer::keep`] brought: the number of the pair, and what to cut. All are of one size.
    ///
    /// # Errors
    /// As for [`Trainer::step`]; [`EngineError::Input`] when there are no images on the device or no patches.
    pub fn step_on_images(&mut self, patches: &[(usize, Crop)], adam: Step) -> Result<Stepped, EngineError> {
        let (found, channels) = (vec![patches.len()], self.channels);
        let nothing = || EngineError::Input { found: found.clone(), channels };
        let Some((_, first)) = patches.first() else { return Err(nothing()) };
        let shape = [patches.len(), first.side, first.side];
        if patches.iter().any(|(_, crop)| (crop.side, crop.scale) != (first.side, self.scale)) {
            return Err(nothing());
        }
        self.plan_for(shape)?;
        let (Some(images), Some(planned)) = (&self.images, &mut self.planned) else { return Err(nothing()) };
        planned.batch.bring_patches(&mut planned.memory, images, patches)?;
        self.state.tell(adam)?;
        let Some(recorded) = &planned.step_on_images else { return Err(nothing()) };
        self.kernels.gpu().start(recorded)?;
        self.state.stepped()
    }

    /// Bytes of device memory in use.
    pub fn planned_bytes(&self) -> u64 {
        let folded = self.folding.as_ref().map_or(0, Folding::bytes);
        let planned = self.planned.as_ref().map_or(0, Planned::bytes);
        self.state.bytes() + folded + planned
    }

    /// What computes the convolutions of the last plan, where it was chosen by measurement.
    pub fn used(&self) -> Option<Used> {
        self.chooser.as_ref().and(self.planned.as_ref()).map(|planned| planned.used)
    }

    /// Plans for a batch and brings it to the device.
    fn bring(&mut self, lr: &Array<f32>, hr: &Array<f32>) -> Result<(), EngineError> {
        let found = lr.shape();
        let &[patches, channels, height, width] = found else { return Err(self.input_error(found)) };
        if channels != self.channels || patches == 0 {
            return Err(self.input_error(found));
        }
        // The device has to have read the batch before.
        self.kernels.gpu().synchronize()?;
        let planned = self.plan_for([patches, height, width])?;
        planned.batch.bring(&mut planned.memory, lr, hr)
    }

    /// The plan for the batch that was brought.
    fn planned(&self) -> Result<&Planned, EngineError> {
        self.planned.as_ref().ok_or_else(|| self.input_error(&[]))
    }

    fn input_error(&self, found: &[usize]) -> EngineError {
        EngineError::Input { found: found.to_vec(), channels: self.channels }
    }
}
