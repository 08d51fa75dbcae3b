//! How many times slower the candidate is than the baseline, and how sure that is.

use serde::{Deserialize, Serialize};

use super::confirm::Confirmation;
use super::stats;

/// The confidence the interval is meant to have; the one it has is written into the result.
const WANTED_CONFIDENCE: f64 = 0.95;

/// The candidate's time divided by the baseline's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RatioToBaseline {
    /// Median of the per-pair ratios; below 1 the candidate is faster.
    pub median: f64,
    /// Lower end of the confidence interval of that median.
    pub low: f64,
    /// Upper end of the confidence interval of that median.
    pub high: f64,
    /// Probability that such an interval holds the true median: exact for independent pairs, whatever their distribution.
    /// With fewer than six pairs 95 % is out of reach, and this says how much is left.
    pub confidence: f64,
    /// How the interval was made.
    pub method: String,
    /// Number of pairs.
    pub pairs: usize,
    /// Candidate's mean over baseline's mean: the ratio of the two numbers that the official script prints.
    pub of_means: f64,
    /// The same in clock cycles, and a verdict; `None` where no GPU was watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<Confirmation>,
}

impl RatioToBaseline {
    /// From pairs of (candidate, baseline) times taken next to each other; `None` when there are none.
    ///
    /// The interval is the distribution-free one between two order statistics (David and Nagaraja, Order Statistics,
    /// section 7.1): the k-th smallest and k-th largest ratio, for the largest k whose coverage
    /// `1 - 2 P(Binomial(n, 1/2) < k)` is still at least 95 %, or the smallest and the largest ratio if none is.
    pub fn of_pairs(pairs: &[(f64, f64)]) -> Option<Self> {
        let mut ratios: Vec<f64> = pairs.iter().map(|(candidate, baseline)| candidate / baseline).collect();
        ratios.sort_by(f64::total_cmp);
        let n = ratios.len();
        let (k, confidence) = order_statistic(n)?;
        let candidates: Vec<f64> = pairs.iter().map(|pair| pair.0).collect();
        let baselines: Vec<f64> = pairs.iter().map(|pair| pair.1).collect();
        Some(Self {
            median: stats::quantile(&ratios, 0.5)?,
            low: *ratios.get(k - 1)?,
            high: *ratios.get(n - k)?,
            confidence,
            method: format!("order statistics {k} and {} of {n} per-pair ratios", n + 1 - k),
            pairs: n,
            of_means: stats::mean(&candidates)? / stats::mean(&baselines)?,
            confirmation: None,
        })
    }
}

/// The k (from 1) whose interval `[x(k), x(n+1-k)]` covers the median with at least [`WANTED_CONFIDENCE`] and is the
/// shortest such one, with its coverage; k = 1 with whatever it covers if no interval reaches that.
fn order_statistic(n: usize) -> Option<(usize, f64)> {
    if n == 0 {
        return None;
    }
    // P(Binomial(n, 1/2) = i), in logarithms because 2^-n underflows for long lists of images.
    let mut ln_probability = -(n as f64) * std::f64::consts::LN_2;
    let mut below = ln_probability.exp();
    let mut best = (1, (1.0 - 2.0 * below).max(0.0));
    for k in 2..=n.div_ceil(2) {
        let i = k - 1;
        ln_probability += ((n - i + 1) as f64 / i as f64).ln();
        below += ln_probability.exp();
        let coverage = 1.0 - 2.0 * below;
        if coverage < WANTED_CONFIDENCE {
            break;
        }
        best = (k, coverage);
    }
    Some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Coverage by direct counting over all 2^n sign patterns: the slow, plain twin of the formula.
    fn coverage_by_counting(n: u32, k: u32) -> f64 {
        let inside = (0u32..1 << n).filter(|p| p.count_ones() >= k && n - p.count_ones() >= k).count();
        inside as f64 / f64::from(1u32 << n)
    }

    #[test]
    fn coverage_agrees_with_counting_sign_patterns() {
        for n in 1..=16u32 {
            let (k, coverage) = order_statistic(n as usize).unwrap();
            let counted = coverage_by_counting(n, k as u32);
            assert!((coverage - counted).abs() < 1e-12, "n {n}: {coverage} and {counted}");
            if coverage >= 0.95 {
                assert!(k == n.div_ceil(2) as usize || coverage_by_counting(n, k as u32 + 1) < 0.95, "n {n}");
            }
        }
    }

    #[test]
    fn textbook_ranks() {
        // Tables of the sign-test interval: n = 10 gives ranks 2 and 9 with 97.9 %; n = 100 gives 40 and 61 with 96.5 %.
        let (k, coverage) = order_statistic(10).unwrap();
        assert_eq!((k, (coverage * 1000.0).round()), (2, 979.0));
        let (k, coverage) = order_statistic(100).unwrap();
        assert_eq!((k, (coverage * 1000.0).round()), (40, 965.0));
        assert_eq!(order_statistic(5).unwrap(), (1, 0.9375));
        assert!(order_statistic(5000).unwrap().1 >= 0.95);
    }

    #[test]
    fn ratio_of_pairs() {
        let pairs = [(1.0, 2.0), (3.0, 2.0), (2.0, 2.0)];
        let ratio = RatioToBaseline::of_pairs(&pairs).unwrap();
        assert_eq!((ratio.median, ratio.low, ratio.high, ratio.of_means), (1.0, 0.5, 1.5, 1.0));
        assert_eq!((ratio.confidence, ratio.pairs), (0.75, 3));
        assert_eq!(ratio.method, "order statistics 1 and 3 of 3 per-pair ratios");
        assert_eq!(RatioToBaseline::of_pairs(&[]), None);
    }

    #[test]
    fn one_pair_has_no_confidence() {
        let ratio = RatioToBaseline::of_pairs(&[(1.0, 2.0)]).unwrap();
        assert_eq!((ratio.median, ratio.confidence), (0.5, 0.0));
    }
}
