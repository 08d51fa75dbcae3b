//! MATLAB's `imresize` for 8-bit images, bit for bit: the antialiased bicubic downscaling that made the LR images of the field's
//! datasets, and the bicubic upscaling that is their baseline.
//!
//! The method (R. Keys, "Cubic convolution interpolation for digital image processing", 1981, a = -0.5, with the kernel stretched by the factor
//! when shrinking): dimensions are processed one after the other, rows first; each weight row is normalised. For 8-bit input MATLAB rounds half
//! up to 8 bits after *each* dimension. At factors 2, 3 and 4 the weights are fractions with the denominators 256, 81 and 4096, so the
//! downscaling here is done in integers: exact at 2 and 4 (as f64 is), and at 3, where no sum of 81sts lies halfway
//! between two integers, with the same roundings as f64 arithmetic. The tests compare it with a plain f64 transcription of the algorithm.

use rayon::prelude::*;

use super::decode::MAX_PIXELS;
use super::{Error, RgbImage};

/// What lies outside the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Border {
    /// The image mirrored, its edge pixel repeated: MATLAB's `imresize` today, and the LR images of Set5 as the EDSR and IMDN authors distribute
    /// them. Taken for DIV2K too; only the two outermost LR pixels depend on it.
    Mirror,
    /// The edge pixel repeated for ever: the LR images of the SelfExSR repository of 2015 (Set5, Set14, BSD100, Urban100).
    Clamp,
}

impl Border {
    /// The pixel inside `0..length` that stands for `position`.
    fn resolve(self, position: isize, length: usize) -> usize {
        let length = length as isize;
        let inside = match self {
            Self::Clamp => position.clamp(0, length - 1),
            Self::Mirror => {
                let folded = position.rem_euclid(2 * length);
                folded.min(2 * length - 1 - folded)
            }
        };
        inside as usize
    }
}

/// Shrinks `image` by 2, 3 or 4 as MATLAB's `imresize(image, 1/scale)` does; the sides of the result are rounded up.
///
/// # Errors
/// [`Error::Scale`] for any other factor.
pub fn downscale(image: &RgbImage, scale: usize, border: Border) -> Result<RgbImage, Error> {
    match scale {
        2 => Ok(shrink::<2, 8, 256>(image, [-3, -9, 29, 111, 111, 29, -9, -3], border)),
        3 => Ok(shrink::<3, 11, 81>(image, [-1, -2, 0, 9, 21, 27, 21, 9, 0, -2, -1], border)),
        4 => Ok(shrink::<4, 16, 4096>(
            image,
            [-7, -45, -75, -49, 93, 399, 745, 987, 987, 745, 399, 93, -49, -75, -45, -7],
            border,
        )),
        _ => Err(Error::Scale { what: "downscale", found: scale, expected: "2, 3 or 4" }),
    }
}

/// Shrinks by `SCALE` with the weights `taps / SUM`, centred on each block of `SCALE` pixels.
fn shrink<const SCALE: usize, const TAPS: usize, const SUM: u32>(
    image: &RgbImage,
    taps: [i32; TAPS],
    border: Border,
) -> RgbImage {
    let (width, height) = (image.width(), image.height());
    let (out_width, out_height) = (width.div_ceil(SCALE), height.div_ceil(SCALE));
    let reach = ((TAPS - SCALE) / 2) as isize;
    let columns: Vec<usize> = (-reach..(out_width * SCALE) as isize + reach)
        .map(|position| border.resolve(position, width) * 3)
        .collect();
    let row_bytes = width * 3;
    let mut pixels = vec![0u8; out_width * out_height * 3];
    pixels.par_chunks_mut(out_width * 3).enumerate().for_each_init(
        || (vec![0i32; row_bytes], vec![0u8; columns.len() * 3]),
        |(sums, padded), (out_y, out_row)| {
            sums.fill(0);
            for (k, &weight) in taps.iter().enumerate() {
                let y = border.resolve((out_y * SCALE + k) as isize - reach, height);
                let row = &image.pixels()[y * row_bytes..(y + 1) * row_bytes];
                for (sum, &value) in sums.iter_mut().zip(row) {
                    *sum += weight * i32::from(value);
                }
            }
            for (pixel, &column) in padded.chunks_exact_mut(3).zip(&columns) {
                for (value, &sum) in pixel.iter_mut().zip(&sums[column..column + 3]) {
                    *value = round_half_up::<SUM>(sum);
                }
            }
            for (out, window) in out_row.chunks_exact_mut(3).zip(padded.windows(TAPS * 3).step_by(SCALE * 3))
            {
                let mut sum = [0i32; 3];
                for (pixel, &weight) in window.chunks_exact(3).zip(&taps) {
                    for (sum, &value) in sum.iter_mut().zip(pixel) {
                        *sum += weight * i32::from(value);
                    }
                }
                for (out, sum) in out.iter_mut().zip(sum) {
                    *out = round_half_up::<SUM>(sum);
                }
            }
        },
    );
    image_of(out_width, out_height, pixels)
}

/// `sum / SUM` rounded half up and saturated to 8 bits. A negative quotient rounds to at most 0, so it may be cut before.
fn round_half_up<const SUM: u32>(sum: i32) -> u8 {
    let doubled = 2 * sum.max(0) as u32 + SUM;
    (doubled / (2 * SUM)).min(255) as u8
}

/// The largest factor [`upscale_bicubic`] takes; the challenge and its ancestors use 2, 3, 4 and 8.
const MAX_UPSCALE: usize = 8;

/// Enlarges `image` by `scale` (1 to 8) as MATLAB's bicubic `imresize` does on values of class double: mirrored borders, f64 throughout, one rounding half up
/// at the end. On Set5 x4 this is the published bicubic baseline (mean RGB PSNR 26.6947 dB with a border of 4).
///
/// # Errors
/// [`Error::Scale`] for another factor, [`Error::ResultTooLarge`] when the result would exceed the limit for images.
pub fn upscale_bicubic(image: &RgbImage, scale: usize) -> Result<RgbImage, Error> {
    if !(1..=MAX_UPSCALE).contains(&scale) {
        return Err(Error::Scale { what: "upscale", found: scale, expected: "1 to 8" });
    }
    let (width, height) = (image.width(), image.height());
    let (out_width, out_height) = (width * scale, height * scale);
    if (out_width as u64).saturating_mul(out_height as u64) > MAX_PIXELS {
        return Err(Error::ResultTooLarge { width, height, scale, max_pixels: MAX_PIXELS });
    }
    let columns = enlarging_taps(width, scale);
    let rows = enlarging_taps(height, scale);
    let row_bytes = width * 3;
    let mut pixels = vec![0u8; out_width * out_height * 3];
    pixels.par_chunks_mut(out_width * 3).zip(&rows).for_each_init(
        || vec![0f64; row_bytes],
        |sums, (out_row, row_taps)| {
            sums.fill(0.0);
            for &(weight, y) in row_taps {
                for (sum, &value) in sums.iter_mut().zip(&image.pixels()[y * row_bytes..(y + 1) * row_bytes])
                {
                    *sum += weight * f64::from(value);
                }
            }
            for (out, column_taps) in out_row.chunks_exact_mut(3).zip(&columns) {
                for (channel, out) in out.iter_mut().enumerate() {
                    let sum = column_taps
                        .iter()
                        .fold(0.0, |sum, &(weight, x)| sum + weight * sums[x * 3 + channel]);
                    // `as` saturates to 0..=255.
                    *out = (sum + 0.5).floor() as u8;
                }
            }
        },
    );
    Ok(image_of(out_width, out_height, pixels))
}

/// The four (weight, source pixel) pairs of each output pixel of one dimension, when enlarging.
fn enlarging_taps(length: usize, scale: usize) -> Vec<[(f64, usize); 4]> {
    (0..length * scale)
        .map(|out| {
            // MATLAB's formula with its 1-based coordinates, evaluated in its order.
            let s = scale as f64;
            let centre = (out + 1) as f64 / s + 0.5 * (1.0 - 1.0 / s);
            let first = (centre - 2.0).floor() + 1.0;
            let weights = [0.0, 1.0, 2.0, 3.0].map(|k| cubic(centre - (first + k)));
            let total: f64 = weights.iter().sum();
            let mut taps = [(0.0, 0); 4];
            for (k, (tap, weight)) in taps.iter_mut().zip(weights).enumerate() {
                *tap = (weight / total, Border::Mirror.resolve(first as isize - 1 + k as isize, length));
            }
            taps
        })
        .collect()
}

/// Keys' cubic kernel with a = -0.5.
fn cubic(x: f64) -> f64 {
    let x = x.abs();
    let (x2, x3) = (x * x, x * x * x);
    if x <= 1.0 {
        1.5 * x3 - 2.5 * x2 + 1.0
    } else if x <= 2.0 {
        -0.5 * x3 + 2.5 * x2 - 4.0 * x + 2.0
    } else {
        0.0
    }
}

fn image_of(width: usize, height: usize, pixels: Vec<u8>) -> RgbImage {
    #[expect(
        clippy::expect_used,
        reason = "the buffer was made for this size, and no side of an RgbImage is zero"
    )]
    RgbImage::new(width, height, pixels).expect("the buffer fills the image")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::imaging::decode_file;
    use crate::imaging::testdata::Bytes;
    use crate::testing::{Golden, golden, reference};
    use proptest::prelude::*;

    /// Weights and 0-based positions of one output pixel.
    type Taps = (Vec<f64>, Vec<isize>);

    /// `contributions` of imresize.m, step by step, in f64: all taps of the support, normalised, not yet folded at the borders.
    fn plain_taps(length: usize, ratio: f64) -> Vec<Taps> {
        let stretch = ratio.min(1.0);
        let support = 4.0 / stretch;
        let out_length = (length as f64 * ratio).ceil() as usize;
        (1..=out_length)
            .map(|x| {
                let u = x as f64 / ratio + 0.5 * (1.0 - 1.0 / ratio);
                let left = (u - support / 2.0).floor();
                let taps = support.ceil() as usize + 2;
                let positions: Vec<f64> = (0..taps).map(|k| left + k as f64).collect();
                let weights: Vec<f64> =
                    positions.iter().map(|p| stretch * cubic(stretch * (u - p))).collect();
                let total: f64 = weights.iter().sum();
                (
                    weights.iter().map(|w| w / total).collect(),
                    positions.iter().map(|&p| p as isize - 1).collect(),
                )
            })
            .collect()
    }

    /// One dimension of an H x W x 3 array of f64 resized: rows when `vertical`.
    fn plain_pass(
        values: &[f64],
        size: (usize, usize),
        taps: &[Taps],
        vertical: bool,
        border: Border,
    ) -> Vec<f64> {
        let (height, width) = size;
        let (out_height, out_width) = if vertical { (taps.len(), width) } else { (height, taps.len()) };
        let mut out = Vec::new();
        for y in 0..out_height {
            for x in 0..out_width {
                for c in 0..3 {
                    let (weights, positions) = &taps[if vertical { y } else { x }];
                    let mut sum = 0.0;
                    for (weight, &position) in weights.iter().zip(positions) {
                        let (sy, sx) = match vertical {
                            true => (border.resolve(position, height), x),
                            false => (y, border.resolve(position, width)),
                        };
                        sum += weight * values[(sy * width + sx) * 3 + c];
                    }
                    out.push(sum);
                }
            }
        }
        out
    }

    fn to_u8(value: f64) -> f64 {
        (value + 0.5).floor().clamp(0.0, 255.0)
    }

    /// The slow twin of both fast paths: the published algorithm in f64, rounding per pass or only at the end.
    fn imresize_plain(image: &RgbImage, ratio: f64, border: Border, round_each_pass: bool) -> RgbImage {
        let (rows, columns) = (plain_taps(image.height(), ratio), plain_taps(image.width(), ratio));
        let values: Vec<f64> = image.pixels().iter().map(|&v| f64::from(v)).collect();
        let mut values = plain_pass(&values, (image.height(), image.width()), &rows, true, border);
        if round_each_pass {
            values = values.into_iter().map(to_u8).collect();
        }
        let values = plain_pass(&values, (rows.len(), image.width()), &columns, false, border);
        let pixels = values.into_iter().map(|v| to_u8(v) as u8).collect();
        RgbImage::new(columns.len(), rows.len(), pixels).unwrap()
    }

    /// Random bytes, or only 0 and 255, which make sums overshoot and tie.
    fn random_image(width: usize, height: usize, seed: u64, binary: bool) -> RgbImage {
        let mut bytes = Bytes::new(seed).take(width * height * 3);
        if binary {
            bytes.iter_mut().for_each(|byte| *byte = if *byte < 128 { 0 } else { 255 });
        }
        RgbImage::new(width, height, bytes).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn integers_and_the_published_algorithm_agree(
            width in 1usize..48, height in 1usize..48, scale in 2usize..=4, seed in any::<u64>(), binary in any::<bool>(), clamp in any::<bool>(),
        ) {
            let border = if clamp { Border::Clamp } else { Border::Mirror };
            let image = random_image(width, height, seed, binary);
            let fast = downscale(&image, scale, border).unwrap();
            prop_assert_eq!((fast.width(), fast.height()), (width.div_ceil(scale), height.div_ceil(scale)));
            let plain = imresize_plain(&image, 1.0 / scale as f64, border, true);
            prop_assert_eq!(fast.pixels(), plain.pixels());
        }

        #[test]
        fn upscaling_and_the_published_algorithm_agree(
            width in 1usize..20, height in 1usize..20, scale in 1usize..=8, seed in any::<u64>(), binary in any::<bool>(),
        ) {
            let image = random_image(width, height, seed, binary);
            let fast = upscale_bicubic(&image, scale).unwrap();
            let plain = imresize_plain(&image, scale as f64, Border::Mirror, false);
            prop_assert_eq!((fast.width(), fast.height()), (plain.width(), plain.height()));
            prop_assert_eq!(fast.pixels(), plain.pixels());
        }
    }

    #[test]
    fn other_factors_are_refused() {
        let image = random_image(8, 8, 1, false);
        let message = downscale(&image, 5, Border::Mirror).unwrap_err().to_string();
        assert_eq!(message, "cannot downscale by 5, expected a factor of 2, 3 or 4");
        assert!(upscale_bicubic(&image, 0).is_err());
        assert!(upscale_bicubic(&image, 9).is_err());
        let large = RgbImage::new(32_768, 128, vec![0; 32_768 * 128 * 3]).unwrap();
        assert!(upscale_bicubic(&large, 8).unwrap_err().to_string().contains("more than 134217728 pixels"));
    }

    /// Golden vectors made by a numpy implementation that gives the published LR images exactly: noise, and noise of black and white alone,
    /// where clipping and ties abound.
    #[test]
    fn golden_noise_is_reproduced() {
        check_golden(&golden(""), &["noise_48x52", "binary_64x64"]);
    }

    /// The same implementation on photographs.
    #[test]
    fn golden_photographs_are_reproduced() {
        let Some(folder) = reference("imresize") else {
            return;
        };
        check_golden(&folder, &["spices_128", "circuit_128"]);
    }

    fn check_golden(folder: &Path, names: &[&str]) {
        for name in names {
            let source = decode_file(&folder.join(format!("{name}.png"))).unwrap().image;
            for (border, word) in [(Border::Mirror, "mirror"), (Border::Clamp, "clamp")] {
                let expected = decode_file(&folder.join(format!("{name}_x4_{word}.png"))).unwrap().image;
                let found = downscale(&source, 4, border).unwrap();
                assert_eq!(found.pixels(), expected.pixels(), "{name} {word}");
            }
        }
    }

    /// The LR images of Set5 as published in Zheng222/IMDN, from its HR images cut to multiples of 4.
    #[test]
    fn published_set5_is_reproduced() {
        let (Some(hr), Some(lr)) = (reference("images/Set5_HR"), reference("images/Set5_LR_x4")) else {
            return;
        };
        for name in ["baby", "bird", "butterfly", "head", "woman"] {
            let source = decode_file(&hr.join(format!("{name}.bmp"))).unwrap().image;
            let cut = source.crop(0, 0, source.width() / 4 * 4, source.height() / 4 * 4).unwrap();
            let expected = decode_file(&lr.join(format!("{name}x4.bmp"))).unwrap().image;
            assert_eq!(downscale(&cut, 4, Border::Mirror).unwrap().pixels(), expected.pixels(), "{name}");
        }
    }

    /// Part e of `make_golden.py`: an independent f64 implementation, sides not divisible by 4 included.
    #[test]
    fn golden_e_is_reproduced() {
        let Some(path) = reference("golden/e_bicubic.safetensors") else {
            return;
        };
        let golden = Golden::open(&path);
        for (source, expected) in [
            ("src_u8", "down4_u8_matlab"),
            ("odd_src_u8", "odd_down4_u8_matlab"),
            ("set5_butterfly_hr_u8", "set5_butterfly_lr_u8"),
        ] {
            let found = downscale(&golden.image(source), 4, Border::Mirror).unwrap();
            let expected = golden.image(expected);
            assert_eq!((found.width(), found.height()), (expected.width(), expected.height()));
            assert_eq!(found.pixels(), expected.pixels(), "{source}");
        }
        let up: Vec<u8> =
            golden.array::<f64>("up4_f64").data().iter().map(|v| to_u8(v * 255.0) as u8).collect();
        assert_eq!(upscale_bicubic(&golden.image("up4_src_u8"), 4).unwrap().pixels(), up);
    }
}
