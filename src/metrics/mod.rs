//! Image quality: PSNR and SSIM exactly as the challenge computes them.
//!
//! From a network's floating point output to numbers: [`quantise`], [`mod_crop`] of the HR image, [`score`], and [`Evaluation::from_scores`] over
//! a set. It runs no model and reads no file. The important invariant: both images of a comparison have the same size, are 8-bit
//! RGB, and lose the same border.

mod error;
pub mod evaluation;
mod psnr;
mod quantise;
mod score;
mod ssim;
mod view;

pub use error::Error;
pub use evaluation::{ComputedBy, Evaluation, ImageScore, MeanScore};
pub use psnr::{psnr_rgb, psnr_y};
pub use quantise::quantise;
pub use score::{Scores, mod_crop, score};
pub use ssim::{ssim_rgb, ssim_y};
