//! Images: decoding, encoding, resizing, colour and augmentation. All arithmetic here is exact and the same on every machine.

mod image;

pub use image::{RgbImage, SizeError};
