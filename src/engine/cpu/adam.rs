//! One Adam update of a range of values, with exactly the roundings of [`crate::train`]'s.

use super::simd::{Kernel, Simd};

/// The scalars of one update, as [`crate::train`]'s optimiser derives them from its settings: in f64, then rounded.
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
    use std::collections::BTreeMap;

    use super::super::fixtures::numbers;
    use super::super::simd::{Isa, run};
    use super::*;
    use crate::array::Array;
    use crate::train::{Adam as Plain, AdamSettings};

    #[test]
    fn updates_have_the_bits_of_the_plain_optimiser() {
        let count = 1003;
        let named = |values: &[f32]| {
            BTreeMap::from([("w".to_owned(), Array::new([values.len()], values.to_vec()).unwrap())])
        };
        for isa in Isa::available() {
            let AdamSettings { beta1, beta2, epsilon } = AdamSettings::default();
            let mut weights = numbers(count, 1);
            let mut expected = named(&weights);
            let mut plain = Plain::new(AdamSettings::default(), &expected);
            let (mut m, mut v) = (vec![0.0; count], vec![0.0; count]);
            for update in 1..=20u64 {
                let rate = 5e-4 / update as f64;
                let mut gradients = numbers(count, 100 + update);
                gradients[3] = 0.0;
                plain.update(&mut expected, &named(&gradients), rate);
                let t = update as f64;
                let step = Step {
                    step_size: (rate / (1.0 - beta1.powf(t))) as f32,
                    root_correction: (1.0 - beta2.powf(t)).sqrt() as f32,
                    lerp: (1.0 - beta1) as f32,
                    decay: beta2 as f32,
                    gain: (1.0 - beta2) as f32,
                    epsilon: epsilon as f32,
                };
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
            assert_eq!(bits(&weights), bits(expected["w"].data()), "{isa}");
            assert_eq!(bits(&m), bits(plain.first_moment["w"].data()), "{isa}");
            assert_eq!(bits(&v), bits(plain.second_moment["w"].data()), "{isa}");
        }
    }
}
