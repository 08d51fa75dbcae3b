//! The clock and the host during one measurement, and what they said.

use std::time::Duration;

use super::clock::{Clock, as_ms};
use super::clocks_log::{ClockSample, ClocksLog, Phase};
use super::host::{CpuTime, Probe, Reading};
use super::lane::Role;
use super::measurement::Conditions;

/// What a protocol measures with.
pub(super) struct Bench<'a> {
    pub(super) clock: &'a dyn Clock,
    pub(super) probe: &'a mut dyn Probe,
    start: Duration,
    first: Reading,
    last: Reading,
    last_cpu_time: Option<CpuTime>,
    last_observed: Duration,
    log: ClocksLog,
}

impl<'a> Bench<'a> {
    /// Starts the measurement: from here on its time runs.
    pub(super) fn start(clock: &'a dyn Clock, probe: &'a mut dyn Probe) -> Self {
        let first = probe.reading();
        let start = clock.now();
        let mut bench = Self {
            clock,
            probe,
            start,
            first,
            last: first,
            last_cpu_time: first.cpu_time,
            last_observed: start,
            log: ClocksLog::default(),
        };
        bench.push(Phase::Start, None, None, first);
        bench
    }

    /// Time since the start.
    pub(super) fn elapsed(&self) -> Duration {
        self.clock.now().saturating_sub(self.start)
    }

    /// Looks at the host after a window.
    pub(super) fn observe(&mut self, phase: Phase, role: Role, forward_ms: f64) {
        let reading = self.probe.reading();
        self.push(phase, Some(role), Some(forward_ms), reading);
    }

    /// Looks at the host if `interval` has passed since the last look: where windows are single forwards, a look after
    /// each would disturb them more than it tells.
    pub(super) fn observe_every(&mut self, interval: Duration, role: Role, forward_ms: f64) {
        if self.clock.now().saturating_sub(self.last_observed) >= interval {
            self.observe(Phase::Window, role, forward_ms);
        }
    }

    fn push(&mut self, phase: Phase, role: Option<Role>, forward_ms: Option<f64>, reading: Reading) {
        let share = match (reading.cpu_time, self.last_cpu_time) {
            (Some(now), Some(before)) => now.other_share_since(&before),
            _ => None,
        };
        self.last_cpu_time = reading.cpu_time.or(self.last_cpu_time);
        self.last = reading;
        self.last_observed = self.clock.now();
        self.log.samples.push(ClockSample {
            elapsed_ms: as_ms(self.last_observed.saturating_sub(self.start)),
            phase,
            role,
            forward_ms,
            cpu_mhz: reading.cpu_mhz,
            load_average: reading.load_average,
            other_cpu_share: share,
        });
    }

    /// Ends the measurement: what else went on, and the log.
    pub(super) fn finish(self) -> (Conditions, ClocksLog) {
        let share = match (self.last.cpu_time, self.first.cpu_time) {
            (Some(now), Some(before)) => now.other_share_since(&before),
            _ => None,
        };
        let mhz = || self.log.samples.iter().filter_map(|sample| sample.cpu_mhz);
        let conditions = Conditions {
            load_average_before: self.first.load_average,
            load_average_after: self.last.load_average,
            other_cpu_share: share,
            cpu_min_mhz: mhz().min_by(f64::total_cmp),
            cpu_max_mhz: mhz().max_by(f64::total_cmp),
        };
        (conditions, self.log)
    }
}
