//! What can be wrong with an image or with what is asked of it.

/// Why an image could not be decoded, written or resized. Every message names the file or the numbers, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file itself could not be read or written.
    #[error(transparent)]
    File(#[from] crate::fsio::Error),
    /// The file has no bytes at all.
    #[error("`{name}` is empty (0 bytes): copy or download it again")]
    Empty {
        /// The file.
        name: String,
    },
    /// Neither of the two formats we read.
    #[error("`{name}` is neither a PNG nor a BMP (it begins with {found}): convert it to an 8-bit RGB PNG")]
    UnknownFormat {
        /// The file.
        name: String,
        /// Its first bytes in hexadecimal.
        found: String,
    },
    /// A PNG or BMP whose bytes are damaged or cut off.
    #[error("`{name}` is a damaged {format}: {reason}; copy or download it again")]
    Damaged {
        /// The file.
        name: String,
        /// "PNG" or "BMP".
        format: &'static str,
        /// What is wrong, and where it is known.
        reason: String,
    },
    /// A sound image of a kind the challenge does not handle.
    #[error("`{name}` is {found}, expected 8-bit RGB (or 8-bit grey): convert it to 8-bit RGB")]
    Unsupported {
        /// The file.
        name: String,
        /// What kind of image it is.
        found: String,
    },
    /// An image with sides beyond anything we would process.
    #[error(
        "`{name}` claims {width}x{height} pixels, expected sides from 1 to {max_side} and at most {max_pixels} pixels: \
         crop it or check that the file is what it should be"
    )]
    TooManyPixels {
        /// The file.
        name: String,
        /// Width it claims.
        width: u64,
        /// Height it claims.
        height: u64,
        /// The longest side we accept.
        max_side: u64,
        /// The most pixels we accept.
        max_pixels: u64,
    },
    /// A resizing factor outside the supported ones.
    #[error("cannot {what} by {found}, expected a factor of {expected}")]
    Scale {
        /// "downscale" or "upscale".
        what: &'static str,
        /// The factor asked for.
        found: usize,
        /// The factors there are.
        expected: &'static str,
    },
    /// The result would have sides beyond anything we would process.
    #[error(
        "upscaling {width}x{height} by {scale} gives more than {max_pixels} pixels: crop the image first"
    )]
    ResultTooLarge {
        /// Width of the input.
        width: usize,
        /// Height of the input.
        height: usize,
        /// The factor asked for.
        scale: usize,
        /// The most pixels we accept.
        max_pixels: u64,
    },
}
