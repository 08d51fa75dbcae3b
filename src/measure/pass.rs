//! The times of one or more forwards, by the host's clock and by the device's.

use std::time::Duration;

use super::clock::as_ms;
use super::on_device::MOST_FORWARDS_KEPT;
use super::workload::DeviceTime;

/// What one or more forwards took.
#[derive(Clone, Debug, Default)]
pub(super) struct Pass {
    /// By the host's clock, summed.
    host: Duration,
    /// By the device's clock, summed over those of which it told.
    device_ms: f64,
    /// Each of them, up to [`MOST_FORWARDS_KEPT`].
    pub(super) forward_ms: Vec<f64>,
    /// Forwards of which the device told a time.
    by_device: usize,
    /// Their SM clock, weighted with the time, and the time that is of.
    mhz_ms: f64,
    clocked_ms: f64,
    pub(super) forwards: usize,
}

impl Pass {
    pub(super) fn add(&mut self, host: Duration, device: Option<DeviceTime>) {
        self.forwards += 1;
        self.host += host;
        let Some(device) = device else { return };
        self.by_device += 1;
        self.device_ms += device.ms;
        if let Some(mhz) = device.sm_mhz {
            self.mhz_ms += mhz * device.ms;
            self.clocked_ms += device.ms;
        }
        if self.forward_ms.len() < MOST_FORWARDS_KEPT {
            self.forward_ms.push(device.ms);
        }
    }

    /// Whether the device told a time of every forward.
    pub(super) fn is_by_device(&self) -> bool {
        self.forwards > 0 && self.by_device == self.forwards
    }

    /// The time that counts: the device's where it told of every forward, else the host's.
    pub(super) fn total_ms(&self) -> f64 {
        if self.is_by_device() { self.device_ms } else { as_ms(self.host) }
    }

    /// The same per forward.
    pub(super) fn mean_ms(&self) -> f64 {
        self.total_ms() / self.forwards as f64
    }

    /// The mean time per forward by the host's clock.
    pub(super) fn host_ms(&self) -> f64 {
        as_ms(self.host) / self.forwards as f64
    }

    /// The mean SM clock in the timed parts, where the workload counted cycles in all of them.
    pub(super) fn device_mhz(&self) -> Option<f64> {
        (self.is_by_device() && self.clocked_ms == self.device_ms).then(|| self.mhz_ms / self.clocked_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_device_counts_where_it_told_of_every_forward() {
        let told = |ms, sm_mhz| Some(DeviceTime { ms, sm_mhz });
        let mut pass = Pass::default();
        pass.add(host(11), told(10.0, Some(1000.0)));
        pass.add(host(31), told(30.0, Some(2000.0)));
        assert_eq!((pass.total_ms(), pass.mean_ms(), pass.host_ms()), (40.0, 20.0, 21.0));
        // Weighted with the time: 10 ms at 1000 MHz and 30 at 2000 are as many cycles as 40 at 1750.
        assert_eq!(pass.device_mhz(), Some(1750.0));
        pass.add(host(20), told(20.0, None));
        assert_eq!((pass.mean_ms(), pass.device_mhz()), (20.0, None));
        pass.add(host(38), None);
        assert!(!pass.is_by_device());
        assert_eq!((pass.mean_ms(), pass.forward_ms.len()), (25.0, 3));
    }

    #[test]
    fn only_so_many_forwards_are_kept_but_all_are_counted() {
        let mut pass = Pass::default();
        for _ in 0..MOST_FORWARDS_KEPT + 5 {
            pass.add(host(1), Some(DeviceTime { ms: 1.0, sm_mhz: None }));
        }
        assert_eq!((pass.forward_ms.len(), pass.forwards), (MOST_FORWARDS_KEPT, MOST_FORWARDS_KEPT + 5));
        assert_eq!(pass.mean_ms(), 1.0);
    }
}
