//! One model on its way through a protocol: it runs the timed forwards and keeps the samples.

use serde::{Deserialize, Serialize};

use super::bench::Bench;
use super::confirm::Sample;
use super::error::Error;
use super::gpu::{ClockEvidence, Disturbance, NamedReasons, Pauses};
use super::host::Probe;
use super::measurement::{MemoryScope, Timing, Validity};
use super::nvml::GpuWindow;
use super::on_device::{DeviceWindow, MemoryOnDevice, OnDevice};
use super::pass::Pass;
use super::stats::{self, Summary};
use super::workload::{DeviceMemory, DeviceTime, Workload, WorkloadError};

/// Which of the two models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The model in question.
    Candidate,
    /// The model it is compared with.
    Baseline,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Candidate => "candidate",
            Self::Baseline => "baseline",
        })
    }
}

/// The samples of one model. `windows` has an entry for every window, `None` where no sample of it was accepted, so that
/// candidate and baseline stay aligned pair by pair. A window that was discarded and taken again has one entry.
pub(super) struct Lane<'a> {
    pub(super) role: Role,
    workload: &'a mut dyn Workload,
    pub(super) windows: Vec<Option<Sample>>,
    /// Windows taken, discarded ones included.
    pub(super) taken: usize,
    pub(super) forwards: usize,
    pub(super) warm_up_forwards: usize,
    pub(super) notes: Vec<String>,
    pub(super) pauses: Pauses,
    records: Vec<DeviceWindow>,
    peak_bytes: Option<u64>,
    peak_scope: Option<MemoryScope>,
    device_memory: Option<DeviceMemory>,
    nvml_peak_bytes: Option<u64>,
}

impl<'a> Lane<'a> {
    pub(super) fn new(role: Role, workload: &'a mut dyn Workload) -> Result<Self, Error> {
        if workload.items().is_empty() {
            return Err(Error::NoItems { role });
        }
        Ok(Self {
            role,
            workload,
            windows: Vec::new(),
            taken: 0,
            forwards: 0,
            warm_up_forwards: 0,
            notes: Vec::new(),
            pauses: Pauses::default(),
            records: Vec::new(),
            peak_bytes: None,
            peak_scope: None,
            device_memory: None,
            nvml_peak_bytes: None,
        })
    }

    /// Number of inputs, at least one.
    pub(super) fn items(&self) -> usize {
        self.workload.items().len()
    }

    /// What the workload times by, and what it does before each forward, in words.
    pub(super) fn in_words(&self) -> (Option<String>, Option<String>) {
        (self.workload.timer(), self.workload.state_before_forward())
    }

    /// What is done before input `item` and not timed.
    pub(super) fn prepare(&mut self, item: usize) -> Result<(), Error> {
        let prepared = self.workload.prepare(item);
        prepared.map_err(|source| self.failed(item, source))
    }

    /// Times one forward over input `item`, which is prepared. Only the forward is between the two looks at the clock.
    pub(super) fn forward(&mut self, bench: &Bench<'_>, item: usize, into: &mut Pass) -> Result<(), Error> {
        bench.go_on()?;
        let before = bench.clock.now();
        let done = self.workload.run_timed(item);
        let after = bench.clock.now();
        let device = done.map_err(|source| self.failed(item, source))?;
        if let Some(DeviceTime { ms, .. }) = device
            && !(ms.is_finite() && ms > 0.0)
        {
            return Err(Error::DeviceTime { role: self.role, input: item + 1, ms });
        }
        into.add(after.saturating_sub(before), device);
        Ok(())
    }

    /// Runs all inputs in order `passes` times, each forward from the state that the workload wants.
    pub(super) fn passes(&mut self, bench: &mut Bench<'_>, passes: usize) -> Result<Pass, Error> {
        let fresh = self.reset_peaks(bench.probe);
        let mut pass = Pass::default();
        for _ in 0..passes {
            for item in 0..self.items() {
                self.prepare(item)?;
                let ready = self.workload.before_forward(item);
                ready.map_err(|source| self.failed(item, source))?;
                self.forward(bench, item, &mut pass)?;
            }
        }
        self.note_peaks(fresh, bench.probe);
        Ok(pass)
    }

    /// Sets the marks of peak memory back; whether the host allowed that.
    pub(super) fn reset_peaks(&mut self, probe: &mut dyn Probe) -> bool {
        self.workload.reset_device_peaks();
        probe.reset_peak_memory()
    }

    /// Takes note of the peaks since [`Lane::reset_peaks`], which returned `fresh`.
    pub(super) fn note_peaks(&mut self, fresh: bool, probe: &mut dyn Probe) {
        if let Some(now) = self.workload.device_memory() {
            let known = self.device_memory.unwrap_or_default();
            self.device_memory = Some(DeviceMemory {
                planned_bytes: known.planned_bytes.max(now.planned_bytes),
                pool_peak_bytes: known.pool_peak_bytes.max(now.pool_peak_bytes),
                pool_reserved_peak_bytes: known.pool_reserved_peak_bytes.max(now.pool_reserved_peak_bytes),
            });
        }
        let Some(bytes) = probe.peak_memory_bytes() else {
            return;
        };
        self.peak_bytes = self.peak_bytes.max(Some(bytes));
        // One refused reset makes the whole peak a matter of the process.
        let scope = if fresh { MemoryScope::WhileRunning } else { MemoryScope::SinceProcessStart };
        if self.peak_scope != Some(MemoryScope::SinceProcessStart) {
            self.peak_scope = Some(scope);
        }
    }

    /// Adds the sample of a window; a duration of zero is not one, since the clock cannot have seen the work.
    pub(super) fn accept(&mut self, pass: Pass, seen: Option<&GpuWindow>, disturbed: Option<Disturbance>) {
        let ms = pass.mean_ms();
        let sample =
            Sample { ms, nvml_mhz: seen.and_then(|seen| seen.sm_mean_mhz), device_mhz: pass.device_mhz() };
        let accepted = ms > 0.0;
        self.windows.push(accepted.then_some(sample));
        self.pauses.accepted();
        self.record(pass, seen, disturbed, accepted);
    }

    /// Keeps what a discarded window was, but not as a sample.
    pub(super) fn discard(&mut self, pass: Pass, seen: Option<&GpuWindow>, why: Disturbance) {
        self.record(pass, seen, Some(why), false);
    }

    /// Leaves the window without a sample after all tries.
    pub(super) fn give_up(&mut self) {
        self.windows.push(None);
        self.pauses.given_up();
    }

    fn record(
        &mut self,
        pass: Pass,
        seen: Option<&GpuWindow>,
        disturbance: Option<Disturbance>,
        accepted: bool,
    ) {
        self.taken += 1;
        self.forwards += pass.forwards;
        self.nvml_peak_bytes = self.nvml_peak_bytes.max(seen.and_then(|seen| seen.memory_used_max_bytes));
        if seen.is_none() && !pass.is_by_device() {
            return;
        }
        let unseen = GpuWindow::default();
        let seen = seen.unwrap_or(&unseen);
        self.records.push(DeviceWindow {
            sample_ms: pass.mean_ms(),
            host_ms: pass.host_ms(),
            accepted,
            reason: disturbance.as_ref().map(ToString::to_string),
            disturbance,
            forwards: pass.forwards,
            device_mhz: pass.device_mhz(),
            forward_ms: pass.forward_ms,
            sm_mean_mhz: seen.sm_mean_mhz,
            sm_min_mhz: seen.sm_min_mhz,
            sm_max_mhz: seen.sm_max_mhz,
            clock_samples: seen.samples,
            throttle_reasons: seen.throttle_reasons.map(NamedReasons::from),
        });
    }

    /// The accepted samples in the order taken.
    pub(super) fn samples(&self) -> Vec<f64> {
        self.windows.iter().flatten().map(|sample| sample.ms).collect()
    }

    /// The mean SM clock of each accepted sample.
    pub(super) fn mean_mhz(&self) -> Vec<Option<f64>> {
        self.windows.iter().flatten().map(Sample::best_mhz).collect()
    }

    /// Time per input pixel of each accepted sample, where each window is one forward over the input of its number.
    pub(super) fn per_pixel(&self) -> Vec<f64> {
        let pixels = self.workload.items().iter().map(|item| (item.width * item.height).max(1) as f64);
        self.windows.iter().zip(pixels).filter_map(|(sample, pixels)| Some((*sample)?.ms / pixels)).collect()
    }

    /// Windows in which the GPU was disturbed.
    pub(super) fn disturbed(&self) -> usize {
        self.records.iter().filter(|window| window.reason.is_some()).count()
    }

    /// What is known of the clocks under the samples. Where disturbed windows are accepted all the same, nothing was `discarded`.
    pub(super) fn evidence(
        &self,
        discarded: bool,
        locked_mhz: Option<u32>,
        in_doubt: Option<String>,
    ) -> ClockEvidence {
        ClockEvidence {
            taken: self.taken,
            disturbed: self.disturbed(),
            first_disturbance: self.records.iter().find_map(|window| window.reason.clone()),
            discarded,
            mean_mhz: self.mean_mhz(),
            locked_mhz,
            in_doubt,
        }
    }

    /// The finished figures. `spread` replaces the samples' own where their inputs differ; `nvml_before_bytes` is what was in use on the
    /// device before anything of ours.
    pub(super) fn finish(
        self,
        spread: Option<f64>,
        verdict: (Validity, String),
        nvml_before_bytes: Option<u64>,
    ) -> Result<Timing, Error> {
        let samples_ms = self.samples();
        let summary = Summary::of(&samples_ms).ok_or_else(|| self.no_samples())?;
        let (validity, validity_reason) = verdict;
        let memory = MemoryOnDevice::of(self.device_memory, self.nvml_peak_bytes, nvml_before_bytes);
        let timer = self.workload.timer();
        let host_ms = self.records.iter().filter(|window| window.accepted).map(|window| window.host_ms);
        let host_median_ms = Summary::of(&host_ms.collect::<Vec<_>>()).map(|summary| summary.median);
        let on_device = (!self.records.is_empty() || memory.is_some()).then(|| OnDevice {
            host_median_ms: host_median_ms.filter(|_| timer.is_some()),
            timer,
            windows: self.records,
            memory,
        });
        Ok(Timing {
            median_ms: summary.median,
            mean_ms: summary.mean,
            mean_without_first_ms: samples_ms.get(1..).and_then(stats::mean),
            min_ms: summary.min,
            max_ms: summary.max,
            q1_ms: summary.q1,
            q3_ms: summary.q3,
            relative_iqr: spread.unwrap_or(summary.relative_iqr),
            outliers: summary.outliers,
            rejected_samples: self.taken - samples_ms.len(),
            windows: self.taken,
            forwards: self.forwards,
            warm_up_forwards: self.warm_up_forwards,
            samples_ms,
            validity,
            validity_reason,
            notes: self.notes,
            peak_memory_bytes: self.peak_bytes,
            peak_memory_scope: self.peak_scope,
            output_digest: self.workload.output_digest(),
            on_device,
        })
    }

    fn no_samples(&self) -> Error {
        let why = match self.records.iter().rev().find_map(|window| window.reason.as_deref()) {
            Some(why) => format!(
                "every window was discarded, the last because {why}; let the GPU cool down and see who else uses it \
                 (`esr doctor`), or set its clocks"
            ),
            None => "the clock did not advance while it ran".to_owned(),
        };
        Error::NoSamples { role: self.role, taken: self.taken, why }
    }

    fn failed(&self, item: usize, source: WorkloadError) -> Error {
        let input = match self.workload.items().get(item) {
            Some(found) => format!("{} ({found})", item + 1),
            None => format!("{}", item + 1),
        };
        Error::Workload { role: self.role, input, source }
    }
}
