//! Image pairs held in memory, decoded.

use rayon::prelude::*;

use super::{Error, Pair};
use crate::imaging::{self, RgbImage};
use crate::metrics;

/// An LR image and its HR image.
#[derive(Clone, Debug)]
pub struct LoadedPair {
    /// The HR file's stem.
    pub name: String,
    /// The LR image.
    pub lr: RgbImage,
    /// The HR image, mod-cropped to exactly `scale` times the LR image.
    pub hr: RgbImage,
}

/// Decodes every pair and checks that the sizes belong together.
///
/// # Errors
/// [`Error::Image`] when an image cannot be read, [`Error::PairSize`] when the HR image is not `scale` times the LR image.
pub fn load_pairs(pairs: &[Pair], scale: usize) -> Result<Vec<LoadedPair>, Error> {
    pairs.par_iter().map(|pair| load_pair(pair, scale)).collect()
}

/// Decodes one pair and checks that its sizes belong together.
///
/// # Errors
/// As [`load_pairs`].
pub fn load_pair(pair: &Pair, scale: usize) -> Result<LoadedPair, Error> {
    let lr = imaging::decode_file(&pair.lr)?.image;
    let full = imaging::decode_file(&pair.hr)?.image;
    let (lr, hr) = fit(pair, lr, full, scale)?;
    Ok(LoadedPair { name: pair.name.clone(), lr, hr })
}

/// The LR image, and the HR image cut to exactly `scale` times it.
pub(super) fn fit(
    pair: &Pair,
    lr: RgbImage,
    full: RgbImage,
    scale: usize,
) -> Result<(RgbImage, RgbImage), Error> {
    let full_size = (full.width(), full.height());
    // Most images need no cut, and copying one costs as much as writing it.
    let divides = |side: usize| side.checked_rem(scale) == Some(0);
    let hr = match divides(full.width()) && divides(full.height()) {
        true => Some(full),
        false => metrics::mod_crop(&full, scale).ok(),
    };
    match hr {
        Some(hr) if hr.width() == lr.width() * scale && hr.height() == lr.height() * scale => Ok((lr, hr)),
        _ => Err(Error::PairSize {
            lr: pair.lr.clone(),
            hr: pair.hr.clone(),
            lr_size: (lr.width(), lr.height()),
            hr_size: full_size,
            scale,
        }),
    }
}
