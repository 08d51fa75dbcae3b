//! Whether a way computes what our own kernels compute.

use crate::engine::cuda::{Format, Math};

/// Values that are compared at each end of a large result: several images of a training batch, or tens of rows of a large one.
const COMPARED_VALUES: usize = 4 << 20;
/// The largest difference from our own kernels' results that is accepted, as a share of the largest magnitude among them. f32 is so strict that factors rounded to TF32, 2⁻¹¹ of
/// their magnitude, are found out; the others round what they store, cuDNN's sums once more before the last stage.
pub(super) fn tolerance(math: Math) -> f64 {
    match math {
        Math::F32 => 3e-5,
        Math::Tf32 => 3e-3,
        Math::F16 => 3e-3,
        Math::Bf16 => 1.5e-2,
    }
}

/// Where a result lies, and how.
#[derive(Clone, Copy)]
pub(super) struct Outcome {
    pub(super) offset: u64,
    pub(super) values: usize,
    pub(super) format: Format,
}

/// What is compared of a result: all of it, or the beginning and the end of a large one, because every image is computed alike.
pub(super) fn compared(offset: u64, values: usize, format: Format) -> Vec<Outcome> {
    if values <= 2 * COMPARED_VALUES {
        return vec![Outcome { offset, values, format }];
    }
    let from = |first: usize| Outcome {
        offset: offset + (first * format.bytes()) as u64,
        values: COMPARED_VALUES,
        format,
    };
    vec![from(0), from(values - COMPARED_VALUES)]
}

/// The largest difference as a share of the largest magnitude that is expected; infinite where a value is not a number or values are missing.
pub(super) fn difference(expected: &[f32], found: &[f32]) -> f64 {
    if expected.len() != found.len() {
        return f64::INFINITY;
    }
    let largest = expected.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let mut worst = 0.0f32;
    for (a, b) in expected.iter().zip(found) {
        let apart = (a - b).abs();
        if !apart.is_finite() {
            return f64::INFINITY;
        }
        worst = worst.max(apart);
    }
    if worst == 0.0 { 0.0 } else { f64::from(worst) / f64::from(largest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_infinitely_apart() {
        assert_eq!(difference(&[1.0, -4.0], &[1.0, -4.0]), 0.0);
        assert_eq!(difference(&[0.0, 0.0], &[0.0, 0.0]), 0.0);
        assert_eq!(difference(&[1.0, -4.0], &[1.5, -4.0]), 0.125);
        for found in [&[1.0][..], &[1.0, f32::NAN], &[f32::INFINITY, -4.0]] {
            assert_eq!(difference(&[1.0, -4.0], found), f64::INFINITY);
        }
        assert_eq!(difference(&[0.0, 0.0], &[0.0, 1.0]), f64::INFINITY);
    }

    #[test]
    fn both_ends_of_a_large_result_are_compared_and_all_of_a_small_one() {
        let of = |values| -> Vec<(u64, usize)> {
            let parts = compared(256, values, Format::Bf16);
            parts.iter().map(|part| (part.offset, part.values)).collect()
        };
        let most = COMPARED_VALUES;
        assert_eq!(of(2 * most), [(256, 2 * most)]);
        assert_eq!(of(2 * most + 1), [(256, most), (256 + 2 * (most as u64 + 1), most)]);
    }

    /// Factors that are rounded to TF32 where f32 is asked for have to be found out, and sums in another order have not.
    #[test]
    fn tolerances_tell_number_formats_from_orders() {
        let rounding = |bits: i32| f64::powi(2.0, -bits);
        assert!(tolerance(Math::F32) < rounding(11) / 4.0 && tolerance(Math::F32) > 100.0 * rounding(24));
        assert!(tolerance(Math::Tf32) > 4.0 * rounding(11) && tolerance(Math::F16) > 4.0 * rounding(11));
        assert!(tolerance(Math::Bf16) > 4.0 * rounding(9) && tolerance(Math::Bf16) < rounding(5));
    }
}
