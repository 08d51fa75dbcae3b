//! Builds the memory of a case, buffer after buffer.

use half::{bf16, f16};

use crate::engine::cuda::Format;
use crate::engine::cuda::host::HostMemory;
use crate::random::Random;

/// What lies between buffers and in everything that is not filled: not a number in each format, so that whoever reads it shows it.
const GARBAGE: u8 = 0xff;
/// Where buffers begin: what device allocations promise.
const ALIGNMENT_BYTES: usize = 256;
/// What at least lies between two buffers.
const GAP_BYTES: usize = 64;

/// Memory that grows.
#[derive(Clone, Debug)]
pub struct Builder {
    bytes: Vec<u8>,
    random: Random,
}

impl Builder {
    /// Empty memory; `key` names the random numbers.
    pub fn new(key: &[u64]) -> Self {
        Self { bytes: vec![GARBAGE; GAP_BYTES], random: Random::new(key) }
    }

    /// Random numbers for anything else.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// A buffer that holds garbage; returns its address.
    pub fn garbage(&mut self, bytes: usize) -> u64 {
        self.raw(&vec![GARBAGE; bytes])
    }

    /// A buffer with these bytes; returns its address.
    pub fn raw(&mut self, bytes: &[u8]) -> u64 {
        self.bytes.resize((self.bytes.len() + GAP_BYTES).next_multiple_of(ALIGNMENT_BYTES), GARBAGE);
        let at = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        HostMemory::BASE + at as u64
    }

    /// A buffer with values; returns its address.
    pub fn values(&mut self, format: Format, values: impl IntoIterator<Item = f32>) -> u64 {
        let mut bytes = Vec::new();
        for value in values {
            match format {
                Format::F32 => bytes.extend_from_slice(&value.to_le_bytes()),
                Format::F16 => bytes.extend_from_slice(&f16::from_f32(value).to_le_bytes()),
                Format::Bf16 => bytes.extend_from_slice(&bf16::from_f32(value).to_le_bytes()),
            }
        }
        self.raw(&bytes)
    }

    /// A buffer of `count` random values of about the magnitude `scale`; returns its address.
    pub fn random_values(&mut self, format: Format, count: usize, scale: f32) -> u64 {
        let values: Vec<f32> = (0..count).map(|_| self.value(scale)).collect();
        self.values(format, values)
    }

    /// A buffer of pixels in NHWC: `channels` random values of about the magnitude `scale`, then zeros up to `pixel`. Returns its address.
    pub fn image(&mut self, format: Format, pixels: usize, pixel: usize, channels: usize, scale: f32) -> u64 {
        let mut values = Vec::with_capacity(pixels * pixel);
        for _ in 0..pixels {
            values.extend((0..pixel).map(|channel| if channel < channels { self.value(scale) } else { 0.0 }));
        }
        self.values(format, values)
    }

    /// A random value: mostly within `scale` of 0, now and then exactly 0, eight times as large or very small.
    pub fn value(&mut self, scale: f32) -> f32 {
        let plain = (self.random.uniform() * 2.0 - 1.0) as f32 * scale;
        match self.random.below(32) {
            0 | 1 => 0.0,
            2 => plain * 8.0,
            3 => plain / 4096.0,
            _ => plain,
        }
    }

    /// The memory.
    pub fn finish(mut self) -> HostMemory {
        self.bytes.resize(self.bytes.len() + ALIGNMENT_BYTES, GARBAGE);
        HostMemory::of(self.bytes)
    }
}
