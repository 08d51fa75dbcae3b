//! Choices that were made before, in a file of the user's cache.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::kernels;
use super::super::ways::Way;
use crate::fsio::{self, Artefact};
use crate::gpu::device::Gpu;

/// What a choice holds for: the same device, libraries and program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Circumstances {
    /// The device's name.
    device: String,
    /// The CUDA version of its driver.
    driver_cuda: String,
    /// The version of cuDNN; none where there is none.
    cudnn: Option<String>,
    /// SHA-256 of all our kernels.
    kernels: String,
}

impl Circumstances {
    /// Those of this process.
    pub(super) fn of(gpu: &Gpu, cudnn: Option<String>) -> Self {
        Self {
            device: gpu.facts().name.clone(),
            driver_cuda: gpu.cuda_version(),
            cudnn,
            kernels: kernels::fingerprint(),
        }
    }
}

/// What was found out about one convolution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    /// The fastest way.
    pub(super) way: Way,
    /// How long it took.
    pub(super) ms: f64,
    /// How long our own kernels took.
    pub(super) own_ms: f64,
}

/// The file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    schema: u64,
    circumstances: Circumstances,
    answers: BTreeMap<String, Answer>,
}

impl Artefact for Kept {
    const WHAT: &'static str = "list of chosen convolutions";
    const SCHEMA: u64 = 1;
}

/// Answers with the file that they are kept in.
pub(super) struct Store {
    file: PathBuf,
    kept: Kept,
    changed: bool,
}

impl Store {
    /// What is kept for these circumstances; nothing where the file is not there or not readable, because it can be made anew.
    pub(super) fn open(folder: &Path, circumstances: Circumstances) -> Self {
        let name =
            serde_json::to_vec(&circumstances).map(|bytes| fsio::sha256_hex(&bytes)).unwrap_or_default();
        let file = folder.join(format!("convolutions-{}.json", name.get(..16).unwrap_or_default()));
        let read = fsio::read_json::<Kept>(&file).ok().filter(|kept| kept.circumstances == circumstances);
        let fresh = || Kept { schema: Kept::SCHEMA, circumstances, answers: BTreeMap::new() };
        Self { kept: read.unwrap_or_else(fresh), file, changed: false }
    }

    pub(super) fn answer(&self, key: &str) -> Option<Way> {
        self.kept.answers.get(key).map(|answer| answer.way)
    }

    pub(super) fn insert(&mut self, key: &str, answer: Answer) {
        self.kept.answers.insert(key.to_owned(), answer);
        self.changed = true;
    }

    /// Writes the file. That it cannot be written is worth a word, but no failure: the choices hold for this process all the same.
    pub(super) fn save(&mut self) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        let folder = self.file.parent().unwrap_or(Path::new("."));
        let made = std::fs::create_dir_all(folder);
        let made = fsio::io_context(made, "create", folder);
        if let Err(error) = made.and_then(|()| fsio::write_json(&self.file, &self.kept)) {
            tracing::warn!("the choice of kernels is not kept for the next run: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_kept_for_their_circumstances_only() {
        let folder = tempfile::tempdir().unwrap();
        let here = |cudnn: Option<&str>| Circumstances {
            device: "a GPU".into(),
            driver_cuda: "12.4".into(),
            cudnn: cudnn.map(Into::into),
            kernels: "0".repeat(64),
        };
        let open = |cudnn: Option<&str>| Store::open(&folder.path().join("esr"), here(cudnn));
        let mut store = open(Some("9.1.0"));
        store.insert("a", Answer { way: Way::Cudnn(3), ms: 0.5, own_ms: 1.0 });
        store.insert("b", Answer { way: Way::Hopper, ms: 0.5, own_ms: 1.0 });
        store.save();
        let store = open(Some("9.1.0"));
        assert_eq!(
            [store.answer("a"), store.answer("b"), store.answer("c")],
            [Some(Way::Cudnn(3)), Some(Way::Hopper), None]
        );
        assert_eq!(open(Some("9.2.0")).answer("a"), None);
        assert_eq!(open(None).answer("a"), None);
        // What cannot be read is made anew.
        std::fs::write(&store.file, "{").unwrap();
        let mut anew = open(Some("9.1.0"));
        assert_eq!(anew.answer("a"), None);
        anew.insert("a", Answer { way: Way::Own, ms: 1.0, own_ms: 1.0 });
        anew.save();
        assert_eq!(open(Some("9.1.0")).answer("a"), Some(Way::Own));
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_no_failure() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let here = Circumstances {
            device: String::new(),
            driver_cuda: String::new(),
            cudnn: None,
            kernels: String::new(),
        };
        let mut store = Store::open(&file, here);
        store.insert("a", Answer { way: Way::Own, ms: 1.0, own_ms: 1.0 });
        store.save();
        assert_eq!((store.answer("a"), std::fs::read(&file).unwrap().len()), (Some(Way::Own), 0));
    }
}
