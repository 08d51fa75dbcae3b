//! What can be wrong with a packed set.

use std::path::PathBuf;

use crate::dataset;
use crate::fsio;
use crate::interrupt::Signal;
use crate::space::SpaceError;

/// Why a packed set could not be written or used.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A file could not be read or written. What was written of a packed set is kept, and packing again goes on from it.
    #[error(transparent)]
    File(#[from] fsio::Error),
    /// An image cannot be decoded, or the images of a pair do not belong together.
    #[error(transparent)]
    Dataset(#[from] dataset::Error),
    /// There is not enough room for it.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// Nothing to pack.
    #[error("there are no image pairs to pack into `{path}`")]
    NoPairs {
        /// The packed set.
        path: PathBuf,
    },
    /// A scale that no file can say.
    #[error("cannot pack pairs of scale {found}, expected 1 to {most}")]
    Scale {
        /// The scale asked for.
        found: usize,
        /// The largest.
        most: u32,
    },
    /// A name that does not fit into a record.
    #[error(
        "the name of image `{name}` has {found_bytes} bytes, more than the {limit_bytes} of a packed set: rename the files"
    )]
    Name {
        /// The name.
        name: String,
        /// Its length.
        found_bytes: usize,
        /// The longest.
        limit_bytes: usize,
    },
    /// Another process is writing the same file.
    #[error("`{path}` is being written by another esr: wait for it")]
    Busy {
        /// The unfinished file.
        path: PathBuf,
    },
    /// Some other file. It is never overwritten.
    #[error("`{path}` is not a packed set of image pairs (it does not begin with `esrpack`): move it away")]
    NotPacked {
        /// The file.
        path: PathBuf,
    },
    /// Written by a newer program. It is never overwritten.
    #[error(
        "`{path}` is a packed set of version {found}, this program reads up to {supported}: use a newer esr, or delete the file to pack again"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version this program reads.
        supported: u32,
    },
    /// What describes the images is not as it was written.
    #[error("the packed set `{path}` is damaged: {reason}; delete it to pack again")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, with what was expected and found.
        reason: String,
    },
    /// Bytes are not the ones that were written.
    #[error("the packed set `{path}` is damaged in {} place(s): {}; delete it to pack again", .places.len(), .places.join(", "))]
    Checksums {
        /// The file.
        path: PathBuf,
        /// Every image and every part whose checksum is wrong.
        places: Vec<String>,
    },
    /// A signal came; what is written is kept.
    #[error("packing was interrupted; packing again goes on where it stopped")]
    Interrupted(Signal),
}
