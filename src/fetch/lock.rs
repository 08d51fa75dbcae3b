//! One process at a time changes a data folder.
//!
//! The lock is the operating system's, on an open file: it ends with the process, however that ends, so a lock file that a
//! dead process left blocks nobody. What is written in the file only serves the message, except on file systems that have no
//! locks: there the process that the file names is looked for instead, and the caller is told.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::host;
use super::store::StoreError;
use crate::fsio;

/// The name of the lock file in a data folder.
pub const LOCK_FILE: &str = ".esr-fetch.lock";
/// The facts about a holder are far below this.
const HOLDER_LIMIT_BYTES: u64 = 4096;

/// Who works in a data folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// The host it runs on.
    pub host: String,
    /// What it was started as, for people.
    pub command: String,
    /// Since when, UTC by RFC 3339.
    pub since: String,
}

impl Holder {
    /// This process on this host. `since` is handed in, because nothing here looks at a clock.
    pub fn this_process(command: impl Into<String>, since: impl Into<String>) -> Self {
        Self { pid: std::process::id(), host: host::name(), command: command.into(), since: since.into() }
    }

    /// Whether it may still be running. Of other hosts nothing is known.
    fn may_live(&self) -> bool {
        self.host != host::name() || host::is_alive(self.pid)
    }
}

/// Holds the lock of a data folder until dropped.
#[derive(Debug)]
pub struct DataLock {
    file: File,
    note: Option<String>,
}

/// The lock could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The lock file cannot be opened or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Somebody else works here.
    #[error(
        "`{folder}` is in use by {}: wait until it ends, stop it, or use another data folder",
        describe(.holder.as_deref())
    )]
    Held {
        /// The data folder.
        folder: PathBuf,
        /// Who holds it, if the lock file says so.
        holder: Option<Box<Holder>>,
    },
    /// The file system has no locks, and a process of another host wrote the lock file.
    #[error(
        "`{folder}` lies on a file system without locks, and {} may be working there: when it is not, delete `{lock}` and try again",
        describe(Some(.holder))
    )]
    MaybeHeld {
        /// The data folder.
        folder: PathBuf,
        /// The lock file.
        lock: PathBuf,
        /// Who wrote it.
        holder: Box<Holder>,
    },
}

fn describe(holder: Option<&Holder>) -> String {
    match holder {
        Some(Holder { pid, host, command, since }) => {
            format!("another esr (`{command}`, process {pid} on {host}, since {since})")
        }
        None => "another esr (it did not say which process it is)".to_owned(),
    }
}

impl DataLock {
    /// Takes the lock of `folder`, which is created if need be, for `holder`.
    ///
    /// # Errors
    /// [`LockError::Held`] at once when another process has it; [`LockError::Store`] when the folder cannot be written.
    pub fn take(folder: &Path, holder: &Holder) -> Result<Self, LockError> {
        Self::take_with(folder, holder, File::try_lock)
    }

    /// What the user should know about this lock: that it was taken over from a process that died, or that the file system has no locks, where it
    /// is only as good as the lock file.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    fn take_with(
        folder: &Path,
        holder: &Holder,
        try_lock: impl FnOnce(&File) -> Result<(), TryLockError>,
    ) -> Result<Self, LockError> {
        StoreError::of(std::fs::create_dir_all(folder), "create folder", folder)?;
        let path = folder.join(LOCK_FILE);
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = StoreError::of(opened, "open", &path)?;
        let note = match try_lock(&file) {
            // Whoever ends properly empties the file.
            Ok(()) => read_holder(&file).map(|dead| {
                format!(
                    "note: {} ended without tidying up: `{}` is taken over, and what it left is gone on from",
                    describe(Some(&dead)),
                    folder.display()
                )
            }),
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held {
                    folder: folder.to_path_buf(),
                    holder: read_holder(&file).map(Box::new),
                });
            }
            Err(TryLockError::Error(error)) if is_unsupported(&error) => {
                if let Some(other) = read_holder(&file).filter(|other| other != holder && other.may_live()) {
                    let (folder, holder) = (folder.to_path_buf(), Box::new(other));
                    return Err(if holder.host == host::name() {
                        LockError::Held { folder, holder: Some(holder) }
                    } else {
                        LockError::MaybeHeld { folder, lock: path, holder }
                    });
                }
                Some(format!(
                    "the file system of `{}` has no locks ({error}): make sure that no other esr works there",
                    folder.display()
                ))
            }
            Err(TryLockError::Error(source)) => {
                return Err(StoreError::from(fsio::Error::Io { action: "lock", path, source }).into());
            }
        };
        StoreError::of(write_holder(&file, holder), "write", &path)?;
        Ok(Self { file, note })
    }
}

impl Drop for DataLock {
    fn drop(&mut self) {
        // Without its facts the file names nobody who has ended. The file itself stays: whoever deletes a lock file may delete
        // it from under a process that has just opened it. Failing to empty it does no harm where there are locks.
        let _ = self.file.set_len(0);
    }
}

/// Whether a file system without locks answers like this: some network and user-space file systems do.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOLCK | libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL | libc::EPROTONOSUPPORT)
    ) || error.kind() == io::ErrorKind::Unsupported
}

/// What the lock file says, if it can be read: its holder may be writing it at this moment.
fn read_holder(mut file: &File) -> Option<Holder> {
    file.rewind().ok()?;
    let mut text = Vec::new();
    file.take(HOLDER_LIMIT_BYTES).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Written in place: a renamed file would be another file than the one that is locked.
fn write_holder(mut file: &File, holder: &Holder) -> io::Result<()> {
    let mut text = serde_json::to_vec(holder)?;
    text.push(b'\n');
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&text)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const CHILD: &str = "ESR_TEST_LOCK_CHILD";

    fn holder(command: &str) -> Holder {
        Holder::this_process(command, "2022-03-01T00:00:00Z")
    }

    fn no_locks(_: &File) -> Result<(), TryLockError> {
        Err(TryLockError::Error(io::Error::from_raw_os_error(libc::ENOLCK)))
    }

    #[test]
    fn of_eight_threads_one_gets_it_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let (inside, got, refused) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let start = Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    start.wait();
                    for _ in 0..50 {
                        match DataLock::take(folder.path(), &holder("esr fetch a")) {
                            Ok(_lock) => {
                                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two holders");
                                std::thread::yield_now();
                                inside.fetch_sub(1, Ordering::SeqCst);
                                got.fetch_add(1, Ordering::SeqCst);
                            }
                            Err(LockError::Held { .. }) => {
                                refused.fetch_add(1, Ordering::SeqCst);
                            }
                            Err(error) => panic!("{error}"),
                        }
                    }
                });
            }
        });
        assert!(got.load(Ordering::SeqCst) > 0);
        assert_eq!(got.load(Ordering::SeqCst) + refused.load(Ordering::SeqCst), 400);
    }

    /// Starts this test binary again as a process that takes the lock and waits to be killed.
    fn child_that_holds(folder: &Path) -> Child {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "fetch::lock::tests::child_process"])
            .env(CHILD, folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        // It is there when somebody else cannot take the lock; a minute is for slow machines.
        for _ in 0..6000 {
            let named = File::open(folder.join(LOCK_FILE)).ok().and_then(|file| read_holder(&file));
            if named.is_some_and(|named| named.pid == child.id()) {
                return child;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        child.kill().unwrap();
        panic!("the child process did not take the lock, and ended with {}", child.wait().unwrap());
    }

    /// Not a test of its own: the other process of the test below.
    #[test]
    fn child_process() {
        let Some(folder) = std::env::var_os(CHILD) else {
            return;
        };
        let _lock = DataLock::take(Path::new(&folder), &holder("esr fetch from-a-child")).unwrap();
        // Ends when the parent closes the pipe, should it forget to kill.
        let _ = io::stdin().read(&mut [0]);
    }

    #[test]
    fn another_process_is_named_and_blocks_only_while_it_lives() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = child_that_holds(folder.path());
        let error = DataLock::take(folder.path(), &holder("esr fetch b")).unwrap_err();
        let message = error.to_string();
        for part in [
            "esr fetch from-a-child",
            &format!("process {}", child.id()),
            "2022-03-01",
            "another data folder",
        ] {
            assert!(message.contains(part), "{message}");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let left = File::open(folder.path().join(LOCK_FILE)).unwrap();
        assert_eq!(read_holder(&left).map(|left| left.pid), Some(child.id()), "it died without tidying up");
        let lock = DataLock::take(folder.path(), &holder("esr fetch b")).unwrap();
        let note = lock.note().unwrap();
        let dead = format!("process {}", child.id());
        for part in ["esr fetch from-a-child", &dead, "ended without tidying up", "is taken over"] {
            assert!(note.contains(part), "{note}");
        }
        drop(lock);
        assert_eq!(DataLock::take(folder.path(), &holder("esr fetch b")).unwrap().note(), None);
        assert_eq!(std::fs::read(folder.path().join(LOCK_FILE)).unwrap(), b"");
    }

    #[test]
    fn without_locks_the_file_decides_and_the_user_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(LOCK_FILE);
        let write = |other: &Holder| std::fs::write(&path, serde_json::to_vec(other).unwrap()).unwrap();
        let us = holder("esr fetch a");
        let first = DataLock::take_with(folder.path(), &us, no_locks).unwrap();
        assert!(first.note().unwrap().contains("no locks"), "{first:?}");
        // A living process of this host, here the one that runs the tests.
        write(&holder("esr fetch b"));
        let error = DataLock::take_with(folder.path(), &us, no_locks).unwrap_err();
        assert!(
            matches!(&error, LockError::Held { holder: Some(h), .. } if h.command == "esr fetch b"),
            "{error}"
        );
        drop(first);
        DataLock::take_with(folder.path(), &us, no_locks).unwrap();
        // A dead one.
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        write(&Holder { pid: child.id(), ..holder("esr fetch b") });
        DataLock::take_with(folder.path(), &us, no_locks).unwrap();
        // One elsewhere, of which nothing can be known.
        write(&Holder { host: "elsewhere.example".into(), ..holder("esr fetch b") });
        let error = DataLock::take_with(folder.path(), &us, no_locks).unwrap_err();
        assert!(matches!(error, LockError::MaybeHeld { .. }), "{error}");
        assert!(error.to_string().contains("delete"), "{error}");
        // Half a file says nothing.
        std::fs::write(&path, br#"{"pid": 12"#).unwrap();
        DataLock::take_with(folder.path(), &us, no_locks).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_said_to_be_so() {
        let error = DataLock::take(Path::new("/proc/esr-data"), &holder("esr fetch a")).unwrap_err();
        assert!(error.to_string().contains("/proc/esr-data"), "{error}");
        let refused = |_: &File| Err(TryLockError::Error(io::Error::from_raw_os_error(libc::EIO)));
        let folder = tempfile::tempdir().unwrap();
        let error = DataLock::take_with(folder.path(), &holder("esr fetch a"), refused).unwrap_err();
        assert!(error.to_string().contains("cannot lock"), "{error}");
    }
}
