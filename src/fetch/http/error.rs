//! Why a file is not here: what was tried, where, what was expected and found, and what to do.

use std::io;
use std::path::{Path, PathBuf};

use crate::fetch::Mismatch;
use crate::{fsio, space};

/// A download that did not end with the right file in its place.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// Nobody knows where the file is.
    #[error("no URL is known for `{target}`: get the file by other means and give its folder with --from")]
    NoUrl {
        /// Where it should come to be.
        target: PathBuf,
    },
    /// Neither http, https or file, nor a path.
    #[error("`{url}` cannot be fetched: {reason}")]
    BadUrl {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The network must not be used.
    #[error(
        "`{target}` is not here, and --offline forbids to fetch it from {url}: \
         fetch it without --offline, or give the folder it is in with --from"
    )]
    Offline {
        /// Where it should come to be.
        target: PathBuf,
        /// Where it could be fetched.
        url: String,
    },
    /// The program's own HTTP client cannot be set up, e.g. because a proxy variable is malformed.
    #[error("cannot set up the HTTP client: {reason}")]
    Client {
        /// Why not.
        reason: String,
    },
    /// An answer that is neither the file nor a part of it.
    #[error("{url}: the server answered {answer}")]
    Status {
        /// Where.
        url: String,
        /// The status.
        status: u16,
        /// The status in words.
        answer: String,
    },
    /// No connection, no answer, or it broke.
    #[error("{url}: {what}: {reason}")]
    Transport {
        /// Where.
        url: String,
        /// What did not work.
        what: String,
        /// What the layer below said.
        reason: String,
    },
    /// Less than the lowest speed.
    #[error(
        "{url}: too slow: {bytes_per_s} bytes/s over {window_s:.1} s, less than the limit of {limit_bytes_per_s}"
    )]
    TooSlow {
        /// Where.
        url: String,
        /// What it was.
        bytes_per_s: u64,
        /// Over how long.
        window_s: f64,
        /// What it must be at least.
        limit_bytes_per_s: u64,
    },
    /// The server is not provably who it says.
    #[error(
        "{url}: no secure connection: {reason}. Nothing else is tried, because a less secure way may be what somebody wants: \
         check this machine's clock, certificates and proxy"
    )]
    Tls {
        /// Where.
        url: String,
        /// What TLS said.
        reason: String,
    },
    /// The proxy that the environment names does not do its work.
    #[error("{url}: the proxy {proxy} {reason}: check http_proxy, https_proxy, all_proxy and no_proxy")]
    Proxy {
        /// Where to.
        url: String,
        /// The proxy, without name and password.
        proxy: String,
        /// What is wrong.
        reason: String,
    },
    /// A chain of redirects that is not followed.
    #[error("{url}: {reason}")]
    Redirect {
        /// Where the chain began.
        url: String,
        /// Why it is not followed.
        reason: String,
    },
    /// An answer that must not be used.
    #[error("{url}: the answer cannot be used: {reason}")]
    Protocol {
        /// Where.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Parts of a file cannot be had, or not reliably: there the way is the whole file.
    #[error("{url}: parts of this file cannot be fetched: {reason}")]
    NoParts {
        /// Where.
        url: String,
        /// Why not.
        reason: String,
    },
    /// More than there should be.
    #[error("{url}: the body is longer than the {limit_bytes} bytes {limit}: cut off")]
    TooLong {
        /// Where.
        url: String,
        /// Where it was cut.
        limit_bytes: u64,
        /// Who said so.
        limit: &'static str,
    },
    /// The whole is there and is not what it should be.
    #[error("{url}: not the right file: {mismatch} ({bytes} bytes; what was received is removed)")]
    Mismatch {
        /// Where it came from.
        url: String,
        /// What differs.
        mismatch: Box<Mismatch>,
        /// How many bytes it has.
        bytes: u64,
    },
    /// The disk (or a quota, or a limit of the file's size) is full.
    #[error(
        "no room for `{partial}`: {reason}; {held_bytes} bytes are kept, {} missing, {} free: make room and run the same command again",
        counted(*.missing_bytes), counted(*.free_bytes)
    )]
    NoRoom {
        /// The file that could not grow.
        partial: PathBuf,
        /// What the operating system said.
        reason: io::Error,
        /// What is there.
        held_bytes: u64,
        /// What is not, if the size is known.
        missing_bytes: Option<u64>,
        /// What the file system still takes, if it says so; a quota or a limit of the file's size may be lower.
        free_bytes: Option<u64>,
    },
    /// Another process fetches the same file.
    #[error("`{partial}` is being written by another process: wait for it, or stop it")]
    Busy {
        /// The file both want.
        partial: PathBuf,
    },
    /// Somebody asked to stop.
    #[error("stopped; {held_bytes} bytes of `{target}` are kept for the next run")]
    Stopped {
        /// What was to be fetched.
        target: PathBuf,
        /// What of it can be resumed.
        held_bytes: u64,
    },
    /// A transient failure that did not go away.
    #[error("{source} (tried {tries} times{})", kept(*.held_bytes))]
    GaveUp {
        /// The last failure.
        source: Box<DownloadError>,
        /// How often it was tried without progress.
        tries: u32,
        /// What of the file can be resumed.
        held_bytes: u64,
    },
    /// None of several URLs worked.
    #[error("none of the {} sources of `{target}` worked:{}", .failures.len(), listed(.failures))]
    AllFailed {
        /// What was to be fetched.
        target: PathBuf,
        /// What happened at each, in order.
        failures: Vec<DownloadError>,
    },
    /// A file or folder of this machine.
    #[error(transparent)]
    File(#[from] fsio::Error),
}

impl DownloadError {
    /// Whether the network is at fault, as opposed to this machine's files or the content received.
    pub fn is_network(&self) -> bool {
        match self {
            Self::Offline { .. }
            | Self::Status { .. }
            | Self::Transport { .. }
            | Self::TooSlow { .. }
            | Self::Tls { .. }
            | Self::Proxy { .. }
            | Self::Redirect { .. }
            | Self::Protocol { .. }
            | Self::NoParts { .. }
            | Self::TooLong { .. }
            | Self::Client { .. } => true,
            Self::NoUrl { .. }
            | Self::BadUrl { .. }
            | Self::Mismatch { .. }
            | Self::NoRoom { .. }
            | Self::Busy { .. }
            | Self::Stopped { .. }
            | Self::File(_) => false,
            Self::GaveUp { source, .. } => source.is_network(),
            // Wrong content anywhere is the graver news: the exit code says data.
            Self::AllFailed { failures, .. } => failures.iter().all(Self::is_network),
        }
    }

    /// An operating system's refusal to write `partial`, told apart by whether room is what is missing.
    pub(super) fn writing(
        partial: &Path,
        source: io::Error,
        held_bytes: u64,
        total_bytes: Option<u64>,
    ) -> Self {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        if matches!(source.kind(), StorageFull | QuotaExceeded | FileTooLarge) {
            return Self::NoRoom {
                partial: partial.to_path_buf(),
                reason: source,
                held_bytes,
                missing_bytes: total_bytes.map(|total| total.saturating_sub(held_bytes)),
                free_bytes: space::free_bytes(partial).ok(),
            };
        }
        Self::File(fsio::Error::Io { action: "write", path: partial.to_path_buf(), source })
    }
}

fn counted(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "an unknown number".to_owned(), |bytes| format!("{bytes} bytes"))
}

fn kept(held_bytes: u64) -> String {
    match held_bytes {
        0 => String::new(),
        bytes => format!("; {bytes} bytes are kept, and the same command continues there"),
    }
}

fn listed(failures: &[DownloadError]) -> String {
    failures.iter().map(|failure| format!("\n  {failure}")).collect()
}
