//! Writes members into the staging folder, and gets them all to the disk at little cost.
//!
//! Syncing every file on its own makes the disk wait hundreds of times. Instead the kernel is asked to begin writing each file as soon as it
//! is whole, while the next ones are unpacked, and at the end to finish the whole file system once.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::error::{Fault, UnpackError};
use crate::fault;
use crate::fetch::store::StoreError;
use crate::{fsio, space};

/// Told how many more bytes were unpacked, from any thread; stops everything by breaking.
pub type Progress<'a> = &'a (dyn Fn(u64) -> ControlFlow<()> + Sync);

/// What can go wrong while the bytes of a member are read.
pub(in crate::fetch) enum ReadError {
    /// The device, not the archive.
    Io(io::Error),
    /// The archive.
    Fault(Fault),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Fault> for ReadError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Written {
    files: u64,
    bytes: u64,
}

/// The place where members are written.
pub(super) struct Sink<'a> {
    folder: PathBuf,
    archive: &'a Path,
    progress: Progress<'a>,
    made: Mutex<BTreeSet<PathBuf>>,
    written: Mutex<Written>,
    /// Opened before anything is written, so that failures to write back are reported to it.
    handle: File,
}

impl<'a> Sink<'a> {
    pub(super) fn new(folder: &Path, archive: &'a Path, progress: Progress<'a>) -> Result<Self, UnpackError> {
        let handle = fsio::io_context(File::open(folder), "open folder", folder)?;
        let made = Mutex::new(BTreeSet::from([folder.to_path_buf()]));
        let written = Mutex::default();
        Ok(Self { folder: folder.to_path_buf(), archive, progress, made, written, handle })
    }

    /// Writes one member, which must have `bytes` bytes, at the plain path `relative`.
    ///
    /// # Errors
    /// Those of `read`; [`Fault::Size`] when it has more or fewer bytes; and those of writing.
    pub(super) fn write(
        &self,
        relative: &str,
        bytes: u64,
        buffer: &mut [u8],
        mut read: impl FnMut(&mut [u8]) -> Result<usize, ReadError>,
    ) -> Result<(), UnpackError> {
        let path = self.folder.join(relative);
        self.make_parent(&path)?;
        // A new file only: nothing that is there is ever opened, so nothing can be followed elsewhere.
        let opened = OpenOptions::new().write(true).create_new(true).open(&path);
        let mut file = opened.map_err(|source| write_error(source, "create", &path))?;
        let wrong_size = |problem: String| {
            self.fault(Fault::Size { member: relative.to_owned(), expected_bytes: bytes, problem })
        };
        let mut total = 0u64;
        loop {
            let count = read(buffer).map_err(|error| self.read_error(error))?;
            if count == 0 {
                break;
            }
            total += count as u64;
            if total > bytes {
                return Err(wrong_size("go on behind that".to_owned()));
            }
            let piece = buffer.get(..count).unwrap_or_default();
            file.write_all(piece).map_err(|source| write_error(source, "write", &path))?;
            if (self.progress)(count as u64).is_break() {
                return Err(UnpackError::Stopped { archive: self.archive.to_path_buf() });
            }
        }
        if total < bytes {
            return Err(wrong_size(format!("end after {total}")));
        }
        fsio::begin_writing_back(&file, 0, 0);
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.files += 1;
        written.bytes += total;
        drop(written);
        fault::point("unpack-member");
        Ok(())
    }

    fn make_parent(&self, path: &Path) -> Result<(), UnpackError> {
        let Some(parent) = path.parent() else {
            return Ok(());
        };
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if !made.contains(parent) {
            fs::create_dir_all(parent).map_err(|source| write_error(source, "create folder", parent))?;
            // All of them, for syncing one by one where that is needed.
            let ancestors = parent.ancestors().take_while(|ancestor| *ancestor != self.folder);
            made.extend(ancestors.map(Path::to_path_buf));
        }
        Ok(())
    }

    pub(super) fn read_error(&self, error: ReadError) -> UnpackError {
        match error {
            ReadError::Io(source) => self.unreadable(source),
            ReadError::Fault(fault) => self.fault(fault),
        }
    }

    /// A failure to read the archive that is being unpacked.
    pub(super) fn unreadable(&self, source: io::Error) -> UnpackError {
        fsio::Error::Io { action: "read", path: self.archive.to_path_buf(), source }.into()
    }

    /// A fault of the archive that is being unpacked.
    pub(super) fn fault(&self, fault: Fault) -> UnpackError {
        UnpackError::Archive { archive: self.archive.to_path_buf(), fault }
    }

    /// Waits until everything is on the disk; returns the numbers of files and bytes.
    pub(super) fn finish(self) -> Result<(u64, u64), UnpackError> {
        fault::point("unpack-before-sync");
        let synced = match sync_file_system(&self.handle) {
            Err(error) if is_missing(&error) => self.sync_one_by_one(),
            synced => synced,
        };
        synced.map_err(|source| write_error(source, "sync", &self.folder))?;
        fault::point("unpack-after-sync");
        let written = *self.written.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((written.files, written.bytes))
    }

    /// The slow way for systems that cannot sync a whole file system: every file and folder, several at once.
    fn sync_one_by_one(&self) -> io::Result<()> {
        let folders = self.made.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut paths: Vec<PathBuf> = Vec::new();
        for folder in &folders {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                if entry.file_type()?.is_file() {
                    paths.push(entry.path());
                }
            }
        }
        paths.par_iter().try_for_each(|path| File::open(path)?.sync_all())?;
        folders.iter().try_for_each(|folder| File::open(folder)?.sync_all())
    }
}

/// Whether a system call is not there at all.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EOPNOTSUPP))
        || error.kind() == io::ErrorKind::Unsupported
}

/// Tells a full disk from other failures to write.
fn write_error(source: io::Error, action: &'static str, path: &Path) -> UnpackError {
    use io::ErrorKind as K;
    match source.kind() {
        K::StorageFull | K::QuotaExceeded | K::FileTooLarge => {
            let free_bytes = space::free_bytes(path).ok();
            UnpackError::NoSpace { path: path.to_path_buf(), free_bytes, source }
        }
        K::PermissionDenied | K::ReadOnlyFilesystem => {
            StoreError::ReadOnly { action, path: path.to_path_buf(), source }.into()
        }
        _ => fsio::Error::Io { action, path: path.to_path_buf(), source }.into(),
    }
}

/// Writes the file system of `handle` to the disk and waits for it. Since Linux 5.8 failures to write anything since `handle` was opened are
/// reported here.
#[cfg(target_os = "linux")]
fn sync_file_system(handle: &File) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is open for the duration of the call, which touches no memory.
    match unsafe { libc::syncfs(handle.as_raw_fd()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(not(target_os = "linux"))]
fn sync_file_system(_handle: &File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn of<'a>(mut bytes: &'a [u8]) -> impl FnMut(&mut [u8]) -> Result<usize, ReadError> + 'a {
        move |buffer| io::Read::read(&mut bytes, buffer).map_err(ReadError::Io)
    }

    #[test]
    fn members_are_written_counted_and_synced() {
        let folder = tempfile::tempdir().unwrap();
        let told = AtomicU64::new(0);
        let progress = |bytes| {
            told.fetch_add(bytes, Ordering::Relaxed);
            ControlFlow::Continue(())
        };
        let sink = Sink::new(folder.path(), Path::new("a.zip"), &progress).unwrap();
        let mut buffer = [0; 2];
        sink.write("a/b/c", 3, &mut buffer, of(b"abc")).unwrap();
        sink.write("d", 0, &mut buffer, of(b"")).unwrap();
        sink.sync_one_by_one().unwrap();
        assert_eq!(sink.made.lock().unwrap().len(), 3);
        assert_eq!(sink.finish().unwrap(), (2, 3));
        assert_eq!(told.into_inner(), 3);
        assert_eq!(fs::read(folder.path().join("a/b/c")).unwrap(), b"abc");
    }

    #[test]
    fn sizes_must_be_right_and_nothing_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let sink = Sink::new(folder.path(), Path::new("a.zip"), &|_| ControlFlow::Continue(())).unwrap();
        let mut buffer = [0; 2];
        for (name, bytes, problem) in [("short", 4, "end after 3"), ("long", 2, "go on")] {
            let error = sink.write(name, bytes, &mut buffer, of(b"abc")).unwrap_err().to_string();
            assert!(error.contains(problem) && error.contains("a.zip"), "{error}");
        }
        std::os::unix::fs::symlink("elsewhere", folder.path().join("link")).unwrap();
        assert!(sink.write("link", 3, &mut buffer, of(b"abc")).is_err());
        assert!(!folder.path().join("elsewhere").exists());
    }

    #[test]
    fn failures_are_told_apart() {
        let path = Path::new("x");
        let of = |code| write_error(io::Error::from_raw_os_error(code), "write", path);
        for code in [libc::ENOSPC, libc::EDQUOT, libc::EFBIG] {
            assert!(matches!(of(code), UnpackError::NoSpace { .. }), "{code}");
        }
        assert!(matches!(of(libc::EROFS), UnpackError::Store(StoreError::ReadOnly { .. })));
        assert!(matches!(of(libc::EIO), UnpackError::File(_)));
        assert!(is_missing(&io::Error::from_raw_os_error(libc::ENOSYS)));
    }
}
