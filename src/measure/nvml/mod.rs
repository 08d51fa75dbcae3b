//! What an NVIDIA GPU says about itself while it is being timed: clocks, throttle reasons, power, temperature, memory.
//!
//! NVML (`libnvidia-ml.so.1`, part of the driver) is loaded when it is asked for, never linked. A [`GpuRecorder`] samples one
//! device, found by its UUID, from a thread of its own; the measuring thread sets marks on the same monotonic clock; both
//! end in a [`GpuLog`]. The module's one important invariant: nothing that NVML does or fails to do stops a run. An absent
//! library is an [`Unavailable`] in the log's header, a refused field is `null` in its sample with the reason counted in
//! the footer, a device that is lost ends the sampling and is named, a call that never returns is abandoned.
//!
//! Everything here only reads, except a [`ClockLock`], which is only made when the user asks for it and always given back.

mod cost;
mod facts;
mod library;
mod lock;
mod log;
mod notes;
mod recorder;
mod refusal;
mod sample;
mod sampler;
mod schedule;
mod throttle;
mod unavailable;
mod window;

#[cfg(test)]
#[path = "../../../tests/fixtures/nvml/mod.rs"]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

pub use cost::SamplerCost;
pub use facts::GpuFacts;
pub use library::{GpuList, LIBRARY_VARIABLE, ListedGpu, library_path, list_gpus, same_uuid, uuid_text};
pub use lock::{ClockLock, LockError};
pub use log::{GpuLog, GpuLogFooter, GpuLogHeader, Mark, SamplerEnding};
pub use recorder::{GpuRecorder, RecorderOptions};
pub use refusal::{Lost, Refusal, Refusals};
pub use sample::GpuSample;
pub use schedule::SamplingPeriod;
pub use throttle::ThrottleReasons;
pub use unavailable::Unavailable;
pub use window::GpuWindow;

pub(super) use lock::still_locked;
