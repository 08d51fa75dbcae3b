//! One step of training: loss and gradients by an engine, then Adam.

use rayon::prelude::*;

use super::adam::{Adam, PIECE};
use super::flat::Flat;
use super::run::Error;
use super::sampler::{Batch, Patch};
use super::settings::TrainOn;
use crate::dataset::Pairs;
use crate::engine::cpu::adam::Step;
use crate::engine::plan::Trainer;
use crate::engine::{Backend, Engine, EngineError, cuda, reference};
use crate::graph::{Collapsed, Folding, Graph, collapse};
use crate::imaging::ValueTable;

/// Makes the steps of a run. Memory is kept from one to the next.
pub struct Stepper {
    method: Method,
    gradients: Flat,
}

/// How loss and gradients are made. Without a collapsed graph the expanded one runs.
enum Method {
    Cuda {
        trainer: Box<cuda::Trainer>,
        /// Updates that the moments on the device have seen, unless host and device differ.
        placed: Option<u64>,
    },
    Plan {
        trainer: Box<Trainer>,
        folding: Option<Folding>,
    },
    Reference {
        graph: Graph,
        collapsed: Option<Collapsed>,
    },
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stepped {
    /// The loss before the update.
    pub loss: f64,
    /// Whether there was an update. Without one the loss or a gradient is infinite or not a number, and nothing was changed.
    pub updated: bool,
}

impl Stepper {
    /// Prepares to train `graph`, the expanded model.
    ///
    /// # Errors
    /// [`Error::Engine`] when an operation has no gradient.
    pub fn new(backend: impl Into<Backend>, graph: &Graph, train_on: TrainOn) -> Result<Self, Error> {
        let folded = train_on == TrainOn::Folded;
        let method = match backend.into() {
            Backend::Cuda(computing) => {
                let trainer = cuda::Trainer::new(graph, folded, computing)?;
                Method::Cuda { trainer: Box::new(trainer), placed: None }
            }
            Backend::Cpu(Engine::Plan) => {
                let folding = folded.then(|| Folding::new(graph));
                let trainer = Trainer::new(folding.as_ref().map_or(graph, Folding::graph))?;
                Method::Plan { trainer: Box::new(trainer), folding }
            }
            Backend::Cpu(Engine::Reference) => {
                Method::Reference { graph: graph.clone(), collapsed: folded.then(|| collapse(graph)) }
            }
        };
        Ok(Self { method, gradients: Flat::zeros(graph.parameters()) })
    }

    /// The loss of a batch, and the gradients of the expanded model's weights.
    ///
    /// # Errors
    /// [`Error`] when the weights are not the model's or the batch does not fit it.
    pub fn gradients(&mut self, weights: &Flat, batch: &Batch) -> Result<(f64, &Flat), Error> {
        if let Some(problem) = weights.difference(&self.gradients) {
            return Err(Error::Weights { problem });
        }
        let loss = match &mut self.method {
            Method::Cuda { trainer, placed } => {
                // The moments do not matter here; the next step brings them.
                *placed = None;
                let zeros = weights.zeros_like();
                trainer.place(weights.values(), zeros.values(), zeros.values())?;
                trainer.gradients(&batch.lr, &batch.hr, self.gradients.values_mut())?
            }
            Method::Plan { trainer, folding: None } => {
                trainer.step(&weights.slices(), &batch.lr, &batch.hr, &mut self.gradients.slices_mut())?
            }
            Method::Plan { trainer, folding: Some(folding) } => {
                let expanded = weights.slices();
                folding.fold(&expanded)?;
                let (folded, mut gradients) = folding.tensors(&expanded, self.gradients.slices_mut());
                let loss = trainer.step(&folded, &batch.lr, &batch.hr, &mut gradients)?;
                folding.unfold(&expanded, self.gradients.slices_mut())?;
                loss
            }
            Method::Reference { graph, collapsed: None } => {
                let found = reference::loss_and_gradients(graph, &weights.named(), &batch.lr, &batch.hr)?;
                self.gradients = Flat::of(&found.gradients);
                found.loss
            }
            Method::Reference { collapsed: Some(collapsed), .. } => {
                let expanded = weights.named();
                let folded = collapsed.weights(&expanded)?;
                let found = reference::loss_and_gradients(&collapsed.graph, &folded, &batch.lr, &batch.hr)?;
                self.gradients = Flat::of(&collapsed.backward(&expanded, found.gradients)?);
                found.loss
            }
        };
        Ok((loss, &self.gradients))
    }

    /// Makes one step. `adam` is the state for these weights. On a GPU both stay on the device: [`Stepper::fetch`] brings them back before anything else reads or changes them.
    ///
    /// # Errors
    /// As for [`Stepper::gradients`]; nothing is changed then.
    pub fn step(
        &mut self,
        weights: &mut Flat,
        adam: &mut Adam,
        batch: &Batch,
        rate: f64,
    ) -> Result<Stepped, Error> {
        if let Method::Cuda { .. } = self.method {
            return self.on_device(
                weights,
                adam,
                |trainer, step| trainer.step(&batch.lr, &batch.hr, step),
                rate,
            );
        }
        let (loss, gradients) = self.gradients(weights, batch)?;
        let updated = loss.is_finite() && all_finite(gradients.values());
        if updated {
            adam.update(weights, gradients, rate);
        }
        Ok(Stepped { loss, updated })
    }
}

impl Stepper {
    /// Whether steps are computed elsewhere, so that the processor has time for the next batch meanwhile.
    pub fn leaves_the_processor_free(&self) -> bool {
        matches!(self.method, Method::Cuda { .. })
    }

    /// Brings training images to where steps are computed, if that is a device and they fit; then [`Stepper::step_on_images`] makes steps.
    ///
    /// # Errors
    /// [`Error::Engine`] when the device refuses.
    pub fn keep(&mut self, images: &dyn Pairs, values: &ValueTable) -> Result<bool, Error> {
        match &mut self.method {
            Method::Cuda { trainer, .. } => Ok(trainer.keep(images, values)?),
            _ => Ok(false),
        }
    }

    /// One step on patches of the images that [`Stepper::keep`] took.
    ///
    /// # Errors
    /// As for [`Stepper::step`].
    pub fn step_on_images(
        &mut self,
        weights: &mut Flat,
        adam: &mut Adam,
        patches: &[Patch],
        rate: f64,
    ) -> Result<Stepped, Error> {
        let patches: Vec<_> = patches.iter().map(|patch| (patch.image, patch.crop)).collect();
        self.on_device(weights, adam, |trainer, step| trainer.step_on_images(&patches, step), rate)
    }

    fn on_device(
        &mut self,
        weights: &Flat,
        adam: &mut Adam,
        step: impl FnOnce(&mut cuda::Trainer, Step) -> Result<cuda::Stepped, EngineError>,
        rate: f64,
    ) -> Result<Stepped, Error> {
        let Method::Cuda { trainer, placed } = &mut self.method else {
            let op = "a step on images in device memory".into();
            return Err(EngineError::Unsupported { engine: "cpu", op }.into());
        };
        if let Some(problem) = weights.difference(&self.gradients) {
            return Err(Error::Weights { problem });
        }
        if *placed != Some(adam.updates) {
            let (first, second) = (&adam.first_moment, &adam.second_moment);
            trainer.place(weights.values(), first.values(), second.values())?;
        }
        let cuda::Stepped { loss, updated } = step(trainer, adam.next(rate))?;
        adam.updates += u64::from(updated);
        *placed = Some(adam.updates);
        Ok(Stepped { loss, updated })
    }

    /// Brings weights and moments to the host where they are on a device; the next step then brings back what has become of them.
    ///
    /// # Errors
    /// [`Error::Engine`] when the device refuses.
    pub fn fetch(&mut self, weights: &mut Flat, adam: &mut Adam) -> Result<(), Error> {
        if let Method::Cuda { trainer, placed: placed @ Some(_) } = &mut self.method {
            let (first, second) = (adam.first_moment.values_mut(), adam.second_moment.values_mut());
            trainer.fetch(weights.values_mut(), first, second)?;
            *placed = None;
        }
        Ok(())
    }
}

fn all_finite(values: &[f32]) -> bool {
    // Within a piece every value is looked at: without a way out the loop runs on vectors.
    let finite = |piece: &[f32]| piece.iter().fold(true, |finite, value| finite & value.is_finite());
    values.par_chunks(PIECE).all(finite)
}
