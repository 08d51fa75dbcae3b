//! Gzip under tar: decompressed while it is read, and held to everything that gzip can vouch for.
//!
//! A few bytes can become any number of bytes, so what comes out is counted against what went in. Nothing may stand behind the compressed data
//! except more of them, and every check sum is looked at.
//!
//! Reference: RFC 1952.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use flate2::bufread::GzDecoder;

use super::error::Fault;
use super::input::{Cursor, ReadAt};
use super::sink::ReadError;
use super::{Format, Limits, RATIO_FREE_BYTES, hint};

const READ_BYTES: usize = 256 << 10;
/// How every gzip member begins.
const MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Where the size of the last member stands, modulo 2^32: the last four bytes.
const SIZE_BYTES: usize = 4;

/// About how many bytes will come out: what the last member says, or as much as goes in if that is more. Only good for looking whether there is
/// room, because it says nothing about other members or beyond 4 GiB.
pub(super) fn about_bytes(input: &dyn ReadAt, limits: &Limits) -> io::Result<u64> {
    let end = match input.bytes().checked_sub(SIZE_BYTES as u64) {
        Some(place) => input.at(place, SIZE_BYTES)?.unwrap_or_default(),
        None => Vec::new(),
    };
    let claimed = end.first_chunk().map_or(0, |bytes| u64::from(u32::from_le_bytes(*bytes)));
    // A claim beyond the ratio is refused when it comes true; here it must not pass for a full disk.
    Ok(claimed.min(input.bytes().saturating_mul(limits.ratio)).max(input.bytes()))
}

/// The bytes that were compressed.
pub(super) struct Gunzip<'a> {
    decoder: GzDecoder<Counted<'a>>,
    input: &'a dyn ReadAt,
    limits: Limits,
    /// How many came out.
    bytes: u64,
}

impl<'a> Gunzip<'a> {
    /// Begins at the archive's first byte.
    pub(super) fn new(input: &'a dyn ReadAt, limits: &Limits) -> Result<Self, ReadError> {
        if input.at(0, MAGIC.len())?.is_none_or(|start| start != MAGIC) {
            return Err(Fault::NotAnArchive { format: Format::TarGz, hint: hint(input)? }.into());
        }
        let decoder = GzDecoder::new(Counted::new(input, 0)?);
        Ok(Self { decoder, input, limits: *limits, bytes: 0 })
    }

    /// Reads what stands behind the end mark of the tar, which has to be zeros, and so gets to the check sum.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let count = match self.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if buffer.iter().take(count).any(|&byte| byte != 0) {
                return Err(misplaced("data stand behind the end mark of its tar".to_owned()));
            }
        }
    }

    /// Passes over bytes that nobody wants; returns the position in what was compressed. The end of the stream is left to the next read.
    pub(super) fn skip(&mut self, bytes: u64) -> io::Result<u64> {
        io::copy(&mut self.by_ref().take(bytes), &mut io::sink())?;
        Ok(self.bytes)
    }

    fn check(&self) -> Result<(), Fault> {
        let Limits { total_bytes, ratio, .. } = self.limits;
        let found = self.bytes / self.decoder.get_ref().consumed.max(1);
        let excess = if self.bytes > total_bytes {
            Some(("the size of what it unpacks to in bytes", total_bytes, self.bytes))
        } else if self.bytes > RATIO_FREE_BYTES && found > ratio {
            Some(("its compression ratio", ratio, found))
        } else {
            None
        };
        match excess {
            Some((what, limit, found)) => Err(Fault::Limit { what: what.to_owned(), limit, found }),
            None => Ok(()),
        }
    }
}

impl Read for Gunzip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let count = self.decoder.read(buffer).map_err(of_library)?;
            if count > 0 {
                self.bytes += count as u64;
                self.check().map_err(io::Error::other)?;
                return Ok(count);
            }
            let at = self.decoder.get_ref().consumed;
            let rest = self.input.bytes().saturating_sub(at);
            if rest == 0 {
                return Ok(0);
            }
            // Some programs write one member after the other; together they are one file.
            if self.input.at(at, MAGIC.len())?.is_none_or(|start| start != MAGIC) {
                return Err(misplaced(format!(
                    "{rest} bytes that belong to nobody stand behind its gzip data"
                )));
            }
            let next = Counted::new(self.input, at)?;
            self.decoder.reset(next);
        }
    }
}

fn misplaced(detail: String) -> io::Error {
    io::Error::other(Fault::Misplaced { detail })
}

/// An error of the library as a fault of the archive, unless it is the device's.
fn of_library(error: io::Error) -> io::Error {
    if error.raw_os_error().is_some() || error.kind() == io::ErrorKind::Interrupted {
        return error;
    }
    let text = error.to_string();
    io::Error::other(if error.kind() == io::ErrorKind::UnexpectedEof {
        Fault::Truncated { detail: "within its gzip data".to_owned() }
    // The library has no type for it; a test holds it to the word.
    } else if text.contains("checksum") {
        Fault::Damaged { detail: "its data do not have the CRC-32 and size that gzip recorded".to_owned() }
    } else {
        Fault::Damaged { detail: format!("its gzip data: {text}") }
    })
}

/// The fault that an error of this reader carries, through whatever layers it came.
pub(super) fn fault_in(error: &io::Error) -> Option<Fault> {
    let mut cause: Option<&(dyn Error + 'static)> = error.get_ref().map(|inner| inner as _);
    while let Some(error) = cause {
        if let Some(fault) = error.downcast_ref::<Fault>() {
            return Some(fault.clone());
        }
        cause = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// The archive's bytes, counted as they are used rather than as they are read ahead.
struct Counted<'a> {
    inner: BufReader<Cursor<'a>>,
    /// The position of the next byte to be used.
    consumed: u64,
}

impl<'a> Counted<'a> {
    fn new(input: &'a dyn ReadAt, at: u64) -> io::Result<Self> {
        let mut input = Cursor::new(input);
        input.seek(SeekFrom::Start(at))?;
        Ok(Self { inner: BufReader::with_capacity(READ_BYTES, input), consumed: at })
    }
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.consumed += count as u64;
        Ok(count)
    }
}

impl BufRead for Counted<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.inner.consume(count);
        self.consumed += count as u64;
    }
}
