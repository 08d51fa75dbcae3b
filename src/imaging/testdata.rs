//! Help for tests of images and metrics: reproducible bytes.

use crate::random::Random;

/// Bytes that follow from a seed.
pub(crate) struct Bytes(Random);

impl Bytes {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Random::new(&[seed]))
    }

    pub(crate) fn take(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.0.bits() as u8).collect()
    }
}
