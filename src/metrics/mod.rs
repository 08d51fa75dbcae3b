//! Image quality: PSNR and SSIM exactly as the challenge computes them.

pub mod evaluation;
