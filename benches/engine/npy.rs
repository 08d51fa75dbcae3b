//! NumPy's `.npy` files, as far as contenders exchange them: little-endian f32 in C order.
//!
//! Format: numpy.lib.format, versions 1.0 and 2.0. A file is the magic, a version, the length of a header, the header (a Python dictionary as
//! text, padded to 64 bytes), then the values.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use esr::array::Array;

const MAGIC: &[u8] = b"\x93NUMPY";
/// Values start at a multiple of this many bytes.
const ALIGNMENT: usize = 64;

fn invalid(path: &Path, what: &str) -> io::Error {
    let text = format!("`{}` is no .npy file of little-endian f32 in C order: {what}", path.display());
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Reads an array.
pub(crate) fn read(path: &Path) -> io::Result<Array<f32>> {
    let bytes = fs::read(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| invalid(path, "the magic is missing"))?;
    let (length, rest) = match *rest {
        [1, _, a, b, ref rest @ ..] => (u32::from(u16::from_le_bytes([a, b])), rest),
        [2, _, a, b, c, d, ref rest @ ..] => (u32::from_le_bytes([a, b, c, d]), rest),
        _ => return Err(invalid(path, "the version is neither 1 nor 2")),
    };
    let (header, values) =
        rest.split_at_checked(length as usize).ok_or_else(|| invalid(path, "the header is cut off"))?;
    let header = String::from_utf8_lossy(header);
    if !header.contains("'<f4'") || !header.contains("'fortran_order': False") {
        return Err(invalid(path, &header));
    }
    let shape = shape(&header).ok_or_else(|| invalid(path, &header))?;
    let (values, remainder) = values.as_chunks::<4>();
    if !remainder.is_empty() {
        return Err(invalid(path, "the values are no whole number of f32"));
    }
    let values = values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    Array::new(shape, values).map_err(|error| invalid(path, &error.to_string()))
}

/// The tuple after `'shape':`.
fn shape(header: &str) -> Option<Vec<usize>> {
    let (_, tuple) = header.split_once("'shape': (")?;
    let (tuple, _) = tuple.split_once(')')?;
    let extents = tuple.split(',').map(str::trim).filter(|extent| !extent.is_empty());
    extents.map(|extent| extent.parse().ok()).collect()
}

/// Writes an array.
pub(crate) fn write(path: &Path, array: &Array<f32>) -> io::Result<()> {
    let extents: String = array.shape().iter().map(|extent| format!("{extent}, ")).collect();
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({extents}), }}");
    // Magic, version and length take ten bytes; a newline ends the header.
    let unpadded = MAGIC.len() + 4 + header.len() + 1;
    header.extend(std::iter::repeat_n(' ', unpadded.next_multiple_of(ALIGNMENT) - unpadded));
    header.push('\n');
    let length = u16::try_from(header.len()).map_err(|_| invalid(path, "too many axes"))?;
    let mut file = io::BufWriter::new(fs::File::create(path)?);
    file.write_all(MAGIC)?;
    file.write_all(&[1, 0])?;
    file.write_all(&length.to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    for value in array.data() {
        file.write_all(&value.to_le_bytes())?;
    }
    file.flush()
}
