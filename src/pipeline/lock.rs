//! One process at a time works in a run directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::fsio;

/// Holds the lock of a run directory until dropped. The operating system releases it when the process ends, however it ends.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

/// The lock could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The lock file cannot be opened.
    #[error(transparent)]
    File(#[from] fsio::Error),
    /// Somebody else works here.
    #[error(
        "`{folder}` is in use by another esr ({holder}): wait for it, or choose another directory with --run"
    )]
    Held {
        /// The run directory.
        folder: PathBuf,
        /// Who holds it, as far as the lock file says.
        holder: String,
    },
}

impl RunLock {
    /// Takes the lock of `folder`, which is created if need be.
    ///
    /// # Errors
    /// [`LockError::Held`] at once when another process has it.
    pub fn take(folder: &Path) -> Result<Self, LockError> {
        fsio::io_context(std::fs::create_dir_all(folder), "create folder", folder)?;
        let path = folder.join("lock");
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = fsio::io_context(opened, "open", &path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = (&file).take(200).read_to_string(&mut holder);
                let holder = match holder.trim() {
                    "" => "process unknown".to_owned(),
                    holder => holder.to_owned(),
                };
                return Err(LockError::Held { folder: folder.to_path_buf(), holder });
            }
            Err(TryLockError::Error(source)) => {
                return Err(fsio::Error::Io { action: "lock", path, source }.into());
            }
        }
        // The content only serves the message above; the lock itself is the operating system's.
        fsio::io_context(file.set_len(0), "write", &path)?;
        fsio::io_context(write!(file, "process {}", std::process::id()), "write", &path)?;
        sweep(folder)?;
        Ok(Self { _file: file })
    }
}

/// Removes what writers that were killed left behind: nobody else writes here while the lock is held.
fn sweep(folder: &Path) -> Result<(), fsio::Error> {
    for entry in fsio::io_context(std::fs::read_dir(folder), "list", folder)? {
        let path = fsio::io_context(entry, "list", folder)?.path();
        if path.is_dir() {
            sweep(&path)?;
        } else if path.extension().is_some_and(|extension| extension == "partial") {
            fsio::io_context(std::fs::remove_file(&path), "remove", &path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_taker_is_told_who_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let first = RunLock::take(folder.path()).unwrap();
        let message = RunLock::take(folder.path()).unwrap_err().to_string();
        assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
        drop(first);
        let litter = folder.path().join("sr/0001.png.77.partial");
        fsio::write(&litter, b"half").unwrap();
        RunLock::take(folder.path()).unwrap();
        assert!(!litter.exists(), "what a killed writer left is removed");
    }
}
