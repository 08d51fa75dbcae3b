//! Every path, driven by a fake library. What happens is scripted by the number of the sample, so that the tests wait for samples
//! to be there and never for a time to pass.

mod lock;
mod logs;
mod measured;
mod opening;
mod real;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::fake::{FIRST, FakeNvml, SECOND};
use super::*;
use crate::measure::clock::MonotonicClock;

fn options(library: PathBuf, uuid: &str) -> RecorderOptions {
    RecorderOptions {
        library: Some(library),
        uuid: uuid.to_owned(),
        period: SamplingPeriod::SHORTEST,
        start_timeout: Duration::from_secs(60),
        stop_timeout: Duration::from_secs(60),
    }
}

/// Waits until there are `n` samples, or the device is lost.
fn wait_for(recorder: &GpuRecorder, n: usize) {
    let begun = Instant::now();
    while recorder.samples() < n && recorder.lost().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(60), "no {n} samples within a minute");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The log of a recorder that took at least `n` samples of the first device.
fn recorded(fake: &FakeNvml, n: usize) -> GpuLog {
    let recorder = GpuRecorder::start(&options(fake.path(), FIRST), MonotonicClock::new());
    wait_for(&recorder, n);
    recorder.finish()
}

#[test]
fn a_steady_device_is_told_in_full() {
    let fake = FakeNvml::new("");
    let clock = MonotonicClock::new();
    let mut recorder = GpuRecorder::start(&options(fake.path(), FIRST), clock);
    let from = recorder.mark("window 1 begins");
    let base = recorder.samples();
    wait_for(&recorder, base + 3);
    let to = recorder.mark("window 1 ends");
    let window = recorder.window(from, to);
    assert!(window.samples >= 2, "{window:?}");
    assert_eq!((window.sm_min_mhz, window.sm_max_mhz), (Some(1980), Some(1980)));
    assert_eq!(window.throttle_reasons, Some(ThrottleReasons(0)));
    let log = recorder.finish();
    let facts = log.header.facts.as_ref().unwrap();
    let told = serde_json::to_value(facts).unwrap();
    assert!(told.as_object().unwrap().values().all(|value| !value.is_null()), "{told:#}");
    assert_eq!(facts.uuid.as_deref(), Some(FIRST));
    assert_eq!(facts.pci_bus_id.as_deref(), Some("00000000:1B:00.0"));
    assert_eq!(facts.compute_capability.as_deref(), Some("9.0"));
    assert_eq!(
        (facts.ecc_enabled, facts.persistence_mode, facts.mig_enabled),
        (Some(true), Some(true), Some(false))
    );
    assert_eq!(facts.throttle_reasons_supported, Some(ThrottleReasons(0x1ff)));
    let sample = GpuSample { at_ns: 0, read_ns: 0, energy_mj: None, ..log.samples[0].clone() };
    let expected = GpuSample {
        at_ns: 0,
        read_ns: 0,
        sm_mhz: Some(1980),
        memory_mhz: Some(2619),
        sm_max_mhz: Some(1980),
        memory_max_mhz: Some(2619),
        throttle_reasons: Some(ThrottleReasons(0)),
        power_instant_mw: Some(351_000),
        power_usage_mw: Some(350_123),
        energy_mj: None,
        temperature_celsius: Some(47),
        gpu_utilisation_percent: Some(97),
        memory_utilisation_percent: Some(31),
        memory_used_bytes: Some(1_234_567),
        performance_state: Some(0),
    };
    assert_eq!(sample, expected);
    assert_eq!(log.energy_mj(), Some(7_000 * (log.samples.len() as u64 - 1)));
    assert!(log.footer.refusals.is_empty(), "{:?}", log.footer.refusals);
    assert_eq!((log.footer.lost.clone(), log.footer.ending), (None, SamplerEnding::Ended));
    assert!(log.footer.changed_facts.is_empty());
    assert!(log.samples.is_sorted_by_key(|sample| sample.at_ns));
    // The last sample is taken after the end was asked for.
    assert!(log.samples.last().unwrap().at_ns >= to);
    let cost = &log.footer.cost;
    assert!(cost.read_sum_ns > 0 && cost.share_of_wall < 1.0 && cost.read_max_ns <= cost.read_sum_ns);
    assert!(!cfg!(target_os = "linux") || cost.thread_cpu_ns.is_some());
}

#[test]
fn every_throttle_bit_comes_through() {
    // 0x40, 0x80 and 0x100 came late to the wrapper; it has no name for 0x8000 and the highest bit.
    for bits in [0x1c4_u64, 0x8044, 1 << 63] {
        let log =
            recorded(&FakeNvml::new(&format!("nvmlDeviceGetCurrentClocksThrottleReasons 2 value {bits}")), 3);
        assert_eq!(log.samples[0].throttle_reasons, Some(ThrottleReasons(0)));
        assert_eq!(log.samples[1].throttle_reasons, Some(ThrottleReasons(bits)));
        assert_eq!(log.footer.refusals.count("throttle_reasons", Refusal::UnknownAnswer), 0);
    }
}

#[test]
fn a_drop_of_the_clock_is_seen_where_it_was() {
    let fake = FakeNvml::new("nvmlDeviceGetClockInfo:1 3 value 990\nnvmlDeviceGetClockInfo:1 5 value 1980");
    let log = recorded(&fake, 6);
    let clocks: Vec<_> = log.samples.iter().take(6).map(|sample| sample.sm_mhz.unwrap()).collect();
    assert_eq!(clocks, [1980, 1980, 990, 990, 1980, 1980]);
    let (from, to) = (log.samples[1].at_ns, log.samples[3].at_ns);
    assert_eq!(log.window(from, to).sm_min_mhz, Some(990));
    assert_eq!(log.window(from, from).sm_min_mhz, Some(1980));
}

#[test]
fn each_refused_call_leaves_the_others() {
    let calls = [
        ("nvmlDeviceGetClockInfo:1", "sm_mhz"),
        ("nvmlDeviceGetClockInfo:2", "memory_mhz"),
        ("nvmlDeviceGetMaxClockInfo:1", "sm_max_mhz"),
        ("nvmlDeviceGetMaxClockInfo:2", "memory_max_mhz"),
        ("nvmlDeviceGetCurrentClocksThrottleReasons", "throttle_reasons"),
        ("nvmlDeviceGetFieldValues:186", "power_instant_mw"),
        ("nvmlDeviceGetPowerUsage", "power_usage_mw"),
        ("nvmlDeviceGetTotalEnergyConsumption", "energy_mj"),
        ("nvmlDeviceGetTemperature", "temperature_celsius"),
        ("nvmlDeviceGetMemoryInfo_v2", "memory_used_bytes"),
        ("nvmlDeviceGetPerformanceState", "performance_state"),
    ];
    for (call, field) in calls {
        for (code, reason) in [(3, Refusal::NotSupported), (4, Refusal::NoPermission)] {
            let log = recorded(&FakeNvml::new(&format!("{call} 0 error {code}")), 2);
            for sample in &log.samples {
                let told = serde_json::to_value(sample).unwrap();
                let nulls: Vec<_> = told
                    .as_object()
                    .unwrap()
                    .iter()
                    .filter(|(_, value)| value.is_null())
                    .map(|(name, _)| name)
                    .collect();
                assert_eq!(nulls, [field]);
            }
            assert_eq!(log.footer.refusals.count(field, reason), log.samples.len() as u64, "{call}");
        }
    }
}

#[test]
fn a_device_that_refuses_everything_still_gives_a_log() {
    let log = recorded(&FakeNvml::new("* 0 error 4\nnvmlDeviceGetHandleByUUID 0 value x"), 2);
    assert_eq!(log.header.unavailable, None);
    assert!(log.samples.len() >= 2);
    let told = serde_json::to_value(&log.samples[0]).unwrap();
    let known: Vec<_> =
        told.as_object().unwrap().iter().filter(|(_, v)| !v.is_null()).map(|(n, _)| n).collect();
    assert_eq!(known, ["at_ns", "read_ns"]);
    let facts = serde_json::to_value(log.header.facts.as_ref().unwrap()).unwrap();
    let known: Vec<_> =
        facts.as_object().unwrap().iter().filter(|(_, v)| !v.is_null()).map(|(n, _)| n).collect();
    assert_eq!(known, ["driver_version", "nvml_version", "cuda_driver_version"]);
    assert_eq!(log.footer.refusals.count("facts.ecc_enabled", Refusal::NoPermission), 1);
    assert_eq!(log.energy_mj(), None);
    assert_eq!(log.window(0, u64::MAX).throttle_reasons, None);
}

#[test]
fn a_lost_device_ends_the_sampling_and_is_named() {
    for (code, reason) in [(15, Refusal::GpuLost), (16, Refusal::ResetRequired)] {
        let log = recorded(&FakeNvml::new(&format!("* 4 error {code}")), usize::MAX);
        assert_eq!(log.samples.len(), 4);
        let lost = log.footer.lost.unwrap();
        assert_eq!((lost.at_ns, lost.field.as_ref(), lost.reason), (log.samples[3].at_ns, "sm_mhz", reason));
        assert_eq!(log.samples[3].sm_mhz, None);
        assert_eq!(log.footer.ending, SamplerEnding::Ended);
    }
    // Lost between two questions of one sample.
    let log = recorded(&FakeNvml::new("nvmlDeviceGetPowerUsage 2 error 15"), usize::MAX);
    assert_eq!((log.samples.len(), log.samples[1].sm_mhz), (2, Some(1980)));
    assert_eq!(log.footer.lost.unwrap().field, "power_usage_mw");
}

#[test]
fn slow_calls_are_paid_for_with_fewer_samples() {
    let log = recorded(&FakeNvml::new("* 1 sleep 50\nnvmlDeviceGetClockInfo:2 1 sleep 60"), 1);
    let cost = &log.footer.cost;
    // Thirteen calls of 50 ms each: a sample takes 0.65 s, and 5.85 s of rest follow unless the end comes.
    assert!(log.samples.iter().all(|sample| sample.read_ns >= 500_000_000), "{:?}", log.samples);
    assert_eq!(log.samples.len(), 2);
    assert!(cost.read_mean_ns.unwrap() >= 5e8 && cost.share_of_wall > 0.1);
    assert!(log.footer.missed >= 50, "{}", log.footer.missed);
}

#[test]
fn a_call_that_does_not_return_is_left_behind() {
    let fake = FakeNvml::new("nvmlDeviceGetTemperature 3 sleep 3000");
    let patient = options(fake.path(), FIRST);
    let mut recorder = GpuRecorder::start(
        &RecorderOptions { stop_timeout: Duration::from_millis(50), ..patient },
        MonotonicClock::new(),
    );
    wait_for(&recorder, 2);
    recorder.mark("the end");
    // The third sample is due at most 10 ms after the second, so it is the third or the last one that hangs.
    let log = recorder.finish();
    assert_eq!(log.footer.ending, SamplerEnding::LeftBehind);
    assert!(!log.vouches() && log.notes().concat().contains("did not come back"));
    assert_eq!((log.samples.len(), log.footer.samples, log.footer.marks), (2, 2, 1));
}

#[test]
fn facts_that_change_meanwhile_are_named() {
    let fake =
        FakeNvml::new("nvmlDeviceGetPowerManagementLimit 1 value 350000\nnvmlDeviceGetEccMode 1 error 3");
    assert_eq!(recorded(&fake, 2).footer.changed_facts, ["power_limit_mw"]);
}

#[test]
fn a_dropped_recorder_stops_sampling() {
    let fake = FakeNvml::new("");
    let recorder = GpuRecorder::start(&options(fake.path(), FIRST), MonotonicClock::new());
    wait_for(&recorder, 1);
    let seen = recorder.seen_for_tests();
    drop(recorder);
    // The thread gives its share of what it saw back when it ends.
    let begun = Instant::now();
    while seen.strong_count() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "the thread goes on");
        std::thread::sleep(Duration::from_millis(1));
    }
}
