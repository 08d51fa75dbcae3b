//! From names of datasets to verified folders.
//!
//! What is there already is left alone, and folders that somebody else has are linked to and never changed. Each archive that is needed is fetched once,
//! judged by what is known of it, and unpacked into the folders of all datasets that want it; then every file is looked at, and what it is is recorded.
//! Several archives are on their way at once. What fails does not keep the others from coming.

mod adopt;
mod errand;
mod loose;
mod repair;
mod session;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use repair::{Repaired, repair};
use session::Session;

use super::check::{self, CheckError, Checked, Verdict};
use super::http::{DownloadError, Options, Progress};
use super::lock::LockError;
use super::pins::PinError;
use super::record::{Record, RecordError};
use super::restore::RestoreError;
use super::store::{self, State, Store, StoreError};
use super::unpack::UnpackError;
use crate::fsio;
use crate::manifest::datasets::Dataset;
use crate::space::SpaceError;

/// How to fetch.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The data folder.
    pub data: PathBuf,
    /// A folder in which archives, under their published names, or unpacked folders may lie already.
    pub from: Option<PathBuf>,
    /// Whether archives are kept after they are unpacked.
    pub keep_archives: bool,
    /// How downloads behave.
    pub download: Options,
    /// What holds the lock of the data folder, for people.
    pub command: String,
    /// The time, in UTC, for pins and the lock.
    pub now: String,
}

/// Is told what happens, from several threads.
pub trait Watch: Sync {
    /// Something that people should know.
    fn note(&self, text: &str);

    /// A piece of work begins; the result is told how it goes, in bytes.
    fn task(&self, title: &str) -> Box<dyn Progress + '_>;

    /// Whether to stop as soon as possible.
    fn stopped(&self) -> bool;
}

/// How a dataset came to be where it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was there.
    Here,
    /// Somebody else had put it there; it is used as it is.
    Adopted(Verdict),
    /// It was fetched now.
    Fetched(Verdict),
}

/// Why a dataset is not there.
#[derive(Debug, thiserror::Error)]
pub enum AcquireError {
    /// It could not be downloaded.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// It could not be unpacked.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// The data folder cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Somebody else uses it.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// It would not fit.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// It is not what it was.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// Its files are not what they should be.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// Single files could not be fetched again.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// What is known of its files cannot be used.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A folder that was adopted is gone.
    #[error(
        "`{link}` leads to `{target}`, where nothing is any more: bring it back, or remove the link and fetch `{dataset}` again"
    )]
    Lost {
        /// The dataset.
        dataset: String,
        /// Our link.
        link: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// A folder of somebody else is wrong.
    #[error(
        "{source}; the folder was not put there by esr, which therefore changes nothing in it: put right what changed there, or remove it (or the link to \
         it) and fetch `{dataset}` again"
    )]
    NotOurs {
        /// The dataset.
        dataset: String,
        /// What is wrong with it.
        source: Box<CheckError>,
    },
    /// The caller stopped it.
    #[error("stopped; what came so far is kept")]
    Stopped,
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] fsio::Error),
}

impl AcquireError {
    /// Whether only the network, which was forbidden, could have helped.
    fn is_offline(&self) -> bool {
        matches!(self, Self::Download(DownloadError::Offline { .. }))
    }
}

/// What became of one dataset.
#[derive(Debug)]
pub struct Fate<'a, T = Outcome> {
    /// Which.
    pub dataset: &'a Dataset,
    /// How it came, or why it did not.
    pub result: Result<T, Arc<AcquireError>>,
}

/// Brings datasets to their folders. What is there already is left alone.
///
/// # Errors
/// When the data folder cannot be used at all; what fails for single datasets is in their fates.
pub fn acquire<'a>(
    datasets: &[&'a Dataset],
    settings: &Settings,
    watch: &dyn Watch,
) -> Result<Vec<Fate<'a>>, AcquireError> {
    let store = Store::new(&settings.data);
    let mut fates: BTreeMap<&str, Fate<'a>> = BTreeMap::new();
    let mut missing: Vec<&'a Dataset> = Vec::new();
    for &dataset in datasets {
        match present(dataset, &store, settings, watch) {
            Ok(None) => missing.push(dataset),
            found => {
                let result = found.map_err(Arc::new).map(|outcome| outcome.unwrap_or(Outcome::Here));
                fates.insert(&dataset.name, Fate { dataset, result });
            }
        }
    }
    if !missing.is_empty() {
        let session = Session::begin(&store, settings, watch)?;
        for fate in session.bring(missing) {
            fates.insert(&fate.dataset.name, fate);
        }
        session.end();
    }
    Ok(datasets.iter().filter_map(|dataset| fates.remove(dataset.name.as_str())).collect())
}

/// What is there of a dataset, if it need not be fetched.
fn present(
    dataset: &Dataset,
    store: &Store,
    settings: &Settings,
    watch: &dyn Watch,
) -> Result<Option<Outcome>, AcquireError> {
    let folder = store.folder(&dataset.folder)?;
    match store::state(&folder)? {
        State::Complete(_) => Ok(Some(Outcome::Here)),
        State::Foreign => {
            still_there(dataset, &folder)?;
            let record = Record::read(store.root(), &dataset.name)?;
            if record.as_ref().is_some_and(|record| record.resembles(&folder)) {
                return Ok(Some(Outcome::Here));
            }
            adopted(dataset, &folder, record.as_ref(), settings, watch).map(Some)
        }
        State::Absent | State::Incomplete { .. } => Ok(None),
    }
}

/// Whether a link leads somewhere.
fn still_there(dataset: &Dataset, folder: &Path) -> Result<(), AcquireError> {
    match fs::read_link(folder) {
        Ok(target) if !folder.exists() => {
            let (dataset, link) = (dataset.name.clone(), folder.to_path_buf());
            Err(AcquireError::Lost { dataset, link, target })
        }
        // What is no link is what it is.
        _ => Ok(()),
    }
}

/// Checks a folder of somebody else and remembers what it was.
fn adopted(
    dataset: &Dataset,
    folder: &Path,
    record: Option<&Record>,
    settings: &Settings,
    watch: &dyn Watch,
) -> Result<Outcome, AcquireError> {
    let progress = watch.task(&format!("check {}", dataset.folder));
    let Checked { mut verdict, files } =
        check::folder(dataset, folder, record, None, &*progress).map_err(|error| not_ours(dataset, error))?;
    if record.is_none() {
        verdict.pinned = !verdict.is_verified();
        let own = Record::new(&dataset.name, &settings.now, &files);
        let adopted_from = fs::canonicalize(folder).ok();
        let own = Record { adopted_from, pinned: verdict.pinned, ..own };
        if let Err(error) = own.write(&settings.data) {
            // The folder is what it is all the same; a data folder that may not be written is usual where data is shared.
            watch.note(&format!("note: what {} is now cannot be remembered: {error}", dataset.name));
        }
    }
    Ok(Outcome::Adopted(verdict))
}

/// The same error, with what can be done about a folder that is not ours.
fn not_ours(dataset: &Dataset, error: CheckError) -> AcquireError {
    match error {
        CheckError::Unsound { .. } => {
            AcquireError::NotOurs { dataset: dataset.name.clone(), source: Box::new(error) }
        }
        CheckError::Folder(_) => error.into(),
    }
}
