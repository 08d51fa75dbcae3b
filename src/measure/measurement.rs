//! The artefact `measurement.json`.

use serde::{Deserialize, Serialize};

use super::gpu::GpuConditions;
use super::machine::Machine;
use super::on_device::OnDevice;
use super::ratio::RatioToBaseline;
use super::workload::Item;
use crate::fsio::Artefact;
use crate::models::ModelIdentity;

/// How the samples were taken. Numbers of different protocols do not belong into one column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// As the official script does: one forward per input in list order, no warm-up, the first one counts.
    Ntire,
    /// Warm-up, then windows of at least half a second until they agree; candidate and baseline alternate.
    Steady,
}

impl Protocol {
    /// The word used in JSON and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ntire => "ntire",
            Self::Steady => "steady",
        }
    }
}

/// Whether a measurement can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Validity {
    /// Enough samples, and they agree.
    Valid,
    /// Too few samples, or their relative interquartile range is above 10 %.
    Noisy,
    /// A GPU slowed itself down (heat, power brake, a clock far below its reference) in more than 5 % of the windows.
    Throttled,
    /// A GPU's clock wandered by more than 2 % between windows, or nobody knows whether it did.
    Unlocked,
}

impl Validity {
    /// The word used in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Noisy => "noisy",
            Self::Throttled => "throttled",
            Self::Unlocked => "unlocked",
        }
    }
}

/// What a peak of memory counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryScope {
    /// The most resident memory of the process while this model ran (warm-up included). Everything else the process holds,
    /// the other model too, is in it.
    WhileRunning,
    /// The most resident memory since the process started, because the system does not allow the mark to be reset.
    SinceProcessStart,
}

/// What the model was timed on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Input {
    /// One input that is no image, of this size in pixels.
    Size {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
    },
    /// A list of images in the order in which they were timed.
    Images {
        /// Name and size of each.
        images: Vec<Item>,
    },
}

impl Input {
    /// The description of a workload's inputs.
    pub fn of(items: &[Item]) -> Self {
        match items {
            [Item { name: None, width, height }] => Self::Size { width: *width, height: *height },
            _ => Self::Images { images: items.to_vec() },
        }
    }
}

impl std::fmt::Display for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Size { width, height } => write!(f, "one input of {width}x{height}"),
            Self::Images { images } => match images.as_slice() {
                [one] => write!(f, "one image, {one}"),
                _ => write!(f, "{} images", images.len()),
            },
        }
    }
}

/// The times of one model. A sample is the time of one forward (protocol `ntire`) or the mean time per forward of one window
/// (protocol `steady`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Median of the samples.
    pub median_ms: f64,
    /// Mean of all samples, the first included: the official number under protocol `ntire`.
    pub mean_ms: f64,
    /// Mean without the first sample, which pays for the cold start under protocol `ntire`; `None` with only one sample.
    pub mean_without_first_ms: Option<f64>,
    /// Smallest sample.
    pub min_ms: f64,
    /// Largest sample.
    pub max_ms: f64,
    /// First quartile (linear interpolation, type 7).
    pub q1_ms: f64,
    /// Third quartile (linear interpolation, type 7).
    pub q3_ms: f64,
    /// Interquartile range over median: of the samples under protocol `steady`, of the time per input pixel under `ntire`, where
    /// the inputs may differ in size.
    pub relative_iqr: f64,
    /// Samples with a modified z-score above 3.5; they are counted, never dropped.
    pub outliers: usize,
    /// The accepted samples in the order taken.
    pub samples_ms: Vec<f64>,
    /// Samples that were taken and not accepted: the clock did not advance, or a GPU was disturbed. [`Timing::on_device`] has the reason of
    /// each of the latter.
    pub rejected_samples: usize,
    /// Windows taken; under protocol `ntire` each image is one.
    pub windows: usize,
    /// Timed forwards in all windows.
    pub forwards: usize,
    /// Forwards before the first window.
    pub warm_up_forwards: usize,
    /// Whether the numbers can be relied on.
    pub validity: Validity,
    /// Why, with the figure behind it.
    pub validity_reason: String,
    /// Things a reader should know that do not change the validity.
    pub notes: Vec<String>,
    /// Peak resident memory; `None` where the system does not tell.
    pub peak_memory_bytes: Option<u64>,
    /// What [`Timing::peak_memory_bytes`] counts; `None` with it.
    pub peak_memory_scope: Option<MemoryScope>,
    /// Digest of the output of the last timed forward, which is of the last input; `None` where the workload cannot tell.
    pub output_digest: Option<String>,
    /// What only a device tells: each window with its clocks, and memory; `None` on the CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_device: Option<OnDevice>,
}

impl Timing {
    /// The most bytes that were allocated on a device at one time; `None` where the model ran on none, or its driver does not tell.
    pub fn device_peak_bytes(&self) -> Option<u64> {
        self.on_device.as_ref()?.memory.as_ref()?.pool_peak_bytes
    }
}

/// The model the candidate is compared with, timed in the same run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// Which model.
    pub model: ModelIdentity,
    /// Its times.
    #[serde(flatten)]
    pub timing: Timing,
}

/// How busy the machine was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    /// Load average over one minute before the first forward.
    pub load_average_before: Option<f64>,
    /// Load average over one minute after the last forward.
    pub load_average_after: Option<f64>,
    /// Share of the machine's whole CPU time that others (processes, interrupts, the hypervisor's steal) used during the
    /// measurement, 0 to 1.
    pub other_cpu_share: Option<f64>,
    /// Smallest of the CPU frequencies seen between windows, each a mean over the processors; virtual machines report a constant.
    pub cpu_min_mhz: Option<f64>,
    /// Largest of them.
    pub cpu_max_mhz: Option<f64>,
}

/// How long one forward pass of a model takes, on what, and how sure that is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Format version, [`Artefact::SCHEMA`] when written.
    pub schema: u64,
    /// Which model.
    pub model: ModelIdentity,
    /// How the samples were taken.
    pub protocol: Protocol,
    /// The protocol in words, with the order of candidate and baseline.
    pub procedure: String,
    /// The time budget that was set, for protocols that have one.
    pub budget_seconds: Option<f64>,
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// What ran the model.
    pub engine: String,
    /// Number format of weights and activations, e.g. `f32`.
    pub precision: String,
    /// CPU threads the engine was given.
    pub threads: usize,
    /// What it was timed on.
    pub input: Input,
    /// The times.
    #[serde(flatten)]
    pub timing: Timing,
    /// The model it was timed beside, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Baseline>,
    /// The candidate's time over the baseline's, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio_to_baseline: Option<RatioToBaseline>,
    /// What else went on.
    pub conditions: Conditions,
    /// The GPU, where one was watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GpuConditions>,
    /// The machine.
    pub machine: Machine,
}

impl Measurement {
    /// The validity that a statement about candidate and baseline together has: the candidate's, or the baseline's if only that is not valid.
    pub fn joint_validity(&self) -> (Validity, &str) {
        match &self.baseline {
            Some(baseline) if self.timing.validity == Validity::Valid => {
                (baseline.timing.validity, &baseline.timing.validity_reason)
            }
            _ => (self.timing.validity, &self.timing.validity_reason),
        }
    }
}

impl Artefact for Measurement {
    const WHAT: &'static str = "measurement";
    const SCHEMA: u64 = 1;
}
