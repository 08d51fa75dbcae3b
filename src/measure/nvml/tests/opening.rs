//! Finding a library and a device in it, or not.

use super::*;

fn unavailable(fake: &FakeNvml, uuid: &str) -> Unavailable {
    let recorder = GpuRecorder::start(&options(fake.path(), uuid), MonotonicClock::new());
    let why = recorder.device().unwrap_err().clone();
    let log = recorder.finish();
    assert_eq!((log.samples.len(), log.footer.ending), (0, SamplerEnding::Ended));
    assert_eq!(log.header.unavailable.as_ref(), Some(&why));
    why
}

#[test]
fn an_old_driver_lacks_functions() {
    let log = recorded(&FakeNvml::without("nvmlDeviceGetFieldValues", ""), 2);
    assert_eq!((log.samples[0].power_instant_mw, log.samples[0].power_usage_mw), (None, Some(350_123)));
    let refusals = &log.footer.refusals;
    assert_eq!(refusals.count("power_instant_mw", Refusal::MissingFunction), log.samples.len() as u64);
    let log = recorded(&FakeNvml::without("nvmlDeviceGetMemoryInfo_v2", ""), 2);
    assert_eq!((log.samples[0].memory_used_bytes, log.samples[0].sm_mhz), (None, Some(1980)));
    assert_eq!(log.footer.refusals.count("facts.memory_total_bytes", Refusal::MissingFunction), 1);
    // Without the question for a UUID all devices are looked through.
    let fake = FakeNvml::without("nvmlDeviceGetHandleByUUID", "devices 0 value 2");
    let recorder = GpuRecorder::start(&options(fake.path(), SECOND), MonotonicClock::new());
    wait_for(&recorder, 1);
    assert_eq!(recorder.finish().samples[0].sm_mhz, Some(1880));
}

#[test]
fn what_cannot_be_opened_is_a_value_with_advice() {
    let too_old = |function: &str| Unavailable::TooOld { function: function.to_owned() };
    for function in ["nvmlInit_v2", "nvmlShutdown"] {
        assert_eq!(unavailable(&FakeNvml::without(function, ""), FIRST), too_old(function));
    }
    let init = |code| unavailable(&FakeNvml::new(&format!("nvmlInit_v2 0 error {code}")), FIRST);
    assert_eq!(init(9), Unavailable::NoDriver);
    assert_eq!(init(18), Unavailable::VersionMismatch);
    assert_eq!(init(4), Unavailable::NoPermission);
    let refused = |call: &str, reason| Unavailable::Refused { call: call.to_owned(), reason };
    assert_eq!(init(999), refused("nvmlInit_v2", Refusal::Internal));
    assert_eq!(init(25), refused("nvmlInit_v2", Refusal::UnknownAnswer));
    let lost = unavailable(&FakeNvml::new("nvmlDeviceGetHandleByUUID 0 error 15"), FIRST);
    assert_eq!(lost, refused("nvmlDeviceGetHandleByUUID", Refusal::GpuLost));
    assert_eq!(
        unavailable(&FakeNvml::new("nvmlDeviceGetHandleByUUID 0 error 4"), FIRST),
        Unavailable::NoPermission
    );
    let uncounted = FakeNvml::new("nvmlDeviceGetCount_v2 0 error 3");
    assert_eq!(unavailable(&uncounted, "GPU-other"), refused("nvmlDeviceGetCount_v2", Refusal::NotSupported));
    let other = unavailable(&FakeNvml::new("devices 0 value 2"), "GPU-other");
    assert_eq!(
        other,
        Unavailable::NoDevice { uuid: "GPU-other".into(), found: vec![FIRST.into(), SECOND.into()] }
    );
    assert!(other.to_string().contains("CUDA_VISIBLE_DEVICES"), "{other}");
    // A NUL cannot be passed to C, and names nothing.
    assert!(matches!(unavailable(&FakeNvml::new(""), "GPU-\0"), Unavailable::NoDevice { .. }));
}

#[test]
fn an_absent_or_damaged_library_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("libnvidia-ml.so.1");
    let start = || GpuRecorder::start(&options(path.clone(), FIRST), MonotonicClock::new());
    let mut recorder = start();
    assert!(matches!(recorder.device(), Err(Unavailable::NoLibrary { .. })), "{:?}", recorder.device());
    recorder.mark("forward 1");
    let log = recorder.finish();
    assert_eq!((log.footer.marks, log.footer.samples, log.header.facts), (1, 0, None));
    std::fs::write(&path, "no library").unwrap();
    let recorder = start();
    assert!(matches!(recorder.device(), Err(Unavailable::BadLibrary { .. })), "{:?}", recorder.device());
}

#[test]
fn two_devices_are_told_apart_by_uuid() {
    let fake = FakeNvml::new("devices 0 value 2");
    for (uuid, sm_mhz) in [(FIRST, 1980), (SECOND, 1880), (&SECOND[4..], 1880)] {
        let recorder = GpuRecorder::start(&options(fake.path(), uuid), MonotonicClock::new());
        wait_for(&recorder, 1);
        let log = recorder.finish();
        assert_eq!(log.samples[0].sm_mhz, Some(sm_mhz));
        assert!(log.header.facts.unwrap().uuid.unwrap().ends_with(uuid));
    }
    let list = list_gpus(Some(&fake.path())).unwrap();
    assert_eq!(
        list.gpus.iter().map(|gpu| gpu.facts.uuid.as_deref()).collect::<Vec<_>>(),
        [Some(FIRST), Some(SECOND)]
    );
    assert!(list.closed.is_empty());
    let closed = FakeNvml::new("devices 0 value 2\nnvmlDeviceGetHandleByIndex_v2:0 0 error 4");
    let list = list_gpus(Some(&closed.path())).unwrap();
    assert_eq!((list.gpus.len(), list.gpus[0].index), (1, 1));
    assert_eq!(list.closed, [(0, Refusal::NoPermission)]);
}

#[test]
fn a_mig_instance_has_its_own_memory_and_the_clocks_of_the_whole() {
    // Handle 1 is the instance, handle 2 the device that it is a part of.
    let fake = FakeNvml::new(
        "devices 0 value 2\nnvmlDeviceIsMigDeviceHandle 0 value 1\n\
         nvmlDeviceGetDeviceHandleFromMigDeviceHandle 0 value 2\nnvmlDeviceGetMigMode 0 value 1",
    );
    let log = recorded(&fake, 1);
    assert_eq!(log.samples[0].sm_mhz, Some(1880));
    let facts = log.header.facts.unwrap();
    assert_eq!((facts.mig_enabled, facts.is_mig_instance), (Some(true), Some(true)));
    assert_eq!(facts.uuid.as_deref(), Some(FIRST));
}

#[test]
fn a_library_that_does_not_answer_at_all_is_left_behind() {
    let fake = FakeNvml::new("nvmlDeviceGetVbiosVersion 0 sleep 3000");
    let patient = options(fake.path(), FIRST);
    let impatient = RecorderOptions { start_timeout: Duration::from_millis(50), ..patient };
    let recorder = GpuRecorder::start(&impatient, MonotonicClock::new());
    assert_eq!(recorder.device(), Err(&Unavailable::NoAnswer { seconds: 0.05 }));
    let log = recorder.finish();
    assert_eq!((log.footer.ending, log.samples.len()), (SamplerEnding::LeftBehind, 0));
}
