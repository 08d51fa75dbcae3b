//! What the driver says of a device.

use serde::Serialize;

use super::api::{Api, Result};

/// Attribute numbers of `CUdevice_attribute` in the driver API reference.
mod attribute {
    pub(super) const CLOCK_RATE_KHZ: i32 = 13;
    pub(super) const MULTIPROCESSOR_COUNT: i32 = 16;
    pub(super) const KERNEL_EXEC_TIMEOUT: i32 = 17;
    pub(super) const COMPUTE_MODE: i32 = 20;
    pub(super) const ECC_ENABLED: i32 = 32;
    pub(super) const MEMORY_CLOCK_RATE_KHZ: i32 = 36;
    pub(super) const GLOBAL_MEMORY_BUS_WIDTH_BITS: i32 = 37;
    pub(super) const L2_CACHE_SIZE_BYTES: i32 = 38;
    pub(super) const COMPUTE_CAPABILITY_MAJOR: i32 = 75;
    pub(super) const COMPUTE_CAPABILITY_MINOR: i32 = 76;
    pub(super) const MAX_SHARED_MEMORY_PER_BLOCK_OPTIN_BYTES: i32 = 97;
    pub(super) const MEMORY_POOLS_SUPPORTED: i32 = 115;
}

/// The oldest compute capability that our kernels run on: Ampere, the first with asynchronous copies to shared memory, bf16 and TF32.
pub const NEEDED_COMPUTE_CAPABILITY: (u32, u32) = (8, 0);

/// Who may use a device (`CUcomputemode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ComputeMode {
    /// Any number of processes.
    Default,
    /// Nobody.
    Prohibited,
    /// One process at a time.
    ExclusiveProcess,
}

/// Memory of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Not in use by anyone.
    pub free_bytes: u64,
    /// All that this process could have.
    pub total_bytes: u64,
}

impl Memory {
    pub(super) fn from_pair((free, total): (usize, usize)) -> Self {
        Self { free_bytes: free as u64, total_bytes: total as u64 }
    }
}

/// What the driver says of a device. What it need not tell is `None` where it does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceFacts {
    /// Its number for this process, as in `cuda:N`. NVML counts in another order.
    pub ordinal: usize,
    /// Its name, e.g. `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// The UUID that NVML knows it by: `GPU-…`, or `MIG-…` for a MIG instance.
    pub uuid: String,
    /// The UUID of the whole GPU, where the device is a MIG instance of it and the driver tells.
    pub parent_uuid: Option<String>,
    /// Whether it is a MIG instance, a part of a GPU.
    pub mig: bool,
    /// Compute capability, e.g. 9 and 0.
    pub compute_capability: (u32, u32),
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// All of its memory.
    pub memory_bytes: u64,
    /// The highest clock of the multiprocessors.
    pub max_sm_clock_mhz: Option<u32>,
    /// The highest clock of the memory.
    pub max_memory_clock_mhz: Option<u32>,
    /// Width of the memory bus.
    pub memory_bus_bits: Option<u32>,
    /// Second-level cache.
    pub l2_cache_bytes: Option<u64>,
    /// Shared memory that one block can have when it asks for it.
    pub shared_memory_per_block_bytes: Option<u32>,
    /// PCI address, `domain:bus:device.function`.
    pub pci_id: Option<String>,
    /// Whether memory errors are corrected.
    pub ecc: Option<bool>,
    /// Who may use it.
    pub compute_mode: Option<ComputeMode>,
    /// Whether the driver ends kernels that run for long, as it does where a display hangs on the device.
    pub kernel_time_limit: Option<bool>,
    /// Whether memory can be had in stream order, as the bindings do where they can.
    pub memory_pools: Option<bool>,
}

pub(super) fn facts(api: &Api, ordinal: usize, device: i32) -> Result<DeviceFacts> {
    let name = api.name(device)?;
    let uuid = api.uuid(device)?;
    let gpu_uuid = api.gpu_uuid(device).ok();
    let attribute = |number| api.attribute(device, number);
    // A negative number would be nonsense; the driver documents none here.
    let optional = |number| attribute(number).ok().and_then(|value| u32::try_from(value).ok());
    let flag = |number| attribute(number).ok().map(|value| value != 0);
    let required = |number| attribute(number).map(|value| u32::try_from(value).unwrap_or(0));
    let mig = gpu_uuid.is_some_and(|gpu| gpu != uuid) || name.contains(" MIG ");
    Ok(DeviceFacts {
        ordinal,
        uuid: uuid_text(if mig { "MIG" } else { "GPU" }, uuid),
        parent_uuid: gpu_uuid.filter(|gpu| *gpu != uuid).map(|gpu| uuid_text("GPU", gpu)),
        mig,
        name,
        compute_capability: (
            required(attribute::COMPUTE_CAPABILITY_MAJOR)?,
            required(attribute::COMPUTE_CAPABILITY_MINOR)?,
        ),
        multiprocessors: required(attribute::MULTIPROCESSOR_COUNT)?,
        memory_bytes: api.total_memory_bytes(device)? as u64,
        max_sm_clock_mhz: optional(attribute::CLOCK_RATE_KHZ).filter(|&khz| khz > 0).map(|khz| khz / 1000),
        max_memory_clock_mhz: optional(attribute::MEMORY_CLOCK_RATE_KHZ)
            .filter(|&khz| khz > 0)
            .map(|khz| khz / 1000),
        memory_bus_bits: optional(attribute::GLOBAL_MEMORY_BUS_WIDTH_BITS).filter(|&bits| bits > 0),
        l2_cache_bytes: optional(attribute::L2_CACHE_SIZE_BYTES).map(u64::from),
        shared_memory_per_block_bytes: optional(attribute::MAX_SHARED_MEMORY_PER_BLOCK_OPTIN_BYTES),
        pci_id: api.pci_id(device).ok(),
        ecc: flag(attribute::ECC_ENABLED),
        compute_mode: attribute(attribute::COMPUTE_MODE).ok().and_then(compute_mode),
        kernel_time_limit: flag(attribute::KERNEL_EXEC_TIMEOUT),
        memory_pools: flag(attribute::MEMORY_POOLS_SUPPORTED),
    })
}

fn compute_mode(number: i32) -> Option<ComputeMode> {
    match number {
        0 => Some(ComputeMode::Default),
        2 => Some(ComputeMode::Prohibited),
        3 => Some(ComputeMode::ExclusiveProcess),
        _ => None,
    }
}

/// As NVML and `nvidia-smi -L` write it.
fn uuid_text(kind: &str, bytes: [u8; 16]) -> String {
    let mut text = String::from(kind);
    for (index, byte) in bytes.iter().enumerate() {
        if [0, 4, 6, 8, 10].contains(&index) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_written_as_nvml_writes_it() {
        let bytes = std::array::from_fn(|index| (index * 16 + 1) as u8);
        assert_eq!(uuid_text("GPU", bytes), "GPU-01112131-4151-6171-8191-a1b1c1d1e1f1");
    }

    #[test]
    fn attribute_numbers_are_those_of_the_bindings() {
        use cudarc::driver::sys::CUdevice_attribute as A;
        for (ours, theirs) in [
            (attribute::CLOCK_RATE_KHZ, A::CU_DEVICE_ATTRIBUTE_CLOCK_RATE),
            (attribute::MULTIPROCESSOR_COUNT, A::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT),
            (attribute::KERNEL_EXEC_TIMEOUT, A::CU_DEVICE_ATTRIBUTE_KERNEL_EXEC_TIMEOUT),
            (attribute::COMPUTE_MODE, A::CU_DEVICE_ATTRIBUTE_COMPUTE_MODE),
            (attribute::ECC_ENABLED, A::CU_DEVICE_ATTRIBUTE_ECC_ENABLED),
            (attribute::MEMORY_CLOCK_RATE_KHZ, A::CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE),
            (attribute::GLOBAL_MEMORY_BUS_WIDTH_BITS, A::CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH),
            (attribute::L2_CACHE_SIZE_BYTES, A::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE),
            (attribute::COMPUTE_CAPABILITY_MAJOR, A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR),
            (attribute::COMPUTE_CAPABILITY_MINOR, A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR),
            (
                attribute::MAX_SHARED_MEMORY_PER_BLOCK_OPTIN_BYTES,
                A::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
            ),
            (attribute::MEMORY_POOLS_SUPPORTED, A::CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED),
        ] {
            assert_eq!(ours, theirs as i32, "{theirs:?}");
        }
    }
}
