//! Whole measurements of scripted workloads under a scripted GPU.

use super::super::gpu::GpuWatch;
use super::super::mock::{MockDevice, MockWorkload, Stage, images, measure_with};
use super::super::mock_gpu::MockGpu;
use super::super::nvml::ThrottleReasons;
use super::super::{ClockSource, DeviceMemory, Disturbance, RatioVerdict, ReferenceSource, Role, Validity};
use super::*;
use crate::fsio;
use crate::interrupt::Signal;

const ONE: [(usize, usize); 1] = [(64, 32)];

/// A model whose forwards take 250 ms by the device and 10 ms more by the host.
fn on_device(stage: &Stage, name: &'static str, ms: f64) -> MockWorkload {
    let mut workload = MockWorkload::new(stage, name, images(&ONE), move |_, _| ms);
    workload.device = Some(MockDevice { launch_ms: 10.0, flush_ms: 3.0, ..MockDevice::default() });
    workload
}

fn steady(candidate: &mut MockWorkload, gpu: &mut MockGpu) -> Result<Outcome, Error> {
    measure_with(Protocol::Steady, 60.0, candidate, None, 0.0, Some(gpu))
}

#[test]
fn ntire_is_the_official_script_with_the_devices_times() {
    let stage = Stage::default();
    let sizes = [(10, 10), (20, 10), (40, 10), (30, 10)];
    let script = |call: usize, item: usize| if call == 0 { 100.0 } else { [1.0, 2.0, 4.0, 3.0][item] };
    let mut candidate = MockWorkload::new(&stage, "c", images(&sizes), script);
    candidate.prepare_ms = 50.0;
    candidate.device = Some(MockDevice { launch_ms: 5.0, flush_ms: 7.0, ..MockDevice::default() });
    let mut gpu = MockGpu::new(&stage, |_| (Some(2000), 0));
    let outcome = measure_with(Protocol::Ntire, 60.0, &mut candidate, None, 0.0, Some(&mut gpu)).unwrap();
    // No flush, no warm-up, the first image in; the launches that the host waits for are not in the times.
    assert_eq!(stage.events(), ["c0", "c1", "c2", "c3"]);
    let m = outcome.measurement;
    let near = |found: f64, expected: f64| (found - expected).abs() < 1e-9;
    for (found, expected) in m.timing.samples_ms.iter().zip([100.0, 2.0, 4.0, 3.0]) {
        assert!(near(*found, expected), "{:?}", m.timing.samples_ms);
    }
    assert!(near(m.timing.mean_ms, 109.0 / 4.0));
    assert!(m.procedure.ends_with("as the official script does; timed by mock events"), "{}", m.procedure);
    let told = m.timing.on_device.as_ref().unwrap();
    assert_eq!(told.timer.as_deref(), Some("mock events"));
    assert!(near(told.host_median_ms.unwrap(), 8.5), "{told:?}");
    assert_eq!(told.windows.len(), 4);
    assert!(near(told.windows[2].forward_ms[0], 4.0) && told.windows[2].forwards == 1);
    assert_eq!(
        gpu.marks()[..3],
        ["candidate input 1 begins", "candidate input 1 ends", "candidate input 2 begins"]
    );
}

#[test]
fn ntire_leaves_disturbed_samples_in_and_says_so() {
    let stage = Stage::default();
    let sizes = [(10, 10); 10];
    let mut candidate = MockWorkload::new(&stage, "c", images(&sizes), |_, _| 100.0);
    candidate.device = Some(MockDevice::default());
    let mut gpu = MockGpu::new(&stage, |s| (Some(400), if s < 0.15 { 0x40 } else { 0 }));
    let m =
        measure_with(Protocol::Ntire, 60.0, &mut candidate, None, 0.0, Some(&mut gpu)).unwrap().measurement;
    assert_eq!((m.timing.samples_ms.len(), m.timing.rejected_samples), (10, 0));
    assert_eq!(m.timing.validity, Validity::Throttled);
    assert!(
        m.timing.validity_reason.starts_with(
            "2 of 10 samples were disturbed, more than 5 %, the first because the GPU slowed down: hardware thermal slowdown; "
        ),
        "{}",
        m.timing.validity_reason
    );
}

#[test]
fn steady_times_by_the_device_from_a_flushed_cache() {
    let stage = Stage::default();
    let mut candidate = on_device(&stage, "c", 250.0);
    candidate.device.as_mut().unwrap().memory = Some(DeviceMemory {
        planned_bytes: Some(700),
        pool_peak_bytes: Some(900),
        pool_reserved_peak_bytes: Some(1024),
    });
    let mut gpu = MockGpu::new(&stage, |_| (Some(1980), 0x4));
    let m = steady(&mut candidate, &mut gpu).unwrap().measurement;
    assert!(stage.events().chunks(2).all(|pair| pair[0] == "flush" && pair[1] == "c0"));
    assert_eq!(m.timing.windows, 10);
    assert!(m.timing.samples_ms.iter().all(|ms| (ms - 250.0).abs() < 1e-9));
    assert_eq!((m.timing.validity, m.timing.rejected_samples), (Validity::Valid, 0));
    assert_eq!(m.timing.validity_reason, "relative IQR 0.00 % over 10 windows; SM clock 1980 MHz");
    assert!(
        m.procedure.ends_with(
            "; timed by mock events; before each forward the cache is flushed, which is not timed"
        ),
        "{}",
        m.procedure
    );
    let told = m.timing.on_device.unwrap();
    assert!((told.host_median_ms.unwrap() - 260.0).abs() < 1e-9);
    let window = &told.windows[0];
    assert!(window.accepted && window.forwards == 2 && window.forward_ms.len() == 2);
    assert_eq!((window.sm_mean_mhz, window.disturbance.clone()), (Some(1980.0), None));
    assert!(window.clock_samples >= 25);
    let memory = told.memory.unwrap();
    assert_eq!((memory.planned_bytes, memory.pool_peak_bytes), (Some(700), Some(900)));
    assert_eq!((memory.nvml_before_bytes, memory.nvml_peak_bytes), (Some(1 << 30), Some(2 << 30)));
    assert!(memory.note.contains("max_memory_allocated"));
    let gpu = m.gpu.unwrap();
    assert!(gpu.vouches && gpu.notes.is_empty(), "{:?}", gpu.notes);
    assert_eq!(gpu.reference.unwrap().source, ReferenceSource::Application);
    assert_eq!((gpu.sm_clock.windows, gpu.sm_clock.min_mhz), (10, Some(1980.0)));
    assert_eq!(gpu.throttle_reasons.unwrap().names, ["power cap"]);
    // 6 J every 20 ms are 300 W.
    assert!((gpu.energy_mj.unwrap() as f64 / gpu.energy_span_ms - 300.0).abs() < 1e-6);
    assert!(gpu.temperature_min_celsius < gpu.temperature_max_celsius);
    // 0.1 ms of every 20.
    assert!((gpu.sampler.share_of_windows.unwrap() - 0.005).abs() < 0.0005, "{:?}", gpu.sampler);
}

#[test]
fn slow_windows_are_discarded_and_repeated_after_growing_pauses() {
    let stage = Stage::default();
    let mut candidate = on_device(&stage, "c", 500.0);
    // The clock falls for two seconds in the middle of the measurement.
    let mut gpu = MockGpu::new(&stage, |s| (Some(if (4.0..6.0).contains(&s) { 900 } else { 2000 }), 0));
    let m = steady(&mut candidate, &mut gpu).unwrap().measurement;
    let told = m.timing.on_device.as_ref().unwrap();
    let discarded: Vec<_> = told.windows.iter().filter(|window| !window.accepted).collect();
    assert!((2..=4).contains(&discarded.len()), "{discarded:?}");
    for window in &discarded {
        let Some(Disturbance::Slow { sm_mean_mhz, reference_mhz: 2000 }) = window.disturbance else {
            panic!("{window:?}")
        };
        assert!(sm_mean_mhz < 1500.0);
        assert!(window.reason.as_ref().unwrap().ends_with("of the reference of 2000 MHz"));
    }
    // So many more windows are taken that the discarded ones are a twentieth of them.
    assert_eq!(m.timing.rejected_samples, discarded.len());
    assert_eq!(m.timing.windows, 20 * discarded.len());
    assert_eq!(m.timing.windows, told.windows.len());
    assert_eq!(m.timing.samples_ms.len(), 19 * discarded.len());
    // The window at the edge of the dip is above three quarters and stays, but its clock is no longer that of the others.
    assert_eq!(m.timing.validity, Validity::Unlocked, "{}", m.timing.validity_reason);
    let rests: Vec<_> = stage.events().into_iter().filter(|event| event.starts_with("rest")).collect();
    assert_eq!(rests[..2], ["rest 50 ms", "rest 50 ms"]);
    assert_eq!(rests.len(), discarded.len());
    assert!(
        gpu.marks().iter().any(|label| label.contains("is discarded: the SM clock was")),
        "{:?}",
        gpu.marks()
    );
}

#[test]
fn a_device_that_goes_on_slowing_down_is_throttled() {
    let stage = Stage::default();
    let mut candidate = on_device(&stage, "c", 500.0);
    let mut gpu = MockGpu::new(&stage, |s| (Some(2000), if s % 3.0 < 0.1 { 0x8 } else { 0 }));
    let m = steady(&mut candidate, &mut gpu).unwrap().measurement;
    assert!(stage.now().as_secs_f64() > 50.0, "the budget is used up");
    assert_eq!(m.timing.validity, Validity::Throttled);
    assert!(
        m.timing.validity_reason.contains(
            "windows were discarded, more than 5 %, the first because the GPU slowed down: hardware slowdown"
        ),
        "{}",
        m.timing.validity_reason
    );
    // What was accepted is of the undisturbed windows alone.
    assert!(
        m.timing.on_device.unwrap().windows.iter().all(|window| window.accepted != window.reason.is_some())
    );
}

#[test]
fn a_pair_stays_a_pair_over_discarded_windows() {
    let stage = Stage::default();
    let mut candidate = on_device(&stage, "c", 400.0);
    let mut baseline = on_device(&stage, "b", 500.0);
    let mut gpu = MockGpu::new(&stage, |s| (Some(2000), if (6.0..7.5).contains(&s) { 0x80 } else { 0 }));
    let m = measure_with(Protocol::Steady, 120.0, &mut candidate, Some(&mut baseline), 0.0, Some(&mut gpu))
        .unwrap()
        .measurement;
    let ratio = m.ratio_to_baseline.unwrap();
    assert!(ratio.pairs >= 10 && ratio.pairs == m.timing.samples_ms.len(), "{ratio:?}");
    assert!((ratio.median - 0.8).abs() < 1e-9 && (ratio.low - ratio.high).abs() < 1e-9, "{ratio:?}");
    let confirmation = ratio.confirmation.unwrap();
    assert_eq!(confirmation.verdict, RatioVerdict::Faster, "{}", confirmation.reason);
    assert_eq!(confirmation.cycles.unwrap().pairs, ratio.pairs);
    assert_eq!(m.timing.validity, Validity::Valid, "{}", m.timing.validity_reason);
    let rejected = m.timing.rejected_samples + m.baseline.unwrap().timing.rejected_samples;
    assert!(rejected >= 1);
}

#[test]
fn a_device_that_never_recovers_gives_no_sample_and_says_why() {
    let stage = Stage::default();
    let mut candidate = on_device(&stage, "c", 500.0);
    let mut gpu = MockGpu::new(&stage, |_| (Some(2000), 0x20));
    let error = steady(&mut candidate, &mut gpu).unwrap_err();
    assert!(stage.now().as_secs_f64() <= 61.0, "{:?}", stage.now());
    let Error::NoSamples { role: Role::Candidate, taken, why } = error else { panic!("{error}") };
    assert!(taken > 10);
    assert!(
        why.starts_with("every window was discarded, the last because the GPU slowed down: software thermal"),
        "{why}"
    );
    // The log is there all the same.
    assert!(!gpu.end().samples.is_empty());
}

#[test]
fn a_clock_that_wanders_is_unlocked_and_no_gain() {
    let stage = Stage::default();
    // The candidate takes the same cycles, at a clock that rises over the whole measurement.
    let clock = |s: f64| 1800.0 + 5.0 * s;
    let at = |stage: &Stage, cycles: f64| {
        let stage = stage.clone();
        move |_: usize, _: usize| cycles / clock(stage.now().as_secs_f64())
    };
    let mut candidate = MockWorkload::new(&stage, "c", images(&ONE), at(&stage, 900_000.0));
    let mut baseline = MockWorkload::new(&stage, "b", images(&ONE), at(&stage, 900_000.0));
    let mut gpu = MockGpu::new(&stage, move |s| (Some(clock(s) as u32), 0));
    let m = measure_with(Protocol::Steady, 60.0, &mut candidate, Some(&mut baseline), 0.0, Some(&mut gpu))
        .unwrap()
        .measurement;
    assert_eq!(m.timing.validity, Validity::Unlocked);
    assert!(
        m.timing.validity_reason.contains("it was not locked (`--lock-clocks`)"),
        "{}",
        m.timing.validity_reason
    );
    assert!(m.gpu.unwrap().sm_clock.relative_spread.unwrap() > 0.02);
    let confirmation = m.ratio_to_baseline.unwrap().confirmation.unwrap();
    assert_eq!(confirmation.verdict, RatioVerdict::Same, "{}", confirmation.reason);
}

#[test]
fn without_nvml_the_run_goes_on_and_the_verdict_says_so() {
    let stage = Stage::default();
    let mut candidate = on_device(&stage, "c", 250.0);
    let mut baseline = on_device(&stage, "b", 500.0);
    let mut gpu = MockGpu::absent(&stage);
    let m = measure_with(Protocol::Steady, 60.0, &mut candidate, Some(&mut baseline), 0.0, Some(&mut gpu))
        .unwrap()
        .measurement;
    assert_eq!((m.timing.validity, m.timing.samples_ms.len()), (Validity::Unlocked, 10));
    assert!(
        m.timing.validity_reason.contains(
            "the SM clock is unknown in all 10 windows: clocks and throttling of the GPU are unknown: the NVIDIA driver is not loaded"
        ),
        "{}",
        m.timing.validity_reason
    );
    let told = m.gpu.unwrap();
    assert!(!told.vouches && told.facts.is_none() && told.energy_mj.is_none());
    let confirmation = m.ratio_to_baseline.unwrap().confirmation.unwrap();
    assert_eq!((confirmation.verdict, confirmation.cycles), (RatioVerdict::Ambiguous, None));
}

#[test]
fn a_workload_that_counts_cycles_is_believed_before_nvml() {
    let stage = Stage::default();
    let mut candidate = on_device(&stage, "c", 250.0);
    let mut baseline = on_device(&stage, "b", 250.0);
    candidate.device.as_mut().unwrap().sm_mhz = Some(1900.0);
    baseline.device.as_mut().unwrap().sm_mhz = Some(1520.0);
    // NVML sees a device that rests between forwards; what was timed ran at its full clock.
    let mut gpu = MockGpu::new(&stage, |_| (Some(300), 0));
    let m = measure_with(Protocol::Steady, 60.0, &mut candidate, Some(&mut baseline), 0.0, Some(&mut gpu))
        .unwrap()
        .measurement;
    assert_eq!((m.timing.rejected_samples, m.timing.validity), (0, Validity::Valid));
    let window = &m.timing.on_device.unwrap().windows[0];
    assert_eq!((window.device_mhz, window.sm_mean_mhz), (Some(1900.0), Some(300.0)));
    let confirmation = m.ratio_to_baseline.unwrap().confirmation.unwrap();
    let cycles = confirmation.cycles.unwrap();
    assert_eq!((cycles.clock, cycles.median), (ClockSource::Device, 1.25));
    assert_eq!(confirmation.verdict, RatioVerdict::Ambiguous, "the same time, but more cycles");
}

#[test]
fn a_signal_ends_the_measurement_between_forwards() {
    let stage = Stage::default();
    let mut candidate = on_device(&stage, "c", 250.0);
    let mut gpu = MockGpu::new(&stage, |_| (Some(2000), 0));
    gpu.stop_after_ns = Some(3_000_000_000);
    let error = steady(&mut candidate, &mut gpu).unwrap_err();
    assert!(matches!(error, Error::Interrupted { signal: Signal::Interrupt }), "{error}");
    assert!(stage.now().as_secs_f64() < 3.3);
}

#[test]
fn a_device_without_a_time_is_an_error() {
    let stage = Stage::default();
    let mut candidate = on_device(&stage, "c", 0.0);
    let mut gpu = MockGpu::new(&stage, |_| (Some(2000), 0));
    let error = steady(&mut candidate, &mut gpu).unwrap_err();
    assert!(matches!(error, Error::DeviceTime { role: Role::Candidate, input: 1, .. }), "{error}");
}

#[test]
fn the_gpu_is_in_the_file_and_older_files_are_read() {
    let stage = Stage::default();
    let mut candidate = on_device(&stage, "c", 500.0);
    let mut gpu = MockGpu::new(&stage, |s| (Some(2000), if s < 3.0 { 0x8044 } else { 0 }));
    let m = steady(&mut candidate, &mut gpu).unwrap().measurement;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("measurement.json");
    fsio::write_json(&path, &m).unwrap();
    assert_eq!(fsio::read_json::<Measurement>(&path).unwrap(), m);
    let mut value: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(value["schema"], 1);
    let window = &value["on_device"]["windows"][0];
    assert_eq!(window["disturbance"]["kind"], "throttled");
    assert_eq!(window["throttle_reasons"]["bits"], 0x8044);
    assert_eq!(
        window["throttle_reasons"]["names"],
        serde_json::json!(["power cap", "hardware thermal slowdown", "unnamed 0x8000"])
    );
    assert_eq!(window["reason"], "the GPU slowed down: hardware thermal slowdown");
    assert_eq!(value["gpu"]["throttle_reasons"]["bits"], ThrottleReasons(0x8044).0);
    // A file from before GPUs were watched has none of this.
    let object = value.as_object_mut().unwrap();
    object.remove("gpu");
    object.remove("on_device");
    fsio::write_json(&path, &value).unwrap();
    let old = fsio::read_json::<Measurement>(&path).unwrap();
    assert_eq!((old.gpu, old.timing.on_device), (None, None));
}

#[test]
fn nothing_of_a_gpu_is_written_for_the_cpu() {
    let stage = Stage::default();
    let mut candidate = MockWorkload::new(&stage, "c", images(&ONE), |_, _| 500.0);
    let m = measure_with(Protocol::Steady, 60.0, &mut candidate, None, 0.0, None).unwrap().measurement;
    let value = serde_json::to_value(&m).unwrap();
    assert!(value.get("gpu").is_none() && value.get("on_device").is_none());
    assert!(!stage.events().iter().any(|event| event.starts_with("rest") || event == "flush"));
}
