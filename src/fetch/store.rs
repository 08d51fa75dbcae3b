//! Where data lies below a data folder, and what state it is in.
//!
//! A folder is complete when it has a completion marker that can be read; the marker is written last. While a folder is not
//! complete it holds a note that says so, which tells our own half-done work from a folder that somebody else put there:
//! the former may be replaced, the latter is never touched.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Found;
use crate::fsio::{self, Artefact};

/// The name of the completion marker in an unpacked folder.
pub const MARKER_FILE: &str = ".esr-complete.json";
/// The name of the note in a folder that is not complete yet.
pub const UNFINISHED_FILE: &str = ".esr-unfinished";
/// The text of the note, for people who find it.
const UNFINISHED_TEXT: &[u8] =
    b"This folder was being filled by esr and is not complete. esr replaces it when it fetches again.\n";

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or folder could not be read or written.
    #[error(transparent)]
    File(#[from] fsio::Error),
    /// The folder may not be written.
    #[error(
        "cannot {action} `{path}`: {source}; the data folder must be writable to fetch into it: make it so, or use another data folder"
    )]
    ReadOnly {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder it was tried on.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A name leads out of the data folder.
    #[error("`{name}` is no name of something below `{root}`: only plain relative names are allowed")]
    Outside {
        /// The data folder.
        root: PathBuf,
        /// The name.
        name: String,
    },
}

impl StoreError {
    /// Attaches the action and the path to the result of a change, and tells lack of permission from other failures.
    pub(crate) fn of<T>(result: io::Result<T>, action: &'static str, path: &Path) -> Result<T, Self> {
        result.map_err(|source| Self::of_io(action, path, source))
    }

    fn of_io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnly { action, path, source }
            }
            _ => fsio::Error::Io { action, path, source }.into(),
        }
    }
}

/// The completion marker: what was unpacked, from what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marker {
    /// Format version.
    pub schema: u64,
    /// The archive that was unpacked.
    pub archive: Found,
    /// The files that were unpacked, markers not counted.
    pub files: u64,
    /// Their sizes together.
    pub bytes: u64,
}

impl Artefact for Marker {
    const WHAT: &'static str = "completion marker";
    const SCHEMA: u64 = 1;
}

/// The state of a folder of data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing is there, or an empty folder.
    Absent,
    /// Our own work that was not completed; it may be replaced.
    Incomplete {
        /// How that is known.
        reason: String,
    },
    /// Something that was not put there by this program; it is never replaced.
    Foreign,
    /// All there, as of when the marker was written.
    Complete(Marker),
}

/// Looks at a folder of data.
///
/// # Errors
/// When the folder cannot be read, or its marker was written by a newer version of the program.
pub fn state(folder: &Path) -> Result<State, StoreError> {
    match fs::symlink_metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::Absent),
        Err(source) => return StoreError::of(Err(source), "look at", folder),
        Ok(_) => {}
    }
    let marker = folder.join(MARKER_FILE);
    match fsio::read_json::<Marker>(&marker) {
        Ok(marker) => return Ok(State::Complete(marker)),
        Err(error @ fsio::Error::NewerSchema { .. }) => return Err(error.into()),
        Err(fsio::Error::Io { source, .. })
            if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
        // A marker that is a folder, too large, no JSON or not of this form.
        Err(error @ (fsio::Error::TooLarge { .. } | fsio::Error::Json { .. })) => {
            return Ok(State::Incomplete {
                reason: format!("its completion marker cannot be read: {error}"),
            });
        }
        Err(error) if marker.is_dir() => {
            return Ok(State::Incomplete {
                reason: format!("its completion marker cannot be read: {error}"),
            });
        }
        Err(error) => return Err(error.into()),
    }
    if folder.join(UNFINISHED_FILE).exists() {
        return Ok(State::Incomplete { reason: "filling it was interrupted".to_owned() });
    }
    if !folder.is_dir() {
        return Ok(State::Foreign);
    }
    let mut entries = fsio::io_context(fs::read_dir(folder), "list", folder)?;
    Ok(if entries.next().is_some() { State::Foreign } else { State::Absent })
}

/// Writes the note that a folder is not complete.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn mark_unfinished(folder: &Path) -> Result<(), StoreError> {
    let path = folder.join(UNFINISHED_FILE);
    Ok(fsio::write(&path, UNFINISHED_TEXT)?)
}

/// Writes the completion marker and then removes the note.
///
/// # Errors
/// When it cannot be written; the folder is then still incomplete.
pub(crate) fn mark_complete(folder: &Path, marker: &Marker) -> Result<(), StoreError> {
    fsio::write_json(&folder.join(MARKER_FILE), marker)?;
    let note = folder.join(UNFINISHED_FILE);
    match fs::remove_file(&note) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => StoreError::of(Err(error), "remove", &note),
        _ => Ok(()),
    }
}

/// Takes back the completion marker of a folder that this program filled and that was found to be damaged, so that it is replaced when
/// it is fetched again. A folder without marker is left as it is.
///
/// # Errors
/// When the marker cannot be removed.
pub fn discard_marker(folder: &Path) -> Result<(), StoreError> {
    let marker = folder.join(MARKER_FILE);
    if fs::symlink_metadata(&marker).is_err() {
        return Ok(());
    }
    // The note comes first: without either, the folder would look like somebody else's.
    mark_unfinished(folder)?;
    StoreError::of(fs::remove_file(&marker), "remove", &marker)?;
    Ok(fsio::sync_folder(folder)?)
}

/// A data folder: archives in `archives/`, each set of images in a folder of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    root: PathBuf,
}

impl Default for Store {
    fn default() -> Self {
        Self::new("data")
    }
}

impl Store {
    /// The data folder `root`, which need not be there yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The data folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of the archives.
    pub fn archives(&self) -> PathBuf {
        self.root.join("archives")
    }

    /// Where an archive lies.
    ///
    /// # Errors
    /// [`StoreError::Outside`] when the name is not a plain one.
    pub fn archive(&self, name: &str) -> Result<PathBuf, StoreError> {
        self.below(&self.archives(), name)
    }

    /// Where a set of images, or a part of one such as `DIV2K_train_LR_bicubic/X4`, lies.
    ///
    /// # Errors
    /// [`StoreError::Outside`] when the name is not a plain relative one.
    pub fn folder(&self, name: &str) -> Result<PathBuf, StoreError> {
        self.below(&self.root, name)
    }

    /// Whether a folder lies in this data folder itself, and not somewhere that a link leads to: only such folders may be changed.
    pub fn is_ours(&self, folder: &Path) -> bool {
        let real = |path: &Path| fs::canonicalize(path).ok();
        let ours = real(&self.root).zip(real(folder)).is_some_and(|(root, folder)| folder.starts_with(root));
        ours && !matches!(state(folder), Ok(State::Foreign))
    }

    fn below(&self, folder: &Path, name: &str) -> Result<PathBuf, StoreError> {
        let plain = !name.is_empty()
            && !name.contains(['\\', '\0'])
            && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        if plain {
            Ok(folder.join(name))
        } else {
            Err(StoreError::Outside { root: self.root.clone(), name: name.to_owned() })
        }
    }

    /// Creates the data folder and the folder of the archives, and makes sure that files can be written to both.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`] when they may not be written.
    pub fn prepare(&self) -> Result<(), StoreError> {
        for folder in [self.root.clone(), self.archives()] {
            fsio::probe_folder(&folder).map_err(|error| match error {
                fsio::Error::Io { action, path, source } => StoreError::of_io(action, &path, source),
                other => other.into(),
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker() -> Marker {
        let archive = Found { bytes: 3, sha256: "ab".repeat(32), md5: "cd".repeat(16) };
        Marker { schema: Marker::SCHEMA, archive, files: 2, bytes: 5 }
    }

    #[test]
    fn a_folder_walks_through_its_states() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("DIV2K_valid_HR");
        assert_eq!(state(&folder).unwrap(), State::Absent);
        fs::create_dir(&folder).unwrap();
        assert_eq!(state(&folder).unwrap(), State::Absent);
        mark_unfinished(&folder).unwrap();
        assert!(matches!(state(&folder).unwrap(), State::Incomplete { .. }));
        mark_complete(&folder, &marker()).unwrap();
        assert_eq!(state(&folder).unwrap(), State::Complete(marker()));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        discard_marker(&folder).unwrap();
        assert!(matches!(state(&folder).unwrap(), State::Incomplete { .. }));
        discard_marker(&folder).unwrap();
    }

    #[test]
    fn a_marker_that_cannot_be_read_is_none() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(MARKER_FILE);
        let whole = serde_json::to_vec(&marker()).unwrap();
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            assert!(matches!(state(root.path()).unwrap(), State::Incomplete { .. }), "{cut}");
        }
        fs::write(&path, [&whole[..whole.len() - 1], br#","more":1}"#].concat()).unwrap();
        assert!(matches!(state(root.path()).unwrap(), State::Incomplete { .. }));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(state(root.path()).unwrap(), State::Incomplete { .. }));
    }

    #[test]
    fn a_newer_marker_is_an_error_rather_than_a_reason_to_replace() {
        let root = tempfile::tempdir().unwrap();
        fsio::write_json(&root.path().join(MARKER_FILE), &Marker { schema: 2, ..marker() }).unwrap();
        assert!(state(root.path()).unwrap_err().to_string().contains("newer esr"));
    }

    #[test]
    fn what_others_put_there_is_foreign() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("DIV2K_train_HR");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("0001.png"), b"mine").unwrap();
        assert_eq!(state(&folder).unwrap(), State::Foreign);
        assert_eq!(state(&folder.join("0001.png")).unwrap(), State::Foreign);
        discard_marker(&folder).unwrap();
        assert_eq!(state(&folder).unwrap(), State::Foreign);
        std::os::unix::fs::symlink("nowhere", root.path().join("dangling")).unwrap();
        assert_eq!(state(&root.path().join("dangling")).unwrap(), State::Foreign);
    }

    #[test]
    fn names_stay_below_the_data_folder() {
        let store = Store::default();
        assert_eq!(
            store.folder("DIV2K_train_LR_bicubic/X4").unwrap(),
            Path::new("data/DIV2K_train_LR_bicubic/X4")
        );
        assert_eq!(store.archive("a.zip").unwrap(), Path::new("data/archives/a.zip"));
        for name in ["", "/etc", "..", "a/../../b", "./a", "a\\b", "a\0"] {
            assert!(matches!(store.folder(name), Err(StoreError::Outside { .. })), "{name:?}");
        }
    }

    #[test]
    fn a_folder_that_may_not_be_written_is_said_to_be_so() {
        let root = tempfile::tempdir().unwrap();
        Store::new(root.path().join("new/data")).prepare().unwrap();
        assert_eq!(fs::read_dir(root.path().join("new/data/archives")).unwrap().count(), 0);
        for kind in [libc::EACCES, libc::EPERM, libc::EROFS] {
            let refused = Err::<(), _>(io::Error::from_raw_os_error(kind));
            let error = StoreError::of(refused, "create folder", Path::new("data")).unwrap_err();
            assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
            assert!(error.to_string().contains("make it so, or use another data folder"), "{error}");
        }
        let error = Store::new("/proc/esr-data").prepare().unwrap_err();
        assert!(error.to_string().contains("/proc/esr-data"), "{error}");
    }
}
