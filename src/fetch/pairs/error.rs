//! Why two folders do not belong together.

use std::path::PathBuf;

use super::Difference;
use crate::{dataset, imaging};

/// Problems that an error names; more are only counted.
const NAMED: usize = 5;

/// Why two folders are no set of pairs, or could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A folder cannot be listed, or holds no images.
    #[error(transparent)]
    Folder(#[from] dataset::Error),
    /// There is no bicubic shrink by this scale.
    #[error(transparent)]
    Scale(imaging::Error),
    /// Some of the files are not what they should be.
    #[error(
        "the LR images of `{lr_dir}` do not belong to the HR images of `{hr_dir}` at scale {scale}:\n  {}\n{}",
        named(.problems),
        advice(.problems, *.scale)
    )]
    Unsound {
        /// The LR folder.
        lr_dir: PathBuf,
        /// The HR folder.
        hr_dir: PathBuf,
        /// The scale.
        scale: usize,
        /// Everything that is wrong, in order of names; at least one.
        problems: Vec<Problem>,
    },
    /// The caller stopped it.
    #[error("stopped while comparing `{lr_dir}` with `{hr_dir}`: nothing is changed, start again any time")]
    Stopped {
        /// The LR folder.
        lr_dir: PathBuf,
        /// The HR folder.
        hr_dir: PathBuf,
    },
}

/// What is wrong with one pair or one file.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A file without a partner or with several.
    #[error("{0}")]
    Unpaired(String),
    /// An image that cannot be read or decoded, or an HR image that is not `scale` times its LR image.
    #[error(transparent)]
    Image(#[from] dataset::Error),
    /// An LR image that should be the bicubic shrink of its HR image, and is that under no border rule.
    #[error("LR `{lr}` is not the bicubic shrink of HR `{hr}`: {difference}")]
    NotBicubic {
        /// The LR image.
        lr: PathBuf,
        /// The HR image.
        hr: PathBuf,
        /// How it differs from the closest of ours.
        difference: Difference,
    },
}

/// The first problems, a line each.
fn named(problems: &[Problem]) -> String {
    let mut lines: Vec<String> = problems.iter().take(NAMED).map(ToString::to_string).collect();
    if problems.len() > NAMED {
        lines.push(format!("and {} more", problems.len() - NAMED));
    }
    lines.join("\n  ")
}

/// What to do, which follows from what is wrong.
fn advice(problems: &[Problem], scale: usize) -> String {
    if problems.iter().any(|problem| matches!(problem, Problem::Unpaired(_))) {
        return format!(
            "expected names like 0801.png with 0801x{scale}.png or 0801.png: fetch what is missing, or give two folders of one dataset and this scale"
        );
    }
    let fetch = "fetch these images again, and check that both folders are of one dataset and this scale";
    if problems.iter().any(|problem| matches!(problem, Problem::NotBicubic { .. })) {
        return format!(
            "{fetch}: this LR set is published as a bicubic one, so these files are not the published ones"
        );
    }
    fetch.to_owned()
}
