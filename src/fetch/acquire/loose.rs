//! Datasets whose files are fetched one by one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::errand::in_parallel;
use super::session::{Session, fingerprint};
use super::{AcquireError, Outcome};
use crate::fetch::folder;
use crate::fetch::http::{Progress, Request};
use crate::fetch::pins::Trust;
use crate::fetch::store::{self, Marker, StoreError};
use crate::fetch::{Expected, Found};
use crate::fsio::{self, Artefact};
use crate::manifest::datasets::{Dataset, LooseFile, Source};

/// Loose files are small: more of them keep a line busy.
const AT_ONCE: usize = 8;

impl Session<'_> {
    /// Files one by one, each kept as soon as it is right; the folder appears when all are.
    pub(super) fn loose(&self, dataset: &Dataset, source: &Source) -> Result<Outcome, AcquireError> {
        let target = self.store.folder(&dataset.folder)?;
        let staging = self.store.archive(&format!("{}.files", dataset.name))?;
        StoreError::of(fs::create_dir_all(&staging), "create folder", &staging)?;
        let files = dataset.loose_files(source);
        let progress = self.watch.task(&dataset.folder);
        progress.started(files.iter().map(|file| file.facts.bytes).sum());
        let trusts =
            in_parallel(AT_ONCE, &files, |file| self.loose_file(dataset, file, &staging, &*progress));
        let mut trust = Trust::Published;
        let mut by_name: BTreeMap<&str, Found> = BTreeMap::new();
        for (file, result) in files.iter().zip(trusts) {
            let (own, found) = result?;
            by_name.insert(&file.name, found);
            trust = if own == Trust::Published { trust } else { own };
        }
        let whole = folder::whole(by_name.values());
        if let Some(parent) = target.parent() {
            StoreError::of(fs::create_dir_all(parent), "create folder", parent)?;
        }
        if target.exists() {
            StoreError::of(fs::remove_dir_all(&target), "replace", &target)?;
        }
        StoreError::of(fs::rename(&staging, &target), "move into place", &target)?;
        let bytes = whole.bytes;
        let marker = Marker { schema: Marker::SCHEMA, archive: whole, files: files.len() as u64, bytes };
        fsio::write_json(&target.join(store::MARKER_FILE), &marker)?;
        self.checked(dataset, source, &target, trust)
    }

    /// One file, below `folder`; one that is there and right stays.
    pub(super) fn loose_file(
        &self,
        dataset: &Dataset,
        file: &LooseFile,
        folder: &Path,
        progress: &dyn Progress,
    ) -> Result<(Trust, Found), AcquireError> {
        let published = Expected::from(&file.facts);
        let name = format!("{}/{}", dataset.folder, file.name);
        let expected = self.pins().expected(&name, &published);
        let target = folder.join(&file.name);
        let held = target.is_file().then(|| fingerprint(&target, &Quiet(progress))).transpose()?;
        let (found, url) = match held.filter(|held| expected.check(held).is_ok() && !expected.has_no_hash()) {
            Some(held) => (held, target.display().to_string()),
            None => {
                let given = self.settings.from.as_ref().map(|from| from.join(&file.name));
                let given = given.filter(|path| path.is_file()).map(|path| path.display().to_string());
                let urls: Vec<String> = given.into_iter().chain(file.urls.iter().cloned()).collect();
                let request = Request { urls: &urls, target: &target, expected: &expected };
                let started = self.meter.start();
                let fetched = self.downloader.fetch(&request, &Quiet(progress))?;
                self.meter.stop(started, fetched.found.bytes.saturating_sub(fetched.resumed_bytes));
                progress.advanced(fetched.found.bytes);
                (fetched.found, fetched.url)
            }
        };
        let trust = self.judge(&name, &published, &found, &url)?;
        Ok((trust, found))
    }
}

/// One of many files of a task: only whether to stop is asked, the task counts whole files.
struct Quiet<'a>(&'a dyn Progress);

impl Progress for Quiet<'_> {
    fn stopped(&self) -> bool {
        self.0.stopped()
    }
}
