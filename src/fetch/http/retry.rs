//! How often a transient failure is followed by another try.

use std::path::Path;
use std::time::Duration;

use super::backoff;
use super::error::DownloadError;
use super::failure::Failure;
use super::options::Options;
use super::progress::Progress;

/// Counts the tries on one URL; the count starts anew whenever enough new bytes arrived.
pub(super) struct Retries<'a> {
    options: &'a Options,
    progress: &'a dyn Progress,
    retries: u32,
    best_bytes: u64,
}

/// What there is of a file when a try failed.
#[derive(Clone, Copy)]
pub(super) struct Held<'a> {
    /// Where the file should come to be.
    pub(super) target: &'a Path,
    /// How many bytes of it are here.
    pub(super) bytes: u64,
    /// How many of them a later run can continue from.
    pub(super) resumable_bytes: u64,
}

impl<'a> Retries<'a> {
    /// Begins to count with so many bytes here.
    pub(super) fn new(options: &'a Options, progress: &'a dyn Progress, held_bytes: u64) -> Self {
        Self { options, progress, retries: 0, best_bytes: held_bytes }
    }

    /// Waits until the next try, at least as long as the server asked for.
    ///
    /// # Errors
    /// Why there is none: it was tried often enough, or somebody asked to stop.
    pub(super) fn wait(
        &mut self,
        error: DownloadError,
        retry_after: Option<Duration>,
        held: Held<'_>,
    ) -> Result<(), Failure> {
        if held.bytes >= self.best_bytes.saturating_add(self.options.progress_bytes.max(1)) {
            self.best_bytes = held.bytes;
            self.retries = 0;
        }
        let held_bytes = held.resumable_bytes;
        if self.retries == self.options.retries {
            let (source, tries) = (Box::new(error), self.retries + 1);
            return Err(Failure::NextUrl(DownloadError::GaveUp { source, tries, held_bytes }));
        }
        let wait = backoff::wait(self.options, self.retries, retry_after);
        self.retries += 1;
        self.progress.retrying(&error.to_string(), wait);
        if !backoff::sleep(wait, self.progress) {
            let target = held.target.to_path_buf();
            return Err(Failure::Fatal(DownloadError::Stopped { target, held_bytes }));
        }
        Ok(())
    }
}
