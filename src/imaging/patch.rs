//! Flipping and turning while copying: what a training patch goes through, without a pixel being touched twice.
//!
//! [`super::augment`] says what each augmentation means and is the plain twin that the tests compare with, bit for bit.

use super::turn::{SIDE, Square, Way};
use super::{Augmentation, RgbView, SizeError};

/// What each of the 256 pixel values is in a model's data range.
#[derive(Clone)]
pub struct ValueTable([f32; 256]);

impl ValueTable {
    /// `value / (255 / data_range)` in f32, a true division as in PyTorch.
    pub fn new(data_range: f32) -> Self {
        let divisor = 255.0 / data_range;
        Self(std::array::from_fn(|value| value as f32 / divisor))
    }

    /// The values of all bytes, in order.
    pub fn values(&self) -> &[f32; 256] {
        &self.0
    }

    /// The value of a byte.
    pub fn value(&self, byte: u8) -> f32 {
        self.0[usize::from(byte)]
    }
}

/// Writes the pixels of `view`, flipped and turned, interleaved (HWC) as in an image.
///
/// # Errors
/// [`SizeError`] when `to` is not as long as the view has bytes.
pub fn copy_augmented(view: RgbView<'_>, augmentation: Augmentation, to: &mut [u8]) -> Result<(), SizeError> {
    fits(&view, to.len())?;
    let way = Way::best();
    if augmentation.swaps_sides() {
        let across = view.height() * 3;
        let width = view.width();
        let target_row = |x: usize| if augmentation.reverses_columns() { width - 1 - x } else { x };
        squares(view, augmentation, |left, column, part| match part {
            Part::Whole(square) => {
                way.turn(&square, to, |x| target_row(left + x) * across + column * 3);
            }
            Part::Cut(lines) => {
                for x in left..width.min(left + SIDE) {
                    let start = target_row(x) * across + column * 3;
                    let line = to[start..].as_chunks_mut::<3>().0.iter_mut();
                    line.zip(lines).for_each(|(pixel, row)| *pixel = row.as_chunks().0[x]);
                }
            }
        });
        return Ok(());
    }
    by_rows(view, augmentation, to.chunks_exact_mut(view.width() * 3), |line, row| {
        match augmentation.reverses_columns() {
            true => way.reverse(row, line),
            false => line.copy_from_slice(row),
        }
    });
    Ok(())
}

/// Writes the values of the pixels of `view`, flipped and turned, channel by channel (CHW) as networks take them.
///
/// # Errors
/// [`SizeError`] when `to` does not have three values a pixel.
pub fn copy_augmented_values(
    view: RgbView<'_>,
    augmentation: Augmentation,
    table: &ValueTable,
    to: &mut [f32],
) -> Result<(), SizeError> {
    fits(&view, to.len())?;
    let (red, rest) = to.split_at_mut(view.width() * view.height());
    let (green, blue) = rest.split_at_mut(view.width() * view.height());
    if augmentation.swaps_sides() {
        let (width, across) = (view.width(), view.height());
        let target_row = |x: usize| if augmentation.reverses_columns() { width - 1 - x } else { x };
        squares(view, augmentation, |left, column, part| {
            for x in left..width.min(left + SIDE) {
                let start = target_row(x) * across + column;
                let range = start..start + part.rows();
                let planes = (&mut red[range.clone()], &mut green[range.clone()], &mut blue[range]);
                match &part {
                    // Its size is known when this is compiled: nothing is checked in loops over it.
                    Part::Whole(square) => {
                        convert(table, planes, square.iter().map(|row| row.as_chunks().0[x - left]))
                    }
                    Part::Cut(lines) => convert(table, planes, lines.iter().map(|row| row.as_chunks().0[x])),
                }
            }
        });
        return Ok(());
    }
    let width = view.width();
    let planes = red.chunks_exact_mut(width).zip(green.chunks_exact_mut(width));
    let planes = planes.zip(blue.chunks_exact_mut(width)).map(|((red, green), blue)| (red, green, blue));
    by_rows(view, augmentation, planes, |planes, row| match augmentation.reverses_columns() {
        true => convert(table, planes, row.as_chunks().0.iter().rev().copied()),
        false => convert(table, planes, row.as_chunks().0.iter().copied()),
    });
    Ok(())
}

fn fits(view: &RgbView<'_>, found: usize) -> Result<(), SizeError> {
    match view.width() * view.height() * 3 == found {
        true => Ok(()),
        false => Err(SizeError { width: view.width(), height: view.height(), found }),
    }
}

/// Values of some pixels to lines of the three planes.
fn convert(
    table: &ValueTable,
    (red, green, blue): (&mut [f32], &mut [f32], &mut [f32]),
    pixels: impl Iterator<Item = [u8; 3]>,
) {
    for (((red, green), blue), pixel) in red.iter_mut().zip(green).zip(blue).zip(pixels) {
        (*red, *green, *blue) = (table.value(pixel[0]), table.value(pixel[1]), table.value(pixel[2]));
    }
}

/// Hands each line of the target the row of the source that it is made from, when rows stay rows.
fn by_rows<Line>(
    view: RgbView<'_>,
    augmentation: Augmentation,
    lines: impl Iterator<Item = Line>,
    mut write: impl FnMut(Line, &[u8]),
) {
    let mut rows = view.rows();
    for line in lines {
        let row = if augmentation.reverses_rows() { rows.next_back() } else { rows.next() };
        write(line, row.unwrap_or_default());
    }
}

/// A part of the source that becomes a part of the target's columns.
enum Part<'a> {
    /// A whole square.
    Whole(Square<'a>),
    /// Whole rows, of which a square's width or what is left of it is meant.
    Cut(&'a [&'a [u8]]),
}

impl Part<'_> {
    fn rows(&self) -> usize {
        match self {
            Self::Whole(_) => SIDE,
            Self::Cut(rows) => rows.len(),
        }
    }
}

/// Calls `write(left, column, part)` for parts of the source that together are all of it: the part's left edge in the source, and the column of
/// the target that its first row becomes.
#[inline(always)]
fn squares(view: RgbView<'_>, augmentation: Augmentation, mut write: impl FnMut(usize, usize, Part<'_>)) {
    let (way, width, height) = (Way::best(), view.width(), view.height());
    let mut rows = view.rows();
    let mut next_row = || {
        let row = if augmentation.reverses_rows() { rows.next_back() } else { rows.next() };
        let row = row.unwrap_or_default();
        way.fetch(row);
        row
    };
    let mut next_lines = || std::array::from_fn(|_| next_row());
    let mut ahead: [&[u8]; SIDE] = next_lines();
    for column in (0..height).step_by(SIDE) {
        let count = SIDE.min(height - column);
        // The next lines come while these are worked on.
        let lines = std::mem::replace(&mut ahead, next_lines());
        for left in (0..width).step_by(SIDE) {
            let square = lines.map(|line| line.get(left * 3..).and_then(<[u8]>::first_chunk));
            write(
                left,
                column,
                match square {
                    [Some(first), ..] if count == SIDE => {
                        Part::Whole(square.map(|line| line.unwrap_or(first)))
                    }
                    _ => Part::Cut(&lines[..count]),
                },
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::imaging::testdata::Bytes;
    use crate::imaging::{RgbImage, augment};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn copies_are_what_cropping_and_augmenting_gives(
            (width, height) in (1usize..70, 1usize..70),
            (x, y) in (0usize..5, 0usize..5),
            range in prop::sample::select(vec![1.0f32, 255.0, 2.0]),
            seed in any::<u64>(),
        ) {
            let (all_width, all_height) = (width + x + 3, height + y + 2);
            let pixels = Bytes::new(seed).take(all_width * all_height * 3);
            let image = RgbImage::new(all_width, all_height, pixels).unwrap();
            let part = image.crop(x, y, width, height).unwrap();
            let view = RgbView::from(&image).crop(x, y, width, height).unwrap();
            let (mut bytes, mut values) = (vec![7; width * height * 3], vec![7.0; width * height * 3]);
            for augmentation in Augmentation::ALL {
                let expected = augment(&part, augmentation);
                copy_augmented(view, augmentation, &mut bytes).unwrap();
                prop_assert_eq!(&bytes, expected.pixels(), "mode {}", augmentation.mode());
                copy_augmented_values(view, augmentation, &ValueTable::new(range), &mut values).unwrap();
                for (channel, plane) in values.chunks_exact(width * height).enumerate() {
                    let expected = expected.pixels().iter().skip(channel).step_by(3);
                    let expected: Vec<f32> = expected.map(|&value| f32::from(value) / (255.0 / range)).collect();
                    prop_assert!(plane == expected, "mode {}, channel {}", augmentation.mode(), channel);
                }
            }
        }
    }

    #[test]
    fn a_buffer_of_another_size_is_an_error() {
        let image = RgbImage::new(2, 1, vec![0; 6]).unwrap();
        let view = RgbView::from(&image);
        for length in [0, 5, 7] {
            for augmentation in Augmentation::ALL {
                assert!(copy_augmented(view, augmentation, &mut vec![0; length]).is_err());
                let (table, mut to) = (ValueTable::new(1.0), vec![0.0; length]);
                assert!(copy_augmented_values(view, augmentation, &table, &mut to).is_err());
            }
        }
    }
}
