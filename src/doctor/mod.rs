//! `esr doctor`: what this machine has, what of it will work, and what to do where it will not.
//!
//! [`gather`] looks; [`Report::judge`] and [`Report::render`] are pure functions of what was seen, so that they are tested on machines that are not at
//! hand. Nothing is changed or written, and no test load is run: "works" means that nothing seen speaks against it.

pub mod check;
mod facts;
mod gpu;
mod host;
mod judge;
pub mod nvml;
mod render;
mod report;
#[cfg(test)]
mod tests;

pub use facts::{Disk, Facts, FoundCudnn, Memory, Place};
pub use gpu::{Device, Gpu, OpenDriver, Problem};
pub use host::{Cpu, Thermal, Zone};
pub use report::{Finding, Report, Status, Topic};

use std::path::PathBuf;

/// Where the program keeps things, and where the user says that libraries are.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// The folder of datasets; it need not exist.
    pub data: PathBuf,
    /// The folder of runs; it need not exist.
    pub runs: PathBuf,
    /// Folders with CUDA's libraries, or Python environments that hold them (`--cuda-libs`).
    pub cuda_libs: Vec<PathBuf>,
}

/// Looks at this machine. Where there is a GPU, a context is made on each, which takes some tenths of a second.
pub fn gather(places: &Places) -> Report {
    Report::judge(Facts::gather(places))
}
