//! Zip: everything is checked before anything is written, then members are unpacked in parallel.

use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::sync::Arc;

use ::zip::ZipArchive;
use ::zip::read::{ArchiveOffset, Config, ZipArchiveMetadata, ZipFile, ZipFileEntry, ZipReadOptions};
use ::zip::result::ZipError;
use rayon::prelude::*;

use super::error::{Fault, UnpackError};
use super::input::{Cursor, ReadAt};
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

/// A member that is wanted, as the directory tells of it.
pub(in crate::fetch) struct Selected {
    index: usize,
    into: String,
    /// Where its local header begins, and the least that it and the data need.
    start: u64,
    least_bytes: u64,
    bytes: u64,
}

impl Selected {
    /// The size of the file it becomes.
    pub(in crate::fetch) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// A member to be unpacked: its local header agrees with the directory.
pub(in crate::fetch) struct Wanted {
    index: usize,
    member: String,
    into: String,
    bytes: u64,
    /// Where its local header begins and its data end.
    extent: (u64, u64),
}

impl Wanted {
    /// Where it lies, its local header included.
    pub(in crate::fetch) fn extent(&self) -> Range<u64> {
        self.extent.0..self.extent.1
    }
}

/// The directory of an archive whose structure is sound. What stands before the directory has not been looked at.
pub(in crate::fetch) struct Outline {
    metadata: Arc<ZipArchiveMetadata>,
    directory: Directory,
    selected: Vec<Selected>,
}

impl Outline {
    /// Reads the directory and decides about each member.
    pub(in crate::fetch) fn new(
        input: &dyn ReadAt,
        members: &Members,
        limits: &Limits,
    ) -> Result<Self, ReadError> {
        let mut selector = Selector::new(members, limits);
        let outline = Self::read(input, &mut selector, limits)?;
        selector.finish()?;
        Ok(outline)
    }

    fn read(input: &dyn ReadAt, selector: &mut Selector<'_>, limits: &Limits) -> Result<Self, ReadError> {
        let directory = layout::read(input, limits)?;
        // The offset is given, so that the library does not go looking for another one.
        let config = Config { archive_offset: ArchiveOffset::Known(0) };
        let reader = BufReader::with_capacity(READ_BYTES, Cursor::new(input));
        let archive = ZipArchive::with_config(config, reader).map_err(of_library)?;
        let metadata = archive.metadata();
        check_agreement(&archive, &directory)?;
        let mut selected = Vec::new();
        for (index, record) in directory.records.iter().enumerate() {
            let entry = metadata.entry(index).map_err(of_library)?;
            let Some(into) = selector.next(&record.name, kind_of(record), entry.size())? else {
                continue;
            };
            check_ratio(&names::shown(&record.name), &entry, limits)?;
            let least_bytes = layout::local_bytes(&record.name).saturating_add(entry.compressed_size());
            let (start, bytes) = (entry.header_start(), entry.size());
            selected.push(Selected { index, into, start, least_bytes, bytes });
        }
        Ok(Self { metadata, directory, selected })
    }

    /// The wanted member that becomes the file `into`.
    pub(in crate::fetch) fn find(&self, into: &str) -> Option<&Selected> {
        self.selected.iter().find(|selected| selected.into == into)
    }

    /// Where a member lies, if what its local header has beyond the directory's knowledge is not longer than `slack_bytes`.
    pub(in crate::fetch) fn span(&self, selected: &Selected, slack_bytes: u64) -> Range<u64> {
        let end = selected.start.saturating_add(selected.least_bytes).saturating_add(slack_bytes);
        // A directory may claim that a member begins behind its end; looking there is what finds that out.
        selected.start..end.min(self.directory.start).max(selected.start)
    }

    /// Compares what the directory and the local header say about a member.
    pub(in crate::fetch) fn check(
        &self,
        input: &dyn ReadAt,
        selected: &Selected,
    ) -> Result<Wanted, ReadError> {
        let Selected { index, into, .. } = selected;
        let entry = self.metadata.entry(*index).map_err(of_library)?;
        let gone = || Fault::Damaged { detail: format!("there is no entry {index} in its directory") };
        let record = self.directory.records.get(*index).ok_or_else(gone)?;
        let member = names::shown(&record.name);
        let extent = check_headers(input, &member, record, &entry, self.directory.start)?;
        Ok(Wanted { index: *index, member, into: into.clone(), bytes: entry.size(), extent })
    }

    /// The data of one member, decompressed and with the right CRC.
    pub(in crate::fetch) fn contents(
        &self,
        input: &dyn ReadAt,
        wanted: &Wanted,
    ) -> Result<Vec<u8>, ReadError> {
        let mut reader = BufReader::with_capacity(READ_BYTES, Cursor::new(input));
        let mut data = open(&self.metadata, &mut reader, wanted).map_err(of_library)?;
        let (mut contents, mut buffer) = (Vec::new(), vec![0; COPY_BYTES]);
        loop {
            let count = read(&mut data, &mut buffer, wanted)?;
            let found = contents.len() as u64 + count as u64;
            let ends_wrong = count == 0 && found < wanted.bytes;
            if ends_wrong || found > wanted.bytes {
                let problem =
                    if ends_wrong { format!("end after {found}") } else { "go on behind that".to_owned() };
                let member = wanted.member.clone();
                return Err(Fault::Size { member, expected_bytes: wanted.bytes, problem }.into());
            }
            if count == 0 {
                return Ok(contents);
            }
            contents.extend_from_slice(buffer.get(..count).unwrap_or_default());
        }
    }
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
    pub(super) fn new(input: &dyn ReadAt, members: &Members, limits: &Limits) -> Result<Self, ReadError> {
        let mut selector = Selector::new(members, limits);
        let outline = Outline::read(input, &mut selector, limits)?;
        let checked = outline.selected.iter().map(|selected| outline.check(input, selected));
        let mut wanted = checked.collect::<Result<Vec<_>, _>>()?;
        // In the order of the file, so that it is read from front to back.
        wanted.sort_by_key(|member| member.extent);
        if let Some(pair) = wanted.windows(2).find(|pair| matches!(pair, [a, b] if a.extent.1 > b.extent.0)) {
            let name = |at: usize| pair.get(at).map(|wanted| wanted.member.clone()).unwrap_or_default();
            return Err(Fault::Overlap { member: name(1), other: name(0) }.into());
        }
        let ignored = selector.finish()?;
        Ok(Self { metadata: outline.metadata, wanted, ignored, bytes: selector.wanted_bytes() })
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
    pub(super) fn unpack(&self, input: &dyn ReadAt, sink: &Sink<'_>) -> Result<(), UnpackError> {
        let tools = || (BufReader::with_capacity(READ_BYTES, Cursor::new(input)), vec![0; COPY_BYTES]);
        // A bridge hands members out in order; cutting the list into halves would read the file in several places at once.
        self.wanted.iter().par_bridge().try_for_each_init(tools, |(reader, buffer), wanted| {
            let data = open(&self.metadata, reader, wanted);
            let mut data = data.map_err(|error| sink.read_error(of_library(error)))?;
            sink.write(&wanted.into, wanted.bytes, buffer, |buffer| read(&mut data, buffer, wanted))
        })
    }
}

/// The data of a member, decompressed while they are read.
fn open<'r, 'a>(
    metadata: &'r ZipArchiveMetadata,
    reader: &'r mut BufReader<Cursor<'a>>,
    wanted: &Wanted,
) -> Result<ZipFile<'r, BufReader<Cursor<'a>>>, ZipError> {
    metadata.entry(wanted.index)?.with_reader(reader, ZipReadOptions::new())
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
    input: &dyn ReadAt,
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
