//! Tar: streamed from front to back, because there is no directory to look at first.

use std::cell::Cell;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::rc::Rc;

use ::tar::{Archive, EntryType};

use super::error::{Fault, UnpackError};
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

/// A reader that counts what the library reads.
struct Watched<'a> {
    inner: BufReader<Cursor<'a>>,
    watch: Rc<Watch>,
}

impl Read for Watched<'_> {
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

impl Seek for Watched<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match to {
            // Keeps what is in the buffer.
            SeekFrom::Current(offset) => {
                self.inner.seek_relative(offset)?;
                self.inner.stream_position()
            }
            other => self.inner.seek(other),
        }
    }
}

/// Unpacks the wanted members one after the other; returns what was left out.
pub(super) fn unpack(
    input: &dyn ReadAt,
    members: &Members,
    limits: &Limits,
    sink: &Sink<'_>,
) -> Result<Ignored, UnpackError> {
    let watch = Rc::new(Watch::default());
    let inner = BufReader::with_capacity(READ_BYTES, Cursor::new(input));
    let mut archive = Archive::new(Watched { inner, watch: Rc::clone(&watch) });
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
        let mut entry = entry.map_err(|error| sink.read_error(of_header(error, is_first, &watch, input)))?;
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
    selector.finish().map_err(|fault| sink.fault(fault))
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
            Err(error) => Err(ReadError::Io(error)),
        };
    }
}

/// What an error of the library means that came up while it looked for the next member.
fn of_header(error: io::Error, is_first: bool, watch: &Watch, input: &dyn ReadAt) -> ReadError {
    if error.raw_os_error().is_some() {
        return ReadError::Io(error);
    }
    if watch.exceeded.get() {
        let what = "the length of the headers of one of its members in bytes".to_owned();
        return Fault::Limit { what, limit: HEADER_LIMIT_BYTES, found: HEADER_LIMIT_BYTES + 1 }.into();
    }
    if watch.at_end.get() && !is_first {
        return Fault::Truncated { detail: "within a header".to_owned() }.into();
    }
    if is_first {
        return match hint(input) {
            Ok(hint) => Fault::NotAnArchive { format: Format::Tar, hint }.into(),
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
