//! What can be wrong with a set of images.

use std::path::PathBuf;

/// Why a set of images cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error(transparent)]
    File(#[from] crate::fsio::Error),
    /// An image could not be decoded, resized or written.
    #[error(transparent)]
    Image(#[from] crate::imaging::Error),
    /// The path is missing, or is not a folder.
    #[error("`{path}` is not a folder: give the folder that holds the {what} images")]
    NotAFolder {
        /// The path.
        path: PathBuf,
        /// "LR", "HR" or "input".
        what: &'static str,
    },
    /// A folder without a single image.
    #[error(
        "`{path}` holds no PNG or BMP image ({ignored} other entries): give the folder that holds the {what} images itself"
    )]
    NoImages {
        /// The folder.
        path: PathBuf,
        /// "LR", "HR" or "input".
        what: &'static str,
        /// Files and folders in it that are no images by name.
        ignored: usize,
    },
    /// A name that is not Unicode has no stem to compare.
    #[error("the file name of `{path}` is not valid UTF-8: rename it")]
    Name {
        /// The file.
        path: PathBuf,
    },
    /// An HR image that is not `scale` times its LR image.
    #[error(
        "`{hr}` has {}x{} pixels and `{lr}` {}x{}: the HR image should be {scale} times as large (up to {scale} - 1 pixels more)",
        .hr_size.0, .hr_size.1, .lr_size.0, .lr_size.1
    )]
    PairSize {
        /// The LR image.
        lr: PathBuf,
        /// The HR image.
        hr: PathBuf,
        /// LR width and height in pixels.
        lr_size: (usize, usize),
        /// HR width and height in pixels.
        hr_size: (usize, usize),
        /// The scale.
        scale: usize,
    },
    /// Some files have no partner, or more than one.
    #[error(
        "the images of `{lr_dir}` and `{hr_dir}` do not pair up at scale {scale} (expected names like 0801.png with 0801x{scale}.png or \
         0801.png, or a_HR.png with a_LRx{scale}.png):\n  {}",
        .problems.join("\n  ")
    )]
    Unpaired {
        /// The LR folder.
        lr_dir: PathBuf,
        /// The HR folder.
        hr_dir: PathBuf,
        /// The scale.
        scale: usize,
        /// One line for each file that is wrong, in order of names.
        problems: Vec<String>,
    },
    /// The compiled-in list of the demo set does not parse or contradicts itself.
    #[error("the list of the demo set (`manifest/demo.toml`) is wrong: {reason}")]
    DemoManifest {
        /// How.
        reason: String,
    },
    /// A generated demo image is not the one recorded.
    #[error(
        "the generated demo image {name} ({what}) has SHA-256 {found}, expected {expected}: this is a fault of the program, please report it"
    )]
    DemoMismatch {
        /// The image's name.
        name: String,
        /// "HR" or "LR".
        what: &'static str,
        /// The recorded hash.
        expected: String,
        /// The hash of what was generated.
        found: String,
    },
}
