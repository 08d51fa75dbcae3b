//! Finding and opening the CUDA driver without ever panicking.
//!
//! The bindings (`cudarc` with dynamic loading) panic where `libcuda` or one of its functions is missing. So [`Driver::open`] looks first, with a small
//! table of functions of its own, and hands out a context of the bindings only when the library, its version and its devices are known to be good.
//! The own table takes results as plain integers: an error number that is newer than the bindings is then a number and no undefined behaviour.
//! It does not launch kernels and knows nothing of NVML, which is matched to a device by [`DeviceFacts::uuid`].

mod api;
mod code;
mod device;
mod error;
#[cfg(test)]
pub(crate) mod fake;
mod library;
mod open;
mod surroundings;
#[cfg(test)]
mod tests;

pub use code::Loss;
pub use device::{ComputeMode, DeviceFacts, Memory, NEEDED_COMPUTE_CAPABILITY};
pub use error::GpuError;
pub use open::{CudaVersion, Driver, NEEDED_CUDA};
pub use surroundings::{Access, Node, Surroundings};
