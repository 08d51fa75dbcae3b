//! How kernels are started: from what a kernel is told to its grid. Pure functions, no driver.

use super::told::AnyParams;
use convolution::Family;

pub mod convolution;
pub mod elementwise;
pub mod ends;
pub mod gradient;
pub mod measure;
pub mod spatial;
pub mod training;

/// A launch and what the kernel is told.
pub type Told = (Launch, AnyParams);

/// A launch for a reason.
#[derive(Clone, Debug)]
pub struct Command {
    /// The node of the model that it is for.
    pub label: String,
    /// Which kernel, and how it is started.
    pub launch: Launch,
    /// What it is told.
    pub params: AnyParams,
    /// Multiply-adds by the definition of the operation.
    pub multiply_adds: u64,
}

/// One start of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The file with the kernel's PTX, without the ending: `convolution.f16`.
    pub module: &'static str,
    /// The kernel's name in the module.
    pub kernel: &'static str,
    /// Blocks of threads in x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y and z.
    pub block: [u32; 3],
    /// Dynamic shared memory of a block. Above 48 KiB the kernel's attribute has to be raised first.
    pub shared_bytes: u32,
}

impl Launch {
    /// For which GPUs the kernel is, which its module's name says.
    pub fn family(&self) -> Family {
        if self.module.ends_with(".hopper") { Family::Hopper } else { Family::Ampere }
    }
}
