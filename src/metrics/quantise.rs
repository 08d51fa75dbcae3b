//! From a network's output to the 8-bit image that is scored.

use super::Error;
use crate::imaging::RgbImage;

/// Quantises a network's output (planar: channel, row, column; RGB) as the challenge does.
///
/// This is `tensor2uint` of the NTIRE kit: clamp to `[0, data_range]`, then in f32 multiply by 255 and divide by the range as
/// two operations, then round half to even as numpy does. Doing it in f64, in one operation, or rounding half up changes
/// pixels and so the score.
///
/// # Errors
/// [`Error::ValueCount`], [`Error::DataRange`], and [`Error::NotANumber`] with the first place of a NaN. Infinities are clamped.
pub fn quantise(values: &[f32], width: usize, height: usize, data_range: f32) -> Result<RgbImage, Error> {
    let count = width.saturating_mul(height);
    let wrong_count =
        Error::ValueCount { width, height, expected: count.saturating_mul(3), found: values.len() };
    if count.checked_mul(3) != Some(values.len()) || count == 0 {
        return Err(wrong_count);
    }
    if !(data_range.is_finite() && data_range > 0.0) {
        return Err(Error::DataRange { found: data_range });
    }
    if let Some(at) = values.iter().position(|value| value.is_nan()) {
        return Err(Error::NotANumber { channel: at / count, row: at % count / width, column: at % width });
    }
    let mut pixels = vec![0u8; values.len()];
    for (channel, plane) in values.chunks_exact(count).enumerate() {
        for (pixel, &value) in pixels.iter_mut().skip(channel).step_by(3).zip(plane) {
            *pixel = (value.clamp(0.0, data_range) * 255.0 / data_range).round_ties_even() as u8;
        }
    }
    RgbImage::new(width, height, pixels).map_err(|_| wrong_count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_round_to_even_and_the_range_is_clamped() {
        // In the range 255 a value is its own quantised value, so ties are exact.
        let values =
            [0.5, 1.5, 2.5, 254.5, 253.5, -3.0, f32::INFINITY, f32::NEG_INFINITY, 300.0, 0.49, 0.51, 127.5];
        let image = quantise(&values, 2, 2, 255.0).unwrap();
        assert_eq!(image.pixels(), [0, 254, 255, 2, 0, 0, 2, 255, 1, 254, 0, 128]);
    }

    #[test]
    fn every_8_bit_value_survives_the_way_through_the_network_range() {
        for data_range in [1.0f32, 255.0] {
            let values: Vec<f32> = (0..=254).map(|v| v as f32 / (255.0 / data_range)).collect();
            let image = quantise(&values, 5, 17, data_range).unwrap();
            for channel in 0..3 {
                let plane: Vec<u8> = image.pixels().iter().copied().skip(channel).step_by(3).collect();
                let expected: Vec<u8> = (channel as u8 * 85..channel as u8 * 85 + 85).collect();
                assert_eq!(plane, expected, "range {data_range}, channel {channel}");
            }
        }
    }

    #[test]
    fn what_is_no_image_is_refused() {
        assert_eq!(
            quantise(&[0.0; 11], 2, 2, 1.0).unwrap_err().to_string(),
            "a 2x2 RGB image has 12 values, the output holds 11"
        );
        let mut values = [0.0; 18];
        values[6 + 5] = f32::NAN;
        assert_eq!(quantise(&values, 3, 2, 1.0), Err(Error::NotANumber { channel: 1, row: 1, column: 2 }));
        assert!(quantise(&[0.0; 12], 2, 2, 0.0).is_err());
        assert!(quantise(&[0.0; 12], 2, 2, f32::NAN).is_err());
        assert!(quantise(&[], 0, 0, 1.0).is_err());
    }

    /// Part a of `make_golden.py`: float outputs of the official models and the PNGs the official `tensor2uint` made of them.
    #[test]
    fn official_outputs_are_quantised_alike() {
        use crate::testing::Golden;
        for case in
            ["div2k0901_sr_baseline", "div2k0901_sr_team26", "butterfly_sr_baseline", "butterfly_sr_team26"]
        {
            let Some(path) = crate::testing::reference(&format!("golden/a_{case}.png")) else {
                return;
            };
            let expected = crate::imaging::decode_file(&path).unwrap().image;
            let floats = Golden::open(&path.with_extension("safetensors")).array::<f32>("sr");
            let found = quantise(floats.data(), expected.width(), expected.height(), 1.0).unwrap();
            assert_eq!(found.pixels(), expected.pixels(), "{case}");
        }
    }
}
