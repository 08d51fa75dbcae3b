//! One run with the lock of the data folder held: archives are fetched, judged, unpacked and checked.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::errand::{Errand, errands, in_parallel};
use super::{AcquireError, Fate, Outcome, Settings, Watch, adopt};
use crate::fetch::check;
use crate::fetch::http::{Downloader, Progress, Request, partial_path, watch};
use crate::fetch::lock::{DataLock, Holder};
use crate::fetch::pins::{Pins, Seen, Trust};
use crate::fetch::rate::Meter;
use crate::fetch::record::Record;
use crate::fetch::store::{self, Store};
use crate::fetch::unpack::{self, Job, Limits, Members};
use crate::fetch::{Expected, Fingerprint, Found};
use crate::fsio::io_context;
use crate::manifest::datasets::{Archive, Dataset, Format, Layout, Source};
use crate::space;

/// Archives, or datasets of loose files, on their way at the same time.
const AT_ONCE: usize = 2;

/// One run with the lock held.
pub(super) struct Session<'s> {
    pub(super) store: &'s Store,
    pub(super) settings: &'s Settings,
    pub(super) watch: &'s dyn Watch,
    pub(super) downloader: Downloader,
    pins: Mutex<Pins>,
    pub(super) meter: Meter,
    _lock: DataLock,
}

impl<'s> Session<'s> {
    /// Takes the lock.
    pub(super) fn begin(
        store: &'s Store,
        settings: &'s Settings,
        watch: &'s dyn Watch,
    ) -> Result<Self, AcquireError> {
        store.prepare()?;
        let holder = Holder::this_process(settings.command.clone(), settings.now.clone());
        let lock = DataLock::take(store.root(), &holder)?;
        lock.note().into_iter().for_each(|note| watch.note(note));
        Ok(Self {
            store,
            settings,
            watch,
            downloader: Downloader::new(settings.download.clone())?,
            pins: Mutex::new(Pins::read(store.root())?),
            meter: Meter::default(),
            _lock: lock,
        })
    }

    /// Leaves a note of how fast downloads were.
    pub(super) fn end(self) {
        // Only an estimate depends on it.
        let _ = self.meter.save(self.store.root());
    }

    /// Adopts what lies in the folder that was named, then tries the first source of every other dataset, then the next ones of those that did not come.
    pub(super) fn bring<'a>(&self, datasets: Vec<&'a Dataset>) -> Vec<Fate<'a>> {
        let (mut done, mut left) = (Vec::new(), Vec::new());
        // Without the network every source fails alike: the first one, the best, is what people should get from elsewhere.
        let mut offline: BTreeMap<&str, Arc<AcquireError>> = BTreeMap::new();
        for dataset in datasets {
            match adopt::from_elsewhere(self, dataset) {
                Some(result) => done.push(Fate { dataset, result: result.map_err(Arc::new) }),
                None => left.push(dataset),
            }
        }
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
            for mut fate in fates {
                let name = fate.dataset.name.as_str();
                match &fate.result {
                    Err(error) if error.is_offline() => {
                        let first = offline.entry(name).or_insert_with(|| Arc::clone(error));
                        fate.result = Err(Arc::clone(first));
                    }
                    Err(error) if again(&fate) => {
                        self.watch.note(&format!("note: {name}: {error}; the next source is tried"));
                    }
                    _ => {}
                }
                match again(&fate) {
                    true => left.push(fate.dataset),
                    false => done.push(fate),
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

    /// Where an archive lies on this machine, if it does.
    pub(super) fn local(&self, archive: &Archive) -> Result<Option<PathBuf>, AcquireError> {
        let given = self.settings.from.as_ref().map(|from| from.join(&archive.file));
        let own = self.store.archive(&archive.file)?;
        Ok(given.filter(|path| path.is_file()).or_else(|| own.is_file().then_some(own)))
    }

    /// The archive on this machine, judged.
    pub(super) fn fetched(&self, archive: &Archive) -> Result<(PathBuf, Found, Trust), AcquireError> {
        let published = Expected::from(archive);
        let expected = self.pins().expected(&archive.file, &published);
        let progress = self.watch.task(&archive.file);
        let (path, found, url) = match self.local(archive)? {
            Some(path) => {
                let found = fingerprint(&path, &*progress)?;
                let url = path.display().to_string();
                (path, found, url)
            }
            None => {
                let target = self.store.archive(&archive.file)?;
                if let Some(bytes) = archive.size_hint_bytes() {
                    // Images hardly shrink in archives: what is unpacked needs about as much again.
                    let held = fs::metadata(partial_path(&target)).map_or(0, |partial| partial.len());
                    space::require(self.store.root(), (2 * bytes).saturating_sub(held))?;
                }
                let request = Request { urls: &archive.urls, target: &target, expected: &expected };
                let started = self.meter.start();
                let fetched = self.downloader.fetch(&request, &*progress)?;
                self.meter.stop(started, fetched.found.bytes.saturating_sub(fetched.resumed_bytes));
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

    pub(super) fn judge(
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
            format: form(archive.format),
            found,
            members: &Members::below(prefix, &[], count),
            target: &target,
            limits: &Limits::default(),
        };
        progress.started(None);
        unpack::unpack(&job, &watch(&*progress))?;
        self.checked(dataset, source, &target, trust)
    }

    /// Checks a folder that was just filled, and records what its files are.
    pub(super) fn checked(
        &self,
        dataset: &Dataset,
        source: &Source,
        target: &Path,
        trust: Trust,
    ) -> Result<Outcome, AcquireError> {
        let progress = self.watch.task(&format!("check {}", dataset.folder));
        match check::folder(dataset, target, None, Some((source, trust)), &*progress) {
            Ok(checked) => {
                let (published, pinned) = (checked.verdict.published, checked.verdict.pinned);
                let record = Record::new(&dataset.name, &self.settings.now, &checked.files);
                Record { published, pinned, ..record }.write(self.store.root())?;
                Ok(Outcome::Fetched(checked.verdict))
            }
            Err(error) => {
                // What is there is not what it should be: it must not count as complete.
                store::discard_marker(target)?;
                Err(error.into())
            }
        }
    }

    pub(super) fn pins(&self) -> std::sync::MutexGuard<'_, Pins> {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn form(format: Format) -> unpack::Format {
    match format {
        Format::Zip => unpack::Format::Zip,
        Format::Tar => unpack::Format::Tar,
        Format::TarGz => unpack::Format::TarGz,
    }
}

/// What a file on this machine is.
pub(super) fn fingerprint(path: &Path, progress: &dyn Progress) -> Result<Found, AcquireError> {
    let metadata = io_context(fs::metadata(path), "look at", path)?;
    progress.started(Some(metadata.len()));
    let found = Fingerprint::of_file(path, &watch(progress));
    io_context(found, "read", path)?.ok_or(AcquireError::Stopped)
}
