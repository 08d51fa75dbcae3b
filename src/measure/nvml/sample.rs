//! One look at the device.

use std::time::Duration;

use nvml_wrapper::Device;
use nvml_wrapper::enum_wrappers::device::{Clock as ClockKind, TemperatureSensor};
use nvml_wrapper::enums::device::SampleValue;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::structs::device::FieldId;
use serde::{Deserialize, Serialize};

use super::facts::all_bits;
use super::refusal::Asking;
use super::throttle::ThrottleReasons;
use crate::measure::clock::Clock;

/// `NVML_FI_DEV_POWER_INSTANT` of `nvml.h`: the draw at this moment.
const POWER_INSTANT: FieldId = FieldId(186);

/// One look at the device. Every field that the driver refuses is `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuSample {
    /// When the look began, in nanoseconds on the clock of the marks.
    pub at_ns: u64,
    /// How long it took.
    pub read_ns: u64,
    /// The clock of the multiprocessors, read first, so that it belongs to `at_ns` best.
    pub sm_mhz: Option<u32>,
    /// The clock of the memory.
    pub memory_mhz: Option<u32>,
    /// The highest clock that the multiprocessors can have.
    pub sm_max_mhz: Option<u32>,
    /// The highest clock that the memory can have.
    pub memory_max_mhz: Option<u32>,
    /// Why the clocks are lower than they could be: all bits as the driver gave them.
    pub throttle_reasons: Option<ThrottleReasons>,
    /// The draw at this moment.
    pub power_instant_mw: Option<u32>,
    /// What the driver calls usage: a mean over one second on Ampere and later except GA100, the draw at this moment before.
    pub power_usage_mw: Option<u32>,
    /// Energy used since the driver was loaded; it steps every 20 to 100 ms, so only differences over longer times say much.
    pub energy_mj: Option<u64>,
    /// The temperature of the GPU.
    pub temperature_celsius: Option<u32>,
    /// Share of the time in which any kernel ran, over the driver's own 1/6 to 1 s.
    pub gpu_utilisation_percent: Option<u32>,
    /// Share of the time in which memory was read or written, over the same time.
    pub memory_utilisation_percent: Option<u32>,
    /// Memory in use by everybody, without what the driver keeps for itself.
    pub memory_used_bytes: Option<u64>,
    /// Performance state: 0 is the fastest, 15 the slowest.
    pub performance_state: Option<u32>,
}

/// The handles that samples are read from.
pub(super) struct Reader<'nvml> {
    /// Memory is that of the device or MIG instance that CUDA uses.
    memory: Device<'nvml>,
    /// Everything else is that of the whole device.
    gpu: Option<Device<'nvml>>,
}

impl<'nvml> Reader<'nvml> {
    pub(super) fn new(device: Device<'nvml>) -> Self {
        let is_instance = device.mig_is_mig_device_handle().unwrap_or(false);
        let gpu = if is_instance { device.mig_parent_device().ok() } else { None };
        Self { memory: device, gpu }
    }

    /// The device or MIG instance that CUDA uses.
    pub(super) fn device(&self) -> &Device<'nvml> {
        &self.memory
    }

    /// Asks for every field once.
    pub(super) fn read(&self, clock: &impl Clock, asking: &mut Asking) -> GpuSample {
        let gpu = self.gpu.as_ref().unwrap_or(&self.memory);
        let began = clock.now();
        let sm_mhz = asking.take("sm_mhz", gpu.clock_info(ClockKind::SM));
        if asking.loss().is_some() {
            // Each further call of a lost device may take long and cannot succeed.
            let read_ns = as_ns(clock.now().saturating_sub(began));
            return GpuSample { at_ns: as_ns(began), read_ns, ..GpuSample::default() };
        }
        let throttle_reasons =
            asking.take("throttle_reasons", all_bits(gpu.current_throttle_reasons_strict()));
        let memory_mhz = asking.take("memory_mhz", gpu.clock_info(ClockKind::Memory));
        let utilisation = asking.take("utilisation", gpu.utilization_rates());
        let mut sample = GpuSample {
            at_ns: as_ns(began),
            read_ns: 0,
            sm_mhz,
            memory_mhz,
            sm_max_mhz: asking.take("sm_max_mhz", gpu.max_clock_info(ClockKind::SM)),
            memory_max_mhz: asking.take("memory_max_mhz", gpu.max_clock_info(ClockKind::Memory)),
            throttle_reasons,
            power_instant_mw: asking.take("power_instant_mw", power_instant_mw(gpu)),
            power_usage_mw: asking.take("power_usage_mw", gpu.power_usage()),
            energy_mj: asking.take("energy_mj", gpu.total_energy_consumption()),
            temperature_celsius: asking.take("temperature_celsius", gpu.temperature(TemperatureSensor::Gpu)),
            gpu_utilisation_percent: utilisation.as_ref().map(|rates| rates.gpu),
            memory_utilisation_percent: utilisation.as_ref().map(|rates| rates.memory),
            memory_used_bytes: asking
                .take("memory_used_bytes", self.memory.memory_info())
                .map(|memory| memory.used),
            performance_state: asking.take("performance_state", performance_state(gpu)),
        };
        sample.read_ns = as_ns(clock.now().saturating_sub(began));
        sample
    }
}

fn power_instant_mw(gpu: &Device<'_>) -> Result<u32, NvmlError> {
    let field = gpu.field_values_for(&[POWER_INSTANT])?.pop().ok_or(NvmlError::NoData)??;
    match field.value? {
        SampleValue::U32(milliwatts) => Ok(milliwatts),
        SampleValue::U64(milliwatts) => {
            u32::try_from(milliwatts).map_err(|_| NvmlError::UnexpectedVariant(0))
        }
        SampleValue::I64(milliwatts) => {
            u32::try_from(milliwatts).map_err(|_| NvmlError::UnexpectedVariant(0))
        }
        SampleValue::F64(_) => Err(NvmlError::UnexpectedVariant(0)),
    }
}

fn performance_state(gpu: &Device<'_>) -> Result<u32, NvmlError> {
    // `NVML_PSTATE_UNKNOWN` is 32.
    match gpu.performance_state()?.as_c() {
        state @ 0..=15 => Ok(state),
        _ => Err(NvmlError::NoData),
    }
}

pub(super) fn as_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
