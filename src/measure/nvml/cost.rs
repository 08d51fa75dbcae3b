//! What the sampler itself costs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::sample::as_ns;

/// What the sampler itself costs on the host. What its questions cost the device can only be seen by timing with and without it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplerCost {
    /// Mean time of reading a sample; `None` without samples.
    pub read_mean_ns: Option<f64>,
    /// The longest.
    pub read_max_ns: u64,
    /// All samples together.
    pub read_sum_ns: u64,
    /// Time from the sampler's start to its end.
    pub wall_ns: u64,
    /// `read_sum_ns / wall_ns`, 0 to 1: the share of the time in which the driver was being asked.
    pub share_of_wall: f64,
    /// CPU time of the sampling thread in all, opening the device included; `None` where the system does not tell.
    pub thread_cpu_ns: Option<u64>,
}

/// Adds up the cost of samples.
#[derive(Clone, Debug, Default)]
pub(super) struct CostSum {
    samples: u64,
    sum_ns: u64,
    max_ns: u64,
    pub(super) thread_cpu_ns: Option<u64>,
}

impl CostSum {
    pub(super) fn add(&mut self, read_ns: u64) {
        self.samples += 1;
        self.sum_ns = self.sum_ns.saturating_add(read_ns);
        self.max_ns = self.max_ns.max(read_ns);
    }

    pub(super) fn over(&self, wall: Duration) -> SamplerCost {
        let wall_ns = as_ns(wall);
        SamplerCost {
            read_mean_ns: (self.samples > 0).then(|| self.sum_ns as f64 / self.samples as f64),
            read_max_ns: self.max_ns,
            read_sum_ns: self.sum_ns,
            wall_ns,
            share_of_wall: if wall_ns > 0 { self.sum_ns as f64 / wall_ns as f64 } else { 0.0 },
            thread_cpu_ns: self.thread_cpu_ns,
        }
    }
}

/// CPU time of the calling thread so far.
#[cfg(target_os = "linux")]
pub(super) fn thread_cpu_ns() -> Option<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec that lives through the call.
    let answer = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec).ok()?, u64::try_from(time.tv_nsec).ok()?);
    (answer == 0).then(|| seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds))
}

/// Other systems have other calls.
#[cfg(not(target_os = "linux"))]
pub(super) fn thread_cpu_ns() -> Option<u64> {
    None
}
