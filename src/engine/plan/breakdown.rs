//! Where the time of a plan goes, step by step.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::compile::Plan;
use super::program::{Algorithm, Operation, Step};
use crate::engine::cpu::simd::Isa;
use crate::fsio::Artefact;
use crate::measure::{Input, Summary};
use crate::models::ModelIdentity;

/// The cost of every step of a plan.
///
/// Operations are counted by definition, two a multiply-add, whatever the algorithm needs: Winograd's convolutions need fewer multiplications, so a rate of theirs may lie above
/// the peak of the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Breakdown {
    /// Format version.
    pub schema: u64,
    /// The model.
    pub model: ModelIdentity,
    /// What it ran on.
    pub input: Input,
    /// The instruction set of the kernels.
    pub isa: String,
    /// Threads that worked.
    pub threads: usize,
    /// Milliseconds of each run, from its beginning to its end.
    pub run_ms: Vec<f64>,
    /// Median of `run_ms`.
    pub median_run_ms: f64,
    /// Median over the runs of the time that threads worked, over threads times the run's time.
    pub busy_share: f64,
    /// Operations of one run in 10^9 over its median time.
    pub effective_gflops: f64,
    /// What the same threads reach with nothing but multiply-adds on registers.
    pub peak_gflops: f64,
    /// `effective_gflops` over `peak_gflops`.
    pub share_of_peak: f64,
    /// The steps, in the order of the plan.
    pub steps: Vec<StepCost>,
}

impl Artefact for Breakdown {
    const WHAT: &'static str = "breakdown";
    const SCHEMA: u64 = 1;
}

/// The cost of one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepCost {
    /// The layer.
    pub name: String,
    /// What is computed.
    pub operation: String,
    /// How, where there is a choice.
    pub algorithm: Option<String>,
    /// Multiply-adds of the operation by its definition, whatever the algorithm needs.
    pub multiply_adds: u64,
    /// Milliseconds that all threads together worked on it, in each run.
    pub thread_ms: Vec<f64>,
    /// Median of `thread_ms`.
    pub median_thread_ms: f64,
    /// `median_thread_ms` over the sum of those of all steps.
    pub share: f64,
    /// Operations in 10^9 over `median_thread_ms`: the rate of one thread. `None` for a step that has none by definition.
    pub thread_gflops: Option<f64>,
}

impl Breakdown {
    /// The steps of a plan, with no run yet.
    pub(super) fn of(plan: &Plan, isa: Isa, model: ModelIdentity, input: Input) -> Self {
        let cost = |step: &Step| StepCost {
            name: step.label.clone(),
            operation: name(&step.operation),
            algorithm: algorithm(&step.operation).map(|algorithm| algorithm.to_string()),
            multiply_adds: step.multiply_adds,
            thread_ms: Vec::new(),
            median_thread_ms: 0.0,
            share: 0.0,
            thread_gflops: None,
        };
        Self {
            schema: Self::SCHEMA,
            model,
            input,
            isa: isa.to_string(),
            threads: rayon::current_num_threads(),
            run_ms: Vec::new(),
            median_run_ms: 0.0,
            busy_share: 0.0,
            effective_gflops: 0.0,
            peak_gflops: 0.0,
            share_of_peak: 0.0,
            steps: plan.program.steps.iter().map(cost).collect(),
        }
    }

    pub(super) fn add(&mut self, run: Duration, thread_ms: impl Iterator<Item = f64>) {
        self.run_ms.push(run.as_secs_f64() * 1e3);
        for (step, ms) in self.steps.iter_mut().zip(thread_ms) {
            step.thread_ms.push(ms);
        }
    }

    /// Computes what follows from the runs.
    pub(super) fn finish(mut self, peak_gflops: f64) -> Self {
        for step in &mut self.steps {
            step.median_thread_ms = median(&step.thread_ms);
            let counted = step.multiply_adds > 0 && step.median_thread_ms > 0.0;
            step.thread_gflops = counted.then(|| gflops(step.multiply_adds, step.median_thread_ms));
        }
        let all_ms: f64 = self.steps.iter().map(|step| step.median_thread_ms).sum();
        for step in &mut self.steps {
            step.share = ratio(step.median_thread_ms, all_ms);
        }
        let busy = |(run, &run_ms): (usize, &f64)| {
            let worked_ms: f64 = self.steps.iter().filter_map(|step| step.thread_ms.get(run)).sum();
            ratio(worked_ms, run_ms * self.threads as f64)
        };
        let busy: Vec<f64> = self.run_ms.iter().enumerate().map(busy).collect();
        self.busy_share = median(&busy);
        self.median_run_ms = median(&self.run_ms);
        if self.median_run_ms > 0.0 {
            let multiply_adds = self.steps.iter().map(|step| step.multiply_adds).sum();
            self.effective_gflops = gflops(multiply_adds, self.median_run_ms);
        }
        self.peak_gflops = peak_gflops;
        self.share_of_peak = ratio(self.effective_gflops, peak_gflops);
        self
    }
}

/// 0 without samples.
fn median(samples: &[f64]) -> f64 {
    Summary::of(samples).map_or(0.0, |summary| summary.median)
}

/// 0 of nothing: JSON has no other number for it.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// The rate of multiply-adds done in a time, in GFLOP/s: two operations each.
pub fn gflops(multiply_adds: u64, ms: f64) -> f64 {
    2.0 * multiply_adds as f64 / ms / 1e6
}

/// How an operation is computed, where there is a choice.
pub(super) fn algorithm(operation: &Operation) -> Option<Algorithm> {
    match operation {
        Operation::Conv { algorithm, .. }
        | Operation::WeightGradient { algorithm, .. }
        | Operation::Pack { algorithm, .. } => Some(*algorithm),
        _ => None,
    }
}

/// What a step computes, for people.
pub(super) fn name(operation: &Operation) -> String {
    use crate::engine::cpu::geometry::Direction;
    match operation {
        Operation::Conv { conv, direction, .. } => {
            let what = match direction {
                Direction::Forward => "conv",
                Direction::InputGradient => "input gradient of conv",
            };
            let (k, i, o) = (conv.kernel, conv.in_channels, conv.out_channels);
            format!("{what}{k}x{k} {i}->{o}")
        }
        Operation::WeightGradient { conv, .. } => {
            let (k, i, o) = (conv.kernel, conv.in_channels, conv.out_channels);
            format!("weight gradient of conv{k}x{k} {i}->{o}")
        }
        Operation::Load => "load".into(),
        Operation::Pack { .. } => "pack weights".into(),
        Operation::FinishGradient { .. } => "finish gradient".into(),
        Operation::Sum => "sum".into(),
        Operation::Product => "product".into(),
        Operation::Sigmoid => "sigmoid".into(),
        Operation::SigmoidGradient => "sigmoid gradient".into(),
        Operation::Place { .. } => "place channels".into(),
        Operation::MaxPool { .. } => "max pool".into(),
        Operation::MaxPoolGradient { .. } => "max pool gradient".into(),
        Operation::ResizeBilinear => "resize".into(),
        Operation::ResizeBilinearGradient => "resize gradient".into(),
        Operation::PixelShuffle { factor } => format!("pixel shuffle x{factor}"),
        Operation::PixelUnshuffle { factor } => format!("pixel unshuffle x{factor}"),
        Operation::Loss { .. } => "L1 loss and gradient".into(),
        Operation::Store { factor } => format!("store, pixel shuffle x{factor}"),
    }
}
