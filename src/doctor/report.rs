//! The report: what was seen, and what follows from it.

use serde::Serialize;

use super::facts::Facts;

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// The processor.
    Cpu,
    /// Main memory.
    Memory,
    /// Disks.
    Disk,
    /// GPUs and their driver.
    Gpu,
    /// CUDA's libraries.
    Libraries,
    /// NVML.
    Nvml,
    /// Heat.
    Thermal,
}

impl Topic {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Gpu => "GPU",
            Self::Libraries => "libraries",
            Self::Nvml => "NVML",
            Self::Thermal => "heat",
        }
    }
}

/// Whether something works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nothing seen speaks against it.
    Works,
    /// It works, but not as well as it could, or measurements suffer.
    Limited,
    /// It does not work.
    DoesNot,
    /// The system does not tell.
    Unknown,
}

impl Status {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Limited => "limited",
            Self::DoesNot => "does not work",
            Self::Unknown => "unknown",
        }
    }
}

/// One thing that works or does not, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about.
    pub topic: Topic,
    /// Whether it works.
    pub status: Status,
    /// What was found.
    pub what: String,
    /// What to do, if something can be done.
    pub advice: Option<String>,
}

impl Finding {
    pub(super) fn new(topic: Topic, status: Status, what: impl Into<String>) -> Self {
        Self { topic, status, what: what.into(), advice: None }
    }

    #[must_use]
    pub(super) fn advise(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }
}

/// What `esr doctor` says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Version of this form.
    pub schema: u64,
    /// What follows from what was seen, in a fixed order of topics.
    pub findings: Vec<Finding>,
    /// What was seen.
    #[serde(flatten)]
    pub facts: Facts,
}

impl Report {
    /// The version of the form.
    pub const SCHEMA: u64 = 1;
}
