//! Zip: everything is checked before anything is written, then members are unpacked in parallel.

use std::io::{self, BufReader, Read};
use std::sync::Arc;

use ::zip::ZipArchive;
use ::zip::read::{ArchiveOffset, Config, ZipArchiveMetadata, ZipFileEntry, ZipReadOptions};
use ::zip::result::ZipError;
use rayon::prelude::*;

use super::error::{Fault, UnpackError};
use super::input::Input;
use super::layout::{self, Directory, FLAG_DESCRIPTOR, FLAGS_ENCRYPTED, Local, Record};
use super::members::{Ignored, Kind, Members, Selector};
use super::names;
use super::sink::{ReadError, Sink};
use super::{Limits, RATIO_FREE_BYTES};

/// What a thread reads and writes at a time.
const READ_BYTES: usize = 128 << 10;
const COPY_BYTES: usize = 256 << 10;

const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// The type of a file in its mode by Unix.
const TYPE_MASK: u32 = 0o170_000;
const TYPE_FILE: u32 = 0o100_000;
const TYPE_FOLDER: u32 = 0o040_000;
const TYPE_LINK: u32 = 0o120_000;

/// A member to be unpacked.
struct Wanted {
    index: usize,
    member: String,
    into: String,
    bytes: u64,
    /// Where its local header begins and its data end.
    extent: (u64, u64),
}

/// What will be unpacked from an archive whose structure is sound.
pub(super) struct Plan {
    metadata: Arc<ZipArchiveMetadata>,
    wanted: Vec<Wanted>,
    ignored: Ignored,
    bytes: u64,
}

impl Plan {
    /// Checks the structure of an archive and decides about each member.
    pub(super) fn new(input: &Input, members: &Members, limits: &Limits) -> Result<Self, ReadError> {
        let directory = layout::read(input, limits)?;
        // The offset is given, so that the library does not go looking for another one.
        let config = Config { archive_offset: ArchiveOffset::Known(0) };
        let reader = BufReader::with_capacity(READ_BYTES, input.clone());
        let archive = ZipArchive::with_config(config, reader).map_err(of_library)?;
        let metadata = archive.metadata();
        check_agreement(&archive, &directory)?;
        let mut selector = Selector::new(members, limits);
        let mut wanted = Vec::new();
        for (index, record) in directory.records.iter().enumerate() {
            let entry = metadata.entry(index).map_err(of_library)?;
            let Some(into) = selector.next(&record.name, kind_of(record), entry.size())? else {
                continue;
            };
            let member = names::shown(&record.name);
            check_ratio(&member, &entry, limits)?;
            let extent = check_headers(input, &member, record, &entry, directory.start)?;
            wanted.push(Wanted { index, member, into, bytes: entry.size(), extent });
        }
        // In the order of the file, so that it is read from front to back.
        wanted.sort_by_key(|member| member.extent);
        if let Some(pair) = wanted.windows(2).find(|pair| matches!(pair, [a, b] if a.extent.1 > b.extent.0)) {
            let name = |at: usize| pair.get(at).map(|wanted| wanted.member.clone()).unwrap_or_default();
            return Err(Fault::Overlap { member: name(1), other: name(0) }.into());
        }
        let ignored = selector.finish()?;
        Ok(Self { metadata, wanted, ignored, bytes: selector.wanted_bytes() })
    }

    /// The bytes that will be written.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What is left out.
    pub(super) fn ignored(&self) -> Ignored {
        self.ignored
    }

    /// Unpacks everything; the first failure stops all threads.
    pub(super) fn unpack(&self, input: &Input, sink: &Sink<'_>) -> Result<(), UnpackError> {
        let tools = || (BufReader::with_capacity(READ_BYTES, input.clone()), vec![0; COPY_BYTES]);
        // A bridge hands members out in order; cutting the list into halves would read the file in several places at once.
        self.wanted.iter().par_bridge().try_for_each_init(tools, |(reader, buffer), wanted| {
            let entry = self
                .metadata
                .entry(wanted.index)
                .and_then(|entry| entry.with_reader(reader, ZipReadOptions::new()));
            let mut data = entry.map_err(|error| sink.read_error(of_library(error)))?;
            sink.write(&wanted.into, wanted.bytes, buffer, |buffer| read(&mut data, buffer, wanted))
        })
    }
}

fn read(data: &mut impl Read, buffer: &mut [u8], wanted: &Wanted) -> Result<usize, ReadError> {
    loop {
        return match data.read(buffer) {
            Ok(count) => Ok(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.raw_os_error().is_some() => Err(ReadError::Io(error)),
            Err(error) => {
                let member = wanted.member.clone();
                // The library has no type for these two; tests hold it to the words.
                let text = error.to_string();
                Err(ReadError::Fault(if text.contains("Invalid checksum") {
                    Fault::Crc { member }
                } else if text.contains("larger than its declared") {
                    Fault::Size {
                        member,
                        expected_bytes: wanted.bytes,
                        problem: "go on behind that".to_owned(),
                    }
                } else {
                    Fault::Damaged { detail: format!("the data of `{member}`: {text}") }
                }))
            }
        };
    }
}

/// An error of the library before any data are read.
fn of_library(error: ZipError) -> ReadError {
    match error {
        ZipError::Io(error) if error.raw_os_error().is_some() => ReadError::Io(error),
        other => ReadError::Fault(Fault::Damaged { detail: other.to_string() }),
    }
}

/// Makes sure that the library sees the archive as we do.
fn check_agreement<R>(archive: &ZipArchive<R>, directory: &Directory) -> Result<(), ReadError>
where
    R: io::Read + io::Seek,
{
    let mut seen = std::collections::HashMap::new();
    for record in &directory.records {
        if let Some(other) = seen.insert(&record.name, record) {
            let (member, other) = (names::shown(&record.name), names::shown(&other.name));
            return Err(Fault::Collision { member, other }.into());
        }
    }
    let misplaced = |detail: String| Err(Fault::Misplaced { detail }.into());
    if archive.len() != directory.records.len() || archive.central_directory_start() != directory.start {
        return misplaced("it has more than one directory".to_owned());
    }
    let metadata = archive.metadata();
    let starts = (0..archive.len()).filter_map(|index| Some(metadata.entry(index).ok()?.header_start()));
    match starts.min() {
        Some(first) if first > 0 => misplaced(format!("{first} bytes stand before its first member")),
        _ => Ok(()),
    }
}

fn kind_of(record: &Record) -> Kind {
    match record.mode & TYPE_MASK {
        TYPE_LINK => Kind::Link,
        TYPE_FOLDER => Kind::Folder,
        // Zero is an archive that was made where files have no such types.
        0 | TYPE_FILE if record.name.ends_with(b"/") => Kind::Folder,
        0 | TYPE_FILE => Kind::File,
        _ => Kind::Special,
    }
}

fn check_ratio(member: &str, entry: &ZipFileEntry<'_>, limits: &Limits) -> Result<(), Fault> {
    let (packed, bytes) = (entry.compressed_size(), entry.size());
    if bytes > RATIO_FREE_BYTES && bytes / packed.max(1) > limits.ratio {
        let what = format!("the compression ratio of its member `{member}`");
        return Err(Fault::Limit { what, limit: limits.ratio, found: bytes / packed.max(1) });
    }
    Ok(())
}

/// Compares what the directory and the local header say about a wanted member; returns where the member begins and ends.
fn check_headers(
    input: &Input,
    member: &str,
    record: &Record,
    entry: &ZipFileEntry<'_>,
    directory_start: u64,
) -> Result<(u64, u64), ReadError> {
    let start = entry.header_start();
    let local: Local = layout::local(input, start, member)?;
    let member = || member.to_owned();
    if (record.flags | local.flags) & FLAGS_ENCRYPTED != 0 {
        return Err(Fault::Encrypted { member: member() }.into());
    }
    if !matches!(record.method, STORED | DEFLATED) {
        return Err(Fault::Method { member: member(), method: method_name(record.method) }.into());
    }
    let disagree = |what, directory: String, local: String| {
        Err(Fault::Disagree { member: member(), what, directory, local }.into())
    };
    if local.name != record.name || entry.name_raw() != record.name {
        return disagree("name", names::shown(&record.name), names::shown(&local.name));
    }
    if local.method != record.method {
        return disagree("method", method_name(record.method), method_name(local.method));
    }
    // With a descriptor behind the data the local header holds zeros, and the directory decides alone.
    if (record.flags | local.flags) & FLAG_DESCRIPTOR == 0 {
        if local.crc32 != entry.crc32() {
            return disagree("CRC-32", format!("{:08x}", entry.crc32()), format!("{:08x}", local.crc32));
        }
        for (what, directory, local) in [
            ("compressed size", entry.compressed_size(), local.compressed_bytes),
            ("size", entry.size(), local.bytes),
        ] {
            // The largest number refers to an extra field with 64 bits.
            if local != u32::MAX && directory != u64::from(local) {
                return disagree(what, directory.to_string(), local.to_string());
            }
        }
    }
    if record.method == STORED && entry.compressed_size() != entry.size() {
        let problem = format!("{} although they are not compressed", entry.compressed_size());
        return Err(Fault::Size { member: member(), expected_bytes: entry.size(), problem }.into());
    }
    match local.data.checked_add(entry.compressed_size()) {
        Some(end) if end <= directory_start => Ok((start, end)),
        _ => {
            Err(Fault::Damaged { detail: format!("the data of `{}` reach into its directory", member()) }
                .into())
        }
    }
}

/// What people call a method, by APPNOTE.TXT section 4.4.5.
fn method_name(method: u16) -> String {
    let name = match method {
        STORED => "no compression",
        DEFLATED => "Deflate",
        9 => "Deflate64",
        12 => "bzip2",
        14 => "LZMA",
        93 => "Zstandard",
        95 => "XZ",
        98 => "PPMd",
        99 => "AES encryption",
        _ => return format!("method {method}"),
    };
    format!("{name} (method {method})")
}
