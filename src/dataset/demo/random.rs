//! Random numbers and smooth noise that are the same on every machine.

use super::arith::smooth;
use crate::random::{self, GOLDEN_GAMMA, mix};

/// The program's generator with the draws that scenes are made of.
pub(super) struct Random(random::Random);

impl Random {
    /// The numbers of scene `index` of the family that starts at `first`.
    pub(super) fn of_scene(first: u64, index: usize) -> Self {
        Self(random::Random::from_state(mix(first.wrapping_add(index as u64))))
    }

    /// Any 64 bits.
    pub(super) fn next(&mut self) -> u64 {
        self.0.bits()
    }

    /// Uniform in `[0, 1)`, a multiple of 2^-53.
    pub(super) fn unit(&mut self) -> f64 {
        self.0.uniform()
    }

    /// Uniform in `[low, high)`.
    pub(super) fn within(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Uniform in `0..count`. The bias of at most count / 2^32 is of no matter here.
    pub(super) fn below(&mut self, count: usize) -> usize {
        (((self.next() >> 32) * count as u64) >> 32) as usize
    }

    /// True with this probability.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A radius with density proportional to r^-3 between the limits: the law under which dead leaves look alike at every scale.
    pub(super) fn radius(&mut self, low: f64, high: f64) -> f64 {
        let (near, far) = (1.0 / (low * low), 1.0 / (high * high));
        1.0 / (near - self.unit() * (near - far)).sqrt()
    }
}

/// A number in `[0, 1)` that belongs to a cell of the integer grid.
pub(super) fn cell(seed: u64, x: i64, y: i64) -> f64 {
    let key = (x as u64).wrapping_mul(GOLDEN_GAMMA) ^ (y as u64).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    random::to_unit(mix(seed ^ key))
}

/// Value noise: random numbers on the integer grid, joined smoothly; from 0 to 1.
pub(super) fn noise(seed: u64, x: f64, y: f64) -> f64 {
    let (left, top) = (x.floor(), y.floor());
    let (fx, fy) = (smooth(x - left), smooth(y - top));
    let (ix, iy) = (left as i64, top as i64);
    let upper = cell(seed, ix, iy) * (1.0 - fx) + cell(seed, ix + 1, iy) * fx;
    let lower = cell(seed, ix, iy + 1) * (1.0 - fx) + cell(seed, ix + 1, iy + 1) * fx;
    upper * (1.0 - fy) + lower * fy
}

/// Octaves of noise, each half as large and twice as fine as the one before; from -1 to 1.
pub(super) fn fractal(seed: u64, x: f64, y: f64, octaves: u32) -> f64 {
    let (mut sum, mut total, mut amplitude, mut frequency) = (0.0, 0.0, 1.0, 1.0);
    for octave in 0..octaves {
        sum +=
            amplitude * (2.0 * noise(seed.wrapping_add(octave.into()), x * frequency, y * frequency) - 1.0);
        total += amplitude;
        amplitude *= 0.5;
        frequency *= 2.0;
    }
    sum / total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_in_their_ranges() {
        let mut random = Random::of_scene(0, 1);
        for _ in 0..1000 {
            assert!((3.0..=40.0).contains(&random.radius(3.0, 40.0)));
            assert!(random.below(7) < 7);
            let (x, y) = (random.within(-50.0, 50.0), random.within(-50.0, 50.0));
            assert!((-1.0..=1.0).contains(&fractal(9, x, y, 4)));
        }
    }
}
