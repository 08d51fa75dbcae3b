//! Adam (Kingma and Ba 2015) with PyTorch's arithmetic, its moments in the open so that a run can be saved and resumed exactly.

use serde::{Deserialize, Serialize};

use crate::array::Array;
use crate::graph::fold::Named;

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

/// The optimiser's state.
#[derive(Clone, Debug, PartialEq)]
pub struct Adam {
    settings: AdamSettings,
    /// Updates made so far.
    pub updates: u64,
    /// Running mean of each gradient.
    pub first_moment: Named<f32>,
    /// Running mean of each squared gradient.
    pub second_moment: Named<f32>,
}

impl Adam {
    /// A fresh state for the given weights.
    pub fn new(settings: AdamSettings, weights: &Named<f32>) -> Self {
        let zeros = |array: &Array<f32>| array.map(|_| 0.0);
        let moments: Named<f32> = weights.iter().map(|(key, array)| (key.clone(), zeros(array))).collect();
        Self { settings, updates: 0, first_moment: moments.clone(), second_moment: moments }
    }

    /// Continues from saved moments.
    pub fn resume(
        settings: AdamSettings,
        updates: u64,
        first_moment: Named<f32>,
        second_moment: Named<f32>,
    ) -> Self {
        Self { settings, updates, first_moment, second_moment }
    }

    /// One update of every weight that has a gradient.
    ///
    /// The order of operations is that of `torch.optim.Adam` (single-tensor form): scalars in f64, values in f32, the first moment by linear
    /// interpolation, the bias correction of the second moment applied to its root.
    pub fn update(&mut self, weights: &mut Named<f32>, gradients: &Named<f32>, rate: f64) {
        let AdamSettings { beta1, beta2, epsilon } = self.settings;
        self.updates += 1;
        let t = self.updates as f64;
        let step_size = (rate / (1.0 - beta1.powf(t))) as f32;
        let root_correction = (1.0 - beta2.powf(t)).sqrt() as f32;
        let (lerp, decay, gain, epsilon) =
            ((1.0 - beta1) as f32, beta2 as f32, (1.0 - beta2) as f32, epsilon as f32);
        for (key, gradient) in gradients {
            let (Some(weight), Some(m), Some(v)) =
                (weights.get_mut(key), self.first_moment.get_mut(key), self.second_moment.get_mut(key))
            else {
                continue;
            };
            let moments = m.data_mut().iter_mut().zip(v.data_mut());
            for ((weight, &g), (m, v)) in weight.data_mut().iter_mut().zip(gradient.data()).zip(moments) {
                *m += (g - *m) * lerp;
                *v = *v * decay + g * g * gain;
                let denominator = v.sqrt() / root_correction + epsilon;
                *weight -= step_size * (*m / denominator);
            }
        }
    }
}
