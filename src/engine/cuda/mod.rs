//! The planned engine on CUDA: the same steps as on the CPU, as launches of our own kernels.
//!
//! The way of the data: the program of steps is the CPU's (`plan::lower`); `layout` gives values their places and formats, `packed` weights theirs, `compile` turns steps into launches, `kernels` loads the
//! code, and `network` and `trainer` record all launches of a pass as one CUDA graph. Kernels are written in CUDA C++ (`kernels/*.cu`) and carried as the PTX made from it
//! (`make kernels`), so that nothing but a driver is needed at run time and nothing at all when this is built. Every kernel has a plain `twin`, and `cases` to compare both.
//!
//! Results are the same bits on every run on a device: no kernel adds in an order that depends on time. Only where the user allows it, `choice` lets other `ways` compute convolutions
//! that are faster on the device at hand: those of cuDNN.

pub mod cases;
mod choice;
mod compile;
mod draft;
#[cfg(test)]
mod dump;
mod host;
mod images;
mod kernels;
pub mod launch;
mod layout;
mod network;
mod packed;
pub mod params;
mod places;
mod rebase;
mod tensors;
#[cfg(test)]
mod tests;
mod timer;
pub mod told;
mod trainer;
pub mod twin;
mod ways;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use choice::{Chooser, Used};
pub use host::{HostMemory, Outside};
pub use images::Images;
pub use kernels::Kernels;
pub use network::{Launches, Network};
pub use timer::Timer;
pub use trainer::{Stepped, Trainer};
pub use ways::Way;

use super::EngineError;
use super::plan::program::Program;
use crate::gpu::device::Gpu;

/// Which kernels compute convolutions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Selection {
    /// Our own, by shape alone: the same bits on every run
    #[default]
    Fixed,
    /// Whichever are fastest on this GPU by a trial, cuDNN's included: bits may differ from run to run
    Fastest,
}

impl Selection {
    /// Its name in artefacts and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Fastest => "fastest",
        }
    }
}

/// Where and how a device computes.
#[derive(Clone)]
pub struct Computing {
    /// The device.
    pub gpu: Arc<Gpu>,
    /// How products are computed.
    pub math: Math,
    /// What chooses among kernels; without one, shapes alone decide.
    pub chooser: Option<Arc<Chooser>>,
}

impl Computing {
    /// With our own kernels, the same bits on every run.
    pub fn fixed(gpu: Arc<Gpu>, math: Math) -> Self {
        Self { gpu, math, chooser: None }
    }

    /// Whether kernels are chosen by shape alone.
    pub fn selection(&self) -> Selection {
        if self.chooser.is_some() { Selection::Fastest } else { Selection::Fixed }
    }
}

/// The number format of stored values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// 32-bit floating point.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of [`Format::F32`].
    Bf16,
}

impl Format {
    /// Bytes of a value.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

/// How products are computed. Sums are in f32 throughout, and so is what leaves the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Math {
    /// 32-bit floating point
    #[default]
    F32,
    /// Values in f32, factors rounded to 10 bits of mantissa: GPUs only
    Tf32,
    /// Values and weights in half precision: GPUs only, no training
    F16,
    /// Values and weights in the upper half of f32: GPUs only
    Bf16,
}

impl Math {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::F32, Self::Tf32, Self::F16, Self::Bf16];

    /// How values are stored.
    pub fn format(self) -> Format {
        match self {
            Self::F32 | Self::Tf32 => Format::F32,
            Self::F16 => Format::F16,
            Self::Bf16 => Format::Bf16,
        }
    }

    /// Its name in artefacts and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }
}

/// A number as kernels take it. Shapes fit: [`check_size`] refuses larger ones.
fn number(value: usize) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

fn unsupported(op: String) -> EngineError {
    EngineError::Unsupported { engine: "cuda", op }
}

/// Refuses batches whose pixels or rows kernels could not count: they count pixels of one image, and what they are told of sizes, in 31 bits.
fn check_size(program: &Program) -> Result<(), EngineError> {
    let fits = |count: usize| count < i32::MAX as usize / 16;
    let wrong = program.buffers.iter().find(|buffer| {
        !(fits(buffer.height * buffer.width) && fits(buffer.channels) && fits(program.batch * buffer.height))
    });
    match wrong {
        None => Ok(()),
        Some(buffer) => Err(unsupported(format!(
            "{} images of {}x{} pixels with {} channels: cut them",
            program.batch, buffer.width, buffer.height, buffer.channels
        ))),
    }
}
