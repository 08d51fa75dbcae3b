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
use crate::overlap::overlapped;

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
    // Decoding, scoring and saving keep few threads busy; they go on beside the inference of other images.
    overlapped(
        pairs.len(),
        |index| Ok((imaging::decode_file(&pairs[index].lr)?, imaging::decode_file(&pairs[index].hr)?)),
        |index, (lr, hr)| {
            let failed = |source| Error::Upscale { path: pairs[index].lr.clone(), source: Box::new(source) };
            let sr = upscaler.upscale(&lr.image).map_err(failed)?;
            Ok((sr, hr.image, lr.was_grey || hr.was_grey))
        },
        |index, (sr, hr, was_grey)| {
            let pair = &pairs[index];
            let failed = |source| Error::Compare { lr: pair.lr.clone(), hr: pair.hr.clone(), source };
            let score = score(&pair.name, &sr, &hr, scale).map_err(failed)?;
            if let Some(folder) = save {
                imaging::write_png(&folder.join(format!("{}.png", pair.name)), &sr)?;
            }
            Ok((score, was_grey))
        },
        |index, (score, was_grey)| {
            let name = &pairs[index].name;
            if was_grey {
                grey.push(name.clone());
            }
            scores.push(score);
            done(name);
            Ok::<_, Error>(())
        },
    )?;
    let evaluation = Evaluation::from_scores(model, scale, scale, scores)?;
    Ok(Evaluated {
        evaluation: Evaluation { computed_by: upscaler.computed_by().cloned(), ..evaluation },
        grey,
    })
}

/// Scores one SR image.
fn score(name: &str, sr: &RgbImage, hr: &RgbImage, scale: usize) -> Result<ImageScore, metrics::Error> {
    let cropped = metrics::mod_crop(hr, scale)?;
    let scores = metrics::score(sr, &cropped, scale)?;
    Ok(ImageScore::new(name.to_owned(), &cropped, hr.pixels_sha256(), scores))
}
