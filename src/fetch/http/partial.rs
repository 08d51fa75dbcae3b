//! The file that grows beside the target, and the note from which a later run continues it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::answer::Validator;
use super::error::DownloadError;
use super::extents::Extents;
use crate::fault;
use crate::fetch::{Expected, Fingerprint};
use crate::fsio::{self, Artefact, io_context};

/// Where a partial file comes from and which parts of it are surely there.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Note {
    schema: u64,
    /// The URL as asked for, before redirects.
    pub(super) url: String,
    /// Which version of the file.
    pub(super) validator: Option<Validator>,
    /// The file's size, if the server said.
    pub(super) total_bytes: Option<u64>,
    /// What was written and synced before the note was.
    pub(super) held: Extents,
}

impl Artefact for Note {
    const WHAT: &'static str = "note of a partial download";
    const SCHEMA: u64 = 1;
}

/// A file on its way, locked against other processes.
pub(super) struct Partial {
    /// What it will be.
    pub(super) target: PathBuf,
    /// What it is called until then.
    pub(super) path: PathBuf,
    /// Where its note is.
    pub(super) note_path: PathBuf,
    /// The open file.
    pub(super) file: File,
    /// What is known about it.
    pub(super) note: Note,
    /// The hashes of its front, as far as they were computed in this process.
    pub(super) hashed: Fingerprint,
    /// How much of it an earlier run brought.
    pub(super) resumed_bytes: u64,
}

/// What a file is called while it is on its way to `target`.
pub(in crate::fetch) fn partial_path(target: &Path) -> PathBuf {
    with_suffix(target, ".partial")
}

fn with_suffix(target: &Path, suffix: &str) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

impl Partial {
    /// Opens or creates the partial file of `target` and reads its note. Parent folders are created.
    pub(super) fn open(target: &Path) -> Result<Self, DownloadError> {
        if target.file_name().is_none() {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "it has no file name");
            return Err(fsio::Error::Io { action: "write", path: target.to_path_buf(), source }.into());
        }
        let (path, note_path) = (partial_path(target), with_suffix(target, ".partial.json"));
        let folder = folder_of(target);
        io_context(fs::create_dir_all(&folder), "create folder", &folder)?;
        let file = lock(&path)?;
        let length = io_context(file.metadata(), "read", &path)?.len();
        // A note that cannot be read, is newer than this program, or promises more than there is, is worth nothing; nor is
        // the partial file without one. Both are replaced when the first byte arrives.
        let note = if note_path.exists() { fsio::read_json::<Note>(&note_path).ok() } else { None };
        let sane = |note: &Note| note.held.end() <= length.min(note.total_bytes.unwrap_or(u64::MAX));
        let note = note.filter(sane).unwrap_or_default();
        let resumed_bytes = note.held.bytes();
        Ok(Self {
            target: target.to_path_buf(),
            path,
            note_path,
            file,
            note,
            hashed: Fingerprint::default(),
            resumed_bytes,
        })
    }

    /// Whether it can be continued from `url` towards what is expected.
    pub(super) fn continues(&self, url: &str, expected: &Expected) -> bool {
        let fits = match (self.note.total_bytes, expected.bytes) {
            (Some(total), Some(expected)) => total == expected,
            (None, Some(expected)) => self.note.held.end() <= expected,
            (_, None) => true,
        };
        fits && self.note.url == url && self.note.validator.is_some() && self.note.held.bytes() > 0
    }

    /// How much a later run can continue from.
    pub(super) fn resumable_bytes(&self) -> u64 {
        if self.note.validator.is_some() { self.note.held.bytes() } else { 0 }
    }

    /// Empties it for a fresh download of this version of the file.
    pub(super) fn restart(
        &mut self,
        url: &str,
        validator: Option<Validator>,
        total_bytes: Option<u64>,
    ) -> Result<(), DownloadError> {
        // Emptied before the note is written: a crash between the two leaves a note that promises more than there is.
        io_context(self.file.set_len(0), "empty", &self.path)?;
        fault::point("fetch-emptied");
        self.hashed = Fingerprint::default();
        self.resumed_bytes = 0;
        let held = Extents::default();
        self.note = Note { schema: Note::SCHEMA, url: url.to_owned(), validator, total_bytes, held };
        self.save()
    }

    /// Syncs what is held and then notes it, so that the note never promises what a power failure could take.
    pub(super) fn save(&mut self) -> Result<(), DownloadError> {
        let total_bytes = self.note.total_bytes;
        loop {
            match save(&self.file, &self.path, &self.note_path, &self.note) {
                // On a full disk even the note finds no room: the end of what is held makes place for it.
                Err(error) if is_full(&error) && self.note.held.end() > 0 => {
                    let end = self.note.held.end().saturating_sub(NOTE_ROOM_BYTES);
                    self.note.held.truncate(end);
                    io_context(self.file.set_len(end), "shorten", &self.path)?;
                }
                Err(fsio::Error::Io { source, .. }) if is_full_kind(source.kind()) => {
                    return Err(DownloadError::writing(&self.path, source, 0, total_bytes));
                }
                other => return Ok(other?),
            }
        }
    }

    /// Puts the whole, verified file in its place.
    pub(super) fn finish(self) -> Result<u64, DownloadError> {
        fault::point("fetch-before-sync");
        io_context(self.file.sync_all(), "sync", &self.path)?;
        fault::point("fetch-before-rename");
        io_context(fs::rename(&self.path, &self.target), "rename into place", &self.target)?;
        fault::point("fetch-after-rename");
        fsio::sync_folder(&folder_of(&self.target))?;
        // Without its partial file, a note that stays behind is without effect.
        remove(&self.note_path)?;
        fault::point("fetch-after-note");
        Ok(self.resumed_bytes)
    }

    /// Throws away what is held.
    pub(super) fn discard(&mut self) -> Result<(), DownloadError> {
        self.restart("", None, None)
    }

    /// Leaves what a later run can use, and nothing else.
    pub(super) fn leave(self) {
        if self.resumable_bytes() == 0 {
            // The error that brought us here is the one to be told.
            let _ = remove(&self.note_path);
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// More than a note and its folder entry need.
const NOTE_ROOM_BYTES: u64 = 1 << 20;

/// Syncs `file` and writes its note; without a validator nothing could be continued, and the note is removed.
pub(super) fn save(file: &File, path: &Path, note_path: &Path, note: &Note) -> Result<(), fsio::Error> {
    if note.validator.is_none() {
        return remove(note_path);
    }
    fault::point("fetch-before-checkpoint");
    io_context(file.sync_data(), "sync", path)?;
    fault::point("fetch-before-note");
    fsio::write_json(note_path, note)?;
    fault::point("fetch-after-checkpoint");
    Ok(())
}

fn is_full(error: &fsio::Error) -> bool {
    matches!(error, fsio::Error::Io { source, .. } if is_full_kind(source.kind()))
}

fn is_full_kind(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn remove(path: &Path) -> Result<(), fsio::Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => io_context(Err(error), "remove", path),
        _ => Ok(()),
    }
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Opens `path` and locks it against other processes.
fn lock(path: &Path) -> Result<File, DownloadError> {
    loop {
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = io_context(opened, "open", path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DownloadError::Busy { partial: path.to_path_buf() }),
            // Some network file systems have no locks: then the caller's own lock has to do.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => return Ok(file),
            Err(TryLockError::Error(error)) => io_context(Err(error), "lock", path)?,
        }
        // The other process may have renamed or removed it between our opening and locking; then the lock is on a file that
        // nobody will look for, and the next round makes a new one.
        let ours = io_context(file.metadata(), "read", path)?;
        match fs::metadata(path) {
            Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => return Ok(file),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => io_context(Err(error), "read", path)?,
        }
    }
}
