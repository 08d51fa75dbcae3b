//! The size of an image in a file, without decoding it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::Error;
use super::decode::{HEADER_BYTES, dimensions_of};
use crate::fsio::io_context;

/// Width and height in pixels of a PNG or BMP file, of which only the header is read. What [`decode_file`](super::decode_file) refuses by the header alone
/// (foreign files, other kinds of pixels, absurd sizes) is refused here with the same words; damage behind the header is not seen.
///
/// # Errors
/// [`Error`], naming the file, what was found, what was expected and what to do.
pub fn dimensions(path: &Path) -> Result<(usize, usize), Error> {
    let file = io_context(File::open(path), "open", path)?;
    let mut start = Vec::new();
    io_context(file.take(HEADER_BYTES).read_to_end(&mut start), "read", path)?;
    dimensions_of(&start, &path.display().to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::imaging::testdata::Bytes;
    use crate::imaging::{RgbImage, decode_bytes, encode_png};

    /// The size, or what the message says.
    fn found(bytes: &[u8]) -> Result<(usize, usize), String> {
        let start = &bytes[..bytes.len().min(HEADER_BYTES as usize)];
        dimensions_of(start, "a").map_err(|error| error.to_string())
    }

    /// A PNG without image data.
    fn headers(width: u32, height: u32, colour: png::ColorType, depth: png::BitDepth) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, width, height);
        encoder.set_color(colour);
        encoder.set_depth(depth);
        drop(encoder.write_header().unwrap());
        bytes
    }

    #[test]
    fn only_the_header_is_read() {
        use png::{BitDepth::Eight, ColorType};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0801.png");
        let image = RgbImage::new(5, 3, (0..45).collect()).unwrap();
        std::fs::write(&path, encode_png(&image)).unwrap();
        assert_eq!(dimensions(&path).unwrap(), (5, 3));
        // The pixels may be missing altogether.
        std::fs::write(&path, &encode_png(&image)[..33]).unwrap();
        assert_eq!(dimensions(&path).unwrap(), (5, 3));
        assert_eq!(found(&headers(2040, 1356, ColorType::Grayscale, Eight)), Ok((2040, 1356)));
        let error = dimensions(&folder.path().join("none.png")).unwrap_err().to_string();
        assert!(error.starts_with("cannot open `") && error.contains("none.png"), "{error}");
    }

    #[test]
    fn what_is_not_decoded_has_no_size_either() {
        use png::{BitDepth, ColorType};
        let rgba = found(&headers(4, 2, ColorType::Rgba, BitDepth::Eight)).unwrap_err();
        assert!(rgba.contains("`a` is a PNG of 8-bit RGB with alpha"), "{rgba}");
        let deep = found(&headers(4, 2, ColorType::Rgb, BitDepth::Sixteen)).unwrap_err();
        assert!(deep.contains("a PNG of 16-bit RGB"), "{deep}");
        assert!(found(&headers(40_000, 2, ColorType::Rgb, BitDepth::Eight)).unwrap_err().contains("40000x2"));
        assert!(found(b"").unwrap_err().contains("is empty"));
        assert!(found(b"GIF89a").unwrap_err().contains("neither a PNG nor a BMP"));
        let whole = headers(4, 2, ColorType::Rgb, BitDepth::Eight);
        for length in 1..33 {
            assert!(found(&whole[..length]).is_err(), "cut to {length}");
        }
        let mut flipped = whole;
        flipped[19] ^= 1;
        assert!(found(&flipped).unwrap_err().contains("damaged PNG"), "the header has a checksum of its own");
    }

    /// The images of Set5 come as BMP, those of DIV2K as PNG.
    #[test]
    fn published_images_have_the_size_they_decode_to() {
        for folder in ["images/Set5_HR", "images/Set5_LR_x4", "images/DIV2K_test_LR"] {
            let Some(folder) = crate::testing::reference(folder) else {
                return;
            };
            let list = crate::dataset::list_images(&folder).unwrap();
            for path in list.images {
                let image = crate::imaging::decode_file(&path).unwrap().image;
                assert_eq!(dimensions(&path).unwrap(), (image.width(), image.height()), "{path:?}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// Whatever decodes has the size it decodes to, and hostile bytes do not panic.
        #[test]
        fn size_and_decoded_image_agree(
            width in 1usize..40, height in 1usize..40, seed in any::<u64>(), bmp in any::<bool>(),
            at in 2usize..54, value in any::<u8>(), length in 0usize..200,
        ) {
            let image = RgbImage::new(width, height, Bytes::new(seed).take(width * height * 3)).unwrap();
            let mut bytes = if bmp { bmp_of(width, height) } else { encode_png(&image) };
            prop_assert_eq!(found(&bytes), Ok((width, height)));
            bytes[at] = value;
            if let Ok(decoded) = decode_bytes(&bytes, "a") {
                prop_assert_eq!(found(&bytes), Ok((decoded.image.width(), decoded.image.height())));
            }
            bytes.truncate(length);
            let _ = found(&bytes);
        }
    }

    /// A black BMP of 24 bits a pixel.
    fn bmp_of(width: usize, height: usize) -> Vec<u8> {
        let mut bytes = b"BM\0\0\0\0\0\0\0\0".to_vec();
        bytes.extend(54u32.to_le_bytes());
        bytes.extend(40u32.to_le_bytes());
        bytes.extend((width as i32).to_le_bytes());
        bytes.extend((height as i32).to_le_bytes());
        bytes.extend(1u16.to_le_bytes());
        bytes.extend(24u16.to_le_bytes());
        bytes.resize(54 + (width * 3).next_multiple_of(4) * height, 0);
        bytes
    }
}
