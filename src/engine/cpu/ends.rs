//! Both ends of a network: from host images to rows of pixels, and back.
//!
//! The last pixel shuffle is done on the way out, so that the image of many pixels is written once, in its final form.

use super::pointwise::Rows;
use super::simd::{Kernel, Simd};
use super::view::View;

/// One piece of a batch of planes (NCHW) on its way in.
pub struct FromPlanes {
    /// Height and width in pixels.
    pub size: (usize, usize),
    /// How many channels.
    pub channels: usize,
    /// The first value of the batch.
    pub planes: *const f32,
    /// Where the pixels go.
    pub output: View,
    /// Which rows.
    pub piece: Rows,
}

impl Kernel for FromPlanes {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        let ((height, width), image) = (self.size, self.piece.image);
        for y in self.piece.rows.0..self.piece.rows.1 {
            for channel in 0..self.channels {
                // SAFETY: the planes hold the whole batch, and the pixels exist in the view.
                unsafe {
                    let from = self.planes.add(((image * self.channels + channel) * height + y) * width);
                    let to = self.output.at(image, y, 0).add(channel);
                    for x in 0..width {
                        *to.add(x * self.output.pixel) = *from.add(x);
                    }
                }
            }
        }
    }
}

/// One piece of an interleaved 8-bit RGB image on its way in: `value / (255 / range)` in f32, a true division as in PyTorch.
pub struct FromImage {
    /// Width in pixels.
    pub width: usize,
    /// The image that the piece belongs to: its first byte.
    pub bytes: *const u8,
    /// The value of white.
    pub data_range: f32,
    /// Where the pixels go.
    pub output: View,
    /// Which rows.
    pub piece: Rows,
}

impl Kernel for FromImage {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        let divisor = 255.0 / self.data_range;
        for y in self.piece.rows.0..self.piece.rows.1 {
            // SAFETY: the image has all its bytes, and the pixels exist in the view.
            unsafe {
                let (from, to) = (self.bytes.add(y * self.width * 3), self.output.at(self.piece.image, y, 0));
                for x in 0..self.width {
                    for channel in 0..3 {
                        let value = f32::from(*from.add(x * 3 + channel));
                        *to.add(x * self.output.pixel + channel) = value / divisor;
                    }
                }
            }
        }
    }
}

/// Calls a function with the factor as a constant where it is a usual one (`FACTOR == 0` stands for any other).
macro_rules! with_factor {
    ($factor:expr, |$constant:ident| $body:expr) => {
        match $factor {
            1 => {
                const $constant: usize = 1;
                $body
            }
            2 => {
                const $constant: usize = 2;
                $body
            }
            3 => {
                const $constant: usize = 3;
                $body
            }
            4 => {
                const $constant: usize = 4;
                $body
            }
            _ => {
                const $constant: usize = 0;
                $body
            }
        }
    };
}
pub(super) use with_factor;

/// One piece of a result on its way out to planes (NCHW): `planes[c][f*y+i][f*x+j] = input[c*f*f + f*i + j][y][x]`.
pub struct ToPlanes {
    /// Height and width of the input in pixels.
    pub size: (usize, usize),
    /// The upscaling factor f; 1 for none.
    pub factor: usize,
    /// Channels of the output.
    pub channels: usize,
    /// What is read: `channels * factor * factor` channels.
    pub input: View,
    /// The first value of the batch of planes.
    pub planes: *mut f32,
    /// Which rows of the input.
    pub piece: Rows,
}

impl Kernel for ToPlanes {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        // SAFETY: the caller's promise.
        with_factor!(self.factor, |FACTOR| unsafe { self.run_factor::<FACTOR>() });
    }
}

impl ToPlanes {
    /// # Safety
    /// The views and the planes hold the whole batch; `FACTOR` is the factor or 0.
    #[inline(always)]
    unsafe fn run_factor<const FACTOR: usize>(&self) {
        let factor = if FACTOR == 0 { self.factor } else { FACTOR };
        let ((height, width), image) = (self.size, self.piece.image);
        let (fine_row, plane) = (width * factor, width * height * factor * factor);
        for y in self.piece.rows.0..self.piece.rows.1 {
            // SAFETY: the caller's promise.
            unsafe {
                let from = self.input.at(image, y, 0).cast_const();
                let to = self.planes.add(image * self.channels * plane + y * factor * fine_row);
                for x in 0..width {
                    let pixel = from.add(x * self.input.pixel);
                    for channel in 0..self.channels {
                        for i in 0..factor {
                            let to = to.add(channel * plane + i * fine_row + x * factor);
                            to.copy_from_nonoverlapping(pixel.add((channel * factor + i) * factor), factor);
                        }
                    }
                }
            }
        }
    }
}

/// One piece of a result on its way out to an interleaved 8-bit RGB image: pixel shuffle, then what [`crate::metrics::quantise`] does.
pub struct ToImage {
    /// Height and width of the input in pixels.
    pub size: (usize, usize),
    /// The upscaling factor f; 1 for none.
    pub factor: usize,
    /// The value of white.
    pub data_range: f32,
    /// What is read: `3 * factor * factor` channels.
    pub input: View,
    /// The image that the piece belongs to: its first byte.
    pub bytes: *mut u8,
    /// Which rows of the input.
    pub piece: Rows,
    /// Set by the kernel: the first value of the piece, by channel, row and column of the output, that is not a number. The least over all
    /// pieces is what [`crate::metrics::Error::NotANumber`] names. Infinities are clamped.
    pub not_a_number: Option<(usize, usize, usize)>,
}

impl Kernel for ToImage {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        // SAFETY: the caller's promise.
        let all_numbers = with_factor!(self.factor, |FACTOR| unsafe { self.run_factor::<FACTOR>() });
        // SAFETY: as above.
        self.not_a_number = if all_numbers { None } else { unsafe { self.first_not_a_number() } };
    }
}

impl ToImage {
    /// Whether all values are numbers.
    ///
    /// # Safety
    /// The view and the bytes hold the whole image; `FACTOR` is the factor or 0.
    #[inline(always)]
    unsafe fn run_factor<const FACTOR: usize>(&self) -> bool {
        /// Pixels that are rounded together: those of the factor 4.
        const PIXELS: usize = 16;
        let factor = if FACTOR == 0 { self.factor } else { FACTOR };
        let (width, area) = (self.size.1, factor * factor);
        let fine_row = width * factor * 3;
        let mut wrong = 0;
        for y in self.piece.rows.0..self.piece.rows.1 {
            // SAFETY: the caller's promise.
            unsafe {
                let from = self.input.at(self.piece.image, y, 0).cast_const();
                let to = self.bytes.add(y * factor * fine_row);
                for x in 0..width {
                    let pixel = from.add(x * self.input.pixel);
                    let to = to.add(x * factor * 3);
                    for first in (0..area).step_by(PIXELS) {
                        let count = PIXELS.min(area - first);
                        let mut pixels = [0u32; PIXELS];
                        for (k, rgb) in pixels.iter_mut().enumerate().take(count) {
                            let at = pixel.add(first + k);
                            let (r, g, b) = (*at, *at.add(area), *at.add(2 * area));
                            wrong |= u32::from(r.is_nan() | g.is_nan() | b.is_nan());
                            let [r, g, b] = [r, g, b].map(|value| quantised(value, self.data_range));
                            *rgb = r | g << 8 | b << 16;
                        }
                        for (k, rgb) in pixels.into_iter().enumerate().take(count) {
                            let (i, j) = ((first + k) / factor, (first + k) % factor);
                            let bytes = rgb.to_le_bytes();
                            to.add(i * fine_row + j * 3).copy_from_nonoverlapping(bytes.as_ptr(), 3);
                        }
                    }
                }
            }
        }
        wrong == 0
    }

    /// # Safety
    /// The view holds the whole image.
    unsafe fn first_not_a_number(&self) -> Option<(usize, usize, usize)> {
        let factor = self.factor;
        let (top, bottom) = self.piece.rows;
        for channel in 0..3 {
            for y in top * factor..bottom * factor {
                for x in 0..self.size.1 * factor {
                    let from = (channel * factor + y % factor) * factor + x % factor;
                    // SAFETY: the caller's promise.
                    let value = unsafe { *self.input.at(self.piece.image, y / factor, x / factor).add(from) };
                    if value.is_nan() {
                        return Some((channel, y, x));
                    }
                }
            }
        }
        None
    }
}

/// `(value.clamp(0.0, data_range) * 255.0 / data_range).round_ties_even()`; anything for what is not a number.
#[inline(always)]
fn quantised(value: f32, data_range: f32) -> u32 {
    /// Its last bit is worth one: adding it rounds half to even, and the whole number then stands in the lowest bits.
    const ROUND: f32 = 8_388_608.0;
    let value = if value > 0.0 { value } else { 0.0 };
    let value = if value < data_range { value } else { data_range };
    (value * 255.0 / data_range + ROUND).to_bits() & 0xff
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Buffer, SIZES, cuts, numbers};
    use super::super::simd::{Isa, run};
    use super::*;

    /// The shuffled value's position before the shuffle, both NCHW.
    fn source(index: usize, factor: usize, (height, width): (usize, usize)) -> usize {
        let (fine_width, fine_height) = (width * factor, height * factor);
        let (x, y, plane) =
            (index % fine_width, index / fine_width % fine_height, index / fine_width / fine_height);
        let channel = (plane * factor + y % factor) * factor + x % factor;
        (channel * height + y / factor) * width + x / factor
    }

    #[test]
    fn planes_come_in_and_go_out() {
        for size in SIZES {
            let (height, width) = size;
            for (factor, channels) in [(1, 3), (1, 25), (2, 3), (3, 3), (4, 3), (4, 1), (5, 2)] {
                let all = channels * factor * factor;
                let shape = [2, all, height, width];
                let values = numbers(shape.iter().product(), 1);
                let expected: Vec<f32> =
                    (0..values.len()).map(|index| values[source(index, factor, size)]).collect();
                for isa in Isa::available() {
                    let mut buffer = Buffer::new(shape);
                    let mut planes = vec![f32::NAN; values.len()];
                    for image in 0..2 {
                        for rows in cuts(height) {
                            let piece = Rows { image, rows };
                            let (from, view) = (values.as_ptr(), buffer.view());
                            let mut kernel =
                                FromPlanes { size, channels: all, planes: from, output: view, piece };
                            // SAFETY: the buffers are live and hold the batch.
                            unsafe { run(isa, &mut kernel) };
                            let planes = planes.as_mut_ptr();
                            let mut kernel = ToPlanes { size, factor, channels, input: view, planes, piece };
                            // SAFETY: as above.
                            unsafe { run(isa, &mut kernel) };
                        }
                    }
                    assert_eq!(buffer.nchw(), values, "{isa}");
                    assert_eq!(planes, expected, "{isa}, {factor}");
                }
            }
        }
    }

    /// The plain rule that the kernel's trick stands for; `metrics::quantise` is tested against it as well as against official images.
    fn rule(value: f32, data_range: f32) -> u32 {
        (value.clamp(0.0, data_range) * 255.0 / data_range).round_ties_even() as u32
    }

    #[test]
    fn quantising_is_the_rule_for_ties_bounds_and_infinities() {
        for data_range in [1.0f32, 255.0] {
            for tie in 0..=2 * 256 {
                let value = (tie as f32 - 0.5) / 2.0 * (data_range / 255.0);
                let mut value = value - 1e-3 * data_range;
                for _ in 0..1000 {
                    assert_eq!(
                        quantised(value, data_range),
                        rule(value, data_range),
                        "{value} of {data_range}"
                    );
                    value += 2e-6 * data_range;
                }
            }
            for tie in 0..255 {
                let value = (tie as f32 + 0.5) * (data_range / 255.0);
                for value in [value.next_down(), value, value.next_up()] {
                    assert_eq!(
                        quantised(value, data_range),
                        rule(value, data_range),
                        "{value} of {data_range}"
                    );
                }
            }
            for value in [f32::INFINITY, f32::NEG_INFINITY, -0.0, 1e30, -1e30, 1e-40, f32::MIN_POSITIVE] {
                assert_eq!(quantised(value, data_range), rule(value, data_range), "{value}");
            }
        }
    }

    #[test]
    fn images_come_in_divided_and_go_out_rounded() {
        for size in SIZES {
            let (height, width) = size;
            for (factor, data_range) in [(1, 1.0f32), (2, 255.0), (3, 1.0), (4, 1.0), (4, 255.0), (5, 1.0)] {
                let shape = [2, 3 * factor * factor, height, width];
                let values: Vec<f32> = numbers(shape.iter().product(), 1)
                    .iter()
                    .map(|value| (value * 0.7 + 0.5) * data_range)
                    .collect();
                let pixels = height * width * factor * factor;
                for isa in Isa::available() {
                    let mut buffer = Buffer::of(shape, &values);
                    for image in 0..2 {
                        let mut bytes = vec![0u8; pixels * 3];
                        for rows in cuts(height) {
                            let mut kernel = ToImage {
                                size,
                                factor,
                                data_range,
                                input: buffer.view(),
                                bytes: bytes.as_mut_ptr(),
                                piece: Rows { image, rows },
                                not_a_number: Some((0, 0, 0)),
                            };
                            // SAFETY: the buffers are live and hold the image.
                            unsafe { run(isa, &mut kernel) };
                            assert_eq!(kernel.not_a_number, None);
                        }
                        let expected: Vec<u8> = (0..pixels * 3)
                            .map(|index| {
                                let at = (image * 3 + index % 3) * pixels + index / 3;
                                rule(values[source(at, factor, size)], data_range) as u8
                            })
                            .collect();
                        assert_eq!(bytes, expected, "{isa}, {factor}");

                        let mut back = Buffer::new([2, 3, height * factor, width * factor]);
                        for rows in cuts(height * factor) {
                            let mut kernel = FromImage {
                                width: width * factor,
                                bytes: bytes.as_ptr(),
                                data_range,
                                output: back.view(),
                                piece: Rows { image, rows },
                            };
                            // SAFETY: as above.
                            unsafe { run(isa, &mut kernel) };
                        }
                        let found = &back.nchw()[image * 3 * pixels..][..3 * pixels];
                        for (index, &found) in found.iter().enumerate() {
                            let byte = bytes[index % pixels * 3 + index / pixels];
                            assert_eq!(found, f32::from(byte) / (255.0 / data_range));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_first_value_that_is_not_a_number_is_named() {
        let (size, factor) = ((3, 2), 2);
        let mut values = [0.5f32; 12 * 6];
        // Channel 2·4 + 1·2 + 0 at row 1, column 1, and channel 1·4 + 0·2 + 1 at row 2, column 0.
        values[10 * 6 + 3] = f32::NAN;
        values[5 * 6 + 4] = f32::NAN;
        for isa in Isa::available() {
            let mut buffer = Buffer::of([1, 12, 3, 2], &values);
            let mut found = |rows| {
                let mut bytes = [0u8; 3 * 4 * 6];
                let (input, bytes) = (buffer.view(), bytes.as_mut_ptr());
                let (piece, not_a_number) = (Rows { image: 0, rows }, None);
                let mut kernel = ToImage { size, factor, data_range: 1.0, input, bytes, piece, not_a_number };
                // SAFETY: the buffers are live and hold the image.
                unsafe { run(isa, &mut kernel) };
                kernel.not_a_number
            };
            assert_eq!(found((0, 1)), None);
            assert_eq!(found((1, 2)), Some((2, 3, 2)));
            assert_eq!(found((0, 3)), Some((1, 4, 1)));
        }
    }
}
