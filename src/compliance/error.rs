//! Why artefacts cannot be judged.

use std::path::PathBuf;

/// Why artefacts cannot be judged at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An artefact could not be read.
    #[error(transparent)]
    File(#[from] crate::fsio::Error),
    /// The run directory is not there.
    #[error(
        "`{path}` is not a run directory: {why}; give the directory that holds inspection.json, evaluation.json and measurement.json"
    )]
    NotARun {
        /// What was given.
        path: PathBuf,
        /// What it is instead.
        why: &'static str,
    },
    /// The artefacts belong to different models.
    #[error(
        "the artefacts are of different models and cannot be judged together: {models}; make all of them with the same weights"
    )]
    DifferentModels {
        /// Each artefact with its model.
        models: String,
    },
    /// An artefact contradicts itself, so it was changed after it was written or made by something else.
    #[error("the {artefact} contradicts itself: {what}; make it again")]
    Contradiction {
        /// Which one.
        artefact: &'static str,
        /// What does not fit together.
        what: String,
    },
}
