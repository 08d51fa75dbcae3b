//! The bytes of a packed set, in both directions. The module above describes them.

use std::mem;

use sha2::{Digest, Sha256};

use crate::imaging::{MAX_PIXELS, MAX_SIDE};

/// The version written here, and the newest that is read.
pub(super) const VERSION: u32 = 1;
/// Images begin at multiples of this: a page of memory on the machines we know, and a block of their disks.
pub(super) const PAGE_BYTES: u64 = 4096;
/// The largest scale: far beyond any in use, small enough that no size overflows.
pub(super) const MAX_SCALE: u32 = 64;
/// The longest name: with it, a record fits its page. File systems allow 255.
pub(super) const MAX_NAME_BYTES: usize = 1024;
/// The most bytes of an index that are looked at: 3,450 pairs have less than one mebibyte.
const MAX_INDEX_BYTES: u64 = 256 << 20;

const HEADER_MAGIC: [u8; 8] = *b"esrpack\0";
const RECORD_MAGIC: [u8; 8] = *b"esrpair\0";
const TRAILER_MAGIC: [u8; 8] = *b"esrpend\0";

const DIGEST_BYTES: usize = 32;
const TRAILER_BYTES: usize = 8 + 4 * 8 + 2 * DIGEST_BYTES;
/// An entry without its name.
const ENTRY_BYTES: usize = 4 + 2 * (4 + 4 + 8 + DIGEST_BYTES + 8 + 8 + 4 + DIGEST_BYTES);

pub(super) type Digest256 = [u8; DIGEST_BYTES];

/// What a file looked like when it was decoded, without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) bytes: u64,
    pub(super) modified_s: i64,
    pub(super) modified_ns: u32,
}

/// One image of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ImageEntry {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) offset: u64,
    pub(super) pixels: Digest256,
    pub(super) stamp: Stamp,
    pub(super) file: Digest256,
}

/// One pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) lr: ImageEntry,
    pub(super) hr: ImageEntry,
}

/// Where the parts of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trailer {
    pub(super) pairs: u64,
    pub(super) index_offset: u64,
    pub(super) index_bytes: u64,
    pub(super) index: Digest256,
}

/// Why a header is not one we read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    NotPacked,
    Newer(u32),
    Damaged(String),
}

/// The next multiple of a page.
pub(super) fn page_end(offset: u64) -> u64 {
    offset.checked_next_multiple_of(PAGE_BYTES).unwrap_or(u64::MAX)
}

pub(super) fn sha256(bytes: &[u8]) -> Digest256 {
    Sha256::digest(bytes).into()
}

/// The bytes of `offset..offset + bytes`, if the file has them.
pub(super) fn part(file: &[u8], offset: u64, bytes: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let end = usize::try_from(offset.checked_add(bytes)?).ok()?;
    file.get(start..end)
}

/// The first page of a file.
pub(super) fn encode_header(scale: u32) -> Vec<u8> {
    let mut bytes = HEADER_MAGIC.to_vec();
    for number in [VERSION, scale, PAGE_BYTES as u32, 0] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(sha256(&bytes));
    bytes.resize(PAGE_BYTES as usize, 0);
    bytes
}

/// The scale that a file's first page says.
pub(super) fn decode_header(file: &[u8]) -> Result<u32, HeaderError> {
    let short = || HeaderError::Damaged(format!("its {} bytes are less than a header", file.len()));
    let mut fields = Fields(file);
    if fields.array() != Some(HEADER_MAGIC) {
        return Err(HeaderError::NotPacked);
    }
    let version = fields.u32().ok_or_else(short)?;
    // Before the checksum, which another version may have elsewhere.
    if version > VERSION {
        return Err(HeaderError::Newer(version));
    }
    let scale = fields.u32().ok_or_else(short)?;
    if part(file, 0, PAGE_BYTES).ok_or_else(short)? != encode_header(scale) {
        return Err(HeaderError::Damaged("the checksum of its header does not match".into()));
    }
    match (1..=MAX_SCALE).contains(&scale) {
        true => Ok(scale),
        false => Err(HeaderError::Damaged(format!("its scale is {scale}, expected 1 to {MAX_SCALE}"))),
    }
}

impl ImageEntry {
    /// Bytes of its pixels.
    pub(super) fn bytes(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height) * 3
    }

    fn encode(&self, to: &mut Vec<u8>) {
        to.extend(self.width.to_le_bytes());
        to.extend(self.height.to_le_bytes());
        to.extend(self.offset.to_le_bytes());
        to.extend(self.pixels);
        to.extend(self.stamp.bytes.to_le_bytes());
        to.extend(self.stamp.modified_s.to_le_bytes());
        to.extend(self.stamp.modified_ns.to_le_bytes());
        to.extend(self.file);
    }

    fn decode(from: &mut Fields<'_>) -> Option<Self> {
        Some(Self {
            width: from.u32()?,
            height: from.u32()?,
            offset: from.u64()?,
            pixels: from.array()?,
            stamp: Stamp {
                bytes: from.u64()?,
                modified_s: i64::from_le_bytes(from.array()?),
                modified_ns: from.u32()?,
            },
            file: from.array()?,
        })
    }

    fn has_sane_size(&self) -> bool {
        let (width, height) = (u64::from(self.width), u64::from(self.height));
        (1..=MAX_SIDE).contains(&width) && (1..=MAX_SIDE).contains(&height) && width * height <= MAX_PIXELS
    }
}

impl Entry {
    /// Where the images of a record at `record` are by their sizes, and where the record ends.
    pub(super) fn layout(&self, record: u64) -> (u64, u64, u64) {
        let lr = record.saturating_add(PAGE_BYTES);
        let hr = page_end(lr.saturating_add(self.lr.bytes()));
        (lr, hr, page_end(hr.saturating_add(self.hr.bytes())))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let length = ENTRY_BYTES + self.name.len();
        let mut bytes = Vec::with_capacity(length);
        bytes.extend((length as u32).to_le_bytes());
        self.lr.encode(&mut bytes);
        self.hr.encode(&mut bytes);
        bytes.extend(self.name.as_bytes());
        bytes
    }

    /// The next entry, checked on its own and against the place of its record; then the end of the record.
    fn decode(from: &mut Fields<'_>, record: u64, scale: u32) -> Result<(Self, u64), String> {
        let cut = || "an entry ends too early".to_owned();
        let length = from.u32().ok_or_else(cut)? as usize;
        let name_bytes = length.checked_sub(ENTRY_BYTES).filter(|&bytes| bytes <= MAX_NAME_BYTES);
        let name_bytes = name_bytes.ok_or_else(|| format!("an entry claims {length} bytes"))?;
        let lr = ImageEntry::decode(from).ok_or_else(cut)?;
        let hr = ImageEntry::decode(from).ok_or_else(cut)?;
        let name = from.take(name_bytes).ok_or_else(cut)?;
        let name = str::from_utf8(name).map_err(|_| "a name is not UTF-8".to_owned())?.to_owned();
        let entry = Self { name, lr, hr };
        let end = entry.check(record, scale)?;
        Ok((entry, end))
    }

    fn check(&self, record: u64, scale: u32) -> Result<u64, String> {
        let Self { name, lr, hr } = self;
        let sizes = format!("{}x{} and {}x{} pixels", lr.width, lr.height, hr.width, hr.height);
        let scaled = |length: u32| length.checked_mul(scale);
        let fits = (scaled(lr.width), scaled(lr.height)) == (Some(hr.width), Some(hr.height));
        if !(lr.has_sane_size() && hr.has_sane_size() && fits) {
            return Err(format!("the images of `{name}` have {sizes} at scale {scale}"));
        }
        let (lr_offset, hr_offset, end) = self.layout(record);
        if (lr.offset, hr.offset) != (lr_offset, hr_offset) {
            return Err(format!(
                "the images of `{name}` are at {} and {}, expected {lr_offset} and {hr_offset}",
                lr.offset, hr.offset
            ));
        }
        Ok(end)
    }

    /// The page before its images.
    pub(super) fn encode_record(&self) -> Vec<u8> {
        let mut bytes = [RECORD_MAGIC.to_vec(), self.encode()].concat();
        bytes.extend(sha256(&bytes));
        bytes.resize(PAGE_BYTES as usize, 0);
        bytes
    }

    /// The entry of the record at `record` and where the record ends, if it is whole and all in the file.
    pub(super) fn decode_record(file: &[u8], record: u64, scale: u32) -> Option<(Self, u64)> {
        let page = part(file, record, PAGE_BYTES)?;
        let mut fields = Fields(page);
        if fields.array() != Some(RECORD_MAGIC) {
            return None;
        }
        let (entry, end) = Self::decode(&mut fields, record, scale).ok()?;
        (page == entry.encode_record() && end <= file.len() as u64).then_some((entry, end))
    }
}

/// What follows the last record, up to the end of the file.
pub(super) fn encode_end(entries: &[Entry], index_offset: u64) -> Vec<u8> {
    let mut bytes: Vec<u8> = entries.iter().flat_map(Entry::encode).collect();
    let index = sha256(&bytes);
    let index_bytes = bytes.len() as u64;
    let mut trailer = TRAILER_MAGIC.to_vec();
    let total = index_offset + index_bytes + TRAILER_BYTES as u64;
    for number in [entries.len() as u64, index_offset, index_bytes, total] {
        trailer.extend(number.to_le_bytes());
    }
    trailer.extend(index);
    trailer.extend(sha256(&trailer));
    bytes.extend(trailer);
    bytes
}

/// All entries of a complete file, each in its place.
pub(super) fn decode_end(file: &[u8], scale: u32) -> Result<(Trailer, Vec<Entry>), String> {
    let trailer = Trailer::decode(file)?;
    let index =
        part(file, trailer.index_offset, trailer.index_bytes).ok_or("its index is outside the file")?;
    if sha256(index) != trailer.index {
        return Err("the checksum of its index does not match".into());
    }
    let mut fields = Fields(index);
    let mut entries = Vec::new();
    let mut record = PAGE_BYTES;
    while !fields.0.is_empty() {
        let (entry, end) = Entry::decode(&mut fields, record, scale)?;
        entries.push(entry);
        record = end;
    }
    if entries.len() as u64 != trailer.pairs || record != trailer.index_offset {
        return Err(format!(
            "{} pairs up to byte {record}, expected {} up to {}",
            entries.len(),
            trailer.pairs,
            trailer.index_offset
        ));
    }
    Ok((trailer, entries))
}

impl Trailer {
    fn decode(file: &[u8]) -> Result<Self, String> {
        let start = file.len().saturating_sub(TRAILER_BYTES);
        let bytes = file.get(start..).unwrap_or_default();
        let mut fields = Fields(bytes);
        let cut = "it does not end with a trailer: it was cut off, or bytes were appended";
        if fields.array() != Some(TRAILER_MAGIC) {
            return Err(cut.into());
        }
        let mut number = || fields.u64().ok_or(cut);
        let [pairs, index_offset, index_bytes, total] = [number()?, number()?, number()?, number()?];
        let index = fields.array().ok_or(cut)?;
        let signed = bytes.get(..TRAILER_BYTES - DIGEST_BYTES).ok_or(cut)?;
        if fields.array() != Some(sha256(signed)) {
            return Err("the checksum of its trailer does not match".into());
        }
        if total != file.len() as u64 {
            return Err(format!("it has {} bytes, expected {total}", file.len()));
        }
        let end = index_offset.checked_add(index_bytes);
        if end != Some(start as u64) || index_bytes > MAX_INDEX_BYTES {
            return Err(format!(
                "its index of {index_bytes} bytes at {index_offset} does not end at {start}"
            ));
        }
        Ok(Self { pairs, index_offset, index_bytes, index })
    }
}

/// Fields read one after another; `None` from the first that is not all there.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.array::<{ mem::size_of::<u32>() }>().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array::<{ mem::size_of::<u64>() }>().map(u64::from_le_bytes)
    }
}
