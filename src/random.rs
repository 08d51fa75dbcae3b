//! Random numbers as a pure function of what they are for.
//!
//! A stream is named by a key (seed, purpose, step, index …); the same key gives the same numbers on every machine and in every run, so nothing about
//! random state is ever saved. The generator is SplitMix64 (Steele, Lea, Flood 2014), the key is absorbed by its mixing function.

/// A stream of random numbers. Not for cryptography.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

/// The increment of SplitMix64: 2^64 divided by the golden ratio.
pub(crate) const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// The output function of SplitMix64: a well-mixed permutation of the 64-bit numbers.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The upper 53 bits as a number in [0, 1).
pub(crate) fn to_unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

impl Random {
    /// The stream that `key` names.
    pub fn new(key: &[u64]) -> Self {
        let state = key.iter().fold(0, |state: u64, &part| mix(state.wrapping_add(GOLDEN_GAMMA) ^ mix(part)));
        Self { state }
    }

    /// The plain SplitMix64 sequence after `state`, for numbers that are pinned by hashes of what is made from them.
    pub(crate) fn from_state(state: u64) -> Self {
        Self { state }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN_GAMMA);
        mix(self.state)
    }

    /// A number in [0, 1) with 53 random bits.
    pub fn uniform(&mut self) -> f64 {
        to_unit(self.bits())
    }

    /// A whole number in `0..bound` (0 for a bound of 0), unbiased to within 2⁻⁶⁴ · `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }

    /// Puts `items` in random order (Fisher–Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix64_gives_its_published_sequence() {
        // First outputs for seed 1234567 of the reference implementation in C by Sebastiano Vigna (splitmix64.c).
        let mut random = Random::from_state(1234567);
        assert_eq!(random.bits(), 6457827717110365317);
        assert_eq!(random.bits(), 3203168211198807973);
        assert_eq!(random.bits(), 9817491932198370423);
    }

    #[test]
    fn keys_name_streams() {
        assert_eq!(Random::new(&[1, 2]).bits(), Random::new(&[1, 2]).bits());
        assert_ne!(Random::new(&[1, 2]).bits(), Random::new(&[2, 1]).bits());
        assert_ne!(Random::new(&[1]).bits(), Random::new(&[1, 0]).bits());
    }

    #[test]
    fn numbers_stay_in_range_and_fill_it() {
        let mut random = Random::new(&[3]);
        let mut seen = [false; 10];
        for _ in 0..1000 {
            seen[random.below(10)] = true;
            assert!((0.0..1.0).contains(&random.uniform()));
        }
        assert_eq!(seen, [true; 10]);
        let mut items: Vec<usize> = (0..100).collect();
        random.shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
