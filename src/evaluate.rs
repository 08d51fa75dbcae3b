//! Quality of a model over a set of image pairs.
//!
//! It reads images, upscales, compares and optionally saves; definitions are in [`crate::metrics`]. No image is left out: one that cannot be read or
//! does not fit stops the evaluation with its name.

use std::path::{Path, PathBuf};

use crate::dataset::Pair;
use crate::engine::upscaler::{UpscaleError, Upscaler};
use crate::imaging::{self, RgbImage};
use crate::metrics::{self, Evaluation, ImageScore};
use crate::models::ModelIdentity;

/// Why an evaluation stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An image could not be read or written.
    #[error(transparent)]
    Imaging(#[from] imaging::Error),
    /// The model could not upscale an image.
    #[error("cannot upscale `{path}`: {source}")]
    Upscale {
        /// The LR image.
        path: PathBuf,
        /// Why.
        source: Box<UpscaleError>,
    },
    /// SR and HR cannot be compared.
    #[error("cannot compare the SR image of `{lr}` with `{hr}`: {source}")]
    Compare {
        /// The LR image.
        lr: PathBuf,
        /// The HR image.
        hr: PathBuf,
        /// Why.
        source: metrics::Error,
    },
    /// There is nothing to evaluate.
    #[error(transparent)]
    Metrics(#[from] metrics::Error),
}

/// What an evaluation found besides the scores.
#[derive(Clone, Debug)]
pub struct Evaluated {
    /// The scores.
    pub evaluation: Evaluation,
    /// Names of images that were grey and were replicated to RGB, as the official reader does.
    pub grey: Vec<String>,
}

/// Upscales the LR image of every pair and scores it against the HR image, mod-cropped by the scale and without a border of `scale` pixels.
///
/// SR images go to `save` as `<HR stem>.png`. `done` hears the name of every finished image.
///
/// # Errors
/// [`Error`] naming the first image that fails.
pub fn evaluate(
    model: ModelIdentity,
    upscaler: &Upscaler,
    pairs: &[Pair],
    save: Option<&Path>,
    done: &mut dyn FnMut(&str),
) -> Result<Evaluated, Error> {
    let scale = upscaler.scale();
    let mut scores = Vec::with_capacity(pairs.len());
    let mut grey = Vec::new();
    for pair in pairs {
        let lr = imaging::decode_file(&pair.lr)?;
        let hr = imaging::decode_file(&pair.hr)?;
        if lr.was_grey || hr.was_grey {
            grey.push(pair.name.clone());
        }
        let sr = upscaler.upscale(&lr.image);
        let sr = sr.map_err(|source| Error::Upscale { path: pair.lr.clone(), source: Box::new(source) })?;
        let score = score(&pair.name, &sr, &hr.image, scale);
        let compare = |source| Error::Compare { lr: pair.lr.clone(), hr: pair.hr.clone(), source };
        scores.push(score.map_err(compare)?);
        if let Some(folder) = save {
            imaging::write_png(&folder.join(format!("{}.png", pair.name)), &sr)?;
        }
        done(&pair.name);
    }
    Ok(Evaluated { evaluation: Evaluation::from_scores(model, scale, scale, scores)?, grey })
}

/// Scores one SR image.
fn score(name: &str, sr: &RgbImage, hr: &RgbImage, scale: usize) -> Result<ImageScore, metrics::Error> {
    let cropped = metrics::mod_crop(hr, scale)?;
    let scores = metrics::score(sr, &cropped, scale)?;
    Ok(ImageScore::new(name.to_owned(), &cropped, hr.pixels_sha256(), scores))
}
