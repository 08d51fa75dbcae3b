//! The archive as bytes at positions, read by several threads at once.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

/// Bytes at positions, wherever they are: the zip reader is the same for a file of this machine and for one on a server.
pub(in crate::fetch) trait ReadAt: Sync {
    /// The size of the archive when it was opened.
    fn bytes(&self) -> u64;

    /// Reads at most a buffer full at `position`; zero bytes only at the end.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;

    /// `count` bytes at `position`, or `None` when the archive has no such place.
    fn at(&self, position: u64, count: usize) -> io::Result<Option<Vec<u8>>>;

    /// Whether these bytes are in the archive.
    fn contains(&self, position: u64, count: usize) -> bool {
        position.checked_add(count as u64).is_some_and(|end| end <= self.bytes())
    }
}

/// An archive on this machine. Not a memory map: a file that is cut short while it is read is an error here, but would kill the process there,
/// and its pages would count as our memory.
#[derive(Debug)]
pub(super) struct Input {
    file: File,
    bytes: u64,
}

impl Input {
    pub(super) fn new(file: File) -> io::Result<Self> {
        let bytes = file.metadata()?.len();
        Ok(Self { file, bytes })
    }
}

impl ReadAt for Input {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at(buffer, position)
    }

    fn at(&self, position: u64, count: usize) -> io::Result<Option<Vec<u8>>> {
        if !self.contains(position, count) {
            return Ok(None);
        }
        let mut bytes = vec![0; count];
        self.file.read_exact_at(&mut bytes, position)?;
        Ok(Some(bytes))
    }
}

/// A position in an archive, for libraries that read on from where they are.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    input: &'a dyn ReadAt,
    position: u64,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(input: &'a dyn ReadAt) -> Self {
        Self { input, position: 0 }
    }
}

impl Read for Cursor<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read_at(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Cursor<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.input.bytes().checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        // The operating system takes positions as signed numbers.
        let position = position.filter(|&position| i64::try_from(position).is_ok());
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
