//! The object `gpu` of `measurement.json`: the device, and what it did while it was timed.

use serde::{Deserialize, Serialize};

use super::reference::ReferenceClock;
use super::watch::GpuWatch;
use crate::measure::nvml::{GpuFacts, GpuLog, SamplerCost, ThrottleReasons, Unavailable};

/// The SM clock over the accepted windows; each counts with its mean.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClockRange {
    /// Windows whose clock is known.
    pub windows: usize,
    /// Windows whose clock is not.
    pub unknown: usize,
    /// The lowest.
    pub min_mhz: Option<f64>,
    /// The middle one (the upper of two).
    pub median_mhz: Option<f64>,
    /// The highest.
    pub max_mhz: Option<f64>,
    /// `(max - min) / median`.
    pub relative_spread: Option<f64>,
}

impl ClockRange {
    fn of(means_mhz: &[Option<f64>]) -> Self {
        let mut known: Vec<f64> = means_mhz.iter().flatten().copied().collect();
        known.sort_by(f64::total_cmp);
        let (min, max, median) =
            (known.first().copied(), known.last().copied(), known.get(known.len() / 2).copied());
        Self {
            windows: known.len(),
            unknown: means_mhz.len() - known.len(),
            min_mhz: min,
            median_mhz: median,
            max_mhz: max,
            relative_spread: max.zip(min).zip(median).map(|((max, min), median)| (max - min) / median),
        }
    }
}

/// Throttle reasons as the driver gave them and by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedReasons {
    /// All bits.
    pub bits: ThrottleReasons,
    /// Their names.
    pub names: Vec<String>,
}

impl From<ThrottleReasons> for NamedReasons {
    fn from(bits: ThrottleReasons) -> Self {
        Self { bits, names: bits.names() }
    }
}

/// What watching took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SamplerShare {
    /// Time from one sample to the next that was aimed at.
    pub period_ms: u64,
    /// Samples taken.
    pub samples: u64,
    /// Due times at which none was taken.
    pub missed: u64,
    /// The whole cost, from the start of the watch to its end.
    pub cost: SamplerCost,
    /// The share of the time of the windows in which the driver was being asked, 0 to 1; `None` without windows.
    pub share_of_windows: Option<f64>,
}

/// The device, and what it did while it was timed. What the driver does not tell is `None`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GpuConditions {
    /// The device that was watched.
    pub uuid: String,
    /// What it says of itself.
    pub facts: Option<GpuFacts>,
    /// Why it was not watched, if it was not.
    pub unavailable: Option<Unavailable>,
    /// The clock that this run locked the multiprocessors to.
    pub locked_sm_mhz: Option<u32>,
    /// The clock that windows were held against.
    pub reference: Option<ReferenceClock>,
    /// The SM clock in the accepted windows of both models.
    pub sm_clock: ClockRange,
    /// Every reason given at least once in a window, discarded ones included; the power cap is ordinary.
    pub throttle_reasons: Option<NamedReasons>,
    /// Energy from the driver's counter in all windows, discarded ones included, between the first and last sample of each.
    pub energy_mj: Option<u64>,
    /// The time that this energy is of, in milliseconds.
    pub energy_span_ms: f64,
    /// The lowest temperature in a window.
    pub temperature_min_celsius: Option<u32>,
    /// The highest temperature in a window.
    pub temperature_max_celsius: Option<u32>,
    /// What watching took.
    pub sampler: SamplerShare,
    /// Whether the log can vouch for the clocks from the first sample to the last.
    pub vouches: bool,
    /// Everything for which the timing is to be believed less.
    pub notes: Vec<String>,
}

/// Sums over the windows.
#[derive(Clone, Debug, Default)]
struct SpanSum {
    ns: u64,
    read_ns: u64,
    energy_mj: Option<u64>,
    energy_span_ns: u64,
    reasons: Option<ThrottleReasons>,
    temperature_min: Option<u32>,
    temperature_max: Option<u32>,
}

impl SpanSum {
    fn of(log: &GpuLog, spans: &[(u64, u64)]) -> Self {
        let mut sum = Self::default();
        for &(from_ns, to_ns) in spans {
            let window = log.window(from_ns, to_ns);
            sum.ns += to_ns.saturating_sub(from_ns);
            sum.read_ns += window.read_ns;
            if let Some(energy_mj) = window.energy_mj {
                sum.energy_mj = Some(sum.energy_mj.unwrap_or(0) + energy_mj);
                sum.energy_span_ns += window.energy_span_ns;
            }
            sum.reasons = match (sum.reasons, window.throttle_reasons) {
                (Some(all), Some(more)) => Some(ThrottleReasons(all.0 | more.0)),
                (known, None) | (None, known) => known,
            };
            let lower = [sum.temperature_min, window.temperature_min_celsius];
            sum.temperature_min = lower.into_iter().flatten().min();
            sum.temperature_max = sum.temperature_max.max(window.temperature_max_celsius);
        }
        sum
    }
}

/// Ends the watch and tells what it saw: `spans` are all windows taken, `means_mhz` the mean clock of each accepted one.
pub(in crate::measure) fn conditions(
    watch: &mut dyn GpuWatch,
    spans: &[(u64, u64)],
    means_mhz: &[Option<f64>],
    reference: Option<ReferenceClock>,
) -> GpuConditions {
    let locked_sm_mhz = watch.locked_mhz();
    watch.end();
    let lock_notes = watch.lock_notes();
    let log = watch.end();
    let sum = SpanSum::of(log, spans);
    let mut notes = log.notes();
    notes.extend(lock_notes);
    GpuConditions {
        uuid: log.header.uuid.clone(),
        facts: log.header.facts.clone(),
        unavailable: log.header.unavailable.clone(),
        locked_sm_mhz,
        reference,
        sm_clock: ClockRange::of(means_mhz),
        throttle_reasons: sum.reasons.map(NamedReasons::from),
        energy_mj: sum.energy_mj,
        energy_span_ms: sum.energy_span_ns as f64 / 1e6,
        temperature_min_celsius: sum.temperature_min,
        temperature_max_celsius: sum.temperature_max,
        sampler: SamplerShare {
            period_ms: log.header.period_ms,
            samples: log.footer.samples,
            missed: log.footer.missed,
            cost: log.footer.cost.clone(),
            share_of_windows: (sum.ns > 0).then(|| sum.read_ns as f64 / sum.ns as f64),
        },
        vouches: log.vouches(),
        notes,
    }
}
