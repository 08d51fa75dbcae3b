//! Whether the bytes of a member are a result image: 8-bit RGB PNG of the right size that decodes to the end.

use std::io::Cursor;

use png::{BitDepth, ColorType, Decoder, Limits};

use super::SCALE;
use super::findings::Problem;

/// The most pixels that are decoded; the largest ESR images have 4.2 million.
const PIXELS_LIMIT: usize = 32 << 20;
/// What a PNG file ends with: the empty IEND chunk and its CRC.
const IEND: &[u8] = b"\0\0\0\0IEND\xae\x42\x60\x82";

/// Width and height in pixels.
pub(super) type Size = (usize, usize);

/// The size an image says it has.
///
/// # Errors
/// Why it is no PNG.
pub(super) fn size(bytes: &[u8]) -> Result<Size, String> {
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), limits());
    let info = decoder.read_header_info().map_err(|error| error.to_string())?;
    Ok((info.width as usize, info.height as usize))
}

/// Everything that is wrong with an image. It is sound when no problem is an error.
pub(super) fn check(bytes: &[u8], expected: Option<Size>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let again = "write it again as 8-bit RGB PNG";
    let (width, height) = match size(bytes) {
        Ok(size) => size,
        Err(error) => return vec![Problem::error(format!("it is not a PNG image: {error}"), again)],
    };
    match expected {
        Some(expected) if expected != (width, height) => {
            let what = format!("it has {width}x{height} pixels, expected {}x{}", expected.0, expected.1);
            problems
                .push(Problem::error(what, format!("the result must be exactly {SCALE} times the LR image")));
        }
        None if width % SCALE != 0 || height % SCALE != 0 => {
            let what = format!("it has {width}x{height} pixels, which are not multiples of {SCALE}");
            problems
                .push(Problem::error(what, format!("the result must be exactly {SCALE} times the LR image")));
        }
        _ => {}
    }
    if width.saturating_mul(height) > PIXELS_LIMIT {
        let what = format!(
            "it has {width}x{height} pixels, more than the limit of {PIXELS_LIMIT}; it was not decoded"
        );
        problems.push(Problem::error(what, "no image of the challenge is that large"));
        return problems;
    }
    match decode(bytes) {
        Ok(facts) => problems.extend(facts.problems(again)),
        Err(error) => problems.push(Problem::error(format!("it does not decode: {error}"), again)),
    }
    if !bytes.ends_with(IEND) && !problems.iter().any(Problem::is_error) {
        problems.push(Problem::warning("bytes follow the end of the image", again));
    }
    problems
}

/// The form of an image that decoded completely.
struct Facts {
    color: ColorType,
    depth: BitDepth,
    transparent: bool,
    interlaced: bool,
    animated: bool,
}

impl Facts {
    fn problems(&self, again: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.depth != BitDepth::Eight || self.color != ColorType::Rgb || self.transparent {
            let transparent = if self.transparent { " with a transparent colour" } else { "" };
            let what = format!(
                "it is {}-bit {}{transparent}, expected 8-bit RGB",
                self.depth as u8,
                color_name(self.color)
            );
            problems.push(Problem::error(what, again));
        }
        if self.animated {
            problems.push(Problem::warning("it is an animation; only the first image would be read", again));
        }
        if self.interlaced {
            let what = "it is interlaced, which is allowed but larger and slower to read";
            problems.push(Problem::note(what, "write it without interlacing"));
        }
        problems
    }
}

fn color_name(color: ColorType) -> &'static str {
    match color {
        ColorType::Grayscale => "grey",
        ColorType::Rgb => "RGB",
        ColorType::Indexed => "palette",
        ColorType::GrayscaleAlpha => "grey with alpha",
        ColorType::Rgba => "RGB with alpha",
    }
}

/// Decodes the whole image and forgets the pixels: what counts here is that every chunk, every row and the end are there.
fn decode(bytes: &[u8]) -> Result<Facts, String> {
    let text = |error: png::DecodingError| error.to_string();
    let decoder = Decoder::new_with_limits(Cursor::new(bytes), limits());
    let mut reader = decoder.read_info().map_err(text)?;
    let info = reader.info();
    let facts = Facts {
        color: info.color_type,
        depth: info.bit_depth,
        transparent: info.trns.is_some(),
        interlaced: info.interlaced,
        animated: info.animation_control.is_some(),
    };
    let mut pixels = vec![0; reader.output_buffer_size().ok_or("its size is impossible")?];
    reader.next_frame(&mut pixels).map_err(text)?;
    reader.finish().map_err(text)?;
    Ok(facts)
}

/// Memory for the decoder: rows and ancillary chunks.
fn limits() -> Limits {
    Limits { bytes: 64 << 20 }
}
