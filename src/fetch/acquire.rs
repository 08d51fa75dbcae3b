//! From names of datasets to verified folders.
//!
//! Each archive that is needed is fetched once, judged by what is known of it, and unpacked into the folders of all datasets that want it; then every
//! file is looked at. Several archives are on their way at once. What fails does not keep the others from coming.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::check::{self, CheckError, Verdict};
use super::http::{DownloadError, Downloader, Options, Progress, Request};
use super::lock::{DataLock, Holder, LockError};
use super::pins::{PinError, Pins, Seen, Trust};
use super::space::{self, SpaceError};
use super::store::{self, Marker, State, Store, StoreError};
use super::unpack::{self, Job, Limits, Members, UnpackError};
use super::{Expected, Fingerprint, Found};
use crate::fsio::{self, Artefact, io_context};
use crate::manifest::datasets::{Archive, Dataset, Format, Layout, LooseFile, Source};

/// Archives, or loose files, on their way at the same time.
const AT_ONCE: usize = 2;
/// Loose files are small: more of them keep a line busy.
const LOOSE_AT_ONCE: usize = 8;

/// How to fetch.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The data folder.
    pub data: PathBuf,
    /// A folder in which archives may lie already, under their published names.
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
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] fsio::Error),
}

/// What became of one dataset.
#[derive(Debug)]
pub struct Fate<'a> {
    /// Which.
    pub dataset: &'a Dataset,
    /// How it came, or why it did not.
    pub result: Result<Outcome, Arc<AcquireError>>,
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
        match present(dataset, &store, watch) {
            Ok(None) => missing.push(dataset),
            found => {
                let result = found.map_err(Arc::new).map(|outcome| outcome.unwrap_or(Outcome::Here));
                fates.insert(&dataset.name, Fate { dataset, result });
            }
        }
    }
    if !missing.is_empty() {
        store.prepare()?;
        let holder = Holder::this_process(settings.command.clone(), settings.now.clone());
        let lock = DataLock::take(store.root(), &holder)?;
        lock.note().into_iter().for_each(|note| watch.note(note));
        let session = Session {
            store: &store,
            settings,
            watch,
            downloader: Downloader::new(settings.download.clone())?,
            pins: Mutex::new(Pins::read(store.root())?),
        };
        for fate in session.bring(missing) {
            fates.insert(&fate.dataset.name, fate);
        }
    }
    Ok(datasets.iter().filter_map(|dataset| fates.remove(dataset.name.as_str())).collect())
}

/// What is there of a dataset, if it need not be fetched.
fn present(dataset: &Dataset, store: &Store, watch: &dyn Watch) -> Result<Option<Outcome>, AcquireError> {
    let folder = store.folder(&dataset.folder)?;
    match store::state(&folder)? {
        State::Complete(_) => Ok(Some(Outcome::Here)),
        State::Foreign => {
            let progress = watch.task(&format!("check {}", dataset.folder));
            let verdict = check::folder(dataset, &folder, None, &*progress)?;
            Ok(Some(Outcome::Adopted(verdict)))
        }
        State::Absent | State::Incomplete { .. } => Ok(None),
    }
}

/// One run with the lock held.
struct Session<'s> {
    store: &'s Store,
    settings: &'s Settings,
    watch: &'s dyn Watch,
    downloader: Downloader,
    pins: Mutex<Pins>,
}

/// What is fetched together.
enum Errand<'a> {
    /// An archive, and the datasets in it.
    Archive(Arc<Archive>, Vec<(&'a Dataset, &'a Source)>),
    /// Files one by one.
    Loose(&'a Dataset, &'a Source),
}

impl Session<'_> {
    /// Tries the first source of every dataset, then the next ones of those that did not come.
    fn bring<'a>(&self, datasets: Vec<&'a Dataset>) -> Vec<Fate<'a>> {
        let (mut done, mut left) = (Vec::new(), datasets);
        for attempt in 0.. {
            let errands = errands(&left, attempt);
            if errands.is_empty() {
                break;
            }
            let fates = self.run_all(&errands);
            let again = |fate: &Fate<'_>| {
                fate.result.is_err() && fate.dataset.sources.len() > attempt + 1 && !self.watch.stopped()
            };
            left.clear();
            for fate in fates {
                if again(&fate) {
                    if let Err(error) = &fate.result {
                        self.watch
                            .note(&format!("note: {}: {error}; the next source is tried", fate.dataset.name));
                    }
                    left.push(fate.dataset);
                } else {
                    done.push(fate);
                }
            }
        }
        done
    }

    fn run_all<'a>(&self, errands: &[Errand<'a>]) -> Vec<Fate<'a>> {
        in_parallel(AT_ONCE, errands, |errand| match errand {
            Errand::Archive(archive, contents) => self.archive(archive, contents),
            Errand::Loose(dataset, source) => {
                vec![Fate { dataset, result: self.loose(dataset, source).map_err(Arc::new) }]
            }
        })
        .into_iter()
        .flatten()
        .collect()
    }

    fn archive<'a>(&self, archive: &Archive, contents: &[(&'a Dataset, &'a Source)]) -> Vec<Fate<'a>> {
        let (path, found, trust) = match self.fetched(archive) {
            Ok(fetched) => fetched,
            Err(error) => {
                let error = Arc::new(error);
                let fate =
                    |&(dataset, _): &(&'a Dataset, _)| Fate { dataset, result: Err(Arc::clone(&error)) };
                return contents.iter().map(fate).collect();
            }
        };
        let mut fates = Vec::new();
        for &(dataset, source) in contents {
            let result = self.unpacked(archive, (&path, &found, trust), dataset, source);
            fates.push(Fate { dataset, result: result.map_err(Arc::new) });
        }
        let own = path.starts_with(self.store.archives());
        if own && !self.settings.keep_archives && fates.iter().all(|fate| fate.result.is_ok()) {
            // An archive that cannot be removed only takes room.
            if let Err(error) = fs::remove_file(&path) {
                self.watch.note(&format!("note: `{}` cannot be removed: {error}", path.display()));
            }
        }
        fates
    }

    /// The archive on this machine, judged.
    fn fetched(&self, archive: &Archive) -> Result<(PathBuf, Found, Trust), AcquireError> {
        let published = Expected::from(archive);
        let expected = self.pins().expected(&archive.file, &published);
        let target = self.store.archive(&archive.file)?;
        let given =
            self.settings.from.as_ref().map(|from| from.join(&archive.file)).filter(|path| path.is_file());
        let local = given.or_else(|| target.is_file().then(|| target.clone()));
        let progress = self.watch.task(&archive.file);
        let (path, found, url) = match local {
            Some(path) => {
                let found = fingerprint(&path, &*progress)?;
                let url = path.display().to_string();
                (path, found, url)
            }
            None => {
                if let Some(bytes) = archive.size_hint_bytes() {
                    // Images hardly shrink in archives: what is unpacked needs about as much again.
                    let held = fs::metadata(partial(&target)).map_or(0, |partial| partial.len());
                    space::require(self.store.root(), (2 * bytes).saturating_sub(held))?;
                }
                let request = Request { urls: &archive.urls, target: &target, expected: &expected };
                let fetched = self.downloader.fetch(&request, &*progress)?;
                (target, fetched.found, fetched.url)
            }
        };
        let trust = self.judge(&archive.file, &published, &found, &url)?;
        if trust == Trust::FirstSeen {
            self.watch.note(&format!(
                "note: nobody published a hash of {}: it is taken as it came from {url} and pinned (SHA-256 {})",
                archive.file, found.sha256
            ));
        }
        Ok((path, found, trust))
    }

    fn judge(
        &self,
        name: &str,
        published: &Expected,
        found: &Found,
        url: &str,
    ) -> Result<Trust, AcquireError> {
        let mut pins = self.pins();
        let trust = pins.judge(name, published, found, Seen { url, at: &self.settings.now })?;
        pins.save()?;
        Ok(trust)
    }

    fn unpacked(
        &self,
        archive: &Archive,
        (path, found, trust): (&Path, &Found, Trust),
        dataset: &Dataset,
        source: &Source,
    ) -> Result<Outcome, AcquireError> {
        let Layout::Archive { prefix, .. } = &source.layout else { return Ok(Outcome::Here) };
        let target = self.store.folder(&dataset.folder)?;
        let count = u64::try_from(dataset.members.count()).ok();
        let progress = self.watch.task(&format!("unpack {}", dataset.folder));
        let job = Job {
            archive: path,
            format: match archive.format {
                Format::Zip => unpack::Format::Zip,
                Format::Tar => unpack::Format::Tar,
                Format::TarGz => unpack::Format::TarGz,
            },
            found,
            members: &Members::below(prefix, &[], count),
            target: &target,
            limits: &Limits::default(),
        };
        progress.started(None);
        unpack::unpack(&job, &|bytes| progress.advanced(bytes))?;
        self.checked(dataset, source, &target, trust)
    }

    fn checked(
        &self,
        dataset: &Dataset,
        source: &Source,
        target: &Path,
        trust: Trust,
    ) -> Result<Outcome, AcquireError> {
        let progress = self.watch.task(&format!("check {}", dataset.folder));
        match check::folder(dataset, target, Some((source, trust)), &*progress) {
            Ok(verdict) => Ok(Outcome::Fetched(verdict)),
            Err(error) => {
                // What is there is not what it should be: it must not count as complete.
                store::discard_marker(target)?;
                Err(error.into())
            }
        }
    }

    /// Files one by one, each kept as soon as it is right; the folder appears when all are.
    fn loose(&self, dataset: &Dataset, source: &Source) -> Result<Outcome, AcquireError> {
        let target = self.store.folder(&dataset.folder)?;
        let staging = self.store.archive(&format!("{}.files", dataset.name))?;
        StoreError::of(fs::create_dir_all(&staging), "create folder", &staging)?;
        let files = dataset.loose_files(source);
        let progress = self.watch.task(&dataset.folder);
        progress.started(files.iter().map(|file| file.facts.bytes).sum());
        let trusts =
            in_parallel(LOOSE_AT_ONCE, &files, |file| self.loose_file(dataset, file, &staging, &*progress));
        let (mut trust, mut bytes) = (Trust::Published, 0);
        for result in trusts {
            let (own, found) = result?;
            bytes += found.bytes;
            trust = if own == Trust::Published { trust } else { own };
        }
        let whole = check::whole(dataset, &staging, &*progress)?;
        if let Some(parent) = target.parent() {
            StoreError::of(fs::create_dir_all(parent), "create folder", parent)?;
        }
        if target.exists() {
            StoreError::of(fs::remove_dir_all(&target), "replace", &target)?;
        }
        StoreError::of(fs::rename(&staging, &target), "move into place", &target)?;
        let marker = Marker { schema: Marker::SCHEMA, archive: whole, files: files.len() as u64, bytes };
        fsio::write_json(&target.join(store::MARKER_FILE), &marker)?;
        self.checked(dataset, source, &target, trust)
    }

    fn loose_file(
        &self,
        dataset: &Dataset,
        file: &LooseFile,
        staging: &Path,
        progress: &dyn Progress,
    ) -> Result<(Trust, Found), AcquireError> {
        let published = Expected::from(&file.facts);
        let name = format!("{}/{}", dataset.folder, file.name);
        let expected = self.pins().expected(&name, &published);
        let target = staging.join(&file.name);
        let held = target.is_file().then(|| fingerprint(&target, &Quiet(progress))).transpose()?;
        let (found, url) = match held.filter(|held| expected.check(held).is_ok() && !expected.has_no_hash()) {
            Some(held) => (held, target.display().to_string()),
            None => {
                let request = Request { urls: &file.urls, target: &target, expected: &expected };
                let fetched = self.downloader.fetch(&request, &Quiet(progress))?;
                progress.advanced(fetched.found.bytes);
                (fetched.found, fetched.url)
            }
        };
        let trust = self.judge(&name, &published, &found, &url)?;
        Ok((trust, found))
    }

    fn pins(&self) -> std::sync::MutexGuard<'_, Pins> {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is fetched together when every dataset uses its source number `attempt`.
fn errands<'a>(datasets: &[&'a Dataset], attempt: usize) -> Vec<Errand<'a>> {
    let mut errands: Vec<Errand<'a>> = Vec::new();
    for &dataset in datasets {
        let Some(source) = dataset.sources.get(attempt) else { continue };
        let Some(archive) = source.archive() else {
            errands.push(Errand::Loose(dataset, source));
            continue;
        };
        let same = errands.iter_mut().find_map(|errand| match errand {
            Errand::Archive(other, contents) if other.file == archive.file => Some(contents),
            _ => None,
        });
        match same {
            Some(contents) => contents.push((dataset, source)),
            None => errands.push(Errand::Archive(Arc::clone(archive), vec![(dataset, source)])),
        }
    }
    errands
}

/// Applies `work` to every item on up to `threads` threads of its own: what waits for the network must not occupy those that compute.
fn in_parallel<T: Sync, R: Send>(threads: usize, items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, R)>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.min(items.len()) {
            scope.spawn(|| {
                while let Some((index, item)) = Some(next.fetch_add(1, Ordering::Relaxed))
                    .and_then(|index| Some((index, items.get(index)?)))
                {
                    let result = work(item);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|&(index, _)| index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Where the downloader keeps what it has of a file.
fn partial(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

fn fingerprint(path: &Path, progress: &dyn Progress) -> Result<Found, fsio::Error> {
    let file = io_context(File::open(path), "open", path)?;
    progress.started(file.metadata().ok().map(|metadata| metadata.len()));
    let mut fingerprint = Fingerprint::default();
    io_context(fingerprint.read(Counted(file, progress)), "read", path)?;
    Ok(fingerprint.finish())
}

/// A reader that says how far it is.
struct Counted<'a>(File, &'a dyn Progress);

impl io::Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        self.1.advanced(count as u64);
        Ok(count)
    }
}

/// One of many files of a task: only whether to stop is asked, the task counts whole files.
struct Quiet<'a>(&'a dyn Progress);

impl Progress for Quiet<'_> {
    fn stopped(&self) -> bool {
        self.0.stopped()
    }
}
