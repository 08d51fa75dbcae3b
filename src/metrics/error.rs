//! What keeps two images from being compared.

/// Why a quality number could not be computed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// The two images do not cover the same pixels.
    #[error(
        "the SR image is {sr_width}x{sr_height} and the HR image (cut to a multiple of the scale) {hr_width}x{hr_height}, expected equal sizes: \
         check that the LR and HR files belong together and that the scale is right"
    )]
    SizeMismatch {
        /// Width of the SR image.
        sr_width: usize,
        /// Height of the SR image.
        sr_height: usize,
        /// Width of the HR image.
        hr_width: usize,
        /// Height of the HR image.
        hr_height: usize,
    },
    /// The border leaves too little.
    #[error(
        "{metric} of a {width}x{height} image needs at least {min_side}x{min_side} pixels after cutting {border} from every side: \
         use a larger image or a smaller border"
    )]
    TooSmall {
        /// "PSNR" or "SSIM".
        metric: &'static str,
        /// Width before cutting.
        width: usize,
        /// Height before cutting.
        height: usize,
        /// Pixels cut from every side.
        border: usize,
        /// The least side that must be left.
        min_side: usize,
    },
    /// An HR image smaller than the scale.
    #[error(
        "a {width}x{height} image cannot be cut to a multiple of {scale}, expected sides of at least {scale} (and a scale of at least 1)"
    )]
    CannotModCrop {
        /// Its width.
        width: usize,
        /// Its height.
        height: usize,
        /// The scale.
        scale: usize,
    },
    /// A network's output does not fill the image it should.
    #[error("a {width}x{height} RGB image has {expected} values, the output holds {found}")]
    ValueCount {
        /// Width it should have.
        width: usize,
        /// Height it should have.
        height: usize,
        /// 3 x width x height (saturated).
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// A network's output holds a NaN, which has no 8-bit value.
    #[error(
        "the output is not a number (NaN) at channel {channel}, row {row}, column {column}: the weights or the input are broken"
    )]
    NotANumber {
        /// Channel, 0 to 2.
        channel: usize,
        /// Row from the top.
        row: usize,
        /// Column from the left.
        column: usize,
    },
    /// A data range that is not a positive number.
    #[error("the data range is {found}, expected a positive finite number (1 or 255 in the challenge)")]
    DataRange {
        /// The range given.
        found: f32,
    },
    /// A mean over nothing.
    #[error("there are no images to average over")]
    NoImages,
}
