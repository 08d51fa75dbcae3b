//! One file, from the first of its URLs that works.

use std::path::Path;
use std::sync::OnceLock;

use super::client::Http;
use super::copy::{Source, copy};
use super::error::DownloadError;
use super::failure::Failure;
use super::options::Options;
use super::partial::Partial;
use super::progress::Progress;
use super::round::Round;
use crate::fetch::{Expected, Found};

/// What to fetch.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Where it can be had, in the order to try: http, https and file URLs, and paths.
    pub urls: &'a [String],
    /// Where it goes. A file that is there is replaced, but only by a verified one.
    pub target: &'a Path,
    /// What is known of it.
    pub expected: &'a Expected,
}

/// A file that is in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// What it is; everything that was expected is true of it.
    pub found: Found,
    /// The URL that had it.
    pub url: String,
    /// How many of its bytes an earlier run had brought.
    pub resumed_bytes: u64,
}

/// Fetches files. One of these serves many threads, each with another file.
#[derive(Debug)]
pub struct Downloader {
    options: Options,
    /// Set up when the network is first needed: copies work on machines where it cannot be.
    http: OnceLock<Http>,
}

impl Downloader {
    /// A downloader with these options. Nothing is set up or sent before the first fetch.
    ///
    /// # Errors
    /// [`DownloadError::Client`] when the options contradict each other.
    pub fn new(options: Options) -> Result<Self, DownloadError> {
        if options.ranges > 1 && options.range_bytes == 0 {
            let reason = "ranges of zero bytes would never bring a file".to_owned();
            return Err(DownloadError::Client { reason });
        }
        Ok(Self { options, http: OnceLock::new() })
    }

    /// Brings the file to its target, verified and synced, or says why not. What can be resumed is kept beside the target.
    ///
    /// # Errors
    /// [`DownloadError`]; the target is then what it was before.
    pub fn fetch(&self, request: &Request<'_>, progress: &dyn Progress) -> Result<Fetched, DownloadError> {
        let Request { urls, target, expected } = *request;
        let mut failures = Vec::new();
        let mut partial = None;
        let mut fatal = None;
        let mut secure = false;
        for url in urls {
            // Whoever can break an https connection could otherwise choose what is fetched instead.
            if secure && expected.has_no_hash() && is(url, "http://") {
                let reason = "it is less secure than the URL before it, and no hash is known that would tell a wrong file";
                failures.push(DownloadError::BadUrl { url: url.clone(), reason: reason.to_owned() });
                continue;
            }
            secure |= is(url, "https://");
            progress.mirror(url);
            match self.from(url, target, expected, progress, &mut partial) {
                Ok(found) => {
                    let resumed_bytes = match partial.take() {
                        Some(partial) => partial.finish()?,
                        None => 0,
                    };
                    return Ok(Fetched { found, url: url.clone(), resumed_bytes });
                }
                Err(Failure::Fatal(error)) => {
                    fatal = Some(error);
                    break;
                }
                Err(
                    Failure::NextUrl(error)
                    | Failure::OneStream(error)
                    | Failure::StartOver(error)
                    | Failure::Transient { error, .. },
                ) => failures.push(error),
            }
        }
        if let Some(partial) = partial {
            partial.leave();
        }
        match (fatal, failures.len()) {
            (Some(error), _) => Err(error),
            (None, 0 | 1) => {
                Err(failures.pop().unwrap_or_else(|| DownloadError::NoUrl { target: target.to_path_buf() }))
            }
            // Which of them the file is fetched from elsewhere makes no difference.
            (None, _) if failures.iter().all(|error| matches!(error, DownloadError::Offline { .. })) => {
                Err(failures.swap_remove(0))
            }
            (None, _) => Err(DownloadError::AllFailed { target: target.to_path_buf(), failures }),
        }
    }

    fn from(
        &self,
        url: &str,
        target: &Path,
        expected: &Expected,
        progress: &dyn Progress,
        partial: &mut Option<Partial>,
    ) -> Result<Found, Failure> {
        let source = self.source(url, target).map_err(Failure::NextUrl)?;
        let partial = match partial {
            Some(partial) => partial,
            None => partial.insert(Partial::open(target).map_err(Failure::Fatal)?),
        };
        match source {
            Source::Local(from) => copy(url, &from, partial, expected, progress),
            Source::Remote => {
                let http = self.http().map_err(Failure::Fatal)?;
                Round { http, options: &self.options, url, expected, progress }.fetch(partial)
            }
        }
    }

    /// What a URL means, if it may be used.
    pub(super) fn source(&self, url: &str, target: &Path) -> Result<Source, DownloadError> {
        let source = Source::of(url)?;
        if source == Source::Remote && self.options.offline {
            let (target, url) = (target.to_path_buf(), url.to_owned());
            return Err(DownloadError::Offline { target, url });
        }
        Ok(source)
    }

    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    pub(super) fn http(&self) -> Result<&Http, DownloadError> {
        if let Some(http) = self.http.get() {
            return Ok(http);
        }
        let http = Http::new(&self.options)?;
        Ok(self.http.get_or_init(|| http))
    }
}

/// Whether a URL has this scheme, given with its colon and slashes.
fn is(url: &str, scheme: &str) -> bool {
    url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
}
