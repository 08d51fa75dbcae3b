//! PNG and BMP files to [`RgbImage`].
//!
//! The challenge scores 8-bit RGB; 8-bit grey is replicated to three channels as its kit does. Palettes, alpha, other bit depths and
//! animations are refused instead of being converted in a way that would silently change a score. Colour profiles and
//! gamma chunks are ignored, also as the kit does. Checksum errors are errors, in ancillary chunks too; bytes after the
//! end of the image are ignored, because some archives pad their files.

use std::io::Cursor;
use std::path::Path;

use super::{Error, RgbImage, bmp};
use crate::fsio;

/// The longest side we decode. The largest image in DIV2K, Flickr2K or LSDIR is far below; a longer side is a damaged or hostile header.
pub(crate) const MAX_SIDE: u64 = 32_768;
/// The most pixels we decode or produce (three bytes each, so 384 MiB).
pub(crate) const MAX_PIXELS: u64 = 1 << 27;
/// The most bytes an image file may have: the pixel limit stored uncompressed, with room for metadata.
pub(crate) const MAX_FILE_BYTES: u64 = 3 * MAX_PIXELS + (64 << 20);
/// The most memory the PNG decoder may use for anything but the pixels (metadata chunks, row buffers).
const PNG_OVERHEAD_BYTES: usize = 64 << 20;

/// Bytes at the start of a file that hold all of its header: 33 in a PNG (signature and IHDR), 54 in a BMP (file and information header).
pub(crate) const HEADER_BYTES: u64 = 64;

const PNG_MAGIC: [u8; 8] = [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a];

/// A decoded image, and whether its file was grey.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The image in RGB.
    pub image: RgbImage,
    /// Whether the file held one grey channel, replicated here to three.
    pub was_grey: bool,
}

/// Reads and decodes a PNG or BMP file. The content decides which of the two it is, not the extension.
///
/// # Errors
/// [`Error`], naming the file, what was found, what was expected and what to do.
pub fn decode_file(path: &Path) -> Result<Decoded, Error> {
    let bytes = fsio::read_limited(path, MAX_FILE_BYTES)?;
    decode_bytes(&bytes, &path.display().to_string())
}

/// Decodes the bytes of a PNG or BMP file; `name` is what error messages call it.
///
/// # Errors
/// As [`decode_file`], except those of reading the file.
pub fn decode_bytes(bytes: &[u8], name: &str) -> Result<Decoded, Error> {
    decode_bytes_in(Vec::new(), bytes, name)
}

/// As [`decode_bytes`], with the pixels of a PNG in the memory of `room`, whatever it held: decoding many large images, fresh memory for each
/// costs as much as hashing it.
pub(crate) fn decode_bytes_in(room: Vec<u8>, bytes: &[u8], name: &str) -> Result<Decoded, Error> {
    match Format::of(bytes, name)? {
        Format::Png => decode_png(room, bytes, name),
        Format::Bmp => bmp::decode(bytes, name).map(|image| Decoded { image, was_grey: false }),
    }
}

/// What a file is by its first bytes.
enum Format {
    Png,
    Bmp,
}

impl Format {
    fn of(bytes: &[u8], name: &str) -> Result<Self, Error> {
        if bytes.is_empty() {
            return Err(Error::Empty { name: name.to_owned() });
        }
        if bytes.starts_with(&PNG_MAGIC) {
            Ok(Self::Png)
        } else if bytes.starts_with(b"BM") {
            Ok(Self::Bmp)
        } else {
            let found = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
            Err(Error::UnknownFormat { name: name.to_owned(), found })
        }
    }
}

/// Refuses sizes that are empty or too large, before anything is allocated for them.
pub(super) fn check_size(name: &str, width: u64, height: u64) -> Result<(usize, usize), Error> {
    let fits =
        (1..=MAX_SIDE).contains(&width) && (1..=MAX_SIDE).contains(&height) && width * height <= MAX_PIXELS;
    match (usize::try_from(width), usize::try_from(height)) {
        (Ok(width), Ok(height)) if fits => Ok((width, height)),
        _ => Err(Error::TooManyPixels {
            name: name.to_owned(),
            width,
            height,
            max_side: MAX_SIDE,
            max_pixels: MAX_PIXELS,
        }),
    }
}

/// Width and height of the PNG or BMP image whose file begins with `start`, which holds [`HEADER_BYTES`] or the whole file. Everything that is refused by
/// looking at the header alone is refused here too.
pub(super) fn dimensions_of(start: &[u8], name: &str) -> Result<(usize, usize), Error> {
    match Format::of(start, name)? {
        Format::Png => png_header(&mut png_decoder(start), start.len(), name).map(|header| header.size),
        Format::Bmp => bmp::header(start, name).map(|header| (header.width, header.height)),
    }
}

type PngDecoder<'a> = png::Decoder<Cursor<&'a [u8]>>;

/// What the first chunk of a PNG says.
struct PngHeader {
    /// Width and height in pixels.
    size: (usize, usize),
    grey: bool,
}

fn png_decoder(bytes: &[u8]) -> PngDecoder<'_> {
    let mut options = png::DecodeOptions::default();
    options.set_ignore_checksums(false);
    options.set_skip_ancillary_crc_failures(false);
    options.set_ignore_text_chunk(true);
    options.set_ignore_iccp_chunk(true);
    let mut decoder = png::Decoder::new_with_options(Cursor::new(bytes), options);
    decoder.set_limits(png::Limits { bytes: PNG_OVERHEAD_BYTES });
    decoder.set_transformations(png::Transformations::IDENTITY);
    decoder
}

fn png_damaged(source: png::DecodingError, length: usize, name: &str) -> Error {
    let reason = match source {
        png::DecodingError::IoError(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => {
            format!("it ends too early, after {length} bytes")
        }
        png::DecodingError::LimitsExceeded => {
            format!("its metadata needs more than {} MiB", PNG_OVERHEAD_BYTES >> 20)
        }
        other => other.to_string(),
    };
    Error::Damaged { name: name.to_owned(), format: "PNG", reason }
}

/// Reads the header of a PNG of `length` bytes and refuses the kinds and sizes that are not decoded.
fn png_header(decoder: &mut PngDecoder<'_>, length: usize, name: &str) -> Result<PngHeader, Error> {
    let header = decoder.read_header_info().map_err(|source| png_damaged(source, length, name))?;
    let size = check_size(name, header.width.into(), header.height.into())?;
    let grey = match (header.color_type, header.bit_depth) {
        (png::ColorType::Rgb, png::BitDepth::Eight) => false,
        (png::ColorType::Grayscale, png::BitDepth::Eight) => true,
        (colour, depth) => {
            let colour = match colour {
                png::ColorType::Rgb => "RGB",
                png::ColorType::Grayscale => "grey",
                png::ColorType::Indexed => "palette",
                png::ColorType::Rgba => "RGB with alpha",
                png::ColorType::GrayscaleAlpha => "grey with alpha",
            };
            let found = format!("a PNG of {}-bit {colour}", depth as u8);
            return Err(Error::Unsupported { name: name.to_owned(), found });
        }
    };
    Ok(PngHeader { size, grey })
}

fn decode_png(room: Vec<u8>, bytes: &[u8], name: &str) -> Result<Decoded, Error> {
    let damaged = |source| png_damaged(source, bytes.len(), name);
    let unsupported = |found: String| Error::Unsupported { name: name.to_owned(), found };

    let mut decoder = png_decoder(bytes);
    let PngHeader { size: (width, height), grey } = png_header(&mut decoder, bytes.len(), name)?;
    let mut reader = decoder.read_info().map_err(damaged)?;
    if reader.info().trns.is_some() {
        return Err(unsupported("a PNG with a transparent colour (tRNS)".to_owned()));
    }
    if let Some(animation) = reader.info().animation_control() {
        return Err(unsupported(format!("an animated PNG of {} frames", animation.num_frames)));
    }
    let channels = if grey { 1 } else { 3 };
    let mut pixels = room;
    pixels.clear();
    pixels.resize(width * height * channels, 0);
    reader.next_frame(&mut pixels).map_err(damaged)?;
    // Reads on to the end of the file, so that a cut or corrupt tail is an error too.
    reader.finish().map_err(damaged)?;
    if grey {
        pixels = pixels.iter().flat_map(|&value| [value; 3]).collect();
    }
    let image = RgbImage::new(width, height, pixels).map_err(|source| Error::Damaged {
        name: name.to_owned(),
        format: "PNG",
        reason: source.to_string(),
    })?;
    Ok(Decoded { image, was_grey: grey })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::encode_png;
    use proptest::prelude::*;

    fn png_of(
        colour: png::ColorType,
        depth: png::BitDepth,
        data: &[u8],
        tweak: impl FnOnce(&mut png::Encoder<'_, &mut Vec<u8>>),
    ) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 4, 2);
        encoder.set_color(colour);
        encoder.set_depth(depth);
        tweak(&mut encoder);
        encoder.write_header().unwrap().write_image_data(data).unwrap();
        bytes
    }

    fn message(bytes: &[u8]) -> String {
        decode_bytes(bytes, "0801.png").unwrap_err().to_string()
    }

    fn sample() -> RgbImage {
        RgbImage::new(4, 2, (0..24).map(|i| i * 9).collect()).unwrap()
    }

    #[test]
    fn grey_is_replicated_and_said() {
        let bytes =
            png_of(png::ColorType::Grayscale, png::BitDepth::Eight, &[0, 1, 2, 3, 4, 5, 6, 255], |_| {});
        let decoded = decode_bytes(&bytes, "grey.png").unwrap();
        assert!(decoded.was_grey);
        assert_eq!(&decoded.image.pixels()[18..], [6, 6, 6, 255, 255, 255]);
    }

    #[test]
    fn other_kinds_are_refused_with_what_they_are() {
        use png::{BitDepth, ColorType};
        let advice = "expected 8-bit RGB (or 8-bit grey): convert it to 8-bit RGB";
        let check = |bytes: Vec<u8>, found: &str| {
            assert_eq!(message(&bytes), format!("`0801.png` is {found}, {advice}"));
        };
        check(png_of(ColorType::Rgb, BitDepth::Sixteen, &[0; 48], |_| {}), "a PNG of 16-bit RGB");
        check(png_of(ColorType::Rgba, BitDepth::Eight, &[0; 32], |_| {}), "a PNG of 8-bit RGB with alpha");
        check(
            png_of(ColorType::GrayscaleAlpha, BitDepth::Eight, &[0; 16], |_| {}),
            "a PNG of 8-bit grey with alpha",
        );
        check(png_of(ColorType::Grayscale, BitDepth::Four, &[0; 4], |_| {}), "a PNG of 4-bit grey");
        check(
            png_of(ColorType::Indexed, BitDepth::Eight, &[0; 8], |e| e.set_palette(vec![1u8, 2, 3])),
            "a PNG of 8-bit palette",
        );
        check(
            png_of(ColorType::Rgb, BitDepth::Eight, &[0; 24], |e| e.set_trns(vec![0u8; 6])),
            "a PNG with a transparent colour (tRNS)",
        );
        check(
            png_of(ColorType::Rgb, BitDepth::Eight, &[0; 24], |e| e.set_animated(2, 0).unwrap()),
            "an animated PNG of 2 frames",
        );
    }

    #[test]
    fn empty_and_foreign_files_are_named() {
        assert_eq!(message(b""), "`0801.png` is empty (0 bytes): copy or download it again");
        assert!(
            message(&[0xff, 0xd8, 0xff, 0xe0])
                .contains("neither a PNG nor a BMP (it begins with ff d8 ff e0)")
        );
    }

    #[test]
    fn every_truncation_is_an_error_and_trailing_bytes_are_not() {
        let whole = encode_png(&sample());
        for length in 0..whole.len() {
            assert!(
                decode_bytes(&whole[..length], "cut.png").is_err(),
                "cut to {length} of {} bytes",
                whole.len()
            );
        }
        assert!(message(&whole[..whole.len() - 20]).contains("ends too early"));
        let padded = [whole.as_slice(), &[0; 512]].concat();
        assert_eq!(decode_bytes(&padded, "padded.png").unwrap().image, sample());
    }

    #[test]
    fn a_flipped_byte_anywhere_is_found_by_a_checksum() {
        let whole = encode_png(&sample());
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            assert!(decode_bytes(&bytes, "flipped.png").is_err(), "byte {at} of {}", whole.len());
        }
    }

    #[test]
    fn absurd_sizes_are_refused_before_allocation() {
        let mut header = Vec::new();
        let encoder = png::Encoder::new(&mut header, 2_000_000_000, 2_000_000_000);
        drop(encoder.write_header().unwrap());
        let message = message(&header);
        assert!(
            message.contains("claims 2000000000x2000000000 pixels, expected sides from 1 to 32768"),
            "{message}"
        );
    }

    #[test]
    fn a_missing_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = decode_file(&folder.path().join("none.png")).unwrap_err().to_string();
        assert!(error.contains("none.png"), "{error}");
    }

    /// Part a of `make_golden.py` cut rows 200..248 and columns 300..364 out of DIV2K's 0901.png as OpenCV decodes it.
    #[test]
    fn a_file_of_div2k_decodes_as_opencv_does() {
        let (Some(whole), Some(part)) = (
            crate::testing::reference("images/DIV2K_test_LR/0901.png"),
            crate::testing::reference("golden/a_div2k0901_lr.png"),
        ) else {
            return;
        };
        let whole = decode_file(&whole).unwrap();
        assert!(!whole.was_grey);
        let part = decode_file(&part).unwrap().image;
        assert_eq!(whole.image.crop(300, 200, 64, 48).unwrap().pixels(), part.pixels());
    }

    #[test]
    fn room_that_held_another_image_makes_no_difference() {
        for room in [vec![77; 1000], vec![77; 3], Vec::new()] {
            let (before, large) = (room.as_ptr(), room.len() > 100);
            let image = decode_bytes_in(room, &encode_png(&sample()), "again").unwrap().image;
            assert_eq!(image, sample());
            assert!(!large || image.pixels().as_ptr() == before, "there was room");
            let cut = decode_bytes_in(vec![77; 1000], &encode_png(&sample())[..60], "cut");
            assert!(cut.is_err());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_damaged_bmp_never_panics(at in 2usize..54, value in any::<u8>(), length in 0usize..90) {
            let mut bytes = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x03\0\0\0\x02\0\0\0\x01\0\x18\0".to_vec();
            bytes.resize(78, 0);
            prop_assert!(decode_bytes(&bytes, "sound").is_ok());
            bytes[at] = value;
            bytes.resize(length, 7);
            let _ = decode_bytes(&bytes, "damaged");
        }

        #[test]
        fn what_is_encoded_is_decoded(width in 1usize..40, height in 1usize..40, seed in any::<u64>()) {
            let mut rng = crate::imaging::testdata::Bytes::new(seed);
            let image = RgbImage::new(width, height, rng.take(width * height * 3)).unwrap();
            let decoded = decode_bytes(&encode_png(&image), "round-trip").unwrap();
            prop_assert_eq!(decoded.image.pixels(), image.pixels());
            prop_assert!(!decoded.was_grey);
        }

        #[test]
        fn garbage_never_panics(magic in 0usize..3, bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let start: &[u8] = [PNG_MAGIC.as_slice(), b"BM", b""][magic];
            let _ = decode_bytes(&[start, &bytes].concat(), "garbage");
        }
    }
}
