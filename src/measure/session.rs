//! One measurement from start to artefact.

use std::time::Duration;

use super::bench::Bench;
use super::clock::{Clock, MonotonicClock};
use super::clocks_log::ClocksLog;
use super::error::Error;
use super::host::{HostProbe, Probe};
use super::lane::{Lane, Role};
use super::machine::Machine;
use super::measurement::{Baseline, Conditions, Input, Measurement, Protocol, Timing};
use super::ratio::RatioToBaseline;
use super::workload::{Item, Workload};
use super::{ntire, steady};
use crate::fsio::Artefact;
use crate::models::ModelIdentity;

/// Share of the machine's CPU time used by others above which a reader is told.
const DISTURBED_CPU_SHARE: f64 = 0.10;

/// The longest budget that is taken for meant: a day.
const MAX_BUDGET: Duration = Duration::from_secs(86_400);

/// How to measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// The protocol.
    pub protocol: Protocol,
    /// The time that protocol `steady` may take in all, warm-up and baseline included. It is exceeded only to take one window of each
    /// model. Protocol `ntire` takes what it takes.
    pub budget: Duration,
}

impl Plan {
    /// The budget unless another is asked for.
    pub const DEFAULT_BUDGET: Duration = Duration::from_secs(60);

    /// A plan with a budget in seconds.
    ///
    /// # Errors
    /// [`Error::Budget`] unless the budget is above zero and at most a day.
    pub fn new(protocol: Protocol, budget_seconds: f64) -> Result<Self, Error> {
        match Duration::try_from_secs_f64(budget_seconds) {
            Ok(budget) if !budget.is_zero() && budget <= MAX_BUDGET => Ok(Self { protocol, budget }),
            _ => Err(Error::Budget { seconds: budget_seconds }),
        }
    }
}

/// What the workloads run on. The measuring code only writes it down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// The engine's name.
    pub engine: String,
    /// The number format's name, e.g. `f32`.
    pub precision: String,
    /// CPU threads the engine was given.
    pub threads: usize,
}

/// A model and the workload that runs it.
pub struct Subject<'a> {
    /// Which model.
    pub model: ModelIdentity,
    /// What is timed.
    pub workload: &'a mut dyn Workload,
}

/// A measurement and the log of the host beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The artefact `measurement.json`.
    pub measurement: Measurement,
    /// The log `clocks.jsonl`.
    pub clocks: ClocksLog,
}

/// Measures with this machine's clock; see [`measure`].
pub fn measure_here(
    plan: &Plan,
    setup: &Setup,
    candidate: Subject<'_>,
    baseline: Option<Subject<'_>>,
) -> Result<Outcome, Error> {
    measure(plan, setup, candidate, baseline, &MonotonicClock::new(), &mut HostProbe, Machine::detect())
}

/// Times the candidate, and the baseline beside it if there is one.
///
/// # Errors
/// [`Error::NoItems`], [`Error::DifferentInputs`] before anything runs; [`Error::Workload`] when a forward fails;
/// [`Error::NoSamples`] when nothing usable came out.
pub fn measure(
    plan: &Plan,
    setup: &Setup,
    candidate: Subject<'_>,
    baseline: Option<Subject<'_>>,
    clock: &dyn Clock,
    probe: &mut dyn Probe,
    machine: Machine,
) -> Result<Outcome, Error> {
    let items = candidate.workload.items().to_vec();
    let mut lanes = vec![Lane::new(Role::Candidate, candidate.workload)?];
    let mut baseline_model = None;
    if let Some(baseline) = baseline {
        same_inputs(&items, baseline.workload.items())?;
        lanes.push(Lane::new(Role::Baseline, baseline.workload)?);
        baseline_model = Some(baseline.model);
    }
    let with_baseline = baseline_model.is_some();
    let mut bench = Bench::start(clock, probe);
    let (procedure, budget_seconds) = match plan.protocol {
        Protocol::Ntire => {
            ntire::run(&mut lanes, &mut bench)?;
            (ntire::procedure(with_baseline), None)
        }
        Protocol::Steady => {
            steady::run(&mut lanes, &mut bench, plan.budget)?;
            (steady::procedure(with_baseline), Some(plan.budget.as_secs_f64()))
        }
    };
    let (conditions, clocks) = bench.finish();
    let ratio_to_baseline = ratio(&lanes);
    let mut timings = lanes.into_iter().map(|lane| finish(lane, plan, &conditions));
    let nothing = || Error::NoItems { role: Role::Candidate };
    let timing = timings.next().ok_or_else(nothing)??;
    let baseline = match (timings.next(), baseline_model) {
        (Some(timing), Some(model)) => Some(Baseline { model, timing: timing? }),
        _ => None,
    };
    let measurement = Measurement {
        schema: Measurement::SCHEMA,
        model: candidate.model,
        protocol: plan.protocol,
        procedure,
        budget_seconds,
        device: setup.device.clone(),
        engine: setup.engine.clone(),
        precision: setup.precision.clone(),
        threads: setup.threads,
        input: Input::of(&items),
        timing,
        baseline,
        ratio_to_baseline,
        conditions,
        machine,
    };
    Ok(Outcome { measurement, clocks })
}

fn finish(mut lane: Lane<'_>, plan: &Plan, conditions: &Conditions) -> Result<Timing, Error> {
    let (spread, verdict) = match plan.protocol {
        Protocol::Ntire => ntire::judge(&lane),
        Protocol::Steady => (None, steady::judge(&lane, plan.budget)),
    };
    if let Some(share) = conditions.other_cpu_share
        && share > DISTURBED_CPU_SHARE
    {
        lane.notes.push(format!(
            "others used {:.0} % of the machine's CPU time during the measurement; repeat it on a quiet machine",
            share * 100.0
        ));
    }
    lane.finish(spread, verdict)
}

/// The ratio over the windows that both models have.
fn ratio(lanes: &[Lane<'_>]) -> Option<RatioToBaseline> {
    let [candidate, baseline] = lanes else { return None };
    let windows = candidate.windows.iter().zip(&baseline.windows);
    let pairs: Vec<(f64, f64)> = windows.filter_map(|(&c, &b)| Some((c?, b?))).collect();
    RatioToBaseline::of_pairs(&pairs)
}

fn same_inputs(candidate: &[Item], baseline: &[Item]) -> Result<(), Error> {
    if candidate == baseline {
        return Ok(());
    }
    let at = candidate.iter().zip(baseline).take_while(|(c, b)| c == b).count();
    let describe = |items: &[Item]| match items.get(at) {
        Some(item) => format!("{}, number {} being {item}", Input::of(items), at + 1),
        None => Input::of(items).to_string(),
    };
    Err(Error::DifferentInputs { candidate: describe(candidate), baseline: describe(baseline) })
}

#[cfg(test)]
mod tests;
