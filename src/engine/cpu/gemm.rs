//! The register tile under every convolution: a few rows times one [`BLOCK`] of columns.
//!
//! `sums[r][c] += Σ_k a[r][k] · b[k][c]`, where a row of `a` is contiguous in `k` (channels of a pixel, or of a Winograd tile) and `b` is packed
//! as `[k][BLOCK]`. Each sum runs over `k` in order, with one accumulator, so that neither tiling nor the number of lanes changes a bit.

use super::BLOCK;
use super::simd::Simd;

/// Terms of a product that are added between two looks at their number: so few remain of such loops that processors foresee their end.
const UNROLLED: usize = 4;

/// Vectors in a block.
#[inline(always)]
pub(super) const fn vectors<S: Simd>() -> usize {
    BLOCK / S::LANES
}

/// Adds a product of `k` terms to a register tile of `R` rows and one block of columns.
///
/// # Safety
/// The instruction set is enabled; `a` has `R` rows of `k` values, `row` floats apart; `b` has `k * BLOCK` values.
#[inline(always)]
pub(super) unsafe fn multiply<S: Simd, const R: usize>(
    sums: &mut [S::Block; R],
    a: *const f32,
    row: usize,
    k: usize,
    b: *const f32,
) {
    // SAFETY: all offsets stay within what the caller promises.
    unsafe {
        let rows: [*const f32; R] = std::array::from_fn(|r| a.add(r * row));
        multiply_rows::<S, R>(sums, &rows, k, b);
    }
}

/// [`multiply`] with rows anywhere.
///
/// # Safety
/// The instruction set is enabled; each row has `k` values; `b` has `k * BLOCK` values.
#[inline(always)]
pub(super) unsafe fn multiply_rows<S: Simd, const R: usize>(
    sums: &mut [S::Block; R],
    rows: &[*const f32; R],
    k: usize,
    b: *const f32,
) {
    // SAFETY: all offsets stay within what the caller promises.
    unsafe {
        let mut i = 0;
        while i + UNROLLED <= k {
            for term in i..i + UNROLLED {
                add_term::<S, R>(sums, rows, term, b);
            }
            i += UNROLLED;
        }
        while i < k {
            add_term::<S, R>(sums, rows, i, b);
            i += 1;
        }
    }
}

/// Adds one term of a product.
///
/// # Safety
/// As for [`multiply_rows`], and `term < k`.
#[inline(always)]
unsafe fn add_term<S: Simd, const R: usize>(
    sums: &mut [S::Block; R],
    rows: &[*const f32; R],
    term: usize,
    b: *const f32,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let columns = load_block::<S>(b.add(term * BLOCK));
        for (sum, row) in sums.iter_mut().zip(rows) {
            let value = S::splat(*row.add(term));
            for v in 0..vectors::<S>() {
                sum[v] = S::fma(value, columns[v], sum[v]);
            }
        }
    }
}

/// One block of values.
///
/// # Safety
/// The instruction set is enabled, and [`BLOCK`] values are at `from`.
#[inline(always)]
pub(super) unsafe fn load_block<S: Simd>(from: *const f32) -> S::Block {
    // SAFETY: the caller promises BLOCK values.
    unsafe {
        let mut block = S::block(S::splat(0.0));
        for v in 0..vectors::<S>() {
            block[v] = S::load(from.add(v * S::LANES));
        }
        block
    }
}

/// Writes one block of values.
///
/// # Safety
/// The instruction set is enabled, and [`BLOCK`] values have room at `to`.
#[inline(always)]
pub(super) unsafe fn store_block<S: Simd>(to: *mut f32, block: S::Block) {
    // SAFETY: the caller promises room for BLOCK values.
    unsafe {
        for v in 0..vectors::<S>() {
            S::store(to.add(v * S::LANES), block[v]);
        }
    }
}

/// Runs a body once for each register tile that covers `0..count` rows, with `$start` its first row and `$rows` a constant: its number of rows.
macro_rules! for_row_tiles {
    ($simd:ty, $count:expr, |$start:ident, $rows:ident| $body:block) => {{
        let count: usize = $count;
        let mut $start = 0;
        while $start < count {
            let step = $crate::engine::cpu::gemm::tile_rows(count - $start, <$simd as Simd>::TILE_ROWS);
            match step {
                12 => {
                    const $rows: usize = 12;
                    $body
                }
                6 => {
                    const $rows: usize = 6;
                    $body
                }
                5 => {
                    const $rows: usize = 5;
                    $body
                }
                4 => {
                    const $rows: usize = 4;
                    $body
                }
                3 => {
                    const $rows: usize = 3;
                    $body
                }
                2 => {
                    const $rows: usize = 2;
                    $body
                }
                _ => {
                    const $rows: usize = 1;
                    $body
                }
            }
            $start += step;
        }
    }};
}
pub(super) use for_row_tiles;

/// The rows of the next register tile when `left` remain and at most `most` fit: full tiles, but rather two middling tiles than a full and a tiny
/// one, because in a short tile the multipliers wait for their own results.
#[inline(always)]
pub(super) fn tile_rows(left: usize, most: usize) -> usize {
    if most >= 12 && left >= 12 {
        12
    } else if most >= 6 && left >= 6 {
        match left {
            7 | 8 => 4,
            9 => 5,
            _ => 6,
        }
    } else if left <= most {
        left.min(6)
    } else {
        most
    }
}
