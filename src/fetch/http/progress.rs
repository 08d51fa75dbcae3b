//! Who wants to know how far a download is, and who may stop it.

use std::ops::ControlFlow;
use std::time::Duration;

/// Is told what happens during a download, from several threads. Every method may be left out.
pub trait Progress: Sync {
    /// Counting starts at zero, at first or anew. `total_bytes` is the whole file's size if it is known.
    fn started(&self, total_bytes: Option<u64>) {
        let _ = total_bytes;
    }

    /// So many more bytes are here: received, or held from an earlier run.
    fn advanced(&self, bytes: u64) {
        let _ = bytes;
    }

    /// Something failed and is tried again after `wait`, which may be zero.
    fn retrying(&self, reason: &str, wait: Duration) {
        let _ = (reason, wait);
    }

    /// This URL is tried from now on.
    fn mirror(&self, url: &str) {
        let _ = url;
    }

    /// Whether to stop as soon as possible, keeping what can be resumed.
    fn stopped(&self) -> bool {
        false
    }
}

/// Counts for `progress`, and breaks off when it wants to stop.
pub fn watch(progress: &dyn Progress) -> impl Fn(u64) -> ControlFlow<()> + Sync + '_ {
    |bytes| {
        progress.advanced(bytes);
        if progress.stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Nobody wants to know.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {}
