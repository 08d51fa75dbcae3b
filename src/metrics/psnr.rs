//! Peak signal-to-noise ratio.

use super::Error;
use super::score::same_size;
use super::view::View;
use crate::imaging::{RgbImage, luma};

/// PSNR in dB over all pixels and the three RGB channels, without `border` pixels on every side; infinite for identical images.
///
/// `calculate_psnr` of the NTIRE kit: `20 log10(255 / sqrt(mse))` in f64.
///
/// # Errors
/// [`Error::SizeMismatch`] or [`Error::TooSmall`].
pub fn psnr_rgb(sr: &RgbImage, hr: &RgbImage, border: usize) -> Result<f64, Error> {
    psnr_of(sr.pixels(), hr.pixels(), same_size(sr, hr)?, 3, border)
}

/// PSNR in dB of the luma channel (rounded to 8 bits, see [`luma`]); otherwise as [`psnr_rgb`].
///
/// # Errors
/// As [`psnr_rgb`].
pub fn psnr_y(sr: &RgbImage, hr: &RgbImage, border: usize) -> Result<f64, Error> {
    psnr_of(&luma(sr), &luma(hr), same_size(sr, hr)?, 1, border)
}

/// PSNR of two arrays of interleaved values.
pub(super) fn psnr_of(
    a: &[u8],
    b: &[u8],
    size: (usize, usize),
    channels: usize,
    border: usize,
) -> Result<f64, Error> {
    let a = View::new("PSNR", a, size, channels, border, 1)?;
    let b = View::new("PSNR", b, size, channels, border, 1)?;
    // Integer sums are exact, as numpy's f64 sums of these integers are.
    let squares: u64 = (0..a.height).map(|y| row_squares(a.row(y), b.row(y))).sum();
    let mse = squares as f64 / (a.width * a.height * channels) as f64;
    Ok(if squares == 0 { f64::INFINITY } else { 20.0 * (255.0 / mse.sqrt()).log10() })
}

fn row_squares(a: &[u8], b: &[u8]) -> u64 {
    let square = |(&a, &b): (&u8, &u8)| u32::from(a.abs_diff(b)) * u32::from(a.abs_diff(b));
    // A piece of 4096 values sums to at most 4096 * 255^2, which fits u32.
    let pieces = a.chunks(4096).zip(b.chunks(4096));
    pieces.map(|(a, b)| u64::from(a.iter().zip(b).map(square).sum::<u32>())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_value_gives_the_textbook_number() {
        let black = RgbImage::new(10, 10, vec![0; 300]).unwrap();
        let mut pixels = vec![0; 300];
        pixels[(5 * 10 + 5) * 3] = 30;
        let other = RgbImage::new(10, 10, pixels).unwrap();
        // mse = 900 / 300 = 3.
        assert!((psnr_rgb(&black, &other, 0).unwrap() - 10.0 * (65025.0f64 / 3.0).log10()).abs() < 1e-12);
        // Cutting 4 leaves 2x2 pixels, 12 values: mse = 75.
        assert!((psnr_rgb(&black, &other, 4).unwrap() - 10.0 * (65025.0f64 / 75.0).log10()).abs() < 1e-12);
        assert_eq!(psnr_rgb(&black, &black, 4).unwrap(), f64::INFINITY);
        assert!(psnr_rgb(&black, &black, 5).is_err());
    }
}
