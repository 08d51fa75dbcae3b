//! Statistics of timing samples. None of them assumes a distribution, and none of them drops a sample.

use serde::{Deserialize, Serialize};

/// A sample is counted as an outlier when its modified z-score `0.6745 |x - median| / MAD` exceeds this, the value
/// recommended by Iglewicz and Hoaglin (How to Detect and Handle Outliers, 1993).
const OUTLIER_SCORE: f64 = 3.5;

/// The 0.75 quantile of the standard normal distribution: makes the MAD comparable with a standard deviation.
const MAD_SCALE: f64 = 0.6745;

/// What a list of samples says. The unit is that of the samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Number of samples.
    pub n: usize,
    /// Arithmetic mean.
    pub mean: f64,
    /// Median: for an even number of samples, the mean of the middle two.
    pub median: f64,
    /// First quartile.
    pub q1: f64,
    /// Third quartile.
    pub q3: f64,
    /// Smallest sample.
    pub min: f64,
    /// Largest sample.
    pub max: f64,
    /// `(q3 - q1) / median`.
    pub relative_iqr: f64,
    /// Samples far from the median by the median absolute deviation; they are counted, never dropped.
    pub outliers: usize,
}

impl Summary {
    /// Summarises positive finite samples; `None` when there are none.
    pub fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let median = quantile(&sorted, 0.5)?;
        let (q1, q3) = (quantile(&sorted, 0.25)?, quantile(&sorted, 0.75)?);
        let mut deviations: Vec<f64> = sorted.iter().map(|x| (x - median).abs()).collect();
        deviations.sort_by(f64::total_cmp);
        let mad = quantile(&deviations, 0.5)?;
        // Written without a division, so that a MAD of zero (more than half of the samples equal) needs no case of its
        // own: then every other value is an outlier.
        let outliers = deviations.iter().filter(|&&d| MAD_SCALE * d > OUTLIER_SCORE * mad).count();
        Some(Self {
            n: sorted.len(),
            mean: mean(samples)?,
            median,
            q1,
            q3,
            min,
            max,
            relative_iqr: (q3 - q1) / median,
            outliers,
        })
    }
}

/// The arithmetic mean, summed in the order given as the official script does; `None` of nothing.
pub(super) fn mean(samples: &[f64]) -> Option<f64> {
    (!samples.is_empty()).then(|| samples.iter().sum::<f64>() / samples.len() as f64)
}

/// The `p`-quantile of ascending values by linear interpolation between order statistics: position `(n - 1) p` counted
/// from zero (type 7 of Hyndman and Fan, the default of R and NumPy). `None` of nothing.
pub(super) fn quantile(sorted: &[f64], p: f64) -> Option<f64> {
    let position = sorted.len().checked_sub(1)? as f64 * p;
    let below = position.floor();
    let low = *sorted.get(below as usize)?;
    let high = *sorted.get(position.ceil() as usize)?;
    Some(low + (high - low) * (position - below))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hand_computed_values() {
        // Sorted: 1 2 3 4 10. Positions of the quartiles are 1 and 3, so q1 = 2 and q3 = 4. Deviations from 3 are
        // 0 1 1 2 7 with median 1: 0.6745 * 7 = 4.72 > 3.5, 0.6745 * 2 = 1.35 is not.
        let s = Summary::of(&[10.0, 2.0, 1.0, 4.0, 3.0]).unwrap();
        let expected = Summary {
            n: 5,
            mean: 4.0,
            median: 3.0,
            q1: 2.0,
            q3: 4.0,
            min: 1.0,
            max: 10.0,
            relative_iqr: 2.0 / 3.0,
            outliers: 1,
        };
        assert_eq!(s, expected);
    }

    #[test]
    fn an_even_number_interpolates() {
        // Sorted: 1 2 4 8. The median is 3, q1 sits at 0.75 (1.75), q3 at 2.25 (5).
        let s = Summary::of(&[8.0, 1.0, 4.0, 2.0]).unwrap();
        assert_eq!((s.median, s.q1, s.q3), (3.0, 1.75, 5.0));
        assert_eq!(s.relative_iqr, 3.25 / 3.0);
    }

    #[test]
    fn equal_samples_have_no_spread_and_any_other_value_is_an_outlier() {
        let s = Summary::of(&[5.0; 9]).unwrap();
        assert_eq!((s.relative_iqr, s.outliers), (0.0, 0));
        let s = Summary::of(&[5.0, 5.0, 5.0, 5.0, 5.0, 9.0]).unwrap();
        assert_eq!((s.median, s.outliers), (5.0, 1));
    }

    #[test]
    fn nothing_has_no_summary_and_one_sample_is_itself() {
        assert_eq!(Summary::of(&[]), None);
        let s = Summary::of(&[7.5]).unwrap();
        assert_eq!((s.n, s.mean, s.median, s.q1, s.q3, s.relative_iqr), (1, 7.5, 7.5, 7.5, 7.5, 0.0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn order_does_not_matter_and_quartiles_are_ordered(
            mut samples in prop::collection::vec(1e-3f64..1e6, 1..40),
        ) {
            let forward = Summary::of(&samples).unwrap();
            samples.reverse();
            let backward = Summary::of(&samples).unwrap();
            prop_assert_eq!(forward.median, backward.median);
            prop_assert_eq!(forward.outliers, backward.outliers);
            prop_assert!(forward.min <= forward.q1 && forward.q1 <= forward.median);
            prop_assert!(forward.median <= forward.q3 && forward.q3 <= forward.max);
        }
    }
}
