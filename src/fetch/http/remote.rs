//! A file that is read at positions: on a server that grants exactly what is asked for, or on this machine.
//!
//! Parts of a file are only worth something if they are of the same version of it, so a server has to name a version that can be relied on, and every
//! part is asked for on the condition that it still is that one. A server that does otherwise is not worked around: the whole file is the way then,
//! and [`DownloadError::NoParts`] says so.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use reqwest::blocking::Response;

use super::answer::{Answer, Part, Validator};
use super::client::{Http, root_cause};
use super::copy::{Source, open};
use super::downloader::Downloader;
use super::error::DownloadError;
use super::failure::Failure;
use super::options::Options;
use super::progress::Progress;
use super::retry::{Held, Retries};
use super::stream::{BUFFER_BYTES, Pace, broken, too_slow};
use crate::fetch::Expected;
use crate::fsio::io_context;

/// An open file of which parts can be had.
pub(in crate::fetch) struct RemoteFile<'a> {
    url: &'a str,
    /// For whom it is read, as errors name it.
    target: &'a Path,
    progress: &'a dyn Progress,
    bytes: u64,
    received_bytes: AtomicU64,
    place: Place<'a>,
}

/// Where it is.
enum Place<'a> {
    Here { file: File, path: PathBuf },
    Server { server: Server<'a>, validator: Validator },
}

/// How to ask a server.
#[derive(Clone, Copy)]
struct Server<'a> {
    http: &'a Http,
    options: &'a Options,
}

impl Downloader {
    /// Opens a file to read parts of it, with one small request. `target` is for what, as errors name it.
    ///
    /// # Errors
    /// [`DownloadError::NoParts`] when the server does not serve parts of it reliably; otherwise why it cannot be had at all.
    pub(in crate::fetch) fn open<'a>(
        &'a self,
        url: &'a str,
        target: &'a Path,
        progress: &'a dyn Progress,
    ) -> Result<RemoteFile<'a>, DownloadError> {
        let opened = |place, bytes| RemoteFile {
            url,
            target,
            progress,
            bytes,
            received_bytes: AtomicU64::new(0),
            place,
        };
        if let Source::Local(path) = self.source(url, target)? {
            let (file, bytes) = open(url, &path)?;
            return Ok(opened(Place::Here { file, path }, bytes));
        }
        let server = Server { http: self.http()?, options: self.options() };
        let first = Part { range: 0..1, total_bytes: None, validator: None };
        let mut retries = Retries::new(server.options, progress, 0);
        loop {
            match server.ask(url, &first) {
                Ok((mut response, bytes)) => {
                    let Some(validator) = Validator::of(response.headers()) else {
                        let reason =
                            "it names no version of the file by which parts could be told to belong together";
                        return Err(no_parts(url, reason));
                    };
                    // With its only byte read the connection can be used again; nothing depends on that.
                    let _ = response.read(&mut [0; 2]);
                    return Ok(opened(Place::Server { server, validator }, bytes));
                }
                Err(failure) => {
                    after(failure, url, &mut retries, Held { target, bytes: 0, resumable_bytes: 0 })?
                }
            }
        }
    }
}

impl RemoteFile<'_> {
    /// Its size.
    pub(in crate::fetch) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How much of it was received so far, or read where it is on this machine, in bytes.
    pub(in crate::fetch) fn received_bytes(&self) -> u64 {
        self.received_bytes.load(Ordering::Relaxed)
    }

    /// An error of this file that means that parts of it are no way to what is wanted.
    pub(in crate::fetch) fn no_parts(&self, reason: &str) -> DownloadError {
        no_parts(self.url, reason)
    }

    /// Exactly these bytes, which must lie within the file. A connection that breaks is continued where it broke.
    ///
    /// # Errors
    /// [`DownloadError::NoParts`] when the server sends something else; otherwise what the network or this machine's files did.
    pub(in crate::fetch) fn range(&self, wanted: Range<u64>) -> Result<Vec<u8>, DownloadError> {
        let count = usize::try_from(wanted.end.saturating_sub(wanted.start)).unwrap_or(usize::MAX);
        match &self.place {
            _ if wanted.end > self.bytes => Err(self.no_parts("it is shorter than what is asked for")),
            Place::Here { file, path } => {
                let mut bytes = vec![0; count];
                io_context(file.read_exact_at(&mut bytes, wanted.start), "read", path)?;
                self.count(count);
                Ok(bytes)
            }
            Place::Server { server, validator } => {
                let mut bytes = Vec::with_capacity(count);
                let mut retries = Retries::new(server.options, self.progress, 0);
                while bytes.len() < count {
                    if let Err(failure) = self.receive(*server, validator, &wanted, &mut bytes) {
                        let held =
                            Held { target: self.target, bytes: bytes.len() as u64, resumable_bytes: 0 };
                        after(failure, self.url, &mut retries, held)?;
                    }
                }
                Ok(bytes)
            }
        }
    }

    /// One request for what is missing at the end of `bytes`.
    fn receive(
        &self,
        server: Server<'_>,
        validator: &Validator,
        wanted: &Range<u64>,
        bytes: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let at = |bytes: &Vec<u8>| wanted.start + bytes.len() as u64;
        let (total_bytes, validator) = (Some(self.bytes), Some(validator.clone()));
        let part = Part { range: at(bytes)..wanted.end, total_bytes, validator };
        let (mut response, _) = server.ask(self.url, &part)?;
        let mut pace = Pace::new(server.options);
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            if self.progress.stopped() {
                let target = self.target.to_path_buf();
                return Err(Failure::Fatal(DownloadError::Stopped { target, held_bytes: 0 }));
            }
            let left = usize::try_from(wanted.end - at(bytes)).unwrap_or(usize::MAX);
            if left == 0 {
                return self.check_end(&mut response, wanted);
            }
            let room = buffer.len().min(left);
            let count = match response.read(buffer.get_mut(..room).unwrap_or_default()) {
                Ok(0) => {
                    return Err(broken(self.url, at(bytes), Some(wanted.end), "the body ended early"));
                }
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(broken(self.url, at(bytes), Some(wanted.end), &root_cause(&error)));
                }
            };
            bytes.extend_from_slice(buffer.get(..count).unwrap_or_default());
            self.count(count);
            if let Some(speed) = pace.too_slow(count as u64) {
                return Err(too_slow(self.url, speed, server.options));
            }
        }
    }

    /// Behind what was asked for, nothing may follow.
    fn check_end(&self, response: &mut Response, wanted: &Range<u64>) -> Result<(), Failure> {
        match response.read(&mut [0]) {
            Ok(1..) => {
                let limit_bytes = wanted.end - wanted.start;
                Err(Failure::NextUrl(DownloadError::TooLong {
                    url: self.url.to_owned(),
                    limit_bytes,
                    limit: "that were asked for",
                }))
            }
            _ => Ok(()),
        }
    }

    fn count(&self, bytes: usize) {
        self.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.progress.advanced(bytes as u64);
    }
}

impl Server<'_> {
    /// The answer with the part, and the size of the whole.
    fn ask(&self, url: &str, part: &Part) -> Result<(Response, u64), Failure> {
        let (response, answer) = self.http.ask(url, Some(part), &Expected::default(), self.options)?;
        let reason = match answer {
            Answer::Part { total_bytes } => return Ok((response, total_bytes)),
            Answer::Whole { .. } if part.validator.is_some() => {
                "it sent the whole file instead of a part, so the file changed meanwhile"
            }
            Answer::Whole { .. } => "it sent the whole file instead of a part",
            Answer::PastEnd { .. } => "it says that the file ends before the part that was asked for (416)",
        };
        Err(Failure::NextUrl(no_parts(url, reason)))
    }
}

fn no_parts(url: &str, reason: &str) -> DownloadError {
    DownloadError::NoParts { url: url.to_owned(), reason: reason.to_owned() }
}

/// Waits for another try, if the failure is one that another try may mend.
fn after(
    failure: Failure,
    url: &str,
    retries: &mut Retries<'_>,
    held: Held<'_>,
) -> Result<(), DownloadError> {
    let failure = match failure {
        Failure::Transient { error, retry_after } => match retries.wait(error, retry_after, held) {
            Ok(()) => return Ok(()),
            Err(failure) => failure,
        },
        other => other,
    };
    Err(match failure {
        // An answer that cannot be used as a part leaves the whole.
        Failure::NextUrl(DownloadError::Protocol { reason, .. })
        | Failure::OneStream(DownloadError::Protocol { reason, .. })
        | Failure::StartOver(DownloadError::Protocol { reason, .. }) => no_parts(url, &reason),
        Failure::NextUrl(error)
        | Failure::OneStream(error)
        | Failure::StartOver(error)
        | Failure::Fatal(error)
        | Failure::Transient { error, .. } => error,
    })
}
