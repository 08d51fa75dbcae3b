//! Whether a device computes what it should: every kernel against its plain twin, and whole networks against the engine of the processor.
//!
//! `esr doctor --check-gpu` runs this. Tests run it on a software GPU that interprets the same PTX.

mod kernels;
mod networks;

use std::fmt::Write;
use std::sync::Arc;

use serde::Serialize;

use crate::gpu::device::Gpu;
use crate::gpu::driver::DeviceFacts;

pub use kernels::{KernelCheck, Skipped, check_kernels};
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
    /// Every case of every kernel for this device.
    pub kernels: Vec<KernelCheck>,
    /// Cases of kernels for other devices.
    pub kernels_skipped: Option<Skipped>,
    /// Whole networks.
    pub networks: Vec<NetworkCheck>,
}

impl GpuCheck {
    /// The version of the form.
    pub const SCHEMA: u64 = 1;

    /// How many checks were made.
    pub fn count(&self) -> usize {
        self.kernels.len() + self.networks.len()
    }

    /// What failed: its name, and what is wrong.
    pub fn failures(&self) -> impl Iterator<Item = (&str, String)> {
        let kernels = self.kernels.iter().filter(|kernel| !kernel.passed);
        let kernels =
            kernels.map(|kernel| (kernel.name.as_str(), kernel.problem.clone().unwrap_or_default()));
        let networks = self.networks.iter().filter(|network| !network.passed);
        kernels.chain(networks.map(|network| (network.name.as_str(), network.in_words())))
    }

    /// For people: the networks one by one, kernels only where something is wrong.
    pub fn render(&self) -> String {
        let mut text = format!("{}, CUDA {}\n\n", self.device.name, self.cuda);
        let passed = self.kernels.iter().filter(|kernel| kernel.passed).count();
        // Writing to a string does not fail, here and below.
        let _ = writeln!(text, "kernels     {passed} of {} cases as their plain twins", self.kernels.len());
        if let Some(Skipped { count, reason }) = &self.kernels_skipped {
            let _ = writeln!(text, "not run     {count} cases: {reason}");
        }
        for network in &self.networks {
            let mark = if network.passed { "as the CPU" } else { "WRONG" };
            let _ = writeln!(text, "{mark:<11} {}: {}", network.name, network.in_words());
        }
        for kernel in self.kernels.iter().filter(|kernel| !kernel.passed) {
            let _ = writeln!(text, "WRONG       {}", kernel.problem.as_deref().unwrap_or(&kernel.name));
        }
        text
    }
}

/// Checks a device; `progress` hears of each case as it begins. Cases whose name does not contain `only` are left out.
pub fn check(gpu: &Arc<Gpu>, only: &str, progress: &mut dyn FnMut(&str)) -> GpuCheck {
    let (kernels, kernels_skipped) = check_kernels(gpu, only, progress);
    let networks = check_networks(gpu, only, progress);
    let passed = kernels.iter().all(|kernel| kernel.passed) && networks.iter().all(|network| network.passed);
    GpuCheck {
        schema: GpuCheck::SCHEMA,
        passed,
        device: gpu.facts().clone(),
        cuda: gpu.cuda_version(),
        kernels,
        kernels_skipped,
        networks,
    }
}
