//! Timing of models: how long one forward pass takes, how sure that is, and on what machine.
//!
//! This module times whatever [`Workload`] it is given. It knows no model, no engine and no rule of any challenge; limits
//! and verdicts on compliance live in [`crate::compliance`]. Its one important invariant: every number in a
//! [`Measurement`] comes from samples that are in the same file, together with their spread, the conditions under which
//! they were taken and a [`Validity`]. Samples are never dropped because they look unwelcome. On a GPU
//! those taken while the device slowed itself down are discarded, by rules that do not look at the time, and are kept in the
//! file with the reason.

mod bench;
mod clock;
mod clocks_log;
mod confirm;
mod error;
mod gpu;
mod host;
mod lane;
mod machine;
mod measurement;
mod ntire;
pub mod nvml;
mod on_device;
mod pass;
mod ratio;
mod session;
mod stats;
mod steady;
mod workload;

#[cfg(test)]
mod mock;
#[cfg(test)]
mod mock_gpu;

pub use clock::{Clock, MonotonicClock};
pub use clocks_log::{ClockSample, ClocksLog, Phase};
pub use confirm::{ClockSource, Confirmation, RatioInCycles, RatioVerdict};
pub use error::Error;
pub use gpu::{
    ClockRange, Disturbance, GpuConditions, GpuOptions, GpuSession, GpuWatch, NamedReasons, ReferenceClock,
    ReferenceSource, SamplerShare,
};
pub use host::{CpuTime, HostProbe, Probe, Reading};
pub use lane::Role;
pub use machine::{Cache, Machine};
pub use measurement::{Baseline, Conditions, Input, Measurement, MemoryScope, Protocol, Timing, Validity};
pub use on_device::{DeviceWindow, MemoryOnDevice, OnDevice};
pub use ratio::RatioToBaseline;
pub use session::{Outcome, Plan, Setup, Subject, Tools, measure, measure_here, measure_on_gpu};
pub use stats::Summary;
pub use workload::{DeviceMemory, DeviceTime, Item, Workload, WorkloadError};
