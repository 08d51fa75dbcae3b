//! cuDNN where the user has it: found and loaded while the program runs, asked for convolutions. It is never needed.

mod api;
mod convolution;
mod find;
mod library;
#[cfg(test)]
mod tests;

pub use convolution::{Addresses, Arithmetic, Convolution, Pass, Shape, Tensor};
pub use find::{Environment, LIBRARY, Version, in_given, in_usual_places, version_of};
pub use library::{Cudnn, Unavailable};
