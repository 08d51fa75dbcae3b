//! What is seen of the machine.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::gpu::Gpu;
use super::host::{Cpu, Thermal};
use super::nvml::Nvml;
use super::{Places, host};
use crate::gpu::cudnn::{self, Version};
use crate::measure::Machine;
use crate::space;

/// Main memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// What the machine has.
    pub total_bytes: Option<u64>,
    /// What can be had without swapping, as the kernel estimates it.
    pub available_bytes: Option<u64>,
    /// The limit of this process's container, if it has one.
    pub limit_bytes: Option<u64>,
}

/// What a folder is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Datasets.
    Data,
    /// Runs.
    Runs,
}

/// The file system below a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// What the folder is for.
    pub place: Place,
    /// The folder; it need not exist.
    pub path: PathBuf,
    /// What an ordinary user may still write there.
    pub free_bytes: Option<u64>,
    /// Why that is not known.
    pub problem: Option<String>,
}

/// A cuDNN that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FoundCudnn {
    /// Its file.
    pub path: PathBuf,
    /// Whether it lies in a folder that the user named.
    pub given: bool,
    /// Its version, if it was loaded; only the first that loads is.
    pub version: Option<Version>,
    /// Why it does not load.
    pub problem: Option<String>,
}

/// All that is seen. What the system does not tell is `None` or empty.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Facts {
    /// The machine as measurements describe it: processor, caches, memory, system.
    pub machine: Machine,
    /// The processor's state.
    pub cpu: Cpu,
    /// Main memory.
    pub memory: Memory,
    /// File systems that are written to.
    pub disks: Vec<Disk>,
    /// The GPUs, or why there are none.
    pub gpu: Gpu,
    /// Folders that the user named for CUDA's libraries.
    pub cuda_libs: Vec<PathBuf>,
    /// All cuDNN libraries that were found, best first.
    pub cudnn: Vec<FoundCudnn>,
    /// NVML.
    pub nvml: Nvml,
    /// Heat.
    pub thermal: Thermal,
}

impl Facts {
    pub(super) fn gather(places: &Places) -> Self {
        let root = Path::new("/");
        Self {
            machine: Machine::detect(),
            cpu: Cpu::look_below(root),
            memory: host::memory_below(root),
            disks: [(Place::Data, &places.data), (Place::Runs, &places.runs)]
                .map(|(place, path)| disk(place, path))
                .into(),
            gpu: Gpu::look(),
            cuda_libs: places.cuda_libs.clone(),
            cudnn: find_cudnn(&places.cuda_libs),
            nvml: Nvml::look(),
            thermal: Thermal::look_below(root),
        }
    }
}

fn disk(place: Place, path: &Path) -> Disk {
    let free = space::free_bytes(path);
    let problem = free.as_ref().err().map(ToString::to_string);
    Disk { place, path: path.to_path_buf(), free_bytes: free.ok(), problem }
}

fn find_cudnn(folders: &[PathBuf]) -> Vec<FoundCudnn> {
    let mut paths: Vec<(PathBuf, bool)> =
        cudnn::in_given(folders).into_iter().map(|path| (path, true)).collect();
    for path in cudnn::in_usual_places(&cudnn::Environment::here(), Path::new("/")) {
        if !paths.iter().any(|(known, _)| *known == path) {
            paths.push((path, false));
        }
    }
    let mut loaded = false;
    let look = |(path, given): (PathBuf, bool)| {
        // Two versions of it in one process would disturb each other.
        let answer = (!loaded).then(|| cudnn::version_of(&path));
        loaded |= matches!(answer, Some(Ok(_)));
        let (version, problem) = match answer {
            Some(Ok(version)) => (Some(version), None),
            Some(Err(problem)) => (None, Some(problem)),
            None => (None, None),
        };
        FoundCudnn { path, given, version, problem }
    };
    paths.into_iter().map(look).collect()
}
