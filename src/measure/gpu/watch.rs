//! What a measurement asks of whoever watches the GPU.

use crate::interrupt::Signal;
use crate::measure::nvml::{GpuFacts, GpuLog, GpuWindow};

/// Watches a GPU while something is timed on it. All times are on the clock that the measurement reads.
pub trait GpuWatch {
    /// The device; `None` where it cannot be asked.
    fn facts(&self) -> Option<GpuFacts>;

    /// The clock that the device was locked to for this run.
    fn locked_mhz(&self) -> Option<u32>;

    /// Notes in the log that `label` happens now, and returns the time in nanoseconds.
    fn mark(&mut self, label: String) -> u64;

    /// What was seen between two times.
    fn window(&mut self, from_ns: u64, to_ns: u64) -> GpuWindow;

    /// The signal that asked for an end since the watch began to catch signals; it does so only while clocks are locked.
    fn stopped(&self) -> Option<Signal> {
        None
    }

    /// Ends the watch, gives the device its clocks back, and hands over the log. Later calls hand over the same log.
    fn end(&mut self) -> &GpuLog;

    /// What a reader should know of the lock of the clocks beyond the log.
    fn lock_notes(&self) -> Vec<String>;
}
