//! Which model a number belongs to.

use serde::{Deserialize, Serialize};

/// Names the model behind an artefact, so that numbers of two models are never mixed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelIdentity {
    /// What people call it: the architecture with its parameters, e.g. `imdn:blocks=7`, or `bicubic`.
    pub architecture: String,
    /// The SHA-256 of its weights file, or `None` for a model without weights (an architecture alone, bicubic).
    pub weights_sha256: Option<String>,
}
