//! One URL, tried until it worked or there is no sense in trying it again.

use std::time::Duration;

use super::error::DownloadError;
use super::failure::Failure;
use super::partial::Partial;
use super::retry::{Held, Retries};
use super::round::Round;
use crate::fetch::{Found, Mismatch};

/// How often what is held is thrown away on one URL before it is given up: a server that changes its mind at every request would
/// otherwise keep us for ever.
const FRESH_STARTS: u32 = 2;

impl Round<'_> {
    /// The verified file, in `partial`; or why it cannot be had from this URL.
    pub(super) fn fetch(&self, partial: &mut Partial) -> Result<Found, Failure> {
        let held_bytes =
            if partial.continues(self.url, self.expected) { partial.note.held.bytes() } else { 0 };
        let mut retries = Retries::new(self.options, self.progress, held_bytes);
        let mut ranges = self.options.ranges.max(1);
        let mut fresh_starts = 0;
        let mut ranges_failed = false;
        loop {
            let failure = match self.run(partial, ranges) {
                Ok(whole) => match self.verify(partial) {
                    Ok(found) => return Ok(found),
                    Err(error) => {
                        partial.discard().map_err(Failure::Fatal)?;
                        if whole.pieced { Failure::StartOver(error) } else { Failure::NextUrl(error) }
                    }
                },
                Err(failure) => failure,
            };
            match failure {
                Failure::Transient { error, retry_after } => {
                    let held = Held {
                        target: &partial.target,
                        bytes: partial.note.held.bytes(),
                        resumable_bytes: partial.resumable_bytes(),
                    };
                    retries.wait(error, retry_after, held)?;
                }
                // Only several ranges fail like that, so it happens once.
                Failure::OneStream(error) if ranges > 1 => {
                    ranges = 1;
                    ranges_failed = true;
                    self.progress.retrying(&error.to_string(), Duration::ZERO);
                }
                // A server that refused ranges refuses to resume as well, and may still send the whole.
                Failure::NextUrl(error @ DownloadError::Status { .. })
                    if ranges_failed && fresh_starts == 0 =>
                {
                    fresh_starts += 1;
                    partial.discard().map_err(Failure::Fatal)?;
                    self.progress.retrying(&error.to_string(), Duration::ZERO);
                }
                Failure::StartOver(error) if fresh_starts < FRESH_STARTS => {
                    fresh_starts += 1;
                    ranges = 1;
                    partial.discard().map_err(Failure::Fatal)?;
                    self.progress.retrying(&error.to_string(), Duration::ZERO);
                }
                Failure::OneStream(error) | Failure::StartOver(error) => return Err(Failure::NextUrl(error)),
                other => return Err(other),
            }
        }
    }

    fn verify(&self, partial: &mut Partial) -> Result<Found, DownloadError> {
        let found = partial.hashed.clone().finish();
        let total = partial.note.total_bytes.unwrap_or(found.bytes);
        let whole = if found.bytes == total {
            self.expected.check(&found)
        } else {
            Err(Mismatch {
                what: "size in bytes",
                expected: total.to_string(),
                found: found.bytes.to_string(),
            })
        };
        whole.map_err(|mismatch| DownloadError::Mismatch {
            url: self.url.to_owned(),
            mismatch: Box::new(mismatch),
            bytes: found.bytes,
        })?;
        Ok(found)
    }
}
