//! What is timed.

use serde::{Deserialize, Serialize};

/// An error of whatever is being timed.
pub type WorkloadError = Box<dyn std::error::Error + Send + Sync>;

/// One input of the workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The image's file stem, or `None` for an input that is no image (random or constant values of a given size).
    pub name: Option<String>,
    /// Input width in pixels.
    pub width: usize,
    /// Input height in pixels.
    pub height: usize,
}

impl std::fmt::Display for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.name {
            Some(name) => write!(f, "`{name}` ({}x{})", self.width, self.height),
            None => write!(f, "an input of {}x{}", self.width, self.height),
        }
    }
}

/// What a device says by its own clock about one forward.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeviceTime {
    /// Time between the two marks around the forward, in milliseconds as the device counts them. Above zero.
    pub ms: f64,
    /// Mean clock of the multiprocessors meanwhile in MHz, where the workload reads a pair of counters on the device (cycles and
    /// time) before and after. NVML's samples serve where it does not.
    pub sm_mhz: Option<f64>,
}

/// How much memory of the device the workload takes, in bytes. What it cannot tell is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceMemory {
    /// What the plan of the model reserves: weights, activations and workspaces, known without asking the device.
    pub planned_bytes: Option<u64>,
    /// The most that was allocated at one time since the last [`Workload::reset_device_peaks`]: the allocator's own high-water mark.
    pub pool_peak_bytes: Option<u64>,
    /// The most that the allocator held from the driver, live or cached, in the same time.
    pub pool_reserved_peak_bytes: Option<u64>,
}

/// Something with inputs that can be run on one of them at a time.
///
/// A workload on the host implements [`Workload::items`] and [`Workload::run`], and is timed by the host's clock. One on a device
/// also implements [`Workload::run_timed`], and where the protocol is to mean something [`Workload::before_forward`].
pub trait Workload {
    /// The inputs, in the order in which they are timed.
    fn items(&self) -> &[Item];

    /// Everything that must happen before input `item` can be run and that is not timed: decoding, conversion to
    /// floating point, the copy to the device.
    ///
    /// # Errors
    /// Whatever went wrong; the measurement stops with it.
    fn prepare(&mut self, item: usize) -> Result<(), WorkloadError> {
        let _ = item;
        Ok(())
    }

    /// One forward pass over input `item`: exactly the timed region. It returns only when the result is complete, so a
    /// device that works asynchronously has to be waited for here.
    ///
    /// # Errors
    /// Whatever went wrong; the measurement stops with it. An interruption is passed on this way too.
    fn run(&mut self, item: usize) -> Result<(), WorkloadError>;

    /// The same forward, timed by the device itself: a mark, the forward, a mark, then the wait until all of it is done, then the time
    /// between the marks. `None` where the workload has no clock of its own; the host's clock around the call then counts.
    ///
    /// # Errors
    /// As of [`Workload::run`].
    fn run_timed(&mut self, item: usize) -> Result<Option<DeviceTime>, WorkloadError> {
        self.run(item)?;
        Ok(None)
    }

    /// Called by protocol `steady` directly before each forward, outside of what is timed: brings the device into the state in which
    /// every forward is to begin, as by overwriting its second-level cache. Returns only when that is complete. Protocol `ntire`
    /// never calls it.
    ///
    /// # Errors
    /// Whatever went wrong; the measurement stops with it.
    fn before_forward(&mut self, item: usize) -> Result<(), WorkloadError> {
        let _ = item;
        Ok(())
    }

    /// What [`Workload::run_timed`] times by, in words for the artefact, e.g. `CUDA events around an eager forward`; `None` where the
    /// host's clock counts. Launches one by one and the replay of a graph are different things and need different words.
    fn timer(&self) -> Option<String> {
        None
    }

    /// What [`Workload::before_forward`] does, in words for the artefact; `None` where it does nothing.
    fn state_before_forward(&self) -> Option<String> {
        None
    }

    /// Sets the high-water marks of [`Workload::device_memory`] back to what is in use now.
    fn reset_device_peaks(&mut self) {}

    /// The memory of the device since the last [`Workload::reset_device_peaks`]; `None` where there is no device.
    fn device_memory(&mut self) -> Option<DeviceMemory> {
        None
    }

    /// A digest of the output of the last [`Workload::run`], so that the timed path can be compared with the one whose
    /// quality was evaluated. `None` when the workload cannot tell.
    fn output_digest(&mut self) -> Option<String> {
        None
    }
}
