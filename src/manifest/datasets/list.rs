//! The whole list: reading it, and finding things in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::check;
use super::error::Error;
use super::raw;
use super::types::{Archive, Dataset, Group, Source};
use crate::fsio;

/// The list this program was built with.
pub(super) const BUILT_IN: &str = include_str!("../../../manifest/datasets.toml");
/// Its name in messages.
const FILE: &str = "manifest/datasets.toml";
/// The format this program reads.
pub(super) const SCHEMA: u64 = 1;
/// The most bytes a list may have, a hundred times the one built in.
const MAX_BYTES: u64 = 4 << 20;

/// All that is listed. Only [`Datasets::parse`] makes one, so it is consistent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datasets {
    pub(super) datasets: Vec<Dataset>,
    pub(super) archives: Vec<Arc<Archive>>,
    pub(super) groups: Vec<Group>,
    pub(super) evidence: BTreeMap<String, String>,
}

impl Datasets {
    /// The list this program was built with.
    ///
    /// # Errors
    /// Only if the program was built with a broken list.
    pub fn built_in() -> Result<Self, Error> {
        Self::parse(BUILT_IN, FILE)
    }

    /// Another list, e.g. of a mirror.
    ///
    /// # Errors
    /// [`Error::File`], or those of [`Datasets::parse`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        let file = path.display().to_string();
        let bytes = fsio::read_limited(path, MAX_BYTES)?;
        let text = String::from_utf8(bytes).map_err(|error| Error::Value {
            file: file.clone(),
            place: format!("byte {}", error.utf8_error().valid_up_to()),
            key: "text".into(),
            found: "not UTF-8".into(),
            expected: "TOML, which is UTF-8".into(),
        })?;
        Self::parse(&text, &file)
    }

    /// Reads and checks a list; `file` is what messages call it.
    ///
    /// # Errors
    /// [`Error::NewerSchema`], [`Error::Syntax`], or [`Error::Value`] with the first value that does not fit.
    pub fn parse(text: &str, file: &str) -> Result<Self, Error> {
        let syntax = |source| Error::Syntax { file: file.to_owned(), source: Box::new(source) };
        let raw::Peek { schema } = toml::from_str(text).map_err(syntax)?;
        if schema > SCHEMA {
            return Err(Error::NewerSchema { file: file.to_owned(), found: schema, supported: SCHEMA });
        }
        check::checked(toml::from_str(text).map_err(syntax)?, file)
    }

    /// All datasets in the order of the list.
    pub fn datasets(&self) -> &[Dataset] {
        &self.datasets
    }

    /// All archives in the order of the list.
    pub fn archives(&self) -> &[Arc<Archive>] {
        &self.archives
    }

    /// All groups in the order of the list.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The dataset of a name.
    pub fn dataset(&self, name: &str) -> Option<&Dataset> {
        self.datasets.iter().find(|dataset| dataset.name == name)
    }

    /// The group of a name.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// Who said so, in words, by the ids that figures carry.
    pub fn evidence(&self, id: &str) -> Option<&str> {
        self.evidence.get(id).map(String::as_str)
    }

    /// The datasets that some names of datasets and groups mean: each once, in the order of the list.
    ///
    /// # Errors
    /// [`Error::UnknownName`], which lists the names there are.
    pub fn select<N: AsRef<str>>(&self, names: &[N]) -> Result<Vec<&Dataset>, Error> {
        let mut wanted = BTreeSet::new();
        for name in names {
            let name = name.as_ref();
            match (self.group(name), self.dataset(name)) {
                (Some(group), _) => wanted.extend(group.datasets.iter().map(String::as_str)),
                (None, Some(dataset)) => {
                    wanted.insert(dataset.name.as_str());
                }
                (None, None) => return Err(self.unknown(name)),
            }
        }
        Ok(self.datasets.iter().filter(|dataset| wanted.contains(dataset.name.as_str())).collect())
    }

    /// The datasets that can come out of an archive, with their sources there: an archive that is here serves them all.
    pub fn contents<'a>(&'a self, file: &'a str) -> impl Iterator<Item = (&'a Dataset, &'a Source)> {
        let in_archive = move |source: &&Source| source.archive().is_some_and(|archive| archive.file == file);
        self.datasets.iter().flat_map(move |dataset| {
            dataset.sources.iter().filter(in_archive).map(move |source| (dataset, source))
        })
    }

    fn unknown(&self, name: &str) -> Error {
        let groups: Vec<&str> = self.groups.iter().map(|group| group.name.as_str()).collect();
        let datasets: Vec<&str> = self.datasets.iter().map(|dataset| dataset.name.as_str()).collect();
        // Only the start of a hostile name is compared: the distance takes quadratic time.
        let start: String = name.chars().take(64).collect();
        let nearest = groups
            .iter()
            .chain(&datasets)
            .map(|known| (distance(&start.to_lowercase(), known), known))
            .filter(|(distance, known)| *distance * 3 <= known.len())
            .min_by_key(|(distance, _)| *distance);
        Error::UnknownName {
            name: start.escape_debug().to_string(),
            nearest: nearest.map(|(_, known)| (*known).to_owned()),
            groups: groups.join(", "),
            datasets: datasets.join(", "),
        }
    }
}

/// How many characters have to be put in, taken out or changed to get from one text to the other (Levenshtein).
pub(super) fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (done, wanted) in from.chars().enumerate() {
        let mut left = done + 1;
        let mut diagonal = done;
        for (cell, known) in row.iter_mut().skip(1).zip(&to) {
            let changed = diagonal + usize::from(wanted != *known);
            diagonal = *cell;
            left = changed.min(left + 1).min(diagonal + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = done + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}
