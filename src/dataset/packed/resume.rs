//! What an unfinished file already holds.

use std::fs::File;
use std::path::Path;

use memmap2::Mmap;
use rayon::prelude::*;

use super::PackError;
use super::current::differs;
use super::format::{self, Entry, PAGE_BYTES};
use super::reader::image_is_whole;
use crate::dataset::Pair;
use crate::fsio::io_context;

/// The pairs at the beginning of an unfinished file that need not be packed again: each is the next of the list, its files did not change, and all its
/// bytes have their checksums.
///
/// Whoever calls this holds the lock of the file.
pub(super) fn kept(file: &File, path: &Path, pairs: &[Pair], scale: u32) -> Result<Vec<Entry>, PackError> {
    if io_context(file.metadata(), "read", path)?.len() < PAGE_BYTES {
        return Ok(Vec::new());
    }
    // SAFETY: the map is only read, and the caller holds the lock without which this program does not write the file.
    let map = io_context(unsafe { Mmap::map(file) }, "map into memory", path)?;
    if format::decode_header(&map) != Ok(scale) {
        return Ok(Vec::new());
    }
    let mut entries = Vec::new();
    let mut record = PAGE_BYTES;
    while entries.len() < pairs.len()
        && let Some((entry, end)) = Entry::decode_record(&map, record, scale)
    {
        entries.push(entry);
        record = end;
    }
    let bad = entries.par_iter().zip(pairs).map(|(entry, pair)| {
        let whole = image_is_whole(&map, &entry.lr) && image_is_whole(&map, &entry.hr);
        Ok::<_, PackError>(!whole || differs(entry, pair)?.is_some())
    });
    let first_bad = bad.enumerate().find_first(|(_, bad)| !matches!(bad, Ok(false)));
    if let Some((index, bad)) = first_bad {
        bad.map(|_| entries.truncate(index))?;
    }
    Ok(entries)
}
