//! The directory of a zip file, read without trusting it.
//!
//! The zip library merges members of the same name and looks for a directory wherever one could be. Which members there are and where the
//! directory lies is therefore read here first, and an archive is only accepted where both agree. Decompressing is left to the library.
//!
//! Reference: APPNOTE.TXT of PKWARE, sections 4.3 and 4.4.

use super::error::Fault;
use super::input::ReadAt;
use super::sink::ReadError;
use super::{Limits, hint};
use crate::fetch::unpack::Format;

/// The end record without its comment, and the longest comment.
const END_BYTES: usize = 22;
const COMMENT_LIMIT_BYTES: u64 = 65_535;
const LOCATOR_BYTES: u64 = 20;
const END64_BYTES: usize = 56;
const CENTRAL_BYTES: usize = 46;
const LOCAL_BYTES: usize = 30;
/// The largest directory that is read into memory: a hundred thousand members with long names.
const DIRECTORY_LIMIT_BYTES: u64 = 64 << 20;

const END_SIGNATURE: &[u8] = b"PK\x05\x06";
const LOCATOR_SIGNATURE: &[u8] = b"PK\x06\x07";
const END64_SIGNATURE: &[u8] = b"PK\x06\x06";
const CENTRAL_SIGNATURE: &[u8] = b"PK\x01\x02";
const LOCAL_SIGNATURE: &[u8] = b"PK\x03\x04";

/// The flag that sizes and CRC follow the data instead of standing in the local header.
pub(super) const FLAG_DESCRIPTOR: u16 = 1 << 3;
/// The flags of encryption: plain, strong, and of the directory.
pub(super) const FLAGS_ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;

/// What the directory says about a member, as far as the library does not say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) name: Vec<u8>,
    pub(super) flags: u16,
    pub(super) method: u16,
    /// File type and permissions by Unix; zero where the archive was made elsewhere.
    pub(super) mode: u32,
}

/// The directory: its members in order, and where it begins.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) records: Vec<Record>,
    pub(super) start: u64,
}

/// What stands directly before the data of a member.
#[derive(Debug)]
pub(super) struct Local {
    pub(super) name: Vec<u8>,
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) crc32: u32,
    pub(super) compressed_bytes: u32,
    pub(super) bytes: u32,
    /// Where the data begin.
    pub(super) data: u64,
}

/// Little-endian numbers at places of a piece of the file that was read in full.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn bytes<const N: usize>(&self, at: usize) -> Result<[u8; N], Fault> {
        let found = self.0.get(at..).and_then(|rest| rest.first_chunk::<N>());
        found.copied().ok_or_else(|| damaged("a record ends too early"))
    }

    fn u16(&self, at: usize) -> Result<u16, Fault> {
        Ok(u16::from_le_bytes(self.bytes(at)?))
    }

    fn u32(&self, at: usize) -> Result<u32, Fault> {
        Ok(u32::from_le_bytes(self.bytes(at)?))
    }

    fn u64(&self, at: usize) -> Result<u64, Fault> {
        Ok(u64::from_le_bytes(self.bytes(at)?))
    }

    fn begins_with(&self, signature: &[u8]) -> bool {
        self.0.starts_with(signature)
    }
}

fn damaged(detail: impl Into<String>) -> Fault {
    Fault::Damaged { detail: detail.into() }
}

fn misplaced(detail: impl Into<String>) -> Fault {
    Fault::Misplaced { detail: detail.into() }
}

/// How many members there are, and where their directory lies.
#[derive(Debug)]
struct End {
    members: u64,
    start: u64,
    bytes: u64,
    /// Where the first record behind the directory begins.
    end: u64,
}

/// Reads the directory.
pub(super) fn read(input: &dyn ReadAt, limits: &Limits) -> Result<Directory, ReadError> {
    let End { members, start, bytes, end } = end(input)?;
    match start.checked_add(bytes) {
        Some(found) if found == end => {}
        Some(found) if found < end => {
            return Err(misplaced(format!(
                "{} bytes that belong to nobody stand before or behind its directory",
                end - found
            ))
            .into());
        }
        _ => {
            return Err(
                Fault::Truncated { detail: "its directory should begin later than it can".into() }.into()
            );
        }
    }
    for (what, limit, found) in [
        ("the number of its members", limits.members, members),
        ("the size of its directory in bytes", DIRECTORY_LIMIT_BYTES, bytes),
    ] {
        if found > limit {
            return Err(Fault::Limit { what: what.to_owned(), limit, found }.into());
        }
    }
    let count = usize::try_from(bytes).map_err(|_| damaged("its directory is too large"))?;
    let directory = input.at(start, count)?.ok_or_else(|| damaged("its directory lies outside"))?;
    Ok(Directory { records: records(&directory, members)?, start })
}

fn records(mut directory: &[u8], members: u64) -> Result<Vec<Record>, Fault> {
    let mut records = Vec::new();
    while !directory.is_empty() {
        let fields = Fields(directory);
        if !fields.begins_with(CENTRAL_SIGNATURE) {
            return Err(damaged(format!("entry {} of its directory is none", records.len())));
        }
        let name_end = CENTRAL_BYTES + usize::from(fields.u16(28)?);
        let next = name_end + usize::from(fields.u16(30)?) + usize::from(fields.u16(32)?);
        let cut = || damaged("its directory ends within an entry");
        let name = directory.get(CENTRAL_BYTES..name_end).ok_or_else(cut)?.to_vec();
        let mode = fields.u32(38)? >> 16;
        records.push(Record { name, flags: fields.u16(8)?, method: fields.u16(10)?, mode });
        directory = directory.get(next..).ok_or_else(cut)?;
    }
    if records.len() as u64 != members {
        return Err(damaged(format!("its directory has {} entries instead of {members}", records.len())));
    }
    Ok(records)
}

/// Finds the end record: the one whose comment ends where the file ends.
fn end(input: &dyn ReadAt) -> Result<End, ReadError> {
    let tail_bytes = input.bytes().min(END_BYTES as u64 + COMMENT_LIMIT_BYTES);
    let tail_start = input.bytes() - tail_bytes;
    // At most 65,557 bytes.
    let tail = input.at(tail_start, tail_bytes as usize)?.unwrap_or_default();
    let ends = |at: usize| {
        let comment = Fields(tail.get(at..).unwrap_or_default()).u16(20);
        comment.is_ok_and(|comment| at + END_BYTES + usize::from(comment) == tail.len())
    };
    let places = |from: &[u8]| {
        let found = from.windows(END_SIGNATURE.len()).enumerate().filter(|(_, four)| *four == END_SIGNATURE);
        found.map(|(at, _)| at).collect::<Vec<_>>()
    };
    let candidates = places(&tail);
    let mut fitting = candidates.iter().copied().filter(|&at| ends(at));
    let Some(at) = fitting.next() else {
        let begins = input.at(0, LOCAL_SIGNATURE.len())?.unwrap_or_default();
        return Err(if !candidates.is_empty() {
            misplaced("something stands behind its end record, or its comment is cut short").into()
        } else if begins == LOCAL_SIGNATURE {
            Fault::Truncated { detail: "it has no end record".into() }.into()
        } else {
            Fault::NotAnArchive { format: Format::Zip, hint: hint(input)? }.into()
        });
    };
    if fitting.next().is_some() {
        return Err(misplaced("it has several end records").into());
    }
    let place = tail_start + at as u64;
    let fields = Fields(tail.get(at..).unwrap_or_default());
    let (disk, directory_disk) = (fields.u16(4)?, fields.u16(6)?);
    let (here, members) = (fields.u16(8)?, fields.u16(10)?);
    let (bytes, start) = (fields.u32(12)?, fields.u32(16)?);
    if [disk, directory_disk, here, members].contains(&u16::MAX) || [bytes, start].contains(&u32::MAX) {
        return end64(input, place);
    }
    if (disk, directory_disk) != (0, 0) || here != members {
        return Err(misplaced("it is one part of an archive in several files").into());
    }
    Ok(End { members: members.into(), start: start.into(), bytes: bytes.into(), end: place })
}

/// The end record of archives with more than 65,534 members or 4 GiB, which stands before the other one.
fn end64(input: &dyn ReadAt, end: u64) -> Result<End, ReadError> {
    let no_record = || damaged("its 64-bit end record is missing");
    let place = end.checked_sub(LOCATOR_BYTES).ok_or_else(no_record)?;
    let locator = input.at(place, LOCATOR_BYTES as usize)?.ok_or_else(no_record)?;
    let fields = Fields(&locator);
    if !fields.begins_with(LOCATOR_SIGNATURE) {
        return Err(no_record().into());
    }
    let start64 = fields.u64(8)?;
    let record = input.at(start64, END64_BYTES)?.ok_or_else(no_record)?;
    let fields = Fields(&record);
    if !fields.begins_with(END64_SIGNATURE) {
        return Err(misplaced("its 64-bit end record is not where it should be").into());
    }
    // The recorded size leaves out the signature and itself.
    let record_end = fields.u64(4)?.checked_add(12).and_then(|bytes| start64.checked_add(bytes));
    if record_end != Some(place) {
        return Err(misplaced("its 64-bit end record does not reach to its locator").into());
    }
    let (disks, members) = ((fields.u32(16)?, fields.u32(20)?), (fields.u64(24)?, fields.u64(32)?));
    if disks != (0, 0) || members.0 != members.1 {
        return Err(misplaced("it is one part of an archive in several files").into());
    }
    Ok(End { members: members.1, start: fields.u64(48)?, bytes: fields.u64(40)?, end: start64 })
}

/// What a local header needs at least, extra fields not counted.
pub(super) fn local_bytes(name: &[u8]) -> u64 {
    LOCAL_BYTES as u64 + name.len() as u64
}

/// Reads the local header at `start`.
pub(super) fn local(input: &dyn ReadAt, start: u64, member: &str) -> Result<Local, ReadError> {
    let missing = || damaged(format!("there is no member `{member}` where its directory says"));
    let header = input.at(start, LOCAL_BYTES)?.ok_or_else(missing)?;
    let fields = Fields(&header);
    if !fields.begins_with(LOCAL_SIGNATURE) {
        return Err(missing().into());
    }
    let (name, extra) = (usize::from(fields.u16(26)?), u64::from(fields.u16(28)?));
    // `start` and the header lie in the file, so this is far from overflowing.
    let name_start = start + LOCAL_BYTES as u64;
    Ok(Local {
        name: input.at(name_start, name)?.ok_or_else(missing)?,
        flags: fields.u16(6)?,
        method: fields.u16(8)?,
        crc32: fields.u32(14)?,
        compressed_bytes: fields.u32(18)?,
        bytes: fields.u32(22)?,
        data: name_start + name as u64 + extra,
    })
}
