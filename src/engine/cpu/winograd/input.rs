//! Pixels to the Winograd domain: columns first, then rows.
//!
//! Both passes read and write a few streams of adjacent values, which processors fetch ahead on their own. Transforming a tile at once would touch as many places
//! as it has points, lose the columns that neighbouring tiles share, and spill registers.

use super::filter::Filter;
use super::{Tiles, Variant, padded};
use crate::engine::cpu::BLOCK;
use crate::engine::cpu::simd::Simd;
use crate::engine::cpu::view::Source;

/// Columns of a rectangle of tiles after the first pass: `[point row][row of tiles][column of pixels][input]`, in memory behind a pixel of zeros.
#[derive(Clone, Copy)]
pub(in crate::engine::cpu) struct Columns {
    /// Columns of pixels that a row of tiles reads.
    wide: usize,
    /// Floats from one pixel to the next.
    pixel: usize,
    /// Floats from one row of points to the next.
    plane: usize,
    /// Floats in all.
    pub(in crate::engine::cpu) floats: usize,
}

impl Columns {
    /// For `down` times `across` tiles. A pixel has room for the vector that may reach past its last channel, and planes are padded for the same reason as
    /// [`super::plane`].
    pub(in crate::engine::cpu) const fn of<V: Variant>(
        (down, across): (usize, usize),
        in_channels: usize,
    ) -> Self {
        let wide = across * V::Across::TILE + 2;
        let pixel = padded(in_channels) + BLOCK;
        let plane = down * wide * pixel + BLOCK;
        Self { wide, pixel, plane, floats: pixel + V::Down::PATCH * plane }
    }
}

/// The first pass: Bᵀ d of every column of pixels.
///
/// # Safety
/// The instruction set is enabled; the sources hold every pixel of the image; `memory` has room for the columns of these tiles and channels.
#[inline(always)]
pub(in crate::engine::cpu) unsafe fn transform_columns<V: Variant, S: Simd>(
    (height, width): (usize, usize),
    sources: &[Source],
    tiles: &Tiles,
    memory: *mut f32,
    columns: &Columns,
) {
    let &Columns { wide, pixel, plane, .. } = columns;
    let left = tiles.columns.0 * V::Across::TILE;
    // Those inside the image: column 0 lies left of the first tile.
    let (from, to) = (usize::from(left == 0), wide.min(width + 1 - left));
    // SAFETY: pixels outside the image are never read, and all columns have room by contract.
    unsafe {
        let zeros = memory;
        zeros.write_bytes(0, pixel);
        for row in tiles.rows.0..tiles.rows.1 {
            let top = row * V::Down::TILE;
            let into = memory.add(pixel + (row - tiles.rows.0) * wide * pixel);
            for x in (0..from).chain(to..wide) {
                for point in 0..V::Down::PATCH {
                    into.add(point * plane + x * pixel).write_bytes(0, pixel);
                }
            }
            let mut first = 0;
            for source in sources {
                let mut rows = V::Down::patch(zeros.cast_const());
                let mut steps = V::Down::patch(0);
                for y in 0..V::Down::PATCH {
                    if (1..=height).contains(&(top + y)) {
                        rows[y] = source.view.at(tiles.image, top + y - 1, left + from - 1);
                        steps[y] = source.view.pixel;
                    }
                }
                for x in from..to {
                    let into = into.add(x * pixel + first);
                    let mut channel = 0;
                    // The last vector may reach past the source: the next one overwrites what it wrote there, or nobody reads it.
                    while channel < source.channels {
                        let mut column = V::Down::patch(S::splat(0.0));
                        for y in 0..V::Down::PATCH {
                            column[y] = S::load(rows[y].add(channel));
                        }
                        let column = V::Down::input::<S>(column);
                        for point in 0..V::Down::PATCH {
                            S::store(into.add(point * plane + channel), column[point]);
                        }
                        channel += S::LANES;
                    }
                    for y in 0..V::Down::PATCH {
                        rows[y] = rows[y].add(steps[y]);
                    }
                }
                first += source.channels;
            }
        }
    }
}

/// The second pass, for one row of points and `count` tiles from `first` on: writes `[point column][tile][input]`, planes `v_plane` floats apart.
///
/// # Safety
/// The instruction set is enabled; the first pass has filled `memory` with the columns of these tiles; `v` has as many planes as a row has points.
#[inline(always)]
pub(in crate::engine::cpu) unsafe fn transform_rows<V: Variant, S: Simd>(
    (tiles, first, count): (&Tiles, usize, usize),
    in_channels: usize,
    (memory, columns, point_row): (*const f32, &Columns, usize),
    v: *mut f32,
    v_plane: usize,
) {
    let &Columns { wide, pixel, plane, .. } = columns;
    let across = tiles.columns.1 - tiles.columns.0;
    for tile in 0..count {
        let (row, column) = ((first + tile) / across, (first + tile) % across);
        // SAFETY: the caller's promise.
        unsafe {
            let from =
                memory.add(pixel + point_row * plane + (row * wide + column * V::Across::TILE) * pixel);
            let into = v.add(tile * padded(in_channels));
            let mut channel = 0;
            while channel < in_channels {
                let mut values = V::Across::patch(S::splat(0.0));
                for x in 0..V::Across::PATCH {
                    values[x] = S::load(from.add(x * pixel + channel));
                }
                let values = V::Across::input::<S>(values);
                for x in 0..V::Across::PATCH {
                    S::store(into.add(x * v_plane + channel), values[x]);
                }
                channel += S::LANES;
            }
        }
    }
}
