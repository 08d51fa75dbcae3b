//! Writes a submission archive whose bytes follow from the images and the readme alone.
//!
//! Members are sorted and stored without compression (PNG data do not shrink further), with the first date a zip can
//! hold and plain permissions: no clock, no umask and no version of a compressor gets into the file.

use std::io::{self, Cursor, Seek, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::contents::{MEMBER_LIMIT_BYTES, TOTAL_LIMIT_BYTES};
use super::{Error, README_NAME, Readme};
use crate::fsio;

/// Read and write for the owner, read for the others.
const PERMISSIONS: u32 = 0o644;

/// Writes the archive at `path`, atomically. `stems` are the names of the images without `.png`, in any order; `png` is asked for
/// each of them, one at a time and in sorted order, for the bytes of its PNG file.
///
/// # Errors
/// [`Error::Member`] when a name, an image or the readme would not be accepted by [`validate`](super::validate()) for a reason that can be seen
/// here; [`Error::File`] when writing fails or `png` does. Nothing is left at `path` then.
pub fn write(
    path: &Path,
    stems: &[String],
    readme: &Readme,
    png: impl FnMut(&str) -> io::Result<Vec<u8>>,
) -> Result<(), Error> {
    let members = members(stems, readme)?;
    fsio::write_with(path, |file| fill(file, &members, readme, png).map(drop))?;
    Ok(())
}

/// The bytes of the archive of images that are in memory, each a stem and the bytes of its PNG file.
///
/// # Errors
/// As [`write()`].
pub fn build(images: &[(String, Vec<u8>)], readme: &Readme) -> Result<Vec<u8>, Error> {
    let stems: Vec<String> = images.iter().map(|(stem, _)| stem.clone()).collect();
    let members = members(&stems, readme)?;
    let find = |wanted: &str| {
        let found = images.iter().find(|(stem, _)| stem == wanted).map(|(_, png)| png.clone());
        found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    };
    let member = |error: io::Error| Error::Member { name: "archive".to_string(), reason: error.to_string() };
    Ok(fill(Cursor::new(Vec::new()), &members, readme, find).map_err(member)?.into_inner())
}

/// The text of `SHA256SUMS` for the archive at `path`, in the form `sha256sum --check` reads.
///
/// # Errors
/// [`Error::File`] when the archive cannot be read.
pub fn sha256sums(path: &Path) -> Result<String, Error> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(format!("{}  {name}\n", fsio::sha256_file(path)?))
}

/// The file names in order: the name of the member, and the stem of the image or `None` for the readme.
fn members(stems: &[String], readme: &Readme) -> Result<Vec<(String, Option<String>)>, Error> {
    let bad =
        |name: &str, reason: &str| Err(Error::Member { name: name.to_string(), reason: reason.to_string() });
    if stems.is_empty() {
        return bad("archive", "there are no images; upscale the LR images first");
    }
    if !(readme.runtime_per_image_s.is_finite() && readme.runtime_per_image_s > 0.0) {
        let reason =
            format!("the runtime of {} s per image is not a positive number", readme.runtime_per_image_s);
        return bad(README_NAME, &reason);
    }
    if readme.description.trim().is_empty() {
        return bad(
            README_NAME,
            "the description is empty; say method, language, hardware and training data",
        );
    }
    let mut members = vec![(README_NAME.to_string(), None)];
    for stem in stems {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if stem.is_empty() || stem.starts_with('.') || !stem.chars().all(plain) || stem.len() > 200 {
            return bad(stem, "an image must be named by ASCII letters, digits, `_`, `-` and `.`");
        }
        members.push((format!("{stem}.png"), Some(stem.clone())));
    }
    members.sort();
    for pair in members.windows(2) {
        if let [(first, _), (second, _)] = pair
            && first.eq_ignore_ascii_case(second)
        {
            return bad(second, "two images have this name");
        }
    }
    Ok(members)
}

fn fill<W: Write + Seek>(
    target: W,
    members: &[(String, Option<String>)],
    readme: &Readme,
    mut png: impl FnMut(&str) -> io::Result<Vec<u8>>,
) -> io::Result<W> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::default())
        .unix_permissions(PERMISSIONS);
    let mut zip = ZipWriter::new(target);
    let mut total_bytes = 0u64;
    for (name, stem) in members {
        let bytes = match stem {
            Some(stem) => png(stem)?,
            None => readme.render().into_bytes(),
        };
        total_bytes += bytes.len() as u64;
        if bytes.len() as u64 > MEMBER_LIMIT_BYTES || total_bytes > TOTAL_LIMIT_BYTES {
            let what = format!(
                "`{name}` of {} bytes makes the archive too large (limit {TOTAL_LIMIT_BYTES})",
                bytes.len()
            );
            return Err(io::Error::other(what));
        }
        zip.start_file(name.as_str(), options).map_err(io::Error::other)?;
        zip.write_all(&bytes)?;
    }
    zip.finish().map_err(io::Error::other)
}
