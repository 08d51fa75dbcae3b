//! The plain twins of the kernels: the simplest loops that are obviously right, in f64 over the stored values. They say what each kernel does, and cases are judged by them.

pub mod convolution;
#[cfg(test)]
pub(super) mod cudnn;
pub mod elementwise;
pub mod ends;
pub mod gradient;
pub mod library;
mod part;
mod round;
pub mod spatial;
#[cfg(test)]
mod tests;
pub mod training;
