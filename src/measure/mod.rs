//! Timing of models: how long one forward pass takes, how sure that is, and on what machine.
//!
//! This module times whatever [`Workload`] it is given. It knows no model, no engine and no rule of any challenge; limits
//! and verdicts on compliance live in [`crate::compliance`]. Its one important invariant: every number in a
//! [`Measurement`] comes from samples that are in the same file, together with their spread, the conditions under which
//! they were taken and a [`Validity`]. Samples are never dropped because they look unwelcome.

mod bench;
mod clock;
mod clocks_log;
mod error;
mod host;
mod lane;
mod machine;
mod measurement;
mod ntire;
pub mod nvml;
mod ratio;
mod session;
mod stats;
mod steady;
mod workload;

#[cfg(test)]
mod mock;

pub use clock::{Clock, MonotonicClock};
pub use clocks_log::{ClockSample, ClocksLog, Phase};
pub use error::Error;
pub use host::{CpuTime, HostProbe, Probe, Reading};
pub use lane::Role;
pub use machine::{Cache, Machine};
pub use measurement::{Baseline, Conditions, Input, Measurement, MemoryScope, Protocol, Timing, Validity};
pub use ratio::RatioToBaseline;
pub use session::{Outcome, Plan, Setup, Subject, measure, measure_here};
pub use stats::Summary;
pub use workload::{Item, Workload, WorkloadError};
