//! The one image type: 8-bit RGB, rows top to bottom, pixels interleaved (HWC).

/// An 8-bit RGB image. The invariant is `pixels.len() == width * height * 3`.
#[derive(Clone, PartialEq, Eq)]
pub struct RgbImage {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

/// The bytes given do not fill the size given, or the size is empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an RGB image of {width}x{height} cannot be made of {found} bytes")]
pub struct SizeError {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Bytes given.
    pub found: usize,
}

impl RgbImage {
    /// Wraps interleaved RGB bytes (HWC).
    ///
    /// # Errors
    /// [`SizeError`] when a side is zero or the bytes do not fill the image.
    pub fn new(width: usize, height: usize, pixels: Vec<u8>) -> Result<Self, SizeError> {
        let expected = width.checked_mul(height).and_then(|n| n.checked_mul(3));
        if width == 0 || height == 0 || expected != Some(pixels.len()) {
            return Err(SizeError { width, height, found: pixels.len() });
        }
        Ok(Self { width, height, pixels })
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Interleaved RGB bytes, rows top to bottom.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Gives up the size and keeps the bytes.
    pub fn into_pixels(self) -> Vec<u8> {
        self.pixels
    }

    /// The SHA-256, in lower-case hexadecimal, of `WxH:RGB:` followed by the RGB bytes: one recipe for "the same pixels" that does not depend on
    /// the file format, in use for DIV2K by other projects as well.
    pub fn pixels_sha256(&self) -> String {
        let mut bytes = format!("{}x{}:RGB:", self.width, self.height).into_bytes();
        bytes.extend_from_slice(&self.pixels);
        crate::fsio::sha256_hex(&bytes)
    }

    /// The rectangle of `width` x `height` whose top left pixel is (`x`, `y`), or `None` if it is empty or not inside.
    pub fn crop(&self, x: usize, y: usize, width: usize, height: usize) -> Option<Self> {
        if width == 0
            || height == 0
            || x.checked_add(width)? > self.width
            || y.checked_add(height)? > self.height
        {
            return None;
        }
        let mut pixels = Vec::with_capacity(width * height * 3);
        for row in y..y + height {
            let start = (row * self.width + x) * 3;
            pixels.extend_from_slice(self.pixels.get(start..start + width * 3)?);
        }
        Some(Self { width, height, pixels })
    }
}

/// The size alone: a megabyte of pixels helps nobody in a test's message.
impl std::fmt::Debug for RgbImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RgbImage({}x{})", self.width, self.height)
    }
}
