//! What a pipeline hands to the report: everything optional, and everything absent with its reason.
//!
//! The summaries here are the report's own view of a measurement, a verdict, a training: a pipeline copies into them what it has, so the
//! report depends on none of the modules that make them.

use serde::{Deserialize, Serialize};

use crate::graph::inspection::Inspection;
use crate::metrics::evaluation::Evaluation;

/// Why something is not in the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absent(pub String);

impl Absent {
    /// Absent for this reason, said in words that fit after a colon.
    pub fn because(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl Default for Absent {
    fn default() -> Self {
        Self::because("the run did not hand it in")
    }
}

/// Something a run may lack, but not without saying why.
pub type Item<T> = Result<T, Absent>;

/// Everything a report can be made of.
#[derive(Clone, Debug)]
pub struct ReportInputs {
    /// Which profile ran.
    pub profile: String,
    /// The stages in order, those that did not run included.
    pub stages: Vec<StageSummary>,
    /// Exact counts of the model this run is about, collapsed.
    pub model: Item<Inspection>,
    /// Exact counts of the paper's model, `imdn:blocks=7`.
    pub paper_model: Item<Inspection>,
    /// Quality of the run's model, with the name of the image set.
    pub evaluation: Item<SetEvaluation>,
    /// Quality of bicubic upscaling on the same images.
    pub bicubic: Item<SetEvaluation>,
    /// How well the collapsed model agrees with the expanded one.
    pub collapse: Item<CollapseSummary>,
    /// Runtime of the run's model.
    pub measurement: Item<MeasurementSummary>,
    /// What the rules of a challenge year say.
    pub verdict: Item<VerdictSummary>,
    /// How the run's model was trained.
    pub training: Item<TrainingSummary>,
    /// The settings that matter for the numbers, those that the paper leaves unsaid marked as assumed.
    pub settings: Vec<Setting>,
    /// What made the numbers.
    pub provenance: Item<Provenance>,
    /// The files of the run.
    pub artefacts: Vec<ArtefactFile>,
}

impl ReportInputs {
    /// Inputs that have nothing yet: fill in what there is.
    pub fn new(profile: impl Into<String>) -> Self {
        Self {
            profile: profile.into(),
            stages: Vec::new(),
            model: Err(Absent::default()),
            paper_model: Err(Absent::default()),
            evaluation: Err(Absent::default()),
            bicubic: Err(Absent::default()),
            collapse: Err(Absent::default()),
            measurement: Err(Absent::default()),
            verdict: Err(Absent::default()),
            training: Err(Absent::default()),
            settings: Vec::new(),
            provenance: Err(Absent::default()),
            artefacts: Vec::new(),
        }
    }
}

/// One stage of a pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageSummary {
    /// Its name, e.g. `train`.
    pub name: String,
    /// What became of it.
    pub status: StageStatus,
    /// How long it took, s; `None` when it did not run.
    pub seconds: Option<f64>,
    /// Why it was skipped, failed or not run.
    pub reason: Option<String>,
}

/// What became of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StageStatus {
    /// It ran to its end.
    Done,
    /// Its recorded inputs and settings are unchanged, so its results stand.
    Skipped,
    /// It ended with an error.
    Failed,
    /// It is not part of this profile, or an earlier stage failed.
    NotRun,
}

/// An evaluation, and on which image set it was made: a name of `manifest/paper.toml` (`div2k-valid`, `set5`) or any other.
#[derive(Clone, Debug, PartialEq)]
pub struct SetEvaluation {
    /// The image set.
    pub image_set: String,
    /// The scores.
    pub evaluation: Evaluation,
}

/// How well the collapsed model agrees with the expanded one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CollapseSummary {
    /// Largest difference of any output value, on the scale 0 to 1.
    pub max_abs_difference: f64,
    /// The largest difference that f32 rounding explains.
    pub limit: f64,
    /// What the two were compared on.
    pub inputs: String,
    /// Parameters before.
    pub expanded_parameters: u64,
    /// Parameters after.
    pub collapsed_parameters: u64,
}

/// The runtime of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeasurementSummary {
    /// The architecture measured.
    pub architecture: String,
    /// What it ran on: `cpu` or `cuda:N`.
    pub device: String,
    /// The machine or accelerator in words.
    pub machine: String,
    /// What ran it: `reference` or `plan`.
    pub engine: String,
    /// CPU threads used.
    pub threads: Option<u64>,
    /// The timing protocol: `ntire` or `steady`.
    pub protocol: String,
    /// What was timed: an input size such as `256x256`, or image sets.
    pub input: String,
    /// Accepted samples.
    pub samples: u64,
    /// Median time per image, ms.
    pub median_ms: f64,
    /// Mean time per image, ms.
    pub mean_ms: f64,
    /// Interquartile range divided by the median.
    pub relative_iqr: f64,
    /// `valid`, `noisy`, `throttled` or `unlocked`.
    pub validity: String,
    /// What the validity rests on.
    pub validity_reason: String,
    /// Peak memory, bytes; `None` when it was not measured.
    pub peak_memory_bytes: Option<u64>,
    /// The same of the baseline, measured in the same run.
    pub baseline: Option<BaselineSummary>,
}

/// The baseline of a measurement, and the ratio to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BaselineSummary {
    /// The architecture measured.
    pub architecture: String,
    /// Accepted samples.
    pub samples: u64,
    /// Median time per image, ms.
    pub median_ms: f64,
    /// Mean time per image, ms.
    pub mean_ms: f64,
    /// Interquartile range divided by the median.
    pub relative_iqr: f64,
    /// Candidate divided by baseline.
    pub ratio: Interval,
}

/// A value with the interval it is known to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The value.
    pub median: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// What the rules of a challenge year say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VerdictSummary {
    /// The challenge year.
    pub year: u32,
    /// `compliant`, `not compliant` or `incomplete`.
    pub verdict: String,
    /// The rules in order.
    pub rules: Vec<RuleSummary>,
}

/// One rule of a verdict; values are text in the words of the rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleSummary {
    /// Its stable name.
    pub id: String,
    /// What it asks.
    pub title: String,
    /// `pass`, `fail` or `not measured`.
    pub status: String,
    /// What was found.
    pub value: Option<String>,
    /// What is allowed.
    pub limit: Option<String>,
    /// Why it was not measured, or what the value rests on.
    pub reason: Option<String>,
}

/// How a model was trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingSummary {
    /// The architecture as trained, before collapsing, e.g. `imdn:blocks=7,branches=1x1`.
    pub architecture: String,
    /// The training data in words.
    pub data: String,
    /// Training pairs.
    pub training_images: u64,
    /// Whether every planned step was taken.
    pub completed: bool,
    /// The weights file that was evaluated afterwards (collapsed, if it collapses).
    pub weights_sha256: Option<String>,
    /// The stages in order.
    pub stages: Vec<TrainingStage>,
    /// Loss and validation PSNR over the steps of all stages.
    pub curve: Vec<CurvePoint>,
}

/// One stage of a training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingStage {
    /// Its name.
    pub name: String,
    /// Passes over the training pairs that were planned.
    pub epochs: f64,
    /// Optimiser steps taken.
    pub steps: u64,
    /// Width and height of the LR patches, pixels.
    pub lr_patch: u64,
    /// Patches per step.
    pub batch: u64,
    /// Learning rate of the first step.
    pub base_rate: f64,
    /// The schedule after that, in words, e.g. `x0.5 at epochs 200, 400, 450, 475`.
    pub rate_schedule: String,
    /// Mean L1 loss of the last reporting interval; `None` when no step was taken.
    pub final_loss: Option<f64>,
    /// Patches zero-padded up to the end of this stage, because their image is smaller than the patch.
    pub padded_patches: u64,
    /// How long it took, s.
    pub seconds: Option<f64>,
}

/// One point of the training curve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Optimiser steps taken before it.
    pub step: u64,
    /// Mean L1 loss since the point before.
    pub loss: Option<f64>,
    /// Mean RGB PSNR on the validation images, dB.
    pub validation_psnr_db: Option<f64>,
}

/// A setting that matters for the numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Its key in `settings.toml`.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Where the value comes from.
    pub source: SettingSource,
    /// Why this value, or what the paper says.
    pub note: Option<String>,
}

/// Where a setting's value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SettingSource {
    /// The paper says so.
    Paper,
    /// The paper leaves it unsaid; the value is the harness's choice.
    Assumed,
    /// The profile departs from the paper, to be smaller.
    Profile,
    /// The person who ran it said so.
    User,
}

/// What made the numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// Version of this program.
    pub tool_version: String,
    /// Commit it was built from, with `-dirty` when the tree had changes; `None` when it was not built from a repository.
    pub commit: Option<String>,
    /// The run's name.
    pub run_id: String,
    /// Start, UTC, ISO 8601.
    pub started_utc: Option<String>,
    /// End, UTC, ISO 8601.
    pub finished_utc: Option<String>,
    /// SHA-256 of `settings.toml`.
    pub settings_sha256: Option<String>,
    /// The machine, as pairs of what and which: processor, cores, memory, system, accelerator, driver.
    pub machine: Vec<(String, String)>,
}

/// A file of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtefactFile {
    /// Its path inside the run directory.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its bytes.
    pub sha256: String,
}
