//! `esr measure`: the running time of a model, beside a baseline in the same run.

mod on_gpu;
mod training;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::common::{ComputeArgs, Size, note};
use super::{CliError, ExitCode, breakdown, output};
use crate::engine::Compute;
use crate::engine::cuda::Launches;
use crate::engine::timed::{self, TimedModel};
use crate::engine::upscaler::Upscaler;
use crate::graph::shapes;
use crate::imaging::{self, RgbImage};
use crate::measure::{
    GpuSession, GpuWatch, Measurement, Plan, Protocol, Subject, Timing, Validity, Workload,
};
use crate::models::Model;
use crate::{dataset, fsio, train};

/// Arguments of `esr measure`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A weights file, an architecture (timed with weights nobody trained), or bicubic
    #[arg(long, value_name = "MODEL")]
    pub model: String,
    /// A second model to alternate with; the ratio of both is then reported
    #[arg(long, value_name = "MODEL")]
    pub baseline: Option<String>,
    /// LR size in pixels of one random input
    #[arg(long, value_name = "WxH", default_value = "256x256", conflicts_with = "lr")]
    pub size: Size,
    /// Folder of LR images to time on instead, in the order of their names
    #[arg(long, value_name = "DIR")]
    pub lr: Option<PathBuf>,
    /// How to take samples; numbers of different protocols do not belong into one column
    #[arg(long, value_enum, default_value_t = ProtocolChoice::Steady)]
    pub protocol: ProtocolChoice,
    /// Time that protocol steady may take in all, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    pub budget: f64,
    /// Instead of a measurement, show where the planned engine's time goes, step by step; every single layer with -v
    #[arg(long, conflicts_with_all = ["baseline", "lr", "protocol", "budget", "require_valid", "out"])]
    pub breakdown: bool,
    /// How the kernels of a forward pass are started on a GPU; numbers of different ways do not belong into one column
    #[arg(long, value_enum, default_value_t)]
    pub launches: Launches,
    /// Time a whole training step on a GPU instead, on so many patches of so many LR pixels a side, e.g. 32x64
    #[arg(long, value_name = "PATCHESxSIDE", conflicts_with_all = ["baseline", "lr", "size", "breakdown", "launches"])]
    pub training_step: Option<Size>,
    /// Hold the GPU's clock at that many MHz while measuring; needs root, and is undone at the end
    #[arg(long, value_name = "MHZ", conflicts_with = "breakdown")]
    pub lock_clocks: Option<u32>,
    /// Exit with 6 unless the measurement is valid
    #[arg(long)]
    pub require_valid: bool,
    /// Also write measurement.json and clocks.jsonl there, and gpu-clocks.jsonl of a GPU
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Where and how to compute.
    #[command(flatten)]
    pub compute: ComputeArgs,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// The protocols by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProtocolChoice {
    /// As the official script: one forward an image, no warm-up, the first image counts
    Ntire,
    /// Warm-up, then windows until they agree, candidate and baseline alternating
    Steady,
}

impl From<ProtocolChoice> for Protocol {
    fn from(choice: ProtocolChoice) -> Self {
        match choice {
            ProtocolChoice::Ntire => Self::Ntire,
            ProtocolChoice::Steady => Self::Steady,
        }
    }
}

/// Runs it.
pub fn run(args: Args) -> Result<(), CliError> {
    on_gpu::check(args.compute.machine.device, args.lock_clocks)?;
    let compute = args.compute.checked()?;
    if args.breakdown {
        return breakdown::run(&load(&args.model)?, args.size, &compute.backend, args.json);
    }
    let plan = Plan::new(args.protocol.into(), args.budget)?;
    let model = load(&args.model)?;
    let baseline = args.baseline.as_deref().map(load).transpose()?;
    let images = args.lr.as_deref().map(lr_images).transpose()?;
    if images.is_none() {
        // A size that a model cannot take is a mistake in the command, not a failed measurement.
        for model in [Some(&model), baseline.as_ref()].into_iter().flatten() {
            shapes(&model.graph, args.size.width, args.size.height)?;
        }
    }
    // Before anything is put on the device, so that what is in use by others can be told from what is ours.
    let gpu = timed::watch(&compute, args.lock_clocks)?;
    if let Some(size) = args.training_step {
        let mut workload = training::step(&model, &compute.backend, [size.width, size.height])?;
        let candidate = Subject { model: model.identity.clone(), workload: &mut workload };
        return finish(&args, &compute, &plan, candidate, None, gpu);
    }
    let prepared = |model: &Model| Upscaler::of_model(model, compute.backend.clone());
    let upscaler = prepared(&model)?;
    let beside = baseline.as_ref().map(prepared).transpose()?;
    let timed = |upscaler| {
        let timed = match &images {
            Some(images) => TimedModel::on_images(upscaler, images.clone()),
            None => TimedModel::on_size(upscaler, args.size.width, args.size.height),
        };
        timed.timed_by_device(args.launches)
    };
    let mut workload = timed(&upscaler)?;
    let mut beside = beside.as_ref().map(timed).transpose()?;
    let subject = baseline.as_ref().zip(beside.as_mut());
    let subject = subject.map(|(model, workload)| Subject {
        model: model.identity.clone(),
        workload: workload as &mut dyn Workload,
    });
    let candidate = Subject { model: model.identity.clone(), workload: &mut workload };
    finish(&args, &compute, &plan, candidate, subject, gpu)
}

/// Measures, writes what is asked for, and prints the result.
fn finish(
    args: &Args,
    compute: &Compute,
    plan: &Plan,
    candidate: Subject<'_>,
    baseline: Option<Subject<'_>>,
    mut gpu: Option<GpuSession>,
) -> Result<(), CliError> {
    let measured = timed::measured(plan, compute, candidate, baseline, gpu.as_mut());
    // Also where nothing could be measured: the log then tells why.
    if let (Some(folder), Some(session)) = (&args.out, &mut gpu) {
        session.end().write(&folder.join("gpu-clocks.jsonl"))?;
    }
    let outcome = measured?;
    if let Some(folder) = &args.out {
        fsio::write_json(&folder.join("measurement.json"), &outcome.measurement)?;
        outcome.clocks.write(&folder.join("clocks.jsonl"))?;
    }
    match args.json {
        true => output::json(&outcome.measurement)?,
        false => output::result(&render(&outcome.measurement))?,
    }
    let (validity, reason) = outcome.measurement.joint_validity();
    if args.require_valid && validity != Validity::Valid {
        let message = anyhow::anyhow!("the measurement is {}: {reason}", validity.name());
        return Err(CliError::new(ExitCode::NoValidMeasurement, message));
    }
    Ok(())
}

/// A model that can be timed: an architecture gets weights nobody trained, which take the same time.
fn load(spec: &str) -> Result<Model, CliError> {
    let model = Model::load(spec)?;
    if model.weights.is_none() && !model.graph.parameters().is_empty() {
        note(&format!("note: `{spec}` is timed with random weights"));
    }
    Ok(train::untrained(model))
}

fn lr_images(folder: &Path) -> Result<Vec<(String, RgbImage)>, CliError> {
    let list = dataset::list_images(folder)?;
    let mut images = Vec::new();
    for path in list.images {
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        images.push((name, imaging::decode_file(&path)?.image));
    }
    Ok(images)
}

fn render(measurement: &Measurement) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "protocol {}, {}, {} engine, {}, {} thread(s), {}",
        measurement.protocol.name(),
        measurement.device,
        measurement.engine,
        measurement.precision,
        measurement.threads,
        measurement.input
    );
    let cpu = measurement.machine.cpu_model.as_deref().unwrap_or("unknown processor");
    let _ = writeln!(text, "{cpu}\n");
    timing(&mut text, "candidate", &measurement.model.architecture, &measurement.timing);
    if let Some(baseline) = &measurement.baseline {
        timing(&mut text, "baseline", &baseline.model.architecture, &baseline.timing);
    }
    if let Some(ratio) = &measurement.ratio_to_baseline {
        let _ = writeln!(
            text,
            "ratio      {:.4}  [{:.4}, {:.4}] at {:.1} % confidence",
            ratio.median,
            ratio.low,
            ratio.high,
            ratio.confidence * 100.0
        );
        if let Some(confirmation) = &ratio.confirmation {
            on_gpu::confirmation(&mut text, confirmation);
        }
    }
    if let Some(gpu) = &measurement.gpu {
        on_gpu::conditions(&mut text, gpu);
    }
    text
}

fn timing(text: &mut String, role: &str, name: &str, timing: &Timing) {
    let _ = writeln!(
        text,
        "{role:<10} {name}\n           median {:.2} ms  mean {:.2}  min {:.2}  max {:.2}  rel. IQR {:.2} %  n {}",
        timing.median_ms,
        timing.mean_ms,
        timing.min_ms,
        timing.max_ms,
        timing.relative_iqr * 100.0,
        timing.samples_ms.len()
    );
    if let Some(mean) = timing.mean_without_first_ms {
        let _ = writeln!(text, "           mean without the first sample {mean:.2} ms");
    }
    let memory = timing
        .peak_memory_bytes
        .map_or("not measured".to_owned(), |bytes| format!("{:.1} MiB", bytes as f64 / 1048576.0));
    let _ = writeln!(
        text,
        "           {}: {}  peak memory {memory}",
        timing.validity.name().to_uppercase(),
        timing.validity_reason
    );
    if let Some(told) = &timing.on_device {
        on_gpu::on_device(text, told);
    }
    for note in &timing.notes {
        let _ = writeln!(text, "           note: {note}");
    }
}
