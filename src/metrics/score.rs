//! The four numbers of one image.

use super::Error;
use super::psnr::psnr_of;
use super::ssim::ssim_of;
use crate::imaging::{RgbImage, luma};

/// Quality of one super-resolved image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// PSNR over RGB in dB; `None` when the compared parts are identical and it is infinite.
    pub psnr_rgb_db: Option<f64>,
    /// SSIM over RGB.
    pub ssim_rgb: f64,
    /// PSNR of the luma channel in dB; `None` when it is infinite.
    pub psnr_y_db: Option<f64>,
    /// SSIM of the luma channel.
    pub ssim_y: f64,
    /// Whether every compared RGB value agrees.
    pub identical: bool,
}

/// Compares a super-resolved image with its original, which has been cut by [`mod_crop`]; `border` pixels on every side are left out
/// (the scale, in the challenge).
///
/// # Errors
/// [`Error::SizeMismatch`], or [`Error::TooSmall`] when less than 11x11 pixels are left.
pub fn score(sr: &RgbImage, hr: &RgbImage, border: usize) -> Result<Scores, Error> {
    let size = same_size(sr, hr)?;
    let (sr_y, hr_y) = (luma(sr), luma(hr));
    // SSIM first: it asks for more pixels than PSNR, and its message is the one to see.
    let ssim_rgb = ssim_of(sr.pixels(), hr.pixels(), size, 3, border)?;
    let ssim_y = ssim_of(&sr_y, &hr_y, size, 1, border)?;
    let finite = |db: f64| db.is_finite().then_some(db);
    let psnr_rgb_db = finite(psnr_of(sr.pixels(), hr.pixels(), size, 3, border)?);
    let psnr_y_db = finite(psnr_of(&sr_y, &hr_y, size, 1, border)?);
    Ok(Scores { psnr_rgb_db, ssim_rgb, psnr_y_db, ssim_y, identical: psnr_rgb_db.is_none() })
}

/// `image` without the rows at the bottom and the columns at the right that exceed a multiple of `scale` (`modcrop` of the NTIRE kit).
///
/// # Errors
/// [`Error::CannotModCrop`] when a side is shorter than `scale`.
pub fn mod_crop(image: &RgbImage, scale: usize) -> Result<RgbImage, Error> {
    let (width, height) = (image.width(), image.height());
    let cut = |side: usize| side.checked_rem(scale).map_or(0, |rest| side - rest);
    image.crop(0, 0, cut(width), cut(height)).ok_or(Error::CannotModCrop { width, height, scale })
}

/// The common size of the two, width and height.
pub(super) fn same_size(sr: &RgbImage, hr: &RgbImage) -> Result<(usize, usize), Error> {
    if (sr.width(), sr.height()) == (hr.width(), hr.height()) {
        return Ok((hr.width(), hr.height()));
    }
    Err(Error::SizeMismatch {
        sr_width: sr.width(),
        sr_height: sr.height(),
        hr_width: hr.width(),
        hr_height: hr.height(),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::imaging::{Border, decode_file, upscale_bicubic};
    use crate::metrics::{psnr_rgb, psnr_y, ssim_rgb, ssim_y};
    use crate::testing::{Golden, golden, reference};

    /// The official `calculate_psnr` and `calculate_ssim`, printed with 9 decimals: black against white, and noise.
    #[test]
    fn official_values_are_reproduced() {
        check(&golden("d_metrics.safetensors"), 4);
    }

    /// The same on crops of photographs and of what models make of them.
    #[test]
    fn official_values_of_photographs_are_reproduced() {
        if let Some(path) = reference("golden/d_metrics.safetensors") {
            check(&path, 18);
        }
    }

    fn check(path: &Path, comparisons: usize) {
        let golden = Golden::open(path);
        let json = std::fs::read(path.with_extension("json")).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let mut compared = 0;
        for (pair, values) in json.as_object().unwrap() {
            let (a, b) = (golden.image(&format!("{pair}/a")), golden.image(&format!("{pair}/b")));
            for (key, border) in [("border0", 0), ("border4", 4)] {
                let Some(expected) = values.get(key) else { continue };
                let scores = score(&a, &b, border).unwrap();
                let check = |name: &str, found: Option<f64>, direct: f64| {
                    match expected[name].as_f64() {
                        Some(value) => {
                            let found = found.unwrap();
                            assert!(
                                (found - value).abs() < 1e-9,
                                "{pair} {key} {name}: {found} against {value}"
                            );
                            assert_eq!(found, direct);
                        }
                        None => {
                            assert_eq!(
                                (expected[name].as_str(), found, direct),
                                (Some("inf"), None, f64::INFINITY)
                            );
                        }
                    };
                };
                check("psnr_rgb", scores.psnr_rgb_db, psnr_rgb(&a, &b, border).unwrap());
                check("ssim_rgb", Some(scores.ssim_rgb), ssim_rgb(&a, &b, border).unwrap());
                check("psnr_y", scores.psnr_y_db, psnr_y(&a, &b, border).unwrap());
                check("ssim_y", Some(scores.ssim_y), ssim_y(&a, &b, border).unwrap());
                assert_eq!(scores.identical, pair == "identical");
                compared += 1;
            }
        }
        assert_eq!(compared, comparisons);
    }

    /// The bicubic baseline of Set5 x4, a published number: mean RGB PSNR 26.6947 dB with the upscaling of MATLAB.
    #[test]
    fn bicubic_set5_gives_the_published_mean() {
        let (Some(hr), Some(lr)) = (reference("images/Set5_HR"), reference("images/Set5_LR_x4")) else {
            return;
        };
        let mut total = 0.0;
        for name in ["baby", "bird", "butterfly", "head", "woman"] {
            let hr = mod_crop(&decode_file(&hr.join(format!("{name}.bmp"))).unwrap().image, 4).unwrap();
            let lr = decode_file(&lr.join(format!("{name}x4.bmp"))).unwrap().image;
            let again = crate::imaging::downscale(&hr, 4, Border::Mirror).unwrap();
            assert_eq!(again.pixels(), lr.pixels());
            total += score(&upscale_bicubic(&lr, 4).unwrap(), &hr, 4).unwrap().psnr_rgb_db.unwrap();
        }
        assert!((total / 5.0 - 26.6947).abs() < 5e-5, "mean {}", total / 5.0);
    }

    #[test]
    fn sizes_must_agree_and_mod_crop_makes_them() {
        let image = |width, height| RgbImage::new(width, height, vec![7; width * height * 3]).unwrap();
        let message = score(&image(16, 12), &image(17, 14), 0).unwrap_err().to_string();
        assert!(message.starts_with("the SR image is 16x12 and the HR image"), "{message}");
        let cut = mod_crop(&image(17, 15), 4).unwrap();
        assert_eq!((cut.width(), cut.height()), (16, 12));
        assert!(mod_crop(&image(3, 15), 4).is_err());
        assert!(mod_crop(&image(3, 15), 0).is_err());
        assert!(score(&image(16, 12), &cut, usize::MAX).is_err());
    }
}
