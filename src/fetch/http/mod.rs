//! Brings one file from one of several URLs to its place, whole and checked, or not at all.
//!
//! What arrives is written to `<name>.partial` beside the target, with a small note `<name>.partial.json` of where it
//! comes from and which parts are there. A later call continues from the note if the server has a strong validator and
//! grants exactly the bytes that are missing; everything that is held is hashed again before it is believed. The target
//! itself appears by one rename of a complete, verified and synced file. Nothing here prints: see [`Progress`].
//!
//! What fails is sorted four ways:
//! * *transient* (a broken connection, a stall, 429, most 5xx; see [`Class`]): tried again on the same URL, with growing,
//!   jittered waits, and the count of tries starts anew whenever enough new bytes arrived;
//! * *of this URL* (404, a wrong range, an encoding nobody asked for, wrong content, a proxy that wants a login): the next URL is tried;
//! * *of what is held* (the file changed, or the resumed whole has the wrong hash): once more from zero;
//! * *fatal* (a TLS handshake or certificate, a full disk, a signal): nothing else is tried. Certificates are fatal for the
//!   whole call because the next URL may be plain http, and to fall back to that is what an attacker would like.
//!   A TLS record that breaks in the middle of a body is transient: the retry shakes hands anew.

mod answer;
mod backoff;
mod board;
mod client;
mod copy;
mod downloader;
mod error;
mod extents;
mod failure;
mod follow;
mod mirror;
mod options;
mod partial;
mod progress;
mod proxy;
mod redirect;
mod remote;
mod retry;
mod round;
mod status;
mod stream;
#[cfg(test)]
pub(super) mod tests;
mod trial;

pub use downloader::{Downloader, Fetched, Request};
pub use error::DownloadError;
pub use options::Options;
pub(super) use partial::partial_path;
pub use progress::{Progress, Silent, watch};
pub(super) use remote::RemoteFile;
pub use status::{Class, class};
