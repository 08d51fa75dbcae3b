//! A data folder with neighbours that must not change.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::super::{Fault, Format, Job, Limits, Members, UnpackError, Unpacked, unpack};
use super::archives::Files;
use crate::fetch::Fingerprint;
use crate::fetch::store::{self, State};
use crate::fsio;

/// A folder of its own with an archive, a place for the target, and files that are none of the archive's business.
pub(super) struct Place {
    folder: tempfile::TempDir,
    pub(super) limits: Limits,
    pub(super) members: Members,
}

impl Place {
    pub(super) fn new() -> Self {
        // In memory where there is such a file system: many tests sync, which a disk takes its time for.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        for name in ["outside.txt", "data/beside.txt", "data/other/0001.png", "data/other/.esr-complete.json"]
        {
            fsio::write(&folder.path().join(name), name.as_bytes()).unwrap();
        }
        let limits = Limits { total_bytes: 1 << 20, member_bytes: 1 << 16, ..Limits::default() };
        Self { folder, limits, members: Members::below("SET", &[".png"], Some(3)) }
    }

    pub(super) fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn archive(&self) -> PathBuf {
        self.root().join("archive")
    }

    pub(super) fn target(&self) -> PathBuf {
        self.root().join("data/set")
    }

    /// Unpacks these bytes and makes sure that nothing but the target has changed.
    #[track_caller]
    pub(super) fn unpack(&self, format: Format, bytes: &[u8]) -> Result<Unpacked, UnpackError> {
        fs::write(self.archive(), bytes).unwrap();
        let before = self.neighbours();
        let outcome = unpack_at(self.root(), format, &self.members, &self.limits);
        assert_eq!(before, self.neighbours(), "something beside the target changed");
        assert!(outcome.is_ok() || !self.target().exists(), "a failure left something behind");
        outcome
    }

    /// The fault that this archive has.
    #[track_caller]
    pub(super) fn fault(&self, format: Format, bytes: &[u8]) -> Fault {
        match self.unpack(format, bytes) {
            Err(UnpackError::Archive { fault, .. }) => fault,
            other => panic!("expected a fault of the archive: {other:?}"),
        }
    }

    /// Whether the target is complete and holds exactly these files.
    #[track_caller]
    pub(super) fn assert_holds(&self, files: &Files) {
        assert!(matches!(store::state(&self.target()).unwrap(), State::Complete(_)));
        let expected: BTreeMap<String, String> = files
            .iter()
            .map(|(name, bytes)| (name.trim_start_matches("SET/").to_owned(), fsio::sha256_hex(bytes)))
            .collect();
        let mut found = tree(&self.target());
        found.remove(store::MARKER_FILE);
        found.retain(|_, content| content != "folder");
        assert_eq!(found, expected);
    }

    /// Every entry that is neither the archive nor in the target, with the hash of its content.
    pub(super) fn neighbours(&self) -> BTreeMap<String, String> {
        let mut tree = tree(self.root());
        tree.retain(|name, _| name != "archive" && !name.starts_with("data/set"));
        tree
    }
}

/// Unpacks `root/archive` to `root/data/set`.
pub(super) fn unpack_at(
    root: &Path,
    format: Format,
    members: &Members,
    limits: &Limits,
) -> Result<Unpacked, UnpackError> {
    let (archive, target) = (root.join("archive"), root.join("data/set"));
    let mut fingerprint = Fingerprint::default();
    fingerprint.update(&fs::read(&archive).unwrap());
    let found = fingerprint.finish();
    unpack(&Job { archive: &archive, format, found: &found, members, target: &target, limits }, &|_| {
        ControlFlow::Continue(())
    })
}

fn tree(root: &Path) -> BTreeMap<String, String> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![root.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let kind = fs::symlink_metadata(&path).unwrap();
            if kind.is_dir() {
                found.insert(name, "folder".to_owned());
                folders.push(path);
            } else if kind.is_file() {
                found.insert(name, fsio::sha256_file(&path).unwrap());
            } else {
                found.insert(name, format!("{:?}", kind.file_type()));
            }
        }
    }
    found
}
