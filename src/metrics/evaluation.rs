//! Quality of a model over a set of images: the artefact `evaluation.json`.

use serde::{Deserialize, Serialize};

use crate::fsio::Artefact;
use crate::models::ModelIdentity;

/// Per-image and mean quality of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Format version, [`Artefact::SCHEMA`] when written.
    pub schema: u64,
    /// Which model.
    pub model: ModelIdentity,
    /// Upscaling factor.
    pub scale: usize,
    /// Pixels cut from every side before comparing.
    pub border: usize,
    /// One entry an image, in order of names.
    pub images: Vec<ImageScore>,
    /// Arithmetic means over the images (dB are averaged as dB).
    pub mean: MeanScore,
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
