//! Luma as the challenge computes it.

use super::RgbImage;

/// The Y channel of `image`, height x width, rounded to 8 bits: `rgb2ycbcr` of the NTIRE kit (`utils/utils_image.py`), which takes the
/// coefficients of MATLAB's `rgb2ycbcr` (ITU-R BT.601, Y from 16 to 235). Ties round to even, as numpy rounds.
pub fn luma(image: &RgbImage) -> Vec<u8> {
    let value = |rgb: &[u8]| match *rgb {
        [r, g, b] => {
            let weighted = f64::from(r) * 65.481 + f64::from(g) * 128.553 + f64::from(b) * 24.966;
            (weighted / 255.0 + 16.0).round_ties_even() as u8
        }
        _ => 0,
    };
    image.pixels().chunks_exact(3).map(value).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::testing::{Golden, golden, reference};

    #[test]
    fn black_and_white_are_the_ends_of_the_range() {
        let image = RgbImage::new(2, 1, vec![0, 0, 0, 255, 255, 255]).unwrap();
        assert_eq!(luma(&image), [16, 235]);
    }

    /// `d_metrics.safetensors` holds the Y channel that the official `rgb2ycbcr` gave.
    #[test]
    fn luma_equals_the_official_values() {
        check(&golden("d_metrics.safetensors"), 4);
    }

    #[test]
    fn luma_of_photographs_equals_the_official_values() {
        if let Some(path) = reference("golden/d_metrics.safetensors") {
            check(&path, 18);
        }
    }

    fn check(path: &Path, arrays: usize) {
        let golden = Golden::open(path);
        let mut compared = 0;
        for name in golden.names().filter(|name| name.ends_with("/a") || name.ends_with("/b")) {
            assert_eq!(luma(&golden.image(&name)), golden.bytes(&format!("{name}_y")), "{name}");
            compared += 1;
        }
        assert_eq!(compared, arrays);
    }
}
