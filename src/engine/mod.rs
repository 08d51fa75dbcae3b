//! What runs a graph.
//!
//! [`plan`] compiles a graph for one shape into a fixed list of kernel calls: what people use. [`reference`](mod@reference) interprets a graph with candle tensors and candle's autograd: plain, obviously right, the oracle of every test. Engines exchange host
//! arrays with the rest of the program; no tensor type of theirs leaves this module.

use serde::{Deserialize, Serialize};

use crate::array::Array;
use crate::weights::StateDict;

mod backend;
pub mod cpu;
pub mod cuda;
pub mod equivalence;
pub mod plan;
pub mod reference;
#[cfg(test)]
mod tests;
pub mod timed;
pub mod upscaler;

pub use backend::Backend;

/// Which engine runs a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// The graph compiled, for the size at hand, into a list of kernel calls: fast
    #[default]
    Plan,
    /// The graph interpreted with plain operations: the oracle
    Reference,
}

impl Engine {
    /// Its name in artefacts and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Reference => "reference",
        }
    }
}

/// What models are run with.
#[derive(Clone)]
pub struct Compute {
    /// The engine, and where it computes.
    pub backend: Backend,
    /// Threads of the processor in use.
    pub threads: usize,
}

/// Why a graph could not be run.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The image does not go through the model.
    #[error(transparent)]
    Shape(#[from] crate::graph::ShapeError),
    /// The model cannot be trained.
    #[error(transparent)]
    Backward(#[from] crate::graph::BackwardError),
    /// A weight is missing or misshapen.
    #[error("the weights lack `{key}` of shape {shape:?}")]
    Weight {
        /// The tensor.
        key: String,
        /// The shape the graph gives it.
        shape: Vec<usize>,
    },
    /// The input is not a batch of images with the model's channels.
    #[error("the input has shape {found:?}, the model takes N x {channels} x H x W")]
    Input {
        /// The shape given.
        found: Vec<usize>,
        /// Channels the model takes.
        channels: usize,
    },
    /// The image does not fit into the memory that may be used.
    #[error(
        "an LR image of {width}x{height} pixels needs {needed_bytes} bytes of memory for the model's values even in the smallest parts, and \
         the limit is {limit_bytes}: raise the limit, or cut the image"
    )]
    Memory {
        /// LR width in pixels.
        width: usize,
        /// LR height in pixels.
        height: usize,
        /// What the least way takes.
        needed_bytes: usize,
        /// What may be used.
        limit_bytes: usize,
    },
    /// The engine cannot run an operation.
    #[error("the {engine} engine does not run `{op}`")]
    Unsupported {
        /// The engine.
        engine: &'static str,
        /// The operation.
        op: String,
    },
    /// The device or its driver refused, or was lost.
    #[error(transparent)]
    Gpu(#[from] crate::gpu::driver::GpuError),
    /// candle failed.
    #[error("the reference engine failed: {0}")]
    Candle(#[from] candle_core::Error),
}

/// A weight of the shape that the graph gives it.
///
/// # Errors
/// [`EngineError::Weight`] when it is missing or misshapen.
pub(crate) fn weight<'a>(
    weights: &'a StateDict,
    key: &str,
    shape: &[usize],
) -> Result<&'a Array<f32>, EngineError> {
    let found = weights.get(key).filter(|array| array.shape() == shape);
    found.ok_or_else(|| EngineError::Weight { key: key.into(), shape: shape.to_vec() })
}
