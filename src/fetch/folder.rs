//! Whether a folder of files is the published one: file by file, and as a whole.
//!
//! The whole-folder recipe is that of other projects that publish such values (deepinv): the MD5 of the lower-case hexadecimal MD5s of all files, one
//! after the other in the order of their names. Only files that belong to the dataset are read; whatever else lies there is listed. Nothing is ever
//! changed here. Hashing runs on the current rayon pool, a file a task.

use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::{Expected, Fingerprint, Found, Mismatch};
use crate::fsio::{self, io_context};
use crate::imaging;
use crate::manifest::datasets::{Archive, FileFacts, Members};

/// What an image turned out to be when it was decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pixels {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// SHA-256 of `WxH:RGB:` and the RGB bytes, in lower-case hexadecimal.
    pub sha256: String,
}

/// Decodes an image file; the error is what people read.
pub type Decoder<'a> = dyn Fn(&Path) -> Result<Pixels, String> + Sync + 'a;

/// The decoder of the whole program.
///
/// # Errors
/// What [`imaging::decode_file`] says.
pub fn decode(path: &Path) -> Result<Pixels, String> {
    let image = imaging::decode_file(path).map_err(|error| error.to_string())?.image;
    Ok(Pixels { width: image.width(), height: image.height(), sha256: image.pixels_sha256() })
}

/// Which files are decoded beside being hashed.
#[derive(Clone, Copy)]
pub enum Decode<'a> {
    /// None.
    Nothing,
    /// Those with a known size or hash of their pixels.
    Known(&'a Decoder<'a>),
    /// All of them, so that every file is known to be a sound image.
    All(&'a Decoder<'a>),
}

/// What a folder is compared with.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// The files that belong there.
    pub members: &'a Members,
    /// What is known of some of them, as far as it has to hold, in order of names.
    pub facts: &'a [FileFacts],
    /// Which files are decoded.
    pub decode: Decode<'a>,
}

/// What a folder is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Every file that belongs there and could be read, in order of names.
    pub files: Vec<(String, Found)>,
    /// Names of files that belong there and are not there, in order. Where names are not published, see [`Report::count`].
    pub missing: Vec<String>,
    /// Entries that do not belong there, in order: other files, folders, and names that are not Unicode (with replacements).
    pub surplus: Vec<String>,
    /// Files that are not what is known of them, in order of names: the first difference of each.
    pub different: Vec<Different>,
    /// Files that belong there as found and as they should be: only the numbers say that a file of unknown name is missing or too many.
    pub count: Count,
    /// How many files had their pixels decoded.
    pub decoded: usize,
}

/// Files found and expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Files that belong there by their names.
    pub found: usize,
    /// Files that should.
    pub expected: usize,
}

/// A file that is not what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Different {
    /// Its name.
    pub name: String,
    /// How it differs.
    pub how: Difference,
}

/// How a file differs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    /// In its size, a hash, or the size or hash of its pixels.
    #[error(transparent)]
    Value(#[from] Mismatch),
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// It is no sound image.
    #[error("it cannot be decoded: {0}")]
    Undecodable(String),
}

/// Why a folder could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder cannot be listed.
    #[error(transparent)]
    File(#[from] fsio::Error),
    /// The caller stopped it.
    #[error("stopped while checking `{folder}`: nothing is changed, start again any time")]
    Stopped {
        /// The folder.
        folder: PathBuf,
    },
}

impl Report {
    /// Whether every file is there and is what is known of it. Other entries do no harm to a folder; they are listed only.
    pub fn is_sound(&self) -> bool {
        self.missing.is_empty() && self.different.is_empty() && self.count.found == self.count.expected
    }

    /// The folder as a whole, if all of it is there and readable: total size, MD5 by the published recipe, and SHA-256 by the same recipe with
    /// SHA-256, which is ours.
    pub fn whole(&self) -> Option<Found> {
        let complete = self.missing.is_empty()
            && self.count.found == self.count.expected
            && self.files.len() == self.count.found;
        complete.then(|| whole(self.files.iter().map(|(_, found)| found)))
    }

    /// Names of the files that have to be fetched again, in order.
    pub fn to_repair(&self) -> Vec<&str> {
        let different = self.different.iter().map(|different| &different.name);
        let names: BTreeSet<&String> = self.missing.iter().chain(different).collect();
        names.into_iter().map(String::as_str).collect()
    }
}

/// Looks at every file of a folder. `watch` is told after each piece how many bytes were read; it may be called from several threads at once, and stops
/// everything by breaking.
///
/// # Errors
/// [`Error::File`] when the folder cannot be listed, and [`Error::Stopped`]. A file that cannot be read is a [`Difference`].
pub fn inspect(
    folder: &Path,
    wanted: Wanted<'_>,
    watch: &(dyn Fn(u64) -> ControlFlow<()> + Sync),
) -> Result<Report, Error> {
    let (present, surplus) = list(folder, wanted.members)?;
    let all = wanted.members.names().unwrap_or_default();
    let missing: Vec<String> = all.into_iter().filter(|name| !present.contains(name)).collect();
    let count = Count { found: present.len(), expected: wanted.members.count() };
    let names: Vec<String> = present.into_iter().collect();
    let looked_at: Vec<Option<Looked>> =
        names.par_iter().map(|name| look(&folder.join(name), name, wanted, watch)).collect();
    let (mut files, mut different, mut decoded) = (Vec::with_capacity(names.len()), Vec::new(), 0);
    for (name, looked) in names.into_iter().zip(looked_at) {
        let looked = looked.ok_or_else(|| Error::Stopped { folder: folder.to_path_buf() })?;
        decoded += usize::from(looked.decoded);
        different.extend(looked.difference.map(|how| Different { name: name.clone(), how }));
        files.extend(looked.found.map(|found| (name, found)));
    }
    Ok(Report { files, missing, surplus, different, count, decoded })
}

/// One file.
struct Looked {
    found: Option<Found>,
    difference: Option<Difference>,
    decoded: bool,
}

/// Nothing when the caller wants to stop.
fn look(
    path: &Path,
    name: &str,
    wanted: Wanted<'_>,
    watch: &(dyn Fn(u64) -> ControlFlow<()> + Sync),
) -> Option<Looked> {
    let known = wanted.facts.binary_search_by(|facts| facts.name.as_str().cmp(name));
    let facts = known.ok().and_then(|at| wanted.facts.get(at));
    let found = match Fingerprint::of_file(path, watch) {
        Ok(found) => found?,
        Err(error) => {
            let difference = Some(Difference::Unreadable(error.to_string()));
            return Some(Looked { found: None, difference, decoded: false });
        }
    };
    // A file whose bytes are wrong is not decoded: its decoder could only say the same in more words.
    let bytes = facts.map_or(Ok(()), |facts| Expected::from(facts).check(&found));
    let decoder = match wanted.decode {
        _ if bytes.is_err() => None,
        Decode::Nothing => None,
        Decode::Known(decoder) => facts.is_some_and(FileFacts::knows_pixels).then_some(decoder),
        Decode::All(decoder) => Some(decoder),
    };
    let pixels = decoder.map_or(Ok(()), |decoder| match (decoder(path), facts) {
        (Err(reason), _) => Err(Difference::Undecodable(reason)),
        (Ok(pixels), Some(facts)) => compare(facts, &pixels).map_err(Difference::Value),
        (Ok(_), None) => Ok(()),
    });
    let difference = bytes.map_err(Difference::Value).and(pixels).err();
    Some(Looked { found: Some(found), difference, decoded: decoder.is_some() })
}

/// Whether the files of a dataset are in a folder, by their names and number alone.
pub(super) fn seems_to_hold(folder: &Path, members: &Members) -> bool {
    let present = list(folder, members).map(|(present, _)| present);
    present.is_ok_and(|present| {
        let all = members.names().unwrap_or_default();
        present.len() == members.count() && all.iter().all(|name| present.contains(name))
    })
}

/// The files of a folder that belong there, and everything else in it.
fn list(folder: &Path, members: &Members) -> Result<(BTreeSet<String>, Vec<String>), Error> {
    let (mut present, mut surplus) = (BTreeSet::new(), Vec::new());
    for entry in io_context(fs::read_dir(folder), "list", folder)? {
        let entry = io_context(entry, "list", folder)?;
        let name = entry.file_name();
        match name.to_str() {
            // A link to a file is as good as the file, for folders are adopted by linking. A link to nothing belongs there too and cannot be
            // read. Pipes and devices, which could be read forever, do not belong there.
            Some(name)
                if members.contains(name) && fs::metadata(entry.path()).is_ok_and(|of| !of.is_file()) =>
            {
                surplus.push(name.to_owned());
            }
            Some(name) if members.contains(name) => {
                present.insert(name.to_owned());
            }
            _ => surplus.push(name.to_string_lossy().into_owned()),
        }
    }
    surplus.sort();
    Ok((present, surplus))
}

fn compare(facts: &FileFacts, pixels: &Pixels) -> Result<(), Mismatch> {
    if let Some((width, height)) = facts.width_height
        && (width, height) != (pixels.width, pixels.height)
    {
        return Err(Mismatch {
            what: "size in pixels",
            expected: format!("{width}x{height}"),
            found: format!("{}x{}", pixels.width, pixels.height),
        });
    }
    match &facts.pixels_sha256 {
        Some(expected) if *expected != pixels.sha256 => Err(Mismatch {
            what: "SHA-256 of pixels",
            expected: expected.clone(),
            found: pixels.sha256.clone(),
        }),
        _ => Ok(()),
    }
}

/// The recipe of the module's documentation over files in the order of their names.
pub(super) fn whole<'a>(files: impl Iterator<Item = &'a Found>) -> Found {
    let (mut of_md5s, mut of_sha256s, mut bytes) = (Fingerprint::default(), Fingerprint::default(), 0u64);
    for file in files {
        of_md5s.update(file.md5.as_bytes());
        of_sha256s.update(file.sha256.as_bytes());
        bytes = bytes.saturating_add(file.bytes);
    }
    Found { bytes, sha256: of_sha256s.finish().sha256, md5: of_md5s.finish().md5 }
}

impl From<&FileFacts> for Expected {
    fn from(facts: &FileFacts) -> Self {
        Self { bytes: facts.bytes, sha256: facts.sha256.clone(), md5: None }
    }
}

impl From<&Archive> for Expected {
    fn from(archive: &Archive) -> Self {
        Self { bytes: archive.bytes, sha256: archive.sha256.clone(), md5: archive.md5.clone() }
    }
}

#[cfg(test)]
mod tests;
