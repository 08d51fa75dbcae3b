//! Which images an archive should have, and of what size.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::findings::Problem;
use super::picture::Size;
use super::{Error, SCALE};
use crate::{dataset, imaging};

/// A phase of the challenge, with the official DIV2K names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Phase {
    /// DIV2K validation: `0801.png` to `0900.png`.
    Validation,
    /// DIV2K test: `0901.png` to `1000.png`.
    Test,
}

impl Phase {
    /// The stems of the images, in order.
    pub fn stems(self) -> impl Iterator<Item = String> {
        let numbers = match self {
            Self::Validation => 801..=900,
            Self::Test => 901..=1000,
        };
        numbers.map(|number| format!("{number:04}"))
    }
}

/// Where the expected images are taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// One result for each PNG or BMP image in this folder of LR images, four times its size, named without a trailing `x4`.
    Lr(PathBuf),
    /// The official names of a phase; sizes are then only checked to be multiples of four.
    Phase(Phase),
    /// Nothing is known: any image is welcome, and the report says that the set was not checked.
    Unknown,
}

/// The expected members, looked up.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// File names and, where known, sizes; `None` when the set is not known.
    pub(super) images: Option<BTreeMap<String, Option<Size>>>,
    /// What a reader of the report should know about it.
    pub(super) problems: Vec<Problem>,
}

impl Expectation {
    /// Looks the expected images up.
    ///
    /// # Errors
    /// [`Error`] when the LR folder cannot be read, has no images, one that cannot be decoded, or two that would have the same result.
    pub(super) fn resolve(&self) -> Result<Expected, Error> {
        match self {
            Self::Lr(folder) => from_folder(folder),
            Self::Phase(phase) => Ok(Expected {
                images: Some(phase.stems().map(|stem| (format!("{stem}.png"), None)).collect()),
                problems: vec![Problem::note(
                    format!("sizes were only checked to be multiples of {SCALE}"),
                    "give --lr DIR with the LR images to check them exactly",
                )],
            }),
            Self::Unknown => Ok(Expected {
                images: None,
                problems: vec![Problem::note(
                    "which images should be there, and their sizes, was not checked",
                    "give --lr DIR with the LR images, or --phase validation or test",
                )],
            }),
        }
    }
}

fn from_folder(folder: &Path) -> Result<Expected, Error> {
    let list = dataset::list_images(folder)?;
    let mut images = BTreeMap::new();
    for path in &list.images {
        let name = format!("{}.png", dataset::lr_stem(path, SCALE)?);
        let lr = imaging::decode_file(path).map_err(dataset::Error::from)?.image;
        let size = (lr.width().saturating_mul(SCALE), lr.height().saturating_mul(SCALE));
        if images.insert(name.clone(), Some(size)).is_some() {
            let reason = format!("another LR image gives the same result name `{name}`; remove one");
            return Err(Error::Expectation { path: path.clone(), reason });
        }
    }
    let mut problems = Vec::new();
    if !list.ignored.is_empty() {
        let what = format!(
            "{} entries of the LR folder are not PNG or BMP images and were ignored",
            list.ignored.len()
        );
        problems.push(Problem::note(what, "nothing, if they are not LR images"));
    }
    Ok(Expected { images: Some(images), problems })
}
