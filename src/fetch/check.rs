//! Whether a dataset's folder is what it should be, and on what grounds one may say so.

use std::fmt;
use std::path::{Path, PathBuf};

use super::Found;
use super::folder::{self, Decode, Report, Wanted};
use super::http::{Progress, watch};
use super::pins::Trust;
use super::record::Record;
use crate::manifest::datasets::{Dataset, FileFacts, Likeness, Role, Source};

/// Differences that an error names; more are only counted.
const NAMED: usize = 5;

/// What vouches for a folder. Several grounds may hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The archive, or every file, has a published hash.
    pub published: bool,
    /// It is what it was when it was first seen.
    pub pinned: bool,
    /// The folder as a whole has a published MD5.
    pub whole: bool,
    /// Its files are what they were then, in UTC.
    pub since: Option<String>,
    /// Files with published facts about themselves that hold.
    pub files_known: usize,
    /// Files that were decoded.
    pub files_decoded: usize,
    /// Files in all.
    pub files: usize,
}

impl Verdict {
    /// Whether anything published vouches for all of it.
    pub fn is_verified(&self) -> bool {
        self.published || self.whole || self.files_known == self.files
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grounds: Vec<String> = [
            self.published.then(|| "published hash of what was fetched".to_owned()),
            self.whole.then(|| "published MD5 of the folder".to_owned()),
            (self.files_known > 0).then(|| format!("{} files with published hashes", self.files_known)),
            self.pinned.then(|| "pinned: nobody published a hash".to_owned()),
            self.since.as_ref().map(|since| format!("unchanged since {since}")),
        ]
        .into_iter()
        .flatten()
        .collect();
        match (self.is_verified(), grounds.is_empty()) {
            (true, _) => write!(f, "{} files, verified ({})", self.files, grounds.join(", ")),
            (false, true) => {
                write!(f, "{} files, not verified: nothing published to compare with", self.files)
            }
            (false, false) => {
                write!(f, "{} files, not verified as a whole ({})", self.files, grounds.join(", "))
            }
        }
    }
}

/// Why a folder is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// It could not be looked at.
    #[error(transparent)]
    Folder(#[from] folder::Error),
    /// Files are missing or wrong.
    #[error("`{folder}` is not {title}: {problems}")]
    Unsound {
        /// Where.
        folder: PathBuf,
        /// What it should be.
        title: String,
        /// What is wrong, for people.
        problems: String,
        /// The files that have to be fetched again, where their names are known.
        files: Vec<String>,
    },
}

/// A folder that is what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// On what grounds.
    pub verdict: Verdict,
    /// Its files, in order of names.
    pub files: Vec<(String, Found)>,
}

/// Checks a folder against everything known of the dataset, and against its record if there is one. `came` says how it came; without it, it was
/// found where it is, and only what does not depend on the way has to hold.
///
/// # Errors
/// [`CheckError`], which names what is missing and what differs.
pub fn folder(
    dataset: &Dataset,
    path: &Path,
    record: Option<&Record>,
    came: Option<(&Source, Trust)>,
    progress: &dyn Progress,
) -> Result<Checked, CheckError> {
    check(dataset, path, record, came, Depth::Known, progress)
}

/// As [`folder()`], of a folder found where it is, and every image is decoded.
///
/// # Errors
/// As there.
pub fn deep(
    dataset: &Dataset,
    path: &Path,
    record: Option<&Record>,
    progress: &dyn Progress,
) -> Result<Checked, CheckError> {
    check(dataset, path, record, None, Depth::All, progress)
}

#[derive(Clone, Copy, PartialEq)]
enum Depth {
    Known,
    All,
}

/// What has to hold of single files.
fn known(dataset: &Dataset, likeness: Likeness, record: Option<&Record>) -> Vec<FileFacts> {
    let published = dataset.known.iter().map(|facts| facts.as_far_as(likeness)).collect();
    match record {
        Some(record) => record.completed(published),
        None => published,
    }
}

fn check(
    dataset: &Dataset,
    path: &Path,
    record: Option<&Record>,
    came: Option<(&Source, Trust)>,
    depth: Depth,
    progress: &dyn Progress,
) -> Result<Checked, CheckError> {
    let likeness = came.map_or(Likeness::Unstated, |(source, _)| source.likeness);
    let report = inspect(dataset, path, &known(dataset, likeness, record), depth, progress)?;
    if !report.is_sound() {
        return Err(unsound(dataset, path, &report));
    }
    let md5 = report.whole().map(|whole| whole.md5);
    let is_whole = md5.as_deref().is_some_and(|md5| dataset.folder_md5s().any(|(known, _)| known == md5));
    if let Some((Source { folder_md5: Some(expected), .. }, _)) = came
        && !is_whole
    {
        let found = md5.unwrap_or_else(|| "unknown".to_owned());
        let problems = format!("the MD5 of the folder is {found}, expected {expected}");
        let (folder, title) = (path.to_path_buf(), dataset.title.clone());
        return Err(CheckError::Unsound { folder, title, problems, files: Vec::new() });
    }
    let trust = came.map(|(_, trust)| trust);
    let recorded = |of: fn(&Record) -> bool| record.is_some_and(of);
    let verdict = Verdict {
        published: trust == Some(Trust::Published) || recorded(|record| record.published),
        pinned: matches!(trust, Some(Trust::SeenBefore | Trust::FirstSeen))
            || recorded(|record| record.pinned),
        whole: is_whole,
        since: record.map(|record| record.first_seen.clone()),
        files_known: dataset.known.iter().filter(|facts| facts.pixels_sha256.is_some()).count(),
        files_decoded: report.decoded,
        files: report.files.len(),
    };
    Ok(Checked { verdict, files: report.files })
}

fn inspect(
    dataset: &Dataset,
    path: &Path,
    facts: &[FileFacts],
    depth: Depth,
    progress: &dyn Progress,
) -> Result<Report, CheckError> {
    let images = dataset.role != Role::Weights;
    let decode = match depth {
        Depth::All if images => Decode::All(&folder::decode),
        Depth::Known if images => Decode::Known(&folder::decode),
        _ => Decode::Nothing,
    };
    progress.started(None);
    Ok(folder::inspect(path, Wanted { members: &dataset.members, facts, decode }, &watch(progress))?)
}

fn unsound(dataset: &Dataset, path: &Path, report: &Report) -> CheckError {
    let mut problems = Vec::new();
    if report.count.found != report.count.expected {
        problems.push(format!("{} files instead of {}", report.count.found, report.count.expected));
    }
    let some = |names: Vec<String>| match names.len() {
        count if count > NAMED => format!("{} and {} more", names[..NAMED].join(", "), count - NAMED),
        _ => names.join(", "),
    };
    if !report.missing.is_empty() {
        problems.push(format!("missing: {}", some(report.missing.clone())));
    }
    if !report.different.is_empty() {
        let each = report.different.iter().map(|different| format!("{} ({})", different.name, different.how));
        problems.push(format!("wrong: {}", some(each.collect())));
    }
    let (folder, title) = (path.to_path_buf(), dataset.title.clone());
    let files = report.to_repair().into_iter().map(str::to_owned).collect();
    CheckError::Unsound { folder, title, problems: problems.join("; "), files }
}
