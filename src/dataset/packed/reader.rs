//! Looking into a packed set.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::{Advice, Mmap};
use rayon::prelude::*;

use super::PackError;
use super::format::{self, Entry, HeaderError, ImageEntry, PAGE_BYTES, Trailer, VERSION, page_end, part};
use crate::dataset::crop::line;
use crate::dataset::{Crop, PairView, Pairs};
use crate::fsio::{self, io_context};
use crate::imaging::RgbView;

/// A packed set, mapped into memory: opening it reads its index, not its images.
///
/// The file must not be shortened or overwritten while it is open; this program never does so, because it replaces files by renaming.
#[derive(Debug)]
pub struct Packed {
    path: PathBuf,
    map: Mmap,
    scale: u32,
    trailer: Trailer,
    pub(super) entries: Vec<Entry>,
}

impl Packed {
    /// Opens a packed set. Everything that says where pixels are is checked; the pixels are by [`Packed::verify`] only.
    ///
    /// # Errors
    /// [`PackError::NotPacked`], [`PackError::Newer`], [`PackError::Damaged`], or [`PackError::File`] when it cannot be read.
    pub fn open(path: &Path) -> Result<Self, PackError> {
        let file = io_context(File::open(path), "open", path)?;
        let metadata = io_context(file.metadata(), "read", path)?;
        if !metadata.is_file() || metadata.len() == 0 {
            return Err(PackError::NotPacked { path: path.to_path_buf() });
        }
        // SAFETY: the map is only read. Nothing in this program changes a packed set in its place (it is written under another name and renamed), and
        // the type's documentation forbids it to others.
        let map = io_context(unsafe { Mmap::map(&file) }, "map into memory", path)?;
        let damaged = |reason| PackError::Damaged { path: path.to_path_buf(), reason };
        let scale = format::decode_header(&map).map_err(|error| match error {
            HeaderError::NotPacked => PackError::NotPacked { path: path.to_path_buf() },
            HeaderError::Newer(found) => {
                PackError::Newer { path: path.to_path_buf(), found, supported: VERSION }
            }
            HeaderError::Damaged(reason) => damaged(reason),
        })?;
        let (trailer, entries) = format::decode_end(&map, scale).map_err(damaged)?;
        Ok(Self { path: path.to_path_buf(), map, scale, trailer, entries })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many times larger the HR images are.
    pub fn scale(&self) -> usize {
        self.scale as usize
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The file's size.
    pub fn bytes(&self) -> u64 {
        self.map.len() as u64
    }

    /// The name of pair `index`: its HR file's stem.
    pub fn name(&self, index: usize) -> Option<&str> {
        self.entries.get(index).map(|entry| entry.name.as_str())
    }

    /// The LR image of pair `index`.
    pub fn lr(&self, index: usize) -> Option<RgbView<'_>> {
        self.view(&self.entries.get(index)?.lr)
    }

    /// The HR image of pair `index`, `scale` times the LR image.
    pub fn hr(&self, index: usize) -> Option<RgbView<'_>> {
        self.view(&self.entries.get(index)?.hr)
    }

    /// Tells the operating system that the rows of a crop are wanted soon, so that it reads them side by side and in large pieces. It does not wait.
    ///
    /// This helps when the set does not fit into memory; it changes nothing else, and does nothing where it is not supported.
    pub fn prefetch(&self, index: usize, crop: &Crop) {
        let Some(entry) = self.entries.get(index) else { return };
        for (image, scale) in [(&entry.lr, 1), (&entry.hr, crop.scale)] {
            let row_bytes = u64::from(image.width) * 3;
            let rows = |count: usize| row_bytes.saturating_mul(count.saturating_mul(scale) as u64);
            let start = image.offset.saturating_add(rows(crop.y));
            let bytes = rows(crop.side).min((image.offset + image.bytes()).saturating_sub(start));
            if let (Ok(start), Ok(bytes)) = (usize::try_from(start), usize::try_from(bytes))
                && bytes > 0
            {
                // Advice: if it is not taken, the pixels are read when they are used.
                let _ = self.map.advise_range(Advice::WillNeed, start, bytes);
            }
        }
    }

    /// Checks every byte of the file against the checksums, in parallel.
    ///
    /// # Errors
    /// [`PackError::Checksums`] naming everything that is not as it was written.
    pub fn verify(&self) -> Result<(), PackError> {
        let mut places = Vec::new();
        if self.region(0..PAGE_BYTES) != Some(format::encode_header(self.scale).as_slice()) {
            places.push("header".to_owned());
        }
        places.par_extend(self.entries.par_iter().flat_map_iter(|entry| self.verify_pair(entry)));
        let end = format::encode_end(&self.entries, self.trailer.index_offset);
        if self.region(self.trailer.index_offset..self.bytes()) != Some(end.as_slice()) {
            places.push("index".to_owned());
        }
        match places.is_empty() {
            true => Ok(()),
            false => Err(PackError::Checksums { path: self.path.clone(), places }),
        }
    }

    /// What [`Pairs::images_sha256`] hashes.
    pub(super) fn lines(&self) -> String {
        let lines = self.entries.iter().map(|entry| line(&entry.name, &entry.lr.pixels, &entry.hr.pixels));
        lines.collect()
    }

    fn verify_pair(&self, entry: &Entry) -> Vec<String> {
        let record = entry.lr.offset.saturating_sub(PAGE_BYTES);
        let whole = self.region(record..entry.lr.offset) == Some(entry.encode_record().as_slice());
        let mut places = Vec::new();
        if !whole {
            places.push(format!("record of {}", entry.name));
        }
        for (what, image) in [("LR", &entry.lr), ("HR", &entry.hr)] {
            if !image_is_whole(&self.map, image) {
                places.push(format!("{what} of {}", entry.name));
            }
        }
        places
    }

    fn region(&self, range: Range<u64>) -> Option<&[u8]> {
        part(&self.map, range.start, range.end.checked_sub(range.start)?)
    }

    fn view(&self, image: &ImageEntry) -> Option<RgbView<'_>> {
        view(&self.map, image)
    }
}

impl Pairs for Packed {
    fn len(&self) -> usize {
        self.len()
    }

    fn pair(&self, index: usize) -> Option<PairView<'_>> {
        let entry = self.entries.get(index)?;
        Some(PairView { name: &entry.name, lr: self.view(&entry.lr)?, hr: self.view(&entry.hr)? })
    }

    /// From the checksums in the file: no pixel is read.
    fn images_sha256(&self) -> String {
        fsio::sha256_hex(self.lines().as_bytes())
    }
}

/// The image that an entry describes, if it lies in the file.
fn view<'a>(file: &'a [u8], image: &ImageEntry) -> Option<RgbView<'a>> {
    let pixels = part(file, image.offset, image.bytes())?;
    RgbView::new(image.width as usize, image.height as usize, pixels).ok()
}

/// Whether the pixels are those of the checksum, and the rest of their last page is empty.
pub(super) fn image_is_whole(file: &[u8], image: &ImageEntry) -> bool {
    let end = image.offset.saturating_add(image.bytes());
    let rest = part(file, end, page_end(end).saturating_sub(end));
    view(file, image).is_some_and(|view| view.pixels_digest() == image.pixels)
        && rest.is_some_and(|rest| rest.iter().all(|&byte| byte == 0))
}
