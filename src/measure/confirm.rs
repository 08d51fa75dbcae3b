//! Whether a ratio of times is also one of work: the same in clock cycles, and a verdict.
//!
//! A GPU whose clock moved between candidate and baseline changes the ratio of their times without either having changed. Cycles, time ×
//! SM clock, do not follow the clock as far as the work is arithmetic. A difference is therefore only called one if both say so. What is
//! bound by memory takes more cycles at a higher clock; there the two may disagree, and the verdict is ambiguous.

use serde::{Deserialize, Serialize};

use super::ratio::RatioToBaseline;

/// The least difference that is called one (nvbench's comparison asks for as much).
const LEAST_GAP: f64 = 0.005;

/// The widest interval around 1 that is still called the same: both ends within 2 %.
const SAME_WITHIN: f64 = 0.02;

/// The confidence that the interval of the ratio must have for any verdict.
const LEAST_CONFIDENCE: f64 = 0.95;

/// Candidate against baseline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RatioVerdict {
    /// Within half a per cent, in time and in cycles, and surely within two.
    Same,
    /// The candidate takes less, by at least half a per cent, in time and in cycles.
    Faster,
    /// The candidate takes more, by at least half a per cent, in time and in cycles.
    Slower,
    /// Neither can be said.
    Ambiguous,
}

impl RatioVerdict {
    /// The word used in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Faster => "faster",
            Self::Slower => "slower",
            Self::Ambiguous => "ambiguous",
        }
    }
}

/// Who told the SM clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockSource {
    /// The workload counted cycles on the device around each forward.
    Device,
    /// NVML's samples in the window.
    Nvml,
}

/// The candidate's clock cycles divided by the baseline's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RatioInCycles {
    /// Who told the clock; the same for both models in all pairs.
    pub clock: ClockSource,
    /// Median of the per-pair ratios.
    pub median: f64,
    /// Lower end of its confidence interval.
    pub low: f64,
    /// Upper end of its confidence interval.
    pub high: f64,
    /// The confidence of the interval.
    pub confidence: f64,
    /// Number of pairs: those in which both clocks are known.
    pub pairs: usize,
}

/// What became of the ratio when it was looked at in cycles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Confirmation {
    /// Candidate against baseline.
    pub verdict: RatioVerdict,
    /// Why, with the figures behind it.
    pub reason: String,
    /// The ratio in cycles; `None` where no clock is known.
    pub cycles: Option<RatioInCycles>,
}

/// One sample with what is known of the clock under it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) ms: f64,
    pub(super) nvml_mhz: Option<f64>,
    pub(super) device_mhz: Option<f64>,
}

impl Sample {
    fn mhz(&self, clock: ClockSource) -> Option<f64> {
        match clock {
            ClockSource::Device => self.device_mhz,
            ClockSource::Nvml => self.nvml_mhz,
        }
    }

    /// The best that is known of the clock.
    pub(super) fn best_mhz(&self) -> Option<f64> {
        self.device_mhz.or(self.nvml_mhz)
    }
}

/// The ratio in cycles over the pairs whose clocks are known. The device's own count is preferred, as it is of the timed parts alone, and
/// taken only if all pairs have it: two sources in one ratio would not measure the same thing.
fn in_cycles(pairs: &[(Sample, Sample)]) -> Option<RatioInCycles> {
    let of = |clock| {
        let cycles = |pair: &(Sample, Sample)| {
            let (candidate, baseline) = pair;
            Some((candidate.ms * candidate.mhz(clock)?, baseline.ms * baseline.mhz(clock)?))
        };
        let known: Vec<(f64, f64)> = pairs.iter().filter_map(cycles).collect();
        let ratio = RatioToBaseline::of_pairs(&known)?;
        Some(RatioInCycles {
            clock,
            median: ratio.median,
            low: ratio.low,
            high: ratio.high,
            confidence: ratio.confidence,
            pairs: ratio.pairs,
        })
    };
    of(ClockSource::Device).filter(|found| found.pairs == pairs.len()).or_else(|| of(ClockSource::Nvml))
}

/// Confirms the ratio of the times of these pairs.
pub(super) fn confirm(time: &RatioToBaseline, pairs: &[(Sample, Sample)]) -> Confirmation {
    let cycles = in_cycles(pairs);
    let (verdict, reason) = judge(time, cycles.as_ref());
    Confirmation { verdict, reason, cycles }
}

fn judge(time: &RatioToBaseline, cycles: Option<&RatioInCycles>) -> (RatioVerdict, String) {
    let Some(cycles) = cycles else {
        let reason = "the SM clock is unknown, so the ratio cannot be confirmed in cycles";
        return (RatioVerdict::Ambiguous, reason.to_owned());
    };
    let least = time.confidence.min(cycles.confidence);
    if least < LEAST_CONFIDENCE {
        let reason = format!(
            "{} pairs give an interval of {:.1} % confidence, less than {:.0} %",
            cycles.pairs.min(time.pairs),
            least * 100.0,
            LEAST_CONFIDENCE * 100.0
        );
        return (RatioVerdict::Ambiguous, reason);
    }
    let told =
        |name, (low, median, high): (f64, f64, f64)| format!("{median:.4} [{low:.4}, {high:.4}] in {name}");
    let spaces = [(time.low, time.median, time.high), (cycles.low, cycles.median, cycles.high)];
    let both = format!("{}, {}", told("time", spaces[0]), told("cycles", spaces[1]));
    let all =
        |holds: fn(f64, f64, f64) -> bool| spaces.iter().all(|&(low, median, high)| holds(low, median, high));
    if all(|_, median, high| median <= 1.0 - LEAST_GAP && high < 1.0) {
        (RatioVerdict::Faster, both)
    } else if all(|low, median, _| median >= 1.0 + LEAST_GAP && low > 1.0) {
        (RatioVerdict::Slower, both)
    } else if all(|low, median, high| {
        (median - 1.0).abs() < LEAST_GAP && low >= 1.0 - SAME_WITHIN && high <= 1.0 + SAME_WITHIN
    }) {
        (RatioVerdict::Same, both)
    } else {
        (RatioVerdict::Ambiguous, both)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten pairs with a baseline of 10 ms at 1000 MHz.
    fn confirmed(candidate: impl Fn(usize) -> (f64, Option<f64>)) -> Confirmation {
        let sample = |ms, nvml_mhz| Sample { ms, nvml_mhz, device_mhz: None };
        let pair = |n| {
            let (ms, mhz) = candidate(n);
            (sample(ms, mhz), sample(10.0, Some(1000.0)))
        };
        let pairs: Vec<(Sample, Sample)> = (0..10).map(pair).collect();
        let times: Vec<(f64, f64)> = pairs.iter().map(|(c, b)| (c.ms, b.ms)).collect();
        confirm(&RatioToBaseline::of_pairs(&times).unwrap(), &pairs)
    }

    #[test]
    fn a_difference_in_time_and_cycles_is_one() {
        let faster = confirmed(|_| (8.0, Some(1000.0)));
        assert_eq!(faster.verdict, RatioVerdict::Faster);
        assert_eq!(faster.reason, "0.8000 [0.8000, 0.8000] in time, 0.8000 [0.8000, 0.8000] in cycles");
        let cycles = faster.cycles.unwrap();
        assert_eq!((cycles.clock, cycles.pairs), (ClockSource::Nvml, 10));
        assert_eq!(confirmed(|_| (11.0, Some(1000.0))).verdict, RatioVerdict::Slower);
    }

    #[test]
    fn a_faster_clock_is_no_faster_program() {
        // 10 % less time at an 11 % higher clock are the same cycles: the clock moved, the work did not.
        let drifted = confirmed(|_| (9.0, Some(1000.0 / 0.9)));
        assert_eq!(drifted.verdict, RatioVerdict::Ambiguous);
        assert!((drifted.cycles.unwrap().median - 1.0).abs() < 1e-12);
        // The other way round a real gain is hidden in the time by a lower clock.
        assert_eq!(confirmed(|_| (10.0, Some(900.0))).verdict, RatioVerdict::Ambiguous);
    }

    #[test]
    fn small_and_unsure_differences_are_told_apart() {
        assert_eq!(confirmed(|_| (10.04, Some(1000.0))).verdict, RatioVerdict::Same);
        // Half a per cent is the bound.
        assert_eq!(confirmed(|_| (9.95, Some(1000.0))).verdict, RatioVerdict::Faster);
        // The middle is the same, but the interval reaches beyond 2 %.
        let wide = confirmed(|n| (if n % 2 == 0 { 9.7 } else { 10.3 }, Some(1000.0)));
        assert_eq!(wide.verdict, RatioVerdict::Ambiguous);
        // The middle is lower, but the interval holds 1.
        let unsure = confirmed(|n| (if n < 7 { 9.8 } else { 10.1 }, Some(1000.0)));
        assert_eq!(unsure.verdict, RatioVerdict::Ambiguous);
    }

    #[test]
    fn without_clocks_or_enough_pairs_nothing_is_said() {
        let unknown = confirmed(|_| (8.0, None));
        assert_eq!((unknown.verdict, unknown.cycles), (RatioVerdict::Ambiguous, None));
        assert_eq!(unknown.reason, "the SM clock is unknown, so the ratio cannot be confirmed in cycles");
        let few = confirmed(|n| (8.0, (n < 5).then_some(1000.0)));
        assert_eq!(few.verdict, RatioVerdict::Ambiguous);
        assert_eq!(few.reason, "5 pairs give an interval of 93.8 % confidence, less than 95 %");
    }

    #[test]
    fn the_device_counts_before_nvml_if_it_counted_every_pair() {
        let sample = |ms, device_mhz| Sample { ms, nvml_mhz: Some(1000.0), device_mhz };
        let mut pairs = vec![(sample(8.0, Some(500.0)), sample(8.0, Some(1000.0))); 6];
        let time = RatioToBaseline::of_pairs(&[(8.0, 8.0); 6]).unwrap();
        let cycles = confirm(&time, &pairs).cycles.unwrap();
        assert_eq!((cycles.clock, cycles.median), (ClockSource::Device, 0.5));
        pairs[3].0.device_mhz = None;
        let cycles = confirm(&time, &pairs).cycles.unwrap();
        assert_eq!((cycles.clock, cycles.median, cycles.pairs), (ClockSource::Nvml, 1.0, 6));
    }
}
