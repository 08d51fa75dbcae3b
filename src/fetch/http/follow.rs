//! The thread that follows the growing front of the file: hashes it, and now and then makes it safe.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::board::Board;
use super::error::DownloadError;
use super::partial::{self, Note};
use crate::fetch::Fingerprint;
use crate::fsio::io_context;

/// What the follower works on.
pub(super) struct Follower<'a> {
    pub(super) board: &'a Board,
    pub(super) file: &'a File,
    pub(super) path: &'a Path,
    pub(super) note_path: &'a Path,
    /// What the next checkpoint says, but for the parts held.
    pub(super) note: Note,
    pub(super) interval: Duration,
}

impl Follower<'_> {
    /// Hashes until the file is whole or the round failed. What was held before is read again as well, and all of it from the file
    /// rather than from the network's buffers: what is verified is what was written.
    pub(super) fn run(mut self, hashed: &mut Fingerprint) -> Result<(), DownloadError> {
        let outcome = self.follow(hashed);
        if outcome.is_err() {
            self.board.stop();
        }
        outcome
    }

    fn follow(&mut self, hashed: &mut Fingerprint) -> Result<(), DownloadError> {
        let mut buffer = vec![0; 1 << 20];
        let mut saved = Instant::now();
        loop {
            let front = self.board.wait_beyond(hashed.bytes(), self.interval.max(Duration::from_millis(1)));
            if front.stopped {
                return Ok(());
            }
            let ahead = front.prefix.saturating_sub(hashed.bytes()).min(buffer.len() as u64);
            if ahead > 0 {
                let piece = buffer.get_mut(..ahead as usize).unwrap_or_default();
                io_context(self.file.read_exact_at(piece, hashed.bytes()), "read back", self.path)?;
                hashed.update(piece);
            } else if front.closed {
                return Ok(());
            }
            if !front.closed && self.note.validator.is_some() && saved.elapsed() >= self.interval {
                // Taken before the sync, so that everything it names is synced.
                self.note.held = self.board.held();
                // A full disk is told by the streams, with what is held; here it is no news.
                let _ = partial::save(self.file, self.path, self.note_path, &self.note);
                saved = Instant::now();
            }
        }
    }
}
