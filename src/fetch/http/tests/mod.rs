//! The downloader against servers, disks and deaths that misbehave.

mod case;
mod clocks;
mod crash;
mod faults;
mod full;
mod process;
mod proxies;
mod ranges;
pub(in crate::fetch) mod server;
mod sources;
mod tls;

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::fetch::{Expected, Fingerprint};

/// Some bytes in which every position is recognisable.
pub(in crate::fetch) fn body(bytes: usize) -> Vec<u8> {
    let mut state = 1u32;
    (0..bytes)
        .map(|_| {
            // The generator of Numerical Recipes; its upper bits are the better ones.
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

/// Everything there is to know about some bytes.
pub(in crate::fetch) fn known(bytes: &[u8]) -> Expected {
    let mut fingerprint = Fingerprint::default();
    fingerprint.update(bytes);
    Expected::from(&fingerprint.finish())
}

/// Hasty, and with time limits that a server can exceed while a test waits. Only for tests about that: a busy machine exceeds them too.
pub(in crate::fetch) fn impatient() -> Options {
    Options {
        read_timeout: Duration::from_secs(1),
        low_speed_bytes_per_s: 1000,
        low_speed_window: Duration::from_millis(250),
        ..hasty()
    }
}

/// Options under which everything that fails does so at once.
pub(in crate::fetch) fn hasty() -> Options {
    Options {
        read_timeout: Duration::from_secs(20),
        retries: 2,
        progress_bytes: 1,
        backoff_base: Duration::from_millis(1),
        backoff_cap: Duration::from_millis(2),
        retry_after_cap: Duration::from_millis(60),
        ranges: 1,
        ranges_from_bytes: 10_000,
        ranges_trial: Duration::ZERO,
        range_bytes: 8_000,
        limit_bytes: 1_000_000,
        checkpoint_interval: Duration::from_millis(5),
        ..Options::default()
    }
}

/// Puts the state there that an interrupted run leaves: the first `held` bytes, from this URL, in this version.
fn interrupted(target: &Path, url: &str, bytes: &[u8], etag: &str, total: Option<usize>) {
    let beside =
        |suffix: &str| target.with_file_name(format!("{}{suffix}", target.file_name().unwrap().display()));
    fs::write(beside(".partial"), bytes).unwrap();
    let note = serde_json::json!({
        "schema": 1, "url": url, "validator": { "etag": etag }, "total_bytes": total, "held": [[0, bytes.len()]],
    });
    fs::write(beside(".partial.json"), note.to_string()).unwrap();
}

/// Remembers what was told.
#[derive(Default)]
struct Told {
    retries: Mutex<Vec<(String, Duration)>>,
    mirrors: Mutex<Vec<String>>,
    /// The count since it last started, and the total.
    count: Mutex<(u64, Option<u64>)>,
    /// Asks to stop when the count gets there.
    stop_at: Option<u64>,
}

impl Progress for Told {
    fn started(&self, total_bytes: Option<u64>) {
        *self.count.lock().unwrap() = (0, total_bytes);
    }

    fn advanced(&self, bytes: u64) {
        self.count.lock().unwrap().0 += bytes;
    }

    fn retrying(&self, reason: &str, wait: Duration) {
        self.retries.lock().unwrap().push((reason.to_owned(), wait));
    }

    fn mirror(&self, url: &str) {
        self.mirrors.lock().unwrap().push(url.to_owned());
    }

    fn stopped(&self) -> bool {
        self.stop_at.is_some_and(|at| self.count.lock().unwrap().0 >= at)
    }
}
