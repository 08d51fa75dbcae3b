//! Tar, plain or under gzip: streamed from front to back, because there is no directory to look at first.

use std::cell::Cell;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::rc::Rc;

use ::tar::{Archive, EntryType};

use super::error::{Fault, UnpackError};
use super::gzip::{self, Gunzip};
use super::input::{Cursor, ReadAt};
use super::members::{Ignored, Kind, Members, Selector};
use super::sink::{ReadError, Sink};
use super::{Format, Limits, hint, names};

const READ_BYTES: usize = 256 << 10;
/// The most bytes of headers for one member: long names and extended attributes. The library reads them into memory.
const HEADER_LIMIT_BYTES: u64 = 1 << 20;

/// What the reader under the library has seen.
#[derive(Debug, Default)]
struct Watch {
    /// How much more may be read.
    allowance: Cell<u64>,
    /// Whether that was not enough.
    exceeded: Cell<bool>,
    /// Whether the end of the file was met.
    at_end: Cell<bool>,
}

/// A reader that passes over what nobody wants.
trait Skip: Read {
    /// Passes over so many bytes; returns the position after them.
    fn skip(&mut self, bytes: u64) -> io::Result<u64>;
}

impl Skip for BufReader<Cursor<'_>> {
    fn skip(&mut self, bytes: u64) -> io::Result<u64> {
        let offset = i64::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
        // Unlike the plain way, this keeps what is in the buffer.
        self.seek_relative(offset)?;
        self.stream_position()
    }
}

impl Skip for Gunzip<'_> {
    fn skip(&mut self, bytes: u64) -> io::Result<u64> {
        Self::skip(self, bytes)
    }
}

/// A reader that counts what the library reads.
struct Watched<R> {
    inner: R,
    watch: Rc<Watch>,
}

impl<R: Skip> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let allowance = usize::try_from(self.watch.allowance.get()).unwrap_or(usize::MAX);
        if allowance == 0 && !buffer.is_empty() {
            self.watch.exceeded.set(true);
            return Err(io::Error::other("its headers are too long"));
        }
        let limit = buffer.len().min(allowance);
        let count = self.inner.read(buffer.get_mut(..limit).unwrap_or_default())?;
        if count == 0 && limit > 0 {
            self.watch.at_end.set(true);
        }
        self.watch.allowance.set(self.watch.allowance.get() - count as u64);
        Ok(count)
    }
}

impl<R: Skip> Seek for Watched<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match to {
            // The library only ever passes over something.
            SeekFrom::Current(offset) if offset >= 0 => self.inner.skip(offset.unsigned_abs()),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

/// Unpacks the wanted members of a plain tar one after the other; returns what was left out.
pub(super) fn unpack(
    input: &dyn ReadAt,
    members: &Members,
    limits: &Limits,
    sink: &Sink<'_>,
) -> Result<Ignored, UnpackError> {
    let reader = BufReader::with_capacity(READ_BYTES, Cursor::new(input));
    let not_a_tar = || Ok(Fault::NotAnArchive { format: Format::Tar, hint: hint(input)? });
    Ok(stream(reader, &not_a_tar, members, limits, sink)?.0)
}

/// The same for a tar under gzip.
pub(super) fn unpack_gzip(
    input: &dyn ReadAt,
    members: &Members,
    limits: &Limits,
    sink: &Sink<'_>,
) -> Result<Ignored, UnpackError> {
    let reader = Gunzip::new(input, limits).map_err(|error| sink.read_error(error))?;
    let hint = ": it is gzip data of something else";
    let not_a_tar = || Ok(Fault::NotAnArchive { format: Format::TarGz, hint });
    let (ignored, mut reader) = stream(reader, &not_a_tar, members, limits, sink)?;
    reader.finish().map_err(|error| sink.read_error(of_reader(error)))?;
    Ok(ignored)
}

/// Unpacks what a reader has; `not_a_tar` is the fault if its very first header is none.
fn stream<R: Skip>(
    reader: R,
    not_a_tar: &dyn Fn() -> io::Result<Fault>,
    members: &Members,
    limits: &Limits,
    sink: &Sink<'_>,
) -> Result<(Ignored, R), UnpackError> {
    let watch = Rc::new(Watch::default());
    let mut archive = Archive::new(Watched { inner: reader, watch: Rc::clone(&watch) });
    let mut selector = Selector::new(members, limits);
    let mut buffer = vec![0; READ_BYTES];
    // With seeking, data of members that are left out are passed over and do not count as headers.
    let mut entries = archive.entries_with_seek().map_err(|source| sink.unreadable(source))?;
    let mut is_first = true;
    loop {
        watch.allowance.set(HEADER_LIMIT_BYTES);
        let Some(entry) = entries.next() else {
            break;
        };
        let mut entry =
            entry.map_err(|error| sink.read_error(of_header(error, is_first, &watch, not_a_tar)))?;
        is_first = false;
        let (name, bytes) = (entry.path_bytes().into_owned(), entry.size());
        let kind = kind_of(entry.header().entry_type(), &name, bytes);
        let kind =
            kind.map_err(|method| sink.fault(Fault::Method { member: names::shown(&name), method }))?;
        let Some(into) = selector.next(&name, kind, bytes).map_err(|fault| sink.fault(fault))? else {
            continue;
        };
        watch.allowance.set(bytes);
        sink.write(&into, bytes, &mut buffer, |buffer| read(&mut entry, buffer, &watch, &name))?;
    }
    // The end of an archive is a block of zeros, not the end of the file.
    if watch.at_end.get() {
        let detail = "it has no end mark".to_owned();
        return Err(sink.fault(Fault::Truncated { detail }));
    }
    let ignored = selector.finish().map_err(|fault| sink.fault(fault))?;
    Ok((ignored, archive.into_inner().inner))
}

/// An error while reading: of the device, or a fault that the reader found.
fn of_reader(error: io::Error) -> ReadError {
    match gzip::fault_in(&error) {
        Some(fault) => fault.into(),
        None => error.into(),
    }
}

fn read(entry: &mut impl Read, buffer: &mut [u8], watch: &Watch, name: &[u8]) -> Result<usize, ReadError> {
    loop {
        return match entry.read(buffer) {
            Ok(0) if watch.at_end.get() => {
                let detail = format!("within its member `{}`", names::shown(name));
                Err(ReadError::Fault(Fault::Truncated { detail }))
            }
            Ok(count) => Ok(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(of_reader(error)),
        };
    }
}

/// What an error of the library means that came up while it looked for the next member.
fn of_header(
    error: io::Error,
    is_first: bool,
    watch: &Watch,
    not_a_tar: &dyn Fn() -> io::Result<Fault>,
) -> ReadError {
    if error.raw_os_error().is_some() {
        return ReadError::Io(error);
    }
    if let Some(fault) = gzip::fault_in(&error) {
        return fault.into();
    }
    if watch.exceeded.get() {
        let what = "the length of the headers of one of its members in bytes".to_owned();
        return Fault::Limit { what, limit: HEADER_LIMIT_BYTES, found: HEADER_LIMIT_BYTES + 1 }.into();
    }
    if watch.at_end.get() && !is_first {
        return Fault::Truncated { detail: "within a header".to_owned() }.into();
    }
    if is_first {
        return match not_a_tar() {
            Ok(fault) => fault.into(),
            Err(error) => ReadError::Io(error),
        };
    }
    Fault::Damaged { detail: error.to_string() }.into()
}

/// What a member is; an error names a way of storing that is not supported.
fn kind_of(kind: EntryType, name: &[u8], bytes: u64) -> Result<Kind, String> {
    Ok(match kind {
        // Before there was a type for folders, a slash at the end made one.
        EntryType::Regular if name.ends_with(b"/") && bytes == 0 => Kind::Folder,
        EntryType::Regular | EntryType::Continuous => Kind::File,
        EntryType::Directory => Kind::Folder,
        EntryType::Link | EntryType::Symlink => Kind::Link,
        EntryType::XGlobalHeader => Kind::Record,
        EntryType::GNUSparse => return Err("sparse blocks".to_owned()),
        _ => Kind::Special,
    })
}
