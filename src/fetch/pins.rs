//! Trust on first use: what files with no published hash were when they were first seen.
//!
//! [`FILE`] in the data folder holds one entry a file. A file with a published hash is never pinned: what was published decides. A pinned file
//! that is different later is an error which shows both, because either the data has changed or somebody has tampered with it, and the program cannot
//! tell which. The caller holds the lock of the data folder while it changes pins.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Expected, Found, Mismatch};
use crate::fsio::{self, Artefact};

/// Name of the lock file in the data folder.
pub const FILE: &str = "esr-data.lock";

/// The file as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    schema: u64,
    pins: Vec<Pin>,
}

impl Artefact for Document {
    const WHAT: &'static str = "lock file of data";
    const SCHEMA: u64 = 1;
}

/// A file as it was when it was first seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// What it is called here: an archive's file, or `<dataset>/<file>`.
    pub name: String,
    /// Where it came from.
    pub url: String,
    /// When, in UTC, as `2026-11-23T11:10:00Z`.
    pub first_seen: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Its MD5, 32 lower-case hexadecimal digits.
    pub md5: String,
}

impl Pin {
    /// What it was.
    pub fn found(&self) -> Found {
        Found { bytes: self.bytes, sha256: self.sha256.clone(), md5: self.md5.clone() }
    }
}

/// Why a file is not accepted, or the pins cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The lock file cannot be read or written, is damaged, or is from a newer version.
    #[error("{source}; put back a copy of it, or remove it to trust the files that come next")]
    File {
        /// What is wrong with it.
        #[from]
        source: fsio::Error,
    },
    /// An entry of the lock file makes no sense.
    #[error(
        "`{path}`: the entry `{name}` has {found} for its {what}, expected {expected}; put back a copy of the file, or remove the entry to trust \
         what comes next"
    )]
    Entry {
        /// The lock file.
        path: PathBuf,
        /// The entry.
        name: String,
        /// Which part of it.
        what: &'static str,
        /// What is there.
        found: String,
        /// What would be right.
        expected: &'static str,
    },
    /// It is not what was published.
    #[error("`{name}` from {url} is not the published file: {mismatch}")]
    Published {
        /// The file.
        name: String,
        /// Where it came from.
        url: String,
        /// The first difference.
        mismatch: Box<Mismatch>,
    },
    /// It is not what it was when it was first seen.
    #[error(
        "`{name}` from {url} is not the file that was first seen on {} at {}: it had {}, now it has {}. No hash was ever published, so nobody can say \
         which one is right: if you trust the new one, remove the entry from `{lock}`",
        .pin.first_seen, .pin.url, in_words(&.pin.found()), in_words(.found)
    )]
    Changed {
        /// The file.
        name: String,
        /// Where it came from now.
        url: String,
        /// The lock file.
        lock: PathBuf,
        /// What it was.
        pin: Box<Pin>,
        /// What it is.
        found: Box<Found>,
    },
}

fn in_words(found: &Found) -> String {
    format!("{} bytes, SHA-256 {}, MD5 {}", found.bytes, found.sha256, found.md5)
}

/// Where and when a file was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen<'a> {
    /// Where it came from: an address, or a path for a file that somebody brought.
    pub url: &'a str,
    /// When, in UTC, as `2026-11-23T11:10:00Z`.
    pub at: &'a str,
}

/// On what grounds a file is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It has a published hash.
    Published,
    /// It is what it was when it was first seen; nobody published a hash.
    SeenBefore,
    /// It is seen for the first time and is pinned now; nobody published a hash. The user has to be told.
    FirstSeen,
}

/// The pins of a data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins {
    path: PathBuf,
    pins: BTreeMap<String, Pin>,
    changed: bool,
}

impl Pins {
    /// Reads the lock file of a data folder; none is as good as an empty one.
    ///
    /// # Errors
    /// [`PinError::File`] for a damaged or newer file and [`PinError::Entry`] for a wrong entry: a file that cannot be read is never replaced.
    pub fn read(data: &Path) -> Result<Self, PinError> {
        let path = data.join(FILE);
        let mut pins = BTreeMap::new();
        match fsio::read_json::<Document>(&path) {
            Ok(document) => {
                for pin in document.pins {
                    check_entry(&path, &pin)?;
                    if let Some(twice) = pins.insert(pin.name.clone(), pin) {
                        let found = "a second entry".to_owned();
                        let (name, what, expected) = (twice.name, "name", "each name once");
                        return Err(PinError::Entry { path, name, what, found, expected });
                    }
                }
            }
            Err(fsio::Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(source.into()),
        }
        Ok(Self { path, pins, changed: false })
    }

    /// The pin of a file.
    pub fn get(&self, name: &str) -> Option<&Pin> {
        self.pins.get(name)
    }

    /// All pins in order of names.
    pub fn iter(&self) -> impl Iterator<Item = &Pin> {
        self.pins.values()
    }

    /// What a file has to be: what was published, and its pin where no hash was. A download can be checked against this as it ends.
    pub fn expected(&self, name: &str, published: &Expected) -> Expected {
        match self.pins.get(name) {
            Some(pin) if published.has_no_hash() => Expected::from(&pin.found()),
            _ => published.clone(),
        }
    }

    /// Judges a file, and pins it if it has no published hash and is seen for the first time. Call [`Pins::save`] afterwards.
    ///
    /// # Errors
    /// [`PinError::Published`] when it differs from anything published, [`PinError::Changed`] when it differs from its pin, [`PinError::Entry`] when
    /// the new entry would make no sense. None of them changes a pin.
    pub fn judge(
        &mut self,
        name: &str,
        published: &Expected,
        found: &Found,
        seen: Seen<'_>,
    ) -> Result<Trust, PinError> {
        let own = || (name.to_owned(), seen.url.to_owned());
        published.check(found).map_err(|mismatch| {
            let (name, url) = own();
            PinError::Published { name, url, mismatch: Box::new(mismatch) }
        })?;
        if !published.has_no_hash() {
            return Ok(Trust::Published);
        }
        if let Some(pin) = self.pins.get(name) {
            if pin.found() == *found {
                return Ok(Trust::SeenBefore);
            }
            let (name, url) = own();
            let (pin, found) = (Box::new(pin.clone()), Box::new(found.clone()));
            return Err(PinError::Changed { name, url, lock: self.path.clone(), pin, found });
        }
        let Found { bytes, sha256, md5 } = found.clone();
        let (key, url) = own();
        let pin = Pin { name: key.clone(), url, first_seen: seen.at.to_owned(), bytes, sha256, md5 };
        check_entry(&self.path, &pin)?;
        self.pins.insert(key, pin);
        self.changed = true;
        Ok(Trust::FirstSeen)
    }

    /// Writes the lock file if something was pinned since it was read; the same pins give the same bytes.
    ///
    /// # Errors
    /// [`PinError::File`]; the old file is then still there.
    pub fn save(&mut self) -> Result<(), PinError> {
        if self.changed {
            let document = Document { schema: Document::SCHEMA, pins: self.pins.values().cloned().collect() };
            fsio::write_json(&self.path, &document)?;
            self.changed = false;
        }
        Ok(())
    }
}

/// Whether a text has the form of a time in UTC; whether the day exists is nobody's business here.
fn is_utc(text: &str) -> bool {
    let form = b"dddd-dd-ddTdd:dd:ddZ";
    let fits = |(byte, form): (u8, &u8)| if *form == b'd' { byte.is_ascii_digit() } else { byte == *form };
    text.len() == form.len() && text.bytes().zip(form).all(fits)
}

/// An entry that people or accidents changed is found when it is read, not when it is compared.
fn check_entry(path: &Path, pin: &Pin) -> Result<(), PinError> {
    let printable = |text: &str| !text.is_empty() && !text.contains(char::is_control);
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let checks = [
        ("name", &pin.name, printable(&pin.name), "a name without control characters"),
        ("url", &pin.url, printable(&pin.url), "where the file came from, without control characters"),
        ("first_seen", &pin.first_seen, is_utc(&pin.first_seen), "a time like 2026-11-23T11:10:00Z"),
        (
            "sha256",
            &pin.sha256,
            pin.sha256.len() == 64 && hex(&pin.sha256),
            "64 lower-case hexadecimal digits",
        ),
        ("md5", &pin.md5, pin.md5.len() == 32 && hex(&pin.md5), "32 lower-case hexadecimal digits"),
    ];
    for (what, found, holds, expected) in checks {
        if !holds {
            let show = |text: &str| text.chars().take(100).flat_map(char::escape_debug).collect::<String>();
            let (name, found) = (show(&pin.name), format!("`{}`", show(found)));
            return Err(PinError::Entry { path: path.to_path_buf(), name, what, found, expected });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
