//! One model on its way through a protocol: it runs the timed forwards and keeps the samples.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bench::Bench;
use super::clock::as_ms;
use super::error::Error;
use super::host::Probe;
use super::measurement::{MemoryScope, Timing, Validity};
use super::stats::{self, Summary};
use super::workload::{Workload, WorkloadError};

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

/// The samples of one model. `windows` has an entry for every window taken, `None` where the sample was not accepted, so that
/// candidate and baseline stay aligned pair by pair.
pub(super) struct Lane<'a> {
    pub(super) role: Role,
    workload: &'a mut dyn Workload,
    pub(super) windows: Vec<Option<f64>>,
    pub(super) forwards: usize,
    pub(super) warm_up_forwards: usize,
    pub(super) notes: Vec<String>,
    peak_bytes: Option<u64>,
    peak_scope: Option<MemoryScope>,
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
            forwards: 0,
            warm_up_forwards: 0,
            notes: Vec::new(),
            peak_bytes: None,
            peak_scope: None,
        })
    }

    /// Number of inputs, at least one.
    pub(super) fn items(&self) -> usize {
        self.workload.items().len()
    }

    /// Prepares input `item`, then times one forward over it. Only the forward is between the two looks at the clock.
    pub(super) fn forward(&mut self, bench: &Bench<'_>, item: usize) -> Result<Duration, Error> {
        let prepared = self.workload.prepare(item);
        prepared.map_err(|source| self.failed(item, source))?;
        let before = bench.clock.now();
        let done = self.workload.run(item);
        let after = bench.clock.now();
        done.map_err(|source| self.failed(item, source))?;
        Ok(after.saturating_sub(before))
    }

    /// Runs all inputs in order `passes` times and returns the sum of the timed parts.
    pub(super) fn passes(&mut self, bench: &mut Bench<'_>, passes: usize) -> Result<Duration, Error> {
        let fresh = bench.probe.reset_peak_memory();
        let mut sum = Duration::ZERO;
        for _ in 0..passes {
            for item in 0..self.items() {
                sum += self.forward(bench, item)?;
            }
        }
        self.note_peak(fresh, bench.probe);
        Ok(sum)
    }

    /// Takes note of the peak memory since the reset that `fresh` says was allowed.
    pub(super) fn note_peak(&mut self, fresh: bool, probe: &mut dyn Probe) {
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
    pub(super) fn push(&mut self, total: Duration, forwards: usize) -> f64 {
        let sample_ms = as_ms(total) / forwards as f64;
        self.forwards += forwards;
        self.windows.push((sample_ms > 0.0).then_some(sample_ms));
        sample_ms
    }

    /// The accepted samples in the order taken.
    pub(super) fn samples(&self) -> Vec<f64> {
        self.windows.iter().flatten().copied().collect()
    }

    /// Time per input pixel of each accepted sample, where each window is one forward over the input of its number.
    pub(super) fn per_pixel(&self) -> Vec<f64> {
        let pixels = self.workload.items().iter().map(|item| (item.width * item.height).max(1) as f64);
        self.windows.iter().zip(pixels).filter_map(|(sample, pixels)| Some((*sample)? / pixels)).collect()
    }

    /// The finished figures. `spread` replaces the samples' own where their inputs differ.
    pub(super) fn finish(self, spread: Option<f64>, verdict: (Validity, String)) -> Result<Timing, Error> {
        let samples_ms = self.samples();
        let taken = self.windows.len();
        let summary = Summary::of(&samples_ms).ok_or(Error::NoSamples {
            role: self.role,
            taken,
            why: "the clock did not advance while it ran",
        })?;
        let (validity, validity_reason) = verdict;
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
            rejected_samples: taken - samples_ms.len(),
            windows: taken,
            forwards: self.forwards,
            warm_up_forwards: self.warm_up_forwards,
            samples_ms,
            validity,
            validity_reason,
            notes: self.notes,
            peak_memory_bytes: self.peak_bytes,
            peak_memory_scope: self.peak_scope,
            output_digest: self.workload.output_digest(),
        })
    }

    fn failed(&self, item: usize, source: WorkloadError) -> Error {
        let input = match self.workload.items().get(item) {
            Some(found) => format!("{} ({found})", item + 1),
            None => format!("{}", item + 1),
        };
        Error::Workload { role: self.role, input, source }
    }
}
