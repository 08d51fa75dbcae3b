//! Submission archives: making them, and opening them as suspiciously as a server would.
//!
//! [`package`] writes a flat zip of result images and `readme.txt` whose bytes follow from its inputs alone. [`validate()`] audits any
//! archive and trusts nothing in it: every size is bounded before memory is taken. Neither judges image quality or the
//! rules of a year; that is `compliance`. The invariant is that what [`package`] writes, [`validate()`] accepts.

mod archive;
mod audit;
mod contents;
mod expectation;
mod findings;
mod names;
pub mod package;
mod picture;
#[cfg(test)]
mod rawzip;
pub mod readme;
#[cfg(test)]
mod tests;
mod validate;

use std::path::PathBuf;

pub use expectation::{Expectation, Phase};
pub use findings::{Counts, Finding, Report, Severity};
pub use package::{build, sha256sums, write};
pub use readme::Readme;
pub use validate::validate;

use crate::fsio;

/// The factor between LR and SR sizes in every ESR challenge.
pub const SCALE: usize = 4;
/// The name of the text in every archive.
pub const README_NAME: &str = "readme.txt";

/// An archive could not be made, or could not be opened at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] fsio::Error),
    /// The folder of LR images could not be listed, or an image in it not be read.
    #[error(transparent)]
    Lr(#[from] crate::dataset::Error),
    /// The file is no zip archive, or one whose list of members cannot be found.
    #[error("cannot open `{path}` as a zip archive: {reason}")]
    NotAnArchive {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The folder of LR images does not say what to expect.
    #[error("cannot take the expected images from `{path}`: {reason}")]
    Expectation {
        /// The folder, or the image in it.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An archive of these images would not be accepted.
    #[error("cannot package `{name}`: {reason}")]
    Member {
        /// The stem of the image, or the readme.
        name: String,
        /// What is wrong.
        reason: String,
    },
}
