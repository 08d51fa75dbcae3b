//! A remote archive as the zip reader wants it: what was fetched is held, and what is not held is fetched.

use std::io;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::fetch::http::{DownloadError, RemoteFile};
use crate::fetch::unpack::{ReadAt, ReadError};

/// What is fetched where the reader goes on without having said how far.
const STEP_BYTES: u64 = 64 << 10;
/// An archive may be read twice, and small ones a little more, before reading it by pieces is a waste: only a malformed one has its reader go here and there.
const SPARE_BYTES: u64 = 1 << 20;

/// The pieces of one archive. Meant for one thread: a second one waits while the first one fetches.
pub(super) struct Pieces<'a> {
    file: &'a RemoteFile<'a>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Disjoint, in no order: there are never more than a few.
    held: Vec<Piece>,
    /// What went wrong first. The reader only learns that something did; after that nothing is fetched any more.
    failure: Option<DownloadError>,
}

struct Piece {
    start: u64,
    bytes: Vec<u8>,
}

impl Piece {
    /// What it has from `position` on.
    fn from(&self, position: u64) -> Option<&[u8]> {
        let at = usize::try_from(position.checked_sub(self.start)?).ok()?;
        self.bytes.get(at..).filter(|rest| !rest.is_empty())
    }
}

impl State {
    fn from(&self, position: u64) -> Option<&[u8]> {
        self.held.iter().find_map(|piece| piece.from(position))
    }

    /// How far one can go from `position`, which is not held, before something is.
    fn gap_end(&self, position: u64, end: u64) -> u64 {
        self.held.iter().map(|piece| piece.start).filter(|&start| start > position).fold(end, u64::min)
    }
}

impl<'a> Pieces<'a> {
    pub(super) fn new(file: &'a RemoteFile<'a>) -> Self {
        Self { file, state: Mutex::default() }
    }

    /// A thread that panicked here left whole pieces.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the network did, if it is the cause of what the reader found.
    pub(super) fn failure(&self) -> Option<DownloadError> {
        self.state().failure.take()
    }

    /// Lets `work` read with everything in `range` held, and forgets afterwards what came for it.
    pub(super) fn with<T>(
        &self,
        range: Range<u64>,
        work: impl FnOnce() -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let held = self.state().held.len();
        let outcome = self.hold(range).map_err(ReadError::Io).and_then(|()| work());
        self.state().held.truncate(held);
        outcome
    }

    /// Fetches what is not held yet of a range.
    pub(super) fn hold(&self, range: Range<u64>) -> io::Result<()> {
        let mut state = self.state();
        let mut at = range.start;
        while at < range.end {
            at += self.held_from(&mut state, at, range.end)?.len() as u64;
        }
        Ok(())
    }

    /// What is held from `position` on, after it was fetched, if it had to be, in one piece up to `end` or to what is held.
    fn held_from<'s>(&self, state: &'s mut State, position: u64, end: u64) -> io::Result<&'s [u8]> {
        if state.from(position).is_none() {
            let range = position..state.gap_end(position, end);
            match self.fetch(state, &range) {
                Ok(bytes) => state.held.push(Piece { start: position, bytes }),
                Err(error) => {
                    state.failure.get_or_insert(error);
                }
            }
        }
        // Whatever is held serves even after a failure; what is not is an error that ends the reading.
        state.from(position).ok_or_else(|| io::Error::other("this part of the archive could not be fetched"))
    }

    fn fetch(&self, state: &State, range: &Range<u64>) -> Result<Vec<u8>, DownloadError> {
        let limit_bytes = self.file.bytes().saturating_mul(2).saturating_add(SPARE_BYTES);
        let needed_bytes = self.file.received_bytes().saturating_add(range.end - range.start);
        if state.failure.is_some() || needed_bytes > limit_bytes {
            return Err(self.file.no_parts("reading it here and there takes more than all of it"));
        }
        self.file.range(range.clone())
    }
}

impl ReadAt for Pieces<'_> {
    fn bytes(&self) -> u64 {
        self.file.bytes()
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        if position >= self.bytes() || buffer.is_empty() {
            return Ok(0);
        }
        let mut state = self.state();
        let end = self.bytes().min(position.saturating_add(STEP_BYTES));
        let held = self.held_from(&mut state, position, end)?;
        let count = held.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(held) {
            *to = *from;
        }
        Ok(count)
    }

    fn at(&self, position: u64, count: usize) -> io::Result<Option<Vec<u8>>> {
        if !self.contains(position, count) {
            return Ok(None);
        }
        let end = position + count as u64;
        let (mut state, mut bytes) = (self.state(), Vec::with_capacity(count));
        while bytes.len() < count {
            let held = self.held_from(&mut state, position + bytes.len() as u64, end)?;
            bytes.extend_from_slice(held.get(..held.len().min(count - bytes.len())).unwrap_or_default());
        }
        Ok(Some(bytes))
    }
}
