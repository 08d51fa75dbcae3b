//! What a failure means for what comes next.

use std::time::Duration;

use super::error::DownloadError;

/// A failure, sorted by what helps against it.
#[derive(Debug)]
pub(super) enum Failure {
    /// Another try on the same URL may work, after the time the server asked for, if it did.
    Transient { error: DownloadError, retry_after: Option<Duration> },
    /// The server does not do ranges as it said: one stream may work.
    OneStream(DownloadError),
    /// What is held does not fit what the server has: from zero it may work.
    StartOver(DownloadError),
    /// This URL will not work: the next may.
    NextUrl(DownloadError),
    /// Nothing will work before somebody did something.
    Fatal(DownloadError),
}

impl Failure {
    /// A transient failure about which the server said nothing.
    pub(super) fn transient(error: DownloadError) -> Self {
        Self::Transient { error, retry_after: None }
    }

    /// Of the failures of several streams, the one that decides is the largest by this.
    pub(super) fn weight(&self) -> u8 {
        match self {
            Self::Transient { .. } => 0,
            Self::OneStream(_) => 1,
            Self::StartOver(_) => 2,
            Self::NextUrl(_) => 3,
            Self::Fatal(_) => 4,
        }
    }

    /// Corrects what a failure says is kept: on a full disk, the note that says so may have taken the place of some of it.
    pub(super) fn with_held(mut self, bytes: u64) -> Self {
        if let Self::Fatal(DownloadError::NoRoom { held_bytes, missing_bytes, .. }) = &mut self {
            *missing_bytes = missing_bytes.map(|missing| (missing + *held_bytes).saturating_sub(bytes));
            *held_bytes = bytes;
        }
        self
    }

    /// What happened to a stream that only helped: all but the gravest just means that helping does not work.
    pub(super) fn of_helper(self) -> Self {
        match self {
            Self::StartOver(error) | Self::NextUrl(error) => Self::OneStream(error),
            other => other,
        }
    }
}
