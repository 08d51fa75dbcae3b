//! A model ready to use: architecture, graph, and weights where it has any.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Architecture, ModelIdentity, ParseError, UnknownModel, recognise};
use crate::graph::{BuildError, Graph};
use crate::weights::{self, StateDict, StrictError};

/// The metadata key under which our safetensors files name their architecture.
const ARCHITECTURE_KEY: &str = "architecture";

/// A model and where it comes from.
#[derive(Clone, Debug)]
pub struct Model {
    /// Which architecture.
    pub architecture: Architecture,
    /// Its graph.
    pub graph: Graph,
    /// Its weights; `None` for an architecture named on the command line.
    pub weights: Option<StateDict>,
    /// Its name in artefacts.
    pub identity: ModelIdentity,
    /// What a reader should know about how it was loaded.
    pub notes: Vec<String>,
}

/// Why a model could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Neither a file nor an architecture.
    #[error("there is no file `{spec}`, and as an architecture: {source}")]
    Neither {
        /// What was given.
        spec: String,
        /// Why it is no architecture.
        source: ParseError,
    },
    /// The parameters contradict each other.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The file could not be read.
    #[error(transparent)]
    Weights(#[from] weights::Error),
    /// The tensors are of no known architecture.
    #[error("`{path}`: {source}")]
    Unknown {
        /// The file.
        path: PathBuf,
        /// What was found.
        source: UnknownModel,
    },
    /// The file names an architecture that this program does not know.
    #[error("`{path}` names its architecture: {source}")]
    Named {
        /// The file.
        path: PathBuf,
        /// What is wrong with the name.
        source: ParseError,
    },
    /// The tensors do not fit the architecture.
    #[error("`{path}` does not fit {architecture}: {source}")]
    Strict {
        /// The file.
        path: PathBuf,
        /// The architecture it was recognised as.
        architecture: String,
        /// Every tensor that is missing, unexpected or misshapen.
        source: Box<StrictError>,
    },
    /// Weights are needed, and the model has none.
    #[error("`{0}` is an architecture without weights: name a .pth, .pt or .safetensors file instead")]
    NoWeights(String),
}

impl Model {
    /// Loads what a MODEL argument names: a weights file, an architecture, or `bicubic`. An existing file wins.
    ///
    /// # Errors
    /// [`LoadError`]
    pub fn load(spec: &str) -> Result<Self, LoadError> {
        let path = Path::new(spec);
        if path.exists() {
            return Self::from_file(path);
        }
        let architecture = spec.parse().map_err(|source| LoadError::Neither { spec: spec.into(), source })?;
        Self::from_architecture(architecture)
    }

    /// A model without weights.
    ///
    /// # Errors
    /// [`LoadError::Build`] when the parameters contradict each other.
    pub fn from_architecture(architecture: Architecture) -> Result<Self, LoadError> {
        let identity = ModelIdentity { architecture: architecture.to_string(), weights_sha256: None };
        Ok(Self { graph: architecture.graph()?, architecture, weights: None, identity, notes: Vec::new() })
    }

    /// A model from a weights file; its architecture is the one the file names, or is recognised from the tensors.
    ///
    /// # Errors
    /// [`LoadError`]
    pub fn from_file(path: &Path) -> Result<Self, LoadError> {
        let checkpoint = weights::read(path)?;
        let architecture: Architecture = match checkpoint.metadata.get(ARCHITECTURE_KEY) {
            Some(name) => {
                name.parse().map_err(|source| LoadError::Named { path: path.to_path_buf(), source })?
            }
            None => {
                let tensors = checkpoint.tensors.iter();
                recognise(&tensors.map(|(name, array)| (name.as_str(), array.shape())).collect())
                    .map_err(|source| LoadError::Unknown { path: path.to_path_buf(), source })?
            }
        };
        let graph = architecture.graph()?;
        let parameters = graph.parameters();
        let expected = parameters.iter().map(|(key, shape)| (key.as_str(), shape.as_slice()));
        weights::strict(expected, &checkpoint.tensors).map_err(|source| LoadError::Strict {
            path: path.to_path_buf(),
            architecture: architecture.to_string(),
            source: Box::new(source),
        })?;
        let identity =
            ModelIdentity { architecture: architecture.to_string(), weights_sha256: Some(checkpoint.sha256) };
        Ok(Self { graph, architecture, weights: Some(checkpoint.tensors), identity, notes: checkpoint.notes })
    }

    /// The weights.
    ///
    /// # Errors
    /// [`LoadError::NoWeights`] when the model is an architecture alone.
    pub fn weights(&self) -> Result<&StateDict, LoadError> {
        self.weights.as_ref().ok_or_else(|| LoadError::NoWeights(self.identity.architecture.clone()))
    }
}

/// Writes weights with the name of their architecture, so that loading needs no guess. Same inputs, same bytes.
///
/// # Errors
/// When the file cannot be written.
pub fn save(path: &Path, architecture: &Architecture, tensors: &StateDict) -> Result<(), weights::Error> {
    let metadata = BTreeMap::from([(ARCHITECTURE_KEY.to_owned(), architecture.to_string())]);
    weights::write_safetensors(path, tensors, &metadata)
}
