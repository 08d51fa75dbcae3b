//! Why a weights file was refused.

use std::path::PathBuf;

use super::Container;
use crate::fsio;

/// A weights file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file itself could not be read or written.
    #[error(transparent)]
    File(#[from] fsio::Error),
    /// The content is of no known container.
    #[error(
        "`{path}` is not a weights file: its {bytes} bytes start with `{start}`, which is neither a PyTorch checkpoint (zip, or the \
         older pickle stream) nor safetensors; was the download complete?"
    )]
    Unrecognised {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: usize,
        /// Its first bytes in hexadecimal.
        start: String,
    },
    /// The content breaks the rules or the limits of its container.
    #[error("cannot read `{path}` as a {container}: {problem}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it was recognised as.
        container: Container,
        /// What is wrong.
        problem: Box<Problem>,
    },
    /// Tensors cannot be written under these names.
    #[error(
        "cannot write `{path}`: `{name}` is reserved by the safetensors format and cannot be the name of a tensor"
    )]
    ReservedName {
        /// The file that was to be written.
        path: PathBuf,
        /// The name.
        name: String,
    },
}

/// What is wrong inside a weights file.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The pickle ends in the middle of something.
    #[error("the pickle ends at byte {at} in the middle of {what}: the file is truncated or damaged")]
    Truncated {
        /// The offset in the pickle stream.
        at: usize,
        /// What was being read.
        what: &'static str,
    },
    /// An instruction that weights do not need.
    #[error("pickle instruction 0x{opcode:02x} at byte {at} is not used by weights and not supported")]
    Opcode {
        /// The instruction.
        opcode: u8,
        /// The offset in the pickle stream.
        at: usize,
    },
    /// The pickle names a class or function other than those tensors are made of.
    #[error(
        "the pickle wants `{name}`, which is not needed for weights; no code in a checkpoint is ever run. If the file comes from someone \
         you trust, save the plain weights again: torch.save(model.state_dict(), \"weights.pth\")"
    )]
    ForbiddenGlobal {
        /// Module and name as the pickle gives them.
        name: String,
    },
    /// The pickle contradicts itself.
    #[error("the pickle is damaged at byte {at}: {what}")]
    Pickle {
        /// The offset in the pickle stream.
        at: usize,
        /// What is wrong.
        what: String,
    },
    /// Something is larger than any honest weights file needs.
    #[error("{what} exceeds the limit of {limit}")]
    Limit {
        /// What is too large.
        what: String,
        /// The limit, in the unit of `what`.
        limit: u64,
    },
    /// The zip around the pickle cannot be read.
    #[error("{member}: {reason}")]
    Zip {
        /// The member of the archive, or "the archive".
        member: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The safetensors header or layout is wrong.
    #[error("{0}")]
    Safetensors(String),
    /// A tensor does not fit its storage, or is of a type that cannot be converted.
    #[error("tensor `{name}`: {reason}")]
    Tensor {
        /// Its name in the file.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// No tensors were found.
    #[error(
        "there are no weights in it: {found}; expected a dictionary of tensors, or one wrapped in {expected}"
    )]
    NoWeights {
        /// What the file holds instead.
        found: String,
        /// The wrappers that are understood.
        expected: String,
    },
    /// The storages behind the pickles of an old checkpoint are not as announced.
    #[error("storage `{key}`: {reason}")]
    Storage {
        /// The key of the storage.
        key: String,
        /// What is wrong.
        reason: String,
    },
}

impl Problem {
    /// A limit that was passed.
    pub(super) fn limit(what: impl Into<String>, limit: impl TryInto<u64>) -> Self {
        Self::Limit { what: what.into(), limit: limit.try_into().unwrap_or(u64::MAX) }
    }

    /// A tensor that cannot be taken.
    pub(super) fn tensor(name: &str, reason: impl Into<String>) -> Self {
        Self::Tensor { name: shorten(name), reason: reason.into() }
    }
}

/// A name from a file, short enough for a message and without control characters.
pub(super) fn shorten(name: &str) -> String {
    const SHOWN_CHARACTERS: usize = 120;
    let mut short: String = name.chars().take(SHOWN_CHARACTERS).flat_map(char::escape_debug).collect();
    if name.chars().nth(SHOWN_CHARACTERS).is_some() {
        short.push('…');
    }
    short
}
