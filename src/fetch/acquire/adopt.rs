//! Folders that somebody already has: found by their customary names, checked, and linked to. They are never moved or changed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::session::Session;
use super::{AcquireError, Outcome, adopted};
use crate::fetch::folder::seems_to_hold;
use crate::fetch::record::Record;
use crate::fetch::store::{self, State, StoreError};
use crate::fsio;
use crate::manifest::datasets::{Dataset, Layout};

/// How far below the named folder others are looked into: `datasets/DIV2K/DIV2K_train_HR`.
const DEPTH: usize = 2;
/// The most folders that are looked into: somebody's home directory must not be searched for minutes.
const MAX_FOLDERS: usize = 1000;

/// A dataset that lies unpacked in the folder named by `--from`, if it does: checked and linked to.
pub(super) fn from_elsewhere(
    session: &Session<'_>,
    dataset: &Dataset,
) -> Option<Result<Outcome, AcquireError>> {
    let from = session.settings.from.as_ref()?;
    let folder = find(dataset, from)?;
    match take(session, dataset, &folder) {
        // What only looks like it does not keep the archive from being fetched.
        Err(error @ AcquireError::NotOurs { .. }) => {
            session.watch.note(&format!("note: `{}` is not taken: {error}", folder.display()));
            None
        }
        result => Some(result),
    }
}

fn take(session: &Session<'_>, dataset: &Dataset, folder: &Path) -> Result<Outcome, AcquireError> {
    let link = session.store.folder(&dataset.folder)?;
    let record = Record::read(session.store.root(), &dataset.name)?;
    let outcome = adopted(dataset, folder, record.as_ref(), session.settings, session.watch)?;
    link_to(folder, &link)?;
    Ok(outcome)
}

/// The folder below `from` that has a customary name of the dataset's folder and files of its names, nearest first.
fn find(dataset: &Dataset, from: &Path) -> Option<PathBuf> {
    let from = fs::canonicalize(from).ok()?;
    let names = customary_names(dataset);
    let itself = names.iter().any(|name| from.ends_with(name)).then(|| from.clone());
    let bases = folders_below(from);
    let below = bases.iter().flat_map(|base| names.iter().map(move |name| base.join(name)));
    itself.into_iter().chain(below).find(|folder| {
        // What this program has not finished is no folder of somebody else.
        let usable = matches!(store::state(folder), Ok(State::Foreign | State::Complete(_)));
        usable && folder.is_dir() && seems_to_hold(folder, &dataset.members)
    })
}

/// `from`, and the folders in it, level by level, in order of names.
fn folders_below(from: PathBuf) -> Vec<PathBuf> {
    let (mut all, mut level) = (vec![from.clone()], vec![from]);
    for _ in 0..DEPTH {
        let mut next: Vec<PathBuf> = level.iter().flat_map(|folder| folders_in(folder)).collect();
        next.sort();
        next.truncate(MAX_FOLDERS.saturating_sub(all.len()));
        all.extend(next.iter().cloned());
        level = next;
    }
    all
}

/// What cannot be listed has nothing for us.
fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_folder = |entry: &fs::DirEntry| entry.path().is_dir();
    let hidden = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with('.');
    entries.filter(|entry| is_folder(entry) && !hidden(entry)).map(|entry| entry.path()).collect()
}

/// What a dataset's folder is usually called: as here, as in the archives, and both without their first parts as long as the rest still says what it is.
/// `X4` alone does not: the other shrunk sets have it too.
fn customary_names(dataset: &Dataset) -> Vec<PathBuf> {
    let in_archives = dataset.sources.iter().filter_map(|source| match &source.layout {
        Layout::Archive { prefix, .. } => Some(prefix.as_str()),
        Layout::Loose { .. } | Layout::Listed { .. } => None,
    });
    let also = dataset.also.iter().map(String::as_str);
    let mut names: Vec<PathBuf> = Vec::new();
    for whole in [dataset.folder.as_str()].into_iter().chain(in_archives).chain(also) {
        let mut name = whole;
        loop {
            let path = PathBuf::from(name);
            if !names.contains(&path) {
                names.push(path);
            }
            match name.split_once('/') {
                Some((_, rest)) if !is_anybodys(rest) => name = rest,
                _ => break,
            }
        }
    }
    names
}

/// Whether a folder of that name alone may hold anything.
fn is_anybodys(name: &str) -> bool {
    let scale = name.strip_prefix(['X', 'x']).is_some_and(|digits| digits.parse::<u32>().is_ok());
    scale
        || ["HR", "LR", "LR_bicubic"]
            .iter()
            .any(|part| name == *part || name.starts_with(&format!("{part}/")))
}

/// Makes `link` lead to `folder`. What this program left there unfinished makes room.
fn link_to(folder: &Path, link: &Path) -> Result<(), AcquireError> {
    let folder = fsio::io_context(fs::canonicalize(folder), "find", folder)?;
    if let Some(parent) = link.parent() {
        StoreError::of(fs::create_dir_all(parent), "create folder", parent)?;
    }
    if let State::Foreign | State::Complete(_) = store::state(link)? {
        let source = io::Error::from(io::ErrorKind::AlreadyExists);
        return Err(fsio::Error::Io { action: "link", path: link.to_path_buf(), source }.into());
    }
    match fs::symlink_metadata(link) {
        Ok(found) if found.is_dir() => StoreError::of(fs::remove_dir_all(link), "replace", link)?,
        Ok(_) => StoreError::of(fs::remove_file(link), "replace", link)?,
        Err(_) => {}
    }
    StoreError::of(std::os::unix::fs::symlink(&folder, link), "link", link)?;
    if let Some(parent) = link.parent() {
        fsio::sync_folder(parent)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::datasets::Datasets;

    fn names(dataset: &str) -> Vec<String> {
        let list = Datasets::built_in().unwrap();
        let names = customary_names(list.dataset(dataset).unwrap());
        names.into_iter().map(|name| name.display().to_string()).collect()
    }

    #[test]
    fn customary_names_say_what_a_folder_holds() {
        assert_eq!(names("div2k-train-hr"), ["DIV2K_train_HR"]);
        assert_eq!(names("div2k-valid-lr-x4"), ["DIV2K_valid_LR_bicubic/X4", "DIV2K_valid_LR"]);
        assert_eq!(names("flickr2k-hr"), ["Flickr2K/Flickr2K_HR", "Flickr2K_HR", "Flickr2K"]);
        assert_eq!(names("set5-lr-x4"), ["benchmark/Set5/LR_bicubic/X4", "Set5/LR_bicubic/X4"]);
        assert!(is_anybodys("X4") && is_anybodys("HR") && is_anybodys("LR_bicubic/X4"));
        assert!(!is_anybodys("Set5/HR") && !is_anybodys("HRNet") && !is_anybodys("X"));
    }

    /// A folder with the files of Set5's HR images, whatever they hold.
    fn set5(folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        for name in ["baby", "bird", "butterfly", "head", "woman"] {
            fs::write(folder.join(format!("{name}.png")), name).unwrap();
        }
    }

    #[test]
    fn folders_are_found_where_people_have_them() {
        let list = Datasets::built_in().unwrap();
        let dataset = list.dataset("set5-hr").unwrap();
        for place in
            ["benchmark/Set5/HR", "Set5/HR", "data/benchmark/Set5/HR", "a/b/benchmark/Set5/HR", "a/b/Set5/HR"]
        {
            let root = tempfile::tempdir().unwrap();
            set5(&root.path().join(place));
            let there = fs::canonicalize(root.path().join(place)).unwrap();
            assert_eq!(find(dataset, root.path()), Some(there.clone()), "{place}");
            assert_eq!(find(dataset, &there), Some(there.clone()), "{place} itself");
        }
        for place in ["HR", "Set5/LR", "a/b/c/Set5/HR"] {
            let root = tempfile::tempdir().unwrap();
            set5(&root.path().join(place));
            assert_eq!(find(dataset, root.path()), None, "{place}");
        }
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("Set5/HR");
        set5(&folder);
        store::mark_unfinished(&folder).unwrap();
        assert_eq!(find(dataset, root.path()), None, "not finished by this program");
        fs::remove_file(folder.join(store::UNFINISHED_FILE)).unwrap();
        fs::remove_file(folder.join("baby.png")).unwrap();
        assert_eq!(find(dataset, root.path()), None, "one is missing");
        assert_eq!(find(dataset, Path::new("nowhere")), None);
    }

    #[test]
    fn a_link_takes_the_place_of_unfinished_work_only() {
        let root = tempfile::tempdir().unwrap();
        let (folder, link) = (root.path().join("theirs"), root.path().join("data/Set5/HR"));
        set5(&folder);
        link_to(&folder, &link).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), fs::canonicalize(&folder).unwrap());
        assert!(link_to(&folder, &link).is_err());
        fs::remove_file(&link).unwrap();
        set5(&link);
        assert!(link_to(&folder, &link).is_err(), "somebody's files");
        store::mark_unfinished(&link).unwrap();
        link_to(&folder, &link).unwrap();
        assert!(folder.join("baby.png").exists() && fs::read_link(&link).is_ok());
    }
}
