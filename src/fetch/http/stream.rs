//! From a body to the file: as much as was claimed, not slower than allowed, and not a byte more.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::board::{Board, Claim};
use super::client::root_cause;
use super::error::DownloadError;
use super::failure::Failure;
use super::options::Options;
use super::progress::Progress;
use crate::fault;

/// What streams read at a time.
pub(super) const BUFFER_BYTES: usize = 256 << 10;

/// Where all streams of a round go.
#[derive(Clone, Copy)]
pub(super) struct Sink<'a> {
    pub(super) board: &'a Board,
    pub(super) file: &'a File,
    pub(super) partial: &'a Path,
    pub(super) target: &'a Path,
    pub(super) url: &'a str,
    pub(super) options: &'a Options,
    pub(super) progress: &'a dyn Progress,
}

impl Sink<'_> {
    /// Reads a body whose first byte belongs to the claim's first. `end` is where the body ends if that is known. At the claim's
    /// end it goes on for `step` bytes at a time while nobody else is there.
    pub(super) fn drain(
        &self,
        body: &mut impl Read,
        mut claim: Claim<'_>,
        end: Option<u64>,
        step: u64,
    ) -> Result<(), Failure> {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut pace = Pace::new(self.options);
        loop {
            if self.progress.stopped() {
                self.board.stop();
                let held_bytes = self.board.held().bytes();
                return Err(Failure::Fatal(DownloadError::Stopped {
                    target: self.target.to_path_buf(),
                    held_bytes,
                }));
            }
            if self.board.is_stopped() {
                return Ok(());
            }
            let range = claim.range();
            if range.is_empty() && !(end != Some(range.end) && claim.extend(step)) {
                return self.check_end(body, range.end, end);
            }
            let range = claim.range();
            let room = buffer.len().min(usize::try_from(range.end - range.start).unwrap_or(usize::MAX));
            let count = match body.read(buffer.get_mut(..room).unwrap_or_default()) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(broken(self.url, range.start, end, &root_cause(&error))),
            };
            if count == 0 {
                if end.is_some() {
                    return Err(broken(self.url, range.start, end, "the body ended early"));
                }
                self.board.ends_at(range.start);
                return Ok(());
            }
            fault::point("fetch-before-write");
            if let Err(error) = self.file.write_all_at(buffer.get(..count).unwrap_or_default(), range.start) {
                self.board.stop();
                let held_bytes = self.board.held().bytes();
                let total = self.board.total_bytes();
                return Err(Failure::Fatal(DownloadError::writing(self.partial, error, held_bytes, total)));
            }
            fault::point("fetch-after-write");
            claim.advance(count as u64);
            self.progress.advanced(count as u64);
            if let Some(speed) = pace.too_slow(count as u64) {
                return Err(too_slow(self.url, speed, self.options));
            }
        }
    }

    /// At the end of what there should be, nothing may follow.
    fn check_end(&self, body: &mut impl Read, at: u64, end: Option<u64>) -> Result<(), Failure> {
        let limit = match end {
            Some(end) if end == at => "it should have",
            None if at == self.options.limit_bytes => "any file may have",
            // Somebody else fetches what follows.
            _ => return Ok(()),
        };
        match body.read(&mut [0]) {
            Ok(count) if count > 0 => Err(Failure::NextUrl(DownloadError::TooLong {
                url: self.url.to_owned(),
                limit_bytes: at,
                limit,
            })),
            _ if end.is_none() => {
                self.board.ends_at(at);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// A connection that broke before byte `at`, where the body should go on to `end`.
pub(super) fn broken(url: &str, at: u64, end: Option<u64>, reason: &str) -> Failure {
    let what = match end {
        Some(end) => format!("the connection broke at byte {at} of {end}"),
        None => format!("the connection broke at byte {at}"),
    };
    Failure::transient(DownloadError::Transport { url: url.to_owned(), what, reason: reason.to_owned() })
}

/// A speed, and over how many seconds, that is less than the lowest.
pub(super) fn too_slow(url: &str, (bytes_per_s, window_s): (u64, f64), options: &Options) -> Failure {
    Failure::transient(DownloadError::TooSlow {
        url: url.to_owned(),
        bytes_per_s,
        window_s,
        limit_bytes_per_s: options.low_speed_bytes_per_s,
    })
}

/// Measures the speed over windows of a fixed length.
pub(super) struct Pace {
    limit_bytes_per_s: u64,
    window: Duration,
    since: Instant,
    bytes: u64,
}

impl Pace {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            limit_bytes_per_s: options.low_speed_bytes_per_s,
            window: options.low_speed_window,
            since: Instant::now(),
            bytes: 0,
        }
    }

    /// Counts; at the end of a window, says the speed in bytes a second and the window's length in seconds if it was too slow.
    pub(super) fn too_slow(&mut self, bytes: u64) -> Option<(u64, f64)> {
        self.bytes += bytes;
        let elapsed = self.since.elapsed();
        if elapsed < self.window {
            return None;
        }
        let seconds = elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        let bytes_per_s = (self.bytes as f64 / seconds) as u64;
        (self.since, self.bytes) = (Instant::now(), 0);
        (bytes_per_s < self.limit_bytes_per_s).then_some((bytes_per_s, seconds))
    }
}
