//! Times work on a device by the device's own clock, and says at which clock rate its multiprocessors ran meanwhile.

use std::sync::{Mutex, PoisonError};

use super::kernels::Ready;
use super::launch::{self, Command};
use super::params::Stamp;
use super::{EngineError, Kernels};
use crate::gpu::device::{DeviceMemory, Event};
use crate::gpu::driver::GpuError;
use crate::measure::DeviceTime;

/// Bytes that are overwritten where the driver does not say how large the second-level cache is: more than any has so far.
const UNKNOWN_CACHE_BYTES: u64 = 256 << 20;

/// Marks around work on one device.
pub struct Timer {
    from: Event,
    to: Event,
    /// Overwritten to bring the second-level cache into one state.
    cache: DeviceMemory,
    /// Cycles and nanoseconds of each multiprocessor, before and after.
    stamps: Mutex<DeviceMemory>,
    before: Vec<Ready>,
    after: Vec<Ready>,
    multiprocessors: usize,
}

/// Whether a multiprocessor was there, its cycles, and nanoseconds.
const STAMP_VALUES: usize = 3;

impl Timer {
    /// Makes everything that is needed.
    ///
    /// # Errors
    /// [`GpuError`] where the device refuses.
    pub fn new(kernels: &Kernels) -> Result<Self, GpuError> {
        let gpu = kernels.gpu();
        let multiprocessors = gpu.facts().multiprocessors as usize;
        let cache = gpu.allocate(gpu.facts().l2_cache_bytes.unwrap_or(UNKNOWN_CACHE_BYTES))?;
        let half = (multiprocessors * STAMP_VALUES * size_of::<u64>()) as u64;
        let stamps = gpu.allocate(2 * half)?;
        let stamp = |offset: u64| {
            let launch = launch::measure::clock_stamp(gpu.facts().multiprocessors);
            let told = Stamp {
                to: stamps.address() + offset,
                multiprocessors: gpu.facts().multiprocessors as i32,
                unused: 0,
            };
            let work = (launch, told).into();
            kernels.ready(vec![Command { label: "clock".into(), work, multiply_adds: 0 }])
        };
        let (before, after) = (stamp(0)?, stamp(half)?);
        let (from, to) = (gpu.event()?, gpu.event()?);
        Ok(Self { from, to, cache, stamps: Mutex::new(stamps), before, after, multiprocessors })
    }

    /// Overwrites the second-level cache, and waits until that is done.
    ///
    /// # Errors
    /// [`GpuError`]
    pub fn flush(&self, kernels: &Kernels) -> Result<(), GpuError> {
        kernels.gpu().fill(&self.cache, 0)?;
        kernels.gpu().synchronize()
    }

    /// Bytes of device memory that this holds.
    pub fn bytes(&self) -> u64 {
        let stamps = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        self.cache.bytes() + stamps.bytes()
    }

    /// How many bytes [`Timer::flush`] overwrites.
    pub fn flushed_bytes(&self) -> u64 {
        self.cache.bytes()
    }

    /// Times what `work` starts: a mark, the work, a mark, then the wait for all of it, as the official script does. Clocks are read outside of the marks.
    ///
    /// # Errors
    /// What `work` returns, else [`EngineError::Gpu`].
    pub fn time(
        &self,
        kernels: &Kernels,
        work: impl FnOnce() -> Result<(), EngineError>,
    ) -> Result<DeviceTime, EngineError> {
        let gpu = kernels.gpu();
        let mut stamps = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        let mut values = vec![0u64; 2 * STAMP_VALUES * self.multiprocessors];
        stamps.upload(0, &values)?;
        // SAFETY: the stamps' memory is kept in this.
        unsafe { kernels.start(&self.before) }?;
        gpu.record(&self.from)?;
        work()?;
        gpu.record(&self.to)?;
        // SAFETY: as above.
        unsafe { kernels.start(&self.after) }?;
        let ms = gpu.elapsed_ms(&self.from, &self.to)?;
        stamps.download(0, &mut values)?;
        Ok(DeviceTime { ms, sm_mhz: clock_mhz(&values) })
    }
}

/// The mean clock of the multiprocessors that left a stamp both times. Each counts its own cycles.
fn clock_mhz(values: &[u64]) -> Option<f64> {
    let (before, after) = values.split_at(values.len() / 2);
    let before = before.as_chunks::<STAMP_VALUES>().0.iter();
    let rates = before.zip(after.as_chunks::<STAMP_VALUES>().0).filter_map(|(before, after)| {
        let (&[was, cycles, nanoseconds], &[is, end_cycles, end_nanoseconds]) = (before, after);
        let seen = was & is & 1 == 1;
        let cycles = end_cycles.checked_sub(cycles).filter(|_| seen)?;
        let nanoseconds = end_nanoseconds.checked_sub(nanoseconds).filter(|&time| time > 0)?;
        Some(cycles as f64 / nanoseconds as f64 * 1e3)
    });
    let rates: Vec<f64> = rates.collect();
    (!rates.is_empty()).then(|| rates.iter().sum::<f64>() / rates.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_means_over_multiprocessors_that_were_seen_twice() {
        // Three multiprocessors: 1500 MHz, one without a second stamp, 1700 MHz.
        let before = [1, 100, 1_000, 1, 7, 1_000, 1, 50, 2_000];
        let after = [1, 100 + 15_000, 11_000, 0, 0, 0, 1, 50 + 17_000, 12_000];
        let clock = clock_mhz(&[before, after].concat()).unwrap();
        assert!((clock - 1600.0).abs() < 1e-9, "{clock}");
        assert_eq!(clock_mhz(&[0; 18]), None);
    }
}
