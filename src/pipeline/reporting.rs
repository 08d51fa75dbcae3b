//! Gathers what a run found into its report.

use std::collections::BTreeMap;
use std::path::Path;

use super::materials::Folders;
use super::provenance;
use super::reproduce::{Error, ModelFile};
use super::settings::{Profile, RunSettings};
use super::stage::StageRecord;
use super::stages::inspection_file;
use crate::compliance::Verdict;
use crate::engine::equivalence::CollapseProof;
use crate::fsio::{self, Artefact};
use crate::graph::inspection::Inspection;
use crate::manifest::paper::Paper;
use crate::measure::{Machine, Measurement};
use crate::metrics::{ComputedBy, Evaluation};
use crate::report::claims::RuntimeRatio;
use crate::report::inputs::{
    ArtefactFile, BaselineSummary, CollapseSummary, CurvePoint, Interval, Item, MeasurementSummary,
    Provenance, RuleSummary, SetEvaluation, Setting, SettingSource, StageStatus, StageSummary, TrainingStage,
    TrainingSummary, VerdictSummary,
};
use crate::report::{self, Absent, Evidence, Report, ReportInputs};
use crate::train::{self, StageSettings};

/// What the report needs besides the files of the run.
pub(super) struct Context<'a> {
    pub(super) run: &'a Path,
    pub(super) settings: &'a RunSettings,
    pub(super) folders: &'a Folders,
    pub(super) paper: &'a Paper,
    pub(super) records: &'a [StageRecord],
    pub(super) machine: &'a Machine,
    pub(super) computed_by: &'a ComputedBy,
    pub(super) model_file: ModelFile,
}

/// The architecture that the paper's 0.7905 M model collapses to.
const PAPER_COLLAPSED: &str = "imdn:blocks=7";

/// Writes `report.json`, `report.md` and, after training, the curve.
pub(super) fn write(context: &Context<'_>) -> Result<(), Error> {
    let run = context.run;
    let evaluation = read::<Evaluation>(run, "evaluation.json");
    let measurement = read::<Measurement>(run, "measurement.json");
    let paper_measurement = read::<Measurement>(run, "paper-model/measurement.json");
    let training = training(context)?;
    let inspections: Vec<Inspection> = context
        .paper
        .inspected_architectures()
        .iter()
        .filter_map(|name| read(run, &format!("paper/{}", inspection_file(name))).ok())
        .collect();
    let set =
        |evaluation: Evaluation| SetEvaluation { image_set: image_set(context, &evaluation), evaluation };
    let bicubic = read::<Evaluation>(run, "evaluation-bicubic.json");
    let evaluations: Vec<SetEvaluation> =
        [&evaluation, &bicubic].into_iter().filter_map(|item| item.clone().ok()).map(set).collect();
    let ratios = [&measurement, &paper_measurement].into_iter().filter_map(|item| ratio(item.as_ref().ok()?));
    let evidence = Evidence {
        profile: context.settings.profile.to_string(),
        ratios: ratios.collect(),
        trainings: training.iter().cloned().collect(),
        evaluations,
        inspections,
    };
    let mut inputs = ReportInputs::new(context.settings.profile.name());
    inputs.stages = stage_summaries(context.records);
    inputs.model = read(run, "inspection.json");
    inputs.paper_model = read(run, &format!("paper/{}", inspection_file(PAPER_COLLAPSED)));
    inputs.evaluation = evaluation.map(set);
    inputs.bicubic = bicubic.map(set);
    inputs.collapse = match context.settings.training {
        Some(_) => read::<CollapseProof>(run, "collapse.json").map(collapse),
        None => Err(Absent::because("the released model is collapsed already")),
    };
    // The runtime that matters for the paper is its own model's; the run's small one is in `measurement.json` and in the verdict.
    inputs.measurement = paper_measurement.map(|measurement| summary(&measurement));
    inputs.verdict = read::<Verdict>(run, "verdict.json").map(|verdict| verdict_summary(&verdict));
    inputs.training =
        training.ok_or_else(|| Absent::because("this profile takes released weights and trains nothing"));
    inputs.settings = settings(context.settings, context.computed_by)?;
    inputs.provenance = Ok(Provenance {
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: provenance::commit(),
        run_id: run_id(context)?,
        started_utc: None,
        finished_utc: Some(provenance::utc(std::time::SystemTime::now())),
        settings_sha256: Some(fsio::sha256_file(&run.join("settings.toml"))?),
        machine: machine_pairs(context.machine),
    });
    inputs.artefacts = artefacts(context)?;
    let report = Report::new(context.paper, &evidence, inputs);
    Ok(report::files::write(run, &report)?)
}

/// An artefact of the run, or why it is not there.
fn read<A: Artefact>(run: &Path, file: &str) -> Item<A> {
    fsio::read_json(&run.join(file)).map_err(|error| Absent::because(error.to_string()))
}

/// The name of the image set that was evaluated: the manifest's where the images have exactly its names, else the folders' own.
fn image_set(context: &Context<'_>, evaluation: &Evaluation) -> String {
    let names: Vec<&str> = evaluation.images.iter().map(|image| image.name.as_str()).collect();
    let known = context.paper.images.iter().find(|(_, set)| set.names() == names);
    known.map_or_else(|| context.folders.valid.name.clone(), |(id, _)| id.clone())
}

fn ratio(measurement: &Measurement) -> Option<RuntimeRatio> {
    let (baseline, ratio) = (measurement.baseline.as_ref()?, measurement.ratio_to_baseline.as_ref()?);
    Some(RuntimeRatio {
        candidate: measurement.model.architecture.clone(),
        baseline: baseline.model.architecture.clone(),
        inputs: vec![measurement.input.to_string()],
        ratio: Interval { median: ratio.median, low: ratio.low, high: ratio.high },
        validity: measurement.joint_validity().0.name().into(),
        device: measurement.device.clone(),
    })
}

fn collapse(proof: CollapseProof) -> CollapseSummary {
    CollapseSummary {
        max_abs_difference: proof.max_abs_difference,
        limit: proof.tolerance_f32,
        inputs: format!("random images and {} real ones, f32; f64 agrees to {:.0e}", proof.real_images, {
            proof.random_f64.max(proof.real_f64.unwrap_or(0.0))
        }),
        expanded_parameters: proof.parameters_expanded,
        collapsed_parameters: proof.parameters_collapsed,
    }
}

fn summary(measurement: &Measurement) -> MeasurementSummary {
    let timing = &measurement.timing;
    let baseline = measurement.baseline.as_ref().zip(measurement.ratio_to_baseline.as_ref());
    let (validity, reason) = measurement.joint_validity();
    MeasurementSummary {
        architecture: measurement.model.architecture.clone(),
        device: measurement.device.clone(),
        machine: measurement.machine.cpu_model.clone().unwrap_or_else(|| "unknown processor".into()),
        engine: measurement.engine.clone(),
        threads: Some(measurement.threads as u64),
        protocol: measurement.protocol.name().into(),
        input: measurement.input.to_string(),
        samples: timing.samples_ms.len() as u64,
        median_ms: timing.median_ms,
        mean_ms: timing.mean_ms,
        relative_iqr: timing.relative_iqr,
        validity: validity.name().into(),
        validity_reason: reason.to_owned(),
        peak_memory_bytes: timing.device_peak_bytes().or(timing.peak_memory_bytes),
        baseline: baseline.map(|(baseline, ratio)| BaselineSummary {
            architecture: baseline.model.architecture.clone(),
            samples: baseline.timing.samples_ms.len() as u64,
            median_ms: baseline.timing.median_ms,
            mean_ms: baseline.timing.mean_ms,
            relative_iqr: baseline.timing.relative_iqr,
            ratio: Interval { median: ratio.median, low: ratio.low, high: ratio.high },
        }),
    }
}

fn verdict_summary(verdict: &Verdict) -> VerdictSummary {
    let rule = |rule: &crate::compliance::RuleResult| RuleSummary {
        id: rule.id.clone(),
        title: rule.title.clone(),
        status: rule.status.to_string(),
        value: rule.value_text(),
        limit: rule.limit_text(),
        reason: Some(rule.reason.clone()),
    };
    VerdictSummary {
        year: u32::from(verdict.year),
        verdict: verdict.verdict.to_string(),
        rules: verdict.rules.iter().map(rule).collect(),
    }
}

fn training(context: &Context<'_>) -> Result<Option<TrainingSummary>, Error> {
    let Some(settings) = &context.settings.training else { return Ok(None) };
    let log = train::read_log(&train::folder(context.run))?;
    let images: usize = context.folders.train.iter().map(|set| set.pairs).sum();
    let names: Vec<&str> = context.folders.train.iter().map(|set| set.name.as_str()).collect();
    let stages = settings.stages.iter().enumerate().map(|(index, stage)| {
        let lines = || log.iter().filter(|line| line.stage == index);
        let milestones: Vec<String> = stage.decay_at_epochs.iter().map(u64::to_string).collect();
        let first_step =
            log.iter().filter(|line| line.stage < index).map(|line| line.step).max().unwrap_or(0);
        TrainingStage {
            name: stage.name.clone(),
            epochs: stage.epochs as f64,
            steps: lines().map(|line| line.step - first_step).max().unwrap_or(0),
            lr_patch: stage.patch_lr as u64,
            batch: stage.batch as u64,
            base_rate: stage.rate,
            rate_schedule: format!("x{} at epochs {}", stage.decay_factor, milestones.join(", ")),
            final_loss: lines().next_back().map(|line| line.loss),
            padded_patches: lines().next_back().map_or(0, |line| line.padded_patches),
            seconds: None,
        }
    });
    let point = |line: &train::LogRecord| CurvePoint {
        step: line.step,
        loss: Some(line.loss),
        validation_psnr_db: line.valid_psnr_rgb_db,
    };
    Ok(Some(TrainingSummary {
        architecture: settings.architecture.clone(),
        data: names.join(" + "),
        training_images: images as u64,
        completed: true,
        weights_sha256: Some(fsio::sha256_file(&context.run.join(context.model_file.name()))?),
        stages: stages.collect(),
        curve: log.iter().map(point).collect(),
    }))
}

fn stage_summaries(records: &[StageRecord]) -> Vec<StageSummary> {
    let summary = |record: &StageRecord| StageSummary {
        name: record.name.clone(),
        status: StageStatus::Done,
        seconds: Some(record.seconds),
        reason: None,
    };
    records.iter().map(summary).collect()
}

/// What the paper leaves unsaid, beyond the values of settings that it does not state.
const ASSUMED: [(&str, &str, &str); 4] = [
    ("initial weights", "uniform in ±1/sqrt(fan-in)", "not stated; PyTorch's default for Conv2d"),
    (
        "epoch",
        "crops_per_image crops of every image, shuffled",
        "not stated; the text says 10 crops from each image",
    ),
    ("second stage", "starts its schedule and optimiser afresh from the first stage's weights", "not stated"),
    ("collapsible layers", "the four 3x3 convolutions of each block", "the figure shows the block only"),
];

/// Settings whose value the paper does not state.
const UNSTATED: [(&str, &str); 4] = [
    ("seed", "not stated"),
    ("adam.epsilon", "not stated; PyTorch's default"),
    ("decay_factor", "not stated; the field's default"),
    ("stage 2 epochs", "not stated; as many as the first stage"),
];

/// Every setting of the training, with where its value comes from: the paper, an assumption, or the profile.
fn settings(settings: &RunSettings, computed_by: &ComputedBy) -> Result<Vec<Setting>, Error> {
    let Some(training) = &settings.training else { return Ok(Vec::new()) };
    let paper = Profile::Paper.settings().map_err(train::Error::from)?.training;
    let paper: BTreeMap<String, String> = paper.iter().flat_map(values).collect();
    let mut rows: Vec<Setting> = values(training)
        .into_iter()
        .map(|(name, value)| {
            let unstated = UNSTATED.iter().find(|(key, _)| name.ends_with(key));
            let (source, note) = match (paper.get(&name) == Some(&value), unstated) {
                (true, Some((_, note))) => (SettingSource::Assumed, Some((*note).to_owned())),
                (true, None) => (SettingSource::Paper, None),
                (false, _) => {
                    let note = paper.get(&name).map(|paper| format!("in profile `paper`: {paper}"));
                    (SettingSource::Profile, note)
                }
            };
            Setting { name, value, source, note }
        })
        .collect();
    let assumed = |(name, value, note): (&str, &str, &str)| Setting {
        name: name.into(),
        value: value.into(),
        source: SettingSource::Assumed,
        note: Some(note.into()),
    };
    rows.push(assumed(("computed by", &computed_by.to_string(), "not stated")));
    rows.extend(ASSUMED.map(assumed));
    Ok(rows)
}

fn values(training: &train::Settings) -> Vec<(String, String)> {
    let mut values = vec![
        ("architecture".to_owned(), training.architecture.clone()),
        ("seed".to_owned(), training.seed.to_string()),
        ("adam.beta1".to_owned(), training.adam.beta1.to_string()),
        ("adam.beta2".to_owned(), training.adam.beta2.to_string()),
        ("adam.epsilon".to_owned(), format!("{:e}", training.adam.epsilon)),
    ];
    for stage in &training.stages {
        let StageSettings {
            name,
            patch_lr,
            batch,
            epochs,
            crops_per_image,
            rate,
            decay_at_epochs,
            decay_factor,
        } = stage;
        for (key, value) in [
            ("patch_lr", patch_lr.to_string()),
            ("batch", batch.to_string()),
            ("epochs", epochs.to_string()),
            ("crops_per_image", crops_per_image.to_string()),
            ("rate", format!("{rate:e}")),
            ("decay_at_epochs", format!("{decay_at_epochs:?}")),
            ("decay_factor", decay_factor.to_string()),
        ] {
            values.push((format!("{name} {key}"), value));
        }
    }
    values
}

/// A name for the run that follows from what it found, so that two reports can be told apart.
fn run_id(context: &Context<'_>) -> Result<String, fsio::Error> {
    let hash = fsio::sha256_file(&context.run.join(context.model_file.name()))?;
    Ok(format!("{}-{}", context.settings.profile, hash.get(..12).unwrap_or(&hash)))
}

fn machine_pairs(machine: &Machine) -> Vec<(String, String)> {
    let gib = |bytes: u64| format!("{:.1} GiB", bytes as f64 / f64::from(1u32 << 30));
    let mut pairs = Vec::new();
    let mut pair = |what: &str, value: Option<String>| {
        pairs.push((what.to_owned(), value.unwrap_or_else(|| "unknown".to_owned())));
    };
    pair("processor", machine.cpu_model.clone());
    pair("logical cores", machine.logical_cores.map(|cores| cores.to_string()));
    pair("memory", machine.memory_bytes.map(gib));
    let system = [machine.os.clone(), machine.kernel.clone()]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(", Linux ");
    pair("system", (!system.is_empty()).then_some(system));
    pairs
}

/// The files of the run that people keep, with their hashes; images, logs and records are left out.
fn artefacts(context: &Context<'_>) -> Result<Vec<ArtefactFile>, Error> {
    let mut files = Vec::new();
    for (path, sha256) in context.records.iter().flat_map(|record| &record.outputs) {
        let on_disk = context.run.join(path);
        if on_disk.is_file() {
            let bytes = fsio::io_context(on_disk.metadata(), "read", &on_disk)?.len();
            files.push(ArtefactFile { path: path.clone(), bytes, sha256: sha256.clone() });
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}
