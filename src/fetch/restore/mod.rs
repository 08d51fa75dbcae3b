//! Replaces single bad files of an unpacked dataset by fetching their members from the archive, without the rest of it.
//!
//! From the archive only its directory and the members in question are fetched, as parts of the file. Nothing vouches for an archive of which only
//! parts are seen, so a member counts for nothing until it has the hash that is known of the file by other means. A file is replaced in one step by a
//! verified one; until then it stays as it is.
//!
//! Where that does not work (a server without reliable parts, a tar, another archive), [`Problem::archive_may_help`] says that the archive as a whole
//! is the way.

mod error;
mod pieces;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::Path;

pub use error::{Problem, RestoreError};

use self::pieces::Pieces;
use super::http::{DownloadError, Downloader, Progress};
use super::unpack::{Fault, Format, Limits, Members, Outline, ReadError};
use super::{Expected, Fingerprint};
use crate::fault;
use crate::fsio;

/// The largest member, and the most compressed data of one: both are held in memory until the file is verified. A raw image of 4,000 by 4,000 pixels
/// is smaller, and those of the field are compressed and have about 2,000 on their long side.
const MEMBER_LIMIT_BYTES: u64 = 64 << 20;
/// What a local header may have that the directory does not tell, most often times and owners. More costs another request.
const SLACK_BYTES: u64 = 256;

/// The archive that has the files.
#[derive(Clone, Copy, Debug)]
pub struct Archive<'a> {
    /// Where it can be had, in the order to try: http, https and file URLs, and paths.
    pub urls: &'a [String],
    /// Its published size, if there is one: an archive of another size is not read.
    pub bytes: Option<u64>,
    /// Its form.
    pub format: Format,
    /// The folder in the archive below which the members lie, such as `DIV2K_train_LR_bicubic/X4`; empty for the whole archive.
    pub prefix: &'a str,
}

/// A file to be restored.
#[derive(Clone, Copy, Debug)]
pub struct Lost<'a> {
    /// Its name below the folder, and below the prefix in the archive.
    pub name: &'a str,
    /// What it must be; a hash of it has to be known.
    pub expected: &'a Expected,
}

/// What was restored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// The files, in the order they were put in place.
    pub names: Vec<String>,
    /// How much was received for it, or read from archives on this machine, in bytes.
    pub transferred_bytes: u64,
}

/// Fetches `files` from the archive and puts each in its place in `folder`, verified and synced. The folder may hold bad versions of them; they are
/// replaced. The caller holds the lock of the data folder.
///
/// # Errors
/// [`RestoreError`], which names what was restored all the same. Everything else is as it was.
pub fn restore(
    archive: &Archive<'_>,
    files: &[Lost<'_>],
    folder: &Path,
    downloader: &Downloader,
    progress: &dyn Progress,
) -> Result<Restored, RestoreError> {
    let mut work = Work { archive, folder, downloader, progress, restored: Restored::default() };
    match work.run(files) {
        Ok(()) => Ok(work.restored),
        Err(problem) => Err(RestoreError { restored: work.restored, problem: Box::new(problem) }),
    }
}

struct Work<'a> {
    archive: &'a Archive<'a>,
    folder: &'a Path,
    downloader: &'a Downloader,
    progress: &'a dyn Progress,
    restored: Restored,
}

/// The directory of the archive at one URL, and the way to its members.
struct Opened<'a> {
    url: &'a str,
    pieces: &'a Pieces<'a>,
    outline: Outline,
}

impl Work<'_> {
    fn run(&mut self, files: &[Lost<'_>]) -> Result<(), Problem> {
        if self.archive.format != Format::Zip {
            return Err(Problem::Format { format: self.archive.format });
        }
        if let Some(file) = files.iter().find(|file| file.expected.has_no_hash()) {
            return Err(Problem::NoHash { file: file.name.to_owned() });
        }
        self.remove_leftovers(files);
        let (mut left, mut problems) = (files.to_vec(), Vec::new());
        for url in self.archive.urls {
            if left.is_empty() {
                break;
            }
            self.progress.mirror(url);
            if let Err(problem) = self.from(url, &mut left, &mut problems) {
                let is_final = problem.is_final();
                problems.push(problem);
                if is_final {
                    break;
                }
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        Err(match problems.len() {
            0 | 1 => problems
                .pop()
                .unwrap_or_else(|| DownloadError::NoUrl { target: self.folder.to_path_buf() }.into()),
            _ => Problem::Several(problems),
        })
    }

    /// Takes from one URL what it has. What is wrong with single members goes to `problems`, and the members stay in `left`; an error ends the
    /// work at this URL.
    fn from(
        &mut self,
        url: &str,
        left: &mut Vec<Lost<'_>>,
        problems: &mut Vec<Problem>,
    ) -> Result<(), Problem> {
        self.progress.started(None);
        let file = self.downloader.open(url, self.folder, self.progress)?;
        if let Some(expected_bytes) = self.archive.bytes.filter(|&bytes| bytes != file.bytes()) {
            return Err(Problem::Size { url: url.to_owned(), expected_bytes, found_bytes: file.bytes() });
        }
        let pieces = Pieces::new(&file);
        let outcome = self.members(url, &pieces, left, problems);
        self.restored.transferred_bytes += file.received_bytes();
        outcome
    }

    fn members(
        &mut self,
        url: &str,
        pieces: &Pieces<'_>,
        left: &mut Vec<Lost<'_>>,
        problems: &mut Vec<Problem>,
    ) -> Result<(), Problem> {
        let members = Members::below(self.archive.prefix, &[], None);
        let outline = Outline::new(pieces, &members, &Limits::default());
        let outline = outline.map_err(|error| problem(error, url, pieces))?;
        let spans = left.iter().filter_map(|file| Some(outline.span(outline.find(file.name)?, SLACK_BYTES)));
        self.progress
            .started(Some(spans.fold(0, |sum: u64, span| sum.saturating_add(span.end - span.start))));
        let opened = Opened { url, pieces, outline };
        let mut again = Vec::new();
        let mut files = std::mem::take(left).into_iter();
        let outcome = files.try_for_each(|file| match self.file(&opened, &file) {
            Ok(()) => {
                self.restored.names.push(file.name.to_owned());
                Ok(())
            }
            Err(problem) => {
                again.push(file);
                match problem {
                    Problem::Archive { .. } | Problem::Missing { .. } | Problem::Wrong { .. } => {
                        problems.push(problem);
                        Ok(())
                    }
                    problem => Err(problem),
                }
            }
        });
        again.extend(files);
        *left = again;
        outcome
    }

    /// Restores one file.
    fn file(&self, opened: &Opened<'_>, file: &Lost<'_>) -> Result<(), Problem> {
        let Opened { url, pieces, outline } = opened;
        let Some(selected) = outline.find(file.name) else {
            let member = match self.archive.prefix.trim_end_matches('/') {
                "" => file.name.to_owned(),
                prefix => format!("{prefix}/{}", file.name),
            };
            return Err(Problem::Missing { url: (*url).to_owned(), member });
        };
        let span = outline.span(selected, SLACK_BYTES);
        let found = selected.bytes().max(span.end.saturating_sub(span.start).saturating_sub(SLACK_BYTES));
        if found > MEMBER_LIMIT_BYTES {
            let what = format!("the size of its member `{}` in bytes", file.name);
            let fault = Fault::Limit { what, limit: MEMBER_LIMIT_BYTES, found };
            return Err(Problem::Archive { url: (*url).to_owned(), fault });
        }
        let contents = pieces.with(span, || {
            let wanted = outline.check(*pieces, selected)?;
            pieces.hold(wanted.extent())?;
            outline.contents(*pieces, &wanted)
        });
        let contents = contents.map_err(|error| problem(error, url, pieces))?;
        let mut fingerprint = Fingerprint::default();
        fingerprint.update(&contents);
        file.expected.check(&fingerprint.finish()).map_err(|mismatch| Problem::Wrong {
            url: (*url).to_owned(),
            file: file.name.to_owned(),
            mismatch,
        })?;
        fault::point("restore-before-write");
        // The name is one that a member of the archive has, and those are plain paths.
        fsio::write(&self.folder.join(file.name), &contents)?;
        fault::point("restore-after-rename");
        Ok(())
    }

    /// Removes what an earlier run left that died while it wrote one of these files. A leftover that cannot be removed does no harm.
    fn remove_leftovers(&self, files: &[Lost<'_>]) {
        for entry in fs::read_dir(self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let target = name.to_str().and_then(fsio::partial_of);
            if target.is_some_and(|target| files.iter().any(|file| file.name == target)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// What a failure to read means: what the network did is the cause of what the reader then found.
fn problem(error: ReadError, url: &str, pieces: &Pieces<'_>) -> Problem {
    match (pieces.failure(), error) {
        (Some(failure), _) => failure.into(),
        (None, ReadError::Fault(fault)) => Problem::Archive { url: url.to_owned(), fault },
        (None, ReadError::Io(error)) => {
            let fault = Fault::Damaged { detail: error.to_string() };
            Problem::Archive { url: url.to_owned(), fault }
        }
    }
}
