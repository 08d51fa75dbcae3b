//! The plain twins of the kernels: the simplest loops that are obviously right, in f64 over the stored values. They say what each kernel does, and cases are judged by them.

pub mod elementwise;
pub mod ends;
pub mod spatial;
pub mod training;
pub mod gradient;
pub mod convolution;
mod part;
mod round;
#[cfg(test)]
mod tests;
