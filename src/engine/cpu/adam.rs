//! One Adam update of a range of values, with exactly the roundings of [`crate::train`]'s.

use super::simd::{Kernel, Simd};

/// The scalars of one update, as [`crate::train::AdamSettings::step`] derives them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The rate over the bias correction of the first moment.
    pub step_size: f32,
    /// The root of the bias correction of the second moment.
    pub root_correction: f32,
    /// One minus the decay of the first moment.
    pub lerp: f32,
    /// The decay of the second moment.
    pub decay: f32,
    /// One minus the decay of the second moment.
    pub gain: f32,
    /// Added to the denominator.
    pub epsilon: f32,
}

/// One piece of an update. The slices are of one length; values of longer ones are left alone.
pub struct Adam<'a> {
    /// The scalars.
    pub step: Step,
    /// What is updated.
    pub weights: &'a mut [f32],
    /// The gradient.
    pub gradients: &'a [f32],
    /// Running mean of the gradient.
    pub first_moment: &'a mut [f32],
    /// Running mean of the squared gradient.
    pub second_moment: &'a mut [f32],
}

impl Kernel for Adam<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        let Step { step_size, root_correction, lerp, decay, gain, epsilon } = self.step;
        let moments = self.first_moment.iter_mut().zip(self.second_moment.iter_mut());
        // A plain loop: every operation rounds as the scalar one does, in vectors of whatever width the compiler takes; Rust fuses nothing by itself.
        for ((weight, &g), (m, v)) in self.weights.iter_mut().zip(self.gradients).zip(moments) {
            *m += (g - *m) * lerp;
            *v = *v * decay + g * g * gain;
            let denominator = v.sqrt() / root_correction + epsilon;
            *weight -= step_size * (*m / denominator);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::numbers;
    use super::super::simd::{Isa, run};
    use super::*;
    use crate::train::AdamSettings;

    /// One value, one operation a line, in the order of `torch.optim.Adam`.
    fn plain(step: Step, weight: &mut f32, gradient: f32, m: &mut f32, v: &mut f32) {
        let towards = gradient - *m;
        *m += towards * step.lerp;
        let decayed = *v * step.decay;
        *v = decayed + gradient * gradient * step.gain;
        let root = v.sqrt() / step.root_correction;
        let ratio = *m / (root + step.epsilon);
        *weight -= step.step_size * ratio;
    }

    #[test]
    fn updates_have_the_bits_of_the_plain_optimiser() {
        let count = 1003;
        for isa in Isa::available() {
            let mut weights = numbers(count, 1);
            let (mut m, mut v) = (vec![0.0; count], vec![0.0; count]);
            let (mut plain_weights, mut plain_m, mut plain_v) = (weights.clone(), m.clone(), v.clone());
            for update in 1..=20u64 {
                let mut gradients = numbers(count, 100 + update);
                gradients[3] = 0.0;
                let step = AdamSettings::default().step(update, 5e-4 / update as f64);
                for index in 0..count {
                    let (weight, gradient) = (&mut plain_weights[index], gradients[index]);
                    plain(step, weight, gradient, &mut plain_m[index], &mut plain_v[index]);
                }
                for range in [0..100, 100..101, 101..count] {
                    let mut kernel = Adam {
                        step,
                        weights: &mut weights[range.clone()],
                        gradients: &gradients[range.clone()],
                        first_moment: &mut m[range.clone()],
                        second_moment: &mut v[range],
                    };
                    // SAFETY: the kernel holds slices only.
                    unsafe { run(isa, &mut kernel) };
                }
            }
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&weights), bits(&plain_weights), "{isa}");
            assert_eq!(bits(&m), bits(&plain_m), "{isa}");
            assert_eq!(bits(&v), bits(&plain_v), "{isa}");
        }
    }
}
