//! Structural similarity (Z. Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004) as the challenge computes it.

use rayon::prelude::*;

use super::Error;
use super::score::same_size;
use super::view::View;
use crate::imaging::{RgbImage, luma};

/// Side of the Gaussian window.
pub(super) const WINDOW: usize = 11;
/// Standard deviation of the Gaussian window in pixels.
const SIGMA: f64 = 1.5;
/// Stabilisers of the 2004 paper: (0.01 * 255)^2 and (0.03 * 255)^2.
const C1: f64 = 6.5025;
const C2: f64 = 58.5225;

/// Interleaved values and rows of one tile. Tiles are fixed so that the sum is the same for every number of threads; the running rows of one tile
/// (11 x 4 x 768 f64) stay in a core's cache.
const TILE_VALUES: usize = 768;
const TILE_ROWS: usize = 64;

/// Mean SSIM over pixels and the three RGB channels, without `border` pixels on every side.
///
/// `calculate_ssim` of the NTIRE kit: 11x11 Gaussian window of sigma 1.5, only where it lies inside the image, f64.
///
/// # Errors
/// [`Error::SizeMismatch`], or [`Error::TooSmall`] when less than 11x11 pixels are left.
pub fn ssim_rgb(sr: &RgbImage, hr: &RgbImage, border: usize) -> Result<f64, Error> {
    ssim_of(sr.pixels(), hr.pixels(), same_size(sr, hr)?, 3, border)
}

/// Mean SSIM of the luma channel (rounded to 8 bits, see [`luma`]); otherwise as [`ssim_rgb`].
///
/// # Errors
/// As [`ssim_rgb`].
pub fn ssim_y(sr: &RgbImage, hr: &RgbImage, border: usize) -> Result<f64, Error> {
    ssim_of(&luma(sr), &luma(hr), same_size(sr, hr)?, 1, border)
}

/// Mean SSIM of two arrays of interleaved values. All channels have as many pixels, so the mean over everything is the mean over channels.
pub(super) fn ssim_of(
    a: &[u8],
    b: &[u8],
    size: (usize, usize),
    channels: usize,
    border: usize,
) -> Result<f64, Error> {
    let a = View::new("SSIM", a, size, channels, border, WINDOW)?;
    let b = View::new("SSIM", b, size, channels, border, WINDOW)?;
    let values = (a.width - WINDOW + 1) * channels;
    let rows = a.height - WINDOW + 1;
    let (across, down) = (values.div_ceil(TILE_VALUES), rows.div_ceil(TILE_ROWS));
    let sums: Vec<f64> = (0..across * down)
        .into_par_iter()
        .map(|tile| {
            let (x, y) = (tile % across * TILE_VALUES, tile / across * TILE_ROWS);
            tile_sum(a, b, (x, TILE_VALUES.min(values - x)), (y, TILE_ROWS.min(rows - y)))
        })
        .collect();
    Ok(sums.iter().sum::<f64>() / (values * rows) as f64)
}

/// The normalised Gaussian; it is symmetric, so six of its eleven values suffice: distance 5 to distance 0.
fn half_window() -> [f64; 6] {
    let weight = |distance: usize| (-((5 - distance) as f64).powi(2) / (2.0 * SIGMA * SIGMA)).exp();
    let weights = [0, 1, 2, 3, 4, 5].map(weight);
    let total = weights[5] + 2.0 * (weights[0] + weights[1] + weights[2] + weights[3] + weights[4]);
    weights.map(|weight| weight / total)
}

/// The window's weighted sum of eleven values around the middle one; `at(k)` gives the k-th.
#[inline(always)]
fn weigh(window: &[f64; 6], at: impl Fn(usize) -> f64) -> f64 {
    let mut sum = window[5] * at(5);
    for (k, weight) in window.iter().enumerate().take(5) {
        sum += weight * (at(k) + at(10 - k));
    }
    sum
}

/// The sum of the SSIM map over a tile: `x` and `y` are its first value and row and how many there are.
///
/// With s = a + b and d = a - b, four filtered maps (of s, d, s^2, d^2) give all that SSIM needs: E[a^2] + E[b^2] = (E[s^2] + E[d^2]) / 2 and
/// E[ab] = (E[s^2] - E[d^2]) / 4. Squares of integers are exact, so identical images give exactly 1.
fn tile_sum(a: View<'_>, b: View<'_>, x: (usize, usize), y: (usize, usize)) -> f64 {
    let window = half_window();
    let (first, length) = x;
    let reach = (WINDOW - 1) * a.channels;
    let mut sources = [const { Vec::new() }; 4];
    // The last eleven rows, filtered along the row.
    let mut ring = vec![[(); 4].map(|()| vec![0f64; length]); WINDOW];
    let mut total = 0.0;
    for row in 0..y.1 + WINDOW - 1 {
        let span = first..first + length + reach;
        let (a_row, b_row) = (&a.row(y.0 + row)[span.clone()], &b.row(y.0 + row)[span]);
        sources.iter_mut().for_each(Vec::clear);
        let [sums, differences, square_sums, square_differences] = &mut sources;
        for (&a, &b) in a_row.iter().zip(b_row) {
            let (s, d) = (f64::from(i32::from(a) + i32::from(b)), f64::from(i32::from(a) - i32::from(b)));
            sums.push(s);
            differences.push(d);
            square_sums.push(s * s);
            square_differences.push(d * d);
        }
        for (filtered, source) in ring[row % WINDOW].iter_mut().zip(&sources) {
            // Eleven slices of one length let the compiler drop the bounds checks and vectorise.
            let shifted: [&[f64]; WINDOW] = std::array::from_fn(|k| &source[k * a.channels..][..length]);
            for (i, out) in filtered.iter_mut().enumerate() {
                *out = weigh(&window, |k| shifted[k][i]);
            }
        }
        if row + 1 < WINDOW {
            continue;
        }
        let map = |map: usize| -> [&[f64]; WINDOW] {
            std::array::from_fn(|k| &ring[(row + 1 + k) % WINDOW][map][..length])
        };
        let (s, d, ss, dd) = (map(0), map(1), map(2), map(3));
        for i in 0..length {
            let (s, d) = (weigh(&window, |k| s[k][i]), weigh(&window, |k| d[k][i]));
            let (ss, dd) = (weigh(&window, |k| ss[k][i]), weigh(&window, |k| dd[k][i]));
            let (mean_a, mean_b) = ((s + d) / 2.0, (s - d) / 2.0);
            let product = mean_a * mean_b;
            let squares = mean_a * mean_a + mean_b * mean_b;
            let covariance = (ss - dd) / 4.0 - product;
            let variances = (ss + dd) / 2.0 - squares;
            total += ((2.0 * product + C1) * (2.0 * covariance + C2)) / ((squares + C1) * (variances + C2));
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::testdata::Bytes;
    use proptest::prelude::*;

    /// The slow twin: the definition with a full 11x11 window, one channel and one pixel after the other.
    fn ssim_plain(a: &RgbImage, b: &RgbImage, border: usize) -> f64 {
        let gaussian: Vec<f64> = (-5i32..=5).map(|d| (-f64::from(d * d) / (2.0 * 1.5 * 1.5)).exp()).collect();
        let total: f64 = gaussian.iter().sum();
        let (mut sum, mut count) = (0.0, 0);
        for channel in 0..3 {
            for y in border..a.height() - border - 10 {
                for x in border..a.width() - border - 10 {
                    let (mut ea, mut eb, mut eaa, mut ebb, mut eab) = (0.0, 0.0, 0.0, 0.0, 0.0);
                    for (j, wy) in gaussian.iter().enumerate() {
                        for (i, wx) in gaussian.iter().enumerate() {
                            let at = ((y + j) * a.width() + x + i) * 3 + channel;
                            let (w, va, vb) = (
                                wy * wx / (total * total),
                                f64::from(a.pixels()[at]),
                                f64::from(b.pixels()[at]),
                            );
                            ea += w * va;
                            eb += w * vb;
                            eaa += w * va * va;
                            ebb += w * vb * vb;
                            eab += w * va * vb;
                        }
                    }
                    let (c1, c2) = ((0.01 * 255.0f64).powi(2), (0.03 * 255.0f64).powi(2));
                    sum += (2.0 * ea * eb + c1) * (2.0 * (eab - ea * eb) + c2)
                        / ((ea * ea + eb * eb + c1) * ((eaa - ea * ea) + (ebb - eb * eb) + c2));
                    count += 1;
                }
            }
        }
        sum / f64::from(count)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn separable_and_plain_agree(
            width in 11usize..40, height in 11usize..90, border in 0usize..3, seed in any::<u64>(), noise in 0u8..=255,
        ) {
            let (width, height) = (width + 2 * border, height + 2 * border);
            let mut bytes = Bytes::new(seed);
            let a = bytes.take(width * height * 3);
            let b = a.iter().zip(bytes.take(a.len())).map(|(&a, n)| a.saturating_add(n & noise)).collect();
            let (a, b) = (RgbImage::new(width, height, a).unwrap(), RgbImage::new(width, height, b).unwrap());
            let (fast, plain) = (ssim_rgb(&a, &b, border).unwrap(), ssim_plain(&a, &b, border));
            prop_assert!((fast - plain).abs() < 1e-11, "{} against {}", fast, plain);
        }
    }

    #[test]
    fn tiles_join_without_a_seam() {
        // Wider and higher than one tile: 300 pixels are 870 values after the window, 90 rows are 80.
        let a = RgbImage::new(300, 90, Bytes::new(1).take(81_000)).unwrap();
        let b = RgbImage::new(300, 90, Bytes::new(2).take(81_000)).unwrap();
        assert!((ssim_rgb(&a, &b, 0).unwrap() - ssim_plain(&a, &b, 0)).abs() < 1e-12);
    }

    #[test]
    fn identical_images_give_exactly_one() {
        let image = RgbImage::new(40, 30, Bytes::new(3).take(3600)).unwrap();
        assert_eq!(ssim_rgb(&image, &image, 4).unwrap(), 1.0);
        assert_eq!(ssim_y(&image, &image, 0).unwrap(), 1.0);
    }

    #[test]
    fn an_image_smaller_than_the_window_is_refused() {
        let image = RgbImage::new(30, 18, vec![0; 1620]).unwrap();
        assert_eq!(
            ssim_rgb(&image, &image, 4).unwrap_err().to_string(),
            "SSIM of a 30x18 image needs at least 11x11 pixels after cutting 4 from every side: use a larger image or a smaller border"
        );
    }
}
