//! The planned engine on CUDA: the same steps as on the CPU, as launches of our own kernels.
//!
//! Kernels are written in CUDA C++ (`kernels/*.cu`) and shipped as the PTX generated from it (`make kernels`), so that nothing but a driver is needed at run time and nothing at
//! all when this is built.

pub mod cases;
mod host;
pub mod launch;
pub mod params;
pub mod twin;

pub use host::{HostMemory, Outside};

/// The number format of stored values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// 32-bit floating point.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of [`Format::F32`].
    Bf16,
}

impl Format {
    /// Bytes of a value.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

/// How products are computed. Sums are in f32 throughout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Math {
    /// f32, multiplied and added in one rounding.
    F32,
    /// Values stored as f32; factors rounded to TF32 (10 bits of mantissa).
    Tf32,
    /// Values and weights stored as f16.
    F16,
    /// Values and weights stored as bf16.
    Bf16,
}

impl Math {
    /// How values are stored.
    pub fn format(self) -> Format {
        match self {
            Self::F32 | Self::Tf32 => Format::F32,
            Self::F16 => Format::F16,
            Self::Bf16 => Format::Bf16,
        }
    }
}
