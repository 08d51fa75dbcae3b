//! [`RgbImage`] to PNG.

use std::path::Path;

use super::{Error, RgbImage};
use crate::fsio;

/// The bytes of a PNG file holding `image`: 8-bit RGB, no metadata, the same bytes for the same pixels on every machine.
///
/// The compressor is the one made for speed on filtered image rows (fdeflate): one evaluation may write hundreds of 2K images.
pub fn encode_png(image: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(image.pixels().len() / 2 + 1024);
    #[expect(
        clippy::expect_used,
        reason = "an RgbImage is not empty, fills its size, and writing to memory does not fail; a side of 2^31 pixels is beyond any image that can be decoded or computed"
    )]
    try_encode(image, &mut bytes).expect("an image encodes to memory");
    bytes
}

fn try_encode(image: &RgbImage, bytes: &mut Vec<u8>) -> Result<(), png::EncodingError> {
    // A side above u32::MAX is turned into a size the encoder refuses.
    let side = |length: usize| u32::try_from(length).unwrap_or(0);
    let mut encoder = png::Encoder::new(bytes, side(image.width()), side(image.height()));
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(image.pixels())?;
    writer.finish()
}

/// Writes `image` to `path` as PNG, atomically; parent folders are created.
///
/// # Errors
/// [`Error::File`] when the file cannot be written; `path` then holds what it held before.
pub fn write_png(path: &Path, image: &RgbImage) -> Result<(), Error> {
    Ok(fsio::write(path, &encode_png(image))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_pixels_give_equal_files() {
        let image = RgbImage::new(5, 7, (0..105).collect()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/folder/0001.png");
        write_png(&path, &image).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), encode_png(&image.clone()));
        assert_eq!(crate::imaging::decode_file(&path).unwrap().image, image);
    }
}
