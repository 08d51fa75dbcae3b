//! The images of a run: generated, or folders that must be there.

use std::path::{Path, PathBuf};

use super::settings::{DataSettings, FolderPair, RunSettings};
use crate::dataset::{self, LoadedPair, Pair, demo};

/// Images that a profile needs are not there.
#[derive(Debug, thiserror::Error)]
#[error(
    "profile `{profile}` needs data that is not here:\n{}\nRun `esr fetch {profile}`, put the folders there yourself (unpacked archives of DIV2K and Flickr2K have these names), or name \
     another data folder with --data; without any data, `esr reproduce --profile demo` walks the whole way on generated images",
    .missing.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
)]
pub struct MissingData {
    /// The profile.
    pub profile: String,
    /// One line for each thing that is missing.
    pub missing: Vec<String>,
}

/// Training images in memory.
pub struct TrainingMaterial {
    /// Training pairs.
    pub train: Vec<LoadedPair>,
    /// Validation pairs.
    pub valid: Vec<LoadedPair>,
}

/// The folders of a run's images below the data folder.
pub(super) struct Folders {
    pub(super) train: Vec<FolderPair>,
    pub(super) valid: FolderPair,
}

/// Name of the demo set's folder in the data folder.
const DEMO_FOLDER: &str = "demo";

impl Folders {
    /// The folders that the settings name, as paths.
    pub(super) fn of(settings: &RunSettings, data: &Path) -> Self {
        let demo = |split: demo::Split, name: &str| {
            let folder = data.join(DEMO_FOLDER).join(split.folder());
            FolderPair {
                name: name.into(),
                lr: folder.join("LR_x4"),
                hr: folder.join("HR"),
                pairs: split.count(),
            }
        };
        let below = |pair: &FolderPair| FolderPair {
            lr: data.join(&pair.lr),
            hr: data.join(&pair.hr),
            ..pair.clone()
        };
        match &settings.data {
            DataSettings::Generated => Self {
                train: vec![demo(demo::Split::Train, "demo train, generated")],
                valid: demo(demo::Split::Valid, "demo validation, generated"),
            },
            DataSettings::Folders { train, valid } => {
                Self { train: train.iter().map(below).collect(), valid: below(valid) }
            }
        }
    }

    /// The validation pairs on disk.
    pub(super) fn valid_pairs(&self, scale: usize) -> Result<Vec<Pair>, dataset::Error> {
        Ok(dataset::pair_folders(&self.valid.lr, &self.valid.hr, scale)?.pairs)
    }

    /// The training pairs on disk, set after set.
    pub(super) fn train_pairs(&self, scale: usize) -> Result<Vec<Pair>, dataset::Error> {
        let mut pairs = Vec::new();
        for folders in &self.train {
            pairs.extend(dataset::pair_folders(&folders.lr, &folders.hr, scale)?.pairs);
        }
        Ok(pairs)
    }
}

/// Generates the demo set where it is wanted and not there yet; otherwise looks whether all folders and weights are there.
///
/// # Errors
/// [`MissingData`] listing everything that is missing, so that one look suffices.
pub(super) fn provide(settings: &RunSettings, data: &Path) -> Result<Folders, Error> {
    let folders = Folders::of(settings, data);
    if settings.data == DataSettings::Generated {
        demo::materialise(&data.join(DEMO_FOLDER))?;
        return Ok(folders);
    }
    let mut missing = Vec::new();
    for set in folders.train.iter().chain([&folders.valid]) {
        for (what, folder) in [("LR", &set.lr), ("HR", &set.hr)] {
            match dataset::list_images(folder) {
                Ok(list) if list.images.len() == set.pairs => {}
                Ok(list) => missing.push(format!(
                    "{} ({what}): `{}` has {} images, {} are expected",
                    set.name,
                    folder.display(),
                    list.images.len(),
                    set.pairs
                )),
                Err(_) => missing.push(format!(
                    "{} ({what}): `{}` with {} images",
                    set.name,
                    folder.display(),
                    set.pairs
                )),
            }
        }
    }
    if let Some(released) = &settings.released {
        let file = data.join(&released.file);
        if !file.is_file() {
            missing.push(format!("released weights: `{}`, from {}", file.display(), released.url));
        }
    }
    match missing.is_empty() {
        true => Ok(folders),
        false => Err(MissingData { profile: settings.profile.to_string(), missing }.into()),
    }
}

/// Why images are not available.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something is not there.
    #[error(transparent)]
    Missing(#[from] MissingData),
    /// A set cannot be used.
    #[error(transparent)]
    Dataset(#[from] dataset::Error),
    /// The images do not fit into memory.
    #[error(
        "the images take about {needed_gib:.1} GiB in memory and {available_gib:.1} GiB are available: train on a machine with more memory, or on fewer images"
    )]
    Memory {
        /// Needed.
        needed_gib: f64,
        /// Available.
        available_gib: f64,
    },
}

/// Loads the training and validation images that settings name. `data` is the data folder.
///
/// # Errors
/// [`Error`] when something is missing, damaged, or too large for this machine's memory.
pub fn load_training(settings: &RunSettings, data: &Path, scale: usize) -> Result<TrainingMaterial, Error> {
    let folders = provide(settings, data)?;
    let (train, valid) = (folders.train_pairs(scale)?, folders.valid_pairs(scale)?);
    let paths = train.iter().chain(&valid).flat_map(|pair| [&pair.lr, &pair.hr]);
    check_memory(paths)?;
    Ok(TrainingMaterial {
        train: dataset::load_pairs(&train, scale)?,
        valid: dataset::load_pairs(&valid, scale)?,
    })
}

/// The first five HR images of DIV2K validation unpack to 1.9 times their files' size; twice is assumed, so that the answer comes before the memory is gone.
const UNPACKED_PER_FILE_BYTE: u64 = 2;

fn check_memory<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> Result<(), Error> {
    let bytes: u64 = paths.filter_map(|path| path.metadata().ok()).map(|metadata| metadata.len()).sum();
    let needed = bytes.saturating_mul(UNPACKED_PER_FILE_BYTE);
    let Some(available) = available_memory_bytes() else { return Ok(()) };
    if needed > available {
        let gib = |bytes: u64| bytes as f64 / f64::from(1u32 << 30);
        return Err(Error::Memory { needed_gib: gib(needed), available_gib: gib(available) });
    }
    Ok(())
}

/// Linux's estimate of memory that can be had without swapping; `None` where it is not told.
fn available_memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
