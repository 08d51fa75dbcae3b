//! The transforms of minimal filtering algorithms for kernels of 3 values.

use std::ops::IndexMut;

use crate::engine::cpu::simd::Simd;

/// F(m, 3): m outputs from m + 2 inputs by as many multiplications.
pub trait Filter {
    /// Outputs of a tile.
    const TILE: usize;
    /// Inputs of a tile, and products.
    const PATCH: usize = Self::TILE + 2;
    /// As many values as a tile has inputs.
    type Patch<T: Copy>: Copy + IndexMut<usize, Output = T>;
    /// As many values as a tile has outputs.
    type Tile<T: Copy>: Copy + IndexMut<usize, Output = T>;

    /// The same value throughout.
    fn patch<T: Copy>(value: T) -> Self::Patch<T>;

    /// Bᵀ d.
    ///
    /// # Safety
    /// The instruction set is enabled.
    unsafe fn input<S: Simd>(d: Self::Patch<S::V>) -> Self::Patch<S::V>;

    /// Aᵀ m.
    ///
    /// # Safety
    /// The instruction set is enabled.
    unsafe fn output<S: Simd>(m: Self::Patch<S::V>) -> Self::Tile<S::V>;

    /// G g. Nothing is fused, so that weights are the same bits everywhere.
    ///
    /// # Safety
    /// The instruction set is enabled.
    unsafe fn weight<S: Simd>(g: [S::V; 3]) -> Self::Patch<S::V>;
}

/// F(2, 3) with the customary points 0, ±1 and ∞.
#[derive(Clone, Copy, Debug)]
pub struct F2;

/// F(4, 3). The interpolation points are 0, ±√½, ±√2 and ∞ rather than the customary 0, ±1, ±2, ∞: the transforms' entries are smaller, and so is the
/// rounding error.
#[derive(Clone, Copy, Debug)]
pub struct F4;

/// F(6, 3) with the points 0, ±½, ±1, ±2 and ∞. Among some hundred others none had an error that is smaller by more than a hundredth.
#[derive(Clone, Copy, Debug)]
pub struct F6;

impl F4 {
    /// The interpolation point √½.
    pub(in crate::engine::cpu) const A: f32 = std::f32::consts::FRAC_1_SQRT_2;
    /// The interpolation point √2.
    pub(in crate::engine::cpu) const B: f32 = std::f32::consts::SQRT_2;
    /// The cube of the first.
    const A3: f32 = 0.353_553_38;
    /// The cube of the second.
    const B3: f32 = 2.828_427;
}

impl Filter for F4 {
    const TILE: usize = 4;
    type Patch<T: Copy> = [T; 6];
    type Tile<T: Copy> = [T; 4];

    #[inline(always)]
    fn patch<T: Copy>(value: T) -> [T; 6] {
        [value; 6]
    }

    #[inline(always)]
    unsafe fn input<S: Simd>(d: [S::V; 6]) -> [S::V; 6] {
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
    unsafe fn output<S: Simd>(m: [S::V; 6]) -> [S::V; 4] {
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
    unsafe fn weight<S: Simd>(g: [S::V; 3]) -> [S::V; 6] {
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

impl Filter for F2 {
    const TILE: usize = 2;
    type Patch<T: Copy> = [T; 4];
    type Tile<T: Copy> = [T; 2];

    #[inline(always)]
    fn patch<T: Copy>(value: T) -> [T; 4] {
        [value; 4]
    }

    #[inline(always)]
    unsafe fn input<S: Simd>(d: [S::V; 4]) -> [S::V; 4] {
        // SAFETY: the instruction set is enabled, by the callers' promise.
        unsafe { [S::sub(d[0], d[2]), S::add(d[1], d[2]), S::sub(d[2], d[1]), S::sub(d[3], d[1])] }
    }

    #[inline(always)]
    unsafe fn output<S: Simd>(m: [S::V; 4]) -> [S::V; 2] {
        // SAFETY: the instruction set is enabled, by the callers' promise.
        unsafe { [S::add(m[0], S::add(m[1], m[2])), S::add(S::sub(m[1], m[2]), m[3])] }
    }

    #[inline(always)]
    unsafe fn weight<S: Simd>(g: [S::V; 3]) -> [S::V; 4] {
        // SAFETY: the instruction set is enabled, by the callers' promise.
        unsafe {
            let half = S::splat(0.5);
            let (even, odd) = (S::mul(half, S::add(g[0], g[2])), S::mul(half, g[1]));
            [g[0], S::add(even, odd), S::sub(even, odd), g[2]]
        }
    }
}

impl Filter for F6 {
    const TILE: usize = 6;
    type Patch<T: Copy> = [T; 8];
    type Tile<T: Copy> = [T; 6];

    #[inline(always)]
    fn patch<T: Copy>(value: T) -> [T; 8] {
        [value; 8]
    }

    #[inline(always)]
    unsafe fn input<S: Simd>(d: [S::V; 8]) -> [S::V; 8] {
        // SAFETY: the instruction set is enabled, by the callers' promise.
        unsafe {
            let (quarter, half, two) = (S::splat(0.25), S::splat(0.5), S::splat(2.0));
            let (four, five) = (S::splat(4.0), S::splat(5.0));
            let (five_quarters, all) = (S::splat(1.25), S::splat(5.25));
            let seventeen_quarters = S::splat(4.25);
            let even_one = S::fnma(seventeen_quarters, d[4], S::add(d[2], d[6]));
            let odd_one = S::fnma(seventeen_quarters, d[3], S::add(d[1], d[5]));
            let even_half = S::fma(four, d[2], S::fnma(five, d[4], d[6]));
            let odd_half = S::fma(four, d[1], S::fnma(five, d[3], d[5]));
            let even_two = S::fma(quarter, d[2], S::fnma(five_quarters, d[4], d[6]));
            let odd_two = S::fma(quarter, d[1], S::fnma(five_quarters, d[3], d[5]));
            [
                S::fma(all, S::sub(d[4], d[2]), S::sub(d[0], d[6])),
                S::add(even_one, odd_one),
                S::sub(even_one, odd_one),
                S::fma(half, odd_half, even_half),
                S::fnma(half, odd_half, even_half),
                S::fma(two, odd_two, even_two),
                S::fnma(two, odd_two, even_two),
                S::fma(all, S::sub(d[3], d[5]), S::sub(d[7], d[1])),
            ]
        }
    }

    #[inline(always)]
    unsafe fn output<S: Simd>(m: [S::V; 8]) -> [S::V; 6] {
        // SAFETY: the instruction set is enabled, by the callers' promise.
        unsafe {
            let (sum_one, difference_one) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
            let (sum_half, difference_half) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
            let (sum_two, difference_two) = (S::add(m[5], m[6]), S::sub(m[5], m[6]));
            let power = |half: f32, [one, at_half, at_two]: [S::V; 3]| {
                S::fma(S::splat(half), at_half, S::fma(S::splat(1.0 / half), at_two, one))
            };
            let odd = [difference_one, difference_half, difference_two];
            let even = [sum_one, sum_half, sum_two];
            [
                S::add(S::add(m[0], sum_one), S::add(sum_half, sum_two)),
                power(0.5, odd),
                power(0.25, even),
                power(0.125, odd),
                power(0.0625, even),
                power(0.03125, [S::add(difference_one, m[7]), difference_half, difference_two]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn weight<S: Simd>(g: [S::V; 3]) -> [S::V; 8] {
        // SAFETY: the instruction set is enabled, by the callers' promise.
        unsafe {
            let times = |scale: f32, value: S::V| S::mul(S::splat(scale), value);
            let even_one = times(-2.0 / 9.0, S::add(g[0], g[2]));
            let odd_one = times(-2.0 / 9.0, g[1]);
            let even_half = S::add(times(32.0 / 45.0, g[0]), times(8.0 / 45.0, g[2]));
            let odd_half = times(16.0 / 45.0, g[1]);
            let even_two = S::add(times(1.0 / 90.0, g[0]), times(2.0 / 45.0, g[2]));
            let odd_two = times(1.0 / 45.0, g[1]);
            [
                g[0],
                S::add(even_one, odd_one),
                S::sub(even_one, odd_one),
                S::add(even_half, odd_half),
                S::sub(even_half, odd_half),
                S::add(even_two, odd_two),
                S::sub(even_two, odd_two),
                g[2],
            ]
        }
    }
}
