//! A reader for the BMP files the benchmarks come as: 24 bits a pixel, uncompressed, rows bottom-up or top-down.
//!
//! Layout after Microsoft's BITMAPFILEHEADER and BITMAPINFOHEADER (and its longer successors V4 and V5). Everything else the format
//! can hold is refused by name.

use super::decode::check_size;
use super::{Error, RgbImage};

/// Bytes of the file header, which the information header follows.
const FILE_HEADER_BYTES: usize = 14;
/// Bytes of BITMAPINFOHEADER; V4 and V5 begin with the same fields.
const INFO_HEADER_BYTES: u32 = 40;

/// What the headers of a BMP that can be decoded say.
pub(super) struct Header {
    /// Width in pixels.
    pub(super) width: usize,
    /// Height in pixels.
    pub(super) height: usize,
    /// Whether the first row in the file is the top one.
    top_down: bool,
    /// Where in the file the first row begins.
    pixels_at: usize,
}

/// Reads the headers of a BMP whose first two bytes are known to be `BM`; `bytes` are the file or its start.
pub(super) fn header(bytes: &[u8], name: &str) -> Result<Header, Error> {
    let damaged = |reason: String| Error::Damaged { name: name.to_owned(), format: "BMP", reason };
    let unsupported = |found: String| Error::Unsupported { name: name.to_owned(), found };
    let too_short = || damaged(format!("it ends too early, after {} bytes", bytes.len()));
    let u32_at = |at: usize| {
        bytes.get(at..).and_then(<[u8]>::first_chunk).map(|b| u32::from_le_bytes(*b)).ok_or_else(too_short)
    };
    let i32_at = |at: usize| {
        bytes.get(at..).and_then(<[u8]>::first_chunk).map(|b| i32::from_le_bytes(*b)).ok_or_else(too_short)
    };
    let u16_at = |at: usize| {
        bytes.get(at..).and_then(<[u8]>::first_chunk).map(|b| u16::from_le_bytes(*b)).ok_or_else(too_short)
    };

    let pixels_at = u32_at(10)? as usize;
    let header_bytes = u32_at(FILE_HEADER_BYTES)?;
    if header_bytes < INFO_HEADER_BYTES {
        return Err(unsupported(format!("a BMP with an old header of {header_bytes} bytes")));
    }
    let (width, height) = (i32_at(18)?, i32_at(22)?);
    let (bits, compression) = (u16_at(28)?, u32_at(30)?);
    match (bits, compression) {
        (24, 0) => {}
        (1 | 2 | 4 | 8, _) => return Err(unsupported(format!("a BMP with a palette ({bits} bits a pixel)"))),
        (_, 0) => return Err(unsupported(format!("a BMP of {bits} bits a pixel"))),
        _ => {
            return Err(unsupported(format!("a BMP of {bits} bits a pixel with compression {compression}")));
        }
    }
    if width < 0 {
        return Err(damaged(format!("its width is {width}")));
    }
    // A negative height means that the first row in the file is the top one.
    let top_down = height < 0;
    let (width, height) = check_size(name, width.unsigned_abs().into(), height.unsigned_abs().into())?;
    if pixels_at < FILE_HEADER_BYTES + header_bytes as usize {
        return Err(damaged(format!(
            "its pixels begin at byte {pixels_at}, inside its {header_bytes}-byte header"
        )));
    }
    Ok(Header { width, height, top_down, pixels_at })
}

/// Decodes a BMP whose first two bytes are known to be `BM`.
pub(super) fn decode(bytes: &[u8], name: &str) -> Result<RgbImage, Error> {
    let Header { width, height, top_down, pixels_at } = header(bytes, name)?;
    let damaged = |reason: String| Error::Damaged { name: name.to_owned(), format: "BMP", reason };
    let row_bytes = width * 3;
    let stride = row_bytes.next_multiple_of(4);
    let needed = stride * (height - 1) + row_bytes;
    let rows = bytes.get(pixels_at..).and_then(|rest| rest.get(..needed)).ok_or_else(|| {
        damaged(format!(
            "{width}x{height} pixels need {} bytes, it has {}",
            pixels_at.saturating_add(needed),
            bytes.len()
        ))
    })?;
    let mut pixels = Vec::with_capacity(row_bytes * height);
    let mut push_row = |row: &[u8]| {
        for bgr in row.chunks_exact(3).take(width) {
            pixels.extend(bgr.iter().rev());
        }
    };
    if top_down {
        rows.chunks(stride).for_each(&mut push_row);
    } else {
        rows.chunks(stride).rev().for_each(&mut push_row);
    }
    RgbImage::new(width, height, pixels).map_err(|source| damaged(source.to_string()))
}

#[cfg(test)]
mod tests {
    use crate::imaging::decode_bytes;

    /// A BMP of 24 bits a pixel whose rows, in file order, count 0, 1, 2, … and are padded with 0xEE.
    fn bmp(width: i32, height: i32, bits: u16, compression: u32) -> Vec<u8> {
        let mut bytes = b"BM\0\0\0\0\0\0\0\0".to_vec();
        bytes.extend(54u32.to_le_bytes());
        bytes.extend(40u32.to_le_bytes());
        bytes.extend(width.to_le_bytes());
        bytes.extend(height.to_le_bytes());
        bytes.extend(1u16.to_le_bytes());
        bytes.extend(bits.to_le_bytes());
        bytes.extend(compression.to_le_bytes());
        bytes.resize(54, 0);
        let mut next = 0u8;
        for _ in 0..height.unsigned_abs().min(16) {
            let mut row: Vec<u8> =
                (0..width.unsigned_abs().min(16) * 3).map(|i| next.wrapping_add(i as u8)).collect();
            next = next.wrapping_add(row.len() as u8);
            row.resize(row.len().next_multiple_of(4), 0xee);
            bytes.extend(row);
        }
        bytes
    }

    #[test]
    fn rows_are_found_bottom_up_and_top_down_behind_their_padding() {
        let up = decode_bytes(&bmp(3, 2, 24, 0), "up.bmp").unwrap();
        assert!(!up.was_grey);
        let (first, second) = ([2, 1, 0, 5, 4, 3, 8, 7, 6], [11, 10, 9, 14, 13, 12, 17, 16, 15]);
        assert_eq!(up.image.pixels(), [second, first].concat());
        let down = decode_bytes(&bmp(3, -2, 24, 0), "down.bmp").unwrap();
        assert_eq!(down.image.pixels(), [first, second].concat());
    }

    #[test]
    fn other_kinds_and_damage_are_refused() {
        let message = |bytes: &[u8]| decode_bytes(bytes, "a.bmp").unwrap_err().to_string();
        assert!(
            message(&bmp(3, 2, 8, 0))
                .contains("is a BMP with a palette (8 bits a pixel), expected 8-bit RGB")
        );
        assert!(message(&bmp(3, 2, 32, 0)).contains("is a BMP of 32 bits a pixel, expected"));
        assert!(message(&bmp(3, 2, 24, 3)).contains("compression 3"));
        assert!(message(&bmp(0, 2, 24, 0)).contains("claims 0x2 pixels"));
        assert!(message(&bmp(-3, 2, 24, 0)).contains("width is -3"));
        assert!(message(&bmp(i32::MAX, i32::MIN, 24, 0)).contains("claims 2147483647x2147483648 pixels"));
        let whole = bmp(3, 2, 24, 0);
        // The padding of the last row may be missing (some writers leave it out); one byte less is an error.
        assert!(decode_bytes(&whole[..whole.len() - 3], "a.bmp").is_ok());
        for length in 0..whole.len() - 3 {
            assert!(decode_bytes(&whole[..length], "a.bmp").is_err(), "cut to {length}");
        }
    }
}
