//! A set of image pairs decoded once into one file, from which training crops without decoding a PNG.
//!
//! [`pack`] writes the file, [`Packed`] maps it into memory: pixels are read from disk only where patches are, and the operating system keeps what
//! fits, so that a set may be larger than the memory. It decides nothing about which files are pairs, and does not choose patches.
//!
//! The important invariant: whatever a file holds, [`Packed::open`] gives an error or a reader that never leaves the file, and
//! [`Packed::verify`] only passes if every byte of the file is the one that was written.
//!
//! # The format, version 1
//!
//! Numbers are unsigned and little-endian unless stated. Pages have 4,096 bytes; bytes up to the next page are zero. SHA-256 of pixels is
//! [`crate::imaging::RgbImage::pixels_sha256`].
//!
//! | where | what |
//! |---|---|
//! | page 0 | header: magic `esrpack\0`, version u32, scale u32, page size u32, zero u32, SHA-256 of these 24 bytes |
//! | from page 1 | for each pair, in the order of the list: a page with its record, then pages with the LR image, then pages with the HR image |
//! | next page | index: the entry of each pair, one after another without gaps |
//! | right after the index | trailer, which ends the file |
//!
//! - Images are rows of 8-bit RGB from top to bottom without gaps. HR images are cut to exactly scale × LR as [`super::load_pairs`] does it.
//! - A record is the magic `esrpair\0`, the entry, and the SHA-256 of both. It is written with its images, so that a file that was never finished
//!   tells which pairs it already holds: this is what [`pack`] goes on from.
//! - An entry is its own length in bytes as u32 (this number included); for the LR image, then for the HR image: width u32, height u32, offset of the first
//!   pixel u64, SHA-256 of the pixels, and of the file that was decoded: bytes u64, modification time in seconds since 1970 i64 and nanoseconds
//!   u32, SHA-256; then the pair's name in UTF-8.
//! - The trailer is the magic `esrpend\0`, number of pairs u64, offset of the index u64, bytes of the index u64, bytes of the whole file u64, SHA-256 of
//!   the index, SHA-256 of the trailer up to here.
//!
//! Sizes determine where everything is; offsets that differ from that are an error. A reader refuses a version it does not know. The file is written
//! beside its place with the extension `.partial`, synced and renamed: under its own name it is complete.

mod current;
mod error;
mod format;
mod ordered;
mod reader;
mod resume;
mod sets;
#[cfg(test)]
mod tests;
mod writer;

pub use current::Currency;
pub use error::PackError;
pub use reader::Packed;
pub use sets::PackedSets;
pub use writer::{Summary, pack};
