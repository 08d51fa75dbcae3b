//! Sets of image pairs: which files belong together, their patches, one file that holds a set decoded, and the demo set that is
//! generated on the spot.
//!
//! It decides by names only; whether sizes fit is found where images are compared or sampled. The important invariant: no file of a
//! folder is silently left out of a set.

mod crop;
pub mod demo;
mod error;
mod loaded;
pub mod packed;
mod pairs;

pub use crop::{Coverage, Crop, PairView, Pairs};
pub use error::Error;
pub use loaded::{LoadedPair, load_pair, load_pairs};
pub use pairs::{ImageList, Pair, PairList, list_images, lr_stem, pair_folders};
