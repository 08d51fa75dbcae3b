//! The list of datasets as it is written: keys and types, nothing checked yet.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Visitor};

use super::members::RawMembers;
use super::types::{Format, Likeness, Role, Split, Terms};
use super::value::UNKNOWN;

/// Which evidence there is for which figure.
pub(super) type Evidence = BTreeMap<String, Vec<String>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawManifest {
    pub(super) schema: u64,
    pub(super) evidence: BTreeMap<String, String>,
    pub(super) terms: BTreeMap<String, Terms>,
    #[serde(default)]
    pub(super) archive: Vec<RawArchive>,
    pub(super) dataset: Vec<RawDataset>,
    #[serde(default)]
    pub(super) group: Vec<RawGroup>,
}

/// Only the version, so that a newer file is called newer and not broken.
#[derive(Deserialize)]
pub(super) struct Peek {
    pub(super) schema: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawArchive {
    pub(super) file: String,
    pub(super) format: Format,
    pub(super) urls: Vec<String>,
    pub(super) bytes: Bytes,
    pub(super) about_bytes: Option<u64>,
    pub(super) sha256: String,
    pub(super) md5: String,
    pub(super) evidence: Evidence,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDataset {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) split: Split,
    pub(super) role: Role,
    pub(super) folder: String,
    #[serde(default)]
    pub(super) also: Vec<String>,
    pub(super) files: RawMembers,
    pub(super) terms: String,
    pub(super) source: Vec<RawSource>,
    #[serde(default)]
    pub(super) known: Vec<RawFile>,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum RawSource {
    Archive {
        archive: String,
        prefix: String,
        likeness: Likeness,
        folder_md5: Option<String>,
        evidence: Evidence,
    },
    Loose {
        urls: Vec<String>,
        likeness: Likeness,
        folder_md5: Option<String>,
        evidence: Evidence,
    },
    Listed {
        files: Vec<RawListed>,
        likeness: Likeness,
        folder_md5: Option<String>,
        evidence: Evidence,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawListed {
    pub(super) name: String,
    pub(super) urls: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFile {
    pub(super) name: String,
    pub(super) bytes: Option<u64>,
    pub(super) sha256: Option<String>,
    pub(super) width: Option<usize>,
    pub(super) height: Option<usize>,
    pub(super) pixels_sha256: Option<String>,
    pub(super) evidence: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawGroup {
    pub(super) name: String,
    pub(super) summary: String,
    pub(super) datasets: Vec<String>,
}

/// A size in bytes, or the word "unknown".
pub(super) struct Bytes(pub(super) Option<u64>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl Visitor<'_> for Visit {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a number of bytes or \"{UNKNOWN}\"")
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Bytes, E> {
                Ok(Bytes(Some(bytes)))
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Bytes, E> {
                let wrong = || E::invalid_value(de::Unexpected::Signed(bytes), &self);
                u64::try_from(bytes).map(|bytes| Bytes(Some(bytes))).map_err(|_| wrong())
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Bytes, E> {
                if word == UNKNOWN {
                    Ok(Bytes(None))
                } else {
                    Err(E::invalid_value(de::Unexpected::Str(word), &self))
                }
            }
        }
        deserializer.deserialize_any(Visit)
    }
}
