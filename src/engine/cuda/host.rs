//! Device memory as the plain twins see it: one block of bytes on the host, with every access checked.

use half::{bf16, f16};

use super::Format;

/// Where the first byte seems to lie: not at 0, which stands for "none".
const BASE: u64 = 0x1_0000;

/// A block of memory at made-up addresses.
#[derive(Clone, Debug, PartialEq)]
pub struct HostMemory {
    bytes: Vec<u8>,
}

/// An access outside of the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an access of {length} bytes at address {address:#x}, outside of the {size} bytes at {BASE:#x}")]
pub struct Outside {
    address: u64,
    length: usize,
    size: usize,
}

impl HostMemory {
    /// The address of the first byte.
    pub const BASE: u64 = BASE;

    /// A copy of some bytes.
    pub fn of(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Some bytes.
    ///
    /// # Errors
    /// [`Outside`]
    pub fn read<const N: usize>(&self, address: u64) -> Result<[u8; N], Outside> {
        let range = address.checked_sub(BASE).and_then(|at| usize::try_from(at).ok());
        let found = range
            .and_then(|at| self.bytes.get(at..at.checked_add(N)?))
            .and_then(|bytes| bytes.try_into().ok());
        found.ok_or(Outside { address, length: N, size: self.bytes.len() })
    }

    /// Replaces some bytes.
    ///
    /// # Errors
    /// [`Outside`]
    pub fn write<const N: usize>(&mut self, address: u64, bytes: [u8; N]) -> Result<(), Outside> {
        let size = self.bytes.len();
        let range = address.checked_sub(BASE).and_then(|at| usize::try_from(at).ok());
        match range.and_then(|at| self.bytes.get_mut(at..at.checked_add(N)?)) {
            Some(place) => {
                place.copy_from_slice(&bytes);
                Ok(())
            }
            None => Err(Outside { address, length: N, size }),
        }
    }

    /// The value of number `index` from an address on.
    ///
    /// # Errors
    /// [`Outside`]
    pub fn value(&self, format: Format, address: u64, index: u64) -> Result<f32, Outside> {
        let at = address.wrapping_add(index.wrapping_mul(format.bytes() as u64));
        Ok(match format {
            Format::F32 => f32::from_le_bytes(self.read(at)?),
            Format::F16 => f16::from_le_bytes(self.read(at)?).to_f32(),
            Format::Bf16 => bf16::from_le_bytes(self.read(at)?).to_f32(),
        })
    }

    /// Stores the value of number `index` from an address on, rounded to the nearest, ties to even.
    ///
    /// # Errors
    /// [`Outside`]
    pub fn set_value(&mut self, format: Format, address: u64, index: u64, value: f64) -> Result<(), Outside> {
        let at = address.wrapping_add(index.wrapping_mul(format.bytes() as u64));
        // Through f32, as kernels round.
        let value = value as f32;
        match format {
            Format::F32 => self.write(at, value.to_le_bytes()),
            Format::F16 => self.write(at, f16::from_f32(value).to_le_bytes()),
            Format::Bf16 => self.write(at, bf16::from_f32(value).to_le_bytes()),
        }
    }
}
