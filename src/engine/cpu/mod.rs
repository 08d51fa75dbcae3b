//! The CPU kernels that a plan calls.
//!
//! Memory is NHWC with each pixel's channels padded to a multiple of [`BLOCK`]; channels are the lanes of every vector. A kernel does one piece of an operation on one thread;
//! how work is cut into pieces, and where everything lies, is the plan's business. Values do not depend on the cut; weight gradients do, so a plan cuts by shape alone and
//! the same inputs give the same bits.

pub mod adam;
#[cfg(test)]
mod convolution_tests;
pub mod denormals;
pub mod direct;
pub mod direct_gradient;
pub mod elementwise;
pub mod ends;
mod epilogue;
#[cfg(test)]
mod fixtures;
mod gemm;
pub mod geometry;
mod gradient;
pub mod grouped;
pub mod loss;
pub mod peak;
pub mod pointwise;
pub mod pointwise_gradient;
pub mod pool;
pub mod resize;
pub mod shuffle;
pub mod simd;
#[cfg(test)]
mod tests_gradient;
pub mod view;
pub mod winograd;
pub mod winograd_gradient;

/// Channels that kernels treat together. Every buffer's pixels are padded to a multiple of it.
pub const BLOCK: usize = 16;
