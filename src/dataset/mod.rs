//! Sets of image pairs: which files belong together, and the demo set that is generated on the spot.
//!
//! It decides by names only; whether sizes fit is found where images are compared or sampled. The important invariant: no file of a
//! folder is silently left out of a set.

pub mod demo;
mod error;
mod loaded;
mod pairs;

pub use error::Error;
pub use loaded::{LoadedPair, images_sha256, load_pairs};
pub use pairs::{ImageList, Pair, PairList, list_images, lr_stem, pair_folders};
