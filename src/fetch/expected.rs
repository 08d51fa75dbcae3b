//! What is known about a file before it is here, and what it turned out to be.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::Path;

use md5::{Digest as _, Md5};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::fsio::hex;

/// Bytes read at a time.
const PIECE_BYTES: usize = 1 << 16;

/// What is known of a file. Whatever is known is checked; nothing is ever made up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Its size.
    pub bytes: Option<u64>,
    /// Its SHA-256, 64 lower-case hexadecimal digits.
    pub sha256: Option<String>,
    /// Its MD5, 32 lower-case hexadecimal digits.
    pub md5: Option<String>,
}

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Found {
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Its MD5, 32 lower-case hexadecimal digits.
    pub md5: String,
}

/// The first thing in which a file is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its {what} is {found}, expected {expected}")]
pub struct Mismatch {
    /// Which property.
    pub what: &'static str,
    /// What it should be.
    pub expected: String,
    /// What it is.
    pub found: String,
}

impl Expected {
    /// Whether nothing that tells contents apart is known: such a file is pinned when it is first seen.
    pub fn has_no_hash(&self) -> bool {
        self.sha256.is_none() && self.md5.is_none()
    }

    /// Compares everything that is known.
    ///
    /// # Errors
    /// The first difference: size, SHA-256, MD5.
    pub fn check(&self, found: &Found) -> Result<(), Mismatch> {
        fn same<T: PartialEq + fmt::Display>(
            what: &'static str,
            expected: Option<&T>,
            found: &T,
        ) -> Result<(), Mismatch> {
            match expected {
                Some(expected) if expected != found => {
                    Err(Mismatch { what, expected: expected.to_string(), found: found.to_string() })
                }
                _ => Ok(()),
            }
        }
        same("size in bytes", self.bytes.as_ref(), &found.bytes)?;
        same("SHA-256", self.sha256.as_ref(), &found.sha256)?;
        same("MD5", self.md5.as_ref(), &found.md5)
    }
}

impl From<&Found> for Expected {
    fn from(found: &Found) -> Self {
        let Found { bytes, sha256, md5 } = found.clone();
        Self { bytes: Some(bytes), sha256: Some(sha256), md5: Some(md5) }
    }
}

/// Size and both hashes of bytes that pass by.
#[derive(Clone, Default)]
pub struct Fingerprint {
    bytes: u64,
    sha256: Sha256,
    md5: Md5,
}

impl Fingerprint {
    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.sha256.update(bytes);
        self.md5.update(bytes);
    }

    /// What a file is, or nothing when `watch`, which is told after each piece how many bytes were read, breaks off.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn of_file(
        path: &Path,
        watch: &(dyn Fn(u64) -> ControlFlow<()> + Sync),
    ) -> io::Result<Option<Found>> {
        let mut file = File::open(path)?;
        let mut fingerprint = Self::default();
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            let count = match file.read(&mut buffer) {
                Ok(0) => return Ok(Some(fingerprint.finish())),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            fingerprint.update(buffer.get(..count).unwrap_or_default());
            if watch(count as u64).is_break() {
                return Ok(None);
            }
        }
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What it all was.
    pub fn finish(self) -> Found {
        Found { bytes: self.bytes, sha256: hex(&self.sha256.finalize()), md5: hex(&self.md5.finalize()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> Found {
        let mut fingerprint = Fingerprint::default();
        fingerprint.update(bytes);
        fingerprint.finish()
    }

    #[test]
    fn hashes_are_the_published_ones_of_abc() {
        let found = of(b"abc");
        assert_eq!(found.bytes, 3);
        assert_eq!(found.md5, "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(found.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn everything_known_is_checked_and_nothing_else() {
        let found = of(b"abc");
        assert_eq!(Expected::default().check(&found), Ok(()));
        assert_eq!(Expected::from(&found).check(&found), Ok(()));
        let other = of(b"abd");
        assert_eq!(Expected::from(&found).check(&other).unwrap_err().what, "SHA-256");
        assert_eq!(Expected::from(&found).check(&of(b"ab")).unwrap_err().what, "size in bytes");
        let md5 = Expected { md5: Some(found.md5.clone()), ..Expected::default() };
        assert!(!md5.has_no_hash() && Expected { bytes: Some(3), ..Expected::default() }.has_no_hash());
        let error = md5.check(&other).unwrap_err().to_string();
        assert_eq!(error, format!("its MD5 is {}, expected {}", other.md5, found.md5));
    }
}
