//! Unpacks zip, tar and tar.gz archives without trusting them.
//!
//! An archive is unpacked into a folder beside the target, which is moved into place when everything is on the disk; a completion marker comes last.
//! So the target is absent, incomplete and known to be so, or exactly what the archive holds. Nothing is ever written elsewhere.
//!
//! Names that lead elsewhere, links and devices are errors wherever they are in the archive, and so are contradictions that programs read in
//! different ways. Zip data are checked against their CRC-32, tar.gz as a whole; tar has none, so only the hash of the whole archive vouches for it.

mod error;
mod gzip;
mod input;
mod layout;
mod members;
mod names;
mod sink;
mod staging;
mod tar;
#[cfg(test)]
pub(super) mod tests;
mod zip;

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;

pub use error::{Danger, Fault, UnpackError};
pub(super) use input::ReadAt;
pub use members::{Ignored, Members, Rule};
pub use sink::Progress;
pub(super) use sink::ReadError;
pub(super) use zip::Outline;

use self::input::Input;
use self::sink::Sink;
use self::staging::Staging;
use super::Found;
use super::store::Marker;
use crate::fsio::{self, Artefact};
use crate::space;

/// The form of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Zip, stored or deflated.
    Zip,
    /// Tar, not compressed.
    Tar,
    /// Tar, compressed as a whole by gzip.
    TarGz,
}

impl Format {
    /// The format that the end of a file name stands for.
    pub fn of_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        [(".zip", Self::Zip), (".tar", Self::Tar), (".tar.gz", Self::TarGz), (".tgz", Self::TarGz)]
            .into_iter()
            .find_map(|(ending, format)| name.ends_with(ending).then_some(format))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zip => "zip",
            Self::Tar => "tar",
            Self::TarGz => "tar.gz",
        })
    }
}

/// What is accepted at most. More is taken for an attack or an accident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The sizes of all wanted members together; for tar.gz, of everything in it, because all of it has to be decompressed.
    pub total_bytes: u64,
    /// The size of one wanted member.
    pub member_bytes: u64,
    /// The number of members, wanted or not.
    pub members: u64,
    /// How many times larger a zip member, or a tar.gz as a whole, may become, from 1 MiB on.
    pub ratio: u64,
    /// The length of a name.
    pub name_bytes: u64,
}

impl Default for Limits {
    /// Several times what the largest archive has, Flickr2K with its 2,650 images in seven versions.
    fn default() -> Self {
        Self {
            total_bytes: 64 << 30,
            member_bytes: 256 << 20,
            members: 100_000,
            // Photographs as PNG do not get smaller; Deflate could reach 1032.
            ratio: 100,
            name_bytes: 512,
        }
    }
}

/// Small files of one value may be compressed more than the limit of the ratio without doing harm.
const RATIO_FREE_BYTES: u64 = 1 << 20;

/// An archive and what to do with it.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The archive.
    pub archive: &'a Path,
    /// Its form.
    pub format: Format,
    /// What the archive was found to be when it was hashed; it goes into the completion marker.
    pub found: &'a Found,
    /// What is wanted from it.
    pub members: &'a Members,
    /// The folder that shall hold the wanted members and nothing else.
    pub target: &'a Path,
    /// What is accepted at most.
    pub limits: &'a Limits,
}

/// What was unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// Files written.
    pub files: u64,
    /// Their sizes together.
    pub bytes: u64,
    /// What was left out.
    pub ignored: Ignored,
}

/// Unpacks an archive. Zip members are unpacked on all threads of the current pool. When several processes unpack to the same target at once, the
/// first one is done and the others are told that it is complete already; [`super::lock::DataLock`] spares them the work.
///
/// # Errors
/// [`UnpackError::Archive`] says what is wrong with the archive; the other variants concern the disk and the target. In every case the target is as
/// it was before, except that an incomplete one may be gone.
pub fn unpack(job: &Job<'_>, progress: Progress<'_>) -> Result<Unpacked, UnpackError> {
    Staging::check_target(job.target)?;
    let file = fsio::io_context(File::open(job.archive), "open", job.archive)?;
    let input = fsio::io_context(Input::new(file), "read", job.archive)?;
    let of_archive = |fault| UnpackError::Archive { archive: job.archive.to_path_buf(), fault };
    if input.bytes() != job.found.bytes {
        let (expected_bytes, found_bytes) = (job.found.bytes, input.bytes());
        return Err(of_archive(Fault::Changed { expected_bytes, found_bytes }));
    }
    let place = || -> Result<(Staging, Sink<'_>), UnpackError> {
        let staging = Staging::new(job.target)?;
        let sink = Sink::new(staging.path(), job.archive, progress)?;
        Ok((staging, sink))
    };
    let (staging, sink, ignored) = match job.format {
        Format::Zip => {
            let plan = zip::Plan::new(&input, job.members, job.limits).map_err(|error| match error {
                ReadError::Fault(fault) => of_archive(fault),
                ReadError::Io(source) => {
                    fsio::Error::Io { action: "read", path: job.archive.to_path_buf(), source }.into()
                }
            })?;
            space::require(job.target, plan.bytes())?;
            let (staging, sink) = place()?;
            plan.unpack(&input, &sink)?;
            (staging, sink, plan.ignored())
        }
        Format::Tar | Format::TarGz => {
            // What is wanted may be less, but is only known at the end.
            let bytes = match job.format {
                Format::TarGz => {
                    fsio::io_context(gzip::about_bytes(&input, job.limits), "read", job.archive)?
                }
                _ => input.bytes(),
            };
            space::require(job.target, bytes.min(job.limits.total_bytes))?;
            let (staging, sink) = place()?;
            let ignored = match job.format {
                Format::TarGz => tar::unpack_gzip(&input, job.members, job.limits, &sink)?,
                _ => tar::unpack(&input, job.members, job.limits, &sink)?,
            };
            (staging, sink, ignored)
        }
    };
    let (files, bytes) = sink.finish()?;
    staging.commit(&Marker { schema: Marker::SCHEMA, archive: job.found.clone(), files, bytes })?;
    Ok(Unpacked { files, bytes, ignored })
}

/// What a file that is not the expected archive looks like, as the end of a sentence.
fn hint(input: &dyn ReadAt) -> io::Result<&'static str> {
    let count = usize::try_from(input.bytes()).unwrap_or(usize::MAX).min(512);
    let start = input.at(0, count)?.unwrap_or_default();
    let text = start.trim_ascii_start();
    Ok(if start.is_empty() {
        ": it is empty"
    } else if text.first() == Some(&b'<') {
        ": it looks like a web page, which the server sent instead"
    } else if start.starts_with(b"PK\x03\x04") {
        ": it looks like a zip archive"
    } else if start.starts_with(&[0x1f, 0x8b]) {
        ": it looks like gzip data"
    } else if start.get(257..262) == Some(b"ustar") {
        ": it looks like a tar archive"
    } else if start.starts_with(b"version https://git-lfs") {
        ": it looks like a pointer of Git LFS"
    } else {
        ""
    })
}
