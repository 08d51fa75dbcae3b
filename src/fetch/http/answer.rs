//! What was asked for and whether the answer is that. Pure: status and headers in, verdict out.

use std::ops::Range;
use std::time::{Duration, SystemTime};

use reqwest::header::{
    ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, HeaderMap, HeaderName,
    LAST_MODIFIED, TRANSFER_ENCODING,
};
use serde::{Deserialize, Serialize};

use super::backoff;
use super::error::DownloadError;
use super::failure::Failure;
use super::options::Options;
use super::status::{self, Class};
use crate::fetch::{Expected, Mismatch};

/// By what a server recognises that a file is still the same, byte for byte (RFC 9110 section 8.8).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Validator {
    /// A strong entity tag, with its quotes.
    Etag(String),
    /// A date that is strong because it was well past when it was given.
    LastModified(String),
}

impl Validator {
    /// A modification date counts as strong when the answer is at least this much younger: then the file can hardly have been
    /// changed again within the same second (RFC 9110 section 8.8.2.2), even by a clock that is somewhat off.
    const SETTLED: Duration = Duration::from_secs(60);

    /// The strong validator among an answer's headers, if there is one.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        if let Some(etag) = text(headers, &ETAG) {
            // A weak tag means "equivalent", which is not enough to glue bytes together; then the date is no better.
            let strong = etag.len() > 2 && etag.starts_with('"') && etag.ends_with('"');
            return strong.then(|| Self::Etag(etag.to_owned()));
        }
        let modified = text(headers, &LAST_MODIFIED)?;
        let age = date(text(headers, &DATE)?)?.duration_since(date(modified)?).ok()?;
        (age >= Self::SETTLED).then(|| Self::LastModified(modified.to_owned()))
    }

    /// What goes into If-Range.
    pub(super) fn value(&self) -> &str {
        match self {
            Self::Etag(value) | Self::LastModified(value) => value,
        }
    }

    /// Whether an answer speaks of another version of the file. One that says nothing does not.
    fn contradicts(&self, headers: &HeaderMap) -> bool {
        let (name, value) = match self {
            Self::Etag(value) => (ETAG, value),
            Self::LastModified(value) => (LAST_MODIFIED, value),
        };
        text(headers, &name).is_some_and(|found| found != value)
    }
}

/// A request for a part of a file that is there partly.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// The bytes wanted; the end is `u64::MAX` where the file's size is not known.
    pub(super) range: Range<u64>,
    /// The file's size, if it is known.
    pub(super) total_bytes: Option<u64>,
    /// Which version of the file, if one is known by now.
    pub(super) validator: Option<Validator>,
}

impl Part {
    /// What goes into Range. The end is left open where it is the file's, so that a server need not trust our idea of the size.
    pub(super) fn header(&self) -> String {
        match self.range.end {
            end if end == u64::MAX || Some(end) == self.total_bytes => format!("bytes={}-", self.range.start),
            end => format!("bytes={}-{}", self.range.start, end.saturating_sub(1)),
        }
    }
}

/// An answer that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The whole file follows.
    Whole {
        /// Its size, if the server says.
        total_bytes: Option<u64>,
        /// By what to ask for parts of it.
        validator: Option<Validator>,
        /// Whether the server says that it serves parts.
        serves_parts: bool,
    },
    /// Exactly the part that was asked for follows, of a file of this size.
    Part {
        /// The whole file's size.
        total_bytes: u64,
    },
    /// The file ends before the part that was asked for.
    PastEnd {
        /// The whole file's size, if the server says.
        total_bytes: Option<u64>,
    },
}

/// Judges an answer to a request for `part`, or for the whole.
pub(super) fn judge(
    url: &str,
    status: u16,
    headers: &HeaderMap,
    part: Option<&Part>,
    expected: &Expected,
    options: &Options,
) -> Result<Answer, Failure> {
    let unusable = |reason: String| Failure::NextUrl(DownloadError::Protocol { url: url.to_owned(), reason });
    let class = status::class(status);
    if matches!(class, Class::Whole | Class::Part)
        && let Some(encoding) = headers.get(CONTENT_ENCODING)
        && !matches!(encoding.as_bytes(), b"" | b"identity")
    {
        let encoding = String::from_utf8_lossy(encoding.as_bytes());
        return Err(unusable(format!(
            "it is encoded as `{encoding}` although only the plain file was asked for"
        )));
    }
    match (class, part) {
        (Class::Whole, _) => whole(url, headers, expected, options),
        (Class::Part, None) => {
            Err(unusable("it is a part (206) although the whole was asked for".to_owned()))
        }
        (Class::Part, Some(part)) => {
            let total_bytes = granted(headers, part).map_err(unusable)?;
            if part.validator.as_ref().is_some_and(|validator| validator.contradicts(headers)) {
                return Err(Failure::StartOver(DownloadError::Protocol {
                    url: url.to_owned(),
                    reason: "the file on the server changed since its first part was fetched".to_owned(),
                }));
            }
            Ok(Answer::Part { total_bytes })
        }
        (Class::PastEnd, Some(_)) => {
            let total =
                text(headers, &CONTENT_RANGE).and_then(|range| range.strip_prefix("bytes */")?.parse().ok());
            Ok(Answer::PastEnd { total_bytes: total })
        }
        (Class::PastEnd | Class::Redirect | Class::Refused, _) => Err(Failure::NextUrl(refusal(url, status))),
        (Class::Transient, _) => Err(Failure::Transient {
            error: refusal(url, status),
            retry_after: matches!(status, 429 | 503)
                .then(|| backoff::retry_after(headers, SystemTime::now()))
                .flatten(),
        }),
    }
}

fn refusal(url: &str, status: u16) -> DownloadError {
    DownloadError::Status { url: url.to_owned(), status, answer: status::in_words(status) }
}

fn whole(url: &str, headers: &HeaderMap, expected: &Expected, options: &Options) -> Result<Answer, Failure> {
    let total_bytes = text(headers, &CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if let (Some(found), Some(wanted)) = (total_bytes, expected.bytes)
        && found != wanted
    {
        // Known before a single byte is spent on it.
        let mismatch =
            Mismatch { what: "size in bytes", expected: wanted.to_string(), found: found.to_string() };
        return Err(Failure::NextUrl(DownloadError::Mismatch {
            url: url.to_owned(),
            mismatch: Box::new(mismatch),
            bytes: found,
        }));
    }
    if total_bytes.is_some_and(|total| total > options.limit_bytes) {
        return Err(Failure::NextUrl(DownloadError::TooLong {
            url: url.to_owned(),
            limit_bytes: options.limit_bytes,
            limit: "any file may have",
        }));
    }
    let chunked =
        text(headers, &TRANSFER_ENCODING).is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    if total_bytes.is_none() && !chunked && *expected == Expected::default() {
        return Err(Failure::NextUrl(DownloadError::Protocol {
            url: url.to_owned(),
            reason: "it announces no length, and neither size nor hash of the file is known: \
                     a whole file could not be told from a broken one"
                .to_owned(),
        }));
    }
    Ok(Answer::Whole {
        total_bytes,
        validator: Validator::of(headers),
        serves_parts: text(headers, &ACCEPT_RANGES).is_some_and(|unit| unit.eq_ignore_ascii_case("bytes")),
    })
}

/// The whole file's size, if the headers of a 206 grant exactly the part that was asked for.
fn granted(headers: &HeaderMap, part: &Part) -> Result<u64, String> {
    let Some(range) = text(headers, &CONTENT_RANGE) else {
        return Err("it is a part (206) that does not say which (no Content-Range)".to_owned());
    };
    let wrong = || {
        let wanted = part.header().replacen('=', " ", 1);
        let of = part.total_bytes.map_or("?".to_owned(), |total| total.to_string());
        format!("asked for `{wanted}` of {of} bytes, it is `{range}`")
    };
    let (start, last, total) = content_range(range).ok_or_else(wrong)?;
    let end = if part.range.end == u64::MAX { total } else { part.range.end };
    if start != part.range.start
        || last.checked_add(1) != Some(end)
        || part.total_bytes.is_some_and(|known| known != total)
    {
        return Err(wrong());
    }
    match text(headers, &CONTENT_LENGTH).map(str::parse::<u64>) {
        Some(Ok(length)) if length != end - start => {
            Err(format!("its length is {length}, its range `{range}`"))
        }
        _ => Ok(total),
    }
}

/// `bytes start-last/total` with start ≤ last < total.
fn content_range(value: &str) -> Option<(u64, u64, u64)> {
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (start, last) = range.split_once('-')?;
    let number = |digits: &str| {
        // `parse` would take a plus sign as well.
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u64>().ok()).flatten()
    };
    let (start, last, total) = (number(start)?, number(last)?, number(total)?);
    (start <= last && last < total).then_some((start, last, total))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn date(value: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(value).ok()
}

#[cfg(test)]
#[path = "tests/answer.rs"]
mod tests;
