//! Adam (Kingma and Ba 2015) with PyTorch's arithmetic, its moments in the open so that a run can be saved and resumed exactly.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::flat::Flat;
use crate::engine::cpu::adam::{self, Step};
use crate::engine::cpu::simd::{Isa, run};

/// The constants of Adam.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdamSettings {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the denominator.
    pub epsilon: f64,
}

impl Default for AdamSettings {
    /// The paper's betas and PyTorch's epsilon.
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
    }
}

impl AdamSettings {
    /// The scalars of the update with that number, counted from 1: made in f64, then rounded, as `torch.optim.Adam` does.
    pub fn step(self, update: u64, rate: f64) -> Step {
        let Self { beta1, beta2, epsilon } = self;
        let t = update as f64;
        Step {
            step_size: (rate / (1.0 - beta1.powf(t))) as f32,
            root_correction: (1.0 - beta2.powf(t)).sqrt() as f32,
            lerp: (1.0 - beta1) as f32,
            decay: beta2 as f32,
            gain: (1.0 - beta2) as f32,
            epsilon: epsilon as f32,
        }
    }
}

/// The optimiser's state.
#[derive(Clone, Debug, PartialEq)]
pub struct Adam {
    settings: AdamSettings,
    /// Updates made so far.
    pub updates: u64,
    /// Running mean of each gradient.
    pub first_moment: Flat,
    /// Running mean of each squared gradient.
    pub second_moment: Flat,
}

/// Values that one thread updates at a time: with weights, gradients and both moments 256 KiB, which a second-level cache holds.
pub(super) const PIECE: usize = 1 << 14;

impl Adam {
    /// A fresh state for the given weights.
    pub fn new(settings: AdamSettings, weights: &Flat) -> Self {
        Self { settings, updates: 0, first_moment: weights.zeros_like(), second_moment: weights.zeros_like() }
    }

    /// The state with these constants and saved moments.
    pub(super) fn resumed(&self, updates: u64, first_moment: Flat, second_moment: Flat) -> Self {
        Self { settings: self.settings, updates, first_moment, second_moment }
    }

    /// The numbers of the next update.
    pub(super) fn next(&self, rate: f64) -> Step {
        self.settings.step(self.updates + 1, rate)
    }

    /// One update of every weight. Weights and gradients are those that the state was made for.
    ///
    /// The order of operations is that of `torch.optim.Adam` (single-tensor form): scalars in f64, values in f32, the first moment by linear
    /// interpolation, the bias correction of the second moment applied to its root.
    pub fn update(&mut self, weights: &mut Flat, gradients: &Flat, rate: f64) {
        let (isa, step) = (Isa::detect(), self.next(rate));
        self.updates += 1;
        let moments = self.first_moment.values_mut().par_chunks_mut(PIECE);
        let moments = moments.zip(self.second_moment.values_mut().par_chunks_mut(PIECE));
        let values = weights.values_mut().par_chunks_mut(PIECE).zip(gradients.values().par_chunks(PIECE));
        values.zip(moments).for_each(|((weights, gradients), (first_moment, second_moment))| {
            let mut piece = adam::Adam { step, weights, gradients, first_moment, second_moment };
            // SAFETY: the kernel holds slices only, and the instruction set was detected.
            unsafe { run(isa, &mut piece) };
        });
    }
}
