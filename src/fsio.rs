//! The one way files are written and bounded files are read.
//!
//! A final path only ever appears by renaming a complete, synced file from the same folder, so a reader sees the old
//! bytes, the new bytes, or no file, never half of one. Nothing else in the program calls `File::create` on a final
//! path.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::fault;

/// Why a file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {action} `{path}`: {source}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder it was tried on.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file from outside is larger than anything we would accept.
    #[error("`{path}` has {found_bytes} bytes, more than the limit of {limit_bytes} for such a file")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        found_bytes: u64,
        /// The most we read.
        limit_bytes: u64,
    },
    /// A JSON artefact does not have the expected form.
    #[error("`{path}` is not a valid {what}: {source}")]
    Json {
        /// The file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// Where and how it is wrong.
        source: serde_json::Error,
    },
    /// A JSON artefact was written by a newer version of this program.
    #[error("`{path}` has schema {found} of a {what}, this program reads up to {supported}: use a newer esr")]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// The version in the file.
        found: u64,
        /// The newest version this program knows.
        supported: u64,
    },
}

/// Attaches the action and the path to an I/O result.
pub fn io_context<T>(result: io::Result<T>, action: &'static str, path: &Path) -> Result<T, Error> {
    result.map_err(|source| Error::Io { action, path: path.to_path_buf(), source })
}

/// Writes `bytes` to `path` atomically (see [`write_with`]).
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_with(path, |file| file.write_all(bytes))
}

/// Lets `fill` write a file that then replaces `path` in one step: temporary file in the same folder, write, fsync,
/// rename, fsync of the folder. Parent folders are created.
///
/// # Errors
/// [`Error::Io`] naming the step that failed; `path` then still holds what it held before.
pub fn write_with(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), Error> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    };
    io_context(fs::create_dir_all(&folder), "create folder", &folder)?;
    let partial = partial_path(path);
    let result = (|| {
        let file = io_context(File::create(&partial), "create", &partial)?;
        let mut writer = BufWriter::new(file);
        io_context(fill(&mut writer), "write", &partial)?;
        let file =
            io_context(writer.into_inner().map_err(io::IntoInnerError::into_error), "write", &partial)?;
        io_context(file.sync_all(), "sync", &partial)?;
        drop(file);
        fault::point("fsio.before-rename");
        io_context(fs::rename(&partial, path), "rename into place", path)?;
        sync_folder(&folder)
    })();
    if result.is_err() {
        // The partial file is ours alone; failing to remove it must not hide the first error.
        let _ = fs::remove_file(&partial);
    }
    result
}

/// Creates a folder if need be, and makes sure that files can be written to it. Permissions say little about network file systems and containers; a file
/// that was written says it all.
///
/// # Errors
/// [`Error::Io`] when it cannot be written.
pub fn probe_folder(folder: &Path) -> Result<(), Error> {
    io_context(fs::create_dir_all(folder), "create folder", folder)?;
    let probe = folder.join(format!(".esr-probe.{}", std::process::id()));
    io_context(fs::write(&probe, b""), "write to", folder)?;
    io_context(fs::remove_file(&probe), "remove", &probe)
}

/// Makes a rename in `folder` durable.
pub fn sync_folder(folder: &Path) -> Result<(), Error> {
    let handle = io_context(File::open(folder), "open folder", folder)?;
    io_context(handle.sync_all(), "sync folder", folder)
}

/// Asks the kernel to begin writing `bytes` bytes of a file from `start` to the disk, without waiting, so that a later sync finds little left to do.
/// Zero bytes mean up to the end. Only a hint: it promises nothing, so its failure means nothing.
#[cfg(target_os = "linux")]
pub(crate) fn begin_writing_back(file: &File, start: u64, bytes: u64) {
    use std::os::fd::AsRawFd;
    let (Ok(start), Ok(bytes)) = (i64::try_from(start), i64::try_from(bytes)) else { return };
    // SAFETY: the descriptor is open for the duration of the call, which touches no memory.
    unsafe { libc::sync_file_range(file.as_raw_fd(), start, bytes, libc::SYNC_FILE_RANGE_WRITE) };
}

/// Other systems have no such call.
#[cfg(not(target_os = "linux"))]
pub(crate) fn begin_writing_back(_file: &File, _start: u64, _bytes: u64) {}

/// Asks the kernel to begin reading a file of which all will be needed soon, without waiting. Only a hint: what is wrong with the file is found when
/// it is read.
#[cfg(target_os = "linux")]
pub(crate) fn begin_reading(path: &Path) {
    use std::os::fd::AsRawFd;
    let Ok(file) = File::open(path) else { return };
    // SAFETY: the descriptor is open for the duration of the call, which touches no memory. Length 0 means up to the end.
    unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_WILLNEED) };
}

/// Other systems have no such call, or another one.
#[cfg(not(target_os = "linux"))]
pub(crate) fn begin_reading(_path: &Path) {}

/// The temporary name beside `path`; the process id keeps two processes from sharing one.
fn partial_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().map(|n| n.to_os_string()).unwrap_or_default();
    name.push(format!(".{}.partial", std::process::id()));
    path.with_file_name(name)
}

/// The file that another one of this name was to become, if it is a temporary one of [`write_with`] whose process died.
pub fn partial_of(name: &str) -> Option<&str> {
    let (name, pid) = name.strip_suffix(".partial")?.rsplit_once('.')?;
    let is_pid = !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit());
    (is_pid && !name.is_empty()).then_some(name)
}

/// Reads a whole file of at most `limit_bytes`.
pub fn read_limited(path: &Path, limit_bytes: u64) -> Result<Vec<u8>, Error> {
    let file = io_context(File::open(path), "open", path)?;
    let metadata = io_context(file.metadata(), "read", path)?;
    if metadata.is_dir() {
        let source = io::Error::new(io::ErrorKind::IsADirectory, "it is a folder, not a file");
        return Err(Error::Io { action: "read", path: path.to_path_buf(), source });
    }
    if metadata.len() > limit_bytes {
        return Err(Error::TooLarge { path: path.to_path_buf(), found_bytes: metadata.len(), limit_bytes });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    // `take` keeps a file that grows while it is read (or a pipe) within the limit as well.
    io_context(file.take(limit_bytes + 1).read_to_end(&mut bytes), "read", path)?;
    if bytes.len() as u64 > limit_bytes {
        return Err(Error::TooLarge {
            path: path.to_path_buf(),
            found_bytes: bytes.len() as u64,
            limit_bytes,
        });
    }
    Ok(bytes)
}

/// The most bytes read of one file that the kernel makes; `/proc/cpuinfo` takes about 2 KiB a processor.
const PSEUDO_FILE_LIMIT_BYTES: u64 = 16 << 20;

/// The text of a file under `/proc` or `/sys`, if it is there.
pub(crate) fn pseudo_file(path: impl AsRef<Path>) -> Option<String> {
    String::from_utf8(read_limited(path.as_ref(), PSEUDO_FILE_LIMIT_BYTES).ok()?).ok()
}

/// A versioned JSON artefact: the struct has a `schema` field that holds [`Artefact::SCHEMA`] when written.
pub trait Artefact: Serialize + DeserializeOwned {
    /// What people call it, e.g. "evaluation".
    const WHAT: &'static str;
    /// The version this program writes; it reads this and older ones.
    const SCHEMA: u64;
}

/// The most bytes a JSON artefact may have: a per-layer table or a thousand images are far below it.
const ARTEFACT_LIMIT_BYTES: u64 = 64 << 20;

/// Writes a JSON artefact atomically, indented, with a final newline.
pub fn write_json<A: Serialize>(path: &Path, artefact: &A) -> Result<(), Error> {
    let json = |source| Error::Json { path: path.to_path_buf(), what: "JSON document", source };
    let mut bytes = serde_json::to_vec_pretty(artefact).map_err(json)?;
    bytes.push(b'\n');
    write(path, &bytes)
}

/// Reads a JSON artefact and refuses one written by a newer version of the program.
pub fn read_json<A: Artefact>(path: &Path) -> Result<A, Error> {
    let bytes = read_limited(path, ARTEFACT_LIMIT_BYTES)?;
    let invalid = |source| Error::Json { path: path.to_path_buf(), what: A::WHAT, source };
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(invalid)?;
    if let Some(found) = value.get("schema").and_then(serde_json::Value::as_u64)
        && found > A::SCHEMA
    {
        return Err(Error::NewerSchema {
            path: path.to_path_buf(),
            what: A::WHAT,
            found,
            supported: A::SCHEMA,
        });
    }
    serde_json::from_value(value).map_err(invalid)
}

/// The SHA-256 of some bytes in lower-case hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The SHA-256 of a file's bytes in lower-case hexadecimal, read in pieces.
pub fn sha256_file(path: &Path) -> Result<String, Error> {
    let mut file = io_context(File::open(path), "open", path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0u8; 1 << 16];
    loop {
        let n = io_context(file.read(&mut buffer), "read", path)?;
        if n == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(buffer.get(..n).unwrap_or_default());
    }
}

/// Bytes in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_litter() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write(&path, b"old").unwrap();
        let failed = write_with(&path, |file| {
            file.write_all(b"half of the new")?;
            Err(io::Error::other("disk on fire"))
        });
        assert!(failed.unwrap_err().to_string().contains("disk on fire"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn reading_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("big");
        write(&path, &[0; 100]).unwrap();
        assert_eq!(read_limited(&path, 100).unwrap().len(), 100);
        assert!(matches!(read_limited(&path, 99), Err(Error::TooLarge { found_bytes: 100, .. })));
    }

    #[test]
    fn sha256_of_file_and_bytes_agree_with_the_standard() {
        // FIPS 180-4 example: SHA-256("abc").
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        write(&path, b"abc").unwrap();
        assert_eq!(sha256_hex(b"abc"), expected);
        assert_eq!(sha256_file(&path).unwrap(), expected);
    }
}
