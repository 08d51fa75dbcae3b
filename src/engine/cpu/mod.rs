//! The CPU kernels that a plan calls.
//!
//! Memory is NHWC with each pixel's channels padded to a multiple of [`BLOCK`]; channels are the lanes of every vector. A kernel does one piece of an operation on one thread;
//! how work is cut into pieces, and where everything lies, is the plan's business. Results do not depend on the cut: the same inputs give the same bits. Only a weight
//! gradient, which sums over pixels, depends on its pieces, though not on who runs them.

mod epilogue;
mod gemm;
mod gradient;
pub mod pointwise;
pub mod pointwise_gradient;
pub mod simd;
#[cfg(test)]
mod tests_gradient;
pub mod view;
pub mod winograd;
pub mod winograd_gradient;

/// Channels that kernels treat together. Every buffer's pixels are padded to a multiple of it.
pub const BLOCK: usize = 16;
