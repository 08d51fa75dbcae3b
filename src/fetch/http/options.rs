//! How patient, how fast and how careful a download is.

use std::time::Duration;

/// What a [`Downloader`](super::Downloader) is allowed to do and to wait for. The defaults suit large files over bad lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The longest wait for a connection. Default 10 s.
    pub connect_timeout: Duration,
    /// The longest wait for the answer's head, and for each next piece of its body. Default 30 s.
    pub read_timeout: Duration,
    /// Slower than this on average over [`low_speed_window`](Self::low_speed_window), in bytes a second, and the connection is given up. Default 1024.
    pub low_speed_bytes_per_s: u64,
    /// How long a connection may be that slow. Default 30 s.
    pub low_speed_window: Duration,
    /// How often a transient failure is followed by another try on the same URL. Default 4.
    pub retries: u32,
    /// So many bytes more than ever before, and the count of retries starts anew. Default 64 KiB: a server that sends one byte a
    /// connection would otherwise keep us for years.
    pub progress_bytes: u64,
    /// The first wait before a retry; each further one is twice as long. Half of it is random. Default 500 ms.
    pub backoff_base: Duration,
    /// The longest such wait. Default 30 s.
    pub backoff_cap: Duration,
    /// The longest wait that a server's Retry-After is granted. Default 120 s.
    pub retry_after_cap: Duration,
    /// How many redirects are followed. Default 10.
    pub redirects: usize,
    /// How many ranges of one file are fetched at once at most, where the server allows it and it helps. Default 4; 1 switches ranges off.
    pub ranges: usize,
    /// Files with fewer missing bytes than this come as one stream. Default 64 MiB.
    pub ranges_from_bytes: u64,
    /// How long the rate of so many ranges at once is measured before another is added, if it helps. Default 2 s; zero uses all at once.
    pub ranges_trial: Duration,
    /// The length of one range. Short ones keep the front of the file growing, which is what the hash follows. Default 16 MiB.
    pub range_bytes: u64,
    /// The most bytes a file of unknown size may have. Default 64 GiB, several times the largest archive of the field.
    pub limit_bytes: u64,
    /// How often what is held is synced and noted, so that it survives a crash. Default 5 s.
    pub checkpoint_interval: Duration,
    /// What the User-Agent header says. Default `esr/<version>`.
    pub user_agent: String,
    /// Whether the network must not be used: only local copies are made. Default no.
    pub offline: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(30),
            low_speed_bytes_per_s: 1024,
            low_speed_window: Duration::from_secs(30),
            retries: 4,
            progress_bytes: 64 << 10,
            backoff_base: Duration::from_millis(500),
            backoff_cap: Duration::from_secs(30),
            retry_after_cap: Duration::from_secs(120),
            redirects: 10,
            ranges: 4,
            ranges_from_bytes: 64 << 20,
            ranges_trial: Duration::from_secs(2),
            range_bytes: 16 << 20,
            limit_bytes: 64 << 30,
            checkpoint_interval: Duration::from_secs(5),
            user_agent: concat!("esr/", env!("CARGO_PKG_VERSION")).to_owned(),
            offline: false,
        }
    }
}
