//! The clock and the host during one measurement, and what they said.

use std::time::Duration;

use super::clock::{Clock, as_ms};
use super::clocks_log::{ClockSample, ClocksLog, Phase};
use super::error::Error;
use super::gpu::{GpuWatch, ReferenceClock};
use super::host::{CpuTime, Probe, Reading};
use super::lane::Role;
use super::measurement::Conditions;
use super::nvml::GpuWindow;
use super::session::Tools;

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
    gpu: Option<&'a mut dyn GpuWatch>,
    pub(super) reference: Option<ReferenceClock>,
    spans: Vec<(u64, u64)>,
}

/// What is left of a bench when nothing more is timed.
pub(super) struct Finished<'a> {
    pub(super) conditions: Conditions,
    pub(super) clocks: ClocksLog,
    pub(super) gpu: Option<&'a mut dyn GpuWatch>,
    pub(super) reference: Option<ReferenceClock>,
    /// Begin and end of every window, in nanoseconds on the clock of the GPU's log.
    pub(super) spans: Vec<(u64, u64)>,
}

impl<'a> Bench<'a> {
    /// Starts the measurement: from here on its time runs.
    pub(super) fn start(tools: Tools<'a>) -> Self {
        let Tools { clock, probe, gpu } = tools;
        let reference =
            gpu.as_ref().and_then(|gpu| ReferenceClock::of(gpu.facts().as_ref(), gpu.locked_mhz()));
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
            gpu,
            reference,
            spans: Vec::new(),
        };
        bench.push(Phase::Start, None, None, first);
        bench
    }

    /// Time since the start.
    pub(super) fn elapsed(&self) -> Duration {
        self.clock.now().saturating_sub(self.start)
    }

    /// Notes in the GPU's log that `label` happens now; the time, where a GPU is watched.
    pub(super) fn mark(&mut self, label: impl FnOnce() -> String) -> Option<u64> {
        self.gpu.as_mut().map(|gpu| gpu.mark(label()))
    }

    /// Closes the window that was marked at `from_ns`, and tells what the GPU did in it.
    pub(super) fn close(
        &mut self,
        from_ns: Option<u64>,
        label: impl FnOnce() -> String,
    ) -> Option<GpuWindow> {
        let (from_ns, gpu) = (from_ns?, self.gpu.as_mut()?);
        let to_ns = gpu.mark(label());
        self.spans.push((from_ns, to_ns));
        Some(gpu.window(from_ns, to_ns))
    }

    /// Fails if a signal has asked for an end.
    pub(super) fn go_on(&self) -> Result<(), Error> {
        match self.gpu.as_ref().and_then(|gpu| gpu.stopped()) {
            Some(signal) => Err(Error::Interrupted { signal }),
            None => Ok(()),
        }
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

    /// Ends the measurement: what else went on, and the logs.
    pub(super) fn finish(self) -> Finished<'a> {
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
        Finished { conditions, clocks: self.log, gpu: self.gpu, reference: self.reference, spans: self.spans }
    }
}
