//! The transforms of two minimal filtering algorithms for 3×3 kernels.

use std::ops::IndexMut;

use crate::engine::cpu::simd::Simd;

/// F(m×m, 3×3): m×m outputs from (m+2)×(m+2) inputs by as many multiplications a pair of channels. Rows and columns are transformed alike.
pub trait Variant {
    /// Output pixels along a tile's side.
    const TILE: usize;
    /// Input pixels along a tile's side.
    const PATCH: usize = Self::TILE + 2;
    /// Products a tile and pair of channels.
    const POINTS: usize = Self::PATCH * Self::PATCH;
    /// As many values as a patch has rows.
    type Patch<T: Copy>: Copy + IndexMut<usize, Output = T>;
    /// As many values as a tile has rows.
    type Tile<T: Copy>: Copy + IndexMut<usize, Output = T>;

    /// The same value throughout.
    fn patch<T: Copy>(value: T) -> Self::Patch<T>;

    /// The same value throughout.
    fn tile<T: Copy>(value: T) -> Self::Tile<T>;

    /// One row or column of Bᵀ d.
    ///
    /// # Safety
    /// The instruction set is enabled.
    unsafe fn input_1d<S: Simd>(d: Self::Patch<S::V>) -> Self::Patch<S::V>;

    /// One row or column of Aᵀ m.
    ///
    /// # Safety
    /// The instruction set is enabled.
    unsafe fn output_1d<S: Simd>(m: Self::Patch<S::V>) -> Self::Tile<S::V>;

    /// One row or column of G g. Nothing is fused, so that weights are the same bits everywhere.
    ///
    /// # Safety
    /// The instruction set is enabled.
    unsafe fn weight_1d<S: Simd>(g: [S::V; 3]) -> Self::Patch<S::V>;
}

/// F(4×4, 3×3): a quarter of the definition's multiplications. The interpolation points are 0, ±√½, ±√2 and ∞ rather than the customary 0, ±1, ±2, ∞:
/// the transforms' entries are smaller, and so is the rounding error: 8.2e-7 of the result's root mean square beside f64, for 64 to 64 channels with
/// values and weights of mean zero.
#[derive(Clone, Copy, Debug)]
pub struct F4x4;

/// F(2×2, 3×3): 4/9 of the definition's multiplications, with the customary points 0, ±1 and ∞. For images that tiles of 4×4 would cover badly. Where F(4×4, 3×3) has an error of 8.2e-7 it has one of 2.7e-7.
#[derive(Clone, Copy, Debug)]
pub struct F2x2;

impl F4x4 {
    /// The interpolation point √½.
    pub(in crate::engine::cpu) const A: f32 = std::f32::consts::FRAC_1_SQRT_2;
    /// The interpolation point √2.
    pub(in crate::engine::cpu) const B: f32 = std::f32::consts::SQRT_2;
    /// The cube of the first.
    const A3: f32 = 0.353_553_38;
    /// The cube of the second.
    const B3: f32 = 2.828_427;
}

impl Variant for F4x4 {
    const TILE: usize = 4;
    type Patch<T: Copy> = [T; 6];
    type Tile<T: Copy> = [T; 4];

    #[inline(always)]
    fn patch<T: Copy>(value: T) -> [T; 6] {
        [value; 6]
    }

    #[inline(always)]
    fn tile<T: Copy>(value: T) -> [T; 4] {
        [value; 4]
    }

    #[inline(always)]
    unsafe fn input_1d<S: Simd>(d: [S::V; 6]) -> [S::V; 6] {
        // SAFETY: the instruction set is enabled, by the callers' promise.
        unsafe {
            let (two, half, five_halves) = (S::splat(2.0), S::splat(0.5), S::splat(2.5));
            let (a, b) = (S::splat(Self::A), S::splat(Self::B));
            let even_a = S::fnma(two, d[2], d[4]);
            let odd_a = S::fnma(two, d[1], d[3]);
            let even_b = S::fnma(half, d[2], d[4]);
            let odd_b = S::fnma(half, d[1], d[3]);
            [
                S::fnma(five_halves, d[2], S::add(d[0], d[4])),
                S::fma(a, odd_a, even_a),
                S::fnma(a, odd_a, even_a),
                S::fma(b, odd_b, even_b),
                S::fnma(b, odd_b, even_b),
                S::fnma(five_halves, d[3], S::add(d[1], d[5])),
            ]
        }
    }

    #[inline(always)]
    unsafe fn output_1d<S: Simd>(m: [S::V; 6]) -> [S::V; 4] {
        // SAFETY: the instruction set is enabled, by the callers' promise.
        unsafe {
            let (sum_a, difference_a) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
            let (sum_b, difference_b) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
            [
                S::add(m[0], S::add(sum_a, sum_b)),
                S::fma(S::splat(Self::B), difference_b, S::mul(S::splat(Self::A), difference_a)),
                S::fma(S::splat(2.0), sum_b, S::mul(S::splat(0.5), sum_a)),
                S::fma(S::splat(Self::B3), difference_b, S::fma(S::splat(Self::A3), difference_a, m[5])),
            ]
        }
    }

    #[inline(always)]
    unsafe fn weight_1d<S: Simd>(g: [S::V; 3]) -> [S::V; 6] {
        // SAFETY: the instruction set is enabled, by the callers' promise.
        unsafe {
            let (third, sixth) = (S::splat(1.0 / 3.0), S::splat(1.0 / 6.0));
            let two_thirds = S::splat(2.0 / 3.0);
            let last = S::mul(third, g[2]);
            let even_a = S::add(S::mul(two_thirds, g[0]), last);
            let odd_a = S::mul(S::splat(Self::A * 2.0 / 3.0), g[1]);
            let even_b = S::add(S::mul(sixth, g[0]), last);
            let odd_b = S::mul(S::splat(Self::B / 6.0), g[1]);
            let minus_even_a = S::sub(S::splat(0.0), even_a);
            [
                g[0],
                S::sub(minus_even_a, odd_a),
                S::add(minus_even_a, odd_a),
                S::add(even_b, odd_b),
                S::sub(even_b, odd_b),
                g[2],
            ]
        }
    }
}

impl Variant for F2x2 {
    const TILE: usize = 2;
    type Patch<T: Copy> = [T; 4];
    type Tile<T: Copy> = [T; 2];

    #[inline(always)]
    fn patch<T: Copy>(value: T) -> [T; 4] {
        [value; 4]
    }

    #[inline(always)]
    fn tile<T: Copy>(value: T) -> [T; 2] {
        [value; 2]
    }

    #[inline(always)]
    unsafe fn input_1d<S: Simd>(d: [S::V; 4]) -> [S::V; 4] {
        // SAFETY: the instruction set is enabled, by the callers' promise.
        unsafe { [S::sub(d[0], d[2]), S::add(d[1], d[2]), S::sub(d[2], d[1]), S::sub(d[3], d[1])] }
    }

    #[inline(always)]
    unsafe fn output_1d<S: Simd>(m: [S::V; 4]) -> [S::V; 2] {
        // SAFETY: the instruction set is enabled, by the callers' promise.
        unsafe { [S::add(m[0], S::add(m[1], m[2])), S::add(S::sub(m[1], m[2]), m[3])] }
    }

    #[inline(always)]
    unsafe fn weight_1d<S: Simd>(g: [S::V; 3]) -> [S::V; 4] {
        // SAFETY: the instruction set is enabled, by the callers' promise.
        unsafe {
            let half = S::splat(0.5);
            let (even, odd) = (S::mul(half, S::add(g[0], g[2])), S::mul(half, g[1]));
            [g[0], S::add(even, odd), S::sub(even, odd), g[2]]
        }
    }
}
