//! Patches of image pairs, wherever the pixels lie: decoded in memory ([`LoadedPair`]) or in a packed file ([`super::packed::Packed`]).
//!
//! The important invariant: the same crop of the same images gives the same bytes, whichever of the two holds them.

use rayon::prelude::*;

use super::LoadedPair;
use crate::fsio;
use crate::imaging::{
    Augmentation, RgbImage, RgbView, SizeError, ValueTable, copy_augmented, copy_augmented_values,
};

/// An LR and an HR image of the same scene, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct PairView<'a> {
    /// The HR file's stem.
    pub name: &'a str,
    /// The LR image.
    pub lr: RgbView<'a>,
    /// The HR image, mod-cropped to exactly the scale times the LR image.
    pub hr: RgbView<'a>,
}

/// A square of an LR image, the square of its HR image that shows the same, and how both are flipped and turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crop {
    /// Left edge, in LR pixels.
    pub x: usize,
    /// Top edge, in LR pixels.
    pub y: usize,
    /// Side of the LR patch in pixels.
    pub side: usize,
    /// How many times as large the HR patch is.
    pub scale: usize,
    /// What is done with both patches.
    pub augmentation: Augmentation,
}

/// Whether a patch lies inside its image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// It does.
    Inside,
    /// It reaches beyond an edge; what is outside is zero.
    Padded,
}

impl PairView<'_> {
    /// Writes both patches as bytes, interleaved (HWC): `side² · 3` to `lr`, `(scale · side)² · 3` to `hr`.
    ///
    /// # Errors
    /// [`SizeError`] when a buffer is not as long as its patch.
    pub fn crop_bytes(&self, crop: &Crop, lr: &mut [u8], hr: &mut [u8]) -> Result<Coverage, SizeError> {
        self.patches(crop, lr, hr, |patch, to| copy_augmented(patch, crop.augmentation, to))
    }

    /// Writes both patches as values, channel by channel (CHW): `3 · side²` to `lr`, `3 · (scale · side)²` to `hr`.
    ///
    /// # Errors
    /// [`SizeError`] when a buffer is not as long as its patch.
    pub fn crop_values(
        &self,
        crop: &Crop,
        table: &ValueTable,
        lr: &mut [f32],
        hr: &mut [f32],
    ) -> Result<Coverage, SizeError> {
        self.patches(crop, lr, hr, |patch, to| copy_augmented_values(patch, crop.augmentation, table, to))
    }

    fn patches<T>(
        &self,
        crop: &Crop,
        lr: &mut [T],
        hr: &mut [T],
        copy: impl Fn(RgbView<'_>, &mut [T]) -> Result<(), SizeError>,
    ) -> Result<Coverage, SizeError> {
        let mut coverage = Coverage::Inside;
        for (image, scale, to) in [(&self.lr, 1, lr), (&self.hr, crop.scale, hr)] {
            let scaled = |length: usize| length.saturating_mul(scale);
            let (x, y, side) = (scaled(crop.x), scaled(crop.y), scaled(crop.side));
            match image.crop(x, y, side, side) {
                Some(patch) => copy(patch, to)?,
                None => {
                    // Before anything of that size is allocated.
                    if side.checked_mul(side).and_then(|n| n.checked_mul(3)) != Some(to.len()) {
                        return Err(SizeError { width: side, height: side, found: to.len() });
                    }
                    let patch: RgbImage = image.padded_square(x, y, side)?;
                    copy(RgbView::from(&patch), to)?;
                    coverage = Coverage::Padded;
                }
            }
        }
        Ok(coverage)
    }
}

/// Numbered image pairs that can be looked at from several threads.
pub trait Pairs: Sync {
    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pair of that number, or `None` from [`Pairs::len`] on.
    fn pair(&self, index: usize) -> Option<PairView<'_>>;

    /// One hash over all names and pixels, in order: it says whether two runs saw the same images.
    fn images_sha256(&self) -> String {
        let digests = (0..self.len()).into_par_iter().filter_map(|index| self.pair(index));
        let lines: Vec<String> =
            digests.map(|pair| line(pair.name, &pair.lr.pixels_digest(), &pair.hr.pixels_digest())).collect();
        fsio::sha256_hex(lines.concat().as_bytes())
    }
}

/// What [`Pairs::images_sha256`] hashes of a pair.
pub(super) fn line(name: &str, lr: &[u8; 32], hr: &[u8; 32]) -> String {
    format!("{name} {} {}\n", fsio::hex(lr), fsio::hex(hr))
}

impl<T: AsRef<[LoadedPair]> + Sync + ?Sized> Pairs for T {
    fn len(&self) -> usize {
        self.as_ref().len()
    }

    fn pair(&self, index: usize) -> Option<PairView<'_>> {
        self.as_ref().get(index).map(LoadedPair::view)
    }
}

impl LoadedPair {
    /// The pair, borrowed.
    pub fn view(&self) -> PairView<'_> {
        PairView { name: &self.name, lr: RgbView::from(&self.lr), hr: RgbView::from(&self.hr) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::imaging::augment;
    use crate::imaging::testdata::Bytes;

    fn loaded(width: usize, height: usize, scale: usize, seed: u64) -> LoadedPair {
        let mut bytes = Bytes::new(seed);
        let mut image = |width, height| RgbImage::new(width, height, bytes.take(width * height * 3)).unwrap();
        let (lr, hr) = (image(width, height), image(width * scale, height * scale));
        LoadedPair { name: "0801".into(), lr, hr }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_crop_is_cut_then_padded_then_augmented(
            (width, height, side) in (1usize..24, 1usize..24, 1usize..12),
            (x, y) in (0usize..30, 0usize..30),
            scale in 1usize..5,
            mode in 0u8..8,
            seed in any::<u64>(),
        ) {
            let pair = loaded(width, height, scale, seed);
            let crop = Crop { x, y, side, scale, augmentation: Augmentation::new(mode) };
            let (mut lr, mut hr) = (vec![9; side * side * 3], vec![9; (side * scale).pow(2) * 3]);
            let coverage = pair.view().crop_bytes(&crop, &mut lr, &mut hr).unwrap();
            prop_assert_eq!(coverage == Coverage::Inside, x + side <= width && y + side <= height);
            let (mut lr_values, mut hr_values) = (vec![9.0; lr.len()], vec![9.0; hr.len()]);
            let table = ValueTable::new(1.0);
            let same = pair.view().crop_values(&crop, &table, &mut lr_values, &mut hr_values).unwrap();
            prop_assert_eq!(same, coverage);
            for (image, scale, bytes, values) in [(&pair.lr, 1, lr, lr_values), (&pair.hr, scale, hr, hr_values)] {
                // Pixel by pixel, so that nothing is shared with what is tested.
                let side = side * scale;
                let pixel = |at: usize| {
                    let (column, row) = (x * scale + at % side, y * scale + at / side);
                    match column < image.width() && row < image.height() {
                        true => image.pixels()[(row * image.width() + column) * 3..][..3].to_vec(),
                        false => vec![0; 3],
                    }
                };
                let patch = RgbImage::new(side, side, (0..side * side).flat_map(pixel).collect()).unwrap();
                let patch = augment(&patch, crop.augmentation);
                prop_assert_eq!(&bytes, patch.pixels());
                for (at, &byte) in patch.pixels().iter().enumerate() {
                    prop_assert_eq!(values[at % 3 * side * side + at / 3], f32::from(byte) / 255.0);
                }
            }
        }
    }

    #[test]
    fn buffers_of_other_sizes_and_absurd_places_are_errors_or_black() {
        let pair = loaded(8, 8, 4, 1);
        let crop = Crop { x: 0, y: 0, side: 4, scale: 4, augmentation: Augmentation::new(0) };
        let (mut lr, mut hr) = (vec![0; 48], vec![0; 768]);
        assert!(pair.view().crop_bytes(&crop, &mut lr[1..], &mut hr).is_err());
        assert!(pair.view().crop_bytes(&crop, &mut lr, &mut hr[1..]).is_err());
        let far = Crop { x: usize::MAX, y: usize::MAX, ..crop };
        assert_eq!(pair.view().crop_bytes(&far, &mut lr, &mut hr), Ok(Coverage::Padded));
        assert!(lr.iter().chain(&hr).all(|&byte| byte == 0));
        let large = Crop { side: usize::MAX, ..crop };
        assert!(pair.view().crop_bytes(&large, &mut lr, &mut hr).is_err());
    }

    #[test]
    fn pairs_in_memory_are_numbered() {
        let pairs = vec![loaded(3, 2, 2, 1), loaded(2, 2, 2, 2)];
        let pairs: &dyn Pairs = &pairs;
        assert_eq!((pairs.len(), pairs.is_empty()), (2, false));
        let pair = pairs.pair(0).unwrap();
        assert_eq!((pair.name, pair.lr.width(), pair.hr.height()), ("0801", 3, 4));
        assert!(pairs.pair(2).is_none());
    }
}
