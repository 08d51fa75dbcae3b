//! Room on the disk, asked before gigabytes are fetched rather than after.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::fsio;

/// Why there is no room, or why it is not known.
#[derive(Debug, thiserror::Error)]
pub enum SpaceError {
    /// The operating system did not say.
    #[error(transparent)]
    File(#[from] fsio::Error),
    /// There is not enough room.
    #[error(
        "`{path}` needs {} but its file system has {} free, {} too little: make room there, or use another data folder",
        readable(*.needed_bytes), readable(*.free_bytes), readable(.needed_bytes.saturating_sub(*.free_bytes))
    )]
    TooLittle {
        /// What the room is for.
        path: PathBuf,
        /// How much is needed.
        needed_bytes: u64,
        /// How much an ordinary user may still write there.
        free_bytes: u64,
    },
}

/// The bytes that an ordinary user may still write to the file system on which `path` lies or would lie. Quotas of single users are not seen.
///
/// # Errors
/// [`SpaceError::File`] when the operating system refuses to say.
pub fn free_bytes(path: &Path) -> Result<u64, SpaceError> {
    let place = existing_ancestor(path);
    let facts = fsio::io_context(statvfs(&place), "find the free space of", &place)?;
    // The fields have other widths on other systems.
    #[expect(clippy::useless_conversion, reason = "it is not useless on all systems")]
    let (blocks, block_bytes) = (
        u64::try_from(facts.f_bavail).unwrap_or(u64::MAX),
        u64::try_from(facts.f_frsize).unwrap_or(u64::MAX),
    );
    Ok(blocks.saturating_mul(block_bytes))
}

/// Checks that `needed_bytes` more can be written below `path`.
///
/// # Errors
/// [`SpaceError::TooLittle`] with needed, free and missing bytes.
pub fn require(path: &Path, needed_bytes: u64) -> Result<(), SpaceError> {
    let free_bytes = free_bytes(path)?;
    if free_bytes < needed_bytes {
        return Err(SpaceError::TooLittle { path: path.to_path_buf(), needed_bytes, free_bytes });
    }
    Ok(())
}

/// Bytes for people, with the exact number where it is short.
pub(crate) fn readable(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] =
        [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    match UNITS.iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => {
            // Two digits after the point, by whole numbers: the last one is rounded down.
            format!("{}.{:02} {name}", bytes / unit, bytes % unit / (unit / 100))
        }
        None => format!("{bytes} bytes"),
    }
}

/// The nearest folder above `path`, or `path` itself, that is there.
fn existing_ancestor(path: &Path) -> PathBuf {
    path.ancestors()
        .find(|ancestor| !ancestor.as_os_str().is_empty() && ancestor.exists())
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

fn statvfs(path: &Path) -> io::Result<libc::statvfs> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: all-zero bytes are a valid value of this struct of integers.
    let mut facts: libc::statvfs = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: `path` is terminated by zero and `facts` is a writable struct of the right type; both outlive the call.
        if unsafe { libc::statvfs(path.as_ptr(), &mut facts) } == 0 {
            return Ok(facts);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_not_there_yet_has_the_space_of_its_file_system() {
        let folder = tempfile::tempdir().unwrap();
        let free = free_bytes(&folder.path().join("not/there/yet")).unwrap();
        assert!(free > 0);
        assert!(free_bytes(Path::new("not-there-either")).unwrap() > 0, "relative paths start here");
        require(&folder.path().join("data"), 1).unwrap();
    }

    #[test]
    fn the_error_names_needed_free_and_missing() {
        let folder = tempfile::tempdir().unwrap();
        let error = require(folder.path(), u64::MAX).unwrap_err();
        assert!(matches!(error, SpaceError::TooLittle { needed_bytes: u64::MAX, .. }), "{error}");
        let error =
            SpaceError::TooLittle { path: "data".into(), needed_bytes: 16_250_000_000, free_bytes: 1_999 };
        let message = error.to_string();
        for part in ["`data` needs 16.25 GB", "has 1.99 kB free", "16.24 GB too little"] {
            assert!(message.contains(part), "{message}");
        }
        assert_eq!(readable(999), "999 bytes");
    }

    #[test]
    fn a_path_with_a_zero_byte_is_an_error() {
        use std::ffi::OsStr;
        let path = Path::new(OsStr::from_bytes(b"/a\0b"));
        // Its nearest ancestor is the root.
        assert!(free_bytes(path).is_ok());
        assert!(statvfs(path).is_err());
    }
}
