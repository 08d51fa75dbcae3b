//! One measurement from start to artefact.

use std::time::Duration;

use super::bench::{Bench, Finished};
use super::clock::{Clock, MonotonicClock};
use super::clocks_log::ClocksLog;
use super::confirm::{Sample, confirm};
use super::error::Error;
use super::gpu::{self, GpuConditions, GpuSession, GpuWatch};
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

/// What a measurement is made with.
pub struct Tools<'a> {
    /// Where time comes from.
    pub clock: &'a dyn Clock,
    /// What is asked about the host.
    pub probe: &'a mut dyn Probe,
    /// Who watches the GPU that the workloads run on, if they run on one. Its times are on `clock`.
    pub gpu: Option<&'a mut dyn GpuWatch>,
}

/// Measures on the CPU with this machine's clock; see [`measure`].
///
/// # Errors
/// As of [`measure`].
pub fn measure_here(
    plan: &Plan,
    setup: &Setup,
    candidate: Subject<'_>,
    baseline: Option<Subject<'_>>,
) -> Result<Outcome, Error> {
    let tools = Tools { clock: &MonotonicClock::new(), probe: &mut HostProbe, gpu: None };
    measure(plan, setup, candidate, baseline, tools, Machine::detect())
}

/// Measures on the GPU that `session` watches; see [`measure`]. The session is ended by it, and [`GpuWatch::end`] has the log for the
/// caller to write, also after an error.
///
/// # Errors
/// As of [`measure`].
pub fn measure_on_gpu(
    plan: &Plan,
    setup: &Setup,
    candidate: Subject<'_>,
    baseline: Option<Subject<'_>>,
    session: &mut GpuSession,
) -> Result<Outcome, Error> {
    let clock = session.clock();
    let tools = Tools { clock: &clock, probe: &mut HostProbe, gpu: Some(session) };
    measure(plan, setup, candidate, baseline, tools, Machine::detect())
}

/// Times the candidate, and the baseline beside it if there is one.
///
/// # Errors
/// [`Error::NoItems`], [`Error::DifferentInputs`] before anything runs; [`Error::Workload`] and [`Error::DeviceTime`] when a forward
/// fails; [`Error::Interrupted`] after a signal; [`Error::NoSamples`] when nothing usable came out.
pub fn measure(
    plan: &Plan,
    setup: &Setup,
    candidate: Subject<'_>,
    baseline: Option<Subject<'_>>,
    tools: Tools<'_>,
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
    let mut bench = Bench::start(tools);
    let (mut procedure, budget_seconds) = match plan.protocol {
        Protocol::Ntire => {
            ntire::run(&mut lanes, &mut bench)?;
            (ntire::procedure(with_baseline), None)
        }
        Protocol::Steady => {
            steady::run(&mut lanes, &mut bench, plan.budget)?;
            (steady::procedure(with_baseline), Some(plan.budget.as_secs_f64()))
        }
    };
    procedure.push_str(&on_device_in_words(&lanes, plan.protocol));
    let Finished { conditions, clocks, gpu, reference, spans } = bench.finish();
    let means_mhz: Vec<Option<f64>> = lanes.iter().flat_map(Lane::mean_mhz).collect();
    let mut nvml_before_bytes = None;
    let gpu = gpu.map(|watch| {
        nvml_before_bytes = watch.end().samples.first().and_then(|sample| sample.memory_used_bytes);
        gpu::conditions(watch, &spans, &means_mhz, reference)
    });
    let ratio_to_baseline = ratio(&lanes, gpu.is_some());
    let mut timings =
        lanes.into_iter().map(|lane| finish(lane, plan, &conditions, gpu.as_ref(), nvml_before_bytes));
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
        gpu,
        machine,
    };
    Ok(Outcome { measurement, clocks })
}

fn finish(
    mut lane: Lane<'_>,
    plan: &Plan,
    conditions: &Conditions,
    gpu: Option<&GpuConditions>,
    nvml_before_bytes: Option<u64>,
) -> Result<Timing, Error> {
    let (spread, mut verdict) = match plan.protocol {
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
    if let Some(gpu) = gpu {
        let unsure = || gpu.notes.first().map_or("its log cannot vouch for it", String::as_str).to_owned();
        let in_doubt = (!gpu.vouches).then(unsure);
        let evidence = lane.evidence(plan.protocol == Protocol::Steady, gpu.locked_sm_mhz, in_doubt);
        verdict = gpu::judge(verdict, &evidence);
    }
    lane.finish(spread, verdict, nvml_before_bytes)
}

/// The ratio over the windows that both models have, confirmed in cycles where a GPU was watched.
fn ratio(lanes: &[Lane<'_>], on_gpu: bool) -> Option<RatioToBaseline> {
    let [candidate, baseline] = lanes else { return None };
    let windows = candidate.windows.iter().zip(&baseline.windows);
    let pairs: Vec<(Sample, Sample)> = windows.filter_map(|(&c, &b)| Some((c?, b?))).collect();
    let times: Vec<(f64, f64)> = pairs.iter().map(|(c, b)| (c.ms, b.ms)).collect();
    let mut ratio = RatioToBaseline::of_pairs(&times)?;
    ratio.confirmation = on_gpu.then(|| confirm(&ratio, &pairs));
    Some(ratio)
}

/// What the workloads do on a device, as the end of the procedure; nothing where they run on the host.
fn on_device_in_words(lanes: &[Lane<'_>], protocol: Protocol) -> String {
    let mut parts: Vec<String> = Vec::new();
    for lane in lanes {
        let (timer, state) = lane.in_words();
        let timer = timer.map(|timer| format!("timed by {timer}"));
        let state = state.filter(|_| protocol == Protocol::Steady);
        let state = state.map(|state| format!("before each forward {state}, which is not timed"));
        for part in [timer, state].into_iter().flatten() {
            // Both models are usually timed alike, which is then said once.
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
    }
    parts.iter().map(|part| format!("; {part}")).collect()
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

#[cfg(test)]
mod gpu_tests;
