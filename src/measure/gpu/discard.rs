//! Which windows are discarded, and how long to wait before the next try.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::reference::ReferenceClock;
use crate::measure::nvml::{GpuWindow, ThrottleReasons};

/// The share of the reference clock below which a window is discarded (nvbench's `throttle-threshold`).
pub(super) const LEAST_SHARE_OF_REFERENCE: f64 = 0.75;

/// The first pause after a discarded window (nvbench's `throttle-recovery-delay`).
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Discards in a row after which the pauses grow: fewer may be a moment's dip.
const PATIENCE: u32 = 2;

/// The longest pause: a hot device cools by some kelvin a second, so longer ones are better spent by looking at it.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The most a pause grows by at once.
const LARGEST_STEP: Duration = Duration::from_millis(500);

/// How often one window is repeated before it is given up.
const MOST_REPEATS: u32 = 10;

/// Why a window says nothing about the program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Disturbance {
    /// The device gave a reason for which it slowed down: heat, power brake, hardware slowdown.
    Throttled {
        /// All reasons it gave in the window.
        reasons: ThrottleReasons,
    },
    /// The mean clock was below three quarters of the reference.
    Slow {
        /// The mean clock of the window.
        sm_mean_mhz: f64,
        /// The reference clock.
        reference_mhz: u32,
    },
}

impl std::fmt::Display for Disturbance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Throttled { reasons } => {
                write!(f, "the GPU slowed down: {}", ThrottleReasons(reasons.0 & ThrottleReasons::DISTURBING))
            }
            Self::Slow { sm_mean_mhz, reference_mhz } => write!(
                f,
                "the SM clock was {sm_mean_mhz:.0} MHz, {:.0} % of the reference of {reference_mhz} MHz",
                sm_mean_mhz / f64::from(*reference_mhz) * 100.0
            ),
        }
    }
}

/// Why the window is to be discarded, if it is. `device_mhz` is the clock that the workload itself found, which is that of the timed parts
/// alone and beats NVML's samples. Where no clock is known, nothing speaks against the window; the verdict tells that nobody knows.
pub(in crate::measure) fn disturbance(
    window: &GpuWindow,
    device_mhz: Option<f64>,
    reference: Option<ReferenceClock>,
) -> Option<Disturbance> {
    if let Some(reasons) = window.throttle_reasons.filter(|reasons| reasons.is_disturbing()) {
        return Some(Disturbance::Throttled { reasons });
    }
    let (mean_mhz, reference) = (device_mhz.or(window.sm_mean_mhz)?, reference?);
    (mean_mhz < LEAST_SHARE_OF_REFERENCE * f64::from(reference.mhz))
        .then_some(Disturbance::Slow { sm_mean_mhz: mean_mhz, reference_mhz: reference.mhz })
}

/// The pauses of one model's windows. They begin short, grow while window after window is discarded, and begin anew after an accepted one.
#[derive(Clone, Debug, Default)]
pub(in crate::measure) struct Pauses {
    in_a_row: u32,
    last: Duration,
    tries: u32,
}

impl Pauses {
    /// The pause after a discarded window; `None` when the window is not to be tried again.
    pub(in crate::measure) fn next(&mut self) -> Option<Duration> {
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.last = match self.in_a_row {
            0..=PATIENCE => FIRST_PAUSE,
            _ => (self.last.mul_f64(1.5)).min(self.last + LARGEST_STEP).min(LONGEST_PAUSE),
        };
        self.tries += 1;
        (self.tries <= MOST_REPEATS).then_some(self.last)
    }

    /// The window was accepted.
    pub(in crate::measure) fn accepted(&mut self) {
        *self = Self::default();
    }

    /// The window is given up; the next one has all its tries, but the pauses stay as long as they have become.
    pub(in crate::measure) fn given_up(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::super::reference::ReferenceSource;
    use super::*;

    fn window(sm_mean_mhz: Option<f64>, reasons: Option<u64>) -> GpuWindow {
        let throttle_reasons = reasons.map(ThrottleReasons);
        GpuWindow { samples: 1, sm_mean_mhz, throttle_reasons, ..GpuWindow::default() }
    }

    #[test]
    fn slow_and_throttled_windows_are_discarded_and_unknown_ones_are_not() {
        let reference = Some(ReferenceClock { mhz: 2000, source: ReferenceSource::Application });
        let told =
            |window, device_mhz| disturbance(&window, device_mhz, reference).map(|why| why.to_string());
        assert_eq!(told(window(Some(1500.0), Some(0x4)), None), None);
        assert_eq!(
            told(window(Some(1499.0), None), None).unwrap(),
            "the SM clock was 1499 MHz, 75 % of the reference of 2000 MHz"
        );
        assert_eq!(
            told(window(Some(1990.0), Some(0x44)), None).unwrap(),
            "the GPU slowed down: hardware thermal slowdown"
        );
        // What the workload found in the timed parts beats what NVML saw around them.
        assert_eq!(told(window(Some(300.0), None), Some(1990.0)), None);
        assert!(told(window(Some(1990.0), None), Some(300.0)).is_some());
        assert_eq!(told(window(None, None), None), None);
        assert_eq!(disturbance(&window(Some(10.0), None), None, None), None);
    }

    #[test]
    fn pauses_grow_while_windows_are_discarded_and_begin_anew_after_one_that_is_not() {
        let mut pauses = Pauses::default();
        let ms = |pauses: &mut Pauses| pauses.next().map(|pause| pause.as_secs_f64() * 1e3);
        let first: Vec<_> = std::iter::from_fn(|| ms(&mut pauses)).collect();
        assert_eq!(first.len(), 10);
        assert_eq!(first[..4], [50.0, 50.0, 75.0, 112.5]);
        assert!(first.windows(2).all(|pair| pair[0] <= pair[1] && pair[1] - pair[0] <= 500.0), "{first:?}");
        pauses.given_up();
        let more = ms(&mut pauses).unwrap();
        assert!(more > *first.last().unwrap());
        for _ in 0..100 {
            pauses.given_up();
            assert!(ms(&mut pauses).unwrap() <= 5000.0);
        }
        pauses.accepted();
        assert_eq!(ms(&mut pauses), Some(50.0));
    }
}
