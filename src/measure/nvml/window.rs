//! What the samples of a span of time say together.

use super::sample::GpuSample;
use super::throttle::ThrottleReasons;

/// What the samples of a span of time say together, for the verdict over what was timed in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GpuWindow {
    /// How many samples there are; with 0 nothing is known.
    pub samples: usize,
    /// The lowest clock of the multiprocessors.
    pub sm_min_mhz: Option<u32>,
    /// The middle one (the lower of two).
    pub sm_median_mhz: Option<u32>,
    /// The highest.
    pub sm_max_mhz: Option<u32>,
    /// The arithmetic mean.
    pub sm_mean_mhz: Option<f64>,
    /// Every reason that was given at least once; `None` if the driver never told.
    pub throttle_reasons: Option<ThrottleReasons>,
    /// Energy from the first to the last of the samples, in millijoules; `None` with fewer than two that tell it.
    pub energy_mj: Option<u64>,
    /// The time from the first to the last of these, in nanoseconds.
    pub energy_span_ns: u64,
    /// Time that reading the samples took, in nanoseconds.
    pub read_ns: u64,
    /// The lowest temperature.
    pub temperature_min_celsius: Option<u32>,
    /// The highest temperature.
    pub temperature_max_celsius: Option<u32>,
    /// The most memory in use by everybody.
    pub memory_used_max_bytes: Option<u64>,
}

impl GpuWindow {
    /// The samples that began between the two times, both included. A window shorter than the sampling period may hold none:
    /// the last sample before it then stands for it, if that is not older than `stale_ns`.
    pub fn of(samples: &[GpuSample], from_ns: u64, to_ns: u64, stale_ns: u64) -> Self {
        let first = samples.partition_point(|sample| sample.at_ns < from_ns);
        let end = samples.partition_point(|sample| sample.at_ns <= to_ns).max(first);
        let inside = samples.get(first..end).unwrap_or_default();
        let before = first.checked_sub(1).and_then(|index| samples.get(index..first)).unwrap_or_default();
        match before {
            [last] if inside.is_empty() && from_ns - last.at_ns <= stale_ns => Self::of_all(before),
            _ => Self::of_all(inside),
        }
    }

    fn of_all(samples: &[GpuSample]) -> Self {
        let mut clocks: Vec<u32> = samples.iter().filter_map(|sample| sample.sm_mhz).collect();
        clocks.sort_unstable();
        let reasons = samples.iter().filter_map(|sample| sample.throttle_reasons);
        let sum: f64 = clocks.iter().copied().map(f64::from).sum();
        let mut energies = samples.iter().filter_map(|sample| Some((sample.at_ns, sample.energy_mj?)));
        let energy = energies.next().zip(energies.next_back());
        let temperatures = || samples.iter().filter_map(|sample| sample.temperature_celsius);
        Self {
            samples: samples.len(),
            sm_min_mhz: clocks.first().copied(),
            sm_median_mhz: clocks.get(clocks.len().saturating_sub(1) / 2).copied(),
            sm_max_mhz: clocks.last().copied(),
            sm_mean_mhz: (!clocks.is_empty()).then(|| sum / clocks.len() as f64),
            throttle_reasons: reasons.reduce(|all, one| ThrottleReasons(all.0 | one.0)),
            // A counter that went back, as over a reset of the driver, tells nothing.
            energy_mj: energy.and_then(|((_, first), (_, last))| last.checked_sub(first)),
            energy_span_ns: energy.map_or(0, |((first, _), (last, _))| last.saturating_sub(first)),
            read_ns: samples.iter().fold(0, |sum, sample| sum.saturating_add(sample.read_ns)),
            temperature_min_celsius: temperatures().min(),
            temperature_max_celsius: temperatures().max(),
            memory_used_max_bytes: samples.iter().filter_map(|sample| sample.memory_used_bytes).max(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_the_samples_in_it_or_the_fresh_one_before_it() {
        let sample = |at_ns, sm_mhz, reasons| GpuSample {
            at_ns,
            sm_mhz,
            throttle_reasons: Some(ThrottleReasons(reasons)),
            ..GpuSample::default()
        };
        let samples = [
            sample(10, Some(1980), 0),
            sample(20, Some(990), 0x40),
            sample(30, None, 0x4),
            sample(40, Some(1410), 0),
        ];
        let window = GpuWindow::of(&samples, 20, 40, 5);
        assert_eq!((window.samples, window.sm_min_mhz, window.sm_max_mhz), (3, Some(990), Some(1410)));
        assert_eq!((window.sm_median_mhz, window.throttle_reasons), (Some(990), Some(ThrottleReasons(0x44))));
        assert_eq!((window.sm_mean_mhz, window.energy_mj), (Some(1200.0), None));
        assert_eq!(GpuWindow::of(&samples, 14, 16, 5).sm_median_mhz, Some(1980));
        assert_eq!(GpuWindow::of(&samples, 16, 18, 5), GpuWindow::default());
        assert_eq!(GpuWindow::of(&samples, 0, 5, 100), GpuWindow::default());
        let told = |at_ns, energy_mj, celsius| GpuSample {
            at_ns,
            read_ns: 2,
            energy_mj,
            temperature_celsius: Some(celsius),
            ..GpuSample::default()
        };
        let told = [told(10, None, 50), told(20, Some(100), 47), told(30, Some(180), 61), told(40, None, 60)];
        let window = GpuWindow::of(&told, 0, 40, 0);
        assert_eq!((window.energy_mj, window.energy_span_ns, window.read_ns), (Some(80), 10, 8));
        assert_eq!((window.temperature_min_celsius, window.temperature_max_celsius), (Some(47), Some(61)));
        // Times in the wrong order hold nothing.
        assert_eq!(GpuWindow::of(&samples, 40, 5, 0).samples, 0);
    }
}
