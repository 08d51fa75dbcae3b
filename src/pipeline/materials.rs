//! The images of a run: generated, or folders that must be there.

use std::path::{Path, PathBuf};

use super::settings::{DataSettings, FolderPair, RunSettings};
use crate::dataset::packed::{PackError, Packed, PackedSets, pack};
use crate::dataset::{self, Pair, Pairs, demo};
use crate::fsio;
use crate::interrupt::Signal;

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

/// Images for training, decoded.
pub struct TrainingMaterial {
    /// Training pairs.
    pub train: Box<dyn Pairs + Send>,
    /// Validation pairs.
    pub valid: Box<dyn Pairs + Send>,
}

/// Whoever watches images being made ready, from several threads.
pub struct Preparation<'a> {
    /// Is told the name of the set, how many of its pairs are ready, and of how many.
    pub progress: &'a (dyn Fn(&str, usize, usize) + Sync),
    /// Whether to stop; what is ready stays.
    pub interrupted: &'a (dyn Fn() -> Option<Signal> + Sync),
}

/// The folders of a run's images below the data folder.
pub(super) struct Folders {
    pub(super) train: Vec<FolderPair>,
    pub(super) valid: FolderPair,
}

/// Name of the demo set's folder in the data folder.
const DEMO_FOLDER: &str = "demo";
/// Name of the folder of packed sets, in the data folder or the run directory.
const PACKED_FOLDER: &str = "packed";

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
    /// A set cannot be packed.
    #[error(transparent)]
    Packed(#[from] PackError),
    /// A folder cannot be written.
    #[error(transparent)]
    File(#[from] fsio::Error),
}

/// Makes the training and validation images that settings name ready. `data` is the data folder, `run` the run directory.
///
/// The generated images of the demo are few and are held in memory. Others are decoded once into packed files, which later runs use as they are, in the
/// data folder, or in the run directory where the data folder may not be written.
///
/// # Errors
/// [`Error`] when something is missing or damaged, or there is no room.
pub fn load_training(
    settings: &RunSettings,
    data: &Path,
    run: &Path,
    scale: usize,
    preparation: &Preparation<'_>,
) -> Result<TrainingMaterial, Error> {
    let folders = provide(settings, data)?;
    if settings.data == DataSettings::Generated {
        let load = |pairs: Vec<Pair>| dataset::load_pairs(&pairs, scale);
        let (train, valid) = (load(folders.train_pairs(scale)?)?, load(folders.valid_pairs(scale)?)?);
        return Ok(TrainingMaterial { train: Box::new(train), valid: Box::new(valid) });
    }
    let place = packed_folder(data, run)?;
    let packed = |set: &FolderPair| packed(set, data, &place, scale, preparation);
    let train = folders.train.iter().map(packed).collect::<Result<_, _>>()?;
    let valid = vec![packed(&folders.valid)?];
    Ok(TrainingMaterial { train: Box::new(PackedSets::new(train)), valid: Box::new(PackedSets::new(valid)) })
}

/// The packed file of a set, made or brought up to date.
fn packed(
    set: &FolderPair,
    data: &Path,
    place: &Path,
    scale: usize,
    preparation: &Preparation<'_>,
) -> Result<Packed, Error> {
    let pairs = dataset::pair_folders(&set.lr, &set.hr, scale)?.pairs;
    let below = set.lr.strip_prefix(data).unwrap_or(&set.lr);
    let parts: Vec<_> = below.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    let file = place.join(format!("{}.esrpack", parts.join("-")));
    pack(
        &pairs,
        scale,
        &file,
        &|done, total| (preparation.progress)(&set.name, done, total),
        preparation.interrupted,
    )?;
    Ok(Packed::open(&file)?)
}

/// The folder of packed files: data that is shared may be read-only.
fn packed_folder(data: &Path, run: &Path) -> Result<PathBuf, Error> {
    let shared = data.join(PACKED_FOLDER);
    match fsio::probe_folder(&shared) {
        Ok(()) => Ok(shared),
        Err(_) => {
            let own = run.join(PACKED_FOLDER);
            fsio::probe_folder(&own)?;
            Ok(own)
        }
    }
}
