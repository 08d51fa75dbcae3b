//! Flipping and turning while copying: what a training patch goes through, without a pixel being touched twice.
//!
//! [`super::augment`] says what each augmentation means and is the plain twin that the tests compare with, bit for bit.

use super::{Augmentation, RgbView, SizeError};

/// Side of the squares in which a transposition walks through an image, in pixels: one has 16 lines of the source and 16 of the
/// target in the first-level cache, whatever the length of a row.
const TILE: usize = 16;
const TILE_BYTES: usize = TILE * 3;

/// What each of the 256 pixel values is in a model's data range.
#[derive(Clone)]
pub struct ValueTable([f32; 256]);

impl ValueTable {
    /// `value / (255 / data_range)` in f32, a true division as in PyTorch.
    pub fn new(data_range: f32) -> Self {
        let divisor = 255.0 / data_range;
        Self(std::array::from_fn(|value| value as f32 / divisor))
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
    if augmentation.swaps_sides() {
        let across = view.height() * 3;
        transpose(view, augmentation, |row, column, tile| {
            let start = row * across + column * 3;
            match (tile, to[start..].first_chunk_mut()) {
                (Column::Whole(tile, x), Some(line)) => gather(line, |index| quad(tile[index], x)),
                (tile, _) => {
                    let (line, _) = to[start..start + tile.len() * 3].as_chunks_mut::<3>();
                    line.iter_mut().enumerate().for_each(|(index, pixel)| *pixel = tile.pixel(index));
                }
            }
        });
        return Ok(());
    }
    by_rows(view, augmentation, to.chunks_exact_mut(view.width() * 3), |line, row| {
        match augmentation.reverses_columns() {
            true => reverse(row, line),
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
        let across = view.height();
        transpose(view, augmentation, |row, column, tile| {
            let range = row * across + column..row * across + column + tile.len();
            let planes = (&mut red[range.clone()], &mut green[range.clone()], &mut blue[range]);
            convert(table, planes, (0..tile.len()).map(|index| tile.pixel(index)));
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

/// A part of a source's column, which is a part of a target's row.
enum Column<'a> {
    /// Of a whole tile, whose size is known when this is compiled: nothing is checked in loops over it.
    Whole([&'a [u8; TILE_BYTES]; TILE], usize),
    /// Of these rows.
    Cut(&'a [&'a [u8]], usize),
}

impl Column<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Whole(..) => TILE,
            Self::Cut(rows, _) => rows.len(),
        }
    }

    #[inline(always)]
    fn pixel(&self, index: usize) -> [u8; 3] {
        match self {
            Self::Whole(rows, x) => rows[index].as_chunks().0[*x],
            Self::Cut(rows, x) => rows[index].as_chunks().0[*x],
        }
    }
}

/// Calls `write(row, column, pixels)` for pieces of the target's rows that together make all of it, when rows become columns.
#[inline(always)]
fn transpose(view: RgbView<'_>, augmentation: Augmentation, mut write: impl FnMut(usize, usize, Column<'_>)) {
    let (width, height) = (view.width(), view.height());
    let target_row = |x: usize| if augmentation.reverses_columns() { width - 1 - x } else { x };
    let mut rows = view.rows();
    let mut next_row = || {
        let row = if augmentation.reverses_rows() { rows.next_back() } else { rows.next() };
        row.unwrap_or_default()
    };
    for column in (0..height).step_by(TILE) {
        let count = TILE.min(height - column);
        let mut lines: [&[u8]; TILE] = [&[]; TILE];
        lines[..count].fill_with(&mut next_row);
        for left in (0..width).step_by(TILE) {
            let tile = lines.map(|line| line.get(left * 3..).and_then(<[u8]>::first_chunk));
            match tile {
                [Some(first), ..] if count == TILE => {
                    let tile = tile.map(|line| line.unwrap_or(first));
                    (0..TILE).for_each(|x| write(target_row(left + x), column, Column::Whole(tile, x)));
                }
                _ => (left..width.min(left + TILE))
                    .for_each(|x| write(target_row(x), column, Column::Cut(&lines[..count], x))),
            }
        }
    }
}

/// Writes a row with its pixels in reverse order.
fn reverse(row: &[u8], to: &mut [u8]) {
    let (whole, rest) = to.as_chunks_mut::<TILE_BYTES>();
    let (first, blocks) = row.as_rchunks::<TILE_BYTES>();
    for (to, from) in whole.iter_mut().zip(blocks.iter().rev()) {
        gather(to, |index| quad(from, TILE - 1 - index));
    }
    for (pixel, value) in rest.as_chunks_mut::<3>().0.iter_mut().zip(first.as_chunks::<3>().0.iter().rev()) {
        *pixel = *value;
    }
}

/// A pixel in the three low bytes; the fourth is anything.
#[inline(always)]
fn quad(row: &[u8; TILE_BYTES], x: usize) -> u32 {
    let at = x * 3;
    if let Some(&quad) = row[at..].first_chunk() {
        return u32::from_le_bytes(quad);
    }
    // The last pixel of a tile: what follows may not be there.
    u32::from_le_bytes([row[at], row[at + 1], row[at + 2], 0])
}

/// Writes a tile's row of pixels, each with one store of four bytes whose last is overwritten by the next: half of the work of moving three bytes.
#[inline(always)]
fn gather(to: &mut [u8; TILE_BYTES], pixel: impl Fn(usize) -> u32) {
    for index in 0..TILE - 1 {
        to[index * 3..index * 3 + 4].copy_from_slice(&pixel(index).to_le_bytes());
    }
    let [.., red, green, blue] = to;
    [*red, *green, *blue, _] = pixel(TILE - 1).to_le_bytes();
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
