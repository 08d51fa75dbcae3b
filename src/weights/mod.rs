//! Weights: released checkpoints in, safetensors in and out.
//!
//! A file is recognised by its content, never by its extension: both containers of `torch.save` (the zip of PyTorch 1.6 and
//! later, and the stream of pickles before it) and safetensors. Everything becomes one [`StateDict`] of `f32` arrays. A checkpoint is
//! data from outside: pickles are read by an interpreter that can only build plain values and tensors, every size is checked
//! before memory is taken, and a file that asks for anything else is an error.
//!
//! This module knows no architecture; [`strict()`] compares what a file holds with what a model wants. The invariant is that a returned
//! [`Checkpoint`] holds exactly the values of the file: what was converted, unwrapped or ignored is said in its notes.

mod convert;
mod error;
mod legacy;
mod pickle;
mod safetensors;
mod statedict;
mod strict;
mod tensor;
#[cfg(test)]
mod testdata;
#[cfg(test)]
mod tests;
mod torchzip;
mod value;

use std::collections::BTreeMap;
use std::path::Path;

pub use error::{Error, Problem};
pub use safetensors::write_safetensors;
pub use strict::{Misshapen, StrictError, strict};

use crate::array::Array;
use crate::fsio;

/// Named tensors of a model, converted to `f32`. Convolution weights are OIHW, as PyTorch keeps them.
pub type StateDict = BTreeMap<String, Array<f32>>;

/// The largest checkpoint that is read. ESR checkpoints have a few megabytes; with optimiser state some tens.
const FILE_LIMIT_BYTES: u64 = 512 << 20;

/// How the tensors were stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// `torch.save` of PyTorch 1.6 and later: a zip with a pickle and one member per storage.
    TorchZip,
    /// `torch.save` before PyTorch 1.6: five pickles followed by the raw storages.
    TorchLegacy,
    /// safetensors: a JSON header followed by the raw tensors.
    Safetensors,
}

impl std::fmt::Display for Container {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TorchZip => "PyTorch checkpoint (zip)",
            Self::TorchLegacy => "PyTorch checkpoint (before 1.6)",
            Self::Safetensors => "safetensors file",
        })
    }
}

/// What a weights file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The tensors by name, without the wrapper and the prefix named below.
    pub tensors: StateDict,
    /// The container the file was recognised as.
    pub container: Container,
    /// The dictionary entry the tensors were found under, such as `params_ema`; nested entries are joined by a dot.
    pub wrapper: Option<String>,
    /// The prefix that was taken off every name, such as `module.`.
    pub prefix: Option<String>,
    /// What a reader should know: conversions, entries that were ignored, non-contiguous tensors. One sentence each.
    pub notes: Vec<String>,
    /// The string metadata of a safetensors file; empty for the other containers.
    pub metadata: BTreeMap<String, String>,
    /// The SHA-256 of the whole file in lower-case hexadecimal.
    pub sha256: String,
}

/// Reads a weights file of any supported container.
///
/// # Errors
/// [`Error::File`] when the file cannot be read or has more than 512 MiB, [`Error::Unrecognised`] when its content is of no known
/// container, and [`Error::Malformed`] when it breaks the rules or the limits of its container. No code in the file is ever run.
pub fn read(path: &Path) -> Result<Checkpoint, Error> {
    let bytes = fsio::read_limited(path, FILE_LIMIT_BYTES)?;
    let Some(container) = recognise(&bytes) else {
        let start = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
        return Err(Error::Unrecognised { path: path.to_path_buf(), bytes: bytes.len(), start });
    };
    decode(&bytes, container).map_err(|problem| Error::Malformed {
        path: path.to_path_buf(),
        container,
        problem: Box::new(problem),
    })
}

/// The container whose beginning `bytes` has.
fn recognise(bytes: &[u8]) -> Option<Container> {
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
        Some(Container::TorchZip)
    } else if legacy::has_magic(bytes) {
        Some(Container::TorchLegacy)
    } else if safetensors::has_header(bytes) {
        Some(Container::Safetensors)
    } else {
        None
    }
}

/// Decodes bytes that were recognised as `container`.
fn decode(bytes: &[u8], container: Container) -> Result<Checkpoint, Problem> {
    let decoded = match container {
        Container::TorchZip => torchzip::decode(bytes)?,
        Container::TorchLegacy => legacy::decode(bytes)?,
        Container::Safetensors => safetensors::decode(bytes)?,
    };
    Ok(decoded.into_checkpoint(container, fsio::sha256_hex(bytes)))
}
