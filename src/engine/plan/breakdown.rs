//! Where the time of a plan goes, step by step.

use std::time::Duration;

use serde::Serialize;

use super::plan::Plan;
use super::program::{Operation, Step};
use crate::engine::cpu::simd::Isa;

/// The cost of every step of a plan.
#[derive(Clone, Debug, Serialize)]
pub struct Breakdown {
    /// The instruction set of the kernels.
    pub isa: String,
    /// Threads that worked.
    pub threads: usize,
    /// Milliseconds of each run, from its beginning to its end.
    pub run_ms: Vec<f64>,
    /// The steps, in the order of the plan.
    pub steps: Vec<StepCost>,
}

/// The cost of one step.
#[derive(Clone, Debug, Serialize)]
pub struct StepCost {
    /// The layer.
    pub name: String,
    /// What is computed, and how.
    pub operation: String,
    /// Multiply-adds of the operation by its definition, whatever the algorithm needs.
    pub multiply_adds: u64,
    /// Milliseconds that all threads together worked on it, in each run.
    pub thread_ms: Vec<f64>,
}

impl StepCost {
    /// The median of [`StepCost::thread_ms`]; 0 before the first run.
    pub fn median_thread_ms(&self) -> f64 {
        let mut sorted = self.thread_ms.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
    }
}

impl Breakdown {
    pub(super) fn of(plan: &Plan, isa: Isa) -> Self {
        let cost = |step: &Step| StepCost {
            name: step.label.clone(),
            operation: name(&step.operation),
            multiply_adds: step.multiply_adds,
            thread_ms: Vec::new(),
        };
        Self {
            isa: isa.to_string(),
            threads: rayon::current_num_threads(),
            run_ms: Vec::new(),
            steps: plan.program.steps.iter().map(cost).collect(),
        }
    }

    pub(super) fn add(&mut self, run: Duration, thread_ms: impl Iterator<Item = f64>) {
        self.run_ms.push(run.as_secs_f64() * 1e3);
        for (step, ms) in self.steps.iter_mut().zip(thread_ms) {
            step.thread_ms.push(ms);
        }
    }
}

/// What a step computes, for people.
pub(super) fn name(operation: &Operation) -> String {
    use crate::engine::cpu::geometry::Direction;
    match operation {
        Operation::Conv { conv, direction, algorithm, .. } => {
            let what = match direction {
                Direction::Forward => "conv",
                Direction::InputGradient => "input gradient of conv",
            };
            let (k, i, o) = (conv.kernel, conv.in_channels, conv.out_channels);
            format!("{what}{k}x{k} {i}->{o}, {algorithm}")
        }
        Operation::WeightGradient { conv, algorithm } => {
            let (k, i, o) = (conv.kernel, conv.in_channels, conv.out_channels);
            format!("weight gradient of conv{k}x{k} {i}->{o}, {algorithm}")
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
