//! The processor's state, main memory and heat, from what Linux shows under `/proc` and `/sys`.

use std::path::Path;

use serde::Serialize;

use super::facts::Memory;
use crate::engine::cpu::simd::Isa;
use crate::fsio::pseudo_file;

/// More thermal zones or processors than these are not read.
const MOST: usize = 1024;

/// The processor's state.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cpu {
    /// The instruction set whose kernels this machine runs, e.g. `avx512f`.
    pub kernels: String,
    /// The governor of the first processor's frequency, e.g. `performance`.
    pub governor: Option<String>,
    /// The frequency of the first processor now.
    pub now_mhz: Option<f64>,
    /// The highest frequency of the first processor.
    pub max_mhz: Option<f64>,
    /// Processes that ran or waited to run, on average over the last minute.
    pub load_average: Option<f64>,
}

impl Cpu {
    pub(super) fn look_below(root: &Path) -> Self {
        let frequency = root.join("sys/devices/system/cpu/cpu0/cpufreq");
        let text = |file: &str| Some(pseudo_file(frequency.join(file))?.trim().to_owned());
        let mhz = |file: &str| Some(text(file)?.parse::<f64>().ok()? / 1e3);
        let load = pseudo_file(root.join("proc/loadavg"));
        Self {
            kernels: Isa::detect().to_string(),
            governor: text("scaling_governor"),
            now_mhz: mhz("scaling_cur_freq"),
            max_mhz: mhz("cpuinfo_max_freq"),
            load_average: load.and_then(|text| text.split_ascii_whitespace().next()?.parse().ok()),
        }
    }
}

/// Memory of the machine, and the limit of the process's control group (version 2, else 1).
pub(super) fn memory_below(root: &Path) -> Memory {
    let meminfo = pseudo_file(root.join("proc/meminfo")).unwrap_or_default();
    let of = |key: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    let total_bytes = of("MemTotal");
    let limits = ["sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limit = limits.iter().find_map(|file| pseudo_file(root.join(file))?.trim().parse::<u64>().ok());
    Memory {
        total_bytes,
        available_bytes: of("MemAvailable"),
        // "No limit" is written as a number above everything in version 1.
        limit_bytes: limit.filter(|&limit| total_bytes.is_none_or(|total| limit < total)),
    }
}

/// A place where the kernel measures the temperature.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Zone {
    /// What is measured, e.g. `x86_pkg_temp`.
    pub kind: String,
    /// The temperature.
    pub celsius: f64,
    /// Where the kernel slows down or stops the machine, if it says so.
    pub critical_celsius: Option<f64>,
}

/// Heat, where the kernel tells.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Thermal {
    /// Thermal zones.
    pub zones: Vec<Zone>,
    /// How often processors were slowed down by heat since the machine started, at most over all processors.
    pub throttle_count: Option<u64>,
}

impl Thermal {
    pub(super) fn look_below(root: &Path) -> Self {
        let zones = (0..MOST).map_while(|n| {
            let folder = root.join(format!("sys/class/thermal/thermal_zone{n}"));
            folder.is_dir().then_some(folder)
        });
        let counts = (0..MOST).map_while(|n| {
            let folder = root.join(format!("sys/devices/system/cpu/cpu{n}"));
            folder.is_dir().then_some(folder)
        });
        Self {
            zones: zones.filter_map(|folder| zone(&folder)).collect(),
            throttle_count: counts
                .filter_map(|folder| {
                    pseudo_file(folder.join("thermal_throttle/package_throttle_count"))?.trim().parse().ok()
                })
                .max(),
        }
    }
}

fn zone(folder: &Path) -> Option<Zone> {
    let text = |file: String| Some(pseudo_file(folder.join(file))?.trim().to_owned());
    // The kernel counts thousandths of a degree (Documentation/driver-api/thermal).
    let celsius = |file: String| Some(text(file)?.parse::<f64>().ok()? / 1e3);
    let trip = (0..16).find(|n| text(format!("trip_point_{n}_type")).as_deref() == Some("critical"));
    Some(Zone {
        kind: text("type".into())?,
        celsius: celsius("temp".into())?,
        critical_celsius: trip.and_then(|n| celsius(format!("trip_point_{n}_temp"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_up_machine_is_read() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n");
        put("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "1800000\n");
        put("sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "3700000\n");
        put("sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count", "3\n");
        put("sys/devices/system/cpu/cpu1/thermal_throttle/package_throttle_count", "5\n");
        put("proc/loadavg", "2.23 1.73 0.88 3/106 8362\n");
        put("proc/meminfo", "MemTotal: 2048 kB\nMemFree: 1 kB\nMemAvailable: 1024 kB\n");
        put("sys/fs/cgroup/memory.max", "1048576\n");
        put("sys/class/thermal/thermal_zone0/type", "x86_pkg_temp\n");
        put("sys/class/thermal/thermal_zone0/temp", "45500\n");
        put("sys/class/thermal/thermal_zone0/trip_point_0_type", "passive\n");
        put("sys/class/thermal/thermal_zone0/trip_point_1_type", "critical\n");
        put("sys/class/thermal/thermal_zone0/trip_point_1_temp", "100000\n");
        // A zone that is switched off has no temperature.
        put("sys/class/thermal/thermal_zone1/type", "iwlwifi\n");
        let cpu = Cpu::look_below(root.path());
        assert_eq!(
            (cpu.governor.as_deref(), cpu.now_mhz, cpu.max_mhz),
            (Some("powersave"), Some(1800.0), Some(3700.0))
        );
        assert_eq!(cpu.load_average, Some(2.23));
        let memory = memory_below(root.path());
        let expected =
            Memory { total_bytes: Some(2 << 20), available_bytes: Some(1 << 20), limit_bytes: Some(1 << 20) };
        assert_eq!(memory, expected);
        put("sys/fs/cgroup/memory.max", "max\n");
        assert_eq!(memory_below(root.path()).limit_bytes, None);
        let zone = Zone { kind: "x86_pkg_temp".into(), celsius: 45.5, critical_celsius: Some(100.0) };
        assert_eq!(Thermal::look_below(root.path()), Thermal { zones: vec![zone], throttle_count: Some(5) });
        let nowhere = root.path().join("nowhere");
        assert_eq!(Thermal::look_below(&nowhere), Thermal::default());
        assert_eq!(memory_below(&nowhere), Memory::default());
    }
}
