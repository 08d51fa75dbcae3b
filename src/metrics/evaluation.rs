//! Quality of a model over a set of images: the artefact `evaluation.json`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Error, Scores};
use crate::fsio::Artefact;
use crate::imaging::RgbImage;
use crate::models::ModelIdentity;

/// Per-image and mean quality of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Format version, [`Artefact::SCHEMA`] when written.
    pub schema: u64,
    /// Which model.
    pub model: ModelIdentity,
    /// What ran it; nothing for a model without a network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub computed_by: Option<ComputedBy>,
    /// Upscaling factor.
    pub scale: usize,
    /// Pixels cut from every side before comparing.
    pub border: usize,
    /// One entry an image, in order of names.
    pub images: Vec<ImageScore>,
    /// Arithmetic means over the images (dB are averaged as dB).
    pub mean: MeanScore,
}

/// What ran a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComputedBy {
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// The engine's name.
    pub engine: String,
    /// Number format of products, e.g. `f32`.
    pub precision: String,
    /// On a GPU, whether kernels were `fixed` by shapes or the `fastest` by a trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernels: Option<String>,
}

impl fmt::Display for ComputedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} engine on {} in {}", self.engine, self.device, self.precision)?;
        match &self.kernels {
            Some(kernels) => write!(f, ", {kernels} kernels"),
            None => Ok(()),
        }
    }
}

/// Quality of one image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageScore {
    /// The HR file's stem.
    pub name: String,
    /// HR width in pixels after mod-cropping.
    pub width: usize,
    /// HR height in pixels after mod-cropping.
    pub height: usize,
    /// PSNR over RGB in dB; `None` (JSON `null`) when the images are identical and it is infinite.
    pub psnr_rgb_db: Option<f64>,
    /// SSIM over RGB.
    pub ssim_rgb: f64,
    /// PSNR of the luma channel in dB; `None` when identical.
    pub psnr_y_db: Option<f64>,
    /// SSIM of the luma channel.
    pub ssim_y: f64,
    /// Whether SR and HR agree in every compared RGB value.
    pub identical: bool,
    /// SHA-256 of the decoded HR image before mod-cropping: of `WxH:RGB:` followed by the RGB bytes.
    pub hr_pixels_sha256: String,
}

/// Means over a set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeanScore {
    /// Mean of the per-image dB values; `None` when any of them is infinite.
    pub psnr_rgb_db: Option<f64>,
    /// Mean SSIM over RGB.
    pub ssim_rgb: f64,
    /// Mean of the per-image luma dB values; `None` when any of them is infinite.
    pub psnr_y_db: Option<f64>,
    /// Mean SSIM of the luma channel.
    pub ssim_y: f64,
}

impl Artefact for Evaluation {
    const WHAT: &'static str = "evaluation";
    const SCHEMA: u64 = 1;
}

impl ImageScore {
    /// The entry of one image. `hr` is the mod-cropped original that was compared, `hr_pixels_sha256` the hash of the original before
    /// cropping ([`RgbImage::pixels_sha256`]).
    pub fn new(name: String, hr: &RgbImage, hr_pixels_sha256: String, scores: Scores) -> Self {
        Self {
            name,
            width: hr.width(),
            height: hr.height(),
            psnr_rgb_db: scores.psnr_rgb_db,
            ssim_rgb: scores.ssim_rgb,
            psnr_y_db: scores.psnr_y_db,
            ssim_y: scores.ssim_y,
            identical: scores.identical,
            hr_pixels_sha256,
        }
    }
}

impl Evaluation {
    /// The evaluation of a model over `images`, sorted by name here, with their means as the challenge takes them: of the dB values, not of the errors.
    ///
    /// # Errors
    /// [`Error::NoImages`] when there are none.
    pub fn from_scores(
        model: ModelIdentity,
        scale: usize,
        border: usize,
        mut images: Vec<ImageScore>,
    ) -> Result<Self, Error> {
        if images.is_empty() {
            return Err(Error::NoImages);
        }
        images.sort_by(|a, b| a.name.cmp(&b.name));
        let mean = MeanScore {
            psnr_rgb_db: mean_of(images.iter().map(|image| image.psnr_rgb_db)),
            ssim_rgb: images.iter().map(|image| image.ssim_rgb).sum::<f64>() / images.len() as f64,
            psnr_y_db: mean_of(images.iter().map(|image| image.psnr_y_db)),
            ssim_y: images.iter().map(|image| image.ssim_y).sum::<f64>() / images.len() as f64,
        };
        Ok(Self { schema: Self::SCHEMA, model, computed_by: None, scale, border, images, mean })
    }
}

/// The arithmetic mean, or `None` when a value is missing: an infinite dB value has no finite mean.
fn mean_of(values: impl ExactSizeIterator<Item = Option<f64>>) -> Option<f64> {
    let count = values.len() as f64;
    values.sum::<Option<f64>>().map(|sum| sum / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, db: Option<f64>, ssim: f64) -> ImageScore {
        let hr = RgbImage::new(8, 4, vec![0; 96]).unwrap();
        let scores = Scores {
            psnr_rgb_db: db,
            ssim_rgb: ssim,
            psnr_y_db: Some(40.0),
            ssim_y: ssim,
            identical: db.is_none(),
        };
        ImageScore::new(name.to_owned(), &hr, hr.pixels_sha256(), scores)
    }

    fn evaluation(images: Vec<ImageScore>) -> Result<Evaluation, Error> {
        let model = ModelIdentity { architecture: "bicubic".to_owned(), weights_sha256: None };
        Evaluation::from_scores(model, 4, 4, images)
    }

    #[test]
    fn decibels_are_averaged_as_decibels() {
        let found = evaluation(vec![entry("0802", Some(30.0), 0.5), entry("0801", Some(20.0), 1.0)]).unwrap();
        assert_eq!(found.images[0].name, "0801");
        assert_eq!((found.images[0].width, found.images[0].height), (8, 4));
        assert_eq!(
            found.mean,
            MeanScore { psnr_rgb_db: Some(25.0), ssim_rgb: 0.75, psnr_y_db: Some(40.0), ssim_y: 0.75 }
        );
    }

    #[test]
    fn an_infinite_value_leaves_no_mean_and_no_images_is_an_error() {
        let found = evaluation(vec![entry("a", Some(30.0), 0.5), entry("b", None, 1.0)]).unwrap();
        assert_eq!((found.mean.psnr_rgb_db, found.mean.psnr_y_db), (None, Some(40.0)));
        assert_eq!(evaluation(Vec::new()), Err(Error::NoImages));
    }

    #[test]
    fn it_is_read_back_as_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("evaluation.json");
        let written = evaluation(vec![entry("a", None, 1.0)]).unwrap();
        crate::fsio::write_json(&path, &written).unwrap();
        assert_eq!(crate::fsio::read_json::<Evaluation>(&path).unwrap(), written);
        assert!(std::fs::read_to_string(&path).unwrap().contains("\"psnr_rgb_db\": null"));
    }
}
