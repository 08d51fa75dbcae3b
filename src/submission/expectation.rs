//! Which images an archive should have, and of what size.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::findings::Problem;
use super::picture::{self, Size};
use super::{Error, SCALE};
use crate::fsio;

/// The largest LR image file.
const LR_LIMIT_BYTES: u64 = 64 << 20;

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
    /// One result for each PNG in this folder of LR images, four times its size, named without a trailing `x4`.
    Lr(PathBuf),
    /// The official names of a phase; sizes are then only checked to be multiples of four.
    Phase(Phase),
    /// Nothing is known: any image is welcome, and the report says that the set was not checked.
    Unknown,
}

/// The name of a result without `.png`, from the stem of the LR image: `0801x4` and `0801` give `0801`.
pub fn result_stem(lr_stem: &str) -> &str {
    lr_stem.strip_suffix("x4").filter(|stem| !stem.is_empty()).unwrap_or(lr_stem)
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
    /// [`Error`] when the LR folder cannot be read, has no PNG images, or two that would have the same result.
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
    let bad = |path: &Path, reason: String| Error::Expectation { path: path.to_path_buf(), reason };
    let mut images = BTreeMap::new();
    let mut others = 0usize;
    for entry in fsio::io_context(fs::read_dir(folder), "read folder", folder)? {
        let path = fsio::io_context(entry, "read folder", folder)?.path();
        if !path.extension().and_then(OsStr::to_str).is_some_and(|e| e.eq_ignore_ascii_case("png")) {
            others += 1;
            continue;
        }
        let stem = path.file_stem().and_then(OsStr::to_str);
        let stem = stem.ok_or_else(|| bad(&path, "its name is not valid UTF-8; rename it".to_string()))?;
        let name = format!("{}.png", result_stem(stem));
        let bytes = fsio::read_limited(&path, LR_LIMIT_BYTES)?;
        let (width, height) =
            picture::size(&bytes).map_err(|error| bad(&path, format!("it is not a PNG image: {error}")))?;
        let size = (width.saturating_mul(SCALE), height.saturating_mul(SCALE));
        if images.insert(name.clone(), Some(size)).is_some() {
            return Err(bad(
                &path,
                format!("another LR image gives the same result name `{name}`; remove one"),
            ));
        }
    }
    if images.is_empty() {
        return Err(bad(
            folder,
            "there are no PNG images in it; give the folder of the LR images".to_string(),
        ));
    }
    let mut problems = Vec::new();
    if others > 0 {
        let what = format!("{others} file(s) in the LR folder are not PNG images and were ignored");
        problems.push(Problem::note(what, "nothing, if they are not LR images"));
    }
    Ok(Expected { images: Some(images), problems })
}
