//! Where time comes from. Tests script it; the program reads the monotonic clock.

use std::time::{Duration, Instant};

/// A clock that never goes back.
pub trait Clock {
    /// Time since an arbitrary, fixed origin.
    fn now(&self) -> Duration;

    /// Does nothing for that long.
    fn sleep(&self, duration: Duration);
}

/// The operating system's monotonic clock (`CLOCK_MONOTONIC` on Linux; nanosecond units).
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock {
    origin: Instant,
}

impl MonotonicClock {
    /// A clock whose origin is now.
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Default for MonotonicClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for MonotonicClock {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

/// A duration in milliseconds, the unit of every published runtime.
pub(super) fn as_ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
