//! What is here and wrong is fetched again, and as little else as possible.

use std::path::Path;
use std::sync::Arc;

use super::errand::in_parallel;
use super::session::Session;
use super::{AcquireError, Fate, Outcome, Settings, Watch, not_ours, still_there};
use crate::fetch::Expected;
use crate::fetch::check::{self, CheckError, Checked, Verdict};
use crate::fetch::record::Record;
use crate::fetch::restore::{self, Lost};
use crate::fetch::store::{self, State, Store};
use crate::fetch::unpack;
use crate::manifest::datasets::{Archive, Dataset, Format, Layout, Source};

/// Files that are fetched one by one at the same time.
const AT_ONCE: usize = 8;

/// What was done about a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repaired {
    /// There is nothing to repair: it was never fetched.
    NotHere,
    /// It is what it should be.
    Sound(Verdict),
    /// So many files were fetched again.
    Files(usize, Verdict),
    /// All of it was fetched again.
    Whole(Verdict),
}

/// Checks datasets as [`check::deep`] does, and fetches again what is wrong: single files where that is possible, otherwise their archive.
///
/// Folders of others are never changed. A file that is wrong stays until a right one takes its place.
///
/// # Errors
/// When the data folder cannot be used at all; what fails for single datasets is in their fates.
pub fn repair<'a>(
    datasets: &[&'a Dataset],
    settings: &Settings,
    watch: &dyn Watch,
) -> Result<Vec<Fate<'a, Repaired>>, AcquireError> {
    let store = Store::new(&settings.data);
    let mut session = None;
    let mut fates = Vec::new();
    for &dataset in datasets {
        if watch.stopped() {
            return Err(AcquireError::Stopped);
        }
        let result = match look(dataset, &store, watch).map_err(Arc::new) {
            Ok(Look::Fine(repaired)) => Ok(repaired),
            Ok(Look::Wrong(files)) => {
                let session = match &session {
                    Some(session) => session,
                    // Only who changes something needs the lock.
                    None => session.insert(Session::begin(&store, settings, watch)?),
                };
                mend(session, dataset, &files)
            }
            Err(error) => Err(error),
        };
        fates.push(Fate { dataset, result });
    }
    session.into_iter().for_each(Session::end);
    Ok(fates)
}

enum Look {
    Fine(Repaired),
    /// Files that are wrong, where their names are known.
    Wrong(Vec<String>),
}

fn look(dataset: &Dataset, store: &Store, watch: &dyn Watch) -> Result<Look, AcquireError> {
    let folder = store.folder(&dataset.folder)?;
    match store::state(&folder)? {
        State::Absent => return Ok(Look::Fine(Repaired::NotHere)),
        State::Incomplete { .. } => return Ok(Look::Wrong(Vec::new())),
        State::Complete(_) | State::Foreign => still_there(dataset, &folder)?,
    }
    match deep(dataset, store, &folder, watch) {
        Ok(Checked { verdict, .. }) => Ok(Look::Fine(Repaired::Sound(verdict))),
        Err(AcquireError::Check(error @ CheckError::Unsound { .. })) if !store.is_ours(&folder) => {
            Err(not_ours(dataset, error))
        }
        Err(AcquireError::Check(CheckError::Unsound { files, .. })) => Ok(Look::Wrong(files)),
        Err(error) => Err(error),
    }
}

fn deep(dataset: &Dataset, store: &Store, folder: &Path, watch: &dyn Watch) -> Result<Checked, AcquireError> {
    let record = Record::read(store.root(), &dataset.name)?;
    let progress = watch.task(&format!("check {}", dataset.folder));
    Ok(check::deep(dataset, folder, record.as_ref(), &*progress)?)
}

fn mend(session: &Session<'_>, dataset: &Dataset, files: &[String]) -> Result<Repaired, Arc<AcquireError>> {
    let folder = session.store.folder(&dataset.folder).map_err(AcquireError::from)?;
    let mut failed = None;
    for source in dataset.sources.iter().filter(|_| !files.is_empty()) {
        match single_files(session, dataset, source, files, &folder) {
            Ok(true) => {
                let verdict = deep(dataset, session.store, &folder, session.watch)?.verdict;
                return Ok(Repaired::Files(files.len(), verdict));
            }
            Ok(false) => {}
            Err(error) if session.watch.stopped() => return Err(error.into()),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    match failed {
        // What kept a few files from coming would keep all of them from coming.
        Some(error) => Err(error.into()),
        None => whole(session, dataset, &folder),
    }
}

/// Fetches only these files; `false` where this source does not allow it.
fn single_files(
    session: &Session<'_>,
    dataset: &Dataset,
    source: &Source,
    files: &[String],
    folder: &Path,
) -> Result<bool, AcquireError> {
    match &source.layout {
        Layout::Archive { archive, prefix } if archive.format == Format::Zip => {
            members(session, dataset, source, (archive, prefix), files, folder)
        }
        Layout::Archive { .. } => Ok(false),
        Layout::Loose { .. } | Layout::Listed { .. } => {
            let progress = session.watch.task(&dataset.folder);
            let wanted: Vec<_> =
                dataset.loose_files(source).into_iter().filter(|file| files.contains(&file.name)).collect();
            let results =
                in_parallel(AT_ONCE, &wanted, |file| session.loose_file(dataset, file, folder, &*progress));
            results.into_iter().collect::<Result<Vec<_>, _>>()?;
            Ok(true)
        }
    }
}

/// Takes single files out of an archive that need not come as a whole. What each must be is known from the record, or published.
fn members(
    session: &Session<'_>,
    dataset: &Dataset,
    source: &Source,
    (archive, prefix): (&Archive, &str),
    files: &[String],
    folder: &Path,
) -> Result<bool, AcquireError> {
    let record = Record::read(session.store.root(), &dataset.name)?;
    let facts = dataset.facts_of(source);
    let facts = record.map_or(facts.clone(), |record| record.completed(facts));
    let wanted: Vec<(String, Expected)> = facts
        .iter()
        .filter(|facts| files.contains(&facts.name))
        .map(|facts| (facts.name.clone(), Expected::from(facts)))
        .collect();
    if wanted.len() < files.len() || wanted.iter().any(|(_, expected)| expected.has_no_hash()) {
        return Ok(false);
    }
    // An archive on this machine is as good as any: what comes out of it has to have its hash.
    let here = session.local(archive)?.map(|path| path.display().to_string());
    let urls: Vec<String> = here.into_iter().chain(archive.urls.iter().cloned()).collect();
    let place = restore::Archive { urls: &urls, bytes: archive.bytes, format: unpack::Format::Zip, prefix };
    let lost: Vec<Lost<'_>> = wanted.iter().map(|(name, expected)| Lost { name, expected }).collect();
    let progress = session.watch.task(&format!("repair {}", dataset.folder));
    match restore::restore(&place, &lost, folder, &session.downloader, &*progress) {
        Ok(_) => Ok(true),
        Err(error) if error.problem.archive_may_help() => {
            session.watch.note(&format!("note: {}: {error}", dataset.name));
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// Fetches all of it again. The archive comes first: until it is here, what is right stays usable.
fn whole(session: &Session<'_>, dataset: &Dataset, folder: &Path) -> Result<Repaired, Arc<AcquireError>> {
    if let Some(archive) = dataset.sources.first().and_then(Source::archive) {
        session.fetched(archive)?;
    }
    store::discard_marker(folder).map_err(AcquireError::from)?;
    let fates = session.bring(vec![dataset]);
    match fates.into_iter().next().map(|fate| fate.result).transpose()? {
        Some(Outcome::Fetched(verdict) | Outcome::Adopted(verdict)) => Ok(Repaired::Whole(verdict)),
        Some(Outcome::Here) | None => Ok(Repaired::NotHere),
    }
}
