//! Help for tests of images and metrics: golden vectors and reproducible bytes.

use std::path::Path;

use super::RgbImage;

/// A safetensors file of golden vectors (`make_golden.py` of the reference data).
pub(crate) struct Golden {
    bytes: Vec<u8>,
}

impl Golden {
    /// Reads the file.
    pub(crate) fn open(path: &Path) -> Self {
        Self { bytes: std::fs::read(path).unwrap() }
    }

    /// The names of its arrays.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        let tensors = safetensors::SafeTensors::deserialize(&self.bytes).unwrap();
        tensors.names().into_iter().map(|name| name.to_string()).collect::<Vec<_>>().into_iter()
    }

    /// The raw bytes of an array.
    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        safetensors::SafeTensors::deserialize(&self.bytes).unwrap().tensor(name).unwrap().data().to_vec()
    }

    /// An array of f64.
    pub(crate) fn f64s(&self, name: &str) -> Vec<f64> {
        self.bytes(name).chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
    }

    /// An array of u8, height x width x 3.
    pub(crate) fn image(&self, name: &str) -> RgbImage {
        let tensors = safetensors::SafeTensors::deserialize(&self.bytes).unwrap();
        let tensor = tensors.tensor(name).unwrap();
        RgbImage::new(tensor.shape()[1], tensor.shape()[0], tensor.data().to_vec()).unwrap()
    }
}

/// Bytes that follow from a seed (SplitMix64).
pub(crate) struct Bytes(u64);

impl Bytes {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn take(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
