//! Whether a device computes what it should: every kernel against its plain twin, and whole networks against the engine of the processor.
//!
//! The tests of the program run this on a software GPU that interprets the same PTX; `esr doctor --check-gpu` runs it on a real one.

mod kernels;
mod networks;

use std::sync::Arc;

use serde::Serialize;

use crate::gpu::device::Gpu;
use crate::gpu::driver::DeviceFacts;

pub use kernels::{KernelCheck, check_kernels};
pub use networks::{NetworkCheck, check_networks};

/// What was found on a device.
#[derive(Clone, Debug, Serialize)]
pub struct GpuCheck {
    /// Version of this form.
    pub schema: u64,
    /// Whether everything passed.
    pub passed: bool,
    /// The device.
    pub device: DeviceFacts,
    /// The CUDA version that its driver supports.
    pub cuda: String,
    /// Every case of every kernel.
    pub kernels: Vec<KernelCheck>,
    /// Whole networks.
    pub networks: Vec<NetworkCheck>,
}

impl GpuCheck {
    /// The version of the form.
    pub const SCHEMA: u64 = 1;
}

/// Checks a device; `progress` hears of each case as it begins. Cases whose name does not contain `only` are left out.
pub fn check(gpu: &Arc<Gpu>, only: &str, progress: &mut dyn FnMut(&str)) -> GpuCheck {
    let kernels = check_kernels(gpu, only, progress);
    let networks = check_networks(gpu, only, progress);
    let passed = kernels.iter().all(|kernel| kernel.passed) && networks.iter().all(|network| network.passed);
    GpuCheck {
        schema: GpuCheck::SCHEMA,
        passed,
        device: gpu.facts().clone(),
        cuda: gpu.cuda_version(),
        kernels,
        networks,
    }
}
