//! Making a packed set, and going on where an earlier attempt stopped.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::current::stamp;
use super::format::{self, Entry, ImageEntry, MAX_NAME_BYTES, MAX_SCALE, PAGE_BYTES, page_end};
use super::ordered::in_order;
use super::{Currency, PackError, Packed, resume};
use crate::dataset::{self, Pair, loaded};
use crate::fault;
use crate::fsio::{self, io_context};
use crate::imaging::{self, MAX_FILE_BYTES, RgbImage, RgbView};
use crate::interrupt::Signal;
use crate::space;

/// Pairs that may be decoded and not yet written, beside one for each thread: enough that no thread waits for a slow image. Each of DIV2K takes 9 MB.
const SPARE_PAIRS: usize = 2;

/// What [`pack`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Pairs in the set.
    pub pairs: usize,
    /// Pairs that were there already, in a finished or an unfinished file.
    pub kept: usize,
    /// Size of the file.
    pub bytes: u64,
}

/// Makes sure that `out` is the packed set of `pairs`: does nothing if it is, otherwise decodes the images in rayon's pool and writes it.
///
/// It is written as `out` with `.partial` appended, with a few images in memory at a time, and renamed when it is complete. An unfinished file is gone on from as
/// far as its checksums and its inputs are right. A finished one that is out of date or damaged stays until the new one takes its place.
/// `progress` is told the number of pairs that are done, and of all.
///
/// # Errors
/// [`PackError`]; `out` then holds what it held before, and what is written is kept for the next attempt.
pub fn pack(
    pairs: &[Pair],
    scale: usize,
    out: &Path,
    progress: &(dyn Fn(usize, usize) + Sync),
    interrupted: &(dyn Fn() -> Option<Signal> + Sync),
) -> Result<Summary, PackError> {
    let scale_u32 = check(pairs, scale, out)?;
    if let Some(summary) = finished(pairs, scale, out)? {
        progress(summary.kept, summary.pairs);
        return Ok(summary);
    }
    let folder = match out.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    io_context(fs::create_dir_all(folder), "create folder", folder)?;
    let partial = partial_path(out);
    let file = open_locked(&partial)?;
    // Whoever held the lock until now may have finished it.
    if let Some(summary) = finished(pairs, scale, out)? {
        io_context(fs::remove_file(&partial), "remove", &partial)?;
        progress(summary.kept, summary.pairs);
        return Ok(summary);
    }
    let entries = resume::kept(&file, &partial, pairs, scale_u32)?;
    let kept = entries.len();
    progress(kept, pairs.len());
    let mut target = Target::begin(file, partial, entries, scale_u32)?;
    space::require(folder, needed_bytes(pairs.get(kept..).unwrap_or_default(), scale)?)?;
    let in_flight = rayon::current_num_threads() + SPARE_PAIRS;
    // Memory of images that are written. Each is freed by another thread than the one that will need it next, which no allocator is good at.
    let spare: Mutex<Vec<Vec<u8>>> = Mutex::default();
    let spare = || spare.lock().unwrap_or_else(PoisonError::into_inner);
    let decode = |index: usize| match pairs.get(index) {
        Some(pair) => {
            // The disk is busy writing: a read that is asked for only when it is needed waits long.
            if let Some(pair) = pairs.get(index + in_flight) {
                [&pair.lr, &pair.hr].into_iter().for_each(|path| fsio::begin_reading(path));
            }
            let room = spare().pop().unwrap_or_default();
            DecodedPair::of(pair, scale, room)
        }
        None => Err(PackError::NoPairs { path: out.to_path_buf() }),
    };
    in_order(kept..pairs.len(), in_flight, decode, |index, pair| {
        spare().push(target.append(pair)?);
        fault::point("pack-record");
        progress(index + 1, pairs.len());
        interrupted().map_or(Ok(()), |signal| Err(PackError::Interrupted(signal)))
    })?;
    let bytes = target.finish(out)?;
    fsio::sync_folder(folder)?;
    fault::point("pack-after-rename");
    Ok(Summary { pairs: pairs.len(), kept, bytes })
}

/// The room that these pairs need, by the headers of their LR images. Index and trailer are small beside the rest of a page for each image.
fn needed_bytes(pairs: &[Pair], scale: usize) -> Result<u64, PackError> {
    let sizes = pairs.par_iter().map(|pair| {
        let (width, height) = imaging::dimensions(&pair.lr).map_err(dataset::Error::from)?;
        let lr_bytes = (width as u64).saturating_mul(height as u64).saturating_mul(3);
        let hr_bytes = lr_bytes.saturating_mul((scale as u64).saturating_mul(scale as u64));
        Ok(page_end(lr_bytes).saturating_add(page_end(hr_bytes)).saturating_add(PAGE_BYTES))
    });
    sizes.try_reduce(|| 0, |sum, bytes| Ok(sum.saturating_add(bytes)))
}

fn check(pairs: &[Pair], scale: usize, out: &Path) -> Result<u32, PackError> {
    if pairs.is_empty() {
        return Err(PackError::NoPairs { path: out.to_path_buf() });
    }
    if let Some(Pair { name, .. }) = pairs.iter().find(|pair| pair.name.len() > MAX_NAME_BYTES) {
        return Err(PackError::Name {
            name: name.clone(),
            found_bytes: name.len(),
            limit_bytes: MAX_NAME_BYTES,
        });
    }
    let known = u32::try_from(scale).ok().filter(|scale| (1..=MAX_SCALE).contains(scale));
    known.ok_or(PackError::Scale { found: scale, most: MAX_SCALE })
}

/// What there is to say if `out` is there and current. A file that this program must not overwrite is an error.
fn finished(pairs: &[Pair], scale: usize, out: &Path) -> Result<Option<Summary>, PackError> {
    if !io_context(fs::exists(out), "look for", out)? {
        return Ok(None);
    }
    match Packed::open(out) {
        Ok(packed) => Ok((packed.is_current(pairs, scale)? == Currency::Current).then(|| Summary {
            pairs: packed.len(),
            kept: packed.len(),
            bytes: packed.bytes(),
        })),
        Err(PackError::Damaged { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The name under which a set is written.
fn partial_path(out: &Path) -> PathBuf {
    let mut name = out.file_name().map_or_else(OsString::new, ToOwned::to_owned);
    name.push(".partial");
    out.with_file_name(name)
}

/// Opens the unfinished file, or a new one, for this process alone. The operating system releases the lock when the process ends, however it ends.
fn open_locked(partial: &Path) -> Result<File, PackError> {
    loop {
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(partial);
        let file = io_context(opened, "open", partial)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(PackError::Busy { path: partial.to_path_buf() }),
            Err(TryLockError::Error(source)) => {
                return Err(fsio::Error::Io { action: "lock", path: partial.to_path_buf(), source }.into());
            }
        }
        // Between opening and locking, another process may have renamed the file to its final name: that one must not be written to.
        if is_at(&file, partial)? {
            return Ok(file);
        }
    }
}

/// Whether `path` names this open file.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> Result<bool, PackError> {
    use std::os::unix::fs::MetadataExt;
    let open = io_context(file.metadata(), "read", path)?;
    match fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (open.dev(), open.ino())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(fsio::Error::Io { action: "look at", path: path.to_path_buf(), source }.into()),
    }
}

/// An open file cannot be renamed there.
#[cfg(not(unix))]
fn is_at(_file: &File, _path: &Path) -> Result<bool, PackError> {
    Ok(true)
}

/// A pair as it is written, except for its place.
struct DecodedPair {
    entry: Entry,
    lr: RgbImage,
    hr: RgbImage,
}

impl DecodedPair {
    /// Decodes a pair, the HR image into `room`.
    fn of(pair: &Pair, scale: usize, room: Vec<u8>) -> Result<Self, PackError> {
        let (lr_entry, lr) = decode(&pair.lr, Vec::new())?;
        let (hr_entry, hr) = decode(&pair.hr, room)?;
        let (lr, hr) = loaded::fit(pair, lr, hr, scale)?;
        let entry =
            Entry { name: pair.name.clone(), lr: described(lr_entry, &lr), hr: described(hr_entry, &hr) };
        Ok(Self { entry, lr, hr })
    }
}

/// An image, and what is known of its file.
fn decode(path: &Path, room: Vec<u8>) -> Result<(ImageEntry, RgbImage), PackError> {
    // Before it is read: a file that changes in between has another time afterwards, and is not taken for current.
    let stamp = stamp(path)?;
    let bytes = fsio::read_limited(path, MAX_FILE_BYTES)?;
    let decoded = imaging::decode_bytes_in(room, &bytes, &path.display().to_string());
    let image = decoded.map_err(dataset::Error::from)?.image;
    let file = format::sha256(&bytes);
    Ok((ImageEntry { width: 0, height: 0, offset: 0, pixels: [0; 32], stamp, file }, image))
}

/// The entry of an image of which only the place is missing.
fn described(entry: ImageEntry, image: &RgbImage) -> ImageEntry {
    // Images have sides far below the limit; one that did not would be refused when the record is read.
    let side = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    let (width, height) = (side(image.width()), side(image.height()));
    ImageEntry { width, height, pixels: RgbView::from(image).pixels_digest(), ..entry }
}

/// The file being written.
struct Target {
    file: File,
    path: PathBuf,
    entries: Vec<Entry>,
    /// Where the next record begins.
    end: u64,
}

impl Target {
    /// Goes on after the records that are kept, or begins.
    fn begin(file: File, path: PathBuf, entries: Vec<Entry>, scale: u32) -> Result<Self, PackError> {
        let end = entries.iter().fold(PAGE_BYTES, |record, entry| entry.layout(record).2);
        let mut target = Self { file, path, entries, end };
        let length = if target.entries.is_empty() { 0 } else { end };
        io_context(target.file.set_len(length), "shorten", &target.path)?;
        io_context(target.file.seek(SeekFrom::Start(length)), "write", &target.path)?;
        if target.entries.is_empty() {
            target.write(&format::encode_header(scale))?;
        }
        Ok(target)
    }

    /// Writes a pair; the memory of its HR image.
    fn append(&mut self, pair: DecodedPair) -> Result<Vec<u8>, PackError> {
        let DecodedPair { mut entry, lr, hr } = pair;
        (entry.lr.offset, entry.hr.offset, _) = entry.layout(self.end);
        self.write(&entry.encode_record())?;
        for image in [&lr, &hr] {
            self.write(image.pixels())?;
            let bytes = image.pixels().len();
            self.write(&vec![0; bytes.next_multiple_of(PAGE_BYTES as usize) - bytes])?;
        }
        let begin = self.end;
        self.end = entry.layout(begin).2;
        // While the next images are decoded. Otherwise gigabytes would wait for the sync at the end, with all cores idle.
        fsio::begin_writing_back(&self.file, begin, self.end - begin);
        self.entries.push(entry);
        Ok(hr.into_pixels())
    }

    /// Adds the index, and gives the file its name. The size of the file.
    fn finish(mut self, out: &Path) -> Result<u64, PackError> {
        fault::point("pack-before-index");
        let end = format::encode_end(&self.entries, self.end);
        self.write(&end)?;
        io_context(self.file.sync_all(), "sync", &self.path)?;
        fault::point("pack-before-rename");
        io_context(fs::rename(&self.path, out), "rename into place", out)?;
        Ok(self.end + end.len() as u64)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        Ok(io_context(self.file.write_all(bytes), "write", &self.path)?)
    }
}
