//! Proof by measurement that a collapsed model computes what the expanded one does.

use serde::{Deserialize, Serialize};

use super::EngineError;
use super::reference::{Float, Network};
use super::upscaler::to_nchw;
use crate::array::Array;
use crate::fsio::Artefact;
use crate::graph::Graph;
use crate::graph::collapse::{Collapsed, collapse};
use crate::graph::fold::{FoldError, Named};
use crate::imaging::RgbImage;
use crate::models::{Architecture, LoadError, Model};
use crate::random::Random;
use crate::weights::StateDict;

/// The largest difference that f32 rounding explains, relative to the data range. Measured on IMDN with 7 blocks and random weights: 9.5e-7; PyTorch's
/// own layouts differ by up to 5e-6.
pub const TOLERANCE_F32: f64 = 2e-5;

/// The same for f64, where the fold itself is made in f64 too. Measured on the same model: 1.9e-15.
pub const TOLERANCE_F64: f64 = 1e-12;

/// Random inputs tried, and their size in pixels: odd, and not square, so that a swapped axis shows.
const RANDOM_INPUTS: u64 = 3;
const RANDOM_SIZE: (usize, usize) = (37, 26);

/// Key of the random stream for inputs.
const STREAM: u64 = 0xe9_0a1;

/// Why models could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A network could not run.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Folding failed.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// The model has no weights.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// A collapsed model that has not been written yet.
#[derive(Clone, Debug)]
pub struct CollapsedModel {
    /// Its architecture.
    pub architecture: Architecture,
    /// Its weights: folded in f64, rounded once to f32.
    pub weights: StateDict,
    /// How it compares with the expanded model.
    pub proof: CollapseProof,
}

/// Collapses a model and compares both forms on random images and on the real LR images given.
///
/// # Errors
/// [`Error`] when the model has no weights or either form cannot run.
pub fn collapse_with_proof(model: &Model, real: &[RgbImage]) -> Result<CollapsedModel, Error> {
    let weights = model.weights()?;
    let collapsed = collapse(&model.graph);
    let architecture = model.architecture.collapsed();
    let names = [model.architecture.to_string(), architecture.to_string()];
    let proof = compare(names, &model.graph, &collapsed, weights, real)?;
    Ok(CollapsedModel { architecture, weights: collapsed_weights(&collapsed, weights)?, proof })
}

/// The largest absolute differences between both forms: the artefact `collapse.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CollapseProof {
    /// Format version.
    pub schema: u64,
    /// The expanded architecture.
    pub expanded: String,
    /// The collapsed architecture.
    pub collapsed: String,
    /// Parameters before.
    pub parameters_expanded: u64,
    /// Parameters after.
    pub parameters_collapsed: u64,
    /// The largest of the f32 differences below, in units of the data range (1 is white).
    pub max_abs_difference: f64,
    /// f32, random images.
    pub random_f32: f64,
    /// f64, random images.
    pub random_f64: f64,
    /// f32, real images; `None` if none were given.
    pub real_f32: Option<f64>,
    /// f64, real images; `None` if none were given.
    pub real_f64: Option<f64>,
    /// How many real images.
    pub real_images: usize,
    /// What f32 may differ by.
    pub tolerance_f32: f64,
    /// What f64 may differ by.
    pub tolerance_f64: f64,
    /// Whether every difference is within its tolerance.
    pub equal: bool,
}

impl Artefact for CollapseProof {
    const WHAT: &'static str = "collapse proof";
    const SCHEMA: u64 = 1;
}

/// Runs both forms on random and on real images, in f32 and in f64.
///
/// # Errors
/// [`Error`] when either form cannot run. A difference above the tolerance is not an error here: see [`CollapseProof::equal`].
pub fn compare(
    names: [String; 2],
    expanded: &Graph,
    collapsed: &Collapsed,
    weights: &StateDict,
    real: &[RgbImage],
) -> Result<CollapseProof, Error> {
    let range = expanded.data_range();
    let (width, height) = RANDOM_SIZE;
    let random: Vec<Array<f32>> = (0..RANDOM_INPUTS)
        .map(|index| {
            let mut random = Random::new(&[STREAM, index]);
            Array::filled([1, 3, height, width], 0.0).map(|_: &f32| random.uniform() as f32 * range)
        })
        .collect();
    let real: Vec<Array<f32>> = real.iter().map(|image| to_nchw(&[image], range)).collect();
    let wide: Named<f64> =
        weights.iter().map(|(key, array)| (key.clone(), array.map(|&v| f64::from(v)))).collect();
    // What is stored is folded in f64 and rounded once; that is what f32 is compared with.
    let folded_f64 = collapsed.weights(&wide)?;
    let folded_f32 = rounded(&folded_f64);
    let nets_f32 =
        [Network::new(expanded.clone(), weights)?, Network::new(collapsed.graph.clone(), &folded_f32)?];
    let nets_f64 =
        [Network::new(expanded.clone(), &wide)?, Network::new(collapsed.graph.clone(), &folded_f64)?];
    let f32_of = |inputs: &[Array<f32>]| largest(&nets_f32, inputs.iter().cloned(), range);
    let f64_of =
        |inputs: &[Array<f32>]| largest(&nets_f64, inputs.iter().map(|x| x.map(|&v| f64::from(v))), range);
    let (random_f32, random_f64) = (f32_of(&random)?, f64_of(&random)?);
    let (real_f32, real_f64) = match real.is_empty() {
        true => (None, None),
        false => (Some(f32_of(&real)?), Some(f64_of(&real)?)),
    };
    let max_abs_difference = random_f32.max(real_f32.unwrap_or(0.0));
    let worst_f64 = random_f64.max(real_f64.unwrap_or(0.0));
    let count = |graph: &Graph| graph.convolutions().map(|(_, conv)| conv.parameter_count()).sum();
    let [expanded_name, collapsed_name] = names;
    Ok(CollapseProof {
        schema: CollapseProof::SCHEMA,
        expanded: expanded_name,
        collapsed: collapsed_name,
        parameters_expanded: count(expanded),
        parameters_collapsed: count(&collapsed.graph),
        max_abs_difference,
        random_f32,
        random_f64,
        real_f32,
        real_f64,
        real_images: real.len(),
        tolerance_f32: TOLERANCE_F32,
        tolerance_f64: TOLERANCE_F64,
        equal: max_abs_difference <= TOLERANCE_F32 && worst_f64 <= TOLERANCE_F64,
    })
}

/// The weights that are stored: folded in f64, rounded once to f32.
///
/// # Errors
/// [`FoldError`] when a tensor is missing or misshapen.
pub fn collapsed_weights(collapsed: &Collapsed, weights: &StateDict) -> Result<StateDict, FoldError> {
    let wide: Named<f64> =
        weights.iter().map(|(key, array)| (key.clone(), array.map(|&v| f64::from(v)))).collect();
    Ok(rounded(&collapsed.weights(&wide)?))
}

fn rounded(wide: &Named<f64>) -> StateDict {
    wide.iter().map(|(key, array)| (key.clone(), array.map(|&v| v as f32))).collect()
}

/// The largest absolute difference of two networks' outputs over all inputs; infinite if one is not a number.
fn largest<T: Float>(
    [a, b]: &[Network<T>; 2],
    inputs: impl Iterator<Item = Array<T>>,
    range: f32,
) -> Result<f64, EngineError> {
    let mut worst = 0.0f64;
    for input in inputs {
        let (a, b) = (a.forward(&input)?, b.forward(&input)?);
        for (a, b) in a.data().iter().zip(b.data()) {
            let difference = (a.wide() - b.wide()).abs();
            worst = worst.max(if difference.is_nan() { f64::INFINITY } else { difference });
        }
    }
    Ok(worst / f64::from(range))
}
