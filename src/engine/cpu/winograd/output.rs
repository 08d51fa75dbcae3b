//! Products back to pixels: rows first, then columns, for the reasons given in [`super::input`].

use super::filter::Filter;
use super::{Tiles, Variant, padded, plane};
use crate::engine::cpu::epilogue::{RUN, Run};
use crate::engine::cpu::simd::Simd;
use crate::engine::cpu::view::Target;

/// Floats from one row of points to the next, after the first pass.
pub(super) const fn rows_plane<V: Variant>(tiles: usize, out_channels: usize) -> usize {
    plane(tiles * V::Across::TILE, out_channels)
}

/// The first pass, for one row of points and `count` tiles: reads `[point column][tile][output]`, planes `m_plane` floats apart, and writes
/// `[tile][column of pixels][output]`.
///
/// # Safety
/// The instruction set is enabled; `m` holds the products, and `rows` has room for the tiles.
#[inline(always)]
pub(super) unsafe fn transform_rows<V: Variant, S: Simd>(
    (m, m_plane): (*const f32, usize),
    count: usize,
    out_channels: usize,
    rows: *mut f32,
) {
    let pixel = padded(out_channels);
    for tile in 0..count {
        // SAFETY: the caller's promise.
        unsafe {
            let from = m.add(tile * pixel);
            let into = rows.add(tile * V::Across::TILE * pixel);
            let mut channel = 0;
            while channel < pixel {
                let mut values = V::Across::patch(S::splat(0.0));
                for x in 0..V::Across::PATCH {
                    values[x] = S::load(from.add(x * m_plane + channel));
                }
                let values = V::Across::output::<S>(values);
                for x in 0..V::Across::TILE {
                    S::store(into.add(x * pixel + channel), values[x]);
                }
                channel += S::LANES;
            }
        }
    }
}

/// The second pass: every column of pixels is finished and written.
///
/// # Safety
/// The instruction set is enabled; the first pass has filled `rows`, whose rows of points are [`rows_plane`] apart; the targets have room for every pixel
/// of the image, and the rows of a tile lie below one another; `bias` is null or has a value for every channel, padded to whole blocks.
#[inline(always)]
pub(super) unsafe fn transform_columns<V: Variant, S: Simd>(
    (height, width): (usize, usize),
    targets: &[Target],
    bias: *const f32,
    tiles: &Tiles,
    rows: *const f32,
) {
    let out_channels = targets.iter().map(|target| target.channels).sum();
    let (pixel, plane) = (padded(out_channels), rows_plane::<V>(tiles.count(), out_channels));
    for tile in 0..tiles.count() {
        let (row, column) = tiles.position(tile);
        let (top, left) = (row * V::Down::TILE, column * V::Across::TILE);
        let (down, across) = (V::Down::TILE.min(height - top), V::Across::TILE.min(width - left));
        let mut first = 0;
        for target in targets {
            for x in 0..across {
                // SAFETY: only pixels inside the image are written; the rest is the caller's promise.
                unsafe {
                    let from = rows.add((tile * V::Across::TILE + x) * pixel + first);
                    let run = Run::down(target, tiles.image, top, left + x);
                    // A constant number of pixels compiles to straight code.
                    if down == V::Down::TILE {
                        finish_column::<V, S>(
                            from,
                            plane,
                            bias_at(bias, first),
                            &run,
                            target.channels,
                            V::Down::TILE,
                        );
                    } else {
                        finish_column::<V, S>(from, plane, bias_at(bias, first), &run, target.channels, down);
                    }
                }
            }
            first += target.channels;
        }
    }
}

/// The bias from a channel on, or null.
#[inline(always)]
fn bias_at(bias: *const f32, channel: usize) -> *const f32 {
    if bias.is_null() { bias } else { bias.wrapping_add(channel) }
}

/// The first `count` pixels of one column of a tile.
///
/// # Safety
/// As for [`transform_columns`].
#[inline(always)]
unsafe fn finish_column<V: Variant, S: Simd>(
    from: *const f32,
    plane: usize,
    bias: *const f32,
    run: &Run,
    channels: usize,
    count: usize,
) {
    let mut channel = 0;
    while channel < channels {
        // SAFETY: the caller's promise.
        unsafe {
            let mut column = V::Down::patch(S::splat(0.0));
            for point in 0..V::Down::PATCH {
                column[point] = S::load(from.add(point * plane + channel));
            }
            let column = V::Down::output::<S>(column);
            let bias = if bias.is_null() { S::splat(0.0) } else { S::load(bias.add(channel)) };
            let mut values = [S::splat(0.0); RUN];
            for y in 0..V::Down::TILE {
                values[y] = S::add(column[y], bias);
            }
            run.finish::<S>(channel, values, count);
        }
        channel += S::LANES;
    }
}
