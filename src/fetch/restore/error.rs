//! Why files were not restored, and whether their archive as a whole would help.

use crate::fetch::Mismatch;
use crate::fetch::http::DownloadError;
use crate::fetch::unpack::{Fault, Format};
use crate::fsio;

use super::Restored;

/// Not all files were restored.
#[derive(Debug, thiserror::Error)]
#[error("{problem}{}", so_far(.restored))]
pub struct RestoreError {
    /// What was put in place all the same, and what that took.
    pub restored: Restored,
    /// Why the rest was not.
    pub problem: Box<Problem>,
}

/// Why a file was not restored.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// There is no directory of members to begin with.
    #[error("single members of a {format} archive cannot be fetched")]
    Format {
        /// The form of the archive.
        format: Format,
    },
    /// Nothing could tell whether the file is right.
    #[error(
        "no hash of `{file}` is known, and the check sums within an archive prove nothing while the archive as a whole is not verified"
    )]
    NoHash {
        /// The file.
        file: String,
    },
    /// What lies there is another archive.
    #[error("{url}: it has {found_bytes} bytes, expected {expected_bytes}: it is another archive")]
    Size {
        /// Where.
        url: String,
        /// The published size.
        expected_bytes: u64,
        /// The size there.
        found_bytes: u64,
    },
    /// The archive could not be read where it lies.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// The archive itself is at fault.
    #[error("{url}: the archive cannot be read by members: {fault}")]
    Archive {
        /// Where.
        url: String,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The archive has no such member.
    #[error("{url}: the archive has no member `{member}`")]
    Missing {
        /// Where.
        url: String,
        /// The member, with its folder in the archive.
        member: String,
    },
    /// The member is not the file that was lost.
    #[error(
        "{url}: the archive's `{file}` is not the right file: {mismatch}; what is here was left as it is"
    )]
    Wrong {
        /// Where.
        url: String,
        /// The file.
        file: String,
        /// What differs.
        mismatch: Mismatch,
    },
    /// The file could not be put in its place.
    #[error(transparent)]
    File(#[from] fsio::Error),
    /// Several problems, in the order they were met.
    #[error("{}", listed(.0))]
    Several(Vec<Problem>),
}

impl Problem {
    /// Whether to fetch the archive as a whole is a way to what is missing. It is not when somebody asked to stop, when this machine is at fault,
    /// or when the network is.
    pub fn archive_may_help(&self) -> bool {
        match self {
            Self::Format { .. }
            | Self::NoHash { .. }
            | Self::Size { .. }
            | Self::Archive { .. }
            | Self::Missing { .. }
            | Self::Wrong { .. } => true,
            Self::Download(error) => match error {
                DownloadError::NoParts { .. }
                | DownloadError::Status { .. }
                | DownloadError::Protocol { .. }
                | DownloadError::Redirect { .. }
                | DownloadError::TooLong { .. }
                | DownloadError::Mismatch { .. } => true,
                DownloadError::NoUrl { .. }
                | DownloadError::BadUrl { .. }
                | DownloadError::Offline { .. }
                | DownloadError::Client { .. }
                | DownloadError::Transport { .. }
                | DownloadError::TooSlow { .. }
                | DownloadError::Tls { .. }
                | DownloadError::Proxy { .. }
                | DownloadError::NoRoom { .. }
                | DownloadError::Busy { .. }
                | DownloadError::Stopped { .. }
                | DownloadError::GaveUp { .. }
                | DownloadError::AllFailed { .. }
                | DownloadError::File(_) => false,
            },
            Self::File(_) => false,
            Self::Several(problems) => {
                !problems.iter().any(Self::is_final) && problems.iter().any(Self::archive_may_help)
            }
        }
    }

    /// Whether the network is at fault, as opposed to this machine's files or the content received.
    pub fn is_network(&self) -> bool {
        match self {
            Self::Download(error) => error.is_network(),
            // Wrong content anywhere is the graver news.
            Self::Several(problems) => problems.iter().all(Self::is_network),
            Self::Format { .. }
            | Self::NoHash { .. }
            | Self::Size { .. }
            | Self::Archive { .. }
            | Self::Missing { .. }
            | Self::Wrong { .. }
            | Self::File(_) => false,
        }
    }

    /// Whether somebody asked to stop.
    pub fn is_stopped(&self) -> bool {
        match self {
            Self::Download(DownloadError::Stopped { .. }) => true,
            Self::Several(problems) => problems.iter().any(Self::is_stopped),
            _ => false,
        }
    }

    /// Whether no other URL is to be tried: what failed is this machine, or trust, or patience.
    pub(super) fn is_final(&self) -> bool {
        matches!(
            self,
            Self::File(_)
                | Self::Download(
                    DownloadError::Stopped { .. } | DownloadError::Tls { .. } | DownloadError::Client { .. }
                )
        )
    }
}

fn so_far(restored: &Restored) -> String {
    match restored.names.as_slice() {
        [] => String::new(),
        names => format!(" ({} restored before: {})", names.len(), names.join(", ")),
    }
}

fn listed(problems: &[Problem]) -> String {
    let each: Vec<String> = problems.iter().map(ToString::to_string).collect();
    format!("not everything could be restored:\n  {}", each.join("\n  "))
}
