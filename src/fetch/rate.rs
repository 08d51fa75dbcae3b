//! How fast downloads were here, for estimates of how long others will take.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::fsio::{self, Artefact};

/// The name of the note in the data folder.
pub const FILE: &str = ".esr-rate.json";
/// Less than this says more about waits than about the line.
const ENOUGH_BYTES: u64 = 16 << 20;

/// What was fetched in one run, and how long something was on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    schema: u64,
    bytes: u64,
    ms: u64,
}

impl Artefact for Rate {
    const WHAT: &'static str = "note of how fast downloads were";
    const SCHEMA: u64 = 1;
}

impl Rate {
    /// That of the last run in this data folder that fetched enough to tell.
    pub fn read(data: &Path) -> Option<Self> {
        // Only an estimate depends on it: a note that cannot be read is as good as none.
        fsio::read_json::<Self>(&data.join(FILE)).ok().filter(|rate| rate.ms > 0 && rate.bytes > 0)
    }

    /// Bytes a second.
    pub fn bytes_per_s(self) -> u64 {
        self.bytes.saturating_mul(1000) / self.ms.max(1)
    }

    /// How long so many bytes take at this rate.
    pub fn time_for(self, bytes: u64) -> Duration {
        let ms = u128::from(bytes) * u128::from(self.ms) / u128::from(self.bytes.max(1));
        Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX))
    }
}

/// Counts bytes of downloads, and the time during which at least one is on its way.
#[derive(Debug, Default)]
pub(super) struct Meter(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    on_their_way: usize,
    since: Option<Instant>,
    busy: Duration,
    bytes: u64,
}

/// A download that has begun; it counts until [`Meter::stop`] or until this is dropped.
#[must_use]
pub(super) struct Started<'a>(&'a Meter);

impl Meter {
    pub(super) fn start(&self) -> Started<'_> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.on_their_way == 0 {
            state.since = Some(Instant::now());
        }
        state.on_their_way += 1;
        Started(self)
    }

    /// A download has brought so many bytes.
    pub(super) fn stop(&self, started: Started<'_>, bytes: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).bytes += bytes;
        drop(started);
    }

    /// Leaves the note, if there is enough to tell.
    pub(super) fn save(&self, data: &Path) -> Result<(), fsio::Error> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ms = u64::try_from(state.busy.as_millis()).unwrap_or(u64::MAX);
        if state.bytes < ENOUGH_BYTES || ms == 0 {
            return Ok(());
        }
        fsio::write_json(&data.join(FILE), &Rate { schema: Rate::SCHEMA, bytes: state.bytes, ms })
    }
}

impl Drop for Started<'_> {
    fn drop(&mut self) {
        let mut state = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.on_their_way = state.on_their_way.saturating_sub(1);
        if state.on_their_way == 0
            && let Some(since) = state.since.take()
        {
            state.busy += since.elapsed();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_counts_once_however_many_are_on_their_way() {
        let meter = Meter::default();
        let (first, second) = (meter.start(), meter.start());
        std::thread::sleep(Duration::from_millis(20));
        meter.stop(first, ENOUGH_BYTES);
        drop(second);
        let data = tempfile::tempdir().unwrap();
        meter.save(data.path()).unwrap();
        let rate = Rate::read(data.path()).unwrap();
        assert_eq!(rate.bytes, ENOUGH_BYTES);
        assert!((20..10_000).contains(&rate.ms), "{rate:?}");
        assert_eq!(rate.time_for(2 * ENOUGH_BYTES).as_millis(), u128::from(2 * rate.ms));
    }

    #[test]
    fn little_says_nothing_and_nonsense_is_ignored() {
        let (meter, data) = (Meter::default(), tempfile::tempdir().unwrap());
        meter.stop(meter.start(), 1);
        meter.save(data.path()).unwrap();
        assert_eq!(Rate::read(data.path()), None);
        for text in ["", "{}", r#"{"schema":1,"bytes":1,"ms":0}"#] {
            std::fs::write(data.path().join(FILE), text).unwrap();
            assert_eq!(Rate::read(data.path()), None);
        }
        std::fs::write(data.path().join(FILE), r#"{"schema":1,"bytes":3000,"ms":1500}"#).unwrap();
        assert_eq!(Rate::read(data.path()).map(Rate::bytes_per_s), Some(2000));
    }
}
