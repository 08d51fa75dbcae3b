//! What is trained, where it lies on the device, and the numbers of a step: all that one update reads and writes.

use std::sync::Arc;

use super::Stepped;
use crate::engine::EngineError;
use crate::engine::cpu::adam::Step;
use crate::engine::cuda::launch::{self, Command};
use crate::engine::cuda::number;
use crate::engine::cuda::params::{Adam, AdamStep};
use crate::engine::cuda::tensors::Tensors;
use crate::gpu::device::{DeviceMemory, Gpu};

/// The expanded model on a device.
pub(super) struct State {
    pub(super) weights: Tensors,
    pub(super) gradients: Tensors,
    first: Tensors,
    second: Tensors,
    /// The numbers of a step, at the offsets of [`scalars`].
    scalars: DeviceMemory,
}

/// Where the numbers of a step lie: the loss, Adam's numbers, and whether all is finite.
mod scalars {
    pub(super) const LOSS: u64 = 0;
    pub(super) const STEP: u64 = 8;
    pub(super) const FINITE: u64 = 32;
    pub(super) const BYTES: u64 = 40;
}

impl State {
    /// Memory for a model with these tensors; what is in it is not defined.
    ///
    /// # Errors
    /// [`EngineError::Gpu`]
    pub(super) fn new(gpu: &Arc<Gpu>, parameters: &[(String, Vec<usize>)]) -> Result<Self, EngineError> {
        let tensors = || Tensors::new(gpu, parameters.iter().cloned());
        Ok(Self {
            weights: tensors()?,
            gradients: tensors()?,
            first: tensors()?,
            second: tensors()?,
            scalars: gpu.allocate(scalars::BYTES)?,
        })
    }

    /// Replaces weights and moments.
    ///
    /// # Errors
    /// [`EngineError::Gpu`], also for slices that are too long.
    pub(super) fn place(
        &mut self,
        weights: &[f32],
        first: &[f32],
        second: &[f32],
    ) -> Result<(), EngineError> {
        self.weights.upload(weights)?;
        self.first.upload(first)?;
        self.second.upload(second)?;
        Ok(())
    }

    /// Reads weights and moments.
    ///
    /// # Errors
    /// [`EngineError::Gpu`]
    pub(super) fn fetch(
        &self,
        weights: &mut [f32],
        first: &mut [f32],
        second: &mut [f32],
    ) -> Result<(), EngineError> {
        self.weights.download(weights)?;
        self.first.download(first)?;
        self.second.download(second)?;
        Ok(())
    }

    /// Brings the numbers of an update to the device.
    ///
    /// # Errors
    /// [`EngineError::Gpu`]
    pub(super) fn tell(&mut self, adam: Step) -> Result<(), EngineError> {
        let Step { step_size, root_correction, lerp, decay, gain, epsilon } = adam;
        self.scalars.upload(scalars::STEP, &[step_size, root_correction, lerp, decay, gain, epsilon])?;
        self.scalars.upload(scalars::FINITE, &[1u32])?;
        Ok(())
    }

    /// What became of a step; waits for it.
    ///
    /// # Errors
    /// [`EngineError::Gpu`]
    pub(super) fn stepped(&self) -> Result<Stepped, EngineError> {
        let mut finite = [0u32];
        self.scalars.download(scalars::FINITE, &mut finite)?;
        Ok(Stepped { loss: self.loss()?, updated: finite == [1] })
    }

    /// The loss of the last step; waits for it.
    ///
    /// # Errors
    /// [`EngineError::Gpu`]
    pub(super) fn loss(&self) -> Result<f64, EngineError> {
        let mut loss = [0.0f64];
        self.scalars.download(scalars::LOSS, &mut loss)?;
        Ok(loss[0])
    }

    /// Where the loss goes.
    pub(super) fn loss_address(&self) -> u64 {
        self.scalars.address() + scalars::LOSS
    }

    /// The update.
    pub(super) fn adam(&self) -> [Command; 2] {
        debug_assert_eq!(scalars::FINITE - scalars::STEP, size_of::<AdamStep>() as u64);
        let at = self.scalars.address();
        let told = Adam {
            weights: self.weights.address(),
            gradients: self.gradients.address(),
            first: self.first.address(),
            second: self.second.address(),
            step: at + scalars::STEP,
            loss: at + scalars::LOSS,
            finite: at + scalars::FINITE,
            count: number(self.weights.values()),
            unused: 0,
        };
        [launch::training::all_finite(&told), launch::training::adam(&told)].map(|launch| Command {
            label: "adam".into(),
            work: (launch, told).into(),
            multiply_adds: 0,
        })
    }

    /// Bytes of device memory.
    pub(super) fn bytes(&self) -> u64 {
        let tensors = [&self.weights, &self.gradients, &self.first, &self.second];
        tensors.into_iter().map(Tensors::bytes).sum::<u64>() + self.scalars.bytes()
    }
}
