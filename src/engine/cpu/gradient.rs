//! What the weight gradients share: a register tile of sums over pixels, and the sum of all pieces.
//!
//! A weight gradient is a sum over every pixel of the batch, so rounding errors pile up where a convolution's do not. Sums are therefore made in levels:
//! in registers over one chunk of pixels or tiles, from there to the memory of the piece, and at the end over the pieces. The order within each
//! level is fixed, with one accumulator a sum, so that the same pieces give the same bits with any number of lanes and threads.

use super::BLOCK;
use super::gemm::{load_block, store_block, vectors};
use super::simd::Simd;

/// `sums[r][c] += Σ_k a[k][r] · b[k][c]`, where rows of `a` and `b` are `a_row` and `b_row` floats apart.
///
/// # Safety
/// The instruction set is enabled; `a` has `k` rows of `R` values, `b` has `k` rows of [`BLOCK`] values.
#[inline(always)]
pub(super) unsafe fn multiply_transposed<S: Simd, const R: usize>(
    sums: &mut [S::Block; R],
    k: usize,
    (mut a, a_row): (*const f32, usize),
    (mut b, b_row): (*const f32, usize),
) {
    for _ in 0..k {
        // SAFETY: the caller promises `k` rows. The last step forms addresses past them, which nothing reads.
        unsafe {
            let columns = load_block::<S>(b);
            for (r, sum) in sums.iter_mut().enumerate() {
                let value = S::splat(*a.add(r));
                for v in 0..vectors::<S>() {
                    sum[v] = S::fma(value, columns[v], sum[v]);
                }
            }
        }
        a = a.wrapping_add(a_row);
        b = b.wrapping_add(b_row);
    }
}

/// The sum, in order, of the block at the same place of each piece.
///
/// # Safety
/// The instruction set is enabled; [`BLOCK`] values are at `first` and at each of the `pieces - 1` following multiples of `len` floats.
#[inline(always)]
pub(super) unsafe fn add_pieces<S: Simd>(first: *const f32, len: usize, pieces: usize) -> S::Block {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sum = load_block::<S>(first);
        for piece in 1..pieces {
            let more = load_block::<S>(first.add(piece * len));
            for v in 0..vectors::<S>() {
                sum[v] = S::add(sum[v], more[v]);
            }
        }
        sum
    }
}

/// Sums the bias gradients of all pieces and writes those of the given blocks of output channels.
///
/// # Safety
/// As for [`add_pieces`], with `sums` the first block of the first piece; `bias` has room for `out_channels` values.
#[inline(always)]
pub(super) unsafe fn finish_bias<S: Simd>(
    (sums, len, pieces): (*const f32, usize, usize),
    blocks: (usize, usize),
    out_channels: usize,
    bias: *mut f32,
) {
    for output in (blocks.0 * BLOCK..blocks.1 * BLOCK).step_by(BLOCK) {
        let mut values = [0.0f32; BLOCK];
        // SAFETY: the caller's promise; lanes past the last channel are not written.
        unsafe {
            store_block::<S>(values.as_mut_ptr(), add_pieces::<S>(sums.add(output), len, pieces));
            let count = BLOCK.min(out_channels - output);
            bias.add(output).copy_from_nonoverlapping(values.as_ptr(), count);
        }
    }
}
