//! Why the clocks of a GPU are lower than they could be.

use serde::{Deserialize, Serialize};

/// The bits of `nvmlDeviceGetCurrentClocksThrottleReasons` exactly as the driver gave them, also those that have no name here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ThrottleReasons(pub u64);

impl ThrottleReasons {
    /// Nothing runs, so the clocks are down (`nvml.h`, `nvmlClocksThrottleReasonGpuIdle`).
    pub const GPU_IDLE: u64 = 0x1;
    /// The clocks that someone set are the limit.
    pub const APPLICATION_CLOCKS: u64 = 0x2;
    /// The power limit is reached.
    pub const POWER_CAP: u64 = 0x4;
    /// The hardware halves the clocks or worse: heat, power brake or too high a draw.
    pub const HW_SLOWDOWN: u64 = 0x8;
    /// Another GPU of the same boost group holds this one back.
    pub const SYNC_BOOST: u64 = 0x10;
    /// The driver lowers the clocks because GPU or memory are too hot.
    pub const SW_THERMAL: u64 = 0x20;
    /// The hardware lowers the clocks because the GPU is too hot.
    pub const HW_THERMAL: u64 = 0x40;
    /// The power supply asked for less.
    pub const POWER_BRAKE: u64 = 0x80;
    /// The clocks of the display are the limit.
    pub const DISPLAY_CLOCKS: u64 = 0x100;

    /// The reasons for which a timing under them says little about the program: heat, power brake and hardware slowdown. The
    /// power cap is not among them, because a GPU at full load in its ordinary state is often at it.
    pub const DISTURBING: u64 = Self::HW_SLOWDOWN | Self::SW_THERMAL | Self::HW_THERMAL | Self::POWER_BRAKE;

    const NAMES: [(u64, &'static str); 9] = [
        (Self::GPU_IDLE, "GPU idle"),
        (Self::APPLICATION_CLOCKS, "application clocks"),
        (Self::POWER_CAP, "power cap"),
        (Self::HW_SLOWDOWN, "hardware slowdown"),
        (Self::SYNC_BOOST, "sync boost"),
        (Self::SW_THERMAL, "software thermal slowdown"),
        (Self::HW_THERMAL, "hardware thermal slowdown"),
        (Self::POWER_BRAKE, "power brake"),
        (Self::DISPLAY_CLOCKS, "display clocks"),
    ];

    /// Whether a timing under these reasons should be discarded.
    pub fn is_disturbing(self) -> bool {
        self.0 & Self::DISTURBING != 0
    }

    /// The name of each reason, in the order of the bits; bits without a name together as a hexadecimal number.
    pub fn names(self) -> Vec<String> {
        let named = Self::NAMES.iter().filter(|(bit, _)| self.0 & bit != 0);
        let unnamed = Self::NAMES.iter().fold(self.0, |left, (bit, _)| left & !bit);
        let rest = (unnamed != 0).then(|| format!("unnamed {unnamed:#x}"));
        named.map(|(_, name)| (*name).to_owned()).chain(rest).collect()
    }
}

/// The reasons in words, or `none`; bits without a name as a hexadecimal number.
impl std::fmt::Display for ThrottleReasons {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 == 0 {
            return f.write_str("none");
        }
        f.write_str(&self.names().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_is_told() {
        assert_eq!(ThrottleReasons(0).to_string(), "none");
        assert_eq!(ThrottleReasons(0x44).to_string(), "power cap, hardware thermal slowdown");
        assert_eq!(ThrottleReasons(0x1180).to_string(), "power brake, display clocks, unnamed 0x1000");
        assert!(ThrottleReasons(0x40).is_disturbing());
        assert!(!ThrottleReasons(0x1 | 0x2 | 0x4 | 0x10 | 0x100 | 0x1000).is_disturbing());
    }
}
