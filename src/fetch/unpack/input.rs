//! The archive as bytes at positions, read by several threads at once.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// A position in an open archive. Clones share the file but not the position. Not a memory map: a file that is cut short while it is read is an
/// error here, but would kill the process there, and its pages would count as our memory.
#[derive(Clone, Debug)]
pub(super) struct Input {
    file: Arc<File>,
    bytes: u64,
    position: u64,
}

impl Input {
    pub(super) fn new(file: File) -> io::Result<Self> {
        let bytes = file.metadata()?.len();
        Ok(Self { file: Arc::new(file), bytes, position: 0 })
    }

    /// The size of the archive when it was opened.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// `count` bytes at `position`, or `None` when the archive has no such place.
    pub(super) fn at(&self, position: u64, count: usize) -> io::Result<Option<Vec<u8>>> {
        let inside = position.checked_add(count as u64).is_some_and(|end| end <= self.bytes);
        if !inside {
            return Ok(None);
        }
        let mut bytes = vec![0; count];
        self.file.read_exact_at(&mut bytes, position)?;
        Ok(Some(bytes))
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Input {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.bytes.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        // The operating system takes positions as signed numbers.
        let position = position.filter(|&position| i64::try_from(position).is_ok());
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
