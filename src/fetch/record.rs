//! What the files of a dataset were when they were last found right, and on what grounds they were.
//!
//! Of most datasets only the archive has a published hash. Once its files are unpacked from an archive that has it, their own hashes are as good as
//! published, and a file that changes later is found and can be fetched alone. Of a folder that somebody brought and that nothing published vouches for,
//! the record is the pin: what it was when it was first seen.
//!
//! Records lie in the data folder and not with the files, because folders of others are never written to.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Found;
use super::pairs::Finding;
use crate::fsio::{self, Artefact};
use crate::manifest::datasets::FileFacts;

/// The folder of the records below the data folder.
pub const FOLDER: &str = "records";

/// A dataset as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Format version.
    pub schema: u64,
    /// The dataset's name.
    pub dataset: String,
    /// When this was found, in UTC, as `2026-11-23T11:10:00Z`.
    pub first_seen: String,
    /// Where the folder really is, if it was adopted.
    pub adopted_from: Option<PathBuf>,
    /// Whether the archive, or every file, had a published hash.
    pub published: bool,
    /// Whether nothing published vouched for it, so that only later differences can be told.
    pub pinned: bool,
    /// How its LR images follow from their HR images, once that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairs: Option<Finding>,
    /// Its files in order of names.
    pub files: Vec<RecordedFile>,
}

/// One file as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedFile {
    /// Its name in the dataset's folder.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

impl Artefact for Record {
    const WHAT: &'static str = "record of a dataset";
    const SCHEMA: u64 = 1;
}

/// Why a record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It cannot be read or written, is damaged, or is from a newer version.
    #[error("{source}; put back a copy of it, or remove it to take the files of `{dataset}` as they are now")]
    File {
        /// Whose record.
        dataset: String,
        /// What is wrong.
        source: fsio::Error,
    },
    /// It says something else than its name.
    #[error("`{path}` is the record of `{found}`, expected `{expected}`: remove it")]
    Other {
        /// The record.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: String,
    },
}

impl Record {
    /// A record of files that were found right.
    pub fn new(dataset: &str, now: &str, files: &[(String, Found)]) -> Self {
        let file = |(name, found): &(String, Found)| RecordedFile {
            name: name.clone(),
            bytes: found.bytes,
            sha256: found.sha256.clone(),
        };
        Self {
            schema: Self::SCHEMA,
            dataset: dataset.to_owned(),
            first_seen: now.to_owned(),
            adopted_from: None,
            published: false,
            pinned: false,
            pairs: None,
            files: files.iter().map(file).collect(),
        }
    }

    /// The record of a dataset, if there is one.
    ///
    /// # Errors
    /// [`RecordError`] for one that is there and cannot be used: what is known is never silently forgotten.
    pub fn read(data: &Path, dataset: &str) -> Result<Option<Self>, RecordError> {
        let path = place(data, dataset);
        match fsio::read_json::<Self>(&path) {
            Ok(record) if record.dataset == dataset => Ok(Some(record)),
            Ok(record) => {
                Err(RecordError::Other { path, found: record.dataset, expected: dataset.to_owned() })
            }
            Err(fsio::Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(RecordError::File { dataset: dataset.to_owned(), source }),
        }
    }

    /// Writes it in place of an earlier one.
    ///
    /// # Errors
    /// [`RecordError::File`]; the earlier one is then still there.
    pub fn write(&self, data: &Path) -> Result<(), RecordError> {
        fsio::write_json(&place(data, &self.dataset), self)
            .map_err(|source| RecordError::File { dataset: self.dataset.clone(), source })
    }

    /// Whether a folder has files of these names and sizes, and no other that counts. Nothing is read.
    pub fn resembles(&self, folder: &Path) -> bool {
        let same = |file: &RecordedFile| {
            let metadata = std::fs::metadata(folder.join(&file.name));
            metadata.is_ok_and(|metadata| metadata.is_file() && metadata.len() == file.bytes)
        };
        self.files.iter().all(same)
    }

    /// What is published of single files, and what is recorded of them beyond that, in order of names.
    pub fn completed(&self, published: Vec<FileFacts>) -> Vec<FileFacts> {
        let mut facts = published;
        facts.sort_by(|a, b| a.name.cmp(&b.name));
        let known = facts.len();
        for file in &self.files {
            let (bytes, sha256) = (Some(file.bytes), Some(file.sha256.clone()));
            let published = facts.get_mut(..known).unwrap_or_default();
            match published.binary_search_by(|facts| facts.name.cmp(&file.name)) {
                Ok(at) => {
                    if let Some(facts) = published.get_mut(at) {
                        facts.bytes = facts.bytes.or(bytes);
                        facts.sha256 = facts.sha256.take().or(sha256);
                    }
                }
                Err(_) => {
                    facts.push(FileFacts { name: file.name.clone(), bytes, sha256, ..FileFacts::default() });
                }
            }
        }
        facts.sort_by(|a, b| a.name.cmp(&b.name));
        facts
    }
}

fn place(data: &Path, dataset: &str) -> PathBuf {
    data.join(FOLDER).join(format!("{dataset}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(bytes: u64, digit: &str) -> Found {
        Found { bytes, sha256: digit.repeat(64), md5: digit.repeat(32) }
    }

    fn record() -> Record {
        let files = [("a.png".to_owned(), found(3, "a")), ("c.png".to_owned(), found(5, "c"))];
        Record::new("three", "2026-11-23T11:10:00Z", &files)
    }

    #[test]
    fn a_record_comes_back_as_it_was_written() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(Record::read(data.path(), "three").unwrap(), None);
        record().write(data.path()).unwrap();
        assert_eq!(Record::read(data.path(), "three").unwrap(), Some(record()));
    }

    #[test]
    fn what_cannot_be_used_is_an_error_and_stays() {
        let data = tempfile::tempdir().unwrap();
        record().write(data.path()).unwrap();
        let path = place(data.path(), "three");
        std::fs::copy(&path, place(data.path(), "four")).unwrap();
        let error = Record::read(data.path(), "four").unwrap_err().to_string();
        assert!(error.contains("is the record of `three`, expected `four`"), "{error}");
        let whole = std::fs::read(&path).unwrap();
        // Without its final newline it still is whole.
        for cut in [0, 1, whole.len() / 2, whole.len() - 2] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let error = Record::read(data.path(), "three").unwrap_err().to_string();
            assert!(error.contains("remove it to take the files of `three` as they are now"), "{error}");
        }
        let newer = Record { schema: 2, ..record() };
        newer.write(data.path()).unwrap();
        assert!(Record::read(data.path(), "three").unwrap_err().to_string().contains("newer esr"));
    }

    #[test]
    fn published_facts_come_first_and_gaps_are_filled() {
        let published = |name: &str, sha256: Option<&str>| FileFacts {
            name: name.into(),
            sha256: sha256.map(str::to_owned),
            width_height: Some((2, 2)),
            ..FileFacts::default()
        };
        let facts = record().completed(vec![published("b.png", None), published("c.png", Some("said"))]);
        let names: Vec<&str> = facts.iter().map(|facts| facts.name.as_str()).collect();
        assert_eq!(names, ["a.png", "b.png", "c.png"]);
        assert_eq!((facts[0].bytes, facts[0].sha256.clone()), (Some(3), Some("a".repeat(64))));
        assert_eq!((facts[1].bytes, &facts[1].sha256), (None, &None));
        assert_eq!((facts[2].bytes, facts[2].sha256.as_deref()), (Some(5), Some("said")));
        assert!(facts[2].width_height.is_some());
    }

    #[test]
    fn a_folder_resembles_its_record_by_names_and_sizes() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!record().resembles(folder.path()));
        std::fs::write(folder.path().join("a.png"), b"123").unwrap();
        std::fs::write(folder.path().join("c.png"), b"12345").unwrap();
        assert!(record().resembles(folder.path()));
        std::fs::write(folder.path().join("c.png"), b"1234").unwrap();
        assert!(!record().resembles(folder.path()));
    }
}
