//! Images: decoding, encoding, resizing, colour and augmentation.
//!
//! Only 8-bit RGB exists past this door: whatever cannot be represented exactly as such is refused, not converted. The
//! important invariant is that all arithmetic here is exact and the same on every machine.

mod augment;
mod bmp;
mod colour;
mod decode;
mod dimensions;
mod encode;
mod error;
mod image;
mod imresize;
mod patch;
#[cfg(test)]
pub(crate) mod testdata;
mod turn;
mod view;

pub use augment::{Augmentation, augment};
pub use colour::luma;
pub use decode::{Decoded, decode_bytes, decode_file};
pub(crate) use decode::{HEADER_BYTES, MAX_FILE_BYTES, MAX_PIXELS, MAX_SIDE, decode_bytes_in};
pub use dimensions::dimensions;
pub use encode::{encode_png, write_png};
pub use error::Error;
pub use image::{RgbImage, SizeError};
pub use imresize::{Border, downscale, upscale_bicubic};
pub use patch::{ValueTable, copy_augmented, copy_augmented_values};
pub use view::RgbView;
