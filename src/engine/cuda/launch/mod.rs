//! How kernels are started: from what a kernel is told to its grid. Pure functions, no driver.

use super::told::AnyParams;
use crate::gpu::cudnn;
use convolution::Family;

pub mod convolution;
pub mod elementwise;
pub mod ends;
pub mod folding;
pub mod gradient;
pub mod library;
pub mod measure;
pub mod spatial;
pub mod training;

/// What is started.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are kernels")]
pub enum Work {
    /// One of our kernels, and what it is told.
    Kernel(Launch, AnyParams),
    /// A convolution of cuDNN.
    Cudnn(Call),
}

/// A convolution of cuDNN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Call {
    /// What it is.
    pub shape: cudnn::Shape,
    /// Which of cuDNN's algorithms computes it.
    pub algorithm: u32,
    /// Where everything lies.
    pub at: cudnn::Addresses,
}

impl<T: Into<AnyParams>> From<(Launch, T)> for Work {
    fn from((launch, params): (Launch, T)) -> Self {
        Self::Kernel(launch, params.into())
    }
}

impl Work {
    /// What it is called in dumps and reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Kernel(launch, _) => launch.kernel,
            Self::Cudnn(call) => match call.shape.pass {
                cudnn::Pass::Forward => "cudnnConvolutionForward",
                cudnn::Pass::InputGradient => "cudnnConvolutionBackwardData",
                cudnn::Pass::WeightGradient => "cudnnConvolutionBackwardFilter",
            },
        }
    }
}

/// Something that is started for a reason.
#[derive(Clone, Debug)]
pub struct Command {
    /// The node of the model that it is for.
    pub label: String,
    /// What is started.
    pub work: Work,
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
