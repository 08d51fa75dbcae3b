//! The folder beside the target in which an archive is unpacked, and its way into place.
//!
//! Its name is unique to the process and it is locked while its process lives, so that what a killed process left behind can be told
//! from what another one is filling right now.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::UnpackError;
use crate::fault;
use crate::fetch::host;
use crate::fetch::store::{self, Marker, State, StoreError};
use crate::fsio;

/// How the names of such folders end.
const ENDING: &str = ".unpacking";
/// Tries to find a name nobody has; each failure means that another process has just swept the folder away.
const TRIES: u64 = 100;

/// A folder that is being filled. Dropped before [`Staging::commit`], it is removed with all its content.
pub(super) struct Staging {
    path: PathBuf,
    target: PathBuf,
    /// Keeps others from sweeping the folder away.
    _lock: File,
    committed: bool,
}

impl Staging {
    /// Checks that `target` may be made or replaced.
    ///
    /// # Errors
    /// [`UnpackError::Occupied`] when it is complete or was not made by this program.
    pub(super) fn check_target(target: &Path) -> Result<(), UnpackError> {
        let what = match store::state(target)? {
            State::Absent | State::Incomplete { .. } => {
                // Renaming onto a link would fail late, and following it would write elsewhere.
                match fs::symlink_metadata(target) {
                    Ok(found) if !found.is_dir() => "is not a folder",
                    _ => return Ok(()),
                }
            }
            State::Complete(_) => "is complete already",
            State::Foreign => "holds files that esr did not put there",
        };
        Err(UnpackError::Occupied { target: target.to_path_buf(), what })
    }

    /// Makes the folder, after removing what dead processes left of the same target.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn new(target: &Path) -> Result<Self, UnpackError> {
        let parent = parent_of(target);
        StoreError::of(fs::create_dir_all(&parent), "create folder", &parent)?;
        sweep(target);
        for _ in 0..TRIES {
            let path = unique_path(target);
            match fs::create_dir(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Ok(StoreError::of(Err(error), "create folder", &path)?),
            }
            let Some(lock) = lock_folder(&path) else {
                continue;
            };
            let staging = Self { path, target: target.to_path_buf(), _lock: lock, committed: false };
            store::mark_unfinished(&staging.path)?;
            return Ok(staging);
        }
        let source = io::Error::other("other processes keep removing it");
        Err(fsio::Error::Io {
            action: "create a folder to unpack into beside",
            path: target.to_path_buf(),
            source,
        }
        .into())
    }

    /// The folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Moves the folder, whose content is on disk, to the target and marks it as complete.
    ///
    /// # Errors
    /// When a step fails; the target is then absent or incomplete.
    pub(super) fn commit(mut self, marker: &Marker) -> Result<(), UnpackError> {
        let parent = parent_of(&self.target);
        // One commit at a time in this folder, whoever makes it: between the steps below somebody else's would be torn. Waits
        // only for other commits, which take as long as two syncs. Where folders cannot be locked, the lock of the data folder has to do.
        let turn = fsio::io_context(File::open(&parent), "open folder", &parent)?;
        let _ = turn.lock();
        // An interrupted attempt is put aside under a name that is swept, so that it cannot come back.
        Self::check_target(&self.target)?;
        let aside = unique_path(&self.target);
        let replaced = match fs::rename(&self.target, &aside) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Ok(StoreError::of(Err(error), "put aside", &self.target)?),
        };
        fault::point("unpack-before-rename");
        StoreError::of(fs::rename(&self.path, &self.target), "rename into place", &self.target)?;
        self.committed = true;
        fsio::sync_folder(&parent)?;
        fault::point("unpack-before-marker");
        store::mark_complete(&self.target, marker)?;
        fault::point("unpack-after-marker");
        if replaced {
            // Failing to remove it leaves litter that the next attempt sweeps.
            let _ = fs::remove_dir_all(&aside);
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.committed {
            // Failing to remove it must not hide why it is removed; the next attempt sweeps it.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

fn parent_of(target: &Path) -> PathBuf {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// How the names of all folders begin that belong to `target`.
fn beginning(target: &Path) -> String {
    format!(".{}.", target.file_name().unwrap_or_default().to_string_lossy())
}

/// A name nobody else uses: host and process tell processes apart, the number tells threads and attempts apart.
fn unique_path(target: &Path) -> PathBuf {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let (host, pid) = (plain_host(), std::process::id());
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    parent_of(target).join(format!("{}{host}+{pid}+{number}{ENDING}", beginning(target)))
}

/// The host's name as part of a file name.
fn plain_host() -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' };
    host::name().chars().take(40).map(plain).collect()
}

/// Locks a folder that this process has just made. `None` when another process has locked or removed it meanwhile. Where folders cannot be
/// locked, the names of process and host have to do.
fn lock_folder(path: &Path) -> Option<File> {
    let folder = File::open(path).ok()?;
    if let Err(TryLockError::WouldBlock) = folder.try_lock() {
        return None;
    }
    // Somebody may have removed it between making and locking.
    let (ours, there) = (folder.metadata().ok()?, fs::symlink_metadata(path).ok()?);
    ((ours.dev(), ours.ino()) == (there.dev(), there.ino())).then_some(folder)
}

/// Removes the folders that dead processes left beside `target`. What cannot be removed is left: it costs space, not correctness.
fn sweep(target: &Path) {
    let beginning = beginning(target);
    let Ok(entries) = fs::read_dir(parent_of(target)) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(holder) = name
            .to_str()
            .and_then(|name| name.strip_prefix(&beginning))
            .and_then(|rest| rest.strip_suffix(ENDING))
        else {
            continue;
        };
        // A link of such a name was not made here, and is not followed.
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let Ok(folder) = File::open(entry.path()) else {
            continue;
        };
        let abandoned = match folder.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(_)) => is_of_a_dead_process(holder),
        };
        if abandoned {
            // The lock is held meanwhile, so that two processes do not remove the same folder.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether `host+pid+number` names a process of this host that has ended.
fn is_of_a_dead_process(holder: &str) -> bool {
    let mut parts = holder.rsplit('+').skip(1);
    let (pid, host) = (parts.next(), parts.next());
    host == Some(plain_host().as_str())
        && pid.and_then(|pid| pid.parse().ok()).is_some_and(|pid: u32| !host::is_alive(pid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::Found;

    fn marker() -> Marker {
        let archive = Found { bytes: 1, sha256: "ab".repeat(32), md5: "cd".repeat(16) };
        Marker { schema: 1, archive, files: 1, bytes: 1 }
    }

    fn entries(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_dropped_folder_is_gone_and_a_committed_one_is_the_target() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("set");
        drop(Staging::new(&target).unwrap());
        assert!(entries(root.path()).is_empty());
        let staging = Staging::new(&target).unwrap();
        fs::write(staging.path().join("a"), b"1").unwrap();
        staging.commit(&marker()).unwrap();
        assert_eq!(entries(root.path()), ["set"]);
        assert_eq!(entries(&target), [store::MARKER_FILE, "a"]);
        assert_eq!(store::state(&target).unwrap(), State::Complete(marker()));
        assert!(matches!(Staging::check_target(&target), Err(UnpackError::Occupied { .. })));
    }

    #[test]
    fn what_the_dead_left_is_swept_and_what_the_living_fill_is_not() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("set");
        let living = Staging::new(&target).unwrap();
        let left = root.path().join(".set.elsewhere+1+0.unpacking");
        fs::create_dir_all(left.join("deep")).unwrap();
        let others = [".other.h+1+0.unpacking", "set.unpacking", ".set.notes"];
        others.iter().for_each(|name| fs::create_dir(root.path().join(name)).unwrap());
        std::os::unix::fs::symlink(root.path().join(others[0]), root.path().join(".set.h+2+0.unpacking"))
            .unwrap();
        drop(Staging::new(&target).unwrap());
        assert!(living.path().is_dir() && !left.exists());
        assert_eq!(entries(root.path()).len(), 5);
        drop(living);
        assert_eq!(entries(root.path()).len(), 4);
    }

    #[test]
    fn of_several_commits_at_once_one_is_made() {
        for _ in 0..100 {
            let root = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
            let target = root.path().join("set");
            let start = std::sync::Barrier::new(4);
            let made = AtomicU64::new(0);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        let staging = Staging::new(&target).unwrap();
                        fs::write(staging.path().join("a"), b"1").unwrap();
                        start.wait();
                        match staging.commit(&marker()) {
                            Ok(()) => {
                                made.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(UnpackError::Occupied { what: "is complete already", .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    });
                }
            });
            assert_eq!(made.into_inner(), 1);
            assert_eq!(entries(root.path()), ["set"]);
            assert_eq!(entries(&target), [store::MARKER_FILE, "a"]);
        }
    }

    #[test]
    fn where_folders_cannot_be_locked_the_process_decides() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let host = plain_host();
        assert!(is_of_a_dead_process(&format!("{host}+{}+0", child.id())));
        assert!(!is_of_a_dead_process(&format!("{host}+{}+0", std::process::id())));
        assert!(!is_of_a_dead_process(&format!("another{host}+{}+0", child.id())));
        assert!(!is_of_a_dead_process("") && !is_of_a_dead_process("1+2"));
    }

    #[test]
    fn an_interrupted_attempt_is_replaced_and_others_property_is_not() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("set");
        fs::create_dir(&target).unwrap();
        store::mark_unfinished(&target).unwrap();
        fs::write(target.join("old"), b"half").unwrap();
        let staging = Staging::new(&target).unwrap();
        fs::write(staging.path().join("new"), b"1").unwrap();
        staging.commit(&marker()).unwrap();
        assert_eq!(entries(&target), [store::MARKER_FILE, "new"]);
        assert_eq!(entries(root.path()), ["set"]);

        let foreign = root.path().join("mine");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("0001.png"), b"mine").unwrap();
        // It may come while the archive is being unpacked.
        let staging = Staging::new(&foreign).unwrap();
        assert!(matches!(staging.commit(&marker()), Err(UnpackError::Occupied { .. })));
        assert_eq!(entries(&foreign), ["0001.png"]);
        assert_eq!(entries(root.path()), ["mine", "set"]);
        let link = root.path().join("link");
        std::os::unix::fs::symlink(&foreign, &link).unwrap();
        assert!(matches!(Staging::check_target(&link), Err(UnpackError::Occupied { .. })));
        let empty = root.path().join("empty");
        fs::create_dir(&empty).unwrap();
        Staging::check_target(&empty).unwrap();
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(&empty, &link).unwrap();
        assert!(matches!(Staging::check_target(&link), Err(UnpackError::Occupied { .. })));
    }
}
