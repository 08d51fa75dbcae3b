//! A borrowed part of an 8-bit RGB image, wherever its pixels lie: in an [`RgbImage`], or in a file that is mapped into memory.

use sha2::{Digest, Sha256};

use super::{RgbImage, SizeError};

/// A rectangle of 8-bit RGB pixels, borrowed: rows top to bottom, pixels interleaved. It is not empty, and every row is `width * 3` bytes.
#[derive(Clone, Copy)]
pub struct RgbView<'a> {
    width: usize,
    height: usize,
    /// Bytes from the start of a row to the start of the next, at least `width * 3`.
    stride: usize,
    /// From the first byte of the first row to the last byte of the last row.
    bytes: &'a [u8],
}

impl<'a> RgbView<'a> {
    /// Borrows interleaved RGB bytes without gaps between the rows.
    ///
    /// # Errors
    /// [`SizeError`] when a side is zero or the bytes do not fill the image.
    pub fn new(width: usize, height: usize, bytes: &'a [u8]) -> Result<Self, SizeError> {
        let expected = width.checked_mul(height).and_then(|n| n.checked_mul(3));
        if width == 0 || height == 0 || expected != Some(bytes.len()) {
            return Err(SizeError { width, height, found: bytes.len() });
        }
        Ok(Self { width, height, stride: width * 3, bytes })
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The interleaved bytes of row `y`, or `None` below the image.
    pub fn row(&self, y: usize) -> Option<&'a [u8]> {
        let start = (y < self.height).then(|| y * self.stride)?;
        self.bytes.get(start..start + self.width * 3)
    }

    /// The interleaved bytes of all rows, top to bottom.
    pub fn rows(&self) -> impl DoubleEndedIterator<Item = &'a [u8]> + ExactSizeIterator + use<'a> {
        let length = self.width * 3;
        self.bytes.chunks(self.stride).map(move |row| &row[..length])
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
        let start = y * self.stride + x * 3;
        let bytes = self.bytes.get(start..start + (height - 1) * self.stride + width * 3)?;
        Some(Self { width, height, stride: self.stride, bytes })
    }

    /// A copy of the square of `side` pixels whose top left pixel is (`x`, `y`); what lies outside the image is zero, as the paper pads small images.
    ///
    /// # Errors
    /// [`SizeError`] when the square is empty or its bytes cannot be counted.
    pub fn padded_square(&self, x: usize, y: usize, side: usize) -> Result<RgbImage, SizeError> {
        let error = SizeError { width: side, height: side, found: 0 };
        let length = side.checked_mul(side).and_then(|n| n.checked_mul(3)).ok_or(error)?;
        let mut pixels = vec![0; length];
        let width = self.width.saturating_sub(x).min(side) * 3;
        if width > 0 {
            for (line, row) in pixels.chunks_exact_mut(side * 3).zip(self.rows().skip(y)) {
                line[..width].copy_from_slice(&row[x * 3..x * 3 + width]);
            }
        }
        RgbImage::new(side, side, pixels)
    }

    /// A copy of the pixels.
    ///
    /// # Errors
    /// None in practice: a view fills its size.
    pub fn to_image(&self) -> Result<RgbImage, SizeError> {
        let mut pixels = Vec::with_capacity(self.width * self.height * 3);
        self.rows().for_each(|row| pixels.extend_from_slice(row));
        RgbImage::new(self.width, self.height, pixels)
    }

    /// The digest whose hexadecimal form is [`RgbImage::pixels_sha256`], without a copy of the pixels.
    pub fn pixels_digest(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(format!("{}x{}:RGB:", self.width, self.height));
        match self.stride == self.width * 3 {
            true => hasher.update(self.bytes),
            false => self.rows().for_each(|row| hasher.update(row)),
        }
        hasher.finalize().into()
    }
}

impl<'a> From<&'a RgbImage> for RgbView<'a> {
    fn from(image: &'a RgbImage) -> Self {
        Self {
            width: image.width(),
            height: image.height(),
            stride: image.width() * 3,
            bytes: image.pixels(),
        }
    }
}

/// The size alone, as for [`RgbImage`].
impl std::fmt::Debug for RgbView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RgbView({}x{})", self.width, self.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::testdata::Bytes;

    fn image(width: usize, height: usize) -> RgbImage {
        RgbImage::new(width, height, Bytes::new(3).take(width * height * 3)).unwrap()
    }

    #[test]
    fn a_view_shows_what_the_image_holds() {
        let image = image(7, 5);
        let view = RgbView::from(&image);
        assert_eq!(view.to_image().unwrap(), image);
        assert_eq!(RgbView::new(7, 5, image.pixels()).unwrap().to_image().unwrap(), image);
        assert!(RgbView::new(7, 4, image.pixels()).is_err() && RgbView::new(0, 0, &[]).is_err());
        for (x, y, width, height) in [(0, 0, 7, 5), (2, 1, 3, 4), (6, 4, 1, 1)] {
            let part = view.crop(x, y, width, height).unwrap();
            assert_eq!(part.to_image().ok(), image.crop(x, y, width, height));
            assert_eq!(part.rows().len(), height);
            assert_eq!(part.row(height), None);
            // A crop of a crop is the crop of both offsets.
            assert_eq!(
                part.crop(0, height - 1, width, 1).unwrap().to_image().ok(),
                image.crop(x, y + height - 1, width, 1)
            );
        }
        assert!(view.crop(5, 0, 3, 1).is_none() && view.crop(0, 5, 1, 1).is_none());
        assert!(view.crop(1, 1, 0, 1).is_none() && view.crop(usize::MAX, 1, 2, 1).is_none());
    }

    #[test]
    fn the_digest_is_that_of_the_image() {
        let image = image(7, 5);
        let hex = |view: RgbView<'_>| -> String {
            view.pixels_digest().iter().map(|byte| format!("{byte:02x}")).collect()
        };
        assert_eq!(hex(RgbView::from(&image)), image.pixels_sha256());
        let part = RgbView::from(&image).crop(1, 2, 4, 3).unwrap();
        assert_eq!(hex(part), image.crop(1, 2, 4, 3).unwrap().pixels_sha256());
    }

    #[test]
    fn outside_the_image_is_zero() {
        let image = image(3, 2);
        let square = RgbView::from(&image).padded_square(1, 0, 4).unwrap();
        for y in 0..4 {
            for x in 0..4 {
                let found = &square.pixels()[(y * 4 + x) * 3..][..3];
                match x < 2 && y < 2 {
                    true => assert_eq!(found, &image.pixels()[(y * 3 + x + 1) * 3..][..3]),
                    false => assert_eq!(found, [0; 3]),
                }
            }
        }
        let nothing = RgbView::from(&image).padded_square(3, 9, 2).unwrap();
        assert!(nothing.pixels().iter().all(|&value| value == 0));
        assert!(RgbView::from(&image).padded_square(0, 0, usize::MAX).is_err());
    }
}
