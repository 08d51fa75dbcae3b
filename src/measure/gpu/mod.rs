//! A measurement on a GPU: what the device's clocks say of each window, and what follows from it.
//!
//! A [`GpuWatch`] is asked between windows and at the end; [`GpuSession`] is the one that asks NVML, and tests script theirs. Nothing
//! here stops a run because NVML is absent or refuses: what nobody knows lowers the verdict instead.

mod conditions;
mod discard;
mod reference;
mod session;
mod verdict;
mod watch;

pub use conditions::{ClockRange, GpuConditions, NamedReasons, SamplerShare};
pub use discard::Disturbance;
pub use reference::{ReferenceClock, ReferenceSource};
pub use session::{GpuOptions, GpuSession};
pub use watch::GpuWatch;

pub(super) use conditions::conditions;
pub(super) use discard::{Pauses, disturbance};
pub(super) use verdict::{ClockEvidence, is_throttled, judge};
