//! The GPUs as the report holds them.

use serde::Serialize;

use crate::gpu::driver::{CudaVersion, DeviceFacts, Driver, GpuError, Memory, Surroundings};

/// What went wrong, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What happened.
    pub what: String,
    /// What to do about it.
    pub advice: String,
}

impl From<&GpuError> for Problem {
    fn from(error: &GpuError) -> Self {
        Self { what: error.what(), advice: error.advice() }
    }
}

/// A driver that opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OpenDriver {
    /// Its library.
    pub library: String,
    /// The CUDA version that it supports.
    pub cuda: CudaVersion,
}

/// A device of the driver, as far as it can be described.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Device {
    /// Its number, as in `cuda:N`.
    pub ordinal: usize,
    /// What the driver says of it.
    pub facts: Option<DeviceFacts>,
    /// Its memory, if a context can be made.
    pub memory: Option<Memory>,
    /// Why something of this is missing.
    pub problem: Option<Problem>,
}

/// The GPUs, or why there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Gpu {
    /// The driver, if it opens.
    pub driver: Option<OpenDriver>,
    /// Why it does not.
    pub problem: Option<Problem>,
    /// Its devices.
    pub devices: Vec<Device>,
    /// What the system shows of GPUs beside the driver.
    pub surroundings: Surroundings,
}

impl Gpu {
    pub(super) fn look() -> Self {
        let surroundings = Surroundings::look();
        match Driver::open() {
            Err(error) => Self { problem: Some(Problem::from(&error)), surroundings, ..Self::default() },
            Ok(driver) => Self {
                driver: Some(OpenDriver { library: driver.library().to_owned(), cuda: driver.version() }),
                problem: None,
                devices: (0..driver.device_count()).map(|ordinal| device(driver, ordinal)).collect(),
                surroundings,
            },
        }
    }
}

fn device(driver: &Driver, ordinal: usize) -> Device {
    let facts = driver.device(ordinal);
    let memory = driver.memory(ordinal);
    let problem = facts.as_ref().err().or(memory.as_ref().err()).map(Problem::from);
    Device { ordinal, facts: facts.ok(), memory: memory.ok(), problem }
}
