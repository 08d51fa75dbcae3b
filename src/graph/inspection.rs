//! The cost of a model as exact integers: the artefact `inspection.json`.

use serde::{Deserialize, Serialize};

use crate::fsio::Artefact;
use crate::models::ModelIdentity;

/// What `esr inspect` finds out about a model. Counts are exact integers; definitions: challenge sections A2 to A5.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inspection {
    /// Format version, [`Artefact::SCHEMA`] when written.
    pub schema: u64,
    /// Which model.
    pub model: ModelIdentity,
    /// Upscaling factor.
    pub scale: usize,
    /// LR input width in pixels that the counts hold for.
    pub input_width: usize,
    /// LR input height in pixels that the counts hold for.
    pub input_height: usize,
    /// Learnable values, biases included.
    pub parameters: u64,
    /// Multiply-adds by the hook counter of 2020–2023: convolutions without bias, plus one per activation output.
    pub flops_ntire2022: u64,
    /// Multiply-adds by fvcore, used from 2024 on.
    pub flops_fvcore: u64,
    /// Values put out by convolutions.
    pub activations: u64,
    /// Calls of convolutions.
    pub convolutions: u64,
    /// One row a layer, in order of execution.
    pub layers: Vec<LayerCost>,
}

/// The share of one layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerCost {
    /// Module path, as in the official key names.
    pub name: String,
    /// The operation, e.g. `conv3x3`.
    pub op: String,
    /// Output channels, height and width.
    pub output_chw: [usize; 3],
    /// Learnable values.
    pub parameters: u64,
    /// Its share of [`Inspection::flops_ntire2022`].
    pub flops_ntire2022: u64,
    /// Its share of [`Inspection::flops_fvcore`].
    pub flops_fvcore: u64,
    /// Its share of [`Inspection::activations`].
    pub activations: u64,
}

impl Artefact for Inspection {
    const WHAT: &'static str = "inspection";
    const SCHEMA: u64 = 1;
}
