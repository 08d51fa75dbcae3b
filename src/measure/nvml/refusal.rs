//! What a driver answers instead of a value.

use std::borrow::Cow;
use std::collections::BTreeMap;

use nvml_wrapper::error::NvmlError;
use serde::{Deserialize, Serialize};

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// This device cannot tell (`NVML_ERROR_NOT_SUPPORTED`).
    NotSupported,
    /// This user may not know (`NVML_ERROR_NO_PERMISSION`).
    NoPermission,
    /// The installed library does not have the function: the driver is older than it.
    MissingFunction,
    /// The device fell off the bus (`NVML_ERROR_GPU_IS_LOST`).
    GpuLost,
    /// The device must be reset before it answers again (`NVML_ERROR_RESET_REQUIRED`).
    ResetRequired,
    /// The driver did not answer in its own time limit.
    Timeout,
    /// The operating system or a control group blocks the device.
    OperatingSystem,
    /// There is no such object.
    NotFound,
    /// The library does not take this argument: it is older or newer than what was asked for.
    InvalidArgument,
    /// There is nothing to tell at the moment.
    NoData,
    /// The answer, or the error code, is one that this program does not know.
    UnknownAnswer,
    /// The driver says that something is wrong inside it, or another of its errors.
    Internal,
}

impl Refusal {
    pub(super) fn of(error: &NvmlError) -> Self {
        match error {
            NvmlError::NotSupported => Self::NotSupported,
            NvmlError::NoPermission => Self::NoPermission,
            NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound => Self::MissingFunction,
            NvmlError::GpuLost => Self::GpuLost,
            NvmlError::ResetRequired => Self::ResetRequired,
            NvmlError::Timeout => Self::Timeout,
            NvmlError::OperatingSystem => Self::OperatingSystem,
            NvmlError::NotFound => Self::NotFound,
            NvmlError::InvalidArg | NvmlError::InsufficientSize(_) => Self::InvalidArgument,
            NvmlError::NoData => Self::NoData,
            NvmlError::UnexpectedVariant(_) | NvmlError::IncorrectBits(_) | NvmlError::Utf8Error(_) => {
                Self::UnknownAnswer
            }
            _ => Self::Internal,
        }
    }

    /// Whether the device will not answer any more, so that asking on is useless and may take long.
    pub fn is_loss(self) -> bool {
        matches!(self, Self::GpuLost | Self::ResetRequired)
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotSupported => "this device does not support it",
            Self::NoPermission => "this user may not ask for it",
            Self::MissingFunction => "the installed driver is too old to have the function",
            Self::GpuLost => "the device is lost",
            Self::ResetRequired => "the device must be reset",
            Self::Timeout => "the driver did not answer in time",
            Self::OperatingSystem => "the operating system or a control group blocks the device",
            Self::NotFound => "there is no such object",
            Self::InvalidArgument => "the driver does not take the argument",
            Self::NoData => "the driver has no data",
            Self::UnknownAnswer => "the driver answers with something unknown",
            Self::Internal => "the driver reports an error of its own",
        })
    }
}

/// When and by which field the device was found lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// The start of the sample that found it, in nanoseconds on the log's clock.
    pub at_ns: u64,
    /// The field that was asked for.
    pub field: Cow<'static, str>,
    /// What the driver said.
    pub reason: Refusal,
}

/// How often each field was refused, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Refusals {
    counts: BTreeMap<Cow<'static, str>, BTreeMap<Refusal, u64>>,
}

impl Refusals {
    pub(super) fn note(&mut self, field: &'static str, reason: Refusal) {
        *self.counts.entry(Cow::Borrowed(field)).or_default().entry(reason).or_default() += 1;
    }

    /// How often `field` was refused for `reason`.
    pub fn count(&self, field: &str, reason: Refusal) -> u64 {
        self.counts.get(field).and_then(|reasons| reasons.get(&reason)).copied().unwrap_or(0)
    }

    /// Every field that was ever refused, with the reasons and their counts, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &BTreeMap<Refusal, u64>)> {
        self.counts.iter().map(|(field, reasons)| (field.as_ref(), reasons))
    }

    /// Whether nothing was refused.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }
}

/// Collects what is refused while fields are asked for one after another.
#[derive(Debug, Default)]
pub(super) struct Asking {
    pub(super) refused: Vec<(&'static str, Refusal)>,
}

impl Asking {
    /// The value, or `None` with the reason noted.
    pub(super) fn take<T>(&mut self, field: &'static str, answer: Result<T, NvmlError>) -> Option<T> {
        match answer {
            Ok(value) => Some(value),
            Err(error) => {
                self.refused.push((field, Refusal::of(&error)));
                None
            }
        }
    }

    /// The first refusal that means that the device is lost.
    pub(super) fn loss(&self) -> Option<(&'static str, Refusal)> {
        self.refused.iter().copied().find(|(_, reason)| reason.is_loss())
    }

    /// Adds everything refused to the counts.
    pub(super) fn add_to(&self, refusals: &mut Refusals) {
        for &(field, reason) in &self.refused {
            refusals.note(field, reason);
        }
    }
}
