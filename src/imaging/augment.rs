//! The eight flips and quarter turns of training, numbered as the challenge kit numbers them.

use super::RgbImage;

/// One of the eight ways to flip and turn an image: `augment_img(img, mode)` of the NTIRE kit (`utils/utils_image.py`).
///
/// | mode | meaning |
/// |---:|---|
/// | 0 | unchanged |
/// | 1 | transposed: rows become columns |
/// | 2 | turned upside down (rows in reverse order) |
/// | 3 | a quarter turn clockwise |
/// | 4 | mirrored left to right |
/// | 5 | a quarter turn counter-clockwise |
/// | 6 | a half turn |
/// | 7 | transposed along the other diagonal |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Augmentation(u8);

impl Augmentation {
    /// All eight in order of their numbers.
    pub const ALL: [Self; 8] = [Self(0), Self(1), Self(2), Self(3), Self(4), Self(5), Self(6), Self(7)];

    /// The augmentation of that number; the number is taken modulo 8, so that the three low bits of a random number choose evenly.
    pub fn new(mode: u8) -> Self {
        Self(mode % 8)
    }

    /// Its number, 0 to 7.
    pub fn mode(self) -> u8 {
        self.0
    }

    /// Whether width and height change places.
    pub fn swaps_sides(self) -> bool {
        matches!(self.0, 1 | 3 | 5 | 7)
    }

    /// Whether the source is read from its last row up.
    pub(super) fn reverses_rows(self) -> bool {
        matches!(self.0, 2 | 3 | 6 | 7)
    }

    /// Whether the source is read from its last column back.
    pub(super) fn reverses_columns(self) -> bool {
        matches!(self.0, 4..=7)
    }
}

/// `image` flipped and turned.
pub fn augment(image: &RgbImage, augmentation: Augmentation) -> RgbImage {
    let (source_width, source_height) = (image.width(), image.height());
    let (width, height) = match augmentation.swaps_sides() {
        true => (source_height, source_width),
        false => (source_width, source_height),
    };
    let mut pixels = Vec::with_capacity(image.pixels().len());
    for row in 0..height {
        for column in 0..width {
            let (mut y, mut x) = if augmentation.swaps_sides() { (column, row) } else { (row, column) };
            if augmentation.reverses_rows() {
                y = source_height - 1 - y;
            }
            if augmentation.reverses_columns() {
                x = source_width - 1 - x;
            }
            let at = (y * source_width + x) * 3;
            pixels.extend_from_slice(&image.pixels()[at..at + 3]);
        }
    }
    #[expect(clippy::expect_used, reason = "every pixel of the source was taken once")]
    RgbImage::new(width, height, pixels).expect("a flipped image has as many pixels")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Golden, golden};

    /// `f_augment.safetensors` holds the results of the official `augment_img` on a 5x3 image.
    #[test]
    fn all_modes_equal_the_official_ones() {
        let golden = Golden::open(&golden("f_augment.safetensors"));
        for augmentation in Augmentation::ALL {
            let expected = golden.image(&format!("mode{}", augmentation.mode()));
            let found = augment(&golden.image("src"), augmentation);
            assert_eq!((found.width(), found.height()), (expected.width(), expected.height()));
            assert_eq!(found.pixels(), expected.pixels(), "mode {}", augmentation.mode());
        }
    }

    #[test]
    fn turns_and_flips_do_what_their_names_say() {
        // 1 2 3
        // 4 5 6
        let image = RgbImage::new(3, 2, (1..=6).flat_map(|v| [v; 3]).collect()).unwrap();
        let expected: [&[u8]; 8] = [
            &[1, 2, 3, 4, 5, 6],
            &[1, 4, 2, 5, 3, 6],
            &[4, 5, 6, 1, 2, 3],
            &[4, 1, 5, 2, 6, 3],
            &[3, 2, 1, 6, 5, 4],
            &[3, 6, 2, 5, 1, 4],
            &[6, 5, 4, 3, 2, 1],
            &[6, 3, 5, 2, 4, 1],
        ];
        for (augmentation, expected) in Augmentation::ALL.into_iter().zip(expected) {
            let found: Vec<u8> = augment(&image, augmentation).pixels().iter().copied().step_by(3).collect();
            assert_eq!(found, expected, "mode {}", augmentation.mode());
        }
    }
}
