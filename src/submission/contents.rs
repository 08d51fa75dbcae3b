//! The bytes of one member, within limits.

use std::io::{self, Cursor, Read, Seek};

use zip::read::read_zipfile_from_stream;

use super::archive::{Archive, Extent, Member};
use super::findings::Problem;

/// The largest member: an uncompressed PNG of the largest ESR image (2040 x 2040) has 12.5 MB.
pub(super) const MEMBER_LIMIT_BYTES: u64 = 64 << 20;
/// The largest sum of all members.
pub(super) const TOTAL_LIMIT_BYTES: u64 = 4 << 30;
/// How often a member may be larger than its compressed form, if it is larger than [`RATIO_FREE_BYTES`]. PNG data hardly shrink;
/// deflate reaches at most 1032.
const RATIO_LIMIT: u64 = 100;
const RATIO_FREE_BYTES: u64 = 1 << 20;

const METHOD_STORED: u16 = 0;
const METHOD_DEFLATED: u16 = 8;
/// Flags of encryption: traditional, strong, and masked headers.
const FLAGS_ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;

/// Why a member will not be unpacked, judged by its record alone.
pub(super) fn refusal(member: &Member) -> Option<Problem> {
    let (size, compressed) = (member.size_bytes, member.compressed_bytes);
    if member.flags & FLAGS_ENCRYPTED != 0 {
        return Some(Problem::error("it is encrypted", "make the archive without a password"));
    }
    if !matches!(member.method, METHOD_STORED | METHOD_DEFLATED) {
        let what = format!("compression method {} is not one every reader knows", member.method);
        return Some(Problem::error(what, "use deflate, or store the files"));
    }
    if size > MEMBER_LIMIT_BYTES {
        let what = format!("it has {size} bytes unpacked, the limit is {MEMBER_LIMIT_BYTES}");
        return Some(Problem::error(what, "no image of the challenge is that large"));
    }
    if size > RATIO_FREE_BYTES && size / RATIO_LIMIT > compressed {
        let what = format!("{compressed} bytes unpack to {size}, more than {RATIO_LIMIT} times as much");
        return Some(Problem::error(
            what,
            "an honest image does not shrink like that; make the archive again",
        ));
    }
    None
}

/// Unpacks a member that was not refused, and checks its size and CRC.
///
/// # Errors
/// What is wrong with the data.
pub(super) fn unpack<R: Read + Seek>(
    archive: &mut Archive<R>,
    member: &Member,
    extent: Extent,
) -> Result<Vec<u8>, String> {
    let limit = member.size_bytes.min(MEMBER_LIMIT_BYTES);
    let data = archive.compressed(member, extent).map_err(|error| error.to_string())?;
    // The library unpacks a stream that begins with a local header. Giving it one made from the directory lets it see nothing
    // but this member, whatever else is in the file.
    let mut stream = Cursor::new(local_header(member)).chain(data);
    let mut bytes = Vec::new();
    let result = (|| -> Result<(), String> {
        let mut file = read_zipfile_from_stream(&mut stream)
            .map_err(|error| error.to_string())?
            .ok_or("it has no data")?;
        let read: io::Result<usize> = file.by_ref().take(limit + 1).read_to_end(&mut bytes);
        read.map_err(|error| error.to_string()).map(drop)
    })();
    result?;
    if bytes.len() as u64 != member.size_bytes {
        let more = if bytes.len() as u64 > limit { "more than " } else { "" };
        return Err(format!(
            "{} bytes are announced, it unpacks to {more}{}",
            member.size_bytes,
            limit.min(bytes.len() as u64)
        ));
    }
    Ok(bytes)
}

/// A minimal local header with the facts of the directory.
fn local_header(member: &Member) -> Vec<u8> {
    let mut header = b"PK\x03\x04\x14\x00\x00\x00".to_vec();
    header.extend(member.method.to_le_bytes());
    // Time 00:00 and date 1980-01-01, the first a zip can hold.
    header.extend([0, 0, 0x21, 0]);
    header.extend(member.crc32.to_le_bytes());
    // Both sizes came from 32-bit fields.
    header.extend((member.compressed_bytes as u32).to_le_bytes());
    header.extend((member.size_bytes as u32).to_le_bytes());
    header.extend([1, 0, 0, 0, b'm']);
    header
}
