//! The structure of a zip file, read without trusting it.
//!
//! Zip libraries disagree about doubtful archives: they merge duplicate names, trust one of two contradicting headers, or skip
//! bytes that belong to nobody. An audit has to see exactly those things, so the end record, the central directory and the local headers
//! are walked here, and only the unpacking of one member at a time is left to the library. Zip64 and archives in several parts are
//! not read: nothing of the size of a submission needs them.
//!
//! Reference: APPNOTE.TXT of PKWARE, sections 4.3 to 4.5.

use std::io::{self, Read, Seek, SeekFrom};

use super::findings::Problem;

/// The most members that are looked at; a submission has at most a few hundred.
const MEMBERS_LIMIT: usize = 4096;
/// The largest central directory: 46 bytes and a name for each member, generously.
const DIRECTORY_LIMIT_BYTES: u64 = 4 << 20;
/// The end record without its comment, and the longest comment.
const END_BYTES: u64 = 22;
const COMMENT_LIMIT_BYTES: u64 = 65_535;
const CENTRAL_BYTES: usize = 46;
const LOCAL_BYTES: usize = 30;

const END_SIGNATURE: &[u8] = b"PK\x05\x06";
const CENTRAL_SIGNATURE: &[u8] = b"PK\x01\x02";
const LOCAL_SIGNATURE: &[u8] = b"PK\x03\x04";
const DESCRIPTOR_SIGNATURE: &[u8] = b"PK\x07\x08";

/// The flag that sizes and CRC follow the data instead of standing in the local header.
const FLAG_DESCRIPTOR: u16 = 1 << 3;
/// The flag that the name is UTF-8.
const FLAG_UTF8: u16 = 1 << 11;

/// A member as the central directory describes it.
#[derive(Clone, Debug)]
pub(super) struct Member {
    name_bytes: Vec<u8>,
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) crc32: u32,
    pub(super) compressed_bytes: u64,
    pub(super) size_bytes: u64,
    /// File type and permissions, if the archive was made on a Unix system.
    pub(super) unix_mode: Option<u32>,
    /// Where the local header is in the file.
    offset: u64,
}

impl Member {
    /// The name; bytes that are not UTF-8 are shown as replacement characters.
    pub(super) fn name(&self) -> String {
        String::from_utf8_lossy(&self.name_bytes).into_owned()
    }

    /// Whether the name is plain ASCII, or UTF-8 and marked as such.
    pub(super) fn name_is_unambiguous(&self) -> bool {
        self.name_bytes.is_ascii()
            || (self.flags & FLAG_UTF8 != 0 && std::str::from_utf8(&self.name_bytes).is_ok())
    }
}

/// Where a member lies: its local header, its data, and the end of both.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) start: u64,
    pub(super) data: u64,
    pub(super) end: u64,
}

/// An archive whose central directory could be read.
#[derive(Debug)]
pub(super) struct Archive<R> {
    file: R,
    /// The size of the file.
    pub(super) bytes: u64,
    /// The members in the order of the central directory.
    pub(super) members: Vec<Member>,
    /// Faults of the archive as a whole.
    pub(super) problems: Vec<Problem>,
    /// Where the central directory begins, that is, where members must end.
    directory: u64,
}

impl<R: Read + Seek> Archive<R> {
    /// Finds and reads the central directory.
    ///
    /// # Errors
    /// The reason, when there is none that can be read.
    pub(super) fn open(mut file: R) -> Result<Self, String> {
        let failed = |error: io::Error| format!("reading failed: {error}");
        let bytes = file.seek(SeekFrom::End(0)).map_err(failed)?;
        let tail_bytes = bytes.min(END_BYTES + COMMENT_LIMIT_BYTES);
        let tail_start = bytes - tail_bytes;
        let tail = read_at(&mut file, tail_start, tail_bytes).map_err(failed)?;
        let mut problems = Vec::new();
        let end = End::find(&tail, tail_start, bytes, &mut problems)
            .ok_or("it has no end record, so it is no zip archive or it is truncated; make it again")?;
        if end.is_zip64() {
            return Err(
                "it is a zip64 archive, which a submission does not need; make it without zip64".to_string()
            );
        }
        if end.disk != 0 || end.directory_disk != 0 || end.entries_here != end.entries {
            return Err("it is one part of an archive in several parts; make it in one piece".to_string());
        }
        if end.directory_bytes > DIRECTORY_LIMIT_BYTES || end.directory_bytes > end.at {
            return Err(format!(
                "its list of members is said to have {} bytes; make it again",
                end.directory_bytes
            ));
        }
        // Offsets count from the start of the archive, which is not the start of the file if something was put in front.
        let directory = end.at - end.directory_bytes;
        let Some(shift) = directory.checked_sub(end.directory_offset) else {
            return Err("its list of members is not where the end record says; it is truncated or damaged"
                .to_string());
        };
        if shift > 0 {
            problems.push(Problem::error(
                format!("{shift} bytes stand before the archive or inside it that do not belong to it"),
                "make the archive again with plain zip; no self-extracting archives, nothing appended",
            ));
        }
        let raw = read_at(&mut file, directory, end.directory_bytes).map_err(failed)?;
        let members = walk(&raw, shift, end.entries, &mut problems)?;
        Ok(Self { file, bytes, members, problems, directory })
    }

    /// Compares the local header of a member with the central directory, and tells where its data are.
    pub(super) fn locate(&mut self, member: &Member) -> io::Result<(Vec<Problem>, Option<Extent>)> {
        let remake = "make the archive again with a common zip program";
        let outside = || Problem::error("its place lies outside the archive", remake);
        let Some(header) = self.read_before_directory(member.offset, LOCAL_BYTES as u64)? else {
            return Ok((vec![outside()], None));
        };
        if !header.starts_with(LOCAL_SIGNATURE) {
            return Ok((
                vec![Problem::error("there is no local header where the directory says", remake)],
                None,
            ));
        }
        let (flags, method) = (u16_at(&header, 6), u16_at(&header, 8));
        let (name_bytes, extra_bytes) = (u64::from(u16_at(&header, 26)), u64::from(u16_at(&header, 28)));
        let name_at = member.offset + LOCAL_BYTES as u64;
        let data = name_at + name_bytes + extra_bytes;
        let Some(name) = self.read_before_directory(name_at, name_bytes)? else {
            return Ok((vec![outside()], None));
        };
        let Some(extra) = self.read_before_directory(name_at + name_bytes, extra_bytes)? else {
            return Ok((vec![outside()], None));
        };
        let wide = has_zip64_sizes(&extra);
        let mut problems = Vec::new();
        if wide {
            let what = "it has zip64 sizes, which not every reader knows and no image needs";
            problems.push(Problem::warning(
                what,
                "write the archive to a file, not through a pipe, and without zip64",
            ));
        }
        let mut differs = |what: String| {
            problems.push(Problem::error(format!("local header and directory disagree: {what}"), remake));
        };
        if name != member.name_bytes {
            differs(format!("the local name is `{}`", String::from_utf8_lossy(&name).escape_debug()));
        }
        if method != member.method {
            differs(format!("compression method {method} against {}", member.method));
        }
        let compared = 1 | FLAG_DESCRIPTOR | FLAG_UTF8;
        if flags & compared != member.flags & compared {
            differs(format!("flags {:#06x} against {:#06x}", flags & compared, member.flags & compared));
        }
        let sizes = [
            ("CRC", u32_at(&header, 14), u64::from(member.crc32)),
            ("compressed size", u32_at(&header, 18), member.compressed_bytes),
            ("size", u32_at(&header, 22), member.size_bytes),
        ];
        for (what, local, central) in sizes {
            // With a descriptor behind the data, zero here means "see there"; with zip64, all ones mean "see the extra field".
            let deferred = (flags & FLAG_DESCRIPTOR != 0 && local == 0) || (wide && local == u32::MAX);
            if u64::from(local) != central && !deferred {
                differs(format!("{what} {local} against {central}"));
            }
        }
        let end = data.saturating_add(member.compressed_bytes);
        if end > self.directory {
            problems.push(outside());
            return Ok((problems, None));
        }
        let end =
            if flags & FLAG_DESCRIPTOR == 0 { end } else { self.descriptor_end(member, end, &mut problems)? };
        Ok((problems, Some(Extent { start: member.offset, data, end })))
    }

    /// The end of the data descriptor at `at`: usually a signature, then CRC and two sizes, which zip64 writes with 64 bits.
    fn descriptor_end(&mut self, member: &Member, at: u64, problems: &mut Vec<Problem>) -> io::Result<u64> {
        let signed = self.read_before_directory(at, 4)?.is_some_and(|start| start == DESCRIPTOR_SIGNATURE);
        let fields = at + if signed { 4 } else { 0 };
        let crc32 = member.crc32.to_le_bytes();
        let (compressed, size) = (member.compressed_bytes.to_le_bytes(), member.size_bytes.to_le_bytes());
        let wide = [crc32.as_slice(), &compressed, &size].concat();
        // Both sizes came from 32-bit fields, so their upper halves are zero.
        let narrow = [crc32.as_slice(), compressed.first_chunk::<4>().map_or(&[], |low| low)].concat();
        let narrow = [narrow.as_slice(), size.first_chunk::<4>().map_or(&[], |low| low)].concat();
        for expected in [narrow, wide] {
            let bytes = expected.len() as u64;
            if self.read_before_directory(fields, bytes)?.is_some_and(|found| found == expected) {
                return Ok(fields + bytes);
            }
        }
        let what = "the record behind its data and the directory disagree about CRC or sizes";
        problems.push(Problem::error(what, "make the archive again with a common zip program"));
        Ok(at)
    }

    /// Faults in how the members lie in the file, and whether any two overlap. Bytes that belong to nobody are a fault, too.
    pub(super) fn layout(&self, extents: &[(String, Extent)]) -> (Vec<Problem>, bool) {
        let remake = "make the archive again with a common zip program";
        let mut sorted: Vec<&(String, Extent)> = extents.iter().collect();
        sorted.sort_by_key(|(_, extent)| extent.start);
        let mut problems = Vec::new();
        let mut covered = 0u64;
        let mut overlapping = false;
        let mut last = "";
        for (name, extent) in sorted {
            if extent.start < covered {
                overlapping = true;
                let what = format!(
                    "`{}` and `{}` share bytes of the archive",
                    last.escape_debug(),
                    name.escape_debug()
                );
                problems.push(Problem::error(what, remake));
            } else if extent.start > covered {
                let gap = extent.start - covered;
                let place = if covered == 0 { "before the first member" } else { "between members" };
                let what = format!("{gap} bytes {place} belong to no member");
                problems.push(if covered == 0 {
                    Problem::error(what, remake)
                } else {
                    Problem::warning(what, remake)
                });
            }
            covered = covered.max(extent.end);
            last = name;
        }
        if covered < self.directory && !extents.is_empty() {
            let gap = self.directory - covered;
            problems.push(Problem::warning(
                format!("{gap} bytes after the last member belong to no member"),
                remake,
            ));
        }
        (problems, overlapping)
    }

    /// A reader of the compressed data of a member.
    pub(super) fn compressed(&mut self, member: &Member, extent: Extent) -> io::Result<io::Take<&mut R>> {
        self.file.seek(SeekFrom::Start(extent.data))?;
        Ok(self.file.by_ref().take(member.compressed_bytes))
    }

    /// Some bytes that must lie before the central directory.
    fn read_before_directory(&mut self, at: u64, bytes: u64) -> io::Result<Option<Vec<u8>>> {
        match at.checked_add(bytes) {
            Some(end) if end <= self.directory => read_at(&mut self.file, at, bytes).map(Some),
            _ => Ok(None),
        }
    }
}

/// Whether an extra field has the zip64 block (identifier 1).
fn has_zip64_sizes(mut extra: &[u8]) -> bool {
    while extra.len() >= 4 {
        if u16_at(extra, 0) == 1 {
            return true;
        }
        extra = extra.get(4 + usize::from(u16_at(extra, 2))..).unwrap_or_default();
    }
    false
}

/// The end record.
struct End {
    at: u64,
    disk: u16,
    directory_disk: u16,
    entries_here: u16,
    entries: u16,
    directory_bytes: u64,
    directory_offset: u64,
}

impl End {
    /// The last end record in the tail of the file, as readers search it from behind.
    fn find(tail: &[u8], tail_start: u64, file_bytes: u64, problems: &mut Vec<Problem>) -> Option<Self> {
        let places: Vec<usize> = tail
            .windows(END_BYTES as usize)
            .enumerate()
            .filter(|(_, window)| window.starts_with(END_SIGNATURE))
            .map(|(at, _)| at)
            .collect();
        let &last = places.last()?;
        let record = tail.get(last..)?;
        let at = tail_start + last as u64;
        let comment_bytes = u64::from(u16_at(record, 20));
        let behind = file_bytes - at - END_BYTES;
        if behind != comment_bytes {
            problems.push(Problem::error(
                format!("{behind} bytes follow the end record, which announces a comment of {comment_bytes}"),
                "make the archive again; nothing may be appended to it",
            ));
        } else if comment_bytes > 0 {
            let what = format!("the archive has a comment of {comment_bytes} bytes");
            problems.push(Problem::note(what, "leave the comment out"));
        }
        // Another record that reaches to the end as well makes readers disagree about what the archive holds.
        let reaches_end = |&at: &usize| {
            let comment = tail.get(at..).map_or(0, |record| u64::from(u16_at(record, 20)));
            tail_start + at as u64 + END_BYTES + comment == file_bytes
        };
        if places.iter().filter(|at| reaches_end(at)).count() > 1 {
            let what = "there are several end records, so readers disagree about what the archive holds";
            problems
                .push(Problem::error(what, "make the archive again; do not put one archive into another"));
        }
        Some(Self {
            at,
            disk: u16_at(record, 4),
            directory_disk: u16_at(record, 6),
            entries_here: u16_at(record, 8),
            entries: u16_at(record, 10),
            directory_bytes: u64::from(u32_at(record, 12)),
            directory_offset: u64::from(u32_at(record, 16)),
        })
    }

    fn is_zip64(&self) -> bool {
        self.entries == u16::MAX
            || [self.directory_bytes, self.directory_offset].contains(&u64::from(u32::MAX))
    }
}

/// Reads the records of the central directory.
fn walk(raw: &[u8], shift: u64, announced: u16, problems: &mut Vec<Problem>) -> Result<Vec<Member>, String> {
    let mut members = Vec::new();
    let mut rest = raw;
    while !rest.is_empty() {
        let damaged =
            || format!("its list of members is damaged after {} members; make it again", members.len());
        if rest.len() < CENTRAL_BYTES || !rest.starts_with(CENTRAL_SIGNATURE) {
            return Err(damaged());
        }
        let (name, extra, comment) = (u16_at(rest, 28), u16_at(rest, 30), u16_at(rest, 32));
        let name_end = CENTRAL_BYTES + usize::from(name);
        let length = name_end + usize::from(extra) + usize::from(comment);
        let name_bytes = rest.get(CENTRAL_BYTES..name_end).ok_or_else(damaged)?.to_vec();
        // The high byte of "version made by" is the system: 3 Unix, 19 macOS. Both keep the mode in the high half.
        let unix_mode = matches!(u16_at(rest, 4) >> 8, 3 | 19).then(|| u32_at(rest, 38) >> 16);
        let member = Member {
            name_bytes,
            flags: u16_at(rest, 8),
            method: u16_at(rest, 10),
            crc32: u32_at(rest, 16),
            compressed_bytes: u64::from(u32_at(rest, 20)),
            size_bytes: u64::from(u32_at(rest, 24)),
            unix_mode,
            offset: u64::from(u32_at(rest, 42)) + shift,
        };
        if members.len() >= MEMBERS_LIMIT {
            return Err(format!(
                "it has more than {MEMBERS_LIMIT} members, a submission has a few hundred at most"
            ));
        }
        rest = rest.get(length..).ok_or_else(damaged)?;
        members.push(member);
    }
    if members.len() != usize::from(announced) {
        problems.push(Problem::error(
            format!("the end record announces {announced} members, the directory lists {}", members.len()),
            "make the archive again with a common zip program",
        ));
    }
    Ok(members)
}

fn read_at<R: Read + Seek>(file: &mut R, at: u64, bytes: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(at))?;
    let mut buffer = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
    file.read_exact(&mut buffer)?;
    Ok(buffer)
}

/// A little-endian number in a record whose length was checked; zero beyond its end.
fn u16_at(record: &[u8], at: usize) -> u16 {
    record
        .get(at..at + 2)
        .map_or(0, |raw| raw.iter().rev().fold(0, |value, &byte| value << 8 | u16::from(byte)))
}

/// As [`u16_at`], with four bytes.
fn u32_at(record: &[u8], at: usize) -> u32 {
    record
        .get(at..at + 4)
        .map_or(0, |raw| raw.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte)))
}
