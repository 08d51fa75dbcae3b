//! Files that are on this machine already: copied with the same checks.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use reqwest::Url;

use super::error::DownloadError;
use super::failure::Failure;
use super::partial::Partial;
use super::progress::Progress;
use crate::fault;
use crate::fetch::{Expected, Fingerprint, Found, Mismatch};
use crate::fsio::io_context;

/// What one of a file's URLs means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// http or https.
    Remote,
    /// A file of this machine.
    Local(PathBuf),
}

impl Source {
    /// Takes http, https and file URLs; anything without a scheme is a path.
    pub(super) fn of(url: &str) -> Result<Self, DownloadError> {
        let bad = |reason: &str| DownloadError::BadUrl { url: url.to_owned(), reason: reason.to_owned() };
        let Some((scheme, _)) = url.split_once("://") else {
            return if url.is_empty() {
                Err(bad("it is empty"))
            } else {
                Ok(Self::Local(PathBuf::from(url)))
            };
        };
        let parsed = Url::parse(url).map_err(|error| bad(&error.to_string()))?;
        match parsed.scheme() {
            "http" | "https" => Ok(Self::Remote),
            "file" => {
                parsed.to_file_path().map(Self::Local).map_err(|()| bad("it names no path of this machine"))
            }
            _ => Err(bad(&format!("`{scheme}` is none of http, https and file"))),
        }
    }
}

/// Opens the regular file that a URL means; its size in bytes beside it.
pub(super) fn open(url: &str, path: &Path) -> Result<(File, u64), DownloadError> {
    let file = io_context(File::open(path), "open", path)?;
    let metadata = io_context(file.metadata(), "read", path)?;
    if !metadata.is_file() {
        let reason = "it is not a regular file".to_owned();
        return Err(DownloadError::BadUrl { url: url.to_owned(), reason });
    }
    Ok((file, metadata.len()))
}

/// Copies `from` into `partial`, hashing what is written.
pub(super) fn copy(
    url: &str,
    from: &Path,
    partial: &mut Partial,
    expected: &Expected,
    progress: &dyn Progress,
) -> Result<Found, Failure> {
    let here = |error: crate::fsio::Error| Failure::NextUrl(error.into());
    let (mut source, bytes) = open(url, from).map_err(Failure::NextUrl)?;
    let wrong = |mismatch: Mismatch, bytes: u64| {
        Failure::NextUrl(DownloadError::Mismatch { url: url.to_owned(), mismatch: Box::new(mismatch), bytes })
    };
    if let Some(wanted) = expected.bytes.filter(|wanted| *wanted != bytes) {
        let mismatch =
            Mismatch { what: "size in bytes", expected: wanted.to_string(), found: bytes.to_string() };
        return Err(wrong(mismatch, bytes));
    }
    partial.discard().map_err(Failure::Fatal)?;
    progress.started(Some(bytes));
    let mut hashed = Fingerprint::default();
    let mut buffer = vec![0; 1 << 20];
    loop {
        if progress.stopped() {
            let target = partial.target.clone();
            return Err(Failure::Fatal(DownloadError::Stopped { target, held_bytes: 0 }));
        }
        let count = match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(here(crate::fsio::Error::Io {
                    action: "read",
                    path: from.to_path_buf(),
                    source: error,
                }));
            }
        };
        let piece = buffer.get(..count).unwrap_or_default();
        fault::point("fetch-before-write");
        partial.file.write_all_at(piece, hashed.bytes()).map_err(|error| {
            // A copy cannot be continued, so nothing of it is kept.
            Failure::Fatal(DownloadError::writing(&partial.path, error, 0, Some(bytes)))
        })?;
        fault::point("fetch-after-write");
        hashed.update(piece);
        progress.advanced(count as u64);
    }
    let found = hashed.finish();
    match expected.check(&found) {
        Ok(()) => Ok(found),
        Err(mismatch) => {
            partial.discard().map_err(Failure::Fatal)?;
            Err(wrong(mismatch, found.bytes))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_apart() {
        let local = |path: &str| Ok(Source::Local(PathBuf::from(path)));
        let of = |url: &str| Source::of(url).map_err(|error| error.to_string());
        assert_eq!(of("https://a/b"), Ok(Source::Remote));
        assert_eq!(of("HTTP://a/b"), Ok(Source::Remote));
        assert_eq!(of("file:///tmp/a%20b"), local("/tmp/a b"));
        assert_eq!(of("some/folder/a b.zip"), local("some/folder/a b.zip"));
        assert_eq!(
            of("ftp://a/b").unwrap_err(),
            "`ftp://a/b` cannot be fetched: `ftp` is none of http, https and file"
        );
        assert!(of("file://elsewhere/a").unwrap_err().contains("no path of this machine"));
        assert!(of("").unwrap_err().contains("it is empty"));
        assert!(of("http://").unwrap_err().contains("cannot be fetched: empty host"));
    }
}
