//! The demo set: 24 training and 6 validation images, generated where they are needed.
//!
//! Datasets of photographs may not be shipped and take gigabytes to fetch; these pictures need neither, so the whole pipeline runs on a fresh
//! machine without a network. They have what super-resolution learns from: occlusion at all scales (dead leaves with a power law of sizes), sharp
//! anti-aliased edges, shading, gratings, writing and fine texture, in correlated colours. They are no benchmark: numbers on them compare with
//! nothing published.
//!
//! The important invariant: the same bytes on every machine. Pictures are computed from integers and from operations that IEEE 754 defines exactly
//! (`arith`); `manifest/demo.toml` holds the hash of each, and whatever is written to disk is compared with it first.

mod arith;
mod canvas;
mod manifest;
mod materialise;
mod paint;
mod random;
mod scene;
mod shape;

pub use manifest::{DemoImage, DemoManifest, manifest};
pub use materialise::{Materialised, materialise};

use crate::dataset::Error;
use crate::imaging::{Border, RgbImage, downscale};

/// The part of a dataset an image belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// For training.
    Train,
    /// For validation.
    Valid,
}

impl Split {
    /// Both, in the order in which images are numbered.
    pub const ALL: [Self; 2] = [Self::Train, Self::Valid];

    /// The name of its folder.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Valid => "valid",
        }
    }

    /// How many images it has.
    pub fn count(self) -> usize {
        match self {
            Self::Train => 24,
            Self::Valid => 6,
        }
    }
}

/// Width and height of every HR image in pixels: multiples of 2, 3, 4 and 8.
const SIZE: (usize, usize) = (480, 336);

/// Generates the HR image of that number (from 0) of a split. Pure: the same image at every call, on every machine. Numbers beyond [`Split::count`]
/// give further images that are not part of the set.
pub fn generate(split: Split, index: usize) -> RgbImage {
    let first = match split {
        Split::Train => 0x7261_696e_0000_0000u64,
        Split::Valid => 0x7661_6c69_0000_0000u64,
    };
    let mut random = random::Random::of_scene(first, index);
    let mut canvas = canvas::Canvas::new(SIZE.0, SIZE.1);
    scene::draw(index, &mut canvas, &mut random);
    canvas.render()
}

/// Generates the LR image of that number: the HR image reduced as the set's LR files are.
///
/// # Errors
/// [`Error::Image`] never for this set's sizes; it is passed on from the resizing.
pub fn lr_image(split: Split, index: usize) -> Result<RgbImage, Error> {
    Ok(downscale(&generate(split, index), 4, Border::Mirror)?)
}
