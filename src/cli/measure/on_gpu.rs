//! What `esr measure` does and says where a GPU is measured.

use std::fmt::Write;

use crate::cli::CliError;
use crate::cli::common::Device;
use crate::measure::{ClockSource, Confirmation, GpuConditions, MemoryOnDevice, OnDevice};

/// Refuses to lock the clocks of no GPU.
pub(super) fn check(device: Device, lock_clocks_mhz: Option<u32>) -> Result<(), CliError> {
    match (device, lock_clocks_mhz) {
        (Device::Cpu, Some(_)) => {
            Err(CliError::usage("--lock-clocks is of a GPU: give --device cuda:N, or leave it out"))
        }
        _ => Ok(()),
    }
}

/// The ratio in cycles and the verdict.
pub(super) fn confirmation(text: &mut String, told: &Confirmation) {
    // Writing to a string does not fail, here and below.
    if let Some(cycles) = &told.cycles {
        let by = match cycles.clock {
            ClockSource::Device => "counted on the device",
            ClockSource::Nvml => "by NVML's clock",
        };
        let _ = writeln!(
            text,
            "in cycles  {:.4}  [{:.4}, {:.4}] at {:.1} % confidence, {by}",
            cycles.median,
            cycles.low,
            cycles.high,
            cycles.confidence * 100.0
        );
    }
    let _ = writeln!(text, "           {}: {}", told.verdict.name().to_uppercase(), told.reason);
}

/// What a model's times have beside them on a device.
pub(super) fn on_device(text: &mut String, told: &OnDevice) {
    if let Some(timer) = &told.timer {
        let host = told
            .host_median_ms
            .map_or_else(String::new, |ms| format!(", median by the host's clock {ms:.2} ms"));
        let _ = writeln!(text, "           timed by {timer}{host}");
    }
    let discarded: Vec<_> = told.windows.iter().filter(|window| !window.accepted).collect();
    if let Some(reason) = discarded.iter().find_map(|window| window.reason.as_deref()) {
        let (n, of) = (discarded.len(), told.windows.len());
        let _ = writeln!(text, "           {n} of {of} windows discarded, the first because {reason}");
    }
    if let Some(memory) = &told.memory {
        let _ = writeln!(text, "           {}", memory_in_words(memory));
    }
}

fn memory_in_words(memory: &MemoryOnDevice) -> String {
    let told = |name: &str, bytes: Option<u64>| {
        bytes.map(|bytes| format!("{name} {:.1} MiB", bytes as f64 / f64::from(1u32 << 20)))
    };
    let parts = [
        told("planned", memory.planned_bytes),
        told("allocated at most", memory.pool_peak_bytes),
        told("reserved at most", memory.pool_reserved_peak_bytes),
        told("by NVML", memory.nvml_peak_bytes),
    ];
    format!("device memory: {}", parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

/// The GPU while it was timed.
pub(super) fn conditions(text: &mut String, gpu: &GpuConditions) {
    let name = gpu.facts.as_ref().and_then(|facts| facts.name.as_deref()).unwrap_or(&gpu.uuid);
    let clock = match (gpu.sm_clock.min_mhz, gpu.sm_clock.max_mhz) {
        (Some(min), Some(max)) if min == max => format!("SM clock {min:.0} MHz"),
        (Some(min), Some(max)) => format!("SM clock {min:.0} to {max:.0} MHz"),
        _ => "SM clock unknown".to_owned(),
    };
    let lock = gpu.locked_sm_mhz.map_or("not locked".to_owned(), |mhz| format!("locked to {mhz} MHz"));
    let reference = gpu.reference.map_or_else(String::new, |reference| {
        format!(", reference {} MHz ({})", reference.mhz, reference.source.name())
    });
    let _ = writeln!(text, "GPU        {name}, {clock}, {lock}{reference}");
    let mut parts = Vec::new();
    if let Some(reasons) = &gpu.throttle_reasons {
        parts.push(format!("throttle reasons: {}", reasons.bits));
    }
    if let Some(energy_mj) = gpu.energy_mj.filter(|_| gpu.energy_span_ms > 0.0) {
        // Millijoules over milliseconds are watts.
        parts.push(format!("{:.0} W on average", energy_mj as f64 / gpu.energy_span_ms));
    }
    if let Some((min, max)) = gpu.temperature_min_celsius.zip(gpu.temperature_max_celsius) {
        parts.push(format!("{min} to {max} °C"));
    }
    if let Some(share) = gpu.sampler.share_of_windows {
        parts.push(format!("NVML was being asked for {:.2} % of the time", share * 100.0));
    }
    if !parts.is_empty() {
        let _ = writeln!(text, "           {}", parts.join("; "));
    }
    for note in &gpu.notes {
        let _ = writeln!(text, "           note: {note}");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::ExitCode;

    #[test]
    fn clocks_of_no_gpu_cannot_be_locked() {
        let error = check(Device::Cpu, Some(1410)).unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::Usage);
        assert!(check(Device::Cpu, None).is_ok() && check(Device::Cuda(0), Some(1410)).is_ok());
    }

    fn window(accepted: bool) -> serde_json::Value {
        let reason = (!accepted).then_some("the GPU slowed down: power brake");
        json!({
            "sample_ms": 5.0, "host_ms": 5.3, "accepted": accepted, "reason": reason, "forwards": 100,
            "disturbance": null, "forward_ms": [], "sm_mean_mhz": 1970.0, "sm_min_mhz": 1965, "sm_max_mhz": 1980,
            "clock_samples": 25, "device_mhz": null, "throttle_reasons": null
        })
    }

    #[test]
    fn what_a_gpu_told_is_shown() {
        let told = json!({
            "timer": "CUDA events around the replay of a graph", "host_median_ms": 5.3,
            "windows": [window(true), window(false)],
            "memory": {
                "planned_bytes": 126_000_000, "pool_peak_bytes": 130_000_000, "pool_reserved_peak_bytes": null,
                "nvml_peak_bytes": 700_000_000, "nvml_before_bytes": 1, "note": ""
            }
        });
        let confirmed = json!({
            "verdict": "faster", "reason": "both agree",
            "cycles": {"clock": "nvml", "median": 0.8, "low": 0.79, "high": 0.81, "confidence": 0.978, "pairs": 10}
        });
        let gpu = json!({
            "uuid": "GPU-1", "facts": null, "unavailable": null, "locked_sm_mhz": 1980,
            "reference": {"mhz": 1980, "source": "locked"},
            "sm_clock": {"windows": 1, "unknown": 0, "min_mhz": 1965.4, "median_mhz": 1970.0, "max_mhz": 1980.0, "relative_spread": 0.01},
            "throttle_reasons": {"bits": 132, "names": []}, "energy_mj": 350_000, "energy_span_ms": 1000.0,
            "temperature_min_celsius": 47, "temperature_max_celsius": 61,
            "sampler": {
                "period_ms": 20, "samples": 50, "missed": 0, "share_of_windows": 0.0042,
                "cost": {"read_mean_ns": null, "read_max_ns": 0, "read_sum_ns": 0, "wall_ns": 0, "share_of_wall": 0.0, "thread_cpu_ns": null}
            },
            "vouches": true, "notes": ["a note"]
        });
        let mut text = String::new();
        conditions(&mut text, &serde_json::from_value(gpu).unwrap());
        confirmation(&mut text, &serde_json::from_value(confirmed).unwrap());
        on_device(&mut text, &serde_json::from_value(told).unwrap());
        insta::assert_snapshot!(text, @r"
        GPU        GPU-1, SM clock 1965 to 1980 MHz, locked to 1980 MHz, reference 1980 MHz (the locked clock)
                   throttle reasons: power cap, power brake; 350 W on average; 47 to 61 °C; NVML was being asked for 0.42 % of the time
                   note: a note
        in cycles  0.8000  [0.7900, 0.8100] at 97.8 % confidence, by NVML's clock
                   FASTER: both agree
                   timed by CUDA events around the replay of a graph, median by the host's clock 5.30 ms
                   1 of 2 windows discarded, the first because the GPU slowed down: power brake
                   device memory: planned 120.2 MiB, allocated at most 124.0 MiB, by NVML 667.6 MiB
        ");
    }
}
