//! The compared part of an image: interleaved 8-bit values without the border.

use super::Error;

/// A rectangle of interleaved values inside a larger image.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    values: &'a [u8],
    /// Values from one row to the next.
    stride: usize,
    /// Index of the first value.
    start: usize,
    /// Interleaved values a pixel.
    pub(super) channels: usize,
    /// Width of the rectangle in pixels.
    pub(super) width: usize,
    /// Height of the rectangle in pixels.
    pub(super) height: usize,
}

impl<'a> View<'a> {
    /// `values` is an image of `width` x `height` pixels with `channels` interleaved values each, of which `border` pixels on every side are left out.
    ///
    /// # Errors
    /// [`Error::TooSmall`] when less than `min_side` pixels remain in a dimension.
    pub(super) fn new(
        metric: &'static str,
        values: &'a [u8],
        (width, height): (usize, usize),
        channels: usize,
        border: usize,
        min_side: usize,
    ) -> Result<Self, Error> {
        let inner = |side: usize| side.checked_sub(border.checked_mul(2)?).filter(|&left| left >= min_side);
        match (inner(width), inner(height)) {
            (Some(inner_width), Some(inner_height)) => Ok(Self {
                values,
                stride: width * channels,
                start: (border * width + border) * channels,
                channels,
                width: inner_width,
                height: inner_height,
            }),
            _ => Err(Error::TooSmall { metric, width, height, border, min_side }),
        }
    }

    /// The interleaved values of row `y` of the rectangle.
    pub(super) fn row(&self, y: usize) -> &'a [u8] {
        let start = self.start + y * self.stride;
        &self.values[start..start + self.width * self.channels]
    }
}
