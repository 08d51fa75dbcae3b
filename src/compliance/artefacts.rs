//! What is judged, and whether it belongs together.

use std::path::Path;

use super::error::Error;
use crate::fsio;
use crate::graph::inspection::Inspection;
use crate::measure::Measurement;
use crate::metrics::evaluation::Evaluation;
use crate::models::ModelIdentity;

/// The artefacts of one model; what is absent is not measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Artefacts {
    /// Exact counts.
    pub inspection: Option<Inspection>,
    /// Quality.
    pub evaluation: Option<Evaluation>,
    /// Runtime and memory.
    pub measurement: Option<Measurement>,
}

impl Artefacts {
    /// Reads `inspection.json`, `evaluation.json` and `measurement.json` of a run directory; each may be absent.
    ///
    /// # Errors
    /// [`Error::NotARun`] if there is no such directory, [`Error::File`] if a file is there and cannot be read.
    pub fn from_run(run: &Path) -> Result<Self, Error> {
        if !run.is_dir() {
            let why = if run.exists() { "it is a file" } else { "there is nothing of that name" };
            return Err(Error::NotARun { path: run.to_path_buf(), why });
        }
        let present = |name: &str| Some(run.join(name)).filter(|path| path.exists());
        Self::from_files(
            present("inspection.json").as_deref(),
            present("evaluation.json").as_deref(),
            present("measurement.json").as_deref(),
        )
    }

    /// Reads the artefacts named.
    ///
    /// # Errors
    /// [`Error::File`] if one of them cannot be read.
    pub fn from_files(
        inspection: Option<&Path>,
        evaluation: Option<&Path>,
        measurement: Option<&Path>,
    ) -> Result<Self, Error> {
        Ok(Self {
            inspection: inspection.map(fsio::read_json).transpose()?,
            evaluation: evaluation.map(fsio::read_json).transpose()?,
            measurement: measurement.map(fsio::read_json).transpose()?,
        })
    }

    /// The one model all artefacts are of; `None` when there are none.
    pub(super) fn model(&self) -> Result<Option<&ModelIdentity>, Error> {
        let named = [
            ("inspection", self.inspection.as_ref().map(|artefact| &artefact.model)),
            ("evaluation", self.evaluation.as_ref().map(|artefact| &artefact.model)),
            ("measurement", self.measurement.as_ref().map(|artefact| &artefact.model)),
        ];
        let present: Vec<(&str, &ModelIdentity)> =
            named.into_iter().filter_map(|(what, model)| Some((what, model?))).collect();
        let Some((_, first)) = present.first() else {
            return Ok(None);
        };
        if present.iter().all(|(_, model)| model == first) {
            return Ok(Some(*first));
        }
        let list = |(what, model): &(&str, &ModelIdentity)| {
            let weights = model.weights_sha256.as_deref();
            format!("{what} of {} ({})", model.architecture, weights.unwrap_or("no weights"))
        };
        Err(Error::DifferentModels { models: present.iter().map(list).collect::<Vec<_>>().join(", ") })
    }
}

/// A model in a few words: its architecture and the beginning of its weights' hash.
pub(super) fn describe(model: &ModelIdentity) -> String {
    match model.weights_sha256.as_deref() {
        Some(hash) => format!("{} (weights {})", model.architecture, hash.get(..12).unwrap_or(hash)),
        None => format!("{} (no weights)", model.architecture),
    }
}
