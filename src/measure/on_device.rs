//! What a measurement on a device holds beyond the times: each window with its clocks, and memory.

use serde::{Deserialize, Serialize};

use super::gpu::{Disturbance, NamedReasons};

/// The most single forwards of a window that are kept. The windows of slow models have fewer, and the figures of a window are always of all.
pub(super) const MOST_FORWARDS_KEPT: usize = 10_000;

/// What PyTorch's number is, beside which ours stand.
const MEMORY_NOTE: &str = "the challenge reports torch.cuda.max_memory_allocated: the most bytes of live tensors and workspaces that \
    PyTorch's allocator handed out at one time since the process started, each rounded up to 512 bytes; the CUDA context, loaded kernels \
    and memory that is cached but free are not in it. Nearest to it is pool_peak_bytes. planned_bytes is exact and needs no device; \
    nvml_peak_bytes is what everybody took, context and kernels included, beyond what was in use before";

/// What a measurement on a device holds for one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OnDevice {
    /// What the times were taken by on the device; `None` where the host's clock counts.
    pub timer: Option<String>,
    /// Median over the accepted windows of the mean time per forward by the host's clock, beside the device's; `None` where only one of them is.
    pub host_median_ms: Option<f64>,
    /// Every window taken, in order, discarded ones included.
    pub windows: Vec<DeviceWindow>,
    /// Memory of the device.
    pub memory: Option<MemoryOnDevice>,
}

/// One window. Under protocol `ntire` it is a single forward.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceWindow {
    /// Mean time per forward: the sample, if it was accepted.
    pub sample_ms: f64,
    /// The same by the host's clock, launches and waiting included.
    pub host_ms: f64,
    /// Whether it is one of `samples_ms`.
    pub accepted: bool,
    /// What disturbed the device, if something did; protocol `ntire` leaves nothing out and accepts the sample all the same.
    pub disturbance: Option<Disturbance>,
    /// The same in words.
    pub reason: Option<String>,
    /// Timed forwards in it.
    pub forwards: usize,
    /// The time of each forward by the device's clock, in order; empty where the host's clock counts. At most 10,000 are kept.
    pub forward_ms: Vec<f64>,
    /// Mean SM clock by the samples of NVML in the window.
    pub sm_mean_mhz: Option<f64>,
    /// The lowest of them.
    pub sm_min_mhz: Option<u32>,
    /// The highest of them.
    pub sm_max_mhz: Option<u32>,
    /// How many samples of NVML these are of.
    pub clock_samples: usize,
    /// Mean SM clock of the timed parts alone, where the workload counts cycles itself.
    pub device_mhz: Option<f64>,
    /// Every throttle reason that NVML gave in the window.
    pub throttle_reasons: Option<NamedReasons>,
}

/// Peak memory of the device three ways, in bytes, beside PyTorch's definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryOnDevice {
    /// What the plan reserves: weights, activations and workspaces.
    pub planned_bytes: Option<u64>,
    /// The most that was allocated at one time while this model ran; where both models share an allocator, the other's is in it.
    pub pool_peak_bytes: Option<u64>,
    /// The most that the allocator held from the driver in that time.
    pub pool_reserved_peak_bytes: Option<u64>,
    /// The most in use on the device in this model's windows by NVML, less [`MemoryOnDevice::nvml_before_bytes`]. Other processes and the other model are in it.
    pub nvml_peak_bytes: Option<u64>,
    /// What was in use before, by NVML's first sample.
    pub nvml_before_bytes: Option<u64>,
    /// How these compare with the number that the challenge reports.
    pub note: String,
}

impl MemoryOnDevice {
    /// From what the workload and NVML told; `None` if nobody told anything.
    pub(super) fn of(
        told: Option<super::DeviceMemory>,
        nvml_peak_bytes: Option<u64>,
        nvml_before_bytes: Option<u64>,
    ) -> Option<Self> {
        let own = told.unwrap_or_default();
        let nvml = nvml_peak_bytes.zip(nvml_before_bytes).map(|(peak, before)| peak.saturating_sub(before));
        (told.is_some() || nvml.is_some()).then(|| Self {
            planned_bytes: own.planned_bytes,
            pool_peak_bytes: own.pool_peak_bytes,
            pool_reserved_peak_bytes: own.pool_reserved_peak_bytes,
            nvml_peak_bytes: nvml,
            nvml_before_bytes,
            note: MEMORY_NOTE.to_owned(),
        })
    }
}
