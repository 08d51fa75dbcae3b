//! Whether a packed set still is what its files would give.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rayon::prelude::*;

use super::format::{Entry, ImageEntry, Stamp};
use super::{PackError, Packed};
use crate::dataset::Pair;
use crate::fsio::{self, io_context};

/// Whether a packed set can be used for a list of pairs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Currency {
    /// It holds what packing them would give.
    Current,
    /// It does not; the text says why, as the end of a sentence.
    Stale(String),
}

impl Packed {
    /// Compares the set with the files it should be made of: the same names in the same order, the same scale, and files that did not change.
    ///
    /// A file of the same size and modification time is taken for the same; of the same size and another time, its SHA-256 decides, so that data that were
    /// copied or unpacked again need no new packing. Two different files of equal name, size and time to the nanosecond are not told apart: uncompressed
    /// images from an archive might be such, PNG files hardly.
    ///
    /// # Errors
    /// [`PackError::File`] when a file of the list cannot be looked at.
    pub fn is_current(&self, pairs: &[Pair], scale: usize) -> Result<Currency, PackError> {
        if self.scale() != scale {
            return Ok(Currency::Stale(format!("it is of scale {}, not {scale}", self.scale())));
        }
        if self.len() != pairs.len() {
            return Ok(Currency::Stale(format!("it holds {} pairs, not {}", self.len(), pairs.len())));
        }
        // The first difference in order of the list, so that the message does not depend on threads.
        let difference = self.entries.par_iter().zip(pairs).map(|(entry, pair)| differs(entry, pair));
        let difference =
            difference.find_first(|difference| !matches!(difference, Ok(None))).transpose()?.flatten();
        Ok(difference.map_or(Currency::Current, Currency::Stale))
    }
}

/// How the files of a pair differ from what was packed, if they do.
pub(super) fn differs(entry: &Entry, pair: &Pair) -> Result<Option<String>, PackError> {
    if entry.name != pair.name {
        return Ok(Some(format!("it holds image {} where {} is expected", entry.name, pair.name)));
    }
    for (image, path) in [(&entry.lr, &pair.lr), (&entry.hr, &pair.hr)] {
        if !is_same(image, path)? {
            return Ok(Some(format!("`{}` changed", path.display())));
        }
    }
    Ok(None)
}

fn is_same(image: &ImageEntry, path: &Path) -> Result<bool, PackError> {
    let stamp = stamp(path)?;
    if stamp == image.stamp {
        return Ok(true);
    }
    Ok(stamp.bytes == image.stamp.bytes && fsio::sha256_file(path)? == fsio::hex(&image.file))
}

/// Size and modification time of a file.
pub(super) fn stamp(path: &Path) -> Result<Stamp, PackError> {
    let metadata = io_context(fs::metadata(path), "look at", path)?;
    // A file system without times tells contents apart by size and hash alone: no time equals another file's only by chance.
    let modified = metadata.modified().unwrap_or(UNIX_EPOCH);
    let (modified_s, modified_ns) = since_1970(modified);
    Ok(Stamp { bytes: metadata.len(), modified_s, modified_ns })
}

/// Whole seconds, rounded down, and the nanoseconds after them.
fn since_1970(time: SystemTime) -> (i64, u32) {
    let seconds = |whole: u64| i64::try_from(whole).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (seconds(after.as_secs()), after.subsec_nanos()),
        Err(before) => {
            let before = before.duration();
            match before.subsec_nanos() {
                0 => (-seconds(before.as_secs()), 0),
                nanos => (-seconds(before.as_secs()) - 1, 1_000_000_000 - nanos),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_before_1970_count_backwards() {
        assert_eq!(since_1970(UNIX_EPOCH + Duration::new(5, 7)), (5, 7));
        assert_eq!(since_1970(UNIX_EPOCH - Duration::new(5, 0)), (-5, 0));
        assert_eq!(since_1970(UNIX_EPOCH - Duration::new(5, 7)), (-6, 999_999_993));
    }
}
