//! What does not change from sample to sample: read once at the start, and once more at the end to see whether it did change.

use nvml_wrapper::bitmasks::device::ThrottleReasons as Flags;
use nvml_wrapper::enum_wrappers::device::{Clock, ComputeMode, TemperatureThreshold};
use nvml_wrapper::error::{Bits, NvmlError};
use nvml_wrapper::{Device, Nvml};
use serde::{Deserialize, Serialize};

use super::refusal::Asking;
use super::throttle::ThrottleReasons;

/// A device and its settings. Every field that the driver refuses is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuFacts {
    /// The product's name.
    pub name: Option<String>,
    /// The device's UUID, the only name that CUDA and NVML share.
    pub uuid: Option<String>,
    /// Version of the driver.
    pub driver_version: Option<String>,
    /// Version of the NVML library.
    pub nvml_version: Option<String>,
    /// The newest CUDA that the driver runs, as 1000 × major + 10 × minor.
    pub cuda_driver_version: Option<i32>,
    /// Version of the firmware.
    pub vbios_version: Option<String>,
    /// Place on the bus.
    pub pci_bus_id: Option<String>,
    /// Compute capability, e.g. `9.0`.
    pub compute_capability: Option<String>,
    /// Memory of the device, or of the MIG instance.
    pub memory_total_bytes: Option<u64>,
    /// Whether the memory corrects errors, which costs bandwidth and room on some devices.
    pub ecc_enabled: Option<bool>,
    /// Whether the driver stays loaded while nobody uses the device.
    pub persistence_mode: Option<bool>,
    /// Who may use the device: `default`, `exclusive_thread`, `prohibited` or `exclusive_process`.
    pub compute_mode: Option<String>,
    /// Whether the device is cut into instances.
    pub mig_enabled: Option<bool>,
    /// Whether the UUID names such an instance. Clocks, power and temperature are then those of the whole device.
    pub is_mig_instance: Option<bool>,
    /// The highest clock of the multiprocessors.
    pub sm_max_mhz: Option<u32>,
    /// The highest clock of the memory.
    pub memory_max_mhz: Option<u32>,
    /// The clock of the multiprocessors that applications get unless something limits it.
    pub sm_application_mhz: Option<u32>,
    /// The same of the memory.
    pub memory_application_mhz: Option<u32>,
    /// The clock of the multiprocessors that applications get after a reset.
    pub sm_default_application_mhz: Option<u32>,
    /// The power limit someone set.
    pub power_limit_mw: Option<u32>,
    /// The power limit in force, which can be lower for other reasons.
    pub power_limit_enforced_mw: Option<u32>,
    /// The power limit after a reset.
    pub power_limit_default_mw: Option<u32>,
    /// The temperature at which the clocks are lowered.
    pub slowdown_temperature_celsius: Option<u32>,
    /// The temperature at which the device switches itself off.
    pub shutdown_temperature_celsius: Option<u32>,
    /// The throttle reasons that this device can report; the others are always 0.
    pub throttle_reasons_supported: Option<ThrottleReasons>,
}

impl GpuFacts {
    pub(super) fn read(nvml: &Nvml, device: &Device<'_>, asking: &mut Asking) -> Self {
        let is_mig_instance = is_mig_instance(device, asking);
        let parent = if is_mig_instance == Some(true) { device.mig_parent_device().ok() } else { None };
        let gpu = parent.as_ref().unwrap_or(device);
        let compute_capability = device.cuda_compute_capability();
        Self {
            name: asking.take("facts.name", device.name()),
            uuid: asking.take("facts.uuid", device.uuid()),
            driver_version: asking.take("facts.driver_version", nvml.sys_driver_version()),
            nvml_version: asking.take("facts.nvml_version", nvml.sys_nvml_version()),
            cuda_driver_version: asking.take("facts.cuda_driver_version", nvml.sys_cuda_driver_version()),
            vbios_version: asking.take("facts.vbios_version", gpu.vbios_version()),
            pci_bus_id: asking.take("facts.pci_bus_id", gpu.pci_info()).map(|pci| pci.bus_id),
            compute_capability: asking
                .take("facts.compute_capability", compute_capability)
                .map(|version| format!("{}.{}", version.major, version.minor)),
            memory_total_bytes: asking
                .take("facts.memory_total_bytes", device.memory_info())
                .map(|memory| memory.total),
            ecc_enabled: asking
                .take("facts.ecc_enabled", gpu.is_ecc_enabled())
                .map(|state| state.currently_enabled),
            persistence_mode: asking.take("facts.persistence_mode", gpu.is_in_persistent_mode()),
            compute_mode: asking.take("facts.compute_mode", gpu.compute_mode()).map(compute_mode_name),
            mig_enabled: asking.take("facts.mig_enabled", gpu.mig_mode()).map(|mode| mode.current != 0),
            is_mig_instance,
            sm_max_mhz: asking.take("facts.sm_max_mhz", gpu.max_clock_info(Clock::SM)),
            memory_max_mhz: asking.take("facts.memory_max_mhz", gpu.max_clock_info(Clock::Memory)),
            sm_application_mhz: asking.take("facts.sm_application_mhz", gpu.applications_clock(Clock::SM)),
            memory_application_mhz: asking
                .take("facts.memory_application_mhz", gpu.applications_clock(Clock::Memory)),
            sm_default_application_mhz: asking
                .take("facts.sm_default_application_mhz", gpu.default_applications_clock(Clock::SM)),
            power_limit_mw: asking.take("facts.power_limit_mw", gpu.power_management_limit()),
            power_limit_enforced_mw: asking.take("facts.power_limit_enforced_mw", gpu.enforced_power_limit()),
            power_limit_default_mw: asking
                .take("facts.power_limit_default_mw", gpu.power_management_limit_default()),
            slowdown_temperature_celsius: asking.take(
                "facts.slowdown_temperature_celsius",
                gpu.temperature_threshold(TemperatureThreshold::Slowdown),
            ),
            shutdown_temperature_celsius: asking.take(
                "facts.shutdown_temperature_celsius",
                gpu.temperature_threshold(TemperatureThreshold::Shutdown),
            ),
            throttle_reasons_supported: asking
                .take("facts.throttle_reasons_supported", all_bits(gpu.supported_throttle_reasons_strict())),
        }
    }

    /// The names of the fields in which `self` and `later` both have a value, and not the same.
    pub(super) fn changed_until(&self, later: &Self) -> Vec<String> {
        let fields = |facts: &Self| match serde_json::to_value(facts) {
            Ok(serde_json::Value::Object(fields)) => fields,
            _ => serde_json::Map::new(),
        };
        let later = fields(later);
        let changed = |name: &String, before: &serde_json::Value| {
            later.get(name).is_some_and(|after| !before.is_null() && !after.is_null() && before != after)
        };
        fields(self)
            .iter()
            .filter(|(name, value)| changed(name, value))
            .map(|(name, _)| name.clone())
            .collect()
    }
}

/// Whether the handle is of a MIG instance. A driver from before MIG does not have the question, and then it is none.
pub(super) fn is_mig_instance(device: &Device<'_>, asking: &mut Asking) -> Option<bool> {
    asking.take("facts.is_mig_instance", device.mig_is_mig_device_handle())
}

/// All bits of throttle reasons. The wrapper's flags know some bits and can drop the others; its strict functions hand all of
/// them over in the error.
pub(super) fn all_bits(answer: Result<Flags, NvmlError>) -> Result<ThrottleReasons, NvmlError> {
    match answer {
        Ok(flags) => Ok(ThrottleReasons(flags.bits())),
        Err(NvmlError::IncorrectBits(Bits::U64(bits))) => Ok(ThrottleReasons(bits)),
        Err(NvmlError::IncorrectBits(Bits::U32(bits))) => Ok(ThrottleReasons(u64::from(bits))),
        Err(error) => Err(error),
    }
}

fn compute_mode_name(mode: ComputeMode) -> String {
    match mode {
        ComputeMode::Default => "default",
        ComputeMode::ExclusiveThread => "exclusive_thread",
        ComputeMode::Prohibited => "prohibited",
        ComputeMode::ExclusiveProcess => "exclusive_process",
    }
    .to_owned()
}
