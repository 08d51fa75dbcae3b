//! What is listed: archives, datasets, their sources, and what is known of single files.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;

use super::members::{Members, Pattern};

/// One file to download, out of which one or several datasets come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// Its name on this machine, unique in the list.
    pub file: String,
    /// How it is packed.
    pub format: Format,
    /// Where it is, best first. All addresses have the same bytes.
    pub urls: Vec<String>,
    /// Its size, if published.
    pub bytes: Option<u64>,
    /// Roughly its size where the exact one is not published: enough for an estimate, never checked.
    pub about_bytes: Option<u64>,
    /// Its SHA-256 in lower-case hexadecimal, if published.
    pub sha256: Option<String>,
    /// Its MD5 in lower-case hexadecimal, if published.
    pub md5: Option<String>,
    /// Who published what: from the name of a figure (`urls`, `bytes`, ...) to ids of [`super::Datasets::evidence`].
    pub evidence: BTreeMap<String, Vec<String>>,
}

/// How an archive is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// A zip file.
    Zip,
    /// A tar file without compression.
    Tar,
    /// A tar file compressed as a whole by gzip.
    TarGz,
}

/// One final folder of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// What it is asked for by, e.g. `div2k-train-hr`.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// What it is for.
    pub split: Split,
    /// What its files are.
    pub role: Role,
    /// Its folder below the data folder, with `/` between parts.
    pub folder: String,
    /// What others call such a folder, where it is neither that nor its folder in an archive.
    pub also: Vec<String>,
    /// The names of its files.
    pub members: Members,
    /// Under which terms it may be used.
    pub terms: Terms,
    /// Ways to get it, best first; at least one. All end in the same folder.
    pub sources: Vec<Source>,
    /// What is known of some of its files, in order of names.
    pub known: Vec<FileFacts>,
}

/// What a dataset is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// Training.
    Train,
    /// Validation.
    Valid,
    /// The challenge's test, whose HR images nobody but the organisers has.
    Test,
    /// Comparison with other work.
    Benchmark,
    /// Not images.
    Weights,
}

/// What the files of a dataset are.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Role {
    /// Originals.
    Hr,
    /// Shrunk images.
    Lr {
        /// By how much.
        scale: usize,
        /// The dataset of their originals, if those are public.
        hr: Option<String>,
    },
    /// Weights of models.
    Weights,
}

/// Terms of use.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// In our words.
    pub summary: String,
    /// In the words of those who publish the data, where there are any.
    pub quote: Option<String>,
    /// Where that is known from.
    pub source: String,
}

/// One way to get a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Where its files are.
    pub layout: Layout,
    /// How its files relate to what is known of single files.
    pub likeness: Likeness,
    /// MD5 of the whole folder that this source unpacks to, by the recipe of [`crate::fetch::folder`], if published.
    pub folder_md5: Option<String>,
    /// Who published what: from the name of a figure (`layout`, `folder_md5`) to ids of [`super::Datasets::evidence`].
    pub evidence: BTreeMap<String, Vec<String>>,
}

/// Where the files of a source are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Directly in one folder of an archive.
    Archive {
        /// The archive, which other datasets may share.
        archive: Arc<Archive>,
        /// That folder, with `/` between parts.
        prefix: String,
    },
    /// Numbered files at addresses with the number in them.
    Loose {
        /// The addresses, best first.
        urls: Vec<Pattern>,
    },
    /// Named files at addresses of their own.
    Listed {
        /// Name and addresses, best first.
        files: Vec<(String, Vec<String>)>,
    },
}

/// How the files of a source relate to what is known of single files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Likeness {
    /// They are the published bytes.
    Bytes,
    /// They are other files with the same pixels.
    Pixels,
    /// Nobody said; their pixels have to be the known ones all the same.
    Unstated,
}

/// What is known of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileFacts {
    /// Its name in the dataset's folder.
    pub name: String,
    /// Its size.
    pub bytes: Option<u64>,
    /// Its SHA-256 in lower-case hexadecimal.
    pub sha256: Option<String>,
    /// Width and height in pixels.
    pub width_height: Option<(usize, usize)>,
    /// SHA-256 of its pixels, as [`crate::imaging::RgbImage::pixels_sha256`] has it.
    pub pixels_sha256: Option<String>,
    /// Ids of [`super::Datasets::evidence`].
    pub evidence: Vec<String>,
}

/// Datasets that are fetched together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What it is asked for by.
    pub name: String,
    /// What it is for.
    pub summary: String,
    /// Names of its datasets.
    pub datasets: Vec<String>,
}

/// A file that is downloaded by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LooseFile {
    /// Its name in the dataset's folder.
    pub name: String,
    /// Where it is, best first.
    pub urls: Vec<String>,
    /// What is known of it as far as it has to hold for this source.
    pub facts: FileFacts,
}

impl Archive {
    /// Its size, or roughly its size, if anything is known of it.
    pub fn size_hint_bytes(&self) -> Option<u64> {
        self.bytes.or(self.about_bytes)
    }
}

impl Dataset {
    /// The file of the dataset that a member of an archive is, given the folder its files have there. `./` before the member's path is allowed.
    pub fn file_of_member<'a>(&self, prefix: &str, member: &'a str) -> Option<&'a str> {
        let member = member.strip_prefix("./").unwrap_or(member);
        let name = member.strip_prefix(prefix)?.strip_prefix('/')?;
        self.members.contains(name).then_some(name)
    }

    /// The files of a source that is not an archive, in order; none for an archive.
    pub fn loose_files(&self, source: &Source) -> Vec<LooseFile> {
        let file =
            |name: String, urls| LooseFile { facts: self.facts_for(&name, source.likeness), name, urls };
        match (&source.layout, &self.members) {
            (Layout::Loose { urls }, Members::Numbered { pattern, first, last }) => (*first..=*last)
                .map(|number| file(pattern.with(number), urls.iter().map(|url| url.with(number)).collect()))
                .collect(),
            (Layout::Listed { files }, _) => {
                files.iter().map(|(name, urls)| file(name.clone(), urls.clone())).collect()
            }
            (Layout::Loose { .. } | Layout::Archive { .. }, _) => Vec::new(),
        }
    }

    /// What is known of a file, if anything.
    pub fn facts(&self, name: &str) -> Option<&FileFacts> {
        self.known.iter().find(|facts| facts.name == name)
    }

    /// What has to hold for the files of a source, in order of names.
    pub fn facts_of(&self, source: &Source) -> Vec<FileFacts> {
        self.known.iter().map(|facts| facts.as_far_as(source.likeness)).collect()
    }

    /// Every published MD5 of the whole folder, and how the folder was had.
    pub fn folder_md5s(&self) -> impl Iterator<Item = (&str, &Source)> {
        self.sources.iter().filter_map(|source| Some((source.folder_md5.as_deref()?, source)))
    }

    fn facts_for(&self, name: &str, likeness: Likeness) -> FileFacts {
        let known = self.facts(name).map(|facts| facts.as_far_as(likeness));
        known.unwrap_or_else(|| FileFacts { name: name.to_owned(), ..FileFacts::default() })
    }
}

impl Source {
    /// The archive its files are in, if they are in one.
    pub fn archive(&self) -> Option<&Arc<Archive>> {
        match &self.layout {
            Layout::Archive { archive, .. } => Some(archive),
            Layout::Loose { .. } | Layout::Listed { .. } => None,
        }
    }
}

impl FileFacts {
    /// What of it has to hold for files of this likeness: facts about bytes only where the bytes are the published ones.
    pub fn as_far_as(&self, likeness: Likeness) -> Self {
        match likeness {
            Likeness::Bytes => self.clone(),
            Likeness::Pixels | Likeness::Unstated => Self { bytes: None, sha256: None, ..self.clone() },
        }
    }

    /// Whether something about the decoded image is known.
    pub fn knows_pixels(&self) -> bool {
        self.width_height.is_some() || self.pixels_sha256.is_some()
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Valid => "validation",
            Self::Test => "test",
            Self::Benchmark => "benchmark",
            Self::Weights => "weights",
        })
    }
}
